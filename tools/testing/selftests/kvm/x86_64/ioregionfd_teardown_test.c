// SPDX-License-Identifier: GPL-2.0-only
/*
 * Regions, memory slots, vCPUs and VMs that go while an access is on its way.
 */
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "ioregionfd_util.h"

#define FIRST		MMIO_GPA
#define SECOND		(MMIO_GPA + 0x1000)
#define SIZE		0x1000
#define FIRST_DATA	USER_DATA(0)
#define SECOND_DATA	USER_DATA(0x1000)

#define NONE		KVM_IOREGIONFD_SENT_NONE
#define ALL		KVM_IOREGIONFD_SENT_ALL

static struct kvm_ioregionfd_exit exit_gone(uint8_t progress, uint64_t region, uint64_t user_data,
					    uint32_t size, uint64_t addr)
{
	return (struct kvm_ioregionfd_exit){
		.region_paddr = region,
		.region_size = SIZE,
		.user_data = user_data,
		.guest_paddr = addr,
		.size = size,
		.reason = KVM_IOREGIONFD_FAIL_DEASSIGNED,
		.progress = progress,
	};
}

static void resolve(struct kvm_vcpu *vcpu, uint32_t action, uint64_t data)
{
	vcpu->run->ioregionfd.action = action;
	vcpu->run->ioregionfd.data = data;
}

/* Nobody has to wait long to be rid of a device task that does not answer. */
static void region_del_in_time(struct kvm_vm *vm, uint64_t addr)
{
	uint64_t begin = now_ms();

	region_del(vm, addr, SIZE, 0);
	TEST_ASSERT(now_ms() - begin < 1000, "deassign took %lu ms", now_ms() - begin);
}

FIXTURE(deassign)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
};

FIXTURE_VARIANT(deassign)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(deassign, stream) { TR_STREAM };
FIXTURE_VARIANT_ADD(deassign, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(deassign, dgram) { TR_DGRAM };
FIXTURE_VARIANT_ADD(deassign, pipes) { TR_PIPES };
FIXTURE_VARIANT_ADD(deassign, made) { TR_MADE };

FIXTURE_SETUP(deassign)
{
	int i;

	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, variant->transport);
	channel_shrink(&self->ch);
	region_add(self->vm, &self->ch, FIRST, SIZE, FIRST_DATA, 0);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
}

FIXTURE_TEARDOWN(deassign)
{
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

/* vCPU 0 reads, and its region goes before the answer comes. */
static struct guest_op *region_goes(struct kvm_vm *vm, struct vcpu_thread *thread,
				    struct channel *ch)
{
	struct guest_op *op = op_read(thread->vcpu, 4, FIRST + 4);

	thread_start(thread);
	expect_cmd(dev_recv(ch), cmd_read(4, FIRST_DATA, 4));
	thread_wait_asleep(thread);
	region_del_in_time(vm, FIRST);
	thread_join_exit(thread);
	expect_failure(thread->vcpu, exit_gone(ALL, FIRST, FIRST_DATA, 4, FIRST + 4));
	return op;
}

TEST_F(deassign, while_waiting)
{
	struct guest_op *op = region_goes(self->vm, &self->threads[0], &self->ch);

	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0x1234);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

TEST_F(deassign, while_waiting_and_retry)
{
	struct guest_op *op = region_goes(self->vm, &self->threads[0], &self->ch);

	vcpu_run(self->vcpus[0]);
	expect_mmio(self->vcpus[0], FIRST + 4, 4, false, 0);
	answer_mmio(self->vcpus[0], 0x4321);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x4321);
}

