// SPDX-License-Identifier: GPL-2.0-only
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>
#include "late.h"

static void *serve(void *arg)
{
	struct late *late = arg;
	struct uffd_msg message;

	while (read(late->fault, &message, sizeof(message)) == sizeof(message)) {
		struct uffdio_copy copy = {
			.dst = message.arg.pagefault.address & ~(MEMORY_PAGE - 1),
			.src = (uintptr_t)late->content,
			.len = MEMORY_PAGE,
		};

		late->meanwhile(late->arg);
		if (ioctl(late->fault, UFFDIO_COPY, &copy))
			break;
	}
	return NULL;
}

int late_begin(struct late *late, void *pages, size_t size, void (*meanwhile)(void *arg),
	       void *arg)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { (uintptr_t)pages, size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	*late = (struct late) { .pages = pages, .size = size, .meanwhile = meanwhile, .arg = arg };
	late->fault = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (late->fault < 0 || ioctl(late->fault, UFFDIO_API, &api) ||
	    ioctl(late->fault, UFFDIO_REGISTER, &range) || late_again(late) ||
	    pthread_create(&late->thread, NULL, serve, late)) {
		perror("# userfaultfd");
		return -1;
	}
	return 0;
}

int late_again(struct late *late)
{
	return madvise(late->pages, late->size, MADV_DONTNEED);
}

void late_end(struct late *late)
{
	/* closing it wakes its waiter, which can only be the thread */
	pthread_cancel(late->thread);
	pthread_join(late->thread, NULL);
	close(late->fault);
}
