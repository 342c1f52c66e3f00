// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocations and copies from and to user memory that fail.
 */
#include <sys/resource.h>

#include "ioregionfd_nomem_util.h"

#define FAULTS		"/sys/kernel/debug/"

/* No operation needs as many allocations and copies. */
#define MAX_NTH		3000

/*
 * So many failures in a row. Not an endless number: the kernel's maple tree, which
 * holds the regions, retries for as long as it gets a part of what it needs.
 */
#define NR_MANY		"20"

/* Of the thread that has called faults_open(); and how often each kind of memory fails. */
static int nth_fd = -1, many_fd, slab_fd, page_fd;

void faults_open(void)
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

bool faults_next(struct faults *f)
{
	if (f->nth && !f->hit)
		return false;
	TEST_ASSERT(f->nth < MAX_NTH, "%s: %u failures, and still more", f->name, f->nth);
	f->nth++;
	return true;
}

void faults_begin(struct faults *f)
{
	char nth[16];
	int n = sprintf(nth, "%u", f->nth);

	if (f->many)
		TEST_ASSERT(write(slab_fd, NR_MANY, 2) == 2 && write(page_fd, NR_MANY, 2) == 2 &&
			    write(many_fd, "1", 1) == 1, "no failures");
	TEST_ASSERT(write(nth_fd, nth, n) == n, "no failure");
}

void faults_end(struct faults *f)
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

bool __faults_failed(struct faults *f, int r, int line)
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

void faults_report(struct faults *f)
{
	printf("# %s: %u failures, and the operation failed %u times\n", f->name, f->nth - 1,
	       f->failed);
}

void faults_expect(struct faults *f)
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

bool set_copies(bool fail)
{
	return access(FAULTS "fail_usercopy", F_OK) ||
	       (set_fault("fail_usercopy/require-start", fail ? "0" : "1") &&
		set_fault("fail_usercopy/require-end", fail ? "0xffffffffffffffff" : "2"));
}

void faults_setup(void)
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
	int i;

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
}

void faults_cleanup(void)
{
	set_copies(true);
	set_fault("failslab/probability", "0");
	set_fault("fail_page_alloc/probability", "0");
}
