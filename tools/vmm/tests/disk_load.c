// SPDX-License-Identifier: GPL-2.0-only
/*
 * disk_load DISK THREADS SECONDS: runs in the guest. Writes to a disk from several threads at
 * once, zeroes and flushes some of it, and reads back what has been written: whatever was
 * acknowledged has to be there. At the end it reads all of it.
 *
 * Each thread has a part of the disk to itself, and notes for each block what it has to
 * hold. A block is written with its own number, the thread's and the number of the write,
 * mixed into all words, so nothing that is old, torn or from elsewhere can pass.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define BLOCK		4096
#define MAX_THREADS	16
#define MAX_BLOCKS	4096	/* of a thread */
#define MAX_RUN		8	/* blocks of a request */

static int disk;
static time_t deadline;

struct worker {
	pthread_t thread;
	unsigned int id, nr_blocks;
	uint64_t first;			/* block of the disk */
	uint32_t written[MAX_BLOCKS];	/* by which write; 0: zeroes */
	uint32_t writes;
	uint64_t random;
	unsigned long requests, errors;
	uint64_t *buffer;		/* of MAX_RUN blocks */
};

static uint64_t word(const struct worker *w, unsigned int block, uint32_t write, unsigned int i)
{
	uint64_t x = ((w->first + block) << 32 | write) + i * 0x9e3779b97f4a7c15ULL;

	if (!write)
		return 0;
	x ^= x >> 31;
	return x * 0xbf58476d1ce4e5b9ULL;
}

static uint32_t draw(struct worker *w, uint32_t below)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random % below;
}

static void complain(struct worker *w, const char *what, unsigned int block)
{
	/* The first ones say enough. */
	if (w->errors++ < 3)
		printf("disk_load: thread %u: %s at block %lu: %s\n", w->id, what,
		       w->first + block, strerror(errno));
}

static off_t position(const struct worker *w, unsigned int block)
{
	return (w->first + block) * BLOCK;
}

static void write_run(struct worker *w, unsigned int block, unsigned int nr)
{
	uint32_t write = ++w->writes;
	unsigned int b, i;

	for (b = 0; b < nr; b++) {
		for (i = 0; i < BLOCK / 8; i++)
			w->buffer[b * BLOCK / 8 + i] = word(w, block + b, write, i);
	}
	if (pwrite(disk, w->buffer, nr * BLOCK, position(w, block)) != nr * BLOCK) {
		complain(w, "write failed", block);
		return;
	}
	for (b = 0; b < nr; b++)
		w->written[block + b] = write;
}

static void read_run(struct worker *w, unsigned int block, unsigned int nr)
{
	unsigned int b, i;

	memset(w->buffer, 0x55, nr * BLOCK);
	if (pread(disk, w->buffer, nr * BLOCK, position(w, block)) != nr * BLOCK) {
		complain(w, "read failed", block);
		return;
	}
	errno = 0;
	for (b = 0; b < nr; b++) {
		for (i = 0; i < BLOCK / 8; i++) {
			if (w->buffer[b * BLOCK / 8 + i] !=
			    word(w, block + b, w->written[block + b], i)) {
				complain(w, "wrong data", block + b);
				break;
			}
		}
	}
}

static void zero_run(struct worker *w, unsigned int block, unsigned int nr)
{
	uint64_t range[2] = { position(w, block), nr * BLOCK };

	if (ioctl(disk, BLKZEROOUT, range)) {
		complain(w, "BLKZEROOUT failed", block);
		return;
	}
	memset(w->written + block, 0, nr * sizeof(*w->written));
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned int block, nr;

	while (time(NULL) < deadline) {
		nr = 1 + draw(w, MAX_RUN);
		block = draw(w, w->nr_blocks - nr + 1);
		switch (draw(w, 16)) {
		case 0:
			zero_run(w, block, nr);
			break;
		case 1:
			if (fdatasync(disk))
				complain(w, "fdatasync failed", 0);
			break;
		case 2 ... 6:
			read_run(w, block, nr);
			break;
		default:
			write_run(w, block, nr);
			break;
		}
		w->requests++;
	}
	for (block = 0; block < w->nr_blocks; block += nr) {
		nr = w->nr_blocks - block < MAX_RUN ? w->nr_blocks - block : MAX_RUN;
		read_run(w, block, nr);
	}
	return NULL;
}

static void start(struct worker *w, unsigned int id, unsigned int nr_blocks)
{
	w->id = id;
	w->nr_blocks = nr_blocks;
	w->first = (uint64_t)id * nr_blocks;
	w->random = 0x2545f4914f6cdd1dULL + id;
	if (posix_memalign((void **)&w->buffer, BLOCK, MAX_RUN * BLOCK))
		errx(2, "posix_memalign");
	/* Whatever a former run has left there. */
	zero_run(w, 0, nr_blocks);
	if (pthread_create(&w->thread, NULL, work, w))
		errx(2, "pthread_create");
}

int main(int argc, char **argv)
{
	static struct worker workers[MAX_THREADS];
	unsigned long requests = 0, errors = 0;
	unsigned int i, nr, blocks;
	uint64_t size;

	if (argc != 4)
		errx(2, "disk_load DISK THREADS SECONDS");
	nr = atoi(argv[2]);
	disk = open(argv[1], O_RDWR | O_DIRECT);
	if (disk < 0 || ioctl(disk, BLKGETSIZE64, &size))
		err(2, "%s", argv[1]);
	if (!nr || nr > MAX_THREADS)
		errx(2, "1 to %u threads", MAX_THREADS);
	blocks = size / BLOCK / nr;
	if (blocks > MAX_BLOCKS)
		blocks = MAX_BLOCKS;
	if (blocks < MAX_RUN)
		errx(2, "%s is too short", argv[1]);
	deadline = time(NULL) + atoi(argv[3]);
	for (i = 0; i < nr; i++)
		start(&workers[i], i, blocks);
	for (i = 0; i < nr; i++) {
		pthread_join(workers[i].thread, NULL);
		requests += workers[i].requests;
		errors += workers[i].errors;
	}
	printf("disk_load: %lu requests, %lu errors\n", requests, errors);
	return errors ? 1 : 0;
}
