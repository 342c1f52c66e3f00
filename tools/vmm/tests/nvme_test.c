// SPDX-License-Identifier: GPL-2.0-only
/*
 * The NVMe controller: registers, each command and how it is refused. What becomes of
 * commands when the process dies is in nvme_kill_test.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <kselftest_harness.h>
#include "../util.h"
#include "nvme_driver.h"
#include "nvme_io.h"

#define SIZE		8	/* of the queues */

FIXTURE(nvme) {
	struct nvme_driver d;
	uint64_t page;		/* of guest memory */
	uint64_t list;		/* two more */
};

FIXTURE_SETUP(nvme)
{
	struct nvme_driver *d = &self->d;

	nvme_driver_init(d, "nvme");
	self->page = machine_alloc(&d->m, NVME_PAGE, NVME_PAGE);
	self->list = machine_alloc(&d->m, 2 * NVME_PAGE, NVME_PAGE);
	nvme_driver_start(d, 1, SIZE);
}

FIXTURE_TEARDOWN(nvme)
{
	machine_destroy(&self->d.m);
}

/* Registers */

TEST_F(nvme, registers)
{
	struct machine *m = &self->d.m;
	uint64_t cap = machine_access(m, false, NVME_CAP, 8, 0, 0);

	EXPECT_EQ(cap & 0xffff, 1023);			/* MQES */
	EXPECT_TRUE(cap & NVME_CAP_CQR);
	EXPECT_TRUE(cap & NVME_CAP_CSS_NVM);
	EXPECT_NE(cap >> 24 & 0xff, 0);			/* TO */
	EXPECT_EQ(cap >> 32 & 15, 0);			/* DSTRD */
	EXPECT_EQ(cap >> 48, 0);			/* MPSMIN, MPSMAX */
	EXPECT_EQ(machine_read(m, NVME_CAP), (uint32_t)cap);
	EXPECT_EQ(machine_read(m, NVME_CAP_HIGH), cap >> 32);
	EXPECT_EQ(machine_read(m, NVME_VS), 0x10400);
	EXPECT_EQ(machine_read(m, NVME_AQA), (SIZE - 1) << 16 | (SIZE - 1));
	EXPECT_EQ(machine_access(m, false, NVME_ASQ, 8, 0, 0), self->d.sqs[0].addr);
	EXPECT_EQ(machine_access(m, false, NVME_ACQ, 8, 0, 0), self->d.cqs[0].addr);
	/* No such register */
	EXPECT_EQ(machine_access(m, false, NVME_VS, 2, 0, 0), 0);
	EXPECT_EQ(machine_access(m, false, NVME_VS + 1, 1, 0, 0), 0);
	EXPECT_EQ(machine_access(m, false, NVME_VS + 2, 4, 0, 0), 0);
	EXPECT_EQ(machine_read(m, 0x100), 0);
	EXPECT_EQ(machine_read(m, NVME_DOORBELLS), 0);
	/* Read-only */
	machine_access(m, true, NVME_CAP, 8, 0, 0);
	machine_write(m, NVME_VS, 0);
	machine_write(m, NVME_CSTS, ~0U);
	EXPECT_EQ(machine_access(m, false, NVME_CAP, 8, 0, 0), cap);
	EXPECT_EQ(machine_read(m, NVME_VS), 0x10400);
	EXPECT_EQ(machine_read(m, NVME_CSTS), NVME_CSTS_RDY);
	machine_write(m, NVME_INTMS, ~0U);
	machine_write(m, NVME_INTMC, ~0U);
}

TEST_F(nvme, enable_refused)
{
	static const uint32_t bad_cc[] = { 1 << 4, 1 << 7, 1 << 11 };
	struct nvme_driver *d = &self->d;
	struct machine *m = &d->m;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad_cc); i++) {
		nvme_disable(d);
		machine_write(m, NVME_CC, NVME_CC_EN | bad_cc[i]);
		EXPECT_EQ(machine_read(m, NVME_CSTS), NVME_CSTS_CFS);
	}
	nvme_disable(d);
	machine_write(m, NVME_AQA, 0);
	machine_write(m, NVME_CC, NVME_CC_EN);
	EXPECT_EQ(machine_read(m, NVME_CSTS), NVME_CSTS_CFS);
	nvme_disable(d);
	machine_write(m, NVME_AQA, 7 << 16 | 7);
	machine_write(m, NVME_ASQ_HIGH, 0xffff);
	machine_write(m, NVME_CC, NVME_CC_EN);
	EXPECT_EQ(machine_read(m, NVME_CSTS), NVME_CSTS_CFS);
	/* A successor knows, too. */
	machine_kill(m);
	EXPECT_EQ(machine_read(m, NVME_CSTS), NVME_CSTS_CFS);
	/* Doorbells mean nothing. */
	machine_write(m, NVME_DOORBELLS, 1);
	nvme_disable(d);
	nvme_enable(d, SIZE);
	EXPECT_EQ(nvme_run(d, 0, admin_command(NVME_GET_FEATURES, NVME_POWER)), 0);
}

/* Identify */

static uint16_t identify(struct nvme_driver *d, uint64_t page, uint32_t cns, uint32_t nsid)
{
	memset(machine_host(&d->m, page), 0xff, NVME_PAGE);
	return nvme_run(d, 0, (struct nvme_command) {
		.opcode = NVME_IDENTIFY, .nsid = nsid, .prp1 = page, .cdw10 = cns,
	});
}

TEST_F(nvme, identify_controller)
{
	uint8_t *p = machine_host(&self->d.m, self->page);

	ASSERT_EQ(identify(&self->d, self->page, 1, 0), 0);
	EXPECT_EQ(memcmp(p + 4, "serial              ", 20), 0);
	EXPECT_EQ(p[77], 6);				/* MDTS */
	EXPECT_EQ(*(uint32_t *)(p + 80), 0x10400);
	EXPECT_EQ(p[111], 1);				/* CNTRLTYPE */
	EXPECT_EQ(*(uint16_t *)(p + 256), 0);		/* OACS */
	EXPECT_EQ(p[512], 0x66);
	EXPECT_EQ(p[513], 0x44);
	EXPECT_EQ(*(uint32_t *)(p + 516), 1);		/* NN */
	EXPECT_EQ(*(uint16_t *)(p + 520), 0xc);		/* ONCS */
	EXPECT_EQ(p[525] & 1, 1);			/* VWC */
	EXPECT_EQ(*(uint32_t *)(p + 536), 0);		/* SGLS */
	EXPECT_EQ(memcmp(p + 768, "nqn.2014-08.org.nvmexpress:uuid:", 32), 0);
	EXPECT_EQ(strlen((char *)p + 768), 68);
}

TEST_F(nvme, identify_namespace)
{
	uint8_t *p = machine_host(&self->d.m, self->page);
	uint8_t uuid[16];

	ASSERT_EQ(identify(&self->d, self->page, 0, 1), 0);
	EXPECT_EQ(*(uint64_t *)p, NVME_TEST_SECTORS);
	EXPECT_EQ(*(uint64_t *)(p + 8), NVME_TEST_SECTORS);
	EXPECT_EQ(p[25], 0);				/* NLBAF */
	EXPECT_EQ(p[26], 0);				/* FLBAS */
	EXPECT_EQ(p[99], 0);				/* NSATTR */
	EXPECT_EQ(*(uint32_t *)(p + 128), 9 << 16);	/* LBAF0 */
	ASSERT_EQ(identify(&self->d, self->page, 2, 0), 0);
	EXPECT_EQ(*(uint32_t *)p, 1);
	EXPECT_EQ(*(uint32_t *)(p + 4), 0);
	ASSERT_EQ(identify(&self->d, self->page, 2, 1), 0);
	EXPECT_EQ(*(uint32_t *)p, 0);
	ASSERT_EQ(identify(&self->d, self->page, 3, 1), 0);
	EXPECT_EQ(p[0], 3);
	EXPECT_EQ(p[1], 16);
	EXPECT_EQ(p[20], 0);				/* end of the list */
	memcpy(uuid, p + 4, 16);
	EXPECT_EQ(uuid[6] >> 4, 8);
	/* The same for each process */
	machine_kill(&self->d.m);
	ASSERT_EQ(identify(&self->d, self->page, 3, 1), 0);
	EXPECT_EQ(memcmp(uuid, p + 4, 16), 0);
}

