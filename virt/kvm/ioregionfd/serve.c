// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, serve: the file descriptor of a channel that kvm.ko made, by which
 * device tasks take commands and answer them.
 *
 * Many tasks may do so at once, each in any of the ways. A command is taken by one of
 * them, see slots.h; slots.c asks serve_wake() to wake one that waits. Whoever was woken
 * and leaves others waiting wakes the next, whether it has taken a command or not.
 *
 * Nobody sleeps, and no io_uring command is parked, before take() has found
 * nothing after they were in the queue. All who are in a queue want what it is for, so
 * to wake one takes the same time however many there are; and there is a limit to that.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/io_uring/cmd.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/vmalloc.h>

#include "slots.h"

static_assert(sizeof(struct ioregionfd_serve) == 64);
static_assert(offsetof(struct ioregionfd_serve, cmd) == 32);
static_assert(sizeof(struct ioregionfd_info) == 32);

/* More waiters than this have no use, and all of them are woken when the VM goes. */
static int waiters_max(const struct slots *ch)
{
	return 2 * ch->nr + 16;
}

/* Taking. */

/*
 * Whether posted writes that come before the slot's command are left. That of
 * a number that cannot be is not: the device task has written nonsense.
 */
static bool slot_has_predecessors(struct slots *ch, struct slot *s)
{
	u32 tail = READ_ONCE(ch->control->posted_tail) >> 1;
	u32 left = (READ_ONCE(s->posted) - tail) & POSTED_MASK;

	return left && left <= ch->ring_size;
}

/* Takes the command of slot @i, or with NULL only looks whether it could. */
static bool take_slot(struct slots *ch, unsigned int i, struct ioregionfd_serve *arg)
{
	struct slot *s = &ch->slots[i];
	/* Acquires what slot_post() has stored. */
	u32 word = smp_load_acquire(&s->shared->state);

	while ((word & ~IOREGIONFD_SLOT_WAITING) == slot_word(s, IOREGIONFD_SLOT_POSTED)) {
		if (slot_has_predecessors(ch, s))
			return false;
		if (!arg)
			return true;
		/* It is whole if it is still there to be taken after that. */
		arg->cmd = data_race(s->call.cmd);
		if (!try_cmpxchg(&s->shared->state, &word,
				 word ^ IOREGIONFD_SLOT_POSTED ^ IOREGIONFD_SLOT_TAKEN))
			continue;
		arg->id = ioregionfd_slot_id(i, word);
		if (unlikely(READ_ONCE(s->again) << IOREGIONFD_SLOT_SHIFT ==
			     (word & ~(u32)(BIT(IOREGIONFD_SLOT_SHIFT) - 1))))
			arg->cmd.again = 1;
		return true;
	}
	return false;
}

static bool take_slots(struct slots *ch, u32 vcpu, struct ioregionfd_serve *arg)
{
	unsigned int used = READ_ONCE(ch->used);
	unsigned int i, n;

	if (vcpu != IOREGIONFD_ANY)
		return take_slot(ch, array_index_nospec(vcpu, ch->nr), arg);

	i = READ_ONCE(ch->next);
	for (n = 0; n < used; n++, i++) {
		if (i >= used)
			i = 0;
		if (!slot_is(&ch->slots[i], IOREGIONFD_SLOT_POSTED) ||
		    !take_slot(ch, i, arg))
			continue;
		if (arg)
			WRITE_ONCE(ch->next, i + 1);
		return true;
	}
	return false;
}

static bool take_posted(struct slots *ch, struct ioregionfd_serve *arg)
{
	u32 *tail = &ch->control->posted_tail;
	u32 word = READ_ONCE(*tail);
	u32 used;

	do {
		used = ring_used(ch, word);
		if ((word & 1) || !used || used > ch->ring_size)
			return false;
		if (!arg)
			return true;
	} while (!try_cmpxchg(tail, &word, word | 1));

	arg->id = POSTED_ID | word >> 1;
	arg->cmd = ch->ring[(word >> 1) & (ch->ring_size - 1)];
	return true;
}

/* So often can the ring not move while it is looked at, unless somebody plays. */
#define TAKE_TRIES	100

/*
 * Takes what a task that serves @vcpu, or any, gets next. With NULL for @arg, only
 * looks whether there is something. Returns 1 if so, 0 if not, or -EINTR: cannot
 * be said, because the device task keeps changing the ring.
 */
