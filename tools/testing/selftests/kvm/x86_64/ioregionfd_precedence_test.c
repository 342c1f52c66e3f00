// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accesses that cross a page or a region, and who gets an access that several devices
 * could handle.
 */
#include <sys/eventfd.h>

#include "ioregionfd_harness.h"

/* In the middle of a page, with nothing registered around it. */
#define REGION		(MMIO_GPA + 0x7c0)
#define REGION_SIZE	0x40
#define PORTS		(PIO_BASE + 0x40)
#define PORTS_SIZE	0x10

#define MMIO_DATA	USER_DATA(0x100)
#define PIO_DATA	USER_DATA(0x200)

/*
 * Accesses that cross a page. KVM makes two of each; a part whose size is not a power
 * of two is split into naturally aligned steps.
 */
#define PAGE2		(MMIO_GPA + 0x1000)
#define PAGE1_DATA	USER_DATA(0x1000)
#define PAGE2_DATA	USER_DATA(0x2000)

/*
 * Computes the commands for a part of an access, at @offset of a region that begins at
 * a multiple of 8. Returns their number.
 */
static unsigned int split(struct ioregionfd_cmd *cmds, bool write, uint64_t user_data,
			  uint64_t offset, uint32_t len, uint64_t val)
{
	bool whole = !(len & (len - 1));
	uint32_t size, nr = 0;

	for (; len; len -= size) {
		size = whole ? len : 4;
		while (!whole && (size > len || offset % size))
			size /= 2;
		cmds[nr++] = write ? cmd_write(size, user_data, offset, low_bytes(val, size)) :
				     cmd_read(size, user_data, offset);
		offset += size;
		val >>= 8 * size;
	}
	return nr;
}

FIXTURE(cross)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct device dev;
	struct ioregionfd_cmd cmds[16];
	unsigned int nr;
};

FIXTURE_VARIANT(cross)
{
	bool write;
	enum transport transport;
};

FIXTURE_VARIANT_ADD(cross, read) { false, TR_SEQPACKET };
FIXTURE_VARIANT_ADD(cross, write) { true, TR_SEQPACKET };
FIXTURE_VARIANT_ADD(cross, read_native) { false, TR_NATIVE };
FIXTURE_VARIANT_ADD(cross, write_native) { true, TR_NATIVE };
FIXTURE_VARIANT_ADD(cross, read_polled) { false, TR_POLLED };
FIXTURE_VARIANT_ADD(cross, write_polled) { true, TR_POLLED };

FIXTURE_SETUP(cross)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	device_start_for(&self->dev, self->vm, variant->transport);
}

