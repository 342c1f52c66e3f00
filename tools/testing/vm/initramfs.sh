#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# initramfs.sh KVER IMAGE OUT [MODULE]...: the VM's initramfs: busybox, our init, and of
# the kernel unpacked in IMAGE these modules with those they depend on, or all. BUSYBOX is
# one for its architecture, if that is not this machine's.
set -euo pipefail

kver=$1 image=$2 out=$3
shift 3
root=$out.d
modules=$image/lib/modules/$kver

rm -rf "$root"
mkdir -p "$root"/{bin,dev,proc,sys,tmp,lib/modules/"$kver"}
cp "${BUSYBOX:-/bin/busybox}" "$root/bin/"
cp tools/testing/vm/init "$root/init"
cp "$modules"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$kver/"
if [ $# = 0 ]; then
	mapfile -t all < <(find "$modules" -name '*.ko' -printf '%f\n')
	set -- "${all[@]%.ko}"
fi
for m; do
	modprobe -d "$image" -S "$kver" --show-depends "$m"
done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r ko; do
	to=$root/${ko#*"$image"/}
	mkdir -p "${to%/*}"
	case $ko in
	*.xz) xz -dc "$ko" >"${to%.xz}" ;;
	*) cp "$ko" "$to" ;;
	esac
done
depmod -b "$root" "$kver"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$out"
