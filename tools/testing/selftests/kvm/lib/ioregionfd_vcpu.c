// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exits from KVM_RUN, and vCPU threads that can be watched and interrupted in it.
 */
#include <sys/wait.h>

#include "ioregionfd_util.h"

void __expect_done(struct kvm_vcpu *vcpu, int line)
{
	struct kvm_run *run = vcpu->run;
	struct ucall uc;

	if (vcpu_is_done(vcpu, &uc)) {
		vcpu_script(vcpu)->nr_ops = 0;
		return;
	}
	if (uc.cmd == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	if (run->exit_reason == KVM_EXIT_IOREGIONFD_FAILURE)
		TEST_FAIL("line %d: access to 0x%llx failed: reason %u progress %u error %u",
			  line, run->ioregionfd.guest_paddr, run->ioregionfd.reason,
			  run->ioregionfd.progress, run->ioregionfd.error);
	if (run->exit_reason == KVM_EXIT_MMIO)
		TEST_FAIL("line %d: the VMM got %u bytes at 0x%llx",
			  line, run->mmio.len, run->mmio.phys_addr);
	if (run->exit_reason == KVM_EXIT_IO)
		TEST_FAIL("line %d: the VMM got %u bytes at port 0x%x",
			  line, run->io.size, run->io.port);
	TEST_FAIL("line %d: exit reason %u (%s)",
		  line, run->exit_reason, exit_reason_str(run->exit_reason));
}

void __run_done(struct kvm_vcpu *vcpu, int line)
{
	vcpu_run(vcpu);
	__expect_done(vcpu, line);
}

void __expect_mmio(struct kvm_vcpu *vcpu, uint64_t gpa, uint32_t len, bool is_write, uint64_t data,
		   int line)
{
	struct kvm_run *run = vcpu->run;
	uint64_t got = 0;

	TEST_ASSERT(run->exit_reason == KVM_EXIT_MMIO,
		    "line %d: wanted KVM_EXIT_MMIO, got %u (%s)", line, run->exit_reason,
		    exit_reason_str(run->exit_reason));
	if (is_write)
		memcpy(&got, run->mmio.data, min(run->mmio.len, 8u));
	TEST_ASSERT(run->mmio.phys_addr == gpa && run->mmio.len == len &&
		    run->mmio.is_write == is_write && got == (is_write ? data : 0),
		    "line %d: wanted %u bytes at 0x%lx write %u data 0x%lx, got %u at 0x%llx write %u data 0x%lx",
		    line, len, gpa, is_write, data, run->mmio.len, run->mmio.phys_addr,
		    run->mmio.is_write, got);
}

void expect_field(int line, const char *name, uint64_t want, uint64_t got)
{
	TEST_ASSERT(want == got, "line %d: wanted %s 0x%lx, got 0x%lx", line, name, want, got);
}

void __expect_failure(struct kvm_vcpu *vcpu, struct kvm_ioregionfd_exit want, int line)
{
	struct kvm_ioregionfd_exit got = vcpu->run->ioregionfd;

	TEST_ASSERT(vcpu->run->exit_reason == KVM_EXIT_IOREGIONFD_FAILURE,
		    "line %d: wanted KVM_EXIT_IOREGIONFD_FAILURE, got %u (%s)", line,
		    vcpu->run->exit_reason, exit_reason_str(vcpu->run->exit_reason));
	TEST_ASSERT(vcpu->run->flags & KVM_RUN_IOREGIONFD_PENDING,
		    "line %d: PENDING is not set", line);
	expect_field(line, "reason", want.reason, got.reason);
	expect_field(line, "error", want.error, got.error);
	expect_field(line, "progress", want.progress, got.progress);
	expect_field(line, "region_paddr", want.region_paddr, got.region_paddr);
	expect_field(line, "region_size", want.region_size, got.region_size);
	expect_field(line, "user_data", want.user_data, got.user_data);
	expect_field(line, "guest_paddr", want.guest_paddr, got.guest_paddr);
	expect_field(line, "size", want.size, got.size);
	expect_field(line, "is_write", want.is_write, got.is_write);
	expect_field(line, "is_pio", want.is_pio, got.is_pio);
	expect_field(line, "data", want.data, got.data);
	expect_field(line, "action", want.action, got.action);
	TEST_ASSERT(!memcmp(&got, &want, sizeof(want)),
		    "line %d: a field that is not checked above differs", line);
	/* The default, which the test may change. */
	vcpu->run->ioregionfd.action = KVM_IOREGIONFD_RETRY;
}

void resolve(struct kvm_vcpu *vcpu, uint32_t action, uint64_t data)
{
	vcpu->run->ioregionfd.action = action;
	vcpu->run->ioregionfd.data = data;
}

void sigusr1_handler(int sig)
{
}

void catch_sigusr1(void)
{
	struct sigaction sa = { .sa_handler = sigusr1_handler, .sa_flags = SA_RESTART };

	sigaction(SIGUSR1, &sa, NULL);
}

static void vcpu_thread_run(struct vcpu_thread *t)
{
	struct kvm_run *run = t->vcpu->run;

	for (;;) {
		t->ret = __vcpu_run(t->vcpu) ? -errno : 0;
		if (t->ret != -EINTR)
			return;
		t->nr_eintr++;
		t->nr_pending += !!(run->flags & KVM_RUN_IOREGIONFD_PENDING);
		if (!t->until_exit)
			return;
	}
}

static void *vcpu_thread_main(void *arg)
{
	struct vcpu_thread *t = arg;

	__atomic_store_n(&t->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	for (;;) {
		while (sem_wait(&t->go))
			;
		__atomic_store_n(&t->in_run, true, __ATOMIC_RELEASE);
		vcpu_thread_run(t);
		__atomic_store_n(&t->in_run, false, __ATOMIC_RELEASE);
		sem_post(&t->done);
	}
	return NULL;
}

void vcpu_thread_init(struct vcpu_thread *t, struct kvm_vcpu *vcpu)
{
	int r;

	catch_sigusr1();
	/* The caller's may be on the stack. */
	memset(t, 0, sizeof(*t));
	t->vcpu = vcpu;
	sem_init(&t->go, 0, 0);
	sem_init(&t->done, 0, 0);
	r = pthread_create(&t->thread, NULL, vcpu_thread_main, t);
	TEST_ASSERT(!r, "pthread_create() failed: %d", r);
	while (!__atomic_load_n(&t->tid, __ATOMIC_ACQUIRE))
		usleep(100);
}

void thread_start(struct vcpu_thread *t)
{
	t->until_exit = false;
	sem_post(&t->go);
}

void thread_start_until_exit(struct vcpu_thread *t)
{
	t->until_exit = true;
	sem_post(&t->go);
}

bool thread_returned(struct vcpu_thread *t)
{
	int value;

	sem_getvalue(&t->done, &value);
	return value;
}

int __thread_join(struct vcpu_thread *t, int seconds, int line)
{
	struct timespec end;
	int r;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += seconds;
	do {
		r = sem_timedwait(&t->done, &end);
	} while (r && errno == EINTR);
	TEST_ASSERT(!r, "line %d: KVM_RUN does not return", line);
	return t->ret;
}

void __thread_join_exit(struct vcpu_thread *t, int line)
{
	int r = __thread_join(t, HANG_SECONDS, line);

	TEST_ASSERT(!r, "line %d: KVM_RUN returned %d", line, r);
}

void __thread_join_done(struct vcpu_thread *t, int line)
{
	__thread_join_exit(t, line);
	__expect_done(t->vcpu, line);
}

bool task_asleep(pid_t tid)
{
	char path[64], stat[256], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY);
	TEST_ASSERT(fd >= 0, "cannot open %s", path);
	n = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	TEST_ASSERT(n > 0, "cannot read %s", path);
	stat[n] = 0;
	p = strrchr(stat, ')');
	return p && p[2] == 'S';
}

void wait_stopped(pid_t pid, int options, int *status)
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

unsigned long nr_sleeps(pid_t pid)
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

bool thread_asleep(struct vcpu_thread *t)
{
	return __atomic_load_n(&t->in_run, __ATOMIC_ACQUIRE) && task_asleep(t->tid) &&
	       __atomic_load_n(&t->in_run, __ATOMIC_ACQUIRE);
}

void __thread_wait_asleep(struct vcpu_thread *t, int line)
{
	int i;

	for (i = 0; i < HANG_SECONDS * 1000; i++) {
		TEST_ASSERT(!thread_returned(t),
			    "line %d: KVM_RUN returned %d, exit reason %u (%s)", line, t->ret,
			    t->vcpu->run->exit_reason,
			    exit_reason_str(t->vcpu->run->exit_reason));
		if (thread_asleep(t))
			return;
		usleep(1000);
	}
	TEST_FAIL("line %d: the vCPU thread does not sleep in KVM_RUN", line);
}

void __thread_interrupt(struct vcpu_thread *t, int line)
{
	struct kvm_run *run = t->vcpu->run;
	int r;

	__thread_wait_asleep(t, line);
	pthread_kill(t->thread, SIGUSR1);
	r = __thread_join(t, HANG_SECONDS, line);
	TEST_ASSERT(r == -EINTR, "line %d: wanted -EINTR, got %d, exit reason %u (%s)",
		    line, r, run->exit_reason, exit_reason_str(run->exit_reason));
	TEST_ASSERT(run->exit_reason == KVM_EXIT_INTR, "line %d: wanted KVM_EXIT_INTR, got %u",
		    line, run->exit_reason);
	TEST_ASSERT(run->flags & KVM_RUN_IOREGIONFD_PENDING, "line %d: PENDING is not set", line);
}

int run_immediate(struct kvm_vcpu *vcpu)
{
	int r;

	vcpu->run->immediate_exit = 1;
	r = __vcpu_run(vcpu) ? -errno : 0;
	vcpu->run->immediate_exit = 0;
	return r;
}

uint64_t vcpu_stat(struct kvm_vcpu *vcpu, const char *name)
{
	uint64_t unit = strstr(name, "_ns") ? KVM_STATS_UNIT_SECONDS : KVM_STATS_UNIT_NONE;
	struct kvm_stats_header header;
	struct kvm_stats_desc *descs, *desc;
	int fd = vcpu_get_stats_fd(vcpu), i;
	bool found = false;
	uint64_t val;

	read_stats_header(fd, &header);
	descs = read_stats_descriptors(fd, &header);
	for (i = 0; i < header.num_desc && !found; i++) {
		desc = get_stats_descriptor(descs, i, &header);
		if (strcmp(desc->name, name))
			continue;
		TEST_ASSERT_EQ(desc->flags & KVM_STATS_TYPE_MASK, KVM_STATS_TYPE_CUMULATIVE);
		TEST_ASSERT_EQ(desc->flags & KVM_STATS_UNIT_MASK, unit);
		read_stat_data(fd, &header, desc, &val, 1);
		found = true;
	}
	TEST_ASSERT(found, "no statistic %s", name);
	free(descs);
	close(fd);
	return val;
}
