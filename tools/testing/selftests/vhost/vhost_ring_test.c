// SPDX-License-Identifier: GPL-2.0-only
/*
 * vhost's rings, with almost no device: /dev/vhost-test takes buffers and returns them in
 * batches of up to BATCH.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "../kselftest_harness.h"
#include "test_device.h"
#include "uffd.h"

#define BATCH		64
#define RING_SIZE	256
#define WRAPS		5

/*
 * Only after the device has used a buffer do both sides know which notifications the other one
 * wants. Before that, there may be one kick and one interrupt too many.
 */
static int warm_up(struct test *test)
{
	if (!test_add(test, 1))
		return -1;
	ring_call_at(&test->ring, 1);
	return test_pass(test) || queue_calls(&test->queue) != 1 ? -1 : 0;
}

FIXTURE(ring)
{
	struct test test;
};

FIXTURE_VARIANT(ring)
{
	struct ring_kind kind;
};

#define RING_KINDS_OF	ring
#include "ring_kinds.h"

FIXTURE_SETUP(ring)
{
	if (access(TEST_DEVICE, F_OK))
		SKIP(return, "there is no " TEST_DEVICE);
	ASSERT_EQ(0, test_start(&self->test, variant->kind, RING_SIZE)) {
		TH_LOG("%s", strerror(errno));
	}
}

FIXTURE_TEARDOWN(ring)
{
	EXPECT_EQ(0, queue_errors(&self->test.queue));
	test_end(&self->test);
}

/*
 * Buffers with one or more segments, a few at a time
 * Clause: 2.8.12a, 2.8.12b, 6.2b.
 */
TEST_F(ring, wraps)
{
	struct test *test = &self->test;
	unsigned int descs = 0;

	while (descs < WRAPS * RING_SIZE) {
		for (unsigned int n = 1 + random() % 100; n; n--) {
			unsigned int segments = test_some_segments(test);

			if (!test_add(test, segments))
				break;
			descs += ring_descs(&test->ring, segments);
		}
		ASSERT_EQ(0, test_pass(test));
	}
}

/* Full rings, which also end in the middle of the ring */
TEST_F(ring, full)
{
	struct test *test = &self->test;

	for (unsigned int segments = 1; segments <= SEGMENTS_MAX; segments++) {
		unsigned int descs = ring_descs(&test->ring, segments), n = 0;

		while (test_add(test, segments))
			n++;
		ASSERT_EQ(RING_SIZE / descs, n);
		ASSERT_EQ(0, test_pass(test));
	}
}

static bool is_used(const struct ring *ring, unsigned int i)
{
	const struct vring_packed_desc *desc = ring->desc;
	const struct vring_used *used = ring->device;

	if (ring->kind.packed)
		return !(desc[i].flags & RING_AVAIL) == !(desc[i].flags & RING_USED);
	return used->ring[i].id != UINT32_MAX;
}

/*
 * The number of used elements for a number of buffers, and that no others were written
 * Clause: 2.7.9a, 2.8.8a.
 */
TEST_F(ring, used_elements)
{
	static const unsigned int counts[] = { 1, 2, 63, 64, 65, 100, 128, 200, 256 };
	struct test *test = &self->test;
	struct ring *ring = &test->ring;

	for (unsigned int i = 0; i < ARRAY_SIZE(counts); i++) {
		unsigned int n = counts[i], elements, found = 0;
		unsigned int at = ring->used & (RING_SIZE - 1);

		if (!variant->kind.packed)
			memset(((struct vring_used *)ring->device)->ring, 0xff,
			       RING_SIZE * sizeof(struct vring_used_elem));
		for (unsigned int k = 0; k < n; k++)
			ASSERT_TRUE(test_add(test, 1));
		test_kick_if_needed(test);
		ASSERT_EQ(0, device_drain(&test->device));

		elements = variant->kind.in_order ? (n + BATCH - 1) / BATCH : n;
		for (unsigned int k = 0; k < n; k++)
			found += is_used(ring, (at + k) % RING_SIZE);
		ASSERT_EQ(elements, found);

		ring->elements = 0;
		ASSERT_EQ(n, test_take(test));
		ASSERT_EQ(elements, ring->elements);
	}
}

