// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: a device task that waits for a command may be stopped, frozen, traced
 * or made to do some task work, and does not notice. And its read() and write() behave
 * as on a SOCK_SEQPACKET socket, however many segments their buffers have.
 */
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

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
	_exit(0);
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

/* Bounded waits for the state of another process. */

static void wait_stopped(pid_t pid, int options, int *status)
{
	int i, r = 0;

	for (i = 0; !r && i < HANG_SECONDS * 1000; i++) {
		r = waitpid(pid, status, options | WNOHANG);
		if (!r)
			usleep(1000);
	}
	TEST_ASSERT(r == pid && WIFSTOPPED(*status), "process %d does not stop: waitpid() %d",
		    pid, r);
}

/* How many times the process has gone to sleep. */
static unsigned long nr_sleeps(pid_t pid)
{
	static const char name[] = "voluntary_ctxt_switches:";
	unsigned long nr = 0;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	TEST_ASSERT(f, "cannot open %s", path);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, sizeof(name) - 1))
			nr = strtoul(line + sizeof(name) - 1, NULL, 10);
	}
	fclose(f);
	return nr;
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

#define TIMEOUT_MS	1500

FIXTURE_SETUP(timeout)
{
	self->task = task_new(WAIT_TIMED, TIMEOUT_MS * (SEC / 1000));
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
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
	uint64_t begin = now_ms(), gap = TIMEOUT_MS / 5;
	struct task *t = self->task;
	const char *why;
	unsigned int nr;

	task_start(t, self->ch.dev_rd);
	/* Interrupted before the timeout is over, for much longer than that. */
	for (nr = 0; !task_ended(t) && now_ms() - begin < 10 * TIMEOUT_MS; nr++) {
		why = d->make(t, 0);
		if (why)
			SKIP(return, "%s: %s", d->name, why);
		usleep(gap * 1000);
	}
	TEST_ASSERT(task_ended(t), "after %u interruptions, in %lu ms, it still waits for %u ms",
		    nr, now_ms() - begin, TIMEOUT_MS);
	TEST_ASSERT(t->ret == -ETIMEDOUT, "%s: wanted -ETIMEDOUT, got %d", d->name, t->ret);
	TEST_ASSERT(t->waited >= TIMEOUT_MS, "%s: it waited for %lu ms, not %u", d->name,
		    t->waited, TIMEOUT_MS);
	TEST_ASSERT(nr, "it ended before any interruption");
}

/* The timeout is over by the time the task continues. */
TEST_F(timeout, over_meanwhile)
{
	const struct disturbance *d = &disturbances[variant->index];
	struct task *t = self->task;
	const char *why;

	task_start(t, self->ch.dev_rd);
	why = d->make(t, TIMEOUT_MS * 4 / 3);
	if (why)
		SKIP(return, "%s: %s", d->name, why);
	task_join(t, -ETIMEDOUT);
}

/*
 * read() and write() with several segments, compared with what a socket does.
 */
FIXTURE(segments)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	int fd;
	int socket[2];
};

FIXTURE_SETUP(segments)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->fd = self->ch.dev_rd;
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	vcpu_thread_init(&self->thread, self->vcpu);
	TEST_ASSERT(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, self->socket), "no socketpair()");
}

FIXTURE_TEARDOWN(segments)
{
	kvm_vm_free(self->vm);
}

/* A call that may never return, in a thread. */
struct segments {
	pthread_t thread;
	int fd;
	bool write;
	struct iovec iov[40];
	int nr;
	ssize_t ret;
	bool done;
};

