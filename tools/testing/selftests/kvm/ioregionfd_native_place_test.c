// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: accesses that complete in place, that is, inside the emulator, since
 * the response came while the vCPU was spinning.
 *
 * That each kind of access gives the right data in the right order then, too, is
 * for ioregionfd_access_test, with a device task that polls.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define SYNC		MMIO_GPA
#define POSTED		(MMIO_GPA + 0x1000)
#define SYNC_DATA	USER_DATA(0)
#define POSTED_DATA	USER_DATA(0x1000)
#define OTHER_DATA	USER_DATA(0x2000)

#define ACCESSES	300

FIXTURE(place)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct device dev;
};

FIXTURE_SETUP(place)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	/* The vCPU has CPU 0, and the device task CPU 1. */
	device_start_for(&self->dev, self->vm, TR_POLLED);
	region_add(self->vm, &self->dev.ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(self->vm, &self->dev.ch, POSTED, 0x1000, POSTED_DATA,
		   KVM_IOREGION_POSTED_WRITES);
	region_add(self->vm, &self->dev.ch, OTHER_BASE, 0x100, OTHER_DATA, OTHER_FLAGS);
}

FIXTURE_TEARDOWN(place)
{
	set_spin_ns(SPIN_DEFAULT);
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

static void run_reads(struct kvm_vcpu *vcpu, uint32_t count)
{
	struct guest_op op = { OP_READ, 4, SYNC };

	op.count = count;
	op_add(vcpu, op);
	run_done(vcpu);
}

/* How many accesses left the emulator, in whatever way. */
static uint64_t exits(struct kvm_vcpu *vcpu)
{
	return vcpu_stat(vcpu, MMIO_EXITS);
}

TEST_F(place, completed_while_it_spins)
{
	uint64_t before = exits(self->vcpu), in_place;

	run_reads(self->vcpu, ACCESSES);
	in_place = vcpu_stat(self->vcpu, "ioregionfd_in_place");
	printf("# %lu of %u in place\n", in_place, ACCESSES);
	/* On a slow machine it is for chance to say who has the CPU. */
	TEST_ASSERT(in_place > ACCESSES / 2 / slowness(), "only %lu in place", in_place);
	TEST_ASSERT_EQ(vcpu_stat(self->vcpu, "ioregionfd_submit"), ACCESSES);
	TEST_ASSERT_EQ(vcpu_stat(self->vcpu, "ioregionfd_complete"), ACCESSES);
	TEST_ASSERT(vcpu_stat(self->vcpu, "ioregionfd_spin_ns"), "it did not spin");
	/* Those in place did not leave the emulator; each of the others did once. */
	TEST_ASSERT(exits(self->vcpu) - before <= ACCESSES - in_place + DONE_MMIO_EXITS,
		    "%lu exits", exits(self->vcpu) - before);
	expect_nr(&self->dev, ACCESSES);
}

static uint64_t respond_slowly(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	usleep(2000);
	return device_respond_mem(dev, cmd);
}

TEST_F(place, spin_of_none)
{
	set_spin_ns(0);
	self->dev.respond = respond_slowly;
	run_reads(self->vcpu, 100);
	TEST_ASSERT_EQ(vcpu_stat(self->vcpu, "ioregionfd_spin_ns"), 0);
	TEST_ASSERT_EQ(vcpu_stat(self->vcpu, "ioregionfd_in_place"), 0);
	expect_nr(&self->dev, 100);
}

/* The vCPU stops spinning for a slow device, and spins again once it is fast. */
TEST_F(place, spin_adapts)
{
	uint64_t spun, in_place;

	set_spin_ns(SPIN_DEFAULT);
	self->dev.respond = respond_slowly;
	run_reads(self->vcpu, 100);
	spun = vcpu_stat(self->vcpu, "ioregionfd_spin_ns");
	in_place = vcpu_stat(self->vcpu, "ioregionfd_in_place");
	TEST_ASSERT_EQ(in_place, 0);
	TEST_ASSERT(spun < 100ul * SPIN_DEFAULT / 2, "it spun for %lu ns", spun);

	set_spin_ns(SPIN_LONG);
	run_reads(self->vcpu, 50);
	in_place = vcpu_stat(self->vcpu, "ioregionfd_in_place");
	TEST_ASSERT(in_place > 10, "only %lu in place", in_place);
}

static bool burn_end;

static void *burn(void *arg)
{
	while (!READ_ONCE(burn_end))
		;
	return NULL;
}

/* The task that waits for the CPU may be the device task. */
TEST_F(place, no_spin_while_others_wait)
{
	pthread_t thread;

	TEST_ASSERT(!pthread_create(&thread, NULL, burn, NULL), "pthread_create() failed");
	usleep(100000);
	run_reads(self->vcpu, 50);
	WRITE_ONCE(burn_end, true);
	pthread_join(thread, NULL);
	TEST_ASSERT_EQ(vcpu_stat(self->vcpu, "ioregionfd_spin_ns"), 0);
	expect_nr(&self->dev, 50);
}

/* With ports, on x86, the access leaves the emulator first; the rest is the same. */
TEST_F(place, other_region)
{
	uint64_t in_place;

	op_read_other(self->vcpu, 4, OTHER_BASE)->count = ACCESSES;
	run_done(self->vcpu);
	in_place = vcpu_stat(self->vcpu, "ioregionfd_in_place");
	TEST_ASSERT(in_place > ACCESSES / 2, "only %lu without a sleep", in_place);
	expect_nr(&self->dev, ACCESSES);
}

/* Accesses that cross a page, end at one, or have an odd size, one after the other. */
TEST_F(place, beside_those_that_leave)
{
	struct guest_op *ops[40];
	int i;

	run_reads(self->vcpu, 100);
	expect_nr(&self->dev, 100);
	device_forget(&self->dev);
	for (i = 0; i < 40; i += 4) {
		op_write(self->vcpu, 4, SYNC + 0x40, i);
		ops[i] = op_read(self->vcpu, 4, SYNC + 0x40);
		ops[i + 1] = op_read(self->vcpu, 8, SYNC + 0xff8);
		ops[i + 2] = op_read(self->vcpu, 8, SYNC + 0xff0);
		op_write(self->vcpu, 4, POSTED + 0x40, ~i);
		ops[i + 3] = op_read(self->vcpu, 4, POSTED + 0x40);
	}
	run_done(self->vcpu);
	expect_nr(&self->dev, 60);
	for (i = 0; i < 40; i += 4) {
		TEST_ASSERT_EQ(ops[i]->val, i);
		TEST_ASSERT_EQ(ops[i + 1]->val, device_value(&self->dev, 0xff8, 8));
		TEST_ASSERT_EQ(ops[i + 2]->val, device_value(&self->dev, 0xff0, 8));
		TEST_ASSERT_EQ(ops[i + 3]->val, (uint32_t)~i);
	}
}

/*
 * Without a device task that responds.
 */
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

/* Posted writes complete without a device task, and never leave the emulator. */
TEST_F(early, posted_writes)
{
	struct guest_op op = { OP_WRITE, 8, POSTED };
	uint64_t before = exits(self->vcpu);

	set_spin_ns(0);
	op.count = NR_POSTED;
	op_add(self->vcpu, op);
	run_done(self->vcpu);
	set_spin_ns(SPIN_DEFAULT);
	TEST_ASSERT_EQ(vcpu_stat(self->vcpu, "ioregionfd_in_place"), NR_POSTED);
	/* Except the first: only then does the vCPU learn that it has regions. */
	TEST_ASSERT(exits(self->vcpu) - before <= 1 + DONE_MMIO_EXITS, "%lu exits",
		    exits(self->vcpu) - before);
	TEST_ASSERT_EQ(self->map.control->posted_head, NR_POSTED);
}

/* An access that begins in place and is not completed there sends one command, not two. */
TEST_F(early, sent_once)
{
	uint32_t sizes[] = { 1, 2, 4, 8 }, number;
	struct ioregionfd_fetch arg;
	int i;

	for (i = 0; i < 4; i++) {
		op_write(self->vcpu, sizes[i], SYNC + 8 * i, 0x1122334455667788);
		thread_start(&self->thread);
		thread_interrupt(&self->thread);
		thread_start(&self->thread);
		thread_wait_asleep(&self->thread);
		number = self->map.mailboxes[0].state >> IOREGIONFD_MAILBOX_SHIFT;
		TEST_ASSERT_EQ(number, i + 1);
		arg = fetch_arg(IOREGIONFD_ANY);
		TEST_ASSERT_EQ(commit_and_fetch(self->ch.dev_rd, &arg), 0);
		expect_cmd(arg.cmd, cmd_write(sizes[i], SYNC_DATA, 8 * i,
					      low_bytes(0x1122334455667788, sizes[i])));
		TEST_ASSERT_EQ(commit_only(self->ch.dev_rd, arg.id, 0), 0);
		thread_join_done(&self->thread);
	}
	TEST_ASSERT_EQ(vcpu_stat(self->vcpu, "ioregionfd_submit"), 4);
	TEST_ASSERT_EQ(vcpu_stat(self->vcpu, "ioregionfd_complete"), 4);
	TEST_ASSERT_EQ(vcpu_stat(self->vcpu, "ioregionfd_in_place"), 0);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
