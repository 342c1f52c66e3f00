/* SPDX-License-Identifier: GPL-2.0-only */
/* The devices behind the virtqueues that are measured */
#ifndef _VHOST_PERF_DEVICES_H
#define _VHOST_PERF_DEVICES_H

#include <stdbool.h>

/* A packet of 64 bytes after a VIRTIO 1 header */
#define PACKET_LEN	64
#define HEADER_LEN	12
/* Of a buffer for a packet of any length */
#define BUFFER_SIZE	2048

struct device {
	const char *name;
	const char *path;
	unsigned int index;	/* of the virtqueue */
	unsigned int len;	/* of a buffer */
	bool write;		/* vhost writes it */
	/* Give the virtqueue of @vhost its backend */
	void (*start)(int vhost);
	/* If not NULL: prepare data for @n buffers */
	void (*prepare)(unsigned int n);
	/* If not NULL: clean up */
	void (*stop)(void);
};

/* The last one has no name. */
extern const struct device devices[];

#endif
