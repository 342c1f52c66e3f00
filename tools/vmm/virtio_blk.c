// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device process of a disk: virtio-blk (VIRTIO 1.2, 5.2) on io_uring.
 *
 * One thread serves the guest's accesses, begins requests, and completes those that are done
 * at once; another one waits for the rest. All they share is protected by one lock.
 *
 * What a request does depends on nothing but its own buffers, and the driver does not
 * touch these before the request is used. So to carry it out twice, when a former process
 * has died over it, is to carry it out once. For the same reason the image is not opened with
 * O_DIRECT: without it, nothing of a process that has been waited for is still under way.
 */
#include <err.h>
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <liburing.h>
#include <pthread.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <ioregionfd.h>
#include "confine.h"
#include "device.h"
#include "kill_point.h"
#include "ring.h"
#include "util.h"
#include "virtio_mmio.h"

#define SECTOR			512
#define MAX_DISCARD		0x100000	/* sectors */
#define MAX_ZEROES		2048		/* sectors, which are written */
#define ZEROES			65536		/* bytes written from the same zeroes */

#define FEATURES	(BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) | \
			 BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_DISCARD) | \
			 BIT(VIRTIO_BLK_F_WRITE_ZEROES) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | \
			 BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_VERSION_1) | \
			 BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER))

/* A request while it is carried out. */
struct io {
	struct virtqueue_request *request;
	unsigned int queue;
	uint8_t opcode;			/* IORING_OP_* */
	uint64_t offset;		/* in the image, in bytes */
	uint64_t len;			/* what remains, in bytes */
	bool fills;			/* all that may be written will be, if it succeeds */
	uint8_t *status;
	/* OP_READV and OP_WRITEV */
	struct iovec iov[VIRTQUEUE_MAX_SIZE], *next;
	unsigned int nr_iov;
};

struct blk {
	pthread_mutex_t lock;		/* protects all that follows */
	pthread_cond_t drained;		/* some in_flight[] has become 0 */
	struct device device;
	struct virtio_mmio mmio;
	struct virtio_blk_config config;
	struct ring ring;
	unsigned int in_flight[DEVICE_MAX_QUEUES];
	bool look_again[DEVICE_MAX_QUEUES];
	struct io ios[DEVICE_MAX_QUEUES][VIRTQUEUE_MAX_SIZE];
};

static struct blk this_blk = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.drained = PTHREAD_COND_INITIALIZER,
};

static struct blk *to_blk(struct virtio_mmio *mmio)
{
	return (struct blk *)((char *)mmio - offsetof(struct blk, mmio));
}

/* The io_uring */

/* Writes are stable when they are completed if the driver cannot flush (5.2.6.2). */
static int write_flags(const struct blk *blk)
{
	return virtio_mmio_has(&blk->mmio, VIRTIO_BLK_F_FLUSH) ? 0 : RWF_DSYNC;
}

static void queue_io(struct blk *blk, struct io *io)
{
	/* There is one for each request. */
	struct io_uring_sqe *sqe = ring_sqe(&blk->ring);

	switch (io->opcode) {
	case IORING_OP_READV:
		io_uring_prep_readv(sqe, 0, io->next, io->nr_iov, io->offset);
		break;
	case IORING_OP_WRITEV:
		io_uring_prep_writev2(sqe, 0, io->next, io->nr_iov, io->offset,
				      write_flags(blk));
		break;
	case IORING_OP_FSYNC:
		io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
		break;
	case IORING_OP_FALLOCATE:
		io_uring_prep_fallocate(sqe, 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					io->offset, io->len);
		break;
	}
	/* File 0 of those that are registered: the only one. */
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, io);
	blk->in_flight[io->queue]++;
}

/* Let the other thread look at queue @n, when it gets the lock. */
static void look_again(struct blk *blk, unsigned int n)
{
	blk->look_again[n] = true;
	ring_wake(&blk->ring);
}

/* Requests */

static void finish(struct blk *blk, struct io *io, uint8_t status)
{
	uint32_t writable = virtqueue_writable(io->request), len = 0;

	kill_point();
	__atomic_store_n(io->status, status, __ATOMIC_RELAXED);
	/* What counts are bytes from the start, and the status is the last one (2.7.8.2). */
	if (writable == 1 || (io->fills && status == VIRTIO_BLK_S_OK))
		len = writable;
	virtqueue_complete(&blk->mmio.queues[io->queue], io->request, len);
}

static uint8_t *host(const struct blk *blk, const struct virtqueue_segment *segment)
{
	return guest_memory_at(&blk->device.memory, segment->addr, segment->len);
}

