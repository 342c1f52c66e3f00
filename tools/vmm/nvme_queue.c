// SPDX-License-Identifier: GPL-2.0-only
#include "nvme.h"

#include <stddef.h>
#include <string.h>
#include "kill_point.h"
#include "util.h"

bool nvme_valid_ring(const struct nvme *nvme, uint64_t addr, uint32_t size, unsigned int shift)
{
	/* Contiguous and aligned to a page (3.1.9, 3.1.10, 5.3, 5.4) */
	return size >= 2 && size <= NVME_MAX_ENTRIES && !(addr % NVME_PAGE) &&
	       guest_memory_at(&nvme->device->memory, addr, (uint64_t)size << shift);
}

static struct nvme_completion *cq_entry(struct nvme *nvme, unsigned int n, uint64_t position)
{
	const struct nvme_cq_state *cq = &nvme->state->cqs[n];

	/* Checked by nvme_valid_ring() when the queue was made, and memory stays. */
	return guest_memory_at(&nvme->device->memory,
			       cq->addr + (position % cq->size << NVME_CQE_SHIFT),
			       sizeof(struct nvme_completion));
}

/* The phase tag is 1 until the queue wraps (4.6). */
static uint16_t status_field(const struct nvme_cq_state *cq, const struct nvme_request *request)
{
	return request->status << 1 | !(request->posted / cq->size % 2);
}

/* Command identifier, phase and status, which a driver looks at first: the last 4 bytes */
static uint32_t *last_word_at(struct nvme_completion *entry)
{
	return (uint32_t *)((char *)entry + offsetof(struct nvme_completion, cid));
}

/* A ring with one entry less than its size is full (4.1.2). */
static bool cq_full(const struct nvme_cq_state *cq)
{
	return (cq->posted + 1) % cq->size == cq->head;
}

static void set_free(struct nvme *nvme, unsigned int n, struct nvme_request *request)
{
	struct nvme_sq *sq = &nvme->sqs[n];

	state_store(&request->state, NVME_FREE);
	kill_point();
	sq->free[sq->nr_free++] = request - nvme->state->requests[n];
}

/*
 * @request is NVME_POSTING, and no other one at this position. Done twice, because a process
 * died over it, it writes the same entry twice, which a driver cannot tell from once.
 */
static void finish_posting(struct nvme *nvme, unsigned int n, struct nvme_request *request)
{
	struct nvme_sq_state *sq = &nvme->state->sqs[n];
	struct nvme_cq_state *cq = &nvme->state->cqs[sq->cq];
	struct nvme_completion *entry = cq_entry(nvme, sq->cq, request->posted);
	uint32_t last = (uint32_t)status_field(cq, request) << 16 | request->command.cid;

	entry->result = request->result;
	entry->reserved = 0;
	entry->sq_head = sq->fetched % sq->size;
	entry->sq_id = n;
	kill_point();
	/* Release: a driver that sees the phase tag sees the rest; pairs with its barrier. */
	__atomic_store_n(last_word_at(entry), last, __ATOMIC_RELEASE);
	kill_point();
	state_store(&cq->posted, request->posted + 1);
	kill_point();
	set_free(nvme, n, request);
	if (cq->interrupts)
		nvme->interrupts |= 1u << cq->vector;
}

/* @request is NVME_DONE, and there is room. */
static void post(struct nvme *nvme, unsigned int n, struct nvme_request *request)
{
	state_store(&request->posted, nvme->state->cqs[nvme->state->sqs[n].cq].posted);
	kill_point();
	state_store(&request->state, NVME_POSTING);
	kill_point();
	finish_posting(nvme, n, request);
}

/* Would the same command fail again? Not if the image or the driver's wish is the cause. */
static bool permanent(uint32_t status)
{
	return status && status < NVME_WRITE_FAULT && status != NVME_INTERNAL_ERROR &&
	       status != NVME_ABORT_REQUESTED;
}

