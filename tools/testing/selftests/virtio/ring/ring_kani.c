// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exhaustive tests of virtio_ring.c with rings of 2 to 8 descriptors: see explore.h
 *
 * The tests kani_N transfer what Firecracker proves about its split device queue with Kani
 * (devices/virtio/queue.rs, mod verification) to a driver, to both layouts and to in-order use. The
 * driver takes the part of the device there: its add is their add_used, its get is their pop.
 *
 *  1 verify_spec_2_6_7_2			kani_1_notifies_as_specified
 *  2 verify_prepare_kick			kani_2_prepare_kick
 *  3 verify_add_used				kani_3_add
 *  4 verify_is_empty				kani_4_is_empty
 *  5 verify_initialize				kani_5_initialize
 *  6 verify_avail_ring_idx_get			kani_6_to_10_in_bounds: of five accessors, each
 *  7 verify_avail_ring_ring_get		of one field. Here it is all that the driver
 *  8 verify_avail_ring_used_event_get		writes, in every step from every state.
 *  9 verify_used_ring_idx_set
 * 10 verify_used_ring_ring_set
 * 11 verify_used_ring_avail_event		kani_11_used_event
 * 12 verify_pop				kani_12_get
 * 13 verify_undo_pop				kani_13_failed_add_is_identity: a driver takes no
 *						used buffer back, but it takes back an add.
 * 14 verify_try_enable_notification		kani_14_enable_cb
 * 15 verify_checked_new			kani_15_checks_ids: a driver follows no chains of
 *						the device's, but ids, and used indices.
 *
 * verify_read_from_iovec and verify_write_to_iovec copy data between buffers. A driver does not.
 */
#include "ring_fixture.h"

/* Add, use and get @n buffers of one descriptor. */
static const char *pump(unsigned int n)
{
	static const struct step steps[] = { { STEP_ADD, 1, 0 }, { STEP_USE }, { STEP_GET } };
	const char *wrong;
	unsigned int i;

	for (i = 0; i < 3 * n; i++) {
		struct step step = steps[i % 3];

		if (step.kind == STEP_USE)
			step.a = world.layout.in_order;
		wrong = do_step(step);
		if (wrong)
			return wrong;
		/* it limits what is added, and must not count these wraps */
		world.model.added %= TOKENS;
	}
	return NULL;
}

static const char *add_unkicked(unsigned int n)
{
	for (; n; n--) {
		struct buf buf = new_buf(1, 0);

		if (world_add(&buf))
			return "a buffer that fits could not be added";
		world.model.added++;
	}
	return NULL;
}

/* Set the event at which the device wants a kick. */
static void wait_for(u16 position)
{
	if (world.layout.packed) {
		world.device.packed.device->off_wrap = position;
		world.device.packed.device->flags = VRING_PACKED_EVENT_FLAG_DESC;
	} else {
		*(u16 *)&world.device.split.used->ring[world.num] = position;
	}
}

/*
 * @n buffers were added at @old: there must be a kick if and only if the device waits for one of
 * them. Tries all positions.
 */
static const char *check_windows(u16 old, unsigned int n)
{
	static struct copy copy;
	unsigned int i;

	world_save(&copy);
	for (i = 0; i < (world.layout.packed ? 2 * world.num : 1 << 16); i++) {
		u16 position = world.layout.packed ?
			       i % world.num | (i >= world.num) * RING_WRAP : i;
		bool among = false;
		unsigned int k;

		for (k = 0; k < n; k++) {
			u16 at = world.layout.packed ? packed_after(old, k, world.num) :
							      old + k;

			among |= at == position;
		}
		wait_for(position);
		if (virtqueue_kick_prepare(world.vq) != among)
			return among ? "the device waits for a buffer and is not told" :
				       "the device is told of a buffer that it does not wait for";
		if (virtqueue_kick_prepare(world.vq))
			return "the device is told twice";
		world_restore(&copy);
	}
	return NULL;
}

