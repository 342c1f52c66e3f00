// SPDX-License-Identifier: LGPL-2.1-only OR BSD-3-Clause
/*
 * Tests libioregionfd, in three parts: with sockets; with a channel whose kernel side
 * is simulated by this program, so that it can do rare things at the right moment; and
 * with guests, on a kvm.ko that has ioregionfd.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <linux/kvm.h>

#include "ioregionfd_uring.h"
#include "kselftest_harness.h"

/* A device that keeps a log. */

#define LOG_SIZE	64

struct device {
	struct ioregionfd_cmd log[LOG_SIZE];
	unsigned int logged;
	void (*on_command)(struct device *device);	/* called inside a handler */
	uint16_t status;
	struct ioregionfd_cmd abandoned;
	unsigned int nr_abandoned;
};

static uint16_t device_command(void *opaque, const struct ioregionfd_cmd *cmd, uint64_t *value)
{
	struct device *device = opaque;
	unsigned int n = device->logged;

	if (n < LOG_SIZE)
		device->log[n] = *cmd;
	if (device->on_command)
		device->on_command(device);
	__atomic_store_n(&device->logged, n + 1, __ATOMIC_RELEASE);
	*value = 0x1122334455667788 + cmd->offset;
	return device->status;
}

static void device_abandoned(void *opaque, const struct ioregionfd_cmd *cmd)
{
	struct device *device = opaque;

	device->abandoned = *cmd;
	__atomic_fetch_add(&device->nr_abandoned, 1, __ATOMIC_RELEASE);
}

static const struct ioregionfd_ops device_ops = {
	.command = device_command,
	.abandoned = device_abandoned,
};

static uint64_t plain_read(void *opaque, uint64_t offset, unsigned int size)
{
	uint64_t *reg = opaque;

	return *reg + (offset << 8) + (size << 16);
}

static void plain_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	uint64_t *reg = opaque;

	*reg = value + (offset << 8) + (size << 16);
}

static const struct ioregionfd_ops plain_ops = { .read = plain_read, .write = plain_write };
static const struct ioregionfd_ops no_ops;

/* A thread in ioregionfd_run(). */
struct runner {
	struct ioregionfd_task *task;
	enum ioregionfd_mode mode;
	uint32_t vcpu;
	pthread_t thread;
	int ret;
};

static void *runner_main(void *arg)
{
	struct runner *runner = arg;

	runner->ret = ioregionfd_run(runner->task, runner->mode, runner->vcpu);
	return NULL;
}

static void runner_start(struct runner *runner, struct ioregionfd_task *task,
			 enum ioregionfd_mode mode, uint32_t vcpu)
{
	runner->task = task;
	runner->mode = mode;
	runner->vcpu = vcpu;
	runner->ret = 1;
	if (pthread_create(&runner->thread, NULL, runner_main, runner))
		abort();
}

static int runner_join(struct runner *runner)
{
	pthread_join(runner->thread, NULL);
	return runner->ret;
}

/* The harness ends a test after 30 seconds, so this need not. */
#define WAIT_UNTIL(condition) do {	\
	while (!(condition))		\
		sched_yield();		\
} while (0)

static int open_fds(void)
{
	int fd, n = 0;

	for (fd = 0; fd < 100; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Passing file descriptors. */

FIXTURE(pass) {
	int sock[2];
};

FIXTURE_SETUP(pass)
{
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, self->sock), 0);
}

FIXTURE_TEARDOWN(pass)
{
	close(self->sock[0]);
	close(self->sock[1]);
}

static void send_fds(int sock, unsigned int n)
{
	char control[CMSG_SPACE(8 * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = control, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	if (n) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));	/* n times stdin */
	}
	if (sendmsg(sock, &msg, 0) != 1)
		abort();
}

TEST_F(pass, arrives_close_on_exec)
{
	uint64_t value = 7;
	int fd, event;

	event = eventfd(0, 0);
	ASSERT_EQ(ioregionfd_send_fd(self->sock[0], event), 0);
	fd = ioregionfd_recv_fd(self->sock[1]);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ASSERT_EQ(write(event, &value, sizeof(value)), sizeof(value));
	value = 0;
	ASSERT_EQ(read(fd, &value, sizeof(value)), sizeof(value));
	EXPECT_EQ(value, 7);
	close(fd);
	close(event);
}

TEST_F(pass, not_exactly_one)
{
	int before = open_fds();

	send_fds(self->sock[0], 0);
	EXPECT_EQ(ioregionfd_recv_fd(self->sock[1]), -ENOMSG);
	send_fds(self->sock[0], 2);
	EXPECT_EQ(ioregionfd_recv_fd(self->sock[1]), -E2BIG);
	send_fds(self->sock[0], 8);
	EXPECT_EQ(ioregionfd_recv_fd(self->sock[1]), -E2BIG);
	EXPECT_EQ(open_fds(), before);
}

TEST_F(pass, with_credentials)
{
	int one = 1, fd;

	ASSERT_EQ(setsockopt(self->sock[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)), 0);
	ASSERT_EQ(ioregionfd_send_fd(self->sock[0], 0), 0);
	fd = ioregionfd_recv_fd(self->sock[1]);
	EXPECT_GE(fd, 0);
	close(fd);
}

TEST_F(pass, too_many_open_files)
{
	struct rlimit limit;

	ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = self->sock[1] + 1;	/* the highest one in use */
	ASSERT_EQ(ioregionfd_send_fd(self->sock[0], 0), 0);
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	EXPECT_EQ(ioregionfd_recv_fd(self->sock[1]), -EMFILE);
}

TEST_F(pass, errors)
{
	EXPECT_EQ(ioregionfd_send_fd(self->sock[0], -1), -EBADF);
	EXPECT_EQ(ioregionfd_recv_fd(-1), -EBADF);
	close(self->sock[0]);
	EXPECT_EQ(ioregionfd_recv_fd(self->sock[1]), -ECONNRESET);
	EXPECT_EQ(ioregionfd_send_fd(self->sock[1], 0), -EPIPE);
}

/* Opening, registering. */

TEST(open_refuses)
{
	struct ioregionfd_task *task = NULL;
	int sock[2], stream[2], fds[2], event = eventfd(0, 0), before;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock), 0);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
	ASSERT_EQ(pipe(fds), 0);
	before = open_fds();

	EXPECT_EQ(ioregionfd_open(&task, -1, -1, 0), -EBADF);
	EXPECT_EQ(ioregionfd_open(&task, event, event, 0), -EINVAL);
	/* kvm.ko accepts none of these. */
	EXPECT_EQ(ioregionfd_open(&task, sock[0], fds[1], 0), -EINVAL);
	EXPECT_EQ(ioregionfd_open(&task, fds[0], fds[1], 0), -EINVAL);
	EXPECT_EQ(ioregionfd_open(&task, stream[0], stream[0], 0), -EINVAL);
	EXPECT_EQ(ioregionfd_open(&task, sock[0], sock[0], 2), -EINVAL);
	EXPECT_EQ(ioregionfd_open(&task, sock[0], sock[0], IOREGIONFD_OPEN_RECOVER),
		  -EOPNOTSUPP);
	EXPECT_EQ(task, NULL);
	/* The descriptors still belong to us. */
	EXPECT_EQ(fcntl(sock[0], F_GETFD), 0);
	EXPECT_EQ(open_fds(), before);

	ASSERT_EQ(ioregionfd_open(&task, sock[0], sock[0], 0), 0);
	EXPECT_EQ(ioregionfd_run(task, IOREGIONFD_SLEEP, 0), -EINVAL);
	EXPECT_EQ(ioregionfd_run(task, IOREGIONFD_ADAPTIVE + 1, IOREGIONFD_ANY), -EINVAL);
	ioregionfd_close(task);
	EXPECT_EQ(fcntl(sock[0], F_GETFD), -1);
	ioregionfd_close(NULL);
}