void nvme_complete(struct nvme *nvme, unsigned int n, struct nvme_request *request,
		   uint32_t status, uint32_t result)
{
	struct nvme_sq_state *sq = &nvme->state->sqs[n];

	kill_point();
	if (status && status != NVME_ABORT_REQUESTED)
		nvme_log_error(nvme, n, request, status);
	request->status = permanent(status) ? status | NVME_DNR : status;
	request->result = result;
	kill_point();
	state_store(&request->state, NVME_DONE);
	kill_point();
	if (nvme->cqs[sq->cq].waiting || cq_full(&nvme->state->cqs[sq->cq]))
		nvme->cqs[sq->cq].waiting++;
	else
		post(nvme, n, request);
}

static void post_waiting_of(struct nvme *nvme, unsigned int n)
{
	struct nvme_request *requests = nvme->state->requests[n];
	unsigned int i, cq = nvme->state->sqs[n].cq;

	for (i = 0; i < NVME_MAX_REQUESTS && nvme->cqs[cq].waiting; i++) {
		if (requests[i].state != NVME_DONE)
			continue;
		if (cq_full(&nvme->state->cqs[cq]))
			return;
		nvme->cqs[cq].waiting--;
		post(nvme, n, &requests[i]);
	}
}

static bool uses(const struct nvme *nvme, unsigned int sq, unsigned int cq)
{
	return nvme->state->sqs[sq].live && nvme->state->sqs[sq].cq == cq;
}

/* There is room: post what waits for it, and fetch what waited for a free request. */
static void post_waiting(struct nvme *nvme, unsigned int cq)
{
	unsigned int n;

	if (!nvme->cqs[cq].waiting)
		return;
	for (n = 0; n <= nvme->nr_io_queues; n++) {
		if (uses(nvme, n, cq))
			post_waiting_of(nvme, n);
	}
	for (n = 0; n <= nvme->nr_io_queues; n++) {
		if (uses(nvme, n, cq))
			nvme_fetch_all(nvme, n);
	}
}

static void begin(struct nvme *nvme, unsigned int n, struct nvme_request *request)
{
	uint32_t result = 0;
	int status;

	status = n ? nvme_io(nvme, n, request) : nvme_admin(nvme, request, &result);
	kill_point();
	if (status != NVME_LATER)
		nvme_complete(nvme, n, request, status, result);
}

/* Copy the next command. The driver may change the entry at any time, so it is read once. */
static struct nvme_request *fetch(struct nvme *nvme, unsigned int n)
{
	struct nvme_sq_state *s = &nvme->state->sqs[n];
	struct nvme_sq *sq = &nvme->sqs[n];
	struct nvme_request *request;

	if (!nvme_runs(nvme) || !s->live || sq->deletion || !sq->nr_free ||
	    s->fetched % s->size == s->tail)
		return NULL;
	request = &nvme->state->requests[n][sq->free[sq->nr_free - 1]];
	memcpy(&request->command,
	       guest_memory_at(&nvme->device->memory,
			       s->addr + (s->fetched % s->size << NVME_SQE_SHIFT),
			       sizeof(request->command)),
	       sizeof(request->command));
	request->order = s->fetched;
	kill_point();
	state_store(&request->state, NVME_FETCHED);
	kill_point();
	state_store(&s->fetched, s->fetched + 1);
	kill_point();
	sq->nr_free--;
	return request;
}

/* Ends, because a queue of completions gets full: only another access makes room in it. */
void nvme_fetch_all(struct nvme *nvme, unsigned int n)
{
	struct nvme_request *request;

	while ((request = fetch(nvme, n)))
		begin(nvme, n, request);
}

