// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: the ring of posted writes. None is lost or comes twice, and each
 * comes in its place.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define SYNC		MMIO_GPA
#define POSTED		(MMIO_GPA + 0x1000)
#define SYNC_DATA	USER_DATA(0)
#define POSTED_DATA	USER_DATA(0x1000)
#define PIO_DATA	USER_DATA(0x2000)

#define MS		1000000l	/* in nanoseconds */

static void vm_setup(struct kvm_vm **vm, struct kvm_vcpu **vcpus, struct vcpu_thread *threads,
		     struct channel *ch, struct mapping *map, uint32_t posted)
{
	int i;

	*vm = ioregion_vm_create(2, guest_script_main, vcpus);
	*ch = (struct channel){ TR_NATIVE };
	ch->kvm_rd = create_ioregionfd(*vm, 2, posted);
	ch->kvm_wr = ch->kvm_rd;
	ch->dev_rd = dup(ch->kvm_rd);
	ch->dev_wr = ch->dev_rd;
	*map = mapping_open(ch->dev_rd);
	region_add(*vm, ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(*vm, ch, POSTED, 0x1000, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	region_add(*vm, ch, OTHER_BASE, 0x100, PIO_DATA,
		   KVM_IOREGION_POSTED_WRITES | OTHER_FLAGS);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&threads[i], vcpus[i]);
}

static void vm_teardown(struct kvm_vm *vm, struct channel *ch)
{
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };

	TEST_ASSERT_EQ(commit_and_fetch(ch->dev_rd, &arg), -EAGAIN);
	kvm_vm_free(vm);
	channel_close_kvm(ch);
	expect_released(ch);
}

#define fetch_posted(...) __fetch_posted(__VA_ARGS__, __LINE__)
static struct ioregionfd_fetch __fetch_posted(int fd, struct ioregionfd_cmd want, int line)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	int r = commit_and_fetch(fd, &arg);

	TEST_ASSERT(!r, "line %d: no command: %d", line, r);
	TEST_ASSERT(ioregionfd_id_vcpu(arg.id) == IOREGIONFD_ANY, "line %d: not posted", line);
	__expect_cmd(arg.cmd, want, line);
	return arg;
}

/*
 * Rings of several sizes that are full most of the time.
 */
FIXTURE(full)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
	struct mapping map;
};

FIXTURE_VARIANT(full)
{
	uint32_t posted;
};

FIXTURE_VARIANT_ADD(full, 1) { 1 };
FIXTURE_VARIANT_ADD(full, 2) { 2 };
FIXTURE_VARIANT_ADD(full, 64) { 64 };

FIXTURE_SETUP(full)
{
	vm_setup(&self->vm, self->vcpus, self->threads, &self->ch, &self->map, variant->posted);
}

FIXTURE_TEARDOWN(full)
{
	vm_teardown(self->vm, &self->ch);
}

/* Waits until the vCPU has filled the ring (true) or has no more to post (false). */
static bool ring_filled(struct vcpu_thread *thread)
{
	while (!thread_returned(thread) && !thread_asleep(thread))
		usleep(200);
	return !thread_returned(thread);
}

TEST_F_TIMEOUT(full, waits_and_drops_nothing, 60)
{
	struct guest_op op = { OP_WRITE, 8, POSTED + 8 };
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	uint32_t seq = 0, sleeps = 0, used, i;

	op.count = 400;
	op_add(self->vcpus[0], op);
	thread_start(&self->threads[0]);
	while (seq < op.count) {
		if (ring_filled(&self->threads[0]))
			sleeps++;
		used = self->map.control->posted_head - seq;
		TEST_ASSERT(used <= variant->posted, "%u in a ring of %u", used, variant->posted);
		for (i = 0; i <= seq % 7 && seq < op.count; i++, seq++) {
			TEST_ASSERT_EQ(commit_and_fetch(self->ch.dev_rd, &arg), 0);
			expect_cmd(arg.cmd, cmd_posted(8, POSTED_DATA, 8, seq));
		}
	}
	TEST_ASSERT_EQ(commit_only(self->ch.dev_rd, arg.id, 0), 0);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT(sleeps > 2, "the ring was never full");
}

