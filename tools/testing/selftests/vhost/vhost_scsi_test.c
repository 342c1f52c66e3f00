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
#include "../kselftest_harness.h"
#include "scsi.h"
#include "uffd.h"

/* glibc's header has it shifted. */
#define SAM_STAT_TASK_SET_FULL	0x28

#define ASC_INVALID_OPCODE	0x20
#define ASC_OUT_OF_RANGE	0x21

/* Answer to INQUIRY if there is no such unit */
#define TYPE_NOT_CONNECTED	0x3f

/* Clause: 2.2.2b (split), 6.2a (split). */
TEST(features)
{
	const uint64_t version_1 = BIT(VIRTIO_F_VERSION_1);
	struct device device;
	struct ring ring = { .num = 48 };
	struct queue queue = { .device = &device, .index = REQUEST, .ring = &ring };

	if (access(SCSI_DEVICE, F_OK))
		SKIP(return, "there is no " SCSI_DEVICE);
	ASSERT_EQ(0, device_open(&device, SCSI_DEVICE));
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
	error = device_open(&device, SCSI_DEVICE) ? errno : 0;
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
	struct scsi_guest guest;
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
	if (access(SCSI_DEVICE, F_OK))
		SKIP(return, "there is no " SCSI_DEVICE);
	ASSERT_EQ(0, scsi_target_create());
	ASSERT_EQ(0, scsi_start(&self->guest, variant->kind, variant->legacy)) {
		TH_LOG("%s", strerror(errno));
	}
	ASSERT_EQ(0, scsi_ready(&self->guest));
}

FIXTURE_TEARDOWN(scsi)
{
	for (int i = CONTROL; i < QUEUES; i++)
		EXPECT_EQ(0, queue_errors(&self->guest.queue[i]));
	scsi_end(&self->guest);
	EXPECT_EQ(0, scsi_target_destroy());
}

TEST_F(scsi, inquiry)
{
	struct scsi_slot *slot = scsi_inquire(&self->guest);

	ASSERT_NE(NULL, slot);
	ASSERT_EQ(TYPE_DISK, slot->in[RESPONSE]);
	ASSERT_EQ(0, memcmp(slot->in + RESPONSE + 8, "LIO-ORG RAMDISK-MCP", 19));
}

TEST_F(scsi, read_capacity)
{
	const uint8_t cdb[CDB_SIZE] = { READ_CAPACITY };
	const uint32_t expected[2] = { htonl(SCSI_BLOCKS - 1), htonl(SCSI_BLOCK) };
	struct scsi_slot *slot = scsi_command(&self->guest, cdb, sizeof(expected));

	ASSERT_NE(NULL, slot);
	ASSERT_TRUE(scsi_good(slot));
	ASSERT_EQ(0, memcmp(slot->in + RESPONSE, expected, sizeof(expected)));
}

/* Data is read as written, while rings and their counters wrap around. */
TEST_F(scsi, read_write)
{
	struct scsi_guest *guest = &self->guest;

	ASSERT_EQ(0, scsi_traffic(guest, 10 * RING_SIZE));
	/* When requests overtake others is up to the target's workers: wait until some did. */
	for (int i = 0; i < 200 && !guest->overtaken; i++)
		ASSERT_EQ(0, scsi_traffic(guest, RING_SIZE));
	ASSERT_LT(0, guest->overtaken);
	ASSERT_GT(FIRST_INDEX, guest->ring[REQUEST].used);
}

TEST_F(scsi, check_condition)
{
	const uint8_t unknown[CDB_SIZE] = { 0xc0 };
	struct scsi_guest *guest = &self->guest;
	struct scsi_slot *slot;

	ASSERT_EQ(0, scsi_traffic(guest, RING_SIZE));
	slot = scsi_command(guest, unknown, 0);
	ASSERT_NE(NULL, slot);
	ASSERT_TRUE(scsi_illegal(slot, ASC_INVALID_OPCODE));
	ASSERT_EQ(0, scsi_traffic(guest, RING_SIZE));
}

