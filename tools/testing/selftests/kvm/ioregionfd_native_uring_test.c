// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: commands of io_uring that wait in the ring, for any vCPU or for one,
 * also when their ring, their process or their descriptor goes.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define SYNC		MMIO_GPA
#define SYNC_DATA	USER_DATA(0)

FIXTURE(uring)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct vcpu_thread threads[MAX_VCPUS];
	struct guest_op *ops[MAX_VCPUS];
	struct channel ch;
	struct io_uring ring;
	struct ioregionfd_fetch args[8];
	int fd;
};

FIXTURE_VARIANT(uring)
{
	unsigned int setup;
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(uring, plain) { 0, 0 };
FIXTURE_VARIANT_ADD(uring, async) { 0, IOSQE_ASYNC };
FIXTURE_VARIANT_ADD(uring, defer_taskrun)
	{ IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0 };
FIXTURE_VARIANT_ADD(uring, sqpoll) { IORING_SETUP_SQPOLL, 0 };

FIXTURE_SETUP(uring)
{
	int i, r;

	self->vm = ioregion_vm_create(MAX_VCPUS, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->fd = self->ch.dev_rd;
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	for (i = 0; i < MAX_VCPUS; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
	r = io_uring_queue_init(8, &self->ring, variant->setup);
	TEST_ASSERT(!r, "no io_uring: %d", r);
}

/* Whatever became of the parked commands, nobody holds the file. */
FIXTURE_TEARDOWN(uring)
{
	channel_close_kvm(&self->ch);
	channel_close_dev(&self->ch);
	op_read(self->vcpus[0], 8, SYNC);
	thread_start(&self->threads[0]);
	thread_join_exit(&self->threads[0]);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);
	TEST_ASSERT_EQ(self->vcpus[0]->run->ioregionfd.reason, KVM_IOREGIONFD_FAIL_HANGUP);
	kvm_vm_free(self->vm);
}

static void park(struct io_uring *ring, int fd, struct ioregionfd_fetch *arg, uint32_t vcpu,
		 unsigned int flags)
{
	*arg = (struct ioregionfd_fetch){ .vcpu = vcpu, .timeout = -1 };
	uring_submit(ring, fd, arg, flags);
}

/* Each guest command completes one parked command, in any order. */
TEST_F(uring, several_parked)
{
	struct ioregionfd_fetch *arg;
	unsigned int turn, seen = 0;
	uint32_t vcpu;
	int i;

	for (i = 0; i < 6; i++)
		park(&self->ring, self->fd, &self->args[i], IOREGIONFD_ANY, variant->flags);
	for (turn = 0; turn < 5; turn++) {
		for (i = 0, seen = 0; i < MAX_VCPUS; i++)
			self->ops[i] = vcpu_waits(self->threads, i);
		for (i = 0; i < MAX_VCPUS; i++) {
			TEST_ASSERT_EQ(uring_wait(&self->ring, &arg), 0);
			vcpu = ioregionfd_id_vcpu(arg->id);
			TEST_ASSERT(vcpu < MAX_VCPUS && !(seen & BIT(vcpu)), "vCPU %u twice", vcpu);
			seen |= BIT(vcpu);
			expect_cmd_of(arg, vcpu);
			/* Completed, and parked anew at once. */
			arg->data = vcpu_value(vcpu);
			uring_submit(&self->ring, self->fd, arg, variant->flags);
			thread_join_done(&self->threads[vcpu]);
			TEST_ASSERT_EQ(self->ops[vcpu]->val, vcpu_value(vcpu));
		}
	}
	io_uring_queue_exit(&self->ring);
}

/* One parked for each vCPU but one; a command that none of them waits for stays pending. */
TEST_F(uring, parked_for_one_mailbox)
{
	struct ioregionfd_fetch *arg;

	park(&self->ring, self->fd, &self->args[0], 0, variant->flags);
	park(&self->ring, self->fd, &self->args[2], 2, variant->flags);
	self->ops[1] = vcpu_waits(self->threads, 1);
	/* Parked while there is a command, but one of another vCPU. */
	park(&self->ring, self->fd, &self->args[3], 3, variant->flags);
	self->ops[2] = vcpu_waits(self->threads, 2);
	TEST_ASSERT_EQ(uring_wait(&self->ring, &arg), 0);
	TEST_ASSERT(arg == &self->args[2], "the wrong one was completed");
	expect_cmd_of(arg, 2);
	TEST_ASSERT_EQ(commit_only(self->fd, arg->id, 2), 0);
	thread_join_done(&self->threads[2]);

	park(&self->ring, self->fd, &self->args[1], 1, variant->flags);
	TEST_ASSERT_EQ(uring_wait(&self->ring, &arg), 0);
	expect_cmd_of(arg, 1);
	TEST_ASSERT_EQ(commit_only(self->fd, arg->id, 1), 0);
	thread_join_done(&self->threads[1]);
	io_uring_queue_exit(&self->ring);
}

/* A completion comes too late while nothing is there to fetch: the task is told, not parked. */
TEST_F(uring, late_completion)
{
	struct ioregionfd_fetch *arg;

	self->args[0] = fetch_arg(IOREGIONFD_ANY);
	vcpu_waits(self->threads, 0);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &self->args[0]), 0);
	expect_cmd_of(&self->args[0], 0);
	region_del(self->vm, SYNC, 0x1000, 0);
	thread_join_exit(&self->threads[0]);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);
	self->vcpus[0]->run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	run_done(self->vcpus[0]);

	self->args[0].timeout = -1;
	uring_submit(&self->ring, self->fd, &self->args[0], variant->flags);
	TEST_ASSERT_EQ(uring_wait(&self->ring, &arg), -ESTALE);
	TEST_ASSERT_EQ(arg->id, 0);
	io_uring_queue_exit(&self->ring);
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
}

