// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_SET_IOREGIONFD: each documented error, that a failed call changes nothing, and
 * what has to be accepted.
 */
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "ioregionfd_harness.h"

/* The region that the tests try to register; the addresses around it are free. */
#define REGION_ADDR	(MMIO_GPA + 0x100)
#define REGION_PORT	(PIO_BASE + 0x100)
#define REGION_SIZE	0x10

#define expect_error(vm, args, err) __expect_error(vm, args, err, __LINE__)
static void __expect_error(struct kvm_vm *vm, const struct kvm_ioregionfd *args, int err, int line)
{
	int r = __vm_ioctl(vm, KVM_SET_IOREGIONFD, args);

	TEST_ASSERT(r == -1 && errno == err, "line %d: wanted errno %d, got %d, errno %d",
		    line, err, r, r ? errno : 0);
}

#define expect_ok(vm, args) __expect_ok(vm, args, __LINE__)
static void __expect_ok(struct kvm_vm *vm, const struct kvm_ioregionfd *args, int line)
{
	int r = __vm_ioctl(vm, KVM_SET_IOREGIONFD, args);

	TEST_ASSERT(!r, "line %d: errno %d", line, errno);
}

FIXTURE(args)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct channel ch;
	struct kvm_ioregionfd region;	/* a valid one, for memory */
	struct kvm_ioregionfd pio;	/* a valid one, for ports */
};

static void args_setup_common(struct kvm_vm **vm, struct kvm_vcpu **vcpu, struct channel *ch,
			      struct kvm_ioregionfd *region, struct kvm_ioregionfd *pio)
{
	*vm = ioregion_vm_create(1, guest_script_main, vcpu);
	*ch = channel_open(TR_SEQPACKET);
	*region = region_args(ch, REGION_ADDR, REGION_SIZE, USER_DATA(1), 0);
	*pio = region_args(ch, REGION_PORT, REGION_SIZE, USER_DATA(2), KVM_IOREGION_PIO);
}

/*
 * Checks that nothing is left behind: nobody holds the channel, no address is in use,
 * and the VM works. The tests remove the regions that they add.
 */
static void args_expect_clean(struct kvm_vm *vm, struct kvm_vcpu *vcpu, struct channel *ch)
{
	static struct device dev;
	struct guest_op *mmio, *in;

	channel_close_kvm(ch);
	expect_released(ch);

	device_start(&dev, TR_SEQPACKET);
	region_add(vm, &dev.ch, MMIO_GPA, 0x1000, USER_DATA(0), 0);
	region_add(vm, &dev.ch, PIO_BASE, 0x1000, USER_DATA(0x1000), KVM_IOREGION_PIO);
	mmio = op_read(vcpu, 4, REGION_ADDR);
	in = op_in(vcpu, 1, REGION_PORT);
	run_done(vcpu);
	TEST_ASSERT_EQ(mmio->val, device_value(&dev, 0x100, 4));
	TEST_ASSERT_EQ(in->val, in_result(1, device_value(&dev, 0x1100, 1)));
	expect_log(&dev, cmd_read(4, USER_DATA(0), 0x100), cmd_read(1, USER_DATA(0x1000), 0x100));

	kvm_vm_free(vm);
	expect_device_released(&dev);
}

FIXTURE_SETUP(args)
{
	args_setup_common(&self->vm, &self->vcpu, &self->ch, &self->region, &self->pio);
}

FIXTURE_TEARDOWN(args)
{
	args_expect_clean(self->vm, self->vcpu, &self->ch);
}

TEST_F(args, capability)
{
	uint32_t flags = KVM_IOREGION_PIO | KVM_IOREGION_POSTED_WRITES | KVM_IOREGION_DEASSIGN;

	TEST_ASSERT_EQ(kvm_check_cap(KVM_CAP_IOREGIONFD), flags);
	TEST_ASSERT_EQ(vm_check_cap(self->vm, KVM_CAP_IOREGIONFD), flags);
	TEST_ASSERT_EQ(kvm_check_cap(KVM_CAP_CREATE_IOREGIONFD), KVM_IOREGIONFD_SYNC_WAKE);
	TEST_ASSERT_EQ(vm_check_cap(self->vm, KVM_CAP_CREATE_IOREGIONFD), KVM_IOREGIONFD_SYNC_WAKE);
}

