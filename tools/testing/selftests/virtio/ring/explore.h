/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every sequence of what a driver and its device can do with a small virtqueue, on the code of
 * virtio_ring.c itself, with a plain model in lockstep
 *
 * Such a world consists of few bytes: the memory that virtio_ring.c allocated, the device and the
 * model. They are copied before each step and put back after it, so that all that can come next is
 * tried in every state, and each state is visited once.
 */
#ifndef RING_EXPLORE_H
#define RING_EXPLORE_H

#include "device.h"
#include "fake_kernel.h"

#define MAX_RING 8
/* More than buffers can be outstanding: each descriptor that is added has its own in its turn */
#define TOKENS 16

/* A buffer that the driver added: all of its pieces are of one byte, but see piece_len(). */
struct buf {
	u8 token;
	u8 descs;
	u8 out;
	u8 in;
};

enum callbacks {
	CALLBACKS_ON,
	CALLBACKS_OFF,
	/* by virtqueue_enable_cb_delayed(), which may let some buffers pass */
	CALLBACKS_DELAYED,
};

/* What there should be: only bytes, so that equal models have equal bytes */
struct model {
	/* with the device, in the order in which they were added */
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
		/* one element is for this buffer and for the next */
		u8 skipped;
	} used_buf[MAX_RING];
	u8 callbacks;
	/* the last virtqueue_enable_cb_delayed() promised an interrupt */
	u8 owed;
	/* descriptors that were ever added */
	u16 added;
};

struct world {
	struct virtio_device vdev;
	struct virtqueue *vq;
	struct ring_device device;
	struct model model;
	unsigned int num;
	/* how often a callback came */
	unsigned int callbacks;
	unsigned int notifications;
};

enum step_kind {
	STEP_ADD,		/* a: pieces that are read, b: that are written */
	STEP_USE,		/* a: in order: how many at once; otherwise: which */
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
	/* add no more descriptors than these, in all */
	unsigned int max_added;
	/* each buffer to read, to write, and mixed; not only one of these, as it comes */
	bool directions;
	/* not in order: the device may use any buffer, not only the oldest */
	bool any_order;
	/* also the steps that are about callbacks */
	bool callbacks;
	/* states are the same if their bytes are, not only if model and device are the same */
	bool exact;
	/* called in each state, which it may change; NULL, or what is wrong */
	const char *(*at_state)(void);

	/* how much was seen */
	unsigned long states;
	unsigned long steps;
};

extern struct world world;

/* A new virtqueue; false: virtio_ring.c made none */
bool world_init(const struct layout *layout, unsigned int num);

/* All of it, to be put back */
struct copy {
	struct world world;
	struct fake_copy fake;
};

void world_save(struct copy *copy);
void world_restore(const struct copy *copy);

/* Do one step, if it is possible now, and check what came of it: NULL, or what is wrong. */
const char *do_step(struct step step);

/* Without the model: add a buffer; and what virtqueue_get_buf() returned, or -1 */
int world_add(const struct buf *buf);
int token_of(const void *data);

/* What the device finds is what the driver gave: NULL, or what is different. */
const char *check_chain(const struct chain *chain, const struct buf *buf);

/* Descriptors that neither the device nor the driver has to give back */
unsigned int free_descs(void);

/* A buffer that could come next: of @pieces, of which the device reads @out */
struct buf new_buf(unsigned int out, unsigned int in);

/* How long the piece of a buffer is, and where; what it takes, and what the device writes */
u32 piece_len(unsigned int piece);
void *piece_memory(unsigned int token, unsigned int piece);
u32 writable(const struct buf *buf);
u32 used_len(const struct buf *buf);

/* Try everything. NULL, or what is wrong and how it came to be. */
const char *explore(struct exploration *exploration);

#endif /* RING_EXPLORE_H */
