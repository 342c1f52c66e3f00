/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The driver's side of a virtqueue, in each of the four layouts. It checks everything that
 * the device writes; a violation is described on stderr and returned as an error. The tests
 * and the bench have it in common.
 */
#ifndef _SELFTESTS_VHOST_RING_H
#define _SELFTESTS_VHOST_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/virtio_ring.h>
#include "memory.h"

#define BIT(n)		(1ULL << (n))

/* In an indirect table */
#define SEGMENTS_MAX	64

#define RING_WRAP	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)
#define RING_AVAIL	BIT(VRING_PACKED_DESC_F_AVAIL)
#define RING_USED	BIT(VRING_PACKED_DESC_F_USED)

struct ring_kind {
	bool packed, in_order, indirect, event_idx;
	/* Out of order too, take descriptors and Buffer IDs in ring order, so that costs repeat. */
	bool sorted;
};

/* Part of a buffer */
struct segment {
	uint64_t gpa;
	uint32_t len;
	bool write;		/* the device writes it */
};

/* Descriptors of both layouts have 16 bytes, with these two fields at the same offset. */
struct ring_raw {
	uint64_t addr;
	uint32_t len;
	uint16_t third, fourth;
};

/* A buffer that the device holds */
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

	/* Outstanding buffers, the oldest first; at most @num */
	struct ring_buffer *buffers;
	unsigned int first, count;

	/*
	 * Split: running counters. Packed: the index of a descriptor, and the wrap
	 * counter as the top bit.
	 */
	uint16_t avail, used;
	unsigned int room;	/* free descriptors */
	unsigned int added;	/* since the last ring_kick_needed(); in units of avail */

	/* Unless they are taken in ring order: free descriptors (split) or Buffer IDs (packed) */
	uint16_t *free_ids;
	/* Split in ring order: the next descriptor */
	uint16_t head;

	/* Buffers still to be returned from a used element that returned several */
	unsigned int batch;
	uint32_t batch_len;	/* used length of the last one */

	unsigned long elements;	/* number of used elements read */
};

int ring_create(struct ring *ring, struct memory *memory, struct ring_kind kind,
		unsigned int num);
void ring_destroy(struct ring *ring);

/* Reset the ring, as after a reset of the device; outstanding buffers are forgotten. */
void ring_reset(struct ring *ring);

/* Number of ring descriptors that a buffer with this many segments takes */
unsigned int ring_descs(const struct ring *ring, unsigned int segments);

/* Make a buffer available. Returns false if there is no room. */
bool ring_add(struct ring *ring, const struct segment *segments, unsigned int n, uint32_t token);

/* Address field of a descriptor of an outstanding buffer; buffer 0 is the oldest. */
uint64_t *ring_addr(struct ring *ring, unsigned int buffer, unsigned int desc);

/* Does the device want a kick for what was added since the last call? */
bool ring_kick_needed(struct ring *ring);

/* Get the oldest buffer back. Returns 1, 0 if none has been used, or -1 if the device is wrong. */
int ring_get(struct ring *ring, uint32_t *token, uint32_t *len);

/* Interrupts: always, never, or (EVENT_IDX) when the @n-th outstanding buffer, from 1, is used */
void ring_call_always(struct ring *ring);
void ring_call_never(struct ring *ring);
void ring_call_at(struct ring *ring, unsigned int buffers);

/* Make a descriptor of the ring's layout; @other is the next one (split) or the Buffer ID. */
void ring_set_raw(const struct ring *ring, struct ring_raw *to, uint64_t addr, uint32_t len,
		  uint16_t flags, uint16_t other);

/* Base for VHOST_SET_VRING_BASE, provided that all used buffers have been read */
uint32_t ring_base(const struct ring *ring);

/* For the layouts' files */
struct ring_buffer *ring_buffer(struct ring *ring, unsigned int i);
bool ring_is_indirect(const struct ring *ring, unsigned int n);
bool ring_is_sorted(const struct ring *ring);
int ring_find(struct ring *ring, uint32_t id, unsigned int most);

void split_reset(struct ring *ring);
void split_add(struct ring *ring, const struct segment *segments, unsigned int n,
	       struct ring_buffer *buffer);
bool split_kick_needed(struct ring *ring);
int split_read_used(struct ring *ring);
void split_returned(struct ring *ring, const struct ring_buffer *buffer);
void split_call(struct ring *ring, bool never, unsigned int buffers);

unsigned int split_desc(struct ring *ring, unsigned int buffer, unsigned int desc);

void packed_reset(struct ring *ring);
void packed_add(struct ring *ring, const struct segment *segments, unsigned int n,
		struct ring_buffer *buffer);
bool packed_kick_needed(struct ring *ring);
int packed_read_used(struct ring *ring);
void packed_returned(struct ring *ring, const struct ring_buffer *buffer);
void packed_call(struct ring *ring, bool never, unsigned int buffers);
uint16_t packed_after(const struct ring *ring, uint16_t position, unsigned int descs);
unsigned int packed_desc(struct ring *ring, unsigned int buffer, unsigned int desc);

#endif
