// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include "net.h"
#include "sysfs.h"

#define TAP		"vdusetap"
/* The driver's buffers have room for a VLAN tag. */
#define MTU		1504
#define BIG_MTU		9000
#define REMOVE_AFTER_US	300000

static int complain(const struct net *net, const char *what)
{
	fprintf(stderr, "# %s: %s\n", net->task.virtio, what);
	return -1;
}

static int start_traffic(struct net *net)
{
	unsigned int mtu = net->kind->mergeable ? BIG_MTU : MTU;

	if (path_match(net->interface, sizeof(net->interface),
		       "/sys/bus/virtio/devices/%s/net/*", net->task.virtio))
		return complain(net, "the driver has not created an interface");
	if (interface_up(net->interface, mtu) || interface_up(TAP, mtu))
		return -1;
	return frames_open(&net->rx, TAP, net->interface) ||
	       frames_open(&net->tx, net->interface, TAP) ? -1 : 0;
}

static void end_traffic(struct net *net)
{
	frames_close(&net->rx);
	frames_close(&net->tx);
}

int net_start(struct net *net, const struct ring_kind *kind, const char *type)
{
	memset(net, 0, sizeof(*net));
	net->kind = kind;
	if (task_start(&net->task, kind, type, TAP)) {
		net->task.pid = 0;
		return -1;
	}
	if (start_traffic(net)) {
		task_stop(&net->task);
		net->task.pid = 0;
		return -1;
	}
	return 0;
}

int net_stop(struct net *net)
{
	if (!net->task.pid)
		return 0;
	end_traffic(net);
	return task_stop(&net->task);
}

static int check_feature(const struct net *net, const char *name, unsigned int bit, bool expected)
{
	int is = virtio_feature(net->task.virtio, bit);

	if (is == expected)
		return 0;
	fprintf(stderr, "# %s: feature %s is %d\n", net->task.virtio, name, is);
	return -1;
}

static int check_queue(const struct net *net, unsigned int index)
{
	const struct ring_kind *kind = net->kind;
	struct queue_statistics is;

	if (virtio_queue_statistics(net->task.virtio, index, &is))
		return complain(net, "no statistics for a queue");
	if (is.packed == kind->packed && is.in_order == kind->in_order &&
	    is.size == (kind->queue_size ?: RING_SIZE))
		return 0;
	fprintf(stderr, "# %s: queue %u is %s%s, of %u\n", net->task.virtio, index,
		is.packed ? "packed" : "split", is.in_order ? " in order" : "", is.size);
	return -1;
}

int net_check_negotiated(const struct net *net)
{
	const struct ring_kind *kind = net->kind;

	if (check_feature(net, "RING_PACKED", VIRTIO_F_RING_PACKED, kind->packed) ||
	    check_feature(net, "IN_ORDER", VIRTIO_F_IN_ORDER, kind->in_order) ||
	    check_feature(net, "MRG_RXBUF", VIRTIO_NET_F_MRG_RXBUF, kind->mergeable) ||
	    check_feature(net, "INDIRECT_DESC", VIRTIO_RING_F_INDIRECT_DESC,
			  !kind->no_indirect) ||
	    check_feature(net, "EVENT_IDX", VIRTIO_RING_F_EVENT_IDX, !kind->no_event_idx))
		return -1;
	fprintf(stderr, "# %s: virtio-net negotiated%s%s\n", net->task.virtio,
		kind->packed ? " packed" : "", kind->in_order ? " in_order" : "");
	if (!virtio_knows_in_order())
		return 0;
	return check_queue(net, RX) || check_queue(net, TX) ? -1 : 0;
}

int net_pass(struct net *net, uint32_t count, unsigned int burst, size_t least, size_t most)
{
	return frames_pass(&net->rx, count, burst, least, most) ||
	       frames_pass(&net->tx, count, burst, least, most) ? -1 : 0;
}

static size_t most_of(const struct net *net)
{
	return net->kind->mergeable ? FRAME_MOST : FULL_FRAME;
}

int net_pass_sizes(struct net *net)
{
	size_t most = most_of(net);
	uint32_t count = most - FRAME_LEAST + 1;

	if (net->kind->mergeable)
		count /= 8;
	return net_pass(net, 3, 1, FRAME_LEAST, most) ||
	       net_pass(net, count, 31, FRAME_LEAST, most) ||
	       net_pass(net, 256, 64, most - 255, most) ? -1 : 0;
}

static int unbind_and_bind(struct net *net)
{
	const char *virtio = net->task.virtio;

	if (file_write(virtio, "/sys/bus/virtio/drivers/virtio_net/unbind") ||
	    file_write(virtio, "/sys/bus/virtio/drivers/virtio_net/bind"))
		return complain(net, "the driver cannot be unbound and bound");
	end_traffic(net);
	return start_traffic(net);
}

/* A process for each direction, which ends with status 0 if @act returns 0 */
static int fork_both(struct net *net, pid_t *pids, int (*act)(struct frames *, void *),
		     void *argument)
{
	for (unsigned int i = RX; i <= TX; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			return complain(net, strerror(errno));
		if (!pids[i])
			_exit(act(i == RX ? &net->rx : &net->tx, argument) ? 1 : 0);
	}
	return 0;
}

static int flood(struct frames *frames, void *unused)
{
	frames_flood(frames, 1000);
	return 0;
}

int net_remove(struct net *net)
{
	pid_t pids[2];

	if (fork_both(net, pids, flood, NULL))
		return -1;
	usleep(REMOVE_AFTER_US);
	if (unbind_and_bind(net))
		return -1;
	for (unsigned int i = RX; i <= TX; i++) {
		kill(pids[i], SIGKILL);
		if (waitpid(pids[i], NULL, 0) != pids[i])
			return complain(net, "cannot start the flooding process");
	}
	frames_drain(&net->rx);
	frames_drain(&net->tx);
	return net_pass(net, 300, 100, FRAME_LEAST, FULL_FRAME);
}

struct pass {
	uint32_t count;
	unsigned int burst;
	size_t least, most;
};

static int pass(struct frames *frames, void *argument)
{
	const struct pass *pass = argument;

	return frames_pass(frames, pass->count, pass->burst, pass->least, pass->most);
}

int net_pass_while(struct net *net, uint32_t count, unsigned int burst,
		   int (*meanwhile)(struct task *task))
{
	size_t most = most_of(net);
	struct pass what = { count, burst, most - FULL_FRAME + FRAME_LEAST, most };
	int status, result = 0;
	pid_t pids[2], ended;

	if (fork_both(net, pids, pass, &what))
		return -1;
	for (unsigned int i = RX; i <= TX; i++) {
		while (!(ended = waitpid(pids[i], &status, WNOHANG)))
			if (meanwhile(&net->task))
				return -1;
		if (ended != pids[i] || status)
			result = -1;
	}
	return result;
}
