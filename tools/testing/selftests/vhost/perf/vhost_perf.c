// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cost of a buffer in vhost, by virtqueue layout
 *
 * usage: vhost_perf [-a | -l] [-p PREFIX] [PATTERN]...
 *
 * Prints a line "PREFIX/DEVICE/LAYOUT/bBATCH value" for each name that matches a
 * PATTERN; without one, for all of them. PREFIX is vhost if not given. Layouts that
 * vhost does not offer are left out.
 *
 * The values are instructions of vhost's worker, per buffer, if this is run in QEMU with
 * -icount shift=0,sleep=off and one CPU without ERMS, whose "rep stosb" would count by
 * the byte. There an instruction takes a nanosecond, and the kernel's account of the CPU
 * time of the worker is a count of them. The worker preempts us at each kick, and when
 * that returns, it has used the whole batch and sleeps. What a kick costs it that it
 * finds no backend for is taken off: that is to be woken. The driver wants no signal, as
 * one that sends a stream of packets does.
 *
 * With -a, they are accesses to user memory per buffer instead: how often the
 * worker allows itself to (STAC), at -accesses for the ring, and at -accesses-data for
 * what is in the buffers. With -l, the first of them runs until it is killed, for a
 * profiler to watch, and its name alone says that it does.
 */
#include <err.h>
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "../ring.h"
#include "accesses.h"
#include "devices.h"

/* Enough for figures that repeat to 0.1 % */
#define BUFFERS		32768
#define MAX_BATCHES	16384
#define WARM_UP		256

#define RING_SIZE	256

/* One wrap of the ring */
#define COUNTED		RING_SIZE

/*
 * In the order of the ring, whatever the layout: where descriptors are, and in which order, must
 * not be a difference between layouts.
 */
#define KIND(...)	{ .event_idx = true, .sorted = true, __VA_ARGS__ }

struct layout {
	const char *name;
	struct ring_kind kind;
};

static const struct layout layouts[] = {
	{ "split", KIND(.packed = false) },
	{ "split+in-order", KIND(.in_order = true) },
	{ "packed", KIND(.packed = true) },
	{ "packed+in-order", KIND(.packed = true, .in_order = true) },
	{}
};

static const unsigned int batches[] = { 1, 64, 0 };

/* A device with a virtqueue of one layout */
struct bench {
	const struct device *device;
	const struct layout *layout;
	struct memory memory;
	struct ring ring;
	char *buffers;		/* one per descriptor */
	unsigned int added;
	unsigned int batch;
	int vhost;
	int kick;
	int call;
	pid_t worker;
};

static void xioctl(int fd, unsigned long request, void *arg, const char *what)
{
	if (ioctl(fd, request, arg))
		err(1, "%s", what);
}

#define VHOST(bench, request, arg) xioctl((bench)->vhost, request, arg, #request)

/* It is the only other thread of this process. */
static pid_t find_worker(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	pid_t tid = 0;

	if (!dir)
		err(1, "/proc/self/task");
	while (!tid && (entry = readdir(dir))) {
		tid = atoi(entry->d_name);
		if (tid == getpid())
			tid = 0;
	}
	closedir(dir);
	if (!tid)
		errx(1, "vhost has no worker");
	return tid;
}

static uint64_t worker_time(const struct bench *bench)
{
	/* What pthread_getcpuclockid() would return, which works only for pthreads */
	clockid_t clock = ~(clockid_t)bench->worker << 3 | 6;
	struct timespec t;

	if (clock_gettime(clock, &t))
		err(1, "clock of the worker");
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static uint64_t features_of(struct ring_kind kind)
{
	return BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) |
		(kind.packed ? BIT(VIRTIO_F_RING_PACKED) : 0) |
		(kind.in_order ? BIT(VIRTIO_F_IN_ORDER) : 0);
}

