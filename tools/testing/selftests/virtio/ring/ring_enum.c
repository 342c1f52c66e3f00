// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exhaustive tests of virtio_ring.c with rings of 2 to 8 descriptors: each state in lockstep with
 * a model, and in each state what returns all buffers or starts anew. See explore.h.
 */
#include "ring_fixture.h"

/*
 * In lockstep with the model. The first test compares all bytes of a state, including those that
 * nobody should look at, such as remains of an earlier chain: so it tries every history.
 * Clause: 2.7.4.2a, 2.7.5.3.1a, 2.8.17c, 2.8.19a.
 */
TEST_F_TIMEOUT(ring, every_history, TIMEOUT)
{
	EXPECT_RIGHT(do_explore(self->layout, variant->packed ? 3 : 2, EXACT, NULL));
	self->layout.indirect = true;
	EXPECT_RIGHT(do_explore(self->layout, 2, EXACT, NULL));
	self->layout.indirect = false;
	self->layout.event_idx = true;
	EXPECT_RIGHT(do_explore(self->layout, 2, EXACT | CALLBACKS, NULL));
}

/*
 * Clause: 2.7.5.2b, 2.7.6.1a, 2.7.7.1c, 2.7.9b, 2.8.8b, 2.8.16a, 2.8.16b, 2.8.17d,
 * long-chain-driver.
 */
TEST_F_TIMEOUT(ring, every_state, TIMEOUT)
{
	EXPECT_RIGHT(do_explore(self->layout, MAX_RING, 0, NULL));
}

/* Clause: 2.7.7.1a. */
TEST_F_TIMEOUT(ring, every_state_with_callbacks, TIMEOUT)
{
	EXPECT_RIGHT(do_explore(self->layout, 6, CALLBACKS, NULL));
}

/* Clause: 2.7.7.1b. */
TEST_F_TIMEOUT(ring, every_state_with_event_idx, TIMEOUT)
{
	self->layout.event_idx = true;
	EXPECT_RIGHT(do_explore(self->layout,
				variant->packed ? MAX_RING : parameter("RING_ENUM_SIZE", 4),
				CALLBACKS, NULL));
}

/* Clause: 2.7.5.3.1b, 2.7.5.3.1d, 2.7.5.3.1e, 2.8.19b, 2.8.19d. */
TEST_F_TIMEOUT(ring, every_state_with_indirect, TIMEOUT)
{
	self->layout.indirect = true;
	EXPECT_RIGHT(do_explore(self->layout, variant->in_order ? 4 : 3, 0, NULL));
}

TEST_F_TIMEOUT(ring, every_state_with_dma_api, TIMEOUT)
{
	self->layout.dma = true;
	EXPECT_RIGHT(do_explore(self->layout, 4, 0, NULL));
	self->layout.indirect = true;
	EXPECT_RIGHT(do_explore(self->layout, 3, 0, NULL));
}

TEST_F_TIMEOUT(ring, every_state_premapped, TIMEOUT)
{
	self->layout.dma = true;
	self->layout.premapped = true;
	EXPECT_RIGHT(do_explore(self->layout, 4, 0, NULL));
	self->layout.indirect = true;
	EXPECT_RIGHT(do_explore(self->layout, 3, 0, NULL));
}

/* At each value of the indices, which overflow, with two buffers outstanding */
TEST_F_TIMEOUT(ring, every_index, TIMEOUT)
{
	const struct step steps[] = {
		{ STEP_ADD, 1, 0 }, { STEP_USE, variant->in_order }, { STEP_GET },
	};
	unsigned int event_idx, i;

	for (event_idx = 0; event_idx < 2; event_idx++) {
		self->layout.event_idx = event_idx;
		ASSERT_TRUE(world_init(&self->layout, 4));
		ASSERT_EQ(NULL, do_step(steps[0]));
		for (i = 0; i < 3 * (U16_MAX + 8); i++) {
			const char *wrong = do_step(steps[i % 3]);

			ASSERT_EQ(NULL, wrong) TH_LOG("%s, from %u on", wrong, i / 3);
			/* it limits what is added, and must not count these wraps */
			world.model.added %= TOKENS;
		}
	}
}

/* NEXT is not set: a driver that followed it could do so for ever. */
static void change_split(struct vring_desc *desc, unsigned int i)
{
	desc->flags &= ~VRING_DESC_F_NEXT;
	desc->flags ^= VRING_DESC_F_WRITE;
	desc->next = i;
	desc->len = 0;
	desc->addr = 0;
}

static void change_packed(struct vring_packed_desc *desc)
{
	desc->flags ^= VRING_DESC_F_NEXT | VRING_DESC_F_WRITE;
	desc->id ^= 1;
	desc->len = 0;
	desc->addr = 0;
}

