#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# modules.sh KVER y|n OUT: build the KVM modules for kernel KVER, with or without
# CONFIG_KVM_IOREGIONFD, and put stripped copies in OUT
set -euo pipefail
. tools/testing/vm/lib.sh

kver=$1 option=$2 out=$3
dir=build/$kver/kvm-$option

tools/testing/vm/modtree.sh "$dir"
logged "modules-$kver-$option" make -C "build/$kver/headers/build" M="$PWD/$dir" \
	CONFIG_KVM_IOREGIONFD="$option" modules

mkdir -p "$out"
for ko in "$dir"/arch/x86/kvm/*.ko; do
	# debug information is ten times the code
	strip -g -o "$out/${ko##*/}" "$ko"
done
say "$(cd "$out" && echo *.ko | sed 's/ /, /g') for $kver$([ "$option" = y ] || echo ', without KVM_IOREGIONFD')"
