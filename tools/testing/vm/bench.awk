# SPDX-License-Identifier: GPL-2.0-only
#
# The tables of "make bench", and whether the figures are what they have to be. Of
# accesses, those of the dev kernel decide about the exit status. After figures.awk.

$1 !~ /^(ring|vhost)/ && $2 == "dev" {
	accesses[++n_accesses] = $1
}

# Of the core without our hook, if it has an order of its own
$1 ~ /^(ring|ring-stock\/.*in-order.*)\// && $1 !~ /-(loads|stores)$/ {
	rings[++n_rings] = $1
}

$1 ~ /^vhost/ && $1 !~ /-accesses(-data)?$/ {
	vhosts[++n_vhosts] = $1
}

$1 ~ /^e2e\/.*\/ioregionfd$/ {
	guests[++n_guests] = $1
}

# Prints "ok" or "NOT MET". A figure that is missing has not met anything.
function judge(what, kernel, value, low, high,   met) {
	met = value > low && value <= high
	printf "%-9s %-6s %s: %.3f, at most %.4g\n", met ? "ok" : "NOT MET", kernel, what, value, high
	if (!met && (kernel != "stock" || what ~ /^(vhost|e2e)/))
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

function access_table(  i, name, base) {
	printf "\n%-30s %9s %7s %9s %7s   %s\n", "instructions per access", "dev", "", "stock", "",
		"the ratio is to"
	for (i = 1; i <= n_accesses; i++) {
		name = accesses[i]
		base = access_base(name)
		printf "%-30s %9d %7.3f %9d %7.3f   %s\n", name,
			figure[name, "dev"], ratio(name, "dev", base, "dev"),
			figure[name, "stock"], ratio(name, "stock", base, "stock"), base
	}
	print ""
}

function judge_accesses(kernel) {
	compare("ioregionfd/ioctl", kernel, "mmio/forward-socket", 0.475)
	compare("ioregionfd/uring", kernel, "mmio/forward-socket", 0.60)
	compare("ioregionfd/read-write", kernel, "mmio/forward-socket", 0.60)
	compare("ioregionfd/poll", kernel, "mmio/in-kernel", 1.10)
	compare("ioregionfd-write/posted", kernel, "mmio-write/ioeventfd", 1.08)
	compare("ioregionfd-write/posted-woken", kernel, "mmio-write/ioeventfd", 1.50)
	unused("mmio/vmm-thread", kernel)
	unused("mmio-write/ioeventfd", kernel)
	# what a comfortable interface may cost on top
	compare("ioregionfd/ioctl-library", kernel, "ioregionfd/ioctl", 1.05)
	compare("ioregionfd/uring-library", kernel, "ioregionfd/uring", 1.05)
	compare("ioregionfd/poll-library", kernel, "ioregionfd/poll", 1.01)
	# or the spin was not told apart from the rest
	judge("ioregionfd/poll-late / ioregionfd/poll", kernel,
	      ratio("ioregionfd/poll-late", kernel, "ioregionfd/poll", kernel), 0.99, 1.01)
	printf "          %-6s to mmio/forward-seqpacket: ioctl %.3f, uring %.3f, read-write %.3f\n",
		kernel,
		ratio("ioregionfd/ioctl", kernel, "mmio/forward-seqpacket", kernel),
		ratio("ioregionfd/uring", kernel, "mmio/forward-seqpacket", kernel),
		ratio("ioregionfd/read-write", kernel, "mmio/forward-seqpacket", kernel)
}

function ring_table(  i, name, base) {
	printf "\n%-44s %12s %7s %7s %7s   %s\n", "per buffer, in virtio_ring.c", "instructions", "",
		"loads", "stores", "the ratio is to"
	for (i = 1; i <= n_rings; i++) {
		name = rings[i]
		base = name ~ /in-order/ ? plain(name) : stock_ring(name)
		printf "%-44s %12.2f %7.3f %7.2f %7.2f   %s\n", name, figure[name, "none"],
			ratio(name, "none", base, "none"),
			figure[name "-loads", "none"], figure[name "-stores", "none"], base
	}
	print ""
}

function judge_rings(  layouts, ops, l, o, c, ours, name) {
	compare("ring/split+in-order/get/b32c1", "none", "ring/split/get/b32c1", 0.60)
	compare("ring/split+in-order/round-trip/b32c1", "none", "ring/split/round-trip/b32c1", 0.85)
	compare("ring/packed+in-order/get/b32c1", "none", "ring/packed/get/b32c1", 0.75)
	compare("ring/packed+in-order/round-trip/b32c1", "none", "ring/packed/round-trip/b32c1", 0.92)
	split("split packed", layouts)
	split("add get round-trip", ops)
	for (l = 1; l <= 2; l++) {
		# one used element a batch
		ours = "ring/" layouts[l] "+in-order/get/b32c1-element-loads"
		compare(ours, "none", plain(ours), 1 / 32)
		# without batching order costs nothing
		for (o = 1; o <= 3; o++) {
			ours = "ring/" layouts[l] "+in-order/" ops[o]
			compare(ours "/b1c1", "none", plain(ours) "/b1c1", 1.01)
			compare(ours "/b32c1-unbatched", "none", plain(ours) "/b32c1", 1.01)
		}
		# nor does the hook without order, per buffer
		for (c = 1; c <= 3; c += 2) {
			name = "ring/" layouts[l] "/round-trip/b32c" c
			compare(name, "none", stock_ring(name), 1.01)
		}
		# and order costs less than the kernel's own, where there is that
		name = "ring/" layouts[l] "+in-order/round-trip/b32c1"
		if (figure[stock_ring(name), "none"])
			compare(name, "none", stock_ring(name), l == 1 ? 0.70 : 0.73)
	}
}

function vhost_table(  i, name, base) {
	printf "\n%-36s %12s %7s %9s %6s   %s\n", "per buffer, in vhost", "instructions", "",
		"accesses", "data", "the ratio is to"
	for (i = 1; i <= n_vhosts; i++) {
		name = vhosts[i]
		base = stock_vhost(name)
		printf "%-36s %12d %7.3f %9.2f %6.2f   %s\n", name, figure[name, "stock"],
			ratio(name, "stock", base, "stock"), figure[name "-accesses", "stock"],
			figure[name "-accesses-data", "stock"], base
	}
	print ""
}

function judge_vhost(path, limit,   name) {
	name = "vhost/" path "/b64"
	compare(name, "stock", stock_vhost(name), limit)
}

function judge_vhost_accesses(layout, limit,   name) {
	name = "vhost/net-tx/" layout "/b64-accesses"
	judge(name, "stock", figure[name, "stock"], 0, limit)
}

# A figure, and what it is compared with; dashes for what is not measured
function guest_cell(name) {
	if (!figure[name, "stock"])
		return sprintf("%11s %11s %7s", "-", "-", "-")
	return sprintf("%11d %11d %7.3f", figure[forwarded(name), "stock"], figure[name, "stock"],
		       ratio(name, "stock", forwarded(name), "stock"))
}

function guest_table(  i, name) {
	printf "\n%-20s %11s %11s %7s %11s %11s\n", "for a guest of vmm", "forwarded", "ioregionfd", "",
		"forwarded", "polling"
	printf "%-20s %31s %23s\n", "", "on one CPU", "on two CPUs"
	for (i = 1; i <= n_guests; i++) {
		name = guests[i]
		sub(/\/ioregionfd$/, "", name)
		printf "%-20s %s %s\n", name, guest_cell(name "/ioregionfd"), guest_cell(name "/poll")
	}
	print ""
}

function judge_guest(name, limit) {
	name = "e2e/" name
	compare(name, "stock", forwarded(name), limit)
}

END {
	access_table()
	judge_accesses("dev")
	judge_accesses("stock")
	ring_table()
	judge_rings()
	vhost_table()
	# the ring alone
	judge_vhost("test/split+in-order", 0.70)
	judge_vhost("test/packed", 0.95)
	judge_vhost("test/packed+in-order", 0.65)
	# the whole path of a packet
	judge_vhost("net-tx/split+in-order", 0.95)
	judge_vhost("net-tx/packed+in-order", 0.95)
	judge_vhost("net-tx/packed", 1.02)
	judge_vhost("net-rx/split+in-order", 1.02)
	judge_vhost("net-rx/packed", 1.02)
	judge_vhost("net-rx/packed+in-order", 1.02)
	# what was there before
	judge_vhost("net-tx/split", 1.01)
	judge_vhost("net-rx/split", 1.01)
	judge_vhost("test/split", 1.01)
	judge_vhost_accesses("split+in-order", 1.10)
	judge_vhost_accesses("packed+in-order", 1.10)
	judge_vhost_accesses("packed", 2.10)
	guest_table()
	judge_guest("config-read/ioregionfd", 0.50)
	judge_guest("blk-qd1/ioregionfd", 0.85)
	judge_guest("blk-qd32/ioregionfd", 0.60)
	judge_guest("nvme-qd1/ioregionfd", 0.75)
	judge_guest("nvme-qd32/ioregionfd", 0.60)
	judge_guest("nvme-qd1/poll", 0.55)
	judge_guest("nvme-qd32/poll", 0.55)
	printf "          %-6s polling, to e2e/*/forward: nvme-qd1 %.3f, nvme-qd32 %.3f\n", "stock",
		ratio("e2e/nvme-qd1/poll", "stock", "e2e/nvme-qd1/forward", "stock"),
		ratio("e2e/nvme-qd32/poll", "stock", "e2e/nvme-qd32/forward", "stock")
	exit failed
}
