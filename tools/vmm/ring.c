// SPDX-License-Identifier: GPL-2.0-only
#include "ring.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "confine.h"

void ring_init(struct ring *ring, unsigned int entries, int file, const uint8_t *ops,
	       unsigned int nr)
{
	ring->event_fd = eventfd(0, EFD_CLOEXEC);
	if (ring->event_fd < 0)
		err(EXIT_FAILURE, "eventfd");
	confine_ring(&ring->uring, entries, file, ring->event_fd, ops, nr);
}

struct io_uring_sqe *ring_sqe(struct ring *ring)
{
	/* There are as many as a device ever has under way. */
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	if (!sqe)
		errx(EXIT_FAILURE, "the io_uring is full");
	return sqe;
}

static void check(int ret, const char *what)
{
	if (ret < 0)
		errx(EXIT_FAILURE, "%s: %s", what, strerror(-ret));
}

/* Whether the kernel writes to the eventfd when an operation is done */
static void notify(struct ring *ring, bool enabled)
{
	check(io_uring_cq_eventfd_toggle(&ring->uring, enabled), "io_uring_cq_eventfd_toggle");
}

static bool any(const struct ring *ring)
{
	return io_uring_sq_ready(&ring->uring) || io_uring_cq_ready(&ring->uring);
}

void ring_submit(struct ring *ring, void (*completed)(void *opaque, void *data, int res),
		 void *opaque)
{
	struct io_uring_cqe *cqe;
	void *data;
	int res;

	while (any(ring)) {
		notify(ring, false);
		if (io_uring_sq_ready(&ring->uring))
			check(io_uring_submit(&ring->uring), "io_uring_submit");
		while (!io_uring_peek_cqe(&ring->uring, &cqe)) {
			data = io_uring_cqe_get_data(cqe);
			res = cqe->res;
			io_uring_cqe_seen(&ring->uring, cqe);
			completed(opaque, data, res);
		}
		notify(ring, true);
		/*
		 * Pairs with the kernel's full barrier between adding a completion and looking
		 * whether to write to the eventfd: either it writes, or we find the completion.
		 */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	}
}

void ring_wake(struct ring *ring)
{
	uint64_t one = 1;
	ssize_t n;

	/* Fails only if the counter is full, and then ring_wait() returns. */
	n = write(ring->event_fd, &one, sizeof(one));
	(void)n;
}

void ring_wait(struct ring *ring)
{
	uint64_t count;

	if (read(ring->event_fd, &count, sizeof(count)) < 0 && errno != EINTR)
		err(EXIT_FAILURE, "eventfd");
}
