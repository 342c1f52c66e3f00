// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames through /dev/vhost-net and a tap device in both directions, compared byte by byte,
 * with each kind of virtqueue
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "../kselftest_harness.h"
#include "net.h"

#define BATCH		64

FIXTURE(net)
{
	struct net net;
};

FIXTURE_VARIANT(net)
{
	struct ring_kind kind;
	bool mergeable;
};

#define RING_KINDS_OF	net
#include "ring_kinds.h"
#undef RING_KIND
#define RING_KIND(fixture, name, ...) \
	FIXTURE_VARIANT_ADD(fixture, name##_mergeable) { \
		.mergeable = true, .kind = { __VA_ARGS__ } \
	}
#include "ring_kinds.h"

FIXTURE_SETUP(net)
{
	if (access(NET_DEVICE, F_OK))
		SKIP(return, "there is no " NET_DEVICE);
	ASSERT_EQ(0, net_prepare(&self->net, variant->kind, variant->mergeable, RING_SIZE));
	ASSERT_EQ(0, net_start(&self->net));
}

FIXTURE_TEARDOWN(net)
{
	EXPECT_EQ(0, queue_errors(&self->net.queue[RX]));
	EXPECT_EQ(0, queue_errors(&self->net.queue[TX]));
	net_end(&self->net);
}

/*
 * Frames of all sizes, in several buffers, for a few wraps of the ring
 * Clause: 2.7.4.1a, 2.7.8.2b, 2.8.18a, 5.1.6.3.2b, 6.2b.
 */
TEST_F(net, both_ways)
{
	struct net *net = &self->net;

	for (int i = 0; i < 40; i++) {
		for (unsigned int n = 1 + random() % 60; n && tx_add(net); n--)
			;
		ASSERT_EQ(0, tx_pass(net));
		rx_fill(net);
		ASSERT_EQ(0, rx_pass(net, 1 + random() % (net->mergeable ? 10 : 40)));
	}
}

/*
 * Batches of small frames, and the number of used elements that they take
 * Clause: 2.7.9a, 2.8.8a.
 */
TEST_F(net, small)
{
	static const unsigned int counts[] = { 1, 64, 63, 65, 32 };
	struct net *net = &self->net;

	net->least = 64;
	net->most = 64;
	for (int i = 0; i < 20; i++) {
		unsigned int n = counts[i % ARRAY_SIZE(counts)], sent = 0;

		net->ring[TX].elements = 0;
		while (sent < n && tx_add(net))
			sent++;
		ASSERT_EQ(0, tx_pass(net));
		ASSERT_EQ(variant->kind.in_order ? (sent + BATCH - 1) / BATCH : sent,
			  net->ring[TX].elements);

		net->ring[RX].elements = 0;
		rx_fill(net);
		ASSERT_EQ(0, rx_pass(net, n < 60 ? n : 60));
		/* one for each buffer: not all drivers can take receive buffers in batches */
		ASSERT_EQ(n < 60 ? n : 60, net->ring[RX].elements);
	}
}

/*
 * Both sides wait for each other only by kicks and interrupts.
 * Clause: 2.7.7.2b, 2.7.7.2d.
 */
TEST_F(net, no_event_is_lost)
{
	const uint32_t total = 1500;
	struct net *net = &self->net;
	struct pollfd calls[] = {
		{ net->queue[RX].call, POLLIN },
		{ net->queue[TX].call, POLLIN },
	};

	net->least = 64;
	net->most = 1500;
	while (net->received[RX] < total || net->ring[TX].count || net->sent[TX] < total) {
		for (unsigned int n = random() % 20; n && net->sent[TX] < total; n--)
			if (!tx_add(net))
				break;
		net_kick_if_needed(net, TX);
		rx_fill(net);
		net_kick_if_needed(net, RX);
		for (unsigned int n = random() % 20; n && net->sent[RX] < total; n--)
			if (net->sent[RX] - net->received[RX] < 200)
				ASSERT_EQ(0, rx_send(net));
		ring_call_at(&net->ring[RX], 1);
		ring_call_at(&net->ring[TX], 1 + net->ring[TX].count / 2);
		if (rx_take(net) || tx_take(net))
			continue;
		if (net->sent[RX] == net->received[RX] && !net->ring[TX].count)
			continue;
		ASSERT_LT(0, poll(calls, ARRAY_SIZE(calls), 5000)) {
			TH_LOG("received %u of %u, to send %u of %u", net->received[RX],
			       net->sent[RX], net->ring[TX].count, net->sent[TX]);
		}
		queue_calls(&net->queue[RX]);
		queue_calls(&net->queue[TX]);
	}
	ASSERT_EQ(0, tx_check(net));
}

