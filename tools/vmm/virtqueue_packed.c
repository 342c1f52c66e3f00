// SPDX-License-Identifier: GPL-2.0-only
/*
 * The packed layout (2.8). A position is the number of a descriptor in the ring, with the
 * wrap counter in bit 15. Whatever the driver can write is loaded once.
 */
#include "virtqueue.h"

#include <errno.h>
#include "util.h"

#define WRAP		((unsigned int)BIT(VRING_PACKED_EVENT_F_WRAP_CTR))
#define DESC_AVAIL	BIT(VRING_PACKED_DESC_F_AVAIL)
#define DESC_USED	BIT(VRING_PACKED_DESC_F_USED)

static unsigned int offset_of(uint16_t position)
{
	return position & (WRAP - 1);
}

/* The second half of a descriptor, which has all but the address. */
union desc_rest {
	uint64_t word;
	struct {
		uint32_t len;
		uint16_t id;
		uint16_t flags;
	};
};

static uint64_t *rest_of(const struct vring_packed_desc *desc)
{
	return (uint64_t *)desc + 1;
}

static struct vring_packed_desc load_desc(const struct vring_packed_desc *desc)
{
	union desc_rest rest;
	uint64_t addr;

	/* Acquire: the flags say whether the address is there (2.8.21.1). */
	rest.word = __atomic_load_n(rest_of(desc), __ATOMIC_ACQUIRE);
	addr = __atomic_load_n((const uint64_t *)desc, __ATOMIC_RELAXED);
	return (struct vring_packed_desc) {
		.addr = addr, .len = rest.len, .id = rest.id, .flags = rest.flags,
	};
}

static bool map(struct virtqueue *q)
{
	const struct virtqueue_state *s = q->state;

	/* Any size, and these alignments (2.8.10.1). */
	if (s->desc % 16 || s->driver % 4 || s->device % 4)
		return false;
	q->ring = guest_memory_at(q->memory, s->desc, q->num * sizeof(*q->ring));
	q->driver_event = guest_memory_at(q->memory, s->driver, sizeof(*q->driver_event));
	q->device_event = guest_memory_at(q->memory, s->device, sizeof(*q->device_event));
	return q->ring && q->driver_event && q->device_event;
}

/* Available: AVAIL is the driver's wrap counter, and USED is not (2.8.1). */
static bool available(const struct virtqueue *q)
{
	uint16_t position = q->state->avail;
	union desc_rest rest;
	bool wrap = position & WRAP;

	/* Relaxed: fetch() loads it again before it reads on. */
	rest.word = __atomic_load_n(rest_of(&q->ring[offset_of(position)]), __ATOMIC_RELAXED);
	return !!(rest.flags & DESC_AVAIL) == wrap && !!(rest.flags & DESC_USED) != wrap;
}

static int walk_table(struct virtqueue *q, struct virtqueue_request *request,
		      const struct vring_packed_desc *indirect)
{
	const struct vring_packed_desc *table;
	struct vring_packed_desc desc;
	unsigned int i, nr = indirect->len / sizeof(desc);
	int ret;

	if (!nr || indirect->len % sizeof(desc) || indirect->addr % 8)
		return -EINVAL;
	table = guest_memory_at(q->memory, indirect->addr, indirect->len);
	if (!table)
		return -EINVAL;
	for (i = 0; i < nr; i++) {
		desc = load_desc(&table[i]);
		/* WRITE is the only flag there; the others mean nothing (2.8.7). */
		ret = virtqueue_add_segment(q, request, desc.addr, desc.len,
					    desc.flags & VRING_DESC_F_WRITE);
		if (ret)
			return ret;
	}
	return 0;
}

