// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, fetch: how device tasks get commands from a native channel and complete
 * them, and how they wait.
 *
 * Many tasks may do so at once, each in any of the ways. A command is fetched by one of
 * them, see native.h; mailbox.c calls wake_fetcher() to wake one that waits. Whoever was
 * woken and leaves others waiting wakes the next, whether it has fetched a command or not.
 *
 * Nobody sleeps, and no io_uring command is parked, before fetch() has found
 * nothing after they were in the queue. All who are in a queue want what it is for, so
 * to wake one takes the same time however many there are; and there is a limit to that. Who
 * polls the file is in a queue without a limit, as with an eventfd.
 */
#include <linux/hrtimer.h>
#include <linux/nospec.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "native.h"

static_assert(sizeof(struct ioregionfd_fetch) == 64);
static_assert(offsetof(struct ioregionfd_fetch, flags) == 28);
static_assert(offsetof(struct ioregionfd_fetch, cmd) == 32);

/* More waiters than this have no use, and all of them are woken when the VM goes. */
static int waiters_max(const struct native_channel *ch)
{
	return 2 * ch->nr_mailboxes + 16;
}

/* Fetching. */

/*
 * Whether there are posted writes that come before the mailbox's command. If their number
 * cannot be, the device task has written nonsense, and there are none.
 */
static bool mailbox_has_predecessors(struct native_channel *ch, struct mailbox *m)
{
	u32 tail = ioregionfd_posted_index(READ_ONCE(ch->control->posted_tail));
	u32 remaining = (READ_ONCE(m->posted_before) - tail) & POSTED_MASK;

	return remaining && remaining <= ch->nr_posted;
}

/* Fetches the command of mailbox @i, or with NULL only looks whether it could. */
static bool fetch_mailbox(struct native_channel *ch, unsigned int i, struct ioregionfd_fetch *arg)
{
	struct mailbox *m = &ch->mailboxes[i];
	/* Acquires what mailbox_post() has stored. Litmus: command. */
	u32 word = smp_load_acquire(&m->shared->state);
	unsigned int n;

	for (n = 0; n < STATE_TRIES; n++) {
		if ((word & ~IOREGIONFD_MAILBOX_WAITING) !=
		    mailbox_word(m, IOREGIONFD_MAILBOX_PENDING))
			return false;
		if (mailbox_has_predecessors(ch, m))
			return false;
		if (!arg)
			return true;
		/*
		 * What is copied belongs together if the exchange then finds the same
		 * command. After it, IOREGIONFD_RECOVER may change all of it.
		 * Litmus: vcpu-order, posted-handled-fetch.
		 */
		arg->cmd = data_race(m->req.cmd);
		if (unlikely(READ_ONCE(m->redelivered) << IOREGIONFD_MAILBOX_SHIFT ==
			     (word & NUMBER_BITS)))
			arg->cmd.flags |= IOREGIONFD_CMD_F_REDELIVERED;
		if (!try_cmpxchg(&m->shared->state, &word, word ^ IOREGIONFD_MAILBOX_PENDING ^
				 IOREGIONFD_MAILBOX_FETCHED))
			continue;
		arg->id = ioregionfd_cmd_id(i, word);
		return true;
	}
	return false;
}

static bool fetch_mailboxes(struct native_channel *ch, u32 vcpu, struct ioregionfd_fetch *arg)
{
	unsigned int used = READ_ONCE(ch->used);
	unsigned int i, n;

	if (vcpu != IOREGIONFD_ANY)
		return fetch_mailbox(ch, array_index_nospec(vcpu, ch->nr_mailboxes), arg);

	i = READ_ONCE(ch->next);
	for (n = 0; n < used; n++, i++) {
		if (i >= used)
			i = 0;
		if (!mailbox_is(&ch->mailboxes[i], IOREGIONFD_MAILBOX_PENDING) ||
		    !fetch_mailbox(ch, i, arg))
			continue;
		if (arg)
			WRITE_ONCE(ch->next, i + 1);
		return true;
	}
	return false;
}

