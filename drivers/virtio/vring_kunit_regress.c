// SPDX-License-Identifier: GPL-2.0-only
/*
 * A test for each thing that implementations of VIRTIO_F_IN_ORDER and of packed rings have got
 * wrong: devices that batch, mappings that fail, resets at a bad time
 */
#include <linux/fs.h>
#include <linux/slab.h>

#include "vring_kunit.h"

static const struct fake_layout in_order_layouts[] = {
	{ "split", FAKE_SPLIT | FAKE_IN_ORDER | FAKE_DMA },
	{ "split, indirect", FAKE_SPLIT | FAKE_IN_ORDER | FAKE_INDIRECT | FAKE_DMA },
	{ "packed", FAKE_PACKED | FAKE_IN_ORDER | FAKE_DMA },
	{ "packed, indirect", FAKE_PACKED | FAKE_IN_ORDER | FAKE_INDIRECT | FAKE_DMA },
};

KUNIT_ARRAY_PARAM_DESC(in_order, in_order_layouts, name);

static const struct fake_layout all_layouts[] = {
	{ "split", FAKE_SPLIT | FAKE_DMA },
	{ "split, indirect", FAKE_SPLIT | FAKE_INDIRECT | FAKE_DMA },
	{ "split in order", FAKE_SPLIT | FAKE_IN_ORDER | FAKE_DMA },
	{ "split in order, indirect", FAKE_SPLIT | FAKE_IN_ORDER | FAKE_INDIRECT | FAKE_DMA },
	{ "packed", FAKE_PACKED | FAKE_DMA },
	{ "packed, indirect", FAKE_PACKED | FAKE_INDIRECT | FAKE_DMA },
	{ "packed in order", FAKE_PACKED | FAKE_IN_ORDER | FAKE_DMA },
	{ "packed in order, indirect", FAKE_PACKED | FAKE_IN_ORDER | FAKE_INDIRECT | FAKE_DMA },
};

KUNIT_ARRAY_PARAM_DESC(all, all_layouts, name);

/* Without indirect tables */
static const struct fake_layout direct_layouts[] = {
	{ "split", FAKE_SPLIT | FAKE_DMA },
	{ "split in order", FAKE_SPLIT | FAKE_IN_ORDER | FAKE_DMA },
	{ "packed", FAKE_PACKED | FAKE_DMA },
	{ "packed in order", FAKE_PACKED | FAKE_IN_ORDER | FAKE_DMA },
};

KUNIT_ARRAY_PARAM_DESC(direct, direct_layouts, name);

static u64 features_of(struct kunit *test)
{
	return ((const struct fake_layout *)test->param_value)->features;
}

static void expect_get(struct kunit *test, struct fake_vq *fq, unsigned long token, u32 len)
{
	u32 got = ~0;

	KUNIT_EXPECT_EQ(test, fake_get(fq, &got), token);
	if (token)
		KUNIT_EXPECT_EQ(test, got, len);
}

/* Add one buffer, and get it back without a batch. */
static void round_trip(struct kunit *test, struct fake_vq *fq, unsigned long token,
		       unsigned int out, unsigned int in)
{
	struct fake_buf buf;

	fake_give(test, fq, &buf, token, out, in);
	fake_return(fq, &buf, 1, 1);
	expect_get(test, fq, token, 1);
	expect_get(test, fq, 0, 0);
}

/*
 * Batches
 */

/*
 * T1: the used length of a skipped buffer is what the device may write, and no more.
 * Clause: 2.7.9b, 2.8.8b.
 */
static void length_of_skipped(struct kunit *test)
{
	static const struct { u8 out, in; } segments[] = { { 2, 1 }, { 3, 0 }, { 0, 2 }, { 1, 3 } };
	struct fake_vq *fq = fake_vq_simple(test, features_of(test), 16);
	struct fake_buf bufs[4];
	unsigned int i, wrap;

	for (wrap = 0; wrap < 5; wrap++) {
		for (i = 0; i < 4; i++)
			fake_give(test, fq, &bufs[i], 100 + i, segments[i].out, segments[i].in);
		fake_return(fq, bufs, 4, 7);
		for (i = 0; i < 3; i++)
			expect_get(test, fq, 100 + i, (100 + i) * segments[i].in);
		expect_get(test, fq, 103, 7);
		expect_get(test, fq, 0, 0);
	}
	fake_expect_unused(test, fq);
}