/* Another device continues during traffic, as when a guest migrates. */
TEST_F(net, another_device)
{
	struct net *net = &self->net;

	for (int i = 0; i < 12; i++) {
		unsigned int frames = random() % 8;
		uint32_t base[2];

		for (unsigned int n = random() % 30; n && tx_add(net); n--)
			;
		net_kick_if_needed(net, TX);
		for (unsigned int n = random() % 30; n && tx_add(net); n--)
			;
		rx_fill(net);
		net_kick_if_needed(net, RX);
		for (unsigned int n = 0; n < frames; n++)
			ASSERT_EQ(0, rx_send(net));
		for (int which = RX; which <= TX; which++) {
			ASSERT_EQ(0, queue_backend(&net->queue[which], -1));
			ASSERT_EQ(0, queue_get_base(&net->queue[which], &base[which]));
		}
		device_close(&net->device);
		ASSERT_EQ(0, net_start_device(net));
		for (int which = RX; which <= TX; which++) {
			ASSERT_EQ(0, net_start_queue(net, which, base[which]));
			queue_kick(&net->queue[which]);
		}
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_LE(0, tx_take(net));
		ASSERT_EQ(0, net->ring[TX].count);
		ASSERT_EQ(0, tx_check(net));
		ASSERT_LE(0, rx_take(net));
		ASSERT_EQ(net->sent[RX], net->received[RX]);
	}
}

/*
 * While it polls for one virtqueue, the device looks at the other one, too; but not if that has
 * no backend: nobody has checked its addresses, which are outside of the guest's memory here.
 */
TEST_F(net, polls_beside_one_without_backend)
{
	struct net *net = &self->net;
	uint8_t *page, before[PAGE];

	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	memset(page, 0xa5, PAGE);
	memcpy(before, page, PAGE);
	for (int which = RX; which <= TX; which++) {
		struct queue *queue = &net->queue[which], *other = &net->queue[!which];
		uint64_t addr = (uintptr_t)page;

		ASSERT_EQ(0, queue_backend(other, -1));
		ASSERT_EQ(0, queue_address(other, addr, addr, addr));
		ASSERT_EQ(0, queue_busyloop_timeout(queue, 1000));
		queue_kick(queue);
		ASSERT_EQ(0, device_drain(&net->device));
		EXPECT_EQ(0, memcmp(before, page, PAGE)) {
			TH_LOG("queue %d was written to", !which);
		}
		ASSERT_EQ(0, queue_busyloop_timeout(queue, 0));
		ASSERT_EQ(0, net_start_queue(net, !which, queue_first_base(other)));
	}
	ASSERT_TRUE(tx_add(net));
	ASSERT_EQ(0, tx_pass(net));
	rx_fill(net);
	EXPECT_EQ(0, rx_pass(net, 1));
	munmap(page, PAGE);
}

/*
 * Buffers that are too few for a frame are fetched, discarded, and fetched again.
 * Clause: 5.1.6.3.2b, 5.1.6.4.1d.
 */
