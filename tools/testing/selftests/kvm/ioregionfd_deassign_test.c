// SPDX-License-Identifier: GPL-2.0-only
/*
 * Regions that are removed while an access is pending.
 */
#include "ioregionfd_harness.h"

#define FIRST		MMIO_GPA
#define SECOND		(MMIO_GPA + 0x1000)
#define SIZE		0x1000
#define FIRST_DATA	USER_DATA(0)
#define SECOND_DATA	USER_DATA(0x1000)

#define ALL		KVM_IOREGIONFD_SENT_ALL

static struct kvm_ioregionfd_exit exit_gone(uint8_t progress, uint64_t region, uint64_t user_data,
					    uint32_t size, uint64_t addr)
{
	return (struct kvm_ioregionfd_exit){
		.region_paddr = region,
		.region_size = SIZE,
		.user_data = user_data,
		.guest_paddr = addr,
		.size = size,
		.reason = KVM_IOREGIONFD_FAIL_DEASSIGNED,
		.progress = progress,
	};
}

/* A region can be removed at once even if its device task does not respond. */
static void region_del_in_time(struct kvm_vm *vm, uint64_t addr)
{
	uint64_t begin = now_ms();

	region_del(vm, addr, SIZE, 0);
	TEST_ASSERT(now_ms() - begin < 1000, "deassign took %lu ms", now_ms() - begin);
}

FIXTURE(deassign)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
};

FIXTURE_VARIANT(deassign)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(deassign, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(deassign, native) { TR_NATIVE };

FIXTURE_SETUP(deassign)
{
	int i;

	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, variant->transport);
	channel_shrink(&self->ch);
	region_add(self->vm, &self->ch, FIRST, SIZE, FIRST_DATA, 0);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
}

FIXTURE_TEARDOWN(deassign)
{
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

/* vCPU 0 reads, and its region is removed before the response comes. */
static struct guest_op *region_goes(struct kvm_vm *vm, struct vcpu_thread *thread,
				    struct channel *ch)
{
	struct guest_op *op = op_read(thread->vcpu, 4, FIRST + 4);

	thread_start(thread);
	expect_cmd(dev_recv(ch), cmd_read(4, FIRST_DATA, 4));
	thread_wait_asleep(thread);
	region_del_in_time(vm, FIRST);
	thread_join_exit(thread);
	expect_failure(thread->vcpu, exit_gone(ALL, FIRST, FIRST_DATA, 4, FIRST + 4));
	return op;
}

TEST_F(deassign, while_waiting)
{
	struct guest_op *op = region_goes(self->vm, &self->threads[0], &self->ch);

	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0x1234);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

TEST_F(deassign, while_waiting_and_retry)
{
	struct guest_op *op = region_goes(self->vm, &self->threads[0], &self->ch);

	vcpu_run(self->vcpus[0]);
	expect_mmio(self->vcpus[0], FIRST + 4, 4, false, 0);
	complete_mmio(self->vcpus[0], 0x4321);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x4321);
}

/* Nobody needs to know of a command that was never sent. */
TEST_F(deassign, while_queued)
{
	struct guest_op *first, *second;

	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	first = op_read(self->vcpus[0], 4, FIRST);
	second = op_read(self->vcpus[1], 8, SECOND + 8);
	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, FIRST_DATA, 0));
	thread_start(&self->threads[1]);
	thread_wait_asleep(&self->threads[1]);
	region_del_in_time(self->vm, SECOND);
	thread_join_exit(&self->threads[1]);
	expect_mmio(self->vcpus[1], SECOND + 8, 8, false, 0);
	complete_mmio(self->vcpus[1], 0x5678);
	run_done(self->vcpus[1]);
	TEST_ASSERT_EQ(second->val, 0x5678);

	dev_send(&self->ch, 0x8765);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(first->val, 0x8765);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "the command was sent all the same");
}

