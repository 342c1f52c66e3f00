/* SPDX-License-Identifier: GPL-2.0-only */
/* Ethernet frames between two network interfaces: none may be lost, changed or reordered */
#ifndef VIRTIO_TEST_FRAMES_H
#define VIRTIO_TEST_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_LEAST	60		/* bytes, including the header */
#define FRAME_MOST	9014

/* One direction */
struct frames {
	int from, to;
	uint32_t sent, received;	/* so far */
};

/* Set the interface up, with @mtu. On failure, all print a message and return -1, else 0. */
int interface_up(const char *name, unsigned int mtu);

int frames_open(struct frames *frames, const char *from, const char *to);
void frames_close(struct frames *frames);

/*
 * Pass @count frames, with at most @burst (up to 256) on their way at a time. Their sizes go from
 * @least to @most, again and again.
 */
int frames_pass(struct frames *frames, uint32_t count, unsigned int burst, size_t least,
		size_t most);

/* Send without receiving, until it fails. */
void frames_flood(struct frames *frames, size_t size);

/* Receive what is still on its way, until nothing comes any more. */
void frames_drain(struct frames *frames);

#endif
