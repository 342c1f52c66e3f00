// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exhaustive tests of vhost.c with rings of 1 to 5 descriptors: see explore.h
 *
 * The tests kani_N transfer what Firecracker proves about its split device queue with Kani
 * (devices/virtio/queue.rs, mod verification) to vhost and its four layouts. ring_kani has the
 * same for a driver, with the same numbers.
 *
 *  1 verify_spec_2_6_7_2			kani_1_notifies_as_specified
 *  2 verify_prepare_kick			kani_2_signal
 *  3 verify_add_used				kani_3_add_used
 *  4 verify_is_empty				kani_4_is_empty
 *  5 verify_initialize				kani_5_initialize
 *  6 verify_avail_ring_idx_get			kani_6_to_10_in_bounds: of five accessors, each
 *  7 verify_avail_ring_ring_get		of one field. Here it is all that vhost reads and
 *  8 verify_avail_ring_used_event_get		writes, in every call from every state.
 *  9 verify_used_ring_idx_set
 * 10 verify_used_ring_ring_set
 * 11 verify_used_ring_avail_event		kani_11_avail_event
 * 12 verify_pop				kani_12_get
 * 13 verify_undo_pop				kani_13_discard_is_undo
 * 14 verify_try_enable_notification		kani_14_enable_notify
 * 15 verify_checked_new			kani_15_checks_descriptors
 *
 * verify_read_from_iovec and verify_write_to_iovec copy data. In vhost, backends do that.
 *
 * A line of vhost's without which each test fails, or which is changed (tools/testing/mutate; with
 * a + those where a line was added by hand):
 *
 *  1			ring_packed.h		if the flags say DISABLE: negated
 *			ring_split_in_order.h	signalled_used_valid = false
 *  2			ring_packed.h		off -= num; nr_used = 0; + buffers are counted there
 *			ring_split_in_order.h	used - signalled_used <= n
 *  3			ring_packed.h		last_used_idx = used.next; + the first one, first
 *			ring_split_in_order.h	before > last_avail_idx - used
 *  4			ring_packed.h		nr_discarded -= min(...)
 *  5			ring_packed.h		avail > num, in vhost_packed_init()
 *  6 to 10		ring_packed.h		i > num, in vhost_packed_advance()
 *			ring_split_in_order.h	user_write_access_end()
 * 11			ring_packed.h		write DISABLE
 * 12			ring_packed.h		nr_outstanding += descs
 *			ring_split_in_order.h	first = ...
 * 13			ring_packed.h		nr_discarded += descs
 *			ring_split_in_order.h	next_head = fetched[index].id
 * 14			ring_packed.h		available >= 0
 * 15			ring_common.h		INDIRECT with NEXT: negated
 *			ring_split_in_order.h	head > num
 * reads_once		ring_packed.h		+ the word is read again
 *			ring_common.h		a commit fails: negated
 * arrives_whole	ring_packed.h		+ the address is read before the flags
 * survives_every_history	ring_packed.h	more descriptors than there are: 0 returned
 * remembers_the_region	ring_common.h		map.start = map->start
 *			vhost.c			invalidate_cache(), for the memory table
 * asks_for_the_ring	ring_packed.h		&& is ||, in vhost_packed_meta_prefetch()
 * refuses_torn_parts	ring_common.h		if not mapped to one place: && for ||
 * ring_in_two_regions	ring_common.h		max = 1, with an IOTLB
 * large_ring		ring_packed.h		+ no more than 64 in advance: left out
 * handles		ring_packed.h		a handle that is the size of the ring: 0 returned
 */
#include <errno.h>
#include <string.h>
#include "malicious.h"
#include "vhost_fixture.h"

static const char *do_explore(struct exploration e, unsigned int max)
{
	const char *wrong = NULL;

	for (e.num = 1; !wrong && e.num <= max; e.num = e.packed ? e.num + 1 : 2 * e.num) {
		e.max_total = e.in_order || e.num < 3 ? 2 * e.num + 1 : e.num + 1;
		e.base = e.packed ? RING_WRAP << 16 | RING_WRAP : 0xfffe;
		wrong = explore(&e);
	}
	return wrong;
}

static const char *steps_of(const struct step *steps, unsigned int n)
{
	const char *wrong = NULL;
	unsigned int i;

	for (i = 0; !wrong && i < n; i++)
		wrong = do_step(steps[i]);
	return wrong;
}

/* Add, fetch, use and take back @n buffers of one descriptor. */
static const char *pump(unsigned int n)
{
	static const struct step steps[] = {
		{ STEP_ADD, 1, 0 }, { STEP_GET }, { STEP_USE, 0, 1 }, { STEP_TAKE },
	};
	const char *wrong = NULL;

	while (!wrong && n--)
		wrong = steps_of(steps, 4);
	return wrong;
}

static const char *add(unsigned int n)
{
	const char *wrong = NULL;

	while (!wrong && n--)
		wrong = do_step((struct step){ STEP_ADD, 1, 0 });
	return wrong;
}

/* Add, fetch and use @n buffers of @descs descriptors, in one batch or one by one. */
static const char *use(unsigned int n, unsigned int descs, bool batch)
{
	const char *wrong = NULL;
	unsigned int i;

	for (i = 0; !wrong && i < n; i++)
		wrong = do_step((struct step){ STEP_ADD, descs, 0 });
	if (!wrong)
		wrong = get_all();
	if (!wrong && batch)
		return use_all();
	while (!wrong && world.model.num_held)
		wrong = do_step((struct step){ STEP_USE, 0, 1 });
	return wrong;
}

/* The driver wants to be notified: always, never, or when vhost uses the buffer at @pos. */
enum wanted { ALWAYS, NEVER, AT };

static void want(enum wanted wanted, uint16_t pos)
{
	static const uint16_t flags[] = {
		VRING_PACKED_EVENT_FLAG_ENABLE, VRING_PACKED_EVENT_FLAG_DISABLE,
		VRING_PACKED_EVENT_FLAG_DESC,
	};

	if (world.e.packed) {
		driver_event()->flags = flags[wanted];
		driver_event()->off_wrap = pos;
	} else if (world.e.event_idx) {
		split_avail()->ring[world.e.num] = pos;
	} else {
		split_avail()->flags = wanted == NEVER ? VRING_AVAIL_F_NO_INTERRUPT : 0;
	}
}

