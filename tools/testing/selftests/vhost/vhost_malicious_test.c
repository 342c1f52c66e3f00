// SPDX-License-Identifier: GPL-2.0-only
/*
 * Malformed rings on /dev/vhost-test: vhost has to signal an error, and the worst that may
 * happen is that the virtqueue has to be restarted.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../kselftest_harness.h"
#include "test_device.h"

#define RING_SIZE	256
#define TABLE_SIZE	32
#define SEED		20261121
/* Descriptors, for each of four layouts: two million in all. Fewer on a slow kernel. */
#define MALFORMED	(400000 / slowness())
#define CHANGING	(100000 / slowness())

FIXTURE(malicious)
{
	struct test test;
	uint64_t data;
	struct ring_raw *table;
	uint64_t table_at;
};

FIXTURE_VARIANT(malicious)
{
	struct ring_kind kind;
};

#define RING_KIND(fixture, name, ...) \
	FIXTURE_VARIANT_ADD(fixture, name) { \
		.kind = { .indirect = true, .event_idx = true, __VA_ARGS__ } \
	}
RING_KIND(malicious, split, .packed = false);
RING_KIND(malicious, split_in_order, .in_order = true);
RING_KIND(malicious, packed, .packed = true);
RING_KIND(malicious, packed_in_order, .packed = true, .in_order = true);

FIXTURE_SETUP(malicious)
{
	struct test *test = &self->test;
	void *data;

	if (access(TEST_DEVICE, F_OK))
		SKIP(return, "there is no " TEST_DEVICE);
	srandom(SEED);
	ASSERT_EQ(0, test_start(test, variant->kind, RING_SIZE));
	data = memory_alloc(&test->memory, 65536, 4096);
	self->table = memory_alloc(&test->memory, 65536, 4096);
	ASSERT_NE(NULL, data);
	ASSERT_NE(NULL, self->table);
	self->data = memory_gpa(&test->memory, data);
	self->table_at = memory_gpa(&test->memory, self->table);
}

FIXTURE_TEARDOWN(malicious)
{
	test_end(&self->test);
}

/*
 * One malformed buffer each; some are only unusual. These are the first descriptors of the
 * ring; the list ends with one that has neither address nor length.
 */
enum { SPLIT = 1, PACKED = 2, SPLIT_IN_ORDER = 4, PACKED_IN_ORDER = 8 };
#define ANY_SPLIT	(SPLIT | SPLIT_IN_ORDER)
#define ANY_PACKED	(PACKED | PACKED_IN_ORDER)
#define ANY		(ANY_SPLIT | ANY_PACKED)

enum where { DATA = 1, TABLE, OUTSIDE, LAST, OVERFLOW, FAR };

struct malformed {
	const char *what;
	unsigned int layouts;
	struct {
		enum where where;
		uint32_t len;
		uint16_t flags;
	} ring[3], table[2];
	uint16_t next;			/* of the first descriptor */
	uint16_t head, avail;		/* of the available ring: off by this much */
	bool endless;			/* NEXT in all descriptors of the ring */
	bool unavailable;		/* the second descriptor */
	bool fine;			/* unusual but valid */
};

#define NEXT		VRING_DESC_F_NEXT
#define WRITE		VRING_DESC_F_WRITE
#define INDIRECT	VRING_DESC_F_INDIRECT

