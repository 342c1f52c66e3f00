/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The driver's side of a virtqueue, for tests: written from the specification, and with
 * nothing in common with virtqueue.c but the headers of the kernel.
 */
#ifndef DRIVER_H
#define DRIVER_H

#include "machine.h"

#define DRIVER_MAX_SEGMENTS	16	/* in an indirect table */

struct driver_segment {
	uint64_t addr;
	uint32_t len;
};

struct driver_queue {
	struct machine *m;
	bool packed, in_order, event_idx, indirect;
	unsigned int num;
	uint64_t desc, driver, device;
	uint64_t tables;			/* indirect ones, one for each id */

	unsigned int nr_free;			/* descriptors */
	uint16_t next;				/* in the table or ring */
	bool wrap;				/* packed: of @next */
	uint16_t avail_idx, used_idx;		/* split; packed: @used_idx is an offset */
	bool used_wrap;
	uint16_t kicked;			/* position at the last kick */
	bool free_desc[VIRTQUEUE_MAX_SIZE];	/* split, not in order */

	/* Buffers by id */
	struct {
		bool outstanding;
		unsigned int token, nr_desc;
	} buffers[VIRTQUEUE_MAX_SIZE];
	uint16_t chains[VIRTQUEUE_MAX_SIZE];	/* split: next in chain */
	uint16_t fifo[VIRTQUEUE_MAX_SIZE];	/* ids in the order of driver_add() */
	unsigned int fifo_head, fifo_tail;
	bool in_batch;				/* in order: an element is for several buffers */
	uint16_t batch_id;
	uint32_t batch_len;
	unsigned int elements;			/* used elements seen */
};

void driver_init(struct driver_queue *q, struct machine *m, unsigned int num, uint64_t features);

/* Readable segments come first. False: no room. */
bool driver_add(struct driver_queue *q, const struct driver_segment *segments,
		unsigned int nr_readable, unsigned int nr, unsigned int token);
/* Does the device want a kick? */
bool driver_needs_kick(struct driver_queue *q);
/* Returns the token of a buffer that has been used, or -1. */
int driver_get(struct driver_queue *q, uint32_t *len);
/* Ask for an interrupt for the next one. True: it is there already. */
bool driver_ask_for_interrupt(struct driver_queue *q);

#endif /* DRIVER_H */
