// SPDX-License-Identifier: GPL-2.0-only
#include "pci.h"

#include <string.h>
#include <linux/pci_regs.h>
#include "util.h"

/* The address register */
#define ENABLE		BIT(31)
#define BUS(a)		((a) >> 16 & 0xff)
#define DEVICE(a)	((a) >> 11 & 0x1f)
#define FUNCTION(a)	((a) >> 8 & 7)
#define REGISTER(a)	((a) & 0xfc)

#define DATA_PORT	4

/* Any will do: drivers go by the class. */
static const struct pci_id bridge_id = { 0x4956, 1, 0x060000 };

#define MSIX_CAP	0x40

static uint32_t get(const uint8_t *config, unsigned int offset, unsigned int size)
{
	uint32_t value = 0;

	memcpy(&value, config + offset, size);
	return value;
}

static void put(uint8_t *config, unsigned int offset, uint32_t value, unsigned int size)
{
	memcpy(config + offset, &value, size);
}

static void init_function(struct pci_function *function, const struct pci_id *id)
{
	uint8_t *config = function->config;

	memset(config, 0, sizeof(function->config));
	memset(function->writable, 0, sizeof(function->writable));
	function->addr = 0;
	put(config, PCI_VENDOR_ID, id->vendor, 2);
	put(config, PCI_DEVICE_ID, id->device, 2);
	put(config, PCI_CLASS_REVISION, id->class << 8, 4);
	put(config, PCI_SUBSYSTEM_VENDOR_ID, id->vendor, 2);
	put(config, PCI_SUBSYSTEM_ID, id->device, 2);
}

void pci_init(struct pci *pci)
{
	memset(pci, 0, sizeof(*pci));
	init_function(&pci->bridge, &bridge_id);
}

static uint64_t table_offset(const struct pci_function *function)
{
	return function->bar_size / 2;
}

static uint64_t pending_offset(const struct pci_function *function)
{
	return function->bar_size / 4 * 3;
}

static void init_bar(struct pci_function *function, uint64_t size)
{
	put(function->config, PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_MEM_TYPE_64, 4);
	/* The bits below its size stay 0, by which drivers know the size (6.2.5.1). */
	put(function->writable, PCI_BASE_ADDRESS_0, ~(size - 1), 4);
	put(function->writable, PCI_BASE_ADDRESS_1, ~0U, 4);
}