FIXTURE_TEARDOWN(cross)
{
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

static void expect_split(struct device *dev, const struct ioregionfd_cmd *cmds, unsigned int nr)
{
	unsigned int i;

	expect_nr(dev, nr);
	for (i = 0; i < nr; i++)
		expect_cmd(dev->log[i], cmds[i]);
	device_forget(dev);
}

static struct guest_op *cross_op(struct kvm_vcpu *vcpu, bool write, uint64_t addr, uint64_t val)
{
	return write ? op_write(vcpu, 8, addr, val) : op_read(vcpu, 8, addr);
}

TEST_F(cross, first_page_only)
{
	struct kvm_vcpu *vcpu = self->vcpu;
	uint64_t val = pattern(5);
	struct guest_op *op;
	uint32_t first;

	region_add(self->vm, &self->dev.ch, MMIO_GPA, 0x1000, USER_DATA(0), 0);
	for (first = 1; first < 8; first++) {
		self->nr = split(self->cmds, variant->write, USER_DATA(0), 0x1000 - first, first,
				 val);
		op = cross_op(vcpu, variant->write, PAGE2 - first, val);
		vcpu_run(vcpu);
		expect_mmio(vcpu, PAGE2, 8 - first, variant->write, val >> (8 * first));
		expect_split(&self->dev, self->cmds, self->nr);
		complete_mmio(vcpu, pattern(6));
		run_done(vcpu);
		expect_log(&self->dev);
		if (!variant->write)
			TEST_ASSERT_EQ(op->val, device_value(&self->dev, 0x1000 - first, first) |
						pattern(6) << (8 * first));
	}
}

TEST_F(cross, second_page_only)
{
	struct kvm_vcpu *vcpu = self->vcpu;
	uint64_t val = pattern(5);
	struct guest_op *op;
	uint32_t first;

	region_add(self->vm, &self->dev.ch, PAGE2, 0x1000, PAGE2_DATA, 0);
	for (first = 1; first < 8; first++) {
		self->nr = split(self->cmds, variant->write, PAGE2_DATA, 0, 8 - first,
				 val >> (8 * first));
		op = cross_op(vcpu, variant->write, PAGE2 - first, val);
		vcpu_run(vcpu);
		expect_mmio(vcpu, PAGE2 - first, first, variant->write, low_bytes(val, first));
		expect_log(&self->dev);
		complete_mmio(vcpu, pattern(6));
		run_done(vcpu);
		expect_split(&self->dev, self->cmds, self->nr);
		if (!variant->write)
			TEST_ASSERT_EQ(op->val, low_bytes(pattern(6), first) |
				       device_value(&self->dev, 0x2000, 8 - first) << (8 * first));
	}
}

TEST_F(cross, two_regions)
{
	struct kvm_vcpu *vcpu = self->vcpu;
	uint64_t val = pattern(5);
	struct guest_op *op;
	uint32_t first;

	region_add(self->vm, &self->dev.ch, PAGE2 - 0x10, 0x10, PAGE1_DATA, 0);
	region_add(self->vm, &self->dev.ch, PAGE2, 0x10, PAGE2_DATA, 0);
	for (first = 1; first < 8; first++) {
		self->nr = split(self->cmds, variant->write, PAGE1_DATA, 0x10 - first, first, val);
		self->nr += split(self->cmds + self->nr, variant->write, PAGE2_DATA, 0, 8 - first,
				  val >> (8 * first));
		op = cross_op(vcpu, variant->write, PAGE2 - first, val);
		run_done(vcpu);
		expect_split(&self->dev, self->cmds, self->nr);
		if (!variant->write)
			TEST_ASSERT_EQ(op->val, device_value(&self->dev, 0x1010 - first, first) |
				       device_value(&self->dev, 0x2000, 8 - first) << (8 * first));
	}
}

TEST_F(cross, one_region_twice)
{
	struct kvm_vcpu *vcpu = self->vcpu;
	uint64_t val = pattern(5);
	struct guest_op *op;
	uint32_t first;

	/* The region does not begin at a page, but is aligned to 8 bytes. */
	region_add(self->vm, &self->dev.ch, MMIO_GPA + 8, 0x2000, USER_DATA(0), 0);
	for (first = 1; first < 8; first++) {
		self->nr = split(self->cmds, variant->write, USER_DATA(0), 0xff8 - first, first,
				 val);
		self->nr += split(self->cmds + self->nr, variant->write, USER_DATA(0), 0xff8,
				  8 - first, val >> (8 * first));
		op = cross_op(vcpu, variant->write, PAGE2 - first, val);
		run_done(vcpu);
		expect_split(&self->dev, self->cmds, self->nr);
		if (!variant->write)
			TEST_ASSERT_EQ(op->val, device_value(&self->dev, 0xff8 - first, 8));
	}
}

/* The steps are aligned by guest address, not by offset in the region. */
TEST_F(cross, region_at_odd_address)
{
	uint64_t val = pattern(5);

	region_add(self->vm, &self->dev.ch, MMIO_GPA + 1, 0x2000, USER_DATA(0), 0);
	cross_op(self->vcpu, variant->write, PAGE2 - 3, val);
	run_done(self->vcpu);
	if (variant->write)
		expect_log(&self->dev, cmd_write(1, USER_DATA(0), 0xffc, low_bytes(val, 1)),
			   cmd_write(2, USER_DATA(0), 0xffd, low_bytes(val >> 8, 2)),
			   cmd_write(4, USER_DATA(0), 0xfff, low_bytes(val >> 24, 4)),
			   cmd_write(1, USER_DATA(0), 0x1003, low_bytes(val >> 56, 1)));
	else
		expect_log(&self->dev, cmd_read(1, USER_DATA(0), 0xffc),
			   cmd_read(2, USER_DATA(0), 0xffd), cmd_read(4, USER_DATA(0), 0xfff),
			   cmd_read(1, USER_DATA(0), 0x1003));
}

/* KVM splits the 11 bytes into 8 and 3; 5 follow. */
TEST_F(cross, sse)
{
	struct guest_op *op;

	region_add(self->vm, &self->dev.ch, MMIO_GPA, 0x2000, USER_DATA(0), 0);
	op = op_add(self->vcpu, (struct guest_op){
		.kind = variant->write ? OP_STORE16 : OP_LOAD16,
		.addr = PAGE2 - 11,
		.val = pattern(1),
		.hi = pattern(2),
	});
	run_done(self->vcpu);
	if (variant->write) {
		expect_log(&self->dev, cmd_write(8, USER_DATA(0), 0xff5, pattern(1)),
			   cmd_write(1, USER_DATA(0), 0xffd, low_bytes(pattern(2), 1)),
			   cmd_write(2, USER_DATA(0), 0xffe, low_bytes(pattern(2) >> 8, 2)),
			   cmd_write(4, USER_DATA(0), 0x1000, low_bytes(pattern(2) >> 24, 4)),
			   cmd_write(1, USER_DATA(0), 0x1004, low_bytes(pattern(2) >> 56, 1)));
		return;
	}
	expect_log(&self->dev, cmd_read(8, USER_DATA(0), 0xff5), cmd_read(1, USER_DATA(0), 0xffd),
		   cmd_read(2, USER_DATA(0), 0xffe), cmd_read(4, USER_DATA(0), 0x1000),
		   cmd_read(1, USER_DATA(0), 0x1004));
	TEST_ASSERT_EQ(op->val, device_value(&self->dev, 0xff5, 8));
	TEST_ASSERT_EQ(op->hi, device_value(&self->dev, 0xffd, 8));
}

TEST_F(cross, from_ram)
{
	uint64_t gva = 0xd0000000, gpa = vm_phy_page_alloc(self->vm, 0x180000, 0);
	uint8_t *ram = addr_gpa2hva(self->vm, gpa);
	uint64_t val = pattern(5), ram_val;
	struct guest_op *op;

	virt_pg_map(self->vm, gva, gpa);
	virt_pg_map(self->vm, gva + 0x1000, MMIO_GPA);
	region_add(self->vm, &self->dev.ch, MMIO_GPA, 0x1000, USER_DATA(0), 0);

	memset(ram + 0xffb, 0xee, 5);
	op = cross_op(self->vcpu, variant->write, gva + 0xffb, val);
	run_done(self->vcpu);
	if (variant->write) {
		expect_log(&self->dev,
			   cmd_write(2, USER_DATA(0), 0, low_bytes(val >> 40, 2)),
			   cmd_write(1, USER_DATA(0), 2, val >> 56));
		ram_val = 0;
		memcpy(&ram_val, ram + 0xffb, 5);
		TEST_ASSERT_EQ(ram_val, low_bytes(val, 5));
	} else {
		expect_log(&self->dev, cmd_read(2, USER_DATA(0), 0), cmd_read(1, USER_DATA(0), 2));
		TEST_ASSERT_EQ(op->val, 0xeeeeeeeeee | device_value(&self->dev, 0, 3) << 40);
	}
}

/*
 * Precedence: devices inside kvm.ko, ioeventfds and coalesced zones come before the
 * region, the VMM after it.
 */
FIXTURE(precedence)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct device dev;
	int event;
};

