// SPDX-License-Identifier: GPL-2.0-only
/*
 * All that processes can do to vhost's devices and their rings, at random and at once, in rounds
 * that end with SIGKILL. Whatever that was: the processes end, nothing of theirs is left, other
 * devices carry their frames all the time, and the kernel has no complaint.
 *
 * VHOST_FUZZ_SECONDS says how long, VHOST_FUZZ_SEED is the seed of the first round. Threads run
 * as they like, so a seed gives the same operations, but not in the same order. If something
 * fails, the seed of its round and the last operations of each thread are printed. If the kernel
 * stops, it prints them itself: ftrace_dump_on_oops.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "../kselftest_harness.h"
#include "fuzz.h"

/*
 * What the begin of a round takes at most, and its end: milliseconds. Sockets of vsock stay for
 * eight seconds.
 */
#define PATIENCE	60000

/* After this time, those who wait for a page in spite of SIGKILL get it. */
#define ALONE		1000

/* Of so many operations, some of each kind succeed, and each kind of ring is used. */
#define ENOUGH		100000

static const char *const modules[] = {
	"vhost", "vhost_net", "vhost_vsock", "vhost_test", "vhost_scsi", "tun"
};

static const char *const device_names[] = { "net", "vsock", "test", "scsi" };

/* Rounds that did not end before that */
static unsigned int nr_let_go;

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoul(value, NULL, 0) : otherwise;
}

/* How many times as long as usual everything takes */
static unsigned int slowness(void)
{
	unsigned int factor = from_environment("KSELFTEST_SLOWNESS", 1);

	return factor > 1 ? factor : 1;
}

static unsigned int patience(void)
{
	return PATIENCE * slowness();
}

static bool too_late(uint64_t begun)
{
	return now_ms() - begun > patience();
}

static uint64_t seconds(void)
{
	return from_environment("VHOST_FUZZ_SECONDS", 20);
}

/* The number that a file has, or 0 */
static unsigned long number_in(const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned long value = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%lu", &value) != 1)
		value = 0;
	fclose(file);
	return value;
}

/* Bits that say what has happened to this kernel */
static unsigned long complaints(void)
{
	return number_in("/proc/sys/kernel/tainted");
}

static void get_refs(unsigned long *refs)
{
	char path[64];

	for (unsigned int i = 0; i < ARRAY_SIZE(modules); i++) {
		/* One that is part of the kernel has no such file. */
		snprintf(path, sizeof(path), "/sys/module/%s/refcnt", modules[i]);
		refs[i] = number_in(path);
	}
}

/* The module that has other references, or -1 */
static int other_refs(const unsigned long *refs)
{
	unsigned long now[ARRAY_SIZE(modules)];

	get_refs(now);
	for (unsigned int i = 0; i < ARRAY_SIZE(modules); i++)
		if (now[i] != refs[i])
			return i;
	return -1;
}

static void setting(const char *path, const char *value)
{
	FILE *file = fopen(path, "w");

	if (!file)
		return;
	fputs(value, file);
	fclose(file);
}

static void no_action(int signal)
{
}

/* One round, until this process is killed or, sometimes, ends by itself */
static void round_main(struct fuzz_world *world, uint64_t seed, int supervisor, bool ends,
		       unsigned int ms)
{
	struct sigaction action = { .sa_handler = no_action };
	struct actor own = { .seed = seed };
	uint64_t begun;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR1, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	fuzz_begin(world, seed, supervisor);
	begun = now_ms();
	while (!ends || now_ms() - begun < ms) {
		usleep(200 + below(&own, 2000));
		pthread_kill(fuzz.actors[below(&own, NR_ACTORS)].thread, SIGUSR1);
	}
	_exit(0);
}

/* Supervision */

static void print_file(const char *path)
{
	FILE *file = fopen(path, "r");
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		printf("#     %s", line);
	if (file)
		fclose(file);
}

static void print_log(const struct fuzz_world *world)
{
	const struct actor_log *log;
	const struct logged *l;
	unsigned int n;

	for (unsigned int i = 0; i < NR_ACTORS; i++) {
		log = &world->logs[i];
		printf("# thread %u, %u operations\n", i, log->nr);
		for (n = log->nr > NR_LOGGED ? log->nr - NR_LOGGED : 0; n < log->nr; n++) {
			l = &log->ops[n % NR_LOGGED];
			printf("#   %u.%u: %s %ld 0x%lx: ", l->device, l->queue, l->name, l->a,
			       l->b);
			if (l->ended)
				printf("%ld\n", l->ret);
			else
				printf("under way\n");
		}
	}
}

