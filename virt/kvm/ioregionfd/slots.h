/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A channel that kvm.ko made, between the vCPUs' side (slots.c) and the device
 * task's (serve.c).
 *
 * The mapping, struct ioregionfd_control and what follows it, is shared with the
 * device task, which can change all of it at any time. For each vCPU it has a
 * word, ioregionfd_slot.state, that says how far the vCPU's command has come:
 *
 *   FREE    -> POSTED	the vCPU, slot_post()
 *   POSTED  -> TAKEN	the device task: take_slot(), or in the mapping
 *   TAKEN   -> DONE	the device task: answer_slot(), or in the mapping
 *   POSTED  -> FREE	the vCPU takes the command back, slots_call_end()
 *   TAKEN   -> POSTED	with a new number: take_over_slot()
 *   +WAITING		the vCPU, before it sleeps
 *
 * All but the first are compare-and-exchange, and each with the number of the
 * command. So nobody can take a command twice or answer one that has ended, if
 * the device task keeps to it. If it does not, it confuses itself: what the
 * kernel does with the word is to give a command of this channel to this
 * channel's task, or to take a value as the response to the one command that the
 * vCPU has there.
 *
 * The value is stored before the step to DONE, so its taker may lose the command
 * between the two: to take_over_slot(), and then to the task that takes it next. For
 * this the value, too, is stored by compare-and-exchange and only beside the number of
 * its command. That is set with the command, so what comes late finds another number.
 *
 * A vCPU that gives up a command that is TAKEN leaves it so, and posts no other
 * before that has been answered, or taken over, or given back.
 */
#ifndef __KVM_IOREGIONFD_SLOTS_H
#define __KVM_IOREGIONFD_SLOTS_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/rcuwait.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "ioregionfd.h"

/* Indices of posted writes have 31 bits. */
#define POSTED_MASK	0x7fffffffU

/* An id of a posted write; those of commands are as ioregionfd_slot_id(). */
#define POSTED_ID	((u64)IOREGIONFD_ANY << 32)

/**
 * struct slot - what the kernel knows of a vCPU's command
 * @call: for dispatch.c
 * @shared: the slot in the mapping
 * @wait: where the vCPU sleeps
 * @gave_way: the vCPU's task, while it waits but does not sleep
 * @tasks: device tasks that sleep until this slot has a command
 * @parked: io_uring commands that wait for that
 * @lock: for posting a command and giving it up, against take_over_slot() and untake()
 * @number: of the command; changed under @lock
 * @again: the number of the last command that take_over_slot() posted again
 * @posted: the posted writes before this index come before the command
 * @sent: the vCPU has posted the command and not given it up; changed by the vCPU
 *	under @lock, unless the command is done
 * @left: the vCPU has given up a command that was taken, and is not free yet
 * @spin_ns: how long the vCPU spins, adapted to what it has seen
 * @spun_at: when it began to, or 0 if it did not try
 *
 * One per vCPU, so that vCPUs do not meet. The vCPU is the one that holds
 * vcpu->mutex, and changes all but @again, and @number when taken over.
 */
struct slot {
	struct ioregionfd_call call;
	struct ioregionfd_slot *shared;
	struct rcuwait wait;
	struct task_struct *gave_way;
	wait_queue_head_t tasks;
	wait_queue_head_t parked;
	spinlock_t lock; /* for posting, giving up, taking over and giving back */
	u32 number;
	u32 again;
	u32 posted;
	bool sent;
	bool left;
	unsigned int spin_ns;
	ktime_t spun_at;
} ____cacheline_aligned_in_smp;

/**
 * struct slots - a channel that kvm.ko made
 * @channel: what regions know of it
 * @refs: one for the file, one for each region
 * @list: in ioregionfd_vm.channels, while the file is open
 * @vm: of the VM that it was made for; a reference
 * @sync_wake: tell the scheduler that the vCPU is about to sleep
 * @closed: the last descriptor is gone; set once
 * @ended: the VM is gone; set once
 * @interrupted: one IOREGIONFD_SERVE is to fail with EINTR
 * @taken_over: IOREGIONFD_TAKE_OVER has been called; set once
 * @size: of what precedes the ring in the mapping: @control and the slots
 * @control: start of the mapping
 * @ring: the posted writes, which follow in the mapping; NULL once the file is closed.
 *	The device task's side needs no lock to use it
 * @ring_size: how many there can be
 * @ring_lock: for adding to the ring, and for its end
 * @head: index of the next posted write; changed under @ring_lock
 * @room: vCPUs that wait for room in the ring
 * @answered: the slot that was answered last
 * @gave_way: a device task that waits but does not sleep
 * @waiters: how many wait in one of the following, or in those of slots
 * @slot_waiters: how many of them are in those of slots
 * @tasks: device tasks that sleep until any slot has a command
 * @readers: those that do so in read()
 * @parked: io_uring commands that wait for any slot
 * @polls: those that poll()
 * @read_lock: guards @reading and @reader, and taking a command for it
 * @reading: id of the command that was read and waits for a write(), or 0
 * @reader: who has read it, to compare with
 * @used: slots that a vCPU has used: those before this one
 * @next: the slot to begin with when looking for a command, so that each gets
 *	its turn
 * @nr: how many slots there are
 * @slots: one for each vCPU
 */
