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
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "slots.h"

static_assert(sizeof(struct ioregionfd_control) == 128);
static_assert(offsetof(struct ioregionfd_control, posted_head) == 64);
static_assert(sizeof(struct ioregionfd_slot) == 64);
static_assert(offsetof(struct ioregionfd_slot, cmd) == 8);
static_assert(offsetof(struct ioregionfd_slot, answer) == 40);
static_assert(offsetof(struct ioregionfd_slot, posted) == 56);

/*
 * How long a vCPU spins for an answer before it sleeps, at most. It begins with
 * nothing and, each time that it slept for less than this, doubles.
 */
static unsigned int ioregionfd_spin_ns = 50000;
module_param(ioregionfd_spin_ns, uint, 0644);
MODULE_PARM_DESC(ioregionfd_spin_ns, "Longest spin for a device task's answer, in ns");

#define SPIN_GROW_START	5000

/*
 * What the channels of a VM may take. The memory is accounted to who makes them, but
 * not seen in the size of any process.
 */
#define VM_BYTES_MAX	(256UL << 20)

static struct slots *slots_of(struct ioregionfd_region *region)
{
	return container_of(region->channel, struct slots, channel);
}

/* Its size is the user's choice, who is told if it fails; the log is not. */
static void *slots_vmalloc(size_t size)
{
	return __vmalloc(size, GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN);
}

/* What a channel takes: of which the one part goes with its file, the other with it. */

static size_t ring_bytes(u32 posted)
{
	return PAGE_ALIGN(posted * sizeof(struct ioregionfd_cmd));
}

static size_t slots_bytes(unsigned int nr)
{
	return PAGE_ALIGN(sizeof(struct ioregionfd_control) +
			  nr * sizeof(struct ioregionfd_slot)) +
	       PAGE_ALIGN(struct_size_t(struct slots, slots, nr));
}

static bool slots_account(struct ioregionfd_vm *vm, size_t bytes)
{
	bool fits;

	spin_lock(&vm->lock);
	fits = bytes <= VM_BYTES_MAX - vm->bytes;
	if (fits)
		vm->bytes += bytes;
	spin_unlock(&vm->lock);
	return fits;
}

static void slots_unaccount(struct ioregionfd_vm *vm, size_t bytes)
{
	spin_lock(&vm->lock);
	vm->bytes -= bytes;
	spin_unlock(&vm->lock);
}