/* Of a command that nothing was sent of, nobody needs to know. */
TEST_F(deassign, while_queued)
{
	struct guest_op *first, *second;

	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	first = op_read(self->vcpus[0], 4, FIRST);
	second = op_read(self->vcpus[1], 8, SECOND + 8);
	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, FIRST_DATA, 0));
	thread_start(&self->threads[1]);
	thread_wait_asleep(&self->threads[1]);
	region_del_in_time(self->vm, SECOND);
	thread_join_exit(&self->threads[1]);
	expect_mmio(self->vcpus[1], SECOND + 8, 8, false, 0);
	answer_mmio(self->vcpus[1], 0x5678);
	run_done(self->vcpus[1]);
	TEST_ASSERT_EQ(second->val, 0x5678);

	dev_send(&self->ch, 0x8765);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(first->val, 0x8765);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "it was sent nevertheless");
}

/* The one that has the channel goes: the one behind it gets its turn. */
TEST_F(deassign, of_the_first_of_two)
{
	struct guest_op *op;

	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	op_read(self->vcpus[0], 4, FIRST);
	op = op_read(self->vcpus[1], 4, SECOND);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_start(&self->threads[1]);
	thread_wait_asleep(&self->threads[1]);
	region_del_in_time(self->vm, FIRST);
	thread_join_exit(&self->threads[0]);
	expect_failure(self->vcpus[0], exit_gone(ALL, FIRST, FIRST_DATA, 4, FIRST));

	/* When the answer to the first one has come, which is nobody's now. */
	thread_wait_asleep(&self->threads[1]);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "two commands at a time");
	dev_send(&self->ch, 0x11111111);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&self->threads[1]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

TEST_F(deassign, while_the_channel_is_full)
{
	struct guest_op op = { OP_WRITE, 4, SECOND + 0x10 };
	unsigned int seq = 0;

	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, KVM_IOREGION_POSTED_WRITES);
	op.count = 1000;
	op_add(self->vcpus[0], op);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	region_del_in_time(self->vm, SECOND);
	thread_join_exit(&self->threads[0]);
	while (dev_has_cmd(&self->ch))
		expect_cmd(dev_recv(&self->ch), cmd_posted(4, SECOND_DATA, 0x10, seq++));
	for (; seq < op.count; seq++) {
		expect_mmio(self->vcpus[0], SECOND + 0x10, 4, true, seq);
		vcpu_run(self->vcpus[0]);
	}
	expect_done(self->vcpus[0]);
}

TEST_F(deassign, while_interrupted)
{
	struct guest_op *op = op_read(self->vcpus[0], 4, FIRST + 4);

	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
	region_del_in_time(self->vm, FIRST);
	vcpu_run(self->vcpus[0]);
	expect_failure(self->vcpus[0], exit_gone(ALL, FIRST, FIRST_DATA, 4, FIRST + 4));
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0x1234);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

TEST_F(deassign, while_interrupted_and_queued)
{
	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	op_read(self->vcpus[0], 4, FIRST);
	op_write(self->vcpus[1], 4, SECOND, 0x77);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_start(&self->threads[1]);
	thread_interrupt(&self->threads[1]);
	region_del_in_time(self->vm, SECOND);
	vcpu_run(self->vcpus[1]);
	expect_mmio(self->vcpus[1], SECOND, 4, true, 0x77);
	run_done(self->vcpus[1]);
	dev_send(&self->ch, 0);
	thread_join_done(&self->threads[0]);
}

/* The region that is made anew has nothing to do with what the old one was asked. */
TEST_F(deassign, while_interrupted_and_made_again)
{
	struct channel ch = channel_open(TR_STREAM);
	struct guest_op *op = op_read(self->vcpus[0], 4, FIRST);

	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
	region_del(self->vm, FIRST, SIZE, 0);
	region_add(self->vm, &ch, FIRST, SIZE, SECOND_DATA, 0);
	dev_send(&self->ch, 0x11111111);
	vcpu_run(self->vcpus[0]);
	expect_failure(self->vcpus[0], exit_gone(ALL, FIRST, FIRST_DATA, 4, FIRST));
	TEST_ASSERT(!dev_has_cmd(&ch), "it was sent without being asked to");

	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&ch, 0x22222222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

/* The answer to a region that has gone comes before the next command. */
TEST_F(deassign, late_answer_is_dropped)
{
	struct guest_op *op;

	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	region_goes(self->vm, &self->threads[0], &self->ch);
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpus[0]);

	dev_send(&self->ch, 0x11111111);
	op = op_read(self->vcpus[0], 4, SECOND);
	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

/* And after the guest has made it: it waits. */
TEST_F(deassign, later_answer_is_dropped)
{
	struct guest_op *op;

	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	region_goes(self->vm, &self->threads[0], &self->ch);
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpus[0]);

	op = op_read(self->vcpus[0], 4, SECOND);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "two commands at a time");
	dev_send(&self->ch, 0x11111111);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