TEST_F(net, too_little_room)
{
	struct net *net = &self->net;

	net->least = 4000;
	net->most = 4000;
	for (int i = 0; i < 150; i++) {
		if (!net->mergeable) {
			/* a frame that does not fit is dropped, and its buffer is not used */
			ASSERT_TRUE(rx_add(net, 1000 + random() % 1000));
			net_kick_if_needed(net, RX);
			ASSERT_EQ(0, rx_send(net));
			ASSERT_EQ(0, device_drain(&net->device));
			ASSERT_EQ(0, rx_take(net));
			net->received[RX]++;

			net->least = 500;
			net->most = 500;
			ASSERT_EQ(0, rx_pass(net, 1));
			net->least = 4000;
			net->most = 4000;
			continue;
		}
		/* three and a half, one at a time */
		ASSERT_EQ(0, rx_send(net));
		for (int k = 0; k < 4; k++) {
			ASSERT_EQ(0, device_drain(&net->device));
			ASSERT_EQ(0, rx_take(net));
			ASSERT_TRUE(rx_add(net, 1100));
			/* it waits for more buffers */
			ASSERT_TRUE(ring_kick_needed(&net->ring[RX]));
			queue_kick(&net->queue[RX]);
		}
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_EQ(1, rx_take(net));
		ASSERT_EQ(0, net->ring[RX].count);
	}
}

/* A frame that is shorter than its header, or has its checksum behind its end */
static bool tx_add_malformed(struct net *net, struct virtio_net_hdr_v1 *header)
{
	struct segment segment = { memory_gpa(&net->memory, header), NET_HEADER + 60 };

	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->csum_start = NET_HEADER + 60;
	if (random() % 2)
		segment.len = 1 + random() % (NET_HEADER - 1);
	return net->ring[TX].count < SLOTS &&
	       ring_add(&net->ring[TX], &segment, 1, net->sent[TX]);
}

/*
 * A malformed frame is lost, but its buffer is not, and the frames behind it do not wait.
 * Clause: 6.2b.
 */
TEST_F(net, malformed)
{
	struct net *net = &self->net;
	void *header = memory_alloc(&net->memory, NET_HEADER + 60, 2);

	ASSERT_NE(NULL, header);
	for (int i = 0; i < 30; i++) {
		unsigned int added = 4;
		uint32_t token, len;
		int ret;

		for (unsigned int n = 0; n < 3; n++) {
			for (unsigned int k = random() % 8; k && tx_add(net); k--)
				added++;
			ASSERT_TRUE(tx_add_malformed(net, header));
		}
		ASSERT_TRUE(tx_add(net));
		net_kick_if_needed(net, TX);
		ASSERT_EQ(0, device_drain(&net->device));
		while ((ret = ring_get(&net->ring[TX], &token, &len)) > 0)
			added--;
		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, added) {
			TH_LOG("round %d: %u frames did not come back", i, added);
		}
		ASSERT_EQ(0, tx_check(net));
	}
}

/*
 * A buffer that cannot be read is not sent and not skipped: it is fetched again until it can
 * be read, with everything after it. With zero-copy transmission, it is skipped.
 */
TEST_F(net, unreadable)
{
	struct net *net = &self->net;

	net->least = 64;
	net->most = 1500;
	for (int i = 0; i < 12; i++) {
		unsigned int before = random() % 70, behind = random() % 30, number;
		uint8_t *page;
		int taken;

		while (before && tx_add(net))
			before--;
		number = net->sent[TX];
		page = net_slot(net, TX, number);
		before = net->ring[TX].count;
		if (!tx_add(net)) {
			ASSERT_EQ(0, tx_pass(net));
			continue;
		}
		while (behind && tx_add(net))
			behind--;
		ASSERT_EQ(0, mprotect(page, SLOT_SIZE, PROT_NONE));
		net_kick_if_needed(net, TX);
		ASSERT_EQ(0, device_drain(&net->device));
		taken = tx_take(net);
		ASSERT_EQ(0, mprotect(page, SLOT_SIZE, PROT_READ | PROT_WRITE));
		if (net->zcopy && !variant->kind.in_order) {
			ASSERT_EQ(net->sent[TX] - number + before, taken);
			ASSERT_EQ(0, tx_check_until(net, number));
			net->received[TX]++;
			ASSERT_EQ(0, tx_check(net));
			continue;
		}
		ASSERT_EQ(before, taken);
		ASSERT_EQ(0, tx_pass(net));
	}
}

