# SPDX-License-Identifier: GPL-2.0-only
#
# Sums up what the machines of "make test" and the like had to say. Reads .../vm/*/console and
# .../verdict; writes the failures with what was said before each, the skips, and
# "N passed, N failed, N skipped".
#
# A test case is: a subtest in a program's TAP, or the program itself if it has none;
# that a machine came to its end without complaint; that an upstream program has the
# same results in machine NAME-stock, with the stock modules, and in NAME, with ours.

# why: lines that say more
function count(result, name, reason, why) {
	total[result]++
	if (result == "failed" || result == "skipped")
		list[result] = list[result] sprintf("%s: %s%s\n%s", result, name,
						    reason ? ": " reason : "", why)
}

# the last lines that came after the result before
function said(n, first, i, text) {
	first = n > SAID ? n - SAID + 1 : 1
	for (i = first; i <= n; i++)
		text = text "  | " line[i] "\n"
	return text
}

# one result of the program; upstream programs are compared, not counted
function result(is, name, reason) {
	if (machine !~ /^upstream/)
		count(is, program (name ? " " name : ""), reason, is == "failed" ? said(lines) : "")
	else
		results[machine, program] = results[machine, program] (name ? name : "the program") \
			": " is "\n"
}

# The lines of @a that @b does not have, or not so often
function missing(a, b, whose,	lines, n, i, left, text) {
	n = split(b, lines, "\n")
	for (i = 1; i < n; i++)
		left[lines[i]]++
	n = split(a, lines, "\n")
	for (i = 1; i < n; i++)
		if (--left[lines[i]] < 0)
			text = text "  | only with " whose " modules: " lines[i] "\n"
	return text
}

function compare(machine, program,	stock, ours) {
	stock = results[machine "-stock", program]
	ours = results[machine, program]
	if (stock != ours)
		count("failed", program, "not the same with the stock modules and with ours",
		      missing(stock, ours, "the stock") missing(ours, stock, "our"))
	else
		count(ours ~ /passed\n|failed\n/ ? "passed" : "skipped", program,
		      "with the stock modules too")
}

BEGIN {
	SAID = 20
}

{
	sub(/\r$/, "")
}

FNR == 1 {
	machine = path[split(FILENAME, path, "/") - 1]
}

FILENAME ~ /verdict$/ {
	count($0 == "ok" ? "passed" : "failed", "machine " machine, $0)
	next
}

# Only TAP from here on, and not the guest's in the demonstration
machine == "demo" {
	next
}

{
	line[++lines] = $0
}

/^# selftests: / {
	lines = 0
	program = substr($0, length("# selftests: ") + 1)
	subtests = failures = 0
	plan = skip = ""
	next
}

# The program's end
/^(not )?ok [0-9]+ selftests: / {
	if (/^ok/ && plan && subtests != plan)
		result("failed", "", "planned " plan " subtests, ran " subtests)
	else if (/^not ok/ && !failures)
		result("failed", "", substr($0, index($0, "#") + 2))
	else if (!subtests)
		result(/# SKIP/ ? "skipped" : "passed", "", skip)
	if (machine ~ /^upstream/) {
		ours = machine
		sub(/-stock$/, "", ours)
		if (!seen[ours, program]++) {
			machines[++n] = ours
			programs[n] = program
		}
	}
	lines = 0
	next
}

/^1\.\.[1-9]/ {
	plan = substr($1, 4)
}

/SKIP/ {
	skip = $0
	sub(/.*SKIP[ -:]*/, "", skip)
}

/^(not )?ok [0-9]+ / {
	subtests++
	name = $0
	sub(/^(not )?ok [0-9]+ (- )?/, "", name)
	sub(/ *#.*/, "", name)
	if (/^not ok/)
		failures++
	result(/^not ok/ ? "failed" : /# SKIP/ ? "skipped" : "passed", name, /# SKIP/ ? skip : "")
	lines = 0
}

END {
	for (i = 1; i <= n; i++)
		compare(machines[i], programs[i])
	printf "%s%s%d passed, %d failed, %d skipped\n", list["skipped"], list["failed"],
		total["passed"], total["failed"], total["skipped"]
	exit total["failed"] || !total["passed"]
}
