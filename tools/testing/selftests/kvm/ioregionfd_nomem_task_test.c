// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each allocation and each copy from and to user memory fails once, in the calls of a
 * device task: no command is lost or completed then, and the same call works when it is
 * repeated.
 */
#include <sys/uio.h>

#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"
#include "ioregionfd_nomem_util.h"

/*
 * The device task's calls.
 */
FIXTURE(task)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	int fd;
};

FIXTURE_VARIANT(task)
{
	bool many;
};

FIXTURE_VARIANT_ADD(task, one) { false };
FIXTURE_VARIANT_ADD(task, many) { true };

FIXTURE_SETUP(task)
{
	set_copies(true);
	faults_open();
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->fd = self->ch.dev_rd;
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(task)
{
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };

	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EAGAIN);
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

/* Submits @arg to a new ring each time, so that the ring's own allocations fail too. */
static int by_ring(int fd, struct ioregionfd_fetch *arg, struct faults *f)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int r;

	r = io_uring_queue_init(8, &ring, 0);
	TEST_ASSERT(!r, "no io_uring: %d", r);
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, arg, 0, 0);
	sqe->cmd_op = IOREGIONFD_COMMIT_AND_FETCH;
	if (f)
		faults_begin(f);
	r = io_uring_submit(&ring);
	if (f)
		faults_end(f);
	if (r == 1) {
		r = io_uring_wait_cqe(&ring, &cqe) ?: cqe->res;
	} else if (r >= 0 || r == -EAGAIN) {
		/* This is how io_uring reports that it got no memory for the request. */
		r = -ENOMEM;
	}
	io_uring_queue_exit(&ring);
	return r;
}

enum fetch {
	FETCH_IOCTL,
	FETCH_IOCTL_WAIT,
	FETCH_READ,
	FETCH_READV,
	FETCH_URING,
	FETCH_URING_WAIT,
	NR_FETCH
};

static const char * const fetch_names[] = {
	"ioctl: fetch", "ioctl: wait and fetch", "read()", "readv()", "io_uring: fetch",
	"io_uring: wait and fetch",
};

/* 16 segments of 2 bytes: more than readv() and writev() handle without an allocation. */
static void make_segments(struct iovec iov[16], void *buf)
{
	int i;

	for (i = 0; i < 16; i++)
		iov[i] = (struct iovec){ buf + 2 * i, 2 };
}

/* Fetches the command. Returns 0 or -errno. */
static int fetch(int fd, enum fetch how, struct ioregionfd_fetch *arg, struct faults *f)
{
	struct iovec iov[16];
	ssize_t n;
	int r;

	*arg = (struct ioregionfd_fetch){ .vcpu = IOREGIONFD_ANY };
	if (how == FETCH_IOCTL_WAIT || how == FETCH_URING_WAIT)
		arg->timeout = -1;
	make_segments(iov, &arg->cmd);
	if (how >= FETCH_URING)
		return by_ring(fd, arg, f);

	if (f)
		faults_begin(f);
	switch (how) {
	case FETCH_READ:
		n = read(fd, &arg->cmd, sizeof(arg->cmd));
		r = n < 0 ? -errno : 0;
		break;
	case FETCH_READV:
		n = readv(fd, iov, ARRAY_SIZE(iov));
		r = n < 0 ? -errno : 0;
		break;
	default:
		r = commit_and_fetch(fd, arg);
	}
	if (f)
		faults_end(f);
	return r;
}

static void write_response(int fd, uint64_t data)
{
	struct ioregionfd_resp resp = { .data = data };

	TEST_ASSERT_EQ(write(fd, &resp, sizeof(resp)), sizeof(resp));
}

/* A command that could not be stored is there for the next call. */
TEST_F_TIMEOUT(task, fetches, 240)
{
	struct ioregionfd_fetch arg;
	struct guest_op *op;
	enum fetch how;

	fcntl(self->fd, F_SETFL, O_RDWR | O_NONBLOCK);
	for (how = 0; how < NR_FETCH; how++) {
		struct faults f = { fetch_names[how], variant->many };

		while (faults_next(&f)) {
			op = op_read(self->vcpu, 8, SYNC + 8);
			thread_start(&self->thread);
			thread_wait_asleep(&self->thread);
			if (faults_failed(&f, fetch(self->fd, how, &arg, &f)))
				TEST_ASSERT_EQ(fetch(self->fd, how, &arg, NULL), 0);
			expect_cmd(arg.cmd, cmd_read(8, SYNC_DATA, 8));
			if (how == FETCH_READ || how == FETCH_READV)
				write_response(self->fd, 0x1000 + f.nth);
			else
				TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0x1000 + f.nth), 0);
			thread_join_done(&self->thread);
			TEST_ASSERT_EQ(op->val, 0x1000 + f.nth);
		}
		if (how == FETCH_READ || how == FETCH_READV || how == FETCH_URING_WAIT)
			faults_expect(&f);
		else
			faults_report(&f);
	}
}

