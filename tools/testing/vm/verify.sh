#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# verify.sh COMMAND: the Promela models in tools/verification/models
#   lists   a model's head says which C functions it has, and of which files: the model must
#           have these and no others, and so must the files. And no function there that
#           changes what two sides share may be missing: it is in a model, or README.rst
#           says why not.
#   run [MODEL...]
#           run spin: no model may fail in any variant, and each of its mutants has to, in
#           the way that its head says. What a model tells of its runs is a trace that
#           replay.awk allows. CC=tcc in the environment builds faster.
set -euo pipefail
. tools/testing/vm/lib.sh

dir=tools/verification/models
mapfile -t models < <(find $dir -name '*.pml' | sort)
sources=(virt/kvm/ioregionfd/{mailbox,fetch,file,uring}.c virt/kvm/ioregionfd/native.h
	tools/lib/ioregionfd/channel.c)
changes='cmpxchg\\(|xchg\\(|WRITE_ONCE\\(|smp_store_release|wake_up|schedule|atomic_(inc|dec)'
changes+='|wait_queue\\(|wait_event|spin_lock|__atomic_(store|compare|fetch_)'
work=build/verify

# Lines "FILE FUNCTION": the functions that are defined there, or those of them that have a
# line with a pattern
functions() {
	awk -v pattern="$1" '
		FNR == 1 { f = "" }
		/^[a-z_].*\(/ && !/;$/ {
			f = substr($0, 1, index($0, "(") - 1)
			sub(/.*[ *]/, "", f)
			if (!pattern)
				print FILENAME, f
		}
		/^}/ { f = "" }
		pattern && f && $0 ~ pattern { print FILENAME, f }' "${@:2}" | sort -u
}

# Lines "MODEL FILE FUNCTION": what the heads of the models name
named() {
	awk '
		match($0, /^ \* ([a-z_\/]+\.[ch]|The kernel|Here alone): /) {
			file = substr($0, 4, RLENGTH - 5)
			sub(/ /, "-", file)
			$0 = substr($0, RLENGTH + 1)
		}
		/^ \*/ && !/^ \*\t/ { file = "" }
		file {
			gsub(/^ \*|,/, "")
			n = split($0, name, /[ \t]+/)
			for (i = 1; i <= n; i++)
				if (name[i])
					print FILENAME, file, name[i]
		}' "${models[@]}" | sort -u
}

# Lines "MODEL FUNCTION": what the models define
steps() {
	sed -nE 's/^(inline|proctype|active proctype|#define) ([a-z_]+)\(.*/\2/p' "$1" | sort -u
}

# Those that README.rst gives reasons for: lines "- FUNCTION, FUNCTION: why"
not_modelled() { sed -n 's/^- \([a-z_, ]*\):.*/\1/p' $dir/ioregionfd/README.rst | tr -s ', ' '\n'; }

lists() {
	local rc=0 model file function path
	for model in "${models[@]}"; do
		diff <(named | awk -v m="$model" '$1 == m { print $3 }' | sort -u) \
			<(steps "$model") || {
			echo "$model: <: only in its head; >: only below"
			rc=1
		}
	done
	while read -r model file function; do
		path=$file
		[ -e "$path" ] || path=$build/linux/$file
		# without a source tree nothing can be said of the kernel's own files
		if [ "${file%.[ch]}" = "$file" ] || [ ! -e "$path" ]; then
			continue
		fi
		functions '' "$path" | grep -xF "$path $function" >/dev/null ||
			grep -qE "^#define $function\(" "$path" || {
			echo "$model: $file has no $function"
			rc=1
		}
	done < <(named)
	comm -23 <(functions "$changes" "${sources[@]}" | cut -d ' ' -f 2 | sort -u) \
		<({ named | cut -d ' ' -f 3; not_modelled; } | sort -u) |
		sed 's/$/: in no model, and not in README.rst/' | grep . && rc=1
	return "$rc"
}

