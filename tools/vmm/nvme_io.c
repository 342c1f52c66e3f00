// SPDX-License-Identifier: GPL-2.0-only
/*
 * I/O commands (6). The image is not opened with O_DIRECT, so that nothing of a process
 * that has been waited for is still under way.
 */
#include "nvme.h"

#include <errno.h>
#include <string.h>
#include <linux/fs.h>
#include "kill_point.h"
#include "util.h"

#define NR_BLOCKS(c)		(((c)->cdw12 & 0xffff) + 1)
#define PROTECTION(c)		((c)->cdw12 >> 26 & 15)
#define FORCE_UNIT_ACCESS	BIT(30)
#define DEALLOCATE		BIT(25)		/* Write Zeroes */

/* Dataset Management (6.7) */
#define NR_RANGES(c)		(((c)->cdw10 & 0xff) + 1)
#define ATTRIBUTE_DEALLOCATE	BIT(2)

struct dsm_range {
	uint32_t attributes;
	uint32_t nr_blocks;
	uint64_t first;
};

#define ZEROES			65536		/* bytes written from the same zeroes */

static uint64_t first_block(const struct nvme_command *command)
{
	return (uint64_t)command->cdw11 << 32 | command->cdw10;
}

static struct nvme_io *io_of(struct nvme *nvme, unsigned int n, struct nvme_request *request)
{
	struct nvme_io *io = &nvme->ios[n][request - nvme->state->requests[n]];

	io->request = request;
	io->sq = n;
	io->flags = 0;
	io->zeroes = 0;
	io->range = 0;
	io->nr_ranges = 0;
	return io;
}

static int check_range(const struct nvme *nvme, uint64_t first, uint64_t nr)
{
	if (first > nvme->sectors || nr > nvme->sectors - first)
		return NVME_LBA_RANGE;
	return NVME_SUCCESS;
}

/* Stable when completed: if the command says so, or without a cache (5.21.1.6) */
static int write_flags(const struct nvme *nvme, const struct nvme_command *command)
{
	return command->cdw12 & FORCE_UNIT_ACCESS || nvme->state->features.no_write_cache ?
	       RWF_DSYNC : 0;
}

/* Checks that reading, writing and writing zeroes have in common */
static int check_blocks(const struct nvme *nvme, const struct nvme_command *command, bool write)
{
	/* There is no protection information (DPC), and so nothing to check. */
	if (PROTECTION(command))
		return NVME_INVALID_FIELD;
	if (write && nvme->read_only)
		return NVME_READ_ONLY;
	return check_range(nvme, first_block(command), NR_BLOCKS(command));
}

static void count(struct nvme *nvme, const struct nvme_command *command, bool write)
{
	struct nvme_state *s = nvme->state;

	if (write) {
		s->writes++;
		s->sectors_written += NR_BLOCKS(command);
	} else {
		s->reads++;
		s->sectors_read += NR_BLOCKS(command);
	}
}

/* Read and Write (6.9, 6.15) */
static int begin_rw(struct nvme *nvme, unsigned int n, struct nvme_request *request, bool write)
{
	const struct nvme_command *command = &request->command;
	uint64_t len = (uint64_t)NR_BLOCKS(command) << NVME_SECTOR_SHIFT;
	struct nvme_io *io = io_of(nvme, n, request);
	int status;

	/* MDTS */
	if (len > NVME_MAX_TRANSFER)
		return NVME_INVALID_FIELD;
	status = check_blocks(nvme, command, write) ?:
		 nvme_map(nvme, command, len, io->iov, &io->nr_iov);
	if (status)
		return status;
	count(nvme, command, write);
	io->next = io->iov;
	io->opcode = write ? IORING_OP_WRITEV : IORING_OP_READV;
	io->flags = write ? write_flags(nvme, command) : 0;
	io->offset = first_block(command) << NVME_SECTOR_SHIFT;
	io->len = len;
	nvme_queue_io(nvme, io);
	return NVME_LATER;
}

