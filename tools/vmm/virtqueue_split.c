// SPDX-License-Identifier: GPL-2.0-only
/*
 * The split layout (2.7). A position counts buffers modulo 2^16, as the indices in the
 * rings do. Whatever the driver can write is loaded once.
 */
#include "virtqueue.h"

#include <errno.h>

static struct vring_desc load_desc(const struct vring_desc *desc)
{
	const uint64_t *words = (const uint64_t *)desc;
	union {
		uint64_t words[2];
		struct vring_desc desc;
	} copy;

	/* Relaxed: came with the index, which was loaded before. */
	copy.words[0] = __atomic_load_n(&words[0], __ATOMIC_RELAXED);
	copy.words[1] = __atomic_load_n(&words[1], __ATOMIC_RELAXED);
	return copy.desc;
}

static bool map(struct virtqueue *q)
{
	const struct virtqueue_state *s = q->state;
	/* Each with the event index at its end, even if that is not used. */
	uint64_t avail_size = sizeof(*q->avail) + (q->num + 1) * sizeof(q->avail->ring[0]);
	uint64_t used_size = sizeof(*q->used) + q->num * sizeof(q->used->ring[0]) + 2;

	/* A power of two, and these alignments (2.7). */
	if (q->num & (q->num - 1) || s->desc % 16 || s->driver % 2 || s->device % 4)
		return false;
	q->desc = guest_memory_at(q->memory, s->desc, q->num * sizeof(*q->desc));
	q->avail = guest_memory_at(q->memory, s->driver, avail_size);
	q->used = guest_memory_at(q->memory, s->device, used_size);
	return q->desc && q->avail && q->used;
}

static uint16_t avail_idx(const struct virtqueue *q)
{
	/* Acquire: what the index makes available is read after it. */
	return __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE);
}

static bool available(const struct virtqueue *q)
{
	return avail_idx(q) != q->state->avail;
}

/* All segments of the table of @nr descriptors, from the one with number @i. */
static int walk(struct virtqueue *q, struct virtqueue_request *request,
		const struct vring_desc *table, unsigned int nr, unsigned int i, bool in_table)
{
	struct vring_desc desc;
	uint64_t len;
	unsigned int n;
	int ret;

	/* A chain that is longer than its table goes in circles (2.7.5.2). */
	for (n = 0; n < nr; n++) {
		if (i >= nr)
			return -EINVAL;
		desc = load_desc(&table[i]);
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			/* At the end of a chain only, and no table in a table (2.7.5.3.1). */
			if (!q->indirect || in_table || desc.flags & VRING_DESC_F_NEXT)
				return -EINVAL;
			len = desc.len;
			if (!len || len % sizeof(desc) || desc.addr % 8)
				return -EINVAL;
			table = guest_memory_at(q->memory, desc.addr, len);
			if (!table)
				return -EINVAL;
			/* Its WRITE flag means nothing (2.7.5.3.2). */
			return walk(q, request, table, len / sizeof(desc), 0, true);
		}
		ret = virtqueue_add_segment(q, request, desc.addr, desc.len,
					    desc.flags & VRING_DESC_F_WRITE);
		if (ret)
			return ret;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return 0;
		i = desc.next;
	}
	return -EINVAL;
}

static int fetch(struct virtqueue *q, struct virtqueue_request *request)
{
	uint16_t position = q->state->avail;

	/* The driver is ahead by more than the ring holds, or has gone back (2.7.6.1). */
	if ((uint16_t)(avail_idx(q) - position) > q->num)
		return -EINVAL;
	request->id = __atomic_load_n(&q->avail->ring[position % q->num], __ATOMIC_RELAXED);
	return walk(q, request, q->desc, q->num, request->id, false);
}

static uint16_t advance(const struct virtqueue *q, uint16_t position, unsigned int buffers,
			unsigned int slots)
{
	(void)q;
	(void)slots;
	return position + buffers;
}

static void publish(struct virtqueue *q, uint16_t id, uint32_t len, bool writable)
{
	struct vring_used_elem *elem = &q->used->ring[q->state->used % q->num];

	(void)writable;
	__atomic_store_n(&elem->id, id, __ATOMIC_RELAXED);
	__atomic_store_n(&elem->len, len, __ATOMIC_RELAXED);
	/* Release: the data and the element come first; pairs with the driver's acquire. */
	__atomic_store_n(&q->used->idx, q->state->used_next, __ATOMIC_RELEASE);
}

static bool published(const struct virtqueue *q)
{
	return __atomic_load_n(&q->used->idx, __ATOMIC_RELAXED) == q->state->used_next;
}

static bool wants_interrupt(const struct virtqueue *q)
{
	/* The one or the other, never both (2.7.7.2). */
	if (!q->event_idx)
		return !(__atomic_load_n(&q->avail->flags, __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	return virtqueue_passed(__atomic_load_n(&q->avail->ring[q->num], __ATOMIC_RELAXED),
				q->state->used, q->notified);
}

static void ask_for_kick(struct virtqueue *q)
{
	uint16_t *avail_event = (uint16_t *)&q->used->ring[q->num];

	/* Without VIRTIO_RING_F_EVENT_IDX kicks come anyway: flags stays 0 (2.7.10.1). */
	if (q->event_idx)
		__atomic_store_n(avail_event, q->state->avail, __ATOMIC_RELAXED);
}

const struct virtqueue_ops virtqueue_split_ops = {
	.map = map,
	.fetch = fetch,
	.advance = advance,
	.publish = publish,
	.published = published,
	.wants_interrupt = wants_interrupt,
	.ask_for_kick = ask_for_kick,
	.available = available,
};
