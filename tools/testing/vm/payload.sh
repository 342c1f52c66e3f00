#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# payload.sh COMMAND...: build below DIR what a VM is to run, and put it in DIR/payload.
# The kselftests are built by their own Makefiles, which alone know their names. kvm and
# rings: for the architecture whose name DIR ends in.
#   kvm DIR PROGRAM...           these of KVM's selftests
#   net DIR                      those of tun and tap, beside those
#   lib DIR                      the test of libioregionfd, beside those, and what looks at
#                                traces of them
#   rings DIR                    the virtqueue core and vhost.c in user space, and their tests
#                                there, tools/virtio's too
#   virtio DIR                   the tests of the virtqueue core, and what rings builds;
#                                DIR/devices is for QEMU, started with DIR/devices.arguments
#   vhost DIR MODULES VIRTIO     the tests of vhost, these modules, and tools/virtio's tests
#                                from the payload VIRTIO
#   peers DIR MODULES KDIR       these modules and who else uses vhost: DPDK, and QEMU with
#                                the kernel of KDIR as its guest; and upstream's tests of
#                                vsock, for both of its sides
#   machine DIR KDIR MODULES     tools/vmm, with the kernel of KDIR as its guest, a disk for
#                                that to boot from, and these modules of vhost
#   vmm DIR KDIR DEV MODULES     tools/vmm and its tests, with the kernels of KDIR and DEV for
#                                its guests, and these modules of vhost
#   vmm-tools DIR VMM            the payload of vmm in VMM, and for its guests, or beside them,
#                                programs of others that use their devices: fio, nvme-cli,
#                                iperf3, and upstream's vsock_test
#   fuzz DIR                     devices of tools/vmm with sanitizers, and the harnesses of
#                                libFuzzer with their inputs, for user space
#   vmm-bench DIR KDIR           tools/vmm and what measures it, in a guest with the kernel of
#                                KDIR
#   vhost-bench DIR MODULES KVER what measures vhost, these modules, and the vhost_test that
#                                belongs to kernel KVER, which Debian does not build
#   kselftest DIR                a kernel tree with the exported series, and the kselftests
#                                that it installs
set -euo pipefail
. tools/testing/vm/lib.sh

selftests=tools/testing/selftests
headers=$PWD/$build/linux/usr/include

