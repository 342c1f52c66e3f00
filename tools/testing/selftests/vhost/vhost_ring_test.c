// SPDX-License-Identifier: GPL-2.0-only
/*
 * vhost's rings, with almost no device: /dev/vhost-test takes buffers and returns them in
 * batches of up to BATCH.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "../kselftest_harness.h"
#include "uffd.h"
#include "test_device.h"

#define BATCH		64
#define RING_SIZE	256
#define LAPS		5

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

static void add_some(struct test *test, unsigned int n)
{
	while (n && test_add(test, test_some_segments(test)))
		n--;
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

/* Buffers with one or more segments, a few at a time */
TEST_F(ring, laps)
{
	struct test *test = &self->test;
	unsigned int descs = 0;

	while (descs < LAPS * RING_SIZE) {
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

/* The number of used elements for a number of buffers, and that no others were written */
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

/* Another device takes over while buffers are outstanding. */
TEST_F(ring, another_device)
{
	struct test *test = &self->test;

	for (int i = 0; i < 20; i++) {
		struct device old = test->device;
		uint32_t base;

		add_some(test, random() % 80);
		test_kick_if_needed(test);
		/* some are used, some are not, and some are unknown to the device */
		add_some(test, random() % 40);
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
 */
TEST_F(ring, corrected)
{
	struct test *test = &self->test;
	struct ring *ring = &test->ring;

	for (int i = 0; i < 60; i++) {
		unsigned int bad, count;
		uint64_t *addr, good;
		uint32_t base;

		add_some(test, 1 + random() % 130);
		bad = random() % ring->count;
		addr = ring_addr(ring, bad, random() % ring_buffer(ring, bad)->descs);
		good = *addr;
		*addr = MEMORY_GPA + MEMORY_SIZE;
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		ASSERT_LT(0, queue_errors(&test->queue));
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

/* The device asks for a kick when it goes to sleep, and not more often than necessary. */
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

/* Interrupts in each mode, counted */
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

FIXTURE(setup)
{
	struct test test;
};

FIXTURE_VARIANT(setup)
{
	struct ring_kind kind;
};

#undef RING_KINDS_OF
#define RING_KINDS_OF	setup
#define RING_KINDS_DIRECT
#include "ring_kinds.h"

FIXTURE_SETUP(setup)
{
	if (access(TEST_DEVICE, F_OK))
		SKIP(return, "there is no " TEST_DEVICE);
}

FIXTURE_TEARDOWN(setup)
{
}

/* Each size that a layout may have, and buffers that end at each descriptor */
TEST_F(setup, sizes)
{
	static const unsigned int split[] = { 1, 2, 4, 8, 256, 1024, 32768 };
	static const unsigned int packed[] = { 1, 2, 3, 7, 8, 100, 256, 1000, 32767, 32768 };
	const unsigned int *sizes = variant->kind.packed ? packed : split;
	unsigned int n = variant->kind.packed ? ARRAY_SIZE(packed) : ARRAY_SIZE(split);

	for (unsigned int i = 0; i < n; i++) {
		struct test *test = &self->test;
		struct vring_packed_desc *desc;
		unsigned int descs = 0;

		ASSERT_EQ(0, test_start(test, variant->kind, sizes[i]));
		/* behind the ring: in one of the laps this looks like a part of it */
		desc = test->ring.desc;
		if (variant->kind.packed)
			desc[sizes[i]].flags = RING_AVAIL;
		while (descs < 3 * sizes[i] + 200) {
			unsigned int segments = test_some_segments(test);

			if (test_add(test, segments)) {
				descs += segments;
				if (random() % (sizes[i] / 4 + 1))
					continue;
			}
			ASSERT_EQ(0, test_pass(test)) {
				TH_LOG("in a ring of %u", sizes[i]);
			}
		}
		ASSERT_EQ(0, test_pass(test));
		ASSERT_EQ(0, queue_errors(&test->queue));
		test_end(test);
	}
}

/* The base after some traffic, and the forms in which it may be set */
TEST_F(setup, base)
{
	struct test *test = &self->test;
	const unsigned int num = 8;
	uint32_t base;

	ASSERT_EQ(0, test_prepare(test, variant->kind, num));
	/* DPDK's form for the packed ring: no used half */
	ASSERT_EQ(0, queue_setup(&test->queue, variant->kind.packed ? RING_WRAP : 0));
	ASSERT_EQ(0, queue_get_base(&test->queue, &base));
	EXPECT_EQ(queue_first_base(&test->queue), base);
	ASSERT_EQ(0, test_run(test, 1));
	ASSERT_NE(0, queue_set_base(&test->queue, 0));
	EXPECT_EQ(EBUSY, errno);

	for (int i = 0; i < 3 * num; i++) {
		ASSERT_TRUE(test_add(test, 3));
		ASSERT_EQ(0, test_pass(test));
		ASSERT_EQ(0, test_run(test, 0));
		ASSERT_EQ(0, queue_get_base(&test->queue, &base));
		ASSERT_EQ(ring_base(&test->ring), base);
		/* the long form, or the short one */
		if (variant->kind.packed && i % 2)
			base &= 0xffff;
		ASSERT_EQ(0, queue_set_base(&test->queue, base));
		ASSERT_EQ(0, test_run(test, 1));
	}
	test_end(test);
}

/* A new ring begins at its start even if the base is not set. */
TEST_F(setup, no_base)
{
	struct test *test = &self->test;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	ASSERT_EQ(0, queue_setup_no_base(&test->queue));
	ASSERT_EQ(0, test_run(test, 1));
	for (int i = 0; i < 30; i++) {
		ASSERT_TRUE(test_add(test, 3));
		ASSERT_EQ(0, test_pass(test));
		/* and continues where it stopped */
		ASSERT_EQ(0, test_run(test, 0));
		ASSERT_EQ(0, test_run(test, 1));
	}
	test_end(test);
}

/* Invalid bases */
TEST_F(setup, base_outside)
{
	struct test *test = &self->test;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	ASSERT_EQ(0, queue_setup(&test->queue, queue_first_base(&test->queue)));
	if (variant->kind.packed) {
		/* outside of the ring, or with an impossible number of buffers outstanding */
		static const uint32_t bases[] = { 0x80088008, 0x80008008, 0x80088000, 0xffffffff,
						  8, 0x80007fff, 0x80058003, 0x80030005,
						  0x00050003, 0x00038005 };

		for (unsigned int i = 0; i < ARRAY_SIZE(bases); i++) {
			ASSERT_EQ(0, queue_set_base(&test->queue, bases[i]));
			EXPECT_NE(0, test_run(test, 1)) {
				TH_LOG("%#x", bases[i]);
			}
			EXPECT_EQ(EINVAL, errno);
			ASSERT_EQ(0, test_run(test, 0));
		}
	} else {
		EXPECT_NE(0, queue_set_base(&test->queue, 0x10000));
		EXPECT_EQ(EINVAL, errno);
	}
	/* and it works afterwards */
	ASSERT_EQ(0, queue_set_base(&test->queue, queue_first_base(&test->queue)));
	ASSERT_EQ(0, test_run(test, 1));
	ASSERT_TRUE(test_add(test, 1));
	ASSERT_EQ(0, test_pass(test));
	test_end(test);
}

/* As many segments as fit vhost's list, in which empty ones take no room */
TEST_F(setup, segments)
{
	static const struct {
		unsigned int full, empty;
		bool good;
	} chains[] = {
		{ 1024, 0, true }, { 1025, 0, false }, { 1000, 24, true }, { 1000, 200, true },
		{ 1024, 1, true }, { 1025, 1, false }, { 1, 1024, true },
	};
	struct test *test = &self->test;

	for (unsigned int i = 0; i < ARRAY_SIZE(chains); i++) {
		unsigned int full = chains[i].full, n = full + chains[i].empty;
		struct segment segments[2048];

		ASSERT_EQ(0, test_start(test, variant->kind, ARRAY_SIZE(segments)));
		/* so that the region of the memory is cached */
		ASSERT_TRUE(test_add(test, 1));
		ASSERT_EQ(0, test_pass(test));
		for (unsigned int k = 0; k < n; k++)
			segments[k] = (struct segment) { .gpa = MEMORY_GPA + k, .len = k < full };
		/* the last one is not empty */
		segments[full - 1].len = 0;
		segments[n - 1].len = 1;
		ASSERT_TRUE(ring_add(&test->ring, segments, n, test->added++));
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		EXPECT_EQ(chains[i].good, test_take(test)) {
			TH_LOG("%u segments and %u empty ones", full, chains[i].empty);
		}
		EXPECT_EQ(!chains[i].good, !!queue_errors(&test->queue));
		test_end(test);
	}
}

/* The device begins at the base that was set, and stops at the right one, anywhere in both laps. */
TEST_F(setup, base_anywhere)
{
	struct test *test = &self->test;
	const unsigned int num = 8;

	ASSERT_EQ(0, test_prepare(test, variant->kind, num));
	ASSERT_EQ(0, queue_setup(&test->queue, queue_first_base(&test->queue)));
	for (unsigned int i = 0; i < 2 * num; i++) {
		struct ring *ring = &test->ring;
		uint16_t at = variant->kind.packed ? i % num | (i < num ? RING_WRAP : 0) :
						     65536 - num + i;
		uint32_t base;

		ring_reset(ring);
		ring->avail = at;
		ring->used = at;
		if (variant->kind.packed) {
			struct vring_packed_desc *desc = ring->desc;

			/* as if used in the lap before, or in this one */
			for (unsigned int k = 0; k < num; k++)
				desc[k].flags = (i < num) == (k < i % num) ?
						RING_AVAIL | RING_USED : 0;
		} else {
			((struct vring_avail *)ring->driver)->idx = at;
			((struct vring_used *)ring->device)->idx = at;
			ring->head = at % num;
		}
		base = ring_base(ring);
		ASSERT_EQ(0, queue_set_base(&test->queue, base));
		ASSERT_EQ(0, test_run(test, 1));
		/* the device area is that of a new ring */
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		for (unsigned int k = 0; k < num; k++) {
			ASSERT_TRUE(test_add(test, 3));
			ASSERT_EQ(0, test_pass(test));
		}
		ASSERT_EQ(0, test_run(test, 0));
	}
	test_end(test);
}

/* Sizes that this layout cannot have are refused. */
TEST_F(setup, num)
{
	static const struct {
		unsigned int num;
		bool split, packed;
	} sizes[] = {
		{ 0, false, false }, { 1, true, true }, { 2, true, true }, { 3, false, true },
		{ 255, false, true }, { 256, true, true }, { 32767, false, true },
		{ 32768, true, true }, { 32769, false, false }, { 65535, false, false },
		{ 65536, false, false }, { 65537, false, false }, { 1 << 31, false, false },
	};
	struct test *test = &self->test;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		bool good = variant->kind.packed ? sizes[i].packed : sizes[i].split;

		errno = 0;
		EXPECT_EQ(good ? 0 : -1, queue_num(&test->queue, sizes[i].num)) {
			TH_LOG("%u", sizes[i].num);
		}
		EXPECT_EQ(good ? 0 : EINVAL, errno);
	}
	ASSERT_EQ(0, queue_setup(&test->queue, queue_first_base(&test->queue)));
	ASSERT_EQ(0, test_run(test, 1));
	EXPECT_NE(0, queue_num(&test->queue, 8));
	EXPECT_EQ(EBUSY, errno);
	test_end(test);
}

/* A size that only the packed layout may have, and then another layout */
TEST_F(setup, num_of_another_layout)
{
	struct test *test = &self->test;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	ASSERT_EQ(0, device_features(&test->device, kind_features((struct ring_kind) {
							.packed = true })));
	ASSERT_EQ(0, queue_setup(&test->queue, 0));
	ASSERT_EQ(0, queue_num(&test->queue, 7));
	ASSERT_EQ(0, device_features(&test->device, test->features));
	ASSERT_EQ(0, queue_set_base(&test->queue, queue_first_base(&test->queue)));
	errno = 0;
	EXPECT_EQ(variant->kind.packed ? 0 : -1, test_run(test, 1));
	EXPECT_EQ(variant->kind.packed ? 0 : EINVAL, errno);
	test_end(test);
}

/* Parts of the ring that are not aligned or not mapped */
TEST_F(setup, addresses)
{
	struct test *test = &self->test;
	struct ring *ring = &test->ring;
	const uint64_t desc = (uintptr_t)ring->desc, none = 1ULL << 62;
	bool packed = variant->kind.packed;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	ASSERT_EQ(0, queue_setup(&test->queue, queue_first_base(&test->queue)));

	const struct {
		uint64_t desc, driver, device;
		bool bad;
	} parts[] = {
		{ 8, 0, 0, packed }, { 4, 0, 0, packed }, { 0, 2, 0, packed },
		{ none, 0, 0, true }, { 0, none, 0, true }, { 0, 0, none, true },
		{ 0, 0, 0, false },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++) {
		uint64_t at[] = { (uintptr_t)ring->desc + parts[i].desc,
				  (uintptr_t)ring->driver + parts[i].driver,
				  (uintptr_t)ring->device + parts[i].device };

		ASSERT_EQ(0, queue_address(&test->queue, at[0], at[1], at[2]));
		errno = 0;
		EXPECT_EQ(parts[i].bad ? -1 : 0, test_run(test, 1)) {
			TH_LOG("at start: %u", i);
		}
		EXPECT_EQ(parts[i].bad ? EFAULT : 0, errno);
		if (!parts[i].bad)
			ASSERT_EQ(0, test_run(test, 0));
	}
	ASSERT_EQ(0, test_run(test, 1));
	/* the same while it runs */
	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++) {
		uint64_t at[] = { (uintptr_t)ring->desc + parts[i].desc,
				  (uintptr_t)ring->driver + parts[i].driver,
				  (uintptr_t)ring->device + parts[i].device };

		errno = 0;
		EXPECT_EQ(parts[i].bad ? -1 : 0,
			  queue_address(&test->queue, at[0], at[1], at[2])) {
			TH_LOG("while running: %u", i);
		}
		EXPECT_EQ(parts[i].bad ? EINVAL : 0, errno);
	}
	/* at any time, in each layout */
	EXPECT_NE(0, queue_address(&test->queue, desc, (uintptr_t)ring->driver + 1,
				   (uintptr_t)ring->device));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_NE(0, queue_address(&test->queue, desc, (uintptr_t)ring->driver,
				   (uintptr_t)ring->device + 2));
	EXPECT_EQ(EINVAL, errno);
	test_end(test);
}

/* The layout cannot change while it is in use, and can change afterwards. */
TEST_F(setup, features_of_a_running_device)
{
	static const uint64_t layouts[] = { 0, BIT(VIRTIO_F_IN_ORDER), BIT(VIRTIO_F_RING_PACKED),
					    LAYOUT_BITS };
	struct test *test = &self->test;

	ASSERT_EQ(0, test_start(test, variant->kind, 8));
	for (unsigned int i = 0; i < ARRAY_SIZE(layouts); i++) {
		uint64_t features = (test->features & ~LAYOUT_BITS) | layouts[i];
		bool same = features == test->features;

		errno = 0;
		EXPECT_EQ(same ? 0 : -1, device_features(&test->device, features));
		EXPECT_EQ(same ? 0 : EBUSY, errno);
	}
	/* other features have nothing to do with the layout */
	EXPECT_EQ(0, device_features(&test->device,
				     test->features ^ BIT(VIRTIO_RING_F_INDIRECT_DESC)));
	ASSERT_EQ(0, device_features(&test->device, test->features));
	ASSERT_TRUE(test_add(test, 1));
	ASSERT_EQ(0, test_pass(test));

	ASSERT_EQ(0, test_run(test, 0));
	for (unsigned int i = 0; i < ARRAY_SIZE(layouts); i++)
		EXPECT_EQ(0, device_features(&test->device,
					     BIT(VIRTIO_F_VERSION_1) | layouts[i]));
	test_end(test);
}

/* Reset a virtqueue with outstanding buffers. */
TEST_F(setup, reset)
{
	struct test *test = &self->test;

	ASSERT_EQ(0, test_start(test, variant->kind, 8));
	for (int i = 0; i < 30; i++) {
		add_some(test, 1 + random() % 4);
		ASSERT_EQ(0, test_pass(test));
		ASSERT_TRUE(test_add(test, 1 + random() % 8));

		ASSERT_EQ(0, test_run(test, 0));
		ring_reset(&test->ring);
		test->added = 0;
		test->returned = 0;
		ASSERT_EQ(0, queue_set_base(&test->queue, queue_first_base(&test->queue)));
		ASSERT_EQ(0, test_run(test, 1));
	}
	test_end(test);
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

TEST_F(forgotten, among_others)
{
	struct test *test = &self->test;

	for (int i = 0; i < 100; i++) {
		unsigned int bad = 1 + random() % 3;

		for (unsigned int n = 0; n < bad; n++) {
			add_some(test, random() % 40);
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

		add_some(test, random() % 70);
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

/* An event as far ahead as possible does not come early. */
TEST_F(event, call_a_lap_ahead)
{
	struct test *test = &self->test;
	unsigned int chunk = 37;

	ASSERT_EQ(0, test_start(test, variant->kind, RING_SIZE));
	ASSERT_EQ(0, warm_up(test));

	for (int lap = 0; lap < 12; lap++) {
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

/* A device that starts does not know what the driver has missed: it interrupts once. */
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

FIXTURE(features)
{
	struct device device;
};

FIXTURE_VARIANT(features)
{
	const char *path;
};

FIXTURE_VARIANT_ADD(features, test) { "/dev/vhost-test" };
FIXTURE_VARIANT_ADD(features, net) { "/dev/vhost-net" };
FIXTURE_VARIANT_ADD(features, vsock) { "/dev/vhost-vsock" };

FIXTURE_SETUP(features)
{
	if (access(variant->path, F_OK))
		SKIP(return, "there is no such device");
	ASSERT_EQ(0, device_open(&self->device, variant->path));
}

FIXTURE_TEARDOWN(features)
{
	device_close(&self->device);
}

TEST_F(features, offered)
{
	EXPECT_EQ(LAYOUT_BITS, self->device.offered & LAYOUT_BITS);
}

TEST_F(features, alone_and_together)
{
	static const uint64_t layouts[] = { BIT(VIRTIO_F_IN_ORDER), BIT(VIRTIO_F_RING_PACKED),
					    LAYOUT_BITS };

	for (unsigned int i = 0; i < ARRAY_SIZE(layouts); i++) {
		EXPECT_EQ(0, device_features(&self->device, BIT(VIRTIO_F_VERSION_1) | layouts[i]));
		/* they need VIRTIO_F_VERSION_1 */
		EXPECT_NE(0, device_features(&self->device, layouts[i]));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(0, device_features(&self->device, 0));
	EXPECT_NE(0, device_features(&self->device, BIT(VIRTIO_F_VERSION_1) | BIT(36)));
	EXPECT_EQ(EOPNOTSUPP, errno);
}

static int set_parameter(const char *name, char value)
{
	char path[64];
	FILE *file;
	int ret;

	snprintf(path, sizeof(path), "/sys/module/vhost/parameters/%s", name);
	file = fopen(path, "w");
	if (!file)
		return -1;
	ret = fputc(value, file) == EOF;
	return fclose(file) || ret ? -1 : 0;
}

/* A VMM may set a feature again that the parameters have withheld since, to start logging. */
TEST_F(features, withheld_later)
{
	const uint64_t set = BIT(VIRTIO_F_VERSION_1) | LAYOUT_BITS;
	int again, other, offered_other;
	struct device device, second;

	ASSERT_EQ(0, device_open(&device, variant->path));
	ASSERT_EQ(0, device_features(&device, set));
	ASSERT_EQ(0, set_parameter("packed", '0'));
	again = device_features(&device, set);
	offered_other = device_open(&second, variant->path);
	other = device_features(&second, set);
	ASSERT_EQ(0, set_parameter("packed", '1'));

	EXPECT_EQ(0, again);
	ASSERT_EQ(0, offered_other);
	EXPECT_NE(0, other);
	device_close(&second);
	device_close(&device);
}

TEST_F(features, withheld)
{
	static const struct {
		const char *name;
		uint64_t bit;
	} parameters[] = {
		{ "packed", BIT(VIRTIO_F_RING_PACKED) },
		{ "in_order", BIT(VIRTIO_F_IN_ORDER) },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(parameters); i++) {
		struct device device;
		int offered, accepted;

		ASSERT_EQ(0, set_parameter(parameters[i].name, '0'));
		offered = device_open(&device, variant->path);
		accepted = device_features(&device, BIT(VIRTIO_F_VERSION_1) | parameters[i].bit);
		EXPECT_EQ(EOPNOTSUPP, errno);
		ASSERT_EQ(0, set_parameter(parameters[i].name, '1'));

		ASSERT_EQ(0, offered);
		EXPECT_EQ(LAYOUT_BITS & ~parameters[i].bit, device.offered & LAYOUT_BITS);
		EXPECT_NE(0, accepted);
		device_close(&device);
	}
}

TEST_HARNESS_MAIN
