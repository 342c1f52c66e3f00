// SPDX-License-Identifier: GPL-2.0-only
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>
#include "uffd.h"

static void *serve(void *arg)
{
	struct uffd *uffd = arg;
	struct uffd_msg message;

	while (read(uffd->fd, &message, sizeof(message)) == sizeof(message)) {
		struct uffdio_copy copy = {
			.dst = message.arg.pagefault.address & ~(MEMORY_PAGE - 1),
			.src = (uintptr_t)uffd->content,
			.len = MEMORY_PAGE,
		};

		uffd->meanwhile(uffd->arg);
		if (ioctl(uffd->fd, UFFDIO_COPY, &copy))
			break;
	}
	return NULL;
}

int uffd_begin(struct uffd *uffd, void *pages, size_t size, void (*meanwhile)(void *arg),
	       void *arg)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { (uintptr_t)pages, size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	*uffd = (struct uffd) { .pages = pages, .size = size, .meanwhile = meanwhile, .arg = arg };
	uffd->fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd->fd < 0 || ioctl(uffd->fd, UFFDIO_API, &api) ||
	    ioctl(uffd->fd, UFFDIO_REGISTER, &range) || uffd_remove(uffd) ||
	    pthread_create(&uffd->thread, NULL, serve, uffd)) {
		perror("# userfaultfd");
		return -1;
	}
	return 0;
}

int uffd_remove(struct uffd *uffd)
{
	return madvise(uffd->pages, uffd->size, MADV_DONTNEED);
}

void uffd_end(struct uffd *uffd)
{
	/* closing it wakes its waiter, which can only be the thread */
	pthread_cancel(uffd->thread);
	pthread_join(uffd->thread, NULL);
	close(uffd->fd);
}
