// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, slots: a channel that kvm.ko made, and what a vCPU does with it.
 *
 * slots.h tells who may do what. That a region is gone is seen by each post()
 * within kvm->srcu, for which slots_leave() waits.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "slots.h"

static_assert(sizeof(struct ioregionfd_control) == 128);
static_assert(offsetof(struct ioregionfd_control, posted_head) == 64);
static_assert(sizeof(struct ioregionfd_slot) == 64);
static_assert(offsetof(struct ioregionfd_slot, cmd) == 8);
static_assert(offsetof(struct ioregionfd_slot, data) == 40);
static_assert(offsetof(struct ioregionfd_slot, posted) == 48);

/*
 * How long a vCPU spins for an answer before it sleeps, at most. It begins with
 * nothing and, each time that it slept for less than this, doubles.
 */
static unsigned int ioregionfd_spin_ns = 50000;
module_param(ioregionfd_spin_ns, uint, 0644);
MODULE_PARM_DESC(ioregionfd_spin_ns, "Longest spin for a device task's answer, in ns");

#define SPIN_GROW_START	5000

static LIST_HEAD(all_slots);
static DEFINE_MUTEX(all_slots_lock);

static struct slots *slots_of(struct ioregionfd_region *region)
{
	return container_of(region->channel, struct slots, channel);
}

static void slots_release(struct kref *refs)
{
	struct slots *ch = container_of(refs, struct slots, refs);

	vfree(ch->control);
	kvfree(ch);
}

/**
 * slots_put() - drop a reference to a channel
 * @ch: the channel
 *
 * Context: may sleep.
 */
void slots_put(struct slots *ch)
{
	kref_put(&ch->refs, slots_release);
}

/**
 * slots_wake_vcpus() - make all vCPUs that wait on a channel look why
 * @ch: the channel
 *
 * Context: process.
 */
void slots_wake_vcpus(struct slots *ch)
{
	unsigned int i;

	for (i = 0; i < READ_ONCE(ch->used); i++)
		rcuwait_wake_up(&ch->slots[i].wait);
	wake_up_all(&ch->room);
}

static bool region_usable(struct slots *ch, struct ioregionfd_region *region)
{
	return !READ_ONCE(ch->closed) && !READ_ONCE(region->gone);
}

/* Posted writes. */

static bool ring_full(struct slots *ch)
{
	/*
	 * Pairs with the release by which a posted write is done with: its
	 * entry is not read any more.
	 */
	u32 tail = smp_load_acquire(&ch->control->posted_tail);

	return ring_used(ch, tail) >= ch->ring_size;
}

static bool ring_push(struct slots *ch, const struct ioregionfd_cmd *cmd)
{
	bool full;

	spin_lock(&ch->ring_lock);
	full = ring_full(ch);
	if (!full) {
		ch->ring[ch->head & (ch->ring_size - 1)] = *cmd;
		/* Pairs with ring_used() in take_posted(). */
		smp_store_release(&ch->head, (ch->head + 1) & POSTED_MASK);
		/* Pairs with the acquire of who takes posted writes in the mapping. */
		smp_store_release(&ch->control->posted_head, ch->head);
	}
	spin_unlock(&ch->ring_lock);
	if (full)
		return false;

	/* Pairs with the barrier of a device task that is about to sleep. */
	smp_mb();
	if (!READ_ONCE(ch->control->polling))
		serve_wake(ch, IOREGIONFD_ANY);
	return true;
}

static bool ring_has_room(struct slots *ch)
{
	WRITE_ONCE(ch->control->blocked, 1);
	/*
	 * Pairs with the barrier between a move of posted_tail and the look at
	 * blocked: either this sees the room, or we are woken.
	 */
	smp_mb();
	return !ring_full(ch);
}

/* Commands that want a response. */

static __always_inline void slot_post(struct slots *ch, struct slot *s)
{
	struct ioregionfd_slot *shared = s->shared;

	spin_lock(&s->lock);
	WRITE_ONCE(s->number, s->number + 1);
	/* No command has been posted again under the number before this one */
	WRITE_ONCE(s->again, s->number - 1);
	WRITE_ONCE(s->posted, READ_ONCE(ch->head));
	s->sent = true;
	shared->cmd = s->call.cmd;
	shared->posted = s->posted;
	/* Pairs with the acquire of whoever takes the command. */
	smp_store_release(&shared->state, slot_word(s, IOREGIONFD_SLOT_POSTED));
	spin_unlock(&s->lock);

	/* Pairs with the barrier of a device task that is about to sleep. */
	smp_mb();
	if (!READ_ONCE(ch->control->polling) && !READ_ONCE(shared->polling))
		serve_wake(ch, s - ch->slots);
}