/* As much of io->zeroes as goes into one step */
static void queue_zeroes(struct nvme *nvme, struct nvme_io *io)
{
	static char zeroes[ZEROES];
	struct iovec *iov = io->iov;

	io->next = iov;
	io->len = 0;
	for (io->nr_iov = 0; io->nr_iov < NVME_MAX_IOV && io->zeroes; io->nr_iov++, iov++) {
		iov->iov_base = zeroes;
		iov->iov_len = io->zeroes < ZEROES ? io->zeroes : ZEROES;
		io->zeroes -= iov->iov_len;
		io->len += iov->iov_len;
	}
	nvme_queue_io(nvme, io);
}

/* The next of io->ranges */
static void queue_range(struct nvme *nvme, struct nvme_io *io)
{
	io->opcode = IORING_OP_FALLOCATE;
	io->offset = io->ranges[io->range].offset;
	io->len = io->ranges[io->range].len;
	nvme_queue_io(nvme, io);
}

/* 6.17. Blocks that are deallocated read as zeroes (DLFEAT). */
static int begin_write_zeroes(struct nvme *nvme, unsigned int n, struct nvme_request *request)
{
	const struct nvme_command *command = &request->command;
	uint64_t len = (uint64_t)NR_BLOCKS(command) << NVME_SECTOR_SHIFT;
	struct nvme_io *io = io_of(nvme, n, request);
	int status;

	status = check_blocks(nvme, command, true);
	if (status)
		return status;
	io->offset = first_block(command) << NVME_SECTOR_SHIFT;
	/* To punch a hole has no flag that would make it stable. */
	if (command->cdw12 & DEALLOCATE && !write_flags(nvme, command)) {
		io->ranges[0] = (struct nvme_range) { io->offset, len };
		io->nr_ranges = 1;
		queue_range(nvme, io);
		return NVME_LATER;
	}
	io->opcode = IORING_OP_WRITEV;
	io->flags = write_flags(nvme, command);
	io->zeroes = len;
	queue_zeroes(nvme, io);
	return NVME_LATER;
}

static int begin_flush(struct nvme *nvme, unsigned int n, struct nvme_request *request)
{
	struct nvme_io *io = io_of(nvme, n, request);

	io->opcode = IORING_OP_FSYNC;
	nvme_queue_io(nvme, io);
	return NVME_LATER;
}

/* 6.7. All ranges are checked before anything is done. */
static int begin_dsm(struct nvme *nvme, unsigned int n, struct nvme_request *request)
{
	const struct nvme_command *command = &request->command;
	unsigned int i, nr = NR_RANGES(command);
	struct dsm_range ranges[NVME_MAX_RANGES];
	struct nvme_io *io = io_of(nvme, n, request);
	int status;

	status = nvme_copy_from_guest(nvme, command, ranges, nr * sizeof(ranges[0]));
	if (status)
		return status;
	for (i = 0; i < nr; i++) {
		status = check_range(nvme, ranges[i].first, ranges[i].nr_blocks);
		if (status)
			return status;
		if (!ranges[i].nr_blocks)
			continue;
		io->ranges[io->nr_ranges++] = (struct nvme_range) {
			ranges[i].first << NVME_SECTOR_SHIFT,
			(uint64_t)ranges[i].nr_blocks << NVME_SECTOR_SHIFT,
		};
	}
	/* The other attributes are hints. */
	if (!(command->cdw11 & ATTRIBUTE_DEALLOCATE) || !io->nr_ranges)
		return NVME_SUCCESS;
	if (nvme->read_only)
		return NVME_READ_ONLY;
	queue_range(nvme, io);
	return NVME_LATER;
}

