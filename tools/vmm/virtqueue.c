// SPDX-License-Identifier: GPL-2.0-only
#include "virtqueue.h"

#include <errno.h>
#include <string.h>
#include <linux/virtio_config.h>
#include "kill_point.h"
#include "util.h"

/* Not longer than 2^32 bytes (2.7.5.2); one less, so that a used length can say it. */
#define MAX_LEN		UINT32_MAX

static const struct virtqueue_ops *layout(uint64_t features)
{
	return features & BIT(VIRTIO_F_RING_PACKED) ? &virtqueue_packed_ops : &virtqueue_split_ops;
}

static bool init(struct virtqueue *q, const struct virtqueue_state *state,
		 const struct guest_memory *memory, uint64_t features)
{
	memset(q, 0, sizeof(*q));
	q->state = (struct virtqueue_state *)state;
	q->memory = memory;
	q->ops = layout(features);
	q->in_order = features & BIT(VIRTIO_F_IN_ORDER);
	q->event_idx = features & BIT(VIRTIO_RING_F_EVENT_IDX);
	q->indirect = features & BIT(VIRTIO_RING_F_INDIRECT_DESC);
	q->num = state->num;
	return q->num && q->num <= VIRTQUEUE_MAX_SIZE && q->ops->map(q);
}

bool virtqueue_valid(const struct virtqueue_state *state, const struct guest_memory *memory,
		     uint64_t features)
{
	struct virtqueue q;

	return init(&q, state, memory, features);
}

void virtqueue_init_state(struct virtqueue_state *state, uint64_t features)
{
	/* Packed: both wrap counters begin at 1 (2.8.1). */
	uint16_t start = features & BIT(VIRTIO_F_RING_PACKED) ? 1 << VRING_PACKED_EVENT_F_WRAP_CTR
							      : 0;

	state->avail = start;
	state->used = start;
	state->used_next = start;
	state->fetched = 0;
	state->used_elements = 0;
}

static uint64_t total_len(const struct virtqueue_request *request)
{
	uint64_t len = 0;
	unsigned int i;

	for (i = 0; i < request->nr_segments; i++)
		len += request->segments[i].len;
	return len;
}

static bool valid_request(struct virtqueue *q, const struct virtqueue_request *request)
{
	unsigned int i;

	if (!request->nr_segments || request->nr_segments > VIRTQUEUE_MAX_SIZE ||
	    request->nr_readable > request->nr_segments || !request->nr_slots ||
	    request->nr_slots > q->num || request->order > q->state->fetched)
		return false;
	for (i = 0; i < request->nr_segments; i++) {
		if (!request->segments[i].len ||
		    !guest_memory_at(q->memory, request->segments[i].addr,
				     request->segments[i].len))
			return false;
	}
	return total_len(request) <= MAX_LEN;
}

/* In the state that was left behind, all positions and all requests make sense. */
static bool valid_state(struct virtqueue *q)
{
	const struct virtqueue_state *s = q->state;
	unsigned int i, slots = 0;

	if (q->ops == &virtqueue_packed_ops &&
	    ((s->avail & 0x7fff) >= q->num || (s->used & 0x7fff) >= q->num ||
	     (s->used_next & 0x7fff) >= q->num))
		return false;
	/* There is a number after that of each request, see virtqueue_next_fetched(). */
	if (s->fetched == UINT64_MAX)
		return false;
	for (i = 0; i < q->num; i++) {
		if (q->requests[i].state == VIRTQUEUE_FREE)
			continue;
		if (q->requests[i].state > VIRTQUEUE_PUBLISHING ||
		    !valid_request(q, &q->requests[i]))
			return false;
		slots += q->requests[i].nr_slots;
	}
	return slots <= q->num;
}

static void set_all(struct virtqueue *q, uint32_t from, uint32_t to)
{
	unsigned int i;

	for (i = 0; i < q->num; i++) {
		if (q->requests[i].state != from)
			continue;
		state_store(&q->requests[i].state, to);
		kill_point();
	}
}

/*
 * A used element was being written when the process died. The same steps as in
 * publish(), from the one that it did not come to; a death in between changes nothing.
 */
static void finish_publishing(struct virtqueue *q)
{
	struct virtqueue_state *s = q->state;

	if (s->used_next != s->used && q->ops->published(q)) {
		set_all(q, VIRTQUEUE_PUBLISHING, VIRTQUEUE_FREE);
		state_store(&s->used, s->used_next);
	} else {
		set_all(q, VIRTQUEUE_PUBLISHING, VIRTQUEUE_DONE);
		state_store(&s->used_next, s->used);
	}
	kill_point();
}

