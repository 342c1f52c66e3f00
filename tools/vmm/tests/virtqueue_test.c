// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtqueue.c by itself, in one process: drivers that break the rules, and the event index.
 */
#include <errno.h>
#include <kselftest_harness.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include "../util.h"
#include "../virtqueue.h"
#include "driver.h"

#define NUM		8
#define ALL		(BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_RING_F_INDIRECT_DESC))

struct sides {
	struct machine m;		/* without a process */
	struct guest_memory memory;
	struct driver_queue driver;
	struct virtqueue device;
	uint64_t buffer;
	uint64_t features;
};

static void start(struct sides *s, unsigned int num, uint64_t features)
{
	struct virtqueue_state *state;
	int ret;

	memset(s, 0, sizeof(*s));
	machine_init(&s->m, "", 4096);
	ret = guest_memory_map(&s->memory, s->m.memory_fd, s->m.args.regions, 2);
	if (ret)
		machine_fail("guest_memory_map: %d", ret);
	s->features = features;
	driver_init(&s->driver, &s->m, num, features);
	s->driver.indirect = false;
	s->buffer = machine_alloc(&s->m, 65536, 4096);
	state = &s->m.state->queues[0];
	state->num = num;
	state->desc = s->driver.desc;
	state->driver = s->driver.driver;
	state->device = s->driver.device;
	virtqueue_init_state(state, features);
	ret = virtqueue_start(&s->device, state, s->m.state->requests[0], &s->memory, features);
	if (ret)
		machine_fail("virtqueue_start: %d", ret);
}

/* Make available whatever is in the descriptors from 0 on. */
static void offer(struct sides *s)
{
	struct vring_avail *avail = machine_host(&s->m, s->driver.driver);

	avail->ring[0] = 0;
	avail->idx = 1;
}

static int fetch(struct sides *s)
{
	struct virtqueue_request *request;

	return virtqueue_fetch(&s->device, &request);
}

FIXTURE(split) {
	struct sides s;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_desc *table;
	uint64_t table_addr;
};

FIXTURE_SETUP(split)
{
	start(&self->s, NUM, ALL);
	self->desc = machine_host(&self->s.m, self->s.driver.desc);
	self->avail = machine_host(&self->s.m, self->s.driver.driver);
	self->table_addr = machine_alloc(&self->s.m, 64 * 16, 16);
	self->table = machine_host(&self->s.m, self->table_addr);
	self->desc[0] = (struct vring_desc) { .addr = self->s.buffer, .len = 16 };
	self->table[0] = (struct vring_desc) { .addr = self->s.buffer, .len = 16 };
}

FIXTURE_TEARDOWN(split)
{
	machine_destroy(&self->s.m);
}

TEST_F(split, fair)
{
	EXPECT_EQ(fetch(&self->s), 0);
	offer(&self->s);
	EXPECT_EQ(fetch(&self->s), 1);
	EXPECT_EQ(fetch(&self->s), 0);
}

TEST_F(split, head_beyond_table)
{
	self->avail->ring[0] = NUM;
	self->avail->idx = 1;
	EXPECT_EQ(fetch(&self->s), -EINVAL);
}

TEST_F(split, next_beyond_table)
{
	self->desc[0].flags = VRING_DESC_F_NEXT;
	self->desc[0].next = NUM;
	offer(&self->s);
	EXPECT_EQ(fetch(&self->s), -EINVAL);
}

TEST_F(split, circle)
{
	self->desc[0].flags = VRING_DESC_F_NEXT;
	self->desc[1] = self->desc[0];
	self->desc[0].next = 1;
	offer(&self->s);
	EXPECT_EQ(fetch(&self->s), -EINVAL);
}

TEST_F(split, index_runs_away)
{
	self->avail->idx = NUM + 1;
	EXPECT_EQ(fetch(&self->s), -EINVAL);
	self->avail->idx = 0xffff;
	EXPECT_EQ(fetch(&self->s), -EINVAL);
}

TEST_F(split, same_buffer_too_often)
{
	unsigned int i;

	/* As often as the ring has descriptors, and the device cannot know better. */
	self->avail->idx = NUM;
	for (i = 0; i < NUM; i++)
		EXPECT_EQ(fetch(&self->s), 1);
	self->avail->idx = NUM + 1;
	EXPECT_EQ(fetch(&self->s), -EINVAL);
}