TEST(register_many)
{
	struct ioregionfd_task *task;
	int sock[2];
	uint64_t i;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock), 0);
	ASSERT_EQ(ioregionfd_open(&task, sock[0], sock[0], 0), 0);
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(ioregionfd_register(task, i << 20, &no_ops, NULL), 0);
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(ioregionfd_register(task, i << 20, &no_ops, NULL), -EEXIST);
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(ioregionfd_unregister(task, i << 20), 0);
	ASSERT_EQ(ioregionfd_register(task, 0, &no_ops, NULL), 0);
	ioregionfd_close(task);
	close(sock[1]);
}

/* Sockets. */

FIXTURE(sock) {
	struct ioregionfd_task *task;
	struct device device;
	struct runner runner;
	int sock;	/* the VMM's */
};

#define USER_DATA	0xfeedface12345678

FIXTURE_SETUP(sock)
{
	int sock[2];

	memset(self, 0, sizeof(*self));
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock), 0);
	self->sock = sock[0];
	ASSERT_EQ(ioregionfd_open(&self->task, sock[1], sock[1], 0), 0);
	ASSERT_EQ(ioregionfd_register(self->task, USER_DATA, &device_ops, &self->device), 0);
}

FIXTURE_TEARDOWN(sock)
{
	ioregionfd_close(self->task);
	close(self->sock);
}

static struct ioregionfd_cmd command(int cmd, int exponent, uint64_t offset, uint64_t data)
{
	struct ioregionfd_cmd c = {
		.cmd = cmd,
		.flags = exponent | IOREGIONFD_CMD_F_RESP,
		.user_data = USER_DATA,
		.offset = offset,
		.data = data,
	};

	return c;
}

static uint64_t ask(int sock, struct ioregionfd_cmd cmd)
{
	struct ioregionfd_resp resp;

	if (write(sock, &cmd, sizeof(cmd)) != sizeof(cmd) ||
	    read(sock, &resp, sizeof(resp)) != sizeof(resp))
		abort();
	if (resp.status == IOREGIONFD_STATUS_UNMAPPED)
		return UINT64_MAX;
	return resp.data;
}

TEST_F(sock, serves)
{
	struct ioregionfd_cmd read = command(IOREGIONFD_CMD_READ, 2, 8, 0);
	struct ioregionfd_cmd write = command(IOREGIONFD_CMD_WRITE, 1, 4, 0xabc);
	uint64_t reg = 5;

	ASSERT_EQ(ioregionfd_register(self->task, 1, &plain_ops, &reg), 0);
	ASSERT_EQ(ioregionfd_register(self->task, 2, &no_ops, NULL), 0);
	EXPECT_EQ(ioregionfd_register(self->task, 2, &no_ops, NULL), -EEXIST);
	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);

	EXPECT_EQ(ask(self->sock, read), 0x1122334455667790);
	EXPECT_EQ(memcmp(&self->device.log[0], &read, sizeof(read)), 0);
	ask(self->sock, write);
	EXPECT_EQ(memcmp(&self->device.log[1], &write, sizeof(write)), 0);

	read.user_data = 1;
	write.user_data = 1;
	EXPECT_EQ(ask(self->sock, read), 5 + (8 << 8) + (4 << 16));
	ask(self->sock, write);
	EXPECT_EQ(reg, 0xabc + (4 << 8) + (2 << 16));

	read.user_data = 2;
	write.user_data = 2;
	EXPECT_EQ(ask(self->sock, read), UINT64_MAX);
	ask(self->sock, write);
	EXPECT_EQ(ioregionfd_unknown_count(self->task), 0);

	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
	EXPECT_EQ(ioregionfd_unregister(self->task, 2), 0);
	EXPECT_EQ(ioregionfd_unregister(self->task, 2), -ENOENT);
}

static void count_unknown(void *opaque, const struct ioregionfd_cmd *cmd)
{
	*(uint64_t *)opaque += cmd->data;
}

TEST_F(sock, unknown_and_malformed)
{
	struct ioregionfd_cmd cmd = command(IOREGIONFD_CMD_READ, 0, 0, 1);
	uint64_t sum = 0;

	ioregionfd_set_unknown(self->task, count_unknown, &sum);
	runner_start(&self->runner, self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY);
	cmd.user_data ^= 1;
	EXPECT_EQ(ask(self->sock, cmd), UINT64_MAX);
	EXPECT_EQ(sum, 1);
	cmd = command(IOREGIONFD_CMD_READ, 4, 0, 10);
	EXPECT_EQ(ask(self->sock, cmd), UINT64_MAX);
	EXPECT_EQ(sum, 11);
	cmd = command(2, 0, 0, 100);
	EXPECT_EQ(ask(self->sock, cmd), UINT64_MAX);
	EXPECT_EQ(sum, 111);
	EXPECT_EQ(ioregionfd_unknown_count(self->task), 3);
	EXPECT_EQ(self->device.logged, 0);
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

TEST_F(sock, posted_gets_no_response)
{
	struct ioregionfd_cmd cmd = command(IOREGIONFD_CMD_WRITE, 0, 0, 1);
	int i;

	runner_start(&self->runner, self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY);
	cmd.flags &= ~IOREGIONFD_CMD_F_RESP;
	for (i = 0; i < 3; i++)
		ASSERT_EQ(write(self->sock, &cmd, sizeof(cmd)), sizeof(cmd));
	cmd = command(IOREGIONFD_CMD_READ, 0, 1, 0);
	/* Otherwise it would be the value of a write. */
	EXPECT_EQ(ask(self->sock, cmd), 0x1122334455667789);
	EXPECT_EQ(self->device.logged, 4);
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

TEST_F(sock, ends_with_the_other_side)
{
	runner_start(&self->runner, self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY);
	ask(self->sock, command(IOREGIONFD_CMD_READ, 0, 0, 0));
	close(self->sock);
	EXPECT_EQ(runner_join(&self->runner), 0);
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY), 0);
}

TEST_F(sock, packet_of_wrong_size)
{
	char packet[40] = "";

	ASSERT_EQ(write(self->sock, packet, sizeof(packet)), sizeof(packet));
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY), -EPROTO);
}

/* Without SIGPIPE, which would end the test. */
TEST_F(sock, other_side_does_not_wait_for_the_response)
{
	struct ioregionfd_cmd cmd = command(IOREGIONFD_CMD_READ, 0, 3, 0);

	ASSERT_EQ(write(self->sock, &cmd, sizeof(cmd)), sizeof(cmd));
	close(self->sock);
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY), 0);
	EXPECT_EQ(self->device.logged, 1);
}

/* The socket then does not show an end: its connection is reset. */
TEST_F(sock, other_side_does_not_read_the_response)
{
	struct ioregionfd_cmd cmd = command(IOREGIONFD_CMD_READ, 0, 3, 0);
	struct pollfd p = { .fd = self->sock, .events = POLLIN };

	runner_start(&self->runner, self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY);
	ASSERT_EQ(write(self->sock, &cmd, sizeof(cmd)), sizeof(cmd));
	ASSERT_EQ(poll(&p, 1, -1), 1);
	close(self->sock);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

static struct ioregionfd_task *signal_task;
static unsigned int signals;

static void count_signal(int signal)
{
	(void)signal;
	__atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED);
	if (signal_task)
		ioregionfd_stop(signal_task);
}

static void catch_signals(struct ioregionfd_task *task)
{
	struct sigaction action = { .sa_handler = count_signal };

	signal_task = task;
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
}

static void signal_in(unsigned int us)
{
	struct itimerval timer = { .it_value.tv_usec = us };

	setitimer(ITIMER_REAL, &timer, NULL);
}

