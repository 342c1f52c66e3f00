// SPDX-License-Identifier: GPL-2.0-only
/*
 * A stream between a socket of the host and a guest on /dev/vhost-vsock, which is this program,
 * with each kind of virtqueue
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include "../kselftest_harness.h"
#include "device.h"

#define DEVICE		"/dev/vhost-vsock"
#define GUEST_PORT	1024
#define RING_SIZE	64
#define SLOT_SIZE	4096
#define HEADER		sizeof(struct virtio_vsock_hdr)
#define CHUNK		12000
#define PATTERN		997		/* the byte at an offset of a stream is known */
#define TIMEOUT_MS	5000

enum { RX, TX };

struct guest {
	struct device device;
	struct memory memory;
	struct ring ring[2];
	struct queue queue[2];
	uint64_t features;
	uint64_t cid;
	uint8_t *slots[2];
	uint32_t buffers[2];
	uint32_t port;			/* the host's port */
	uint32_t sent, received;	/* bytes of the stream */
	uint16_t last_op;		/* other than credit updates */
	int socket;			/* the host's side */
	uint32_t host_sent, host_received;
};

static uint8_t byte_at(uint32_t offset)
{
	return offset % PATTERN * 3;
}

static int set_running(struct guest *guest, int on)
{
	return ioctl(guest->device.fd, VHOST_VSOCK_SET_RUNNING, &on);
}

static unsigned int cut(const struct guest *guest, const uint8_t *at, size_t size, bool write,
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

static uint8_t *slot(struct guest *guest, int which, uint32_t token)
{
	return guest->slots[which] + token % RING_SIZE * SLOT_SIZE;
}

static void rx_fill(struct guest *guest)
{
	struct segment segments[4];
	unsigned int n;

	do {
		uint32_t token = guest->buffers[RX];

		/* some are smaller than what the host sends at once */
		n = cut(guest, slot(guest, RX, token), 200 + random() % (SLOT_SIZE - 200), true,
			segments);
		if (!ring_add(&guest->ring[RX], segments, n, token))
			break;
		guest->buffers[RX]++;
	} while (true);
	if (ring_kick_needed(&guest->ring[RX]))
		queue_kick(&guest->queue[RX]);
}

/* Add a packet, with the next bytes of the stream if it has data. */
static bool tx_add(struct guest *guest, uint16_t op, size_t size)
{
	uint32_t token = guest->buffers[TX];
	uint8_t *at = slot(guest, TX, token);
	struct virtio_vsock_hdr header = {
		.src_cid = guest->cid,
		.dst_cid = VMADDR_CID_HOST,
		.src_port = GUEST_PORT,
		.dst_port = guest->port,
		.len = size,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = 1 << 18,
		.fwd_cnt = guest->received,
	};
	struct segment segments[4];
	unsigned int n;

	memcpy(at, &header, HEADER);
	for (size_t i = 0; i < size; i++)
		at[HEADER + i] = byte_at(guest->sent + i);
	n = cut(guest, at, HEADER + size, false, segments);
	if (!ring_add(&guest->ring[TX], segments, n, token))
		return false;
	guest->buffers[TX]++;
	guest->sent += size;
	return true;
}

static int tx_take(struct guest *guest)
{
	uint32_t token, len;
	int ret;

	while ((ret = ring_get(&guest->ring[TX], &token, &len)) > 0)
		if (token != guest->buffers[TX] - guest->ring[TX].count - 1 || len)
			return -1;
	return ret;
}

static int tx_pass(struct guest *guest)
{
	if (ring_kick_needed(&guest->ring[TX]))
		queue_kick(&guest->queue[TX]);
	return device_drain(&guest->device) || tx_take(guest) || guest->ring[TX].count ? -1 : 0;
}

static int rx_packet(struct guest *guest, const uint8_t *packet, uint32_t len)
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
	for (uint32_t i = 0; i < header.len; i++)
		if (packet[HEADER + i] != byte_at(guest->received + i)) {
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

/* Take received packets as long as more come when there is room. */
static int rx_pass(struct guest *guest)
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
			    rx_packet(guest, slot(guest, RX, token), len))
				return -1;
			more = true;
		}
		if (ret)
			return -1;
		rx_fill(guest);
	} while (more);
	return 0;
}

static int start_queues(struct guest *guest, const uint32_t *base)
{
	for (int i = RX; i <= TX; i++)
		if (queue_setup(&guest->queue[i], base[i]))
			return -1;
	return set_running(guest, 1);
}

