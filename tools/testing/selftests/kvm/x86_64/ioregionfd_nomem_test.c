// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every allocation can fail, and so can every copy from and to user memory. The call
 * then reports it, nothing has changed, and the same call works when it is repeated.
 *
 * Each operation is repeated while the first, second, third... thing that it needs
 * fails, until it needs no more. This is for a kernel with fault injection, such as
 * that of "make test-debug". KVM and io_uring themselves may run out of memory here
 * too; how they handle that is theirs, but they must return an error.
 */
#include <sys/resource.h>
#include <sys/uio.h>

#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define SYNC		MMIO_GPA
#define POSTED		(MMIO_GPA + 0x1000)
#define SYNC_DATA	USER_DATA(0)
#define POSTED_DATA	USER_DATA(0x1000)
#define PIO_DATA	USER_DATA(0x2000)

#define FAULTS		"/sys/kernel/debug/"

/* No operation needs as many allocations and copies. */
#define MAX_NTH		3000

/*
 * So many failures in a row. Not an endless number: the kernel's maple tree, which
 * holds the regions, retries for as long as it gets a part of what it needs.
 */
#define NR_MANY		"20"

/*
 * Injecting failures.
 */

/**
 * struct faults - what is to fail
 * @name: of the operation, for messages
 * @many: the nth and the NR_MANY after it fail, else the nth alone
 * @nth: which of this thread's allocations and copies fails
 * @hit: the operation got as far as the nth
 * @failed: how many operations have failed so far
 */
struct faults {
	const char *name;
	bool many;
	unsigned int nth;
	bool hit;
	unsigned int failed;
};

/* Of the thread that has called faults_open(); and how often each kind of memory fails. */
static int nth_fd = -1, many_fd, slab_fd, page_fd;

static void faults_open(void)
{
	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	many_fd = open("/proc/thread-self/make-it-fail", O_RDWR | O_CLOEXEC);
	slab_fd = open(FAULTS "failslab/times", O_RDWR | O_CLOEXEC);
	page_fd = open(FAULTS "fail_page_alloc/times", O_RDWR | O_CLOEXEC);
	TEST_ASSERT(nth_fd >= 0 && many_fd >= 0 && slab_fd >= 0 && page_fd >= 0,
		    "cannot inject failures");
	/* The thread's own page faults would fail forever. */
	TEST_ASSERT(!mlockall(MCL_CURRENT | MCL_FUTURE), "mlockall() failed");
}

static bool faults_next(struct faults *f)
{
	if (f->nth && !f->hit)
		return false;
	TEST_ASSERT(f->nth < MAX_NTH, "%s: %u failures, and still more", f->name, f->nth);
	f->nth++;
	return true;
}

static void faults_begin(struct faults *f)
{
	char nth[16];
	int n = sprintf(nth, "%u", f->nth);

	if (f->many)
		TEST_ASSERT(write(slab_fd, NR_MANY, 2) == 2 && write(page_fd, NR_MANY, 2) == 2 &&
			    write(many_fd, "1", 1) == 1, "no failures");
	TEST_ASSERT(write(nth_fd, nth, n) == n, "no failure");
}

/* Until this is over, only system calls that allocate nothing. */
static void faults_end(struct faults *f)
{
	char left[16] = "";
	ssize_t n, zero, many;

	/* If the operation has just not reached the nth, the copy of this read fails. */
	n = pread(nth_fd, left, sizeof(left) - 1, 0);
	zero = write(nth_fd, "0", 1);
	if (zero < 0)
		zero = write(nth_fd, "0", 1);
	many = write(many_fd, "0", 1);
	TEST_ASSERT(zero == 1 && many == 1, "failures cannot be switched off");
	f->hit = n > 0 && !atoi(left);
}

