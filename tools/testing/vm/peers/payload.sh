#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# payload.sh DIR: put in DIR what dpdk.sh needs in the VM: DPDK's testpmd, if it is
# installed, with the drivers that it uses, and a program that has frames echoed
set -euo pipefail

dir=$1
here=tools/testing/vm/peers
virtio=tools/testing/selftests/virtio

mkdir -p "$dir"
cp $here/dpdk.sh tools/testing/selftests/vhost/vhost.sh "$dir/"
gcc -static -O2 -Wall -D_GNU_SOURCE -I $virtio/util -o "$dir/echo" $here/echo.c $virtio/util/frames.c

command -v dpdk-testpmd >/dev/null || exit 0
$virtio/payload.sh "$dir/dpdk" dpdk-testpmd
for driver in bus_vdev mempool_ring net_virtio; do
	so=$(echo /usr/lib/*/dpdk/pmds-*/librte_$driver.so.??)
	cp -L "$so" "$dir/dpdk/lib/"
	ldd "$so" | awk '$2 == "=>" { print $3 }' | xargs cp -Lut "$dir/dpdk/lib"
done
