// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_nvme.h"

#include <linux/kvm_ioregionfd.h>
#include "nvme_spec.h"
#include "util.h"

/* Registers, doorbells, MSI-X table and pending bits: a page each, see pci.h. */
#define REGION_SIZE	0x1000
#define BAR_SIZE	(4 * REGION_SIZE)

/* Any vendor will do: drivers go by the class. NVM Express, by its programming interface */
static const struct pci_id id = { 0x4956, 2, 0x010802 };

/* A driver finds it out when a command takes too long, or when it looks (9.5). */
static void failed(struct vmm_device *dev)
{
	dev->failed_status = NVME_CSTS_CFS;
}

/* It never gets ready again, however often it is enabled. */
static void access_failed(struct vmm_device *dev, uint64_t user_data, uint64_t offset,
			  struct vmm_access *access)
{
	const uint64_t cap = NVME_CAP_MQES(2) | NVME_CAP_CQR | NVME_CAP_TO(1) | NVME_CAP_CSS_NVM;

	if (access->is_write)
		return;
	access->data = 0;
	switch (user_data + offset) {
	case NVME_CAP:
		access->data = cap;
		break;
	case NVME_CAP_HIGH:
		access->data = cap >> 32;
		break;
	case NVME_VS:
		access->data = NVME_VERSION;
		break;
	case NVME_CSTS:
		access->data = dev->failed_status;
		break;
	}
}

static const struct vmm_device_ops nvme_ops = {
	.failed = failed,
	.access = access_failed,
};

void vmm_nvme_init(struct vmm_device *dev, unsigned int nr_queues)
{
	dev->ops = &nvme_ops;
	dev->is_pci = true;
	dev->writes_count = true;
	dev->args.nr_queues = 1;
	/* A vector for each queue, and one for that of admin commands */
	dev->args.nr_more_irqs = nr_queues;
	dev->nr_regions = 2;
	dev->regions[0].memory_size = REGION_SIZE;
	dev->regions[1].memory_size = REGION_SIZE;
	dev->regions[1].user_data = NVME_DOORBELLS;
	dev->regions[1].flags = KVM_IOREGION_POSTED_WRITES;
}

void vmm_nvme_add(struct vmm_pci *pci, struct vmm_pci_function *function, struct vmm_device *dev)
{
	vmm_pci_add(pci, function, dev, &id, BAR_SIZE);
}