/* Writes to a queue that does not exist, and values outside of it, are ignored (4.1). */
void nvme_write_tail(struct nvme *nvme, unsigned int n, uint32_t value)
{
	struct nvme_sq_state *sq;

	if (n > nvme->nr_io_queues || !nvme->state->sqs[n].live) {
		nvme_raise_event(nvme, NVME_BAD_DOORBELL);
		return;
	}
	sq = &nvme->state->sqs[n];
	if (value >= sq->size) {
		nvme_raise_event(nvme, NVME_BAD_DOORBELL_VALUE);
		return;
	}
	state_store(&sq->tail, value);
	kill_point();
	nvme_fetch_all(nvme, n);
}

void nvme_write_head(struct nvme *nvme, unsigned int n, uint32_t value)
{
	struct nvme_cq_state *cq;
	uint32_t used;

	if (n > nvme->nr_io_queues || !nvme->state->cqs[n].live) {
		nvme_raise_event(nvme, NVME_BAD_DOORBELL);
		return;
	}
	cq = &nvme->state->cqs[n];
	/* A driver takes no more entries than there are. */
	used = (cq->posted % cq->size + cq->size - cq->head) % cq->size;
	if (value >= cq->size || (value + cq->size - cq->head) % cq->size > used) {
		nvme_raise_event(nvme, NVME_BAD_DOORBELL_VALUE);
		return;
	}
	state_store(&cq->head, value);
	kill_point();
	post_waiting(nvme, n);
}

/* Making and clearing */

static void list_requests(struct nvme *nvme, unsigned int n)
{
	struct nvme_sq *sq = &nvme->sqs[n];
	unsigned int i;

	sq->nr_free = 0;
	for (i = NVME_MAX_REQUESTS; i--;) {
		if (nvme->state->requests[n][i].state == NVME_FREE)
			sq->free[sq->nr_free++] = i;
	}
}

/* A new queue, without requests */
void nvme_start_sq(struct nvme *nvme, unsigned int n)
{
	nvme->sqs[n].deletion = NULL;
	list_requests(nvme, n);
}

void nvme_clear_sq(struct nvme *nvme, unsigned int n)
{
	struct nvme_request *requests = nvme->state->requests[n];
	struct nvme_sq_state *sq = &nvme->state->sqs[n];
	unsigned int i;

	state_store(&sq->live, 0);
	kill_point();
	for (i = 0; i < NVME_MAX_REQUESTS; i++) {
		if (requests[i].state == NVME_FREE)
			continue;
		/* Whatever a former process has left behind may be cleared here. */
		if (requests[i].state == NVME_DONE && sq->cq < NVME_MAX_QUEUES &&
		    nvme->cqs[sq->cq].waiting)
			nvme->cqs[sq->cq].waiting--;
		state_store(&requests[i].state, NVME_FREE);
	}
	kill_point();
	nvme_start_sq(nvme, n);
}

void nvme_clear_cq(struct nvme *nvme, unsigned int n)
{
	state_store(&nvme->state->cqs[n].live, 0);
	kill_point();
	nvme->cqs[n].waiting = 0;
}

/* Taking up */

static bool valid_sq(const struct nvme *nvme, unsigned int n)
{
	const struct nvme_sq_state *sq = &nvme->state->sqs[n];
	const struct nvme_request *request;
	unsigned int i;

	if (!sq->live)
		return true;
	if (!nvme_valid_ring(nvme, sq->addr, sq->size, NVME_SQE_SHIFT) || sq->tail >= sq->size ||
	    sq->cq > nvme->nr_io_queues || !nvme->state->cqs[sq->cq].live)
		return false;
	/* There is a number after that of each request, see repeat(). */
	if (sq->fetched == UINT64_MAX)
		return false;
	for (i = 0; i < NVME_MAX_REQUESTS; i++) {
		request = &nvme->state->requests[n][i];
		if (request->state == NVME_FREE)
			continue;
		if (request->state > NVME_POSTING || request->order > sq->fetched)
			return false;
	}
	return true;
}