TEST_F(args, add_and_remove)
{
	struct kvm_ioregionfd *args[] = { &self->region, &self->pio };
	int i;

	for (i = 0; i < ARRAY_SIZE(args); i++) {
		expect_ok(self->vm, args[i]);
		args[i]->flags |= KVM_IOREGION_DEASSIGN;
		expect_ok(self->vm, args[i]);
	}
}

TEST_F(args, bad_pointer)
{
	void *page = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	struct kvm_ioregionfd *edge = page + 4096 - sizeof(*edge);

	TEST_ASSERT(page != MAP_FAILED, "mmap() failed");
	TEST_ASSERT(!mprotect(page + 4096, 4096, PROT_NONE), "mprotect() failed");

	expect_error(self->vm, (struct kvm_ioregionfd *)NULL, EFAULT);
	expect_error(self->vm, (struct kvm_ioregionfd *)-4096ul, EFAULT);
	expect_error(self->vm, (struct kvm_ioregionfd *)(page + 4096), EFAULT);
	memcpy((void *)edge + 1, &self->region, sizeof(*edge) - 1);
	expect_error(self->vm, (struct kvm_ioregionfd *)((void *)edge + 1), EFAULT);

	/* KVM reads the whole structure, and nothing beyond it. */
	*edge = self->region;
	expect_ok(self->vm, edge);
	edge->flags |= KVM_IOREGION_DEASSIGN;
	expect_ok(self->vm, edge);
}

TEST_F(args, unknown_flags)
{
	uint32_t known = KVM_IOREGION_PIO | KVM_IOREGION_POSTED_WRITES | KVM_IOREGION_DEASSIGN;
	int bit;

	for (bit = 0; bit < 32; bit++) {
		if (known & BIT(bit))
			continue;
		self->region.flags = BIT(bit);
		expect_error(self->vm, &self->region, EINVAL);
		self->region.flags = BIT(bit) | KVM_IOREGION_POSTED_WRITES;
		expect_error(self->vm, &self->region, EINVAL);
	}
}

TEST_F(args, unknown_flags_of_deassign)
{
	int bit;

	expect_ok(self->vm, &self->region);
	for (bit = 3; bit < 32; bit++) {
		self->region.flags = BIT(bit) | KVM_IOREGION_DEASSIGN;
		expect_error(self->vm, &self->region, EINVAL);
	}
	/* The region is still there. */
	region_del(self->vm, REGION_ADDR, REGION_SIZE, 0);
}

TEST_F(args, pad)
{
	int i;

	for (i = 0; i < sizeof(self->region.pad); i++) {
		self->region.pad[i] = i & 1 ? 0x80 : 1;
		expect_error(self->vm, &self->region, EINVAL);
		self->region.pad[i] = 0;
	}
}

TEST_F(args, pad_of_deassign)
{
	int i;

	expect_ok(self->vm, &self->region);
	self->region.flags = KVM_IOREGION_DEASSIGN;
	for (i = 0; i < sizeof(self->region.pad); i++) {
		self->region.pad[i] = i & 1 ? 0x80 : 1;
		expect_error(self->vm, &self->region, EINVAL);
		self->region.pad[i] = 0;
	}
	expect_ok(self->vm, &self->region);
}

TEST_F(args, bad_read_fd)
{
	int closed = dup(self->ch.kvm_rd), i;
	int fds[] = { -1, INT_MIN, INT_MAX, closed };

	close(closed);
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		self->region.read_fd = fds[i];
		expect_error(self->vm, &self->region, EBADF);
	}
}

TEST_F(args, bad_write_fd)
{
	int closed = dup(self->ch.kvm_rd), i;
	int fds[] = { -1, INT_MIN, INT_MAX, closed };

	close(closed);
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		self->region.write_fd = fds[i];
		expect_error(self->vm, &self->region, EBADF);
	}
}

TEST_F(args, fds_without_io)
{
	int fd = open("/dev/null", O_PATH);

	TEST_ASSERT(fd >= 0, "open() failed");
	self->region.read_fd = fd;
	expect_error(self->vm, &self->region, EBADF);
	self->region.read_fd = self->ch.kvm_rd;
	self->region.write_fd = fd;
	expect_error(self->vm, &self->region, EBADF);
}

