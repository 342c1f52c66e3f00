/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * The ioregionfd wire protocol: what kvm.ko and a device task say to each
 * other over the file descriptor given to KVM_SET_IOREGIONFD.
 *
 * kvm.ko writes one struct ioregionfd_cmd for each guest access. If its resp
 * bit is set, the device task writes one struct ioregionfd_resp back, and
 * kvm.ko sends no further command on the same socket before it has that. Both
 * messages are 32 bytes, in the byte order of the host, and a packet each.
 *
 * A file descriptor made by KVM_CREATE_IOREGIONFD speaks this with read() and
 * write(), and offers faster ways besides: further below.
 */
#ifndef _UAPI_LINUX_IOREGIONFD_H
#define _UAPI_LINUX_IOREGIONFD_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* ioregionfd_cmd.cmd */
#define IOREGIONFD_CMD_READ	0
#define IOREGIONFD_CMD_WRITE	1

/* ioregionfd_cmd.size_exponent: the access is 1 << size_exponent bytes wide */
#define IOREGIONFD_SIZE_8BIT	0
#define IOREGIONFD_SIZE_16BIT	1
#define IOREGIONFD_SIZE_32BIT	2
#define IOREGIONFD_SIZE_64BIT	3

/**
 * struct ioregionfd_cmd - one guest access, from kvm.ko to the device task
 * @cmd: IOREGIONFD_CMD_READ or IOREGIONFD_CMD_WRITE
 * @size_exponent: IOREGIONFD_SIZE_*, the width of the access
 * @resp: 1 if the device task must send a struct ioregionfd_resp; always 1 for
 *	a read, 0 for a write to a region with KVM_IOREGION_POSTED_WRITES
 * @again: 1 if a device task that is gone may have carried the command out
 *	already, see IOREGIONFD_TAKE_OVER
 * @reserved: 0
 * @padding: 0
 * @user_data: what the VMM gave as user_data when it registered the region
 * @offset: bytes from the start of the region to the first byte accessed
 * @data: write: the value, zero-extended to 64 bits; read: 0
 */
struct ioregionfd_cmd {
	__u8 cmd;
	__u8 size_exponent : 4;
	__u8 resp : 1;
	__u8 again : 1;
	__u8 reserved : 2;
	__u8 padding[6];
	__u64 user_data;
	__u64 offset;
	__u64 data;
};

/**
 * struct ioregionfd_resp - the answer to a command whose resp bit is set
 * @data: read: the value, of which kvm.ko takes the low 1 << size_exponent
 *	bytes; write: ignored
 * @pad: must be 0
 */
struct ioregionfd_resp {
	__u64 data;
	__u8 pad[24];
};

/*
 * What follows is for file descriptors made by KVM_CREATE_IOREGIONFD.
 *
 * Such a channel has one slot for each vCPU, which holds the command that the
 * vCPU waits for, and one ring of posted writes. A command is *taken* by one
 * task and then *answered*; a posted write is taken and then *done with*. What
 * is taken stays so until its taker says otherwise or IOREGIONFD_TAKE_OVER.
 */

/**
 * struct ioregionfd_info - result of IOREGIONFD_GET_INFO
 * @size: bytes to mmap(), at offset 0, MAP_SHARED
 * @slots: slots, one for each vCPU, in the order of the vCPUs' creation
 * @posted: entries of the ring of posted writes, a power of two
 * @slots_offset: where in the mapping the array of struct ioregionfd_slot is
 * @posted_offset: where in the mapping the ring of struct ioregionfd_cmd is
 * @pad: 0
 */
struct ioregionfd_info {
	__u64 size;
	__u32 slots;
	__u32 posted;
	__u32 slots_offset;
	__u32 posted_offset;
	__u64 pad;
};

#define IOREGIONFD_GET_INFO	_IOR(0xAE, 0xd6, struct ioregionfd_info)

/**
 * struct ioregionfd_serve - argument of IOREGIONFD_SERVE
 * @id: in: the command to answer, or the posted write that is done with, as an
 *	earlier call returned it, or 0 for none; out: what has been taken. After
 *	a call that failed: 0 if the answer was given, else as before
 * @data: in: the value, if the command to answer is a read
 * @timeout: how long to wait for a command, in nanoseconds; 0: not at all;
 *	negative: without end. out, if that is more than 0 and a signal came: what is
 *	left of it
 * @vcpu: in: the slot to take a command from, or IOREGIONFD_ANY
 * @flags: in: IOREGIONFD_ANSWER_ONLY or 0
 * @cmd: out: the command or posted write
 *
 * A call for one slot also returns posted writes that come before its commands.
 */
struct ioregionfd_serve {
	__u64 id;
	__u64 data;
	__s64 timeout;
	__u32 vcpu;
	__u32 flags;
	struct ioregionfd_cmd cmd;
};

/* ioregionfd_serve.vcpu */
#define IOREGIONFD_ANY		0xffffffffU

/* ioregionfd_serve.flags */
#define IOREGIONFD_ANSWER_ONLY	(1 << 0)	/* do not take a command */

/*
 * Answer one command and take the next. As an ioctl; or, with @timeout
 * negative or 0, as the cmd_op of an IORING_OP_URING_CMD whose sqe->addr is the
 * address of the struct, which belongs to the kernel until the completion.
 */
#define IOREGIONFD_SERVE	_IOWR(0xAE, 0xd7, struct ioregionfd_serve)

/*
 * For a task that takes the place of one that is gone: what was taken and not
 * answered is delivered again, with ioregionfd_cmd.again set. Late answers of
 * the former task are refused: from now on a write() answers only what the thread
 * that calls it has read. Nobody is held to be polling any more.
 */
