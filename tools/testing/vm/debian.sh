#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# debian.sh COMMAND...: what comes from Debian
#   packages PACKAGE...      install those that are missing
#   suite                    have apt know the kernel
#   version [KVER]           print, as make variables, for which kernel to build: its
#                            release KVER, and the version DEBVER of its packages. The
#                            newest that apt has with its source, if not told otherwise
#   source DEBVER            $build/linux: the kernel's source, with the hooks applied. The
#                            files that they change are as they were in $build/pristine
#   headers KVER DEBVER DIR  what external modules are built with, at DIR/build
#   image KVER DEBVER DIR    the kernel and its modules, unpacked in DIR
#   foreign ARCH DIR PACKAGE...  packages for another architecture, unpacked in DIR
# Which kernel, lib.sh says. Of those that neither Debian 12 nor 13 has by itself, apt only
# knows here: nothing is installed of them.
set -euo pipefail
. tools/testing/vm/lib.sh

source_package=linux-source-$kernel
apt=()
store=build/debs

packages() {
	local installed missing
	installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
		awk '$2 == "installed" { print $1 }') || true
	missing=$(printf '%s\n' "$@" | grep -vxF "$installed") || return 0
	mapfile -t missing <<<"$missing"

	[ "$(id -u)" = 0 ] || die "run as root, or install first: ${missing[*]}"
	say "packages: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	logged apt-update apt-get -q update
	logged apt-install apt-get -qy install --no-install-recommends "${missing[@]}"
}

has_source() {
	[ -n "$(apt-cache "${apt[@]}" madison "$source_package" 2>/dev/null)" ]
}

