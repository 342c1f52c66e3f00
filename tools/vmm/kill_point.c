// SPDX-License-Identifier: GPL-2.0-only
#include "kill_point.h"

#include <signal.h>
#include <unistd.h>

#ifdef KILL_POINTS
static unsigned int remaining;

void kill_points_init(unsigned int after)
{
	remaining = after;
}

void kill_point(void)
{
	/* Relaxed: a number, which orders nothing. Several threads may come by. */
	if (__atomic_load_n(&remaining, __ATOMIC_RELAXED) &&
	    !__atomic_sub_fetch(&remaining, 1, __ATOMIC_RELAXED)) {
		/* Confined, it dies of trying to. */
		kill(getpid(), SIGKILL);
		for (;;)
			pause();
	}
}
#endif