static const struct malformed malformed[] = {
	{ "outside memory", ANY, { { OUTSIDE, 100 } } },
	{ "half outside memory", ANY, { { LAST, 100 } } },
	{ "from the end of addresses to their start", ANY, { { OVERFLOW, 100 } } },
	{ "4 GiB", ANY, { { DATA, UINT32_MAX } } },
	{ "no bytes", ANY, { { DATA, 0 } } },
	{ "4 GiB behind memory", ANY, { { DATA, 1, NEXT }, { FAR, 1 } } },
	{ "second outside memory", ANY, { { DATA, 1, NEXT }, { OUTSIDE, 1 } } },
	{ "writable", ANY, { { DATA, 1, WRITE } } },
	{ "readable after writable", ANY, { { DATA, 1, WRITE | NEXT }, { DATA, 1 } } },
	{ "chain that does not end", ANY, { { DATA, 1, NEXT } }, .endless = true },
	{ "chain that ends in an unavailable descriptor", ANY_PACKED,
	  { { DATA, 1, NEXT }, { DATA, 1 } }, .unavailable = true },
	{ "table outside memory", ANY, { { OUTSIDE, 32, INDIRECT } }, { { DATA, 1 } } },
	{ "table half outside memory", ANY, { { LAST, 160, INDIRECT } }, { { DATA, 1 } } },
	{ "empty table", ANY, { { TABLE, 0, INDIRECT } }, { { DATA, 1 } } },
	{ "half a descriptor in a table", ANY, { { TABLE, 8, INDIRECT } }, { { DATA, 1 } } },
	{ "one and a half", ANY, { { TABLE, 24, INDIRECT } }, { { DATA, 1 } } },
	{ "table too large", ANY, { { TABLE, 65537 * 16, INDIRECT } }, { { DATA, 1 } } },
	{ "table of 4 GiB", ANY, { { TABLE, 0xfffffff0, INDIRECT } }, { { DATA, 1 } } },
	{ "outside memory in a table", ANY, { { TABLE, 16, INDIRECT } }, { { OUTSIDE, 1 } } },
	{ "readable after writable in a table", ANY, { { TABLE, 32, INDIRECT } },
	  { { DATA, 1, WRITE | NEXT }, { DATA, 1 } } },
	{ "table in a table", ANY_SPLIT, { { TABLE, 16, INDIRECT } },
	  { { TABLE, 16, INDIRECT } } },
	{ "table that leads out of itself", ANY_SPLIT, { { TABLE, 16, INDIRECT } },
	  { { DATA, 1, NEXT } } },
	{ "table in a chain", ANY_PACKED, { { DATA, 1, NEXT }, { TABLE, 16, INDIRECT } },
	  { { DATA, 1 } } },
	{ "table behind nothing in a chain", ANY_PACKED,
	  { { DATA, 0, NEXT }, { TABLE, 16, INDIRECT } }, { { DATA, 1 } } },
	{ "table with more", ANY_PACKED | SPLIT_IN_ORDER,
	  { { TABLE, 16, INDIRECT | NEXT }, { DATA, 1 } }, { { DATA, 1 } } },
	{ "chain out of the ring", SPLIT, { { DATA, 1, NEXT } }, .next = RING_SIZE },
	{ "chain far out of the ring", SPLIT, { { DATA, 1, NEXT } }, .next = UINT16_MAX },
	{ "loop", SPLIT, { { DATA, 1, NEXT }, { DATA, 1, NEXT } }, .next = UINT16_MAX - 1 },
	{ "head out of the ring", ANY_SPLIT, { { DATA, 1 } }, .head = RING_SIZE },
	{ "head far out of the ring", ANY_SPLIT, { { DATA, 1 } }, .head = UINT16_MAX },
	{ "chain that ends in a table", ANY_SPLIT, { { DATA, 1, NEXT }, { TABLE, 32, INDIRECT } },
	  { { DATA, 1, NEXT }, { DATA, 1 } }, .fine = true },
	{ "writable table", ANY, { { TABLE, 16, INDIRECT | WRITE } }, { { DATA, 1 } },
	  .fine = true },
	{ "nothing first", ANY, { { DATA, 0, NEXT }, { DATA, 1 } }, .fine = true },
	{ "nothing in a table", ANY, { { TABLE, 32, INDIRECT } }, { { OUTSIDE, 0, NEXT },
	  { DATA, 1 } }, .fine = true },
	{ "nothing that is nowhere", ANY, { { OUTSIDE, 0, NEXT }, { DATA, 1 } }, .fine = true },
	{ "more than the ring available", ANY_SPLIT, { { DATA, 1 } }, .avail = RING_SIZE },
	{ "less than nothing available", ANY_SPLIT, { { DATA, 1 } }, .avail = UINT16_MAX - 1 },
	{ "available twice", SPLIT, { { DATA, 1 } }, .avail = 1, .fine = true },
};

static uint64_t at(struct test *test, uint64_t data, uint64_t table, enum where where)
{
	switch (where) {
	case DATA:
		return data;
	case TABLE:
		return table;
	case LAST:
		return MEMORY_GPA + MEMORY_SIZE - 50;
	case OVERFLOW:
		return -50ULL;
	case FAR:
		return data + (1ULL << 32);
	default:
		return MEMORY_GPA + MEMORY_SIZE;
	}
}

