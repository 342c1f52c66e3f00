// SPDX-License-Identifier: GPL-2.0-only
/*
 * All that a process can do to channels, regions and VMs, at random.
 */
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "ioregionfd_fuzz_util.h"

struct fuzz fuzz;

uint64_t fuzz_next(struct actor *a)
{
	/* splitmix64 */
	uint64_t z = (a->seed += 0x9e3779b97f4a7c15ul);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebul;
	return z ^ (z >> 31);
}

/* A file descriptor that somebody has put there; it may be gone by now. */
static int pick(struct actor *a)
{
	int fd = -1, i;

	if (one_in(a, 32))
		return fuzz.vms[below(a, NR_VMS)]->fd;
	for (i = 0; i < 4 && fd < 0; i++)
		fd = READ_ONCE(fuzz.fds[below(a, NR_FDS)]);
	return fd;
}

static long keep(struct actor *a, int fd)
{
	if (fd < 0)
		return fd;
	if (one_in(a, 3))
		fcntl(fd, F_SETFL, O_NONBLOCK);
	fd = __atomic_exchange_n(&fuzz.fds[below(a, NR_FDS)], fd, __ATOMIC_SEQ_CST);
	if (fd >= 0)
		close(fd);
	return 0;
}

/* What the operation was called with; in the kernel's trace as well. */
static void did(struct actor *a, long x, long y)
{
	struct logged *l = &a->log->ops[(a->log->nr - 1) % NR_LOGGED];

	l->a = x;
	l->b = y;
	if (fuzz.marker >= 0)
		dprintf(fuzz.marker, "fuzz %u: %s %ld 0x%lx", a->index, l->name, x, y);
}

/* Where the system call gets what is in a->buffer: from there, or it stalls. */
static void *argument(struct actor *a)
{
	if (fuzz.uffd < 0 || !one_in(a, 24))
		return a->buffer;
	madvise(a->stalled, 4096, MADV_DONTNEED);
	return a->stalled;
}

static uint64_t window_address(struct actor *a)
{
	return MMIO_GPA + below(a, WINDOW / 64) * 64 + (one_in(a, 4) ? below(a, 64) : 0);
}

static struct kvm_vm *any_vm(struct actor *a)
{
	return fuzz.vms[below(a, NR_VMS)];
}

static long do_create(struct actor *a)
{
	struct kvm_create_ioregionfd *arg = (void *)a->buffer;
	int fd = one_in(a, 4) ? fuzz.kvm_fd : any_vm(a)->fd;

	*arg = (struct kvm_create_ioregionfd){
		.flags = one_in(a, 16) ? fuzz_next(a) : below(a, 2),
		.nr_mailboxes = one_of(a, 1u, 2u, 2u, 3u, 8u, 0u, 1024u, 4096u, 0xffffffffu),
		.nr_posted = one_of(a, 1u, 2u, 8u, 8u, 16u, 3u, 0u, 65536u, 131072u),
	};
	did(a, arg->nr_mailboxes, arg->nr_posted);
	return keep(a, ioctl(fd, KVM_CREATE_IOREGIONFD, argument(a)));
}

static long do_socketpair(struct actor *a)
{
	int type = one_in(a, 8) ? one_of(a, SOCK_STREAM, SOCK_DGRAM) : SOCK_SEQPACKET;
	int pair[2];
	long ret;

	did(a, type, 0);
	ret = socketpair(AF_UNIX, type, 0, pair);
	if (!ret) {
		keep(a, pair[0]);
		keep(a, pair[1]);
	}
	return ret;
}

