#!/bin/sh
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-only
# qemu.sh [split | packed | vsock | upstream]...: in the VM, QEMU as the host of a KVM guest
# with Linux, whose network is on vhost-net with such rings: it sends back what it gets, also
# while it moves to another QEMU. Or whose vsock is on vhost-vsock, and with "upstream", on
# which upstream's tests of vsock run. The first three, if not told otherwise. No wait here
# is without a limit.

set -u
cd "$(dirname "$0")" || exit 1

mac=52:54:00:00:00:01
host_mac=52:54:00:00:00:02
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
	echo $! >/tmp/qemu/"$name".pid
	cat /tmp/qemu/"$name".out >/tmp/qemu/"$name".said &
}

# monitor NAME COMMAND...: opened for reading, too, so as not to wait for a QEMU that is gone
monitor() {
	name=$1
	shift
	echo "$*" 1<>/tmp/qemu/"$name".in
}

seconds() {
	cut -d . -f 1 /proc/uptime
}

# wait_for SECONDS COMMAND...
wait_for() {
	limit=$1
	end=$(($(seconds) + limit))
	shift
	until "$@"; do
		if [ "$(seconds)" -ge $end ]; then
			echo "# not within $limit s: $*"
			return 1
		fi
		usleep 200000
	done
}

# shellcheck disable=SC2317 # wait_for calls it
is_gone() {
	! kill -0 "$1" 2>/dev/null
}

# quit NAME...
quit() {
	for name; do
		pid=$(cat /tmp/qemu/"$name".pid)
		monitor "$name" quit
		wait_for 20 is_gone "$pid" || kill -9 "$pid"
		# its reader may still wait for a first writer
		: 1<>/tmp/qemu/"$name".out
	done
	wait
	rm -f /tmp/qemu/*
}

# The guest is behind this tap device from now on. As behind a bridge, it finds the host
# under the same address.
connect() {
	ip addr flush dev "${2:-$1}"
	ip link set "$1" address $host_mac
	ip addr add 10.9.9.1/24 dev "$1"
	ip link set "$1" up
}

# A megabyte there and back
echoed() {
	./bounce tcp 10.9.9.2 5000
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

# What is known when something went wrong
state() {
	for in in /tmp/qemu/*.in; do
		name=${in##*/}
		for what in status migrate network; do
			monitor "${name%.in}" info $what
		done
	done
	usleep 500000
	tail -n 20 /tmp/qemu/*.log /tmp/qemu/*.said
	cat /proc/net/arp /proc/net/dev /proc/net/tcp
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
	# without what the monitor echoes
	state | grep -v "$(printf '\033')" | sed 's/^/# /'
}

# net LAYOUT: with the guest's network
net() {
	[ "$1" = packed ] && on=1 packed=on || on=0 packed=off
	start first "$packed"
	wait_for 120 grep -qs "guest: net" /tmp/qemu/first.log && has_packed first "$on"
	result $? "qemu $1: the guest has the layout"
	connect first
	echoed
	result $? "qemu $1: a megabyte there and back"

	start second "$packed" -incoming unix:/tmp/qemu/socket
	echoed_until_moved &
	traffic=$!
	wait_for 60 test -S /tmp/qemu/socket
	# the traffic dirties memory as fast as this machine sends it
	monitor first migrate_set_parameter downtime-limit 20000
	monitor first migrate -d unix:/tmp/qemu/socket
	wait_for 60 has_moved
	moved=$?
	connect second first
	touch /tmp/qemu/moved
	wait $traffic
	result $(($? | moved)) "qemu $1: so it is while the guest moves"
	quit first second
}

# QEMU 7.2 has no packed rings for vsock
vsock() {
	start third off -device vhost-vsock-pci,guest-cid=3,packed=off
	wait_for 120 grep -qs "guest: vsock" /tmp/qemu/third.log && has_packed third 0 vsock
	result $? "qemu vsock: the guest has the layout"
	./bounce vsock 3 5000
	result $? "qemu vsock: a megabyte there and back"
	quit third
}

# reported TEST STATUS: the cases of an upstream test, which ends with the first that fails
reported() {
	sed -nE 's/^[0-9]+ - (.*)\.\.\.(ok|skipped)$/\2 \1/p' /tmp/vsock-test >/tmp/vsock-cases
	while read -r outcome name; do
		n=$((n + 1))
		[ "$outcome" = ok ] && skip='' || skip=' # SKIP the other side cannot'
		echo "ok $n $1 $name$skip"
	done </tmp/vsock-cases
	[ "$2" = 0 ] || sed 's/^/# /' /tmp/vsock-test
	result "$2" "$1: all of them"
}

# False if the guest's side does not listen yet
# shellcheck disable=SC2317 # wait_for calls it
client() {
	timeout 600 "vsock/$1" --mode=client --control-host=10.9.9.2 --control-port=5001 \
		--peer-cid=3 >/tmp/vsock-test 2>&1
	status=$?
	! grep -q 'Control socket initialization failed' /tmp/vsock-test
}

# Each side is the server once, and the guest's is first
upstream() {
	start fourth off -device vhost-vsock-pci,guest-cid=3,packed=off
	wait_for 120 grep -qs "guest: vsock" /tmp/qemu/fourth.log
	result $? "qemu upstream: the guest is there"
	connect fourth
	for test in vsock_test vsock_uring_test; do
		timeout 600 "vsock/$test" --mode=server --control-port=5002 --peer-cid=3 \
			>/tmp/vsock-server 2>&1 &
		server=$!
		wait_for 60 client "$test"
		reported "$test client" "$status"
		wait "$server"
		status=$?
		mv /tmp/vsock-server /tmp/vsock-test
		reported "$test server" "$status"
	done
	quit fourth
}

[ $# != 0 ] || set -- split packed vsock
echo 'TAP version 13'
for part; do
	case $part in
	vsock) vsock ;;
	upstream) upstream ;;
	*) net "$part" ;;
	esac
done
echo "1..$n"
exit $failed
