/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A native channel, between the vCPUs' side (mailbox.c) and the device task's
 * (fetch.c, file.c, uring.c).
 *
 * The mapping, struct ioregionfd_control and what follows it, is shared with the
 * device task, which can change all of it at any time. For each vCPU it has a
 * word, ioregionfd_mailbox.state, that says how far the vCPU's command has come:
 *
 *   FREE      -> PENDING    the vCPU, mailbox_post(); also from COMPLETE
 *   PENDING   -> FETCHED    the device task: fetch_mailbox(), or in the mapping
 *   FETCHED   -> COMPLETE   the device task: complete_mailbox(), or in the mapping
 *   PENDING   -> FREE       the vCPU takes the command back, mailbox_req_abandon()
 *   FETCHED   -> ABANDONED  the vCPU gives the command up, mailbox_req_abandon()
 *   ABANDONED -> FREE       the device task is told, complete_mailbox(), or could not
 *                           be given the command, requeue_mailbox()
 *   FETCHED   -> PENDING    it could not be given the command, requeue_mailbox()
 *   FETCHED   -> FREE       recover_mailbox(), also from ABANDONED
 *   FREE      -> PENDING    recover_mailbox() then posts it with a new number, if the
 *                           vCPU has not given it up
 *   +WAITING                the vCPU, before it sleeps; and recover_mailbox(), since it
 *                           may be asleep
 *
 * A command is posted by a store, in mailbox_publish(): the mailbox is FREE or COMPLETE
 * then, from where nobody else has a step to take. All other steps are
 * compare-and-exchange, and each with the number of the command; but if the device task
 * keeps changing the word, recover_mailbox() stores FREE in the end. So nobody can fetch
 * a command twice or complete one that has ended, if the device task keeps to it. If it
 * does not, it confuses itself: what the kernel does with the word is to give a command
 * of this channel to this channel's task, or to use a value as the response to the one
 * command that the vCPU has there.
 *
 * The value is stored before the step to COMPLETE, so whoever fetched the command may
 * lose it between the two: to recover_mailbox(), and then to the task that fetches it
 * next. For this the value, too, is stored by compare-and-exchange and only beside the
 * number of its command. That is set with the command, so what comes late finds another
 * number.
 *
 * While a command is ABANDONED the vCPU posts no other: the device task may still be
 * about to carry it out.
 */
#ifndef __KVM_IOREGIONFD_NATIVE_H
#define __KVM_IOREGIONFD_NATIVE_H

#include <linux/atomic.h>
#include <linux/io_uring/cmd.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/rcuwait.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "compat.h"
#include "ioregionfd.h"

/* Indices of posted writes have 31 bits. */
#define POSTED_MASK	0x7fffffffU

/* ioregionfd_control.posted_tail: bit 0, and what IOREGIONFD_RECOVER adds to it */
#define POSTED_FETCHED		BIT_ULL(0)
#define POSTED_RECOVERED	BIT_ULL(32)

/* The bits of a state word that hold the number of the command */
#define NUMBER_BITS	(~(u32)(BIT(IOREGIONFD_MAILBOX_SHIFT) - 1))

/*
 * Nobody changes a state so often during one exchange but to hinder it. That may cost the
 * device task its command, but nobody else more time.
 */
#define STATE_TRIES	100

/**
 * struct mailbox - what the kernel knows of a vCPU's command
 * @req: for dispatch.c
 * @shared: the mailbox in the mapping
 * @wait: where the vCPU sleeps
 * @yielder: the vCPU's task, while it has yielded its CPU instead of going to sleep
 * @tasks: device tasks that sleep until this mailbox has a command
 * @parked: io_uring commands that wait for that
 * @lock: for posting a command and giving it up, against recover_mailbox() and
 *	requeue_mailbox()
 * @number: of the command; changed under @lock
 * @redelivered: @number, if recover_mailbox() has posted the command; @number - 1, if
 *	mailbox_post() has
 * @posted_before: the posted writes before this index come before the command
 * @sent: the vCPU has posted the command and not given it up; changed by the vCPU
 *	under @lock, unless the command is complete
 * @abandoned: the vCPU has given up a command that was fetched, and has not seen yet that
 *	the device task was told
 * @spin_ns: how long the vCPU spins, adapted to what it has seen
 * @spun_at: when it began to, or 0 if it did not try
 *
 * One per vCPU, so that vCPUs do not meet. The vCPU is the one that holds
 * vcpu->mutex, and changes all of this. recover_mailbox() changes @number and
 * @redelivered, too.
 */