TEST_F(nvme, identify_refused)
{
	EXPECT_EQ(identify(&self->d, self->page, 0, 0), NVME_INVALID_NAMESPACE);
	EXPECT_EQ(identify(&self->d, self->page, 0, 2), NVME_INVALID_NAMESPACE);
	EXPECT_EQ(identify(&self->d, self->page, 0, NVME_NSID_ALL), NVME_INVALID_NAMESPACE);
	EXPECT_EQ(identify(&self->d, self->page, 2, NVME_NSID_ALL), NVME_INVALID_NAMESPACE);
	EXPECT_EQ(identify(&self->d, self->page, 3, 0), NVME_INVALID_NAMESPACE);
	EXPECT_EQ(identify(&self->d, self->page, 0x10, 1), NVME_INVALID_FIELD);
	EXPECT_EQ(*(uint8_t *)machine_host(&self->d.m, self->page), 0xff);
}

/* Features */

static uint16_t set_feature(struct nvme_driver *d, uint32_t cdw10, uint32_t value)
{
	return nvme_run(d, 0, (struct nvme_command) {
		.opcode = NVME_SET_FEATURES, .cdw10 = cdw10, .cdw11 = value,
	});
}

static uint32_t get_feature(struct nvme_driver *d, uint32_t feature, uint32_t cdw11)
{
	struct nvme_command command = admin_command(NVME_GET_FEATURES, feature);

	command.cdw11 = cdw11;
	if (nvme_run(d, 0, command))
		machine_fail("feature %#x cannot be read", feature);
	return nvme_result(d);
}

TEST_F(nvme, features)
{
	static const struct {
		uint32_t feature, set, get;
	} features[] = {
		{ NVME_ARBITRATION, 0x01020304, 0x01020304 },
		{ NVME_POWER, 0, 0 },
		{ NVME_TEMPERATURE, 340, 340 },
		{ NVME_ERROR_RECOVERY, 7, 7 },
		{ NVME_WRITE_CACHE, 0, 0 },
		{ NVME_WRITE_CACHE, 1, 1 },
		{ NVME_COALESCING, 0x1234, 0x1234 },
		{ NVME_ATOMICITY, 1, 1 },
		{ NVME_EVENTS, 2, 2 },
	};
	struct nvme_driver *d = &self->d;
	size_t i;

	EXPECT_EQ(get_feature(d, NVME_WRITE_CACHE, 0), 1);
	for (i = 0; i < ARRAY_SIZE(features); i++) {
		EXPECT_EQ(set_feature(d, features[i].feature, features[i].set), 0) {
			TH_LOG("feature %#x", features[i].feature);
		}
		EXPECT_EQ(get_feature(d, features[i].feature, 0), features[i].get);
	}
	/* The threshold below which it is too cold */
	EXPECT_EQ(set_feature(d, NVME_TEMPERATURE, 1 << 20 | 200), 0);
	EXPECT_EQ(get_feature(d, NVME_TEMPERATURE, 1 << 20), 200);
	EXPECT_EQ(get_feature(d, NVME_TEMPERATURE, 0), 340);
	EXPECT_EQ(set_feature(d, NVME_VECTOR, 1 << 16 | 2), 0);
	EXPECT_EQ(get_feature(d, NVME_VECTOR, 2), 1 << 16 | 2);
	EXPECT_EQ(get_feature(d, NVME_VECTOR, 1), 1);
	/* A successor knows them; after a reset they are as in the beginning (5.21). */
	machine_kill(&d->m);
	EXPECT_EQ(get_feature(d, NVME_COALESCING, 0), 0x1234);
	nvme_disable(d);
	nvme_enable(d, SIZE);
	EXPECT_EQ(get_feature(d, NVME_COALESCING, 0), 0);
	/* Before there are I/O queues */
	EXPECT_EQ(set_feature(d, NVME_NR_QUEUES, 63 << 16 | 63), 0);
	EXPECT_EQ(nvme_result(d), (NVME_TEST_QUEUES - 1) * 0x10001);
	EXPECT_EQ(get_feature(d, NVME_NR_QUEUES, 0), (NVME_TEST_QUEUES - 1) * 0x10001);
	EXPECT_EQ(set_feature(d, NVME_NR_QUEUES, 0xffff), NVME_INVALID_FIELD);
	EXPECT_EQ(set_feature(d, NVME_NR_QUEUES, 0xffff0000), NVME_INVALID_FIELD);
}

TEST_F(nvme, features_refused)
{
	struct nvme_driver *d = &self->d;

	EXPECT_EQ(set_feature(d, NVME_NR_QUEUES, 0), NVME_SEQUENCE_ERROR);
	EXPECT_EQ(set_feature(d, 1U << 31 | NVME_ARBITRATION, 0), NVME_NOT_SAVEABLE);
	EXPECT_EQ(set_feature(d, 0, 0), NVME_INVALID_FIELD);
	EXPECT_EQ(set_feature(d, 0x7e, 0), NVME_INVALID_FIELD);
	EXPECT_EQ(set_feature(d, NVME_POWER, 1), NVME_INVALID_FIELD);
	EXPECT_EQ(set_feature(d, NVME_TEMPERATURE, 1 << 16), NVME_INVALID_FIELD);
	EXPECT_EQ(set_feature(d, NVME_TEMPERATURE, 2 << 20), NVME_INVALID_FIELD);
	EXPECT_EQ(set_feature(d, NVME_ERROR_RECOVERY, 1 << 16), NVME_INVALID_FIELD);
	EXPECT_EQ(set_feature(d, NVME_VECTOR, NVME_TEST_QUEUES + 1), NVME_INVALID_FIELD);
	EXPECT_EQ(nvme_run(d, 0, admin_command(NVME_GET_FEATURES, 0x7e)), NVME_INVALID_FIELD);
	EXPECT_EQ(nvme_run(d, 0, (struct nvme_command) {
		.opcode = NVME_GET_FEATURES, .cdw10 = NVME_VECTOR, .cdw11 = 0xffff,
	}), NVME_INVALID_FIELD);
}

/* Log pages */

static uint16_t get_log(struct nvme_driver *d, uint64_t page, uint8_t id, uint32_t size,
			uint64_t offset, uint32_t flags)
{
	uint32_t dwords = size / 4 - 1;

	memset(machine_host(&d->m, page), 0xff, NVME_PAGE);
	return nvme_run(d, 0, (struct nvme_command) {
		.opcode = NVME_GET_LOG_PAGE, .nsid = NVME_NSID_ALL, .prp1 = page,
		.cdw10 = dwords << 16 | flags | id, .cdw11 = dwords >> 16,
		.cdw12 = offset, .cdw13 = offset >> 32,
	});
}

