// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations on rings, and on the other ends: the tap, the host's sockets
 */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <linux/virtio_net.h>
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include "fuzz.h"
#include "tap.h"

#define HEADER		sizeof(struct virtio_vsock_hdr)
/* What a guest has room for, as it says */
#define ROOM		65536
#define NOBODY		1

/* For the first buffers only */
static void random_bytes(struct actor *a, uint8_t *at, size_t n)
{
	while (n--)
		*at++ = fuzz_next(a);
}

static size_t frame(struct actor *a, uint8_t *at)
{
	size_t size = FRAME_LEAST + below(a, BUFFER_SIZE - NET_HEADER - FRAME_LEAST);

	memset(at, 0, NET_HEADER);
	if (one_in(a, 16))
		random_bytes(a, at, NET_HEADER);
	frame_make(at + NET_HEADER, below(a, 65536), size);
	return NET_HEADER + size;
}

/* A packet of the guest's, to somebody who listens or to nobody */
static size_t packet(struct actor *a, uint8_t *at, uint16_t op, uint32_t src, uint32_t dst)
{
	size_t size = op == VIRTIO_VSOCK_OP_RW ? below(a, BUFFER_SIZE - HEADER) : 0;
	struct virtio_vsock_hdr header = {
		.src_cid = a->device->cid,
		.dst_cid = VMADDR_CID_HOST,
		.src_port = src,
		.dst_port = dst,
		.len = size,
		.type = one_in(a, 4) ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = ROOM,
		.fwd_cnt = below(a, 2) * ROOM,
	};

	memcpy(at, &header, HEADER);
	if (one_in(a, 16))
		random_bytes(a, at + below(a, HEADER), 1 + below(a, 4));
	return HEADER + size;
}

static size_t some_packet(struct actor *a, uint8_t *at)
{
	uint16_t op = one_of(a, VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_OP_RW,
			     VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_OP_SHUTDOWN,
			     VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_REQUEST);

	return packet(a, at, op, 1024 + below(a, 4), one_in(a, 4) ? NOBODY : LISTEN_PORT);
}

/* What a driver adds next, with this many bytes at @at */
static size_t content(struct actor *a, uint8_t *at)
{
	if (a->device->kind == NET && a->queue)
		return frame(a, at);
	if (a->device->kind == VSOCK && a->queue)
		return some_packet(a, at);
	return one_in(a, 4) ? 1 + below(a, BUFFER_SIZE) : BUFFER_SIZE;
}

/* Add a buffer of this many bytes, in some segments. */
static bool add(struct actor *a, uint8_t *at, size_t size, uint32_t token)
{
	bool write = !a->queue && a->device->kind != TEST;
	unsigned int n = 1 + (one_in(a, 8) ? below(a, SEGMENTS_MAX) : below(a, 4));
	struct segment segments[SEGMENTS_MAX];
	uint64_t gpa = memory_gpa(&fuzz.memory, at);
	size_t part;

	if (n > size)
		n = size;
	part = size / n;
	for (unsigned int i = 0; i < n; i++)
		segments[i] = (struct segment) { gpa + i * part, part, write };
	segments[n - 1].len = size - (n - 1) * part;
	return ring_add(&a->device->ring[a->queue], segments, n, token);
}

static uint8_t *buffer_of(struct actor *a, uint32_t token)
{
	return a->device->buffers[a->queue] + token % NR_BUFFERS * BUFFER_SIZE;
}

static int kick(struct actor *a)
{
	return eventfd_write(fuzz_fd(&a->device->kick[a->queue]), 1);
}

/* Some buffers, as a proper driver adds them */
static long do_add(struct actor *a)
{
	struct ring *ring = &a->device->ring[a->queue];
	uint32_t *next = &a->device->next[a->queue];
	long i, n = 1 + below(a, 16);
	bool needed;

	if (!fuzz_lock(a))
		return fuzz_failed(EBUSY);
	for (i = 0; i < n; i++) {
		uint8_t *at = buffer_of(a, *next);

		if (!add(a, at, content(a, at), *next))
			break;
		++*next;
	}
	fuzz_did(a, i, ring->count);
	needed = ring_kick_needed(ring);
	fuzz_unlock(a);
	if (needed || one_in(a, 4))
		kick(a);
	return i ? i : fuzz_failed(ENOSPC);
}

