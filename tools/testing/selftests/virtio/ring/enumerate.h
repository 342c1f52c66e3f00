/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All states of rings of 2 to 8 descriptors: see explore.h
 *
 * Limits: histories end when RING_ENUM_WRAPS (2) times the ring's size and one more descriptor have
 * been added. Out-of-order layouts are tried up to RING_ENUM_SIZE (4) descriptors: they are not
 * changed here, and the device may use buffers in any order, which leads to many states. A split
 * ring with EVENT_IDX has many as well and is limited in the same way. RING_ENUM_SIZE=8 tries all.
 *
 * For a core that has faults, to look at one of them: with RING_ENUM_BATCH=1 the device does not
 * batch, with RING_ENUM_CALLBACKS=0 callbacks are always on, with RING_ENUM_OLDEST_FIRST=0 buffers
 * may be recycled in any order, and with RING_ENUM_PLAIN=1 the device also changes descriptors of
 * split rings out of order.
 */
#ifndef RING_ENUMERATE_H
#define RING_ENUMERATE_H

#include "explore.h"

/* Options of do_explore() */
#define CALLBACKS 1
#define EXACT 2

/* Number of states that the last do_explore() found */
extern unsigned long states;

/* Explore all sizes up to @max. Returns NULL, or what is wrong. */
const char *do_explore(struct layout layout, unsigned int max, unsigned int flags,
		       const char *(*at_state)(void));

/* The value of this environment variable */
unsigned int parameter(const char *name, unsigned int otherwise);

/* The next larger ring size of this layout, or 0 */
unsigned int next_size(const struct layout *layout, unsigned int num, unsigned int max);

/* The device uses everything, and the driver takes it back. */
const char *drain(void);

/* The @i-th oldest of all outstanding buffers, in order */
const struct buf *outstanding(unsigned int i);

#endif /* RING_ENUMERATE_H */
