/* SPDX-License-Identifier: GPL-2.0-only */
/* Counts the accesses of a task to user memory in vhost */
#ifndef _VHOST_PERF_ACCESSES_H
#define _VHOST_PERF_ACCESSES_H

#include <stdint.h>
#include <sys/types.h>

struct accesses {
	uint64_t ring;
	uint64_t data;	/* accesses to the data in the buffers */
};

/* Count those of @task during run(arg), which is called several times and must not vary. */
void accesses_count(pid_t task, void (*run)(void *arg), void *arg, struct accesses *accesses);

#endif
