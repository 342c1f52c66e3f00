/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ioregionfd on riscv, see kvm_riscv_vcpu_mmio_load(). The value of a store is in the run
 * page when the bus is asked: a VMM that changes it then lies to its own device task.
 */
#ifndef __IOREGIONFD_RISCV_H
#define __IOREGIONFD_RISCV_H

#include "single.h"

static inline u64 arch_irq_levels(struct kvm_vcpu *vcpu)
{
	return 0;
}

static inline bool arch_irq_levels_changed(struct kvm_vcpu *vcpu, u64 before)
{
	return false;
}

static inline bool arch_sets_registers(unsigned int ioctl)
{
	switch (ioctl) {
	case KVM_SET_ONE_REG:
	case KVM_SET_MP_STATE:
		return true;
	default:
		return false;
	}
}

#endif /* __IOREGIONFD_RISCV_H */
