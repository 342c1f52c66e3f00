// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, files: a channel over a pair of files.
 *
 * The channel is a pair of files that a VMM gave to KVM_SET_IOREGIONFD, with all
 * regions, of any VM, that use it. It carries one call at a time: neither a
 * response nor the rest of a half-written command says whose it is.
 *
 * Of the vCPUs that need the channel one *drives* it: it alone touches the
 * files, ch->cur and the sent and received bytes of that call. The others wait
 * for their turn. A driver that is interrupted leaves its call on the wire;
 * whoever drives next finishes that call first, on behalf of its vCPU, so
 * that a vCPU which does not come back holds up nobody.
 *
 * ch->lock guards who drives, call->started, call->done, region->gone and
 * ch->failure. It is never held while a file is used.
 *
 * A channel whose last region goes while a call is on the wire *lingers* until
 * the response has come: the VMM may use the files for a new region, for which
 * that response is not meant. channels_drain() drives those.
 *
 * The device task is not trusted: what it sends is copied into the call once;
 * of that only the 64-bit value is used.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/socket.h>
#include <linux/spinlock.h>
#include <linux/uio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "ioregionfd.h"

static_assert(sizeof(struct ioregionfd_cmd) == 32);
static_assert(offsetof(struct ioregionfd_cmd, user_data) == 8);
static_assert(offsetof(struct ioregionfd_cmd, offset) == 16);
static_assert(offsetof(struct ioregionfd_cmd, data) == 24);
static_assert(sizeof(struct ioregionfd_resp) == 32);

/* A pipe opened for both directions has two wait queues; nothing has more. */
#define CHANNEL_WAITS 4

/**
 * struct files_call - one command and its response on the wire
 * @call: what the vCPU knows of it
 * @refs: one for the vCPU that made it, one for the channel while on the wire
 * @resp: the response, valid when @done
 * @sent: bytes of @call.cmd that have left
 * @received: bytes of @resp that have arrived
 * @started: it is or was on the wire; under the channel's lock
 * @done: it is complete; under the channel's lock
 *
 * @sent, @received and @resp belong to the task that drives the channel. Once
 * files_call_run() has said that the call is over, they belong to the vCPU.
 *
 * A call may outlive its vCPU and its region: it refers to neither.
 */
struct files_call {
	struct ioregionfd_call call;
	refcount_t refs;
	struct ioregionfd_resp resp;
	u8 sent;
	u8 received;
	bool started;
	bool done;
};

/**
 * struct files - a pair of files and the call on them
 * @channel: what the region knows of it
 * @list: in all_files
 * @regions: how many regions use it; under all_files_lock
 * @lingers_for: the VM that had the last region, while it lingers; changed
 *	under all_files_lock
 * @read_file: responses come from here
 * @write_file: commands go here; may be @read_file
 * @lock: see above
 * @driven: whether a task drives; under @lock
 * @failure: set once, under @lock
 * @cur: the call on the wire, with a reference; changed by the driver under
 *	@lock, so either of the two is enough to read it
 * @turn: where those wait who do not drive
 * @io: where the driver waits for a file
 * @awaited: poll events that the driver waits for
 * @kicked: one of them may have come
 * @table: enters @waits into the wait queues of the files
 * @waits: the entries
 * @heads: the queues they are in
 * @nr_waits: how many are used; more than CHANNEL_WAITS: that did not fit
 */
struct files {
	struct ioregionfd_channel channel;
	struct list_head list;
	unsigned int regions;
	struct kvm *lingers_for;
	struct file *read_file;
	struct file *write_file;

	spinlock_t lock; /* never held while a file is used */
	bool driven;
	struct ioregionfd_failure failure;
	struct files_call *cur;
	wait_queue_head_t turn;

	wait_queue_head_t io;
	__poll_t awaited;
	bool kicked;

	poll_table table;
	struct channel_wait {
		wait_queue_entry_t entry;
		struct files *channel;
	} waits[CHANNEL_WAITS];
	wait_queue_head_t *heads[CHANNEL_WAITS];
	unsigned int nr_waits;
};

static LIST_HEAD(all_files);
static DEFINE_MUTEX(all_files_lock);

