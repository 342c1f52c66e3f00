#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# series.sh: does each patch of $build/export build on top of those before it, without a
# warning? Each series by itself, with all options, as modules where they can be; only the
# directory that it is about. For who bisects. That nothing is missing, and that all series
# together are what is in $build/linux, export.sh has seen to.
set -euo pipefail
. tools/testing/vm/lib.sh

top=$PWD tree=$build/bisect/linux obj=$PWD/$build/bisect/obj
declare -A part=([kvm]=arch/x86/kvm/ [virtio]=drivers/virtio/ [vhost]=drivers/vhost/)
failed=0

# Debian's source as it was before the hooks and our files, and nothing built from another
unpatched() {
	rm -rf "$tree" "$obj"
	mkdir -p "$tree" "$obj"
	rsync -a --exclude-from=<(sed 's|^|/|' "$build/linux/.laid") "$build/linux/" "$tree/"
	series | xargs sed -n 's|^+++ b/||p' | (cd "$tree" && xargs rm -f)
	rsync -a --exclude=/.files "$build/pristine/" "$tree/"
}

kmake() { make -C "$tree" O="$obj" "$@"; }

# build_part DIRECTORY: a patch may bring options
build_part() {
	kmake allmodconfig && kmake "$1"
}

# built NAME DIRECTORY: says so, or what is wrong
built() {
	local log=$build/log/series-$1.log
	mkdir -p "$build/log"
	if ! build_part "$2" >"$log" 2>&1 </dev/null; then
		tail -n 20 "$log"
		say "$1: FAILED"
	elif grep 'warning:' "$log"; then
		say "$1: FAILED, it has warnings"
	else
		say "$1: ok"
		return
	fi
	failed=1
}

# Of what is nowhere else, nothing is built here
concerns_build() { grep '^+++ b/' "$1" | grep -qvE '^\+\+\+ b/(Documentation|MAINTAINERS|tools)(/|$)'; }

while read -r subsystem; do
	say "the series $subsystem, patch by patch: ${part[$subsystem]}"
	unpatched
	built "$subsystem-unpatched" "${part[$subsystem]}"
	while read -r p; do
		patch -d "$tree" -p1 -F0 -s --no-backup-if-mismatch <"$top/$p"
		if concerns_build "$p"; then
			built "$subsystem-$(basename "$p" .patch)" "${part[$subsystem]}"
		fi
	done < <(exported "$subsystem")
done < <(subsystems)
exit "$failed"
