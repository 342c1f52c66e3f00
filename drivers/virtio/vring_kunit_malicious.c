// SPDX-License-Identifier: GPL-2.0-only
/*
 * Malicious devices, which report used buffers wrongly. The core has to log that once and mark
 * the virtqueue broken, and the driver must get each of its buffers back exactly once.
 */
#include <linux/kmsg_dump.h>
#include <linux/prandom.h>
#include <linux/printk.h>
#include <linux/sched.h>

#include "vring_kunit.h"

#define MAX_TOKENS	64

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

static const struct fake_layout split_in_order_layouts[] = {
	{ "split in order", FAKE_SPLIT | FAKE_IN_ORDER | FAKE_DMA },
	{ "split in order, indirect", FAKE_SPLIT | FAKE_IN_ORDER | FAKE_INDIRECT | FAKE_DMA },
};

KUNIT_ARRAY_PARAM_DESC(split_in_order, split_in_order_layouts, name);

static const struct fake_layout in_order_layouts[] = {
	{ "split", FAKE_SPLIT | FAKE_IN_ORDER | FAKE_DMA },
	{ "split, indirect, event idx",
	  FAKE_SPLIT | FAKE_IN_ORDER | FAKE_INDIRECT | FAKE_EVENT_IDX | FAKE_DMA },
	{ "packed", FAKE_PACKED | FAKE_IN_ORDER | FAKE_DMA },
	{ "packed, indirect, event idx",
	  FAKE_PACKED | FAKE_IN_ORDER | FAKE_INDIRECT | FAKE_EVENT_IDX | FAKE_DMA },
};

KUNIT_ARRAY_PARAM_DESC(in_order, in_order_layouts, name);

static u64 features_of(struct kunit *test)
{
	return ((const struct fake_layout *)test->param_value)->features;
}

/*
 * The kernel's log. The messages that this suite provokes are kept off the console, where
 * they would bury others. Any other complaint of the kernel is a failure.
 */

static int console_was;
static u64 log_begin;

static void begin_log(void)
{
	struct kmsg_dump_iter iter;

	kmsg_dump_rewind(&iter);
	log_begin = iter.next_seq;
}

/* Number of lines since log_begin that contain @what */
static unsigned int logged(const char *what)
{
	struct kmsg_dump_iter iter;
	unsigned int n = 0;
	char line[256];
	size_t len;

	kmsg_dump_rewind(&iter);
	iter.cur_seq = max(iter.cur_seq, log_begin);
	while (kmsg_dump_get_line(&iter, false, line, sizeof(line) - 1, &len)) {
		line[len] = 0;
		n += !!strstr(line, what);
	}
	return n;
}

/* The virtqueue has logged @messages lines, and the kernel no warning. */
static void expect_logged(struct kunit *test, unsigned int messages)
{
	KUNIT_EXPECT_EQ(test, logged("vring-kunit: "), messages);
	KUNIT_EXPECT_EQ(test, logged("WARNING: "), 0);
}

static int malicious_init(struct kunit *test)
{
	/*
	 * KUnit's lines have no newline, so each comes to the console when the next one is
	 * logged. The last one must not wait for one of those that are not shown.
	 */
	kunit_info(test, "what the virtqueue says is in the log alone\n");
	console_was = console_loglevel;
	console_loglevel = LOGLEVEL_CRIT;
	return 0;
}

static void malicious_exit(struct kunit *test)
{
	console_loglevel = console_was;
}

/*
 * What a bogus used element must lead to
 */

/* The driver notices when it asks for the next buffer. @n from @first on are outstanding. */
static void expect_broken(struct kunit *test, struct fake_vq *fq, unsigned long first,
			  unsigned int n)
{
	DECLARE_BITMAP(back, MAX_TOKENS) = {};
	unsigned long called = fq->called;
	unsigned int i, opaque;
	u32 len;

	opaque = virtqueue_enable_cb_prepare(fq->vq);
	expect_logged(test, 0);
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_EQ(test, fake_get(fq, &len), 0);
		KUNIT_EXPECT_TRUE(test, virtqueue_is_broken(fq->vq));
		KUNIT_EXPECT_EQ(test, fake_add(fq, MAX_TOKENS - 1, 1, 1), -EIO);
		KUNIT_EXPECT_FALSE(test, virtqueue_poll(fq->vq, opaque));
		KUNIT_EXPECT_TRUE(test, virtqueue_enable_cb_delayed(fq->vq));
		fake_interrupt(fq);
		KUNIT_EXPECT_EQ(test, fq->called, called);
		expect_logged(test, 1);
	}
	for (i = 0; i < n; i++) {
		unsigned long token = (unsigned long)virtqueue_detach_unused_buf(fq->vq);

		if (fq->in_order)
			KUNIT_EXPECT_EQ(test, token, first + i);
		KUNIT_ASSERT_GE(test, token, first);
		KUNIT_ASSERT_LT(test, token, first + n);
		KUNIT_EXPECT_FALSE(test, test_and_set_bit(token, back));
	}
	KUNIT_EXPECT_NULL(test, virtqueue_detach_unused_buf(fq->vq));
	fake_expect_unused(test, fq);
}

