/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An NVMe controller with one namespace, as NVMe 1.4 has it; section numbers in its files
 * are those of the NVM Express Base Specification 1.4.
 *
 *	nvme.c			the process, and its io_uring
 *	nvme_registers.c	registers, reset and shutdown
 *	nvme_queue.c		the queues, and taking them up when a process has died
 *	nvme_prp.c		the guest's buffers
 *	nvme_admin.c		admin commands: queues, abort, dispatch
 *	nvme_identify.c, nvme_feature.c, nvme_log.c, nvme_event.c
 *				and the larger ones of them
 *	nvme_io.c		I/O commands
 *
 * A command is copied out of its submission queue, is carried out, and has its completion
 * posted; struct nvme_request says how far it is. If the process dies, its successor carries
 * out again what has been fetched and is not NVME_DONE. For a command that reads and writes
 * what it names that is the same as once, because the driver leaves its buffers and
 * blocks alone until it is completed; those that make and delete queues leave their mark
 * on the queue. No completion is posted twice.
 *
 * Not synchronized: nvme.c has one lock.
 */
#ifndef NVME_H
#define NVME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <linux/ioregionfd.h>
#include "device.h"
#include "nvme_state.h"
#include "ring.h"

/* user_data of the two regions: where in the registers they begin. */
#define NVME_REGISTERS_SIZE	0x1000
#define NVME_DOORBELLS_SIZE	0x1000	/* posted writes */

#define NVME_SECTOR_SHIFT	9
#define NVME_SECTOR		512u
#define NVME_MDTS		6	/* pages that a command transfers at most, a power of 2 */
#define NVME_MAX_TRANSFER	(NVME_PAGE << NVME_MDTS)
#define NVME_MAX_IOV		(NVME_MAX_TRANSFER / NVME_PAGE + 1)
#define NVME_MAX_RANGES		256	/* of Dataset Management */
#define NVME_MAX_EVENT_REQUESTS	4

/* In kelvins; the disk of a virtual machine is neither cold nor warm. */
#define NVME_COMPOSITE_TEMPERATURE	313

/* Of a function that returns a status: there will be one later. */
#define NVME_LATER		-1

struct nvme_range {
	uint64_t offset, len;		/* bytes of the image */
};

/* An I/O command while it is carried out. */
struct nvme_io {
	struct nvme_request *request;	/* NULL: the flush of a shutdown */
	unsigned int sq;
	uint8_t opcode;			/* IORING_OP_* */
	int flags;			/* RWF_* */
	uint64_t offset;		/* in the image, in bytes */
	uint64_t len;			/* what remains of this step */
	uint64_t zeroes;		/* bytes to write after it */
	/* IORING_OP_READV and IORING_OP_WRITEV */
	struct iovec iov[NVME_MAX_IOV], *next;
	unsigned int nr_iov;
	/* IORING_OP_FALLOCATE */
	struct nvme_range ranges[NVME_MAX_RANGES];
	unsigned int range, nr_ranges;
};

struct nvme_sq {
	uint16_t free[NVME_MAX_REQUESTS];	/* requests that are NVME_FREE */
	unsigned int nr_free;
	unsigned int in_flight;			/* in the io_uring */
	struct nvme_request *deletion;		/* waits until in_flight is 0 */
};

struct nvme_cq {
	unsigned int waiting;			/* requests that are NVME_DONE */
};

struct nvme {
	struct device *device;
	struct nvme_state *state;
	unsigned int nr_io_queues;		/* also interrupt vectors besides the first */
	uint64_t sectors;
	bool read_only;

	struct nvme_sq sqs[NVME_MAX_QUEUES];
	struct nvme_cq cqs[NVME_MAX_QUEUES];
	struct nvme_request *event_requests[NVME_MAX_EVENT_REQUESTS];
	unsigned int nr_event_requests;

	struct ring ring;
	unsigned int in_flight;			/* of all queues, and the flush */
	bool flushing;				/* for a shutdown */
	struct nvme_io flush;
	struct nvme_io ios[NVME_MAX_QUEUES][NVME_MAX_REQUESTS];

	uint32_t interrupts;			/* to be raised: a bit for each vector */
};

/* nvme_registers.c */

/* Take up what a former process has left behind, or begin anew. */
void nvme_start(struct nvme *nvme);
/* As in struct ioregionfd_ops, for an access at @offset. */
uint16_t nvme_access(struct nvme *nvme, uint64_t offset, const struct ioregionfd_cmd *cmd,
		     uint64_t *value);
