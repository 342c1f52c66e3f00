// SPDX-License-Identifier: GPL-2.0-only
/*
 * An NVMe controller as a guest finds it: PCI, MSI-X, registers and an admin command, and
 * what there is to see when its process dies. KVM's ioctls are played, and accesses are
 * forwarded to the process. Every wait has an end.
 */
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/ioregionfd.h>
#include <linux/pci_regs.h>
#include "../nvme_spec.h"
#include "../run.h"
#include "../supervise.h"
#include "../util.h"
#include "../vmm_nvme.h"
#include "../vmm_virtio.h"
#include "vmm.h"

#include "kselftest_harness.h"

#define IMAGE_SIZE	0x100000UL
#define BAR		(PCI_WINDOW + 0x10000)
#define TABLE		(BAR + 0x2000)
#define PENDING		(BAR + 0x3000)
#define MESSAGE		0xfee01000u
#define MAX_REGIONS	8

/* Guest memory */
#define SQ		0x1000
#define CQ		0x2000
#define BUFFER		0x3000

/* What KVM was told */
static struct {
	int irqfds[MAX_MSI];
	struct msi_message messages[MAX_MSI];
	struct kvm_ioregionfd regions[MAX_REGIONS];
	unsigned int nr_regions;
	bool refuse_second;		/* region */
} kvm;

bool run_stop_requested(void)
{
	return false;
}

void vm_route_msi(struct vm *vm, unsigned int n, struct msi_message message)
{
	(void)vm;
	kvm.messages[n] = message;
}

static int set_irqfd(const struct kvm_irqfd *irqfd)
{
	unsigned int n = irqfd->gsi - MSI_GSI;

	if (irqfd->gsi < MSI_GSI || n >= MAX_MSI)
		abort();
	/* KVM refuses to assign one twice, or to take away what it has not. */
	if (irqfd->flags & KVM_IRQFD_FLAG_DEASSIGN ? kvm.irqfds[n] != (int)irqfd->fd :
						     kvm.irqfds[n] != -1)
		return -1;
	kvm.irqfds[n] = irqfd->flags & KVM_IRQFD_FLAG_DEASSIGN ? -1 : (int)irqfd->fd;
	return 0;
}

static int set_region(const struct kvm_ioregionfd *region)
{
	unsigned int i;

	if (!(region->flags & KVM_IOREGION_DEASSIGN)) {
		if (kvm.nr_regions == MAX_REGIONS || (kvm.refuse_second && kvm.nr_regions))
			return -1;
		kvm.regions[kvm.nr_regions++] = *region;
		return 0;
	}
	for (i = 0; i < kvm.nr_regions; i++) {
		if (kvm.regions[i].guest_paddr != region->guest_paddr)
			continue;
		kvm.regions[i] = kvm.regions[--kvm.nr_regions];
		return 0;
	}
	return -1;
}

/* There is no KVM behind these descriptors. */
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	switch (request) {
	case KVM_IRQFD:
		return set_irqfd(arg);
	case KVM_SET_IOREGIONFD:
		return set_region(arg);
	case KVM_CHECK_EXTENSION:
		return 1;
	}
	return syscall(SYS_ioctl, fd, request, arg);
}

FIXTURE(vmm_nvme) {
	struct vm vm;
	struct vmm_device dev;
	struct vmm_pci pci;
	struct vmm_pci_function function;
	struct supervisor *supervisor;
	char dir[32], image[64], socket[64], program[PATH_MAX];
	uint8_t *memory;
};

FIXTURE_VARIANT(vmm_nvme) {
	enum vmm_dispatch dispatch;
};

FIXTURE_VARIANT_ADD(vmm_nvme, forward) { VMM_DISPATCH_FORWARD };
FIXTURE_VARIANT_ADD(vmm_nvme, socket) { VMM_DISPATCH_SOCKET };

FIXTURE_SETUP(vmm_nvme)
{
	struct crash_limit limit = { 3, 60 };
	unsigned int i;
	FILE *file;

	memset(&kvm, 0, sizeof(kvm));
	for (i = 0; i < MAX_MSI; i++)
		kvm.irqfds[i] = -1;
	snprintf(self->dir, sizeof(self->dir), "/tmp/vmm_nvme.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	snprintf(self->image, sizeof(self->image), "%s/image", self->dir);
	snprintf(self->socket, sizeof(self->socket), "%s/socket", self->dir);
	file = fopen(self->image, "w");
	ASSERT_NE(NULL, file);
	ASSERT_EQ(ftruncate(fileno(file), IMAGE_SIZE), 0);
	fclose(file);
	vmm_name_beside(self->program, "nvme");

	self->vm.fd = -1;
	self->vm.nr_vcpus = 2;
	self->vm.ram_size = MEMORY_SIZE;
	self->vm.ram_fd = device_create_memory("guest", MEMORY_SIZE);
	ASSERT_GE(self->vm.ram_fd, 0);
	self->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			    self->vm.ram_fd, 0);
	ASSERT_NE(self->memory, MAP_FAILED);

	snprintf(self->dev.name, sizeof(self->dev.name), "nvme0");
	self->dev.program = self->program;
	vmm_nvme_init(&self->dev, 2);
	vmm_blk_open(&self->dev, self->image);
	vmm_device_create(&self->dev, &self->vm, variant->dispatch);
	vmm_pci_init(&self->pci, &self->vm);
	vmm_nvme_add(&self->pci, &self->function, &self->dev);
	self->supervisor = supervise(&self->dev, 1, limit, self->socket);
}