/* The same in the mapping, with as many at a time as there are. */
TEST_F_TIMEOUT(full, batches_in_the_mapping, 60)
{
	struct ioregionfd_control *control = self->map.control;
	struct guest_op op = { OP_WRITE, 8, POSTED + 8 };
	uint32_t seq = 0, sleeps = 0, head;
	uint64_t tail;
	bool r;

	op.count = 400;
	op_add(self->vcpus[0], op);
	thread_start(&self->threads[0]);
	while (seq < op.count) {
		if (ring_filled(&self->threads[0]))
			sleeps++;
		tail = control->posted_tail;
		TEST_ASSERT_EQ(tail, seq << 1);
		head = __atomic_load_n(&control->posted_head, __ATOMIC_ACQUIRE);
		r = __atomic_compare_exchange_n(&control->posted_tail, &tail, tail | 1, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
		TEST_ASSERT(r, "somebody else fetches them");
		for (; seq < head; seq++)
			expect_cmd(self->map.posted[seq % variant->posted],
				   cmd_posted(8, POSTED_DATA, 8, seq));
		__atomic_store_n(&control->posted_tail, seq << 1, __ATOMIC_SEQ_CST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (READ_ONCE(control->blocked))
			TEST_ASSERT_EQ(commit_only(self->ch.dev_rd, 0, 0), 0);
	}
	thread_join_done(&self->threads[0]);
	TEST_ASSERT(sleeps > 2, "the ring was never full");
}

/* A write that is interrupted while there is no room is not in the ring, and is not lost. */
TEST_F_TIMEOUT(full, interrupted, 60)
{
	struct guest_op op = { OP_WRITE, 8, POSTED + 8 };
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	uint32_t seq;

	op.count = variant->posted + 30;
	op_add(self->vcpus[0], op);
	thread_start(&self->threads[0]);
	for (seq = 0; seq < op.count; seq++) {
		if (seq < 30) {
			thread_interrupt(&self->threads[0]);
			TEST_ASSERT_EQ(run_immediate(self->vcpus[0]), -EINTR);
			TEST_ASSERT(self->vcpus[0]->run->flags & KVM_RUN_IOREGIONFD_PENDING,
				    "PENDING is not set");
			TEST_ASSERT_EQ(self->map.control->posted_head, seq + variant->posted);
			thread_start(&self->threads[0]);
		}
		TEST_ASSERT_EQ(commit_and_fetch(self->ch.dev_rd, &arg), 0);
		expect_cmd(arg.cmd, cmd_posted(8, POSTED_DATA, 8, seq));
		TEST_ASSERT_EQ(commit_only(self->ch.dev_rd, arg.id, 0), 0);
		arg.id = 0;
		/* The waiting write gets the free entry, and the next one waits. */
		while (seq + 1 < 30 &&
		       READ_ONCE(self->map.control->posted_head) < seq + 1 + variant->posted)
			usleep(100);
	}
	thread_join_done(&self->threads[0]);
}

/* Two vCPUs wait for the same entry; the writes of each stay in order. */
TEST_F_TIMEOUT(full, two_vcpus, 60)
{
	struct guest_op op = { OP_WRITE, 8 };
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	uint64_t next[2] = { 0 };
	int i, vcpu;

	op.count = 300;
	for (i = 0; i < 2; i++) {
		op.addr = POSTED + 8 * i;
		op_add(self->vcpus[i], op);
		thread_start(&self->threads[i]);
	}
	for (i = 0; i < 600; i++) {
		TEST_ASSERT_EQ(commit_and_fetch(self->ch.dev_rd, &arg), 0);
		vcpu = arg.cmd.offset / 8;
		expect_cmd(arg.cmd, cmd_posted(8, POSTED_DATA, 8 * vcpu, next[vcpu]++));
	}
	TEST_ASSERT_EQ(commit_only(self->ch.dev_rd, arg.id, 0), 0);
	for (i = 0; i < 2; i++) {
		thread_join_done(&self->threads[i]);
		TEST_ASSERT_EQ(next[i], 300);
	}
}

/* The region is removed while a vCPU waits for an entry. */
TEST_F(full, region_removed)
{
	struct guest_op op = { OP_WRITE, 8, POSTED + 8 };
	uint32_t seq;

	op.count = variant->posted + 1;
	op_add(self->vcpus[0], op);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	region_del(self->vm, POSTED, 0x1000, 0);
	thread_join_exit(&self->threads[0]);
	expect_mmio(self->vcpus[0], POSTED + 8, 8, true, variant->posted);
	run_done(self->vcpus[0]);
	/* Completed writes stay in the ring. */
	for (seq = 0; seq < variant->posted; seq++)
		expect_cmd(dev_recv(&self->ch), cmd_posted(8, POSTED_DATA, 8, seq));
}

/*
 * The order of posted writes and commands.
 */
FIXTURE(order)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
	struct mapping map;
	int fd;
	struct server_thread server;
	struct device dev;
};

FIXTURE_SETUP(order)
{
	vm_setup(&self->vm, self->vcpus, self->threads, &self->ch, &self->map, 16);
	self->fd = self->ch.dev_rd;
	self->dev.respond = device_respond_mem;
}

FIXTURE_TEARDOWN(order)
{
	vm_teardown(self->vm, &self->ch);
}

static struct ioregionfd_cmd posted(uint64_t val)
{
	return cmd_posted(4, POSTED_DATA, 4, val);
}

/* A read comes after the posted writes before it have been retired, not just fetched. */
static void expect_read_behind(struct mapping *map, struct vcpu_thread *thread, int nr)
{
	struct ioregionfd_fetch arg, none;
	uint32_t vcpu = thread->vcpu->id;
	int i;

	TEST_ASSERT_EQ(map->mailboxes[vcpu].posted_before, nr);
	for (i = 0; i < nr; i++) {
		arg = fetch_posted(map->fd, posted(i));
		none = fetch_arg(i & 1 ? vcpu : IOREGIONFD_ANY);
		none.timeout = 50 * MS;
		TEST_ASSERT_EQ(commit_and_fetch(map->fd, &none), -ETIMEDOUT);
		TEST_ASSERT(!fd_poll(map->fd, POLLIN, 0), "poll() says that there is a command");
		TEST_ASSERT(!mapping_fetch_mailbox(map, vcpu, &none), "the order is wrong");
		TEST_ASSERT_EQ(commit_only(map->fd, arg.id, 0), 0);
	}
	arg = fetch_arg(vcpu);
	TEST_ASSERT_EQ(commit_and_fetch(map->fd, &arg), 0);
	expect_cmd(arg.cmd, cmd_read(4, SYNC_DATA, 8));
	TEST_ASSERT_EQ(commit_only(map->fd, arg.id, 0x4321), 0);
	thread_join_done(thread);
}

TEST_F(order, of_one_vcpu)
{
	struct guest_op *op;
	int i;

	for (i = 0; i < 3; i++)
		op_write(self->vcpus[0], 4, POSTED + 4, i);
	op = op_read(self->vcpus[0], 4, SYNC + 8);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	expect_read_behind(&self->map, &self->threads[0], 3);
	TEST_ASSERT_EQ(op->val, 0x4321);
}

/* What one vCPU has completed comes before what another vCPU begins after that. */
TEST_F(order, across_vcpus)
{
	int i;

	for (i = 0; i < 3; i++)
		op_write(self->vcpus[0], 4, POSTED + 4, i);
	run_done(self->vcpus[0]);
	op_read(self->vcpus[1], 4, SYNC + 8);
	thread_start(&self->threads[1]);
	thread_wait_asleep(&self->threads[1]);
	expect_read_behind(&self->map, &self->threads[1], 3);
}

/* Later posted writes hold up nobody. */
TEST_F(order, of_what_comes_later)
{
	struct ioregionfd_fetch arg = fetch_arg(1);

	op_read(self->vcpus[1], 4, SYNC + 8);
	thread_start(&self->threads[1]);
	thread_wait_asleep(&self->threads[1]);
	op_write(self->vcpus[0], 4, POSTED + 4, 7);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(self->map.mailboxes[1].posted_before, 0);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd(arg.cmd, cmd_read(4, SYNC_DATA, 8));
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0), 0);
	thread_join_done(&self->threads[1]);
	expect_cmd(dev_recv(&self->ch), posted(7));
}

