// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a VMM stops a vCPU that has a pending access: KVM_RUN that must not wait does
 * not; the access can be completed or canceled; until then nobody can change the vCPU's
 * registers or decide on the VMM's behalf.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_trust_util.h"

#define SYNC		MMIO_GPA
#define SYNC_DATA	USER_DATA(0)
#define PIO_DATA	USER_DATA(0x2000)

/*
 * The reference: how the guest's and the device's memory look after an undisturbed run,
 * and must look after all the others.
 */
struct outcome {
	struct guest_op op;
	uint8_t buf[SCRIPT_BUF_SIZE];
	uint8_t mem[DEV_MEM_SIZE];
};

static void outcome_get(struct outcome *o, struct kvm_vcpu *vcpu, struct device *dev)
{
	o->op = vcpu_script(vcpu)->ops[0];
	memcpy(o->buf, vcpu_script(vcpu)->buf, sizeof(o->buf));
	memcpy(o->mem, dev->mem, sizeof(o->mem));
}

/* A script of one operation, with the same memory as before. */
static void script_prepare(struct kvm_vcpu *vcpu, struct guest_op op)
{
	struct guest_script *script = vcpu_script(vcpu);
	int i;

	for (i = 0; i < SCRIPT_BUF_SIZE; i++)
		script->buf[i] = i * 3 + 5;
	script->nr_ops = 0;
	op_add(vcpu, op);
}

/* A way to run the script to its end. */
typedef void (*run_fn)(struct vcpu_thread *thread, struct hand *hand, struct device *dev);

static void run_plainly(struct vcpu_thread *thread, struct hand *hand, struct device *dev)
{
	int i;

	thread_start(thread);
	for (i = 0; !thread_returned(thread); i++) {
		TEST_ASSERT(i < HANG_LOOKS, "the guest does not come to an end");
		if (!hand_serve(hand, dev))
			usleep(1000);
	}
	thread_join_done(thread);
}

static void same_outcome(struct vcpu_thread *thread, struct hand *hand, struct guest_op op,
			 run_fn run)
{
	struct outcome *want = malloc(sizeof(*want)), *got = malloc(sizeof(*got));
	struct device *dev;

	TEST_ASSERT(want && got, "out of memory");
	dev = model_new();
	script_prepare(thread->vcpu, op);
	run_plainly(thread, hand, dev);
	outcome_get(want, thread->vcpu, dev);
	TEST_ASSERT(dev->nr, "the device task had nothing to do");
	model_free(dev);

	dev = model_new();
	script_prepare(thread->vcpu, op);
	run(thread, hand, dev);
	outcome_get(got, thread->vcpu, dev);
	expect_no_cmd(hand);
	model_free(dev);

	TEST_ASSERT(want->op.val == got->op.val && want->op.hi == got->op.hi,
		    "the guest got 0x%lx 0x%lx, wanted 0x%lx 0x%lx", got->op.val, got->op.hi,
		    want->op.val, want->op.hi);
	TEST_ASSERT(!memcmp(want->buf, got->buf, sizeof(want->buf)), "the guest's memory differs");
	TEST_ASSERT(!memcmp(want->mem, got->mem, sizeof(want->mem)), "the device's memory differs");
	free(want);
	free(got);
}

/* Enters the guest until an access waits (true) or the script is done (false). */
static bool run_to_access(struct vcpu_thread *thread)
{
	thread_start(thread);
	if (thread_wait_returned(thread)) {
		thread_join_done(thread);
		return false;
	}
	thread_interrupt(thread);
	return true;
}

/* More accesses than any of the instructions makes. */
#define MANY	200

/* immediate_exit = 1: KVM_RUN never waits, and does what can be done without. */
static void run_immediately(struct vcpu_thread *thread, struct hand *hand, struct device *dev)
{
	int i;

	for (i = 0; run_to_access(thread); i++) {
		do {
			TEST_ASSERT(i++ < MANY, "the guest does not come to an end");
			TEST_ASSERT_EQ(thread_run_how(thread, 1), -EINTR);
			TEST_ASSERT(vcpu_is_pending(thread->vcpu), "PENDING is not set");
			TEST_ASSERT(hand_serve(hand, dev), "the command was not sent");
			TEST_ASSERT_EQ(thread_run_how(thread, 1), -EINTR);
		} while (vcpu_is_pending(thread->vcpu));
	}
}

