// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the device task sees of accesses of each width, alignment and kind of
 * instruction, over each kind of channel.
 */
#include "ioregionfd_harness.h"

/* In the middle of a page, with nothing registered around it. */
#define REGION		(MMIO_GPA + 0x7c0)
#define REGION_SIZE	0x40
#define PORTS		(PIO_BASE + 0x40)
#define PORTS_SIZE	0x10

#define MMIO_DATA	USER_DATA(0x100)
#define PIO_DATA	USER_DATA(0x200)

/*
 * Every width at every offset, over every transport.
 */
FIXTURE(width)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct device dev;
};

FIXTURE_VARIANT(width)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(width, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(width, native) { TR_NATIVE };
FIXTURE_VARIANT_ADD(width, polled) { TR_POLLED };

FIXTURE_SETUP(width)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	device_start_for(&self->dev, self->vm, variant->transport);
	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	region_add(self->vm, &self->dev.ch, PORTS, PORTS_SIZE, PIO_DATA, KVM_IOREGION_PIO);
}

FIXTURE_TEARDOWN(width)
{
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

TEST_F(width, mmio_read)
{
	uint32_t size, offset, nr = 0;
	struct guest_op *ops[256];

	for (size = 1; size <= 8; size *= 2)
		for (offset = 0; offset + size <= REGION_SIZE; offset++)
			ops[nr++] = op_read(self->vcpu, size, REGION + offset);
	run_done(self->vcpu);
	expect_nr(&self->dev, nr);

	nr = 0;
	for (size = 1; size <= 8; size *= 2) {
		for (offset = 0; offset + size <= REGION_SIZE; offset++) {
			expect_cmd(self->dev.log[nr], cmd_read(size, MMIO_DATA, offset));
			TEST_ASSERT_EQ(ops[nr]->val,
				       device_value(&self->dev, 0x100 + offset, size));
			nr++;
		}
	}
}

TEST_F(width, mmio_write)
{
	uint32_t size, offset, nr = 0;
	uint64_t val;

	for (size = 1; size <= 8; size *= 2)
		for (offset = 0; offset + size <= REGION_SIZE; offset++)
			op_write(self->vcpu, size, REGION + offset, pattern(nr++));
	run_done(self->vcpu);
	expect_nr(&self->dev, nr);

	nr = 0;
	for (size = 1; size <= 8; size *= 2) {
		for (offset = 0; offset + size <= REGION_SIZE; offset++) {
			val = low_bytes(pattern(nr), size);
			expect_cmd(self->dev.log[nr++], cmd_write(size, MMIO_DATA, offset, val));
		}
	}
}

TEST_F(width, pio_read)
{
	uint32_t size, offset, nr = 0;
	struct guest_op *ops[64];
	uint64_t val;

	for (size = 1; size <= 4; size *= 2)
		for (offset = 0; offset + size <= PORTS_SIZE; offset++)
			ops[nr++] = op_in(self->vcpu, size, PORTS + offset);
	run_done(self->vcpu);
	expect_nr(&self->dev, nr);

	nr = 0;
	for (size = 1; size <= 4; size *= 2) {
		for (offset = 0; offset + size <= PORTS_SIZE; offset++) {
			expect_cmd(self->dev.log[nr], cmd_read(size, PIO_DATA, offset));
			val = device_value(&self->dev, 0x200 + offset, size);
			TEST_ASSERT_EQ(ops[nr++]->val, in_result(size, val));
		}
	}
}

TEST_F(width, pio_write)
{
	uint32_t size, offset, nr = 0;
	uint64_t val;

	for (size = 1; size <= 4; size *= 2)
		for (offset = 0; offset + size <= PORTS_SIZE; offset++)
			op_out(self->vcpu, size, PORTS + offset, pattern(nr++));
	run_done(self->vcpu);
	expect_nr(&self->dev, nr);

	nr = 0;
	for (size = 1; size <= 4; size *= 2) {
		for (offset = 0; offset + size <= PORTS_SIZE; offset++) {
			val = low_bytes(pattern(nr), size);
			expect_cmd(self->dev.log[nr++], cmd_write(size, PIO_DATA, offset, val));
		}
	}
}

TEST_F(width, posted)
{
	struct guest_op *read, *in;

	region_add(self->vm, &self->dev.ch, MMIO_GPA, 0x10, USER_DATA(0),
		   KVM_IOREGION_POSTED_WRITES);
	region_add(self->vm, &self->dev.ch, PIO_BASE, 0x10, USER_DATA(0x20),
		   KVM_IOREGION_POSTED_WRITES | KVM_IOREGION_PIO);

	op_write(self->vcpu, 8, MMIO_GPA + 1, pattern(1));
	op_out(self->vcpu, 2, PIO_BASE + 2, pattern(2));
	read = op_read(self->vcpu, 8, MMIO_GPA + 1);
	in = op_in(self->vcpu, 2, PIO_BASE + 2);
	op_write(self->vcpu, 1, MMIO_GPA + 15, pattern(3));
	op_write(self->vcpu, 4, REGION, pattern(4));
	run_done(self->vcpu);

	expect_log(&self->dev,
		   cmd_posted(8, USER_DATA(0), 1, pattern(1)),
		   cmd_posted(2, USER_DATA(0x20), 2, low_bytes(pattern(2), 2)),
		   cmd_read(8, USER_DATA(0), 1),
		   cmd_read(2, USER_DATA(0x20), 2),
		   cmd_posted(1, USER_DATA(0), 15, low_bytes(pattern(3), 1)),
		   cmd_write(4, MMIO_DATA, 0, low_bytes(pattern(4), 4)));
	TEST_ASSERT_EQ(read->val, pattern(1));
	TEST_ASSERT_EQ(in->val, in_result(2, low_bytes(pattern(2), 2)));
}

/*
 * Instructions that make more than one access of 1, 2, 4 or 8 bytes, and accesses that
 * are not entirely inside one region.
 */
FIXTURE(shape)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct device dev;
};