/* Another device continues while buffers are outstanding. */
TEST_F(ring, another_device)
{
	struct test *test = &self->test;

	for (int i = 0; i < 20; i++) {
		struct device old = test->device;
		uint32_t base;

		test_add_some(test, random() % 80);
		test_kick_if_needed(test);
		/* some are used, some are not, and some are unknown to the device */
		test_add_some(test, random() % 40);
		if (random() % 2)
			ASSERT_LE(0, test_take(test));

		ASSERT_EQ(0, test_run(test, 0));
		ASSERT_EQ(0, queue_get_base(&test->queue, &base));
		ASSERT_EQ(0, device_open(&test->device, TEST_DEVICE));
		device_close(&old);
		ASSERT_EQ(0, device_features(&test->device, test->features));
		ASSERT_EQ(0, device_memory(&test->device, &test->memory));
		ASSERT_EQ(0, queue_setup(&test->queue, base));
		ASSERT_EQ(0, test_run(test, 1));
		/* as QEMU does: there may be buffers that nobody was notified of */
		queue_kick(&test->queue);
		ASSERT_EQ(0, test_pass(test));
	}
}

/*
 * An invalid descriptor stops vhost at its buffer. When it has been corrected, this buffer and
 * those after it are used.
 * Clause: error-that-spins.
 */
TEST_F(ring, corrected)
{
	struct test *test = &self->test;
	struct ring *ring = &test->ring;

	for (int i = 0; i < 60; i++) {
		unsigned int bad, count;
		uint64_t *addr, good;
		uint32_t base;

		test_add_some(test, 1 + random() % 130);
		bad = random() % ring->count;
		addr = ring_addr(ring, bad, random() % ring_buffer(ring, bad)->descs);
		good = *addr;
		*addr = MEMORY_GPA + MEMORY_SIZE;
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		ASSERT_LT(0, queue_errors(&test->queue));
		/* and does not try again by itself */
		ASSERT_EQ(0, device_drain(&test->device));
		ASSERT_EQ(0, queue_errors(&test->queue));
		ASSERT_EQ(bad, test_take(test));
		*addr = good;

		/* it has notifications disabled, so kick it anyway */
		ring_kick_needed(ring);
		if (test_add(test, 1) && !variant->kind.event_idx)
			ASSERT_FALSE(ring_kick_needed(ring));
		/* an event index that was passed says so by itself */
		if (variant->kind.packed && variant->kind.event_idx)
			ASSERT_NE(VRING_PACKED_EVENT_FLAG_DISABLE,
				  *(uint32_t *)ring->device >> 16);
		if (random() % 2) {
			ASSERT_EQ(0, test_run(test, 0));
			ASSERT_EQ(0, queue_get_base(&test->queue, &base));
			ASSERT_EQ(ring_base(ring), base);
			ASSERT_EQ(0, queue_set_base(&test->queue, base));
			ASSERT_EQ(0, test_run(test, 1));
		}
		count = ring->count;
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		ASSERT_EQ(count, test_take(test));
		ASSERT_EQ(0, queue_errors(&test->queue));
	}
}

/*
 * A part of the ring, or its indirect tables, cannot be accessed. The device says so, and works
 * again after a reset.
 */
TEST_F(ring, no_access)
{
	struct test *test = &self->test;
	struct ring *ring = &test->ring;
	void *parts[] = { ring->desc, ring->driver, ring->device, ring->tables };
	size_t sizes[] = {
		MEMORY_PAGE, MEMORY_PAGE, MEMORY_PAGE,
		RING_SIZE * SEGMENTS_MAX * sizeof(struct vring_desc),
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++) {
		if (!parts[i])
			continue;
		ASSERT_TRUE(test_add(test, 2) && test_add(test, 3));
		ASSERT_EQ(0, mprotect(parts[i], sizes[i], PROT_NONE));
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		ASSERT_EQ(0, mprotect(parts[i], sizes[i], PROT_READ | PROT_WRITE));
		EXPECT_NE(0, queue_errors(&test->queue)) {
			TH_LOG("part %u", i);
		}
		ASSERT_EQ(0, test_works(test, 3));
	}
}

