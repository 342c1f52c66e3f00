/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The driver of an NVMe controller, for tests: written from the specification, and with
 * nothing in common with the controller but the numbers in nvme_spec.h.
 *
 * Whatever the controller must not do, such as to complete a command twice, ends the test.
 */
#ifndef NVME_DRIVER_H
#define NVME_DRIVER_H

#include "../nvme_spec.h"
#include "machine.h"

#define NVME_TEST_SECTORS	8192
#define NVME_TEST_QUEUES	4	/* for I/O */
#define NVME_MAX_CIDS		64

struct nvme_ring {
	uint64_t addr;
	unsigned int size;
	unsigned int index;		/* submission: tail; completion: head */
	bool phase;			/* completion: of the next entry */
};

struct nvme_driver {
	struct machine m;
	struct nvme_ring sqs[1 + NVME_TEST_QUEUES], cqs[1 + NVME_TEST_QUEUES];
	bool hold_heads;		/* do not tell the controller what has been taken */
	unsigned int nr_outstanding;
	/* Commands by id, for all queues */
	struct {
		bool outstanding;
		unsigned int sq;
		uint16_t status;
		uint32_t result;
	} commands[NVME_MAX_CIDS];
	unsigned int next_cid;
};

/* Start nothing yet; and with everything, up to @nr_queues pairs of I/O queues */
void nvme_driver_init(struct nvme_driver *d, const char *program);
void nvme_driver_start(struct nvme_driver *d, unsigned int nr_queues, unsigned int size);

/* CC.EN, and wait for what CSTS says to that */
void nvme_disable(struct nvme_driver *d);
void nvme_enable(struct nvme_driver *d, unsigned int size);
uint32_t nvme_wait_csts(struct nvme_driver *d, uint32_t mask, uint32_t value);

/* Make queue pair @n, with interrupt @n; these end the test if that is refused. */
void nvme_create_queues(struct nvme_driver *d, unsigned int n, unsigned int size);
void nvme_delete_queues(struct nvme_driver *d, unsigned int n);
void nvme_alloc_ring(struct nvme_driver *d, struct nvme_ring *ring, unsigned int size);

/* Returns the id of the command. The controller is told by nvme_ring_doorbell(). */
unsigned int nvme_submit(struct nvme_driver *d, unsigned int sq, struct nvme_command command);
void nvme_ring_doorbell(struct nvme_driver *d, unsigned int sq);
/* Take what has been completed; returns how many. */
unsigned int nvme_poll(struct nvme_driver *d);
/* Until no more than @nr are outstanding */
void nvme_wait(struct nvme_driver *d, unsigned int nr);
/* All of it, for one command. Returns its status, without NVME_DNR. */
uint16_t nvme_run(struct nvme_driver *d, unsigned int sq, struct nvme_command command);
/* The result of the last nvme_run() */
uint32_t nvme_result(const struct nvme_driver *d);
uint16_t nvme_status(const struct nvme_driver *d, unsigned int cid);

#endif /* NVME_DRIVER_H */