/*
 * @n positions were used, from @old on: descriptors in the packed, buffers in the split layout.
 * There must be a notification if and only if the driver waits for one of them. Tries all. A packed
 * ring that has been used as a whole notifies always, because its positions repeat.
 */
static const char *check_windows(uint16_t old, unsigned int n)
{
	unsigned int i, k, num = world.e.num;
	static struct copy copy;

	world_save(&copy);
	for (i = 0; i < (world.e.packed ? 2 * num : 1 << 16); i++) {
		uint16_t pos = world.e.packed ? i % num | (i >= num) * RING_WRAP : i, at = old;
		bool among = world.e.packed && n == num;

		for (k = 0; k < n; k++) {
			among |= at == pos;
			at = after(at, 1, 1);
		}
		want(AT, pos);
		user_watch();
		if (vq_signal() != among)
			return among ? "the driver waits for a buffer and is not notified" :
				       "the driver is notified of what it does not wait for";
		if (vq_signal())
			return "the driver is notified twice";
		/* also if it waits for what vhost has looked at already */
		want(AT, old);
		if (vq_signal())
			return "the driver is notified of what was used before";
		world_restore(&copy);
	}
	return check_calls();
}

/* From the position @start, with buffers of @descs descriptors */
static const char *check_signals_from(const struct exploration *e, unsigned int start,
				      unsigned int descs)
{
	unsigned int n, batch;
	const char *wrong = NULL;

	for (n = 0; !wrong && n * descs <= e->num; n++) {
		for (batch = 0; !wrong && batch < 2; batch++) {
			uint16_t old;

			wrong = world_init(e);
			if (!wrong)
				wrong = pump(start);
			want(AT, 0);
			if (!wrong && start && !vq_signal())
				wrong = "the first notification does not come";
			old = world.model.used_pos;
			if (!wrong)
				wrong = use(n, descs, batch);
			if (!wrong && start)
				wrong = check_windows(old, e->packed ? n * descs : n);
		}
	}
	return wrong;
}

/* When it starts again, vhost does not know what the driver has been notified of. */
static const char *signal_after_restart(const struct exploration *e)
{
	const char *wrong = world_init(e);
	uint32_t base;

	if (!wrong)
		wrong = pump(1);
	want(AT, 0);
	if (!wrong && !vq_signal())
		wrong = "the first notification does not come";
	if (wrong)
		return wrong;
	base = vq_get_base();
	vq_stop();
	if (vq_set_base(base) || vq_start())
		return "a ring does not start again";
	wrong = pump(1);
	want(AT, after(world.model.used_pos, 2, 2));
	if (!wrong && !vq_signal())
		wrong = "the first notification after a restart does not come";
	return wrong;
}

TEST_F_TIMEOUT(vhost, kani_2_signal, TIMEOUT)
{
	unsigned int start, descs;

	self->e.event_idx = true;
	self->e.max_total = ~0U;
	for (self->e.num = 1; self->e.num <= (variant->packed ? 5 : 4);
	     self->e.num = variant->packed ? self->e.num + 1 : 2 * self->e.num) {
		/* both wrap counters; or where the index overflows */
		self->e.base = variant->packed ? RING_WRAP << 16 | RING_WRAP : 0xfffc;
		for (start = 0; start <= (variant->packed ? 2 * self->e.num : 2); start++) {
			for (descs = 1; descs <= self->e.num; descs++) {
				const char *wrong = check_signals_from(&self->e, start, descs);

				ASSERT_EQ(NULL, wrong)
					TH_LOG("%u descriptors, from %u, %u each: %s", self->e.num,
					       start, descs, wrong);
			}
		}
	}
	self->e.num = 4;
	ASSERT_EQ(NULL, signal_after_restart(&self->e));
	/* Nobody listens. */
	vq_signal_nobody();
}

/* Add, fetch, use and take back @n buffers, which are written and need a used element each. */
static const char *pump_batch(unsigned int n)
{
	const char *wrong = NULL;
	unsigned int i;

	for (i = 0; !wrong && i < n; i++)
		wrong = do_step((struct step){ STEP_ADD, 0, 1 });
	if (!wrong)
		wrong = get_all();
	if (!wrong)
		wrong = do_step((struct step){ STEP_USE, 0, n, BIT(n) - 1 });
	return wrong ? wrong : take_all();
}

/*
 * A driver that sets its event rarely: for 65536 buffers, each position is passed once, in batches
 * of @n.
 */
static const char *long_silence(unsigned int n)
{
	const char *wrong = pump(1);
	unsigned int i;

	want(AT, 0);
	if (!vq_signal())
		return "the first notification does not come";
	for (i = 0; !wrong && i < 1 << 16; i += n)
		wrong = pump_batch(n);
	if (wrong)
		return wrong;
	want(AT, world.model.used_pos + 1);
	return vq_signal() ? NULL : "the driver is not notified after many buffers";
}

TEST_F_TIMEOUT(vhost, kani_1_notifies_as_specified, TIMEOUT)
{
	unsigned int start;

	self->e.num = 4;
	self->e.max_total = ~0U;
	self->e.base = variant->packed ? RING_WRAP << 16 | RING_WRAP : 0xfffc;
	for (start = 0; start <= 8; start++) {
		/* without the feature: notifies, unless disabled */
		self->e.event_idx = false;
		ASSERT_EQ(NULL, world_init(&self->e));
		ASSERT_EQ(NULL, pump(start));
		want(ALWAYS, 0);
		ASSERT_EQ(NULL, use(1, 1, true));
		ASSERT_TRUE(vq_signal());
		want(NEVER, 0);
		ASSERT_EQ(NULL, use(1, 1, true));
		ASSERT_FALSE(vq_signal());
		if (variant->packed) {
			/* flags that were not negotiated, and others that do not exist */
			want(AT, 0);
			ASSERT_TRUE(vq_signal());
			driver_event()->flags = 3;
			ASSERT_TRUE(vq_signal());
		}

		/* with it: at the last buffer that was used */
		self->e.event_idx = true;
		ASSERT_EQ(NULL, world_init(&self->e));
		ASSERT_EQ(NULL, pump(start));
		want(ALWAYS, world.model.used_pos);
		vq_signal();
		want(AT, after(world.model.used_pos, 2, 2));
		ASSERT_EQ(NULL, use(3, 1, true));
		ASSERT_TRUE(vq_signal());
		if (variant->packed) {
			want(ALWAYS, 0);
			ASSERT_TRUE(vq_signal());
			want(NEVER, 0);
			ASSERT_FALSE(vq_signal());
		}
	}
	ASSERT_EQ(NULL, world_init(&self->e));
	ASSERT_EQ(NULL, long_silence(1));
	ASSERT_EQ(NULL, world_init(&self->e));
	ASSERT_EQ(NULL, long_silence(3));
}