/*
 * The device asks for a kick when it goes to sleep, and not more often than necessary.
 * Clause: 2.7.10.2a.
 */
TEST_F(ring, kicks)
{
	struct test *test = &self->test;

	ASSERT_EQ(0, warm_up(test));
	for (int i = 0; i < 200; i++) {
		unsigned int n = 1 + random() % 20, kicks = 0;

		for (unsigned int k = 0; k < n; k++) {
			ASSERT_TRUE(test_add(test, test_some_segments(test)));
			kicks += ring_kick_needed(&test->ring);
		}
		ASSERT_EQ(variant->kind.event_idx ? 1 : n, kicks);
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		ASSERT_EQ(n, test_take(test));
	}
}

/* Kicks and interrupts alone keep a device and a driver running. */
TEST_F(ring, both_at_once)
{
	const unsigned int total = 20000;
	struct test *test = &self->test;
	unsigned int batches = 0, kicks = 0;
	uint64_t calls = 0;

	while (test->returned < total) {
		unsigned int n = 1 + random() % 16;

		while (n && test->added < total && test_add(test, test_some_segments(test)))
			n--;
		batches++;
		if (ring_kick_needed(&test->ring)) {
			queue_kick(&test->queue);
			kicks++;
		}
		ASSERT_LE(0, test_take(test));
		if (!n)
			continue;

		/* The ring is full, or these are the last ones: wait for any number of them. */
		if (test->ring.count)
			ring_call_at(&test->ring, 1 + random() % test->ring.count);
		if (test_take(test))
			continue;
		if (test->ring.count) {
			ASSERT_TRUE(queue_wait_call(&test->queue)) {
				TH_LOG("lost after %u buffers of %u", test->returned, test->added);
			}
			calls++;
		}
	}
	ASSERT_EQ(total, test->returned);
	EXPECT_LE(kicks, batches);
	EXPECT_LT(0, calls);
}

/*
 * Interrupts in each mode, counted
 * Clause: 2.7.7.2a, 2.7.7.2b, 2.7.7.2d.
 */
TEST_F(ring, calls)
{
	struct test *test = &self->test;

	ASSERT_EQ(0, warm_up(test));

	for (int i = 0; i < 100; i++) {
		unsigned int n = 1 + random() % 200, flushes = (n + BATCH - 1) / BATCH;
		unsigned int at = 1 + random() % 220, mode = random() % 3, calls = flushes;

		while (test->ring.count < n)
			ASSERT_TRUE(test_add(test, 1));
		switch (mode) {
		case 0:
			ring_call_never(&test->ring);
			calls = 0;
			break;
		case 1:
			/* the split layout with EVENT_IDX has no such setting */
			ring_call_always(&test->ring);
			if (variant->kind.event_idx && !variant->kind.packed)
				calls = 1;
			break;
		case 2:
			/* the packed layout names a descriptor, which must exist */
			if (variant->kind.packed && at > n)
				at = n;
			ring_call_at(&test->ring, at);
			if (variant->kind.event_idx)
				calls = at <= n;
			break;
		}
		ASSERT_EQ(0, test_pass(test));
		ASSERT_EQ(calls, queue_calls(&test->queue)) {
			TH_LOG("mode %u, %u buffers, at %u", mode, n, at);
		}
	}
}

/*
 * Of the available and of the used ring, flags and index end one page, and the next one has the
 * elements. So there is access to one but not to the other. (The packed layout has no such parts.)
 */
FIXTURE(parts)
{
	struct test test;
	uint8_t *avail, *used;		/* of each, the first page of two */
	void *log;
};

FIXTURE_VARIANT(parts)
{
	struct ring_kind kind;
	bool log;			/* vhost writes each used element alone */
};

RING_KIND(parts, split, .packed = false);
RING_KIND(parts, split_in_order, .in_order = true);
RING_KIND(parts, split_event_idx, .event_idx = true);
RING_KIND(parts, split_in_order_event_idx, .in_order = true, .event_idx = true);
FIXTURE_VARIANT_ADD(parts, split_log) { .log = true };
FIXTURE_VARIANT_ADD(parts, split_in_order_log) { .kind.in_order = true, .log = true };

