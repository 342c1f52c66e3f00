// SPDX-License-Identifier: GPL-2.0-only
#include "driver.h"

#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

static bool has(uint64_t features, unsigned int bit)
{
	return features >> bit & 1;
}

static struct vring_desc *split_desc(struct driver_queue *q)
{
	return machine_host(q->m, q->desc);
}

static struct vring_avail *split_avail(struct driver_queue *q)
{
	return machine_host(q->m, q->driver);
}

static struct vring_used *split_used(struct driver_queue *q)
{
	return machine_host(q->m, q->device);
}

static struct vring_packed_desc *packed_ring(struct driver_queue *q)
{
	return machine_host(q->m, q->desc);
}

void driver_init(struct driver_queue *q, struct machine *m, unsigned int num, uint64_t features)
{
	unsigned int i;

	memset(q, 0, sizeof(*q));
	q->m = m;
	q->packed = has(features, VIRTIO_F_RING_PACKED);
	q->in_order = has(features, VIRTIO_F_IN_ORDER);
	q->event_idx = has(features, VIRTIO_RING_F_EVENT_IDX);
	q->indirect = has(features, VIRTIO_RING_F_INDIRECT_DESC);
	q->num = num;
	q->nr_free = num;
	q->wrap = true;
	q->used_wrap = true;
	q->kicked = q->packed ? 0x8000 : 0;
	q->desc = machine_alloc(m, num * 16, 16);
	q->driver = machine_alloc(m, 6 + num * 2, 4);
	q->device = machine_alloc(m, 6 + num * 8, 4);
	q->tables = machine_alloc(m, num * DRIVER_MAX_SEGMENTS * 16, 16);
	for (i = 0; i < num; i++)
		q->free_desc[i] = true;
}

static uint64_t table_of(const struct driver_queue *q, uint16_t id)
{
	return q->tables + id * DRIVER_MAX_SEGMENTS * 16;
}

/* Both layouts have the same address, length and WRITE flag. Split ones are chained. */
static void fill_table(struct driver_queue *q, uint16_t id, const struct driver_segment *segments,
		       unsigned int nr_readable, unsigned int nr)
{
	struct vring_packed_desc *packed = machine_host(q->m, table_of(q, id));
	struct vring_desc *split = machine_host(q->m, table_of(q, id));
	unsigned int n;

	for (n = 0; n < nr; n++) {
		uint16_t flags = n < nr_readable ? 0 : VRING_DESC_F_WRITE;

		split[n].addr = segments[n].addr;
		split[n].len = segments[n].len;
		if (q->packed) {
			packed[n].flags = flags;
			continue;
		}
		split[n].flags = flags | (n + 1 < nr ? VRING_DESC_F_NEXT : 0);
		split[n].next = n + 1;
	}
}

static uint16_t take_desc(struct driver_queue *q)
{
	/* In order: in the order of the table (2.7.5.2); else whichever is free. */
	while (!q->free_desc[q->next])
		q->next = (q->next + 1) % q->num;
	q->free_desc[q->next] = false;
	q->nr_free--;
	return q->next;
}

static void note(struct driver_queue *q, uint16_t id, unsigned int token, unsigned int nr_desc)
{
	q->buffers[id].outstanding = true;
	q->buffers[id].token = token;
	q->buffers[id].nr_desc = nr_desc;
	q->fifo[q->fifo_tail++ % VIRTQUEUE_MAX_SIZE] = id;
}

static void add_split(struct driver_queue *q, const struct driver_segment *segments,
		      unsigned int nr_readable, unsigned int nr, unsigned int token)
{
	struct vring_desc *desc = split_desc(q), *d = NULL;
	uint16_t i, head = 0;
	unsigned int n;

	if (q->indirect) {
		head = take_desc(q);
		fill_table(q, head, segments, nr_readable, nr);
		desc[head].addr = table_of(q, head);
		desc[head].len = nr * sizeof(*desc);
		desc[head].flags = VRING_DESC_F_INDIRECT;
		nr = 1;
	}
	for (n = 0; n < nr && !q->indirect; n++) {
		i = take_desc(q);
		if (d) {
			d->next = i;
			d->flags |= VRING_DESC_F_NEXT;
			q->chains[d - desc] = i;
		} else {
			head = i;
		}
		d = &desc[i];
		d->addr = segments[n].addr;
		d->len = segments[n].len;
		d->flags = n < nr_readable ? 0 : VRING_DESC_F_WRITE;
	}
	note(q, head, token, nr);
	split_avail(q)->ring[q->avail_idx++ % q->num] = head;
	__atomic_store_n(&split_avail(q)->idx, q->avail_idx, __ATOMIC_RELEASE);
}

static uint16_t packed_flags(bool wrap)
{
	return wrap ? 1 << VRING_PACKED_DESC_F_AVAIL : 1 << VRING_PACKED_DESC_F_USED;
}

static uint16_t packed_id(struct driver_queue *q)
{
	uint16_t id = 0;

	while (q->buffers[id].outstanding)
		id++;
	return id;
}

