// SPDX-License-Identifier: GPL-2.0-only
/* The device's side of a packed virtqueue */
#include <endian.h>
#include <linux/virtio_ring.h>
#include "device_ring.h"

enum {
	AVAIL_FLAG = 1 << VRING_PACKED_DESC_F_AVAIL,
	USED_FLAG = 1 << VRING_PACKED_DESC_F_USED,
};

#define EVENT_OFFSET	((1 << VRING_PACKED_EVENT_F_WRAP_CTR) - 1)

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
	packed->avail_wrap = true;
	return packed->desc && packed->driver && packed->device;
}

static bool available(struct device_ring *ring)
{
	struct packed_ring *packed = &ring->packed;
	struct vring_packed_desc *desc = &packed->desc[packed->next_avail];
	uint16_t flags = le16toh(__atomic_load_n(&desc->flags, __ATOMIC_ACQUIRE));

	return !!(flags & AVAIL_FLAG) == packed->avail_wrap &&
	       !!(flags & USED_FLAG) != packed->avail_wrap;
}

static int take_indirect(struct device_ring *ring, struct ring_buffer *buffer,
			 const struct vring_packed_desc *desc)
{
	unsigned int size = desc->len / sizeof(*desc);
	const struct vring_packed_desc *table;

	if (!ring->indirect)
		return ring_complain(ring, "an indirect table without the feature");
	if (desc->flags & VRING_DESC_F_NEXT)
		return ring_complain(ring, "both INDIRECT and NEXT in a descriptor");
	if (!size || desc->len % sizeof(*desc))
		return ring_complain(ring, "an indirect table of an invalid size");
	table = ring_at(ring, desc->addr, desc->len);
	if (!table)
		return ring_complain(ring, "an indirect table that is not mapped");

	for (unsigned int i = 0; i < size; i++) {
		struct vring_packed_desc element = load_desc(&table[i]);

		if (ring_add_element(ring, buffer, element.addr, element.len,
				     element.flags & VRING_DESC_F_WRITE))
			return -1;
	}
	return 0;
}

static int packed_take(struct device_ring *ring, struct ring_buffer *buffer)
{
	struct packed_ring *packed = &ring->packed;
	unsigned int count = 0;
	struct vring_packed_desc desc;

	if (!available(ring))
		return 0;

	do {
		if (count++ == ring->config.size)
			return ring_complain(ring, "a chain that does not end");
		desc = load_desc(&packed->desc[packed->next_avail]);
		if (!!(desc.flags & AVAIL_FLAG) != packed->avail_wrap ||
		    !!(desc.flags & USED_FLAG) == packed->avail_wrap)
			return ring_complain(ring, "a chain that is not all available");
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			if (count > 1)
				return ring_complain(ring, "an indirect table in a chain");
			if (take_indirect(ring, buffer, &desc))
				return -1;
		} else if (ring_add_element(ring, buffer, desc.addr, desc.len,
					    desc.flags & VRING_DESC_F_WRITE)) {
			return -1;
		}
		if (++packed->next_avail == ring->config.size) {
			packed->next_avail = 0;
			packed->avail_wrap = !packed->avail_wrap;
		}
	} while (desc.flags & VRING_DESC_F_NEXT);

	buffer->id = desc.id;
	buffer->slots = count;
	return 1;
}

static uint16_t used_flags(struct device_ring *ring, uint64_t position)
{
	/* The wrap counter starts with 1. */
	return position / ring->config.size % 2 ? 0 : AVAIL_FLAG | USED_FLAG;
}

static void packed_put(struct device_ring *ring, const struct ring_used *used)
{
	struct packed_ring *packed = &ring->packed;
	struct vring_packed_desc *desc = &packed->desc[packed->next_used % ring->config.size];
	uint16_t flags = used_flags(ring, packed->next_used);

	if (used->writable)
		flags |= VRING_DESC_F_WRITE;
	__atomic_store_n(&desc->id, htole16(used->id), __ATOMIC_RELAXED);
	__atomic_store_n(&desc->len, htole32(used->len), __ATOMIC_RELAXED);
	/* The driver stops at the first one, so that all become visible with it. */
	if (packed->next_used == packed->published)
		packed->first_flags = flags;
	else
		store16(&desc->flags, flags, __ATOMIC_RELEASE);
	packed->next_used += used->slots;
}

static void packed_publish(struct device_ring *ring)
{
	struct packed_ring *packed = &ring->packed;
	struct vring_packed_desc *first = &packed->desc[packed->published % ring->config.size];

	store16(&first->flags, packed->first_flags, __ATOMIC_RELEASE);
	packed->published = packed->next_used;
}

static bool packed_wants_interrupt(struct device_ring *ring)
{
	struct packed_ring *packed = &ring->packed;
	uint64_t size = ring->config.size, before = packed->judged, wrap, event;
	uint16_t flags = load16(&packed->driver->flags), where;

	packed->judged = packed->published;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !ring->event_idx)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;

	/* The driver writes the offset before the flags. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	where = load16(&packed->driver->off_wrap);

	/* It means this wrap or the previous one, whichever has its wrap counter. */
	wrap = packed->published / size;
	if (wrap % 2 != !(where >> VRING_PACKED_EVENT_F_WRAP_CTR)) {
		if (!wrap)
			return false;
		wrap--;
	}
	event = wrap * size + (where & EVENT_OFFSET);
	return event >= before && event < packed->published;
}

static void packed_disable_kicks(struct device_ring *ring)
{
	store16(&ring->packed.device->flags, VRING_PACKED_EVENT_FLAG_DISABLE, __ATOMIC_RELAXED);
}

static bool packed_enable_kicks(struct device_ring *ring)
{
	struct packed_ring *packed = &ring->packed;

	if (ring->event_idx) {
		store16(&packed->device->off_wrap,
			packed->next_avail | packed->avail_wrap << VRING_PACKED_EVENT_F_WRAP_CTR,
			__ATOMIC_RELAXED);
		store16(&packed->device->flags, VRING_PACKED_EVENT_FLAG_DESC, __ATOMIC_RELEASE);
	} else {
		store16(&packed->device->flags, VRING_PACKED_EVENT_FLAG_ENABLE, __ATOMIC_RELAXED);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return available(ring);
}

const struct ring_layout packed_layout = {
	.name = "packed",
	.begin = packed_begin,
	.take = packed_take,
	.put = packed_put,
	.publish = packed_publish,
	.wants_interrupt = packed_wants_interrupt,
	.disable_kicks = packed_disable_kicks,
	.enable_kicks = packed_enable_kicks,
};