/* A context comes back with the buffer it was added with, whether that was skipped or not. */
static void context_of_skipped(struct kunit *test)
{
	struct fake_setup setup = { features_of(test), .num = 8, .context = true };
	struct fake_vq *fq = fake_vq_create(test, &setup);
	struct fake_buf bufs[3];
	unsigned long i, wrap;

	sg_init_one(fq->sg, fq->memory, 64);
	for (wrap = 0; wrap < 5; wrap++) {
		for (i = 0; i < 3; i++) {
			KUNIT_ASSERT_EQ(test, virtqueue_add_inbuf_ctx(fq->vq, fq->sg, 1,
								      (void *)(i + 1),
								      (void *)(i + 11),
								      GFP_KERNEL), 0);
			KUNIT_ASSERT_TRUE(test, fake_take(fq, &bufs[i]));
		}
		fake_return(fq, bufs, 3, 5);
		for (i = 0; i < 3; i++) {
			void *ctx = NULL;
			u32 len = 0;

			KUNIT_EXPECT_PTR_EQ(test, virtqueue_get_buf_ctx(fq->vq, &len, &ctx),
					    (void *)(i + 1));
			KUNIT_EXPECT_PTR_EQ(test, ctx, (void *)(i + 11));
			KUNIT_EXPECT_EQ(test, len, i < 2 ? 64 : 5);
		}
	}
	fake_expect_unused(test, fq);
}

/* T3: as long as a buffer of the batch has not been taken, buffers are pending. */
static void expect_pending(struct kunit *test, u64 features)
{
	struct fake_vq *fq = fake_vq_simple(test, features, 16);
	unsigned int i, wrap, opaque;
	struct fake_buf bufs[4];

	for (wrap = 0; wrap < 5; wrap++) {
		for (i = 0; i < 4; i++)
			fake_give(test, fq, &bufs[i], 1 + i, 1, 1);
		KUNIT_EXPECT_FALSE(test, fake_interrupt(fq));
		KUNIT_EXPECT_TRUE(test, virtqueue_enable_cb(fq->vq));
		fake_return(fq, bufs, 3, 1);
		for (i = 0; i < 3; i++) {
			unsigned long called = fq->called;

			virtqueue_disable_cb(fq->vq);
			KUNIT_EXPECT_FALSE_MSG(test, virtqueue_enable_cb(fq->vq), "%u taken", i);
			opaque = virtqueue_enable_cb_prepare(fq->vq);
			KUNIT_EXPECT_TRUE_MSG(test, virtqueue_poll(fq->vq, opaque), "%u taken", i);
			/* a split ring accepts three quarters pending */
			if (fq->packed)
				KUNIT_EXPECT_FALSE_MSG(test, virtqueue_enable_cb_delayed(fq->vq),
						       "%u taken", i);
			KUNIT_EXPECT_TRUE_MSG(test, fake_interrupt(fq), "%u taken", i);
			KUNIT_EXPECT_EQ(test, fq->called, called + 1);
			expect_get(test, fq, 1 + i, i < 2 ? 1 + i : 1);
		}
		opaque = virtqueue_enable_cb_prepare(fq->vq);
		KUNIT_EXPECT_FALSE(test, virtqueue_poll(fq->vq, opaque));
		KUNIT_EXPECT_TRUE(test, virtqueue_enable_cb_delayed(fq->vq));
		KUNIT_EXPECT_FALSE(test, fake_interrupt(fq));
		fake_return(fq, bufs + 3, 1, 2);
		KUNIT_EXPECT_TRUE(test, virtqueue_poll(fq->vq, opaque));
		KUNIT_EXPECT_TRUE(test, fake_interrupt(fq));
		expect_get(test, fq, 4, 2);
	}
	fake_expect_unused(test, fq);
}

static void pending_in_open_batch(struct kunit *test)
{
	expect_pending(test, features_of(test));
	expect_pending(test, features_of(test) | FAKE_EVENT_IDX);
}

/* T6: the event index is not written while there are more buffers to take. */
static void event_once_per_batch(struct kunit *test)
{
	struct fake_vq *fq = fake_vq_simple(test, features_of(test) | FAKE_EVENT_IDX, 16);
	static const u16 poison = 0x5a5a;
	struct fake_buf bufs[5];
	unsigned int i, wrap;

	/* Makes the packed ring use the event offset */
	virtqueue_disable_cb(fq->vq);
	KUNIT_ASSERT_TRUE(test, virtqueue_enable_cb(fq->vq));

	for (wrap = 0; wrap < 7; wrap++) {
		for (i = 0; i < 5; i++)
			fake_give(test, fq, &bufs[i], 1 + i, 1, 1);
		/* two batches, both visible to the driver from the beginning */
		fake_use(fq, bufs[2].id, 1, 3, 3 * bufs[0].descs);
		fake_use(fq, bufs[4].id, 2, 2, 2 * bufs[0].descs);
		fake_publish(fq);
		for (i = 0; i < 5; i++) {
			bool last = i == 4 || (i == 2 && fq->packed);

			fake_set_interrupt_at(fq, poison);
			expect_get(test, fq, 1 + i, i == 2 ? 1 : i == 4 ? 2 : 1 + i);
			KUNIT_EXPECT_EQ_MSG(test, fake_interrupt_at(fq) != poison, last,
					    "%u taken", i + 1);
			if (i == 4)
				KUNIT_EXPECT_EQ(test, fake_interrupt_at(fq),
						fake_position(fq, fq->published));
		}
		expect_get(test, fq, 0, 0);
	}

	/* It is never written while callbacks are disabled. */
	virtqueue_disable_cb(fq->vq);
	fake_set_interrupt_at(fq, poison);
	round_trip(test, fq, 9, 1, 1);
	KUNIT_EXPECT_EQ(test, fake_interrupt_at(fq), poison);
}

