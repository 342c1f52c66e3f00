/* SPDX-License-Identifier: GPL-2.0-only */
/* How often a task accesses user memory while it is in vhost */
#ifndef _VHOST_PERF_ACCESSES_H
#define _VHOST_PERF_ACCESSES_H

#include <stdint.h>
#include <sys/types.h>

struct accesses {
	uint64_t ring;
	uint64_t data;	/* what is in the buffers */
};

/* Those of @task during run(arg). It is called several times, and does the same in each. */
void accesses_count(pid_t task, void (*run)(void *arg), void *arg, struct accesses *accesses);

#endif