static long do_region(struct actor *a)
{
	struct kvm_ioregionfd *arg = (void *)a->buffer;
	long ret;

	*arg = (struct kvm_ioregionfd){
		.memory_size = one_of(a, 1ul, 2ul, 4ul, 8ul, 64ul, 64ul, 256ul, 4096ul, 12288ul,
				      0ul, ~0ul),
		.user_data = fuzz_next(a),
		.read_fd = pick(a),
		.flags = one_in(a, 32) ? fuzz_next(a) : below(a, 4),
	};
	arg->guest_paddr = arg->flags & KVM_IOREGION_PIO ? PIO_BASE + below(a, NR_PORTS) :
			   window_address(a);
	arg->write_fd = one_in(a, 16) ? pick(a) : arg->read_fd;
	did(a, arg->read_fd, arg->guest_paddr);
	ret = ioctl(any_vm(a)->fd, KVM_SET_IOREGIONFD, argument(a));
	if (!ret)
		fuzz.regions[below(a, NR_REGIONS)] = *(struct kvm_ioregionfd *)a->buffer;
	return ret;
}

static long do_deassign(struct actor *a)
{
	struct kvm_ioregionfd *arg = (void *)a->buffer;

	*arg = fuzz.regions[below(a, NR_REGIONS)];
	arg->flags |= KVM_IOREGION_DEASSIGN;
	did(a, arg->flags, arg->guest_paddr);
	return ioctl(any_vm(a)->fd, KVM_SET_IOREGIONFD, argument(a));
}

static void random_fetch(struct actor *a, struct ioregionfd_fetch *arg)
{
	*arg = (struct ioregionfd_fetch){
		.id = one_in(a, 8) ? one_of(a, 1ul << 32, 2ul << 32 | 1, 1ul << 63, ~0ul) : a->id,
		.data = fuzz_next(a),
		.timeout = one_of(a, 0l, 0l, 1000000l, 5000000l, -1l, 1l),
		.vcpu = one_of(a, IOREGIONFD_ANY, IOREGIONFD_ANY, IOREGIONFD_ANY, 0u, 1u, 77u),
		.flags = one_in(a, 8) ? one_in(a, 8) ? fuzz_next(a) : IOREGIONFD_COMMIT_ONLY : 0,
		.status = one_in(a, 8) ? below(a, 4) : 0,
	};
}

static long do_fetch(struct actor *a)
{
	struct ioregionfd_fetch *arg = (void *)a->buffer;
	int fd = a->id && !one_in(a, 8) ? a->fd : pick(a);
	long ret;

	random_fetch(a, arg);
	did(a, fd, arg->id);
	arg = argument(a);
	ret = ioctl(fd, IOREGIONFD_COMMIT_AND_FETCH, arg);
	/* What stalled once is there by now. */
	a->id = ret ? 0 : READ_ONCE(arg->id);
	a->fd = fd;
	return ret;
}

static long do_read(struct actor *a)
{
	int fd = pick(a), n = one_in(a, 8) ? below(a, 4096) : sizeof(struct ioregionfd_cmd);

	did(a, fd, n);
	return read(fd, argument(a), n);
}

static long do_write(struct actor *a)
{
	struct ioregionfd_resp *resp = (void *)a->buffer;
	int fd = pick(a), n = one_in(a, 8) ? below(a, 64) : sizeof(*resp);

	*resp = make_resp(fuzz_next(a));
	resp->status = one_in(a, 8) ? below(a, 4) : IOREGIONFD_STATUS_DONE;
	if (one_in(a, 16))
		resp->pad[below(a, 5)] = 1;
	did(a, fd, n);
	return write(fd, argument(a), n);
}

static long do_poll(struct actor *a)
{
	struct pollfd pfds[4];
	int i;

	for (i = 0; i < ARRAY_SIZE(pfds); i++)
		pfds[i] = (struct pollfd){ .fd = pick(a), .events = POLLIN | POLLOUT };
	did(a, pfds[0].fd, pfds[1].fd);
	return poll(pfds, ARRAY_SIZE(pfds), below(a, 3));
}