static int start(struct guest *guest, struct ring_kind kind)
{
	uint32_t base[2];

	memset(guest, 0, sizeof(*guest));
	guest->socket = -1;
	/* a new one for each test, because old sockets stay active for seconds */
	guest->cid = VMADDR_CID_HOST + getpid();
	guest->features = kind_features(kind);
	if (device_open(&guest->device, DEVICE) || memory_create(&guest->memory) ||
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
	       start_queues(guest, base);
}

static void end(struct guest *guest)
{
	close(guest->socket);
	device_close(&guest->device);
	for (int i = RX; i <= TX; i++) {
		queue_destroy(&guest->queue[i]);
		ring_destroy(&guest->ring[i]);
	}
	memory_destroy(&guest->memory);
}

/* Is the host's socket ready for reading or writing? */
static bool host_ready(struct guest *guest, short events)
{
	struct pollfd pollfd = { guest->socket, events };

	return poll(&pollfd, 1, TIMEOUT_MS) == 1 && pollfd.revents == events;
}

static int host_connects(struct guest *guest)
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

static int guest_connects(struct guest *guest)
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

static int host_sends(struct guest *guest, size_t size)
{
	uint8_t data[CHUNK];

	for (size_t i = 0; i < size; i++)
		data[i] = byte_at(guest->host_sent + i);
	if (send(guest->socket, data, size, 0) != size) {
		perror("# send");
		return -1;
	}
	guest->host_sent += size;
	return 0;
}

/* Receive everything that the guest has sent. */
static int host_receives(struct guest *guest)
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
			if (data[i] != byte_at(guest->host_received + i))
				return -1;
		guest->host_received += n;
	}
	return 0;
}

static int to_guest(struct guest *guest)
{
	if (host_sends(guest, 1 + random() % CHUNK) || rx_pass(guest))
		return -1;
	/* it was read, so there is room again */
	return guest->received != guest->host_sent ||
	       !tx_add(guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0) || tx_pass(guest) ? -1 : 0;
}

static int to_host(struct guest *guest)
{
	for (unsigned int n = 1 + random() % 10; n; n--)
		if (!tx_add(guest, VIRTIO_VSOCK_OP_RW, 1 + random() % (SLOT_SIZE - HEADER - 1)))
			break;
	/* credit updates come in between */
	return tx_pass(guest) || host_receives(guest) || rx_pass(guest) ? -1 : 0;
}

FIXTURE(vsock)
{
	struct guest guest;
};

FIXTURE_VARIANT(vsock)
{
	struct ring_kind kind;
};

#define RING_KINDS_OF	vsock
#include "ring_kinds.h"

FIXTURE_SETUP(vsock)
{
	if (access(DEVICE, F_OK))
		SKIP(return, "there is no " DEVICE);
	ASSERT_EQ(0, start(&self->guest, variant->kind)) {
		TH_LOG("%s", strerror(errno));
	}
}

FIXTURE_TEARDOWN(vsock)
{
	EXPECT_EQ(0, queue_errors(&self->guest.queue[RX]));
	EXPECT_EQ(0, queue_errors(&self->guest.queue[TX]));
	end(&self->guest);
}

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

/* Packets are used one at a time, and then there is one interrupt if any of them needs it. */
TEST_F(vsock, calls)
{
	struct guest *guest = &self->guest;
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

/* The stream continues with the device, including what was sent meanwhile. */
TEST_F(vsock, stop_and_start)
{
	struct guest *guest = &self->guest;

	ASSERT_EQ(0, host_connects(guest));
	for (int i = 0; i < 15; i++) {
		uint32_t base[2];

		ASSERT_EQ(0, to_guest(guest));
		ASSERT_EQ(0, to_host(guest));
		ASSERT_EQ(0, set_running(guest, 0));
		for (int which = RX; which <= TX; which++)
			ASSERT_EQ(0, queue_get_base(&guest->queue[which], &base[which]));
		ASSERT_EQ(0, host_sends(guest, 1 + random() % CHUNK));
		ASSERT_TRUE(tx_add(guest, VIRTIO_VSOCK_OP_RW, 1 + random() % 1000));
		ASSERT_EQ(0, start_queues(guest, base));
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
	struct guest *guest = &self->guest;
	struct ring *ring = &guest->ring[TX];

	ASSERT_EQ(0, host_connects(guest));
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, to_host(guest));
		ASSERT_EQ(0, set_running(guest, 0));
		for (unsigned int n = 1 + random() % 20; n; n--)
			ASSERT_TRUE(tx_add(guest, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0));
		/* the kick comes while the device is stopped */
		if (ring_kick_needed(ring))
			queue_kick(&guest->queue[TX]);
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(0, set_running(guest, 1));
		ASSERT_EQ(0, device_drain(&guest->device));
		ASSERT_EQ(0, tx_take(guest));
		ASSERT_EQ(0, ring->count) {
			TH_LOG("round %d: %u did not come back", i, ring->count);
		}
	}
}