/* The guest's answer to a packet that it has received, if there is one */
static void answer(struct actor *a, uint32_t token)
{
	struct virtio_vsock_hdr header;
	uint16_t op;

	memcpy(&header, buffer_of(a, token), HEADER);
	switch (header.op) {
	case VIRTIO_VSOCK_OP_REQUEST:
		op = VIRTIO_VSOCK_OP_RESPONSE;
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		op = VIRTIO_VSOCK_OP_RST;
		break;
	case VIRTIO_VSOCK_OP_RW:
		op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
		break;
	default:
		return;
	}
	a->queue = 1;
	token = a->device->next[1]++;
	add(a, buffer_of(a, token),
	    packet(a, buffer_of(a, token), op, header.dst_port, header.src_port), token);
	a->queue = 0;
}

/* Take back what has been used, as long as it makes sense. */
static long do_take(struct actor *a)
{
	struct fuzz_device *device = a->device;
	struct ring *ring = &device->ring[a->queue];
	unsigned int layout;
	uint32_t token, len;
	long n = 0;
	int ret;

	if (!fuzz_lock(a))
		return fuzz_failed(EBUSY);
	layout = ring->kind.packed * 2 + ring->kind.in_order;
	while ((ret = ring_get(ring, &token, &len)) > 0) {
		n++;
		if (fuzz.streams && device->kind == VSOCK && !a->queue)
			answer(a, token);
	}
	fuzz_did(a, n, ring->count);
	fuzz_unlock(a);
	__atomic_fetch_add(&fuzz.world->used[device->kind][layout], n, __ATOMIC_RELAXED);
	return n ? n : fuzz_failed(ret ? EPROTO : EAGAIN);
}

static long do_kick(struct actor *a)
{
	fuzz_did(a, fuzz_fd(&a->device->kick[a->queue]), 0);
	return a->sane ? kick(a) : eventfd_write(fuzz_pick(a, EVENT), 1);
}

/* When the driver wants to be notified */
static long do_calls(struct actor *a)
{
	struct ring *ring = &a->device->ring[a->queue];

	if (!fuzz_lock(a))
		return fuzz_failed(EBUSY);
	switch (below(a, 3)) {
	case 0:
		ring_call_always(ring);
		break;
	case 1:
		ring_call_never(ring);
		break;
	default:
		ring_call_at(ring, 1 + below(a, 8));
	}
	fuzz_unlock(a);
	return 0;
}

static struct ring_raw some_desc(struct actor *a, const struct ring *ring)
{
	uint64_t gpa = memory_gpa(&fuzz.memory, one_in(a, 4) ? ring->tables : ring->desc);
	uint16_t flags = below(a, 8);
	struct ring_raw raw;
	uint32_t len = 1 + below(a, 100);

	if (!one_in(a, 4))
		gpa = MEMORY_GPA + below(a, MEMORY_SIZE);
	if (one_in(a, 4))
		gpa = one_in(a, 2) ? fuzz_next(a) : MEMORY_GPA + MEMORY_SIZE - below(a, 64);
	if (one_in(a, 4))
		len = one_of(a, 0u, 8u, 16u, 160u, 65536u, 1u << 31, ~0u);
	if (one_in(a, 8))
		flags = fuzz_next(a);
	else if (ring->kind.packed)
		flags |= one_in(a, 2) ? RING_AVAIL : RING_USED;
	ring_set_raw(ring, &raw, gpa, len, flags, one_in(a, 4) ? fuzz_next(a) : below(a, 256));
	return raw;
}

