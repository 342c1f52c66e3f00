// SPDX-License-Identifier: GPL-2.0-only
/*
 * SCSI requests on /dev/vhost-scsi, from virtqueues of this program, to a RAM disk of the
 * kernel's target. There is only the split layout, and requests complete in any order.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <scsi/scsi.h>
#include <sys/ioctl.h>
#include <linux/virtio_scsi.h>
#include "../kselftest_harness.h"
#include "device.h"
#include "scsi_target.h"

#define DEVICE		"/dev/vhost-scsi"
#define RING_SIZE	64
#define SLOTS		RING_SIZE
#define SLOT_BLOCKS	(SCSI_BLOCKS / SLOTS)
#define HEADER		sizeof(struct virtio_scsi_cmd_req)
#define RESPONSE	sizeof(struct virtio_scsi_cmd_resp)
#define CDB_SIZE	10
#define INQUIRY_SIZE	36
#define POISON		0xa5

/* Ring counters begin shortly before they overflow. */
#define FIRST_INDEX	(0x10000 - 2 * RING_SIZE)

/* glibc's header has the same numbers, but shifted. */
#define STATUS_GOOD		0
#define STATUS_CHECK_CONDITION	2
#define SENSE_CURRENT		0x70
#define ASC_INVALID_OPCODE	0x20
#define ASC_OUT_OF_RANGE	0x21

/* Answer to INQUIRY if there is no such unit */
#define TYPE_NOT_CONNECTED	0x3f

enum { CONTROL, EVENT, REQUEST, QUEUES };

/* A request. Each has its own blocks of the disk, so that the order does not matter. */
struct slot {
	uint8_t *out, *in;	/* in the guest's memory */
	bool busy;
	bool write;
	uint32_t block, blocks;
};

struct guest {
	struct device device;
	struct memory memory;
	struct ring ring[QUEUES];
	struct queue queue[QUEUES];
	uint64_t features;
	bool legacy;
	struct slot slots[SLOTS];
	unsigned int lost;	/* requests that the device will not return */
	unsigned long overtaken;
	uint8_t disk[SCSI_BLOCKS * SCSI_BLOCK];
	uint32_t words;		/* state of the generator of written data */
};

static struct virtio_scsi_cmd_req *header(struct slot *slot)
{
	return (void *)slot->out;
}

static struct virtio_scsi_cmd_resp *response(struct slot *slot)
{
	return (void *)slot->in;
}

static int endpoint(struct guest *guest, unsigned long request)
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

