/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device's side of a virtqueue: takes the buffers that the driver has made
 * available, and gives them back, one used element for each or for a batch of them.
 *
 * What is common is in device_ring.c; split_ring.c and packed_ring.c know the layouts.
 */
#ifndef VIRTIO_TEST_VDUSE_DEVICE_RING_H
#define VIRTIO_TEST_VDUSE_DEVICE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define RING_MAX_SIZE	1024
/* Elements of a buffer; more are the driver's fault. */
#define RING_MAX_IOV	1024

/* Where the device sees the driver's memory; NULL where there is none */
struct ring_memory {
	void *(*at)(void *owner, uint64_t iova, uint64_t len);
	void *owner;
};

struct ring_config {
	unsigned int index;
	unsigned int size;
	uint64_t features;		/* negotiated */
	unsigned int max_batch;		/* buffers for one used element */
	uint64_t desc, driver, device;	/* I/O virtual addresses of the three areas */
	struct ring_memory memory;
};

/* A buffer that the device has taken. */
struct ring_buffer {
	unsigned int id;		/* what its used element has to say */
	unsigned int slots;		/* how far it moves the place of the next used element */
	unsigned int num_out, num_in;	/* elements to read, and then to write */
	size_t writable;		/* bytes of the latter */
	struct iovec iov[RING_MAX_IOV];
};

/* Buffers that go back with one used element: the id and length of the last. */
struct ring_used {
	unsigned int id;
	uint32_t len;
	unsigned int slots;
	unsigned int buffers;
	bool writable;			/* the last one has elements to write */
	bool complete;			/* and all of their bytes were written */
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
	/* false: the memory is not there. */
	bool (*begin)(struct device_ring *ring);
	/* The next buffer: 1, or 0 if there is none, or -1 if the driver broke the rules. */
	int (*take)(struct device_ring *ring, struct ring_buffer *buffer);
	/* Write a used element that the driver does not see yet. */
	void (*put)(struct device_ring *ring, const struct ring_used *used);
	/* Let it see all that were put. */
	void (*publish)(struct device_ring *ring);
	/* After that: does the driver want an interrupt? */
	bool (*wants_interrupt)(struct device_ring *ring);
	void (*disable_kicks)(struct device_ring *ring);
	/* Returns whether there are buffers already, whose kick may have been suppressed. */
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
	uint16_t judged;		/* and the one at the last look at what it wants */
};

struct packed_ring {
	struct vring_packed_desc *desc;
	struct vring_packed_desc_event *driver;
	struct vring_packed_desc_event *device;
	uint16_t next_avail;
	bool avail_wrap;
	/* Descriptors since the start, so that they tell laps apart */
	uint64_t next_used, published, judged;
	uint16_t first_flags;		/* of the first element that was put: written last */
};

struct device_ring {
	const struct ring_layout *layout;
	struct ring_config config;
	bool in_order, event_idx, indirect;
	struct ring_used batch;		/* not put yet */
	bool unpublished;
	struct ring_statistics statistics;
	const char *complaint;		/* what the driver did, if it broke the rules */
	union {
		struct split_ring split;
		struct packed_ring packed;
	};
};

bool ring_start(struct device_ring *ring, const struct ring_config *config);

/* As @take above. Nothing more is taken from a driver that broke the rules. */
int ring_take(struct device_ring *ring, struct ring_buffer *buffer);

/* The device is done with the buffer, and has written its first @len bytes. */
void ring_complete(struct device_ring *ring, const struct ring_buffer *buffer, size_t len);

/* Give back what is complete; returns whether the driver has to be interrupted. */
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

/* Says what the driver did, once. Returns -1. */
int ring_complain(struct device_ring *ring, const char *what);

void *ring_at(struct device_ring *ring, uint64_t iova, uint64_t len);

/* Appends an element; 0, or -1 with a complaint. */
int ring_add_element(struct device_ring *ring, struct ring_buffer *buffer, uint64_t iova,
		     uint32_t len, bool write);

#endif
