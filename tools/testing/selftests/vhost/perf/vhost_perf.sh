#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# vhost_perf.sh: in the VM, what a buffer costs the kernel's own vhost, and ours, whose
# modules are here; stock/ has those of the kernel's own that are not in the VM's kernel.
# Prints lines "name value", which vhost_perf.c explains.
# shellcheck shell=dash
set -eu

cd "$(dirname "$0")"

measure() {
	./vhost_perf -p "$1"
	./vhost_perf -a -p "$1"
	rmmod vhost_test vhost_net vhost
}

modprobe -a vhost_iotlb tun tap
for module in vhost vhost_net vhost_test; do
	if [ -e stock/$module.ko ]; then
		insmod stock/$module.ko
	else
		modprobe $module
	fi
done
measure vhost-stock

for module in vhost vhost_net vhost_test; do
	insmod $module.ko
done
measure vhost
