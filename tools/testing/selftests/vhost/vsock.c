// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include "vsock.h"

#define PATTERN		997
#define NOBODY		1

uint8_t vsock_byte_at(uint32_t offset)
{
	return offset % PATTERN * 3;
}

int vsock_set_running(struct vsock_guest *guest, int on)
{
	return ioctl(guest->device.fd, VHOST_VSOCK_SET_RUNNING, &on);
}

unsigned int vsock_cut(const struct vsock_guest *guest, const uint8_t *at, size_t size, bool write,
		       struct segment *segments)
{
	unsigned int n = 1 + random() % 4;

	for (unsigned int i = 0; i < n; i++) {
		size_t len = i + 1 < n ? 1 + random() % (size - (n - i - 1)) : size;

		segments[i] = (struct segment) { memory_gpa(&guest->memory, at), len, write };
		at += len;
		size -= len;
	}
	return n;
}

uint8_t *vsock_slot(struct vsock_guest *guest, int which, uint32_t token)
{
	return guest->slots[which] + token % RING_SIZE * SLOT_SIZE;
}

void rx_fill(struct vsock_guest *guest)
{
	struct segment segments[4];
	unsigned int n;

	do {
		uint32_t token = guest->buffers[RX];
		uint8_t *at = vsock_slot(guest, RX, token);

		/* some are smaller than what the host sends at once */
		n = vsock_cut(guest, at, 200 + random() % (SLOT_SIZE - 200), true, segments);
		if (!ring_add(&guest->ring[RX], segments, n, token))
			break;
		guest->buffers[RX]++;
	} while (true);
	if (ring_kick_needed(&guest->ring[RX]))
		queue_kick(&guest->queue[RX]);
}

bool tx_add(struct vsock_guest *guest, uint16_t op, size_t size)
{
	uint32_t token = guest->buffers[TX];
	uint8_t *at = vsock_slot(guest, TX, token);
	struct virtio_vsock_hdr header = {
		.src_cid = guest->cid,
		.dst_cid = VMADDR_CID_HOST,
		.src_port = GUEST_PORT,
		.dst_port = guest->port,
		.len = size,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = guest->room,
		.fwd_cnt = guest->received,
	};
	struct segment segments[4];
	unsigned int n;

	memcpy(at, &header, HEADER);
	for (size_t i = 0; i < size; i++)
		at[HEADER + i] = vsock_byte_at(guest->sent + i);
	n = vsock_cut(guest, at, HEADER + size, false, segments);
	if (!ring_add(&guest->ring[TX], segments, n, token))
		return false;
	guest->buffers[TX]++;
	guest->sent += size;
	return true;
}

int tx_take(struct vsock_guest *guest)
{
	uint32_t token, len;
	int ret;

	while ((ret = ring_get(&guest->ring[TX], &token, &len)) > 0)
		if (token != guest->buffers[TX] - guest->ring[TX].count - 1 || len)
			return -1;
	return ret;
}

int tx_pass(struct vsock_guest *guest)
{
	if (ring_kick_needed(&guest->ring[TX]))
		queue_kick(&guest->queue[TX]);
	return device_drain(&guest->device) || tx_take(guest) || guest->ring[TX].count ? -1 : 0;
}

/* The room that the host's socket has, full or not */
static uint64_t host_room(const struct vsock_guest *guest)
{
	socklen_t size = sizeof(uint64_t);
	uint64_t room;

	return getsockopt(guest->socket, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &room, &size) ?
	       0 : room;
}

