/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The registers of a virtio-mmio device (VIRTIO 1.2, 4.2.2), for any device type. They are
 * in struct virtio_mmio_state and struct virtqueue_state, so a fresh process goes on with
 * those of the former one.
 *
 * The VMM adds three regions. QueueNotify alone may have KVM_IOREGION_POSTED_WRITES: to
 * look at a queue once more does no harm. What else is written has a meaning that depends on
 * what came before, so the vCPU waits for it, and at most that one write of each vCPU is
 * redelivered.
 */
#ifndef VIRTIO_MMIO_H
#define VIRTIO_MMIO_H

#include <stdbool.h>
#include <stdint.h>
#include <ioregionfd.h>
#include "device.h"
#include "virtqueue.h"

#define VIRTIO_MMIO_SIZE	0x200

/* user_data of the three regions: where in the registers they begin. */
#define VIRTIO_MMIO_BEFORE_NOTIFY	0x00
#define VIRTIO_MMIO_NOTIFY		0x50
#define VIRTIO_MMIO_AFTER_NOTIFY	0x54

struct virtio_mmio;

struct virtio_device_ops {
	/* Queue @n has begun, maybe with requests that are fetched. */
	void (*start)(struct virtio_mmio *mmio, unsigned int n);
	/* There may be buffers in queue @n, which is running. */
	void (*kick)(struct virtio_mmio *mmio, unsigned int n);
	/*
	 * Queue @n has been stopped. Return when nothing reads or writes the guest's buffers
	 * any more.
	 */
	void (*drain)(struct virtio_mmio *mmio, unsigned int n);
};

struct virtio_mmio {
	struct device_state *state;
	const struct guest_memory *memory;
	const struct virtio_device_ops *ops;
	uint32_t device_id;
	uint64_t features;		/* what is offered */
	unsigned int nr_queues;
	const void *config;		/* never changes */
	unsigned int config_size;
	/*
	 * Someone else, such as vhost, uses the buffers and interrupts the driver. What the
	 * interrupt was for is not known here, so the driver has to look.
	 */
	bool used_elsewhere;
	int irq_fd;
	struct virtqueue queues[DEVICE_MAX_QUEUES];
};

/* Set what comes from @device. */
void virtio_mmio_init(struct virtio_mmio *mmio, struct device *device);

/*
 * Have @ops->command called for each access, with the base of its region as @opaque. Exits
 * with a message if that is not possible.
 */
void virtio_mmio_register(struct device *device, const struct ioregionfd_ops *ops);

/*
 * All members above irq_fd, and irq_fd, are set. Takes up what the former process has left
 * behind, or begins anew.
 */
void virtio_mmio_start(struct virtio_mmio *mmio);

/*
 * Handle an access at @base + cmd->offset, of a region at @base. As the function of the
 * same name in struct ioregionfd_ops, except for that. Not synchronized.
 */
uint16_t virtio_mmio_command(struct virtio_mmio *mmio, uint64_t base,
			     const struct ioregionfd_cmd *cmd, uint64_t *value);

/* To be called after virtqueue_complete(): interrupt the driver if it wants that. */
void virtio_mmio_used(struct virtio_mmio *mmio, unsigned int n);

/* The driver has broken a rule: nothing goes on until it resets the device (2.1.2). */
void virtio_mmio_needs_reset(struct virtio_mmio *mmio);

static inline bool virtio_mmio_has(const struct virtio_mmio *mmio, unsigned int feature)
{
	return mmio->state->mmio.driver_features >> feature & 1;
}

#endif /* VIRTIO_MMIO_H */
