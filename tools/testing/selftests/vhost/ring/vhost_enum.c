// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exhaustive tests of vhost.c with rings of 1 to 5 descriptors: each state in lockstep with a
 * model; and, in each state, a device that stops and starts again, and accesses that fail. See
 * explore.h.
 *
 * A line of vhost's without which each test fails, or which is changed (tools/testing/mutate):
 *
 * every_history		ring_split_in_order.h	fetched[index].id = next_head
 * every_state			ring_common.h		i + 1 <= count, in vhost_used_next()
 * every_state_with_indirect	ring_packed.h		i <= count, for the entries of a table
 * every_state_with_iotlb	ring_common.h		if not mapped to one place: negated
 * every_state_with_log		ring_packed.h		log_write_hva()
 * restart_in_every_state	ring_packed.h		nr_outstanding = avail - used
 *				ring_split_in_order.h	last_avail_idx = last_used_idx
 * each_access_fails_once	ring_packed.h		nr_outstanding = outstanding
 *				ring_split_in_order.h	user_read_access_end(), after a fault
 */
#include <string.h>
#include "vhost_fixture.h"

/* Out of order, buffers are used in any order, which leads to many states. */
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

/*
 * This compares all bytes of a state, including those that vhost should not look at again, such as
 * what is left from before a wrap: so it tries every history.
 */
TEST_F_TIMEOUT(vhost, every_history, TIMEOUT)
{
	self->e.exact = true;
	EXPECT_RIGHT(do_explore(self->e, 2));
	self->e.indirect = true;
	EXPECT_RIGHT(do_explore(self->e, 2));
}

TEST_F_TIMEOUT(vhost, every_state, TIMEOUT)
{
	EXPECT_RIGHT(do_explore(self->e, variant->in_order ? 5 : 4));
}

TEST_F_TIMEOUT(vhost, every_state_with_indirect, TIMEOUT)
{
	self->e.indirect = true;
	EXPECT_RIGHT(do_explore(self->e, 3));
}

TEST_F_TIMEOUT(vhost, every_state_with_iotlb, TIMEOUT)
{
	self->e.iotlb = true;
	EXPECT_RIGHT(do_explore(self->e, 3));
	self->e.indirect = true;
	EXPECT_RIGHT(do_explore(self->e, 2));
}

TEST_F_TIMEOUT(vhost, every_state_with_log, TIMEOUT)
{
	self->e.log = true;
	EXPECT_RIGHT(do_explore(self->e, 3));
	self->e.indirect = true;
	EXPECT_RIGHT(do_explore(self->e, 2));
	self->e.indirect = false;
	self->e.iotlb = true;
	EXPECT_RIGHT(do_explore(self->e, 2));
}

/* The driver and the device finish what they have. */
static const char *finish(void)
{
	const char *wrong = get_all();

	if (!wrong)
		wrong = use_all();
	return wrong ? wrong : take_all();
}

/*
 * The VMM stops the device and starts it again, with the base that it got. In order, what was
 * fetched is fetched again. Out of order, it can be used still, in the packed layout.
 */
static const char *restart(void)
{
	struct model *model = &world.model;
	unsigned int i, n = model->num_held;
	unsigned long allocations = vq_allocations();
	uint32_t base = vq_get_base();

	if (world.e.packed && base != ((uint32_t)model->used_pos << 16 |
				       (world.e.in_order ? model->used_pos : model->got_pos)))
		return "the base is another one";
	/* Means that the used position is the available one: see vhost_packed_set_base() */
	if (world.e.packed && !(base >> 16) && n && !world.e.in_order)
		return NULL;
	vq_stop();
	if (vq_set_base(base) || vq_start())
		return "the virtqueue does not start again";
	if (vq_allocations() != allocations)
		return "memory is lost when the virtqueue starts again";
	vq_disable_notify();
	if (world.e.in_order) {
		memmove(&model->avail[n], &model->avail[0],
			model->num_avail * sizeof(model->avail[0]));
		for (i = 0; i < n; i++)
			model->avail[i] = model->held[i].buf;
		model->num_avail += n;
		model->num_held = 0;
		model->got_pos = model->used_pos;
	}
	return finish();
}

TEST_F_TIMEOUT(vhost, restart_in_every_state, TIMEOUT)
{
	self->e.at_state = restart;
	EXPECT_RIGHT(do_explore(self->e, variant->in_order ? 4 : 3));
}

/* Call @check with each access failing in turn, until there is none that has not failed. */
static const char *fail_each(const char *(*check)(void))
{
	static struct copy copy;
	unsigned int n = 0;
	const char *wrong;

	world_save(&copy);
	do {
		user_watch();
		user.failed = false;
		user.fail_at = ++n;
		wrong = check();
		if (!wrong)
			wrong = check_calls();
		world_restore(&copy);
	} while (!wrong && user.failed);
	return wrong;
}

