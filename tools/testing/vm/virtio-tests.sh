#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# virtio-tests.sh DIR: build the tests of the virtqueue core below DIR; in DIR/payload are
# then the programs for the VM, in DIR/devices what QEMU's devices there have
set -euo pipefail
. tools/testing/vm/lib.sh

dir=$PWD/$1
tests=tools/testing/selftests/virtio
payload=$dir/payload

mkdir -p "$dir/bin"
# static: the VM has no libc
logged "${1##*/}" make -C "build/linux/$tests" OUTPUT="$dir/bin" LDFLAGS=-static \
	KHDR_INCLUDES="-isystem $PWD/build/linux/usr/include"
logged "${1##*/}-ring" make -C "$tests/ring" OUTPUT="$dir/ring" KERNEL="$PWD/build/linux" \
	PRISTINE="$PWD/build/pristine"

rm -rf "$payload"
mkdir -p "$payload/ring"
cp tools/testing/vm/run-selftests "$tests/kunit.sh" "$payload/"
cp "$tests/ring/upstream.sh" "$payload/ring/"
strip "$dir"/bin/{vduse_task,vduse_blk_test,vduse_net_test,vduse_vhost_test,qemu_devices_test}
cp "$dir"/bin/{vduse_task,vduse_blk_test,vduse_net_test,vduse_vhost_test,qemu_devices_test} "$payload/"
strip -o "$payload/ring/ring_enum" "$dir/ring/ring_enum"
cp "$dir"/ring/upstream/{vringh,virtio,vhost_net}_test{,_in_order} "$payload/ring/"
strip "$payload"/ring/*_test*
"$tests/payload.sh" "$payload" fio mkfs.ext4
"$tests/qemu-devices.sh" "$dir/devices" >"$dir/devices.arguments"
say 'tests of the virtqueue core'
