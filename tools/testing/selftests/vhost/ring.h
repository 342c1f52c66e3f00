/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The driver's side of a virtqueue, in each of the four layouts. It trusts nothing that
 * the device writes: what is not as promised is said on stderr, and is an error.
 */
#ifndef _SELFTESTS_VHOST_RING_H
#define _SELFTESTS_VHOST_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/virtio_ring.h>
#include "memory.h"

#define BIT(n)		(1ULL << (n))

/* In an indirect table */
#define PIECES_MAX	64

#define RING_WRAP	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)
#define RING_AVAIL	BIT(VRING_PACKED_DESC_F_AVAIL)
#define RING_USED	BIT(VRING_PACKED_DESC_F_USED)

struct ring_kind {
	bool packed, in_order, indirect, event_idx;
};

/* Part of a buffer */
struct piece {
	uint64_t gpa;
	uint32_t len;
	bool write;		/* by the device */
};

/* A buffer that the device has not returned */
struct ring_buffer {
	uint32_t token;
	uint32_t writable;	/* bytes */
	uint16_t id;		/* the head, or the Buffer ID */
	uint16_t descs;
};

struct ring {
	struct ring_kind kind;
	unsigned int num;
	struct memory *memory;
	void *desc, *driver, *device;
	void *tables;		/* indirect, one per descriptor of the ring */

	/* Made available and not returned, oldest first; @num of them at most */
	struct ring_buffer *buffers;
	unsigned int first, count;

	/*
	 * Split: running counters. Packed: the index of a descriptor, and the wrap
	 * counter as the top bit.
	 */
	uint16_t avail, used;
	unsigned int room;	/* free descriptors */
	unsigned int added;	/* since the last ring_kick_needed(): counter, descriptors */

	/* Out of order: descriptors, or Buffer IDs, that are free */
	uint16_t *free_ids;
	/* Split in order: the next descriptor */
	uint16_t head;

	/* A used element that stands for several buffers: how many are still to come */
	unsigned int batch;
	uint32_t batch_len;	/* of the last */

	unsigned long elements;	/* used ones that were read */
};

int ring_create(struct ring *ring, struct memory *memory, struct ring_kind kind,
		unsigned int num);
void ring_destroy(struct ring *ring);

/* As after a reset of the device; what is outstanding is forgotten. */
void ring_reset(struct ring *ring);

/* How many descriptors of the ring a buffer of so many pieces takes */
unsigned int ring_descs(const struct ring *ring, unsigned int pieces);

/* Make a buffer available. Returns false if there is no room. */
bool ring_add(struct ring *ring, const struct piece *pieces, unsigned int n, uint32_t token);

/* The address in a descriptor of an outstanding buffer; they are counted from 0, the oldest. */
uint64_t *ring_addr(struct ring *ring, unsigned int buffer, unsigned int desc);

/* Whether the device wants to be told of what was added since this was last called */
bool ring_kick_needed(struct ring *ring);

/* Take back the oldest buffer. 1: there it is, 0: none is used, -1: the device is wrong. */
int ring_get(struct ring *ring, uint32_t *token, uint32_t *len);

/* Interrupts: all, none, or with EVENT_IDX when so many (from 1) outstanding ones are used */
void ring_call_always(struct ring *ring);
void ring_call_never(struct ring *ring);
void ring_call_at(struct ring *ring, unsigned int buffers);

/* What VHOST_SET_VRING_BASE is to be told if everything that was used has been read */
uint32_t ring_base(const struct ring *ring);

/* The layouts' part */
struct ring_buffer *ring_buffer(struct ring *ring, unsigned int i);
bool ring_pieces_indirect(const struct ring *ring, unsigned int n);
int ring_find(struct ring *ring, uint32_t id, unsigned int most);

void split_reset(struct ring *ring);
void split_add(struct ring *ring, const struct piece *pieces, unsigned int n,
	       struct ring_buffer *buffer);
bool split_kick_needed(struct ring *ring);
int split_read_used(struct ring *ring);
void split_returned(struct ring *ring, const struct ring_buffer *buffer);
void split_call(struct ring *ring, bool never, unsigned int buffers);

unsigned int split_desc(struct ring *ring, unsigned int buffer, unsigned int desc);

void packed_reset(struct ring *ring);
void packed_add(struct ring *ring, const struct piece *pieces, unsigned int n,
		struct ring_buffer *buffer);
bool packed_kick_needed(struct ring *ring);
int packed_read_used(struct ring *ring);
void packed_returned(struct ring *ring, const struct ring_buffer *buffer);
void packed_call(struct ring *ring, bool never, unsigned int buffers);
uint16_t packed_after(const struct ring *ring, uint16_t position, unsigned int descs);
unsigned int packed_desc(struct ring *ring, unsigned int buffer, unsigned int desc);

#endif