static int take(struct slots *ch, u32 vcpu, struct ioregionfd_serve *arg)
{
	u32 *tail = &ch->control->posted_tail;
	unsigned int n;
	u32 word;

	for (n = 0; n < TAKE_TRIES; n++) {
		word = READ_ONCE(*tail);
		if (take_slots(ch, vcpu, arg) ||
		    (ring_used(ch, word) && take_posted(ch, arg)))
			return 1;
		/*
		 * If there is something that comes after a posted write which
		 * somebody has taken, they must tell when that is done.
		 */
		if (word & 1) {
			WRITE_ONCE(ch->control->blocked, 1);
			/* Pairs with the barrier after a move of posted_tail. */
			smp_mb();
		}
		if (READ_ONCE(*tail) == word)
			return 0;
	}
	return -EINTR;
}

/* The command goes back to where take_slot() found it, unless its vCPU has given it up. */
static void untake_slot(struct slots *ch, struct slot *s, u64 id)
{
	u32 i = s - ch->slots;
	bool over;
	u32 word;

	/* Against the vCPU, which gives up under it. */
	spin_lock(&s->lock);
	over = !READ_ONCE(s->sent);
	word = READ_ONCE(s->shared->state);
	while ((word & IOREGIONFD_SLOT_STATE) == IOREGIONFD_SLOT_TAKEN &&
	       ioregionfd_slot_id(i, word) == id) {
		if (try_cmpxchg(&s->shared->state, &word, over ?
				slot_word(s, IOREGIONFD_SLOT_FREE) :
				word ^ IOREGIONFD_SLOT_POSTED ^ IOREGIONFD_SLOT_TAKEN))
			break;
	}
	spin_unlock(&s->lock);

	if (over)
		rcuwait_wake_up(&s->wait);
	else
		serve_wake(ch, i);
}

/* Undoes take(): the task could not be given what was taken. */
static void untake(struct slots *ch, const struct ioregionfd_serve *arg)
{
	u32 slot = ioregionfd_id_slot(arg->id);
	u32 word;

	if (slot == IOREGIONFD_ANY) {
		word = (u32)arg->id << 1 | 1;
		cmpxchg(&ch->control->posted_tail, word, word & ~1U);
		serve_wake_all(ch);
		return;
	}
	untake_slot(ch, &ch->slots[slot], arg->id);
}

/* Answering. */

/* Stores a half of the value, if the slot is still that of the command. */
static bool answer_half(u64 *answer, u32 number, int half, u64 value)
{
	u64 word = READ_ONCE(answer[half]);

	/* If it is changed here, the command is answered by somebody else, too. */
	return word >> 32 == number &&
	       try_cmpxchg(&answer[half], &word, ioregionfd_slot_answer(number, half, value));
}

static int answer_slot(struct slots *ch, u64 id, u64 data)
{
	u32 i = ioregionfd_id_slot(id);
	struct ioregionfd_slot *shared;
	struct slot *s;
	u32 word;

	if (i >= ch->nr)
		return -ENOENT;
	i = array_index_nospec(i, ch->nr);
	s = &ch->slots[i];
	shared = s->shared;
	WRITE_ONCE(ch->answered, i);

	word = READ_ONCE(shared->state);
	if ((word & IOREGIONFD_SLOT_STATE) != IOREGIONFD_SLOT_TAKEN ||
	    ioregionfd_slot_id(i, word) != id)
		return -ENOENT;
	if (!answer_half(shared->answer, (u32)id, 0, data) ||
	    !answer_half(shared->answer, (u32)id, 1, data))
		return -ENOENT;

	while ((word & IOREGIONFD_SLOT_STATE) == IOREGIONFD_SLOT_TAKEN &&
	       ioregionfd_slot_id(i, word) == id) {
		/* A full barrier: pairs with the acquire in slot_is(). */
		if (try_cmpxchg(&shared->state, &word,
				(word | IOREGIONFD_SLOT_DONE) & ~IOREGIONFD_SLOT_WAITING)) {
			if (word & IOREGIONFD_SLOT_WAITING)
				rcuwait_wake_up(&s->wait);
			return 0;
		}
	}
	return -ENOENT;
}

/* Somebody waited for posted_tail to move, and perhaps it has. */
static void unblock(struct slots *ch)
{
	WRITE_ONCE(ch->control->blocked, 0);
	/* Pairs with the barriers after blocked is set. */
	smp_mb();
	wake_up_all(&ch->room);
	serve_wake_all(ch);
}

static int answer_posted(struct slots *ch, u64 id)
{
	u32 word = (u32)id << 1 | 1;

	if (id != (POSTED_ID | (id & POSTED_MASK)))
		return -ENOENT;
	/* A full barrier: pairs with those in ring_has_room() and take(). */
	if (cmpxchg(&ch->control->posted_tail, word, word + 1) != word)
		return -ENOENT;
	return 0;
}