TEST_F(nvme, logs)
{
	struct nvme_driver *d = &self->d;
	uint8_t *p = machine_host(&d->m, self->page);
	struct nvme_command bad = { .opcode = 0x7f };

	ASSERT_EQ(nvme_run(d, 1, io_command(NVME_WRITE, 0, 8, self->page)), 0);
	ASSERT_EQ(get_log(d, self->page, NVME_LOG_HEALTH, 512, 0, 0), 0);
	EXPECT_EQ(p[0], 0);
	EXPECT_EQ(*(uint16_t *)(p + 1), 313);
	EXPECT_EQ(*(uint64_t *)(p + 48), 1);		/* data units written */
	EXPECT_EQ(*(uint64_t *)(p + 80), 1);		/* writes */
	EXPECT_EQ(*(uint64_t *)(p + 176), 0);		/* errors */
	EXPECT_EQ(p[512], 0xff);
	ASSERT_EQ(get_log(d, self->page, NVME_LOG_HEALTH, 4, 80, 0), 0);
	EXPECT_EQ(p[0], 1);
	EXPECT_EQ(p[4], 0xff);
	ASSERT_EQ(get_log(d, self->page, NVME_LOG_FIRMWARE, 512, 0, 0), 0);
	EXPECT_EQ(p[0], 1);
	ASSERT_EQ(get_log(d, self->page, NVME_LOG_EFFECTS, 4096, 0, 0), 0);
	EXPECT_EQ(p[NVME_IDENTIFY * 4], 1);
	EXPECT_EQ(p[NVME_FORMAT * 4], 0);
	EXPECT_EQ(p[1024 + NVME_WRITE * 4], 3);
	/* The latest error comes first. */
	nvme_run(d, 0, bad);
	nvme_run(d, 1, io_command(NVME_READ, NVME_TEST_SECTORS + 5, 1, self->page));
	ASSERT_EQ(get_log(d, self->page, NVME_LOG_ERRORS, 512, 0, 0), 0);
	EXPECT_EQ(*(uint64_t *)p, 2);
	EXPECT_EQ(*(uint16_t *)(p + 8), 1);		/* queue */
	EXPECT_EQ(*(uint16_t *)(p + 12) >> 1 & 0x7ff, NVME_LBA_RANGE);
	EXPECT_EQ(*(uint64_t *)(p + 16), NVME_TEST_SECTORS + 5);
	EXPECT_EQ(*(uint64_t *)(p + 64), 1);
	EXPECT_EQ(*(uint16_t *)(p + 64 + 12) >> 1 & 0x7ff, NVME_INVALID_OPCODE);
	EXPECT_EQ(*(uint64_t *)(p + 128), 0);
	/* Longer than the page: what is beyond stays as it is. */
	EXPECT_EQ(get_log(d, self->page, NVME_LOG_HEALTH, 1024, 0, 0), 0);
	EXPECT_EQ(p[600], 0xff);
}

TEST_F(nvme, logs_refused)
{
	struct nvme_driver *d = &self->d;

	EXPECT_EQ(get_log(d, self->page, 0, 512, 0, 0), NVME_INVALID_LOG_PAGE);
	EXPECT_EQ(get_log(d, self->page, 0x7f, 512, 0, 0), NVME_INVALID_LOG_PAGE);
	EXPECT_EQ(get_log(d, self->page, NVME_LOG_HEALTH, 512, 516, 0), NVME_INVALID_FIELD);
	EXPECT_EQ(get_log(d, self->page, NVME_LOG_HEALTH, 512, 2, 0), NVME_INVALID_FIELD);
	EXPECT_EQ(get_log(d, self->page, NVME_LOG_HEALTH, 512, ~3ULL, 0), NVME_INVALID_FIELD);
	EXPECT_EQ(nvme_run(d, 0, (struct nvme_command) {
		.opcode = NVME_GET_LOG_PAGE, .prp1 = self->page,
		.cdw10 = 0xffff0000 | NVME_LOG_HEALTH, .cdw11 = 0xffff,
	}), NVME_INVALID_FIELD);
	EXPECT_EQ(nvme_run(d, 0, (struct nvme_command) {
		.opcode = NVME_GET_LOG_PAGE, .prp1 = self->page, .nsid = 1,
		.cdw10 = 127 << 16 | NVME_LOG_HEALTH,
	}), NVME_INVALID_FIELD);
}

/* Queues */

static uint16_t create(struct nvme_driver *d, uint8_t opcode, uint64_t addr, uint32_t id,
		       uint32_t size, uint32_t cdw11)
{
	return nvme_run(d, 0, (struct nvme_command) {
		.opcode = opcode, .prp1 = addr, .cdw10 = (size - 1) << 16 | id, .cdw11 = cdw11,
	});
}

static uint16_t delete(struct nvme_driver *d, uint8_t opcode, uint32_t id)
{
	return nvme_run(d, 0, admin_command(opcode, id));
}

TEST_F(nvme, queues_refused)
{
	struct nvme_driver *d = &self->d;
	static const struct {
		uint32_t id, size, cdw11;
		uint16_t cq, sq;
	} bad[] = {
		{ 0, 8, 1 << 16 | 1, NVME_INVALID_QID, NVME_INVALID_QID },
		{ 1, 8, 1 << 16 | 1, NVME_INVALID_QID, NVME_INVALID_QID },
		{ NVME_TEST_QUEUES + 1, 8, 1 << 16 | 1, NVME_INVALID_QID, NVME_INVALID_QID },
		{ 0xffff, 8, 1 << 16 | 1, NVME_INVALID_QID, NVME_INVALID_QID },
		{ 2, 1, 1 << 16 | 1, NVME_INVALID_SIZE, NVME_INVALID_SIZE },
		{ 2, 1025, 1 << 16 | 1, NVME_INVALID_SIZE, NVME_INVALID_SIZE },
		{ 2, 8, 1 << 16, NVME_INVALID_FIELD, NVME_INVALID_FIELD },
		{ 2, 8, 5 << 16 | 1, NVME_INVALID_VECTOR, NVME_INVALID_QID },
		{ 3, 8, 3 << 16 | 1, 0, 0 },
		{ 2, 8, 4 << 16 | 1, 0, NVME_INVALID_CQ },
		{ 2, 8, 0 << 16 | 1, NVME_INVALID_QID, NVME_INVALID_QID },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(create(d, NVME_CREATE_CQ, self->page, bad[i].id, bad[i].size,
				 bad[i].cdw11), bad[i].cq) {
			TH_LOG("CQ %zu", i);
		}
		EXPECT_EQ(create(d, NVME_CREATE_SQ, self->page, bad[i].id, bad[i].size,
				 bad[i].cdw11), bad[i].sq) {
			TH_LOG("SQ %zu", i);
		}
	}
	EXPECT_EQ(create(d, NVME_CREATE_CQ, self->page + 4, 4, 8, 1), NVME_INVALID_PRP_OFFSET);
	EXPECT_EQ(create(d, NVME_CREATE_CQ, 1ULL << 60, 4, 8, 1), NVME_INVALID_FIELD);
	/* Only its beginning is in guest memory. */
	EXPECT_EQ(create(d, NVME_CREATE_CQ, LOW_ADDR + REGION_SIZE - NVME_PAGE, 4, 1024, 1),
		  NVME_INVALID_FIELD);
	EXPECT_EQ(delete(d, NVME_DELETE_SQ, 0), NVME_INVALID_QID);
	EXPECT_EQ(delete(d, NVME_DELETE_CQ, 0), NVME_INVALID_QID);
	EXPECT_EQ(delete(d, NVME_DELETE_SQ, 4), NVME_INVALID_QID);
	EXPECT_EQ(delete(d, NVME_DELETE_CQ, 4), NVME_INVALID_QID);
	EXPECT_EQ(delete(d, NVME_DELETE_CQ, 0xffff), NVME_INVALID_QID);
	/* In use */
	EXPECT_EQ(delete(d, NVME_DELETE_CQ, 1), NVME_INVALID_DELETION);
	EXPECT_EQ(delete(d, NVME_DELETE_SQ, 1), 0);
	EXPECT_EQ(delete(d, NVME_DELETE_SQ, 1), NVME_INVALID_QID);
	EXPECT_EQ(delete(d, NVME_DELETE_CQ, 1), 0);
	EXPECT_EQ(delete(d, NVME_DELETE_CQ, 1), NVME_INVALID_QID);
}