/* The threads of a process, and where they are in the kernel */
static void print_threads(const char *pid)
{
	struct dirent *entry;
	char path[300];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks))) {
		if (entry->d_name[0] == '.')
			continue;
		printf("#   process %s, thread %s\n", pid, entry->d_name);
		snprintf(path, sizeof(path), "/proc/%s/task/%s/comm", pid, entry->d_name);
		print_file(path);
		snprintf(path, sizeof(path), "/proc/%s/task/%s/stack", pid, entry->d_name);
		print_file(path);
	}
	if (tasks)
		closedir(tasks);
}

/* A worker that is a kernel thread, or whatever waits so that it cannot be killed */
static bool holds_up(const char *pid)
{
	char path[300], line[256] = "", *state;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	state = strrchr(line, ')');
	return state && (!strncmp(state, ") D", 3) || strstr(line, "(vhost-"));
}

/* The processes that should be gone, and others that may be the reason why they are not */
static void print_processes(pid_t group)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	pid_t pid;

	while (processes && (entry = readdir(processes))) {
		pid = atoi(entry->d_name);
		if (pid && (getpgid(pid) == group || holds_up(entry->d_name)))
			print_threads(entry->d_name);
	}
	if (processes)
		closedir(processes);
}

/* What does not come back after a round */
struct before {
	unsigned long refs[ARRAY_SIZE(modules)];
	unsigned long taint;
	pid_t bystander;
};

#define FAIL(fmt, ...) ({						\
	printf("# round %u, seed 0x%lx: " fmt "\n", nr, seed, ##__VA_ARGS__);	\
	print_log(world);						\
	print_processes(group);						\
	fflush(stdout);							\
	-1;								\
})

/*
 * Wait until all processes of the group are gone, which were killed at that time. Returns false
 * if some are not. @status: of the first one
 *
 * A worker that is a thread of the process takes SIGKILL, and then does what is left to do
 * (vhost_worker_killed()). If that needs a page that is missing, no signal ends it any more, and
 * the thread that would serve the page is gone. The process cannot close the device without its
 * worker, and may have to do that before it closes the userfaultfd, which would help. So help from
 * here, but not at once: whoever can be ended by SIGKILL is to be ended by SIGKILL.
 */
static bool gone(const struct fuzz_world *world, pid_t group, int uffd, uint64_t killed,
		 int *status)
{
	bool let_go = false;
	int any;
	pid_t pid;

	for (;;) {
		while ((pid = waitpid(-group, &any, WNOHANG)) > 0)
			if (pid == group)
				*status = any;
		if (pid < 0)
			return true;
		if (too_late(killed))
			return false;
		if (uffd >= 0 && now_ms() - killed > ALONE) {
			/* Not only once: a dying thread may register a page after that. */
			fuzz_let_go(world, uffd);
			nr_let_go += !let_go;
			let_go = true;
		}
		usleep(1000);
	}
}

static void let_refs_settle(const unsigned long *refs, uint64_t killed)
{
	int pair[2];

	while (other_refs(refs) >= 0 && !too_late(killed)) {
		/* What is in sockets that nobody has is looked for when some socket is closed. */
		if (!socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
			close(pair[0]);
			close(pair[1]);
		}
		usleep(1000);
	}
}

/* The seed of the round, for all that fails in it */
static int run_round(struct fuzz_world *world, uint64_t seed, unsigned int nr,
		     const struct before *before)
{
	struct actor own = { .seed = ~seed };
	unsigned int ms = (200 + below(&own, 1500)) * slowness(), passes;
	bool ends = one_in(&own, 4), begun;
	int pair[2], status = 0, uffd, other;
	pid_t group = -1;
	uint64_t killed;

	passes = __atomic_load_n(&world->bystander, __ATOMIC_RELAXED);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return FAIL("socketpair() failed");
	fflush(stdout);
	group = fork();
	if (group < 0)
		return FAIL("fork() failed");
	if (!group) {
		close(pair[0]);
		setpgid(0, 0);
		round_main(world, seed, pair[1], ends, ms);
	}
	close(pair[1]);
	setpgid(group, group);
	begun = fuzz_begun(pair[0], patience(), &uffd);
	close(pair[0]);
	if (begun) {
		usleep(ms / 2 * 1000);
		if (one_in(&own, 4)) {
			/* The kernel threads among the workers do not stop with them. */
			kill(-group, SIGSTOP);
			usleep(below(&own, 50) * 1000);
			kill(-group, SIGCONT);
		}
		usleep((ends ? ms : ms / 2) * 1000);
	}
	kill(-group, SIGKILL);
	killed = now_ms();
	if (!gone(world, group, uffd, killed, &status))
		return FAIL("a process does not end after SIGKILL");
	close(uffd);
	if (status && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		return FAIL("it has ended with status 0x%x", status);
	if (!begun)
		return FAIL("it does not begin");
	let_refs_settle(before->refs, killed);
	other = other_refs(before->refs);
	if (other >= 0)
		return FAIL("%s.ko is still used", modules[other]);
	while (!waitpid(before->bystander, &status, WNOHANG) && !too_late(killed) &&
	       __atomic_load_n(&world->bystander, __ATOMIC_RELAXED) == passes)
		usleep(1000);
	/* No child any more if it has been waited for */
	if (waitpid(before->bystander, &status, WNOHANG))
		return FAIL("other devices have failed");
	if (__atomic_load_n(&world->bystander, __ATOMIC_RELAXED) == passes)
		return FAIL("other devices stand still");
	if (complaints() != before->taint)
		return FAIL("the kernel has complained");
	return 0;
}

FIXTURE(fuzz)
{
	struct fuzz_world *world;
	struct before before;
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

	if (!fuzz_have(NET))
		SKIP(return, "there is no vhost_net");
	self->world = mmap(NULL, sizeof(*self->world), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->world);
	/* A process whose parent has been killed is this one's. */
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	setting("/sys/kernel/tracing/buffer_size_kb", "16");
	setting("/proc/sys/kernel/ftrace_dump_on_oops", "1");
	/* For "fail", where the kernel can do that */
	for (unsigned int i = 0; i < ARRAY_SIZE(faults); i++)
		setting(faults[i][0], faults[i][1]);
	self->before.bystander = fork();
	ASSERT_LE(0, self->before.bystander);
	if (!self->before.bystander) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fuzz_bystander(&self->world->bystander);
		_exit(1);
	}
}

