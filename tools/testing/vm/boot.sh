#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot.sh [OPTION]... NAME KDIR COMMAND: boot the kernel of KDIR in QEMU, run the
# shell COMMAND in it with the console live on stdin and stdout, and fail if it
# fails, or the kernel complains, panics, hangs or has a module left in use.
# $build/vm/NAME has the console, the kernel's messages and the verdict.
# It is an x86 machine, or one of the architecture that KDIR's name ends in.
#   -k MODULES   directory of KVM modules to load instead of the kernel's own
#   -g           there will be guests that live on interrupts: loads svm_exit.ko where QEMU
#                emulates SVM
#   -p PAYLOAD   directory whose content appears in the VM as /payload
#   -c CPUS      (2; 1 with -i)
#   -i           a clock that counts instructions, of all CPUs, which take turns: the
#                same figures on every run and every machine; no hardware virtualization.
#                riscv has one CPU then
#   -s SEED      with -i: of the machine's random numbers (1), for another run that
#                can be repeated
#   -j           CPUs run side by side in QEMU's emulation too: for a kernel that does
#                not patch its own code, and not for guests in it
#   -m MEMORY    (1G)
#   -t SECONDS   time limit (300)
#   -q ARGS      more arguments for QEMU
#   -x           a shell, without a time limit; COMMAND is in the VM as /test
set -euo pipefail
. tools/testing/vm/lib.sh

modules='' guests='' payload='' cpus='' icount='' threads=single seed=1 memory=1G limit=300 more=() shell=''
while getopts k:gp:c:ijs:m:t:q:x option; do
	case $option in
	k) modules=$OPTARG ;;
	g) guests=y ;;
	p) payload=$OPTARG ;;
	c) cpus=$OPTARG ;;
	i) icount=y ;;
	j) threads=multi ;;
	s) seed=$OPTARG ;;
	m) memory=$OPTARG ;;
	t) limit=$OPTARG ;;
	q) read -ra words <<<"$OPTARG" && more+=("${words[@]}") ;;
	x) shell=y ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
name=$1 kdir=$2 command=$3

work=$build/vm/$name
rm -rf "$work"
mkdir -p "$work/root"
touch "$work/console"
echo 'did not boot' >"$work/verdict"
kver=$(basename "$kdir")
of_arch "$kver"

# What QEMU emulates; its first serial port is the kernel's console
case $arch in
x86)
	qemu=(qemu-system-x86_64) cpu=$emulated_cpu port=(-serial chardev:console)
	arguments='console=ttyS0 no_timer_check'
	;;
arm64)
	qemu=(qemu-system-aarch64 -M 'virt,virtualization=on,gic-version=3') cpu=max
	port=(-device 'pci-serial,chardev=console') arguments=''
	;;
riscv)
	qemu=(qemu-system-riscv64 -M virt) cpu=rv64,h=true
	port=(-device 'pci-serial,chardev=console') arguments=''
	;;
esac

# The kernel unpacks one archive after the other, so ours overlays the common one
console=stdio,id=console,logfile=$work/console
if [ -n "$shell" ]; then
	# 0: none; and ^C is for the shell
	limit=0 console+=,signal=off
	echo "$command" >"$work/root/test"
	command='echo "sh /test: what would be run here; exit: the end"; cd /payload; setsid -c sh -i'
fi
echo "$command" >"$work/root/command"
[ -z "$payload" ] || cp -rL "$payload" "$work/root/payload"
[ -z "$modules" ] || install -D -m 644 -t "$work/root/lib/modules/$kver/kernel/arch/x86/kvm" "$modules"/*.ko
[ -z "$guests" ] || install -D -m 644 -t "$work/root/lib/modules/$kver/extra" "$kdir/svm_exit/svm_exit.ko"
(cd "$work/root" && find . | cpio -o -H newc --quiet) | cat "$kdir/initramfs.cpio" - >"$work/initrd"
rm -r "$work/root"

nested() { grep -qs '^[Y1]' /sys/module/kvm_{intel,amd}/parameters/nested; }
if [ -n "$icount" ]; then
	accel=(-accel 'tcg,thread=single' -cpu "$cpu" -icount 'shift=0,sleep=off'
		-rtc 'base=2026-01-01,clock=vm' -seed "$seed")
	cpus=${cpus:-1}
	# OpenSBI waits for other CPUs in a loop, and QEMU lets it have its turn to the end
	[ "$arch" != riscv ] || cpus=1
elif [ "$arch" = x86 ] && grep -qwE 'vmx|svm' /proc/cpuinfo && nested; then
	accel=(-accel kvm -cpu host)
else
	# Several threads would be quicker, but in QEMU's emulation kernel code that
	# patches itself (static keys, at the start of every VM) crashes now and then, and
	# CPUs and guests that have several vCPUs hang
	accel=(-accel "tcg,thread=$threads" -cpu "$cpu")
fi

rc=0
timeout --foreground -k 5 "$limit" "${qemu[@]}" -nodefaults -no-user-config -no-reboot \
	-display none "${accel[@]}" -smp "${cpus:-2}" -m "$memory" "${more[@]}" \
	-kernel "$kdir/image/boot/vmlinuz-$kver" -initrd "$work/initrd" \
	-append "$arguments loglevel=5 panic=-1" -serial "file:$work/kernel" \
	-chardev "$console" "${port[@]}" || rc=$?
rm "$work/initrd"
say "$name: $SECONDS s"

# What was said before the begin is about the machine, unless nothing came after
tr -d '\r' <"$work/kernel" >"$work/messages"
! grep -q 'vm: begin' "$work/messages" || sed -i '1,/vm: begin/d' "$work/messages"
status=$(sed -n 's/.*vm: status //p' "$work/messages")
grep -vE 'vm: status|reboot: Power down|module taints kernel' "$work/messages" || true

# What KCSAN reports is for kcsan.sh to judge
complaint='WARNING:|BUG: (K[^C]|[^K])|Oops|KASAN|UBSAN|refcount_t|INFO: (task|rcu)|Call Trace:'

verdict() {
	echo "$1" >"$work/verdict"
	[ "$1" = ok ] || die "$name: $1"
}

if [ "$rc" = 124 ]; then
	verdict "no end after $limit s"
elif grep -q 'Kernel panic' "$work/messages"; then
	verdict 'kernel panic'
elif grep -qE "$complaint" "$work/messages"; then
	verdict 'the kernel complained'
elif [ -z "$status" ]; then
	verdict 'ended without a result'
elif [ "$status" != 0 ]; then
	verdict "status $status"
fi
verdict ok
