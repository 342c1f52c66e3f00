/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What of an NVMe controller outlives its process; device_state.h says what that has to
 * stand. All of it is 0 in the beginning.
 */
#ifndef NVME_STATE_H
#define NVME_STATE_H

#include <stdint.h>
#include "nvme_spec.h"

#define NVME_STATE_VERSION	1

#define NVME_MAX_IO_QUEUES	16
#define NVME_MAX_QUEUES		(1 + NVME_MAX_IO_QUEUES)	/* 0: admin */
#define NVME_MAX_ENTRIES	1024	/* in a queue */
#define NVME_MAX_REQUESTS	128	/* fetched from a queue, and not completed */
#define NVME_NR_ERRORS		8	/* in the log */

/*
 * Submission queue. Positions count entries since the queue began, and so never come
 * back to where they have been; modulo the size they are indexes.
 */
struct nvme_sq_state {
	uint32_t live;		/* stored after the other members, cleared before them */
	uint32_t size;
	uint64_t addr;
	uint32_t cq;
	uint32_t tail;		/* index, as the driver wrote it */
	/*
	 * Position of the next command to fetch; stored after the request is
	 * NVME_FETCHED. If there is a request of that order, it is one behind.
	 */
	uint64_t fetched;
	/*
	 * Which admin commands (order + 1) have made and deleted it, so that one that is
	 * carried out twice succeeds twice. Both are stored before live changes.
	 */
	uint64_t created_by;
	uint64_t deleted_by;
};

/* Completion queue */
struct nvme_cq_state {
	uint32_t live;		/* as above */
	uint32_t size;
	uint64_t addr;
	uint32_t vector;
	uint32_t interrupts;	/* enabled? */
	uint32_t head;		/* index, as the driver wrote it */
	uint32_t pad;
	/*
	 * Position of the next entry to post; stored after the entry is in the ring. If a
	 * request is NVME_POSTING there, its entry may be there already, and is written again.
	 */
	uint64_t posted;
	uint64_t created_by;
	uint64_t deleted_by;
};

enum nvme_request_state {
	NVME_FREE,
	NVME_FETCHED,		/* being carried out */
	NVME_DONE,		/* carried out; its entry is not there yet */
	NVME_POSTING,		/* its entry may be there */
};

/*
 * A command that has been fetched; a copy, since the driver may use the entry for
 * another command as soon as a completion tells it that it has been fetched.
 */
struct nvme_request {
	uint32_t state;		/* stored after the other members */
	uint32_t result;	/* set before NVME_DONE, as is status */
	uint32_t status;
	uint32_t pad;
	uint64_t order;		/* position in the submission queue */
	uint64_t posted;	/* position in the completion queue, set before NVME_POSTING */
	struct nvme_command command;
};

/* What Set Features sets. Back to the defaults with each reset (5.21). */
struct nvme_features {
	uint32_t arbitration;
	uint32_t over_temperature, under_temperature;
	uint32_t error_recovery;
	uint32_t no_write_cache;
	uint32_t coalescing;
	uint32_t no_coalescing;		/* a bit for each vector */
	uint32_t atomicity;
	uint32_t events;
};

/* Of the error information log (5.14.1.1) */
struct nvme_error {
	uint64_t count;
	uint16_t sq;
	uint16_t cid;
	uint16_t status;
	uint16_t location;
	uint64_t lba;
	uint32_t nsid;
	uint32_t pad;
};

struct nvme_state {
	/* NVME_STATE_VERSION, stored last when all else is initialized; 0 before. */
	uint32_t version;
	uint32_t cc;
	/*
	 * CSTS. A transition is under way if RDY does not say what CC.EN asks for: RDY is
	 * stored when all else is done, by whoever finishes it.
	 */
	uint32_t csts;
	uint32_t aqa;
	uint64_t asq, acq;
	uint32_t posted;	/* which doorbells have been carried out, see posted.h */
	uint32_t pad;

	struct nvme_features features;
	/*
	 * Events that no command has reported yet: a bit for each enum nvme_event. Those
	 * that are reported are not again before the driver has read a log page.
	 */
	uint32_t events_pending, events_masked;
	/* Since the first start. A command that is carried out twice counts twice. */
	uint64_t sectors_read, sectors_written, reads, writes;
	uint64_t nr_errors;		/* stored after the entry */
	struct nvme_error errors[NVME_NR_ERRORS];

	struct nvme_sq_state sqs[NVME_MAX_QUEUES];
	struct nvme_cq_state cqs[NVME_MAX_QUEUES];
	struct nvme_request requests[NVME_MAX_QUEUES][NVME_MAX_REQUESTS];
};

#endif /* NVME_STATE_H */
