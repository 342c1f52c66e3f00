/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tasks that serve a native channel in each of the possible modes.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_NATIVE_UTIL_H
#define SELFTEST_KVM_IOREGIONFD_NATIVE_UTIL_H

#include <sys/epoll.h>
#include <sys/wait.h>

#include <liburing.h>

#include "ioregionfd_util.h"

enum mode {
	MODE_READ,		/* read() and write() */
	MODE_POLL,		/* as MODE_READ, after poll() */
	MODE_EPOLL,		/* as MODE_READ, after epoll_wait() */
	MODE_IOCTL,
	MODE_URING,
	MODE_URING_ASYNC,	/* issued by an io_uring worker */
	MODE_MAPPING,		/* polls the mapping for a while, then sleeps as MODE_IOCTL */
};

/* How many times MODE_MAPPING polls before it sleeps. */
#define MAPPING_LOOKS	50

/**
 * struct server - what a task needs to serve a channel
 * @arg: the command to complete, if arg.id is not 0, and the value to complete it with
 */
struct server {
	int fd;
	enum mode mode;
	uint32_t vcpu;
	int epoll;
	struct io_uring ring;
	struct mapping map;
	struct ioregionfd_fetch arg;
};

void server_open(struct server *s, int fd, enum mode mode, uint32_t vcpu);
void uring_submit(struct io_uring *ring, int fd, struct ioregionfd_fetch *arg, unsigned int flags);

/* Waits for a completion. Returns its result and the argument that it belongs to. */
int uring_wait(struct io_uring *ring, struct ioregionfd_fetch **arg);

/* A command from read() has no id: arg.id only says whether it wants a response. */
int server_read(struct server *s);

/*
 * Completes the current command, if any, and fetches the next one. Returns 0 or a
 * negative errno, -ENODEV once the VM is gone.
 */
int server_next(struct server *s);

/* A thread that serves until server_next() fails. */
struct server_thread {
	struct server server;
	struct device *dev;	/* whose respond() to use */
	pthread_t thread;
	pid_t tid;
	unsigned int nr;	/* commands completed so far */
	int ret;
	bool ended;
};

void server_start(struct server_thread *t, struct device *dev, int fd, enum mode mode,
		  uint32_t vcpu);

/* Waits until the thread sleeps in wait of a command. */
#define server_wait_asleep(t) __server_wait_asleep(t, __LINE__)
void __server_wait_asleep(struct server_thread *t, int line);

#define server_join(t, want) __server_join(t, want, __LINE__)
void __server_join(struct server_thread *t, int want, int line);

/* Addresses at which a struct is not entirely there, or cannot be written. */
struct bad_memory {
	char *end;	/* the end of memory that can be read and written */
	char *none;
	char *read_only;
};

struct bad_memory bad_memory(void);

/* The commands that @nr servers have completed so far, together. */
unsigned int servers_nr(struct server_thread *servers, unsigned int nr);

/*
 * Each vCPU reads at an address of its own, in a region at MMIO_GPA with USER_DATA(0), and
 * is to get a value of its own.
 */
static inline uint64_t vcpu_value(int i)
{
	return 0x1111111111111111 * (i + 1);
}

/* vCPU @i reads, and waits for the response. */
struct guest_op *vcpu_waits(struct vcpu_thread *threads, int i);

#define expect_cmd_of(arg, i) __expect_cmd_of(arg, i, __LINE__)
void __expect_cmd_of(struct ioregionfd_fetch *arg, int i, int line);

#endif /* SELFTEST_KVM_IOREGIONFD_NATIVE_UTIL_H */