/* To be called when something has been completed: go on with what waits for that. */
void nvme_advance(struct nvme *nvme);
/* Something from which only a reset leads out: CSTS.CFS. */
void nvme_fail(struct nvme *nvme);

/* Commands are fetched. */
static inline bool nvme_runs(const struct nvme *nvme)
{
	return nvme->state->cc & NVME_CC_EN && nvme->state->csts == NVME_CSTS_RDY;
}

/* Completions are posted. */
static inline bool nvme_posts(const struct nvme *nvme)
{
	return nvme->state->cc & NVME_CC_EN &&
	       (nvme->state->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) == NVME_CSTS_RDY;
}

/* nvme_queue.c */

/* Could a former process have left these queues behind if it was in its right mind? */
bool nvme_valid_queues(const struct nvme *nvme);
/* Would these be rings in guest memory? */
bool nvme_valid_ring(const struct nvme *nvme, uint64_t addr, uint32_t size, unsigned int shift);
void nvme_start_sq(struct nvme *nvme, unsigned int n);
void nvme_clear_sq(struct nvme *nvme, unsigned int n);
void nvme_clear_cq(struct nvme *nvme, unsigned int n);
/* Complete and repeat what a former process has begun. */
void nvme_take_up_queues(struct nvme *nvme);
/* Doorbells */
void nvme_write_tail(struct nvme *nvme, unsigned int n, uint32_t value);
void nvme_write_head(struct nvme *nvme, unsigned int n, uint32_t value);
/* Begin whatever there is in submission queue @n. */
void nvme_fetch_all(struct nvme *nvme, unsigned int n);
/* A command of submission queue @n has been carried out. */
void nvme_complete(struct nvme *nvme, unsigned int n, struct nvme_request *request,
		   uint32_t status, uint32_t result);

/* nvme_prp.c: these return a status. */

/* Find the @len bytes of a command's buffer, at most NVME_MAX_TRANSFER. */
int nvme_map(const struct nvme *nvme, const struct nvme_command *command, uint32_t len,
	     struct iovec *iov, unsigned int *nr);
int nvme_copy_to_guest(const struct nvme *nvme, const struct nvme_command *command,
		       const void *from, uint32_t len);
int nvme_copy_from_guest(const struct nvme *nvme, const struct nvme_command *command, void *to,
			 uint32_t len);

/*
 * Commands. These return a status or NVME_LATER; *result is 0 before.
 */
int nvme_admin(struct nvme *nvme, struct nvme_request *request, uint32_t *result);
/* Submission queue @n has nothing in flight any more; go on deleting it. */
void nvme_deletion(struct nvme *nvme, unsigned int n);
int nvme_identify(struct nvme *nvme, const struct nvme_command *command);
int nvme_get_feature(struct nvme *nvme, const struct nvme_command *command, uint32_t *result);
int nvme_set_feature(struct nvme *nvme, const struct nvme_command *command, uint32_t *result);
void nvme_reset_features(struct nvme *nvme);
int nvme_get_log(struct nvme *nvme, const struct nvme_command *command);
void nvme_log_error(struct nvme *nvme, unsigned int n, const struct nvme_request *request,
		    uint32_t status);
/* Critical warnings of the health log (5.14.1.2) */
uint8_t nvme_warnings(const struct nvme *nvme);
int nvme_io(struct nvme *nvme, unsigned int n, struct nvme_request *request);

/* nvme_event.c */
enum nvme_event {
	NVME_BAD_DOORBELL,
	NVME_BAD_DOORBELL_VALUE,
	NVME_TEMPERATURE_EVENT,
	NVME_NR_EVENTS
};

int nvme_event_request(struct nvme *nvme, struct nvme_request *request);
/* Returns true if there was an event request with this id, which is completed now. */
bool nvme_abort_event_request(struct nvme *nvme, uint16_t cid);
void nvme_raise_event(struct nvme *nvme, enum nvme_event event);
/* The driver has read log page @page. */
void nvme_unmask_events(struct nvme *nvme, uint8_t page);
void nvme_clear_events(struct nvme *nvme);

/* nvme.c */
void nvme_queue_io(struct nvme *nvme, struct nvme_io *io);
/* nvme_io.c: the io_uring is done with @io. */
void nvme_io_completed(struct nvme *nvme, struct nvme_io *io, int res);

#endif /* NVME_H */