static void add_packed(struct driver_queue *q, const struct driver_segment *segments,
		       unsigned int nr_readable, unsigned int nr, unsigned int token)
{
	struct vring_packed_desc *ring = packed_ring(q), *head = &ring[q->next];
	uint16_t id = packed_id(q), flags, head_flags = 0;
	struct driver_segment table = { table_of(q, id), nr * sizeof(*ring) };
	unsigned int n;

	if (q->indirect) {
		fill_table(q, id, segments, nr_readable, nr);
		segments = &table;
		nr = 1;
	}
	for (n = 0; n < nr; n++) {
		struct vring_packed_desc *d = &ring[q->next];

		flags = packed_flags(q->wrap);
		if (q->indirect)
			flags |= VRING_DESC_F_INDIRECT;
		else if (n >= nr_readable)
			flags |= VRING_DESC_F_WRITE;
		if (n + 1 < nr)
			flags |= VRING_DESC_F_NEXT;
		d->addr = segments[n].addr;
		d->len = segments[n].len;
		d->id = id;
		if (n)
			d->flags = flags;
		else
			head_flags = flags;
		q->nr_free--;
		if (++q->next == q->num) {
			q->next = 0;
			q->wrap = !q->wrap;
		}
	}
	note(q, id, token, nr);
	__atomic_store_n(&head->flags, head_flags, __ATOMIC_RELEASE);
}

bool driver_add(struct driver_queue *q, const struct driver_segment *segments,
		unsigned int nr_readable, unsigned int nr, unsigned int token)
{
	if (q->nr_free < (q->indirect ? 1 : nr))
		return false;
	if (q->packed)
		add_packed(q, segments, nr_readable, nr, token);
	else
		add_split(q, segments, nr_readable, nr, token);
	return true;
}

/* Packed positions as if the ring did not wrap, counted from the wrap before @new. */
static unsigned int unwrapped(const struct driver_queue *q, uint16_t position, uint16_t new)
{
	return (position & 0x7fff) + ((position ^ new) & 0x8000 ? 0 : q->num);
}

bool driver_needs_kick(struct driver_queue *q)
{
	uint16_t old = q->kicked, new = q->packed ? q->next | q->wrap << 15 : q->avail_idx, event;
	struct vring_packed_desc_event *e = machine_host(q->m, q->device);
	unsigned int o, n, v;

	q->kicked = new;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->packed) {
		if (!q->event_idx)
			return !(split_used(q)->flags & VRING_USED_F_NO_NOTIFY);
		/* The event index comes after the ring. */
		memcpy(&event, &split_used(q)->ring[q->num], sizeof(event));
		return vring_need_event(event, new, old);
	}
	if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != VRING_PACKED_EVENT_FLAG_DESC)
		return e->flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	event = e->off_wrap;
	/* An event in [old, new) has been passed; all on one line of two rings. */
	n = unwrapped(q, new, new);
	o = unwrapped(q, old, new);
	v = unwrapped(q, event, new);
	return v >= o && v < n;
}

static void release_desc(struct driver_queue *q, uint16_t id)
{
	unsigned int n;
	uint16_t i = id;

	for (n = 0; n < q->buffers[id].nr_desc; n++) {
		if (!q->packed)
			q->free_desc[i] = true;
		i = q->chains[i];
	}
	q->nr_free += q->buffers[id].nr_desc;
}

static int release(struct driver_queue *q, uint16_t id)
{
	if (id >= q->num || !q->buffers[id].outstanding)
		machine_fail("used id %u is not outstanding", id);
	release_desc(q, id);
	q->buffers[id].outstanding = false;
	return q->buffers[id].token;
}

/* A new used element; false if there is none. */
static bool look(struct driver_queue *q, uint16_t *id, uint32_t *len)
{
	struct vring_packed_desc *d;
	uint16_t flags;

	if (!q->packed) {
		struct vring_used_elem *elem = &split_used(q)->ring[q->used_idx % q->num];

		if (__atomic_load_n(&split_used(q)->idx, __ATOMIC_ACQUIRE) == q->used_idx)
			return false;
		*id = elem->id;
		*len = elem->len;
		return true;
	}
	d = &packed_ring(q)[q->used_idx];
	flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE);
	if (!!(flags & 1 << VRING_PACKED_DESC_F_AVAIL) != q->used_wrap ||
	    !!(flags & 1 << VRING_PACKED_DESC_F_USED) != q->used_wrap)
		return false;
	*id = d->id;
	*len = flags & VRING_DESC_F_WRITE ? d->len : 0;
	return true;
}

static void move_used(struct driver_queue *q, uint16_t id)
{
	if (!q->packed) {
		q->used_idx++;
		return;
	}
	q->used_idx += q->buffers[id].nr_desc;
	if (q->used_idx >= q->num) {
		q->used_idx -= q->num;
		q->used_wrap = !q->used_wrap;
	}
}

int driver_get(struct driver_queue *q, uint32_t *len)
{
	uint16_t id;

	if (!q->in_batch) {
		if (!look(q, &q->batch_id, &q->batch_len))
			return -1;
		q->elements++;
		q->in_batch = true;
	}
	id = q->in_order ? q->fifo[q->fifo_head % VIRTQUEUE_MAX_SIZE] : q->batch_id;
	if (q->fifo_head++ == q->fifo_tail)
		machine_fail("more is used than was made available");
	*len = id == q->batch_id ? q->batch_len : UINT32_MAX;
	if (id == q->batch_id)
		q->in_batch = false;
	move_used(q, id);
	return release(q, id);
}

bool driver_ask_for_interrupt(struct driver_queue *q)
{
	struct vring_packed_desc_event *e = machine_host(q->m, q->driver);
	uint32_t len;
	uint16_t id;

	if (q->packed && q->event_idx) {
		e->off_wrap = q->used_idx | q->used_wrap << 15;
		__atomic_store_n(&e->flags, VRING_PACKED_EVENT_FLAG_DESC, __ATOMIC_RELEASE);
	} else if (q->event_idx) {
		split_avail(q)->ring[q->num] = q->used_idx;
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return q->in_batch || look(q, &id, &len);
}
