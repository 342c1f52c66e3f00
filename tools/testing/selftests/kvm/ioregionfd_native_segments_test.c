// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: read() and write() behave as on a SOCK_SEQPACKET socket, however many
 * segments their buffers have.
 */
#include <sys/uio.h>

#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define SYNC		MMIO_GPA
#define SYNC_DATA	USER_DATA(0)

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