/* Seen too early: called after each access of vhost but the last one */
static bool early;
static unsigned int last_access;
static bool seen_before;

static void look(unsigned int access)
{
	if (access < last_access && used_seen() != seen_before)
		early = true;
}

/* Buffers that were used are seen together, after everything has been written. */
static const char *check_publication(unsigned int first, unsigned int count, uint32_t len)
{
	static struct copy copy;
	struct model *model = &world.model;
	uint32_t lens[RING_MAX];
	int heads[RING_MAX];
	unsigned int i;

	for (i = 0; i < count; i++) {
		heads[i] = model->held[first + i].handle;
		lens[i] = len;
	}
	world_save(&copy);
	user_watch();
	if (vq_add_used(heads, lens, count))
		return "buffers cannot be used";
	last_access = user.accesses - 1;
	world_restore(&copy);
	user_watch();
	early = false;
	seen_before = used_seen();
	user.after = look;
	vq_add_used(heads, lens, count);
	user_watch();
	if (early)
		return "used buffers are seen before they have been written";
	return used_seen() ? NULL : "used buffers are not seen";
}

/* In order, a handle that is not that of a buffer which vhost has fetched: the last of @n */
static const char *check_handle(const int *handles, unsigned int n)
{
	const uint32_t lens[2] = { n - 1, 0 };
	struct vq_view before = vq_view(), now;
	bool seen = used_seen();

	user_watch();
	if (!vq_add_used(handles, lens, n))
		return "a buffer can be used that was not fetched";
	now = vq_view();
	if (now.last_used != before.last_used || now.outstanding != before.outstanding)
		return "a buffer that was not fetched changes something";
	if (used_seen() != seen)
		return "a buffer that was not fetched is seen";
	return check_calls();
}

static const char *check_handles(void)
{
	const struct model *model = &world.model;
	static struct copy copy;
	/* what a handle is, is vhost's secret: take it from the first one */
	int base = 1 << 30, handles[2];
	unsigned int i, k, end = world.e.packed ? world.e.num + 2 : world.e.num;
	const char *wrong = NULL;

	world_save(&copy);
	for (i = 0; !wrong && i < end; i++) {
		bool outstanding = false;

		for (k = 0; k < model->num_held; k++)
			outstanding |= model->held[k].handle == (int)(base ^ i);
		if (outstanding)
			continue;
		/*
		 * Descriptors in the middle of a buffer, and the one that vhost will fetch next: it
		 * does not know what is in their entries of @fetched. No backend has such a handle.
		 */
		if (world.e.packed && i < world.e.num &&
		    (model->num_held || i == (model->used_pos & (RING_WRAP - 1))))
			continue;
		handles[0] = base ^ i;
		wrong = check_handle(handles, 1);
		world_restore(&copy);
		if (wrong || !model->num_held)
			continue;
		/* after one that was fetched */
		handles[0] = model->held[0].handle;
		handles[1] = base ^ i;
		wrong = check_handle(handles, 2);
		world_restore(&copy);
	}
	return wrong;
}

static const char *add_used_moves(void)
{
	const struct model *model = &world.model;
	unsigned int first, count, held = model->num_held;
	static struct copy copy;
	const char *wrong = NULL;

	world_save(&copy);
	for (first = 0; !wrong && first < held; first++) {
		for (count = 1; !wrong && first + count <= held; count++) {
			uint16_t pos = model->used_pos;
			unsigned int i, n = 0, descs = 0;

			for (i = world.e.in_order ? 0 : first; i < first + count; i++) {
				descs += model->held[i].buf.descs;
				n++;
			}
			/* in order, with one used element; and with one for each */
			wrong = check_publication(first, count, 0);
			world_restore(&copy);
			if (!wrong)
				wrong = check_publication(first, count, 5);
			if (!wrong && vq_view().last_used != after(pos, n, descs))
				wrong = "the position does not move by what was used";
			if (!wrong && !world.e.packed && split_used()->idx != (uint16_t)(pos + n))
				wrong = "the used index does not move by what was used";
			world_restore(&copy);
		}
	}
	if (!wrong && world.e.in_order)
		wrong = check_handles();
	return wrong;
}

TEST_F_TIMEOUT(vhost, kani_3_add_used, TIMEOUT)
{
	self->e.at_state = add_used_moves;
	EXPECT_RIGHT(do_explore(self->e, 4));
	self->e.log = true;
	EXPECT_RIGHT(do_explore(self->e, 3));
}

static const char *empty_means_none(void)
{
	struct vq_buffer got;
	bool empty = vq_avail_empty();

	if (empty != !world.model.num_avail)
		return empty ? "something is available that is not seen" :
			       "something is seen that is not available";
	vq_get(&got, VQ_IOV, false);
	return empty == (got.ret == (int)world.e.num) ? check_calls() : "empty and get disagree";
}

TEST_F_TIMEOUT(vhost, kani_4_is_empty, TIMEOUT)
{
	self->e.at_state = empty_means_none;
	EXPECT_RIGHT(do_explore(self->e, 4));
}

static bool power_of_2(unsigned int n)
{
	return n && !(n & (n - 1));
}

