// SPDX-License-Identifier: GPL-2.0-only
/*
 * The virtio-net driver on vhost-net, with each virtqueue layout. VDUSE passes the driver's
 * rings to a task, which passes them on to vhost. Frames arrive at the tap device and at the
 * driver completely and in order.
 */
#include "../kselftest_harness.h"
#include "util/net.h"
#include "util/sysfs.h"

/* Frames for an odd number of wraps; and more than a 16-bit index can count */
#define WRAPS		(19 * RING_SIZE + 103)
#define MANY_WRAPS	(65536 + WRAPS)
#define MOVES		20

/* How vhost learns about the driver's memory: all at once, or on demand */
#define TABLE		"vhost-net"
#define IOTLB		"vhost-net-iotlb"

struct device {
	const char *type;
	struct ring_kind kind;
};

#define VARIANT(fixture, name, memory, ...) \
	FIXTURE_VARIANT_ADD(fixture, name) { .device = { memory, { __VA_ARGS__ } } }

static bool has_iotlb(const struct device *device)
{
	return !strcmp(device->type, IOTLB);
}

static int start(struct net *net, const struct device *device)
{
	return load_modules("vhost_net") || net_start(net, &device->kind, device->type) ? -1 : 0;
}

FIXTURE(vhost)
{
	struct net net;
};

FIXTURE_VARIANT(vhost)
{
	struct device device;
};

VARIANT(vhost, table_split, TABLE, .packed = false);
VARIANT(vhost, table_split_in_order, TABLE, .in_order = true);
VARIANT(vhost, table_packed, TABLE, .packed = true);
VARIANT(vhost, table_packed_in_order, TABLE, .packed = true, .in_order = true);
VARIANT(vhost, table_split_mergeable, TABLE, .mergeable = true);
VARIANT(vhost, table_split_in_order_mergeable, TABLE, .in_order = true, .mergeable = true);
VARIANT(vhost, table_packed_mergeable, TABLE, .packed = true, .mergeable = true);
VARIANT(vhost, table_packed_in_order_mergeable, TABLE, .packed = true, .in_order = true,
	.mergeable = true);
/* Neither indirect tables nor event indices: large frames are sent as chains */
VARIANT(vhost, table_split_plain, TABLE, .mergeable = true, .no_indirect = true,
	.no_event_idx = true);
VARIANT(vhost, table_split_in_order_plain, TABLE, .in_order = true, .mergeable = true,
	.no_indirect = true, .no_event_idx = true);
VARIANT(vhost, table_packed_plain, TABLE, .packed = true, .mergeable = true,
	.no_indirect = true, .no_event_idx = true);
VARIANT(vhost, table_packed_in_order_plain, TABLE, .packed = true, .in_order = true,
	.mergeable = true, .no_indirect = true, .no_event_idx = true);
VARIANT(vhost, table_packed_in_order_odd, TABLE, .packed = true, .in_order = true,
	.mergeable = true, .no_indirect = true, .queue_size = 37);
VARIANT(vhost, iotlb_split_mergeable, IOTLB, .mergeable = true);
VARIANT(vhost, iotlb_split_in_order_mergeable, IOTLB, .in_order = true, .mergeable = true);
VARIANT(vhost, iotlb_packed_mergeable, IOTLB, .packed = true, .mergeable = true);
VARIANT(vhost, iotlb_packed_in_order_mergeable, IOTLB, .packed = true, .in_order = true,
	.mergeable = true);

FIXTURE_SETUP(vhost)
{
	if (variant->device.kind.in_order && !virtio_knows_in_order())
		SKIP(return, "this kernel's virtio_ring does not support VIRTIO_F_IN_ORDER");
	ASSERT_EQ(0, start(&self->net, &variant->device));
}

FIXTURE_TEARDOWN(vhost)
{
	EXPECT_EQ(0, net_stop(&self->net));
}

/*
 * All frame sizes, with the layout that was offered. In order, transmit buffers are returned in
 * batches, and receive buffers one at a time.
 */