/* The bytes of segments @from to @to, without the first @skip and the last @drop. */
static uint64_t set_iov(struct blk *blk, struct io *io, unsigned int from, unsigned int to,
			uint32_t skip, uint32_t drop)
{
	const struct virtqueue_segment *segments = io->request->segments;
	uint32_t len, skipped;
	unsigned int i;

	io->next = io->iov;
	io->nr_iov = 0;
	io->len = 0;
	for (i = from; i < to; i++) {
		len = segments[i].len;
		skipped = skip < len ? skip : len;
		skip -= skipped;
		len -= skipped;
		if (i == to - 1)
			len -= drop < len ? drop : len;
		if (!len)
			continue;
		io->iov[io->nr_iov].iov_base = host(blk, &segments[i]) + skipped;
		io->iov[io->nr_iov++].iov_len = len;
		io->len += len;
	}
	return io->len;
}

/* Between the memory of the process and that of the guest. */
static size_t copy(const struct io *io, void *buf, size_t size, bool to_guest)
{
	unsigned int i;
	size_t n, done = 0;

	for (i = 0; i < io->nr_iov && done < size; i++) {
		n = io->iov[i].iov_len < size - done ? io->iov[i].iov_len : size - done;
		if (to_guest)
			memcpy(io->iov[i].iov_base, (char *)buf + done, n);
		else
			memcpy((char *)buf + done, io->iov[i].iov_base, n);
		done += n;
	}
	return done;
}

static bool in_image(const struct blk *blk, uint64_t sector, uint64_t sectors)
{
	uint64_t capacity = blk->config.capacity;

	return sector <= capacity && sectors <= capacity - sector;
}

static bool read_only(const struct blk *blk)
{
	return blk->mmio.features & BIT(VIRTIO_BLK_F_RO);
}

/* Returns a status if the request is finished, and -1 if it has begun. */
static int begin_rw(struct blk *blk, struct io *io, uint64_t sector, bool write)
{
	const struct virtqueue_request *request = io->request;

	if (write)
		set_iov(blk, io, 0, request->nr_readable, sizeof(struct virtio_blk_outhdr), 0);
	else
		set_iov(blk, io, request->nr_readable, request->nr_segments, 0, 1);
	if (write && read_only(blk))
		return VIRTIO_BLK_S_IOERR;
	if (io->len % SECTOR || !in_image(blk, sector, io->len / SECTOR))
		return VIRTIO_BLK_S_IOERR;
	io->fills = !write;
	if (!io->len)
		return VIRTIO_BLK_S_OK;
	io->opcode = write ? IORING_OP_WRITEV : IORING_OP_READV;
	io->offset = sector * SECTOR;
	queue_io(blk, io);
	return -1;
}

static void set_zeroes(struct io *io, uint64_t len)
{
	static char zeroes[ZEROES];

	io->next = io->iov;
	io->nr_iov = 0;
	for (io->len = len; len; len -= io->iov[io->nr_iov++].iov_len) {
		io->iov[io->nr_iov].iov_base = zeroes;
		io->iov[io->nr_iov].iov_len = len < ZEROES ? len : ZEROES;
	}
}

/* VIRTIO_BLK_T_DISCARD, or VIRTIO_BLK_T_WRITE_ZEROES if @zeroes */
static int begin_discard(struct blk *blk, struct io *io, bool zeroes)
{
	uint32_t max = zeroes ? MAX_ZEROES : MAX_DISCARD;
	struct virtio_blk_discard_write_zeroes range;
	bool unmap;

	set_iov(blk, io, 0, io->request->nr_readable, sizeof(struct virtio_blk_outhdr), 0);
	/* max_discard_seg and max_write_zeroes_seg are 1. */
	if (io->len != sizeof(range))
		return VIRTIO_BLK_S_IOERR;
	copy(io, &range, sizeof(range), false);
	unmap = range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	/* Unknown flags, and unmap for a discard, are not supported (5.2.6.2). */
	if (range.flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP || (unmap && !zeroes))
		return VIRTIO_BLK_S_UNSUPP;
	if (read_only(blk) || range.num_sectors > max ||
	    !in_image(blk, range.sector, range.num_sectors))
		return VIRTIO_BLK_S_IOERR;
	if (!range.num_sectors)
		return VIRTIO_BLK_S_OK;
	io->offset = range.sector * SECTOR;
	if (zeroes && !unmap) {
		io->opcode = IORING_OP_WRITEV;
		set_zeroes(io, (uint64_t)range.num_sectors * SECTOR);
	} else {
		io->opcode = IORING_OP_FALLOCATE;
		io->len = (uint64_t)range.num_sectors * SECTOR;
	}
	queue_io(blk, io);
	return -1;
}

static int begin_flush(struct blk *blk, struct io *io)
{
	io->opcode = IORING_OP_FSYNC;
	queue_io(blk, io);
	return -1;
}

