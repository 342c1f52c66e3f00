// SPDX-License-Identifier: GPL-2.0-only
/* Virtqueues that this task works on */
#include <err.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>
#include "device.h"

static void serve_report(struct device *device, unsigned int index)
{
	struct device_ring *ring = &device->queues[index].ring;
	struct ring_statistics *statistics = &ring->statistics;

	fprintf(stderr, "queue %u: %s%s, size %u, ", index, ring->layout->name,
		ring->in_order ? " in-order" : "", ring->config.size);
	fprintf(stderr, "%lu buffers in %lu used elements, largest batch %u, ",
		statistics->buffers, statistics->elements, statistics->largest_batch);
	fprintf(stderr, "%lu notified, %lu suppressed, %lu kicks\n",
		statistics->notified, statistics->suppressed, statistics->kicks);
}

static void serve_start(struct device *device, unsigned int index,
			const struct vduse_vq_info *info)
{
	struct device_queue *queue = &device->queues[index];
	struct ring_config config = {
		.index = index,
		.size = info->num,
		.features = vduse_features(&device->vduse),
		.max_batch = device->max_batch,
		.desc = info->desc_addr,
		.driver = info->driver_addr,
		.device = info->device_addr,
		.memory = { vduse_at, &device->vduse },
	};

	if (!ring_start(&queue->ring, &config))
		errx(1, "queue %u: no memory for a ring of %u descriptors", index, info->num);
	/* There may be kicks from before the eventfd was set; looking once does no harm. */
	queue->kicked = true;
}

/* Nothing is in progress between calls of serve_work(). */
static void serve_stop(struct device *device, unsigned int index)
{
	device->queues[index].kicked = false;
}

static void serve_state(struct device *device, unsigned int index, struct vduse_vq_state *state)
{
	const struct device_ring *ring = &device->queues[index].ring;

	if (ring->layout == &split_layout) {
		state->split.avail_index = ring->next_avail;
		return;
	}
	state->packed.last_avail_counter = !!(ring->next_avail & RING_WRAP);
	state->packed.last_avail_idx = ring->next_avail & ~RING_WRAP;
	state->packed.last_used_counter = !!(ring->next_used & RING_WRAP);
	state->packed.last_used_idx = ring->next_used & ~RING_WRAP;
}

static void serve(struct device *device, unsigned int index)
{
	struct device_queue *queue = &device->queues[index];

	ring_disable_kicks(&queue->ring);
	queue->kicked = device->type->serve(device, index);
	if (ring_publish(&queue->ring))
		device_interrupt(device, index);
	/* Buffers may have been added without a kick meanwhile. */
	if (!queue->kicked && ring_enable_kicks(&queue->ring))
		queue->kicked = true;
	if (queue->ring.complaint) {
		queue->kicked = false;
		device->complained = true;
	}
}

static unsigned int serve_wait(struct device *device, struct pollfd *fds, int *patience)
{
	unsigned int queues = device->type->queues;

	for (unsigned int i = 0; i < queues; i++) {
		struct device_queue *queue = &device->queues[i];

		fds[i].fd = queue->running ? queue->kick : -1;
		fds[i].events = POLLIN;
		if (queue->kicked)
			*patience = 0;
	}
	fds[queues].fd = device->type->poll ? device->type->poll(device) : -1;
	fds[queues].events = POLLIN;
	return queues + 1;
}

static void serve_work(struct device *device, const struct pollfd *fds)
{
	bool other = fds[device->type->queues].revents;

	for (unsigned int i = 0; i < device->type->queues; i++) {
		struct device_queue *queue = &device->queues[i];
		uint64_t kicks;

		if (!queue->running)
			continue;
		if (fds[i].revents && read(queue->kick, &kicks, sizeof(kicks)) > 0) {
			queue->ring.statistics.kicks += kicks;
			queue->kicked = true;
		}
		if (other && i == device->type->polled_queue)
			queue->kicked = true;
		if (queue->kicked)
			serve(device, i);
	}
}

const struct queue_worker task_worker = {
	.start = serve_start,
	.stop = serve_stop,
	.state = serve_state,
	.report = serve_report,
	.wait = serve_wait,
	.work = serve_work,
};
