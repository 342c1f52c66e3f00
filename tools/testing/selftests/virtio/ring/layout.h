/* SPDX-License-Identifier: GPL-2.0-only */
/* What a driver of the same program negotiates with ../util/device_ring.h, and where they meet */
#ifndef RING_LAYOUT_H
#define RING_LAYOUT_H

#include <linux/virtio.h>
#include "../util/device_ring.h"

struct layout {
	bool packed;
	bool in_order;
	bool event_idx;
	bool indirect;
	bool dma;
	/* with dma: the driver maps its buffers itself, where the core lets it */
	bool premapped;
};

/* Feature bits of @layout */
u64 layout_features(const struct layout *layout);

/* Does virtio_ring.c accept these features? VIRTIO_F_IN_ORDER is not known to every kernel. */
bool layout_accepted(const struct layout *layout);

/* Start the device of @vq, which returns up to @max_batch buffers with a used element. */
bool layout_start(const struct layout *layout, struct device_ring *device,
		  const struct virtqueue *vq, unsigned int max_batch);

#endif /* RING_LAYOUT_H */
