// SPDX-License-Identifier: GPL-2.0-only
/*
 * Instructions that write several times to a region carry out each of their writes once,
 * whatever interrupts them.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_trust_util.h"

#define SYNC		MMIO_GPA
#define SYNC_DATA	USER_DATA(0)

/*
 * Instructions that push several values, one write each, onto a stack in a region, in
 * real mode: a line of code each, after which the guest says that it is done.
 */
#define CODE_GPA	0x8000
#define STACK_SP	0x100
#define HANDLER_IP	0x40	/* the target of far calls and int, in segment 0x800 */
#define FILLER_IP	0x80

/* ud2 "kvm": with the module parameter force_emulation_prefix, KVM emulates what follows. */
#define FEP		0x0f, 0x0b, 'k', 'v', 'm'

struct pushes {
	const char *name;
	uint8_t code[16];
	uint32_t len;
	bool fep;
	uint32_t size, nr;	/* of each value, and their number */
	uint32_t vals[8];
};

#define RAX_VAL		0x11110001ul
#define RCX_VAL		0x22220002ul
#define RDX_VAL		0x33330003ul
#define RBX_VAL		0x44440004ul
#define RBP_VAL		0x55550005ul
#define RSI_VAL		0x66660006ul
#define RDI_VAL		0x77770007ul

static const struct pushes all_pushes[] = {
	{
		.name = "pusha",
		.code = { 0x60 },
		.len = 1,
		.size = 2,
		.nr = 8,
		.vals = { 1, 2, 3, 4, STACK_SP, 5, 6, 7 },
	}, {
		.name = "pushad",
		.code = { 0x66, 0x60 },
		.len = 2,
		.size = 4,
		.nr = 8,
		.vals = { RAX_VAL, RCX_VAL, RDX_VAL, RBX_VAL, STACK_SP, RBP_VAL, RSI_VAL, RDI_VAL },
	}, {
		.name = "far call",
		.code = { 0x9a, HANDLER_IP, 0x00, 0x00, 0x08 },
		.len = 5,
		.size = 2,
		.nr = 2,
		.vals = { 0x800, 5 },
	}, {
		.name = "far call of 32 bits",
		.code = { 0x66, 0x9a, HANDLER_IP, 0x00, 0x00, 0x00, 0x00, 0x08 },
		.len = 8,
		.size = 4,
		.nr = 2,
		.vals = { 0x800, 8 },
	}, {
		.name = "int",
		.code = { FEP, 0xcd, 0x20 },
		.len = 7,
		.fep = true,
		.size = 2,
		.nr = 3,
		.vals = { 2, 0x800, 7 },
	},
};

/* mov $DONE_PORT, %dx; out %ax, %dx; jmp . */
static const uint8_t done_code[] = { 0xba, 0x00, 0x11, 0xef, 0xeb, 0xfe };

FIXTURE(pushes)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct hand hand;
	struct kvm_sregs sregs;
	uint8_t *code;
	int fep;
};

FIXTURE_VARIANT(pushes)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(pushes, native) { TR_NATIVE };
FIXTURE_VARIANT_ADD(pushes, polled) { TR_POLLED };

static void set_fep(int val)
{
	FILE *f = fopen("/sys/module/kvm/parameters/force_emulation_prefix", "w");

	TEST_ASSERT(f && fprintf(f, "%d", val) > 0 && !fclose(f),
		    "cannot set force_emulation_prefix");
}

static void real_mode_segment(struct kvm_segment *s, uint64_t base, uint16_t selector)
{
	*s = (struct kvm_segment){
		.base = base,
		.limit = 0xffff,
		.selector = selector,
		.type = 3,
		.present = 1,
		.s = 1,
	};
}

FIXTURE_SETUP(pushes)
{
	struct kvm_sregs *sregs = &self->sregs;

	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->hand = hand_open(self->vm, variant->transport);
	self->fep = get_kvm_param_integer("force_emulation_prefix");
	set_fep(1);
	vcpu_thread_init(&self->thread, self->vcpu);
	self->code = addr_gpa2hva(self->vm, CODE_GPA);
	memcpy(self->code + HANDLER_IP, done_code, sizeof(done_code));
	/* The vector of int 0x20. */
	memcpy(addr_gpa2hva(self->vm, 0x20 * 4), (uint16_t[]){ HANDLER_IP, 0x800 }, 4);

	vcpu_sregs_get(self->vcpu, sregs);
	sregs->cr0 = 0x10;
	sregs->cr3 = 0;
	sregs->cr4 = 0;
	sregs->efer = 0;
	sregs->idt.base = 0;
	sregs->idt.limit = 0xffff;
	real_mode_segment(&sregs->cs, CODE_GPA, CODE_GPA >> 4);
	real_mode_segment(&sregs->ds, 0, 0);
	real_mode_segment(&sregs->es, SYNC + 0x1000, 0);
	real_mode_segment(&sregs->fs, 0, 0);
	real_mode_segment(&sregs->gs, 0, 0);
	real_mode_segment(&sregs->ss, SYNC, 0);
	sregs->cs.type = 11;
}

