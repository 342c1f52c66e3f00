// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registers (3.1), and what CC asks for: CSTS follows when it has been done (7.3.2, 7.6).
 * A write that is redelivered finds CC as it wants it, and changes nothing.
 */
#include "nvme.h"

#include <stddef.h>
#include <string.h>
#include "kill_point.h"
#include "util.h"

/* CSTS.RDY follows CC.EN after at most so many half seconds. */
#define TIMEOUT		60

void nvme_fail(struct nvme *nvme)
{
	state_store(&nvme->state->csts, nvme->state->csts | NVME_CSTS_CFS);
	kill_point();
}

static void init_admin_queues(struct nvme *nvme)
{
	struct nvme_state *s = nvme->state;
	struct nvme_sq_state *sq = &s->sqs[0];
	struct nvme_cq_state *cq = &s->cqs[0];

	memset(sq, 0, sizeof(*sq));
	memset(cq, 0, sizeof(*cq));
	sq->size = (s->aqa & 0xfff) + 1;
	sq->addr = s->asq;
	cq->size = (s->aqa >> 16 & 0xfff) + 1;
	cq->addr = s->acq;
	cq->interrupts = 1;
	kill_point();
	state_store(&cq->live, 1);
	state_store(&sq->live, 1);
	kill_point();
	nvme_start_sq(nvme, 0);
}

/* CC.EN is set, and CSTS.RDY is to follow. Nothing has been fetched before that. */
static void enable(struct nvme *nvme)
{
	struct nvme_state *s = nvme->state;

	/* What CAP does not offer (3.1.5), and rings that are not there */
	if (NVME_CC_CSS(s->cc) || NVME_CC_MPS(s->cc) || NVME_CC_AMS(s->cc) ||
	    !nvme_valid_ring(nvme, s->asq, (s->aqa & 0xfff) + 1, NVME_SQE_SHIFT) ||
	    !nvme_valid_ring(nvme, s->acq, (s->aqa >> 16 & 0xfff) + 1, NVME_CQE_SHIFT)) {
		nvme_fail(nvme);
		return;
	}
	init_admin_queues(nvme);
	/* Without what an earlier shutdown has left there. */
	state_store(&s->csts, NVME_CSTS_RDY);
	kill_point();
}

static void clear_queues(struct nvme *nvme)
{
	struct nvme_state *s = nvme->state;
	unsigned int n;

	for (n = 0; n < NVME_MAX_QUEUES; n++) {
		nvme_clear_sq(nvme, n);
		nvme_clear_cq(nvme, n);
	}
	memset(s->sqs, 0, sizeof(s->sqs));
	memset(s->cqs, 0, sizeof(s->cqs));
	kill_point();
}

/* CC.EN is clear, and nothing is in flight. AQA, ASQ and ACQ stay (7.3.2). */
static void reset(struct nvme *nvme)
{
	struct nvme_state *s = nvme->state;

	clear_queues(nvme);
	nvme_reset_features(nvme);
	nvme_clear_events(nvme);
	kill_point();
	state_store(&s->csts, 0);
	kill_point();
	state_store(&s->version, NVME_STATE_VERSION);
	kill_point();
	nvme->interrupts = 0;
}

/* Not before all that was in flight, which the flush is to cover. */
static void shut_down(struct nvme *nvme)
{
	if (nvme->in_flight || nvme->flushing)
		return;
	nvme->flushing = true;
	nvme->flush.request = NULL;
	nvme->flush.opcode = IORING_OP_FSYNC;
	nvme_queue_io(nvme, &nvme->flush);
}

static bool has_state(const struct nvme *nvme, uint32_t bits, uint32_t value)
{
	return (nvme->state->csts & bits) == value;
}

void nvme_advance(struct nvme *nvme)
{
	struct nvme_state *s = nvme->state;
	unsigned int n;

	if (!(s->cc & NVME_CC_EN) && !has_state(nvme, NVME_CSTS_RDY | NVME_CSTS_CFS, 0)) {
		if (nvme->in_flight)
			return;
		reset(nvme);
	}
	if (s->cc & NVME_CC_EN && has_state(nvme, NVME_CSTS_RDY | NVME_CSTS_CFS, 0))
		enable(nvme);
	if (NVME_CC_SHN(s->cc) && has_state(nvme, NVME_CSTS_SHST, 0)) {
		state_store(&s->csts, s->csts | NVME_CSTS_SHST_OCCURS);
		kill_point();
	}
	if (has_state(nvme, NVME_CSTS_SHST, NVME_CSTS_SHST_OCCURS))
		shut_down(nvme);
	if (!nvme_posts(nvme))
		return;
	for (n = 1; n <= nvme->nr_io_queues; n++) {
		if (nvme->sqs[n].deletion && !nvme->sqs[n].in_flight)
			nvme_deletion(nvme, n);
	}
}