FIXTURE_VARIANT(shape)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(shape, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(shape, native) { TR_NATIVE };
FIXTURE_VARIANT_ADD(shape, polled) { TR_POLLED };

FIXTURE_SETUP(shape)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	device_start_for(&self->dev, self->vm, variant->transport);
}

FIXTURE_TEARDOWN(shape)
{
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

/* A register that returns a different value each time. */
static uint64_t respond_counter(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	return pattern(dev->nr);
}

/* More elements than KVM handles at a time, into a buffer that crosses a page boundary. */
static void check_ins(struct kvm_vm *vm, struct kvm_vcpu *vcpu, struct device *dev, uint32_t size)
{
	uint32_t count = 1100, i;
	uint8_t *buf = vcpu_script(vcpu)->buf + 4096 - 10;
	uint64_t want, got;

	dev->respond = respond_counter;
	region_add(vm, &dev->ch, PORTS, PORTS_SIZE, PIO_DATA, KVM_IOREGION_PIO);
	op_add(vcpu, (struct guest_op){
		.kind = OP_INS,
		.size = size,
		.addr = PORTS + 4,
		.mem = vcpu_buf_gva(vcpu) + 4096 - 10,
		.count = count,
	});
	run_done(vcpu);

	expect_nr(dev, count);
	for (i = 0; i < count; i++) {
		expect_cmd(dev->log[i], cmd_read(size, PIO_DATA, 4));
		want = low_bytes(pattern(i), size);
		got = 0;
		memcpy(&got, buf + i * size, size);
		TEST_ASSERT(got == want, "element %u: wanted 0x%lx, got 0x%lx", i, want, got);
	}
}

TEST_F(shape, rep_insb)
{
	check_ins(self->vm, self->vcpu, &self->dev, 1);
}

TEST_F(shape, rep_insw)
{
	check_ins(self->vm, self->vcpu, &self->dev, 2);
}

TEST_F(shape, rep_insl)
{
	check_ins(self->vm, self->vcpu, &self->dev, 4);
}

TEST_F(shape, rep_insb_downwards)
{
	uint8_t *buf = vcpu_script(self->vcpu)->buf;
	uint32_t count = 40, i;

	self->dev.respond = respond_counter;
	region_add(self->vm, &self->dev.ch, PORTS, PORTS_SIZE, PIO_DATA, KVM_IOREGION_PIO);
	op_add(self->vcpu, (struct guest_op){
		.kind = OP_INS,
		.size = 1,
		.addr = PORTS,
		.mem = vcpu_buf_gva(self->vcpu) + 4096 + 20,
		.count = count,
		.down = true,
	});
	run_done(self->vcpu);

	expect_nr(&self->dev, count);
	for (i = 0; i < count; i++)
		TEST_ASSERT_EQ(buf[4096 + 20 - i], (uint8_t)pattern(i));
}

static void check_outs(struct kvm_vm *vm, struct kvm_vcpu *vcpu, struct device *dev, uint32_t size)
{
	uint8_t *buf = vcpu_script(vcpu)->buf + 4096 - 10;
	uint32_t count = 300, i;
	uint64_t val;

	for (i = 0; i < count; i++) {
		val = pattern(i);
		memcpy(buf + i * size, &val, size);
	}
	region_add(vm, &dev->ch, PORTS, PORTS_SIZE, PIO_DATA, KVM_IOREGION_PIO);
	op_add(vcpu, (struct guest_op){
		.kind = OP_OUTS,
		.size = size,
		.addr = PORTS + 4,
		.mem = vcpu_buf_gva(vcpu) + 4096 - 10,
		.count = count,
	});
	run_done(vcpu);

	expect_nr(dev, count);
	for (i = 0; i < count; i++)
		expect_cmd(dev->log[i], cmd_write(size, PIO_DATA, 4, low_bytes(pattern(i), size)));
}

TEST_F(shape, rep_outsb)
{
	check_outs(self->vm, self->vcpu, &self->dev, 1);
}

TEST_F(shape, rep_outsw)
{
	check_outs(self->vm, self->vcpu, &self->dev, 2);
}

TEST_F(shape, rep_outsl)
{
	check_outs(self->vm, self->vcpu, &self->dev, 4);
}

/* The source is in a region of memory, the destination in one of ports. */
TEST_F(shape, outs_from_region_to_region)
{
	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	region_add(self->vm, &self->dev.ch, PORTS, PORTS_SIZE, PIO_DATA, KVM_IOREGION_PIO);
	op_add(self->vcpu, (struct guest_op){
		.kind = OP_OUTS,
		.size = 2,
		.addr = PORTS,
		.mem = REGION + 8,
		.count = 3,
	});
	run_done(self->vcpu);
	expect_log(&self->dev,
		   cmd_read(2, MMIO_DATA, 8),
		   cmd_write(2, PIO_DATA, 0, device_value(&self->dev, 0x108, 2)),
		   cmd_read(2, MMIO_DATA, 10),
		   cmd_write(2, PIO_DATA, 0, device_value(&self->dev, 0x10a, 2)),
		   cmd_read(2, MMIO_DATA, 12),
		   cmd_write(2, PIO_DATA, 0, device_value(&self->dev, 0x10c, 2)));
}

TEST_F(shape, rep_movsb_from_ram)
{
	uint8_t *buf = vcpu_script(self->vcpu)->buf;
	uint32_t i;

	for (i = 0; i < REGION_SIZE; i++)
		buf[i] = 0xff - i;
	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	op_add(self->vcpu, (struct guest_op){
		.kind = OP_MOVS,
		.size = 1,
		.addr = REGION,
		.mem = vcpu_buf_gva(self->vcpu),
		.count = REGION_SIZE,
	});
	run_done(self->vcpu);
	expect_nr(&self->dev, REGION_SIZE);
	for (i = 0; i < REGION_SIZE; i++)
		expect_cmd(self->dev.log[i], cmd_write(1, MMIO_DATA, i, 0xff - i));
}

TEST_F(shape, rep_movsq_to_ram)
{
	uint8_t *buf = vcpu_script(self->vcpu)->buf;
	uint32_t i;

	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	op_add(self->vcpu, (struct guest_op){
		.kind = OP_MOVS,
		.size = 8,
		.addr = vcpu_buf_gva(self->vcpu) + 3,
		.mem = REGION,
		.count = REGION_SIZE / 8,
	});
	run_done(self->vcpu);
	expect_nr(&self->dev, REGION_SIZE / 8);
	for (i = 0; i < REGION_SIZE / 8; i++)
		expect_cmd(self->dev.log[i], cmd_read(8, MMIO_DATA, 8 * i));
	TEST_ASSERT(!memcmp(buf + 3, self->dev.mem + 0x100, REGION_SIZE), "wrong bytes in RAM");
}

TEST_F(shape, rep_movsl_from_region_to_region)
{
	struct device *dev = &self->dev;

	region_add(self->vm, &dev->ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	region_add(self->vm, &dev->ch, MMIO_GPA + 0x1000, 0x100, USER_DATA(0x400), 0);
	op_add(self->vcpu, (struct guest_op){
		.kind = OP_MOVS,
		.size = 4,
		.addr = MMIO_GPA + 0x1020,
		.mem = REGION + 4,
		.count = 2,
	});
	run_done(self->vcpu);
	expect_log(dev, cmd_read(4, MMIO_DATA, 4),
		   cmd_write(4, USER_DATA(0x400), 0x20, device_value(dev, 0x104, 4)),
		   cmd_read(4, MMIO_DATA, 8),
		   cmd_write(4, USER_DATA(0x400), 0x24, device_value(dev, 0x108, 4)));
}

TEST_F(shape, sse_load)
{
	struct guest_op *op;

	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	op = op_add(self->vcpu, (struct guest_op){ .kind = OP_LOAD16, .addr = REGION + 0x11 });
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(8, MMIO_DATA, 0x11), cmd_read(8, MMIO_DATA, 0x19));
	TEST_ASSERT_EQ(op->val, device_value(&self->dev, 0x111, 8));
	TEST_ASSERT_EQ(op->hi, device_value(&self->dev, 0x119, 8));
}

TEST_F(shape, sse_store)
{
	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	op_add(self->vcpu, (struct guest_op){
		.kind = OP_STORE16,
		.addr = REGION + 0x30,
		.val = pattern(1),
		.hi = pattern(2),
	});
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(8, MMIO_DATA, 0x30, pattern(1)),
		   cmd_write(8, MMIO_DATA, 0x38, pattern(2)));
}

