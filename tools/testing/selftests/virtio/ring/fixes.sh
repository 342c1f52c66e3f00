#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# fixes.sh KERNEL PRISTINE OUTPUT: what goes wrong in the in-order virtqueues that Linux 7.3 has
# itself, and whether each of our fixes, hooks/7.3/0004?-*.patch, makes it right by itself. In TAP.
# KERNEL and PRISTINE are as for the Makefile beside this; all is built in OUTPUT.
set -euo pipefail

kernel=$(realpath "$1")
pristine=$(realpath "$2")
mkdir -p "$3"
out=$(realpath "$3")
here=$(cd "${0%/*}" && pwd)
hooks=$(cd "$here/../../../../../hooks/7.3" && pwd)
n=0
failed=0
# In which order buffers are recycled, is not a fault
export RING_ENUM_OLDEST_FIRST=0

# Fix, what limits the test to what it fixes, program, variant, test
tests='0004a RING_ENUM_BATCH=1 ring_enum split_in_order reset_in_every_state
0004b RING_ENUM_CALLBACKS=0 ring_enum packed_in_order reset_in_every_state
0004c - ring_enum packed_in_order every_history
0004c - ring_enum packed_in_order every_state_with_callbacks
0004c - ring_enum packed_in_order every_state_with_event_idx
0004c - ring_kani packed_in_order kani_4_is_empty
0004c - ring_kani packed_in_order kani_14_enable_cb
0004d - ring_kani split_in_order kani_15_checks_ids
0004d - ring_kani packed_in_order kani_15_checks_ids
0004e - ring_enum split_in_order changes_in_every_state'

# build PATCH...: the programs, with the core as it was and these fixes
build() {
	local source=$out/source
	rm -rf "$source" "$out/stock/virtio_ring.o"
	mkdir -p "$source/drivers/virtio"
	cp "$pristine/drivers/virtio/virtio_ring.c" "$source/drivers/virtio/"
	for patch; do
		patch -s -F0 -p1 -d "$source" <"$patch"
	done
	make -s -C "$here" OUTPUT="$out" KERNEL="$kernel" PRISTINE="$source" \
		"$out"/ring_{enum,kani}_stock
}

# wrong LIMIT PROGRAM VARIANT TEST: what that test says is wrong, if anything
wrong() {
	local limit=${1#-}
	{ env ${limit:+"$limit"} "$out/${2}_stock" -t "$4" 2>&1 || true; } |
		awk -v row="[.]$3[.]$4" '
		/descriptors:/ { said = $0; sub(/.*: /, "", said) }
		/^(not )?ok/ && $0 ~ row { seen = 1; if (/^not/) print said }
		END { if (!seen) print "there is no such test" }'
}

# row NAME COMMAND...: whether the command succeeds
row() {
	local name=$1
	shift
	n=$((n + 1))
	if "$@"; then
		echo "ok $n $name"
	else
		echo "not ok $n $name"
		failed=1
	fi
}

echo 'TAP version 13'
echo "1..$(($(wc -l <<<"$tests") * 2 + 2))"

build
while read -r fix limit program variant test; do
	said=$(wrong "$limit" "$program" "$variant" "$test")
	row "without $fix: $variant.$test: $said" [ -n "$said" ]
done <<<"$tests"

last=
while read -r fix limit program variant test; do
	[ "$fix" = "$last" ] || build "$hooks/$fix"-*.patch
	last=$fix
	said=$(wrong "$limit" "$program" "$variant" "$test")
	row "with $fix: $variant.$test${said:+: $said}" [ -z "$said" ]
done <<<"$tests"

build "$hooks"/0004?-*.patch
for program in ring_enum ring_kani; do
	result=$(RING_ENUM_PLAIN=1 "$out/${program}_stock" 2>/dev/null |
		sed -n 's/^# Totals: //p' || true)
	row "with all of them: $program: $result" grep -q ' fail:0 ' <<<"$result"
done
exit $failed