/* A packed ring may start with any number of buffers outstanding, up to all. */
static const char *check_bases(struct exploration e)
{
	struct vq_config config = {
		.packed = true, .in_order = e.in_order,
	};
	unsigned int avail, used, i, k;

	for (config.num = 1; config.num <= 5; config.num++) {
		if (vq_setup(&config))
			return "a ring cannot be set up";
		for (i = 0; i < 4 * 8 * 8; i++) {
			/* indices up to 7, with both wrap counters */
			avail = (i & 7) | (i & 8 ? RING_WRAP : 0);
			used = (i >> 4 & 7) | (i & 128 ? RING_WRAP : 0);
			bool ok = (avail & 7) < config.num && (used & 7) < config.num;
			unsigned int distance = (avail & 7) +
				((avail ^ used) & RING_WRAP ? config.num : 0) - (used & 7);

			if (!used) {
				used = avail;
				ok = (avail & 7) < config.num;
				distance = 0;
			}
			ok = ok && distance <= config.num;
			k = i >> 4 & 7 || i & 128 ? used << 16 | avail : avail;
			if (vq_set_base(k))
				return "a base is refused";
			if ((vq_start() == 0) != ok)
				return ok ? "a ring does not start from a position in it" :
					    "a ring starts from a position that it does not have";
			if (vq_has_backend() != ok)
				return "a ring that does not start keeps its backend";
			if (ok && vq_view().outstanding != (e.in_order ? 0 : distance))
				return "another number of descriptors is outstanding";
			if (ok && e.in_order && vq_view().last_avail != used)
				return "what was not used is not fetched again";
			vq_stop();
		}
	}
	return NULL;
}

/* A new ring has @n buffers of @descs descriptors, of one byte each. */
static void fill_ring(bool packed, unsigned int n, unsigned int descs)
{
	unsigned int i;

	for (i = 0; i < n * descs; i++) {
		uint16_t flags = i % descs < descs - 1 ? VRING_DESC_F_NEXT : 0;

		if (packed)
			*packed_desc(i) = (struct vring_packed_desc){
				DATA_GPA + i, 1, i, flags | RING_AVAIL,
			};
		else
			*split_desc(i) = (struct vring_desc){ DATA_GPA + i, 1, flags, i + 1 };
	}
	if (packed)
		return;
	for (i = 0; i < n; i++)
		split_avail()->ring[i] = i * descs;
	split_avail()->idx = n;
}

static bool kick_disabled(bool packed)
{
	return packed ? device_event()->flags == VRING_PACKED_EVENT_FLAG_DISABLE :
			split_used()->flags & VRING_USED_F_NO_NOTIFY;
}

/* Without a base, a ring starts as a new one; and not without memory. */
static const char *check_start(struct exploration e)
{
	struct vq_config config = {
		.packed = e.packed, .in_order = e.in_order, .num = 4, .no_base = true,
	};
	uint16_t base = e.packed ? RING_WRAP : 0;
	struct vq_buffer got;
	uint32_t len = 0;

	if (vq_setup(&config))
		return "a ring cannot be set up";
	vq_no_memory(true);
	if (vq_start() != (e.packed || e.in_order ? -ENOMEM : 0))
		return "a ring starts without memory";
	if (vq_has_backend() == (e.packed || e.in_order))
		return "a ring that has no memory keeps its backend";
	vq_no_memory(false);
	vq_stop();
	if (vq_start())
		return "a ring does not start";
	if (kick_disabled(e.packed))
		return "a new ring does not ask for kicks";
	if (vq_view().last_avail != base || vq_view().last_used != base)
		return "a ring does not start as a new one";
	vq_disable_notify();
	vq_stop();
	/* Somebody else's memory by now, perhaps */
	memset(device_event(), 0, sizeof(*device_event()));
	if (vq_start())
		return "a ring does not start again";
	if (!kick_disabled(e.packed))
		return "kicks are asked for that were not wanted";
	fill_ring(e.packed, 1, 1);
	vq_get(&got, VQ_IOV, false);
	if (vq_add_used(&got.ret, &len, 1))
		return "a buffer cannot be used";
	vq_stop();
	if (vq_start())
		return "a ring does not start for the third time";
	if (vq_view().last_avail != base + 1 || vq_view().last_used != base + 1)
		return "a ring starts from elsewhere than where it was";
	vq_stop();
	return NULL;
}

static const char *check_alignment(struct exploration e)
{
	struct vq_config config = { .packed = e.packed, .in_order = e.in_order, .num = 4 };
	uintptr_t base = (uintptr_t)user.byte;
	unsigned int part, off;

	if (vq_setup(&config))
		return "a ring cannot be set up";
	for (part = 0; part < 3; part++) {
		unsigned int align = part == 0 ? 16 : e.packed ? 4 : part == 1 ? 2 : 4;

		for (off = 1; off < 32; off++) {
			int ret;

			/* elsewhere in the memory of the ring, of which vhost is told the size */
			user.part[USER_DESC].size = 200;
			user.part[USER_DRIVER].size = 200;
			user.part[USER_DEVICE].size = 200;
			ret = vq_set_addr(base + DESC_AT + (part == 0) * off,
					  base + DRIVER_AT + (part == 1) * off,
					  base + DEVICE_AT + (part == 2) * off);
			if (!ret)
				ret = vq_start();
			vq_stop();
			/* vhost.c lets split descriptors be anywhere */
			if (!e.packed && part == 0)
				continue;
			if (!ret != !(off % align))
				return ret ? "an aligned ring is refused" : "a ring is not aligned";
		}
	}
	return NULL;
}

/* The largest ring starts. There is no memory for it, and it is not accessed. */
static const char *check_largest(void)
{
	uintptr_t base = (uintptr_t)user.byte;

	user.part[USER_DESC].start = USER_MEMORY;
	user.part[USER_DESC].size = sizeof(struct vring_packed_desc) << 15;
	if (vq_set_num(1 << 15) ||
	    vq_set_addr(base + USER_MEMORY, base + DRIVER_AT, base + DEVICE_AT))
		return "the largest ring cannot be set up";
	if (vq_start())
		return "the largest ring does not start";
	vq_stop();
	return NULL;
}

