// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, serve: the file descriptor of a channel that kvm.ko made, by which
 * device tasks take commands and answer them.
 *
 * Any number of tasks may do so at once, each in any of the ways. A command is
 * taken by one of them, see slots.h; slots.c asks serve_wake() to wake one that
 * waits. Whoever takes one and leaves others waiting wakes the next.
 *
 * Nobody sleeps, and no io_uring command is parked, before take() has found
 * nothing after they were in the queue.
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
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "slots.h"

static_assert(sizeof(struct ioregionfd_serve) == 64);
static_assert(offsetof(struct ioregionfd_serve, cmd) == 32);
static_assert(sizeof(struct ioregionfd_info) == 32);

/*
 * Wake flags of the scheduler that it does not export: that the waker is about
 * to sleep, and that the woken task should come to its CPU.
 */
#define SERVE_WF_SYNC		0x10
#define SERVE_WF_CURRENT_CPU	0x40

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
		arg->cmd = s->call.cmd;
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

/* Undoes take(): the task could not be given what was taken. */
static void untake(struct slots *ch, const struct ioregionfd_serve *arg)
{
	u32 slot = ioregionfd_id_slot(arg->id);
	struct slot *s;
	u32 word;

	if (slot == IOREGIONFD_ANY) {
		word = (u32)arg->id << 1 | 1;
		cmpxchg(&ch->control->posted_tail, word, word & ~1U);
		serve_wake_all(ch);
		return;
	}
	s = &ch->slots[slot];
	word = READ_ONCE(s->shared->state);
	while ((word & IOREGIONFD_SLOT_STATE) == IOREGIONFD_SLOT_TAKEN &&
	       ioregionfd_slot_id(slot, word) == arg->id) {
		if (try_cmpxchg(&s->shared->state, &word,
				word ^ IOREGIONFD_SLOT_POSTED ^ IOREGIONFD_SLOT_TAKEN))
			break;
	}
	serve_wake(ch, slot);
}

/* Answering. */

