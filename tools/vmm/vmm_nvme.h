/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef VMM_NVME_H
#define VMM_NVME_H

#include "vmm_pci.h"

#define MAX_NVME	4

/*
 * Set what vmm_device_create() wants for an NVMe controller with @nr_queues queues for
 * I/O. Its image is opened as that of a virtio disk.
 */
void vmm_nvme_init(struct vmm_device *dev, unsigned int nr_queues);

/* Afterwards: make it a function of @pci. */
void vmm_nvme_add(struct vmm_pci *pci, struct vmm_pci_function *function, struct vmm_device *dev);

#endif /* VMM_NVME_H */
