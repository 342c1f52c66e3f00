/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory that is a guest's for vhost. Guest-physical addresses differ from our own, and the
 * memory is split into several regions, so that some buffers cross from one to the next.
 */
#ifndef _SELFTESTS_VHOST_MEMORY_H
#define _SELFTESTS_VHOST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/vhost.h>

#define MEMORY_GPA	0x40000000ULL
#define MEMORY_SIZE	(16UL << 20)
#define MEMORY_REGIONS	8
#define MEMORY_REGION	(MEMORY_SIZE / MEMORY_REGIONS)
#define MEMORY_PAGE	4096UL

struct memory {
	uint8_t *base;
	uint8_t *scattered;
	uint8_t *region[MEMORY_REGIONS];	/* their addresses as vhost is told */
	size_t allocated;
};

int memory_create(struct memory *memory);
void memory_destroy(struct memory *memory);

/*
 * Map the memory a second time, at @scattered, with its pages in another order: no two pages
 * are neighbours in both mappings. Regions refer to @scattered from now on.
 */
int memory_scatter(struct memory *memory);

/* Number of the page of @p in @scattered */
static inline size_t memory_scattered_page(const struct memory *memory, const void *p)
{
	return ((const uint8_t *)p - memory->base) / MEMORY_PAGE ^ 1;
}

/* Allocate zeroed memory, which is never freed. Returns NULL if there is none left. */
void *memory_alloc(struct memory *memory, size_t size, size_t align);

static inline uint64_t memory_gpa(const struct memory *memory, const void *p)
{
	return MEMORY_GPA + ((const uint8_t *)p - memory->base);
}

static inline void *memory_at(const struct memory *memory, uint64_t gpa)
{
	return memory->base + (gpa - MEMORY_GPA);
}

/* For VHOST_SET_MEM_TABLE. The caller frees it. */
struct vhost_memory *memory_table(const struct memory *memory);

#endif