/* What the device writes where it should only read makes no difference. */
static const char *ignores_changes(void)
{
	const struct model *model = &world.model;
	unsigned int i, n;

	if (!world.layout.packed) {
		for (i = 0; i < world.num; i++)
			change_split(&world.device.split.desc[i], i);
		return drain();
	}
	/* those that are used are for the driver to read */
	for (i = 0; i < model->held; i++) {
		for (n = 0; n < model->held_buf[i].buf.descs; n++)
			change_packed(&world.device.packed.desc[(model->held_buf[i].head + n) %
								world.num]);
	}
	return drain();
}

/*
 * Only in order: in a packed ring out of order, what the device writes can be what it has used
 * instead, and the kernel's own code for split rings follows NEXT.
 */
FIXTURE(ordered) {
	struct layout layout;
};

FIXTURE_VARIANT(ordered) {
	bool packed;
};

FIXTURE_VARIANT_ADD(ordered, split_in_order) { };
FIXTURE_VARIANT_ADD(ordered, packed_in_order) { .packed = true };

FIXTURE_SETUP(ordered)
{
	self->layout.in_order = true;
	self->layout.packed = variant->packed;
	if (!layout_accepted(&self->layout))
		SKIP(return, "virtio_ring.c does not accept the feature");
}

FIXTURE_TEARDOWN(ordered)
{
}

/* The kernel's own code for this ends in BUG_ON(). */
TEST_F(ordered, refuses_nonsense)
{
	static char memory[16];
	struct scatterlist sg, *sgs[] = { &sg };
	unsigned int indirect;

	if (!is_ours(&self->layout))
		SKIP(return, "virtio_ring.c is the kernel's own");
	sg_init_one(&sg, memory, sizeof(memory));
	for (indirect = 0; indirect < 2; indirect++) {
		self->layout.indirect = indirect;
		ASSERT_TRUE(world_init(&self->layout, 4));
		EXPECT_EQ(-EINVAL, virtqueue_add_sgs(world.vq, sgs, 1, 0, NULL, ADD_GFP));
		EXPECT_EQ(-EINVAL, virtqueue_add_sgs(world.vq, sgs, 0, 0, memory, ADD_GFP));
		EXPECT_EQ(2, fake_kernel.warnings);
		EXPECT_EQ(indirect ? -EINVAL : 0,
			  virtqueue_add_inbuf_ctx(world.vq, &sg, 1, memory, memory, ADD_GFP));
		EXPECT_EQ(2 + indirect, fake_kernel.warnings);
		EXPECT_EQ(4 - !indirect, world.vq->num_free);
		EXPECT_EQ(!indirect, ring_available(&world.device));
	}
}

/* The device gets to see nothing that was in the memory of a table before. */
TEST_F(ordered, clears_the_last_of_a_table)
{
	static char memory[2][16];
	struct scatterlist out, in, *sgs[] = { &out, &in };

	if (!is_ours(&self->layout))
		SKIP(return, "virtio_ring.c is the kernel's own");
	sg_init_one(&out, memory[0], sizeof(memory[0]));
	sg_init_one(&in, memory[1], sizeof(memory[1]));
	self->layout.indirect = true;
	ASSERT_TRUE(world_init(&self->layout, 4));
	ASSERT_EQ(0, virtqueue_add_sgs(world.vq, sgs, 1, 1, memory, ADD_GFP));
	if (variant->packed) {
		const struct vring_packed_desc *table =
			(void *)(unsigned long)world.device.packed.desc[0].addr;

		EXPECT_EQ(0, table[1].id);
		EXPECT_EQ(VRING_DESC_F_WRITE, table[1].flags);
	} else {
		const struct vring_desc *table =
			(void *)(unsigned long)world.device.split.desc[0].addr;

		EXPECT_EQ(0, table[1].next);
	}
}

TEST_F_TIMEOUT(ordered, changes_in_every_state, TIMEOUT)
{
	self->layout.dma = true;
	EXPECT_RIGHT(do_explore(self->layout, 4, 0, ignores_changes));
	self->layout.indirect = true;
	EXPECT_RIGHT(do_explore(self->layout, 3, 0, ignores_changes));
	if (!variant->packed && parameter("RING_ENUM_PLAIN", 0)) {
		self->layout.in_order = false;
		EXPECT_RIGHT(do_explore(self->layout, 3, 0, ignores_changes));
		self->layout.indirect = false;
		EXPECT_RIGHT(do_explore(self->layout, 4, 0, ignores_changes));
	}
}

/* Number of buffers that the driver got back */
static unsigned int recycled;
static const char *recycled_wrong;

