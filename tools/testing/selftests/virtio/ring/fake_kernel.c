// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel for virtio_ring.c: see fake_kernel.h.
 *
 * Memory is allocated from one array, in the same order each time, so that a copy of the array is a
 * copy of the complete state of virtio_ring.c.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/bits.h>
#include <linux/virtio.h>
#include <linux/dma-mapping.h>
#include "fake_kernel.h"

#define MEMORY_SIZE (128 * 1024)

/* A DMA address must not work as a pointer, nor the other way round. */
#define DMA_BIT BIT_ULL(40)

#define FRESH 0xa5
#define FREED 0x5a

struct fake_kernel fake_kernel;

/* needed to link tools/virtio's own kmalloc(), which is not used here */
void *__kmalloc_fake, *__kfree_ignore_start, *__kfree_ignore_end;

/* Header of each allocation */
struct block {
	u32 size;
	bool used;
} __aligned(16);

static char memory[MEMORY_SIZE] __aligned(64);
static size_t memory_end;

static struct fake_mapping mappings[FAKE_MAPPINGS];

void fake_kernel_reset(void)
{
	memset(&fake_kernel, 0, sizeof(fake_kernel));
	memset(memory, 0, memory_end);
	memory_end = 0;
}

void *fake_memory(size_t *size)
{
	*size = memory_end;
	return memory;
}

void fake_kernel_save(struct fake_copy *copy)
{
	if (memory_end > sizeof(copy->memory)) {
		fprintf(stderr, "%zu bytes do not fit a copy\n", memory_end);
		exit(1);
	}
	copy->kernel = fake_kernel;
	memcpy(copy->mappings, mappings, fake_kernel.mapped * sizeof(mappings[0]));
	copy->size = memory_end;
	memcpy(copy->memory, memory, memory_end);
}

void fake_kernel_restore(const struct fake_copy *copy)
{
	fake_kernel = copy->kernel;
	memcpy(mappings, copy->mappings, fake_kernel.mapped * sizeof(mappings[0]));
	if (memory_end > copy->size)
		memset(memory + copy->size, 0, memory_end - copy->size);
	memcpy(memory, copy->memory, copy->size);
	memory_end = copy->size;
}

/* Is this the call that has to fail? */
static bool due(unsigned int *countdown)
{
	return *countdown && !--*countdown;
}

static void *allocate(size_t size, int fill)
{
	struct block *block;
	size_t at;

	if (due(&fake_kernel.fail_kmalloc))
		return NULL;

	size = (size + sizeof(*block) - 1) & -sizeof(*block);
	for (at = 0; at < memory_end; at += sizeof(*block) + block->size) {
		block = (struct block *)(memory + at);
		if (!block->used && block->size >= size)
			goto found;
	}
	if (memory_end + sizeof(*block) + size > MEMORY_SIZE) {
		fprintf(stderr, "no memory for %zu bytes\n", size);
		exit(1);
	}
	block = (struct block *)(memory + memory_end);
	block->size = size;
	memory_end += sizeof(*block) + size;
found:
	block->used = true;
	fake_kernel.allocated++;
	return memset(block + 1, fill, block->size);
}

void *fake_kmalloc(size_t size)
{
	return allocate(size, FRESH);
}

void *fake_kzalloc(size_t size)
{
	return allocate(size, 0);
}

void fake_kfree(void *freed)
{
	struct block *block = (struct block *)freed - 1;

	if (!freed)
		return;
	if ((char *)block < memory || (char *)freed >= memory + memory_end || !block->used) {
		fprintf(stderr, "kfree() of memory that is not allocated\n");
		abort();
	}
	memset(freed, FREED, block->size);
	block->used = false;
	fake_kernel.allocated--;
}

dma_addr_t fake_dma_address(const void *address)
{
	return (unsigned long)address | DMA_BIT;
}

void *fake_dma_memory(dma_addr_t addr)
{
	return (void *)(unsigned long)(addr & ~DMA_BIT);
}

dma_addr_t fake_dma_map(unsigned long address, size_t size, enum dma_data_direction dir)
{
	unsigned int i = fake_kernel.mapped;

	if (due(&fake_kernel.fail_dma_map))
		return DMA_MAPPING_ERROR;
	if (i == FAKE_MAPPINGS) {
		fprintf(stderr, "too many mappings\n");
		exit(1);
	}
	mappings[i].addr = address | DMA_BIT;
	mappings[i].size = size;
	mappings[i].dir = dir;
	fake_kernel.mapped++;
	return mappings[i].addr;
}

void fake_dma_unmap(dma_addr_t addr, size_t size, enum dma_data_direction dir)
{
	unsigned int i;

	for (i = 0; i < fake_kernel.mapped; i++) {
		if (mappings[i].addr == addr && mappings[i].size == size &&
		    mappings[i].dir == dir) {
			mappings[i] = mappings[--fake_kernel.mapped];
			return;
		}
	}
	fake_kernel.wrong_unmaps++;
}

void fake_gfp(unsigned int gfp)
{
	fake_kernel.gfp = gfp;
}

void fake_kmsan_handle_dma(void)
{
	fake_kernel.kmsan++;
}

void fake_warn(void)
{
	fake_kernel.warnings++;
}

void dev_err(const struct device *dev, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(fake_kernel.message, sizeof(fake_kernel.message), format, args);
	va_end(args);
	fake_kernel.messages++;
}