/* KVM_RUN_IOREGIONFD_WAIT: waits as usual, but does not enter the guest. */
static void run_waiting(struct vcpu_thread *thread, struct hand *hand, struct device *dev)
{
	int i, n = 0;

	while (run_to_access(thread)) {
		TEST_ASSERT(n++ < MANY, "the guest does not come to an end");
		thread->vcpu->run->immediate_exit = KVM_RUN_IOREGIONFD_WAIT;
		thread_start(thread);
		TEST_ASSERT(!thread_wait_returned(thread), "KVM_RUN did not wait: %d", thread->ret);
		thread_interrupt(thread);
		thread_start(thread);
		for (i = 0; !thread_returned(thread); i++) {
			TEST_ASSERT(i < HANG_LOOKS, "KVM_RUN does not return");
			if (!hand_serve(hand, dev))
				usleep(1000);
		}
		TEST_ASSERT_EQ(thread_join(thread), -EINTR);
		TEST_ASSERT(!vcpu_is_pending(thread->vcpu), "PENDING is still set");
		expect_no_cmd(hand);
		thread->vcpu->run->immediate_exit = 0;
	}
}

/* The VMM carries out an access that comes back to it, as the device would. */
static uint64_t vmm_access(struct device *dev, bool pio, uint64_t addr, uint32_t size,
			   bool is_write, uint64_t data)
{
	struct ioregionfd_cmd cmd = make_cmd(is_write ? IOREGIONFD_CMD_WRITE : IOREGIONFD_CMD_READ,
					     size, pio ? PIO_DATA : SYNC_DATA,
					     addr - (pio ? PIO_BASE : SYNC), data, true);

	return dev->respond(dev, &cmd);
}

/* There are odd sizes too: the rest of an access that crosses a page. */
static void vmm_mmio(struct kvm_vcpu *vcpu, struct device *dev)
{
	struct kvm_run *run = vcpu->run;
	uint64_t val;
	uint32_t i;

	for (i = 0; i < run->mmio.len; i++) {
		val = vmm_access(dev, false, run->mmio.phys_addr + i, 1, run->mmio.is_write,
				 run->mmio.data[i]);
		if (!run->mmio.is_write)
			run->mmio.data[i] = val;
	}
}

static void vmm_io(struct kvm_vcpu *vcpu, struct device *dev)
{
	bool is_write = vcpu->run->io.direction == KVM_EXIT_IO_OUT;
	uint32_t size = vcpu->run->io.size, i;
	uint8_t *data = io_data(vcpu);
	uint64_t val;

	for (i = 0; i < vcpu->run->io.count; i++, data += size) {
		val = 0;
		if (is_write)
			memcpy(&val, data, size);
		val = vmm_access(dev, true, vcpu->run->io.port, size, is_write, val);
		if (!is_write)
			memcpy(data, &val, size);
	}
}

static void vmm_failure(struct kvm_vcpu *vcpu, struct device *dev)
{
	struct kvm_ioregionfd_exit *exit = &vcpu->run->ioregionfd;

	exit->data = vmm_access(dev, exit->is_pio, exit->guest_paddr, exit->size, exit->is_write,
				exit->data);
	exit->action = KVM_IOREGIONFD_COMPLETE;
}

/*
 * KVM_RUN_IOREGIONFD_CANCEL for each command while it is pending, or fetched: the VMM
 * carries out the access itself. A late response has no effect.
 */
