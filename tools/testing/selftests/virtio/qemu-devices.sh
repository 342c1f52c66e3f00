#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# qemu-devices.sh DIR: make in DIR what is behind the devices of qemu_devices_test, and
# print QEMU's arguments for them: a disk, two network interfaces that are connected, two
# serial ports that are connected, and a directory, with split and with packed virtqueues
set -euo pipefail

dir=$1
rm -rf "$dir"
mkdir -p "$dir"
seq 1 200000 >"$dir/numbers"

arguments=()
hub=0
for layout in split packed; do
	packed=off
	[ $layout = split ] || packed=on

	truncate -s 16M "$dir/$layout.disk"
	arguments+=(
		-drive "if=none,id=disk-$layout,format=raw,cache=unsafe,file=$dir/$layout.disk"
		-device "virtio-blk-pci,drive=disk-$layout,serial=$layout,packed=$packed"
	)
	for side in 0 1; do
		mac=52:54:00:00:0$hub:0$side
		arguments+=(
			-netdev "hubport,id=net-$layout-$side,hubid=$hub"
			-device "virtio-net-pci,netdev=net-$layout-$side,mac=$mac,packed=$packed"
		)
	done
	arguments+=(
		-chardev "socket,id=serial-$layout-0,path=$dir/$layout.socket,server=on,wait=off"
		-chardev "socket,id=serial-$layout-1,path=$dir/$layout.socket"
		-device "virtio-serial-pci,id=serial-$layout,packed=$packed"
	)
	for side in 0 1; do
		port=bus=serial-$layout.0,chardev=serial-$layout-$side
		arguments+=(-device "virtserialport,$port,name=$layout-$side")
	done
	arguments+=(
		-fsdev "local,id=directory-$layout,path=$dir,security_model=none"
		-device "virtio-9p-pci,fsdev=directory-$layout,mount_tag=$layout,packed=$packed"
	)
	hub=$((hub + 1))
done
echo "${arguments[@]}"
