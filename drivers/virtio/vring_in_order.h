/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a virtqueue remembers when VIRTIO_F_IN_ORDER has been negotiated
 *
 * The device uses buffers in the order in which they were made available, so the ones
 * it has form a queue: descriptors are taken in ring order, and the oldest buffer is
 * always the next to come back. There is no list of free descriptors.
 *
 * One used element may return many buffers, a batch. It names the last of them. The
 * ones before it are the device's word that it has processed them completely.
 *
 * Included by virtio_ring.c before its structures. vring_in_order_common.h and those of
 * the layouts, which it includes after its functions, have the code. All of this is the
 * driver's: whoever serializes the operations on the virtqueue serializes this too. Only
 * last_used_idx and @batch_end are also read without that, by vring_interrupt().
 */
#ifndef _DRIVERS_VIRTIO_VRING_IN_ORDER_H
#define _DRIVERS_VIRTIO_VRING_IN_ORDER_H

#ifndef VIRTIO_RING_C
#error "This header has functions for virtio_ring.c, and only that may include it."
#endif

/* Around zero: to tell the first two apart takes a single comparison. */
enum vring_layout {
	VRING_SPLIT = -1,
	VRING_PACKED,
	VRING_SPLIT_IN_ORDER,
	VRING_PACKED_IN_ORDER,
};

/**
 * struct vring_in_order_buf - a buffer, at the index of its first descriptor
 * @data: the driver's token; NULL where no buffer begins that the device has
 * @indir_desc: the indirect table, if any; the driver's context on a virtqueue without
 * @writable: how many bytes the device may write
 * @num: descriptors in the ring
 * @seq: split: what the avail index was when it was added
 */
struct vring_in_order_buf {
	void *data;
	void *indir_desc;
	u32 writable;
	u16 num;
	u16 seq;
};

/**
 * struct vring_in_order - the side of a virtqueue where buffers come back
 * @head: split: first descriptor of the oldest buffer that the device has; packed has
 *	it in last_used_idx
 * @seen: split: the used index when it was last read; what it exposes has not all been
 *	taken while it differs from last_used_idx
 * @batch_end: what last_used_idx will be at the end of the batch: one is open while
 *	they differ
 * @batch_len: the length that the device gave for the last buffer of the batch
 * @buffers: how many were taken
 * @batches: how many used elements said so
 */
struct vring_in_order {
	u16 head;
	u16 seen;
	u16 batch_end;
	u32 batch_len;
	unsigned long buffers;
	unsigned long batches;
};

struct vring_virtqueue;

static size_t vring_state_size(const struct virtio_device *vdev, size_t plain);
static void vring_set_layout(struct vring_virtqueue *vq);
static void vring_reset_in_order(struct vring_virtqueue *vq);

#ifndef CONFIG_VIRTIO_IN_ORDER
#define vring_in_order_wanted false
#endif

#endif