struct mailbox {
	struct ioregionfd_req req;
	struct ioregionfd_mailbox *shared;
	struct rcuwait wait;
	struct task_struct *yielder;
	wait_queue_head_t tasks;
	wait_queue_head_t parked;
	spinlock_t lock; /* for posting, giving up, recovering and requeueing */
	u32 number;
	u32 redelivered;
	u32 posted_before;
	bool sent;
	bool abandoned;
	unsigned int spin_ns;
	ktime_t spun_at;
} ____cacheline_aligned_in_smp;

/**
 * struct native_channel - a channel that KVM_CREATE_IOREGIONFD made
 * @channel: what regions know of it
 * @refs: one for the file, one for each region
 * @sync_wake: tell the scheduler that the vCPU is about to sleep
 * @bind_lock: guards @list, @vm, @bound, @binders and what the VM's account has of the
 *	channel; vm->lock is taken inside of it
 * @list: in ioregionfd_vm.channels, while there is @vm and the file is open
 * @vm: of the VM that it is for, a reference; NULL: not known yet
 * @bound: @vm does not change any more
 * @binders: KVM_SET_IOREGIONFDs under way that use it with @vm
 * @released: the last descriptor is gone; set once
 * @vm_dead: the VM is gone; set once
 * @interrupted: one IOREGIONFD_COMMIT_AND_FETCH is to fail with ECANCELED
 * @recovered: IOREGIONFD_RECOVER has been called; set once
 * @size: of what precedes the ring in the mapping: @control and the mailboxes
 * @control: start of the mapping
 * @ring: the posted writes, which follow in the mapping; NULL once the file is released.
 *	The device task's side needs no lock to use it
 * @nr_posted: how many there can be
 * @ring_lock: for adding to the ring, for looking whether it is full, and for its end
 * @head: index of the next posted write; changed under @ring_lock
 * @space_wq: vCPUs that wait for space in the ring
 * @completed: the mailbox whose command was completed last
 * @yielder: a device task that has yielded its CPU instead of going to sleep
 * @waiters: how many wait in one of the following, or in those of mailboxes
 * @mailbox_waiters: how many of them are in those of mailboxes
 * @tasks: device tasks that sleep until any mailbox has a command
 * @readers: those that do so in read()
 * @parked: io_uring commands that wait for any mailbox
 * @poll_wq: those that poll()
 * @read_lock: guards @reading and @reader, and fetching a command for it
 * @reading: id of the command that was read and waits for a write(), or 0
 * @reader: who has read it, to compare with
 * @used: mailboxes that a vCPU has used: those before this one
 * @next: the mailbox to begin with when looking for a command, so that each gets
 *	its turn
 * @nr_mailboxes: how many there are
 * @mailboxes: by vcpu_id
 */
struct native_channel {
	struct ioregionfd_channel channel;
	struct kref refs;
	bool sync_wake;
	bool released;
	bool vm_dead;
	bool interrupted;
	bool recovered;

	spinlock_t bind_lock; /* for which VM it is for */
	struct list_head list;
	struct ioregionfd_vm *vm;
	bool bound;
	unsigned int binders;

	size_t size;
	struct ioregionfd_control *control;
	struct ioregionfd_cmd *ring;
	u32 nr_posted;
	spinlock_t ring_lock; /* for adding to the ring, and for its end */
	u32 head;
	wait_queue_head_t space_wq;

	unsigned int completed;
	struct task_struct *yielder;
	atomic_t waiters;
	atomic_t mailbox_waiters;
	wait_queue_head_t tasks;
	wait_queue_head_t readers;
	wait_queue_head_t parked;
	wait_queue_head_t poll_wq;
	spinlock_t read_lock; /* guards reading, and fetching for it */
	u64 reading;
	struct task_struct *reader;
	unsigned int used;
	unsigned int next;

	unsigned int nr_mailboxes;
	struct mailbox mailboxes[] __counted_by(nr_mailboxes);
};

/* The state word with the number of the mailbox's command. */
static inline u32 mailbox_word(const struct mailbox *m, u32 state)
{
	return READ_ONCE(m->number) << IOREGIONFD_MAILBOX_SHIFT | state;
}

/* Whether the command stands like this. Acquires what was stored before. */
static inline bool mailbox_is(const struct mailbox *m, u32 state)
{
	/*
	 * Pairs with the step to that state, which is always a release.
	 * Litmus: mailbox-reuse.
	 */
	u32 word = smp_load_acquire(&m->shared->state);

	return (word & ~IOREGIONFD_MAILBOX_WAITING) == mailbox_word(m, state);
}

/* Whether there is a response to it, of whatever status. Acquires it. */
static inline bool mailbox_is_complete(const struct mailbox *m)
{
	/*
	 * Pairs with the release by which the command is completed.
	 * Litmus: response, mailbox-reuse.
	 */
	u32 word = smp_load_acquire(&m->shared->state);

	return (word & (NUMBER_BITS | IOREGIONFD_MAILBOX_COMPLETE)) ==
	       mailbox_word(m, IOREGIONFD_MAILBOX_COMPLETE);
}