/* A frame that cannot be written is dropped; the next one gets its buffers. */
TEST_F(net, unwritable)
{
	struct net *net = &self->net;

	for (int i = 0; i < 12; i++) {
		unsigned int frames = 1 + random() % 4;

		rx_fill(net);
		net_kick_if_needed(net, RX);
		ASSERT_EQ(0, mprotect(net->slots[RX], SLOTS * SLOT_SIZE, PROT_READ));
		for (unsigned int n = 0; n < frames; n++)
			ASSERT_EQ(0, rx_send(net));
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_EQ(0, mprotect(net->slots[RX], SLOTS * SLOT_SIZE, PROT_READ | PROT_WRITE));
		ASSERT_EQ(0, rx_take(net));
		net->received[RX] += frames;
		ASSERT_EQ(0, rx_pass(net, 1 + random() % 3));
	}
}

/*
 * Frames that cannot be sent are lost, but their buffers are not. When there is a tap device
 * again, everything continues.
 */
FIXTURE(tap)
{
	struct net net;
	int fills_header;
};

FIXTURE_VARIANT(tap)
{
	struct ring_kind kind;
};

#undef RING_KIND
#undef RING_KINDS_OF
#define RING_KINDS_OF	tap
#define RING_KINDS_DIRECT
#include "ring_kinds.h"

FIXTURE_SETUP(tap)
{
	if (access(NET_DEVICE, F_OK))
		SKIP(return, "there is no " NET_DEVICE);
	ASSERT_EQ(0, net_prepare(&self->net, variant->kind, true, RING_SIZE));
	self->fills_header = tap_fills_header(&self->net.tap);
	ASSERT_LE(0, self->fills_header);
	ASSERT_EQ(0, net_start(&self->net));
}

FIXTURE_TEARDOWN(tap)
{
	net_end(&self->net);
}

static int lose_tap(struct net *net, bool new_fd)
{
	unsigned int count;
	uint32_t base[2];

	if (tap_delete(&net->tap))
		return -1;
	for (unsigned int n = 1 + random() % 150; n && tx_add(net); n--)
		;
	count = net->ring[TX].count;
	/* frames that are not sent at the first attempt */
	for (int i = 0; i < 3; i++) {
		queue_kick(&net->queue[TX]);
		if (device_drain(&net->device) || tx_take(net) < 0)
			return -1;
	}
	if (net->ring[TX].count)
		fprintf(stderr, "# %u of %u buffers are missing\n", net->ring[TX].count, count);
	net->received[TX] = net->sent[TX];
	for (int i = RX; i <= TX && new_fd; i++)
		if (queue_backend(&net->queue[i], -1) || queue_get_base(&net->queue[i], &base[i]))
			return -1;
	if (tap_again(&net->tap, new_fd))
		return -1;
	for (int i = RX; i <= TX && new_fd; i++)
		if (net_start_queue(net, i, base[i]))
			return -1;
	/* vhost does not wait for a tap device that does not exist */
	queue_kick(&net->queue[RX]);
	return device_drain(&net->device);
}

TEST_F(tap, comes_back)
{
	struct net *net = &self->net;

	net->least = 64;
	net->most = 1500;
	for (int i = 0; i < 12; i++) {
		for (unsigned int n = 1 + random() % 60; n && tx_add(net); n--)
			;
		ASSERT_EQ(0, tx_pass(net)) {
			TH_LOG("round %d", i);
		}
		rx_fill(net);
		ASSERT_EQ(0, rx_pass(net, 1 + random() % 10));
		ASSERT_EQ(0, lose_tap(net, i % 2));
		ASSERT_EQ(0, net->ring[TX].count);
	}
}

/* Wait until the tap is full, and vhost has noticed. Do not drain it: that waits for zero copy. */
static bool wait_until_full(struct tap *tap)
{
	for (int i = 0; i < 500; i++) {
		bool full = tap_is_full(tap);

		usleep(10000);
		if (full)
			return true;
	}
	return false;
}

