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
 * A native channel gets the command a little earlier, while the emulator
 * asks the devices (kvm_ioregionfd_in_place()), and the access does not leave the
 * emulator. Unless a signal or an interrupt comes, or something is wrong with the
 * channel: then it leaves as above, with the command under way.
 *
 * The emulator remembers one access that leaves. What an instruction writes after it
 * ("push" does so up to eight times in "pusha") is queued behind it here.
 *
 * What describes the access, arch.h finds out. That is in fields that the VMM cannot write,
 * as far as the architecture has such; the others are read once and bounded. If the VMM
 * plays with these during KVM_RUN it tells its own device task lies, no more.
 */
#include <linux/kvm_host.h>
#include <linux/slab.h>
#include <linux/unaligned.h>

#include "arch.h"
#include "ioregionfd.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static_assert(sizeof(struct kvm_ioregionfd_exit) == 56);
static_assert(offsetof(struct kvm_ioregionfd_exit, size) == 40);
static_assert(offsetof(struct kvm_ioregionfd_exit, reason) == 46);
static_assert(offsetof(struct kvm_ioregionfd_exit, action) == 52);

/* As many accesses as an instruction makes: the eight writes of "pusha", and one more. */
#define ACCESSES_MAX 9

/* Both parts of an access that crosses a page, and a write that is queued behind it. */
#define TO_VMM_MAX 3

/**
 * struct ioregionfd_vcpu - the accesses of a vCPU that are on their way
 * @nr: how many there are. The vCPU may not go on before they are complete, unless
 *	it is still in the exit that makes them
 * @access: those, in their order. The first one may be under way
 * @started: the command of the first one was started in the middle of the exit; it
 *	stays only if the exit comes here
 * @failed: the VMM has been told that the first one failed, and has yet to say what next
 * @left_exit: vcpu->stat.exits + 1 of the exit in which an access was left to the emulator,
 *	which is to leave with it; else 0
 * @left_at: where in @access that one belongs
 * @left_parts: of how many parts that one is, arch_leaving_parts()
 * @more: an exit of an access has been served, and the next one of it is to come
 * @to_vmm: accesses of this exit that are for the VMM: a device task has said so, or they
 *	did not fit into the ring of a coalesced zone
 * @nr_to_vmm: how many of these there are
 * @to_vmm_exit: vcpu->stat.exits + 1 of the exit that they belong to
 * @progress: KVM_IOREGIONFD_SENT_*, the most that any attempt at the next
 *	command came to
 * @region: whose device task carries it out, with a reference, or NULL: to be looked up
 * @recent: the region of the last access that was carried out in the exit, with a
 *	reference, or NULL: the next one is likely to be for the same
 * @req: the command on its way to @region, or NULL
 * @exit: identifies the last @region, for failures after it has gone
 *
 * Owned by whoever holds vcpu->mutex. How far the first access has come:
 *
 *   state     nr   started  req    failed  who moves it on, and where to
 *   none      0    no       NULL   no      in_place_first(): in place
 *                                          access_intercept(): pending
 *   in place  0    no       set    no      in_place_first(): none, with the response;
 *                                          or started, if that does not come in time
 *   started   > 0  yes      set    no      access_intercept(): pending, if the exit is
 *                                          that of the access; or none, exit_abandon()
 *   pending   > 0  no       any    no      access_step(): failed; or none, with the
 *                                          response or by an exit to the VMM
 *   failed    > 0  no       NULL   yes     access_resolve(): pending, as the VMM says
 *
 * The first three are in the middle of an exit. In a pending one KVM_RUN may return, with
 * EINTR, and the next one goes on.
 */
struct ioregionfd_vcpu {
	unsigned int nr;
	struct ioregionfd_access access[ACCESSES_MAX];
	bool started;
	bool failed;
	u64 left_exit;
	unsigned int left_at;
	unsigned int left_parts;
	bool more;
	struct {
		u64 addr;
		bool write;
	} to_vmm[TO_VMM_MAX];
	unsigned int nr_to_vmm;
	u64 to_vmm_exit;
	u8 progress;
	struct ioregionfd_region *region;
	struct ioregionfd_region *recent;
	struct ioregionfd_req *req;
	struct kvm_ioregionfd_exit exit;
};

