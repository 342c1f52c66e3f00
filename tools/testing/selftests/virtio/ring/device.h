/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device's side of a virtqueue that virtio_ring.c drives in the same program. It knows what the
 * specification says and looks at nothing but the rings.
 */
#ifndef RING_DEVICE_H
#define RING_DEVICE_H

#include <linux/bits.h>
#include <linux/virtio.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_config.h>

#define MAX_PIECES 8

/* The wrap counter in a packed ring's position; the rest is the index of a descriptor */
#define WRAP BIT(VRING_PACKED_EVENT_F_WRAP_CTR)

struct layout {
	bool packed;
	bool in_order;
	bool event_idx;
	bool indirect;
	bool dma;
};

/* What the device finds of a buffer */
struct chain {
	u16 id;
	/* where it begins, and how many descriptors of the ring it takes */
	u16 head;
	u16 descs;
	/* bit n: the ring's descriptor n is part of it; only for small rings */
	u64 slots;
	bool indirect;
	unsigned int pieces;
	/* what a device writes that uses all of it */
	u32 writable;
	struct piece {
		u64 addr;
		u32 len;
		bool write;
	} piece[MAX_PIECES];
};

struct ring_device {
	struct layout layout;
	unsigned int num;
	union {
		struct {
			struct vring_desc *desc;
			struct vring_avail *avail;
			struct vring_used *used;
		} split;
		struct {
			struct vring_packed_desc *desc;
			struct vring_packed_desc_event *driver;
			struct vring_packed_desc_event *device;
		} packed;
	};
	/* Where the next buffer comes, and where the next used element goes */
	u16 next_avail;
	u16 next_used;
	/* with VIRTIO_F_IN_ORDER: the first descriptor of the next buffer */
	u16 next_head;
};

/* The features that stand for @layout */
u64 layout_features(const struct layout *layout);

/* A device that has seen nothing, on a new virtqueue */
void device_init(struct ring_device *device, const struct layout *layout,
		 const struct virtqueue *vq);

/* Whether there is a buffer that the device has not taken */
bool device_has_avail(const struct ring_device *device);

/* Take the next buffer. Returns what is wrong with it, or NULL. */
const char *device_take(struct ring_device *device, struct chain *chain);

/* Use @n buffers in the order in which they were taken, with an element each. */
void device_use_each(struct ring_device *device, const struct chain *chains, unsigned int n);

/* The same with one element for all, as VIRTIO_F_IN_ORDER allows: @len is of the last. */
void device_use_batch(struct ring_device *device, const struct chain *chains, unsigned int n,
		      u32 len);

/* Write a used element that names @id and says that @bufs buffers, @descs descriptors, are used. */
void device_write_used(struct ring_device *device, u32 id, u32 len, unsigned int bufs,
		       unsigned int descs);

/* Whether the driver wants an interrupt for what was used since next_used was @old */
bool device_interrupts(const struct ring_device *device, u16 old);

/* Where the driver wants an interrupt, with VIRTIO_RING_F_EVENT_IDX */
u16 device_event(const struct ring_device *device);

/* Ask for a notification of the next buffer, or for none. */
void device_enable_kicks(struct ring_device *device);
void device_disable_kicks(struct ring_device *device);

/* The packed ring's position @n descriptors after one */
u16 packed_after(u16 position, unsigned int n, unsigned int num);

#endif /* RING_DEVICE_H */