static const char *check_kicks_from(const struct layout *layout, unsigned int num,
				    unsigned int start)
{
	const char *wrong;
	unsigned int n;

	for (n = 0; n <= num; n++) {
		if (!world_init(layout, num))
			return "no virtqueue";
		wrong = pump(start);
		if (!wrong)
			wrong = add_unkicked(n);
		if (!wrong)
			wrong = check_windows(world.device.next_avail, n);
		if (wrong)
			return wrong;
	}
	return NULL;
}

/* Clause: 2.7.10.1d. */
TEST_F_TIMEOUT(ring, kani_2_prepare_kick, TIMEOUT)
{
	unsigned int num, start;

	self->layout.event_idx = true;
	if (variant->packed) {
		for (num = 2; num <= MAX_RING; num++) {
			for (start = 0; start <= 2 * num; start++)
				ASSERT_EQ(NULL, check_kicks_from(&self->layout, num, start))
					TH_LOG("%u descriptors, from %u", num, start);
		}
	} else {
		for (num = 2; num <= 4; num *= 2) {
			ASSERT_EQ(NULL, check_kicks_from(&self->layout, num, 1));
			/* where the index overflows */
			ASSERT_EQ(NULL, check_kicks_from(&self->layout, num, (1 << 16) - 2));
		}
	}
}

/* Clause: 2.7.10.1b, 2.7.10.1c. */
TEST_F_TIMEOUT(ring, kani_1_notifies_as_specified, TIMEOUT)
{
	unsigned int start;

	for (start = 0; start <= 8; start++) {
		/* without the feature: kicks, unless disabled */
		self->layout.event_idx = false;
		ASSERT_TRUE(world_init(&self->layout, 4));
		ASSERT_EQ(NULL, pump(start));
		ring_enable_kicks(&world.device);
		ASSERT_EQ(NULL, add_unkicked(1));
		ASSERT_TRUE(virtqueue_kick_prepare(world.vq));
		ring_disable_kicks(&world.device);
		ASSERT_EQ(NULL, add_unkicked(1));
		ASSERT_FALSE(virtqueue_kick_prepare(world.vq));

		/* with it: a kick at the last buffer that was added, whatever the flags are */
		self->layout.event_idx = true;
		ASSERT_TRUE(world_init(&self->layout, 4));
		if (!variant->packed)
			world.device.split.used->flags = VRING_USED_F_NO_NOTIFY;
		ASSERT_EQ(NULL, pump(start));
		ASSERT_EQ(NULL, add_unkicked(3));
		wait_for(variant->packed ? packed_after(world.device.next_avail, 2, 4) :
					   world.device.next_avail + 2);
		ASSERT_TRUE(virtqueue_kick_prepare(world.vq));
	}
}

/*
 * A driver that does not kick, and a device that waits for a kick but finds the buffers without
 * it: it gets one sooner or later, as 16 bits count the buffers. Packed rings out of order lack it.
 */
TEST_F_TIMEOUT(ring, many_adds_without_kick, TIMEOUT)
{
	unsigned int i;

	if (variant->packed && !is_ours(&self->layout))
		SKIP(return, "virtio_ring.c does not care for it");
	self->layout.event_idx = true;
	ASSERT_TRUE(world_init(&self->layout, 4));
	wait_for(world.device.next_avail);
	for (i = 0; i < 1 << 16; i++) {
		struct buf buf = new_buf(1, 0);
		struct ring_buffer buffer;
		unsigned int len;

		ASSERT_EQ(0, world_add(&buf));
		ASSERT_EQ(NULL, device_take(&buffer, &buf));
		device_use(buffer.id, 0, 1, 1);
		ASSERT_EQ(buf.token, token_of(virtqueue_get_buf(world.vq, &len)));
		world.model.added++;
	}
	EXPECT_TRUE(world.notifications || virtqueue_kick_prepare(world.vq));
}

