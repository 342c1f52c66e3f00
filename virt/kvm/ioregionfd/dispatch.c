// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioregionfd, dispatch: the accesses of a vCPU whose VM has regions.
 *
 * An access that nothing inside kvm.ko takes leaves the emulator as it does
 * without ioregionfd: kvm_arch_vcpu_ioctl_run() returns with the access
 * described in the vCPU, and a later call completes it. Here, in between, an
 * access to a region is carried out by its device task instead of the VMM.
 * No lock but vcpu->mutex is held meanwhile, and no SRCU section entered.
 *
 * A channel that kvm.ko made gets the command a little earlier, while the emulator
 * asks the devices (kvm_ioregionfd_in_place()), and the access does not leave the
 * emulator. Unless a signal comes, or something is wrong with the channel: then it
 * leaves as above, with the command under way.
 *
 * All that describes the access is copied from fields that the VMM cannot
 * write, with two exceptions: the elements of a string, which KVM itself keeps
 * in the run page, and the count of a string written to a port. Those are read
 * once and bounded. If the VMM plays with them or with exit_reason during
 * KVM_RUN it tells its own device task lies, no more.
 */
#include <linux/kvm_host.h>
#include <linux/slab.h>
#include <linux/unaligned.h>

#include "ioregionfd.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static_assert(sizeof(struct kvm_ioregionfd_exit) == 56);
static_assert(offsetof(struct kvm_ioregionfd_exit, size) == 40);
static_assert(offsetof(struct kvm_ioregionfd_exit, reason) == 46);
static_assert(offsetof(struct kvm_ioregionfd_exit, action) == 52);

/* The widest access that leaves the emulator in one exit. */
#define MMIO_MAX 8

/**
 * struct ioregionfd_vcpu - an access on its way, and how far it has come
 * @pending: there is one: the vCPU may not go on before it is complete
 * @early: its command was started in the middle of the exit; it becomes pending
 *	if the exit comes here
 * @failed: the VMM has been told that it failed, and has yet to say what next
 * @pio: it is to ports
 * @write: it is a write
 * @addr: first address, or port
 * @size: bytes; of one element, for ports
 * @count: elements of a string to or from a port, else 1
 * @done: bytes that are carried out; for ports, elements
 * @data: memory: the bytes to write, or those read so far
 * @progress: KVM_IOREGIONFD_SENT_*, the most that any attempt at the next
 *	command came to
 * @region: who answers, with a reference, or NULL: to be looked up
 * @recent: the region of the last access that was carried out in the exit, with a
 *	reference, or NULL: the next one is likely to be for the same
 * @call: the command on its way to @region, or NULL
 * @exit: identifies the last @region, for failures after it has gone
 *
 * Owned by whoever holds vcpu->mutex.
 */
struct ioregionfd_vcpu {
	bool pending;
	bool early;
	bool failed;
	bool pio;
	bool write;
	u64 addr;
	unsigned int size;
	unsigned int count;
	unsigned int done;
	u8 data[MMIO_MAX];
	u8 progress;
	struct ioregionfd_region *region;
	struct ioregionfd_region *recent;
	struct ioregionfd_call *call;
	struct kvm_ioregionfd_exit exit;
};

static bool access_complete(const struct ioregionfd_vcpu *v)
{
	return v->done == (v->pio ? v->count : v->size);
}

/* The next command: where, how wide, and where its bytes are kept. */

static u64 piece_addr(const struct ioregionfd_vcpu *v)
{
	return v->pio ? v->addr : v->addr + v->done;
}

/*
 * The protocol has only powers of two. What is left of an access after it was
 * split at a page boundary may have any size: go in naturally aligned steps.
 */
static unsigned int piece_size_odd(const struct ioregionfd_vcpu *v)
{
	unsigned int left = v->size - v->done;

	return 1U << min(__ffs64((v->addr + v->done) | MMIO_MAX), __fls(left));
}

static __always_inline unsigned int piece_size(const struct ioregionfd_vcpu *v)
{
	return v->pio || is_power_of_2(v->size) ? v->size : piece_size_odd(v);
}

static void *piece_bytes(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	if (v->pio)
		return vcpu->arch.pio_data + v->done * v->size;
	return v->data + v->done;
}

