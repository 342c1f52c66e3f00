// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtio-net driver on a device task behind VDUSE, with each kind of virtqueue:
 * what is sent comes out at the tap, and the other way round, complete and in order.
 */
#include <stdio.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include <signal.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include "../kselftest_harness.h"
#include "util/frames.h"
#include "util/sysfs.h"
#include "util/task.h"

#define TAP		"vdusetap"
/* Frames that fill the driver's buffers to the last byte: room for a VLAN tag is in them */
#define MTU		1504
#define FULL_FRAME	(14 + MTU)
#define BIG_MTU		9000
#define LAPS		(3 * 65536 + 1000)

enum { RX, TX };

struct net {
	struct task task;
	char interface[16];
	struct frames rx, tx;
};

FIXTURE(vduse_net)
{
	struct net net;
};

FIXTURE_VARIANT(vduse_net)
{
	struct ring_kind kind;
};

#define RING_KINDS_OF	vduse_net
#include "util/ring_kinds.h"
RING_KIND(vduse_net, split_mergeable, .mergeable = true);
RING_KIND(vduse_net, split_mergeable_in_order, .mergeable = true, .in_order = true);
RING_KIND(vduse_net, packed_mergeable, .mergeable = true, .packed = true);
RING_KIND(vduse_net, packed_mergeable_in_order, .mergeable = true, .packed = true,
	  .in_order = true);

static int start_traffic(struct net *net, const struct ring_kind *kind)
{
	unsigned int mtu = kind->mergeable ? BIG_MTU : MTU;

	if (path_match(net->interface, sizeof(net->interface),
		       "/sys/bus/virtio/devices/%s/net/*", net->task.virtio))
		return -1;
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

static int pass_both_ways(struct net *net, uint32_t count, unsigned int burst,
			  size_t least, size_t most)
{
	return frames_pass(&net->rx, count, burst, least, most) ||
	       frames_pass(&net->tx, count, burst, least, most) ? -1 : 0;
}

FIXTURE_SETUP(vduse_net)
{
	if (variant->kind.in_order && !virtio_knows_in_order())
		SKIP(return, "this kernel's virtio_ring does not know VIRTIO_F_IN_ORDER");
	ASSERT_EQ(0, task_start(&self->net.task, &variant->kind, "net", TAP));
	ASSERT_EQ(0, start_traffic(&self->net, &variant->kind)) task_stop(&self->net.task);
}

FIXTURE_TEARDOWN(vduse_net)
{
	if (!self->net.task.pid)
		return;
	end_traffic(&self->net);
	EXPECT_EQ(0, task_stop(&self->net.task));
}

/* What was offered, the driver took, and the kernel says so. */
TEST_F(vduse_net, negotiated)
{
	const struct ring_kind *kind = &variant->kind;
	const char *device = self->net.task.virtio;
	struct queue_statistics is;

	EXPECT_EQ(kind->packed, virtio_feature(device, VIRTIO_F_RING_PACKED));
	EXPECT_EQ(kind->in_order, virtio_feature(device, VIRTIO_F_IN_ORDER));
	EXPECT_EQ(kind->mergeable, virtio_feature(device, VIRTIO_NET_F_MRG_RXBUF));
	EXPECT_EQ(!kind->no_indirect, virtio_feature(device, VIRTIO_RING_F_INDIRECT_DESC));
	EXPECT_EQ(!kind->no_event_idx, virtio_feature(device, VIRTIO_RING_F_EVENT_IDX));
	TH_LOG("%s: virtio-net negotiated%s%s", device,
	       virtio_feature(device, VIRTIO_F_RING_PACKED) ? " packed" : "",
	       virtio_feature(device, VIRTIO_F_IN_ORDER) ? " in_order" : "");

	if (!virtio_knows_in_order())
		return;
	for (unsigned int queue = RX; queue <= TX; queue++) {
		ASSERT_EQ(0, virtio_queue_statistics(device, queue, &is));
		EXPECT_EQ(kind->packed, is.packed);
		EXPECT_EQ(kind->in_order, is.in_order);
		EXPECT_EQ(kind->queue_size ?: RING_SIZE, is.size);
	}
}

/* Every size there is, in bursts of different lengths */
TEST_F(vduse_net, sizes)
{
	size_t most = variant->kind.mergeable ? FRAME_MOST : FULL_FRAME;
	uint32_t count = most - FRAME_LEAST + 1;

	if (variant->kind.mergeable)
		count /= 8;
	EXPECT_EQ(0, pass_both_ways(&self->net, 3, 1, FRAME_LEAST, most));
	EXPECT_EQ(0, pass_both_ways(&self->net, count, 31, FRAME_LEAST, most));
	EXPECT_EQ(0, pass_both_ways(&self->net, 256, 64, most - 255, most));
}

/* Laps around the rings with batches as large as there are, and both sides agree on them. */
TEST_F_TIMEOUT(vduse_net, batches, 60)
{
	const struct ring_kind *kind = &variant->kind;
	size_t size = kind->mergeable ? FRAME_MOST : FULL_FRAME;
	struct task_report reports[2];
	struct queue_statistics is;

	EXPECT_EQ(0, pass_both_ways(&self->net, kind->mergeable ? 600 : 2000, 128, size, size));
	ASSERT_EQ(0, task_report(&self->net.task, 2, reports));
	for (unsigned int queue = RX; queue <= TX; queue++) {
		const struct task_report *report = &reports[queue];

		EXPECT_EQ(kind->packed, report->packed);
		EXPECT_EQ(kind->in_order, report->in_order);
		EXPECT_EQ(kind->in_order && kind->max_batch != 1,
			  report->elements < report->buffers);
		EXPECT_GE(kind->max_batch ?: UINT_MAX, report->largest_batch);
		if (!kind->in_order)
			continue;
		ASSERT_EQ(0, virtio_queue_statistics(self->net.task.virtio, queue, &is));
		TH_LOG("vq%u: %lu buffers, %lu batches", queue, is.buffers, is.batches);
		if (queue == RX) {
			EXPECT_EQ(report->buffers, is.buffers);
			EXPECT_EQ(report->elements, is.batches);
		} else {
			/* the driver takes back what it has sent when it finds time */
			EXPECT_GE(report->buffers, is.buffers);
			EXPECT_GE(report->elements, is.batches);
			EXPECT_LT(0, is.batches);
		}
	}
}

static int unbind_and_bind(struct net *net, const struct ring_kind *kind)
{
	if (file_write(net->task.virtio, "/sys/bus/virtio/drivers/virtio_net/unbind") ||
	    file_write(net->task.virtio, "/sys/bus/virtio/drivers/virtio_net/bind"))
		return -1;
	end_traffic(net);
	return start_traffic(net, kind);
}

/* The driver goes while frames are on their way in both directions, and comes back. */
TEST_F(vduse_net, removal)
{
	const struct ring_kind *kind = &variant->kind;
	pid_t pids[2];

	for (unsigned int i = 0; i < 2; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i]) {
			frames_flood(i ? &self->net.tx : &self->net.rx, 1000);
			_exit(0);
		}
	}
	usleep(300000);
	EXPECT_EQ(0, unbind_and_bind(&self->net, kind));
	for (unsigned int i = 0; i < 2; i++) {
		kill(pids[i], SIGKILL);
		ASSERT_EQ(pids[i], waitpid(pids[i], NULL, 0));
	}
	frames_settle(&self->net.rx);
	frames_settle(&self->net.tx);
	EXPECT_EQ(0, pass_both_ways(&self->net, 300, 100, FRAME_LEAST, FULL_FRAME));
}

