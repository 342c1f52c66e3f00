// SPDX-License-Identifier: GPL-2.0-only
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../kselftest.h"
#include "net.h"

size_t net_frame_size(const struct net *net, uint32_t number)
{
	return net->least + number * 1237UL % (net->most - net->least + 1);
}

uint8_t *net_slot(struct net *net, int which, uint32_t token)
{
	return net->slots[which] + token % SLOTS * SLOT_SIZE;
}

/* Cut the data at @at into this many segments, none of which is empty. */
static void net_cut(const struct net *net, const uint8_t *at, size_t size, bool write,
		    struct segment *segments, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		size_t len = i + 1 < n ? 1 + random() % (size - (n - i - 1)) : size;

		segments[i] = (struct segment) { memory_gpa(&net->memory, at), len, write };
		at += len;
		size -= len;
	}
}

int net_start_queue(struct net *net, int which, uint32_t base)
{
	return queue_setup(&net->queue[which], base) ||
	       queue_backend(&net->queue[which], net->tap.fd) ? -1 : 0;
}

int net_start_device(struct net *net)
{
	if (device_open(&net->device, NET_DEVICE))
		return -1;
	return device_features(&net->device, net->features) ||
	       device_memory(&net->device, &net->memory) ? -1 : 0;
}

bool net_have_zcopy(void)
{
	int file = open("/sys/module/vhost_net/parameters/experimental_zcopytx",
			O_RDONLY | O_CLOEXEC);
	char c = '0';

	if (file >= 0 && read(file, &c, 1) == 1)
		close(file);
	return c == '1';
}

int net_prepare(struct net *net, struct ring_kind kind, bool mergeable, unsigned int num)
{
	memset(net, 0, sizeof(*net));
	net->mergeable = mergeable;
	net->zcopy = net_have_zcopy();
	net->features = kind_features(kind) | (mergeable ? BIT(VIRTIO_NET_F_MRG_RXBUF) : 0);
	net->least = FRAME_LEAST;
	net->most = FRAME_MOST;
	if (tap_create(&net->tap) || memory_create(&net->memory))
		return -1;
	for (int i = RX; i <= TX; i++) {
		net->slots[i] = memory_alloc(&net->memory, SLOTS * SLOT_SIZE, PAGE);
		if (!net->slots[i] || ring_create(&net->ring[i], &net->memory, kind, num) ||
		    queue_create(&net->queue[i], &net->device, i, &net->ring[i]))
			return -1;
	}
	return 0;
}

int net_start(struct net *net)
{
	return net_start_device(net) ||
	       net_start_queue(net, RX, queue_first_base(&net->queue[RX])) ||
	       net_start_queue(net, TX, queue_first_base(&net->queue[TX])) ||
	       /* it looks at the virtqueues immediately */
	       device_drain(&net->device) ? -1 : 0;
}

void net_end(struct net *net)
{
	device_close(&net->device);
	for (int i = RX; i <= TX; i++) {
		queue_destroy(&net->queue[i]);
		ring_destroy(&net->ring[i]);
	}
	memory_destroy(&net->memory);
	tap_destroy(&net->tap);
}

void net_kick_if_needed(struct net *net, int which)
{
	if (ring_kick_needed(&net->ring[which]))
		queue_kick(&net->queue[which]);
}

/* Send the next frame in this many segments. */
bool tx_add_in(struct net *net, unsigned int n)
{
	uint32_t number = net->sent[TX];
	size_t size = net_frame_size(net, number);
	uint8_t *at = net_slot(net, TX, number);
	struct segment segments[8];

	if (net->ring[TX].count == SLOTS)
		return false;
	memset(at, 0, NET_HEADER);
	frame_make(at + NET_HEADER, number, size);
	net_cut(net, at, NET_HEADER + size, false, segments, n);
	if (!ring_add(&net->ring[TX], segments, n, number))
		return false;
	net->sent[TX]++;
	return true;
}

bool tx_add(struct net *net)
{
	return tx_add_in(net, 1 + random() % 8);
}

/* Take back the buffers of sent frames. Returns how many, or -1. */
int tx_take(struct net *net)
{
	uint32_t token, len;
	int ret, n = 0;

	while ((ret = ring_get(&net->ring[TX], &token, &len)) > 0) {
		if (token != net->sent[TX] - net->ring[TX].count - 1 || len)
			return -1;
		n++;
	}
	return ret ?: n;
}