#define IOREGIONFD_TAKE_OVER	_IO(0xAE, 0xd8)

/*
 * Makes one IOREGIONFD_SERVE that waits, or else the next one that would, fail
 * with EINTR. May be called from a signal handler.
 */
#define IOREGIONFD_INTERRUPT	_IO(0xAE, 0xd9)

/**
 * struct ioregionfd_control - start of the mapping
 * @polling: written by the device task: not 0 while it looks at all slots and
 *	the ring by itself, so that nobody needs to be woken. If several tasks
 *	poll, it is theirs to agree on
 * @posted_tail: changed by whoever takes posted writes: index of the oldest
 *	one << 1, plus 1 while somebody has taken it and is not done with it
 * @blocked: set by kvm.ko when somebody waits for @posted_tail to move; who moves
 *	it must then call IOREGIONFD_SERVE, at least with IOREGIONFD_ANSWER_ONLY
 * @pad: unused
 * @posted_head: written by kvm.ko: index of the next posted write, modulo 2^31
 * @ended: written by kvm.ko: not 0 when the VM is gone
 * @pad2: 0
 *
 * Posted write number n is entry n modulo ioregionfd_info.posted of the ring.
 *
 * To take posted writes: compare and exchange @posted_tail from n << 1 to
 * n << 1 | 1, if n differs from @posted_head (load acquire); handle one or more;
 * store (release) the new index << 1; full barrier; look at @blocked.
 *
 * Before it sleeps the device task stores 0 in @polling, and in the polling of
 * slots; then, after a full barrier, looks once more; then calls
 * IOREGIONFD_SERVE, read(), poll() or io_uring_enter().
 */
struct ioregionfd_control {
	__u32 polling;
	__u32 posted_tail;
	__u32 blocked;
	__u32 pad[13];
	__u32 posted_head;
	__u32 ended;
	__u32 pad2[14];
};

/**
 * struct ioregionfd_slot - a vCPU's command, in the mapping
 * @state: IOREGIONFD_SLOT_* in the bits of IOREGIONFD_SLOT_STATE;
 *	IOREGIONFD_SLOT_WAITING; above these the number of the command
 * @polling: as ioregionfd_control.polling, for this slot alone
 * @cmd: the command, if the state is IOREGIONFD_SLOT_POSTED or _TAKEN
 * @answer: the value: its low 32 bits in answer[0], its high 32 bits in answer[1],
 *	each below the number of the command
 * @posted: the posted writes before this index come before the command
 * @pad: 0
 *
 * To take a command: load (acquire) @state; if it is IOREGIONFD_SLOT_POSTED and
 * ioregionfd_control.posted_tail >> 1 has come to @posted or gone past it, compare
 * and exchange it to IOREGIONFD_SLOT_TAKEN, other bits unchanged.
 *
 * To answer it: compare and exchange each half of @answer, from what it is, provided
 * that its upper 32 bits are the number of the command, to that number << 32 plus 32
 * bits of the value; then compare and exchange (release) @state from that value to the
 * same with IOREGIONFD_SLOT_DONE. If IOREGIONFD_SLOT_WAITING is or has been set
 * meanwhile, the vCPU sleeps: answer with IOREGIONFD_SERVE, id ioregionfd_slot_id().
 * If @answer has another number the command is not the taker's any more: stop. So a task
 * that was replaced, and does not know yet, has nowhere left to store its value.
 *
 * Everything here is untrusted on both sides of the guest: kvm.ko uses nothing
 * but the answer's value, and only for this very command.
 */
struct ioregionfd_slot {
	__u32 state;
	__u32 polling;
	struct ioregionfd_cmd cmd;
	__u64 answer[2];
	__u32 posted;
	__u32 pad;
};

/* ioregionfd_slot.state */
#define IOREGIONFD_SLOT_STATE	3
#define IOREGIONFD_SLOT_FREE	0
#define IOREGIONFD_SLOT_POSTED	1	/* waits to be taken */
#define IOREGIONFD_SLOT_TAKEN	2	/* waits to be answered */
#define IOREGIONFD_SLOT_DONE	3	/* answered */
#define IOREGIONFD_SLOT_WAITING	4	/* the vCPU sleeps */
#define IOREGIONFD_SLOT_SHIFT	3	/* the number of the command begins here */

/**
 * ioregionfd_slot_answer() - one half of an answer
 * @number: of the command: its state >> IOREGIONFD_SLOT_SHIFT
 * @half: 0 for the low 32 bits of the value, 1 for the high ones
 * @value: the value
 *
 * Return: what belongs in ioregionfd_slot.answer[@half].
 */
static inline __u64 ioregionfd_slot_answer(__u32 number, int half, __u64 value)
{
	return (__u64)number << 32 | (__u32)(value >> 32 * half);
}

/**
 * ioregionfd_slot_id() - the id of a command for IOREGIONFD_SERVE
 * @slot: index of the slot
 * @state: its state
 *
 * Return: what IOREGIONFD_SERVE would have returned in id for that command.
 */
static inline __u64 ioregionfd_slot_id(__u32 slot, __u32 state)
{
	return ((__u64)slot + 1) << 32 | state >> IOREGIONFD_SLOT_SHIFT;
}

/**
 * ioregionfd_id_slot() - the slot of a command that IOREGIONFD_SERVE returned
 * @id: its id
 *
 * Return: the index of the slot, or IOREGIONFD_ANY for a posted write.
 */
static inline __u32 ioregionfd_id_slot(__u64 id)
{
	__u32 high = id >> 32;

	return high == IOREGIONFD_ANY ? IOREGIONFD_ANY : high - 1;
}

#endif /* _UAPI_LINUX_IOREGIONFD_H */
