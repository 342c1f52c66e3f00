// SPDX-License-Identifier: GPL-2.0-only
/*
 * Configuration space, the BAR and MSI-X of PCI functions, as a guest's kernel would go
 * through them. Nothing is behind them.
 */
#include <stdlib.h>
#include <string.h>
#include <linux/pci_regs.h>
#include <kselftest_harness.h>
#include "../pci.h"
#include "../util.h"

#define SIZE	0x4000
#define VECTORS	5

FIXTURE(pci) {
	struct pci pci;
	struct pci_function functions[2];
	uint64_t addr[2];		/* what move() was told */
	unsigned int moves;
	bool refuse;
	bool open[VECTORS], raised[VECTORS];
	uint64_t to[VECTORS];
	uint32_t data[VECTORS];
};

/* FIXTURE_DATA(pci), of the test that runs */
static struct _test_data_pci *test;

static bool move(struct pci_function *function, uint64_t addr)
{
	test->addr[function - test->functions] = addr;
	test->moves++;
	return !test->refuse;
}

static void set_vector(void *opaque, unsigned int vector, bool open, uint64_t addr, uint32_t data)
{
	if (opaque != &test->functions[0])
		return;
	test->open[vector] = open;
	test->to[vector] = addr;
	test->data[vector] = data;
}

static bool pending(void *opaque, unsigned int vector)
{
	return opaque == &test->functions[0] && test->raised[vector];
}

static const struct pci_function_ops ops = { .move = move };
static const struct msix_ops msix_ops = { .set_vector = set_vector, .pending = pending };

FIXTURE_SETUP(pci)
{
	static const struct pci_id id = { 0x1234, 0x5678, 0x010802 };
	unsigned int i;

	test = self;
	memset(self, 0, sizeof(*self));
	pci_init(&self->pci);
	for (i = 0; i < 2; i++) {
		self->functions[i].ops = &ops;
		msix_init(&self->functions[i].msix, VECTORS, &msix_ops, &self->functions[i]);
		pci_add_function(&self->pci, &self->functions[i], &id, SIZE, VECTORS);
	}
}

FIXTURE_TEARDOWN(pci)
{
	(void)self;
}

static void select_register(unsigned int device, unsigned int offset)
{
	pci_write_port(&test->pci, 0, 4, 1U << 31 | device << 11 | (offset & 0xfc));
}

static uint32_t read_config(unsigned int device, unsigned int offset, unsigned int size)
{
	select_register(device, offset);
	return pci_read_port(&test->pci, 4 + offset % 4, size);
}

static void write_config(unsigned int device, unsigned int offset, unsigned int size,
			 uint32_t value)
{
	select_register(device, offset);
	pci_write_port(&test->pci, 4 + offset % 4, size, value);
}

TEST_F(pci, ports)
{
	/* How a kernel finds out that there is mechanism 1 */
	pci_write_port(&self->pci, 3, 1, 1);
	pci_write_port(&self->pci, 0, 4, 0x80000000);
	EXPECT_EQ(pci_read_port(&self->pci, 0, 4), 0x80000000);
	/* Other widths are not for the address register. */
	pci_write_port(&self->pci, 0, 1, 0xff);
	pci_write_port(&self->pci, 2, 2, 0xff);
	EXPECT_EQ(pci_read_port(&self->pci, 0, 4), 0x80000000);
	EXPECT_EQ(pci_read_port(&self->pci, 0, 1), ~0U);
	EXPECT_EQ(pci_read_port(&self->pci, 2, 4), ~0U);
	EXPECT_EQ(pci_read_port(&self->pci, 6, 4), ~0U);
	/* Not enabled */
	pci_write_port(&self->pci, 0, 4, 0);
	EXPECT_EQ(pci_read_port(&self->pci, 4, 4), ~0U);
}

TEST_F(pci, functions)
{
	unsigned int bus, device, function;

	EXPECT_EQ(read_config(0, PCI_CLASS_DEVICE, 2), 0x0600);
	EXPECT_EQ(read_config(1, PCI_VENDOR_ID, 4), 0x56781234);
	EXPECT_EQ(read_config(1, PCI_VENDOR_ID, 2), 0x1234);
	EXPECT_EQ(read_config(1, PCI_DEVICE_ID, 2), 0x5678);
	EXPECT_EQ(read_config(1, PCI_DEVICE_ID + 1, 1), 0x56);
	EXPECT_EQ(read_config(1, PCI_CLASS_REVISION, 4), 0x01080200);
	EXPECT_EQ(read_config(1, PCI_HEADER_TYPE, 1), 0);
	EXPECT_EQ(read_config(1, PCI_INTERRUPT_PIN, 1), 0);
	EXPECT_EQ(read_config(2, PCI_VENDOR_ID, 4), 0x56781234);
	for (bus = 0; bus < 256; bus += 51) {
		for (device = 0; device < 32; device++) {
			for (function = 0; function < 8; function++) {
				if (!bus && device < 3 && !function)
					continue;
				pci_write_port(&self->pci, 0, 4, 1U << 31 | bus << 16 |
							 device << 11 | function << 8);
				ASSERT_EQ(pci_read_port(&self->pci, 4, 4), ~0U);
				pci_write_port(&self->pci, 4, 4, ~0U);
			}
		}
	}
}