FIXTURE_VARIANT(precedence)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(precedence, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(precedence, native) { TR_NATIVE };
FIXTURE_VARIANT_ADD(precedence, polled) { TR_POLLED };

FIXTURE_SETUP(precedence)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	device_start_for(&self->dev, self->vm, variant->transport);
	self->event = eventfd(0, EFD_NONBLOCK);
	TEST_ASSERT(self->event >= 0, "eventfd() failed");
}

FIXTURE_TEARDOWN(precedence)
{
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

TEST_F(precedence, in_kernel_ports)
{
	struct guest_op *imr, *next;

	/* The interrupt controller's mask register is port 0x21; 0x22 is free. */
	region_add(self->vm, &self->dev.ch, 0, 0x1000, USER_DATA(0), KVM_IOREGION_PIO);
	op_out(self->vcpu, 1, 0x21, 0xa5);
	imr = op_in(self->vcpu, 1, 0x21);
	next = op_in(self->vcpu, 1, 0x22);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(imr->val, in_result(1, 0xa5));
	TEST_ASSERT_EQ(next->val, in_result(1, device_value(&self->dev, 0x22, 1)));
	expect_log(&self->dev, cmd_read(1, USER_DATA(0), 0x22));
}

TEST_F(precedence, in_kernel_timer_created_later)
{
	struct kvm_pit_config pit = { 0 };
	struct guest_op *op;

	region_add(self->vm, &self->dev.ch, 0x40, 0x10, USER_DATA(0x40), KVM_IOREGION_PIO);
	op_out(self->vcpu, 1, 0x43, 0x34);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(1, USER_DATA(0x40), 3, 0x34));

	vm_ioctl(self->vm, KVM_CREATE_PIT2, &pit);
	op_out(self->vcpu, 1, 0x43, 0x34);
	op_in(self->vcpu, 1, 0x40);
	op = op_in(self->vcpu, 1, 0x44);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(1, USER_DATA(0x40), 4));
	TEST_ASSERT_EQ(op->val, in_result(1, device_value(&self->dev, 0x44, 1)));
}

