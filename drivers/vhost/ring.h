/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packed virtqueues, and split and packed ones with VIRTIO_F_IN_ORDER
 *
 * Backends need not know the layout. vhost_get_vq_desc() returns a handle, and a backend
 * either passes it to vhost_add_used(), or gives the buffers that it fetched last back with
 * vhost_discard_vq_desc(). If buffers are used in order and a backend forgets one, that one
 * is returned together with the next one that is used: what has been used follows from the
 * handle, not from a count of buffers.
 *
 * Instead of a handle, which is never negative, vhost_get_vq_desc() returns the size of the
 * ring if there is no buffer, or an error: -EINVAL, -EFAULT or, for an indirect table of a split
 * ring that is too long, -E2BIG if the driver is at fault; -ENOBUFS if the buffer has too many
 * segments for the caller. With an IOTLB, also -EPERM for a segment that it does not allow to be
 * read, or written, and -EAGAIN if userspace has been asked for an address that is missing.
 *
 * "2.7.9" and the like, here and in the other ring headers, are sections of VIRTIO 1.2, in
 * which 2.7 is the split and 2.8 the packed layout.
 */
#ifndef _DRIVERS_VHOST_RING_H
#define _DRIVERS_VHOST_RING_H

#include <linux/bits.h>
#include <linux/types.h>
#include <uapi/linux/virtio_config.h>

/* In the same order as enum vring_layout. vhost.c has the code of VHOST_SPLIT. */
enum vhost_layout {
	VHOST_SPLIT,
	VHOST_PACKED,
	VHOST_SPLIT_IN_ORDER,
	VHOST_PACKED_IN_ORDER,
};

/* Copy of a descriptor; vhost_desc_word() says what is in @word */
struct vhost_desc {
	u64 addr;
	u64 word;
};

/* A fetched buffer. Split: @id is its head. Packed: its Buffer ID; @descs says its length. */
struct vhost_fetched {
	u16 id;
	u16 descs;
};

/* As many as vhost-net sends in a batch */
#define VHOST_PREFETCH_MAX	64

/**
 * struct vhost_ring - state of a virtqueue that is packed, in order, or both
 * @layout: set when the virtqueue gets its backend; as long as it has one, features that
 *	would change the layout are refused
 * @resync: split in order: @next_head is not known and has to be read from the available
 *	ring
 * @next_head: split in order: first descriptor of the next buffer
 * @nr_discarded: packed: number of descriptors, from last_avail_idx on, that were fetched
 *	before and have been discarded
 * @prefetch_pos: first descriptor in @prefetch that is not part of a fetched buffer
 * @prefetch_len: number of descriptors in @prefetch
 * @nr_used: packed: descriptors used since the last decision on whether to notify the driver
 * @nr_outstanding: packed: descriptors fetched and not used yet
 * @map: the region of the memory table that the last descriptor was in. Unset if @size is
 *	0, which it always is with an IOTLB.
 * @prefetch: available descriptors that follow each other in the ring and were read together
 * @fetched: in order: the buffers from last_used_idx to last_avail_idx. The index is that of
 *	the entry in the available ring (split) or of the first descriptor (packed).
 *
 * Protected by the mutex of the virtqueue.
 */
struct vhost_ring {
	u8 layout;
	bool resync;
	u16 next_head;
	u16 nr_discarded;
	u8 prefetch_pos;
	u8 prefetch_len;
	u32 nr_used;
	u32 nr_outstanding;
	struct {
		u64 start;
		u64 size;
		u64 uaddr;
	} map;
	struct vhost_desc prefetch[VHOST_PREFETCH_MAX];
	struct vhost_fetched fetched[];
};

#define VHOST_RING_FEATURES	(BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER))

/**
 * vhost_ring_features() - features that a backend may offer if it uses buffers in order
 *
 * Context: any.
 * Return: those of VHOST_RING_FEATURES that the module parameters allow.
 */
u64 vhost_ring_features(void);

/**
 * vhost_ring_check_features() - may a VMM set these features?
 * @dev: the device
 * @features: all features that it wants to be in effect
 *
 * Context: the caller holds the mutex of @dev, and keeps it until it has set the features.
 * May sleep.
 * Return: 0; -EINVAL if they include one of VHOST_RING_FEATURES but not VIRTIO_F_VERSION_1;
 * -EOPNOTSUPP if a module parameter forbids one of them that is not in effect yet; -EBUSY if
 * they would change the layout of a virtqueue that has a backend.
 */
int vhost_ring_check_features(struct vhost_dev *dev, u64 features);

/**
 * vhost_discard_handle() - discard the buffer that was fetched last
 * @vq: the virtqueue
 * @handle: the last return value of vhost_get_vq_desc()
 *
 * Context: the caller holds the mutex of @vq.
 */
static inline void vhost_discard_handle(struct vhost_virtqueue *vq, u32 handle)
{
	struct vring_used_elem elem = { .id = cpu_to_vhost32(vq, handle) };

	vhost_discard_vq_desc(vq, &elem, 1);
}

#endif
