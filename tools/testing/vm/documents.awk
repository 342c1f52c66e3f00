# SPDX-License-Identifier: GPL-2.0-only
#
# Whether the tables in the documents have the figures that "make bench" has measured.
# After figures.awk, with the documents after the figures. Compilers and kernels differ a
# little, so figures may, too. With -v order_only=1 these are those of a kernel that has an order
# of its own, and only the tables that compare ours with that are looked at.

# is(STATED, MEASURED, WHAT[, VARIES]): in a document, "17,834" or "0.40". VARIES: by which
# part of it this figure differs from run to run
function is(stated, measured, what, varies,   allowed) {
	gsub(/[ ,]/, "", stated)
	# of a ratio, or of a count below 10
	allowed = (stated ~ /\./ ? 0.02 + measured * 0.01 : measured * 0.03) + measured * varies
	if (stated - measured > allowed || measured - stated > allowed) {
		printf "%s:%d: %s: %s, but measured %.4g\n", FILENAME, FNR, what, stated, measured
		failed = 1
	}
}

# In README.md a read is always compared with the VMM that forwards it
function access_ratio(name, kernel) {
	return ratio(name, kernel, name ~ /-write\// ? access_base(name) : "mmio/forward-socket", kernel)
}

# split, ours  add  get  round trip  ratio, or split, the kernel's own
FNR != NR && order_only && /^(split|packed), (ours|the kernel.s own)  +[0-9]+ / {
	orders++
	name = "ring/" ($1 == "split," ? "split" : "packed") "+in-order/"
	base = stock_ring(name)
	if ($2 != "ours")
		name = base
	end = "/b32c1"
	is($(NF - 3), figure[name "add" end, "none"], name "add" end)
	is($(NF - 2), figure[name "get" end, "none"], name "get" end)
	trip = "round-trip" end
	is($(NF - 1), figure[name trip, "none"], name trip)
	is($NF, ratio(name trip, "none", base trip, "none"), name trip)
}

# All other figures in the documents are of 6.12
FNR != NR && order_only {
	next
}

# | text | `name` | dev | ratio | stock | ratio |, or | text | `name` | ratio of stock |
FNR != NR && /^\|.*\| `[-a-z\/0-9]+` \|/ && !/`e2e\// {
	split($0, cell, "|")
	name = cell[3]
	gsub(/[ `]/, "", name)
	accesses++
	if (cell[5] == "") {
		is(cell[4], access_ratio(name, "stock"), name)
	} else {
		is(cell[4], figure[name, "dev"], name)
		is(cell[5], access_ratio(name, "dev"), name)
		is(cell[6], figure[name, "stock"], name " of Debian's")
		is(cell[7], access_ratio(name, "stock"), name " of Debian's")
	}
}

# The cells from @i on: what it is compared with, the figure, the ratio. What wakes a process
# on another CPU costs more if that CPU has gone idle meanwhile, which it has or has not.
function guest_cells(name, i,   varies) {
	varies = forwarded(name) ~ /apart$/ ? 0.15 : 0
	is(cell[i], figure[forwarded(name), "stock"], forwarded(name), varies)
	is(cell[i + 1], figure[name, "stock"], name)
	is(cell[i + 2], ratio(name, "stock", forwarded(name), "stock"), name, varies)
}

# | text | `e2e/name` | forwarded | ioregionfd | ratio |, and maybe three more for polling
FNR != NR && /^\|.*\| `e2e\/[-a-z0-9]+` \|/ {
	split($0, cell, "|")
	name = cell[3]
	gsub(/[ `]/, "", name)
	guests++
	guest_cells(name "/ioregionfd", 4)
	if (cell[7] ~ /[0-9]/)
		guest_cells(name "/poll", 7)
}

# split, in order [1]_  add  get  round trip  ratio  loads/get  stores/add
FNR != NR && /^(split|packed)(, in order)?( \[1\]_)?  +[0-9]+ / && NF <= 12 && !/,[0-9]/ {
	rings++
	layout = $1
	sub(/,/, "", layout)
	name = "ring/" layout (/, in order/ ? "+in-order/" : "/")
	end = "/b32c1" (/\[1\]_/ ? "-unbatched" : "")
	is($(NF - 5), figure[name "add" end, "none"], name "add" end)
	is($(NF - 4), figure[name "get" end, "none"], name "get" end)
	trip = name "round-trip" end
	is($(NF - 3), figure[trip, "none"], trip)
	is($(NF - 2), ratio(trip, "none", plain(trip), "none"), trip)
	is($(NF - 1), figure[name "get" end "-loads", "none"], name "get" end "-loads")
	is($NF, figure[name "add" end "-stores", "none"], name "add" end "-stores")
}

function path(name, i, accesses) {
	is($i, figure[name, "stock"], name)
	is($(i + 1), ratio(name, "stock", stock_vhost(name), "stock"), name)
	if (accesses)
		is($(i + 2), figure[name "-accesses", "stock"], name "-accesses")
}

# packed, in order  ring  ratio  access  sent  ratio  access  received  ratio
FNR != NR && /^(Debian.s vhost, |ours, )?(split|packed)(, in order)?  +[0-9]+ .* [0-9],[0-9]/ {
	vhosts++
	name = /^Debian/ ? "vhost-stock/" : "vhost/"
	layout = (/split/ ? "/split" : "/packed") (/, in order/ ? "+in-order" : "") "/b64"
	path(name "test" layout, NF - 7, 1)
	path(name "net-tx" layout, NF - 4, 1)
	path(name "net-rx" layout, NF - 1, 0)
}

END {
	if (order_only && !orders) {
		print "rows found in tables: none of order"
		failed = 1
	} else if (!order_only && (!accesses || !rings || !vhosts || !guests)) {
		printf "rows found in tables: %d of accesses, %d of rings, %d of vhost, %d of guests\n",
			accesses, rings, vhosts, guests
		failed = 1
	}
	exit failed
}
