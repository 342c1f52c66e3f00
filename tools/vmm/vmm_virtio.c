// SPDX-License-Identifier: GPL-2.0-only
/* Section numbers are those of VIRTIO 1.2. */
#include "vmm_virtio.h"

#include <err.h>
#include <string.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include "util.h"
#include "virtio_mmio.h"

#define MAGIC	0x74726976

/* Not offered to a driver that is not told to: it would use them, and most do not. */
const uint64_t vmm_virtio_default_features = ~(BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER));

static const struct {
	const char *name;
	unsigned int bit;
} features[] = {
	{ "packed", VIRTIO_F_RING_PACKED },
	{ "in_order", VIRTIO_F_IN_ORDER },
};

const char *vmm_virtio_features(const char *list, uint64_t *bits)
{
	size_t i, len;

	for (;; list += len + 1) {
		len = strcspn(list, ",");
		for (i = 0; i < ARRAY_SIZE(features); i++) {
			if (strlen(features[i].name) == len &&
			    !strncmp(features[i].name, list, len))
				break;
		}
		if (i == ARRAY_SIZE(features))
			return list;
		*bits |= BIT(features[i].bit);
		if (!list[len])
			return NULL;
	}
}

void vmm_virtio_warn_missing(const struct vmm_device *dev, uint64_t missing)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(features); i++) {
		if (missing & BIT(features[i].bit))
			warnx("%s: --features=%s: this kernel's vhost does not offer it", dev->name,
			      features[i].name);
	}
}

static void interrupt(struct vmm_device *dev)
{
	uint64_t one = 1;
	ssize_t n;

	/* Fails only if the counter is full, and then the interrupt has been raised. */
	n = write(dev->irq_fd, &one, sizeof(one));
	(void)n;
}

/* The driver is told by a change of the configuration (2.1.2), if there is a driver. */
static void failed(struct vmm_device *dev)
{
	dev->failed_status = (dev->state->mmio.status & 0xff) | VIRTIO_CONFIG_S_NEEDS_RESET;
	dev->failed_interrupt = VIRTIO_MMIO_INT_CONFIG;
	if (dev->failed_status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(dev);
}

/*
 * The driver can reset it and begin anew, but it does not get past FEATURES_OK, as if we
 * could not work with any features (3.1.1).
 */
static void write_status(struct vmm_device *dev, uint32_t value)
{
	if (!value) {
		dev->failed_status = 0;
		dev->failed_interrupt = 0;
		return;
	}
	dev->failed_status |= value & 0xff & ~(VIRTIO_CONFIG_S_FEATURES_OK |
					       VIRTIO_CONFIG_S_DRIVER_OK);
}

static uint32_t read_register(const struct vmm_device *dev, uint64_t offset)
{
	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->virtio_id;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return dev->failed_interrupt;
	case VIRTIO_MMIO_STATUS:
		return dev->failed_status;
	}
	/* No features, no queues, a configuration of zeroes */
	return 0;
}

static void access_failed(struct vmm_device *dev, uint64_t user_data, uint64_t offset,
			  struct vmm_access *access)
{
	offset += user_data;
	if (!access->is_write)
		access->data = access->size == 4 ? read_register(dev, offset) : 0;
	else if (access->size != 4)
		return;
	else if (offset == VIRTIO_MMIO_STATUS)
		write_status(dev, access->data);
	else if (offset == VIRTIO_MMIO_INTERRUPT_ACK)
		dev->failed_interrupt &= ~access->data;
}

static const struct vmm_device_ops virtio_ops = {
	.failed = failed,
	.access = access_failed,
};

void vmm_virtio_init(struct vmm_device *dev, unsigned int n, uint32_t virtio_id)
{
	/* Begin and end of each region; only QueueNotify is posted, see virtio_mmio.h. */
	static const unsigned int edges[] = {
		VIRTIO_MMIO_BEFORE_NOTIFY, VIRTIO_MMIO_NOTIFY, VIRTIO_MMIO_AFTER_NOTIFY,
		VIRTIO_MMIO_SIZE,
	};
	uint64_t addr = VIRTIO_MMIO_ADDR + n * VIRTIO_MMIO_STEP;
	unsigned int i;

	dev->ops = &virtio_ops;
	dev->virtio_id = virtio_id;
	dev->gsi = VIRTIO_MMIO_GSI + n;
	dev->args.nr_queues = 1;
	dev->nr_regions = ARRAY_SIZE(edges) - 1;
	for (i = 0; i < dev->nr_regions; i++) {
		dev->regions[i].guest_paddr = addr + edges[i];
		dev->regions[i].memory_size = edges[i + 1] - edges[i];
		dev->regions[i].user_data = edges[i];
		if (edges[i] == VIRTIO_MMIO_NOTIFY)
			dev->regions[i].flags = KVM_IOREGION_POSTED_WRITES;
	}
}
