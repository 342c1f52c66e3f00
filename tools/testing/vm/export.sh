#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# export.sh: $build/export/SUBSYSTEM/*.patch, a series for each subsystem, with a cover letter,
# for a git tree of the kernel. $hooks/series says what is in which, and in which order:
#   # Series: SUBSYSTEM   begins one
#   HOOK.patch            a hook
#   # Files: NAME         files of ours, whose paths match the head of hooks/files/NAME and
#                         that no patch has yet; the rest there is the commit message
#   # With: REGEX         files of ours that are in the patch of the hook that follows
# The cover letter is hooks/letters/SUBSYSTEM. Each series applies to the kernel's source as it
# was; with all of them, it is what is in $build/linux.
set -euo pipefail
. tools/testing/vm/lib.sh

top=$PWD
out=$build/export
repo=$build/series
left=$build/log/export.left
letter=$build/log/export.letter
first=$(series | head -n 1)
author=$(sed -n 's/^From: //p' "$first")
date=$(sed -n 's/^Date: //p' "$first")
source=$(cd "$build/linux" && echo .hooked-*)
export GIT_COMMITTER_NAME=${author% <*} GIT_COMMITTER_EMAIL=${author##*[<]} GIT_COMMITTER_DATE=$date
GIT_COMMITTER_EMAIL=${GIT_COMMITTER_EMAIL%>}

# Pages about this repository, and a script that is of use only here
not_exported='Documentation/driver-api/virtio/overview.rst
tools/testing/selftests/virtio/ring/fixes.sh'

# Files that everybody adds a line to
shared='Documentation/driver-api/virtio/index.rst
MAINTAINERS
tools/testing/selftests/Makefile'

in_repo() { git -C "$repo" "$@"; }

# take REGEX: our files whose paths match, and that nobody has taken, to the repository
take() {
	local files
	mapfile -t files < <(grep -E "$1" "$left")
	[ ${#files[@]} != 0 ] || return
	printf '%s\n' "${files[@]}" | rsync --files-from=- "$build/linux" "$repo"
	printf '%s\n' "${files[@]}" | grep -vxFf - "$left" >"$left.new" || true
	mv "$left.new" "$left"
	in_repo add .
}

files() {
	local description=hooks/files/$1
	take "$(sed -n 's/^# Files: //p' "$description")" || die "$description: there are no such files"
	sed '/^#/d' "$description" | in_repo commit -q -s --author="$author" --date="$date" -F -
}

# One after the other, in a tree that has the former series, too
commits() {
	local line value with='' subsystem=''
	while IFS= read -r line; do
		value=${line#*: }
		case $line in
		'# Series: '*)
			[ -z "$subsystem" ] || in_repo tag "end-$subsystem"
			subsystem=$value
			in_repo tag "begin-$subsystem"
			;;
		'# Files: '*) files "$value" ;;
		'# With: '*) with=$value ;;
		'#'* | '') ;;
		*)
			in_repo am -q "$top/$hooks/$line" || die "$line: git am fails"
			if [ -n "$with" ]; then
				take "$with" || die "$line: there are no files $with"
				in_repo commit -q --amend --no-edit
				with=''
			fi
			;;
		esac
	done <"$hooks/series"
	in_repo tag "end-$subsystem"
}

# The letter, with what is said for this kernel only between "#if KERNEL" and "#endif"
cover() {
	awk -v kernel="$kernel" -v source="${source#.hooked-}" '
		/^#if / { skip = $2 != kernel; next }
		/^#endif/ { skip = 0; next }
		/^#/ || skip { next }
		{ gsub(/@KERNEL@/, kernel); gsub(/@SOURCE@/, "linux-source-" kernel " " source); print }
	' "hooks/letters/$1"
}

# By itself: git merges what other series have added to the same file
alone() {
	local subsystem=$1
	in_repo checkout -q -b "$subsystem" base
	in_repo cherry-pick "begin-$subsystem..end-$subsystem" >"$build/log/export-$subsystem.log" 2>&1 ||
		die "the series $subsystem does not apply by itself: $build/log/export-$subsystem.log"
	cover "$subsystem" >"$letter"
	in_repo config "branch.$subsystem.description" "$(cat "$letter")"
	in_repo format-patch -q --zero-commit --cover-letter --cover-from-description=subject \
		-o "$top/$out/$subsystem" "base..$subsystem"
}

# Each file in one series, and nobody else's in any
apart() {
	local subsystem
	while read -r subsystem; do
		in_repo diff --name-only base "$subsystem"
	done < <(subsystems) | sort | uniq -d | grep -vxF "$shared" >"$left.new" || return 0
	die "in two series: $(paste -sd ' ' "$left.new")"
}

# As who gets all of the series applies them
together() {
	local subsystem p
	in_repo checkout -q -b together base
	while read -r subsystem; do
		exported "$subsystem" | sed "s|^|$top/|" | xargs git -C "$repo" am -q -3 >/dev/null ||
			die "the series $subsystem does not apply with the others"
	done < <(subsystems)
	while read -r p; do
		cmp "$build/linux/$p" "$repo/$p" || die "the series do not make of $p what it is"
	done < <(cat "$build"/{linux/.laid,pristine/.files} | grep -vxF "$not_exported")
}

rm -rf "$out" "$repo"
mkdir -p "$repo" "$build/log"
cp -r "$build/pristine/." "$repo/"
rm "$repo/.files"
in_repo init -q
in_repo add .
in_repo commit -q --author="$author" --date="$date" -m base
in_repo tag base
grep -vxF "$not_exported" "$build/linux/.laid" >"$left"

commits
[ ! -s "$left" ] || die "in no series: $(paste -sd ' ' "$left")"
while read -r subsystem; do
	alone "$subsystem"
done < <(subsystems)
apart
together
while read -r subsystem; do
	say "$out/$subsystem: a cover letter and $(exported "$subsystem" | wc -l) patches"
done < <(subsystems)
