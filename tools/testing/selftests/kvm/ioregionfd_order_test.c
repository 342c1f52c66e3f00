// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of commands, and that each response reaches the vCPU that waits for it,
 * when vCPUs and regions share a channel.
 */
#include "ioregionfd_harness.h"

/*
 * Posted writes into a full channel: none is lost, and all are in order.
 */
FIXTURE(full)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
};

FIXTURE_VARIANT(full)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(full, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(full, native) { TR_NATIVE };

FIXTURE_SETUP(full)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	vcpu_thread_init(&self->thread, self->vcpu);
	self->ch = channel_open_for(self->vm, variant->transport);
	channel_shrink(&self->ch);
	region_add(self->vm, &self->ch, MMIO_GPA, 0x1000, USER_DATA(0),
		   KVM_IOREGION_POSTED_WRITES);
}

FIXTURE_TEARDOWN(full)
{
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

TEST_F_TIMEOUT(full, posted_writes, 60)
{
	struct guest_op op = { OP_WRITE, 4, MMIO_GPA + 0x20 };
	unsigned int sleeps = 0, seq = 0, burst, i;

	op.count = 1000;
	op_add(self->vcpu, op);
	thread_start(&self->thread);
	while (seq < op.count) {
		/* Read only when the channel is full, or everything has been written. */
		while (!thread_returned(&self->thread) && !thread_asleep(&self->thread))
			usleep(200);
		if (!thread_returned(&self->thread))
			sleeps++;
		burst = 1 + seq % 23;
		for (i = 0; i < burst && seq < op.count; i++, seq++)
			expect_cmd(dev_recv(&self->ch), cmd_posted(4, USER_DATA(0), 0x20, seq));
	}
	thread_join_done(&self->thread);
	TEST_ASSERT(sleeps > 2, "the channel was never full");
	TEST_ASSERT(!dev_has_cmd(&self->ch), "one command too many");
}

/* A read comes after the posted writes before it. */
TEST_F_TIMEOUT(full, read_after_posted_writes, 60)
{
	struct guest_op op = { OP_WRITE, 8, MMIO_GPA };
	struct guest_op *read;
	unsigned int seq;

	op.count = 800;
	op_add(self->vcpu, op);
	read = op_read(self->vcpu, 8, MMIO_GPA + 8);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	for (seq = 0; seq < op.count; seq++)
		expect_cmd(dev_recv(&self->ch), cmd_posted(8, USER_DATA(0), 0, seq));
	expect_cmd(dev_recv(&self->ch), cmd_read(8, USER_DATA(0), 8));
	dev_send(&self->ch, 0x1122334455667788);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(read->val, 0x1122334455667788);
}

/*
 * Many vCPUs, one channel.
 */
FIXTURE(shared)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct vcpu_thread threads[MAX_VCPUS];
	struct device dev;
	uint32_t count;		/* of accesses of each vCPU; fewer on a slow kernel */
};

FIXTURE_VARIANT(shared)
{
	enum transport transport;
	uint32_t count;
};

FIXTURE_VARIANT_ADD(shared, seqpacket_100000) { TR_SEQPACKET, 25000 };
FIXTURE_VARIANT_ADD(shared, native_100000) { TR_NATIVE, 25000 };
FIXTURE_VARIANT_ADD(shared, polled) { TR_POLLED, 2000 };