static void run_canceling(struct vcpu_thread *thread, struct hand *hand, struct device *dev,
			  bool fetched)
{
	bool seen = fetched || hand->ch.transport == TR_SEQPACKET;
	struct kvm_vcpu *vcpu = thread->vcpu;
	struct kvm_run *run = vcpu->run;
	int n = 0;

	while (run_to_access(thread)) {
		TEST_ASSERT(n++ < MANY, "the guest does not come to an end");
		if (fetched)
			hand_fetch(hand);
		TEST_ASSERT_EQ(thread_run_how(thread, KVM_RUN_IOREGIONFD_CANCEL), 0);
		switch (run->exit_reason) {
		case KVM_EXIT_MMIO:
			TEST_ASSERT(!seen, "the device task may have seen it");
			vmm_mmio(vcpu, dev);
			break;
		case KVM_EXIT_IO:
			TEST_ASSERT(!seen, "the device task may have seen it");
			vmm_io(vcpu, dev);
			break;
		case KVM_EXIT_IOREGIONFD_FAILURE:
			TEST_ASSERT_EQ(run->ioregionfd.reason, KVM_IOREGIONFD_FAIL_CANCELED);
			TEST_ASSERT_EQ(run->ioregionfd.progress,
				       seen ? KVM_IOREGIONFD_SENT_ALL : KVM_IOREGIONFD_SENT_NONE);
			TEST_ASSERT_EQ(run->ioregionfd.action, KVM_IOREGIONFD_UNDECIDED);
			TEST_ASSERT(vcpu_is_pending(vcpu), "PENDING is not set");
			vmm_failure(vcpu, dev);
			break;
		default:
			TEST_FAIL("exit reason %u (%s)", run->exit_reason,
				  exit_reason_str(run->exit_reason));
		}
		if (seen && !fetched)
			hand_fetch(hand);
		if (seen)
			hand_complete_late(hand, 0xdeaddeaddeaddead);
	}
}

static void run_canceling_pending(struct vcpu_thread *thread, struct hand *hand, struct device *dev)
{
	run_canceling(thread, hand, dev, false);
}

static void run_canceling_fetched(struct vcpu_thread *thread, struct hand *hand, struct device *dev)
{
	run_canceling(thread, hand, dev, true);
}

/*
 * Each kind of access, in each of these ways.
 */
FIXTURE(kind)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct hand hand;
};

FIXTURE_VARIANT(kind)
{
	struct guest_op op;
};

#define BUF	((uint64_t)guest_scripts[0].buf)

#define KIND(name, ...)	FIXTURE_VARIANT_ADD(kind, name) { { __VA_ARGS__ } }

KIND(read, OP_READ, 8, SYNC + 8);
KIND(write, OP_WRITE, 4, SYNC + 8, 0x12345678);
KIND(or, OP_OR, 4, SYNC + 8, 0x80000001);
KIND(xchg, OP_XCHG, 8, SYNC + 8, 0x1122334455667788);
KIND(in, OP_IN, 2, PIO_BASE + 2);
KIND(out, OP_OUT, 1, PIO_BASE + 2, 0x5a);
KIND(movs_from_ram, OP_MOVS, 4, SYNC + 0x100, .mem = BUF, .count = 4);
KIND(movs_to_ram, OP_MOVS, 4, BUF, .mem = SYNC + 0x100, .count = 4);
KIND(movs_between, OP_MOVS, 4, SYNC + 0x1100, .mem = SYNC + 0x100, .count = 4);
KIND(ins, OP_INS, 2, PIO_BASE + 4, .mem = BUF, .count = 5);
KIND(ins_to_region, OP_INS, 1, PIO_BASE + 4, .mem = SYNC + 0x80, .count = 5);
KIND(outs, OP_OUTS, 2, PIO_BASE + 4, .mem = BUF, .count = 5);
KIND(outs_from_region, OP_OUTS, 1, PIO_BASE + 4, .mem = SYNC + 0x80, .count = 5);
KIND(load16, OP_LOAD16, 16, SYNC + 0x40);
KIND(store16, OP_STORE16, 16, SYNC + 0x40, 0x1122334455667788, 0x99aabbccddeeff00);
KIND(read_across, OP_READ, 8, SYNC + 0xffd);
KIND(write_across, OP_WRITE, 8, SYNC + 0xffd, 0x1122334455667788);
KIND(load16_across, OP_LOAD16, 16, SYNC + 0xff4);
KIND(store16_across, OP_STORE16, 16, SYNC + 0xff4, 0x1122334455667788, 0x99aabbccddeeff00);
KIND(or_across, OP_OR, 8, SYNC + 0xffd, 0x8000000000000001);

static void prepare_stop(struct kvm_vm **vm, struct kvm_vcpu **vcpu, struct vcpu_thread *thread,
			 struct hand *hand, enum transport transport)
{
	*vm = ioregion_vm_create(1, guest_script_main, vcpu);
	*hand = hand_open(*vm, transport);
	region_add(*vm, &hand->ch, SYNC, 0x2000, SYNC_DATA, 0);
	region_add(*vm, &hand->ch, PIO_BASE, 0x100, PIO_DATA, KVM_IOREGION_PIO);
	vcpu_thread_init(thread, *vcpu);
}

