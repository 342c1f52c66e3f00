// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the device task and the guest see of accesses of each width, up to the last bytes of
 * a page, and of those that are the VMM's between them.
 */
#include "ioregionfd_harness.h"

/* The end of a page */
#define REGION		(MMIO_GPA + 0xfc0)
#define REGION_SIZE	0x40
#define POSTED		(MMIO_GPA + 0x1fc0)
#define NOWHERE		(MMIO_GPA + 0x2000)

#define REGION_DATA	USER_DATA(0x100)
#define POSTED_DATA	USER_DATA(0x200)

/* Of @size bytes, at offset @i * @size */
static uint64_t value(uint32_t size, uint32_t i)
{
	return low_bytes(pattern(0x10 * size + i), size);
}

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
	region_add(self->vm, &self->dev.ch, REGION, REGION_SIZE, REGION_DATA, 0);
	region_add(self->vm, &self->dev.ch, POSTED, REGION_SIZE, POSTED_DATA,
		   KVM_IOREGION_POSTED_WRITES);
}

FIXTURE_TEARDOWN(width)
{
	set_spin_ns(SPIN_DEFAULT);
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

TEST_F(width, read)
{
	struct guest_op *ops[REGION_SIZE];
	uint32_t size, i;

	for (size = 1; size <= 8; size *= 2) {
		for (i = 0; i < REGION_SIZE / size; i++)
			ops[i] = op_read(self->vcpu, size, REGION + i * size);
		run_done(self->vcpu);
		expect_nr(&self->dev, REGION_SIZE / size);
		for (i = 0; i < REGION_SIZE / size; i++) {
			expect_cmd(self->dev.log[i], cmd_read(size, REGION_DATA, i * size));
			TEST_ASSERT_EQ(ops[i]->val,
				       device_value(&self->dev, 0x100 + i * size, size));
		}
		device_forget(&self->dev);
	}
}

TEST_F(width, write)
{
	uint32_t size, i;

	for (size = 1; size <= 8; size *= 2) {
		for (i = 0; i < REGION_SIZE / size; i++)
			op_write(self->vcpu, size, REGION + i * size, pattern(0x10 * size + i));
		run_done(self->vcpu);
		expect_nr(&self->dev, REGION_SIZE / size);
		for (i = 0; i < REGION_SIZE / size; i++)
			expect_cmd(self->dev.log[i],
				   cmd_write(size, REGION_DATA, i * size, value(size, i)));
		device_forget(&self->dev);
	}
}

TEST_F(width, posted_write)
{
	uint32_t size, i;

	for (size = 1; size <= 8; size *= 2) {
		for (i = 0; i < REGION_SIZE / size; i++)
			op_write(self->vcpu, size, POSTED + i * size, pattern(0x10 * size + i));
		run_done(self->vcpu);
		expect_nr(&self->dev, REGION_SIZE / size);
		for (i = 0; i < REGION_SIZE / size; i++)
			expect_cmd(self->dev.log[i],
				   cmd_posted(size, POSTED_DATA, i * size, value(size, i)));
		device_forget(&self->dev);
	}
}

/* Neither the VMM nor the device task is told of the other's, or completes them. */
TEST_F(width, beside_those_of_the_vmm)
{
	struct guest_op *mine, *theirs;
	uint32_t size;

	for (size = 1; size <= 8; size *= 2) {
		op_write(self->vcpu, size, REGION, pattern(size));
		theirs = op_read(self->vcpu, size, NOWHERE);
		mine = op_read(self->vcpu, size, REGION);
		op_write(self->vcpu, size, NOWHERE + 8, pattern(size + 1));
		op_write(self->vcpu, size, POSTED, pattern(size + 2));

		vcpu_run(self->vcpu);
		expect_mmio(self->vcpu, NOWHERE, size, false, 0);
		complete_mmio(self->vcpu, pattern(size + 3));
		vcpu_run(self->vcpu);
		expect_mmio(self->vcpu, NOWHERE + 8, size, true,
			    low_bytes(pattern(size + 1), size));
		run_done(self->vcpu);

		TEST_ASSERT_EQ(mine->val, low_bytes(pattern(size), size));
		TEST_ASSERT_EQ(theirs->val, low_bytes(pattern(size + 3), size));
		expect_log(&self->dev,
			   cmd_write(size, REGION_DATA, 0, low_bytes(pattern(size), size)),
			   cmd_read(size, REGION_DATA, 0),
			   cmd_posted(size, POSTED_DATA, 0, low_bytes(pattern(size + 2), size)));
	}
}

/*
 * A vCPU whose access is pending.
 */
FIXTURE(pending)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
};