static const char *check_sizes(struct exploration e)
{
	struct vq_config config = {
		.packed = e.packed, .in_order = e.in_order, .num = 1, .no_base = true,
	};
	unsigned int num;

	if (e.packed) {
		/* The size is right when it is set, but not for the layout when it starts. */
		config.num = 3;
		if (vq_setup(&config))
			return "a ring cannot be set up";
		vq_become_split();
		/* which takes more memory */
		user.part[USER_DRIVER].size = 200;
		user.part[USER_DEVICE].size = 200;
		if (vq_start() != -EINVAL)
			return "a split ring of 3 descriptors starts";
		if (vq_has_backend())
			return "a split ring of 3 descriptors keeps its backend";
	}
	if (vq_setup(&config))
		return "a ring cannot be set up";
	for (num = 0; num <= 1 << 17; num++) {
		bool ok = e.packed ? num && num <= 1 << 15 : power_of_2(num) && num <= 1 << 15;

		if ((vq_set_num(num) == 0) != ok)
			return ok ? "a size is refused" : "a size is accepted that there is not";
	}
	return e.packed ? check_largest() : NULL;
}

static const char *check_features(struct exploration e)
{
	const uint64_t v1 = 1ULL << VIRTIO_F_VERSION_1, packed = 1ULL << VIRTIO_F_RING_PACKED,
		in_order = 1ULL << VIRTIO_F_IN_ORDER;
	struct vq_config config = { .packed = e.packed, .in_order = e.in_order, .num = 4 };
	unsigned int i;

	config.base = e.packed ? RING_WRAP : 0;
	if (vq_setup(&config))
		return "a ring cannot be set up";
	for (i = 0; i < 4; i++) {
		uint64_t offered = (i & 1 ? packed : 0) | (i & 2 ? in_order : 0);
		/* those that it has already, it may set again */
		uint64_t may = offered | (e.packed ? packed : 0) | (e.in_order ? in_order : 0);

		vq_offer(i & 1, i & 2);
		if (vq_offered() != offered)
			return "other features are offered";
		if (vq_check_features(v1 | packed) != (may & packed ? 0 : -EOPNOTSUPP) ||
		    vq_check_features(v1 | in_order) != (may & in_order ? 0 : -EOPNOTSUPP))
			return "features are accepted that are not offered";
	}
	vq_offer(true, true);
	for (i = 0; i < 16; i++) {
		uint64_t features = (i & 1 ? v1 : 0) | (i & 2 ? packed : 0) |
			(i & 4 ? in_order : 0);
		bool started = i & 8, same = !(i & 2) == !e.packed && !(i & 4) == !e.in_order;
		int expected = i & 6 && !(i & 1) ? -EINVAL : started && !same ? -EBUSY : 0;

		if (started && vq_start())
			return "a ring does not start";
		if (vq_check_features(features) != expected)
			return "features are accepted or refused that must not be";
		vq_stop();
		/* The device has another virtqueue, which must be asked, too. */
		vq_start_other(started);
		if (vq_check_features(features) != expected)
			return "features are accepted or refused by one virtqueue only";
		vq_start_other(false);
	}
	return NULL;
}

TEST_F_TIMEOUT(vhost, kani_5_initialize, TIMEOUT)
{
	EXPECT_EQ(NULL, check_sizes(self->e));
	EXPECT_EQ(NULL, check_start(self->e));
	EXPECT_EQ(NULL, check_alignment(self->e));
	EXPECT_EQ(NULL, check_features(self->e));
	if (variant->packed)
		EXPECT_EQ(NULL, check_bases(self->e));
}

/* All calls of a backend, in any state; user_memory.c checks what they access. */
static const char *calls_stay_in_bounds(void)
{
	static struct copy copy;
	struct vq_buffer got;
	const char *wrong;
	unsigned int i;

	world_save(&copy);
	user_watch();
	for (i = 0; i <= world.e.num; i++)
		vq_get(&got, VQ_IOV, false);
	vq_signal();
	vq_avail_empty();
	vq_enable_notify();
	vq_disable_notify();
	wrong = check_calls();
	if (wrong)
		return wrong;
	world_restore(&copy);
	if (world.e.iotlb && !vq_meta_prefetched())
		return "the ring is not mapped";
	wrong = get_all();
	return wrong ? wrong : use_all();
}

TEST_F_TIMEOUT(vhost, kani_6_to_10_in_bounds, TIMEOUT)
{
	self->e.at_state = calls_stay_in_bounds;
	EXPECT_RIGHT(do_explore(self->e, 4));
	self->e.event_idx = true;
	EXPECT_RIGHT(do_explore(self->e, 4));
	/* there, the parts of the ring are all that is mapped */
	self->e.iotlb = true;
	EXPECT_RIGHT(do_explore(self->e, 3));
	self->e.log = true;
	EXPECT_RIGHT(do_explore(self->e, 2));
}

static uint16_t avail_event(void)
{
	const struct vring_used_elem *end = &split_used()->ring[world.e.num];

	return world.e.packed ? device_event()->off_wrap : *(const uint16_t *)end;
}

/* What the driver is told to wait for is what it adds next. */
static const char *check_event(void)
{
	const struct vring_packed_desc_event *event = device_event();

	if (!world.e.event_idx && world.e.packed)
		return event->flags == VRING_PACKED_EVENT_FLAG_ENABLE ? NULL :
			"a kick is not asked for";
	if (!world.e.event_idx)
		return split_used()->flags & VRING_USED_F_NO_NOTIFY ?
			"a kick is not asked for" : NULL;
	if (world.e.packed && event->flags != VRING_PACKED_EVENT_FLAG_DESC)
		return "a kick is not asked for";
	return avail_event() == world.model.added_pos ? NULL :
		"a kick is asked for at another position than the next one";
}

