// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, control: the ioctls that make channels and add and remove regions, the
 * capabilities, and the lookup from an address to its region.
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

#include "arch.h"
#include "compat.h"
#include "ioregionfd.h"

static_assert(sizeof(struct kvm_ioregionfd) == 64);
static_assert(offsetof(struct kvm_ioregionfd, read_fd) == 24);
static_assert(offsetof(struct kvm_ioregionfd, flags) == 32);
static_assert(offsetof(struct kvm_ioregionfd, pad) == 36);
static_assert(sizeof(struct kvm_create_ioregionfd) == 32);
static_assert(offsetof(struct kvm_create_ioregionfd, pad) == 12);
static_assert(offsetof(struct kvm_run, ioregionfd) == KVM_IOREGIONFD_EXIT_OFFSET);

/* Each region may pin an open file, which counts against nobody's limit. */
#define IOREGIONFD_MAX_REGIONS 1000

#define IOREGIONFD_PORTS 0x10000

#define IOREGION_FLAGS							\
	((ARCH_PORTS ? KVM_IOREGION_PIO : 0) |			\
	 KVM_IOREGION_POSTED_WRITES | KVM_IOREGION_DEASSIGN)
#define IOREGIONFD_FLAGS	KVM_IOREGIONFD_SYNC_WAKE

/**
 * kvm_ioregionfd_check_extension() - KVM_CHECK_EXTENSION
 * @extension: KVM_CAP_IOREGIONFD or KVM_CAP_CREATE_IOREGIONFD
 *
 * Context: any.
 * Return: which flags the ioctl takes.
 */
int kvm_ioregionfd_check_extension(long extension)
{
	return extension == KVM_CAP_IOREGIONFD ? IOREGION_FLAGS : IOREGIONFD_FLAGS;
}

static void ioregionfd_vm_free(struct kref *refs)
{
	kfree(container_of(refs, struct ioregionfd_vm, refs));
}

/**
 * ioregionfd_vm_put() - drop a reference to what a VM has of ioregionfd
 * @vm: that
 *
 * Context: any.
 */
void ioregionfd_vm_put(struct ioregionfd_vm *vm)
{
	kref_put(&vm->refs, ioregionfd_vm_free);
}

/**
 * ioregionfd_vm_make() - what a VM has of ioregionfd, from now on
 * @kvm: the VM
 *
 * Context: may sleep.
 * Return: that, without a reference, or NULL if out of memory.
 */
struct ioregionfd_vm *ioregionfd_vm_make(struct kvm *kvm)
{
	/* Pairs with the exchange below. */
	struct ioregionfd_vm *vm = smp_load_acquire(&kvm->ioregionfd), *other = NULL;
	int i;

	if (vm)
		return vm;
	vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return NULL;
	kref_init(&vm->refs);
	for (i = 0; i < ARRAY_SIZE(vm->regions); i++)
		mt_init_flags(&vm->regions[i], MT_FLAGS_USE_RCU);
	spin_lock_init(&vm->lock);
	INIT_LIST_HEAD(&vm->channels);

	/*
	 * A full barrier: pairs with the acquires, here and in ioregionfd_region_find().
	 * Litmus: vm-make.
	 */
	if (try_cmpxchg(&kvm->ioregionfd, &other, vm))
		return vm;
	kfree(vm);
	return other;
}

/**
 * ioregionfd_region_find() - look up the region of an access
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

	/* Pairs with the exchange in ioregionfd_vm_make(). Litmus: vm-make. */
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
	region->channel->ops->put(region->channel);
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

	channel = ioregionfd_native_get(kvm, args->read_fd, args->write_fd);
	if (!channel)
		channel = ioregionfd_socket_get(kvm, args->read_fd, args->write_fd);
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

static int ioregionfd_insert(struct ioregionfd_vm *vm, struct ioregionfd_region *region)
{
	int r;

	lockdep_assert_held(&region->kvm->slots_lock);

	if (vm->count == IOREGIONFD_MAX_REGIONS)
		return -ENOSPC;
	r = mtree_insert_range(&vm->regions[region->pio], region->first,
			       region->last, region, GFP_KERNEL_ACCOUNT);
	if (!r)
		vm->count++;
	return r;
}

static int ioregionfd_assign(struct kvm *kvm, const struct kvm_ioregionfd *args)
{
	struct ioregionfd_vm *vm = ioregionfd_vm_make(kvm);
	struct ioregionfd_region *region;
	int r;

	if (!vm)
		return -ENOMEM;
	region = ioregionfd_region_new(kvm, args);
	if (IS_ERR(region))
		return PTR_ERR(region);

	mutex_lock(&kvm->slots_lock);
	r = ioregionfd_insert(vm, region);
	/* From the unlock on DEASSIGN may free the region, and its channel. */
	if (region->channel->ops->assigned)
		region->channel->ops->assigned(region->channel, !r);
	mutex_unlock(&kvm->slots_lock);
	if (r) {
		region->channel->ops->deassign(region);
		ioregionfd_region_put(region);
	}
	return r;
}

