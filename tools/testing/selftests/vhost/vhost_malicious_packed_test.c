// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packed rings on /dev/vhost-test with descriptors, positions, event flags and Buffer IDs that
 * no driver makes: vhost must not take more descriptors than the ring has, and signals an error
 * where it cannot continue.
 */
#include <string.h>
#include "../kselftest_harness.h"
#include "uffd.h"
#include "test_device.h"

#define RING_SIZE	256
#define WRAPS		10

FIXTURE(wraps)
{
	struct test test;
};

FIXTURE_VARIANT(wraps)
{
	struct ring_kind kind;
};

#define RING_KIND(fixture, name, ...) \
	FIXTURE_VARIANT_ADD(fixture, name) { \
		.kind = { .packed = true, .indirect = true, __VA_ARGS__ } \
	}
RING_KIND(wraps, packed, .in_order = false);
RING_KIND(wraps, packed_in_order, .in_order = true);

FIXTURE_SETUP(wraps)
{
	if (access(TEST_DEVICE, F_OK))
		SKIP(return, "there is no " TEST_DEVICE);
}

FIXTURE_TEARDOWN(wraps)
{
	test_end(&self->test);
}

/* A ring of one descriptor, which refers to an indirect table that is not in memory yet */
struct wraps {
	struct test *test;
	uint64_t tables;		/* a page each */
	unsigned int wrap;
};

static void next_wrap(struct wraps *wraps)
{
	struct vring_packed_desc *desc = wraps->test->ring.desc;

	desc->addr = wraps->tables + wraps->wrap % WRAPS * MEMORY_PAGE;
	desc->len = sizeof(*desc);
	desc->id = 0x55aa;
	__atomic_store_n(&desc->flags, VRING_DESC_F_INDIRECT |
			 (wraps->wrap % 2 ? RING_USED : RING_AVAIL), __ATOMIC_RELEASE);
	wraps->wrap++;
}

/* While the device waits for a table, its descriptor is replaced by that of the next wrap. */
static void wrap_meanwhile(void *arg)
{
	struct wraps *wraps = arg;

	if (wraps->wrap < WRAPS)
		next_wrap(wraps);
}

/*
 * Descriptors that are made available again before they have been used. The device must not
 * take more of them than the ring has, nor write a used one where it has none.
 * Clause: reused-early.
 */
TEST_F(wraps, ahead)
{
	static const uint8_t nothing[MEMORY_PAGE - sizeof(struct vring_packed_desc)];
	const struct vring_packed_desc table = { .addr = MEMORY_GPA, .len = 1 };
	struct test *test = &self->test;
	struct wraps wraps = { test };
	struct vring_packed_desc *desc;
	struct uffd uffd;
	void *tables;

	ASSERT_EQ(0, test_start(test, variant->kind, 1));
	desc = test->ring.desc;
	tables = memory_alloc(&test->memory, WRAPS * MEMORY_PAGE, MEMORY_PAGE);
	ASSERT_NE(NULL, tables);
	wraps.tables = memory_gpa(&test->memory, tables);
	ASSERT_EQ(0, uffd_begin(&uffd, tables, WRAPS * MEMORY_PAGE, wrap_meanwhile, &wraps));
	memcpy(uffd.content, &table, sizeof(table));
	next_wrap(&wraps);
	queue_kick(&test->queue);
	ASSERT_EQ(0, device_drain(&test->device));
	EXPECT_LT(0, queue_errors(&test->queue));
	/* and some more, for a device that counts too many */
	for (int i = 0; i < 4; i++) {
		next_wrap(&wraps);
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
	}
	EXPECT_EQ(0, memcmp(desc + 1, nothing, sizeof(nothing)));
	ASSERT_EQ(0, test_works(test, 1));
	EXPECT_EQ(0, memcmp(desc + 1, nothing, sizeof(nothing)));
	uffd_end(&uffd);
}

/*
 * When a device starts, any number of buffers up to the whole ring may be outstanding. In
 * order, these are fetched again.
 */
TEST_F(wraps, bases)
{
	static const uint32_t bases[] = { 0x80038003, 0x80038005, 0x80038007, 0x80030000,
					  0x80030003, 0x00058003, 0x00058005, 0x80000000 };
	struct test *test = &self->test;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	ASSERT_EQ(0, queue_setup(&test->queue, queue_first_base(&test->queue)));
	for (unsigned int i = 0; i < ARRAY_SIZE(bases); i++) {
		uint32_t base;

		ASSERT_EQ(0, queue_set_base(&test->queue, bases[i]));
		EXPECT_EQ(0, test_run(test, 1)) {
			TH_LOG("%#x", bases[i]);
		}
		ASSERT_EQ(0, test_run(test, 0));
		ASSERT_EQ(0, queue_get_base(&test->queue, &base));
		EXPECT_EQ(variant->kind.in_order ? bases[i] >> 16 | (bases[i] & 0xffff0000) :
						   bases[i], base);
	}
}

