// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers, one rule after the other (VIRTIO 1.2, 4.2.2, 2.1, 2.2), and that they
 * outlive the process. The device is a disk, but none of this is about disks.
 */
#include <kselftest_harness.h>
#include <linux/ioregionfd.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include "../util.h"
#include "machine.h"

#define DRIVER		(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define FEATURES_OK	(DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define DRIVER_OK	(FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)
#define NEEDS_RESET	VIRTIO_CONFIG_S_NEEDS_RESET

FIXTURE(mmio) {
	struct machine m;
};

FIXTURE_SETUP(mmio)
{
	machine_init(&self->m, "virtio-blk", 1 << 20);
	machine_spawn(&self->m);
}

FIXTURE_TEARDOWN(mmio)
{
	machine_destroy(&self->m);
}

static void write_features(struct machine *m, uint64_t features)
{
	machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES, features);
	machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES, features >> 32);
}

static uint64_t read_features(struct machine *m)
{
	uint64_t features;

	machine_write(m, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	features = (uint64_t)machine_read(m, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	machine_write(m, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	return features | machine_read(m, VIRTIO_MMIO_DEVICE_FEATURES);
}

/* Returns the status after FEATURES_OK. */
static uint32_t negotiate(struct machine *m, uint64_t features)
{
	machine_write(m, VIRTIO_MMIO_STATUS, 0);
	machine_write(m, VIRTIO_MMIO_STATUS, DRIVER);
	write_features(m, features);
	machine_write(m, VIRTIO_MMIO_STATUS, FEATURES_OK);
	return machine_read(m, VIRTIO_MMIO_STATUS);
}

static void set_address(struct machine *m, unsigned int low, uint64_t addr)
{
	machine_write(m, low, addr);
	machine_write(m, low + 4, addr >> 32);
}

static void set_queue(struct machine *m, uint32_t num, uint64_t desc, uint64_t driver,
		      uint64_t device)
{
	machine_write(m, VIRTIO_MMIO_QUEUE_SEL, 0);
	machine_write(m, VIRTIO_MMIO_QUEUE_NUM, num);
	set_address(m, VIRTIO_MMIO_QUEUE_DESC_LOW, desc);
	set_address(m, VIRTIO_MMIO_QUEUE_AVAIL_LOW, driver);
	set_address(m, VIRTIO_MMIO_QUEUE_USED_LOW, device);
	machine_write(m, VIRTIO_MMIO_QUEUE_READY, 1);
}

TEST_F(mmio, constants)
{
	struct machine *m = &self->m;

	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_VERSION), 2);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_BLOCK);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), 0);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_CONFIG_GENERATION), 0);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_SHM_LEN_LOW), ~0U);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_SHM_BASE_HIGH), ~0U);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_QUEUE_NUM_MAX), VIRTQUEUE_MAX_SIZE);
	machine_write(m, VIRTIO_MMIO_QUEUE_SEL, 1);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_QUEUE_READY), 0);
	machine_write(m, VIRTIO_MMIO_QUEUE_READY, 1);
	machine_write(m, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	EXPECT_FALSE(machine_irq(m));
}

/* Read-only, write-only, and not there at all */
TEST_F(mmio, directions)
{
	struct machine *m = &self->m;
	unsigned int offset;
	uint32_t value;

	for (offset = 0; offset < VIRTIO_MMIO_CONFIG; offset += 4) {
		if (offset == VIRTIO_MMIO_STATUS || offset == VIRTIO_MMIO_QUEUE_READY ||
		    offset == VIRTIO_MMIO_QUEUE_SEL || offset == VIRTIO_MMIO_DEVICE_FEATURES_SEL)
			continue;
		value = machine_read(m, offset);
		machine_write(m, offset, ~value);
		EXPECT_EQ(machine_read(m, offset), value) {
			TH_LOG("offset %#x", offset);
		}
	}
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_DRIVER_FEATURES), 0);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_QUEUE_NUM), 0);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_INTERRUPT_ACK), 0);
}