static void make(struct test *test, uint64_t data, struct ring_raw *table, uint64_t table_at,
		 const struct malformed *bad)
{
	struct ring *ring = &test->ring;
	struct ring_raw *desc = ring->desc;
	uint16_t available = ring->kind.packed ? RING_AVAIL : 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad->table); i++)
		ring_set_raw(ring, &table[i], at(test, data, table_at, bad->table[i].where),
			     bad->table[i].len, bad->table[i].flags, i + 1);
	for (unsigned int i = 0; bad->endless && i < RING_SIZE; i++)
		ring_set_raw(ring, &desc[i], data, 1, NEXT | available, (i + 1) % RING_SIZE);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad->ring) && bad->ring[i].where; i++) {
		uint16_t next = i + 1;

		if (!i && bad->next)
			next = bad->next == UINT16_MAX - 1 ? 0 : bad->next;
		ring_set_raw(ring, &desc[i], at(test, data, table_at, bad->ring[i].where),
			     bad->ring[i].len,
			     bad->ring[i].flags | (i && bad->unavailable ? 0 : available), next);
	}
	if (!ring->kind.packed) {
		struct vring_avail *avail = ring->driver;

		avail->ring[0] = bad->head;
		avail->ring[1] = bad->head;
		avail->idx = 1 + bad->avail;
	}
}

/* How many buffers has the device used, of those in the first descriptor? */
static unsigned int number_used(const struct ring *ring)
{
	const struct ring_raw *desc = ring->desc;
	const struct vring_used *used = ring->device;
	uint16_t both = RING_AVAIL | RING_USED;

	return ring->kind.packed ? (desc->fourth & both) == both : used->idx;
}

/*
 * A malformed buffer is refused, an unusual one is used, and the device works afterwards.
 * Clause: 2.7.5.3.2a, 2.7.5.3.2b, 2.8.15b, indirect-and-next,
 * reused-early (split, split in order).
 */
TEST_F(malicious, each)
{
	struct test *test = &self->test;
	unsigned int layout = 1U << (variant->kind.packed + variant->kind.in_order * 2), done = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(malformed); i++) {
		const struct malformed *bad = &malformed[i];

		if (!(bad->layouts & layout))
			continue;
		ASSERT_EQ(0, test_works(test, 5)) {
			TH_LOG("before: %s", bad->what);
		}
		ASSERT_EQ(0, test_run(test, 0));
		ring_reset(&test->ring);
		ASSERT_EQ(0, queue_set_base(&test->queue, queue_first_base(&test->queue)));
		make(test, self->data, self->table, self->table_at, bad);
		ASSERT_EQ(0, test_run(test, 1));
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		EXPECT_EQ(!bad->fine, !!queue_errors(&test->queue)) {
			TH_LOG("%s", bad->what);
		}
		EXPECT_EQ(bad->fine ? 1 + bad->avail : 0, number_used(&test->ring)) {
			TH_LOG("used: %s", bad->what);
		}
		EXPECT_EQ(0, test_works(test, 5)) {
			TH_LOG("after: %s", bad->what);
		}
		done++;
	}
	EXPECT_LT(20, done);
}

/*
 * Generated ones. Most descriptors are valid, so that vhost gets as far as the others, in
 * which something is random.
 */
static bool odds(unsigned int n)
{
	return !(random() % n);
}

static uint64_t some_address(const struct ring *ring)
{
	switch (random() % 4) {
	case 0:
		return MEMORY_GPA + MEMORY_SIZE - random() % 100;
	case 1:
		return (uint64_t)random() << 33 | random();
	case 2:
		return -(uint64_t)(random() % 4096);
	}
	/* the ring itself */
	return memory_gpa(ring->memory, ring->desc) +
	       random() % (RING_SIZE * sizeof(struct ring_raw));
}

static uint32_t some_length(void)
{
	switch (random() % 4) {
	case 0:
		return 0;
	case 1:
		return UINT32_MAX - random() % 32;
	case 2:
		return random();
	}
	return random() % 65536;
}

static uint16_t some_flags(uint16_t available)
{
	return odds(2) ? random() : (random() & (NEXT | WRITE | INDIRECT)) | available;
}