/* What VHOST_GET_VRING_BASE says is for the layout of now, not for the one that ran before. */
TEST_F(wraps, base_of_another_layout)
{
	struct ring_kind other = { .packed = true, .in_order = !variant->kind.in_order };
	struct test *test = &self->test;
	uint32_t base;

	ASSERT_EQ(0, test_start(test, other, 8));
	ASSERT_EQ(0, test_run(test, 0));
	ASSERT_EQ(0, device_features(&test->device, kind_features(variant->kind)));
	ASSERT_EQ(0, queue_set_base(&test->queue, 0x80038005));
	ASSERT_EQ(0, queue_get_base(&test->queue, &base));
	EXPECT_EQ(variant->kind.in_order ? 0x80038003 : 0x80038005, base);
}

/*
 * Outstanding buffers at start count when others are made available again before they have
 * been used. In order none are outstanding, and the device begins with these.
 * Clause: reused-early (packed).
 */
TEST_F(wraps, outstanding)
{
	const uint16_t avail = 3 | RING_WRAP, used = RING_WRAP;
	const unsigned int num = 8;
	struct test *test = &self->test;
	uint32_t base;

	ASSERT_EQ(0, test_prepare(test, variant->kind, num));
	ASSERT_EQ(0, queue_setup(&test->queue, used << 16 | avail));
	/* those that are not outstanding, and then all others again */
	for (unsigned int i = 0; i < num; i++)
		ring_set_raw(&test->ring, (struct ring_raw *)test->ring.desc + i, MEMORY_GPA, 1,
			     i < 3 && !variant->kind.in_order ? RING_USED : RING_AVAIL, i);
	ASSERT_EQ(0, test_run(test, 1));
	queue_kick(&test->queue);
	ASSERT_EQ(0, queue_get_base(&test->queue, &base));
	if (variant->kind.in_order) {
		EXPECT_EQ(0, queue_errors(&test->queue));
		EXPECT_EQ(0, base);
		return;
	}
	EXPECT_LT(0, queue_errors(&test->queue));
	EXPECT_EQ((5 | RING_WRAP) << 16, base);
}

/*
 * Event flags that were not negotiated, or do not exist, lead to an interrupt.
 * Clause: 2.8.10a.
 */
TEST_F(wraps, no_such_event)
{
	struct ring_kind kind = { .packed = true, .in_order = variant->kind.in_order };
	struct test *test = &self->test;

	ASSERT_EQ(0, test_start(test, kind, RING_SIZE));
	for (unsigned int i = 0; i < 10; i++) {
		uint32_t flags = i % 2 ? VRING_PACKED_EVENT_FLAG_DESC : 3;

		ASSERT_TRUE(test_add(test, 1));
		*(uint32_t *)test->ring.driver = flags << 16 | 100;
		ASSERT_EQ(0, test_pass(test));
		ASSERT_EQ(1, queue_calls(&test->queue));
	}
}

/* The only Buffer ID for which vhost has no handle, out of order */
TEST_F(wraps, buffer_id)
{
	struct ring_kind kind = { .packed = true, .in_order = variant->kind.in_order };
	struct test *test = &self->test;
	struct ring_raw *desc;

	ASSERT_EQ(0, test_start(test, kind, RING_WRAP));
	desc = test->ring.desc;
	/* after the first one, vhost has a region cached */
	ring_set_raw(&test->ring, desc++, MEMORY_GPA, 1, RING_AVAIL, 0);
	ring_set_raw(&test->ring, desc, MEMORY_GPA, 1, RING_AVAIL, RING_WRAP + 1);
	ring_set_raw(&test->ring, desc + 1, MEMORY_GPA, 1, RING_AVAIL, 1);
	queue_kick(&test->queue);
	ASSERT_EQ(0, device_drain(&test->device));
	if (kind.in_order) {
		/* one element for all three */
		EXPECT_EQ(0, queue_errors(&test->queue));
		EXPECT_EQ(RING_AVAIL | RING_USED, desc[-1].fourth);
		EXPECT_EQ(1, desc[-1].third);
		ASSERT_EQ(0, test_works(test, 5));
		return;
	}
	EXPECT_LT(0, queue_errors(&test->queue));
	EXPECT_EQ(RING_AVAIL, desc->fourth);
	/* and its neighbour, followed by another one */
	desc->third = RING_WRAP + 2;
	queue_kick(&test->queue);
	ASSERT_EQ(0, device_drain(&test->device));
	EXPECT_EQ(0, queue_errors(&test->queue));
	EXPECT_EQ(RING_AVAIL | RING_USED, desc->fourth);
	EXPECT_EQ(RING_WRAP + 2, desc->third);
	EXPECT_EQ(RING_AVAIL | RING_USED, desc[1].fourth);
	ASSERT_EQ(0, test_works(test, 5));
}

TEST_HARNESS_MAIN