int nvme_io(struct nvme *nvme, unsigned int n, struct nvme_request *request)
{
	const struct nvme_command *command = &request->command;

	/* No fused commands, no SGLs (4.2) */
	if (command->flags & (NVME_FUSE | NVME_PSDT))
		return NVME_INVALID_FIELD;
	/* A flush may be for all namespaces (VWC). */
	if (command->nsid != 1 && !(command->opcode == NVME_FLUSH &&
				    command->nsid == NVME_NSID_ALL))
		return NVME_INVALID_NAMESPACE;
	switch (command->opcode) {
	case NVME_FLUSH:
		return begin_flush(nvme, n, request);
	case NVME_WRITE:
	case NVME_READ:
		return begin_rw(nvme, n, request, command->opcode == NVME_WRITE);
	case NVME_WRITE_ZEROES:
		return begin_write_zeroes(nvme, n, request);
	case NVME_DSM:
		return begin_dsm(nvme, n, request);
	}
	return NVME_INVALID_OPCODE;
}

/* Completion */

static int failure(const struct nvme_io *io)
{
	switch (io->opcode) {
	case IORING_OP_READV:
		return NVME_READ_ERROR;
	case IORING_OP_WRITEV:
		return NVME_WRITE_FAULT;
	}
	return NVME_INTERNAL_ERROR;
}

/* Skip the @done bytes that have been read or written. */
static void skip(struct nvme_io *io, size_t done)
{
	io->offset += done;
	io->len -= done;
	while (io->nr_iov && done >= io->next->iov_len) {
		done -= io->next->iov_len;
		io->next++;
		io->nr_iov--;
	}
	if (io->nr_iov) {
		io->next->iov_base = (char *)io->next->iov_base + done;
		io->next->iov_len -= done;
	}
}

/* A filesystem without holes need not deallocate; where that would write zeroes, we do. */
static bool only_a_hint(const struct nvme_io *io, int res)
{
	return io->opcode == IORING_OP_FALLOCATE && res == -EOPNOTSUPP &&
	       io->request->command.opcode == NVME_DSM;
}

/* Returns a status, or NVME_LATER if something of the command remains and is under way. */
static int go_on(struct nvme *nvme, struct nvme_io *io, int res)
{
	if (res == -EAGAIN || res == -EINTR) {
		nvme_queue_io(nvme, io);
		return NVME_LATER;
	}
	if (res == -EOPNOTSUPP && io->request->command.opcode == NVME_WRITE_ZEROES) {
		io->opcode = IORING_OP_WRITEV;
		io->zeroes = io->len;
		queue_zeroes(nvme, io);
		return NVME_LATER;
	}
	if (res < 0 && !only_a_hint(io, res))
		return failure(io);
	switch (io->opcode) {
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
		/* The image has become shorter. */
		if (!res)
			return failure(io);
		skip(io, res);
		if (io->len) {
			nvme_queue_io(nvme, io);
			return NVME_LATER;
		}
		if (io->zeroes) {
			queue_zeroes(nvme, io);
			return NVME_LATER;
		}
		break;
	case IORING_OP_FALLOCATE:
		if (++io->range < io->nr_ranges) {
			queue_range(nvme, io);
			return NVME_LATER;
		}
		break;
	}
	return NVME_SUCCESS;
}

static void flushed(struct nvme *nvme, int res)
{
	struct nvme_state *s = nvme->state;

	nvme->flushing = false;
	/* The driver may have reset the controller meanwhile. */
	if ((s->csts & NVME_CSTS_SHST) != NVME_CSTS_SHST_OCCURS || res == -EINTR)
		return;
	if (res < 0) {
		nvme_fail(nvme);
		return;
	}
	state_store(&s->csts, (s->csts & ~NVME_CSTS_SHST) | NVME_CSTS_SHST_COMPLETE);
	kill_point();
}

void nvme_io_completed(struct nvme *nvme, struct nvme_io *io, int res)
{
	int status;

	kill_point();
	nvme->in_flight--;
	if (!io->request) {
		flushed(nvme, res);
	} else {
		nvme->sqs[io->sq].in_flight--;
		/* Whoever resets the controller waits for nothing but this. */
		if (nvme_posts(nvme)) {
			status = go_on(nvme, io, res);
			if (status != NVME_LATER) {
				nvme_complete(nvme, io->sq, io->request, status, 0);
				nvme_fetch_all(nvme, io->sq);
			}
		}
	}
	nvme_advance(nvme);
}
