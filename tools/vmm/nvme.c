// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device process of an NVMe controller.
 *
 * One thread serves the guest's accesses, begins commands, and completes those that are done
 * at once; another one waits for the rest. All they share is protected by one lock.
 */
#include "nvme.h"

#include <err.h>
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <ioregionfd.h>
#include "confine.h"
#include "kill_point.h"
#include "posted.h"
#include "util.h"

#define MAX_DELAYED	32

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* protects the rest */
static struct device this_device;
static struct nvme this_nvme;
static struct posted doorbells;
static unsigned int delayed;	/* commands since submit_and_interrupt() */

/* The io_uring */

void nvme_queue_io(struct nvme *nvme, struct nvme_io *io)
{
	/* There is one for each request, and one for the flush. */
	struct io_uring_sqe *sqe = ring_sqe(&nvme->ring);

	switch (io->opcode) {
	case IORING_OP_READV:
		io_uring_prep_readv(sqe, 0, io->next, io->nr_iov, io->offset);
		break;
	case IORING_OP_WRITEV:
		io_uring_prep_writev2(sqe, 0, io->next, io->nr_iov, io->offset, io->flags);
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
	nvme->in_flight++;
	if (io->request)
		nvme->sqs[io->sq].in_flight++;
}

static int irq_fd(unsigned int vector)
{
	return vector ? DEVICE_NR_FDS + vector - 1 : DEVICE_IRQ_FD;
}

static void raise_interrupts(struct nvme *nvme)
{
	uint64_t one = 1;
	unsigned int vector;
	ssize_t n;

	for (vector = 0; nvme->interrupts; vector++) {
		if (!(nvme->interrupts & BIT(vector)))
			continue;
		nvme->interrupts &= ~BIT(vector);
		kill_point();
		/* Fails only if the counter is full, and then the interrupt has been raised. */
		n = write(irq_fd(vector), &one, sizeof(one));
		(void)n;
		kill_point();
	}
}

static void completed(void *nvme, void *io, int res)
{
	nvme_io_completed(nvme, io, res);
}

/* At the end of whatever has been done with the lock held: what others are to know of it */
static void submit_and_interrupt(struct nvme *nvme)
{
	ring_submit(&nvme->ring, completed, nvme);
	raise_interrupts(nvme);
}

static void *completion_thread(void *arg)
{
	struct nvme *nvme = arg;

	for (;;) {
		ring_wait(&nvme->ring);
		pthread_mutex_lock(&lock);
		submit_and_interrupt(nvme);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

/* Accesses; @opaque is where the region begins. */
static uint16_t command(void *opaque, const struct ioregionfd_cmd *cmd, uint64_t *value)
{
	struct nvme *nvme = &this_nvme;
	uint16_t status = IOREGIONFD_STATUS_DONE;

	/* Regions that are larger than they should be */
	if (cmd->offset >= NVME_REGISTERS_SIZE)
		return IOREGIONFD_STATUS_UNMAPPED;
	pthread_mutex_lock(&lock);
	device_count(&this_device, cmd);
	kill_point();
	if (!posted_begin(&doorbells, cmd)) {
		status = nvme_access(nvme, (uintptr_t)opaque + cmd->offset, cmd, value);
		posted_end(&doorbells, cmd);
	}
	/* Many doorbells make one batch, with one interrupt. */
	if (!posted_more(&doorbells, cmd) || ++delayed == MAX_DELAYED) {
		delayed = 0;
		submit_and_interrupt(nvme);
	}
	kill_point();
	pthread_mutex_unlock(&lock);
	return status;
}

/* Start */

static void check(int ret, const char *what)
{
	if (ret)
		errx(EXIT_FAILURE, "%s: %s", what, strerror(-ret));
}

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

static void init_controller(struct nvme *nvme)
{
	struct device *device = &this_device;

	nvme->device = device;
	nvme->state = &device->state->nvme;
	nvme->nr_io_queues = device->args.nr_more_irqs;
	nvme->sectors = image_size() >> NVME_SECTOR_SHIFT;
	nvme->read_only = device->args.flags & DEVICE_READ_ONLY;
	/* Each queue has an interrupt of its own, if the driver wants that. */
	if (!nvme->nr_io_queues || nvme->nr_io_queues > NVME_MAX_IO_QUEUES)
		errx(EXIT_FAILURE, "%u interrupts for I/O queues", nvme->nr_io_queues);
	posted_init(&doorbells, DEVICE_CHANNEL_FD, &nvme->state->posted);
}

static void init_ring(struct nvme *nvme)
{
	static const uint8_t ops[] = {
		IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
	};

	ring_init(&nvme->ring, (1 + nvme->nr_io_queues) * NVME_MAX_REQUESTS + 1,
		  DEVICE_BACKEND_FD, ops, sizeof(ops));
}

static void init_regions(void)
{
	static const struct ioregionfd_ops ops = { .command = command };
	static const uint64_t bases[] = { 0, NVME_DOORBELLS };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bases); i++)
		check(ioregionfd_register(this_device.task, bases[i], &ops,
					  (void *)(uintptr_t)bases[i]), "ioregionfd_register");
}

int main(void)
{
	static const int syscalls[] = {
		SCMP_SYS(io_uring_enter),
		/* a socket as a channel */
		SCMP_SYS(poll), SCMP_SYS(recvfrom), SCMP_SYS(sendto),
	};
	struct nvme *nvme = &this_nvme;

	device_init(&this_device);
	init_controller(nvme);
	init_ring(nvme);
	init_regions();

	confine_with_thread(this_device.args.id, syscalls, ARRAY_SIZE(syscalls), DEVICE_CHANNEL_FD,
			    completion_thread, nvme);

	pthread_mutex_lock(&lock);
	nvme_start(nvme);
	submit_and_interrupt(nvme);
	pthread_mutex_unlock(&lock);
	device_serve(&this_device);
	/* What is in flight goes with the VM. */
	_exit(EXIT_SUCCESS);
}
