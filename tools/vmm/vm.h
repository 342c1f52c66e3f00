/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One virtual machine, its vCPUs, and the devices that kvm.ko provides: the PC's
 * interrupt controllers and its timer. Every function exits with a message if
 * something fails.
 */
#ifndef VM_H
#define VM_H

#include <err.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <linux/kvm.h>

/*
 * Guest memory, from bottom to top. The addresses below 1 MiB are ours to
 * choose; the kernel stays away from the ROM area at its end.
 */
#define GDT_ADDR		0x00001000
#define BOOT_PARAMS_ADDR	0x00002000
#define PAGE_TABLES_ADDR	0x00003000
#define CMDLINE_ADDR		0x00020000
#define LOW_MEMORY_END		0x000a0000
#define ACPI_TABLES_ADDR	0x000e0000
#define HIGH_MEMORY_ADDR	0x00100000

#define RAM_MIN_MB		64
#define RAM_MAX_MB		3072	/* above it are devices and the APICs */

/* Registers of virtio devices, each in a page of its own, see vmm_device.h. */
#define VIRTIO_MMIO_ADDR	0xd0000000
#define VIRTIO_MMIO_STEP	0x1000

/* I/O ports; what is not here does not exist and reads as all ones. */
#define UART_PORT		0x3f8
#define UART_PORTS		8
#define PM1A_EVT_PORT		0x600	/* PM1_STS and PM1_EN, 2 bytes each */
#define PM1A_CNT_PORT		0x604
#define PM_PORTS		6
#define RESET_PORT		0x606
#define BENCH_PORT		0x608	/* the guest of --bench marks time here */

/* Interrupts as the PC has them; the ACPI tables say the same. */
#define TIMER_GSI		2	/* ISA IRQ 0 is wired to this pin */
#define UART_GSI		4
#define SCI_GSI			9
#define VIRTIO_MMIO_GSI		16	/* the first of those that no ISA device has */
#define MSI_GSI			24	/* the first that no pin of the IOAPIC has */

#define MAX_VCPUS		8	/* the ACPI tables have room for more */
#define MAX_VIRTIO_MMIO		8	/* as many GSIs are left */
#define MAX_DEVICES		16	/* of all kinds */
#define MAX_MSI			64	/* routes for messages */

/* What an interrupt of a PCI function is: a write to an address that a LAPIC has. */
struct msi_message {
	uint64_t addr;
	uint32_t data;
};

struct vcpu {
	unsigned int id;	/* and APIC ID */
	int fd;
	struct kvm_run *run;
};

struct vm {
	int kvm_fd;
	int fd;
	unsigned int nr_vcpus;
	struct vcpu vcpus[MAX_VCPUS];	/* number 0 boots */
	int ram_fd;			/* memfd of all guest memory, which starts at address 0 */
	uint8_t *ram;
	size_t ram_size;
	struct msi_message msi[MAX_MSI];
};

/* An ioctl that does not fail on any machine that can run us. */
static inline int must_ioctl(int fd, unsigned long request, void *arg, const char *name)
{
	int ret = ioctl(fd, request, arg);

	if (ret < 0)
		err(EXIT_FAILURE, "%s", name);
	return ret;
}

#define MUST_IOCTL(fd, request, arg) \
	must_ioctl(fd, request, (void *)(arg), #request)

void vm_create(struct vm *vm, size_t ram_size, unsigned int nr_vcpus);
void vm_destroy(struct vm *vm);

/* Returns where @len bytes of guest memory at @addr are; exits if they are not RAM. */
void *vm_ram(const struct vm *vm, uint64_t addr, size_t len);

/* What is raised on GSI MSI_GSI + @n is sent as @message. Not synchronized. */
void vm_route_msi(struct vm *vm, unsigned int n, struct msi_message message);

/* The two states in which vCPU 0 may start. The others wait until it starts them. */
void vm_set_long_mode(struct vm *vm, uint64_t rip, uint64_t rsi);
void vm_set_real_mode(struct vm *vm, uint16_t ip);

#endif /* VM_H */
