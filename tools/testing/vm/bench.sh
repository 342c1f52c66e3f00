#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# bench.sh DEV STOCK: boot the kernels of both directories, with our modules and with
# their own, which do not have the option, and measure what an access to a device
# costs; and count in user space what a buffer costs in the virtqueue core. Writes
# build/bench.json, prints tables, and fails if the figures of the dev kernel or of the
# core are not what they have to be.
set -euo pipefail
. tools/testing/vm/lib.sh

dev=$1 stock=$2
work=build/bench
figures=$work/figures

# measure KERNEL KDIR [OPTION]...: writes lines "name kernel instructions"
measure() {
	local kernel=$1 kdir=$2 name=bench-$1
	shift 2
	say "boot Linux $(basename "$kdir"): $kernel"
	tools/testing/vm/boot.sh -i -c 2 -t 1800 "$@" -p $work/payload "$name" "$kdir" \
		/payload/x86_64/ioregionfd_perf </dev/null >"$work/$kernel.log" 2>&1 || {
		cat "$work/$kernel.log"
		die "$kernel: no figures"
	}
	tr -d '\r' <"build/vm/$name/console" | awk -v kernel="$kernel" \
		'NF == 2 && $1 ~ "/" && $2 ~ /^[0-9]+$/ { print $1, kernel, $2 }' >"$work/$kernel.figures"
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
	logged ring make -C $tests OUTPUT="$dir" KERNEL="$PWD/build/linux" \
		PRISTINE="$PWD/build/pristine" "$dir"/ring_perf{,_stock}
	$tests/ring_perf.sh "$dir" >$work/ring.figures
}

rm -f build/bench.json
ring
measure dev "$dev" -k "$dev/modules" & first=$!
measure stock "$stock" -k "$stock/modules" & both $first $!
measure dev-without "$dev" & first=$!
measure stock-without "$stock" & both $first $!
cat $work/{dev,dev-without,stock,stock-without}.figures >$figures

# "NAME INSTRUCTIONS", and perhaps "NAME-loads NUMBER" and "NAME-stores NUMBER"
jq -Rn --rawfile ring $work/ring.figures '
	([$ring | split("\n")[] | select(. != "") | split(" ") | {key: .[0], value: (.[1] | tonumber)}]
		| from_entries) as $ring
	| [inputs | split(" ") | {name: .[0], kernel: .[1], instructions: (.[2] | tonumber)}]
	+ [$ring | to_entries[] | select(.key | test("-(loads|stores)$") | not)
		| {name: .key, kernel: "none", instructions: .value}
		+ if $ring[.key + "-loads"] == null then {} else
			{loads: $ring[.key + "-loads"], stores: $ring[.key + "-stores"]} end]' \
	<$figures >build/bench.json.new
mv build/bench.json.new build/bench.json
failed=0
awk -f tools/testing/vm/bench.awk $figures || failed=1
awk -f tools/testing/vm/bench-ring.awk $work/ring.figures || failed=1
exit $failed
