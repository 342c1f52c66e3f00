// SPDX-License-Identifier: GPL-2.0-only
/*
 * Upstream's tests with in-order virtqueues: they call this instead of vring_new_virtqueue().
 *
 * Only the driver's side is told about VIRTIO_F_IN_ORDER. vringh and upstream's vhost do not
 * support it, and refuse it, but they use buffers in order nevertheless, with a used element for
 * each. This is not possible for packed rings: vring_new_virtqueue() makes split ones only.
 */
#include <linux/virtio.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_config.h>

struct virtqueue *vring_new_virtqueue_in_order(unsigned int index, unsigned int num,
					       unsigned int vring_align,
					       struct virtio_device *vdev, bool weak_barriers,
					       bool ctx, void *pages,
					       bool (*notify)(struct virtqueue *vq),
					       void (*callback)(struct virtqueue *vq),
					       const char *name)
{
	struct virtqueue *vq;
	struct vring vring;

	/*
	 * vringh_test --indirect reuses the memory of its first virtqueue for its last one, and its
	 * device reads the third available entry. That is 0 out of order, because the driver always
	 * reuses the descriptor that came back last. Clear it, so that it is 0 in order as well.
	 */
	vring_init(&vring, num, pages, vring_align);
	memset(vring.avail->ring, 0, num * sizeof(vring.avail->ring[0]));

	__virtio_set_bit(vdev, VIRTIO_F_IN_ORDER);
	vq = vring_new_virtqueue(index, num, vring_align, vdev, weak_barriers, ctx, pages, notify,
				 callback, name);
	__virtio_clear_bit(vdev, VIRTIO_F_IN_ORDER);
	return vq;
}