/* The VMM can write the bytes of ports at any time: read them once. */
static u64 piece_load(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	void *bytes = piece_bytes(vcpu, v);

	switch (piece_size(v)) {
	case 1:
		return READ_ONCE(*(u8 *)bytes);
	case 2:
		return v->pio ? READ_ONCE(*(u16 *)bytes) : get_unaligned((u16 *)bytes);
	case 4:
		return v->pio ? READ_ONCE(*(u32 *)bytes) : get_unaligned((u32 *)bytes);
	default:
		return get_unaligned((u64 *)bytes);
	}
}

static __always_inline void store_value(void *bytes, unsigned int size, u64 value)
{
	switch (size) {
	case 1:
		*(u8 *)bytes = value;
		break;
	case 2:
		put_unaligned(value, (u16 *)bytes);
		break;
	case 4:
		put_unaligned(value, (u32 *)bytes);
		break;
	default:
		put_unaligned(value, (u64 *)bytes);
	}
}

static void piece_done(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v,
		       u64 value)
{
	if (!v->write)
		store_value(piece_bytes(vcpu, v), piece_size(v), value);
	v->done += v->pio ? 1 : piece_size(v);
	v->progress = KVM_IOREGIONFD_SENT_NONE;
}

/* Puts a completed access where the VMM would have put it. */
static void access_return(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	if (!v->pio && !v->write)
		memcpy(vcpu->run->mmio.data, v->data, v->size);
	v->pending = false;
}

/* Leaves an access of which nothing is done to the VMM. */
static void access_to_vmm(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct kvm_run *run = vcpu->run;

	if (v->pio) {
		run->exit_reason = KVM_EXIT_IO;
		run->io.direction = v->write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
		run->io.size = v->size;
		run->io.port = v->addr;
		run->io.count = v->count;
		run->io.data_offset = KVM_PIO_PAGE_OFFSET * PAGE_SIZE;
	} else {
		run->exit_reason = KVM_EXIT_MMIO;
		run->mmio.phys_addr = v->addr;
		run->mmio.len = v->size;
		run->mmio.is_write = v->write;
		if (v->write)
			memcpy(run->mmio.data, v->data, v->size);
	}
	v->pending = false;
}

/* What is known of the region, in case of a failure when it has gone. */
static void access_drop_region(struct ioregionfd_vcpu *v)
{
	if (!v->region)
		return;
	v->exit.region_paddr = v->region->first;
	v->exit.region_size = v->region->last - v->region->first + 1;
	v->exit.user_data = v->region->user_data;
	ioregionfd_region_put(v->region);
	v->region = NULL;
}

/* Tells the VMM of a failure, and what it must know to act on it. */
static void access_fail(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v,
			struct ioregionfd_failure why, u8 progress)
{
	struct kvm_ioregionfd_exit *exit = &v->exit;

	access_drop_region(v);
	v->progress = max(v->progress, progress);
	exit->guest_paddr = piece_addr(v);
	exit->data = v->write ? piece_load(vcpu, v) : 0;
	exit->size = piece_size(v);
	exit->is_write = v->write;
	exit->is_pio = v->pio;
	exit->reason = why.reason;
	exit->progress = v->progress;
	exit->error = why.error;
	exit->action = KVM_IOREGIONFD_RETRY;

	v->failed = true;
	vcpu->run->exit_reason = KVM_EXIT_IOREGIONFD_FAILURE;
	vcpu->run->ioregionfd = *exit;
}

/* What the VMM wants done with the access that failed. */
static int access_resolve(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	switch (READ_ONCE(vcpu->run->ioregionfd.action)) {
	case KVM_IOREGIONFD_RETRY:
		break;
	case KVM_IOREGIONFD_COMPLETE:
		piece_done(vcpu, v, READ_ONCE(vcpu->run->ioregionfd.data));
		break;
	default:
		return -EINVAL;
	}
	v->failed = false;
	return 0;
}

static struct ioregionfd_call *command_new(struct kvm_vcpu *vcpu,
					   struct ioregionfd_vcpu *v)
{
	struct ioregionfd_region *region = v->region;
	struct ioregionfd_call *call;

	call = region->channel->ops->call_new(region, vcpu);
	if (IS_ERR(call))
		return call;

	call->cmd = (struct ioregionfd_cmd) {
		.cmd = v->write ? IOREGIONFD_CMD_WRITE : IOREGIONFD_CMD_READ,
		.size_exponent = ilog2(piece_size(v)),
		.resp = !(v->write && region->posted),
		.user_data = region->user_data,
		.offset = piece_addr(v) - region->first,
		.data = v->write ? piece_load(vcpu, v) : 0,
	};