TEST_F(precedence, in_kernel_interrupt_controllers)
{
	uint64_t ioapic = 0xfec00000, lapic = 0xfee00000;
	struct guest_op *ioapic_version, *lapic_version, *after_ioapic, *after_lapic;

	virt_pg_map(self->vm, ioapic, ioapic);
	virt_map(self->vm, lapic, lapic, 2);
	region_add(self->vm, &self->dev.ch, ioapic, 0x1000, USER_DATA(0), 0);
	region_add(self->vm, &self->dev.ch, lapic, 0x2000, USER_DATA(0x1000), 0);

	op_write(self->vcpu, 4, ioapic, 1);
	ioapic_version = op_read(self->vcpu, 4, ioapic + 0x10);
	lapic_version = op_read(self->vcpu, 4, lapic + 0x30);
	after_ioapic = op_read(self->vcpu, 4, ioapic + 0x100);
	after_lapic = op_read(self->vcpu, 4, lapic + 0x1000);
	run_done(self->vcpu);

	expect_log(&self->dev, cmd_read(4, USER_DATA(0), 0x100),
		   cmd_read(4, USER_DATA(0x1000), 0x1000));
	TEST_ASSERT_EQ(ioapic_version->val & 0xff, 0x11);
	TEST_ASSERT_EQ(lapic_version->val & 0xff, 0x14);
	TEST_ASSERT_EQ(after_ioapic->val, device_value(&self->dev, 0x100, 4));
	TEST_ASSERT_EQ(after_lapic->val, device_value(&self->dev, 0x2000, 4));
}

static void add_ioeventfd(struct kvm_vm *vm, int fd, uint64_t addr, uint32_t len, uint32_t flags,
			  uint64_t datamatch)
{
	struct kvm_ioeventfd args = {
		.fd = fd,
		.addr = addr,
		.len = len,
		.flags = flags,
		.datamatch = datamatch,
	};

	vm_ioctl(vm, KVM_IOEVENTFD, &args);
}