/* The rest of a longer buffer is zeroes, as is that of a shorter serial. */
static int get_id(struct blk *blk, struct io *io)
{
	unsigned int i;

	set_iov(blk, io, io->request->nr_readable, io->request->nr_segments, 0, 1);
	for (i = 0; i < io->nr_iov; i++)
		memset(io->iov[i].iov_base, 0, io->iov[i].iov_len);
	copy(io, blk->device.args.serial, sizeof(blk->device.args.serial), true);
	io->fills = true;
	return VIRTIO_BLK_S_OK;
}

/* Types that come with a feature are not supported without it. */
static int begin_type(struct blk *blk, struct io *io, const struct virtio_blk_outhdr *header)
{
	switch (header->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		return begin_rw(blk, io, header->sector, header->type == VIRTIO_BLK_T_OUT);
	case VIRTIO_BLK_T_FLUSH:
		return begin_flush(blk, io);
	case VIRTIO_BLK_T_GET_ID:
		return get_id(blk, io);
	case VIRTIO_BLK_T_DISCARD:
		if (virtio_mmio_has(&blk->mmio, VIRTIO_BLK_F_DISCARD))
			return begin_discard(blk, io, false);
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		if (virtio_mmio_has(&blk->mmio, VIRTIO_BLK_F_WRITE_ZEROES))
			return begin_discard(blk, io, true);
		break;
	}
	return VIRTIO_BLK_S_UNSUPP;
}

/*
 * Begin what has been fetched, now or by a former process. Where the descriptors are cut
 * is up to the driver (2.7.4.1). False: there is no place for a header or for a status.
 */
static bool begin(struct blk *blk, unsigned int n, struct virtqueue_request *request)
{
	struct io *io = &blk->ios[n][request - blk->mmio.queues[n].requests];
	const struct virtqueue_segment *last = &request->segments[request->nr_segments - 1];
	struct virtio_blk_outhdr header;
	int status;

	io->request = request;
	io->queue = n;
	io->fills = false;
	if (request->nr_readable == request->nr_segments)
		return false;
	io->status = host(blk, last) + last->len - 1;
	set_iov(blk, io, 0, request->nr_readable, 0, 0);
	/* A copy: the driver may change it at any time. */
	if (copy(io, &header, sizeof(header), false) < sizeof(header))
		return false;
	status = begin_type(blk, io, &header);
	kill_point();
	if (status >= 0)
		finish(blk, io, status);
	return true;
}

/* Begin what there is, but let others have the lock after as much as a queue holds. */
static void fetch_all(struct blk *blk, unsigned int n)
{
	struct virtqueue *q = &blk->mmio.queues[n];
	unsigned int budget = VIRTQUEUE_MAX_SIZE;
	struct virtqueue_request *request;
	int ret;

	do {
		while ((ret = virtqueue_fetch(q, &request)) > 0) {
			if (!begin(blk, n, request)) {
				ret = -EINVAL;
				break;
			}
			if (!--budget) {
				look_again(blk, n);
				return;
			}
		}
	} while (!ret && virtqueue_ask_for_kick(q));
	if (ret)
		virtio_mmio_needs_reset(&blk->mmio);
}

/* Returns true if the request is finished, with a status. */
static bool advance(struct io *io, int res, uint8_t *status)
{
	*status = VIRTIO_BLK_S_OK;
	if (res == -EAGAIN || res == -EINTR)
		return false;
	if (res < 0) {
		*status = res == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
		return true;
	}
	if (io->opcode != IORING_OP_READV && io->opcode != IORING_OP_WRITEV)
		return true;
	/* The image has become shorter. */
	if (!res)
		*status = VIRTIO_BLK_S_IOERR;
	io->offset += res;
	io->len -= res;
	while (io->nr_iov && (size_t)res >= io->next->iov_len) {
		res -= io->next->iov_len;
		io->next++;
		io->nr_iov--;
	}
	if (io->nr_iov) {
		io->next->iov_base = (char *)io->next->iov_base + res;
		io->next->iov_len -= res;
	}
	return *status || !io->len;
}

static void completed(void *opaque, void *data, int res)
{
	struct blk *blk = opaque;
	struct io *io = data;
	bool running = blk->mmio.queues[io->queue].running;
	uint8_t status;

	kill_point();
	if (!--blk->in_flight[io->queue])
		pthread_cond_broadcast(&blk->drained);
	/* The guest has its memory back as soon as drain() returns. */
	if (!running)
		return;
	if (advance(io, res, &status))
		finish(blk, io, status);
	else
		queue_io(blk, io);
}

/* At the end of whatever has been done with the lock held: what others are to know of it */
static void submit_and_interrupt(struct blk *blk)
{
	unsigned int n;

	ring_submit(&blk->ring, completed, blk);
	for (n = 0; n < blk->mmio.nr_queues; n++)
		virtio_mmio_used(&blk->mmio, n);
}

