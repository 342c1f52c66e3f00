/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of ioregionfd share:
 *
 *   control.c	the VM's ioctls: which addresses belong to which region
 *   dispatch.c	the vCPU: intercepts an access, has it served, completes it
 *   arch.h	what dispatch.c asks of the architecture; x86.h, arm64.h, riscv.h answer
 *   socket.c	a channel over a socket that the VMM gave
 *   file.c	a native channel: how it is made, bound to a VM, and its file descriptor
 *   mailbox.c	what a vCPU does with a native channel; where it waits
 *   fetch.c	what a device task does with it: fetch, complete, wait
 *   uring.c	the same by io_uring
 */
#ifndef __KVM_IOREGIONFD_INTERNAL_H
#define __KVM_IOREGIONFD_INTERNAL_H

#include <linux/ioregionfd.h>
#include <linux/kref.h>
#include <linux/kvm_ioregionfd_host.h>
#include <linux/list.h>
#include <linux/maple_tree.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct ioregionfd_channel;

/**
 * struct ioregionfd_vm - what a VM has of ioregionfd
 * @refs: one for the VM, one for each channel that was made for it
 * @regions: by address; regions[0] are of memory, regions[1] of ports. Changed under
 *	kvm->slots_lock, looked up under RCU
 * @count: how many there are; under kvm->slots_lock
 * @lock: guards @channels and @bytes. Nothing is waited for under it, and no file used
 * @channels: native channels of the VM whose file is open
 * @bytes: what they take, and those that are released but still have regions
 *
 * Made when it is first needed. Two VMs share nothing.
 */
struct ioregionfd_vm {
	struct kref refs;
	struct maple_tree regions[2];
	unsigned int count;
	spinlock_t lock; /* for channels and bytes */
	struct list_head channels;
	size_t bytes;
};

/**
 * struct ioregionfd_region - addresses that a device task emulates
 * @refs: one for being looked up (dropped by deassign), one for each access
 * @rcu: to free it after lookups that run under RCU
 * @kvm: the VM
 * @channel: where its commands go; the region holds a reference
 * @first: first address or port
 * @last: last address or port
 * @user_data: for the device task
 * @pio: whether it is one of ports
 * @posted: whether writes get no response
 * @removed: it has been removed; set once, by the channel's deassign()
 *
 * All but @refs and @removed are constant.
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
	bool removed;
};

struct ioregionfd_vm *ioregionfd_vm_make(struct kvm *kvm);
void ioregionfd_vm_put(struct ioregionfd_vm *vm);
struct ioregionfd_region *ioregionfd_region_find(struct kvm *kvm, bool pio,
						 u64 addr, unsigned int len);
void ioregionfd_region_put(struct ioregionfd_region *region);

/**
 * struct ioregionfd_req - one command and its response
 * @cmd: the command, constant while under way
 * @data: the value of the response, valid once the request is done
 * @status: IOREGIONFD_STATUS_*, likewise; a value that is none counts as
 *	IOREGIONFD_STATUS_UNMAPPED
 * @slept: the vCPU had to sleep for it, or was not able to tell
 */
struct ioregionfd_req {
	struct ioregionfd_cmd cmd;
	u64 data;
	u32 status;
	bool slept;
};

/* Whether the device task has to respond to a command. */
static inline bool wants_response(const struct ioregionfd_cmd *cmd)
{
	return cmd->flags & IOREGIONFD_CMD_F_RESP;
}

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
 * @req_new: begins a request for a vCPU, which has one at most. The caller fills in
 *	@cmd. May sleep. Returns an ERR_PTR if out of memory (-ENOMEM) or if there is no
 *	mailbox for the vCPU (-ENXIO).
 * @req_try: carries the request out if it can. Called in the middle of a VM exit,
 *	within kvm->srcu, which it leaves for as long as it sleeps. Returns 0 if it
 *	is done, or -EINPROGRESS: @req_run goes on with it. NULL: only @req_run can.
 * @req_run: carries the request out, or goes on with it; @wait: whether it may wait
 *	for the device task. May sleep; must not be under a lock or in an SRCU
 *	section. Returns 0 if it is done; -EINTR: a signal came, or it cannot go
 *	on without waiting, run it again; -ENOMEM: likewise; -EIO: the channel
 *	has failed; -ECANCELED: the region has been removed.
 * @req_done: whether a request that has been run is done by now. Starts nothing, and
 *	waits for nobody.
 * @req_finish: lets a request go that is done. NULL: nothing is to be let go.
 * @req_abandon: lets a request go that is not done, in whatever state it is. What was not
 *	sent is taken back; for the rest, the response is dropped when it comes. May
 *	sleep. Returns KVM_IOREGIONFD_SENT_*: what the device task may have seen.
 * @failure: why the channel has failed; the reason is 0 if it has not.
 * @assigned: KVM_SET_IOREGIONFD has come to its end, with a region or without. Under
 *	kvm->slots_lock: may only take spin locks. NULL: it does not matter.
 * @deassign: a region is removed, and cannot be found any more: starts no command for
 *	it, and no vCPU goes on waiting for one. Sets region->removed. May sleep; holds
 *	no lock that anybody else has a use for.
 * @put: drops a region's reference. May sleep. At the end of a VM without @deassign.
 */
struct ioregionfd_channel_ops {
	struct ioregionfd_req *(*req_new)(struct ioregionfd_region *region,
					  struct kvm_vcpu *vcpu);
	int (*req_try)(struct ioregionfd_region *region,
		       struct ioregionfd_req *req, struct kvm_vcpu *vcpu);
	int (*req_run)(struct ioregionfd_region *region,
		       struct ioregionfd_req *req, struct kvm_vcpu *vcpu,
		       bool wait);
	bool (*req_done)(struct ioregionfd_region *region,
			 struct ioregionfd_req *req);
	void (*req_finish)(struct ioregionfd_region *region,
			   struct ioregionfd_req *req);
	u8 (*req_abandon)(struct ioregionfd_region *region,
			  struct ioregionfd_req *req);
	struct ioregionfd_failure (*failure)(struct ioregionfd_channel *channel);
	void (*assigned)(struct ioregionfd_channel *channel, bool success);
	void (*deassign)(struct ioregionfd_region *region);
	void (*put)(struct ioregionfd_channel *channel);
};

/**
 * struct ioregionfd_channel - a way to a device task, of one kind or the other
 * @ops: what it does
 */
struct ioregionfd_channel {
	const struct ioregionfd_channel_ops *ops;
};

/* socket.c */
struct ioregionfd_channel *ioregionfd_socket_get(struct kvm *kvm, int read_fd,
						 int write_fd);

/* file.c */
int ioregionfd_native_create(struct kvm *kvm,
			     const struct kvm_create_ioregionfd *args);
struct ioregionfd_channel *ioregionfd_native_get(struct kvm *kvm, int read_fd,
						 int write_fd);
void ioregionfd_native_vm_destroy(struct ioregionfd_vm *vm);

#endif /* __KVM_IOREGIONFD_INTERNAL_H */