TEST_F(mmio, widths)
{
	struct machine *m = &self->m;

	EXPECT_EQ(machine_access(m, false, 0, 1, 0, 0), 0);
	EXPECT_EQ(machine_access(m, false, 0, 2, 0, 0), 0);
	EXPECT_EQ(machine_access(m, false, 0, 8, 0, 0), 0);
	EXPECT_EQ(machine_access(m, false, 2, 4, 0, 0), 0);
	machine_access(m, true, VIRTIO_MMIO_STATUS, 1, 1, 0);
	machine_access(m, true, VIRTIO_MMIO_STATUS, 2, 1, 0);
	machine_access(m, true, VIRTIO_MMIO_STATUS, 8, 1, 0);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), 0);
	/* Beyond the registers. */
	EXPECT_EQ(machine_access(m, false, 0x1fc, 8, 0, 0), UINT64_MAX);
	EXPECT_EQ(machine_access(m, false, 0x200, 1, 0, 0), UINT64_MAX);
	EXPECT_EQ(machine_access(m, false, 0x7fffffff, 4, 0, 0), UINT64_MAX);
}

TEST_F(mmio, config)
{
	struct machine *m = &self->m;
	uint64_t sectors = (1 << 20) / 512;
	unsigned int i;

	/* By the widths of the field, and by any other. */
	EXPECT_EQ(machine_access(m, false, VIRTIO_MMIO_CONFIG, 8, 0, 0), sectors);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_CONFIG), sectors);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(machine_access(m, false, VIRTIO_MMIO_CONFIG + i, 1, 0, 0),
			  (sectors >> (8 * i) & 0xff));
	machine_write(m, VIRTIO_MMIO_CONFIG, 0);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_CONFIG), sectors);
	EXPECT_EQ(machine_read(m, 0x1fc), 0);
	i = VIRTIO_MMIO_CONFIG + sizeof(struct virtio_blk_config);
	EXPECT_EQ(machine_access(m, false, i - 4, 8, 0, 0), 0);
}

TEST_F(mmio, features)
{
	struct machine *m = &self->m;
	uint64_t offered = read_features(m);

	EXPECT_TRUE(offered & BIT(VIRTIO_F_VERSION_1));
	machine_write(m, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	machine_write(m, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0x80000000);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_DEVICE_FEATURES), 0);

	EXPECT_EQ(negotiate(m, offered), FEATURES_OK);
	EXPECT_EQ(negotiate(m, BIT(VIRTIO_F_VERSION_1)), FEATURES_OK);
	/* Without VERSION_1, and with what is not offered (2.2.2) */
	EXPECT_EQ(negotiate(m, 0), DRIVER);
	EXPECT_EQ(negotiate(m, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_BLK_F_TOPOLOGY)), DRIVER);
	EXPECT_EQ(negotiate(m, BIT(VIRTIO_F_VERSION_1) | BIT(63)), DRIVER);
	/* It may try again. */
	write_features(m, BIT(VIRTIO_F_VERSION_1));
	machine_write(m, VIRTIO_MMIO_STATUS, FEATURES_OK);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), FEATURES_OK);
	/* But not change them afterwards. */
	write_features(m, 0);
	machine_write(m, VIRTIO_MMIO_STATUS, DRIVER_OK);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), DRIVER_OK);
}

TEST_F(mmio, features_of_the_vmm)
{
	struct machine *m = &self->m;

	EXPECT_TRUE(read_features(m) & BIT(VIRTIO_F_RING_PACKED));
	m->args.features = ~BIT(VIRTIO_F_RING_PACKED);
	machine_kill(m);
	EXPECT_FALSE(read_features(m) & BIT(VIRTIO_F_RING_PACKED));
	m->args.features = ~0ULL;
	machine_kill(m);
	EXPECT_EQ(negotiate(m, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED)), FEATURES_OK);
	/* A successor cannot go on without what has been negotiated. */
	m->args.features = ~BIT(VIRTIO_F_RING_PACKED);
	machine_kill(m);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), (FEATURES_OK | NEEDS_RESET));
}

TEST_F(mmio, status)
{
	struct machine *m = &self->m;

	machine_write(m, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	machine_write(m, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER);
	/* Bits stay (2.1.1). */
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), DRIVER);
	/* Not the driver's to set. */
	machine_write(m, VIRTIO_MMIO_STATUS, ~0U);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), (DRIVER | VIRTIO_CONFIG_S_FAILED));
	machine_write(m, VIRTIO_MMIO_STATUS, 0);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), 0);
	/* Not without FEATURES_OK. */
	machine_write(m, VIRTIO_MMIO_STATUS, DRIVER | VIRTIO_CONFIG_S_DRIVER_OK);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), DRIVER);
}