/* The same files and address, without any region of the channel in between. */
TEST_F(deassign, late_answer_does_not_answer_the_region_made_again)
{
	struct guest_op *op;

	region_goes(self->vm, &self->threads[0], &self->ch);
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpus[0]);
	region_add(self->vm, &self->ch, FIRST, SIZE, SECOND_DATA, 0);

	dev_send(&self->ch, 0x11111111);
	op = op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

TEST_F(deassign, later_answer_does_not_answer_the_region_made_again)
{
	struct guest_op *op;

	region_goes(self->vm, &self->threads[0], &self->ch);
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpus[0]);
	region_add(self->vm, &self->ch, FIRST, SIZE, SECOND_DATA, 0);

	op = op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	dev_send(&self->ch, 0x11111111);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

/* KVM waits for the answer alone, if it must, and then lets go. */
TEST_F(deassign, of_the_last_region_ends_with_the_answer)
{
	region_goes(self->vm, &self->threads[0], &self->ch);
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpus[0]);
	channel_close_kvm(&self->ch);

	/* Others end, or are known to, with the VM; that is in the teardown. */
	dev_send(&self->ch, 0x11111111);
	if (variant->transport != TR_PIPES && variant->transport != TR_MADE)
		expect_released(&self->ch);
}

/* How a VMM ends it all for the device task, whoever holds the files. */
TEST(shutdown_by_the_vmm)
{
	struct channel ch = channel_open(TR_STREAM);
	struct vcpu_thread thread = { 0 };
	struct kvm_ioregionfd_exit exit;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = ioregion_vm_create(1, guest_script_main, &vcpu);
	region_add(vm, &ch, FIRST, SIZE, FIRST_DATA, 0);
	vcpu_thread_init(&thread, vcpu);
	op_read(vcpu, 4, FIRST);
	thread_start(&thread);
	dev_recv(&ch);
	thread_wait_asleep(&thread);
	TEST_ASSERT(!shutdown(ch.kvm_wr, SHUT_RDWR), "shutdown() failed");
	channel_close_kvm(&ch);
	expect_released(&ch);

	thread_join_exit(&thread);
	exit = exit_gone(ALL, FIRST, FIRST_DATA, 4, FIRST);
	exit.reason = KVM_IOREGIONFD_FAIL_HANGUP;
	expect_failure(vcpu, exit);
	kvm_vm_free(vm);
}

/*
 * A stream's answer of which one half comes before the region goes.
 */
FIXTURE(half_answered)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
};

FIXTURE_VARIANT(half_answered)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(half_answered, stream) { TR_STREAM };
FIXTURE_VARIANT_ADD(half_answered, pipes) { TR_PIPES };

FIXTURE_SETUP(half_answered)
{
	struct ioregionfd_resp resp = make_resp(0x1111111111111111);

	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	vcpu_thread_init(&self->thread, self->vcpu);
	self->ch = channel_open_for(self->vm, variant->transport);
	region_add(self->vm, &self->ch, FIRST, SIZE, FIRST_DATA, 0);
	op_read(self->vcpu, 8, FIRST);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	dev_send_bytes(&self->ch, &resp, 16);
	thread_wait_asleep(&self->thread);
}