/* The region of the command on the channel is removed: the command behind it is sent. */
TEST_F(deassign, of_the_first_of_two)
{
	struct guest_op *op;

	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	op_read(self->vcpus[0], 4, FIRST);
	op = op_read(self->vcpus[1], 4, SECOND);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_start(&self->threads[1]);
	thread_wait_asleep(&self->threads[1]);
	region_del_in_time(self->vm, FIRST);
	thread_join_exit(&self->threads[0]);
	expect_failure(self->vcpus[0], exit_gone(ALL, FIRST, FIRST_DATA, 4, FIRST));

	/* Only when the response to the first one, which nobody waits for, has come. */
	thread_wait_asleep(&self->threads[1]);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "two commands at a time");
	dev_send_abandoned(&self->ch, 0x11111111);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&self->threads[1]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

TEST_F(deassign, while_the_channel_is_full)
{
	struct guest_op op = { OP_WRITE, 4, SECOND + 0x10 };
	unsigned int seq = 0;

	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, KVM_IOREGION_POSTED_WRITES);
	op.count = 1000;
	op_add(self->vcpus[0], op);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	region_del_in_time(self->vm, SECOND);
	thread_join_exit(&self->threads[0]);
	while (dev_has_cmd(&self->ch))
		expect_cmd(dev_recv(&self->ch), cmd_posted(4, SECOND_DATA, 0x10, seq++));
	for (; seq < op.count; seq++) {
		expect_mmio(self->vcpus[0], SECOND + 0x10, 4, true, seq);
		vcpu_run(self->vcpus[0]);
	}
	expect_done(self->vcpus[0]);
}

TEST_F(deassign, while_interrupted)
{
	struct guest_op *op = op_read(self->vcpus[0], 4, FIRST + 4);

	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
	region_del_in_time(self->vm, FIRST);
	vcpu_run(self->vcpus[0]);
	expect_failure(self->vcpus[0], exit_gone(ALL, FIRST, FIRST_DATA, 4, FIRST + 4));
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0x1234);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

/* The device task has responded before the region goes. */
TEST_F(deassign, interrupted_and_responded)
{
	struct guest_op *op = op_read(self->vcpus[0], 4, FIRST + 4);

	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
	dev_send(&self->ch, 0x1234);
	region_del_in_time(self->vm, FIRST);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

TEST_F(deassign, while_interrupted_and_queued)
{
	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	op_read(self->vcpus[0], 4, FIRST);
	op_write(self->vcpus[1], 4, SECOND, 0x77);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_start(&self->threads[1]);
	thread_interrupt(&self->threads[1]);
	region_del_in_time(self->vm, SECOND);
	vcpu_run(self->vcpus[1]);
	expect_mmio(self->vcpus[1], SECOND, 4, true, 0x77);
	run_done(self->vcpus[1]);
	dev_send(&self->ch, 0);
	thread_join_done(&self->threads[0]);
}

/* A region that is added anew has nothing to do with the old one's commands. */
TEST_F(deassign, while_interrupted_and_added_again)
{
	struct channel ch = channel_open(TR_SEQPACKET);
	struct guest_op *op = op_read(self->vcpus[0], 4, FIRST);

	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
	region_del(self->vm, FIRST, SIZE, 0);
	region_add(self->vm, &ch, FIRST, SIZE, SECOND_DATA, 0);
	vcpu_run(self->vcpus[0]);
	expect_failure(self->vcpus[0], exit_gone(ALL, FIRST, FIRST_DATA, 4, FIRST));
	TEST_ASSERT(!dev_has_cmd(&ch), "the command was sent unasked");

	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&ch), cmd_read(4, SECOND_DATA, 0));
	dev_send_late(&self->ch, 0x11111111);
	dev_send(&ch, 0x22222222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

/* The response to a removed region's command comes before the next command. */
TEST_F(deassign, late_response_is_dropped)
{
	struct guest_op *op;

	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	region_goes(self->vm, &self->threads[0], &self->ch);
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpus[0]);

	dev_send_abandoned(&self->ch, 0x11111111);
	op = op_read(self->vcpus[0], 4, SECOND);
	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

/* The response comes after the guest's next access, which waits for it. */
TEST_F(deassign, later_response_is_dropped)
{
	struct guest_op *op;

	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	region_goes(self->vm, &self->threads[0], &self->ch);
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpus[0]);

	op = op_read(self->vcpus[0], 4, SECOND);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "two commands at a time");
	dev_send_abandoned(&self->ch, 0x11111111);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

