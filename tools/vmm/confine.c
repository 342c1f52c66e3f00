// SPDX-License-Identifier: GPL-2.0-only
#include "confine.h"

#include <err.h>
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/landlock.h>
#include "sanitize.h"
#include "util.h"

/* All rights that Landlock knows, by the version of its ABI that brought them. */
static const struct {
	int abi;
	struct landlock_ruleset_attr rights;
} landlock_abis[] = {
	{ 1, { .handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1 } },
	{ 2, { .handled_access_fs = LANDLOCK_ACCESS_FS_REFER } },
	{ 3, { .handled_access_fs = LANDLOCK_ACCESS_FS_TRUNCATE } },
	{ 4, { .handled_access_net = LANDLOCK_ACCESS_NET_BIND_TCP |
				     LANDLOCK_ACCESS_NET_CONNECT_TCP } },
	{ 5, { .handled_access_fs = LANDLOCK_ACCESS_FS_IOCTL_DEV } },
	{ 6, { .scoped = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL } },
};

/* A ruleset that has no rules forbids all that it handles. */
static void landlock(void)
{
	struct landlock_ruleset_attr all = { 0 };
	size_t i, size = sizeof(all);
	int abi, fd;

	abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 0)
		err(EXIT_FAILURE, "this kernel has no Landlock");
	for (i = 0; i < ARRAY_SIZE(landlock_abis); i++) {
		if (landlock_abis[i].abi > abi)
			break;
		all.handled_access_fs |= landlock_abis[i].rights.handled_access_fs;
		all.handled_access_net |= landlock_abis[i].rights.handled_access_net;
		all.scoped |= landlock_abis[i].rights.scoped;
	}
	/* Members that are beyond an old kernel are 0, which it accepts. */
	fd = syscall(SYS_landlock_create_ruleset, &all, size, 0);
	if (fd < 0)
		err(EXIT_FAILURE, "landlock_create_ruleset");
	if (syscall(SYS_landlock_restrict_self, fd, 0))
		err(EXIT_FAILURE, "landlock_restrict_self");
	close(fd);
}

/* From root to a user of its own; whoever is not root has no other to become. */
static void drop_user(uint32_t id)
{
	if (geteuid())
		return;
	if (!id)
		errx(EXIT_FAILURE, "started as root, and without a user to become");
	if (setgroups(0, NULL) || setresgid(id, id, id) || setresuid(id, id, id))
		err(EXIT_FAILURE, "cannot become user %u", id);
}

static void limit(int resource, rlim_t value)
{
	const struct rlimit limit = { value, value };

	if (setrlimit(resource, &limit))
		err(EXIT_FAILURE, "setrlimit");
}

void confine_rights(uint32_t id)
{
#ifdef SANITIZE
	sanitize_prepare();
#endif
	drop_user(id);
	/*
	 * After a change of user, which would take it back. A VMM that has died before this
	 * has taken the channel with it, and then there is nothing to serve.
	 */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		err(EXIT_FAILURE, "PR_SET_PDEATHSIG");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		err(EXIT_FAILURE, "PR_SET_NO_NEW_PRIVS");
	/* No other process of this user may look into it, and there is no core dump. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		err(EXIT_FAILURE, "PR_SET_DUMPABLE");
	landlock();
	limit(RLIMIT_CORE, 0);
	/*
	 * No new descriptors, as those below are in use. Not less, because poll() takes no
	 * more entries than this.
	 */
	limit(RLIMIT_NOFILE, STDERR_FILENO + 1);
}

static void add_rule(scmp_filter_ctx filter, uint32_t action, int syscall)
{
	int ret = seccomp_rule_add(filter, action, syscall, 0);

	if (ret)
		errx(EXIT_FAILURE, "seccomp_rule_add: %s", strerror(-ret));
}