static bool fetch_posted(struct native_channel *ch, struct ioregionfd_fetch *arg)
{
	u64 *tail = &ch->control->posted_tail;
	u64 word = READ_ONCE(*tail);
	unsigned int n;
	u32 used;

	for (n = 0; n < STATE_TRIES; n++) {
		used = ring_used(ch, word);
		if ((word & POSTED_FETCHED) || !used || used > ch->nr_posted)
			return false;
		if (!arg)
			return true;
		/*
		 * As in fetch_mailbox(): after it, the entry may become that of a later write.
		 * Its address depends on posted_tail, which was read before.
		 * Litmus: posted-recover.
		 */
		arg->cmd = data_race(ch->ring[ioregionfd_posted_index(word) &
					      (ch->nr_posted - 1)]);
		/* The ID is that of what has been copied. */
		arg->id = ioregionfd_posted_id(word);
		if (try_cmpxchg(tail, &word, word | POSTED_FETCHED))
			return true;
	}
	return false;
}

/*
 * A device task that is well-behaved does not move posted_tail so often during one look.
 * One that is not must not keep us here.
 */
#define FETCH_TRIES	100

/* As fetch(). -EAGAIN: look again, the ring has changed meanwhile. */
static int fetch_once(struct native_channel *ch, u32 vcpu, struct ioregionfd_fetch *arg)
{
	u64 *tail = &ch->control->posted_tail;
	u64 word = READ_ONCE(*tail);

	if (fetch_mailboxes(ch, vcpu, arg) || (ring_used(ch, word) && fetch_posted(ch, arg)))
		return 1;
	/*
	 * If there is something that comes after a posted write which somebody has
	 * fetched, they must tell when they retire that.
	 */
	if (word & POSTED_FETCHED) {
		WRITE_ONCE(ch->control->blocked, 1);
		/*
		 * Pairs with the barrier after a move of posted_tail.
		 * Litmus: posted-space, posted-space-retire, unblock.
		 */
		smp_mb();
	}
	return READ_ONCE(*tail) == word ? 0 : -EAGAIN;
}

/**
 * fetch() - fetch what a task gets next
 * @ch: the channel
 * @vcpu: the vCPU that it serves, or IOREGIONFD_ANY
 * @arg: where id and cmd go; NULL: only look whether there is something
 *
 * Context: any in which a spinlock may be taken; does not sleep.
 * Return: 1 if there is something, 0 if not, or -EAGAIN: cannot be said, because the
 * device task keeps changing the ring.
 */
int fetch(struct native_channel *ch, u32 vcpu, struct ioregionfd_fetch *arg)
{
	unsigned int n;
	int r = -EAGAIN;

	for (n = 0; n < FETCH_TRIES && r == -EAGAIN; n++)
		r = fetch_once(ch, vcpu, arg);
	return r;
}

/* The command goes back to where it was fetched from, unless its vCPU has given it up. */
static void requeue_mailbox(struct native_channel *ch, struct mailbox *m, u64 id)
{
	u32 i = m - ch->mailboxes;
	unsigned int n;
	bool over;
	u32 word;

	/* Against the vCPU, which gives up under it. */
	spin_lock(&m->lock);
	over = !READ_ONCE(m->sent);
	word = READ_ONCE(m->shared->state);
	for (n = 0; n < STATE_TRIES; n++) {
		if (ioregionfd_cmd_id(i, word) != id ||
		    ((word & IOREGIONFD_MAILBOX_STATE) != IOREGIONFD_MAILBOX_FETCHED &&
		     (word & IOREGIONFD_MAILBOX_STATE) != IOREGIONFD_MAILBOX_ABANDONED))
			break;
		if (try_cmpxchg(&m->shared->state, &word, over ?
				mailbox_word(m, IOREGIONFD_MAILBOX_FREE) :
				(word & ~IOREGIONFD_MAILBOX_STATE) | IOREGIONFD_MAILBOX_PENDING))
			break;
	}
	spin_unlock(&m->lock);

	if (over)
		rcuwait_wake_up(&m->wait);
	else
		wake_fetcher(ch, i);
}

/* What posted_tail was when the posted write had been fetched. */
static u64 posted_word(u64 id)
{
	return id << 1 | POSTED_FETCHED;
}

/**
 * fetch_requeue() - undo fetch(), the task could not be given what was fetched
 * @ch: the channel
 * @arg: what fetch() returned
 *
 * Context: process.
 */
