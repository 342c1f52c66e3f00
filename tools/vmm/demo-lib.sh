# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash source=tools/vmm/waiting.sh
#
# What demo.sh and machine.sh share. Both are run as root in a machine whose KVM has
# ioregionfd, with the files that they use in the same directory. They show the guest's
# console, and exit with 0 only if all of it worked; otherwise they say what did not.

. ./waiting.sh

bench_accesses=5000

# No wait is longer, in s. It is meant for a machine that is busy with others.
limit=300

tmp=$(mktemp -d) || exit 1
vmm=
trap '[ -z "$vmm" ] || kill "$vmm" 2>/dev/null; end_echoes; rm -rf "$tmp"' EXIT

# Those whose numbers machine.sh has noted
end_echoes() {
	[ ! -e "$tmp/echoes" ] || xargs kill <"$tmp/echoes" 2>/dev/null
}

# One for each thing that stock Linux tries and KVM does not have
echo N 2>/dev/null >/sys/module/kvm/parameters/report_ignored_msrs

fail() {
	echo "demo: FAILED: $*" >&2
	exit 1
}

step() {
	printf '\ndemo: %s\n' "$*"
}

# value NAME FILE: one of the counters that vmm has written
value() {
	sed -n "s/^$1=//p" "$2"
}

# boot INPUT OPTION...: start vmm in the background, with its console live and in $tmp/console
boot() {
	input=$1
	shift
	touch "$tmp/console"
	{
		./vmm --stats="$tmp/boot" "$@" <"$input"
		echo $? >"$tmp/status"
	} | tee "$tmp/console" &
}

# until_so WHAT COMMAND...: until the command succeeds
until_so() {
	what=$1
	shift
	tenths=0
	until "$@"; do
		usleep 100000
		tenths=$((tenths + 1))
		[ $tenths -lt $((limit * 10)) ] || {
			waiting
			fail "$what: not within $limit s"
		}
	done
}

vmm_ended() {
	[ -e "$tmp/status" ]
}

said() {
	grep -q "$1" "$tmp/console" || {
		! vmm_ended || grep -q "$1" "$tmp/console" ||
			fail "vmm ended with status $(cat "$tmp/status") before the guest said '$1'"
		false
	}
}

# Until TEXT is on the guest's console; the VMM must be alive so long
wait_for() {
	until_so "the guest says '$1'" said "$1"
}

wait_for_end() {
	until_so 'the guest switches itself off' vmm_ended
	wait
}

# The guest has ended: by itself, and in order
check_end() {
	status=$(cat "$tmp/status")
	[ "$status" = 0 ] || fail "vmm ended with status $status"
	grep -q 'reboot: Power down' "$tmp/console" ||
		fail 'the guest did not power itself off'
	exits=$(value uart_exits "$tmp/boot")
	[ "$exits" = 0 ] || fail "$exits accesses of the UART went to the VMM"
}

# What an access costs, each way
bench() {
	# It takes part in each entry of the guest
	rmmod svm_exit 2>/dev/null
	step "reading the UART's line status $bench_accesses times, each way"
	for path in forward socket ioregionfd; do
		./vmm --uart=$path --bench=$bench_accesses --stats="$tmp/$path" \
			</dev/null >/dev/null || fail "the benchmark of $path did not end well"
		[ "$(value reads_1 "$tmp/$path")" -ge $bench_accesses ] ||
			fail "uart-task did not see all accesses of the benchmark of $path"
		bench_exits=$(value uart_exits "$tmp/$path")
		[ $path = forward ] || [ "$bench_exits" = 0 ] ||
			fail "$bench_exits accesses of the benchmark of $path went to the VMM"
	done
	forward=$(value ns_per_access "$tmp/forward")
	socket=$(value ns_per_access "$tmp/socket")
	ioregionfd=$(value ns_per_access "$tmp/ioregionfd")
}

row() {
	printf '  %-34s' "$1"
	shift
	printf '%12s' "$@"
	echo
}

# ratio FIGURE: to the forwarded one
ratio() {
	awk "BEGIN { printf \"%.3f\", $1 / $forward }"
}

bench_rows() {
	# The clock of a machine under qemu -icount shift=0 counts instructions
	unit=nanoseconds
	! grep -q 'QEMU TCG' /proc/cpuinfo || unit=instructions
	row "$unit for an access" forward socket ioregionfd
	row '  1-byte read' "$forward" "$socket" "$ioregionfd"
	row '  of the forwarded one' 1.000 "$(ratio "$socket")" "$(ratio "$ioregionfd")"
}