FIXTURE_TEARDOWN(pushes)
{
	set_fep(self->fep);
	set_spin_ns(SPIN_DEFAULT);
	kvm_vm_free(self->vm);
	hand_close(&self->hand);
}

/* Prepares the guest to store @fill words at es:0 and then to push below @sp. */
static void pushes_prepare(struct vcpu_thread *thread, const struct kvm_sregs *sregs,
			   uint8_t *code, const struct pushes *p, uint32_t sp, uint32_t fill)
{
	struct kvm_regs regs = {
		.rax = RAX_VAL,
		.rbx = RBX_VAL,
		.rcx = RCX_VAL,
		.rdx = RDX_VAL,
		.rsi = RSI_VAL,
		.rdi = RDI_VAL,
		.rbp = RBP_VAL,
		.rsp = sp,
		.rflags = 2,
	};

	memcpy(code, p->code, p->len);
	memcpy(code + p->len, done_code, sizeof(done_code));
	if (fill) {
		/* rep stosw at FILLER_IP; restore the registers that it changes; jmp to 0 */
		uint8_t filler[] = {
			0xf3, 0xab,
			0xb9, RCX_VAL & 0xff, 0x00,
			0xbf, RDI_VAL & 0xff, 0x00,
			0xe9, 0x00, 0x00,
		};

		uint16_t back = -(uint16_t)(FILLER_IP + sizeof(filler));

		memcpy(filler + sizeof(filler) - sizeof(back), &back, sizeof(back));
		memcpy(code + FILLER_IP, filler, sizeof(filler));
		regs.rip = FILLER_IP;
		regs.rdi = RDI_VAL & ~0xfffful;
		regs.rcx = (RCX_VAL & ~0xfffful) | fill;
	}
	vcpu_sregs_set(thread->vcpu, (struct kvm_sregs *)sregs);
	vcpu_regs_set(thread->vcpu, &regs);
}

#define expect_push(cmd, p, i, posted) __expect_push(cmd, p, i, posted, __LINE__)
static void __expect_push(struct ioregionfd_cmd cmd, const struct pushes *p, uint32_t i,
			  bool posted, int line)
{
	uint64_t offset = STACK_SP - (i + 1) * p->size;
	struct ioregionfd_cmd want = cmd_write(p->size, SYNC_DATA, offset, p->vals[i]);

	if (posted)
		want.flags &= ~IOREGIONFD_CMD_F_RESP;
	TEST_ASSERT(cmd.offset == offset, "line %d: %s: push %u is missing, the next is for 0x%llx",
		    line, p->name, i, cmd.offset);
	/* Apart from reserved bits of the flags, the only ones that may differ. */
	if (p->fep && !i)
		want.data = cmd.data;
	__expect_cmd(cmd, want, line);
}

enum disturbance {
	D_NONE,
	D_SIGNAL_BEFORE,	/* a signal before the command is fetched */
	D_SIGNAL_AFTER,		/* a signal after that */
	D_IMMEDIATE,		/* KVM_RUN that must not wait, before and after */
};

static void disturb(struct vcpu_thread *thread, enum disturbance how)
{
	int i;

	thread_interrupt(thread);
	for (i = 0; how == D_IMMEDIATE && i < 3; i++) {
		TEST_ASSERT_EQ(thread_run_how(thread, 1), -EINTR);
		TEST_ASSERT(vcpu_is_pending(thread->vcpu), "PENDING is not set");
	}
	thread_start(thread);
}

