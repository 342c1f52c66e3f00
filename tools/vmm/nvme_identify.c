// SPDX-License-Identifier: GPL-2.0-only
/*
 * Identify (5.15). Offsets are those of its data structures.
 */
#include "nvme.h"

#include <stdio.h>
#include <string.h>

enum {
	NAMESPACE,
	CONTROLLER,
	NAMESPACE_LIST,
	NAMESPACE_DESCRIPTORS,
};

/* Any will do: drivers go by the class of the PCI function. */
#define VENDOR		0x4956

#define UUID_SIZE	16
#define UUID_TYPE	3

static void put(uint8_t *page, unsigned int offset, uint64_t value, unsigned int size)
{
	memcpy(page + offset, &value, size);
}

/* Strings are padded with spaces. */
static void put_string(uint8_t *page, unsigned int offset, const char *text, size_t len,
		       unsigned int size)
{
	memset(page + offset, ' ', size);
	memcpy(page + offset, text, len < size ? len : size);
}

/* Made from the serial number, so that it is the same for each process: version 8. */
static void make_uuid(const struct nvme *nvme, uint8_t *uuid)
{
	const char *serial = nvme->device->args.serial;
	uint64_t hash = 0xcbf29ce484222325;	/* FNV-1a */
	unsigned int half, i;

	for (half = 0; half < 2; half++) {
		for (i = 0; i < sizeof(nvme->device->args.serial); i++)
			hash = (hash ^ (uint8_t)serial[i]) * 0x100000001b3;
		memcpy(uuid + half * 8, &hash, 8);
	}
	uuid[6] = (uuid[6] & 0x0f) | 0x80;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

static void put_nqn(const struct nvme *nvme, uint8_t *page)
{
	static const char prefix[] = "nqn.2014-08.org.nvmexpress:uuid:";
	uint8_t u[UUID_SIZE];

	make_uuid(nvme, u);
	snprintf((char *)page + 768, 256,
		 "%s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 prefix, u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11],
		 u[12], u[13], u[14], u[15]);
}

static void make_controller(const struct nvme *nvme, uint8_t *page)
{
	const char *serial = nvme->device->args.serial;

	put(page, 0, VENDOR, 2);
	put(page, 2, VENDOR, 2);
	put_string(page, 4, serial, strnlen(serial, sizeof(nvme->device->args.serial)), 20);
	put_string(page, 24, "vmm NVMe disk", 13, 40);
	put_string(page, 64, "1", 1, 8);
	page[77] = NVME_MDTS;
	put(page, 78, 1, 2);			/* controller id */
	put(page, 80, NVME_VERSION, 4);
	page[111] = 1;				/* an I/O controller */
	page[258] = 3;				/* ACL, one less than what it counts */
	page[259] = NVME_MAX_EVENT_REQUESTS - 1;
	page[260] = 3;				/* FRMW: one slot, read-only */
	page[261] = 6;				/* LPA: effects, extended data */
	page[262] = NVME_NR_ERRORS - 1;
	put(page, 266, 353, 2);			/* warning temperature */
	put(page, 268, 363, 2);			/* critical temperature */
	page[512] = NVME_SQE_SHIFT << 4 | NVME_SQE_SHIFT;
	page[513] = NVME_CQE_SHIFT << 4 | NVME_CQE_SHIFT;
	put(page, 516, 1, 4);			/* namespaces */
	put(page, 520, 1 << 2 | 1 << 3, 2);	/* ONCS: Dataset Management, Write Zeroes */
	page[525] = 7;				/* VWC: a cache; all can be flushed at once */
	put_nqn(nvme, page);
	put(page, 2048, 2500, 2);		/* power state 0, in centiwatts */
}

static void make_namespace(const struct nvme *nvme, uint8_t *page)
{
	put(page, 0, nvme->sectors, 8);
	put(page, 8, nvme->sectors, 8);
	put(page, 16, nvme->sectors, 8);
	/* DLFEAT: deallocated blocks read as 0, and Write Zeroes may deallocate. */
	page[33] = 9;
	page[99] = nvme->read_only;
	page[130] = NVME_SECTOR_SHIFT;		/* LBA format 0 */
}

static void make_descriptors(const struct nvme *nvme, uint8_t *page)
{
	page[0] = UUID_TYPE;
	page[1] = UUID_SIZE;
	make_uuid(nvme, page + 4);
}

int nvme_identify(struct nvme *nvme, const struct nvme_command *command)
{
	uint8_t page[NVME_PAGE] = { 0 };
	uint32_t nsid = command->nsid;

	switch (command->cdw10 & 0xff) {
	case NAMESPACE:
		if (nsid != 1)
			return NVME_INVALID_NAMESPACE;
		make_namespace(nvme, page);
		break;
	case CONTROLLER:
		make_controller(nvme, page);
		break;
	case NAMESPACE_LIST:
		/* Those above @nsid */
		if (nsid >= NVME_NSID_ALL - 1)
			return NVME_INVALID_NAMESPACE;
		put(page, 0, nsid < 1, 4);
		break;
	case NAMESPACE_DESCRIPTORS:
		if (nsid != 1)
			return NVME_INVALID_NAMESPACE;
		make_descriptors(nvme, page);
		break;
	default:
		return NVME_INVALID_FIELD;
	}
	return nvme_copy_to_guest(nvme, command, page, sizeof(page));
}