FIXTURE_TEARDOWN(half_answered)
{
	struct ioregionfd_resp resp = make_resp(0x1111111111111111);
	struct guest_op *op;

	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, exit_gone(ALL, FIRST, FIRST_DATA, 8, FIRST));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpu);

	/* The other half belongs to the first one still. */
	op = op_read(self->vcpu, 8, FIRST + 8);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "two commands at a time");
	dev_send_bytes(&self->ch, (char *)&resp + 16, 16);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, SECOND_DATA, 8));
	dev_send(&self->ch, 0x2222222222222222);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x2222222222222222);

	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

TEST_F(half_answered, region_made_again)
{
	region_del(self->vm, FIRST, SIZE, 0);
	region_add(self->vm, &self->ch, FIRST, SIZE, SECOND_DATA, 0);
}

TEST_F(half_answered, region_made_again_later)
{
	region_del(self->vm, FIRST, SIZE, 0);
	while (!thread_returned(&self->thread))
		usleep(1000);
	region_add(self->vm, &self->ch, FIRST, SIZE, SECOND_DATA, 0);
}

/*
 * Nothing else waits with a vCPU that waits.
 */
FIXTURE(waiting)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
	struct guest_op *op;
};

FIXTURE_VARIANT(waiting)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(waiting, stream) { TR_STREAM };
FIXTURE_VARIANT_ADD(waiting, made) { TR_MADE };

/* vCPU 0 waits for a device task that does not answer. */
FIXTURE_SETUP(waiting)
{
	int i;

	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, variant->transport);
	region_add(self->vm, &self->ch, FIRST, SIZE, FIRST_DATA, 0);
	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);

	self->op = op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_wait_asleep(&self->threads[0]);
}

FIXTURE_TEARDOWN(waiting)
{
	TEST_ASSERT(!thread_returned(&self->threads[0]), "it did not wait for its answer");
	dev_send(&self->ch, 0x55667788);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(self->op->val, 0x55667788);
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

TEST_F(waiting, memory_slots_change)
{
	uint64_t gpa = 0x100000000;

	vm_userspace_mem_region_add(self->vm, VM_MEM_SRC_ANONYMOUS, gpa, 1, 4, 0);
	vm_mem_region_set_flags(self->vm, 1, KVM_MEM_LOG_DIRTY_PAGES);
	vm_mem_region_move(self->vm, 1, gpa + 0x10000);
	vm_mem_region_delete(self->vm, 1);
}

/* The slot takes the place of the region, of which the access is under way. */
TEST_F(waiting, memory_slot_over_the_region)
{
	vm_userspace_mem_region_add(self->vm, VM_MEM_SRC_ANONYMOUS, FIRST, 1, 1, 0);
	vm_mem_region_delete(self->vm, 1);
}

TEST_F(waiting, other_regions_change)
{
	region_del(self->vm, SECOND, SIZE, 0);
	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	region_add(self->vm, &self->ch, PIO_BASE, 0x10, 0, KVM_IOREGION_PIO);
}

TEST_F(waiting, ioeventfds_and_zones_change)
{
	struct kvm_ioeventfd args = { .addr = FIRST + 8, .len = 4, .fd = eventfd(0, 0) };

	vm_ioctl(self->vm, KVM_IOEVENTFD, &args);
	args.flags = KVM_IOEVENTFD_FLAG_DEASSIGN;
	vm_ioctl(self->vm, KVM_IOEVENTFD, &args);
	kvm_vm_register_coalesced_io(self->vm, FIRST + 16, 4, false);
	kvm_vm_unregister_coalesced_io(self->vm, FIRST + 16, 4, false);
}

TEST_F(waiting, other_vcpus_run)
{
	op_write(self->vcpus[1], 4, MMIO_GPA + 0x2000, 1);
	vcpu_run(self->vcpus[1]);
	expect_mmio(self->vcpus[1], MMIO_GPA + 0x2000, 4, true, 1);
	run_done(self->vcpus[1]);
}

TEST_F(waiting, vcpus_are_made)
{
	vm_vcpu_add(self->vm, 2, guest_script_main);
}

/*
 * VMs and vCPUs that go with an access on its way.
 */
FIXTURE(closed)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
};

