#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# vhost-bench.sh KVER MODULES DIR: build what measures vhost below DIR; in DIR/payload is
# then what the VM needs, with MODULES, and the vhost_test that kernel KVER's own vhost
# would have, which Debian does not build
set -euo pipefail
. tools/testing/vm/lib.sh

kver=$1 modules=$2 dir=$PWD/$3
perf=tools/testing/selftests/vhost/perf
stock=$dir/stock
payload=$dir/payload

mkdir -p "$stock" "$dir/bin"
# static: the VM has no libc
logged vhost-perf make -C "build/linux/$perf" OUTPUT="$dir/bin" LDFLAGS=-static \
	KHDR_INCLUDES="-isystem $PWD/build/linux/usr/include"

cp build/pristine/drivers/vhost/{test.c,vhost.h} build/linux/drivers/vhost/test.h "$stock/"
printf 'obj-m := vhost_test.o\nvhost_test-y := test.o\n' >"$stock/Kbuild"
logged vhost-stock make -C "build/$kver/headers/build" M="$stock" modules

rm -rf "$payload"
mkdir -p "$payload/stock"
cp "$modules"/vhost{,_net,_test}.ko "$perf/vhost_perf.sh" "$payload/"
strip -g -o "$payload/stock/vhost_test.ko" "$stock/vhost_test.ko"
strip -o "$payload/vhost_perf" "$dir/bin/vhost_perf"