FIXTURE_TEARDOWN(fuzz)
{
	kill(self->before.bystander, SIGKILL);
	waitpid(self->before.bystander, NULL, 0);
	setting("/proc/sys/kernel/ftrace_dump_on_oops", "0");
	/* The kernel's default: others trace more. */
	setting("/sys/kernel/tracing/buffer_size_kb", "1408");
}

/* Buffers came back from each kind of device that has a backend here, in each layout. */
static bool all_used(const struct fuzz_world *world)
{
	const unsigned int *used;
	bool all = true;

	for (unsigned int i = 0; i < NR_DEVICE_KINDS; i++) {
		used = world->used[i];
		printf("# buffers used by %s: split %u, in order %u, packed %u, both %u\n",
		       device_names[i], used[0], used[1], used[2], used[3]);
		if (i != SCSI && fuzz_have(i))
			all = all && used[0] && used[1] && used[2] && used[3];
	}
	return all;
}

TEST_F(fuzz, all_at_once)
{
	uint64_t begun = now_ms(), seed = from_environment("VHOST_FUZZ_SEED", 1);
	struct fuzz_world *world = self->world;
	struct actor seeds = { .seed = seed };
	unsigned int nr, i, nr_ops = 0;
	const struct fuzz_op *op;
	bool used;

	printf("# seed 0x%lx, %lu seconds\n", seed, seconds());
	while (__atomic_load_n(&world->bystander, __ATOMIC_RELAXED) < 10) {
		ASSERT_FALSE(too_late(begun)) {
			TH_LOG("the other devices do not begin");
		}
		usleep(1000);
	}
	begun = now_ms();
	get_refs(self->before.refs);
	self->before.taint = complaints();
	for (nr = 0; now_ms() - begun < seconds() * 1000; nr++, seed = fuzz_next(&seeds)) {
		printf("# round %u, seed 0x%lx\n", nr, seed);
		ASSERT_EQ(0, run_round(world, seed, nr, &self->before));
	}
	printf("# %u rounds, of which %u ended only when no page was missing\n", nr, nr_let_go);
	printf("# the other devices: %u times frames both ways\n", world->bystander);
	used = all_used(world);
	for (i = 0; (op = fuzz_op(i)); i++) {
		printf("# %s: %u, of which %u succeeded\n", op->name, world->begun[i],
		       world->succeeded[i]);
		nr_ops += world->begun[i];
	}
	if (nr_ops < ENOUGH) {
		printf("# %u operations are too few to expect success of each\n", nr_ops);
		return;
	}
	EXPECT_TRUE(used);
	/* With braces: EXPECT_TRUE() is two loops, and the second one would have no op. */
	for (i = 0; (op = fuzz_op(i)); i++) {
		EXPECT_TRUE(world->succeeded[i] || op->optional) {
			TH_LOG("%s has never succeeded", op->name);
		}
	}
}

int main(int argc, char **argv)
{
	struct __fixture_metadata *fixture;
	struct __test_metadata *test;

	for (fixture = __fixture_list; fixture; fixture = fixture->next)
		for (test = fixture->tests; test; test = test->next)
			/* It begins, the last round begins and ends, and what failed is printed. */
			test->timeout = seconds() + 4 * patience() / 1000;
	return test_harness_run(argc, argv);
}
