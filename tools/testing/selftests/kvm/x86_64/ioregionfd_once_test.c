// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each access of the guest is carried out once: by instructions that are restarted, by
 * those that write several times, when a command cannot be stored for the device task
 * that fetched it, when regions are removed, and beside devices that KVM has inside a
 * region.
 */
#include <linux/userfaultfd.h>
#include <sys/eventfd.h>

#include "ioregionfd_harness.h"
#include "ioregionfd_trust_util.h"

#define SYNC		MMIO_GPA
#define SYNC_DATA	USER_DATA(0)
#define POSTED_DATA	USER_DATA(0x4000)

/* Written by the guest's page fault handler, to ask for the page. */
#define FAULT_PORT	0x1104

/*
 * Accesses that cross into a page that is not present yet.
 */
#define CROSS		(SYNC + 0x1000)

FIXTURE(refault)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct device dev;
	uint64_t *pte;
};

FIXTURE_VARIANT(refault)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(refault, native) { TR_NATIVE };
FIXTURE_VARIANT_ADD(refault, polled) { TR_POLLED };
FIXTURE_VARIANT_ADD(refault, seqpacket) { TR_SEQPACKET };

static void guest_fault(struct ex_regs *regs)
{
	outl(FAULT_PORT, 0);
}

static void guest_far_pointer(uint64_t id)
{
	struct guest_script *script = &guest_scripts[id];
	struct guest_op *op = &script->ops[0];

	for (;;) {
		/* 8 bytes of offset and 2 of a selector, which is 0 in the device. */
		asm volatile("rex.W lfs (%1), %k0" : "=d"(op->val) : "a"(op->addr) : "memory");
		outl(DONE_PORT, 0);
	}
}

static void prepare_refault(struct kvm_vm **vm, struct kvm_vcpu **vcpu, struct device *dev,
			    uint64_t **pte, enum transport transport, void *guest)
{
	struct kvm_sregs sregs;

	*vm = ioregion_vm_create(1, guest, vcpu);
	/* So that read-only pages fault. */
	vcpu_sregs_get(*vcpu, &sregs);
	sregs.cr0 |= X86_CR0_WP;
	vcpu_sregs_set(*vcpu, &sregs);
	vm_install_exception_handler(*vm, PF_VECTOR, guest_fault);
	device_start_for(dev, *vm, transport);
	region_add(*vm, &dev->ch, SYNC, 0x4000, SYNC_DATA, 0);
	*pte = vm_get_page_table_entry(*vm, CROSS);
	/* The very first access of a vCPU may not be carried out in place. */
	if (guest == guest_script_main)
		op_read(*vcpu, 1, SYNC);
	else
		vcpu_script(*vcpu)->ops[0].addr = SYNC;
	memset(dev->mem, 0, 16);
	vcpu_run(*vcpu);
	expect_done(*vcpu);
	device_forget(dev);
}

FIXTURE_SETUP(refault)
{
	prepare_refault(&self->vm, &self->vcpu, &self->dev, &self->pte, variant->transport,
			guest_script_main);
}

FIXTURE_TEARDOWN(refault)
{
	set_spin_ns(SPIN_DEFAULT);
	kvm_vm_free(self->vm);
}

/* Checks that the log covers each byte of @size from @offset on once, by reads or by writes. */
static void expect_bytes_once(struct device *dev, bool is_write, uint64_t offset, uint32_t size,
			      const char *what)
{
	unsigned int seen[16] = { 0 }, i, nr = device_nr(dev);
	const struct ioregionfd_cmd *cmd;
	uint64_t at, n;

	for (i = 0; i < nr; i++) {
		cmd = &dev->log[i];
		if (cmd->cmd != (is_write ? IOREGIONFD_CMD_WRITE : IOREGIONFD_CMD_READ))
			continue;
		for (n = 0; n < 1u << (cmd->flags & IOREGIONFD_CMD_SIZE_MASK); n++) {
			at = cmd->offset + n - offset;
			TEST_ASSERT(at < size, "%s at 0x%lx: a command for 0x%llx", what, offset,
				    cmd->offset);
			seen[at]++;
		}
	}
	for (i = 0; i < size; i++)
		TEST_ASSERT(seen[i] == 1, "%s at 0x%lx: byte %u was %s %u times", what, offset, i,
			    is_write ? "written" : "read", seen[i]);
}

