// SPDX-License-Identifier: GPL-2.0-only
/*
 * A stream between a socket of the host and a guest on /dev/vhost-vsock, which is this program,
 * with each kind of virtqueue
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "../kselftest_harness.h"
#include "vsock.h"

#define CHUNK		12000
#define TIMEOUT_MS	5000
#define ASKING_PORT	10000
#define ROOM		5000
#define NO_SUCH_TYPE	77

/* Is the host's socket ready for reading or writing? */
static bool host_ready(struct vsock_guest *guest, short events)
{
	struct pollfd pollfd = { guest->socket, events };

	return poll(&pollfd, 1, TIMEOUT_MS) == 1 && pollfd.revents == events;
}

static int host_connects(struct vsock_guest *guest)
{
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_cid = guest->cid,
		.svm_port = GUEST_PORT,
	};

	guest->socket = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (guest->socket < 0 ||
	    !connect(guest->socket, (void *)&address, sizeof(address)) || errno != EINPROGRESS)
		return -1;
	rx_fill(guest);
	if (rx_pass(guest) || guest->last_op != VIRTIO_VSOCK_OP_REQUEST)
		return -1;
	return !tx_add(guest, VIRTIO_VSOCK_OP_RESPONSE, 0) || tx_pass(guest) ||
	       !host_ready(guest, POLLOUT) ? -1 : 0;
}

static int guest_connects(struct vsock_guest *guest)
{
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		/* a closed port stays in use for some seconds */
		.svm_port = VMADDR_PORT_ANY,
	};
	socklen_t size = sizeof(address);
	int listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	rx_fill(guest);
	if (listener < 0 || bind(listener, (void *)&address, size) || listen(listener, 1) ||
	    getsockname(listener, (void *)&address, &size)) {
		close(listener);
		return -1;
	}
	guest->port = address.svm_port;
	if (!tx_add(guest, VIRTIO_VSOCK_OP_REQUEST, 0) || tx_pass(guest)) {
		close(listener);
		return -1;
	}
	guest->socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	close(listener);
	return guest->socket < 0 || rx_pass(guest) ||
	       guest->last_op != VIRTIO_VSOCK_OP_RESPONSE ? -1 : 0;
}

/* Returns 1 if the device refuses it, as some kernels' do while they are stopped. */
static int host_tries(struct vsock_guest *guest, size_t size)
{
	uint8_t data[CHUNK];

	for (size_t i = 0; i < size; i++)
		data[i] = vsock_byte_at(guest->host_sent + i);
	if (send(guest->socket, data, size, 0) != size) {
		if (errno == EHOSTUNREACH)
			return 1;
		perror("# send");
		return -1;
	}
	guest->host_sent += size;
	return 0;
}

static int host_sends(struct vsock_guest *guest, size_t size)
{
	int ret = host_tries(guest, size);

	if (ret > 0)
		fprintf(stderr, "# refused\n");
	return ret ? -1 : 0;
}

/* Receive everything that the guest has sent. */
static int host_receives(struct vsock_guest *guest)
{
	uint8_t data[CHUNK];

	while (guest->host_received != guest->sent) {
		ssize_t n;

		if (!host_ready(guest, POLLIN)) {
			fprintf(stderr, "# %u bytes of %u\n", guest->host_received, guest->sent);
			return -1;
		}
		n = recv(guest->socket, data, sizeof(data), 0);
		if (n <= 0)
			return -1;
		for (ssize_t i = 0; i < n; i++)
			if (data[i] != vsock_byte_at(guest->host_received + i))
				return -1;
		guest->host_received += n;
	}
	return 0;
}

static int to_guest(struct vsock_guest *guest)
{
	if (host_sends(guest, 1 + random() % CHUNK) || rx_pass(guest))
		return -1;
	/* the host had read everything before, and says so */
	if (guest->host_fwd_cnt != guest->host_received) {
		fprintf(stderr, "# %u bytes read, says the host, and not %u\n",
			guest->host_fwd_cnt, guest->host_received);
		return -1;
	}
	/* it was read, so there is room again */
	return guest->received != guest->host_sent ||
	       !tx_add(guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0) || tx_pass(guest) ? -1 : 0;
}