/* What the device writes to the ring once the batch is open has no effect. */
static void corrupted_in_open_batch(struct kunit *test)
{
	/* Not used in any wrap: otherwise it would be a bogus element */
	static const struct vring_packed_desc packed_corrupt = {
		cpu_to_le64(0xa5a5a5a5), cpu_to_le32(0xa5a5a5), cpu_to_le16(0xa5a5),
		cpu_to_le16(BIT(VRING_PACKED_DESC_F_AVAIL) | VRING_DESC_F_NEXT |
			    VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT),
	};
	struct fake_vq *fq = fake_vq_simple(test, features_of(test), 8);
	struct fake_buf bufs[4];
	unsigned int i, wrap;

	for (wrap = 0; wrap < 5; wrap++) {
		for (i = 0; i < 4; i++)
			fake_give(test, fq, &bufs[i], 10 + i, 1, 1);
		fake_return(fq, bufs, 4, 3);
		expect_get(test, fq, 10, 10);
		for (i = 0; i < fq->num; i++) {
			if (fq->packed)
				fq->ring.desc[i] = packed_corrupt;
			else
				memset(&fq->split.desc[i], 0xa5, sizeof(*fq->split.desc));
		}
		if (!fq->packed)
			memset(fq->split.used->ring, 0xa5,
			       fq->num * sizeof(*fq->split.used->ring));
		for (i = 1; i < 4; i++)
			expect_get(test, fq, 10 + i, i < 3 ? 10 + i : 3);
		expect_get(test, fq, 0, 0);
		fake_expect_unused(test, fq);
	}
}

/* One element for a full ring, beginning at each descriptor */
static void batch_of_the_whole_ring(struct kunit *test)
{
	static const u8 sizes[] = { 1, 2, 4, 8, 3, 5, 7 };
	unsigned int num, i, k, wrap;
	struct fake_buf bufs[8];

	for (k = 0; k < ARRAY_SIZE(sizes); k++) {
		struct fake_vq *fq;

		num = sizes[k];
		if (!(features_of(test) & FAKE_PACKED) && !is_power_of_2(num))
			continue;
		fq = fake_vq_simple(test, features_of(test), num);
		for (wrap = 0; wrap < 3 * num; wrap++) {
			for (i = 0; i < num; i++)
				fake_give(test, fq, &bufs[i], 1 + i, 0, 1);
			KUNIT_EXPECT_EQ(test, fake_add(fq, 99, 0, 1), -ENOSPC);
			fake_return(fq, bufs, num, 100);
			for (i = 0; i < num; i++)
				expect_get(test, fq, 1 + i, i < num - 1 ? 1 + i : 100);
			expect_get(test, fq, 0, 0);
			/* so that the next one begins at the next descriptor */
			round_trip(test, fq, 50, 1, 0);
		}
		fake_expect_unused(test, fq);
	}
}

/*
 * Taking buffers away
 */

/* Six buffers outstanding, four of them returned in a batch, of which one has been taken */
static struct fake_vq *with_open_batch(struct kunit *test, unsigned int num_max)
{
	struct fake_setup setup = { features_of(test), .num = 16, .num_max = num_max };
	struct fake_vq *fq = fake_vq_create(test, &setup);
	struct fake_buf bufs[6];
	unsigned int i;

	for (i = 0; i < 3; i++)
		round_trip(test, fq, 100, 1, 2);
	for (i = 0; i < 6; i++)
		fake_give(test, fq, &bufs[i], 1 + i, 1, 1);
	fake_return(fq, bufs, 4, 3);
	expect_get(test, fq, 1, 1);
	fq->priv = kunit_kzalloc(test, 8 * sizeof(unsigned long), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fq->priv);
	return fq;
}

/* All others come back, wherever they are, the oldest first. */
static void expect_recycled(struct kunit *test, struct fake_vq *fq)
{
	const unsigned long *recycled = fq->priv;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, recycled[0], 5);
	for (i = 1; i <= 5; i++)
		KUNIT_EXPECT_EQ(test, recycled[i], 1 + i);
	fake_expect_unused(test, fq);
}

static void recycle(struct virtqueue *vq, void *data)
{
	unsigned long *recycled = to_fake_vq(vq)->priv;

	if (++recycled[0] < 8)
		recycled[recycled[0]] = (unsigned long)data;
}

static void recycle_any(struct virtqueue *vq, void *data)
{
}

/* As good as new: it begins at descriptor 0, and no batch is open. */
static void expect_anew(struct kunit *test, struct fake_vq *fq)
{
	struct fake_buf bufs[3];
	unsigned int i, wrap;

	expect_get(test, fq, 0, 0);
	fake_expect_unused(test, fq);
	KUNIT_ASSERT_TRUE(test, virtqueue_enable_cb(fq->vq));
	KUNIT_EXPECT_FALSE(test, fake_interrupt(fq));
	for (wrap = 0; wrap < fq->num; wrap++) {
		for (i = 0; i < 3; i++)
			fake_give(test, fq, &bufs[i], 20 + i, 0, 1);
		if (!wrap)
			KUNIT_EXPECT_EQ(test, bufs[0].id, 0);
		expect_get(test, fq, 0, 0);
		fake_return(fq, bufs, 3, 5);
		for (i = 0; i < 3; i++)
			expect_get(test, fq, 20 + i, i < 2 ? 20 + i : 5);
	}
	fake_expect_unused(test, fq);
}