static int answer(struct slots *ch, u64 id, u64 data)
{
	if (ioregionfd_id_slot(id) == IOREGIONFD_ANY)
		return answer_posted(ch, id);
	return answer_slot(ch, id, data);
}

/* Waiting. */

/**
 * struct waiter - a task, or an io_uring command, that waits for a command
 * @entry: in @queue, if it waits
 * @queue: where it waits
 */
struct waiter {
	wait_queue_entry_t entry;
	wait_queue_head_t *queue;
};

/*
 * Called before a waiter enters its queue for the first time. It is counted first, so
 * that serve_wake(), after its caller's barrier, finds nobody only if the waiter's look
 * after its own barrier finds the command.
 */
static int waiter_begin(struct slots *ch, u32 vcpu)
{
	if (atomic_inc_return(&ch->waiters) > waiters_max(ch)) {
		atomic_dec(&ch->waiters);
		return -EBUSY;
	}
	if (vcpu != IOREGIONFD_ANY)
		atomic_inc(&ch->slot_waiters);
	return 0;
}

static void waiter_end(struct slots *ch, u32 vcpu)
{
	if (vcpu != IOREGIONFD_ANY)
		atomic_dec(&ch->slot_waiters);
	atomic_dec(&ch->waiters);
}

/* @key, if not NULL, points to whether somebody has been woken. */
static void tell_waker(void *key)
{
	if (key)
		*(bool *)key = true;
}

static int wake_task(wait_queue_entry_t *entry, unsigned int mode, int flags,
		     void *key)
{
	if (!default_wake_function(entry, mode, flags, key))
		return 0;
	list_del_init_careful(&entry->entry);
	tell_waker(key);
	return 1;
}

static bool wake_one(wait_queue_head_t *queue, bool sync)
{
	bool woken = false;

	/* After the barrier before serve_wake(), which pairs with that of who waits */
	if (!waitqueue_active(queue))
		return false;
	if (sync)
		__wake_up_sync_key(queue, TASK_NORMAL, &woken);
	else
		__wake_up(queue, TASK_NORMAL, 1, &woken);
	return woken;
}

/* Those who wait for one slot get posted writes as well, if nobody else does. */
static bool wake_one_of_slots(struct slots *ch, bool parked)
{
	unsigned int i;

	if (!atomic_read(&ch->slot_waiters))
		return false;
	for (i = 0; i < ch->nr; i++) {
		if (wake_one(parked ? &ch->slots[i].parked : &ch->slots[i].tasks, false))
			return true;
	}
	return false;
}

/* A read() does not return a command before the last one has been answered. */
static bool wake_reader(struct slots *ch, bool sync)
{
	return !READ_ONCE(ch->reading) && wake_one(&ch->readers, sync);
}

static bool wake_for_slot(struct slots *ch, struct slot *s)
{
	return wake_one(&s->tasks, ch->sync_wake) || wake_one(&ch->tasks, ch->sync_wake) ||
	       wake_reader(ch, ch->sync_wake) ||
	       wake_one(&s->parked, false) || wake_one(&ch->parked, false);
}

/* Who has posted a write does not wait: sync would be wrong. */
static bool wake_for_posted(struct slots *ch)
{
	return wake_one(&ch->tasks, false) || wake_reader(ch, false) ||
	       wake_one_of_slots(ch, false) || wake_one(&ch->parked, false) ||
	       wake_one_of_slots(ch, true);
}

/**
 * serve_wake() - wake a device task for a command
 * @ch: the channel
 * @slot: the slot of the command, or IOREGIONFD_ANY for a posted write
 *
 * After a full barrier that follows the store by which the command can be seen. A task
 * that sleeps comes; one with an io_uring command only when it next looks at its ring,
 * so that is the second choice.
 *
 * Context: process.
 */
void serve_wake(struct slots *ch, u32 slot)
{
	/* After the caller's barrier, which pairs with waiter_begin() */
	if (atomic_read(&ch->waiters)) {
		if (slot == IOREGIONFD_ANY)
			wake_for_posted(ch);
		else
			wake_for_slot(ch, &ch->slots[slot]);
	}
	/* After the caller's barrier, which pairs with serve_poll() */
	if (waitqueue_active(&ch->polls))
		wake_up_poll(&ch->polls, EPOLLIN | EPOLLRDNORM);
}

/**
 * serve_wake_all() - make all device tasks that wait on a channel look why
 * @ch: the channel
 *
 * Context: as serve_wake().
 */
