/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is a guest's memory to vhost. Guest-physical addresses are not ours, and the
 * memory is told to vhost in several regions, so that some buffers lie in two of them.
 */
#ifndef _SELFTESTS_VHOST_MEMORY_H
#define _SELFTESTS_VHOST_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <linux/vhost.h>

#define MEMORY_GPA	0x40000000ULL
#define MEMORY_SIZE	(16UL << 20)
#define MEMORY_REGIONS	8

struct memory {
	uint8_t *base;
	size_t allocated;
};

int memory_create(struct memory *memory);
void memory_destroy(struct memory *memory);

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