static int fetch(struct virtqueue *q, struct virtqueue_request *request)
{
	unsigned int i = offset_of(q->state->avail), n;
	struct vring_packed_desc desc;
	int ret;

	/* The ring is the longest chain there can be. */
	for (n = 1; n <= q->num; n++) {
		desc = load_desc(&q->ring[i]);
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			/* Never part of a chain (2.8.7). */
			if (!q->indirect || n > 1 || desc.flags & VRING_DESC_F_NEXT)
				return -EINVAL;
			ret = walk_table(q, request, &desc);
		} else {
			ret = virtqueue_add_segment(q, request, desc.addr, desc.len,
						    desc.flags & VRING_DESC_F_WRITE);
		}
		if (ret)
			return ret;
		if (!(desc.flags & VRING_DESC_F_NEXT)) {
			/* The id is in the last one (2.8.6). */
			request->id = desc.id;
			request->nr_slots = n;
			return 0;
		}
		i = i + 1 == q->num ? 0 : i + 1;
	}
	return -EINVAL;
}

static uint16_t advance(const struct virtqueue *q, uint16_t position, unsigned int buffers,
			unsigned int slots)
{
	unsigned int offset = offset_of(position) + slots, wrap = position & WRAP;

	(void)buffers;
	/* @slots is the whole ring at most: it wraps once. */
	if (offset >= q->num) {
		offset -= q->num;
		wrap ^= WRAP;
	}
	return offset | wrap;
}

static void publish(struct virtqueue *q, uint16_t id, uint32_t len, bool writable)
{
	uint16_t position = q->state->used;
	union desc_rest rest = { .id = id };

	/* Used: AVAIL and USED are both the device's wrap counter (2.8.1). */
	if (position & WRAP)
		rest.flags = DESC_AVAIL | DESC_USED;
	/* The length counts if WRITE is set (2.8.3). */
	if (writable) {
		rest.flags |= VRING_DESC_F_WRITE;
		rest.len = len;
	}
	/* Release: the data comes first; pairs with the driver's acquire of the flags. */
	__atomic_store_n(rest_of(&q->ring[offset_of(position)]), rest.word, __ATOMIC_RELEASE);
}

/*
 * USED tells, whatever has come since: before, it is not the wrap counter; then it is; and
 * it still is when the driver makes the descriptor available again, one wrap later.
 */
static bool published(const struct virtqueue *q)
{
	uint16_t position = q->state->used;
	union desc_rest rest;

	rest.word = __atomic_load_n(rest_of(&q->ring[offset_of(position)]), __ATOMIC_RELAXED);
	return !!(rest.flags & DESC_USED) == !!(position & WRAP);
}

static bool wants_interrupt(const struct virtqueue *q)
{
	/* Acquire: the position counts only with these flags (2.8.10). */
	uint16_t flags = __atomic_load_n(&q->driver_event->flags, __ATOMIC_ACQUIRE);
	uint16_t old = offset_of(q->notified), new = offset_of(q->state->used), event;

	if (flags == VRING_PACKED_EVENT_FLAG_DISABLE)
		return false;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !q->event_idx)
		return true;
	/* Positions cannot tell one wrap from the next: any may be the event. */
	if (q->unasked >= q->num)
		return true;
	event = __atomic_load_n(&q->driver_event->off_wrap, __ATOMIC_RELAXED);
	/* Both as seen since our last wrap, as if the ring went on. */
	if ((event & WRAP) != (q->state->used & WRAP))
		event = offset_of(event) - q->num;
	else
		event = offset_of(event);
	if ((q->notified & WRAP) != (q->state->used & WRAP))
		old -= q->num;
	return virtqueue_passed(event, new, old);
}

static void ask_for_kick(struct virtqueue *q)
{
	struct vring_packed_desc_event *event = q->device_event;

	if (!q->event_idx) {
		__atomic_store_n(&event->flags, VRING_PACKED_EVENT_FLAG_ENABLE, __ATOMIC_RELAXED);
		return;
	}
	__atomic_store_n(&event->off_wrap, q->state->avail, __ATOMIC_RELAXED);
	/* Release: the position comes first; pairs with the driver's acquire of the flags. */
	__atomic_store_n(&event->flags, VRING_PACKED_EVENT_FLAG_DESC, __ATOMIC_RELEASE);
}

const struct virtqueue_ops virtqueue_packed_ops = {
	.map = map,
	.fetch = fetch,
	.advance = advance,
	.publish = publish,
	.published = published,
	.wants_interrupt = wants_interrupt,
	.ask_for_kick = ask_for_kick,
	.available = available,
};
