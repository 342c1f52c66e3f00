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

void accesses_start(pid_t task);
void accesses_stop(struct accesses *accesses);

#endif
