// SPDX-License-Identifier: GPL-2.0-only
#include "fuzz.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "../device.h"

static struct guest_memory memory;

static uint64_t take(struct fuzz_input *in, size_t size)
{
	uint64_t value = 0;

	if (size > in->left)
		size = in->left;
	memcpy(&value, in->data, size);
	in->data += size;
	in->left -= size;
	return value;
}

uint8_t fuzz_8(struct fuzz_input *in)
{
	return take(in, 1);
}

uint16_t fuzz_16(struct fuzz_input *in)
{
	return take(in, 2);
}

uint32_t fuzz_32(struct fuzz_input *in)
{
	return take(in, 4);
}

uint64_t fuzz_64(struct fuzz_input *in)
{
	return take(in, 8);
}

uint64_t fuzz_addr(struct fuzz_input *in)
{
	uint8_t byte = fuzz_8(in), n = byte & 0x3f;

	switch (byte >> 6) {
	case 0:
		return FUZZ_LOW + n * (FUZZ_REGION / 64);
	case 1:
		return FUZZ_HIGH + n * (FUZZ_REGION / 64);
	case 2:
		return FUZZ_LOW + FUZZ_REGION - n * 4;
	}
	return fuzz_64(in);
}

void fuzz_failed(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: not true: %s\n", file, line, condition);
	abort();
}

static void put_at(int fd, int number)
{
	if (fd < 0 || dup2(fd, number) != number)
		err(EXIT_FAILURE, "descriptor %d", number);
	if (fd != number)
		close(fd);
}

void fuzz_init(unsigned int nr_irqs)
{
	static const uint64_t addrs[] = { FUZZ_LOW, FUZZ_HIGH };
	int image = memfd_create("image", 0);
	unsigned int i;

	memory.nr_regions = 2;
	for (i = 0; i < 2; i++) {
		memory.regions[i].guest_addr = addrs[i];
		memory.regions[i].size = FUZZ_REGION;
		/* Not static, so that AddressSanitizer knows its end. */
		memory.regions[i].host = aligned_alloc(FUZZ_PAGE, FUZZ_REGION);
		if (!memory.regions[i].host)
			err(EXIT_FAILURE, "aligned_alloc");
	}
	/* Only for its size: fake_ring.c reads and writes fuzz_image. */
	if (image < 0 || ftruncate(image, FUZZ_IMAGE))
		err(EXIT_FAILURE, "memfd_create");
	put_at(image, DEVICE_BACKEND_FD);
	put_at(eventfd(0, EFD_NONBLOCK), DEVICE_IRQ_FD);
	for (i = 0; i + 1 < nr_irqs; i++)
		put_at(eventfd(0, EFD_NONBLOCK), DEVICE_NR_FDS + i);
}

void fuzz_begin(void)
{
	unsigned int i;

	for (i = 0; i < memory.nr_regions; i++)
		memset(memory.regions[i].host, 0, memory.regions[i].size);
	memset(fuzz_image, 0, sizeof(fuzz_image));
	fake_ring_clear();
}

const struct guest_memory *fuzz_memory(void)
{
	return &memory;
}

void *fuzz_host(uint64_t addr)
{
	return guest_memory_at(&memory, addr, 1);
}

void fuzz_write_memory(struct fuzz_input *in)
{
	uint64_t addr = fuzz_8(in) & 1 ? FUZZ_HIGH : FUZZ_LOW;
	unsigned int n;

	addr += fuzz_16(in);
	n = fuzz_8(in) % 32;
	for (; n && addr % FUZZ_REGION; n--)
		*(uint8_t *)fuzz_host(addr++) = fuzz_8(in);
}

void fuzz_write_state(struct fuzz_input *in, void *state, size_t size)
{
	unsigned int n = fuzz_8(in) % 16;
	uint32_t offset;

	while (n--) {
		offset = fuzz_32(in) % size;
		((uint8_t *)state)[offset] = fuzz_8(in);
	}
}

struct ioregionfd_cmd fuzz_command(bool write, uint64_t offset, unsigned int size, uint64_t value)
{
	return (struct ioregionfd_cmd) {
		.cmd = write ? IOREGIONFD_CMD_WRITE : IOREGIONFD_CMD_READ,
		.flags = __builtin_ctz(size) | IOREGIONFD_CMD_F_RESP,
		.offset = offset, .data = value,
	};
}

struct ioregionfd_cmd fuzz_access(struct fuzz_input *in, uint64_t offset)
{
	uint8_t how = fuzz_8(in);
	struct ioregionfd_cmd cmd = fuzz_command(how & 4, offset, 1 << how % 4, 0);

	if (how & 8)
		cmd.flags |= IOREGIONFD_CMD_F_REDELIVERED;
	if (how & 16)
		cmd.flags &= ~IOREGIONFD_CMD_F_RESP;
	if (how & 4)
		cmd.data = how & 32 ? fuzz_64(in) : how & 64 ? fuzz_addr(in) : fuzz_8(in);
	return cmd;
}