/* CC says how large the entries of I/O queues are (5.3, 5.4). */
TEST_F(nvme, entry_sizes)
{
	struct nvme_driver *d = &self->d;

	nvme_disable(d);
	nvme_enable(d, SIZE);
	machine_write(&d->m, NVME_CC, NVME_CC_EN);
	EXPECT_EQ(create(d, NVME_CREATE_CQ, self->page, 1, 8, 1), NVME_INVALID_SIZE);
	machine_write(&d->m, NVME_CC, NVME_CC_EN | 4 << 20);
	EXPECT_EQ(create(d, NVME_CREATE_CQ, self->page, 1, 8, 1), 0);
	EXPECT_EQ(create(d, NVME_CREATE_SQ, self->page, 1, 8, 1 << 16 | 1), NVME_INVALID_SIZE);
}

TEST_F(nvme, queues_again_and_again)
{
	struct nvme_driver *d = &self->d;
	unsigned int round, n;

	for (round = 0; round < 10; round++) {
		for (n = 2; n <= NVME_TEST_QUEUES; n++)
			nvme_create_queues(d, n, 4 + round);
		for (n = 2; n <= NVME_TEST_QUEUES; n++)
			EXPECT_EQ(nvme_run(d, n, io_command(NVME_READ, n, 1, self->page)), 0);
		for (n = 2; n <= NVME_TEST_QUEUES; n++)
			nvme_delete_queues(d, n);
	}
}

/* Each queue has its vector, if it wants interrupts. */
TEST_F(nvme, vectors)
{
	struct nvme_driver *d = &self->d;
	unsigned int n;

	nvme_create_queues(d, 2, SIZE);
	for (n = 0; n <= 2; n++)
		machine_irq_of(&d->m, n);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, 0, 1, self->page)), 0);
	nvme_submit(d, 2, io_command(NVME_READ, 0, 1, self->page));
	nvme_ring_doorbell(d, 2);
	for (n = 0; n < WAIT_MS && !machine_irq_of(&d->m, 2); n++)
		usleep(1000);
	EXPECT_LT(n, WAIT_MS);
	EXPECT_FALSE(machine_irq_of(&d->m, 0));
	nvme_wait(d, 0);
	/* Without interrupts */
	nvme_delete_queues(d, 2);
	nvme_alloc_ring(d, &d->cqs[2], SIZE);
	nvme_alloc_ring(d, &d->sqs[2], SIZE);
	ASSERT_EQ(create(d, NVME_CREATE_CQ, d->cqs[2].addr, 2, SIZE, 2 << 16 | 1), 0);
	ASSERT_EQ(create(d, NVME_CREATE_SQ, d->sqs[2].addr, 2, SIZE, 2 << 16 | 1), 0);
	while (machine_irq_of(&d->m, 2))
		;
	nvme_submit(d, 2, io_command(NVME_READ, 0, 1, self->page));
	nvme_ring_doorbell(d, 2);
	for (n = 0; n < WAIT_MS && !nvme_poll(d); n++)
		usleep(1000);
	EXPECT_LT(n, WAIT_MS);
	EXPECT_FALSE(machine_irq_of(&d->m, 2));
}

/* Reading and writing */

TEST_F(nvme, any_prp)
{
	/* Offsets in the first page, and lengths in sectors */
	static const struct {
		uint32_t offset, nr;
	} shapes[] = {
		{ 0, 1 }, { 0, 8 }, { 4, 1 }, { 3584, 1 }, { 3588, 1 }, { 512, 8 }, { 0, 16 },
		{ 4092, 1 }, { 0, 17 }, { 4092, 17 }, { 512, 64 }, { 0, 512 }, { 4092, 512 },
	};
	struct nvme_driver *d = &self->d;
	struct buffer b;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(shapes); i++) {
		buffer_init(&b, &d->m, shapes[i].offset, shapes[i].nr * 512, 0);
		buffer_fill(&b, i);
		ASSERT_EQ(nvme_run(d, 1, buffer_command(&b, NVME_WRITE, 16)), 0) {
			TH_LOG("shape %zu", i);
		}
		EXPECT_TRUE(image_has(&d->m, 16, b.len, i));
		buffer_fill(&b, 99);
		ASSERT_EQ(nvme_run(d, 1, buffer_command(&b, NVME_READ, 16)), 0);
		EXPECT_TRUE(buffer_has(&b, i));
	}
	/* The list itself begins near the end of a page, and goes on in others. */
	for (i = 1; i < 5; i++) {
		buffer_init(&b, &d->m, 512, 32 * NVME_PAGE, NVME_PAGE - i * 8);
		buffer_fill(&b, i);
		ASSERT_EQ(nvme_run(d, 1, buffer_command(&b, NVME_WRITE, 0)), 0);
		EXPECT_TRUE(image_has(&d->m, 0, b.len, i));
	}
	/* No longer list than needed: the last entry of a page is then one for data. */
	buffer_init(&b, &d->m, 0, 3 * NVME_PAGE, NVME_PAGE - 16);
	buffer_fill(&b, 7);
	ASSERT_EQ(nvme_run(d, 1, buffer_command(&b, NVME_WRITE, 0)), 0);
	EXPECT_TRUE(image_has(&d->m, 0, b.len, 7));
}

TEST_F(nvme, bad_prp)
{
	struct nvme_driver *d = &self->d;
	uint64_t *list = machine_host(&d->m, self->list);
	uint64_t outside = LOW_ADDR + REGION_SIZE, page = self->page;
	uint64_t end = self->list + NVME_PAGE - 8;
	struct nvme_command loop = io_command(NVME_WRITE, 0, 512, page);
	const struct {
		uint64_t prp1, prp2, first, second;
		uint32_t nr;
		uint16_t status;
	} bad[] = {
		{ page + 2, 0, 0, 0, 1, NVME_INVALID_PRP_OFFSET },
		{ outside, 0, 0, 0, 1, NVME_TRANSFER_ERROR },
		{ ~3ULL, 0, 0, 0, 1, NVME_TRANSFER_ERROR },
		{ 0, 0, 0, 0, 1, NVME_TRANSFER_ERROR },
		{ page, page + 512, 0, 0, 16, NVME_INVALID_PRP_OFFSET },
		{ page, outside, 0, 0, 16, NVME_TRANSFER_ERROR },
		{ page, outside, 0, 0, 17, NVME_TRANSFER_ERROR },
		{ page, self->list + 4, 0, 0, 17, NVME_INVALID_PRP_OFFSET },
		{ page, self->list, page + 4, page, 24, NVME_INVALID_PRP_OFFSET },
		{ page, self->list, page, page + 2048, 24, NVME_INVALID_PRP_OFFSET },
		{ page, self->list, page, outside, 24, NVME_TRANSFER_ERROR },
		{ page, self->list, page, ~4095ULL, 24, NVME_TRANSFER_ERROR },
		/* Where the list should go on: nowhere, at an odd place, at the same place */
		{ page, end, outside, 0, 24, NVME_TRANSFER_ERROR },
		{ page, end, self->list + 8, 0, 24, NVME_INVALID_PRP_OFFSET },
		{ page, end, self->list, 0, 512, NVME_TRANSFER_ERROR },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct nvme_command c = io_command(NVME_WRITE, 0, bad[i].nr, bad[i].prp1);
		uint64_t at = bad[i].prp2 == end ? NVME_PAGE / 8 - 1 : 0;

		memset(list, 0, NVME_PAGE);
		list[at] = bad[i].first;
		list[at + 1] = bad[i].second;
		c.prp2 = bad[i].prp2;
		EXPECT_EQ(nvme_run(d, 1, c), bad[i].status) {
			TH_LOG("PRP %zu", i);
		}
	}
	/* A list that leads to itself over and over ends with the data. */
	for (i = 0; i < NVME_PAGE / 8; i++)
		list[i] = self->list;
	loop.prp2 = end;
	EXPECT_EQ(nvme_run(d, 1, loop), 0);
}

