#!/bin/busybox sh
# shellcheck shell=dash disable=SC2317,SC3028 # functions by their names; busybox has RANDOM
# SPDX-License-Identifier: GPL-2.0-only
# vm.sh [TEST]...: in a machine whose KVM has ioregionfd, boots guests whose devices are other
# processes, and kills, stops and replaces these. The guests are Debian's kernel ("stock")
# and ours ("dev", which has VIRTIO_F_IN_ORDER); guest-init is what they run. No wait here is
# without a limit, which is meant for a machine that is busy with others. KILLS in the
# environment says how often a process is killed under load (30), for as long as that takes.
# Some tests need what is in the payload of the machine vmm-tools alone: programs of others.

cd "$(dirname "$0")" || exit 1
# shellcheck source=tools/vmm/waiting.sh
. ./waiting.sh
tmp=$(mktemp -d) || exit 1
services=$(mktemp -d) || exit 1
# Of a second VM
other=$(mktemp -d) || exit 1
vmm='' beside='' number=0
trap 'end_vmm; end_services; rm -rf "$tmp" "$other"' EXIT

# noxsave as in demo.sh
cmdline='console=ttyS0 panic=-1 noxsave quiet'
kills=${KILLS:-30}
limit=$((600 + 2 * kills))
# One for each thing that stock Linux tries and KVM does not have
echo N 2>/dev/null >/sys/module/kvm/parameters/report_ignored_msrs

all='split packed in_order packed_in_order upgrade stopped crash_loop killed forward socket same
	nvme nvme_cpus nvme_sleep nvme_poll nvme_upgrade nvme_stopped nvme_crash_loop
	net_split net_packed net_in_order net_packed_in_order net_forward net_upgrade net_crash_loop
	vsock_split vsock_packed vsock_in_order vsock_packed_in_order vsock_upgrade vsock_crash_loop
	two two_net two_killed'
# And with programs of others
with_tools='fio_split fio_packed fio_in_order fio_packed_in_order fio_nvme nvme_cli nvme_cli_kills
	iperf iperf_packed_in_order vsock_upstream vsock_upstream_kills'
[ ! -e tools-fio.cpio ] || all="$all $with_tools"
# shellcheck disable=SC2086 # to be split into words
[ $# != 0 ] || set -- $all

fail() {
	echo "# $*"
	[ ! -s "$tmp/console" ] || tail -n 20 "$tmp/console" | sed 's/^/# guest: /'
	[ ! -s "$tmp/log" ] || tail -n 20 "$tmp/log" | sed 's/^/# vmm: /'
	failed=y
	return 1
}

end_vmm() {
	[ -z "$vmm" ] || kill "$vmm" 2>/dev/null
	wait
	vmm=''
}

# use blk|nvme|net|vsock: which devices the next guests have, what they call them, what the VMM
# does, and which of their steps uses the first one. VM number 1 is one beside the first.
use() {
	kind=$1
	load=load tools='' typed='' sum='' memory=160
	tap=tap$number subnet=10.9.$((9 + number)) cid=$((3 + number))
	devices="--$kind=$tmp/disk0 --$kind=$tmp/disk1"
	case $kind in
	blk) names='disk=vda second=vdb pci=off' ;;
	nvme) names='disk=nvme0n1 second=nvme1n1' ;;
	net) names=pci=off load=net devices="--net=$tap,$mac" ;;
	vsock) names=pci=off load=vsock devices=--vsock=$cid ;;
	esac
}

# with TOOLS LOAD [MB]: programs of others are laid over the guest's initramfs. Its root file
# system takes half of the memory that the initramfs leaves.
with() {
	tools=$1 load=$2 memory=${3:-256}
}

mac=52:54:00:12:34:56

# serve NAME COMMAND...: somebody whom guests find on the other side of the tap, or at their
# host. Not a child, for which end_vmm would wait.
serve() {
	file=$services/$1.pid
	shift
	{ [ -e "$file" ] && kill -0 "$(cat "$file")" 2>/dev/null; } || (
		"$@" >/dev/null 2>&1 &
		echo $! >"$file"
	)
}