/*
 * Interrupts come where they are wanted, and nowhere else.
 * Clause: 2.7.7.2b (split), 2.7.7.2d (split).
 */
TEST_F(scsi, interrupts)
{
	struct scsi_guest *guest = &self->guest;
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
		n = scsi_transfers(guest, 1 + random() % 6);
		scsi_kick_if_needed(guest, REQUEST);
		ASSERT_EQ(0, device_drain(&guest->device));
		calls = queue_calls(queue);
		ASSERT_EQ(n, scsi_take(guest));
		/* without EVENT_IDX there may be one for each request */
		if (!variant->kind.event_idx)
			calls = !!calls;
		ASSERT_EQ(wanted && (n >= wanted || !variant->kind.event_idx), calls);
	}
}

/*
 * The device continues where it stopped, with what was added meanwhile.
 * Clause: 2.6.1.1.1a (split).
 */
TEST_F(scsi, stop_and_start)
{
	struct scsi_guest *guest = &self->guest;
	struct queue *queue = &guest->queue[REQUEST];
	struct ring *ring = &guest->ring[REQUEST];

	for (int i = 0; i < 15; i++) {
		uint32_t base;

		scsi_transfers(guest, 1 + random() % 6);
		scsi_kick_if_needed(guest, REQUEST);
		scsi_transfers(guest, 1 + random() % 3);
		ASSERT_EQ(0, scsi_endpoint(guest, VHOST_SCSI_CLEAR_ENDPOINT));
		ASSERT_EQ(0, queue_get_base(queue, &base));
		/* requests that were started are completed */
		ASSERT_LE(0, scsi_take(guest));
		ASSERT_EQ(ring->used, base);
		ASSERT_EQ((uint16_t)(ring->avail - ring->count), base);

		scsi_transfers(guest, 1 + random() % 3);
		queue_kick(queue);
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(0, scsi_take(guest));

		ASSERT_EQ(0, queue_setup(queue, base));
		ASSERT_EQ(0, scsi_endpoint(guest, VHOST_SCSI_SET_ENDPOINT));
		queue_kick(queue);
		ASSERT_EQ(0, scsi_pass(guest));
	}
	ASSERT_EQ(0, scsi_traffic(guest, RING_SIZE));
}

/*
 * A virtqueue ends where user memory does, if the driver has not asked for its event index. It
 * may do that later, and the device can still be stopped: or it would not stop when its file
 * is closed.
 */
TEST_F(scsi, event_idx_comes_later)
{
	struct scsi_guest *guest = &self->guest;
	struct queue *queue = &guest->queue[EVENT];
	uint64_t without = guest->features & ~BIT(VIRTIO_RING_F_EVENT_IDX);
	uint64_t desc = (uintptr_t)queue->ring->desc, device = (uintptr_t)queue->ring->device;
	uint64_t good = (uintptr_t)queue->ring->driver, bad = -4096ULL;
	int ret;

	/* the other ones, as the first change is one that would not matter */
	ret = device_features(&guest->device, guest->features ^ BIT(VIRTIO_RING_F_EVENT_IDX));
	if (ret && errno == EBUSY)
		SKIP(return, "nothing comes later: this kernel's device keeps its features");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, device_features(&guest->device, without));
	while (bad - good > 2) {
		uint64_t middle = (good + (bad - good) / 2) & ~1ULL;

		if (queue_address(queue, desc, middle, device))
			bad = middle;
		else
			good = middle;
	}
	ASSERT_EQ(0, queue_address(queue, desc, good, device));
	ASSERT_EQ(0, device_features(&guest->device, without | BIT(VIRTIO_RING_F_EVENT_IDX)));
	ret = scsi_endpoint(guest, VHOST_SCSI_CLEAR_ENDPOINT);
	ASSERT_EQ(0, device_features(&guest->device, guest->features));
	ASSERT_EQ(0, ret) {
		scsi_endpoint(guest, VHOST_SCSI_CLEAR_ENDPOINT);
	}
	ASSERT_EQ(0, queue_setup(queue, FIRST_INDEX));
	ASSERT_EQ(0, scsi_endpoint(guest, VHOST_SCSI_SET_ENDPOINT));
	ASSERT_EQ(0, scsi_traffic(guest, RING_SIZE));
}

