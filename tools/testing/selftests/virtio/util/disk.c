// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "disk.h"

#define WORDS		(DISK_SECTOR / sizeof(uint64_t))
#define WORKERS		32
#define ALIGNMENT	4096
#define MOST		512
#define COMPARED	64	/* sectors at a time */
#define FOR_EVER	UINT32_MAX
#define UNKNOWN		UINT32_MAX

struct worker {
	pthread_t thread;
	struct disk *disk;
	unsigned int first, sectors, rounds, most, seed;
	uint64_t *data;
	int result;
};

struct crew {
	struct worker workers[WORKERS];
	unsigned int count;
};

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "# disk: %s: %s\n", what, why);
	return -1;
}

int disk_open(struct disk *disk, const char *path)
{
	memset(disk, 0, sizeof(*disk));
	disk->fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (disk->fd < 0)
		return complain(path, strerror(errno));
	disk->sectors = lseek(disk->fd, 0, SEEK_END) / DISK_SECTOR;
	disk->generation = calloc(disk->sectors, sizeof(*disk->generation));
	return disk->generation ? 0 : complain(path, strerror(errno));
}

void disk_close(struct disk *disk)
{
	free(disk->generation);
	close(disk->fd);
}

int disk_clear(struct disk *disk)
{
	const size_t size = MOST * DISK_SECTOR;
	off_t end = (off_t)disk->sectors * DISK_SECTOR, offset;
	ssize_t done = 0;
	void *zeroes;

	if (posix_memalign(&zeroes, ALIGNMENT, size))
		return complain("clear", strerror(ENOMEM));
	memset(zeroes, 0, size);
	for (offset = 0; offset < end && done >= 0; offset += done)
		done = pwrite(disk->fd, zeroes, end - offset < (off_t)size ? end - offset : size,
			      offset);
	free(zeroes);
	return done < 0 ? complain("clear", strerror(errno)) : 0;
}

/* Every word contains its position. */
static uint64_t word(unsigned int sector, uint32_t generation, unsigned int i)
{
	if (!generation)
		return 0;
	return ((uint64_t)sector << 32 | generation) * 0x9e3779b97f4a7c15 + i;
}

static int check(const struct disk *disk, const uint64_t *data, unsigned int first,
		 unsigned int sectors)
{
	for (unsigned int sector = first; sector < first + sectors; sector++) {
		if (disk->generation[sector] == UNKNOWN) {
			data += WORDS;
			continue;
		}
		for (unsigned int i = 0; i < WORDS; i++, data++) {
			if (*data == word(sector, disk->generation[sector], i))
				continue;
			fprintf(stderr, "# disk: sector %u, byte %zu: 0x%lx, not 0x%lx\n", sector,
				i * sizeof(*data), *data,
				word(sector, disk->generation[sector], i));
			return -1;
		}
	}
	return 0;
}

static int one_request(struct worker *worker, bool write)
{
	struct disk *disk = worker->disk;
	unsigned int sectors = 1 + rand_r(&worker->seed) % worker->most;
	unsigned int first = worker->first + rand_r(&worker->seed) % (worker->sectors - sectors);
	off_t offset = (off_t)first * DISK_SECTOR;
	ssize_t length = sectors * DISK_SECTOR, done;
	/* Anywhere in the first page, so that requests have segments of many sizes */
	uint32_t generation;
	uint64_t *data = worker->data + rand_r(&worker->seed) % (ALIGNMENT / DISK_SECTOR) * WORDS;

	if (write) {
		generation = 1 + rand_r(&worker->seed);

		for (unsigned int i = 0; i < sectors * WORDS; i++)
			data[i] = word(first + i / WORDS, generation, i % WORDS);
		done = pwrite(disk->fd, data, length, offset);
		if (done != length)
			generation = UNKNOWN;
		for (unsigned int i = 0; i < sectors; i++)
			disk->generation[first + i] = generation;
	} else {
		memset(data, 0x55, length);
		done = pread(disk->fd, data, length, offset);
	}
	if (done != length && __atomic_load_n(&disk->removed, __ATOMIC_RELAXED))
		return -1;
	if (done != length)
		return complain(write ? "write" : "read", done < 0 ? strerror(errno) : "short");
	return write ? 0 : check(disk, data, first, sectors);
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	for (unsigned int i = 0; i < worker->rounds; i++) {
		/* Sometimes a read, which at first returns only zeroes */
		worker->result = one_request(worker, rand_r(&worker->seed) % 5 < 3);
		if (worker->result)
			break;
	}
	return NULL;
}

static int start(struct crew *crew, struct disk *disk, unsigned int count, unsigned int rounds,
		 unsigned int most)
{
	memset(crew, 0, sizeof(*crew));
	if (count > WORKERS || most > MOST || disk->sectors / count <= most)
		return complain("workers", strerror(EINVAL));
	for (; crew->count < count; crew->count++) {
		struct worker *worker = &crew->workers[crew->count];

		worker->disk = disk;
		worker->sectors = disk->sectors / count;
		worker->first = crew->count * worker->sectors;
		worker->rounds = rounds;
		worker->most = most;
		worker->seed = crew->count + 1;
		worker->data = aligned_alloc(ALIGNMENT, MOST * DISK_SECTOR + ALIGNMENT);
		if (!worker->data || pthread_create(&worker->thread, NULL, work, worker)) {
			free(worker->data);
			return complain("workers", strerror(ENOMEM));
		}
	}
	return 0;
}

/* Returns how many failed. */
static unsigned int finish(struct crew *crew)
{
	unsigned int failed = 0;

	for (unsigned int i = 0; i < crew->count; i++) {
		pthread_join(crew->workers[i].thread, NULL);
		free(crew->workers[i].data);
		if (crew->workers[i].result)
			failed++;
	}
	return failed;
}

int disk_work(struct disk *disk, unsigned int workers, unsigned int rounds, unsigned int most)
{
	struct crew crew;
	int result = start(&crew, disk, workers, rounds, most);

	return finish(&crew) ? -1 : result;
}

int disk_work_until(struct disk *disk, unsigned int workers, unsigned int most,
		    int (*remove)(void *), void *argument)
{
	struct crew crew;
	int result = start(&crew, disk, workers, FOR_EVER, most);

	/* so that all threads are at work */
	nanosleep(&(struct timespec) { .tv_nsec = 200000000 }, NULL);
	__atomic_store_n(&disk->removed, true, __ATOMIC_RELAXED);
	if (remove(argument))
		result = complain("removal", "failed");
	if (finish(&crew) != workers)
		result = complain("removal", "not all threads noticed it");
	return result;
}

int disk_compare(const struct disk *disk, const char *path)
{
	uint64_t data[COMPARED * WORDS];
	int fd = open(path, O_RDONLY | O_CLOEXEC), result = 0;
	unsigned int count;

	if (fd < 0)
		return complain(path, strerror(errno));
	for (unsigned int i = 0; i < disk->sectors && !result; i += count) {
		ssize_t length;

		count = disk->sectors - i < COMPARED ? disk->sectors - i : COMPARED;
		length = count * DISK_SECTOR;
		if (pread(fd, data, length, (off_t)i * DISK_SECTOR) != length)
			result = complain(path, "too short");
		else
			result = check(disk, data, i, count);
	}
	close(fd);
	return result;
}
