// SPDX-License-Identifier: GPL-2.0-only
/*
 * How /dev/vhost-net reaches the guest's memory: regions, IOTLB misses, and the dirty log
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "../kselftest_harness.h"
#include "net.h"

#define PAGES		(MEMORY_SIZE / PAGE)

FIXTURE(layout)
{
	struct net net;
};

FIXTURE_VARIANT(layout)
{
	struct ring_kind kind;
};

#define RING_KINDS_OF	layout
#define RING_KINDS_DIRECT
#include "ring_kinds.h"

FIXTURE_SETUP(layout)
{
	if (access(NET_DEVICE, F_OK))
		SKIP(return, "there is no " NET_DEVICE);
}

FIXTURE_TEARDOWN(layout)
{
	net_end(&self->net);
}

/* A frame that crosses into the next region, which is mapped elsewhere */
TEST_F(layout, across_regions)
{
	struct net *net = &self->net;
	struct memory *memory = &net->memory;
	uint8_t *region, *next;

	ASSERT_EQ(0, net_prepare(net, variant->kind, false, RING_SIZE));
	region = memory_alloc(memory, 2 * MEMORY_REGION, MEMORY_REGION);
	next = mmap(NULL, MEMORY_REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	ASSERT_NE(NULL, region);
	ASSERT_NE(MAP_FAILED, next);
	memory->region[(region - memory->base) / MEMORY_REGION + 1] = next;
	memset(region + MEMORY_REGION, FRAME_NEVER, PAGE);
	ASSERT_EQ(0, net_start(net));
	net->most = 600;
	for (int i = 0; i < 200; i++) {
		uint8_t packet[NET_HEADER + FRAME_MOST] = {};
		size_t size = NET_HEADER + net_frame_size(net, net->sent[TX]);
		/* often almost nothing, or almost all, of it */
		size_t over = i % 4 == 3 ? random() % size : i % 4, first;
		struct segment segment = { .len = size };

		if (i % 8 > 3)
			over = size - over;
		first = size - over;
		frame_make(packet + NET_HEADER, net->sent[TX], size - NET_HEADER);
		memcpy(region + MEMORY_REGION - first, packet, first);
		memcpy(next, packet + first, over);
		segment.gpa = memory_gpa(memory, region) + MEMORY_REGION - first;
		ASSERT_TRUE(ring_add(&net->ring[TX], &segment, 1, net->sent[TX]++));
		ASSERT_EQ(0, tx_pass(net)) {
			TH_LOG("%zu bytes of %zu in the next", over, size);
		}
	}
	EXPECT_EQ(0, queue_errors(&net->queue[TX]));
	munmap(next, MEMORY_REGION);
}

/*
 * The IOTLB: a thread serves misses one page at a time. Consecutive pages are not consecutive
 * in our address space, and I/O virtual addresses differ from guest-physical ones.
 */
struct iotlb {
	struct net *net;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint misses;
	atomic_ullong refuse;	/* do not serve the page at this address yet */
	atomic_bool read_only;
};

static int tell(struct iotlb *iotlb, uint8_t type, uint64_t iova, uint64_t size, const void *p)
{
	struct vhost_msg_v2 message = {
		.type = VHOST_IOTLB_MSG_V2,
		.iotlb = {
			.iova = iova,
			.size = size,
			.uaddr = (uintptr_t)p,
			.perm = iotlb->read_only ? VHOST_ACCESS_RO : VHOST_ACCESS_RW,
			.type = type,
		},
	};

	if (write(iotlb->net->device.fd, &message, sizeof(message)) == sizeof(message))
		return 0;
	perror("# IOTLB");
	return -1;
}

static int map_page(struct iotlb *iotlb, uint64_t iova)
{
	const struct memory *memory = &iotlb->net->memory;

	iova &= ~(PAGE - 1);
	return tell(iotlb, VHOST_IOTLB_UPDATE, iova, PAGE, memory->scattered + PAGE *
		    memory_scattered_page(memory, memory_at(memory, iova)));
}

/* Serve one miss. Returns false if there was none. */
static bool serve_one(struct iotlb *iotlb, int timeout)
{
	struct pollfd pollfd = { iotlb->net->device.fd, POLLIN };
	struct vhost_msg_v2 message;

	if (poll(&pollfd, 1, timeout) <= 0)
		return false;
	if (read(pollfd.fd, &message, sizeof(message)) != sizeof(message) ||
	    message.iotlb.type != VHOST_IOTLB_MISS)
		return true;
	iotlb->misses++;
	if ((message.iotlb.iova & ~(PAGE - 1)) != iotlb->refuse)
		map_page(iotlb, message.iotlb.iova);
	return true;
}

static void *serve(void *arg)
{
	struct iotlb *iotlb = arg;

	while (!iotlb->stop)
		serve_one(iotlb, 10);
	return NULL;
}

static int iotlb_serve(struct iotlb *iotlb)
{
	iotlb->stop = false;
	return pthread_create(&iotlb->thread, NULL, serve, iotlb) ? -1 : 0;
}

static int iotlb_start(struct iotlb *iotlb, struct net *net)
{
	uint64_t backend = BIT(VHOST_BACKEND_F_IOTLB_MSG_V2);

	*iotlb = (struct iotlb) { .net = net };
	net->features |= BIT(VIRTIO_F_ACCESS_PLATFORM);
	net->queue[RX].iova = true;
	net->queue[TX].iova = true;
	if (memory_scatter(&net->memory) || device_open(&net->device, NET_DEVICE) ||
	    ioctl(net->device.fd, VHOST_SET_BACKEND_FEATURES, &backend) ||
	    device_features(&net->device, net->features) ||
	    device_memory(&net->device, &net->memory))
		return -1;
	return iotlb_serve(iotlb);
}

static void iotlb_end(struct iotlb *iotlb)
{
	iotlb->stop = true;
	pthread_join(iotlb->thread, NULL);
}

/* Wait until no miss is left, and the device has noticed. */
static int iotlb_drain(struct iotlb *iotlb)
{
	do {
		if (device_drain(&iotlb->net->device))
			return -1;
	} while (serve_one(iotlb, 0));
	return 0;
}

/* No miss is reported while a virtqueue starts, so the page that is written then must be mapped. */
static int iotlb_start_queue(struct iotlb *iotlb, int which)
{
	struct net *net = iotlb->net;

	return map_page(iotlb, memory_gpa(&net->memory, net->ring[which].device)) ||
	       net_start_queue(net, which, queue_first_base(&net->queue[which])) ? -1 : 0;
}

/* A miss delays the device, so wait for the result. */
static int wait_for(struct net *net, int (*take)(struct net *net), int n)
{
	for (int i = 0; n > 0 && i < 500; i++) {
		int got = take(net);

		if (got < 0)
			return -1;
		n -= got;
		if (n > 0)
			usleep(10000);
	}
	return n;
}

TEST_F(layout, iotlb)
{
	struct net *net = &self->net;
	struct iotlb iotlb;
	unsigned int before;

	/* rings that are larger than a page */
	ASSERT_EQ(0, net_prepare(net, variant->kind, true, 4 * RING_SIZE));
	ASSERT_EQ(0, iotlb_start(&iotlb, net));
	ASSERT_EQ(0, iotlb_start_queue(&iotlb, RX));
	ASSERT_EQ(0, iotlb_start_queue(&iotlb, TX));
	for (int i = 0; i < 12; i++) {
		unsigned int frames = 1 + random() % 8, sent = 1 + random() % 150;

		before = iotlb.misses;
		for (unsigned int n = 0; n < sent; n++)
			ASSERT_TRUE(tx_add(net));
		queue_kick(&net->queue[TX]);
		ASSERT_EQ(0, wait_for(net, tx_take, sent));
		ASSERT_EQ(0, tx_check(net));

		rx_fill(net);
		queue_kick(&net->queue[RX]);
		for (unsigned int n = 0; n < frames; n++)
			ASSERT_EQ(0, rx_send(net));
		ASSERT_EQ(0, wait_for(net, rx_take, frames));
		ASSERT_LT(before, iotlb.misses);

		/* everything again, with the virtqueues in use */
		ASSERT_EQ(0, tell(&iotlb, VHOST_IOTLB_INVALIDATE, MEMORY_GPA, MEMORY_SIZE, NULL));
	}
	/* nothing is missed twice without reason */
	for (int i = 0; i < 3; i++) {
		before = iotlb.misses;
		net->sent[TX] = 0;
		net->received[TX] = 0;
		ASSERT_TRUE(tx_add(net));
		queue_kick(&net->queue[TX]);
		ASSERT_EQ(0, wait_for(net, tx_take, 1));
		ASSERT_EQ(0, tx_check(net));
	}
	EXPECT_EQ(before, iotlb.misses);
	iotlb_end(&iotlb);
	EXPECT_EQ(0, queue_errors(&net->queue[RX]));
	EXPECT_EQ(0, queue_errors(&net->queue[TX]));
}

/* A page that is missing delays everything, and nothing is lost. A page that moves is found. */
TEST_F(layout, iotlb_missing)
{
	struct net *net = &self->net;
	struct iotlb iotlb;
	uint8_t *page, *other;

	ASSERT_EQ(0, net_prepare(net, variant->kind, true, RING_SIZE));
	other = memory_alloc(&net->memory, PAGE, PAGE);
	ASSERT_NE(NULL, other);
	ASSERT_EQ(0, iotlb_start(&iotlb, net));
	net->least = 1000;
	net->most = 1000;

	const void *parts[] = {
		net->ring[TX].desc, net->ring[TX].driver, net->ring[TX].device, net->slots[TX],
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++) {
		uint64_t gpa = memory_gpa(&net->memory, parts[i]);

		if (i)
			ASSERT_EQ(0, tell(&iotlb, VHOST_IOTLB_INVALIDATE, MEMORY_GPA,
					  MEMORY_SIZE, NULL));
		iotlb.refuse = gpa;
		if (!i)
			ASSERT_EQ(0, iotlb_start_queue(&iotlb, TX));
		net->sent[TX] = 0;
		net->received[TX] = 0;
		ASSERT_TRUE(tx_add(net));
		queue_kick(&net->queue[TX]);
		usleep(100000);
		ASSERT_EQ(0, tx_take(net));
		ASSERT_TRUE(tap_is_empty(&net->tap));
		iotlb.refuse = 0;
		ASSERT_EQ(0, map_page(&iotlb, gpa));
		ASSERT_EQ(0, wait_for(net, tx_take, 1));
		ASSERT_EQ(0, tx_check(net));
	}

	/* the data moves now */
	net->sent[TX] = 0;
	net->received[TX] = 0;
	page = net->slots[TX];
	ASSERT_TRUE(tx_add(net));
	memcpy(other, page, PAGE);
	memset(page, FRAME_NEVER, PAGE);
	ASSERT_EQ(0, tell(&iotlb, VHOST_IOTLB_INVALIDATE, memory_gpa(&net->memory, page), PAGE,
			  NULL));
	ASSERT_EQ(0, tell(&iotlb, VHOST_IOTLB_UPDATE, memory_gpa(&net->memory, page), PAGE, other));
	queue_kick(&net->queue[TX]);
	ASSERT_EQ(0, wait_for(net, tx_take, 1));
	ASSERT_EQ(0, tx_check(net));
	iotlb_end(&iotlb);
	EXPECT_EQ(0, queue_errors(&net->queue[TX]));
}

/* Read-only memory is not written. */
TEST_F(layout, iotlb_read_only)
{
	struct net *net = &self->net;
	struct iotlb iotlb;

	ASSERT_EQ(0, net_prepare(net, variant->kind, true, RING_SIZE));
	ASSERT_EQ(0, iotlb_start(&iotlb, net));
	net->least = 100;
	net->most = 100;
	ASSERT_EQ(0, iotlb_start_queue(&iotlb, RX));
	rx_fill(net);
	queue_kick(&net->queue[RX]);
	ASSERT_EQ(0, rx_send(net));
	ASSERT_EQ(0, wait_for(net, rx_take, 1));

	for (size_t at = 0; at < RING_SIZE * SLOT_SIZE; at += PAGE) {
		uint8_t *page = net->slots[RX] + at;
		uint64_t gpa = memory_gpa(&net->memory, page);

		iotlb.read_only = true;
		ASSERT_EQ(0, tell(&iotlb, VHOST_IOTLB_INVALIDATE, gpa, PAGE, NULL));
		ASSERT_EQ(0, map_page(&iotlb, gpa));
		iotlb.read_only = false;
	}
	ASSERT_EQ(0, rx_send(net));
	ASSERT_EQ(0, device_drain(&net->device));
	EXPECT_LT(0, queue_errors(&net->queue[RX]));
	EXPECT_EQ(0, rx_take(net));
	for (unsigned int i = 0; i < net->ring[RX].count; i++)
		ASSERT_EQ(FRAME_NEVER, *net_slot(net, RX, ring_buffer(&net->ring[RX], i)->token));
	iotlb_end(&iotlb);
}

/*
 * Map the page of the ring's first descriptor again, in one piece or in two that meet in the
 * middle of this descriptor.
 */
static int map_first_desc(struct iotlb *iotlb, const struct ring *ring, bool in_two)
{
	const struct memory *memory = &iotlb->net->memory;
	uint64_t gpa = memory_gpa(memory, ring->desc);
	const uint8_t *at = memory->scattered + PAGE * memory_scattered_page(memory, ring->desc);
	const uint64_t half = in_two ? sizeof(struct vring_packed_desc) / 2 : 0;

	/* so that nobody maps it meanwhile */
	iotlb->refuse = gpa;
	return tell(iotlb, VHOST_IOTLB_INVALIDATE, gpa, PAGE, NULL) ||
	       (half && tell(iotlb, VHOST_IOTLB_UPDATE, gpa, half, at)) ||
	       tell(iotlb, VHOST_IOTLB_UPDATE, gpa + half, PAGE - half, at + half) ? -1 : 0;
}

/*
 * A descriptor is not in one piece of memory. Either the device can read it nevertheless, or
 * says that it cannot, and reads it when it is in one piece.
 */
TEST_F(layout, iotlb_descriptor_in_two)
{
	struct net *net = &self->net;
	struct iotlb iotlb;

	ASSERT_EQ(0, net_prepare(net, variant->kind, true, RING_SIZE));
	ASSERT_EQ(0, iotlb_start(&iotlb, net));
	ASSERT_EQ(0, iotlb_start_queue(&iotlb, TX));
	net->least = 1000;
	net->most = 1000;
	/* a whole wrap, so that only the descriptor is in the way then */
	for (unsigned int i = 0; i < RING_SIZE; i++)
		ASSERT_TRUE(tx_add_in(net, 1));
	queue_kick(&net->queue[TX]);
	ASSERT_EQ(0, wait_for(net, tx_take, RING_SIZE));
	ASSERT_EQ(0, tx_check(net));
	ASSERT_EQ(0, queue_errors(&net->queue[TX]));

	ASSERT_EQ(0, map_first_desc(&iotlb, &net->ring[TX], true));
	for (unsigned int i = 0; i < RING_SIZE; i++)
		ASSERT_TRUE(tx_add_in(net, 1));
	queue_kick(&net->queue[TX]);
	ASSERT_EQ(0, device_drain(&net->device));
	if (variant->kind.packed || variant->kind.in_order) {
		ASSERT_EQ(0, tx_take(net));
		ASSERT_LT(0, queue_errors(&net->queue[TX]));
		ASSERT_TRUE(tap_is_empty(&net->tap));
		/* and does not try again by itself */
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_EQ(0, queue_errors(&net->queue[TX]));
		ASSERT_EQ(0, map_first_desc(&iotlb, &net->ring[TX], false));
		queue_kick(&net->queue[TX]);
	}
	ASSERT_EQ(0, wait_for(net, tx_take, RING_SIZE));
	EXPECT_EQ(0, tx_check(net));
	EXPECT_EQ(0, queue_errors(&net->queue[TX]));
	iotlb_end(&iotlb);
}

/* The log of dirty pages, against the pages that have changed */
struct dirty {
	uint8_t *before;		/* the memory */
	uint64_t *log;			/* one bit per page, from address 0 */
	size_t size;
};

static bool is_logged(const struct dirty *dirty, const struct net *net, unsigned int page)
{
	const struct memory *memory = &net->memory;
	size_t bit = MEMORY_GPA / PAGE + page;

	if (memory->scattered)
		bit = MEMORY_GPA / PAGE +
			memory_scattered_page(memory, memory->base + page * PAGE);

	return dirty->log[bit / 64] >> bit % 64 & 1;
}

static void dirty_begin(struct dirty *dirty, const struct net *net)
{
	memset(dirty->log, 0, dirty->size);
	memcpy(dirty->before, net->memory.base, net->memory.allocated);
}

/*
 * May this page be logged although it did not change? The device area may have been written
 * with the same content. With an IOTLB, a whole buffer is logged even if only a part of it
 * was written.
 */
static bool may_be_logged(const struct net *net, const uint8_t *page)
{
	const uint8_t *slots = net->slots[RX];

	return page == net->ring[RX].device || page == net->ring[TX].device ||
		(net->memory.scattered && page >= slots && page < slots + SLOTS * SLOT_SIZE);
}

/* Exactly the changed pages must be logged, apart from those. Returns how many are, or -1. */
static int dirty_check(const struct dirty *dirty, const struct net *net)
{
	int logged = 0, wrong = 0;

	for (unsigned int i = 0; i < PAGES; i++) {
		const uint8_t *page = net->memory.base + i * PAGE;
		bool changed = i * PAGE < net->memory.allocated &&
			       memcmp(page, dirty->before + i * PAGE, PAGE);

		logged += is_logged(dirty, net, i);
		if (changed == is_logged(dirty, net, i) || (!changed && may_be_logged(net, page)))
			continue;
		fprintf(stderr, "# page %u: %s\n", i, changed ? "changed" : "logged");
		wrong++;
	}
	return wrong ? -1 : logged;
}

/* Start logging during traffic, as QEMU does when a migration begins. */
static int dirty_log(struct dirty *dirty, struct net *net)
{
	dirty->size = LOG_SIZE;
	dirty->before = malloc(MEMORY_SIZE);
	dirty->log = malloc(dirty->size);
	return !dirty->before || !dirty->log ||
	       device_start_log(&net->device, net->features, dirty->log) ||
	       queue_log_address(&net->queue[RX]) || queue_log_address(&net->queue[TX]) ? -1 : 0;
}

static void dirty_end(struct dirty *dirty)
{
	free(dirty->before);
	free(dirty->log);
}

/* Add buffers in both directions, and fill the used rings so that every write changes something. */
static void dirty_fill(struct net *net, unsigned int frames)
{
	while (frames && tx_add(net))
		frames--;
	rx_fill(net);
	for (int i = RX; i <= TX && !net->ring[i].kind.packed; i++)
		memset(((struct vring_used *)net->ring[i].device)->ring, 0xff,
		       net->ring[i].num * sizeof(struct vring_used_elem));
}

TEST_F(layout, dirty_log)
{
	struct net *net = &self->net;
	struct dirty dirty;

	/* descriptors that are on several pages */
	ASSERT_EQ(0, net_prepare(net, variant->kind, true, 4 * RING_SIZE));
	ASSERT_EQ(0, net_start(net));
	for (int i = 0; i < 40; i++) {
		unsigned int frames = 1 + random() % 30;

		if (i == 3)
			ASSERT_EQ(0, dirty_log(&dirty, net));
		dirty_fill(net, 1 + random() % 150);
		if (i >= 3)
			dirty_begin(&dirty, net);

		queue_kick(&net->queue[RX]);
		queue_kick(&net->queue[TX]);
		for (unsigned int n = 0; n < frames; n++)
			ASSERT_EQ(0, rx_send(net));
		ASSERT_EQ(0, device_drain(&net->device));
		if (i >= 3)
			ASSERT_LT(0, dirty_check(&dirty, net)) {
				TH_LOG("round %d", i);
			}

		ASSERT_LE(0, tx_take(net));
		ASSERT_EQ(0, net->ring[TX].count);
		ASSERT_EQ(0, tx_check(net));
		ASSERT_EQ(frames, rx_take(net));
	}
	dirty_end(&dirty);
}

/* More segments than fit the list of what vhost has to log, most of them empty */
TEST_F(layout, dirty_log_of_empty_segments)
{
	enum { SEGMENTS = 1200, FULL = 4 };
	struct net *net = &self->net;
	struct segment segments[SEGMENTS];
	struct dirty dirty;

	ASSERT_EQ(0, net_prepare(net, variant->kind, true, 8 * RING_SIZE));
	ASSERT_EQ(0, net_start(net));
	ASSERT_EQ(0, dirty_log(&dirty, net));
	net->least = 1000;
	net->most = 1000;
	for (int i = 0; i < 10; i++) {
		const uint8_t *at = net_slot(net, RX, net->buffers[RX]);

		for (unsigned int n = 0; n < SEGMENTS; n++) {
			uint32_t len = n % FULL ? 0 :
				(NET_HEADER + net->most) * FULL / SEGMENTS + 1;

			segments[n] = (struct segment) { memory_gpa(&net->memory, at), len, true };
			at += len;
		}
		ASSERT_TRUE(ring_add(&net->ring[RX], segments, SEGMENTS, net->buffers[RX]++));
		dirty_begin(&dirty, net);
		queue_kick(&net->queue[RX]);
		ASSERT_EQ(0, rx_send(net));
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_LT(0, dirty_check(&dirty, net));
		ASSERT_EQ(1, rx_take(net));
	}
	EXPECT_EQ(0, queue_errors(&net->queue[RX]));
	dirty_end(&dirty);
}

/* The log has guest-physical addresses, which are used for nothing else here. */
TEST_F(layout, dirty_log_iotlb)
{
	struct net *net = &self->net;
	struct dirty dirty;
	struct iotlb iotlb;

	ASSERT_EQ(0, net_prepare(net, variant->kind, true, 4 * RING_SIZE));
	ASSERT_EQ(0, iotlb_start(&iotlb, net));
	ASSERT_EQ(0, iotlb_start_queue(&iotlb, RX));
	ASSERT_EQ(0, iotlb_start_queue(&iotlb, TX));
	ASSERT_EQ(0, dirty_log(&dirty, net));
	for (int i = 0; i < 20; i++) {
		unsigned int frames = 1 + random() % 8, sent;

		/* A page that was missed twice makes the device look again. */
		iotlb_end(&iotlb);
		ASSERT_EQ(0, iotlb_drain(&iotlb));
		dirty_fill(net, 1 + random() % 100);
		sent = net->ring[TX].count;
		dirty_begin(&dirty, net);
		ASSERT_EQ(0, iotlb_serve(&iotlb));
		queue_kick(&net->queue[RX]);
		queue_kick(&net->queue[TX]);
		for (unsigned int n = 0; n < frames; n++)
			ASSERT_EQ(0, rx_send(net));
		ASSERT_EQ(0, wait_for(net, tx_take, sent));
		ASSERT_EQ(0, wait_for(net, rx_take, frames));
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_LT(0, dirty_check(&dirty, net)) {
			TH_LOG("round %d", i);
		}
		ASSERT_EQ(0, tx_check(net));
	}
	iotlb_end(&iotlb);
	dirty_end(&dirty);
}

FIXTURE(packed)
{
	struct net net;
};

FIXTURE_VARIANT(packed)
{
	struct ring_kind kind;
};

RING_KIND(packed, any_order, .packed = true);
RING_KIND(packed, in_order, .packed = true, .in_order = true);

FIXTURE_SETUP(packed)
{
	if (access(NET_DEVICE, F_OK))
		SKIP(return, "there is no " NET_DEVICE);
}

FIXTURE_TEARDOWN(packed)
{
	net_end(&self->net);
}

/*
 * The device can read the descriptor of a buffer, which it refuses. The descriptor is then in two
 * pieces of memory when it is the next to be written.
 */
TEST_F(packed, iotlb_used_descriptor_in_two)
{
	struct net *net = &self->net;
	struct ring *ring = &net->ring[TX];
	const struct vring_packed_desc *desc;
	uint32_t token, len;
	struct iotlb iotlb;

	ASSERT_EQ(0, net_prepare(net, variant->kind, true, RING_SIZE));
	ASSERT_EQ(0, iotlb_start(&iotlb, net));
	ASSERT_EQ(0, iotlb_start_queue(&iotlb, TX));
	desc = ring->desc;
	net->least = 1000;
	net->most = 1000;

	struct segment nothing = { memory_gpa(&net->memory, net->slots[TX]) };

	ASSERT_TRUE(ring_add(ring, &nothing, 1, RING_SIZE));
	queue_kick(&net->queue[TX]);
	for (int i = 0; i < 500 && !queue_errors(&net->queue[TX]); i++) {
		ASSERT_GT(499, i) {
			TH_LOG("an empty buffer was not refused");
		}
		usleep(10000);
	}
	ASSERT_EQ(0, map_first_desc(&iotlb, ring, true));
	ASSERT_TRUE(tx_add_in(net, 1));
	queue_kick(&net->queue[TX]);
	ASSERT_EQ(0, tx_check(net));
	ASSERT_EQ(0, device_drain(&net->device));
	ASSERT_LT(0, queue_errors(&net->queue[TX]));
	ASSERT_EQ(RING_AVAIL, desc->flags & (RING_AVAIL | RING_USED));

	ASSERT_EQ(0, map_first_desc(&iotlb, ring, false));
	ASSERT_TRUE(tx_add_in(net, 1));
	queue_kick(&net->queue[TX]);
	ASSERT_EQ(0, tx_check(net));
	ASSERT_EQ(0, device_drain(&net->device));
	ASSERT_EQ(0, queue_errors(&net->queue[TX]));
	/* Out of order, the device has forgotten the first two. */
	if (!variant->kind.in_order) {
		ASSERT_EQ(ring_buffer(ring, 2)->id, desc->id);
		ASSERT_EQ(RING_AVAIL | RING_USED, desc->flags & (RING_AVAIL | RING_USED));
	} else {
		for (unsigned int i = 0; i < 3; i++) {
			ASSERT_EQ(1, ring_get(ring, &token, &len));
			ASSERT_EQ(i ? i - 1 : RING_SIZE, token);
		}
	}
	iotlb_end(&iotlb);
}

TEST_HARNESS_MAIN