TEST_F(args, fds_of_other_files)
{
	char path[] = "/tmp/ioregionfd.XXXXXX";
	int fds[] = {
		mkstemp(path),
		memfd_create("ioregionfd", 0),
		open("/dev/null", O_RDWR),
		eventfd(0, 0),
		epoll_create1(0),
		self->vm->fd,
		self->vcpu->fd,
	};
	int i;

	unlink(path);
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		TEST_ASSERT(fds[i] >= 0, "cannot create file %d", i);
		self->region.read_fd = fds[i];
		self->region.write_fd = self->ch.kvm_wr;
		expect_error(self->vm, &self->region, EINVAL);
		self->region.read_fd = self->ch.kvm_rd;
		self->region.write_fd = fds[i];
		expect_error(self->vm, &self->region, EINVAL);
		self->region.read_fd = fds[i];
		expect_error(self->vm, &self->region, EINVAL);
	}

	self->region.read_fd = open("/", O_RDONLY);
	self->region.write_fd = self->ch.kvm_wr;
	expect_error(self->vm, &self->region, EINVAL);
}

TEST_F(args, two_sockets)
{
	struct channel other = channel_open(TR_SEQPACKET);
	int a = self->ch.kvm_rd, b = other.kvm_rd;
	int pairs[][2] = { { a, b }, { b, a }, { a, self->ch.dev_rd } };
	int i;

	for (i = 0; i < ARRAY_SIZE(pairs); i++) {
		self->pio.read_fd = pairs[i][0];
		self->pio.write_fd = pairs[i][1];
		expect_error(self->vm, &self->pio, EINVAL);
	}
	channel_close_kvm(&other);
	expect_released(&other);
}

/* Both ends of a socket pair can be used: they are two channels. */
TEST_F(args, both_ends)
{
	expect_ok(self->vm, &self->region);
	self->pio.read_fd = self->ch.dev_rd;
	self->pio.write_fd = self->ch.dev_wr;
	expect_ok(self->vm, &self->pio);
	region_del(self->vm, REGION_PORT, REGION_SIZE, KVM_IOREGION_PIO);
	region_del(self->vm, REGION_ADDR, REGION_SIZE, 0);
}

/* The file counts, not the descriptor. */
TEST_F(args, duplicate_descriptor_is_the_same_file)
{
	expect_ok(self->vm, &self->region);
	self->pio.read_fd = dup(self->ch.kvm_rd);
	self->pio.write_fd = dup(self->ch.kvm_wr);
	expect_ok(self->vm, &self->pio);
	close(self->pio.read_fd);
	close(self->pio.write_fd);

	region_del(self->vm, REGION_ADDR, REGION_SIZE, 0);
	region_del(self->vm, REGION_PORT, REGION_SIZE, KVM_IOREGION_PIO);
}

TEST_F(args, failed_channel)
{
	expect_ok(self->vm, &self->region);
	channel_close_dev(&self->ch);
	op_read(self->vcpu, 1, REGION_ADDR);
	vcpu_run(self->vcpu);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpu, KVM_EXIT_IOREGIONFD_FAILURE);

	/* A socket that has failed stays so, even when its last region is gone. */
	expect_error(self->vm, &self->pio, EPIPE);
	region_del(self->vm, REGION_ADDR, REGION_SIZE, 0);
	expect_error(self->vm, &self->pio, EPIPE);

	self->vcpu->run->ioregionfd.action = KVM_IOREGIONFD_RETRY;
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, REGION_ADDR, 1, false, 0);
	run_done(self->vcpu);
	channel_close_kvm(&self->ch);
	self->ch = channel_open(TR_SEQPACKET);
}

TEST_F(args, close_after_register)
{
	static struct device dev;
	struct guest_op *op;

	device_start(&dev, TR_SEQPACKET);
	region_add(self->vm, &dev.ch, REGION_ADDR, REGION_SIZE, USER_DATA(0), 0);
	channel_close_kvm(&dev.ch);
	op = op_read(self->vcpu, 8, REGION_ADDR);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, device_value(&dev, 0, 8));

	region_del(self->vm, REGION_ADDR, REGION_SIZE, 0);
	expect_device_released(&dev);
}

