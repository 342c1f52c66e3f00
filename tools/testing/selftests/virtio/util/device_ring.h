/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device's side of a virtqueue: takes the buffers that the driver has made available, and
 * returns them with a used element for each or for a batch. It relies on the specification and on
 * nothing but the rings, and checks all that the driver writes.
 *
 * device_ring.c has what is common to the layouts in split_ring.c and packed_ring.c. The driver may
 * run at the same time, as that of a VDUSE device does, or be in the same program, as in ../ring:
 * all state is in struct device_ring, which may be copied back and forth.
 */
#ifndef VIRTIO_TEST_DEVICE_RING_H
#define VIRTIO_TEST_DEVICE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <linux/virtio_ring.h>

#define RING_MAX_SIZE	1024
/* Maximum number of segments of a buffer; more are an error of the driver. */
#define RING_MAX_IOV	1024

/* The wrap counter in a position in a packed ring; the rest is the index of a descriptor */
enum {
	RING_WRAP = 1 << VRING_PACKED_EVENT_F_WRAP_CTR,
};

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
	unsigned int id;		/* for its used element */
	unsigned int head;		/* its first descriptor in the ring */
	unsigned int descs;		/* how many it has there */
	unsigned int num_out, num_in;	/* readable segments, then writable ones */
	size_t writable;		/* bytes of the writable ones */
	struct iovec iov[RING_MAX_IOV];
};

/* Buffers that are returned with one used element, with ID and length of the last one. */
struct ring_used {
	unsigned int id;
	uint32_t len;
	unsigned int buffers;
	unsigned int descs;
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
	bool (*available)(const struct device_ring *ring);
	/* Take the next buffer, which is available. Returns 1, or -1 if the driver is wrong. */
	int (*take)(struct device_ring *ring, struct ring_buffer *buffer);
	/* Write a used element that is not visible to the driver yet. */
	void (*put)(struct device_ring *ring, const struct ring_used *used);
	/* Make all of them visible. */
	void (*publish)(struct device_ring *ring);
	/* Does the driver want an interrupt for what became visible since @judged? */
	bool (*wants_interrupt)(const struct device_ring *ring, uint16_t judged);
	void (*disable_kicks)(struct device_ring *ring);
	void (*enable_kicks)(struct device_ring *ring);
};

extern const struct ring_layout split_layout;
extern const struct ring_layout packed_layout;

struct split_ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_head;		/* in order: where the next buffer must begin */
};

struct packed_ring {
	struct vring_packed_desc *desc;
	struct vring_packed_desc_event *driver;
	struct vring_packed_desc_event *device;
	uint16_t first_flags;		/* of the first element, which is written last */
};

struct device_ring {
	const struct ring_layout *layout;
	struct ring_config config;
	bool in_order, event_idx, indirect;

	/* Positions. Split: running indices; packed: see RING_WRAP. */
	uint16_t next_avail, next_used;
	uint16_t published;		/* @next_used as the driver sees it */
	uint16_t judged;		/* the same at the last decision on an interrupt */

	struct ring_used batch;		/* not put yet */
	struct ring_statistics statistics;
	const char *complaint;		/* what the driver did wrong, if it broke the rules */
	union {
		struct split_ring split;
		struct packed_ring packed;
	};
};

bool ring_start(struct device_ring *ring, const struct ring_config *config);

/* Is there a buffer that the device has not taken? */
static inline bool ring_available(const struct device_ring *ring)
{
	return ring->layout->available(ring);
}

/*
 * Take the next buffer. Returns 1, 0 if there is none, or -1 if the driver is wrong. Nothing more
 * is taken from a driver that broke the rules.
 */
int ring_take(struct device_ring *ring, struct ring_buffer *buffer);

/* The device has finished with the buffer, and has written its first @len bytes. */
void ring_complete(struct device_ring *ring, const struct ring_buffer *buffer, size_t len);

/* Return completed buffers. Returns whether the driver has to be interrupted. */
bool ring_publish(struct device_ring *ring);

/*
 * For a device that decides on each used element by itself, or writes wrong ones: make this one
 * visible. Does the driver want an interrupt for those since the last call?
 */
void ring_put(struct device_ring *ring, const struct ring_used *used);
bool ring_wants_interrupt(struct device_ring *ring);

static inline void ring_disable_kicks(struct device_ring *ring)
{
	ring->layout->disable_kicks(ring);
}

/* Returns whether there are already buffers, for which no kick may have come. */
bool ring_enable_kicks(struct device_ring *ring);

/* The position in a packed ring @descs descriptors after this one */
uint16_t packed_after(uint16_t position, unsigned int descs, unsigned int size);

/*
 * For the layouts
 */

/* Print once what the driver did wrong. Returns -1. */
int ring_complain(struct device_ring *ring, const char *what);

void *ring_at(struct device_ring *ring, uint64_t iova, uint64_t len);

/*
 * Find the indirect table of @len bytes that a descriptor with these @flags refers to. Returns NULL
 * after complaining.
 */
const void *ring_table(struct device_ring *ring, uint64_t iova, uint32_t len, uint16_t flags);

/* Append a segment. Returns 0, or -1 after complaining. */
int ring_add_element(struct device_ring *ring, struct ring_buffer *buffer, uint64_t iova,
		     uint32_t len, bool write);

#endif