/* It is the only capability. */
static void init_msix(struct pci_function *function, unsigned int nr_vectors)
{
	uint8_t *config = function->config;

	put(config, PCI_STATUS, PCI_STATUS_CAP_LIST, 2);
	put(config, PCI_CAPABILITY_LIST, MSIX_CAP, 1);
	put(config, MSIX_CAP, PCI_CAP_ID_MSIX, 2);
	put(config, MSIX_CAP + PCI_MSIX_FLAGS, nr_vectors - 1, 2);
	put(config, MSIX_CAP + PCI_MSIX_TABLE, table_offset(function), 4);
	put(config, MSIX_CAP + PCI_MSIX_PBA, pending_offset(function), 4);
	put(function->writable, MSIX_CAP + PCI_MSIX_FLAGS,
	    PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
}

void pci_add_function(struct pci *pci, struct pci_function *function, const struct pci_id *id,
		      uint64_t bar_size, unsigned int nr_vectors)
{
	init_function(function, id);
	function->bar_size = bar_size;
	init_bar(function, bar_size);
	init_msix(function, nr_vectors);
	/* There is no pin (PCI_INTERRUPT_PIN is 0), so no bit that disables its interrupt. */
	put(function->writable, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	put(function->writable, PCI_INTERRUPT_LINE, 0xff, 1);
	pci->functions[pci->nr_functions++] = function;
}

static struct pci_function *selected(struct pci *pci)
{
	unsigned int device = DEVICE(pci->address);

	if (!(pci->address & ENABLE) || BUS(pci->address) || FUNCTION(pci->address) ||
	    device > pci->nr_functions)
		return NULL;
	return device ? pci->functions[device - 1] : &pci->bridge;
}

/* Not in the window: drivers find out how large it is like that, with decoding enabled. */
static uint64_t wanted_addr(const struct pci_function *function)
{
	uint64_t addr = (uint64_t)get(function->config, PCI_BASE_ADDRESS_1, 4) << 32 |
			(get(function->config, PCI_BASE_ADDRESS_0, 4) &
			 ~(uint32_t)(function->bar_size - 1));

	if (!(get(function->config, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY) || addr < PCI_WINDOW ||
	    addr - PCI_WINDOW > PCI_WINDOW_SIZE - function->bar_size)
		return 0;
	return addr;
}

/* Would it be on top of another function's BAR? */
static bool is_taken(const struct pci *pci, const struct pci_function *function, uint64_t addr)
{
	const struct pci_function *other;
	unsigned int i;

	for (i = 0; i < pci->nr_functions; i++) {
		other = pci->functions[i];
		if (other != function && other->addr && addr < other->addr + other->bar_size &&
		    other->addr < addr + function->bar_size)
			return true;
	}
	return false;
}

static void move_bar(struct pci *pci, struct pci_function *function)
{
	uint64_t addr = wanted_addr(function);

	if (addr && is_taken(pci, function, addr))
		addr = 0;
	if (addr == function->addr)
		return;
	if (function->addr)
		function->ops->move(function, 0);
	function->addr = addr && function->ops->move(function, addr) ? addr : 0;
}

static void config_changed(struct pci *pci, struct pci_function *function)
{
	uint32_t flags = get(function->config, MSIX_CAP + PCI_MSIX_FLAGS, 2);

	if (!function->ops)
		return;
	move_bar(pci, function);
	msix_set_control(&function->msix, flags & PCI_MSIX_FLAGS_ENABLE,
			 flags & PCI_MSIX_FLAGS_MASKALL);
}

/* Does an access go over the end of the four bytes of one of the two registers? */
static bool is_wide(unsigned int offset, unsigned int size)
{
	return offset % 4 + size > 4;
}

void pci_write_port(struct pci *pci, unsigned int offset, unsigned int size, uint32_t value)
{
	struct pci_function *function;
	unsigned int i, at;
	uint8_t writable;

	if (is_wide(offset, size))
		return;
	if (offset < DATA_PORT) {
		/* Only 32 bits are for the address register. */
		if (size == 4)
			pci->address = value;
		return;
	}
	function = selected(pci);
	if (!function)
		return;
	at = REGISTER(pci->address) + offset - DATA_PORT;
	for (i = 0; i < size; i++) {
		writable = function->writable[at + i];
		function->config[at + i] &= ~writable;
		function->config[at + i] |= value >> 8 * i & writable;
	}
	config_changed(pci, function);
}

uint32_t pci_read_port(struct pci *pci, unsigned int offset, unsigned int size)
{
	const struct pci_function *function;

	if (is_wide(offset, size))
		return ~0U;
	if (offset < DATA_PORT)
		return size == 4 ? pci->address : ~0U;
	function = selected(pci);
	if (!function)
		return ~0U;
	return get(function->config, REGISTER(pci->address) + offset - DATA_PORT, size);
}

static struct pci_function *function_at(struct pci *pci, uint64_t addr, unsigned int size)
{
	struct pci_function *function;
	unsigned int i;

	for (i = 0; i < pci->nr_functions; i++) {
		function = pci->functions[i];
		if (function->addr && addr >= function->addr &&
		    addr - function->addr <= function->bar_size - size)
			return function;
	}
	return NULL;
}

bool pci_access_memory(struct pci *pci, uint64_t addr, unsigned int size, bool is_write,
		       uint64_t *value)
{
	struct pci_function *function = function_at(pci, addr, size);
	uint64_t offset;

	if (!function)
		return false;
	offset = addr - function->addr;
	if (offset < table_offset(function)) {
		if (!is_write)
			*value = ~0ULL;
	} else if (offset < pending_offset(function)) {
		offset -= table_offset(function);
		if (is_write)
			msix_write_table(&function->msix, offset, size, *value);
		else
			*value = msix_read_table(&function->msix, offset, size);
	} else if (!is_write) {
		offset -= pending_offset(function);
		*value = msix_read_pending(&function->msix, offset, size);
	}
	return true;
}
