# SPDX-License-Identifier: GPL-2.0-only
# Copy a C file of the kernel's to stdout with all its mutants in it, of which MUTANT= in the
# environment chooses one: see mutate.sh. With -v first=N, the first of them has number N. A line
# "NUMBER FILE FUNCTION(): CHANGE: STATEMENT" for each is appended to the file of -v list=. With
# -v only=FILE, only lines are changed whose numbers are in that file, one each.
# A mutant is one change in one statement in the body of a function. Barriers and messages are
# left alone.

# What may stand for what; each place where it does is a mutant.
BEGIN {
	first = first ? first : 1
	pairs = split("&& =|| ;|| =&& ;== =!= ;!= === ;< =<= ;<= =< ;> =>= ;>= => ;" \
		"+ =- ;- =+ ;& =| ;| =& ;^ =| ;>> =<< ;<< =>> ;* =+ ;+= =-= ;-= =+= ;^= =|= ;" \
		"|= =&= ;&= =|= ;? =&& 0 ? ;? =|| 1 ? ", pair, ";")
	for (i = 1; i <= pairs; i++) {
		# the second "=" of "== =!= "
		at = index(pair[i], " =")
		from[i] = " " substr(pair[i], 1, at)
		to[i] = " " substr(pair[i], at + 2)
	}
	also(" + 1", " + 0")
	also(" - 1", " - 0")
	also("(!", "(")
	also(" !", " ")
	also("~", "")
	also("++", "--")
	also("min(", "MUTANT_MAX(")
	also("true", "false")
	also("false", "true")
	also(" 0;", " 1;")
	while (only && (getline line <only) > 0)
		chosen[line]
	left_alone = "^(smp_|virtio_[rw]?mb|barrier|[a-z]+_err|lockdep_|mutex_|spin_|kmsan_|pr_|dev_)"
	types = "^((static|const) )*(struct [a-z_]+|enum [a-z_]+|unsigned int|unsigned long|bool|int|" \
		"long|size_t|dma_addr_t|void|u8|u16|u32|u64|__(le|virtio|u)(16|32|64)|vring_[a-z_]+_t)( __user)? [*a-z_]"
}

function also(a, b) {
	from[++pairs] = a
	to[pairs] = b
}

# The number of a new mutant
function note(change, text,    key) {
	key = name " " func "(): " change ": " text
	if (++seen[key] > 1)
		key = key " (" seen[key] ")"
	print first + n " " key >>list
	return first + n++
}

# Is @text in parentheses that match, with nothing else outside of them?
function balanced(text,    i, c, depth) {
	for (i = 1; i <= length(text); i++) {
		c = substr(text, i, 1)
		depth += (c == "(") - (c == ")")
		if (depth < 0)
			return 0
	}
	return depth == 0
}

# Make alt[] and change[], the mutants of @text that are one replacement; returns how many.
function replace(text,    i, at, start, count) {
	for (i = 1; i <= pairs; i++) {
		start = 1
		while (at = index(substr(text, start), from[i])) {
			at += start - 1
			start = at + length(from[i])
			# of " != "
			if (from[i] == " !" && substr(text, start, 1) == "=")
				continue
			alt[++count] = substr(text, 1, at - 1) to[i] substr(text, start)
			change[count] = "'" from[i] "' is '" to[i] "'"
		}
	}
	return count
}

# An expression: the first mutant that is chosen, or else itself
function expression(text, all, negate,    i, count, result) {
	count = replace(text)
	for (i = 1; i <= count; i++)
		result = result "MUTANT(" note(change[i], all) ") ? (" alt[i] ") : "
	# A lone comparison is turned round already.
	if (negate && (text ~ /&&|\|\|/ || text !~ / [!=]= /))
		result = result "MUTANT(" note("negated", all) ") ? !(" text ") : "
	return result "(" text ")"
}

function statement(text, drop,    i, count, result) {
	count = replace(text)
	result = "{ "
	if (drop)
		result = result "if (MUTANT(" note("dropped", text) ")) ; else "
	for (i = 1; i <= count; i++)
		result = result "if (MUTANT(" note(change[i], text) ")) " alt[i] " else "
	if (text ~ /^return -E[A-Z0-9]+;$/)
		result = result "if (MUTANT(" note("0 returned", text) ")) return 0; else "
	return result text " }"
}

# Each initializer of a declaration
function declaration(text,    result, rest, at, end, depth, c) {
	rest = text
	while (at = index(rest, " = ")) {
		result = result substr(rest, 1, at + 2)
		rest = substr(rest, at + 3)
		depth = 0
		for (end = 1; end <= length(rest); end++) {
			c = substr(rest, end, 1)
			depth += (c ~ /[({[]/) - (c ~ /[)}\]]/)
			if (!depth && c ~ /[,;]/)
				break
		}
		c = substr(rest, 1, end - 1)
		result = result (c ~ /^[{]/ ? c : expression(c, text))
		rest = substr(rest, end)
	}
	return result rest
}

function mutate(text,    head, tail, part) {
	if (match(text, /^(} )?(else )?(if|while) \(/) && match(text, /\)( {|;)?$/)) {
		tail = substr(text, RSTART)
		match(text, /^(} )?(else )?(if|while) \(/)
		head = substr(text, 1, RLENGTH)
		text = substr(text, RLENGTH + 1, length(text) - length(head tail))
		return balanced(text) ? head expression(text, head text ")", 1) tail : head text tail
	}
	if (text ~ /^for \(/ && split(text, part, "; ") == 3)
		return part[1] "; " expression(part[2], text) "; " part[3]
	if (text !~ /;$/ || !balanced(text))
		return text
	if (text ~ types)
		return text ~ /^static/ ? text : declaration(text)
	if (text ~ /^return/)
		return statement(text, 0)
	if (text ~ /^[a-z_*+(-]/ && text !~ left_alone)
		return statement(text, 1)
	return text
}

FNR == 1 { name = FILENAME; sub(/.*\//, "", name) }

# Comments and preprocessor lines remain.
/^[ \t]*\/\*/ && !pending { comment = 1 }
comment { print; if (/\*\//) comment = 0; next }
# What is for CPUs of 32 bits is not compiled.
/^#ifdef CONFIG_64BIT/ { wide = 1 }
/^#else/ { narrow = wide }
/^#endif/ { wide = narrow = 0 }
/^#/ || macro || narrow { print; macro = /\\$/; next }

/^[a-z].*\(/ && match($0, /[a-z_0-9]+\(/) { func = substr($0, RSTART, RLENGTH - 1) }
/^{/ { body = 1; print; next }
/^}/ { body = 0 }
!body { print; next }

# A statement in several lines becomes one.
{
	line = $0
	sub(/[ \t]*\/\*.*\*\/$/, "", line)
	sub(/^[ \t]+/, "", line)
	if (!pending) {
		match($0, /^\t*/)
		indent = substr($0, 1, RLENGTH)
		wanted = !only
	}
	pending = pending (pending && pending !~ /[(!~]$/ ? " " : "") line
	wanted = wanted || FNR in chosen
	if (pending ~ /^$|[;{}]$|^([a-z_0-9]+|case .*):$|else$|^do$/ ||
	    pending ~ /^(} )?(else )?(if|while|for) \(.*\)$/ && balanced(pending)) {
		print indent (wanted ? mutate(pending) : pending)
		pending = ""
	}
}