FIXTURE_SETUP(parts)
{
	const size_t end = MEMORY_PAGE - sizeof(struct vring_used);
	struct test *test = &self->test;

	if (access(TEST_DEVICE, F_OK))
		SKIP(return, "there is no " TEST_DEVICE);
	ASSERT_EQ(0, test_prepare(test, variant->kind, RING_SIZE));
	self->avail = memory_alloc(&test->memory, 2 * MEMORY_PAGE, MEMORY_PAGE);
	self->used = memory_alloc(&test->memory, 2 * MEMORY_PAGE, MEMORY_PAGE);
	self->log = calloc(1, LOG_SIZE);
	ASSERT_TRUE(self->avail && self->used && self->log);
	test->ring.driver = self->avail + end;
	test->ring.device = self->used + end;
	ASSERT_EQ(0, queue_setup(&test->queue, 0));
	if (variant->log) {
		ASSERT_EQ(0, device_start_log(&test->device, test->features, self->log));
		ASSERT_EQ(0, queue_log_address(&test->queue));
	}
	ASSERT_EQ(0, test_run(test, 1));
}

FIXTURE_TEARDOWN(parts)
{
	EXPECT_EQ(0, queue_errors(&self->test.queue));
	test_end(&self->test);
	free(self->log);
}

/* Let the device use some buffers while this page cannot be accessed, or not be written. */
static int pass_without(struct test *test, uint8_t *page, int protection)
{
	test_add_some(test, 1 + random() % 20);
	if (mprotect(page, MEMORY_PAGE, protection))
		return -1;
	queue_kick(&test->queue);
	if (device_drain(&test->device) ||
	    mprotect(page, MEMORY_PAGE, PROT_READ | PROT_WRITE))
		return -1;
	return queue_errors(&test->queue) ? 0 : -1;
}

/* The rest comes back without a reset. */
static int pass_rest(struct test *test)
{
	if (!test_add(test, 1))
		return -1;
	queue_kick(&test->queue);
	return test_pass(test);
}

/* The device looks up the first head of a ring that starts, and later ones out of order. */
TEST_F(parts, heads_unreadable)
{
	struct test *test = &self->test;

	for (int i = 0; i < 20; i++) {
		uint32_t base;

		ASSERT_EQ(0, test_run(test, 0));
		ASSERT_EQ(0, queue_get_base(&test->queue, &base));
		ASSERT_EQ(0, queue_set_base(&test->queue, base));
		ASSERT_EQ(0, test_run(test, 1));
		ASSERT_EQ(0, pass_without(test, self->avail + MEMORY_PAGE, PROT_NONE));
		ASSERT_EQ(0, test_take(test));
		ASSERT_EQ(0, pass_rest(test));
	}
}

/* Buffers that were used appear when the index can be written again. */
TEST_F(parts, used_index_unwritable)
{
	struct test *test = &self->test;

	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, pass_without(test, self->used, PROT_READ));
		ASSERT_EQ(0, test_take(test));
		ASSERT_EQ(0, pass_rest(test));
		/* it could not say either that it wants no kicks */
		queue_errors(&test->queue);
	}
}

/* In order, used buffers come back with the next ones. Out of order they do not. */
TEST_F(parts, used_elements_unwritable)
{
	struct test *test = &self->test;

	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, pass_without(test, self->used + MEMORY_PAGE, PROT_READ));
		ASSERT_EQ(0, test_take(test));
		ASSERT_EQ(0, variant->kind.in_order ? pass_rest(test) : test_works(test, 3));
	}
}

/*
 * Buffers that the device fetches, refuses and forgets. In order, they come back together with
 * the next ones that it uses, so that driver and device stay in step.
 */
FIXTURE(forgotten)
{
	struct test test;
};

FIXTURE_VARIANT(forgotten)
{
	struct ring_kind kind;
};

