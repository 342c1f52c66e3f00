# SPDX-License-Identifier: GPL-2.0-only
#
# Instructions per buffer in virtio_ring.c, from callgrind's files: one for each load
# that ring_perf.c measured. Set prefix and buffers; with lines=1, of each source line,
# too. The format is in callgrind's manual.

function show(   line) {
	if (name) {
		printf "%s/%s %.2f\n", prefix, name, sum / buffers
		for (line in of)
			printf "  %s %.2f\n", line, of[line] / buffers
	}
	sum = 0
	split("", of)
}

# A name comes with its number the first time, later there is only the number.
function decode(   number, text) {
	number = text = $0
	sub(/^[^=]*=/, "", number)
	sub(/\).*/, ")", number)
	sub(/^[^)]*\) ?/, "", text)
	if (text)
		names[number] = text
	return names[number]
}

# The line number of $1, which may be relative to the last one
function position() {
	if ($1 ~ /^[+-]/)
		at += $1
	else if ($1 != "*")
		at = $1
}

FNR == 1 { show(); name = "" ; split("", names) }
/^desc: Trigger: Client Request: / { name = $NF }
/^(fl|fi|fe)=/ { file = decode() }
/^cf[il]=/ { decode() }
/^fn=/ { ours = file ~ /\/ring_perf\.c$/ }
# what the callee took is among the callee's lines
/^calls=/ { getline; position(); next }

/^[-+*0-9]/ {
	position()
	if (ours)
		next
	sum += $2
	if (lines) {
		source = file
		sub(/.*\//, "", source)
		of[source ":" at] += $2
	}
}

END { show() }