static void channels_drain(struct work_struct *work);
static DECLARE_WORK(channels_drain_work, channels_drain);

/* Runs under the file's wait queue lock, perhaps in an interrupt. */
static int channel_wake(wait_queue_entry_t *entry, unsigned int mode, int sync,
			void *key)
{
	struct files *ch =
		container_of(entry, struct channel_wait, entry)->channel;
	__poll_t events = key_to_poll(key);

	/*
	 * Pairs with smp_mb() in channel_expect(): either the driver's attempt
	 * sees what this is about, or this sees what the driver awaits.
	 */
	smp_mb();
	if (events && !(events & READ_ONCE(ch->awaited)))
		return 0;
	WRITE_ONCE(ch->kicked, true);
	wake_up(&ch->io);
	if (READ_ONCE(ch->lingers_for))
		schedule_work(&channels_drain_work);
	return 0;
}

static void channel_expect(struct files *ch, __poll_t events)
{
	WRITE_ONCE(ch->awaited, events | EPOLLERR | EPOLLHUP);
	WRITE_ONCE(ch->kicked, false);
	/* Pairs with smp_mb() in channel_wake(). */
	smp_mb();
}

/*
 * Writing to a pipe that nobody reads raises SIGPIPE. The VMM is told by
 * KVM_RUN's result, so take that signal back, but not one that was pending
 * before.
 */
static ssize_t pipe_send(struct file *file, const void *buf, size_t len)
{
	struct kvec vec = { .iov_base = (void *)buf, .iov_len = len };
	sigset_t sigpipe, others, saved;
	struct sighand_struct *sighand;
	kernel_siginfo_t info;
	struct iov_iter iter;
	struct kiocb kiocb;
	enum pid_type type;
	bool was_pending;
	ssize_t n;

	siginitset(&sigpipe, sigmask(SIGPIPE));
	sigprocmask(SIG_BLOCK, &sigpipe, &saved);
	was_pending = sigismember(&current->pending.signal, SIGPIPE);

	init_sync_kiocb(&kiocb, file);
	kiocb.ki_flags |= IOCB_NOWAIT;
	iov_iter_kvec(&iter, ITER_SOURCE, &vec, 1, len);
	n = vfs_iocb_iter_write(file, &kiocb, &iter);

	if (n == -EPIPE && !was_pending) {
		siginitsetinv(&others, sigmask(SIGPIPE));
		/* A task's own does not go away. */
		sighand = rcu_dereference_protected(current->sighand, true);
		spin_lock_irq(&sighand->siglock);
		dequeue_signal(&others, &info, &type);
		spin_unlock_irq(&sighand->siglock);
	}
	sigprocmask(SIG_SETMASK, &saved, NULL);
	return n;
}

static ssize_t pipe_receive(struct file *file, void *buf, size_t len)
{
	struct kvec vec = { .iov_base = buf, .iov_len = len };
	struct iov_iter iter;
	struct kiocb kiocb;

	init_sync_kiocb(&kiocb, file);
	kiocb.ki_flags |= IOCB_NOWAIT;
	iov_iter_kvec(&iter, ITER_DEST, &vec, 1, len);
	return vfs_iocb_iter_read(file, &kiocb, &iter);
}

static ssize_t channel_send(struct files *ch, const void *buf,
			    size_t len)
{
	struct kvec vec = { .iov_base = (void *)buf, .iov_len = len };
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	struct socket *sock = sock_from_file(ch->write_file);

	if (!sock)
		return pipe_send(ch->write_file, buf, len);
	return kernel_sendmsg(sock, &msg, &vec, 1, len);
}

/* Returns as read(2) does; -EBADMSG for a packet that is not @len bytes. */
static ssize_t channel_receive(struct files *ch, void *buf,
			       size_t len)
{
	struct kvec vec = { .iov_base = buf, .iov_len = len };
	struct socket *sock = sock_from_file(ch->read_file);
	struct msghdr msg = {};
	int n;

	if (!sock)
		return pipe_receive(ch->read_file, buf, len);

	n = kernel_recvmsg(sock, &msg, &vec, 1, len, MSG_DONTWAIT);
	if (n < 0 || sock->type == SOCK_STREAM)
		return n;
	/* An empty packet and the end of a SOCK_SEQPACKET look the same. */
	if (n == 0 && sock->type != SOCK_DGRAM)
		return 0;
	if (n != len || (msg.msg_flags & MSG_TRUNC))
		return -EBADMSG;
	return n;
}

