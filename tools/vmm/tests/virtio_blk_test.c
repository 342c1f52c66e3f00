// SPDX-License-Identifier: GPL-2.0-only
/*
 * The disk: what each request does and how it is refused, and what becomes of requests when
 * the process dies at any point of its own code.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <kselftest_harness.h>
#include "../util.h"
#include "driver.h"

#define SECTORS		4096
#define NUM		16
#define BUF		8192
#define NO_STATUS	0xee

#define BLK_FEATURES	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_BLK_F_FLUSH) | \
			 BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES))

/* A request and the guest memory that it uses; the token is its number. */
struct req {
	uint64_t header, data, status;
	uint32_t used_len;
	bool used;
};

struct disk {
	struct machine m;
	struct driver_queue q;
	struct req reqs[NUM];
	uint64_t features;
};

static void negotiate(struct disk *d)
{
	struct machine *m = &d->m;

	machine_write(m, VIRTIO_MMIO_STATUS, 0);
	machine_write(m, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	machine_write(m, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES, d->features);
	machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES, d->features >> 32);
	machine_write(m, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE |
		      VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
	if (!(machine_read(m, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK))
		machine_fail("the device refuses features %#lx", (unsigned long)d->features);
}

static void write_address(struct machine *m, unsigned int low, uint64_t addr)
{
	machine_write(m, low, addr);
	machine_write(m, low + 4, addr >> 32);
}

static void set_up_queue(struct disk *d)
{
	struct machine *m = &d->m;

	driver_init(&d->q, m, NUM, d->features);
	machine_write(m, VIRTIO_MMIO_QUEUE_SEL, 0);
	machine_write(m, VIRTIO_MMIO_QUEUE_NUM, NUM);
	write_address(m, VIRTIO_MMIO_QUEUE_DESC_LOW, d->q.desc);
	write_address(m, VIRTIO_MMIO_QUEUE_AVAIL_LOW, d->q.driver);
	write_address(m, VIRTIO_MMIO_QUEUE_USED_LOW, d->q.device);
	machine_write(m, VIRTIO_MMIO_QUEUE_READY, 1);
	machine_write(m, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE |
		      VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
		      VIRTIO_CONFIG_S_DRIVER_OK);
}

static void init_disk(struct disk *d, const char *program, uint64_t features)
{
	unsigned int i;

	memset(d, 0, sizeof(*d));
	machine_init(&d->m, program, SECTORS * 512);
	d->features = features;
	for (i = 0; i < NUM; i++) {
		d->reqs[i].header = machine_alloc(&d->m, sizeof(struct virtio_blk_outhdr), 16);
		d->reqs[i].status = machine_alloc(&d->m, 1, 1);
		d->reqs[i].data = machine_alloc(&d->m, BUF, 512);
	}
}

static void start_disk(struct disk *d, const char *program, uint64_t features)
{
	init_disk(d, program, features);
	machine_spawn(&d->m);
	negotiate(d);
	set_up_queue(d);
}

static void *data(struct disk *d, unsigned int i)
{
	return machine_host(&d->m, d->reqs[i].data);
}

static uint8_t *status(struct disk *d, unsigned int i)
{
	return machine_host(&d->m, d->reqs[i].status);
}

/* Make request @i available, with its data in pieces of at most @piece bytes. */
static void add(struct disk *d, unsigned int i, uint32_t type, uint64_t sector, uint32_t len,
		uint32_t piece)
{
	bool to_guest = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	struct driver_segment segments[DRIVER_MAX_SEGMENTS];
	struct virtio_blk_outhdr *header = machine_host(&d->m, d->reqs[i].header);
	unsigned int nr = 0;
	uint32_t n, done;

	header->type = type;
	header->ioprio = 0;
	header->sector = sector;
	*status(d, i) = NO_STATUS;
	d->reqs[i].used = false;
	segments[nr++] = (struct driver_segment) { d->reqs[i].header, sizeof(*header) };
	for (done = 0; done < len; done += n) {
		n = len - done < piece ? len - done : piece;
		segments[nr++] = (struct driver_segment) { d->reqs[i].data + done, n };
	}
	segments[nr++] = (struct driver_segment) { d->reqs[i].status, 1 };
	if (!driver_add(&d->q, segments, to_guest ? 1 : nr - 1, nr, i))
		machine_fail("the ring is full");
}

static void kick(struct disk *d)
{
	if (driver_needs_kick(&d->q))
		machine_write(&d->m, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

/* As a driver's interrupt handler. Returns how many requests have been used. */
static unsigned int handle_used(struct disk *d)
{
	unsigned int n = 0;
	uint32_t len;
	int token;

	while ((token = driver_get(&d->q, &len)) >= 0) {
		if (d->reqs[token].used)
			machine_fail("request %d is used twice", token);
		d->reqs[token].used = true;
		d->reqs[token].used_len = len;
		n++;
	}
	return n;
}

static void wait_for(struct disk *d, unsigned int n)
{
	uint32_t events;

	for (;;) {
		n -= handle_used(d);
		if (!n)
			return;
		if (driver_ask_for_interrupt(&d->q))
			continue;
		machine_wait_irq(&d->m);
		events = machine_read(&d->m, VIRTIO_MMIO_INTERRUPT_STATUS);
		if (events)
			machine_write(&d->m, VIRTIO_MMIO_INTERRUPT_ACK, events);
	}
}

static uint8_t run(struct disk *d, uint32_t type, uint64_t sector, uint32_t len)
{
	add(d, 0, type, sector, len, BUF);
	kick(d);
	wait_for(d, 1);
	return *status(d, 0);
}

static void fill(void *buf, size_t len, unsigned int seed)
{
	uint32_t *p = buf;
	size_t i;

	for (i = 0; i < len / sizeof(*p); i++)
		p[i] = seed * 0x9e3779b9 + i * 0x85ebca6b;
}

static bool is_filled(const void *buf, size_t len, unsigned int seed)
{
	static uint32_t wanted[BUF / 4];

	fill(wanted, len, seed);
	return !memcmp(buf, wanted, len);
}

static bool is_zero(const void *buf, size_t len)
{
	static const char zeroes[BUF];

	return !memcmp(buf, zeroes, len);
}

/* Is sector @sector of the image, without asking the device, as fill() leaves it? */
static bool image_has(struct disk *d, uint64_t sector, size_t len, unsigned int seed)
{
	static char buf[BUF];

	if (pread(d->m.image_fd, buf, len, sector * 512) != (ssize_t)len)
		machine_fail("pread");
	return is_filled(buf, len, seed);
}

FIXTURE(blk) {
	struct disk d;
};

FIXTURE_VARIANT(blk) {
	uint64_t features;
};

#define ALL	(BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_RING_F_INDIRECT_DESC))

FIXTURE_VARIANT_ADD(blk, split) { 0 };
FIXTURE_VARIANT_ADD(blk, split_all) { ALL };
FIXTURE_VARIANT_ADD(blk, split_in_order) { BIT(VIRTIO_F_IN_ORDER) };
FIXTURE_VARIANT_ADD(blk, split_in_order_all) { BIT(VIRTIO_F_IN_ORDER) | ALL };
FIXTURE_VARIANT_ADD(blk, packed) { BIT(VIRTIO_F_RING_PACKED) };
FIXTURE_VARIANT_ADD(blk, packed_all) { BIT(VIRTIO_F_RING_PACKED) | ALL };
FIXTURE_VARIANT_ADD(blk, packed_in_order) { BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER) };
FIXTURE_VARIANT_ADD(blk, packed_in_order_all) {
	BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER) | ALL
};

FIXTURE_SETUP(blk)
{
	start_disk(&self->d, "virtio-blk", BLK_FEATURES | variant->features);
}

FIXTURE_TEARDOWN(blk)
{
	machine_destroy(&self->d.m);
}

TEST_F(blk, write_read_flush)
{
	struct disk *d = &self->d;

	fill(data(d, 0), 4096, 1);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_OUT, 8, 4096), VIRTIO_BLK_S_OK);
	EXPECT_EQ(d->reqs[0].used_len, 1);
	EXPECT_TRUE(image_has(d, 8, 4096, 1));
	EXPECT_EQ(run(d, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	memset(data(d, 0), 0xff, BUF);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
	EXPECT_EQ(d->reqs[0].used_len, 4097);
	EXPECT_TRUE(is_filled(data(d, 0), 4096, 1));
	EXPECT_EQ(run(d, VIRTIO_BLK_T_IN, 8, 0), VIRTIO_BLK_S_OK);
}

TEST_F(blk, any_pieces)
{
	struct disk *d = &self->d;

	fill(data(d, 0), 1024, 2);
	add(d, 0, VIRTIO_BLK_T_OUT, 4, 1024, 100);
	kick(d);
	wait_for(d, 1);
	EXPECT_EQ(*status(d, 0), VIRTIO_BLK_S_OK);
	EXPECT_TRUE(image_has(d, 4, 1024, 2));
	memset(data(d, 0), 0xff, BUF);
	add(d, 0, VIRTIO_BLK_T_IN, 4, 1024, 77);
	kick(d);
	wait_for(d, 1);
	EXPECT_EQ(*status(d, 0), VIRTIO_BLK_S_OK);
	EXPECT_TRUE(is_filled(data(d, 0), 1024, 2));
}

TEST_F(blk, discard_and_zeroes)
{
	struct virtio_blk_discard_write_zeroes *range;
	struct disk *d = &self->d;
	static const struct {
		uint32_t type, flags;
	} kinds[] = {
		{ VIRTIO_BLK_T_DISCARD, 0 },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 0 },
		{ VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP },
	};
	size_t i;

	for (i = 0; i < 3; i++) {
		fill(data(d, 0), BUF, i);
		ASSERT_EQ(run(d, VIRTIO_BLK_T_OUT, 16, BUF), VIRTIO_BLK_S_OK);
		range = data(d, 0);
		*range = (struct virtio_blk_discard_write_zeroes) {
			.sector = 16, .num_sectors = BUF / 512, .flags = kinds[i].flags,
		};
		ASSERT_EQ(run(d, kinds[i].type, 0, sizeof(*range)), VIRTIO_BLK_S_OK);
		ASSERT_EQ(run(d, VIRTIO_BLK_T_IN, 16, BUF), VIRTIO_BLK_S_OK);
		EXPECT_TRUE(is_zero(data(d, 0), BUF));
	}
}

TEST_F(blk, get_id)
{
	struct disk *d = &self->d;

	memset(data(d, 0), 0xff, BUF);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	EXPECT_EQ(d->reqs[0].used_len, 21);
	EXPECT_EQ(memcmp(data(d, 0), "serial\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20), 0);
}

TEST_F(blk, refuses)
{
	static const struct {
		struct virtio_blk_discard_write_zeroes range;
		uint32_t type, len;
		uint8_t status;
	} ranges[] = {
		{ { 0, 8, 0 }, VIRTIO_BLK_T_DISCARD, 15, VIRTIO_BLK_S_IOERR },
		{ { 0, 8, 0 }, VIRTIO_BLK_T_DISCARD, 32, VIRTIO_BLK_S_IOERR },
		{ { 0, 8, 1 }, VIRTIO_BLK_T_DISCARD, 16, VIRTIO_BLK_S_UNSUPP },
		{ { 0, 8, 2 }, VIRTIO_BLK_T_DISCARD, 16, VIRTIO_BLK_S_UNSUPP },
		{ { 0, 8, 2 }, VIRTIO_BLK_T_WRITE_ZEROES, 16, VIRTIO_BLK_S_UNSUPP },
		{ { 0, 2049, 0 }, VIRTIO_BLK_T_WRITE_ZEROES, 16, VIRTIO_BLK_S_IOERR },
		{ { SECTORS, 1, 0 }, VIRTIO_BLK_T_DISCARD, 16, VIRTIO_BLK_S_IOERR },
		{ { UINT64_MAX, 8, 0 }, VIRTIO_BLK_T_WRITE_ZEROES, 16, VIRTIO_BLK_S_IOERR },
		{ { UINT64_MAX / 512, 8, 1 }, VIRTIO_BLK_T_WRITE_ZEROES, 16, VIRTIO_BLK_S_IOERR },
		{ { 0, 0, 0 }, VIRTIO_BLK_T_DISCARD, 16, VIRTIO_BLK_S_OK },
	};
	struct disk *d = &self->d;
	size_t i;

	EXPECT_EQ(run(d, VIRTIO_BLK_T_IN, 0, 511), VIRTIO_BLK_S_IOERR);
	EXPECT_EQ(d->reqs[0].used_len, 0);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_OUT, 0, 513), VIRTIO_BLK_S_IOERR);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_IN, SECTORS, 512), VIRTIO_BLK_S_IOERR);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_IN, SECTORS - 1, 1024), VIRTIO_BLK_S_IOERR);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_OUT, UINT64_MAX, 512), VIRTIO_BLK_S_IOERR);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_OUT, UINT64_MAX / 512 + 1, 512), VIRTIO_BLK_S_IOERR);
	EXPECT_EQ(run(d, 99, 0, 0), VIRTIO_BLK_S_UNSUPP);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_SECURE_ERASE, 0, 16), VIRTIO_BLK_S_UNSUPP);
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		memset(data(d, 0), 0, BUF);
		memcpy(data(d, 0), &ranges[i].range, sizeof(ranges[i].range));
		EXPECT_EQ(run(d, ranges[i].type, 0, ranges[i].len), ranges[i].status) {
			TH_LOG("range %zu", i);
		}
	}
	EXPECT_EQ(run(d, VIRTIO_BLK_T_IN, SECTORS - 1, 512), VIRTIO_BLK_S_OK);
}