static void run_with_fault(struct kvm_vcpu *vcpu, uint64_t *pte, uint64_t without, const char *what)
{
	struct kvm_run *run = vcpu->run;
	uint64_t whole = *pte;

	*pte = whole & ~without;
	vcpu_run(vcpu);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO && run->io.port == FAULT_PORT,
		    "%s: wanted a page fault, got exit reason %u (%s)", what, run->exit_reason,
		    exit_reason_str(run->exit_reason));
	*pte = whole;
	run_done(vcpu);
}

static void refault_once(struct kvm_vcpu *vcpu, struct device *dev, uint64_t *pte,
			 struct guest_op op, uint64_t without, const char *what)
{
	bool reads = op.kind == OP_READ || op.kind == OP_LOAD16 || op.kind == OP_OR;
	bool writes = op.kind != OP_READ && op.kind != OP_LOAD16;

	device_forget(dev);
	op_add(vcpu, op);
	run_with_fault(vcpu, pte, without, what);
	if (reads)
		expect_bytes_once(dev, false, op.addr - SYNC, op.size, what);
	if (writes)
		expect_bytes_once(dev, true, op.addr - SYNC, op.size, what);
}

#define TEST_REFAULT(name, op_kind, op_size, mask)					\
TEST_F_TIMEOUT(refault, name, 120)							\
{											\
	struct guest_op op = { op_kind, op_size };					\
	uint32_t back;									\
											\
	op.val = 0x1122334455667788;							\
	op.hi = 0x99aabbccddeeff00;							\
	for (back = 1; back < op.size; back++) {					\
		op.addr = CROSS - back;							\
		refault_once(self->vcpu, &self->dev, self->pte, op, mask, #name);	\
	}										\
}

TEST_REFAULT(read_of_2, OP_READ, 2, PTE_PRESENT_MASK)
TEST_REFAULT(read_of_4, OP_READ, 4, PTE_PRESENT_MASK)
TEST_REFAULT(read_of_8, OP_READ, 8, PTE_PRESENT_MASK)
TEST_REFAULT(read_of_16, OP_LOAD16, 16, PTE_PRESENT_MASK)
TEST_REFAULT(write_of_2, OP_WRITE, 2, PTE_PRESENT_MASK)
TEST_REFAULT(write_of_4, OP_WRITE, 4, PTE_PRESENT_MASK)
TEST_REFAULT(write_of_8, OP_WRITE, 8, PTE_PRESENT_MASK)
TEST_REFAULT(write_of_16, OP_STORE16, 16, PTE_PRESENT_MASK)
TEST_REFAULT(write_of_8_read_only, OP_WRITE, 8, PTE_WRITABLE_MASK)
TEST_REFAULT(write_of_16_read_only, OP_STORE16, 16, PTE_WRITABLE_MASK)
TEST_REFAULT(or_of_8, OP_OR, 8, PTE_PRESENT_MASK)

/*
 * A region that ends at the page boundary: the rest of the access goes to the VMM, also
 * once.
 */
TEST_F(refault, beyond_the_region)
{
	struct guest_op op = { OP_STORE16, 16, CROSS - 12, 0x1122334455667788, 0x99aabbccddeeff00 };
	uint64_t whole = *self->pte;
	uint32_t seen = 0;
	int i;

	region_del(self->vm, SYNC, 0x4000, 0);
	region_add(self->vm, &self->dev.ch, SYNC, 0x1000, SYNC_DATA, 0);
	op_add(self->vcpu, op);
	*self->pte = 0;
	vcpu_run(self->vcpu);
	TEST_ASSERT(self->vcpu->run->exit_reason == KVM_EXIT_IO &&
		    self->vcpu->run->io.port == FAULT_PORT, "no page fault");
	*self->pte = whole;
	for (i = 0; i < 16; i++) {
		vcpu_run(self->vcpu);
		if (self->vcpu->run->exit_reason != KVM_EXIT_MMIO)
			break;
		TEST_ASSERT_EQ(self->vcpu->run->mmio.phys_addr, CROSS + seen);
		seen += self->vcpu->run->mmio.len;
	}
	expect_done(self->vcpu);
	TEST_ASSERT_EQ(seen, 4);
	expect_bytes_once(&self->dev, true, 0x1000 - 12, 12, "in the region");
}

FIXTURE(refault_far)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct device dev;
	uint64_t *pte;
};