static void *completion_thread(void *arg)
{
	struct blk *blk = arg;
	unsigned int n;

	for (;;) {
		ring_wait(&blk->ring);
		pthread_mutex_lock(&blk->lock);
		for (n = 0; n < blk->mmio.nr_queues; n++) {
			if (!blk->look_again[n])
				continue;
			blk->look_again[n] = false;
			fetch_all(blk, n);
		}
		submit_and_interrupt(blk);
		pthread_mutex_unlock(&blk->lock);
	}
	return NULL;
}

/* For virtio_mmio.c, with the lock held */

static void kick(struct virtio_mmio *mmio, unsigned int n)
{
	fetch_all(to_blk(mmio), n);
	submit_and_interrupt(to_blk(mmio));
}

static void start(struct virtio_mmio *mmio, unsigned int n)
{
	struct virtqueue_request *request;
	struct blk *blk = to_blk(mmio);

	while ((request = virtqueue_next_fetched(&mmio->queues[n]))) {
		if (!begin(blk, n, request)) {
			virtio_mmio_needs_reset(mmio);
			break;
		}
	}
	/* In any case, as what has begun is to be submitted: drain() waits for it. */
	kick(mmio, n);
}

static void drain(struct virtio_mmio *mmio, unsigned int n)
{
	struct blk *blk = to_blk(mmio);

	while (blk->in_flight[n])
		pthread_cond_wait(&blk->drained, &blk->lock);
}

static const struct virtio_device_ops blk_ops = {
	.start = start,
	.kick = kick,
	.drain = drain,
};

static uint16_t command(void *base, const struct ioregionfd_cmd *cmd, uint64_t *value)
{
	struct blk *blk = &this_blk;
	uint16_t status;

	pthread_mutex_lock(&blk->lock);
	device_count(&blk->device, cmd);
	kill_point();
	status = virtio_mmio_command(&blk->mmio, (uintptr_t)base, cmd, value);
	kill_point();
	pthread_mutex_unlock(&blk->lock);
	return status;
}

static const struct ioregionfd_ops region_ops = { .command = command };

/* Start */

static uint64_t image_size(void)
{
	struct stat st;
	uint64_t size;

	if (fstat(DEVICE_BACKEND_FD, &st))
		err(EXIT_FAILURE, "no image; the VMM starts this program");
	if (!S_ISBLK(st.st_mode))
		return st.st_size;
	if (ioctl(DEVICE_BACKEND_FD, BLKGETSIZE64, &size))
		err(EXIT_FAILURE, "BLKGETSIZE64");
	return size;
}

static void init_mmio(struct blk *blk)
{
	struct virtio_mmio *mmio = &blk->mmio;

	blk->config.capacity = image_size() / SECTOR;
	/* A header and a status may need two more. */
	blk->config.seg_max = VIRTQUEUE_MAX_SIZE - 2;
	blk->config.blk_size = SECTOR;
	blk->config.max_discard_sectors = MAX_DISCARD;
	blk->config.max_discard_seg = 1;
	blk->config.discard_sector_alignment = 1;
	blk->config.max_write_zeroes_sectors = MAX_ZEROES;
	blk->config.max_write_zeroes_seg = 1;
	blk->config.write_zeroes_may_unmap = 1;

	virtio_mmio_init(mmio, &blk->device);
	mmio->ops = &blk_ops;
	mmio->device_id = VIRTIO_ID_BLOCK;
	mmio->features = FEATURES & blk->device.args.features;
	if (blk->device.args.flags & DEVICE_READ_ONLY)
		mmio->features |= BIT(VIRTIO_BLK_F_RO);
	mmio->nr_queues = 1;
	mmio->config = &blk->config;
	mmio->config_size = sizeof(blk->config);
}

static void init_ring(struct blk *blk)
{
	static const uint8_t ops[] = {
		IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
	};

	ring_init(&blk->ring, DEVICE_MAX_QUEUES * VIRTQUEUE_MAX_SIZE, DEVICE_BACKEND_FD, ops,
		  sizeof(ops));
}

int main(void)
{
	static const int syscalls[] = {
		SCMP_SYS(io_uring_enter),
		/* a socket as a channel */
		SCMP_SYS(poll), SCMP_SYS(recvfrom), SCMP_SYS(sendto),
	};
	struct blk *blk = &this_blk;

	device_init(&blk->device);
	init_mmio(blk);
	virtio_mmio_register(&blk->device, &region_ops);
	init_ring(blk);

	confine_with_thread(blk->device.args.id, syscalls, ARRAY_SIZE(syscalls), DEVICE_CHANNEL_FD,
			    completion_thread, blk);

	pthread_mutex_lock(&blk->lock);
	virtio_mmio_start(&blk->mmio);
	pthread_mutex_unlock(&blk->lock);
	device_serve(&blk->device);
	/* What is in flight goes with the VM. */
	_exit(EXIT_SUCCESS);
}