/* A run so long that 16-bit indexes wrap several times. */
FIXTURE(laps)
{
	struct net net;
};

FIXTURE_VARIANT(laps)
{
	struct ring_kind kind;
};

RING_KIND(laps, split_in_order, .in_order = true);
RING_KIND(laps, packed_in_order, .packed = true, .in_order = true);

FIXTURE_SETUP(laps)
{
	if (!virtio_knows_in_order())
		SKIP(return, "this kernel's virtio_ring does not know VIRTIO_F_IN_ORDER");
	ASSERT_EQ(0, task_start(&self->net.task, &variant->kind, "net", TAP));
	ASSERT_EQ(0, start_traffic(&self->net, &variant->kind)) task_stop(&self->net.task);
}

FIXTURE_TEARDOWN(laps)
{
	if (!self->net.task.pid)
		return;
	end_traffic(&self->net);
	EXPECT_EQ(0, task_stop(&self->net.task));
}

TEST_F_TIMEOUT(laps, there_and_back, 150)
{
	EXPECT_EQ(0, pass_both_ways(&self->net, LAPS, 200, FRAME_LEAST, FRAME_LEAST + 40));
}

#define PARAMETER	"/sys/module/virtio_ring/parameters/in_order"

FIXTURE(in_order_parameter)
{
	struct net net;
};

FIXTURE_VARIANT(in_order_parameter)
{
	struct ring_kind kind;
};

RING_KIND(in_order_parameter, split, .in_order = true);
RING_KIND(in_order_parameter, packed, .in_order = true, .packed = true);

FIXTURE_SETUP(in_order_parameter)
{
	if (!virtio_knows_in_order())
		SKIP(return, "this kernel's virtio_ring does not know VIRTIO_F_IN_ORDER");
	ASSERT_EQ(0, file_write("0", PARAMETER));
	ASSERT_EQ(0, task_start(&self->net.task, &variant->kind, "net", TAP))
		file_write("1", PARAMETER);
	file_write("1", PARAMETER);
	ASSERT_EQ(0, start_traffic(&self->net, &variant->kind)) task_stop(&self->net.task);
}

FIXTURE_TEARDOWN(in_order_parameter)
{
	if (!self->net.task.pid)
		return;
	end_traffic(&self->net);
	EXPECT_EQ(0, task_stop(&self->net.task));
}

/* virtio_ring.in_order=0: the driver does not take what the device offers. */
TEST_F(in_order_parameter, off)
{
	const char *device = self->net.task.virtio;
	struct queue_statistics is;

	EXPECT_EQ(variant->kind.packed, virtio_feature(device, VIRTIO_F_RING_PACKED));
	EXPECT_EQ(0, virtio_feature(device, VIRTIO_F_IN_ORDER));
	ASSERT_EQ(0, virtio_queue_statistics(device, RX, &is));
	EXPECT_FALSE(is.in_order);
	EXPECT_EQ(0, pass_both_ways(&self->net, 300, 100, FRAME_LEAST, FULL_FRAME));
}

TEST_HARNESS_MAIN