/*
 * The process died between making a request VIRTQUEUE_FETCHED and moving @avail. Only the
 * latest one can be that: an older one, which takes long, may have had the same position
 * some wraps ago.
 */
static void finish_fetching(struct virtqueue *q)
{
	struct virtqueue_state *s = q->state;
	unsigned int i;

	for (i = 0; i < q->num; i++) {
		if (q->requests[i].state != VIRTQUEUE_FETCHED ||
		    q->requests[i].position != s->avail || q->requests[i].order + 1 < s->fetched)
			continue;
		state_store(&s->fetched, q->requests[i].order + 1);
		kill_point();
		state_store(&s->avail, q->ops->advance(q, s->avail, 1, q->requests[i].nr_slots));
		kill_point();
		return;
	}
}

static void set_free(struct virtqueue *q, struct virtqueue_request *request)
{
	state_store(&request->state, VIRTQUEUE_FREE);
	kill_point();
	q->free[q->nr_free++] = request - q->requests;
	q->nr_slots -= request->nr_slots;
}

static void publish(struct virtqueue *q, struct virtqueue_request **requests, unsigned int n);

static void list_requests(struct virtqueue *q)
{
	unsigned int i;

	q->nr_free = 0;
	q->nr_slots = 0;
	for (i = q->num; i--;) {
		if (q->requests[i].state == VIRTQUEUE_FREE)
			q->free[q->nr_free++] = i;
		else
			q->nr_slots += q->requests[i].nr_slots;
	}
}

static void publish_done(struct virtqueue *q)
{
	struct virtqueue_request *request;
	unsigned int i;

	for (i = 0; i < q->num; i++) {
		request = &q->requests[i];
		if (request->state == VIRTQUEUE_DONE)
			publish(q, &request, 1);
	}
}

int virtqueue_start(struct virtqueue *q, struct virtqueue_state *state,
		    struct virtqueue_request *requests, const struct guest_memory *memory,
		    uint64_t features)
{
	if (!init(q, state, memory, features))
		return -EINVAL;
	q->requests = requests;
	if (!valid_state(q))
		return -EINVAL;
	q->running = true;

	finish_publishing(q);
	if (q->in_order) {
		/* What comes first changes nothing for the next process, if it comes to that. */
		virtqueue_forget(requests);
		kill_point();
		state_store(&state->avail, state->used);
		kill_point();
		list_requests(q);
	} else {
		finish_fetching(q);
		list_requests(q);
		publish_done(q);
	}
	q->notified = state->used;
	return 0;
}

void virtqueue_stop(struct virtqueue *q)
{
	q->running = false;
}

void virtqueue_forget(struct virtqueue_request *requests)
{
	unsigned int i;

	for (i = 0; i < VIRTQUEUE_MAX_SIZE; i++) {
		if (requests[i].state != VIRTQUEUE_FREE)
			state_store(&requests[i].state, VIRTQUEUE_FREE);
	}
}

struct virtqueue_request *virtqueue_next_fetched(struct virtqueue *q)
{
	struct virtqueue_request *request, *next = NULL;
	unsigned int i;

	for (i = 0; i < q->num; i++) {
		request = &q->requests[i];
		if (request->state == VIRTQUEUE_FETCHED && request->order >= q->next_order &&
		    (!next || request->order < next->order))
			next = request;
	}
	if (next)
		q->next_order = next->order + 1;
	return next;
}

int virtqueue_add_segment(struct virtqueue *q, struct virtqueue_request *request, uint64_t addr,
			  uint32_t len, bool writable)
{
	struct virtqueue_segment *segment = &request->segments[request->nr_segments];

	/* A chain is no longer than the queue (2.7.5.3.1), also if it is in a table. */
	if (request->nr_segments == q->num)
		return -EINVAL;
	/* Readable segments come first (2.7.4.2). */
	if (!writable && request->nr_readable != request->nr_segments)
		return -EINVAL;
	/* The specification has no meaning for a segment of no bytes. */
	if (!len || !guest_memory_at(q->memory, addr, len))
		return -EINVAL;
	segment->addr = addr;
	segment->len = len;
	request->nr_segments++;
	request->nr_readable += !writable;
	return 0;
}

uint32_t virtqueue_writable(const struct virtqueue_request *request)
{
	uint32_t len = 0;
	unsigned int i;

	/* Cannot overflow, see MAX_LEN. */
	for (i = request->nr_readable; i < request->nr_segments; i++)
		len += request->segments[i].len;
	return len;
}

