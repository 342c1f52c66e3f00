// SPDX-License-Identifier: GPL-2.0-only
#include "guest_memory.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

int guest_memory_map(struct guest_memory *memory, int fd, const struct memory_region *regions,
		     unsigned int nr)
{
	unsigned int i;
	void *host;

	if (!nr || nr > DEVICE_MAX_REGIONS)
		return -EINVAL;
	for (i = 0; i < nr; i++) {
		/* An end of 2^64 would not fit into the comparisons below. */
		if (!regions[i].size || regions[i].guest_addr > UINT64_MAX - regions[i].size)
			return -EINVAL;
		host = mmap(NULL, regions[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    regions[i].offset);
		if (host == MAP_FAILED)
			return -errno;
		memory->regions[i].guest_addr = regions[i].guest_addr;
		memory->regions[i].size = regions[i].size;
		memory->regions[i].host = host;
	}
	memory->nr_regions = nr;
	return 0;
}

void *guest_memory_at(const struct guest_memory *memory, uint64_t addr, uint64_t len)
{
	uint64_t start, size;
	unsigned int i;

	for (i = 0; i < memory->nr_regions; i++) {
		start = memory->regions[i].guest_addr;
		size = memory->regions[i].size;
		/* Nothing here can overflow, whatever the guest says. */
		if (addr >= start && addr - start <= size && len <= size - (addr - start))
			return memory->regions[i].host + (addr - start);
	}
	return NULL;
}
