# SPDX-License-Identifier: GPL-2.0-only
#
# The table of what a buffer, or a packet, costs vhost, from the lines of vhost_perf.sh,
# and whether the figures are what they have to be.

{
	figure[$1] = $2
}

$1 !~ /-accesses(-data)?$/ {
	order[++n] = $1
}

# What the kernel's own vhost needs for the same in its only layout
function stock(name) {
	sub(/^vhost[^\/]*/, "vhost-stock", name)
	sub(/\/(split|packed)[^\/]*\//, "/split/", name)
	return name
}

# A figure that is missing has not met anything
function judge(what, value, limit,   met) {
	met = value > 0 && value <= limit
	printf "%-9s %s: %.3f, at most %.2f\n", met ? "ok" : "NOT MET", what, value, limit
	if (!met)
		failed = 1
}

function compare(name, limit,   base) {
	base = stock(name)
	judge(name " / " base, figure[base] ? figure[name] / figure[base] : 0, limit)
}

END {
	printf "\n%-36s %12s %7s %9s %6s   %s\n", "per buffer, in vhost", "instructions", "",
		"accesses", "data", "the ratio is to"
	for (i = 1; i <= n; i++) {
		name = order[i]
		printf "%-36s %12d %7.3f %9.2f %6.2f   %s\n", name, figure[name],
			figure[stock(name)] ? figure[name] / figure[stock(name)] : 0,
			figure[name "-accesses"], figure[name "-accesses-data"], stock(name)
	}
	print ""
	# the ring alone
	compare("vhost/test/split+in-order/b64", 0.70)
	compare("vhost/test/packed/b64", 0.95)
	compare("vhost/test/packed+in-order/b64", 0.65)
	# the whole path of a packet
	compare("vhost/net-tx/split+in-order/b64", 0.95)
	compare("vhost/net-tx/packed+in-order/b64", 0.95)
	compare("vhost/net-tx/packed/b64", 1.02)
	split("split+in-order packed packed+in-order", layouts)
	for (i = 1; i <= 3; i++)
		compare("vhost/net-rx/" layouts[i] "/b64", 1.02)
	# what was there before
	compare("vhost/net-tx/split/b64", 1.01)
	compare("vhost/net-rx/split/b64", 1.01)
	compare("vhost/test/split/b64", 1.01)
	name = "vhost/net-tx/split+in-order/b64-accesses"
	judge(name, figure[name], 1.10)
	name = "vhost/net-tx/packed+in-order/b64-accesses"
	judge(name, figure[name], 1.10)
	name = "vhost/net-tx/packed/b64-accesses"
	judge(name, figure[name], 2.10)
	exit failed
}
