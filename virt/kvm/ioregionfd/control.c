// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, control: the ioctls that make channels and add and remove
 * regions, and the lookup from an address to its region.
 *
 * Regions are changed under kvm->slots_lock and looked up under RCU. Whoever
 * goes on using a region after the lookup holds a reference to it.
 */
#include <linux/err.h>
#include <linux/maple_tree.h>
#include <linux/kvm_host.h>
#include <linux/log2.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "ioregionfd.h"

static_assert(sizeof(struct kvm_ioregionfd) == 64);
static_assert(offsetof(struct kvm_ioregionfd, read_fd) == 24);
static_assert(offsetof(struct kvm_ioregionfd, flags) == 32);
static_assert(offsetof(struct kvm_ioregionfd, pad) == 36);
static_assert(sizeof(struct kvm_create_ioregionfd) == 32);
static_assert(offsetof(struct kvm_create_ioregionfd, pad) == 12);

/* Each region pins two open files that count against nobody's limit. */
#define IOREGIONFD_MAX_REGIONS 1000

#define IOREGIONFD_PORTS 0x10000

/**
 * struct ioregionfd_vm - the regions of a VM
 * @regions: by address; regions[0] are of memory, regions[1] of ports
 * @count: how many there are
 *
 * Made for the first region, freed with the VM. Changed under slots_lock.
 */
struct ioregionfd_vm {
	struct maple_tree regions[2];
	unsigned int count;
};

/**
 * ioregionfd_region_find() - look up who answers for an access
 * @kvm: the VM
 * @pio: whether @addr is a port
 * @addr: first address or port
 * @len: bytes, at least 1
 *
 * Context: any.
 * Return: the region that holds all of the access, with a reference for the
 * caller, or NULL.
 */
struct ioregionfd_region *ioregionfd_region_find(struct kvm *kvm, bool pio,
						 u64 addr, unsigned int len)
{
	struct ioregionfd_region *region;
	struct ioregionfd_vm *vm;

	/* Pairs with smp_store_release() in ioregionfd_assign(). */
	vm = smp_load_acquire(&kvm->ioregionfd);
	if (!vm)
		return NULL;

	rcu_read_lock();
	region = mtree_load(&vm->regions[pio], addr);
	if (region && (region->last - addr < len - 1 ||
		       !refcount_inc_not_zero(&region->refs)))
		region = NULL;
	rcu_read_unlock();
	return region;
}

/**
 * ioregionfd_region_put() - drop a reference to a region
 * @region: the region
 *
 * Context: may sleep.
 */
void ioregionfd_region_put(struct ioregionfd_region *region)
{
	if (!refcount_dec_and_test(&region->refs))
		return;
	region->channel->ops->put(region->channel, region->kvm);
	kfree_rcu(region, rcu);
}

static struct ioregionfd_region *
ioregionfd_region_new(struct kvm *kvm, const struct kvm_ioregionfd *args)
{
	struct ioregionfd_channel *channel;
	struct ioregionfd_region *region;

	region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	if (!region)
		return ERR_PTR(-ENOMEM);

	channel = ioregionfd_slots_get(kvm, args->read_fd, args->write_fd);
	if (!channel)
		channel = ioregionfd_files_get(args->read_fd, args->write_fd);
	if (IS_ERR(channel)) {
		kfree(region);
		return ERR_CAST(channel);
	}

	refcount_set(&region->refs, 1);
	region->kvm = kvm;
	region->channel = channel;
	region->first = args->guest_paddr;
	region->last = args->guest_paddr + args->memory_size - 1;
	region->user_data = args->user_data;
	region->pio = args->flags & KVM_IOREGION_PIO;
	region->posted = args->flags & KVM_IOREGION_POSTED_WRITES;
	return region;
}

static struct ioregionfd_vm *ioregionfd_vm_new(void)
{
	struct ioregionfd_vm *vm;
	int i;

	vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return NULL;
	for (i = 0; i < ARRAY_SIZE(vm->regions); i++)
		mt_init_flags(&vm->regions[i], MT_FLAGS_USE_RCU);
	return vm;
}

static int ioregionfd_assign(struct kvm *kvm, struct ioregionfd_region *region)
{
	struct ioregionfd_vm *vm;
	int r;

	lockdep_assert_held(&kvm->slots_lock);

	vm = kvm->ioregionfd ?: ioregionfd_vm_new();
	if (!vm)
		return -ENOMEM;

	if (vm->count == IOREGIONFD_MAX_REGIONS)
		r = -ENOSPC;
	else
		r = mtree_insert_range(&vm->regions[region->pio], region->first,
				       region->last, region, GFP_KERNEL_ACCOUNT);
	if (r) {
		if (!kvm->ioregionfd)
			kfree(vm);
		return r;
	}
	vm->count++;

	/* Pairs with smp_load_acquire() in ioregionfd_region_find(). */
	smp_store_release(&kvm->ioregionfd, vm);
	return 0;
}