end_services() {
	for file in "$services"/*.pid; do
		[ ! -e "$file" ] || kill "$(cat "$file")"
	done
	rm -rf "$services"
}

# The tap stays when a VMM ends.
tap_up() {
	[ -e "/sys/class/net/$tap" ] || tunctl -t "$tap" >/dev/null || return
	ifconfig "$tap" "$subnet.1" netmask 255.255.255.0 mtu 1400 up
}

# Who says what sum has what is sent there, and who sends something that has $sum
serve_sums() {
	[ -e "$services/data" ] ||
		dd if=/dev/urandom of="$services/data" bs=64k count=256 2>/dev/null || return
	sum=$(sha256sum <"$services/data" | cut -d ' ' -f 1)
	serve sums socat/bin/socat -t 60 TCP-LISTEN:5001,fork,reuseaddr EXEC:sha256sum
	serve data socat/bin/socat -U TCP-LISTEN:5002,fork,reuseaddr "FILE:$services/data"
}

# What the load needs of the guest's host
host() {
	case $load in
	net) tap_up && serve net socat/bin/socat TCP-LISTEN:5000,fork,reuseaddr EXEC:cat ;;
	vsock) serve vsock socat/bin/socat VSOCK-LISTEN:5000,fork EXEC:cat ;;
	iperf) tap_up && serve iperf tools/bin/iperf3 -4 -s && serve_sums ;;
	upstream_vsock) tap_up ;;
	esac
}

# boot KERNEL STEPS SECONDS [OPTION]...: start a VMM. Files of a former one are removed.
boot() {
	kernel=$1 steps=$2 seconds=$3
	shift 3
	rm -f "$tmp"/*
	dd if=/dev/zero of="$tmp/disk0" bs=1 count=0 seek=16M 2>/dev/null
	dd if=/dev/zero of="$tmp/disk1" bs=1 count=0 seek=8M 2>/dev/null
	touch "$tmp/console"
	host || fail "the host's side of $kind" || return
	initrd=guest-$kernel.cpio
	if [ -n "$tools" ]; then
		cat "$initrd" "tools-$tools.cpio" >"$tmp/initrd" || fail "no $tools" || return
		initrd=$tmp/initrd
	fi
	input=/dev/null
	if [ -n "$typed" ]; then
		input=$tmp/keyboard
		mkfifo "$input" || fail 'no keyboard' || return
		# For both directions, as then neither side waits for the other one to open it
		exec 3<>"$input"
	fi
	args="$names kind=$kind steps=$steps seconds=$seconds subnet=$subnet"
	# shellcheck disable=SC2086 # to be split into words
	./vmm --kernel="vmlinuz-$kernel" --initrd="$initrd" \
		--cmdline="$cmdline $args${typed:+ typed=$typed}${sum:+ sum=$sum}" \
		--memory="$memory" $devices --control="$tmp/control" \
		--stats="$tmp/stats" "$@" <"$input" 3>&- >"$tmp/console" 2>"$tmp/log" &
	vmm=$!
}

ended() {
	! kill -0 "$vmm" 2>/dev/null
}

# within WHAT COMMAND...: until the command succeeds, or the VMM has ended, or it is too late
within() {
	what=$1
	shift
	n=0
	until "$@" || ended; do
		usleep 100000
		n=$((n + 1))
		[ "$n" -lt $((limit * 10)) ] || {
			waiting
			fail "$what: not within $limit s"
			return
		}
	done
}

# wait_for TEXT: until the guest has said this
wait_for() {
	within "the guest says '$1'" grep -qF "$1" "$tmp/console" || return
	grep -qF "$1" "$tmp/console" || fail "the VMM ended before the guest said '$1'"
}

# The guest has done all its steps and powered itself off, and nobody complained
finish() {
	wait_for 'GUEST: done' || return
	within 'the VMM ends' ended || return
	wait "$vmm"
	status=$?
	vmm=''
	[ "$status" = 0 ] || fail "the VMM ended with status $status" || return
	! grep '^GUEST: .* failed' "$tmp/console" || fail 'a step failed' || return
	! grep '^GUEST: dmesg' "$tmp/console" || fail 'the kernel of the guest complains'
}

tell() {
	./vmm --tell="$tmp/control" "$@"
}

# pid_of DEVICE
pid_of() {
	tell status | sed -n "s/^$1 .* pid \([0-9]*\) .*/\1/p"
}

