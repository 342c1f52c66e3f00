#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# check.sh KDIR: everything about our source that can be said without running it
# shellcheck disable=SC2317 # functions that are arguments of check
set -euo pipefail
. tools/testing/vm/lib.sh

kdir=$1
top=$PWD
failed=0

# check NAME COMMAND...: shows what the command prints only if it fails
check() {
	local name=$1 out rc
	shift
	set +e
	out=$(set -e; "$@" 2>&1 </dev/null)
	rc=$?
	set -e
	if [ "$rc" = 0 ]; then
		say "$name: ok"
	else
		printf '%s\n' "$out"
		say "$name: FAILED"
		failed=1
	fi
}

# In the kernel's tree, where our files are laid over it.
# Lists of initializers, as in all of KVM's statistics, cannot be in parentheses; and 6.12 has no
# kzalloc_obj().
checkpatch() {
	(cd "$build/linux" && scripts/checkpatch.pl --strict -q --terse --show-types --no-summary \
		--ignore "COMPLEX_MACRO,ALLOC_WITH_SIZEOF$1" "${@:2}")
}

# The kernel in user space: its names, and macros that are used as the kernel's are
imitation=AVOID_BUG,DEPRECATED_API,EXPORT_SYMBOL,MACRO_ARG_PRECEDENCE,MACRO_ARG_REUSE,MACRO_ARG_UNUSED
imitation+=,MACRO_WITH_FLOW_CONTROL,MEMORY_BARRIER,NEW_TYPEDEFS,PREFER_DEFINED_ATTRIBUTE_MACRO

checkpatch_files() {
	local rc=0 files
	mapfile -t files < <(grep '\.[ch]$' "$build/linux/.laid" |
		grep -vE '/trace\.h$|/vhost/ring_common\.h$|/vhost/ring/fake_kernel\.h$|/ring/include/asm/'
		find "$top"/tools/{vmm,testing/vm,testing/mutate} -name '*.[ch]')
	checkpatch '' -f "${files[@]}" || rc=1
	# trace events have a layout of their own
	mapfile -t files < <(grep '/trace\.h$' "$build/linux/.laid")
	checkpatch ,OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT,SPACING -f "${files[@]}" || rc=1
	# the name of an operation, looked up in the table of each layout
	checkpatch ,MACRO_ARG_REUSE -f drivers/vhost/ring_common.h || rc=1
	checkpatch ",$imitation" -f tools/testing/selftests/vhost/ring/fake_kernel.h \
		tools/testing/selftests/virtio/ring/include/asm/barrier.h || rc=1
	return "$rc"
}

# as_it_was PATCH: what else is left out if it brings back lines that the kernel had before
as_it_was() {
	case $1 in
	*-take-VIRTIO_F_IN_ORDER-out-*) echo ,BLOCK_COMMENT_STYLE,FUNCTION_ARGUMENTS,UNSPECIFIED_INT ;;
	esac
}

checkpatch_hooks() {
	local p rc=0
	while read -r p; do
		# a Kconfig that sources one next to it
		checkpatch ",EMBEDDED_FILENAME$(as_it_was "$p")" "$top/$p" || rc=1
	done < <(series)
	return "$rc"
}

# What "make export" gives. In files that are new there, what is left out above is too.
checkpatch_series() {
	local new=OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT,SPACING,MACRO_ARG_REUSE,EMBEDDED_FILENAME
	local p rc=0
	while read -r p; do
		# MAINTAINERS has a patch of its own
		checkpatch ",$new,$imitation,FILE_PATH_CHANGES$(as_it_was "$p")" "$top/$p" || rc=1
	done < <(subsystems | while read -r subsystem; do exported "$subsystem"; done)
	return "$rc"
}

