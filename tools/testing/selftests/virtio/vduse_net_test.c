// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtio-net driver on a VDUSE device, with each kind of virtqueue: frames arrive at the tap
 * device and at the driver completely and in order.
 */
#include <limits.h>
#include <linux/virtio_config.h>
#include "../kselftest_harness.h"
#include "util/net.h"
#include "util/sysfs.h"

#define WRAPS		(3 * 65536 + 1000)

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

FIXTURE_SETUP(vduse_net)
{
	if (variant->kind.in_order && !virtio_knows_in_order())
		SKIP(return, "this kernel's virtio_ring does not support VIRTIO_F_IN_ORDER");
	ASSERT_EQ(0, net_start(&self->net, &variant->kind, "net"));
}

FIXTURE_TEARDOWN(vduse_net)
{
	EXPECT_EQ(0, net_stop(&self->net));
}

/* Clause: 2.2.1a. */
TEST_F(vduse_net, negotiated)
{
	EXPECT_EQ(0, net_check_negotiated(&self->net));
}

TEST_F(vduse_net, sizes)
{
	EXPECT_EQ(0, net_pass_sizes(&self->net));
}

/* Several wraps with batches as large as possible; both sides count the same. */
TEST_F_TIMEOUT(vduse_net, batches, 60)
{
	const struct ring_kind *kind = &variant->kind;
	size_t size = kind->mergeable ? FRAME_MOST : FULL_FRAME;
	struct task_report reports[2];
	struct queue_statistics is;

	EXPECT_EQ(0, net_pass(&self->net, kind->mergeable ? 600 : 2000, 128, size, size));
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
			/* the driver takes buffers of sent frames back some time later */
			EXPECT_GE(report->buffers, is.buffers);
			EXPECT_GE(report->elements, is.batches);
			EXPECT_LT(0, is.batches);
		}
	}
}

TEST_F(vduse_net, removal)
{
	EXPECT_EQ(0, net_remove(&self->net));
}

/* A run in which 16-bit indices overflow several times */
FIXTURE(wraps)
{
	struct net net;
};

FIXTURE_VARIANT(wraps)
{
	struct ring_kind kind;
};

RING_KIND(wraps, split_in_order, .in_order = true);
RING_KIND(wraps, packed_in_order, .packed = true, .in_order = true);

FIXTURE_SETUP(wraps)
{
	if (!virtio_knows_in_order())
		SKIP(return, "this kernel's virtio_ring does not support VIRTIO_F_IN_ORDER");
	ASSERT_EQ(0, net_start(&self->net, &variant->kind, "net"));
}

FIXTURE_TEARDOWN(wraps)
{
	EXPECT_EQ(0, net_stop(&self->net));
}

TEST_F_TIMEOUT(wraps, there_and_back, 150)
{
	EXPECT_EQ(0, net_pass(&self->net, WRAPS, 200, FRAME_LEAST, FRAME_LEAST + 40));
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
		SKIP(return, "this kernel's virtio_ring does not support VIRTIO_F_IN_ORDER");
	ASSERT_EQ(0, file_write("0", PARAMETER));
	ASSERT_EQ(0, net_start(&self->net, &variant->kind, "net"))
		file_write("1", PARAMETER);
	file_write("1", PARAMETER);
}

FIXTURE_TEARDOWN(in_order_parameter)
{
	EXPECT_EQ(0, net_stop(&self->net));
}

/* virtio_ring.in_order=0: the driver does not accept the feature. */
TEST_F(in_order_parameter, off)
{
	const char *device = self->net.task.virtio;
	struct queue_statistics is;

	EXPECT_EQ(variant->kind.packed, virtio_feature(device, VIRTIO_F_RING_PACKED));
	EXPECT_EQ(0, virtio_feature(device, VIRTIO_F_IN_ORDER));
	ASSERT_EQ(0, virtio_queue_statistics(device, RX, &is));
	EXPECT_FALSE(is.in_order);
	EXPECT_EQ(0, net_pass(&self->net, 300, 100, FRAME_LEAST, FULL_FRAME));
}

TEST_HARNESS_MAIN
