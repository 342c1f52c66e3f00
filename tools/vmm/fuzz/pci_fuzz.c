// SPDX-License-Identifier: GPL-2.0-only
/*
 * The configuration space of PCI functions, and their MSI-X tables. No two BARs are ever at
 * the same place, and KVM would know of each vector what the table says. Whatever came before,
 * a driver can place a BAR and enable interrupts.
 */
#include <linux/pci_regs.h>
#include <string.h>
#include "../pci.h"
#include "fuzz.h"

#define NR_FUNCTIONS	2
#define NR_VECTORS	3
#define BAR_SIZE	0x4000
#define MSIX_CAP	0x40

static struct pci pci;

static struct fake_function {
	struct pci_function function;
	uint64_t addr;			/* as pci_function_ops.move() was told */
	struct {
		bool open;
		uint64_t addr;
		uint32_t data;
	} vectors[NR_VECTORS];
} functions[NR_FUNCTIONS];

static bool refuse;			/* the next move, as KVM may */

static bool move(struct pci_function *function, uint64_t addr)
{
	struct fake_function *f = (struct fake_function *)function;
	unsigned int i;

	/* Away from where it was first */
	fuzz_check(!addr != !f->addr);
	if (addr && refuse) {
		refuse = false;
		return false;
	}
	fuzz_check(!addr || (addr % BAR_SIZE == 0 && addr >= PCI_WINDOW &&
			     addr + BAR_SIZE <= (uint64_t)PCI_WINDOW + PCI_WINDOW_SIZE));
	f->addr = addr;
	for (i = 0; i < NR_FUNCTIONS && addr; i++)
		fuzz_check(&functions[i] == f || functions[i].addr != addr);
	return true;
}

static void set_vector(void *opaque, unsigned int vector, bool open, uint64_t addr, uint32_t data)
{
	struct fake_function *f = opaque;

	fuzz_check(vector < NR_VECTORS);
	f->vectors[vector].open = open;
	f->vectors[vector].addr = addr;
	f->vectors[vector].data = data;
}

static bool pending(void *opaque, unsigned int vector)
{
	(void)opaque;
	fuzz_check(vector < NR_VECTORS);
	return vector & 1;
}

static const struct pci_function_ops function_ops = { .move = move };
static const struct msix_ops msix_ops = { .set_vector = set_vector, .pending = pending };

static void write_config(unsigned int device, unsigned int reg, unsigned int size, uint32_t value)
{
	pci_write_port(&pci, 0, 4, 0x80000000 | device << 11 | (reg & ~3u));
	pci_write_port(&pci, 4 + reg % 4, size, value);
}

static uint32_t read_config(unsigned int device, unsigned int reg, unsigned int size)
{
	pci_write_port(&pci, 0, 4, 0x80000000 | device << 11 | (reg & ~3u));
	return pci_read_port(&pci, 4 + reg % 4, size);
}

static void any_port(struct fuzz_input *in)
{
	static const unsigned int sizes[] = { 1, 2, 4, 4 };
	uint8_t how = fuzz_8(in);
	unsigned int size = sizes[how % 4], offset = how >> 3 & 7;

	/* An I/O access ends with the region. */
	if (offset + size > PCI_PORTS)
		return;
	if (how & 4)
		pci_write_port(&pci, offset, size, fuzz_32(in));
	else
		pci_read_port(&pci, offset, size);
}

static void config(struct fuzz_input *in)
{
	uint8_t how = fuzz_8(in), reg = fuzz_8(in);
	unsigned int size = how & 4 ? 2 : 4;

	reg &= ~(size - 1);
	if (how & 8)
		write_config(how % 4, reg, size, fuzz_32(in));
	else
		read_config(how % 4, reg, size);
}