TEST_F(nvme, commands_refused)
{
	struct nvme_driver *d = &self->d;
	struct nvme_command c, good = io_command(NVME_READ, 0, 1, self->page);
	const uint64_t last = NVME_TEST_SECTORS;

	c = good;
	c.nsid = 0;
	EXPECT_EQ(nvme_run(d, 1, c), NVME_INVALID_NAMESPACE);
	c.nsid = 2;
	EXPECT_EQ(nvme_run(d, 1, c), NVME_INVALID_NAMESPACE);
	c.nsid = NVME_NSID_ALL;
	EXPECT_EQ(nvme_run(d, 1, c), NVME_INVALID_NAMESPACE);
	c = good;
	c.flags = 1;
	EXPECT_EQ(nvme_run(d, 1, c), NVME_INVALID_FIELD);
	EXPECT_EQ(nvme_run(d, 0, (struct nvme_command) { .opcode = NVME_IDENTIFY, .flags = 1 }),
		  NVME_INVALID_FIELD);
	c.flags = 0x40;
	EXPECT_EQ(nvme_run(d, 1, c), NVME_INVALID_FIELD);
	c = good;
	c.cdw12 |= 1 << 29;			/* protection information */
	EXPECT_EQ(nvme_run(d, 1, c), NVME_INVALID_FIELD);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, last, 1, self->page)), NVME_LBA_RANGE);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, last - 1, 2, self->page)), NVME_LBA_RANGE);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_WRITE, ~0ULL, 1, self->page)), NVME_LBA_RANGE);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_WRITE, ~0ULL / 512 + 1, 1, self->page)),
		  NVME_LBA_RANGE);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_WRITE_ZEROES, last, 1, 0)), NVME_LBA_RANGE);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, 0, 513, self->page)), NVME_INVALID_FIELD);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, last - 1, 1, self->page)), 0);
	/* What there is not: Write Uncorrectable, Compare, and vendor specific ones */
	EXPECT_EQ(nvme_run(d, 1, io_command(4, 0, 1, self->page)), NVME_INVALID_OPCODE);
	EXPECT_EQ(nvme_run(d, 1, io_command(5, 0, 1, self->page)), NVME_INVALID_OPCODE);
	EXPECT_EQ(nvme_run(d, 1, io_command(0xff, 0, 1, self->page)), NVME_INVALID_OPCODE);
	EXPECT_EQ(nvme_run(d, 0, (struct nvme_command) { .opcode = NVME_FORMAT, .nsid = 1 }),
		  NVME_INVALID_OPCODE);
	EXPECT_EQ(nvme_run(d, 0, (struct nvme_command) { .opcode = 0x18 }), NVME_INVALID_OPCODE);
	EXPECT_TRUE(d->commands[(d->next_cid - 1) % NVME_MAX_CIDS].status & NVME_DNR);
}

TEST_F(nvme, flush_and_fua)
{
	struct nvme_driver *d = &self->d;
	struct nvme_command c = io_command(NVME_WRITE, 3, 1, self->page);

	c.cdw12 |= 1 << 30;
	fill(machine_host(&d->m, self->page), 512, 5);
	EXPECT_EQ(nvme_run(d, 1, c), 0);
	EXPECT_TRUE(image_has(&d->m, 3, 512, 5));
	EXPECT_EQ(nvme_run(d, 1, flush_command(1)), 0);
	EXPECT_EQ(nvme_run(d, 1, flush_command(NVME_NSID_ALL)), 0);
	EXPECT_EQ(nvme_run(d, 1, flush_command(2)),
		  NVME_INVALID_NAMESPACE);
	/* Without the cache each write is stable. */
	EXPECT_EQ(set_feature(d, NVME_WRITE_CACHE, 0), 0);
	fill(machine_host(&d->m, self->page), 512, 6);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_WRITE, 4, 1, self->page)), 0);
	EXPECT_TRUE(image_has(&d->m, 4, 512, 6));
}

TEST_F(nvme, write_zeroes)
{
	/* cdw12: with a cache, deallocated, and stable */
	static const uint32_t kinds[] = { 0, 1 << 25, 1 << 30, 1 << 30 | 1 << 25 };
	struct nvme_driver *d = &self->d;
	struct nvme_command c;
	struct buffer b;
	size_t i;

	buffer_init(&b, &d->m, 0, 64 * 512, 0);
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		buffer_fill(&b, i + 1);
		ASSERT_EQ(nvme_run(d, 1, buffer_command(&b, NVME_WRITE, 100)), 0);
		c = io_command(NVME_WRITE_ZEROES, 101, 62, 0);
		c.cdw12 |= kinds[i];
		ASSERT_EQ(nvme_run(d, 1, c), 0);
		ASSERT_EQ(nvme_run(d, 1, buffer_command(&b, NVME_READ, 100)), 0);
		EXPECT_TRUE(is_filled(b.m->memory + (b.addr - LOW_ADDR), 512, i + 1));
		EXPECT_TRUE(is_zero(b.m->memory + (b.addr - LOW_ADDR) + 512, 62 * 512));
		EXPECT_FALSE(is_zero(b.m->memory + (b.addr - LOW_ADDR) + 63 * 512, 512));
		/* All of it, which takes several steps */
		c = io_command(NVME_WRITE_ZEROES, 0, NVME_TEST_SECTORS, 0);
		c.cdw12 |= kinds[i];
		ASSERT_EQ(nvme_run(d, 1, c), 0);
		ASSERT_EQ(nvme_run(d, 1, buffer_command(&b, NVME_READ, 100)), 0);
		EXPECT_TRUE(is_zero(b.m->memory + (b.addr - LOW_ADDR), 64 * 512));
	}
}

struct range {
	uint32_t attributes, nr;
	uint64_t first;
};

static uint16_t dsm(struct nvme_driver *d, uint64_t page, unsigned int nr, uint32_t attributes)
{
	return nvme_run(d, 1, (struct nvme_command) {
		.opcode = NVME_DSM, .nsid = 1, .prp1 = page, .cdw10 = nr - 1, .cdw11 = attributes,
	});
}

TEST_F(nvme, dataset_management)
{
	struct nvme_driver *d = &self->d;
	struct range *ranges = machine_host(&d->m, self->list);
	struct buffer b;
	unsigned int i;

	buffer_init(&b, &d->m, 0, 64 * 512, 0);
	buffer_fill(&b, 1);
	ASSERT_EQ(nvme_run(d, 1, buffer_command(&b, NVME_WRITE, 0)), 0);
	for (i = 0; i < 256; i++)
		ranges[i] = (struct range) { 0, i < 32 ? 1 : 0, i * 2 };
	/* Hints only */
	EXPECT_EQ(dsm(d, self->list, 256, 0), 0);
	EXPECT_TRUE(image_has(&d->m, 0, 64 * 512, 1));
	EXPECT_EQ(dsm(d, self->list, 256, 4), 0);
	ASSERT_EQ(nvme_run(d, 1, buffer_command(&b, NVME_READ, 0)), 0);
	for (i = 0; i < 64; i++)
		EXPECT_EQ(is_zero(b.m->memory + (b.addr - LOW_ADDR) + i * 512, 512), i % 2 == 0);
	EXPECT_EQ(dsm(d, self->list + NVME_PAGE, 1, 4), 0);
	ranges[200] = (struct range) { 0, 2, NVME_TEST_SECTORS - 1 };
	EXPECT_EQ(dsm(d, self->list, 256, 4), NVME_LBA_RANGE);
	ranges[200] = (struct range) { 0, 1, ~0ULL };
	EXPECT_EQ(dsm(d, self->list, 256, 4), NVME_LBA_RANGE);
	EXPECT_EQ(dsm(d, self->list, 200, 4), 0);
	EXPECT_EQ(dsm(d, 1ULL << 50, 1, 4), NVME_TRANSFER_ERROR);
}

