// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of an NVMe controller and its commands when its process dies, at any time
 * and at any point of its own code: no command is lost, none is completed twice, what
 * has been written is there, and the driver sees no error.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <kselftest_harness.h>
#include "../util.h"
#include "nvme_driver.h"
#include "nvme_io.h"

#define SIZE		8
#define NR		4		/* commands at a time, in each queue */
#define LEN		5120

struct disk {
	struct nvme_driver d;
	struct buffer b[2][NR];
	uint64_t page;
};

static void init_disk(struct disk *disk, const char *program)
{
	unsigned int n, i;

	nvme_driver_init(&disk->d, program);
	disk->page = machine_alloc(&disk->d.m, NVME_PAGE, NVME_PAGE);
	for (n = 0; n < 2; n++) {
		for (i = 0; i < NR; i++)
			buffer_init(&disk->b[n][i], &disk->d.m, i * 512, LEN, 0);
	}
}

static uint64_t sector_of(unsigned int n, unsigned int i)
{
	return (n * NR + i) * (LEN / 512);
}

static void write_all(struct disk *disk, unsigned int seed)
{
	unsigned int n, i;

	for (n = 0; n < 2; n++) {
		for (i = 0; i < NR; i++) {
			buffer_fill(&disk->b[n][i], seed + n * NR + i);
			nvme_submit(&disk->d, n + 1, buffer_command(&disk->b[n][i], NVME_WRITE,
								    sector_of(n, i)));
		}
		nvme_submit(&disk->d, n + 1,
			    flush_command(1));
		nvme_ring_doorbell(&disk->d, n + 1);
	}
}

static void check_statuses(struct nvme_driver *d)
{
	unsigned int i;

	for (i = 0; i < NVME_MAX_CIDS; i++) {
		if (d->commands[i].status)
			machine_fail("command %u has status %#x", i, d->commands[i].status);
	}
}

static void check_written(struct disk *disk, unsigned int seed)
{
	unsigned int n, i;

	check_statuses(&disk->d);
	for (n = 0; n < 2; n++) {
		for (i = 0; i < NR; i++) {
			if (!image_has(&disk->d.m, sector_of(n, i), LEN, seed + n * NR + i))
				machine_fail("write %u of queue %u is lost", i, n + 1);
		}
	}
}

static void read_all(struct disk *disk, unsigned int seed)
{
	unsigned int n, i;

	for (n = 0; n < 2; n++) {
		for (i = 0; i < NR; i++) {
			buffer_fill(&disk->b[n][i], 0xffff);
			nvme_submit(&disk->d, n + 1, buffer_command(&disk->b[n][i], NVME_READ,
								    sector_of(n, i)));
			nvme_ring_doorbell(&disk->d, n + 1);
		}
	}
	nvme_wait(&disk->d, 0);
	check_statuses(&disk->d);
	for (n = 0; n < 2; n++) {
		for (i = 0; i < NR; i++) {
			if (!buffer_has(&disk->b[n][i], seed + n * NR + i))
				machine_fail("read %u of queue %u is wrong", i, n + 1);
		}
	}
}

FIXTURE(nvme_kill) {
	struct disk disk;
};

FIXTURE_SETUP(nvme_kill)
{
	(void)self;
}

FIXTURE_TEARDOWN(nvme_kill)
{
	(void)self;
}

TEST_F_TIMEOUT(nvme_kill, at_any_time, 300)
{
	struct disk *disk = &self->disk;
	unsigned int round;

	srandom(3);
	init_disk(disk, "nvme");
	nvme_driver_start(&disk->d, 2, SIZE);
	disk->d.m.max_deaths = 200;
	for (round = 0; round < 200; round++) {
		write_all(disk, round * 100);
		usleep(random() % 300);
		kill(disk->d.m.pid, SIGKILL);
		nvme_wait(&disk->d, 0);
		check_written(disk, round * 100);
		/* If all was done before the kill, nobody has noticed it yet. */
		ASSERT_EQ(machine_read(&disk->d.m, NVME_CSTS), NVME_CSTS_RDY);
	}
	EXPECT_EQ(disk->d.m.deaths, 200);
	machine_destroy(&disk->d.m);
}

/*
 * At each point
 */

static void run_admin(struct nvme_driver *d, struct nvme_command command)
{
	uint16_t status = nvme_run(d, 0, command);

	if (status)
		machine_fail("admin command %#x: status %#x", command.opcode, status);
}

/*
 * An event that is reported when the process dies is reported again, and an abort that is
 * repeated finds nothing to abort; but each request is completed once.
 */
