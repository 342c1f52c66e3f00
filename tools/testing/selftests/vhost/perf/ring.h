/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The driver's side of a virtqueue in each layout, for a driver that makes buffers of one
 * descriptor available in ring order and wants no interrupts
 *
 * This is not ../ring.h, which takes descriptors and Buffer IDs in random order and has its
 * memory in many regions: what is measured here must not depend on either.
 */
#ifndef _VHOST_PERF_RING_H
#define _VHOST_PERF_RING_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include <linux/vhost.h>
#include <linux/virtio_ring.h>

#define RING_SIZE	256
#define BUFFER_SIZE	2048

struct layout {
	const char *name;
	bool packed;
	bool in_order;
};

/* Each part starts on a page of its own. */
struct ring_memory {
	alignas(4096) union {
		struct vring_desc split[RING_SIZE];
		struct vring_packed_desc packed[RING_SIZE];
	} desc;
	alignas(4096) union {
		struct {
			struct vring_avail avail;
			uint16_t ring[RING_SIZE];
			uint16_t used_event;
		} split;
		struct vring_packed_desc_event packed;
	} driver;
	alignas(4096) union {
		struct {
			struct vring_used used;
			struct vring_used_elem ring[RING_SIZE];
			uint16_t avail_event;
		} split;
		struct vring_packed_desc_event packed;
	} device;
	char buffers[RING_SIZE][BUFFER_SIZE];
};

struct ring {
	const struct layout *layout;
	struct ring_memory *mem;
	uint16_t given;	/* buffers, since the beginning */
	uint16_t taken;
};

uint64_t ring_features(const struct layout *layout);
void ring_init(struct ring *ring, const struct layout *layout, struct ring_memory *mem);
unsigned int ring_base(const struct ring *ring);

/* Make @n more buffers of @len bytes available. */
void ring_give(struct ring *ring, unsigned int n, unsigned int len, bool write);

/* Returns how many buffers have been used, up to the first one that has not. */
unsigned int ring_take(struct ring *ring);

#endif
