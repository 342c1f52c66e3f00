/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel for virtio_ring.c: memory, the DMA API and a log. Their state can be inspected, and
 * allocations and mappings can be made to fail.
 */
#ifndef RING_FAKE_KERNEL_H
#define RING_FAKE_KERNEL_H

#include <linux/types.h>
#include <linux/kernel.h>

struct fake_kernel {
	/* Fail the n-th allocation or mapping from now on; 0: none */
	unsigned int fail_kmalloc;
	unsigned int fail_dma_map;

	/* Number of current allocations and mappings */
	unsigned int allocated;
	unsigned int mapped;

	/* Number of unmappings that did not match their mapping */
	unsigned int wrong_unmaps;

	/* Flags of the last kmalloc() */
	unsigned int gfp;

	/* Number of segments that KMSAN was told of, and of warnings */
	unsigned int kmsan;
	unsigned int warnings;

	/* Number of calls of dev_err(), and its last message */
	unsigned int messages;
	char message[128];
};

extern struct fake_kernel fake_kernel;

/* Forget all allocations, mappings, messages and requested failures. */
void fake_kernel_reset(void);

/* All memory that was allocated since the reset */
void *fake_memory(size_t *size);

/* A copy of everything, to restore it */
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

/* Memory at a DMA address */
void *fake_dma_memory(dma_addr_t addr);

#endif /* RING_FAKE_KERNEL_H */
