/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ioregionfd as the rest of KVM sees it. Included at the end of
 * <linux/kvm_host.h>.
 */
#ifndef __KVM_IOREGIONFD_HOST_H
#define __KVM_IOREGIONFD_HOST_H

#include <linux/kvm_host.h>

#ifdef CONFIG_KVM_IOREGIONFD

/* In KVM_GENERIC_VCPU_STATS() */
#define KVM_IOREGIONFD_VCPU_STATS					\
	STATS_DESC_COUNTER(VCPU_GENERIC, ioregionfd_submit),		\
	STATS_DESC_COUNTER(VCPU_GENERIC, ioregionfd_complete),		\
	STATS_DESC_COUNTER(VCPU_GENERIC, ioregionfd_fail),

int kvm_ioregionfd_run(struct kvm_vcpu *vcpu);
void kvm_ioregionfd_vcpu_destroy(struct kvm_vcpu *vcpu);
void kvm_ioregionfd_vm_destroy(struct kvm *kvm);
int kvm_vm_ioctl_set_ioregionfd(struct kvm *kvm, void __user *argp);

/**
 * kvm_vcpu_run() - run a vCPU until something is left for the VMM to do
 * @vcpu: the vCPU, whose mutex the caller holds
 *
 * Serves accesses to ioregions on the way. A VM that never had one takes the
 * short cut.
 *
 * Return: as kvm_arch_vcpu_ioctl_run(), which see.
 */
static inline int kvm_vcpu_run(struct kvm_vcpu *vcpu)
{
	if (likely(!READ_ONCE(vcpu->kvm->ioregionfd)))
		return kvm_arch_vcpu_ioctl_run(vcpu);
	return kvm_ioregionfd_run(vcpu);
}

#else

#define KVM_IOREGIONFD_VCPU_STATS

static inline int kvm_vcpu_run(struct kvm_vcpu *vcpu)
{
	return kvm_arch_vcpu_ioctl_run(vcpu);
}

static inline void kvm_ioregionfd_vcpu_destroy(struct kvm_vcpu *vcpu) {}
static inline void kvm_ioregionfd_vm_destroy(struct kvm *kvm) {}

#endif /* CONFIG_KVM_IOREGIONFD */
#endif /* __KVM_IOREGIONFD_HOST_H */