/* A command that was given up while it was taken still occupies the slot. */
static bool slot_occupied(struct slot *s)
{
	if (s->left && !slot_is(s, IOREGIONFD_SLOT_TAKEN))
		s->left = false;
	return s->left;
}

/* Never while another task waits for this CPU: it may be the one to answer. */
static bool may_spin(void)
{
	return single_task_running() && !need_resched() &&
	       !signal_pending(current);
}

static __always_inline bool slot_spin(struct slot *s, struct kvm_vcpu *vcpu)
{
	unsigned int max = READ_ONCE(ioregionfd_spin_ns);
	ktime_t now, end;
	bool done;

	s->spun_at = 0;
	if (!max || !may_spin())
		return false;

	now = ktime_get();
	s->spun_at = now;
	end = ktime_add_ns(now, min(s->spin_ns, max));
	for (;;) {
		done = slot_is(s, IOREGIONFD_SLOT_DONE);
		if (done || !ktime_before(now, end) || !may_spin())
			break;
		cpu_relax();
		now = ktime_get();
	}
	vcpu->stat.generic.ioregionfd_spin_ns += ktime_to_ns(ktime_sub(now, s->spun_at));
	return done;
}

/* It slept: would a longer spin have helped, or was this one for nothing? */
static void slot_adapt(struct slot *s)
{
	unsigned int max = READ_ONCE(ioregionfd_spin_ns);
	s64 waited;

	if (!s->spun_at)
		return;
	waited = ktime_to_ns(ktime_sub(ktime_get(), s->spun_at));
	if (waited > max)
		s->spin_ns = 0;
	else if (waited > s->spin_ns)
		s->spin_ns = min(max, max(2 * s->spin_ns, SPIN_GROW_START));
}

/* Tells those who answer in the mapping that the vCPU must be woken. */
static void slot_announce_sleep(struct slot *s)
{
	u32 word = READ_ONCE(s->shared->state);

	while (word == slot_word(s, IOREGIONFD_SLOT_POSTED) ||
	       word == slot_word(s, IOREGIONFD_SLOT_TAKEN)) {
		if (try_cmpxchg(&s->shared->state, &word, word | IOREGIONFD_SLOT_WAITING))
			return;
	}
}

/*
 * Sleeps until the slot is free to be posted to, or its command is answered.
 * Returns 1 if it was so without that, else 0 or -EINTR.
 */
static int slot_sleep(struct slots *ch, struct ioregionfd_region *region,
		      struct slot *s)
{
	if (slots_give_way(&s->gave_way, &ch->gave_way) &&
	    slot_is(s, IOREGIONFD_SLOT_DONE))
		return 1;

	s->call.slept = true;
	slot_announce_sleep(s);
	return rcuwait_wait_event(&s->wait,
				  slot_is(s, IOREGIONFD_SLOT_DONE) ||
				  (s->left && !slot_is(s, IOREGIONFD_SLOT_TAKEN)) ||
				  !region_usable(ch, region),
				  TASK_INTERRUPTIBLE);
}

static void slot_done(struct slot *s)
{
	/* After the acquire in slot_is(): the one time that it is read. */
	s->call.data = READ_ONCE(s->shared->data);
	s->sent = false;
	if (s->call.slept)
		slot_adapt(s);
}

static struct ioregionfd_call *slots_call_new(struct ioregionfd_region *region,
					      struct kvm_vcpu *vcpu)
{
	struct slots *ch = slots_of(region);
	unsigned int i = vcpu->vcpu_idx;
	unsigned int used = READ_ONCE(ch->used);

	if (i >= ch->nr)
		return ERR_PTR(-ENXIO);
	/* Before the barrier in slot_post(), so that who sleeps next looks here. */
	while (used <= i && !try_cmpxchg(&ch->used, &used, i + 1))
		;
	ch->slots[i].call.slept = false;
	return &ch->slots[i].call;
}

static int slots_call_try(struct ioregionfd_region *region,
			  struct ioregionfd_call *call, struct kvm_vcpu *vcpu)
{
	struct slot *s = container_of(call, struct slot, call);
	struct slots *ch = slots_of(region);
	int r;

	if (!region_usable(ch, region))
		return -EINPROGRESS;
	if (!call->cmd.resp)
		return ring_push(ch, &call->cmd) ? 0 : -EINPROGRESS;
	if (slot_occupied(s))
		return -EINPROGRESS;

