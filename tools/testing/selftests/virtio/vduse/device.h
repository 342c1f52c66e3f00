/* SPDX-License-Identifier: GPL-2.0-only */
/* A virtio device from its creation to its end, whatever its type */
#ifndef VIRTIO_TEST_VDUSE_DEVICE_H
#define VIRTIO_TEST_VDUSE_DEVICE_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "device_ring.h"
#include "vduse.h"

#define DEVICE_MAX_QUEUES	2

struct device;

/* Who works on the virtqueues when the driver has started them: this task, or vhost */
struct queue_worker {
	/* May be NULL. The driver has set DRIVER_OK, its queues come next. */
	void (*begin)(struct device *device);
	void (*start)(struct device *device, unsigned int index, const struct vduse_vq_info *info);
	/* The driver has reset the device: on return nothing of the queue is used any more. */
	void (*stop)(struct device *device, unsigned int index);
	/* May be NULL, if that cannot be. From @start to @last the memory may be elsewhere. */
	void (*moved)(struct device *device, uint64_t start, uint64_t last);
	/* How far queue @index is */
	void (*state)(struct device *device, unsigned int index, struct vduse_vq_state *state);
	/* One line to stderr; the tests read it. */
	void (*report)(struct device *device, unsigned int index);
	/* What to wait for, WORKER_FILES at most: how many. Not at all if *@patience is set 0. */
	unsigned int (*wait)(struct device *device, struct pollfd *fds, int *patience);
	void (*work)(struct device *device, const struct pollfd *fds);
};

#define WORKER_FILES	(DEVICE_MAX_QUEUES + 2)

extern const struct queue_worker task_worker;

/* What the types differ in: the command line's arguments come to them as they are. */
struct device_type {
	const char *name;
	uint32_t id;
	unsigned int queues;
	const struct queue_worker *worker;
	/* Opens @path, fills in device->config, adds to device->features. */
	void (*open)(struct device *device, const char *path);
	/* May be NULL. The driver has reset the device: its buffers are not there any more. */
	void (*reset)(struct device *device);
	/*
	 * The rest is for task_worker. Serve queue @index as long as there is something to
	 * do, but not for ever. Returns whether there may be more.
	 */
	bool (*serve)(struct device *device, unsigned int index);
	/* May be NULL. What to serve @polled_queue for besides its kicks: a descriptor, or -1. */
	int (*poll)(struct device *device);
	unsigned int polled_queue;
};

extern const struct device_type blk_type;
extern const struct device_type net_type;
extern const struct device_type vhost_net_type, vhost_net_iotlb_type;

struct device_queue {
	bool running;
	bool interrupt;		/* is due */
	int kick;		/* eventfd */
	/* Of task_worker */
	struct device_ring ring;
	bool kicked;
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

/* Interrupt the driver, for queue @index. */
void device_interrupt(struct device *device, unsigned int index);

/* Copy between memory and the bytes of @iov from @offset on; how many there were. */
size_t iov_read(const struct iovec *iov, unsigned int count, size_t offset, void *to, size_t len);
size_t iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *from,
		 size_t len);

/* Leave out the first @skip bytes, and what comes after @len more; returns the new count. */
unsigned int iov_trim(struct iovec *iov, unsigned int count, size_t skip, size_t len);
size_t iov_length(const struct iovec *iov, unsigned int count);

#endif
