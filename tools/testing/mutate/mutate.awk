# SPDX-License-Identifier: GPL-2.0-only
# Copy a C file of the kernel's to stdout with all its mutants in it, of which MUTANT= in the
# environment chooses one: see mutate.sh. With -v first=N, the first of them has number N. A line
# "NUMBER FILE:LINE: CHANGE" for each is appended to the file of -v list=.
# Only one line is changed in each, in the body of a function, and neither barriers nor messages.

function note(change, text) {
	n++
	sub(/^[ \t]+/, "", text)
	printf "%d %s:%d: %s: %s\n", first + n - 1, name, FNR, change, text >>list
	return first + n - 1
}

# Is @text one expression in parentheses?
function whole(text,    i, c, depth) {
	for (i = 1; i <= length(text); i++) {
		c = substr(text, i, 1)
		depth += (c == "(") - (c == ")")
		if (depth < 0)
			return 0
	}
	return depth == 0
}

# The first @from in the line becomes @to, in which # is the number
function off_by_one(line, from, to,    at, number) {
	at = index(line, from)
	if (!at)
		return line
	number = note("off by one at" from, $0)
	sub(/#/, number, to)
	return substr(line, 1, at - 1) to substr(line, at + length(from))
}

function mutate(line,    text, number, head, tail) {
	# a condition on one line
	if (match(line, /^\t+(} else )?if \(/) && line ~ /\)( \{)?$/) {
		head = substr(line, 1, RLENGTH)
		text = substr(line, RLENGTH + 1)
		tail = text ~ /\{$/ ? ") {" : ")"
		text = substr(text, 1, length(text) - length(tail))
		if (whole(text)) {
			number = note("negated", $0)
			return head "MUTANT(" number ") != !!(" compare(text) ")" tail
		}
	}
	if (line ~ /^\t+return -E[A-Z]+;$/) {
		number = note("0 returned", $0)
		sub(/return/, "return MUTANT(" number ") ? 0 :", line)
		return line
	}
	if (line ~ /^\t+return (true|false|[01]);$/) {
		number = note("the opposite returned", $0)
		sub(/return/, "return MUTANT(" number ") ^", line)
		return line
	}
	# an assignment or a call, but no declaration
	if (line ~ /^\t+[a-z_*+(][^"]*;$/ && whole(line) &&
	    line !~ /^\t+(return|goto|break|continue|else|do|if|for|while|case|default|const|struct|unsigned|enum|static|bool|int|void|size_t|u(8|16|32|64)|__[a-z]+(16|32|64)|vring_[a-z_]+) ?/ &&
	    line !~ /^\t+(smp_|barrier|vq_err|BUILD_BUG|lockdep_|mutex_|spin_|kmsan_|pr_|dev_|START_USE|END_USE|LAST_ADD|BAD_RING)/ &&
	    previous ~ /[;{})]$|^$|else$|^[a-z_]+:$/) {
		number = note("dropped", $0)
		match(line, /^\t+/)
		return substr(line, 1, RLENGTH) "do { if (!MUTANT(" number ")) " \
			compare(substr(line, RLENGTH + 1)) " } while (0);"
	}
	return compare(line)
}

function compare(line) {
	line = off_by_one(line, " + 1", " + !MUTANT(#) * 1")
	line = off_by_one(line, " - 1", " - !MUTANT(#) * 1")
	line = off_by_one(line, " < ", " < MUTANT(#) + ")
	line = off_by_one(line, " <= ", " <= -MUTANT(#) + ")
	line = off_by_one(line, " > ", " > -MUTANT(#) + ")
	return off_by_one(line, " >= ", " >= MUTANT(#) + ")
}

BEGIN { first = first ? first : 1 }
FNR == 1 { name = FILENAME; sub(/.*\//, "", name) }

# Comments and preprocessor lines remain.
/^[ \t]*\/\*/ { comment = 1 }
comment { print; if (/\*\//) comment = 0; next }
# What is for CPUs of 32 bits is not compiled.
/^#ifdef CONFIG_64BIT/ { wide = 1 }
/^#else/ { narrow = wide }
/^#endif/ { wide = narrow = 0 }
/^#/ || macro || narrow { print; macro = /\\$/; next }

/^{/ { body = 1 }
/^}/ { body = 0 }
{
	# a statement that began in an earlier line is left alone
	print body ? mutate($0) : $0
	previous = $0
}