static int to_host(struct vsock_guest *guest)
{
	for (unsigned int n = 1 + random() % 10; n; n--)
		if (!tx_add(guest, VIRTIO_VSOCK_OP_RW, 1 + random() % (SLOT_SIZE - HEADER - 1)))
			break;
	/* credit updates come in between */
	return tx_pass(guest) || host_receives(guest) || rx_pass(guest) ? -1 : 0;
}

FIXTURE(vsock)
{
	struct vsock_guest guest;
};

FIXTURE_VARIANT(vsock)
{
	struct ring_kind kind;
};

#define RING_KINDS_OF	vsock
#include "ring_kinds.h"

FIXTURE_SETUP(vsock)
{
	if (access(VSOCK_DEVICE, F_OK))
		SKIP(return, "there is no " VSOCK_DEVICE);
	ASSERT_EQ(0, vsock_start(&self->guest, variant->kind)) {
		TH_LOG("%s", strerror(errno));
	}
}

FIXTURE_TEARDOWN(vsock)
{
	EXPECT_EQ(0, queue_errors(&self->guest.queue[RX]));
	EXPECT_EQ(0, queue_errors(&self->guest.queue[TX]));
	vsock_end(&self->guest);
}

/* Clause: 2.7.4.1a, 2.8.18a, 5.10.6.3.2b. */
TEST_F(vsock, host_connects)
{
	ASSERT_EQ(0, host_connects(&self->guest));
	for (int i = 0; i < 40; i++) {
		ASSERT_EQ(0, to_guest(&self->guest));
		ASSERT_EQ(0, to_host(&self->guest));
	}
}

TEST_F(vsock, guest_connects)
{
	ASSERT_EQ(0, guest_connects(&self->guest));
	for (int i = 0; i < 40; i++) {
		ASSERT_EQ(0, to_host(&self->guest));
		ASSERT_EQ(0, to_guest(&self->guest));
	}
}

/*
 * The host sends no more than the guest has room for.
 * Clause: 5.10.6.3.2a.
 */
TEST_F(vsock, credit)
{
	struct vsock_guest *guest = &self->guest;
	uint8_t data[2 * ROOM];

	guest->room = ROOM;
	ASSERT_EQ(0, host_connects(guest));
	for (int i = 0; i < 20; i++) {
		for (size_t k = 0; k < sizeof(data); k++)
			data[k] = vsock_byte_at(guest->host_sent + k);
		ASSERT_EQ(ROOM, send(guest->socket, data, sizeof(data), 0));
		guest->host_sent += ROOM;
		ASSERT_EQ(-1, send(guest->socket, data, 1, 0));
		ASSERT_EQ(EAGAIN, errno);
		ASSERT_EQ(0, rx_pass(guest));
		ASSERT_EQ(guest->host_sent, guest->received);
		/* there is room again */
		ASSERT_TRUE(tx_add(guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0));
		ASSERT_EQ(0, tx_pass(guest));
	}
}

/*
 * Packets are used one at a time, and then there is one interrupt if any of them needs it.
 * Clause: 2.7.7.2b, 2.7.7.2d.
 */
TEST_F(vsock, calls)
{
	struct vsock_guest *guest = &self->guest;
	struct ring *ring = &guest->ring[TX];

	ASSERT_EQ(0, host_connects(guest));
	for (int i = 0; i < 60; i++) {
		unsigned int n = 1 + random() % 8, at = random() % (n + 1);

		for (unsigned int k = 0; k < n; k++)
			ASSERT_TRUE(tx_add(guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0));
		queue_calls(&guest->queue[TX]);
		if (at)
			ring_call_at(ring, at);
		else
			ring_call_never(ring);
		ASSERT_EQ(0, tx_pass(guest));
		ASSERT_EQ(!!at, queue_calls(&guest->queue[TX])) {
			TH_LOG("%u packets, at %u", n, at);
		}
	}
}

/*
 * The stream continues with the device, including what was sent meanwhile, if the device did not
 * refuse that.
 */
