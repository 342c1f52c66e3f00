#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash source=tools/vmm/demo-lib.sh disable=SC3028 # busybox has RANDOM
#
# machine.sh [OPTION]...: boot Linux as a guest whose root file system is on an NVMe disk,
# with a virtio disk, a network and a vsock beside it. Each of these devices is a process,
# which is killed again and again while the guest writes to all of them; the guest must not
# notice, and what it has written must be there. The options are for the VMM. See demo-lib.sh.

cd "$(dirname "$0")" || exit 1
. ./demo-lib.sh

devices='nvme0 blk0 net0 vsock0'
seconds=3
# As in demo.sh, but there is PCI
cmdline="console=ttyS0 panic=-1 noxsave seconds=$seconds"

# kill_one DEVICE: the process that serves it by now
kill_one() {
	./vmm --tell="$tmp/control" kill "$1" >/dev/null
	usleep "$((RANDOM * 3))"
}

# echo_to ADDRESS: send back what comes there. Not a child, for which wait_for_end would wait.
echo_to() {
	(sh -c 'echo $$ >>"$1"; shift; exec "$@"' sh "$tmp/echoes" \
		tools/bin/socat "$1" EXEC:cat &)
}

step 'booting Linux from an NVMe disk, the console of the guest follows'
cp root.img "$tmp/root.img" || exit 1
dd if=/dev/zero of="$tmp/disk.img" bs=1 count=0 seek=16M 2>/dev/null
{ tunctl -t tap0 && ifconfig tap0 10.9.9.1 netmask 255.255.255.0 up; } >/dev/null ||
	fail 'there is no tap0'
echo_to TCP-LISTEN:5000,fork,reuseaddr
echo_to VSOCK-LISTEN:5000,fork
boot /dev/null --kernel=vmlinuz --initrd=initrd.cpio --cmdline="$cmdline" --memory=192 \
	--nvme="$tmp/root.img" --blk="$tmp/disk.img" --net=tap0 --vsock=3 \
	--control="$tmp/control" --crash-limit=1000/1 "$@"

wait_for 'GUEST: root file system: /dev/nvme0n1 ext4'
wait_for 'GUEST: writing'
vmm=$(pidof vmm)
step 'killing the processes of all four devices, again and again'
n=0
until [ $n = 10 ] || grep -q 'GUEST: written' "$tmp/console"; do
	[ ! -e "$tmp/status" ] || fail 'vmm ended while the guest was writing'
	for device in $devices; do
		kill_one "$device"
	done
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
[ "$device_exits" = 0 ] || fail "$device_exits accesses of the devices went to the VMM"
killed=0
for device in $devices; do
	n=$(value "${device}_processes" "$tmp/boot")
	[ "$n" -gt 2 ] || fail "there were only $n processes of $device"
	killed=$((killed + n - 1))
done
requests=$(value blk0_requests "$tmp/boot") used=$(value blk0_used_elements "$tmp/boot")
[ "$requests" -gt 0 ] || fail 'blk0 had no requests'
bench

row_of() {
	row "  $1: $2" "$(value "$1_reads" "$tmp/boot")" "$(value "$1_writes" "$tmp/boot")" \
		"$(value "$1_processes" "$tmp/boot")"
}

# megabytes NAME: that the guest has sent and got back
megabytes() {
	sed -n "s/^GUEST: \([0-9]*\) megabytes there and back by $1.*/\1/p" "$tmp/console"
}

step 'the guest lived in vmm, its devices in processes of their own:'
row 'accesses' reads writes processes
row_of nvme0 'the root file system'
row_of blk0 'a virtio disk'
row_of net0 'a network, by vhost'
row_of vsock0 'sockets, by vhost'
row '  uart-task: the serial port' "$(value reads_1 "$tmp/boot")" "$(value writes_1 "$tmp/boot")" 1
row 'KVM_RUN exits for these addresses' $((device_exits + exits))
row 'KVM_RUN exits for other addresses' \
	$(($(value other_pio_exits "$tmp/boot") + $(value other_mmio_exits "$tmp/boot")))
row 'processes killed under load' $killed
row 'errors that the guest saw' 0
row 'megabytes by network, by vsock' "$(megabytes tcp)" "$(megabytes vsock)"
row 'used elements for a request, blk0' "$(awk "BEGIN { printf \"%.2f\", $used / $requests }")"
echo
bench_rows
step 'everything worked'