# Debian 12 has 6.12 kernels in its security suite. Every installed system has that among
# apt's sources; a root made with debootstrap has not.
suite() {
	local help list mirror
	has_source && return
	dpkg-query -W "$source_package" >/dev/null 2>&1 && return
	if [ ${#apt[@]} != 0 ]; then
		logged apt-update apt-get -q "${apt[@]}" update
		has_source || die "there is no $source_package: $(cat "$build/apt/sources.list")"
		return
	fi

	help="no linux-source-6.12: add Debian's bookworm-security to /etc/apt/sources.list, then apt-get update"
	[ "$(id -u)" = 0 ] || die "$help"
	logged apt-update apt-get -q update
	has_source && return

	list=/etc/apt/sources.list.d/bookworm-security.list
	# shellcheck disable=SC2016 # this is apt's $()
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' |
		head -n 1)
	if [ -z "$mirror" ] || [ -e $list ]; then
		die "$help"
	fi
	say "apt has no 6.12 kernel: add the security suite, in $list"
	echo "deb ${mirror%/}-security bookworm-security main" >$list
	logged apt-update apt-get -q update
	has_source || die "$help"
}

# Package versions that apt knows or that are installed: lines "name version"
versions() {
	apt-cache "${apt[@]}" madison "$@" 2>/dev/null | awk -F'|' '/Packages$/ { print $1 $2 }'
	dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\n' "$@" 2>/dev/null |
		awk '$3 == "installed"' || true
}

source_versions() { versions "$source_package" | awk '{ print $2 }' | sort -u; }

image_versions() {
	local names
	mapfile -t names < <(apt-cache "${apt[@]}" pkgnames "linux-image-$kernel." |
		grep -xE "linux-image-${kernel//./\\.}\.[0-9]+\+deb[0-9]+-amd64")
	[ ${#names[@]} = 0 ] || versions "${names[@]}"
}

# With both image and source
newest() {
	local deb name ver
	for deb in $(source_versions | sort -rV); do
		while read -r name ver; do
			[ "$ver" = "$deb" ] && echo "${name#linux-image-}" "$deb" && return
		done < <(image_versions)
	done
	return 1
}

# version_of KVER: a running kernel is taken at its word, then installed headers
version_of() {
	local kver=$1 debver headers
	if [ "$kver" = "$(uname -r)" ]; then
		debver=$(uname -v | sed -n 's/.* Debian \([^ ]*\) .*/\1/p')
	else
		debver=$(versions "linux-headers-$kver" | awk '{ v = $2 } END { print v }')
	fi
	[ -n "$debver" ] ||
		die "neither this machine nor apt has linux-headers-$kver: name another kernel with KVER="
	source_versions | grep -qxF "$debver" ||
		die "kernel $kver is of version $debver, but $source_package is only available in" \
			"$(source_versions | paste -sd ' '): install linux-image, linux-headers and" \
			"$source_package of one version"
	if [ -e "/lib/modules/$kver/build" ]; then
		headers=$(dpkg-query -W -f '${Version}' "linux-headers-$kver" 2>/dev/null || true)
		[ "$headers" = "$debver" ] ||
			die "kernel $kver is of version $debver, its headers of ${headers:-no package}:" \
				"install linux-headers-$kver=$debver"
	fi
	echo "$kver $debver"
}

version() {
	local found kver debver
	if [ $# = 0 ]; then
		found=$(newest) ||
			die "apt has no linux-image-$kernel of the same version as a $source_package: apt-get update"
	else
		found=$(version_of "$1")
	fi
	read -r kver debver <<<"$found"
	printf 'KVER := %s\nDEBVER := %s\n' "$kver" "$debver"
}

# fetch PACKAGE VERSION: prints the path of the package's .deb, downloaded into $store.
# Not installed: a linux-image would build an initramfs nobody needs.
fetch() {
	local package=$1 version=$2 file debs
	# as apt spells it
	file=${package}_${version//:/%3a}
	shopt -s nullglob
	debs=("$store/$file"_*.deb)
	if [ ${#debs[@]} = 0 ]; then
		say "download $package $version" >&2
		mkdir -p "$store/part"
		(
			cd "$store/part"
			# apt's own sandbox user could not write here
			get() {
				apt-get -qq "${apt[@]}" -o APT::Sandbox::User=root download "$package=$version" >&2
			}
			# What apt said last is in the log: the first time it may just be out of date
			get 2>"$file.log" || { [ "$(id -u)" = 0 ] && apt-get -qq "${apt[@]}" update >&2 &&
				get 2>"$file.log"; } || {
				cat "$file.log" >&2
				die "cannot download $package $version. If apt does not have that version" \
					"any more: make clean, and start with a newer one"
			}
			rm "$file.log"
			mv "$file"_*.deb ..
		) || exit
		debs=("$store/$file"_*.deb)
	fi
	echo "${debs[0]}"
}

tarball() {
	local debver=$1 deb
	# installed, if it is of the right version: apt may not have that one any more
	if [ "$(dpkg-query -W -f '${Version}' "$source_package" 2>/dev/null)" = "$debver" ]; then
		xz -dcT0 "/usr/src/$source_package.tar.xz"
	else
		deb=$(fetch "$source_package" "$debver")
		dpkg-deb --fsys-tarfile "$deb" |
			tar -xO "./usr/src/$source_package.tar.xz" | xz -dcT0
	fi
}

source_tree() {
	local debver=$1 patches p
	rm -rf "$build"/{linux,pristine}
	mkdir -p "$build"/{linux,pristine}
	tarball "$debver" | tar -x -C "$build/linux" --strip-components=1
	say "$source_package $debver unpacked"

	mapfile -t patches < <(series)
	for p in "${patches[@]}"; do
		sed -n 's|^--- a/||p' "$p"
	done | sort -u >"$build/pristine/.files"
	(cd "$build/linux" && xargs -r cp --parents -t ../pristine) <"$build/pristine/.files"
	for p in "${patches[@]}"; do
		patch -d "$build/linux" -p1 -F0 -s --no-backup-if-mismatch <"$p" ||
			die "$p does not apply to $source_package $debver"
	done
	say "${#patches[@]} hooks applied"
}

headers() {
	local kver=$1 debver=$2 dir=$3 abi p deb
	abi=${kver%-amd64}

	rm -rf "$dir"
	mkdir -p "$dir"
	if [ -e "/lib/modules/$kver/build" ]; then
		ln -s "/lib/modules/$kver/build" "$dir/build"
		return
	fi
	for p in "linux-headers-$kver" "linux-headers-$abi-common" "linux-kbuild-$abi"; do
		deb=$(fetch "$p" "$debver")
		dpkg-deb -x "$deb" "$dir"
	done
	ln -s "usr/src/linux-headers-$kver" "$dir/build"
	# says include /usr/src/..., and that of 7.3 KBUILD_OUTPUT=/usr/src/..., too
	sed -i "s#^\(include \|KBUILD_OUTPUT=\)/#\1$PWD/$dir/#" "$dir/build/Makefile"
}

image() {
	local kver=$1 debver=$2 dir=$3 deb
	deb=$(fetch "linux-image-$kver" "$debver")
	rm -rf "$dir"
	mkdir -p "$dir"
	# Since Debian 13 they are in /usr/lib
	dpkg-deb --fsys-tarfile "$deb" |
		tar -x -C "$dir" --transform 's|^\./usr/lib/|./lib/|' ./boot \
			--wildcards './*lib/modules/*/modules.*' \
			'./*lib/modules/*/kernel/'{arch/x86,crypto,lib,net,virt} \
			'./*lib/modules/*/kernel/fs/'{configfs,ext4,jbd2,mbcache.ko.xz} \
			'./*lib/modules/*/kernel/drivers/'{block/virtio_blk.ko.xz,crypto,net,nvme} \
			'./*lib/modules/*/kernel/drivers/'{scsi/scsi_common.ko.xz,target,vhost,virtio}
	depmod -b "$dir" "$kver"
}

# Debian 13's: 12 has no riscv64
foreign() {
	local arch=$1 dir=$2 package version deb
	shift 2
	apt_of trixie "build/apt-$arch"
	apt+=(-o "APT::Architecture=$arch" -o "APT::Architectures=$arch")
	store=build/debs/$arch
	logged "apt-update-$arch" apt-get -q "${apt[@]}" update
	rm -rf "$dir"
	mkdir -p "$dir"
	for package; do
		version=$(apt-cache "${apt[@]}" madison "$package" | awk -F' *[|] *' '{ print $2; exit }')
		[ -n "$version" ] || die "Debian 13 has no $package for $arch"
		deb=$(fetch "$package" "$version")
		dpkg-deb -x "$deb" "$dir"
	done
}

command=$1
shift
[ "$command" = packages ] || [ "$kernel" = 6.12 ] || apt_of trixie-backports "$build/apt"
case $command in
source) source_tree "$@" ;;
packages | suite | version | headers | image | foreign) "$command" "$@" ;;
*) die "no command $command" ;;
esac