TEST_F(vsock, stop_and_start)
{
	struct vsock_guest *guest = &self->guest;

	ASSERT_EQ(0, host_connects(guest));
	for (int i = 0; i < 15; i++) {
		uint32_t base[2];

		ASSERT_EQ(0, to_guest(guest));
		ASSERT_EQ(0, to_host(guest));
		ASSERT_EQ(0, vsock_set_running(guest, 0));
		for (int which = RX; which <= TX; which++)
			ASSERT_EQ(0, queue_get_base(&guest->queue[which], &base[which]));
		ASSERT_LE(0, host_tries(guest, 1 + random() % CHUNK));
		ASSERT_TRUE(tx_add(guest, VIRTIO_VSOCK_OP_RW, 1 + random() % 1000));
		ASSERT_EQ(0, vsock_start_queues(guest, base));
		queue_kick(&guest->queue[TX]);
		queue_kick(&guest->queue[RX]);
		ASSERT_EQ(0, tx_pass(guest));
		ASSERT_EQ(0, host_receives(guest));
		ASSERT_EQ(0, rx_pass(guest));
		ASSERT_EQ(guest->host_sent, guest->received);
	}
}

/* A device that starts finds what the guest added while it was stopped. */
TEST_F(vsock, pending_at_start)
{
	struct vsock_guest *guest = &self->guest;
	struct ring *ring = &guest->ring[TX];

	ASSERT_EQ(0, host_connects(guest));
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, to_host(guest));
		ASSERT_EQ(0, vsock_set_running(guest, 0));
		for (unsigned int n = 1 + random() % 20; n; n--)
			ASSERT_TRUE(tx_add(guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0));
		/* the kick comes while the device is stopped */
		if (ring_kick_needed(ring))
			queue_kick(&guest->queue[TX]);
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(0, vsock_set_running(guest, 1));
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(0, tx_take(guest));
		ASSERT_EQ(0, ring->count) {
			TH_LOG("round %d: %u did not come back", i, ring->count);
		}
	}
}

/* A malformed packet: too short, or shorter than its header says */
static bool tx_add_bad(struct vsock_guest *guest)
{
	uint32_t token = guest->buffers[TX];
	struct virtio_vsock_hdr header = {
		.src_cid = guest->cid,
		.dst_cid = VMADDR_CID_HOST,
		.len = 1 + random() % 100,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = VIRTIO_VSOCK_OP_RW,
	};
	struct segment segment = { .len = HEADER - random() % 2 };

	memcpy(vsock_slot(guest, TX, token), &header, HEADER);
	segment.gpa = memory_gpa(&guest->memory, vsock_slot(guest, TX, token));
	if (!ring_add(&guest->ring[TX], &segment, 1, token))
		return false;
	guest->buffers[TX]++;
	return true;
}

/* The packet is dropped, its buffer is returned, and the stream continues. */
TEST_F(vsock, bad_packets)
{
	struct vsock_guest *guest = &self->guest;

	ASSERT_EQ(0, host_connects(guest));
	for (int i = 0; i < 20; i++) {
		/* sometimes as many as there is room for */
		for (unsigned int n = i % 5 ? random() % 3 : RING_SIZE; n; n--) {
			if (!tx_add_bad(guest))
				break;
			if (i % 5 && !tx_add(guest, VIRTIO_VSOCK_OP_RW, 1 + random() % 1000))
				break;
		}
		ASSERT_EQ(0, tx_pass(guest)) {
			TH_LOG("round %d: %u did not come back", i, guest->ring[TX].count);
		}
		ASSERT_EQ(0, host_receives(guest));
		ASSERT_EQ(0, to_host(guest));
		ASSERT_EQ(0, to_guest(guest));
	}
	EXPECT_LT(0, queue_errors(&guest->queue[TX]));
}

static bool rx_add(struct vsock_guest *guest, uint32_t len)
{
	uint32_t token = guest->buffers[RX];
	uint8_t *at = vsock_slot(guest, RX, token);
	struct segment segment = { memory_gpa(&guest->memory, at), len, true };

	if (!ring_add(&guest->ring[RX], &segment, 1, token))
		return false;
	guest->buffers[RX]++;
	return true;
}