TEST_F(sock, signals_do_not_end_it)
{
	unsigned int i;

	catch_signals(NULL);
	runner_start(&self->runner, self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY);
	for (i = 1; i <= 20; i++) {
		usleep(1000);
		pthread_kill(self->runner.thread, SIGUSR1);
		WAIT_UNTIL(__atomic_load_n(&signals, __ATOMIC_RELAXED) == i);
		ask(self->sock, command(IOREGIONFD_CMD_READ, 0, 0, 0));
	}
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

/* At any moment around the beginning of the sleep. */
TEST_F(sock, stop_in_a_signal_handler)
{
	unsigned int us;

	catch_signals(self->task);
	for (us = 1; us < 400; us++) {
		signal_in(us);
		ASSERT_EQ(ioregionfd_run(self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY), 0);
		ASSERT_EQ(signals, us);
		ioregionfd_restart(self->task);
	}
}

TEST_F(sock, several_threads)
{
	struct runner runners[3];
	int i;

	for (i = 0; i < 3; i++)
		runner_start(&runners[i], self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY);
	for (i = 0; i < 100; i++)
		ask(self->sock, command(IOREGIONFD_CMD_READ, 0, 0, 0));
	EXPECT_EQ(self->device.logged, 100);
	ioregionfd_stop(self->task);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(runner_join(&runners[i]), 0);
	/* The task stays stopped. */
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY), 0);
}

TEST_F(sock, no_requests)
{
	struct ioregionfd_request request;

	EXPECT_EQ(ioregionfd_request_init(&request, self->task, IOREGIONFD_ANY), -EOPNOTSUPP);
}

/* example.c, which is in the same directory as this program: on a socket, ended by SIGTERM. */
TEST(example)
{
	struct ioregionfd_cmd cmd = { .cmd = IOREGIONFD_CMD_READ, .flags = IOREGIONFD_CMD_F_RESP };
	char path[4096] = "";
	int sock[2], status;
	pid_t pid;

	ASSERT_GT(readlink("/proc/self/exe", path, sizeof(path) - sizeof("/example")), 0);
	memcpy(strrchr(path, '/'), "/example", sizeof("/example"));
	if (access(path, X_OK))
		SKIP(return, "%s is not there", path);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		dup2(sock[1], STDIN_FILENO);
		execl(path, "example", NULL);
		_exit(127);
	}
	close(sock[1]);
	EXPECT_EQ(ask(sock[0], cmd), 0);
	EXPECT_EQ(ask(sock[0], cmd), 1);
	cmd.cmd = IOREGIONFD_CMD_WRITE;
	cmd.data = 7;
	ask(sock[0], cmd);
	cmd.cmd = IOREGIONFD_CMD_READ;
	EXPECT_EQ(ask(sock[0], cmd), 7);
	ASSERT_EQ(kill(pid, SIGTERM), 0);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(WEXITSTATUS(status), 0);
	close(sock[0]);
}

/*
 * A channel whose kernel side is simulated here: a memfd is its mapping, and the
 * library's ioctl()s come to __wrap_ioctl(), see Makefile.
 */

#define MAILBOXES	4
#define POSTED	128

struct mapping {
	struct ioregionfd_control control;
	struct ioregionfd_mailbox mailboxes[MAILBOXES];
	struct ioregionfd_cmd posted[POSTED];
};

static struct {
	int fd;
	struct mapping *mapping;
	/* Each IOREGIONFD_COMMIT_AND_FETCH, as it came */
	struct ioregionfd_fetch calls[LOG_SIZE];
	unsigned int called;
	/* What to do with it: returns a negative error, or 0 */
	int (*fetch)(struct ioregionfd_fetch *fetch);
	unsigned int interrupts, recoveries;
} model = { .fd = -1 };

