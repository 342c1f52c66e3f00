// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a VMM can do about an access of several commands, of which one has failed.
 */
#include "ioregionfd_resolve_fixture.h"

/*
 * Failures in the middle of an access of several commands: what has been carried out is
 * not repeated.
 */
static void string_begin(struct kvm_vcpu *vcpu, enum guest_op_kind kind, uint32_t size)
{
	uint16_t *buf = (void *)vcpu_script(vcpu)->buf;
	int i;

	for (i = 0; i < 6; i++)
		buf[i] = kind == OP_OUTS ? 0xa0b0 + i : 0xffff;
	op_add(vcpu, (struct guest_op){
		.kind = kind,
		.size = size,
		.addr = PORTS,
		.mem = vcpu_buf_gva(vcpu),
		.count = 6,
	});
}

/* The device task carries out 2 of 6 elements and dies with the third. */
static void string_die(struct vcpu_thread *thread, struct channel *ch, enum guest_op_kind kind)
{
	struct kvm_ioregionfd_exit exit;
	int i;

	string_begin(thread->vcpu, kind, 2);
	thread_start(thread);
	for (i = 0; i < 3; i++) {
		expect_cmd(dev_recv(ch), kind == OP_INS ? cmd_read(2, PIO_DATA, 0) :
							  cmd_write(2, PIO_DATA, 0, 0xa0b0 + i));
		if (i < 2)
			dev_send(ch, 0x1110 + i);
	}
	channel_close_dev(ch);
	thread_join_exit(thread);
	exit = kind == OP_INS ? exit_read(HANGUP, 0, ALL, 2, PORTS) :
				exit_write(HANGUP, 0, ALL, 2, PORTS, 0xa0b2);
	expect_failure(thread->vcpu, exit_pio(exit));
}

TEST_F(vmm, retries_outs)
{
	string_die(&self->thread, &self->ch, OP_OUTS);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(2, PIO_DATA, 0, 0xa0b2),
		   cmd_write(2, PIO_DATA, 0, 0xa0b3), cmd_write(2, PIO_DATA, 0, 0xa0b4),
		   cmd_write(2, PIO_DATA, 0, 0xa0b5));
}

TEST_F(vmm, completes_element_of_outs)
{
	string_die(&self->thread, &self->ch, OP_OUTS);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(2, PIO_DATA, 0, 0xa0b3),
		   cmd_write(2, PIO_DATA, 0, 0xa0b4), cmd_write(2, PIO_DATA, 0, 0xa0b5));
}

/* KVM makes one exit for each element written: the VMM gets the remaining ones. */
TEST_F(vmm, retries_outs_without_region)
{
	int i;

	string_die(&self->thread, &self->ch, OP_OUTS);
	regions_del(self->vm);
	for (i = 2; i < 6; i++) {
		vcpu_run(self->vcpu);
		expect_io(self->vcpu, PORTS, 2, true, 0xa0b0 + i);
	}
	run_done(self->vcpu);
}

TEST_F(vmm, retries_ins)
{
	uint16_t *buf = (void *)vcpu_script(self->vcpu)->buf;
	uint16_t val;
	int i;

	string_die(&self->thread, &self->ch, OP_INS);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(2, PIO_DATA, 0), cmd_read(2, PIO_DATA, 0),
		   cmd_read(2, PIO_DATA, 0), cmd_read(2, PIO_DATA, 0));
	val = device_value(&self->dev, 0x2000, 2);
	for (i = 0; i < 6; i++)
		TEST_ASSERT_EQ(buf[i], i < 2 ? 0x1110 + i : val);
}

TEST_F(vmm, completes_element_of_ins)
{
	uint16_t *buf = (void *)vcpu_script(self->vcpu)->buf;
	uint16_t val;
	int i;

	string_die(&self->thread, &self->ch, OP_INS);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x2222);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(2, PIO_DATA, 0), cmd_read(2, PIO_DATA, 0),
		   cmd_read(2, PIO_DATA, 0));
	val = device_value(&self->dev, 0x2000, 2);
	for (i = 0; i < 6; i++)
		TEST_ASSERT_EQ(buf[i], i < 2 ? 0x1110 + i : i == 2 ? 0x2222 : val);
}