/* The driver's next position, as VIRTIO_F_NOTIFICATION_DATA passes it to devices */
static u16 driver_position(void)
{
	return vring_notification_data(world.vq) >> 16;
}

static const char *add_moves_by_one(void)
{
	static struct copy copy;
	unsigned int segments;

	world_save(&copy);
	for (segments = 1; segments <= world.num; segments++) {
		struct buf buf = new_buf(segments, 0);
		u16 before = driver_position(), after = before;
		unsigned int num_free = world.vq->num_free;

		if (before != world.device.next_avail)
			return "the driver is not where the device is";
		if (!world_add(&buf)) {
			after = world.layout.packed ?
				packed_after(before, buf.descs, world.num) : before + 1;
			num_free -= buf.descs;
		} else if (buf.descs <= num_free) {
			return "a buffer that fits could not be added";
		}
		if (driver_position() != after)
			return "the position did not move by one buffer";
		if (!world.layout.packed && world.device.split.avail->idx != after)
			return "the available index did not move by one buffer";
		if (world.vq->num_free != num_free)
			return "num_free did not change by what was added";
		world_restore(&copy);
	}
	return NULL;
}

/* Clause: 2.7.6.1a, 2.8.16c. */
TEST_F_TIMEOUT(ring, kani_3_add, TIMEOUT)
{
	EXPECT_RIGHT(do_explore(self->layout, 5, 0, add_moves_by_one));
}

static const char *empty_means_none(void)
{
	unsigned int position = virtqueue_enable_cb_prepare(world.vq), len;
	bool pending = virtqueue_poll(world.vq, position);

	if (pending != !!world.model.used)
		return pending ? "poll finds what is not there" :
				 "poll does not find what is there";
	if (!!virtqueue_get_buf(world.vq, &len) != pending)
		return "poll and get disagree";
	return NULL;
}

TEST_F_TIMEOUT(ring, kani_4_is_empty, TIMEOUT)
{
	self->layout.event_idx = true;
	EXPECT_RIGHT(do_explore(self->layout, 5, 0, empty_means_none));
	self->layout.event_idx = false;
	EXPECT_RIGHT(do_explore(self->layout, 5, 0, empty_means_none));
}

/* Clause: 2.7.1a, 2.8.11a. */
TEST_F_TIMEOUT(ring, kani_5_initialize, TIMEOUT)
{
	unsigned int num;

	for (num = 2; num <= MAX_RING; num++) {
		bool fits = variant->packed || !(num & (num - 1));
		unsigned long desc, driver, device;
		unsigned int i;

		ASSERT_EQ(fits, world_init(&self->layout, num));
		if (!fits)
			continue;
		desc = virtqueue_get_desc_addr(world.vq);
		driver = virtqueue_get_avail_addr(world.vq);
		device = virtqueue_get_used_addr(world.vq);
		EXPECT_EQ(0, desc % 16);
		EXPECT_EQ(0, driver % (variant->packed ? 4 : 2));
		EXPECT_EQ(0, device % 4);
		EXPECT_EQ(num, virtqueue_get_vring_size(world.vq));
		EXPECT_EQ(num, world.vq->num_free);
		for (i = 0; i < num * sizeof(struct vring_desc); i++)
			EXPECT_EQ(0, ((char *)desc)[i]);
		EXPECT_FALSE(ring_available(&world.device));
	}
}

/* Memory that the driver must not change */
struct forbidden {
	struct range {
		const char *first;
		size_t size;
		char before[256];
	} range[2];
};

/* The rest of the last page of an allocation, which must stay zero */
static struct range rest_of_page(const void *first, size_t size)
{
	return (struct range){ (const char *)first + size, -size % PAGE_SIZE };
}

