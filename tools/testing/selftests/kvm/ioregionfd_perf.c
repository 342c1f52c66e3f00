// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an access to a device costs, in each way to emulate one.
 *
 * usage: ioregionfd_perf [PATTERN]...
 *
 * Prints a line "name instructions" for each path whose name matches a PATTERN; without
 * one, for all of them. Lines that begin with # are explanations. Paths that need
 * ioregionfd are left out if kvm.ko does not have it.
 *
 * This is to be run in QEMU with -icount shift=0,sleep=off, where each instruction
 * takes a nanosecond. Time is then a number of instructions: those of all CPUs, which
 * run in turn. Elsewhere the figures are plain nanoseconds. A figure includes what the
 * guest does besides the access, which is four instructions.
 *
 * - The paths where the device task sleeps have all tasks on CPU 0, and CPU 1 is idle:
 *   the figure is everything that it takes to serve an access.
 * - forward-socket is what VMMs do today, over a stream as in vfio-user. On a stream
 *   the sender is woken once more for nothing, when its last message has been read;
 *   -seqpacket avoids that.
 * - ioregionfd/poll has the device task on CPU 1, and measures the vCPU's side alone.
 *   Any "pause" makes QEMU switch to the other CPU, so the device task runs while the
 *   vCPU spins, until it has nothing to do and pauses itself. kvm.ko counts how long the
 *   vCPU spins, in ioregionfd_spin_ns; without that, the path from the exit to the spin
 *   and from there to the entry remains. The figure of poll-late, where the device task
 *   is slow, must therefore be the same.
 * - ioregionfd-write/posted: the vCPU never pauses; QEMU switches to the polling task
 *   at the end of a time slice of thousands of writes. What that needs to fetch them is
 *   part of the figure, some ten instructions for each.
 * - -library is the same as the path whose name it has otherwise, by means of
 *   libioregionfd. The rest is as short as a device task can be.
 * - -woken: each write wakes a device task that sleeps on CPU 1, and is asleep again at
 *   the next write: in between the guest pauses. The figure is how long the write takes
 *   by the guest's TSC, so it is that of the vCPU's side alone.
 * - Ports, a TSC and a device in the kernel that costs little there are on x86 only. On
 *   riscv QEMU does not switch to the other CPU at a pause, and what has its device task
 *   there is left out.
 */
#include <fnmatch.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <liburing.h>
#include <linux/ioregionfd.h>

#include "ioregionfd.h"
#include "ioregionfd_uring.h"
#include "ioregionfd_util.h"
#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"

/*
 * A figure is the median of some rounds, or what the kernel has to do now and then, on
 * either CPU, would be part of it.
 */
#define ROUNDS		5

/* Enough for a figure to be reproducible to 0.2 %. */
#define WARM_UP		2000
#define TRIES		3
#define ROUND		8000
#define ACCESSES	(ROUNDS * ROUND)

/* More than the writes of a time slice, so that the ring never fills. */
#define RING_SIZE	32768

/* How many times the guest pauses, so that a device task on CPU 1 can go back to sleep. */
#define PAUSES		100

/* How many times the device task of poll-late pauses before it responds. */
#define LATE		300

#define SPIN_PARAM	"/sys/module/kvm/parameters/ioregionfd_spin_ns"
#define SPIN_NS		10000000

enum access {
	READ,
	WRITE,
	WRITE_ALONE,	/* timed by the guest, the device task may sleep in between */
	IN,
};

/* Who carries an access out. */
enum server {
	IN_KERNEL,
	EVENTFD,
	VMM,
	FORWARD,	/* a device task, over a socket to the VMM */
	SOCKET,		/* a device task, over a socket given to kvm.ko */
	CHANNEL,	/* a device task, over a native channel */
};

struct path {
	const char *name;
	enum access access;
	enum server server;
	void (*device)(int fd);
	int device_cpu;
	int vcpus;
	int type;	/* of the socket */
	int late;
};

/* Shared with the device task. */
static struct {
	uint64_t served;
	uint32_t late;
} *shared;

/* Whether QEMU switches to the other CPU at a pause */
#ifdef __riscv
#define PAUSE_SWITCHES	false
#else
#define PAUSE_SWITCHES	true
#endif

/* What the guest is to do, and its results. */
static struct job {
	uint64_t access;
	uint64_t addr;
	uint64_t count;
	uint64_t round;
} job;

