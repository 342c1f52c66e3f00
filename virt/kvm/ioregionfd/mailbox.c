// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, mailbox: what a vCPU does with a native channel: it posts a command, waits
 * for its response, and takes it back or gives it up.
 *
 * native.h tells who may do what. That a region has been removed is seen by each
 * mailbox_post() and ring_push() within kvm->srcu, for which native_deassign() waits.
 */
#include <linux/err.h>
#include <linux/kvm_host.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>

#include "native.h"

/*
 * How long a vCPU spins for a response before it sleeps, at most. It begins with
 * nothing and, each time that it slept for less than this, doubles.
 */
static unsigned int ioregionfd_spin_ns = 50000;
module_param(ioregionfd_spin_ns, uint, 0644);
MODULE_PARM_DESC(ioregionfd_spin_ns, "Longest spin for a device task's response, in ns");

#define SPIN_GROW_START	5000

static struct native_channel *native_of(struct ioregionfd_region *region)
{
	return container_of(region->channel, struct native_channel, channel);
}

/**
 * native_wake_vcpus() - make all vCPUs that wait on a channel look why
 * @ch: the channel
 *
 * Context: process.
 */
void native_wake_vcpus(struct native_channel *ch)
{
	unsigned int i;

	for (i = 0; i < READ_ONCE(ch->used); i++)
		rcuwait_wake_up(&ch->mailboxes[i].wait);
	wake_up_all(&ch->space_wq);
}

static bool region_usable(struct native_channel *ch, struct ioregionfd_region *region)
{
	return !READ_ONCE(ch->released) && !READ_ONCE(region->removed);
}

/* Posted writes. */

static bool ring_full(struct native_channel *ch)
{
	/*
	 * Pairs with the release by which a posted write is retired: its entry is
	 * not read any more.
	 * Litmus: posted-reuse, posted-copy.
	 */
	u64 tail = smp_load_acquire(&ch->control->posted_tail);

	return ring_used(ch, tail) >= ch->nr_posted;
}

static bool ring_push(struct native_channel *ch, const struct ioregionfd_cmd *cmd)
{
	bool full;
	u32 head;

	spin_lock(&ch->ring_lock);
	full = !ch->ring || ring_full(ch);
	if (!full) {
		/* As in mailbox_publish() */
		data_race(ch->ring[ch->head & (ch->nr_posted - 1)] = *cmd);
		head = (ch->head + 1) & POSTED_MASK;
		/*
		 * Pairs with the acquire of who fetches posted writes in the mapping.
		 * Litmus: posted-entry.
		 */
		smp_store_release(&ch->control->posted_head, head);
		/*
		 * Not before that: whoever fetched it by a system call could retire it, and
		 * posted_tail would be beyond posted_head. Pairs with ring_used().
		 * Litmus: posted-entry, posted-heads.
		 */
		smp_store_release(&ch->head, head);
	}
	spin_unlock(&ch->ring_lock);
	if (full)
		return false;

	/*
	 * Pairs with the barrier of a device task that is about to sleep.
	 * Litmus: post-polling, post-waiter, through-guest.
	 */
	smp_mb();
	if (!READ_ONCE(ch->control->polling))
		wake_fetcher(ch, IOREGIONFD_ANY);
	return true;
}

static bool ring_has_space(struct native_channel *ch)
{
	bool full;

	WRITE_ONCE(ch->control->blocked, 1);
	/*
	 * Pairs with the barrier between a move of posted_tail and the look at
	 * blocked: either this sees the space, or we are woken.
	 * Litmus: posted-space, posted-space-retire, unblock.
	 */
	smp_mb();
	/* During a push it can look full when it is not, see ring_used(). */
	spin_lock(&ch->ring_lock);
	full = ring_full(ch);
	spin_unlock(&ch->ring_lock);
	return !full;
}

/* Commands that want a response. */

static __always_inline void mailbox_post(struct native_channel *ch, struct mailbox *m)
{
	spin_lock(&m->lock);
	WRITE_ONCE(m->number, m->number + 1);
	/* No command has been redelivered under the number before this one */
	WRITE_ONCE(m->redelivered, m->number - 1);
	WRITE_ONCE(m->posted_before, READ_ONCE(ch->head));
	WRITE_ONCE(m->sent, true);
	mailbox_publish(m, &m->req.cmd, IOREGIONFD_MAILBOX_PENDING);
	spin_unlock(&m->lock);

	/*
	 * Pairs with the barrier of a device task that is about to sleep.
	 * Litmus: post-polling, post-waiter, through-guest, used-release, used-by-another.
	 */
	smp_mb();
	if (!READ_ONCE(ch->control->polling) && !READ_ONCE(m->shared->polling))
		wake_fetcher(ch, m - ch->mailboxes);
}

