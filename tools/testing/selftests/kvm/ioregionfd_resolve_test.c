// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a VMM can do about an access that has failed: retry it, or complete it itself.
 */
#include "ioregionfd_resolve_fixture.h"

TEST_F(vmm, completes_accesses_of_each_kind)
{
	struct kvm_vcpu *vcpu = self->vcpu;
	struct guest_op *op;
	uint32_t size;

	for (size = 1; size <= 8; size *= 2) {
		op = op_read(vcpu, size, REGION + 0x10);
		dies_with(&self->thread, &self->ch, cmd_read(size, MMIO_DATA, 0x10),
			  exit_read(HANGUP, 0, ALL, size, REGION + 0x10));
		/* With more bytes set than the guest asked for. */
		resolve(vcpu, KVM_IOREGIONFD_COMPLETE, DATA);
		run_done(vcpu);
		TEST_ASSERT_EQ(op->val, low_bytes(DATA, size));

		regions_del(self->vm);
		self->ch = channel_attach(self->vm, variant->transport);
		op_write(vcpu, size, REGION + 0x20 + UNALIGNED, DATA);
		dies_with(&self->thread, &self->ch,
			  cmd_write(size, MMIO_DATA, 0x20 + UNALIGNED, low_bytes(DATA, size)),
			  exit_write(HANGUP, 0, ALL, size, REGION + 0x20 + UNALIGNED, DATA));
		resolve(vcpu, KVM_IOREGIONFD_COMPLETE, 0);
		run_done(vcpu);

		regions_del(self->vm);
		self->ch = channel_attach(self->vm, variant->transport);
		if (size == 8)
			break;
		op = op_read_other(vcpu, size, PORTS + 4 - UNALIGNED);
		dies_with(&self->thread, &self->ch, cmd_read(size, PIO_DATA, 4 - UNALIGNED),
			  exit_pio(exit_read(HANGUP, 0, ALL, size, PORTS + 4 - UNALIGNED)));
		resolve(vcpu, KVM_IOREGIONFD_COMPLETE, DATA);
		run_done(vcpu);
		TEST_ASSERT_EQ(op->val, other_result(size, low_bytes(DATA, size)));

		regions_del(self->vm);
		self->ch = channel_attach(self->vm, variant->transport);
		op_write_other(vcpu, size, PORTS + 8, DATA);
		dies_with(&self->thread, &self->ch,
			  cmd_write(size, PIO_DATA, 8, low_bytes(DATA, size)),
			  exit_pio(exit_write(HANGUP, 0, ALL, size, PORTS + 8, DATA)));
		resolve(vcpu, KVM_IOREGIONFD_COMPLETE, 0);
		run_done(vcpu);

		regions_del(self->vm);
		self->ch = channel_attach(self->vm, variant->transport);
	}
}

/* As long as nothing changes, each retry fails in the same way, progress included. */
TEST_F(vmm, retries_on_the_dead_channel)
{
	struct kvm_ioregionfd_exit exit;
	struct guest_op *op;
	int i;

	op_write(self->vcpu, 4, REGION, 0x1234);
	exit = exit_write(HANGUP, 0, ALL, 4, REGION, 0x1234);
	dies_with(&self->thread, &self->ch, cmd_write(4, MMIO_DATA, 0, 0x1234), exit);
	for (i = 0; i < 3; i++) {
		vcpu_run(self->vcpu);
		expect_failure(self->vcpu, exit);
	}

	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	op = op_read(self->vcpu, 4, REGION);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(4, MMIO_DATA, 0, 0x1234), cmd_read(4, MMIO_DATA, 0));
	TEST_ASSERT_EQ(op->val, 0x1234);
}

/* The new device task may be slow, and the wait for it may be interrupted. */
TEST_F(vmm, retries_on_a_slow_device)
{
	struct guest_op *op = op_read(self->vcpu, 8, REGION);

	dies_with(&self->thread, &self->ch, cmd_read(8, MMIO_DATA, 0),
		  exit_read(HANGUP, 0, ALL, 8, REGION));
	regions_del(self->vm);
	self->ch = channel_attach(self->vm, TR_SEQPACKET);
	thread_start(&self->thread);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, MMIO_DATA, 0));
	thread_interrupt(&self->thread);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "sent twice");
	dev_send(&self->ch, DATA);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, DATA);
}