static uint64_t event_count(int fd)
{
	uint64_t count = 0;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		return 0;
	return count;
}

TEST_F(precedence, ioeventfd_in_region)
{
	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	add_ioeventfd(self->vm, self->event, REGION + 8, 4, 0, 0);

	op_write(self->vcpu, 4, REGION + 8, 1);
	op_write(self->vcpu, 4, REGION + 8, 2);
	/* These do not match: another length, another address, a read. */
	op_write(self->vcpu, 2, REGION + 8, 3);
	op_write(self->vcpu, 4, REGION + 12, 4);
	op_read(self->vcpu, 4, REGION + 8);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(event_count(self->event), 2);
	expect_log(&self->dev, cmd_write(2, MMIO_DATA, 8, 3), cmd_write(4, MMIO_DATA, 12, 4),
		   cmd_read(4, MMIO_DATA, 8));
}

TEST_F(precedence, region_around_ioeventfd)
{
	add_ioeventfd(self->vm, self->event, REGION + 8, 4, 0, 0);
	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);

	op_write(self->vcpu, 4, REGION + 8, 1);
	op_write(self->vcpu, 4, REGION + 4, 2);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(event_count(self->event), 1);
	expect_log(&self->dev, cmd_write(4, MMIO_DATA, 4, 2));
}

TEST_F(precedence, ioeventfd_of_any_length)
{
	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	add_ioeventfd(self->vm, self->event, REGION + 8, 0, 0, 0);

	op_write(self->vcpu, 1, REGION + 8, 1);
	op_write(self->vcpu, 8, REGION + 8, 2);
	op_write(self->vcpu, 1, REGION + 9, 3);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(event_count(self->event), 2);
	expect_log(&self->dev, cmd_write(1, MMIO_DATA, 9, 3));
}

TEST_F(precedence, ioeventfd_with_datamatch)
{
	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	add_ioeventfd(self->vm, self->event, REGION + 8, 4, KVM_IOEVENTFD_FLAG_DATAMATCH, 0x1234);

	op_write(self->vcpu, 4, REGION + 8, 0x1234);
	op_write(self->vcpu, 4, REGION + 8, 0x1235);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(event_count(self->event), 1);
	expect_log(&self->dev, cmd_write(4, MMIO_DATA, 8, 0x1235));
}

TEST_F(precedence, ioeventfd_of_port)
{
	region_add(self->vm, &self->dev.ch, PORTS, PORTS_SIZE, PIO_DATA, KVM_IOREGION_PIO);
	add_ioeventfd(self->vm, self->event, PORTS + 2, 2,
		      KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DATAMATCH, 0x55);

	op_out(self->vcpu, 2, PORTS + 2, 0x55);
	op_out(self->vcpu, 2, PORTS + 2, 0x56);
	op_out(self->vcpu, 1, PORTS + 2, 0x55);
	op_in(self->vcpu, 2, PORTS + 2);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(event_count(self->event), 1);
	expect_log(&self->dev, cmd_write(2, PIO_DATA, 2, 0x56), cmd_write(1, PIO_DATA, 2, 0x55),
		   cmd_read(2, PIO_DATA, 2));
}

TEST_F(precedence, coalesced_zones)
{
	struct kvm_coalesced_mmio_ring *ring =
		(void *)self->vcpu->run + kvm_check_cap(KVM_CAP_COALESCED_MMIO) * getpagesize();

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_COALESCED_PIO));
	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	region_add(self->vm, &self->dev.ch, PORTS, PORTS_SIZE, PIO_DATA, KVM_IOREGION_PIO);
	kvm_vm_register_coalesced_io(self->vm, REGION + 8, 8, false);
	kvm_vm_register_coalesced_io(self->vm, PORTS + 4, 4, true);

	op_write(self->vcpu, 4, REGION + 12, 0x11);
	op_write(self->vcpu, 4, REGION + 16, 0x22);
	op_read(self->vcpu, 4, REGION + 8);
	op_out(self->vcpu, 1, PORTS + 7, 0x33);
	op_out(self->vcpu, 1, PORTS + 8, 0x44);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(4, MMIO_DATA, 16, 0x22), cmd_read(4, MMIO_DATA, 8),
		   cmd_write(1, PIO_DATA, 8, 0x44));
	TEST_ASSERT_EQ(ring->last - ring->first, 2);
	TEST_ASSERT_EQ(ring->coalesced_mmio[ring->first].phys_addr, REGION + 12);
	TEST_ASSERT_EQ(ring->coalesced_mmio[ring->first + 1].phys_addr, PORTS + 7);
}

