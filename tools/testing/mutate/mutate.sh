#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# mutate.sh vhost|virtio [NUMBER...]: which one-line changes of our ring code does no test in user
# space notice? A condition is negated, a statement dropped, a bound off by one, or an error not
# returned. All mutants of a file are compiled into it at once, and MUTANT=, in the environment,
# is the number of the one that a program is. Each is run until a test fails. Results are appended
# to build/mutants/HALF/results, a line each, and those that are there already are not run again:
# it can be stopped at any time. KERNEL= is the patched source, if not build/linux.
# The survivors, and why they do, are in the file "survivors" beside this one.
set -euo pipefail

top=$(cd "${0%/*}/../../.." && pwd)
here=$top/tools/testing/mutate
kernel=${KERNEL:-$top/build/linux}
half=$1
shift
out=$top/build/mutants/$half

case $half in
vhost)
	files=(ring_common ring_packed ring_split_in_order)
	ring=$top/tools/testing/selftests/vhost/ring
	programs=(vhost_enum vhost_kani)
	# seconds of CPU time, for a test that does not end
	limit=${LIMIT:-5}
	;;
virtio)
	files=(vring_in_order_common vring_in_order_packed vring_in_order_split)
	ring=$top/tools/testing/selftests/virtio/ring
	programs=(ring_enum ring_kani)
	limit=${LIMIT:-60}
	;;
*)
	echo "mutate.sh vhost|virtio [NUMBER...]" >&2
	exit 1
	;;
esac

build() {
	local file first=1
	rm -rf "$out/source" "$out/ring" "$out/built"
	mkdir -p "$out/source"
	cp "$kernel/drivers/$half"/*.[ch] "$out/source/"
	: >"$out/list"
	for file in "${files[@]}"; do
		awk -v first="$first" -v list="$out/list" -f "$here/mutate.awk" \
			"$top/drivers/$half/$file.h" >"$out/source/$file.h"
		first=$(($(wc -l <"$out/list") + 1))
	done
	make -s -C "$ring" OUTPUT="$out/ring" KERNEL="$kernel" DRIVERS="$out/source" \
		MUTANTS="-w -include $here/mutant.h" "${programs[@]/#/$out/ring/}"
	[ -z "$(run 0)" ] || { echo "a test fails without a mutant" >&2; exit 1; }
	echo "$made_of" >"$out/built"
}

# run NUMBER: the first test that fails, or nothing
run() {
	local program line
	for program in "${programs[@]}"; do
		# a program that is done with says so in its last line
		line=$(set +o pipefail && ulimit -t "$limit" &&
			MUTANT=$1 "$out/ring/$program" 2>/dev/null |
				grep -a -m 1 -E '^not ok|^# Totals')
		[[ $line != '# Totals'* ]] || continue
		echo "$program ${line##* }"
		return
	done
}

mkdir -p "$out"
touch "$out/results"
made_of=$(cat "$here"/mutate.awk "$here"/*.h "$top/drivers/$half/"*.h "$ring"/*.[ch] | sha256sum)
[ "$(cat "$out/built" 2>/dev/null)" = "$made_of" ] || build
while read -r number mutant; do
	[ $# = 0 ] || [[ " $* " == *" $number "* ]] || continue
	! grep -qF "$mutant|" "$out/results" || continue
	killer=$(run "$number")
	echo "$mutant|${killer:-SURVIVES}" >>"$out/results"
	echo "$number $mutant: ${killer:-SURVIVES}"
done <"$out/list"
echo "$half: $(grep -c . "$out/list") mutants, $(grep -c SURVIVES "$out/results" || true) survive"