/* Nor do earlier ones that have been retired. */
TEST_F(order, tail_beyond)
{
	struct ioregionfd_fetch arg;
	int i;

	op_write(self->vcpus[1], 4, POSTED + 4, 0);
	op_read(self->vcpus[1], 4, SYNC + 8);
	thread_start(&self->threads[1]);
	thread_wait_asleep(&self->threads[1]);
	for (i = 1; i < 4; i++)
		op_write(self->vcpus[0], 4, POSTED + 4, i);
	run_done(self->vcpus[0]);
	for (i = 0; i < 4; i++) {
		TEST_ASSERT(mapping_fetch_posted(&self->map, &arg), "nothing to fetch");
		expect_cmd(arg.cmd, posted(i));
		mapping_complete(&self->map, arg.id, 0);
	}
	TEST_ASSERT(mapping_fetch_mailbox(&self->map, 1, &arg), "the read waits for too much");
	mapping_complete(&self->map, arg.id, 0);
	thread_join_done(&self->threads[1]);
}

/* The order spans memory and ports. */
TEST_F(order, of_both_buses)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);

	op_write(self->vcpus[0], 4, POSTED + 4, 1);
	op_write_other(self->vcpus[0], 2, OTHER_BASE + 6, 2);
	op_write(self->vcpus[0], 1, POSTED + 8, 3);
	op_read_other(self->vcpus[0], 1, OTHER_BASE);
	thread_start(&self->threads[0]);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd(arg.cmd, posted(1));
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd(arg.cmd, cmd_posted(2, PIO_DATA, 6, 2));
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd(arg.cmd, cmd_posted(1, POSTED_DATA, 8, 3));
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd(arg.cmd, cmd_read(1, PIO_DATA, 0));
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0), 0);
	thread_join_done(&self->threads[0]);
}

/*
 * A task that sleeps until the next command may come is woken when the posted write
 * before it is retired.
 */
