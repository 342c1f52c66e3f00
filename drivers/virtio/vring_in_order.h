/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * State of a virtqueue that has negotiated VIRTIO_F_IN_ORDER
 *
 * The device uses buffers in the order in which they were made available, so the buffers
 * that it holds form a queue: the driver takes descriptors in ring order, and the oldest
 * buffer is always the next one to come back. No list of free descriptors is needed.
 *
 * One used element may return a whole batch of buffers. It names the last buffer of the
 * batch; the device has thereby used the earlier ones completely.
 *
 * "2.7.9" and the like are sections of VIRTIO 1.2, in which 2.7 is the split and 2.8 the
 * packed layout. The batches are in 2.7.9 and 2.8.8.
 *
 * virtio_ring.c includes this before it defines its structures. The code is in
 * vring_in_order_common.h, _split.h and _packed.h, which it includes after the functions
 * that they call; how it calls them is in vring_compat.h.
 *
 * Only the driver touches this state: whatever serializes the operations on the virtqueue
 * protects it. The exception is vring_interrupt(), which reads last_used_idx and @batch_end
 * at any time.
 */
#ifndef _DRIVERS_VIRTIO_VRING_IN_ORDER_H
#define _DRIVERS_VIRTIO_VRING_IN_ORDER_H

#ifndef VIRTIO_RING_C
#error "This header has functions for virtio_ring.c, and only that may include it."
#endif

/**
 * struct vring_in_order_buf - a buffer, stored at the index of its first descriptor
 * @data: the driver's token; NULL if the device holds no buffer that begins here
 * @indir_desc: the indirect table, if the buffer has one; on a virtqueue without indirect
 *	descriptors, the driver's context
 * @writable: number of bytes that the device may write
 * @num: number of descriptors in the ring
 * @seq: split: the available index at which the buffer was added
 */
struct vring_in_order_buf {
	void *data;
	void *indir_desc;
	u32 writable;
	u16 num;
	u16 seq;
};

/**
 * struct vring_in_order - how far used buffers have been taken back
 * @head: split: first descriptor of the oldest buffer that the device holds; in the packed
 *	layout, last_used_idx says this
 * @seen: split: the used index when it was last read; some of the buffers that it exposes
 *	have not been taken while it differs from last_used_idx
 * @batch_end: the value of last_used_idx at the end of the current batch; a batch is open
 *	while the two differ
 * @batch_len: the used length that the device reported for the last buffer of the batch
 * @buffers: number of buffers taken back
 * @batches: number of used elements that returned them
 */
struct vring_in_order {
	u16 head;
	u16 seen;
	u16 batch_end;
	u32 batch_len;
	unsigned long buffers;
	unsigned long batches;
};

/*
 * Size of the record of a buffer, of which there is one for each descriptor. For kernels whose
 * own record is smaller than ours.
 */
static inline size_t vring_state_size(const struct virtio_device *vdev, size_t plain)
{
	if (IS_ENABLED(CONFIG_VIRTIO_IN_ORDER) && virtio_has_feature(vdev, VIRTIO_F_IN_ORDER))
		return sizeof(struct vring_in_order_buf);
	return plain;
}

struct vring_virtqueue;

#ifdef CONFIG_VIRTIO_IN_ORDER
static void vring_reset_in_order(struct vring_virtqueue *vq);
#else
static inline void vring_reset_in_order(struct vring_virtqueue *vq) { }
#define vring_in_order_wanted false
#endif

#endif
