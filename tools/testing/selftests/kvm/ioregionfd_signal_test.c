// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RUN that is interrupted while an access is pending: it goes on where it was, and
 * the device task sees each access once.
 */
#include "ioregionfd_signal_fixture.h"

TEST_F(interrupt, while_waiting)
{
	struct vcpu_thread *thread = &self->threads[0];
	struct kvm_vcpu *vcpu = self->vcpus[0];
	struct guest_op *read, *in;
	struct ioregionfd_cmd want[4];
	int i;

	read = op_read(vcpu, 8, SYNC + 8);
	want[0] = cmd_read(8, SYNC_DATA, 8);
	op_write(vcpu, 4, SYNC + 0x10 + UNALIGNED, 0x89abcdef);
	want[1] = cmd_write(4, SYNC_DATA, 0x10 + UNALIGNED, 0x89abcdef);
	in = op_read_other(vcpu, 2, OTHER_BASE + 4);
	want[2] = cmd_read(2, OTHER_DATA, 4);
	op_write_other(vcpu, 1, OTHER_BASE + 6, 0x7f);
	want[3] = cmd_write(1, OTHER_DATA, 6, 0x7f);

	thread_start(thread);
	for (i = 0; i < 4; i++) {
		expect_cmd(dev_recv(&self->ch), want[i]);
		interrupt_twice(thread, &self->ch);
		dev_send(&self->ch, 0x1111111111111111 * (i + 1));
	}
	thread_join_done(thread);
	TEST_ASSERT(!(vcpu->run->flags & KVM_RUN_IOREGIONFD_PENDING), "PENDING is still set");
	TEST_ASSERT_EQ(read->val, 0x1111111111111111);
	TEST_ASSERT_EQ(in->val, other_result(2, 0x3333));
}

TEST_F(interrupt, completed_between_two_runs)
{
	struct vcpu_thread *thread = &self->threads[0];
	struct guest_op *op = op_read(self->vcpus[0], 8, SYNC);

	thread_start(thread);
	dev_recv(&self->ch);
	thread_interrupt(thread);
	dev_send(&self->ch, 0x1234567890abcdef);
	thread_start(thread);
	thread_join_done(thread);
	TEST_ASSERT_EQ(op->val, 0x1234567890abcdef);
	TEST_ASSERT(!(self->vcpus[0]->run->flags & KVM_RUN_IOREGIONFD_PENDING),
		    "PENDING is still set");
}

/* The command does not fit into the channel. */
TEST_F_TIMEOUT(interrupt, channel_full, 60)
{
	struct vcpu_thread *thread = &self->threads[0];
	struct guest_op op = { OP_WRITE, 4, POSTED + 4 };
	unsigned int seq = 0, i;
	int r = -EINTR;

	op.count = 800;
	op_add(self->vcpus[0], op);
	thread_start(thread);
	while (seq < op.count) {
		/* Until it returns 0, or an error that is wrong. */
		if (r == -EINTR) {
			while (!thread_returned(thread) && !thread_asleep(thread))
				usleep(200);
			pthread_kill(thread->thread, SIGUSR1);
			r = thread_join(thread);
		}
		if (r == -EINTR)
			thread_start(thread);
		for (i = 0; i < 1 + seq % 37 && seq < op.count; i++, seq++)
			expect_cmd(dev_recv(&self->ch), cmd_posted(4, POSTED_DATA, 4, seq));
	}
	TEST_ASSERT_EQ(r == -EINTR ? thread_join(thread) : r, 0);
	expect_done(self->vcpus[0]);
	TEST_ASSERT(thread->nr_pending > 2, "the channel was never full");
}

/*
 * Checks that the command of a vCPU outside KVM_RUN has not been sent. On a native
 * channel it is in the vCPU's own mailbox already, which holds up no other vCPU.
 */
static void expect_not_sent(struct channel *ch)
{
	TEST_ASSERT(ch->transport == TR_NATIVE || !dev_has_cmd(ch), "sent without its vCPU");
}