FIXTURE_VARIANT(refault_far)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(refault_far, native) { TR_NATIVE };
FIXTURE_VARIANT_ADD(refault_far, polled) { TR_POLLED };
FIXTURE_VARIANT_ADD(refault_far, seqpacket) { TR_SEQPACKET };

FIXTURE_SETUP(refault_far)
{
	prepare_refault(&self->vm, &self->vcpu, &self->dev, &self->pte, variant->transport,
			guest_far_pointer);
}

FIXTURE_TEARDOWN(refault_far)
{
	set_spin_ns(SPIN_DEFAULT);
	kvm_vm_free(self->vm);
}

TEST_F_TIMEOUT(refault_far, read_of_10, 120)
{
	struct guest_op *op = &vcpu_script(self->vcpu)->ops[0];
	uint64_t offset, want;
	int back;

	for (back = 1; back < 10; back++) {
		offset = 0x1000 - back;
		op->addr = SYNC + offset;
		memcpy(&want, "offset..", 8);
		memcpy(self->dev.mem + offset, &want, 8);
		memset(self->dev.mem + offset + 8, 0, 2);
		device_forget(&self->dev);
		run_with_fault(self->vcpu, self->pte, PTE_PRESENT_MASK, "lfs");
		expect_bytes_once(&self->dev, false, offset, 10, "lfs");
		TEST_ASSERT_EQ(op->val, want);
	}
}

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

