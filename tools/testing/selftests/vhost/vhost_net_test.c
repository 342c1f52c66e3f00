// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames through /dev/vhost-net and a tap device in both directions, compared byte by byte,
 * with each kind of virtqueue; IOTLB misses; and the dirty log
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
#include "device.h"
#include "tap.h"

#define DEVICE		"/dev/vhost-net"
#define RING_SIZE	256
#define PAGE		MEMORY_PAGE
#define SLOT_SIZE	(3 * PAGE)
#define SLOTS		256
#define BATCH		64
#define PAGES		(MEMORY_SIZE / PAGE)

enum { RX, TX };

struct net {
	struct device device;
	struct memory memory;
	struct tap tap;
	struct ring ring[2];
	struct queue queue[2];
	uint64_t features;
	bool mergeable;
	bool zcopy;			/* zero-copy transmission, unless in order */
	size_t least, most;		/* bytes of a frame */
	uint8_t *slots[2];		/* SLOTS slots, with one buffer each */
	uint32_t buffers[2];		/* buffers made available; used as tokens */
	uint32_t sent[2], received[2];	/* frames */
};

static size_t size_of(const struct net *net, uint32_t number)
{
	return net->least + number * 1237UL % (net->most - net->least + 1);
}

static uint8_t *slot(struct net *net, int which, uint32_t token)
{
	return net->slots[which] + token % SLOTS * SLOT_SIZE;
}

/* Cut the data at @at into this many segments, none of which is empty. */
static void cut(const struct net *net, const uint8_t *at, size_t size, bool write,
		struct segment *segments, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		size_t len = i + 1 < n ? 1 + random() % (size - (n - i - 1)) : size;

		segments[i] = (struct segment) { memory_gpa(&net->memory, at), len, write };
		at += len;
		size -= len;
	}
}

static int start_queue(struct net *net, int which, uint32_t base)
{
	return queue_setup(&net->queue[which], base) ||
	       queue_backend(&net->queue[which], net->tap.fd) ? -1 : 0;
}

static int start_device(struct net *net)
{
	if (device_open(&net->device, DEVICE))
		return -1;
	return device_features(&net->device, net->features) ||
	       device_memory(&net->device, &net->memory) ? -1 : 0;
}

static bool have_zcopy(void)
{
	int file = open("/sys/module/vhost_net/parameters/experimental_zcopytx",
			O_RDONLY | O_CLOEXEC);
	char c = '0';

	if (file >= 0 && read(file, &c, 1) == 1)
		close(file);
	return c == '1';
}

static int prepare(struct net *net, struct ring_kind kind, bool mergeable, unsigned int num)
{
	memset(net, 0, sizeof(*net));
	net->mergeable = mergeable;
	net->zcopy = have_zcopy();
	net->features = kind_features(kind) | (mergeable ? BIT(VIRTIO_NET_F_MRG_RXBUF) : 0);
	net->least = FRAME_LEAST;
	net->most = FRAME_MOST;
	if (tap_create(&net->tap) || memory_create(&net->memory))
		return -1;
	for (int i = RX; i <= TX; i++) {
		net->slots[i] = memory_alloc(&net->memory, SLOTS * SLOT_SIZE, PAGE);
		if (!net->slots[i] || ring_create(&net->ring[i], &net->memory, kind, num) ||
		    queue_create(&net->queue[i], &net->device, i, &net->ring[i]))
			return -1;
	}
	return 0;
}

static int start(struct net *net)
{
	return start_device(net) || start_queue(net, RX, queue_first_base(&net->queue[RX])) ||
	       start_queue(net, TX, queue_first_base(&net->queue[TX])) ||
	       /* it looks at the virtqueues immediately */
	       device_drain(&net->device) ? -1 : 0;
}

static void end(struct net *net)
{
	device_close(&net->device);
	for (int i = RX; i <= TX; i++) {
		queue_destroy(&net->queue[i]);
		ring_destroy(&net->ring[i]);
	}
	memory_destroy(&net->memory);
	tap_destroy(&net->tap);
}

static void kick_if_needed(struct net *net, int which)
{
	if (ring_kick_needed(&net->ring[which]))
		queue_kick(&net->queue[which]);
}

