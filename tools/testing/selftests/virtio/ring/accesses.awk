# SPDX-License-Identifier: GPL-2.0-only
#
# Loads and stores of the rings per buffer: reads what ring_perf.c said of each load
# that it measured, and then lackey's trace of all accesses to memory. Set prefix and
# buffers. A locked exchange is a load and a store: so the processor does it.

# Addresses are hexadecimal, and of 8 or more digits.
function before(a, b) {
	return length(a) < length(b) || length(a) == length(b) && a "" < b ""
}

function add_range(ranges,   i) {
	i = ++count[loads, ranges]
	first[loads, ranges, i] = $2
	behind[loads, ranges, i] = $3
}

function within(address, ranges,   i) {
	for (i = count[n, ranges]; i; i--)
		if (!before(address, first[n, ranges, i]) && before(address, behind[n, ranges, i]))
			return 1
	return 0
}

function show() {
	if (!n)
		return
	printf "%s/%s-loads %.2f\n", prefix, name[n], sum["L"] / buffers
	printf "%s/%s-stores %.2f\n", prefix, name[n], sum["S"] / buffers
	printf "%s/%s-element-loads %.2f\n", prefix, name[n], elements / buffers
	sum["L"] = sum["S"] = elements = 0
}

# The accesses of one load end where the next begins with a mark of its own
function next_load() {
	show()
	n++
}

FNR == NR && $1 == "load" { name[++loads] = $2 }
FNR == NR && $1 == "mark" { mark[$2] = $3 }
FNR == NR && $1 == "range" { add_range("ring") }
FNR == NR && $1 == "elements" { add_range("elements") }
FNR == NR { next }

{ split($2, access, ",") }

access[1] == mark["load"] { next_load(); next }
access[1] == mark["begin"] { counting = 1; next }
access[1] == mark["end"] { counting = 0; next }

counting && within(access[1], "ring") {
	if ($1 != "S") {
		sum["L"]++
		if (within(access[1], "elements"))
			elements++
	}
	if ($1 != "L")
		sum["S"]++
}

END { show() }