static int rx_packet(struct vsock_guest *guest, const uint8_t *packet, uint32_t len)
{
	struct virtio_vsock_hdr header;

	memcpy(&header, packet, HEADER);
	if (len < HEADER || header.len != len - HEADER || header.src_cid != VMADDR_CID_HOST ||
	    header.dst_cid != guest->cid || header.dst_port != GUEST_PORT ||
	    (guest->port && header.src_port != guest->port)) {
		fprintf(stderr, "# a packet of %u bytes with %u from port %u\n", len, header.len,
			header.src_port);
		return -1;
	}
	/* a packet may have waited since, while more was read from the host's socket */
	if (header.buf_alloc != host_room(guest) || header.fwd_cnt < guest->host_fwd_cnt ||
	    header.fwd_cnt > guest->host_received) {
		fprintf(stderr, "# room for %u bytes, %u of %u read\n", header.buf_alloc,
			header.fwd_cnt, guest->host_received);
		return -1;
	}
	guest->host_fwd_cnt = header.fwd_cnt;
	for (uint32_t i = 0; i < header.len; i++)
		if (packet[HEADER + i] != vsock_byte_at(guest->received + i)) {
			fprintf(stderr, "# wrong byte at %u\n", guest->received + i);
			return -1;
		}
	guest->received += header.len;
	guest->port = header.src_port;
	if (header.op != VIRTIO_VSOCK_OP_CREDIT_UPDATE &&
	    header.op != VIRTIO_VSOCK_OP_CREDIT_REQUEST)
		guest->last_op = header.op;
	return 0;
}

int rx_pass(struct vsock_guest *guest)
{
	uint32_t token, len;
	bool more;
	int ret;

	do {
		if (device_drain(&guest->device))
			return -1;
		more = false;
		while ((ret = ring_get(&guest->ring[RX], &token, &len)) > 0) {
			if (token != guest->buffers[RX] - guest->ring[RX].count - 1 ||
			    rx_packet(guest, vsock_slot(guest, RX, token), len))
				return -1;
			more = true;
		}
		if (ret)
			return -1;
		rx_fill(guest);
	} while (more);
	return 0;
}

int vsock_start_queues(struct vsock_guest *guest, const uint32_t *base)
{
	for (int i = RX; i <= TX; i++)
		if (queue_setup(&guest->queue[i], base[i]))
			return -1;
	return vsock_set_running(guest, 1);
}

int vsock_start(struct vsock_guest *guest, struct ring_kind kind)
{
	uint32_t base[2];

	memset(guest, 0, sizeof(*guest));
	guest->socket = -1;
	guest->room = 1 << 18;
	/* a new one for each test, because old sockets stay active for seconds */
	guest->cid = VMADDR_CID_HOST + getpid();
	guest->features = kind_features(kind);
	if (device_open(&guest->device, VSOCK_DEVICE) || memory_create(&guest->memory) ||
	    device_features(&guest->device, guest->features) ||
	    device_memory(&guest->device, &guest->memory))
		return -1;
	for (int i = RX; i <= TX; i++) {
		guest->slots[i] = memory_alloc(&guest->memory, RING_SIZE * SLOT_SIZE, 1);
		if (!guest->slots[i] ||
		    ring_create(&guest->ring[i], &guest->memory, kind, RING_SIZE) ||
		    queue_create(&guest->queue[i], &guest->device, i, &guest->ring[i]))
			return -1;
		base[i] = queue_first_base(&guest->queue[i]);
	}
	return ioctl(guest->device.fd, VHOST_VSOCK_SET_GUEST_CID, &guest->cid) ? -1 :
	       vsock_start_queues(guest, base);
}

void vsock_end(struct vsock_guest *guest)
{
	close(guest->socket);
	device_close(&guest->device);
	for (int i = RX; i <= TX; i++) {
		queue_destroy(&guest->queue[i]);
		ring_destroy(&guest->ring[i]);
	}
	memory_destroy(&guest->memory);
}

void vsock_packet(const struct vsock_guest *guest, uint8_t *at, uint32_t port)
{
	const struct virtio_vsock_hdr header = {
		.src_cid = guest->cid,
		.dst_cid = VMADDR_CID_HOST,
		.src_port = port,
		.dst_port = NOBODY,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = VIRTIO_VSOCK_OP_RW,
	};

	memcpy(at, &header, HEADER);
}