/* The refused call leaves neither a reference nor a channel. */
TEST_F(args, refused_range_does_not_bind_files)
{
	struct channel refused = channel_open(TR_SEQPACKET);
	struct kvm_vm *vm = vm_create_barebones();

	expect_ok(self->vm, &self->region);
	self->region.read_fd = refused.kvm_rd;
	self->region.write_fd = refused.kvm_wr;
	expect_error(self->vm, &self->region, EEXIST);
	region_del(self->vm, REGION_ADDR, REGION_SIZE, 0);

	/* This would be EXDEV if the channel still belonged to this VM. */
	expect_ok(vm, &self->region);
	kvm_vm_free(vm);
	channel_close_kvm(&refused);
	expect_released(&refused);
}

TEST_F(args, memory_and_ports_are_apart)
{
	self->pio.guest_paddr = 0x3000;
	self->region.guest_paddr = 0x3000;
	expect_ok(self->vm, &self->pio);
	expect_ok(self->vm, &self->region);
	/* Each is removed with its own kind. */
	region_del(self->vm, 0x3000, REGION_SIZE, KVM_IOREGION_PIO);
	self->pio.flags |= KVM_IOREGION_DEASSIGN;
	expect_error(self->vm, &self->pio, ENOENT);
	region_del(self->vm, 0x3000, REGION_SIZE, 0);
}

TEST_F_TIMEOUT(args, too_many_regions, 120)
{
	int i;

	self->region.memory_size = 1;
	self->pio.memory_size = 1;
	for (i = 0; i < 500; i++) {
		self->region.guest_paddr = MMIO_GPA + 2 * i;
		expect_ok(self->vm, &self->region);
		self->pio.guest_paddr = PIO_BASE + 2 * i;
		expect_ok(self->vm, &self->pio);
	}
	self->region.guest_paddr++;
	expect_error(self->vm, &self->region, ENOSPC);
	self->pio.guest_paddr++;
	expect_error(self->vm, &self->pio, ENOSPC);

	/* One port less, and one more. */
	region_del(self->vm, PIO_BASE, 1, KVM_IOREGION_PIO);
	expect_ok(self->vm, &self->region);
	expect_error(self->vm, &self->pio, ENOSPC);
	region_del(self->vm, self->region.guest_paddr, 1, 0);

	region_del(self->vm, MMIO_GPA, 1, 0);
	for (i = 1; i < 500; i++) {
		region_del(self->vm, MMIO_GPA + 2 * i, 1, 0);
		region_del(self->vm, PIO_BASE + 2 * i, 1, KVM_IOREGION_PIO);
	}
}

TEST_F(args, regions_go_with_the_vm)
{
	struct channel ch = channel_open(TR_SEQPACKET);
	struct kvm_vm *vm = vm_create_barebones();

	region_add(vm, &ch, REGION_ADDR, REGION_SIZE, 0, 0);
	region_add(vm, &ch, REGION_PORT, REGION_SIZE, 0, KVM_IOREGION_PIO);
	channel_close_kvm(&ch);
	kvm_vm_free(vm);
	expect_released(&ch);
}

TEST_F(args, deassign_ignores_the_rest)
{
	expect_ok(self->vm, &self->region);
	self->region.read_fd = -1;
	self->region.write_fd = INT_MAX;
	self->region.user_data = ~0ul;
	self->region.flags = KVM_IOREGION_DEASSIGN | KVM_IOREGION_POSTED_WRITES;
	expect_ok(self->vm, &self->region);
}

/* Ranges that are always invalid, and those that just are not. */

FIXTURE(range)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct channel ch;
	struct kvm_ioregionfd region, pio;
};

FIXTURE_VARIANT(range)
{
	uint64_t addr;
	uint64_t size;
	uint32_t flags;
	int err;
};