static void *segments_main(void *arg)
{
	struct segments *p = arg;

	p->ret = p->write ? writev(p->fd, p->iov, p->nr) : readv(p->fd, p->iov, p->nr);
	if (p->ret < 0)
		p->ret = -errno;
	__atomic_store_n(&p->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Returns the result of the call, or -ETIME if it does not return. */
static ssize_t segments_call(int fd, bool write, void *buf, const unsigned int *sizes, int nr)
{
	static struct segments p;
	int i, r;

	p = (struct segments){ .fd = fd, .write = write, .nr = nr };
	for (i = 0; i < nr; i++) {
		p.iov[i] = (struct iovec){ buf, sizes[i] };
		buf += sizes[i];
	}
	r = pthread_create(&p.thread, NULL, segments_main, &p);
	TEST_ASSERT(!r, "pthread_create() failed: %d", r);
	for (i = 0; !__atomic_load_n(&p.done, __ATOMIC_ACQUIRE); i++) {
		if (i == 3000)
			return -ETIME;
		usleep(1000);
	}
	pthread_join(p.thread, NULL);
	return p.ret;
}

static const struct segments_case {
	const char *name;
	unsigned int sizes[33];
	int nr;
} read_cases[] = {
	{ "32", { 32 }, 1 },
	{ "16 + 16", { 16, 16 }, 2 },
	{ "32 + 32", { 32, 32 }, 2 },
	{ "8 + 24", { 8, 24 }, 2 },
	{ "1 + 31", { 1, 31 }, 2 },
	{ "24 + 16", { 24, 16 }, 2 },
	{ "0 + 32", { 0, 32 }, 2 },
	{ "32 + 0", { 32, 0 }, 2 },
	{ "33", { 33 }, 1 },
	{ "64", { 64 }, 1 },
	{ "32 times 1", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
			  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 32 },
	{ "32 times 1 + 8", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
			      1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8 }, 33 },
}, write_cases[] = {
	{ "32", { 32 }, 1 },
	{ "16 + 16", { 16, 16 }, 2 },
	{ "8 + 24", { 8, 24 }, 2 },
	{ "24 + 8", { 24, 8 }, 2 },
	{ "0 + 32", { 0, 32 }, 2 },
	{ "32 times 1", { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
			  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 32 },
}, bad_write_cases[] = {
	{ "31", { 31 }, 1 },
	{ "33", { 33 }, 1 },
	{ "24 + 16", { 24, 16 }, 2 },
	{ "16 + 8", { 16, 8 }, 2 },
	{ "32 + 32", { 32, 32 }, 2 },
	{ "32 + 1", { 32, 1 }, 2 },
};

/* One read gets one command, wherever its segments are. */
TEST_F_TIMEOUT(segments, readv, 120)
{
	struct ioregionfd_cmd cmds[4], want = cmd_read(8, SYNC_DATA, 0x18), got;
	struct ioregionfd_resp resp = { .data = 0x77 };
	ssize_t on_socket, n;
	int i, flags;

	/* Each once with a wait and once without. */
	for (i = 0; i < 2 * ARRAY_SIZE(read_cases); i++) {
		const struct segments_case *c = &read_cases[i / 2];

		flags = fcntl(self->fd, F_GETFL);
		fcntl(self->fd, F_SETFL, i & 1 ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
		TEST_ASSERT_EQ(write(self->socket[0], &want, sizeof(want)), sizeof(want));
		on_socket = segments_call(self->socket[1], false, cmds, c->sizes, c->nr);
		TEST_ASSERT_EQ(on_socket, sizeof(want));

		op_read(self->vcpu, 8, SYNC + 0x18);
		thread_start(&self->thread);
		thread_wait_asleep(&self->thread);
		memset(cmds, 0xff, sizeof(cmds));
		n = segments_call(self->fd, false, cmds, c->sizes, c->nr);
		TEST_ASSERT(n == on_socket, "read of %s%s: %zd (%d: it waits), a socket says %zd",
			    c->name, i & 1 ? ", O_NONBLOCK" : "", n, -ETIME, on_socket);
		memcpy(&got, cmds, sizeof(got));
		expect_cmd(got, want);
		TEST_ASSERT_EQ(((uint8_t *)cmds)[32], 0xff);
		TEST_ASSERT_EQ(write(self->fd, &resp, sizeof(resp)), sizeof(resp));
		thread_join_done(&self->thread);
	}
}

/*
 * Too little room: a socket would return a part of the message and lose the rest. A
 * native channel refuses, and loses nothing.
 */
TEST_F(segments, readv_too_little)
{
	static const struct segments_case cases[] = {
		{ "31", { 31 }, 1 }, { "16 + 8", { 16, 8 }, 2 }, { "1", { 1 }, 1 },
		{ "0 + 31", { 0, 31 }, 2 },
	};
	struct ioregionfd_cmd cmds[2], want = cmd_read(8, SYNC_DATA, 0x18);
	ssize_t n;
	int i;

	op_read(self->vcpu, 8, SYNC + 0x18);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		n = segments_call(self->fd, false, cmds, cases[i].sizes, cases[i].nr);
		TEST_ASSERT(n == -EINVAL, "read of %s: wanted -EINVAL, got %zd", cases[i].name, n);
	}
	expect_cmd(dev_recv(&self->ch), want);
	TEST_ASSERT_EQ(write(self->fd, &(struct ioregionfd_resp){ 0 }, 32), 32);
	thread_join_done(&self->thread);
}

/* A segment that cannot be written: the next reader gets the command. */
TEST_F(segments, readv_fault)
{
	struct ioregionfd_cmd cmd, want = cmd_read(8, SYNC_DATA, 0x18);
	struct iovec bad[][2] = {
		{ { &cmd, 16 }, { (void *)16, 16 } },
		{ { (void *)16, 16 }, { &cmd, 16 } },
		{ { &cmd, 31 }, { (void *)16, 1 } },
	};
	ssize_t n;
	int i;

	fcntl(self->fd, F_SETFL, O_RDWR | O_NONBLOCK);
	op_read(self->vcpu, 8, SYNC + 0x18);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		n = readv(self->fd, bad[i], 2);
		TEST_ASSERT(n < 0 && errno == EFAULT, "case %d: %zd, errno %d", i, n, errno);
	}
	expect_cmd(dev_recv(&self->ch), want);
	TEST_ASSERT_EQ(write(self->fd, &(struct ioregionfd_resp){ 0 }, 32), 32);
	thread_join_done(&self->thread);
}

/* One write is one response, wherever its segments are. */
TEST_F_TIMEOUT(segments, writev, 60)
{
	struct ioregionfd_resp resp = { 0 }, got;
	struct guest_op *op;
	ssize_t n;
	int i;

	for (i = 0; i < ARRAY_SIZE(write_cases); i++) {
		const struct segments_case *c = &write_cases[i];

		resp.data = 0x1122334455667700 + i;
		n = segments_call(self->socket[0], true, &resp, c->sizes, c->nr);
		TEST_ASSERT_EQ(n, sizeof(resp));
		TEST_ASSERT_EQ(read(self->socket[1], &got, sizeof(got)), sizeof(got));
		TEST_ASSERT_EQ(got.data, resp.data);

		op = op_read(self->vcpu, 8, SYNC);
		thread_start(&self->thread);
		dev_recv(&self->ch);
		n = segments_call(self->fd, true, &resp, c->sizes, c->nr);
		TEST_ASSERT(n == sizeof(resp), "write of %s: %zd, a socket says %zu", c->name, n,
			    sizeof(resp));
		thread_join_done(&self->thread);
		TEST_ASSERT_EQ(op->val, resp.data);
	}
}

/*
 * What is not a valid response on a socket is not one here; a vCPU that waits for one
 * goes on waiting.
 */
TEST_F_TIMEOUT(segments, writev_wrong_size, 60)
{
	struct ioregionfd_resp resps[2] = { { .data = 0xbad }, { .data = 0xbad } };
	struct ioregionfd_resp resp = { .data = 0x600d };
	struct iovec bad[2] = { { &resps[0], 8 }, { (void *)16, 24 } };
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);
	ssize_t n;
	int i;

	thread_start(&self->thread);
	dev_recv(&self->ch);
	for (i = 0; i < ARRAY_SIZE(bad_write_cases); i++) {
		const struct segments_case *c = &bad_write_cases[i];

		n = segments_call(self->fd, true, resps, c->sizes, c->nr);
		TEST_ASSERT(n == -EINVAL, "write of %s: wanted -EINVAL, got %zd", c->name, n);
	}
	n = writev(self->fd, bad, 2);
	TEST_ASSERT(n < 0 && errno == EFAULT, "%zd, errno %d", n, errno);
	/* It has not been completed. */
	thread_wait_asleep(&self->thread);
	TEST_ASSERT_EQ(write(self->fd, &resp, sizeof(resp)), sizeof(resp));
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x600d);
}

