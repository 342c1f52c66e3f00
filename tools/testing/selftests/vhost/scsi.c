// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <scsi/scsi.h>
#include <sys/ioctl.h>
#include "scsi.h"

#define SLOT_BLOCKS	(SCSI_BLOCKS / SLOTS)
#define INQUIRY_SIZE	36
#define POISON		0xa5

/* glibc's header has the same numbers, but shifted. */
#define STATUS_GOOD		0
#define STATUS_CHECK_CONDITION	2
#define SENSE_CURRENT		0x70

struct virtio_scsi_cmd_req *scsi_header(struct scsi_slot *slot)
{
	return (void *)slot->out;
}

struct virtio_scsi_cmd_resp *scsi_response(struct scsi_slot *slot)
{
	return (void *)slot->in;
}

int scsi_endpoint(struct scsi_guest *guest, unsigned long request)
{
	struct vhost_scsi_target target = {
		.abi_version = VHOST_SCSI_ABI_VERSION,
		.vhost_wwpn = SCSI_TARGET_WWPN,
	};

	return ioctl(guest->device.fd, request, &target);
}

/* As if this many buffers had been used before */
static void begin_at(struct ring *ring, uint16_t index)
{
	struct vring_avail *avail = ring->driver;
	struct vring_used *used = ring->device;
	__virtio16 *avail_event = (void *)&used->ring[ring->num];

	ring->avail = index;
	ring->used = index;
	avail->idx = index;
	used->idx = index;
	*avail_event = index;
	ring_call_always(ring);
}

int scsi_start(struct scsi_guest *guest, struct ring_kind kind, bool legacy)
{
	size_t out = HEADER + SLOT_BLOCKS * SCSI_BLOCK, in = RESPONSE + SLOT_BLOCKS * SCSI_BLOCK;

	guest->legacy = legacy;
	guest->features = kind_features(kind) | BIT(VIRTIO_SCSI_F_HOTPLUG);
	if (legacy)
		guest->features &= ~BIT(VIRTIO_F_VERSION_1);
	if (device_open(&guest->device, SCSI_DEVICE) || memory_create(&guest->memory) ||
	    device_features(&guest->device, guest->features) ||
	    device_memory(&guest->device, &guest->memory))
		return -1;
	/* Slots follow each other, and are together larger than a region of the memory. */
	for (struct scsi_slot *slot = guest->slots; slot < guest->slots + SLOTS; slot++) {
		slot->out = memory_alloc(&guest->memory, out, 1);
		slot->in = memory_alloc(&guest->memory, in, 1);
		if (!slot->out || !slot->in)
			return -1;
	}
	for (int i = CONTROL; i < QUEUES; i++) {
		if (ring_create(&guest->ring[i], &guest->memory, kind, RING_SIZE) ||
		    queue_create(&guest->queue[i], &guest->device, i, &guest->ring[i]))
			return -1;
		begin_at(&guest->ring[i], FIRST_INDEX);
		if (queue_setup(&guest->queue[i], FIRST_INDEX))
			return -1;
	}
	return scsi_endpoint(guest, VHOST_SCSI_SET_ENDPOINT);
}

void scsi_end(struct scsi_guest *guest)
{
	device_close(&guest->device);
	for (int i = CONTROL; i < QUEUES; i++) {
		queue_destroy(&guest->queue[i]);
		ring_destroy(&guest->ring[i]);
	}
	memory_destroy(&guest->memory);
}

/* The framing of a request does not matter, except to legacy devices. */
static unsigned int cut(struct scsi_guest *guest, const uint8_t *at, size_t size, size_t first,
			bool write, struct segment *segments)
{
	unsigned int n = guest->legacy ? 1 + (size > first) : 1 + random() % 4;

	for (unsigned int i = 0; i < n; i++) {
		size_t len = size;

		if (i + 1 < n)
			len = guest->legacy ? first : 1 + random() % (size - (n - i - 1));
		segments[i] = (struct segment) { memory_gpa(&guest->memory, at), len, write };
		at += len;
		size -= len;
	}
	return n;
}

struct scsi_slot *scsi_free_slot(struct scsi_guest *guest)
{
	unsigned int first = random() % SLOTS;

	for (unsigned int i = 0; i < SLOTS; i++) {
		struct scsi_slot *slot = &guest->slots[(first + i) % SLOTS];

		if (!slot->busy)
			return slot;
	}
	return NULL;
}

void scsi_prepare(struct scsi_slot *slot, const uint8_t *cdb)
{
	struct virtio_scsi_cmd_req request = {
		.lun = { 1, SCSI_TARGET },
		.task_attr = VIRTIO_SCSI_S_SIMPLE,
	};

	memcpy(request.cdb, cdb, CDB_SIZE);
	memcpy(slot->out, &request, HEADER);
	slot->write = false;
	slot->blocks = 0;
}