TEST_F(split, readable_after_writable)
{
	self->desc[0].flags = VRING_DESC_F_NEXT | VRING_DESC_F_WRITE;
	self->desc[0].next = 1;
	self->desc[1] = (struct vring_desc) { .addr = self->s.buffer, .len = 16 };
	offer(&self->s);
	EXPECT_EQ(fetch(&self->s), -EINVAL);
}

TEST_F(split, segments)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		int ret;
	} cases[] = {
		{ LOW_ADDR, 0, -EINVAL },
		{ 0, 1, -EINVAL },
		{ LOW_ADDR - 1, 1, -EINVAL },
		{ LOW_ADDR - 1, 2, -EINVAL },
		{ LOW_ADDR + REGION_SIZE - 1, 1, 1 },
		{ LOW_ADDR + REGION_SIZE - 1, 2, -EINVAL },
		{ LOW_ADDR + REGION_SIZE, 1, -EINVAL },
		{ HIGH_ADDR + REGION_SIZE - 1, 1, 1 },
		{ HIGH_ADDR + REGION_SIZE, 1, -EINVAL },
		{ LOW_ADDR, UINT32_MAX, -EINVAL },
		{ UINT64_MAX, 1, -EINVAL },
		{ UINT64_MAX - 15, 32, -EINVAL },
		{ UINT64_MAX - 15, 16, -EINVAL },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		self->desc[0] = (struct vring_desc) {
			.addr = cases[i].addr, .len = cases[i].len,
		};
		self->avail->ring[self->s.m.state->queues[0].avail % NUM] = 0;
		self->avail->idx = self->s.m.state->queues[0].avail + 1;
		EXPECT_EQ(fetch(&self->s), cases[i].ret) {
			TH_LOG("case %zu", i);
		}
	}
}

static int fetch_table(struct sides *s, struct vring_desc *desc, uint64_t addr, uint32_t len,
		       uint16_t flags)
{
	desc->addr = addr;
	desc->len = len;
	desc->flags = VRING_DESC_F_INDIRECT | flags;
	offer(s);
	return fetch(s);
}

TEST_F(split, table)
{
	/* WRITE means nothing on it (2.7.5.3.2). */
	EXPECT_EQ(fetch_table(&self->s, self->desc, self->table_addr, 16, VRING_DESC_F_WRITE), 1);
}

TEST_F(split, table_after_chain)
{
	self->desc[1] = self->desc[0];
	self->desc[1].flags = VRING_DESC_F_INDIRECT;
	self->desc[1].addr = self->table_addr;
	self->desc[0].flags = VRING_DESC_F_NEXT;
	self->desc[0].next = 1;
	offer(&self->s);
	EXPECT_EQ(fetch(&self->s), 1);
}

TEST_F(split, bad_tables)
{
	struct sides *s = &self->s;
	unsigned int i;

	EXPECT_EQ(fetch_table(s, self->desc, self->table_addr, 0, 0), -EINVAL);
	EXPECT_EQ(fetch_table(s, self->desc, self->table_addr, 15, 0), -EINVAL);
	EXPECT_EQ(fetch_table(s, self->desc, self->table_addr, 24, 0), -EINVAL);
	EXPECT_EQ(fetch_table(s, self->desc, 0, 16, 0), -EINVAL);
	EXPECT_EQ(fetch_table(s, self->desc, UINT64_MAX - 15, 16, 0), -EINVAL);
	EXPECT_EQ(fetch_table(s, self->desc, self->table_addr, 0xfffffff0, 0), -EINVAL);
	EXPECT_EQ(fetch_table(s, self->desc, self->table_addr, 16, VRING_DESC_F_NEXT), -EINVAL);

	self->table[0].flags = VRING_DESC_F_NEXT;
	self->table[0].next = 0;
	EXPECT_EQ(fetch_table(s, self->desc, self->table_addr, 16, 0), -EINVAL);
	self->table[0].next = 1;
	EXPECT_EQ(fetch_table(s, self->desc, self->table_addr, 16, 0), -EINVAL);
	/* A table in a table */
	self->table[0].flags = VRING_DESC_F_INDIRECT;
	self->table[0].addr = self->table_addr;
	EXPECT_EQ(fetch_table(s, self->desc, self->table_addr, 16, 0), -EINVAL);
	/* Longer than the queue */
	for (i = 0; i <= NUM; i++) {
		self->table[i] = (struct vring_desc) {
			.addr = s->buffer, .len = 1, .flags = VRING_DESC_F_NEXT, .next = i + 1,
		};
	}
	self->table[NUM].flags = 0;
	EXPECT_EQ(fetch_table(s, self->desc, self->table_addr, (NUM + 1) * 16, 0), -EINVAL);
	self->table[NUM - 1].flags = 0;
	EXPECT_EQ(fetch_table(s, self->desc, self->table_addr, (NUM + 1) * 16, 0), 1);
}