static void place(struct fuzz_input *in)
{
	uint8_t how = fuzz_8(in);
	unsigned int device = 1 + how % NR_FUNCTIONS;

	refuse = how & 8;
	write_config(device, PCI_BASE_ADDRESS_0, 4, PCI_WINDOW + (how >> 4) * (BAR_SIZE / 2));
	write_config(device, PCI_BASE_ADDRESS_1, 4, 0);
	write_config(device, PCI_COMMAND, 2, how & 4 ? PCI_COMMAND_MEMORY : 0);
	write_config(device, MSIX_CAP + PCI_MSIX_FLAGS, 2, fuzz_16(in));
}

static void memory(struct fuzz_input *in)
{
	uint8_t how = fuzz_8(in);
	uint64_t value = how & 8 ? fuzz_64(in) : fuzz_8(in);
	/* KVM hands out what is left of an access to a page, too: any width up to 8 */
	unsigned int size = 1 + how % 8;

	pci_access_memory(&pci, PCI_WINDOW + fuzz_16(in) % (4 * BAR_SIZE), size, how & 0x10,
			  &value);
}

static void check_function(const struct fake_function *f)
{
	const struct msix *msix = &f->function.msix;
	unsigned int i;

	fuzz_check(f->addr == f->function.addr);
	for (i = 0; i < NR_VECTORS; i++) {
		const uint32_t *word = msix->entries[i].word;

		fuzz_check(f->vectors[i].open ==
			   (msix->enabled && !msix->masked && !(word[3] & 1)));
		if (f->vectors[i].open)
			fuzz_check(f->vectors[i].addr == ((uint64_t)word[1] << 32 | word[0]) &&
				   f->vectors[i].data == word[2]);
	}
}

static void step(struct fuzz_input *in)
{
	unsigned int i;

	switch (fuzz_8(in) % 4) {
	case 0:
		any_port(in);
		break;
	case 1:
		config(in);
		break;
	case 2:
		place(in);
		break;
	case 3:
		memory(in);
		break;
	}
	for (i = 0; i < NR_FUNCTIONS; i++)
		check_function(&functions[i]);
}

static void check_driver(void)
{
	const uint64_t addr = PCI_WINDOW + 8 * BAR_SIZE, table = addr + BAR_SIZE / 2;
	uint64_t value = 0xfee00000;

	refuse = false;
	write_config(2, PCI_COMMAND, 2, 0);
	write_config(1, PCI_COMMAND, 2, 0);
	fuzz_check(read_config(1, PCI_VENDOR_ID, 4) == 0x56781234);
	write_config(1, PCI_BASE_ADDRESS_0, 4, ~0U);
	fuzz_check(read_config(1, PCI_BASE_ADDRESS_0, 4) ==
		   ((uint32_t)-BAR_SIZE | PCI_BASE_ADDRESS_MEM_TYPE_64));
	write_config(1, PCI_BASE_ADDRESS_0, 4, addr);
	write_config(1, PCI_BASE_ADDRESS_1, 4, addr >> 32);
	write_config(1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	fuzz_check(functions[0].addr == addr);
	write_config(1, MSIX_CAP + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	fuzz_check(pci_access_memory(&pci, table + 16, 8, true, &value));
	value = 0x4041;
	fuzz_check(pci_access_memory(&pci, table + 24, 8, true, &value));
	fuzz_check(functions[0].vectors[1].open && functions[0].vectors[1].data == 0x4041 &&
		   functions[0].vectors[1].addr == 0xfee00000);
}

int fuzz_one_input(const uint8_t *data, size_t size)
{
	static const struct pci_id id = { 0x1234, 0x5678, 0x010802 };
	struct fuzz_input in = { data, size };
	struct fake_function *f;

	pci_init(&pci);
	memset(functions, 0, sizeof(functions));
	for (f = functions; f < functions + NR_FUNCTIONS; f++) {
		f->function.ops = &function_ops;
		msix_init(&f->function.msix, NR_VECTORS, &msix_ops, f);
		pci_add_function(&pci, &f->function, &id, BAR_SIZE, NR_VECTORS);
	}
	refuse = false;
	while (in.left)
		step(&in);
	check_driver();
	return 0;
}
