#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# export.sh: $build/export/*.patch, the series for a git tree of the kernel: first our
# files and tests, which nothing uses yet, then the hooks
set -euo pipefail
. tools/testing/vm/lib.sh

top=$PWD
out=$build/export
repo=$build/series
first=$(series | head -n 1)
author=$(sed -n 's/^From: //p' "$first")
date=$(sed -n 's/^Date: //p' "$first")
export GIT_COMMITTER_NAME=${author% <*} GIT_COMMITTER_EMAIL=${author##*[<]} GIT_COMMITTER_DATE=$date
GIT_COMMITTER_EMAIL=${GIT_COMMITTER_EMAIL%>}

commit() { git -C "$repo" commit -q -s --author="$author" --date="$date" -F -; }

rm -rf "$out" "$repo"
mkdir -p "$repo"
cp -r "$build/pristine/." "$repo/"
rm "$repo/.files"
git -C "$repo" init -q
git -C "$repo" add .
git -C "$repo" commit -q --author="$author" --date="$date" -m base

# add PATTERN: a commit of our files whose path has it, if any, with the message on stdin
add() {
	local files
	mapfile -t files < <(grep -E "$1" "$build/linux/.laid")
	[ ${#files[@]} = 0 ] && return
	printf '%s\n' "${files[@]}" | rsync --files-from=- "$build/linux" "$repo"
	git -C "$repo" add .
	commit
}

add '^(Documentation/(virt|litmus-tests/ioregionfd)|include|virt)/' <<'MESSAGE'
KVM: add ioregionfd

With KVM_SET_IOREGIONFD a VMM names a range of guest addresses, or of
ports, and the file descriptor of the task that emulates the device there.
The guest's accesses to it are then exchanged with that task, and do not go
through the VMM's vCPU thread.

Nothing calls this yet.

MESSAGE
add '^(Documentation/(driver-api/virtio/in_order|litmus-tests/virtqueue)|drivers/virtio/)' <<'MESSAGE'
virtio_ring: add VIRTIO_F_IN_ORDER, for both layouts

A device that uses buffers in the order in which they were made available
spares the driver the list of free descriptors, and may return a batch of
buffers with one used element.

Nothing calls this yet.

MESSAGE
add '^(Documentation/driver-api/virtio/vhost|drivers/vhost/)' <<'MESSAGE'
vhost: add packed rings and VIRTIO_F_IN_ORDER

Both take fewer accesses to the memory of the driver, which is what vhost
spends its time on.

Nothing calls this yet.

MESSAGE
add '^tools/(ioregionstat|lib|testing/selftests/kvm)/' <<'MESSAGE'
KVM: selftests: test ioregionfd

Arguments, access shapes, order, signals, device tasks that die or
misbehave, and what is left behind.

MESSAGE
add '^(Documentation/driver-api/virtio/conformance|tools/testing/selftests/(virtio|vhost)/)' <<'MESSAGE'
selftests: test virtqueues in order, and vhost's rings

Real drivers on a device task behind VDUSE and on QEMU's devices, the core
in user space, and rings of user space on vhost's devices.

MESSAGE
add '^tools/verification/' <<'MESSAGE'
tools/verification: add models of ioregionfd and of event suppression

Promela models, for spin: a command and its response, the ring of posted
writes, who sleeps and is woken, the removal of regions, and event
suppression between vhost and a driver.

MESSAGE

series | sed "s|^|$top/|" | xargs git -C "$repo" am -q
git -C "$repo" format-patch -q --zero-commit -o "$top/$out" "$(git -C "$repo" rev-list --max-parents=0 HEAD)"
say "$out: $(cd "$out" && echo *.patch)"
