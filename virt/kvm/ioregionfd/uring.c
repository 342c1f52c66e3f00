// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, uring: IOREGIONFD_COMMIT_AND_FETCH as a command of io_uring.
 *
 * If there is nothing to fetch the command is parked in a wait queue, and completed by
 * whoever is woken for the next one.
 */
#include <linux/kernel.h>
#include <linux/nospec.h>
#include <linux/slab.h>

#include "compat.h"
#include "native.h"

/**
 * struct parked - an IOREGIONFD_COMMIT_AND_FETCH of io_uring that waits
 * @entry: in @queue, unless it has been woken or cancelled
 * @queue: where it waits
 * @vcpu: for a command of that vCPU, or IOREGIONFD_ANY
 * @cmd: the command of io_uring
 * @user: the argument
 * @cancelled: it is to end
 *
 * Whoever takes @entry off the queue has uring_run() called, which completes @cmd
 * and frees this, or puts it in the queue again. uring_cancel() is not called any
 * more once @cmd is complete.
 */
struct parked {
	wait_queue_entry_t entry;
	wait_queue_head_t *queue;
	u32 vcpu;
	struct io_uring_cmd *cmd;
	struct ioregionfd_fetch __user *user;
	bool cancelled;
};

static struct parked **uring_parked(struct io_uring_cmd *cmd)
{
	return io_uring_cmd_to_pdu(cmd, struct parked *);
}

static void uring_run(struct io_uring_cmd *cmd, unsigned int issue_flags, bool task_dead);
URING_TASK_WORK(uring_task_work, uring_run)

static int wake_uring(wait_queue_entry_t *entry, unsigned int mode, int flags,
		      void *key)
{
	struct parked *p = container_of(entry, struct parked, entry);

	list_del_init(&entry->entry);
	waiter_told(key);
	io_uring_cmd_complete_in_task(p->cmd, uring_task_work);
	return 1;
}

/* Whether there may be a reason not to wait. */
static bool parked_in_vain(struct native_channel *ch, u32 vcpu)
{
	return READ_ONCE(ch->vm_dead) || fetch(ch, vcpu, NULL);
}

/*
 * Once it is in the queue somebody else may complete and free it. So whether that was
 * in vain is found out with the channel, and then somebody is woken, as wake_fetcher().
 */
static void uring_park(struct native_channel *ch, struct parked *p)
{
	wait_queue_head_t *queue = p->queue;
	u32 vcpu = p->vcpu;

	spin_lock_irq(&queue->lock);
	__add_wait_queue_entry_tail_exclusive(queue, &p->entry);
	spin_unlock_irq(&queue->lock);

	/*
	 * Pairs with the barrier before wake_fetcher().
	 * Litmus: post-waiter, vm-dead, used-by-another.
	 */
	smp_mb();
	if (parked_in_vain(ch, vcpu))
		__wake_up(queue, TASK_NORMAL, 1, NULL);
}

static void uring_end(struct native_channel *ch, struct parked *p)
{
	waiter_end(ch, p->vcpu);
	kfree(p);
}

/* In the task that submitted it, unless that is about to end. */
static void uring_run(struct io_uring_cmd *cmd, unsigned int issue_flags, bool task_dead)
{
	struct parked *p = *uring_parked(cmd);
	struct native_channel *ch = cmd->file->private_data;
	struct ioregionfd_fetch arg;
	int r;

	if (task_dead) {
		r = -ECANCELED;
	} else if (READ_ONCE(p->cancelled)) {
		r = fetch_store_none(p->user, -ECANCELED);
	} else {
		r = fetch(ch, p->vcpu, &arg);
		if (r > 0)
			r = fetch_store(ch, &arg, p->user);
		else if (r)
			r = fetch_store_none(p->user, r);
		else if (READ_ONCE(ch->vm_dead))
			r = fetch_store_none(p->user, -ENODEV);
		else
			return uring_park(ch, p);
	}
	uring_end(ch, p);
	/* What it was woken for may be for another. */
	if (r)
		wake_next_fetcher(ch);
	uring_done(cmd, r, issue_flags);
}

/*
 * The ring or its task ends. That is not for here to complete a command in: this may
 * be a worker, and some rings belong to one task.
 */
static void uring_cancel(struct io_uring_cmd *cmd)
{
	struct parked *p = *uring_parked(cmd);
	wait_queue_head_t *queue = p->queue;
	bool parked;

	spin_lock_irq(&queue->lock);
	parked = !list_empty(&p->entry.entry);
	list_del_init(&p->entry.entry);
	WRITE_ONCE(p->cancelled, true);
	spin_unlock_irq(&queue->lock);

	if (parked)
		io_uring_cmd_complete_in_task(cmd, uring_task_work);
}

static struct parked *parked_new(struct native_channel *ch, struct io_uring_cmd *cmd,
				 struct ioregionfd_fetch __user *user, u32 vcpu)
{
	struct parked *p = kmalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	int r;

	if (!p)
		return ERR_PTR(-ENOMEM);
	r = waiter_begin(ch, vcpu);
	if (r) {
		kfree(p);
		return ERR_PTR(r);
	}
	init_waitqueue_func_entry(&p->entry, wake_uring);
	INIT_LIST_HEAD(&p->entry.entry);
	p->queue = &ch->parked;
	if (vcpu != IOREGIONFD_ANY)
		p->queue = &ch->mailboxes[array_index_nospec(vcpu, ch->nr_mailboxes)].parked;
	p->vcpu = vcpu;
	p->cmd = cmd;
	p->user = user;
	p->cancelled = false;
	return p;
}

/**
 * ioregionfd_uring_cmd() - a command of io_uring for a channel
 * @cmd: the command
 * @issue_flags: IO_URING_F_*
 *
 * Context: may sleep.
 * Return: 0 or a negative errno: the command is complete; -EIOCBQUEUED: it is parked.
 */
int ioregionfd_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct native_channel *ch = cmd->file->private_data;
	struct ioregionfd_fetch __user *user;
	struct ioregionfd_fetch arg;
	struct parked *p;
	int r;

	if (issue_flags & IO_URING_F_CANCEL) {
		uring_cancel(cmd);
		return 0;
	}
	if (cmd->cmd_op != IOREGIONFD_COMMIT_AND_FETCH)
		return -ENOTTY;

	user = u64_to_user_ptr(READ_ONCE(cmd->sqe->addr));
	r = fetch_load(ch, &arg, user);
	if (r)
		return r;
	if (arg.timeout > 0)
		return -EINVAL;
	if (!arg.timeout || (arg.flags & IOREGIONFD_COMMIT_ONLY))
		return commit_and_fetch(ch, &arg, user);

	/* What can fail comes before the command is completed: that cannot be undone. */
	p = parked_new(ch, cmd, user, arg.vcpu);
	if (IS_ERR(p))
		return PTR_ERR(p);
	r = fetch_commit(ch, &arg);
	if (r == -ESTALE)
		r = fetch_store_none(user, r);
	if (r)
		goto end;
	/* What comes later is found once it is parked. */
	r = fetch(ch, arg.vcpu, &arg);
	if (r > 0) {
		r = fetch_store(ch, &arg, user);
		goto end;
	}

	*uring_parked(cmd) = p;
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
	uring_park(ch, p);
	return -EIOCBQUEUED;

end:
	uring_end(ch, p);
	return r;
}
