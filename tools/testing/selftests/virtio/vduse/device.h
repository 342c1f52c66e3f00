/* SPDX-License-Identifier: GPL-2.0-only */
/* A virtio device of any type, from its creation to its end */
#ifndef VIRTIO_TEST_VDUSE_DEVICE_H
#define VIRTIO_TEST_VDUSE_DEVICE_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "util/device_ring.h"
#include "vduse.h"

#define DEVICE_MAX_QUEUES	2

struct device;

/* Works on the virtqueues once the driver has started them: this task, or vhost */
struct queue_worker {
	/* May be NULL. The driver has set DRIVER_OK; its queues are started next. */
	void (*begin)(struct device *device);
	void (*start)(struct device *device, unsigned int index, const struct vduse_vq_info *info);
	/* The driver has reset the device. On return, the queue is not accessed any more. */
	void (*stop)(struct device *device, unsigned int index);
	/* May be NULL. The memory from @start to @last may have moved. */
	void (*moved)(struct device *device, uint64_t start, uint64_t last);
	/* Get the state of queue @index. */
	void (*state)(struct device *device, unsigned int index, struct vduse_vq_state *state);
	/* Print one line to stderr, which the tests read. */
	void (*report)(struct device *device, unsigned int index);
	/* Fill in up to WORKER_FILES files to wait for. *@patience = 0: do not wait. */
	unsigned int (*wait)(struct device *device, struct pollfd *fds, int *patience);
	void (*work)(struct device *device, const struct pollfd *fds);
};

#define WORKER_FILES	(DEVICE_MAX_QUEUES + 2)

extern const struct queue_worker task_worker;

/* A type of device. It gets the arguments of the command line unchanged. */
struct device_type {
	const char *name;
	uint32_t id;
	unsigned int queues;
	const struct queue_worker *worker;
	/* Open @path, fill in device->config, and add to device->features. */
	void (*open)(struct device *device, const char *path);
	/* May be NULL. The driver has reset the device: its buffers are gone. */
	void (*reset)(struct device *device);
	/*
	 * The rest is for task_worker. Serve queue @index as long as there is something to do,
	 * with a limit. Returns whether there may be more.
	 */
	bool (*serve)(struct device *device, unsigned int index);
	/* May be NULL. Returns a file to wait for, besides kicks, to serve @polled_queue; or -1. */
	int (*poll)(struct device *device);
	unsigned int polled_queue;
};

extern const struct device_type blk_type;
extern const struct device_type net_type;
extern const struct device_type vhost_net_type, vhost_net_iotlb_type;

struct device_queue {
	bool running;
	bool interrupt;		/* an interrupt is due */
	int kick;		/* eventfd */
	/* For task_worker */
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
	void *state;		/* private to the type */

	struct vduse vduse;
	struct device_queue queues[DEVICE_MAX_QUEUES];
	bool complained;	/* about the driver */
};

/* Serves the device until SIGTERM; returns the exit status. */
int device_run(struct device *device);

/* Interrupt the driver, for queue @index. */
void device_interrupt(struct device *device, unsigned int index);

/* Copy between memory and @iov, from @offset on. Returns the number of bytes. */
size_t iov_read(const struct iovec *iov, unsigned int count, size_t offset, void *to, size_t len);
size_t iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *from,
		 size_t len);

/* Keep @len bytes after the first @skip ones. Returns the new count. */
unsigned int iov_trim(struct iovec *iov, unsigned int count, size_t skip, size_t len);
size_t iov_length(const struct iovec *iov, unsigned int count);

#endif
