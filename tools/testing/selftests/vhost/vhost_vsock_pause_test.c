// SPDX-License-Identifier: GPL-2.0-only
/*
 * A /dev/vhost-vsock that pauses with prefetched descriptors: it takes no more packets while as
 * many answers are waiting as the virtqueue has descriptors, until the guest takes these. Nobody
 * listens to the packets here, so each one is answered, with the port that it came from. Each
 * packet exists in two versions, from two ports: one in either half of a region, and in a shadow
 * of the region the other way round.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "../kselftest_harness.h"
#include "vsock.h"

#define VERSION		(MEMORY_REGION / 2)
#define STRIDE		64UL
#define PACKETS		4096

struct pause {
	struct vsock_guest guest;
	uint8_t *packets, *shadow;
	struct ring spare;		/* the place to move to */
	bool half, shadowed;		/* which version the device must see from now on */
	uint32_t added, used, answered;
	bool version[PACKETS];		/* seen in the packets that it used */
};

static uint32_t port_of(uint32_t number, bool version)
{
	return 10000 + number + (version ? PACKETS : 0);
}

/* As many packets as there is room for */
static void pause_fill(struct pause *pause)
{
	struct vsock_guest *guest = &pause->guest;
	struct segment segments[4];
	unsigned int n;
	size_t at;

	do {
		at = pause->added * STRIDE;
		for (int version = 0; version <= 1; version++) {
			uint32_t port = port_of(pause->added, version);

			vsock_packet(guest, pause->packets + version * VERSION + at, port);
			vsock_packet(guest, pause->shadow + !version * VERSION + at, port);
		}
		n = vsock_cut(guest, pause->packets + pause->half * VERSION + at, HEADER, false,
			      segments);
		if (!ring_add(&guest->ring[TX], segments, n, pause->added))
			break;
		pause->added++;
	} while (true);
}

/* Take the packets that the device has used by now. Returns how many, or -1. */
static int pause_take(struct pause *pause)
{
	uint32_t token, len;
	int ret, n = 0;

	while ((ret = ring_get(&pause->guest.ring[TX], &token, &len)) > 0) {
		if (token != pause->used || len)
			return -1;
		pause->version[pause->used++] = pause->half ^ pause->shadowed;
		n++;
	}
	return ret ?: n;
}

/* Take this many answers. The device must then use as many packets. */
static int pause_pass(struct pause *pause, unsigned int answers)
{
	struct vsock_guest *guest = &pause->guest;
	struct virtio_vsock_hdr header;
	uint32_t token, len, port;

	for (unsigned int i = 0; i < answers; i++) {
		struct segment segment = { .len = SLOT_SIZE, .write = true };

		token = guest->buffers[RX]++;
		segment.gpa = memory_gpa(&guest->memory, vsock_slot(guest, RX, token));
		if (!ring_add(&guest->ring[RX], &segment, 1, token))
			return -1;
	}
	queue_kick(&guest->queue[RX]);
	if (device_drain(&guest->device))
		return -1;
	for (unsigned int i = 0; i < answers; i++) {
		if (ring_get(&guest->ring[RX], &token, &len) != 1 || len != HEADER) {
			fprintf(stderr, "# %u answers instead of %u\n", i, answers);
			return -1;
		}
		memcpy(&header, vsock_slot(guest, RX, token), HEADER);
		port = port_of(pause->answered, pause->version[pause->answered]);
		if (header.op != VIRTIO_VSOCK_OP_RST || header.dst_port != port) {
			fprintf(stderr, "# packet %u: from port %u, not %u\n", pause->answered,
				header.dst_port, port);
			return -1;
		}
		pause->answered++;
	}
	return pause_take(pause) == answers ? 0 : -1;
}

static int pause_start(struct pause *pause, struct ring_kind kind)
{
	struct vsock_guest *guest = &pause->guest;
	int n;

	memset(pause, 0, sizeof(*pause));
	if (vsock_start(guest, kind) ||
	    ring_create(&pause->spare, &guest->memory, kind, RING_SIZE))
		return -1;
	pause->packets = memory_alloc(&guest->memory, MEMORY_REGION, MEMORY_REGION);
	pause->shadow = mmap(NULL, MEMORY_REGION, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!pause->packets || pause->shadow == MAP_FAILED)
		return -1;
	do {
		pause_fill(pause);
		queue_kick(&guest->queue[TX]);
		n = device_drain(&guest->device) ? -1 : pause_take(pause);
	} while (n > 0);
	/* the ring cannot tell that it is full */
	return n || pause->used != RING_SIZE ? -1 : 0;
}

static void pause_end(struct pause *pause)
{
	munmap(pause->shadow, MEMORY_REGION);
	ring_destroy(&pause->spare);
	vsock_end(&pause->guest);
}

/* From now on, the descriptors refer to the other version. */
static void turn_descs(struct pause *pause)
{
	struct ring *ring = &pause->guest.ring[TX];
	struct vring_desc *desc = ring->desc;

	for (unsigned int i = 0; i < ring->num; i++)
		desc[i].addr ^= VERSION;
	pause->half = !pause->half;
}

