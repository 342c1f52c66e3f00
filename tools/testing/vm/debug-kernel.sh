#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# debug-kernel.sh KVER DIR: the kernel of build/linux, configured to watch itself
# (lockdep, KASAN and others), and its modules, in DIR
set -euo pipefail
. tools/testing/vm/lib.sh

kver=$1 dir=$2
obj=$PWD/build/debug

kmake() { make -C build/linux O="$obj" LOCALVERSION="-${kver##*-}" "$@"; }

configure() {
	kmake tinyconfig
	(cd "$obj" && ../linux/scripts/kconfig/merge_config.sh -m .config ../../tools/testing/vm/debug.config)
	kmake olddefconfig
	# An option that depends on one that is off is dropped in silence
	grep '^CONFIG' tools/testing/vm/debug.config | grep -vxFf "$obj/.config" |
		sed 's/^/not to be had: /' | grep . && return 1
	return 0
}

mkdir -p "$obj"
say "Linux $kver, with lockdep and KASAN (minutes)"
logged debug-config configure
logged debug-kernel kmake bzImage modules
rm -rf "$dir"
mkdir -p "$dir/boot"
cp "$obj/arch/x86/boot/bzImage" "$dir/boot/vmlinuz-$kver"
logged debug-install kmake INSTALL_MOD_PATH="$PWD/$dir" INSTALL_MOD_STRIP=1 modules_install
