/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pages that are not in memory until they are accessed, for example by a device. Before the
 * access continues, the test can change things.
 */
#ifndef _SELFTESTS_VHOST_UFFD_H
#define _SELFTESTS_VHOST_UFFD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include "memory.h"

struct uffd {
	int fd;				/* userfaultfd */
	pthread_t thread;
	void *pages;
	size_t size;
	uint8_t content[MEMORY_PAGE];	/* of each page, once it is there */
	void (*meanwhile)(void *arg);	/* called while the access waits */
	void *arg;
};

/* For memory of the test. After uffd_remove(), the pages are missing once more. */
int uffd_begin(struct uffd *uffd, void *pages, size_t size, void (*meanwhile)(void *arg),
	       void *arg);
int uffd_remove(struct uffd *uffd);
void uffd_end(struct uffd *uffd);

#endif
