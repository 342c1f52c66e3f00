// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest that writes nonsense to every register, in every width, and offers nonsense queues,
 * to the device processes as they are. Each lives, and the next driver can use it.
 *
 * There are a million accesses to both devices together, or as many as NONSENSE_ACCESSES in
 * the environment says. They are sent by the hundred, so that they take no longer than they
 * must: the test is about what a device does, and the others wait for each response.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <kselftest_harness.h>
#include "../util.h"
#include "../virtio_mmio.h"
#include "driver.h"
#include "nvme_driver.h"
#include "nvme_io.h"

#define ACCESSES	1000000
#define NR_DEVICES	2
#define PER_ROUND	500	/* accesses for each round of nonsense queues */
#define BATCH		100	/* responses that wait, at most: a socket takes more */

static unsigned int nr_accesses(void)
{
	const char *wanted = getenv("NONSENSE_ACCESSES");

	return (wanted ? atoi(wanted) : ACCESSES) / NR_DEVICES;
}

/* Where the kernel lacks what they need to confine themselves, they do not start. */
static bool can_confine(void)
{
	struct io_uring_params params = { 0 };
	int fd = syscall(SYS_io_uring_setup, 1, &params);

	if (fd < 0)
		return false;
	close(fd);
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

/* xorshift64*: quick, and the same everywhere */
static uint64_t seed;

static uint64_t random_64(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545f4914f6cdd1d;
}

static unsigned int random_below(unsigned int n)
{
	return (random_64() >> 32) % n;
}

static bool one_in(unsigned int n)
{
	return !random_below(n);
}

/* Where something may be: in guest memory, at the ends of its regions, or anywhere */
static uint64_t random_addr(void)
{
	static const uint64_t ends[] = {
		0, LOW_ADDR, LOW_ADDR + REGION_SIZE, HIGH_ADDR, HIGH_ADDR + REGION_SIZE,
	};

	switch (random_below(4)) {
	case 0:
		return ends[random_below(ARRAY_SIZE(ends))] + random_below(64) - 32;
	case 1:
		return random_64();
	}
	return (one_in(2) ? LOW_ADDR : HIGH_ADDR) + (random_below(REGION_SIZE) & ~0xfffu);
}

static uint64_t random_value(void)
{
	switch (random_below(4)) {
	case 0:
		return random_64();
	case 1:
		return random_addr();
	}
	return random_below(one_in(2) ? 4 : 256);
}

struct nonsense {
	struct machine *m;
	const unsigned int *ends;	/* of the regions that begin at m->bases */
	unsigned int not_answered;
};

static void take_responses(struct nonsense *n)
{
	struct pollfd p = { .fd = n->m->socket, .events = POLLIN };
	struct ioregionfd_resp resp;

	while (n->not_answered) {
		if (poll(&p, 1, WAIT_MS) != 1)
			machine_fail("no response to %u accesses", n->not_answered);
		if (recv(n->m->socket, &resp, sizeof(resp), 0) != sizeof(resp))
			machine_fail("the process has died, or does not keep to the protocol");
		n->not_answered--;
	}
}

/* An access. Writes are posted, mostly, as if every region could have such. */
static void send_access(struct nonsense *n, bool write, unsigned int region, unsigned int offset,
			unsigned int size, uint64_t value)
{
	struct ioregionfd_cmd cmd = {
		.cmd = write ? IOREGIONFD_CMD_WRITE : IOREGIONFD_CMD_READ,
		.flags = __builtin_ctz(size), .user_data = n->m->bases[region], .offset = offset,
		.data = value,
	};

	if (!write || one_in(4))
		cmd.flags |= IOREGIONFD_CMD_F_RESP;
	if (one_in(16))
		cmd.flags |= IOREGIONFD_CMD_F_REDELIVERED;
	if (send(n->m->socket, &cmd, sizeof(cmd), MSG_NOSIGNAL) != sizeof(cmd))
		machine_fail("send: %s", strerror(errno));
	n->not_answered += !!(cmd.flags & IOREGIONFD_CMD_F_RESP);
	if (n->not_answered == BATCH)
		take_responses(n);
}

/* Of accesses in a row, each width is read once and written thrice. */
static bool is_write(unsigned int i)
{
	return i / 4 % 4;
}

/* Every byte of every region in turn, and beyond */
static void send_nonsense(struct nonsense *n, unsigned int i)
{
	unsigned int region = random_below(n->m->nr_bases);
	unsigned int size = 1U << i % 4, max = n->ends[region] - n->m->bases[region], offset;

	offset = one_in(2) ? i / 16 % max : random_below(max + 16);
	/* Most registers are aligned, and have this width. */
	if (one_in(2)) {
		offset &= ~3u;
		size = 4;
	}
	send_access(n, is_write(i), region, offset, size, random_value());
}

/* The test's memory is the guest's: what is in it may change at any time. */
static void scribble(struct machine *m, uint64_t addr, unsigned int size)
{
	uint32_t *p = machine_host(m, addr);
	unsigned int i;

	for (i = 0; i < 16; i++)
		p[random_below(size / 4)] = random_value();
}

/* virtio-blk */

#define NUM		16
#define SECTORS		256

#define DRIVER_BITS	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)

FIXTURE(blk) {
	struct machine m;
	struct driver_queue q;
	uint64_t rings, request;
};

FIXTURE_SETUP(blk)
{
	if (!can_confine())
		SKIP(return, "no io_uring, or no Landlock");
	machine_init(&self->m, "virtio-blk", SECTORS * 512);
	self->rings = machine_alloc(&self->m, 0x4000, 4096);
	self->request = machine_alloc(&self->m, 4096, 4096);
	machine_spawn(&self->m);
}

FIXTURE_TEARDOWN(blk)
{
	machine_destroy(&self->m);
}

static void set_up(struct machine *m, uint64_t features, unsigned int num, const uint64_t *areas)
{
	unsigned int i;

	machine_write(m, VIRTIO_MMIO_STATUS, 0);
	machine_write(m, VIRTIO_MMIO_STATUS, DRIVER_BITS);
	for (i = 0; i < 2; i++) {
		machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES, features >> 32 * i);
	}
	machine_write(m, VIRTIO_MMIO_STATUS, DRIVER_BITS | VIRTIO_CONFIG_S_FEATURES_OK);
	machine_write(m, VIRTIO_MMIO_QUEUE_SEL, 0);
	machine_write(m, VIRTIO_MMIO_QUEUE_NUM, num);
	for (i = 0; i < 3; i++) {
		machine_write(m, VIRTIO_MMIO_QUEUE_DESC_LOW + 16 * i, areas[i]);
		machine_write(m, VIRTIO_MMIO_QUEUE_DESC_HIGH + 16 * i, areas[i] >> 32);
	}
	machine_write(m, VIRTIO_MMIO_QUEUE_READY, 1);
	machine_write(m, VIRTIO_MMIO_STATUS, DRIVER_BITS | VIRTIO_CONFIG_S_FEATURES_OK |
		      VIRTIO_CONFIG_S_DRIVER_OK);
}

