// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, socket: a channel over a socket that the VMM gave.
 *
 * The socket is a connected AF_UNIX SOCK_SEQPACKET one, and of one VM only. It
 * carries one request at a time, since a response does not say whose it is. A vCPU
 * takes the wire, sends its command with no lock held, and waits; any vCPU that
 * waits, or a work item if none does, takes what has come, for whoever owns it.
 *
 * Nothing here waits for anybody but the device task, and that only in a vCPU's
 * thread. recvmsg() would: it holds u->iolock while it copies to user memory,
 * and the VMM, which has the socket too, can make that last for ever. So
 * responses are taken from the receive queue, under the queue's own spinlock,
 * which is also how recvmsg() takes them. Sending needs no such lock, and a
 * packet leaves as a whole or not at all. Other kinds of sockets, and pipes,
 * cannot be used without a lock that others may keep.
 *
 * The region keeps the socket, the VM keeps the region, and a packet in the
 * socket's queue may carry descriptors that keep the VM: a circle that the
 * kernel's collector of such sockets does not see. It is never closed, because
 * no packet stays in the queue of a socket that a region keeps. What
 * is awaited is taken as it comes. Anything else breaks the channel: a
 * packet while the wire is idle, of another length, or with descriptors. The
 * socket is then let go, with the packet in it. channel_wake() is in the
 * socket's wait queue before the first look at the receive queue, and each task
 * that leaves ch->wait looks once more, so that no packet is missed. Other sockets'
 * queues do not matter: nothing in kvm.ko keeps those.
 *
 * A channel that has failed, or whose last region goes while a response is due,
 * is broken for good: the socket is shut down, so that the device task
 * sees the end, and KVM_SET_IOREGIONFD, too.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/hashtable.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <net/sock.h>
#include <net/tcp_states.h>

#include "compat.h"
#include "ioregionfd.h"

static_assert(sizeof(struct ioregionfd_cmd) == 32);
static_assert(offsetof(struct ioregionfd_cmd, user_data) == 8);
static_assert(offsetof(struct ioregionfd_cmd, offset) == 16);
static_assert(offsetof(struct ioregionfd_cmd, data) == 24);
static_assert(sizeof(struct ioregionfd_resp) == 32);

/**
 * struct socket_req - a vCPU's command
 * @req: what the vCPU knows of it
 * @sent: the device task has got it, or will
 * @done: the response has come, or none is due
 *
 * Under the channel's lock.
 */
struct socket_req {
	struct ioregionfd_req req;
	bool sent;
	bool done;
};

/**
 * enum wire - what the socket is used for just now
 * @WIRE_IDLE: nothing
 * @WIRE_SENDING: a vCPU sends, without the lock: nobody else touches the socket
 * @WIRE_AWAITING: a response is due
 */
enum wire { WIRE_IDLE, WIRE_SENDING, WIRE_AWAITING };

/**
 * struct socket_channel - a socket and the request on it
 * @channel: what the region knows of it
 * @refs: one for each region that is not freed yet
 * @kvm: the VM; only to compare it
 * @node: in channels, by the socket's file
 * @lock: for what follows
 * @key: the socket's file, without a reference
 * @file: the same, with a reference, or NULL: it has been let go
 * @broken: it is shut down when it is let go
 * @regions: how many regions are not removed
 * @wire: see there
 * @owner: whose request it is, or NULL if that vCPU has given it up
 * @failure: set once
 * @wait: where vCPUs wait for the wire or a response
 * @blocked: there was no room to send; cleared when there may be, by
 *	channel_wake() too
 * @wake: in the socket's wait queue from before there is @file until after that
 * @work: takes what comes when no vCPU waits
 */
struct socket_channel {
	struct ioregionfd_channel channel;
	refcount_t refs;
	struct kvm *kvm;
	struct hlist_node node;
	const struct file *key;

	spinlock_t lock; /* no file is used under it */
	struct file *file;
	bool broken;
	unsigned int regions;
	enum wire wire;
	struct socket_req *owner;
	struct ioregionfd_failure failure;

	wait_queue_head_t wait;
	bool blocked;
	wait_queue_entry_t wake;
	struct work_struct work;
};

