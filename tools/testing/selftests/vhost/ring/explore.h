/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tries every sequence of steps of a driver and a backend on a small virtqueue, with the code of
 * vhost.c itself, in lockstep with a simple model
 *
 * Each possible step is tried in each state, and each state is visited once: it is the memory of
 * the ring, what vhost knows, and the model, and is copied before a step and restored afterwards.
 * Histories end when one descriptor more has been added than the ring has in two rounds, so that
 * each position is reached with either wrap counter. Out of order, which leads to many states,
 * larger rings end after one round and a descriptor.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stdbool.h>
#include <stdint.h>
#include "vq.h"

#define BIT(n)		(1U << (n))

#define RING_WRAP	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)
#define RING_AVAIL	BIT(VRING_PACKED_DESC_F_AVAIL)
#define RING_USED	BIT(VRING_PACKED_DESC_F_USED)

/* A buffer; segment_len() says how long its segments are. @at is its first descriptor. */
struct buf {
	uint16_t id;		/* split: its head; packed: its Buffer ID */
	uint8_t at, descs, out, in;
};

/* The expected state. It has no padding, so that equal models have equal bytes. */
struct model {
	/* positions as in VHOST_GET_VRING_BASE: where the driver adds, where vhost fetches, ... */
	uint16_t added_pos, got_pos, used_pos, taken_pos;
	/* descriptors (split) or Buffer IDs (packed) that are free */
	uint16_t free;
	uint8_t free_descs;
	/* split: the next descriptor, in order */
	uint8_t next_desc;
	/* descriptors that were added so far */
	uint16_t total;
	/* each of these: the oldest one first */
	uint8_t num_avail, num_held, num_used;
	/* how many of those held were fetched last, and can be discarded */
	uint8_t discardable, unused[2];
	struct buf avail[RING_MAX];
	struct held {
		struct buf buf;
		uint16_t unused;
		int32_t handle;
	} held[RING_MAX];
	struct used {
		struct buf buf;
		uint8_t len;
		/* returned by the element of the next one */
		uint8_t skipped;
	} used[RING_MAX];
};

struct exploration {
	bool packed, in_order, event_idx, indirect, iotlb, log;
	/* compare all bytes of a state, also those that vhost should not look at again */
	bool exact;
	unsigned int num, max_total;
	uint32_t base;
	/* called in each state, which it may change. Returns NULL, or what is wrong. */
	const char *(*at_state)(void);
};

struct world {
	struct exploration e;
	struct model model;
};

extern struct world world;

enum step_kind {
	STEP_ADD,		/* a: readable segments, b: writable ones */
	STEP_GET,
	STEP_USE,		/* a: which one first, b: how many, c: bit mask of those written */
	STEP_DISCARD,		/* a: how many */
	STEP_TAKE,
};

struct step {
	uint8_t kind, a, b, c;
};

struct copy {
	struct world world;
	struct vq_copy vq;
	unsigned char byte[USER_MEMORY];
};

/* Number of states that explore() has found in this process */
extern unsigned long states;

/* Has this not been seen since forget_visits()? */
uint64_t hash(uint64_t h, const void *data, size_t size);
bool first_visit(uint64_t h);
void forget_visits(void);

/* Try everything. Returns NULL, or what is wrong and how to get there. */
const char *explore(const struct exploration *e);

/* A virtqueue in its first state. Returns NULL, or what is wrong. */
const char *world_init(const struct exploration *e);
void world_save(struct copy *copy);
void world_restore(const struct copy *copy);
const char *do_step(struct step step);
/* Do these steps as far as they are possible, with everything that there is. */
const char *get_all(void);
const char *use_all(void);
const char *take_all(void);

/* What vhost must not do, or NULL. To be called after each call of vhost. */
const char *check_calls(void);

/* Positions, of either layout */
uint16_t after(uint16_t pos, unsigned int bufs, unsigned int descs);

/* Since user_watch(): each page that was written is in the dirty log, and no other */
const char *check_log(void);

/* Parts of the ring */
struct vring_desc *split_desc(unsigned int i);
struct vring_packed_desc *packed_desc(unsigned int i);
struct vring_avail *split_avail(void);
struct vring_used *split_used(void);
struct vring_packed_desc_event *driver_event(void);
struct vring_packed_desc_event *device_event(void);
struct vring_desc *table_of(unsigned int at);
uint64_t table_gpa(unsigned int at);

/* Segments of a buffer */
uint32_t segment_len(unsigned int k);
uint64_t segment_gpa(const struct buf *buf, unsigned int k);
uint32_t writable(const struct buf *buf);

/* Is a used element to be seen? */
bool used_seen(void);

/* Compare what vhost returned with @buf. */
const char *check_buffer(const struct vq_buffer *got, const struct buf *buf);

#endif /* EXPLORE_H */