/* Send the next frame in this many segments. */
static bool tx_add_in(struct net *net, unsigned int n)
{
	uint32_t number = net->sent[TX];
	size_t size = size_of(net, number);
	uint8_t *at = slot(net, TX, number);
	struct segment segments[8];

	if (net->ring[TX].count == SLOTS)
		return false;
	memset(at, 0, NET_HEADER);
	frame_make(at + NET_HEADER, number, size);
	cut(net, at, NET_HEADER + size, false, segments, n);
	if (!ring_add(&net->ring[TX], segments, n, number))
		return false;
	net->sent[TX]++;
	return true;
}

static bool tx_add(struct net *net)
{
	return tx_add_in(net, 1 + random() % 8);
}

/* Take back the buffers of sent frames. Returns how many, or -1. */
static int tx_take(struct net *net)
{
	uint32_t token, len;
	int ret, n = 0;

	while ((ret = ring_get(&net->ring[TX], &token, &len)) > 0) {
		if (token != net->sent[TX] - net->ring[TX].count - 1 || len)
			return -1;
		n++;
	}
	return ret ?: n;
}

/* All frames up to this one must have reached the host. */
static int tx_check_until(struct net *net, uint32_t end)
{
	while (net->received[TX] != end) {
		uint32_t number = net->received[TX]++;

		if (tap_receive(&net->tap, number, size_of(net, number)))
			return -1;
	}
	return 0;
}

/* Everything that was sent must have arrived, and nothing else. */
static int tx_check(struct net *net)
{
	return tx_check_until(net, net->sent[TX]) || !tap_is_empty(&net->tap) ? -1 : 0;
}

static int tx_pass(struct net *net)
{
	unsigned int count = net->ring[TX].count;

	kick_if_needed(net, TX);
	return device_drain(&net->device) || tx_take(net) != count || tx_check(net) ? -1 : 0;
}

/* Add a receive buffer. */
static bool rx_add(struct net *net, size_t size)
{
	uint32_t token = net->buffers[RX];
	uint8_t *at = slot(net, RX, token);
	struct segment segments[4];
	unsigned int n = 1 + random() % ARRAY_SIZE(segments);

	if (net->ring[RX].count == SLOTS)
		return false;
	memset(at, FRAME_NEVER, SLOT_SIZE);
	cut(net, at, size, true, segments, n);
	if (!ring_add(&net->ring[RX], segments, n, token))
		return false;
	net->buffers[RX]++;
	return true;
}

static void rx_fill(struct net *net)
{
	size_t size;

	do
		size = net->mergeable ? 200 + random() % 1800 : NET_HEADER + FRAME_MOST;
	while (rx_add(net, size));
}

/*
 * Take one of the buffers that a frame is in, and copy it to @frame. Returns its length, 0 if
 * there is none, or -1.
 */
static int rx_take_buffer(struct net *net, uint8_t *frame, size_t room)
{
	uint32_t token, len, expected = net->buffers[RX] - net->ring[RX].count;
	int ret = ring_get(&net->ring[RX], &token, &len);

	if (ret <= 0)
		return ret;
	if (token != expected || !len || len > room) {
		fprintf(stderr, "# buffer %u of %u bytes, expected %u\n", token, len, expected);
		return -1;
	}
	memcpy(frame, slot(net, RX, token), len);
	return len;
}

/* Take all received frames. Returns how many, or -1. */
static int rx_take(struct net *net)
{
	static uint8_t frame[NET_HEADER + FRAME_MOST + SLOT_SIZE];
	int n;

	for (n = 0; ; n++) {
		const struct virtio_net_hdr_v1 *header = (void *)frame;
		int length = rx_take_buffer(net, frame, sizeof(frame)), more;
		unsigned int buffers;
		uint32_t number;

		if (length <= 0)
			return length ?: n;
		buffers = net->mergeable ? header->num_buffers : 1;
		/* the other buffers must be there when the first one is */
		for (unsigned int i = 1; i < buffers; i++) {
			more = rx_take_buffer(net, frame + length, sizeof(frame) - length);
			if (more <= 0) {
				fprintf(stderr, "# %u buffers of %u\n", i, buffers);
				return -1;
			}
			length += more;
		}
		number = net->received[RX]++;
		if (length < NET_HEADER ||
		    frame_check(frame + NET_HEADER, length - NET_HEADER, number,
				size_of(net, number)))
			return -1;
	}
}