/* Whether the operation failed; checks that an injected failure is the reason. */
#define faults_failed(f, r) __faults_failed(f, r, __LINE__)
static bool __faults_failed(struct faults *f, int r, int line)
{
	if (r >= 0)
		return false;
	TEST_ASSERT(f->hit, "line %d: %s: errno %d (%s), and no failure was injected", line,
		    f->name, -r, strerror(-r));
	/* EFAULT: it was a copy from or to user memory that failed. */
	TEST_ASSERT(r == -ENOMEM || r == -EFAULT, "line %d: %s: failure %u: errno %d (%s)", line,
		    f->name, f->nth, -r, strerror(-r));
	f->failed++;
	return true;
}

static void faults_report(struct faults *f)
{
	printf("# %s: %u failures, and the operation failed %u times\n", f->name, f->nth - 1,
	       f->failed);
}

/* Checks that something could fail: else this would test nothing. */
static void faults_expect(struct faults *f)
{
	faults_report(f);
	TEST_ASSERT(f->failed, "%s: nothing failed", f->name);
}

/* Returns false if there is no such setting. */
static bool set_fault(const char *name, const char *value)
{
	char path[128];
	bool done;
	FILE *f;

	snprintf(path, sizeof(path), FAULTS "%s", name);
	f = fopen(path, "w");
	done = f && fputs(value, f) >= 0;
	if (f && fclose(f))
		done = false;
	return done;
}

/*
 * Makes copies fail besides allocations, or not, if the kernel can do that: they fail
 * if their caller is anywhere, or nowhere.
 */
static bool set_copies(bool fail)
{
	return access(FAULTS "fail_usercopy", F_OK) ||
	       (set_fault("fail_usercopy/require-start", fail ? "0" : "1") &&
		set_fault("fail_usercopy/require-end", fail ? "0xffffffffffffffff" : "2"));
}

/* The calls, which return -errno. */

static int set_region(struct kvm_vm *vm, struct channel *ch, uint64_t addr, uint32_t flags)
{
	struct kvm_ioregionfd args = region_args(ch, addr, 8, SYNC_DATA, flags);

	if (flags & KVM_IOREGION_DEASSIGN) {
		args.read_fd = 0;
		args.write_fd = 0;
	}
	return ioctl(vm->fd, KVM_SET_IOREGIONFD, &args) ? -errno : 0;
}

static int create(struct kvm_vm *vm, uint32_t posted)
{
	struct kvm_create_ioregionfd args = { .nr_mailboxes = MAX_VCPUS, .nr_posted = posted };
	int fd = ioctl(vm->fd, KVM_CREATE_IOREGIONFD, &args);

	return fd < 0 ? -errno : fd;
}

static struct channel channel_of(int fd)
{
	return (struct channel){ TR_NATIVE, fd, fd, fd, fd };
}

/* The descriptor that the next open() will return. */
static int next_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static uint64_t vmalloc_used(void)
{
	static const char name[] = "VmallocUsed:";
	uint64_t kib = 0;
	char line[256];
	FILE *f = fopen("/proc/meminfo", "r");

	TEST_ASSERT(f, "no /proc/meminfo");
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, sizeof(name) - 1))
			kib = strtoul(line + sizeof(name) - 1, NULL, 10);
	}
	fclose(f);
	return kib << 10;
}

/* How many more large channels the VM can have. */
static unsigned int nr_channels(struct kvm_vm *vm)
{
	int fds[130];
	unsigned int nr, i;

	for (nr = 0; nr < ARRAY_SIZE(fds); nr++) {
		fds[nr] = create(vm, KVM_IOREGIONFD_MAX_POSTED);
		if (fds[nr] < 0)
			break;
	}
	for (i = 0; i < nr; i++)
		close(fds[i]);
	return nr;
}

/* How many more regions the VM can have. */
static unsigned int nr_regions(struct kvm_vm *vm, struct channel *ch)
{
	unsigned int nr, i;

	for (nr = 0; nr < 5000 && !set_region(vm, ch, 0x100000 + 16 * nr, 0); nr++)
		;
	for (i = 0; i < nr; i++)
		TEST_ASSERT_EQ(set_region(vm, ch, 0x100000 + 16 * i, KVM_IOREGION_DEASSIGN), 0);
	return nr;
}

