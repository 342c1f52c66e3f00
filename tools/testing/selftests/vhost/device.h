/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vhost device and its virtqueues, through the ioctls that all vhost devices have. After a
 * failure, errno is that of the failed call.
 */
#ifndef _SELFTESTS_VHOST_DEVICE_H
#define _SELFTESTS_VHOST_DEVICE_H

#include <stdint.h>
#include <linux/virtio_config.h>
#include "memory.h"
#include "ring.h"

#define LAYOUT_BITS	(BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER))

struct device {
	int fd;
	uint64_t offered;	/* features */
	int log;		/* eventfd: the dirty log was written */
};

struct queue {
	struct device *device;
	unsigned int index;
	struct ring *ring;
	int kick, call, error;	/* eventfds */
	bool iova;		/* with an IOTLB: ring addresses are I/O virtual addresses */
};

uint64_t kind_features(struct ring_kind kind);

int device_open(struct device *device, const char *path);
void device_close(struct device *device);
int device_features(struct device *device, uint64_t features);
int device_memory(struct device *device, const struct memory *memory);

/* Log to @log what the device writes, with one bit for each page of guest-physical addresses. */
#define LOG_SIZE	((MEMORY_GPA + MEMORY_SIZE) / MEMORY_PAGE / 8)
int device_start_log(struct device *device, uint64_t features, void *log);

/* Wait until the device has done the work that it has been given so far. */
int device_drain(struct device *device);

/* Eventfds for one virtqueue */
int queue_create(struct queue *queue, struct device *device, unsigned int index,
		 struct ring *ring);
void queue_destroy(struct queue *queue);

int queue_num(struct queue *queue, unsigned int num);
int queue_set_base(struct queue *queue, uint32_t base);
int queue_address(struct queue *queue, uint64_t desc, uint64_t driver, uint64_t device);

/* Set the addresses of the ring, with a guest-physical one for logging its device area. */
int queue_ring_address(struct queue *queue);
int queue_log_address(struct queue *queue);

/* VHOST_NET_SET_BACKEND */
int queue_backend(struct queue *queue, int fd);

/* VHOST_SET_VRING_CALL, if it is to be another eventfd than @queue's, or none: -1 */
int queue_set_call(struct queue *queue, int fd);

/* VHOST_SET_VRING_BUSYLOOP_TIMEOUT, in microseconds */
int queue_busyloop_timeout(struct queue *queue, unsigned int timeout);

/* Set up a virtqueue completely, except for its backend. */
int queue_setup(struct queue *queue, uint32_t base);

/* The same, without VHOST_SET_VRING_BASE */
int queue_setup_no_base(struct queue *queue);

/* VHOST_SET_VRING_BASE of an unused ring */
uint32_t queue_first_base(const struct queue *queue);

/* VHOST_GET_VRING_BASE, after device_drain() */
int queue_get_base(struct queue *queue, uint32_t *base);

void queue_kick(struct queue *queue);

/* How often the eventfd was signalled since the last call */
uint64_t queue_calls(struct queue *queue);
uint64_t queue_errors(struct queue *queue);

/* Returns false if there was none within seconds. */
bool queue_wait_call(struct queue *queue);

#endif