/* The halves are separate accesses: the second one may belong to somebody else. */
TEST_F(shape, sse_half_outside)
{
	struct guest_op *op;

	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	op = op_add(self->vcpu, (struct guest_op){
		.kind = OP_LOAD16,
		.addr = REGION + REGION_SIZE - 8,
	});
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, REGION + REGION_SIZE, 8, false, 0);
	complete_mmio(self->vcpu, pattern(9));
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(8, MMIO_DATA, REGION_SIZE - 8));
	TEST_ASSERT_EQ(op->val, device_value(&self->dev, 0x100 + REGION_SIZE - 8, 8));
	TEST_ASSERT_EQ(op->hi, pattern(9));
}

TEST_F(shape, xchg)
{
	struct device *dev = &self->dev;
	uint64_t old, new;
	struct guest_op *op;
	uint32_t size;

	region_add(self->vm, &dev->ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	for (size = 1; size <= 8; size *= 2) {
		old = device_value(dev, 0x108, size);
		new = low_bytes(pattern(size), size);
		op = op_add(self->vcpu, (struct guest_op){
			.kind = OP_XCHG,
			.size = size,
			.addr = REGION + 8,
			.val = pattern(size),
		});
		run_done(self->vcpu);
		expect_log(dev, cmd_read(size, MMIO_DATA, 8), cmd_write(size, MMIO_DATA, 8, new));
		TEST_ASSERT_EQ(low_bytes(op->val, size), old);
		TEST_ASSERT_EQ(device_value(dev, 0x108, size), new);
	}
}

TEST_F(shape, or)
{
	struct device *dev = &self->dev;
	uint32_t size;
	uint64_t new;

	region_add(self->vm, &dev->ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	for (size = 1; size <= 8; size *= 2) {
		new = device_value(dev, 0x110, size) | low_bytes(pattern(size), size);
		op_add(self->vcpu, (struct guest_op){
			.kind = OP_OR,
			.size = size,
			.addr = REGION + 0x10,
			.val = pattern(size),
		});
		run_done(self->vcpu);
		expect_log(dev, cmd_read(size, MMIO_DATA, 0x10),
			   cmd_write(size, MMIO_DATA, 0x10, new));
	}
}

TEST_F(shape, byte_before_and_after)
{
	struct guest_op *op;

	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	region_add(self->vm, &self->dev.ch, PORTS, PORTS_SIZE, PIO_DATA, KVM_IOREGION_PIO);

	op = op_read(self->vcpu, 1, REGION - 1);
	op_write(self->vcpu, 1, REGION + REGION_SIZE, 0x77);
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, REGION - 1, 1, false, 0);
	complete_mmio(self->vcpu, 0x99);
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, REGION + REGION_SIZE, 1, true, 0x77);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, 0x99);

	op = op_in(self->vcpu, 1, PORTS - 1);
	op_out(self->vcpu, 1, PORTS + PORTS_SIZE, 0x66);
	vcpu_run(self->vcpu);
	expect_io(self->vcpu, PORTS - 1, 1, false, 0);
	*(uint8_t *)io_data(self->vcpu) = 0x55;
	vcpu_run(self->vcpu);
	expect_io(self->vcpu, PORTS + PORTS_SIZE, 1, true, 0x66);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, in_result(1, 0x55));
	expect_log(&self->dev);
}