static const char *event_is_next(void)
{
	const char *wrong;

	/* In the split layout, vhost has to have looked before. */
	vq_avail_empty();
	wrong = get_all();
	if (wrong)
		return wrong;
	user_watch();
	vq_log_signals();
	vq_enable_notify();
	wrong = check_event();
	if (!wrong && world.e.log)
		wrong = check_log();
	if (!wrong && world.e.log && !vq_log_signals())
		wrong = "the reader of the dirty log is not woken";
	if (wrong)
		return wrong;
	/* Nobody waits for a position that is asked for twice. */
	user_watch();
	if (vq_enable_notify() || user.accesses)
		return "notifications that are on already are enabled";
	vq_disable_notify();
	if (world.e.event_idx)
		return check_calls();
	if (world.e.packed ? device_event()->flags != VRING_PACKED_EVENT_FLAG_DISABLE :
	    !(split_used()->flags & VRING_USED_F_NO_NOTIFY))
		return "a kick is still asked for";
	return check_calls();
}

TEST_F_TIMEOUT(vhost, kani_11_avail_event, TIMEOUT)
{
	self->e.at_state = event_is_next;
	EXPECT_RIGHT(do_explore(self->e, 4));
	self->e.event_idx = true;
	EXPECT_RIGHT(do_explore(self->e, 4));
	self->e.log = true;
	EXPECT_RIGHT(do_explore(self->e, 2));
	self->e.iotlb = true;
	EXPECT_RIGHT(do_explore(self->e, 2));
	self->e.event_idx = false;
	EXPECT_RIGHT(do_explore(self->e, 2));
}

static const char *get_moves_by_one(void)
{
	const struct model *model = &world.model;
	struct vq_view before = vq_view(), now;
	uint16_t pos = model->got_pos;
	struct vq_buffer got;

	vq_get(&got, VQ_IOV, false);
	now = vq_view();
	if (!model->num_avail)
		return got.ret == (int)world.e.num && now.last_avail == pos ? NULL :
			"a buffer is fetched that is not there";
	if (got.ret < 0 || got.ret == (int)world.e.num)
		return "a buffer is not fetched that is there";
	if (now.last_avail != after(pos, 1, model->avail[0].descs))
		return "the position does not move by one buffer";
	if (world.e.packed && now.outstanding != before.outstanding + model->avail[0].descs)
		return "the buffer is not counted";
	return check_calls();
}

TEST_F_TIMEOUT(vhost, kani_12_get, TIMEOUT)
{
	self->e.at_state = get_moves_by_one;
	EXPECT_RIGHT(do_explore(self->e, 5));
}

/* Fetch some buffers and discard them: as if nothing had been, and fetched again. */
static const char *discard_is_undo(void)
{
	unsigned int n, i, avail = world.model.num_avail;
	unsigned char byte[USER_MEMORY];
	int heads[RING_MAX];
	const char *wrong = NULL;

	memcpy(byte, user.byte, sizeof(byte));
	for (n = 0; !wrong && n <= avail; n++) {
		struct vq_view before = vq_view(), now;
		struct vq_buffer got;

		for (i = 0; i < n; i++) {
			vq_get(&got, VQ_IOV, false);
			heads[i] = got.ret;
		}
		vq_discard(heads, n);
		now = vq_view();
		if (now.last_avail != before.last_avail || now.outstanding != before.outstanding)
			return "after a discard the position is another one";
		if (memcmp(byte, user.byte, sizeof(byte)))
			return "a fetch or a discard writes something";
		/* The backend found them too few: it is not told of them again, see below. */
		if (n && n == avail && vq_enable_notify())
			return "what was discarded is reported as new";
		memcpy(user.byte, byte, sizeof(byte));
		vq_disable_notify();
		memcpy(user.byte, byte, sizeof(byte));
		/* one after the other: the same, with the same handles */
		for (i = 0; i < n; i++) {
			vq_get(&got, VQ_IOV, false);
			if (got.ret != heads[i])
				return "a discarded buffer has another handle";
			wrong = check_buffer(&got, &world.model.avail[i]);
			if (wrong)
				return wrong;
		}
		vq_discard(heads, n);
	}
	wrong = get_all();
	if (!wrong)
		wrong = use_all();
	return wrong ? wrong : take_all();
}

TEST_F_TIMEOUT(vhost, kani_13_discard_is_undo, TIMEOUT)
{
	self->e.at_state = discard_is_undo;
	EXPECT_RIGHT(do_explore(self->e, 4));
	self->e.event_idx = true;
	EXPECT_RIGHT(do_explore(self->e, 3));
	self->e.iotlb = true;
	EXPECT_RIGHT(do_explore(self->e, 2));
}

/* The driver adds a buffer at the moment when vhost has asked for kicks, and does not kick. */
static bool added;

static void add_meanwhile(unsigned int access)
{
	void (*after_access)(unsigned int access) = user.after;

	if (added || !user.access[access].write)
		return;
	user.after = NULL;
	add(1);
	user.after = after_access;
	added = true;
}

static const char *no_buffer_is_missed(void)
{
	const char *wrong = get_all();
	static struct copy copy;
	struct vq_buffer got;

	if (wrong)
		return wrong;
	world_save(&copy);
	if (vq_enable_notify())
		return "something is available and nothing is";
	wrong = check_event();
	if (wrong)
		return wrong;
	world_restore(&copy);
	if (!world.model.free_descs)
		return NULL;
	user_watch();
	added = false;
	user.after = add_meanwhile;
	if (!vq_enable_notify() || !added)
		return "a buffer that came meanwhile is missed";
	user_watch();
	vq_disable_notify();
	vq_get(&got, VQ_IOV, false);
	if (got.ret < 0 || got.ret == (int)world.e.num)
		return "what came is not fetched";
	return check_calls();
}

TEST_F_TIMEOUT(vhost, kani_14_enable_notify, TIMEOUT)
{
	self->e.at_state = no_buffer_is_missed;
	EXPECT_RIGHT(do_explore(self->e, 4));
	self->e.event_idx = true;
	EXPECT_RIGHT(do_explore(self->e, 4));
}

/* See malicious.h. Descriptors that are right are among these, too. */
TEST_F_TIMEOUT(vhost, kani_15_checks_descriptors, TIMEOUT)
{
	EXPECT_RIGHT(check_contents(self->e, 5));
	self->e.iotlb = true;
	EXPECT_RIGHT(check_contents(self->e, 3));
}

