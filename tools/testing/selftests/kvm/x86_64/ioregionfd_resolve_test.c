// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a VMM can do about an access that has failed: retry it, or complete it itself.
 */
#include "ioregionfd_failure_util.h"
#include "ioregionfd_harness.h"

FIXTURE(vmm)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct device dev;
};

FIXTURE_VARIANT(vmm)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(vmm, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(vmm, native) { TR_NATIVE };

FIXTURE_SETUP(vmm)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	vcpu_thread_init(&self->thread, self->vcpu);
	self->ch = channel_attach(self->vm, variant->transport);
}

FIXTURE_TEARDOWN(vmm)
{
	kvm_vm_free(self->vm);
	if (self->dev.log)
		expect_device_released(&self->dev);
}

/* The device task reads the guest's next command and dies. */
#define dies_with(...) __dies_with(__VA_ARGS__, __LINE__)
static void __dies_with(struct vcpu_thread *thread, struct channel *ch,
			struct ioregionfd_cmd want, struct kvm_ioregionfd_exit exit, int line)
{
	thread_start(thread);
	__expect_cmd(__dev_recv(ch, line), want, line);
	channel_close_dev(ch);
	__thread_join_exit(thread, line);
	__expect_failure(thread->vcpu, exit, line);
}

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
		op_write(vcpu, size, REGION + 0x21, DATA);
		dies_with(&self->thread, &self->ch,
			  cmd_write(size, MMIO_DATA, 0x21, low_bytes(DATA, size)),
			  exit_write(HANGUP, 0, ALL, size, REGION + 0x21, DATA));
		resolve(vcpu, KVM_IOREGIONFD_COMPLETE, 0);
		run_done(vcpu);

		regions_del(self->vm);
		self->ch = channel_attach(self->vm, variant->transport);
		if (size == 8)
			break;
		op = op_in(vcpu, size, PORTS + 3);
		dies_with(&self->thread, &self->ch, cmd_read(size, PIO_DATA, 3),
			  exit_pio(exit_read(HANGUP, 0, ALL, size, PORTS + 3)));
		resolve(vcpu, KVM_IOREGIONFD_COMPLETE, DATA);
		run_done(vcpu);
		TEST_ASSERT_EQ(op->val, in_result(size, low_bytes(DATA, size)));

		regions_del(self->vm);
		self->ch = channel_attach(self->vm, variant->transport);
		op_out(vcpu, size, PORTS + 8, DATA);
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

	read = op_read(vcpu, 8, REGION + 1);
	op_write(vcpu, 2, REGION + 2, 0xabcd);
	in = op_in(vcpu, 4, PORTS);
	op_out(vcpu, 1, PORTS + 1, 0xef);

	dies_with(&self->thread, &self->ch, cmd_read(8, MMIO_DATA, 1),
		  exit_read(HANGUP, 0, ALL, 8, REGION + 1));
	regions_del(self->vm);
	vcpu_run(vcpu);
	expect_mmio(vcpu, REGION + 1, 8, false, 0);
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
	expect_io(vcpu, PORTS, 4, false, 0);
	*(uint32_t *)io_data(vcpu) = 0x99887766;

	self->ch = channel_attach(self->vm, variant->transport);
	dies_with(&self->thread, &self->ch, cmd_write(1, PIO_DATA, 1, 0xef),
		  exit_pio(exit_write(HANGUP, 0, ALL, 1, PORTS + 1, 0xef)));
	regions_del(self->vm);
	vcpu_run(vcpu);
	expect_io(vcpu, PORTS + 1, 1, true, 0xef);
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
	in = op_in(self->vcpu, 2, PORTS);
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
	TEST_ASSERT_EQ(in->val, in_result(2, device_value(&self->dev, 0x2000, 2)));
}

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
