/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel is to virtio_ring.c: memory, the DMA API and a log. All of them can be looked
 * at, and what may fail fails when it is told to.
 */
#ifndef RING_FAKE_KERNEL_H
#define RING_FAKE_KERNEL_H

#include <linux/types.h>
#include <linux/kernel.h>

struct fake_kernel {
	/* The n-th allocation or mapping from now on fails; 0: none does */
	unsigned int fail_kmalloc;
	unsigned int fail_dma_map;

	/* How many are allocated or mapped now */
	unsigned int allocated;
	unsigned int mapped;

	/* How often something was unmapped that was not mapped in this way */
	unsigned int wrong_unmaps;

	/* dev_err(), and what it said last */
	unsigned int messages;
	char message[128];
};

extern struct fake_kernel fake_kernel;

/* Nothing is allocated, mapped, said or about to fail any more. */
void fake_kernel_reset(void);

/* All memory that was ever handed out since the reset: the state of whatever lives in it */
void *fake_memory(size_t *size);

/* Everything, to be put back */
#define FAKE_MAPPINGS 128

struct fake_mapping {
	dma_addr_t addr;
	size_t size;
	int dir;
};

struct fake_copy {
	struct fake_kernel kernel;
	struct fake_mapping mappings[FAKE_MAPPINGS];
	size_t size;
	char memory[8192];
};

void fake_kernel_save(struct fake_copy *copy);
void fake_kernel_restore(const struct fake_copy *copy);

/* What a device finds at a DMA address */
void *fake_dma_memory(dma_addr_t addr);

#endif /* RING_FAKE_KERNEL_H */
