// SPDX-License-Identifier: GPL-2.0-only
/*
 * All that processes can do to channels, regions and VMs, at random and at once, in rounds
 * that end with SIGKILL. Whatever that was: the processes go, the VMs go with them, another
 * VM is served all the time, and the kernel has no complaint.
 *
 * IOREGIONFD_FUZZ_SECONDS says how long, IOREGIONFD_FUZZ_SEED is the seed of the first round.
 * Threads run as they like, so a seed gives the same operations, but not in the same order. If
 * something fails, the seed of its round and the last operations of each thread are printed.
 * If the kernel stops, it prints them itself: ftrace_dump_on_oops.
 */
#include <sys/prctl.h>
#include <sys/wait.h>

#include <linux/userfaultfd.h>

#include "ioregionfd_fuzz_util.h"
#include "ioregionfd_harness.h"

/* Of so many operations, some of each kind succeed: there may be fewer on a slow kernel alone. */
#define ENOUGH		20000

static void *task_main(void *arg)
{
	struct actor *a = arg;

	for (;;)
		fuzz_act(a);
	return NULL;
}

static uint64_t any_address(struct actor *a, uint32_t kind)
{
	if (kind == OP_IN || kind == OP_OUT || kind == OP_INS || kind == OP_OUTS)
		return PIO_BASE + below(a, NR_PORTS);
	/* Not too near the end */
	return MMIO_GPA + below(a, WINDOW - 512);
}

/* Accesses of all kinds, in and about the regions */
static void write_script(struct actor *a, struct kvm_vcpu *vcpu)
{
	struct guest_op op;
	int i;

	vcpu_script(vcpu)->nr_ops = 0;
	for (i = 0; i < 64; i++) {
		op = (struct guest_op){
			.kind = below(a, OP_OR + 1),
			.size = one_of(a, 1u, 2u, 4u, 4u, 8u),
			.val = fuzz_next(a),
			.mem = vcpu_buf_gva(vcpu) + 1024,
			.count = one_in(a, 2) ? 1 : 1 + below(a, 16),
			.down = one_in(a, 8),
		};
		op.addr = any_address(a, op.kind);
		if (op.addr < MMIO_GPA)
			op.size = min(op.size, 4u);
		if (op.kind == OP_MOVS)
			op.addr += 256;
		op_add(vcpu, op);
	}
}

/* What the VMM makes of an exit: anything */
static void handle_exit(struct actor *a, struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		if (run->io.port == DONE_PORT)
			write_script(a, vcpu);
		break;
	case KVM_EXIT_MMIO:
		memset(run->mmio.data, below(a, 256), sizeof(run->mmio.data));
		break;
	case KVM_EXIT_IOREGIONFD_FAILURE:
		run->ioregionfd.action = below(a, 4);
		run->ioregionfd.data = fuzz_next(a);
		if (one_in(a, 16))
			run->ioregionfd.size = fuzz_next(a);
		break;
	}
}

static void *vcpu_main(void *arg)
{
	struct actor *a = arg;
	struct kvm_vcpu *vcpu = fuzz.vcpus[a->index];
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct logged *l;
	long ret;

	vcpu_regs_get(vcpu, &regs);
	vcpu_sregs_get(vcpu, &sregs);
	for (;;) {
		l = fuzz_begin(a, "KVM_RUN");
		WRITE_ONCE(vcpu->run->immediate_exit, one_in(a, 8) ? below(a, 5) : 0);
		l->a = vcpu->run->immediate_exit;
		ret = ioctl(vcpu->fd, KVM_RUN, NULL);
		l->b = vcpu->run->exit_reason;
		fuzz_end(l, ret);
		if (!ret) {
			__atomic_fetch_add(&fuzz.world->exits, 1, __ATOMIC_RELAXED);
			handle_exit(a, vcpu);
		}
		/* This ends the guest: begin anew. It fails while an access is pending. */
		if (!ret && (vcpu->run->exit_reason == KVM_EXIT_SHUTDOWN ||
			     vcpu->run->exit_reason == KVM_EXIT_INTERNAL_ERROR)) {
			ioctl(vcpu->fd, KVM_SET_SREGS, &sregs);
			ioctl(vcpu->fd, KVM_SET_REGS, &regs);
		}
	}
	return NULL;
}

