// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each access of the guest is carried out once: by instructions that are restarted, when
 * regions are removed, and beside devices that KVM has inside a region.
 */
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

/* In a page table entry, and what is taken away of it */
#define PTE_PRESENT	BIT(0)
#define PTE_WRITABLE	BIT(1)

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
	*pte = vm_get_pte(*vm, CROSS);
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

TEST_REFAULT(read_of_2, OP_READ, 2, PTE_PRESENT)
TEST_REFAULT(read_of_4, OP_READ, 4, PTE_PRESENT)
TEST_REFAULT(read_of_8, OP_READ, 8, PTE_PRESENT)
TEST_REFAULT(read_of_16, OP_LOAD16, 16, PTE_PRESENT)
TEST_REFAULT(write_of_2, OP_WRITE, 2, PTE_PRESENT)
TEST_REFAULT(write_of_4, OP_WRITE, 4, PTE_PRESENT)
TEST_REFAULT(write_of_8, OP_WRITE, 8, PTE_PRESENT)
TEST_REFAULT(write_of_16, OP_STORE16, 16, PTE_PRESENT)
TEST_REFAULT(write_of_8_read_only, OP_WRITE, 8, PTE_WRITABLE)
TEST_REFAULT(write_of_16_read_only, OP_STORE16, 16, PTE_WRITABLE)
TEST_REFAULT(or_of_8, OP_OR, 8, PTE_PRESENT)

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
		run_with_fault(self->vcpu, self->pte, PTE_PRESENT, "lfs");
		expect_bytes_once(&self->dev, false, offset, 10, "lfs");
		TEST_ASSERT_EQ(op->val, want);
	}
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
		TEST_ASSERT(ioregionfd_posted_index(READ_ONCE(control->posted_tail)) != gone,
			    "removed too early");
		expect_cmd(dev_recv(&self->ch), cmd_posted(8, POSTED_DATA, 0, 100 + i));
	}
	TEST_ASSERT_EQ(ioregionfd_posted_index(READ_ONCE(control->posted_tail)), gone);
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
		TEST_ASSERT(thread_wait_returned(thread), "the vCPU waits for the device task");
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
 * A write that crosses a page, with one part or both in a zone whose ring is full: each of these
 * is the VMM's, and the other one is for the device task.
 */
static void coalesced_full_parts(struct kvm_vm *vm, struct vcpu_thread *thread,
				 struct hand *hand, bool first, bool second)
{
	struct kvm_vcpu *vcpu = thread->vcpu;
	struct kvm_coalesced_mmio_ring *ring =
		(void *)vcpu->run + kvm_check_cap(KVM_CAP_COALESCED_MMIO) * getpagesize();
	uint32_t max = (getpagesize() - sizeof(*ring)) / sizeof(struct kvm_coalesced_mmio);
	struct kvm_coalesced_mmio_zone zones[] = {
		{ .addr = SYNC + 0xff8, .size = 8 },
		{ .addr = SYNC + 0x1000, .size = 8 },
	};

	region_add(vm, &hand->ch, SYNC, 0x2000, SYNC_DATA, 0);
	if (first)
		vm_ioctl(vm, KVM_REGISTER_COALESCED_MMIO, &zones[0]);
	if (second)
		vm_ioctl(vm, KVM_REGISTER_COALESCED_MMIO, &zones[1]);
	op_add(vcpu, (struct guest_op){
		.kind = OP_WRITE,
		.size = 4,
		.addr = zones[!first].addr,
		.count = max - 1,
	});
	op_write(vcpu, 4, SYNC + 0xffe, 0x44332211);
	thread_start(thread);
	if (first) {
		thread_join_exit(thread);
		expect_mmio(vcpu, SYNC + 0xffe, 2, true, 0x2211);
		thread_start(thread);
	} else {
		expect_cmd(hand_fetch(hand), cmd_write(2, SYNC_DATA, 0xffe, 0x2211));
		hand_complete(hand, 0);
	}
	if (second) {
		thread_join_exit(thread);
		expect_mmio(vcpu, SYNC + 0x1000, 2, true, 0x4433);
		thread_start(thread);
	} else {
		expect_cmd(hand_fetch(hand), cmd_write(2, SYNC_DATA, 0x1000, 0x4433));
		hand_complete(hand, 0);
	}
	thread_join_done(thread);
	expect_no_cmd(hand);
}

TEST_F(inside, coalesced_zone_full_first_part)
{
	coalesced_full_parts(self->vm, &self->thread, &self->hand, true, false);
}

TEST_F(inside, coalesced_zone_full_second_part)
{
	coalesced_full_parts(self->vm, &self->thread, &self->hand, false, true);
}

TEST_F(inside, coalesced_zone_full_both_parts)
{
	coalesced_full_parts(self->vm, &self->thread, &self->hand, true, true);
}

/*
 * A device task has fetched a write that was then given up: it may still carry it out, so the
 * vCPU's next write on the channel waits for it, if it is a posted one, too.
 */
TEST_F(inside, posted_behind_a_canceled_write)
{
	const uint64_t posted = SYNC + 0x1000;
	struct kvm_run *run = self->vcpu->run;

	region_add(self->vm, &self->hand.ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(self->vm, &self->hand.ch, posted, 0x1000, SYNC_DATA, KVM_IOREGION_POSTED_WRITES);
	op_write(self->vcpu, 4, SYNC, 1);
	op_write(self->vcpu, 4, posted, 2);
	thread_start(&self->thread);
	expect_cmd(hand_fetch(&self->hand), cmd_write(4, SYNC_DATA, 0, 1));
	thread_interrupt(&self->thread);
	TEST_ASSERT_EQ(thread_run_how(&self->thread, KVM_RUN_IOREGIONFD_CANCEL), 0);
	TEST_ASSERT_EQ(run->exit_reason, KVM_EXIT_IOREGIONFD_FAILURE);
	TEST_ASSERT_EQ(run->ioregionfd.progress, KVM_IOREGIONFD_SENT_ALL);
	run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	thread_start(&self->thread);
	TEST_ASSERT(!thread_wait_returned(&self->thread), "the posted write has overtaken it");
	hand_complete_late(&self->hand, 0);
	thread_join_done(&self->thread);
	expect_cmd(hand_fetch(&self->hand), cmd_posted(4, SYNC_DATA, 0, 2));
	expect_no_cmd(&self->hand);
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
