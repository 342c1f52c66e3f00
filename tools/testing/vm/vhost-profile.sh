#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# vhost-profile.sh KDIR PAYLOAD: which functions the instructions of a packet that
# vhost-net sends are in, in stock vhost and in each layout of ours. QEMU writes down all
# of a second's instructions.
set -euo pipefail
. tools/testing/vm/lib.sh

kdir=$1 payload=$2
work=build/profile
vm=build/vm/profile

# Those between two fetched buffers, if nothing but vhost's worker ran, by function
by_function() {
	local fetch
	grep -aE '^[0-9a-f]{16} [tTwW] ' $vm/console | tr -d '\r' | sort >$work/symbols
	fetch=$(awk '$3 == "vhost_get_vq_desc" { print $1 }' $work/symbols)
	sed -n 's|^Trace.*/\([0-9a-f]\{16\}\)/.*|\1|p' $vm/trace | awk -v fetch="$fetch" '
		$1 == fetch {
			if (started && !user) {
				n++
				for (pc in now)
					all[pc] += now[pc]
			}
			started = 1
			user = 0
			delete now
		}
		/^0000/ { user = 1 }
		{ now[$1]++ }
		END {
			for (pc in all)
				printf "%s %.3f\n", pc, all[pc] / n
		}' | sort -m -s -k1,1 $work/symbols <(sort) | awk -v path="$1" '
		$2 ~ /^[tTwW]$/ { name = $3 $4; next }
		{ count[name] += $2 }
		END {
			for (name in count)
				print path, name, count[name]
		}'
}

# profile PATH LAYOUT COMMAND: LAYOUT is what vhost_perf calls it
profile() {
	local path=$1 layout=$2 load=$3 pid
	rm -rf $vm
	say "boot Linux $(basename "$kdir"): $path"
	tools/testing/vm/boot.sh -i -p "$payload" -t 300 -q \
		"-cpu $emulated_cpu,erms=off -D $vm/trace -monitor unix:$vm/monitor,server=on,wait=off" profile "$kdir" \
		"cd /payload; $load; echo 1 >/proc/sys/net/core/bpf_jit_kallsyms
		./vhost_perf -l '*/net-tx/$layout/b64' & sleep 1
		grep -i ' [tw] ' /proc/kallsyms; echo 'profile: begin'; wait" \
		</dev/null >$work/log 2>&1 & pid=$!
	until grep -qs '^profile: begin' $vm/console; do
		kill -0 $pid || {
			cat $work/log
			die "$path: no end"
		}
		sleep 1
	done
	{
		# one-insn-per-tb is what singlestep is called since QEMU 8.1
		printf '%s\n' stop 'singlestep on' 'one-insn-per-tb on' 'log exec,nochain' cont
		sleep 1
		printf '%s\n' stop 'log none' quit
		sleep 1
	} | socat - "UNIX-CONNECT:$vm/monitor" >$work/monitor
	wait $pid || true
	if grep -qa "unknown command: 'singlestep'" $work/monitor &&
		grep -qa "unknown command: 'one-insn-per-tb'" $work/monitor; then
		die 'QEMU cannot write down each instruction'
	fi
	by_function "$path" >>$work/functions
}

rm -rf $work
mkdir -p $work
profile stock split 'modprobe vhost_net'
for layout in split split+in-order packed packed+in-order; do
	profile "$layout" "$layout" \
		'modprobe vhost_net; rmmod vhost_net vhost; insmod vhost.ko; insmod vhost_net.ko'
done

awk '
	{
		count[$2, $1] = $3
		all[$1] += $3
		if ($3 >= 5)
			shown[$2]
		if (!($1 in seen))
			paths[++n] = $1
		seen[$1]
	}
	function row(name,   i, line) {
		line = sprintf("%-36s", name)
		for (i = 1; i <= n; i++)
			line = line sprintf(" %15.0f", count[name, paths[i]])
		return line
	}
	END {
		printf "%-36s", "instructions per packet"
		for (i = 1; i <= n; i++) {
			printf " %15s", paths[i]
			count["all", paths[i]] = all[paths[i]]
		}
		print "\n" row("all")
		for (name in shown)
			print row(name) | "sort -k2,2nr -k4,4nr"
	}' $work/functions
