/* SPDX-License-Identifier: GPL-2.0-only */
/* Data that many threads write to a block device, and the expected content */
#ifndef VIRTIO_TEST_DISK_H
#define VIRTIO_TEST_DISK_H

#include <stdbool.h>
#include <stdint.h>

#define DISK_SECTOR	512

struct disk {
	int fd;
	unsigned int sectors;
	uint32_t *generation;	/* of each sector: number of the last write; 0: none */
	bool removed;		/* while requests were outstanding: failures are then no errors */
};

/* All print a message and return -1 on failure, else 0. The page cache is not used. */
int disk_open(struct disk *disk, const char *path);
void disk_close(struct disk *disk);

/* Write zeroes to all of it, as there are on a device that is new. */
int disk_clear(struct disk *disk);

/*
 * @workers threads write and read random requests of up to @most sectors, @rounds each, in a
 * part of the device of their own, and check what they read.
 */
int disk_work(struct disk *disk, unsigned int workers, unsigned int rounds, unsigned int most);

/* The same until @remove has removed the device, which all threads must notice. */
int disk_work_until(struct disk *disk, unsigned int workers, unsigned int most,
		    int (*remove)(void *), void *argument);

/* Compare everything that was written with @path, the device or the file behind it. */
int disk_compare(const struct disk *disk, const char *path);

#endif