/* If nothing is given back, what is read in advance is not read again for the next buffer. */
static const char *descriptors_are_read_once(void)
{
	const struct user_range *descs = &user.part[USER_DESC];
	unsigned int i, k;

	user_watch();
	for (i = 0; i < world.model.num_avail; i++) {
		struct vq_buffer got;

		vq_get(&got, VQ_IOV, false);
	}
	for (i = 0; i < user.accesses; i++) {
		size_t offset = user.access[i].at - descs->start;

		/* The end of what is available, in the packed layout, is looked at again. */
		if (offset >= descs->size || (world.e.packed && offset % 16))
			continue;
		for (k = 0; k < i; k++) {
			if (user.access[k].at == user.access[i].at)
				return "a descriptor is read twice";
		}
	}
	return check_calls();
}

TEST_F_TIMEOUT(vhost, reads_once, TIMEOUT)
{
	EXPECT_RIGHT(check_reads(self->e, 3));
	self->e.iotlb = true;
	EXPECT_RIGHT(check_reads(self->e, 2));
	self->e.iotlb = false;
	self->e.at_state = descriptors_are_read_once;
	EXPECT_RIGHT(do_explore(self->e, 4));
}

/* The driver adds a buffer during a fetch: after which access, and of how many segments */
static unsigned int arrival, arrival_segments;

static void arrive(unsigned int access)
{
	if (added || access != arrival)
		return;
	user.after = NULL;
	do_step((struct step){ STEP_ADD, arrival_segments, 0 });
	added = true;
}

/* Such a buffer is fetched as a whole, or not at all, and then the next time. */
static const char *fetch_during(void)
{
	const struct model *model = &world.model;
	struct vq_buffer got;
	bool any = model->num_avail;

	added = false;
	user_watch();
	user.after = arrive;
	vq_get(&got, VQ_IOV, world.e.log);
	user_watch();
	if (got.ret == (int)world.e.num) {
		if (any)
			return "a buffer is not fetched that is there";
		if (!added)
			return NULL;
		vq_get(&got, VQ_IOV, world.e.log);
	}
	if (got.ret < 0 || got.ret == (int)world.e.num)
		return "a buffer that came meanwhile cannot be fetched";
	return check_buffer(&got, &model->avail[0]);
}

static const char *arrives_whole(void)
{
	static struct copy copy;
	const char *wrong = NULL;

	world_save(&copy);
	for (arrival_segments = 1; arrival_segments <= world.model.free_descs; arrival_segments++) {
		for (arrival = 0, added = true; !wrong && added; arrival++) {
			wrong = fetch_during();
			world_restore(&copy);
		}
	}
	return wrong;
}

TEST_F_TIMEOUT(vhost, arrives_whole, TIMEOUT)
{
	self->e.at_state = arrives_whole;
	EXPECT_RIGHT(do_explore(self->e, 4));
	self->e.indirect = true;
	EXPECT_RIGHT(do_explore(self->e, 2));
}

TEST_F_TIMEOUT(vhost, survives_every_history, TIMEOUT)
{
	EXPECT_RIGHT(check_histories(self->e));
}

/*
 * The region of the last descriptor is remembered, and there is no search for it, until the VMM
 * says that addresses have changed. Then, descriptors are also read again.
 */
static const char *region_is_remembered(void)
{
	struct vq_buffer got;

	if (!world.model.num_avail)
		return NULL;
	vq_map(false);
	vq_get(&got, VQ_IOV, false);
	if (vq_view().map_start != DATA_GPA || vq_view().map_size != DATA_SIZE)
		return "a region is not remembered";
	vq_discard(&got.ret, 1);
	vq_searches();
	vq_get(&got, VQ_IOV, false);
	if (vq_searches())
		return "there is a search for a region that is remembered";
	if (world.model.num_avail < 2)
		return NULL;
	if (vq_set_addr((uintptr_t)user.byte + DESC_AT, (uintptr_t)user.byte + DRIVER_AT,
			(uintptr_t)user.byte + DEVICE_AT))
		return "the addresses of the ring cannot be set";
	if (vq_view().map_size)
		return "a region is remembered that may be elsewhere by now";
	user_watch();
	vq_get(&got, VQ_IOV, false);
	return user.accesses ? check_buffer(&got, &world.model.avail[1]) :
		"descriptors are not read again";
}

/* The same when the VMM changes the memory table, or sets up an IOTLB. */
static const char *region_is_forgotten(const struct exploration *e, bool iotlb)
{
	const char *wrong = world_init(e);
	struct vq_view view;
	struct vq_buffer got;

	if (!wrong)
		wrong = add(2);
	if (wrong)
		return wrong;
	vq_get(&got, VQ_IOV, false);
	view = vq_view();
	if (!view.map_size || view.prefetched != 1)
		return "nothing is remembered";
	if (iotlb ? vq_set_iotlb() : vq_set_memory())
		return "the VMM cannot change the memory";
	view = vq_view();
	return view.map_size || view.prefetched ? "what is remembered may be elsewhere" : NULL;
}

TEST_F_TIMEOUT(vhost, remembers_the_region, TIMEOUT)
{
	/* vhost.c's own layout does not */
	if (!variant->packed && !variant->in_order)
		return;
	self->e.at_state = region_is_remembered;
	EXPECT_RIGHT(do_explore(self->e, 4));
	self->e.num = 4;
	self->e.base = variant->packed ? RING_WRAP << 16 | RING_WRAP : 0;
	EXPECT_EQ(NULL, region_is_forgotten(&self->e, false));
	EXPECT_EQ(NULL, region_is_forgotten(&self->e, true));
}

/*
 * Before it uses a ring behind an IOTLB, a backend asks whether all of it is there, with the rights
 * that are needed. What is missing is asked for.
 */