void serve_wake_all(struct slots *ch)
{
	unsigned int i;

	wake_up_all(&ch->tasks);
	wake_up_all(&ch->readers);
	wake_up_all(&ch->parked);
	for (i = 0; i < ch->nr && atomic_read(&ch->slot_waiters); i++) {
		wake_up_all(&ch->slots[i].tasks);
		wake_up_all(&ch->slots[i].parked);
	}
	wake_up_poll(&ch->polls, EPOLLIN | EPOLLRDNORM |
				 (READ_ONCE(ch->ended) ? EPOLLHUP : 0));
}

static void wake_for_all(struct slots *ch)
{
	unsigned int i;

	if (!take(ch, IOREGIONFD_ANY, NULL))
		return;
	for (i = 0; i < READ_ONCE(ch->used); i++) {
		if (take_slot(ch, i, NULL))
			serve_wake(ch, i);
	}
	if (take_posted(ch, NULL))
		serve_wake(ch, IOREGIONFD_ANY);
}

/*
 * The one that was woken for a command may have taken another, or nothing.
 * Others may wait for what is left.
 */
static void serve_pass_on(struct slots *ch)
{
	/* For the waiter that did not see the command, or reading: we see it. */
	smp_mb();
	/* After that barrier, which pairs with waiter_begin() */
	if (atomic_read(&ch->waiters))
		wake_for_all(ch);
}

/* For read(): one command at a time, as on a socket. */
static int take_to_read(struct slots *ch, struct ioregionfd_serve *arg)
{
	int taken = 0;

	spin_lock(&ch->read_lock);
	if (!READ_ONCE(ch->reading))
		taken = take(ch, arg->vcpu, arg);
	if (taken > 0 && arg->cmd.resp) {
		WRITE_ONCE(ch->reading, arg->id);
		ch->reader = current;
	}
	spin_unlock(&ch->read_lock);
	return taken;
}

static bool interrupted(struct slots *ch)
{
	return READ_ONCE(ch->interrupted) && xchg(&ch->interrupted, false);
}

static int take_any_way(struct slots *ch, struct ioregionfd_serve *arg, bool to_read)
{
	return to_read ? take_to_read(ch, arg) : take(ch, arg->vcpu, arg);
}

/* As take_wait(), once there was nothing to take. Leaves in arg->timeout what is left. */
static int take_sleep(struct slots *ch, struct ioregionfd_serve *arg, bool to_read)
{
	struct waiter w = {
		.queue = to_read ? &ch->readers : &ch->tasks,
	};
	bool late = false;
	ktime_t end = 0;
	int r;

	r = waiter_begin(ch, arg->vcpu);
	if (r)
		return r;
	if (arg->vcpu != IOREGIONFD_ANY)
		w.queue = &ch->slots[array_index_nospec(arg->vcpu, ch->nr)].tasks;
	if (arg->timeout > 0)
		end = ktime_add_safe(ktime_get(), ns_to_ktime(arg->timeout));
	init_waitqueue_func_entry(&w.entry, wake_task);
	w.entry.private = current;
	INIT_LIST_HEAD(&w.entry.entry);

	for (;;) {
		/* Its barrier pairs with that before serve_wake(). */
		prepare_to_wait_exclusive(w.queue, &w.entry, TASK_INTERRUPTIBLE);
		r = take_any_way(ch, arg, to_read);
		if (r) {
			r = min(r, 0);
			break;
		}
		r = -ENODEV;
		if (READ_ONCE(ch->ended))
			break;
		r = -EINTR;
		if (!to_read && interrupted(ch))
			break;
		r = -ERESTARTSYS;
		if (signal_pending(current))
			break;
		r = -ETIMEDOUT;
		if (late)
			break;
		if (end)
			late = !schedule_hrtimeout_range(&end, current->timer_slack_ns,
							 HRTIMER_MODE_ABS);
		else
			schedule();
	}
	finish_wait(w.queue, &w.entry);
	waiter_end(ch, arg->vcpu);
	if (end)
		arg->timeout = max(ktime_to_ns(ktime_sub(end, ktime_get())), 1);
	/* Somebody may have woken this one, after its last look, for what is another's. */
	if (r)
		serve_pass_on(ch);
	return r;
}

/*
 * Takes a command, and waits for one if need be. Returns 0 or why there is
 * none: -ENODEV, -EINTR, -ERESTARTSYS (a signal), -ETIMEDOUT, -EBUSY.
 */