# Few, and nothing in arch/ but configuration and how arm64 holds SRCU
hooks_size() {
	local arch virtio=120 vhost=260
	# 7.3 has VIRTIO_F_IN_ORDER itself: drivers/virtio has faults mended, drivers/vhost goes without
	[ "$kernel" = 6.12 ] || virtio=140 vhost=640
	series | xargs cat | awk -v virtio="$virtio" -v vhost="$vhost" '
		/^\+\+\+ b\// {
			area = /virtio/ ? "drivers/virtio" : /vhost/ ? "drivers/vhost" : "KVM"
			if (/tools\/testing|MAINTAINERS/)
				area = "tests and MAINTAINERS"
		}
		/^[-+]([^-+]|$)/ { lines[area]++ }
		END {
			at_most["KVM"] = 70
			at_most["drivers/virtio"] = virtio
			at_most["drivers/vhost"] = vhost
			at_most["tests and MAINTAINERS"] = 20
			for (area in at_most) {
				printf "%s: %d changed lines of at most %d\n", area, lines[area], at_most[area]
				if (lines[area] > at_most[area])
					bad = 1
			}
			exit bad
		}'
	arch=$(series | xargs sed -n 's|^+++ b/\(arch/.*\)|\1|p' | grep -vE '/(Kconfig|Makefile)$' || true)
	echo "in arch/: configuration, and ${arch:-nothing else}"
	[ "$arch" = arch/arm64/kvm/mmu.c ]
}

# On the files they change, and with the names and text that a commit needs
hooks_git_am() {
	local repo=$build/check/hooks p
	rm -rf "$repo"
	mkdir -p "$repo"
	cp -r "$build/pristine/." "$repo"
	git -C "$repo" init -q
	git -C "$repo" add .
	git -C "$repo" -c user.name=check -c user.email=check@localhost commit -qm base
	while read -r p; do
		grep -q '^Signed-off-by: ' "$p" || { echo "$p: no Signed-off-by"; return 1; }
		git -C "$repo" -c user.name=check -c user.email=check@localhost am -q "$top/$p"
	done < <(series)
}