static struct ring_raw some_desc(const struct ring *ring, uint64_t table, unsigned int i,
				 uint16_t available, unsigned int good)
{
	uint64_t addr = MEMORY_GPA + random() % (MEMORY_SIZE / 2);
	uint32_t len = 1 + random() % 100;
	uint16_t flags = available | (odds(4) ? NEXT : 0), other = (i + 1) % RING_SIZE;
	struct ring_raw raw;

	if (table && odds(8)) {
		addr = table;
		len = (1 + random() % TABLE_SIZE) * sizeof(raw);
		flags = available | INDIRECT;
	}
	if (ring->kind.packed)
		other = random();
	if (odds(good)) {
		switch (random() % 5) {
		case 0:
			addr = some_address(ring);
			break;
		case 1:
			len = some_length();
			break;
		case 2:
			other = random();
			break;
		default:
			flags = some_flags(available);
		}
	}
	ring_set_raw(ring, &raw, addr, len, flags, other);
	return raw;
}

static void some_ring(struct test *test, struct ring_raw *table, uint64_t table_at, uint16_t from)
{
	struct ring *ring = &test->ring;
	struct ring_raw *desc = ring->desc;

	for (unsigned int i = 0; i < TABLE_SIZE; i++) {
		table[i] = some_desc(ring, 0, i, 0, 256);
		/* so that most tables end correctly */
		if (!ring->kind.packed && odds(2))
			table[i].third &= ~NEXT;
	}
	for (unsigned int i = 0; i < RING_SIZE; i++) {
		bool wrap = !(from & RING_WRAP) ^ (i >= (from & (RING_WRAP - 1)));

		desc[i] = some_desc(ring, table_at, i,
				    !ring->kind.packed ? 0 : wrap ? RING_AVAIL : RING_USED, 40);
	}
	if (!ring->kind.packed) {
		struct vring_avail *avail = ring->driver;

		for (unsigned int i = 0; i < RING_SIZE; i++)
			avail->ring[i] = odds(40) ? random() : random() % RING_SIZE;
		avail->idx = from + RING_SIZE + (odds(20) ? random() % 1000 : 0);
	}
}

/* Where the device is when it makes no more progress */
static int where_it_stops(struct test *test, uint16_t *position)
{
	uint32_t base, before;

	if (queue_get_base(&test->queue, &base))
		return -1;
	do {
		before = base;
		if (queue_get_base(&test->queue, &base))
			return -1;
	} while (base != before);
	*position = base;
	return 0;
}

static unsigned int distance(const struct ring *ring, uint16_t from, uint16_t to)
{
	unsigned int n = ring->num;

	if (!ring->kind.packed)
		return (uint16_t)(to - from);
	return ((to & (RING_WRAP - 1)) + ((from ^ to) & RING_WRAP ? n : 0)) -
		(from & (RING_WRAP - 1));
}

static uint16_t after(const struct ring *ring, uint16_t position, unsigned int n)
{
	return ring->kind.packed ? packed_after(ring, position, n) : position + n;
}

struct tally {
	unsigned long descs, errors;
};

/* How many times as long as usual everything takes, as the tests of KVM are told, too */
static int slowness(void)
{
	const char *value = getenv("KSELFTEST_SLOWNESS");
	int factor = value ? atoi(value) : 1;

	return factor > 1 ? factor : 1;
}

/* Have the device process a whole ring, and continue after each buffer that it refuses. */
static int walk(struct test *test, uint16_t from, struct tally *tally)
{
	struct ring *ring = &test->ring;
	uint16_t position = from;
	unsigned int done = 0;

	while (done < RING_SIZE) {
		uint64_t errors;
		uint16_t stop;
		unsigned int n;

		if (queue_set_base(&test->queue,
				   ring->kind.packed ? position << 16 | position : position))
			return -1;
		if (!ring->kind.packed)
			((struct vring_used *)ring->device)->idx = position;
		if (test_run(test, 1))
			return -1;
		queue_kick(&test->queue);
		if (where_it_stops(test, &stop) || test_run(test, 0))
			return -1;
		errors = queue_errors(&test->queue);
		n = distance(ring, position, stop);
		if (ring->kind.packed && (stop & (RING_WRAP - 1)) >= RING_SIZE) {
			fprintf(stderr, "# from %#x to %#x\n", position, stop);
			return -1;
		}
		/* refused, or not available */
		n++;
		tally->descs += n;
		tally->errors += !!errors;
		done += n;
		position = after(ring, position, n % RING_SIZE ?: 1);
	}
	return 0;
}