TEST_F(split, table_not_negotiated)
{
	self->s.device.indirect = false;
	EXPECT_EQ(fetch_table(&self->s, self->desc, self->table_addr, 16, 0), -EINVAL);
}

FIXTURE(packed) {
	struct sides s;
	struct vring_packed_desc *ring;
};

FIXTURE_SETUP(packed)
{
	start(&self->s, NUM, ALL | BIT(VIRTIO_F_RING_PACKED));
	self->ring = machine_host(&self->s.m, self->s.driver.desc);
}

FIXTURE_TEARDOWN(packed)
{
	machine_destroy(&self->s.m);
}

/* Descriptors 0 to @n - 1, before the ring wraps. */
static void set_ring(struct sides *s, unsigned int n, uint16_t flags, uint16_t last_flags)
{
	struct vring_packed_desc *ring = machine_host(&s->m, s->driver.desc);
	unsigned int i;

	for (i = 0; i < n; i++) {
		ring[i] = (struct vring_packed_desc) {
			.addr = s->buffer, .len = 16, .id = 0xabc,
			.flags = 1 << VRING_PACKED_DESC_F_AVAIL | (i + 1 < n ? flags : last_flags),
		};
	}
}

TEST_F(packed, whole_ring)
{
	struct virtqueue_state *state = &self->s.m.state->queues[0];
	struct virtqueue_request *request;

	set_ring(&self->s, NUM, VRING_DESC_F_NEXT, 0);
	ASSERT_EQ(virtqueue_fetch(&self->s.device, &request), 1);
	EXPECT_EQ(request->nr_segments, NUM);
	EXPECT_EQ(request->id, 0xabc);
	/* After a wrap: the wrap counter is the other one. */
	EXPECT_EQ(state->avail, 0);
	EXPECT_EQ(fetch(&self->s), 0);
	virtqueue_complete(&self->s.device, request, 0);
	EXPECT_EQ(state->used, 0);
	EXPECT_EQ(self->ring[0].flags,
		  (1 << VRING_PACKED_DESC_F_AVAIL | 1 << VRING_PACKED_DESC_F_USED));
	EXPECT_EQ(self->ring[0].id, 0xabc);
}

TEST_F(packed, endless_chain)
{
	set_ring(&self->s, NUM, VRING_DESC_F_NEXT, VRING_DESC_F_NEXT);
	EXPECT_EQ(fetch(&self->s), -EINVAL);
}

/* Made available again before it is used */
TEST_F(packed, overrun)
{
	unsigned int i;

	set_ring(&self->s, NUM - 1, VRING_DESC_F_NEXT, 0);
	EXPECT_EQ(fetch(&self->s), 1);
	self->ring[NUM - 1] = self->ring[NUM - 2];
	self->ring[NUM - 1].flags |= VRING_DESC_F_NEXT;
	for (i = 0; i < NUM; i++)
		self->ring[i].flags &= ~(i == 1 ? VRING_DESC_F_NEXT : 0);
	EXPECT_EQ(fetch(&self->s), -EINVAL);
}

TEST_F(packed, tables)
{
	struct sides *s = &self->s;
	uint64_t addr = machine_alloc(&s->m, 64 * 16, 16);
	struct vring_packed_desc *table = machine_host(&s->m, addr);
	unsigned int i;

	for (i = 0; i <= NUM; i++) {
		/* All flags but WRITE mean nothing there (2.8.7). */
		table[i] = (struct vring_packed_desc) {
			.addr = s->buffer, .len = 1, .flags = 0xffff & ~VRING_DESC_F_WRITE,
		};
	}
	/* INDIRECT and NEXT together kept a device of another project busy for ever. */
	set_ring(s, 1, 0, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT);
	EXPECT_EQ(fetch(s), -EINVAL);
	set_ring(s, 1, 0, VRING_DESC_F_INDIRECT);
	self->ring[0].addr = addr;
	self->ring[0].len = 0;
	EXPECT_EQ(fetch(s), -EINVAL);
	self->ring[0].len = 24;
	EXPECT_EQ(fetch(s), -EINVAL);
	self->ring[0].len = (NUM + 1) * 16;
	EXPECT_EQ(fetch(s), -EINVAL);
	self->ring[0].len = 16;
	self->ring[0].addr = HIGH_ADDR + REGION_SIZE;
	EXPECT_EQ(fetch(s), -EINVAL);
	/* Part of a chain */
	set_ring(s, 2, VRING_DESC_F_NEXT, VRING_DESC_F_INDIRECT);
	self->ring[1].addr = addr;
	EXPECT_EQ(fetch(s), -EINVAL);
	set_ring(s, 1, 0, VRING_DESC_F_INDIRECT);
	self->ring[0].addr = addr;
	self->ring[0].len = NUM * 16;
	EXPECT_EQ(fetch(s), 1);
}