FIXTURE_VARIANT(closed)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(closed, stream) { TR_STREAM };
FIXTURE_VARIANT_ADD(closed, pipes) { TR_PIPES };
FIXTURE_VARIANT_ADD(closed, made) { TR_MADE };

FIXTURE_SETUP(closed)
{
	int i;

	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, variant->transport);
	channel_shrink(&self->ch);
	region_add(self->vm, &self->ch, FIRST, SIZE, FIRST_DATA, 0);
	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, KVM_IOREGION_POSTED_WRITES);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
}

FIXTURE_TEARDOWN(closed)
{
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

TEST_F(closed, with_a_command_unanswered)
{
	op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
}

TEST_F(closed, with_a_command_queued)
{
	op_read(self->vcpus[0], 4, FIRST);
	op_read(self->vcpus[1], 4, FIRST + 4);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_start(&self->threads[1]);
	thread_interrupt(&self->threads[1]);
	thread_interrupt(&self->threads[0]);
}

TEST_F(closed, with_the_channel_full)
{
	struct guest_op op = { OP_WRITE, 4, SECOND };

	op.count = 1000;
	op_add(self->vcpus[0], op);
	thread_start(&self->threads[0]);
	thread_interrupt(&self->threads[0]);
}

TEST_F(closed, with_the_region_gone)
{
	op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
	region_del(self->vm, FIRST, SIZE, 0);
	region_del(self->vm, SECOND, SIZE, 0);
}

TEST_F(closed, with_a_failure_unresolved)
{
	op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	region_del(self->vm, FIRST, SIZE, 0);
	thread_join_exit(&self->threads[0]);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);
}

/* Another VM goes on where this one has left its command on the channel. */
TEST_F(closed, other_vm_goes_on)
{
	struct vcpu_thread thread = { 0 };
	struct kvm_vcpu *vcpu;
	struct guest_op *op;
	struct kvm_vm *vm;

	if (variant->transport == TR_MADE)
		SKIP(return, "a channel that kvm.ko made is for one VM");
	vm = ioregion_vm_create(1, guest_script_main, &vcpu);
	region_add(vm, &self->ch, FIRST, SIZE, SECOND_DATA, 0);
	vcpu_thread_init(&thread, vcpu);

	op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
	kvm_vm_free(self->vm);
	self->vm = vm;

	op = op_read(vcpu, 4, FIRST + 4);
	thread_start(&thread);
	thread_wait_asleep(&thread);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "two commands at a time");
	dev_send(&self->ch, 0x11111111);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 4));
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&thread);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

/*
 * A command of which a part is in the socket stays there, and is finished when
 * somebody needs the channel.
 */
FIXTURE(half_written)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
};

FIXTURE_SETUP(half_written)
{
	struct guest_op op = { OP_WRITE, 8, SECOND };
	int i;

	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	self->ch = channel_open(TR_TCP);
	region_add(self->vm, &self->ch, FIRST, SIZE, FIRST_DATA, 0);
	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, KVM_IOREGION_POSTED_WRITES);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
	op.count = 3000;
	op_add(self->vcpus[0], op);
	run_until_half_written(&self->threads[0], &self->ch);
}