enum give {
	GIVE_IOCTL,
	GIVE_WRITE,
	GIVE_WRITEV,
	GIVE_URING,
	GIVE_URING_FETCH,
	NR_GIVE
};

static const char * const give_names[] = {
	"ioctl: complete", "write()", "writev()", "io_uring: complete",
	"io_uring: complete and fetch",
};

/* Completes what has been fetched. Returns 0 or -errno. */
static int give(int fd, enum give how, struct ioregionfd_fetch *arg, uint64_t data,
		struct faults *f)
{
	struct ioregionfd_resp resp = { .data = data };
	struct iovec iov[16];
	ssize_t n;
	int r;

	arg->data = data;
	arg->timeout = 0;
	arg->flags = how == GIVE_URING_FETCH ? 0 : IOREGIONFD_COMMIT_ONLY;
	make_segments(iov, &resp);
	if (how >= GIVE_URING) {
		r = by_ring(fd, arg, f);
		/* There is no next command to fetch. */
		return how == GIVE_URING_FETCH && r == -EAGAIN ? 0 : r;
	}

	if (f)
		faults_begin(f);
	switch (how) {
	case GIVE_WRITE:
		n = write(fd, &resp, sizeof(resp));
		r = n < 0 ? -errno : 0;
		break;
	case GIVE_WRITEV:
		n = writev(fd, iov, ARRAY_SIZE(iov));
		r = n < 0 ? -errno : 0;
		break;
	default:
		r = commit_and_fetch(fd, arg);
	}
	if (f)
		faults_end(f);
	return r;
}

/* A completion that failed can be repeated, and no other command has been completed. */
TEST_F_TIMEOUT(task, completes, 240)
{
	struct ioregionfd_fetch arg;
	struct guest_op *op;
	enum give how;
	uint64_t id;

	for (how = 0; how < NR_GIVE; how++) {
		struct faults f = { give_names[how], variant->many };

		while (faults_next(&f)) {
			op = op_read(self->vcpu, 8, SYNC + 8);
			thread_start(&self->thread);
			thread_wait_asleep(&self->thread);
			TEST_ASSERT_EQ(fetch(self->fd, how == GIVE_WRITE || how == GIVE_WRITEV ?
					    FETCH_READ : FETCH_IOCTL, &arg, NULL), 0);
			id = arg.id;
			if (faults_failed(&f, give(self->fd, how, &arg, 0xbad, &f))) {
				TEST_ASSERT(thread_asleep(&self->thread),
					    "%s: failure %u, but it was completed", f.name, f.nth);
				TEST_ASSERT(arg.id == id, "%s: failure %u: id 0x%llx, not 0x%lx",
					    f.name, f.nth, arg.id, id);
				TEST_ASSERT_EQ(give(self->fd, how, &arg, 0x600d, NULL), 0);
				thread_join_done(&self->thread);
				TEST_ASSERT_EQ(op->val, 0x600d);
			} else {
				thread_join_done(&self->thread);
				TEST_ASSERT_EQ(op->val, 0xbad);
			}
		}
		/* io_uring gets what it needs to complete a command in other ways. */
		if (how == GIVE_WRITE || how == GIVE_WRITEV)
			faults_expect(&f);
		else
			faults_report(&f);
	}
}

