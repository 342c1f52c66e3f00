// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: how many device tasks can wait, and that none keeps a command from the
 * others.
 */
#include <sys/resource.h>

#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define SYNC		MMIO_GPA
#define POSTED		(MMIO_GPA + 0x1000)
#define SYNC_DATA	USER_DATA(0)
#define POSTED_DATA	USER_DATA(0x1000)

#define ANY		IOREGIONFD_ANY

#define MS		1000000l	/* in nanoseconds */

/* So many may wait on a channel: tasks that sleep, and commands parked by io_uring. */
#define MAX_WAITERS	(2 * MAX_VCPUS + 16)

/*
 * How many may wait.
 */
FIXTURE(waiters)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct vcpu_thread threads[MAX_VCPUS];
	struct channel ch;
	struct device dev;
	int fd;
	struct server_thread servers[MAX_WAITERS + 8];
};

FIXTURE_SETUP(waiters)
{
	int i;

	self->vm = ioregion_vm_create(MAX_VCPUS, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->fd = self->ch.dev_rd;
	self->dev.respond = device_respond_mem;
	memset(self->dev.mem, 0x5a, sizeof(self->dev.mem));
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(self->vm, &self->ch, POSTED, 0x1000, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	for (i = 0; i < MAX_VCPUS; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
}

FIXTURE_TEARDOWN(waiters)
{
	if (self->vm)
		kvm_vm_free(self->vm);
}

/* An io_uring, and how many commands it has submitted. */
struct parker {
	struct io_uring ring;
	struct ioregionfd_fetch args[256];
	unsigned int submitted;
	unsigned int refused;
};

static void parker_open(struct parker *p, unsigned int setup)
{
	int r = io_uring_queue_init(ARRAY_SIZE(p->args), &p->ring, setup);

	TEST_ASSERT(!r, "no io_uring: %d", r);
	p->submitted = 0;
	p->refused = 0;
}

/* Checks that only commands that found no room have completed. */
static void parker_reap(struct parker *p)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&p->ring, &cqe)) {
		TEST_ASSERT(cqe->res == -EBUSY, "a parked command ended: %d", cqe->res);
		io_uring_cqe_seen(&p->ring, cqe);
		p->refused++;
	}
}

static unsigned int parker_parked(struct parker *p)
{
	return p->submitted - p->refused;
}

/* Parks @nr commands for one mailbox, or as many as there is room for. */
static void parker_park(struct parker *p, int fd, uint32_t vcpu, unsigned int nr,
			unsigned int flags)
{
	struct io_uring_sqe *sqe;
	unsigned int i;
	int r;

	for (i = 0; i < nr; i++) {
		struct ioregionfd_fetch *arg = &p->args[i % ARRAY_SIZE(p->args)];

		*arg = (struct ioregionfd_fetch){ .vcpu = vcpu, .timeout = -1 };
		while (!(sqe = io_uring_get_sqe(&p->ring)))
			parker_reap(p);
		io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, arg, 0, 0);
		sqe->cmd_op = IOREGIONFD_COMMIT_AND_FETCH;
		sqe->flags = flags;
		r = io_uring_submit(&p->ring);
		TEST_ASSERT(r > 0, "io_uring_submit() failed: %d", r);
		p->submitted++;
		parker_reap(p);
	}
}

/* If other tasks do the work: waits until all that can be refused has been. */
static void parker_wait_refused(struct parker *p)
{
	int i;

	for (i = 0; parker_parked(p) > MAX_WAITERS && i < HANG_SECONDS * 1000; i++) {
		usleep(1000);
		parker_reap(p);
	}
	TEST_ASSERT(parker_parked(p) == MAX_WAITERS, "of %u, %u are parked and %u refused, not %u",
		    p->submitted, parker_parked(p), p->refused, p->submitted - MAX_WAITERS);
}