/*
 * Removes the only region of the channel and adds it anew. A socket that still owed a
 * response then has failed for good. Returns whether the channel works.
 */
#define region_added_again(...) __region_added_again(__VA_ARGS__, __LINE__)
static bool __region_added_again(struct kvm_vm *vm, struct channel *ch, int line)
{
	struct kvm_ioregionfd args = region_args(ch, FIRST, SIZE, SECOND_DATA, 0);
	int r = __vm_ioctl(vm, KVM_SET_IOREGIONFD, &args);

	if (ch->transport == TR_NATIVE) {
		TEST_ASSERT(!r, "line %d: errno %d", line, errno);
		return true;
	}
	TEST_ASSERT(r && errno == EPIPE, "line %d: wanted EPIPE, got %d, errno %d", line, r,
		    r ? errno : 0);
	return false;
}

TEST_F(deassign, late_response_is_not_for_the_region_added_again)
{
	struct guest_op *op;

	region_goes(self->vm, &self->threads[0], &self->ch);
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpus[0]);
	if (!region_added_again(self->vm, &self->ch))
		return;

	dev_send_abandoned(&self->ch, 0x11111111);
	op = op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

TEST_F(deassign, later_response_is_not_for_the_region_added_again)
{
	struct guest_op *op;

	region_goes(self->vm, &self->threads[0], &self->ch);
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpus[0]);
	if (!region_added_again(self->vm, &self->ch))
		return;

	op = op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	dev_send_abandoned(&self->ch, 0x11111111);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

/* It makes no difference whose command it was, and that its vCPU has left. */
TEST_F(deassign, of_all_with_a_command_on_the_wire)
{
	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
	region_del_in_time(self->vm, FIRST);
	region_del_in_time(self->vm, SECOND);
	region_added_again(self->vm, &self->ch);
	vcpu_run(self->vcpus[0]);
	expect_failure(self->vcpus[0], exit_gone(ALL, FIRST, FIRST_DATA, 4, FIRST));
	dev_send_late(&self->ch, 0x11111111);
}

/* Without a command on the wire the channel is as good as new. */
TEST_F(deassign, of_all_with_nothing_on_the_wire)
{
	struct guest_op *op = op_read(self->vcpus[0], 4, FIRST);

	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	dev_send(&self->ch, 0x1111);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x1111);
	region_del_in_time(self->vm, FIRST);

	region_add(self->vm, &self->ch, FIRST, SIZE, SECOND_DATA, 0);
	op = op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SECOND_DATA, 0));
	dev_send(&self->ch, 0x2222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x2222);
}

/* KVM lets go of a channel without waiting for a response. */
TEST_F(deassign, of_the_last_region_is_the_end)
{
	region_goes(self->vm, &self->threads[0], &self->ch);
	resolve(self->vcpus[0], KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpus[0]);
	channel_close_kvm(&self->ch);

	/* A native channel ends with its VM, which is in the teardown. */
	if (variant->transport != TR_NATIVE)
		expect_released(&self->ch);
}

/* How a VMM hangs up on the device task, whoever holds the files. */
TEST(shutdown_by_the_vmm)
{
	struct channel ch = channel_open(TR_SEQPACKET);
	struct vcpu_thread thread = { 0 };
	struct kvm_ioregionfd_exit exit;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	vm = ioregion_vm_create(1, guest_script_main, &vcpu);
	region_add(vm, &ch, FIRST, SIZE, FIRST_DATA, 0);
	vcpu_thread_init(&thread, vcpu);
	op_read(vcpu, 4, FIRST);
	thread_start(&thread);
	dev_recv(&ch);
	thread_wait_asleep(&thread);
	TEST_ASSERT(!shutdown(ch.kvm_wr, SHUT_RDWR), "shutdown() failed");
	channel_close_kvm(&ch);
	expect_released(&ch);

	thread_join_exit(&thread);
	exit = exit_gone(ALL, FIRST, FIRST_DATA, 4, FIRST);
	exit.reason = KVM_IOREGIONFD_FAIL_HANGUP;
	expect_failure(vcpu, exit);
	kvm_vm_free(vm);
}