# For another architecture: where its kernel is built, with its headers, and what the
# programs are linked with
of_arch "${2-}"
if [ -n "$cross" ]; then
	obj=$PWD/$build/${2##*-}
	headers=$obj/usr/include
	debian=$PWD/build/debian-${2##*-}/usr
	foreign+=(LINUX_HDR_PATH="$headers/"
		EXTRA_CFLAGS="-isystem $debian/include -L$debian/lib/${cross%-}")
fi

# kselftest DIRECTORY ARGUMENT...: make there; static, as the VM has no libc
kselftest() {
	make -C "$build/linux/$selftests/$1" USERLDFLAGS=-static KHDR_INCLUDES="-isystem $headers" \
		"${foreign[@]}" "${@:2}"
}

# foreign_headers: those that a kernel for this machine has exported already
foreign_headers() {
	[ -z "$cross" ] || logged "${obj##*/}-headers" make -C "$build/linux" O="$obj" ARCH="$arch" \
		CROSS_COMPILE="$cross" headers
}

# installed DIRECTORY DIR: all that its Makefile says, in DIR/payload
installed() {
	mkdir -p "$2/bin"
	logged "kselftest-${1//\//-}" kselftest "$1" OUTPUT="$PWD/$2/bin" INSTALL_PATH="$PWD/$2/payload" install
	stripped "$2"/payload/*
}

# stripped FILE...: those that are programs
stripped() {
	local file
	for file; do
		[[ $(head -c 4 "$file" 2>/dev/null | tr -d '\0') != $'\x7fELF' ]] || "${cross}strip" "$file"
	done
}

# with_libraries DIR PROGRAM...: copies of installed programs that run where there is no
# libc: in DIR/bin, with their libraries in DIR/lib
with_libraries() {
	local dir=$1 name program
	shift
	mkdir -p "$dir/bin" "$dir/lib"
	for name; do
		program=$(PATH=$PATH:/usr/sbin:/sbin command -v "$name")
		name=${program##*/}
		# lines "name => path (address)", and the loader's "path (address)"
		ldd "$program" | awk '$2 == "=>" { print $3 } $1 ~ "^/" { print $1 }' |
			xargs -r cp -Lut "$dir/lib"
		cp -L "$program" "$dir/lib/$name"
		cat >"$dir/bin/$name" <<-'END'
			#!/bin/sh
			lib=${0%/*}/../lib
			exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$lib/${0##*/}" "$@"
		END
		chmod +x "$dir/bin/$name"
	done
}

# ext4_of KDIR: the names of the modules that ext4 needs, in the kernel of KDIR. In 6.12 there is
# one that it would ask for by /sbin/modprobe.
ext4_of() {
	echo ext4
	cat "$1"/image/lib/modules/*/modules.{order,builtin} | grep -o crc32c_generic || true
}

# bounce FILE: the program that sends data to where it comes back from
bounce() {
	gcc -static -s -O2 -Wall -D_GNU_SOURCE -o "$1" tools/testing/vm/peers/bounce.c
}

kvm() {
	local dir=$1 program tool
	shift
	foreign_headers
	logged "kselftest-${dir##*/}" kselftest kvm OUTPUT="$PWD/$dir" "${@/#/$PWD/$dir/}"
	rm -rf "$dir/payload"
	for program; do
		install -D -s --strip-program="${cross}strip" -t "$dir/payload/$(dirname "$program")" \
			"$dir/$program"
	done
	# Not static: Debian 13's libelf.a is not complete
	for tool in "$dir"/payload/*/ioregionstat; do
		[ -e "$tool" ] || continue
		with_libraries "$dir/payload/ioregionstat" "$PWD/$tool"
		rm "$tool"
		cat >"$tool" <<-'END'
			#!/bin/sh
			exec "${0%/*}/../ioregionstat/bin/ioregionstat" "$@"
		END
		chmod +x "$tool"
	done
	say "$# programs of KVM's selftests"
}

net() {
	local dir=$1
	mkdir -p "$dir/net"
	logged kselftest-net kselftest net OUTPUT="$PWD/$dir/net" "$PWD/$dir"/net/{tun,tap}
	install -s -D -t "$dir/payload/net" "$dir"/net/{tun,tap}
}

lib() {
	local dir=$1
	logged libioregionfd-test make -C tools/lib/ioregionfd O="$PWD/$dir/libioregionfd" \
		KHDR="$headers" KSELFTEST="$PWD/$build/linux/$selftests" test
	install -s -D -t "$dir/payload/libioregionfd" "$dir"/libioregionfd/{test,example}
	install -t "$dir/payload" tools/verification/models/ioregionfd/replay.awk
}

rings() {
	local dir=$1 ring=$selftests/virtio/ring vhost=$selftests/vhost/ring
	set -- KERNEL="$PWD/$build/linux" PRISTINE="$PWD/$build/pristine" HEADERS="$headers" \
		CROSS_COMPILE="$cross"
	logged virtio-ring make -C $ring OUTPUT="$PWD/$dir/ring" "$@" tests
	logged vhost-ring make -C $vhost OUTPUT="$PWD/$dir/vhost-ring" "$@"
	install -D -t "$dir/payload/ring" $ring/upstream.sh "$dir"/ring/ring_{enum,kani} \
		"$dir"/vhost-ring/vhost_{enum,kani} "$dir"/ring/upstream/{vringh,virtio,vhost_net}_test{,_in_order} \
		"$dir"/ring/upstream/vringh_test_stock
	stripped "$dir"/payload/ring/*
}

virtio() {
	local dir=$1
	rm -rf "$dir/payload"
	installed virtio "$dir"
	rings "$dir"
	with_libraries "$dir/payload" fio mkfs.ext4
	$selftests/virtio/qemu-devices.sh "$PWD/$dir/devices" >"$dir/devices.arguments"
	say 'tests of the virtqueue core'
}

vhost() {
	local dir=$1 modules=$2 virtio=$3
	rm -rf "$dir/payload"
	installed vhost "$dir"
	install -t "$dir/payload" "$modules"/*.ko
	install -D -t "$dir/payload/upstream" "$virtio"/ring/{upstream.sh,virtio_test,vhost_net_test}*
	say 'tests of vhost'
}

# vsock_tests OUT: built there, as they have no directory for what is built
vsock_tests() {
	local out=$1 source=$build/linux/tools/testing/vsock common
	common=("$source"/{control,timeout,util,msg_zerocopy_common}.c)
	# as in the Makefile there
	set -- gcc -static -O2 -D_GNU_SOURCE -U_FORTIFY_SOURCE -fno-strict-overflow \
		-fno-strict-aliasing -fno-common -I "$build/linux/tools/include" -isystem "$headers"
	mkdir -p "$out"
	"$@" -o "$out/vsock_test" "$source"/vsock_test{,_zerocopy}.c "${common[@]}" &&
		"$@" -o "$out/vsock_uring_test" "$source/vsock_uring_test.c" "${common[@]}" -luring &&
		stripped "$out"/*
}

peers() {
	local dir=$1 modules=$2 kdir=$3 payload=$1/payload here=tools/testing/vm/peers driver so
	rm -rf "$dir"
	mkdir -p "$payload"
	cp $here/{dpdk,qemu}.sh $selftests/vhost/vhost.sh "$payload/"
	install -D -t "$payload/mod" "$modules"/*.ko
	gcc -static -O2 -Wall -D_GNU_SOURCE -I $selftests/virtio/util -o "$payload/echo" \
		$here/echo.c $selftests/virtio/util/frames.c
	bounce "$payload/bounce"

	with_libraries "$payload/qemu" qemu-system-x86_64
	install -D -t "$payload/qemu/firmware" /usr/share/seabios/bios-256k.bin \
		/usr/share/qemu/{kvmvapic,linuxboot_dma}.bin
	cp "$kdir"/image/boot/vmlinuz-* "$payload/qemu/vmlinuz"
	logged vsock-tests vsock_tests "$dir/root/vsock"
	cp -r "$dir/root/vsock" "$payload/"
	with_libraries "$dir/root/socat" socat
	cp $here/qemu-guest-init "$dir/root/init"
	(cd "$dir/root" && find . | cpio -o -H newc --quiet) |
		cat "$kdir/initramfs.cpio" - >"$payload/qemu/initrd"

	with_libraries "$payload/dpdk" dpdk-testpmd
	for driver in bus_vdev mempool_ring net_virtio; do
		so=$(echo /usr/lib/*/dpdk/pmds-*/librte_$driver.so.??)
		cp -L "$so" "$payload/dpdk/lib/"
		ldd "$so" | awk '$2 == "=>" { print $3 }' | xargs cp -Lut "$payload/dpdk/lib"
	done
	say 'QEMU and DPDK, for the VM'
}

