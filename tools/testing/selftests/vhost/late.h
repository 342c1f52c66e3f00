/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pages that are not in memory until somebody, such as a device, wants them: what that is
 * about to see or write has changed meanwhile.
 */
#ifndef _SELFTESTS_VHOST_LATE_H
#define _SELFTESTS_VHOST_LATE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include "memory.h"

struct late {
	int fault;			/* userfaultfd */
	pthread_t thread;
	void *pages;
	size_t size;
	uint8_t content[MEMORY_PAGE];	/* of each, then */
	void (*meanwhile)(void *arg);	/* while who wants a page waits for it */
	void *arg;
};

/* For memory of one's own. They are late once each time that late_again() was called. */
int late_begin(struct late *late, void *pages, size_t size, void (*meanwhile)(void *arg),
	       void *arg);
int late_again(struct late *late);
void late_end(struct late *late);

#endif