static void sleeper_goes_on(struct kvm_vcpu **vcpus, struct vcpu_thread *threads,
			    struct server_thread *server, struct device *dev, struct mapping *map,
			    enum mode mode, uint32_t vcpu, bool in_mapping)
{
	struct ioregionfd_fetch arg;

	op_write(vcpus[0], 4, POSTED + 4, 0x55);
	run_done(vcpus[0]);
	arg = fetch_posted(map->fd, posted(0x55));
	op_read(vcpus[0], 4, SYNC + 4);
	thread_start(&threads[0]);
	thread_wait_asleep(&threads[0]);
	server_start(server, dev, map->fd, mode, vcpu);
	server_wait_asleep(server);
	TEST_ASSERT_EQ(server->nr, 0);
	if (in_mapping)
		mapping_complete(map, arg.id, 0);
	else
		TEST_ASSERT_EQ(commit_only(map->fd, arg.id, 0), 0);
	thread_join_done(&threads[0]);
}

#define TEST_SLEEPER(name, ...)							\
TEST_F(order, name)								\
{										\
	sleeper_goes_on(self->vcpus, self->threads, &self->server, &self->dev,	\
			&self->map, __VA_ARGS__);				\
}

TEST_SLEEPER(read_goes_on, MODE_READ, IOREGIONFD_ANY, false)
TEST_SLEEPER(poll_goes_on, MODE_POLL, IOREGIONFD_ANY, false)
TEST_SLEEPER(ioctl_goes_on, MODE_IOCTL, IOREGIONFD_ANY, false)
TEST_SLEEPER(ioctl_of_one_goes_on, MODE_IOCTL, 0, false)
TEST_SLEEPER(uring_goes_on, MODE_URING, IOREGIONFD_ANY, false)
TEST_SLEEPER(uring_of_one_goes_on, MODE_URING, 0, false)
TEST_SLEEPER(mapping_goes_on, MODE_MAPPING, 0, false)
TEST_SLEEPER(read_goes_on_after_mapping, MODE_READ, IOREGIONFD_ANY, true)
TEST_SLEEPER(poll_goes_on_after_mapping, MODE_POLL, IOREGIONFD_ANY, true)
TEST_SLEEPER(ioctl_goes_on_after_mapping, MODE_IOCTL, IOREGIONFD_ANY, true)
TEST_SLEEPER(uring_of_one_goes_on_after_mapping, MODE_URING, 0, true)

/* What the former task may have carried out is redelivered, and flagged. */
TEST_F(order, recovered)
{
	struct ioregionfd_fetch old, new;
	int i;

	for (i = 0; i < 3; i++)
		op_write(self->vcpus[0], 4, POSTED + 4, i);
	run_done(self->vcpus[0]);
	old = fetch_posted(self->fd, posted(0));
	TEST_ASSERT_EQ(commit_only(self->fd, old.id, 0), 0);
	old = fetch_posted(self->fd, posted(1));
	recover(self->fd);
	/* Too late to retire it. */
	TEST_ASSERT_EQ(commit_only(self->fd, old.id, 0), -ENOENT);

	new = fetch_arg(IOREGIONFD_ANY);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &new), 0);
	TEST_ASSERT(new.cmd.flags & IOREGIONFD_CMD_F_REDELIVERED, "not flagged as redelivered");
	new.cmd.flags &= ~IOREGIONFD_CMD_F_REDELIVERED;
	expect_cmd(new.cmd, posted(1));
	TEST_ASSERT_EQ(commit_only(self->fd, new.id, 0), 0);
	new = fetch_arg(IOREGIONFD_ANY);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &new), 0);
	/* The former task may have been in a batch, so this one may be flagged too. */
	new.cmd.flags &= ~IOREGIONFD_CMD_F_REDELIVERED;
	expect_cmd(new.cmd, posted(2));
	TEST_ASSERT_EQ(commit_only(self->fd, new.id, 0), 0);
}

/* Nothing was fetched, so nothing is redelivered. */
TEST_F(order, recovered_idle)
{
	struct ioregionfd_fetch arg;

	op_write(self->vcpus[0], 4, POSTED + 4, 1);
	op_read(self->vcpus[0], 4, SYNC + 8);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	recover(self->fd);
	arg = fetch_posted(self->fd, posted(1));
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0), 0);
	recover(self->fd);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SYNC_DATA, 8));
	dev_send(&self->ch, 0);
	thread_join_done(&self->threads[0]);
}

/* read() retires a posted write. */
TEST_F(order, recovered_after_read)
{
	op_write(self->vcpus[0], 4, POSTED + 4, 1);
	run_done(self->vcpus[0]);
	expect_cmd(dev_recv(&self->ch), posted(1));
	recover(self->fd);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "the write comes twice");
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
