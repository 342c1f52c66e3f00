// SPDX-License-Identifier: GPL-2.0-only
#include "nvme_io.h"

#include <string.h>
#include <unistd.h>

#define MAX_LEN		0x40000
#define ENTRIES		(NVME_PAGE / sizeof(uint64_t))

void fill(void *buf, size_t len, unsigned int seed)
{
	uint32_t *p = buf;
	size_t i;

	for (i = 0; i < len / sizeof(*p); i++)
		p[i] = seed * 0x9e3779b9 + i * 0x85ebca6b + 1;
}

bool is_filled(const void *buf, size_t len, unsigned int seed)
{
	static uint32_t wanted[MAX_LEN / 4];

	fill(wanted, len, seed);
	return !memcmp(buf, wanted, len);
}

bool is_zero(const void *buf, size_t len)
{
	static const char zeroes[MAX_LEN];

	return !memcmp(buf, zeroes, len);
}

bool image_has(struct machine *m, uint64_t sector, size_t len, unsigned int seed)
{
	static char buf[MAX_LEN];

	if (pread(m->image_fd, buf, len, sector * 512) != (ssize_t)len)
		machine_fail("pread");
	return is_filled(buf, len, seed);
}

/* The list goes on in other pages, the last entry of each but the last naming the next. */
static uint64_t make_list(struct machine *m, uint64_t page, uint32_t nr, uint32_t offset)
{
	uint64_t start = machine_alloc(m, NVME_PAGE, NVME_PAGE) + offset, next;
	uint64_t *entries = machine_host(m, start - offset);
	uint32_t i = offset / sizeof(*entries);

	for (; nr; nr--, page += NVME_PAGE) {
		if (i == ENTRIES - 1 && nr > 1) {
			next = machine_alloc(m, NVME_PAGE, NVME_PAGE);
			entries[i] = next;
			entries = machine_host(m, next);
			i = 0;
		}
		entries[i++] = page;
	}
	return start;
}

void buffer_init(struct buffer *b, struct machine *m, uint32_t offset, uint32_t len,
		 uint32_t list_offset)
{
	uint32_t pages = (offset + len + NVME_PAGE - 1) / NVME_PAGE;

	b->m = m;
	b->len = len;
	b->addr = machine_alloc(m, pages * NVME_PAGE, NVME_PAGE) + offset;
	b->prp1 = b->addr;
	b->prp2 = 0;
	if (pages == 2)
		b->prp2 = b->addr - offset + NVME_PAGE;
	else if (pages > 2)
		b->prp2 = make_list(m, b->addr - offset + NVME_PAGE, pages - 1, list_offset);
}

void buffer_fill(struct buffer *b, unsigned int seed)
{
	fill(machine_host(b->m, b->addr), b->len, seed);
}

bool buffer_has(const struct buffer *b, unsigned int seed)
{
	return is_filled(machine_host(b->m, b->addr), b->len, seed);
}

struct nvme_command admin_command(uint8_t opcode, uint32_t cdw10)
{
	return (struct nvme_command) { .opcode = opcode, .cdw10 = cdw10 };
}

struct nvme_command flush_command(uint32_t nsid)
{
	return (struct nvme_command) { .opcode = NVME_FLUSH, .nsid = nsid };
}

struct nvme_command io_command(uint8_t opcode, uint64_t sector, uint32_t nr, uint64_t prp1)
{
	return (struct nvme_command) {
		.opcode = opcode, .nsid = 1, .prp1 = prp1,
		.cdw10 = sector, .cdw11 = sector >> 32, .cdw12 = nr - 1,
	};
}

struct nvme_command buffer_command(const struct buffer *b, uint8_t opcode, uint64_t sector)
{
	struct nvme_command command = io_command(opcode, sector, b->len / 512, b->prp1);

	command.prp2 = b->prp2;
	return command;
}