/* vhost gives back a frame for which the tap has no room, and sends it when there is some. */
TEST_F(tap, no_room)
{
	struct net *net = &self->net;
	struct ring *ring = &net->ring[TX];

	net->least = 1000;
	net->most = 1000;
	for (int i = 0; i < 12; i++) {
		unsigned int count, tries;

		for (unsigned int n = 20 + random() % 40; n && tx_add(net); n--)
			;
		count = ring->count;
		ASSERT_EQ(0, tap_limit(&net->tap, 3000 + random() % 20000));
		/* it may try as often as it wants */
		for (unsigned int n = 1 + random() % 3; n; n--) {
			queue_kick(&net->queue[TX]);
			ASSERT_TRUE(wait_until_full(&net->tap)) {
				TH_LOG("round %d: the tap did not become full", i);
			}
			ASSERT_LE(0, tx_take(net));
			ASSERT_LT(0, ring->count);
		}
		ASSERT_TRUE(tap_is_empty(&net->tap));

		/* It tries again when it is kicked, or as soon as the tap has room. */
		ASSERT_EQ(0, tap_limit(&net->tap, 1 << 24));
		if (i % 2)
			queue_kick(&net->queue[TX]);
		else
			ASSERT_EQ(0, tap_push(&net->tap));
		for (tries = 0; ring->count && tries < 100; tries++) {
			ASSERT_EQ(0, device_drain(&net->device));
			ASSERT_LE(0, tx_take(net));
		}
		ASSERT_EQ(0, ring->count) {
			TH_LOG("round %d: %u of %u did not come back", i, ring->count, count);
		}
		ASSERT_EQ(0, tx_check(net));
		ASSERT_EQ(0, queue_errors(&net->queue[TX]));
	}
}

/*
 * Add a buffer that has @len bytes of the header, from @from on, in @apart, and the rest in the
 * buffer's own place.
 */
static bool rx_add_apart(struct net *net, const void *apart, uint32_t from, uint32_t len)
{
	uint32_t token = net->buffers[RX]++;
	uint8_t *at = net_slot(net, RX, token);
	uint32_t behind = from + len;
	struct segment segments[] = {
		{ memory_gpa(&net->memory, at), from, true },
		{ memory_gpa(&net->memory, apart), len, true },
		{ memory_gpa(&net->memory, at + behind), 1000 - behind, true },
	};

	memset(at, FRAME_NEVER, SLOT_SIZE);
	return ring_add(&net->ring[RX], from ? segments : segments + 1, from ? 3 : 2, token);
}

/*
 * The header is complete only when a frame has been received. If a part of it cannot be written
 * then, the frame is lost, but its buffers are not: the next frame gets them. Unless the tap was
 * to write that part, this is an error of the virtqueue.
 */
static int rx_lose_frame(struct net *net, uint8_t *apart, uint32_t from, uint32_t len, bool tap)
{
	struct queue *queue = &net->queue[RX];
	unsigned int others = net->mergeable ? 2 : 0;
	uint8_t *at = net_slot(net, RX, net->buffers[RX]);

	net->least = 60 + others * 1000;
	net->most = net->least + 800;
	if (net->ring[RX].count || !rx_add_apart(net, apart, from, len))
		return -1;
	while (others && rx_add(net, 1000))
		others--;
	if (mprotect(apart, PAGE, PROT_READ))
		return -1;
	queue_kick(queue);
	if (rx_send(net) || device_drain(&net->device) ||
	    mprotect(apart, PAGE, PROT_READ | PROT_WRITE))
		return -1;
	if (rx_take(net) || !queue_errors(queue) != tap) {
		fprintf(stderr, "# the header was written\n");
		return -1;
	}
	net->received[RX]++;

	/* at the error, it had notifications disabled */
	queue_kick(queue);
	if (rx_send(net) || device_drain(&net->device))
		return -1;
	memcpy(at + from, apart, len);
	if (rx_take(net) == 1 && !net->ring[RX].count && !queue_errors(queue))
		return 0;
	fprintf(stderr, "# the next frame did not get %u buffers\n", net->ring[RX].count);
	return -1;
}

