# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
#
# For scripts that start a vmm: what to print when a guest makes no progress.

# waiting: where each thread of vmm and of its devices is, and what it has used of the CPU
# in clock ticks, twice, so that one sees who is busy
waiting() {
	for n in 1 2; do
		for pid in $(pidof vmm uart-task virtio-blk virtio-net virtio-vsock nvme); do
			for task in /proc/"$pid"/task/*; do
				echo "# $n: $(cat "$task/comm") ${task##*/}: $(sed 's/.*) //' "$task/stat" |
					awk '{ print $1, $12 + $13, "ticks" }'), system call $(cat "$task/syscall")"
				sed 's/^/# /' "$task/stack"
			done
		done
		sleep 1
	done 2>/dev/null
	# What the vCPUs have done
	for file in /sys/kernel/debug/kvm/*-*/vcpu*/*; do
		echo "# ${file#/sys/kernel/debug/kvm/} $(cat "$file")"
	done 2>/dev/null | grep -v ' 0$'
}