/* Checks that the full number of waiters fits more, however those before have ended. */
#define expect_room(fd, nr) __expect_room(fd, nr, __LINE__)
static void __expect_room(int fd, unsigned int nr, int line)
{
	struct ioregionfd_fetch arg = { .vcpu = 0, .timeout = 1 };
	static struct parker p;
	unsigned int i;

	parker_open(&p, 0);
	/* Those cancelled with their ring may end a little later. */
	for (i = 0; parker_parked(&p) < nr && i < HANG_SECONDS * 1000; i++) {
		parker_park(&p, fd, MAX_VCPUS - 1, 1, 0);
		if (p.refused)
			usleep(1000);
	}
	TEST_ASSERT(parker_parked(&p) == nr, "line %d: there is room for %u, not %u", line,
		    parker_parked(&p), nr);
	p.refused = 0;
	p.submitted = 0;
	parker_park(&p, fd, MAX_VCPUS - 1, 1, 0);
	TEST_ASSERT(p.refused == 1, "line %d: there is room for more than %u", line, nr);
	io_uring_queue_exit(&p.ring);
	/* These do not end at once either. */
	for (i = 0; commit_and_fetch(fd, &arg) == -EBUSY && i < HANG_SECONDS * 1000; i++)
		usleep(1000);
}

/* Fetching a command that is already pending needs no room. */
static void serve_one(int fd, struct vcpu_thread *thread)
{
	struct ioregionfd_fetch arg = fetch_arg(thread->vcpu->id);
	struct guest_op *op = op_read(thread->vcpu, 8, SYNC);

	thread_start(thread);
	thread_wait_asleep(thread);
	TEST_ASSERT_EQ(commit_and_fetch(fd, &arg), 0);
	TEST_ASSERT_EQ(commit_only(fd, arg.id, 0x77), 0);
	thread_join_done(thread);
	TEST_ASSERT_EQ(op->val, 0x77);
}

static struct parker parker;

static void parked_are_bounded(int fd, struct vcpu_thread *thread, unsigned int setup,
			       unsigned int flags, unsigned int nr)
{
	struct ioregionfd_fetch arg = fetch_arg(0);

	parker_open(&parker, setup);
	parker_park(&parker, fd, 1, nr, flags);
	parker_wait_refused(&parker);

	/* No room for a task that would sleep either, nor for read(). */
	TEST_ASSERT_EQ(commit_and_fetch(fd, &arg), -EBUSY);
	TEST_ASSERT(read(fd, &arg.cmd, sizeof(arg.cmd)) < 0 && errno == EBUSY, "errno %d", errno);
	/* But a call that need not wait works as always. */
	serve_one(fd, thread);
	arg = fetch_arg(0);
	arg.timeout = 0;
	TEST_ASSERT_EQ(commit_and_fetch(fd, &arg), -EAGAIN);

	io_uring_queue_exit(&parker.ring);
	expect_room(fd, MAX_WAITERS);
}

TEST_F_TIMEOUT(waiters, parked, 120)
{
	parked_are_bounded(self->fd, &self->threads[0], 0, 0, 12800);
}

TEST_F_TIMEOUT(waiters, parked_defer_taskrun, 120)
{
	parked_are_bounded(self->fd, &self->threads[0],
			   IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0, 12800);
}

TEST_F_TIMEOUT(waiters, parked_sqpoll, 120)
{
	parked_are_bounded(self->fd, &self->threads[0], IORING_SETUP_SQPOLL, 0, 2000);
}

TEST_F_TIMEOUT(waiters, parked_async, 120)
{
	parked_are_bounded(self->fd, &self->threads[0], 0, IOSQE_ASYNC, 200);
}