/* Each test chooses its transport. */
FIXTURE_SETUP(kind)
{
}

FIXTURE_TEARDOWN(kind)
{
	set_spin_ns(SPIN_DEFAULT);
	kvm_vm_free(self->vm);
	hand_close(&self->hand);
}

#define TEST_KIND(name, transport, run)							\
TEST_F_TIMEOUT(kind, name, 120)								\
{											\
	prepare_stop(&self->vm, &self->vcpu, &self->thread, &self->hand, transport);	\
	same_outcome(&self->thread, &self->hand, variant->op, run);			\
}

TEST_KIND(immediately_native, TR_NATIVE, run_immediately)
TEST_KIND(immediately_polled, TR_POLLED, run_immediately)
TEST_KIND(immediately_seqpacket, TR_SEQPACKET, run_immediately)
TEST_KIND(waiting_native, TR_NATIVE, run_waiting)
TEST_KIND(waiting_polled, TR_POLLED, run_waiting)
TEST_KIND(waiting_seqpacket, TR_SEQPACKET, run_waiting)
TEST_KIND(canceling_pending_native, TR_NATIVE, run_canceling_pending)
TEST_KIND(canceling_pending_polled, TR_POLLED, run_canceling_pending)
TEST_KIND(canceling_pending_seqpacket, TR_SEQPACKET, run_canceling_pending)
TEST_KIND(canceling_fetched_native, TR_NATIVE, run_canceling_fetched)
TEST_KIND(canceling_fetched_polled, TR_POLLED, run_canceling_fetched)
TEST_KIND(canceling_fetched_seqpacket, TR_SEQPACKET, run_canceling_fetched)

/*
 * Other properties of these ways.
 */
FIXTURE(stop)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct hand hand;
};

FIXTURE_VARIANT(stop)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(stop, native) { TR_NATIVE };
FIXTURE_VARIANT_ADD(stop, polled) { TR_POLLED };
FIXTURE_VARIANT_ADD(stop, seqpacket) { TR_SEQPACKET };

FIXTURE_SETUP(stop)
{
	prepare_stop(&self->vm, &self->vcpu, &self->thread, &self->hand, variant->transport);
}

FIXTURE_TEARDOWN(stop)
{
	set_spin_ns(SPIN_DEFAULT);
	kvm_vm_free(self->vm);
	hand_close(&self->hand);
}

/* Without a pending access all three do the same: nothing. */
TEST_F(stop, nothing_pending)
{
	uint8_t how;

	op_read(self->vcpu, 8, SYNC);
	for (how = 1; how <= KVM_RUN_IOREGIONFD_WAIT; how++) {
		TEST_ASSERT_EQ(thread_run_how(&self->thread, how), -EINTR);
		TEST_ASSERT(!vcpu_is_pending(self->vcpu), "PENDING is set");
		expect_no_cmd(&self->hand);
	}
}

/* The response has come: it counts, since the device task has done its work. */
TEST_F(stop, cancel_when_completed)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);

	TEST_ASSERT(run_to_access(&self->thread), "no access");
	hand_fetch(&self->hand);
	hand_complete(&self->hand, 0x1234567890abcdef);
	TEST_ASSERT_EQ(thread_run_how(&self->thread, KVM_RUN_IOREGIONFD_CANCEL), -EINTR);
	TEST_ASSERT(!vcpu_is_pending(self->vcpu), "PENDING is still set");
	thread_start(&self->thread);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x1234567890abcdef);
}

/* Canceled, and sent once more because the VMM says so. */
TEST_F(stop, cancel_and_retry)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);

	TEST_ASSERT(run_to_access(&self->thread), "no access");
	hand_fetch(&self->hand);
	TEST_ASSERT_EQ(thread_run_how(&self->thread, KVM_RUN_IOREGIONFD_CANCEL), 0);
	TEST_ASSERT_EQ(self->vcpu->run->exit_reason, KVM_EXIT_IOREGIONFD_FAILURE);
	self->vcpu->run->ioregionfd.action = KVM_IOREGIONFD_RETRY;
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	hand_complete_late(&self->hand, 0xdead);
	expect_cmd(hand_fetch(&self->hand), cmd_read(8, SYNC_DATA, 0));
	hand_complete(&self->hand, 0x600d);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x600d);
}