/* Takes the region out of the tree. It keeps the reference for being there. */
static struct ioregionfd_region *ioregionfd_erase(struct kvm *kvm,
						  const struct kvm_ioregionfd *args)
{
	bool pio = args->flags & KVM_IOREGION_PIO;
	struct ioregionfd_vm *vm = kvm->ioregionfd;
	struct ioregionfd_region *region;
	int r;

	lockdep_assert_held(&kvm->slots_lock);

	if (!vm)
		return ERR_PTR(-ENOENT);
	region = mtree_load(&vm->regions[pio], args->guest_paddr);
	if (!region || region->first != args->guest_paddr ||
	    region->last - region->first != args->memory_size - 1)
		return ERR_PTR(-ENOENT);

	/* Not mtree_erase(), which has to allocate, too, and cannot say that it failed */
	r = mtree_store_range(&vm->regions[pio], region->first, region->last, NULL,
			      GFP_KERNEL_ACCOUNT);
	if (r)
		return ERR_PTR(r);
	vm->count--;
	return region;
}

static int ioregionfd_deassign(struct kvm *kvm, const struct kvm_ioregionfd *args)
{
	struct ioregionfd_region *region;

	mutex_lock(&kvm->slots_lock);
	region = ioregionfd_erase(kvm, args);
	mutex_unlock(&kvm->slots_lock);
	if (IS_ERR(region))
		return PTR_ERR(region);

	region->channel->ops->deassign(region);
	ioregionfd_region_put(region);
	return 0;
}

/**
 * kvm_vm_ioctl_set_ioregionfd() - KVM_SET_IOREGIONFD
 * @kvm: the VM
 * @argp: a struct kvm_ioregionfd in user memory
 *
 * Context: may sleep; takes kvm->slots_lock, under which no file is used and nobody
 * waited for.
 * Return: 0, or a negative errno as in Documentation/virt/kvm/ioregionfd.rst.
 */
int kvm_vm_ioctl_set_ioregionfd(struct kvm *kvm, void __user *argp)
{
	struct kvm_ioregionfd args;
	u64 end;

	if (!kvm_exits_like_emulator(kvm))
		return -EOPNOTSUPP;
	if (copy_from_user(&args, argp, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~IOREGION_FLAGS)
		return -EINVAL;
	if (memchr_inv(args.pad, 0, sizeof(args.pad)))
		return -EINVAL;
	if (!args.memory_size ||
	    check_add_overflow(args.guest_paddr, args.memory_size, &end))
		return -EINVAL;
	if ((args.flags & KVM_IOREGION_PIO) && end > IOREGIONFD_PORTS)
		return -EINVAL;

	if (args.flags & KVM_IOREGION_DEASSIGN)
		return ioregionfd_deassign(kvm, &args);
	return ioregionfd_assign(kvm, &args);
}

/**
 * kvm_ioctl_create_ioregionfd() - KVM_CREATE_IOREGIONFD
 * @kvm: the VM, or NULL: it is the ioctl of /dev/kvm
 * @argp: a struct kvm_create_ioregionfd in user memory
 *
 * Context: may sleep.
 * Return: the file descriptor, or a negative errno as in
 * Documentation/virt/kvm/ioregionfd.rst.
 */
int kvm_ioctl_create_ioregionfd(struct kvm *kvm, void __user *argp)
{
	struct kvm_create_ioregionfd args;

	if (copy_from_user(&args, argp, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~IOREGIONFD_FLAGS)
		return -EINVAL;
	if (memchr_inv(args.pad, 0, sizeof(args.pad)))
		return -EINVAL;
	if (!args.nr_mailboxes || args.nr_mailboxes > KVM_MAX_VCPU_IDS)
		return -EINVAL;
	if (!is_power_of_2(args.nr_posted) || args.nr_posted > KVM_IOREGIONFD_MAX_POSTED)
		return -EINVAL;
	return ioregionfd_native_create(kvm, &args);
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

	if (!vm)
		return;
	ioregionfd_native_vm_destroy(vm);
	for (i = 0; i < ARRAY_SIZE(vm->regions); i++) {
		index = 0;
		mt_for_each(&vm->regions[i], region, index, ULONG_MAX)
			ioregionfd_region_put(region);
		mtree_destroy(&vm->regions[i]);
	}
	ioregionfd_vm_put(vm);
}
