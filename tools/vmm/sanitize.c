// SPDX-License-Identifier: GPL-2.0-only
#include "sanitize.h"

#include <seccomp.h>
#include <stddef.h>
#include <sanitizer/common_interface_defs.h>
#include "util.h"

const int sanitize_allowed[] = {
	/* Memory of the allocator, and of the report itself */
	SCMP_SYS(mmap), SCMP_SYS(madvise),
	SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(sched_yield), SCMP_SYS(sigaltstack),
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
};

const unsigned int sanitize_nr_allowed = ARRAY_SIZE(sanitize_allowed);

const int sanitize_refused[] = {
	/* What is mapped, which sanitize_prepare() has read; names of programs and threads */
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(close), SCMP_SYS(readlink),
	SCMP_SYS(readlinkat), SCMP_SYS(prctl),
	/* Is there memory at an address? */
	SCMP_SYS(pipe), SCMP_SYS(pipe2),
};

const unsigned int sanitize_nr_refused = ARRAY_SIZE(sanitize_refused);

/*
 * There is no environment to tell it. No symbols: they are in a file. No colors: to see
 * whether stderr is a terminal takes an ioctl. No leaks: to find them takes ptrace().
 */
#define OPTIONS	"symbolize=0:color=never:detect_leaks=0:exitcode=99"

const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
	return OPTIONS;
}

/* gcc's has options of its own. */
const char *__ubsan_default_options(void)
{
	return OPTIONS;
}

void sanitize_prepare(void)
{
	__sanitizer_sandbox_arguments arguments = { 0 };

	__sanitizer_sandbox_on_notify(&arguments);
}
