// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: a device task that waits for a command may be stopped, frozen, traced
 * or made to do some task work, and does not notice.
 */
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define SYNC		MMIO_GPA
#define SYNC_DATA	USER_DATA(0)

#define SEC		1000000000l	/* in nanoseconds */

/* How the device task waits. */
enum wait {
	WAIT_IOCTL,
	WAIT_TIMED,	/* with a timeout that is far away */
	WAIT_MAILBOX,	/* the same, for one mailbox */
	WAIT_READ,
	WAIT_URING,
	WAIT_DEFER,	/* io_uring with deferred task work */
};

/**
 * struct task - a device task in a process of its own; in shared memory
 * @start: a socket over which it gets its channel and begins
 * @work: a pipe whose reader has work for each byte that comes
 * @timeout: for IOREGIONFD_COMMIT_AND_FETCH
 * @restart: flags of the SIGUSR1 handler
 * @handled: how often that handler ran
 * @nr: commands so far; command n is completed with the value 0x1000 + n
 * @started: it is about to wait for a command
 * @ended: it has got an error, @ret
 * @ret: the error
 * @id: what IOREGIONFD_COMMIT_AND_FETCH then left in the argument
 * @waited: how long the last call took, in ms
 */
struct task {
	pid_t pid;
	enum wait wait;
	long timeout;
	int restart;
	int start[2];
	int work[2];
	unsigned int handled;
	unsigned int nr;
	bool started;
	bool ended;
	int ret;
	uint64_t id;
	uint64_t waited;
};

static struct task *me;

static void task_handler(int sig)
{
	__atomic_fetch_add(&me->handled, 1, __ATOMIC_SEQ_CST);
}

static int task_next(struct task *t, struct server *s)
{
	if (t->wait == WAIT_READ)
		return server_read(s);
	s->arg.timeout = t->timeout;
	s->arg.vcpu = t->wait == WAIT_MAILBOX ? 0 : IOREGIONFD_ANY;
	if (t->wait < WAIT_READ)
		return commit_and_fetch(s->fd, &s->arg);
	uring_submit(&s->ring, s->fd, &s->arg, 0);
	return uring_wait(&s->ring, NULL);
}

static int task_get_channel(struct task *t)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(t->start[1], &msg, 0) != 1 || msg.msg_controllen < CMSG_LEN(sizeof(fd)))
		_exit(1);
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return fd;
}

static void task_main(struct task *t)
{
	struct sigaction sa = { .sa_handler = task_handler };
	struct server s = { 0 };
	struct io_uring_sqe *sqe;
	struct io_uring work;
	uint64_t begin;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	s.fd = task_get_channel(t);
	me = t;
	sa.sa_flags = t->restart;
	sigaction(SIGUSR1, &sa, NULL);
	if (t->wait >= WAIT_URING &&
	    io_uring_queue_init(8, &s.ring, t->wait == WAIT_DEFER ? IORING_SETUP_SINGLE_ISSUER |
				IORING_SETUP_DEFER_TASKRUN : 0))
		_exit(1);
	/* Task work that comes while it waits: some for each byte that can be read. */
	if (io_uring_queue_init(64, &work, 0))
		_exit(1);
	sqe = io_uring_get_sqe(&work);
	io_uring_prep_poll_multishot(sqe, t->work[0], POLLIN);
	if (io_uring_submit(&work) != 1)
		_exit(1);

	__atomic_store_n(&t->started, true, __ATOMIC_RELEASE);
	do {
		begin = now_ms();
		t->ret = task_next(t, &s);
		t->waited = now_ms() - begin;
		if (!t->ret)
			s.arg.data = 0x1000 + __atomic_add_fetch(&t->nr, 1, __ATOMIC_SEQ_CST);
	} while (!t->ret);
	t->id = s.arg.id;
	__atomic_store_n(&t->ended, true, __ATOMIC_RELEASE);
	/* It can still be stopped, by a test that has not seen yet that it ended. */
	for (;;)
		pause();
}

static bool task_ended(struct task *t)
{
	return __atomic_load_n(&t->ended, __ATOMIC_ACQUIRE);
}