static void create_ring(struct bench *bench, struct ring_kind kind)
{
	struct memory *memory = &bench->memory;

	if (memory_create(memory) || ring_create(&bench->ring, memory, kind, RING_SIZE))
		errx(1, "no memory for a ring");
	bench->buffers = memory_alloc(memory, RING_SIZE * BUFFER_SIZE, MEMORY_PAGE);
	if (!bench->buffers)
		exit(1);
	/* Touch all of it, so that there are no page faults later. */
	memset(bench->buffers, 0, RING_SIZE * BUFFER_SIZE);
	bench->added = 0;
}

/* Returns whether vhost offers this layout. */
static bool set_up(struct bench *bench, const struct device *device, const struct layout *layout)
{
	const struct sched_param param = { .sched_priority = 1 };
	uint64_t features = features_of(layout->kind), offered;
	/* In one region, which is found at once */
	struct {
		struct vhost_memory memory;
		struct vhost_memory_region region;
	} map = {
		.memory.nregions = 1,
		.region.guest_phys_addr = MEMORY_GPA,
		.region.memory_size = MEMORY_SIZE,
	};
	struct vhost_vring_state num = { .index = device->index, .num = RING_SIZE };
	struct vhost_vring_state base = { .index = device->index };
	struct vhost_vring_addr addr = { .index = device->index };
	struct vhost_vring_file kick = { .index = device->index };
	struct vhost_vring_file call = { .index = device->index };

	if (device->write)
		features |= 1ULL << VIRTIO_NET_F_MRG_RXBUF;
	bench->device = device;
	bench->layout = layout;
	bench->vhost = open(device->path, O_RDWR);
	if (bench->vhost < 0)
		err(1, "%s", device->path);
	VHOST(bench, VHOST_GET_FEATURES, &offered);
	if (features & ~offered) {
		close(bench->vhost);
		return false;
	}

	create_ring(bench, layout->kind);
	map.region.userspace_addr = (uintptr_t)bench->memory.base;
	base.num = ring_base(&bench->ring);
	addr.desc_user_addr = (uintptr_t)bench->ring.desc;
	addr.avail_user_addr = (uintptr_t)bench->ring.driver;
	addr.used_user_addr = (uintptr_t)bench->ring.device;
	bench->kick = eventfd(0, 0);
	bench->call = eventfd(0, 0);
	if (bench->kick < 0 || bench->call < 0)
		err(1, "eventfd");
	kick.fd = bench->kick;
	call.fd = bench->call;

	VHOST(bench, VHOST_SET_OWNER, NULL);
	VHOST(bench, VHOST_SET_FEATURES, &features);
	VHOST(bench, VHOST_SET_MEM_TABLE, &map);
	VHOST(bench, VHOST_SET_VRING_NUM, &num);
	VHOST(bench, VHOST_SET_VRING_BASE, &base);
	VHOST(bench, VHOST_SET_VRING_ADDR, &addr);
	VHOST(bench, VHOST_SET_VRING_CALL, &call);
	VHOST(bench, VHOST_SET_VRING_KICK, &kick);

	bench->worker = find_worker();
	if (sched_setscheduler(bench->worker, SCHED_FIFO, &param))
		err(1, "sched_setscheduler");
	return true;
}

static void tear_down(struct bench *bench)
{
	close(bench->vhost);
	close(bench->kick);
	close(bench->call);
	if (bench->device->stop)
		bench->device->stop();
	ring_destroy(&bench->ring);
	memory_destroy(&bench->memory);
}

static void kick(struct bench *bench)
{
	if (eventfd_write(bench->kick, 1))
		err(1, "kick");
}

/* Returns the cost for the worker. */
static uint64_t idle(struct bench *bench, unsigned int n)
{
	uint64_t start = worker_time(bench);

	while (n--)
		kick(bench);
	return worker_time(bench) - start;
}

