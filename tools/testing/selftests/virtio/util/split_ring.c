// SPDX-License-Identifier: GPL-2.0-only
/* The device's side of a split virtqueue */
#include <endian.h>
#include <linux/virtio_ring.h>
#include "device_ring.h"

/* Including the event index at the end */
#define AVAIL_BYTES(size)	(offsetof(struct vring_avail, ring) + \
				 (size) * sizeof(__virtio16) + sizeof(__virtio16))
#define USED_BYTES(size)	(offsetof(struct vring_used, ring) + \
				 (size) * sizeof(struct vring_used_elem) + sizeof(__virtio16))

/* The driver may change its memory at any time, so each field is read once. */
static uint16_t load16(const __virtio16 *field)
{
	return le16toh(__atomic_load_n(field, __ATOMIC_RELAXED));
}

static void store16(__virtio16 *field, uint16_t value)
{
	__atomic_store_n(field, htole16(value), __ATOMIC_RELAXED);
}

static struct vring_desc load_desc(const struct vring_desc *desc)
{
	return (struct vring_desc) {
		.addr = le64toh(__atomic_load_n(&desc->addr, __ATOMIC_RELAXED)),
		.len = le32toh(__atomic_load_n(&desc->len, __ATOMIC_RELAXED)),
		.flags = load16(&desc->flags),
		.next = load16(&desc->next),
	};
}

/* The event indices, which follow the rings */
static __virtio16 *used_event(const struct device_ring *ring)
{
	return &ring->split.avail->ring[ring->config.size];
}

static __virtio16 *avail_event(struct device_ring *ring)
{
	return (__virtio16 *)&ring->split.used->ring[ring->config.size];
}

static bool split_begin(struct device_ring *ring)
{
	const struct ring_config *config = &ring->config;
	struct split_ring *split = &ring->split;

	split->desc = ring_at(ring, config->desc, config->size * sizeof(*split->desc));
	split->avail = ring_at(ring, config->driver, AVAIL_BYTES(config->size));
	split->used = ring_at(ring, config->device, USED_BYTES(config->size));
	return split->desc && split->avail && split->used;
}

static bool split_available(const struct device_ring *ring)
{
	return le16toh(__atomic_load_n(&ring->split.avail->idx, __ATOMIC_ACQUIRE)) !=
	       ring->next_avail;
}

/*
 * Take the chain in @table that begins at @index; no descriptor may occur twice. Returns the number
 * of descriptors, or -1. @end is set to the last one.
 */
static int take_chain(struct device_ring *ring, struct ring_buffer *buffer,
		      const struct vring_desc *table, unsigned int size, unsigned int index,
		      struct vring_desc *end)
{
	unsigned int count = 0;

	for (;;) {
		struct vring_desc desc;
		unsigned int after = index + 1;

		if (index >= size)
			return ring_complain(ring, "a descriptor index out of range");
		if (count++ == size)
			return ring_complain(ring, "a chain that does not end");

		desc = load_desc(&table[index]);
		*end = desc;
		if (desc.flags & VRING_DESC_F_INDIRECT)
			return count;
		if (ring_add_element(ring, buffer, desc.addr, desc.len,
				     desc.flags & VRING_DESC_F_WRITE))
			return -1;
		if (!(desc.flags & VRING_DESC_F_NEXT)) {
			if (table != ring->split.desc && count != size)
				return ring_complain(ring, "an indirect table with a rest");
			return count;
		}

		/* In order, chains wrap around; an indirect table is used from its start. */
		if (table == ring->split.desc && after == size)
			after = 0;
		if (ring->in_order && desc.next != after)
			return ring_complain(ring, "in order, next is not the next descriptor");
		index = desc.next;
	}
}

static int take_indirect(struct device_ring *ring, struct ring_buffer *buffer,
			 const struct vring_desc *desc)
{
	const struct vring_desc *table = ring_table(ring, desc->addr, desc->len, desc->flags);
	struct vring_desc end;

	if (!table || take_chain(ring, buffer, table, desc->len / sizeof(*table), 0, &end) < 0)
		return -1;
	if (end.flags & VRING_DESC_F_INDIRECT)
		return ring_complain(ring, "an indirect table in an indirect table");
	return 0;
}

static int split_take(struct device_ring *ring, struct ring_buffer *buffer)
{
	struct split_ring *split = &ring->split;
	unsigned int size = ring->config.size;
	uint16_t outstanding = ring->next_avail - ring->next_used;
	struct vring_desc end;
	unsigned int head;
	int count;

	if (outstanding >= size)
		return ring_complain(ring, "more buffers than the ring has descriptors");

	head = load16(&split->avail->ring[ring->next_avail % size]);
	if (ring->in_order && head != split->next_head)
		return ring_complain(ring, "in order, the head is not the next descriptor");
	count = take_chain(ring, buffer, split->desc, size, head, &end);
	if (count < 0)
		return -1;
	if (end.flags & VRING_DESC_F_INDIRECT && take_indirect(ring, buffer, &end))
		return -1;

	split->next_head = (head + count) % size;
	ring->next_avail++;
	buffer->id = head;
	buffer->head = head;
	buffer->descs = count;
	return 1;
}

static void split_put(struct device_ring *ring, const struct ring_used *used)
{
	struct vring_used_elem *elem =
		&ring->split.used->ring[ring->next_used % ring->config.size];

	__atomic_store_n(&elem->id, htole32(used->id), __ATOMIC_RELAXED);
	__atomic_store_n(&elem->len, htole32(used->len), __ATOMIC_RELAXED);
	ring->next_used += used->buffers;
}

static void split_publish(struct device_ring *ring)
{
	__atomic_store_n(&ring->split.used->idx, htole16(ring->next_used), __ATOMIC_RELEASE);
	ring->published = ring->next_used;
}

static bool split_wants_interrupt(const struct device_ring *ring, uint16_t judged)
{
	if (ring->event_idx)
		return vring_need_event(load16(used_event(ring)), ring->published, judged);
	return !(load16(&ring->split.avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

/* With event indices, an index in the past is enough. */
static void split_disable_kicks(struct device_ring *ring)
{
	if (!ring->event_idx)
		store16(&ring->split.used->flags, VRING_USED_F_NO_NOTIFY);
}

static void split_enable_kicks(struct device_ring *ring)
{
	if (ring->event_idx)
		store16(avail_event(ring), ring->next_avail);
	else
		store16(&ring->split.used->flags, 0);
}

const struct ring_layout split_layout = {
	.name = "split",
	.begin = split_begin,
	.available = split_available,
	.take = split_take,
	.put = split_put,
	.publish = split_publish,
	.wants_interrupt = split_wants_interrupt,
	.disable_kicks = split_disable_kicks,
	.enable_kicks = split_enable_kicks,
};