/* Lets what stalls go on after a while, or never. */
static void *stall_main(void *arg)
{
	struct actor *a = arg, *who;
	struct uffdio_copy copy;
	struct uffd_msg msg;
	int i;

	for (;;) {
		if (read(fuzz.uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		for (i = 0; i < NR_ACTORS; i++) {
			who = &fuzz.actors[i];
			if ((msg.arg.pagefault.address & ~4095ul) != (uint64_t)who->stalled)
				continue;
			if (one_in(a, 32))
				break;
			usleep(below(a, 20000));
			copy = (struct uffdio_copy){ (uint64_t)who->stalled, (uint64_t)who->buffer,
						     4096 };
			ioctl(fuzz.uffd, UFFDIO_COPY, &copy);
		}
	}
	return NULL;
}

static void *page_new(int nr)
{
	void *page = mmap(NULL, nr * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	TEST_ASSERT(page != MAP_FAILED, "mmap() failed");
	return page;
}

static void stalls_start(struct actor *stall, uint64_t seed)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	char *pages = page_new(NR_ACTORS);
	int i;

	for (i = 0; i < NR_ACTORS; i++)
		fuzz.actors[i].stalled = pages + i * 4096;
	fuzz.uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fuzz.uffd < 0)
		return;
	reg.range.start = (uint64_t)pages;
	reg.range.len = NR_ACTORS * 4096;
	TEST_ASSERT(!ioctl(fuzz.uffd, UFFDIO_API, &api), "UFFDIO_API failed");
	TEST_ASSERT(!ioctl(fuzz.uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER failed");
	stall->seed = seed;
	TEST_ASSERT(!pthread_create(&stall->thread, NULL, stall_main, stall), "no thread");
}

/* Something to begin with */
static void add_channels(void)
{
	struct channel ch;
	struct kvm_vm *vm;
	int i, n;

	for (i = 0; i < NR_FDS; i++)
		fuzz.fds[i] = -1;
	for (i = 0, n = 0; i < NR_VMS; i++) {
		vm = fuzz.vms[i];
		ch = channel_open_for(vm, TR_NATIVE);
		region_add(vm, &ch, MMIO_GPA, 0x800, USER_DATA(0), 0);
		region_add(vm, &ch, MMIO_GPA + 0x800, 0x800, USER_DATA(0x800),
			   KVM_IOREGION_POSTED_WRITES);
		region_add(vm, &ch, PIO_BASE, 16, USER_DATA(0), KVM_IOREGION_PIO);
		fuzz.fds[n++] = ch.dev_rd;
		ch = channel_open_for(vm, TR_NATIVE);
		region_add(vm, &ch, MMIO_GPA + 0x2000, 0x1000, USER_DATA(0x2000), 0);
		fuzz.fds[n++] = ch.dev_rd;
		ch = channel_open(TR_SEQPACKET);
		region_add(vm, &ch, MMIO_GPA + 0x1000, 0x400, USER_DATA(0x1000), 0);
		fuzz.fds[n++] = ch.dev_rd;
		fuzz.fds[n++] = ch.kvm_rd;
	}
}

/* One round, until this process is killed or, sometimes, ends by itself */
static void round_main(uint64_t seed, bool ends, unsigned int ms)
{
	struct sigaction sa = { .sa_handler = sigusr1_handler };
	struct actor own = { .seed = seed }, stall;
	uint64_t begun = now_ms();
	struct actor *a;
	int i;

	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	fuzz.kvm_fd = open_kvm_dev_path_or_exit();
	fuzz.marker = open("/sys/kernel/tracing/trace_marker", O_WRONLY | O_CLOEXEC);
	fuzz.spare_pages = page_new(MMIO_PAGES);
	for (i = 0; i < NR_VMS; i++) {
		fuzz.vms[i] = vm_create(NR_VCPU_ACTORS / NR_VMS);
		virt_map(fuzz.vms[i], MMIO_GPA, MMIO_GPA, MMIO_PAGES);
	}
	/* No id twice, so that they can be told apart in the kernel's trace */
	for (i = 0; i < NR_VCPU_ACTORS; i++) {
		fuzz.vcpus[i] = vm_vcpu_add(fuzz.vms[i % NR_VMS], i, guest_script_main);
		vcpu_args_set(fuzz.vcpus[i], 1, (uint64_t)i);
	}
	add_channels();
	for (i = 0; i < NR_ACTORS; i++) {
		fuzz.actors[i] = (struct actor){
			.log = &fuzz.world->logs[i],
			.index = i,
			.seed = seed + i * 0x10001,
			.buffer = page_new(1),
		};
		fuzz.world->logs[i].nr = 0;
	}
	stalls_start(&stall, seed + NR_ACTORS * 0x10001);
	for (a = fuzz.actors; a < fuzz.actors + NR_ACTORS; a++) {
		if (a->index >= NR_VCPU_ACTORS)
			TEST_ASSERT(!io_uring_queue_init(8, &a->ring, 0), "no io_uring");
		TEST_ASSERT(!pthread_create(&a->thread, NULL,
					    a->index < NR_VCPU_ACTORS ? vcpu_main : task_main, a),
			    "no thread");
	}
	while (!ends || now_ms() - begun < ms) {
		usleep(200 + below(&own, 2000));
		pthread_kill(fuzz.actors[below(&own, NR_ACTORS)].thread, SIGUSR1);
	}
	_exit(0);
}

/* Another VM, whose accesses nobody may hold up or change */

static uint64_t value_of(uint64_t offset)
{
	return (offset + 1) * 0x9e3779b97f4a7c15ul;
}

static void guest_bystander_main(void)
{
	uint64_t i, offset, val;

	for (i = 0;; i++) {
		offset = i % 256 * 8;
		val = READ_ONCE(*(uint64_t *)(MMIO_GPA + offset));
		__GUEST_ASSERT(val == value_of(offset), "access %lu got %lx", i, val);
	}
}

static uint64_t bystander_respond(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	return value_of(cmd->offset);
}

static void bystander_main(void)
{
	static struct device dev = { .respond = bystander_respond };
	struct server_thread server;
	struct vcpu_thread thread;
	struct kvm_vcpu *vcpu;
	struct channel ch;
	struct kvm_vm *vm;

	catch_sigusr1();
	vm = ioregion_vm_create(1, guest_bystander_main, &vcpu);
	ch = channel_open_for(vm, TR_NATIVE);
	region_add(vm, &ch, MMIO_GPA, 0x1000, 0, 0);
	server_start(&server, &dev, ch.dev_rd, MODE_IOCTL, IOREGIONFD_ANY);
	vcpu_thread_init(&thread, vcpu);
	thread_start(&thread);
	while (!thread_returned(&thread)) {
		WRITE_ONCE(fuzz.world->bystander, READ_ONCE(server.nr));
		usleep(1000);
	}
	thread_join_exit(&thread);
	TEST_FAIL("the other VM has stopped: exit reason %u", vcpu->run->exit_reason);
}

/* Supervision */

static void print_file(const char *path)
{
	char line[256];
	FILE *f = fopen(path, "r");

	while (f && fgets(line, sizeof(line), f))
		printf("#     %s", line);
	if (f)
		fclose(f);
}

static void print_log(void)
{
	struct actor_log *log;
	struct logged *l;
	unsigned int i, n;

	for (i = 0; i < NR_ACTORS; i++) {
		log = &fuzz.world->logs[i];
		printf("# %s %u, %u operations\n", i < NR_VCPU_ACTORS ? "vCPU" : "task", i,
		       log->nr);
		for (n = log->nr > NR_LOGGED ? log->nr - NR_LOGGED : 0; n < log->nr; n++) {
			l = &log->ops[n % NR_LOGGED];
			if (l->ended)
				printf("#   %s %ld 0x%lx: %ld\n", l->name, l->a, l->b, l->ret);
			else
				printf("#   %s %ld 0x%lx: under way\n", l->name, l->a, l->b);
		}
	}
}

/* Where the threads are that should be gone */
static void print_threads(pid_t pid)
{
	char path[64];
	int tid;

	for (tid = pid; tid < pid + 2 * NR_ACTORS; tid++) {
		snprintf(path, sizeof(path), "/proc/%d/task/%d/stack", pid, tid);
		if (access(path, F_OK))
			continue;
		printf("#   thread %d\n", tid);
		print_file(path);
	}
}

#define FUZZ_ASSERT(e, pid, fmt, ...) do {					\
	if (!(e)) {								\
		print_log();							\
		print_threads(pid);						\
		TEST_FAIL(fmt, ##__VA_ARGS__);					\
	}									\
} while (0)

/* Bits that say what has happened to this kernel */
static unsigned long complaints(void)
{
	unsigned long value = 0;
	FILE *f = fopen("/proc/sys/kernel/tainted", "r");

	TEST_ASSERT(f && fscanf(f, "%lu", &value) == 1 && !fclose(f), "the kernel does not tell");
	return value;
}

static void setting(const char *path, const char *value)
{
	FILE *f = fopen(path, "w");

	if (f) {
		fputs(value, f);
		fclose(f);
	}
}

/* The seed of the round, for all that fails in it */
static void run_round(uint64_t seed, unsigned int nr, int refs, unsigned long taint)
{
	struct actor own = { .seed = seed };
	unsigned int ms = (300 + below(&own, 2500)) * slowness(), looks, before;
	bool ends = one_in(&own, 4);
	int pair[2], status;
	pid_t pid, group;

	before = READ_ONCE(fuzz.world->bystander);
	group = fork();
	TEST_ASSERT(group >= 0, "fork() failed");
	if (!group) {
		setpgid(0, 0);
		round_main(seed, ends, ms);
	}
	setpgid(group, group);
	usleep((ends ? 2 * ms : ms) * 1000);
	if (waitpid(group, &status, WNOHANG) == group)
		TEST_ASSERT(!status, "round %u, seed 0x%lx: it has ended with status 0x%x", nr,
			    seed, status);
	kill(-group, SIGKILL);
	for (looks = 0;; looks++) {
		pid = waitpid(-group, &status, WNOHANG);
		if (pid < 0)
			break;
		FUZZ_ASSERT(looks < HANG_LOOKS, group,
			    "round %u, seed 0x%lx: a process does not end after SIGKILL", nr, seed);
		if (!pid)
			usleep(1000);
	}
	for (looks = 0; module_refs() != refs; looks++) {
		FUZZ_ASSERT(looks < HANG_LOOKS, group,
			    "round %u, seed 0x%lx: a VM is still there, %d references, not %d", nr,
			    seed, module_refs(), refs);
		/* What is in sockets that nobody has is looked for when some socket is closed. */
		if (!socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
			close(pair[0]);
			close(pair[1]);
		}
		usleep(1000);
	}
	for (looks = 0; READ_ONCE(fuzz.world->bystander) == before; looks++) {
		FUZZ_ASSERT(looks < HANG_LOOKS, group,
			    "round %u, seed 0x%lx: the other VM stands still", nr, seed);
		usleep(1000);
	}
	FUZZ_ASSERT(complaints() == taint, group, "round %u, seed 0x%lx: the kernel has complained",
		    nr, seed);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoul(value, NULL, 0) : otherwise;
}

static uint64_t seconds(void)
{
	return from_environment("IOREGIONFD_FUZZ_SECONDS", 20);
}

FIXTURE(fuzz)
{
	pid_t bystander;
};

FIXTURE_SETUP(fuzz)
{
	static const char * const faults[][2] = {
		{ "/sys/kernel/debug/failslab/verbose", "0" },
		{ "/sys/kernel/debug/failslab/ignore-gfp-wait", "N" },
		{ "/sys/kernel/debug/fail_page_alloc/verbose", "0" },
		{ "/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N" },
		{ "/sys/kernel/debug/fail_page_alloc/min-order", "0" },
		{ "/sys/kernel/debug/fail_usercopy/verbose", "0" },
	};
	int i;

	set_spin_ns(SPIN_DEFAULT);
	fuzz.world = mmap(NULL, sizeof(*fuzz.world), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(fuzz.world != MAP_FAILED, "mmap() failed");
	/* A process whose parent has been killed is this one's. */
	TEST_ASSERT(!prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl() failed");
	setting("/sys/kernel/tracing/buffer_size_kb", "16");
	setting("/proc/sys/kernel/ftrace_dump_on_oops", "1");
	/* For do_fail(), where the kernel can do that */
	for (i = 0; i < ARRAY_SIZE(faults); i++)
		setting(faults[i][0], faults[i][1]);
	self->bystander = fork();
	TEST_ASSERT(self->bystander >= 0, "fork() failed");
	if (!self->bystander) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		bystander_main();
	}
}

FIXTURE_TEARDOWN(fuzz)
{
	kill(self->bystander, SIGKILL);
	waitpid(self->bystander, NULL, 0);
	setting("/proc/sys/kernel/ftrace_dump_on_oops", "0");
	/* The kernel's default: others trace more. */
	setting("/sys/kernel/tracing/buffer_size_kb", "1408");
}

TEST_F(fuzz, all_at_once)
{
	uint64_t begun = now_ms(), seed = from_environment("IOREGIONFD_FUZZ_SEED", 1);
	struct actor seeds = { .seed = seed };
	unsigned long taint = complaints();
	unsigned int nr, i, looks, nr_ops = 0;
	const char *name;
	bool optional;
	int refs;

	printf("# seed 0x%lx, %lu seconds\n", seed, seconds());
	for (looks = 0; READ_ONCE(fuzz.world->bystander) < 10; looks++) {
		TEST_ASSERT(looks < HANG_LOOKS, "the other VM does not begin");
		usleep(1000);
	}
	refs = module_refs();
	for (nr = 0; now_ms() - begun < seconds() * 1000; nr++, seed = fuzz_next(&seeds)) {
		printf("# round %u, seed 0x%lx\n", nr, seed);
		fflush(stdout);
		run_round(seed, nr, refs, taint);
	}
	printf("# %u rounds, %u exits to the VMM; accesses of the other VM: %u\n", nr,
	       fuzz.world->exits, fuzz.world->bystander);
	for (i = 0; (name = fuzz_op_name(i, &optional)); i++) {
		printf("# %s: %u, of which %u succeeded\n", name, fuzz.world->begun[i],
		       fuzz.world->succeeded[i]);
		nr_ops += fuzz.world->begun[i];
	}
	if (slowness() > 1 && nr_ops < ENOUGH) {
		printf("# %u operations are too few to expect success of each\n", nr_ops);
		return;
	}
	for (i = 0; (name = fuzz_op_name(i, &optional)); i++)
		TEST_ASSERT(fuzz.world->succeeded[i] || optional, "%s has never succeeded", name);
}

int main(int argc, char **argv)
{
	struct __fixture_metadata *fixture;
	struct __test_metadata *test;

	for (fixture = __fixture_list; fixture; fixture = fixture->next)
		for (test = fixture->tests; test; test = test->next)
			test->timeout = seconds() + 120 * slowness();
	return ioregion_test_main(argc, argv);
}
