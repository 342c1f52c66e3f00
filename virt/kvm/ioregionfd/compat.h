/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ioregionfd, compat: the kernels that this is built for differ in these things, and
 * no other file looks at which of them it is.
 */
#ifndef __IOREGIONFD_COMPAT_H
#define __IOREGIONFD_COMPAT_H

#include <linux/io_uring/cmd.h>
#include <linux/kvm_host.h>
#include <linux/sched.h>
#include <net/af_unix.h>

/*
 * URING_TASK_WORK() - define what io_uring_cmd_complete_in_task() takes
 * @name: its name
 * @run: what it calls, with the command, the flags to complete it with, and whether the
 *	task that submitted it is about to end
 */
#ifdef IO_URING_CMD_TASK_WORK_ISSUE_FLAGS

#define URING_TASK_WORK(name, run)						\
static void name(struct io_tw_req req, io_tw_token_t tw)			\
{										\
	run(io_uring_cmd_from_tw(req), IO_URING_CMD_TASK_WORK_ISSUE_FLAGS, tw.cancel); \
}

static inline void uring_done(struct io_uring_cmd *cmd, int r, unsigned int issue_flags)
{
	io_uring_cmd_done(cmd, r, issue_flags);
}

#else /* 6.12 */

#define URING_TASK_WORK(name, run)						\
static void name(struct io_uring_cmd *cmd, unsigned int issue_flags)		\
{										\
	run(cmd, issue_flags, issue_flags & IO_URING_F_TASK_DEAD);		\
}

static inline void uring_done(struct io_uring_cmd *cmd, int r, unsigned int issue_flags)
{
	io_uring_cmd_done(cmd, r, 0, issue_flags);
}

#endif

/*
 * cond_resched(), also where the kernel is preempted lazily. It does nothing there: a task that
 * was woken on this CPU gets it only when this one sleeps or returns to user space.
 */
static inline bool resched_if_wanted(void)
{
#ifdef TIF_NEED_RESCHED_LAZY
	if (test_thread_flag(TIF_NEED_RESCHED_LAZY)) {
		schedule();
		return true;
	}
#endif
	return cond_resched();
}

/*
 * Whether a message carries files, which is in the receive queue of an AF_UNIX socket,
 * whose lock the caller holds. If AF_UNIX keeps that to itself: whether there are any in
 * the queue. The sender counts them before it takes the lock to queue their message.
 */
static inline bool message_has_files(struct sock *sk, struct sk_buff *skb)
{
#ifdef UNIXCB
	return UNIXCB(skb).fp;
#else
	return atomic_read(&unix_sk(sk)->scm_stat.nr_fds);
#endif
}

/*
 * A TDX VM asks for an access to memory with a hypercall. KVM makes an exit of that which
 * says nothing of the access but in the page of the VMM, so a command that has been sent
 * by then could not be told from one that is to be sent.
 */
static inline bool kvm_exits_like_emulator(struct kvm *kvm)
{
#ifdef KVM_X86_TDX_VM
	return kvm->arch.vm_type != KVM_X86_TDX_VM;
#else
	return true;
#endif
}

#endif /* __IOREGIONFD_COMPAT_H */
