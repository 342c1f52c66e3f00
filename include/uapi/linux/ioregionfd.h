/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * The ioregionfd protocol: what kvm.ko and a device task say to each other over
 * the file descriptor given to KVM_SET_IOREGIONFD.
 *
 * kvm.ko sends one struct ioregionfd_cmd for each guest access. If the command has
 * IOREGIONFD_CMD_F_RESP, the device task sends one struct ioregionfd_resp back, and
 * kvm.ko sends no further command on the same socket before it has that. Both
 * messages are 32 bytes, in the byte order of the host, and a packet each.
 *
 * A native channel, made by KVM_CREATE_IOREGIONFD, speaks this with read() and
 * write(), and offers faster ways besides: further below.
 */
#ifndef _UAPI_LINUX_IOREGIONFD_H
#define _UAPI_LINUX_IOREGIONFD_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* ioregionfd_cmd.cmd */
#define IOREGIONFD_CMD_READ	0
#define IOREGIONFD_CMD_WRITE	1

/* ioregionfd_cmd.flags: the access is 1 << (flags & IOREGIONFD_CMD_SIZE_MASK) bytes wide */
#define IOREGIONFD_CMD_SIZE_MASK	0x0f
#define IOREGIONFD_SIZE_8BIT		0
#define IOREGIONFD_SIZE_16BIT		1
#define IOREGIONFD_SIZE_32BIT		2
#define IOREGIONFD_SIZE_64BIT		3

/*
 * The device task must send a struct ioregionfd_resp. Always set for a read, not set
 * for a posted write: one to a region with KVM_IOREGION_POSTED_WRITES.
 */
#define IOREGIONFD_CMD_F_RESP		0x10

/*
 * Redelivered: a device task that was replaced may have carried the command out
 * already, see IOREGIONFD_RECOVER.
 */
#define IOREGIONFD_CMD_F_REDELIVERED	0x20

/* ioregionfd_cmd.attrs */
#define IOREGIONFD_ATTR_X86_SMM		0x0001	/* the vCPU is in system management mode */

/**
 * struct ioregionfd_cmd - one guest access, from kvm.ko to the device task
 * @cmd: IOREGIONFD_CMD_READ or IOREGIONFD_CMD_WRITE
 * @flags: the width of the access, IOREGIONFD_SIZE_*, and IOREGIONFD_CMD_F_*
 * @attrs: IOREGIONFD_ATTR_*, what is special about the access
 * @vcpu_id: which vCPU: its id, as given to KVM_CREATE_VCPU
 * @user_data: what the VMM gave as user_data when it registered the region
 * @offset: bytes from the start of the region to the first byte accessed
 * @data: write: the value, zero-extended to 64 bits; read: 0
 *
 * A device task ignores bits of @flags and @attrs that it does not know.
 */
struct ioregionfd_cmd {
	__u8 cmd;
	__u8 flags;
	__u16 attrs;
	__u32 vcpu_id;
	__u64 user_data;
	__u64 offset;
	__u64 data;
};

/*
 * The status of a response.
 *
 * IOREGIONFD_STATUS_DONE: the access has been carried out.
 *
 * IOREGIONFD_STATUS_UNMAPPED: there is no such register. A read gives all ones, a write
 * changes nothing.
 *
 * IOREGIONFD_STATUS_TO_VMM: the VMM is to carry the access out, as if it were not in a
 * region. It gets KVM_EXIT_MMIO or KVM_EXIT_IO; or, if a part of the same access has
 * been carried out already, KVM_EXIT_IOREGIONFD_FAILURE with
 * KVM_IOREGIONFD_FAIL_TO_VMM.
 */
#define IOREGIONFD_STATUS_DONE		0
#define IOREGIONFD_STATUS_UNMAPPED	1
#define IOREGIONFD_STATUS_TO_VMM	2

/**
 * struct ioregionfd_resp - the response to a command with IOREGIONFD_CMD_F_RESP
 * @data: the value of a read whose status is IOREGIONFD_STATUS_DONE, of which kvm.ko
 *	takes the bytes that were accessed; else ignored
 * @status: IOREGIONFD_STATUS_*
 * @pad: must be 0
 */
struct ioregionfd_resp {
	__u64 data;
	__u32 status;
	__u32 pad[5];
};

