// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ring.h"

#define LOAD(p)		__atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#define STORE(p, v)	__atomic_store_n(&(p), v, __ATOMIC_RELEASE)

static unsigned int index_of(uint16_t position)
{
	return position & ~RING_WRAP;
}

static uint16_t available(uint16_t position)
{
	return position & RING_WRAP ? RING_AVAIL : RING_USED;
}

uint16_t packed_after(const struct ring *ring, uint16_t position, unsigned int descs)
{
	unsigned int i = index_of(position) + descs;
	uint16_t wrap = position & RING_WRAP;

	return i < ring->num ? i | wrap : (i - ring->num) | (wrap ^ RING_WRAP);
}

void packed_reset(struct ring *ring)
{
	ring->avail = RING_WRAP;
	ring->used = RING_WRAP;
	memset(ring->desc, 0, ring->num * sizeof(struct vring_packed_desc));
	memset(ring->driver, 0, sizeof(struct vring_packed_desc_event));
}

void packed_add(struct ring *ring, const struct segment *segments, unsigned int n,
		struct ring_buffer *buffer)
{
	struct vring_packed_desc *desc = ring->desc, *first = &desc[index_of(ring->avail)];
	uint16_t position = ring->avail, first_flags = 0;

	/* @buffer is counted already. In order, the Buffer ID is the index, as in other drivers. */
	buffer->id = ring_is_sorted(ring) ? index_of(ring->avail) :
					    ring->free_ids[ring->num - ring->count];
	if (ring_is_indirect(ring, n)) {
		struct vring_packed_desc *table = ring->tables;

		table += index_of(position) * SEGMENTS_MAX;
		for (unsigned int k = 0; k < n; k++) {
			table[k].addr = segments[k].gpa;
			table[k].len = segments[k].len;
			/* the Buffer ID is ignored here */
			table[k].id = random();
			table[k].flags = segments[k].write ? VRING_DESC_F_WRITE : 0;
		}
		first->addr = memory_gpa(ring->memory, table);
		first->len = n * sizeof(*table);
		first->id = buffer->id;
		first_flags = VRING_DESC_F_INDIRECT | available(position);
		position = packed_after(ring, position, 1);
	} else {
		for (unsigned int k = 0; k < n; k++) {
			struct vring_packed_desc *d = &desc[index_of(position)];
			uint16_t flags = available(position) |
				(segments[k].write ? VRING_DESC_F_WRITE : 0) |
				(k + 1 < n ? VRING_DESC_F_NEXT : 0);

			d->addr = segments[k].gpa;
			d->len = segments[k].len;
			/* only the last one has to be right */
			d->id = ring_is_sorted(ring) || k + 1 == n ? buffer->id : random();
			if (k)
				d->flags = flags;
			else
				first_flags = flags;
			position = packed_after(ring, position, 1);
		}
	}
	STORE(first->flags, first_flags);
	ring->avail = position;
	ring->added += buffer->descs;
}

unsigned int packed_desc(struct ring *ring, unsigned int buffer, unsigned int desc)
{
	uint16_t position = ring->used;

	for (unsigned int i = 0; i < buffer; i++)
		position = packed_after(ring, position, ring_buffer(ring, i)->descs);
	return index_of(packed_after(ring, position, desc));
}

bool packed_kick_needed(struct ring *ring)
{
	uint32_t word = LOAD(*(uint32_t *)ring->device);
	uint16_t new = index_of(ring->avail), off_wrap = word, off = index_of(off_wrap);

	switch (word >> 16) {
	case VRING_PACKED_EVENT_FLAG_ENABLE:
		return ring->added;
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	}
	if ((off_wrap ^ ring->avail) & RING_WRAP)
		off -= ring->num;
	return vring_need_event(off, new, new - ring->added);
}

int packed_read_used(struct ring *ring)
{
	const struct vring_packed_desc *desc = ring->desc;
	uint16_t flags;
	int i;

	desc += index_of(ring->used);
	flags = LOAD(desc->flags);
	if (!!(flags & RING_AVAIL) != !!(ring->used & RING_WRAP) ||
	    !!(flags & RING_USED) != !!(ring->used & RING_WRAP))
		return 0;
	if (flags & ~(RING_AVAIL | RING_USED | VRING_DESC_F_WRITE)) {
		fprintf(stderr, "# flags %#x in a used descriptor\n", flags);
		return -1;
	}
	i = ring_find(ring, desc->id, ring->count);
	if (i < 0)
		return -1;
	ring->batch = i + 1;
	if (!(flags & VRING_DESC_F_WRITE) != !desc->len) {
		fprintf(stderr, "# a used descriptor of %u bytes, flags %#x\n", desc->len, flags);
		return -1;
	}
	ring->batch_len = desc->len;
	return 1;
}

void packed_returned(struct ring *ring, const struct ring_buffer *buffer)
{
	ring->used = packed_after(ring, ring->used, buffer->descs);
	if (!ring_is_sorted(ring))
		ring->free_ids[ring->num - ring->count] = buffer->id;
}

void packed_call(struct ring *ring, bool never, unsigned int buffers)
{
	uint16_t position = ring->used, flags = VRING_PACKED_EVENT_FLAG_ENABLE;

	if (never) {
		flags = VRING_PACKED_EVENT_FLAG_DISABLE;
	} else if (buffers && ring->kind.event_idx) {
		flags = VRING_PACKED_EVENT_FLAG_DESC;
		for (unsigned int i = 0; i + 1 < buffers && i < ring->count; i++)
			position = packed_after(ring, position, ring_buffer(ring, i)->descs);
	}
	STORE(*(uint32_t *)ring->driver, position | (uint32_t)flags << 16);
}
