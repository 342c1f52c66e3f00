/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ioregionfd on x86. The emulator asks the bus for 8 bytes at a time, and goes on with the
 * instruction when that refuses. What leaves are then the parts of one access, its fragments,
 * with an exit for each; or the elements of a string of ports, with one exit for all.
 * vcpu->arch.complete_userspace_io completes them, whatever exit_reason is.
 *
 * Of all that describes an access the VMM can write: the elements; the count of a string that
 * is written; and exit_reason, which is reset before each run.
 */
#ifndef __IOREGIONFD_X86_H
#define __IOREGIONFD_X86_H

#define ARCH_PORTS		true
#define ARCH_REMEMBERS_ACCESS	true

static inline bool x86_pending_mmio(struct kvm_vcpu *vcpu, struct ioregionfd_access *a)
{
	struct kvm_mmio_fragment *frag;

	if (!vcpu->mmio_needed)
		return false;

	frag = &vcpu->mmio_fragments[vcpu->mmio_cur_fragment];
	a->write = vcpu->mmio_is_write;
	a->addr = frag->gpa;
	a->size = min(frag->len, MMIO_MAX);
	a->more = frag->len > MMIO_MAX ||
		  vcpu->mmio_cur_fragment + 1 < vcpu->mmio_nr_fragments;
	if (a->write)
		memcpy(a->data, frag->data, a->size);
	return a->size;
}

/*
 * The emulator forgets pio.count when it exits with an "outs", which needs no
 * completion; its port, size and direction it does not.
 */
static inline bool x86_pending_ports(struct kvm_vcpu *vcpu, struct ioregionfd_access *a)
{
	unsigned int size = vcpu->arch.pio.size;
	unsigned int count = vcpu->arch.pio.count;

	if (!count && !vcpu->arch.pio.in)
		count = READ_ONCE(vcpu->run->io.count);
	if (!count || !size || count > PAGE_SIZE / size)
		return false;

	a->pio = true;
	a->write = !vcpu->arch.pio.in;
	a->addr = vcpu->arch.pio.port;
	a->size = size;
	a->count = count;
	return true;
}

static inline bool arch_pending_access(struct kvm_vcpu *vcpu,
				       const struct ioregionfd_access *noted,
				       struct ioregionfd_access *a)
{
	switch (READ_ONCE(vcpu->run->exit_reason)) {
	case KVM_EXIT_MMIO:
		return x86_pending_mmio(vcpu, a);
	case KVM_EXIT_IO:
		return x86_pending_ports(vcpu, a);
	default:
		return false;
	}
}

static inline void arch_complete_access(struct kvm_vcpu *vcpu,
					const struct ioregionfd_access *a)
{
	if (!a->write)
		memcpy(vcpu->run->mmio.data, a->data, a->size);
}

static inline void *arch_ports_data(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.pio_data;
}

static inline void arch_exit_ports(struct kvm_vcpu *vcpu, const struct ioregionfd_access *a)
{
	struct kvm_run *run = vcpu->run;

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = a->write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
	run->io.size = a->size;
	run->io.port = a->addr;
	run->io.count = a->count;
	run->io.data_offset = KVM_PIO_PAGE_OFFSET * PAGE_SIZE;
}

static inline unsigned int arch_leaving_parts(struct kvm_vcpu *vcpu)
{
	return vcpu->mmio_nr_fragments;
}

/* What came behind the access, and did not leave, made KVM forget how many it has. */
static inline void arch_set_leaving_parts(struct kvm_vcpu *vcpu, unsigned int parts)
{
	if (!vcpu->mmio_nr_fragments)
		vcpu->mmio_nr_fragments = parts;
}

/* Such a part ends with the page, or, if the access has more than 8 bytes, is not aligned. */
static inline bool arch_may_be_part(const struct ioregionfd_access *a)
{
	if (a->addr & (a->size - 1))
		return true;
	return !((a->addr + a->size) & ~PAGE_MASK);
}

static inline u64 arch_irq_levels(struct kvm_vcpu *vcpu)
{
	return 0;
}

static inline bool arch_irq_levels_changed(struct kvm_vcpu *vcpu, u64 before)
{
	return false;
}

/* System management mode has an address space of its own. */
static inline u16 arch_attrs(struct kvm_vcpu *vcpu)
{
	return kvm_arch_vcpu_memslots_id(vcpu) ? IOREGIONFD_ATTR_X86_SMM : 0;
}

static inline bool arch_sets_registers(unsigned int ioctl)
{
	switch (ioctl) {
	case KVM_SET_REGS:
	case KVM_SET_SREGS:
	case KVM_SET_SREGS2:
	case KVM_SET_ONE_REG:
	case KVM_SET_FPU:
	case KVM_SET_XSAVE:
	case KVM_SET_VCPU_EVENTS:
	case KVM_SET_NESTED_STATE:
	/* The first one, too, may reset the vCPU, if an INIT is pending. */
	case KVM_GET_MP_STATE:
	case KVM_SET_MP_STATE:
		return true;
	default:
		return false;
	}
}

#endif /* __IOREGIONFD_X86_H */