static void remember(struct forbidden *f)
{
	const struct device_ring *device = &world.device;
	unsigned int i;

	memset(f, 0, sizeof(*f));
	if (world.layout.packed) {
		f->range[0] = rest_of_page(device->packed.desc,
					   world.num * sizeof(*device->packed.desc));
		f->range[1] = (struct range){ (char *)device->packed.device, PAGE_SIZE };
	} else {
		f->range[0] = (struct range){
			(char *)device->split.used,
			(char *)&device->split.used->ring[world.num] + sizeof(u16) -
			(char *)device->split.used,
		};
		f->range[1] = rest_of_page(device->split.desc, vring_size(world.num, 64));
	}
	for (i = 0; i < 2; i++)
		memcpy(f->range[i].before, f->range[i].first, f->range[i].size);
}

static bool untouched(const struct forbidden *f)
{
	return !memcmp(f->range[0].before, f->range[0].first, f->range[0].size) &&
	       !memcmp(f->range[1].before, f->range[1].first, f->range[1].size);
}

static const char *driver_stays_in_bounds(void)
{
	static struct copy copy;
	struct forbidden f;
	unsigned int segments, len;

	world_save(&copy);
	remember(&f);
	for (segments = 1; segments <= world.num; segments++) {
		struct buf buf = new_buf(1, segments - 1);

		world_add(&buf);
		virtqueue_kick(world.vq);
		if (!untouched(&f))
			return "add or kick writes what is not the driver's";
		world_restore(&copy);
	}
	while (virtqueue_get_buf(world.vq, &len))
		;
	virtqueue_disable_cb(world.vq);
	virtqueue_enable_cb_delayed(world.vq);
	virtqueue_enable_cb(world.vq);
	vring_interrupt(0, world.vq);
	return untouched(&f) ? NULL : "get or callbacks write what is not the driver's";
}

TEST_F_TIMEOUT(ring, kani_6_to_10_in_bounds, TIMEOUT)
{
	self->layout.event_idx = true;
	EXPECT_RIGHT(do_explore(self->layout, 5, 0, driver_stays_in_bounds));
}

static const char *event_is_position(void)
{
	unsigned int position;

	if (world.model.used)
		return NULL;
	position = virtqueue_enable_cb_prepare(world.vq);
	if (driver_event() != world.device.next_used)
		return "the event is not where the device writes next";
	if ((u16)position != world.device.next_used || virtqueue_poll(world.vq, position))
		return "the position is not where the device writes next";
	if (!world.model.held)
		return NULL;
	/* The driver may poll later, with the opaque value that it got before. */
	device_use(world.model.held_buf[0].id, 0, 1, world.model.held_buf[0].buf.descs);
	return virtqueue_poll(world.vq, position) ? NULL :
		"poll does not find what came after it was prepared";
}

TEST_F_TIMEOUT(ring, kani_11_used_event, TIMEOUT)
{
	self->layout.event_idx = true;
	EXPECT_RIGHT(do_explore(self->layout, 6, 0, event_is_position));
}

static const char *get_moves_by_one(void)
{
	unsigned int num_free = world.vq->num_free, len = ~0U;
	const struct buf *buf = &world.model.used_buf[0].buf;
	int token = token_of(virtqueue_get_buf(world.vq, &len));

	if (!world.model.used)
		return token < 0 && world.vq->num_free == num_free ? NULL :
			"get takes what is not there";
	if (token != buf->token)
		return "get takes another buffer";
	if (len > writable(buf))
		return "more was written than there is room for";
	if (world.vq->num_free != num_free + buf->descs)
		return "get does not give back the buffer's descriptors, or others";
	return NULL;
}

TEST_F_TIMEOUT(ring, kani_12_get, TIMEOUT)
{
	EXPECT_RIGHT(do_explore(self->layout, 6, 0, get_moves_by_one));
}

/* Adding a buffer of @segments failed: everything continues as if it had not been tried. */
static const char *goes_on(unsigned int segments)
{
	static struct copy copy;
	const char *wrong;
	unsigned int n;

	world_save(&copy);
	for (n = 1; n <= segments; n++) {
		wrong = do_step((struct step){ STEP_ADD, 1, n - 1 });
		if (!wrong)
			wrong = drain();
		if (!wrong)
			wrong = pump(1);
		if (wrong)
			return wrong;
		world_restore(&copy);
	}
	return NULL;
}