vmm_tests() {
	logged "vmm-tests-${1##*/}" make -C tools/vmm/tests O="$PWD/$1" KHDR="$headers" \
		KSELFTEST="$PWD/$build/linux/$selftests" "${@:2}"
}

machine() {
	local dir=$1 kdir=$2 modules=$3 payload=$1/payload root=$1/root applet ext4
	rm -rf "$payload" "$root" "$dir/initramfs"
	mkdir -p "$payload" "$root"/{bin,data,dev,mnt,proc,run,sys} "$dir/initramfs"
	logged "vmm-${dir##*/}" make -C tools/vmm O="$PWD/$dir/vmm" KHDR="$headers" all devices
	vmm_tests "$dir/tests" "$PWD/$dir/tests/disk_load"
	install -t "$payload" "$dir"/vmm/{vmm,uart-task,virtio-{blk,net,vsock},nvme} \
		tools/vmm/{machine,demo-lib,waiting}.sh $selftests/vhost/vhost.sh
	stripped "$payload"/*
	cp "$kdir"/image/boot/vmlinuz-* "$payload/vmlinuz"
	install -D -t "$payload/mod" "$modules"/*.ko
	with_libraries "$payload/tools" fsck.ext4 socat

	install tools/vmm/machine-init "$root/init"
	install -t "$root/bin" /bin/busybox
	for applet in $(/bin/busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
	done
	with_libraries "$root/tools" mkfs.ext4 fsck.ext4
	install -s -t "$root/tools/bin" "$dir/tests/disk_load"
	bounce "$root/tools/bin/bounce"
	truncate -s 32M "$payload/root.img"
	mke2fs -q -t ext4 -d "$root" "$payload/root.img"

	mapfile -t ext4 < <(ext4_of "$kdir")
	tools/testing/vm/initramfs.sh "$(basename "$kdir")" "$kdir/image" "$dir/modules.cpio" \
		nvme virtio_mmio virtio_blk virtio_net vmw_vsock_virtio_transport "${ext4[@]}"
	install tools/vmm/machine-initramfs "$dir/initramfs/init"
	(cd "$dir/initramfs" && find . | cpio -o -H newc --quiet) |
		cat "$dir/modules.cpio" - >"$payload/initrd.cpio"
	say 'a machine, and a disk for it to boot from'
}

# A guest's initramfs is that of the kernel, with an init and tools laid over it
guest() {
	local name=$1 kdir=$2 initramfs=$3
	cp "$kdir"/image/boot/vmlinuz-* "$payload/vmlinuz-$name"
	cat "$initramfs" "$dir/guest.cpio" >"$payload/guest-$name.cpio"
}

vmm() {
	local dir=$1 kdir=$2 dev=$3 modules=$4 payload=$1/payload
	local tools=tools/vmm guest=$dir/guest ext4
	rm -rf "$payload" "$guest"
	mkdir -p "$payload" "$guest/mnt"
	logged vmm-devices make -C $tools O="$PWD/$dir/vmm" KHDR="$headers" all devices
	vmm_tests "$dir/tests" all
	install -t "$payload" "$dir"/vmm/{vmm,uart-task,virtio-{blk,net,vsock},nvme} \
		$tools/{waiting,tests/vm}.sh $selftests/vhost/vhost.sh
	install -D -t "$payload/tests" "$dir"/tests/{*_test,escape,rogue} \
		"$dir"/tests/{virtio-{blk,net,vsock},nvme,example-device}{,-kill}
	stripped "$payload"/* "$payload"/tests/*
	install -D -t "$payload/mod" "$modules"/*.ko
	with_libraries "$payload/socat" socat

	with_libraries "$guest/tools" mkfs.ext4 fsck.ext4
	install -t "$guest/tools/bin" "$dir/tests/disk_load"
	bounce "$guest/tools/bin/bounce"
	install $tools/tests/guest-init "$guest/init"
	(cd "$guest" && find . | cpio -o -H newc --quiet) >"$dir/guest.cpio"
	mapfile -t ext4 < <(ext4_of "$kdir")
	logged vmm-guest tools/testing/vm/initramfs.sh "$(basename "$kdir")" "$kdir/image" \
		"$dir/stock.cpio" virtio_mmio virtio_blk virtio_net vmw_vsock_virtio_transport nvme \
		"${ext4[@]}"
	guest stock "$kdir" "$dir/stock.cpio"
	guest dev "$dev" "$dev/initramfs.cpio"
	say 'tools/vmm, its tests, and guests for it'
}

# What vm.sh lays over the initramfs of a guest is what is in $dir/NAME
for_guest() {
	(cd "$dir/$1" && find . | cpio -o -H newc --quiet) >"$payload/tools-$1.cpio"
}

vmm-tools() {
	local dir=$1 vmm=$2 payload=$1/payload file
	local linux=$PWD/$build/linux source=$PWD/$build/linux/tools/testing/vsock
	rm -rf "$payload" "$dir"/{fio,nvme,iperf3,vsock}
	mkdir -p "$payload" "$dir"/{vsock/tools/bin,vsock-test}
	for file in "$PWD/$vmm"/payload/*; do
		case ${file##*/} in
		# those that need no guest
		tests | run-selftests) ;;
		*) ln -s -t "$payload" "$file" ;;
		esac
	done
	# Not in the kernel's tree, and static; the flags are those of its Makefile
	logged vsock-test make -C "$dir/vsock-test" -f "$source/Makefile" VPATH="$source" LDFLAGS=-static \
		CFLAGS="-O2 -Wall -Wno-pointer-sign -fno-strict-overflow -fno-strict-aliasing -fno-common \
		-U_FORTIFY_SOURCE -D_GNU_SOURCE -I$source -I$linux/tools/include -I$linux/usr/include" vsock_test
	with_libraries "$payload/tools" iperf3
	install -s -t "$payload/tools/bin" "$dir/vsock-test/vsock_test"
	install -s -t "$dir/vsock/tools/bin" "$dir/vsock-test/vsock_test"
	with_libraries "$dir/iperf3/tools" iperf3 socat
	with_libraries "$dir/nvme/tools" nvme
	with_libraries "$dir/fio/tools" fio
	for file in fio nvme iperf3 vsock; do
		for_guest "$file"
	done
	say 'programs of others, for guests of tools/vmm'
}

