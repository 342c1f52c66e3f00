// SPDX-License-Identifier: GPL-2.0-only
/*
 * Upstream's tests in order: they call this for vring_new_virtqueue().
 *
 * Only the driver's side may hear of VIRTIO_F_IN_ORDER. vringh and vhost do not know it, and refuse
 * it, but use buffers in order all the same, one used element for each. There is nothing like this
 * for the packed ring: vring_new_virtqueue() makes none, and neither vringh nor vhost knows it.
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
	 * vringh_test --indirect makes its last virtqueue where its first was, and its device reads
	 * the third entry there: it was 0 then, because the other driver takes the descriptor again
	 * that it got back last. So it is if the memory is as new.
	 */
	vring_init(&vring, num, pages, vring_align);
	memset(vring.avail->ring, 0, num * sizeof(vring.avail->ring[0]));

	__virtio_set_bit(vdev, VIRTIO_F_IN_ORDER);
	vq = vring_new_virtqueue(index, num, vring_align, vdev, weak_barriers, ctx, pages, notify,
				 callback, name);
	__virtio_clear_bit(vdev, VIRTIO_F_IN_ORDER);
	return vq;
}
