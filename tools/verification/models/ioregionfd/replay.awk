#!/usr/bin/awk -f
# SPDX-License-Identifier: GPL-2.0-only
# awk -f replay.awk TRACE: whether a trace of the events kvm:kvm_ioregionfd_* and
# kvm:kvm_userspace_exit is one that mailbox.pml allows. TRACE is what ftrace has in its file
# "trace", or what perf script prints.
#
# What a trace shows of the vCPU in mailbox.pml:
#   kvm_ioregionfd_submit    mailbox_req_new(): the vCPU had no command
#   kvm_ioregionfd_complete  mailbox_done(): of this command, which is over
#   kvm_ioregionfd_fail      mailbox_req_abandon(): likewise
#   kvm_userspace_exit       KVM_RUN ends. The command may go on in the next one.
# The events have a command's access, value and status, so these are compared as well.
#
# An event tells of its VM only which process made it. If a vCPU seems to begin a command while
# another is under way, that may be two VMs of one process, or a VM that has ended with its
# command. So this is a fault only within one KVM_RUN; else it is counted. A trace is whole if
# ftrace says so in its head. If it is not, a command may end whose begin is not there, and
# nothing is said of what came before the last gap.
#
# It prints the first 20 events that are not allowed, and in the last line how many there were.
# The exit status is 1 if any is not allowed.

# The fields after "vcpu": by name, where a name is followed by its value
function parse(text,	word, n, i)
{
	delete f
	n = split(text, word, " ")
	for (i = 1; i <= n; i++) {
		if (word[i] ~ /^(mmio|pio)$/)
			f["kind"] = word[i]
		else if (word[i] ~ /^(read|write)$/)
			f["direction"] = word[i]
		else if (word[i] == "status" || word[i] == "reason") {
			f[word[i]] = word[i + 1]
			# "to vmm", "no mailbox"
			if (word[i + 1] ~ /^(to|no)$/)
				f[word[i]] = f[word[i]] " " word[i + 2]
			i += word[i + 1] ~ /^(to|no)$/ ? 2 : 1
		} else if (i < n) {
			f[word[i]] = word[i + 1]
			i++
		}
	}
	who = f["vm"] "/" f["vcpu"]
	access = who " " f["user_data"] " " f["kind"] " " f["direction"] " " f["addr"] " " f["size"] " " \
		f["region"]
	written = f["direction"] == "write" ? f["data"] : ""
}

function not_allowed(why)
{
	fault[++faults] = FILENAME ":" FNR ": " why ": " $0
}

# Nothing is known of what a CPU has lost until here
function gap()
{
	whole = 0
	faults = 0
	delete open
	delete here
	delete begun
}

# The digits of a value, without leading zeros
function digits(value)
{
	sub(/^0x0*/, "", value)
	return value
}

function ones(size,	s)
{
	for (s = ""; size > 0; size--)
		s = s "ff"
	return s
}

# Whether this event may end the command of that number. A failure does not tell the value.
function ends(event, number)
{
	return begun[number] == access &&
		(event == "fail" || value[number] == "?" || value[number] == written)
}

# The command that this event ends: of this KVM_RUN, or of an earlier one
function end(event,	list, n, i, found, left)
{
	if (thread in here) {
		found = here[thread]
		if (!ends(event, found))
			not_allowed(event " of another command")
		delete here[thread]
	}
	n = split(open[who], list, " ")
	for (i = 1; i <= n; i++) {
		if (!found && ends(event, list[i]))
			found = list[i]
		else if (list[i] != found) {
			left = left " " list[i]
			# Which one of them has failed is not known
			if (event == "fail" && begun[list[i]] == access)
				value[list[i]] = "?"
		}
	}
	open[who] = left
	if (found)
		delete begun[found]
	else if (whole)
		not_allowed(event " without a command")
}

/^# entries-in-buffer\/entries-written:/ {
	split($3, entries, "/")
	header = 1
	whole = entries[1] == entries[2]
	lost += entries[2] - entries[1]
}

/^##### CPU [0-9]+ buffer started ####/ || /LOST .*EVENTS/ || /PERF_RECORD_LOST/ {
	gap()
	gaps++
}

# The thread is the number before the CPU
match($0, /[- ][0-9]+ +\[[0-9]+\]/) {
	thread = substr($0, RSTART + 1) + 0
}

/kvm_userspace_exit:/ {
	events++
	delete here[thread]
	next
}

match($0, /kvm_ioregionfd_(submit|complete|fail): vcpu /) {
	event = substr($0, RSTART + 15)
	sub(/:.*/, "", event)
	parse(substr($0, RSTART + RLENGTH - 5))
	events++
	commands += event == "submit"
}

event == "" && /kvm_ioregionfd_/ {
	not_allowed("no such event")
}

event == "submit" {
	if (thread in here)
		not_allowed("submit while there is a command")
	if (f["direction"] == "read" && digits(f["data"]) != "")
		not_allowed("a read with a value")
	overlaps += open[who] != ""
	begun[++number] = access
	value[number] = written
	open[who] = open[who] " " number
	here[thread] = number
}

event == "complete" {
	if (length(digits(f["data"])) > 2 * f["size"])
		not_allowed("a value wider than the access")
	# 0x3 is none, but a task can store it in the mapping, and it counts as unmapped
	if (f["status"] !~ /^(done|unmapped|to vmm|0x3)$/)
		not_allowed("no such status")
	else if (f["direction"] == "read" && f["status"] != "done" &&
		 digits(f["data"]) != ones(f["size"]))
		not_allowed("a value of a register that is not there")
	end(event)
}

# A reason of 0: the instruction begins anew
event == "fail" {
	if (f["reason"] !~ /^(hangup|io|protocol|deassigned|canceled|0x0)$/)
		not_allowed("no reason to end a command")
	if (f["progress"] !~ /^[01]$/)
		not_allowed("no such progress")
	end(event)
}

{ event = "" }

END {
	if (header ? entries[1] != events : !events)
		fault[++faults] = FILENAME ": " events + 0 " events, and not what its head says"
	for (i = 1; i <= faults && i <= 20; i++)
		print fault[i]
	printf "%d events, %d commands", events, commands
	if (overlaps)
		printf ", %d begun while another one was under way", overlaps
	if (lost || gaps)
		printf ", %d lost before them", lost
	printf ", %d not allowed\n", faults
	exit faults > 0
}