void fetch_requeue(struct native_channel *ch, const struct ioregionfd_fetch *arg)
{
	u32 vcpu = ioregionfd_id_vcpu(arg->id);
	u64 word = posted_word(arg->id);

	if (vcpu == IOREGIONFD_ANY) {
		cmpxchg(&ch->control->posted_tail, word, word & ~POSTED_FETCHED);
		wake_all_fetchers(ch);
		return;
	}
	requeue_mailbox(ch, &ch->mailboxes[vcpu], arg->id);
	/* The task may have been woken for another command than the one that it fetched. */
	wake_next_fetcher(ch);
}

/* Completing. */

/* Stores a half of the value, if the mailbox still holds the command. */
static bool complete_half(u64 *data, u32 number, int half, u64 value)
{
	u64 word = READ_ONCE(data[half]);

	/* If it is changed here, somebody else completes the command, too. */
	return word >> 32 == number &&
	       try_cmpxchg(&data[half], &word, ioregionfd_mailbox_data(number, half, value));
}

/* The vCPU has given the command up. It may post the next one when this has been told. */
static int complete_abandoned(struct mailbox *m, u32 word)
{
	if (!try_cmpxchg(&m->shared->state, &word,
			 (word & NUMBER_BITS) | IOREGIONFD_MAILBOX_FREE))
		return -ENOENT;
	rcuwait_wake_up(&m->wait);
	return -ESTALE;
}

static int complete_mailbox(struct native_channel *ch, u64 id, u64 data, u32 status)
{
	u32 i = ioregionfd_id_vcpu(id);
	struct ioregionfd_mailbox *shared;
	struct mailbox *m;
	unsigned int n;
	u32 word;

	if (i >= ch->nr_mailboxes)
		return -ENOENT;
	i = array_index_nospec(i, ch->nr_mailboxes);
	m = &ch->mailboxes[i];
	shared = m->shared;
	WRITE_ONCE(ch->completed, i);

	word = READ_ONCE(shared->state);
	if (ioregionfd_cmd_id(i, word) != id)
		return -ENOENT;
	if ((word & IOREGIONFD_MAILBOX_STATE) == IOREGIONFD_MAILBOX_FETCHED &&
	    (!complete_half(shared->data, (u32)id, 0, data) ||
	     !complete_half(shared->data, (u32)id, 1, data)))
		return -ENOENT;

	for (n = 0; n < STATE_TRIES; n++) {
		if ((word & IOREGIONFD_MAILBOX_STATE) != IOREGIONFD_MAILBOX_FETCHED ||
		    ioregionfd_cmd_id(i, word) != id)
			break;
		/*
		 * A full barrier: pairs with the acquire in mailbox_is_complete().
		 * Litmus: response, mailbox-reuse, response-sleep, vcpu-order.
		 */
		if (try_cmpxchg(&shared->state, &word,
				(word & NUMBER_BITS) | (IOREGIONFD_MAILBOX_COMPLETE + status))) {
			if (word & IOREGIONFD_MAILBOX_WAITING)
				rcuwait_wake_up(&m->wait);
			return 0;
		}
	}
	if ((word & IOREGIONFD_MAILBOX_STATE) == IOREGIONFD_MAILBOX_ABANDONED &&
	    ioregionfd_cmd_id(i, word) == id)
		return complete_abandoned(m, word);
	return -ENOENT;
}

/* Somebody waited for posted_tail to move, and perhaps it has. */
static void unblock(struct native_channel *ch)
{
	WRITE_ONCE(ch->control->blocked, 0);
	/* Pairs with the barriers after blocked is set. Litmus: unblock. */
	smp_mb();
	wake_up_all(&ch->space_wq);
	wake_all_fetchers(ch);
}

static int retire_posted(struct native_channel *ch, u64 id)
{
	u64 word = posted_word(id);

	if (id != ioregionfd_posted_id(word))
		return -ENOENT;
	/*
	 * A full barrier: pairs with those in ring_has_space() and fetch().
	 * Litmus: posted-space-retire, posted-heads, posted-reuse.
	 */
	if (cmpxchg(&ch->control->posted_tail, word, word + 1) != word)
		return -ENOENT;
	return 0;
}