/*
 * Regions come and go all the time while vCPUs access them. Each access is carried out
 * once, by the device task or by the VMM, and gives the same value.
 */
FIXTURE(race)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct device dev;
};

FIXTURE_VARIANT(race)
{
	enum transport transport;
	/* a region of the channel always stays; else each gets a new channel */
	bool keep_channel;
};

FIXTURE_VARIANT_ADD(race, seqpacket) { TR_SEQPACKET, true };
FIXTURE_VARIANT_ADD(race, native) { TR_NATIVE, true };
FIXTURE_VARIANT_ADD(race, polled) { TR_POLLED, true };
FIXTURE_VARIANT_ADD(race, seqpacket_channel_too) { TR_SEQPACKET, false };

#define RACE_VCPUS	3

/* It goes on until each vCPU has made so many accesses, and there was a race in so many turns. */
#define RACE_COUNT	1200
#define RACE_TURNS	20

/* If it does not come to that, it fails after so many turns, or this time. */
#define RACE_TURNS_MAX	20000
#define RACE_MS		(60 * 1000 * slowness())

static uint64_t race_counts[RACE_VCPUS];
static bool race_over;

static uint64_t race_value(uint64_t offset)
{
	return (offset + 1) * 0x9e3779b97f4a7c15ul;
}

static void guest_race_main(uint64_t id)
{
	uint64_t i, offset, val;

	for (i = 0; !READ_ONCE(race_over); i++) {
		offset = id * 0x400 + i % 128 * 8;
		if (i % 3) {
			val = READ_ONCE(*(uint64_t *)(FIRST + offset));
			__GUEST_ASSERT(val == race_value(offset), "vCPU %lu access %lu got %lx",
				       id, i, val);
		} else {
			WRITE_ONCE(*(uint64_t *)(FIRST + offset), i);
		}
		WRITE_ONCE(race_counts[id], i + 1);
	}
	guest_done();
}

static uint64_t device_respond_race(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	return race_value(cmd->offset);
}

struct race_vcpu {
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	unsigned int by_vmm;
	unsigned int failures;
};

static void *race_vcpu_main(void *arg)
{
	struct race_vcpu *r = arg;
	struct kvm_run *run = r->vcpu->run;
	uint64_t addr;

	for (;;) {
		vcpu_run(r->vcpu);
		/* Elsewhere it is what the guest tells us, on arm64. */
		if (run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr - FIRST < SIZE) {
			TEST_ASSERT_EQ(run->mmio.len, 8);
			complete_mmio(r->vcpu, race_value(run->mmio.phys_addr - FIRST));
			__atomic_store_n(&r->by_vmm, r->by_vmm + 1, __ATOMIC_RELAXED);
		} else if (run->exit_reason == KVM_EXIT_IOREGIONFD_FAILURE) {
			TEST_ASSERT_EQ(run->ioregionfd.reason, KVM_IOREGIONFD_FAIL_DEASSIGNED);
			TEST_ASSERT_EQ(run->ioregionfd.progress, ALL);
			/* The device task has fetched it, or will. */
			addr = run->ioregionfd.guest_paddr;
			resolve(r->vcpu, KVM_IOREGIONFD_COMPLETE, race_value(addr - FIRST));
			r->failures++;
		} else {
			expect_done(r->vcpu);
			return NULL;
		}
	}
}

FIXTURE_SETUP(race)
{
	self->vm = ioregion_vm_create(RACE_VCPUS, guest_race_main, self->vcpus);
	if (!variant->keep_channel)
		return;
	self->dev.respond = device_respond_race;
	device_start_for(&self->dev, self->vm, variant->transport);
	region_add(self->vm, &self->dev.ch, SECOND, SIZE, SECOND_DATA, 0);
}

FIXTURE_TEARDOWN(race)
{
	kvm_vm_free(self->vm);
	if (variant->keep_channel)
		expect_device_released(&self->dev);
}