static int take_wait(struct slots *ch, struct ioregionfd_serve *arg, bool to_read)
{
	struct slot *answered = &ch->slots[READ_ONCE(ch->answered)];
	int r = 0;

	/* While a lone vCPU waits to go on there is nothing to be found. */
	if (!arg->timeout || READ_ONCE(ch->used) > 1 || !READ_ONCE(answered->gave_way))
		r = take_any_way(ch, arg, to_read);
	if (!r && arg->timeout && slots_give_way(&ch->gave_way, &answered->gave_way))
		r = take_any_way(ch, arg, to_read);
	if (r)
		return min(r, 0);
	if (READ_ONCE(ch->ended))
		return -ENODEV;
	if (!arg->timeout)
		return -ETIMEDOUT;
	return take_sleep(ch, arg, to_read);
}

/* IOREGIONFD_SERVE: common to ioctl and io_uring. */

static __always_inline int serve_load(struct slots *ch, struct ioregionfd_serve *arg,
				      struct ioregionfd_serve __user *user)
{
	if (!user_read_access_begin(user, sizeof(*user)))
		return -EFAULT;
	unsafe_get_user(arg->id, &user->id, fault);
	unsafe_get_user(arg->data, &user->data, fault);
	unsafe_get_user(arg->timeout, &user->timeout, fault);
	unsafe_get_user(arg->vcpu, &user->vcpu, fault);
	unsafe_get_user(arg->flags, &user->flags, fault);
	user_read_access_end();

	if (arg->flags & ~IOREGIONFD_ANSWER_ONLY)
		return -EINVAL;
	if (arg->vcpu != IOREGIONFD_ANY && arg->vcpu >= ch->nr)
		return -EINVAL;
	return 0;

fault:
	user_read_access_end();
	return -EFAULT;
}

static __always_inline int serve_answer(struct slots *ch, const struct ioregionfd_serve *arg)
{
	int r = 0;

	if (arg->id)
		r = answer(ch, arg->id, arg->data);
	if (READ_ONCE(ch->control->blocked))
		unblock(ch);
	return r;
}

/* The answer was given, and not more. */
static int serve_store_none(struct ioregionfd_serve __user *user, int r)
{
	return put_user(0, &user->id) ? -EFAULT : r;
}

/*
 * A signal came. If it has no handler (the task was stopped, or frozen, or traced) the
 * call begins anew, with nothing to answer and for the rest of the time.
 */
static int serve_interrupted(const struct ioregionfd_serve *arg,
			     struct ioregionfd_serve __user *user)
{
	if (arg->timeout > 0 && put_user(arg->timeout, &user->timeout))
		return serve_store_none(user, -EFAULT);
	return serve_store_none(user, -ERESTARTNOHAND);
}

/* Gives what was taken to the task. A struct ioregionfd_cmd is four words. */
static __always_inline int serve_store(struct slots *ch,
				       const struct ioregionfd_serve *arg,
				       struct ioregionfd_serve __user *user)
{
	u64 __user *to = (u64 __user *)&user->cmd;
	const u64 *from = (const u64 *)&arg->cmd;

	if (!user_write_access_begin(user, sizeof(*user)))
		goto untake;
	unsafe_put_user(from[0], &to[0], fault);
	unsafe_put_user(from[1], &to[1], fault);
	unsafe_put_user(from[2], &to[2], fault);
	unsafe_put_user(from[3], &to[3], fault);
	unsafe_put_user(arg->id, &user->id, fault);
	user_write_access_end();
	serve_pass_on(ch);
	return 0;

fault:
	user_write_access_end();
untake:
	untake(ch, arg);
	return serve_store_none(user, -EFAULT);
}

/* All of it, by a task that may sleep if arg->timeout says so. */
static int serve(struct slots *ch, struct ioregionfd_serve *arg,
		 struct ioregionfd_serve __user *user)
{
	int r;

	r = serve_answer(ch, arg);
	if (r)
		return r;
	if (arg->flags & IOREGIONFD_ANSWER_ONLY)
		return serve_store_none(user, 0);
	r = take_wait(ch, arg, false);
	if (r == -ERESTARTSYS)
		return serve_interrupted(arg, user);
	return r ? serve_store_none(user, r) : serve_store(ch, arg, user);
}

static long serve_ioctl(struct slots *ch, struct ioregionfd_serve __user *user)
{
	struct ioregionfd_serve arg;
	int r;

	r = serve_load(ch, &arg, user);
	return r ?: serve(ch, &arg, user);
}

/**
 * struct parked - an IOREGIONFD_SERVE of io_uring that waits
 * @waiter: in its queue, unless it has been woken or cancelled
 * @vcpu: for a command of that slot, or IOREGIONFD_ANY
 * @cmd: the command of io_uring
 * @user: the argument
 * @cancelled: it is to end
 *
 * Whoever takes @waiter off the queue has uring_run() called, which completes @cmd
 * and frees this, or puts it in the queue again. uring_cancel() is not called any
 * more once @cmd is complete.
 */
