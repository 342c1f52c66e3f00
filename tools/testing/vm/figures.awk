# SPDX-License-Identifier: GPL-2.0-only
#
# What "make bench" has measured, from lines "name kernel figure", and what each figure is
# compared with.

FNR == NR {
	figure[$1, $2] = $3
}

# What an access is compared with: how the same one is served today
function access_base(name) {
	if (name ~ /-write\//)
		return "mmio-write/ioeventfd"
	if (name ~ /^pio\//)
		return "pio/forward-socket"
	if (name ~ /poll/)
		return "mmio/in-kernel"
	return "mmio/forward-socket"
}

# The same without VIRTIO_F_IN_ORDER
function plain(name) {
	sub(/\+in-order/, "", name)
	sub(/-unbatched$/, "", name)
	return name
}

# And in the core without our hook
function stock_ring(name) {
	sub(/^ring/, "ring-stock", name)
	return name
}

# What the kernel's own vhost needs for the same in its only layout
function stock_vhost(name) {
	sub(/^vhost[^\/]*/, "vhost-stock", name)
	sub(/\/(split|packed)[^\/]*\//, "/split/", name)
	return name
}

# e2e/WHAT/WAY, when the VMM forwards the accesses; to a process on another CPU if it is on one
function forwarded(name) {
	sub(/[^\/]*$/, name ~ /poll$/ ? "forward-apart" : "forward", name)
	return name
}

# 0 if one of them is missing
function ratio(name, kernel, base, base_kernel) {
	if (!figure[name, kernel] || !figure[base, base_kernel])
		return 0
	return figure[name, kernel] / figure[base, base_kernel]
}
