# SPDX-License-Identifier: GPL-2.0-only
#
# Of KCSAN's reports, says which are of races in our files. Reads, as part=ours, our files
# ("directory/name"); as part=files, lines "FUNCTION+OFFSET/SIZE FILE...", the innermost of
# inlined functions first; and reports, as part=reports. Writes "ours: ", "kernel: " or, if
# a place has no file, "unknown: ", and what the report is about.
#
# It is ours if one of the two accesses is: the innermost function outside of include/ and
# lib/, which have no variables of their own, is in a file of ours. A maple tree has some:
# its readers find a node while it is being freed, and then look again.

part == "ours" {
	ours[$1]
	next
}

part == "files" {
	place = $1
	$1 = ""
	files[place] = $0
	next
}

/^BUG: KCSAN: / {
	if (title)
		print whose ": " title
	title = substr($0, length("BUG: KCSAN: ") + 1)
	whose = "kernel"
}

# An access: the places below say who made it
/^(read|write|assert|race at unknown origin).* (to|of|from) / {
	searching = 1
}

searching && /^ .+\+0x[0-9a-f]+\/0x[0-9a-f]+/ {
	n = split(files[$1], at, " ")
	searching = 0
	for (i = 1; i <= n; i++) {
		m = split(at[i], path, "/")
		if (path[m - 1] "/" path[m] in ours)
			whose = "ours"
		else if (at[i] ~ /(^|\/)(include|lib)\// && at[i] !~ /\/maple_tree\.c$/)
			continue
		break
	}
	if (!n && whose == "kernel")
		whose = "unknown"
	# only such functions here: who called them?
	searching = n && i > n
}

END {
	if (title)
		print whose ": " title
}