/* T4: a reset closes the batch. */
static void reset_in_open_batch(struct kunit *test)
{
	struct fake_vq *fq = with_open_batch(test, 0);

	KUNIT_EXPECT_EQ(test, virtqueue_reset(fq->vq, recycle, NULL), 0);
	expect_recycled(test, fq);
	expect_anew(test, fq);
}

static void resize_in_open_batch(struct kunit *test)
{
	static const u8 sizes[] = { 4, 32, 8 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct fake_vq *fq = with_open_batch(test, 64);

		KUNIT_EXPECT_EQ(test, virtqueue_resize(fq->vq, sizes[i], recycle, NULL), 0);
		KUNIT_EXPECT_EQ(test, fq->num, sizes[i]);
		expect_recycled(test, fq);
		expect_anew(test, fq);
	}
}

static void detach_in_open_batch(struct kunit *test)
{
	struct fake_vq *fq = with_open_batch(test, 0);
	void *data;

	while ((data = virtqueue_detach_unused_buf(fq->vq)))
		recycle(fq->vq, data);
	expect_recycled(test, fq);
	KUNIT_EXPECT_NULL(test, virtqueue_detach_unused_buf(fq->vq));
}

/* A failed resize leaves the batch open. */
static void resize_refused(struct kunit *test)
{
	struct fake_vq *fq = with_open_batch(test, 32);

	KUNIT_EXPECT_EQ(test, virtqueue_resize(fq->vq, 64, recycle, NULL), -E2BIG);
	KUNIT_EXPECT_EQ(test, virtqueue_resize(fq->vq, 0, recycle, NULL), -EINVAL);
	KUNIT_EXPECT_EQ(test, virtqueue_resize(fq->vq, 16, recycle, NULL), 0);
	KUNIT_EXPECT_EQ(test, *(unsigned long *)fq->priv, 0);
	expect_get(test, fq, 2, 2);
	expect_get(test, fq, 3, 3);
	expect_get(test, fq, 4, 3);
	expect_get(test, fq, 0, 0);
}

static void resize_to_any_size(struct kunit *test)
{
	static const u16 sizes[] = { 1, 2, 256, 64, 3, 7, 100, 255, 4 };
	struct fake_setup setup = { features_of(test), .num = 16, .num_max = 256 };
	struct fake_vq *fq = fake_vq_create(test, &setup);
	unsigned int i, k;

	for (k = 0; k < ARRAY_SIZE(sizes); k++) {
		if (!fq->packed && !is_power_of_2(sizes[k]))
			continue;
		/* nothing is outstanding, but it is not at descriptor 0 */
		round_trip(test, fq, 1, 0, 1);
		KUNIT_ASSERT_EQ(test, virtqueue_resize(fq->vq, sizes[k], recycle_any, NULL), 0);
		KUNIT_ASSERT_EQ(test, fq->num, sizes[k]);
		for (i = 0; i < 3 * sizes[k]; i++)
			round_trip(test, fq, 1 + i, i % 2, sizes[k] > 1 || i % 2 == 0);
		fake_expect_unused(test, fq);
	}
}

/*
 * Adds that fail
 */

/*
 * T2, and stale flags: if a segment cannot be mapped, whichever it is and wherever the buffer
 * begins, neither side may notice, and the next buffers work as usual.
 * Clause: stale-flags.
 */
static void mapping_failure(struct kunit *test)
{
	struct fake_vq *fq = fake_vq_simple(test, features_of(test), 8);
	unsigned int total = 6, fail, out, step;
	struct fake_buf old, buf;
	u32 notification;

	for (step = 0; step < 40; step++) {
		/* with and without another buffer outstanding, and with shorter ones to come */
		unsigned int next = 1 + step % 3;

		fake_give(test, fq, &old, 50, 0, 1);
		for (fail = 1; fail <= total + fq->indirect; fail++) {
			out = (fail + step) % (total + 1);
			notification = vring_notification_data(fq->vq);
			fq->dma->fail_from = fail;
			KUNIT_EXPECT_LT(test, fake_add(fq, 60, out, total - out), 0);
			fq->dma->fail_from = 0;
			KUNIT_EXPECT_EQ(test, fake_dma_mapped(fq->dma), 1);
			KUNIT_EXPECT_EQ(test, fq->vq->num_free, fq->num - 1);
			KUNIT_EXPECT_EQ(test, vring_notification_data(fq->vq), notification);
			fake_expect_none(test, fq);
			expect_get(test, fq, 0, 0);
		}
		fake_return(fq, &old, 1, 4);
		expect_get(test, fq, 50, 4);

		fake_give(test, fq, &buf, 70, next, 0);
		fake_expect_none(test, fq);
		expect_get(test, fq, 0, 0);
		fake_return(fq, &buf, 1, 0);
		expect_get(test, fq, 70, 0);
		fake_expect_none(test, fq);
		fake_expect_unused(test, fq);
		if (READ_ONCE(test->status) == KUNIT_FAILURE)
			return;
	}
	/* and one of the same length */
	round_trip(test, fq, 60, 3, 3);
}

