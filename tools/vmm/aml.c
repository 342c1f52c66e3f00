// SPDX-License-Identifier: GPL-2.0-only
#include "aml.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

#define NAME_OP		0x08
#define BYTE_PREFIX	0x0a
#define DWORD_PREFIX	0x0c
#define STRING_PREFIX	0x0d
#define SCOPE_OP	0x10
#define BUFFER_OP	0x11
#define EXT_OP		0x5b
#define DEVICE_OP	0x82	/* after EXT_OP */
#define ROOT_CHAR	0x5c

/* PkgLength in two bytes: the low one says so, and has 4 bits. */
#define PKG_LENGTH	2
#define PKG_MAX		0xfff

void aml_append(struct aml *aml, const void *data, size_t size)
{
	if (size > aml->size - aml->len)
		errx(EXIT_FAILURE, "the ACPI tables do not fit");
	memcpy(aml->start + aml->len, data, size);
	aml->len += size;
}

void aml_byte(struct aml *aml, uint8_t value)
{
	aml_append(aml, &value, 1);
}

static void dword(struct aml *aml, uint32_t value)
{
	/* x86 has the byte order of ACPI. */
	aml_append(aml, &value, sizeof(value));
}

void aml_name(struct aml *aml, const char *name)
{
	size_t i, len = strlen(name);

	for (i = 0; i < 4; i++)
		aml_byte(aml, i < len ? name[i] : '_');
}

void aml_name_string(struct aml *aml, const char *name, const char *text)
{
	aml_byte(aml, NAME_OP);
	aml_name(aml, name);
	aml_byte(aml, STRING_PREFIX);
	aml_append(aml, text, strlen(text) + 1);
}

void aml_name_integer(struct aml *aml, const char *name, uint32_t value)
{
	aml_byte(aml, NAME_OP);
	aml_name(aml, name);
	aml_byte(aml, DWORD_PREFIX);
	dword(aml, value);
}

/* Leaves room for the length, which counts itself. */
static size_t begin_package(struct aml *aml)
{
	size_t begin = aml->len;

	aml_append(aml, "\0", PKG_LENGTH);
	return begin;
}

void aml_end(struct aml *aml, size_t begin)
{
	size_t len = aml->len - begin;

	if (len > PKG_MAX)
		errx(EXIT_FAILURE, "an ACPI package of %zu bytes", len);
	aml->start[begin] = (PKG_LENGTH - 1) << 6 | (len & 0xf);
	aml->start[begin + 1] = len >> 4;
}

size_t aml_begin_scope(struct aml *aml, const char *name)
{
	size_t begin;

	aml_byte(aml, SCOPE_OP);
	begin = begin_package(aml);
	aml_byte(aml, ROOT_CHAR);
	aml_name(aml, name);
	return begin;
}

size_t aml_begin_device(struct aml *aml, const char *name)
{
	size_t begin;

	aml_byte(aml, EXT_OP);
	aml_byte(aml, DEVICE_OP);
	begin = begin_package(aml);
	aml_name(aml, name);
	return begin;
}

void aml_crs(struct aml *aml, uint32_t addr, uint32_t size, uint32_t gsi)
{
	static const uint8_t memory[] = { 0x86, 9, 0, 1 };	/* Memory32Fixed, writable */
	/* Extended Interrupt: a consumer's, edge triggered, active high, exclusive; one */
	static const uint8_t interrupt[] = { 0x89, 6, 0, 0x03, 1 };
	static const uint8_t end[] = { 0x79, 0 };
	size_t begin;

	aml_byte(aml, NAME_OP);
	aml_name(aml, "_CRS");
	aml_byte(aml, BUFFER_OP);
	begin = begin_package(aml);
	aml_byte(aml, BYTE_PREFIX);
	aml_byte(aml, sizeof(memory) + 8 + sizeof(interrupt) + 4 + sizeof(end));
	aml_append(aml, memory, sizeof(memory));
	dword(aml, addr);
	dword(aml, size);
	aml_append(aml, interrupt, sizeof(interrupt));
	dword(aml, gsi);
	aml_append(aml, end, sizeof(end));
	aml_end(aml, begin);
}

static void word(struct aml *aml, uint16_t value)
{
	aml_append(aml, &value, sizeof(value));
}

/* What the two ranges of a bridge have in common; their limits are fixed (6.4.3.5). */
static void begin_range(struct aml *aml, uint8_t tag, uint16_t len, uint8_t type, uint8_t flags)
{
	aml_byte(aml, tag);
	word(aml, len);
	aml_byte(aml, type);
	aml_byte(aml, 0x0c);
	aml_byte(aml, flags);
}

void aml_pci_crs(struct aml *aml, uint16_t port, uint8_t nr_ports, uint32_t addr, uint32_t size)
{
	static const uint8_t end[] = { 0x79, 0 };
	size_t begin, length, start;

	aml_byte(aml, NAME_OP);
	aml_name(aml, "_CRS");
	aml_byte(aml, BUFFER_OP);
	begin = begin_package(aml);
	aml_byte(aml, BYTE_PREFIX);
	length = aml->len;
	aml_byte(aml, 0);
	start = aml->len;
	/* WordBusNumber: granularity, first, last, offset, how many */
	begin_range(aml, 0x88, 13, 2, 0);
	word(aml, 0);
	word(aml, 0);
	word(aml, 0);
	word(aml, 0);
	word(aml, 1);
	/* IO: 16 bits are decoded; first, last, alignment, how many */
	aml_byte(aml, 0x47);
	aml_byte(aml, 1);
	word(aml, port);
	word(aml, port);
	aml_byte(aml, 1);
	aml_byte(aml, nr_ports);
	/* DWordMemory, writable: as WordBusNumber */
	begin_range(aml, 0x87, 23, 0, 1);
	dword(aml, 0);
	dword(aml, addr);
	dword(aml, addr + size - 1);
	dword(aml, 0);
	dword(aml, size);
	aml_append(aml, end, sizeof(end));
	aml->start[length] = aml->len - start;
	aml_end(aml, begin);
}