/*
 * How many buffers a frame is in is a part of the header that the tap does not know, and writes
 * zeroes to if at all.
 */
TEST_F(tap, number_of_buffers_unwritable)
{
	uint8_t *page = memory_alloc(&self->net.memory, PAGE, PAGE);

	ASSERT_NE(NULL, page);
	for (int i = 0; i < 30; i++) {
		ASSERT_EQ(0, rx_lose_frame(&self->net, page,
					   offsetof(struct virtio_net_hdr_v1, num_buffers), 2,
					   self->fills_header)) {
			TH_LOG("round %d", i);
		}
	}
}

/*
 * In order, buffers that the device refuses and forgets come back together with the next ones
 * that it uses.
 */
FIXTURE(forgotten)
{
	struct net net;
};

FIXTURE_VARIANT(forgotten)
{
	struct ring_kind kind;
};

RING_KIND(forgotten, split, .in_order = true);
RING_KIND(forgotten, packed, .packed = true, .in_order = true);
RING_KIND(forgotten, split_event_idx, .in_order = true, .event_idx = true);
RING_KIND(forgotten, packed_event_idx, .packed = true, .in_order = true, .event_idx = true);

FIXTURE_SETUP(forgotten)
{
	if (access(NET_DEVICE, F_OK))
		SKIP(return, "there is no " NET_DEVICE);
	ASSERT_EQ(0, net_prepare(&self->net, variant->kind, true, RING_SIZE));
	ASSERT_EQ(0, net_start(&self->net));
}

FIXTURE_TEARDOWN(forgotten)
{
	net_end(&self->net);
}

/* A transmit buffer that is empty or writable: it is not sent. */
static bool tx_add_bad(struct net *net)
{
	struct segment segment = { memory_gpa(&net->memory, net_slot(net, TX, net->sent[TX])) };

	segment.write = random() % 2;
	segment.len = segment.write;
	return net->ring[TX].count < SLOTS &&
	       ring_add(&net->ring[TX], &segment, 1, net->sent[TX]);
}

/*
 * Some frames are malformed. The device stops at each of these until it is kicked.
 * Clause: 6.2b.
 */
TEST_F(forgotten, frames)
{
	struct net *net = &self->net;
	uint32_t token, len;
	int ret;

	net->least = 64;
	net->most = 1500;
	for (int i = 0; i < 30; i++) {
		unsigned int bad = 1 + random() % 3, added = 0;

		for (unsigned int n = 0; n < bad; n++) {
			for (unsigned int k = random() % 8; k && tx_add(net); k--)
				added++;
			ASSERT_TRUE(tx_add_bad(net));
			added++;
		}
		ASSERT_TRUE(tx_add(net));
		added++;
		for (unsigned int n = 0; n <= bad; n++) {
			queue_kick(&net->queue[TX]);
			ASSERT_EQ(0, device_drain(&net->device));
		}
		while ((ret = ring_get(&net->ring[TX], &token, &len)) > 0)
			added--;
		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, added) {
			TH_LOG("round %d: %u frames did not come back", i, added);
		}
		ASSERT_LT(0, queue_errors(&net->queue[TX]));
		ASSERT_EQ(0, tx_check(net));
	}
}

/*
 * Change from zero-copy transmission to in-order use and back on one open file, as when a
 * guest with an old driver reboots into a new one.
 */
FIXTURE(zcopy)
{
	struct net net;
};

FIXTURE_VARIANT(zcopy)
{
	bool packed;
};

FIXTURE_VARIANT_ADD(zcopy, split) { };
FIXTURE_VARIANT_ADD(zcopy, packed) { .packed = true };

FIXTURE_SETUP(zcopy)
{
	struct ring_kind kind = { .packed = variant->packed };

	if (!net_have_zcopy())
		SKIP(return, "vhost_net is loaded without experimental_zcopytx=1");
	ASSERT_EQ(0, net_prepare(&self->net, kind, true, RING_SIZE));
	ASSERT_EQ(0, net_start(&self->net));
}

