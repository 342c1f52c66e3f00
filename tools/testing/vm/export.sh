#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# export.sh FILE...: build/export/*.patch, the series for a 6.12 git tree: first our
# files, which nothing uses yet, then the hooks, then our tests
set -euo pipefail
. tools/testing/vm/lib.sh

top=$PWD
out=build/export
repo=build/series
first=hooks/6.12/$(head -n 1 hooks/6.12/series)
author=$(sed -n 's/^From: //p' "$first")
date=$(sed -n 's/^Date: //p' "$first")
export GIT_COMMITTER_NAME=${author% <*} GIT_COMMITTER_EMAIL=${author##*[<]} GIT_COMMITTER_DATE=$date
GIT_COMMITTER_EMAIL=${GIT_COMMITTER_EMAIL%>}

commit() { git -C $repo commit -q -s --author="$author" --date="$date" -F -; }

rm -rf $out $repo
mkdir -p $repo
cp -r build/pristine/. $repo/
rm $repo/.files
git -C $repo init -q
git -C $repo add .
git -C $repo commit -q --author="$author" --date="$date" -m base

printf '%s\n' "$@" | grep -v '^tools/' | rsync --files-from=- . $repo
git -C $repo add .
commit <<'MESSAGE'
KVM: add ioregionfd

With KVM_SET_IOREGIONFD a VMM names a range of guest addresses, or of ports,
and the file descriptor of the task that emulates the device there. The
guest's accesses to it are then exchanged with that task, and do not go
through the VMM's vCPU thread.

Nothing calls this yet.

MESSAGE
sed "s|^|$top/hooks/6.12/|" hooks/6.12/series | xargs git -C $repo am -q

printf '%s\n' "$@" | grep '^tools/' | rsync --files-from=- . $repo
git -C $repo add .
commit <<'MESSAGE'
KVM: selftests: test ioregionfd

Arguments, access shapes, order, signals, device tasks that die or misbehave,
and what is left behind.

MESSAGE
git -C $repo format-patch -q --zero-commit -o "$top/$out" HEAD~"$(($(grep -c . hooks/6.12/series) + 2))"
say "$out: $(cd $out && echo *.patch)"