/* T2 alone: a failed add leaves the wrap counter as it was, for everything that uses it. */
static void wrap_after_mapping_failure(struct kunit *test)
{
	struct fake_vq *fq = fake_vq_simple(test, features_of(test) | FAKE_EVENT_IDX, 8);
	unsigned int i, wrap;
	struct fake_buf buf;

	for (wrap = 0; wrap < 4; wrap++) {
		while (fq->used_pos % 8 != 6)
			round_trip(test, fq, 1, 1, 0);
		fq->dma->fail_from = 4;
		KUNIT_EXPECT_LT(test, fake_add(fq, 2, 2, 2), 0);
		fq->dma->fail_from = 0;
		KUNIT_EXPECT_EQ(test, vring_notification_data(fq->vq) >> 16,
				fake_position(fq, fq->avail_pos));
		fake_ask_for_kick(fq, FAKE_KICK_AT, fq->avail_pos);
		KUNIT_EXPECT_FALSE(test, virtqueue_kick_prepare(fq->vq));
		/* buffers before the end of the ring, and after it */
		for (i = 0; i < 4; i++) {
			fake_ask_for_kick(fq, FAKE_KICK_AT, fq->avail_pos);
			fake_give(test, fq, &buf, 3, 1, 0);
			KUNIT_EXPECT_TRUE(test, virtqueue_kick_prepare(fq->vq));
			fake_return(fq, &buf, 1, 0);
			expect_get(test, fq, 3, 0);
			fake_expect_none(test, fq);
		}
	}
	fake_expect_unused(test, fq);
}

/*
 * A full ring returns -ENOSPC and takes nothing. A chain may be as long as the ring.
 * Clause: 2.8.17d, long-chain-driver.
 */
static void full_ring(struct kunit *test)
{
	struct fake_vq *fq = fake_vq_simple(test, features_of(test), 8);
	unsigned long notified;
	struct fake_buf bufs[8];
	unsigned int i, wrap;

	for (wrap = 0; wrap < 20; wrap++) {
		round_trip(test, fq, 8, wrap % 8, 8 - wrap % 8);
		round_trip(test, fq, 1, 1, 0);

		for (i = 0; i < 6; i++)
			fake_give(test, fq, &bufs[i], 1 + i, 0, 1);
		notified = fq->notified;
		KUNIT_EXPECT_EQ(test, fake_add(fq, 9, 0, 3), -ENOSPC);
		KUNIT_EXPECT_EQ(test, fq->notified, notified);
		KUNIT_EXPECT_EQ(test, fake_add(fq, 9, 3, 0), -ENOSPC);
		/* the split ring notifies the device if the buffer is readable */
		KUNIT_EXPECT_EQ(test, fq->notified, notified + !fq->packed);
		KUNIT_EXPECT_EQ(test, fq->vq->num_free, 2);
		fake_expect_none(test, fq);
		for (; i < 8; i++)
			fake_give(test, fq, &bufs[i], 1 + i, 0, 1);
		KUNIT_EXPECT_EQ(test, fake_add(fq, 9, 0, 1), -ENOSPC);
		KUNIT_EXPECT_EQ(test, fq->vq->num_free, 0);
		for (i = 0; i < 8; i++) {
			fake_return(fq, &bufs[i], 1, 1);
			expect_get(test, fq, 1 + i, 1);
		}
		fake_expect_unused(test, fq);
	}
}

/* Memory for tables comes from a zone that is small enough to exhaust. */
static void *use_up(size_t size)
{
	void *first = NULL, **mem;

	while ((mem = kmalloc(size, GFP_DMA | __GFP_NOWARN))) {
		*mem = first;
		first = mem;
	}
	return first;
}

static void give_back(void *first)
{
	while (first) {
		void *next = *(void **)first;

		kfree(first);
		first = next;
	}
}

/*
 * Without memory for a table, the buffer takes a descriptor for each segment, or -ENOSPC is
 * returned. It may have more segments than the ring: that is no reason for a warning.
 * Clause: 2.7.5.3.1c, 2.8.17b.
 */