static struct result {
	uint64_t sum;	/* of all values read */
	uint64_t ticks[ROUNDS];
} results[MAX_VCPUS];

#ifdef __x86_64__
/*
 * The in-kernel device: the index register of the I/O APIC, which costs a lock and
 * little else.
 */
#define IN_KERNEL_GPA	0xfec00000ul
#define PORT		PIO_BASE
#define ALL_PATHS	true

static uint8_t guest_in(uint64_t port)
{
	uint8_t val;

	asm volatile("inb %w1, %0" : "=a"(val) : "d"((uint16_t)port));
	return val;
}

static uint64_t guest_clock(void)
{
	return rdtsc();
}
#else
#ifdef __aarch64__
#include <linux/sizes.h>
#include "gic.h"
#include "vgic.h"
#endif

/* For paths that are left out */
#define IN_KERNEL_GPA	(MMIO_GPA + 0x1000)
#define PORT		0
#define ALL_PATHS	false

static uint8_t guest_in(uint64_t port)
{
	return 0;
}

static uint64_t guest_clock(void)
{
	return 0;
}
#endif

static void guest_alone(struct result *result)
{
	uint64_t start, ticks = 0, i, j;

	for (i = 0; i < job.count; i++) {
		start = guest_clock();
		WRITE_ONCE(*(uint8_t *)job.addr, 1);
		ticks += guest_clock() - start;
		for (j = 0; j < PAUSES; j++)
			cpu_relax();
	}
	result->ticks[job.round] = ticks;
}

static void guest_main(uint64_t id)
{
	struct result *result = &results[id];
	uint64_t n, sum = 0;
	uint8_t *addr;

	for (;;) {
		addr = (uint8_t *)job.addr;
		n = job.count;
		switch (job.access) {
		case READ:
			while (n--)
				sum += READ_ONCE(*addr);
			break;
		case WRITE:
			while (n--)
				WRITE_ONCE(*addr, 1);
			break;
		case WRITE_ALONE:
			guest_alone(result);
			break;
		case IN:
			while (n--)
				sum += guest_in(job.addr);
			break;
		}
		result->sum = sum;
		/* The host reads the result and sets the next job. */
		barrier();
		guest_done();
		barrier();
	}
}

/* Device tasks. Each is a process that runs until it is killed, and returns 1 for each read. */

static void device_read_write(int fd)
{
	struct ioregionfd_resp resp = { .data = 1 };
	struct ioregionfd_cmd cmd;

	while (read(fd, &cmd, sizeof(cmd)) == sizeof(cmd)) {
		shared->served++;
		if ((cmd.flags & IOREGIONFD_CMD_F_RESP) &&
		    write(fd, &resp, sizeof(resp)) != sizeof(resp))
			break;
	}
}

static void device_ioctl(int fd)
{
	struct ioregionfd_fetch fetch = { .timeout = -1 };

	for (;;) {
		fetch.vcpu = IOREGIONFD_ANY;
		if (ioctl(fd, IOREGIONFD_COMMIT_AND_FETCH, &fetch))
			break;
		shared->served++;
		fetch.data = 1;
	}
}

static void device_uring(int fd)
{
	const unsigned int flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	struct ioregionfd_fetch fetch = { .timeout = -1 };
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;

	if (io_uring_queue_init(1, &ring, flags) || io_uring_register_ring_fd(&ring) != 1 ||
	    io_uring_register_files(&ring, &fd, 1))
		return;
	for (;;) {
		fetch.vcpu = IOREGIONFD_ANY;
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_rw(IORING_OP_URING_CMD, sqe, 0, &fetch, 0, 0);
		io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
		sqe->cmd_op = IOREGIONFD_COMMIT_AND_FETCH;
		if (io_uring_submit_and_wait(&ring, 1) != 1 || io_uring_peek_cqe(&ring, &cqe) ||
		    cqe->res)
			break;
		io_uring_cqe_seen(&ring, cqe);
		shared->served++;
		fetch.data = 1;
	}
}

static void device_eventfd(int fd)
{
	uint64_t count;

	while (read(fd, &count, sizeof(count)) == sizeof(count))
		shared->served += count;
}

static bool poll_mailbox(int fd, struct ioregionfd_control *control,
			 struct ioregionfd_mailbox *mailbox)
{
	uint32_t state = __atomic_load_n(&mailbox->state, __ATOMIC_ACQUIRE);
	struct ioregionfd_fetch fetch = { .flags = IOREGIONFD_COMMIT_ONLY, .data = 1 };
	uint32_t fetched, i;

