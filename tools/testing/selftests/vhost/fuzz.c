// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the random operations have in common, and those on processes, files and memory
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/userfaultfd.h>
#include "fuzz.h"
#include "tap.h"

/* Around the memory: what a device writes beyond it has to be nobody's. */
#define GUARD		BIT(30)

struct fuzz fuzz;

static const struct fuzz_op *const lists[] = { fuzz_device_ops, fuzz_ring_ops, fuzz_process_ops };

uint64_t fuzz_next(struct actor *a)
{
	/* splitmix64 */
	uint64_t z = (a->seed += 0x9e3779b97f4a7c15ul);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebul;
	return z ^ (z >> 31);
}

const struct fuzz_op *fuzz_op(unsigned int i)
{
	const struct fuzz_op *op;

	for (unsigned int list = 0; list < ARRAY_SIZE(lists); list++)
		for (op = lists[list]; op->name; op++)
			if (!i--)
				return op;
	return NULL;
}

static struct logged *begin(struct actor *a, const char *name)
{
	struct actor_log *log = a->log;
	struct logged *l = &log->ops[log->nr % NR_LOGGED];

	*l = (struct logged) {
		.name = name,
		.device = a->device - fuzz.devices,
		.queue = a->queue,
	};
	__atomic_store_n(&log->nr, log->nr + 1, __ATOMIC_RELEASE);
	return l;
}

/* Operation number @i */
static void act(struct actor *a, unsigned int i)
{
	const struct fuzz_op *op = fuzz_op(i);
	struct logged *l;

	a->device = &fuzz.devices[below(a, NR_DEVICES)];
	a->queue = a->device->kind == TEST ? 0 : below(a, 2);
	a->sane = !one_in(a, 8);
	__atomic_fetch_add(&fuzz.world->begun[i], 1, __ATOMIC_RELAXED);
	l = begin(a, op->name);
	l->ret = op->act(a);
	if (l->ret < 0)
		l->ret = -errno;
	l->ended = true;
	if (l->ret >= 0)
		__atomic_fetch_add(&fuzz.world->succeeded[i], 1, __ATOMIC_RELAXED);
}

void fuzz_act(struct actor *a)
{
	const struct fuzz_op *op;
	unsigned int i, n = 0;

	for (i = 0; (op = fuzz_op(i)); i++)
		n += op->weight;
	n = below(a, n);
	for (i = 0; n >= (op = fuzz_op(i))->weight; i++)
		n -= op->weight;
	act(a, i);
}

void fuzz_did(struct actor *a, long x, long y)
{
	struct logged *l = &a->log->ops[(a->log->nr - 1) % NR_LOGGED];

	l->a = x;
	l->b = y;
	if (fuzz.marker >= 0)
		dprintf(fuzz.marker, "fuzz %u: %u.%u: %s %ld 0x%lx", a->index, l->device, l->queue,
			l->name, x, y);
}

/* The memory keeps its content: only the devices' mapping of it goes. */
static void stall(uint8_t *page)
{
	madvise(page, MEMORY_PAGE, MADV_DONTNEED);
}

void *fuzz_argument(struct actor *a)
{
	if (!a->sane && one_in(a, 8))
		return (void *)8;
	if (!one_in(a, 24))
		return a->buffer;
	stall(a->stalled);
	return a->stalled;
}

int fuzz_pick(struct actor *a, enum file_kind kind)
{
	if (!a->sane && one_in(a, 4))
		kind = below(a, NR_FILE_KINDS);
	return fuzz_fd(&fuzz.files[kind][below(a, NR_FILES)]);
}

long fuzz_replace(int *at, int fd)
{
	if (fd < 0)
		return fd;
	fd = __atomic_exchange_n(at, fd, __ATOMIC_SEQ_CST);
	if (fd >= 0)
		close(fd);
	return 0;
}

long fuzz_keep(struct actor *a, enum file_kind kind, int fd)
{
	return fuzz_replace(&fuzz.files[kind][below(a, NR_FILES)], fd);
}

