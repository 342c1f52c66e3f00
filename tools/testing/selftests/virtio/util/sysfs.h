/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel says about a virtio device, and about one of its queues */
#ifndef VIRTIO_TEST_SYSFS_H
#define VIRTIO_TEST_SYSFS_H

#include <stdbool.h>
#include <stddef.h>

/* The first line of a file, without its end; 0 or -1. @path is that of printf(). */
int file_read(char *line, size_t size, const char *path, ...);
int file_write(const char *text, const char *path, ...);

/* The last part of the only path that matches; 0 or -1. */
int path_match(char *name, size_t size, const char *pattern, ...);

/* The last part of where a link leads to; 0 or -1. */
int link_target(char *name, size_t size, const char *path, ...);

/* Of a device such as "virtio0": 1 or 0, or -1 if that cannot be found out. */
int virtio_feature(const char *device, unsigned int bit);

struct queue_statistics {
	bool packed, in_order;
	unsigned int size;
	unsigned long buffers, batches;
};

/* From debugfs; 0 or -1. */
int virtio_queue_statistics(const char *device, unsigned int index, struct queue_statistics *is);

/* Whether this kernel's virtio drivers can negotiate VIRTIO_F_IN_ORDER */
bool virtio_knows_in_order(void);

int load_modules(const char *names);

#endif
