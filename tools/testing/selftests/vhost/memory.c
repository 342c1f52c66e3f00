// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "memory.h"

int memory_create(struct memory *memory)
{
	memory->allocated = 0;
	memory->base = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory->base == MAP_FAILED) {
		perror("# memory");
		memory->base = NULL;
		return -1;
	}
	return 0;
}

void memory_destroy(struct memory *memory)
{
	if (memory->base)
		munmap(memory->base, MEMORY_SIZE);
	memory->base = NULL;
}

void *memory_alloc(struct memory *memory, size_t size, size_t align)
{
	size_t at = (memory->allocated + align - 1) & ~(align - 1);

	if (at + size > MEMORY_SIZE) {
		fprintf(stderr, "# memory: no room for %zu bytes\n", size);
		return NULL;
	}
	memory->allocated = at + size;
	return memory->base + at;
}

struct vhost_memory *memory_table(const struct memory *memory)
{
	const size_t size = MEMORY_SIZE / MEMORY_REGIONS;
	struct vhost_memory *table;

	table = calloc(1, sizeof(*table) + MEMORY_REGIONS * sizeof(table->regions[0]));
	if (!table)
		return NULL;
	table->nregions = MEMORY_REGIONS;
	for (unsigned int i = 0; i < MEMORY_REGIONS; i++)
		table->regions[i] = (struct vhost_memory_region) {
			.guest_phys_addr = MEMORY_GPA + i * size,
			.memory_size = size,
			.userspace_addr = (uintptr_t)memory->base + i * size,
		};
	return table;
}