TEST_F(nvme, read_only)
{
	struct nvme_driver *d = &self->d;
	struct range *ranges = machine_host(&d->m, self->list);

	d->m.args.flags = DEVICE_READ_ONLY;
	machine_kill(&d->m);
	EXPECT_EQ(identify(d, self->page, 0, 1), 0);
	EXPECT_EQ(((uint8_t *)machine_host(&d->m, self->page))[99], 1);
	fill(machine_host(&d->m, self->page), 512, 9);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_WRITE, 0, 1, self->page)), NVME_READ_ONLY);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_WRITE_ZEROES, 0, 1, 0)), NVME_READ_ONLY);
	*ranges = (struct range) { 0, 1, 0 };
	EXPECT_EQ(dsm(d, self->list, 1, 4), NVME_READ_ONLY);
	EXPECT_FALSE(image_has(&d->m, 0, 512, 9));
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, 0, 1, self->page)), 0);
	EXPECT_EQ(nvme_run(d, 1, flush_command(1)), 0);
}

/* The image has become shorter than the controller believes. */
TEST_F(nvme, short_image)
{
	struct nvme_driver *d = &self->d;

	close(d->m.image_fd);
	d->m.image_fd = memfd_create("image", MFD_CLOEXEC);
	ASSERT_EQ(ftruncate(d->m.image_fd, NVME_TEST_SECTORS * 512), 0);
	machine_kill(&d->m);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, 8, 2, self->page)), 0);
	ASSERT_EQ(ftruncate(d->m.image_fd, 9 * 512), 0);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, 8, 2, self->page)), NVME_READ_ERROR);
	EXPECT_FALSE(d->commands[(d->next_cid - 1) % NVME_MAX_CIDS].status & NVME_DNR);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, 8, 1, self->page)), 0);
}

/* More than the rings hold, several at a time, through many wraps */
TEST_F(nvme, wraps)
{
	struct nvme_driver *d = &self->d;
	struct buffer b[5];
	unsigned int round, i;

	for (i = 0; i < 5; i++)
		buffer_init(&b[i], &d->m, 0, 1024, 0);
	for (round = 0; round < 50; round++) {
		for (i = 0; i < 5; i++) {
			buffer_fill(&b[i], round * 5 + i);
			nvme_submit(d, 1, buffer_command(&b[i], NVME_WRITE, i * 2));
		}
		nvme_ring_doorbell(d, 1);
		nvme_wait(d, 0);
		for (i = 0; i < 5; i++)
			ASSERT_TRUE(image_has(&d->m, i * 2, 1024, round * 5 + i));
		EXPECT_EQ(get_feature(d, NVME_POWER, 0), 0);
	}
}

/* Two submission queues with the same, short completion queue, which the driver forgets. */
TEST_F(nvme, cq_full)
{
	struct nvme_driver *d = &self->d;
	unsigned int i, n, taken, round;

	nvme_alloc_ring(d, &d->cqs[2], 4);
	nvme_alloc_ring(d, &d->sqs[2], 16);
	nvme_alloc_ring(d, &d->sqs[3], 16);
	ASSERT_EQ(create(d, NVME_CREATE_CQ, d->cqs[2].addr, 2, 4, 2 << 16 | 3), 0);
	ASSERT_EQ(create(d, NVME_CREATE_SQ, d->sqs[2].addr, 2, 16, 2 << 16 | 1), 0);
	ASSERT_EQ(create(d, NVME_CREATE_SQ, d->sqs[3].addr, 3, 16, 2 << 16 | 1), 0);
	for (round = 0; round < 5; round++) {
		d->hold_heads = true;
		for (i = 0; i < 10; i++) {
			nvme_submit(d, 2, io_command(NVME_READ, i, 1, self->page));
			nvme_submit(d, 3, io_command(0xff, i, 1, self->page));
		}
		nvme_ring_doorbell(d, 2);
		nvme_ring_doorbell(d, 3);
		for (n = 0, taken = 0; n < WAIT_MS && taken < 3; n++) {
			taken += nvme_poll(d);
			usleep(1000);
		}
		EXPECT_EQ(taken, 3);
		usleep(20000);
		EXPECT_EQ(nvme_poll(d), 0);
		/* A successor does not post them elsewhere, either. */
		if (round % 2)
			machine_kill(&d->m);
		machine_read(&d->m, NVME_CSTS);
		EXPECT_EQ(nvme_poll(d), 0);
		d->hold_heads = false;
		machine_write(&d->m, NVME_DOORBELLS + 5 * 4, d->cqs[2].index);
		nvme_wait(d, 0);
	}
}

/* More commands than the controller takes at a time */
TEST_F(nvme, full_queue)
{
	struct nvme_driver *d = &self->d;
	struct nvme_command *entries;
	unsigned int i, taken;

	nvme_alloc_ring(d, &d->cqs[2], 1024);
	nvme_alloc_ring(d, &d->sqs[2], 1024);
	ASSERT_EQ(create(d, NVME_CREATE_CQ, d->cqs[2].addr, 2, 1024, 2 << 16 | 3), 0);
	ASSERT_EQ(create(d, NVME_CREATE_SQ, d->sqs[2].addr, 2, 1024, 2 << 16 | 1), 0);
	entries = machine_host(&d->m, d->sqs[2].addr);
	for (i = 0; i < 1023; i++)
		entries[i] = io_command(i % 16 ? NVME_READ : NVME_FLUSH, i, 1, self->page);
	machine_write(&d->m, NVME_DOORBELLS + 4 * 4, 1023);
	for (i = 0, taken = 0; i < WAIT_MS && taken < 1023; i++) {
		struct nvme_completion *e = machine_host(&d->m, d->cqs[2].addr);

		for (; taken < 1023 && __atomic_load_n(&e[taken].status, __ATOMIC_ACQUIRE) & 1;
		     taken++)
			ASSERT_EQ(e[taken].status, 1);
		usleep(1000);
	}
	EXPECT_EQ(taken, 1023);
}

/* Abort and events */

static uint16_t abort_command(struct nvme_driver *d, unsigned int sq, unsigned int cid)
{
	return nvme_run(d, 0, admin_command(NVME_ABORT, cid << 16 | sq));
}

static const struct nvme_command event_request = { .opcode = NVME_ASYNC_EVENT };

TEST_F(nvme, abort)
{
	struct nvme_driver *d = &self->d;
	unsigned int i, cid, cids[4];

	EXPECT_EQ(abort_command(d, 1, 5), 0);
	EXPECT_EQ(nvme_result(d), 1);
	EXPECT_EQ(abort_command(d, 99, 5), 0);
	EXPECT_EQ(nvme_result(d), 1);
	for (i = 0; i < 4; i++)
		cids[i] = nvme_submit(d, 0, event_request);
	nvme_ring_doorbell(d, 0);
	/* One more than AERL says */
	EXPECT_EQ(nvme_run(d, 0, event_request), NVME_TOO_MANY_EVENTS);
	EXPECT_EQ(d->nr_outstanding, 4);
	machine_kill(&d->m);
	for (i = 0; i < 4; i++) {
		cid = nvme_submit(d, 0, admin_command(NVME_ABORT, cids[i] << 16));
		nvme_ring_doorbell(d, 0);
		nvme_wait(d, 3 - i);
		EXPECT_EQ(nvme_status(d, cid), 0);
		EXPECT_EQ(d->commands[cid].result, 0);
		EXPECT_EQ(nvme_status(d, cids[i]), NVME_ABORT_REQUESTED);
	}
}