static void events(struct disk *disk)
{
	struct nvme_driver *d = &disk->d;
	unsigned int cid, abort;

	cid = nvme_submit(d, 0, (struct nvme_command) { .opcode = NVME_ASYNC_EVENT });
	nvme_ring_doorbell(d, 0);
	machine_write(&d->m, NVME_DOORBELLS + 8 * 4, 0);
	nvme_wait(d, 0);
	if (d->commands[cid].status || d->commands[cid].result != NVME_LOG_ERRORS << 16)
		machine_fail("event %#x", d->commands[cid].result);
	run_admin(d, (struct nvme_command) {
		.opcode = NVME_GET_LOG_PAGE, .prp1 = disk->page,
		.cdw10 = 15 << 16 | NVME_LOG_ERRORS,
	});
	cid = nvme_submit(d, 0, (struct nvme_command) { .opcode = NVME_ASYNC_EVENT });
	nvme_ring_doorbell(d, 0);
	abort = nvme_submit(d, 0, admin_command(NVME_ABORT, cid << 16));
	nvme_ring_doorbell(d, 0);
	nvme_wait(d, 0);
	if (nvme_status(d, cid) && nvme_status(d, cid) != NVME_ABORT_REQUESTED)
		machine_fail("an aborted command has status %#x", nvme_status(d, cid));
	if (nvme_status(d, abort))
		machine_fail("an abort has status %#x", nvme_status(d, abort));
	d->commands[cid].status = 0;
}

static void other_commands(struct disk *disk)
{
	struct nvme_driver *d = &disk->d;
	uint64_t *ranges = machine_host(&d->m, disk->page);
	const struct nvme_command dsm = {
		.opcode = NVME_DSM, .nsid = 1, .cdw10 = 1, .cdw11 = 4, .prp1 = disk->page,
	};

	if (nvme_run(d, 1, io_command(NVME_WRITE_ZEROES, 0, 2, 0)))
		machine_fail("write zeroes");
	ranges[0] = 1ULL << 32;
	ranges[1] = 2;
	ranges[2] = 1ULL << 32;
	ranges[3] = 3;
	if (nvme_run(d, 2, dsm))
		machine_fail("dataset management");
	if (nvme_run(d, 2, io_command(NVME_READ, 0, 4, disk->page)))
		machine_fail("read");
	if (!is_zero(machine_host(&d->m, disk->page), 2048))
		machine_fail("zeroes are not there");
	/* One that is refused */
	if (nvme_run(d, 1, io_command(NVME_READ, ~0ULL, 1, disk->page)) != NVME_LBA_RANGE)
		machine_fail("an impossible read is not refused");
	memset(d->commands, 0, sizeof(d->commands));
}

/* All that a guest does, from the first access on. */
static void scenario(struct disk *disk)
{
	struct nvme_driver *d = &disk->d;

	machine_spawn(&d->m);
	nvme_disable(d);
	nvme_enable(d, SIZE);
	run_admin(d, (struct nvme_command) {
		.opcode = NVME_IDENTIFY, .prp1 = disk->page, .cdw10 = 1,
	});
	run_admin(d, (struct nvme_command) {
		.opcode = NVME_SET_FEATURES, .cdw10 = NVME_NR_QUEUES, .cdw11 = 0x30003,
	});
	nvme_create_queues(d, 1, SIZE);
	nvme_create_queues(d, 2, SIZE);
	events(disk);
	write_all(disk, 1);
	nvme_wait(d, 0);
	check_written(disk, 1);
	read_all(disk, 1);
	other_commands(disk);
	/* While it is being written to */
	write_all(disk, 50);
	nvme_wait(d, 2);
	nvme_wait(d, 0);
	check_written(disk, 50);
	nvme_delete_queues(d, 2);
	machine_write(&d->m, NVME_CC, NVME_CC_EN | 1 << 14 | 6 << 16 | 4 << 20);
	nvme_wait_csts(d, ~0U, NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
	nvme_disable(d);
	nvme_enable(d, SIZE);
	nvme_create_queues(d, 1, SIZE);
	if (nvme_run(d, 1, io_command(NVME_READ, 0, 1, disk->page)))
		machine_fail("read after a reset");
	/* A reset with commands under way */
	nvme_submit(d, 1, io_command(NVME_READ, 0, 1, disk->page));
	nvme_ring_doorbell(d, 1);
	nvme_disable(d);
}

/* Die at point @first, and twice more at point @again, if that is not 0. */
static unsigned int die_at(struct disk *disk, unsigned int first, unsigned int again)
{
	struct machine *m = &disk->d.m;
	unsigned int deaths;

	init_disk(disk, "nvme-kill");
	m->args.kill_after = first;
	m->kill_again = again;
	m->nr_again = again ? 2 : 0;
	m->max_deaths = 3;
	scenario(disk);
	deaths = m->deaths;
	machine_destroy(m);
	return deaths;
}

TEST_F_TIMEOUT(nvme_kill, once_at_every_point, 1200)
{
	unsigned int point = 0;

	do {
		point++;
	} while (die_at(&self->disk, point, 0));
	TH_LOG("%u points", point - 1);
	/* A start alone has some, and each command more. */
	EXPECT_GT(point, 500);
}

/* The successors die over taking up what was left behind. */
TEST_F_TIMEOUT(nvme_kill, thrice, 1200)
{
	unsigned int first, again;

	for (first = 160; first < 700; first += 31) {
		for (again = 1; again < 40; again += 5)
			EXPECT_GT(die_at(&self->disk, first, again), 1);
	}
}

TEST_HARNESS_MAIN