static int rx_send(struct net *net)
{
	uint32_t number = net->sent[RX]++;

	return tap_send(&net->tap, number, size_of(net, number));
}

static int rx_pass(struct net *net, unsigned int frames)
{
	kick_if_needed(net, RX);
	for (unsigned int i = 0; i < frames; i++)
		if (rx_send(net))
			return -1;
	return device_drain(&net->device) || rx_take(net) != frames ? -1 : 0;
}

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
	if (access(DEVICE, F_OK))
		SKIP(return, "there is no " DEVICE);
	ASSERT_EQ(0, prepare(&self->net, variant->kind, variant->mergeable, RING_SIZE));
	ASSERT_EQ(0, start(&self->net));
}

FIXTURE_TEARDOWN(net)
{
	EXPECT_EQ(0, queue_errors(&self->net.queue[RX]));
	EXPECT_EQ(0, queue_errors(&self->net.queue[TX]));
	end(&self->net);
}

/* Frames of all sizes, in several buffers, for a few laps of the ring */
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

/* Batches of small frames, and the number of used elements that they take */
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

/* Both sides wait for each other only by kicks and interrupts. */
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
		kick_if_needed(net, TX);
		rx_fill(net);
		kick_if_needed(net, RX);
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

/* Another device takes over during traffic, as when a guest migrates. */
TEST_F(net, another_device)
{
	struct net *net = &self->net;

	for (int i = 0; i < 12; i++) {
		unsigned int frames = random() % 8;
		uint32_t base[2];

		for (unsigned int n = random() % 30; n && tx_add(net); n--)
			;
		kick_if_needed(net, TX);
		for (unsigned int n = random() % 30; n && tx_add(net); n--)
			;
		rx_fill(net);
		kick_if_needed(net, RX);
		for (unsigned int n = 0; n < frames; n++)
			ASSERT_EQ(0, rx_send(net));
		for (int which = RX; which <= TX; which++) {
			ASSERT_EQ(0, queue_backend(&net->queue[which], -1));
			ASSERT_EQ(0, queue_get_base(&net->queue[which], &base[which]));
		}
		device_close(&net->device);
		ASSERT_EQ(0, start_device(net));
		for (int which = RX; which <= TX; which++) {
			ASSERT_EQ(0, start_queue(net, which, base[which]));
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

/* Buffers that are too few for a frame are fetched, discarded, and fetched again. */
TEST_F(net, too_little_room)
{
	struct net *net = &self->net;

	net->least = 4000;
	net->most = 4000;
	for (int i = 0; i < 150; i++) {
		if (!net->mergeable) {
			/* a frame that does not fit is dropped, and its buffer is not used */
			ASSERT_TRUE(rx_add(net, 1000 + random() % 1000));
			kick_if_needed(net, RX);
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
		page = slot(net, TX, number);
		before = net->ring[TX].count;
		if (!tx_add(net)) {
			ASSERT_EQ(0, tx_pass(net));
			continue;
		}
		while (behind && tx_add(net))
			behind--;
		ASSERT_EQ(0, mprotect(page, SLOT_SIZE, PROT_NONE));
		kick_if_needed(net, TX);
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
		kick_if_needed(net, RX);
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

FIXTURE(merge)
{
	struct net net;
};

FIXTURE_VARIANT(merge)
{
	struct ring_kind kind;
};

#undef RING_KIND
#undef RING_KINDS_OF
#define RING_KINDS_OF	merge
#define RING_KIND(fixture, name, ...) \
	FIXTURE_VARIANT_ADD(fixture, name) { .kind = { __VA_ARGS__ } }
#include "ring_kinds.h"

FIXTURE_SETUP(merge)
{
	if (access(DEVICE, F_OK))
		SKIP(return, "there is no " DEVICE);
	ASSERT_EQ(0, prepare(&self->net, variant->kind, true, RING_SIZE));
	ASSERT_EQ(0, start(&self->net));
	self->net.least = 3000;
	self->net.most = 7000;
}

FIXTURE_TEARDOWN(merge)
{
	EXPECT_EQ(0, queue_errors(&self->net.queue[RX]));
	end(&self->net);
}

/* More buffers for a frame than are read at once, added a few at a time */
TEST_F(merge, many_small_buffers)
{
	struct net *net = &self->net;
	size_t room = 0;

	for (int i = 0; i < 40; i++) {
		size_t needed = NET_HEADER + size_of(net, net->sent[RX]);
		int taken = 0;

		ASSERT_EQ(0, rx_send(net));
		while (true) {
			ASSERT_EQ(0, device_drain(&net->device));
			taken = rx_take(net);
			ASSERT_EQ(room >= needed, taken) {
				TH_LOG("%zu bytes for %zu", room, needed);
			}
			if (taken)
				break;
			for (unsigned int n = 1 + random() % 25; n; n--) {
				size_t size = 60 + random() % 200;

				ASSERT_TRUE(rx_add(net, size));
				room += size;
			}
			kick_if_needed(net, RX);
		}
		/* the last buffer is full */
		room = 0;
		for (unsigned int n = 0; n < net->ring[RX].count; n++)
			room += ring_buffer(&net->ring[RX], n)->writable;
	}
}

/* A reset while there are too few buffers: the device forgets those that it discarded. */
TEST_F(merge, reset)
{
	struct net *net = &self->net;
	struct queue *queue = &net->queue[RX];

	net->least = 3000;
	net->most = 3000;
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, rx_send(net));
		for (int k = 0; k < 2; k++)
			ASSERT_TRUE(rx_add(net, 1100));
		queue_kick(queue);
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_EQ(0, rx_take(net));

		ASSERT_EQ(0, queue_backend(queue, -1));
		ring_reset(&net->ring[RX]);
		ASSERT_EQ(0, start_queue(net, RX, queue_first_base(queue)));
		for (int k = 0; k < 3; k++) {
			ASSERT_EQ(0, device_drain(&net->device));
			ASSERT_EQ(0, rx_take(net));
			ASSERT_TRUE(rx_add(net, 1100));
			ASSERT_TRUE(ring_kick_needed(&net->ring[RX]));
			queue_kick(queue);
		}
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_EQ(1, rx_take(net));
	}
}

/* One of the buffers is invalid: those before it are kept for the next attempt. */
TEST_F(merge, bad_buffer)
{
	struct net *net = &self->net;
	struct ring *ring = &net->ring[RX];

	net->least = 2000;
	net->most = 2000;
	for (int i = 0; i < 40; i++) {
		unsigned int bad = random() % 11;
		uint64_t *addr, good;

		while (ring->count < 11)
			ASSERT_TRUE(rx_add(net, 200));
		addr = ring_addr(ring, bad, random() % ring_buffer(ring, bad)->descs);
		good = *addr;
		*addr = MEMORY_GPA + MEMORY_SIZE;
		queue_kick(&net->queue[RX]);
		ASSERT_EQ(0, rx_send(net));
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_LT(0, queue_errors(&net->queue[RX]));
		ASSERT_EQ(0, rx_take(net));
		*addr = good;
		/* at the error, it had notifications disabled */
		queue_kick(&net->queue[RX]);
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_EQ(1, rx_take(net));
		ASSERT_EQ(0, ring->count);
		ASSERT_EQ(0, queue_errors(&net->queue[RX]));
	}
}

/* A buffer of the wrong direction stops the device until it has been corrected. */
TEST_F(merge, wrong_buffer)
{
	struct net *net = &self->net;
	struct ring *ring = &net->ring[RX];

	net->least = 2000;
	net->most = 2000;
	for (int i = 0; i < 40; i++) {
		unsigned int bad = random() % 11;
		uint16_t *flags;

		while (ring->count < 11) {
			uint8_t *at = slot(net, RX, net->buffers[RX]);
			struct segment segment = { memory_gpa(&net->memory, at), 200, true };

			memset(at, FRAME_NEVER, SLOT_SIZE);
			ASSERT_TRUE(ring_add(ring, &segment, 1, net->buffers[RX]++));
		}
		flags = (uint16_t *)ring_addr(ring, bad, 0) + (ring->kind.packed ? 7 : 6);
		*flags &= ~VRING_DESC_F_WRITE;
		queue_kick(&net->queue[RX]);
		ASSERT_EQ(0, rx_send(net));
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_LT(0, queue_errors(&net->queue[RX]));
		ASSERT_EQ(0, rx_take(net));
		*flags |= VRING_DESC_F_WRITE;
		queue_kick(&net->queue[RX]);
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_EQ(1, rx_take(net)) {
			TH_LOG("round %d, buffer %u", i, bad);
		}
	}
}

FIXTURE(layout)
{
	struct net net;
};

FIXTURE_VARIANT(layout)
{
	struct ring_kind kind;
};

#undef RING_KIND
#undef RING_KINDS_OF
#define RING_KINDS_OF	layout
#define RING_KINDS_DIRECT
#define RING_KIND(fixture, name, ...) \
	FIXTURE_VARIANT_ADD(fixture, name) { .kind = { __VA_ARGS__ } }
#include "ring_kinds.h"

FIXTURE_SETUP(layout)
{
	if (access(DEVICE, F_OK))
		SKIP(return, "there is no " DEVICE);
}

FIXTURE_TEARDOWN(layout)
{
	end(&self->net);
}

/* A frame that crosses into the next region, which is mapped elsewhere */
TEST_F(layout, across_regions)
{
	struct net *net = &self->net;
	struct memory *memory = &net->memory;
	uint8_t *region, *next;

	ASSERT_EQ(0, prepare(net, variant->kind, false, RING_SIZE));
	region = memory_alloc(memory, 2 * MEMORY_REGION, MEMORY_REGION);
	next = mmap(NULL, MEMORY_REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	ASSERT_NE(NULL, region);
	ASSERT_NE(MAP_FAILED, next);
	memory->region[(region - memory->base) / MEMORY_REGION + 1] = next;
	memset(region + MEMORY_REGION, FRAME_NEVER, PAGE);
	ASSERT_EQ(0, start(net));
	net->most = 600;
	for (int i = 0; i < 200; i++) {
		uint8_t packet[NET_HEADER + FRAME_MOST] = {};
		size_t size = NET_HEADER + size_of(net, net->sent[TX]);
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
	if (memory_scatter(&net->memory) || device_open(&net->device, DEVICE) ||
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
	       start_queue(net, which, queue_first_base(&net->queue[which])) ? -1 : 0;
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
	ASSERT_EQ(0, prepare(net, variant->kind, true, 4 * RING_SIZE));
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

	ASSERT_EQ(0, prepare(net, variant->kind, true, RING_SIZE));
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

	ASSERT_EQ(0, prepare(net, variant->kind, true, RING_SIZE));
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
		ASSERT_EQ(FRAME_NEVER, *slot(net, RX, ring_buffer(&net->ring[RX], i)->token));
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
	uint64_t at;

	dirty->size = (MEMORY_GPA + MEMORY_SIZE) / PAGE / 8;
	dirty->before = malloc(MEMORY_SIZE);
	dirty->log = malloc(dirty->size);
	at = (uintptr_t)dirty->log;
	return !dirty->before || !dirty->log ||
	       ioctl(net->device.fd, VHOST_SET_LOG_BASE, &at) ||
	       device_features(&net->device, net->features | BIT(VHOST_F_LOG_ALL)) ||
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
	ASSERT_EQ(0, prepare(net, variant->kind, true, 4 * RING_SIZE));
	ASSERT_EQ(0, start(net));
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

	ASSERT_EQ(0, prepare(net, variant->kind, true, 8 * RING_SIZE));
	ASSERT_EQ(0, start(net));
	ASSERT_EQ(0, dirty_log(&dirty, net));
	net->least = 1000;
	net->most = 1000;
	for (int i = 0; i < 10; i++) {
		const uint8_t *at = slot(net, RX, net->buffers[RX]);

		for (unsigned int n = 0; n < SEGMENTS; n++) {
			uint32_t len = n % FULL ? 0 : (NET_HEADER + net->most) * FULL / SEGMENTS + 1;

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

	ASSERT_EQ(0, prepare(net, variant->kind, true, 4 * RING_SIZE));
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

/*
 * Frames that cannot be sent are lost, but their buffers are not. When there is a tap device
 * again, everything continues.
 */
FIXTURE(tap)
{
	struct net net;
};

FIXTURE_VARIANT(tap)
{
	struct ring_kind kind;
};

#undef RING_KINDS_OF
#define RING_KINDS_OF	tap
#define RING_KINDS_DIRECT
#include "ring_kinds.h"

FIXTURE_SETUP(tap)
{
	if (access(DEVICE, F_OK))
		SKIP(return, "there is no " DEVICE);
	ASSERT_EQ(0, prepare(&self->net, variant->kind, true, RING_SIZE));
	ASSERT_EQ(0, start(&self->net));
}

FIXTURE_TEARDOWN(tap)
{
	end(&self->net);
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
		if (start_queue(net, i, base[i]))
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

#undef RING_KIND
#define RING_KIND(fixture, name, ...) \
	FIXTURE_VARIANT_ADD(fixture, name) { .kind = { __VA_ARGS__ } }
RING_KIND(forgotten, split, .in_order = true);
RING_KIND(forgotten, packed, .packed = true, .in_order = true);
RING_KIND(forgotten, split_event_idx, .in_order = true, .event_idx = true);
RING_KIND(forgotten, packed_event_idx, .packed = true, .in_order = true, .event_idx = true);

FIXTURE_SETUP(forgotten)
{
	if (access(DEVICE, F_OK))
		SKIP(return, "there is no " DEVICE);
	ASSERT_EQ(0, prepare(&self->net, variant->kind, true, RING_SIZE));
	ASSERT_EQ(0, start(&self->net));
}

FIXTURE_TEARDOWN(forgotten)
{
	end(&self->net);
}

/* A transmit buffer that is empty or writable: it is not sent. */
static bool tx_add_bad(struct net *net)
{
	struct segment segment = { memory_gpa(&net->memory, slot(net, TX, net->sent[TX])) };

	segment.write = random() % 2;
	segment.len = segment.write;
	return net->ring[TX].count < SLOTS &&
	       ring_add(&net->ring[TX], &segment, 1, net->sent[TX]);
}

/* Some frames are malformed. The device stops at each of these until it is kicked. */
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

	if (!have_zcopy())
		SKIP(return, "vhost_net is loaded without experimental_zcopytx=1");
	ASSERT_EQ(0, prepare(&self->net, kind, true, RING_SIZE));
	ASSERT_EQ(0, start(&self->net));
}

FIXTURE_TEARDOWN(zcopy)
{
	if (have_zcopy())
		end(&self->net);
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
		if (start_queue(net, i, queue_first_base(&net->queue[i])))
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
		for (int laps = i % 2 ? 1 : 1 + random() % 5; laps; laps--) {
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
	if (access(DEVICE, F_OK))
		SKIP(return, "there is no " DEVICE);
}

FIXTURE_TEARDOWN(packed)
{
	end(&self->net);
}

/*
 * A frame in several buffers becomes visible with its first buffer. Here the descriptors of
 * the other buffers cannot be written, so the first one must not have been written either.
 */
TEST_F(packed, first_buffer_last)
{
	const unsigned int num = 2 * PAGE / sizeof(struct vring_packed_desc);
	struct net *net = &self->net;
	struct vring_packed_desc *desc;

	ASSERT_EQ(0, prepare(net, variant->kind, true, num));
	ASSERT_EQ(0, start(net));
	net->least = 64;
	net->most = 64;
	desc = net->ring[RX].desc;

	/* up to the last descriptor of the first page */
	for (unsigned int i = 0; i < num / 2 - 1; i++) {
		struct segment segment = { memory_gpa(&net->memory, slot(net, RX, i)), 1000, true };

		ASSERT_TRUE(ring_add(&net->ring[RX], &segment, 1, net->buffers[RX]++));
	}
	for (unsigned int i = 0; i < num / 2 - 1; i++)
		ASSERT_EQ(0, rx_pass(net, 1));
	net->least = 2500;
	net->most = 2500;
	for (unsigned int i = 0; i < 3; i++) {
		struct segment segment = { memory_gpa(&net->memory, slot(net, RX, num / 2 + i)),
				       1000, true };

		ASSERT_TRUE(ring_add(&net->ring[RX], &segment, 1, net->buffers[RX]++));
	}
	ASSERT_EQ(0, queue_errors(&net->queue[RX]));
	ASSERT_EQ(0, mprotect(desc + num / 2, PAGE, PROT_READ));
	kick_if_needed(net, RX);
	ASSERT_EQ(0, rx_send(net));
	ASSERT_EQ(0, device_drain(&net->device));
	EXPECT_LT(0, queue_errors(&net->queue[RX]));
	EXPECT_EQ(RING_AVAIL, desc[num / 2 - 1].flags & (RING_AVAIL | RING_USED));
	ASSERT_EQ(0, mprotect(desc + num / 2, PAGE, PROT_READ | PROT_WRITE));
}

TEST_HARNESS_MAIN
