// SPDX-License-Identifier: GPL-2.0-only
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include "fake_kernel.h"
#include "layout.h"

u64 layout_features(const struct layout *layout)
{
	return 1ULL << VIRTIO_F_VERSION_1 |
		(u64)layout->packed << VIRTIO_F_RING_PACKED |
		(u64)layout->in_order << VIRTIO_F_IN_ORDER |
		(u64)layout->event_idx << VIRTIO_RING_F_EVENT_IDX |
		(u64)layout->indirect << VIRTIO_RING_F_INDIRECT_DESC |
		(u64)layout->dma << VIRTIO_F_ACCESS_PLATFORM;
}

bool layout_accepted(const struct layout *layout)
{
	struct virtio_device vdev = { .features = layout_features(layout) };

	vring_transport_features(&vdev);
	return vdev.features == layout_features(layout);
}

static void *memory_at(void *owner, uint64_t iova, uint64_t len)
{
	return fake_dma_memory(iova);
}

bool layout_start(const struct layout *layout, struct device_ring *device,
		  const struct virtqueue *vq, unsigned int max_batch)
{
	const struct ring_config config = {
		.size = virtqueue_get_vring_size(vq),
		.features = layout_features(layout),
		.max_batch = max_batch,
		.desc = virtqueue_get_desc_addr(vq),
		.driver = virtqueue_get_avail_addr(vq),
		.device = virtqueue_get_used_addr(vq),
		.memory = { memory_at },
	};

	if (!ring_start(device, &config))
		return false;
	ring_enable_kicks(device);
	return true;
}
