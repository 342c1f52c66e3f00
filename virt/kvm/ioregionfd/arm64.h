/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ioregionfd on arm64, see io_mem_abort().
 */
#ifndef __IOREGIONFD_ARM64_H
#define __IOREGIONFD_ARM64_H

#include "single.h"

/* Of timers and the PMU, if the interrupt controller is the VMM's. */
static inline u64 arch_irq_levels(struct kvm_vcpu *vcpu)
{
	return READ_ONCE(vcpu->run->s.regs.device_irq_level);
}

static inline bool arch_irq_levels_changed(struct kvm_vcpu *vcpu, u64 before)
{
	return !irqchip_in_kernel(vcpu->kvm) && arch_irq_levels(vcpu) != before;
}

static inline bool arch_sets_registers(unsigned int ioctl)
{
	switch (ioctl) {
	case KVM_ARM_VCPU_INIT:
	case KVM_SET_ONE_REG:
	/* An external abort takes the place of the access. */
	case KVM_SET_VCPU_EVENTS:
	case KVM_SET_MP_STATE:
		return true;
	default:
		return false;
	}
}

#endif /* __IOREGIONFD_ARM64_H */
