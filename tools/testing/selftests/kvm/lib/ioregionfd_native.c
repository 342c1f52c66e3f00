// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tasks that serve a native channel in each of the possible modes.
 */
#include "ioregionfd_native_util.h"

void server_open(struct server *s, int fd, enum mode mode, uint32_t vcpu)
{
	struct epoll_event event = { .events = EPOLLIN };
	int r;

	*s = (struct server){ .fd = fd, .mode = mode, .vcpu = vcpu };
	switch (mode) {
	case MODE_EPOLL:
		s->epoll = epoll_create1(EPOLL_CLOEXEC);
		r = epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event);
		TEST_ASSERT(!r, __KVM_SYSCALL_ERROR("epoll_ctl()", r));
		break;
	case MODE_URING:
	case MODE_URING_ASYNC:
		r = io_uring_queue_init(8, &s->ring, 0);
		TEST_ASSERT(!r, "no io_uring: %d", r);
		break;
	case MODE_MAPPING:
		s->map = mapping_open(fd);
		break;
	default:
		break;
	}
}

static void server_close(struct server *s)
{
	switch (s->mode) {
	case MODE_EPOLL:
		close(s->epoll);
		break;
	case MODE_URING:
	case MODE_URING_ASYNC:
		io_uring_queue_exit(&s->ring);
		break;
	case MODE_MAPPING:
		mapping_close(&s->map);
		break;
	default:
		break;
	}
}

/* MODE_POLL and MODE_EPOLL: waits until there is something to read. */
static int server_poll(struct server *s)
{
	struct pollfd pfd = { .fd = s->fd, .events = POLLIN };
	struct epoll_event event;
	int r;

	switch (s->mode) {
	case MODE_POLL:
		r = poll(&pfd, 1, -1);
		break;
	case MODE_EPOLL:
		r = epoll_wait(s->epoll, &event, 1, -1);
		break;
	default:
		return 0;
	}
	return r < 0 ? -errno : 0;
}

int server_read(struct server *s)
{
	struct ioregionfd_resp resp = make_resp(s->arg.data);
	ssize_t n;
	int r;

	if (s->arg.id && write(s->fd, &resp, sizeof(resp)) != sizeof(resp))
		return -errno;
	s->arg.id = 0;
	r = server_poll(s);
	if (r)
		return r;
	n = read(s->fd, &s->arg.cmd, sizeof(s->arg.cmd));
	if (n <= 0)
		return n ? -errno : -ENODEV;
	s->arg.id = s->arg.cmd.flags & IOREGIONFD_CMD_F_RESP;
	return 0;
}

void uring_submit(struct io_uring *ring, int fd, struct ioregionfd_fetch *arg, unsigned int flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	int r;

	TEST_ASSERT(sqe, "the ring is full");
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, arg, 0, 0);
	sqe->cmd_op = IOREGIONFD_COMMIT_AND_FETCH;
	sqe->user_data = (uint64_t)arg;
	sqe->flags = flags;
	/* With SQPOLL this counts entries that the kernel thread has not picked up yet. */
	r = io_uring_submit(ring);
	TEST_ASSERT(r > 0, "io_uring_submit() failed: %d", r);
}

int uring_wait(struct io_uring *ring, struct ioregionfd_fetch **arg)
{
	struct io_uring_cqe *cqe;
	int r;

	do {
		r = io_uring_wait_cqe(ring, &cqe);
	} while (r == -EINTR);
	TEST_ASSERT(!r, "io_uring_wait_cqe() failed: %d", r);
	r = cqe->res;
	if (arg)
		*arg = (struct ioregionfd_fetch *)cqe->user_data;
	io_uring_cqe_seen(ring, cqe);
	return r;
}

