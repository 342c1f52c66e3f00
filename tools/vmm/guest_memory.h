/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory as a device process sees it: regions of a memfd, and nothing between them.
 */
#ifndef GUEST_MEMORY_H
#define GUEST_MEMORY_H

#include "device_state.h"

struct guest_memory {
	unsigned int nr_regions;
	struct {
		uint64_t guest_addr;
		uint64_t size;
		uint8_t *host;
	} regions[DEVICE_MAX_REGIONS];
};

/* Returns 0 or a negative errno value. Does not keep @fd. */
int guest_memory_map(struct guest_memory *memory, int fd, const struct memory_region *regions,
		     unsigned int nr);

/*
 * Where @len bytes at @addr are; NULL unless all of them are in the same region. The guest
 * can change them at any time, so whoever decides by them reads them once.
 */
void *guest_memory_at(const struct guest_memory *memory, uint64_t addr, uint64_t len);

#endif /* GUEST_MEMORY_H */