FIXTURE_TEARDOWN(half_written)
{
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

TEST_F_TIMEOUT(half_written, deassign, 60)
{
	struct kvm_ioregionfd_exit *exit = &self->vcpus[0]->run->ioregionfd;
	struct ioregionfd_cmd cmd;
	struct guest_op *op;

	region_del_in_time(self->vm, SECOND);
	vcpu_run(self->vcpus[0]);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);
	TEST_ASSERT_EQ(exit->reason, KVM_IOREGIONFD_FAIL_DEASSIGNED);
	TEST_ASSERT(exit->progress != NONE, "a part was sent");
	TEST_ASSERT_EQ(exit->guest_paddr, SECOND);
	TEST_ASSERT_EQ(exit->is_write, 1);

	/* The last posted write that comes is the one that failed. */
	op = op_read(self->vcpus[1], 4, FIRST + 4);
	thread_start(&self->threads[1]);
	do {
		cmd = dev_recv(&self->ch);
		expect_cmd(cmd, cmd_posted(8, SECOND_DATA, 0, cmd.data));
	} while (cmd.data != exit->data);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, FIRST_DATA, 4));
	dev_send(&self->ch, 0x12345678);
	thread_join_done(&self->threads[1]);
	TEST_ASSERT_EQ(op->val, 0x12345678);
}

/* Without a region to need the channel, the command is finished all the same. */
TEST_F_TIMEOUT(half_written, deassign_of_all, 60)
{
	struct kvm_ioregionfd_exit *exit = &self->vcpus[0]->run->ioregionfd;
	struct ioregionfd_cmd cmd;

	region_del_in_time(self->vm, FIRST);
	region_del_in_time(self->vm, SECOND);
	vcpu_run(self->vcpus[0]);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);
	channel_close_kvm(&self->ch);
	do {
		cmd = dev_recv(&self->ch);
		expect_cmd(cmd, cmd_posted(8, SECOND_DATA, 0, cmd.data));
	} while (cmd.data != exit->data);
	expect_released(&self->ch);
}

/* The VM goes, and its part of a command with it. */
TEST_F_TIMEOUT(half_written, close, 60)
{
	TEST_ASSERT(!thread_returned(&self->threads[0]), "it runs");
}

/*
 * The VMM's process ends, however.
 */
FIXTURE(killed)
{
	struct channel ch;
	pid_t pid;
};

FIXTURE_VARIANT(killed)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(killed, stream) { TR_STREAM };
FIXTURE_VARIANT_ADD(killed, pipes) { TR_PIPES };

FIXTURE_SETUP(killed)
{
	self->ch = channel_open(variant->transport);
	channel_shrink(&self->ch);
}

FIXTURE_TEARDOWN(killed)
{
	int status;

	TEST_ASSERT(!kill(self->pid, SIGKILL), "the VMM's process has ended by itself");
	expect_released(&self->ch);
	TEST_ASSERT_EQ(waitpid(self->pid, &status, 0), self->pid);
	TEST_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		    "the VMM's process ended with status 0x%x", status);
}

/* A VMM in a process of its own: each vCPU has a script that @add makes. */
static pid_t vmm_start(struct channel *ch, uint32_t nr_vcpus, void (*add)(struct kvm_vcpu *vcpu))
{
	struct vcpu_thread threads[MAX_VCPUS] = { 0 };
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct kvm_vm *vm;
	pid_t pid = fork();
	int i;

	TEST_ASSERT(pid >= 0, "fork() failed");
	if (pid) {
		channel_close_kvm(ch);
		return pid;
	}

	channel_close_dev(ch);
	vm = ioregion_vm_create(nr_vcpus, guest_script_main, vcpus);
	region_add(vm, ch, FIRST, SIZE, FIRST_DATA, 0);
	region_add(vm, ch, SECOND, SIZE, SECOND_DATA, KVM_IOREGION_POSTED_WRITES);
	for (i = 0; i < nr_vcpus; i++) {
		add(vcpus[i]);
		vcpu_thread_init(&threads[i], vcpus[i]);
	}
	for (i = 0; i < nr_vcpus; i++)
		thread_start_until_exit(&threads[i]);
	for (;;)
		pause();
}

static void add_read(struct kvm_vcpu *vcpu)
{
	op_read(vcpu, 4, FIRST + 4 * vcpu->id);
}