/* An access that is only partly inside belongs to the VMM, in one exit. */
TEST_F(shape, begins_inside_ends_outside)
{
	struct guest_op *op;

	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	op = op_read(self->vcpu, 8, REGION + REGION_SIZE - 7);
	op_write(self->vcpu, 2, REGION + REGION_SIZE - 1, 0x1234);
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, REGION + REGION_SIZE - 7, 8, false, 0);
	complete_mmio(self->vcpu, pattern(1));
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, REGION + REGION_SIZE - 1, 2, true, 0x1234);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, pattern(1));
	expect_log(&self->dev);
}

TEST_F(shape, begins_outside_ends_inside)
{
	struct guest_op *op;

	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	op = op_read(self->vcpu, 8, REGION - 1);
	op_write(self->vcpu, 4, REGION - 3, 0x12345678);
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, REGION - 1, 8, false, 0);
	complete_mmio(self->vcpu, pattern(2));
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, REGION - 3, 4, true, 0x12345678);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, pattern(2));
	expect_log(&self->dev);
}

TEST_F(shape, ports_partly_inside)
{
	struct guest_op *in;

	region_add(self->vm, &self->dev.ch, PORTS, PORTS_SIZE, PIO_DATA, KVM_IOREGION_PIO);
	in = op_in(self->vcpu, 4, PORTS + PORTS_SIZE - 3);
	op_out(self->vcpu, 2, PORTS - 1, 0xabcd);
	vcpu_run(self->vcpu);
	expect_io(self->vcpu, PORTS + PORTS_SIZE - 3, 4, false, 0);
	*(uint32_t *)io_data(self->vcpu) = 0x13579bdf;
	vcpu_run(self->vcpu);
	expect_io(self->vcpu, PORTS - 1, 2, true, 0xabcd);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(in->val, 0x13579bdf);
	expect_log(&self->dev);
}

