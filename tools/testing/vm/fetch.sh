#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# fetch.sh PACKAGE VERSION: prints the path of the package's .deb, downloaded into
# build/debs. Not installed: a linux-image would build an initramfs nobody needs.
set -euo pipefail
. tools/testing/vm/lib.sh

package=$1 version=$2
shopt -s nullglob
debs=("build/debs/${package}_${version}"_*.deb)
if [ ${#debs[@]} = 0 ]; then
	say "download $package $version" >&2
	mkdir -p build/debs/part
	cd build/debs/part
	# apt's own sandbox user could not write here
	get() { apt-get -qq -o APT::Sandbox::User=root download "$package=$version" >&2; }
	get 2>/dev/null || { [ "$(id -u)" = 0 ] && apt-get -qq update >&2 && get; } ||
		die "$package $version is not to be had any more: make distclean, and start with a newer one"
	mv "${package}_${version}"_*.deb ..
	cd ../../..
	debs=("build/debs/${package}_${version}"_*.deb)
fi
echo "${debs[0]}"
