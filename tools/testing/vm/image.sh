#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# image.sh KVER DEBVER DIR: Debian's kernel and modules, unpacked in DIR
set -euo pipefail

kver=$1 debver=$2 dir=$3
deb=$(tools/testing/vm/fetch.sh "linux-image-$kver" "$debver")
rm -rf "$dir"
mkdir -p "$dir"
# Since Debian 13 they are in /usr/lib
dpkg-deb --fsys-tarfile "$deb" |
	tar -x -C "$dir" --transform 's|^\./usr/lib/|./lib/|' ./boot \
		--wildcards './*lib/modules/*/modules.*' \
		'./*lib/modules/*/kernel/'{arch/x86,fs/configfs,net,virt} \
		'./*lib/modules/*/kernel/drivers/'{crypto,net,scsi/scsi_common.ko.xz,target,vhost}
depmod -b "$dir" "$kver"
