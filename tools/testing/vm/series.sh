#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# series.sh: does each patch of $build/export build on top of those before it, without a
# warning? With all options, as modules where they can be; only the directories that the
# series is about. For who bisects.
set -euo pipefail
. tools/testing/vm/lib.sh

top=$PWD tree=$build/bisect/linux obj=$PWD/$build/bisect/obj
parts=(arch/x86/kvm/ drivers/vhost/ drivers/virtio/)
failed=0

# Debian's source as it was before the hooks and our files
unpatched() {
	rm -rf "$tree"
	mkdir -p "$tree"
	rsync -a --exclude-from=<(sed 's|^|/|' "$build/linux/.laid") "$build/linux/" "$tree/"
	series | xargs sed -n 's|^+++ b/||p' | (cd "$tree" && xargs rm -f)
	rsync -a --exclude=/.files "$build/pristine/" "$tree/"
}

kmake() { make -C "$tree" O="$obj" "$@"; }

build_parts() {
	# A patch may bring options
	kmake allmodconfig && kmake "${parts[@]}"
}

# built NAME: says so, or what is wrong
built() {
	local log=$build/log/series-$1.log
	mkdir -p "$build/log"
	if ! build_parts >"$log" 2>&1 </dev/null; then
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

say "the series, patch by patch: ${parts[*]} (half an hour)"
mkdir -p "$obj"
unpatched
built unpatched
for p in "$build"/export/*.patch; do
	patch -d "$tree" -p1 -F0 -s --no-backup-if-mismatch <"$top/$p"
	built "$(basename "$p" .patch)"
done
# Nothing is missing in the series but a page about this repository
while read -r p; do
	cmp "$build/linux/$p" "$tree/$p" || failed=1
done < <(cat "$build"/{linux/.laid,pristine/.files} | grep -vx Documentation/driver-api/virtio/overview.rst)
exit "$failed"
