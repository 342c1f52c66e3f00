/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's side of /dev/vhost-scsi: virtqueues, and requests to a disk, whose content is
 * known. Requests complete in any order.
 */
#ifndef _SELFTESTS_VHOST_SCSI_H
#define _SELFTESTS_VHOST_SCSI_H

#include <linux/virtio_scsi.h>
#include "device.h"
#include "scsi_target.h"

#define SCSI_DEVICE	"/dev/vhost-scsi"
#define RING_SIZE	64
#define SLOTS		RING_SIZE
#define HEADER		sizeof(struct virtio_scsi_cmd_req)
#define RESPONSE	sizeof(struct virtio_scsi_cmd_resp)
#define CDB_SIZE	10

/* Ring counters begin shortly before they overflow. */
#define FIRST_INDEX	(0x10000 - 2 * RING_SIZE)

enum { CONTROL, EVENT, REQUEST, QUEUES };

/* A request. Each has its own blocks of the disk, so that the order does not matter. */
struct scsi_slot {
	uint8_t *out, *in;	/* in the guest's memory */
	bool busy;
	bool write;
	uint32_t block, blocks;
};

struct scsi_guest {
	struct device device;
	struct memory memory;
	struct ring ring[QUEUES];
	struct queue queue[QUEUES];
	uint64_t features;
	bool legacy;
	struct scsi_slot slots[SLOTS];
	unsigned int lost;	/* requests that the device will not return */
	unsigned long overtaken;
	uint8_t disk[SCSI_BLOCKS * SCSI_BLOCK];
	uint32_t words;		/* state of the generator of written data */
};

/* In a slot: what the device reads first, and what it writes first */
struct virtio_scsi_cmd_req *scsi_header(struct scsi_slot *slot);
struct virtio_scsi_cmd_resp *scsi_response(struct scsi_slot *slot);

/* The device with all virtqueues; @guest is zeroed. */
int scsi_start(struct scsi_guest *guest, struct ring_kind kind, bool legacy);
void scsi_end(struct scsi_guest *guest);

/* VHOST_SCSI_SET_ENDPOINT or VHOST_SCSI_CLEAR_ENDPOINT */
int scsi_endpoint(struct scsi_guest *guest, unsigned long request);

/* A slot without a request, or NULL; a request in it, with nothing to read or write yet */
struct scsi_slot *scsi_free_slot(struct scsi_guest *guest);
void scsi_prepare(struct scsi_slot *slot, const uint8_t *cdb);

/* Add a request of which so many bytes are read and written, headers included. */
bool scsi_add(struct scsi_guest *guest, struct scsi_slot *slot, size_t out, size_t in);

void scsi_kick_if_needed(struct scsi_guest *guest, int queue);

/* Returns 1 if @slot is done, 0 if none is, or -1 if the device is wrong. */
int scsi_get(struct scsi_guest *guest, struct scsi_slot **slot);

/* Add a command, and wait until it is done. Returns its slot, or NULL. */
struct scsi_slot *scsi_command(struct scsi_guest *guest, const uint8_t *cdb, size_t in);

/* Was it done, or refused as an illegal request, with this additional sense code? */
bool scsi_good(struct scsi_slot *slot);
bool scsi_illegal(struct scsi_slot *slot, uint8_t asc);

/* Wait until the disk no longer reports that it has changed. */
int scsi_ready(struct scsi_guest *guest);

/* INQUIRY. Returns its slot, or NULL. */
struct scsi_slot *scsi_inquire(struct scsi_guest *guest);

/* Add a request to read or write some blocks; or so many requests, as far as there is room. */
bool scsi_transfer(struct scsi_guest *guest);
unsigned int scsi_transfers(struct scsi_guest *guest, unsigned int most);

/* Take completed transfers back, and check them. Returns how many, or -1 if anything is wrong. */
int scsi_take(struct scsi_guest *guest);

/* Kick the device if it wants that. All outstanding transfers must come back. */
int scsi_pass(struct scsi_guest *guest);

/* At least this many transfers, a slot each */
int scsi_traffic(struct scsi_guest *guest, unsigned int requests);

/* Has the device written nothing here? */
bool scsi_untouched(const uint8_t *at, size_t size);

/* A request on the control queue, until it is done. Returns the slot that it was in, or NULL. */
struct scsi_slot *scsi_control_request(struct scsi_guest *guest, const void *request, size_t out,
				       size_t in);

/* Add a buffer for an event; does this event come in it? */
bool scsi_add_event(struct scsi_guest *guest, struct scsi_slot *slot);
bool scsi_event_is(struct scsi_guest *guest, struct scsi_slot *slot, uint32_t what,
		   uint32_t reason);

#endif