static int model_ioctl(unsigned long request, void *arg)
{
	struct ioregionfd_info info = {
		.size = sizeof(struct mapping),
		.nr_mailboxes = MAILBOXES,
		.nr_posted = POSTED,
		.mailboxes_offset = offsetof(struct mapping, mailboxes),
		.posted_offset = offsetof(struct mapping, posted),
	};
	struct ioregionfd_fetch *fetch = arg;

	switch (request) {
	case IOREGIONFD_GET_INFO:
		*(struct ioregionfd_info *)arg = info;
		return 0;
	case IOREGIONFD_COMMIT_AND_FETCH:
		if (model.called < LOG_SIZE)
			model.calls[model.called] = *fetch;
		__atomic_fetch_add(&model.called, 1, __ATOMIC_RELEASE);
		return model.fetch(fetch);
	case IOREGIONFD_RECOVER:
		model.recoveries++;
		return 0;
	case IOREGIONFD_INTERRUPT:
		__atomic_fetch_add(&model.interrupts, 1, __ATOMIC_RELEASE);
		return 0;
	}
	return -ENOTTY;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;
	int ret;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (fd != model.fd || fd < 0)
		return syscall(SYS_ioctl, fd, request, arg);
	ret = model_ioctl(request, arg);
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

static void mailbox_number(struct ioregionfd_mailbox *mailbox, uint32_t number)
{
	mailbox->data[0] = ioregionfd_mailbox_data(number, 0, 0);
	mailbox->data[1] = ioregionfd_mailbox_data(number, 1, 0);
}

static uint64_t mailbox_value(struct ioregionfd_mailbox *mailbox)
{
	return mailbox->data[1] << 32 | (uint32_t)mailbox->data[0];
}

/* Records the responses to all mailboxes; waits, if it may, until it is interrupted. */
static int model_fetch(struct ioregionfd_fetch *fetch)
{
	struct ioregionfd_mailbox *mailbox;
	uint32_t state, number;

	if (fetch->id) {
		mailbox = &model.mapping->mailboxes[(fetch->id >> 32) - 1];
		state = __atomic_load_n(&mailbox->state, __ATOMIC_ACQUIRE);
		number = state & ~(IOREGIONFD_MAILBOX_STATE | IOREGIONFD_MAILBOX_WAITING);
		if (number >> IOREGIONFD_MAILBOX_SHIFT != (uint32_t)fetch->id)
			return -ENOENT;
		switch (state & IOREGIONFD_MAILBOX_STATE) {
		case IOREGIONFD_MAILBOX_ABANDONED:
			__atomic_store_n(&mailbox->state, number, __ATOMIC_RELEASE);
			return -ESTALE;
		case IOREGIONFD_MAILBOX_FETCHED:
			break;
		default:
			return -ENOENT;
		}
		mailbox->data[0] = ioregionfd_mailbox_data(fetch->id, 0, fetch->data);
		mailbox->data[1] = ioregionfd_mailbox_data(fetch->id, 1, fetch->data);
		__atomic_store_n(&mailbox->state,
				 number | (IOREGIONFD_MAILBOX_COMPLETE + fetch->status),
				 __ATOMIC_RELEASE);
	}
	__atomic_store_n(&model.mapping->control.blocked, 0, __ATOMIC_RELAXED);
	fetch->id = 0;
	if (fetch->flags & IOREGIONFD_COMMIT_ONLY)
		return 0;
	WAIT_UNTIL(__atomic_load_n(&model.interrupts, __ATOMIC_ACQUIRE));
	__atomic_fetch_sub(&model.interrupts, 1, __ATOMIC_RELAXED);
	return -ECANCELED;
}

FIXTURE(channel) {
	struct ioregionfd_task *task;
	struct ioregionfd_control *control;
	struct ioregionfd_mailbox *mailboxes;
	struct device device;
	struct runner runner;
};

FIXTURE_SETUP(channel)
{
	memset(self, 0, sizeof(*self));
	model.fd = memfd_create("ioregionfd", MFD_CLOEXEC);
	ASSERT_GE(model.fd, 0);
	ASSERT_EQ(ftruncate(model.fd, sizeof(*model.mapping)), 0);
	model.mapping = mmap(NULL, sizeof(*model.mapping), PROT_READ | PROT_WRITE, MAP_SHARED,
			     model.fd, 0);
	ASSERT_NE(model.mapping, MAP_FAILED);
	model.fetch = model_fetch;
	self->control = &model.mapping->control;
	self->mailboxes = model.mapping->mailboxes;
	ASSERT_EQ(ioregionfd_open(&self->task, model.fd, model.fd, 0), 0);
	ASSERT_EQ(ioregionfd_register(self->task, USER_DATA, &device_ops, &self->device), 0);
}

FIXTURE_TEARDOWN(channel)
{
	ioregionfd_close(self->task);
	munmap(model.mapping, sizeof(*model.mapping));
}

static void mailbox_post(struct ioregionfd_mailbox *mailbox, struct ioregionfd_cmd cmd,
			 uint32_t extra)
{
	uint32_t number = (mailbox->state >> IOREGIONFD_MAILBOX_SHIFT) + 1;

	mailbox->cmd = cmd;
	mailbox_number(mailbox, number);
	mailbox->posted_before = model.mapping->control.posted_head;
	__atomic_store_n(&mailbox->state, number << IOREGIONFD_MAILBOX_SHIFT |
			 IOREGIONFD_MAILBOX_PENDING | extra, __ATOMIC_RELEASE);
}

static void ring_post(struct ioregionfd_cmd cmd)
{
	struct ioregionfd_control *control = &model.mapping->control;

	model.mapping->posted[control->posted_head % POSTED] = cmd;
	__atomic_store_n(&control->posted_head, (control->posted_head + 1) & 0x7fffffff,
			 __ATOMIC_RELEASE);
}

static bool mailbox_done(struct ioregionfd_mailbox *mailbox)
{
	return __atomic_load_n(&mailbox->state, __ATOMIC_ACQUIRE) & IOREGIONFD_MAILBOX_COMPLETE;
}

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

TEST_F(channel, arguments)
{
	struct ioregionfd_request request;
	struct ioregionfd_task *task;

	EXPECT_EQ(model.recoveries, 0);
	ASSERT_EQ(ioregionfd_open(&task, model.fd, 0, 0), -EINVAL);
	ASSERT_EQ(ioregionfd_open(&task, model.fd, model.fd, IOREGIONFD_OPEN_RECOVER), 0);
	EXPECT_EQ(model.recoveries, 1);
	EXPECT_EQ(ioregionfd_run(task, IOREGIONFD_SLEEP, MAILBOXES), -EINVAL);
	EXPECT_EQ(ioregionfd_request_init(&request, task, MAILBOXES), -EINVAL);
	ioregionfd_close(task);
}

TEST_F(channel, polls_without_system_calls)
{
	int i;

	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	WAIT_UNTIL(load(&self->control->polling));
	for (i = 0; i < 100; i++) {
		mailbox_post(&self->mailboxes[i % MAILBOXES], command(IOREGIONFD_CMD_READ, 0, i, 0),
			     0);
		WAIT_UNTIL(mailbox_done(&self->mailboxes[i % MAILBOXES]));
		ASSERT_EQ(mailbox_value(&self->mailboxes[i % MAILBOXES]), 0x1122334455667788 + i);
	}
	EXPECT_EQ(model.called, 0);
	EXPECT_EQ(self->device.logged, 100);
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
	EXPECT_EQ(self->control->polling, 0);
}

TEST_F(channel, polls_for_one_vcpu)
{
	runner_start(&self->runner, self->task, IOREGIONFD_POLL, 2);
	WAIT_UNTIL(load(&self->mailboxes[2].polling));
	EXPECT_EQ(load(&self->control->polling), 0);
	mailbox_post(&self->mailboxes[1], command(IOREGIONFD_CMD_READ, 0, 0, 0), 0);
	mailbox_post(&self->mailboxes[2], command(IOREGIONFD_CMD_READ, 0, 0, 0), 0);
	WAIT_UNTIL(mailbox_done(&self->mailboxes[2]));
	usleep(1000);
	EXPECT_FALSE(mailbox_done(&self->mailboxes[1]));
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
	EXPECT_EQ(self->mailboxes[2].polling, 0);
}

/* Another thread that stops polling also clears what this one has set. */
TEST_F(channel, says_again_that_it_polls)
{
	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	WAIT_UNTIL(load(&self->control->polling));
	__atomic_store_n(&self->control->polling, 0, __ATOMIC_SEQ_CST);
	WAIT_UNTIL(load(&self->control->polling));
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

TEST_F(channel, wakes_a_vcpu_that_sleeps)
{
	uint64_t id;

	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	mailbox_post(&self->mailboxes[3], command(IOREGIONFD_CMD_READ, 0, 0, 0),
		     IOREGIONFD_MAILBOX_WAITING);
	WAIT_UNTIL(mailbox_done(&self->mailboxes[3]));
	id = ioregionfd_cmd_id(3, self->mailboxes[3].state);
	ASSERT_EQ(load(&model.called), 1);
	EXPECT_EQ(model.calls[0].id, id);
	EXPECT_EQ(model.calls[0].data, 0x1122334455667788);
	EXPECT_EQ(model.calls[0].flags, IOREGIONFD_COMMIT_ONLY);
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

static void fall_asleep(struct device *device)
{
	(void)device;
	__atomic_fetch_or(&model.mapping->mailboxes[0].state, IOREGIONFD_MAILBOX_WAITING,
			  __ATOMIC_SEQ_CST);
}

TEST_F(channel, wakes_a_vcpu_that_falls_asleep)
{
	self->device.on_command = fall_asleep;
	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 0, 0), 0);
	WAIT_UNTIL(mailbox_done(&self->mailboxes[0]));
	ASSERT_EQ(load(&model.called), 1);
	EXPECT_EQ(model.calls[0].id, ioregionfd_cmd_id(0, self->mailboxes[0].state));
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

static void be_recovered(struct device *device)
{
	(void)device;
	/* The command changes hands: it is no longer as this task has fetched it. */
	__atomic_fetch_xor(&model.mapping->mailboxes[0].state,
			   IOREGIONFD_MAILBOX_FETCHED ^ IOREGIONFD_MAILBOX_PENDING,
			   __ATOMIC_SEQ_CST);
	/* The posted write is no longer its own either. */
	__atomic_fetch_and(&model.mapping->control.posted_tail, ~1, __ATOMIC_SEQ_CST);
}

TEST_F(channel, recovered)
{
	self->device.on_command = be_recovered;
	mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 0, 0), 0);
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_POLL, IOREGIONFD_ANY), -ESTALE);
	EXPECT_FALSE(mailbox_done(&self->mailboxes[0]));
	EXPECT_EQ(self->control->polling, 0);

	self->mailboxes[0].state = 0;
	ring_post(command(IOREGIONFD_CMD_WRITE, 0, 0, 0));
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_POLL, IOREGIONFD_ANY), -ESTALE);
	EXPECT_EQ(self->control->posted_tail, 0);
	EXPECT_EQ(self->device.logged, 2);
}

static void be_recovered_and_completed(struct device *device)
{
	struct ioregionfd_mailbox *mailbox = &model.mapping->mailboxes[0];

	(void)device;
	/* The mailbox has another command, which another task is about to complete. */
	mailbox_number(mailbox, 2);
	mailbox->data[0] |= 0x600d;
	__atomic_store_n(&mailbox->state,
			 2 << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_COMPLETE,
			 __ATOMIC_SEQ_CST);
}

/* A late response stores nothing. */
TEST_F(channel, recovered_and_completed)
{
	self->device.on_command = be_recovered_and_completed;
	mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 0, 0), 0);
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_POLL, IOREGIONFD_ANY), -ESTALE);
	EXPECT_EQ(mailbox_value(&self->mailboxes[0]), 0x600d);
	EXPECT_TRUE(mailbox_done(&self->mailboxes[0]));
}

/* In the mapping, and by the ioctl that a sleeping vCPU needs. */
TEST_F(channel, statuses)
{
	uint32_t waiting;

	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	for (waiting = 0; waiting <= IOREGIONFD_MAILBOX_WAITING;
	     waiting += IOREGIONFD_MAILBOX_WAITING) {
		for (self->device.status = IOREGIONFD_STATUS_DONE;
		     self->device.status <= IOREGIONFD_STATUS_TO_VMM; self->device.status++) {
			mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 0, 0),
				     waiting);
			WAIT_UNTIL(mailbox_done(&self->mailboxes[0]));
			EXPECT_EQ(self->mailboxes[0].state & IOREGIONFD_MAILBOX_STATE,
				  IOREGIONFD_MAILBOX_COMPLETE + self->device.status);
		}
	}
	ASSERT_EQ(load(&model.called), 3);
	/* A status that would make it another state. */
	self->device.status = IOREGIONFD_MAILBOX_WAITING - IOREGIONFD_MAILBOX_COMPLETE;
	mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 0, 0), 0);
	WAIT_UNTIL(mailbox_done(&self->mailboxes[0]));
	EXPECT_EQ(self->mailboxes[0].state & IOREGIONFD_MAILBOX_STATE,
		  IOREGIONFD_MAILBOX_COMPLETE + IOREGIONFD_STATUS_UNMAPPED);
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

