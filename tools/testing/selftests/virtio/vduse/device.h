/* SPDX-License-Identifier: GPL-2.0-only */
/* A virtio device from its creation to its end, whatever its type */
#ifndef VIRTIO_TEST_VDUSE_DEVICE_H
#define VIRTIO_TEST_VDUSE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "device_ring.h"
#include "vduse.h"

#define DEVICE_MAX_QUEUES	2

struct device;

/* What the types differ in: the command line's arguments come to them as they are. */
struct device_type {
	const char *name;
	uint32_t id;
	unsigned int queues;
	/* Opens @path, fills in device->config, adds to device->features. */
	void (*open)(struct device *device, const char *path);
	/*
	 * Serve queue @index as long as there is something to do, but not for ever.
	 * Returns whether there may be more.
	 */
	bool (*serve)(struct device *device, unsigned int index);
	/* May be NULL. The driver has reset the device: its buffers are not there any more. */
	void (*reset)(struct device *device);
	/* May be NULL. What to serve @polled_queue for besides its kicks: a descriptor, or -1. */
	int (*poll)(struct device *device);
	unsigned int polled_queue;
};

extern const struct device_type blk_type;
extern const struct device_type net_type;

struct device_queue {
	struct device_ring ring;
	bool running, kicked;
	bool interrupt;		/* is due */
	int eventfd;
};

struct device {
	const struct device_type *type;
	const char *name;
	uint64_t features;	/* offered */
	unsigned int queue_size, max_batch;
	void *config;
	size_t config_size;
	void *state;		/* the type's own */

	struct vduse vduse;
	struct device_queue queues[DEVICE_MAX_QUEUES];
	bool complained;	/* about the driver */
};

/* Serves the device until SIGTERM; returns the exit status. */
int device_run(struct device *device);

/* Give back what is complete, and interrupt the driver if it wants that. */
void device_publish(struct device *device, unsigned int index);

/* Copy between memory and the bytes of @iov from @offset on; how many there were. */
size_t iov_read(const struct iovec *iov, unsigned int count, size_t offset, void *to, size_t len);
size_t iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *from,
		 size_t len);

/* Leave out the first @skip bytes, and what comes after @len more; returns the new count. */
unsigned int iov_trim(struct iovec *iov, unsigned int count, size_t skip, size_t len);
size_t iov_length(const struct iovec *iov, unsigned int count);

#endif