/* A driver that reads a sector, and gets what is in the image */
static bool can_read(struct machine *m, uint64_t request, uint64_t features)
{
	struct virtio_blk_outhdr *header = machine_host(m, request);
	uint8_t *data = (uint8_t *)header + 512, *status = data + 512;
	const struct driver_segment segments[] = {
		{ request, sizeof(*header) }, { request + 512, 512 }, { request + 1024, 1 },
	};
	struct driver_queue q;
	uint32_t len;

	fill(data, 512, 1);
	if (pwrite(m->image_fd, data, 512, 7 * 512) != 512)
		machine_fail("pwrite: %s", strerror(errno));
	memset(data, 0xee, 513);
	*header = (struct virtio_blk_outhdr) { .type = VIRTIO_BLK_T_IN, .sector = 7 };
	driver_init(&q, m, NUM, features);
	set_up(m, features, NUM, (uint64_t []) { q.desc, q.driver, q.device });
	while (machine_irq(m))
		;
	if (!driver_add(&q, segments, 1, 3, 0))
		machine_fail("the ring is full");
	machine_write(m, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	while (driver_get(&q, &len) < 0) {
		if (!driver_ask_for_interrupt(&q))
			machine_wait_irq(m);
	}
	return *status == VIRTIO_BLK_S_OK && is_filled(data, 512, 1);
}

static const unsigned int blk_ends[] = {
	VIRTIO_MMIO_NOTIFY, VIRTIO_MMIO_AFTER_NOTIFY, 0x200,
};

TEST_F_TIMEOUT(blk, registers, 900)
{
	struct nonsense n = { .m = &self->m, .ends = blk_ends };
	unsigned int i;

	seed = 1;
	for (i = 0; i < nr_accesses(); i++) {
		send_nonsense(&n, i);
		/* From time to time the device is such that more of it can be reached. */
		if (i % 1000)
			continue;
		take_responses(&n);
		scribble(&self->m, self->rings, 0x4000);
		set_up(&self->m, BIT(VIRTIO_F_VERSION_1) |
		       (one_in(2) ? BIT(VIRTIO_F_RING_PACKED) : 0), NUM,
		       (uint64_t []) { self->rings, self->rings + 0x1000, self->rings + 0x2000 });
	}
	take_responses(&n);
	EXPECT_EQ(self->m.deaths, 0);
	EXPECT_TRUE(can_read(&self->m, self->request, BIT(VIRTIO_F_VERSION_1)));
}

/* Chains, tables and rings in which each number is nonsense or nearly right */
static void nonsense_ring(struct machine *m, uint64_t rings, uint64_t request, bool packed)
{
	struct virtio_blk_outhdr *header = machine_host(m, request);
	struct vring_avail *avail = machine_host(m, rings + 0x1000);
	struct vring_packed_desc *ring = machine_host(m, rings);
	struct vring_desc *table = machine_host(m, rings);
	unsigned int i;

	header->type = random_below(16);
	header->sector = one_in(4) ? random_64() : random_below(SECTORS);
	/* The ring, and tables in what follows it */
	for (i = 0; i < 4 * NUM; i++) {
		uint64_t addr = one_in(8) ? random_addr() : one_in(2) ? request :
				rings + 16 * random_below(4 * NUM);
		uint32_t len = one_in(8) ? random_value() : 16 * (1 + random_below(NUM));
		uint16_t flags = one_in(8) ? random_64() : random_below(8);

		if (packed)
			ring[i] = (struct vring_packed_desc) {
				.addr = addr, .len = len, .id = random_below(NUM + 1),
				.flags = flags | 1 << VRING_PACKED_DESC_F_AVAIL,
			};
		else
			table[i] = (struct vring_desc) {
				.addr = addr, .len = len, .flags = flags,
				.next = random_below(NUM + 1),
			};
	}
	for (i = 0; i < NUM && !packed; i++)
		avail->ring[i] = random_below(NUM + 1);
	if (!packed)
		avail->idx = one_in(8) ? random_64() : 1 + random_below(NUM);
}

TEST_F_TIMEOUT(blk, queues, 900)
{
	struct machine *m = &self->m;
	uint64_t features;
	unsigned int i;
	bool packed;

	seed = 2;
	for (i = 0; i < nr_accesses() / PER_ROUND; i++) {
		packed = one_in(2);
		features = BIT(VIRTIO_F_VERSION_1) | (packed ? BIT(VIRTIO_F_RING_PACKED) : 0) |
			   (one_in(2) ? BIT(VIRTIO_F_IN_ORDER) : 0) |
			   (one_in(2) ? BIT(VIRTIO_RING_F_EVENT_IDX) : 0) |
			   (one_in(2) ? BIT(VIRTIO_RING_F_INDIRECT_DESC) : 0) |
			   (one_in(2) ? BIT(VIRTIO_BLK_F_DISCARD) : 0) |
			   (one_in(2) ? BIT(VIRTIO_BLK_F_WRITE_ZEROES) : 0);
		memset(machine_host(m, self->rings), 0, 0x3000);
		nonsense_ring(m, self->rings, self->request, packed);
		set_up(m, features, NUM, (uint64_t []) {
			self->rings, self->rings + 0x1000, self->rings + 0x2000,
		});
		machine_write(m, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		/* And while it may still be at work */
		scribble(m, self->rings, 0x3000);
		machine_write(m, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	}
	EXPECT_EQ(m->deaths, 0);
	EXPECT_TRUE(can_read(m, self->request, BIT(VIRTIO_F_VERSION_1)));
	EXPECT_TRUE(can_read(m, self->request,
			     BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED)));
}

/* NVMe */

#define SIZE		16	/* of the queues */

FIXTURE(nvme) {
	struct nvme_driver d;
	uint64_t page, lists;
};

FIXTURE_SETUP(nvme)
{
	if (!can_confine())
		SKIP(return, "no io_uring, or no Landlock");
	nvme_driver_init(&self->d, "nvme");
	self->page = machine_alloc(&self->d.m, NVME_PAGE, NVME_PAGE);
	self->lists = machine_alloc(&self->d.m, 2 * NVME_PAGE, NVME_PAGE);
	nvme_driver_start(&self->d, 1, SIZE);
}

FIXTURE_TEARDOWN(nvme)
{
	machine_destroy(&self->d.m);
}

static void bind_nvme(struct nvme_driver *d)
{
	nvme_disable(d);
	nvme_enable(d, SIZE);
	nvme_create_queues(d, 1, SIZE);
}

static bool can_read_nvme(struct nvme_driver *d, uint64_t page)
{
	char *data = machine_host(&d->m, page);

	fill(data, 512, 1);
	if (pwrite(d->m.image_fd, data, 512, 7 * 512) != 512)
		machine_fail("pwrite: %s", strerror(errno));
	memset(data, 0xee, 512);
	bind_nvme(d);
	return !nvme_run(d, 1, io_command(NVME_READ, 7, 1, page)) && is_filled(data, 512, 1);
}

TEST_F_TIMEOUT(nvme, registers, 900)
{
	static const unsigned int ends[] = { 0x1000, 0x2000 };
	struct nonsense n = { .m = &self->d.m, .ends = ends };
	unsigned int i, reg;

	seed = 3;
	for (i = 0; i < nr_accesses(); i++) {
		reg = one_in(2) ? random_below(0x40) : random_below(0x28);
		/* Of the pages, nearly all is empty. */
		if (one_in(2))
			send_access(&n, is_write(i), one_in(2), reg & ~3u, 4, random_value());
		else
			send_nonsense(&n, i);
		if (i % 1000)
			continue;
		/* Where it fetches nonsense commands */
		take_responses(&n);
		scribble(n.m, self->d.sqs[0].addr, SIZE * 64);
		scribble(n.m, self->d.sqs[1].addr, SIZE * 64);
		if (!(i % 5000))
			bind_nvme(&self->d);
	}
	take_responses(&n);
	EXPECT_EQ(self->d.m.deaths, 0);
	EXPECT_TRUE(can_read_nvme(&self->d, self->page));
}

/* Commands and PRP lists in which each number is nonsense or nearly right */
static struct nvme_command nonsense_command(uint64_t page, uint64_t lists, bool admin)
{
	struct nvme_command c = {
		.opcode = one_in(8) ? random_64() : random_below(13),
		.cid = random_64(), .flags = one_in(16) ? random_64() : 0,
		.nsid = one_in(8) ? random_64() : 1,
		.prp1 = one_in(4) ? random_addr() : page + 4 * random_below(1024),
		.prp2 = one_in(4) ? random_addr() : lists + 8 * random_below(1024),
		.cdw10 = random_value(), .cdw11 = one_in(4) ? random_value() : 0,
		.cdw12 = one_in(8) ? random_64() : random_below(600),
		.cdw13 = one_in(8) ? random_64() : 0,
	};

	/* What makes queues: with ids and sizes that there are */
	if (admin && one_in(2)) {
		c.cdw10 = random_below(32) << 16 | random_below(NVME_TEST_QUEUES + 2);
		c.cdw11 = random_below(NVME_TEST_QUEUES + 2) << 16 | random_below(4);
		c.prp1 = page;
	}
	return c;
}

TEST_F_TIMEOUT(nvme, queues, 900)
{
	struct nvme_driver *d = &self->d;
	struct nonsense n = { .m = &d->m };
	struct nvme_command *entries;
	unsigned int i, j, sq;
	uint64_t *lists;

	seed = 4;
	lists = machine_host(&d->m, self->lists);
	for (i = 0; i < nr_accesses() / PER_ROUND; i++) {
		bind_nvme(d);
		for (j = 0; j < 2 * NVME_PAGE / 8; j++)
			lists[j] = one_in(64) ? random_addr() : one_in(2) ? self->page :
				   self->lists + NVME_PAGE * random_below(2);
		for (sq = 0; sq < 2; sq++) {
			entries = machine_host(&d->m, d->sqs[sq].addr);
			for (j = 0; j < SIZE; j++)
				entries[j] = nonsense_command(self->page, self->lists, !sq);
		}
		/* Tails and heads, and more of them while it may still be at work */
		for (j = 0; j < 8; j++) {
			send_access(&n, true, 1, 4 * random_below(4), 4, random_below(SIZE + 1));
			scribble(&d->m, self->lists, 2 * NVME_PAGE);
		}
		take_responses(&n);
	}
	EXPECT_EQ(d->m.deaths, 0);
	EXPECT_TRUE(can_read_nvme(d, self->page));
}

TEST_HARNESS_MAIN