RING_KIND(forgotten, split, .in_order = true);
RING_KIND(forgotten, packed, .packed = true, .in_order = true);
RING_KIND(forgotten, split_event_idx, .in_order = true, .event_idx = true);
RING_KIND(forgotten, packed_event_idx, .packed = true, .in_order = true, .event_idx = true);
RING_KIND(forgotten, split_indirect, .in_order = true, .indirect = true);
RING_KIND(forgotten, packed_indirect, .packed = true, .in_order = true, .indirect = true);

FIXTURE_SETUP(forgotten)
{
	if (access(TEST_DEVICE, F_OK))
		SKIP(return, "there is no " TEST_DEVICE);
	ASSERT_EQ(0, test_start(&self->test, variant->kind, 4 * RING_SIZE));
}

FIXTURE_TEARDOWN(forgotten)
{
	test_end(&self->test);
}

/* A buffer that is empty or writable */
static bool add_bad(struct test *test)
{
	unsigned int n = 1 + random() % 2, len = random() % 2;
	struct segment segments[] = {
		{ MEMORY_GPA, len, false }, { MEMORY_GPA + 100, len, false },
	};

	segments[n - 1].write = len;
	if (!ring_add(&test->ring, segments, n, test->added))
		return false;
	test->added++;
	return true;
}

/*
 * The device stops at each bad buffer until it is kicked again. Returns how many buffers did
 * not come back, or -1.
 */
static int pass_with_errors(struct test *test)
{
	uint32_t token, len;
	unsigned int count;
	int ret;

	do {
		count = test->ring.count;
		for (int i = 0; i < 4; i++) {
			queue_kick(&test->queue);
			if (device_drain(&test->device))
				return -1;
		}
		/* a writable buffer that is skipped counts as completely written */
		while ((ret = ring_get(&test->ring, &token, &len)) > 0)
			if (token != test->returned++)
				return -1;
		if (ret)
			return -1;
	} while (test->ring.count && test->ring.count < count);
	return test->ring.count;
}

/* Clause: 6.2b. */
TEST_F(forgotten, among_others)
{
	struct test *test = &self->test;

	for (int i = 0; i < 100; i++) {
		unsigned int bad = 1 + random() % 3;

		for (unsigned int n = 0; n < bad; n++) {
			test_add_some(test, random() % 40);
			ASSERT_TRUE(add_bad(test));
		}
		ASSERT_TRUE(test_add(test, 1));
		ASSERT_EQ(0, pass_with_errors(test)) {
			TH_LOG("round %d: %u buffers did not come back", i, test->ring.count);
		}
		ASSERT_LT(0, queue_errors(&test->queue));
	}
}

/* The device forgets some buffers, stops and starts: they are fetched again. */
TEST_F(forgotten, before_a_stop)
{
	struct test *test = &self->test;

	for (int i = 0; i < 40; i++) {
		unsigned int bad = 1 + random() % 3, at;
		struct vring_desc *desc;
		uint32_t base;

		test_add_some(test, random() % 70);
		ASSERT_EQ(0, test_pass(test));
		at = variant->kind.packed ? test->ring.avail & ~RING_WRAP : test->ring.head;
		for (unsigned int n = 0; n < bad; n++) {
			struct segment nothing = { MEMORY_GPA };

			ASSERT_TRUE(ring_add(&test->ring, &nothing, 1, test->added++));
		}
		ASSERT_EQ(bad, pass_with_errors(test));
		ASSERT_EQ(0, test_run(test, 0));
		ASSERT_EQ(0, queue_get_base(&test->queue, &base));
		/* corrected meanwhile */
		desc = test->ring.desc;
		for (unsigned int n = 0; n < bad; n++)
			desc[(at + n) % test->ring.num].len = 1;
		ASSERT_EQ(0, queue_set_base(&test->queue, base));
		ASSERT_EQ(0, test_run(test, 1));
		queue_errors(&test->queue);
		queue_kick(&test->queue);
		ASSERT_EQ(0, test_pass(test));
		ASSERT_EQ(0, queue_errors(&test->queue));
	}
}

FIXTURE(event)
{
	struct test test;
};

FIXTURE_VARIANT(event)
{
	struct ring_kind kind;
};