FIXTURE_SETUP(pending)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	region_add(self->vm, &self->ch, REGION, REGION_SIZE, REGION_DATA, 0);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(pending)
{
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

#if defined(__aarch64__)
#define SOME_REG	ARM64_CORE_REG(regs.pc)
#elif defined(__riscv)
#define SOME_REG	RISCV_CORE_REG(regs.pc)
#endif

/* What would change the registers under the access has to wait. */
TEST_F(pending, registers_are_not_set)
{
	struct guest_op *op = op_read(self->vcpu, 8, REGION);
	struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_RUNNABLE };

	thread_start(&self->thread);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, REGION_DATA, 0));
	thread_interrupt(&self->thread);
	TEST_ASSERT(__vcpu_ioctl(self->vcpu, KVM_SET_MP_STATE, &state) && errno == EBUSY,
		    "KVM_SET_MP_STATE: errno %d", errno);
#ifdef SOME_REG
	TEST_ASSERT(__vcpu_set_reg(self->vcpu, SOME_REG, 0) && errno == EBUSY,
		    "KVM_SET_ONE_REG: errno %d", errno);
#endif
	dev_send(&self->ch, pattern(1));
	thread_start(&self->thread);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, pattern(1));
	TEST_ASSERT_EQ(__vcpu_ioctl(self->vcpu, KVM_SET_MP_STATE, &state), 0);
}

/* With immediate_exit the access is completed, and the guest not entered. */
TEST_F(pending, completed_with_immediate_exit)
{
	struct guest_op *op = op_read(self->vcpu, 4, REGION);

	op_write(self->vcpu, 4, REGION + 4, 7);
	thread_start(&self->thread);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, REGION_DATA, 0));
	thread_interrupt(&self->thread);
	dev_send(&self->ch, 0x12345678);
	TEST_ASSERT_EQ(run_immediate(self->vcpu), -EINTR);
	TEST_ASSERT(!(self->vcpu->run->flags & KVM_RUN_IOREGIONFD_PENDING), "PENDING is set");
	TEST_ASSERT(!dev_has_cmd(&self->ch), "the guest has gone on");
	thread_start(&self->thread);
	expect_cmd(dev_recv(&self->ch), cmd_write(4, REGION_DATA, 4, 7));
	dev_send(&self->ch, 0);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x12345678);
}

/*
 * Loads that extend the sign. On riscv KVM 6.12 completes them all as if they did not, which
 * the compiler must not take to be impossible.
 */
#define SIGNED(type)								\
do {										\
	long __val = READ_ONCE(*(type *)REGION);				\
										\
	OPTIMIZER_HIDE_VAR(__val);						\
	__GUEST_ASSERT(__val == (type)SIGNED_DATA ||				\
		       (SIGN_LOST && __val == (long)low_bytes(SIGNED_DATA, sizeof(type))), \
		       #type ": got %lx", __val);				\
} while (0)

#define SIGNED_DATA	0x8182838485868788ul
#ifdef __riscv
#define SIGN_LOST	true
#else
#define SIGN_LOST	false
#endif

static void guest_signed_main(uint64_t id)
{
	SIGNED(int8_t);
	SIGNED(int16_t);
	SIGNED(int32_t);
	SIGNED(int64_t);
	guest_done();
}

TEST(signed_loads)
{
	struct vcpu_thread thread = { 0 };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = ioregion_vm_create(1, guest_signed_main, &vcpu);
	struct channel ch = channel_open_for(vm, TR_NATIVE);
	uint32_t size;

	region_add(vm, &ch, REGION, REGION_SIZE, REGION_DATA, 0);
	vcpu_thread_init(&thread, vcpu);
	thread_start(&thread);
	for (size = 1; size <= 8; size *= 2) {
		expect_cmd(dev_recv(&ch), cmd_read(size, REGION_DATA, 0));
		dev_send(&ch, SIGNED_DATA);
	}
	thread_join_done(&thread);
	kvm_vm_free(vm);
	channel_close_kvm(&ch);
	expect_released(&ch);
}

TEST(ports_are_refused_where_there_are_none)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	struct kvm_ioregionfd args;
	struct channel ch;

	if (kvm_check_cap(KVM_CAP_IOREGIONFD) & KVM_IOREGION_PIO)
		SKIP(return, "there are ports");
	vm = ioregion_vm_create(1, guest_script_main, &vcpu);
	ch = channel_open(TR_SEQPACKET);
	args = region_args(&ch, 0x2000, 0x10, 0, KVM_IOREGION_PIO);
	TEST_ASSERT(__vm_ioctl(vm, KVM_SET_IOREGIONFD, &args) && errno == EINVAL, "errno %d",
		    errno);
	kvm_vm_free(vm);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