static int ioregionfd_deassign(struct kvm *kvm, const struct kvm_ioregionfd *args)
{
	bool pio = args->flags & KVM_IOREGION_PIO;
	struct ioregionfd_vm *vm = kvm->ioregionfd;
	struct ioregionfd_region *region;

	lockdep_assert_held(&kvm->slots_lock);

	if (!vm)
		return -ENOENT;
	region = mtree_load(&vm->regions[pio], args->guest_paddr);
	if (!region || region->first != args->guest_paddr ||
	    region->last - region->first != args->memory_size - 1)
		return -ENOENT;

	mtree_erase(&vm->regions[pio], region->first);
	vm->count--;
	region->channel->ops->leave(region);
	ioregionfd_region_put(region);
	return 0;
}

/**
 * kvm_vm_ioctl_set_ioregionfd() - KVM_SET_IOREGIONFD
 * @kvm: the VM
 * @argp: a struct kvm_ioregionfd in user memory
 *
 * Context: may sleep; takes kvm->slots_lock, which no wait for a device task
 * is ever under.
 * Return: 0, or a negative errno as in Documentation/virt/kvm/ioregionfd.rst.
 */
int kvm_vm_ioctl_set_ioregionfd(struct kvm *kvm, void __user *argp)
{
	struct ioregionfd_region *region;
	struct kvm_ioregionfd args;
	u64 end;
	int r;

	if (copy_from_user(&args, argp, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~(KVM_IOREGION_PIO | KVM_IOREGION_POSTED_WRITES |
			   KVM_IOREGION_DEASSIGN))
		return -EINVAL;
	if (memchr_inv(args.pad, 0, sizeof(args.pad)))
		return -EINVAL;
	if (!args.memory_size ||
	    check_add_overflow(args.guest_paddr, args.memory_size, &end))
		return -EINVAL;
	if ((args.flags & KVM_IOREGION_PIO) && end > IOREGIONFD_PORTS)
		return -EINVAL;

	if (args.flags & KVM_IOREGION_DEASSIGN) {
		mutex_lock(&kvm->slots_lock);
		r = ioregionfd_deassign(kvm, &args);
		mutex_unlock(&kvm->slots_lock);
		return r;
	}

	region = ioregionfd_region_new(kvm, &args);
	if (IS_ERR(region))
		return PTR_ERR(region);

	mutex_lock(&kvm->slots_lock);
	r = ioregionfd_assign(kvm, region);
	mutex_unlock(&kvm->slots_lock);
	if (r)
		ioregionfd_region_put(region);
	return r;
}

/**
 * kvm_vm_ioctl_create_ioregionfd() - KVM_CREATE_IOREGIONFD
 * @kvm: the VM
 * @argp: a struct kvm_create_ioregionfd in user memory
 *
 * Context: may sleep.
 * Return: the file descriptor, or a negative errno as in
 * Documentation/virt/kvm/ioregionfd.rst.
 */
int kvm_vm_ioctl_create_ioregionfd(struct kvm *kvm, void __user *argp)
{
	struct kvm_create_ioregionfd args;

	if (copy_from_user(&args, argp, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~KVM_IOREGIONFD_SYNC_WAKE)
		return -EINVAL;
	if (memchr_inv(args.pad, 0, sizeof(args.pad)))
		return -EINVAL;
	if (!args.vcpus || args.vcpus > kvm->max_vcpus)
		return -EINVAL;
	if (!is_power_of_2(args.posted) || args.posted > KVM_IOREGIONFD_MAX_POSTED)
		return -EINVAL;
	return ioregionfd_slots_create(kvm, &args);
}

/**
 * kvm_ioregionfd_vm_destroy() - drop the regions of a VM that goes
 * @kvm: the VM, which has no users any more
 *
 * Context: may sleep.
 */
void kvm_ioregionfd_vm_destroy(struct kvm *kvm)
{
	struct ioregionfd_vm *vm = kvm->ioregionfd;
	struct ioregionfd_region *region;
	unsigned long index;
	int i;

	/* One may linger for a VM without regions, after a failed assign. */
	ioregionfd_files_vm_destroy(kvm);
	ioregionfd_slots_vm_destroy(kvm);
	if (!vm)
		return;
	for (i = 0; i < ARRAY_SIZE(vm->regions); i++) {
		index = 0;
		mt_for_each(&vm->regions[i], region, index, ULONG_MAX)
			ioregionfd_region_put(region);
		mtree_destroy(&vm->regions[i]);
	}
	kfree(vm);
}