static void recycle(struct virtqueue *vq, void *data)
{
	const struct model *model = &world.model;
	unsigned int all = model->used + model->held, i;

	for (i = 0; i < all; i++) {
		if (outstanding(i)->token == token_of(data))
			break;
	}
	if (i == all)
		recycled_wrong = "a buffer is recycled that is not outstanding";
	/* not a rule of the specification, and not what every kernel does */
	if (world.layout.in_order && i != recycled && parameter("RING_ENUM_OLDEST_FIRST", 1))
		recycled_wrong = "not the oldest buffer is recycled first";
	recycled++;
}

static const char *check_recycled(void)
{
	if (fake_kernel.allocated != world.allocated)
		return "the table of a recycled buffer is still allocated";
	if (recycled_wrong)
		return recycled_wrong;
	if (recycled != world.model.used + world.model.held)
		return "not as many buffers are recycled as were outstanding";
	if (fake_kernel.mapped || fake_kernel.wrong_unmaps)
		return "a recycled buffer is still mapped";
	return NULL;
}

static const char *detach_returns_all(void)
{
	unsigned int len;
	void *data;

	recycled = 0;
	recycled_wrong = NULL;
	while ((data = virtqueue_detach_unused_buf(world.vq)))
		recycle(world.vq, data);
	if (world.vq->num_free != world.num)
		return "not all descriptors are free";
	/* Of a batch that was open nothing is left. Other kernels are not asked. */
	if (is_ours(&world.layout) &&
	    (virtqueue_get_buf(world.vq, &len) || world.vq->num_free != world.num))
		return "a batch is still open whose buffers have been recycled";
	return check_recycled();
}

TEST_F_TIMEOUT(ring, detach_in_every_state, TIMEOUT)
{
	self->layout.dma = true;
	EXPECT_RIGHT(do_explore(self->layout, 4, 0, detach_returns_all));
	self->layout.indirect = true;
	EXPECT_RIGHT(do_explore(self->layout, 3, 0, detach_returns_all));
}

static int accept(struct virtqueue *vq)
{
	return 0;
}

static const struct virtio_config_ops config = {
	.disable_vq_and_reset = accept,
	.enable_vq_after_reset = accept,
};

/* The virtqueue is as good as new. */
static const char *starts_anew(void)
{
	const char *wrong = check_recycled();
	unsigned int segments;

	memset(&world.model, 0, sizeof(world.model));
	world.num = virtqueue_get_vring_size(world.vq);
	device_start();
	if (!wrong && ring_available(&world.device))
		wrong = "a buffer is available before one was added";
	for (segments = 1; !wrong && segments <= world.num; segments++) {
		wrong = do_step((struct step){ STEP_ADD, 1, segments - 1 });
		if (!wrong)
			wrong = drain();
	}
	return wrong;
}

static const char *reset_starts_anew(void)
{
	__virtio16 *flags = world.layout.packed ? NULL : &world.device.split.used->flags;

	world.vdev.config = &config;
	recycled = 0;
	/* as a device may leave them */
	if (flags)
		*flags = VRING_USED_F_NO_NOTIFY;
	recycled_wrong = NULL;
	if (virtqueue_reset(world.vq, recycle, NULL))
		return "no reset";
	if (flags && *flags)
		return "the flags of the used ring are not those of a new one";
	return starts_anew();
}

/* Clause: 2.6.1.2.2a, 2.7.10.1a. */
TEST_F_TIMEOUT(ring, reset_in_every_state, TIMEOUT)
{
	self->layout.event_idx = true;
	EXPECT_RIGHT(do_explore(self->layout, 5, CALLBACKS, reset_starts_anew));
}

static const char *resize_starts_anew(void)
{
	const struct layout layout = world.layout;
	static struct copy copy;
	unsigned int num;

	world_save(&copy);
	for (num = next_size(&layout, 0, MAX_RING); num;
	     num = next_size(&layout, num, MAX_RING)) {
		const char *wrong;

		if (num == world.num)
			continue;
		world.vdev.config = &config;
		recycled = 0;
		recycled_wrong = NULL;
		if (virtqueue_resize(world.vq, num, recycle, NULL))
			return "no resize";
		if (virtqueue_get_vring_size(world.vq) != num)
			return "not the size that was asked for";
		wrong = starts_anew();
		if (wrong)
			return wrong;
		world_restore(&copy);
	}
	return NULL;
}

/* Clause: 2.6.1.2.2a. */
TEST_F_TIMEOUT(ring, resize_in_every_state, TIMEOUT)
{
	EXPECT_RIGHT(do_explore(self->layout, 4, 0, resize_starts_anew));
}

TEST_HARNESS_MAIN
