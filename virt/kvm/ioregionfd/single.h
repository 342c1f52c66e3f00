/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ioregionfd on an architecture that has no ports, and where an instruction makes one access
 * of at most 8 bytes. KVM asks the bus for it once, and if that refuses leaves at once with
 * KVM_EXIT_MMIO. The next run completes the access if the run page still says so, with the
 * value that it finds there.
 *
 * So the access is the one that the bus was asked for, and nothing is read from the run page.
 * For its completion all of it is written there again: a signal, or
 * KVM_EXIT_IOREGIONFD_FAILURE, may have overwritten it. If the VMM changes it during KVM_RUN
 * the guest repeats the access, or reads another value.
 */
#ifndef __IOREGIONFD_SINGLE_H
#define __IOREGIONFD_SINGLE_H

#define ARCH_PORTS		false
#define ARCH_REMEMBERS_ACCESS	false

static inline bool arch_pending_access(struct kvm_vcpu *vcpu,
				       const struct ioregionfd_access *noted,
				       struct ioregionfd_access *a)
{
	if (!noted)
		return false;
	*a = *noted;
	return true;
}

static inline void arch_complete_access(struct kvm_vcpu *vcpu,
					const struct ioregionfd_access *a)
{
	ioregionfd_exit_mmio(vcpu, a);
	if (!a->write)
		memcpy(vcpu->run->mmio.data, a->data, a->size);
}

static inline void *arch_ports_data(struct kvm_vcpu *vcpu)
{
	return NULL;
}

static inline void arch_exit_ports(struct kvm_vcpu *vcpu, const struct ioregionfd_access *a)
{
}

static inline unsigned int arch_leaving_parts(struct kvm_vcpu *vcpu)
{
	return 0;
}

static inline void arch_set_leaving_parts(struct kvm_vcpu *vcpu, unsigned int parts)
{
}

static inline bool arch_may_be_part(const struct ioregionfd_access *a)
{
	return false;
}

static inline u16 arch_attrs(struct kvm_vcpu *vcpu)
{
	return 0;
}

#endif /* __IOREGIONFD_SINGLE_H */