FIXTURE_TEARDOWN(zcopy)
{
	if (net_have_zcopy())
		net_end(&self->net);
}

static int restart(struct net *net, bool in_order)
{
	for (int i = RX; i <= TX; i++) {
		if (queue_backend(&net->queue[i], -1))
			return -1;
		net->ring[i].kind.in_order = in_order;
		ring_reset(&net->ring[i]);
	}
	net->features = kind_features(net->ring[TX].kind) | BIT(VIRTIO_NET_F_MRG_RXBUF);
	if (device_features(&net->device, net->features))
		return -1;
	for (int i = RX; i <= TX; i++)
		if (net_start_queue(net, i, queue_first_base(&net->queue[i])))
			return -1;
	return 0;
}

TEST_F(zcopy, and_in_order)
{
	struct net *net = &self->net;

	/* long enough for zero copy, and many at once */
	net->least = 1000;
	net->most = 1000;
	for (int i = 0; i < 12; i++) {
		/* so that zero copy ends anywhere in its array */
		for (int wraps = i % 2 ? 1 : 1 + random() % 5; wraps; wraps--) {
			while (net->ring[TX].count < 250)
				ASSERT_TRUE(tx_add_in(net, 1));
			ASSERT_EQ(0, tx_pass(net)) {
				TH_LOG("round %d, %s", i, i % 2 ? "in order" : "zero copy");
			}
		}
		ASSERT_EQ(0, restart(net, !(i % 2)));
	}
	EXPECT_EQ(0, queue_errors(&net->queue[TX]));
}

/*
 * The interface has frames without a header: vhost-net writes one itself, and takes off that of
 * a frame that is sent.
 */
FIXTURE(header)
{
	struct net net;
};

FIXTURE_VARIANT(header)
{
	struct ring_kind kind;
	bool mergeable;
};

#undef RING_KINDS_OF
#define RING_KINDS_OF	header
#include "ring_kinds.h"
#undef RING_KIND
#define RING_KIND(fixture, name, ...) \
	FIXTURE_VARIANT_ADD(fixture, name##_mergeable) { \
		.mergeable = true, .kind = { __VA_ARGS__ } \
	}
#include "ring_kinds.h"

FIXTURE_SETUP(header)
{
	struct net *net = &self->net;

	if (access(NET_DEVICE, F_OK))
		SKIP(return, "there is no " NET_DEVICE);
	ASSERT_EQ(0, net_prepare(net, variant->kind, variant->mergeable, RING_SIZE));
	net->features |= BIT(VHOST_NET_F_VIRTIO_NET_HDR);
	net->tap.headerless = true;
	ASSERT_EQ(0, tap_delete(&net->tap));
	ASSERT_EQ(0, tap_again(&net->tap, true));
	ASSERT_EQ(0, net_start(net));
}

FIXTURE_TEARDOWN(header)
{
	EXPECT_EQ(0, queue_errors(&self->net.queue[RX]));
	EXPECT_EQ(0, queue_errors(&self->net.queue[TX]));
	net_end(&self->net);
}

TEST_F(header, both_ways)
{
	struct net *net = &self->net;

	for (int i = 0; i < 10; i++) {
		for (unsigned int n = 1 + random() % 60; n && tx_add(net); n--)
			;
		ASSERT_EQ(0, tx_pass(net));
		rx_fill(net);
		ASSERT_EQ(0, rx_pass(net, 1 + random() % 10));
	}
}

TEST_F(header, unwritable)
{
	uint8_t *page = memory_alloc(&self->net.memory, PAGE, PAGE);

	ASSERT_NE(NULL, page);
	for (int i = 0; i < 30; i++) {
		ASSERT_EQ(0, rx_lose_frame(&self->net, page, 0, sizeof(struct virtio_net_hdr),
					   false)) {
			TH_LOG("round %d", i);
		}
	}
}

TEST_HARNESS_MAIN
