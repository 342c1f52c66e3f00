/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tries every sequence of steps of a driver and its device on a small virtqueue, with the code of
 * virtio_ring.c itself, in lockstep with a simple model
 *
 * The state of such a world has few bytes: the memory that virtio_ring.c allocated, the device, and
 * the model. It is copied before each step and restored afterwards. So every possible step is tried
 * in each state, and each state is visited once.
 */
#ifndef RING_EXPLORE_H
#define RING_EXPLORE_H

#include <linux/bits.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include "../util/device_ring.h"
#include "fake_kernel.h"
#include "layout.h"

#define MAX_RING 8
#define MAX_SEGMENTS 8
/* More than there can be outstanding buffers. Descriptors take tokens in turn. */
#define TOKENS 16

/* A buffer that the driver added; segment_len() says how long its segments are. */
struct buf {
	u8 token;
	u8 descs;
	u8 out;
	u8 in;
};

enum callbacks {
	CALLBACKS_ON,
	CALLBACKS_OFF,
	/* by virtqueue_enable_cb_delayed(), which may skip some buffers */
	CALLBACKS_DELAYED,
};

/* The expected state. It has no padding, so that equal models have equal bytes. */
struct model {
	/* held by the device, in the order in which they were added */
	u8 held;
	struct {
		struct buf buf;
		u16 id;
		u16 head;
	} held_buf[MAX_RING];
	/* used and not yet taken, in the order in which they were used */
	u8 used;
	struct {
		struct buf buf;
		/* this buffer is returned by the element of the next one */
		u8 skipped;
	} used_buf[MAX_RING];
	/* the buffer that was taken last was skipped: the driver is in the middle of a batch */
	u8 open;
	u8 callbacks;
	/* the last virtqueue_enable_cb_delayed() promised an interrupt */
	u8 owed;
	/* descriptors added so far */
	u16 added;
};

struct world {
	struct virtio_device vdev;
	struct virtqueue *vq;
	struct layout layout;
	struct device_ring device;
	struct model model;
	unsigned int num;
	/* number of callbacks */
	unsigned int callbacks;
	unsigned int notifications;
	/* number of buffers that were taken, and of used elements that returned them */
	unsigned long taken;
	unsigned long batches;
	/* number of allocations that the virtqueue consists of */
	unsigned int allocated;
};

/*
 * What our code has counted, in order. virtio_ring.c as the kernel has it lacks this, and the rest
 * that tests ask of code that is_ours().
 */
void ring_statistics(const struct virtqueue *vq, unsigned long *buffers, unsigned long *batches);
#pragma weak ring_statistics

static inline bool is_ours(const struct layout *layout)
{
	return layout->in_order && ring_statistics;
}

enum step_kind {
	STEP_ADD,		/* a: readable segments, b: writable ones */
	STEP_USE,		/* a: in order, how many at once; otherwise, which one */
	STEP_GET,
	STEP_DISABLE_CB,
	STEP_ENABLE_CB,
	STEP_ENABLE_CB_DELAYED,
	STEP_KINDS
};

struct step {
	u8 kind;
	u8 a;
	u8 b;
};

struct exploration {
	struct layout layout;
	unsigned int num;
	/* total number of descriptors to add */
	unsigned int max_added;
	/* try each buffer as readable, writable and mixed, and not only as one of these */
	bool directions;
	/* out of order: the device may use any buffer, and not only the oldest one */
	bool any_order;
	/* in order: how many buffers the device returns at most with a used element */
	unsigned int max_batch;
	/* include the steps that enable and disable callbacks */
	bool callbacks;
	/* compare all bytes of a state, and not only model and device */
	bool exact;
	/* called in each state, which it may change. Returns NULL, or what is wrong. */
	const char *(*at_state)(void);

	/* statistics */
	unsigned long states;
	unsigned long steps;
};

extern struct world world;

/* Make a virtqueue. Returns false if virtio_ring.c fails to. */
bool world_init(const struct layout *layout, unsigned int num);

/* A copy of the whole state, to restore it */
struct copy {
	struct world world;
	struct fake_copy fake;
};

void world_save(struct copy *copy);
void world_restore(const struct copy *copy);

/* Do one step if it is possible, and check the result. Returns NULL, or what is wrong. */
const char *do_step(struct step step);

/* Flags for the memory of tables. It must be low memory, whatever a driver says. */
#define ADD_GFP_OTHERS	0x20
#define ADD_GFP		(ADD_GFP_OTHERS | __GFP_HIGHMEM)

/* Without the model: add a buffer, and get one. The latter returns its token or -1. */
int world_add(const struct buf *buf);
int token_of(const void *data);

/* The device starts with the virtqueue as it is. */
void device_start(void);

/* The device takes a buffer, which must be @buf. Returns NULL, or what is wrong with it. */
const char *device_take(struct ring_buffer *buffer, const struct buf *buf);

/* Write a used element with @id, for @bufs buffers with @descs descriptors. */
void device_use(u32 id, u32 len, unsigned int bufs, unsigned int descs);

/* Where the driver wants an interrupt, with VIRTIO_RING_F_EVENT_IDX */
u16 driver_event(void);

/* Number of free descriptors */
unsigned int free_descs(void);

/* The next buffer to add, with @out readable and @in writable segments */
struct buf new_buf(unsigned int out, unsigned int in);

/* Length and address of a segment; size of a buffer in descriptors; used length */
u32 segment_len(unsigned int segment);
void *segment_memory(unsigned int token, unsigned int segment);
u32 writable(const struct buf *buf);
u32 used_len(const struct buf *buf);

/* Explore all states. Returns NULL, or what is wrong and how to get there. */
const char *explore(struct exploration *exploration);

#endif /* RING_EXPLORE_H */
