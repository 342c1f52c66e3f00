# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by the scripts here. Their paths are relative to the repository's top. The
# environment's KERNEL says on which kernel the repository is laid, and so where the hooks
# are, and where it is built.
# shellcheck disable=SC2034 # for who sources this
kernel=${KERNEL:-6.12}
hooks=hooks/$kernel
build=build
[ "$kernel" = 6.12 ] || build=build/$kernel

# What QEMU emulates has no CMPXCHG16B: that of Debian 12 takes the flags that are no result
# of it from whatever was computed before, and an interrupt that comes right behind it, in
# kmem_cache_alloc() say, is returned from with NT, DF or TF set. The host panics.
emulated_cpu=max,cx16=off

# of_arch NAME: for a kernel, machine or directory of that name, which ends in its architecture
# if that is not x86: what the kernel calls it, what compiles for it, and its kernel's file
of_arch() {
	case $1 in
	*arm64) arch=arm64 cross=aarch64-linux-gnu- image=Image ;;
	*riscv64) arch=riscv cross=riscv64-linux-gnu- image=Image ;;
	*) arch=x86 cross='' image=bzImage ;;
	esac
	# for make
	foreign=(${cross:+ARCH="$arch" CROSS_COMPILE="$cross"})
}

say() { printf '==> %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# logged NAME COMMAND...: all output to $build/log/NAME.log, its end shown on failure
logged() {
	local log=$build/log/$1.log
	shift
	mkdir -p "$build/log"
	if ! "$@" >"$log" 2>&1 </dev/null; then
		tail -n 40 "$log" >&2
		die "failed; the whole log is in $log"
	fi
}

# The paths of the hooks, in their order
series() { sed "/^#/d; /^$/d; s|^|$hooks/|" "$hooks/series"; }

# The subsystems that have a series of their own, in the order of the hooks
subsystems() { sed -n 's/^# Series: //p' "$hooks/series"; }

# exported SUBSYSTEM: the paths of the patches of its series, without the cover letter
exported() { find "$build/export/$1" -name '0*.patch' ! -name '0000-*' | sort; }

# apt_of SUITE DIR: makes of apt the options with which apt-get and apt-cache know that suite
# of Debian's, and nothing else: what they keep is in DIR. They believe Debian's keys only.
apt_of() {
	local suite=$1 dir=$PWD/$2 mirror
	# shellcheck disable=SC2016 # this is apt's $()
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
	[ -n "$mirror" ] || die "apt knows no mirror of Debian's: apt-get update"
	mkdir -p "$dir"/{lists,cache}
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
		>"$dir/sources.list"
	: >"$dir/status"
	apt=(-o APT::Sandbox::User=root -o Acquire::Languages=none
		-o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Dir::State::Lists="$dir/lists" -o Dir::State::status="$dir/status"
		-o Dir::Cache="$dir/cache")
}

# lay FROM TO: copy the files named on stdin, and remove those that were copied the
# last time and are not named any more. By content: what is the same keeps its time
# stamp, so that make builds little again. So does TO/.laid, the list, if all is.
lay() {
	local from=$1 to=$2 list=$2/.laid
	mkdir -p "$to"
	touch -a "$list"
	sort >"$list.new"
	comm -23 "$list" "$list.new" | (cd "$to" && xargs -r rm -f)
	if [ -n "$(rsync -c --out-format=%n --files-from="$list.new" "$from/" "$to/")" ] ||
		! cmp -s "$list" "$list.new"; then
		mv "$list.new" "$list"
	fi
}
