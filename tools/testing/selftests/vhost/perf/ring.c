// SPDX-License-Identifier: GPL-2.0-only
#include "ring.h"

#include <string.h>

#include <linux/virtio_config.h>

#define WRAPS(count)	((count) / RING_SIZE % 2)

uint64_t ring_features(const struct layout *layout)
{
	return 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX |
		(uint64_t)layout->packed << VIRTIO_F_RING_PACKED |
		(uint64_t)layout->in_order << VIRTIO_F_IN_ORDER;
}

void ring_init(struct ring *ring, const struct layout *layout, struct ring_memory *mem)
{
	/* Touch all of it, so that there are no page faults later. */
	memset(mem, 0, sizeof(*mem));
	memset(ring, 0, sizeof(*ring));
	ring->layout = layout;
	ring->mem = mem;
	if (layout->packed)
		mem->driver.packed.flags = VRING_PACKED_EVENT_FLAG_DISABLE;
}

unsigned int ring_base(const struct ring *ring)
{
	const unsigned int wrap = 1U << VRING_PACKED_EVENT_F_WRAP_CTR;

	return ring->layout->packed ? wrap | wrap << 16 : 0;
}

static void give_split(struct ring *ring, uint64_t addr, unsigned int len, uint16_t flags)
{
	uint16_t i = ring->given % RING_SIZE;

	ring->mem->desc.split[i] = (struct vring_desc){ .addr = addr, .len = len, .flags = flags };
	ring->mem->driver.split.ring[i] = i;
}

static void give_packed(struct ring *ring, uint64_t addr, unsigned int len, uint16_t flags)
{
	uint16_t i = ring->given % RING_SIZE;

	flags |= 1 << (WRAPS(ring->given) ? VRING_PACKED_DESC_F_USED : VRING_PACKED_DESC_F_AVAIL);
	ring->mem->desc.packed[i] = (struct vring_packed_desc){
		.addr = addr, .len = len, .id = i, .flags = flags
	};
}

void ring_give(struct ring *ring, unsigned int n, unsigned int len, bool write)
{
	uint16_t flags = write ? VRING_DESC_F_WRITE : 0;

	for (; n; n--, ring->given++) {
		uint64_t addr = (uintptr_t)ring->mem->buffers[ring->given % RING_SIZE];

		if (ring->layout->packed)
			give_packed(ring, addr, len, flags);
		else
			give_split(ring, addr, len, flags);
	}
	if (!ring->layout->packed) {
		/* With EVENT_IDX, "never" is an index in the past. */
		ring->mem->driver.split.used_event = ring->taken - 1;
		ring->mem->driver.split.avail.idx = ring->given;
	}
}

static unsigned int take_split(struct ring *ring)
{
	unsigned int n = (uint16_t)(ring->mem->device.split.used.idx - ring->taken);

	ring->taken += n;
	return n;
}

static unsigned int take_packed(struct ring *ring)
{
	const struct vring_packed_desc *desc;
	unsigned int n = 0, step;
	bool wrap, avail, used;

	while (ring->taken != ring->given) {
		desc = &ring->mem->desc.packed[ring->taken % RING_SIZE];
		wrap = !WRAPS(ring->taken);
		avail = desc->flags & 1 << VRING_PACKED_DESC_F_AVAIL;
		used = desc->flags & 1 << VRING_PACKED_DESC_F_USED;
		if (avail != wrap || used != wrap)
			break;
		/* In order, it is the ID of the last one of the batch. */
		step = 1 + (uint16_t)(desc->id - ring->taken) % RING_SIZE;
		n += step;
		ring->taken += step;
	}
	return n;
}

unsigned int ring_take(struct ring *ring)
{
	return ring->layout->packed ? take_packed(ring) : take_split(ring);
}
