// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>
#include "ring.h"

#define LOAD(p)		__atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#define STORE(p, v)	__atomic_store_n(&(p), v, __ATOMIC_RELEASE)

static struct vring_avail *avail_of(const struct ring *ring)
{
	return ring->driver;
}

static struct vring_used *used_of(const struct ring *ring)
{
	return ring->device;
}

static __virtio16 *used_event_of(const struct ring *ring)
{
	return &avail_of(ring)->ring[ring->num];
}

static __virtio16 *avail_event_of(const struct ring *ring)
{
	return (__virtio16 *)&used_of(ring)->ring[ring->num];
}

void split_reset(struct ring *ring)
{
	ring->avail = 0;
	ring->used = 0;
	memset(ring->driver, 0, sizeof(struct vring_avail));
	memset(ring->device, 0, sizeof(struct vring_used) +
	       ring->num * sizeof(struct vring_used_elem) + sizeof(__virtio16));
}

static uint16_t next_desc(struct ring *ring)
{
	uint16_t i;

	if (!ring_is_sorted(ring))
		return ring->free_ids[--ring->room];
	i = ring->head;
	ring->head = (ring->head + 1) % ring->num;
	return i;
}

static void fill(struct vring_desc *desc, const struct segment *segment, bool more, uint16_t next)
{
	desc->addr = segment->gpa;
	desc->len = segment->len;
	desc->flags = (segment->write ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0);
	desc->next = next;
}

void split_add(struct ring *ring, const struct segment *segments, unsigned int n,
	       struct ring_buffer *buffer)
{
	struct vring_desc *desc = ring->desc;
	unsigned int room = ring->room;
	uint16_t i = next_desc(ring);

	buffer->id = i;
	if (ring_is_indirect(ring, n)) {
		struct vring_desc *table = (struct vring_desc *)ring->tables + i * SEGMENTS_MAX;

		for (unsigned int k = 0; k < n; k++)
			fill(&table[k], &segments[k], k + 1 < n, k + 1);
		desc[i].addr = memory_gpa(ring->memory, table);
		desc[i].len = n * sizeof(*table);
		desc[i].flags = VRING_DESC_F_INDIRECT;
		desc[i].next = 0;
	} else {
		for (unsigned int k = 0; k < n; k++) {
			bool more = k + 1 < n;
			uint16_t next = more ? next_desc(ring) : 0;

			fill(&desc[i], &segments[k], more, next);
			i = next;
		}
	}
	ring->room = room;

	avail_of(ring)->ring[ring->avail % ring->num] = buffer->id;
	STORE(avail_of(ring)->idx, ++ring->avail);
	ring->added++;
}

unsigned int split_desc(struct ring *ring, unsigned int buffer, unsigned int desc)
{
	const struct vring_desc *descs = ring->desc;
	unsigned int i = ring_buffer(ring, buffer)->id;

	while (desc--)
		i = descs[i].next;
	return i;
}

bool split_kick_needed(struct ring *ring)
{
	if (!ring->kind.event_idx)
		return ring->added && !(LOAD(used_of(ring)->flags) & VRING_USED_F_NO_NOTIFY);
	return vring_need_event(LOAD(*avail_event_of(ring)), ring->avail,
				ring->avail - ring->added);
}

int split_read_used(struct ring *ring)
{
	uint16_t fresh = LOAD(used_of(ring)->idx) - ring->used;
	struct vring_used_elem element;
	int i;

	if (used_of(ring)->flags & ~VRING_USED_F_NO_NOTIFY) {
		fprintf(stderr, "# flags %#x in the used ring\n", used_of(ring)->flags);
		return -1;
	}
	if (!fresh)
		return 0;
	if (fresh > ring->count) {
		fprintf(stderr, "# %u buffers used of %u\n", fresh, ring->count);
		return -1;
	}
	element = used_of(ring)->ring[ring->used % ring->num];
	i = ring_find(ring, element.id, fresh);
	if (i < 0)
		return -1;
	ring->batch = i + 1;
	ring->batch_len = element.len;
	return 1;
}

void split_returned(struct ring *ring, const struct ring_buffer *buffer)
{
	const struct vring_desc *desc = ring->desc;
	uint16_t i = buffer->id;

	ring->used++;
	if (ring_is_sorted(ring))
		return;
	for (unsigned int k = 0; k < buffer->descs; k++) {
		ring->free_ids[ring->room + k] = i;
		i = desc[i].next;
	}
}

void split_call(struct ring *ring, bool never, unsigned int buffers)
{
	if (!ring->kind.event_idx) {
		STORE(avail_of(ring)->flags, never ? VRING_AVAIL_F_NO_INTERRUPT : 0);
		return;
	}
	/* An index that was passed is not reached again for 65536 buffers */
	STORE(*used_event_of(ring), never ? ring->used - 1 : ring->used + (buffers ?: 1) - 1);
}