/**
 * retire_read() - retire a posted write that read() is about to return
 * @ch: the channel
 * @id: of the posted write
 *
 * A task that reads has no way to say when it has handled it.
 *
 * Context: process.
 */
void retire_read(struct native_channel *ch, u64 id)
{
	retire_posted(ch, id);
	if (READ_ONCE(ch->control->blocked))
		unblock(ch);
}

/**
 * complete_cmd() - complete a command, or retire a posted write
 * @ch: the channel
 * @id: what was fetched
 * @data: the value of a read
 * @status: IOREGIONFD_STATUS_*, checked
 *
 * Context: process.
 * Return: 0; -ENOENT: nothing that the caller has fetched; -ESTALE: the vCPU has given
 * the command up.
 */
int complete_cmd(struct native_channel *ch, u64 id, u64 data, u32 status)
{
	if (ioregionfd_id_vcpu(id) == IOREGIONFD_ANY)
		return retire_posted(ch, id);
	return complete_mailbox(ch, id, data, status);
}

/* Waiting. */

/**
 * waiter_begin() - count somebody who is going to wait for a command
 * @ch: the channel
 * @vcpu: whose commands, or IOREGIONFD_ANY
 *
 * Before the waiter enters its queue for the first time: wake_fetcher(), after its
 * caller's barrier, finds nobody only if the waiter's look after its own barrier finds
 * the command.
 *
 * Context: any.
 * Return: 0, or -EBUSY: there are too many.
 */
int waiter_begin(struct native_channel *ch, u32 vcpu)
{
	/* A full barrier. Litmus: post-waiter, pass-on, vm-dead, used-by-another. */
	if (atomic_inc_return(&ch->waiters) > waiters_max(ch)) {
		atomic_dec(&ch->waiters);
		return -EBUSY;
	}
	if (vcpu != IOREGIONFD_ANY)
		atomic_inc(&ch->mailbox_waiters);
	return 0;
}

/**
 * waiter_end() - undo waiter_begin()
 * @ch: the channel
 * @vcpu: as there
 *
 * Context: any.
 */
void waiter_end(struct native_channel *ch, u32 vcpu)
{
	if (vcpu != IOREGIONFD_ANY)
		atomic_dec(&ch->mailbox_waiters);
	atomic_dec(&ch->waiters);
}

/**
 * waiter_told() - let whoever wakes a waiter know that there was one
 * @key: of the wait queue's function: NULL, or a bool to set
 *
 * Context: under the wait queue's lock.
 */
void waiter_told(void *key)
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
	waiter_told(key);
	return 1;
}

static bool wake_one(wait_queue_head_t *queue, bool sync)
{
	bool woken = false;

	/* After the barrier before wake_fetcher(), which pairs with that of who waits */
	if (!waitqueue_active(queue))
		return false;
	if (sync)
		__wake_up_sync_key(queue, TASK_NORMAL, &woken);
	else
		__wake_up(queue, TASK_NORMAL, 1, &woken);
	return woken;
}

/* Those who wait for one vCPU get posted writes as well, if nobody else does. */
static bool wake_one_of_mailboxes(struct native_channel *ch, bool parked)
{
	unsigned int i;

	if (!atomic_read(&ch->mailbox_waiters))
		return false;
	for (i = 0; i < ch->nr_mailboxes; i++) {
		if (wake_one(parked ? &ch->mailboxes[i].parked : &ch->mailboxes[i].tasks, false))
			return true;
	}
	return false;
}

/* A read() does not return a command before the last one has been completed. */
static bool wake_reader(struct native_channel *ch, bool sync)
{
	return !READ_ONCE(ch->reading) && wake_one(&ch->readers, sync);
}

static bool wake_for_mailbox(struct native_channel *ch, struct mailbox *m)
{
	return wake_one(&m->tasks, ch->sync_wake) || wake_one(&ch->tasks, ch->sync_wake) ||
	       wake_reader(ch, ch->sync_wake) ||
	       wake_one(&m->parked, false) || wake_one(&ch->parked, false);
}