/* A posted write that finds no room is not sent, so it can be canceled. */
TEST_F(stop, cancel_without_room)
{
	struct guest_op op = { OP_WRITE, 8, SYNC + 0x3000, .count = 5000 };
	uint64_t seq = 0, room = 0;

	region_add(self->vm, &self->hand.ch, SYNC + 0x3000, 0x1000, USER_DATA(9),
		   KVM_IOREGION_POSTED_WRITES);
	op_add(self->vcpu, op);
	TEST_ASSERT(run_to_access(&self->thread), "the channel is never full");
	TEST_ASSERT_EQ(thread_run_how(&self->thread, KVM_RUN_IOREGIONFD_CANCEL), 0);
	while (hand_try(&self->hand))
		TEST_ASSERT_EQ(self->hand.arg.cmd.data, room++);
	expect_mmio(self->vcpu, SYNC + 0x3000, 8, true, room);
	TEST_ASSERT(!vcpu_is_pending(self->vcpu), "PENDING is still set");
	/* The VMM has carried it out: the next one comes. */
	thread_start(&self->thread);
	for (seq = room + 1; seq < op.count; seq++)
		TEST_ASSERT_EQ(hand_fetch(&self->hand).data, seq);
	thread_join_done(&self->thread);
}

/*
 * While an access is pending the vCPU's registers are not final: neither in the
 * middle of an access nor at the exit that reports a failure.
 */
struct set_call {
	const char *name;
	unsigned long get, set;
	size_t size;
	int cap;	/* to check for, or 0 */
};

#define SET_CALL(call, type, cap) { #call, KVM_GET_##call, KVM_SET_##call, sizeof(type), cap }

static const struct set_call set_calls[] = {
	SET_CALL(REGS, struct kvm_regs, 0),
	SET_CALL(SREGS, struct kvm_sregs, 0),
	SET_CALL(SREGS2, struct kvm_sregs2, KVM_CAP_SREGS2),
	SET_CALL(FPU, struct kvm_fpu, 0),
	SET_CALL(XSAVE, struct kvm_xsave, KVM_CAP_XSAVE),
	SET_CALL(VCPU_EVENTS, struct kvm_vcpu_events, KVM_CAP_VCPU_EVENTS),
	SET_CALL(NESTED_STATE, struct kvm_nested_state, KVM_CAP_NESTED_STATE),
	SET_CALL(MP_STATE, struct kvm_mp_state, KVM_CAP_MP_STATE),
};

#define MAX_STATE	65536

/*
 * Checks that the registers can be read, and that setting them works or fails with -EBUSY. To
 * read KVM_MP_STATE may change it.
 */
#define expect_set(vcpu, want) __expect_set(vcpu, want, __LINE__)
static void __expect_set(struct kvm_vcpu *vcpu, int want, int line)
{
	const struct set_call *call;
	void *state = aligned_alloc(4096, MAX_STATE);
	int r;

	TEST_ASSERT(state, "out of memory");
	for (call = set_calls; call < set_calls + ARRAY_SIZE(set_calls); call++) {
		if (call->cap && !kvm_check_cap(call->cap)) {
			printf("# KVM_SET_%s: not available\n", call->name);
			continue;
		}
		memset(state, 0, MAX_STATE);
		if (call->get == KVM_GET_NESTED_STATE)
			((struct kvm_nested_state *)state)->size = MAX_STATE;
		r = ioctl(vcpu->fd, call->get, state) ? -errno : 0;
		TEST_ASSERT(r == (call->get == KVM_GET_MP_STATE ? want : 0),
			    "line %d: KVM_GET_%s returned %d", line, call->name, r);
		r = ioctl(vcpu->fd, call->set, state) ? -errno : 0;
		TEST_ASSERT(r == want, "line %d: KVM_SET_%s returned %d, wanted %d", line,
			    call->name, r, want);
	}
	free(state);
}

