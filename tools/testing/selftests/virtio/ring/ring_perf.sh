#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# ring_perf.sh [-l] DIR: what a buffer costs in virtio_ring.c, as built in DIR with our
# hooks (ring/...) and without (ring-stock/...). Prints lines "name value":
#
#   ring/LAYOUT/OP/bBATCHcCHAIN                 instructions
#   ring/LAYOUT/OP/bBATCHcCHAIN-loads, -stores  accesses to what the device sees
#   ring/LAYOUT/OP/bBATCHcCHAIN-element-loads   those loads that are of used elements
#
# With -l also, indented, each source line's share of the instructions. ring_perf.c says
# what is measured. It is valgrind that counts: the figures are the same on every run.
set -euo pipefail

lines=0
if [ "$1" = -l ]; then
	lines=1
	shift
fi
dir=$1
work=$dir/perf
here=$(dirname "$0")
# as many as ring_perf.c measures
buffers=256

rm -rf "$work"
mkdir -p "$work"

# instructions PREFIX COMMAND...
instructions() {
	local prefix=$1 out=$work/$1.callgrind
	shift
	valgrind --tool=callgrind --collect-atstart=no --callgrind-out-file="$out" "$@" \
		>"$work/$prefix.log" 2>&1 || {
		cat "$work/$prefix.log" >&2
		return 1
	}
	# one file a load, numbered, and one more at the end
	find "$work" -name "$prefix.callgrind.*" | sort -V |
		xargs awk -v prefix="$prefix" -v buffers=$buffers -v lines=$lines \
			-f "$here/instructions.awk"
}

# accesses PREFIX COMMAND...
accesses() {
	local prefix=$1
	shift
	valgrind --tool=lackey --trace-mem=yes --log-fd=3 "$@" 3>&1 >"$work/$prefix.rings" |
		grep '^ [LSM]' >"$work/$prefix.trace"
	awk -v prefix="$prefix" -v buffers=$buffers -f "$here/accesses.awk" \
		"$work/$prefix.rings" "$work/$prefix.trace"
	rm "$work/$prefix.trace"
}

instructions ring "$dir/ring_perf"
instructions ring-stock "$dir/ring_perf_stock"
accesses ring "$dir/ring_perf"
accesses ring-stock "$dir/ring_perf_stock"
