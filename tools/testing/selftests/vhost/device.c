// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include "device.h"

#define TIMEOUT_MS	5000
#define TURNS		3

uint64_t kind_features(struct ring_kind kind)
{
	return BIT(VIRTIO_F_VERSION_1) |
		(kind.packed ? BIT(VIRTIO_F_RING_PACKED) : 0) |
		(kind.in_order ? BIT(VIRTIO_F_IN_ORDER) : 0) |
		(kind.indirect ? BIT(VIRTIO_RING_F_INDIRECT_DESC) : 0) |
		(kind.event_idx ? BIT(VIRTIO_RING_F_EVENT_IDX) : 0);
}

int device_open(struct device *device, const char *path)
{
	device->fd = open(path, O_RDWR | O_CLOEXEC);
	if (device->fd < 0)
		return -1;
	device->log = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (device->log >= 0 && !ioctl(device->fd, VHOST_SET_OWNER) &&
	    !ioctl(device->fd, VHOST_GET_FEATURES, &device->offered))
		return 0;
	device_close(device);
	return -1;
}

void device_close(struct device *device)
{
	int error = errno;

	if (device->fd >= 0) {
		close(device->fd);
		close(device->log);
	}
	device->fd = -1;
	errno = error;
}

int device_features(struct device *device, uint64_t features)
{
	return ioctl(device->fd, VHOST_SET_FEATURES, &features);
}

int device_memory(struct device *device, const struct memory *memory)
{
	struct vhost_memory *table = memory_table(memory);
	int ret;

	if (!table)
		return -1;
	ret = ioctl(device->fd, VHOST_SET_MEM_TABLE, table);
	free(table);
	return ret;
}

int device_start_log(struct device *device, uint64_t features, void *log)
{
	uint64_t at = (uintptr_t)log;

	return ioctl(device->fd, VHOST_SET_LOG_BASE, &at) ||
	       device_features(device, features | BIT(VHOST_F_LOG_ALL)) ? -1 : 0;
}

int device_drain(struct device *device)
{
	/*
	 * An ioctl that changes the whole device flushes it, even if nothing changes. Work that
	 * the device interrupts because it takes too long is queued again for the next flush.
	 */
	for (int i = 0; i < TURNS; i++)
		if (ioctl(device->fd, VHOST_SET_LOG_FD, &device->log))
			return -1;
	return 0;
}

int queue_create(struct queue *queue, struct device *device, unsigned int index,
		 struct ring *ring)
{
	*queue = (struct queue) { device, index, ring };
	queue->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	queue->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	queue->error = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (queue->kick >= 0 && queue->call >= 0 && queue->error >= 0)
		return 0;
	queue_destroy(queue);
	return -1;
}

void queue_destroy(struct queue *queue)
{
	close(queue->kick);
	close(queue->call);
	close(queue->error);
}

static int set_state(struct queue *queue, unsigned long request, unsigned int num)
{
	struct vhost_vring_state state = { queue->index, num };

	return ioctl(queue->device->fd, request, &state);
}

static int set_file(struct queue *queue, unsigned long request, int fd)
{
	struct vhost_vring_file file = { queue->index, fd };

	return ioctl(queue->device->fd, request, &file);
}

int queue_num(struct queue *queue, unsigned int num)
{
	return set_state(queue, VHOST_SET_VRING_NUM, num);
}

int queue_set_base(struct queue *queue, uint32_t base)
{
	return set_state(queue, VHOST_SET_VRING_BASE, base);
}

static int set_address(struct queue *queue, struct vhost_vring_addr address)
{
	address.index = queue->index;
	return ioctl(queue->device->fd, VHOST_SET_VRING_ADDR, &address);
}

int queue_address(struct queue *queue, uint64_t desc, uint64_t driver, uint64_t device)
{
	return set_address(queue, (struct vhost_vring_addr) {
				   .desc_user_addr = desc,
				   .avail_user_addr = driver,
				   .used_user_addr = device,
			   });
}

static struct vhost_vring_addr ring_address(const struct queue *queue)
{
	const struct ring *ring = queue->ring;
	uint64_t base = queue->iova ? MEMORY_GPA - (uintptr_t)ring->memory->base : 0;

	return (struct vhost_vring_addr) {
		.desc_user_addr = base + (uintptr_t)ring->desc,
		.avail_user_addr = base + (uintptr_t)ring->driver,
		.used_user_addr = base + (uintptr_t)ring->device,
	};
}

int queue_ring_address(struct queue *queue)
{
	return set_address(queue, ring_address(queue));
}

int queue_log_address(struct queue *queue)
{
	struct vhost_vring_addr address = ring_address(queue);

	address.flags = BIT(VHOST_VRING_F_LOG);
	address.log_guest_addr = memory_gpa(queue->ring->memory, queue->ring->device);
	return set_address(queue, address);
}

int queue_backend(struct queue *queue, int fd)
{
	return set_file(queue, VHOST_NET_SET_BACKEND, fd);
}

int queue_set_call(struct queue *queue, int fd)
{
	return set_file(queue, VHOST_SET_VRING_CALL, fd);
}

int queue_busyloop_timeout(struct queue *queue, unsigned int timeout)
{
	return set_state(queue, VHOST_SET_VRING_BUSYLOOP_TIMEOUT, timeout);
}

int queue_setup(struct queue *queue, uint32_t base)
{
	return queue_set_base(queue, base) || queue_setup_no_base(queue) ? -1 : 0;
}

int queue_setup_no_base(struct queue *queue)
{
	return queue_num(queue, queue->ring->num) || queue_ring_address(queue) ||
	       set_file(queue, VHOST_SET_VRING_KICK, queue->kick) ||
	       set_file(queue, VHOST_SET_VRING_CALL, queue->call) ||
	       set_file(queue, VHOST_SET_VRING_ERR, queue->error) ? -1 : 0;
}

uint32_t queue_first_base(const struct queue *queue)
{
	return queue->ring->kind.packed ? RING_WRAP << 16 | RING_WRAP : 0;
}

int queue_get_base(struct queue *queue, uint32_t *base)
{
	struct vhost_vring_state state = { queue->index };

	if (device_drain(queue->device) || ioctl(queue->device->fd, VHOST_GET_VRING_BASE, &state))
		return -1;
	*base = state.num;
	return 0;
}

void queue_kick(struct queue *queue)
{
	eventfd_write(queue->kick, 1);
}

static uint64_t count(int fd)
{
	eventfd_t n;

	return eventfd_read(fd, &n) ? 0 : n;
}

uint64_t queue_calls(struct queue *queue)
{
	return count(queue->call);
}

uint64_t queue_errors(struct queue *queue)
{
	return count(queue->error);
}

bool queue_wait_call(struct queue *queue)
{
	struct pollfd pollfd = { queue->call, POLLIN };

	return poll(&pollfd, 1, TIMEOUT_MS) == 1 && queue_calls(queue);
}