# kill_one DEVICE: at a random moment, the process that serves it by then
kill_one() {
	usleep "$RANDOM"
	pid=$(pid_of "$1")
	# The VMM may not know yet that the last one is dead
	if [ "${pid:-0}" != 0 ] && [ "$pid" != "$last" ]; then
		kill -9 "$pid" && killed=$((killed + 1)) last=$pid
	fi
}

load_is_over() {
	grep -q "GUEST: $load [of]" "$tmp/console"
}

# kill_often DEVICE. A try takes a fiftieth of a second or more.
kill_often() {
	killed=0 last=0 tries=0
	while [ "$killed" -lt "$kills" ]; do
		kill_one "$1"
		! load_is_over || {
			fail "the load was over after $killed kills of $kills"
			return
		}
		! ended || {
			fail "the VMM ended after $killed kills of $kills"
			return
		}
		tries=$((tries + 1))
		[ "$tries" -lt $((limit * 50)) ] || {
			waiting
			fail "no more than $killed kills of $kills, in $tries tries"
			return
		}
	done
}

# kill_on DEVICE: as long as there is a load
kill_on() {
	within 'the load is over' over_after_a_kill "$1"
}

over_after_a_kill() {
	kill_one "$1"
	load_is_over
}

# kill_beside DEVICE: as long as there is another VM
kill_beside() {
	[ -z "$beside" ] || within 'the other VM ends' alone_after_a_kill "$1"
}

alone_after_a_kill() {
	kill_one "$1"
	! kill -0 "$beside" 2>/dev/null
}

# kill_loaded KERNEL STEPS [OPTION]...: kills the first device's process under load. How long so
# many kills take depends on what else the machine does, so the load goes on until a line is
# typed. What is checked at its end is checked under kills, too.
kill_loaded() {
	kernel=$1 steps=$2 typed=y
	shift 2
	boot "$kernel" "$steps" 0 --crash-limit=1000/1 "$@" || return
	wait_for "GUEST: $load begins" && kill_often "${kind}0" && kill_beside "${kind}0" || return
	echo enough >&3
	kill_on "${kind}0" && finish
}

# under_kills KERNEL STEPS CPUS [OPTION]...: a file system and data that are verified, with
# kills
under_kills() {
	kernel=$1 steps=$2 cpus=$3
	shift 3
	kill_loaded "$kernel" "$steps" --cpus="$cpus" "$@" || return
	grep -q "GUEST: up on .* with $cpus CPUs" "$tmp/console" || fail "not $cpus CPUs" || return
	deaths=$(grep -c "${kind}0: process killed by signal 9" "$tmp/log")
	[ "$deaths" -ge "$kills" ] || fail "the VMM saw $deaths deaths" || return
	exits=$(sed -n 's/^device_exits=//p' "$tmp/stats")
	[ "$exits" = 0 ] || fail "$exits accesses of the device went to the VMM" || return
	echo "# $cpus CPUs: $deaths deaths, $(grep -E '[0-9] (requests|megabytes|passes|resets)|iperf3' \
		"$tmp/console" | tail -n 4 | tr '\r\n' '; ')"
}

# layout KERNEL CPUS BITS [OPTION]...: BITS is what the driver has agreed to: packed, in order
layout() {
	kernel=$1 cpus=$2 bits=$3
	shift 3
	[ "$load" = load ] && steps=features,ext4,load || steps=features,$load
	under_kills "$kernel" "$steps" "$cpus" "$@" || return
	grep -q "GUEST: features $bits" "$tmp/console" || fail "other features than $bits"
}

