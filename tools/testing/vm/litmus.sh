#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# litmus.sh COMMAND: the litmus tests of our barriers, in Documentation/litmus-tests
#   lists   the tests name where their barriers are, and the comments at barriers name
#           their tests ("Litmus: NAME, NAME."); both lists must be the same, and no
#           function with a barrier may be missing
#   run     run herd7: what a test excludes must not happen; and it must happen as soon as
#           any one of the barriers of the test is left out or relaxed
set -euo pipefail
. tools/testing/vm/lib.sh

mapfile -t tests < <(find Documentation/litmus-tests/{ioregionfd,virtqueue} -name '*.litmus' | sort)
mapfile -t sources < <(find virt/kvm/ioregionfd drivers/vhost drivers/virtio tools/lib/ioregionfd \
	-name '*.[ch]' ! -name 'vring_kunit*' ! -name test.c | sort)
work=build/litmus

# Lines "FILE FUNCTION TEST" for each comment, or "FILE FUNCTION" for each barrier
of_source() {
	awk -v barriers="$1" '
		FNR == 1 { f = "" }
		/^[a-z_].*\(/ {
			f = substr($0, 1, index($0, "(") - 1)
			sub(/.*[ *]/, "", f)
		}
		!barriers && match($0, /Litmus: [-a-z0-9, ]+\./) {
			n = split(substr($0, RSTART + 8, RLENGTH - 9), name, ", ")
			for (i = 1; i <= n; i++)
				print FILENAME, f, name[i]
		}
		barriers && /smp_(mb|rmb|wmb|store_mb|store_release|load_acquire)\(|virtio_(mb|rmb|wmb|store_mb)\(|__ATOMIC_(ACQUIRE|RELEASE|ACQ_REL|SEQ_CST)/ {
			print FILENAME, f
		}' "${sources[@]}" | sort -u
}

# The same as the tests say it: lines " * FILE: FUNCTION, FUNCTION"
of_tests() {
	awk '
		FNR == 1 { test = FILENAME; gsub(/.*\/|\.litmus/, "", test) }
		/^ \* [a-z]+\/[a-z\/_]+\.[ch]: / {
			file = substr($2, 1, length($2) - 1)
			gsub(/^ \* [^ ]+ |,/, "")
			n = split($0, name, " ")
			for (i = 1; i <= n; i++)
				print file, name[i], test
		}' "${tests[@]}" | sort -u
}

lists() {
	local rc=0
	diff <(of_source 0 | grep -v ' none$') <(of_tests) || {
		echo '<: only at the barrier; >: only in the test'
		rc=1
	}
	comm -23 <(of_source 1) <(of_source 0 | cut -d ' ' -f 1,2 | sort -u) | sed 's/$/: a barrier without a litmus test/' |
		grep . && rc=1
	return "$rc"
}

# Debian 12 and 13 do not have herd7. That of sid runs here with the libc of sid.
sid_herd() {
	local sid=$PWD/build/herd apt
	[ ! -e "$sid/.unpacked" ] || return 0
	say 'download herd7 from Debian sid'
	rm -rf "$sid"
	mkdir -p "$sid"/{debs,root}
	apt_of sid build/herd
	logged herd-update apt-get -qq "${apt[@]}" update
	(cd "$sid/debs" && apt-get -qq "${apt[@]}" download herdtools7 libc6 libgmp10)
	find "$sid/debs" -name '*.deb' -exec dpkg-deb -x {} "$sid/root" ';'
	rm -r "$sid"/{lists,cache}
	touch "$sid/.unpacked"
}

# herd FILE: prints "Never" or "Sometimes"
herd() {
	local root=$PWD/build/herd/root command=(herd7) lib
	if ! command -v herd7 >/dev/null; then
		lib=$(echo "$root"/usr/lib/*-linux-gnu)
		command=("$lib"/ld-linux*.so.2 --library-path "$lib" "$root/usr/bin/herd7" -I "$root/usr/share/herdtools7/herd")
	fi
	(cd build/linux/tools/memory-model && "${command[@]}" -conf linux-kernel.cfg "$OLDPWD/$1") 2>&1 |
		awk '/^Observation / { said = $3 } { all = all $0 "\n" }
			END { if (said) print said; else printf "%s", all }'
}

# Line numbers of the barriers of a test
barriers_of() {
	grep -nE '^	.*(smp_|synchronize_|spin_lock\(|xchg(_acquire|_release)?\()' "$1" | cut -d : -f 1
}

# without FILE LINE: the test without the barrier, or the section, that begins there
without() {
	awk -v line="$2" '
		NR == line && /spin_lock\(/ { unlocked = 1; next }
		unlocked && /spin_unlock\(/ { unlocked = 0; next }
		NR == line && /smp_[rw]?mb\(|synchronize_/ { next }
		NR == line {
			sub(/smp_store_release\(/, "WRITE_ONCE(*")
			sub(/smp_load_acquire\(/, "READ_ONCE(*")
			sub(/smp_store_mb\(/, "WRITE_ONCE(")
			sub(/xchg(_acquire|_release)?\(/, "xchg_relaxed(")
		}
		{ print }' "$1"
}

run() {
	local test line broken said wrong=0 variants=0
	command -v herd7 >/dev/null || sid_herd
	rm -rf $work
	mkdir -p $work
	for test in "${tests[@]}"; do
		said=$(herd "$test")
		[ "$said" = Never ] || { echo "$test: $said"; wrong=$((wrong + 1)); }
		for line in $(barriers_of "$test"); do
			broken=$work/$(basename "$test" .litmus)-$line.litmus
			without "$test" "$line" >"$broken"
			said=$(herd "$broken")
			variants=$((variants + 1))
			[ "$said" = Sometimes ] || {
				echo "$test without line $line, $(sed -n "${line}s/^\t*//p" "$test"): $said"
				wrong=$((wrong + 1))
			}
		done
	done
	say "${#tests[@]} litmus tests, and $variants with a barrier less: $wrong not as expected"
	[ $wrong = 0 ]
}

case ${1-} in
lists | run) "$1" ;;
*) die 'litmus.sh lists | run' ;;
esac
