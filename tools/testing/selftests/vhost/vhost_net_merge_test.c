// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames that /dev/vhost-net receives in several buffers
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include "../kselftest_harness.h"
#include "net.h"

FIXTURE(merge)
{
	struct net net;
};

FIXTURE_VARIANT(merge)
{
	struct ring_kind kind;
};

#define RING_KINDS_OF	merge
#include "ring_kinds.h"

FIXTURE_SETUP(merge)
{
	if (access(NET_DEVICE, F_OK))
		SKIP(return, "there is no " NET_DEVICE);
	ASSERT_EQ(0, net_prepare(&self->net, variant->kind, true, RING_SIZE));
	ASSERT_EQ(0, net_start(&self->net));
	self->net.least = 3000;
	self->net.most = 7000;
}

FIXTURE_TEARDOWN(merge)
{
	EXPECT_EQ(0, queue_errors(&self->net.queue[RX]));
	net_end(&self->net);
}

/*
 * More buffers for a frame than are read at once, added a few at a time
 * Clause: 5.1.6.3.2a, 5.1.6.4.1b, 5.1.6.4.1c, 5.1.6.4.1d.
 */
TEST_F(merge, many_small_buffers)
{
	struct net *net = &self->net;
	size_t room = 0;

	for (int i = 0; i < 40; i++) {
		size_t needed = NET_HEADER + net_frame_size(net, net->sent[RX]);
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
			net_kick_if_needed(net, RX);
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
		ASSERT_EQ(0, net_start_queue(net, RX, queue_first_base(queue)));
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

/* CPU time of the process's other threads, of which vhost's worker is the only one, in ms */
static unsigned long worker_ms(void)
{
	struct rusage all, own;

	getrusage(RUSAGE_SELF, &all);
	getrusage(RUSAGE_THREAD, &own);
	return (all.ru_stime.tv_sec - own.ru_stime.tv_sec) * 1000 +
	       (all.ru_stime.tv_usec - own.ru_stime.tv_usec) / 1000;
}

/*
 * The driver takes a buffer back that was too small, as it must not, and adds another one: the
 * worker does not look for the first again and again.
 * Clause: error-that-spins.
 */
TEST_F(merge, taken_back)
{
	struct net *net = &self->net;
	struct ring *ring = &net->ring[RX];
	struct vring_packed_desc *desc;
	unsigned long before, after;

	if (!variant->kind.packed)
		SKIP(return, "in a split ring nothing can be taken back");
	net->least = 2000;
	net->most = 2000;
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(0, rx_send(net));
		ASSERT_TRUE(rx_add(net, 1100));
		queue_kick(&net->queue[RX]);
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_EQ(0, rx_take(net));

		desc = (struct vring_packed_desc *)ring_addr(ring, 0, 0);
		desc->flags ^= 1 << VRING_PACKED_DESC_F_AVAIL;
		ASSERT_TRUE(rx_add(net, 1100));
		queue_kick(&net->queue[RX]);
		ASSERT_EQ(0, device_drain(&net->device));
		before = worker_ms();
		usleep(200000);
		after = worker_ms();
		ASSERT_GT(50, after - before) {
			TH_LOG("in 200 ms the worker ran for %lu", after - before);
		}
		ASSERT_EQ(0, rx_take(net));

		desc->flags ^= 1 << VRING_PACKED_DESC_F_AVAIL;
		queue_kick(&net->queue[RX]);
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_EQ(1, rx_take(net));
	}
}

/*
 * One of the buffers is invalid: those before it are kept for the next attempt.
 * Clause: error-that-spins.
 */
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
		/* it does not try again by itself */
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_EQ(0, queue_errors(&net->queue[RX]));
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

/*
 * A buffer of the wrong direction stops the device until it has been corrected. Nothing is
 * written to it.
 * Clause: 2.7.5.1a, 2.8.15a.
 */
TEST_F(merge, wrong_buffer)
{
	struct net *net = &self->net;
	struct ring *ring = &net->ring[RX];

	net->least = 2000;
	net->most = 2000;
	for (int i = 0; i < 40; i++) {
		unsigned int bad = random() % 11;
		const uint8_t *readable;
		uint16_t *flags;

		while (ring->count < 11) {
			uint8_t *at = net_slot(net, RX, net->buffers[RX]);
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
		readable = net_slot(net, RX, ring_buffer(ring, bad)->token);
		for (unsigned int k = 0; k < 200; k++)
			ASSERT_EQ(FRAME_NEVER, readable[k]);
		*flags |= VRING_DESC_F_WRITE;
		queue_kick(&net->queue[RX]);
		ASSERT_EQ(0, device_drain(&net->device));
		ASSERT_EQ(1, rx_take(net)) {
			TH_LOG("round %d, buffer %u", i, bad);
		}
	}
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

#define TWO_PAGES	(2 * PAGE / sizeof(struct vring_packed_desc))

/*
 * A ring of two pages, and a frame for which vhost uses the last descriptors of the first page,
 * @nr of them, and the first ones of the second, three in all. One of the pages cannot be
 * written then. Returns the first of these descriptors, or NULL. With @log, vhost logs what it
 * writes, for which it writes each descriptor alone.
 */
static struct vring_packed_desc *receive_over_pages(struct net *net, struct ring_kind kind,
						    unsigned int nr, unsigned int unwritable,
						    void *log)
{
	const unsigned int start = TWO_PAGES / 2 - nr;
	struct vring_packed_desc *desc, *page;

	if (net_prepare(net, kind, true, TWO_PAGES) || net_start(net) ||
	    (log && (device_start_log(&net->device, net->features, log) ||
		     queue_log_address(&net->queue[RX]))))
		return NULL;
	desc = net->ring[RX].desc;
	page = desc + unwritable * (TWO_PAGES / 2);
	net->least = 64;
	net->most = 64;
	for (unsigned int i = 0; i < start + 3; i++) {
		struct segment segment = { memory_gpa(&net->memory, net_slot(net, RX, i)),
					   1000, true };

		/* all before these are used at once */
		if (i == start && rx_pass(net, i))
			return NULL;
		if (!ring_add(&net->ring[RX], &segment, 1, net->buffers[RX]++))
			return NULL;
	}
	net->least = 2500;
	net->most = 2500;
	if (queue_errors(&net->queue[RX]) || mprotect(page, PAGE, PROT_READ))
		return NULL;
	net_kick_if_needed(net, RX);
	if (rx_send(net) || device_drain(&net->device) ||
	    mprotect(page, PAGE, PROT_READ | PROT_WRITE) || !queue_errors(&net->queue[RX]))
		return NULL;
	return desc + start;
}

/*
 * A frame in several buffers becomes visible with its first buffer. Here the descriptors of
 * the other buffers cannot be written, so the first one must not have been written either.
 * Clause: 2.8.9a.
 */
TEST_F(packed, first_buffer_last)
{
	struct vring_packed_desc *desc = receive_over_pages(&self->net, variant->kind, 1, 1,
							    NULL);

	ASSERT_NE(NULL, desc);
	EXPECT_EQ(RING_AVAIL, desc[0].flags & (RING_AVAIL | RING_USED));
}

/*
 * If the first one, or the last one, cannot be written, the driver must not find others when
 * it has come to them. In order, they are written anew before that.
 */
TEST_F(packed, all_buffers_or_none)
{
	void *log = malloc(LOG_SIZE);

	ASSERT_NE(NULL, log);
	for (unsigned int round = 0; round < 4; round++) {
		unsigned int nr = 1 + round % 2;
		struct vring_packed_desc *desc = receive_over_pages(&self->net, variant->kind,
								    nr, nr - 1,
								    round < 2 ? NULL : log);

		ASSERT_NE(NULL, desc);
		EXPECT_EQ(RING_AVAIL, desc[0].flags & (RING_AVAIL | RING_USED));
		for (unsigned int i = 1; i < 3 && !variant->kind.in_order; i++) {
			EXPECT_EQ(RING_AVAIL, desc[i].flags & (RING_AVAIL | RING_USED)) {
				TH_LOG("%u in the first page%s: descriptor %u", nr,
				       round < 2 ? "" : ", logged", i);
			}
		}
		if (round < 3)
			net_end(&self->net);
	}
	free(log);
}

TEST_HARNESS_MAIN