/* The registers that are set by way of KVM_RUN. */
#define expect_dirty_regs(thread, want) __expect_dirty_regs(thread, want, __LINE__)
static void __expect_dirty_regs(struct vcpu_thread *thread, int want, int line)
{
	struct kvm_run *run = thread->vcpu->run;
	int how, r;

	if (!(kvm_check_cap(KVM_CAP_SYNC_REGS) & KVM_SYNC_X86_REGS)) {
		printf("# KVM_CAP_SYNC_REGS: not available\n");
		return;
	}
	for (how = 0; how <= KVM_RUN_IOREGIONFD_WAIT; how++) {
		vcpu_regs_get(thread->vcpu, &run->s.regs.regs);
		run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
		r = __thread_run_how(thread, how, line);
		TEST_ASSERT(r == want, "line %d: KVM_RUN with new registers returned %d, not %d",
			    line, r, want);
		run->kvm_dirty_regs = 0;
	}
}

static void expect_registers_kept(struct vcpu_thread *thread)
{
	TEST_ASSERT(vcpu_is_pending(thread->vcpu), "PENDING is not set");
	expect_set(thread->vcpu, -EBUSY);
	expect_dirty_regs(thread, -EBUSY);
	TEST_ASSERT(vcpu_is_pending(thread->vcpu), "PENDING is not set any more");
}

TEST_F(stop, registers_while_pending)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);

	expect_set(self->vcpu, 0);
	TEST_ASSERT(run_to_access(&self->thread), "no access");
	expect_registers_kept(&self->thread);
	hand_fetch(&self->hand);
	expect_registers_kept(&self->thread);
	hand_complete(&self->hand, 0x1234);
	/* The access is complete only when KVM_RUN has said so. */
	expect_set(self->vcpu, -EBUSY);
	TEST_ASSERT_EQ(thread_run_how(&self->thread, 1), -EINTR);
	TEST_ASSERT(!vcpu_is_pending(self->vcpu), "PENDING is still set");
	expect_set(self->vcpu, 0);
	thread_start(&self->thread);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

TEST_F(stop, registers_of_ports)
{
	struct guest_op *op = op_in(self->vcpu, 4, PIO_BASE);

	TEST_ASSERT(run_to_access(&self->thread), "no access");
	expect_registers_kept(&self->thread);
	hand_fetch(&self->hand);
	hand_complete(&self->hand, 0x1234);
	TEST_ASSERT_EQ(thread_run_how(&self->thread, 1), -EINTR);
	expect_set(self->vcpu, 0);
	thread_start(&self->thread);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

/* Makes an access fail: its region is removed after the command has been fetched. */
static void fail_access(struct kvm_vm *vm, struct vcpu_thread *thread, struct hand *hand)
{
	thread_start(thread);
	hand_fetch(hand);
	thread_wait_asleep(thread);
	region_del(vm, SYNC, 0x2000, 0);
	thread_join_exit(thread);
	TEST_ASSERT_EQ(thread->vcpu->run->exit_reason, KVM_EXIT_IOREGIONFD_FAILURE);
}

TEST_F(stop, registers_at_a_failure)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);

	fail_access(self->vm, &self->thread, &self->hand);
	expect_registers_kept(&self->thread);
	self->vcpu->run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	self->vcpu->run->ioregionfd.data = 0x1234;
	TEST_ASSERT_EQ(thread_run_how(&self->thread, 1), -EINTR);
	TEST_ASSERT(!vcpu_is_pending(self->vcpu), "PENDING is still set");
	expect_set(self->vcpu, 0);
	thread_start(&self->thread);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

/* A VMM that has not looked at the exit yet has not decided anything. */
static void expect_undecided(struct vcpu_thread *thread, struct hand *hand)
{
	struct kvm_run *run = thread->vcpu->run;
	struct kvm_ioregionfd_exit exit = run->ioregionfd;
	int how;

	TEST_ASSERT_EQ(exit.action, KVM_IOREGIONFD_UNDECIDED);
	TEST_ASSERT(vcpu_is_pending(thread->vcpu), "PENDING is not set");
	for (how = 0; how <= KVM_RUN_IOREGIONFD_WAIT; how++) {
		run->exit_reason = KVM_EXIT_UNKNOWN;
		memset(&run->ioregionfd, 0, sizeof(run->ioregionfd));
		TEST_ASSERT_EQ(thread_run_how(thread, how), 0);
		TEST_ASSERT_EQ(run->exit_reason, KVM_EXIT_IOREGIONFD_FAILURE);
		TEST_ASSERT(!memcmp(&run->ioregionfd, &exit, sizeof(exit)),
			    "the exit has changed");
		TEST_ASSERT(vcpu_is_pending(thread->vcpu), "PENDING is not set");
		expect_no_cmd(hand);
	}
	run->ioregionfd.action = 77;
	TEST_ASSERT_EQ(thread_run_how(thread, 0), -EINVAL);
	run->ioregionfd.action = KVM_IOREGIONFD_UNDECIDED;
	TEST_ASSERT_EQ(thread_run_how(thread, 0), 0);
	TEST_ASSERT_EQ(run->exit_reason, KVM_EXIT_IOREGIONFD_FAILURE);
	TEST_ASSERT(!memcmp(&run->ioregionfd, &exit, sizeof(exit)), "the exit has changed");
}

