#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# vhost_perf.sh: in the VM, what a buffer costs the kernel's own vhost, and ours, whose
# modules are here; stock/ has the kernel's own vhost_test. Prints lines "name value",
# which vhost_perf.c explains.
# shellcheck shell=dash
set -eu

cd "$(dirname "$0")"

measure() {
	./vhost_perf -p "$1"
	./vhost_perf -a -p "$1"
	rmmod vhost_test vhost_net vhost
}

modprobe vhost_net
insmod stock/vhost_test.ko
measure vhost-stock

for module in vhost vhost_net vhost_test; do
	insmod $module.ko
done
measure vhost