FIXTURE_VARIANT_ADD(range, empty) { REGION_ADDR, 0, 0, EINVAL };
FIXTURE_VARIANT_ADD(range, empty_at_0) { 0, 0, 0, EINVAL };
FIXTURE_VARIANT_ADD(range, empty_posted) { REGION_ADDR, 0, KVM_IOREGION_POSTED_WRITES, EINVAL };
FIXTURE_VARIANT_ADD(range, empty_pio) { REGION_PORT, 0, KVM_IOREGION_PIO, EINVAL };
FIXTURE_VARIANT_ADD(range, ends_at_top) { -0x10ul, 0xf, 0, 0 };
FIXTURE_VARIANT_ADD(range, beyond_top) { -0x10ul, 0x10, 0, EINVAL };
FIXTURE_VARIANT_ADD(range, last_byte) { -2ul, 1, 0, 0 };
FIXTURE_VARIANT_ADD(range, byte_beyond_top) { -1ul, 1, 0, EINVAL };
FIXTURE_VARIANT_ADD(range, wraps) { -0x10ul, 0x20, 0, EINVAL };
FIXTURE_VARIANT_ADD(range, wraps_to_itself) { 1, -1ul, 0, EINVAL };
FIXTURE_VARIANT_ADD(range, wraps_far) { 1ul << 63, (1ul << 63) + 1, 0, EINVAL };
FIXTURE_VARIANT_ADD(range, all_memory) { 0, -1ul, 0, 0 };
FIXTURE_VARIANT_ADD(range, all_ports) { 0, 0x10000, KVM_IOREGION_PIO, 0 };
FIXTURE_VARIANT_ADD(range, last_port) { 0xffff, 1, KVM_IOREGION_PIO, 0 };
FIXTURE_VARIANT_ADD(range, beyond_ports) { 0xffff, 2, KVM_IOREGION_PIO, EINVAL };
FIXTURE_VARIANT_ADD(range, more_than_all_ports) { 0, 0x10001, KVM_IOREGION_PIO, EINVAL };
FIXTURE_VARIANT_ADD(range, port_64k) { 0x10000, 1, KVM_IOREGION_PIO, EINVAL };
FIXTURE_VARIANT_ADD(range, pio_wraps) { -1ul, 2, KVM_IOREGION_PIO, EINVAL };
FIXTURE_VARIANT_ADD(range, pio_wraps_into_ports) { -0x10ul, 0x20, KVM_IOREGION_PIO, EINVAL };

FIXTURE_SETUP(range)
{
	args_setup_common(&self->vm, &self->vcpu, &self->ch, &self->region, &self->pio);
}

FIXTURE_TEARDOWN(range)
{
	args_expect_clean(self->vm, self->vcpu, &self->ch);
}

TEST_F(range, assign)
{
	struct kvm_ioregionfd args = region_args(&self->ch, variant->addr, variant->size, 0,
						 variant->flags);

	if (variant->err) {
		expect_error(self->vm, &args, variant->err);
		return;
	}
	expect_ok(self->vm, &args);
	expect_error(self->vm, &args, EEXIST);
	region_del(self->vm, variant->addr, variant->size, variant->flags);
}

/* One region beside another, of either kind. */

FIXTURE(overlap)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct channel ch;
	struct kvm_ioregionfd region, pio;
	uint64_t base;
};

FIXTURE_VARIANT(overlap)
{
	uint32_t flags;
};

FIXTURE_VARIANT_ADD(overlap, mmio) { 0 };
FIXTURE_VARIANT_ADD(overlap, pio) { KVM_IOREGION_PIO };

FIXTURE_SETUP(overlap)
{
	args_setup_common(&self->vm, &self->vcpu, &self->ch, &self->region, &self->pio);
	if (variant->flags & KVM_IOREGION_PIO)
		self->region = self->pio;
	self->base = self->region.guest_paddr;
	expect_ok(self->vm, &self->region);
}

FIXTURE_TEARDOWN(overlap)
{
	region_del(self->vm, self->base, REGION_SIZE, variant->flags);
	args_expect_clean(self->vm, self->vcpu, &self->ch);
}

/* Tries a region from @first to @last, relative to the existing one. */
static void try_overlap(struct kvm_vm *vm, struct kvm_ioregionfd args, int first, int last, int err)
{
	args.guest_paddr += first;
	args.memory_size = last - first + 1;
	args.user_data = ~args.user_data;
	if (err)
		expect_error(vm, &args, err);
	else
		expect_ok(vm, &args);
}

TEST_F(overlap, one_byte_at_the_begin)
{
	try_overlap(self->vm, self->region, -15, 0, EEXIST);
	try_overlap(self->vm, self->region, 0, 0, EEXIST);
}

TEST_F(overlap, one_byte_at_the_end)
{
	try_overlap(self->vm, self->region, 15, 30, EEXIST);
	try_overlap(self->vm, self->region, 15, 15, EEXIST);
}

TEST_F(overlap, inside_and_around)
{
	try_overlap(self->vm, self->region, 4, 7, EEXIST);
	try_overlap(self->vm, self->region, 0, 14, EEXIST);
	try_overlap(self->vm, self->region, 1, 15, EEXIST);
	try_overlap(self->vm, self->region, -1, 16, EEXIST);
	try_overlap(self->vm, self->region, -1, 15, EEXIST);
	try_overlap(self->vm, self->region, 0, 16, EEXIST);
}