static void run_pushes(struct vcpu_thread *thread, struct hand *hand,
		       const struct kvm_sregs *sregs, uint8_t *code, enum disturbance how)
{
	const struct pushes *p;
	uint32_t i;

	for (p = all_pushes; p < all_pushes + ARRAY_SIZE(all_pushes); p++) {
		pushes_prepare(thread, sregs, code, p, STACK_SP, 0);
		thread_start(thread);
		for (i = 0; i < p->nr; i++) {
			if (how == D_SIGNAL_BEFORE || how == D_IMMEDIATE)
				disturb(thread, how);
			expect_push(hand_fetch(hand), p, i, false);
			if (how == D_SIGNAL_AFTER || how == D_IMMEDIATE)
				disturb(thread, how);
			hand_complete(hand, 0);
		}
		thread_join_done(thread);
		expect_no_cmd(hand);
	}
}

#define TEST_PUSHES(name, how)								\
TEST_F_TIMEOUT(pushes, name, 120)							\
{											\
	region_add(self->vm, &self->hand.ch, SYNC, 0x4000, SYNC_DATA, 0);		\
	run_pushes(&self->thread, &self->hand, &self->sregs, self->code, how);		\
}

TEST_PUSHES(undisturbed, D_NONE)
TEST_PUSHES(signal_before_it_is_fetched, D_SIGNAL_BEFORE)
TEST_PUSHES(signal_after_it_is_fetched, D_SIGNAL_AFTER)
TEST_PUSHES(immediate_exit, D_IMMEDIATE)

/* The first push is the one that crosses a page. No byte is lost. */
TEST_F_TIMEOUT(pushes, across_a_page, 120)
{
	static uint8_t got[0x2000], want[0x2000];
	const struct pushes *p;
	uint32_t i, sp, val;

	region_add(self->vm, &self->hand.ch, SYNC, 0x4000, SYNC_DATA, 0);
	for (p = all_pushes; p < all_pushes + ARRAY_SIZE(all_pushes); p++) {
		if (p->fep)
			continue;
		sp = 0x1000 + p->size / 2;
		memset(got, 0x5a, sizeof(got));
		memset(want, 0x5a, sizeof(want));
		for (i = 0; i < p->nr; i++) {
			val = p->vals[i] == STACK_SP ? sp : p->vals[i];
			memcpy(want + sp - (i + 1) * p->size, &val, p->size);
		}
		pushes_prepare(&self->thread, &self->sregs, self->code, p, sp, 0);
		thread_start(&self->thread);
		while (!thread_wait_returned(&self->thread)) {
			struct ioregionfd_cmd cmd = hand_fetch(&self->hand);

			memcpy(got + cmd.offset, &cmd.data,
			       1 << (cmd.flags & IOREGIONFD_CMD_SIZE_MASK));
			hand_complete(&self->hand, 0);
		}
		thread_join_done(&self->thread);
		for (i = 0; i < sizeof(want); i++)
			TEST_ASSERT(got[i] == want[i], "%s: byte 0x%x is 0x%x, not 0x%x", p->name,
				    i, got[i], want[i]);
	}
}

/* Posted writes that find no room, from the first or a later one on. */
static void run_posted_pushes(struct vcpu_thread *thread, struct hand *hand,
			      const struct kvm_sregs *sregs, uint8_t *code,
			      const struct pushes *p, uint32_t fill, enum disturbance how)
{
	struct ioregionfd_cmd cmd;
	uint32_t i;

	pushes_prepare(thread, sregs, code, p, STACK_SP, fill);
	thread_start(thread);
	/* The guest does what it can until it needs room. */
	thread_wait_returned(thread);
	for (i = 0; i < fill + p->nr; i++) {
		if (how != D_NONE && !thread_wait_returned(thread))
			disturb(thread, how);
		cmd = hand_fetch(hand);
		if (i < fill)
			expect_cmd(cmd, cmd_posted(2, SYNC_DATA, 0x1000 + 2 * i, RAX_VAL & 0xffff));
		else
			expect_push(cmd, p, i - fill, true);
	}
	thread_join_done(thread);
	expect_no_cmd(hand);
}

#define TEST_POSTED_PUSHES(name, how)							\
TEST_F_TIMEOUT(pushes, name, 240)							\
{											\
	uint32_t i, fill;								\
											\
	region_add(self->vm, &self->hand.ch, SYNC, 0x4000, SYNC_DATA,			\
		   KVM_IOREGION_POSTED_WRITES);						\
	for (i = 0; i < ARRAY_SIZE(all_pushes); i++) {					\
		for (fill = NR_POSTED - all_pushes[i].nr; fill <= NR_POSTED; fill++)\
			run_posted_pushes(&self->thread, &self->hand, &self->sregs,	\
					  self->code, &all_pushes[i], fill, how);	\
	}										\
}

