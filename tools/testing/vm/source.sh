#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# source.sh DEBVER: build/linux, Debian's kernel source with the hooks applied.
# The files that the hooks change are kept as they were in build/pristine.
set -euo pipefail
. tools/testing/vm/lib.sh

debver=$1
hooks=hooks/6.12

tarball() {
	# installed, if it is of the right version: apt may not have that one any more
	if [ "$(dpkg-query -W -f '${Version}' linux-source-6.12 2>/dev/null)" = "$debver" ]; then
		xz -dcT0 /usr/src/linux-source-6.12.tar.xz
	else
		dpkg-deb --fsys-tarfile "$(tools/testing/vm/fetch.sh linux-source-6.12 "$debver")" |
			tar -xO ./usr/src/linux-source-6.12.tar.xz | xz -dcT0
	fi
}

rm -rf build/linux build/pristine
mkdir -p build/linux build/pristine
tarball | tar -x -C build/linux --strip-components=1
say "linux-source-6.12 $debver unpacked"

mapfile -t patches < <(grep -v '^#' $hooks/series 2>/dev/null)
for p in "${patches[@]}"; do
	sed -n 's|^--- a/||p' "$hooks/$p"
done | sort -u >build/pristine/.files
(cd build/linux && xargs -r cp --parents -t ../pristine) <build/pristine/.files
for p in "${patches[@]}"; do
	patch -d build/linux -p1 -F0 -s --no-backup-if-mismatch <"$hooks/$p" ||
		die "$hooks/$p does not apply to linux-source-6.12 $debver"
done
say "${#patches[@]} hooks applied"
