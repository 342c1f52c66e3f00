#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Whether replay.awk allows a trace made by hand, replay_test.trace, and none of those that
# differ from it in a line or two. The last line says how many of these were as expected.
set -euo pipefail

here=$(dirname "$0")
failed=0 tests=0

# A read, a write that ftrace tells of, and one that perf tells of; two vCPUs; a failure, and
# the same access again, which ends in another KVM_RUN, of another thread; a register that is
# not there; a command of another VM, which goes with it
good=$here/replay_test.trace

# expect STATUS NAME SED [OUTPUT]: of the trace after sed, whose head tells of what is in it
# unless sed has changed that, too. In the VM awk is busybox's.
expect() {
	local status out trace n awk
	trace=$(sed -E "$3" "$good")
	n=$(grep -c ': kvm.*:' <<<"$trace") || true
	for awk in awk 'busybox awk'; do
		status=0
		# shellcheck disable=SC2086 # to be split into words
		out=$(echo "${trace/14\/14/$n\/$n}" | $awk -f "$here/replay.awk" 2>&1) || status=1
		tests=$((tests + 1))
		[[ $status = "$1" && $out = *"${4-}"* ]] || {
			echo "$2, with $awk: $out"
			failed=$((failed + 1))
		}
	done
}

expect 0 'as it is' '' '14 events, 6 commands, 0 not allowed'
expect 0 'it ends in the midst of a command' '13d'
expect 0 'two VMs of one process' '11h;12G' '1 begun while another one was under way'
access='vcpu 1 user_data 0x8 pio write addr 0x3f8 size 1 region 0x3f8 vm 812'
fail="815 [1] 1: kvm_ioregionfd_fail: $access reason canceled progress 1 error 0"
expect 0 'one of two VMs fails, whichever' \
	"11h;12{G;s/0x41/0x42/;s/$/\n 813 [1] 1: kvm_userspace_exit:\n $fail/}"
expect 0 'it begins in the midst of a command' '4,5d;s|14/14|12/20|' '8 lost'
expect 0 'a CPU has lost events' '6s/.*/##### CPU 1 buffer started ####/;s|14/14|13/20|' \
	'13 events, 6 commands, 7 lost'
expect 0 'events were lost' '6s/.*/CPU:0 [LOST 12 EVENTS]/'
expect 0 'before events were lost, nothing is known' '4p;6s/.*/CPU:0 [LOST 12 EVENTS]/'
expect 0 'nobody had a region' '4,20d;s|14/14|0/0|' '0 events'
expect 1 'no trace' 'd'
expect 1 'fewer events than there were' 's|14/14|15/15|'
expect 1 'an event that there is not' '9s/fail/failed/'
expect 1 'the same, without a head' '3d;9s/fail/failed/'
expect 1 'it is whole, and begins in the midst of a command' '4,5d'
expect 1 'after events were lost, submitted twice' '8p;6s/.*/CPU:0 [LOST 12 EVENTS]/'
expect 1 'submitted twice' '8p'
expect 1 'submitted twice in a later KVM_RUN' '11p'
expect 1 'completed without a command' '4d'
expect 1 'failed without a command' '8d'
expect 1 'completed twice' '6p'
expect 1 'failed after it was complete' \
	'7{h;s/complete/fail/;s/data [^ ]*/reason io progress 1 error 5/;x;G}'
expect 1 'completed, and failed before' '11d'
expect 1 'another address' '6s/addr 0xd0000004/addr 0xd0000005/'
expect 1 'another size' '9s/size 1/size 2/'
expect 1 'another region' '6s/region 0xd0000000/region 0xd0001000/'
expect 1 'the response of the other vCPU' '6s/vcpu 0/vcpu 1/'
expect 1 'that of another VM' '6s/vm 812/vm 900/'
expect 1 'a value that is too wide' '6s/0x12345678/0x112345678/'
expect 1 'a read with a value' '4s/data 0x0/data 0x1/'
expect 1 'another value than was written' '7s/0xabcd/0xabce/'
expect 1 'another value, in a later KVM_RUN' '13s/0x41/0x42/'
expect 0 'a status that a device task has made up' '15s/status unmapped/status 0x3/'
expect 1 'a status that there is not' '6s/status done/status 0x7/'
expect 1 'a register that is not there has a value' '15s/0xff/0xfe/'
expect 1 'a progress that there is not' '9s/progress 1/progress 2/'
expect 1 'a reason to begin no command' '9s/hangup/no mailbox/'
echo "replay.awk: $tests traces: $failed not as expected"
[ $failed = 0 ]