TEST_F(pci, read_only)
{
	uint32_t before[64];
	unsigned int i;

	for (i = 0; i < 64; i++)
		before[i] = read_config(1, i * 4, 4);
	for (i = 0; i < 64; i++) {
		/* Without what can be written */
		if (i * 4 == PCI_COMMAND || i * 4 == PCI_BASE_ADDRESS_0 ||
		    i * 4 == PCI_BASE_ADDRESS_1 || i * 4 == PCI_INTERRUPT_LINE || i * 4 == 0x40)
			continue;
		write_config(1, i * 4, 4, ~before[i]);
	}
	for (i = 0; i < 64; i++)
		EXPECT_EQ(read_config(1, i * 4, 4), before[i]);
	write_config(1, PCI_COMMAND, 4, ~0U);
	EXPECT_EQ(read_config(1, PCI_COMMAND, 4),
		  PCI_STATUS_CAP_LIST << 16 | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	write_config(0, PCI_COMMAND, 4, ~0U);
	EXPECT_EQ(read_config(0, PCI_COMMAND, 4), 0);
}

static void enable(unsigned int device, uint64_t addr)
{
	write_config(device, PCI_BASE_ADDRESS_0, 4, addr);
	write_config(device, PCI_BASE_ADDRESS_1, 4, addr >> 32);
	write_config(device, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

TEST_F(pci, bar)
{
	EXPECT_EQ(read_config(1, PCI_BASE_ADDRESS_0, 4), PCI_BASE_ADDRESS_MEM_TYPE_64);
	/* Its size */
	write_config(1, PCI_BASE_ADDRESS_0, 4, ~0U);
	write_config(1, PCI_BASE_ADDRESS_1, 4, ~0U);
	EXPECT_EQ(read_config(1, PCI_BASE_ADDRESS_0, 4), (~(SIZE - 1U)) | 4);
	EXPECT_EQ(read_config(1, PCI_BASE_ADDRESS_1, 4), ~0U);
	EXPECT_EQ(read_config(1, PCI_BASE_ADDRESS_2, 4), 0);
	EXPECT_EQ(self->moves, 0);
	enable(1, PCI_WINDOW + 2 * SIZE);
	EXPECT_EQ(self->addr[0], PCI_WINDOW + 2 * SIZE);
	EXPECT_EQ(self->moves, 1);
	/* Again changes nothing. */
	enable(1, PCI_WINDOW + 2 * SIZE);
	EXPECT_EQ(self->moves, 1);
	/* To ask for the size with decoding enabled is common. */
	write_config(1, PCI_BASE_ADDRESS_0, 4, ~0U);
	EXPECT_EQ(self->addr[0], 0);
	write_config(1, PCI_BASE_ADDRESS_0, 4, PCI_WINDOW + 2 * SIZE);
	EXPECT_EQ(self->addr[0], PCI_WINDOW + 2 * SIZE);
	/* Byte by byte */
	write_config(1, PCI_BASE_ADDRESS_0 + 1, 1, 0x40);
	EXPECT_EQ(self->addr[0], PCI_WINDOW + SIZE);
	write_config(1, PCI_COMMAND, 2, 0);
	EXPECT_EQ(self->addr[0], 0);
}

/* Where there is memory, or another function, or nothing at all */
TEST_F(pci, bar_elsewhere)
{
	static const uint64_t bad[] = {
		0, 0x100000, PCI_WINDOW - SIZE, PCI_WINDOW + (uint64_t)PCI_WINDOW_SIZE,
		0xfee00000, 1ULL << 32, ~0ULL, PCI_WINDOW + (1ULL << 32),
	};
	uint64_t value;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		enable(1, bad[i]);
		EXPECT_EQ(self->moves, 0);
		EXPECT_FALSE(pci_access_memory(&self->pci, bad[i], 4, false, &value));
	}
	enable(1, PCI_WINDOW + PCI_WINDOW_SIZE - SIZE);
	EXPECT_EQ(self->addr[0], PCI_WINDOW + PCI_WINDOW_SIZE - SIZE);
	enable(2, PCI_WINDOW + PCI_WINDOW_SIZE - SIZE);
	EXPECT_EQ(self->addr[1], 0);
	enable(2, PCI_WINDOW);
	EXPECT_EQ(self->addr[1], PCI_WINDOW);
	self->refuse = true;
	enable(2, PCI_WINDOW + SIZE);
	EXPECT_FALSE(pci_access_memory(&self->pci, PCI_WINDOW + SIZE, 4, false, &value));
	EXPECT_FALSE(pci_access_memory(&self->pci, PCI_WINDOW, 4, false, &value));
}

static void write_table(unsigned int offset, unsigned int size, uint64_t value)
{
	if (!pci_access_memory(&test->pci, PCI_WINDOW + SIZE / 2 + offset, size, true, &value))
		abort();
}

static uint64_t read_bar(unsigned int offset, unsigned int size)
{
	uint64_t value = 0x5555;

	if (!pci_access_memory(&test->pci, PCI_WINDOW + offset, size, false, &value))
		abort();
	return value;
}

TEST_F(pci, msix)
{
	unsigned int i;

	EXPECT_EQ(read_config(1, PCI_CAPABILITY_LIST, 1), 0x40);
	EXPECT_EQ(read_config(1, 0x40, 2), PCI_CAP_ID_MSIX);
	EXPECT_EQ(read_config(1, 0x42, 2), VECTORS - 1);
	EXPECT_EQ(read_config(1, 0x44, 4), SIZE / 2);
	EXPECT_EQ(read_config(1, 0x48, 4), SIZE / 4 * 3);
	enable(1, PCI_WINDOW);
	/* All are masked in the beginning. */
	for (i = 0; i < VECTORS; i++)
		EXPECT_EQ(read_bar(SIZE / 2 + i * 16 + 12, 4), 1);
	write_config(1, 0x42, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL | 0x7ff);
	EXPECT_EQ(read_config(1, 0x42, 2),
		  PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL | (VECTORS - 1));
	write_table(16, 4, 0xfee01003);
	write_table(20, 4, 0);
	write_table(24, 4, 0x4021);
	write_table(28, 4, 0xfffffffe);
	EXPECT_EQ(read_bar(SIZE / 2 + 16, 8), 0xfee01000);
	EXPECT_EQ(read_bar(SIZE / 2 + 24, 8), 0x4021);
	EXPECT_FALSE(self->open[1]);
	write_config(1, 0x42, 2, PCI_MSIX_FLAGS_ENABLE);
	EXPECT_TRUE(self->open[1]);
	EXPECT_FALSE(self->open[0]);
	EXPECT_EQ(self->to[1], 0xfee01000);
	EXPECT_EQ(self->data[1], 0x4021);
	/* Another CPU, without masking it */
	write_table(16, 8, 0xfee02000);
	EXPECT_EQ(self->to[1], 0xfee02000);
	/* What is raised while it is masked is pending. */
	self->raised[1] = true;
	self->raised[3] = true;
	EXPECT_EQ(read_bar(SIZE / 4 * 3, 4), 8);
	write_table(28, 4, 1);
	EXPECT_FALSE(self->open[1]);
	EXPECT_EQ(read_bar(SIZE / 4 * 3, 8), 10);
	write_config(1, 0x42, 2, 0);
	EXPECT_FALSE(self->open[1]);
}

TEST_F(pci, nonsense)
{
	static const unsigned int sizes[] = { 1, 2, 4, 8 };
	uint64_t value;
	unsigned int i, size;

	srandom(1);
	enable(1, PCI_WINDOW);
	for (i = 0; i < 200000; i++) {
		size = sizes[random() % 3];
		pci_write_port(&self->pci, 0, 4, random() % 2 ? 1U << 31 | random() % 0x2000 :
			       (uint32_t)random() << 1);
		pci_write_port(&self->pci, random() % 8, size, random());
		pci_read_port(&self->pci, random() % 8, size);
		value = random();
		size = sizes[random() % 4];
		pci_access_memory(&self->pci, PCI_WINDOW + random() % (2 * SIZE), size,
				  random() % 2, &value);
		if (i % 100 == 0)
			enable(1, PCI_WINDOW);
	}
	enable(1, PCI_WINDOW + 4 * SIZE);
	EXPECT_EQ(read_config(1, PCI_VENDOR_ID, 4), 0x56781234);
	EXPECT_EQ(self->functions[0].addr, PCI_WINDOW + 4 * SIZE);
}

TEST_HARNESS_MAIN
