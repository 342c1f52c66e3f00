// SPDX-License-Identifier: GPL-2.0-only
/* virtio-net on a tap device, with one queue for each direction */
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/uio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include "device.h"
#include "net.h"

#define FRAME_MAX	65536
/* Maximum number of buffers for one frame */
#define RX_BUFFERS	64
#define HEADER		sizeof(struct virtio_net_hdr_v1)

struct net {
	int tap;
	struct virtio_net_config config;
	struct ring_buffer buffer;

	/* A header and a frame that is on its way to the driver */
	uint8_t frame[HEADER + FRAME_MAX];
	size_t length;			/* 0: there is none */
	/* and the buffers for it that the driver has provided so far */
	struct ring_buffer rx[RX_BUFFERS];
	unsigned int rx_count;
	size_t rx_room;
};

static void net_open(struct device *device, const char *name)
{
	struct net *net = calloc(1, sizeof(*net));

	if (!net)
		err(1, "virtio-net");
	net->tap = tap_open(name, 0);
	net_config(device, &net->config);
	device->state = net;
}

/* Send a frame to the tap device for each buffer. */
static bool serve_tx(struct device *device)
{
	struct device_ring *ring = &device->queues[TX].ring;
	struct net *net = device->state;
	struct ring_buffer *buffer = &net->buffer;

	for (unsigned int i = 0; i < ring->config.size; i++) {
		unsigned int count;

		if (ring_take(ring, buffer) <= 0)
			return false;
		if (buffer->num_in) {
			ring_complain(ring, "a writable transmit buffer");
			return false;
		}
		count = iov_trim(buffer->iov, buffer->num_out, HEADER, SIZE_MAX);
		if (writev(net->tap, buffer->iov, count) < 0)
			warn("write to the tap device");
		ring_complete(ring, buffer, 0);
	}
	return true;
}

static bool mergeable(const struct device_ring *ring)
{
	return ring->config.features & (1ULL << VIRTIO_NET_F_MRG_RXBUF);
}

/* Returns whether there are enough buffers for the frame. */
static bool take_rx_buffers(struct net *net, struct device_ring *ring)
{
	while (net->rx_room < HEADER + net->length) {
		struct ring_buffer *buffer = &net->rx[net->rx_count];

		if (net->rx_count == (mergeable(ring) ? RX_BUFFERS : 1)) {
			ring_complain(ring, "receive buffers too small for a frame");
			return false;
		}
		if (ring_take(ring, buffer) <= 0)
			return false;
		if (buffer->num_out) {
			ring_complain(ring, "a receive buffer with readable segments");
			return false;
		}
		net->rx_count++;
		net->rx_room += buffer->writable;
	}
	return true;
}

static void fill_rx_buffers(struct net *net, struct device_ring *ring)
{
	struct virtio_net_hdr_v1 header = { .num_buffers = htole16(net->rx_count) };
	size_t length = HEADER + net->length, done = 0;

	memcpy(net->frame, &header, HEADER);
	for (unsigned int i = 0; i < net->rx_count; i++) {
		struct ring_buffer *buffer = &net->rx[i];
		size_t written = iov_write(buffer->iov, buffer->num_in, 0, net->frame + done,
					   length - done);

		ring_complete(ring, buffer, written);
		done += written;
	}
	net->length = 0;
	net->rx_count = 0;
	net->rx_room = 0;
}

static bool serve_rx(struct device *device)
{
	struct device_ring *ring = &device->queues[RX].ring;
	struct net *net = device->state;

	for (unsigned int i = 0; i < ring->config.size; i++) {
		if (!net->length) {
			ssize_t length = read(net->tap, net->frame + HEADER, FRAME_MAX);

			if (length < 0 && errno == EAGAIN)
				return false;
			if (length <= 0)
				err(1, "read from the tap device");
			net->length = length;
		}
		if (!take_rx_buffers(net, ring))
			return false;
		fill_rx_buffers(net, ring);
	}
	return true;
}

static bool net_serve(struct device *device, unsigned int index)
{
	return index == RX ? serve_rx(device) : serve_tx(device);
}

static void net_reset(struct device *device)
{
	struct net *net = device->state;

	net->length = 0;
	net->rx_count = 0;
	net->rx_room = 0;
}

/* A frame that waits for buffers waits for a kick. */
static int net_poll(struct device *device)
{
	struct net *net = device->state;

	return net->length || !device->queues[RX].running ? -1 : net->tap;
}

const struct device_type net_type = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.queues = 2,
	.worker = &task_worker,
	.open = net_open,
	.serve = net_serve,
	.reset = net_reset,
	.poll = net_poll,
	.polled_queue = RX,
};