TEST_F(shape, wider_than_the_region)
{
	region_add(self->vm, &self->dev.ch, REGION + 2, 2, MMIO_DATA, 0);
	op_write(self->vcpu, 8, REGION, pattern(3));
	op_write(self->vcpu, 4, REGION + 2, 1);
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, REGION, 8, true, pattern(3));
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, REGION + 2, 4, true, 1);
	run_done(self->vcpu);
	expect_log(&self->dev);
}

/* Two adjacent regions: neither contains the whole access. */
TEST_F(shape, across_neighbours)
{
	region_add(self->vm, &self->dev.ch, REGION, 4, MMIO_DATA, 0);
	region_add(self->vm, &self->dev.ch, REGION + 4, 4, PIO_DATA, 0);
	op_write(self->vcpu, 8, REGION, pattern(3));
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, REGION, 8, true, pattern(3));
	run_done(self->vcpu);
	expect_log(&self->dev);
}

TEST_F(shape, last_port)
{
	struct guest_op *op;

	region_add(self->vm, &self->dev.ch, 0xffff, 1, PIO_DATA, KVM_IOREGION_PIO);
	op = op_in(self->vcpu, 1, 0xffff);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(1, PIO_DATA, 0));
	TEST_ASSERT_EQ(op->val, in_result(1, device_value(&self->dev, 0x200, 1)));
}

/* user_data and the offset use all 64 bits. */
TEST_F(shape, high_address_in_large_region)
{
	struct guest_op *op;

	self->dev.respond = respond_counter;
	region_add(self->vm, &self->dev.ch, 0x80000000, 1ul << 35, ~0ul, 0);
	virt_pg_map(self->vm, 0x500000000, 0x500000000);
	op = op_read(self->vcpu, 4, 0x500000ffc);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(4, ~0ul, 0x480000ffc));
	TEST_ASSERT_EQ(op->val, low_bytes(pattern(0), 4));
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