/*
 * What follows is for native channels.
 *
 * Such a channel has a mailbox for each vCPU, which holds the command that the vCPU
 * waits for, and one ring of posted writes. A device task *fetches* a command and then
 * *completes* it; it fetches a posted write and then *retires* it. What has been fetched
 * stays so until one of the two, or IOREGIONFD_RECOVER.
 */

/* ioregionfd_info.version: changes only if a device task that knows the old one fails */
#define IOREGIONFD_VERSION	1

/**
 * struct ioregionfd_info - result of IOREGIONFD_GET_INFO
 * @size: bytes to mmap(), at offset 0, MAP_SHARED
 * @nr_mailboxes: mailboxes; number n is that of the vCPU whose id is n
 * @nr_posted: entries of the ring of posted writes, a power of two
 * @mailboxes_offset: where in the mapping the array of struct ioregionfd_mailbox is
 * @posted_offset: where in the mapping the ring of struct ioregionfd_cmd is
 * @version: IOREGIONFD_VERSION
 * @statuses: mask of what the channel takes as a status: 1 << IOREGIONFD_STATUS_*
 * @features: what else the channel can do; none is defined yet
 * @pad: 0
 */
struct ioregionfd_info {
	__u64 size;
	__u32 nr_mailboxes;
	__u32 nr_posted;
	__u32 mailboxes_offset;
	__u32 posted_offset;
	__u32 version;
	__u32 statuses;
	__u64 features;
	__u64 pad[3];
};

#define IOREGIONFD_IOC_MAGIC	0xBE

#define IOREGIONFD_GET_INFO	_IOR(IOREGIONFD_IOC_MAGIC, 0x00, struct ioregionfd_info)

/**
 * struct ioregionfd_fetch - argument of IOREGIONFD_COMMIT_AND_FETCH
 * @id: in: the command to complete, or the posted write to retire, as an earlier call
 *	returned it, or 0 for none; out: what has been fetched; if the call fails, see below
 * @data: in: the value, if the command to complete is a read
 * @timeout: how long to wait for a command, in nanoseconds; 0: not at all;
 *	negative: without end. out, if that is more than 0 and a signal came: what is
 *	left of it
 * @vcpu: in: the id of the vCPU whose commands to fetch, or IOREGIONFD_ANY
 * @flags: in: IOREGIONFD_COMMIT_ONLY or 0
 * @status: in: IOREGIONFD_STATUS_*, of the command to complete; checked whatever @id is
 * @cmd: out: the command or posted write
 *
 * A call for one vCPU also returns posted writes that come before its commands.
 *
 * Errors before anything has been completed or retired, with @id as before: EINVAL: the
 * argument; ENOENT: @id is no command that has been fetched, or it is not the caller's any
 * more since IOREGIONFD_RECOVER; with io_uring, EBUSY: too many wait already; and ENOMEM.
 *
 * ESTALE: the access has ended without this response: the VMM was told that it failed, and
 * its effect may be asked for again. @id is 0.
 *
 * Errors after @id has been completed or retired, when nothing has been fetched: EAGAIN:
 * @timeout is 0 and there is nothing to fetch, or ioregionfd_control.posted_tail keeps
 * moving, whatever @timeout is; ETIMEDOUT: nothing came in that time; EINTR: a signal;
 * ECANCELED: IOREGIONFD_INTERRUPT, or the end of a command of io_uring; ENODEV: the VM is
 * gone; as an ioctl, EBUSY: too many wait already. @id is 0, or, if the ring or the task of
 * a command of io_uring has ended, may be as before.
 *
 * EFAULT: the argument cannot be read, and nothing has been done; or it cannot be written,
 * and @id has been completed or retired.
 */
struct ioregionfd_fetch {
	__u64 id;
	__u64 data;
	__s64 timeout;
	__u32 vcpu;
	__u16 flags;
	__u16 status;
	struct ioregionfd_cmd cmd;
};

/* ioregionfd_fetch.vcpu */
#define IOREGIONFD_ANY		0xffffffffU

/* ioregionfd_fetch.flags */
#define IOREGIONFD_COMMIT_ONLY	(1 << 0)	/* do not fetch a command */

/*
 * Complete one command and fetch the next. As an ioctl; or, with @timeout negative or
 * 0, as the cmd_op of an IORING_OP_URING_CMD whose sqe->addr is the address of the
 * struct, which belongs to the kernel until the completion.
 */
