#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# kernel.sh KVER DIR CONFIG...: the kernel of $build/linux, with tinyconfig and these
# files, and its modules, in DIR. Built in $build/NAME, where KVER ends in -NAME, for
# the architecture of that name.
set -euo pipefail
. tools/testing/vm/lib.sh

kver=$1 dir=$2
shift 2
configs=("$@")
name=${kver##*-}
obj=$PWD/$build/$name
# What an option is called in 7.3
renamed='s/^CONFIG_PROC_SYSCTL=/CONFIG_SYSCTL=/'
[ "$kernel" != 6.12 ] || renamed=

of_arch "$kver"

# Where gcov counts if the kernel has it: in our files, and in those that hooks change. kbuild
# builds KVM's in arch/x86/kvm.
mapfile -t counted < <(cat "$build"/linux/.laid "$build"/pristine/.files |
	sed -nE '/kunit/d; s|^virt/kvm/(.*)c$|GCOV_PROFILE_../../../virt/kvm/\1o|p
		s|^drivers/virtio/(.*)c$|GCOV_PROFILE_\1o|p')

kmake() {
	make -C "$build/linux" O="$obj" "${foreign[@]}" LOCALVERSION="-$name" "${counted[@]/%/=y}" "$@"
}

configure() {
	sed "$renamed" "${configs[@]}" >"$obj/fragment"
	kmake tinyconfig
	(cd "$obj" && ../linux/scripts/kconfig/merge_config.sh -m .config fragment)
	kmake olddefconfig
	# An option that depends on one that is off is dropped in silence
	grep -E '^(# )?CONFIG_' "$obj/fragment" | grep -vxFf "$obj/.config" |
		sed 's/^/not to be had: /' | grep . && return 1
	return 0
}

mkdir -p "$obj"
say "Linux $kver, with ${configs[*]##*/} (minutes)"
logged "$name-config" configure
logged "$name-kernel" kmake "$image" modules
rm -rf "$dir"
mkdir -p "$dir/boot"
cp "$obj/arch/$arch/boot/$image" "$dir/boot/vmlinuz-$kver"
logged "$name-install" kmake INSTALL_MOD_PATH="$PWD/$dir" INSTALL_MOD_STRIP=1 modules_install
