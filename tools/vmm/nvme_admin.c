// SPDX-License-Identifier: GPL-2.0-only
#include "nvme.h"

#include "kill_point.h"
#include "util.h"

/* cdw10 and cdw11 of those that make queues (5.3, 5.4) */
#define QUEUE_ID(c)		((c)->cdw10 & 0xffff)
#define QUEUE_SIZE(c)		(((c)->cdw10 >> 16) + 1)
#define QUEUE_CONTIGUOUS	BIT(0)
#define QUEUE_INTERRUPTS	BIT(1)
#define QUEUE_HIGH(c)		((c)->cdw11 >> 16)	/* a vector, or a completion queue */

#define ABORT_SQ(c)		((c)->cdw10 & 0xffff)
#define ABORT_CID(c)		((c)->cdw10 >> 16)
#define NOT_ABORTED		1

/* What a queue keeps of the command that made or deleted it; not 0. */
static uint64_t mark(const struct nvme_request *request)
{
	return request->order + 1;
}

static bool valid_id(const struct nvme *nvme, uint32_t id)
{
	return id && id <= nvme->nr_io_queues;
}

/* What the two that make queues check alike. @entry: log2 of its size, as CC has it */
static int check_ring(const struct nvme *nvme, const struct nvme_command *command,
		      unsigned int entry, unsigned int shift)
{
	/* CAP.CQR */
	if (!(command->cdw11 & QUEUE_CONTIGUOUS))
		return NVME_INVALID_FIELD;
	if (QUEUE_SIZE(command) < 2 || QUEUE_SIZE(command) > NVME_MAX_ENTRIES || entry != shift)
		return NVME_INVALID_SIZE;
	if (command->prp1 % NVME_PAGE)
		return NVME_INVALID_PRP_OFFSET;
	if (!nvme_valid_ring(nvme, command->prp1, QUEUE_SIZE(command), shift))
		return NVME_INVALID_FIELD;
	return NVME_SUCCESS;
}

static int create_cq(struct nvme *nvme, const struct nvme_request *request)
{
	const struct nvme_command *command = &request->command;
	uint32_t n = QUEUE_ID(command);
	struct nvme_cq_state *cq;
	int status;

	if (!valid_id(nvme, n))
		return NVME_INVALID_QID;
	cq = &nvme->state->cqs[n];
	if (cq->live)
		return cq->created_by == mark(request) ? NVME_SUCCESS : NVME_INVALID_QID;
	status = check_ring(nvme, command, NVME_CC_IOCQES(nvme->state->cc), NVME_CQE_SHIFT);
	if (status)
		return status;
	if (QUEUE_HIGH(command) > nvme->nr_io_queues)
		return NVME_INVALID_VECTOR;
	cq->size = QUEUE_SIZE(command);
	cq->addr = command->prp1;
	cq->vector = QUEUE_HIGH(command);
	cq->interrupts = !!(command->cdw11 & QUEUE_INTERRUPTS);
	cq->head = 0;
	cq->posted = 0;
	nvme->cqs[n].waiting = 0;
	state_store(&cq->created_by, mark(request));
	kill_point();
	state_store(&cq->live, 1);
	kill_point();
	return NVME_SUCCESS;
}

static int create_sq(struct nvme *nvme, const struct nvme_request *request)
{
	const struct nvme_command *command = &request->command;
	uint32_t n = QUEUE_ID(command), cq = QUEUE_HIGH(command);
	struct nvme_sq_state *sq;
	int status;

	if (!valid_id(nvme, n))
		return NVME_INVALID_QID;
	sq = &nvme->state->sqs[n];
	if (sq->live)
		return sq->created_by == mark(request) ? NVME_SUCCESS : NVME_INVALID_QID;
	status = check_ring(nvme, command, NVME_CC_IOSQES(nvme->state->cc), NVME_SQE_SHIFT);
	if (status)
		return status;
	if (!valid_id(nvme, cq))
		return NVME_INVALID_QID;
	if (!nvme->state->cqs[cq].live)
		return NVME_INVALID_CQ;
	sq->size = QUEUE_SIZE(command);
	sq->addr = command->prp1;
	sq->cq = cq;
	sq->tail = 0;
	sq->fetched = 0;
	nvme_start_sq(nvme, n);
	state_store(&sq->created_by, mark(request));
	kill_point();
	state_store(&sq->live, 1);
	kill_point();
	return NVME_SUCCESS;
}

