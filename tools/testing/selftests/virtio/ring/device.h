/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device's side of a virtqueue, whose driver is virtio_ring.c in the same program. It relies
 * on the specification and looks at nothing but the rings.
 *
 * This shares no code with vduse/device_ring.h, whose driver runs at the same time: here the
 * explorer copies the whole state back and forth, writes wrong used elements, and reaches
 * memory by the addresses of a fake DMA API.
 */
#ifndef RING_DEVICE_H
#define RING_DEVICE_H

#include <linux/bits.h>
#include <linux/virtio.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_config.h>

#define MAX_SEGMENTS 8

/* The wrap counter in a position in the packed ring; the rest is a descriptor's index */
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
	/* first descriptor, and number of descriptors in the ring */
	u16 head;
	u16 descs;
	/* bit n: descriptor n of the ring is part of it; for small rings only */
	u64 slots;
	bool indirect;
	unsigned int segments;
	/* total length of the writable segments */
	u32 writable;
	struct segment {
		u64 addr;
		u32 len;
		bool write;
	} segment[MAX_SEGMENTS];
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
	/* Where the next available buffer is expected, and where the next used element goes */
	u16 next_avail;
	u16 next_used;
	/* with VIRTIO_F_IN_ORDER: the first descriptor of the next buffer */
	u16 next_head;
};

/* Feature bits of @layout */
u64 layout_features(const struct layout *layout);

/* Initialise the device of a new virtqueue. */
void device_init(struct ring_device *device, const struct layout *layout,
		 const struct virtqueue *vq);

/* Is there a buffer that the device has not taken? */
bool device_has_avail(const struct ring_device *device);

/* Take the next buffer. Returns what is wrong with it, or NULL. */
const char *device_take(struct ring_device *device, struct chain *chain);

/* Use @n buffers in the order in which they were taken, with an element each. */
void device_use_each(struct ring_device *device, const struct chain *chains, unsigned int n);

/* The same with one element for all, as VIRTIO_F_IN_ORDER allows; @len belongs to the last. */
void device_use_batch(struct ring_device *device, const struct chain *chains, unsigned int n,
		      u32 len);

/* Write a used element with @id, for @bufs buffers with @descs descriptors. */
void device_write_used(struct ring_device *device, u32 id, u32 len, unsigned int bufs,
		       unsigned int descs);

/* Does the driver want an interrupt for what was used since next_used was @old? */
bool device_interrupts(const struct ring_device *device, u16 old);

/* Where the driver wants an interrupt, with VIRTIO_RING_F_EVENT_IDX */
u16 device_event(const struct ring_device *device);

/* Ask for a notification of the next buffer, or for none. */
void device_enable_kicks(struct ring_device *device);
void device_disable_kicks(struct ring_device *device);

/* The position in the packed ring @n descriptors after this one */
u16 packed_after(u16 position, unsigned int n, unsigned int num);

#endif /* RING_DEVICE_H */