static void add_many_writes(struct kvm_vcpu *vcpu)
{
	struct guest_op op = { OP_WRITE, 4, SECOND };

	op.count = 1u << 30;
	op_add(vcpu, op);
}

TEST_F(killed, with_a_command_unanswered)
{
	self->pid = vmm_start(&self->ch, 1, add_read);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, FIRST_DATA, 0));
}

TEST_F(killed, with_commands_queued)
{
	self->pid = vmm_start(&self->ch, 4, add_read);
	dev_recv(&self->ch);
	/* The others may get as far or not: both have to end. */
	usleep(100000);
}

TEST_F(killed, with_the_channel_full)
{
	self->pid = vmm_start(&self->ch, 2, add_many_writes);
	dev_recv(&self->ch);
	usleep(100000);
}

TEST_F(killed, with_writes_under_way)
{
	int i;

	self->pid = vmm_start(&self->ch, 2, add_many_writes);
	for (i = 0; i < 1000; i++)
		dev_recv(&self->ch);
}

/* Nobody holds the module that the VM was made with. */
static int module_refs(void)
{
	static const char * const modules[] = { "kvm_intel", "kvm_amd" };
	char path[64], buf[32];
	int i, fd, refs = -1;

	for (i = 0; i < ARRAY_SIZE(modules); i++) {
		snprintf(path, sizeof(path), "/sys/module/%s/refcnt", modules[i]);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		memset(buf, 0, sizeof(buf));
		if (read(fd, buf, sizeof(buf) - 1) > 0)
			refs = atoi(buf);
		close(fd);
		if (refs >= 0)
			break;
	}
	return refs;
}

TEST(module_reference)
{
	int before = module_refs(), i;
	struct vcpu_thread thread = { 0 };
	struct channel ch;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	if (before < 0)
		SKIP(return, "KVM is not a module");

	vm = ioregion_vm_create(1, guest_script_main, &vcpu);
	TEST_ASSERT(module_refs() > before, "a VM has to hold its module");
	ch = channel_open(TR_STREAM);
	region_add(vm, &ch, FIRST, SIZE, FIRST_DATA, 0);
	vcpu_thread_init(&thread, vcpu);
	op_read(vcpu, 4, FIRST);
	thread_start(&thread);
	dev_recv(&ch);
	thread_interrupt(&thread);
	kvm_vm_free(vm);

	for (i = 0; module_refs() > before && i < HANG_SECONDS * 100; i++)
		usleep(10000);
	TEST_ASSERT_EQ(module_refs(), before);
}

/*
 * Regions come and go all the time while vCPUs access them. Each access is
 * carried out once, by the device task or by the VMM, and has the same answer.
 */
FIXTURE(race)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct device dev;
};

FIXTURE_VARIANT(race)
{
	enum transport transport;
	/* There is always one region, so that the channel stays the same. */
	bool keep_channel;
};

FIXTURE_VARIANT_ADD(race, stream) { TR_STREAM, true };
FIXTURE_VARIANT_ADD(race, seqpacket) { TR_SEQPACKET, true };
FIXTURE_VARIANT_ADD(race, pipes) { TR_PIPES, true };
FIXTURE_VARIANT_ADD(race, made) { TR_MADE, true };
FIXTURE_VARIANT_ADD(race, polled) { TR_POLLED, true };
FIXTURE_VARIANT_ADD(race, stream_channel_too) { TR_STREAM, false };
FIXTURE_VARIANT_ADD(race, pipes_channel_too) { TR_PIPES, false };

#define RACE_VCPUS	3
#define RACE_COUNT	1200

static uint64_t race_answer(uint64_t offset)
{
	return (offset + 1) * 0x9e3779b97f4a7c15ul;
}