static int delete_cq(struct nvme *nvme, const struct nvme_request *request)
{
	uint32_t n = QUEUE_ID(&request->command);
	struct nvme_cq_state *cq;
	unsigned int i;

	if (!valid_id(nvme, n))
		return NVME_INVALID_QID;
	cq = &nvme->state->cqs[n];
	if (!cq->live)
		return cq->deleted_by == mark(request) ? NVME_SUCCESS : NVME_INVALID_QID;
	/* Its submission queues go first (5.5). */
	for (i = 1; i <= nvme->nr_io_queues; i++) {
		if (nvme->state->sqs[i].live && nvme->state->sqs[i].cq == n)
			return NVME_INVALID_DELETION;
	}
	state_store(&cq->deleted_by, mark(request));
	kill_point();
	nvme_clear_cq(nvme, n);
	return NVME_SUCCESS;
}

/*
 * What has been fetched is carried out, and completed if there is room (5.6); what has not
 * is forgotten.
 */
static int delete_sq(struct nvme *nvme, struct nvme_request *request)
{
	uint32_t n = QUEUE_ID(&request->command);
	struct nvme_sq_state *sq;

	if (!valid_id(nvme, n))
		return NVME_INVALID_QID;
	sq = &nvme->state->sqs[n];
	if (!sq->live)
		return sq->deleted_by == mark(request) ? NVME_SUCCESS : NVME_INVALID_QID;
	if (nvme->sqs[n].deletion)
		return NVME_INVALID_QID;
	/* nvme_advance() goes on with it. */
	nvme->sqs[n].deletion = request;
	return NVME_LATER;
}

void nvme_deletion(struct nvme *nvme, unsigned int n)
{
	struct nvme_request *request = nvme->sqs[n].deletion;

	state_store(&nvme->state->sqs[n].deleted_by, mark(request));
	kill_point();
	nvme_clear_sq(nvme, n);
	nvme_complete(nvme, 0, request, NVME_SUCCESS, 0);
	/* There may be a free request of the admin queue now. */
	nvme_fetch_all(nvme, 0);
}

/* Best effort (5.1): only what waits for an event can be taken back. */
static int abort_command(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	if (ABORT_SQ(command) || !nvme_abort_event_request(nvme, ABORT_CID(command)))
		*result = NOT_ABORTED;
	return NVME_SUCCESS;
}

int nvme_admin(struct nvme *nvme, struct nvme_request *request, uint32_t *result)
{
	const struct nvme_command *command = &request->command;

	/* No fused commands, no SGLs (4.2) */
	if (command->flags & (NVME_FUSE | NVME_PSDT))
		return NVME_INVALID_FIELD;
	switch (command->opcode) {
	case NVME_DELETE_SQ:
		return delete_sq(nvme, request);
	case NVME_CREATE_SQ:
		return create_sq(nvme, request);
	case NVME_GET_LOG_PAGE:
		return nvme_get_log(nvme, command);
	case NVME_DELETE_CQ:
		return delete_cq(nvme, request);
	case NVME_CREATE_CQ:
		return create_cq(nvme, request);
	case NVME_IDENTIFY:
		return nvme_identify(nvme, command);
	case NVME_ABORT:
		return abort_command(nvme, command, result);
	case NVME_SET_FEATURES:
		return nvme_set_feature(nvme, command, result);
	case NVME_GET_FEATURES:
		return nvme_get_feature(nvme, command, result);
	case NVME_ASYNC_EVENT:
		return nvme_event_request(nvme, request);
	}
	return NVME_INVALID_OPCODE;
}