/*
 * A virtqueue that was not set up when the device was started: its requests are refused, as if
 * there were too many.
 */
TEST_F(scsi, set_up_too_late)
{
	const uint8_t cdb[CDB_SIZE] = { TEST_UNIT_READY };
	struct scsi_guest *guest = &self->guest;
	struct queue *queue = &guest->queue[REQUEST];
	uint64_t desc = (uintptr_t)queue->ring->desc, device = (uintptr_t)queue->ring->device;
	struct scsi_slot *slot;

	ASSERT_EQ(0, scsi_endpoint(guest, VHOST_SCSI_CLEAR_ENDPOINT));
	ASSERT_EQ(0, queue_address(queue, 0, 0, 0));
	ASSERT_EQ(0, scsi_endpoint(guest, VHOST_SCSI_SET_ENDPOINT));
	/* whose addresses are still checked */
	ASSERT_EQ(-1, queue_address(queue, desc, -4096ULL, device));
	ASSERT_EQ(0, queue_ring_address(queue));
	slot = scsi_command(guest, cdb, 0);
	ASSERT_NE(NULL, slot);
	ASSERT_EQ(SAM_STAT_TASK_SET_FULL, scsi_response(slot)->status);
	ASSERT_EQ(1, queue_errors(queue));

	ASSERT_EQ(0, scsi_endpoint(guest, VHOST_SCSI_CLEAR_ENDPOINT));
	ASSERT_EQ(0, scsi_endpoint(guest, VHOST_SCSI_SET_ENDPOINT));
	ASSERT_EQ(0, scsi_ready(guest));
	ASSERT_EQ(0, scsi_traffic(guest, RING_SIZE));
}

/* There is no room for a response: the request is dropped. */
TEST_F(scsi, no_room_for_response)
{
	const uint8_t cdb[CDB_SIZE] = { TEST_UNIT_READY };
	struct scsi_guest *guest = &self->guest;
	struct scsi_slot *slot;

	for (int i = 0; i < 3; i++) {
		slot = scsi_free_slot(guest);
		scsi_prepare(slot, cdb);
		ASSERT_TRUE(scsi_add(guest, slot, HEADER, RESPONSE - 1));
		guest->lost++;
		/* together with a valid one */
		ASSERT_TRUE(scsi_transfer(guest));
		ASSERT_EQ(0, scsi_pass(guest));
		ASSERT_EQ(1, queue_errors(&guest->queue[REQUEST]));
		ASSERT_TRUE(scsi_untouched(slot->in, RESPONSE - 1));
	}
	ASSERT_EQ(0, scsi_traffic(guest, 2 * RING_SIZE));
}

static void *remove_call(void *queue)
{
	return queue_set_call(queue, -1) ? queue : NULL;
}

struct removal {
	struct queue *queue;
	pthread_t thread;
};

/* Begin to remove the eventfd while the device waits for what the guest wants to be told of. */
static void begin_removal(void *arg)
{
	struct removal *removal = arg;

	pthread_create(&removal->thread, NULL, remove_call, removal->queue);
	usleep(200000);
}