/* A vCPU that has posted a write does not wait for it: sync would be wrong. */
static bool wake_for_posted(struct native_channel *ch)
{
	return wake_one(&ch->tasks, false) || wake_reader(ch, false) ||
	       wake_one_of_mailboxes(ch, false) || wake_one(&ch->parked, false) ||
	       wake_one_of_mailboxes(ch, true);
}

/**
 * wake_fetcher() - wake a device task for a command
 * @ch: the channel
 * @vcpu: whose command, or IOREGIONFD_ANY for a posted write
 *
 * After a full barrier that follows the store by which the command can be seen. A task
 * that sleeps comes; one with an io_uring command only when it next looks at its ring,
 * so that is the second choice.
 *
 * Context: process.
 */
void wake_fetcher(struct native_channel *ch, u32 vcpu)
{
	/* After the caller's barrier, which pairs with waiter_begin() */
	if (atomic_read(&ch->waiters)) {
		if (vcpu == IOREGIONFD_ANY)
			wake_for_posted(ch);
		else
			wake_for_mailbox(ch, &ch->mailboxes[vcpu]);
	}
	/* After the caller's barrier, which pairs with file_poll() */
	if (waitqueue_active(&ch->poll_wq))
		wake_up_poll(&ch->poll_wq, EPOLLIN | EPOLLRDNORM);
}

/**
 * wake_all_fetchers() - make all device tasks that wait on a channel look why
 * @ch: the channel
 *
 * Context: as wake_fetcher().
 */
void wake_all_fetchers(struct native_channel *ch)
{
	unsigned int i;

	wake_up_all(&ch->tasks);
	wake_up_all(&ch->readers);
	wake_up_all(&ch->parked);
	for (i = 0; i < ch->nr_mailboxes && atomic_read(&ch->mailbox_waiters); i++) {
		wake_up_all(&ch->mailboxes[i].tasks);
		wake_up_all(&ch->mailboxes[i].parked);
	}
	wake_up_poll(&ch->poll_wq, EPOLLIN | EPOLLRDNORM |
				   (READ_ONCE(ch->vm_dead) ? EPOLLHUP : 0));
}

/* Wakes one waiter for each command, and one for posted writes. */
static void wake_for_pending(struct native_channel *ch)
{
	unsigned int i;

	if (!fetch(ch, IOREGIONFD_ANY, NULL))
		return;
	for (i = 0; i < READ_ONCE(ch->used); i++) {
		if (fetch_mailbox(ch, i, NULL))
			wake_fetcher(ch, i);
	}
	if (fetch_posted(ch, NULL))
		wake_fetcher(ch, IOREGIONFD_ANY);
}

/**
 * wake_next_fetcher() - wake others for what the caller, who was woken, has left
 * @ch: the channel
 *
 * The caller may have been woken for one command and have fetched another, or nothing.
 *
 * Context: process.
 */
void wake_next_fetcher(struct native_channel *ch)
{
	/*
	 * Orders our fetch, or the change of ->reading, before the look at the queues: a
	 * command that a waiter came too late to see is seen here.
	 * Litmus: pass-on.
	 */
	smp_mb();
	/* After that barrier, which pairs with waiter_begin() */
	if (atomic_read(&ch->waiters))
		wake_for_pending(ch);
}

/*
 * For read(): one command at a time, as on a socket. Under the lock it is looked once, since
 * the device task can make each look a long one.
 */
static int fetch_to_read(struct native_channel *ch, struct ioregionfd_fetch *arg)
{
	int fetched = -EAGAIN;
	unsigned int n;

	for (n = 0; n < FETCH_TRIES && fetched == -EAGAIN; n++) {
		fetched = 0;
		spin_lock(&ch->read_lock);
		if (!READ_ONCE(ch->reading))
			fetched = fetch_once(ch, arg->vcpu, arg);
		if (fetched > 0 && (arg->cmd.flags & IOREGIONFD_CMD_F_RESP)) {
			WRITE_ONCE(ch->reading, arg->id);
			ch->reader = current;
		}
		spin_unlock(&ch->read_lock);
	}
	return fetched;
}

/* Whether IOREGIONFD_INTERRUPT is for the caller. It is for one. */
static bool fetch_interrupted(struct native_channel *ch)
{
	return READ_ONCE(ch->interrupted) && xchg(&ch->interrupted, false);
}