static void be_abandoned(struct device *device)
{
	(void)device;
	__atomic_fetch_xor(&model.mapping->mailboxes[0].state,
			   IOREGIONFD_MAILBOX_FETCHED ^ IOREGIONFD_MAILBOX_ABANDONED,
			   __ATOMIC_SEQ_CST);
}

/* The device is told, and goes on. */
TEST_F(channel, abandoned)
{
	self->device.on_command = be_abandoned;
	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 5, 0), 0);
	WAIT_UNTIL(load(&self->device.nr_abandoned));
	EXPECT_EQ(self->device.abandoned.offset, 5);
	EXPECT_EQ(self->mailboxes[0].state & IOREGIONFD_MAILBOX_STATE, IOREGIONFD_MAILBOX_FREE);
	self->device.on_command = NULL;
	mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 0, 0), 0);
	WAIT_UNTIL(mailbox_done(&self->mailboxes[0]));
	EXPECT_EQ(load(&self->device.nr_abandoned), 1);
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

TEST_F(channel, posted_come_first)
{
	unsigned int i;

	/* The indices wrap in the middle. */
	self->control->posted_head = 0x7ffffffd;
	self->control->posted_tail = 0xfffffffa;
	for (i = 0; i < 6; i++)
		ring_post(command(IOREGIONFD_CMD_WRITE, 0, i, 0));
	mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 6, 0), 0);
	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	WAIT_UNTIL(mailbox_done(&self->mailboxes[0]));
	ASSERT_EQ(self->device.logged, 7);
	for (i = 0; i < 7; i++)
		EXPECT_EQ(self->device.log[i].offset, i);
	EXPECT_EQ(self->control->posted_tail, 0x100000006);
	EXPECT_EQ(model.called, 0);
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

static void be_recovered_and_fetched(struct device *device)
{
	(void)device;
	/* Another task has the posted write, as IOREGIONFD_RECOVER leaves it for that. */
	__atomic_fetch_add(&model.mapping->control.posted_tail, 1ULL << 32, __ATOMIC_SEQ_CST);
}

/* Nothing is retired or carried out late. */
TEST_F(channel, recovered_and_fetched)
{
	self->device.on_command = be_recovered_and_fetched;
	/* What comes after it is not carried out either: the other task will do that. */
	ring_post(command(IOREGIONFD_CMD_WRITE, 0, 0, 0));
	ring_post(command(IOREGIONFD_CMD_WRITE, 0, 1, 0));
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_POLL, IOREGIONFD_ANY), -ESTALE);
	EXPECT_EQ(self->control->posted_tail, 1ULL << 32 | 1);
	EXPECT_EQ(self->device.logged, 1);
}

static unsigned int told;

static int count_told(struct ioregionfd_fetch *fetch)
{
	if (fetch->flags == IOREGIONFD_COMMIT_ONLY && !fetch->id)
		told += load(&model.mapping->control.blocked);
	return model_fetch(fetch);
}

/* Those who sleep have not been woken for what came while this task polled. */
TEST_F(channel, recovered_and_left_to_others)
{
	model.fetch = count_told;
	self->device.on_command = be_recovered_and_fetched;
	ring_post(command(IOREGIONFD_CMD_WRITE, 0, 0, 0));
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_POLL, IOREGIONFD_ANY), -ESTALE);
	EXPECT_EQ(self->control->polling, 0);
	EXPECT_EQ(told, 1);
}

TEST_F(channel, posted_are_with_another_task)
{
	ring_post(command(IOREGIONFD_CMD_WRITE, 0, 0, 0));
	self->control->posted_tail = 0 << 1 | 1;
	/* This command comes after the posted write, that one before it. */
	mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 1, 0), 0);
	mailbox_post(&self->mailboxes[1], command(IOREGIONFD_CMD_READ, 0, 2, 0), 0);
	self->mailboxes[1].posted_before = 0;
	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	WAIT_UNTIL(mailbox_done(&self->mailboxes[1]));
	usleep(1000);
	EXPECT_FALSE(mailbox_done(&self->mailboxes[0]));
	EXPECT_EQ(load(&self->device.logged), 1);
	/* Retire it; there is a next one, which is later than the command. */
	ring_post(command(IOREGIONFD_CMD_WRITE, 0, 3, 0));
	__atomic_store_n(&self->control->posted_tail, 1 << 1 | 1, __ATOMIC_RELEASE);
	WAIT_UNTIL(mailbox_done(&self->mailboxes[0]));
	EXPECT_EQ(load(&self->device.logged), 2);
	/* Long after the command there is another one: the tail is far beyond. */
	mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 1, 0), 0);
	self->mailboxes[0].posted_before = 0;
	__atomic_store_n(&self->control->posted_tail, 2 << 1, __ATOMIC_RELEASE);
	WAIT_UNTIL(mailbox_done(&self->mailboxes[0]));
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

static struct ioregionfd_task *stops;

static void stop(struct device *device)
{
	(void)device;
	ioregionfd_stop(stops);
}

/* Whoever posted all this was told that somebody polls, and has woken nobody. */
TEST_F(channel, stop_leaves_nothing_behind)
{
	unsigned int i;

	stops = self->task;
	self->device.on_command = stop;
	for (i = 0; i < POSTED; i++)
		ring_post(command(IOREGIONFD_CMD_WRITE, 0, i, 0));
	mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 0, 0), 0);
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_POLL, IOREGIONFD_ANY), 0);
	EXPECT_EQ(self->control->posted_tail, POSTED << 1);
	EXPECT_TRUE(mailbox_done(&self->mailboxes[0]));
	EXPECT_EQ(self->control->polling, 0);
}

static void stop_and_post(struct device *device)
{
	stop(device);
	ring_post(command(IOREGIONFD_CMD_WRITE, 0, 0, 0));
}

/* This command comes after a posted write that another task has fetched. */
TEST_F(channel, stop_leaves_the_rest_to_others)
{
	model.fetch = count_told;
	ring_post(command(IOREGIONFD_CMD_WRITE, 0, 0, 0));
	self->control->posted_tail = 0 << 1 | 1;
	mailbox_post(&self->mailboxes[0], command(IOREGIONFD_CMD_READ, 0, 1, 0), 0);
	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	WAIT_UNTIL(load(&self->control->polling));
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
	EXPECT_FALSE(mailbox_done(&self->mailboxes[0]));
	EXPECT_EQ(told, 1);
}

/* However much comes after that */
TEST_F(channel, stop_ends)
{
	unsigned int i;

	stops = self->task;
	self->device.on_command = stop_and_post;
	for (i = 0; i < POSTED; i++)
		ring_post(command(IOREGIONFD_CMD_WRITE, 0, 0, 0));
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_POLL, IOREGIONFD_ANY), 0);
	EXPECT_GE(self->device.logged, POSTED);
	EXPECT_EQ(self->control->polling, 0);
}

static void be_blocked(struct device *device)
{
	(void)device;
	__atomic_store_n(&model.mapping->control.blocked, 1, __ATOMIC_SEQ_CST);
}

