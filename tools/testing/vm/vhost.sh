#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# vhost.sh KVER OUT: build the vhost modules for kernel KVER, and put stripped copies in
# OUT
set -euo pipefail
. tools/testing/vm/lib.sh

kver=$1 out=$2
dir=build/$kver/vhost

(cd build/linux/drivers/vhost && find . -name '*.[ch]') | lay build/linux/drivers/vhost "$dir"
cp tools/testing/vm/Kbuild.vhost "$dir/Kbuild"
logged "vhost-$kver" make -C "build/$kver/headers/build" M="$PWD/$dir" modules

mkdir -p "$out"
for ko in "$dir"/*.ko; do
	strip -g -o "$out/${ko##*/}" "$ko"
done
say "$(cd "$out" && echo *.ko | sed 's/ /, /g') for $kver"