TEST_F(mmio, queue_checked)
{
	static const struct {
		uint64_t num, desc, driver, device, features;
		bool ok;
	} cases[] = {
		{ 16, LOW_ADDR, LOW_ADDR + 0x1000, LOW_ADDR + 0x2000, 0, true },
		{ 16, HIGH_ADDR, LOW_ADDR, HIGH_ADDR + 0x1000, 0, true },
		{ 0, LOW_ADDR, LOW_ADDR + 0x1000, LOW_ADDR + 0x2000, 0, false },
		{ 512, LOW_ADDR, LOW_ADDR + 0x4000, LOW_ADDR + 0x8000, 0, false },
		{ 0xffffffff, LOW_ADDR, LOW_ADDR + 0x4000, LOW_ADDR + 0x8000, 0, false },
		{ 17, LOW_ADDR, LOW_ADDR + 0x1000, LOW_ADDR + 0x2000, 0, false },
		{ 17, LOW_ADDR, LOW_ADDR + 0x1000, LOW_ADDR + 0x2000,
		  BIT(VIRTIO_F_RING_PACKED), true },
		{ 16, LOW_ADDR + 8, LOW_ADDR + 0x1000, LOW_ADDR + 0x2000, 0, false },
		{ 16, LOW_ADDR, LOW_ADDR + 0x1001, LOW_ADDR + 0x2000, 0, false },
		{ 16, LOW_ADDR, LOW_ADDR + 0x1000, LOW_ADDR + 0x2002, 0, false },
		{ 16, LOW_ADDR, LOW_ADDR + 0x1002, LOW_ADDR + 0x2000,
		  BIT(VIRTIO_F_RING_PACKED), false },
		{ 16, 0, LOW_ADDR, LOW_ADDR + 0x1000, 0, false },
		{ 16, LOW_ADDR, LOW_ADDR - 2, LOW_ADDR + 0x1000, 0, false },
		/* 256 bytes; one descriptor would be beyond the region */
		{ 16, LOW_ADDR + REGION_SIZE - 256, LOW_ADDR, LOW_ADDR + 0x1000, 0, true },
		{ 16, LOW_ADDR + REGION_SIZE - 240, LOW_ADDR, LOW_ADDR + 0x1000, 0, false },
		{ 16, LOW_ADDR, LOW_ADDR + 0x1000, LOW_ADDR + REGION_SIZE - 4, 0, false },
		{ 16, UINT64_MAX - 15, LOW_ADDR, LOW_ADDR + 0x1000, 0, false },
	};
	struct machine *m = &self->m;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		negotiate(m, BIT(VIRTIO_F_VERSION_1) | cases[i].features);
		set_queue(m, cases[i].num, cases[i].desc, cases[i].driver, cases[i].device);
		EXPECT_EQ(machine_read(m, VIRTIO_MMIO_QUEUE_READY), cases[i].ok) {
			TH_LOG("case %zu", i);
		}
		EXPECT_EQ(!(machine_read(m, VIRTIO_MMIO_STATUS) & NEEDS_RESET), cases[i].ok);
		/* Nobody drives it yet, so nobody is told (2.1.2). */
		EXPECT_EQ(machine_read(m, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
		EXPECT_FALSE(machine_irq(m));
		machine_write(m, VIRTIO_MMIO_QUEUE_READY, 0);
		EXPECT_EQ(machine_read(m, VIRTIO_MMIO_QUEUE_READY), 0);
	}
}

/* While a queue is ready its other registers cannot be changed (4.2.2.2). */
TEST_F(mmio, ready_queue_is_fixed)
{
	struct machine *m = &self->m;

	negotiate(m, BIT(VIRTIO_F_VERSION_1));
	set_queue(m, 16, LOW_ADDR, LOW_ADDR + 0x1000, LOW_ADDR + 0x2000);
	machine_write(m, VIRTIO_MMIO_QUEUE_NUM, 3);
	set_address(m, VIRTIO_MMIO_QUEUE_DESC_LOW, 1);
	machine_write(m, VIRTIO_MMIO_STATUS, DRIVER_OK);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), DRIVER_OK);
	EXPECT_EQ(m->state->queues[0].num, 16);
	EXPECT_EQ(m->state->queues[0].desc, LOW_ADDR);
}