/* Add a packet that is answered. */
static bool tx_add_question(struct vsock_guest *guest, uint16_t type)
{
	uint32_t token = guest->buffers[TX]++;
	uint8_t *at = vsock_slot(guest, TX, token);
	struct segment segment = { memory_gpa(&guest->memory, at), HEADER };

	vsock_packet(guest, at, ASKING_PORT);
	((struct virtio_vsock_hdr *)at)->type = type;
	return ring_add(&guest->ring[TX], &segment, 1, token);
}

static int tx_ask(struct vsock_guest *guest, uint16_t type)
{
	return !tx_add_question(guest, type) || tx_pass(guest) ? -1 : 0;
}

/* A buffer that is too small comes back empty, and the packet for it is lost. */
TEST_F(vsock, small_buffers)
{
	struct vsock_guest *guest = &self->guest;
	struct virtio_vsock_hdr header;
	uint32_t token, len, next = 0;

	for (int i = 0; i < 60; i++) {
		unsigned int small = random() % 4;

		for (unsigned int n = 0; n < small; n++)
			ASSERT_TRUE(rx_add(guest, 1 + random() % (HEADER - 1)));
		ASSERT_TRUE(rx_add(guest, SLOT_SIZE));
		/* one for each buffer */
		for (unsigned int n = 0; n <= small; n++) {
			ASSERT_EQ(0, tx_ask(guest, VIRTIO_VSOCK_TYPE_STREAM));
			queue_kick(&guest->queue[RX]);
			ASSERT_EQ(0, device_drain(&guest->device));
		}
		ASSERT_EQ(!!small, !!queue_errors(&guest->queue[RX]));
		for (unsigned int n = 0; n <= small; n++) {
			ASSERT_EQ(1, ring_get(&guest->ring[RX], &token, &len)) {
				TH_LOG("round %d: %u of %u buffers came back", i, n, small + 1);
			}
			ASSERT_EQ(next++, token);
			ASSERT_EQ(n < small ? 0 : HEADER, len);
		}
		memcpy(&header, vsock_slot(guest, RX, token), HEADER);
		ASSERT_EQ(VIRTIO_VSOCK_OP_RST, header.op);
	}
}

/*
 * The device takes no more packets while as many answers wait as the virtqueue has entries. It
 * goes on when one of them is gone, also if that is lost.
 */
TEST_F(vsock, lost_answers)
{
	struct vsock_guest *guest = &self->guest;
	struct queue *rx = &guest->queue[RX];
	uint32_t token, len, next = 0;

	for (int i = 0; i < RING_SIZE; i++)
		ASSERT_EQ(0, tx_ask(guest, VIRTIO_VSOCK_TYPE_STREAM));
	for (int i = 0; i < 60; i++) {
		ASSERT_TRUE(tx_add_question(guest, VIRTIO_VSOCK_TYPE_STREAM));
		queue_kick(&guest->queue[TX]);
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(0, tx_take(guest));
		ASSERT_EQ(1, guest->ring[TX].count);
		ASSERT_TRUE(rx_add(guest, 1 + random() % (HEADER - 1)));
		queue_kick(rx);
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(1, ring_get(&guest->ring[RX], &token, &len));
		ASSERT_EQ(next++, token);
		ASSERT_EQ(0, len);
		ASSERT_NE(0, queue_errors(rx));
		ASSERT_EQ(0, tx_take(guest));
		ASSERT_EQ(0, guest->ring[TX].count) {
			TH_LOG("round %d: the device did not go on", i);
		}
	}
	/* all the others come */
	for (int i = 0; i < RING_SIZE; i++) {
		ASSERT_TRUE(rx_add(guest, SLOT_SIZE));
		queue_kick(rx);
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(1, ring_get(&guest->ring[RX], &token, &len));
		ASSERT_EQ(next++, token);
		ASSERT_EQ(HEADER, len);
	}
}

