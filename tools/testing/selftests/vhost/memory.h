/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is a guest's memory to vhost. Guest-physical addresses are not ours, and the
 * memory is told to vhost in several regions, so that some buffers lie in two of them.
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
	uint8_t *region[MEMORY_REGIONS];	/* where vhost is told that they are */
	size_t allocated;
};

int memory_create(struct memory *memory);
void memory_destroy(struct memory *memory);

/*
 * From now on @scattered is the memory too, its pages in another order: no two are beside
 * each other in both. Regions are there, so what vhost is told about is not what it was.
 */
int memory_scatter(struct memory *memory);

/* Where the page of @p is: its number in @scattered */
static inline size_t memory_scattered_page(const struct memory *memory, const void *p)
{
	return ((const uint8_t *)p - memory->base) / MEMORY_PAGE ^ 1;
}

/* Zeroed; never given back. NULL: there is no more. */
void *memory_alloc(struct memory *memory, size_t size, size_t align);

static inline uint64_t memory_gpa(const struct memory *memory, const void *p)
{
	return MEMORY_GPA + ((const uint8_t *)p - memory->base);
}

static inline void *memory_at(const struct memory *memory, uint64_t gpa)
{
	return memory->base + (gpa - MEMORY_GPA);
}

/* For VHOST_SET_MEM_TABLE; for free() */
struct vhost_memory *memory_table(const struct memory *memory);

#endif