struct parked {
	struct waiter waiter;
	u32 vcpu;
	struct io_uring_cmd *cmd;
	struct ioregionfd_serve __user *user;
	bool cancelled;
};

static struct parked **uring_parked(struct io_uring_cmd *cmd)
{
	return io_uring_cmd_to_pdu(cmd, struct parked *);
}

static void uring_run(struct io_uring_cmd *cmd, unsigned int issue_flags);

static int wake_uring(wait_queue_entry_t *entry, unsigned int mode, int flags,
		      void *key)
{
	struct parked *p = container_of(entry, struct parked, waiter.entry);

	list_del_init(&entry->entry);
	tell_waker(key);
	io_uring_cmd_complete_in_task(p->cmd, uring_run);
	return 1;
}

/* Whether there may be a reason not to wait. */
static bool parked_for_nothing(struct slots *ch, u32 vcpu)
{
	return READ_ONCE(ch->ended) || READ_ONCE(ch->interrupted) || take(ch, vcpu, NULL);
}

/*
 * Once it is in the queue somebody else may complete and free it. So whether that was
 * in vain is found out with the channel, and then somebody is woken, as serve_wake().
 */
static void uring_park(struct slots *ch, struct parked *p)
{
	wait_queue_head_t *queue = p->waiter.queue;
	u32 vcpu = p->vcpu;

	spin_lock_irq(&queue->lock);
	__add_wait_queue_entry_tail_exclusive(queue, &p->waiter.entry);
	spin_unlock_irq(&queue->lock);

	/* Pairs with the barrier before serve_wake(). */
	smp_mb();
	if (parked_for_nothing(ch, vcpu))
		__wake_up(queue, TASK_NORMAL, 1, NULL);
}

static void uring_end(struct slots *ch, struct parked *p)
{
	waiter_end(ch, p->vcpu);
	kfree(p);
}

/* In the task that submitted it, unless that is about to end. */
static void uring_run(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct parked *p = *uring_parked(cmd);
	struct slots *ch = cmd->file->private_data;
	struct ioregionfd_serve arg;
	int r;

	if (READ_ONCE(p->cancelled) || (issue_flags & IO_URING_F_TASK_DEAD)) {
		r = -ECANCELED;
		goto done;
	}
	r = take(ch, p->vcpu, &arg);
	if (r > 0)
		r = serve_store(ch, &arg, p->user);
	else if (READ_ONCE(ch->ended))
		r = serve_store_none(p->user, -ENODEV);
	else if (r || interrupted(ch))
		r = serve_store_none(p->user, -EINTR);
	else
		return uring_park(ch, p);
done:
	uring_end(ch, p);
	/* What it was woken for may be for another. */
	if (r)
		serve_pass_on(ch);
	io_uring_cmd_done(cmd, r, 0, issue_flags);
}

/*
 * The ring or its task ends. That is not for here to complete a command in: this may
 * be a worker, and some rings belong to one task.
 */
static void uring_cancel(struct io_uring_cmd *cmd)
{
	struct parked *p = *uring_parked(cmd);
	wait_queue_head_t *queue = p->waiter.queue;
	bool parked;

	spin_lock_irq(&queue->lock);
	parked = !list_empty(&p->waiter.entry.entry);
	list_del_init(&p->waiter.entry.entry);
	WRITE_ONCE(p->cancelled, true);
	spin_unlock_irq(&queue->lock);

	if (parked)
		io_uring_cmd_complete_in_task(cmd, uring_run);
}

static int serve_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct slots *ch = cmd->file->private_data;
	struct ioregionfd_serve __user *user;
	struct ioregionfd_serve arg;
	struct parked *p;
	int r;

	if (issue_flags & IO_URING_F_CANCEL) {
		uring_cancel(cmd);
		return 0;
	}
	if (cmd->cmd_op != IOREGIONFD_SERVE)
		return -ENOTTY;

	user = u64_to_user_ptr(READ_ONCE(cmd->sqe->addr));
	r = serve_load(ch, &arg, user);
	if (r)
		return r;
	if (arg.timeout > 0)
		return -EINVAL;
	if (!arg.timeout || (arg.flags & IOREGIONFD_ANSWER_ONLY))
		return serve(ch, &arg, user);

	/* Not after the answer: that cannot be taken back. */
	p = kmalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	if (!p)
		return -ENOMEM;
	p->vcpu = arg.vcpu;
	r = waiter_begin(ch, arg.vcpu);
	if (r) {
		kfree(p);
		return r;
	}

	r = serve_answer(ch, &arg);
	if (r)
		goto end;
	/* What comes later is found once it is parked. */
	r = take(ch, arg.vcpu, &arg);
	if (r > 0) {
		r = serve_store(ch, &arg, user);
		goto end;
	}

	init_waitqueue_func_entry(&p->waiter.entry, wake_uring);
	INIT_LIST_HEAD(&p->waiter.entry.entry);
	p->waiter.queue = &ch->parked;
	if (arg.vcpu != IOREGIONFD_ANY)
		p->waiter.queue = &ch->slots[array_index_nospec(arg.vcpu, ch->nr)].parked;
	p->cmd = cmd;
	p->user = user;
	p->cancelled = false;
	*uring_parked(cmd) = p;
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
	uring_park(ch, p);
	return -EIOCBQUEUED;