bool scsi_add(struct scsi_guest *guest, struct scsi_slot *slot, size_t out, size_t in)
{
	struct segment segments[8];
	unsigned int n;

	memset(slot->in, POISON, in);
	n = cut(guest, slot->out, out, HEADER, false, segments);
	n += cut(guest, slot->in, in, RESPONSE, true, segments + n);
	slot->busy = ring_add(&guest->ring[REQUEST], segments, n, slot - guest->slots);
	return slot->busy;
}

void scsi_kick_if_needed(struct scsi_guest *guest, int queue)
{
	if (ring_kick_needed(&guest->ring[queue]))
		queue_kick(&guest->queue[queue]);
}

/*
 * ring_get() expects the oldest buffer: move the one that the device used next to the front. If
 * there is none now, ring_get() must not look for it either: it might find one that is not there.
 */
static bool find_used(struct scsi_guest *guest)
{
	struct ring *ring = &guest->ring[REQUEST];
	const struct vring_used *used = ring->device;
	struct ring_buffer found;
	unsigned int i = 0;

	if (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == ring->used)
		return false;
	while (i < ring->count &&
	       ring_buffer(ring, i)->id != used->ring[ring->used % ring->num].id)
		i++;
	/* of what is not outstanding at all, ring_get() has something to say */
	if (!i || i == ring->count)
		return true;
	guest->overtaken++;
	for (found = *ring_buffer(ring, i); i; i--)
		*ring_buffer(ring, i) = *ring_buffer(ring, i - 1);
	*ring_buffer(ring, 0) = found;
	return true;
}

int scsi_get(struct scsi_guest *guest, struct scsi_slot **slot)
{
	uint32_t token, len;
	int ret;

	if (!find_used(guest))
		return 0;
	ret = ring_get(&guest->ring[REQUEST], &token, &len);
	if (ret <= 0)
		return ret;
	*slot = &guest->slots[token];
	if (len || !(*slot)->busy) {
		fprintf(stderr, "# request %u: %u bytes, %s\n", token, len,
			(*slot)->busy ? "outstanding" : "not outstanding");
		return -1;
	}
	(*slot)->busy = false;
	return 1;
}

struct scsi_slot *scsi_command(struct scsi_guest *guest, const uint8_t *cdb, size_t in)
{
	struct scsi_slot *slot = scsi_free_slot(guest), *done;
	int ret;

	if (!slot)
		return NULL;
	scsi_prepare(slot, cdb);
	if (!scsi_add(guest, slot, HEADER, RESPONSE + in))
		return NULL;
	ring_call_always(&guest->ring[REQUEST]);
	scsi_kick_if_needed(guest, REQUEST);
	do {
		ret = scsi_get(guest, &done);
	} while (!ret && queue_wait_call(&guest->queue[REQUEST]));
	return ret > 0 && done == slot ? slot : NULL;
}

bool scsi_good(struct scsi_slot *slot)
{
	const struct virtio_scsi_cmd_resp *r = scsi_response(slot);

	if (r->response == VIRTIO_SCSI_S_OK && r->status == STATUS_GOOD &&
	    !r->resid && !r->sense_len)
		return true;
	fprintf(stderr, "# response %u, status %u, resid %u, sense %02x %02x\n", r->response,
		r->status, r->resid, r->sense[2], r->sense[12]);
	return false;
}

bool scsi_illegal(struct scsi_slot *slot, uint8_t asc)
{
	const struct virtio_scsi_cmd_resp *r = scsi_response(slot);

	return r->response == VIRTIO_SCSI_S_OK && r->status == STATUS_CHECK_CONDITION &&
		r->sense_len >= 14 && r->sense[0] == SENSE_CURRENT &&
		r->sense[2] == ILLEGAL_REQUEST && r->sense[12] == asc;
}

/* A disk that has changed reports that once, instead of executing a command. */
int scsi_ready(struct scsi_guest *guest)
{
	const uint8_t cdb[CDB_SIZE] = { TEST_UNIT_READY };

	for (int i = 0; i < 4; i++) {
		struct scsi_slot *slot = scsi_command(guest, cdb, 0);

		if (!slot)
			return -1;
		if (scsi_response(slot)->status == STATUS_GOOD)
			return scsi_good(slot) ? 0 : -1;
	}
	return -1;
}

struct scsi_slot *scsi_inquire(struct scsi_guest *guest)
{
	const uint8_t cdb[CDB_SIZE] = { INQUIRY, [4] = INQUIRY_SIZE };
	struct scsi_slot *slot = scsi_command(guest, cdb, INQUIRY_SIZE);

	return slot && scsi_good(slot) ? slot : NULL;
}

static void set_range(uint8_t *cdb, uint32_t block, uint16_t blocks)
{
	block = htonl(block);
	blocks = htons(blocks);
	memcpy(cdb + 2, &block, sizeof(block));
	memcpy(cdb + 7, &blocks, sizeof(blocks));
}