/* Move the ring, and wipe where it was. */
static int move_ring(struct pause *pause)
{
	struct ring *ring = &pause->guest.ring[TX], *spare = &pause->spare;
	void **from[] = { &ring->desc, &ring->driver, &ring->device };
	void **to[] = { &spare->desc, &spare->driver, &spare->device };

	for (unsigned int i = 0; i < ARRAY_SIZE(from); i++) {
		void *old = *from[i];

		memcpy(*to[i], old, RING_SIZE * sizeof(struct vring_desc));
		memset(old, 0xff, RING_SIZE * sizeof(struct vring_desc));
		*from[i] = *to[i];
		*to[i] = old;
	}
	turn_descs(pause);
	return queue_ring_address(&pause->guest.queue[TX]);
}

static uint8_t **packets_region(struct pause *pause)
{
	struct memory *memory = &pause->guest.memory;

	return &memory->region[(pause->packets - memory->base) / MEMORY_REGION];
}

/* Move the memory of the packets. */
static int move_memory(struct pause *pause)
{
	pause->shadowed = !pause->shadowed;
	*packets_region(pause) = pause->shadowed ? pause->shadow : pause->packets;
	return device_memory(&pause->guest.device, &pause->guest.memory);
}

/* Stop the virtqueues and restart them where they were, with or without setting them up again. */
static int stop_and_start(struct pause *pause, bool all)
{
	struct vsock_guest *guest = &pause->guest;
	uint32_t base[2];

	if (vsock_set_running(guest, 0) || queue_get_base(&guest->queue[RX], &base[RX]) ||
	    queue_get_base(&guest->queue[TX], &base[TX]) ||
	    base[TX] != ring_base(&guest->ring[TX]))
		return -1;
	turn_descs(pause);
	return all ? vsock_start_queues(guest, base) : vsock_set_running(guest, 1);
}

/* From now on there is an IOTLB, in which some addresses map to other memory. */
static int begin_iotlb(struct pause *pause)
{
	struct vsock_guest *guest = &pause->guest;
	struct memory *memory = &guest->memory;
	uint64_t backend = BIT(VHOST_BACKEND_F_IOTLB_MSG_V2);
	struct vhost_msg_v2 message = {
		.type = VHOST_IOTLB_MSG_V2,
		.iotlb = { .type = VHOST_IOTLB_UPDATE, .perm = VHOST_ACCESS_RW },
	};

	pause->shadowed = !pause->shadowed;
	*packets_region(pause) = pause->shadowed ? pause->shadow : pause->packets;
	if (ioctl(guest->device.fd, VHOST_SET_BACKEND_FEATURES, &backend) ||
	    device_features(&guest->device, guest->features | BIT(VIRTIO_F_ACCESS_PLATFORM)))
		return -1;
	for (unsigned int i = 0; i <= MEMORY_REGIONS; i++) {
		/* the rings do not move */
		uint64_t iova = (uintptr_t)memory->base, uaddr = iova, size = MEMORY_SIZE;

		if (i < MEMORY_REGIONS) {
			iova = MEMORY_GPA + i * MEMORY_REGION;
			uaddr = (uintptr_t)memory->region[i];
			size = MEMORY_REGION;
		}
		message.iotlb.iova = iova;
		message.iotlb.uaddr = uaddr;
		message.iotlb.size = size;
		if (write(guest->device.fd, &message, sizeof(message)) != sizeof(message))
			return -1;
	}
	/* the device has forgotten their addresses */
	return queue_ring_address(&guest->queue[RX]) ||
	       queue_ring_address(&guest->queue[TX]) ? -1 : 0;
}

FIXTURE(pause)
{
	struct pause pause;
};

FIXTURE_VARIANT(pause)
{
	struct ring_kind kind;
};

#define RING_KINDS_OF	pause
#define RING_KINDS_DIRECT
#include "ring_kinds.h"

FIXTURE_SETUP(pause)
{
	if (access(VSOCK_DEVICE, F_OK))
		SKIP(return, "there is no " VSOCK_DEVICE);
	ASSERT_EQ(0, pause_start(&self->pause, variant->kind)) {
		TH_LOG("%s", strerror(errno));
	}
}

FIXTURE_TEARDOWN(pause)
{
	EXPECT_EQ(0, queue_errors(&self->pause.guest.queue[RX]));
	EXPECT_EQ(0, queue_errors(&self->pause.guest.queue[TX]));
	pause_end(&self->pause);
}

static int between_pauses(struct pause *pause)
{
	pause_fill(pause);
	return pause_pass(pause, 1 + random() % 8);
}

/* Clause: 5.10.6.1.2a. */
TEST_F(pause, nothing_else)
{
	for (int i = 0; i < 40; i++)
		ASSERT_EQ(0, between_pauses(&self->pause));
}

TEST_F(pause, ring_moves)
{
	for (int i = 0; i < 40; i++) {
		ASSERT_EQ(0, between_pauses(&self->pause));
		ASSERT_EQ(0, move_ring(&self->pause));
	}
}

TEST_F(pause, memory_moves)
{
	for (int i = 0; i < 40; i++) {
		ASSERT_EQ(0, between_pauses(&self->pause));
		ASSERT_EQ(0, move_memory(&self->pause));
	}
}

TEST_F(pause, stop_and_start)
{
	for (int i = 0; i < 40; i++) {
		ASSERT_EQ(0, between_pauses(&self->pause));
		ASSERT_EQ(0, stop_and_start(&self->pause, i % 2));
	}
}

TEST_F(pause, iotlb_begins)
{
	for (int i = 0; i < 20; i++) {
		if (i == 10)
			ASSERT_EQ(0, begin_iotlb(&self->pause));
		ASSERT_EQ(0, between_pauses(&self->pause));
	}
}

TEST_HARNESS_MAIN
