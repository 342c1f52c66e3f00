/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-3-Clause */
/*
 * What the parts of libioregionfd share:
 *
 *	vmm.c		what a VMM needs
 *	task.c		handles, regions, and what is common to both kinds of channels
 *	channel.c	native channels
 *	socket.c	sockets
 *
 * Internal functions return 0 or a negative errno value. -ENODEV stands for the end of
 * the VM or of the socket, which is no error for users of the library.
 */
#ifndef IOREGIONFD_INTERNAL_H
#define IOREGIONFD_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "ioregionfd.h"

#define BUCKETS	64	/* a power of two */

/* Once it is in the table, nothing but @next changes. */
struct region {
	struct region *next;
	uint64_t user_data;
	const struct ioregionfd_ops *ops;
	void *opaque;
};

/**
 * struct sock - a socket
 * @lock: held by the thread that serves; protects the rest
 * @stop_fd: eventfd, readable from ioregionfd_stop() to ioregionfd_restart()
 * @resp: the response to the last command
 * @unsent: it has not been sent yet
 */
struct sock {
	pthread_mutex_t lock;
	int stop_fd;
	struct ioregionfd_resp resp;
	bool unsent;
};

/**
 * struct channel - a native channel
 * @info: the layout of the mapping
 * @control: start of the mapping
 * @mailboxes: the mailboxes in the mapping
 * @posted: the ring of posted writes in the mapping
 */
struct channel {
	struct ioregionfd_info info;
	struct ioregionfd_control *control;
	struct ioregionfd_mailbox *mailboxes;
	struct ioregionfd_cmd *posted;
};

/**
 * struct ioregionfd_task - handle
 * @read_fd: where commands come from
 * @write_fd: where responses go: the same, or a duplicate
 * @is_channel: it is a native channel, not a socket
 * @stopped: ioregionfd_stop() was called
 * @running: threads in ioregionfd_run()
 * @poll_limit: in ns, for IOREGIONFD_ADAPTIVE
 * @channel: if it is a native channel
 * @sock: if it is a socket
 * @regions: hash table by user_data. Its lists grow at the head, and are searched without
 *	a lock
 * @regions_lock: for changes of @regions
 * @unknown: called for commands without a region, may be NULL
 * @unknown_opaque: passed to @unknown
 * @unknown_count: how many commands had no region
 */
struct ioregionfd_task {
	int read_fd;
	int write_fd;
	bool is_channel;
	bool stopped;
	unsigned int running;
	uint64_t poll_limit;
	union {
		struct channel channel;
		struct sock sock;
	};
	struct region *regions[BUCKETS];
	pthread_mutex_t regions_lock;
	void (*unknown)(void *opaque, const struct ioregionfd_cmd *cmd);
	void *unknown_opaque;
	uint64_t unknown_count;
};

/* SEQ_CST: see pass_stop_on(). */
static inline bool task_stopped(const struct ioregionfd_task *task)
{
	/* Litmus: stop. */
	return __atomic_load_n(&task->stopped, __ATOMIC_SEQ_CST);
}

/* task.c */
void ioregionfd_task_handle(struct ioregionfd_task *task, struct ioregionfd_fetch *fetch);
void ioregionfd_task_abandoned(struct ioregionfd_task *task, const struct ioregionfd_cmd *cmd);

/* channel.c */
int ioregionfd_channel_open(struct ioregionfd_task *task, unsigned int flags);
void ioregionfd_channel_close(struct ioregionfd_task *task);
int ioregionfd_channel_run(struct ioregionfd_task *task, enum ioregionfd_mode mode, uint32_t vcpu);
int ioregionfd_channel_commit_only(struct ioregionfd_task *task,
				   const struct ioregionfd_fetch *fetch);
void ioregionfd_channel_interrupt(struct ioregionfd_task *task);

/* socket.c */
int ioregionfd_socket_open(struct ioregionfd_task *task);
void ioregionfd_socket_close(struct ioregionfd_task *task);
int ioregionfd_socket_run(struct ioregionfd_task *task);
void ioregionfd_socket_interrupt(struct ioregionfd_task *task);
void ioregionfd_socket_restart(struct ioregionfd_task *task);

#endif /* IOREGIONFD_INTERNAL_H */