FIXTURE_TEARDOWN(vmm_nvme)
{
	supervise_stop(self->supervisor);
	unlink(self->image);
	unlink(self->socket);
	rmdir(self->dir);
}

/* Function 00:01.0 */
static void write_config(struct vmm_pci *pci, unsigned int offset, unsigned int size,
			 uint32_t value)
{
	uint32_t address = 1U << 31 | 1 << 11 | (offset & 0xfc);

	vmm_pci_port(pci, 0, 4, true, &address);
	vmm_pci_port(pci, 4 + offset % 4, size, true, &value);
}

static uint32_t read_config(struct vmm_pci *pci, unsigned int offset, unsigned int size)
{
	uint32_t address = 1U << 31 | 1 << 11 | (offset & 0xfc), value = 0;

	vmm_pci_port(pci, 0, 4, true, &address);
	vmm_pci_port(pci, 4 + offset % 4, size, false, &value);
	return value;
}

static void set_bar(struct vmm_pci *pci, uint32_t addr)
{
	write_config(pci, PCI_COMMAND, 2, 0);
	write_config(pci, PCI_BASE_ADDRESS_0, 4, addr);
	write_config(pci, PCI_BASE_ADDRESS_1, 4, 0);
	write_config(pci, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void write_memory(struct vmm_pci *pci, uint64_t addr, uint32_t value)
{
	if (!vmm_pci_memory(pci, addr, 4, true, &value))
		abort();
}

static uint32_t read_memory(struct vmm_pci *pci, uint64_t addr)
{
	uint32_t value;

	if (!vmm_pci_memory(pci, addr, 4, false, &value))
		abort();
	return value;
}

/* As run.c does it. All ones if there is nothing. */
static uint64_t access_register(struct vmm_device *dev, bool write, uint64_t addr,
				unsigned int size, uint64_t value)
{
	struct vmm_access access = {
		.addr = addr, .size = size, .is_write = write, .data = value,
	};

	if (!vmm_device_at(dev, 1, addr))
		return ~0ULL;
	if (!vmm_device_access(dev, &access))
		abort();
	return access.data;
}

static void enable(struct vmm_device *dev)
{
	access_register(dev, true, BAR + NVME_AQA, 4, 7 << 16 | 7);
	access_register(dev, true, BAR + NVME_ASQ, 8, SQ);
	access_register(dev, true, BAR + NVME_ACQ, 8, CQ);
	access_register(dev, true, BAR + NVME_CC, 4, NVME_CC_EN | 6 << 16 | 4 << 20);
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, WAIT_MS) == 1;
}

TEST_F_TIMEOUT(vmm_nvme, regions, LIMIT_S)
{
	struct vmm_pci *pci = &self->pci;
	bool socket = variant->dispatch == VMM_DISPATCH_SOCKET;
	unsigned int i;

	EXPECT_EQ(read_config(pci, PCI_CLASS_REVISION, 4) >> 8, 0x010802);
	EXPECT_EQ(kvm.nr_regions, 0);
	EXPECT_EQ(vmm_device_at(&self->dev, 1, 0), NULL);
	EXPECT_EQ(vmm_device_at(&self->dev, 1, NVME_DOORBELLS), NULL);
	set_bar(pci, BAR);
	EXPECT_EQ(kvm.nr_regions, socket ? 2 : 0);
	for (i = 0; i < kvm.nr_regions; i++) {
		EXPECT_EQ(kvm.regions[i].guest_paddr, BAR + i * 0x1000);
		EXPECT_EQ(kvm.regions[i].user_data, i * 0x1000);
		EXPECT_EQ(kvm.regions[i].memory_size, 0x1000);
		/* They would be lost with the process. */
		EXPECT_FALSE(kvm.regions[i].flags & KVM_IOREGION_POSTED_WRITES);
	}
	EXPECT_EQ(vmm_device_at(&self->dev, 1, BAR), &self->dev);
	EXPECT_EQ(vmm_device_at(&self->dev, 1, BAR + 0x1fff), &self->dev);
	EXPECT_EQ(vmm_device_at(&self->dev, 1, BAR + 0x2000), NULL);
	set_bar(pci, PCI_WINDOW);
	EXPECT_EQ(vmm_device_at(&self->dev, 1, BAR), NULL);
	EXPECT_EQ(vmm_device_at(&self->dev, 1, PCI_WINDOW), &self->dev);
	EXPECT_EQ(kvm.nr_regions, socket ? 2 : 0);
	/* KVM takes the first region, and not the second one. */
	kvm.refuse_second = true;
	set_bar(pci, BAR);
	EXPECT_EQ(kvm.nr_regions, 0);
	EXPECT_EQ(vmm_device_at(&self->dev, 1, BAR), socket ? NULL : &self->dev);
	kvm.refuse_second = false;
	set_bar(pci, PCI_WINDOW);
	EXPECT_EQ(vmm_device_at(&self->dev, 1, PCI_WINDOW), &self->dev);
	write_config(pci, PCI_COMMAND, 2, 0);
	EXPECT_EQ(kvm.nr_regions, 0);
	EXPECT_EQ(vmm_device_at(&self->dev, 1, PCI_WINDOW), NULL);
}

static void set_entry(struct vmm_pci *pci, unsigned int vector, uint32_t data, uint32_t control)
{
	write_memory(pci, TABLE + vector * 16, MESSAGE);
	write_memory(pci, TABLE + vector * 16 + 4, 0);
	write_memory(pci, TABLE + vector * 16 + 8, data);
	write_memory(pci, TABLE + vector * 16 + 12, control);
}

TEST_F_TIMEOUT(vmm_nvme, vectors, LIMIT_S)
{
	struct vmm_pci *pci = &self->pci;
	uint64_t one = 1;

	set_bar(pci, BAR);
	EXPECT_EQ(read_config(pci, 0x42, 2), 2);
	write_config(pci, 0x42, 2, PCI_MSIX_FLAGS_ENABLE);
	set_entry(pci, 0, 0x30, 0);
	set_entry(pci, 2, 0x32, 0);
	EXPECT_EQ(kvm.irqfds[0], self->dev.irq_fd);
	EXPECT_EQ(kvm.irqfds[1], -1);
	EXPECT_EQ(kvm.irqfds[2], self->dev.more_irq_fds[1]);
	EXPECT_EQ(kvm.messages[2].addr, MESSAGE);
	EXPECT_EQ(kvm.messages[2].data, 0x32);
	/* While it is masked it waits in its eventfd. */
	write_memory(pci, TABLE + 2 * 16 + 12, 1);
	EXPECT_EQ(kvm.irqfds[2], -1);
	EXPECT_EQ(read_memory(pci, PENDING), 0);
	ASSERT_EQ(write(self->dev.more_irq_fds[1], &one, sizeof(one)), sizeof(one));
	EXPECT_EQ(read_memory(pci, PENDING), 4);
	write_memory(pci, TABLE + 2 * 16 + 12, 0);
	EXPECT_EQ(kvm.irqfds[2], self->dev.more_irq_fds[1]);
	write_config(pci, 0x42, 2, 0);
	EXPECT_EQ(kvm.irqfds[0], -1);
	EXPECT_EQ(kvm.irqfds[2], -1);
}

TEST_F_TIMEOUT(vmm_nvme, deaths, LIMIT_S)
{
	struct nvme_command *sq = (struct nvme_command *)(self->memory + SQ);
	struct nvme_completion *cq = (struct nvme_completion *)(self->memory + CQ);
	struct vmm_device *dev = &self->dev;
	unsigned int i, ms;

	/* Only kvm.ko would send on the socket. */
	if (variant->dispatch != VMM_DISPATCH_FORWARD)
		SKIP(return, "accesses are not forwarded");
	set_bar(&self->pci, BAR);
	EXPECT_EQ(access_register(dev, false, BAR + NVME_VS, 4, 0), NVME_VERSION);
	EXPECT_EQ(access_register(dev, false, BAR + NVME_CSTS, 4, 0), 0);
	enable(dev);
	EXPECT_EQ(access_register(dev, false, BAR + NVME_CSTS, 4, 0), NVME_CSTS_RDY);
	for (i = 0; i < 2; i++) {
		sq[i] = (struct nvme_command) {
			.opcode = NVME_IDENTIFY, .cid = i, .prp1 = BUFFER, .cdw10 = 1,
		};
		access_register(dev, true, BAR + NVME_DOORBELLS, 4, i + 1);
		ASSERT_TRUE(readable(dev->irq_fd));
		EXPECT_EQ(cq[i].cid, i);
		EXPECT_EQ(cq[i].status, 1);
		vmm_device_kill(dev);
		EXPECT_EQ(access_register(dev, false, BAR + NVME_CSTS, 4, 0), NVME_CSTS_RDY);
	}
	/* One too many */
	vmm_device_kill(dev);
	for (ms = 0; ms < WAIT_MS; ms++) {
		if (access_register(dev, false, BAR + NVME_CSTS, 4, 0) == NVME_CSTS_CFS)
			break;
		usleep(1000);
	}
	EXPECT_LT(ms, WAIT_MS);
	access_register(dev, true, BAR + NVME_CC, 4, 0);
	enable(dev);
	EXPECT_EQ(access_register(dev, false, BAR + NVME_CSTS, 4, 0), NVME_CSTS_CFS);
	EXPECT_TRUE(access_register(dev, false, BAR + NVME_CAP, 8, 0) & NVME_CAP_CSS_NVM);
	access_register(dev, true, BAR + NVME_DOORBELLS, 4, 3);
}

TEST_HARNESS_MAIN
