// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RUN that is interrupted in the middle of an access of which a part has been carried out.
 */
#include "ioregionfd_signal_fixture.h"

TEST_F(interrupt, in_the_middle_of_a_string)
{
	struct vcpu_thread *thread = &self->threads[0];
	struct kvm_vcpu *vcpu = self->vcpus[0];
	struct guest_script *script = vcpu_script(vcpu);
	int i;

	for (i = 0; i < 6; i++)
		script->buf[0x100 + i] = 0x50 + i;
	op_add(vcpu, (struct guest_op){
		.kind = OP_OUTS,
		.size = 1,
		.addr = PIO_BASE,
		.mem = vcpu_buf_gva(vcpu) + 0x100,
		.count = 6,
	});
	op_add(vcpu, (struct guest_op){
		.kind = OP_INS,
		.size = 2,
		.addr = PIO_BASE + 2,
		.mem = vcpu_buf_gva(vcpu),
		.count = 6,
	});

	thread_start(thread);
	for (i = 0; i < 6; i++) {
		expect_cmd(dev_recv(&self->ch), cmd_write(1, OTHER_DATA, 0, 0x50 + i));
		if (i & 1)
			interrupt_twice(thread, &self->ch);
		dev_send(&self->ch, 0);
	}
	for (i = 0; i < 6; i++) {
		expect_cmd(dev_recv(&self->ch), cmd_read(2, OTHER_DATA, 2));
		if (!(i & 1))
			interrupt_twice(thread, &self->ch);
		dev_send(&self->ch, 0x1100 + i);
	}
	thread_join_done(thread);
	for (i = 0; i < 6; i++)
		TEST_ASSERT_EQ(((uint16_t *)script->buf)[i], 0x1100 + i);
}

TEST_F(interrupt, in_the_middle_of_a_split_access)
{
	struct vcpu_thread *thread = &self->threads[0];
	struct kvm_vcpu *vcpu = self->vcpus[0];
	struct guest_op *op = op_read(vcpu, 8, SYNC + 0x1000 - 3);
	struct { uint32_t size; uint64_t offset; uint64_t data; } steps[] = {
		{ 1, 0xffd, 0xffffff88 },
		{ 2, 0xffe, 0xffff6677 },
		{ 4, 0x1000, 0xffffffff22334455 },
		{ 1, 0x1004, 0xffffff11 },
	};
	int i;

	thread_start(thread);
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		expect_cmd(dev_recv(&self->ch),
			   cmd_read(steps[i].size, SYNC_DATA, steps[i].offset));
		interrupt_twice(thread, &self->ch);
		dev_send(&self->ch, steps[i].data);
	}
	thread_join_done(thread);
	TEST_ASSERT_EQ(op->val, 0x1122334455667788);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