static long do_uring(struct actor *a)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	int fd = pick(a), n = below(a, ARRAY_SIZE(a->ring_args));
	long ret;

	/* Another one may be under way with the same argument: then it is rewritten. */
	random_fetch(a, &a->ring_args[n]);
	if (!one_in(a, 8))
		a->ring_args[n].timeout = one_of(a, 0l, -1l, -1l);
	did(a, fd, n);
	sqe = io_uring_get_sqe(&a->ring);
	if (!sqe)
		return io_uring_submit(&a->ring);
	if (one_in(a, 3)) {
		io_uring_prep_cancel64(sqe, n, 0);
	} else {
		io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, &a->ring_args[n], 0, 0);
		sqe->cmd_op = one_in(a, 16) ? IOREGIONFD_RECOVER : IOREGIONFD_COMMIT_AND_FETCH;
		if (one_in(a, 4))
			sqe->flags |= IOSQE_ASYNC;
	}
	sqe->user_data = n;
	ret = io_uring_submit(&a->ring);
	while (!io_uring_peek_cqe(&a->ring, &cqe)) {
		if (!cqe->res && cqe->user_data == n) {
			a->id = READ_ONCE(a->ring_args[n].id);
			a->fd = fd;
		}
		io_uring_cqe_seen(&a->ring, cqe);
	}
	errno = ret < 0 ? -ret : 0;
	return ret < 0 ? -1 : 0;
}

static long do_map(struct actor *a)
{
	struct mapping map = { .fd = pick(a) };
	void *mem;

	did(a, map.fd, 0);
	if (ioctl(map.fd, IOREGIONFD_GET_INFO, &map.info))
		return -1;
	mem = mmap(NULL, map.info.size, PROT_READ | PROT_WRITE,
		   one_in(a, 16) ? MAP_PRIVATE : MAP_SHARED, map.fd,
		   one_in(a, 16) ? below(a, 16) * 4096 : 0);
	if (mem == MAP_FAILED)
		return -1;
	if (a->map.control)
		mapping_close(&a->map);
	map.control = mem;
	map.mailboxes = mem + map.info.mailboxes_offset;
	map.posted = mem + map.info.posted_offset;
	a->map = map;
	return 0;
}

/* Values that are most likely to be mistaken for valid ones, and others */
static long do_store(struct actor *a)
{
	struct ioregionfd_control *control = a->map.control;
	struct ioregionfd_mailbox *m;
	int i;

	did(a, a->map.info.size, 0);
	if (!control) {
		errno = EBADF;
		return -1;
	}
	m = &a->map.mailboxes[below(a, min(a->map.info.nr_mailboxes, 4u))];
	for (i = below(a, 10); i >= 0; i--) {
		switch (below(a, 6)) {
		case 0:
			WRITE_ONCE(((uint32_t *)control)[below(a, a->map.info.size / 4)],
				   fuzz_next(a));
			break;
		case 1:
			WRITE_ONCE(m->state, READ_ONCE(m->state) + (below(a, 3) - 1) * 16 +
				   below(a, 8) - 4);
			break;
		case 2:
			WRITE_ONCE(control->posted_tail, READ_ONCE(control->posted_tail) +
				   below(a, 7) - 3);
			break;
		case 3:
			WRITE_ONCE(control->posted_tail, (uint64_t)below(a, 3) << 32 |
				   (READ_ONCE(control->posted_head) << 1));
			break;
		case 4:
			WRITE_ONCE(m->posted_before, READ_ONCE(control->posted_head) +
				   below(a, 3) - 1);
			break;
		default:
			WRITE_ONCE(control->polling, below(a, 2));
			WRITE_ONCE(m->polling, below(a, 2));
		}
	}
	return 0;
}

