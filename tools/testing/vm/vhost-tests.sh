#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# vhost-tests.sh MODULES VIRTIO DIR: build the tests of vhost below DIR; in DIR/payload are
# then the programs for the VM, with the modules, and those of upstream that are in VIRTIO
set -euo pipefail
. tools/testing/vm/lib.sh

modules=$1 virtio=$2 dir=$PWD/$3
tests=tools/testing/selftests/vhost
payload=$dir/payload
programs=(vhost_{test,net,vsock,hostile,scsi}_test)

mkdir -p "$dir/bin"
# static: the VM has no libc
logged vhost-tests make -C "build/linux/$tests" OUTPUT="$dir/bin" LDFLAGS=-static \
	KHDR_INCLUDES="-isystem $PWD/build/linux/usr/include"

rm -rf "$payload"
mkdir -p "$payload/upstream"
cp tools/testing/vm/run-selftests "$tests/vhost.sh" "$modules"/*.ko "$payload/"
for program in "${programs[@]}"; do
	strip -o "$payload/$program" "$dir/bin/$program"
done
cp "$virtio"/ring/{upstream.sh,virtio_test,vhost_net_test}* "$payload/upstream/"
say 'tests of vhost'
