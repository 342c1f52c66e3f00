// SPDX-License-Identifier: GPL-2.0-only
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <linux/virtio_config.h>
#include "device.h"

/* One line for each queue; the tests read it. */
static void report(struct device *device)
{
	for (unsigned int i = 0; i < device->type->queues; i++) {
		struct device_ring *ring = &device->queues[i].ring;
		struct ring_statistics *statistics = &ring->statistics;

		if (!device->queues[i].running)
			continue;
		fprintf(stderr, "queue %u: %s%s, size %u, ", i, ring->layout->name,
			ring->in_order ? " in-order" : "", ring->config.size);
		fprintf(stderr, "%lu buffers in %lu used elements, largest batch %u, ",
			statistics->buffers, statistics->elements, statistics->largest_batch);
		fprintf(stderr, "%lu notified, %lu suppressed, %lu kicks\n",
			statistics->notified, statistics->suppressed, statistics->kicks);
	}
}

static void stop(struct device *device)
{
	report(device);
	for (unsigned int i = 0; i < device->type->queues; i++) {
		struct device_queue *queue = &device->queues[i];

		if (!queue->running)
			continue;
		queue->running = false;
		close(queue->eventfd);
	}
	if (device->type->reset)
		device->type->reset(device);
	vduse_unmap(&device->vduse, 0, UINT64_MAX);
}

static void start_queue(struct device *device, unsigned int index, uint64_t features)
{
	struct device_queue *queue = &device->queues[index];
	struct vduse_vq_info info = vduse_queue_info(&device->vduse, index);
	struct ring_config config = {
		.index = index,
		.size = info.num,
		.features = features,
		.max_batch = device->max_batch,
		.desc = info.desc_addr,
		.driver = info.driver_addr,
		.device = info.device_addr,
		.memory = { vduse_at, &device->vduse },
	};

	if (!info.ready)
		return;
	if (!ring_start(&queue->ring, &config))
		errx(1, "queue %u: no ring of %u descriptors is there", index, info.num);
	queue->running = true;
	queue->interrupt = false;
	/* What came before the eventfd, it is told as well; to look once does not hurt */
	queue->kicked = true;
	queue->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (queue->eventfd < 0)
		err(1, "eventfd");
	vduse_set_kick(&device->vduse, index, queue->eventfd);
}

static void start(struct device *device)
{
	uint64_t features = vduse_features(&device->vduse);

	fprintf(stderr, "%s: features 0x%lx\n", device->name, features);
	for (unsigned int i = 0; i < device->type->queues; i++)
		start_queue(device, i, features);
}

static bool is_running(struct device *device)
{
	return device->queues[0].running;
}

static uint32_t get_state(struct device *device, struct vduse_vq_state *state)
{
	struct device_ring *ring;

	if (state->index >= device->type->queues || !device->queues[state->index].running)
		return VDUSE_REQ_RESULT_FAILED;
	ring = &device->queues[state->index].ring;
	if (ring->layout == &split_layout) {
		state->split.avail_index = ring->split.next_avail;
	} else {
		uint64_t used = ring->packed.next_used;

		state->packed.last_avail_counter = ring->packed.avail_wrap;
		state->packed.last_avail_idx = ring->packed.next_avail;
		state->packed.last_used_counter = !(used / ring->config.size % 2);
		state->packed.last_used_idx = used % ring->config.size;
	}
	return VDUSE_REQ_RESULT_OK;
}

static void take_message(struct device *device)
{
	struct vduse_dev_response response = { .result = VDUSE_REQ_RESULT_OK };
	struct vduse_dev_request request;

	if (!vduse_read(&device->vduse, &request))
		return;
	response.request_id = request.request_id;
	switch (request.type) {
	case VDUSE_SET_STATUS:
		if (!request.s.status && is_running(device))
			stop(device);
		else if (request.s.status & VIRTIO_CONFIG_S_DRIVER_OK && !is_running(device))
			start(device);
		break;
	case VDUSE_GET_VQ_STATE:
		response.vq_state.index = request.vq_state.index;
		response.result = get_state(device, &response.vq_state);
		break;
	case VDUSE_UPDATE_IOTLB:
		vduse_unmap(&device->vduse, request.iova.start, request.iova.last);
		break;
	default:
		response.result = VDUSE_REQ_RESULT_FAILED;
	}
	vduse_answer(&device->vduse, &response);
}

