/* SPDX-License-Identifier: GPL-2.0-only */
/* The virtio-net driver on a device whose other side is a tap device */
#ifndef VIRTIO_TEST_NET_H
#define VIRTIO_TEST_NET_H

#include "frames.h"
#include "task.h"

/* The queues */
enum { RX, TX };

/* Without mergeable buffers, this frame fills the driver's buffer completely. */
#define FULL_FRAME	(14 + 1504)

struct net {
	struct task task;
	const struct ring_kind *kind;
	char interface[16];
	struct frames rx, tx;	/* as the driver sees them */
};

/* Start with a device of type @type. All functions print a message and return -1 on failure. */
int net_start(struct net *net, const struct ring_kind *kind, const char *type);

/* Does nothing if net_start() failed. */
int net_stop(struct net *net);

/* The driver has accepted what was offered, and the kernel reports that. */
int net_check_negotiated(const struct net *net);

/* frames_pass() in both directions, the driver's reception first */
int net_pass(struct net *net, uint32_t count, unsigned int burst, size_t least, size_t most);

/* All frame sizes, in bursts of different lengths; fewer of them with mergeable buffers. */
int net_pass_sizes(struct net *net);

/* Remove the driver while frames are on their way in both directions, and bring it back. */
int net_remove(struct net *net);

/* Pass frames in both directions, large ones if possible; call @meanwhile until all are there. */
int net_pass_while(struct net *net, uint32_t count, unsigned int burst,
		   int (*meanwhile)(struct task *task));

#endif