TEST_F(vhost, asks_for_the_ring)
{
	const unsigned int needed[] = {
		/* of bits: may be read, may be written */
		[USER_DESC] = variant->packed ? 3 : 1, [USER_DRIVER] = 1, [USER_DEVICE] = 2,
	};
	struct vq_config config = {
		.packed = variant->packed, .in_order = variant->in_order, .num = 4, .no_base = true,
		.iotlb = true, .odd = true,
	};

	for (config.odd_part = USER_DESC; config.odd_part <= USER_DEVICE; config.odd_part++) {
		for (config.odd_rights = 0; config.odd_rights < 4; config.odd_rights++) {
			bool ok = !(needed[config.odd_part] & ~config.odd_rights);

			ASSERT_EQ(0, vq_setup(&config));
			/* may fail, but vhost knows the layout by then */
			vq_start();
			vq_misses();
			ASSERT_EQ(ok, vq_meta_prefetched());
			ASSERT_EQ(!config.odd_rights, vq_misses());
		}
	}
}

/* What vhost reads or writes at once is in one place, or that is an error. */
TEST_F(vhost, refuses_torn_parts)
{
	struct vq_config config = {
		.packed = variant->packed, .in_order = variant->in_order, .num = 1, .no_base = true,
		.iotlb = true, .odd = true, .odd_rights = 3,
	};
	struct vq_buffer got;

	/* vhost.c's own layout copies it in two */
	if (!variant->packed && !variant->in_order)
		return;
	config.odd_part = USER_DESC;
	config.odd_split = 8;
	ASSERT_EQ(0, vq_setup(&config));
	ASSERT_EQ(0, vq_start());
	fill_ring(variant->packed, 1, 1);
	vq_get(&got, VQ_IOV, false);
	ASSERT_EQ(-EFAULT, got.ret);
	ASSERT_NE(0, vq_errors());
	if (!variant->packed)
		return;
	/* in two, or missing, where what is found last has the same size */
	for (config.odd_rights = 0; config.odd_rights <= 3; config.odd_rights += 3) {
		config.odd_split = 2;
		config.odd_part = USER_DRIVER;
		ASSERT_EQ(0, vq_setup(&config));
		ASSERT_EQ(0, vq_start());
		ASSERT_TRUE(vq_signal());
		ASSERT_NE(0, vq_errors());
		ASSERT_EQ(NULL, check_calls());
	}
	config.odd_rights = 3;
	config.odd_part = USER_DEVICE;
	ASSERT_EQ(0, vq_setup(&config));
	ASSERT_EQ(-EFAULT, vq_start());
	ASSERT_EQ(NULL, check_calls());
}

/* But a ring can be in two places, where a descriptor ends. */
TEST_F(vhost, ring_in_two_regions)
{
	struct vq_config config = {
		.packed = variant->packed, .in_order = variant->in_order, .num = 4, .no_base = true,
		.iotlb = true, .odd = true, .odd_part = USER_DESC, .odd_rights = 3, .odd_split = 32,
	};
	struct vq_buffer got;
	uint32_t len = 0;
	unsigned int i;

	ASSERT_EQ(0, vq_setup(&config));
	ASSERT_EQ(0, vq_start());
	vq_disable_notify();
	fill_ring(variant->packed, 4, 1);
	for (i = 0; i < 4; i++) {
		vq_get(&got, VQ_IOV, false);
		ASSERT_LE(0, got.ret);
		ASSERT_NE(4, got.ret);
		ASSERT_EQ(1, got.out);
		ASSERT_EQ((void *)(DATA_HVA + i), got.iov[0].iov_base);
		ASSERT_EQ(0, vq_add_used(&got.ret, &len, 1));
	}
	ASSERT_EQ(NULL, check_calls());
}

/* The ring is larger than what is read in advance, and full of buffers of @descs descriptors. */
static const char *check_large(const struct vq_config *config, unsigned int descs)
{
	unsigned int i, k, n = config->num / descs;
	struct vq_buffer got;
	uint32_t len = 0;

	if (vq_setup(config) || vq_start())
		return "a large ring does not start";
	vq_disable_notify();
	fill_ring(config->packed, n, descs);
	for (i = 0; i < n; i++) {
		user_watch();
		vq_get(&got, VQ_IOV, false);
		if (check_calls())
			return check_calls();
		if (got.ret < 0 || got.ret == (int)config->num || got.out != descs || got.in)
			return "a buffer cannot be fetched";
		for (k = 0; k < descs; k++) {
			uintptr_t at = (uintptr_t)got.iov[k].iov_base;

			if (got.iov[k].iov_len != 1 || at != DATA_HVA + i * descs + k)
				return "a segment is elsewhere";
		}
		if (vq_add_used(&got.ret, &len, 1))
			return "a buffer cannot be used";
	}
	vq_get(&got, VQ_IOV, false);
	return got.ret == (int)config->num ? check_calls() : "there is one more";
}

TEST_F(vhost, large_ring)
{
	struct vq_config config = {
		.packed = variant->packed, .in_order = variant->in_order, .no_base = true,
	};
	unsigned int descs;

	config.num = variant->packed ? 127 : 128;
	for (descs = 1; descs <= VQ_IOV; descs++)
		EXPECT_EQ(NULL, check_large(&config, descs))
			TH_LOG("%u", descs);
	/* Frees the last one, and sees whether more was written than there is. */
	config.num = 1;
	EXPECT_EQ(0, vq_setup(&config));
}

/* Out of order, a handle contains the Buffer ID, whichever that is. */
TEST_F(vhost, handles)
{
	static const unsigned int sizes[] = { 1, 2, 3, 5, 1 << 15 };
	unsigned int i, id, k, descs_back;
	uint16_t id_back;

	if (!variant->packed || variant->in_order)
		return;
	self->e.num = 1;
	self->e.base = RING_WRAP;
	ASSERT_EQ(NULL, world_init(&self->e));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (id = 0; id <= 0xffff; id++) {
			unsigned int num = sizes[i], descs[] = { 1, (num + 1) / 2, num };

			for (k = 0; k < 3; k++) {
				int handle = vq_handle(num, id, descs[k], &id_back, &descs_back);

				/* that would say that there is no buffer */
				if (num == 1 << 15 && id == 0x8001 && descs[k] == 1) {
					ASSERT_EQ(-EINVAL, handle);
					continue;
				}
				ASSERT_LE(0, handle);
				ASSERT_NE(num, handle);
				ASSERT_EQ(id, id_back);
				ASSERT_EQ(descs[k], descs_back);
			}
		}
	}
}

TEST_HARNESS_MAIN