/* The eventfd that the device is about to signal is removed. */
TEST(call_removed_meanwhile)
{
	static struct scsi_guest guest;
	const struct ring_kind kind = { .event_idx = true };
	struct queue *queue = &guest.queue[REQUEST];
	struct ring *ring = &guest.ring[REQUEST];
	struct removal removal = { .queue = queue };
	void *event, *driver, *failed;
	struct uffd uffd;

	if (access(SCSI_DEVICE, F_OK))
		SKIP(return, "there is no " SCSI_DEVICE);
	ASSERT_EQ(0, scsi_target_create());
	ASSERT_EQ(0, scsi_start(&guest, kind, false));
	/* The used event, alone in its page */
	event = memory_alloc(&guest.memory, 2 * MEMORY_PAGE, MEMORY_PAGE);
	ASSERT_NE(NULL, event);
	event += MEMORY_PAGE;
	driver = event - sizeof(struct vring_avail) - RING_SIZE * sizeof(uint16_t);
	ASSERT_EQ(0, scsi_endpoint(&guest, VHOST_SCSI_CLEAR_ENDPOINT));
	memcpy(driver, ring->driver, event - driver);
	ring->driver = driver;
	ASSERT_EQ(0, queue_setup(queue, FIRST_INDEX));
	ASSERT_EQ(0, scsi_endpoint(&guest, VHOST_SCSI_SET_ENDPOINT));
	/* from the second time on, the device looks at the event */
	ASSERT_EQ(0, scsi_ready(&guest));

	ASSERT_EQ(0, uffd_begin(&uffd, event, MEMORY_PAGE, begin_removal, &removal));
	memcpy(uffd.content, &ring->used, sizeof(ring->used));
	queue_calls(queue);
	ASSERT_TRUE(scsi_transfer(&guest));
	queue_kick(queue);
	for (int i = 0; i < 100 && !removal.thread; i++)
		usleep(100000);
	ASSERT_NE(0, removal.thread) {
		TH_LOG("the device has not looked at the event within ten seconds");
	}
	ASSERT_EQ(0, pthread_join(removal.thread, &failed));
	ASSERT_EQ(NULL, failed);
	/* not before the page has come: the device is about to signal only then */
	ASSERT_EQ(0, device_drain(&guest.device));
	ASSERT_EQ(1, queue_calls(queue));
	uffd_end(&uffd);
	ASSERT_EQ(0, queue_set_call(queue, queue->call));
	ASSERT_EQ(0, scsi_pass(&guest));
	ASSERT_EQ(0, scsi_traffic(&guest, RING_SIZE));
	scsi_end(&guest);
	ASSERT_EQ(0, scsi_target_destroy());
}

FIXTURE(bad_request)
{
	struct scsi_guest guest;
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

	if (access(SCSI_DEVICE, F_OK))
		SKIP(return, "there is no " SCSI_DEVICE);
	ASSERT_EQ(0, scsi_target_create());
	ASSERT_EQ(0, scsi_start(&self->guest, kind, false)) {
		TH_LOG("%s", strerror(errno));
	}
	ASSERT_EQ(0, scsi_ready(&self->guest));
}

FIXTURE_TEARDOWN(bad_request)
{
	EXPECT_EQ(0, queue_errors(&self->guest.queue[REQUEST]));
	scsi_end(&self->guest);
	EXPECT_EQ(0, scsi_target_destroy());
}

TEST_F(bad_request, is_answered)
{
	struct scsi_guest *guest = &self->guest;
	struct scsi_slot *slot, *done;

	ASSERT_EQ(0, scsi_traffic(guest, RING_SIZE));
	slot = scsi_free_slot(guest);
	scsi_prepare(slot, variant->cdb);
	memcpy(scsi_header(slot)->lun, variant->lun, sizeof(variant->lun));
	ASSERT_TRUE(scsi_add(guest, slot, HEADER - variant->missing, RESPONSE + SCSI_BLOCK));
	ring_call_always(&guest->ring[REQUEST]);
	queue_calls(&guest->queue[REQUEST]);
	scsi_kick_if_needed(guest, REQUEST);
	ASSERT_TRUE(queue_wait_call(&guest->queue[REQUEST]));
	ASSERT_EQ(1, scsi_get(guest, &done));
	ASSERT_EQ(slot, done);
	ASSERT_TRUE(variant->asc ? scsi_illegal(slot, variant->asc) :
		    scsi_response(slot)->response == VIRTIO_SCSI_S_BAD_TARGET);
	ASSERT_TRUE(scsi_untouched(slot->in + RESPONSE, SCSI_BLOCK));
	ASSERT_EQ(variant->error, queue_errors(&guest->queue[REQUEST]));
	ASSERT_EQ(0, scsi_traffic(guest, RING_SIZE));
}