/* As a device task should. What the vCPU sleeps for is left for do_fetch(). */
static long do_serve_mapping(struct actor *a)
{
	struct ioregionfd_fetch arg;
	uint32_t vcpu, state;
	uint64_t tail;

	did(a, a->map.info.size, 0);
	errno = EBADF;
	if (!a->map.control)
		return -1;
	errno = EAGAIN;
	if (!mapping_fetch(&a->map, one_in(a, 4) ? below(a, 2) : IOREGIONFD_ANY, &arg))
		return -1;
	a->id = arg.id;
	a->fd = a->map.fd;
	vcpu = ioregionfd_id_vcpu(arg.id);
	if (vcpu == IOREGIONFD_ANY) {
		tail = arg.id << 1 | 1;
		__atomic_compare_exchange_n(&a->map.control->posted_tail, &tail, tail + 1, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
		return 0;
	}
	state = (uint32_t)arg.id << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_FETCHED;
	if (mailbox_store_data(&a->map.mailboxes[vcpu], arg.id, fuzz_next(a)))
		__atomic_compare_exchange_n(&a->map.mailboxes[vcpu].state, &state,
					    mailbox_completed(state), false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED);
	return 0;
}

static long do_channel_ioctl(struct actor *a)
{
	unsigned int cmd = one_of(a, IOREGIONFD_RECOVER, IOREGIONFD_RECOVER, IOREGIONFD_INTERRUPT,
				  IOREGIONFD_GET_INFO_NR, _IO(IOREGIONFD_IOC_MAGIC, 4), FIONREAD);
	int fd = pick(a);

	did(a, fd, cmd);
	return ioctl(fd, cmd, argument(a));
}

static long do_send_fds(struct actor *a)
{
	union {
		struct cmsghdr hdr;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = { .hdr = { CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec iov = { a->buffer, sizeof(struct ioregionfd_resp) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control.bytes) };
	int sock = pick(a), sent[2] = { pick(a), pick(a) };

	if (one_in(a, 3))
		sent[0] = fuzz.vcpus[below(a, NR_VCPU_ACTORS)]->fd;
	if (one_in(a, 3))
		sent[1] = any_vm(a)->fd;
	memcpy(CMSG_DATA(&control.hdr), sent, sizeof(sent));
	memset(a->buffer, 0, sizeof(struct ioregionfd_resp));
	did(a, sock, sent[0]);
	return sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static long do_receive(struct actor *a)
{
	union {
		struct cmsghdr hdr;
		char bytes[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec iov = { argument(a), sizeof(struct ioregionfd_cmd) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c;
	int sock = pick(a), got[4];
	unsigned int i, n;
	long ret;

	did(a, sock, 0);
	ret = recvmsg(sock, &msg, MSG_DONTWAIT);
	if (ret < 0)
		return ret;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(got, CMSG_DATA(c), n * sizeof(int));
		for (i = 0; i < n; i++)
			keep(a, got[i]);
	}
	return ret;
}

static long do_close(struct actor *a)
{
	int fd = __atomic_exchange_n(&fuzz.fds[below(a, NR_FDS)], -1, __ATOMIC_SEQ_CST);

	did(a, fd, 0);
	return close(fd);
}

static long do_dup(struct actor *a)
{
	int fd = pick(a);

	did(a, fd, 0);
	return keep(a, dup(fd));
}

static long do_shutdown(struct actor *a)
{
	int fd = pick(a);

	did(a, fd, 0);
	return shutdown(fd, below(a, 3));
}

/* Memory instead of what a region covers, for a while */
static long do_memslot(struct actor *a)
{
	unsigned int page = below(a, MMIO_PAGES);
	struct kvm_userspace_memory_region *arg = (void *)a->buffer;

	*arg = (struct kvm_userspace_memory_region){
		.slot = 10 + page,
		.flags = one_in(a, 3) ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = MMIO_GPA + page * 4096,
		.memory_size = one_in(a, 3) ? 4096 : 0,
		.userspace_addr = (uint64_t)fuzz.spare_pages + page * 4096,
	};
	did(a, page, arg->memory_size);
	return ioctl(any_vm(a)->fd, KVM_SET_USER_MEMORY_REGION, argument(a));
}

static long do_ioeventfd(struct actor *a)
{
	struct kvm_ioeventfd *arg = (void *)a->buffer;
	int fd = eventfd(0, EFD_NONBLOCK);
	long ret;

	*arg = (struct kvm_ioeventfd){
		.datamatch = 0,
		.len = one_of(a, 0u, 1u, 2u, 4u, 8u),
		.fd = fd,
		.flags = one_in(a, 3) ? KVM_IOEVENTFD_FLAG_PIO : 0,
	};
	arg->addr = arg->flags ? PIO_BASE + below(a, NR_PORTS) : window_address(a);
	did(a, arg->flags, arg->addr);
	ret = ioctl(any_vm(a)->fd, KVM_IOEVENTFD, argument(a));
	close(fd);
	return ret;
}

static long do_coalesced(struct actor *a)
{
	struct kvm_coalesced_mmio_zone *arg = (void *)a->buffer;
	bool add = one_in(a, 2);

	*arg = (struct kvm_coalesced_mmio_zone){
		.size = one_of(a, 4u, 64u, 4096u, (unsigned int)WINDOW),
		.pio = one_in(a, 3),
	};
	arg->addr = arg->pio ? PIO_BASE + below(a, NR_PORTS) : window_address(a);
	did(a, arg->pio, arg->addr);
	return ioctl(any_vm(a)->fd, add ? KVM_REGISTER_COALESCED_MMIO :
		     KVM_UNREGISTER_COALESCED_MMIO, argument(a));
}

/* Of a vCPU that runs, or waits for a response: by another thread */
static long do_vcpu(struct actor *a)
{
	int fd = fuzz.vcpus[below(a, NR_VCPU_ACTORS)]->fd;
	struct kvm_regs regs;

	did(a, fd, 0);
	if (ioctl(fd, KVM_GET_REGS, &regs))
		return -1;
	return one_in(a, 4) ? ioctl(fd, KVM_SET_REGS, &regs) : 0;
}

/* A VM that goes with its regions and channels, in one order or another */
static long do_vm(struct actor *a)
{
	struct kvm_create_ioregionfd create = { .nr_mailboxes = 1, .nr_posted = 4 };
	int vm = ioctl(fuzz.kvm_fd, KVM_CREATE_VM, 0), ch;
	struct kvm_ioregionfd arg = { .guest_paddr = MMIO_GPA, .memory_size = 4096 };
	long ret;

	did(a, vm, 0);
	if (vm < 0)
		return vm;
	ch = one_in(a, 2) ? pick(a) : ioctl(vm, KVM_CREATE_IOREGIONFD, &create);
	arg.read_fd = ch;
	arg.write_fd = ch;
	ret = ioctl(vm, KVM_SET_IOREGIONFD, &arg);
	if (one_in(a, 8) && !ret)
		return keep(a, vm);
	close(vm);
	return ret;
}

static long do_stats(struct actor *a)
{
	bool of_vcpu = one_in(a, 2);
	int of = of_vcpu ? fuzz.vcpus[below(a, NR_VCPU_ACTORS)]->fd : any_vm(a)->fd;
	int fd = ioctl(of, KVM_GET_STATS_FD);
	long ret;

	did(a, fd, of_vcpu);
	ret = read(fd, a->buffer, 4096);
	keep(a, fd);
	return ret;
}

static long do_sleep(struct actor *a)
{
	return usleep(below(a, 300));
}

static long do_fail(struct actor *a);

/* A task that is killed, whatever it has begun and not ended. Its parent waits meanwhile. */
static long do_fork(struct actor *a)
{
	int status, i;
	pid_t pid;

	did(a, a->forked, 0);
	errno = EPERM;
	if (a->forked)
		return -1;
	pid = fork();
	if (!pid) {
		a->forked = true;
		for (i = below(a, 100); i >= 0; i--)
			fuzz_act(a);
		_exit(0);
	}
	if (pid < 0)
		return pid;
	usleep(below(a, 3000));
	if (one_in(a, 4)) {
		kill(pid, SIGSTOP);
		usleep(below(a, 3000));
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return 0;
}

static const struct op {
	const char *name;
	long (*act)(struct actor *a);
	unsigned int weight;
	bool spared;	/* by do_fail(): it may wait, or the kernel warns if it fails */
	bool optional;	/* cannot succeed on every kernel */
} ops[] = {
	{ "create", do_create, 4 },
	{ "socketpair", do_socketpair, 2 },
	{ "region", do_region, 12 },
	{ "deassign", do_deassign, 6 },
	{ "fetch", do_fetch, 24, true },
	{ "read", do_read, 12, true },
	{ "write", do_write, 12, true },
	{ "poll", do_poll, 2, true },
	{ "uring", do_uring, 12 },
	{ "map", do_map, 4 },
	{ "store", do_store, 6 },
	{ "serve mapping", do_serve_mapping, 12 },
	{ "channel ioctl", do_channel_ioctl, 4 },
	{ "send fds", do_send_fds, 6 },
	{ "receive", do_receive, 6 },
	{ "close", do_close, 3 },
	{ "dup", do_dup, 2 },
	{ "shutdown", do_shutdown, 1 },
	{ "memslot", do_memslot, 2, true },
	{ "ioeventfd", do_ioeventfd, 2 },
	{ "coalesced", do_coalesced, 1 },
	{ "vcpu", do_vcpu, 2, true },
	{ "vm", do_vm, 1, true },
	{ "stats", do_stats, 1 },
	{ "sleep", do_sleep, 6, true },
	{ "fail", do_fail, 3, true, true },
	{ "fork", do_fork, 1, true },
};

struct logged *fuzz_begin(struct actor *a, const char *name)
{
	struct actor_log *log = a->log;
	struct logged *l = &log->ops[log->nr % NR_LOGGED];

	*l = (struct logged){ .name = name };
	__atomic_store_n(&log->nr, log->nr + 1, __ATOMIC_RELEASE);
	return l;
}

void fuzz_end(struct logged *l, long ret)
{
	l->ret = ret < 0 ? -errno : ret;
	l->ended = true;
}

/*
 * One of the allocations or copies of another operation fails. No signal meanwhile: to handle
 * it the kernel copies, too, and if that fails the process ends.
 */
static long do_fail(struct actor *a)
{
	int fd = open("/proc/thread-self/fail-nth", O_WRONLY | O_CLOEXEC);
	const struct op *op;
	struct logged *l;
	sigset_t usr1;

	did(a, fd, 0);
	if (fd < 0)
		return -1;
	do {
		op = &ops[below(a, ARRAY_SIZE(ops))];
	} while (op->spared);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	l = fuzz_begin(a, op->name);
	dprintf(fd, "%u", 1 + below(a, 30));
	fuzz_end(l, op->act(a));
	/* It may be this one that fails. */
	while (write(fd, "0", 1) != 1)
		;
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	close(fd);
	return 0;
}

void fuzz_act(struct actor *a)
{
	static unsigned int weights;
	unsigned int i, n;
	struct logged *l;

	if (!weights) {
		for (n = 0, i = 0; i < ARRAY_SIZE(ops); i++)
			n += ops[i].weight;
		WRITE_ONCE(weights, n);
	}
	n = below(a, weights);
	for (i = 0; n >= ops[i].weight; i++)
		n -= ops[i].weight;
	__atomic_fetch_add(&fuzz.world->begun[i], 1, __ATOMIC_RELAXED);
	l = fuzz_begin(a, ops[i].name);
	fuzz_end(l, ops[i].act(a));
	if (l->ret >= 0)
		__atomic_fetch_add(&fuzz.world->succeeded[i], 1, __ATOMIC_RELAXED);
}

const char *fuzz_op_name(unsigned int i, bool *optional)
{
	if (i >= ARRAY_SIZE(ops))
		return NULL;
	*optional = ops[i].optional;
	return ops[i].name;
}