# explore MODEL MODE FLAGS OPTIMIZATION: a search for deadlocks and failed assertions (MODE
# is safety), or for cycles (livelock). Prints what it found, and the number of states.
explore() {
	local out flags=() build=(-DSAFETY) options=() flag
	out=$work/$(basename "$1" .pml)-$2-$3
	for flag in ${3//,/ }; do
		flags+=("-D$flag")
	done
	if [ "$2" = livelock ]; then
		build=(-DNP -DNOFAIR -DCOLLAPSE)
		options=(-l)
	fi
	rm -rf "$out"
	mkdir -p "$out"
	cp "$1" "$out/model.pml"
	(
		cd "$out"
		spin "${flags[@]}" -a model.pml >spin.log 2>&1 || true
		"${CC:-gcc}" -w "$4" "${build[@]}" -DMEMLIM=3000 -o pan pan.c >cc.log 2>&1
		# A search that is cut short is none
		timeout 3600 ./pan "${options[@]}" -b -m200000 >pan.log 2>&1
		rm pan pan.[a-z]
	) || true
	awk '
		/^pan:.*assertion violated/ { found = "assertion" }
		/^pan:.*invalid end state/ { found = "deadlock" }
		/^pan:.*non-progress cycle/ { found = "livelock" }
		/Search not completed/ && !found { found = "incomplete" }
		/errors: 0$/ && !found { found = "nothing" }
		/states, stored/ { states = $1 }
		END { print found ? found : "failed", states + 0 }' "$out/pan.log" 2>/dev/null ||
		echo 'failed 0'
}

# heads MODEL KIND: what the model's head says of mutants, or of what is to be explored: each
# variant for what must not be, and for cycles the same, unless it names others as Livelock
heads() {
	sed -nE "s/^ \* $2 ?//p" "$1"
}

# simulated MODEL: replay.awk, which judges the traces of a kernel, has to allow those of the
# model, of runs that spin takes by chance
simulated() {
	local n runs=200 event out=$work/simulated
	mkdir -p "$out"
	for ((n = 1; n <= runs; n++)); do
		timeout 60 spin -DTRACE -T "-n$n" "$1"
	done >"$out/spin.log"
	sed -n 's/^ *\(vcpu-.* kvm_.*\)/\1/p' "$out/spin.log" >"$out/events"
	n=$(wc -l <"$out/events")
	sed "1i # entries-in-buffer/entries-written: $n/$n" "$out/events" >"$out/trace"
	awk -f "${1%/*}/replay.awk" "$out/trace" >"$out/replayed" || {
		cat "$out/replayed"
		return 1
	}
	say "$(basename "$1" .pml): $runs runs as traces: $(tail -n 1 "$out/replayed")"
	for event in submit: complete: userspace_exit: 'fail: .*progress 0' 'fail: .*progress 1'; do
		grep -q "$event" "$out/events" || {
			echo "$1: no run has $event"
			return 1
		}
	done
}

run() {
	local model name kind flags found states total here expected pattern
	local variants livelock
	local wrong=0 mutants=0
	rm -rf $work
	if [ $# -gt 0 ]; then
		pattern=$(IFS='|'; echo "/($*)\.pml$")
		mapfile -t models < <(printf '%s\n' "${models[@]}" | grep -E "$pattern")
	fi
	for model in "${models[@]}"; do
		total=0 here=0
		mapfile -t variants < <(heads "$model" Variant)
		mapfile -t livelock < <(heads "$model" Livelock)
		while read -r kind flags; do
			read -r found states < <(explore "$model" "$kind" "$flags" -O1)
			total=$((total + states))
			[ "$found" = nothing ] || {
				echo "$model $kind $flags: $found"
				wrong=$((wrong + 1))
			}
		done < <(printf 'safety %s\n' "${variants[@]:-}"
			printf 'livelock %s\n' "${livelock[@]:-${variants[@]:-}}")
		while read -r name expected flags; do
			kind=safety
			[ "$expected" != livelock ] || kind=livelock
			read -r found states < <(explore "$model" $kind "$name,$flags" -O0)
			[ "$found" = "$expected" ] || {
				echo "$model, mutant $name: $found, not $expected"
				wrong=$((wrong + 1))
			}
			here=$((here + 1))
		done < <(heads "$model" Mutant | sed 's/:.*//')
		mutants=$((mutants + here))
		say "$(basename "$model" .pml): $total states, $here mutants"
		grep -q TRACE "$model" || continue
		simulated "$model" || wrong=$((wrong + 1))
	done
	say "${#models[@]} models, $mutants mutants: $wrong not as expected"
	[ $wrong = 0 ]
}

case ${1-} in
lists | run) "$@" ;;
*) die 'verify.sh lists | run [MODEL...]' ;;
esac
