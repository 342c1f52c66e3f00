// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ring.h"

int ring_create(struct ring *ring, struct memory *memory, struct ring_kind kind,
		unsigned int num)
{
	size_t desc = num * sizeof(struct vring_desc);
	size_t driver = sizeof(struct vring_packed_desc_event), device = driver;

	if (!kind.packed) {
		driver = sizeof(struct vring_avail) + (num + 1) * sizeof(__virtio16);
		device = sizeof(struct vring_used) + num * sizeof(struct vring_used_elem) +
			sizeof(__virtio16);
	}
	memset(ring, 0, sizeof(*ring));
	ring->kind = kind;
	ring->num = num;
	ring->memory = memory;
	/* Each part has pages of its own, so that the dirty log tells them apart. */
	ring->desc = memory_alloc(memory, desc, 4096);
	ring->driver = memory_alloc(memory, driver, 4096);
	ring->device = memory_alloc(memory, device, 4096);
	if (kind.indirect)
		ring->tables = memory_alloc(memory, num * SEGMENTS_MAX * sizeof(struct vring_desc),
					    4096);
	ring->buffers = calloc(num, sizeof(ring->buffers[0]));
	ring->free_ids = calloc(num, sizeof(ring->free_ids[0]));
	if (!ring->desc || !ring->driver || !ring->device || (kind.indirect && !ring->tables) ||
	    !ring->buffers || !ring->free_ids) {
		ring_destroy(ring);
		return -1;
	}
	ring_reset(ring);
	return 0;
}

void ring_destroy(struct ring *ring)
{
	free(ring->buffers);
	free(ring->free_ids);
	ring->buffers = NULL;
	ring->free_ids = NULL;
}

void ring_reset(struct ring *ring)
{
	ring->first = 0;
	ring->count = 0;
	ring->room = ring->num;
	ring->added = 0;
	ring->head = 0;
	ring->batch = 0;
	/* In random order, so that no device can guess it */
	for (unsigned int i = 0; i < ring->num; i++)
		ring->free_ids[i] = ring->num - 1 - i;
	for (unsigned int i = ring->num - 1; i; i--) {
		unsigned int j = random() % (i + 1);
		uint16_t id = ring->free_ids[i];

		ring->free_ids[i] = ring->free_ids[j];
		ring->free_ids[j] = id;
	}
	if (ring->kind.packed)
		packed_reset(ring);
	else
		split_reset(ring);
}

struct ring_buffer *ring_buffer(struct ring *ring, unsigned int i)
{
	return &ring->buffers[(ring->first + i) % ring->num];
}

bool ring_is_indirect(const struct ring *ring, unsigned int n)
{
	return ring->kind.indirect && n > 1;
}

bool ring_is_sorted(const struct ring *ring)
{
	return ring->kind.in_order || ring->kind.sorted;
}

unsigned int ring_descs(const struct ring *ring, unsigned int segments)
{
	return ring_is_indirect(ring, segments) ? 1 : segments;
}

bool ring_add(struct ring *ring, const struct segment *segments, unsigned int n, uint32_t token)
{
	unsigned int descs = ring_descs(ring, n);
	struct ring_buffer *buffer;

	if (descs > ring->room || (ring_is_indirect(ring, n) && n > SEGMENTS_MAX))
		return false;
	buffer = ring_buffer(ring, ring->count++);
	buffer->token = token;
	buffer->descs = descs;
	buffer->writable = 0;
	for (unsigned int i = 0; i < n; i++)
		buffer->writable += segments[i].write ? segments[i].len : 0;
	if (ring->kind.packed)
		packed_add(ring, segments, n, buffer);
	else
		split_add(ring, segments, n, buffer);
	ring->room -= descs;
	return true;
}

uint64_t *ring_addr(struct ring *ring, unsigned int buffer, unsigned int desc)
{
	unsigned int i = ring->kind.packed ? packed_desc(ring, buffer, desc) :
					     split_desc(ring, buffer, desc);

	/* at the same offset in both layouts */
	return (uint64_t *)&((struct vring_desc *)ring->desc)[i].addr;
}

bool ring_kick_needed(struct ring *ring)
{
	bool needed;

	/* Make buffers available before reading whether the device wants a kick. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	needed = ring->kind.packed ? packed_kick_needed(ring) : split_kick_needed(ring);
	ring->added = 0;
	return needed;
}

/*
 * Find the buffer that the device names among the first @most outstanding ones. In order, it
 * may be a later one than the oldest. Out of order it may not: without zero-copy
 * transmission, none of vhost's devices reorders.
 */
int ring_find(struct ring *ring, uint32_t id, unsigned int most)
{
	if (most > ring->count)
		most = ring->count;
	for (unsigned int i = 0; i < (ring->kind.in_order ? most : !!most); i++)
		if (ring_buffer(ring, i)->id == id)
			return i;
	fprintf(stderr, "# the device used buffer %u, which is not one of the %u it may use\n",
		id, most);
	return -1;
}

int ring_get(struct ring *ring, uint32_t *token, uint32_t *len)
{
	const struct ring_buffer *buffer = ring_buffer(ring, 0);
	int ret;

	if (!ring->batch) {
		ret = ring->kind.packed ? packed_read_used(ring) : split_read_used(ring);
		if (ret <= 0)
			return ret;
		ring->elements++;
	}
	ring->batch--;
	*token = buffer->token;
	*len = ring->batch ? buffer->writable : ring->batch_len;
	if (*len > buffer->writable) {
		fprintf(stderr, "# %u bytes written in a buffer of %u\n", *len, buffer->writable);
		return -1;
	}
	if (ring->kind.packed)
		packed_returned(ring, buffer);
	else
		split_returned(ring, buffer);
	ring->room += buffer->descs;
	ring->first = (ring->first + 1) % ring->num;
	ring->count--;
	return 1;
}

static void ring_call(struct ring *ring, bool never, unsigned int buffers)
{
	if (ring->kind.packed)
		packed_call(ring, never, buffers);
	else
		split_call(ring, never, buffers);
	/* before looking at the used ring again */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void ring_call_always(struct ring *ring)
{
	ring_call(ring, false, 0);
}

void ring_call_never(struct ring *ring)
{
	ring_call(ring, true, 0);
}

void ring_call_at(struct ring *ring, unsigned int buffers)
{
	ring_call(ring, false, buffers);
}

uint32_t ring_base(const struct ring *ring)
{
	return ring->kind.packed ? (uint32_t)ring->used << 16 | ring->used : ring->used;
}

void ring_set_raw(const struct ring *ring, struct ring_raw *to, uint64_t addr, uint32_t len,
		  uint16_t flags, uint16_t other)
{
	*to = (struct ring_raw) { addr, len, flags, other };
	if (ring->kind.packed) {
		to->third = other;
		to->fourth = flags;
	}
}