TEST_POSTED_PUSHES(full_ring, D_NONE)
TEST_POSTED_PUSHES(full_ring_and_signals, D_SIGNAL_BEFORE)
TEST_POSTED_PUSHES(full_ring_and_immediate_exit, D_IMMEDIATE)

/* The region is removed in the middle: the VMM gets the remaining writes, each once. */
TEST_F_TIMEOUT(pushes, region_removed, 120)
{
	const struct pushes *p = &all_pushes[0];
	struct kvm_run *run = self->vcpu->run;
	uint32_t i, before;
	uint64_t gpa;

	for (before = 0; before < p->nr; before++) {
		region_add(self->vm, &self->hand.ch, SYNC, 0x4000, SYNC_DATA, 0);
		pushes_prepare(&self->thread, &self->sregs, self->code, p, STACK_SP, 0);
		thread_start(&self->thread);
		for (i = 0; i < before; i++) {
			expect_push(hand_fetch(&self->hand), p, i, false);
			hand_complete(&self->hand, 0);
		}
		/* The next command is pending, and nobody has fetched it. */
		if (before & 1)
			thread_interrupt(&self->thread);
		else
			thread_wait_asleep(&self->thread);
		region_del(self->vm, SYNC, 0x4000, 0);
		if (before & 1)
			thread_start(&self->thread);
		for (; i < p->nr; i++) {
			gpa = SYNC + STACK_SP - (i + 1) * p->size;
			thread_join_exit(&self->thread);
			TEST_ASSERT(run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr == gpa,
				    "removed before push %u: push %u is missing: exit reason %u",
				    before, i, run->exit_reason);
			expect_mmio(self->vcpu, gpa, p->size, true, p->vals[i]);
			thread_start(&self->thread);
		}
		thread_join_done(&self->thread);
	}
	expect_no_cmd(&self->hand);
}

/* Each write is canceled: the VMM gets all of them, in order. */
TEST_F_TIMEOUT(pushes, canceled, 120)
{
	struct kvm_run *run = self->vcpu->run;
	const struct pushes *p;
	uint64_t gpa, val;
	uint32_t i;

	region_add(self->vm, &self->hand.ch, SYNC, 0x4000, SYNC_DATA, 0);
	for (p = all_pushes; p < all_pushes + ARRAY_SIZE(all_pushes); p++) {
		pushes_prepare(&self->thread, &self->sregs, self->code, p, STACK_SP, 0);
		thread_start(&self->thread);
		for (i = 0; i < p->nr; i++) {
			gpa = SYNC + STACK_SP - (i + 1) * p->size;
			thread_interrupt(&self->thread);
			if (i & 1)
				expect_push(hand_fetch(&self->hand), p, i, false);
			TEST_ASSERT_EQ(thread_run_how(&self->thread, KVM_RUN_IOREGIONFD_CANCEL), 0);
			if (i & 1) {
				TEST_ASSERT_EQ(run->exit_reason, KVM_EXIT_IOREGIONFD_FAILURE);
				TEST_ASSERT_EQ(run->ioregionfd.guest_paddr, gpa);
				TEST_ASSERT_EQ(run->ioregionfd.data, p->vals[i]);
				run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
				hand_complete_late(&self->hand, 0);
			} else {
				val = p->fep && !i ? *(uint16_t *)run->mmio.data : p->vals[i];
				expect_mmio(self->vcpu, gpa, p->size, true, val);
			}
			thread_start(&self->thread);
		}
		thread_join_done(&self->thread);
		expect_no_cmd(&self->hand);
	}
}

/* Has the VMM carry out the command that has been fetched. */
static void hand_decline(struct hand *hand)
{
	const struct ioregionfd_resp resp = { .status = IOREGIONFD_STATUS_TO_VMM };

	if (hand->ch.transport == TR_POLLED) {
		hand->arg.status = IOREGIONFD_STATUS_TO_VMM;
		hand->arg.flags = IOREGIONFD_COMMIT_ONLY;
		TEST_ASSERT(!ioctl(hand->ch.dev_rd, IOREGIONFD_COMMIT_AND_FETCH, &hand->arg),
			    "errno %d", errno);
		hand->arg.status = 0;
		hand->arg.flags = 0;
	} else {
		dev_send_bytes(&hand->ch, &resp, sizeof(resp));
	}
	hand->arg.id = 0;
}