bool fuzz_lock(struct actor *a)
{
	return !__atomic_exchange_n(&a->device->busy, true, __ATOMIC_ACQUIRE);
}

void fuzz_unlock(struct actor *a)
{
	__atomic_store_n(&a->device->busy, false, __ATOMIC_RELEASE);
}

uint8_t *fuzz_page(struct actor *a)
{
	const struct ring *ring = &a->device->ring[a->queue];
	unsigned int n = below(a, NR_BUFFERS);

	switch (below(a, 6)) {
	case 0:
		return fuzz_theirs(ring->desc);
	case 1:
		return fuzz_theirs(ring->driver);
	case 2:
		return fuzz_theirs(ring->device);
	case 3:
		return fuzz_theirs(ring->tables) + below(a, 16) * MEMORY_PAGE;
	case 4:
		return fuzz_theirs(a->device->buffers[a->queue]) + n * BUFFER_SIZE;
	default:
		return fuzz.theirs + below(a, MEMORY_SIZE / MEMORY_PAGE) * MEMORY_PAGE;
	}
}

static long do_stall(struct actor *a)
{
	uint8_t *page = fuzz_page(a);

	fuzz_did(a, page - fuzz.theirs, 0);
	stall(page);
	return 0;
}

/* Not readable, or not writable, for a while */
static long do_protect(struct actor *a)
{
	int protection = one_of(a, PROT_NONE, PROT_READ);
	uint8_t *page = fuzz_page(a);
	long ret;

	fuzz_did(a, page - fuzz.theirs, protection);
	ret = mprotect(page, MEMORY_PAGE, protection);
	usleep(below(a, 2000));
	return mprotect(page, MEMORY_PAGE, PROT_READ | PROT_WRITE) ?: ret;
}

static int register_pages(uint8_t *pages, size_t size)
{
	struct uffdio_register range = {
		.range = { (uintptr_t)pages, size },
		.mode = UFFDIO_REGISTER_MODE_MINOR,
	};

	return fuzz.uffd < 0 ? 0 : ioctl(fuzz.uffd, UFFDIO_REGISTER, &range);
}

/* Nobody but this maps memory during a round, so that nobody else's comes in between. */
static long do_unmap(struct actor *a)
{
	uint8_t *page = fuzz_page(a);

	fuzz_did(a, page - fuzz.theirs, 0);
	munmap(page, MEMORY_PAGE);
	usleep(below(a, 2000));
	if (mmap(page, MEMORY_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fuzz.file,
		 page - fuzz.theirs) != page)
		return -1;
	/* In a process that was forked, those of its parent are meant. */
	register_pages(page, MEMORY_PAGE);
	return 0;
}

