/* SPDX-License-Identifier: GPL-2.0-only */
/* The virtio-net driver on a device task whose other end is a tap */
#ifndef VIRTIO_TEST_NET_H
#define VIRTIO_TEST_NET_H

#include "frames.h"
#include "task.h"

/* The queues */
enum { RX, TX };

/* A frame that fills the driver's buffer to the last byte, without mergeable buffers */
#define FULL_FRAME	(14 + 1504)

struct net {
	struct task task;
	const struct ring_kind *kind;
	char interface[16];
	struct frames rx, tx;	/* as the driver sees them */
};

/* With a device of type @type. All return 0 or, having said why, -1. */
int net_start(struct net *net, const struct ring_kind *kind, const char *type);

/* Nothing if that failed */
int net_stop(struct net *net);

/* What was offered, the driver took, and the kernel says so. */
int net_check_negotiated(const struct net *net);

/* As frames_pass(), with the driver's reception first, then its transmission. */
int net_pass(struct net *net, uint32_t count, unsigned int burst, size_t least, size_t most);

/* All sizes there are, in bursts of different lengths; fewer of them with mergeable buffers. */
int net_pass_sizes(struct net *net);

/* The driver goes while frames are on their way in both directions, and comes back. */
int net_remove(struct net *net);

/* Both ways at the same time, large ones if there are, and @meanwhile until they are through */
int net_pass_while(struct net *net, uint32_t count, unsigned int burst,
		   int (*meanwhile)(struct task *task));

#endif
