#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# modules.sh COMMAND...: our files over the kernel's source, and external modules from that
#   overlay FILE...       lay files of ours over $build/linux
#   tree DIR [pristine]   copy what KVM's modules are built from to DIR, with the hooks and
#                         our files, or as it was before them
#   kvm KVER y|n OUT      build KVM's modules for kernel KVER, with or without
#                         CONFIG_KVM_IOREGIONFD, and put stripped copies in OUT
#   vhost KVER OUT        likewise vhost's modules
#   svm_exit KVER OUT     likewise the module of that name, which no kernel tree has
set -euo pipefail
. tools/testing/vm/lib.sh

overlay() {
	local from=. kvm=tools/testing/selftests/kvm dir files
	if [ ! -e "$build/linux/$kvm/x86_64" ]; then
		# Since 6.14 it is x86
		from=$build/ours
		rm -rf "$from"
		printf '%s\n' "$@" | rsync --mkpath --files-from=- . "$from/"
		for dir in "$from/$kvm"/{,include/,lib/}; do
			mv "$dir"x86_64 "$dir"x86
		done
		mapfile -t files < <(cd "$from" && find . -type f -printf '%P\n')
		set -- "${files[@]}"
	fi
	printf '%s\n' "$@" | lay "$from" "$build/linux"
}

kvm_files() { (cd "$build/linux" && find arch/x86/kvm virt/kvm -type f); }

tree() {
	local dir=$1
	if [ "${2-}" = pristine ]; then
		kvm_files | grep -vxF -f "$build/pristine/.files" | lay "$build/linux" "$dir"
		rsync -c --files-from="$build/pristine/.files" "$build/pristine/" "$dir/"
	else
		# and the headers that must hide the installed ones
		{ kvm_files; grep -h '^include/' "$build/pristine/.files" "$build/linux/.laid"; } |
			lay "$build/linux" "$dir"
	fi
	cp tools/testing/vm/Kbuild.modules "$dir/Kbuild"
	# $(srctree) is the headers' tree here
	sed -i "s|\$(srctree)|\$(KBUILD_EXTMOD)|" "$dir/arch/x86/kvm/Makefile"
}

# stripped OUT MODULE...: debug information is ten times the code
stripped() {
	local out=$1 ko
	shift
	mkdir -p "$out"
	for ko; do
		strip -g -o "$out/${ko##*/}" "$ko"
	done
}

# built OUT WHAT: says so
built() { say "$(cd "$1" && echo *.ko | sed 's/ /, /g') for $2"; }

kvm() {
	local kver=$1 option=$2 out=$3 dir=$build/$1/kvm-$2
	tree "$dir"
	logged "modules-$kver-$option" make -C "$build/$kver/headers/build" M="$PWD/$dir" \
		CONFIG_KVM_IOREGIONFD="$option" modules
	stripped "$out" "$dir"/arch/x86/kvm/*.ko
	built "$out" "$kver$([ "$option" = y ] || echo ', without KVM_IOREGIONFD')"
}

vhost() {
	local kver=$1 out=$2 dir=$build/$1/vhost
	(cd "$build/linux/drivers/vhost" && find . -name '*.[ch]') | lay "$build/linux/drivers/vhost" "$dir"
	cp tools/testing/vm/Kbuild.vhost "$dir/Kbuild"
	logged "vhost-$kver" make -C "$build/$kver/headers/build" M="$PWD/$dir" modules
	stripped "$out" "$dir"/*.ko
	built "$out" "$kver"
}

svm_exit() {
	local kver=$1 out=$2
	install -m 644 -Dt "$out" tools/testing/vm/svm_exit/*
	logged "svm_exit-$kver" make -C "$build/$kver/headers/build" M="$PWD/$out" modules
}

command=$1
shift
case $command in
overlay | tree | kvm | vhost | svm_exit) "$command" "$@" ;;
*) die "no command $command" ;;
esac
