/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random operations of the threads of vhost_fuzz_test, on what they share: devices, rings, the
 * memory that is a guest's for these, and other files.
 */
#ifndef _SELFTESTS_VHOST_FUZZ_H
#define _SELFTESTS_VHOST_FUZZ_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "../kselftest.h"
#include "ring.h"

#define NR_ACTORS	6
#define NR_DEVICES	7
#define NR_FILES	4		/* of each kind */
#define NR_LOGGED	12
#define MAX_OPS		64
#define NR_LAYOUTS	4

#define FUZZ_RING_SIZE	256		/* at most */
#define NR_BUFFERS	64		/* in the memory of each virtqueue */
#define BUFFER_SIZE	MEMORY_PAGE
#define LISTEN_PORT	4711

enum device_kind { NET, VSOCK, TEST, SCSI, NR_DEVICE_KINDS };

/* PACKET: a socket that the tap is bound to. STREAM: of AF_VSOCK. */
enum file_kind { EVENT, TAP, PACKET, UNIX, STREAM, NR_FILE_KINDS };

/**
 * struct logged - an operation that has begun
 * @device: number of the device that it was for, and @queue that of the virtqueue
 * @a: what it was called with, as is @b
 * @ended: with @ret, its result or -errno
 */
struct logged {
	const char *name;
	unsigned int device, queue;
	long a, b;
	long ret;
	bool ended;
};

/* The last operations of an actor */
struct actor_log {
	struct logged ops[NR_LOGGED];
	unsigned int nr;
};

/**
 * struct fuzz_device - a device, and the driver's side of its first two virtqueues
 * @fd: or -1. Whoever puts one there closes the former one
 * @cid: a guest's, for vsock
 * @busy: somebody uses @ring and @next. Others do not wait, they do something else
 * @next: number of the buffer that is added next
 * @kick: what was given to VHOST_SET_VRING_KICK last
 */
struct fuzz_device {
	enum device_kind kind;
	int fd;
	uint64_t cid;
	bool busy;
	struct ring ring[2];
	uint8_t *buffers[2];
	uint32_t next[2];
	int kick[2];
};

/**
 * struct actor - a thread that does random operations
 * @log: in the world, which outlives the process
 * @buffer: a page for arguments and data
 * @stalled: the same page, where it may be missing
 * @device: that the operation is for, as is @queue
 * @sane: the operation is to have valid arguments
 * @worker: the worker that it has created last
 * @forked: it runs in a process that the actor has forked, and waits for
 */
struct actor {
	struct actor_log *log;
	unsigned int index;
	uint64_t seed;
	pthread_t thread;
	uint8_t *buffer, *stalled;
	struct fuzz_device *device;
	unsigned int queue;
	bool sane;
	uint32_t worker;
	bool forked;
};

/*
 * Shared with the process that supervises: what is printed if something fails, and at the end;
 * and the address that the devices' memory has in the process of the round
 */
struct fuzz_world {
	struct actor_log logs[NR_ACTORS];
	unsigned int begun[MAX_OPS], succeeded[MAX_OPS];
	unsigned int used[NR_DEVICE_KINDS][NR_LAYOUTS];	/* buffers that came back */
	unsigned int bystander;
	uint8_t *theirs;
};

/**
 * struct fuzz - what the actors of one round share
 * @memory: the guest's, as the actors access it
 * @theirs: the same memory, as the devices access it. There it may be missing or protected
 * @log: of dirty pages: in the memory, with room for the bits of all of it
 * @file: the memory, and behind it the actors' pages
 * @files: file descriptors, or -1, as that of a device
 * @uffd: a userfaultfd for what may be missing, or -1
 * @patient: what the userfaultfd holds up goes on some time
 * @kthreads: there are workers that are kernel threads
 * @streams: there are connections of vsock, whose sockets stay for seconds after their end
 * @marker: where the kernel's trace is written to, or -1
 */
struct fuzz {
	struct fuzz_world *world;
	struct actor actors[NR_ACTORS];
	struct fuzz_device devices[NR_DEVICES];
	int files[NR_FILE_KINDS][NR_FILES];
	struct memory memory;
	uint8_t *theirs, *log;
	int file, uffd, marker;
	bool patient, kthreads, streams;
};

extern struct fuzz fuzz;

struct fuzz_op {
	const char *name;
	long (*act)(struct actor *a);
	unsigned int weight;
	bool optional;		/* cannot succeed on every kernel */
	bool spared;		/* by "fail", which gets no signal, because it may wait */
};

/* What there is to do; each list ends with one that has no name. */
extern const struct fuzz_op fuzz_device_ops[], fuzz_ring_ops[], fuzz_process_ops[];

uint64_t fuzz_next(struct actor *a);

/* A number less than @n */
static inline unsigned int below(struct actor *a, unsigned int n)
{
	return (fuzz_next(a) >> 32) % n;
}

static inline bool one_in(struct actor *a, unsigned int n)
{
	return !below(a, n);
}

#define one_of(a, first, ...) ({						\
	static const typeof(first) __values[] = { first, __VA_ARGS__ };	\
	__values[below(a, ARRAY_SIZE(__values))];				\
})

static inline int fuzz_failed(int error)
{
	errno = error;
	return -1;
}

static inline int fuzz_fd(const int *fd)
{
	return __atomic_load_n(fd, __ATOMIC_RELAXED);
}

/* As the devices access what the actors access at @p */
static inline uint8_t *fuzz_theirs(const void *p)
{
	return fuzz.theirs + ((const uint8_t *)p - fuzz.memory.base);
}

/* Does this machine have such a device? */
bool fuzz_have(enum device_kind kind);

/* Any operation */
void fuzz_act(struct actor *a);

/* Operation number @i, or NULL */
const struct fuzz_op *fuzz_op(unsigned int i);

/* What the operation was called with; in the kernel's trace as well */
void fuzz_did(struct actor *a, long x, long y);

/* For a system call that gets what is in a->buffer: that, or where it stalls or fails */
void *fuzz_argument(struct actor *a);

/* A file descriptor that somebody has put there; it may be gone by now. */
int fuzz_pick(struct actor *a, enum file_kind kind);

/* Put one there, if there is one. */
long fuzz_replace(int *at, int fd);
long fuzz_keep(struct actor *a, enum file_kind kind, int fd);

/* Have the rings of a->device; false if somebody else has. */
bool fuzz_lock(struct actor *a);
void fuzz_unlock(struct actor *a);

/* A page of the ring that the operation is for, or of something else, in the devices' memory */
uint8_t *fuzz_page(struct actor *a);

/*
 * Begin a round in this process. What fails is printed, and ends it. Whoever has the other end
 * of the socket @supervisor is told, by fuzz_begun().
 */
void fuzz_begin(struct fuzz_world *world, uint64_t seed, int supervisor);

/*
 * Wait for @ms at most until the round has begun. @uffd gets its userfaultfd, or -1 if it has
 * none. Returns false if it has not begun, for example because its process has ended.
 */
bool fuzz_begun(int sock, int ms, int *uffd);

/* From now on no page is missing in this round, and who has waited for one goes on. */
void fuzz_let_go(const struct fuzz_world *world, int uffd);

/* A device that is not one of the round's, and makes progress. Returns if it does not. */
void fuzz_bystander(unsigned int *passes);

#endif
