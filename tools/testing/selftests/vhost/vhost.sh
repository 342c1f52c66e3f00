#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# vhost.sh DIR: in the VM, load the vhost modules of DIR in place of the kernel's own
set -eu

dir=$1
# what they need is the kernel's
modprobe -a tun vhost_net vhost_vsock
rmmod vhost_net vhost_vsock vhost
for name in vhost vhost_net vhost_vsock vhost_test; do
	insmod "$dir/$name.ko"
done
