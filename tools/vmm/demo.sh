#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash source=tools/vmm/demo-lib.sh
#
# Boots Linux as a guest whose serial port is another process, types a line to it, and
# measures what an access costs. See demo-lib.sh.

cd "$(dirname "$0")" || exit 1
. ./demo-lib.sh

prompt='GUEST: type a line:'
typed='a line that came in through the receiver FIFO'

# noxsave: QEMU's TCG does not let kvm.ko see XSETBV, so Linux would find sizes
# that do not agree, warn at length, and go without XSAVE all the same.
# pci=off: there is no PCI, and no need to try the 8192 places it could be at.
cmdline='console=ttyS0 panic=-1 noxsave pci=off'

step 'booting Linux as a guest, its console follows'
mkfifo "$tmp/keyboard" || exit 1
boot "$tmp/keyboard" --uart=ioregionfd --kernel=vmlinuz --initrd=guest-initrd.cpio \
	--cmdline="$cmdline"
exec 3>"$tmp/keyboard"

wait_for 'GUEST: userspace is up on Linux'
wait_for "$prompt"

vmm=$(pidof vmm)
task=$(pidof uart-task)
[ -n "$task" ] || fail 'there is no process uart-task'
[ "$task" != "$vmm" ] || fail 'uart-task is not a process of its own'
files=$(for f in /proc/"$task"/fd/*; do readlink "$f"; done)

echo "$typed" >&3
wait_for_end
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
check_end
bench

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
bench_rows
step 'everything worked'