static void write_cc(struct nvme *nvme, uint32_t value)
{
	struct nvme_state *s = nvme->state;

	value &= NVME_CC_BITS;
	/* Not enabled before it is reset: drivers wait for that (3.1.5). */
	if (!(s->cc & NVME_CC_EN) && !has_state(nvme, NVME_CSTS_RDY | NVME_CSTS_CFS, 0))
		value &= ~NVME_CC_EN;
	state_store(&s->cc, value);
	kill_point();
}

static void set_half(uint64_t *address, bool high, uint32_t value)
{
	uint64_t mask = high ? 0xffffffffULL << 32 : 0xffffffffULL;

	/* The low 12 bits are reserved (3.1.9, 3.1.10). */
	state_store(address, (*address & ~mask) |
			     (high ? (uint64_t)value << 32 : value & ~(NVME_PAGE - 1)));
}

static void write_register(struct nvme *nvme, unsigned int offset, uint32_t value)
{
	struct nvme_state *s = nvme->state;

	switch (offset) {
	case NVME_CC:
		write_cc(nvme, value);
		break;
	case NVME_AQA:
		state_store(&s->aqa, value & 0x0fff0fff);
		break;
	case NVME_ASQ:
	case NVME_ASQ_HIGH:
		set_half(&s->asq, offset == NVME_ASQ_HIGH, value);
		break;
	case NVME_ACQ:
	case NVME_ACQ_HIGH:
		set_half(&s->acq, offset == NVME_ACQ_HIGH, value);
		break;
	}
	/* INTMS and INTMC are not for those who use MSI-X (3.1.3), and there is nothing else. */
	kill_point();
}

static uint32_t read_register(const struct nvme *nvme, unsigned int offset)
{
	const struct nvme_state *s = nvme->state;
	uint64_t cap = NVME_CAP_MQES(NVME_MAX_ENTRIES) | NVME_CAP_CQR | NVME_CAP_TO(TIMEOUT) |
		       NVME_CAP_CSS_NVM;

	switch (offset) {
	case NVME_CAP:
		return cap;
	case NVME_CAP_HIGH:
		return cap >> 32;
	case NVME_VS:
		return NVME_VERSION;
	case NVME_CC:
		return s->cc;
	case NVME_CSTS:
		return s->csts;
	case NVME_AQA:
		return s->aqa;
	case NVME_ASQ:
		return s->asq;
	case NVME_ASQ_HIGH:
		return s->asq >> 32;
	case NVME_ACQ:
		return s->acq;
	case NVME_ACQ_HIGH:
		return s->acq >> 32;
	}
	return 0;
}

/* Tails at even numbers, heads at odd ones (3.1.24, 3.1.25); reading them means nothing. */
static void access_doorbell(struct nvme *nvme, unsigned int number, uint32_t value)
{
	if (!nvme_posts(nvme))
		return;
	if (number % 2)
		nvme_write_head(nvme, number / 2, value & 0xffff);
	else
		nvme_write_tail(nvme, number / 2, value & 0xffff);
}

uint16_t nvme_access(struct nvme *nvme, uint64_t offset, const struct ioregionfd_cmd *cmd,
		     uint64_t *value)
{
	unsigned int size = 1U << (cmd->flags & IOREGIONFD_CMD_SIZE_MASK), i;

	*value = 0;
	/* 32 bits, or 64, which are twice 32 (3.1). Otherwise there is no register. */
	if (size < 4 || offset % 4)
		return IOREGIONFD_STATUS_DONE;
	for (i = 0; i < size; i += 4) {
		if (cmd->cmd == IOREGIONFD_CMD_READ) {
			if (offset + i < NVME_DOORBELLS)
				*value |= (uint64_t)read_register(nvme, offset + i) << 8 * i;
		} else if (offset + i < NVME_DOORBELLS) {
			write_register(nvme, offset + i, cmd->data >> 8 * i);
		} else {
			access_doorbell(nvme, (offset + i - NVME_DOORBELLS) / 4,
					cmd->data >> 8 * i);
		}
	}
	nvme_advance(nvme);
	return IOREGIONFD_STATUS_DONE;
}

void nvme_start(struct nvme *nvme)
{
	struct nvme_state *s = nvme->state;

	if (!s->version) {
		reset(nvme);
	} else if (s->version != NVME_STATE_VERSION) {
		nvme_fail(nvme);
	} else if (nvme_posts(nvme)) {
		if (nvme_valid_queues(nvme))
			nvme_take_up_queues(nvme);
		else
			nvme_fail(nvme);
	} else {
		/* It has no queues yet, or none any more, whatever was left behind. */
		clear_queues(nvme);
	}
	nvme_advance(nvme);
}
