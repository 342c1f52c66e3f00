/* SPDX-License-Identifier: GPL-2.0-only */
/* A vduse_task in a process of its own, and the kernel's device for it */
#ifndef VIRTIO_TEST_TASK_H
#define VIRTIO_TEST_TASK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define RING_SIZE	256

/* What the device offers. */
struct ring_kind {
	bool packed, in_order;
	bool no_indirect, no_event_idx;
	bool mergeable;
	unsigned int max_batch;		/* 0: no limit */
	unsigned int queue_size;	/* 0: RING_SIZE */
};

struct task {
	pid_t pid;
	int log;			/* its stderr */
	char name[32];
	char virtio[32];		/* such as "virtio0"; empty if it is not attached */
};

/* What the device task says of a queue */
struct task_report {
	bool packed, in_order;
	unsigned int size, largest_batch;
	unsigned long buffers, elements, notified, suppressed, kicks;
};

/* And if vhost works on it */
struct vhost_report {
	unsigned int size;
	uint32_t base;			/* VHOST_GET_VRING_BASE */
	unsigned long interrupts, misses;
};

/*
 * Start the program next to ours with a device of type @type on @backend, and attach it.
 * All return 0 or, having said why, -1.
 */
int task_start(struct task *task, const struct ring_kind *kind, const char *type,
	       const char *backend);
int task_attach(struct task *task);
int task_detach(struct task *task);
int task_report(struct task *task, unsigned int queues, struct task_report *reports);
int task_vhost_report(struct task *task, unsigned int queues, struct vhost_report *reports);

/* The driver's memory is somewhere else to vhost from now on. */
int task_move(struct task *task);

/* Detach and end it. Also -1 if the task found fault with the driver. */
int task_stop(struct task *task);

#endif