TEST_F(nvme, events)
{
	struct nvme_driver *d = &self->d;
	unsigned int first, second;

	first = nvme_submit(d, 0, event_request);
	second = nvme_submit(d, 0, event_request);
	nvme_ring_doorbell(d, 0);
	/* A doorbell of a queue that does not exist */
	machine_write(&d->m, NVME_DOORBELLS + 8 * 4, 0);
	nvme_wait(d, 1);
	if (d->commands[first].outstanding) {
		unsigned int other = first;

		first = second;
		second = other;
	}
	EXPECT_EQ(nvme_status(d, first), 0);
	EXPECT_EQ(d->commands[first].result, NVME_LOG_ERRORS << 16);
	/* The next one of that type waits until the log has been read. */
	machine_write(&d->m, NVME_DOORBELLS + 2 * 4, 0xffff);
	EXPECT_EQ(get_log(d, self->page, NVME_LOG_ERRORS, 512, 0, 1 << 15), 0);
	EXPECT_EQ(d->nr_outstanding, 1);
	machine_kill(&d->m);
	EXPECT_EQ(d->nr_outstanding, 1);
	nvme_submit(d, 0, (struct nvme_command) {
		.opcode = NVME_GET_LOG_PAGE, .prp1 = self->page,
		.cdw10 = 127 << 16 | NVME_LOG_ERRORS,
	});
	nvme_ring_doorbell(d, 0);
	nvme_wait(d, 0);
	EXPECT_EQ(d->commands[second].result, NVME_LOG_ERRORS << 16 | 1 << 8);
	/* One that nobody has asked for yet, and one that nobody wants */
	EXPECT_EQ(set_feature(d, NVME_TEMPERATURE, 300), 0);
	EXPECT_EQ(get_log(d, self->page, NVME_LOG_HEALTH, 512, 0, 0), 0);
	EXPECT_EQ(*(uint8_t *)machine_host(&d->m, self->page), 2);
	EXPECT_EQ(set_feature(d, NVME_EVENTS, 2), 0);
	EXPECT_EQ(nvme_run(d, 0, event_request), 0);
	EXPECT_EQ(nvme_result(d), NVME_LOG_HEALTH << 16 | 1 << 8 | 1);
}

TEST_F(nvme, bad_doorbells)
{
	struct nvme_driver *d = &self->d;
	unsigned int i;

	machine_write(&d->m, NVME_DOORBELLS + 2 * 4, SIZE);
	machine_write(&d->m, NVME_DOORBELLS + 2 * 4, 0xffffffff);
	machine_write(&d->m, NVME_DOORBELLS + 3 * 4, SIZE);
	/* Heads beyond what has been posted */
	for (i = 1; i < SIZE; i++)
		machine_write(&d->m, NVME_DOORBELLS + 3 * 4, i);
	for (i = 4; i < 1024; i++)
		machine_write(&d->m, NVME_DOORBELLS + i * 4, 1);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, 0, 1, self->page)), 0);
}

/* Reset and shutdown */

TEST_F(nvme, reset_with_commands)
{
	struct nvme_driver *d = &self->d;
	unsigned int round, i;

	for (round = 0; round < 30; round++) {
		for (i = 0; i < 6; i++)
			nvme_submit(d, 1, io_command(i % 2 ? NVME_FLUSH : NVME_WRITE, i, 1,
						     self->page));
		nvme_submit(d, 0, event_request);
		nvme_ring_doorbell(d, 0);
		nvme_ring_doorbell(d, 1);
		if (round % 3 == 2)
			machine_kill(&d->m);
		nvme_disable(d);
		/* The queues are gone. */
		machine_write(&d->m, NVME_DOORBELLS + 2 * 4, 1);
		nvme_enable(d, SIZE);
		nvme_create_queues(d, 1, SIZE);
		/* Nothing of before may come into the new rings. */
		EXPECT_EQ(nvme_poll(d), 0);
		ASSERT_EQ(nvme_run(d, 1, io_command(NVME_READ, 0, 1, self->page)), 0);
	}
}

TEST_F(nvme, shutdown)
{
	struct nvme_driver *d = &self->d;
	unsigned int shn;

	for (shn = 1; shn < 3; shn++) {
		nvme_submit(d, 1, io_command(NVME_WRITE, 0, 1, self->page));
		nvme_ring_doorbell(d, 1);
		machine_write(&d->m, NVME_CC, NVME_CC_EN | shn << 14 | 6 << 16 | 4 << 20);
		nvme_wait_csts(d, ~0U, NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
		nvme_wait(d, 0);
		/* No commands are fetched any more. */
		nvme_submit(d, 1, io_command(NVME_READ, 0, 1, self->page));
		nvme_ring_doorbell(d, 1);
		machine_kill(&d->m);
		EXPECT_EQ(machine_read(&d->m, NVME_CSTS), NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
		EXPECT_EQ(nvme_poll(d), 0);
		nvme_disable(d);
		nvme_enable(d, SIZE);
		nvme_create_queues(d, 1, SIZE);
		EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, 0, 1, self->page)), 0);
	}
}

/* Deleting a queue waits for what it has in flight, and forgets what it has not fetched. */
TEST_F(nvme, delete_with_commands)
{
	struct nvme_driver *d = &self->d;
	unsigned int round, i, cid, n;

	for (round = 0; round < 20; round++) {
		nvme_create_queues(d, 2, SIZE);
		for (i = 0; i < 6; i++)
			nvme_submit(d, 2, io_command(i % 2 ? NVME_FLUSH : NVME_WRITE, i, 1,
						     self->page));
		nvme_ring_doorbell(d, 2);
		cid = nvme_submit(d, 0, admin_command(NVME_DELETE_SQ, 2));
		nvme_ring_doorbell(d, 0);
		for (n = 0; n < WAIT_MS && d->commands[cid].outstanding; n++) {
			nvme_poll(d);
			usleep(1000);
		}
		ASSERT_EQ(nvme_status(d, cid), 0);
		/* All of them had been fetched, and there was room. */
		nvme_poll(d);
		ASSERT_EQ(d->nr_outstanding, 0);
		ASSERT_EQ(delete(d, NVME_DELETE_CQ, 2), 0);
	}
}

/* Malicious drivers, and what a process that one controlled may leave behind */

TEST_F_TIMEOUT(nvme, nonsense, 300)
{
	struct nvme_driver *d = &self->d;
	static const unsigned int sizes[] = { 1, 2, 4, 8 };
	unsigned int i, offset, size, cc;
	uint32_t *random_page = machine_host(&d->m, self->page);
	uint64_t value;

	srandom(7);
	for (i = 0; i < 20000; i++) {
		size = sizes[random() % 4];
		offset = random() % 4 ? random() % 0x40 : NVME_DOORBELLS + random() % 0x60;
		offset &= ~(size - 1);
		value = (uint64_t)random() << 32 | random();
		if (random() % 2)
			value = random() % 3 ? self->list : (uint64_t)random() % 16;
		random_page[random() % 1024] = random();
		machine_access(&d->m, random() % 2, offset, size, value, 0);
		if (i % 100 == 0) {
			/* Where it may fetch commands */
			cc = random() % 2;
			machine_write(&d->m, NVME_AQA, 63 << 16 | 63);
			machine_access(&d->m, true, NVME_ASQ, 8, self->page, 0);
			machine_access(&d->m, true, NVME_ACQ, 8, self->list, 0);
			machine_write(&d->m, NVME_CC, cc | 6 << 16 | 4 << 20);
		}
	}
	nvme_disable(d);
	nvme_enable(d, SIZE);
	nvme_create_queues(d, 1, SIZE);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, 0, 1, self->page)), 0);
}