static long do_event(struct actor *a)
{
	return fuzz_keep(a, EVENT, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

static long do_pair(struct actor *a)
{
	int pair[2];

	if (socketpair(AF_UNIX, one_of(a, SOCK_SEQPACKET, SOCK_DGRAM), 0, pair))
		return -1;
	fuzz_keep(a, UNIX, pair[0]);
	return fuzz_keep(a, UNIX, pair[1]);
}

/* Which of the places for file descriptors: those of all kinds, then the devices' */
static int *place(unsigned int i)
{
	return i < NR_FILE_KINDS * NR_FILES ? &fuzz.files[i / NR_FILES][i % NR_FILES] :
					      &fuzz.devices[i - NR_FILE_KINDS * NR_FILES].fd;
}

static unsigned int any_place(struct actor *a)
{
	return one_in(a, 2) ? below(a, NR_FILE_KINDS * NR_FILES) :
			      NR_FILE_KINDS * NR_FILES + below(a, NR_DEVICES);
}

/* A message with a file descriptor, or room for one */
struct passed {
	union {
		struct cmsghdr hdr;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	uint8_t where;
	struct iovec iov;
	struct msghdr message;
};

static void passed_init(struct passed *p)
{
	*p = (struct passed) { .iov = { &p->where, 1 } };
	p->message = (struct msghdr) {
		.msg_iov = &p->iov,
		.msg_iovlen = 1,
		.msg_control = &p->control,
		.msg_controllen = sizeof(p->control),
	};
}

/* Put a file descriptor into it. */
static void passed_put(struct passed *p, int fd)
{
	p->control.hdr = (struct cmsghdr) { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&p->control.hdr), &fd, sizeof(fd));
}

/* The one that it had, or -1 */
static int passed_fd(struct passed *p)
{
	int fd = -1;

	if (CMSG_FIRSTHDR(&p->message))
		memcpy(&fd, CMSG_DATA(&p->control.hdr), sizeof(fd));
	return fd;
}

static long do_send_fd(struct actor *a)
{
	int sock = fuzz_pick(a, UNIX), fd;
	struct passed p;

	passed_init(&p);
	p.where = any_place(a);
	fd = fuzz_fd(place(p.where));
	passed_put(&p, fd);
	fuzz_did(a, sock, fd);
	return sendmsg(sock, &p.message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* It goes to the place where it came from. */
static long do_receive_fd(struct actor *a)
{
	int sock = fuzz_pick(a, UNIX);
	struct passed p;
	long ret;

	passed_init(&p);
	fuzz_did(a, sock, 0);
	ret = recvmsg(sock, &p.message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (ret <= 0)
		return ret ? -1 : fuzz_failed(ENODATA);
	if (!CMSG_FIRSTHDR(&p.message) || p.where >= NR_FILE_KINDS * NR_FILES + NR_DEVICES)
		return fuzz_failed(ENOMSG);
	return fuzz_replace(place(p.where), passed_fd(&p));
}

static long do_close(struct actor *a)
{
	int *at = place(any_place(a)), fd = __atomic_exchange_n(at, -1, __ATOMIC_SEQ_CST);

	fuzz_did(a, fd, 0);
	return close(fd);
}

static long do_dup(struct actor *a)
{
	int *at = place(any_place(a));

	fuzz_did(a, fuzz_fd(at), 0);
	return fuzz_replace(at, fcntl(fuzz_fd(at), F_DUPFD_CLOEXEC, 0));
}

static long do_poll(struct actor *a)
{
	struct pollfd pfds[] = {
		{ fuzz_fd(&a->device->fd), POLLIN | POLLOUT },
		{ fuzz_pick(a, EVENT), POLLIN },
	};

	fuzz_did(a, pfds[0].fd, pfds[1].fd);
	return poll(pfds, ARRAY_SIZE(pfds), below(a, 3));
}

static long do_sleep(struct actor *a)
{
	return usleep(below(a, 300));
}

/*
 * One of the allocations or copies of another operation fails. No signal meanwhile: to handle
 * it the kernel copies, too, and if that fails the process ends.
 */
static long do_fail(struct actor *a)
{
	int fd = open("/proc/thread-self/fail-nth", O_WRONLY | O_CLOEXEC);
	unsigned int i, n = 0;
	sigset_t usr1;

	fuzz_did(a, fd, 0);
	if (fd < 0)
		return -1;
	while (fuzz_op(n))
		n++;
	do
		i = below(a, n);
	while (fuzz_op(i)->spared);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	dprintf(fd, "%u", 1 + below(a, 30));
	act(a, i);
	/* It may be this one that fails. */
	while (write(fd, "0", 1) != 1)
		;
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	close(fd);
	return 0;
}

/*
 * A process that is killed, whatever it has begun and not ended, with the devices that are its
 * own. Its parent waits meanwhile.
 */
static long do_fork(struct actor *a)
{
	int status = 0, i;
	pid_t pid;

	fuzz_did(a, a->forked, 0);
	if (a->forked)
		return fuzz_failed(EPERM);
	pid = fork();
	if (!pid) {
		/* Nobody else would end it if the time limit ends this test. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		a->forked = true;
		for (i = below(a, 100); i >= 0; i--)
			fuzz_act(a);
		_exit(0);
	}
	if (pid < 0)
		return pid;
	usleep(below(a, 5000));
	if (one_in(a, 4)) {
		kill(pid, SIGSTOP);
		usleep(below(a, 3000));
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	/* It is the test that is wrong then: end this process in the same way. */
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		kill(getpid(), WTERMSIG(status));
	return 0;
}

const struct fuzz_op fuzz_process_ops[] = {
	{ "stall", do_stall, 6 },
	{ "protect", do_protect, 2 },
	{ "unmap", do_unmap, 2 },
	{ "event", do_event, 2 },
	{ "pair", do_pair, 2 },
	{ "send fd", do_send_fd, 4 },
	{ "receive fd", do_receive_fd, 4 },
	{ "close", do_close, 2 },
	{ "dup", do_dup, 2 },
	{ "poll", do_poll, 2, false, true },
	{ "sleep", do_sleep, 8, false, true },
	{ "fail", do_fail, 2, true, true },
	{ "fork", do_fork, 2, false, true },
	{ }
};

/* The begin of a round */

static void check(bool good, const char *what)
{
	if (good)
		return;
	printf("# the round does not begin: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

static void *map(void *at, size_t size, off_t offset)
{
	void *p = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0),
		       fuzz.file, offset);

	check(p != MAP_FAILED, "mmap");
	return p;
}

/* The same memory twice, with nothing near to where the devices have it */
static void memory_begin(void)
{
	uint8_t *room = mmap(NULL, 2 * GUARD + MEMORY_SIZE, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	check(room != MAP_FAILED, "room for the memory");
	fuzz.file = memfd_create("memory", MFD_CLOEXEC);
	check(fuzz.file >= 0 && !ftruncate(fuzz.file, MEMORY_SIZE + NR_ACTORS * MEMORY_PAGE),
	      "memory");
	fuzz.memory.base = map(NULL, MEMORY_SIZE, 0);
	fuzz.theirs = map(room + GUARD, MEMORY_SIZE, 0);
	for (unsigned int i = 0; i < MEMORY_REGIONS; i++)
		fuzz.memory.region[i] = fuzz.theirs + i * MEMORY_REGION;
	fuzz.log = memory_alloc(&fuzz.memory, (MEMORY_GPA + MEMORY_SIZE) / MEMORY_PAGE / 8,
				MEMORY_PAGE);
	check(fuzz.log, "log");
}

/* Lets what waits for a page go on after a while, or never. */
static void *stall_main(void *arg)
{
	struct actor *a = arg;
	struct uffd_msg msg;

	for (;;) {
		struct uffdio_continue page = { .range.len = MEMORY_PAGE };

		if (read(fuzz.uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		if (!fuzz.patient && one_in(a, 16))
			continue;
		usleep(below(a, one_of(a, 100, 1000, 20000)));
		page.range.start = msg.arg.pagefault.address & ~(MEMORY_PAGE - 1);
		/* It may be there by now, or have been unmapped. */
		if (ioctl(fuzz.uffd, UFFDIO_CONTINUE, &page))
			ioctl(fuzz.uffd, UFFDIO_WAKE, &page.range);
	}
	return NULL;
}

static void stalls_begin(struct actor *a)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MINOR_SHMEM };

	fuzz.uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	check(fuzz.uffd >= 0, "userfaultfd");
	check(!ioctl(fuzz.uffd, UFFDIO_API, &api), "UFFDIO_API");
	check(!register_pages(fuzz.theirs, MEMORY_SIZE), "UFFDIO_REGISTER");
	for (unsigned int i = 0; i < NR_ACTORS; i++)
		check(!register_pages(fuzz.actors[i].stalled, MEMORY_PAGE), "UFFDIO_REGISTER");
	check(!pthread_create(&a->thread, NULL, stall_main, a), "thread");
}

/* Tell who supervises, and let it end the stalls. */
static void hand_over(int supervisor)
{
	struct passed p;

	passed_init(&p);
	if (fuzz.uffd < 0)
		p.message.msg_controllen = 0;
	else
		passed_put(&p, fuzz.uffd);
	check(sendmsg(supervisor, &p.message, 0) == 1, "supervisor");
	close(supervisor);
}

bool fuzz_begun(int sock, int ms, int *uffd)
{
	struct pollfd pfd = { sock, POLLIN };
	struct passed p;

	*uffd = -1;
	passed_init(&p);
	if (poll(&pfd, 1, ms) != 1 ||
	    recvmsg(sock, &p.message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1)
		return false;
	*uffd = passed_fd(&p);
	return true;
}

void fuzz_let_go(const struct fuzz_world *world, int uffd)
{
	struct uffdio_range range = { (uintptr_t)world->theirs, MEMORY_SIZE };

	/* The former wakes only those who wait for a page that the file does not have either. */
	ioctl(uffd, UFFDIO_UNREGISTER, &range);
	ioctl(uffd, UFFDIO_WAKE, &range);
}

static void device_begin(struct fuzz_device *device, unsigned int i)
{
	const struct ring_kind largest = { .indirect = true, .sorted = true };

	*device = (struct fuzz_device) {
		.kind = i % NR_DEVICE_KINDS,
		.fd = -1,
		.cid = 4096 + i,
		.kick = { -1, -1 },
	};
	if (!fuzz_have(device->kind))
		device->kind = NET;
	for (int q = 0; q < 2; q++) {
		check(!ring_create(&device->ring[q], &fuzz.memory, largest, FUZZ_RING_SIZE),
		      "ring");
		device->buffers[q] = memory_alloc(&fuzz.memory, NR_BUFFERS * BUFFER_SIZE,
						  MEMORY_PAGE);
		check(device->buffers[q], "buffers");
	}
}

static void *actor_main(void *arg)
{
	struct actor *a = arg;

	for (;;)
		fuzz_act(a);
	return NULL;
}

void fuzz_begin(struct fuzz_world *world, uint64_t seed, int supervisor)
{
	static struct actor own, stalls;
	uint8_t frame[FRAME_LEAST];
	struct actor *a;
	struct tap tap;
	int null;

	own.seed = seed;
	stalls.seed = seed + NR_ACTORS * 0x10001;
	fuzz.world = world;
	fuzz.uffd = -1;
	fuzz.kthreads = one_in(&own, 4);
	fuzz.patient = !one_in(&own, 4);
	fuzz.streams = one_in(&own, 4);
	fuzz.marker = open("/sys/kernel/tracing/trace_marker", O_WRONLY | O_CLOEXEC);
	srandom(seed);
	/* The first one makes what all the others share. */
	frame_make(frame, 0, sizeof(frame));
	memory_begin();
	for (unsigned int i = 0; i < NR_DEVICES; i++)
		device_begin(&fuzz.devices[i], i);
	for (unsigned int i = 0; i < NR_FILE_KINDS * NR_FILES; i++)
		*place(i) = -1;
	check(!tap_create(&tap), "tap");
	for (unsigned int i = 0; i < NR_FILES; i++) {
		fuzz.files[EVENT][i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		fuzz.files[TAP][i] = dup(tap.fd);
		fuzz.files[PACKET][i] = dup(tap.socket);
	}
	tap_destroy(&tap);
	for (unsigned int i = 0; i < NR_ACTORS; i++) {
		fuzz.actors[i] = (struct actor) {
			.index = i,
			.log = &world->logs[i],
			.seed = seed + i * 0x10001,
			.buffer = map(NULL, MEMORY_PAGE, MEMORY_SIZE + i * MEMORY_PAGE),
			.stalled = map(NULL, MEMORY_PAGE, MEMORY_SIZE + i * MEMORY_PAGE),
		};
		world->logs[i].nr = 0;
	}
	/* Nobody could end a kernel thread that waits for a page, nor who waits for that thread. */
	if (!fuzz.kthreads)
		stalls_begin(&stalls);
	world->theirs = fuzz.theirs;
	/* Before there are others, who would keep the socket open */
	hand_over(supervisor);
	/* The driver's side of the rings says there what is wrong with them: nearly everything. */
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	check(null >= 0 && dup2(null, STDERR_FILENO) >= 0, "/dev/null");
	for (a = fuzz.actors; a < fuzz.actors + NR_ACTORS; a++)
		check(!pthread_create(&a->thread, NULL, actor_main, a), "thread");
}
