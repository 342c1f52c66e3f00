/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The MSI-X table of a PCI function and its pending bits (PCI Local Bus Specification 3.0,
 * 6.8.2). The VMM emulates them, and not the device process, because what the guest
 * writes there goes to KVM, which no device process has: the process only raises an eventfd,
 * and so cannot send an interrupt that the guest has not asked for.
 *
 * Not synchronized.
 */
#ifndef MSIX_H
#define MSIX_H

#include <stdbool.h>
#include <stdint.h>

#define MSIX_MAX_VECTORS	32
#define MSIX_ENTRY_SIZE		16

struct msix_ops {
	/*
	 * What is raised for @vector goes to @addr as @data from now on. If @open is false
	 * it is to be kept until it is.
	 */
	void (*set_vector)(void *opaque, unsigned int vector, bool open, uint64_t addr,
			   uint32_t data);
	/* Is something kept? */
	bool (*pending)(void *opaque, unsigned int vector);
};

struct msix {
	const struct msix_ops *ops;
	void *opaque;
	unsigned int nr_vectors;
	bool enabled, masked;			/* all of them */
	struct {
		uint32_t word[4];		/* address, its high half, data, control */
	} entries[MSIX_MAX_VECTORS];
};

void msix_init(struct msix *msix, unsigned int nr_vectors, const struct msix_ops *ops,
	       void *opaque);

/* What the function's configuration space says. */
void msix_set_control(struct msix *msix, bool enabled, bool masked);

/* @offset in the table or in the pending bits; @size is 4 or 8, and aligned. */
void msix_write_table(struct msix *msix, uint64_t offset, unsigned int size, uint64_t value);
uint64_t msix_read_table(const struct msix *msix, uint64_t offset, unsigned int size);
uint64_t msix_read_pending(const struct msix *msix, uint64_t offset, unsigned int size);

#endif /* MSIX_H */