/* Commands of which each field is nonsense or nearly right */
TEST_F_TIMEOUT(nvme, nonsense_commands, 300)
{
	static const uint8_t admin[] = {
		NVME_DELETE_SQ, NVME_CREATE_SQ, NVME_GET_LOG_PAGE, NVME_DELETE_CQ, NVME_CREATE_CQ,
		NVME_IDENTIFY, NVME_ABORT, NVME_SET_FEATURES, NVME_GET_FEATURES,
	};
	struct nvme_driver *d = &self->d;
	uint64_t *list = machine_host(&d->m, self->list);
	struct nvme_command c;
	unsigned int i, j, n;
	uint64_t addresses[] = {
		0, self->page, self->list, self->list + 2 * NVME_PAGE - 8, self->page + 4, ~0ULL,
		LOW_ADDR + REGION_SIZE - 4, HIGH_ADDR, 1,
	};

	srandom(11);
	for (i = 0; i < 20000; i++) {
		for (j = 0; j < 16; j++)
			((uint32_t *)&c)[j] = random() % 3 ? random() % 10 : random();
		n = random() % 2;
		c.opcode = n ? random() % 10 : admin[random() % sizeof(admin)];
		c.flags = random() % 8 ? 0 : random();
		c.nsid = random() % 8;
		c.prp1 = addresses[random() % ARRAY_SIZE(addresses)];
		c.prp2 = addresses[random() % ARRAY_SIZE(addresses)];
		list[random() % 1024] = addresses[random() % ARRAY_SIZE(addresses)];
		/* Not the queues in use */
		if (!n && (c.opcode == NVME_DELETE_SQ || c.opcode == NVME_DELETE_CQ) &&
		    (c.cdw10 & 0xffff) == 1)
			c.cdw10++;
		/* Nor where the rings are */
		nvme_run(d, n, c);
	}
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, 0, 1, self->page)), 0);
}

/* What a process has left behind that the guest controlled: a command of queue 1 */
static void leave_command(struct nvme_driver *d, uint64_t order, uint64_t fetched)
{
	struct nvme_request *request = &d->m.state->nvme.requests[1][0];

	*request = (struct nvme_request) { .order = order, .command = flush_command(1) };
	request->state = NVME_FETCHED;
	d->m.state->nvme.sqs[1].fetched = fetched;
}

/* Nobody has fetched as many commands as can be counted, nor one that is not counted. */
TEST_F(nvme, bad_order_left_behind)
{
	static const struct {
		uint64_t order, fetched;
	} bad[] = { { UINT64_MAX, UINT64_MAX }, { UINT64_MAX, 0 }, { 2, 1 } };
	struct nvme_driver *d = &self->d;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		kill(d->m.pid, SIGSTOP);
		leave_command(d, bad[i].order, bad[i].fetched);
		machine_kill(&d->m);
		EXPECT_EQ(machine_read(&d->m, NVME_CSTS), NVME_CSTS_RDY | NVME_CSTS_CFS) {
			TH_LOG("case %zu", i);
		}
		nvme_disable(d);
		nvme_enable(d, SIZE);
		nvme_create_queues(d, 1, SIZE);
		ASSERT_EQ(nvme_run(d, 1, io_command(NVME_READ, 0, 1, self->page)), 0);
	}
}

/* While it is disabled there are no queues, whatever the state says. */
TEST_F(nvme, queues_left_behind)
{
	struct nvme_driver *d = &self->d;
	struct nvme_state *s = &d->m.state->nvme;

	nvme_disable(d);
	kill(d->m.pid, SIGSTOP);
	s->sqs[1] = (struct nvme_sq_state) { .live = 1, .size = SIZE, .addr = 1ULL << 60 };
	s->cqs[1] = (struct nvme_cq_state) { .live = 1, .vector = ~0U };
	s->requests[1][0].state = NVME_DONE;
	machine_kill(&d->m);
	nvme_enable(d, SIZE);
	machine_write(&d->m, NVME_DOORBELLS + 2 * 4, 1);
	machine_write(&d->m, NVME_DOORBELLS + 3 * 4, 0);
	nvme_create_queues(d, 1, SIZE);
	EXPECT_EQ(nvme_run(d, 1, io_command(NVME_READ, 0, 1, self->page)), 0);
}

/*
 * The process dies over deleting one of two submission queues, of which both have commands
 * that wait for room in their completion queue: those of the other one still get it.
 */
TEST_F(nvme, half_deleted)
{
	struct nvme_driver *d = &self->d;
	unsigned int i, n, taken;

	nvme_alloc_ring(d, &d->cqs[2], 4);
	nvme_alloc_ring(d, &d->sqs[2], 16);
	nvme_alloc_ring(d, &d->sqs[3], 16);
	ASSERT_EQ(create(d, NVME_CREATE_CQ, d->cqs[2].addr, 2, 4, 2 << 16 | 3), 0);
	ASSERT_EQ(create(d, NVME_CREATE_SQ, d->sqs[2].addr, 2, 16, 2 << 16 | 1), 0);
	ASSERT_EQ(create(d, NVME_CREATE_SQ, d->sqs[3].addr, 3, 16, 2 << 16 | 1), 0);
	d->hold_heads = true;
	for (i = 0; i < 8; i++)
		nvme_submit(d, 2, io_command(0xff, i, 1, self->page));
	nvme_ring_doorbell(d, 2);
	EXPECT_EQ(nvme_poll(d), 3);
	for (i = 0; i < 4; i++)
		nvme_submit(d, 3, io_command(0xff, i, 1, self->page));
	nvme_ring_doorbell(d, 3);
	/* The first thing that becomes of a queue that is deleted */
	kill(d->m.pid, SIGSTOP);
	d->m.state->nvme.sqs[3].live = 0;
	machine_kill(&d->m);
	d->hold_heads = false;
	machine_write(&d->m, NVME_DOORBELLS + 5 * 4, d->cqs[2].index);
	for (n = 0, taken = 3; n < 1000 && taken < 8; n++) {
		taken += nvme_poll(d);
		usleep(1000);
	}
	EXPECT_EQ(taken, 8);
}

TEST_F_TIMEOUT(nvme, corrupt_state, 300)
{
	struct nvme_driver *d = &self->d;
	uint8_t *state = (uint8_t *)&d->m.state->nvme;
	unsigned int round, i;

	srandom(5);
	for (round = 0; round < 200; round++) {
		nvme_submit(d, 1, io_command(NVME_WRITE, 0, 1, self->page));
		nvme_ring_doorbell(d, 1);
		d->m.max_deaths++;
		kill(d->m.pid, SIGKILL);
		machine_wait_death(&d->m);
		for (i = 0; i < 40; i++)
			state[random() % (round % 2 ? sizeof(struct nvme_state) : 1500)] = random();
		machine_spawn(&d->m);
		machine_read(&d->m, NVME_CSTS);
		nvme_disable(d);
		nvme_enable(d, SIZE);
		nvme_create_queues(d, 1, SIZE);
		ASSERT_EQ(nvme_run(d, 1, io_command(NVME_READ, 0, 1, self->page)), 0);
	}
}

TEST_HARNESS_MAIN
