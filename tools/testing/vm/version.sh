#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# version.sh [KVER]: prints, as make variables, for which kernel to build: its
# release KVER and the version DEBVER of the packages it comes in. Without an
# argument that is the newest 6.12 that apt knows with both image and source.
set -euo pipefail
. tools/testing/vm/lib.sh

# Package versions that apt knows or that are installed: lines "name version"
versions() {
	apt-cache madison "$@" 2>/dev/null | awk -F'|' '/Packages$/ { print $1 $2 }'
	dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\n' "$@" 2>/dev/null |
		awk '$3 == "installed"' || true
}

sources() { versions linux-source-6.12 | awk '{ print $2 }' | sort -u; }

images() {
	local names
	mapfile -t names < <(apt-cache pkgnames linux-image-6.12. |
		grep -xE 'linux-image-6\.12\.[0-9]+\+deb[0-9]+-amd64')
	[ ${#names[@]} = 0 ] || versions "${names[@]}"
}

newest() {
	local deb name ver
	for deb in $(sources | sort -rV); do
		while read -r name ver; do
			[ "$ver" = "$deb" ] && echo "${name#linux-image-}" "$deb" && return
		done < <(images)
	done
	return 1
}

if [ -z "${1-}" ]; then
	read -r kver debver < <(newest) ||
		die 'apt has no linux-image-6.12 of the same version as a linux-source-6.12: apt-get update'
else
	kver=$1
	# a running kernel is taken at its word, then installed headers
	if [ "$kver" = "$(uname -r)" ]; then
		debver=$(uname -v | sed -n 's/.* Debian \([^ ]*\) .*/\1/p')
	else
		debver=$(versions "linux-headers-$kver" | awk '{ v = $2 } END { print v }')
	fi
	[ -n "$debver" ] ||
		die "neither this machine nor apt has linux-headers-$kver: name another kernel with KVER="
	sources | grep -qxF "$debver" ||
		die "kernel $kver is of version $debver, but linux-source-6.12 is to be had only in" \
			"$(sources | paste -sd ' '): install linux-image, linux-headers and" \
			"linux-source-6.12 of one version"
	if [ -e "/lib/modules/$kver/build" ]; then
		have=$(dpkg-query -W -f '${Version}' "linux-headers-$kver" 2>/dev/null || true)
		[ "$have" = "$debver" ] ||
			die "kernel $kver is of version $debver, its headers of ${have:-no package}:" \
				"install linux-headers-$kver=$debver"
	fi
fi

printf 'KVER := %s\nDEBVER := %s\n' "$kver" "$debver"
