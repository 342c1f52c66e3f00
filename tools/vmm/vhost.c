// SPDX-License-Identifier: GPL-2.0-only
#include "vhost.h"

#include <err.h>
#include <poll.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "confine.h"
#include "kill_point.h"
#include "util.h"

/* At first: no number of queues has all these bits, so a request is made. */
#define NOT_KNOWN	~0U

static struct vhost_device *to_vhost(struct virtio_mmio *mmio)
{
	return (struct vhost_device *)((char *)mmio - offsetof(struct vhost_device, mmio));
}

static uint32_t running(const struct virtio_mmio *mmio)
{
	uint32_t bits = 0;
	unsigned int n;

	for (n = 0; n < mmio->nr_queues; n++)
		bits |= (uint32_t)mmio->queues[n].running << n;
	return bits;
}

static int ask(struct vhost_device *v, uint32_t bits)
{
	struct vhost_request request = {
		.features = v->device.state->mmio.driver_features,
		.running = bits,
	};
	int32_t response;

	memcpy(request.queues, v->device.state->queues, sizeof(request.queues));
	if (write(DEVICE_BACKEND_FD, &request, sizeof(request)) != sizeof(request) ||
	    read(DEVICE_BACKEND_FD, &response, sizeof(response)) != sizeof(response))
		errx(EXIT_FAILURE, "the VMM does not respond");
	v->running = bits;
	return response;
}

static void forget_errors(void)
{
	uint64_t count;
	ssize_t n;

	/* Fails if there is none. */
	n = read(VHOST_ERROR_FD, &count, sizeof(count));
	(void)n;
}

/*
 * Have vhost run what is running here. All that led to it has been stored, so a successor
 * would make the same request. When no ring runs any more no error can come, and those that
 * have come are the past's.
 */
static void update(struct vhost_device *v)
{
	uint32_t bits = running(&v->mmio);

	if (bits == v->running)
		return;
	kill_point();
	if (ask(v, bits)) {
		virtio_mmio_needs_reset(&v->mmio);
		/* The driver would take back memory that is still written to. */
		if (ask(v, 0))
			errx(EXIT_FAILURE, "the VMM cannot stop the rings");
	}
	kill_point();
	if (!v->running)
		forget_errors();
	kill_point();
}

/* The status is stored before the error is forgotten: a successor finds one or both. */
static void *error_thread(void *arg)
{
	struct pollfd p = { .fd = VHOST_ERROR_FD, .events = POLLIN };
	struct vhost_device *v = arg;
	bool warned = false;

	for (;;) {
		if (poll(&p, 1, -1) != 1)
			continue;
		pthread_mutex_lock(&v->lock);
		/* Not if the driver has reset the device meanwhile. */
		if (poll(&p, 1, 0) == 1) {
			/* A guest may cause it again and again. */
			if (!warned)
				warnx("%.*s: vhost reports an error of a ring",
				      (int)sizeof(v->device.args.serial), v->device.args.serial);
			warned = true;
			virtio_mmio_needs_reset(&v->mmio);
			update(v);
			forget_errors();
		}
		pthread_mutex_unlock(&v->lock);
	}
	return NULL;
}

/* For virtio_mmio.c. What it starts begins to run at the end of the command. */

static void nothing(struct virtio_mmio *mmio, unsigned int n)
{
	(void)mmio;
	(void)n;
}

static void drain(struct virtio_mmio *mmio, unsigned int n)
{
	(void)n;
	update(to_vhost(mmio));
}

static const struct virtio_device_ops vhost_ops = {
	.start = nothing,
	/* Kicks are for vhost, by ioeventfd. A queue that has none is not used. */
	.kick = nothing,
	.drain = drain,
};

static struct vhost_device *this_vhost;

static uint16_t command(void *base, const struct ioregionfd_cmd *cmd, uint64_t *value)
{
	struct vhost_device *v = this_vhost;
	uint16_t status;

	pthread_mutex_lock(&v->lock);
	device_count(&v->device, cmd);
	kill_point();
	status = virtio_mmio_command(&v->mmio, (uintptr_t)base, cmd, value);
	update(v);
	kill_point();
	pthread_mutex_unlock(&v->lock);
	return status;
}

void vhost_init(struct vhost_device *v)
{
	static const struct ioregionfd_ops ops = { .command = command };

	this_vhost = v;
	device_init(&v->device);
	virtio_mmio_init(&v->mmio, &v->device);
	virtio_mmio_register(&v->device, &ops);
	v->mmio.ops = &vhost_ops;
	v->mmio.used_elsewhere = true;
	v->running = NOT_KNOWN;
	pthread_mutex_init(&v->lock, NULL);
}

void vhost_serve(struct vhost_device *v)
{
	static const int syscalls[] = {
		SCMP_SYS(poll),
		/* a socket as a channel */
		SCMP_SYS(recvfrom), SCMP_SYS(sendto),
	};

	pthread_mutex_lock(&v->lock);
	confine_with_thread(v->device.args.id, syscalls, ARRAY_SIZE(syscalls), DEVICE_CHANNEL_FD,
			    error_thread, v);
	virtio_mmio_start(&v->mmio);
	update(v);
	pthread_mutex_unlock(&v->lock);
	device_serve(&v->device);
	_exit(EXIT_SUCCESS);
}