/* Let each call in turn fail that @countdown counts. */
static const char *fail_each(unsigned int *countdown)
{
	static struct copy copy;
	unsigned int segments, n;

	world_save(&copy);
	for (segments = 1; segments <= free_descs(); segments++) {
		/* all segments and a table */
		for (n = 1; n <= segments + 1; n++) {
			struct buf buf = new_buf(1, segments - 1);
			unsigned int mapped = fake_kernel.mapped;
			unsigned int allocated = fake_kernel.allocated;
			const char *wrong = NULL;
			struct ring_buffer buffer;
			int err;

			*countdown = n;
			err = world_add(&buf);
			if (!err && *countdown) {
				/* there were fewer calls */
				world_restore(&copy);
				break;
			}
			*countdown = 0;
			if (!err) {
				/* without a table, it takes a descriptor for each segment */
				buf.descs = segments;
				wrong = device_take(&buffer, &buf);
			} else if (ring_available(&world.device)) {
				wrong = "a part of what was not added is available";
			} else if (fake_kernel.mapped != mapped ||
				   fake_kernel.allocated != allocated) {
				wrong = "what was not added is still mapped";
			} else {
				wrong = goes_on(segments);
			}
			if (wrong)
				return wrong;
			world_restore(&copy);
		}
	}
	return NULL;
}

static const char *fail_each_mapping(void)
{
	return fail_each(&fake_kernel.fail_dma_map);
}

static const char *fail_each_allocation(void)
{
	return fail_each(&fake_kernel.fail_kmalloc);
}

/* Clause: stale-flags. */
TEST_F_TIMEOUT(ring, kani_13_failed_add_is_identity, TIMEOUT)
{
	self->layout.dma = true;
	EXPECT_RIGHT(do_explore(self->layout, 4, 0, fail_each_mapping));
	self->layout.indirect = true;
	EXPECT_RIGHT(do_explore(self->layout, 3, 0, fail_each_mapping));
	EXPECT_RIGHT(do_explore(self->layout, 3, 0, fail_each_allocation));
}

static const char *enable_cb_sees_all(void)
{
	if (virtqueue_enable_cb(world.vq) != !world.model.used)
		return "enable_cb is wrong about what is pending";
	if (!world.model.used && world.layout.event_idx &&
	    driver_event() != world.device.next_used)
		return "nothing is pending, and the driver does not wait for what comes next";
	return NULL;
}

TEST_F_TIMEOUT(ring, kani_14_enable_cb, TIMEOUT)
{
	self->layout.event_idx = true;
	EXPECT_RIGHT(do_explore(self->layout, 5, CALLBACKS, enable_cb_sees_all));
}

/* Does the message, if it is about an ID, say the truth about that? */
static bool message_is_true(void)
{
	bool too_large = strstr(fake_kernel.message, "out of range");
	const char *id = strstr(fake_kernel.message, ":id ");

	if (!id)
		return true;
	return too_large == (strtoul(id + strlen(":id "), NULL, 10) >= world.num);
}

/* The bogus element was detected: logged once, and the virtqueue is broken. */
static const char *check_broken(void)
{
	struct buf buf = new_buf(1, 0);
	unsigned int len;

	if (!virtqueue_is_broken(world.vq))
		return "a bogus element is accepted";
	if (virtqueue_get_buf(world.vq, &len) || virtqueue_get_buf(world.vq, &len))
		return "a broken virtqueue gives buffers";
	if (fake_kernel.messages != 1)
		return "not one message";
	if (!message_is_true())
		return "another message about the ID than it should be";
	if (world_add(&buf) != -EIO)
		return "a broken virtqueue takes buffers";
	return NULL;
}

#define BOGUS_LEN 77