TEST_F(channel, tells_who_waits_for_the_ring)
{
	self->device.on_command = be_blocked;
	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	ring_post(command(IOREGIONFD_CMD_WRITE, 0, 0, 0));
	WAIT_UNTIL(load(&model.called));
	EXPECT_EQ(model.calls[0].id, 0);
	EXPECT_EQ(model.calls[0].flags, IOREGIONFD_COMMIT_ONLY);
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

TEST_F(channel, polling_ends_with_the_vm)
{
	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	WAIT_UNTIL(load(&self->control->polling));
	__atomic_store_n(&self->control->vm_dead, 1, __ATOMIC_SEQ_CST);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

/* What a malicious task that shares the channel writes must not mislead us. */
TEST_F(channel, corrupted)
{
	uint32_t *p = (uint32_t *)model.mapping;
	size_t i, round, words = sizeof(*model.mapping) / sizeof(*p);
	unsigned int seed = 1;

	runner_start(&self->runner, self->task, IOREGIONFD_POLL, IOREGIONFD_ANY);
	WAIT_UNTIL(load(&self->control->polling));
	for (round = 0; round < 20000; round++) {
		for (i = 0; i < words; i++) {
			if (&p[i] != &self->control->vm_dead)
				__atomic_store_n(&p[i], rand_r(&seed) * 2 + (rand_r(&seed) & 1),
						 __ATOMIC_RELAXED);
		}
	}
	ioregionfd_stop(self->task);
	/* It may have noticed a recovery. */
	runner_join(&self->runner);
	EXPECT_TRUE(self->runner.ret == 0 || self->runner.ret == -ESTALE);
	EXPECT_GT(ioregionfd_unknown_count(self->task), 0);
}

#define POSTED_ID	0x8000000000000007	/* ioregionfd_posted_id(7 << 1) */

/* Commands from IOREGIONFD_COMMIT_AND_FETCH: the result of each call. */
static const struct {
	int ret;
	uint64_t id;
	uint64_t offset;
} sleep_script[] = {
	{ .id = 0x100000001, .offset = 1 },
	{ .id = 0x300000005, .offset = 2 },
	{ .ret = -EINTR, .id = 0x300000005 },		/* not completed */
	{ .ret = -EINTR, .id = 0 },			/* completed */
	{ .id = POSTED_ID, .offset = 3 },
	{ .id = 0x200000001, .offset = 4 },
	{ .ret = -ENODEV },
};

static int scripted_fetch(struct ioregionfd_fetch *fetch)
{
	struct ioregionfd_control *control = &model.mapping->control;
	unsigned int i = model.called - 1;

	fetch->id = sleep_script[i].id;
	/* In the mapping it is fetched, and two more have come after it. */
	if (fetch->id == POSTED_ID) {
		control->posted_tail = 7 << 1 | 1;
		control->posted_head = 10;
		model.mapping->posted[8 % POSTED] = command(IOREGIONFD_CMD_WRITE, 0, 5, 0);
		model.mapping->posted[9 % POSTED] = command(IOREGIONFD_CMD_WRITE, 0, 6, 0);
	}
	if (sleep_script[i].ret)
		return sleep_script[i].ret;
	fetch->cmd = command(IOREGIONFD_CMD_READ, 0, sleep_script[i].offset, 0);
	return 0;
}

TEST_F(channel, sleeps)
{
	static const uint64_t completed[] = {
		0, 0x100000001, 0x300000005, 0x300000005, 0, 0, 0x200000001,
	};
	static const uint64_t offset[] = { 0, 1, 2, 2, 0, 0, 4 };
	unsigned int i;

	model.fetch = scripted_fetch;
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY), 0);
	ASSERT_EQ(model.called, ARRAY_SIZE(completed));
	for (i = 0; i < ARRAY_SIZE(completed); i++) {
		EXPECT_EQ(model.calls[i].id, completed[i]);
		EXPECT_EQ(model.calls[i].vcpu, IOREGIONFD_ANY);
		EXPECT_LT(model.calls[i].timeout, 0);
		EXPECT_EQ(model.calls[i].flags, 0);
		if (completed[i])
			EXPECT_EQ(model.calls[i].data, 0x1122334455667788 + offset[i]);
	}
	EXPECT_EQ(self->device.logged, 6);
	/* The posted writes have been retired in the mapping. */
	EXPECT_EQ(self->control->posted_tail, 10 << 1);
}

static void stop_now(struct device *device)
{
	(void)device;
	ioregionfd_stop(signal_task);
}

TEST_F(channel, completes_before_it_stops)
{
	signal_task = self->task;
	self->device.on_command = stop_now;
	/* Fetched by IOREGIONFD_COMMIT_AND_FETCH, and in the mapping as that leaves it. */
	self->mailboxes[0].state = 1 << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_FETCHED;
	mailbox_number(&self->mailboxes[0], 1);
	model.fetch = scripted_fetch;
	EXPECT_EQ(ioregionfd_run(self->task, IOREGIONFD_SLEEP, IOREGIONFD_ANY), 0);
	EXPECT_EQ(model.called, 1);
	EXPECT_TRUE(mailbox_done(&self->mailboxes[0]));
	EXPECT_EQ(mailbox_value(&self->mailboxes[0]), 0x1122334455667789);
}

TEST_F(channel, adaptive_looks_before_it_sleeps)
{
	ioregionfd_set_poll_limit(self->task, 50000);
	runner_start(&self->runner, self->task, IOREGIONFD_ADAPTIVE, IOREGIONFD_ANY);
	/* Woken at once, it begins to poll; left alone, it sleeps again. */
	WAIT_UNTIL(load(&model.called) == 1);
	EXPECT_EQ(load(&self->control->polling), 0);
	__atomic_fetch_add(&model.interrupts, 1, __ATOMIC_RELEASE);
	WAIT_UNTIL(load(&model.called) == 2);
	EXPECT_EQ(load(&self->control->polling), 0);
	ioregionfd_stop(self->task);
	EXPECT_EQ(runner_join(&self->runner), 0);
}

TEST_F(channel, stop_reaches_all_threads)
{
	struct runner runners[4];
	unsigned int i;

	for (i = 0; i < 4; i++)
		runner_start(&runners[i], self->task, i ? IOREGIONFD_SLEEP : IOREGIONFD_POLL,
			     i == 3 ? 1 : IOREGIONFD_ANY);
	WAIT_UNTIL(load(&model.called) == 3);
	ioregionfd_stop(self->task);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(runner_join(&runners[i]), 0);
}

TEST_F(channel, request)
{
	struct ioregionfd_request request;
	struct io_uring_sqe sqe;

	ASSERT_EQ(ioregionfd_request_init(&request, self->task, 1), 0);
	memset(&sqe, 0xff, sizeof(sqe));
	ioregionfd_uring_prep(&sqe, &request);
	EXPECT_EQ(sqe.opcode, IORING_OP_URING_CMD);
	EXPECT_EQ(sqe.fd, model.fd);
	EXPECT_EQ(sqe.cmd_op, IOREGIONFD_COMMIT_AND_FETCH);
	EXPECT_EQ(sqe.addr, (uintptr_t)&request.fetch);
	EXPECT_EQ(sqe.user_data, UINT64_MAX);
	EXPECT_EQ(request.fetch.id, 0);
	EXPECT_EQ(request.fetch.vcpu, 1);

	/* As the kernel would. */
	request.fetch.id = POSTED_ID;
	request.fetch.cmd = command(IOREGIONFD_CMD_WRITE, 0, 3, 0);
	EXPECT_EQ(ioregionfd_request_complete(&request, 0), 1);
	EXPECT_EQ(self->device.logged, 1);
	ioregionfd_uring_prep(&sqe, &request);
	EXPECT_EQ(request.fetch.vcpu, 1);
	EXPECT_EQ(request.fetch.id, POSTED_ID);

	request.fetch.id = 0;
	EXPECT_EQ(ioregionfd_request_complete(&request, -EAGAIN), 1);
	EXPECT_EQ(ioregionfd_request_complete(&request, -ESTALE), 1);
	EXPECT_EQ(self->device.nr_abandoned, 1);
	EXPECT_EQ(ioregionfd_request_complete(&request, -ECANCELED), -ECANCELED);
	EXPECT_EQ(ioregionfd_request_finish(&request), 0);
	EXPECT_EQ(model.called, 0);
	EXPECT_EQ(ioregionfd_request_complete(&request, -ENODEV), 0);
	request.fetch.id = 0x200000001;
	EXPECT_EQ(ioregionfd_request_finish(&request), -ESTALE);
	EXPECT_EQ(ioregionfd_request_finish(&request), 0);
	request.fetch.id = 0x200000001;
	self->mailboxes[1].state = 1 << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_FETCHED;
	EXPECT_EQ(ioregionfd_request_finish(&request), 0);
	EXPECT_TRUE(mailbox_done(&self->mailboxes[1]));
	EXPECT_EQ(self->device.logged, 1);
}