/* Prepares the guest to store @fill words at es:0 and then to push. */
static void pushes_prepare(struct vcpu_thread *thread, const struct kvm_sregs *sregs,
			   uint8_t *code, const struct pushes *p, uint32_t fill)
{
	struct kvm_regs regs = {
		.rax = RAX_VAL,
		.rbx = RBX_VAL,
		.rcx = RCX_VAL,
		.rdx = RDX_VAL,
		.rsi = RSI_VAL,
		.rdi = RDI_VAL,
		.rbp = RBP_VAL,
		.rsp = STACK_SP,
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
		pushes_prepare(thread, sregs, code, p, 0);
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

/* Posted writes that find no room, from the first or a later one on. */
static void run_posted_pushes(struct vcpu_thread *thread, struct hand *hand,
			      const struct kvm_sregs *sregs, uint8_t *code,
			      const struct pushes *p, uint32_t fill, enum disturbance how)
{
	struct ioregionfd_cmd cmd;
	uint32_t i;

	pushes_prepare(thread, sregs, code, p, fill);
	thread_start(thread);
	/* The guest does what it can until it needs room. */
	thread_settles(thread);
	for (i = 0; i < fill + p->nr; i++) {
		if (how != D_NONE && !thread_settles(thread))
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
		pushes_prepare(&self->thread, &self->sregs, self->code, p, 0);
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
		pushes_prepare(&self->thread, &self->sregs, self->code, p, 0);
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

TEST_F_TIMEOUT(pushes, far_call_of_64_bit_mode, 120)
{
	struct vcpu_thread thread;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = ioregion_vm_create(1, guest_far_call, &vcpu);
	struct hand hand = hand_open(vm, variant->transport);
	enum disturbance how;
	uint64_t vals[2];
	int i;

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

/*
 * A command that cannot be stored for the device task that fetched it, because the
 * task's memory is not there or read-only, is requeued; unless the vCPU has left in
 * between.
 */
FIXTURE(requeue)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct mapping map;
	int uffd;
	void *page;
	pthread_t task;
};

FIXTURE_VARIANT(requeue)
{
	enum mode mode;
};

FIXTURE_VARIANT_ADD(requeue, ioctl) { MODE_IOCTL };
FIXTURE_VARIANT_ADD(requeue, read) { MODE_READ };
FIXTURE_VARIANT_ADD(requeue, uring) { MODE_URING };

static void write_protect(int uffd, void *page)
{
	struct uffdio_writeprotect wp = {
		.range = { (uint64_t)page, getpagesize() },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int r = ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);

	TEST_ASSERT(!r, __KVM_IOCTL_ERROR("UFFDIO_WRITEPROTECT", r));
}

FIXTURE_SETUP(requeue)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg;

	self->uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (self->uffd < 0 || ioctl(self->uffd, UFFDIO_API, &api))
		SKIP(return, "no userfaultfd that can write-protect: errno %d", errno);
	self->page = mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(self->page != MAP_FAILED, "mmap() failed");
	memset(self->page, 0, getpagesize());
	reg = (struct uffdio_register){
		.range = { (uint64_t)self->page, getpagesize() },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	TEST_ASSERT(!ioctl(self->uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER failed: %d", errno);

	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->map = mapping_open(self->ch.dev_rd);
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(requeue)
{
	kvm_vm_free(self->vm);
	mapping_close(&self->map);
	close(self->uffd);
}

struct fetcher {
	int fd;
	enum mode mode;
	void *page;
	pthread_t thread;
	int ret;
	bool done;
};

/*
 * Asks for a command to be stored in @page. The kernel fetches one and then sleeps in
 * the page fault.
 */
static void *fetcher_main(void *data)
{
	struct fetcher *u = data;
	struct ioregionfd_fetch *arg = u->page;
	struct io_uring ring;
	ssize_t n;

	switch (u->mode) {
	case MODE_IOCTL:
		u->ret = commit_and_fetch(u->fd, arg);
		break;
	case MODE_URING:
		u->ret = io_uring_queue_init(8, &ring, 0);
		if (u->ret)
			break;
		uring_submit(&ring, u->fd, arg, 0);
		u->ret = uring_wait(&ring, NULL);
		io_uring_queue_exit(&ring);
		break;
	default:
		n = read(u->fd, u->page, sizeof(struct ioregionfd_cmd));
		u->ret = n < 0 ? -errno : n;
	}
	__atomic_store_n(&u->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void fetcher_fetch(struct fetcher *u, int uffd, struct mapping *map)
{
	struct ioregionfd_fetch *arg = u->page;
	int r;

	*arg = (struct ioregionfd_fetch){ .timeout = -1, .vcpu = IOREGIONFD_ANY };
	write_protect(uffd, u->page);
	r = pthread_create(&u->thread, NULL, fetcher_main, u);
	TEST_ASSERT(!r, "pthread_create() failed: %d", r);
	TEST_ASSERT(fd_poll(uffd, POLLIN, HANG_SECONDS * 1000), "no page fault");
	TEST_ASSERT_EQ(READ_ONCE(map->mailboxes[0].state) & IOREGIONFD_MAILBOX_STATE,
		       IOREGIONFD_MAILBOX_FETCHED);
}

/* Makes the page fault fail. */
static void fetcher_fail(struct fetcher *u, int uffd, bool unmap)
{
	struct uffdio_range range = { (uint64_t)u->page, getpagesize() };
	int i, r;

	r = unmap ? munmap(u->page, getpagesize()) : mprotect(u->page, getpagesize(), PROT_READ);
	TEST_ASSERT(!r, "the page cannot be removed: errno %d", errno);
	r = ioctl(uffd, UFFDIO_WAKE, &range);
	TEST_ASSERT(!r, __KVM_IOCTL_ERROR("UFFDIO_WAKE", r));
	for (i = 0; !__atomic_load_n(&u->done, __ATOMIC_ACQUIRE); i++) {
		TEST_ASSERT(i < HANG_LOOKS, "the device task does not come back");
		usleep(1000);
	}
	pthread_join(u->thread, NULL);
	TEST_ASSERT_EQ(u->ret, -EFAULT);
}

static void requeue_after_the_vcpu_left(struct kvm_vm *vm, struct vcpu_thread *thread,
					struct channel *ch, struct mapping *map, int uffd,
					struct fetcher *u, bool unmap)
{
	struct kvm_run *run = thread->vcpu->run;
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };
	struct guest_op *op;
	int r;

	op_read(thread->vcpu, 8, SYNC + 0x10);
	op = op_read(thread->vcpu, 8, SYNC + 0x18);
	thread_start(thread);
	fetcher_fetch(u, uffd, map);
	thread_wait_asleep(thread);
	region_del(vm, SYNC, 0x1000, 0);
	thread_join_exit(thread);
	TEST_ASSERT_EQ(run->exit_reason, KVM_EXIT_IOREGIONFD_FAILURE);
	TEST_ASSERT_EQ(run->ioregionfd.progress, KVM_IOREGIONFD_SENT_ALL);
	fetcher_fail(u, uffd, unmap);

	/* Nobody may carry it out now: the VMM has been told what became of it. */
	r = commit_and_fetch(ch->dev_rd, &arg);
	TEST_ASSERT(r, "a task is given the command for 0x%llx of a region that is gone",
		    arg.cmd.offset);
	TEST_ASSERT_EQ(r, -EAGAIN);
	TEST_ASSERT(!dev_has_cmd(ch), "poll() says that there is a command");

	/* The mailbox is free for the next command. */
	region_add(vm, ch, SYNC, 0x1000, SYNC_DATA, 0);
	run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	run->ioregionfd.data = 0;
	thread_start(thread);
	expect_cmd(dev_recv(ch), cmd_read(8, SYNC_DATA, 0x18));
	TEST_ASSERT_EQ(resp_write(ch->dev_wr, 0x1234), 0);
	thread_join_done(thread);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

TEST_F(requeue, read_only_after_the_vcpu_left)
{
	struct fetcher u = { self->ch.dev_rd, variant->mode, self->page };

	requeue_after_the_vcpu_left(self->vm, &self->thread, &self->ch, &self->map, self->uffd, &u,
				    false);
}

TEST_F(requeue, unmapped_after_the_vcpu_left)
{
	struct fetcher u = { self->ch.dev_rd, variant->mode, self->page };

	requeue_after_the_vcpu_left(self->vm, &self->thread, &self->ch, &self->map, self->uffd, &u,
				    true);
}

/* The vCPU still waits: another task fetches the command, for the first time. */
TEST_F(requeue, while_the_vcpu_waits)
{
	struct fetcher u = { self->ch.dev_rd, variant->mode, self->page };
	struct guest_op *op = op_read(self->vcpu, 8, SYNC + 0x10);

	thread_start(&self->thread);
	fetcher_fetch(&u, self->uffd, &self->map);
	fetcher_fail(&u, self->uffd, false);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, SYNC_DATA, 0x10));
	TEST_ASSERT_EQ(resp_write(self->ch.dev_wr, 0x1234), 0);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

/*
 * Recovered in between: the new task has the command, and the old one's fault does not
 * change that.
 */
TEST_F(requeue, after_recovery)
{
	struct fetcher u = { self->ch.dev_rd, variant->mode, self->page };
	struct guest_op *op = op_read(self->vcpu, 8, SYNC + 0x10);
	struct ioregionfd_fetch arg = fetch_arg(0);

	thread_start(&self->thread);
	fetcher_fetch(&u, self->uffd, &self->map);
	recover(self->ch.dev_rd);
	TEST_ASSERT_EQ(commit_and_fetch(self->ch.dev_rd, &arg), 0);
	fetcher_fail(&u, self->uffd, false);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "the command comes twice");
	TEST_ASSERT_EQ(commit_only(self->ch.dev_rd, arg.id, 0x1234), 0);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

/*
 * Posted writes and the removal of their region.
 */
FIXTURE(posted)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct mapping map;
};

FIXTURE_SETUP(posted)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->map = mapping_open(self->ch.dev_rd);
	region_add(self->vm, &self->ch, SYNC, 0x1000, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(posted)
{
	kvm_vm_free(self->vm);
	mapping_close(&self->map);
}

static void run_writes(struct kvm_vcpu *vcpu, uint32_t count, uint64_t first)
{
	op_add(vcpu, (struct guest_op){ OP_WRITE, 8, SYNC, first, .count = count });
	run_done(vcpu);
}

/* What the guest had completed comes, in order, before the commands of the next region. */
TEST_F(posted, removed_with_writes_in_the_ring)
{
	struct ioregionfd_control *control = self->map.control;
	struct guest_op *op;
	uint32_t gone, i;

	run_writes(self->vcpu, 5, 100);
	region_del(self->vm, SYNC, 0x1000, 0);
	gone = READ_ONCE(control->posted_head);
	region_add(self->vm, &self->ch, SYNC, 0x1000, USER_DATA(1), KVM_IOREGION_POSTED_WRITES);
	run_writes(self->vcpu, 3, 200);
	op = op_read(self->vcpu, 8, SYNC);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	for (i = 0; i < 5; i++) {
		TEST_ASSERT(READ_ONCE(control->posted_tail) >> 1 != gone, "removed too early");
		expect_cmd(dev_recv(&self->ch), cmd_posted(8, POSTED_DATA, 0, 100 + i));
	}
	TEST_ASSERT_EQ(READ_ONCE(control->posted_tail) >> 1, gone);
	for (i = 0; i < 3; i++)
		expect_cmd(dev_recv(&self->ch), cmd_posted(8, USER_DATA(1), 0, 200 + i));
	expect_cmd(dev_recv(&self->ch), cmd_read(8, USER_DATA(1), 0));
	TEST_ASSERT_EQ(resp_write(self->ch.dev_wr, 7), 0);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 7);
}

/* The write that finds no room is not complete: only the VMM gets it. */
TEST_F(posted, removed_with_a_full_ring)
{
	uint32_t gone, i;

	op_add(self->vcpu, (struct guest_op){ OP_WRITE, 8, SYNC, 100, .count = NR_POSTED + 2 });
	thread_start(&self->thread);
	thread_interrupt(&self->thread);
	region_del(self->vm, SYNC, 0x1000, 0);
	gone = READ_ONCE(self->map.control->posted_head);
	thread_start(&self->thread);
	for (i = NR_POSTED; i < NR_POSTED + 2; i++) {
		thread_join_exit(&self->thread);
		expect_mmio(self->vcpu, SYNC, 8, true, 100 + i);
		thread_start(&self->thread);
	}
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(READ_ONCE(self->map.control->posted_head), gone);
	for (i = 0; i < NR_POSTED; i++)
		expect_cmd(dev_recv(&self->ch), cmd_posted(8, POSTED_DATA, 0, 100 + i));
	TEST_ASSERT(!dev_has_cmd(&self->ch), "more commands than writes");
}

/* Removed at any moment: the device task gets the first writes, the VMM all others. */
TEST_F_TIMEOUT(posted, removed_while_the_guest_writes, 120)
{
	struct guest_op op = { OP_WRITE, 8, SYNC, .count = 40 };
	struct kvm_run *run = self->vcpu->run;
	struct ioregionfd_cmd cmd;
	uint32_t round, seen, gone;

	for (round = 0; round < 100; round++) {
		op_add(self->vcpu, op);
		thread_start(&self->thread);
		for (seen = 0; seen < round % 30; seen++) {
			cmd = dev_recv(&self->ch);
			TEST_ASSERT_EQ(cmd.data, seen);
		}
		if (round & 1)
			shake(round * 997 % 50000);
		region_del(self->vm, SYNC, 0x1000, 0);
		gone = READ_ONCE(self->map.control->posted_head);
		while (dev_has_cmd(&self->ch)) {
			cmd = dev_recv(&self->ch);
			TEST_ASSERT_EQ(cmd.data, seen++);
		}
		for (;;) {
			thread_join_exit(&self->thread);
			if (run->exit_reason != KVM_EXIT_MMIO)
				break;
			expect_mmio(self->vcpu, SYNC, 8, true, seen++);
			thread_start(&self->thread);
		}
		expect_done(self->vcpu);
		TEST_ASSERT(seen == op.count, "round %u: %u writes of %u", round, seen, op.count);
		TEST_ASSERT_EQ(READ_ONCE(self->map.control->posted_head), gone);
		TEST_ASSERT(!dev_has_cmd(&self->ch), "round %u: a write comes late", round);
		region_add(self->vm, &self->ch, SYNC, 0x1000, POSTED_DATA,
			   KVM_IOREGION_POSTED_WRITES);
	}
}

/*
 * Devices of KVM's own inside a region.
 */
FIXTURE(inside)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct hand hand;
};

FIXTURE_VARIANT(inside)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(inside, native) { TR_NATIVE };
FIXTURE_VARIANT_ADD(inside, polled) { TR_POLLED };
FIXTURE_VARIANT_ADD(inside, seqpacket) { TR_SEQPACKET };

FIXTURE_SETUP(inside)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->hand = hand_open(self->vm, variant->transport);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(inside)
{
	set_spin_ns(SPIN_DEFAULT);
	kvm_vm_free(self->vm);
	hand_close(&self->hand);
}

/*
 * The ring of coalesced writes is full: the VMM must empty it, and the device task must
 * not get the write.
 */
static void coalesced_full(struct kvm_vm *vm, struct vcpu_thread *thread, struct hand *hand,
			   bool pio)
{
	struct kvm_vcpu *vcpu = thread->vcpu;
	struct kvm_coalesced_mmio_ring *ring =
		(void *)vcpu->run + kvm_check_cap(KVM_CAP_COALESCED_MMIO) * getpagesize();
	uint32_t max = (getpagesize() - sizeof(*ring)) / sizeof(struct kvm_coalesced_mmio);
	struct kvm_coalesced_mmio_zone zone = {
		.addr = pio ? PIO_BASE + 8 : SYNC + 8,
		.size = 4,
		.pio = pio,
	};
	struct guest_op op = { pio ? OP_OUT : OP_WRITE, 4, zone.addr };
	uint32_t i, seen = 0, round;

	vm_ioctl(vm, KVM_REGISTER_COALESCED_MMIO, &zone);
	/* One entry of the ring always stays free. */
	for (round = 0; round < 2; round++) {
		op.val = seen;
		op.count = max;
		op_add(vcpu, op);
		thread_start(thread);
		TEST_ASSERT(thread_settles(thread), "the vCPU waits for the device task");
		thread_join_exit(thread);
		expect_no_cmd(hand);
		for (i = 0; i < max - 1; i++, seen++) {
			TEST_ASSERT(ring->first != READ_ONCE(ring->last),
				    "only %u are coalesced", i);
			TEST_ASSERT_EQ(*(uint32_t *)ring->coalesced_mmio[ring->first].data, seen);
			ring->first = (ring->first + 1) % max;
		}
		TEST_ASSERT_EQ(ring->first, READ_ONCE(ring->last));
		if (pio)
			expect_io(vcpu, zone.addr, 4, true, seen);
		else
			expect_mmio(vcpu, zone.addr, 4, true, seen);
		seen++;
		run_done(vcpu);
	}
	expect_no_cmd(hand);
}

TEST_F(inside, coalesced_zone_full)
{
	region_add(self->vm, &self->hand.ch, SYNC, 0x1000, SYNC_DATA, 0);
	coalesced_full(self->vm, &self->thread, &self->hand, false);
}

TEST_F(inside, coalesced_zone_full_posted)
{
	region_add(self->vm, &self->hand.ch, SYNC, 0x1000, SYNC_DATA, KVM_IOREGION_POSTED_WRITES);
	coalesced_full(self->vm, &self->thread, &self->hand, false);
}

TEST_F(inside, coalesced_zone_full_ports)
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_COALESCED_PIO));
	region_add(self->vm, &self->hand.ch, PIO_BASE, 0x100, SYNC_DATA, KVM_IOREGION_PIO);
	coalesced_full(self->vm, &self->thread, &self->hand, true);
}

/*
 * An ioeventfd beside posted writes: whoever has seen the event finds what the guest
 * wrote before it.
 */
#define KICKS	500

static void order_with_ioeventfd(struct kvm_vm *vm, struct vcpu_thread *thread, struct hand *hand,
				 bool kick_first)
{
	struct kvm_ioeventfd event = { .addr = SYNC + 8, .len = 4, .fd = eventfd(0, EFD_NONBLOCK) };
	struct guest_op write = { OP_WRITE, 4, SYNC + 0x10 }, kick = { OP_WRITE, 4, SYNC + 8 };
	uint64_t kicks = 0, writes = 0, n;
	uint32_t i, all, looks;

	vm_ioctl(vm, KVM_IOEVENTFD, &event);
	for (all = 10; all <= KICKS; all += 10) {
		for (i = all - 10; i < all; i++) {
			write.val = i;
			op_add(thread->vcpu, kick_first ? kick : write);
			op_add(thread->vcpu, kick_first ? write : kick);
		}
		thread_start(thread);
		for (looks = 0; kicks < all || writes < all; looks++) {
			TEST_ASSERT(looks < HANG_LOOKS, "only %lu writes and %lu kicks of %u came",
				    writes, kicks, all);
			if (kick_first && hand_try(hand))
				TEST_ASSERT_EQ(hand->arg.cmd.data, writes++);
			if (read(event.fd, &n, sizeof(n)) == sizeof(n))
				kicks += n;
			else
				usleep(looks % 100);
			TEST_ASSERT(!kick_first || writes <= kicks,
				    "write %lu came before kick %lu", writes, kicks);
			while (!kick_first && writes < kicks) {
				TEST_ASSERT(hand_try(hand), "kick %lu came before write %lu",
					    kicks, writes);
				TEST_ASSERT_EQ(hand->arg.cmd.data, writes++);
			}
		}
		thread_join_done(thread);
	}
	expect_no_cmd(hand);
	close(event.fd);
}

TEST_F_TIMEOUT(inside, ioeventfd_after_a_posted_write, 120)
{
	region_add(self->vm, &self->hand.ch, SYNC, 0x1000, SYNC_DATA, KVM_IOREGION_POSTED_WRITES);
	order_with_ioeventfd(self->vm, &self->thread, &self->hand, false);
}

TEST_F_TIMEOUT(inside, ioeventfd_before_a_posted_write, 120)
{
	region_add(self->vm, &self->hand.ch, SYNC, 0x1000, SYNC_DATA, KVM_IOREGION_POSTED_WRITES);
	order_with_ioeventfd(self->vm, &self->thread, &self->hand, true);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
