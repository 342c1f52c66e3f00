# SPDX-License-Identifier: GPL-2.0-only
#
# The table of "make bench", from lines "name kernel instructions", and whether the
# ratios are what they have to be. Those of the dev kernel decide about the exit status.

{
	if (!($1 in seen) && $2 == "dev")
		order[++n] = $1
	seen[$1]
	figure[$1, $2] = $3
}

# What a path is compared with: how the same access is served today
function baseline(name) {
	if (name ~ /-write\//)
		return "mmio-write/ioeventfd"
	if (name ~ /^pio\//)
		return "pio/forward-socket"
	if (name ~ /poll/)
		return "mmio/in-kernel"
	return "mmio/forward-socket"
}

function ratio(name, kernel, base, base_kernel) {
	if (!figure[name, kernel] || !figure[base, base_kernel])
		return 0
	return figure[name, kernel] / figure[base, base_kernel]
}

# Prints "ok" or "NOT MET". A figure that is missing has not met anything.
function judge(what, kernel, value, low, high,   met) {
	met = value > low && value <= high
	printf "%-9s %-6s %s: %.3f, at most %.4g\n", met ? "ok" : "NOT MET", kernel, what, value, high
	if (!met && kernel == "dev")
		failed = 1
}

function compare(name, kernel, base, limit) {
	judge(name " / " base, kernel, ratio(name, kernel, base, kernel), 0, limit)
}

# The option may cost nothing where it is not used. Less than nothing is as odd.
function unused(name, kernel) {
	judge(name ", with the option / without", kernel,
	      ratio(name, kernel, name, kernel "-without"), 0.99, 1.01)
}

END {
	printf "\n%-30s %9s %7s %9s %7s   %s\n", "instructions per access", "dev", "", "stock", "",
		"the ratio is to"
	for (i = 1; i <= n; i++) {
		name = order[i]
		base = baseline(name)
		printf "%-30s %9d %7.3f %9d %7.3f   %s\n", name,
			figure[name, "dev"], ratio(name, "dev", base, "dev"),
			figure[name, "stock"], ratio(name, "stock", base, "stock"), base
	}
	print ""
	split("dev stock", kernels)
	for (i = 1; i <= 2; i++) {
		compare("ioregionfd/ioctl", kernels[i], "mmio/forward-socket", 0.475)
		compare("ioregionfd/uring", kernels[i], "mmio/forward-socket", 0.60)
		compare("ioregionfd/read-write", kernels[i], "mmio/forward-socket", 0.60)
		compare("ioregionfd/poll", kernels[i], "mmio/in-kernel", 1.10)
		compare("ioregionfd-write/posted", kernels[i], "mmio-write/ioeventfd", 1.08)
		compare("ioregionfd-write/posted-woken", kernels[i], "mmio-write/ioeventfd", 1.50)
		unused("mmio/vmm-thread", kernels[i])
		unused("mmio-write/ioeventfd", kernels[i])
		# or the spin was not told apart from the rest
		judge("ioregionfd/poll-late / ioregionfd/poll", kernels[i],
		      ratio("ioregionfd/poll-late", kernels[i], "ioregionfd/poll", kernels[i]), 0.99, 1.01)
		printf "          %-6s to mmio/forward-seqpacket: ioctl %.3f, uring %.3f, read-write %.3f\n",
			kernels[i],
			ratio("ioregionfd/ioctl", kernels[i], "mmio/forward-seqpacket", kernels[i]),
			ratio("ioregionfd/uring", kernels[i], "mmio/forward-seqpacket", kernels[i]),
			ratio("ioregionfd/read-write", kernels[i], "mmio/forward-seqpacket", kernels[i])
	}
	exit failed
}