	if ((state & IOREGIONFD_MAILBOX_STATE) != IOREGIONFD_MAILBOX_PENDING ||
	    ioregionfd_posted_index(READ_ONCE(control->posted_tail)) !=
	    READ_ONCE(mailbox->posted_before))
		return true;
	fetched = (state & ~IOREGIONFD_MAILBOX_STATE) | IOREGIONFD_MAILBOX_FETCHED;
	if (!__atomic_compare_exchange_n(&mailbox->state, &state, fetched, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return true;

	shared->served++;
	for (i = READ_ONCE(shared->late); i; i--)
		cpu_relax();

	state = fetched;
	if (!(state & IOREGIONFD_MAILBOX_WAITING) &&
	    mailbox_store_data(mailbox, fetched >> IOREGIONFD_MAILBOX_SHIFT, 1) &&
	    __atomic_compare_exchange_n(&mailbox->state, &state,
					(fetched & ~IOREGIONFD_MAILBOX_STATE) |
					IOREGIONFD_MAILBOX_COMPLETE, false,
					__ATOMIC_RELEASE, __ATOMIC_RELAXED))
		return true;
	/* The vCPU has gone to sleep in the meantime. */
	fetch.id = ioregionfd_cmd_id(0, state);
	return !ioctl(fd, IOREGIONFD_COMMIT_AND_FETCH, &fetch);
}

static bool poll_ring(int fd, struct ioregionfd_control *control, uint32_t mask,
		      struct ioregionfd_cmd *ring)
{
	struct ioregionfd_fetch fetch = { .flags = IOREGIONFD_COMMIT_ONLY };
	uint64_t tail = __atomic_load_n(&control->posted_tail, __ATOMIC_ACQUIRE);
	uint32_t head = __atomic_load_n(&control->posted_head, __ATOMIC_ACQUIRE);
	uint64_t sum = 0;

	if (ioregionfd_posted_index(tail) == head ||
	    !__atomic_compare_exchange_n(&control->posted_tail, &tail, tail | 1, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return true;
	for (; ioregionfd_posted_index(tail) != head; tail += 2)
		sum += READ_ONCE(ring[ioregionfd_posted_index(tail) & mask].data);
	shared->served += sum;
	__atomic_store_n(&control->posted_tail, tail, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !READ_ONCE(control->blocked) || !ioctl(fd, IOREGIONFD_COMMIT_AND_FETCH, &fetch);
}

/* Serves one vCPU. */
static void device_poll(int fd)
{
	struct ioregionfd_control *control;
	struct ioregionfd_info info;

	if (ioctl(fd, IOREGIONFD_GET_INFO, &info))
		return;
	control = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (control == MAP_FAILED)
		return;
	WRITE_ONCE(control->polling, 1);
	while (poll_mailbox(fd, control, (void *)control + info.mailboxes_offset) &&
	       poll_ring(fd, control, info.nr_posted - 1, (void *)control + info.posted_offset))
		cpu_relax();
}

/* The same by means of the library. */

static uint64_t library_read(void *opaque, uint64_t offset, unsigned int size)
{
	shared->served++;
	return 1;
}

static const struct ioregionfd_ops library_ops = { .read = library_read };

static struct ioregionfd_task *library_open(int fd)
{
	struct ioregionfd_task *task;

	if (ioregionfd_open(&task, fd, fd, 0) || ioregionfd_register(task, 0, &library_ops, NULL))
		return NULL;
	return task;
}

static void device_library(int fd)
{
	struct ioregionfd_task *task = library_open(fd);

	if (task)
		ioregionfd_run(task, IOREGIONFD_SLEEP, IOREGIONFD_ANY);
}

static void device_library_poll(int fd)
{
	struct ioregionfd_task *task = library_open(fd);

	if (task)
		ioregionfd_run(task, IOREGIONFD_POLL, IOREGIONFD_ANY);
}

static void device_library_uring(int fd)
{
	const unsigned int flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	struct ioregionfd_task *task = library_open(fd);
	struct ioregionfd_request request;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int res = 1;

	if (!task || ioregionfd_request_init(&request, task, IOREGIONFD_ANY) ||
	    io_uring_queue_init(1, &ring, flags) || io_uring_register_ring_fd(&ring) != 1 ||
	    io_uring_register_files(&ring, &fd, 1))
		return;
	while (res == 1) {
		sqe = io_uring_get_sqe(&ring);
		ioregionfd_uring_prep(sqe, &request);
		sqe->fd = 0;
		io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
		if (io_uring_submit_and_wait(&ring, 1) != 1 || io_uring_peek_cqe(&ring, &cqe))
			break;
		res = ioregionfd_request_complete(&request, cqe->res);
		io_uring_cqe_seen(&ring, cqe);
	}
}

static pid_t task_start(const struct path *path, int fd)
{
	pid_t vmm = getpid(), pid = fork();

	TEST_ASSERT(pid >= 0, "fork() failed");
	if (pid)
		return pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin_self_to_cpu(path->device_cpu);
	if (getppid() == vmm)
		path->device(fd);
	/* Only if something failed: the parent waits for our death by SIGKILL. */
	fprintf(stderr, "%s: the device task failed: errno %d (%s)\n", path->name, errno,
		strerror(errno));
	_exit(1);
}

static struct rusage task_stop(pid_t pid)
{
	struct rusage usage;
	int i, status;

	/* Posted writes may still be on their way. */
	for (i = 0; READ_ONCE(shared->served) < ACCESSES + WARM_UP && i < 1000; i++)
		usleep(1000);
	kill(pid, SIGKILL);
	TEST_ASSERT(wait4(pid, &status, 0, &usage) == pid, "wait4() failed");
	TEST_ASSERT(WIFSIGNALED(status), "the device task failed");
	return usage;
}

/* vCPUs. */

struct worker {
	const struct path *path;
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	int socket;
	uint64_t start[ROUNDS];
	uint64_t end[ROUNDS];
	uint64_t spin[ROUNDS];
	uint64_t in_place;
	struct rusage usage;
};

static pthread_barrier_t between;

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static uint64_t vmm_value(struct worker *w, uint64_t offset)
{
	struct ioregionfd_cmd cmd = {
		.cmd = IOREGIONFD_CMD_READ,
		.flags = IOREGIONFD_CMD_F_RESP,
		.offset = offset,
	};
	struct ioregionfd_resp resp;

	if (w->path->server != FORWARD)
		return 1;
	if (write(w->socket, &cmd, sizeof(cmd)) != sizeof(cmd) ||
	    read(w->socket, &resp, sizeof(resp)) != sizeof(resp))
		TEST_FAIL("the socket failed");
	return resp.data;
}

/* Without the library's wrapper, which does more than a VMM has to. */
static void run_job(struct worker *w)
{
	struct kvm_run *run = w->vcpu->run;
	bool vmm = w->path->server == VMM || w->path->server == FORWARD;
	struct ucall uc;

	for (;;) {
		if (ioctl(w->vcpu->fd, KVM_RUN, NULL))
			TEST_FAIL("KVM_RUN failed: errno %d (%s)", errno, strerror(errno));
		if (vmm && run->exit_reason == KVM_EXIT_MMIO && !run->mmio.is_write)
			run->mmio.data[0] = vmm_value(w, run->mmio.phys_addr - MMIO_GPA);
		else if (vmm && run->exit_reason == KVM_EXIT_IO &&
			 run->io.direction == KVM_EXIT_IO_IN)
			*((uint8_t *)run + run->io.data_offset) =
				vmm_value(w, run->io.port - PORT);
		else if (!vcpu_is_done(w->vcpu, &uc))
			TEST_FAIL("exit reason %u (%s)", run->exit_reason,
				  exit_reason_str(run->exit_reason));
		else
			return;
	}
}

static void set_job(struct kvm_vm *vm, uint64_t count, uint64_t round)
{
	job.count = count;
	job.round = round;
	sync_global_to_guest(vm, job);
}

static void one_round(struct worker *w, int round)
{
	bool spins = w->path->server == CHANNEL;
	uint64_t spin = 0, in_place = 0;

	if (spins) {
		spin = vcpu_stat(w->vcpu, "ioregionfd_spin_ns");
		in_place = vcpu_stat(w->vcpu, "ioregionfd_in_place");
	}
	/* One of the threads sets the job of all. */
	if (pthread_barrier_wait(&between) == PTHREAD_BARRIER_SERIAL_THREAD)
		set_job(w->vcpu->vm, ROUND / w->path->vcpus, round);
	pthread_barrier_wait(&between);

	w->start[round] = now();
	run_job(w);
	w->end[round] = now();

	if (spins) {
		w->spin[round] = vcpu_stat(w->vcpu, "ioregionfd_spin_ns") - spin;
		w->in_place += vcpu_stat(w->vcpu, "ioregionfd_in_place") - in_place;
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	int i;

	pin_self_to_cpu(0);
	run_job(w);
	for (i = 0; i < ROUNDS; i++)
		one_round(w, i);
	getrusage(RUSAGE_THREAD, &w->usage);
	return NULL;
}

static void add_region(struct kvm_vm *vm, const struct path *path, int fd)
{
	struct kvm_ioregionfd region = {
		.guest_paddr = path->access == IN ? PORT : MMIO_GPA,
		.memory_size = 8,
		.read_fd = fd,
		.write_fd = fd,
		.flags = (path->access == IN ? KVM_IOREGION_PIO : 0) |
			 (path->access == READ || path->access == IN ? 0 :
			  KVM_IOREGION_POSTED_WRITES),
	};

	vm_ioctl(vm, KVM_SET_IOREGIONFD, &region);
}

static int create_channel(struct kvm_vm *vm, const struct path *path)
{
	struct kvm_create_ioregionfd create = {
		/* If both share a CPU: that is what the flag is for. */
		.flags = path->device_cpu ? 0 : KVM_IOREGIONFD_SYNC_WAKE,
		.nr_mailboxes = path->vcpus,
		.nr_posted = RING_SIZE,
	};
	int fd = __vm_ioctl(vm, KVM_CREATE_IOREGIONFD, &create);

	TEST_ASSERT(fd >= 0, KVM_IOCTL_ERROR(KVM_CREATE_IOREGIONFD, fd));
	return fd;
}

static int create_ioeventfd(struct kvm_vm *vm)
{
	struct kvm_ioeventfd ioeventfd = {
		.addr = MMIO_GPA,
		.len = 1,
		.fd = eventfd(0, EFD_CLOEXEC),
	};

	TEST_ASSERT(ioeventfd.fd >= 0, "eventfd() failed");
	vm_ioctl(vm, KVM_IOEVENTFD, &ioeventfd);
	return ioeventfd.fd;
}

static void set_spin(int ns)
{
	FILE *f = fopen(SPIN_PARAM, "w");

	TEST_ASSERT(f && fprintf(f, "%d", ns) > 0 && !fclose(f), "cannot set " SPIN_PARAM);
}

static bool polls(const struct path *path)
{
	return path->device_cpu && path->access == READ;
}

/* For an access, of what all of a round took */
static double each(uint64_t total)
{
	return (double)total / ROUND;
}

/* The same, of what was counted from the start of the task */
static double switches(long count)
{
	return (double)count / (ACCESSES + WARM_UP);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t median(const uint64_t values[ROUNDS])
{
	uint64_t sorted[ROUNDS];

	memcpy(sorted, values, sizeof(sorted));
	qsort(sorted, ROUNDS, sizeof(sorted[0]), compare);
	return sorted[ROUNDS / 2];
}

/**
 * struct report - what an access cost
 * @figure: the figure of the path
 * @text: the lines to print
 */
struct report {
	double figure;
	char text[300];
};

static struct report report(const struct path *path, struct kvm_vm *vm, struct worker *w,
			    const struct rusage *device)
{
	uint64_t total[ROUNDS], spin[ROUNDS] = {}, figure[ROUNDS] = {}, sum = 0, in_place = 0;
	struct report r;
	uint64_t start, end;
	int i, n, round;

	sync_global_from_guest(vm, results);
	for (i = 0; i < path->vcpus; i++) {
		sum += results[i].sum;
		in_place += w[i].in_place;
	}
	for (round = 0; round < ROUNDS; round++) {
		start = w[0].start[round];
		end = w[0].end[round];
		for (i = 0; i < path->vcpus; i++) {
			start = min(start, w[i].start[round]);
			end = max(end, w[i].end[round]);
			spin[round] += w[i].spin[round];
			figure[round] += results[i].ticks[round];
		}
		total[round] = end - start;
		if (path->access != WRITE_ALONE)
			figure[round] = total[round] - (polls(path) ? spin[round] : 0);
	}
	r.figure = each(median(figure));
	n = snprintf(r.text, sizeof(r.text), "%s %.0f\n", path->name, r.figure);
	if (path->device)
		snprintf(r.text + n, sizeof(r.text) - n,
			 "# in all %.1f, spin %.1f, in place %.2f; vCPU slept %.2f, preempted %.2f; "
			 "device task slept %.2f, preempted %.2f\n",
			 each(median(total)), each(median(spin)), (double)in_place / ACCESSES,
			 switches(w->usage.ru_nvcsw), switches(w->usage.ru_nivcsw),
			 switches(device->ru_nvcsw), switches(device->ru_nivcsw));

	/* Check that it was this path. */
	if (path->access == READ || path->access == IN)
		TEST_ASSERT_EQ(sum, path->server == IN_KERNEL ? 0 : ACCESSES + WARM_UP);
	if (path->device)
		TEST_ASSERT_EQ(shared->served, ACCESSES + WARM_UP);
	if (polls(path))
		TEST_ASSERT(in_place > 0.99 * ACCESSES, "the vCPU slept");
	if (path->access == WRITE_ALONE)
		TEST_ASSERT(device->ru_nvcsw > 0.99 * ACCESSES, "the device task was not asleep");
	return r;
}

/*
 * VMMs have the interrupt controller in the kernel, and to switch to the VMM and back costs
 * more then. For x86 the selftests do so themselves, for arm64 later ones only.
 */
static void add_irqchip(struct kvm_vm *vm, int vcpus)
{
#ifdef __aarch64__
	uint64_t dist = GICD_BASE_GPA;
	uint64_t redist = REDIST_REGION_ATTR_ADDR(vcpus, GICR_BASE_GPA, 0, 0);
	int fd = __kvm_create_device(vm, KVM_DEV_TYPE_ARM_VGIC_V3);

	if (fd < 0 && errno == EEXIST)
		return;
	TEST_ASSERT(fd >= 0, KVM_IOCTL_ERROR(KVM_CREATE_DEVICE, fd));
	kvm_device_attr_set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_DIST, &dist);
	kvm_device_attr_set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION,
			    &redist);
	kvm_device_attr_set(fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
	close(fd);
#endif
}

static struct report measure(const struct path *path)
{
	struct worker workers[MAX_VCPUS] = {};
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	int i, sv[2] = { -1, -1 };
	struct kvm_vm *vm;
	pid_t pid = 0;
	struct rusage device = {};
	struct report r;
	uint64_t count;
	int spin_ns = 0;

	vm = vm_create_with_vcpus(path->vcpus, guest_main, vcpus);
	add_irqchip(vm, path->vcpus);
	virt_map(vm, MMIO_GPA, MMIO_GPA, 1);
	virt_map(vm, IN_KERNEL_GPA, IN_KERNEL_GPA, 1);
	job.access = path->access;
	job.addr = path->access == IN ? PORT :
		   path->server == IN_KERNEL ? IN_KERNEL_GPA : MMIO_GPA;
	set_job(vm, WARM_UP / path->vcpus, 0);

	/*
	 * One end is the device task's. A native channel and an eventfd are the same
	 * file on both ends.
	 */
	switch (path->server) {
	case IN_KERNEL:
	case VMM:
		break;
	case EVENTFD:
		sv[0] = create_ioeventfd(vm);
		sv[1] = dup(sv[0]);
		break;
	case CHANNEL:
		sv[0] = create_channel(vm, path);
		sv[1] = dup(sv[0]);
		break;
	case FORWARD:
	case SOCKET:
		TEST_ASSERT(!socketpair(AF_UNIX, path->type | SOCK_CLOEXEC, 0, sv),
			    "socketpair() failed");
	}
	if (path->server == SOCKET || path->server == CHANNEL)
		add_region(vm, path, sv[0]);

	if (polls(path)) {
		spin_ns = get_kvm_param_integer("ioregionfd_spin_ns");
		set_spin(SPIN_NS);
	}
	memset(shared, 0, sizeof(*shared));
	shared->late = path->late;
	if (path->device)
		pid = task_start(path, sv[1]);

	pthread_barrier_init(&between, NULL, path->vcpus);
	for (i = 0; i < path->vcpus; i++) {
		vcpu_args_set(vcpus[i], 1, i);
		workers[i].path = path;
		workers[i].vcpu = vcpus[i];
		workers[i].socket = sv[0];
		TEST_ASSERT(!pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]),
			    "pthread_create() failed");
	}
	for (i = 0; i < path->vcpus; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&between);

	if (pid)
		device = task_stop(pid);
	else if (path->server == EVENTFD)
		TEST_ASSERT(read(sv[0], &count, sizeof(count)) == sizeof(count) &&
			    count == ACCESSES + WARM_UP, "the eventfd has %lu", count);
	if (polls(path))
		set_spin(spin_ns);
	r = report(path, vm, workers, &device);
	kvm_vm_free(vm);
	if (sv[0] >= 0) {
		close(sv[0]);
		close(sv[1]);
	}
	return r;
}

/*
 * Where vCPU and device task share a CPU, it is a matter of chance, for as long as they live, how
 * often the scheduler has to decide between them. So what counts is the least of some tries.
 */
static void measure_least(const struct path *path)
{
	int i, tries = path->device && !polls(path) ? TRIES : 1;
	struct report least, r;

	for (i = 0; i < tries; i++) {
		r = measure(path);
		if (!i || r.figure < least.figure)
			least = r;
	}
	fputs(least.text, stdout);
	fflush(stdout);
}

static const struct path paths[] = {
	{ "mmio/in-kernel", READ, IN_KERNEL, NULL, 0, 1 },
	{ "mmio-write/ioeventfd", WRITE, EVENTFD, NULL, 0, 1 },
	{ "mmio-write/ioeventfd-woken", WRITE_ALONE, EVENTFD, device_eventfd, 1, 1 },
	{ "mmio/vmm-thread", READ, VMM, NULL, 0, 1 },
	{ "mmio/forward-socket", READ, FORWARD, device_read_write, 0, 1, SOCK_STREAM },
	{ "mmio/forward-seqpacket", READ, FORWARD, device_read_write, 0, 1, SOCK_SEQPACKET },
	{ "ioregionfd/socket", READ, SOCKET, device_read_write, 0, 1, SOCK_SEQPACKET },
	{ "ioregionfd/read-write", READ, CHANNEL, device_read_write, 0, 1 },
	{ "ioregionfd/ioctl", READ, CHANNEL, device_ioctl, 0, 1 },
	{ "ioregionfd/ioctl-library", READ, CHANNEL, device_library, 0, 1 },
	{ "ioregionfd/uring", READ, CHANNEL, device_uring, 0, 1 },
	{ "ioregionfd/uring-library", READ, CHANNEL, device_library_uring, 0, 1 },
	{ "ioregionfd/poll", READ, CHANNEL, device_poll, 1, 1 },
	{ "ioregionfd/poll-library", READ, CHANNEL, device_library_poll, 1, 1 },
	{ "ioregionfd/poll-late", READ, CHANNEL, device_poll, 1, 1, 0, LATE },
	{ "ioregionfd-write/posted", WRITE, CHANNEL, device_poll, 1, 1 },
	{ "ioregionfd-write/posted-woken", WRITE_ALONE, CHANNEL, device_ioctl, 1, 1 },
	{ "pio/vmm-thread", IN, VMM, NULL, 0, 1 },
	{ "pio/forward-socket", IN, FORWARD, device_read_write, 0, 1, SOCK_STREAM },
	{ "pio/forward-seqpacket", IN, FORWARD, device_read_write, 0, 1, SOCK_SEQPACKET },
	{ "pio/ioctl", IN, CHANNEL, device_ioctl, 0, 1 },
	{ "scaling/ioctl-1", READ, CHANNEL, device_ioctl, 0, 1 },
	{ "scaling/ioctl-2", READ, CHANNEL, device_ioctl, 0, 2 },
	{ "scaling/ioctl-4", READ, CHANNEL, device_ioctl, 0, 4 },
};

static bool wanted(const struct path *path, char **patterns)
{
	if ((path->server == SOCKET || path->server == CHANNEL) &&
	    !kvm_has_cap(KVM_CAP_IOREGIONFD))
		return false;
	if (!ALL_PATHS && (path->access == IN || path->access == WRITE_ALONE ||
			   path->server == IN_KERNEL))
		return false;
	if (!PAUSE_SWITCHES && path->device_cpu)
		return false;
	if (!*patterns)
		return true;
	while (*patterns)
		if (!fnmatch(*patterns++, path->name, 0))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	int i;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	TEST_ASSERT(shared != MAP_FAILED, "mmap() failed");
	for (i = 0; i < ARRAY_SIZE(paths); i++)
		if (wanted(&paths[i], argv + 1))
			measure_least(&paths[i]);
	return 0;
}
