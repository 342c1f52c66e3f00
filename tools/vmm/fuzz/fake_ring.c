// SPDX-License-Identifier: GPL-2.0-only
/*
 * An io_uring in which an operation is done when it is submitted, or later if the input
 * says so, with a result that the input may choose.
 */
#include "../ring.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include "fuzz.h"

#define MAX_OPS		4096

uint8_t fuzz_image[FUZZ_IMAGE];

static struct io_uring_sqe queued[MAX_OPS], submitted[MAX_OPS];
static unsigned int max_ops, nr_queued, nr_submitted;
static bool holding;
static int result = FAKE_RING_ANY;

void ring_init(struct ring *ring, unsigned int entries, int file, const uint8_t *ops,
	       unsigned int nr)
{
	(void)ring;
	(void)file;
	(void)ops;
	(void)nr;
	max_ops = entries;
	fuzz_check(max_ops <= MAX_OPS);
}

struct io_uring_sqe *ring_sqe(struct ring *ring)
{
	(void)ring;
	/* There are as many as a device ever has under way. */
	fuzz_check(nr_queued + nr_submitted < max_ops);
	return memset(&queued[nr_queued++], 0, sizeof(queued[0]));
}

/* Returns the number of bytes. What is written is in the image: nobody makes it longer. */
static int transfer(const struct io_uring_sqe *sqe, bool write, uint64_t max)
{
	const struct iovec *iov = (const struct iovec *)(uintptr_t)sqe->addr;
	uint64_t offset = sqe->off;
	unsigned int i;
	size_t n;

	fuzz_check(sqe->len <= 1024);		/* UIO_MAXIOV */
	for (i = 0; i < sqe->len && max; i++) {
		fuzz_check(!write || (offset <= FUZZ_IMAGE &&
				      iov[i].iov_len <= FUZZ_IMAGE - offset));
		if (offset >= FUZZ_IMAGE)
			break;
		n = iov[i].iov_len < FUZZ_IMAGE - offset ? iov[i].iov_len : FUZZ_IMAGE - offset;
		n = n < max ? n : max;
		if (write)
			memcpy(fuzz_image + offset, iov[i].iov_base, n);
		else
			memcpy(iov[i].iov_base, fuzz_image + offset, n);
		offset += n;
		max -= n;
	}
	return offset - sqe->off;
}

static int punch_hole(const struct io_uring_sqe *sqe)
{
	/* The length is where others have an address. */
	uint64_t offset = sqe->off, len = sqe->addr;

	fuzz_check(len && offset <= FUZZ_IMAGE && len <= FUZZ_IMAGE - offset);
	memset(fuzz_image + offset, 0, len);
	return 0;
}

static int carry_out(const struct io_uring_sqe *sqe)
{
	int max = result;

	fuzz_check(sqe->flags == IOSQE_FIXED_FILE && sqe->fd == 0);
	result = FAKE_RING_ANY;
	if (max < 0)
		return max;
	switch (sqe->opcode) {
	case IORING_OP_READV:
		return transfer(sqe, false, max);
	case IORING_OP_WRITEV:
		return transfer(sqe, true, max);
	case IORING_OP_FSYNC:
		return 0;
	case IORING_OP_FALLOCATE:
		return punch_hole(sqe);
	}
	fuzz_failed(__FILE__, __LINE__, "an operation that is allowed");
}

void ring_submit(struct ring *ring, void (*completed)(void *opaque, void *data, int res),
		 void *opaque)
{
	struct io_uring_sqe sqe;

	(void)ring;
	while (nr_queued || (nr_submitted && !holding)) {
		memcpy(submitted + nr_submitted, queued, nr_queued * sizeof(queued[0]));
		nr_submitted += nr_queued;
		nr_queued = 0;
		if (holding)
			return;
		/* The latest one first: the order is not that in which they began. */
		sqe = submitted[--nr_submitted];
		completed(opaque, (void *)(uintptr_t)sqe.user_data, carry_out(&sqe));
	}
}

void ring_wake(struct ring *ring)
{
	(void)ring;
}

void ring_wait(struct ring *ring)
{
	(void)ring;
}

void fake_ring_hold(void)
{
	holding = true;
}

void fake_ring_release(void)
{
	holding = false;
}

void fake_ring_result(int res)
{
	result = res;
}

void fake_ring_clear(void)
{
	nr_queued = 0;
	nr_submitted = 0;
	holding = false;
	result = FAKE_RING_ANY;
}

bool fake_ring_busy(void)
{
	return nr_submitted;
}