static void no_memory_for_table(struct kunit *test)
{
	struct fake_setup setup = {
		features_of(test) | FAKE_INDIRECT, .num = 16, .num_max = 64,
	};
	int err_long, err_short;
	struct fake_vq *fq;
	struct fake_buf buf;
	void *memory[2];

	if (!IS_ENABLED(CONFIG_ZONE_DMA))
		kunit_skip(test, "no memory of a kind that can be used up (CONFIG_ZONE_DMA)");
	fq = fake_vq_create(test, &setup);
	round_trip(test, fq, 64, 60, 4);

	fq->gfp = GFP_DMA | __GFP_NOWARN;
	/* Stay on this CPU: another one may have free memory cached */
	get_cpu();
	memory[0] = use_up(40 * sizeof(struct vring_desc));
	memory[1] = use_up(10 * sizeof(struct vring_desc));
	err_long = fake_add(fq, 1, 0, 40);
	err_short = fake_add(fq, 2, 4, 6);
	put_cpu();
	give_back(memory[0]);
	give_back(memory[1]);

	KUNIT_EXPECT_EQ(test, err_long, -ENOSPC);
	KUNIT_EXPECT_EQ(test, err_short, 0);
	/* The device must not find a table either. */
	fq->indirect = false;
	fake_expect(test, fq, &buf, 2, 4, 6);
	fake_return(fq, &buf, 1, 5);
	expect_get(test, fq, 2, 5);
	fake_expect_unused(test, fq);
}

/*
 * Tables are freed, however their buffer ends: otherwise the small zone would soon be
 * exhausted.
 */
static void tables_are_freed(struct kunit *test)
{
	struct fake_setup setup = {
		features_of(test) | FAKE_INDIRECT, .num = 4, .num_max = 256,
	};
	struct fake_vq *fq;
	struct fake_buf buf;
	unsigned int i;
	u32 len;

	if (!IS_ENABLED(CONFIG_ZONE_DMA))
		kunit_skip(test, "no memory of a kind that can be used up (CONFIG_ZONE_DMA)");
	if (IS_ENABLED(CONFIG_KASAN))
		kunit_skip(test, "memory that is freed cannot be had again at once (CONFIG_KASAN)");
	fq = fake_vq_create(test, &setup);
	fq->gfp = GFP_DMA | __GFP_NOWARN;
	/* 4 KiB each, from 16 MiB */
	for (i = 0; i < 6000; i++) {
		switch (i % 3) {
		case 0:
			fake_give(test, fq, &buf, 1, 128, 128);
			fake_return(fq, &buf, 1, 1);
			KUNIT_ASSERT_EQ(test, fake_get(fq, &len), 1);
			break;
		case 1:
			fq->dma->fail_from = 257;
			KUNIT_ASSERT_LT(test, fake_add(fq, 2, 200, 56), 0);
			fq->dma->fail_from = 0;
			break;
		case 2:
			fake_give(test, fq, &buf, 3, 256, 0);
			KUNIT_ASSERT_EQ(test, virtqueue_reset(fq->vq, recycle_any, NULL), 0);
			break;
		}
	}
	fake_expect_unused(test, fq);
}

/* The driver maps its buffers itself: the core maps only the table. */
static void premapped(struct kunit *test)
{
	struct fake_vq *fq = fake_vq_simple(test, features_of(test), 8);
	unsigned int i, in = fake_is_one_way(true) ? 0 : 1;
	struct fake_buf buf;

	round_trip(test, fq, 7, 2, 2);
	KUNIT_ASSERT_EQ(test, fake_add(fq, 8, 1, 1), 0);
	KUNIT_EXPECT_EQ(test, fake_set_premapped_late(fq->vq), -EINVAL);
	fake_expect(test, fq, &buf, 8, 1, 1);
	fake_return(fq, &buf, 1, 3);
	expect_get(test, fq, 8, 3);

	KUNIT_ASSERT_EQ(test, fake_set_premapped(fq->vq), 0);
	fq->premapped = true;
	for (i = 0; i < 20; i++) {
		fake_give(test, fq, &buf, 9, 3 - in, in);
		KUNIT_EXPECT_EQ(test, fake_dma_mapped(fq->dma), fq->indirect);
		fake_return(fq, &buf, 1, 5);
		expect_get(test, fq, 9, 5);
		fake_expect_unused(test, fq);
	}
}

/* Mapping the table fails. Its segments must not be unmapped by the core. */
static void premapped_mapping_failure(struct kunit *test)
{
	struct fake_vq *fq = fake_vq_simple(test, features_of(test) | FAKE_INDIRECT, 8);
	unsigned int i, in = fake_is_one_way(true) ? 0 : 1;
	struct fake_buf buf;

	KUNIT_ASSERT_EQ(test, fake_set_premapped(fq->vq), 0);
	fq->premapped = true;
	for (i = 0; i < 20; i++) {
		fq->dma->fail_from = 1;
		if (fake_add(fq, 9, 3 - in, in)) {
			fake_expect_none(test, fq);
		} else {
			fq->indirect = false;
			fake_expect(test, fq, &buf, 9, 3 - in, in);
			fq->indirect = true;
			fake_return(fq, &buf, 1, 5);
			expect_get(test, fq, 9, 5);
		}
		fq->dma->fail_from = 0;
		fake_expect_unused(test, fq);
		round_trip(test, fq, 10, 2 - in, in);
	}
}

/*
 * Notifying the device
 */

/*
 * Around the end of the ring in both directions, and where the split ring's index overflows
 * Clause: 2.7.10.1d.
 */
