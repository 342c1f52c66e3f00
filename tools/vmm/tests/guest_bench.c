// SPDX-License-Identifier: GPL-2.0-only
/*
 * What accesses and blocks cost, seen by a guest; see bench-init.
 *
 * guest_bench register ADDR VALUE COUNT: reads the 32 bits at a physical address, which must
 * be VALUE, COUNT times.
 * guest_bench disk DISK DEPTH COUNT: reads COUNT blocks of 4 KiB from random places of a
 * disk, past the page cache. So many are under way at a time, and for each one that comes
 * back another one is submitted, by a system call of its own.
 *
 * Prints how many nanoseconds one of them took, the median of some rounds: what the kernels
 * of the guest and of the host do now and then is not part of it. Where the clock counts
 * instructions, as it does in QEMU with -icount shift=0, these are instructions: those of
 * the guest and of all that serves it.
 */
#include <err.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS		5
#define BLOCK		4096
#define MAX_DEPTH	64
#define MAX_COUNT	1000000

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* @work does something @count times. */
static void measure(void (*work)(void *arg, unsigned long count), void *arg, unsigned long count)
{
	uint64_t start, ns[ROUNDS];
	unsigned int i;

	/* What is done only the first time */
	work(arg, count / 2 + 1);
	for (i = 0; i < ROUNDS; i++) {
		start = now_ns();
		work(arg, count);
		ns[i] = now_ns() - start;
	}
	qsort(ns, ROUNDS, sizeof(ns[0]), compare);
	printf("%lu\n", (unsigned long)(ns[ROUNDS / 2] / count));
}

static unsigned long parse(const char *text, unsigned long max)
{
	unsigned long value;
	char *end;

	value = strtoul(text, &end, 0);
	if (!*text || *end || !value || value > max)
		errx(EXIT_FAILURE, "%s: not a number from 1 to %lu", text, max);
	return value;
}

struct reg {
	const uint32_t *addr;
	uint32_t value;
};

static void read_register(void *arg, unsigned long count)
{
	const struct reg *reg = arg;

	while (count--) {
		if (__atomic_load_n(reg->addr, __ATOMIC_RELAXED) != reg->value)
			errx(EXIT_FAILURE, "the register does not have the value %u", reg->value);
	}
}

static void bench_register(uint64_t addr, uint32_t value, unsigned long count)
{
	int fd = open("/dev/mem", O_RDONLY | O_SYNC);
	struct reg reg = { .value = value };
	char *page;

	if (fd < 0)
		err(EXIT_FAILURE, "/dev/mem");
	page = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, fd, addr / BLOCK * BLOCK);
	if (page == MAP_FAILED)
		err(EXIT_FAILURE, "cannot map %#lx", addr);
	reg.addr = (const uint32_t *)(page + addr % BLOCK);
	measure(read_register, &reg, count);
}

struct reader {
	struct io_uring ring;
	int disk;
	uint64_t blocks, random;
	unsigned long depth;
	char *buffers;
};

static void check(int ret, const char *what)
{
	if (ret < 0)
		errx(EXIT_FAILURE, "%s: %s", what, strerror(-ret));
}

static void queue_read(struct reader *r, unsigned long slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
	uint64_t block;

	r->random = r->random * 6364136223846793005 + 1442695040888963407;
	block = (r->random >> 33) % r->blocks;
	io_uring_prep_read(sqe, r->disk, r->buffers + slot * BLOCK, BLOCK, block * BLOCK);
	io_uring_sqe_set_data(sqe, (void *)slot);
}

static void read_blocks(void *arg, unsigned long count)
{
	struct reader *r = arg;
	struct io_uring_cqe *cqe;
	unsigned long i, queued;

	for (queued = 0; queued < r->depth && queued < count; queued++)
		queue_read(r, queued);
	for (i = 0; i < count; i++) {
		check(io_uring_submit_and_wait(&r->ring, 1), "io_uring_submit_and_wait");
		check(io_uring_peek_cqe(&r->ring, &cqe), "io_uring_peek_cqe");
		check(cqe->res, "read");
		if (cqe->res != BLOCK)
			errx(EXIT_FAILURE, "read %d bytes", cqe->res);
		if (queued++ < count)
			queue_read(r, (unsigned long)io_uring_cqe_get_data(cqe));
		io_uring_cqe_seen(&r->ring, cqe);
	}
}

static void bench_disk(const char *disk, unsigned long depth, unsigned long count)
{
	struct reader r = { .random = 1, .depth = depth };
	uint64_t size;

	r.disk = open(disk, O_RDONLY | O_DIRECT);
	if (r.disk < 0 || ioctl(r.disk, BLKGETSIZE64, &size))
		err(EXIT_FAILURE, "%s", disk);
	r.blocks = size / BLOCK;
	r.buffers = aligned_alloc(BLOCK, depth * BLOCK);
	if (!r.buffers || !r.blocks)
		errx(EXIT_FAILURE, "no buffers, or no blocks");
	check(io_uring_queue_init(MAX_DEPTH, &r.ring, 0), "io_uring_queue_init");
	measure(read_blocks, &r, count);
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "register"))
		bench_register(parse(argv[2], ~0UL), parse(argv[3], UINT32_MAX),
			       parse(argv[4], MAX_COUNT));
	else if (argc == 5 && !strcmp(argv[1], "disk"))
		bench_disk(argv[2], parse(argv[3], MAX_DEPTH), parse(argv[4], MAX_COUNT));
	else
		errx(EXIT_FAILURE, "register ADDR VALUE COUNT, or disk DISK DEPTH COUNT");
	return 0;
}
