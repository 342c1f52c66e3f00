// SPDX-License-Identifier: GPL-2.0-only
/* virtio-blk on a file, which serves requests one at a time and in order */
#include <endian.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include "device.h"

#define SECTOR_SHIFT	9
#define SEGMENTS	126

struct blk {
	int fd;
	uint64_t sectors;
	struct virtio_blk_config config;
	struct ring_buffer buffer;
};

static void blk_open(struct device *device, const char *path)
{
	struct blk *blk = calloc(1, sizeof(*blk));
	unsigned int segments = SEGMENTS;
	struct stat stat;

	if (!blk)
		err(1, "virtio-blk");
	blk->fd = open(path, O_RDWR | O_CLOEXEC);
	if (blk->fd < 0 || fstat(blk->fd, &stat))
		err(1, "%s", path);
	blk->sectors = stat.st_size >> SECTOR_SHIFT;
	/* Without indirect tables, header and status take descriptors of the ring as well. */
	if (segments > device->queue_size - 2)
		segments = device->queue_size - 2;
	blk->config.capacity = htole64(blk->sectors);
	blk->config.seg_max = htole32(segments);
	device->features |= 1ULL << VIRTIO_BLK_F_SEG_MAX | 1ULL << VIRTIO_BLK_F_FLUSH;
	device->config = &blk->config;
	device->config_size = sizeof(blk->config);
	device->state = blk;
}

/*
 * Transfer the data of @iov. Returns false if the file is too short, which is checked each time,
 * because a test truncates the file to let requests fail.
 */
static bool transfer(struct blk *blk, bool write, struct iovec *iov, unsigned int count,
		     uint64_t sector)
{
	size_t length = iov_length(iov, count);
	off_t offset = sector << SECTOR_SHIFT;
	struct stat stat;

	if (length & ((1 << SECTOR_SHIFT) - 1) || sector > blk->sectors ||
	    length >> SECTOR_SHIFT > blk->sectors - sector)
		return false;
	if (fstat(blk->fd, &stat) || stat.st_size - offset < (off_t)length)
		return false;

	while (length) {
		ssize_t done;

		if (write)
			done = pwritev(blk->fd, iov, count, offset);
		else
			done = preadv(blk->fd, iov, count, offset);
		if (done <= 0)
			return false;
		count = iov_trim(iov, count, done, length - done);
		length -= done;
		offset += done;
	}
	return true;
}

/* Returns the number of bytes written, from the start of the writable part. */
static size_t serve_request(struct blk *blk, struct ring_buffer *buffer)
{
	struct iovec *in = &buffer->iov[buffer->num_out], data[RING_MAX_IOV];
	size_t room = buffer->writable - 1, written = 0;
	struct virtio_blk_outhdr header;
	char id[VIRTIO_BLK_ID_BYTES] = "vduse-blk";
	uint8_t status = VIRTIO_BLK_S_OK;
	unsigned int count;
	uint64_t sector;

	iov_read(buffer->iov, buffer->num_out, 0, &header, sizeof(header));
	sector = le64toh(header.sector);

	switch (le32toh(header.type)) {
	case VIRTIO_BLK_T_IN:
		memcpy(data, in, buffer->num_in * sizeof(*in));
		count = iov_trim(data, buffer->num_in, 0, room);
		if (transfer(blk, false, data, count, sector))
			written = room;
		else
			status = VIRTIO_BLK_S_IOERR;
		break;
	case VIRTIO_BLK_T_OUT:
		memcpy(data, buffer->iov, buffer->num_out * sizeof(*data));
		count = iov_trim(data, buffer->num_out, sizeof(header), SIZE_MAX);
		if (!transfer(blk, true, data, count, sector))
			status = VIRTIO_BLK_S_IOERR;
		break;
	case VIRTIO_BLK_T_FLUSH:
		if (fdatasync(blk->fd))
			status = VIRTIO_BLK_S_IOERR;
		break;
	case VIRTIO_BLK_T_GET_ID:
		if (room >= sizeof(id))
			written = iov_write(in, buffer->num_in, 0, id, sizeof(id));
		else
			status = VIRTIO_BLK_S_IOERR;
		break;
	default:
		status = VIRTIO_BLK_S_UNSUPP;
	}

	iov_write(in, buffer->num_in, room, &status, sizeof(status));
	/* The status is the last byte. It counts only if everything before it was written. */
	return written == room ? written + 1 : written;
}

static bool blk_serve(struct device *device, unsigned int index)
{
	struct device_ring *ring = &device->queues[index].ring;
	struct blk *blk = device->state;
	struct ring_buffer *buffer = &blk->buffer;

	for (unsigned int i = 0; i < ring->config.size; i++) {
		if (ring_take(ring, buffer) <= 0)
			return false;
		if (!buffer->writable || iov_length(buffer->iov, buffer->num_out) <
					 sizeof(struct virtio_blk_outhdr)) {
			ring_complain(ring, "a request without header or status");
			return false;
		}
		ring_complete(ring, buffer, serve_request(blk, buffer));
	}
	return true;
}

const struct device_type blk_type = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.queues = 1,
	.worker = &task_worker,
	.open = blk_open,
	.serve = blk_serve,
};
