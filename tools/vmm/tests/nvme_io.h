/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buffers for tests of the NVMe controller, and what is in them and in the image.
 */
#ifndef NVME_IO_H
#define NVME_IO_H

#include "nvme_driver.h"

/* Pages of guest memory, and the PRP list that names them. */
struct buffer {
	struct machine *m;
	uint64_t addr;			/* of the first byte */
	uint32_t len;
	uint64_t prp1, prp2;
};

/* @offset: in the first page; @list_offset: of the PRP list in its page */
void buffer_init(struct buffer *b, struct machine *m, uint32_t offset, uint32_t len,
		 uint32_t list_offset);
void buffer_fill(struct buffer *b, unsigned int seed);
bool buffer_has(const struct buffer *b, unsigned int seed);
struct nvme_command buffer_command(const struct buffer *b, uint8_t opcode, uint64_t sector);

/* Commands that have no more than this */
struct nvme_command admin_command(uint8_t opcode, uint32_t cdw10);
struct nvme_command flush_command(uint32_t nsid);

/* For a buffer of at most one page */
struct nvme_command io_command(uint8_t opcode, uint64_t sector, uint32_t nr, uint64_t prp1);

void fill(void *buf, size_t len, unsigned int seed);
bool is_filled(const void *buf, size_t len, unsigned int seed);
bool is_zero(const void *buf, size_t len);
/* Without asking the controller */
bool image_has(struct machine *m, uint64_t sector, size_t len, unsigned int seed);

#endif /* NVME_IO_H */
