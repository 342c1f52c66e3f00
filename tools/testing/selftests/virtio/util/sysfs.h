/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel reports about a virtio device and its queues */
#ifndef VIRTIO_TEST_SYSFS_H
#define VIRTIO_TEST_SYSFS_H

#include <stdbool.h>
#include <stddef.h>

/* Read the first line of a file, without the newline. Returns 0 or -1. @path is a format. */
int file_read(char *line, size_t size, const char *path, ...);
int file_write(const char *text, const char *path, ...);

/* Get the last component of the only path that matches. Returns 0 or -1. */
int path_match(char *name, size_t size, const char *pattern, ...);

/* Get the last component of the target of a link. Returns 0 or -1. */
int link_target(char *name, size_t size, const char *path, ...);

/* Has a device such as "virtio0" this feature? Returns 1 or 0, or -1 if that is unknown. */
int virtio_feature(const char *device, unsigned int bit);

struct queue_statistics {
	bool packed, in_order;
	unsigned int size;
	unsigned long buffers, batches;
};

/* From debugfs; 0 or -1. */
int virtio_queue_statistics(const char *device, unsigned int index, struct queue_statistics *is);

/* Can this kernel's virtio drivers negotiate VIRTIO_F_IN_ORDER? */
bool virtio_knows_in_order(void);

int load_modules(const char *names);

#endif