/* Begin the receive queue anew, without any buffers. */
static int rx_restart(struct vsock_guest *guest)
{
	uint32_t base[2] = { queue_first_base(&guest->queue[RX]) };

	if (vsock_set_running(guest, 0) || queue_get_base(&guest->queue[TX], &base[TX]))
		return -1;
	ring_reset(&guest->ring[RX]);
	return vsock_start_queues(guest, base);
}

/*
 * A packet cannot be written to the only buffer there is: its data, its header, or all of it
 * because the buffer is a readable one. It comes back empty, and the packet is lost.
 */
static int rx_lose_packet(struct vsock_guest *guest, uint8_t *page, unsigned int how)
{
	uint64_t there = memory_gpa(&guest->memory, page);
	uint64_t here = memory_gpa(&guest->memory, vsock_slot(guest, RX, guest->buffers[RX]));
	struct segment segments[] = {
		{ how ? there : here, HEADER, how < 2 },
		{ there + HEADER, MEMORY_PAGE - HEADER, how < 2 },
	};
	uint32_t expected = guest->buffers[RX]++, token, len = 1;

	if (!ring_add(&guest->ring[RX], segments, ARRAY_SIZE(segments), expected) ||
	    mprotect(page, MEMORY_PAGE, PROT_READ))
		return -1;
	queue_kick(&guest->queue[RX]);
	if (host_sends(guest, 1 + random() % 1000) || device_drain(&guest->device) ||
	    mprotect(page, MEMORY_PAGE, PROT_READ | PROT_WRITE))
		return -1;
	guest->received = guest->host_sent;
	if (ring_get(&guest->ring[RX], &token, &len) == 1 && token == expected && !len &&
	    queue_errors(&guest->queue[RX]))
		return 0;
	fprintf(stderr, "# %u bytes, %u buffers\n", len, guest->ring[RX].count);
	return -1;
}

/* The buffer of a packet that cannot be written is not lost. */
TEST_F(vsock, unwritable_buffers)
{
	struct vsock_guest *guest = &self->guest;
	uint8_t *page = memory_alloc(&guest->memory, MEMORY_PAGE, MEMORY_PAGE);

	ASSERT_NE(NULL, page);
	ASSERT_EQ(0, host_connects(guest));
	ASSERT_EQ(0, rx_restart(guest));
	for (int i = 0; i < 60; i++) {
		struct virtio_vsock_hdr header;
		uint32_t token, len, size = 1 + random() % 1000;
		uint8_t *at = vsock_slot(guest, RX, guest->buffers[RX] + 1);

		memset(page, 0xff, MEMORY_PAGE);
		ASSERT_EQ(0, rx_lose_packet(guest, page, i % 3)) {
			TH_LOG("round %d", i);
		}
		for (size_t k = 0; k < MEMORY_PAGE; k++)
			ASSERT_EQ(0xff, page[k]);
		/* the next packet is complete */
		ASSERT_TRUE(rx_add(guest, SLOT_SIZE));
		queue_kick(&guest->queue[RX]);
		ASSERT_EQ(0, host_sends(guest, size));
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(1, ring_get(&guest->ring[RX], &token, &len));
		ASSERT_EQ(guest->buffers[RX] - 1, token);
		ASSERT_EQ(HEADER + size, len);
		memcpy(&header, at, HEADER);
		ASSERT_EQ(VIRTIO_VSOCK_OP_RW, header.op);
		ASSERT_EQ(size, header.len);
		for (uint32_t k = 0; k < size; k++)
			ASSERT_EQ(vsock_byte_at(guest->received + k), at[HEADER + k]);
		guest->received += size;
	}
	ASSERT_EQ(0, queue_errors(&guest->queue[RX]));
	/* and the other way still works */
	ASSERT_EQ(0, to_host(guest));
}

/*
 * A packet of a type that does not exist is answered, too.
 * Clause: 5.10.6.4.2b.
 */