/* A word of 16 bits, and most often one that is not far from what was there */
static void some_word(struct actor *a, void *part, unsigned int n)
{
	uint16_t *word = (uint16_t *)part + below(a, n);
	uint16_t value = __atomic_load_n(word, __ATOMIC_RELAXED);

	if (one_in(a, 4))
		value = fuzz_next(a);
	else
		value += below(a, 9) - 4;
	/* a wrap counter */
	if (one_in(a, 8))
		value ^= RING_WRAP;
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* What no driver stores, and no device, while the device works. */
static long do_store(struct actor *a)
{
	struct ring *ring = &a->device->ring[a->queue];
	struct ring_raw *desc = ring->desc, *table = ring->tables;
	unsigned int n = 1 + below(a, 4);

	fuzz_did(a, n, ring->kind.packed);
	while (n--) {
		switch (below(a, 6)) {
		case 0:
			desc[below(a, FUZZ_RING_SIZE)] = some_desc(a, ring);
			break;
		case 1:
			table[below(a, FUZZ_RING_SIZE * SEGMENTS_MAX)] = some_desc(a, ring);
			break;
		case 2:
			/* flags and wrap counters of packed descriptors, among others */
			some_word(a, desc, FUZZ_RING_SIZE * sizeof(*desc) / 2);
			break;
		case 3:
			/* flags, indices, event suppression */
			some_word(a, ring->driver, 2);
			break;
		case 4:
			some_word(a, ring->driver, FUZZ_RING_SIZE + 3);
			break;
		default:
			some_word(a, ring->device, one_in(a, 2) ? 2 : 4 * FUZZ_RING_SIZE + 3);
		}
	}
	return 0;
}

/* The host's side of the tap */

static long do_frames(struct actor *a)
{
	struct tap tap = { .socket = fuzz_pick(a, PACKET) };
	unsigned int n = 1 + below(a, 8);

	fuzz_did(a, tap.socket, n);
	while (n--)
		if (tap_send(&tap, below(a, 65536), FRAME_LEAST + below(a, 4000)))
			return -1;
	return 0;
}

static long do_take_frames(struct actor *a)
{
	int sock = fuzz_pick(a, PACKET);
	long n = 0;

	/* It may be another socket, whose other end is closed: that returns 0 for ever. */
	while (recv(sock, a->buffer, MEMORY_PAGE, MSG_DONTWAIT) > 0)
		n++;
	fuzz_did(a, sock, n);
	return n ? n : -1;
}

static long do_tap_delete(struct actor *a)
{
	struct tap tap = { -1, -1 };

	return tap_delete(&tap);
}

static long do_tap(struct actor *a)
{
	struct tap tap = { -1, -1 };

	if (tap_again(&tap, true)) {
		tap_destroy(&tap);
		return -1;
	}
	/* Those of the former interface are of no use. */
	fuzz_keep(a, TAP, dup(tap.fd));
	fuzz_keep(a, TAP, tap.fd);
	fuzz_keep(a, PACKET, dup(tap.socket));
	return fuzz_keep(a, PACKET, tap.socket);
}

/* The host's side of vsock */

static int stream_socket(struct actor *a)
{
	int type = one_in(a, 4) ? SOCK_SEQPACKET : SOCK_STREAM, one = 1;
	int sock = socket(AF_VSOCK, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct timeval timeout = { .tv_usec = 50000 };

	/* The socket stays as long, whoever is killed. */
	setsockopt(sock, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &timeout, sizeof(timeout));
	/* for MSG_ZEROCOPY */
	if (one_in(a, 2))
		setsockopt(sock, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one));
	return sock;
}

static struct sockaddr_vm address(uint32_t cid, uint32_t port)
{
	return (struct sockaddr_vm) { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
}

static long do_connect(struct actor *a)
{
	struct sockaddr_vm to = address(a->device->cid, 1024 + below(a, 4));
	int sock = stream_socket(a);
	long ret;

	fuzz_did(a, sock, to.svm_cid);
	ret = connect(sock, (void *)&to, sizeof(to));
	if (ret && errno == EINPROGRESS)
		ret = 0;
	fuzz_keep(a, STREAM, sock);
	return ret;
}

static long do_listen(struct actor *a)
{
	struct sockaddr_vm at = address(VMADDR_CID_ANY, LISTEN_PORT);
	int sock;

	if (!fuzz.streams)
		return fuzz_failed(EPERM);
	sock = stream_socket(a);
	fuzz_did(a, sock, 0);
	if (!bind(sock, (void *)&at, sizeof(at)) && !listen(sock, 1 + below(a, 8)))
		return fuzz_keep(a, STREAM, sock);
	close(sock);
	return -1;
}

static long do_accept(struct actor *a)
{
	int sock = fuzz_pick(a, STREAM);

	fuzz_did(a, sock, 0);
	return fuzz_keep(a, STREAM, accept4(sock, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

static long do_stream(struct actor *a)
{
	int sock = fuzz_pick(a, STREAM);
	size_t size = 1 + below(a, MEMORY_PAGE);

	fuzz_did(a, sock, size);
	switch (below(a, 8)) {
	case 0:
		return shutdown(sock, below(a, 3));
	case 1:
	case 2:
		return recv(sock, fuzz_argument(a), size, MSG_DONTWAIT);
	default:
		return send(sock, fuzz_argument(a), size, MSG_DONTWAIT | MSG_NOSIGNAL |
			    (one_in(a, 4) ? MSG_ZEROCOPY : 0));
	}
}

const struct fuzz_op fuzz_ring_ops[] = {
	{ "add", do_add, 24 },
	{ "take", do_take, 16 },
	{ "kick", do_kick, 8 },
	{ "calls", do_calls, 2 },
	{ "store", do_store, 4 },
	{ "frames", do_frames, 10, false, true },
	{ "take frames", do_take_frames, 4 },
	{ "delete tap", do_tap_delete, 1 },
	{ "tap", do_tap, 6 },
	{ "connect", do_connect, 4 },
	{ "listen", do_listen, 2, true },
	{ "accept", do_accept, 4, true },
	{ "stream", do_stream, 8, true },
	{ }
};