/* A fetch that fails changes nothing, and works the next time. */
static const char *failed_get(void)
{
	struct vq_view before = vq_view(), now;
	struct copy copy;
	struct vq_buffer got;
	const char *wrong;

	world_save(&copy);
	vq_get(&got, VQ_IOV, false);
	if (!user.failed)
		return NULL;
	now = vq_view();
	if (got.ret >= 0)
		return "a fetch succeeds that cannot";
	if (!vq_errors())
		return "a fetch fails, and no error is reported";
	if (now.last_avail != before.last_avail || now.outstanding != before.outstanding ||
	    now.discarded != before.discarded)
		return "a fetch fails, and changes something";
	if (memcmp(user.byte, copy.byte, sizeof(copy.byte)))
		return "a fetch writes something";
	wrong = check_calls();
	if (wrong)
		return wrong;
	vq_forget_errors();
	return finish();
}

static const char *fail_each_fetch(void)
{
	return fail_each(failed_get);
}

/*
 * A used buffer that cannot be written is not seen. In order, it is returned together with the
 * next one; in the split layout, too, if only its index could not be written.
 */
static const char *failed_use(uint32_t len)
{
	struct model *model = &world.model;
	struct vq_view before = vq_view(), now;
	uint32_t lens[RING_MAX];
	int heads[RING_MAX];
	bool seen = used_seen();
	unsigned int i, n = model->num_held - 1;
	uint16_t used = split_used()->idx;
	const char *wrong;

	for (i = 0; i <= n; i++) {
		heads[i] = model->held[i].handle;
		lens[i] = len;
	}
	if (!vq_add_used(heads, lens, n))
		return user.failed ? "a use succeeds that cannot" : NULL;
	if (!vq_errors())
		return "a use fails, and no error is reported";
	if (seen != used_seen() || (!world.e.packed && used != split_used()->idx))
		return "a use fails, and is seen";
	now = vq_view();
	if (world.e.packed && (now.last_used != before.last_used ||
			       now.outstanding != before.outstanding))
		return "a use fails, and changes something";
	wrong = check_calls();
	if (wrong)
		return wrong;
	user.fail_at = 0;
	if (vq_add_used(heads + n, lens, 1))
		return "after a failed use there is no other";
	/* Which ones are returned depends on where the other ones have failed. */
	if (!world.e.in_order)
		return NULL;
	if (vq_view().outstanding || vq_view().last_used != model->got_pos)
		return "a buffer is not returned with the next one";
	return NULL;
}

/* In order, with one used element; and with one for each */
static const char *failed_use_of_all(void)
{
	return failed_use(0);
}

static const char *failed_use_of_each(void)
{
	return failed_use(3);
}

static const char *fail_each_use(void)
{
	const char *wrong = NULL;

	if (world.model.num_held > 1)
		wrong = fail_each(failed_use_of_all);
	if (!wrong && world.model.num_held > 1)
		wrong = fail_each(failed_use_of_each);
	return wrong;
}

/*
 * If it is not known what the driver wants, it is notified; if it is not known whether something
 * is available, a backend looks; but it does not look for ever.
 */
static const char *failed_signal(void)
{
	return !vq_signal() && user.failed ? "the driver is not notified, after an error" : NULL;
}

static const char *failed_avail_empty(void)
{
	return vq_avail_empty() && user.failed ? "nothing is available, after an error" : NULL;
}

static const char *failed_enable_notify(void)
{
	return vq_enable_notify() && user.failed ? "more is available, after an error" : NULL;
}

static const char *fail_each_notification(void)
{
	const char *wrong = fail_each(failed_signal);

	if (!wrong)
		wrong = fail_each(failed_avail_empty);
	return wrong ? wrong : fail_each(failed_enable_notify);
}

TEST_F_TIMEOUT(vhost, each_access_fails_once, TIMEOUT)
{
	self->e.at_state = fail_each_fetch;
	EXPECT_RIGHT(do_explore(self->e, 3));
	self->e.at_state = fail_each_use;
	EXPECT_RIGHT(do_explore(self->e, 3));
	self->e.log = true;
	EXPECT_RIGHT(do_explore(self->e, 3));
	self->e.log = false;
	self->e.at_state = fail_each_notification;
	EXPECT_RIGHT(do_explore(self->e, 2));
	self->e.event_idx = true;
	EXPECT_RIGHT(do_explore(self->e, 2));
	self->e.event_idx = false;
	self->e.indirect = true;
	self->e.at_state = fail_each_fetch;
	EXPECT_RIGHT(do_explore(self->e, 2));
}

TEST_HARNESS_MAIN
