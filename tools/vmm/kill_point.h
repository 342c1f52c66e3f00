/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Points at which a test lets a device process die: wherever what it has just stored does
 * not mean the same to its successor as what it is about to store. With KILL_POINTS
 * defined the process dies at the one whose number is device_args.kill_after, counted from
 * 1 as the process comes by; without it, this is nothing.
 */
#ifndef KILL_POINT_H
#define KILL_POINT_H

#ifdef KILL_POINTS
void kill_point(void);
void kill_points_init(unsigned int after);
#else
static inline void kill_point(void)
{
}

static inline void kill_points_init(unsigned int after)
{
	(void)after;
}
#endif

#endif /* KILL_POINT_H */
