/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-3-Clause */
/*
 * What the parts of libioregionfd share:
 *
 *	vmm.c		what a VMM needs
 *	task.c		handles, regions, and the functions that are for all kinds
 *	channel.c	channels made by KVM_CREATE_IOREGIONFD
 *	socket.c	sockets
 *
 * Internal functions return 0, or a negative errno value; -ENODEV stands for the
 * end of the VM or of the socket, which is none for the library's user.
 */
#ifndef IOREGIONFD_INTERNAL_H
#define IOREGIONFD_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "ioregionfd.h"

#define BUCKETS	64	/* a power of two */

/* All but @next is constant once it is in the table. */
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
 * @resp: the response that is going out
 * @unsent: it has not been sent
 */
struct sock {
	pthread_mutex_t lock;
	int stop_fd;
	struct ioregionfd_resp resp;
	bool unsent;
};

/**
 * struct channel - one that KVM_CREATE_IOREGIONFD has made
 * @info: its layout
 * @control: the mapping
 * @mailboxes: those in the mapping
 * @posted: the ring in the mapping
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
 * @is_channel: it was made by KVM_CREATE_IOREGIONFD
 * @stopped: ioregionfd_stop() was called
 * @running: threads in ioregionfd_run()
 * @poll_limit: in ns, for IOREGIONFD_ADAPTIVE
 * @channel: if it is a channel
 * @sock: if not
 * @regions: hash table by user_data; lists grow at the head, looked up without lock
 * @regions_lock: for changes of @regions
 * @unknown: callback, may be NULL
 * @unknown_opaque: for it
 * @unknown_count: commands without a region
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
