#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# payload.sh DIR KDIR: put in DIR what the scripts here need in the VM: QEMU, for a guest
# with the kernel of KDIR and socat; DPDK's testpmd, with the drivers that it uses, and programs
# that have frames and streams echoed
set -euo pipefail

dir=$1 kdir=$2
here=tools/testing/vm/peers
virtio=tools/testing/selftests/virtio

mkdir -p "$dir"
cp $here/{dpdk,qemu}.sh tools/testing/selftests/vhost/vhost.sh "$dir/"
gcc -static -O2 -Wall -D_GNU_SOURCE -I $virtio/util -o "$dir/echo" $here/echo.c $virtio/util/frames.c
gcc -static -O2 -Wall -D_GNU_SOURCE -o "$dir/bounce" $here/bounce.c

$virtio/payload.sh "$dir/qemu" qemu-system-x86_64
mkdir -p "$dir/qemu/firmware"
cp /usr/share/seabios/bios-256k.bin /usr/share/qemu/{kvmvapic,linuxboot_dma}.bin \
	"$dir/qemu/firmware/"
cp "$kdir"/image/boot/vmlinuz-* "$dir/qemu/vmlinuz"
$virtio/payload.sh "$dir/root/socat" socat
cp $here/qemu-guest-init "$dir/root/init"
(cd "$dir/root" && find . | cpio -o -H newc --quiet) |
	cat "$kdir/initramfs.cpio" - >"$dir/qemu/initrd"
rm -r "$dir/root"

$virtio/payload.sh "$dir/dpdk" dpdk-testpmd
for driver in bus_vdev mempool_ring net_virtio; do
	so=$(echo /usr/lib/*/dpdk/pmds-*/librte_$driver.so.??)
	cp -L "$so" "$dir/dpdk/lib/"
	ldd "$so" | awk '$2 == "=>" { print $3 }' | xargs cp -Lut "$dir/dpdk/lib"
done