void confine_syscalls(const int *allowed, unsigned int nr, int ioctl_fd)
{
	static const int always[] = {
		SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(futex), SCMP_SYS(restart_syscall),
		SCMP_SYS(rt_sigreturn), SCMP_SYS(exit), SCMP_SYS(exit_group),
		SCMP_SYS(clock_gettime),	/* where the vDSO has no clock */
		/* for free() and malloc() */
		SCMP_SYS(brk), SCMP_SYS(munmap),
	};
	scmp_filter_ctx filter;
	unsigned int i;
	int ret;

	filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!filter)
		errx(EXIT_FAILURE, "seccomp_init");
	for (i = 0; i < ARRAY_SIZE(always); i++)
		add_rule(filter, SCMP_ACT_ALLOW, always[i]);
	for (i = 0; i < nr; i++)
		add_rule(filter, SCMP_ACT_ALLOW, allowed[i]);
#ifdef SANITIZE
	for (i = 0; i < sanitize_nr_allowed; i++)
		add_rule(filter, SCMP_ACT_ALLOW, sanitize_allowed[i]);
	for (i = 0; i < sanitize_nr_refused; i++)
		add_rule(filter, SCMP_ACT_ERRNO(EPERM), sanitize_refused[i]);
#endif
	/* Compared as 32 bits, as the kernel takes it. */
	ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
			       SCMP_A0_32(SCMP_CMP_EQ, ioctl_fd)) ?:
	      /* the system calls of other architectures */
	      seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) ?:
	      seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) ?:
	      seccomp_load(filter);
	if (ret)
		errx(EXIT_FAILURE, "cannot load the seccomp filter: %s", strerror(-ret));
	seccomp_release(filter);
}

static void check(int ret, const char *what)
{
	if (ret)
		errx(EXIT_FAILURE, "%s: %s", what, strerror(-ret));
}

struct start {
	pthread_barrier_t both_run;
	void *(*function)(void *arg);
	void *arg;
};

static void *run(void *arg)
{
	struct start *start = arg;

	pthread_barrier_wait(&start->both_run);
	return start->function(start->arg);
}

void confine_with_thread(uint32_t id, const int *allowed, unsigned int nr, int ioctl_fd,
			 void *(*function)(void *arg), void *arg)
{
	static struct start start;
	pthread_t thread;

	start.function = function;
	start.arg = arg;
	confine_rights(id);
	/* A thread inherits all this. What it takes to start one is forbidden afterwards. */
	check(-pthread_barrier_init(&start.both_run, NULL, 2), "pthread_barrier_init");
	check(-pthread_create(&thread, NULL, run, &start), "pthread_create");
	pthread_barrier_wait(&start.both_run);
	confine_syscalls(allowed, nr, ioctl_fd);
}

#define MAX_OPS	16

void confine_ring(struct io_uring *ring, unsigned int entries, int file, int event_fd,
		  const uint8_t *ops, unsigned int nr)
{
	struct io_uring_restriction restrictions[MAX_OPS + 1] = { 0 };
	unsigned int i;

	if (nr > MAX_OPS)
		errx(EXIT_FAILURE, "too many operations for an io_uring");
	for (i = 0; i < nr; i++) {
		restrictions[i].opcode = IORING_RESTRICTION_SQE_OP;
		restrictions[i].sqe_op = ops[i];
	}
	/* No operation on a file that is not registered; and nothing more can be registered. */
	restrictions[nr].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
	restrictions[nr].sqe_flags = IOSQE_FIXED_FILE;

	check(io_uring_queue_init(entries, ring, IORING_SETUP_R_DISABLED), "io_uring_queue_init");
	check(io_uring_register_files(ring, &file, 1), "io_uring_register_files");
	if (event_fd >= 0)
		check(io_uring_register_eventfd(ring, event_fd), "io_uring_register_eventfd");
	check(io_uring_register_restrictions(ring, restrictions, nr + 1),
	      "io_uring_register_restrictions");
	check(io_uring_enable_rings(ring), "io_uring_enable_rings");
}
