# SPDX-License-Identifier: GPL-2.0-only
#
# The repository is an overlay on Debian's linux-source-6.12: build/linux is that
# source, with the hooks applied and our files laid over it. "make help". With KERNEL=7.3
# the overlay is on that kernel, and all is built in build/7.3.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
JOBS ?= $(shell nproc)
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(JOBS) --no-print-directory
endif
.SUFFIXES:
.DELETE_ON_ERROR:

vm := tools/testing/vm

KERNEL ?= 6.12
export KERNEL
hooks := hooks/$(KERNEL)
ifeq ($(wildcard $(hooks)/series),)
$(error There are no hooks for KERNEL=$(KERNEL), only $(notdir $(patsubst %/,%,$(wildcard hooks/*/))))
endif
# As lib.sh says
build := $(shell KERNEL=$(KERNEL); . $(vm)/lib.sh; echo $$build)
ifneq ($(KERNEL),6.12)
unported := $(filter-out help deps source hooks tools kvm-selftests kernel vm test shell in-vm-% run% bench check \
	export series clean distclean,$(MAKECMDGOALS))
ifneq ($(unported),)
$(error KERNEL=$(KERNEL) has no "make $(unported)" yet)
endif
endif

help:
	@echo 'make run      boot Debian'\''s kernel with our KVM modules in QEMU, and in it a guest'
	@echo '              whose devices are processes, which are killed while it uses them'
	@echo 'make run-dev     the same with our kernel, which is built first, as the guest: its rings'
	@echo '              are packed and in order'
	@echo 'make run-uart    the same with a small guest whose serial port is another process'
	@echo 'make test     that, our tests, and a comparison with the stock modules'
	@echo 'make test T=  some of them: a machine, or DIRECTORY/NAME, where a * stands for anything,'
	@echo '              as in T=kvm/ioregionfd_signal_test, T='\''vhost/*'\''. The machines are'
	@printf '              %s\n' '$(wordlist 1,6,$(machines))' '$(wordlist 7,99,$(machines) $(user-machines))'
	@echo '              and, with programs of others in guests of our VMM: $(tools-machines)'
	@echo 'make soak     guests whose devices are killed $(KILLS) times; KILLS= for another number'
	@echo 'make test-debug  our tests on a kernel with lockdep and KASAN (up to an hour)'
	@echo 'make test-kcsan  our tests on a kernel that looks for data races'
	@echo 'make test-arm64, make test-riscv64  our tests that are not for x86 alone, on a small'
	@echo '              kernel for that architecture, which QEMU emulates'
	@echo 'make test-upstream  all of upstream'\''s tests of KVM, tun, tap and vsock: do they give the'
	@echo '              same results on our modules as on Debian'\''s? (hours)'
	@echo 'make coverage  which of our lines, and of those of the hooks, no test makes run'
	@echo 'make shell    a shell in the VM where the tests of KVM are; T= as above, for another one;'
	@echo '              QEMU= for more arguments, such as QEMU=-s for gdb'
	@echo 'make kunit    the KUnit tests of the virtqueue core, with kunit.py'
	@echo 'make bench    what an access, a buffer and a block cost in each way: tables, and'
	@echo '              build/bench.json'
	@echo 'make bench-arm64, make bench-riscv64  what an access costs there'
	@echo 'make profile  in which functions the instructions of a packet are that vhost-net sends'
	@echo 'make check    checkpatch, sparse, the hooks, the ABI'
	@echo 'make litmus   our barriers in the memory model of the kernel, with herd7'
	@echo 'make verify   our models of who may do what, and of who sleeps, with spin'
	@echo 'make conformance  which test checks which clause of the virtio specification, with'
	@echo '              the results of the last make test'
	@echo 'make mutants  which changes of our ring code do its tests in user space not notice?'
	@echo 'make fuzz     look for inputs that break a device of the VMM, with libFuzzer; FUZZ_SECONDS='
	@echo '              for each of its harnesses'
	@echo 'make kernel   a small kernel of our own, with our virtqueue core: build/<kernel>-dev'
	@echo 'make modules  kvm.ko, kvm-amd.ko, kvm-intel.ko for the running 6.12 kernel, in'
	@echo '              build/<kernel>/modules. KVER=<kernel>: for another one;'
	@echo '              IOREGIONFD=n: without the option, in .../modules-n'
	@echo 'make tools    libioregionfd and ioregionstat, in build/tools'
	@echo 'make export   patch series for KVM, virtio and vhost, each with a cover letter, in'
	@echo '              build/export'
	@echo 'make series   does each patch of them build by itself? (an hour)'
	@echo 'make source   the patched kernel source, in build/linux'
	@echo 'make kvm-selftests   the tests of KVM, in build/selftests, without running them'
	@echo 'make hooks    the hooks for quilt, in build/hooks'
	@echo 'make deps     install the Debian packages that are always needed. What else a target needs,'
	@echo '              it installs itself'
	@echo 'make clean, make distclean: without, with what was downloaded'
	@echo 'With KERNEL=7.3, test, shell, run, check, bench, kernel, tools, export, series, source,'
	@echo 'kvm-selftests and hooks do that for that kernel, in build/7.3. The machines of its tests'
	@echo 'are those for what is in the kernel, and boot one of our own.'
	@echo 'HACKING.md says how to change and to test what.'

#
# Machines: what boots for the tests. Each is on one host CPU, so they run side by side.
#
machines := machine demo selftests selftests-hard upstream-stock upstream virtio virtio-real vhost vhost-zcopy \
	kselftest peers-dpdk peers-qemu vmm vmm-guests vmm-kill vmm-net
soak-machines := vmm-soak
# Not in "make test", which has no time for it, but in "make soak", and by T=
tools-machines := vmm-tools
# No machines, but in user space of this one, where it is quick
user-machines := ring sanitize
# Those that 7.3 has
ifneq ($(KERNEL),6.12)
machines := selftests selftests-hard upstream-stock upstream virtio virtio-real vhost vhost-zcopy kselftest
user-machines := ring
endif
debug-machines := selftests-debug selftests-hard-debug vhost-debug virtio-debug selftests-fuzz-debug \
	vhost-fuzz-debug
kcsan-machines := selftests-kcsan selftests-hard-kcsan selftests-fuzz-kcsan vhost-kcsan vhost-fuzz-kcsan
coverage-machines := selftests-coverage selftests-hard-coverage vhost-coverage vhost-zcopy-coverage \
	virtio-coverage virtio-real-coverage
# For other architectures
foreign := arm64 riscv64
foreign-machines := $(addprefix selftests-,$(foreign))
# These are compared by pairs
upstream-machines := upstream-all-stock upstream-all upstream-vsock-stock upstream-vsock

# T=MACHINE, or T=DIRECTORY/PATTERN: the kselftests of that directory whose names match
ifneq ($(T),)
machine-kvm := selftests
machine-virtio := virtio-real
machine-vhost := vhost
only := $(if $(findstring /,$(T)),$(subst *,%,$(notdir $(T))))
chosen := $(if $(only),$(machine-$(patsubst %/,%,$(dir $(T)))),$(T))
ifeq ($(filter $(machines) $(tools-machines) $(debug-machines) $(kcsan-machines) $(coverage-machines) \
		$(foreign-machines) $(user-machines),$(chosen)),)
$(error T=$(T) is neither a machine nor a test: see make help)
endif
# these two are compared
ifneq ($(filter upstream%,$(chosen)),)
chosen := upstream-stock upstream
endif
endif
tested := $(or $(chosen),$(machines) $(user-machines))
shell-in := $(or $(lastword $(chosen)),selftests)

# All that will boot
goals := $(MAKECMDGOALS)
booted := $(patsubst in-vm-%,%,$(filter in-vm-%,$(goals))) $(if $(filter test,$(goals)),$(tested)) \
	$(if $(filter shell,$(goals)),$(shell-in)) \
	$(if $(filter soak,$(goals)),$(soak-machines) $(tools-machines)) \
	$(if $(filter test-debug,$(goals)),$(debug-machines)) \
	$(if $(filter test-kcsan,$(goals)),$(kcsan-machines)) \
	$(if $(filter test-upstream,$(goals)),$(upstream-machines)) \
	$(if $(filter coverage,$(goals)),$(coverage-machines)) \
	$(patsubst test-%,selftests-%,$(filter $(addprefix test-,$(foreign)),$(goals)))

# Some names say in which release of Debian they are; gcc-* is what its kernel was built with
debian := $(shell . /etc/os-release && echo $$VERSION_ID)
packages-12 := gcc-12 libelf1 libssl3
packages-13 := gcc-14 libelf1t64 libssl3t64
dpdk-12 := librte-net-virtio23 librte-mempool-ring23
dpdk-13 := librte-net-virtio25 librte-mempool-ring25

qemu-riscv-12 := qemu-system-misc
qemu-riscv-13 := qemu-system-riscv

packages := binutils busybox-static cpio gcc kmod libc6-dev pahole patch perl \
	qemu-system-x86 rsync xz-utils $(packages-$(debian))
# needed GOAL... PACKAGES: those packages, if one of these goals is one, or of these machines
needed = $(if $(filter $1,$(goals) $(booted)),$2)
packages += $(call needed,check export kselftest series,git)
packages += $(call needed,check,bc bison clang flex g++ musl-tools shellcheck sparse \
	$(addprefix gcc-,aarch64-linux-gnu arm-linux-gnueabihf riscv64-linux-gnu s390x-linux-gnu))
packages += $(call needed,kernel run-dev bench kunit series virtio virtio-real kselftest peers-% upstream-vsock% \
	vmm% %-debug %-kcsan %-coverage %-arm64 %-riscv64, \
	bc bison flex libelf-dev libssl-dev)
# If it is a kernel of our own that all machines have
packages += $(if $(filter 6.12,$(KERNEL)),,$(call needed,vm test shell check run% bench in-vm-%,bc bison flex libelf-dev libssl-dev))
packages += $(call needed,check conformance coverage kunit,python3)
packages += $(call needed,verify,spin)
packages += $(call needed,hooks,quilt)
packages += $(call needed,bench,jq valgrind)
packages += $(call needed,peers-% upstream-vsock%,dpdk-dev $(dpdk-$(debian)) liburing-dev)
packages += $(call needed,run run-dev machine peers-% upstream-vsock% profile vmm%,socat)
packages += $(call needed,bench tools selftests% upstream% kselftest kvm-selftests, \
	bpftool clang libbpf-dev libelf-dev libjson-c-dev liburing-dev zlib1g-dev)
packages += $(call needed,virtio% vhost% ring,e2fsprogs fio)
packages += $(call needed,vmm-tools,fio iperf3 nvme-cli)
packages += $(call needed,run run-dev bench machine vmm% sanitize,e2fsprogs liburing-dev libseccomp-dev)
packages += $(call needed,%-arm64,gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm)
packages += $(call needed,%-riscv64,gcc-riscv64-linux-gnu libc6-dev-riscv64-cross opensbi \
	$(qemu-riscv-$(debian)))
packages += $(call needed,fuzz sanitize,clang libclang-rt-dev liburing-dev libseccomp-dev)

deps:
	@$(vm)/debian.sh packages $(sort $(packages))

#
# Which kernel: KVER and DEBVER, its release and the version of its packages
#
ifneq ($(filter modules,$(MAKECMDGOALS)),)
ifeq ($(KVER),)
KVER := $(shell uname -r | grep -xE '$(subst .,\.,$(KERNEL))\.[0-9]+\+deb[0-9]+-amd64')
ifeq ($(KVER),)
$(error The running kernel, $(shell uname -r), is not a Debian $(KERNEL) one: name the one to \
	build for, as in make modules KVER=6.12.117+deb12-amd64)
endif
endif
endif

ifneq ($(filter-out help deps verify conformance clean distclean,$(or $(MAKECMDGOALS),help)),)
include $(build)/kernel-$(or $(KVER),newest).mk
endif

$(build)/kernel-%.mk: | deps
	@mkdir -p $(build)
	@$(vm)/debian.sh suite
	@$(vm)/debian.sh version $(filter-out newest,$*) >$@.new && mv $@.new $@

# What the machines boot: Debian's kernel. Where that cannot be, as the modules of 7.3 cannot be
# built with what Debian 12 has, one of our own that has what the tests need. Its own modules
# are without our option.
machine-kernel := $(if $(filter 6.12,$(KERNEL)),$(KVER),$(firstword $(subst +, ,$(KVER)))-host)
kdir := $(build)/$(machine-kernel)

#
# The source. Laid over it by content, every time: what changes is new, and only that.
#
ours := $(shell find Documentation drivers include virt tools/ioregionstat tools/lib \
	tools/testing/selftests tools/verification -type f '(' ! -name '.*' -o -name .kunitconfig ')' 2>/dev/null)
# Except those that a kernel has no hooks for yet, as its series says
ours := $(filter-out $(shell sed -n 's/^. Without: \(.*\)/\1%/p' $(hooks)/series),$(ours))
hooked := $(build)/linux/.hooked-$(DEBVER)
source := $(build)/linux/.laid
uapi := $(build)/linux/usr/include/.exported

$(hooked): $(wildcard $(hooks)/*.patch $(hooks)/series) $(vm)/debian.sh | deps
	@$(vm)/debian.sh source $(DEBVER)
	@touch $@

$(source): $(hooked) FORCE
	@$(vm)/modules.sh overlay $(ours)

$(uapi): $(source)
	+@. $(vm)/lib.sh && logged headers $(MAKE) -C $(build)/linux headers
	@# Left there, it would make the tree unfit for a build elsewhere
	@rm -rf $(build)/linux/arch/x86/include/generated
	@touch $@

source: $(source)

#
# Stock modules
#
option := $(if $(filter n,$(IOREGIONFD)),n,y)
modules := $(kdir)/modules$(if $(filter n,$(option)),-n)

$(build)/$(KVER)/headers/.unpacked: $(vm)/debian.sh | deps
	@$(vm)/debian.sh headers $(KVER) $(DEBVER) $(@D)
	@touch $@

$(modules)/.built: $(source) $(kdir)/headers/.unpacked \
		$(vm)/modules.sh $(vm)/Kbuild.modules
	+@$(vm)/modules.sh kvm $(machine-kernel) $(option) $(@D)
	@touch $@

# vhost likewise
vhost := $(kdir)/vhost/modules
$(vhost)/.built: $(source) $(kdir)/headers/.unpacked $(vm)/modules.sh $(vm)/Kbuild.vhost
	+@$(vm)/modules.sh vhost $(machine-kernel) $(@D)
	@touch $@

modules: $(modules)/.built $(vhost)/.built

#
# Kernels of our own, by the name of their .config
#
own := $(build)/$(firstword $(subst +, ,$(KVER)))
# For other architectures, one for the tests, and one to measure on
foreign-kernels := $(foreign) $(foreign:%=dev%)
kernels := $(addprefix $(own)-,coverage debug dev host kcsan $(foreign-kernels))

$(kernels:=/image/.built): $(own)-%/image/.built: $(source) $(vm)/kernel.sh $(vm)/%.config | $(uapi)
	+@$(vm)/kernel.sh $(notdir $(own))-$* $(@D) $(filter %.config,$^)
	@touch $@

# All of dev, and more
$(own)-host/image/.built: $(vm)/dev.config

# modules.sh finds here what to build against, as it does for Debian's kernel
$(own)-host/headers/.unpacked: $(own)-host/image/.built
	@mkdir -p $(@D)
	@ln -sfn ../../host $(@D)/build
	@touch $@

$(own)-host/image/.unpacked: $(own)-host/image/.built
	@touch $@

# These check themselves, or are measured, while they run the tests
checking := coverage debug kcsan
$(checking:%=$(own)-%/image/.built): $(addprefix $(vm)/,tests.config rings.config x86.config)
$(foreign:%=$(own)-%/image/.built): $(vm)/tests.config
$(foreign:%=$(own)-dev%/image/.built): $(vm)/measure.config

$(kernels:=/initramfs.cpio): $(own)-%/initramfs.cpio: $(vm)/initramfs.sh $(vm)/init \
		$(own)-%/image/.built
	@$(busybox) $(vm)/initramfs.sh $(notdir $(own))-$* $(own)-$*/image $@

# What is not this machine's has programs and libraries of its own
$(foreign:%=$(own)-%/initramfs.cpio): $(own)-%/initramfs.cpio: build/debian-%/.unpacked
$(foreach a,$(foreign),$(eval $(own)-dev$a/initramfs.cpio: build/debian-$a/.unpacked))
$(foreign-kernels:%=$(own)-%/initramfs.cpio): \
	busybox = BUSYBOX=build/debian-$(patsubst dev%,%,$*)/usr/bin/busybox

build/debian-%/.unpacked: $(vm)/debian.sh | deps
	@$(vm)/debian.sh foreign $* $(@D) busybox-static liburing-dev
	@touch $@

# Has our virtqueue core
dev := $(own)-$(if $(filter 6.12,$(KERNEL)),dev,host)
debug := $(own)-debug
kcsan := $(own)-kcsan
coverage := $(own)-coverage

#
# The VM, and what runs in it
#
$(build)/$(KVER)/image/.unpacked: $(vm)/debian.sh | deps
	@$(vm)/debian.sh image $(KVER) $(DEBVER) $(@D)
	@touch $@

# Which modules, is said here
$(build)/$(KVER)/initramfs.cpio: $(vm)/initramfs.sh $(vm)/init $(build)/$(KVER)/image/.unpacked Makefile
	@$(vm)/initramfs.sh $(KVER) $(@D)/image $@ \
		kvm_amd kvm_intel dummy macvtap tun vhost_net vhost_scsi vhost_vsock virtio_blk

vm: $(kdir)/initramfs.cpio $(modules)/.built

# For machines with guests that live on interrupts
svm-exit := $(kdir)/svm_exit/svm_exit.ko
$(svm-exit): $(wildcard $(vm)/svm_exit/*) $(kdir)/headers/.unpacked $(vm)/modules.sh
	+@$(vm)/modules.sh svm_exit $(machine-kernel) $(@D)

$(addprefix in-vm-,demo machine vmm vmm-guests vmm-kill vmm-net vmm-soak vmm-tools peers-dpdk peers-qemu \
		upstream-vsock-stock upstream-vsock) \
	run-demo run-machine run-machine-dev: $(svm-exit)

demo: $(uapi) $(kdir)/image/.unpacked
	+@. $(vm)/lib.sh && logged vmm $(MAKE) -C tools/vmm O=$(CURDIR)/$(build)/vmm \
		KHDR=$(CURDIR)/$(build)/linux/usr/include
	@mkdir -p $(build)/demo
	@ln -sf ../vmm/{vmm,uart-task,demo.sh,demo-lib.sh,waiting.sh,guest-initrd.cpio} $(build)/demo/
	@ln -sf ../$(machine-kernel)/image/boot/vmlinuz-$(machine-kernel) $(build)/demo/vmlinuz

# As its guests Debian's kernel and ours, which has VIRTIO_F_IN_ORDER
$(build)/machine/.built: guest-kernel = $(kdir)
$(build)/machine/.built: $(kdir)/image/.unpacked
$(build)/machine-dev/.built: guest-kernel = $(dev)
$(build)/machine-dev/.built: $(dev)/image/.built
$(build)/machine/.built $(build)/machine-dev/.built: $(source) $(uapi) $(vhost)/.built $(vm)/peers/bounce.c \
		$(vm)/payload.sh $(vm)/initramfs.sh $(wildcard tools/vmm/* tools/vmm/tests/*) \
		$(wildcard tools/lib/ioregionfd/*)
	+@$(vm)/payload.sh machine $(@D) $(guest-kernel) $(vhost)
	@touch $@

run-machine run-machine-dev run-demo: run-%: vm
	@echo '==> boot Linux $(machine-kernel) with our modules'
	@$(vm)/boot.sh $(vm-options) $* $(kdir) '$(command)'

run: run-machine
run-dev: run-machine-dev
run-uart: run-demo

#
# Tests
#
# kselftests DIRECTORY,VARIABLE[,ARGUMENTS]: their names, from the Makefile that builds them
kselftests = $(patsubst ./%,%,$(shell MAKEFLAGS= $(MAKE) -s -C $(build)/linux/tools/testing/selftests/$1 \
	$3 OUTPUT=. --eval='names: ; @echo $$($2)' names))
kvm-tests = $(call kselftests,kvm,IOREGIONFD_TESTS)
# Where this kernel has those of KVM for x86
x86 = $(shell cd $(build)/linux/tools/testing/selftests/kvm && echo x86*)
virtio-tests = $(call kselftests,virtio,TEST_GEN_PROGS)
vhost-tests = $(call kselftests,vhost,TEST_GEN_PROGS)
# What those of x86 run
kvm-programs = $(addprefix $(x86)/,ioregionstat readme_device)
# Those that race, wait and exhaust have a machine of their own
hard := $(foreach t,interrupt limits native_memory native_segments nomem_access nomem_task nomem_vmm \
	once push recover recover_late requeue restart socket stop, \
	ioregionfd_$t_test %/ioregionfd_$t_test)
upstream = $(patsubst x86_64/%,$(x86)/%,$(shell grep -v '^\#' $(vm)/upstream-tests))

# Those that T= names, of a list; or all
matching = $(strip $(foreach t,$1,$(if $(filter $(only),$(notdir $t)),$t)))
those = $(if $(only),$(or $(call matching,$1),$(error There is no test $(T))),$1)

$(build)/selftests/.built: $(source) $(uapi) $(wildcard tools/lib/ioregionfd/*) \
		$(addprefix $(vm)/,payload.sh run-selftests upstream-tests) \
		tools/verification/models/ioregionfd/replay.awk
	+@$(vm)/payload.sh kvm $(@D) $(kvm-tests) $(kvm-programs) $(upstream)
	+@$(vm)/payload.sh lib $(@D)
	@touch $@

kvm-selftests: $(build)/selftests/.built

in-vm-demo run-demo: demo
in-vm-demo run-demo: vm-options = -i -g -k $(modules) -p $(build)/demo
in-vm-demo run-demo: command = cd /payload && ./demo.sh
in-vm-machine run-machine: $(build)/machine/.built
in-vm-machine run-machine: vm-options = -i -g -c 2 -t 900 -k $(modules) -p $(build)/machine/payload
in-vm-machine run-machine: command = sh /payload/vhost.sh /payload/mod && cd /payload && ./machine.sh
run-machine-dev: $(build)/machine-dev/.built
run-machine-dev: vm-options = -i -g -c 2 -t 900 -k $(modules) -p $(build)/machine-dev/payload
run-machine-dev: command = sh /payload/vhost.sh /payload/mod && cd /payload && \
	./machine.sh --features=packed,in_order
in-vm-selftests in-vm-selftests-hard in-vm-upstream-stock in-vm-upstream: $(build)/selftests/.built
in-vm-selftests in-vm-selftests-hard: vm-options = -t 1500 -k $(modules) -p $(build)/selftests/payload
in-vm-selftests: command = cd /payload && ./run-selftests -t 600 $(call those, \
	$(filter-out $(if $(only),,$(hard)),$(kvm-tests)) libioregionfd/test)
in-vm-selftests-hard: command = cd /payload && ./run-selftests -t 600 $(filter $(hard),$(kvm-tests))
in-vm-upstream-stock: vm-options = -i -m 3G -t 900 -p $(build)/selftests/payload
in-vm-upstream: vm-options = -i -m 3G -t 900 -k $(modules) -p $(build)/selftests/payload
in-vm-upstream-stock in-vm-upstream: command = cd /payload && ./run-selftests $(upstream)

# All of upstream's. Here are the options of those that want more memory or time by default
# than an emulated machine has.
upstream-all = $(filter-out $(kvm-tests),$(call kselftests,kvm,TEST_GEN_PROGS))
small-access_tracking_perf_test := -b 16M
small-demand_paging_test := -b 16M
small-dirty_log_page_splitting_test := -b 16M
small-dirty_log_perf_test := -b 16M
small-dirty_log_test := -i 3
small-kvm_page_table_test := -b 16M
small-max_guest_memory_test := -m 1 -s 1
small-memslot_perf_test := -l 1 -s 512

$(build)/upstream/.built: $(source) $(uapi) $(vm)/payload.sh $(vm)/run-selftests
	+@$(vm)/payload.sh kvm $(@D) $(upstream-all)
	+@$(vm)/payload.sh net $(@D)
	@touch $@

in-vm-upstream-all-stock in-vm-upstream-all: $(build)/upstream/.built
in-vm-upstream-all-stock: vm-options = -i -c 2 -m 3G -t 20000 -p $(build)/upstream/payload
in-vm-upstream-all: vm-options = -i -c 2 -m 3G -t 20000 -k $(modules) -p $(build)/upstream/payload
# dirty_log_page_splitting_test wants huge pages; hardware_disable_test makes 200,000 threads, and
# kvm_create_max_vcpus makes 4,096 vCPUs twice
in-vm-upstream-all-stock in-vm-upstream-all: command = modprobe -a dummy macvtap tun && \
	echo 64 >/proc/sys/vm/nr_hugepages && cd /payload && ./run-selftests -t 4000 \
	$(foreach t,$(upstream-all) net/tun net/tap,"$(strip $t $(small-$(notdir $t)))")

# The virtqueue core, in a kernel of our own: alone, and with real drivers and devices
$(build)/virtio/.built: $(source) $(uapi) $(vm)/payload.sh $(vm)/run-selftests
	+@$(vm)/payload.sh virtio $(@D)
	@touch $@

in-vm-virtio in-vm-virtio-real: $(build)/virtio/.built $(dev)/initramfs.cpio
in-vm-virtio in-vm-virtio-real: machine = $(dev)
in-vm-virtio: vm-options = -c 1 -t 1200 -p $(build)/virtio/payload
in-vm-virtio: command = cd /payload && ./run-selftests -t 900 kunit.sh
in-vm-virtio-real: vm-options = -m 2G -t 1200 -p $(build)/virtio/payload \
	-q "$$(cat $(build)/virtio/devices.arguments)"
in-vm-virtio-real: command = cd /payload && ./run-selftests -t 600 $(call those,$(virtio-tests))

# vhost, with rings of user space, and upstream's tests of it
$(build)/vhost/.built: $(vhost)/.built $(build)/virtio/.built $(vm)/payload.sh
	+@$(vm)/payload.sh vhost $(@D) $(vhost) $(build)/virtio/payload
	@touch $@

# The fuzzer has machines of its own, and runs here only if it is named
vhost-here = $(if $(only),$(vhost-tests),$(filter-out vhost_fuzz_test,$(vhost-tests)))
vhost-command = cd /payload && sh vhost.sh . && ./run-selftests -t 900 \
	$(call those,$(vhost-here)) $(if $(only),,"upstream/upstream.sh upstream vhost")
in-vm-vhost in-vm-vhost-zcopy: $(build)/vhost/.built
in-vm-vhost in-vm-vhost-zcopy: vm-options = -c 1 -t 2400 -p $(build)/vhost/payload
in-vm-vhost: command = $(vhost-command)
# vhost-net, which sends without a copy here, unless the driver wants its buffers back in order
vhost-zcopy-command = cd /payload && sh vhost.sh . experimental_zcopytx=1 && \
	./run-selftests -t 900 $(filter vhost_net% vhost_setup%,$(vhost-tests))
in-vm-vhost-zcopy: command = $(vhost-zcopy-command)

# The kselftests as everybody has them who applies the exported series
$(build)/kselftest/.built: $(build)/export/.built $(vm)/payload.sh
	+@$(vm)/payload.sh kselftest $(@D)
	@touch $@

in-vm-kselftest: $(build)/kselftest/.built $(dev)/initramfs.cpio $(dev)/modules/.built
in-vm-kselftest: machine = $(dev)
in-vm-kselftest: vm-options = -t 600 -k $(dev)/modules -p $(build)/kselftest/payload
# One kind of virtqueue is enough here. Results are marked as a comment of the collection's.
in-vm-kselftest: command = modprobe vhost_vsock && cd /payload && set -o pipefail && \
	export KSELFTEST_VDUSE_NET_TEST_ARGS="-v packed_in_order" && \
	export KSELFTEST_VHOST_VSOCK_TEST_ARGS="-v packed_in_order" && \
	export KSELFTEST_VHOST_VSOCK_PAUSE_TEST_ARGS="-v packed_in_order" && \
	./run_kselftest.sh -t kvm:ioregionfd_args_test -t virtio:vduse_net_test \
		-t vhost:vhost_vsock_test -t vhost:vhost_vsock_pause_test | \
		sed "/^\# selftests: /!s/^\# //"

# vhost and those who use it elsewhere
$(build)/peers/.built: $(vhost)/.built $(dev)/initramfs.cpio $(vm)/payload.sh $(vm)/run-selftests \
		$(wildcard $(vm)/peers/*)
	@$(vm)/payload.sh peers $(@D) $(vhost) $(dev)
	@touch $@

in-vm-peers-dpdk in-vm-peers-qemu: $(build)/peers/.built
in-vm-peers-dpdk in-vm-peers-qemu: vm-options = -i -g -c 2 -m 1500M -t 900 -p $(build)/peers/payload
in-vm-peers-dpdk: command = sh /payload/vhost.sh /payload/mod && cd /payload && \
	./run-selftests -t 800 dpdk.sh
in-vm-peers-qemu: command = sh /payload/vhost.sh /payload/mod && cd /payload && \
	./run-selftests -t 800 qemu.sh

# Upstream's tests of vsock likewise, with vhost and a guest on each side
in-vm-upstream-vsock-stock in-vm-upstream-vsock: $(build)/peers/.built
in-vm-upstream-vsock-stock: vm-options = -i -g -c 2 -m 1500M -t 3000 -p $(build)/peers/payload
in-vm-upstream-vsock: vm-options = -i -g -c 2 -m 1500M -t 3000 -k $(modules) -p $(build)/peers/payload
in-vm-upstream-vsock-stock: command = modprobe -a tun vhost_net vhost_vsock && cd /payload && \
	./run-selftests -t 2500 "qemu.sh upstream"
in-vm-upstream-vsock: command = sh /payload/vhost.sh /payload/mod && cd /payload && \
	./run-selftests -t 2500 "qemu.sh upstream"

# Our own VMM, with devices that are other processes: their tests without KVM, and guests
$(build)/devices/.built: $(source) $(uapi) $(kdir)/image/.unpacked $(dev)/initramfs.cpio $(vhost)/.built \
		$(vm)/peers/bounce.c $(vm)/payload.sh $(vm)/run-selftests $(vm)/initramfs.sh $(wildcard tools/vmm/* tools/vmm/tests/*) \
		$(wildcard tools/lib/ioregionfd/*)
	+@$(vm)/payload.sh vmm $(@D) $(kdir) $(dev) $(vhost)
	@touch $@

in-vm-vmm in-vm-vmm-guests in-vm-vmm-kill in-vm-vmm-net in-vm-vmm-soak: $(build)/devices/.built
in-vm-vmm in-vm-vmm-guests in-vm-vmm-kill in-vm-vmm-net: vm-options = -i -g -c 2 -m 1500M -t 2400 -k $(modules) \
	-p $(build)/devices/payload
in-vm-vmm: command = cd /payload && export NONSENSE_ACCESSES=20000 && \
	./run-selftests -t 2000 $(addprefix tests/, confine_test supervise_test virtqueue_test \
	virtio_mmio_test virtio_blk_test posted_test nvme_test nvme_kill_test pci_test \
	vmm_nvme_test vmm_vhost_test example_device_test nonsense_test)
in-vm-vmm-guests: command = cd /payload && ./run-selftests -t 2000 \
	"vm.sh upgrade crash_loop killed nvme_stopped nvme_crash_loop"
in-vm-vmm-kill: command = cd /payload && export KILLS=10 && ./run-selftests -t 2000 \
	"vm.sh split packed_in_order socket nvme_cpus"

in-vm-vmm-net: command = sh /payload/vhost.sh /payload/mod && cd /payload && export KILLS=10 && \
	./run-selftests -t 2000 "vm.sh net_packed_in_order net_upgrade vsock_split vsock_crash_loop"

# In each layout, each way of dispatch and of waiting, with hardware virtualization where there is
KILLS ?= 5000
in-vm-vmm-soak: vm-options = -g -c 2 -m 1500M -t 86400 -k $(modules) -p $(build)/devices/payload
in-vm-vmm-soak: command = sh /payload/vhost.sh /payload/mod && cd /payload && export KILLS=$(KILLS) && \
	./run-selftests -t 86400 "vm.sh split packed in_order packed_in_order forward socket \
	nvme nvme_cpus nvme_sleep nvme_poll net_split net_packed net_in_order net_packed_in_order \
	net_forward net_upgrade net_crash_loop vsock_split vsock_packed vsock_in_order \
	vsock_packed_in_order vsock_upgrade vsock_crash_loop upgrade stopped crash_loop killed same \
	nvme_upgrade nvme_stopped nvme_crash_loop" tests/nonsense_test

# With programs of others; and several CPUs, and several VMs. tools-cases= for some of them only
tools-cases = two two_net two_killed fio_split fio_packed fio_in_order fio_packed_in_order fio_nvme \
	nvme_cli nvme_cli_kills iperf iperf_packed_in_order vsock_upstream vsock_upstream_kills
$(build)/vmm-tools/.built: $(build)/devices/.built
	+@$(vm)/payload.sh vmm-tools $(@D) $(build)/devices
	@touch $@

# As often as in "make test", if not told otherwise
told = $(if $(findstring command line,$(origin KILLS)),$1,$2)
in-vm-vmm-tools: $(build)/vmm-tools/.built
in-vm-vmm-tools: vm-options = -i -g -c 2 -m 1500M -t $(call told,86400,14400) -k $(modules) \
	-p $(build)/vmm-tools/payload
in-vm-vmm-tools: command = sh /payload/vhost.sh /payload/mod && cd /payload && \
	export KILLS=$(call told,$(KILLS),10) && \
	./run-selftests -t $(call told,80000,10000) "vm.sh $(tools-cases)"

soak:
	@$(call not-booted,$(soak-machines) $(tools-machines))
	+@$(MAKE) -k KILLS=$(KILLS) $(addprefix in-vm-,$(soak-machines) $(tools-machines)) || true
	@$(call counted,$(soak-machines) $(tools-machines))

# All states of small rings, and upstream's tests
in-vm-ring: $(build)/virtio/.built
in-vm-ring: payload = $(build)/virtio/payload
in-vm-ring: programs = ring/ring_enum ring/ring_kani ring/vhost_enum ring/vhost_kani 'ring/upstream.sh ring vringh'

# The VMM's devices built with sanitizers: a million accesses, if the kernel has what they confine
# themselves with, and the inputs that their harnesses have kept
$(build)/fuzz/.built: $(source) $(uapi) $(vm)/payload.sh $(vm)/run-selftests \
		$(wildcard tools/vmm/* tools/vmm/tests/* tools/vmm/fuzz/* tools/vmm/fuzz/corpus/*/*) \
		$(wildcard tools/lib/ioregionfd/*)
	+@$(vm)/payload.sh fuzz $(@D)
	@touch $@

in-vm-sanitize: $(build)/fuzz/.built
in-vm-sanitize: payload = $(build)/fuzz/payload
in-vm-sanitize: programs = tests/confine_test tests/nonsense_test \
	$(foreach harness,$(notdir $(wildcard tools/vmm/fuzz/corpus/*)),'$(harness)_fuzz corpus/$(harness)/*')

$(addprefix in-vm-,$(user-machines)): in-vm-%:
	@mkdir -p $(build)/vm/$*
	@(cd $(payload) && ./run-selftests -t 600 $(programs)) 2>&1 </dev/null | \
		tee $(build)/vm/$*/console | sed -u 's/^/[$*] /'
	@echo ok >$(build)/vm/$*/verdict

$(addprefix in-vm-,$(machines) $(soak-machines) $(tools-machines) $(upstream-machines)): machine ?= $(kdir)
$(addprefix in-vm-,$(machines) $(soak-machines) $(tools-machines) $(upstream-machines)): vm
$(addprefix in-vm-,$(machines) $(soak-machines) $(tools-machines) $(upstream-machines) $(debug-machines) $(kcsan-machines) \
		$(coverage-machines) $(foreign-machines)): in-vm-%:
ifeq ($(interactive),)
	@$(vm)/boot.sh $(vm-options) $* $(machine) '$(command)' 2>&1 </dev/null | \
		sed -u '/^gcov: begin/,/^gcov: end/d; s/^/[$*] /'
else
	@$(vm)/boot.sh $(vm-options) -x -q '$(QEMU)' shell $(machine) '$(command)'
endif

# not-booted MACHINE...: what is counted of those that do not come as far
not-booted = for m in $1; do rm -rf $(build)/vm/$$m; mkdir -p $(build)/vm/$$m; touch $(build)/vm/$$m/console; \
	echo 'did not boot' >$(build)/vm/$$m/verdict; done

# counted MACHINE...: the summary
counted = awk -f $(vm)/count.awk $(foreach m,$1,$(build)/vm/$m/console $(build)/vm/$m/verdict)

# What the machines run, as far as all of them are booted
payloads = selftests virtio vhost kselftest $(if $(filter machine,$(machines)),machine peers devices fuzz)

test: $(if $(T),,vm $(filter demo,$(machines)) $(payloads:%=$(build)/%/.built) \
		$(dev)/initramfs.cpio $(dev)/modules/.built)
	@$(call not-booted,$(tested))
	@echo '==> boot Linux $(machine-kernel) and $(notdir $(dev)): $(tested)'
	+@$(MAKE) -k $(addprefix in-vm-,$(tested)) || true
	@$(call counted,$(tested))

# upstream-machines= for some of them only
test-upstream: vm
	@$(call not-booted,$(upstream-machines))
	@echo '==> boot Linux $(machine-kernel): $(upstream-machines)'
	+@$(MAKE) -k $(addprefix in-vm-,$(upstream-machines)) || true
	@$(call counted,$(upstream-machines))

# A shell, where the tests would run
shell:
	+@$(MAKE) in-vm-$(shell-in) interactive=y

kunit: $(source)
	@MAKEFLAGS= $(build)/linux/tools/testing/kunit/kunit.py run --arch=x86_64 --jobs=$(JOBS) --timeout=900 \
		--build_dir=$(CURDIR)/$(build)/kunit --kunitconfig=drivers/virtio $(KUNIT)

kernel: $(own)-dev/initramfs.cpio

#
# The tests once more, on a kernel that watches itself
#
$(checking:%=$(own)-%/vhost/modules/.built): $(own)-%/vhost/modules/.built: \
		$(own)-%/image/.built $(vm)/modules.sh $(vm)/Kbuild.vhost
	@mkdir -p $(own)-$*/headers
	@ln -sfn ../../$* $(own)-$*/headers/build
	+@$(vm)/modules.sh vhost $(notdir $(own))-$* $(@D)
	@touch $@

$(checking:%=$(build)/vhost-%/.built): $(build)/vhost-%/.built: \
		$(own)-%/vhost/modules/.built $(build)/virtio/.built $(vm)/payload.sh
	+@$(vm)/payload.sh vhost $(@D) $(own)-$*/vhost/modules $(build)/virtio/payload
	@touch $@

# Slower, so all has more time, by a clock that does not run on while others have the CPU,
# and there is less of what is random: KSELFTEST_SLOWNESS.
# What the vCPUs did is held against a model: run-selftests -r.
# The fuzzers have machines of their own.
debug-tests = $(filter-out %/ioregionfd_fuzz_test,$(kvm-tests)) libioregionfd/test
# Those that debug-tests= names are all in the first machine
hard-here = $(if $(filter file,$(origin debug-tests)),$(hard))
in-vm-selftests-debug in-vm-selftests-kcsan in-vm-selftests-coverage: \
	tests = $(filter-out $(hard-here),$(debug-tests))
in-vm-selftests-hard-debug in-vm-selftests-hard-kcsan in-vm-selftests-hard-coverage: \
	tests = $(filter $(hard-here),$(debug-tests))
slow-vhost-command = export KSELFTEST_SLOWNESS=10 && $(subst -t 900,-t 3000,$(vhost-command))
in-vm-selftests-debug in-vm-selftests-hard-debug in-vm-selftests-kcsan in-vm-selftests-hard-kcsan \
	in-vm-selftests-coverage in-vm-selftests-hard-coverage: $(build)/selftests/.built
in-vm-selftests-debug in-vm-selftests-hard-debug: command = export KSELFTEST_SLOWNESS=5 && \
	cd /payload && ./run-selftests -r -t 1500 $(tests)
in-vm-selftests-debug in-vm-selftests-hard-debug: vm-options = -i -c 2 -m 2G -t 7000 \
	-p $(build)/selftests/payload
in-vm-virtio-debug: $(build)/virtio/.built
in-vm-virtio-debug: vm-options = -i -m 2G -t 3000 -p $(build)/virtio/payload
in-vm-virtio-debug: command = cd /payload && ./run-selftests -t 2000 "kunit.sh buffers=20000"
in-vm-vhost-debug: $(build)/vhost-debug/.built
in-vm-vhost-debug: vm-options = -i -m 2G -t 10000 -p $(build)/vhost-debug/payload
in-vm-vhost-debug: command = $(slow-vhost-command)

# The fuzzers do what they do for so many seconds of a clock that all machines share
FUZZ_SECONDS ?= 600
fuzz-time = $(shell echo $$(($(FUZZ_SECONDS) + 2700)))
in-vm-selftests-fuzz-debug in-vm-selftests-fuzz-kcsan: $(build)/selftests/.built
in-vm-selftests-fuzz-debug in-vm-selftests-fuzz-kcsan: vm-options = -c 2 -m 2G -t $(fuzz-time) \
	-p $(build)/selftests/payload
in-vm-selftests-fuzz-debug in-vm-selftests-fuzz-kcsan: command = cd /payload && \
	export KSELFTEST_SLOWNESS=5 IOREGIONFD_FUZZ_SECONDS=$(FUZZ_SECONDS) && \
	./run-selftests -t $(fuzz-time) x86_64/ioregionfd_fuzz_test $(kcsan-count)
in-vm-vhost-fuzz-debug: $(build)/vhost-debug/.built
in-vm-vhost-fuzz-kcsan: $(build)/vhost-kcsan/.built
in-vm-vhost-fuzz-debug in-vm-vhost-fuzz-kcsan: vm-options = -c 2 -m 2G -t $(fuzz-time) \
	-p $(build)/$(patsubst vhost-fuzz-%,vhost-%,$*)/payload
in-vm-vhost-fuzz-debug in-vm-vhost-fuzz-kcsan: command = cd /payload && sh vhost.sh . && \
	export KSELFTEST_SLOWNESS=10 VHOST_FUZZ_SECONDS=$(FUZZ_SECONDS) && \
	./run-selftests -t $(fuzz-time) vhost_fuzz_test $(kcsan-count)
$(addprefix in-vm-,$(kcsan-machines)): kcsan-count = && cat /sys/kernel/debug/kcsan

$(addprefix in-vm-,$(debug-machines)): machine = $(debug)
$(addprefix in-vm-,$(debug-machines)): $(debug)/initramfs.cpio

# debug-machines=, debug-tests= for some of them only
test-debug: $(debug)/initramfs.cpio
	@$(call not-booted,$(debug-machines))
	@echo '==> boot Linux $(notdir $(debug)): $(debug-machines)'
	+@$(MAKE) -k $(addprefix in-vm-,$(debug-machines)) || true
	@$(call counted,$(debug-machines))

# Where there are guests the CPUs take turns, see boot.sh. That shows KCSAN enough: while it
# watches an access it waits, and a CPU that waits lets the next one run.
in-vm-selftests-kcsan in-vm-selftests-hard-kcsan: vm-options = -i -c 2 -m 2G -t 10000 \
	-p $(build)/selftests/payload
in-vm-selftests-kcsan in-vm-selftests-hard-kcsan: command = export KSELFTEST_SLOWNESS=5 && \
	cd /payload && ./run-selftests -t 3000 $(tests) $(kcsan-count)
in-vm-vhost-kcsan: $(build)/vhost-kcsan/.built
in-vm-vhost-kcsan: vm-options = -j -m 2G -t 6000 -p $(build)/vhost-kcsan/payload
in-vm-vhost-kcsan: command = $(slow-vhost-command) $(kcsan-count)

$(addprefix in-vm-,$(kcsan-machines)): machine = $(kcsan)
$(addprefix in-vm-,$(kcsan-machines)): $(kcsan)/initramfs.cpio

test-kcsan: $(kcsan)/initramfs.cpio
	@$(call not-booted,$(kcsan-machines))
	@echo '==> boot Linux $(notdir $(kcsan)): $(kcsan-machines)'
	+@$(MAKE) -k $(addprefix in-vm-,$(filter selftests%,$(kcsan-machines))) || true
	+@$(MAKE) -k $(addprefix in-vm-,$(filter-out selftests%,$(kcsan-machines))) || true
	@$(vm)/kcsan.sh $(kcsan) $(build)/kcsan $(kcsan-machines)
	@$(call counted,$(kcsan-machines))

# gcov's counters are what is left of these machines. In /sys they have no size.
gcov-data = status=$$?; cd /sys/kernel/debug/gcov && find . -name "*.gcda" | while read -r file; do \
	mkdir -p "/tmp/gcov/$${file%/*}" && cat "$$file" >"/tmp/gcov/$$file"; done; \
	echo "gcov: begin"; tar -C /tmp/gcov -cz . | base64; echo "gcov: end"; exit $$status
in-vm-selftests-coverage in-vm-selftests-hard-coverage: vm-options = -m 2G -t 7000 \
	-p $(build)/selftests/payload
in-vm-selftests-coverage in-vm-selftests-hard-coverage: command = cd /payload && \
	./run-selftests -t 4000 $(tests); $(gcov-data)
in-vm-virtio-coverage: $(build)/virtio/.built
in-vm-virtio-coverage: vm-options = -i -m 2G -t 3000 -p $(build)/virtio/payload
in-vm-virtio-coverage: command = cd /payload && ./run-selftests -t 2000 "kunit.sh buffers=20000"; $(gcov-data)
in-vm-virtio-real-coverage: $(build)/virtio/.built
in-vm-virtio-real-coverage: vm-options = -i -m 2G -t 3000 -p $(build)/virtio/payload \
	-q "$$(cat $(build)/virtio/devices.arguments)"
in-vm-virtio-real-coverage: command = cd /payload && ./run-selftests -t 2000 $(virtio-tests); $(gcov-data)
in-vm-vhost-coverage in-vm-vhost-zcopy-coverage: $(build)/vhost-coverage/.built
in-vm-vhost-coverage in-vm-vhost-zcopy-coverage: vm-options = -i -m 2G -t 10000 \
	-p $(build)/vhost-coverage/payload
in-vm-vhost-coverage: command = $(subst -t 900,-t 3000,$(vhost-command)); $(gcov-data)
in-vm-vhost-zcopy-coverage: command = $(subst -t 900,-t 3000,$(vhost-zcopy-command)); $(gcov-data)

$(addprefix in-vm-,$(coverage-machines)): machine = $(coverage)
$(addprefix in-vm-,$(coverage-machines)): $(coverage)/initramfs.cpio

# coverage-machines=, debug-tests= for some of them only
coverage: $(coverage)/initramfs.cpio
	@$(call not-booted,$(coverage-machines))
	@echo '==> boot Linux $(notdir $(coverage)): $(coverage-machines)'
	+@$(MAKE) -k $(addprefix in-vm-,$(coverage-machines)) || true
	@status=0; $(vm)/coverage.py $(coverage-machines) || status=1; \
	$(call counted,$(coverage-machines)) && exit $$status

#
# Those of our tests that are for all architectures, on the others
#
# of-ARCH: for make, in a directory of the kernel's tree
of-arm64 := ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-
of-riscv64 := ARCH=riscv CROSS_COMPILE=riscv64-linux-gnu-
foreign-tests = $(call kselftests,kvm,IOREGIONFD_TESTS,$(of-$1) \
	EXTRA_CFLAGS="-isystem $(CURDIR)/build/debian-$1/usr/include")

$(foreign:%=$(build)/selftests-%/.built): $(build)/selftests-%/.built: $(own)-%/initramfs.cpio \
		$(addprefix $(vm)/,payload.sh run-selftests)
	+@$(vm)/payload.sh kvm $(@D) $(call foreign-tests,$*)
	+@$(vm)/payload.sh rings $(@D)
	@touch $@

$(foreach a,$(foreign),$(eval in-vm-selftests-$a: $(build)/selftests-$a/.built))
$(addprefix in-vm-,$(foreign-machines)): machine = $(own)-$(patsubst in-vm-selftests-%,%,$@)
# By a clock that does not run on while others have the CPU, or side by side where boot.sh has
# that clock for one CPU only: there are tests that need two. How many seconds a test may take
# is by the same clock.
clock-arm64 := -i
clock-riscv64 := -j
limit-arm64 := 900
limit-riscv64 := 3600
$(addprefix in-vm-,$(foreign-machines)): vm-options = $(clock-$(patsubst in-vm-selftests-%,%,$@)) \
	-c 2 -t 7000 \
	-p $(build)/$(patsubst in-vm-%,%,$@)/payload
$(addprefix in-vm-,$(foreign-machines)): command = export KSELFTEST_SLOWNESS=5 && cd /payload && \
	./run-selftests -t $(limit-$(patsubst in-vm-selftests-%,%,$@)) \
	$(call those,$(call foreign-tests,$(patsubst in-vm-selftests-%,%,$@))) \
	$(if $(only),,ring/ring_enum ring/ring_kani ring/vhost_enum ring/vhost_kani \
	"ring/upstream.sh ring vringh")

$(addprefix test-,$(foreign)): test-%: $(build)/selftests-%/.built
	@$(call not-booted,selftests-$*)
	@echo '==> boot Linux $(notdir $(own))-$*: selftests-$*'
	+@$(MAKE) in-vm-selftests-$* || true
	@$(call counted,selftests-$*)

#
# What an access costs
#
# modules.sh finds here what to build against, as it does for Debian's kernel
$(own)-dev/modules/.built: $(own)-dev/image/.built \
		$(vm)/modules.sh $(vm)/Kbuild.modules
	@mkdir -p $(own)-dev/headers
	@ln -sfn ../../dev $(own)-dev/headers/build
	+@$(vm)/modules.sh kvm $(notdir $(own))-dev y $(@D)
	@touch $@

$(build)/bench/.built: $(source) $(uapi) $(vm)/payload.sh
	+@$(vm)/payload.sh kvm $(@D) ioregionfd_perf
	@touch $@

$(build)/bench/vhost/.built: $(vhost)/.built $(uapi) $(vm)/payload.sh
	+@$(vm)/payload.sh vhost-bench $(@D) $(vhost) $(machine-kernel)
	@touch $@

$(build)/bench/vmm/.built: $(source) $(uapi) $(kdir)/image/.unpacked $(vm)/payload.sh $(vm)/initramfs.sh \
		$(wildcard tools/vmm/* tools/vmm/tests/*) $(wildcard tools/lib/ioregionfd/*)
	+@$(vm)/payload.sh vmm-bench $(@D) $(kdir)
	@touch $@

bench: vm $(own)-dev/initramfs.cpio $(own)-dev/modules/.built $(svm-exit) \
		$(addsuffix /.built,$(build)/bench $(addprefix $(build)/bench/,vhost vmm))
	@$(vm)/bench.sh $(own)-dev $(kdir)

$(foreign:%=$(build)/bench-%/.built): $(build)/bench-%/.built: $(own)-dev%/initramfs.cpio $(vm)/payload.sh
	+@$(vm)/payload.sh kvm $(@D) ioregionfd_perf
	@touch $@

$(addprefix bench-,$(foreign)): bench-%: $(build)/bench-%/.built
	@$(vm)/bench.sh $(own)-dev$* $(<D)/payload $*

# Where the instructions of a packet go
profile: vm $(build)/bench/vhost/.built
	@$(vm)/vhost-profile.sh $(kdir) $(build)/bench/vhost/payload

tools: $(uapi)
	+@. $(vm)/lib.sh && logged libioregionfd $(MAKE) -C tools/lib/ioregionfd \
		O=$(CURDIR)/$(build)/tools/libioregionfd KHDR=$(CURDIR)/$(build)/linux/usr/include all
	+@. $(vm)/lib.sh && logged ioregionstat $(MAKE) -C tools/ioregionstat \
		O=$(CURDIR)/$(build)/tools/ioregionstat
	@. $(vm)/lib.sh && say 'libioregionfd, ioregionstat in $(build)/tools'

check: $(uapi) $(kdir)/headers/.unpacked export
	+@$(vm)/check.sh $(kdir)

litmus: $(source)
	@$(vm)/litmus.sh run

# Needs no kernel
verify: deps
	@$(vm)/verify.sh run

conformance: | deps
	@$(vm)/conformance.py document
	@$(vm)/conformance.py results $(wildcard $(patsubst %,$(build)/vm/%/console,$(machines) $(user-machines)))

# What has been found is looked at again the next time
fuzz: $(uapi)
	+@$(MAKE) -C tools/vmm/fuzz O=$(CURDIR)/$(build)/fuzz KHDR=$(CURDIR)/$(build)/linux/usr/include fuzz

# Hours; what has been run is not run again
mutants: $(source) $(uapi)
	@nice -n 19 tools/testing/mutate/mutate.sh vhost
	@nice -n 19 tools/testing/mutate/mutate.sh virtio

# A file, so that it is made once for all who need it: it begins with the removal of the last one
$(build)/export/.built: $(source) $(vm)/export.sh $(wildcard hooks/letters/* hooks/files/*)
	@$(vm)/export.sh
	@touch $@

export: $(build)/export/.built

series: export
	+@$(vm)/series.sh

# The files that the hooks change, with all hooks applied by quilt: what it refreshes there is
# the patch in hooks/
hooks: $(hooked)
	@rm -rf $(build)/hooks
	@mkdir -p $(build)/hooks
	@cp -r $(build)/pristine/. $(build)/hooks/
	@ln -s $(CURDIR)/$(hooks) $(build)/hooks/patches
	@cd $(build)/hooks && quilt --quiltrc $(CURDIR)/hooks/quiltrc push -aq

FORCE:

clean:
	@find build -mindepth 1 -maxdepth 1 ! -name debs -exec rm -rf {} + 2>/dev/null || true

distclean:
	@rm -rf build

.PHONY: FORCE help deps source modules kvm-selftests vm demo run run-dev run-uart kernel test soak test-debug \
	test-kcsan test-upstream coverage shell kunit bench profile tools check litmus verify conformance fuzz mutants export series \
	hooks clean distclean \
	$(addprefix in-vm-,$(machines) $(user-machines) $(soak-machines) $(tools-machines) $(upstream-machines) $(debug-machines) $(kcsan-machines) \
		$(coverage-machines) $(foreign-machines)) $(foreach a,$(foreign),test-$a bench-$a)