/* A socket is in one channel at most. The lock is for the table alone. */
static DEFINE_HASHTABLE(channels, 6);
static DEFINE_SPINLOCK(channels_lock);

static struct sock *channel_sk(struct socket_channel *ch)
{
	return sock_from_file(ch->file)->sk;
}

/* Something has happened to the socket. Under its wait queue's lock. */
static int channel_wake(wait_queue_entry_t *wake, unsigned int mode, int sync,
			void *key)
{
	const __poll_t room = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
	struct socket_channel *ch =
		container_of(wake, struct socket_channel, wake);
	__poll_t events = key_to_poll(key);

	/*
	 * The device task has read a command. Who woke us made room and then had
	 * a full barrier, which pairs with the one in channel_send().
	 * Litmus: socket-room.
	 */
	if (events && !(events & ~room) && !READ_ONCE(ch->blocked))
		return 0;
	WRITE_ONCE(ch->blocked, false);

	/*
	 * Has a full barrier before it looks, which pairs with the one in
	 * socket_req_run(): a vCPU that leaves sees what this is about, or it is
	 * seen to have left.
	 * Litmus: socket-leave.
	 */
	if (wq_has_sleeper(&ch->wait))
		wake_up(&ch->wait);
	else
		schedule_work(&ch->work);
	return 0;
}

static void channel_fail(struct socket_channel *ch, u8 reason, int error)
{
	lockdep_assert_held(&ch->lock);

	if (!ch->failure.reason) {
		ch->failure.reason = reason;
		ch->failure.error = error;
	}
	wake_up(&ch->wait);
}

static void channel_set_idle(struct socket_channel *ch)
{
	lockdep_assert_held(&ch->lock);

	ch->wire = WIRE_IDLE;
	ch->owner = NULL;
	wake_up(&ch->wait);
}

static bool response_get(struct sock *sk, struct sk_buff *skb, struct ioregionfd_resp *resp)
{
	return skb->len == sizeof(*resp) && !message_has_files(sk, skb) &&
	       !skb_copy_bits(skb, 0, resp, sizeof(*resp)) &&
	       resp->status <= IOREGIONFD_STATUS_TO_VMM &&
	       !memchr_inv(resp->pad, 0, sizeof(resp->pad));
}

/*
 * Takes the response that is due, and fails the channel for anything else. The
 * response is the caller's to free, without the lock.
 */
static struct sk_buff *channel_receive(struct socket_channel *ch)
{
	struct ioregionfd_resp resp;
	struct sk_buff_head *queue;
	struct sk_buff *skb;
	struct sock *sk;
	u8 shutdown;
	bool stray;

	lockdep_assert_held(&ch->lock);

	if (!ch->file || ch->wire == WIRE_SENDING)
		return NULL;
	sk = channel_sk(ch);
	queue = &sk->sk_receive_queue;

	/*
	 * First this: the device task may have responded before it hung up. Pairs
	 * with its unlocks, of the queue and the sockets, between the two.
	 * Litmus: socket-hangup.
	 */
	shutdown = smp_load_acquire(&sk->sk_shutdown);

	spin_lock_irq(&queue->lock);
	skb = skb_peek(queue);
	if (skb && ch->wire == WIRE_AWAITING && response_get(sk, skb, &resp))
		__skb_unlink(skb, queue);
	else
		skb = NULL;
	stray = !skb_queue_empty(queue);
	spin_unlock_irq(&queue->lock);

	if (skb) {
		if (ch->owner) {
			ch->owner->req.data = resp.data;
			ch->owner->req.status = resp.status;
			ch->owner->done = true;
		}
		channel_set_idle(ch);
	}
	if (stray)
		channel_fail(ch, KVM_IOREGIONFD_FAIL_PROTOCOL, 0);
	else if (shutdown & RCV_SHUTDOWN || (shutdown && ch->wire == WIRE_IDLE))
		channel_fail(ch, KVM_IOREGIONFD_FAIL_HANGUP,
			     READ_ONCE(sk->sk_err));
	return skb;
}

/*
 * Lets the lock go, and @skb, and the socket if nothing is to be done with it
 * any more.
 */