/* Buffers 1 to 4 have been returned; the device holds 5 to 8. */
static struct fake_vq *with_four_out(struct kunit *test, struct fake_buf bufs[4])
{
	struct fake_vq *fq = fake_vq_simple(test, features_of(test), 16);
	unsigned int i;
	u32 len;

	begin_log();
	for (i = 0; i < 4; i++) {
		fake_give(test, fq, &bufs[i], 1 + i, 1, 2);
		fake_return(fq, &bufs[i], 1, 1);
		KUNIT_ASSERT_EQ(test, fake_get(fq, &len), 1 + i);
	}
	for (i = 0; i < 4; i++)
		fake_give(test, fq, &bufs[i], 5 + i, 1, 2);
	return fq;
}

/* One used element with @id; the used index moves on by @bufs, as it should. */
static void use_bogus_id(struct kunit *test, struct fake_vq *fq, u32 id, unsigned int bufs)
{
	fake_use(fq, id, 1, bufs, bufs);
	fake_publish(fq);
	expect_broken(test, fq, 5, 4);
}

static void id_out_of_range(struct kunit *test)
{
	static const u32 ids[] = { 16, 17, 0x7fff, 0x8000, 0xffff, 0x10000, 0x80000005, ~0 };
	struct fake_buf bufs[4];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		/* Packed IDs have 16 bits */
		if (features_of(test) & FAKE_PACKED && ids[i] > U16_MAX)
			continue;
		use_bogus_id(test, with_four_out(test, bufs), ids[i], 1);
	}
}

/* Every ID that is not the first descriptor of an outstanding buffer */
static void id_of_no_buffer(struct kunit *test)
{
	struct fake_buf bufs[4];
	unsigned int id, i;

	for (id = 0; id < 16; id++) {
		struct fake_vq *fq = with_four_out(test, bufs);

		for (i = 0; i < 4 && bufs[i].id != id; i++)
			;
		if (i == 4)
			use_bogus_id(test, fq, id, 1);
		fake_vq_destroy(test, fq);
	}
}

static void id_returned_before(struct kunit *test)
{
	struct fake_buf bufs[4];
	struct fake_vq *fq = with_four_out(test, bufs);
	u32 len;

	fake_return(fq, bufs, 1, 1);
	KUNIT_EXPECT_EQ(test, fake_get(fq, &len), 5);
	fake_use(fq, bufs[0].id, 1, 1, 1);
	fake_publish(fq);
	expect_broken(test, fq, 6, 3);
}

static void used_without_any_available(struct kunit *test)
{
	struct fake_vq *fq = fake_vq_simple(test, features_of(test), 16);

	begin_log();
	fake_use(fq, 0, 1, 1, 1);
	fake_publish(fq);
	expect_broken(test, fq, 1, 0);
}

/* The element names a buffer that the used index does not cover. */
static void batch_beyond_the_index(struct kunit *test)
{
	unsigned int exposed, last;
	struct fake_buf bufs[4];

	for (last = 1; last < 4; last++) {
		for (exposed = 1; exposed <= last; exposed++) {
			struct fake_vq *fq = with_four_out(test, bufs);

			use_bogus_id(test, fq, bufs[last].id, exposed);
		}
	}
}

/* The index claims that more buffers were used than are outstanding. */
static void index_beyond_what_is_out(struct kunit *test)
{
	static const u16 jumps[] = { 5, 6, 15, 16, 17, 32, 0x7fff, 0x8000, 0xfffc, 0xffff };
	struct fake_buf bufs[4];
	unsigned int i, last;

	for (i = 0; i < ARRAY_SIZE(jumps); i++) {
		for (last = 0; last < 4; last++) {
			struct fake_vq *fq = with_four_out(test, bufs);

			use_bogus_id(test, fq, bufs[last].id, jumps[i]);
		}
	}
}

/* The same while a valid batch is open, which is still returned */
static void index_jumps_in_open_batch(struct kunit *test)
{
	static const s16 jumps[] = { 3, 15, 16, 17, 0x7fff, -1, -2, -3 };
	struct fake_buf bufs[4];
	unsigned int i;
	u32 len;

	for (i = 0; i < ARRAY_SIZE(jumps); i++) {
		struct fake_vq *fq = with_four_out(test, bufs);

		fake_return(fq, bufs, 2, 9);
		KUNIT_EXPECT_EQ(test, fake_get(fq, &len), 5);
		KUNIT_EXPECT_EQ(test, len, 10);
		fq->used_pos += jumps[i];
		fake_publish(fq);
		KUNIT_EXPECT_EQ(test, fake_get(fq, &len), 6);
		KUNIT_EXPECT_EQ(test, len, 9);
		expect_broken(test, fq, 7, 2);
	}
}

/*
 * Random bogus elements
 */

struct malicious {
	struct kunit *test;
	struct fake_vq *fq;
	struct rnd_state rnd;
	DECLARE_BITMAP(out, MAX_TOKENS);
};