/* Another vCPU's command is on the channel: this vCPU's must not be sent yet. */
TEST_F(interrupt, while_queued)
{
	struct vcpu_thread *first = &self->threads[0], *second = &self->threads[1];
	struct guest_op *ops[2];

	ops[0] = op_read(self->vcpus[0], 4, SYNC);
	ops[1] = op_read(self->vcpus[1], 4, SYNC + 4);
	thread_start(first);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SYNC_DATA, 0));
	thread_start(second);
	interrupt_twice(second, &self->ch);
	thread_interrupt(second);

	dev_send(&self->ch, 0xaaaa);
	thread_join_done(first);
	expect_not_sent(&self->ch);

	thread_start(second);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SYNC_DATA, 4));
	dev_send(&self->ch, 0xbbbb);
	thread_join_done(second);
	TEST_ASSERT_EQ(ops[0]->val, 0xaaaa);
	TEST_ASSERT_EQ(ops[1]->val, 0xbbbb);
}

/* A vCPU that does not come back to KVM_RUN holds up nobody, and loses nothing. */
TEST_F(interrupt, other_vcpu_finishes_the_command)
{
	struct vcpu_thread *first = &self->threads[0], *second = &self->threads[1];
	struct guest_op *ops[2];

	ops[0] = op_read(self->vcpus[0], 8, SYNC);
	ops[1] = op_read(self->vcpus[1], 8, SYNC + 8);
	thread_start(first);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, SYNC_DATA, 0));
	thread_interrupt(first);

	thread_start(second);
	thread_wait_asleep(second);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "two commands at a time");
	dev_send(&self->ch, 0xaaaaaaaabbbbbbbb);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, SYNC_DATA, 8));
	dev_send(&self->ch, 0xccccccccdddddddd);
	thread_join_done(second);

	thread_start(first);
	thread_join_done(first);
	TEST_ASSERT_EQ(ops[0]->val, 0xaaaaaaaabbbbbbbb);
	TEST_ASSERT_EQ(ops[1]->val, 0xccccccccdddddddd);
}

/* The other way round: it comes back while another vCPU waits on its behalf. */
TEST_F(interrupt, comes_back_while_other_vcpu_waits)
{
	struct vcpu_thread *first = &self->threads[0], *second = &self->threads[1];
	struct guest_op *ops[2];

	ops[0] = op_read(self->vcpus[0], 8, SYNC);
	ops[1] = op_read(self->vcpus[1], 8, SYNC + 8);
	thread_start(first);
	dev_recv(&self->ch);
	thread_interrupt(first);
	thread_start(second);
	thread_wait_asleep(second);
	thread_start(first);
	thread_wait_asleep(first);
	/* The vCPU that waited for the other leaves. */
	thread_interrupt(second);

	dev_send(&self->ch, 1);
	thread_join_done(first);
	expect_not_sent(&self->ch);
	thread_start(second);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, SYNC_DATA, 8));
	dev_send(&self->ch, 2);
	thread_join_done(second);
	TEST_ASSERT_EQ(ops[0]->val, 1);
	TEST_ASSERT_EQ(ops[1]->val, 2);
}

TEST_F(interrupt, immediate_exit)
{
	struct vcpu_thread *thread = &self->threads[0];
	struct kvm_vcpu *vcpu = self->vcpus[0];
	struct guest_op *op = op_read(vcpu, 8, SYNC);
	int i;

	thread_start(thread);
	dev_recv(&self->ch);
	thread_interrupt(thread);

	/* If this waited, the test would hang. */
	for (i = 0; i < 3; i++) {
		TEST_ASSERT_EQ(run_immediate(vcpu), -EINTR);
		TEST_ASSERT(vcpu->run->flags & KVM_RUN_IOREGIONFD_PENDING, "PENDING is not set");
	}
	dev_send(&self->ch, 0xfedcba9876543210);
	TEST_ASSERT_EQ(run_immediate(vcpu), -EINTR);
	TEST_ASSERT(!(vcpu->run->flags & KVM_RUN_IOREGIONFD_PENDING), "PENDING is still set");
	run_done(vcpu);
	TEST_ASSERT_EQ(op->val, 0xfedcba9876543210);
}