static void channel_unlock(struct socket_channel *ch, struct sk_buff *skb)
	__releases(&ch->lock)
{
	struct file *file = NULL;

	if (ch->file && ch->wire != WIRE_SENDING &&
	    (ch->failure.reason || !ch->regions)) {
		file = ch->file;
		ch->file = NULL;
		/* Until it is shut down, channel_find() refuses it. */
		ch->broken = ch->failure.reason || ch->wire == WIRE_AWAITING;
	}
	spin_unlock(&ch->lock);

	consume_skb(skb);
	if (!file)
		return;
	/* A wake-up may hold the wait queue for long: not under our lock. */
	remove_wait_queue(sk_sleep(sock_from_file(file)->sk), &ch->wake);
	if (ch->broken)
		kernel_sock_shutdown(sock_from_file(file), SHUT_RDWR);
	spin_lock(&channels_lock);
	hash_del(&ch->node);
	spin_unlock(&channels_lock);
	fput(file);
}

static void channel_look(struct socket_channel *ch)
{
	spin_lock(&ch->lock);
	channel_unlock(ch, channel_receive(ch));
}

static void channel_work(struct work_struct *work)
{
	channel_look(container_of(work, struct socket_channel, work));
}

static int channel_try_send(struct socket_channel *ch, struct socket_req *sr)
{
	struct kvec vec = {
		.iov_base = &sr->req.cmd,
		.iov_len = sizeof(sr->req.cmd),
	};
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };

	return kernel_sendmsg(sock_from_file(ch->file), &msg, &vec, 1,
			      vec.iov_len);
}

/*
 * Sends the command of a vCPU that has taken the wire, if there is room.
 * Returns 0, also if the channel fails, or what KVM_RUN is to return.
 */
static int channel_send(struct socket_channel *ch, struct socket_req *sr)
{
	int n = channel_try_send(ch, sr), r = 0;

	if (n == -EAGAIN) {
		WRITE_ONCE(ch->blocked, true);
		/*
		 * Pairs with the barrier before channel_wake(): this finds the
		 * room that there is, or that finds that it is waited for.
		 * Litmus: socket-room.
		 */
		smp_mb();
		n = channel_try_send(ch, sr);
	}

	spin_lock(&ch->lock);
	if (n != -EAGAIN)
		WRITE_ONCE(ch->blocked, false);
	sr->sent = n >= 0;
	if (sr->sent && wants_response(&sr->req.cmd)) {
		ch->wire = WIRE_AWAITING;
	} else {
		sr->done = sr->sent;
		channel_set_idle(ch);
	}

	switch (n) {
	case -ENOMEM:
	case -ENOBUFS:
		r = -ENOMEM;
		break;
	case -EINTR:
	case -ERESTARTSYS:
		r = -EINTR;
		break;
	case -EPIPE:
	case -ECONNRESET:
		channel_fail(ch, KVM_IOREGIONFD_FAIL_HANGUP, n == -EPIPE ? 0 : -n);
		break;
	default:
		if (n < 0 && n != -EAGAIN)
			channel_fail(ch, KVM_IOREGIONFD_FAIL_IO, -n);
	}
	/* Nobody has looked while this was sent. */
	channel_unlock(ch, channel_receive(ch));
	return r;
}

/*
 * Returns how a request stands: what req_run() does, or -EAGAIN: it has to wait, or
 * -EINPROGRESS: it is to be sent. With @take the wire is the caller's then.
 */
static int request_look(struct socket_channel *ch, struct ioregionfd_region *region,
			struct socket_req *sr, bool take)
{
	struct sk_buff *skb;
	int r = -EAGAIN;

	spin_lock(&ch->lock);
	skb = channel_receive(ch);
	if (sr->done) {
		r = 0;
	} else if (ch->failure.reason) {
		r = -EIO;
	} else if (region->removed) {
		r = -ECANCELED;
	} else if (ch->wire == WIRE_IDLE && !READ_ONCE(ch->blocked)) {
		r = -EINPROGRESS;
		if (take) {
			ch->wire = WIRE_SENDING;
			ch->owner = sr;
		}
	}
	channel_unlock(ch, skb);
	return r;
}

static struct socket_channel *channel_of(struct ioregionfd_region *region)
{
	return container_of(region->channel, struct socket_channel, channel);
}