static void add_batch(struct bench *bench)
{
	struct segment segment = { .len = bench->device->len, .write = bench->device->write };
	unsigned int n;

	/* Again and again: with event indices, "never" is an index in the past. */
	ring_call_never(&bench->ring);
	for (n = 0; n < bench->batch; n++) {
		segment.gpa = memory_gpa(&bench->memory,
					 bench->buffers + bench->added++ % RING_SIZE * BUFFER_SIZE);
		if (!ring_add(&bench->ring, &segment, 1, 0))
			errx(1, "%s, %s: the ring is full", bench->device->name,
			     bench->layout->name);
	}
}

/* Returns how many buffers have been used. */
static unsigned int get_used(struct bench *bench)
{
	uint32_t token, len;
	unsigned int n = 0;

	while (ring_get(&bench->ring, &token, &len) > 0)
		n++;
	return n;
}

/* The same for @n batches. */
static uint64_t run(struct bench *bench, unsigned int n)
{
	const struct device *device = bench->device;
	const unsigned int batch = bench->batch;
	uint64_t start, time = 0;
	unsigned int used;

	while (n--) {
		if (device->prepare)
			device->prepare(batch);
		add_batch(bench);
		start = worker_time(bench);
		kick(bench);
		time += worker_time(bench) - start;
		used = get_used(bench);
		if (used != batch)
			errx(1, "%s, %s: used %u of %u buffers", device->name,
			     bench->layout->name, used, batch);
	}
	return time;
}

static void measure(struct bench *bench, const char *name)
{
	const unsigned int batch = bench->batch;
	unsigned int n = BUFFERS / batch < MAX_BATCHES ? BUFFERS / batch : MAX_BATCHES;
	uint64_t idle_time, time;

	idle(bench, WARM_UP);
	idle_time = idle(bench, MAX_BATCHES) / MAX_BATCHES;
	bench->device->start(bench->vhost);
	run(bench, WARM_UP);
	time = run(bench, n) / n - idle_time;
	printf("%s %llu\n", name, (unsigned long long)(time + batch / 2) / batch);
}

static void run_counted(void *arg)
{
	struct bench *bench = arg;

	run(bench, COUNTED / bench->batch);
}

static void count(struct bench *bench, const char *name)
{
	struct accesses accesses;

	bench->device->start(bench->vhost);
	run_counted(bench);
	accesses_count(bench->worker, run_counted, bench, &accesses);
	printf("%s-accesses %.2f\n", name, (double)accesses.ring / COUNTED);
	printf("%s-accesses-data %.2f\n", name, (double)accesses.data / COUNTED);
}

static void loop(struct bench *bench, const char *name)
{
	bench->device->start(bench->vhost);
	run(bench, WARM_UP);
	printf("%s\n", name);
	for (;;)
		run(bench, WARM_UP);
}

static bool matches(const char *name, char **patterns)
{
	if (!*patterns)
		return true;
	for (; *patterns; patterns++)
		if (!fnmatch(*patterns, name, 0))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const char *prefix = "vhost";
	void (*what)(struct bench *bench, const char *name) = measure;
	const struct device *device;
	const struct layout *layout;
	const unsigned int *batch;
	struct bench bench;
	char name[100];
	cpu_set_t cpu;
	int option;

	while ((option = getopt(argc, argv, "alp:")) != -1) {
		switch (option) {
		case 'a':
			what = count;
			break;
		case 'l':
			what = loop;
			break;
		case 'p':
			prefix = optarg;
			break;
		default:
			return 1;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);

	/* The worker inherits the affinity. */
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		err(1, "sched_setaffinity");

	for (device = devices; device->name; device++) {
		for (layout = layouts; layout->name; layout++) {
			for (batch = batches; *batch; batch++) {
				snprintf(name, sizeof(name), "%s/%s/%s/b%u", prefix, device->name,
					 layout->name, *batch);
				if (!matches(name, argv + optind) ||
				    !set_up(&bench, device, layout))
					continue;
				bench.batch = *batch;
				what(&bench, name);
				tear_down(&bench);
			}
		}
	}
	return 0;
}