FIXTURE_SETUP(shared)
{
	int i;

	self->vm = ioregion_vm_create(MAX_VCPUS, guest_seq_main, self->vcpus);
	self->count = variant->count / slowness();
	write_guest_global(self->vm, seq_count, self->count);
	self->dev.respond = device_respond_seq;
	device_start_for(&self->dev, self->vm, variant->transport);
	seq_regions_add(self->vm, &self->dev.ch);
	for (i = 0; i < MAX_VCPUS; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
}

FIXTURE_TEARDOWN(shared)
{
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

TEST_F_TIMEOUT(shared, four_vcpus, 240)
{
	int i;

	for (i = 0; i < MAX_VCPUS; i++)
		thread_start(&self->threads[i]);
	for (i = 0; i < MAX_VCPUS; i++) {
		TEST_ASSERT_EQ(thread_join_timeout(&self->threads[i], 200), 0);
		expect_done(self->vcpus[i]);
	}
	expect_nr(&self->dev, MAX_VCPUS * self->count);
}

/*
 * All combinations of regions and channels.
 */
FIXTURE(mixed)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct device dev;
};

FIXTURE_VARIANT(mixed)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(mixed, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(mixed, native) { TR_NATIVE };
FIXTURE_VARIANT_ADD(mixed, polled) { TR_POLLED };

FIXTURE_SETUP(mixed)
{
	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	device_start_for(&self->dev, self->vm, variant->transport);
}

FIXTURE_TEARDOWN(mixed)
{
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

TEST_F(mixed, two_regions_one_channel)
{
	struct guest_op *a, *b;

	region_add(self->vm, &self->dev.ch, MMIO_GPA + 0x100, 0x10, USER_DATA(0x40), 0);
	region_add(self->vm, &self->dev.ch, MMIO_GPA + 0x200, 0x10, USER_DATA(0x80), 0);
	a = op_read(self->vcpus[0], 4, MMIO_GPA + 0x108);
	b = op_read(self->vcpus[0], 4, MMIO_GPA + 0x208);
	run_done(self->vcpus[0]);
	expect_log(&self->dev, cmd_read(4, USER_DATA(0x40), 8), cmd_read(4, USER_DATA(0x80), 8));
	TEST_ASSERT_EQ(a->val, device_value(&self->dev, 0x48, 4));
	TEST_ASSERT_EQ(b->val, device_value(&self->dev, 0x88, 4));
}

TEST_F(mixed, many_regions_one_channel)
{
	struct guest_op *ops[64];
	int i, n;

	/* Adjacent regions of one byte each, added and used in two different orders. */
	for (i = 0; i < 64; i++) {
		n = i * 37 % 64;
		region_add(self->vm, &self->dev.ch, MMIO_GPA + n, 1, USER_DATA(n * 8), 0);
	}
	for (i = 0; i < 64; i++)
		ops[i] = op_read(self->vcpus[0], 1, MMIO_GPA + i * 11 % 64);
	run_done(self->vcpus[0]);
	expect_nr(&self->dev, 64);
	for (i = 0; i < 64; i++) {
		n = i * 11 % 64;
		expect_cmd(self->dev.log[i], cmd_read(1, USER_DATA(n * 8), 0));
		TEST_ASSERT_EQ(ops[i]->val, device_value(&self->dev, n * 8, 1));
	}
}

TEST_F(mixed, program_order_over_all_regions)
{
	struct ioregionfd_cmd want[SCRIPT_MAX_OPS];
	struct kvm_vcpu *vcpu = self->vcpus[0];
	unsigned int i;

	region_add(self->vm, &self->dev.ch, MMIO_GPA, 0x1000, USER_DATA(0), 0);
	region_add(self->vm, &self->dev.ch, MMIO_GPA + 0x1000, 0x1000, USER_DATA(0x1000),
		   KVM_IOREGION_POSTED_WRITES);
	region_add(self->vm, &self->dev.ch, OTHER_BASE, 0x10, USER_DATA(0x2000), OTHER_FLAGS);
	region_add(self->vm, &self->dev.ch, OTHER_BASE + 0x10, 0x10, USER_DATA(0x2010),
		   OTHER_FLAGS | KVM_IOREGION_POSTED_WRITES);

	for (i = 0; i < SCRIPT_MAX_OPS; i++) {
		switch (i * 5 % 7) {
		case 0:
			op_write(vcpu, 8, MMIO_GPA + 8, i);
			want[i] = cmd_write(8, USER_DATA(0), 8, i);
			break;
		case 1:
			op_read(vcpu, 2, MMIO_GPA + 8);
			want[i] = cmd_read(2, USER_DATA(0), 8);
			break;
		case 2:
		case 3:
			op_write(vcpu, 4, MMIO_GPA + 0x1004, i);
			want[i] = cmd_posted(4, USER_DATA(0x1000), 4, i);
			break;
		case 4:
			op_write_other(vcpu, 2, OTHER_BASE + 12, i);
			want[i] = cmd_write(2, USER_DATA(0x2000), 12, i);
			break;
		case 5:
			op_write_other(vcpu, 4, OTHER_BASE + 0x14, i);
			want[i] = cmd_posted(4, USER_DATA(0x2010), 4, i);
			break;
		case 6:
			op_read_other(vcpu, 1, OTHER_BASE + 0x13);
			want[i] = cmd_read(1, USER_DATA(0x2010), 3);
			break;
		}
	}
	run_done(vcpu);
	expect_nr(&self->dev, SCRIPT_MAX_OPS);
	for (i = 0; i < SCRIPT_MAX_OPS; i++)
		expect_cmd(self->dev.log[i], want[i]);
}

/* A posted write completes when it is in its channel, not before. */
TEST_F(mixed, posted_write_then_another_channel)
{
	struct channel posted = channel_open_for(self->vm, variant->transport);
	struct channel sync = channel_open(TR_SEQPACKET);
	int i;

	vcpu_thread_init(&self->threads[0], self->vcpus[0]);
	region_add(self->vm, &posted, MMIO_GPA, 0x10, USER_DATA(0), KVM_IOREGION_POSTED_WRITES);
	region_add(self->vm, &sync, MMIO_GPA + 0x10, 0x10, USER_DATA(1), 0);
	for (i = 0; i < 100; i++) {
		op_write(self->vcpus[0], 4, MMIO_GPA, i);
		op_read(self->vcpus[0], 4, MMIO_GPA + 0x10);
	}
	thread_start(&self->threads[0]);
	for (i = 0; i < 100; i++) {
		expect_cmd(dev_recv(&sync), cmd_read(4, USER_DATA(1), 0));
		TEST_ASSERT(dev_has_cmd(&posted), "read %d came before the write before it", i);
		expect_cmd(dev_recv(&posted), cmd_posted(4, USER_DATA(0), 0, i));
		dev_send(&sync, i);
	}
	thread_join_done(&self->threads[0]);
}

/* What one vCPU has completed comes before what another vCPU begins after that. */
TEST_F(mixed, vcpus_in_turn)
{
	int i;

	region_add(self->vm, &self->dev.ch, MMIO_GPA, 0x10, USER_DATA(0),
		   KVM_IOREGION_POSTED_WRITES);
	for (i = 0; i < 20; i++) {
		op_write(self->vcpus[i & 1], 4, MMIO_GPA, i);
		run_done(self->vcpus[i & 1]);
	}
	expect_nr(&self->dev, 20);
	for (i = 0; i < 20; i++)
		expect_cmd(self->dev.log[i], cmd_posted(4, USER_DATA(0), 0, i));
}

/* Channels do not wait for each other. */
TEST_F(mixed, other_channel_goes_on)
{
	struct channel ch = channel_open_for(self->vm, variant->transport);
	struct guest_op *op;

	vcpu_thread_init(&self->threads[0], self->vcpus[0]);
	region_add(self->vm, &ch, MMIO_GPA, 0x10, USER_DATA(0), 0);
	region_add(self->vm, &self->dev.ch, MMIO_GPA + 0x10, 0x10, USER_DATA(0x10), 0);

	op = op_read(self->vcpus[0], 8, MMIO_GPA);
	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&ch), cmd_read(8, USER_DATA(0), 0));

	op_write(self->vcpus[1], 8, MMIO_GPA + 0x10, 1);
	op_read(self->vcpus[1], 8, MMIO_GPA + 0x10);
	run_done(self->vcpus[1]);
	expect_nr(&self->dev, 2);

	TEST_ASSERT(!thread_returned(&self->threads[0]), "it did not wait for its response");
	dev_send(&ch, 0x1234);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
