// SPDX-License-Identifier: GPL-2.0-only
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <linux/virtio_config.h>
#include "device.h"

static void report(struct device *device)
{
	for (unsigned int i = 0; i < device->type->queues; i++)
		if (device->queues[i].running)
			device->type->worker->report(device, i);
}

static void stop(struct device *device)
{
	report(device);
	for (unsigned int i = 0; i < device->type->queues; i++) {
		struct device_queue *queue = &device->queues[i];

		if (!queue->running)
			continue;
		device->type->worker->stop(device, i);
		queue->running = false;
		close(queue->kick);
	}
	if (device->type->reset)
		device->type->reset(device);
	vduse_unmap(&device->vduse, 0, UINT64_MAX);
}

static void start_queue(struct device *device, unsigned int index)
{
	struct device_queue *queue = &device->queues[index];
	struct vduse_vq_info info = vduse_queue_info(&device->vduse, index);

	if (!info.ready)
		return;
	queue->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (queue->kick < 0)
		err(1, "eventfd");
	queue->interrupt = false;
	device->type->worker->start(device, index, &info);
	queue->running = true;
	vduse_set_kick(&device->vduse, index, queue->kick);
}

static void start(struct device *device)
{
	fprintf(stderr, "%s: features 0x%lx\n", device->name, vduse_features(&device->vduse));
	if (device->type->worker->begin)
		device->type->worker->begin(device);
	for (unsigned int i = 0; i < device->type->queues; i++)
		start_queue(device, i);
}

static bool is_running(struct device *device)
{
	return device->queues[0].running;
}

static bool get_state(struct device *device, struct vduse_vq_state *state)
{
	if (state->index >= device->type->queues || !device->queues[state->index].running)
		return false;
	device->type->worker->state(device, state->index, state);
	return true;
}

static bool move(struct device *device, uint64_t start, uint64_t last)
{
	if (!is_running(device))
		return true;
	if (!device->type->worker->moved)
		return false;
	device->type->worker->moved(device, start, last);
	return true;
}

static void take_message(struct device *device)
{
	struct vduse_dev_response response = {};
	struct vduse_dev_request request;
	bool ok = true;

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
		ok = get_state(device, &response.vq_state);
		break;
	case VDUSE_UPDATE_IOTLB:
		ok = move(device, request.iova.start, request.iova.last);
		break;
	default:
		ok = false;
	}
	response.result = ok ? VDUSE_REQ_RESULT_OK : VDUSE_REQ_RESULT_FAILED;
	vduse_answer(&device->vduse, &response);
}

void device_interrupt(struct device *device, unsigned int index)
{
	struct device_queue *queue = &device->queues[index];

	queue->interrupt = !vduse_interrupt(&device->vduse, index);
}

/* Retry interrupts that came too early. Returns how long to sleep; -1: no limit. */
static int interrupt_again(struct device *device)
{
	int patience = -1;

	for (unsigned int i = 0; i < device->type->queues; i++) {
		struct device_queue *queue = &device->queues[i];

		if (!queue->running || !queue->interrupt)
			continue;
		device_interrupt(device, i);
		if (queue->interrupt)
			patience = 1;
	}
	return patience;
}

static int signal_file(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		err(1, "signalfd");
	return fd;
}

/* Returns false if the task has to end. */
static bool take_signal(struct device *device, int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		err(1, "signalfd");
	switch (info.ssi_signo) {
	case SIGTERM:
		return false;
	case SIGUSR1:
		report(device);
		break;
	case SIGUSR2:
		if (!move(device, 0, UINT64_MAX))
			warnx("%s: the memory cannot move", device->name);
		/* The tests wait for this */
		fprintf(stderr, "%s: moved\n", device->name);
	}
	return true;
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
	enum { SIGNAL, MESSAGE, WORKER };
	struct pollfd fds[WORKER + WORKER_FILES] = {
		[SIGNAL] = { .fd = signal_file(), .events = POLLIN },
	};
	const struct queue_worker *worker = device->type->worker;

	vduse_create(&device->vduse, &setup);
	fds[MESSAGE] = (struct pollfd) { .fd = device->vduse.fd, .events = POLLIN };
	/* The tests wait for this */
	fprintf(stderr, "%s: ready\n", device->name);

	for (;;) {
		int patience = interrupt_again(device);
		unsigned int files = worker->wait(device, &fds[WORKER], &patience);

		if (poll(fds, WORKER + files, patience) < 0 && errno != EINTR)
			err(1, "poll");
		if (fds[MESSAGE].revents & POLLERR)
			errx(1, "%s: the kernel has given up on the device", device->name);
		if (fds[MESSAGE].revents) {
			take_message(device);
			/* it may have closed file descriptors */
			continue;
		}
		if (fds[SIGNAL].revents && !take_signal(device, fds[SIGNAL].fd))
			break;
		worker->work(device, &fds[WORKER]);
	}

	if (is_running(device))
		stop(device);
	vduse_destroy(&device->vduse);
	return device->complained;
}