/* An unmapped descriptor stops the device until it has been corrected. */
TEST_F(scsi, bad_address)
{
	struct scsi_guest *guest = &self->guest;
	struct queue *queue = &guest->queue[REQUEST];
	struct ring *ring = &guest->ring[REQUEST];

	for (int i = 0; i < 3; i++) {
		uint64_t *address, was;

		ASSERT_TRUE(scsi_transfer(guest));
		address = ring_addr(ring, 0, 0);
		was = *address;
		*address = MEMORY_GPA + MEMORY_SIZE;
		ASSERT_TRUE(scsi_transfer(guest));
		scsi_kick_if_needed(guest, REQUEST);
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(0, scsi_take(guest));
		ASSERT_LE(1, queue_errors(queue));

		*address = was;
		queue_kick(queue);
		ASSERT_EQ(0, scsi_pass(guest));
		ASSERT_EQ(0, scsi_traffic(guest, RING_SIZE));
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
	struct scsi_guest *guest = &self->guest;
	struct virtio_scsi_ctrl_an_resp answer;
	struct scsi_slot *slot;

	for (int i = 0; i < 3 * RING_SIZE; i++) {
		switch (i % 3) {
		case 0:
			slot = scsi_control_request(guest, &query, sizeof(query), sizeof(answer));
			ASSERT_NE(NULL, slot);
			memcpy(&answer, slot->in, sizeof(answer));
			ASSERT_EQ(VIRTIO_SCSI_S_OK, answer.response);
			ASSERT_EQ(0, answer.event_actual);
			break;
		case 1:
			manage.subtype = VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET;
			slot = scsi_control_request(guest, &manage, sizeof(manage), 1);
			ASSERT_NE(NULL, slot);
			ASSERT_EQ(VIRTIO_SCSI_S_FUNCTION_SUCCEEDED, slot->in[0]);
			break;
		case 2:
			manage.subtype = VIRTIO_SCSI_T_TMF_QUERY_TASK;
			slot = scsi_control_request(guest, &manage, sizeof(manage), 1);
			ASSERT_NE(NULL, slot);
			ASSERT_EQ(VIRTIO_SCSI_S_FUNCTION_REJECTED, slot->in[0]);
			break;
		}
	}
	ASSERT_EQ(0, scsi_ready(guest));
	ASSERT_EQ(0, scsi_traffic(guest, RING_SIZE));
}

/* The disk is unplugged and plugged. A guest that listens gets the events, or hears of a loss. */
TEST_F(scsi, events)
{
	struct scsi_guest *guest = &self->guest;
	struct scsi_slot *slot = &guest->slots[0], *done;

	for (int i = 0; i < 3; i++) {
		ASSERT_TRUE(scsi_add_event(guest, slot));
		ASSERT_EQ(0, scsi_target_unplug());
		ASSERT_TRUE(scsi_event_is(guest, slot, VIRTIO_SCSI_T_TRANSPORT_RESET,
					  VIRTIO_SCSI_EVT_RESET_REMOVED));
		done = scsi_inquire(guest);
		ASSERT_NE(NULL, done);
		ASSERT_EQ(TYPE_NOT_CONNECTED, done->in[RESPONSE]);

		ASSERT_EQ(0, scsi_target_plug());
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_TRUE(scsi_add_event(guest, slot));
		scsi_kick_if_needed(guest, EVENT);
		ASSERT_TRUE(scsi_event_is(guest, slot, VIRTIO_SCSI_T_NO_EVENT |
					  VIRTIO_SCSI_T_EVENTS_MISSED, 0));
		ASSERT_EQ(0, scsi_ready(guest));
		ASSERT_EQ(0, scsi_traffic(guest, RING_SIZE));
	}
}

TEST_HARNESS_MAIN