#define IOREGIONFD_COMMIT_AND_FETCH	\
	_IOWR(IOREGIONFD_IOC_MAGIC, 0x01, struct ioregionfd_fetch)

/*
 * For a task that replaces one that is gone: what had been fetched and not completed is
 * delivered again, with IOREGIONFD_CMD_F_REDELIVERED. Late responses of the former task
 * are refused: from now on a write() completes only what the thread that calls it has
 * read. Nobody is held to be polling any more.
 */
#define IOREGIONFD_RECOVER	_IO(IOREGIONFD_IOC_MAGIC, 0x02)

/*
 * Makes one ioctl IOREGIONFD_COMMIT_AND_FETCH that waits, or else the next one that would,
 * fail with ECANCELED. May be called from a signal handler. A command of io_uring that
 * waits ends with its ring, or with the task that submitted it.
 */
#define IOREGIONFD_INTERRUPT	_IO(IOREGIONFD_IOC_MAGIC, 0x03)

/**
 * struct ioregionfd_control - start of the mapping
 * @polling: written by the device task: not 0 while it looks at all mailboxes and
 *	the ring by itself, so that nobody needs to be woken. If several tasks
 *	poll, it is theirs to agree on
 * @blocked: set by kvm.ko when somebody waits for @posted_tail to move; who moves
 *	it must then call IOREGIONFD_COMMIT_AND_FETCH, at least with
 *	IOREGIONFD_COMMIT_ONLY
 * @posted_tail: changed by whoever fetches posted writes. Bits 1 to 31: index of the
 *	oldest one. Bit 0: somebody has fetched it and not retired it. The bits above
 *	are changed by IOREGIONFD_RECOVER, so that whoever fetched before cannot retire
 * @pad: unused
 * @posted_head: written by kvm.ko: index of the next posted write, modulo 2^31
 * @vm_dead: written by kvm.ko: not 0 when the VM is gone
 * @pad2: 0
 *
 * Posted write number n is entry n modulo ioregionfd_info.nr_posted of the ring.
 *
 * To fetch posted writes: load @posted_tail (acquire), and after it @posted_head
 * (acquire), which is never behind. If bit 0 is clear, and ioregionfd_posted_index()
 * differs from @posted_head, compare and exchange @posted_tail to the same plus 1;
 * handle n of them, one or more; to retire them, compare and exchange (release)
 * @posted_tail to what was loaded plus 2 * n; full barrier; look at @blocked. A task
 * that may have been replaced copies each one, and looks at @posted_tail once more
 * before it handles the copy: if it has changed, they are another task's by now.
 *
 * Before it sleeps the device task stores 0 in @polling, and in the polling of
 * mailboxes; then, after a full barrier, looks once more; then calls
 * IOREGIONFD_COMMIT_AND_FETCH, read(), poll() or io_uring_enter().
 *
 * KVM_IOREGION_DEASSIGN leaves the region's posted writes in the ring. They have all been
 * retired when the index in @posted_tail has come to the @posted_head that is read after it.
 */
struct ioregionfd_control {
	__u32 polling;
	__u32 blocked;
	__u64 posted_tail;
	__u32 pad[12];
	__u32 posted_head;
	__u32 vm_dead;
	__u32 pad2[14];
};

/**
 * struct ioregionfd_mailbox - a vCPU's command, in the mapping
 * @state: IOREGIONFD_MAILBOX_* in the bits of IOREGIONFD_MAILBOX_STATE;
 *	IOREGIONFD_MAILBOX_WAITING; above these the number of the command
 * @polling: as ioregionfd_control.polling, for this mailbox alone
 * @cmd: the command, if the state is IOREGIONFD_MAILBOX_PENDING or _FETCHED
 * @data: the value: its low 32 bits in data[0], its high 32 bits in data[1],
 *	each below the number of the command
 * @posted_before: the posted writes before this index come before the command
 * @pad: 0
 *
 * To fetch a command: load (acquire) @state; if it is IOREGIONFD_MAILBOX_PENDING and
 * the index in ioregionfd_control.posted_tail has come to @posted_before or gone past it,
 * compare and exchange it to IOREGIONFD_MAILBOX_FETCHED, other bits unchanged.
 *
 * To complete it: compare and exchange each half of @data, from what it is, provided
 * that its upper 32 bits are the number of the command, to that number << 32 plus 32
 * bits of the value; then compare and exchange (release) @state from what it was to the
 * same with IOREGIONFD_MAILBOX_COMPLETE plus the status. If any of these is not as
 * expected, complete the command with IOREGIONFD_COMMIT_AND_FETCH, id
 * ioregionfd_cmd_id(): the vCPU may sleep (IOREGIONFD_MAILBOX_WAITING), or have given the
 * command up (IOREGIONFD_MAILBOX_ABANDONED), or the command may be another task's by now.
 * So a task that was replaced, and does not know yet, has nowhere left to store its value.
 *
 * Neither side trusts what is here: kvm.ko uses nothing but the value and the status of
 * the response, and only for this very command.
 */