/* One KVM_EXIT_IO for all six elements would repeat those that have been carried out. */
TEST_F(vmm, completes_ins_without_region)
{
	uint16_t *buf = (void *)vcpu_script(self->vcpu)->buf;
	int i;

	string_die(&self->thread, &self->ch, OP_INS);
	regions_del(self->vm);
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x1112);
	for (i = 3; i < 6; i++) {
		vcpu_run(self->vcpu);
		expect_failure(self->vcpu, exit_pio(exit_read(DEASSIGNED, 0, NONE, 2, PORTS)));
		resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x1110 + i);
	}
	run_done(self->vcpu);
	for (i = 0; i < 6; i++)
		TEST_ASSERT_EQ(buf[i], 0x1110 + i);
}

/* 3 bytes before a page boundary and 5 after it: fragments of 1, 2 and of 4, 1 bytes. */
#define SPLIT	(MMIO_GPA + 0x1000 - 3)

static struct guest_op *split_die(struct vcpu_thread *thread, struct channel *ch, bool write)
{
	struct guest_op *op = write ? op_write(thread->vcpu, 8, SPLIT, DATA) :
				      op_read(thread->vcpu, 8, SPLIT);

	thread_start(thread);
	expect_cmd(dev_recv(ch), write ? cmd_write(1, MMIO_DATA, 0xfd, 0x88) :
					 cmd_read(1, MMIO_DATA, 0xfd));
	dev_send(ch, 0xffffff88);
	expect_cmd(dev_recv(ch), write ? cmd_write(2, MMIO_DATA, 0xfe, 0xa697) :
					 cmd_read(2, MMIO_DATA, 0xfe));
	channel_close_dev(ch);
	thread_join_exit(thread);
	expect_failure(thread->vcpu,
		       write ? exit_write(HANGUP, 0, ALL, 2, SPLIT + 1, 0xa697) :
			       exit_read(HANGUP, 0, ALL, 2, SPLIT + 1));
	return op;
}

TEST_F(vmm, retries_part_of_read)
{
	struct guest_op *op = split_die(&self->thread, &self->ch, false);

	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(2, MMIO_DATA, 0xfe), cmd_read(4, MMIO_DATA, 0x100),
		   cmd_read(1, MMIO_DATA, 0x104));
	TEST_ASSERT_EQ(op->val, device_value(&self->dev, 0x1fe, 7) << 8 | 0x88);
}

TEST_F(vmm, retries_part_of_write)
{
	split_die(&self->thread, &self->ch, true);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(2, MMIO_DATA, 0xfe, 0xa697),
		   cmd_write(4, MMIO_DATA, 0x100, 0xe2d3c4b5),
		   cmd_write(1, MMIO_DATA, 0x104, 0xf1));
}

TEST_F(vmm, completes_part_of_read)
{
	struct guest_op *op = split_die(&self->thread, &self->ch, false);

	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0xffff6677);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(4, MMIO_DATA, 0x100), cmd_read(1, MMIO_DATA, 0x104));
	TEST_ASSERT_EQ(op->val, device_value(&self->dev, 0x200, 5) << 24 | 0x667788);
}

/*
 * The first half cannot become an exit, since a part of it has been carried out; the
 * second can.
 */
TEST_F(vmm, retries_part_of_read_without_region)
{
	struct guest_op *op = split_die(&self->thread, &self->ch, false);

	regions_del(self->vm);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_read(DEASSIGNED, 0, ALL, 2, SPLIT + 1));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x6677);
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, MMIO_GPA + 0x1000, 5, false, 0);
	complete_mmio(self->vcpu, 0x1122334455);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, 0x1122334455667788);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
