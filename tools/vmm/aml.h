/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes what the DSDT consists of: ACPI Specification 6.0, chapter 20 (AML) and 6.4
 * (resources). Exits with a message if there is no room.
 */
#ifndef AML_H
#define AML_H

#include <stddef.h>
#include <stdint.h>

/* Code that is being written. */
struct aml {
	uint8_t *start;
	size_t len, size;
};

void aml_append(struct aml *aml, const void *data, size_t size);
void aml_byte(struct aml *aml, uint8_t value);

/* A name of four characters, padded with '_'. */
void aml_name(struct aml *aml, const char *name);

/* Name (@name, @text) and Name (@name, @value) */
void aml_name_string(struct aml *aml, const char *name, const char *text);
void aml_name_integer(struct aml *aml, const char *name, uint32_t value);

/* What is between the two is inside of Scope (\@name), or of Device (@name). */
size_t aml_begin_scope(struct aml *aml, const char *name);
size_t aml_begin_device(struct aml *aml, const char *name);
void aml_end(struct aml *aml, size_t begin);

/* Name (_CRS, ResourceTemplate () { Memory32Fixed, Interrupt }), the latter edge triggered */
void aml_crs(struct aml *aml, uint32_t addr, uint32_t size, uint32_t gsi);

/*
 * The same for a PCI host bridge: bus 0, the I/O ports of its configuration space, and a
 * range of memory for BARs.
 */
void aml_pci_crs(struct aml *aml, uint16_t port, uint8_t nr_ports, uint32_t addr, uint32_t size);

#endif /* AML_H */