# In the Makefile beside it, or nobody builds it; and in the map of HACKING.md
registered() {
	local source dir name rc=0
	for source in tools/testing/selftests/{kvm,kvm/x86_64,virtio,vhost}/*_test.c tools/vmm/tests/*_test.c; do
		dir=${source%/*}
		name=$(basename "$source" .c)
		grep -qw "$name" "${dir%/x86_64}"/Makefile* || { echo "$name: in no Makefile"; rc=1; }
		grep -q "^| .$name. |" HACKING.md || { echo "$name: not in HACKING.md"; rc=1; }
	done
	return "$rc"
}

# shown DOCUMENT SOURCE...: the code that the document shows, from beginning to end, is that
# of the sources below their first two lines
shown() {
	diff -B <(awk '/^```c$/ { c = 1; next } /^```/ { c = 0 } c' "$1") <(tail -qn +3 "${@:2}")
}

# A tree that sources Kconfig has all of our options
kconfig() {
	local work=$top/$build/check/kconfig options
	make -s -C "$build/linux" O="$work" allnoconfig
	{
		printf 'config %s\n\tdef_bool y\n' 64BIT HAVE_KVM_IOREGIONFD UNIX KVM VIRTIO KUNIT
		echo 'source "Kconfig"'
	} >"$work/tree"
	(cd "$work" && srctree=$top KCONFIG_CONFIG=all scripts/kconfig/conf --allyesconfig tree)
	options=$(find virt drivers -name 'Kconfig*' -exec sed -n 's/^config /CONFIG_/p' {} + | sort)
	grep -oE '^CONFIG_[A-Z0-9_]+' "$work/all" | grep -xF "$options" | sort | diff - <(echo "$options")
}

# compiles COMPILER OPTION...: our headers do, without a word. Others' are the system's.
compiles() {
	"$@" -fsyntax-only -Wall -Wextra -Wconversion -pedantic-errors -Werror \
		-I "$build/check/uapi" -isystem "$build/linux/usr/include" tools/testing/vm/abi-check.c ||
		{ echo "$*"; return 1; }
}

abi() {
	local compiler standard target
	rm -rf "$build/check/uapi"
	mkdir -p "$build/check/uapi/linux"
	cp "$build/linux/usr/include/linux"/{,kvm_}ioregionfd.h "$build/check/uapi/linux/"
	for compiler in gcc clang musl-gcc; do
		for standard in c99 c11 gnu11 c2x; do
			compiles "$compiler" -std="$standard"
		done
	done
	compiles g++ -xc++ -std=c++17
	compiles clang++ -xc++ -std=c++17
	# 32 bits; the other byte order, with 64 and 32
	for target in i386 s390x mips; do
		compiles clang -std=c11 --target="$target-linux-gnu"
	done
	gcc -fsyntax-only -Wall -Wextra -Werror -DWITH_KVM_RUN -isystem "$build/linux/usr/include" \
		tools/testing/vm/abi-check.c
}

# kbuild DIR OPTION TARGET...: in a tree of KVM's external modules
kbuild() {
	local dir=$1 option=$2
	shift 2
	make -s -C "$kdir/headers/build" M="$top/$dir" CONFIG_KVM_IOREGIONFD="$option" "$@"
}

# Options of sparse, and what it says that is no fault
checker=-D__CHECK_ENDIAN__
no_fault='^$'
# Debian's is too old for 7.3: for MODULE_INFO(), and for an operator that gives a type without
# its qualifiers, in get_unaligned() too
if [ "$kernel" != 6.12 ]; then
	checker+=' -D__typeof_unqual__=__typeof__'
	no_fault='note: in included file|error: bad constant expression|\(different modifiers\)$|:    (expected void|got .* const) \*$'
fi

sparse() {
	local objects
	tools/testing/vm/modules.sh tree "$kdir/kvm-y"
	mapfile -t objects < <(cd virt/kvm && find ioregionfd -name '*.c' | sed 's/c$/o/')
	kbuild "$kdir/kvm-y" y C=2 CF="$checker" \
		"${objects[@]/#/arch/x86/kvm/../../../virt/kvm/}" >"$build/check/sparse" 2>&1 ||
		{ cat "$build/check/sparse"; return 1; }
	! grep -vE "$no_fault" "$build/check/sparse"
}

# The virtqueue core as an external module, with all its options
sparse_virtio() {
	local dir=$build/check/virtio out=$build/check/sparse-virtio.all
	rm -rf "$dir"
	mkdir -p "$dir"
	cp "$build/linux/drivers/virtio"/{virtio_ring.c,vring_*} "$dir/"
	{
		echo 'obj-m := virtio_ring.o vring_kunit.o'
		sed -n 's/^vring_kunit-y/&/p' "$build/linux/drivers/virtio/Makefile"
		echo 'ccflags-y := -DCONFIG_VIRTIO_IN_ORDER=1 -DCONFIG_VIRTIO_DEBUG=1 -DCONFIG_KUNIT=1'
	} >"$dir/Kbuild"
	make -s -C "$kdir/headers/build" M="$top/$dir" C=2 CF="$checker" \
		virtio_ring.o vring_kunit.o >"$out" 2>&1 || { cat "$out"; return 1; }
	# what is said of Debian's own lines is not for us
	! grep vring_ "$out" | grep -vE "$no_fault"
}

sparse_vhost() {
	local dir=$build/check/vhost out=$build/check/sparse-vhost
	rm -rf "$dir"
	mkdir -p "$dir"
	cp "$build/linux/drivers/vhost"/*.[ch] "$dir/"
	cp tools/testing/vm/Kbuild.vhost "$dir/Kbuild"
	make -s -C "$kdir/headers/build" M="$top/$dir" C=2 CF="$checker" \
		vhost.o >"$out" 2>&1 || { cat "$out"; return 1; }
	! grep 'ring[a-z_]*\.h' "$out" | grep -vE "$no_fault"
}

# What the drivers of rings, and ioregionfd where KVM has it, are like elsewhere: in the other
# byte order, with 32 bits. Not with sparse where it does not know the architecture (riscv, in
# Debian 12), and where get_user() casts what it must not (arm).
elsewhere() {
	local arch cross c options out obj targets rc=0
	while read -r arch cross c options; do
		obj=$top/$build/check/$arch out=$build/check/elsewhere-$arch
		set -- make -s -C "$build/linux" O="$obj" ARCH="$arch" CROSS_COMPILE="$cross-"
		mkdir -p "$obj"
		"$@" tinyconfig
		(cd "$obj" && "$top/$build"/linux/scripts/kconfig/merge_config.sh -m .config \
			"$top"/tools/testing/vm/{tests,rings}.config >/dev/null)
		# shellcheck disable=SC2086 # to be split into words
		printf 'CONFIG_%s=y\n' $options >>"$obj/.config"
		"$@" olddefconfig
		targets=(drivers/virtio/virtio_ring.o drivers/virtio/vring_kunit.o drivers/vhost/{vhost,net,vsock}.o)
		! grep -q '^CONFIG_KVM_IOREGIONFD=y' "$obj/.config" ||
			mapfile -t -O ${#targets[@]} targets < <(cd virt/kvm && find ioregionfd -name '*.c' |
				sed "s|\(.*\)c$|arch/$arch/kvm/../../../virt/kvm/\1o|")
		"$@" W=1 "C=$c" CF="$checker" "${targets[@]}" >"$out" 2>&1 || { cat "$out"; rc=1; }
		# what is said of others' lines is not for us
		! grep -E 'vring_|vhost/ring|ioregionfd/' "$out" | grep -vE "$no_fault" || rc=1
	done <<-END
		arm64 aarch64-linux-gnu 2 KVM
		riscv riscv64-linux-gnu 0 KVM
		s390 s390x-linux-gnu 2 PCI
		arm arm-linux-gnueabihf 0 MMU VIRTIO_MMIO
	END
	return "$rc"
}

# Without the option, the modules are what they are without the hooks: their code, and
# their data, but for the line numbers of WARN()s. In the files that know all of KVM.
unchanged() {
	local tree dir object size
	local objects=(kvm_main.o x86.o svm.o vmx.o)
	tools/testing/vm/modules.sh tree "$kdir/check-hooked"
	tools/testing/vm/modules.sh tree "$kdir/check-pristine" pristine
	for tree in hooked pristine; do
		dir=$kdir/check-$tree
		# __FILE__ must not tell
		kbuild "$dir" n KCFLAGS="-fmacro-prefix-map=$top/$dir=" \
			arch/x86/kvm/{../../../virt/kvm/kvm_main.o,x86.o,svm/svm.o,vmx/vmx.o}
		for object in "$dir"/{virt/kvm/kvm_main,arch/x86/kvm/{x86,svm/svm,vmx/vmx}}.o; do
			# In 7.3 the code refers to this section, which thus cannot be left out
			size=$(objdump -h "$object" | awk '$2 == "__bug_table" { print $3 }')
			head -c $((16#$size)) /dev/zero >"$build/check/bugs"
			objcopy -g --update-section __bug_table="$build/check/bugs" \
				"$object" "$build/check/$tree-${object##*/}"
		done
	done
	for object in "${objects[@]}"; do
		cmp "$build/check"/{hooked,pristine}-"$object"
	done
}