	vcpu->stat.generic.ioregionfd_submit++;
	trace_kvm_ioregionfd_submit(vcpu, region, &call->cmd, call->cmd.data, false);
	return call;
}

/* Returns the value that was written or read. */
static u64 command_complete(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_call *call = v->call;
	u64 value = v->write ? call->cmd.data : call->data;

	if (piece_size(v) < sizeof(value))
		value &= BIT_ULL(8 * piece_size(v)) - 1;

	vcpu->stat.generic.ioregionfd_complete++;
	vcpu->stat.generic.ioregionfd_in_place += !call->slept;
	trace_kvm_ioregionfd_complete(vcpu, v->region, &call->cmd, value, !call->slept);
	v->region->channel->ops->call_end(v->region, call);
	v->call = NULL;
	return value;
}

/*
 * Drops a command that is not to be completed. Returns what of it the device
 * task may have seen.
 */
static u8 command_drop(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v,
		       struct ioregionfd_failure why)
{
	struct ioregionfd_cmd cmd = v->call->cmd;
	u8 progress = v->region->channel->ops->call_end(v->region, v->call);

	v->call = NULL;
	vcpu->stat.generic.ioregionfd_fail++;
	trace_kvm_ioregionfd_fail(vcpu, v->region, &cmd, why.reason, progress, why.error);
	return progress;
}

static void command_fail(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_failure why =
		v->region->channel->ops->failure(v->region->channel);

	access_fail(vcpu, v, why, command_drop(vcpu, v, why));
}

/*
 * The region has gone. If the command can be taken back the address is looked
 * up anew (1), else it is for the VMM to know what has become of it (0).
 */
static int command_cancel(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_failure why = { KVM_IOREGIONFD_FAIL_DEASSIGNED, 0 };
	u8 progress = command_drop(vcpu, v, why);

	if (progress) {
		access_fail(vcpu, v, why, progress);
		return 0;
	}
	access_drop_region(v);
	return 1;
}

/*
 * The exit did not come to an end as expected: the guest got a fault instead,
 * for one, and executes the instruction anew.
 */
static void early_abandon(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_failure abandoned = {};

	command_drop(vcpu, v, abandoned);
	access_drop_region(v);
	v->early = false;
}

/* Which access, if any, made kvm_arch_vcpu_ioctl_run() return 0. */

static bool catch_mmio(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct kvm_mmio_fragment *frag;
	unsigned int size;

	if (!vcpu->mmio_needed)
		return false;

	frag = &vcpu->mmio_fragments[vcpu->mmio_cur_fragment];
	size = min(frag->len, MMIO_MAX);
	if (v->early && (v->addr != frag->gpa || v->size != size ||
			 v->write != vcpu->mmio_is_write))
		early_abandon(vcpu, v);
	v->pio = false;
	v->write = vcpu->mmio_is_write;
	v->addr = frag->gpa;
	v->size = size;
	v->count = 1;
	if (v->write)
		memcpy(v->data, frag->data, size);
	return size;
}

/*
 * The emulator forgets pio.count when it exits with an "outs", which needs no
 * completion; its port, size and direction it does not.
 */
static bool catch_pio(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	unsigned int size = vcpu->arch.pio.size;
	unsigned int count = vcpu->arch.pio.count;

	if (!count && !vcpu->arch.pio.in)
		count = READ_ONCE(vcpu->run->io.count);
	if (!count || !size || count > PAGE_SIZE / size)
		return false;

	v->pio = true;
	v->write = !vcpu->arch.pio.in;
	v->addr = vcpu->arch.pio.port;
	v->size = size;
	v->count = count;
	return true;
}

static bool catch_exit(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	switch (READ_ONCE(vcpu->run->exit_reason)) {
	case KVM_EXIT_MMIO:
		return catch_mmio(vcpu, v);
	case KVM_EXIT_IO:
		return catch_pio(vcpu, v);
	default:
		return false;
	}
}

static bool access_catch(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v, int r)
{
	bool caught = !r && catch_exit(vcpu, v);

	if (v->early && (!caught || v->pio))
		early_abandon(vcpu, v);
	if (!caught)
		return false;

	if (v->early) {
		v->early = false;
	} else {
		v->region = ioregionfd_region_find(vcpu->kvm, v->pio, v->addr,
						   v->size);
		if (!v->region)
			return false;
		v->done = 0;
		v->progress = KVM_IOREGIONFD_SENT_NONE;
	}
	v->failed = false;
	v->pending = true;
	return true;
}