static struct ioregionfd_req *socket_req_new(struct ioregionfd_region *region,
					     struct kvm_vcpu *vcpu)
{
	struct socket_req *sr = kzalloc(sizeof(*sr), GFP_KERNEL_ACCOUNT);

	if (!sr)
		return ERR_PTR(-ENOMEM);
	sr->req.slept = true;
	return &sr->req;
}

static int socket_req_run(struct ioregionfd_region *region,
			  struct ioregionfd_req *req, struct kvm_vcpu *vcpu,
			  bool wait)
{
	struct socket_req *sr = container_of(req, struct socket_req, req);
	struct socket_channel *ch = channel_of(region);
	DEFINE_WAIT(entry);
	int r;

	for (;;) {
		r = request_look(ch, region, sr, true);
		if (r == -EINPROGRESS)
			r = channel_send(ch, sr) ?: -EINPROGRESS;
		if (r == -EINPROGRESS)
			continue;
		if (r != -EAGAIN)
			return r;
		if (!wait)
			return -EINTR;

		prepare_to_wait(&ch->wait, &entry, TASK_INTERRUPTIBLE);
		if (signal_pending(current))
			wait = false;
		else if (request_look(ch, region, sr, false) == -EAGAIN)
			schedule();
		finish_wait(&ch->wait, &entry);
		/* Pairs with the barrier in channel_wake(), see there. Litmus: socket-leave. */
		smp_mb();
	}
}

static bool socket_req_done(struct ioregionfd_region *region,
			    struct ioregionfd_req *req)
{
	struct socket_req *sr = container_of(req, struct socket_req, req);

	return !request_look(channel_of(region), region, sr, false);
}

static void socket_req_finish(struct ioregionfd_region *region,
			      struct ioregionfd_req *req)
{
	kfree(container_of(req, struct socket_req, req));
}

/* A response that is due is dropped when it comes. */
static u8 socket_req_abandon(struct ioregionfd_region *region,
			     struct ioregionfd_req *req)
{
	struct socket_req *sr = container_of(req, struct socket_req, req);
	struct socket_channel *ch = channel_of(region);
	bool sent;

	spin_lock(&ch->lock);
	sent = sr->sent;
	if (ch->owner == sr)
		ch->owner = NULL;
	spin_unlock(&ch->lock);

	kfree(sr);
	return sent ? KVM_IOREGIONFD_SENT_ALL : KVM_IOREGIONFD_SENT_NONE;
}

static struct ioregionfd_failure socket_failure(struct ioregionfd_channel *channel)
{
	struct socket_channel *ch =
		container_of(channel, struct socket_channel, channel);
	struct ioregionfd_failure failure;

	spin_lock(&ch->lock);
	failure = ch->failure;
	spin_unlock(&ch->lock);
	return failure;
}

static void socket_deassign(struct ioregionfd_region *region)
{
	struct socket_channel *ch = channel_of(region);

	spin_lock(&ch->lock);
	WRITE_ONCE(region->removed, true);
	ch->regions--;
	wake_up(&ch->wait);
	/* A response that has come is not lost. */
	channel_unlock(ch, channel_receive(ch));
}

/* At the VM's end no region has left. */
static void socket_put(struct ioregionfd_channel *channel)
{
	struct socket_channel *ch =
		container_of(channel, struct socket_channel, channel);

	if (!refcount_dec_and_test(&ch->refs))
		return;
	spin_lock(&ch->lock);
	ch->regions = 0;
	channel_unlock(ch, NULL);
	cancel_work_sync(&ch->work);
	kfree(ch);
}

static const struct ioregionfd_channel_ops socket_ops = {
	.req_new = socket_req_new,
	.req_run = socket_req_run,
	.req_done = socket_req_done,
	.req_finish = socket_req_finish,
	.req_abandon = socket_req_abandon,
	.failure = socket_failure,
	.deassign = socket_deassign,
	.put = socket_put,
};

/* One file descriptor, or two of the same file. */
static struct file *socket_fget(int read_fd, int write_fd)
{
	struct file *file = fget(read_fd), *other = fget(write_fd);
	struct file *result = file;

	if (!file || !other)
		result = ERR_PTR(-EBADF);
	else if (file != other || !sock_from_file(file))
		result = ERR_PTR(-EINVAL);
	if (other)
		fput(other);
	if (file && file != result)
		fput(file);
	return result;
}

