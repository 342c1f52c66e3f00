/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the three parts of ioregionfd share:
 *
 *   control.c	the ioctl: which addresses belong to which region
 *   dispatch.c	KVM_RUN: catches an access, has it served, completes it
 *   channel.c	a pair of files: carries one command and its response
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
 * @gone: it has been removed; set once, under the channel's lock
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
 * @refs: one for the vCPU that made it, one for the channel while on the wire
 * @cmd: the command, constant
 * @resp: the response, valid when @done
 * @sent: bytes of @cmd that have left
 * @received: bytes of @resp that have arrived
 * @started: it is or was on the wire; under the channel's lock
 * @done: it is complete; under the channel's lock
 *
 * @sent, @received and @resp belong to the task that drives the channel, see
 * channel.c. Once ioregionfd_call_run() has said that the call is over, they
 * belong to the vCPU.
 *
 * A call may outlive its vCPU and its region: it refers to neither.
 */
struct ioregionfd_call {
	refcount_t refs;
	struct ioregionfd_cmd cmd;
	struct ioregionfd_resp resp;
	u8 sent;
	u8 received;
	bool started;
	bool done;
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

struct ioregionfd_call *ioregionfd_call_new(void);
int ioregionfd_call_run(struct ioregionfd_region *region,
			struct ioregionfd_call *call, bool wait);
bool ioregionfd_call_end(struct ioregionfd_region *region,
			 struct ioregionfd_call *call);

struct ioregionfd_channel *ioregionfd_channel_get(int read_fd, int write_fd);
void ioregionfd_channel_put(struct ioregionfd_channel *ch, struct kvm *kvm);
void ioregionfd_channels_release(struct kvm *kvm);
void ioregionfd_channel_leave(struct ioregionfd_region *region);
struct ioregionfd_failure
ioregionfd_channel_failure(struct ioregionfd_channel *ch);

#endif /* __KVM_IOREGIONFD_INTERNAL_H */