/* Several rings and sleeping tasks share one limit. */
TEST_F_TIMEOUT(waiters, of_all_kinds, 120)
{
	static struct parker other;
	enum mode modes[] = { MODE_IOCTL, MODE_READ, MODE_URING };
	unsigned int i, ended = 0, nr = 0;

	parker_open(&parker, 0);
	parker_open(&other, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	parker_park(&parker, self->fd, 1, 5, 0);
	parker_park(&other, self->fd, ANY, 4, 0);
	for (i = 0; i < MAX_WAITERS - 9; i++) {
		server_start(&self->servers[nr], &self->dev, self->fd, modes[i % 3], ANY);
		server_wait_asleep(&self->servers[nr++]);
	}
	for (i = 0; i < 6; i++)
		server_start(&self->servers[nr++], &self->dev, self->fd, modes[i % 3],
			     ANY);
	for (i = 0; i < 6; i++) {
		struct server_thread *t = &self->servers[MAX_WAITERS - 9 + i];
		int ms;

		for (ms = 0; ms < 1000 && !__atomic_load_n(&t->ended, __ATOMIC_ACQUIRE); ms++)
			usleep(1000);
		ended += __atomic_load_n(&t->ended, __ATOMIC_ACQUIRE);
	}
	TEST_ASSERT(ended == 6, "of 6 that are too many, %u were refused", ended);
	for (i = 0; i < 6; i++)
		server_join(&self->servers[MAX_WAITERS - 9 + i], -EBUSY);
	parker_park(&parker, self->fd, ANY, 1, 0);
	TEST_ASSERT_EQ(parker.refused, 1);

	/* All of them end with the VM. */
	kvm_vm_free(self->vm);
	self->vm = NULL;
	for (i = 0; i < MAX_WAITERS - 9; i++)
		server_join(&self->servers[i], -ENODEV);
	for (i = 0; i < 5; i++)
		TEST_ASSERT_EQ(uring_wait(&parker.ring, NULL), -ENODEV);
	for (i = 0; i < 4; i++)
		TEST_ASSERT_EQ(uring_wait(&other.ring, NULL), -ENODEV);
	io_uring_queue_exit(&parker.ring);
	io_uring_queue_exit(&other.ring);
}

/* A call that finds no room has completed its command all the same, and says so in id. */
TEST_F(waiters, refused_after_the_response)
{
	struct ioregionfd_fetch arg = fetch_arg(0);
	struct guest_op *op = op_read(self->vcpus[0], 8, SYNC);

	parker_open(&parker, 0);
	parker_park(&parker, self->fd, 1, MAX_WAITERS, 0);
	TEST_ASSERT_EQ(parker.refused, 0);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	arg.data = 0x88;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EBUSY);
	TEST_ASSERT_EQ(arg.id, 0);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x88);

	/* With io_uring too: id is 0 if the command has been completed. */
	op = op_read(self->vcpus[0], 8, SYNC);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	arg = fetch_arg(0);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	arg.data = 0x99;
	arg.timeout = -1;
	uring_submit(&parker.ring, self->fd, &arg, 0);
	TEST_ASSERT_EQ(uring_wait(&parker.ring, NULL), -EBUSY);
	if (arg.id)
		TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0x99), 0);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x99);
	io_uring_queue_exit(&parker.ring);
}

