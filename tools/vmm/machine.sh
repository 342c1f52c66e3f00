#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash source=tools/vmm/demo-lib.sh disable=SC3028 # busybox has RANDOM
#
# Boots Linux as a guest whose root file system is on an NVMe disk, with a virtio disk
# beside it. Each of the two is a process, which is killed again and again while the guest
# writes; the guest must not notice, and what it has written must be there. See demo-lib.sh.

cd "$(dirname "$0")" || exit 1
. ./demo-lib.sh

seconds=3
# As in demo.sh, but there is PCI
cmdline="console=ttyS0 panic=-1 noxsave seconds=$seconds"

# kill_one DEVICE: the process that serves it by now
kill_one() {
	./vmm --tell="$tmp/control" kill "$1" >/dev/null
	usleep "$((RANDOM * 3))"
}

step 'booting Linux from an NVMe disk, the console of the guest follows'
cp root.img "$tmp/root.img" || exit 1
dd if=/dev/zero of="$tmp/disk.img" bs=1 count=0 seek=16M 2>/dev/null
boot /dev/null --kernel=vmlinuz --initrd=initrd.cpio --cmdline="$cmdline" --memory=192 \
	--nvme="$tmp/root.img" --blk="$tmp/disk.img" --control="$tmp/control" \
	--crash-limit=1000/1

wait_for 'GUEST: root file system: /dev/nvme0n1 ext4'
wait_for 'GUEST: writing'
vmm=$(pidof vmm)
step 'killing the processes of both disks, again and again'
n=0
until [ $n = 10 ] || grep -q 'GUEST: written' "$tmp/console"; do
	[ ! -e "$tmp/status" ] || fail 'vmm ended while the guest was writing'
	kill_one nvme0
	kill_one blk0
	n=$((n + 1))
done
wait_for_end
vmm=
check_end

! grep 'GUEST: .*FAILED' "$tmp/console" || fail 'the guest says so'
! grep -q 'GUEST: kernel' "$tmp/console" || fail 'the kernel of the guest complains'
grep -q 'GUEST: all is there' "$tmp/console" || fail 'the guest did not check what it wrote'
step 'checking the file systems once more, outside of the guest'
tools/bin/fsck.ext4 -f -n "$tmp/root.img" || fail 'the root file system is not clean'
tools/bin/fsck.ext4 -f -n "$tmp/disk.img" || fail 'the file system of the virtio disk is not clean'
device_exits=$(value device_exits "$tmp/boot")
[ "$device_exits" = 0 ] || fail "$device_exits accesses of the disks went to the VMM"
nvme=$(value nvme0_processes "$tmp/boot") blk=$(value blk0_processes "$tmp/boot")
[ "$nvme" -gt 2 ] || fail "there were only $nvme processes of nvme0"
[ "$blk" -gt 2 ] || fail "there were only $blk processes of blk0"
bench

row_of() {
	row "  $1" "$(value "$2_reads" "$tmp/boot")" "$(value "$2_writes" "$tmp/boot")" "$3"
}

step 'the guest lived in vmm, its devices in processes of their own:'
row 'accesses' reads writes processes
row_of 'nvme0: the root file system' nvme0 "$nvme"
row_of 'blk0: a virtio disk' blk0 "$blk"
row '  uart-task: the serial port' "$(value reads_1 "$tmp/boot")" "$(value writes_1 "$tmp/boot")" 1
row 'KVM_RUN exits for these addresses' $((device_exits + exits))
row 'KVM_RUN exits for other addresses' \
	$(($(value other_pio_exits "$tmp/boot") + $(value other_mmio_exits "$tmp/boot")))
row 'processes killed under load' $((nvme + blk - 2))
row 'errors that the guest saw' 0
echo
bench_rows
step 'everything worked'
