/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From vhost.c's functions to those of the layout, for the layouts of ring.h. Included
 * by vhost.c; each is called by the one that is named there.
 */
#ifndef _DRIVERS_VHOST_RING_OPS_H
#define _DRIVERS_VHOST_RING_OPS_H

#include "ring_buf.h"
#include "ring_split.h"
#include "ring_packed.h"

static bool vhost_offer_packed = true;
module_param_named(packed, vhost_offer_packed, bool, 0644);
MODULE_PARM_DESC(packed, "Offer VIRTIO_F_RING_PACKED");

static bool vhost_offer_in_order = true;
module_param_named(in_order, vhost_offer_in_order, bool, 0644);
MODULE_PARM_DESC(in_order, "Offer VIRTIO_F_IN_ORDER");

/**
 * vhost_ring_features() - what a backend may offer that uses buffers in order
 *
 * Context: any.
 * Return: feature bits, less what module parameters withhold.
 */
u64 vhost_ring_features(void)
{
	return (READ_ONCE(vhost_offer_packed) ? BIT_ULL(VIRTIO_F_RING_PACKED) : 0) |
		(READ_ONCE(vhost_offer_in_order) ? BIT_ULL(VIRTIO_F_IN_ORDER) : 0);
}
EXPORT_SYMBOL_GPL(vhost_ring_features);

/**
 * vhost_ring_check_features() - may these features be set?
 * @dev: the device
 * @features: all that are to be in force
 *
 * Context: the caller holds the mutex of @dev and goes on holding it until the features
 * are set. May sleep.
 * Return: 0; -EINVAL if a layout is chosen without VIRTIO_F_VERSION_1; -EOPNOTSUPP if a
 * feature is withheld that is not in force; -EBUSY if the layout would change of a
 * virtqueue that has a backend.
 */
int vhost_ring_check_features(struct vhost_dev *dev, u64 features)
{
	int i, ret = 0;

	lockdep_assert_held(&dev->mutex);
	if (features & VHOST_RING_FEATURES && !(features & BIT_ULL(VIRTIO_F_VERSION_1)))
		return -EINVAL;

	for (i = 0; i < dev->nvqs && !ret; i++) {
		struct vhost_virtqueue *vq = dev->vqs[i];

		mutex_lock(&vq->mutex);
		/* A VMM sets features again, to log, when its guest runs with them */
		if (features & VHOST_RING_FEATURES & ~vhost_ring_features() & ~vq->acked_features)
			ret = -EOPNOTSUPP;
		else if (vq->private_data && (vq->acked_features ^ features) & VHOST_RING_FEATURES)
			ret = -EBUSY;
		mutex_unlock(&vq->mutex);
	}
	return ret;
}
EXPORT_SYMBOL_GPL(vhost_ring_check_features);

static noinline int vhost_ring_get(struct vhost_virtqueue *vq, struct iovec iov[],
				   unsigned int iov_size, unsigned int *out_num,
				   unsigned int *in_num, struct vhost_log *log,
				   unsigned int *log_num)
{
	struct vhost_buf buf = { iov, iov_size, out_num, in_num, log, log_num };

	*out_num = 0;
	*in_num = 0;
	if (unlikely(log))
		*log_num = 0;
	return vhost_ring_is_packed(vq) ? vhost_packed_get(vq, &buf) : vhost_split_get(vq, &buf);
}

static noinline void vhost_ring_discard(struct vhost_virtqueue *vq, int n)
{
	struct vhost_ring *ring = &vq->ring;
	unsigned int descs = 0;
	int i;

	for (i = 0; i < n; i++)
		descs += ring->descs[--ring->gets % ARRAY_SIZE(ring->descs)];

	if (vhost_ring_is_packed(vq)) {
		vhost_packed_discard(vq, descs);
	} else {
		vq->last_avail_idx -= n;
		ring->next_head = (ring->next_head - descs) & (vq->num - 1);
	}
}

/*
 * vhost_vq_init_access(): the backend is there, the features are final while it is.
 * Returns whether the layout is not vhost.c's, or -EINVAL or -EFAULT.
 */
static int vhost_ring_init(struct vhost_virtqueue *vq)
{
	bool in_order = vhost_has_feature(vq, VIRTIO_F_IN_ORDER);

	vq->ring.gets = 0;
	vhost_ring_forget(vq);
	if (vhost_has_feature(vq, VIRTIO_F_RING_PACKED)) {
		vq->ring.layout = in_order ? VHOST_PACKED_IN_ORDER : VHOST_PACKED;
		return vhost_packed_init(vq) ?: 1;
	}
	if (!is_power_of_2(vq->num))
		return -EINVAL;
	vq->ring.layout = in_order ? VHOST_SPLIT_IN_ORDER : VHOST_SPLIT;
	vq->ring.resync = true;
	return 0;
}

#endif
