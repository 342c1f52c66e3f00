#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# kcsan.sh KDIR OBJ VM...: judge what KCSAN reported in these VMs, whose kernel is in KDIR
# and was built in OBJ. A race in our files is a failure, and becomes the VM's verdict, and
# so is one of which it cannot be said; races of the kernel's own code with itself are
# counted and listed.
set -euo pipefail
. tools/testing/vm/lib.sh

kdir=$1 obj=$2
shift 2

# object MODULE: where its debug information is
object() {
	if [ "$1" = vmlinux ]; then
		echo "$obj/vmlinux"
	else
		# those in modules are stripped
		find "$kdir/vhost" "$obj" -name modules -prune -o -name "${1//_/[-_]}.ko" -print -quit
	fi
}

# Places in functions, from "FUNCTION+OFFSET/SIZE MODULE" to "FUNCTION+OFFSET/SIZE FILE..."
files_of() {
	local module places
	cut -d ' ' -f 2 "$1" | sort -u | while read -r module; do
		mapfile -t places < <(awk -v module="$module" '$2 == module { print $1 }' "$1")
		build/linux/scripts/faddr2line "$(object "$module")" "${places[@]}" 2>/dev/null || true
	done | awk '
		/^[^ ]+:$/ {
			place = substr($0, 1, length($0) - 1)
		}
		/ at [^ ]+:[0-9?]+/ {
			sub(/.* at /, "")
			sub(/:[0-9?]+.*/, "")
			files[place] = files[place] " " $0
		}
		END {
			for (place in files)
				print place files[place]
		}'
}

mkdir -p build/kcsan-reports
find virt/kvm/ioregionfd drivers include/linux -name '*.[ch]' |
	sed 's|.*/\([^/]*/[^/]*\)$|\1|' >build/kcsan-reports/ours
for vm; do
	work=build/vm/$vm
	reports=build/kcsan-reports/$vm
	# between two lines of =
	sed 's/^\[ *[0-9.]*\] //' "$work/messages" |
		awk '/^=====+$/ { report = 0 } /^BUG: KCSAN: / { report = 1 } report' >"$reports"
	awk '/^ .*\+0x[0-9a-f]+\/0x/ { print $1, $2 ~ /^\[/ ? substr($2, 2, length($2) - 2) : "vmlinux" }' \
		"$reports" | sort -u >"$reports.places"
	files_of "$reports.places" >"$reports.files"
	awk -f tools/testing/vm/kcsan.awk part=ours build/kcsan-reports/ours \
		part=files "$reports.files" part=reports "$reports" |
		sort | uniq -c | sort -k2,2r -k1,1nr | tee "$reports.races"
	ours=$(grep -cE ' (ours|unknown): ' "$reports.races") || true
	stock=$(grep -c ' kernel: ' "$reports.races") || true
	watched=$(sed -n 's/^setup_watchpoints: \([0-9]*\).*/\1/p' "$work/console")
	say "$vm: ${watched:-0} accesses watched; $ours races in our files, and $stock of the" \
		"kernel's own, which are not judged"
	if [ "$(cat "$work/verdict")" != ok ]; then
		continue
	elif [ "$ours" != 0 ]; then
		echo "KCSAN: $ours races in our files: see $reports.races" >"$work/verdict"
	elif [ "${watched:-0}" = 0 ]; then
		echo 'KCSAN has watched nothing' >"$work/verdict"
	fi
done