/* Reserved bytes are refused, so that they can get a meaning one day. */
TEST_F(segments, pad_not_zero)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);
	struct ioregionfd_resp resp;
	ssize_t n;
	int i;

	thread_start(&self->thread);
	dev_recv(&self->ch);
	for (i = offsetof(struct ioregionfd_resp, pad); i < sizeof(resp); i++) {
		resp = (struct ioregionfd_resp){ .data = 0xbad };
		((uint8_t *)&resp)[i] = 1 << i % 8;
		n = write(self->fd, &resp, sizeof(resp));
		TEST_ASSERT(n < 0 && errno == EINVAL, "byte %d: %zd, errno %d", i, n, errno);
	}
	for (i = 2; i < 32; i++) {
		resp = (struct ioregionfd_resp){ .data = 0xbad, .status = 1u << i };
		n = write(self->fd, &resp, sizeof(resp));
		TEST_ASSERT(n < 0 && errno == EINVAL, "status bit %d: %zd, errno %d", i, n, errno);
	}
	/* It has not been completed. */
	thread_wait_asleep(&self->thread);
	resp = (struct ioregionfd_resp){ .data = 0x600d };
	TEST_ASSERT_EQ(write(self->fd, &resp, sizeof(resp)), sizeof(resp));
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x600d);
}