test_split() {
	layout stock 1 00
}

test_packed() {
	layout stock 1 10 --features=packed,in_order
}

test_in_order() {
	layout dev 2 01 --features=in_order
}

test_packed_in_order() {
	layout dev 1 11 --features=packed,in_order
}

# upgraded KERNEL PROGRAM
upgraded() {
	cp "$2" "$tmp.new" || return
	boot "$1" "$load" 4
	wait_for "GUEST: $load begins" || return
	tell upgrade "${kind}0" "$tmp.new" || fail 'the upgrade failed' || return
	! tell upgrade "${kind}0" /bin/busybox || fail 'an upgrade to busybox worked' || return
	tell status
	tell status | grep -qF "${kind}0 running pid $(pidof "$(basename "$tmp.new")") deaths 0 program $tmp.new" ||
		fail 'the new program does not run' || return
	finish
	rm -f "$tmp.new"
}

test_upgrade() {
	upgraded dev virtio-blk
}

# stopped KERNEL
stopped() {
	boot "$1" idle,stopped 1
	wait_for 'GUEST: idle begins' || return
	pid=$(pid_of "${kind}0")
	kill -STOP "$pid"
	wait_for 'GUEST: the first disk waits' || return
	kill -CONT "$pid"
	finish
}

test_stopped() {
	stopped dev
}

# crash_loop KERNEL STEP: the guest is told, and goes on with the other disk
crash_loop() {
	boot "$1" "$2" 1 --crash-limit=3/1000
	wait_for "GUEST: $2 begins" || return
	for n in 1 2 3; do
		tell kill "${kind}0" >/dev/null || fail "cannot kill for the time $n" || return
		usleep 300000
	done
	finish || return
	# The guest may be gone before one can ask the VMM.
	grep -q "${kind}0: 3 deaths within 1000 s: it has failed" "$tmp/log" || fail 'it has not failed'
}

test_crash_loop() {
	crash_loop dev failed
}

# Of a VMM that is killed nothing is left, not even what is stopped
test_killed() {
	boot dev load 5
	wait_for 'GUEST: load begins' || return
	first=$(pid_of blk0) second=$(pid_of blk1)
	kill -STOP "$second"
	kill -9 "$vmm"
	wait
	vmm=''
	n=0
	while kill -0 "$first" 2>/dev/null || kill -0 "$second" 2>/dev/null; do
		usleep 100000
		n=$((n + 1))
		[ "$n" -lt 100 ] || fail 'a process has outlived the VMM' || return
	done
}

# dispatched PATH: kills when the accesses take this way
dispatched() {
	kill_loaded dev "$load" --dispatch="$1" || return
	exits=$(sed -n 's/^device_exits=//p' "$tmp/stats")
	[ "$exits" != 0 ] || fail 'no accesses of the device went to the VMM'
}

test_forward() {
	dispatched forward
}

test_socket() {
	dispatched socket
}

# Whichever way the accesses take, the disk is the same
test_same() {
	sum=''
	for path in ioregionfd socket forward; do
		boot dev fixed 1 --dispatch="$path"
		finish || return
		exits=$(sed -n 's/^device_exits=//p' "$tmp/stats")
		echo "# $path: $exits accesses of the disks went to the VMM"
		[ "$path" = forward ] || [ "$exits" = 0 ] || fail 'there should be none' || return
		now=$(sha256sum <"$tmp/disk0")
		[ -z "$sum" ] || [ "$sum" = "$now" ] || fail "$path wrote something else" || return
		sum=$now
	done
}

# The stock driver of Debian's kernel
test_nvme() {
	use nvme
	under_kills stock ext4,load 1
}

# A queue for each CPU
test_nvme_cpus() {
	use nvme
	under_kills stock ext4,load 2
}

