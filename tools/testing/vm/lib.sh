# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by the scripts here. Their paths are relative to the repository's top.

say() { printf '==> %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# logged NAME COMMAND...: all output to build/log/NAME.log, its end shown on failure
logged() {
	local log=build/log/$1.log
	shift
	mkdir -p build/log
	if ! "$@" >"$log" 2>&1 </dev/null; then
		tail -n 40 "$log" >&2
		die "failed; the whole log is in $log"
	fi
}

# lay FROM TO: copy the files named on stdin, and remove those that were copied the
# last time and are not named any more. By content: what is the same keeps its time
# stamp, so that make builds little again. So does TO/.laid, the list, if all is.
lay() {
	local from=$1 to=$2 list=$2/.laid
	mkdir -p "$to"
	touch -a "$list"
	sort >"$list.new"
	comm -23 "$list" "$list.new" | (cd "$to" && xargs -r rm -f)
	if [ -n "$(rsync -c --out-format=%n --files-from="$list.new" "$from/" "$to/")" ] ||
		! cmp -s "$list" "$list.new"; then
		mv "$list.new" "$list"
	fi
}