FIXTURE(layout) {
	struct sides s;
};

FIXTURE_VARIANT(layout) {
	uint64_t features;
	unsigned int num;
};

#define PACKED	BIT(VIRTIO_F_RING_PACKED)
#define ORDER	BIT(VIRTIO_F_IN_ORDER)

FIXTURE_VARIANT_ADD(layout, split) { ALL, NUM };
FIXTURE_VARIANT_ADD(layout, split_in_order) { ALL | ORDER, NUM };
FIXTURE_VARIANT_ADD(layout, packed) { ALL | PACKED, NUM };
FIXTURE_VARIANT_ADD(layout, packed_in_order) { ALL | PACKED | ORDER, NUM };
FIXTURE_VARIANT_ADD(layout, packed_any_size) { ALL | PACKED, 7 };
FIXTURE_VARIANT_ADD(layout, packed_any_size_in_order) { ALL | PACKED | ORDER, 7 };

FIXTURE_SETUP(layout)
{
	start(&self->s, variant->num, variant->features);
}

FIXTURE_TEARDOWN(layout)
{
	machine_destroy(&self->s.m);
}

static struct virtqueue_request *add_and_fetch(struct sides *s, unsigned int nr,
					       unsigned int token)
{
	struct driver_segment segments[3] = {
		{ s->buffer, 8 }, { s->buffer + 8, 8 }, { s->buffer + 16, 8 },
	};
	struct virtqueue_request *request;

	if (!driver_add(&s->driver, segments, nr - 1, nr, token))
		machine_fail("no room in the ring");
	if (virtqueue_fetch(&s->device, &request) != 1)
		machine_fail("what was added cannot be fetched");
	return request;
}

/* Completed in each order of three; every buffer comes back once, in order if need be. */
TEST_F(layout, completed_in_any_order)
{
	static const unsigned int orders[6][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};
	bool in_order = variant->features & ORDER;
	struct virtqueue_request *requests[3];
	struct sides *s = &self->s;
	unsigned int round, i;
	uint32_t len;

	/* Lengths of 1 and 2, so that each position is the end of the ring at some time. */
	for (round = 0; round < 200; round++) {
		const unsigned int *order = orders[round % 6];

		for (i = 0; i < 3; i++)
			requests[i] = add_and_fetch(s, 1 + (round + i) % 2, i);
		for (i = 0; i < 3; i++)
			virtqueue_complete(&s->device, requests[order[i]], order[i] == 1 ? 3 : 8);
		for (i = 0; i < 3; i++) {
			unsigned int wanted = in_order ? i : order[i];

			ASSERT_EQ(driver_get(&s->driver, &len), (int)wanted);
			/* All of it, or skipped, which means the same. */
			ASSERT_TRUE(len == (wanted == 1 ? 3 : 8) ||
				    (in_order && wanted != 1 && len == UINT32_MAX));
		}
		ASSERT_EQ(driver_get(&s->driver, &len), -1);
	}
}

/* In order, three at once need one used element, if no length is lost. */
TEST_F(layout, batches)
{
	bool in_order = variant->features & ORDER;
	struct virtqueue_request *requests[3];
	struct sides *s = &self->s;
	unsigned int i;
	uint32_t len;

	for (i = 0; i < 3; i++)
		requests[i] = add_and_fetch(s, 2, i);
	for (i = 3; i--;)
		virtqueue_complete(&s->device, requests[i], 8);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(driver_get(&s->driver, &len), (int)(in_order ? i : 2 - i));
	EXPECT_EQ(s->driver.elements, in_order ? 1 : 3);
}