# A process that never polls, and one that never sleeps
test_nvme_sleep() {
	use nvme
	under_kills stock load 1 --wait=sleep
}

test_nvme_poll() {
	use nvme
	under_kills stock load 1 --wait=poll
}

test_nvme_upgrade() {
	use nvme
	upgraded stock nvme
}

test_nvme_stopped() {
	use nvme
	stopped stock
}

test_nvme_crash_loop() {
	use nvme
	crash_loop stock nvme_failed
}

# As the disks, with data that go out and come back. Each of these also starts and stops the
# device again and again, while its process is killed.
test_net_split() {
	use net
	layout stock 1 00
}

test_net_packed() {
	use net
	layout stock 2 10 --features=packed,in_order
}

test_net_in_order() {
	use net
	layout dev 1 01 --features=in_order
}

test_net_packed_in_order() {
	use net
	layout dev 2 11 --features=packed,in_order
}

test_vsock_split() {
	use vsock
	layout stock 1 00
}

test_vsock_packed() {
	use vsock
	layout stock 2 10 --features=packed,in_order
}

test_vsock_in_order() {
	use vsock
	layout dev 1 01 --features=in_order
}

test_vsock_packed_in_order() {
	use vsock
	layout dev 2 11 --features=packed,in_order
}

# The registers that way, and kicks by ioeventfd all the same
test_net_forward() {
	use net
	dispatched forward
}

test_net_upgrade() {
	use net
	upgraded stock virtio-net
}

test_vsock_upgrade() {
	use vsock
	upgraded stock virtio-vsock
}

test_net_crash_loop() {
	use net
	crash_loop stock failed
}

test_vsock_crash_loop() {
	use vsock
	crash_loop stock failed
}

# second KIND COMMAND...: in the background, what COMMAND does with a VM of its own. Whoever
# starts it waits for $beside.
second() {
	number=1 tmp=$other/vm vmm='' beside=''
	mkdir -p "$tmp"
	use "$1"
	shift
	"$@" && [ -z "$failed" ]
	status=$?
	end_vmm
	return "$status"
}

# besides KIND COMMAND... -- COMMAND...: the former with a second VM, and the latter with the
# first one. It goes on longer than the second one, and neither must notice the other.
besides() {
	theirs=''
	while [ "$1" != -- ]; do
		theirs="$theirs $1"
		shift
	done
	shift
	# shellcheck disable=SC2086 # to be split into words
	second $theirs >"$other/said" 2>&1 &
	beside=$!
	"$@"
	mine=$?
	wait "$beside"
	theirs=$?
	beside=''
	sed 's/^/# the other VM: /' "$other/said"
	[ "$theirs" = 0 ] || fail "the other VM's test failed"
	return "$mine"
}

test_two() {
	besides nvme under_kills stock load 1 -- under_kills stock load 1
}

# Each with a tap of its own
test_two_net() {
	use net
	# Or both would start who sends back what comes
	host || return
	besides net layout dev 1 11 --features=packed,in_order -- layout stock 1 00
}

# killed_under_load TIMES: a VMM, with all that it has
killed_under_load() {
	n_killed=0 typed=y
	while [ "$n_killed" -lt "$1" ]; do
		boot stock load 1 || return
		wait_for 'GUEST: load begins' || return
		usleep 500000
		kill -9 "$vmm"
		wait "$vmm"
		vmm=''
		n_killed=$((n_killed + 1))
	done
}

test_two_killed() {
	besides nvme killed_under_load 3 -- under_kills stock load 1
}

# Raw, without a file system: what is written and read back is fio's business.
fio() {
	with fio fio_verify 448
	layout "$@"
}

test_fio_split() {
	fio stock 1 00
}

test_fio_packed() {
	fio stock 4 10 --features=packed,in_order
}

test_fio_in_order() {
	fio dev 2 01 --features=in_order
}

# Our kernel is built for two CPUs.
test_fio_packed_in_order() {
	fio dev 2 11 --features=packed,in_order
}