static int start(struct guest *guest, struct ring_kind kind, bool legacy)
{
	size_t out = HEADER + SLOT_BLOCKS * SCSI_BLOCK, in = RESPONSE + SLOT_BLOCKS * SCSI_BLOCK;

	guest->legacy = legacy;
	guest->features = kind_features(kind) | BIT(VIRTIO_SCSI_F_HOTPLUG);
	if (legacy)
		guest->features &= ~BIT(VIRTIO_F_VERSION_1);
	if (device_open(&guest->device, DEVICE) || memory_create(&guest->memory) ||
	    device_features(&guest->device, guest->features) ||
	    device_memory(&guest->device, &guest->memory))
		return -1;
	/* Slots follow each other, and are together larger than a region of the memory. */
	for (struct slot *slot = guest->slots; slot < guest->slots + SLOTS; slot++) {
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
	return endpoint(guest, VHOST_SCSI_SET_ENDPOINT);
}

static void end(struct guest *guest)
{
	device_close(&guest->device);
	for (int i = CONTROL; i < QUEUES; i++) {
		queue_destroy(&guest->queue[i]);
		ring_destroy(&guest->ring[i]);
	}
	memory_destroy(&guest->memory);
}

/* The framing of a request does not matter, except to legacy devices. */
static unsigned int cut(struct guest *guest, const uint8_t *at, size_t size, size_t first,
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

static struct slot *free_slot(struct guest *guest)
{
	unsigned int first = random() % SLOTS;

	for (unsigned int i = 0; i < SLOTS; i++) {
		struct slot *slot = &guest->slots[(first + i) % SLOTS];

		if (!slot->busy)
			return slot;
	}
	return NULL;
}

static void prepare(struct slot *slot, const uint8_t *cdb)
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

/* Number of bytes to read and to write, headers included */
static bool add(struct guest *guest, struct slot *slot, size_t out, size_t in)
{
	struct segment segments[8];
	unsigned int n;

	memset(slot->in, POISON, in);
	n = cut(guest, slot->out, out, HEADER, false, segments);
	n += cut(guest, slot->in, in, RESPONSE, true, segments + n);
	slot->busy = ring_add(&guest->ring[REQUEST], segments, n, slot - guest->slots);
	return slot->busy;
}

static void kick_if_needed(struct guest *guest, int queue)
{
	if (ring_kick_needed(&guest->ring[queue]))
		queue_kick(&guest->queue[queue]);
}

/* ring_get() expects the oldest buffer: move the one that the device used next to the front. */
static void find_used(struct guest *guest)
{
	struct ring *ring = &guest->ring[REQUEST];
	const struct vring_used *used = ring->device;
	struct ring_buffer found;
	unsigned int i = 0;

	if (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == ring->used)
		return;
	while (i < ring->count &&
	       ring_buffer(ring, i)->id != used->ring[ring->used % ring->num].id)
		i++;
	if (!i || i == ring->count)
		return;
	guest->overtaken++;
	for (found = *ring_buffer(ring, i); i; i--)
		*ring_buffer(ring, i) = *ring_buffer(ring, i - 1);
	*ring_buffer(ring, 0) = found;
}

/* Returns 1 if @slot is done, 0 if none is, or -1 if the device is wrong. */
static int get(struct guest *guest, struct slot **slot)
{
	uint32_t token, len;
	int ret;

	find_used(guest);
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

/* Add a command, and wait until it is done. */
static struct slot *command(struct guest *guest, const uint8_t *cdb, size_t in)
{
	struct slot *slot = free_slot(guest), *done;
	int ret;

	if (!slot)
		return NULL;
	prepare(slot, cdb);
	if (!add(guest, slot, HEADER, RESPONSE + in))
		return NULL;
	ring_call_always(&guest->ring[REQUEST]);
	kick_if_needed(guest, REQUEST);
	do {
		ret = get(guest, &done);
	} while (!ret && queue_wait_call(&guest->queue[REQUEST]));
	return ret > 0 && done == slot ? slot : NULL;
}

static bool good(struct slot *slot)
{
	const struct virtio_scsi_cmd_resp *r = response(slot);

	if (r->response == VIRTIO_SCSI_S_OK && r->status == STATUS_GOOD &&
	    !r->resid && !r->sense_len)
		return true;
	fprintf(stderr, "# response %u, status %u, resid %u, sense %02x %02x\n", r->response,
		r->status, r->resid, r->sense[2], r->sense[12]);
	return false;
}

static bool illegal(struct slot *slot, uint8_t asc)
{
	const struct virtio_scsi_cmd_resp *r = response(slot);

	return r->response == VIRTIO_SCSI_S_OK && r->status == STATUS_CHECK_CONDITION &&
		r->sense_len >= 14 && r->sense[0] == SENSE_CURRENT &&
		r->sense[2] == ILLEGAL_REQUEST && r->sense[12] == asc;
}

/* A disk that has changed reports that once, instead of executing a command. */
static int ready(struct guest *guest)
{
	const uint8_t cdb[CDB_SIZE] = { TEST_UNIT_READY };

	for (int i = 0; i < 4; i++) {
		struct slot *slot = command(guest, cdb, 0);

		if (!slot)
			return -1;
		if (response(slot)->status == STATUS_GOOD)
			return good(slot) ? 0 : -1;
	}
	return -1;
}

static struct slot *inquire(struct guest *guest)
{
	const uint8_t cdb[CDB_SIZE] = { INQUIRY, [4] = INQUIRY_SIZE };
	struct slot *slot = command(guest, cdb, INQUIRY_SIZE);

	return slot && good(slot) ? slot : NULL;
}

static void set_range(uint8_t *cdb, uint32_t block, uint16_t blocks)
{
	block = htonl(block);
	blocks = htons(blocks);
	memcpy(cdb + 2, &block, sizeof(block));
	memcpy(cdb + 7, &blocks, sizeof(blocks));
}

/* Add a request to read some blocks, or to write them. */
static bool transfer(struct guest *guest)
{
	struct slot *slot = free_slot(guest);
	uint8_t cdb[CDB_SIZE] = { READ_10 };
	size_t size;

	if (!slot)
		return false;
	if (random() % 2)
		cdb[0] = WRITE_10;
	prepare(slot, cdb);
	slot->write = cdb[0] == WRITE_10;
	slot->blocks = 1 + random() % SLOT_BLOCKS;
	slot->block = (slot - guest->slots) * SLOT_BLOCKS +
		random() % (SLOT_BLOCKS - slot->blocks + 1);
	set_range(header(slot)->cdb, slot->block, slot->blocks);
	size = slot->blocks * SCSI_BLOCK;
	if (!slot->write)
		return add(guest, slot, HEADER, RESPONSE + size);

	for (size_t i = 0; i < size; i += sizeof(guest->words)) {
		guest->words = guest->words * 1664525 + 1013904223;
		memcpy(slot->out + HEADER + i, &guest->words, sizeof(guest->words));
	}
	return add(guest, slot, HEADER + size, RESPONSE);
}

static unsigned int transfers(struct guest *guest, unsigned int most)
{
	unsigned int n = 0;

	while (n < most && transfer(guest))
		n++;
	return n;
}

static int check(struct guest *guest, struct slot *slot)
{
	uint8_t *blocks = guest->disk + slot->block * SCSI_BLOCK;
	size_t size = slot->blocks * SCSI_BLOCK;

	if (!good(slot))
		return -1;
	if (slot->write) {
		memcpy(blocks, slot->out + HEADER, size);
	} else if (memcmp(blocks, slot->in + RESPONSE, size)) {
		fprintf(stderr, "# wrong data in %u blocks from %u\n", slot->blocks, slot->block);
		return -1;
	}
	return 0;
}

/* Take completed requests back. Returns how many, or -1 if anything is wrong. */
static int take(struct guest *guest)
{
	struct slot *slot;
	int ret, n = 0;

	while ((ret = get(guest, &slot)) > 0) {
		if (check(guest, slot))
			return -1;
		n++;
	}
	return ret ?: n;
}

/* All outstanding requests come back, if we look at the ring on interrupts only. */
static int pass(struct guest *guest)
{
	struct ring *ring = &guest->ring[REQUEST];

	kick_if_needed(guest, REQUEST);
	while (ring->count > guest->lost) {
		int n;

		ring_call_at(ring, 1 + random() % (ring->count - guest->lost));
		n = take(guest);
		if (n < 0)
			return -1;
		if (!n && !queue_wait_call(&guest->queue[REQUEST])) {
			fprintf(stderr, "# %u requests are missing\n", ring->count - guest->lost);
			return -1;
		}
	}
	return 0;
}

static int traffic(struct guest *guest, unsigned int requests)
{
	for (unsigned int n = 0; n < requests;) {
		unsigned int added = transfers(guest, 1 + random() % SLOTS);

		if (!added || pass(guest))
			return -1;
		n += added;
	}
	return 0;
}

static bool untouched(const uint8_t *at, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (at[i] != POISON)
			return false;
	return true;
}

/* A request on the control queue, in a slot's memory */
static struct slot *control(struct guest *guest, const void *request, size_t out, size_t in)
{
	struct slot *slot = free_slot(guest);
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
	kick_if_needed(guest, CONTROL);
	ring_call_always(ring);
	do {
		ret = ring_get(ring, &token, &len);
	} while (!ret && queue_wait_call(&guest->queue[CONTROL]));
	return ret > 0 && !len ? slot : NULL;
}

static bool add_event(struct guest *guest, struct slot *slot)
{
	struct segment segment = {
		memory_gpa(&guest->memory, slot->in), sizeof(struct virtio_scsi_event), true
	};

	memset(slot->in, POISON, segment.len);
	return ring_add(&guest->ring[EVENT], &segment, 1, 0);
}

/* Does this event come? */
static bool event_is(struct guest *guest, struct slot *slot, uint32_t what, uint32_t reason)
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

TEST(features)
{
	const uint64_t version_1 = BIT(VIRTIO_F_VERSION_1);
	struct device device;
	struct ring ring = { .num = 48 };
	struct queue queue = { .device = &device, .index = REQUEST, .ring = &ring };

	if (access(DEVICE, F_OK))
		SKIP(return, "there is no " DEVICE);
	ASSERT_EQ(0, device_open(&device, DEVICE));
	ASSERT_EQ(version_1, device.offered & version_1);
	ASSERT_EQ(0, device.offered & LAYOUT_BITS);

	/* like a feature that nobody knows */
	ASSERT_EQ(-1, device_features(&device, version_1 | BIT(63)));
	ASSERT_EQ(EOPNOTSUPP, errno);
	for (int i = 0; i < 2; i++) {
		uint64_t features = i ? version_1 : 0;

		ASSERT_EQ(-1, device_features(&device, features | BIT(VIRTIO_F_RING_PACKED)));
		ASSERT_EQ(EOPNOTSUPP, errno);
		ASSERT_EQ(-1, device_features(&device, features | BIT(VIRTIO_F_IN_ORDER)));
		ASSERT_EQ(EOPNOTSUPP, errno);
		ASSERT_EQ(-1, device_features(&device, features | LAYOUT_BITS));
		ASSERT_EQ(EOPNOTSUPP, errno);
	}

	/* a size that only packed rings can have */
	ASSERT_EQ(-1, queue_num(&queue, ring.num));
	ASSERT_EQ(EINVAL, errno);
	ASSERT_EQ(-1, queue_set_base(&queue, RING_WRAP << 16 | RING_WRAP));
	ASSERT_EQ(EINVAL, errno);

	ASSERT_EQ(0, device_features(&device, version_1));
	device_close(&device);
}

/*
 * A device has all of its virtqueues in one allocation. With this many it has the largest
 * possible size, provided that they do not contain what the other layouts need.
 */
#define MAX_IO_VQS	"/sys/module/vhost_scsi/parameters/max_io_vqs"

TEST(many_virtqueues)
{
	int file = open(MAX_IO_VQS, O_RDWR | O_CLOEXEC), error;
	char before[16];
	struct device device;
	ssize_t n;

	if (file < 0)
		SKIP(return, "there is no " MAX_IO_VQS);
	n = read(file, before, sizeof(before));
	ASSERT_LT(0, n);
	ASSERT_EQ(3, pwrite(file, "200", 3, 0));
	error = device_open(&device, DEVICE) ? errno : 0;
	ASSERT_EQ(n, pwrite(file, before, n, 0));
	EXPECT_EQ(0, error) {
		TH_LOG("%s", strerror(error));
	}
	if (!error)
		device_close(&device);
	close(file);
}

FIXTURE(scsi)
{
	struct guest guest;
};

FIXTURE_VARIANT(scsi)
{
	struct ring_kind kind;
	bool legacy;
};

FIXTURE_VARIANT_ADD(scsi, direct) { };
FIXTURE_VARIANT_ADD(scsi, direct_event_idx) { .kind.event_idx = true };
FIXTURE_VARIANT_ADD(scsi, indirect) { .kind.indirect = true };
FIXTURE_VARIANT_ADD(scsi, indirect_event_idx) { .kind = { .indirect = true, .event_idx = true } };
FIXTURE_VARIANT_ADD(scsi, legacy) { .legacy = true };

FIXTURE_SETUP(scsi)
{
	if (access(DEVICE, F_OK))
		SKIP(return, "there is no " DEVICE);
	ASSERT_EQ(0, scsi_target_create());
	ASSERT_EQ(0, start(&self->guest, variant->kind, variant->legacy)) {
		TH_LOG("%s", strerror(errno));
	}
	ASSERT_EQ(0, ready(&self->guest));
}

FIXTURE_TEARDOWN(scsi)
{
	for (int i = CONTROL; i < QUEUES; i++)
		EXPECT_EQ(0, queue_errors(&self->guest.queue[i]));
	end(&self->guest);
	EXPECT_EQ(0, scsi_target_destroy());
}

TEST_F(scsi, inquiry)
{
	struct slot *slot = inquire(&self->guest);

	ASSERT_NE(NULL, slot);
	ASSERT_EQ(TYPE_DISK, slot->in[RESPONSE]);
	ASSERT_EQ(0, memcmp(slot->in + RESPONSE + 8, "LIO-ORG RAMDISK-MCP", 19));
}

TEST_F(scsi, read_capacity)
{
	const uint8_t cdb[CDB_SIZE] = { READ_CAPACITY };
	const uint32_t expected[2] = { htonl(SCSI_BLOCKS - 1), htonl(SCSI_BLOCK) };
	struct slot *slot = command(&self->guest, cdb, sizeof(expected));

	ASSERT_NE(NULL, slot);
	ASSERT_TRUE(good(slot));
	ASSERT_EQ(0, memcmp(slot->in + RESPONSE, expected, sizeof(expected)));
}

/* Data is read as written, while rings and their counters wrap around. */
TEST_F(scsi, read_write)
{
	struct guest *guest = &self->guest;

	ASSERT_EQ(0, traffic(guest, 10 * RING_SIZE));
	/* When requests overtake others is up to the target's workers: wait until some did. */
	for (int i = 0; i < 200 && !guest->overtaken; i++)
		ASSERT_EQ(0, traffic(guest, RING_SIZE));
	ASSERT_LT(0, guest->overtaken);
	ASSERT_GT(FIRST_INDEX, guest->ring[REQUEST].used);
}

TEST_F(scsi, check_condition)
{
	const uint8_t unknown[CDB_SIZE] = { 0xc0 };
	struct guest *guest = &self->guest;
	struct slot *slot;

	ASSERT_EQ(0, traffic(guest, RING_SIZE));
	slot = command(guest, unknown, 0);
	ASSERT_NE(NULL, slot);
	ASSERT_TRUE(illegal(slot, ASC_INVALID_OPCODE));
	ASSERT_EQ(0, traffic(guest, RING_SIZE));
}

/* Interrupts come where they are wanted, and nowhere else. */
TEST_F(scsi, interrupts)
{
	struct guest *guest = &self->guest;
	struct queue *queue = &guest->queue[REQUEST];
	struct ring *ring = &guest->ring[REQUEST];

	for (int i = 0; i < 3 * RING_SIZE; i++) {
		unsigned int n, wanted = i % 6;
		uint64_t calls;

		if (wanted)
			ring_call_at(ring, wanted);
		else
			ring_call_never(ring);
		queue_calls(queue);
		n = transfers(guest, 1 + random() % 6);
		kick_if_needed(guest, REQUEST);
		ASSERT_EQ(0, device_drain(&guest->device));
		calls = queue_calls(queue);
		ASSERT_EQ(n, take(guest));
		/* without EVENT_IDX there may be one for each request */
		if (!variant->kind.event_idx)
			calls = !!calls;
		ASSERT_EQ(wanted && (n >= wanted || !variant->kind.event_idx), calls);
	}
}

/* The device continues where it stopped, with what was added meanwhile. */
TEST_F(scsi, stop_and_start)
{
	struct guest *guest = &self->guest;
	struct queue *queue = &guest->queue[REQUEST];
	struct ring *ring = &guest->ring[REQUEST];

	for (int i = 0; i < 15; i++) {
		uint32_t base;

		transfers(guest, 1 + random() % 6);
		kick_if_needed(guest, REQUEST);
		transfers(guest, 1 + random() % 3);
		ASSERT_EQ(0, endpoint(guest, VHOST_SCSI_CLEAR_ENDPOINT));
		ASSERT_EQ(0, queue_get_base(queue, &base));
		/* requests that were started are completed */
		ASSERT_LE(0, take(guest));
		ASSERT_EQ(ring->used, base);
		ASSERT_EQ((uint16_t)(ring->avail - ring->count), base);

		transfers(guest, 1 + random() % 3);
		queue_kick(queue);
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(0, take(guest));

		ASSERT_EQ(0, queue_setup(queue, base));
		ASSERT_EQ(0, endpoint(guest, VHOST_SCSI_SET_ENDPOINT));
		queue_kick(queue);
		ASSERT_EQ(0, pass(guest));
	}
	ASSERT_EQ(0, traffic(guest, RING_SIZE));
}

/* There is no room for a response: the request is dropped. */
TEST_F(scsi, no_room_for_response)
{
	const uint8_t cdb[CDB_SIZE] = { TEST_UNIT_READY };
	struct guest *guest = &self->guest;
	struct slot *slot;

	for (int i = 0; i < 3; i++) {
		slot = free_slot(guest);
		prepare(slot, cdb);
		ASSERT_TRUE(add(guest, slot, HEADER, RESPONSE - 1));
		guest->lost++;
		/* together with a valid one */
		ASSERT_TRUE(transfer(guest));
		ASSERT_EQ(0, pass(guest));
		ASSERT_EQ(1, queue_errors(&guest->queue[REQUEST]));
		ASSERT_TRUE(untouched(slot->in, RESPONSE - 1));
	}
	ASSERT_EQ(0, traffic(guest, 2 * RING_SIZE));
}

FIXTURE(bad_request)
{
	struct guest guest;
};

FIXTURE_VARIANT(bad_request)
{
	size_t missing;		/* missing bytes of the header */
	uint8_t lun[2];
	uint8_t cdb[CDB_SIZE];
	bool error;
	uint8_t asc;		/* reported by the disk, not by vhost-scsi */
};

FIXTURE_VARIANT_ADD(bad_request, shorter_than_header) {
	.missing = 1, .lun = { 1, SCSI_TARGET }, .error = true
};

FIXTURE_VARIANT_ADD(bad_request, format_of_lun) { .lun = { 2, SCSI_TARGET }, .error = true };
FIXTURE_VARIANT_ADD(bad_request, no_such_target) { .lun = { 1, SCSI_TARGET + 1 } };
FIXTURE_VARIANT_ADD(bad_request, command_too_long) {
	.lun = { 1, SCSI_TARGET }, .cdb = { 0x7f, [7] = 200 }, .error = true
};

FIXTURE_VARIANT_ADD(bad_request, read_beyond_end) {
	.lun = { 1, SCSI_TARGET },
	.cdb = { READ_10, [4] = SCSI_BLOCKS >> 8, [8] = 1 },
	.asc = ASC_OUT_OF_RANGE,
};

FIXTURE_SETUP(bad_request)
{
	const struct ring_kind kind = { .event_idx = true };

	if (access(DEVICE, F_OK))
		SKIP(return, "there is no " DEVICE);
	ASSERT_EQ(0, scsi_target_create());
	ASSERT_EQ(0, start(&self->guest, kind, false)) {
		TH_LOG("%s", strerror(errno));
	}
	ASSERT_EQ(0, ready(&self->guest));
}

FIXTURE_TEARDOWN(bad_request)
{
	EXPECT_EQ(0, queue_errors(&self->guest.queue[REQUEST]));
	end(&self->guest);
	EXPECT_EQ(0, scsi_target_destroy());
}

TEST_F(bad_request, is_answered)
{
	struct guest *guest = &self->guest;
	struct slot *slot, *done;

	ASSERT_EQ(0, traffic(guest, RING_SIZE));
	slot = free_slot(guest);
	prepare(slot, variant->cdb);
	memcpy(header(slot)->lun, variant->lun, sizeof(variant->lun));
	ASSERT_TRUE(add(guest, slot, HEADER - variant->missing, RESPONSE + SCSI_BLOCK));
	ring_call_always(&guest->ring[REQUEST]);
	queue_calls(&guest->queue[REQUEST]);
	kick_if_needed(guest, REQUEST);
	ASSERT_TRUE(queue_wait_call(&guest->queue[REQUEST]));
	ASSERT_EQ(1, get(guest, &done));
	ASSERT_EQ(slot, done);
	ASSERT_TRUE(variant->asc ? illegal(slot, variant->asc) :
		    response(slot)->response == VIRTIO_SCSI_S_BAD_TARGET);
	ASSERT_TRUE(untouched(slot->in + RESPONSE, SCSI_BLOCK));
	ASSERT_EQ(variant->error, queue_errors(&guest->queue[REQUEST]));
	ASSERT_EQ(0, traffic(guest, RING_SIZE));
}

/* An unmapped descriptor stops the device until it has been corrected. */
TEST_F(scsi, bad_address)
{
	struct guest *guest = &self->guest;
	struct queue *queue = &guest->queue[REQUEST];
	struct ring *ring = &guest->ring[REQUEST];

	for (int i = 0; i < 3; i++) {
		uint64_t *address, was;

		ASSERT_TRUE(transfer(guest));
		address = ring_addr(ring, 0, 0);
		was = *address;
		*address = MEMORY_GPA + MEMORY_SIZE;
		ASSERT_TRUE(transfer(guest));
		kick_if_needed(guest, REQUEST);
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(0, take(guest));
		ASSERT_LE(1, queue_errors(queue));

		*address = was;
		queue_kick(queue);
		ASSERT_EQ(0, pass(guest));
		ASSERT_EQ(0, traffic(guest, RING_SIZE));
	}
}

TEST_F(scsi, control)
{
	const struct virtio_scsi_ctrl_an_req query = {
		.type = VIRTIO_SCSI_T_AN_QUERY,
		.lun = { 1, SCSI_TARGET },
		.event_requested = 2,
	};
	struct virtio_scsi_ctrl_tmf_req manage = {
		.type = VIRTIO_SCSI_T_TMF,
		.lun = { 1, SCSI_TARGET },
	};
	struct guest *guest = &self->guest;
	struct virtio_scsi_ctrl_an_resp answer;
	struct slot *slot;

	for (int i = 0; i < 3 * RING_SIZE; i++) {
		switch (i % 3) {
		case 0:
			slot = control(guest, &query, sizeof(query), sizeof(answer));
			ASSERT_NE(NULL, slot);
			memcpy(&answer, slot->in, sizeof(answer));
			ASSERT_EQ(VIRTIO_SCSI_S_OK, answer.response);
			ASSERT_EQ(0, answer.event_actual);
			break;
		case 1:
			manage.subtype = VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET;
			slot = control(guest, &manage, sizeof(manage), 1);
			ASSERT_NE(NULL, slot);
			ASSERT_EQ(VIRTIO_SCSI_S_FUNCTION_SUCCEEDED, slot->in[0]);
			break;
		case 2:
			manage.subtype = VIRTIO_SCSI_T_TMF_QUERY_TASK;
			slot = control(guest, &manage, sizeof(manage), 1);
			ASSERT_NE(NULL, slot);
			ASSERT_EQ(VIRTIO_SCSI_S_FUNCTION_REJECTED, slot->in[0]);
			break;
		}
	}
	ASSERT_EQ(0, ready(guest));
	ASSERT_EQ(0, traffic(guest, RING_SIZE));
}

/* The disk is unplugged and plugged. A guest that listens gets the events, or hears of a loss. */
TEST_F(scsi, events)
{
	struct guest *guest = &self->guest;
	struct slot *slot = &guest->slots[0], *done;

	for (int i = 0; i < 3; i++) {
		ASSERT_TRUE(add_event(guest, slot));
		ASSERT_EQ(0, scsi_target_unplug());
		ASSERT_TRUE(event_is(guest, slot, VIRTIO_SCSI_T_TRANSPORT_RESET,
				     VIRTIO_SCSI_EVT_RESET_REMOVED));
		done = inquire(guest);
		ASSERT_NE(NULL, done);
		ASSERT_EQ(TYPE_NOT_CONNECTED, done->in[RESPONSE]);

		ASSERT_EQ(0, scsi_target_plug());
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_TRUE(add_event(guest, slot));
		kick_if_needed(guest, EVENT);
		ASSERT_TRUE(event_is(guest, slot, VIRTIO_SCSI_T_NO_EVENT |
				     VIRTIO_SCSI_T_EVENTS_MISSED, 0));
		ASSERT_EQ(0, ready(guest));
		ASSERT_EQ(0, traffic(guest, RING_SIZE));
	}
}

TEST_HARNESS_MAIN