struct slots {
	struct ioregionfd_channel channel;
	struct kref refs;
	struct list_head list;
	struct ioregionfd_vm *vm;
	bool sync_wake;
	bool closed;
	bool ended;
	bool interrupted;
	bool taken_over;

	size_t size;
	struct ioregionfd_control *control;
	struct ioregionfd_cmd *ring;
	u32 ring_size;
	spinlock_t ring_lock; /* for adding to the ring, and for its end */
	u32 head;
	wait_queue_head_t room;

	unsigned int answered;
	struct task_struct *gave_way;
	atomic_t waiters;
	atomic_t slot_waiters;
	wait_queue_head_t tasks;
	wait_queue_head_t readers;
	wait_queue_head_t parked;
	wait_queue_head_t polls;
	spinlock_t read_lock; /* guards reading, and taking for it */
	u64 reading;
	struct task_struct *reader;
	unsigned int used;
	unsigned int next;

	unsigned int nr;
	struct slot slots[] __counted_by(nr);
};

/* The state word with the number of the slot's command. */
static inline u32 slot_word(const struct slot *s, u32 state)
{
	return READ_ONCE(s->number) << IOREGIONFD_SLOT_SHIFT | state;
}

/* Whether the command stands like this. Acquires what was stored before. */
static inline bool slot_is(const struct slot *s, u32 state)
{
	/* Pairs with the step to that state, which is always a release. */
	u32 word = smp_load_acquire(&s->shared->state);

	return (word & ~IOREGIONFD_SLOT_WAITING) == slot_word(s, state);
}

/*
 * How many posted writes wait, or more than ring_size if the task lies. Acquires
 * what ring_push() has stored.
 */
static inline u32 ring_used(struct slots *ch, u32 tail)
{
	/* Pairs with the release in ring_push(). */
	return (smp_load_acquire(&ch->head) - (tail >> 1)) & POSTED_MASK;
}

/**
 * slots_give_way() - let the other side run, before we sleep
 * @self: where the other side finds us while we do so
 * @peer: where we find it
 *
 * If a vCPU and its device task are on the same CPU they take turns there. It
 * takes less than half as long to pass the CPU on than to go to sleep and be woken.
 * Whoever has done so is still runnable, so nobody needs to wake it; it must
 * look for what it waits for afterwards, and sleep if that has not come.
 *
 * Context: may sleep.
 * Return: whether another task has run.
 */
static inline bool slots_give_way(struct task_struct **self, struct task_struct **peer)
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
		ran = cond_resched();
	}
	/* Another device task may have done the same; it is not found then. */
	WRITE_ONCE(*self, NULL);
	return ran;
}

/* Puts a command where device tasks find it. Under s->lock. */
static __always_inline void slot_publish(struct slot *s, const struct ioregionfd_cmd *cmd,
					 u32 state)
{
	struct ioregionfd_slot *shared = s->shared;
	u32 word = slot_word(s, state);
	int i;

	shared->cmd = *cmd;
	shared->posted = s->posted;
	/* From now on nobody can store a value but for this command. */
	for (i = 0; i < ARRAY_SIZE(shared->answer); i++)
		WRITE_ONCE(shared->answer[i],
			   ioregionfd_slot_answer(word >> IOREGIONFD_SLOT_SHIFT, i, 0));
	/* Pairs with the acquire of whoever takes the command. */
	smp_store_release(&shared->state, word);
}

/* slots.c */
void slots_put(struct slots *ch);
void slots_close(struct slots *ch);
void slots_wake_vcpus(struct slots *ch);

/* serve.c */
extern const struct file_operations ioregionfd_fops;
void serve_wake(struct slots *ch, u32 slot);
void serve_wake_all(struct slots *ch);

#endif /* __KVM_IOREGIONFD_SLOTS_H */
