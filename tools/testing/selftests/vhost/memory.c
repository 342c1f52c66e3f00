// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include "memory.h"

int memory_create(struct memory *memory)
{
	memset(memory, 0, sizeof(*memory));
	memory->base = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory->base == MAP_FAILED) {
		perror("# memory");
		memory->base = NULL;
		return -1;
	}
	for (unsigned int i = 0; i < MEMORY_REGIONS; i++)
		memory->region[i] = memory->base + i * MEMORY_REGION;
	return 0;
}

void memory_destroy(struct memory *memory)
{
	if (memory->base)
		munmap(memory->base, MEMORY_SIZE);
	if (memory->scattered)
		munmap(memory->scattered, MEMORY_SIZE);
	memory->base = NULL;
	memory->scattered = NULL;
}

static bool map(void *at, size_t size, int file, off_t offset)
{
	return mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file,
		    offset) != MAP_FAILED;
}

int memory_scatter(struct memory *memory)
{
	uint8_t *scattered = mmap(NULL, MEMORY_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int file = memfd_create("memory", MFD_CLOEXEC);
	bool done = file >= 0 && scattered != MAP_FAILED &&
		pwrite(file, memory->base, MEMORY_SIZE, 0) == MEMORY_SIZE &&
		map(memory->base, MEMORY_SIZE, file, 0);

	for (size_t at = 0; done && at < MEMORY_SIZE; at += MEMORY_PAGE)
		done = map(scattered + at, MEMORY_PAGE, file, at ^ MEMORY_PAGE);
	if (!done)
		perror("# memory");
	close(file);
	if (scattered != MAP_FAILED)
		memory->scattered = scattered;
	for (unsigned int i = 0; done && i < MEMORY_REGIONS; i++)
		memory->region[i] = scattered + i * MEMORY_REGION;
	return done ? 0 : -1;
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
	struct vhost_memory *table;

	table = calloc(1, sizeof(*table) + MEMORY_REGIONS * sizeof(table->regions[0]));
	if (!table)
		return NULL;
	table->nregions = MEMORY_REGIONS;
	for (unsigned int i = 0; i < MEMORY_REGIONS; i++)
		table->regions[i] = (struct vhost_memory_region) {
			.guest_phys_addr = MEMORY_GPA + i * MEMORY_REGION,
			.memory_size = MEMORY_REGION,
			.userspace_addr = (uintptr_t)memory->region[i],
		};
	return table;
}