/* However a wait ends, its room becomes free. */
TEST_F_TIMEOUT(waiters, room_comes_back, 120)
{
	struct sigaction no_restart = { .sa_handler = sigusr1_handler };
	struct server_thread *server = self->servers;
	struct ioregionfd_fetch arg, *done;
	unsigned int i;

	for (i = 0; i < 4 * MAX_WAITERS; i++) {
		arg = (struct ioregionfd_fetch){ .vcpu = i % MAX_VCPUS, .timeout = MS / 10 };
		TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -ETIMEDOUT);
	}
	expect_room(self->fd, MAX_WAITERS);

	for (i = 0; i < 4 * MAX_WAITERS; i++) {
		TEST_ASSERT(!ioctl(self->fd, IOREGIONFD_INTERRUPT), "errno %d", errno);
		arg = fetch_arg(ANY);
		TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -ECANCELED);
	}
	expect_room(self->fd, MAX_WAITERS);

	/* Ended by a signal, in each of the calls that sleep. */
	sigaction(SIGUSR2, &no_restart, NULL);
	for (i = 0; i < 2 * MAX_WAITERS; i++) {
		memset(server, 0, sizeof(*server));
		server_start(server, &self->dev, self->fd, i & 1 ? MODE_READ : MODE_IOCTL, ANY);
		server_wait_asleep(server);
		pthread_kill(server->thread, SIGUSR2);
		server_join(server, -EINTR);
	}
	expect_room(self->fd, MAX_WAITERS);

	/* Ended by a command for the one that is parked. */
	parker_open(&parker, 0);
	for (i = 0; i < 2 * MAX_WAITERS; i++) {
		op_read(self->vcpus[0], 8, SYNC);
		parker.args[0] = (struct ioregionfd_fetch){ .vcpu = 0, .timeout = -1 };
		uring_submit(&parker.ring, self->fd, &parker.args[0], 0);
		thread_start(&self->threads[0]);
		TEST_ASSERT_EQ(uring_wait(&parker.ring, &done), 0);
		TEST_ASSERT_EQ(commit_only(self->fd, done->id, 0), 0);
		thread_join_done(&self->threads[0]);
	}
	expect_room(self->fd, MAX_WAITERS);

	/* Ended with the ring that parked them. */
	io_uring_queue_exit(&parker.ring);
	for (i = 0; i < 8; i++) {
		parker_open(&parker, i & 1 ? 0 : IORING_SETUP_SINGLE_ISSUER |
						 IORING_SETUP_DEFER_TASKRUN);
		parker_park(&parker, self->fd, i % MAX_VCPUS, MAX_WAITERS / 2, 0);
		io_uring_queue_exit(&parker.ring);
		expect_room(self->fd, MAX_WAITERS);
	}
}

/*
 * A wake-up must not go to a task that may never come if there is another. A ring with
 * deferred task work does not run until its task enters it more, and a stopped task
 * does not run at all.
 */
FIXTURE(absent)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct vcpu_thread threads[MAX_VCPUS];
	struct channel ch;
	struct device dev;
	int fd;
	pid_t stopped;
	struct server_thread servers[3];
};

FIXTURE_VARIANT(absent)
{
	uint32_t parked;	/* the vCPU to park for */
	enum mode mode;		/* how the other task sleeps */
	uint32_t vcpu;		/* the vCPU that the other task serves */
	bool stopped;		/* the task that parks is stopped, not only away */
};

FIXTURE_VARIANT_ADD(absent, mailbox_mailbox) { 0, MODE_IOCTL, 0 };
FIXTURE_VARIANT_ADD(absent, mailbox_any) { 0, MODE_IOCTL, ANY };
FIXTURE_VARIANT_ADD(absent, mailbox_read) { 0, MODE_READ, ANY };
FIXTURE_VARIANT_ADD(absent, any_mailbox) { ANY, MODE_IOCTL, 0 };
FIXTURE_VARIANT_ADD(absent, any_any) { ANY, MODE_IOCTL, ANY };
FIXTURE_VARIANT_ADD(absent, any_read) { ANY, MODE_READ, ANY };
FIXTURE_VARIANT_ADD(absent, any_poll) { ANY, MODE_POLL, ANY };
FIXTURE_VARIANT_ADD(absent, stopped_mailbox_any) { 0, MODE_IOCTL, ANY, true };
FIXTURE_VARIANT_ADD(absent, stopped_any_mailbox) { ANY, MODE_IOCTL, 0, true };
FIXTURE_VARIANT_ADD(absent, stopped_any_read) { ANY, MODE_READ, ANY, true };