RING_KIND(event, split_event_idx, .event_idx = true);
RING_KIND(event, split_in_order_event_idx, .in_order = true, .event_idx = true);
RING_KIND(event, packed_event_idx, .packed = true, .event_idx = true);
RING_KIND(event, packed_in_order_event_idx, .packed = true, .in_order = true, .event_idx = true);

FIXTURE_SETUP(event)
{
	if (access(TEST_DEVICE, F_OK))
		SKIP(return, "there is no " TEST_DEVICE);
}

FIXTURE_TEARDOWN(event)
{
}

/*
 * An event as far ahead as possible does not come early.
 * Clause: 2.7.7.2c, 2.7.7.2d.
 */
TEST_F(event, call_a_wrap_ahead)
{
	struct test *test = &self->test;
	unsigned int chunk = 37;

	ASSERT_EQ(0, test_start(test, variant->kind, RING_SIZE));
	/* no effect, as there is an event index */
	if (!variant->kind.packed)
		((struct vring_avail *)test->ring.driver)->flags = VRING_AVAIL_F_NO_INTERRUPT;
	ASSERT_EQ(0, warm_up(test));

	for (int wrap = 0; wrap < 12; wrap++) {
		unsigned int sum = 0;

		while (test_add(test, 1))
			;
		ring_call_at(&test->ring, RING_SIZE);
		test_kick_if_needed(test);
		ASSERT_EQ(0, device_drain(&test->device));
		ASSERT_EQ(RING_SIZE, test_take(test));
		ASSERT_EQ(1, queue_calls(&test->queue));
		/* an event that was passed stays passed */
		while (sum < RING_SIZE - chunk) {
			for (unsigned int k = 0; k < chunk; k++)
				ASSERT_TRUE(test_add(test, 1));
			ASSERT_EQ(0, test_pass(test));
			ASSERT_EQ(0, queue_calls(&test->queue));
			sum += chunk;
		}
	}
	test_end(test);
}

/*
 * A device that starts does not know what the driver has missed: it interrupts once.
 * Clause: 2.7.10.2c.
 */
TEST_F(event, call_after_start)
{
	struct test *test = &self->test;
	uint32_t base;

	ASSERT_EQ(0, test_start(test, variant->kind, RING_SIZE));
	for (int i = 0; i < 20; i++) {
		for (int k = 0; k < 3; k++) {
			ASSERT_TRUE(test_add(test, 1));
			ring_call_at(&test->ring, 2);
			ASSERT_EQ(0, test_pass(test));
			ASSERT_EQ(!k, queue_calls(&test->queue));
		}
		ASSERT_EQ(0, test_run(test, 0));
		ASSERT_EQ(0, queue_get_base(&test->queue, &base));
		ASSERT_EQ(0, queue_set_base(&test->queue, base));
		ASSERT_EQ(0, test_run(test, 1));
		queue_kick(&test->queue);
	}
	test_end(test);
}

static void add_one(void *arg)
{
	struct test *test = arg;

	test_add(test, 1);
}

/*
 * A buffer is added while the device enables notifications. The driver does not see that yet
 * and does not kick, so the device has to look again.
 */
TEST_F(event, buffer_meanwhile)
{
	const unsigned int num = 512;
	struct test *test = &self->test;
	struct uffd uffd;
	uint8_t *event;

	ASSERT_EQ(0, test_start(test, variant->kind, num));
	/* where it enables them: in the split layout, the second page of the used ring */
	event = test->ring.device;
	if (!variant->kind.packed)
		event += MEMORY_PAGE;
	ASSERT_EQ(0, warm_up(test));
	ASSERT_EQ(0, uffd_begin(&uffd, event, MEMORY_PAGE, add_one, test));
	for (int i = 0; i < 20; i++) {
		ASSERT_TRUE(test_add(test, 1));
		ASSERT_EQ(0, uffd_remove(&uffd));
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		ASSERT_EQ(2, test_take(test));
	}
	uffd_end(&uffd);
	ASSERT_EQ(0, queue_errors(&test->queue));
	test_end(test);
}

TEST_HARNESS_MAIN
