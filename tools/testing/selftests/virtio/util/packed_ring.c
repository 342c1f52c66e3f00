// SPDX-License-Identifier: GPL-2.0-only
/* The device's side of a packed virtqueue */
#include <endian.h>
#include <linux/virtio_ring.h>
#include "device_ring.h"

enum {
	AVAIL_FLAG = 1 << VRING_PACKED_DESC_F_AVAIL,
	USED_FLAG = 1 << VRING_PACKED_DESC_F_USED,
};

/* The driver may change its memory at any time, so each field is read once. */
static uint16_t load16(const __le16 *field)
{
	return le16toh(__atomic_load_n(field, __ATOMIC_RELAXED));
}

static void store16(__le16 *field, uint16_t value, int order)
{
	if (order == __ATOMIC_RELEASE)
		__atomic_store_n(field, htole16(value), __ATOMIC_RELEASE);
	else
		__atomic_store_n(field, htole16(value), __ATOMIC_RELAXED);
}

static struct vring_packed_desc load_desc(const struct vring_packed_desc *desc)
{
	return (struct vring_packed_desc) {
		.addr = le64toh(__atomic_load_n(&desc->addr, __ATOMIC_RELAXED)),
		.len = le32toh(__atomic_load_n(&desc->len, __ATOMIC_RELAXED)),
		.id = load16(&desc->id),
		.flags = load16(&desc->flags),
	};
}

static bool packed_begin(struct device_ring *ring)
{
	const struct ring_config *config = &ring->config;
	struct packed_ring *packed = &ring->packed;

	packed->desc = ring_at(ring, config->desc, config->size * sizeof(*packed->desc));
	packed->driver = ring_at(ring, config->driver, sizeof(*packed->driver));
	packed->device = ring_at(ring, config->device, sizeof(*packed->device));
	return packed->desc && packed->driver && packed->device;
}

uint16_t packed_after(uint16_t position, unsigned int descs, unsigned int size)
{
	unsigned int i = (position & ~RING_WRAP) + descs;

	return i < size ? i | (position & RING_WRAP) : (i - size) | (~position & RING_WRAP);
}

static struct vring_packed_desc *desc_at(const struct device_ring *ring, uint16_t position)
{
	return &ring->packed.desc[position & ~RING_WRAP];
}

/* Do the flags of the descriptor at @position say that it is available? */
static bool are_available(uint16_t flags, uint16_t position)
{
	bool wrap = position & RING_WRAP;

	return !!(flags & AVAIL_FLAG) == wrap && !!(flags & USED_FLAG) != wrap;
}

static bool packed_available(const struct device_ring *ring)
{
	uint16_t flags = le16toh(__atomic_load_n(&desc_at(ring, ring->next_avail)->flags,
						 __ATOMIC_ACQUIRE));

	return are_available(flags, ring->next_avail);
}

static int take_indirect(struct device_ring *ring, struct ring_buffer *buffer,
			 const struct vring_packed_desc *desc)
{
	const struct vring_packed_desc *table = ring_table(ring, desc->addr, desc->len,
							   desc->flags);

	if (!table)
		return -1;
	for (unsigned int i = 0; i < desc->len / sizeof(*table); i++) {
		struct vring_packed_desc element = load_desc(&table[i]);

		if (element.flags & ~VRING_DESC_F_WRITE)
			return ring_complain(ring, "a flag other than WRITE in a table");
		if (ring_add_element(ring, buffer, element.addr, element.len,
				     element.flags & VRING_DESC_F_WRITE))
			return -1;
	}
	return 0;
}

static int packed_take(struct device_ring *ring, struct ring_buffer *buffer)
{
	uint16_t position = ring->next_avail;
	struct vring_packed_desc desc;
	unsigned int count = 0;

	buffer->head = position & ~RING_WRAP;
	do {
		if (count++ == ring->config.size)
			return ring_complain(ring, "a chain that does not end");
		desc = load_desc(desc_at(ring, position));
		if (!are_available(desc.flags, position))
			return ring_complain(ring, "a chain that is not all available");
		if (desc.flags & ~(AVAIL_FLAG | USED_FLAG | VRING_DESC_F_NEXT |
				   VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT))
			return ring_complain(ring, "a flag that does not exist");
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			if (count > 1)
				return ring_complain(ring, "an indirect table in a chain");
			if (take_indirect(ring, buffer, &desc))
				return -1;
		} else if (ring_add_element(ring, buffer, desc.addr, desc.len,
					    desc.flags & VRING_DESC_F_WRITE)) {
			return -1;
		}
		position = packed_after(position, 1, ring->config.size);
	} while (desc.flags & VRING_DESC_F_NEXT);

	/* Not a rule, but what virtio_ring.c does */
	if (ring->in_order && desc.id != buffer->head)
		return ring_complain(ring, "in order, the ID is not the first descriptor's");
	ring->next_avail = position;
	buffer->id = desc.id;
	buffer->descs = count;
	return 1;
}

static void packed_put(struct device_ring *ring, const struct ring_used *used)
{
	struct packed_ring *packed = &ring->packed;
	struct vring_packed_desc *desc = desc_at(ring, ring->next_used);
	uint16_t flags = ring->next_used & RING_WRAP ? AVAIL_FLAG | USED_FLAG : 0;

	if (used->writable)
		flags |= VRING_DESC_F_WRITE;
	__atomic_store_n(&desc->id, htole16(used->id), __ATOMIC_RELAXED);
	__atomic_store_n(&desc->len, htole32(used->len), __ATOMIC_RELAXED);
	/* The driver stops at the first one, so that all become visible with it. */
	if (ring->next_used == ring->published)
		packed->first_flags = flags;
	else
		store16(&desc->flags, flags, __ATOMIC_RELEASE);
	ring->next_used = packed_after(ring->next_used, used->descs, ring->config.size);
}

static void packed_publish(struct device_ring *ring)
{
	store16(&desc_at(ring, ring->published)->flags, ring->packed.first_flags,
		__ATOMIC_RELEASE);
	ring->published = ring->next_used;
}

static bool packed_wants_interrupt(const struct device_ring *ring, uint16_t judged)
{
	const struct vring_packed_desc_event *driver = ring->packed.driver;
	uint16_t flags = load16(&driver->flags), event;

	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !ring->event_idx)
		return flags == VRING_PACKED_EVENT_FLAG_ENABLE;

	/* The driver writes the position before the flags. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	event = load16(&driver->off_wrap);
	while (judged != ring->published) {
		if (judged == event)
			return true;
		judged = packed_after(judged, 1, ring->config.size);
	}
	return false;
}

static void packed_disable_kicks(struct device_ring *ring)
{
	store16(&ring->packed.device->flags, VRING_PACKED_EVENT_FLAG_DISABLE, __ATOMIC_RELAXED);
}

static void packed_enable_kicks(struct device_ring *ring)
{
	struct vring_packed_desc_event *device = ring->packed.device;

	if (ring->event_idx) {
		store16(&device->off_wrap, ring->next_avail, __ATOMIC_RELAXED);
		store16(&device->flags, VRING_PACKED_EVENT_FLAG_DESC, __ATOMIC_RELEASE);
	} else {
		store16(&device->flags, VRING_PACKED_EVENT_FLAG_ENABLE, __ATOMIC_RELAXED);
	}
}

const struct ring_layout packed_layout = {
	.name = "packed",
	.begin = packed_begin,
	.available = packed_available,
	.take = packed_take,
	.put = packed_put,
	.publish = packed_publish,
	.wants_interrupt = packed_wants_interrupt,
	.disable_kicks = packed_disable_kicks,
	.enable_kicks = packed_enable_kicks,
};