static bool access_complete(const struct ioregionfd_access *a)
{
	return a->done == (a->pio ? a->count : a->size);
}

/* The next command: where, how wide, and where its bytes are kept. */

static u64 fragment_addr(const struct ioregionfd_access *a)
{
	return a->pio ? a->addr : a->addr + a->done;
}

/*
 * The protocol has only powers of two. What is left of an access after it was
 * split at a page boundary may have any size: go in naturally aligned steps.
 */
static unsigned int fragment_size_odd(const struct ioregionfd_access *a)
{
	unsigned int remaining = a->size - a->done;

	return 1U << min(__ffs64((a->addr + a->done) | MMIO_MAX), __fls(remaining));
}

static __always_inline unsigned int fragment_size(const struct ioregionfd_access *a)
{
	return a->pio || is_power_of_2(a->size) ? a->size : fragment_size_odd(a);
}

static void *fragment_bytes(struct kvm_vcpu *vcpu, struct ioregionfd_access *a)
{
	if (a->pio)
		return arch_ports_data(vcpu) + a->done * a->size;
	return a->data + a->done;
}

/* The VMM can write the bytes of ports at any time: read them once. */
static u64 fragment_load(struct kvm_vcpu *vcpu, struct ioregionfd_access *a)
{
	void *bytes = fragment_bytes(vcpu, a);

	switch (fragment_size(a)) {
	case 1:
		return READ_ONCE(*(u8 *)bytes);
	case 2:
		return a->pio ? READ_ONCE(*(u16 *)bytes) : get_unaligned((u16 *)bytes);
	case 4:
		return a->pio ? READ_ONCE(*(u32 *)bytes) : get_unaligned((u32 *)bytes);
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

/* For the sizes of nearly all writes this is quicker than memcpy(), which has to find out. */
static __always_inline void copy_value(void *to, const void *from, unsigned int size)
{
	switch (size) {
	case 1:
		*(u8 *)to = *(const u8 *)from;
		break;
	case 2:
		put_unaligned(get_unaligned((const u16 *)from), (u16 *)to);
		break;
	case 4:
		put_unaligned(get_unaligned((const u32 *)from), (u32 *)to);
		break;
	case 8:
		put_unaligned(get_unaligned((const u64 *)from), (u64 *)to);
		break;
	default:
		memcpy(to, from, size);
	}
}

static void fragment_done(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v,
			  u64 value)
{
	struct ioregionfd_access *a = &v->access[0];

	if (!a->write)
		store_value(fragment_bytes(vcpu, a), fragment_size(a), value);
	a->done += a->pio ? 1 : fragment_size(a);
	v->progress = KVM_IOREGIONFD_SENT_NONE;
}

static void access_insert(struct ioregionfd_vcpu *v, unsigned int at,
			  const struct ioregionfd_access *a)
{
	memmove(&v->access[at + 1], &v->access[at], (v->nr - at) * sizeof(*a));
	v->access[at] = *a;
	v->nr++;
}

static void access_remove_first(struct ioregionfd_vcpu *v)
{
	v->more = v->access[0].more;
	if (--v->nr)
		memmove(&v->access[0], &v->access[1], v->nr * sizeof(v->access[0]));
	v->progress = KVM_IOREGIONFD_SENT_NONE;
}

/* Puts a completed access where the VMM would have put it. */
static void access_return(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_access *a = &v->access[0];

	if (!a->pio)
		arch_complete_access(vcpu, a);
	access_remove_first(v);
}

/* Leaves an access of which nothing is done to the VMM. */
static void access_to_vmm(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_access *a = &v->access[0];

	if (a->pio)
		arch_exit_ports(vcpu, a);
	else
		ioregionfd_exit_mmio(vcpu, a);
	access_remove_first(v);
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

static void access_tell_failure(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	vcpu->run->exit_reason = KVM_EXIT_IOREGIONFD_FAILURE;
	vcpu->run->ioregionfd = v->exit;
}

/* Tells the VMM of a failure, and what it must know to act on it. */
static void access_fail(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v,
			struct ioregionfd_failure why, u8 progress)
{
	struct ioregionfd_access *a = &v->access[0];
	struct kvm_ioregionfd_exit *exit = &v->exit;

	access_drop_region(v);
	v->progress = max(v->progress, progress);
	exit->guest_paddr = fragment_addr(a);
	exit->data = a->write ? fragment_load(vcpu, a) : 0;
	exit->size = fragment_size(a);
	exit->is_write = a->write;
	exit->is_pio = a->pio;
	exit->reason = why.reason;
	exit->progress = v->progress;
	exit->error = why.error;
	exit->action = KVM_IOREGIONFD_UNDECIDED;

	v->failed = true;
	access_tell_failure(vcpu, v);
}

/*
 * What the VMM wants done with the access that failed. Returns 1 to go on with it,
 * 0 to ask again, or a negative errno.
 */
static int access_resolve(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	switch (READ_ONCE(vcpu->run->ioregionfd.action)) {
	case KVM_IOREGIONFD_UNDECIDED:
		access_tell_failure(vcpu, v);
		return 0;
	case KVM_IOREGIONFD_RETRY:
		break;
	case KVM_IOREGIONFD_COMPLETE:
		fragment_done(vcpu, v, READ_ONCE(vcpu->run->ioregionfd.data));
		break;
	default:
		return -EINVAL;
	}
	v->failed = false;
	return 1;
}

static struct ioregionfd_req *command_new(struct kvm_vcpu *vcpu,
					  struct ioregionfd_vcpu *v)
{
	struct ioregionfd_access *a = &v->access[0];
	struct ioregionfd_region *region = v->region;
	struct ioregionfd_req *req;

	req = region->channel->ops->req_new(region, vcpu);
	if (IS_ERR(req))
		return req;

	req->cmd = (struct ioregionfd_cmd) {
		.cmd = a->write ? IOREGIONFD_CMD_WRITE : IOREGIONFD_CMD_READ,
		.flags = ilog2(fragment_size(a)),
		.attrs = arch_attrs(vcpu),
		.vcpu_id = vcpu->vcpu_id,
		.user_data = region->user_data,
		.offset = fragment_addr(a) - region->first,
		.data = a->write ? fragment_load(vcpu, a) : 0,
	};
	if (!a->write || !region->posted)
		req->cmd.flags |= IOREGIONFD_CMD_F_RESP;

	vcpu->stat.generic.ioregionfd_submit++;
	trace_kvm_ioregionfd_submit(vcpu, region, &req->cmd, req->cmd.data, 0, false);
	return req;
}

/*
 * Ends a command that has its response. Returns false if the VMM is to carry the access
 * out, else true, and in @value what was written or read.
 */
static bool command_complete(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v, u64 *value)
{
	struct ioregionfd_access *a = &v->access[0];
	unsigned int size = fragment_size(a);
	struct ioregionfd_req *req = v->req;
	u32 status = req->status;
	u64 data = req->data;

	/* Of a register that is not there the guest reads all ones, as of an empty bus. */
	if (a->write)
		data = req->cmd.data;
	else if (unlikely(status != IOREGIONFD_STATUS_DONE))
		data = ~0ULL;
	if (size < sizeof(data))
		data &= BIT_ULL(8 * size) - 1;
	*value = data;

	vcpu->stat.generic.ioregionfd_complete++;
	vcpu->stat.generic.ioregionfd_in_place += !req->slept;
	trace_kvm_ioregionfd_complete(vcpu, v->region, &req->cmd, data, status, !req->slept);
	if (v->region->channel->ops->req_finish)
		v->region->channel->ops->req_finish(v->region, req);
	v->req = NULL;
	return status != IOREGIONFD_STATUS_TO_VMM;
}

/*
 * Drops a command that is not to be completed. Returns what of it the device
 * task may have seen.
 */
static u8 command_drop(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v,
		       struct ioregionfd_failure why)
{
	struct ioregionfd_cmd cmd = v->req->cmd;
	u8 progress = v->region->channel->ops->req_abandon(v->region, v->req);

	v->req = NULL;
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
 * The response is there. Returns 1; or 0: it says that the VMM is to carry the access out.
 * Of an access of which a part is done the VMM is told as of a failure: it would take an
 * exit for all of it.
 */
static int access_advance(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_failure why = { KVM_IOREGIONFD_FAIL_TO_VMM, 0 };
	u64 value;

	if (likely(command_complete(vcpu, v, &value))) {
		fragment_done(vcpu, v, value);
		return 1;
	}
	if (v->access[0].done) {
		access_fail(vcpu, v, why, KVM_IOREGIONFD_SENT_NONE);
	} else {
		access_drop_region(v);
		access_to_vmm(vcpu, v);
	}
	return 0;
}

/*
 * KVM_RUN_IOREGIONFD_CANCEL. Returns 1 if the response is there and the access goes on,
 * else 0: it is for the VMM.
 */
static int access_cancel(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_failure why = { KVM_IOREGIONFD_FAIL_CANCELED, 0 };
	u8 progress = KVM_IOREGIONFD_SENT_NONE;

	if (v->req && v->region->channel->ops->req_done(v->region, v->req))
		return access_advance(vcpu, v);
	if (v->req)
		progress = command_drop(vcpu, v, why);
	if (progress || v->progress || v->access[0].done) {
		access_fail(vcpu, v, why, progress);
	} else {
		access_drop_region(v);
		access_to_vmm(vcpu, v);
	}
	return 0;
}

/*
 * The exit did not come to an end as expected: the guest got a fault instead,
 * for one, and executes the instruction anew.
 */
static void exit_abandon(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_failure abandoned = {};

	if (v->started) {
		command_drop(vcpu, v, abandoned);
		access_drop_region(v);
		v->started = false;
	}
	v->nr = 0;
}

/* Marks an access of this exit as the VMM's. */
static void leave_to_vmm(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v, u64 addr, bool write)
{
	if (v->to_vmm_exit != vcpu->stat.exits + 1)
		v->nr_to_vmm = 0;
	if (v->nr_to_vmm == TO_VMM_MAX)
		return;
	v->to_vmm_exit = vcpu->stat.exits + 1;
	v->to_vmm[v->nr_to_vmm].addr = addr;
	v->to_vmm[v->nr_to_vmm].write = write;
	v->nr_to_vmm++;
}

/* Whether this access is so marked. Takes its mark away, and leaves those of others. */
static bool is_left_to_vmm(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v, u64 addr, bool write)
{
	unsigned int i;

	if (likely(!v->nr_to_vmm))
		return false;
	if (v->to_vmm_exit != vcpu->stat.exits + 1)
		v->nr_to_vmm = 0;
	for (i = 0; i < v->nr_to_vmm; i++) {
		if (v->to_vmm[i].addr == addr && v->to_vmm[i].write == write) {
			v->to_vmm[i] = v->to_vmm[--v->nr_to_vmm];
			return true;
		}
	}
	return false;
}

static bool same_access(const struct ioregionfd_access *a, const struct ioregionfd_access *b)
{
	return a->pio == b->pio && a->write == b->write && a->addr == b->addr &&
	       a->size == b->size;
}

/* Which access, if any, made kvm_arch_vcpu_ioctl_run() return @r. */
static bool access_intercept(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v, int r)
{
	bool left = v->left_exit == vcpu->stat.exits + 1;
	struct ioregionfd_access a = {};

	if (left)
		arch_set_leaving_parts(vcpu, v->left_parts);

	/* What waits belongs to this exit, or to one that came to nothing. */
	if (r || !arch_pending_access(vcpu, left ? &v->access[v->left_at] : NULL, &a)) {
		exit_abandon(vcpu, v);
		return false;
	}
	if (v->nr && !left)
		exit_abandon(vcpu, v);

	if (v->started && !v->left_at) {
		v->started = !same_access(&a, &v->access[0]);
		if (!v->started) {
			v->access[0].more = a.more;
			return true;
		}
		exit_abandon(vcpu, v);
	}
	v->started = false;

	a.to_vmm = is_left_to_vmm(vcpu, v, a.addr, a.write);
	if (v->nr) {
		access_insert(v, v->left_at, &a);
		return true;
	}
	if (!a.to_vmm)
		v->region = ioregionfd_region_find(vcpu->kvm, a.pio, a.addr, a.size);
	if (!v->region) {
		/* Its other part may be marked, too. */
		v->more = a.to_vmm && a.more;
		return false;
	}
	v->progress = KVM_IOREGIONFD_SENT_NONE;
	access_insert(v, 0, &a);
	return true;
}

/*
 * Finds the region of the access, for the first time or after a failure or a removal.
 * Without one, an access of which a part is done cannot become an exit as if nothing
 * had been done.
 */
static int access_find_region(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_failure why = { KVM_IOREGIONFD_FAIL_DEASSIGNED, 0 };
	struct ioregionfd_access *a = &v->access[0];

	if (!a->to_vmm)
		v->region = ioregionfd_region_find(vcpu->kvm, a->pio, fragment_addr(a),
						   a->pio ? a->size : a->size - a->done);
	if (v->region)
		return 1;
	if (a->done)
		access_fail(vcpu, v, why, KVM_IOREGIONFD_SENT_NONE);
	else
		access_to_vmm(vcpu, v);
	return 0;
}

/*
 * Carries out the next command of the access, from where it stands. @mode is
 * kvm_run.immediate_exit. Returns 1 if it got further, 0 to exit to the VMM, or a
 * negative errno.
 */
static int access_step(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v, u8 mode)
{
	struct ioregionfd_failure no_mailbox = { KVM_IOREGIONFD_FAIL_NO_MAILBOX, 0 };
	bool wait = !mode || mode == KVM_RUN_IOREGIONFD_WAIT;
	struct ioregionfd_req *req;
	int r;

	if (v->failed)
		return access_resolve(vcpu, v);
	if (mode == KVM_RUN_IOREGIONFD_CANCEL)
		return access_cancel(vcpu, v);
	if (!v->region)
		return access_find_region(vcpu, v);
	if (!v->req) {
		req = command_new(vcpu, v);
		if (req == ERR_PTR(-ENXIO)) {
			access_fail(vcpu, v, no_mailbox, KVM_IOREGIONFD_SENT_NONE);
			return 0;
		}
		if (IS_ERR(req))
			return PTR_ERR(req);
		v->req = req;
	}

	kvm_sigset_activate(vcpu);
	r = v->region->channel->ops->req_run(v->region, v->req, vcpu, wait);
	kvm_sigset_deactivate(vcpu);

	switch (r) {
	case 0:
		return access_advance(vcpu, v);
	case -EIO:
		command_fail(vcpu, v);
		return 0;
	case -ECANCELED:
		return command_cancel(vcpu, v);
	}

	/* The next KVM_RUN goes on from here. */
	if (r == -EINTR && wait)
		kvm_handle_signal_exit(vcpu);
	return r;
}

/*
 * Serves the accesses that there are, or up to the next one that the emulator has yet
 * to make an exit for. Returns as access_step().
 */
static int access_serve(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	u8 mode = vcpu->wants_to_run ? 0 : READ_ONCE(vcpu->run->immediate_exit__unsafe);
	int r = 1;

	/* It was 1 or more when kvm_vcpu_ioctl() looked, and the VMM may have changed it */
	if (!vcpu->wants_to_run && !mode)
		mode = 1;

	while (v->nr && !v->more && r > 0) {
		if (access_complete(&v->access[0])) {
			access_drop_region(v);
			access_return(vcpu, v);
		} else {
			r = access_step(vcpu, v, mode);
		}
	}

	if (v->nr)
		vcpu->run->flags |= KVM_RUN_IOREGIONFD_PENDING;
	else
		vcpu->run->flags &= ~KVM_RUN_IOREGIONFD_PENDING;
	return r;
}

/*
 * Where KVM returns without a reason of its own, that of an earlier exit must not look like a
 * new access. What remembers none itself would not complete one without the reason for it.
 */
static int vcpu_run_to_exit(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	/* What waits goes on waiting, behind the next exit of the access that left. */
	if (v->more) {
		v->left_at = 0;
	} else {
		v->left_exit = 0;
		v->nr_to_vmm = 0;
	}
	v->more = false;
	if (ARCH_REMEMBERS_ACCESS)
		WRITE_ONCE(vcpu->run->exit_reason, KVM_EXIT_UNKNOWN);
	return kvm_arch_vcpu_ioctl_run(vcpu);
}

/*
 * If KVM_RUN fails without a reason of its own, the VMM finds the one that it knows, and not
 * one that was caught here: with immediate_exit it may not look at all. There are failures
 * with a reason: KVM_EXIT_INTR, KVM_EXIT_MEMORY_FAULT.
 */
static int run_result(struct kvm_vcpu *vcpu, u32 earlier, int r)
{
	if (r >= 0)
		return r;
	switch (READ_ONCE(vcpu->run->exit_reason)) {
	case KVM_EXIT_UNKNOWN:
	case KVM_EXIT_MMIO:
	case KVM_EXIT_IO:
		WRITE_ONCE(vcpu->run->exit_reason, earlier);
	}
	return r;
}

/*
 * The VMM has to see what the run page says, before the access goes on: as KVM itself does
 * it, with a signal that is none.
 */
static int run_interrupt(struct kvm_vcpu *vcpu)
{
	vcpu->run->exit_reason = KVM_EXIT_INTR;
	vcpu->run->flags |= KVM_RUN_IOREGIONFD_PENDING;
	return -EINTR;
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
 * kvm_ioregionfd_vcpu_run() - KVM_RUN for a VM that has, or had, regions
 * @vcpu: the vCPU, whose mutex the caller holds
 *
 * Context: may sleep, for as long as a device task takes to respond, but
 * interruptibly.
 * Return: as kvm_arch_vcpu_ioctl_run(). With 0 and KVM_EXIT_IOREGIONFD_FAILURE,
 * or -EINTR, the access stays pending and the next call goes on with it.
 */
int kvm_ioregionfd_vcpu_run(struct kvm_vcpu *vcpu)
{
	struct ioregionfd_vcpu *v = vcpu_state(vcpu);
	u32 earlier = READ_ONCE(vcpu->run->exit_reason);
	u64 levels;
	int r;

	if (!v)
		return -ENOMEM;
	/* As KVM_SET_REGS, see kvm_ioregionfd_vcpu_busy() */
	if (v->nr && READ_ONCE(vcpu->run->kvm_dirty_regs))
		return -EBUSY;

	for (;;) {
		if (v->nr) {
			r = access_serve(vcpu, v);
			if (r <= 0)
				return run_result(vcpu, earlier, r);
		}
		levels = arch_irq_levels(vcpu);
		r = vcpu_run_to_exit(vcpu, v);
		if (!access_intercept(vcpu, v, r))
			return run_result(vcpu, earlier, r);
		if (arch_irq_levels_changed(vcpu, levels))
			return run_interrupt(vcpu);
	}
}

/**
 * kvm_ioregionfd_vcpu_run_resume() - KVM_RUN for a VM that got its first region during it
 * @vcpu: the vCPU
 * @r: what kvm_arch_vcpu_ioctl_run() has just returned for it
 *
 * Context, return: as kvm_ioregionfd_vcpu_run().
 */
int kvm_ioregionfd_vcpu_run_resume(struct kvm_vcpu *vcpu, int r)
{
	struct ioregionfd_vcpu *v = vcpu_state(vcpu);

	/* The exit to the VMM is as good as it was before there was a region. */
	if (!v || !access_intercept(vcpu, v, r))
		return r;
	if (arch_irq_levels_changed(vcpu, IRQ_LEVELS_UNKNOWN))
		return run_interrupt(vcpu);
	r = access_serve(vcpu, v);
	return r <= 0 ? run_result(vcpu, KVM_EXIT_UNKNOWN, r) : kvm_ioregionfd_vcpu_run(vcpu);
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
	if (region && !READ_ONCE(region->removed) && addr >= region->first &&
	    addr + (len - 1) <= region->last)
		return region;

	if (region)
		ioregionfd_region_put(region);
	v->recent = NULL;
	region = ioregionfd_region_find(vcpu->kvm, false, addr, len);
	if (!region)
		return NULL;
	if (!region->channel->ops->req_try) {
		ioregionfd_region_put(region);
		return NULL;
	}
	v->recent = region;
	return region;
}

/*
 * An access is to leave the emulator, and this is of the same exit. Another part of that
 * access (it has fragments already) leaves with it. If it is what the instruction does
 * next, and a write, it can wait here until it is its turn: the emulator goes on. (If it
 * comes to a fault then, the instruction begins anew, and what waits is abandoned.) That is
 * so for one that is the VMM's, too. A read cannot.
 */
static int in_place_behind(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v, bool to_vmm)
{
	struct ioregionfd_access *a = &v->access[v->nr];
	struct ioregionfd_region *region;

	/* One place is for the access that leaves. */
	if (!a->write || arch_leaving_parts(vcpu) || v->nr == ACCESSES_MAX - 1)
		return -EOPNOTSUPP;
	/* If not even the first one is for a device task, this is as without us. */
	if (!v->nr) {
		region = ioregionfd_region_find(vcpu->kvm, false, a->addr, a->size);
		if (!region)
			return -EOPNOTSUPP;
		ioregionfd_region_put(region);
	}
	a->to_vmm = to_vmm;
	v->nr++;
	return 0;
}

/* Carries @v->access[0] out, if that can be done from here. */
static int in_place_first(struct kvm_vcpu *vcpu, struct ioregionfd_vcpu *v)
{
	struct ioregionfd_access *a = &v->access[0];
	struct ioregionfd_req *req;

	/* Nobody waits for a device task with immediate_exit. */
	if (!vcpu->wants_to_run)
		return -EOPNOTSUPP;
	/*
	 * Only what is one command, and not the first part of an access that crosses a
	 * page: the other part may yet make it begin anew.
	 */
	if (!is_power_of_2(a->size) || arch_may_be_part(a))
		return -EOPNOTSUPP;

	v->region = region_in_place(vcpu, v, a->addr, a->size);
	if (!v->region)
		return -EOPNOTSUPP;
	v->progress = KVM_IOREGIONFD_SENT_NONE;
	req = command_new(vcpu, v);
	if (IS_ERR(req)) {
		v->region = NULL;
		return -EOPNOTSUPP;
	}
	v->req = req;
	if (v->region->channel->ops->req_try(v->region, req, vcpu)) {
		refcount_inc(&v->region->refs);
		v->started = true;
		v->nr = 1;
		return -EOPNOTSUPP;
	}
	return 0;
}

/* The VM has got its first region during this KVM_RUN, and what leaves must be noted. */
static int in_place_late(struct kvm_vcpu *vcpu, gpa_t addr, int len, void *val, bool write)
{
	return vcpu_state(vcpu) ? kvm_ioregionfd_in_place(vcpu, addr, len, val, write) :
				  -EOPNOTSUPP;
}

/**
 * kvm_ioregionfd_in_place() - carry an access to memory out during the exit
 * @vcpu: the vCPU, which is inside of kvm_arch_vcpu_ioctl_run()
 * @addr: first address
 * @len: bytes, at most 8
 * @val: the bytes to write, or where to put those read
 * @write: whether it is a write
 *
 * Context: within kvm->srcu, which it leaves while it sleeps.
 * Return: 0 if it is done, or will be before the guest goes on; or -EOPNOTSUPP: the
 * emulator has to leave with it, and kvm_ioregionfd_vcpu_run() goes on.
 */
int kvm_ioregionfd_in_place(struct kvm_vcpu *vcpu, gpa_t addr, int len,
			    void *val, bool write)
{
	struct ioregionfd_vcpu *v = vcpu->ioregionfd;
	struct ioregionfd_access *a;
	bool first, to_vmm;
	u64 value;
	int r;

	if (!v)
		return ARCH_REMEMBERS_ACCESS ? -EOPNOTSUPP :
					       in_place_late(vcpu, addr, len, val, write);
	to_vmm = is_left_to_vmm(vcpu, v, addr, write);
	first = v->left_exit != vcpu->stat.exits + 1;
	if (likely(first)) {
		if (unlikely(v->nr))
			exit_abandon(vcpu, v);
		a = &v->access[0];
	} else {
		a = &v->access[v->nr];
	}
	a->pio = false;
	a->write = write;
	a->to_vmm = false;
	a->more = false;
	a->addr = addr;
	a->size = len;
	a->done = 0;
	if (write)
		copy_value(a->data, val, len);

	if (!first)
		r = in_place_behind(vcpu, v, to_vmm);
	else
		r = to_vmm ? -EOPNOTSUPP : in_place_first(vcpu, v);
	if (!r && first) {
		to_vmm = !command_complete(vcpu, v, &value);
		v->region = NULL;
		if (to_vmm)
			r = -EOPNOTSUPP;
		else if (!write)
			store_value(val, len, value);
	}
	if (likely(!r))
		return 0;

	if (to_vmm)
		leave_to_vmm(vcpu, v, addr, write);
	/* The first part of an access says where all of it belongs. */
	if (first)
		v->left_at = 0;
	else if (!arch_leaving_parts(vcpu))
		v->left_at = v->nr;
	v->left_exit = vcpu->stat.exits + 1;
	v->left_parts = arch_leaving_parts(vcpu) + 1;
	return r;
}

/**
 * kvm_ioregionfd_zone_full() - a coalesced zone has no room for a write
 * @vcpu: the vCPU, in the middle of a VM exit
 * @addr: first address or port
 *
 * What the zone's ring has no room for is the VMM's, which empties the ring first; a
 * device task would be given it before what is in the ring.
 *
 * Context: within kvm->srcu.
 */
void kvm_ioregionfd_zone_full(struct kvm_vcpu *vcpu, gpa_t addr)
{
	struct ioregionfd_vcpu *v = vcpu->ioregionfd;

	if (!v)
		return;
	leave_to_vmm(vcpu, v, addr, true);
}

/**
 * kvm_ioregionfd_vcpu_busy() - whether an ioctl must not be while an access is pending
 * @vcpu: the vCPU, whose mutex the caller holds
 * @ioctl: the vcpu ioctl
 *
 * To complete the access changes registers, or has begun to: what is set meanwhile
 * would be lost in part.
 *
 * Context: process.
 * Return: whether it has to fail with -EBUSY.
 */
bool kvm_ioregionfd_vcpu_busy(struct kvm_vcpu *vcpu, unsigned int ioctl)
{
	lockdep_assert_held(&vcpu->mutex);

	return vcpu->ioregionfd->nr && arch_sets_registers(ioctl);
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
	if (v->req)
		v->region->channel->ops->req_abandon(v->region, v->req);
	access_drop_region(v);
	if (v->recent)
		ioregionfd_region_put(v->recent);
	kfree(v);
}