	slot_post(ch, s);
	if (!slot_spin(s, vcpu)) {
		/* A slow device task must not stall those who wait for kvm->srcu. */
		kvm_vcpu_srcu_read_unlock(vcpu);
		r = slot_sleep(ch, region, s);
		kvm_vcpu_srcu_read_lock(vcpu);
		if (r <= 0 && !slot_is(s, IOREGIONFD_SLOT_DONE))
			return -EINPROGRESS;
	}
	slot_done(s);
	return 0;
}

/* As slots_call_try(), from outside of kvm->srcu. */
static bool slots_call_start(struct ioregionfd_region *region,
			     struct ioregionfd_call *call, struct kvm_vcpu *vcpu)
{
	struct slot *s = container_of(call, struct slot, call);
	struct slots *ch = slots_of(region);
	bool done = false;
	int idx;

	idx = srcu_read_lock(&vcpu->kvm->srcu);
	if (region_usable(ch, region)) {
		if (!call->cmd.resp)
			done = ring_push(ch, &call->cmd);
		else if (!slot_occupied(s))
			slot_post(ch, s);
	}
	srcu_read_unlock(&vcpu->kvm->srcu, idx);

	if (s->sent && slot_spin(s, vcpu))
		done = true;
	return done;
}

static int slots_call_run(struct ioregionfd_region *region,
			  struct ioregionfd_call *call, struct kvm_vcpu *vcpu,
			  bool wait)
{
	struct slot *s = container_of(call, struct slot, call);
	struct slots *ch = slots_of(region);
	int r;

	for (;;) {
		if (READ_ONCE(region->gone))
			return -ECANCELED;
		if (s->sent ? slot_is(s, IOREGIONFD_SLOT_DONE) :
			      slots_call_start(region, call, vcpu)) {
			if (s->sent)
				slot_done(s);
			return 0;
		}
		if (READ_ONCE(ch->closed))
			return -EIO;
		if (!wait)
			return -EINTR;

		if (call->cmd.resp) {
			r = slot_sleep(ch, region, s);
		} else {
			call->slept = true;
			r = wait_event_interruptible(ch->room, ring_has_room(ch) ||
						     !region_usable(ch, region));
		}
		if (r < 0)
			return -EINTR;
	}
}

static u8 slots_call_end(struct ioregionfd_region *region,
			 struct ioregionfd_call *call)
{
	struct slot *s = container_of(call, struct slot, call);
	u8 progress = KVM_IOREGIONFD_SENT_ALL;
	u32 word;

	if (!s->sent)
		return KVM_IOREGIONFD_SENT_NONE;

	spin_lock(&s->lock);
	s->sent = false;
	word = READ_ONCE(s->shared->state);
	while ((word & ~IOREGIONFD_SLOT_WAITING) == slot_word(s, IOREGIONFD_SLOT_POSTED)) {
		if (try_cmpxchg(&s->shared->state, &word,
				slot_word(s, IOREGIONFD_SLOT_FREE))) {
			progress = KVM_IOREGIONFD_SENT_NONE;
			break;
		}
	}
	s->left = slot_is(s, IOREGIONFD_SLOT_TAKEN);
	spin_unlock(&s->lock);
	return progress;
}

static struct ioregionfd_failure slots_failure(struct ioregionfd_channel *channel)
{
	/* The only one that there is: closed. */
	return (struct ioregionfd_failure) { KVM_IOREGIONFD_FAIL_HANGUP, 0 };
}

static void slots_leave(struct ioregionfd_region *region)
{
	struct slots *ch = slots_of(region);

	lockdep_assert_held(&region->kvm->slots_lock);

	WRITE_ONCE(region->gone, true);
	/* Whoever has not seen it is through with posting after this. */
	synchronize_srcu_expedited(&region->kvm->srcu);
	slots_wake_vcpus(ch);
}

static void slots_region_put(struct ioregionfd_channel *channel, struct kvm *kvm)
{
	slots_put(container_of(channel, struct slots, channel));
}

static const struct ioregionfd_channel_ops slots_ops = {
	.call_new = slots_call_new,
	.call_try = slots_call_try,
	.call_run = slots_call_run,
	.call_end = slots_call_end,
	.failure = slots_failure,
	.leave = slots_leave,
	.put = slots_region_put,
};

