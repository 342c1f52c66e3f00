#!/bin/sh
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-only
# qemu.sh: in the VM, QEMU as the host of a KVM guest with Linux, whose network is on
# vhost-net: it sends back what it gets, also while it moves to another QEMU. Its vsock is
# on vhost-vsock.

set -u
cd "$(dirname "$0")" || exit 1

mac=52:54:00:00:00:01
mkdir -p /tmp/qemu

# start NAME PACKED [ARGUMENT]...: with a tap device and a monitor of that name
start() {
	name=$1 packed=$2
	shift 2
	rm -f /tmp/qemu/"$name".*
	mkfifo /tmp/qemu/"$name".in /tmp/qemu/"$name".out
	qemu/bin/qemu-system-x86_64 -L qemu/firmware -nodefaults -no-user-config -display none \
		-accel kvm -cpu host -m 96 -kernel qemu/vmlinuz -initrd qemu/initrd \
		-append 'console=ttyS0 loglevel=3 tsc=reliable' -serial file:/tmp/qemu/"$name".log \
		-chardev pipe,id=monitor,path=/tmp/qemu/"$name" -mon chardev=monitor \
		-netdev tap,id=net,ifname="$name",script=no,downscript=no,vhost=on,vhostforce=on \
		-device virtio-net-pci,netdev=net,packed="$packed",mac=$mac,romfile= "$@" &
	cat /tmp/qemu/"$name".out >/tmp/qemu/"$name".said &
}

# monitor NAME COMMAND...
monitor() {
	name=$1
	shift
	echo "$*" >/tmp/qemu/"$name".in
}

# wait_for SECONDS COMMAND...
wait_for() {
	left=$(($1 * 5))
	shift
	until "$@"; do
		left=$((left - 1))
		[ $left -gt 0 ] || return 1
		usleep 200000
	done
}

# The guest is behind this tap device from now on.
connect() {
	ip addr flush dev "${2:-$1}"
	ip addr add 10.9.9.1/24 dev "$1"
	ip link set "$1" up
}

# Between two connections there is a moment in which nobody listens
# shellcheck disable=SC2317 # wait_for calls it
answered() {
	nc -w 60 10.9.9.2 5000 </tmp/qemu/data >/tmp/qemu/back || [ -s /tmp/qemu/back ]
}

# A megabyte there and back
echoed() {
	wait_for 60 answered
	cmp /tmp/qemu/data /tmp/qemu/back
}

# Likewise through vsock
# shellcheck disable=SC2317 # wait_for calls it
vsock_echoed() {
	socat/bin/socat -t 60 - VSOCK-CONNECT:3:5000 </tmp/qemu/data >/tmp/qemu/back &&
		cmp /tmp/qemu/data /tmp/qemu/back
}

# has_packed NAME 0|1 [DRIVER]
has_packed() {
	[ "$(sed -n "s/guest: ${3:-net} [01]\{34\}\([01]\).*/\1/p" /tmp/qemu/"$1".log)" = "$2" ]
}

# One megabyte after the other, the last of which has begun after the move
echoed_until_moved() {
	while [ ! -e /tmp/qemu/moved ]; do
		echoed || return 1
	done
	echoed
}

# shellcheck disable=SC2317 # wait_for calls it
has_moved() {
	monitor first info status
	grep -q postmigrate /tmp/qemu/first.said
}

n=0
failed=0
result() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
		return
	fi
	echo "not ok $n $2"
	failed=1
	tail -n 20 /tmp/qemu/*.log /tmp/qemu/*.said | sed 's/^/# /'
}

echo 'TAP version 13'
echo '1..8'
dd if=/dev/urandom of=/tmp/qemu/data bs=64k count=16 2>/dev/null

for layout in split packed; do
	[ $layout = packed ] && on=1 packed=on || on=0 packed=off
	start first "$packed"
	wait_for 120 grep -qs "guest: net" /tmp/qemu/first.log && has_packed first "$on"
	result $? "qemu $layout: the guest has the layout"
	connect first
	echoed
	result $? "qemu $layout: a megabyte there and back"

	start second "$packed" -incoming unix:/tmp/qemu/socket
	rm -f /tmp/qemu/moved
	echoed_until_moved &
	traffic=$!
	wait_for 60 test -S /tmp/qemu/socket
	# the traffic dirties memory as fast as this machine sends it
	monitor first migrate_set_parameter downtime-limit 20000
	monitor first migrate -d unix:/tmp/qemu/socket
	wait_for 120 has_moved
	connect second first
	touch /tmp/qemu/moved
	wait $traffic
	result $? "qemu $layout: so it is while the guest moves"
	monitor first quit
	monitor second quit
	wait
	rm -f /tmp/qemu/socket
done

# QEMU 7.2 has no packed rings for vsock
start third off -device vhost-vsock-pci,guest-cid=3,packed=off
wait_for 120 grep -qs "guest: vsock" /tmp/qemu/third.log && has_packed third 0 vsock
result $? "qemu vsock: the guest has the layout"
wait_for 60 vsock_echoed
result $? "qemu vsock: a megabyte there and back"
monitor third quit
wait
exit $failed
