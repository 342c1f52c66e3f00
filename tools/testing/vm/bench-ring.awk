# SPDX-License-Identifier: GPL-2.0-only
#
# The table of what a buffer costs in virtio_ring.c, from the lines of ring_perf.sh, and
# whether the ratios are what they have to be.

{
	figure[$1] = $2
}

$1 ~ /^ring\// && $1 !~ /-(loads|stores)$/ {
	order[++n] = $1
}

# The same without VIRTIO_F_IN_ORDER; and of the core without our hook
function plain(name) {
	sub(/\+in-order/, "", name)
	sub(/-unbatched$/, "", name)
	return name
}

function stock(name) {
	sub(/^ring/, "ring-stock", name)
	return name
}

function ratio(name, base) {
	return figure[base] ? figure[name] / figure[base] : 0
}

# A figure that is missing has not met anything
function judge(name, base, limit,   value, met) {
	value = ratio(name, base)
	met = value > 0 && value <= limit
	printf "%-9s %s / %s: %.3f, at most %.2f\n", met ? "ok" : "NOT MET", name, base, value, limit
	if (!met)
		failed = 1
}

END {
	printf "\n%-44s %12s %7s %7s %7s   %s\n", "per buffer, in virtio_ring.c", "instructions", "",
		"loads", "stores", "the ratio is to"
	for (i = 1; i <= n; i++) {
		name = order[i]
		base = name ~ /in-order/ ? plain(name) : stock(name)
		printf "%-44s %12.2f %7.3f %7.2f %7.2f   %s\n", name, figure[name], ratio(name, base),
			figure[name "-loads"], figure[name "-stores"], base
	}
	print ""
	judge("ring/split+in-order/get/b32c1", "ring/split/get/b32c1", 0.60)
	judge("ring/split+in-order/round-trip/b32c1", "ring/split/round-trip/b32c1", 0.85)
	judge("ring/packed+in-order/get/b32c1", "ring/packed/get/b32c1", 0.75)
	judge("ring/packed+in-order/round-trip/b32c1", "ring/packed/round-trip/b32c1", 0.92)
	# one used element a batch
	judge("ring/split+in-order/get/b32c1-element-loads", "ring/split/get/b32c1-element-loads", 1 / 32)
	judge("ring/packed+in-order/get/b32c1-element-loads", "ring/packed/get/b32c1-element-loads",
	      1 / 32)
	split("split packed", layouts)
	split("add get round-trip", ops)
	for (l = 1; l <= 2; l++) {
		# without batching order costs nothing
		for (o = 1; o <= 3; o++) {
			ours = "ring/" layouts[l] "+in-order/" ops[o]
			judge(ours "/b1c1", plain(ours) "/b1c1", 1.01)
			judge(ours "/b32c1-unbatched", plain(ours) "/b32c1", 1.01)
		}
		# nor does the hook without order, per buffer
		for (c = 1; c <= 3; c += 2) {
			name = "ring/" layouts[l] "/round-trip/b32c" c
			judge(name, stock(name), 1.01)
		}
	}
	exit failed
}