static struct slots *slots_new(struct kvm *kvm,
			       const struct kvm_create_ioregionfd *args)
{
	size_t slots_size = args->vcpus * sizeof(struct ioregionfd_slot);
	size_t ring_size = args->posted * sizeof(struct ioregionfd_cmd);
	struct ioregionfd_slot *shared;
	struct slots *ch;
	unsigned int i;

	ch = kvzalloc(struct_size(ch, slots, args->vcpus), GFP_KERNEL_ACCOUNT);
	if (!ch)
		return NULL;
	ch->nr = args->vcpus;
	ch->size = PAGE_ALIGN(sizeof(*ch->control) + slots_size + ring_size);
	ch->control = __vmalloc(ch->size, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!ch->control) {
		kvfree(ch);
		return NULL;
	}
	shared = (void *)(ch->control + 1);
	ch->ring = (void *)(shared + args->vcpus);
	ch->ring_size = args->posted;
	for (i = 0; i < ch->nr; i++) {
		ch->slots[i].shared = shared + i;
		spin_lock_init(&ch->slots[i].lock);
		rcuwait_init(&ch->slots[i].wait);
	}

	ch->channel.ops = &slots_ops;
	kref_init(&ch->refs);
	ch->kvm = kvm;
	ch->sync_wake = args->flags & KVM_IOREGIONFD_SYNC_WAKE;
	spin_lock_init(&ch->ring_lock);
	spin_lock_init(&ch->read_lock);
	init_waitqueue_head(&ch->room);
	init_waitqueue_head(&ch->tasks);
	init_waitqueue_head(&ch->polls);
	return ch;
}

/**
 * ioregionfd_slots_create() - make a channel
 * @kvm: the VM
 * @args: checked
 *
 * The file knows the VM only to compare with: it does not keep it.
 *
 * Context: may sleep.
 * Return: a file descriptor, or a negative errno.
 */
int ioregionfd_slots_create(struct kvm *kvm,
			    const struct kvm_create_ioregionfd *args)
{
	struct slots *ch = slots_new(kvm, args);
	int fd;

	if (!ch)
		return -ENOMEM;
	mutex_lock(&all_slots_lock);
	list_add(&ch->list, &all_slots);
	mutex_unlock(&all_slots_lock);

	fd = anon_inode_getfd("kvm-ioregionfd", &ioregionfd_fops, ch,
			      O_RDWR | O_CLOEXEC);
	if (fd < 0)
		slots_close(ch);
	return fd;
}

/**
 * slots_close() - the file of a channel goes
 * @ch: the channel
 *
 * Context: may sleep.
 */
void slots_close(struct slots *ch)
{
	mutex_lock(&all_slots_lock);
	list_del(&ch->list);
	mutex_unlock(&all_slots_lock);

	WRITE_ONCE(ch->closed, true);
	slots_wake_vcpus(ch);
	slots_put(ch);
}

static struct slots *slots_get(struct kvm *kvm, struct file *file)
{
	struct slots *ch = file->private_data;
	int r = 0;

	mutex_lock(&all_slots_lock);
	if (ch->kvm == kvm)
		kref_get(&ch->refs);
	else
		r = -EXDEV;
	mutex_unlock(&all_slots_lock);
	return r ? ERR_PTR(r) : ch;
}

/**
 * ioregionfd_slots_get() - the channel of two file descriptors, if it is such
 * @kvm: the VM that wants to use it
 * @read_fd: where responses come from
 * @write_fd: where commands go; the same file
 *
 * Context: may sleep.
 * Return: the channel, with a reference; NULL if @read_fd is not one that
 * KVM_CREATE_IOREGIONFD made; or an ERR_PTR: -EXDEV if that was for another VM,
 * -EINVAL if the two are not the same, -EBADF.
 */
struct ioregionfd_channel *ioregionfd_slots_get(struct kvm *kvm, int read_fd,
						int write_fd)
{
	struct file *read_file, *write_file;
	struct slots *ch = NULL;

	read_file = fget(read_fd);
	if (!read_file)
		return ERR_PTR(-EBADF);
	write_file = fget(write_fd);
	if (!write_file) {
		fput(read_file);
		return ERR_PTR(-EBADF);
	}

	if (read_file->f_op == &ioregionfd_fops && read_file == write_file)
		ch = slots_get(kvm, read_file);
	else if (read_file->f_op == &ioregionfd_fops)
		ch = ERR_PTR(-EINVAL);
	fput(read_file);
	fput(write_file);
	return IS_ERR_OR_NULL(ch) ? ERR_CAST(ch) : &ch->channel;
}

/**
 * ioregionfd_slots_vm_destroy() - tell device tasks that their VM is gone
 * @kvm: the VM, which is being destroyed
 *
 * Context: may sleep.
 */
void ioregionfd_slots_vm_destroy(struct kvm *kvm)
{
	struct slots *ch;

	mutex_lock(&all_slots_lock);
	list_for_each_entry(ch, &all_slots, list) {
		if (ch->kvm != kvm)
			continue;
		ch->kvm = NULL;
		WRITE_ONCE(ch->ended, true);
		WRITE_ONCE(ch->control->ended, 1);
		serve_wake_all(ch);
	}
	mutex_unlock(&all_slots_lock);
}
