/* SPDX-License-Identifier: GPL-2.0-only */
/* Ethernet frames from one network interface to another: none lost, changed or reordered */
#ifndef VIRTIO_TEST_FRAMES_H
#define VIRTIO_TEST_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_LEAST	60		/* bytes, from the header on */
#define FRAME_MOST	9014

/* One direction. */
struct frames {
	int from, to;
	uint32_t sent, received;	/* so far */
};

/* Up, with @mtu. All return 0 or, having said why, -1. */
int interface_up(const char *name, unsigned int mtu);

int frames_open(struct frames *frames, const char *from, const char *to);
void frames_close(struct frames *frames);

/*
 * @count frames, at most @burst (up to 256) on their way at a time. Their sizes go
 * from @least to @most and begin anew.
 */
int frames_pass(struct frames *frames, uint32_t count, unsigned int burst, size_t least,
		size_t most);

/* Send without anybody that receives, until it fails. */
void frames_flood(struct frames *frames, size_t size);

/* Receive what others have sent, until no more comes. */
void frames_settle(struct frames *frames);

#endif
