/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The io_uring of a device process. The thread that begins an operation also completes it if
 * it is done at once, as reading from the page cache is. What takes longer is completed by
 * another thread, which sleeps in ring_wait() meanwhile.
 *
 * All of this but ring_wait() is under the device's lock.
 */
#ifndef RING_H
#define RING_H

#include <stdint.h>
#include <liburing.h>

struct ring {
	struct io_uring uring;
	int event_fd;		/* an eventfd: there is something for the other thread */
};

/* As confine_ring() */
void ring_init(struct ring *ring, unsigned int entries, int file, const uint8_t *ops,
	       unsigned int nr);

/* For an operation; the caller fills it in. */
struct io_uring_sqe *ring_sqe(struct ring *ring);

/*
 * Begin the operations, and call @completed for all that are done by now. Those that it
 * queues are begun, too.
 */
void ring_submit(struct ring *ring, void (*completed)(void *opaque, void *data, int res),
		 void *opaque);

/* Let ring_wait() return. */
void ring_wake(struct ring *ring);

/* Sleep until ring_submit() is to be called, or ring_wake() has been. */
void ring_wait(struct ring *ring);

#endif /* RING_H */
