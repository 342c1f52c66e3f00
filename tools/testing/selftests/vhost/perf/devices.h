/* SPDX-License-Identifier: GPL-2.0-only */
/* What is behind the virtqueues that are measured */
#ifndef _VHOST_PERF_DEVICES_H
#define _VHOST_PERF_DEVICES_H

#include <stdbool.h>

/* A packet of 64 bytes, behind the header of virtio 1 */
#define PACKET_LEN	64
#define HEADER_LEN	12

struct device {
	const char *name;
	const char *path;
	unsigned int index;	/* of the virtqueue */
	unsigned int len;	/* of a buffer */
	bool write;		/* by vhost */
	/* Give the virtqueue of @vhost its backend */
	void (*start)(int vhost);
	/* Have something ready for @n buffers, if not NULL */
	void (*prepare)(unsigned int n);
	/* Leave no trace, if not NULL */
	void (*stop)(void);
};

/* Ends with one that has no name */
extern const struct device devices[];

#endif