TEST_F(vhost, sizes)
{
	const char *device = self->net.task.virtio;
	struct queue_statistics is;

	EXPECT_EQ(0, net_check_negotiated(&self->net));
	EXPECT_EQ(0, net_pass_sizes(&self->net));
	if (!variant->device.kind.in_order)
		return;
	ASSERT_EQ(0, virtio_queue_statistics(device, RX, &is));
	EXPECT_LT(0, is.buffers);
	EXPECT_EQ(is.buffers, is.batches);
	ASSERT_EQ(0, virtio_queue_statistics(device, TX, &is));
	TH_LOG("sent: %lu buffers in %lu batches", is.buffers, is.batches);
	EXPECT_LT(0, is.batches);
	EXPECT_LT(is.batches, is.buffers);
}

static int moves;

static int move(struct task *task)
{
	moves++;
	return task_move(task);
}

/*
 * While frames pass, the driver's memory moves again and again, or vhost has to ask for it
 * again.
 */
TEST_F(vhost, moving)
{
	struct vhost_report reports[2];
	int failed = 0;

	while (!failed && moves < MOVES)
		failed = net_pass_while(&self->net, 1000, 100, move);
	ASSERT_EQ(0, failed);
	TH_LOG("moved %d times", moves);
	ASSERT_EQ(0, task_vhost_report(&self->net.task, 2, reports));
	EXPECT_EQ(has_iotlb(&variant->device), reports[RX].misses > moves);
}

FIXTURE(vhost_long)
{
	struct net net;
};

FIXTURE_VARIANT(vhost_long)
{
	struct device device;
};

VARIANT(vhost_long, table_split, TABLE, .packed = false);
VARIANT(vhost_long, table_split_in_order, TABLE, .in_order = true);
VARIANT(vhost_long, table_packed, TABLE, .packed = true);
VARIANT(vhost_long, table_packed_in_order, TABLE, .packed = true, .in_order = true);
VARIANT(vhost_long, iotlb_split, IOTLB, .packed = false);
VARIANT(vhost_long, iotlb_split_in_order, IOTLB, .in_order = true);
VARIANT(vhost_long, iotlb_packed, IOTLB, .packed = true);
VARIANT(vhost_long, iotlb_packed_in_order, IOTLB, .packed = true, .in_order = true);

FIXTURE_SETUP(vhost_long)
{
	if (variant->device.kind.in_order && !virtio_knows_in_order())
		SKIP(return, "this kernel's virtio_ring does not support VIRTIO_F_IN_ORDER");
	ASSERT_EQ(0, start(&self->net, &variant->device));
}

FIXTURE_TEARDOWN(vhost_long)
{
	EXPECT_EQ(0, net_stop(&self->net));
}

/* Expected VHOST_GET_VRING_BASE after this many buffers of one descriptor */
static uint32_t base_after(const struct ring_kind *kind, uint32_t buffers)
{
	uint32_t position = buffers % RING_SIZE | !(buffers / RING_SIZE % 2) << 15;

	return kind->packed ? position << 16 | position : buffers & 0xffff;
}

/*
 * The indices overflow, and vhost is at the same position as the driver. Then remove the driver
 * while frames are on their way, and bring it back.
 */
TEST_F_TIMEOUT(vhost_long, wraps, 60)
{
	uint32_t count = has_iotlb(&variant->device) ? WRAPS : MANY_WRAPS;
	uint32_t base = base_after(&variant->device.kind, count);
	struct vhost_report reports[2];

	EXPECT_EQ(0, net_pass(&self->net, count, 250, FRAME_LEAST, FRAME_LEAST + 40));
	ASSERT_EQ(0, task_vhost_report(&self->net.task, 2, reports));
	EXPECT_EQ(base, reports[RX].base);
	EXPECT_EQ(base, reports[TX].base);
	EXPECT_EQ(0, net_remove(&self->net));
}

TEST_HARNESS_MAIN
