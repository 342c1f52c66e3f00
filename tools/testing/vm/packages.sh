#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# packages.sh PACKAGE...: install the Debian packages that are missing
set -euo pipefail
. tools/testing/vm/lib.sh

installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
	awk '$2 == "installed" { print $1 }') || true
missing=$(printf '%s\n' "$@" | grep -vxF "$installed") || exit 0
mapfile -t missing <<<"$missing"

[ "$(id -u)" = 0 ] || die "run as root, or install first: ${missing[*]}"
say "packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
logged apt-update apt-get -q update
logged apt-install apt-get -qy install --no-install-recommends "${missing[@]}"