void device_publish(struct device *device, unsigned int index)
{
	struct device_queue *queue = &device->queues[index];

	if (ring_publish(&queue->ring))
		queue->interrupt = true;
	if (queue->interrupt && vduse_interrupt(&device->vduse, index))
		queue->interrupt = false;
}

static void serve(struct device *device, unsigned int index)
{
	struct device_queue *queue = &device->queues[index];

	ring_disable_kicks(&queue->ring);
	queue->kicked = device->type->serve(device, index);
	device_publish(device, index);
	/* Buffers that came in between may have been without a kick */
	if (!queue->kicked && ring_enable_kicks(&queue->ring))
		queue->kicked = true;
	if (queue->ring.complaint) {
		queue->kicked = false;
		device->complained = true;
	}
}

static int signal_file(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		err(1, "signalfd");
	return fd;
}

/* SIGUSR1 asks for a report. Returns false at the end. */
static bool take_signal(struct device *device, int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		err(1, "signalfd");
	if (info.ssi_signo == SIGTERM)
		return false;
	report(device);
	return true;
}

/* How long to sleep: -1 as long as nothing happens */
static int patience(struct device *device)
{
	int timeout = -1;

	for (unsigned int i = 0; i < device->type->queues; i++) {
		struct device_queue *queue = &device->queues[i];

		if (!queue->running)
			continue;
		if (queue->kicked)
			return 0;
		if (queue->interrupt)
			timeout = 1;
	}
	return timeout;
}

static int other_file(struct device *device)
{
	return device->type->poll ? device->type->poll(device) : -1;
}

static void serve_queues(struct device *device, const struct pollfd *fds, bool other)
{
	for (unsigned int i = 0; i < device->type->queues; i++) {
		struct device_queue *queue = &device->queues[i];
		uint64_t kicks;

		if (!queue->running)
			continue;
		if (fds[i].revents && read(queue->eventfd, &kicks, sizeof(kicks)) > 0) {
			queue->ring.statistics.kicks += kicks;
			queue->kicked = true;
		}
		if (other && i == device->type->polled_queue)
			queue->kicked = true;
		if (queue->kicked)
			serve(device, i);
		else if (queue->interrupt)
			device_publish(device, i);
	}
}

int device_run(struct device *device)
{
	struct vduse_setup setup = {
		.name = device->name,
		.device_id = device->type->id,
		.features = device->features,
		.queues = device->type->queues,
		.queue_size = device->queue_size,
		.config = device->config,
		.config_size = device->config_size,
	};
	enum { SIGNAL, MESSAGE, OTHER, QUEUE };
	struct pollfd fds[QUEUE + DEVICE_MAX_QUEUES] = {
		[SIGNAL] = { .fd = signal_file(), .events = POLLIN },
	};

	vduse_create(&device->vduse, &setup);
	fds[MESSAGE] = (struct pollfd) { .fd = device->vduse.fd, .events = POLLIN };
	/* The tests wait for this */
	fprintf(stderr, "%s: ready\n", device->name);

	for (;;) {
		fds[OTHER] = (struct pollfd) { .fd = other_file(device), .events = POLLIN };
		for (unsigned int i = 0; i < device->type->queues; i++) {
			struct device_queue *queue = &device->queues[i];

			fds[QUEUE + i].fd = queue->running ? queue->eventfd : -1;
			fds[QUEUE + i].events = POLLIN;
		}
		if (poll(fds, QUEUE + device->type->queues, patience(device)) < 0 && errno != EINTR)
			err(1, "poll");
		if (fds[MESSAGE].revents & POLLERR)
			errx(1, "%s: the kernel gave up on the device", device->name);
		if (fds[MESSAGE].revents) {
			take_message(device);
			/* which may have closed descriptors */
			continue;
		}
		if (fds[SIGNAL].revents && !take_signal(device, fds[SIGNAL].fd))
			break;
		serve_queues(device, &fds[QUEUE], fds[OTHER].revents);
	}

	if (is_running(device))
		stop(device);
	vduse_destroy(&device->vduse);
	return device->complained;
}