/* Waits until the task sleeps in wait of a command. */
#define task_wait_asleep(t, what) __task_wait_asleep(t, what, __LINE__)
static void __task_wait_asleep(struct task *t, const char *what, int line)
{
	int i, asleep = 0;

	for (i = 0; asleep < 10 && i < HANG_SECONDS * 1000; i++) {
		TEST_ASSERT(!task_ended(t), "line %d: %s: the device task got %d", line, what,
			    t->ret);
		asleep = task_asleep(t->pid) ? asleep + 1 : 0;
		usleep(1000);
	}
	TEST_ASSERT(asleep, "line %d: %s: the device task does not sleep", line, what);
}

/*
 * The device task is started before there is a VM, so that the channel is all that it
 * has of the VM.
 */
static struct task *task_new(enum wait wait, long timeout)
{
	struct task *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	TEST_ASSERT(t != MAP_FAILED, "mmap() failed");
	t->wait = wait;
	t->timeout = timeout;
	TEST_ASSERT(!pipe(t->work), "pipe() failed");
	TEST_ASSERT(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, t->start), "socketpair() failed");
	pid = fork();
	TEST_ASSERT(pid >= 0, "fork() failed");
	if (!pid)
		task_main(t);
	t->pid = pid;
	return t;
}

static void task_start(struct task *t, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(fd))];
	} control = { 0 };
	struct iovec iov = { "", 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int i;

	control.header = (struct cmsghdr){ CMSG_LEN(sizeof(fd)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	TEST_ASSERT(sendmsg(t->start[0], &msg, 0) == 1, "sendmsg() failed");
	for (i = 0; !__atomic_load_n(&t->started, __ATOMIC_ACQUIRE) && i < HANG_SECONDS * 1000; i++)
		usleep(1000);
	TEST_ASSERT(t->started, "the device task does not start");
	task_wait_asleep(t, "at first");
}

static void task_end(struct task *t)
{
	if (t->pid) {
		kill(t->pid, SIGKILL);
		waitpid(t->pid, NULL, 0);
	}
	t->pid = 0;
}

/* Waits for the task to end with the error @want. */
#define task_join(t, want) __task_join(t, want, __LINE__)
static void __task_join(struct task *t, int want, int line)
{
	int i;

	for (i = 0; !task_ended(t) && i < HANG_SECONDS * 1000; i++)
		usleep(1000);
	TEST_ASSERT(task_ended(t), "line %d: the device task still waits", line);
	TEST_ASSERT(t->ret == want, "line %d: wanted %d, the device task got %d", line, want,
		    t->ret);
	TEST_ASSERT(!t->id, "line %d: the command has been completed, but id is 0x%lx", line,
		    t->id);
}

/* Checks that the device task completes a read of the guest. */
#define task_serves(t, thread) __task_serves(t, thread, __LINE__)
static void __task_serves(struct task *t, struct vcpu_thread *thread, int line)
{
	struct guest_op *op = op_read(thread->vcpu, 8, SYNC);
	unsigned int nr = t->nr;

	thread_start(thread);
	__thread_join_exit(thread, line);
	__expect_done(thread->vcpu, line);
	TEST_ASSERT(op->val == 0x1001 + nr, "line %d: wanted 0x%x, the guest got 0x%lx", line,
		    0x1001 + nr, op->val);
}

/*
 * What interrupts the task's wait, and for how long. Each returns NULL, or why it is
 * not possible.
 */

static const char *by_stop(struct task *t, unsigned int ms)
{
	int status;

	kill(t->pid, SIGSTOP);
	wait_stopped(t->pid, WUNTRACED, &status);
	usleep(ms * 1000);
	kill(t->pid, SIGCONT);
	return NULL;
}

static const char *by_seize(struct task *t, unsigned int ms)
{
	int status, i;

	if (ptrace(PTRACE_SEIZE, t->pid, NULL, NULL))
		return "no ptrace()";
	for (i = 0; i < 2; i++) {
		TEST_ASSERT(!ptrace(PTRACE_INTERRUPT, t->pid, NULL, NULL), "errno %d", errno);
		wait_stopped(t->pid, __WALL, &status);
		usleep(ms * 1000);
		if (!i)
			TEST_ASSERT(!ptrace(PTRACE_CONT, t->pid, NULL, 0), "errno %d", errno);
	}
	TEST_ASSERT(!ptrace(PTRACE_DETACH, t->pid, NULL, 0), "errno %d", errno);
	return NULL;
}

static const char *by_attach(struct task *t, unsigned int ms)
{
	int status;

	if (ptrace(PTRACE_ATTACH, t->pid, NULL, NULL))
		return "no ptrace()";
	wait_stopped(t->pid, __WALL, &status);
	usleep(ms * 1000);
	TEST_ASSERT(!ptrace(PTRACE_DETACH, t->pid, NULL, 0), "errno %d", errno);
	return NULL;
}

/* A debugger suppresses a signal. */
static const char *by_kept_signal(struct task *t, unsigned int ms)
{
	unsigned int handled = t->handled;
	int status;

	if (ptrace(PTRACE_SEIZE, t->pid, NULL, NULL))
		return "no ptrace()";
	kill(t->pid, SIGUSR1);
	wait_stopped(t->pid, __WALL, &status);
	TEST_ASSERT_EQ(WSTOPSIG(status), SIGUSR1);
	usleep(ms * 1000);
	TEST_ASSERT(!ptrace(PTRACE_CONT, t->pid, NULL, 0), "errno %d", errno);
	TEST_ASSERT(!ptrace(PTRACE_INTERRUPT, t->pid, NULL, NULL), "errno %d", errno);
	wait_stopped(t->pid, __WALL, &status);
	TEST_ASSERT(!ptrace(PTRACE_DETACH, t->pid, NULL, 0), "errno %d", errno);
	TEST_ASSERT_EQ(t->handled, handled);
	return NULL;
}

/* The task's own io_uring has task work for it. */
static const char *by_work(struct task *t, unsigned int ms)
{
	unsigned long nr = nr_sleeps(t->pid);
	int i;

	TEST_ASSERT(write(t->work[1], "", 1) == 1, "write() failed");
	for (i = 0; nr_sleeps(t->pid) == nr && !task_ended(t) && i < HANG_SECONDS * 1000; i++)
		usleep(1000);
	TEST_ASSERT(task_ended(t) || nr_sleeps(t->pid) > nr, "the task was not woken for its work");
	usleep(ms * 1000);
	return NULL;
}

/* A cgroup of our own, below a private mount. */
static char cgroup[64];

static bool cgroup_make(void)
{
	char root[] = "/tmp/ioregionfd-cgroup.XXXXXX";

	if (cgroup[0])
		return true;
	/* The mount goes with this process. */
	if (!mkdtemp(root) || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", root, "cgroup2", 0, NULL))
		return false;
	snprintf(cgroup, sizeof(cgroup), "%s/%d", root, getpid());
	return !mkdir(cgroup, 0755);
}

static bool cgroup_write(const char *file, const char *value)
{
	char path[128];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", cgroup, file);
	fd = open(path, O_WRONLY);
	done = fd >= 0 && write(fd, value, strlen(value)) > 0;
	close(fd);
	return done;
}

static bool cgroup_is_frozen(void)
{
	char path[128], events[256] = "";
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.events", cgroup);
	fd = open(path, O_RDONLY);
	n = read(fd, events, sizeof(events) - 1);
	close(fd);
	return n > 0 && strstr(events, "frozen 1");
}

static const char *by_freeze(struct task *t, unsigned int ms)
{
	char pid[16];
	int i;

	snprintf(pid, sizeof(pid), "%d", t->pid);
	if (!cgroup_make() || !cgroup_write("cgroup.procs", pid))
		return "no cgroup2";
	if (!cgroup_write("cgroup.freeze", "1"))
		return "no cgroup.freeze";
	for (i = 0; !cgroup_is_frozen() && i < HANG_SECONDS * 1000; i++)
		usleep(1000);
	TEST_ASSERT(cgroup_is_frozen(), "the cgroup does not freeze");
	usleep(ms * 1000);
	TEST_ASSERT(cgroup_write("cgroup.freeze", "0"), "the cgroup cannot be thawed");
	return NULL;
}

/* When it is empty. */
static void cgroup_remove(void)
{
	int i;

	if (!cgroup[0])
		return;
	for (i = 0; rmdir(cgroup) && i < 1000; i++)
		usleep(1000);
	*strrchr(cgroup, '/') = 0;
	umount2(cgroup, MNT_DETACH);
	rmdir(cgroup);
}

static const struct disturbance {
	const char *name;
	const char *(*make)(struct task *t, unsigned int ms);
} disturbances[] = {
	{ "SIGSTOP and SIGCONT", by_stop },
	{ "cgroup.freeze", by_freeze },
	{ "PTRACE_SEIZE and PTRACE_INTERRUPT", by_seize },
	{ "PTRACE_ATTACH", by_attach },
	{ "a signal that a debugger suppresses", by_kept_signal },
	{ "task work", by_work },
};

FIXTURE(waits)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct task *task;
};

FIXTURE_VARIANT(waits)
{
	enum wait wait;
};

FIXTURE_VARIANT_ADD(waits, ioctl) { WAIT_IOCTL };
FIXTURE_VARIANT_ADD(waits, ioctl_with_timeout) { WAIT_TIMED };
FIXTURE_VARIANT_ADD(waits, ioctl_for_a_mailbox) { WAIT_MAILBOX };
FIXTURE_VARIANT_ADD(waits, read) { WAIT_READ };
FIXTURE_VARIANT_ADD(waits, uring) { WAIT_URING };
FIXTURE_VARIANT_ADD(waits, uring_defer_taskrun) { WAIT_DEFER };

FIXTURE_SETUP(waits)
{
	bool timed = variant->wait == WAIT_TIMED || variant->wait == WAIT_MAILBOX;

	self->task = task_new(variant->wait, timed ? 1000 * SEC : -1);
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(waits)
{
	task_end(self->task);
	cgroup_remove();
	if (self->vm)
		kvm_vm_free(self->vm);
}

/* The task goes on waiting, at first and after it has completed something. */
static void waits_on(struct __test_metadata *_metadata, struct task *t,
		     struct vcpu_thread *thread, int fd, const struct disturbance *d)
{
	const char *why;
	int turn, i;

	task_start(t, fd);
	for (turn = 0; turn < 3; turn++) {
		for (i = 0; i < 3; i++) {
			why = d->make(t, 0);
			if (why)
				SKIP(return, "%s: %s", d->name, why);
			task_wait_asleep(t, d->name);
		}
		task_serves(t, thread);
		task_wait_asleep(t, "after a command");
		TEST_ASSERT_EQ(t->nr, turn + 1);
	}
}

TEST_F(waits, stopped)
{
	waits_on(_metadata, self->task, &self->thread, self->ch.dev_rd, &disturbances[0]);
}

TEST_F(waits, frozen)
{
	waits_on(_metadata, self->task, &self->thread, self->ch.dev_rd, &disturbances[1]);
}

TEST_F(waits, seized)
{
	waits_on(_metadata, self->task, &self->thread, self->ch.dev_rd, &disturbances[2]);
}

TEST_F(waits, attached)
{
	waits_on(_metadata, self->task, &self->thread, self->ch.dev_rd, &disturbances[3]);
}

TEST_F(waits, signal_kept)
{
	waits_on(_metadata, self->task, &self->thread, self->ch.dev_rd, &disturbances[4]);
}

TEST_F(waits, task_work)
{
	waits_on(_metadata, self->task, &self->thread, self->ch.dev_rd, &disturbances[5]);
}

/* A command that comes while the task is stopped is there when it continues. */
TEST_F(waits, command_while_stopped)
{
	struct task *t = self->task;
	struct guest_op *op;
	int status, i;

	task_start(t, self->ch.dev_rd);
	for (i = 0; i < 3; i++) {
		kill(t->pid, SIGSTOP);
		wait_stopped(t->pid, WUNTRACED, &status);
		op = op_read(self->vcpu, 8, SYNC);
		thread_start(&self->thread);
		thread_wait_asleep(&self->thread);
		kill(t->pid, SIGCONT);
		thread_join_done(&self->thread);
		TEST_ASSERT_EQ(op->val, 0x1001 + i);
		task_wait_asleep(t, "after a command");
	}
}

/*
 * A signal handler runs: IOREGIONFD_COMMIT_AND_FETCH returns EINTR, and read() does so
 * unless SA_RESTART is set.
 */
static void handler_runs(struct task *t, struct vcpu_thread *thread, int fd, int flags,
			 bool stopped)
{
	int status, i;

	t->restart = flags;
	task_start(t, fd);
	task_serves(t, thread);
	task_wait_asleep(t, "after a command");
	/* Restarted once, so that the handler ends a restarted wait. */
	by_stop(t, 0);
	task_wait_asleep(t, "SIGSTOP and SIGCONT");
	if (stopped) {
		kill(t->pid, SIGSTOP);
		wait_stopped(t->pid, WUNTRACED, &status);
	}
	kill(t->pid, SIGUSR1);
	kill(t->pid, SIGCONT);
	for (i = 0; !__atomic_load_n(&t->handled, __ATOMIC_SEQ_CST) && i < HANG_SECONDS * 1000;
	     i++)
		usleep(1000);
	TEST_ASSERT_EQ(t->handled, 1);
	if (t->wait < WAIT_READ || (t->wait == WAIT_READ && !flags)) {
		task_join(t, -EINTR);
		return;
	}
	task_wait_asleep(t, "a handler");
	task_serves(t, thread);
}

TEST_F(waits, handler)
{
	handler_runs(self->task, &self->thread, self->ch.dev_rd, 0, false);
}

TEST_F(waits, handler_sa_restart)
{
	handler_runs(self->task, &self->thread, self->ch.dev_rd, SA_RESTART, false);
}

TEST_F(waits, handler_while_stopped)
{
	handler_runs(self->task, &self->thread, self->ch.dev_rd, 0, true);
}

TEST_F(waits, handler_while_stopped_sa_restart)
{
	handler_runs(self->task, &self->thread, self->ch.dev_rd, SA_RESTART, true);
}

/* An IOREGIONFD_INTERRUPT is not lost meanwhile. */
TEST_F(waits, interrupted_while_stopped)
{
	struct task *t = self->task;
	int status;

	task_start(t, self->ch.dev_rd);
	task_serves(t, &self->thread);
	task_wait_asleep(t, "after a command");
	kill(t->pid, SIGSTOP);
	wait_stopped(t->pid, WUNTRACED, &status);
	TEST_ASSERT(!ioctl(self->ch.dev_rd, IOREGIONFD_INTERRUPT), "errno %d", errno);
	kill(t->pid, SIGCONT);
	if (variant->wait < WAIT_READ) {
		task_join(t, -ECANCELED);
		return;
	}
	/* It affects neither read() nor a command of io_uring. */
	task_wait_asleep(t, "IOREGIONFD_INTERRUPT");
	task_serves(t, &self->thread);
}

/* The end of the VM is not lost either. */
TEST_F(waits, end_while_stopped)
{
	struct task *t = self->task;
	int status;

	task_start(t, self->ch.dev_rd);
	kill(t->pid, SIGSTOP);
	wait_stopped(t->pid, WUNTRACED, &status);
	kvm_vm_free(self->vm);
	self->vm = NULL;
	kill(t->pid, SIGCONT);
	task_join(t, -ENODEV);
}

/*
 * A timeout is for the whole wait: interruptions do not start it anew.
 */
FIXTURE(timeout)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct channel ch;
	struct task *task;
	unsigned int ms;
};

FIXTURE_VARIANT(timeout)
{
	unsigned int index;
};

FIXTURE_VARIANT_ADD(timeout, stopped) { 0 };
FIXTURE_VARIANT_ADD(timeout, frozen) { 1 };
FIXTURE_VARIANT_ADD(timeout, seized) { 2 };
FIXTURE_VARIANT_ADD(timeout, attached) { 3 };
FIXTURE_VARIANT_ADD(timeout, signal_kept) { 4 };
FIXTURE_VARIANT_ADD(timeout, task_work) { 5 };

FIXTURE_SETUP(timeout)
{
	struct task *first = task_new(WAIT_TIMED, 1000 * SEC);
	uint64_t begin;

	self->task = task_new(WAIT_TIMED, 0);
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	/* An emulated or a busy machine takes long until a task waits. */
	begin = now_ms();
	task_start(first, self->ch.dev_rd);
	self->ms = 1500 + 10 * (now_ms() - begin);
	task_end(first);
	self->task->timeout = self->ms * (SEC / 1000);
}

FIXTURE_TEARDOWN(timeout)
{
	task_end(self->task);
	cgroup_remove();
	kvm_vm_free(self->vm);
}

TEST_F_TIMEOUT(timeout, only_the_rest, 60)
{
	const struct disturbance *d = &disturbances[variant->index];
	uint64_t begin = now_ms(), gap = self->ms / 5;
	struct task *t = self->task;
	const char *why;
	unsigned int nr;

	task_start(t, self->ch.dev_rd);
	/* Interrupted before the timeout is over, for much longer than that. */
	for (nr = 0; !task_ended(t) && now_ms() - begin < 10 * self->ms; nr++) {
		why = d->make(t, 0);
		if (why)
			SKIP(return, "%s: %s", d->name, why);
		usleep(gap * 1000);
	}
	TEST_ASSERT(task_ended(t), "after %u interruptions, in %lu ms, it still waits for %u ms",
		    nr, now_ms() - begin, self->ms);
	TEST_ASSERT(t->ret == -ETIMEDOUT, "%s: wanted -ETIMEDOUT, got %d", d->name, t->ret);
	TEST_ASSERT(t->waited >= self->ms, "%s: it waited for %lu ms, not %u", d->name,
		    t->waited, self->ms);
	TEST_ASSERT(nr, "it ended before any interruption");
}

/* The timeout is over by the time the task continues. */
TEST_F(timeout, over_meanwhile)
{
	const struct disturbance *d = &disturbances[variant->index];
	struct task *t = self->task;
	const char *why;

	task_start(t, self->ch.dev_rd);
	why = d->make(t, self->ms * 4 / 3);
	if (why)
		SKIP(return, "%s: %s", d->name, why);
	task_join(t, -ETIMEDOUT);
}

/* A wait that is to begin anew cannot without its argument: it fails, and nothing is lost. */
static void argument_goes(long timeout, bool while_stopped)
{
	struct vcpu_thread thread;
	struct ioregionfd_fetch *arg;
	struct kvm_vcpu *vcpu;
	struct task task = {};
	struct guest_op *op;
	struct kvm_vm *vm;
	struct channel ch;
	int fd, status, i;
	pid_t pid;

	vm = ioregion_vm_create(1, guest_script_main, &vcpu);
	ch = channel_open_for(vm, TR_NATIVE);
	region_add(vm, &ch, SYNC, 0x1000, SYNC_DATA, 0);
	vcpu_thread_init(&thread, vcpu);
	fd = memfd_create("argument", 0);
	TEST_ASSERT(fd >= 0 && !ftruncate(fd, getpagesize()), "errno %d", errno);
	arg = mmap(NULL, sizeof(*arg), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TEST_ASSERT(arg != MAP_FAILED, "errno %d", errno);
	*arg = (struct ioregionfd_fetch){ .vcpu = IOREGIONFD_ANY, .timeout = timeout };

	pid = fork();
	TEST_ASSERT(pid >= 0, "errno %d", errno);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(ioctl(ch.dev_rd, IOREGIONFD_COMMIT_AND_FETCH, arg) ? errno : 0);
	}
	/* If it were stopped earlier, it would find no argument at all. */
	task.pid = pid;
	task_wait_asleep(&task, "at first");
	if (!while_stopped)
		TEST_ASSERT(!ftruncate(fd, 0), "errno %d", errno);
	kill(pid, SIGSTOP);
	wait_stopped(pid, WUNTRACED, &status);
	if (while_stopped)
		TEST_ASSERT(!ftruncate(fd, 0), "errno %d", errno);
	kill(pid, SIGCONT);
	for (i = 0; !waitpid(pid, &status, WNOHANG) && i < HANG_SECONDS * 1000; i++)
		usleep(1000);
	if (i == HANG_SECONDS * 1000)
		kill(pid, SIGKILL);
	TEST_ASSERT(i < HANG_SECONDS * 1000, "the device task still waits");
	TEST_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == EFAULT,
		    "wanted EFAULT, the device task ended with status 0x%x", status);

	op = op_read(vcpu, 8, SYNC);
	thread_start(&thread);
	expect_cmd(dev_recv(&ch), cmd_read(8, SYNC_DATA, 0));
	dev_send(&ch, 5);
	thread_join_done(&thread);
	TEST_ASSERT_EQ(op->val, 5);
	munmap(arg, sizeof(*arg));
	close(fd);
	kvm_vm_free(vm);
	channel_close_kvm(&ch);
	channel_close_dev(&ch);
}

TEST(argument_goes_while_stopped)
{
	argument_goes(-1, true);
	argument_goes(100 * SEC, true);
}

TEST(argument_goes_while_asleep)
{
	argument_goes(-1, false);
	argument_goes(100 * SEC, false);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