fuzz() {
	local dir=$1 tests=(confine_test nonsense_test escape virtio-blk nvme example-device)
	logged vmm-fuzz make -C tools/vmm/fuzz O="$PWD/$dir" KHDR="$headers" all
	vmm_tests "$dir/sanitize" SANITIZE=1 "${tests[@]/#/$PWD/$dir/sanitize/}"
	rm -rf "$dir/payload"
	install -D -t "$dir/payload" "$dir"/*_fuzz
	install -D -t "$dir/payload/tests" "${tests[@]/#/$dir/sanitize/}"
	cp -r tools/vmm/fuzz/corpus "$dir/payload/"
	say 'devices with sanitizers, and harnesses of libFuzzer'
}

vmm-bench() {
	local dir=$1 kdir=$2 payload=$1/payload guest=$1/guest
	rm -rf "$payload" "$guest"
	mkdir -p "$payload"
	logged vmm-bench make -C tools/vmm O="$PWD/$dir/vmm" KHDR="$headers" all devices
	vmm_tests "$dir/tests" "$PWD/$dir/tests/guest_bench"
	install -s -t "$payload" "$dir"/vmm/{vmm,uart-task,virtio-blk,nvme}
	install -t "$payload" tools/vmm/tests/bench-vm.sh
	cp "$kdir"/image/boot/vmlinuz-* "$payload/vmlinuz"

	install -s -D -t "$guest/bin" "$dir/tests/guest_bench"
	install tools/vmm/tests/bench-init "$guest/init"
	tools/testing/vm/initramfs.sh "$(basename "$kdir")" "$kdir/image" "$dir/modules.cpio" \
		virtio_mmio virtio_blk nvme
	(cd "$guest" && find . | cpio -o -H newc --quiet) |
		cat "$dir/modules.cpio" - >"$payload/guest.cpio"
	say 'a guest that measures its disks'
}

vhost-bench() {
	local dir=$1 modules=$2 kver=$3 stock=$1/stock ko
	rm -rf "$dir/payload"
	installed vhost/perf "$dir"
	mkdir -p "$stock" "$dir/payload/stock"
	cp "$build"/{pristine/drivers/vhost/{vhost,net,test}.c,pristine/drivers/vhost/vhost.h} \
		"$build/linux/drivers/vhost/test.h" "$stock/"
	printf 'obj-m := vhost_test.o\nvhost_test-y := test.o\n' >"$stock/Kbuild"
	# A kernel of our own has our vhost
	[ "$kernel" = 6.12 ] ||
		printf 'obj-m += vhost.o vhost_net.o\nvhost_net-y := net.o\n' >>"$stock/Kbuild"
	logged vhost-stock make -C "$build/$kver/headers/build" M="$PWD/$stock" modules
	install -t "$dir/payload" "$modules"/vhost{,_net,_test}.ko
	for ko in "$stock"/*.ko; do
		strip -g -o "$dir/payload/stock/${ko##*/}" "$ko"
	done
}