static int answer_slot(struct slots *ch, u64 id, u64 data)
{
	u32 i = ioregionfd_id_slot(id);
	struct slot *s;
	u32 word;

	if (i >= ch->nr)
		return -ENOENT;
	i = array_index_nospec(i, ch->nr);
	s = &ch->slots[i];
	WRITE_ONCE(ch->answered, i);

	word = READ_ONCE(s->shared->state);
	while ((word & IOREGIONFD_SLOT_STATE) == IOREGIONFD_SLOT_TAKEN &&
	       ioregionfd_slot_id(i, word) == id) {
		WRITE_ONCE(s->shared->data, data);
		/* A full barrier: pairs with the acquire in slot_is(). */
		if (try_cmpxchg(&s->shared->state, &word,
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
 * @entry: in slots.tasks, if it waits
 * @channel: the channel
 * @vcpu: for that of one slot, or IOREGIONFD_ANY
 * @to_read: in read(), so not while a command that was read waits for write()
 */
struct waiter {
	wait_queue_entry_t entry;
	struct slots *channel;
	u32 vcpu;
	bool to_read;
};

/* If not, the wake-up goes to another. */
static bool waiter_wants(struct waiter *w, void *key)
{
	u32 slot = (unsigned long)key;

	if (w->to_read && READ_ONCE(w->channel->reading) &&
	    !READ_ONCE(w->channel->ended))
		return false;
	return w->vcpu == slot || w->vcpu == IOREGIONFD_ANY ||
	       slot == IOREGIONFD_ANY;
}

static int wake_task(wait_queue_entry_t *entry, unsigned int mode, int flags,
		     void *key)
{
	struct waiter *w = container_of(entry, struct waiter, entry);

	if (!waiter_wants(w, key))
		return 0;
	/* Who has posted a write does not wait. */
	if (w->channel->sync_wake && key != wake_key(IOREGIONFD_ANY))
		flags |= SERVE_WF_SYNC | SERVE_WF_CURRENT_CPU;
	if (!default_wake_function(entry, mode, flags, key))
		return 0;
	list_del_init_careful(&entry->entry);
	return 1;
}

/**
 * serve_wake() - wake a device task for a command
 * @ch: the channel
 * @slot: the slot of the command, or IOREGIONFD_ANY for a posted write
 *
 * After a full barrier that follows the store by which the command can be seen.
 *
 * Context: any in which interrupts are enabled.
 */
void serve_wake(struct slots *ch, u32 slot)
{
	/* After the caller's barrier, which pairs with take_sleep() and uring_park() */
	if (waitqueue_active(&ch->tasks))
		__wake_up(&ch->tasks, TASK_NORMAL, 1, wake_key(slot));
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
	__wake_up(&ch->tasks, TASK_NORMAL, 0, wake_key(IOREGIONFD_ANY));
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
	/* After that barrier, which pairs with take_sleep() and uring_park() */
	if (waitqueue_active(&ch->tasks))
		wake_for_all(ch);
}

/* For read(): one command at a time, as on a socket. */
static int take_to_read(struct slots *ch, struct ioregionfd_serve *arg)
{
	int taken = 0;

	spin_lock(&ch->read_lock);
	if (!ch->reading)
		taken = take(ch, arg->vcpu, arg);
	if (taken > 0 && arg->cmd.resp)
		ch->reading = arg->id;
	spin_unlock(&ch->read_lock);
	return taken;
}

static bool interrupted(struct slots *ch)
{
	return READ_ONCE(ch->interrupted) && xchg(&ch->interrupted, false);
}

/* As take_wait(), once there was nothing to take. */
static int take_sleep(struct slots *ch, struct ioregionfd_serve *arg, bool to_read)
{
	struct waiter w = {
		.entry = {
			.flags = WQ_FLAG_EXCLUSIVE,
			.private = current,
			.func = wake_task,
			.entry = LIST_HEAD_INIT(w.entry.entry),
		},
		.channel = ch,
		.vcpu = arg->vcpu,
		.to_read = to_read,
	};
	bool late = false;
	ktime_t end = 0;
	int r, intr;

	if (arg->timeout > 0)
		end = ktime_add_safe(ktime_get(), ns_to_ktime(arg->timeout));

	for (;;) {
		/* Its barrier pairs with that before serve_wake(). */
		intr = prepare_to_wait_event(&ch->tasks, &w.entry, TASK_INTERRUPTIBLE);
		r = to_read ? take_to_read(ch, arg) : take(ch, arg->vcpu, arg);
		if (r) {
			r = min(r, 0);
			break;
		}
		r = -ENODEV;
		if (READ_ONCE(ch->ended))
			break;
		r = -EINTR;
		if (intr || (!to_read && interrupted(ch)))
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
	finish_wait(&ch->tasks, &w.entry);
	return r;
}

/*
 * Takes a command, and waits for one if need be. Returns 0 or why there is
 * none: -ENODEV, -EINTR, -ETIMEDOUT.
 */
static int take_wait(struct slots *ch, struct ioregionfd_serve *arg, bool to_read)
{
	struct slot *answered = &ch->slots[READ_ONCE(ch->answered)];
	int r = 0;

	/* While a lone vCPU waits to go on there is nothing to be found. */
	if (!arg->timeout || READ_ONCE(ch->used) > 1 || !READ_ONCE(answered->gave_way))
		r = to_read ? take_to_read(ch, arg) : take(ch, arg->vcpu, arg);
	if (!r && arg->timeout && slots_give_way(&ch->gave_way, &answered->gave_way))
		r = to_read ? take_to_read(ch, arg) : take(ch, arg->vcpu, arg);
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

static long serve_ioctl(struct slots *ch, struct ioregionfd_serve __user *user)
{
	struct ioregionfd_serve arg;
	int r;

	r = serve_load(ch, &arg, user);
	if (!r)
		r = serve_answer(ch, &arg);
	if (r)
		return r;
	if (!(arg.flags & IOREGIONFD_ANSWER_ONLY))
		r = take_wait(ch, &arg, false);
	if (r || (arg.flags & IOREGIONFD_ANSWER_ONLY))
		return serve_store_none(user, r);
	return serve_store(ch, &arg, user);
}

/**
 * struct parked - an IOREGIONFD_SERVE of io_uring that waits
 * @waiter: in slots.tasks, unless it has been woken or cancelled
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

	if (!waiter_wants(&p->waiter, key))
		return 0;
	list_del_init(&entry->entry);
	io_uring_cmd_complete_in_task(p->cmd, uring_run);
	return 1;
}

/* Once it is in the queue somebody else may complete and free it. */
static void uring_park(struct slots *ch, struct parked *p)
{
	u32 vcpu = p->waiter.vcpu;
	bool ready;

	spin_lock_irq(&ch->tasks.lock);
	__add_wait_queue_entry_tail_exclusive(&ch->tasks, &p->waiter.entry);
	/* Pairs with the barrier before serve_wake(). */
	smp_mb();
	ready = take(ch, vcpu, NULL) || READ_ONCE(ch->ended) ||
		READ_ONCE(ch->interrupted);
	if (ready)
		list_del_init(&p->waiter.entry.entry);
	spin_unlock_irq(&ch->tasks.lock);

	if (ready)
		io_uring_cmd_complete_in_task(p->cmd, uring_run);
}

/* In the task that submitted it, unless that is about to end. */
static void uring_run(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct parked *p = *uring_parked(cmd);
	struct slots *ch = cmd->file->private_data;
	struct ioregionfd_serve arg;
	int r;

	if (p->cancelled || (issue_flags & IO_URING_F_TASK_DEAD)) {
		r = -ECANCELED;
		serve_pass_on(ch);
		goto done;
	}
	r = take(ch, p->waiter.vcpu, &arg);
	if (r > 0)
		r = serve_store(ch, &arg, p->user);
	else if (READ_ONCE(ch->ended))
		r = serve_store_none(p->user, -ENODEV);
	else if (r || interrupted(ch))
		r = serve_store_none(p->user, -EINTR);
	else
		return uring_park(ch, p);
done:
	io_uring_cmd_done(cmd, r, 0, issue_flags);
	kfree(p);
}

/*
 * The ring or its task ends. That is not for here to complete a command in: this may
 * be a worker, and some rings belong to one task.
 */
static void uring_cancel(struct io_uring_cmd *cmd)
{
	struct slots *ch = cmd->file->private_data;
	struct parked *p = *uring_parked(cmd);
	bool parked;

	spin_lock_irq(&ch->tasks.lock);
	parked = !list_empty(&p->waiter.entry.entry);
	list_del_init(&p->waiter.entry.entry);
	p->cancelled = true;
	spin_unlock_irq(&ch->tasks.lock);

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
	/* Not after the answer: that cannot be taken back. */
	p = kmalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	if (!p)
		return -ENOMEM;

	r = serve_answer(ch, &arg);
	if (r)
		goto free;
	if (arg.flags & IOREGIONFD_ANSWER_ONLY) {
		r = serve_store_none(user, 0);
		goto free;
	}
	if (!arg.timeout) {
		r = take_wait(ch, &arg, false);
		r = r ? serve_store_none(user, r) : serve_store(ch, &arg, user);
		goto free;
	}
	/* What comes while the queue is locked is found there. */
	r = take(ch, arg.vcpu, &arg);
	if (r > 0) {
		r = serve_store(ch, &arg, user);
		goto free;
	}

	init_waitqueue_func_entry(&p->waiter.entry, wake_uring);
	INIT_LIST_HEAD(&p->waiter.entry.entry);
	p->waiter.channel = ch;
	p->waiter.vcpu = arg.vcpu;
	p->waiter.to_read = false;
	p->cmd = cmd;
	p->user = user;
	p->cancelled = false;
	*uring_parked(cmd) = p;
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
	uring_park(ch, p);
	return -EIOCBQUEUED;

free:
	kfree(p);
	return r;
}

/* The rest of the file's operations. */

static ssize_t serve_read(struct file *file, char __user *buf, size_t count,
			  loff_t *pos)
{
	struct ioregionfd_serve arg = {
		.vcpu = IOREGIONFD_ANY,
		.timeout = file->f_flags & O_NONBLOCK ? 0 : -1,
	};
	struct slots *ch = file->private_data;
	int r;

	if (count < sizeof(arg.cmd))
		return -EINVAL;
	r = take_wait(ch, &arg, true);
	if (r == -ENODEV)
		return 0;
	if (r == -ETIMEDOUT)
		return -EAGAIN;
	if (r == -EINTR && signal_pending(current))
		return -ERESTARTSYS;
	if (r)
		return r;

	if (copy_to_user(buf, &arg.cmd, sizeof(arg.cmd))) {
		spin_lock(&ch->read_lock);
		if (ch->reading == arg.id)
			ch->reading = 0;
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

static ssize_t serve_write(struct file *file, const char __user *buf,
			   size_t count, loff_t *pos)
{
	struct slots *ch = file->private_data;
	struct ioregionfd_resp resp;
	u64 id;
	int r;

	if (count != sizeof(resp))
		return -EINVAL;
	if (copy_from_user(&resp, buf, sizeof(resp)))
		return -EFAULT;

	spin_lock(&ch->read_lock);
	id = ch->reading;
	ch->reading = 0;
	spin_unlock(&ch->read_lock);
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

static long serve_get_info(struct slots *ch, void __user *user)
{
	struct ioregionfd_info info = {
		.size = ch->size,
		.slots = ch->nr,
		.posted = ch->ring_size,
		.slots_offset = sizeof(*ch->control),
		.posted_offset = (void *)ch->ring - (void *)ch->control,
	};

	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

/* What the former task has left in the slot, in whatever state. */
static void take_over_slot(struct slot *s)
{
	struct ioregionfd_slot *shared = s->shared;
	u32 word, free;

	spin_lock(&s->lock);
	WRITE_ONCE(shared->polling, 0);
	word = READ_ONCE(shared->state);
	if (slot_is(s, IOREGIONFD_SLOT_POSTED) || slot_is(s, IOREGIONFD_SLOT_DONE))
		goto unlock;
	/* From now on the former task cannot answer it. */
	free = slot_word(s, IOREGIONFD_SLOT_FREE);
	if (!try_cmpxchg(&shared->state, &word, free))
		goto unlock;
	if (s->sent) {
		WRITE_ONCE(s->number, s->number + 1);
		WRITE_ONCE(s->again, s->number);
		shared->cmd = s->call.cmd;
		shared->cmd.again = 1;
		/* As slot_post(); the vCPU may be asleep. */
		smp_store_release(&shared->state,
				  slot_word(s, IOREGIONFD_SLOT_POSTED) | IOREGIONFD_SLOT_WAITING);
	}
unlock:
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
	ch->reading = 0;
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

	if (vmf->pgoff >= ch->size >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;
	vmf->page = vmalloc_to_page((void *)ch->control + (vmf->pgoff << PAGE_SHIFT));
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
	if (vma->vm_pgoff + vma_pages(vma) > ch->size >> PAGE_SHIFT)
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
	.read = serve_read,
	.write = serve_write,
	.poll = serve_poll,
	.unlocked_ioctl = serve_ioctls,
	.compat_ioctl = compat_ptr_ioctl,
	.uring_cmd = serve_uring_cmd,
	.mmap = serve_mmap,
	.release = serve_release,
};
