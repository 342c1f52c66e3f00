#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
#
# To be run as root in a machine whose KVM has ioregionfd, with the files that
# it uses in the same directory: boots Linux as a guest whose serial port is
# another process, types a line to it, and measures what an access costs.
# Exit status 0 only if all of it worked; otherwise says what did not.

prompt='GUEST: type a line:'
typed='a line that came in through the receiver FIFO'
bench_accesses=5000

# noxsave: QEMU's TCG does not let kvm.ko see XSETBV, so Linux would find sizes
# that do not agree, warn at length, and go without XSAVE all the same.
# pci=off: there is no PCI, and no need to try the 8192 places it could be at.
cmdline='console=ttyS0 panic=-1 noxsave pci=off'

cd "$(dirname "$0")" || exit 1
tmp=$(mktemp -d) || exit 1
vmm=
trap '[ -z "$vmm" ] || kill "$vmm" 2>/dev/null; rm -rf "$tmp"' EXIT

fail() {
	echo "demo: FAILED: $*" >&2
	exit 1
}

step() {
	printf '\ndemo: %s\n' "$*"
}

# value NAME FILE: one of the counters that vmm has written
value() {
	sed -n "s/^$1=//p" "$2"
}

# Until TEXT is on the guest's console; the VMM must be alive so long
wait_for() {
	until grep -q "$1" "$tmp/console"; do
		[ ! -e "$tmp/status" ] ||
			fail "vmm ended with status $(cat "$tmp/status") before the guest said '$1'"
		sleep 0.2
	done
}

# One for each thing that stock Linux tries and KVM does not have
echo N 2>/dev/null >/sys/module/kvm/parameters/report_ignored_msrs

step 'booting Linux as a guest, its console follows'
mkfifo "$tmp/keyboard" || exit 1
touch "$tmp/console"
{
	./vmm --uart=ioregionfd --kernel=vmlinuz --initrd=guest-initrd.cpio \
		--cmdline="$cmdline" --stats="$tmp/boot" <"$tmp/keyboard"
	echo $? >"$tmp/status"
} | tee "$tmp/console" &
exec 3>"$tmp/keyboard"

wait_for 'GUEST: userspace is up on Linux'
wait_for "$prompt"

vmm=$(pidof vmm)
task=$(pidof uart-task)
[ -n "$task" ] || fail 'there is no process uart-task'
[ "$task" != "$vmm" ] || fail 'uart-task is not a process of its own'
files=$(for f in /proc/"$task"/fd/*; do readlink "$f"; done)

echo "$typed" >&3
wait
exec 3>&-
ended=$vmm
vmm=

step "uart-task was process $task, vmm was $ended; open in uart-task:"
echo "$files"
# Of KVM's making, but nothing of the VM can be had through it
case $(echo "$files" | grep -vx 'anon_inode:kvm-ioregionfd') in
*kvm*) fail 'uart-task had a file of KVM open' ;;
esac
grep -q "GUEST: you typed: $typed" "$tmp/console" ||
	fail 'the guest did not get the line that was typed'
status=$(cat "$tmp/status")
[ "$status" = 0 ] || fail "vmm ended with status $status"
grep -q 'reboot: Power down' "$tmp/console" ||
	fail 'the guest did not power itself off'
exits=$(value uart_exits "$tmp/boot")
[ "$exits" = 0 ] || fail "$exits accesses of the UART went to the VMM"

step "reading the UART's line status $bench_accesses times, each way"
for path in forward socket ioregionfd; do
	./vmm --uart=$path --bench=$bench_accesses --stats="$tmp/$path" \
		</dev/null >/dev/null || fail "the benchmark of $path did not end well"
	[ "$(value reads_1 "$tmp/$path")" -ge $bench_accesses ] ||
		fail "uart-task did not see all accesses of the benchmark of $path"
	bench_exits=$(value uart_exits "$tmp/$path")
	[ $path = forward ] || [ "$bench_exits" = 0 ] ||
		fail "$bench_exits accesses of the benchmark of $path went to the VMM"
done
forward=$(value ns_per_access "$tmp/forward")
socket=$(value ns_per_access "$tmp/socket")
ioregionfd=$(value ns_per_access "$tmp/ioregionfd")

# The clock of a machine under qemu -icount shift=0 counts instructions
unit=nanoseconds
! grep -q 'QEMU TCG' /proc/cpuinfo || unit=instructions

row() {
	printf '  %-34s' "$1"
	shift
	printf '%12s' "$@"
	echo
}

# ratio FIGURE: to the forwarded one
ratio() {
	awk "BEGIN { printf \"%.3f\", $1 / $forward }"
}

row_of() {
	row "  $1" "$(value "$1_1" "$tmp/boot")" "$(value "$1_2" "$tmp/boot")" \
		"$(value "$1_4" "$tmp/boot")" "$(value "$1_8" "$tmp/boot")"
}

step 'the guest lived in vmm, its serial port in uart-task:'
row 'accesses served by uart-task' '1 byte' '2 bytes' '4 bytes' '8 bytes'
row_of reads
row_of writes
row 'KVM_RUN exits for UART addresses' "$exits"
row 'KVM_RUN exits for other addresses' \
	$(($(value other_pio_exits "$tmp/boot") + $(value other_mmio_exits "$tmp/boot")))
row 'interrupts through irqfd' "$(value interrupts "$tmp/boot")"
echo
row "$unit for an access" forward socket ioregionfd
row '  1-byte read' "$forward" "$socket" "$ioregionfd"
row '  of the forwarded one' 1.000 "$(ratio "$socket")" "$(ratio "$ioregionfd")"
step 'everything worked'
