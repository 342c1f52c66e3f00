// SPDX-License-Identifier: GPL-2.0-only
#include "vm.h"

#include <asm/kvm_para.h>
#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "device.h"

/* The GDT that the 64-bit boot protocol of Linux asks for. */
#define GDT_CODE		2	/* selector 0x10 */
#define GDT_DATA		3	/* selector 0x18 */
#define GDT_ENTRIES		4

#define PTE_PRESENT		0x1ULL
#define PTE_WRITABLE		0x2ULL
#define PTE_LARGE		0x80ULL
#define PAGE			4096UL
#define LARGE_PAGE		(2UL << 20)
#define PAGE_DIRECTORIES	4UL	/* 1 GiB each */

#define CR0_PE			0x1ULL
#define CR0_ET			0x10ULL
#define CR0_NE			0x20ULL
#define CR0_PG			0x80000000ULL
#define CR4_PAE			0x20ULL
#define EFER_LME		0x100ULL
#define EFER_LMA		0x400ULL

#define CPUID_ENTRIES		256

static void open_kvm(struct vm *vm)
{
	int version;

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		err(EXIT_FAILURE, "cannot open /dev/kvm");
	version = MUST_IOCTL(vm->kvm_fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		errx(EXIT_FAILURE, "KVM has API version %d, not %d", version,
		     KVM_API_VERSION);

	/* Descriptors that KVM makes are close-on-exec without being asked. */
	vm->fd = MUST_IOCTL(vm->kvm_fd, KVM_CREATE_VM, 0);
}

static void add_ram(struct vm *vm, size_t size)
{
	struct kvm_userspace_memory_region region = { 0 };

	vm->ram_size = size;
	vm->ram_fd = device_create_memory("guest memory", size);
	if (vm->ram_fd < 0)
		errx(EXIT_FAILURE, "cannot allocate %zu MiB for the guest: %s", size >> 20,
		     strerror(-vm->ram_fd));
	vm->ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->ram_fd, 0);
	if (vm->ram == MAP_FAILED)
		err(EXIT_FAILURE, "cannot map the memory of the guest");
	/* A device task gets it only if it is given the descriptor. */
	if (madvise(vm->ram, size, MADV_DONTFORK))
		err(EXIT_FAILURE, "madvise(MADV_DONTFORK)");
	/* Fewer faults; a kernel without huge pages refuses, which is fine. */
	madvise(vm->ram, size, MADV_HUGEPAGE);

	region.memory_size = size;
	region.userspace_addr = (uintptr_t)vm->ram;
	MUST_IOCTL(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static void add_route(struct kvm_irq_routing *table, unsigned int gsi,
		      unsigned int chip, unsigned int pin)
{
	struct kvm_irq_routing_entry *entry = &table->entries[table->nr++];

	entry->gsi = gsi;
	entry->type = KVM_IRQ_ROUTING_IRQCHIP;
	entry->u.irqchip.irqchip = chip;
	entry->u.irqchip.pin = pin;
}

static void add_message(struct kvm_irq_routing *table, unsigned int gsi,
			const struct msi_message *message)
{
	struct kvm_irq_routing_entry *entry = &table->entries[table->nr++];

	entry->gsi = gsi;
	entry->type = KVM_IRQ_ROUTING_MSI;
	entry->u.msi.address_lo = message->addr;
	entry->u.msi.address_hi = message->addr >> 32;
	entry->u.msi.data = message->data;
}

/*
 * GSIs 0 to 15 are the ISA interrupts: each goes to the PICs and to the pin of
 * the IOAPIC with its number. Only the timer is on pin 2 of the IOAPIC, as in
 * every PC; IRQ 2 is the cascade of the PICs and comes from nowhere.
 */
static void route_interrupts(struct vm *vm)
{
	size_t entries = 16 + KVM_IOAPIC_NUM_PINS + MAX_MSI;
	struct kvm_irq_routing *table;
	unsigned int i;

	table = calloc(1, sizeof(*table) + entries * sizeof(*table->entries));
	if (!table)
		err(EXIT_FAILURE, "calloc");
	for (i = 0; i < 16; i++) {
		if (i == 2)
			continue;
		if (i < 8)
			add_route(table, i, KVM_IRQCHIP_PIC_MASTER, i);
		else
			add_route(table, i, KVM_IRQCHIP_PIC_SLAVE, i - 8);
	}
	for (i = 0; i < KVM_IOAPIC_NUM_PINS; i++) {
		if (i == 2)
			continue;
		add_route(table, i, KVM_IRQCHIP_IOAPIC, i ? i : TIMER_GSI);
	}
	for (i = 0; i < MAX_MSI; i++) {
		if (vm->msi[i].addr)
			add_message(table, MSI_GSI + i, &vm->msi[i]);
	}
	MUST_IOCTL(vm->fd, KVM_SET_GSI_ROUTING, table);
	free(table);
}

void vm_route_msi(struct vm *vm, unsigned int n, struct msi_message message)
{
	vm->msi[n] = message;
	/* There is no way to change one alone. */
	route_interrupts(vm);
}

static void add_chips(struct vm *vm)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	/* Intel CPUs need a few pages that the guest uses for nothing else. */
	uint64_t identity_map = 0xfeffc000;

	MUST_IOCTL(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	MUST_IOCTL(vm->fd, KVM_SET_TSS_ADDR, identity_map + PAGE);
	MUST_IOCTL(vm->fd, KVM_CREATE_IRQCHIP, 0);
	MUST_IOCTL(vm->fd, KVM_CREATE_PIT2, &pit);
	route_interrupts(vm);
}

/* Each vCPU is a package of its own, so it shares nothing that CPUID could tell. */
static void adjust_cpuid(struct vm *vm, struct kvm_cpuid_entry2 *entry, unsigned int id)
{
	switch (entry->function) {
	case 1:
		/* APIC ID, one logical CPU, no hyper-threading. */
		entry->ebx = (entry->ebx & 0x0000ffff) | 1 << 16 | id << 24;
		entry->edx &= ~(1U << 28);
		/* There is a hypervisor. */
		entry->ecx |= 1U << 31;
		/* kvm.ko's LAPIC has this mode on every host. */
		if (ioctl(vm->fd, KVM_CHECK_EXTENSION,
			  KVM_CAP_TSC_DEADLINE_TIMER) > 0)
			entry->ecx |= 1U << 24;
		break;
	case 4:
	case 0x8000001d:
		/* Caches, shared with nobody; (4 only) one core. */
		entry->eax &= 0x00003fff;
		break;
	case 0xb:
	case 0x1f:
		/* x2APIC ID */
		entry->edx = id;
		break;
	case 0x80000008:
		/* One core. */
		entry->ecx = 0;
		break;
	case 0x8000001e:
		/* Extended APIC ID; core and node 0. */
		entry->eax = id;
		entry->ebx = 0;
		entry->ecx = 0;
		break;
	}
}

static void set_cpuid(struct vm *vm, const struct vcpu *vcpu)
{
	struct kvm_cpuid2 *cpuid;
	unsigned int i;

	cpuid = calloc(1, sizeof(*cpuid) +
			  CPUID_ENTRIES * sizeof(*cpuid->entries));
	if (!cpuid)
		err(EXIT_FAILURE, "calloc");
	cpuid->nent = CPUID_ENTRIES;
	MUST_IOCTL(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid);
	for (i = 0; i < cpuid->nent; i++)
		adjust_cpuid(vm, &cpuid->entries[i], vcpu->id);
	MUST_IOCTL(vcpu->fd, KVM_SET_CPUID2, cpuid);
	free(cpuid);
}

/*
 * As firmware leaves the local APIC of the boot CPU: the PICs on LINT0, NMI on
 * LINT1. The registers are 16 bytes apart, mode is in bits 8 to 10.
 */
static void set_lapic(const struct vcpu *vcpu)
{
	static const uint32_t lint0 = 7 << 8, lint1 = 4 << 8;
	struct kvm_lapic_state lapic;

	MUST_IOCTL(vcpu->fd, KVM_GET_LAPIC, &lapic);
	memcpy(lapic.regs + 0x350, &lint0, sizeof(lint0));
	memcpy(lapic.regs + 0x360, &lint1, sizeof(lint1));
	MUST_IOCTL(vcpu->fd, KVM_SET_LAPIC, &lapic);
}

static void add_vcpu(struct vm *vm, unsigned int id)
{
	struct vcpu *vcpu = &vm->vcpus[id];
	int size;

	vcpu->id = id;
	vcpu->fd = MUST_IOCTL(vm->fd, KVM_CREATE_VCPU, (uintptr_t)id);
	size = MUST_IOCTL(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	vcpu->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		err(EXIT_FAILURE, "cannot map struct kvm_run");
	set_cpuid(vm, vcpu);
	if (!id)
		set_lapic(vcpu);
}

void vm_create(struct vm *vm, size_t ram_size, unsigned int nr_vcpus)
{
	memset(vm, 0, sizeof(*vm));
	open_kvm(vm);
	add_ram(vm, ram_size);
	add_chips(vm);
	while (vm->nr_vcpus < nr_vcpus)
		add_vcpu(vm, vm->nr_vcpus++);
}

/*
 * The mapping of struct kvm_run stays, because a signal handler may be using it. It
 * keeps the vCPU alive, but nothing runs any more.
 */
void vm_destroy(struct vm *vm)
{
	unsigned int i;

	for (i = 0; i < vm->nr_vcpus; i++)
		close(vm->vcpus[i].fd);
	close(vm->ram_fd);
	close(vm->fd);
	close(vm->kvm_fd);
}

void *vm_ram(const struct vm *vm, uint64_t addr, size_t len)
{
	if (addr > vm->ram_size || len > vm->ram_size - addr)
		errx(EXIT_FAILURE,
		     "%zu bytes at %#lx do not fit into %zu MiB of guest memory",
		     len, addr, vm->ram_size >> 20);
	return vm->ram + addr;
}

static void make_page_tables(struct vm *vm)
{
	uint64_t *pml4, *pdpt, *pd, i;

	pml4 = vm_ram(vm, PAGE_TABLES_ADDR, (2 + PAGE_DIRECTORIES) * PAGE);
	pdpt = pml4 + PAGE / sizeof(*pml4);
	pd = pdpt + PAGE / sizeof(*pdpt);

	pml4[0] = (PAGE_TABLES_ADDR + PAGE) | PTE_PRESENT | PTE_WRITABLE;
	for (i = 0; i < PAGE_DIRECTORIES; i++)
		pdpt[i] = (PAGE_TABLES_ADDR + (2 + i) * PAGE) | PTE_PRESENT |
			  PTE_WRITABLE;
	for (i = 0; i < PAGE_DIRECTORIES * PAGE / sizeof(*pd); i++)
		pd[i] = i * LARGE_PAGE | PTE_PRESENT | PTE_WRITABLE | PTE_LARGE;
}

void vm_set_long_mode(struct vm *vm, uint64_t rip, uint64_t rsi)
{
	/* Flat, 4 GiB; the first 64-bit, the second 32-bit as data has to be. */
	static const uint64_t gdt[GDT_ENTRIES] = {
		[GDT_CODE] = 0x00af9b000000ffff,
		[GDT_DATA] = 0x00cf93000000ffff,
	};
	struct kvm_segment code = {
		.limit = 0xffffffff,
		.selector = GDT_CODE * 8,
		.type = 0xb,	/* execute, read, accessed */
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1,
	};
	struct kvm_segment data = {
		.limit = 0xffffffff,
		.selector = GDT_DATA * 8,
		.type = 0x3,	/* read, write, accessed */
		.present = 1,
		.s = 1,
		.db = 1,
		.g = 1,
	};
	struct kvm_regs regs = { .rip = rip, .rsi = rsi, .rflags = 2 };
	struct kvm_sregs sregs;

	memcpy(vm_ram(vm, GDT_ADDR, sizeof(gdt)), gdt, sizeof(gdt));
	make_page_tables(vm);

	MUST_IOCTL(vm->vcpus[0].fd, KVM_GET_SREGS, &sregs);
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.fs = data;
	sregs.gs = data;
	sregs.ss = data;
	sregs.gdt.base = GDT_ADDR;
	sregs.gdt.limit = sizeof(gdt) - 1;
	sregs.cr3 = PAGE_TABLES_ADDR;
	sregs.cr4 = CR4_PAE;
	sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	sregs.efer = EFER_LME | EFER_LMA;
	MUST_IOCTL(vm->vcpus[0].fd, KVM_SET_SREGS, &sregs);
	MUST_IOCTL(vm->vcpus[0].fd, KVM_SET_REGS, &regs);
}

/* After reset only CS, which points at the firmware, has to be changed. */
void vm_set_real_mode(struct vm *vm, uint16_t ip)
{
	struct kvm_regs regs = { .rip = ip, .rflags = 2 };
	struct kvm_sregs sregs;

	MUST_IOCTL(vm->vcpus[0].fd, KVM_GET_SREGS, &sregs);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	MUST_IOCTL(vm->vcpus[0].fd, KVM_SET_SREGS, &sregs);
	MUST_IOCTL(vm->vcpus[0].fd, KVM_SET_REGS, &regs);
}