/*
 * The device writes an element with @id and, if the ring is split, moves its index by @moves. The
 * driver takes what it gets: either exactly what such an element may return, or the virtqueue
 * breaks. It never gets a buffer twice, nor more buffers than are outstanding.
 */
static const char *try_bogus(u32 id, u16 moves)
{
	struct model *model = &world.model;
	unsigned int all = model->used + model->held, got = 0, last, len, i;
	bool packed = world.layout.packed, in_order = world.layout.in_order;
	bool seen[TOKENS] = { };
	void *data;

	device_use(id, BOGUS_LEN, moves, 1);
	while ((data = virtqueue_get_buf(world.vq, &len))) {
		int token = token_of(data);

		if (got == all)
			return "more buffers come back than are outstanding";
		if (seen[token])
			return "a buffer comes back twice";
		if (in_order && token != outstanding(got)->token)
			return "a buffer comes back out of order";
		seen[token] = true;
		got++;
	}

	/* split: nothing is exposed */
	if (!packed && !moves)
		return got == model->used && !virtqueue_is_broken(world.vq) ? NULL :
			"an element is believed that the index does not expose";
	/* split: back to buffers that have not been taken, or into the previous wrap */
	if (!packed && ((u16)(model->used + moves) <= model->used ||
			(!in_order && moves > model->held)))
		return virtqueue_is_broken(world.vq) ? check_broken() : NULL;
	/* split: perhaps before the correct elements are taken, as the index is read once */
	if (!packed && moves > model->held)
		return check_broken();

	for (last = 0; last < model->held; last++) {
		if ((packed ? (u16)id : id) == model->held_buf[last].id)
			break;
	}
	if (last == model->held || (!packed && in_order && last >= moves))
		return got == model->used ? check_broken() : "a bogus element returns a buffer";

	/* a correct element, perhaps followed by elements of the previous wrap */
	if (packed || moves == (in_order ? last + 1 : 1)) {
		if (virtqueue_is_broken(world.vq))
			return "a correct element is taken for a bogus one";
		if (got != model->used + (in_order ? last + 1 : 1))
			return "not as many buffers come back as were used";
		if (in_order && !virtqueue_enable_cb(world.vq))
			return "something is pending, says enable_cb, and nothing is";
		return NULL;
	}
	for (i = 0; i < model->used; i++) {
		if (!seen[model->used_buf[i].buf.token])
			return "a buffer does not come back that was used";
	}
	return virtqueue_is_broken(world.vq) ? check_broken() : NULL;
}

static const char *no_bogus_id_is_believed(void)
{
	static const u32 far_ids[] = { 0x7fff, 0x8000, 0xffff, 0x10000, ~0U };
	static const u16 far_moves[] = { MAX_RING + 1, 0x7fff, 0x8000, 0xfff8, 0xffff };
	bool packed = world.layout.packed;
	static struct copy copy;
	unsigned int i, k;

	/* There must be room for it in addition to the correct elements. */
	for (i = 0, k = 0; i < world.model.used; i++)
		k += packed ? world.model.used_buf[i].buf.descs : 1;
	if (k == world.num)
		return NULL;

	world_save(&copy);
	for (i = 0; i < world.num + 2 + ARRAY_SIZE(far_ids); i++) {
		u32 id = i < world.num + 2 ? i : far_ids[i - world.num - 2];

		for (k = 0; k < (packed ? 1 : world.num + 2 + ARRAY_SIZE(far_moves)); k++) {
			u16 moves = k < world.num + 2 ? k : far_moves[k - world.num - 2];
			const char *wrong = try_bogus(id, moves);

			if (wrong)
				return wrong;
			world_restore(&copy);
		}
	}
	return NULL;
}

TEST_F_TIMEOUT(ring, kani_15_checks_ids, TIMEOUT)
{
	EXPECT_RIGHT(do_explore(self->layout, variant->packed ? 6 : 4, 0, no_bogus_id_is_believed));
}

TEST_HARNESS_MAIN