end:
	uring_end(ch, p);
	return r;
}

/* The rest of the file's operations. */

static ssize_t serve_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct slots *ch = iocb->ki_filp->private_data;
	bool nowait = (iocb->ki_flags & IOCB_NOWAIT) || (iocb->ki_filp->f_flags & O_NONBLOCK);
	struct ioregionfd_serve arg = {
		.vcpu = IOREGIONFD_ANY,
		.timeout = nowait ? 0 : -1,
	};
	int r;

	if (iov_iter_count(to) < sizeof(arg.cmd))
		return -EINVAL;
	r = take_wait(ch, &arg, true);
	if (r == -ENODEV)
		return 0;
	if (r == -ETIMEDOUT)
		return -EAGAIN;
	if (r)
		return r;

	if (!copy_to_iter_full(&arg.cmd, sizeof(arg.cmd), to)) {
		spin_lock(&ch->read_lock);
		if (ch->reading == arg.id)
			WRITE_ONCE(ch->reading, 0);
		spin_unlock(&ch->read_lock);
		untake(ch, &arg);
		return -EFAULT;
	}
	if (!arg.cmd.resp) {
		/* The task that reads has no way to say when it is done. */
		answer_posted(ch, arg.id);
		if (READ_ONCE(ch->control->blocked))
			unblock(ch);
	}
	serve_pass_on(ch);
	return sizeof(arg.cmd);
}

/*
 * The command that a write() by this task answers. Once one task has taken over from
 * another it must be the one that has read it: the former one may write late.
 */
static u64 read_by_current(struct slots *ch)
{
	u64 id = 0;

	spin_lock(&ch->read_lock);
	if (!ch->taken_over || ch->reader == current) {
		id = ch->reading;
		WRITE_ONCE(ch->reading, 0);
	}
	spin_unlock(&ch->read_lock);
	return id;
}

static ssize_t serve_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct slots *ch = iocb->ki_filp->private_data;
	struct ioregionfd_resp resp;
	u64 id;
	int r;

	if (iov_iter_count(from) != sizeof(resp))
		return -EINVAL;
	if (!copy_from_iter_full(&resp, sizeof(resp), from))
		return -EFAULT;
	if (memchr_inv(resp.pad, 0, sizeof(resp.pad)))
		return -EINVAL;

	id = read_by_current(ch);
	if (!id)
		return -ENOENT;

	r = answer(ch, id, resp.data);
	/* Another task may have waited in read() for this. */
	serve_pass_on(ch);
	/* After the barrier in serve_pass_on(), which pairs with serve_poll() */
	if (waitqueue_active(&ch->polls) && take(ch, IOREGIONFD_ANY, NULL))
		wake_up_poll(&ch->polls, EPOLLIN | EPOLLRDNORM);
	return r ?: sizeof(resp);
}

static __poll_t serve_poll(struct file *file, poll_table *table)
{
	struct slots *ch = file->private_data;
	__poll_t events = EPOLLOUT | EPOLLWRNORM;

	poll_wait(file, &ch->polls, table);
	/* Pairs with the barrier before serve_wake(). */
	smp_mb();
	if (READ_ONCE(ch->ended))
		return events | EPOLLIN | EPOLLRDNORM | EPOLLHUP;
	if (!READ_ONCE(ch->reading) && take(ch, IOREGIONFD_ANY, NULL))
		events |= EPOLLIN | EPOLLRDNORM;
	return events;
}

static size_t mapping_size(const struct slots *ch)
{
	return ch->size + PAGE_ALIGN(ch->ring_size * sizeof(*ch->ring));
}