/*
 * How many posted writes wait. Or more than nr_posted: the task lies, or has fetched in the
 * mapping what ring_push() has not made known here yet, which only its ring_lock excludes.
 * Acquires what ring_push() has stored.
 */
static inline u32 ring_used(struct native_channel *ch, u64 tail)
{
	/* Pairs with the release in ring_push(). Litmus: posted-entry. */
	return (smp_load_acquire(&ch->head) - ioregionfd_posted_index(tail)) & POSTED_MASK;
}

/**
 * native_yield() - let the other side run, before we sleep
 * @self: where the other side finds us while we do so
 * @peer: where we find it
 *
 * If a vCPU and its device task are on the same CPU they take turns there. To pass the
 * CPU on takes less than half as long as to go to sleep and be woken. Whoever has done so
 * is still runnable, so nobody needs to wake it; it must look for what it waits for
 * afterwards, and sleep if that has not come.
 *
 * Context: may sleep.
 * Return: whether another task has run.
 */
static inline bool native_yield(struct task_struct **self, struct task_struct **peer)
{
	struct task_struct *task;
	bool ran;

	/* A task takes itself away from there: it outlives this section. */
	rcu_read_lock();
	task = READ_ONCE(*peer);
	if (task && task_cpu(task) == raw_smp_processor_id())
		get_task_struct(task);
	else
		task = NULL;
	rcu_read_unlock();

	WRITE_ONCE(*self, current);
	if (task) {
		ran = yield_to(task, false) > 0;
		put_task_struct(task);
	} else {
		ran = resched_if_wanted();
	}
	/* Another device task may have done the same; it is not found then. */
	WRITE_ONCE(*self, NULL);
	return ran;
}

/* Puts a command where device tasks find it. Under m->lock. */
static __always_inline void mailbox_publish(struct mailbox *m, const struct ioregionfd_cmd *cmd,
					    u32 state)
{
	struct ioregionfd_mailbox *shared = m->shared;
	u32 word = mailbox_word(m, state);
	int i;

	/* The device task may change them at any time, but what it reads then is its own. */
	data_race(shared->cmd = *cmd);
	WRITE_ONCE(shared->posted_before, m->posted_before);
	/* From now on nobody can store a value but for this command. */
	for (i = 0; i < ARRAY_SIZE(shared->data); i++)
		WRITE_ONCE(shared->data[i],
			   ioregionfd_mailbox_data(word >> IOREGIONFD_MAILBOX_SHIFT, i, 0));
	/*
	 * Pairs with the acquire of whoever fetches the command.
	 * Litmus: command, vcpu-order.
	 */
	smp_store_release(&shared->state, word);
}

/* mailbox.c */
void native_wake_vcpus(struct native_channel *ch);
extern const struct ioregionfd_channel_ops ioregionfd_native_ops;

/* fetch.c */
int fetch(struct native_channel *ch, u32 vcpu, struct ioregionfd_fetch *arg);
int fetch_wait(struct native_channel *ch, struct ioregionfd_fetch *arg, bool to_read);
void fetch_requeue(struct native_channel *ch, const struct ioregionfd_fetch *arg);
int fetch_load(struct native_channel *ch, struct ioregionfd_fetch *arg,
	       struct ioregionfd_fetch __user *user);
int fetch_commit(struct native_channel *ch, const struct ioregionfd_fetch *arg);
int fetch_store(struct native_channel *ch, const struct ioregionfd_fetch *arg,
		struct ioregionfd_fetch __user *user);
int fetch_store_none(struct ioregionfd_fetch __user *user, int r);
int commit_and_fetch(struct native_channel *ch, struct ioregionfd_fetch *arg,
		     struct ioregionfd_fetch __user *user);
int complete_cmd(struct native_channel *ch, u64 id, u64 data, u32 status);
void retire_read(struct native_channel *ch, u64 id);
int waiter_begin(struct native_channel *ch, u32 vcpu);
void waiter_end(struct native_channel *ch, u32 vcpu);
void waiter_told(void *key);
void wake_fetcher(struct native_channel *ch, u32 vcpu);
void wake_next_fetcher(struct native_channel *ch);
void wake_all_fetchers(struct native_channel *ch);

/* uring.c */
int ioregionfd_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* file.c */
void native_assigned(struct ioregionfd_channel *channel, bool success);
void native_region_put(struct ioregionfd_channel *channel);

#endif /* __KVM_IOREGIONFD_NATIVE_H */
