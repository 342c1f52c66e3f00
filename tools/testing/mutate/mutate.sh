#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# mutate.sh vhost|virtio [NUMBER...]: which changes of our ring code does no test in user space
# notice? mutate.awk says what is changed. All mutants of a file are compiled into it at once, and
# MUTANT=, in the environment, is the number of the one that a program is. Each is run until a test
# fails. It can be stopped at any time: results are in build/mutants/HALF/results, a line each, and
# what is there is not run again, until the code changes; if the tests have changed, survivors are.
# SOURCE= is the patched source, if not build/linux, and LIMIT= the CPU time of a test in seconds.
# Why the survivors do survive is in the file "survivors" beside this one: fails if it says nothing
# about one, or names one that does not.
set -euo pipefail

top=$(cd "${0%/*}/../../.." && pwd)
here=$top/tools/testing/mutate
kernel=${SOURCE:-$top/build/linux}
half=${1:-}
out=$top/build/mutants/$half

case $half in
vhost)
	files=(ring_common.h ring_packed.h ring_split_in_order.h vhost.c)
	ring=$top/tools/testing/selftests/vhost/ring
	programs=(vhost_enum vhost_kani)
	limit=${LIMIT:-10}
	;;
virtio)
	files=(vring_in_order_common.h vring_in_order_packed.h vring_in_order_split.h vring_compat.h)
	ring=$top/tools/testing/selftests/virtio/ring
	programs=(ring_enum ring_kani)
	limit=${LIMIT:-30}
	;;
*)
	echo "mutate.sh vhost|virtio [NUMBER...]" >&2
	exit 1
	;;
esac
shift

# Numbers of the lines that our hooks changed
hooked() {
	diff --old-line-format='' --unchanged-line-format='' --new-line-format='%dn
' "$top/build/pristine/drivers/$half/$1" "$kernel/drivers/$half/$1" || true
}

build() {
	local file first=1
	rm -rf "$out/source" "$out/ring" "$out/built"
	mkdir -p "$out/source"
	cp "$kernel/drivers/$half"/*.[ch] "$out/source/"
	cp "$top/drivers/$half"/*.h "$out/source/"
	: >"$out/list"
	for file in "${files[@]}"; do
		only=
		if [ ! -e "$top/drivers/$half/$file" ]; then
			only=$out/lines
			hooked "$file" >"$only"
		elif [ "$file" = vring_compat.h ]; then
			# what is for this kernel
			only=$out/lines
			awk '/^#else/ { here = 1 } here { print NR }' "$top/drivers/$half/$file" >"$only"
		fi
		awk -v first="$first" -v list="$out/list" -v only="$only" -f "$here/mutate.awk" \
			"$out/source/$file" >"$out/mutated"
		mv "$out/mutated" "$out/source/$file"
		first=$(($(wc -l <"$out/list") + 1))
	done
	make -s -C "$ring" OUTPUT="$out/ring" KERNEL="$kernel" DRIVERS="$out/source" \
		MUTANTS="-w -include $here/mutant.h" "${programs[@]/#/$out/ring/}"
	[ "$(run 0 none)" = SURVIVES ] || { echo "a test fails without a mutant" >&2; exit 1; }
}

# Options for the tests of those layouts that have code in this file
layouts() {
	case $1 in
	*packed.h) echo -v packed -v packed_in_order ;;
	*split_in_order.h) echo -v split -v split_in_order ;;
	*split.h) echo -v split_in_order ;;
	*common.h) [ "$half" = virtio ] || echo -V split ;;
	esac
}

# run NUMBER FILE: the first test that fails, if any
run() {
	local program line fd options
	read -ra options < <(layouts "$2") || true
	for program in "${programs[@]}"; do
		exec {fd}< <(ulimit -t "$limit" && MUTANT=$1 exec timeout -k 1 600 \
			"$out/ring/$program" "${options[@]}" 2>/dev/null)
		line=$(grep -a -m 1 -E '^not ok|^# Totals' <&"$fd" || true)
		kill $! 2>/dev/null || true
		exec {fd}<&-
		# a program that is done with says so in its last line
		[[ $line != '# Totals'* ]] || continue
		echo "$program ${line##* }"
		return
	done
	echo SURVIVES
}

# Of what is no comment
sum() { grep -hvE '^[[:space:]]*(/\*|\*[ /]|\*$|# )' "$@" | sha256sum; }

mkdir -p "$out"
code=$(sum "$here"/*.{awk,h} "$top/drivers/$half"/*.h "$kernel/drivers/$half"/*.c)
tests=$(sum "$ring"/*.[ch] "$ring"/Makefile)
if [ "$(cat "$out/built" 2>/dev/null)" != "$code $tests" ]; then
	if [ "$(head -n 1 "$out/built-of" 2>/dev/null)" = "$code" ]; then
		sed -i '/|SURVIVES$/d' "$out/results"
	else
		: >"$out/results"
	fi
	build
	echo "$code" >"$out/built-of"
	echo "$code $tests" >"$out/built"
fi

total=$(wc -l <"$out/list")
while read -r number mutant; do
	file=${mutant%% *}
	[ $# = 0 ] || [[ " $* " == *" $number "* ]] || continue
	! grep -qF "$mutant|" "$out/results" || continue
	killer=$(run "$number" "$file")
	echo "$mutant|$killer" >>"$out/results"
	echo "$number of $total: $mutant: $killer"
done <"$out/list"

# The table
printf '%-25s %8s %8s %8s\n' "$half" mutants killed survive
for file in "${files[@]}"; do
	printf '%-25s %8d %8d %8d\n' "$file" "$(grep -c "^[0-9]* $file " "$out/list")" \
		"$(grep "^$file " "$out/results" | grep -vc '|SURVIVES$' || true)" \
		"$(grep "^$file .*|SURVIVES$" -c "$out/results" || true)"
done

[ "$(wc -l <"$out/results")" = "$total" ] || exit 0
# Survivors and those that have a reason, of these files
files_re="^($(IFS='|'; echo "${files[*]}")) "
diff <(sed -n 's/|SURVIVES$//p' "$out/results" | sort) \
	<(grep -E "$files_re" "$here/survivors" | sort) |
	sed -n 's/^</no reason: /p; s/^>/does not survive: /p' | tee "$out/differ"
[ ! -s "$out/differ" ]