# series_tree TREE: the kernel's source as it was, and on it the exported series. Nothing is
# written to a file that $build/linux has too: they are links.
series_tree() {
	local tree=$1 git=(git -C "$1" -c user.name=rig -c user.email=rig@localhost)
	rm -rf "$tree"
	mkdir -p "${tree%/*}"
	cp -al "$build/linux" "$tree"
	(cd "$tree" && xargs rm) <"$build/linux/.laid"
	cp -r --remove-destination "$build/pristine/." "$tree/"
	rm -r "$tree"/.{files,hooked-*,laid*} "$tree"/usr/include/{[a-z]*/,.exported}
	"${git[@]}" init -q
	"${git[@]}" add -f --pathspec-from-file=- <"$build/pristine/.files"
	"${git[@]}" commit -qm base
	subsystems | while read -r subsystem; do exported "$subsystem"; done |
		sed "s|^|$PWD/|" | xargs "${git[@]}" am -q -3
}

kselftest_series() {
	local dir=$1 tree=$1/linux obj=$PWD/$1/obj all=$1/all payload=$1/payload collection source
	series_tree "$tree"
	logged kselftest-headers make -C "$tree" O="$obj" headers
	logged kselftest-series make -C "$tree/$selftests" O="$obj" TARGETS='kvm virtio vhost' \
		FORCE_TARGETS=1 USERLDFLAGS=-static KSFT_INSTALL_PATH="$PWD/$all" install
	# All that we have are in the list, and what the list names is there
	for source in "$selftests"/{kvm,kvm/x86_64,virtio,vhost}/*_test.c; do
		collection=${source#"$selftests/"}
		grep -qxF "${collection%%/*}:$(basename "$source" .c)" "$all/kselftest-list.txt" ||
			die "$source is not in the list of the installed kselftests"
	done
	while IFS=: read -r collection source; do
		[ -x "$all/$collection/$source" ] || die "$collection:$source is not installed"
	done <"$all/kselftest-list.txt"

	# Of KVM's, which are many, the smallest of ours goes to the VM
	rm -rf "$payload"
	mkdir -p "$payload/kvm"
	cp -r "$all"/{kselftest,kselftest-list.txt,run_kselftest.sh,virtio,vhost} "$payload/"
	cp "$all/kvm/ioregionfd_args_test" "$payload/kvm/"
	stripped "$payload"/*/*
	say "$(wc -l <"$all/kselftest-list.txt") kselftests built and installed from the exported series"
}

command=$1 dir=$2
shift
case $command in
kvm | net | lib | rings | virtio | vhost | peers | machine | vmm | vmm-tools | fuzz | vmm-bench | vhost-bench) "$command" "$@" ;;
kselftest) kselftest_series "$@" ;;
*) die "no command $command" ;;
esac
cp tools/testing/vm/run-selftests "$dir/payload/"