/*
 * Whether a command that was given up is still with a device task. The vCPU's next one, posted
 * or not, may not overtake it.
 */
static bool mailbox_occupied(struct mailbox *m)
{
	if (m->abandoned && !mailbox_is(m, IOREGIONFD_MAILBOX_ABANDONED))
		m->abandoned = false;
	return m->abandoned;
}

/* Never while another task waits for this CPU: it may be the device task. */
static bool may_spin(void)
{
	return single_task_running() && !need_resched() &&
	       !signal_pending(current);
}

/* Whether the vCPU has something to do that it cannot in the middle of an exit. */
static bool vcpu_is_wanted(struct kvm_vcpu *vcpu)
{
	return kvm_request_pending(vcpu) || kvm_arch_dy_has_pending_interrupt(vcpu);
}

static __always_inline bool mailbox_spin(struct mailbox *m, struct kvm_vcpu *vcpu,
					 bool in_exit)
{
	unsigned int max = READ_ONCE(ioregionfd_spin_ns);
	ktime_t now, end;
	bool done;

	m->spun_at = 0;
	if (!max || !may_spin())
		return false;

	now = ktime_get();
	m->spun_at = now;
	end = ktime_add_ns(now, min(m->spin_ns, max));
	for (;;) {
		done = mailbox_is_complete(m);
		if (done || !ktime_before(now, end) || !may_spin() ||
		    (in_exit && vcpu_is_wanted(vcpu)))
			break;
		cpu_relax();
		now = ktime_get();
	}
	vcpu->stat.generic.ioregionfd_spin_ns += ktime_to_ns(ktime_sub(now, m->spun_at));
	return done;
}

/* It slept: would a longer spin have helped, or was this one for nothing? */
static void mailbox_adapt(struct mailbox *m)
{
	unsigned int max = READ_ONCE(ioregionfd_spin_ns);
	s64 waited;

	if (!m->spun_at)
		return;
	waited = ktime_to_ns(ktime_sub(ktime_get(), m->spun_at));
	if (waited > max)
		m->spin_ns = 0;
	else if (waited > m->spin_ns)
		m->spin_ns = min(max, max(2 * m->spin_ns, SPIN_GROW_START));
}

/* Tells those who complete commands in the mapping that the vCPU must be woken. */
static void mailbox_announce_sleep(struct mailbox *m)
{
	u32 word = READ_ONCE(m->shared->state);
	unsigned int n;

	for (n = 0; n < STATE_TRIES; n++) {
		if (word != mailbox_word(m, IOREGIONFD_MAILBOX_PENDING) &&
		    word != mailbox_word(m, IOREGIONFD_MAILBOX_FETCHED))
			return;
		if (try_cmpxchg(&m->shared->state, &word, word | IOREGIONFD_MAILBOX_WAITING))
			return;
	}
}

/*
 * As kvm_vcpu_block(), whose other half is vcpu_sleep_end(). Here kvm_vcpu_kick() finds who
 * sleeps. Both sides have a full barrier: it in rcuwait_wake_up(), mailbox_sleep() in
 * set_current_state(). The architecture is told, because who is scheduled in meanwhile does
 * not get back all that interrupts need.
 */
static void vcpu_sleep_begin(struct kvm_vcpu *vcpu)
{
	preempt_disable();
	kvm_arch_vcpu_blocking(vcpu);
	prepare_to_rcuwait(kvm_arch_vcpu_get_wait(vcpu));
	preempt_enable();
}

static void vcpu_sleep_end(struct kvm_vcpu *vcpu)
{
	preempt_disable();
	finish_rcuwait(kvm_arch_vcpu_get_wait(vcpu));
	kvm_arch_vcpu_unblocking(vcpu);
	preempt_enable();
}

/*
 * Sleeps until the mailbox is free for a command, or its command is complete; in the
 * middle of an exit also until the vCPU is wanted. Returns 1 if it is complete without
 * that, else 0 or -EINTR.
 */