/* A malformed packet: too short, or shorter than its header says */
static bool tx_add_bad(struct guest *guest)
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

	memcpy(slot(guest, TX, token), &header, HEADER);
	segment.gpa = memory_gpa(&guest->memory, slot(guest, TX, token));
	if (!ring_add(&guest->ring[TX], &segment, 1, token))
		return false;
	guest->buffers[TX]++;
	return true;
}

/* The packet is dropped, its buffer is returned, and the stream continues. */
TEST_F(vsock, bad_packets)
{
	struct guest *guest = &self->guest;

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

/*
 * A device that pauses with prefetched descriptors: it takes no more packets while as many
 * answers are waiting as the virtqueue has descriptors, until the guest takes these. Nobody
 * listens to the packets here, so each one is answered, with the port that it came from.
 *
 * Each packet exists in two versions, from two ports: one in either half of a region, and in
 * a shadow of the region the other way round.
 */
#define NOBODY		1
#define VERSION		(MEMORY_REGION / 2)
#define STRIDE		64UL
#define PACKETS		4096

struct pause {
	struct guest guest;
	uint8_t *packets, *shadow;
	struct ring spare;		/* the place to move to */
	bool half, shadowed;		/* which version the device must see from now on */
	uint32_t added, used, answered;
	bool version[PACKETS];		/* seen in the packets that it used */
};

static uint32_t port_of(uint32_t number, bool version)
{
	return 10000 + number + (version ? PACKETS : 0);
}

static void packet_make(const struct guest *guest, uint8_t *at, uint32_t port)
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

static bool rx_add(struct guest *guest, uint32_t len)
{
	uint32_t token = guest->buffers[RX];
	struct segment segment = { memory_gpa(&guest->memory, slot(guest, RX, token)), len, true };

	if (!ring_add(&guest->ring[RX], &segment, 1, token))
		return false;
	guest->buffers[RX]++;
	return true;
}

/* Add a packet that is answered. */
static int tx_ask(struct guest *guest)
{
	uint32_t token = guest->buffers[TX]++;
	uint8_t *at = slot(guest, TX, token);
	struct segment segment = { memory_gpa(&guest->memory, at), HEADER };

	packet_make(guest, at, 10000);
	return !ring_add(&guest->ring[TX], &segment, 1, token) || tx_pass(guest) ? -1 : 0;
}

/* A buffer that is too small comes back empty, and the packet for it is lost. */
TEST_F(vsock, small_buffers)
{
	struct guest *guest = &self->guest;
	struct virtio_vsock_hdr header;
	uint32_t token, len, next = 0;

	for (int i = 0; i < 60; i++) {
		unsigned int small = random() % 4;

		for (unsigned int n = 0; n < small; n++)
			ASSERT_TRUE(rx_add(guest, 1 + random() % (HEADER - 1)));
		ASSERT_TRUE(rx_add(guest, SLOT_SIZE));
		/* one for each buffer */
		for (unsigned int n = 0; n <= small; n++) {
			ASSERT_EQ(0, tx_ask(guest));
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
		memcpy(&header, slot(guest, RX, token), HEADER);
		ASSERT_EQ(VIRTIO_VSOCK_OP_RST, header.op);
	}
}

/* As many packets as there is room for */
static void pause_fill(struct pause *pause)
{
	struct guest *guest = &pause->guest;
	struct segment segments[4];
	unsigned int n;
	size_t at;

	do {
		at = pause->added * STRIDE;
		for (int version = 0; version <= 1; version++) {
			uint32_t port = port_of(pause->added, version);

			packet_make(guest, pause->packets + version * VERSION + at, port);
			packet_make(guest, pause->shadow + !version * VERSION + at, port);
		}
		n = cut(guest, pause->packets + pause->half * VERSION + at, HEADER, false,
			segments);
		if (!ring_add(&guest->ring[TX], segments, n, pause->added))
			break;
		pause->added++;
	} while (true);
}

/* Take the packets that the device has used by now. Returns how many, or -1. */
static int pause_take(struct pause *pause)
{
	uint32_t token, len;
	int ret, n = 0;

	while ((ret = ring_get(&pause->guest.ring[TX], &token, &len)) > 0) {
		if (token != pause->used || len)
			return -1;
		pause->version[pause->used++] = pause->half ^ pause->shadowed;
		n++;
	}
	return ret ?: n;
}

/* Take this many answers. The device must then use as many packets. */
static int pause_pass(struct pause *pause, unsigned int answers)
{
	struct guest *guest = &pause->guest;
	struct virtio_vsock_hdr header;
	uint32_t token, len, port;

	for (unsigned int i = 0; i < answers; i++) {
		struct segment segment = { .len = SLOT_SIZE, .write = true };

		token = guest->buffers[RX]++;
		segment.gpa = memory_gpa(&guest->memory, slot(guest, RX, token));
		if (!ring_add(&guest->ring[RX], &segment, 1, token))
			return -1;
	}
	queue_kick(&guest->queue[RX]);
	if (device_drain(&guest->device))
		return -1;
	for (unsigned int i = 0; i < answers; i++) {
		if (ring_get(&guest->ring[RX], &token, &len) != 1 || len != HEADER) {
			fprintf(stderr, "# %u answers instead of %u\n", i, answers);
			return -1;
		}
		memcpy(&header, slot(guest, RX, token), HEADER);
		port = port_of(pause->answered, pause->version[pause->answered]);
		if (header.op != VIRTIO_VSOCK_OP_RST || header.dst_port != port) {
			fprintf(stderr, "# packet %u: from port %u, not %u\n", pause->answered,
				header.dst_port, port);
			return -1;
		}
		pause->answered++;
	}
	return pause_take(pause) == answers ? 0 : -1;
}

static int pause_start(struct pause *pause, struct ring_kind kind)
{
	struct guest *guest = &pause->guest;
	int n;

	memset(pause, 0, sizeof(*pause));
	if (start(guest, kind) ||
	    ring_create(&pause->spare, &guest->memory, kind, RING_SIZE))
		return -1;
	pause->packets = memory_alloc(&guest->memory, MEMORY_REGION, MEMORY_REGION);
	pause->shadow = mmap(NULL, MEMORY_REGION, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!pause->packets || pause->shadow == MAP_FAILED)
		return -1;
	do {
		pause_fill(pause);
		queue_kick(&guest->queue[TX]);
		n = device_drain(&guest->device) ? -1 : pause_take(pause);
	} while (n > 0);
	/* the ring cannot tell that it is full */
	return n || pause->used != RING_SIZE ? -1 : 0;
}

static void pause_end(struct pause *pause)
{
	munmap(pause->shadow, MEMORY_REGION);
	ring_destroy(&pause->spare);
	end(&pause->guest);
}

/* From now on, the descriptors refer to the other version. */
static void turn_descs(struct pause *pause)
{
	struct ring *ring = &pause->guest.ring[TX];
	struct vring_desc *desc = ring->desc;

	for (unsigned int i = 0; i < ring->num; i++)
		desc[i].addr ^= VERSION;
	pause->half = !pause->half;
}

/* Move the ring, and wipe where it was. */
static int move_ring(struct pause *pause)
{
	struct ring *ring = &pause->guest.ring[TX], *spare = &pause->spare;
	void **from[] = { &ring->desc, &ring->driver, &ring->device };
	void **to[] = { &spare->desc, &spare->driver, &spare->device };

	for (unsigned int i = 0; i < ARRAY_SIZE(from); i++) {
		void *old = *from[i];

		memcpy(*to[i], old, RING_SIZE * sizeof(struct vring_desc));
		memset(old, 0xff, RING_SIZE * sizeof(struct vring_desc));
		*from[i] = *to[i];
		*to[i] = old;
	}
	turn_descs(pause);
	return queue_ring_address(&pause->guest.queue[TX]);
}

static uint8_t **packets_region(struct pause *pause)
{
	struct memory *memory = &pause->guest.memory;

	return &memory->region[(pause->packets - memory->base) / MEMORY_REGION];
}

/* Move the memory of the packets. */
static int move_memory(struct pause *pause)
{
	pause->shadowed = !pause->shadowed;
	*packets_region(pause) = pause->shadowed ? pause->shadow : pause->packets;
	return device_memory(&pause->guest.device, &pause->guest.memory);
}

/* Stop the virtqueues and restart them where they were, with or without setting them up again. */
static int stop_and_start(struct pause *pause, bool all)
{
	struct guest *guest = &pause->guest;
	uint32_t base[2];

	if (set_running(guest, 0) || queue_get_base(&guest->queue[RX], &base[RX]) ||
	    queue_get_base(&guest->queue[TX], &base[TX]) ||
	    base[TX] != ring_base(&guest->ring[TX]))
		return -1;
	turn_descs(pause);
	return all ? start_queues(guest, base) : set_running(guest, 1);
}

/* From now on there is an IOTLB, in which some addresses map to other memory. */
static int begin_iotlb(struct pause *pause)
{
	struct guest *guest = &pause->guest;
	struct memory *memory = &guest->memory;
	uint64_t backend = BIT(VHOST_BACKEND_F_IOTLB_MSG_V2);
	struct vhost_msg_v2 message = {
		.type = VHOST_IOTLB_MSG_V2,
		.iotlb = { .type = VHOST_IOTLB_UPDATE, .perm = VHOST_ACCESS_RW },
	};

	pause->shadowed = !pause->shadowed;
	*packets_region(pause) = pause->shadowed ? pause->shadow : pause->packets;
	if (ioctl(guest->device.fd, VHOST_SET_BACKEND_FEATURES, &backend) ||
	    device_features(&guest->device, guest->features | BIT(VIRTIO_F_ACCESS_PLATFORM)))
		return -1;
	for (unsigned int i = 0; i <= MEMORY_REGIONS; i++) {
		/* the rings do not move */
		uint64_t iova = (uintptr_t)memory->base, uaddr = iova, size = MEMORY_SIZE;

		if (i < MEMORY_REGIONS) {
			iova = MEMORY_GPA + i * MEMORY_REGION;
			uaddr = (uintptr_t)memory->region[i];
			size = MEMORY_REGION;
		}
		message.iotlb.iova = iova;
		message.iotlb.uaddr = uaddr;
		message.iotlb.size = size;
		if (write(guest->device.fd, &message, sizeof(message)) != sizeof(message))
			return -1;
	}
	/* the device has forgotten their addresses */
	return queue_ring_address(&guest->queue[RX]) ||
	       queue_ring_address(&guest->queue[TX]) ? -1 : 0;
}

FIXTURE(pause)
{
	struct pause pause;
};

FIXTURE_VARIANT(pause)
{
	struct ring_kind kind;
};

#undef RING_KINDS_OF
#define RING_KINDS_OF	pause
#define RING_KINDS_DIRECT
#include "ring_kinds.h"

FIXTURE_SETUP(pause)
{
	if (access(DEVICE, F_OK))
		SKIP(return, "there is no " DEVICE);
	ASSERT_EQ(0, pause_start(&self->pause, variant->kind)) {
		TH_LOG("%s", strerror(errno));
	}
}

FIXTURE_TEARDOWN(pause)
{
	EXPECT_EQ(0, queue_errors(&self->pause.guest.queue[RX]));
	EXPECT_EQ(0, queue_errors(&self->pause.guest.queue[TX]));
	pause_end(&self->pause);
}

static int between_pauses(struct pause *pause)
{
	pause_fill(pause);
	return pause_pass(pause, 1 + random() % 8);
}

TEST_F(pause, nothing_else)
{
	for (int i = 0; i < 40; i++)
		ASSERT_EQ(0, between_pauses(&self->pause));
}

TEST_F(pause, ring_moves)
{
	for (int i = 0; i < 40; i++) {
		ASSERT_EQ(0, between_pauses(&self->pause));
		ASSERT_EQ(0, move_ring(&self->pause));
	}
}

TEST_F(pause, memory_moves)
{
	for (int i = 0; i < 40; i++) {
		ASSERT_EQ(0, between_pauses(&self->pause));
		ASSERT_EQ(0, move_memory(&self->pause));
	}
}

TEST_F(pause, stop_and_start)
{
	for (int i = 0; i < 40; i++) {
		ASSERT_EQ(0, between_pauses(&self->pause));
		ASSERT_EQ(0, stop_and_start(&self->pause, i % 2));
	}
}

TEST_F(pause, iotlb_begins)
{
	for (int i = 0; i < 20; i++) {
		if (i == 10)
			ASSERT_EQ(0, begin_iotlb(&self->pause));
		ASSERT_EQ(0, between_pauses(&self->pause));
	}
}

TEST_HARNESS_MAIN