/*
 * The device task leaves one of the writes, or all, to the VMM: nobody gets one twice, and none
 * is out of its order.
 */
static void run_declined_pushes(struct vcpu_thread *thread, struct hand *hand,
				const struct kvm_sregs *sregs, uint8_t *code,
				const struct pushes *p, uint32_t declined)
{
	struct kvm_run *run = thread->vcpu->run;
	uint64_t gpa, val;
	uint32_t i;

	pushes_prepare(thread, sregs, code, p, STACK_SP, 0);
	thread_start(thread);
	for (i = 0; i < p->nr; i++) {
		expect_push(hand_fetch(hand), p, i, false);
		if (declined != i && declined != p->nr) {
			hand_complete(hand, 0);
			continue;
		}
		hand_decline(hand);
		thread_join_exit(thread);
		gpa = SYNC + STACK_SP - (i + 1) * p->size;
		TEST_ASSERT(run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr == gpa,
			    "%s: push %u of %u is missing: exit reason %u", p->name, i, declined,
			    run->exit_reason);
		val = p->fep && !i ? *(uint16_t *)run->mmio.data : p->vals[i];
		expect_mmio(thread->vcpu, gpa, p->size, true, val);
		thread_start(thread);
	}
	thread_join_done(thread);
	expect_no_cmd(hand);
}

TEST_F_TIMEOUT(pushes, declined, 120)
{
	const struct pushes *p;
	uint32_t declined;

	region_add(self->vm, &self->hand.ch, SYNC, 0x4000, SYNC_DATA, 0);
	for (p = all_pushes; p < all_pushes + ARRAY_SIZE(all_pushes); p++)
		for (declined = 0; declined <= p->nr; declined++)
			run_declined_pushes(&self->thread, &self->hand, &self->sregs, self->code,
					    p, declined);
}

/* A far call in 64-bit mode. */
static struct {
	uint32_t offset;
	uint16_t selector;
} __packed far_to;

static void guest_far_call(uint64_t id)
{
	for (;;) {
		asm volatile("movl $1f, %0\n\t"
			     "movw %%cs, %1\n\t"
			     "mov %%rsp, %%r12\n\t"
			     "mov %2, %%rsp\n\t"
			     "lcall *%0\n"
			     "1:\n\t"
			     "mov %%r12, %%rsp"
			     : "+m"(far_to.offset), "+m"(far_to.selector)
			     : "r"(SYNC + STACK_SP)
			     : "r12", "memory");
		outl(DONE_PORT, 0);
	}
}

/*
 * QEMU's emulation of a far call takes the width of the stack pointer from SS in 64-bit mode,
 * too, where it has none: 16 bits, and what is there is a page fault.
 */
static void set_wide_stack(struct kvm_vcpu *vcpu)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(vcpu, &sregs);
	sregs.ss.db = 1;
	vcpu_sregs_set(vcpu, &sregs);
}

TEST_F_TIMEOUT(pushes, far_call_of_64_bit_mode, 120)
{
	struct vcpu_thread thread;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = ioregion_vm_create(1, guest_far_call, &vcpu);
	struct hand hand = hand_open(vm, variant->transport);
	enum disturbance how;
	uint64_t vals[2];
	int i;

	set_wide_stack(vcpu);
	region_add(vm, &hand.ch, SYNC, 0x4000, SYNC_DATA, 0);
	vcpu_thread_init(&thread, vcpu);
	for (how = D_NONE; how <= D_IMMEDIATE; how++) {
		thread_start(&thread);
		for (i = 0; i < 2; i++) {
			if (how == D_SIGNAL_BEFORE || how == D_IMMEDIATE)
				disturb(&thread, how);
			vals[i] = hand_fetch(&hand).data;
			TEST_ASSERT(hand.arg.cmd.offset == STACK_SP - 4 * (i + 1),
				    "push %d is missing, the next is for 0x%llx", i,
				    hand.arg.cmd.offset);
			if (how == D_SIGNAL_AFTER || how == D_IMMEDIATE)
				disturb(&thread, how);
			hand_complete(&hand, 0);
		}
		thread_join_done(&thread);
		expect_no_cmd(&hand);
		TEST_ASSERT_EQ(vals[0], 8);
		TEST_ASSERT(vals[1] - (uint64_t)guest_far_call < 0x100, "return address 0x%lx",
			    vals[1]);
	}
	kvm_vm_free(vm);
	hand_close(&hand);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