static void guest_race_main(uint64_t id)
{
	uint64_t i, offset, val;

	for (i = 0; i < RACE_COUNT; i++) {
		offset = id * 0x400 + i % 128 * 8;
		if (i % 3) {
			val = READ_ONCE(*(uint64_t *)(FIRST + offset));
			__GUEST_ASSERT(val == race_answer(offset), "vCPU %lu access %lu got %lx",
				       id, i, val);
		} else {
			WRITE_ONCE(*(uint64_t *)(FIRST + offset), i);
		}
	}
	outl(DONE_PORT, 0);
}

static uint64_t device_answer_race(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	return race_answer(cmd->offset);
}

struct race_vcpu {
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	unsigned int by_vmm;
	unsigned int failures;
	bool done;
};

static void *race_vcpu_main(void *arg)
{
	struct race_vcpu *r = arg;
	struct kvm_run *run = r->vcpu->run;
	uint64_t addr;

	for (;;) {
		vcpu_run(r->vcpu);
		switch (run->exit_reason) {
		case KVM_EXIT_MMIO:
			TEST_ASSERT_EQ(run->mmio.len, 8);
			answer_mmio(r->vcpu, race_answer(run->mmio.phys_addr - FIRST));
			r->by_vmm++;
			break;
		case KVM_EXIT_IOREGIONFD_FAILURE:
			TEST_ASSERT_EQ(run->ioregionfd.reason, KVM_IOREGIONFD_FAIL_DEASSIGNED);
			TEST_ASSERT_EQ(run->ioregionfd.progress, ALL);
			/* The device task has got it, or will. */
			addr = run->ioregionfd.guest_paddr;
			resolve(r->vcpu, KVM_IOREGIONFD_COMPLETE, race_answer(addr - FIRST));
			r->failures++;
			break;
		default:
			expect_done(r->vcpu);
			__atomic_store_n(&r->done, true, __ATOMIC_RELEASE);
			return NULL;
		}
	}
}

FIXTURE_SETUP(race)
{
	self->vm = ioregion_vm_create(RACE_VCPUS, guest_race_main, self->vcpus);
	self->dev.answer = device_answer_race;
	device_start_for(&self->dev, self->vm, variant->transport);
	if (variant->keep_channel)
		region_add(self->vm, &self->dev.ch, SECOND, SIZE, SECOND_DATA, 0);
}

FIXTURE_TEARDOWN(race)
{
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

TEST_F_TIMEOUT(race, assign_and_deassign, 90)
{
	struct race_vcpu vcpus[RACE_VCPUS] = { 0 };
	unsigned int by_vmm = 0, failures = 0, turns = 0, seed = 1;
	bool done = false;
	int i;

	for (i = 0; i < RACE_VCPUS; i++) {
		vcpus[i].vcpu = self->vcpus[i];
		TEST_ASSERT(!pthread_create(&vcpus[i].thread, NULL, race_vcpu_main, &vcpus[i]),
			    "pthread_create() failed");
	}
	for (; !done; turns++) {
		region_add(self->vm, &self->dev.ch, FIRST, SIZE, FIRST_DATA, 0);
		usleep(rand_r(&seed) % 2000);
		region_del(self->vm, FIRST, SIZE, 0);
		usleep(rand_r(&seed) % 200);
		done = true;
		for (i = 0; i < RACE_VCPUS; i++)
			done &= __atomic_load_n(&vcpus[i].done, __ATOMIC_ACQUIRE);
	}
	for (i = 0; i < RACE_VCPUS; i++) {
		pthread_join(vcpus[i].thread, NULL);
		by_vmm += vcpus[i].by_vmm;
		failures += vcpus[i].failures;
	}
	printf("# %u turns, %u accesses by the VMM, %u told to it, %u by the device task\n",
	       turns, by_vmm, failures, device_nr(&self->dev));
	TEST_ASSERT(turns > 5 && by_vmm, "the race was none");
	expect_nr(&self->dev, RACE_VCPUS * RACE_COUNT - by_vmm);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