/* While another vCPU has the channel, there is nothing to do without waiting. */
TEST_F(interrupt, immediate_exit_while_queued)
{
	struct vcpu_thread *first = &self->threads[0], *second = &self->threads[1];
	struct guest_op *op;

	op_read(self->vcpus[0], 8, SYNC);
	op = op_read(self->vcpus[1], 8, SYNC + 8);
	thread_start(first);
	dev_recv(&self->ch);
	thread_start(second);
	thread_interrupt(second);
	TEST_ASSERT_EQ(run_immediate(self->vcpus[1]), -EINTR);
	TEST_ASSERT(self->vcpus[1]->run->flags & KVM_RUN_IOREGIONFD_PENDING, "PENDING is not set");

	dev_send(&self->ch, 1);
	thread_join_done(first);
	/* Now the command can be sent, but KVM_RUN must not wait for the response. */
	TEST_ASSERT_EQ(run_immediate(self->vcpus[1]), -EINTR);
	TEST_ASSERT(self->vcpus[1]->run->flags & KVM_RUN_IOREGIONFD_PENDING, "PENDING is not set");
	expect_cmd(dev_recv(&self->ch), cmd_read(8, SYNC_DATA, 8));
	dev_send(&self->ch, 2);
	run_done(self->vcpus[1]);
	TEST_ASSERT_EQ(op->val, 2);
}

/*
 * KVM_SET_SIGNAL_MASK, and the run page.
 */
FIXTURE(mask)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
};

FIXTURE_SETUP(mask)
{
	vm_setup(&self->vm, self->vcpus, self->threads, &self->ch, TR_SEQPACKET);
}

FIXTURE_TEARDOWN(mask)
{
	vm_teardown(self->vm, &self->ch);
}

static void vcpu_set_signal_mask(struct kvm_vcpu *vcpu, uint64_t set)
{
	struct {
		struct kvm_signal_mask mask;
		uint64_t set;
	} __packed arg = { .mask.len = sizeof(set), .set = set };
	int r = ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, &arg);

	TEST_ASSERT(!r, __KVM_IOCTL_ERROR("KVM_SET_SIGNAL_MASK", r));
}

TEST_F(mask, blocked_signal_does_not_interrupt)
{
	struct vcpu_thread *thread = &self->threads[0];
	struct guest_op *op = op_read(self->vcpus[0], 4, SYNC);

	vcpu_set_signal_mask(self->vcpus[0], BIT(SIGUSR1 - 1));
	thread_start(thread);
	dev_recv(&self->ch);
	thread_wait_asleep(thread);
	pthread_kill(thread->thread, SIGUSR1);
	/* Give it time to do the wrong thing. */
	usleep(200000);
	TEST_ASSERT(!thread_returned(thread), "a blocked signal interrupted KVM_RUN");
	dev_send(&self->ch, 0x5678);
	thread_join_done(thread);
	TEST_ASSERT_EQ(op->val, 0x5678);
	TEST_ASSERT_EQ(thread->nr_eintr, 0);
}

TEST_F(mask, unblocked_signal_interrupts)
{
	struct guest_op *op = op_read(self->vcpus[1], 4, SYNC);
	struct vcpu_thread thread = { 0 };
	sigset_t set;

	/* Blocked in the thread, but not in KVM_RUN. */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	vcpu_thread_init(&thread, self->vcpus[1]);
	vcpu_set_signal_mask(self->vcpus[1], 0);

	thread_start(&thread);
	dev_recv(&self->ch);
	thread_interrupt(&thread);

	/* The signal stays pending for as long as nobody handles it. */
	thread_start(&thread);
	TEST_ASSERT_EQ(thread_join(&thread), -EINTR);
	TEST_ASSERT(self->vcpus[1]->run->flags & KVM_RUN_IOREGIONFD_PENDING, "PENDING is not set");
	signal(SIGUSR1, SIG_IGN);
	catch_sigusr1();

	thread_start(&thread);
	thread_wait_asleep(&thread);
	dev_send(&self->ch, 0x9abc);
	thread_join_done(&thread);
	TEST_ASSERT_EQ(op->val, 0x9abc);
}

/* As above, while waiting for another vCPU. */
TEST_F(mask, unblocked_signal_interrupts_queued)
{
	struct guest_op *op = op_read(self->vcpus[1], 4, SYNC);
	struct vcpu_thread thread = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	vcpu_thread_init(&thread, self->vcpus[1]);
	vcpu_set_signal_mask(self->vcpus[1], 0);

	op_read(self->vcpus[0], 4, SYNC);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_start(&thread);
	thread_interrupt(&thread);
	signal(SIGUSR1, SIG_IGN);
	catch_sigusr1();
	thread_start(&thread);
	thread_wait_asleep(&thread);

	dev_send(&self->ch, 1);
	thread_join_done(&self->threads[0]);
	dev_recv(&self->ch);
	dev_send(&self->ch, 2);
	thread_join_done(&thread);
	TEST_ASSERT_EQ(op->val, 2);
}