/* Where the next ring begins: at a random index, and in the other wrap each time. */
static uint16_t somewhere(const struct ring *ring, unsigned int round)
{
	if (!ring->kind.packed)
		return random();
	return random() % RING_SIZE | (round % 2 ? RING_WRAP : 0);
}

TEST_F_TIMEOUT(malicious, generated, 1500)
{
	struct test *test = &self->test;
	struct tally tally = {};
	unsigned int round;

	for (round = 0; tally.descs < MALFORMED; round++) {
		uint16_t from = somewhere(&test->ring, round);
		struct ring_raw before[RING_SIZE], *desc = test->ring.desc;

		ASSERT_EQ(0, test_run(test, 0));
		some_ring(test, self->table, self->table_at, from);
		memcpy(before, desc, sizeof(before));
		ASSERT_EQ(0, walk(test, from, &tally)) {
			TH_LOG("round %u: %s", round, strerror(errno));
		}
		/* the device may write used descriptors only, and not their address */
		for (unsigned int i = 0; i < RING_SIZE; i++) {
			size_t kept = variant->kind.packed ? sizeof(desc[i].addr) : sizeof(desc[i]);

			ASSERT_EQ(0, memcmp(&before[i], &desc[i], kept));
		}
		if (round % 16 == 0)
			ASSERT_EQ(0, test_works(test, 5)) {
				TH_LOG("after round %u", round);
			}
	}
	ASSERT_EQ(0, test_works(test, 5));
	TH_LOG("%lu descriptors, %lu errors", tally.descs, tally.errors);
	EXPECT_LT(MALFORMED / 1000, tally.errors);
}

struct changer {
	struct test *test;
	struct ring_raw *table;
	uint64_t table_at;
	bool stop;
};

/* Another CPU of the guest, which writes random data to the ring and a table */
static void *change(void *arg)
{
	struct changer *changer = arg;
	struct ring *ring = &changer->test->ring;
	unsigned int seed = SEED;

	while (!__atomic_load_n(&changer->stop, __ATOMIC_RELAXED)) {
		unsigned int i = rand_r(&seed) % RING_SIZE, what = rand_r(&seed);
		struct ring_raw *desc = (struct ring_raw *)ring->desc + i;

		if (what % 4 == 0)
			desc = changer->table + i % TABLE_SIZE;
		switch (what / 4 % 4) {
		case 0:
			desc->addr = what % 3 ? MEMORY_GPA + rand_r(&seed) % MEMORY_SIZE :
						changer->table_at;
			break;
		case 1:
			desc->len = what % 3 ? rand_r(&seed) % 512 : rand_r(&seed);
			break;
		case 2:
			desc->third = rand_r(&seed);
			break;
		default:
			desc->fourth = rand_r(&seed);
		}
		if (!ring->kind.packed && what % 64 == 0)
			((struct vring_avail *)ring->driver)->idx += what % 3;
		if (what % 16 == 0)
			*(uint32_t *)ring->driver ^= what & 0x3ffff;
	}
	return NULL;
}

TEST_F_TIMEOUT(malicious, changing, 1500)
{
	struct changer changer = { &self->test, self->table, self->table_at };
	struct test *test = &self->test;
	struct tally tally = {};
	pthread_t thread;
	unsigned int round;

	ASSERT_EQ(0, pthread_create(&thread, NULL, change, &changer));
	for (round = 0; tally.descs < CHANGING; round++) {
		uint16_t from = somewhere(&test->ring, round);

		ASSERT_EQ(0, test_run(test, 0));
		some_ring(test, self->table, self->table_at, from);
		ASSERT_EQ(0, walk(test, from, &tally)) {
			TH_LOG("round %u: %s", round, strerror(errno));
		}
	}
	__atomic_store_n(&changer.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	ASSERT_EQ(0, test_works(test, 5));
	TH_LOG("%lu descriptors, %lu errors", tally.descs, tally.errors);
	EXPECT_LT(CHANGING / 1000, tally.errors);
}

TEST_HARNESS_MAIN
