/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What all virtio-mmio devices have in common for the VMM: where their registers are, and
 * what is left of them when no process serves them any more.
 */
#ifndef VMM_VIRTIO_H
#define VMM_VIRTIO_H

#include "vmm_device.h"

/* The @n-th of the machine. All other members of @dev are 0, or set by the caller. */
void vmm_virtio_init(struct vmm_device *dev, unsigned int n, uint32_t virtio_id);

/*
 * Parse a list such as "packed,in_order", and add to @features. Returns what is no
 * feature's name, or NULL.
 */
const char *vmm_virtio_features(const char *list, uint64_t *features);

/* Warn of those of @missing that have a name: the kernel's vhost does not offer them. */
void vmm_virtio_warn_missing(const struct vmm_device *dev, uint64_t missing);

/* What a device may offer if nothing is said. */
extern const uint64_t vmm_virtio_default_features;

/*
 * Open an image, "FILE" or "FILE,ro", that no other process has open in this way. Sets
 * @dev->backend_fd, and DEVICE_READ_ONLY. Exits with a message if that is not possible.
 */
void vmm_blk_open(struct vmm_device *dev, const char *option);

#endif /* VMM_VIRTIO_H */