# One controller, so that it is nvme0 for all sides: drivers probe when they like to.
one_nvme() {
	use nvme
	devices="--nvme=$tmp/disk0" names=disk=nvme0n1
}

# With four queues
test_fio_nvme() {
	one_nvme
	with fio fio_verify 448
	under_kills stock fio_verify 4
}

# What nvme-cli prints
test_nvme_cli() {
	one_nvme
	with nvme nvme_resets
	boot stock nvme_cli,nvme_resets 5 || return
	finish || return
	grep -E '^GUEST: ([0-9]* resets|refused)' "$tmp/console" | tr -d '\r' | sed 's/^/# /'
}

test_nvme_cli_kills() {
	one_nvme
	with nvme nvme_resets
	under_kills stock nvme_cli,nvme_resets 2
}

test_iperf() {
	use net
	with iperf3 iperf
	layout stock 1 00
}

test_iperf_packed_in_order() {
	use net
	with iperf3 iperf
	layout dev 2 11 --features=packed,in_order
}

# The host's side of vsock_test, with these options: first the server, then the client. Which
# test both are at they tell each other by TCP.
vsock_peer() {
	timeout "$limit" tools/bin/vsock_test --mode=server --control-port=1234 \
		--peer-cid="$cid" "$@" || return
	wait_for 'Control socket listening' || return
	timeout "$limit" tools/bin/vsock_test --mode=client --control-host="$subnet.2" \
		--control-port=1234 --peer-cid="$cid" "$@"
}

# vsock_upstream KERNEL CPUS BITS KILLED|'' [OPTION]...: upstream's vsock_test, on both sides; if
# KILLED, the device is killed all the time
vsock_upstream() {
	kernel=$1 cpus=$2 bits=$3 kills_too=$4 skip=''
	shift 4
	use vsock
	with vsock upstream_vsock
	names="$names also=net" devices="--net=$tap,$mac $devices"
	boot "$kernel" features,net_up,upstream_vsock 1 --cpus="$cpus" --crash-limit=1000/1 "$@" ||
		return
	if [ -n "$kills_too" ]; then
		# These fail if vsock takes 100 ms, or longer than TCP beside it.
		skip=$(tools/bin/vsock_test --list | grep -E '(MSG_ZEROCOPY|SHUT_RD)$' |
			sed 's/^\([0-9]*\).*/--skip=\1/')
	fi
	# shellcheck disable=SC2086 # to be split into words
	vsock_peer $skip >"$tmp/peer" 2>&1 &
	peer=$!
	wait_for 'GUEST: upstream_vsock begins' || return
	if [ -n "$kills_too" ]; then
		killed=0 last=0
		kill_on vsock0 || return
	fi
	within 'the host is done with vsock_test' peer_ended || return
	wait "$peer" || {
		sed 's/^/# host: /' "$tmp/peer" | tail -n 20
		fail "the host's side of vsock_test"
		return
	}
	finish || return
	grep -q "GUEST: features $bits" "$tmp/console" || fail "other features than $bits" || return
	[ -z "$kills_too" ] || [ "$killed" -gt 2 ] || fail "no more than $killed kills" || return
	echo "# $(grep -c '^[0-9]* - .*\.\.\.ok' "$tmp/peer") tests of vsock_test," \
		"$(grep -c 'process killed' "$tmp/log") deaths"
}

peer_ended() {
	! kill -0 "$peer" 2>/dev/null
}

test_vsock_upstream() {
	vsock_upstream stock 1 00 ''
}

test_vsock_upstream_kills() {
	vsock_upstream dev 1 11 killed --features=packed,in_order
}

echo 'TAP version 13'
echo "1..$#"
nr=0
for name; do
	nr=$((nr + 1))
	failed=''
	began=$(date +%s)
	use blk
	if "test_$name" && [ -z "$failed" ]; then
		result=ok
	else
		result='not ok'
	fi
	end_vmm
	echo "# $name: $(($(date +%s) - began)) s"
	echo "$result $nr $name"
done
exit 0