/* With guests. */

#define VCPUS		2
#define ROUNDS		2000
#define CODE_ADDR	0x1000
#define PORT(vcpu)	(0x500 + 16 * (vcpu))	/* 8 above it: posted writes */
#define DONE_PORT	0x600

/*
 * 16-bit code. Reads a value and writes it to the region with posted writes and to the
 * one without; says so at the end.
 */
static const uint8_t guest_code[] = {
	0x89, 0xda,		/* 1: mov %bx, %dx */
	0x66, 0xed,		/* in %dx, %eax */
	0x83, 0xc2, 0x08,	/* add $8, %dx */
	0x66, 0xef,		/* out %eax, %dx */
	0x89, 0xda,		/* mov %bx, %dx */
	0x66, 0xef,		/* out %eax, %dx */
	0x66, 0x49,		/* dec %ecx */
	0x75, 0xef,		/* jnz 1b */
	0xba, 0x00, 0x06,	/* mov $DONE_PORT, %dx */
	0xee,			/* out %al, %dx */
};

/* The device that one vCPU sees: each read returns the next number. */
struct counter {
	uint32_t given, posted, written;
	unsigned int wrong;
};

static uint16_t counter_command(void *opaque, const struct ioregionfd_cmd *cmd, uint64_t *value)
{
	struct counter *c = opaque;

	if (cmd->cmd == IOREGIONFD_CMD_READ) {
		c->wrong += c->posted != c->given || c->written != c->given;
		*value = ++c->given;
		return IOREGIONFD_STATUS_DONE;
	}
	c->wrong += (cmd->flags & IOREGIONFD_CMD_SIZE_MASK) != IOREGIONFD_SIZE_32BIT ||
		    cmd->data != c->given;
	if (cmd->flags & IOREGIONFD_CMD_F_RESP) {
		c->wrong += c->posted != c->given;
		c->written = cmd->data;
	} else {
		c->wrong += cmd->data != c->posted + 1;
		c->posted = cmd->data;
	}
	return IOREGIONFD_STATUS_DONE;
}

static const struct ioregionfd_ops counter_ops = { .command = counter_command };

struct vcpu {
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	int exit_reason;	/* exit reason of the last KVM_RUN, or a negative error */
};

struct machine {
	int kvm, vm, channel;
	size_t run_size;
	void *ram;
	struct vcpu vcpus[VCPUS];
	struct counter counters[VCPUS];
	struct ioregionfd_task *task;
	struct runner runners[VCPUS + 1];
};

FIXTURE(guest) {
	struct machine m;
};

static void vcpu_create(struct vcpu *vcpu, int vm, int i, size_t run_size)
{
	struct kvm_regs regs = {
		.rip = CODE_ADDR,
		.rbx = PORT(i),
		.rcx = ROUNDS,
		.rflags = 2,
	};
	struct kvm_sregs sregs;

	vcpu->fd = ioctl(vm, KVM_CREATE_VCPU, i);
	vcpu->run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->fd < 0 || vcpu->run == MAP_FAILED || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		abort();
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) || ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		abort();
}

static void *vcpu_main(void *arg)
{
	struct vcpu *vcpu = arg;
	int ret;

	do {
		ret = ioctl(vcpu->fd, KVM_RUN, 0);
	} while (ret && errno == EINTR);
	vcpu->exit_reason = ret ? -errno : (int)vcpu->run->exit_reason;
	return NULL;
}

