// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: an access of several parts that begins before it leaves the emulator.
 */
#include "ioregionfd_harness.h"

#define SYNC		MMIO_GPA
#define POSTED		(MMIO_GPA + 0x1000)
#define SYNC_DATA	USER_DATA(0)
#define POSTED_DATA	USER_DATA(0x1000)

FIXTURE(early)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct mapping map;
};

FIXTURE_SETUP(early)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->map = mapping_open(self->ch.dev_rd);
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(self->vm, &self->ch, POSTED, 0x1000, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(early)
{
	kvm_vm_free(self->vm);
	mapping_close(&self->map);
}

/* The first part of an access that ends on the next page is sent once. */
TEST_F(early, sent_once_of_several)
{
	struct guest_op *op = op_add(self->vcpu, (struct guest_op){
		.kind = OP_LOAD16,
		.addr = SYNC + 0x1000 - 11,
	});
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	struct { uint32_t size, offset; } fragments[] = {
		{ 8, 0xff5 }, { 1, 0xffd }, { 2, 0xffe }, { 4, 0x1000 }, { 1, 0x1004 },
	};
	int i;

	region_del(self->vm, POSTED, 0x1000, 0);
	region_del(self->vm, SYNC, 0x1000, 0);
	region_add(self->vm, &self->ch, SYNC, 0x2000, SYNC_DATA, 0);
	/* A signal ends the wait in the emulator, which then reaches the next page. */
	thread_start(&self->thread);
	thread_interrupt(&self->thread);
	thread_start(&self->thread);
	for (i = 0; i < ARRAY_SIZE(fragments); i++) {
		thread_wait_asleep(&self->thread);
		TEST_ASSERT_EQ(self->map.mailboxes[0].state >> IOREGIONFD_MAILBOX_SHIFT, i + 1);
		TEST_ASSERT_EQ(commit_and_fetch(self->ch.dev_rd, &arg), 0);
		expect_cmd(arg.cmd, cmd_read(fragments[i].size, SYNC_DATA, fragments[i].offset));
		TEST_ASSERT_EQ(commit_only(self->ch.dev_rd, arg.id, 0x1111111111111111ul * i), 0);
		arg.id = 0;
	}
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0);
	TEST_ASSERT_EQ(op->hi, 0x4433333333222211);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