TEST_F(overlap, the_same_twice)
{
	try_overlap(self->vm, self->region, 0, 15, EEXIST);
	/* Other differences do not matter. */
	self->region.flags |= KVM_IOREGION_POSTED_WRITES;
	expect_error(self->vm, &self->region, EEXIST);
}

TEST_F(overlap, one_byte_regions)
{
	try_overlap(self->vm, self->region, 20, 20, 0);
	try_overlap(self->vm, self->region, 20, 20, EEXIST);
	try_overlap(self->vm, self->region, 19, 19, 0);
	try_overlap(self->vm, self->region, 21, 21, 0);
	region_del(self->vm, self->base + 19, 1, variant->flags);
	region_del(self->vm, self->base + 20, 1, variant->flags);
	region_del(self->vm, self->base + 21, 1, variant->flags);
}

TEST_F(overlap, neighbours)
{
	try_overlap(self->vm, self->region, -16, -1, 0);
	try_overlap(self->vm, self->region, 16, 31, 0);
	region_del(self->vm, self->base - 16, 16, variant->flags);
	region_del(self->vm, self->base + 16, 16, variant->flags);
}

/* Regions overlap only within one VM. */
TEST_F(overlap, in_another_vm)
{
	struct channel ch = channel_open(TR_SEQPACKET);
	struct kvm_vm *vm = vm_create_barebones();

	self->region.read_fd = ch.kvm_rd;
	self->region.write_fd = ch.kvm_wr;
	expect_ok(vm, &self->region);
	kvm_vm_free(vm);
}

#define expect_absent(vm, ...) __expect_absent(vm, __VA_ARGS__, __LINE__)
static void __expect_absent(struct kvm_vm *vm, uint64_t addr, uint64_t size, uint32_t flags,
			    int line)
{
	struct kvm_ioregionfd args = {
		.guest_paddr = addr,
		.memory_size = size,
		.flags = flags | KVM_IOREGION_DEASSIGN,
	};

	__expect_error(vm, &args, ENOENT, line);
}

TEST_F(overlap, deassign_inexact)
{
	uint64_t base = self->base;
	uint32_t flags = variant->flags;
	struct kvm_vm *vm = self->vm;

	expect_absent(vm, base - 1, REGION_SIZE, flags);
	expect_absent(vm, base + 1, REGION_SIZE, flags);
	expect_absent(vm, base + 1, REGION_SIZE - 1, flags);
	expect_absent(vm, base - 1, REGION_SIZE + 1, flags);
	expect_absent(vm, base, REGION_SIZE - 1, flags);
	expect_absent(vm, base, REGION_SIZE + 1, flags);
	expect_absent(vm, base, 1, flags);
	expect_absent(vm, base + REGION_SIZE - 1, 1, flags);
	if (flags & KVM_IOREGION_PIO)
		expect_absent(vm, base, REGION_SIZE, 0);
}

TEST_F(overlap, deassign_absent)
{
	struct kvm_vm *vm = vm_create_barebones();

	expect_absent(self->vm, self->base + 0x20, REGION_SIZE, variant->flags);
	expect_absent(self->vm, 0, 1, variant->flags);
	/* In a VM that has never had a region. */
	expect_absent(vm, self->base, REGION_SIZE, variant->flags);
	kvm_vm_free(vm);

	region_del(self->vm, self->base, REGION_SIZE, variant->flags);
	expect_absent(self->vm, self->base, REGION_SIZE, variant->flags);
	expect_ok(self->vm, &self->region);
}

/* What it asks for does not matter: only processors with TDX make such a VM. */
TEST(tdx)
{
	struct kvm_ioregionfd args = {};
	int kvm, vm;

	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_TDX_VM)))
		SKIP(return, "no TDX");
	kvm = open_kvm_dev_path_or_exit();
	vm = ioctl(kvm, KVM_CREATE_VM, KVM_X86_TDX_VM);
	TEST_ASSERT(vm >= 0, "KVM_CREATE_VM: errno %d", errno);
	TEST_ASSERT(ioctl(vm, KVM_SET_IOREGIONFD, &args) == -1 && errno == EOPNOTSUPP,
		    "errno %d", errno);
	close(vm);
	close(kvm);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
