// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the tests of ioregionfd ask of the system, and how long they wait.
 */
#include "ioregionfd_util.h"

int slowness(void)
{
	const char *value = getenv("KSELFTEST_SLOWNESS");
	int factor = value ? atoi(value) : 1;

	return factor > 1 ? factor : 1;
}

void set_spin_ns(unsigned int ns)
{
	FILE *f = fopen("/sys/module/kvm/parameters/ioregionfd_spin_ns", "w");

	TEST_ASSERT(f && fprintf(f, "%u", ns) > 0 && !fclose(f), "cannot set ioregionfd_spin_ns");
}

bool fd_poll(int fd, short events, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int r;

	do {
		r = poll(&pfd, 1, timeout_ms);
	} while (r < 0 && errno == EINTR);
	TEST_ASSERT(r >= 0, __KVM_SYSCALL_ERROR("poll()", r));
	return r;
}

int module_refs(void)
{
	static const char * const modules[] = { "kvm_intel", "kvm_amd" };
	char path[64], buf[32];
	int i, fd, refs = -1;

	for (i = 0; i < ARRAY_SIZE(modules); i++) {
		snprintf(path, sizeof(path), "/sys/module/%s/refcnt", modules[i]);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		memset(buf, 0, sizeof(buf));
		if (read(fd, buf, sizeof(buf) - 1) > 0)
			refs = atoi(buf);
		close(fd);
		if (refs >= 0)
			break;
	}
	return refs;
}

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ul + ts.tv_nsec / 1000000;
}