/* The region exists for a while. */
static void race_turn(struct kvm_vm *vm, struct device *dev, unsigned int *seed)
{
	region_add(vm, &dev->ch, FIRST, SIZE, FIRST_DATA, 0);
	usleep(rand_r(seed) % 2000);
	region_del(vm, FIRST, SIZE, 0);
	usleep(rand_r(seed) % 200);
}

/* The channel goes as well. Returns how many accesses it has seen. */
static unsigned int race_turn_alone(struct kvm_vm *vm, unsigned int *seed)
{
	struct device *dev = calloc(1, sizeof(*dev));
	unsigned int nr;

	TEST_ASSERT(dev, "out of memory");
	dev->respond = device_respond_race;
	device_start(dev, TR_SEQPACKET);
	race_turn(vm, dev, seed);
	expect_device_released(dev);
	pthread_join(dev->thread, NULL);
	nr = dev->nr;
	channel_close_dev(&dev->ch);
	free(dev->log);
	free(dev);
	return nr;
}

static unsigned int race_by_vmm(struct race_vcpu *vcpus)
{
	unsigned int nr = 0;
	int i;

	for (i = 0; i < RACE_VCPUS; i++)
		nr += __atomic_load_n(&vcpus[i].by_vmm, __ATOMIC_RELAXED);
	return nr;
}

/* How many accesses the guest has made: of the vCPU with the fewest, and of all */
static uint64_t race_accesses(struct kvm_vm *vm, uint64_t *fewest)
{
	uint64_t nr, sum = 0;
	int i;

	*fewest = UINT64_MAX;
	for (i = 0; i < RACE_VCPUS; i++) {
		nr = READ_ONCE(*(uint64_t *)addr_gva2hva(vm, (uintptr_t)&race_counts[i]));
		*fewest = min(*fewest, nr);
		sum += nr;
	}
	return sum;
}

TEST_F_TIMEOUT(race, assign_and_deassign, 90)
{
	struct race_vcpu vcpus[RACE_VCPUS] = { 0 };
	unsigned int by_vmm = 0, by_dev = 0, vmm_before, dev_before;
	unsigned int failures = 0, turns = 0, races = 0, seed = 1;
	uint64_t end = now_ms() + RACE_MS, fewest = 0, accesses;
	int i;

	for (i = 0; i < RACE_VCPUS; i++) {
		vcpus[i].vcpu = self->vcpus[i];
		TEST_ASSERT(!pthread_create(&vcpus[i].thread, NULL, race_vcpu_main, &vcpus[i]),
			    "pthread_create() failed");
	}
	/* How quick the guest is, compared with a turn, is not known. */
	while ((races < RACE_TURNS || fewest < RACE_COUNT) && turns < RACE_TURNS_MAX &&
	       now_ms() < end) {
		vmm_before = by_vmm;
		dev_before = by_dev;
		if (variant->keep_channel) {
			race_turn(self->vm, &self->dev, &seed);
			by_dev = device_nr(&self->dev);
		} else {
			by_dev += race_turn_alone(self->vm, &seed);
		}
		by_vmm = race_by_vmm(vcpus);
		/* Both sides of an end of the region were seen. */
		races += by_vmm != vmm_before && by_dev != dev_before;
		turns++;
		race_accesses(self->vm, &fewest);
	}
	write_guest_global(self->vm, race_over, true);
	for (i = 0; i < RACE_VCPUS; i++) {
		pthread_join(vcpus[i].thread, NULL);
		failures += vcpus[i].failures;
	}
	by_vmm = race_by_vmm(vcpus);
	accesses = race_accesses(self->vm, &fewest);
	if (variant->keep_channel) {
		expect_nr(&self->dev, accesses - by_vmm);
		by_dev = device_nr(&self->dev);
	}
	printf("# %u turns, %u races; accesses: %u by the VMM, %u told to it, %u by the task\n",
	       turns, races, by_vmm, failures, by_dev);
	TEST_ASSERT(races >= RACE_TURNS, "there was no race");
	TEST_ASSERT(fewest >= RACE_COUNT, "a vCPU made %lu accesses only", fewest);
	TEST_ASSERT_EQ(by_dev, accesses - by_vmm);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