TEST_F(stop, failure_is_undecided)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);

	fail_access(self->vm, &self->thread, &self->hand);
	hand_complete_late(&self->hand, 0xdead);
	/* There is a device task that would carry it out once more. */
	region_add(self->vm, &self->hand.ch, SYNC, 0x2000, SYNC_DATA, 0);
	expect_undecided(&self->thread, &self->hand);
	self->vcpu->run->ioregionfd.action = KVM_IOREGIONFD_RETRY;
	thread_start(&self->thread);
	expect_cmd(hand_fetch(&self->hand), cmd_read(8, SYNC_DATA, 0));
	hand_complete(&self->hand, 0x600d);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x600d);
}

TEST_F(stop, failure_of_the_channel_is_undecided)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);
	struct hand other;

	thread_start(&self->thread);
	hand_fetch(&self->hand);
	thread_wait_asleep(&self->thread);
	if (self->hand.ch.transport == TR_POLLED)
		mapping_close(&self->hand.map);
	channel_close_kvm(&self->hand.ch);
	channel_close_dev(&self->hand.ch);
	thread_join_exit(&self->thread);
	TEST_ASSERT_EQ(self->vcpu->run->ioregionfd.reason, KVM_IOREGIONFD_FAIL_HANGUP);

	other = hand_open(self->vm, TR_NATIVE);
	region_del(self->vm, SYNC, 0x2000, 0);
	region_add(self->vm, &other.ch, SYNC, 0x2000, SYNC_DATA, 0);
	expect_undecided(&self->thread, &other);
	self->vcpu->run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	self->vcpu->run->ioregionfd.data = 0x600d;
	thread_start(&self->thread);
	thread_join_done(&self->thread);
	expect_no_cmd(&other);
	TEST_ASSERT_EQ(op->val, 0x600d);
	/* The teardown closes this one. */
	self->hand = other;
}

/*
 * Two vCPUs share a socket: the second one's command is not sent while the first one's
 * is in the channel, so it can be canceled.
 */
TEST(cancel_while_queued)
{
	struct vcpu_thread threads[2];
	struct kvm_vcpu *vcpus[2];
	struct guest_op *op;
	struct kvm_vm *vm;
	struct hand hand;
	int i;

	vm = ioregion_vm_create(2, guest_script_main, vcpus);
	hand = hand_open(vm, TR_SEQPACKET);
	region_add(vm, &hand.ch, SYNC, 0x2000, SYNC_DATA, 0);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&threads[i], vcpus[i]);
	op_read(vcpus[0], 8, SYNC);
	op = op_read(vcpus[1], 8, SYNC + 8);
	thread_start(&threads[0]);
	thread_wait_asleep(&threads[0]);
	TEST_ASSERT(run_to_access(&threads[1]), "no access");
	TEST_ASSERT_EQ(thread_run_how(&threads[1], KVM_RUN_IOREGIONFD_CANCEL), 0);
	expect_mmio(vcpus[1], SYNC + 8, 8, false, 0);
	complete_mmio(vcpus[1], 0x1234);
	thread_start(&threads[1]);
	thread_join_done(&threads[1]);
	TEST_ASSERT_EQ(op->val, 0x1234);
	expect_cmd(hand_fetch(&hand), cmd_read(8, SYNC_DATA, 0));
	hand_complete(&hand, 0);
	thread_join_done(&threads[0]);
	expect_no_cmd(&hand);
	kvm_vm_free(vm);
	hand_close(&hand);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