static bool valid_cq(const struct nvme *nvme, unsigned int n)
{
	const struct nvme_cq_state *cq = &nvme->state->cqs[n];

	return !cq->live || (nvme_valid_ring(nvme, cq->addr, cq->size, NVME_CQE_SHIFT) &&
			     cq->head < cq->size && cq->vector <= nvme->nr_io_queues);
}

bool nvme_valid_queues(const struct nvme *nvme)
{
	unsigned int n;

	if (!nvme->state->sqs[0].live || !nvme->state->cqs[0].live)
		return false;
	for (n = 0; n < NVME_MAX_QUEUES; n++) {
		if (n > nvme->nr_io_queues &&
		    (nvme->state->sqs[n].live || nvme->state->cqs[n].live))
			return false;
		if (!valid_cq(nvme, n) || !valid_sq(nvme, n))
			return false;
	}
	return true;
}

/*
 * The process died in post(): before it moved the position, when the entry may be there or
 * not, or after that.
 */
static void take_up_posting(struct nvme *nvme, unsigned int n, struct nvme_request *request)
{
	if (nvme->state->cqs[nvme->state->sqs[n].cq].posted == request->posted)
		finish_posting(nvme, n, request);
	else
		set_free(nvme, n, request);
}

static void take_up_requests(struct nvme *nvme, unsigned int n)
{
	struct nvme_request *requests = nvme->state->requests[n];
	struct nvme_sq_state *sq = &nvme->state->sqs[n];
	unsigned int i;

	for (i = 0; i < NVME_MAX_REQUESTS; i++) {
		if (requests[i].state == NVME_FREE)
			continue;
		/* It died between making this one NVME_FETCHED and moving the position. */
		if (requests[i].order == sq->fetched) {
			state_store(&sq->fetched, sq->fetched + 1);
			kill_point();
		}
		if (requests[i].state == NVME_POSTING)
			take_up_posting(nvme, n, &requests[i]);
		else if (requests[i].state == NVME_DONE)
			nvme->cqs[sq->cq].waiting++;
	}
	list_requests(nvme, n);
}

static void repeat(struct nvme *nvme, unsigned int n)
{
	struct nvme_request *requests = nvme->state->requests[n], *next;
	uint64_t from = 0;
	unsigned int i;

	/* In the order in which they were fetched */
	for (;;) {
		next = NULL;
		for (i = 0; i < NVME_MAX_REQUESTS; i++) {
			if (requests[i].state == NVME_FETCHED && requests[i].order >= from &&
			    (!next || requests[i].order < next->order))
				next = &requests[i];
		}
		if (!next)
			return;
		from = next->order + 1;
		begin(nvme, n, next);
	}
}

void nvme_take_up_queues(struct nvme *nvme)
{
	unsigned int n;

	/* First, because it is not counted yet what waits for room. */
	for (n = 0; n <= nvme->nr_io_queues; n++) {
		if (!nvme->state->sqs[n].live)
			nvme_clear_sq(nvme, n);
	}
	for (n = 0; n <= nvme->nr_io_queues; n++) {
		if (nvme->state->sqs[n].live)
			take_up_requests(nvme, n);
	}
	for (n = 0; n <= nvme->nr_io_queues; n++) {
		if (nvme->state->sqs[n].live)
			post_waiting_of(nvme, n);
	}
	/* It may have died between an entry and its interrupt. */
	for (n = 0; n <= nvme->nr_io_queues; n++) {
		const struct nvme_cq_state *cq = &nvme->state->cqs[n];

		if (cq->live && cq->interrupts && cq->posted % cq->size != cq->head)
			nvme->interrupts |= 1u << cq->vector;
	}
	for (n = nvme->nr_io_queues + 1; n--;) {
		if (nvme->state->sqs[n].live)
			repeat(nvme, n);
	}
	for (n = 0; n <= nvme->nr_io_queues; n++)
		nvme_fetch_all(nvme, n);
}
