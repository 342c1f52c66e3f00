/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device's side of a virtqueue, split or packed. Section numbers are those of
 * VIRTIO 1.2.
 *
 * A buffer is fetched, carried out and completed:
 *
 *	while (virtqueue_fetch(q, &request) > 0)
 *		begin to carry it out;
 *	...
 *	virtqueue_complete(q, request, len);
 *
 * in any order; with VIRTIO_F_IN_ORDER the buffers are used in the order in which they
 * were fetched all the same. What is fetched is a copy of the descriptors, of which each
 * was read once and has been checked, in memory that the driver cannot write.
 *
 * Not synchronized: callers hold a lock of their own.
 *
 * If the process dies, its successor goes on with the same struct virtqueue_state and
 * requests:
 *
 * - With VIRTIO_F_IN_ORDER, whatever comes after the last used element is fetched from the
 *   ring again. In the ring nothing of it has been overwritten.
 *
 * - Otherwise used elements may have overwritten what is still being carried out, so the
 *   copies are taken: virtqueue_next_fetched() returns them one after the other, in the
 *   order in which they were fetched.
 *
 * Either way a request may be carried out twice, but gets one used element: the device
 * sees to it that carrying out twice is the same as once. That holds for requests that
 * only read and write what they name.
 */
#ifndef VIRTQUEUE_H
#define VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/virtio_ring.h>
#include "device_state.h"
#include "guest_memory.h"

struct virtqueue;

struct virtqueue_ops {
	/* Find the three areas. False: they are not in guest memory, or not aligned. */
	bool (*map)(struct virtqueue *q);
	/* As virtqueue_fetch(), into @request; its position is set. */
	int (*fetch)(struct virtqueue *q, struct virtqueue_request *request);
	/* What comes @buffers and @slots after @position. */
	uint16_t (*advance)(const struct virtqueue *q, uint16_t position, unsigned int buffers,
			    unsigned int slots);
	/* Write a used element at state->used; after that the driver sees it. */
	void (*publish)(struct virtqueue *q, uint16_t id, uint32_t len, bool writable);
	/* Is the used element at state->used there? */
	bool (*published)(const struct virtqueue *q);
	/* Does the driver want an interrupt for what was used since q->notified? */
	bool (*wants_interrupt)(const struct virtqueue *q);
	/* Ask for a kick when there is a buffer at state->avail. */
	void (*ask_for_kick)(struct virtqueue *q);
	/* Is there a buffer at state->avail? */
	bool (*available)(const struct virtqueue *q);
};

extern const struct virtqueue_ops virtqueue_split_ops;
extern const struct virtqueue_ops virtqueue_packed_ops;

struct virtqueue {
	struct virtqueue_state *state;
	struct virtqueue_request *requests;	/* state->num of them */
	const struct guest_memory *memory;
	const struct virtqueue_ops *ops;
	bool in_order, event_idx, indirect;
	bool running;			/* from virtqueue_start() to virtqueue_stop() */
	uint16_t notified;		/* state->used when the driver was last asked */
	unsigned int unasked;		/* descriptors of the ring that were used since then */
	unsigned int num;		/* a copy of state->num */

	/* The areas: split */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	/* and packed */
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver_event, *device_event;

	/* Requests that are VIRTQUEUE_FREE */
	uint16_t free[VIRTQUEUE_MAX_SIZE];
	unsigned int nr_free;
	unsigned int nr_slots;		/* descriptors of the ring that the others take */
	/* In order: the others, in that order; a ring whose indices count on */
	uint16_t fifo[VIRTQUEUE_MAX_SIZE];
	unsigned int fifo_head, fifo_tail;
	/* Not in order: where virtqueue_next_fetched() goes on */
	uint64_t next_order;
};

/* The driver's choice of a size and of addresses: would virtqueue_start() accept it? */
bool virtqueue_valid(const struct virtqueue_state *state, const struct guest_memory *memory,
		     uint64_t features);

/* Where a queue begins (2.7.6, 2.8.1). Stored before virtqueue_state.ready. */
void virtqueue_init_state(struct virtqueue_state *state, uint64_t features);

/*
 * Begin to use the rings, or go on where a process has died. In that case the driver is to
 * be interrupted, for whatever has been used up to now. Returns 0, or -EINVAL if the rings
 * are not where the driver says or if the state makes no sense.
 */
int virtqueue_start(struct virtqueue *q, struct virtqueue_state *state,
		    struct virtqueue_request *requests, const struct guest_memory *memory,
		    uint64_t features);

/* The rings are not looked at any more. Only virtqueue_complete() may still be called. */
void virtqueue_stop(struct virtqueue *q);

/* Forget all requests of a queue that has been stopped, even those that are fetched. */
void virtqueue_forget(struct virtqueue_request *requests);

/*
 * After virtqueue_start(): the next request that a former process had fetched and not
 * completed, or NULL. To be called until that, before virtqueue_fetch().
 */
struct virtqueue_request *virtqueue_next_fetched(struct virtqueue *q);

/*
 * Returns 1 and a request; 0 if there is no buffer; or -EINVAL if the driver has broken a
 * rule, after which the rings mean nothing any more.
 */
int virtqueue_fetch(struct virtqueue *q, struct virtqueue_request **request);

/* @request has been carried out, and @len bytes were written from its start. */
void virtqueue_complete(struct virtqueue *q, struct virtqueue_request *request, uint32_t len);

/* To be asked after virtqueue_complete(): does the driver want an interrupt? */
bool virtqueue_wants_interrupt(struct virtqueue *q);

/*
 * To be called when virtqueue_fetch() has returned 0. True: there is a buffer by now, for
 * which no kick may come.
 */
bool virtqueue_ask_for_kick(struct virtqueue *q);

/* For the layouts: append a segment to @request, or return -EINVAL. */
int virtqueue_add_segment(struct virtqueue *q, struct virtqueue_request *request, uint64_t addr,
			  uint32_t len, bool writable);

/* As vring_need_event(), for indices modulo 2^16. */
static inline bool virtqueue_passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* Total bytes that the device may write. */
uint32_t virtqueue_writable(const struct virtqueue_request *request);

#endif /* VIRTQUEUE_H */
