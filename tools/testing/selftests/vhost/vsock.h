/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's side of /dev/vhost-vsock: virtqueues, and one stream, of which each byte is known.
 * The host's side is up to the tests.
 */
#ifndef _SELFTESTS_VHOST_VSOCK_H
#define _SELFTESTS_VHOST_VSOCK_H

#include <sys/socket.h>
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include "device.h"

#define VSOCK_DEVICE	"/dev/vhost-vsock"
#define GUEST_PORT	1024
#define RING_SIZE	64
#define SLOT_SIZE	4096
#define HEADER		sizeof(struct virtio_vsock_hdr)

enum { RX, TX };

struct vsock_guest {
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
	uint32_t room;			/* of the guest's socket */
	uint32_t host_fwd_cnt;		/* as the last packet had it */
	int socket;			/* the host's side */
	uint32_t host_sent, host_received;
};

/* The byte at this offset of a stream */
uint8_t vsock_byte_at(uint32_t offset);

/* The device with both virtqueues; then the virtqueues alone, after they were stopped */
int vsock_start(struct vsock_guest *guest, struct ring_kind kind);
int vsock_start_queues(struct vsock_guest *guest, const uint32_t *base);
void vsock_end(struct vsock_guest *guest);

/* VHOST_VSOCK_SET_RUNNING */
int vsock_set_running(struct vsock_guest *guest, int on);

/* Where the buffer with this token is */
uint8_t *vsock_slot(struct vsock_guest *guest, int which, uint32_t token);

/* Cut what is at @at into some segments, none of which is empty. Returns how many, at most 4. */
unsigned int vsock_cut(const struct vsock_guest *guest, const uint8_t *at, size_t size, bool write,
		       struct segment *segments);

/* Write a packet to a port of the host's to which nobody listens: the device answers it. */
void vsock_packet(const struct vsock_guest *guest, uint8_t *at, uint32_t port);

/* Add a packet, with the next bytes of the stream if it has data. */
bool tx_add(struct vsock_guest *guest, uint16_t op, size_t size);

/* Take back the buffers of sent packets. */
int tx_take(struct vsock_guest *guest);

/* Kick the device if it wants that. It must use all packets. */
int tx_pass(struct vsock_guest *guest);

/* Add as many receive buffers as there is room for. */
void rx_fill(struct vsock_guest *guest);

/* Take received packets as long as more come when there is room. */
int rx_pass(struct vsock_guest *guest);

#endif
