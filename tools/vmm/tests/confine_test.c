// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a device process may not do, and what it has.
 */
#include <dirent.h>
#include <errno.h>
#include <kselftest_harness.h>
#include <linux/virtio_mmio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../example_device.h"
#include "../sanitize.h"
#include "escape.h"
#include "machine.h"

FIXTURE(confine) {
	struct machine m;
};

FIXTURE_SETUP(confine)
{
	machine_init(&self->m, "escape", 4096);
}

FIXTURE_TEARDOWN(confine)
{
	machine_destroy(&self->m);
}

/* Each layer by itself: with the filter nothing else is ever asked. */
TEST_F(confine, rights)
{
	static const int wanted[ESCAPE_NR] = {
		[ESCAPE_OPEN] = EMFILE,
		[ESCAPE_MKDIR] = EACCES,
		[ESCAPE_SOCKET] = EMFILE,
		[ESCAPE_SOCKETPAIR] = EMFILE,
		[ESCAPE_PTRACE] = EPERM,
		[ESCAPE_READ_PARENT] = EPERM,
		[ESCAPE_KILL] = EPERM,
		[ESCAPE_EXEC] = EACCES,
		[ESCAPE_SETUID] = EPERM,
		[ESCAPE_DUP] = EMFILE,
		[ESCAPE_URING_OPEN] = EACCES,
		[ESCAPE_URING_WRITE] = EACCES,
	};
	unsigned int i;

	memcpy(self->m.args.serial, "rights", 7);
	machine_spawn(&self->m);
	for (i = ESCAPE_OPEN; i <= ESCAPE_URING_WRITE; i++) {
		machine_write(&self->m, 0, i);
		EXPECT_EQ((int)machine_read(&self->m, 0), wanted[i]) {
			TH_LOG("attempt %u", i);
		}
	}
}

#ifdef SANITIZE
/* A mistake is reported in spite of the filter. */
TEST_F(confine, report)
{
	static const struct {
		enum escape mistake;
		const char *report;
	} mistakes[] = {
		{ ESCAPE_HEAP, "AddressSanitizer: heap-buffer-overflow" },
		{ ESCAPE_STACK, "AddressSanitizer: stack-buffer-overflow" },
		{ ESCAPE_NULL, "AddressSanitizer: SEGV" },
		{ ESCAPE_SHIFT, "runtime error: shift exponent" },
	};
	char report[65536] = "";
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mistakes); i++) {
		self->m.log_fd = memfd_create("log", MFD_CLOEXEC);
		machine_spawn(&self->m);
		EXPECT_TRUE(machine_dies_of(&self->m, 0, mistakes[i].mistake));
		EXPECT_EQ(WEXITSTATUS(self->m.status), SANITIZE_STATUS) {
			TH_LOG("mistake %u: wait status %#x", i, self->m.status);
		}
		memset(report, 0, sizeof(report));
		EXPECT_GT(pread(self->m.log_fd, report, sizeof(report) - 1, 0), 0);
		EXPECT_NE(strstr(report, mistakes[i].report), NULL) {
			TH_LOG("mistake %u: %s", i, report);
		}
		close(self->m.log_fd);
	}
}
#else
/* With sanitizers a few more system calls are allowed. */
TEST_F(confine, filter)
{
	unsigned int i;

	for (i = ESCAPE_OPEN; i < ESCAPE_NR; i++) {
		machine_spawn(&self->m);
		if (i == ESCAPE_URING_OPEN || i == ESCAPE_URING_WRITE) {
			machine_write(&self->m, 0, i);
			EXPECT_EQ((int)machine_read(&self->m, 0), EACCES);
			shutdown(self->m.socket, SHUT_RDWR);
			machine_wait_death(&self->m);
			continue;
		}
		EXPECT_TRUE(machine_dies_of(&self->m, 0, i)) {
			TH_LOG("attempt %u", i);
		}
		EXPECT_TRUE(WIFSIGNALED(self->m.status));
		EXPECT_EQ(WTERMSIG(self->m.status), SIGSYS);
	}
}
#endif

TEST_F(confine, root_needs_another_user)
{
	if (geteuid())
		SKIP(return, "not started as root");
	self->m.args.id = 0;
	machine_spawn(&self->m);
	machine_wait_death(&self->m);
	EXPECT_EQ(WEXITSTATUS(self->m.status), EXIT_FAILURE);
}

/* The value of a line in a status file of /proc, or -1. */
static long proc_value(const char *file, const char *name, int base)
{
	char line[256];
	long value = -1;
	FILE *f = fopen(file, "r");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			value = strtol(line + strlen(name) + 1, NULL, base);
	}
	fclose(f);
	return value;
}

static unsigned int nr_entries(const char *format, pid_t pid)
{
	unsigned int n = 0;
	struct dirent *e;
	char path[64];
	DIR *d;

	snprintf(path, sizeof(path), format, pid);
	d = opendir(path);
	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

/* A process that has answered, and so has confined itself: both of its threads */
static void confined(struct __test_metadata *_metadata, const struct machine *m)
{
	static const char format[] = "/proc/%d/task";
	char path[300], *end;
	struct dirent *e;
	DIR *d;

	EXPECT_EQ(nr_entries(format, m->pid), 2);
	snprintf(path, sizeof(path), format, m->pid);
	end = path + strlen(path);
	d = opendir(path);
	ASSERT_NE(d, NULL);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(end, sizeof(path) - (end - path), "/%s/status", e->d_name);
		EXPECT_EQ(proc_value(path, "NoNewPrivs", 10), 1);
		EXPECT_EQ(proc_value(path, "Seccomp", 10), 2);
		EXPECT_EQ(proc_value(path, "CapEff", 16), 0);
		EXPECT_EQ(proc_value(path, "CapPrm", 16), 0);
		if (!geteuid()) {
			EXPECT_EQ(proc_value(path, "Uid", 10), 65534);
			EXPECT_EQ(proc_value(path, "Gid", 10), 65534);
		}
	}
	closedir(d);
}

TEST_F(confine, disk)
{
	struct machine *m = &self->m;

	machine_destroy(m);
	machine_init(m, "virtio-blk", 4096);
	machine_spawn(m);
	ASSERT_EQ(machine_read(m, VIRTIO_MMIO_VERSION), 2);
	/*
	 * stdin, stdout, log, channel, interrupt and image; an io_uring, and its eventfd; and
	 * an eventfd of libioregionfd, which a native channel does not need.
	 */
	EXPECT_EQ(nr_entries("/proc/%d/fd", m->pid), 9);
	confined(_metadata, m);
}

TEST_F(confine, example)
{
	struct machine *m = &self->m;

	machine_destroy(m);
	machine_init(m, "example-device", 0);
	machine_spawn(m);
	ASSERT_EQ(machine_access(m, false, EXAMPLE_ALARM, 8, 0, 0), 0);
	/* As the disk, without an io_uring */
	EXPECT_EQ(nr_entries("/proc/%d/fd", m->pid), 7);
	confined(_metadata, m);
}

TEST_HARNESS_MAIN
