/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device's side of a virtqueue: takes the buffers that the driver has made available, and
 * returns them with a used element for each or for a batch.
 *
 * device_ring.c has what is common to the layouts in split_ring.c and packed_ring.c.
 */
#ifndef VIRTIO_TEST_VDUSE_DEVICE_RING_H
#define VIRTIO_TEST_VDUSE_DEVICE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define RING_MAX_SIZE	1024
/* Maximum number of segments of a buffer; more are an error of the driver. */
#define RING_MAX_IOV	1024

/* Access to the driver's memory; returns NULL where there is none */
struct ring_memory {
	void *(*at)(void *owner, uint64_t iova, uint64_t len);
	void *owner;
};

struct ring_config {
	unsigned int index;
	unsigned int size;
	uint64_t features;		/* negotiated */
	unsigned int max_batch;		/* maximum number of buffers per used element */
	uint64_t desc, driver, device;	/* I/O virtual addresses of the three areas */
	struct ring_memory memory;
};

/* A buffer that the device has taken. */
struct ring_buffer {
	unsigned int id;		/* ID for its used element */
	unsigned int slots;		/* how far it advances the next used element */
	unsigned int num_out, num_in;	/* readable segments, then writable ones */
	size_t writable;		/* bytes of the writable ones */
	struct iovec iov[RING_MAX_IOV];
};

/* Buffers that are returned with one used element, with ID and length of the last one. */
struct ring_used {
	unsigned int id;
	uint32_t len;
	unsigned int slots;
	unsigned int buffers;
	bool writable;			/* the last one has writable segments */
	bool complete;			/* and they were written completely */
};

struct ring_statistics {
	unsigned long buffers;
	unsigned long elements;
	unsigned int largest_batch;
	unsigned long notified, suppressed;
	unsigned long kicks;
};

struct device_ring;

struct ring_layout {
	const char *name;
	/* Returns false if the memory is not mapped. */
	bool (*begin)(struct device_ring *ring);
	/* Take the next buffer. Returns 1, 0 if there is none, or -1 if the driver is wrong. */
	int (*take)(struct device_ring *ring, struct ring_buffer *buffer);
	/* Write a used element that is not visible to the driver yet. */
	void (*put)(struct device_ring *ring, const struct ring_used *used);
	/* Make all of them visible. */
	void (*publish)(struct device_ring *ring);
	/* Does the driver want an interrupt for these? */
	bool (*wants_interrupt)(struct device_ring *ring);
	void (*disable_kicks)(struct device_ring *ring);
	/* Returns whether there are already buffers, for which no kick may have come. */
	bool (*enable_kicks)(struct device_ring *ring);
};

extern const struct ring_layout split_layout;
extern const struct ring_layout packed_layout;

struct split_ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail;
	uint16_t next_head;		/* in order: where the next buffer must begin */
	uint16_t next_used;
	uint16_t published;		/* used index that the driver sees */
	uint16_t judged;		/* used index at the last decision on an interrupt */
};

struct packed_ring {
	struct vring_packed_desc *desc;
	struct vring_packed_desc_event *driver;
	struct vring_packed_desc_event *device;
	uint16_t next_avail;
	bool avail_wrap;
	/* Descriptors since the start, so that wraps can be told apart */
	uint64_t next_used, published, judged;
	uint16_t first_flags;		/* of the first element, which is written last */
};

struct device_ring {
	const struct ring_layout *layout;
	struct ring_config config;
	bool in_order, event_idx, indirect;
	struct ring_used batch;		/* not put yet */
	bool unpublished;
	struct ring_statistics statistics;
	const char *complaint;		/* what the driver did wrong, if it broke the rules */
	union {
		struct split_ring split;
		struct packed_ring packed;
	};
};

bool ring_start(struct device_ring *ring, const struct ring_config *config);

/* See @take. Nothing more is taken from a driver that broke the rules. */
int ring_take(struct device_ring *ring, struct ring_buffer *buffer);

/* The device has finished with the buffer, and has written its first @len bytes. */
void ring_complete(struct device_ring *ring, const struct ring_buffer *buffer, size_t len);

/* Return completed buffers. Returns whether the driver has to be interrupted. */
bool ring_publish(struct device_ring *ring);

static inline void ring_disable_kicks(struct device_ring *ring)
{
	ring->layout->disable_kicks(ring);
}

static inline bool ring_enable_kicks(struct device_ring *ring)
{
	return !ring->complaint && ring->layout->enable_kicks(ring);
}

/*
 * For the layouts
 */

/* Print once what the driver did wrong. Returns -1. */
int ring_complain(struct device_ring *ring, const char *what);

void *ring_at(struct device_ring *ring, uint64_t iova, uint64_t len);

/* Append a segment. Returns 0, or -1 after complaining. */
int ring_add_element(struct device_ring *ring, struct ring_buffer *buffer, uint64_t iova,
		     uint32_t len, bool write);

#endif