/* After each write another process goes on. */
TEST_F(mmio, outlive_the_process)
{
	struct machine *m = &self->m;
	uint64_t features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_IN_ORDER);

	machine_write(m, VIRTIO_MMIO_STATUS, DRIVER);
	machine_kill(m);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), DRIVER);
	machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	machine_kill(m);
	machine_write(m, VIRTIO_MMIO_DRIVER_FEATURES, features >> 32);
	machine_kill(m);
	machine_write(m, VIRTIO_MMIO_STATUS, FEATURES_OK);
	machine_kill(m);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), FEATURES_OK);
	machine_write(m, VIRTIO_MMIO_QUEUE_NUM, 16);
	machine_kill(m);
	set_address(m, VIRTIO_MMIO_QUEUE_DESC_LOW, HIGH_ADDR);
	machine_kill(m);
	set_address(m, VIRTIO_MMIO_QUEUE_AVAIL_LOW, LOW_ADDR);
	set_address(m, VIRTIO_MMIO_QUEUE_USED_LOW, HIGH_ADDR + 0x1000);
	machine_kill(m);
	machine_write(m, VIRTIO_MMIO_QUEUE_READY, 1);
	machine_kill(m);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_QUEUE_READY), 1);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), FEATURES_OK);
	EXPECT_FALSE(machine_irq(m));
	machine_write(m, VIRTIO_MMIO_STATUS, DRIVER_OK);
	machine_kill(m);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_STATUS), DRIVER_OK);
	/* In case that the former one was about to. */
	EXPECT_TRUE(machine_irq(m));
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
}

/* An acknowledgment that comes twice does not take away what came in between. */
TEST_F(mmio, redelivered_ack)
{
	struct machine *m = &self->m;

	negotiate(m, BIT(VIRTIO_F_VERSION_1));
	set_queue(m, 16, LOW_ADDR, LOW_ADDR + 0x1000, LOW_ADDR + 0x2000);
	machine_write(m, VIRTIO_MMIO_STATUS, DRIVER_OK);
	machine_kill(m);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	EXPECT_TRUE(machine_irq(m));
	machine_access(m, true, VIRTIO_MMIO_INTERRUPT_ACK, 4, VIRTIO_MMIO_INT_VRING,
		       IOREGIONFD_CMD_F_REDELIVERED);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	EXPECT_TRUE(machine_irq(m));
	machine_write(m, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	EXPECT_EQ(machine_read(m, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

/* What a process that the guest controlled may leave behind */
TEST_F(mmio, corrupt_state)
{
	struct machine *m = &self->m;
	/* Of the registers and positions, or of the first requests. */
	unsigned int round, i, words = 64;
	uint32_t *p;

	srandom(1);
	for (round = 0; round < 40; round++) {
		negotiate(m, BIT(VIRTIO_F_VERSION_1) | (round % 2 ? BIT(VIRTIO_F_RING_PACKED) : 0));
		set_queue(m, 16, LOW_ADDR, LOW_ADDR + 0x1000, LOW_ADDR + 0x2000);
		machine_write(m, VIRTIO_MMIO_STATUS, DRIVER_OK);
		kill(m->pid, SIGSTOP);
		p = round % 3 ? (uint32_t *)m->state->requests : (uint32_t *)&m->state->mmio;
		for (i = 0; i < words; i++)
			p[random() % words] = random() % 4 ? random() % 4 : random();
		machine_kill(m);
		ASSERT_EQ(negotiate(m, BIT(VIRTIO_F_VERSION_1)), FEATURES_OK);
	}
}

TEST_F(mmio, nonsense)
{
	struct machine *m = &self->m;
	unsigned int i;

	srandom(2);
	for (i = 0; i < 20000; i++)
		machine_access(m, random() % 4, random() % 4 ? random() % 0x60 * 4 :
			       random() % 0x200, 1U << (random() % 4 ? 2 : random() % 4),
			       random() % 2 ? random() % 32 : random(),
			       random() % 4 ? 0 : IOREGIONFD_CMD_F_REDELIVERED);
	EXPECT_EQ(m->deaths, 0);
	EXPECT_EQ(negotiate(m, BIT(VIRTIO_F_VERSION_1)), FEATURES_OK);
}

TEST_HARNESS_MAIN
