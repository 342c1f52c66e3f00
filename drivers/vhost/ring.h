/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Layouts of virtqueues that vhost did not always know: the packed one, and split and
 * packed with VIRTIO_F_IN_ORDER
 *
 * Backends see none of it. What vhost_get_vq_desc() returns is a handle, and all that
 * they do is to give it back to vhost_add_used(), or the last ones to
 * vhost_discard_vq_desc(). In order, a buffer that a backend forgets is given back with
 * the next one that it uses: what is used next follows from the handle, not from how many
 * were used before.
 */
#ifndef _DRIVERS_VHOST_RING_H
#define _DRIVERS_VHOST_RING_H

#include <linux/bits.h>
#include <linux/types.h>
#include <uapi/linux/virtio_config.h>

/* Only the split layout out of order is vhost.c's. The order is enum vring_layout's. */
enum vhost_layout {
	VHOST_SPLIT,
	VHOST_PACKED,
	VHOST_SPLIT_IN_ORDER,
	VHOST_PACKED_IN_ORDER,
};

/* A descriptor as it was when it was read: @word as vhost_desc_word() makes it */
struct vhost_desc {
	u64 addr;
	u64 word;
};

/* A buffer that was fetched: its head, or Buffer ID; of how many descriptors, if packed */
struct vhost_fetched {
	u16 id;
	u16 descs;
};

/* A batch of vhost-net */
#define VHOST_PREFETCH_MAX	64

/**
 * struct vhost_ring - what these layouts need beyond the fields of struct vhost_virtqueue
 * @layout: set when the virtqueue gets its backend; features that change it are
 *	refused while there is one
 * @resync: split in order: @next_head is not known, the available ring has to say
 * @next_head: split in order: first descriptor of the next buffer
 * @nr_discarded: packed: descriptors from last_avail_idx on that were fetched and discarded
 * @prefetch_pos: first descriptor of @prefetch that is not in a buffer yet
 * @prefetch_len: number of descriptors in @prefetch
 * @nr_used: packed: descriptors used since the driver was last looked at for a signal
 * @nr_outstanding: packed: descriptors fetched that are not used yet
 * @map: the last part of the memory table that a descriptor was in; none if @size is 0.
 *	None with an IOTLB.
 * @prefetch: available descriptors that follow each other in the ring, read at once
 * @fetched: in order: the buffers from last_used_idx to last_avail_idx, by their place:
 *	that in the available ring, or of the first descriptor in the packed one
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
 * vhost_ring_features() - what a backend may offer that uses buffers in order
 *
 * Context: any.
 * Return: feature bits, less what module parameters withhold.
 */
u64 vhost_ring_features(void);

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
int vhost_ring_check_features(struct vhost_dev *dev, u64 features);

/**
 * vhost_discard_handle() - vhost_discard_vq_desc() of one buffer
 * @vq: the virtqueue
 * @handle: what vhost_get_vq_desc() returned last
 *
 * Context: the caller holds the mutex of @vq.
 */
static inline void vhost_discard_handle(struct vhost_virtqueue *vq, u32 handle)
{
	struct vring_used_elem elem = { .id = cpu_to_vhost32(vq, handle) };

	vhost_discard_vq_desc(vq, &elem, 1);
}

#endif