FIXTURE_SETUP(absent)
{
	int i;

	self->vm = ioregion_vm_create(MAX_VCPUS, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->fd = self->ch.dev_rd;
	self->dev.respond = device_respond_mem;
	memset(self->dev.mem, 0x5a, sizeof(self->dev.mem));
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(self->vm, &self->ch, POSTED, 0x1000, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	for (i = 0; i < MAX_VCPUS; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
}

FIXTURE_TEARDOWN(absent)
{
	if (self->stopped) {
		kill(self->stopped, SIGKILL);
		waitpid(self->stopped, NULL, 0);
	}
	kvm_vm_free(self->vm);
}

/* Parks commands by a task that will not come back. Returns its pid if it is a process. */
static pid_t park_absent(int fd, uint32_t vcpu, bool stopped)
{
	pid_t pid = 0;
	int status;

	if (stopped) {
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork() failed");
	}
	if (!pid) {
		parker_open(&parker, stopped ? 0 : IORING_SETUP_SINGLE_ISSUER |
						   IORING_SETUP_DEFER_TASKRUN);
		parker_park(&parker, fd, vcpu, 5, 0);
		TEST_ASSERT_EQ(parker.refused, 0);
		if (!stopped)
			return 0;
		raise(SIGSTOP);
		_exit(0);
	}
	TEST_ASSERT_EQ(waitpid(pid, &status, WUNTRACED), pid);
	TEST_ASSERT(WIFSTOPPED(status), "the task that parks has failed");
	return pid;
}

static void expect_served(struct vcpu_thread *thread, struct server_thread *server,
			  const char *what)
{
	unsigned int nr = __atomic_load_n(&server->nr, __ATOMIC_ACQUIRE);
	int i;

	thread_start(thread);
	for (i = 0; i < 3000 && !thread_returned(thread); i++)
		usleep(1000);
	TEST_ASSERT(thread_returned(thread),
		    "%s: the task that sleeps has not been woken; the vCPU waits", what);
	thread_join_done(thread);
	for (i = 0; i < 3000 && __atomic_load_n(&server->nr, __ATOMIC_ACQUIRE) == nr; i++)
		usleep(1000);
	TEST_ASSERT(__atomic_load_n(&server->nr, __ATOMIC_ACQUIRE) == nr + 1,
		    "%s: the task that sleeps has not fetched it", what);
}

TEST_F(absent, another_sleeps)
{
	struct server_thread *server = self->servers;
	struct guest_op *op;
	int i;

	self->stopped = park_absent(self->fd, variant->parked, variant->stopped);
	server_start(server, &self->dev, self->fd, variant->mode, variant->vcpu);
	for (i = 0; i < 3; i++) {
		server_wait_asleep(server);
		op = op_read(self->vcpus[0], 8, SYNC);
		expect_served(&self->threads[0], server, "a read");
		TEST_ASSERT_EQ(op->val, 0x5a5a5a5a5a5a5a5a);

		server_wait_asleep(server);
		op_write(self->vcpus[0], 8, POSTED, 1);
		/* A task that waits for one vCPU also gets posted writes. */
		expect_served(&self->threads[0], server, "a posted write");
	}
}

/* Also if the other task was there first. */
TEST_F(absent, another_slept_first)
{
	struct server_thread *server = self->servers;

	server_start(server, &self->dev, self->fd, variant->mode, variant->vcpu);
	server_wait_asleep(server);
	self->stopped = park_absent(self->fd, variant->parked, variant->stopped);
	op_read(self->vcpus[0], 8, SYNC);
	expect_served(&self->threads[0], server, "a read");
	server_wait_asleep(server);
	op_read(self->vcpus[0], 8, SYNC);
	expect_served(&self->threads[0], server, "a second read");
}

/* Several commands at once: each sleeping task is woken for one. */
TEST_F(absent, several_sleep)
{
	int i;

	self->stopped = park_absent(self->fd, variant->parked, variant->stopped);
	for (i = 0; i < 3; i++) {
		server_start(&self->servers[i], &self->dev, self->fd, MODE_IOCTL, ANY);
		server_wait_asleep(&self->servers[i]);
	}
	for (i = 0; i < 3; i++)
		op_read(self->vcpus[i], 8, SYNC + 0x100 * i);
	for (i = 0; i < 3; i++)
		thread_start(&self->threads[i]);
	for (i = 0; i < 3; i++)
		thread_join_done(&self->threads[i]);
}

/* A command that found nobody else goes to whoever comes next. */
TEST_F(absent, another_comes_late)
{
	struct server_thread *server = self->servers;

	self->stopped = park_absent(self->fd, variant->parked, variant->stopped);
	op_read(self->vcpus[0], 8, SYNC);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	server_start(server, &self->dev, self->fd, variant->mode, variant->vcpu);
	thread_join_done(&self->threads[0]);
	/* The next command finds the task asleep. */
	server_wait_asleep(server);
	op_read(self->vcpus[0], 8, SYNC);
	expect_served(&self->threads[0], server, "the next read");
}

/*
 * A task may give up at the very moment at which it is woken; then the command goes to
 * one that is parked.
 */
TEST_F_TIMEOUT(waiters, gives_up_when_woken, 120)
{
	struct server_thread *parked = self->servers;
	unsigned int turn, fetched = 0;
	struct ioregionfd_fetch arg;
	int r;

	server_start(parked, &self->dev, self->fd, MODE_URING, ANY);
	for (turn = 0; turn < 200; turn++) {
		server_wait_asleep(parked);
		op_read(self->vcpus[0], 8, SYNC);
		thread_start(&self->threads[0]);
		arg = (struct ioregionfd_fetch){ .vcpu = ANY, .timeout = 1000 * turn + 1 };
		r = commit_and_fetch(self->fd, &arg);
		if (!r) {
			fetched++;
			TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0), 0);
		} else {
			TEST_ASSERT_EQ(r, -ETIMEDOUT);
		}
		thread_join_done(&self->threads[0]);
	}
	printf("# %u of %u were for the task that sleeps\n", fetched, turn);
}

/*
 * The end of the VM ends every wait, however many there are and of whatever kind.
 */
FIXTURE(end)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct vcpu_thread thread;
	struct channel ch;
	struct device dev;
	struct server_thread servers[16];
};