static int mailbox_sleep(struct native_channel *ch, struct ioregionfd_region *region,
			 struct mailbox *m, struct kvm_vcpu *vcpu, bool in_exit)
{
	int r;

	/* First this: responses may come without a sleep, time after time. */
	if (in_exit && vcpu_is_wanted(vcpu))
		return 0;
	if (native_yield(&m->yielder, &ch->yielder) && mailbox_is_complete(m))
		return 1;

	m->req.slept = true;
	mailbox_announce_sleep(m);
	if (in_exit)
		vcpu_sleep_begin(vcpu);
	/* Likewise with who completes the command. Litmus: response-sleep. */
	r = rcuwait_wait_event(&m->wait,
			       mailbox_is_complete(m) ||
			       (m->abandoned && !mailbox_is(m, IOREGIONFD_MAILBOX_ABANDONED)) ||
			       !region_usable(ch, region) ||
			       (in_exit && vcpu_is_wanted(vcpu)),
			       TASK_INTERRUPTIBLE);
	if (in_exit)
		vcpu_sleep_end(vcpu);
	return r;
}

static void mailbox_done(struct mailbox *m)
{
	/* After the acquire in mailbox_is_complete(): the one time that they are used. */
	u32 word = READ_ONCE(m->shared->state);
	u32 low = READ_ONCE(m->shared->data[0]);
	u32 high = READ_ONCE(m->shared->data[1]);

	m->req.data = (u64)high << 32 | low;
	m->req.status = word & (IOREGIONFD_MAILBOX_COMPLETE - 1);
	WRITE_ONCE(m->sent, false);
	if (m->req.slept)
		mailbox_adapt(m);
}

static struct ioregionfd_req *mailbox_req_new(struct ioregionfd_region *region,
					      struct kvm_vcpu *vcpu)
{
	struct native_channel *ch = native_of(region);
	unsigned int i = vcpu->vcpu_id;
	unsigned int used = READ_ONCE(ch->used);

	if (i >= ch->nr_mailboxes)
		return ERR_PTR(-ENXIO);
	/* Before the barrier in mailbox_post(), so that who sleeps next looks here. */
	while (used <= i && !try_cmpxchg(&ch->used, &used, i + 1))
		;
	ch->mailboxes[i].req.status = IOREGIONFD_STATUS_DONE;
	ch->mailboxes[i].req.slept = false;
	return &ch->mailboxes[i].req;
}

static int mailbox_req_try(struct ioregionfd_region *region,
			   struct ioregionfd_req *req, struct kvm_vcpu *vcpu)
{
	struct mailbox *m = container_of(req, struct mailbox, req);
	struct native_channel *ch = native_of(region);
	int r;

	if (!region_usable(ch, region) || mailbox_occupied(m))
		return -EINPROGRESS;
	if (!wants_response(&req->cmd))
		return ring_push(ch, &req->cmd) ? 0 : -EINPROGRESS;

	mailbox_post(ch, m);
	if (!mailbox_spin(m, vcpu, true)) {
		/* A slow device task must not stall those who wait for kvm->srcu. */
		kvm_vcpu_srcu_read_unlock(vcpu);
		r = mailbox_sleep(ch, region, m, vcpu, true);
		kvm_vcpu_srcu_read_lock(vcpu);
		if (r <= 0 && !mailbox_is_complete(m))
			return -EINPROGRESS;
	}
	mailbox_done(m);
	return 0;
}

/* As mailbox_req_try(), from outside of kvm->srcu, and without waiting. */
static bool mailbox_req_start(struct ioregionfd_region *region,
			      struct ioregionfd_req *req, struct kvm_vcpu *vcpu)
{
	struct mailbox *m = container_of(req, struct mailbox, req);
	struct native_channel *ch = native_of(region);
	bool done = false;
	int idx;

	idx = srcu_read_lock(&vcpu->kvm->srcu);
	if (region_usable(ch, region) && !mailbox_occupied(m)) {
		if (wants_response(&req->cmd))
			mailbox_post(ch, m);
		else
			done = ring_push(ch, &req->cmd);
	}
	srcu_read_unlock(&vcpu->kvm->srcu, idx);
	return done;
}