struct ioregionfd_mailbox {
	__u32 state;
	__u32 polling;
	struct ioregionfd_cmd cmd;
	__u64 data[2];
	__u32 posted_before;
	__u32 pad;
};

/* ioregionfd_mailbox.state */
#define IOREGIONFD_MAILBOX_STATE	7
#define IOREGIONFD_MAILBOX_FREE		0
#define IOREGIONFD_MAILBOX_PENDING	1	/* waits to be fetched */
#define IOREGIONFD_MAILBOX_FETCHED	2	/* waits to be completed */
#define IOREGIONFD_MAILBOX_ABANDONED	3	/* fetched; the vCPU waits for it no more */
#define IOREGIONFD_MAILBOX_COMPLETE	4	/* plus the status */
#define IOREGIONFD_MAILBOX_WAITING	8	/* the vCPU sleeps */
#define IOREGIONFD_MAILBOX_SHIFT	4	/* the number of the command begins here */

/**
 * ioregionfd_mailbox_data() - one half of a response
 * @number: of the command: its state >> IOREGIONFD_MAILBOX_SHIFT
 * @half: 0 for the low 32 bits of the value, 1 for the high ones
 * @value: the value
 *
 * Return: what belongs in ioregionfd_mailbox.data[@half].
 */
static inline __u64 ioregionfd_mailbox_data(__u32 number, int half, __u64 value)
{
	return ((__u64)number << 32) | ((value >> (32 * half)) & 0xffffffffU);
}

/**
 * ioregionfd_cmd_id() - the id of a command for IOREGIONFD_COMMIT_AND_FETCH
 * @vcpu_id: whose mailbox it is in
 * @state: the mailbox's state
 *
 * Return: what IOREGIONFD_COMMIT_AND_FETCH would have returned in id for it.
 */
static inline __u64 ioregionfd_cmd_id(__u32 vcpu_id, __u32 state)
{
	return (((__u64)vcpu_id + 1) << 32) | (state >> IOREGIONFD_MAILBOX_SHIFT);
}

/**
 * ioregionfd_id_vcpu() - the vCPU of a command that was fetched
 * @id: as IOREGIONFD_COMMIT_AND_FETCH returned it
 *
 * Return: the vCPU's id, or IOREGIONFD_ANY for a posted write.
 */
static inline __u32 ioregionfd_id_vcpu(__u64 id)
{
	return id >> 63 ? IOREGIONFD_ANY : (__u32)(id >> 32) - 1;
}

/**
 * ioregionfd_posted_index() - which posted write is the oldest
 * @tail: ioregionfd_control.posted_tail
 *
 * Return: its index, modulo 2^31.
 */
static inline __u32 ioregionfd_posted_index(__u64 tail)
{
	return (__u32)tail >> 1;
}

/**
 * ioregionfd_posted_id() - the id of a posted write for IOREGIONFD_COMMIT_AND_FETCH
 * @tail: ioregionfd_control.posted_tail when it was fetched
 *
 * Return: what IOREGIONFD_COMMIT_AND_FETCH would have returned in id for it.
 */
static inline __u64 ioregionfd_posted_id(__u64 tail)
{
	return ((__u64)1 << 63) | (tail >> 1);
}

/*
 * The ioctl numbers once more, for binding generators, which see no macro that takes
 * sizeof. As on all architectures with the generic layout of ioctl numbers.
 */
#define IOREGIONFD_GET_INFO_NR		0x8040BE00U
#define IOREGIONFD_COMMIT_AND_FETCH_NR	0xC040BE01U
#define IOREGIONFD_RECOVER_NR		0x0000BE02U
#define IOREGIONFD_INTERRUPT_NR		0x0000BE03U

#endif /* _UAPI_LINUX_IOREGIONFD_H */
