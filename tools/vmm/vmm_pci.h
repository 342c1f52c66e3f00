/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The PCI bus of the VM: pci.h, for several vCPUs at a time, and KVM behind its MSI-X.
 */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include <pthread.h>
#include "pci.h"
#include "vm.h"
#include "vmm_device.h"

struct vmm_pci {
	pthread_mutex_t lock;		/* protects all that follows */
	struct pci pci;
	struct vm *vm;
	unsigned int nr_msi;		/* GSIs that functions have */
};

/* A function whose registers are those of a device process. */
struct vmm_pci_function {
	struct pci_function function;
	struct vmm_pci *bus;
	struct vmm_device *dev;
	unsigned int first_msi;
	bool open[MSIX_MAX_VECTORS];	/* KVM takes what is raised */
};

void vmm_pci_init(struct vmm_pci *pci, struct vm *vm);

/* Vector 0 is @dev->irq_fd, and the others are its more_irq_fds. */
void vmm_pci_add(struct vmm_pci *pci, struct vmm_pci_function *function, struct vmm_device *dev,
		 const struct pci_id *id, uint64_t bar_size);

void vmm_pci_port(struct vmm_pci *pci, unsigned int offset, unsigned int size, bool is_write,
		  void *data);
/* As pci_access_memory() */
bool vmm_pci_memory(struct vmm_pci *pci, uint64_t addr, unsigned int size, bool is_write,
		    void *data);

#endif /* VMM_PCI_H */