static void slots_release(struct kref *refs)
{
	struct slots *ch = container_of(refs, struct slots, refs);

	slots_unaccount(ch->vm, slots_bytes(ch->nr));
	ioregionfd_vm_put(ch->vm);
	vfree(ch->control);
	vfree(ch);
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
	full = !ch->ring || ring_full(ch);
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
	spin_lock(&s->lock);
	WRITE_ONCE(s->number, s->number + 1);
	/* No command has been posted again under the number before this one */
	WRITE_ONCE(s->again, s->number - 1);
	WRITE_ONCE(s->posted, READ_ONCE(ch->head));
	WRITE_ONCE(s->sent, true);
	slot_publish(s, &s->call.cmd, IOREGIONFD_SLOT_POSTED);
	spin_unlock(&s->lock);

	/* Pairs with the barrier of a device task that is about to sleep. */
	smp_mb();
	if (!READ_ONCE(ch->control->polling) && !READ_ONCE(s->shared->polling))
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

/* Whether the vCPU has something to do that it cannot in the middle of an exit. */
static bool vcpu_is_wanted(struct kvm_vcpu *vcpu)
{
	return kvm_request_pending(vcpu) || kvm_arch_dy_has_pending_interrupt(vcpu);
}

static __always_inline bool slot_spin(struct slot *s, struct kvm_vcpu *vcpu,
				      bool in_exit)
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
		if (done || !ktime_before(now, end) || !may_spin() ||
		    (in_exit && vcpu_is_wanted(vcpu)))
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
 * Sleeps until the slot is free to be posted to, or its command is answered; in the
 * middle of an exit also until the vCPU is wanted. Returns 1 if it was so without that,
 * else 0 or -EINTR.
 */
static int slot_sleep(struct slots *ch, struct ioregionfd_region *region,
		      struct slot *s, struct kvm_vcpu *vcpu, bool in_exit)
{
	struct rcuwait *kick = kvm_arch_vcpu_get_wait(vcpu);
	int r;

	/* First this: the answer may come without a sleep, time after time. */
	if (in_exit && vcpu_is_wanted(vcpu))
		return 0;
	if (slots_give_way(&s->gave_way, &ch->gave_way) &&
	    slot_is(s, IOREGIONFD_SLOT_DONE))
		return 1;

	s->call.slept = true;
	slot_announce_sleep(s);
	/*
	 * Here kvm_vcpu_kick() finds who sleeps. Both sides have a full barrier: it in
	 * rcuwait_wake_up(), this in set_current_state() below.
	 */
	if (in_exit)
		prepare_to_rcuwait(kick);
	r = rcuwait_wait_event(&s->wait,
			       slot_is(s, IOREGIONFD_SLOT_DONE) ||
			       (s->left && !slot_is(s, IOREGIONFD_SLOT_TAKEN)) ||
			       !region_usable(ch, region) ||
			       (in_exit && vcpu_is_wanted(vcpu)),
			       TASK_INTERRUPTIBLE);
	if (in_exit)
		finish_rcuwait(kick);
	return r;
}

static void slot_done(struct slot *s)
{
	/* After the acquire in slot_is(): the one time that they are read. */
	u32 low = READ_ONCE(s->shared->answer[0]);
	u32 high = READ_ONCE(s->shared->answer[1]);

	s->call.data = (u64)high << 32 | low;
	WRITE_ONCE(s->sent, false);
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
	if (!slot_spin(s, vcpu, true)) {
		/* A slow device task must not stall those who wait for kvm->srcu. */
		kvm_vcpu_srcu_read_unlock(vcpu);
		r = slot_sleep(ch, region, s, vcpu, true);
		kvm_vcpu_srcu_read_lock(vcpu);
		if (r <= 0 && !slot_is(s, IOREGIONFD_SLOT_DONE))
			return -EINPROGRESS;
	}
	slot_done(s);
	return 0;
}

/* As slots_call_try(), from outside of kvm->srcu, and without waiting. */
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
		if (!s->sent && slots_call_start(region, call, vcpu))
			return 0;
		if (s->sent && (slot_is(s, IOREGIONFD_SLOT_DONE) ||
				(wait && slot_spin(s, vcpu, false)))) {
			slot_done(s);
			return 0;
		}
		if (READ_ONCE(ch->closed))
			return -EIO;
		if (!wait)
			return -EINTR;

		if (call->cmd.resp) {
			r = slot_sleep(ch, region, s, vcpu, false);
		} else {
			call->slept = true;
			r = wait_event_interruptible(ch->room, ring_has_room(ch) ||
						     !region_usable(ch, region));
		}
		if (r < 0)
			return -EINTR;
	}
}

static bool slots_call_done(struct ioregionfd_region *region,
			    struct ioregionfd_call *call)
{
	struct slot *s = container_of(call, struct slot, call);

	if (!s->sent || !slot_is(s, IOREGIONFD_SLOT_DONE))
		return false;
	slot_done(s);
	return true;
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
	WRITE_ONCE(s->sent, false);
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

	WRITE_ONCE(region->gone, true);
	/* Whoever has not seen it is through with posting after this. */
	synchronize_srcu_expedited(&region->kvm->srcu);
	slots_wake_vcpus(ch);
}

static void slots_region_put(struct ioregionfd_channel *channel)
{
	slots_put(container_of(channel, struct slots, channel));
}

static const struct ioregionfd_channel_ops slots_ops = {
	.call_new = slots_call_new,
	.call_try = slots_call_try,
	.call_run = slots_call_run,
	.call_done = slots_call_done,
	.call_end = slots_call_end,
	.failure = slots_failure,
	.leave = slots_leave,
	.put = slots_region_put,
};

static int slots_alloc(struct slots *ch, const struct kvm_create_ioregionfd *args)
{
	struct ioregionfd_slot *shared;
	unsigned int i;

	ch->nr = args->vcpus;
	ch->size = PAGE_ALIGN(sizeof(*ch->control) + args->vcpus * sizeof(*shared));
	ch->control = slots_vmalloc(ch->size);
	if (!ch->control)
		return -ENOMEM;
	ch->ring_size = args->posted;
	ch->ring = slots_vmalloc(ring_bytes(args->posted));
	if (!ch->ring) {
		vfree(ch->control);
		return -ENOMEM;
	}

	shared = (void *)(ch->control + 1);
	for (i = 0; i < ch->nr; i++) {
		ch->slots[i].shared = shared + i;
		spin_lock_init(&ch->slots[i].lock);
		rcuwait_init(&ch->slots[i].wait);
		init_waitqueue_head(&ch->slots[i].tasks);
		init_waitqueue_head(&ch->slots[i].parked);
	}
	return 0;
}