static void kick_at_wrap(struct kunit *test)
{
	struct fake_vq *fq = fake_vq_simple(test, features_of(test) | FAKE_EVENT_IDX, 8);
	unsigned int i, n, step, chain, unit;
	struct fake_buf bufs[8];
	int d;

	for (i = 0; !fq->packed && i < 65536 - 100; i++)
		round_trip(test, fq, 1, 0, 1);
	virtqueue_kick_prepare(fq->vq);

	for (step = 0; step < 24; step++) {
		/* The packed layout counts descriptors, the split one buffers. */
		chain = 1 + step % 3;
		unit = fq->packed ? chain : 1;
		for (n = 1; n * chain <= 8; n++) {
			/* An off_wrap value is unique within two wraps. */
			for (d = (int)(n * unit) - 8; d < (int)(n * unit) + 4; d++) {
				u32 from = fq->avail_pos;
				bool kicked;

				if ((int)from + d < 0)
					continue;
				fake_ask_for_kick(fq, FAKE_KICK_AT, from + d);
				for (i = 0; i < n; i++)
					fake_give(test, fq, &bufs[i], 1 + i, chain, 0);
				kicked = virtqueue_kick_prepare(fq->vq);
				KUNIT_EXPECT_EQ_MSG(test, kicked, d >= 0 && d < (int)(n * unit),
						    "%u of %u added at %u, kick at %d", n, chain,
						    from, d);
				for (i = 0; i < n; i++) {
					fake_return(fq, &bufs[i], 1, 0);
					expect_get(test, fq, 1 + i, 0);
				}
			}
		}
		round_trip(test, fq, 1, 1, 0);
		virtqueue_kick_prepare(fq->vq);
		if (READ_ONCE(test->status) == KUNIT_FAILURE)
			return;
	}
}

/* Added buffers are counted in 16 bits: the core has to kick before that overflows. */
static void many_adds_without_kick(struct kunit *test)
{
	struct fake_vq *fq = fake_vq_simple(test, features_of(test), 16);
	unsigned int i;

	fake_ask_for_kick(fq, FAKE_KICK_ALWAYS, 0);
	for (i = 0; i < U16_MAX; i++)
		round_trip(test, fq, 1, 1, 0);
	if (fq->in_order || !fq->packed)
		KUNIT_EXPECT_GE(test, fq->notified, 1);
	KUNIT_EXPECT_LE(test, fq->notified, 2);
	round_trip(test, fq, 1, 1, 0);
	KUNIT_EXPECT_TRUE(test, virtqueue_kick_prepare(fq->vq));
}

/*
 * The rest of the interface
 */

static const struct fake_layout split_layouts[] = {
	{ "split", FAKE_SPLIT },
	{ "split in order", FAKE_SPLIT | FAKE_IN_ORDER },
	{ "split in order, indirect", FAKE_SPLIT | FAKE_IN_ORDER | FAKE_INDIRECT },
};

KUNIT_ARRAY_PARAM_DESC(split, split_layouts, name);

/* vring_new_virtqueue(): a split ring that can be neither reset nor resized */
static void memory_of_the_caller(struct kunit *test)
{
	struct fake_setup setup = { features_of(test), .num = 16, .num_max = 32 };
	struct fake_vq *fq, *packed;
	unsigned int i;

	setup.pages = kunit_kzalloc(test, vring_size(32, SMP_CACHE_BYTES), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, setup.pages);
	fq = fake_vq_create(test, &setup);
	for (i = 0; i < 100; i++)
		round_trip(test, fq, 1 + i, i % 2, 1);
	KUNIT_EXPECT_EQ(test, virtqueue_reset(fq->vq, recycle_any, NULL), -EPERM);
	KUNIT_EXPECT_EQ(test, virtqueue_resize(fq->vq, 32, recycle_any, NULL), -EPERM);
	round_trip(test, fq, 5, 2, 3);
	fake_expect_unused(test, fq);

	if (!fake_can_refuse_packed())
		return;
	packed = kunit_kzalloc(test, sizeof(*packed), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, packed);
	setup.features |= FAKE_PACKED;
	KUNIT_EXPECT_EQ(test, fake_vq_init(packed, test, NULL, &setup), -ENOMEM);
}

/* A virtqueue that is broken */
static void broken_device(struct kunit *test)
{
	struct fake_vq *fq = fake_vq_simple(test, features_of(test), 8);
	struct fake_buf bufs[2];
	unsigned int opaque;

	fake_give(test, fq, &bufs[0], 1, 0, 1);
	fake_give(test, fq, &bufs[1], 2, 0, 1);
	opaque = virtqueue_enable_cb_prepare(fq->vq);
	fake_return(fq, &bufs[0], 1, 1);
	virtio_break_device(&fq->vdev);

	KUNIT_EXPECT_EQ(test, fake_add(fq, 3, 0, 1), -EIO);
	expect_get(test, fq, 0, 0);
	KUNIT_EXPECT_FALSE(test, virtqueue_poll(fq->vq, opaque));
	KUNIT_EXPECT_TRUE(test, virtqueue_enable_cb_delayed(fq->vq));
	KUNIT_EXPECT_FALSE(test, virtqueue_notify(fq->vq));
	fake_interrupt(fq);
	KUNIT_EXPECT_EQ(test, fq->called, 0);
	KUNIT_EXPECT_PTR_EQ(test, virtqueue_detach_unused_buf(fq->vq), (void *)1);
	KUNIT_EXPECT_PTR_EQ(test, virtqueue_detach_unused_buf(fq->vq), (void *)2);
	KUNIT_EXPECT_NULL(test, virtqueue_detach_unused_buf(fq->vq));
	fake_expect_unused(test, fq);
}