static int mailbox_req_run(struct ioregionfd_region *region,
			   struct ioregionfd_req *req, struct kvm_vcpu *vcpu,
			   bool wait)
{
	struct mailbox *m = container_of(req, struct mailbox, req);
	struct native_channel *ch = native_of(region);
	bool removed, released;
	int r;

	for (;;) {
		/*
		 * Read before the look at the response: one that came before the removal,
		 * or before the last descriptor went, counts. Pairs with the releases in
		 * native_deassign() and native_release(). Litmus: response-removal.
		 */
		removed = smp_load_acquire(&region->removed);
		/* Likewise */
		released = smp_load_acquire(&ch->released);
		if (m->sent && mailbox_is_complete(m))
			break;
		if (removed)
			return -ECANCELED;
		if (!m->sent && mailbox_req_start(region, req, vcpu))
			return 0;
		if (m->sent && wait && mailbox_spin(m, vcpu, false))
			break;
		if (released)
			return -EIO;
		if (!wait)
			return -EINTR;

		if (wants_response(&req->cmd) || m->abandoned) {
			r = mailbox_sleep(ch, region, m, vcpu, false);
		} else {
			req->slept = true;
			r = wait_event_interruptible(ch->space_wq, ring_has_space(ch) ||
						     !region_usable(ch, region));
		}
		if (r < 0)
			return -EINTR;
	}
	mailbox_done(m);
	return 0;
}

static bool mailbox_req_done(struct ioregionfd_region *region,
			     struct ioregionfd_req *req)
{
	struct mailbox *m = container_of(req, struct mailbox, req);

	if (!m->sent || !mailbox_is_complete(m))
		return false;
	mailbox_done(m);
	return true;
}

/* Takes the command back if it was not fetched, or else leaves word that it is given up. */
static u8 mailbox_abandon(struct mailbox *m)
{
	u32 word = READ_ONCE(m->shared->state);
	unsigned int n;

	lockdep_assert_held(&m->lock);

	for (n = 0; n < STATE_TRIES; n++) {
		if ((word & ~IOREGIONFD_MAILBOX_WAITING) ==
		    mailbox_word(m, IOREGIONFD_MAILBOX_PENDING)) {
			if (try_cmpxchg(&m->shared->state, &word,
					mailbox_word(m, IOREGIONFD_MAILBOX_FREE)))
				/* If it was redelivered, a former task has seen it. */
				return m->redelivered == m->number ? KVM_IOREGIONFD_SENT_ALL :
								     KVM_IOREGIONFD_SENT_NONE;
		} else if ((word & ~IOREGIONFD_MAILBOX_WAITING) ==
			   mailbox_word(m, IOREGIONFD_MAILBOX_FETCHED)) {
			if (try_cmpxchg(&m->shared->state, &word,
					mailbox_word(m, IOREGIONFD_MAILBOX_ABANDONED))) {
				m->abandoned = true;
				break;
			}
		} else {
			break;
		}
	}
	return KVM_IOREGIONFD_SENT_ALL;
}

static u8 mailbox_req_abandon(struct ioregionfd_region *region,
			      struct ioregionfd_req *req)
{
	struct mailbox *m = container_of(req, struct mailbox, req);
	u8 progress;

	if (!m->sent)
		return KVM_IOREGIONFD_SENT_NONE;

	spin_lock(&m->lock);
	WRITE_ONCE(m->sent, false);
	progress = mailbox_abandon(m);
	spin_unlock(&m->lock);
	return progress;
}

static struct ioregionfd_failure native_failure(struct ioregionfd_channel *channel)
{
	/* The only one that there is: its file has been closed. */
	return (struct ioregionfd_failure) { KVM_IOREGIONFD_FAIL_HANGUP, 0 };
}

static void native_deassign(struct ioregionfd_region *region)
{
	struct native_channel *ch = native_of(region);

	/* Pairs with the acquire in mailbox_req_run(). Litmus: response-removal. */
	smp_store_release(&region->removed, true);
	/*
	 * Whoever has not seen it is through with posting after this.
	 * Litmus: leave-post, leave-sleep.
	 */
	synchronize_srcu_expedited(&region->kvm->srcu);
	native_wake_vcpus(ch);
}

const struct ioregionfd_channel_ops ioregionfd_native_ops = {
	.req_new = mailbox_req_new,
	.req_try = mailbox_req_try,
	.req_run = mailbox_req_run,
	.req_done = mailbox_req_done,
	.req_abandon = mailbox_req_abandon,
	.failure = native_failure,
	.assigned = native_assigned,
	.deassign = native_deassign,
	.put = native_region_put,
};