FIXTURE_VARIANT(end)
{
	enum mode modes[4];
	unsigned int nr;
};

#define MIX(...) { __VA_ARGS__ }
FIXTURE_VARIANT_ADD(end, ioctl) { MIX(MODE_IOCTL), 1 };
FIXTURE_VARIANT_ADD(end, read) { MIX(MODE_READ), 1 };
FIXTURE_VARIANT_ADD(end, poll) { MIX(MODE_POLL, MODE_EPOLL), 2 };
FIXTURE_VARIANT_ADD(end, uring) { MIX(MODE_URING, MODE_URING_ASYNC), 2 };
FIXTURE_VARIANT_ADD(end, mixed) { MIX(MODE_IOCTL, MODE_READ, MODE_URING, MODE_EPOLL), 4 };

FIXTURE_SETUP(end)
{
	int i;

	self->vm = ioregion_vm_create(MAX_VCPUS, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->dev.respond = device_respond_mem;
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	vcpu_thread_init(&self->thread, self->vcpus[0]);
	for (i = 0; i < ARRAY_SIZE(self->servers); i++) {
		server_start(&self->servers[i], &self->dev, self->ch.dev_rd,
			     variant->modes[i % variant->nr], i & 8 ? (uint32_t)i % 4 : ANY);
		server_wait_asleep(&self->servers[i]);
	}
}

FIXTURE_TEARDOWN(end)
{
	int i;

	kvm_vm_free(self->vm);
	for (i = 0; i < ARRAY_SIZE(self->servers); i++)
		server_join(&self->servers[i], -ENODEV);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

TEST_F(end, of_a_vm)
{
}

/* The same if each of the waiters has been at work. */
TEST_F(end, of_a_vm_that_ran)
{
	struct guest_op op = { OP_READ, 8, SYNC };

	op.count = 64;
	op_add(self->vcpus[0], op);
	thread_start(&self->thread);
	thread_join_done(&self->thread);
}

/* Removing and adding regions ends no wait. */
TEST_F(end, of_regions)
{
	region_del(self->vm, SYNC, 0x1000, 0);
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	op_read(self->vcpus[0], 8, SYNC);
	thread_start(&self->thread);
	thread_join_done(&self->thread);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 4096, 4096 };

	setrlimit(RLIMIT_NOFILE, &files);
	return ioregion_test_main(argc, argv);
}
