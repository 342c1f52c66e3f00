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
	STATS_DESC_COUNTER(VCPU_GENERIC, ioregionfd_in_place),		\
	STATS_DESC_TIME_NSEC(VCPU_GENERIC, ioregionfd_spin_ns),		\
	STATS_DESC_COUNTER(VCPU_GENERIC, ioregionfd_fail),

int kvm_ioregionfd_vcpu_run(struct kvm_vcpu *vcpu);
int kvm_ioregionfd_vcpu_run_resume(struct kvm_vcpu *vcpu, int r);
int kvm_ioregionfd_in_place(struct kvm_vcpu *vcpu, gpa_t addr, int len,
			    void *val, bool write);
void kvm_ioregionfd_zone_full(struct kvm_vcpu *vcpu, gpa_t addr);
bool kvm_ioregionfd_vcpu_busy(struct kvm_vcpu *vcpu, unsigned int ioctl);
void kvm_ioregionfd_vcpu_destroy(struct kvm_vcpu *vcpu);
void kvm_ioregionfd_vm_destroy(struct kvm *kvm);
int kvm_ioregionfd_check_extension(long extension);
int kvm_vm_ioctl_set_ioregionfd(struct kvm *kvm, void __user *argp);
int kvm_ioctl_create_ioregionfd(struct kvm *kvm, void __user *argp);

/**
 * kvm_vcpu_run() - run a vCPU until something is left for the VMM to do
 * @vcpu: the vCPU, whose mutex the caller holds
 *
 * Serves accesses to ioregions on the way. A VM that has none takes the short
 * cut, but may have got its first one meanwhile.
 *
 * Return: as kvm_arch_vcpu_ioctl_run(), which see.
 */
static inline int kvm_vcpu_run(struct kvm_vcpu *vcpu)
{
	int r;

	if (unlikely(READ_ONCE(vcpu->kvm->ioregionfd)))
		return kvm_ioregionfd_vcpu_run(vcpu);

	r = kvm_arch_vcpu_ioctl_run(vcpu);
	if (likely(!READ_ONCE(vcpu->kvm->ioregionfd)))
		return r;
	return kvm_ioregionfd_vcpu_run_resume(vcpu, r);
}

/**
 * kvm_vcpu_ioctl_busy() - whether a vcpu ioctl has to wait for a pending access
 * @vcpu: the vCPU, whose mutex the caller holds
 * @ioctl: which
 *
 * Return: whether it has to fail with -EBUSY.
 */
static inline bool kvm_vcpu_ioctl_busy(struct kvm_vcpu *vcpu, unsigned int ioctl)
{
	return vcpu->ioregionfd && ioctl != KVM_RUN &&
	       kvm_ioregionfd_vcpu_busy(vcpu, ioctl);
}

/**
 * kvm_io_bus_unhandled() - an access that no device in the kernel has taken
 * @vcpu: the vCPU, in the middle of a VM exit and of kvm->srcu
 * @bus: which bus
 * @addr: first address
 * @len: bytes
 * @val: the bytes to write, or where to put those read
 * @write: whether it is a write
 * @r: the bus's error
 *
 * Strings of ports are not for here: the emulator takes no refusal in their
 * middle.
 *
 * Context: may sleep, outside of kvm->srcu.
 * Return: 0 if a device task has carried it out, else @r: to leave the emulator.
 */
static inline int kvm_io_bus_unhandled(struct kvm_vcpu *vcpu, enum kvm_bus bus,
				       gpa_t addr, int len, const void *val,
				       bool write, int r)
{
	if (likely(!READ_ONCE(vcpu->kvm->ioregionfd)) || bus != KVM_MMIO_BUS)
		return r;
	return kvm_ioregionfd_in_place(vcpu, addr, len, (void *)val, write) ? r : 0;
}

#else

#define KVM_IOREGIONFD_VCPU_STATS

static inline int kvm_vcpu_run(struct kvm_vcpu *vcpu)
{
	return kvm_arch_vcpu_ioctl_run(vcpu);
}

static inline bool kvm_vcpu_ioctl_busy(struct kvm_vcpu *vcpu, unsigned int ioctl)
{
	return false;
}

static inline int kvm_io_bus_unhandled(struct kvm_vcpu *vcpu, enum kvm_bus bus,
				       gpa_t addr, int len, const void *val,
				       bool write, int r)
{
	return r;
}

static inline void kvm_ioregionfd_zone_full(struct kvm_vcpu *vcpu, gpa_t addr) {}
static inline void kvm_ioregionfd_vcpu_destroy(struct kvm_vcpu *vcpu) {}
static inline void kvm_ioregionfd_vm_destroy(struct kvm *kvm) {}

#endif /* CONFIG_KVM_IOREGIONFD */
#endif /* __KVM_IOREGIONFD_HOST_H */