TEST_F(vsock, unknown_type)
{
	struct vsock_guest *guest = &self->guest;
	struct virtio_vsock_hdr header;
	uint32_t token, len;

	for (int i = 0; i < 20; i++) {
		ASSERT_TRUE(rx_add(guest, SLOT_SIZE));
		ASSERT_EQ(0, tx_ask(guest, NO_SUCH_TYPE));
		queue_kick(&guest->queue[RX]);
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(1, ring_get(&guest->ring[RX], &token, &len));
		ASSERT_EQ(HEADER, len);
		memcpy(&header, vsock_slot(guest, RX, token), HEADER);
		ASSERT_EQ(VIRTIO_VSOCK_OP_RST, header.op);
		ASSERT_EQ(ASKING_PORT, header.dst_port);
	}
}

/*
 * CIDs that no guest may have
 * Clause: 5.10.6.4.2a.
 */
TEST_F(vsock, reserved_cids)
{
	static const uint64_t cids[] = {
		0, 1, VMADDR_CID_HOST, UINT32_MAX, UINT32_MAX + 1ULL, UINT64_MAX,
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(cids); i++) {
		EXPECT_NE(0, ioctl(self->guest.device.fd, VHOST_VSOCK_SET_GUEST_CID, &cids[i])) {
			TH_LOG("%#llx", (unsigned long long)cids[i]);
		}
		EXPECT_EQ(EINVAL, errno);
	}
}

FIXTURE(in_order)
{
	struct vsock_guest guest;
};

FIXTURE_VARIANT(in_order)
{
	struct ring_kind kind;
};

RING_KIND(in_order, split, .in_order = true);
RING_KIND(in_order, packed, .packed = true, .in_order = true);
RING_KIND(in_order, split_event_idx, .in_order = true, .event_idx = true);
RING_KIND(in_order, packed_event_idx, .packed = true, .in_order = true, .event_idx = true);

FIXTURE_SETUP(in_order)
{
	if (access(VSOCK_DEVICE, F_OK))
		SKIP(return, "there is no " VSOCK_DEVICE);
	ASSERT_EQ(0, vsock_start(&self->guest, variant->kind));
}

FIXTURE_TEARDOWN(in_order)
{
	vsock_end(&self->guest);
}

/*
 * Buffers with packets whose used elements cannot be written are forgotten, and the packets
 * lost. The buffers come back empty, before that of the next packet.
 */
TEST_F(in_order, unwritable_used_elements)
{
	struct vsock_guest *guest = &self->guest;
	struct ring *ring = &guest->ring[RX];
	void *page = memory_alloc(&guest->memory, MEMORY_PAGE, MEMORY_PAGE);
	uint32_t token, len, next = 0;

	/* on a page that has nothing else */
	ASSERT_NE(NULL, page);
	*(variant->kind.packed ? &ring->desc : &ring->device) = page;
	ASSERT_EQ(0, rx_restart(guest));
	for (int i = 0; i < 60; i++) {
		unsigned int lost = 1 + random() % 3;

		for (unsigned int n = 0; n <= lost; n++)
			ASSERT_TRUE(rx_add(guest, SLOT_SIZE));
		for (unsigned int n = 0; n <= lost; n++) {
			if (n < lost)
				ASSERT_EQ(0, mprotect(page, MEMORY_PAGE, PROT_READ));
			queue_kick(&guest->queue[RX]);
			ASSERT_EQ(0, tx_ask(guest, VIRTIO_VSOCK_TYPE_STREAM));
			ASSERT_EQ(0, device_drain(&guest->device));
			ASSERT_EQ(0, mprotect(page, MEMORY_PAGE, PROT_READ | PROT_WRITE));
			if (n < lost)
				ASSERT_EQ(0, ring_get(ring, &token, &len));
			ASSERT_EQ(n < lost, !!queue_errors(&guest->queue[RX]));
		}
		for (unsigned int n = 0; n <= lost; n++) {
			ASSERT_EQ(1, ring_get(ring, &token, &len)) {
				TH_LOG("round %d: %u of %u buffers came back", i, n, lost + 1);
			}
			ASSERT_EQ(next++, token);
			ASSERT_EQ(n < lost ? 0 : HEADER, len);
		}
	}
}

TEST_HARNESS_MAIN