/* Interrupts, for each wish of the driver and each number of buffers, through some wraps */
TEST_F(layout, interrupts)
{
	struct sides *s = &self->s;
	unsigned int round, i, n;
	uint32_t len;

	for (round = 0; round < 100; round++) {
		n = 1 + round % 3;
		/* When the first of them is used */
		ASSERT_FALSE(driver_ask_for_interrupt(&s->driver));
		for (i = 0; i < n; i++)
			virtqueue_complete(&s->device, add_and_fetch(s, 1, i), 8);
		ASSERT_TRUE(virtqueue_wants_interrupt(&s->device));
		ASSERT_FALSE(virtqueue_wants_interrupt(&s->device));
		/* That has been passed, and the driver asks for no other. */
		virtqueue_complete(&s->device, add_and_fetch(s, 1, n), 8);
		ASSERT_FALSE(virtqueue_wants_interrupt(&s->device));
		for (i = 0; i <= n; i++)
			ASSERT_EQ(driver_get(&s->driver, &len), (int)i);
	}
}

/* Several wraps between two questions: the driver goes on without interrupts, then wants one. */
TEST_F(layout, interrupts_after_laps)
{
	struct sides *s = &self->s;
	unsigned int wraps, i;
	uint32_t len;

	for (wraps = 1; wraps <= 3; wraps++) {
		for (i = 0; i < wraps * variant->num; i++) {
			ASSERT_FALSE(driver_ask_for_interrupt(&s->driver));
			virtqueue_complete(&s->device, add_and_fetch(s, 1, i), 8);
			ASSERT_EQ(i + 1 < wraps * variant->num ?
				  driver_get(&s->driver, &len) : (int)i, (int)i);
		}
		/* The last one has come after the driver's last look. */
		EXPECT_TRUE(virtqueue_wants_interrupt(&s->device)) {
			TH_LOG("%u wraps", wraps);
		}
		EXPECT_FALSE(virtqueue_wants_interrupt(&s->device));
		ASSERT_EQ(driver_get(&s->driver, &len), (int)i - 1);
	}
}

/* What takes so long that others wrap past it is not fetched twice, nor is another lost. */
TEST_F(layout, restart_beside_a_slow_request)
{
	struct virtqueue_state *state = &self->s.m.state->queues[0];
	struct driver_segment segment = { self->s.buffer, 8 };
	struct virtqueue_request *slow, *request;
	struct sides *s = &self->s;
	uint16_t position;
	unsigned int i;
	uint32_t len;

	if (variant->features & ORDER)
		SKIP(return, "in order, nothing passes by");
	slow = add_and_fetch(s, 1, 1000);
	position = slow->position;
	for (i = 0; state->avail != position; i++) {
		virtqueue_complete(&s->device, add_and_fetch(s, 1, i), 8);
		ASSERT_EQ(driver_get(&s->driver, &len), (int)i);
		ASSERT_LE(i, 0x10000);
	}
	ASSERT_TRUE(driver_add(&s->driver, &segment, 0, 1, i));
	ASSERT_EQ(virtqueue_start(&s->device, state, s->m.state->requests[0], &s->memory,
				  s->features), 0);
	EXPECT_EQ(virtqueue_next_fetched(&s->device), slow);
	EXPECT_EQ(virtqueue_next_fetched(&s->device), NULL);
	ASSERT_EQ(virtqueue_fetch(&s->device, &request), 1);
	virtqueue_complete(&s->device, request, 8);
	EXPECT_EQ(driver_get(&s->driver, &len), (int)i);
	virtqueue_complete(&s->device, slow, 8);
	EXPECT_EQ(driver_get(&s->driver, &len), 1000);
}

/* Kicks, the same way */
TEST_F(layout, kicks)
{
	struct driver_segment segment = { self->s.buffer, 8 };
	struct virtqueue_request *request;
	struct sides *s = &self->s;
	unsigned int round;
	uint32_t len;

	driver_needs_kick(&s->driver);
	for (round = 0; round < 100; round++) {
		ASSERT_FALSE(virtqueue_ask_for_kick(&s->device));
		ASSERT_TRUE(driver_add(&s->driver, &segment, 0, 1, 0));
		ASSERT_TRUE(driver_needs_kick(&s->driver));
		ASSERT_TRUE(driver_add(&s->driver, &segment, 0, 1, 1));
		ASSERT_FALSE(driver_needs_kick(&s->driver));
		/* Asked too late: there is something already. */
		ASSERT_TRUE(virtqueue_ask_for_kick(&s->device));
		while (virtqueue_fetch(&s->device, &request) == 1)
			virtqueue_complete(&s->device, request, 8);
		while (driver_get(&s->driver, &len) >= 0)
			;
	}
}

TEST_HARNESS_MAIN
