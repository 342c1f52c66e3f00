/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What VHOST_SET_VRING_* and the checks before a virtqueue is used have to know of the
 * layouts of ring.h. Included by vhost.c.
 */
#ifndef _DRIVERS_VHOST_RING_SETUP_H
#define _DRIVERS_VHOST_RING_SETUP_H

/* A position has 15 bits */
#define VHOST_PACKED_MAX	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)
#define VHOST_PACKED_WRAP	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)

static bool iotlb_access_ok(struct vhost_virtqueue *vq, int access, u64 addr, u64 len, int type);

static inline bool vhost_ring_is_packed(const struct vhost_virtqueue *vq)
{
	return vq->ring && vq->ring->layout >= VHOST_PACKED;
}

/* VHOST_SET_VRING_NUM: sizes of the packed ring are not limited to powers of two. */
static bool vhost_ring_num_ok(struct vhost_virtqueue *vq, unsigned int num)
{
	return vq->dev->use_worker && vhost_has_feature(vq, VIRTIO_F_RING_PACKED) &&
		num <= VHOST_PACKED_MAX;
}

/*
 * VHOST_SET_VRING_BASE of the packed ring: both positions, or, as DPDK has it, the
 * available one and zero. Zero as a used position is said only by who knows of two, and
 * then only with buffers outstanding on the lap where it is true; it is not believed.
 */
static void vhost_ring_set_base(struct vhost_virtqueue *vq)
{
	vq->has_base = true;
	if (vq->dev->use_worker && !vq->last_used_idx)
		vq->last_used_idx = vq->last_avail_idx;
}

/* VHOST_GET_VRING_BASE. In order, what was not used will be fetched again. */
static u32 vhost_ring_base(const struct vhost_virtqueue *vq)
{
	bool again = vq->ring && vq->ring->layout == VHOST_PACKED_IN_ORDER;

	return (u32)vq->last_used_idx << 16 | (again ? vq->last_used_idx : vq->last_avail_idx);
}

/* The base of a packed ring that nobody has used, for who does not say */
static void vhost_ring_first_base(struct vhost_virtqueue *vq)
{
	vq->has_base = true;
	vq->last_avail_idx = VHOST_PACKED_WRAP;
	vq->last_used_idx = VHOST_PACKED_WRAP;
}

/* Descriptors and event suppression are read and written in words. */
static bool vhost_ring_aligned(struct vhost_virtqueue *vq, const void __user *desc,
			       const void __user *driver, const void __user *device)
{
	return !vhost_has_feature(vq, VIRTIO_F_RING_PACKED) ||
		(IS_ALIGNED((uintptr_t)desc, sizeof(struct vring_packed_desc)) &&
		 IS_ALIGNED((uintptr_t)driver | (uintptr_t)device,
			    sizeof(struct vring_packed_desc_event)));
}

/* vq_meta_prefetch(): the ring of descriptors is read and written. */
static bool vhost_packed_prefetch(struct vhost_virtqueue *vq)
{
	u64 desc = (uintptr_t)vq->desc, driver = (uintptr_t)vq->avail, device = (uintptr_t)vq->used;
	u64 size = vhost_get_desc_size(vq, vq->num);

	return iotlb_access_ok(vq, VHOST_MAP_WO, desc, size, VHOST_ADDR_DESC) &&
		iotlb_access_ok(vq, VHOST_MAP_RO, desc, size, VHOST_ADDR_DESC) &&
		iotlb_access_ok(vq, VHOST_MAP_RO, driver, vhost_get_avail_size(vq, vq->num),
				VHOST_ADDR_AVAIL) &&
		iotlb_access_ok(vq, VHOST_MAP_WO, device, vhost_get_used_size(vq, vq->num),
				VHOST_ADDR_USED);
}

/* What was read ahead is to be read again. */
static inline void vhost_ring_forget_run(struct vhost_virtqueue *vq)
{
	vq->ring->next = 0;
	vq->ring->end = 0;
}

/*
 * VHOST_SET_MEM_TABLE, VHOST_SET_VRING_ADDR, and where there is an IOTLB from now on:
 * addresses mean something else.
 */
static void vhost_ring_forget(struct vhost_virtqueue *vq)
{
	if (!vq->ring)
		return;
	vhost_ring_forget_run(vq);
	vq->ring->map.size = 0;
}

/*
 * vhost_vq_init_access(), when it is known what was used. In order, what was fetched and
 * not used is fetched again: no buffer is with the device when it starts. It may be more
 * than the ring has only if one of both is wrong.
 */
static void vhost_ring_refetch(struct vhost_virtqueue *vq)
{
	if (vq->ring && (u16)(vq->last_avail_idx - vq->last_used_idx) <= vq->num)
		vq->last_avail_idx = vq->last_used_idx;
}

static void vhost_ring_free(struct vhost_virtqueue *vq)
{
	kvfree(vq->ring);
	vq->ring = NULL;
}

static int vhost_ring_init(struct vhost_virtqueue *vq);
static bool vhost_notify(struct vhost_dev *dev, struct vhost_virtqueue *vq);

#endif