static int fetch_any_way(struct native_channel *ch, struct ioregionfd_fetch *arg, bool to_read)
{
	return to_read ? fetch_to_read(ch, arg) : fetch(ch, arg->vcpu, arg);
}

/*
 * As fetch_wait(), once there was nothing to fetch. Leaves in arg->timeout what is left
 * of it.
 */
static int fetch_sleep(struct native_channel *ch, struct ioregionfd_fetch *arg, bool to_read)
{
	wait_queue_head_t *queue = to_read ? &ch->readers : &ch->tasks;
	wait_queue_entry_t entry;
	bool late = false;
	ktime_t end = 0;
	int r;

	r = waiter_begin(ch, arg->vcpu);
	if (r)
		return r;
	if (arg->vcpu != IOREGIONFD_ANY)
		queue = &ch->mailboxes[array_index_nospec(arg->vcpu, ch->nr_mailboxes)].tasks;
	if (arg->timeout > 0)
		end = ktime_add_safe(ktime_get(), ns_to_ktime(arg->timeout));
	init_waitqueue_func_entry(&entry, wake_task);
	entry.private = current;
	INIT_LIST_HEAD(&entry.entry);

	for (;;) {
		/* Its barrier pairs with that before wake_fetcher(). */
		prepare_to_wait_exclusive(queue, &entry, TASK_INTERRUPTIBLE);
		r = fetch_any_way(ch, arg, to_read);
		if (r) {
			r = min(r, 0);
			break;
		}
		r = -ENODEV;
		if (READ_ONCE(ch->vm_dead))
			break;
		r = -ECANCELED;
		if (!to_read && fetch_interrupted(ch))
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
	finish_wait(queue, &entry);
	waiter_end(ch, arg->vcpu);
	if (end)
		arg->timeout = max(ktime_to_ns(ktime_sub(end, ktime_get())), 1);
	/* Somebody may have woken this one, after its last look, for what is another's. */
	if (r)
		wake_next_fetcher(ch);
	return r;
}

/**
 * fetch_wait() - fetch a command, and wait for one if need be
 * @ch: the channel
 * @arg: timeout, vcpu: as in struct ioregionfd_fetch; where id and cmd go
 * @to_read: for read(), to be completed by write()
 *
 * Context: may sleep, as long as arg->timeout says, interruptibly.
 * Return: 0, or why there is none: -ENODEV: the VM is gone; -EAGAIN: no time to wait;
 * -ETIMEDOUT; -ECANCELED: IOREGIONFD_INTERRUPT; -ERESTARTSYS: a signal; -EBUSY.
 */
int fetch_wait(struct native_channel *ch, struct ioregionfd_fetch *arg, bool to_read)
{
	struct mailbox *completed = &ch->mailboxes[READ_ONCE(ch->completed)];
	int r = 0;

	/*
	 * If one vCPU uses the channel and it is runnable, waiting to get the CPU back with
	 * the response that we gave, there cannot be a command: skip the look.
	 */
	if (!arg->timeout || READ_ONCE(ch->used) > 1 || !READ_ONCE(completed->yielder))
		r = fetch_any_way(ch, arg, to_read);
	if (!r && arg->timeout && native_yield(&ch->yielder, &completed->yielder))
		r = fetch_any_way(ch, arg, to_read);
	if (r)
		return min(r, 0);
	if (READ_ONCE(ch->vm_dead))
		return -ENODEV;
	if (!arg->timeout)
		return -EAGAIN;
	return fetch_sleep(ch, arg, to_read);
}

/* IOREGIONFD_COMMIT_AND_FETCH: common to ioctl and io_uring. */

/**
 * fetch_load() - read the argument, and check it
 * @ch: the channel
 * @arg: where its inputs go
 * @user: the argument
 *
 * Context: may sleep.
 * Return: 0, -EFAULT or -EINVAL.
 */
int fetch_load(struct native_channel *ch, struct ioregionfd_fetch *arg,
	       struct ioregionfd_fetch __user *user)
{
	if (!user_read_access_begin(user, sizeof(*user)))
		return -EFAULT;
	unsafe_get_user(arg->id, &user->id, fault);
	unsafe_get_user(arg->data, &user->data, fault);
	unsafe_get_user(arg->timeout, &user->timeout, fault);
	unsafe_get_user(arg->vcpu, &user->vcpu, fault);
	unsafe_get_user(arg->flags, &user->flags, fault);
	unsafe_get_user(arg->status, &user->status, fault);
	user_read_access_end();

	if (arg->flags & ~IOREGIONFD_COMMIT_ONLY)
		return -EINVAL;
	if (arg->status > IOREGIONFD_STATUS_TO_VMM)
		return -EINVAL;
	if (arg->vcpu != IOREGIONFD_ANY && arg->vcpu >= ch->nr_mailboxes)
		return -EINVAL;
	return 0;

fault:
	user_read_access_end();
	return -EFAULT;
}

/**
 * fetch_commit() - complete or retire what the argument says
 * @ch: the channel
 * @arg: the argument
 *
 * Context: process.
 * Return: 0, or as complete_cmd().
 */
int fetch_commit(struct native_channel *ch, const struct ioregionfd_fetch *arg)
{
	int r = 0;

	if (arg->id)
		r = complete_cmd(ch, arg->id, arg->data, arg->status);
	if (READ_ONCE(ch->control->blocked))
		unblock(ch);
	return r;
}

/**
 * fetch_store_none() - the command was completed, and nothing was fetched
 * @user: the argument
 * @r: why
 *
 * Context: may sleep.
 * Return: @r, or -EFAULT.
 */
int fetch_store_none(struct ioregionfd_fetch __user *user, int r)
{
	return put_user(0, &user->id) ? -EFAULT : r;
}

/*
 * A signal came. If it has no handler (the task was stopped, or frozen, or traced) the
 * call begins anew, with nothing to complete and for the rest of the time.
 */
static int fetch_restart(const struct ioregionfd_fetch *arg, struct ioregionfd_fetch __user *user)
{
	if (arg->timeout > 0 && put_user(arg->timeout, &user->timeout))
		return fetch_store_none(user, -EFAULT);
	return fetch_store_none(user, -ERESTARTNOHAND);
}

/**
 * fetch_store() - give what was fetched to the task, or requeue it
 * @ch: the channel
 * @arg: what fetch() returned
 * @user: the argument
 *
 * Context: may sleep.
 * Return: 0 or -EFAULT.
 */
int fetch_store(struct native_channel *ch, const struct ioregionfd_fetch *arg,
		struct ioregionfd_fetch __user *user)
{
	/* A struct ioregionfd_cmd is four words. */
	u64 __user *to = (u64 __user *)&user->cmd;
	const u64 *from = (const u64 *)&arg->cmd;

	if (!user_write_access_begin(user, sizeof(*user)))
		goto requeue;
	unsafe_put_user(from[0], &to[0], fault);
	unsafe_put_user(from[1], &to[1], fault);
	unsafe_put_user(from[2], &to[2], fault);
	unsafe_put_user(from[3], &to[3], fault);
	unsafe_put_user(arg->id, &user->id, fault);
	user_write_access_end();
	wake_next_fetcher(ch);
	return 0;

fault:
	user_write_access_end();
requeue:
	fetch_requeue(ch, arg);
	return fetch_store_none(user, -EFAULT);
}

/**
 * commit_and_fetch() - IOREGIONFD_COMMIT_AND_FETCH by a task that may wait for a command
 * @ch: the channel
 * @arg: the argument, from fetch_load()
 * @user: where it is from
 *
 * Context: may sleep, as long as arg->timeout says, interruptibly.
 * Return: 0, or a negative errno as in <linux/ioregionfd.h>.
 */
int commit_and_fetch(struct native_channel *ch, struct ioregionfd_fetch *arg,
		     struct ioregionfd_fetch __user *user)
{
	int r;

	r = fetch_commit(ch, arg);
	if (r)
		return r == -ESTALE ? fetch_store_none(user, r) : r;
	if (arg->flags & IOREGIONFD_COMMIT_ONLY)
		return fetch_store_none(user, 0);
	r = fetch_wait(ch, arg, false);
	if (r == -ERESTARTSYS)
		return fetch_restart(arg, user);
	return r ? fetch_store_none(user, r) : fetch_store(ch, arg, user);
}
