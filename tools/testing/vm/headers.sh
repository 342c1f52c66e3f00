#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# headers.sh KVER DEBVER DIR: what external modules for KVER are built with, at
# DIR/build: the headers installed on this machine, else unpacked in DIR.
set -euo pipefail

kver=$1 debver=$2 dir=$3
abi=${kver%-amd64}

rm -rf "$dir"
mkdir -p "$dir"
if [ -e "/lib/modules/$kver/build" ]; then
	ln -s "/lib/modules/$kver/build" "$dir/build"
	exit
fi
for p in "linux-headers-$kver" "linux-headers-$abi-common" "linux-kbuild-$abi"; do
	deb=$(tools/testing/vm/fetch.sh "$p" "$debver")
	dpkg-deb -x "$deb" "$dir"
done
ln -s "usr/src/linux-headers-$kver" "$dir/build"
# says include /usr/src/...
sed -i "s|^include /|include $PWD/$dir/|" "$dir/build/Makefile"
