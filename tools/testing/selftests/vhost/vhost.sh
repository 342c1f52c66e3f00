#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# vhost.sh DIR [PARAMETER]...: in the VM, load the vhost modules of DIR in place of the
# kernel's own, with these parameters of vhost_net
set -eu

dir=$1
shift
net=$*
# The SCSI target complains if its directory is missing, or modules of disks that we do not use
mkdir -p /etc/target
echo /bin/true >/proc/sys/kernel/modprobe

set -- vhost_net vhost_vsock
# not of every kernel
[ ! -e "$dir/vhost_scsi.ko" ] || set -- "$@" vhost_scsi
# what they need is the kernel's
modprobe -a tun "$@"
rmmod "$@" vhost
for name in vhost "$@" vhost_test; do
	# shellcheck disable=SC2086 # words
	case $name in
	vhost_net) insmod "$dir/$name.ko" $net ;;
	*) insmod "$dir/$name.ko" ;;
	esac
done
