/* SPDX-License-Identifier: GPL-2.0-only */
/* Data on a block device, written by many at a time, and what has to be there */
#ifndef VIRTIO_TEST_DISK_H
#define VIRTIO_TEST_DISK_H

#include <stdbool.h>
#include <stdint.h>

#define DISK_SECTOR	512

struct disk {
	int fd;
	unsigned int sectors;
	uint32_t *generation;	/* of each sector: what was written last; 0: nothing was */
	bool removed;		/* while there was work: what failed is unknown, not an error */
};

/* All return 0 or, having said why, -1. The device is used without the page cache. */
int disk_open(struct disk *disk, const char *path);
void disk_close(struct disk *disk);

/*
 * @workers threads, each on a part of its own, write and read @rounds requests of up to
 * @most sectors, at random, and check what they read.
 */
int disk_work(struct disk *disk, unsigned int workers, unsigned int rounds, unsigned int most);

/* The same without end, until @remove has taken the device away; all must see that. */
int disk_work_until(struct disk *disk, unsigned int workers, unsigned int most,
		    int (*remove)(void *), void *argument);

/* Compare all that was written with what @path, the device or the file behind it, has. */
int disk_compare(const struct disk *disk, const char *path);

#endif
