/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ioregionfd, arch: what dispatch.c has to know of the architecture: which access
 * kvm_arch_vcpu_ioctl_run() has left the guest for, and what makes the next call
 * complete it. Each architecture that selects HAVE_KVM_IOREGIONFD answers in a file of
 * its own, included below.
 *
 * All of these functions are for whoever holds vcpu->mutex, and none of them sleeps.
 */
#ifndef __IOREGIONFD_ARCH_H
#define __IOREGIONFD_ARCH_H

#include <linux/ioregionfd.h>
#include <linux/kvm_host.h>

/* The widest access that leaves the emulator in one exit. */
#define MMIO_MAX 8

/**
 * struct ioregionfd_access - an access, and how far it has come
 * @pio: it is to ports
 * @write: it is a write
 * @to_vmm: it is not for a device task, whatever region it is in
 * @more: the emulator makes further exits of the same access, which come next
 * @addr: first address, or port
 * @size: bytes; of one element, for ports
 * @count: ports: elements of the string
 * @done: bytes that are carried out; for ports, elements
 * @data: memory: the bytes to write, or those read so far
 */
struct ioregionfd_access {
	bool pio;
	bool write;
	bool to_vmm;
	bool more;
	u64 addr;
	unsigned int size;
	unsigned int count;
	unsigned int done;
	u8 data[MMIO_MAX];
};

/* Makes KVM_EXIT_MMIO of an access to memory, as the architecture does. */
static inline void ioregionfd_exit_mmio(struct kvm_vcpu *vcpu,
					const struct ioregionfd_access *a)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = a->addr;
	run->mmio.len = a->size;
	run->mmio.is_write = a->write;
	if (a->write)
		memcpy(run->mmio.data, a->data, a->size);
}

/*
 * What each architecture defines:
 *
 * ARCH_PORTS - whether the guest has I/O ports. If not, there are no regions of ports, and
 *	what is said of ports here is not called.
 * ARCH_REMEMBERS_ACCESS - whether KVM itself remembers which access has left, where the
 *	VMM cannot write. If not, it is the one that the bus was last asked for.
 *
 * arch_pending_access() - which access kvm_arch_vcpu_ioctl_run() has returned 0 for
 * @vcpu: the vCPU
 * @noted: the one that the bus was last asked for in this exit, and has refused; or NULL
 * @a: where to describe it; all zero
 *	Returns whether there is one. What the VMM can write is read once, and bounded.
 *
 * arch_complete_access() - have the next kvm_arch_vcpu_ioctl_run() complete an access
 * @vcpu: the vCPU
 * @a: an access to memory that has been carried out
 *	The run page may hold anything by now.
 *
 * arch_ports_data() - where the elements are that are written to ports, or read from them
 * arch_exit_ports() - make KVM_EXIT_IO of an access to ports
 *
 * arch_leaving_parts() - how many parts the access that is to leave with this exit has so
 *	far: the emulator splits one that crosses a page, or is wide
 * arch_set_leaving_parts() - tell the emulator how many those were, if it has forgotten
 * arch_may_be_part() - whether an access may be the first part of one that has more
 *
 * arch_irq_levels() - what the run page tells the VMM of the levels of interrupts: each
 *	change once, when KVM_RUN returns
 * arch_irq_levels_changed() - whether that has changed. With IRQ_LEVELS_UNKNOWN: whether it
 *	may have
 *
 * arch_attrs() - IOREGIONFD_ATTR_* of what the vCPU does now
 * arch_sets_registers() - whether a vcpu ioctl sets what the completion of an access sets
 */
#define IRQ_LEVELS_UNKNOWN	(~0ULL)

#if defined(CONFIG_X86)
#include "x86.h"
#elif defined(CONFIG_ARM64)
#include "arm64.h"
#elif defined(CONFIG_RISCV)
#include "riscv.h"
#endif

#endif /* __IOREGIONFD_ARCH_H */