FIXTURE_SETUP(guest)
{
	struct kvm_create_ioregionfd create = { .nr_mailboxes = VCPUS, .nr_posted = 4 };
	struct kvm_userspace_memory_region memory = { .memory_size = 0x10000 };
	struct kvm_ioregionfd region = { .memory_size = 4 };
	int i;

	memset(self, 0, sizeof(*self));
	self->m.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (self->m.kvm < 0)
		SKIP(return, "cannot open /dev/kvm: %s", strerror(errno));
	self->m.vm = ioctl(self->m.kvm, KVM_CREATE_VM, 0);
	if (self->m.vm < 0)
		SKIP(return, "KVM_CREATE_VM: %s", strerror(errno));
	if (ioctl(self->m.kvm, KVM_CHECK_EXTENSION, KVM_CAP_CREATE_IOREGIONFD) <= 0)
		SKIP(return, "KVM_CREATE_IOREGIONFD is not there: load our kvm.ko");
	self->m.channel = ioregionfd_create(self->m.vm, &create);
	ASSERT_GE(self->m.channel, 0);

	self->m.run_size = ioctl(self->m.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	self->m.ram = mmap(NULL, memory.memory_size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->m.ram, MAP_FAILED);
	memory.userspace_addr = (uintptr_t)self->m.ram;
	ASSERT_EQ(ioctl(self->m.vm, KVM_SET_USER_MEMORY_REGION, &memory), 0);
	memcpy(self->m.ram + CODE_ADDR, guest_code, sizeof(guest_code));

	ASSERT_EQ(ioregionfd_open(&self->m.task, self->m.channel, self->m.channel, 0), 0);
	region.read_fd = self->m.channel;
	region.write_fd = self->m.channel;
	for (i = 0; i < VCPUS; i++) {
		vcpu_create(&self->m.vcpus[i], self->m.vm, i, self->m.run_size);
		region.user_data = 2 * i;
		region.guest_paddr = PORT(i);
		region.flags = KVM_IOREGION_PIO;
		ASSERT_EQ(ioregionfd_add_region(self->m.vm, &region), 0);
		region.user_data = 2 * i + 1;
		region.guest_paddr = PORT(i) + 8;
		region.flags = KVM_IOREGION_PIO | KVM_IOREGION_POSTED_WRITES;
		ASSERT_EQ(ioregionfd_add_region(self->m.vm, &region), 0);
		ASSERT_EQ(ioregionfd_register(self->m.task, 2 * i, &counter_ops,
					      &self->m.counters[i]), 0);
		ASSERT_EQ(ioregionfd_register(self->m.task, 2 * i + 1, &counter_ops,
					      &self->m.counters[i]), 0);
	}
}

FIXTURE_TEARDOWN(guest)
{
	ioregionfd_close(self->m.task);
}

static void start_guests(struct machine *m)
{
	int i;

	for (i = 0; i < VCPUS; i++) {
		if (pthread_create(&m->vcpus[i].thread, NULL, vcpu_main, &m->vcpus[i]))
			abort();
	}
}

static void check_guests(struct __test_metadata *_metadata, struct machine *m)
{
	int i;

	for (i = 0; i < VCPUS; i++) {
		pthread_join(m->vcpus[i].thread, NULL);
		EXPECT_EQ(m->vcpus[i].exit_reason, KVM_EXIT_IO);
		EXPECT_EQ(m->vcpus[i].run->io.port, DONE_PORT);
		EXPECT_EQ(m->counters[i].given, ROUNDS);
		EXPECT_EQ(m->counters[i].posted, ROUNDS);
		EXPECT_EQ(m->counters[i].written, ROUNDS);
		EXPECT_EQ(m->counters[i].wrong, 0);
	}
}

static void close_vm(struct machine *m)
{
	int i;

	for (i = 0; i < VCPUS; i++) {
		munmap(m->vcpus[i].run, m->run_size);
		close(m->vcpus[i].fd);
	}
	close(m->vm);
}

static void serve_guests(struct __test_metadata *_metadata, struct machine *m,
			 enum ioregionfd_mode mode, bool by_vcpu)
{
	int i, threads = by_vcpu ? VCPUS : 1;

	for (i = 0; i < threads; i++)
		runner_start(&m->runners[i], m->task, mode,
			     by_vcpu ? (uint32_t)i : IOREGIONFD_ANY);
	start_guests(m);
	check_guests(_metadata, m);
	ioregionfd_stop(m->task);
	for (i = 0; i < threads; i++)
		EXPECT_EQ(runner_join(&m->runners[i]), 0);
	EXPECT_EQ(ioregionfd_unknown_count(m->task), 0);
}

TEST_F(guest, sleep)
{
	serve_guests(_metadata, &self->m, IOREGIONFD_SLEEP, false);
}

TEST_F(guest, poll)
{
	serve_guests(_metadata, &self->m, IOREGIONFD_POLL, false);
}

TEST_F(guest, adaptive)
{
	serve_guests(_metadata, &self->m, IOREGIONFD_ADAPTIVE, false);
}

TEST_F(guest, sleep_by_vcpu)
{
	serve_guests(_metadata, &self->m, IOREGIONFD_SLEEP, true);
}

TEST_F(guest, poll_by_vcpu)
{
	serve_guests(_metadata, &self->m, IOREGIONFD_POLL, true);
}

TEST_F(guest, adaptive_by_vcpu)
{
	serve_guests(_metadata, &self->m, IOREGIONFD_ADAPTIVE, true);
}

TEST_F(guest, threads_of_all_kinds)
{
	static const enum ioregionfd_mode modes[] = {
		IOREGIONFD_SLEEP, IOREGIONFD_ADAPTIVE, IOREGIONFD_POLL,
	};
	int i;

	for (i = 0; i < 3; i++)
		runner_start(&self->m.runners[i], self->m.task, modes[i], IOREGIONFD_ANY);
	start_guests(&self->m);
	check_guests(_metadata, &self->m);
	ioregionfd_stop(self->m.task);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(runner_join(&self->m.runners[i]), 0);
}

TEST_F(guest, signals_do_not_end_it)
{
	struct itimerval timer = { .it_value.tv_usec = 700, .it_interval.tv_usec = 700 };

	catch_signals(NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	serve_guests(_metadata, &self->m, IOREGIONFD_SLEEP, true);
	EXPECT_GT(signals, 0);
}

TEST_F(guest, stop_in_a_signal_handler)
{
	unsigned int us;

	catch_signals(self->m.task);
	for (us = 1; us < 400; us++) {
		signal_in(us);
		ASSERT_EQ(ioregionfd_run(self->m.task, IOREGIONFD_SLEEP, IOREGIONFD_ANY), 0);
		ASSERT_EQ(signals, us);
		ioregionfd_restart(self->m.task);
	}
}

/* Stopped and restarted, over and over: nothing is lost or done twice. */
TEST_F(guest, stop_and_restart)
{
	enum ioregionfd_mode mode = IOREGIONFD_SLEEP;
	int i;

	start_guests(&self->m);
	while (load(&self->m.counters[0].written) < ROUNDS ||
	       load(&self->m.counters[1].written) < ROUNDS) {
		for (i = 0; i < 2; i++)
			runner_start(&self->m.runners[i], self->m.task, mode, IOREGIONFD_ANY);
		usleep(300);
		ioregionfd_stop(self->m.task);
		for (i = 0; i < 2; i++)
			ASSERT_EQ(runner_join(&self->m.runners[i]), 0);
		ioregionfd_restart(self->m.task);
		mode = mode == IOREGIONFD_ADAPTIVE ? IOREGIONFD_SLEEP : mode + 1;
	}
	check_guests(_metadata, &self->m);
}

TEST_F(guest, ends_with_the_vm)
{
	static const enum ioregionfd_mode modes[] = {
		IOREGIONFD_SLEEP, IOREGIONFD_ADAPTIVE, IOREGIONFD_POLL,
	};
	int i;

	for (i = 0; i < 3; i++)
		runner_start(&self->m.runners[i], self->m.task, modes[i], IOREGIONFD_ANY);
	usleep(10000);
	close_vm(&self->m);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(runner_join(&self->m.runners[i]), 0);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(ioregionfd_run(self->m.task, modes[i], IOREGIONFD_ANY), 0);
}

static void stop_fetching(struct ioregionfd_request *request, unsigned int commands)
{
	while (commands--) {
		if (ioctl(request->fd, IOREGIONFD_COMMIT_AND_FETCH, &request->fetch))
			abort();
		if (commands)
			ioregionfd_request_complete(request, 0);
	}
}

/* A task that fetches a command and dies, and one that replaces it. */
TEST_F(guest, recover)
{
	struct ioregionfd_request request;
	struct ioregionfd_task *other;
	int i;

	ASSERT_EQ(ioregionfd_request_init(&request, self->m.task, IOREGIONFD_ANY), 0);
	start_guests(&self->m);
	stop_fetching(&request, 100);

	ASSERT_EQ(ioregionfd_open(&other, dup(self->m.channel), dup(self->m.channel), 0), -EINVAL);
	i = dup(self->m.channel);
	ASSERT_EQ(ioregionfd_open(&other, i, i, IOREGIONFD_OPEN_RECOVER), 0);
	EXPECT_EQ(ioregionfd_request_finish(&request), -ESTALE);
	for (i = 0; i < 2 * VCPUS; i++)
		ASSERT_EQ(ioregionfd_register(other, i, &counter_ops, &self->m.counters[i / 2]), 0);
	runner_start(&self->m.runners[0], other, IOREGIONFD_SLEEP, IOREGIONFD_ANY);
	check_guests(_metadata, &self->m);
	ioregionfd_stop(other);
	EXPECT_EQ(runner_join(&self->m.runners[0]), 0);
	ioregionfd_close(other);
}

TEST_F(guest, removed_region_goes_to_the_vmm)
{
	struct kvm_ioregionfd region = {
		.guest_paddr = PORT(0),
		.memory_size = 4,
		.flags = KVM_IOREGION_PIO,
	};

	ASSERT_EQ(ioregionfd_remove_region(self->m.vm, &region), 0);
	EXPECT_EQ(ioregionfd_remove_region(self->m.vm, &region), -ENOENT);
	region.flags |= KVM_IOREGION_DEASSIGN;
	EXPECT_EQ(ioregionfd_add_region(self->m.vm, &region), -EINVAL);
	vcpu_main(&self->m.vcpus[0]);
	EXPECT_EQ(self->m.vcpus[0].exit_reason, KVM_EXIT_IO);
	EXPECT_EQ(self->m.vcpus[0].run->io.port, PORT(0));
}

/* Two requests at a time, in one ring. */
TEST_F(guest, io_uring)
{
	struct ioregionfd_request requests[2], *request;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	int i, ret, live = 2;
	bool closed = false;

	ret = io_uring_queue_init(4, &ring, 0);
	if (ret)
		SKIP(return, "no io_uring: %s", strerror(-ret));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(ioregionfd_request_init(&requests[i], self->m.task, IOREGIONFD_ANY), 0);
		sqe = io_uring_get_sqe(&ring);
		ioregionfd_uring_prep(sqe, &requests[i]);
		io_uring_sqe_set_data(sqe, &requests[i]);
	}
	start_guests(&self->m);

	while (live) {
		io_uring_submit_and_wait(&ring, 1);
		ASSERT_EQ(io_uring_peek_cqe(&ring, &cqe), 0);
		request = io_uring_cqe_get_data(cqe);
		ret = ioregionfd_request_complete(request, cqe->res);
		io_uring_cqe_seen(&ring, cqe);
		ASSERT_GE(ret, 0);
		if (!ret) {
			live--;
			continue;
		}
		sqe = io_uring_get_sqe(&ring);
		ioregionfd_uring_prep(sqe, request);
		io_uring_sqe_set_data(sqe, request);
		if (closed || self->m.counters[0].written < ROUNDS ||
		    self->m.counters[1].written < ROUNDS)
			continue;
		/* The last responses go out; then both requests end with the VM. */
		io_uring_submit(&ring);
		check_guests(_metadata, &self->m);
		close_vm(&self->m);
		closed = true;
	}
	EXPECT_TRUE(closed);
	io_uring_queue_exit(&ring);
}

/* The time limits are longer by the factor KSELFTEST_SLOWNESS of the environment. */
int main(int argc, char **argv)
{
	const char *value = getenv("KSELFTEST_SLOWNESS");
	int slowness = value && atoi(value) > 1 ? atoi(value) : 1;
	struct __fixture_metadata *fixture;
	struct __test_metadata *test;

	for (fixture = __fixture_list; fixture; fixture = fixture->next)
		for (test = fixture->tests; test; test = test->next)
			test->timeout *= slowness;
	return test_harness_run(argc, argv);
}