TEST_F(vmm, retries_without_region)
{
	struct kvm_vcpu *vcpu = self->vcpu;
	struct guest_op *read, *in;

	read = op_read(vcpu, 8, REGION + UNALIGNED);
	op_write(vcpu, 2, REGION + 2, 0xabcd);
	in = op_read_other(vcpu, 4, PORTS);
	op_write_other(vcpu, 1, PORTS + 1, 0xef);

	dies_with(&self->thread, &self->ch, cmd_read(8, MMIO_DATA, UNALIGNED),
		  exit_read(HANGUP, 0, ALL, 8, REGION + UNALIGNED));
	regions_del(self->vm);
	vcpu_run(vcpu);
	expect_mmio(vcpu, REGION + UNALIGNED, 8, false, 0);
	complete_mmio(vcpu, DATA);

	self->ch = channel_attach(self->vm, variant->transport);
	dies_with(&self->thread, &self->ch, cmd_write(2, MMIO_DATA, 2, 0xabcd),
		  exit_write(HANGUP, 0, ALL, 2, REGION + 2, 0xabcd));
	regions_del(self->vm);
	vcpu_run(vcpu);
	expect_mmio(vcpu, REGION + 2, 2, true, 0xabcd);

	self->ch = channel_attach(self->vm, variant->transport);
	dies_with(&self->thread, &self->ch, cmd_read(4, PIO_DATA, 0),
		  exit_pio(exit_read(HANGUP, 0, ALL, 4, PORTS)));
	regions_del(self->vm);
	vcpu_run(vcpu);
	expect_other(vcpu, PORTS, 4, false, 0);
	complete_other(vcpu, 0x99887766);

	self->ch = channel_attach(self->vm, variant->transport);
	dies_with(&self->thread, &self->ch, cmd_write(1, PIO_DATA, 1, 0xef),
		  exit_pio(exit_write(HANGUP, 0, ALL, 1, PORTS + 1, 0xef)));
	regions_del(self->vm);
	vcpu_run(vcpu);
	expect_other(vcpu, PORTS + 1, 1, true, 0xef);
	run_done(vcpu);

	TEST_ASSERT_EQ(read->val, DATA);
	TEST_ASSERT_EQ(in->val, 0x99887766);
}

TEST_F(vmm, has_no_other_choice)
{
	static const uint32_t actions[] = { 3, 4, 0x100, 1u << 31, ~0u };
	struct guest_op *op = op_read(self->vcpu, 4, REGION);
	int i;

	dies_with(&self->thread, &self->ch, cmd_read(4, MMIO_DATA, 0),
		  exit_read(HANGUP, 0, ALL, 4, REGION));
	for (i = 0; i < ARRAY_SIZE(actions); i++) {
		resolve(self->vcpu, actions[i], 0x55);
		TEST_ASSERT_EQ(__vcpu_run(self->vcpu), -1);
		TEST_ASSERT_EQ(errno, EINVAL);
	}
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x5678);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, 0x5678);
}

/* As with KVM_EXIT_MMIO, this is how a VMM makes the vCPU's state consistent. */
TEST_F(vmm, completes_with_immediate_exit)
{
	struct guest_op *op = op_read(self->vcpu, 4, REGION);

	dies_with(&self->thread, &self->ch, cmd_read(4, MMIO_DATA, 0),
		  exit_read(HANGUP, 0, ALL, 4, REGION));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x8765);
	TEST_ASSERT_EQ(run_immediate(self->vcpu), -EINTR);
	TEST_ASSERT(!(self->vcpu->run->flags & KVM_RUN_IOREGIONFD_PENDING), "PENDING is set");
	/* It is too late for what the VMM stores now. */
	resolve(self->vcpu, ~0u, 0);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, 0x8765);
}

/* KVM does not read back what it has told the VMM. */
TEST_F(vmm, overwrites_the_run_page)
{
	struct kvm_run *run = self->vcpu->run;
	struct guest_op *read, *in;

	read = op_read(self->vcpu, 4, REGION);
	in = op_read_other(self->vcpu, 2, PORTS);
	dies_with(&self->thread, &self->ch, cmd_read(4, MMIO_DATA, 0),
		  exit_read(HANGUP, 0, ALL, 4, REGION));
	run->exit_reason = KVM_EXIT_IO;
	memset(run->padding, 0xff, sizeof(run->padding));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x11223344);
	vcpu_run(self->vcpu);
	TEST_ASSERT_EQ(read->val, 0x11223344);

	expect_failure(self->vcpu, exit_pio(exit_read(HANGUP, 0, NONE, 2, PORTS)));
	run->exit_reason = ~0;
	memset(run->padding, 0xff, sizeof(run->padding));
	resolve(self->vcpu, KVM_IOREGIONFD_RETRY, 0);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(2, PIO_DATA, 0));
	TEST_ASSERT_EQ(in->val, other_result(2, device_value(&self->dev, 0x2000, 2)));
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