int virtqueue_fetch(struct virtqueue *q, struct virtqueue_request **result)
{
	struct virtqueue_state *s = q->state;
	struct virtqueue_request *request;
	int ret;

	if (!q->running || !q->ops->available(q))
		return 0;
	/* More buffers than the ring has descriptors. */
	if (!q->nr_free)
		return -EINVAL;
	request = &q->requests[q->free[q->nr_free - 1]];
	request->position = s->avail;
	request->order = s->fetched;
	request->used_len = 0;
	request->nr_segments = 0;
	request->nr_readable = 0;
	request->nr_slots = 1;
	ret = q->ops->fetch(q, request);
	if (ret)
		return ret;
	if (total_len(request) > MAX_LEN)
		return -EINVAL;
	/* Descriptors that are made available again before their buffer is used. */
	if (request->nr_slots > q->num - q->nr_slots)
		return -EINVAL;

	kill_point();
	state_store(&request->state, VIRTQUEUE_FETCHED);
	kill_point();
	state_store(&s->fetched, s->fetched + 1);
	kill_point();
	state_store(&s->avail, q->ops->advance(q, s->avail, 1, request->nr_slots));
	kill_point();
	q->nr_free--;
	q->nr_slots += request->nr_slots;
	q->fifo[q->fifo_tail++ % VIRTQUEUE_MAX_SIZE] = request - q->requests;
	*result = request;
	return 1;
}

/*
 * One used element for @n requests in a row, with the id of the last one (2.7.9, 2.8.8).
 * used_next says that one is being written; the requests say what for.
 */
static void publish(struct virtqueue *q, struct virtqueue_request **requests, unsigned int n)
{
	struct virtqueue_request *last = requests[n - 1];
	struct virtqueue_state *s = q->state;
	unsigned int i, slots = 0;

	for (i = 0; i < n; i++)
		slots += requests[i]->nr_slots;
	state_store(&s->used_next, q->ops->advance(q, s->used, n, slots));
	kill_point();
	for (i = 0; i < n; i++) {
		state_store(&requests[i]->state, VIRTQUEUE_PUBLISHING);
		kill_point();
	}
	q->ops->publish(q, last->id, last->used_len, last->nr_readable < last->nr_segments);
	kill_point();
	for (i = 0; i < n; i++)
		set_free(q, requests[i]);
	state_store(&s->used, s->used_next);
	s->used_elements++;
	q->unasked += slots;
	kill_point();
}

/* The driver takes what the element skips as written completely (2.7.9, 2.8.8). */
static bool may_skip(const struct virtqueue_request *request)
{
	return request->used_len == virtqueue_writable(request);
}

static void publish_in_order(struct virtqueue *q)
{
	struct virtqueue_request *batch[VIRTQUEUE_MAX_SIZE], *request;
	unsigned int n = 0;

	while (q->fifo_head != q->fifo_tail) {
		request = &q->requests[q->fifo[q->fifo_head % VIRTQUEUE_MAX_SIZE]];
		if (request->state != VIRTQUEUE_DONE)
			break;
		if (n && !may_skip(batch[n - 1])) {
			publish(q, batch, n);
			n = 0;
		}
		batch[n++] = request;
		q->fifo_head++;
	}
	if (n)
		publish(q, batch, n);
}

void virtqueue_complete(struct virtqueue *q, struct virtqueue_request *request, uint32_t len)
{
	if (!q->running)
		return;
	request->used_len = len;
	kill_point();
	state_store(&request->state, VIRTQUEUE_DONE);
	kill_point();
	if (q->in_order)
		publish_in_order(q);
	else
		publish(q, &request, 1);
}

bool virtqueue_wants_interrupt(struct virtqueue *q)
{
	bool wants;

	if (!q->running || !q->unasked)
		return false;
	/*
	 * Full barrier: the used element is stored before the driver's wish is read. Pairs
	 * with the driver's, between its wish and its last look at the used ring.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	wants = q->ops->wants_interrupt(q);
	q->notified = q->state->used;
	q->unasked = 0;
	return wants;
}

bool virtqueue_ask_for_kick(struct virtqueue *q)
{
	if (!q->running)
		return false;
	q->ops->ask_for_kick(q);
	/*
	 * Full barrier: we ask before we look for the last time. Pairs with the driver's,
	 * between making a buffer available and looking whether we asked.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return q->ops->available(q);
}
