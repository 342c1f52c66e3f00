/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A PCI bus with a host bridge and functions behind it, as far as the VMM emulates it:
 * configuration mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2) and configuration
 * space (6.1). Each function has one BAR of 64 bits in memory, and MSI-X in it:
 *
 *	0			device registers, which are the device process's
 *	size / 2		MSI-X table
 *	size / 4 * 3		pending bits
 *
 * Not synchronized: callers hold a lock, as several vCPUs may come.
 */
#ifndef PCI_H
#define PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "msix.h"

/* I/O ports */
#define PCI_PORT		0xcf8
#define PCI_PORTS		8

/* Where in the guest's address space BARs may be. */
#define PCI_WINDOW		0xe0000000u
#define PCI_WINDOW_SIZE		0x10000000u

#define PCI_CONFIG_SIZE		256
#define PCI_MAX_FUNCTIONS	8

struct pci_function;

struct pci_function_ops {
	/*
	 * The device registers are at @addr from now on; or nowhere, if @addr is 0. Returns
	 * false if they cannot be there.
	 */
	bool (*move)(struct pci_function *function, uint64_t addr);
};

struct pci_function {
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];	/* bits */
	const struct pci_function_ops *ops;	/* NULL: there is no BAR */
	void *opaque;
	uint64_t bar_size;
	uint64_t addr;				/* where the BAR is now, or 0 */
	struct msix msix;
};

struct pci {
	uint32_t address;			/* what was written to 0xcf8 */
	struct pci_function bridge;		/* 00:00.0 */
	struct pci_function *functions[PCI_MAX_FUNCTIONS];	/* 00:01.0, 00:02.0, ... */
	unsigned int nr_functions;
};

struct pci_id {
	uint16_t vendor, device;
	uint32_t class;				/* class, subclass and programming interface */
};

void pci_init(struct pci *pci);
/* Give the bus another function. @bar_size: a power of two, at least 16 KiB */
void pci_add_function(struct pci *pci, struct pci_function *function, const struct pci_id *id,
		      uint64_t bar_size, unsigned int nr_vectors);

/* An access to PCI_PORT + @offset. Where there is nothing, all ones are read. */
void pci_write_port(struct pci *pci, unsigned int offset, unsigned int size, uint32_t value);
uint32_t pci_read_port(struct pci *pci, unsigned int offset, unsigned int size);

/*
 * An access to memory that nobody else has. False: it is not in a BAR. The device registers
 * read as all ones here: their accesses go to the device process.
 */
bool pci_access_memory(struct pci *pci, uint64_t addr, unsigned int size, bool is_write,
		       uint64_t *value);

#endif /* PCI_H */