/* There are no file positions, just as on a socket. */
TEST_F(segments, positions)
{
	struct ioregionfd_resp resp = { .data = 0x77 };
	struct ioregionfd_cmd cmd;
	struct iovec iov = { &cmd, sizeof(cmd) };
	int fds[] = { self->socket[1], self->fd }, i;
	struct guest_op *op;

	op = op_read(self->vcpu, 8, SYNC);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		TEST_ASSERT(pread(fds[i], &cmd, sizeof(cmd), 0) < 0 && errno == ESPIPE,
			    "%d: pread(): errno %d", i, errno);
		TEST_ASSERT(preadv(fds[i], &iov, 1, 0) < 0 && errno == ESPIPE,
			    "%d: preadv(): errno %d", i, errno);
		TEST_ASSERT(pwrite(fds[i], &resp, sizeof(resp), 0) < 0 && errno == ESPIPE,
			    "%d: pwrite(): errno %d", i, errno);
		iov.iov_base = &resp;
		TEST_ASSERT(pwritev(fds[i], &iov, 1, 0) < 0 && errno == ESPIPE,
			    "%d: pwritev(): errno %d", i, errno);
		iov.iov_base = &cmd;
		TEST_ASSERT(lseek(fds[i], 0, SEEK_CUR) < 0 && errno == ESPIPE,
			    "%d: lseek(): errno %d", i, errno);
	}

	/* Except that preadv2() and pwritev2() accept -1, which means no position. */
	TEST_ASSERT_EQ(preadv2(self->fd, &iov, 1, -1, 0), sizeof(cmd));
	expect_cmd(cmd, cmd_read(8, SYNC_DATA, 0));
	iov.iov_base = &resp;
	TEST_ASSERT_EQ(pwritev2(self->fd, &iov, 1, -1, 0), sizeof(resp));
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x77);
}

/* read and write by io_uring. */
TEST_F(segments, uring_read_and_write)
{
	struct ioregionfd_resp resp = { 0 };
	struct io_uring_sqe *sqe;
	struct ioregionfd_cmd cmd;
	struct io_uring ring;
	struct guest_op *op;
	int i, r;

	r = io_uring_queue_init(8, &ring, 0);
	TEST_ASSERT(!r, "no io_uring: %d", r);
	for (i = 0; i < 4; i++) {
		/* Before there is a command and after; each with O_NONBLOCK too. */
		fcntl(self->fd, F_SETFL, O_RDWR | (i & 1 ? O_NONBLOCK : 0));
		op = op_read(self->vcpu, 8, SYNC);
		if (i & 1 || i & 2) {
			thread_start(&self->thread);
			thread_wait_asleep(&self->thread);
		}
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_read(sqe, self->fd, &cmd, sizeof(cmd), 0);
		TEST_ASSERT_EQ(io_uring_submit(&ring), 1);
		if (!(i & 1 || i & 2)) {
			usleep(100000);
			thread_start(&self->thread);
		}
		TEST_ASSERT_EQ(uring_wait(&ring, NULL), sizeof(cmd));
		expect_cmd(cmd, cmd_read(8, SYNC_DATA, 0));
		resp.data = 0x70 + i;
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_write(sqe, self->fd, &resp, sizeof(resp), 0);
		TEST_ASSERT_EQ(io_uring_submit(&ring), 1);
		TEST_ASSERT_EQ(uring_wait(&ring, NULL), sizeof(resp));
		thread_join_done(&self->thread);
		TEST_ASSERT_EQ(op->val, 0x70 + i);
	}
	io_uring_queue_exit(&ring);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