static void mapping_set_polling(struct server *s, uint32_t polling)
{
	if (s->vcpu == IOREGIONFD_ANY)
		WRITE_ONCE(s->map.control->polling, polling);
	else
		WRITE_ONCE(s->map.mailboxes[s->vcpu].polling, polling);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static int server_look(struct server *s)
{
	int i;

	if (s->arg.id)
		mapping_complete(&s->map, s->arg.id, s->arg.data);
	s->arg.id = 0;
	mapping_set_polling(s, 1);
	for (i = 0; i < MAPPING_LOOKS; i++) {
		if (mapping_fetch(&s->map, s->vcpu, &s->arg))
			return 0;
		sched_yield();
	}
	mapping_set_polling(s, 0);
	if (mapping_fetch(&s->map, s->vcpu, &s->arg))
		return 0;
	return commit_and_fetch(s->fd, &s->arg);
}

int server_next(struct server *s)
{
	s->arg.timeout = -1;
	s->arg.vcpu = s->vcpu;
	switch (s->mode) {
	case MODE_IOCTL:
		return commit_and_fetch(s->fd, &s->arg);
	case MODE_URING:
		uring_submit(&s->ring, s->fd, &s->arg, 0);
		return uring_wait(&s->ring, NULL);
	case MODE_URING_ASYNC:
		uring_submit(&s->ring, s->fd, &s->arg, IOSQE_ASYNC);
		return uring_wait(&s->ring, NULL);
	case MODE_MAPPING:
		return server_look(s);
	default:
		return server_read(s);
	}
}

static void *server_main(void *arg)
{
	struct server_thread *t = arg;
	struct server *s = &t->server;

	__atomic_store_n(&t->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	while (!(t->ret = server_next(s))) {
		s->arg.data = t->dev->respond(t->dev, &s->arg.cmd);
		__atomic_store_n(&t->nr, t->nr + 1, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&t->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

void server_start(struct server_thread *t, struct device *dev, int fd, enum mode mode,
		  uint32_t vcpu)
{
	int r;

	memset(t, 0, sizeof(*t));
	t->dev = dev;
	server_open(&t->server, fd, mode, vcpu);
	r = pthread_create(&t->thread, NULL, server_main, t);
	TEST_ASSERT(!r, "pthread_create() failed: %d", r);
	while (!__atomic_load_n(&t->tid, __ATOMIC_ACQUIRE))
		usleep(100);
}

void __server_wait_asleep(struct server_thread *t, int line)
{
	int i, asleep = 0;

	/* Asleep for longer than a wait for a lock on the way there could take. */
	for (i = 0; asleep < 5 && i < HANG_SECONDS * 1000; i++) {
		TEST_ASSERT(!__atomic_load_n(&t->ended, __ATOMIC_ACQUIRE),
			    "line %d: the server ended: %d", line, t->ret);
		asleep = task_asleep(t->tid) ? asleep + 1 : 0;
		usleep(1000);
	}
	TEST_ASSERT(asleep, "line %d: the server does not sleep", line);
}

void __server_join(struct server_thread *t, int want, int line)
{
	int i;

	for (i = 0; !__atomic_load_n(&t->ended, __ATOMIC_ACQUIRE) && i < HANG_SECONDS * 1000; i++)
		usleep(1000);
	TEST_ASSERT(t->ended, "line %d: the device task does not end", line);
	TEST_ASSERT(t->ret == want, "line %d: wanted %d, the device task got %d", line, want,
		    t->ret);
	pthread_join(t->thread, NULL);
	server_close(&t->server);
}

unsigned int servers_nr(struct server_thread *servers, unsigned int nr)
{
	unsigned int i, sum = 0;

	for (i = 0; i < nr; i++)
		sum += __atomic_load_n(&servers[i].nr, __ATOMIC_ACQUIRE);
	return sum;
}

struct guest_op *vcpu_waits(struct vcpu_thread *threads, int i)
{
	struct guest_op *op = op_read(threads[i].vcpu, 8, MMIO_GPA + 0x100 * i);

	thread_start(&threads[i]);
	thread_wait_asleep(&threads[i]);
	return op;
}

void __expect_cmd_of(struct ioregionfd_fetch *arg, int i, int line)
{
	TEST_ASSERT(ioregionfd_id_vcpu(arg->id) == i, "line %d: wanted vCPU %d, got %d", line, i,
		    ioregionfd_id_vcpu(arg->id));
	__expect_cmd(arg->cmd, cmd_read(8, USER_DATA(0), 0x100 * i), line);
}

struct bad_memory bad_memory(void)
{
	char *mem = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);

	TEST_ASSERT(mem != MAP_FAILED, "mmap() failed");
	TEST_ASSERT(!mprotect(mem + 4096, 4096, PROT_NONE), "mprotect() failed");
	TEST_ASSERT(!mprotect(mem + 2 * 4096, 4096, PROT_READ), "mprotect() failed");
	return (struct bad_memory){ mem + 4096, mem + 4096, mem + 2 * 4096 };
}