/*
 * Finds the region again after a failure or a removal. Without one, an access
 * of which a part is done cannot become an exit as if nothing had been done.
 */
static int access_find_region(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_failure why = { KVM_IOREGIONFD_FAIL_DEASSIGNED, 0 };

	v->region = ioregionfd_region_find(vcpu->kvm, v->pio, piece_addr(v),
					   v->pio ? v->size : v->size - v->done);
	if (v->region)
		return 1;
	if (v->done)
		access_fail(vcpu, v, why, KVM_IOREGIONFD_SENT_NONE);
	else
		access_to_vmm(vcpu, v);
	return 0;
}

/*
 * Carries out the next command of the access, from where it stands. Returns 1
 * if it got further, 0 to exit to the VMM, or a negative errno.
 */
static int access_step(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_failure no_slot = { KVM_IOREGIONFD_FAIL_NO_SLOT, 0 };
	struct ioregionfd_call *call;
	int r;

	if (v->failed)
		return access_resolve(vcpu, v) ?: 1;
	if (!v->region)
		return access_find_region(vcpu, v);
	if (!v->call) {
		call = command_new(vcpu, v);
		if (call == ERR_PTR(-ENXIO)) {
			access_fail(vcpu, v, no_slot, KVM_IOREGIONFD_SENT_NONE);
			return 0;
		}
		if (IS_ERR(call))
			return PTR_ERR(call);
		v->call = call;
	}

	kvm_sigset_activate(vcpu);
	r = v->region->channel->ops->call_run(v->region, v->call, vcpu,
					      vcpu->wants_to_run);
	kvm_sigset_deactivate(vcpu);

	switch (r) {
	case 0:
		piece_done(vcpu, v, command_complete(vcpu, v));
		return 1;
	case -EIO:
		command_fail(vcpu, v);
		return 0;
	case -ECANCELED:
		return command_cancel(vcpu, v);
	}

	/* -EINTR: the next KVM_RUN goes on from here. */
	if (vcpu->wants_to_run)
		kvm_handle_signal_exit(vcpu);
	return r;
}

static int access_serve(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	int r;

	vcpu->run->flags &= ~KVM_RUN_IOREGIONFD_PENDING;
	while (!access_complete(v)) {
		r = access_step(vcpu, v);
		if (r < 0)
			vcpu->run->flags |= KVM_RUN_IOREGIONFD_PENDING;
		if (r <= 0)
			return r;
	}
	access_drop_region(v);
	access_return(vcpu, v);
	return 1;
}

/*
 * Where KVM returns without a reason of its own, that of an earlier exit must
 * not look like a new access. If it fails, the VMM still finds the earlier one:
 * a KVM_RUN with immediate_exit leaves that alone.
 */
static int run_to_exit(struct kvm_vcpu *vcpu)
{
	u32 earlier = READ_ONCE(vcpu->run->exit_reason);
	int r;

	WRITE_ONCE(vcpu->run->exit_reason, KVM_EXIT_UNKNOWN);
	r = kvm_arch_vcpu_ioctl_run(vcpu);
	if (r < 0 && READ_ONCE(vcpu->run->exit_reason) == KVM_EXIT_UNKNOWN)
		WRITE_ONCE(vcpu->run->exit_reason, earlier);
	return r;
}

static struct ioregionfd_vcpu *vcpu_state(struct kvm_vcpu *vcpu)
{
	lockdep_assert_held(&vcpu->mutex);

	if (!vcpu->ioregionfd)
		vcpu->ioregionfd = kzalloc(sizeof(*vcpu->ioregionfd),
					   GFP_KERNEL_ACCOUNT);
	return vcpu->ioregionfd;
}

/**
 * kvm_ioregionfd_run() - KVM_RUN for a VM that has, or had, regions
 * @vcpu: the vCPU, whose mutex the caller holds
 *
 * Context: may sleep, for as long as a device task takes to answer, but
 * interruptibly.
 * Return: as kvm_arch_vcpu_ioctl_run(). With 0 and KVM_EXIT_IOREGIONFD_FAILURE,
 * or -EINTR, the access stays pending and the next call goes on with it.
 */
int kvm_ioregionfd_run(struct kvm_vcpu *vcpu)
{
	struct ioregionfd_vcpu *v = vcpu_state(vcpu);
	int r;

	if (!v)
		return -ENOMEM;

	for (;;) {
		if (!v->pending) {
			r = run_to_exit(vcpu);
			if (!access_catch(vcpu, v, r))
				return r;
		}
		r = access_serve(vcpu, v);
		if (r <= 0)
			return r;
	}
}

