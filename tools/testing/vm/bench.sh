#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# bench.sh DEV STOCK: boot the kernels of both directories, with our modules and with
# their own, which do not have the option, and measure what an access to a device
# costs; and the stock one twice more, to measure what a buffer costs vhost, and what a
# block costs a guest of tools/vmm; and count in user space what a buffer costs in the
# virtqueue core. Writes $build/bench.json, prints tables, and fails if the figures of the dev
# kernel, of the core, of vhost or of the guest are not what they have to be, or not what
# the documents say.
# bench.sh KDIR PAYLOAD ARCH: what an access costs on this kernel for another architecture
set -euo pipefail
. tools/testing/vm/lib.sh

dev=$1 stock=$2 other=${3-}
work=$build/bench
figures=$work/figures

# boot NAME KDIR PAYLOAD COMMAND [OPTION]...: writes the lines "name figure" that it prints
boot() {
	local name=$1 kdir=$2 payload=$3 command=$4
	shift 4
	say "boot Linux $(basename "$kdir"): $name"
	tools/testing/vm/boot.sh -i -t 1800 "$@" -p "$payload" "bench-$name" "$kdir" \
		"$command" </dev/null >"$work/$name.log" 2>&1 || {
		cat "$work/$name.log"
		die "$name: no figures"
	}
	tr -d '\r' <"$build/vm/bench-$name/console" |
		awk 'NF == 2 && $1 ~ "/" && $2 ~ /^[0-9]+([.][0-9]+)?$/' >"$work/$name.figures"
}

# measure KERNEL KDIR [OPTION]...
measure() {
	local kernel=$1 kdir=$2
	shift 2
	boot "$kernel" "$kdir" "$work/payload" /payload/ioregionfd_perf -c 2 "$@"
	sed -i "s/ / $kernel /" "$work/$kernel.figures"
}

# Each machine is on one host CPU, so two run side by side. Their clocks are their own.
both() {
	local failed=0
	wait "$1" || failed=1
	wait "$2" || failed=1
	return $failed
}

# virtio_ring.c, as our kernel has it and as it was
ring() {
	local tests=tools/testing/selftests/virtio/ring dir=$PWD/$work/ring
	say 'count in virtio_ring.c'
	logged ring make -C $tests OUTPUT="$dir" KERNEL="$PWD/$build/linux" \
		PRISTINE="$PWD/$build/pristine" "$dir"/ring_perf{,_stock}
	$tests/ring_perf.sh "$dir" >"$work/ring.figures"
}

# These features would have "rep stosb" and "rep movsb" counted by the byte, where the kernel
# clears or copies a page
no_bytes="-cpu $emulated_cpu,erms=off,fsrm=off"

vhost() {
	boot vhost "$stock" "$work/vhost/payload" 'sh /payload/vhost_perf.sh' -q "$no_bytes"
}

guest() {
	local disks='' name
	for name in a b; do
		disks+=" -blockdev driver=null-co,size=8388608,read-zeroes=on,node-name=$name"
		disks+=" -device virtio-blk-pci,drive=$name"
	done
	boot guest "$stock" "$work/vmm/payload" 'sh /payload/bench-vm.sh' -g -c 2 -k "$stock/modules" \
		-q "$no_bytes$disks"
}

# The first takes as long as the others
vhost_and_ring() {
	vhost
	ring
}

if [ -n "$other" ]; then
	mkdir -p "$work"
	boot "$other" "$dev" "$stock" /payload/ioregionfd_perf -c 2
	sed -i "s/ / $other /" "$work/$other.figures"
	awk -v arch="$other" -f tools/testing/vm/figures.awk -f tools/testing/vm/bench-foreign.awk \
		"$work/$other.figures"
	exit
fi

rm -f "$build/bench.json"
guest & first=$!
vhost_and_ring & both $first $!
measure dev "$dev" -k "$dev/modules" & first=$!
measure stock "$stock" -k "$stock/modules" & both $first $!
measure dev-without "$dev" & first=$!
measure stock-without "$stock" & both $first $!
{
	cat "$work"/{dev,dev-without,stock,stock-without}.figures
	sed 's/ / none /' "$work/ring.figures"
	sed 's/ / stock /' "$work"/{vhost,guest}.figures
} >"$figures"

# "NAME-loads" and the like belong to NAME
jq -Rn '
	"-(loads|stores|accesses(-data)?)$" as $more
	| [inputs | split(" ") | {name: .[0], kernel: .[1], value: (.[2] | tonumber)}] as $all
	| ($all | map({key: "\(.name) \(.kernel)", value}) | from_entries) as $value
	| [$all[] | select(.name | test($more) | not) | . as {$name, $kernel}
		| {name, kernel, instructions: .value}
		+ (["loads", "stores", "accesses", "accesses-data"]
			| map({key: ., value: $value["\($name)-\(.) \($kernel)"]} | select(.value))
			| from_entries)]' <"$figures" >"$build/bench.json.new"
mv "$build"/bench.json{.new,}
failed=0
awk -f tools/testing/vm/figures.awk -f tools/testing/vm/bench.awk "$figures" || failed=1
tools/testing/vm/figures.sh || failed=1
exit $failed
