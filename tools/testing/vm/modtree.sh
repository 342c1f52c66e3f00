#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# modtree.sh DIR [pristine]: copy what is needed to build KVM as external modules to
# DIR, with the hooks and our files, or as it was before them
set -euo pipefail
. tools/testing/vm/lib.sh

dir=$1
kvm() { (cd build/linux && find arch/x86/kvm virt/kvm -type f); }

if [ "${2-}" = pristine ]; then
	kvm | grep -vxF -f build/pristine/.files | lay build/linux "$dir"
	rsync -c --files-from=build/pristine/.files build/pristine/ "$dir/"
else
	# and the headers that must hide the installed ones
	{ kvm; grep -h '^include/' build/pristine/.files build/linux/.laid; } | lay build/linux "$dir"
fi
cp tools/testing/vm/Kbuild.modules "$dir/Kbuild"
# $(srctree) is the headers' tree here
sed -i "s|\$(srctree)|\$(KBUILD_EXTMOD)|" "$dir/arch/x86/kvm/Makefile"