/**
 * kvm_ioregionfd_run_on() - KVM_RUN for a VM that got its first region during it
 * @vcpu: the vCPU, for which kvm_arch_vcpu_ioctl_run() has just returned 0
 *
 * Context, return: as kvm_ioregionfd_run().
 */
int kvm_ioregionfd_run_on(struct kvm_vcpu *vcpu)
{
	struct ioregionfd_vcpu *v = vcpu_state(vcpu);
	int r;

	/* The exit to the VMM is as good as it was before there was a region. */
	if (!v || !access_catch(vcpu, v, 0))
		return 0;
	r = access_serve(vcpu, v);
	return r <= 0 ? r : kvm_ioregionfd_run(vcpu);
}

/*
 * The region of an access during the exit, if it is of a channel that can be used
 * there. @v->recent keeps it.
 */
static struct ioregionfd_region *region_in_place(struct kvm_vcpu *vcpu,
						 struct ioregionfd_vcpu *v,
						 u64 addr, unsigned int len)
{
	struct ioregionfd_region *region = v->recent;

	/* Regions do not overlap, so none but this one can have the address. */
	if (region && !READ_ONCE(region->gone) && addr >= region->first &&
	    addr + (len - 1) <= region->last)
		return region;

	if (region)
		ioregionfd_region_put(region);
	v->recent = NULL;
	region = ioregionfd_region_find(vcpu->kvm, false, addr, len);
	if (!region)
		return NULL;
	if (!region->channel->ops->call_try) {
		ioregionfd_region_put(region);
		return NULL;
	}
	v->recent = region;
	return region;
}

/**
 * kvm_ioregionfd_in_place() - carry an access to memory out during the exit
 * @vcpu: the vCPU, which is inside of kvm_arch_vcpu_ioctl_run()
 * @addr: first address
 * @len: bytes
 * @val: the bytes to write, or where to put those read
 * @write: whether it is a write
 *
 * Context: within kvm->srcu, which it leaves while it sleeps.
 * Return: 0 if it is done, or -EOPNOTSUPP: the emulator has to leave with it, and
 * kvm_ioregionfd_run() goes on.
 */
int kvm_ioregionfd_in_place(struct kvm_vcpu *vcpu, gpa_t addr, int len,
			    void *val, bool write)
{
	struct ioregionfd_vcpu *v = vcpu->ioregionfd;
	struct ioregionfd_call *call;
	u64 value;

	/* An earlier part of the same access is to leave the emulator. */
	if (!v || vcpu->mmio_nr_fragments)
		return -EOPNOTSUPP;
	if (v->early)
		early_abandon(vcpu, v);

	/*
	 * Only what is one command, and not the first part of an access that
	 * crosses a page: the other part may yet make it begin anew.
	 */
	if (!is_power_of_2(len) || !((addr + len) & ~PAGE_MASK))
		return -EOPNOTSUPP;

	v->region = region_in_place(vcpu, v, addr, len);
	if (!v->region)
		return -EOPNOTSUPP;
	v->pio = false;
	v->write = write;
	v->addr = addr;
	v->size = len;
	v->count = 1;
	v->done = 0;
	v->progress = KVM_IOREGIONFD_SENT_NONE;
	if (write)
		memcpy(v->data, val, len);

	call = command_new(vcpu, v);
	if (IS_ERR(call)) {
		v->region = NULL;
		return -EOPNOTSUPP;
	}
	v->call = call;
	if (v->region->channel->ops->call_try(v->region, call, vcpu)) {
		refcount_inc(&v->region->refs);
		v->early = true;
		return -EOPNOTSUPP;
	}

	value = command_complete(vcpu, v);
	if (!write)
		store_value(val, len, value);
	v->region = NULL;
	return 0;
}

/**
 * kvm_ioregionfd_vcpu_destroy() - drop what a vCPU that goes has on its way
 * @vcpu: the vCPU, which has no users any more
 *
 * Context: may sleep.
 */
void kvm_ioregionfd_vcpu_destroy(struct kvm_vcpu *vcpu)
{
	struct ioregionfd_vcpu *v = vcpu->ioregionfd;

	if (!v)
		return;
	if (v->call)
		v->region->channel->ops->call_end(v->region, v->call);
	access_drop_region(v);
	if (v->recent)
		ioregionfd_region_put(v->recent);
	kfree(v);
}