static void call_put(struct files_call *call)
{
	if (refcount_dec_and_test(&call->refs))
		kfree(call);
}

/* Takes the call off the wire. Only for the driver, or if nobody drives. */
static void channel_clear(struct files *ch)
{
	struct files_call *cur = ch->cur;

	lockdep_assert_held(&ch->lock);
	if (!cur)
		return;
	ch->cur = NULL;
	call_put(cur);
}

static void channel_fail(struct files *ch, u8 reason, int error)
{
	spin_lock(&ch->lock);
	ch->failure.reason = reason;
	ch->failure.error = error;
	channel_clear(ch);
	spin_unlock(&ch->lock);
}

/* Turns the result of a read into a failure, unless it is worth waiting. */
static int channel_read_failed(struct files *ch, ssize_t n)
{
	if (n == -EAGAIN)
		return -EAGAIN;
	if (n == 0)
		channel_fail(ch, KVM_IOREGIONFD_FAIL_HANGUP, 0);
	else if (n == -ECONNRESET)
		channel_fail(ch, KVM_IOREGIONFD_FAIL_HANGUP, ECONNRESET);
	else if (n == -EBADMSG || n > 0)
		channel_fail(ch, KVM_IOREGIONFD_FAIL_PROTOCOL, 0);
	else
		channel_fail(ch, KVM_IOREGIONFD_FAIL_IO, -n);
	return -EIO;
}

/*
 * Before a command there must be nothing to read: it would be taken for the
 * response. The end of the file shows here too, before the command is lost.
 */
