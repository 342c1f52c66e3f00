#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# security-suite.sh: have apt know Debian 12's 6.12 kernels. They are in its security
# suite, which every installed system has among apt's sources, but a root made with
# debootstrap has not.
set -euo pipefail
. tools/testing/vm/lib.sh

known() { [ -n "$(apt-cache madison linux-source-6.12 2>/dev/null)" ]; }
known && exit
dpkg-query -W linux-source-6.12 >/dev/null 2>&1 && exit

help="no linux-source-6.12: add Debian's bookworm-security to /etc/apt/sources.list, then apt-get update"
[ "$(id -u)" = 0 ] || die "$help"
logged apt-update apt-get -q update
known && exit

list=/etc/apt/sources.list.d/bookworm-security.list
# shellcheck disable=SC2016 # this is apt's $()
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
if [ -z "$mirror" ] || [ -e $list ]; then
	die "$help"
fi
say "apt has no 6.12 kernel: add the security suite, in $list"
echo "deb ${mirror%/}-security bookworm-security main" >$list
logged apt-update apt-get -q update
known || die "$help"