/*
 * The VMM's calls that need no vCPU.
 */
FIXTURE(vmm)
{
	struct kvm_vm *vm;
	struct channel ch;
	uint32_t flags;
};

FIXTURE_VARIANT(vmm)
{
	bool many;
	enum transport transport;
	uint32_t flags;
};

FIXTURE_VARIANT_ADD(vmm, one) { false, TR_NATIVE };
FIXTURE_VARIANT_ADD(vmm, many) { true, TR_NATIVE };
FIXTURE_VARIANT_ADD(vmm, one_pio) { false, TR_NATIVE, KVM_IOREGION_PIO };
FIXTURE_VARIANT_ADD(vmm, many_pio) { true, TR_NATIVE, KVM_IOREGION_PIO };
FIXTURE_VARIANT_ADD(vmm, one_socket) { false, TR_SEQPACKET };
FIXTURE_VARIANT_ADD(vmm, many_socket) { true, TR_SEQPACKET };

FIXTURE_SETUP(vmm)
{
	set_copies(true);
	faults_open();
	self->vm = vm_create_barebones();
	self->ch = channel_open_for(self->vm, variant->transport);
	self->flags = variant->flags;
}

FIXTURE_TEARDOWN(vmm)
{
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

TEST_F_TIMEOUT(vmm, create, 240)
{
	struct faults f = { "KVM_CREATE_IOREGIONFD", variant->many };
	unsigned int nr = nr_channels(self->vm);
	uint64_t used = vmalloc_used();
	struct ioregionfd_info info;
	int fd, next;

	while (faults_next(&f)) {
		next = next_fd();
		faults_begin(&f);
		fd = create(self->vm, 4096);
		faults_end(&f);
		if (faults_failed(&f, fd)) {
			TEST_ASSERT(next == next_fd(), "failure %u: descriptor %d is gone", f.nth,
				    next);
			fd = create(self->vm, 4096);
		}
		TEST_ASSERT(fd == next, "failure %u: wanted descriptor %d, got %d", f.nth, next,
			    fd);
		TEST_ASSERT(!ioctl(fd, IOREGIONFD_GET_INFO, &info), "errno %d", errno);
		TEST_ASSERT_EQ(info.nr_posted, 4096);
		close(fd);
	}
	faults_expect(&f);
	/* Failed calls have left nothing behind, neither memory nor a charge to the VM. */
	TEST_ASSERT(vmalloc_used() < used + (1 << 20), "%lu KiB have leaked",
		    (vmalloc_used() - used) >> 10);
	TEST_ASSERT_EQ(nr_channels(self->vm), nr);
}

/* The last descriptor is closed, before its region is removed and after. */
TEST_F_TIMEOUT(vmm, close, 240)
{
	struct faults f = { "close()", variant->many };
	uint64_t used = vmalloc_used();
	struct channel ch;
	bool region;
	int fd;

	while (faults_next(&f)) {
		region = f.nth & 1;
		fd = create(self->vm, 4096);
		ch = channel_of(fd);
		if (region)
			TEST_ASSERT_EQ(set_region(self->vm, &ch, 0x1000, self->flags), 0);
		faults_begin(&f);
		close(fd);
		faults_end(&f);
		if (region)
			TEST_ASSERT_EQ(set_region(self->vm, &ch, 0x1000,
						  self->flags | KVM_IOREGION_DEASSIGN), 0);
	}
	faults_report(&f);
	TEST_ASSERT(vmalloc_used() < used + (1 << 20), "%lu KiB have leaked",
		    (vmalloc_used() - used) >> 10);
}

static int assign(struct kvm_vm *vm, struct channel *ch, uint64_t addr, uint32_t flags,
		  struct faults *f)
{
	int r;

	faults_begin(f);
	r = set_region(vm, ch, addr, flags);
	faults_end(f);
	return r;
}

#define region_is_gone(...) __region_is_gone(__VA_ARGS__, __LINE__)
static void __region_is_gone(struct kvm_vm *vm, struct channel *ch, uint64_t addr,
			     uint32_t flags, struct faults *f, int line)
{
	int r = set_region(vm, ch, addr, flags | KVM_IOREGION_DEASSIGN);

	TEST_ASSERT(r == -ENOENT, "line %d: %s: failure %u: removing what is not there: %d", line,
		    f->name, f->nth, r);
}

#define region_is_there(...) __region_is_there(__VA_ARGS__, __LINE__)
static void __region_is_there(struct kvm_vm *vm, struct channel *ch, uint64_t addr,
			      uint32_t flags, struct faults *f, int line)
{
	int r = set_region(vm, ch, addr, flags);

	TEST_ASSERT(r == -EEXIST, "line %d: %s: failure %u: adding what is there: %d", line,
		    f->name, f->nth, r);
}

/* The first region of a VM, and the first of its channel. */
TEST_F_TIMEOUT(vmm, first_region, 240)
{
	struct faults f = { "the first region", variant->many };
	struct kvm_vm *vm;
	struct channel ch;

	while (faults_next(&f)) {
		vm = vm_create_barebones();
		ch = channel_open_for(vm, variant->transport);
		if (faults_failed(&f, assign(vm, &ch, 0x1000, self->flags, &f))) {
			region_is_gone(vm, &ch, 0x1000, self->flags, &f);
			/* With a second attempt and without one. */
			if (f.nth & 1)
				TEST_ASSERT_EQ(set_region(vm, &ch, 0x1000, self->flags), 0);
		}
		channel_close_kvm(&ch);
		kvm_vm_free(vm);
		expect_released(&ch);
		channel_close_dev(&ch);
	}
	faults_expect(&f);
}

#define NR_REGIONS	50

static uint64_t region_addr(unsigned int i)
{
	/*
	 * Neither ascending nor descending, so that they are not adjacent in the tree
	 * either.
	 */
	return 0x1000 + 16 * (i * 23 % NR_REGIONS);
}

/* Regions come and go among others, wherever the nodes of the tree are full or empty. */
TEST_F_TIMEOUT(vmm, regions, 240)
{
	struct faults add = { "adding a region", variant->many };
	struct faults del = { "removing a region", variant->many };
	uint32_t del_flags = self->flags | KVM_IOREGION_DEASSIGN;
	struct channel native = channel_of(create(self->vm, 1));
	unsigned int i, nr = nr_regions(self->vm, &native);
	uint64_t addr;

	for (i = 0; i < NR_REGIONS; i++) {
		addr = region_addr(i);
		for (add.nth = 0; faults_next(&add);) {
			if (faults_failed(&add, assign(self->vm, &self->ch, addr, self->flags,
						       &add)))
				region_is_gone(self->vm, &self->ch, addr, self->flags, &add);
			else if (add.hit)
				TEST_ASSERT_EQ(set_region(self->vm, &self->ch, addr, del_flags), 0);
		}
		region_is_there(self->vm, &self->ch, addr, self->flags, &add);
	}
	faults_expect(&add);

	for (i = 0; i < NR_REGIONS; i++) {
		addr = region_addr(i * 7);
		for (del.nth = 0; faults_next(&del);) {
			if (faults_failed(&del, assign(self->vm, &self->ch, addr, del_flags,
						       &del))) {
				region_is_there(self->vm, &self->ch, addr, self->flags, &del);
				continue;
			}
			region_is_gone(self->vm, &self->ch, addr, self->flags, &del);
			/* The last region of a socket takes the socket with it. */
			if (del.hit && i < NR_REGIONS - 1)
				TEST_ASSERT_EQ(set_region(self->vm, &self->ch, addr, self->flags),
					       0);
			else
				break;
		}
	}
	faults_report(&del);
	/* No region is counted that does not exist. */
	TEST_ASSERT_EQ(nr_regions(self->vm, &native), nr);
	close(native.kvm_rd);
}

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

/*
 * The vCPU's accesses.
 */
FIXTURE(run)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct device dev;
};