mkdir -p "$build/check"
check 'hooks: few, and next to nothing in arch/' hooks_size
check 'hooks: git am' hooks_git_am
check 'hooks: checkpatch' checkpatch_hooks
check 'source: checkpatch' checkpatch_files
check 'series: checkpatch' checkpatch_series
check 'source: kernel-doc' "$build/linux/scripts/kernel-doc" -none -Werror include/*/*.h include/uapi/linux/*.h \
	drivers/{vhost,virtio}/*.[ch] virt/kvm/ioregionfd/*.[ch] tools/lib/ioregionfd/*.[ch]
check 'source: sparse' sparse
check 'source: sparse, drivers/virtio' sparse_virtio
check 'source: sparse, drivers/vhost' sparse_vhost
check 'source: for other architectures' elsewhere
check 'source: Kconfig' kconfig
check 'source: barriers and litmus tests name each other' tools/testing/vm/litmus.sh lists
check 'source: functions and models name each other' tools/testing/vm/verify.sh lists
check 'models: traces that one does not allow' tools/verification/models/ioregionfd/replay_test.sh
check 'tests: each in a Makefile and in HACKING.md' registered
check 'tests: clauses of virtio, their cases, and the table' tools/testing/vm/conformance.py check
check 'documents: the device task of README.md' shown README.md \
	tools/testing/selftests/kvm/x86_64/readme_device.c
check 'documents: the device process of WRITING.md' shown tools/vmm/WRITING.md \
	tools/vmm/example_device.{h,c}
check 'documents: figures' tools/testing/vm/figures.sh
check 'ABI: numbers, sizes, offsets' abi
check 'syzkaller: descriptions, as the headers are' tools/testing/syzkaller/descriptions.py check \
	"$build/linux/usr/include"
check 'option off: the same code as without the hooks' unchanged
check 'scripts: shellcheck' shellcheck -x .ci/{run,nightly,lib.sh} tools/testing/vm/{*.sh,peers/*.sh,init,run-selftests} \
	tools/testing/mutate/*.sh \
	tools/testing/selftests/{vhost,virtio}/*.sh tools/testing/selftests/*/*/*.sh \
	tools/vmm/{demo.sh,demo-lib.sh,waiting.sh,machine.sh,machine-init,machine-initramfs,guest-init} \
	tools/vmm/tests/{vm.sh,guest-init,bench-vm.sh,bench-init} \
	tools/verification/models/*/*.sh
exit "$failed"