/* More than the ring holds, several at a time, through several wraps. */
TEST_F(blk, wraps)
{
	struct disk *d = &self->d;
	unsigned int round, i;

	for (round = 0; round < 50; round++) {
		for (i = 0; i < 5; i++) {
			fill(data(d, i), 1024, round * 5 + i);
			add(d, i, VIRTIO_BLK_T_OUT, i * 2, 1024, BUF);
		}
		kick(d);
		wait_for(d, 5);
		for (i = 0; i < 5; i++)
			ASSERT_TRUE(image_has(d, i * 2, 1024, round * 5 + i));
	}
}

/* A flush takes another way through the kernel than what comes after it. */
TEST_F(blk, any_order)
{
	struct disk *d = &self->d;
	unsigned int round, i;

	for (round = 0; round < 20; round++) {
		add(d, 0, VIRTIO_BLK_T_FLUSH, 0, 0, BUF);
		for (i = 1; i < 4; i++)
			add(d, i, VIRTIO_BLK_T_IN, i * 2, 512, BUF);
		kick(d);
		wait_for(d, 4);
		for (i = 0; i < 4; i++)
			ASSERT_EQ(*status(d, i), VIRTIO_BLK_S_OK);
	}
}

TEST_F(blk, read_only)
{
	struct disk *d = &self->d;

	d->m.args.flags = DEVICE_READ_ONLY;
	d->features |= BIT(VIRTIO_BLK_F_RO);
	machine_kill(&d->m);
	negotiate(d);
	set_up_queue(d);
	fill(data(d, 0), 512, 3);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	EXPECT_FALSE(image_has(d, 0, 512, 3));
	memset(data(d, 0), 0, 16);
	((struct virtio_blk_discard_write_zeroes *)data(d, 0))->num_sectors = 1;
	EXPECT_EQ(run(d, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_IOERR);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_IOERR);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

TEST_F(blk, reset_with_requests)
{
	struct disk *d = &self->d;
	unsigned int round, i;

	for (round = 0; round < 20; round++) {
		for (i = 0; i < 4; i++)
			add(d, i, i % 2 ? VIRTIO_BLK_T_FLUSH : VIRTIO_BLK_T_OUT, i, i % 2 ? 0 : 512,
			    BUF);
		kick(d);
		negotiate(d);
		/* Nothing of before may come into the new rings. */
		set_up_queue(d);
		ASSERT_EQ(handle_used(d), 0);
		ASSERT_EQ(run(d, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	}
}

/* Neither a header nor a status. */
TEST_F(blk, no_header)
{
	struct disk *d = &self->d;
	struct driver_segment segment = { d->reqs[0].status, 1 };

	if (!driver_add(&d->q, &segment, 0, 1, 0))
		machine_fail("the ring is full");
	kick(d);
	EXPECT_TRUE(machine_read(&d->m, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	EXPECT_EQ(machine_read(&d->m, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	/* A successor knows, too. */
	machine_kill(&d->m);
	EXPECT_TRUE(machine_read(&d->m, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	machine_write(&d->m, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	negotiate(d);
	set_up_queue(d);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

/* Without VIRTIO_BLK_F_FLUSH each write is stable when it is completed. */
TEST_F(blk, without_flush)
{
	struct disk *d = &self->d;

	d->features &= ~BIT(VIRTIO_BLK_F_FLUSH);
	negotiate(d);
	set_up_queue(d);
	fill(data(d, 0), 1024, 4);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_OUT, 2, 1024), VIRTIO_BLK_S_OK);
	EXPECT_TRUE(image_has(d, 2, 1024, 4));
}

/* The image has become shorter than the device believes. */
TEST_F(blk, short_image)
{
	struct disk *d = &self->d;

	/* The test's own descriptor cannot shrink it, either. */
	ASSERT_NE(ftruncate(d->m.image_fd, 512), 0);
	close(d->m.image_fd);
	d->m.image_fd = memfd_create("image", MFD_CLOEXEC);
	ASSERT_EQ(ftruncate(d->m.image_fd, SECTORS * 512), 0);
	machine_kill(&d->m);
	ASSERT_EQ(run(d, VIRTIO_BLK_T_IN, 8, 1024), VIRTIO_BLK_S_OK);
	ASSERT_EQ(ftruncate(d->m.image_fd, 9 * 512), 0);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_IN, 8, 1024), VIRTIO_BLK_S_IOERR);
	EXPECT_EQ(d->reqs[0].used_len, 0);
	EXPECT_EQ(run(d, VIRTIO_BLK_T_IN, 8, 512), VIRTIO_BLK_S_OK);
}

/*
 * What a process has left behind that the guest controlled, or that has died just after
 * it fetched what it could not carry out.
 */
static void leave_request(struct disk *d, unsigned int i, uint64_t order, unsigned int nr_segments)
{
	struct virtqueue_request *r = &d->m.state->requests[0][i];

	*r = (struct virtqueue_request) {
		.order = order, .position = i, .nr_slots = 1,
		.nr_readable = 1, .nr_segments = nr_segments,
		.segments = {
			{ .addr = d->reqs[0].header, .len = sizeof(struct virtio_blk_outhdr) },
			{ .addr = d->reqs[0].status, .len = 1 },
		},
	};
	r->state = VIRTQUEUE_FETCHED;
}

/* Does a successor find out that it cannot go on with this? The driver can begin anew. */
static bool refused(struct disk *d)
{
	uint32_t status;

	machine_kill(&d->m);
	status = machine_read(&d->m, VIRTIO_MMIO_STATUS);
	negotiate(d);
	set_up_queue(d);
	if (run(d, VIRTIO_BLK_T_IN, 0, 512) != VIRTIO_BLK_S_OK)
		machine_fail("the device is of no use");
	return status & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* A reset waits for the request that has begun before the bad one. */
TEST_F(blk, bad_request_left_behind)
{
	struct virtio_blk_outhdr *header = machine_host(&self->d.m, self->d.reqs[0].header);

	kill(self->d.m.pid, SIGSTOP);
	header->type = VIRTIO_BLK_T_FLUSH;
	leave_request(&self->d, 0, 0, 2);
	leave_request(&self->d, 1, 1, 1);
	self->d.m.state->queues[0].fetched = 2;
	/* With VIRTIO_F_IN_ORDER, what is in the ring counts. */
	EXPECT_EQ(refused(&self->d), !self->d.q.in_order);
}

/* Nobody has fetched as many requests as can be counted, nor one that is not counted. */
TEST_F(blk, bad_order_left_behind)
{
	static const uint64_t orders[] = { UINT64_MAX, 3 };
	struct virtio_blk_outhdr *header = machine_host(&self->d.m, self->d.reqs[0].header);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		kill(self->d.m.pid, SIGSTOP);
		header->type = VIRTIO_BLK_T_FLUSH;
		leave_request(&self->d, 0, orders[i], 2);
		self->d.m.state->queues[0].fetched = i ? 2 : UINT64_MAX;
		EXPECT_TRUE(refused(&self->d));
	}
}

/* The length of all segments has to fit into a used element (2.7.5.2). */
TEST_F(blk, long_request_left_behind)
{
	struct virtio_blk_outhdr *header = machine_host(&self->d.m, self->d.reqs[0].header);
	struct virtqueue_request *r = &self->d.m.state->requests[0][0];
	/* More memory than there is: nothing in it is touched. */
	struct memory_region large = { HIGH_ADDR * 2, 4 * REGION_SIZE, 0 };
	unsigned int i;

	kill(self->d.m.pid, SIGSTOP);
	self->d.m.args.regions[self->d.m.args.nr_regions++] = large;
	header->type = ~0U;
	leave_request(&self->d, 0, 0, VIRTQUEUE_MAX_SIZE);
	r->segments[VIRTQUEUE_MAX_SIZE - 1] = r->segments[1];
	for (i = 1; i < VIRTQUEUE_MAX_SIZE - 1; i++) {
		r->segments[i].addr = large.guest_addr;
		r->segments[i].len = large.size;
	}
	self->d.m.state->queues[0].fetched = 1;
	EXPECT_TRUE(refused(&self->d));
}

/* Killed at any time, with several requests under way */
TEST_F_TIMEOUT(blk, killed_at_any_time, 300)
{
	struct disk *d = &self->d;
	unsigned int round, i;

	srandom(3);
	d->m.max_deaths = 100;
	for (round = 0; round < 100; round++) {
		for (i = 0; i < 3; i++) {
			fill(data(d, i), 4096, round * 3 + i);
			add(d, i, VIRTIO_BLK_T_OUT, i * 8, 4096, BUF);
		}
		add(d, 3, VIRTIO_BLK_T_FLUSH, 0, 0, BUF);
		kick(d);
		usleep(random() % 300);
		kill(d->m.pid, SIGKILL);
		wait_for(d, 4);
		for (i = 0; i < 3; i++) {
			ASSERT_EQ(*status(d, i), VIRTIO_BLK_S_OK);
			ASSERT_TRUE(image_has(d, i * 8, 4096, round * 3 + i));
		}
		/* If all was done before the kill, nobody has noticed it yet. */
		ASSERT_FALSE(machine_read(&d->m, VIRTIO_MMIO_STATUS) &
			     VIRTIO_CONFIG_S_NEEDS_RESET);
	}
	EXPECT_EQ(d->m.deaths, 100);
}

/*
 * Kills
 */

/* All that a guest does, from the first access on. */
static void scenario(struct disk *d)
{
	struct virtio_blk_discard_write_zeroes *range;
	unsigned int round, i;

	machine_spawn(&d->m);
	negotiate(d);
	set_up_queue(d);
	for (round = 0; round < 2; round++) {
		add(d, 4, VIRTIO_BLK_T_FLUSH, 0, 0, BUF);
		for (i = 0; i < 3; i++) {
			fill(data(d, i), 1024, round * 3 + i);
			add(d, i, VIRTIO_BLK_T_OUT, i * 2, 1024, 600);
		}
		kick(d);
		wait_for(d, 4);
		for (i = 0; i < 3; i++) {
			if (*status(d, i) != VIRTIO_BLK_S_OK ||
			    !image_has(d, i * 2, 1024, round * 3 + i))
				machine_fail("write %u of round %u is lost", i, round);
			memset(data(d, i), 0xff, BUF);
			add(d, i, VIRTIO_BLK_T_IN, i * 2, 1024, BUF);
			kick(d);
		}
		wait_for(d, 3);
		for (i = 0; i < 3; i++) {
			if (*status(d, i) != VIRTIO_BLK_S_OK ||
			    !is_filled(data(d, i), 1024, round * 3 + i))
				machine_fail("read %u of round %u is wrong", i, round);
		}
	}
	range = data(d, 0);
	*range = (struct virtio_blk_discard_write_zeroes) { .sector = 0, .num_sectors = 2 };
	if (run(d, VIRTIO_BLK_T_DISCARD, 0, sizeof(*range)) != VIRTIO_BLK_S_OK)
		machine_fail("discard");
	machine_write(&d->m, VIRTIO_MMIO_QUEUE_READY, 0);
	if (machine_read(&d->m, VIRTIO_MMIO_QUEUE_READY))
		machine_fail("the queue does not stop");
	machine_write(&d->m, VIRTIO_MMIO_STATUS, 0);
	if (machine_read(&d->m, VIRTIO_MMIO_STATUS) ||
	    machine_read(&d->m, VIRTIO_MMIO_INTERRUPT_STATUS))
		machine_fail("the device is not reset");
}

FIXTURE(kill) {
	struct disk d;
};

FIXTURE_VARIANT(kill) {
	uint64_t features;
};

#define EVENT	BIT(VIRTIO_RING_F_EVENT_IDX)
#define ORDER	BIT(VIRTIO_F_IN_ORDER)
#define PACKED	BIT(VIRTIO_F_RING_PACKED)

FIXTURE_VARIANT_ADD(kill, split) { EVENT };
FIXTURE_VARIANT_ADD(kill, split_in_order) { EVENT | ORDER };
FIXTURE_VARIANT_ADD(kill, packed) { EVENT | PACKED };
FIXTURE_VARIANT_ADD(kill, packed_in_order) { EVENT | PACKED | ORDER };

FIXTURE_SETUP(kill)
{
	(void)self;
	(void)variant;
}

FIXTURE_TEARDOWN(kill)
{
	(void)self;
}

/* Die at point @first, and twice more at point @again, if that is not 0. */
static unsigned int die_at(struct disk *d, uint64_t features, unsigned int first,
			   unsigned int again)
{
	unsigned int deaths;

	init_disk(d, "virtio-blk-kill", BLK_FEATURES | features);
	d->m.args.kill_after = first;
	d->m.kill_again = again;
	d->m.nr_again = again ? 2 : 0;
	d->m.max_deaths = 3;
	scenario(d);
	deaths = d->m.deaths;
	machine_destroy(&d->m);
	return deaths;
}

TEST_F_TIMEOUT(kill, once_at_every_point, 600)
{
	unsigned int point = 0;

	do {
		point++;
	} while (die_at(&self->d, variant->features, point, 0));
	TH_LOG("%u points", point - 1);
	/* A start alone has some, and each request more. */
	EXPECT_GT(point, 100);
}

/* The successors die over taking up what was left behind. */
TEST_F_TIMEOUT(kill, thrice, 600)
{
	unsigned int first, again;

	for (first = 130; first < 250; first += 17) {
		for (again = 1; again < 30; again += 4)
			EXPECT_GT(die_at(&self->d, variant->features, first, again), 1);
	}
}

TEST_HARNESS_MAIN