/* A task that has failed to wait is not woken. */
TEST_F_TIMEOUT(task, waits, 240)
{
	struct faults f = { "a command of io_uring waits", variant->many };
	struct ioregionfd_fetch arg, parked;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	struct guest_op *op;
	int r;

	while (faults_next(&f)) {
		r = io_uring_queue_init(8, &ring, 0);
		TEST_ASSERT(!r, "no io_uring: %d", r);
		parked = (struct ioregionfd_fetch){ .vcpu = 0, .timeout = -1 };
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_rw(IORING_OP_URING_CMD, sqe, self->fd, &parked, 0, 0);
		sqe->cmd_op = IOREGIONFD_COMMIT_AND_FETCH;
		faults_begin(&f);
		r = io_uring_submit(&ring);
		faults_end(&f);
		if (r != 1)
			r = r >= 0 || r == -EAGAIN ? -ENOMEM : r;
		else if (!io_uring_peek_cqe(&ring, &cqe))
			r = cqe->res;
		op = op_read(self->vcpu, 8, SYNC + 8);
		thread_start(&self->thread);
		if (faults_failed(&f, r)) {
			arg = fetch_arg(IOREGIONFD_ANY);
			TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
		} else {
			r = io_uring_wait_cqe(&ring, &cqe) ?: cqe->res;
			TEST_ASSERT_EQ(r, 0);
			arg = parked;
		}
		expect_cmd(arg.cmd, cmd_read(8, SYNC_DATA, 8));
		TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0x1000 + f.nth), 0);
		thread_join_done(&self->thread);
		TEST_ASSERT_EQ(op->val, 0x1000 + f.nth);
		io_uring_queue_exit(&ring);
	}
	faults_expect(&f);
}

enum other {
	OTHER_INFO,
	OTHER_RECOVER,
	OTHER_INTERRUPT,
	OTHER_FETCH_TIMEOUT,
	OTHER_POLL,
	OTHER_EPOLL,
	OTHER_MMAP,
	NR_OTHER
};

static const char * const other_names[] = {
	"IOREGIONFD_GET_INFO", "IOREGIONFD_RECOVER", "IOREGIONFD_INTERRUPT",
	"IOREGIONFD_COMMIT_AND_FETCH with a timeout", "poll()", "epoll", "mmap()",
};

static int other(int fd, enum other what, int epoll)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	struct ioregionfd_info info;
	struct ioregionfd_fetch arg = { .vcpu = 0, .timeout = 1000 };
	uint32_t *map;
	int r;

	switch (what) {
	case OTHER_INFO:
		r = ioctl(fd, IOREGIONFD_GET_INFO, &info);
		break;
	case OTHER_RECOVER:
		r = ioctl(fd, IOREGIONFD_RECOVER);
		break;
	case OTHER_INTERRUPT:
		r = ioctl(fd, IOREGIONFD_INTERRUPT);
		break;
	case OTHER_FETCH_TIMEOUT:
		r = commit_and_fetch(fd, &arg);
		return r == -ETIMEDOUT || r == -ECANCELED ? 0 : r;
	case OTHER_POLL:
		r = poll(&pfd, 1, 0);
		break;
	case OTHER_EPOLL:
		r = epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
		break;
	default:
		/* With mlockall() this is MAP_POPULATE: all pages are there, or none. */
		map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		r = map == MAP_FAILED ? -1 : 0;
		if (!r)
			munmap(map, 4096);
	}
	return r < 0 ? -errno : 0;
}

TEST_F_TIMEOUT(task, other, 240)
{
	struct ioregionfd_fetch arg;
	struct guest_op *op;
	enum other what;
	int r, epoll;

	for (what = 0; what < NR_OTHER; what++) {
		struct faults f = { other_names[what], variant->many };

		while (faults_next(&f)) {
			epoll = epoll_create1(0);
			faults_begin(&f);
			r = other(self->fd, what, epoll);
			faults_end(&f);
			/* The kernel's own limit on epoll watches. */
			if (what == OTHER_EPOLL && r == -ENOSPC)
				r = -ENOMEM;
			if (faults_failed(&f, r))
				TEST_ASSERT_EQ(other(self->fd, what, epoll), 0);
			close(epoll);
			/* Consumes an IOREGIONFD_INTERRUPT. */
			other(self->fd, OTHER_FETCH_TIMEOUT, 0);
			op = op_read(self->vcpu, 8, SYNC + 8);
			thread_start(&self->thread);
			arg = fetch_arg(IOREGIONFD_ANY);
			TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
			TEST_ASSERT_EQ(commit_only(self->fd, arg.id, what), 0);
			thread_join_done(&self->thread);
			TEST_ASSERT_EQ(op->val, what);
		}
		faults_report(&f);
	}
}

int main(int argc, char **argv)
{
	int r;

	faults_setup();
	r = ioregion_test_main(argc, argv);
	faults_cleanup();
	return r;
}