/* A memslot takes precedence over a region. */
TEST_F(precedence, memslot_over_region)
{
	struct guest_op *ram, *after;
	uint8_t *hva;

	region_add(self->vm, &self->dev.ch, MMIO_GPA, 0x2000, USER_DATA(0), 0);
	vm_userspace_mem_region_add(self->vm, VM_MEM_SRC_ANONYMOUS, MMIO_GPA, 1, 1, 0);
	hva = addr_gpa2hva(self->vm, MMIO_GPA);
	hva[0x10] = 0x5a;

	ram = op_read(self->vcpu, 1, MMIO_GPA + 0x10);
	op_write(self->vcpu, 1, MMIO_GPA + 0x11, 0xa5);
	after = op_read(self->vcpu, 1, MMIO_GPA + 0x1000);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(1, USER_DATA(0), 0x1000));
	TEST_ASSERT_EQ(ram->val, 0x5a);
	TEST_ASSERT_EQ(hva[0x11], 0xa5);
	TEST_ASSERT_EQ(after->val, device_value(&self->dev, 0x1000, 1));
}

/* As flash: reads come from memory, writes go to the device. */
TEST_F(precedence, read_only_memslot_over_region)
{
	struct guest_op *op;
	uint8_t *hva;

	region_add(self->vm, &self->dev.ch, MMIO_GPA, 0x1000, USER_DATA(0), 0);
	vm_userspace_mem_region_add(self->vm, VM_MEM_SRC_ANONYMOUS, MMIO_GPA, 1, 1,
				    KVM_MEM_READONLY);
	hva = addr_gpa2hva(self->vm, MMIO_GPA);
	hva[0x10] = 0x5a;

	op = op_read(self->vcpu, 1, MMIO_GPA + 0x10);
	op_write(self->vcpu, 1, MMIO_GPA + 0x10, 0xa5);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(1, USER_DATA(0), 0x10, 0xa5));
	TEST_ASSERT_EQ(op->val, 0x5a);
	TEST_ASSERT_EQ(hva[0x10], 0x5a);
}

TEST_F(precedence, vmm_gets_the_rest)
{
	struct guest_op *mmio, *in;

	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	region_add(self->vm, &self->dev.ch, PORTS, PORTS_SIZE, PIO_DATA, KVM_IOREGION_PIO);

	/* Alternately, since each leaves its traces in the run page. */
	op_write(self->vcpu, 4, REGION, 1);
	mmio = op_read(self->vcpu, 4, MMIO_GPA);
	op_out(self->vcpu, 1, PORTS, 2);
	in = op_in(self->vcpu, 2, PIO_BASE);
	op_read(self->vcpu, 8, REGION + 8);
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, MMIO_GPA, 4, false, 0);
	complete_mmio(self->vcpu, 0x11223344);
	vcpu_run(self->vcpu);
	expect_io(self->vcpu, PIO_BASE, 2, false, 0);
	*(uint16_t *)io_data(self->vcpu) = 0x5566;
	run_done(self->vcpu);

	TEST_ASSERT_EQ(mmio->val, 0x11223344);
	TEST_ASSERT_EQ(in->val, in_result(2, 0x5566));
	expect_log(&self->dev, cmd_write(4, MMIO_DATA, 0, 1), cmd_write(1, PIO_DATA, 0, 2),
		   cmd_read(8, MMIO_DATA, 8));
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