static int channel_check_quiet(struct files *ch)
{
	struct ioregionfd_resp stray;
	int r;

	if (!(vfs_poll(ch->read_file, NULL) & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		return 0;
	r = channel_read_failed(ch, channel_receive(ch, &stray, sizeof(stray)));
	return r == -EAGAIN ? 0 : r;
}

/*
 * Sends and receives what can be without waiting. Returns 0 when the call on
 * the wire is complete, -EAGAIN when it waits for a file, and -EIO when the
 * channel has failed.
 */
static int channel_advance(struct files *ch)
{
	struct files_call *call = ch->cur;
	ssize_t n;

	channel_expect(ch, EPOLLOUT);
	while (call->sent < sizeof(call->call.cmd)) {
		n = channel_send(ch, (u8 *)&call->call.cmd + call->sent,
				 sizeof(call->call.cmd) - call->sent);
		if (n == -EAGAIN)
			return -EAGAIN;
		if (n <= 0) {
			channel_fail(ch, KVM_IOREGIONFD_FAIL_IO, n ? -n : EIO);
			return -EIO;
		}
		call->sent += n;
	}
	if (!call->call.cmd.resp)
		return 0;

	channel_expect(ch, EPOLLIN | EPOLLRDHUP);
	while (call->received < sizeof(call->resp)) {
		n = channel_receive(ch, (u8 *)&call->resp + call->received,
				    sizeof(call->resp) - call->received);
		if (n <= 0)
			return channel_read_failed(ch, n);
		call->received += n;
	}
	return 0;
}

/*
 * Waits until the call on the wire may have come further, or @region has gone.
 * Some sockets tell of new room only to those who have polled for it since the
 * last attempt, so poll once more.
 */
static int channel_wait(struct files *ch,
			struct ioregionfd_region *region)
{
	bool sending = ch->cur->sent < sizeof(ch->cur->call.cmd);

	if (vfs_poll(sending ? ch->write_file : ch->read_file, NULL) &
	    (sending ? EPOLLOUT : EPOLLIN)) {
		cond_resched();
		return signal_pending(current) ? -EINTR : 0;
	}
	if (wait_event_interruptible(ch->io, READ_ONCE(ch->kicked) ||
				     READ_ONCE(region->gone)))
		return -EINTR;
	return 0;
}

/* Puts the call on the wire, unless its region went away before. */
static void channel_start(struct files *ch,
			  struct ioregionfd_region *region,
			  struct files_call *call)
{
	spin_lock(&ch->lock);
	if (!region->gone) {
		refcount_inc(&call->refs);
		call->started = true;
		ch->cur = call;
	}
	spin_unlock(&ch->lock);
}

static void channel_finish(struct files *ch)
{
	spin_lock(&ch->lock);
	ch->cur->done = true;
	channel_clear(ch);
	spin_unlock(&ch->lock);
}

/*
 * Drives the channel, for @call, until that is done, its region has gone or
 * the channel has failed (0: the caller looks which), or until it would have
 * to wait and must not (-EINTR).
 */
static int channel_drive(struct files *ch,
			 struct ioregionfd_region *region,
			 struct files_call *call, bool wait)
{
	int r;

	while (!call->done && !READ_ONCE(region->gone)) {
		if (!ch->cur) {
			if (channel_check_quiet(ch))
				return 0;
			channel_start(ch, region, call);
			continue;
		}

		r = channel_advance(ch);
		if (r == -EIO)
			return 0;
		if (!r) {
			channel_finish(ch);
			/* Another vCPU's: that waits for its turn. */
			if (!call->done)
				wake_up(&ch->turn);
			continue;
		}
		if (!wait)
			return -EINTR;
		r = channel_wait(ch, region);
		if (r)
			return r;
	}
	return 0;
}

enum call_status { CALL_DONE, CALL_FAILED, CALL_GONE, CALL_DRIVE, CALL_WAIT };

/*
 * Looks how a call stands, and returns whether its vCPU can do something about
 * it. With CALL_DRIVE the caller has become the driver.
 */
static bool channel_look(struct files *ch,
			 struct ioregionfd_region *region,
			 struct files_call *call, enum call_status *status)
{
	spin_lock(&ch->lock);
	if (call->done) {
		*status = CALL_DONE;
	} else if (ch->failure.reason) {
		*status = CALL_FAILED;
	} else if (region->gone) {
		*status = CALL_GONE;
	} else if (!ch->driven) {
		ch->driven = true;
		*status = CALL_DRIVE;
	} else {
		*status = CALL_WAIT;
	}
	spin_unlock(&ch->lock);
	return *status != CALL_WAIT;
}

static void channel_release(struct files *ch)
{
	spin_lock(&ch->lock);
	ch->driven = false;
	spin_unlock(&ch->lock);
	wake_up(&ch->turn);
}

static struct files *files_of(struct ioregionfd_region *region)
{
	return container_of(region->channel, struct files, channel);
}

static struct ioregionfd_call *files_call_new(struct ioregionfd_region *region,
					      struct kvm_vcpu *vcpu)
{
	struct files_call *call = kzalloc(sizeof(*call), GFP_KERNEL_ACCOUNT);

	if (!call)
		return ERR_PTR(-ENOMEM);
	refcount_set(&call->refs, 1);
	call->call.slept = true;
	return &call->call;
}

static int files_call_run(struct ioregionfd_region *region,
			  struct ioregionfd_call *c, struct kvm_vcpu *vcpu,
			  bool wait)
{
	struct files_call *call = container_of(c, struct files_call, call);
	struct files *ch = files_of(region);
	enum call_status status;
	int r;

	for (;;) {
		if (!wait)
			channel_look(ch, region, call, &status);
		else if (wait_event_interruptible(ch->turn,
						  channel_look(ch, region, call, &status)))
			return -EINTR;

		switch (status) {
		case CALL_DONE:
			c->data = call->resp.data;
			return 0;
		case CALL_FAILED:
			return -EIO;
		case CALL_GONE:
			return -ECANCELED;
		case CALL_WAIT:
			return -EINTR;
		case CALL_DRIVE:
			r = channel_drive(ch, region, call, wait);
			channel_release(ch);
			if (r)
				return r;
		}
	}
}

/*
 * What was sent of a call stays on the wire without an owner, and the rest
 * follows unless the channel has failed.
 */
static u8 files_call_end(struct ioregionfd_region *region,
			 struct ioregionfd_call *c)
{
	struct files_call *call = container_of(c, struct files_call, call);
	struct files *ch = files_of(region);
	u8 progress;

	spin_lock(&ch->lock);
	if (ch->cur == call && !ch->driven && !call->sent) {
		channel_clear(ch);
		call->started = false;
	}
	if (!call->started || (ch->failure.reason && !call->sent))
		progress = KVM_IOREGIONFD_SENT_NONE;
	else if (ch->failure.reason && call->sent < sizeof(call->call.cmd))
		progress = KVM_IOREGIONFD_SENT_PART;
	else
		progress = KVM_IOREGIONFD_SENT_ALL;
	spin_unlock(&ch->lock);

	call_put(call);
	return progress;
}

static struct ioregionfd_failure files_failure(struct ioregionfd_channel *channel)
{
	struct files *ch = container_of(channel, struct files, channel);
	struct ioregionfd_failure failure;

	spin_lock(&ch->lock);
	failure = ch->failure;
	spin_unlock(&ch->lock);
	return failure;
}

static void files_leave(struct ioregionfd_region *region)
{
	struct files *ch = files_of(region);

	spin_lock(&ch->lock);
	WRITE_ONCE(region->gone, true);
	spin_unlock(&ch->lock);
	wake_up(&ch->turn);
	wake_up(&ch->io);
}

static void channel_add_wait(struct file *file, wait_queue_head_t *head,
			     poll_table *table)
{
	struct files *ch =
		container_of(table, struct files, table);
	struct channel_wait *wait;

	if (ch->nr_waits++ >= CHANNEL_WAITS)
		return;
	wait = &ch->waits[ch->nr_waits - 1];
	wait->channel = ch;
	ch->heads[ch->nr_waits - 1] = head;
	init_waitqueue_func_entry(&wait->entry, channel_wake);
	add_wait_queue(head, &wait->entry);
}

static void channel_free(struct files *ch)
{
	unsigned int i;

	for (i = 0; i < min(ch->nr_waits, CHANNEL_WAITS); i++)
		remove_wait_queue(ch->heads[i], &ch->waits[i].entry);
	if (ch->cur)
		call_put(ch->cur);
	fput(ch->read_file);
	fput(ch->write_file);
	kfree(ch);
}

static void files_put(struct ioregionfd_channel *channel, struct kvm *kvm)
{
	struct files *ch = container_of(channel, struct files, channel);
	/* Nothing lingers for a VM that is being destroyed. */
	bool may_linger = refcount_read(&kvm->users_count);

	mutex_lock(&all_files_lock);
	if (--ch->regions) {
		ch = NULL;
	} else if (ch->cur && may_linger) {
		WRITE_ONCE(ch->lingers_for, kvm);
		/* What came before channel_wake() could see that it lingers. */
		schedule_work(&channels_drain_work);
		ch = NULL;
	} else {
		list_del(&ch->list);
	}
	mutex_unlock(&all_files_lock);
	if (ch)
		channel_free(ch);
}

static const struct ioregionfd_channel_ops files_ops = {
	.call_new = files_call_new,
	.call_run = files_call_run,
	.call_end = files_call_end,
	.failure = files_failure,
	.leave = files_leave,
	.put = files_put,
};

/* Takes over the references to the files. */
static struct files *channel_new(struct file *read_file, struct file *write_file)
{
	struct files *ch;

	ch = kzalloc(sizeof(*ch), GFP_KERNEL_ACCOUNT);
	if (!ch) {
		fput(read_file);
		fput(write_file);
		return ERR_PTR(-ENOMEM);
	}
	ch->channel.ops = &files_ops;
	ch->regions = 1;
	ch->read_file = read_file;
	ch->write_file = write_file;
	spin_lock_init(&ch->lock);
	init_waitqueue_head(&ch->turn);
	init_waitqueue_head(&ch->io);

	init_poll_funcptr(&ch->table, channel_add_wait);
	vfs_poll(read_file, &ch->table);
	if (write_file != read_file)
		vfs_poll(write_file, &ch->table);
	if (ch->nr_waits > CHANNEL_WAITS) {
		channel_free(ch);
		return ERR_PTR(-EINVAL);
	}
	return ch;
}

/*
 * Only what can be used without blocking and has a wait queue that lives as
 * long as the file.
 */
static struct file *channel_fget(int fd, fmode_t mode)
{
	struct file *file = fget(fd);

	if (!file)
		return ERR_PTR(-EBADF);
	if (!(file->f_mode & mode)) {
		fput(file);
		return ERR_PTR(-EBADF);
	}
	if (!sock_from_file(file) && !S_ISFIFO(file_inode(file)->i_mode)) {
		fput(file);
		return ERR_PTR(-EINVAL);
	}
	return file;
}

/*
 * The channel of two files: a new one, an old one, or an error if either file
 * is part of another. Takes over the references to the files.
 */
static struct files *channel_find(struct file *read_file, struct file *write_file)
{
	struct files *ch;
	int r = 0;

	lockdep_assert_held(&all_files_lock);

	list_for_each_entry(ch, &all_files, list) {
		if (ch->read_file == read_file && ch->write_file == write_file) {
			r = files_failure(&ch->channel).reason ? -EPIPE : 0;
			if (!r) {
				ch->regions++;
				WRITE_ONCE(ch->lingers_for, NULL);
			}
			goto found;
		}
		if (ch->read_file == read_file || ch->write_file == read_file ||
		    ch->read_file == write_file || ch->write_file == write_file) {
			r = -EBUSY;
			goto found;
		}
	}

	ch = channel_new(read_file, write_file);
	if (!IS_ERR(ch))
		list_add(&ch->list, &all_files);
	return ch;

found:
	fput(read_file);
	fput(write_file);
	return r ? ERR_PTR(r) : ch;
}

/**
 * ioregionfd_files_get() - get the channel of two file descriptors
 * @read_fd: where responses come from
 * @write_fd: where commands go; may be @read_fd
 *
 * Context: may sleep.
 * Return: the channel, with a reference for one region, or an ERR_PTR: -EBADF,
 * -EINVAL, -EBUSY, -EPIPE or -ENOMEM, as KVM_SET_IOREGIONFD.
 */
struct ioregionfd_channel *ioregionfd_files_get(int read_fd, int write_fd)
{
	struct file *read_file, *write_file;
	struct files *ch;

	read_file = channel_fget(read_fd, FMODE_READ);
	if (IS_ERR(read_file))
		return ERR_CAST(read_file);
	write_file = channel_fget(write_fd, FMODE_WRITE);
	if (IS_ERR(write_file)) {
		fput(read_file);
		return ERR_CAST(write_file);
	}

	mutex_lock(&all_files_lock);
	ch = channel_find(read_file, write_file);
	mutex_unlock(&all_files_lock);
	return IS_ERR(ch) ? ERR_CAST(ch) : &ch->channel;
}

/*
 * Nobody else drives a channel that lingers: it has no regions. Pipes are left
 * for the next region or the VM's end, because a device task can make
 * pipe_receive() stall, and this is for all.
 */
static bool channel_drained(struct files *ch)
{
	return ch->lingers_for && sock_from_file(ch->read_file) &&
	       sock_from_file(ch->write_file) && channel_advance(ch) != -EAGAIN;
}

static void channels_drain(struct work_struct *work)
{
	struct files *ch, *next;

	mutex_lock(&all_files_lock);
	list_for_each_entry_safe(ch, next, &all_files, list) {
		if (!channel_drained(ch))
			continue;
		list_del(&ch->list);
		channel_free(ch);
	}
	mutex_unlock(&all_files_lock);
}

/**
 * ioregionfd_files_vm_destroy() - drop the channels that linger for a VM
 * @kvm: the VM, which is being destroyed
 *
 * Once no VM is left, no code of this file runs or will run.
 *
 * Context: may sleep.
 */
void ioregionfd_files_vm_destroy(struct kvm *kvm)
{
	struct files *ch, *next;

	mutex_lock(&all_files_lock);
	list_for_each_entry_safe(ch, next, &all_files, list) {
		if (ch->lingers_for != kvm)
			continue;
		list_del(&ch->list);
		channel_free(ch);
	}
	mutex_unlock(&all_files_lock);
	flush_work(&channels_drain_work);
}
