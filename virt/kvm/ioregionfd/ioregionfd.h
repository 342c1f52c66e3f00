/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of ioregionfd share:
 *
 *   control.c	the ioctls: which addresses belong to which region
 *   dispatch.c	the vCPU: catches an access, has it served, completes it
 *   files.c	a channel over a pair of files that the VMM gave
 *   slots.c	a channel that kvm.ko made: a slot for each vCPU; the vCPUs' side
 *   serve.c	its file descriptor: the device task's side
 */
#ifndef __KVM_IOREGIONFD_INTERNAL_H
#define __KVM_IOREGIONFD_INTERNAL_H

#include <linux/ioregionfd.h>
#include <linux/kvm_ioregionfd_host.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/types.h>

struct ioregionfd_channel;

/**
 * struct ioregionfd_region - addresses that a device task answers for
 * @refs: one for being looked up (dropped by deassign), one for each access
 * @rcu: to free it after lookups that run under RCU
 * @kvm: the VM
 * @channel: where its commands go; the region holds a reference
 * @first: first address or port
 * @last: last address or port
 * @user_data: for the device task
 * @pio: whether it is one of ports
 * @posted: whether writes get no response
 * @gone: it has been removed; set once, by the channel's leave()
 *
 * All but @refs and @gone are constant.
 */
struct ioregionfd_region {
	refcount_t refs;
	struct rcu_head rcu;
	struct kvm *kvm;
	struct ioregionfd_channel *channel;
	u64 first;
	u64 last;
	u64 user_data;
	bool pio;
	bool posted;
	bool gone;
};

struct ioregionfd_region *ioregionfd_region_find(struct kvm *kvm, bool pio,
						 u64 addr, unsigned int len);
void ioregionfd_region_put(struct ioregionfd_region *region);

/**
 * struct ioregionfd_call - one command and its response
 * @cmd: the command, constant while under way
 * @data: the value of the response, valid once the call is done
 * @slept: the vCPU had to sleep for it, or was not able to tell
 */
struct ioregionfd_call {
	struct ioregionfd_cmd cmd;
	u64 data;
	bool slept;
};

/**
 * struct ioregionfd_failure - why a channel cannot be used any more
 * @reason: KVM_IOREGIONFD_FAIL_*, or 0 while it can be
 * @error: positive errno, or 0
 */
struct ioregionfd_failure {
	u8 reason;
	int error;
};

/**
 * struct ioregionfd_channel_ops - what a kind of channel does
 * @call_new: begins a call for a vCPU, which has one at most. The caller fills
 *	in @cmd. May sleep. Returns an ERR_PTR if out
 *	of memory (-ENOMEM) or out of slots (-ENXIO).
 * @call_try: carries the call out if it can. Called in the middle of a VM exit,
 *	within kvm->srcu, which it leaves for as long as it sleeps. Returns 0 if it
 *	is done, or -EINPROGRESS: @call_run goes on with it. NULL: only @call_run
 *	can.
 * @call_run: carries the call out, or goes on with it; @wait: whether it may wait
 *	for the device task. May sleep; must not be under a lock or in an SRCU
 *	section. Returns 0 if it is done; -EINTR: a signal came, or it cannot go
 *	on without waiting, run it again; -EIO: the channel has failed;
 *	-ECANCELED: the region has been removed.
 * @call_end: drops a call, in whatever state it is. What was not sent is taken
 *	back; for the rest, the response is dropped when it comes. May sleep.
 *	Returns KVM_IOREGIONFD_SENT_*: what the device task may have seen.
 * @failure: why the channel has failed; the reason is 0 if it has not.
 * @leave: a region is removed: starts no command for it any more, and no vCPU
 *	goes on waiting for one. Under kvm->slots_lock.
 * @put: drops a region's reference. May sleep.
 */
struct ioregionfd_channel_ops {
	struct ioregionfd_call *(*call_new)(struct ioregionfd_region *region,
					    struct kvm_vcpu *vcpu);
	int (*call_try)(struct ioregionfd_region *region,
			struct ioregionfd_call *call, struct kvm_vcpu *vcpu);
	int (*call_run)(struct ioregionfd_region *region,
			struct ioregionfd_call *call, struct kvm_vcpu *vcpu,
			bool wait);
	u8 (*call_end)(struct ioregionfd_region *region,
		       struct ioregionfd_call *call);
	struct ioregionfd_failure (*failure)(struct ioregionfd_channel *channel);
	void (*leave)(struct ioregionfd_region *region);
	void (*put)(struct ioregionfd_channel *channel, struct kvm *kvm);
};

/**
 * struct ioregionfd_channel - a way to a device task, of one kind or the other
 * @ops: what it does
 */
struct ioregionfd_channel {
	const struct ioregionfd_channel_ops *ops;
};

/* files.c */
struct ioregionfd_channel *ioregionfd_files_get(int read_fd, int write_fd);
void ioregionfd_files_vm_destroy(struct kvm *kvm);

/* slots.c */
int ioregionfd_slots_create(struct kvm *kvm,
			    const struct kvm_create_ioregionfd *args);
struct ioregionfd_channel *ioregionfd_slots_get(struct kvm *kvm, int read_fd,
						int write_fd);
void ioregionfd_slots_vm_destroy(struct kvm *kvm);

#endif /* __KVM_IOREGIONFD_INTERNAL_H */