/* Whether a socket that is in no channel can be one. */
static int socket_check(struct sock *sk)
{
	if (sk->sk_family != AF_UNIX || sk->sk_type != SOCK_SEQPACKET)
		return -EINVAL;
	if (READ_ONCE(sk->sk_state) != TCP_ESTABLISHED)
		return -ENOTCONN;
	if (READ_ONCE(sk->sk_shutdown) || READ_ONCE(sk->sk_err))
		return -EPIPE;
	if (!skb_queue_empty_lockless(&sk->sk_receive_queue))
		return -EPROTO;
	return 0;
}

/* Counts one more region if the file is a channel's already. */
static struct socket_channel *channel_find(struct kvm *kvm, struct file *file)
{
	struct socket_channel *ch, *found = NULL;

	lockdep_assert_held(&channels_lock);

	hash_for_each_possible(channels, ch, node, (unsigned long)file) {
		/* The lock of another VM's channel may be held for long. */
		if (ch->key != file)
			continue;
		spin_lock(&ch->lock);
		if (!ch->file) {
			if (ch->broken)
				found = ERR_PTR(-EPIPE);
		} else if (ch->kvm != kvm) {
			found = ERR_PTR(-EXDEV);
		} else {
			/* Not zero: none of its regions is freed before it leaves. */
			refcount_inc(&ch->refs);
			ch->regions++;
			found = ch;
		}
		spin_unlock(&ch->lock);
	}
	return found;
}

static struct socket_channel *channel_new(struct kvm *kvm)
{
	struct socket_channel *ch = kzalloc(sizeof(*ch), GFP_KERNEL_ACCOUNT);

	if (!ch)
		return NULL;
	ch->channel.ops = &socket_ops;
	refcount_set(&ch->refs, 1);
	ch->kvm = kvm;
	spin_lock_init(&ch->lock);
	ch->regions = 1;
	init_waitqueue_head(&ch->wait);
	init_waitqueue_func_entry(&ch->wake, channel_wake);
	INIT_WORK(&ch->work, channel_work);
	return ch;
}

/**
 * ioregionfd_socket_get() - get the channel of a socket
 * @kvm: the VM
 * @read_fd: the socket
 * @write_fd: the same
 *
 * Context: may sleep.
 * Return: the channel, with one region more and a reference for it, or an
 * ERR_PTR: -EBADF, -EINVAL, -ENOTCONN, -EPIPE, -EPROTO, -EXDEV or -ENOMEM, as
 * KVM_SET_IOREGIONFD.
 */
struct ioregionfd_channel *ioregionfd_socket_get(struct kvm *kvm, int read_fd,
						 int write_fd)
{
	struct socket_channel *ch, *new;
	struct file *file;
	struct sock *sk;
	int r;

	file = socket_fget(read_fd, write_fd);
	if (IS_ERR(file))
		return ERR_CAST(file);
	new = channel_new(kvm);
	if (!new) {
		fput(file);
		return ERR_PTR(-ENOMEM);
	}

	sk = sock_from_file(file)->sk;
	/*
	 * Not under channels_lock: a wake-up may hold the wait queue for long, if there are
	 * many in it. As long as it has no file, the channel ignores what comes.
	 */
	add_wait_queue(sk_sleep(sk), &new->wake);
	spin_lock(&channels_lock);
	ch = channel_find(kvm, file);
	if (!ch) {
		r = socket_check(sk);
		if (r) {
			ch = ERR_PTR(r);
		} else {
			new->key = file;
			spin_lock(&new->lock);
			new->file = file;
			spin_unlock(&new->lock);
			hash_add(channels, &new->node, (unsigned long)file);
			ch = new;
		}
	}
	spin_unlock(&channels_lock);

	if (ch != new) {
		remove_wait_queue(sk_sleep(sk), &new->wake);
		cancel_work_sync(&new->work);
		kfree(new);
		fput(file);
		return IS_ERR(ch) ? ERR_CAST(ch) : &ch->channel;
	}
	/* What came after socket_check() and before the channel had the file. */
	channel_look(ch);
	return &ch->channel;
}