FIXTURE_VARIANT(run)
{
	bool many;
	enum transport transport;
};

FIXTURE_VARIANT_ADD(run, one) { false, TR_NATIVE };
FIXTURE_VARIANT_ADD(run, many) { true, TR_NATIVE };
FIXTURE_VARIANT_ADD(run, one_socket) { false, TR_SEQPACKET };
FIXTURE_VARIANT_ADD(run, many_socket) { true, TR_SEQPACKET };

static void vm_make(struct kvm_vm **vm, struct kvm_vcpu **vcpus, struct device *dev,
		    enum transport transport)
{
	int i;

	*vm = ioregion_vm_create(MAX_VCPUS, guest_script_main, vcpus);
	/* What KVM itself allocates for the first steps of a vCPU is not tested here. */
	for (i = 0; i < MAX_VCPUS; i++)
		run_done(vcpus[i]);
	*dev = (struct device){ 0 };
	device_start_for(dev, *vm, transport);
	region_add(*vm, &dev->ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(*vm, &dev->ch, POSTED, 0x1000, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	region_add(*vm, &dev->ch, PIO_BASE, 0x100, PIO_DATA, KVM_IOREGION_PIO);
}

static void vm_end(struct kvm_vm *vm, struct device *dev)
{
	kvm_vm_free(vm);
	expect_device_released(dev);
	pthread_join(dev->thread, NULL);
	channel_close_dev(&dev->ch);
}

FIXTURE_SETUP(run)
{
	/* KVM's emulator mistakes a copy that fails for an unknown instruction. */
	if (!set_copies(false))
		SKIP(return, "CONFIG_FAULT_INJECTION_STACKTRACE_FILTER is off");
	faults_open();
	vm_make(&self->vm, self->vcpus, &self->dev, variant->transport);
}

FIXTURE_TEARDOWN(run)
{
	if (self->vm)
		vm_end(self->vm, &self->dev);
}

enum access {
	ACCESS_READ,
	ACCESS_WRITE,
	ACCESS_UNALIGNED,
	ACCESS_POSTED,
	ACCESS_IN,
	ACCESS_OUT,
	ACCESS_INS,
	NR_ACCESS
};

static const char * const access_names[] = {
	"a read", "a write", "an unaligned read", "a posted write", "in", "out", "ins",
};

#define NR_INS	4

/* Runs @vcpu to the end of one access, in a bounded number of attempts. */
static void run_access(struct kvm_vcpu *vcpu, enum access what, struct faults *f)
{
	struct guest_op ins = { OP_INS, 2, PIO_BASE + 0x10 };
	int r, i;

	ins.mem = vcpu_buf_gva(vcpu);
	ins.count = NR_INS;

	switch (what) {
	case ACCESS_READ:
		op_read(vcpu, 8, SYNC + 8);
		break;
	case ACCESS_WRITE:
		op_write(vcpu, 8, SYNC + 0x10, 0x1234);
		break;
	case ACCESS_UNALIGNED:
		op_read(vcpu, 4, SYNC + 0x21);
		break;
	case ACCESS_POSTED:
		op_write(vcpu, 4, POSTED + 8, f->nth);
		break;
	case ACCESS_IN:
		op_in(vcpu, 4, PIO_BASE);
		break;
	case ACCESS_OUT:
		op_out(vcpu, 2, PIO_BASE + 8, 0x77);
		break;
	default:
		op_add(vcpu, ins);
	}

	faults_begin(f);
	r = _vcpu_run(vcpu) ? -errno : 0;
	faults_end(f);
	/* This is how KVM reports that it could not get a page of the guest. */
	for (i = 0; i < 10 && faults_failed(f, r); i++)
		r = _vcpu_run(vcpu) ? -errno : 0;
	expect_done(vcpu);
}

/* Checks that the access was carried out once, however many attempts it needed. */
static void expect_access(struct kvm_vcpu *vcpu, struct device *dev, enum access what,
			  struct faults *f)
{
	struct guest_op *op = &vcpu_script(vcpu)->ops[0];
	struct ioregionfd_cmd ins = cmd_read(2, PIO_DATA, 0x10);

	switch (what) {
	case ACCESS_READ:
		expect_log(dev, cmd_read(8, SYNC_DATA, 8));
		TEST_ASSERT_EQ(op->val, device_value(dev, 8, 8));
		break;
	case ACCESS_WRITE:
		expect_log(dev, cmd_write(8, SYNC_DATA, 0x10, 0x1234));
		break;
	case ACCESS_UNALIGNED:
		expect_log(dev, cmd_read(4, SYNC_DATA, 0x21));
		TEST_ASSERT_EQ(op->val, device_value(dev, 0x21, 4));
		break;
	case ACCESS_POSTED:
		expect_log(dev, cmd_posted(4, POSTED_DATA, 8, f->nth));
		break;
	case ACCESS_IN:
		expect_log(dev, cmd_read(4, PIO_DATA, 0));
		TEST_ASSERT_EQ(op->val, device_value(dev, 0x2000, 4));
		break;
	case ACCESS_OUT:
		expect_log(dev, cmd_write(2, PIO_DATA, 8, 0x77));
		break;
	default:
		expect_log(dev, ins, ins, ins, ins);
	}
}

/* The first access of a vCPU. */
TEST_F_TIMEOUT(run, first_access, 240)
{
	enum access what;
	int i = 0;

	for (what = 0; what < NR_ACCESS; what++) {
		struct faults f = { access_names[what], variant->many };

		while (faults_next(&f)) {
			if (i == MAX_VCPUS) {
				vm_end(self->vm, &self->dev);
				vm_make(&self->vm, self->vcpus, &self->dev, variant->transport);
				i = 0;
			}
			run_access(self->vcpus[i], what, &f);
			expect_access(self->vcpus[i], &self->dev, what, &f);
			i++;
		}
		faults_expect(&f);
	}
}

/* A later access of a vCPU. */
TEST_F_TIMEOUT(run, later_access, 240)
{
	struct kvm_vcpu *vcpu = self->vcpus[0];
	enum access what;

	for (what = 0; what < NR_ACCESS; what++) {
		struct faults f = { access_names[what], variant->many };
		struct faults none = { access_names[what] };

		run_access(vcpu, what, &none);
		expect_access(vcpu, &self->dev, what, &none);
		while (faults_next(&f)) {
			run_access(vcpu, what, &f);
			expect_access(vcpu, &self->dev, what, &f);
		}
		/* A message on a socket is allocated. */
		if (variant->transport == TR_SEQPACKET)
			faults_expect(&f);
		else
			faults_report(&f);
	}
}

/*
 * The end of a VM needs no allocation, whatever the VM has.
 */
FIXTURE(end)
{
	int seqpacket[2];
	int native[2];
};

FIXTURE_VARIANT(end)
{
	bool many;
};

FIXTURE_VARIANT_ADD(end, one) { false };
FIXTURE_VARIANT_ADD(end, many) { true };

FIXTURE_SETUP(end)
{
	set_copies(true);
}

FIXTURE_TEARDOWN(end)
{
}

/* A VMM that dies with regions and with a pending access. */
static void vmm_dies(int socket, int native, struct faults *f)
{
	struct channel seqpacket = { TR_SEQPACKET, socket, socket, -1, -1 };
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct kvm_vm *vm;
	int i;

	vm = ioregion_vm_create(1, guest_script_main, &vcpu);
	ch = channel_of(create_ioregionfd(vm, 1, 16));
	for (i = 0; i < 40; i++) {
		region_add(vm, &ch, SYNC + 16 * i, 8, SYNC_DATA, 0);
		region_add(vm, &seqpacket, SYNC + 16 * i + 8, 8, SYNC_DATA, 0);
	}
	region_add(vm, &ch, PIO_BASE, 0x100, PIO_DATA, KVM_IOREGION_PIO);
	vcpu_thread_init(&thread, vcpu);
	op_read(vcpu, 8, SYNC + (f->nth & 1 ? 8 : 0));
	thread_start(&thread);
	thread_wait_asleep(&thread);
	TEST_ASSERT(write(native, &ch.kvm_rd, sizeof(ch.kvm_rd)) == sizeof(ch.kvm_rd), "errno %d",
		    errno);
	/* Wait until its channel has been passed on. */
	TEST_ASSERT(read(native, &i, sizeof(i)) == sizeof(i), "errno %d", errno);
	faults_open();
	faults_begin(f);
	_exit(0);
}

TEST_F_TIMEOUT(end, of_a_process, 240)
{
	struct faults f = { "exit", variant->many };
	int seqpacket[2], native[2], fd, pidfd, status;
	struct channel ch;
	pid_t pid;

	/* The first failures hit the first files and mappings that are closed. */
	for (f.nth = 1; f.nth <= (variant->many ? 2 : 12); f.nth++) {
		TEST_ASSERT(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, seqpacket), "errno %d", errno);
		TEST_ASSERT(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, native), "errno %d", errno);
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork() failed");
		if (!pid) {
			close(seqpacket[1]);
			close(native[1]);
			vmm_dies(seqpacket[0], native[0], &f);
		}
		close(seqpacket[0]);
		close(native[0]);
		TEST_ASSERT(read(native[1], &fd, sizeof(fd)) == sizeof(fd), "the VMM has failed");
		pidfd = syscall(SYS_pidfd_open, pid, 0);
		fd = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
		TEST_ASSERT(fd >= 0, "pidfd_getfd() failed: errno %d", errno);
		TEST_ASSERT(write(native[1], &fd, sizeof(fd)) == sizeof(fd), "errno %d", errno);
		TEST_ASSERT(fd_poll(pidfd, POLLIN, HANG_SECONDS * 1000), "the VMM does not end");
		TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
		TEST_ASSERT_EQ(status, 0);
		ch = (struct channel){ TR_SEQPACKET, -1, -1, seqpacket[1], seqpacket[1] };
		expect_released(&ch);
		ch = (struct channel){ TR_NATIVE, -1, -1, fd, fd };
		expect_released(&ch);
		close(fd);
		close(pidfd);
		close(native[1]);
		close(seqpacket[1]);
	}
}

int main(int argc, char **argv)
{
	static const char * const faults[][2] = {
		{ "failslab/verbose", "0" },
		{ "failslab/task-filter", "Y" },
		{ "failslab/times", "-1" },
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/probability", "100" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_page_alloc/task-filter", "Y" },
		{ "fail_page_alloc/times", "-1" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/probability", "100" },
	};
	struct rlimit files = { 4096, 4096 };
	int i, r;

	__TEST_REQUIRE(!access("/proc/thread-self/fail-nth", W_OK),
		       "this kernel cannot make memory fail: CONFIG_FAULT_INJECTION");
	for (i = 0; i < ARRAY_SIZE(faults); i++)
		__TEST_REQUIRE(set_fault(faults[i][0], faults[i][1]), "no " FAULTS "%s",
			       faults[i][0]);
	/* fail-nth makes user copies fail too, if the kernel can do that. */
	set_fault("fail_usercopy/verbose", "0");
	setrlimit(RLIMIT_NOFILE, &files);
	/* Reports must be visible even if the kernel stops. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	r = ioregion_test_main(argc, argv);
	set_copies(true);
	set_fault("failslab/probability", "0");
	set_fault("fail_page_alloc/probability", "0");
	return r;
}