/* All frames up to this one must have reached the host. */
int tx_check_until(struct net *net, uint32_t end)
{
	while (net->received[TX] != end) {
		uint32_t number = net->received[TX]++;

		if (tap_receive(&net->tap, number, net_frame_size(net, number)))
			return -1;
	}
	return 0;
}

/* Everything that was sent must have arrived, and nothing else. */
int tx_check(struct net *net)
{
	return tx_check_until(net, net->sent[TX]) || !tap_is_empty(&net->tap) ? -1 : 0;
}

int tx_pass(struct net *net)
{
	unsigned int count = net->ring[TX].count;

	net_kick_if_needed(net, TX);
	return device_drain(&net->device) || tx_take(net) != count || tx_check(net) ? -1 : 0;
}

/* Add a receive buffer. */
bool rx_add(struct net *net, size_t size)
{
	uint32_t token = net->buffers[RX];
	uint8_t *at = net_slot(net, RX, token);
	struct segment segments[4];
	unsigned int n = 1 + random() % ARRAY_SIZE(segments);

	if (net->ring[RX].count == SLOTS)
		return false;
	memset(at, FRAME_NEVER, SLOT_SIZE);
	net_cut(net, at, size, true, segments, n);
	if (!ring_add(&net->ring[RX], segments, n, token))
		return false;
	net->buffers[RX]++;
	return true;
}

void rx_fill(struct net *net)
{
	size_t size;

	do
		size = net->mergeable ? 200 + random() % 1800 : NET_HEADER + FRAME_MOST;
	while (rx_add(net, size));
}

/*
 * Take one of the buffers that a frame is in, and copy it to @frame. Returns its length, 0 if
 * there is none, or -1. @full: has the device written to all of it?
 */
static int rx_take_buffer(struct net *net, uint8_t *frame, size_t room, bool *full)
{
	uint32_t token, len, expected = net->buffers[RX] - net->ring[RX].count;
	uint32_t writable = ring_buffer(&net->ring[RX], 0)->writable;
	int ret = ring_get(&net->ring[RX], &token, &len);

	if (ret <= 0)
		return ret;
	if (token != expected || !len || len > room) {
		fprintf(stderr, "# buffer %u of %u bytes, expected %u\n", token, len, expected);
		return -1;
	}
	memcpy(frame, net_slot(net, RX, token), len);
	*full = len == writable;
	return len;
}

/* Take all received frames. Returns how many, or -1. */
int rx_take(struct net *net)
{
	static uint8_t frame[NET_HEADER + FRAME_MOST + SLOT_SIZE];
	int n;

	for (n = 0; ; n++) {
		const struct virtio_net_hdr_v1 *header = (void *)frame;
		bool full;
		int length = rx_take_buffer(net, frame, sizeof(frame), &full), more;
		unsigned int buffers;
		uint32_t number;

		if (length <= 0)
			return length ?: n;
		buffers = net->mergeable ? header->num_buffers : 1;
		/* the other buffers must be there when the first one is */
		for (unsigned int i = 1; i < buffers; i++) {
			if (!full) {
				fprintf(stderr, "# buffer %u of %u is not full\n", i, buffers);
				return -1;
			}
			more = rx_take_buffer(net, frame + length, sizeof(frame) - length, &full);
			if (more <= 0) {
				fprintf(stderr, "# %u buffers of %u\n", i, buffers);
				return -1;
			}
			length += more;
		}
		number = net->received[RX]++;
		if (length < NET_HEADER ||
		    frame_check(frame + NET_HEADER, length - NET_HEADER, number,
				net_frame_size(net, number)))
			return -1;
	}
}

int rx_send(struct net *net)
{
	uint32_t number = net->sent[RX]++;

	return tap_send(&net->tap, number, net_frame_size(net, number));
}

int rx_pass(struct net *net, unsigned int frames)
{
	net_kick_if_needed(net, RX);
	for (unsigned int i = 0; i < frames; i++)
		if (rx_send(net))
			return -1;
	return device_drain(&net->device) || rx_take(net) != frames ? -1 : 0;
}