static struct slots *slots_new(const struct kvm_create_ioregionfd *args)
{
	struct slots *ch;

	ch = slots_vmalloc(struct_size(ch, slots, args->vcpus));
	if (!ch)
		return NULL;
	if (slots_alloc(ch, args)) {
		vfree(ch);
		return NULL;
	}
	ch->channel.ops = &slots_ops;
	kref_init(&ch->refs);
	ch->sync_wake = args->flags & KVM_IOREGIONFD_SYNC_WAKE;
	spin_lock_init(&ch->ring_lock);
	spin_lock_init(&ch->read_lock);
	init_waitqueue_head(&ch->room);
	init_waitqueue_head(&ch->tasks);
	init_waitqueue_head(&ch->readers);
	init_waitqueue_head(&ch->parked);
	init_waitqueue_head(&ch->polls);
	return ch;
}

/**
 * ioregionfd_slots_create() - make a channel
 * @kvm: the VM
 * @args: checked
 *
 * The file knows of the VM only to compare with: it does not keep it.
 *
 * Context: may sleep.
 * Return: a file descriptor, or a negative errno: -ENOSPC: the channels of the VM take
 * as much memory as they may; -ENOMEM, -EMFILE, -ENFILE.
 */
int ioregionfd_slots_create(struct kvm *kvm,
			    const struct kvm_create_ioregionfd *args)
{
	size_t bytes = slots_bytes(args->vcpus) + ring_bytes(args->posted);
	struct ioregionfd_vm *vm = ioregionfd_vm_make(kvm);
	struct slots *ch;
	int fd;

	if (!vm)
		return -ENOMEM;
	if (!slots_account(vm, bytes))
		return -ENOSPC;
	ch = slots_new(args);
	if (!ch) {
		slots_unaccount(vm, bytes);
		return -ENOMEM;
	}
	kref_get(&vm->refs);
	ch->vm = vm;
	spin_lock(&vm->lock);
	list_add(&ch->list, &vm->channels);
	spin_unlock(&vm->lock);

	fd = anon_inode_getfd("kvm-ioregionfd", &ioregionfd_fops, ch,
			      O_RDWR | O_CLOEXEC);
	if (fd < 0)
		slots_close(ch);
	return fd;
}

/* Nobody can see the posted writes any more; the slots are the vCPUs', too. */
static void slots_free_ring(struct slots *ch)
{
	struct ioregionfd_cmd *ring;

	spin_lock(&ch->ring_lock);
	ring = ch->ring;
	ch->ring = NULL;
	spin_unlock(&ch->ring_lock);

	vfree(ring);
	slots_unaccount(ch->vm, ring_bytes(ch->ring_size));
}

/**
 * slots_close() - the file of a channel goes
 * @ch: the channel
 *
 * Context: may sleep.
 */
void slots_close(struct slots *ch)
{
	spin_lock(&ch->vm->lock);
	list_del(&ch->list);
	spin_unlock(&ch->vm->lock);

	WRITE_ONCE(ch->closed, true);
	/*
	 * Pairs with the barrier in slot_post(), after slots_call_new() has changed used:
	 * a vCPU either sees that it is closed, or is woken.
	 */
	smp_mb();
	slots_wake_vcpus(ch);
	slots_free_ring(ch);
	slots_put(ch);
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

	if (read_file->f_op == &ioregionfd_fops) {
		ch = read_file->private_data;
		if (read_file != write_file)
			ch = ERR_PTR(-EINVAL);
		else if (ch->vm != kvm->ioregionfd)
			ch = ERR_PTR(-EXDEV);
		else
			kref_get(&ch->refs);
	}
	fput(read_file);
	fput(write_file);
	return IS_ERR_OR_NULL(ch) ? ERR_CAST(ch) : &ch->channel;
}

/**
 * ioregionfd_slots_vm_destroy() - tell device tasks that their VM is gone
 * @vm: of the VM, which is being destroyed
 *
 * Context: process.
 */
void ioregionfd_slots_vm_destroy(struct ioregionfd_vm *vm)
{
	struct slots *ch;

	spin_lock(&vm->lock);
	list_for_each_entry(ch, &vm->channels, list) {
		WRITE_ONCE(ch->ended, true);
		WRITE_ONCE(ch->control->ended, 1);
		/* Pairs with that of who waits, between the entry in a queue and the look */
		smp_mb();
		serve_wake_all(ch);
	}
	spin_unlock(&vm->lock);
}