bool scsi_transfer(struct scsi_guest *guest)
{
	struct scsi_slot *slot = scsi_free_slot(guest);
	uint8_t cdb[CDB_SIZE] = { READ_10 };
	size_t size;

	if (!slot)
		return false;
	if (random() % 2)
		cdb[0] = WRITE_10;
	scsi_prepare(slot, cdb);
	slot->write = cdb[0] == WRITE_10;
	slot->blocks = 1 + random() % SLOT_BLOCKS;
	slot->block = (slot - guest->slots) * SLOT_BLOCKS +
		random() % (SLOT_BLOCKS - slot->blocks + 1);
	set_range(scsi_header(slot)->cdb, slot->block, slot->blocks);
	size = slot->blocks * SCSI_BLOCK;
	if (!slot->write)
		return scsi_add(guest, slot, HEADER, RESPONSE + size);

	for (size_t i = 0; i < size; i += sizeof(guest->words)) {
		guest->words = guest->words * 1664525 + 1013904223;
		memcpy(slot->out + HEADER + i, &guest->words, sizeof(guest->words));
	}
	return scsi_add(guest, slot, HEADER + size, RESPONSE);
}

unsigned int scsi_transfers(struct scsi_guest *guest, unsigned int most)
{
	unsigned int n = 0;

	while (n < most && scsi_transfer(guest))
		n++;
	return n;
}

static int check(struct scsi_guest *guest, struct scsi_slot *slot)
{
	uint8_t *blocks = guest->disk + slot->block * SCSI_BLOCK;
	size_t size = slot->blocks * SCSI_BLOCK;

	if (!scsi_good(slot))
		return -1;
	if (slot->write) {
		memcpy(blocks, slot->out + HEADER, size);
	} else if (memcmp(blocks, slot->in + RESPONSE, size)) {
		fprintf(stderr, "# wrong data in %u blocks from %u\n", slot->blocks, slot->block);
		return -1;
	}
	return 0;
}

int scsi_take(struct scsi_guest *guest)
{
	struct scsi_slot *slot;
	int ret, n = 0;

	while ((ret = scsi_get(guest, &slot)) > 0) {
		if (check(guest, slot))
			return -1;
		n++;
	}
	return ret ?: n;
}

/* All outstanding requests come back, if we look at the ring on interrupts only. */
int scsi_pass(struct scsi_guest *guest)
{
	struct ring *ring = &guest->ring[REQUEST];

	scsi_kick_if_needed(guest, REQUEST);
	while (ring->count > guest->lost) {
		int n;

		ring_call_at(ring, 1 + random() % (ring->count - guest->lost));
		n = scsi_take(guest);
		if (n < 0)
			return -1;
		if (!n && !queue_wait_call(&guest->queue[REQUEST])) {
			fprintf(stderr, "# %u requests are missing\n", ring->count - guest->lost);
			return -1;
		}
	}
	return 0;
}

int scsi_traffic(struct scsi_guest *guest, unsigned int requests)
{
	for (unsigned int n = 0; n < requests;) {
		unsigned int added = scsi_transfers(guest, 1 + random() % SLOTS);

		if (!added || scsi_pass(guest))
			return -1;
		n += added;
	}
	return 0;
}

bool scsi_untouched(const uint8_t *at, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (at[i] != POISON)
			return false;
	return true;
}

struct scsi_slot *scsi_control_request(struct scsi_guest *guest, const void *request, size_t out,
				       size_t in)
{
	struct scsi_slot *slot = scsi_free_slot(guest);
	struct ring *ring = &guest->ring[CONTROL];
	struct segment segments[2];
	uint32_t token, len;
	int ret;

	if (!slot)
		return NULL;
	segments[0] = (struct segment) { memory_gpa(&guest->memory, slot->out), out, false };
	segments[1] = (struct segment) { memory_gpa(&guest->memory, slot->in), in, true };
	memcpy(slot->out, request, out);
	memset(slot->in, POISON, in);
	if (!ring_add(ring, segments, 2, 0))
		return NULL;
	scsi_kick_if_needed(guest, CONTROL);
	ring_call_always(ring);
	do {
		ret = ring_get(ring, &token, &len);
	} while (!ret && queue_wait_call(&guest->queue[CONTROL]));
	return ret > 0 && !len ? slot : NULL;
}

bool scsi_add_event(struct scsi_guest *guest, struct scsi_slot *slot)
{
	struct segment segment = {
		memory_gpa(&guest->memory, slot->in), sizeof(struct virtio_scsi_event), true
	};

	memset(slot->in, POISON, segment.len);
	return ring_add(&guest->ring[EVENT], &segment, 1, 0);
}

bool scsi_event_is(struct scsi_guest *guest, struct scsi_slot *slot, uint32_t what,
		   uint32_t reason)
{
	struct virtio_scsi_event event;
	uint32_t token, len;
	int ret;

	ring_call_always(&guest->ring[EVENT]);
	do {
		ret = ring_get(&guest->ring[EVENT], &token, &len);
	} while (!ret && queue_wait_call(&guest->queue[EVENT]));
	memcpy(&event, slot->in, sizeof(event));
	if (ret > 0 && !len && event.event == what && event.reason == reason)
		return true;
	fprintf(stderr, "# event %d: %#x, %#x\n", ret, event.event, event.reason);
	return false;
}
