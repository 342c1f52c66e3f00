#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
# In a machine with two CPUs whose KVM has ioregionfd: what a guest pays for a register, and
# for blocks of disks that are other processes, for each way in which its accesses get there.
# Prints lines "e2e/WHAT/WAY figure"; guest_bench.c says what a figure is.
#
# - ioregionfd, and forward by the VMM: all threads are on CPU 0, the processes sleep until
#   the next access, and CPU 1 is idle.
# - poll: ioregionfd, and the NVMe process polls on CPU 1. What it does there for nothing is
#   part of the figure. That is little: at each pause QEMU switches to the other CPU.
# - forward-apart: likewise forwarded by the VMM, to a process that sleeps on CPU 1.
#
# The images are two virtio disks of QEMU's, and all in the page cache.

cd "$(dirname "$0")" || exit 1
tmp=$(mktemp -d) || exit 1
echo N 2>/dev/null >/sys/module/kvm/parameters/report_ignored_msrs
modprobe -a virtio_pci virtio_blk || exit 1

# noxsave as in demo.sh; iomem=relaxed: the register belongs to a driver, and we read it
cmdline='console=ttyS0 panic=-1 noxsave quiet iomem=relaxed'

fail() {
	echo "# $*"
	sed 's/^/# guest: /' "$tmp/console"
	sed 's/^/# vmm: /' "$tmp/log"
	exit 1
}

# start DISKS OPTION...
start() {
	disks=$1
	shift
	taskset 1 ./vmm --kernel=vmlinuz --initrd=guest.cpio --cmdline="$cmdline disks=$disks" \
		--memory=160 --stats="$tmp/stats" --control="$tmp/control" "$@" \
		</dev/null >"$tmp/console" 2>"$tmp/log" &
}

# finish WAY
finish() {
	wait $! || fail "$1: the VMM has failed"
	grep -q 'GUEST: done' "$tmp/console" || fail "$1: the guest has not done all"
	exits=$(sed -n 's/^device_exits=//p' "$tmp/stats")
	case $1 in
	forward*) [ "$exits" -gt 10000 ] || fail "$1: $exits accesses were forwarded" ;;
	*) [ "$exits" = 0 ] || fail "$1: $exits accesses went to the VMM" ;;
	esac
	tr -d '\r' <"$tmp/console" | sed -n "s,^GUEST: figure \([^ ]*\) ,e2e/\1/$1 ,p"
}

for way in ioregionfd forward; do
	start vda,nvme0n1 --dispatch=$way --wait=sleep --blk=/dev/vda --nvme=/dev/vdb
	finish $way
done

# The thread of the process that serves accesses goes to CPU 1
move() {
	n=0
	until pid=$(./vmm --tell="$tmp/control" status 2>/dev/null |
		sed -n 's/^nvme0 .* pid \([1-9][0-9]*\) .*/\1/p') && [ "$pid" ]; do
		usleep 10000
		n=$((n + 1))
		[ $n -lt 1000 ] || fail 'there is no process'
	done
	taskset -p 2 "$pid" >/dev/null || fail 'taskset'
}

start nvme0n1 --wait=poll --nvme=/dev/vdb
move
finish poll
start nvme0n1 --dispatch=forward --wait=sleep --nvme=/dev/vdb
move
finish forward-apart
rm -rf "$tmp"
