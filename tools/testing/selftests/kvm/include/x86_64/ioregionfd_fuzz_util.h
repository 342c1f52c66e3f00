/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random operations of the tasks in ioregionfd_fuzz_test, on what they share.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_FUZZ_UTIL_H
#define SELFTEST_KVM_IOREGIONFD_FUZZ_UTIL_H

#include "ioregionfd_trust_util.h"

#define NR_VMS		2
#define NR_TASKS	4
/* Two of each VM */
#define NR_VCPU_ACTORS	4
#define NR_ACTORS	(NR_VCPU_ACTORS + NR_TASKS)

#define NR_FDS		16
#define NR_REGIONS	16
#define NR_LOGGED	12
#define MAX_OPS		40

/* Regions and slots of memory meet here. */
#define WINDOW		(MMIO_PAGES * 4096)
#define NR_PORTS	64

/**
 * struct logged - an operation that has begun
 * @a: what it was called with, as is @b
 * @ended: with @ret, its result or -errno
 */
struct logged {
	const char *name;
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
 * struct actor - a thread that does random operations
 * @log: in the world, which outlives the process
 * @buffer: for arguments and data
 * @stalled: an access to it waits, maybe for ever, and then finds what is in @buffer
 * @id: of what it has fetched, from @fd
 * @ring: of io_uring, with @ring_args as arguments
 * @map: of a channel, if map.control is not NULL
 * @forked: it runs in a process that the actor has forked, and waits for
 */
struct actor {
	struct actor_log *log;
	unsigned int index;
	uint64_t seed;
	pthread_t thread;
	char *buffer, *stalled;
	uint64_t id;
	int fd;
	struct io_uring ring;
	struct ioregionfd_fetch ring_args[4];
	struct mapping map;
	bool forked;
};

/* Shared with the process that supervises: what is printed if something fails */
struct world {
	struct actor_log logs[NR_ACTORS];
	unsigned int begun[MAX_OPS], succeeded[MAX_OPS];
	unsigned int exits;
	unsigned int bystander;
};

/**
 * struct fuzz - what the tasks of one round share
 * @fds: file descriptors of all kinds, or -1. Whoever puts one there closes the former one
 * @regions: some that have been registered, with whichever VM
 * @spare_pages: memory for the guests, as large as the window
 * @uffd: a userfaultfd, or -1
 * @marker: where the kernel's trace is written to, or -1
 */
struct fuzz {
	struct world *world;
	struct actor actors[NR_ACTORS];
	struct kvm_vm *vms[NR_VMS];
	struct kvm_vcpu *vcpus[NR_VCPU_ACTORS];
	int fds[NR_FDS];
	struct kvm_ioregionfd regions[NR_REGIONS];
	char *spare_pages;
	int kvm_fd, uffd, marker;
};

extern struct fuzz fuzz;

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

#define one_of(a, first, ...) ({							\
	static const typeof(first) __values[] = { first, __VA_ARGS__ };		\
	__values[below(a, ARRAY_SIZE(__values))];				\
})

/* An operation begins, and ends with @ret, or with errno if that is negative. */
struct logged *fuzz_begin(struct actor *a, const char *name);
void fuzz_end(struct logged *l, long ret);

/* Any operation that a task can do */
void fuzz_act(struct actor *a);

/* The name of each, or NULL; and whether it cannot succeed on every kernel */
const char *fuzz_op_name(unsigned int i, bool *optional);

#endif /* SELFTEST_KVM_IOREGIONFD_FUZZ_UTIL_H */