/* What the VMM stores in the run page meanwhile has no effect. */
TEST_F(mask, overwritten_run_page)
{
	static const uint32_t reasons[] = {
		KVM_EXIT_UNKNOWN, KVM_EXIT_IO, KVM_EXIT_MMIO, KVM_EXIT_IOREGIONFD_FAILURE,
		KVM_EXIT_HYPERCALL, ~0u,
	};
	struct vcpu_thread *thread = &self->threads[0];
	struct kvm_vcpu *vcpu = self->vcpus[0];
	struct guest_op *read, *in;
	struct ioregionfd_cmd want[4];
	int i, j;

	want[0] = cmd_read(8, SYNC_DATA, 0);
	want[1] = cmd_write(8, SYNC_DATA, 8, 0x1122334455667788);
	want[2] = cmd_read(4, OTHER_DATA, 0);
	want[3] = cmd_write(4, OTHER_DATA, 4, 0x99aabbcc);
	for (i = 0; i < ARRAY_SIZE(reasons); i++) {
		read = op_read(vcpu, 8, SYNC);
		op_write(vcpu, 8, SYNC + 8, 0x1122334455667788);
		in = op_read_other(vcpu, 4, OTHER_BASE);
		op_write_other(vcpu, 4, OTHER_BASE + 4, 0x99aabbcc);
		thread_start(thread);
		for (j = 0; j < 4; j++) {
			expect_cmd(dev_recv(&self->ch), want[j]);
			thread_interrupt(thread);
			vcpu->run->exit_reason = reasons[i];
			memset(vcpu->run->padding, i & 1 ? 0xff : 0, sizeof(vcpu->run->padding));
			thread_start(thread);
			dev_send(&self->ch, 0xdeadbeef00112233 + j);
		}
		thread_join_done(thread);
		TEST_ASSERT_EQ(read->val, 0xdeadbeef00112233);
		TEST_ASSERT_EQ(in->val, 0x00112235);
	}
}

/*
 * Signals all the time, at any moment.
 */
FIXTURE(storm)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct device dev;
};

FIXTURE_VARIANT(storm)
{
	enum transport transport;
	uint32_t nr_vcpus;
	uint32_t count;
};

FIXTURE_VARIANT_ADD(storm, seqpacket_10000) { TR_SEQPACKET, 1, 10000 };
FIXTURE_VARIANT_ADD(storm, seqpacket_shared) { TR_SEQPACKET, 2, 1500 };
FIXTURE_VARIANT_ADD(storm, native_10000) { TR_NATIVE, 1, 10000 };
FIXTURE_VARIANT_ADD(storm, native_shared) { TR_NATIVE, 2, 1500 };
FIXTURE_VARIANT_ADD(storm, polled_shared) { TR_POLLED, 2, 1500 };

FIXTURE_SETUP(storm)
{
	int i;

	self->vm = ioregion_vm_create(variant->nr_vcpus, guest_seq_main, self->vcpus);
	write_guest_global(self->vm, seq_count, variant->count);
	self->dev.respond = device_respond_seq;
	device_start_for(&self->dev, self->vm, variant->transport);
	channel_shrink(&self->dev.ch);
	seq_regions_add(self->vm, &self->dev.ch);
	for (i = 0; i < variant->nr_vcpus; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
}

FIXTURE_TEARDOWN(storm)
{
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

TEST_F_TIMEOUT(storm, each_access_once, 120)
{
	unsigned int seed = 1, running = variant->nr_vcpus, pending = 0;
	int i;

	for (i = 0; i < variant->nr_vcpus; i++)
		thread_start_until_exit(&self->threads[i]);
	while (running) {
		running = 0;
		for (i = 0; i < variant->nr_vcpus; i++) {
			if (thread_returned(&self->threads[i]))
				continue;
			running++;
			pthread_kill(self->threads[i].thread, SIGUSR1);
		}
		usleep(rand_r(&seed) % 500);
	}
	for (i = 0; i < variant->nr_vcpus; i++) {
		thread_join_done(&self->threads[i]);
		pending += self->threads[i].nr_pending;
	}
	expect_nr(&self->dev, variant->nr_vcpus * variant->count);
	TEST_ASSERT(pending > 10, "only %u signals hit an access", pending);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