static long serve_get_info(struct slots *ch, void __user *user)
{
	struct ioregionfd_info info = {
		.size = mapping_size(ch),
		.slots = ch->nr,
		.posted = ch->ring_size,
		.slots_offset = sizeof(*ch->control),
		.posted_offset = ch->size,
	};

	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

/* So often does nobody change a state but to hinder this. */
#define TAKE_OVER_TRIES	100

/*
 * Takes the command away from the former task, which cannot answer it any more. Not if
 * it is not taken, or answered already. The vCPU may announce that it sleeps meanwhile.
 */
static bool slot_revoke(struct slot *s)
{
	u32 word = READ_ONCE(s->shared->state);
	unsigned int n;

	for (n = 0; n < TAKE_OVER_TRIES; n++) {
		if (slot_is(s, IOREGIONFD_SLOT_POSTED) || slot_is(s, IOREGIONFD_SLOT_DONE))
			return false;
		if (try_cmpxchg(&s->shared->state, &word, slot_word(s, IOREGIONFD_SLOT_FREE)))
			return true;
	}
	/* A state that changes all the time says nothing. */
	WRITE_ONCE(s->shared->state, slot_word(s, IOREGIONFD_SLOT_FREE));
	return true;
}

/* What the former task has left in the slot, in whatever state. */
static void take_over_slot(struct slot *s)
{
	struct ioregionfd_cmd cmd;

	spin_lock(&s->lock);
	WRITE_ONCE(s->shared->polling, 0);
	if (slot_revoke(s) && READ_ONCE(s->sent)) {
		WRITE_ONCE(s->number, s->number + 1);
		WRITE_ONCE(s->again, s->number);
		cmd = s->call.cmd;
		cmd.again = 1;
		/* The vCPU may be asleep. */
		slot_publish(s, &cmd, IOREGIONFD_SLOT_POSTED | IOREGIONFD_SLOT_WAITING);
	}
	spin_unlock(&s->lock);
}

/* The posted writes that the former task had taken, and perhaps more of them. */
static void take_over_ring(struct slots *ch)
{
	u32 *tail = &ch->control->posted_tail;
	u32 word, n;

	spin_lock(&ch->ring_lock);
	word = READ_ONCE(*tail);
	if (ring_used(ch, word) > ch->ring_size) {
		/* An index that cannot be would keep the vCPUs waiting for ever. */
		WRITE_ONCE(*tail, ch->head << 1);
	} else if (word & 1) {
		for (n = word >> 1; n != ch->head; n = (n + 1) & POSTED_MASK)
			ch->ring[n & (ch->ring_size - 1)].again = 1;
		cmpxchg(tail, word, word & ~1U);
	}
	spin_unlock(&ch->ring_lock);
}

static long serve_take_over(struct slots *ch)
{
	unsigned int i;

	spin_lock(&ch->read_lock);
	WRITE_ONCE(ch->reading, 0);
	ch->taken_over = true;
	spin_unlock(&ch->read_lock);

	WRITE_ONCE(ch->control->polling, 0);
	for (i = 0; i < READ_ONCE(ch->used); i++)
		take_over_slot(&ch->slots[i]);
	take_over_ring(ch);
	slots_wake_vcpus(ch);
	serve_wake_all(ch);
	return 0;
}

static long serve_ioctls(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct slots *ch = file->private_data;
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case IOREGIONFD_GET_INFO:
		return serve_get_info(ch, user);
	case IOREGIONFD_SERVE:
		return serve_ioctl(ch, user);
	case IOREGIONFD_TAKE_OVER:
		return serve_take_over(ch);
	case IOREGIONFD_INTERRUPT:
		WRITE_ONCE(ch->interrupted, true);
		serve_wake_all(ch);
		return 0;
	default:
		return -ENOTTY;
	}
}

static vm_fault_t serve_fault(struct vm_fault *vmf)
{
	struct slots *ch = vmf->vma->vm_file->private_data;
	size_t offset;

	if (vmf->pgoff >= mapping_size(ch) >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;
	offset = vmf->pgoff << PAGE_SHIFT;
	vmf->page = vmalloc_to_page(offset < ch->size ? (void *)ch->control + offset :
				    (void *)ch->ring + (offset - ch->size));
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct serve_vm_ops = {
	.fault = serve_fault,
};

static int serve_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct slots *ch = file->private_data;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff + vma_pages(vma) > mapping_size(ch) >> PAGE_SHIFT)
		return -EINVAL;
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &serve_vm_ops;
	return 0;
}

static int serve_release(struct inode *inode, struct file *file)
{
	slots_close(file->private_data);
	return 0;
}

const struct file_operations ioregionfd_fops = {
	.owner = THIS_MODULE,
	.read_iter = serve_read_iter,
	.write_iter = serve_write_iter,
	.poll = serve_poll,
	.unlocked_ioctl = serve_ioctls,
	.compat_ioctl = compat_ptr_ioctl,
	.uring_cmd = serve_uring_cmd,
	.mmap = serve_mmap,
	.release = serve_release,
};