/* The ring is closed: what comes then is not lost to a command that is being cancelled. */
TEST_F(uring, ring_closed)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	int i;

	for (i = 0; i < 4; i++)
		park(&self->ring, self->fd, &self->args[i], i & 1 ? 0 : IOREGIONFD_ANY,
		     variant->flags);
	usleep(50000);
	io_uring_queue_exit(&self->ring);
	self->ops[0] = vcpu_waits(self->threads, 0);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd_of(&arg, 0);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 5), 0);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(self->ops[0]->val, 5);
}

#define RACES	100

/*
 * Finds who has fetched the command: one that completed in the ring, even late, or an
 * ioctl now.
 */
static uint64_t find_fetched(int fd, struct ioregionfd_fetch *args, unsigned int nr,
			     unsigned int *by_ring)
{
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };
	unsigned int i, tries;
	uint64_t id;

	arg.timeout = 10000000; /* 10 ms */
	for (tries = 0; tries < HANG_SECONDS * 100; tries++) {
		for (i = 0; i < nr; i++) {
			id = READ_ONCE(args[i].id);
			if (id) {
				args[i].id = 0;
				++*by_ring;
				return id;
			}
		}
		if (!commit_and_fetch(fd, &arg))
			return arg.id;
	}
	TEST_FAIL("the command is lost");
	return 0;
}

/* The same for one that is being completed just as its ring is closed. */
TEST_F(uring, ring_closed_race)
{
	/* A closed ring may go on using its arguments for a while. */
	static struct ioregionfd_fetch args[2 * RACES];
	unsigned int turn, by_ring = 0;
	uint64_t id;
	int i, r;

	for (turn = 0; turn < RACES; turn++) {
		if (turn) {
			r = io_uring_queue_init(8, &self->ring, variant->setup);
			TEST_ASSERT(!r, "no io_uring: %d", r);
		}
		for (i = 0; i < 2; i++)
			park(&self->ring, self->fd, &args[2 * turn + i], IOREGIONFD_ANY,
			     variant->flags);
		self->ops[0] = op_read(self->vcpus[0], 8, SYNC);
		thread_start(&self->threads[0]);
		usleep(turn * 5);
		io_uring_queue_exit(&self->ring);
		id = find_fetched(self->fd, args, 2 * turn + 2, &by_ring);
		TEST_ASSERT_EQ(commit_only(self->fd, id, turn), 0);
		thread_join_done(&self->threads[0]);
		TEST_ASSERT_EQ(self->ops[0]->val, turn);
	}
	printf("# %u of %u completed before they were cancelled\n", by_ring, RACES);
}

/* A process that ends, or is killed, with parked commands. */
static void process_ends(int fd, unsigned int setup, unsigned int flags, bool kills)
{
	struct ioregionfd_fetch args[4];
	struct io_uring ring;
	int pipes[2], i, status;
	char byte;
	pid_t pid;

	TEST_ASSERT(!pipe(pipes), "pipe() failed");
	pid = fork();
	if (!pid) {
		if (io_uring_queue_init(8, &ring, setup))
			_exit(1);
		for (i = 0; i < 4; i++)
			park(&ring, fd, &args[i], IOREGIONFD_ANY, flags);
		usleep(20000);
		if (write(pipes[1], &byte, 1) != 1 || !kills)
			_exit(0);
		for (;;)
			pause();
	}
	TEST_ASSERT_EQ(read(pipes[0], &byte, 1), 1);
	if (kills)
		kill(pid, SIGKILL);
	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	TEST_ASSERT_EQ(status, kills ? SIGKILL : 0);
	close(pipes[0]);
	close(pipes[1]);
}

TEST_F(uring, process_ends)
{
	io_uring_queue_exit(&self->ring);
	process_ends(self->fd, variant->setup, variant->flags, false);
}

TEST_F(uring, process_killed)
{
	io_uring_queue_exit(&self->ring);
	process_ends(self->fd, variant->setup, variant->flags, true);
}

/* The descriptor is closed meanwhile: a parked command holds the file. */
TEST_F(uring, descriptor_closed)
{
	struct ioregionfd_fetch *arg;
	int fd = dup(self->fd);

	park(&self->ring, fd, &self->args[0], IOREGIONFD_ANY, variant->flags);
	/* With SQPOLL or a worker the command may not have begun. */
	usleep(50000);
	close(fd);
	self->ops[0] = vcpu_waits(self->threads, 0);
	TEST_ASSERT_EQ(uring_wait(&self->ring, &arg), 0);
	expect_cmd_of(arg, 0);
	TEST_ASSERT_EQ(commit_only(self->fd, arg->id, 9), 0);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(self->ops[0]->val, 9);
	io_uring_queue_exit(&self->ring);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