static u32 below(struct malicious *l, u32 n)
{
	return ((u64)prandom_u32_state(&l->rnd) * n) >> 32;
}

static void malicious_back(struct malicious *l, unsigned long token)
{
	KUNIT_ASSERT_LT(l->test, token, MAX_TOKENS);
	KUNIT_EXPECT_TRUE_MSG(l->test, __test_and_clear_bit(token, l->out),
			      "%lu was not out", token);
}

static void malicious_add(struct malicious *l)
{
	unsigned long token = find_next_zero_bit(l->out, MAX_TOKENS, 1);
	unsigned int total = 1 + below(l, 4), out = below(l, total + 1);
	int err;

	/* Do not provoke the warning about a chain that is longer than the ring. */
	if (token == MAX_TOKENS || (total > l->fq->num && !l->fq->indirect))
		return;
	err = fake_add(l->fq, token, out, total - out);
	if (!err)
		__set_bit(token, l->out);
	else if (virtqueue_is_broken(l->fq->vq))
		KUNIT_EXPECT_EQ(l->test, err, -EIO);
	else
		KUNIT_EXPECT_EQ(l->test, err, -ENOSPC);
}

static void malicious_use(struct malicious *l)
{
	struct fake_vq *fq = l->fq;
	struct fake_buf buf = {};

	switch (below(l, 4)) {
	case 0:
		/* a correct element, to get further */
		if (fake_take(fq, &buf))
			fake_use(fq, buf.id, 1, 1, buf.descs);
		break;
	case 1:
		while (below(l, 4) && fake_take(fq, &buf))
			;
		fake_use(fq, buf.id, 1, 1 + below(l, 3), 1 + below(l, 4));
		break;
	case 2:
		fake_use(fq, below(l, fq->num + 2), below(l, 5000), below(l, 4), below(l, 4));
		break;
	case 3:
		fake_use(fq, prandom_u32_state(&l->rnd), ~0, below(l, 3 * fq->num),
			 below(l, 3 * fq->num));
		break;
	}
	fake_publish(fq);
}

static void malicious_round(struct malicious *l)
{
	struct fake_setup setup = {
		features_of(l->test), .num = 1 << below(l, 5), .num_max = MAX_TOKENS,
	};
	struct fake_vq *fq = fake_vq_create(l->test, &setup);
	unsigned int i, n, opaque;
	unsigned long token;
	u32 len;

	l->fq = fq;
	begin_log();
	bitmap_zero(l->out, MAX_TOKENS);
	for (i = 0; i < 40; i++) {
		for (n = below(l, 5); n; n--)
			malicious_add(l);
		opaque = virtqueue_enable_cb_prepare(fq->vq);
		malicious_use(l);
		virtqueue_poll(fq->vq, opaque);
		fake_interrupt(fq);
		/* It must end: there are no more buffers than descriptors. */
		for (n = 0; n <= fq->num; n++) {
			token = fake_get(fq, &len);
			if (!token)
				break;
			malicious_back(l, token);
			if (!below(l, 4))
				break;
		}
		KUNIT_EXPECT_LE(l->test, n, fq->num);
		virtqueue_disable_cb(fq->vq);
		virtqueue_enable_cb_delayed(fq->vq);
	}
	expect_logged(l->test, virtqueue_is_broken(fq->vq));
	while ((token = (unsigned long)virtqueue_detach_unused_buf(fq->vq)))
		malicious_back(l, token);
	KUNIT_EXPECT_TRUE(l->test, bitmap_empty(l->out, MAX_TOKENS));
	fake_expect_unused(l->test, fq);
	fake_vq_destroy(l->test, fq);
}

static void random_bogus_elements(struct kunit *test)
{
	struct malicious *l = kunit_kzalloc(test, sizeof(*l), GFP_KERNEL);
	unsigned int round;

	KUNIT_ASSERT_NOT_NULL(test, l);
	l->test = test;
	prandom_seed_state(&l->rnd, 4);
	for (round = 0; round < 2000 && READ_ONCE(test->status) != KUNIT_FAILURE; round++) {
		malicious_round(l);
		cond_resched();
	}
}

static struct kunit_case malicious_cases[] = {
	KUNIT_CASE_PARAM(id_out_of_range, all_gen_params),
	KUNIT_CASE_PARAM(id_of_no_buffer, all_gen_params),
	KUNIT_CASE_PARAM(id_returned_before, all_gen_params),
	KUNIT_CASE_PARAM(used_without_any_available, all_gen_params),
	KUNIT_CASE_PARAM(batch_beyond_the_index, split_in_order_gen_params),
	KUNIT_CASE_PARAM(index_beyond_what_is_out, split_in_order_gen_params),
	KUNIT_CASE_PARAM(index_jumps_in_open_batch, split_in_order_gen_params),
	KUNIT_CASE_PARAM(random_bogus_elements, in_order_gen_params),
	{}
};

static struct kunit_suite malicious_suite = {
	.name = "vring_malicious",
	.init = malicious_init,
	.exit = malicious_exit,
	.test_cases = malicious_cases,
};

kunit_test_suite(malicious_suite);
