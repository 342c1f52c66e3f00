/* SPDX-License-Identifier: GPL-2.0-only */
/* A vduse_task in its own process, and the kernel's device for it */
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

/* What the device task reports about a queue */
struct task_report {
	bool packed, in_order;
	unsigned int size, largest_batch;
	unsigned long buffers, elements, notified, suppressed, kicks;
};

/* The same if vhost works on the queue */
struct vhost_report {
	unsigned int size;
	uint32_t base;			/* VHOST_GET_VRING_BASE */
	unsigned long interrupts, misses;
};

/*
 * Start vduse_task, which is next to this program, with a device of type @type on @backend, and
 * attach it. All functions print a message and return -1 on failure, else 0.
 */
int task_start(struct task *task, const struct ring_kind *kind, const char *type,
	       const char *backend);
int task_attach(struct task *task);
int task_detach(struct task *task);
int task_report(struct task *task, unsigned int queues, struct task_report *reports);
int task_vhost_report(struct task *task, unsigned int queues, struct vhost_report *reports);

/* Let vhost see the driver's memory at other addresses from now on. */
int task_move(struct task *task);

/* Detach the device and end the task. Returns -1 also if the task complained about the driver. */
int task_stop(struct task *task);

#endif