/*
 * virtio_ring.in_order decides whether VIRTIO_F_IN_ORDER is accepted.
 * Clause: 2.2.1a (split in order, packed in order).
 */
static void module_parameter(struct kunit *test)
{
	static const char path[] = "/sys/module/virtio_ring/parameters/in_order";
	struct virtio_device *vdev;
	struct file *file;
	unsigned int i;
	char was;
	loff_t pos = 0;

	vdev = kunit_kzalloc(test, sizeof(*vdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vdev);
	file = filp_open(path, O_RDWR, 0);
	if (IS_ERR(file))
		kunit_skip(test, "no %s", path);
	KUNIT_EXPECT_EQ(test, kernel_read(file, &was, 1, &pos), 1);

	for (i = 0; i < 2; i++) {
		pos = 0;
		KUNIT_EXPECT_EQ(test, kernel_write(file, i ? "Y" : "N", 1, &pos), 1);
		vdev->features = ~0ULL;
		vring_transport_features(vdev);
		KUNIT_EXPECT_EQ(test, !!(vdev->features & FAKE_IN_ORDER), i);
		KUNIT_EXPECT_TRUE(test, vdev->features & FAKE_PACKED);
		/* and it is never set if it was not offered */
		vdev->features = ~FAKE_IN_ORDER;
		vring_transport_features(vdev);
		KUNIT_EXPECT_FALSE(test, vdev->features & FAKE_IN_ORDER);
	}
	pos = 0;
	KUNIT_EXPECT_EQ(test, kernel_write(file, &was, 1, &pos), 1);
	filp_close(file, NULL);
}

/*
 * Feature bits that are unknown are not accepted. Those of the type of device are the driver's.
 * Clause: 2.2.1c (split, split in order, packed, packed in order).
 */
static void unknown_features(struct kunit *test)
{
	const u64 of_type = GENMASK_ULL(VIRTIO_TRANSPORT_F_START - 1, 0);
	const u64 unknown = BIT_ULL(30) | BIT_ULL(31) | BIT_ULL(39);
	struct virtio_device *vdev = kunit_kzalloc(test, sizeof(*vdev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vdev);
	vdev->features = ~0ULL;
	vring_transport_features(vdev);
	KUNIT_EXPECT_EQ(test, vdev->features & unknown, 0);
	KUNIT_EXPECT_EQ(test, vdev->features & of_type, of_type);
}

static struct kunit_case regress_cases[] = {
	KUNIT_CASE_PARAM(length_of_skipped, in_order_gen_params),
	KUNIT_CASE_PARAM(context_of_skipped, in_order_gen_params),
	KUNIT_CASE_PARAM(pending_in_open_batch, in_order_gen_params),
	KUNIT_CASE_PARAM(event_once_per_batch, in_order_gen_params),
	KUNIT_CASE_PARAM(corrupted_in_open_batch, in_order_gen_params),
	KUNIT_CASE_PARAM(batch_of_the_whole_ring, in_order_gen_params),
	KUNIT_CASE_PARAM(reset_in_open_batch, in_order_gen_params),
	KUNIT_CASE_PARAM(resize_in_open_batch, in_order_gen_params),
	KUNIT_CASE_PARAM(detach_in_open_batch, in_order_gen_params),
	KUNIT_CASE_PARAM(resize_refused, in_order_gen_params),
	KUNIT_CASE_PARAM(resize_to_any_size, all_gen_params),
	KUNIT_CASE_PARAM(mapping_failure, all_gen_params),
	KUNIT_CASE_PARAM(wrap_after_mapping_failure, direct_gen_params),
	KUNIT_CASE_PARAM(full_ring, direct_gen_params),
	KUNIT_CASE_PARAM(no_memory_for_table, direct_gen_params),
	KUNIT_CASE_PARAM(tables_are_freed, direct_gen_params),
	KUNIT_CASE_PARAM(premapped, all_gen_params),
	KUNIT_CASE_PARAM(premapped_mapping_failure, direct_gen_params),
	KUNIT_CASE_PARAM(kick_at_wrap, direct_gen_params),
	KUNIT_CASE_PARAM(many_adds_without_kick, direct_gen_params),
	KUNIT_CASE_PARAM(memory_of_the_caller, split_gen_params),
	KUNIT_CASE_PARAM(broken_device, direct_gen_params),
	KUNIT_CASE(module_parameter),
	KUNIT_CASE(unknown_features),
	{}
};

static struct kunit_suite regress_suite = {
	.name = "vring_regress",
	.test_cases = regress_cases,
};

kunit_test_suite(regress_suite);
