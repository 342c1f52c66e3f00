// SPDX-License-Identifier: GPL-2.0-only
/*
 * A random driver and a random device share a virtqueue, in lockstep with a simple model of
 * what each of them may see.
 *
 * The model is three queues of buffers: those that the driver has made available, those
 * that the device has taken, and those that it has returned. In order, a buffer goes
 * from the front of one to the end of the next; otherwise the device returns any.
 *
 * The segments of a buffer are computed from its number and stored nowhere. So they are
 * compared with what the ring should say, and not with what it says.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/sched.h>
#include <linux/virtio_config.h>

#include "vring_kunit.h"

static unsigned int seed = 20261121;
module_param(seed, uint, 0644);
MODULE_PARM_DESC(seed, "Seed of the random tests");

static unsigned int buffers = 1000000;
module_param(buffers, uint, 0644);
MODULE_PARM_DESC(buffers, "How many buffers go through each kind of virtqueue");

/* Largest size of a ring and, with indirect tables, of a buffer */
#define MAX_NUM		256
#define MAX_TABLE	64
/* After this many buffers a virtqueue is reset, resized or replaced. */
#define LIFE		20000
/* All segments are in it, at any address. */
#define ARENA_SIZE	SZ_256K
#define SEGMENT_MAX	SZ_4K

/* A buffer. Its address is the driver's token. */
struct model_buf {
	u32 number;
	u16 out;
	u16 in;
	u16 descs;
	u16 id;
	u32 writable;
	u32 len;
	void *ctx;
};

struct model_queue {
	struct model_buf *bufs[MAX_NUM];
	u32 head;
	u32 tail;
};

struct model {
	struct kunit *test;
	struct fake_vq fq;
	struct fake_dma *dma;
	struct rnd_state rnd;
	bool failed;

	struct model_buf bufs[MAX_NUM];
	struct model_queue unused;
	struct model_queue available;
	struct model_queue taken;
	struct model_queue used;
	/* the number of buffers returned; the last ones are not published yet */
	u32 unpublished;
	unsigned long id_used[BITS_TO_LONGS(MAX_NUM)];

	void *arena;
	phys_addr_t arena_phys;
	struct scatterlist sg[MAX_NUM];
	struct scatterlist *sgs[MAX_NUM];

	u32 added;
	u32 free;
	/* what the driver has got so far: buffers (split) or descriptors (packed) */
	u32 pos;
	u32 kicked_pos;
	bool premapped;
	/* this device returns buffers one at a time */
	bool unbatched;

	/*
	 * What the driver may rely on. @armed: an interrupt for the next buffer;
	 * @due: an interrupt before the device has used that many more; 0: none
	 */
	bool callbacks;
	bool armed;
	u32 due;
	/* it asked for an interrupt no further on than it has seen */
	bool exact;
};

static void model_failed(struct model *m, const char *what, int line)
{
	if (!m->failed)
		KUNIT_FAIL(m->test, "%s (line %d): buffer %u of seed %u, ring of %u, %s\n", what,
			   line, m->added, seed, m->fq.num, m->fq.wrong ?: "");
	m->failed = true;
}

/* KUnit's own expectations would take longer than what is tested here. */
#define CHECK(m, condition) \
	(likely(condition) || (model_failed(m, #condition, __LINE__), false))

static u32 rnd(struct model *m)
{
	return prandom_u32_state(&m->rnd);
}

/* 0 to @n - 1 */
static u32 below(struct model *m, u32 n)
{
	return ((u64)rnd(m) * n) >> 32;
}

static bool one_in(struct model *m, u32 n)
{
	return below(m, n) == 0;
}

static u32 count(const struct model_queue *q)
{
	return q->tail - q->head;
}

static struct model_buf *front(struct model_queue *q)
{
	return q->bufs[q->head % MAX_NUM];
}

static struct model_buf *pop(struct model_queue *q)
{
	return q->bufs[q->head++ % MAX_NUM];
}

static void push(struct model_queue *q, struct model_buf *buf)
{
	q->bufs[q->tail++ % MAX_NUM] = buf;
}

/* Move a random one to the front. */
static void shuffle(struct model *m, struct model_queue *q)
{
	u32 i = q->head + below(m, count(q));

	swap(q->bufs[q->head % MAX_NUM], q->bufs[i % MAX_NUM]);
}

static u32 segment_hash(u32 number, u32 i)
{
	u32 x = (number + 1) * 0x9e3779b1 ^ (i + 1) * 0x85ebca6b;

	x ^= x >> 15;
	x *= 0x2c1b3c6d;
	return x ^ x >> 13;
}

static u32 segment_len(u32 hash)
{
	return 1 + hash % SEGMENT_MAX;
}

static u32 segment_offset(u32 hash)
{
	return (hash >> 14) % (ARENA_SIZE - SEGMENT_MAX);
}

/* The address that a driver passes if it maps itself. fake_dma has no such mapping. */
static u64 segment_premapped(u32 hash)
{
	return BIT_ULL(56) | hash;
}

/*
 * The driver
 */

static void *buf_ctx(struct model *m, const struct model_buf *buf)
{
	return m->fq.setup.context && !buf->out ? &m->sgs[buf - m->bufs] : NULL;
}

/* Form one or more lists, which makes no difference to the device. Returns how many. */
static unsigned int model_lists(struct model *m, unsigned int from, unsigned int num,
				bool one_each, unsigned int lists)
{
	unsigned int i;

	for (i = from; i < from + num; i++) {
		if (i == from || one_each)
			m->sgs[lists++] = &m->sg[i];
		if (i == from + num - 1 || one_each)
			sg_mark_end(&m->sg[i]);
		else
			sg_unmark_end(&m->sg[i]);
	}
	return lists;
}

static int model_add_sg(struct model *m, struct model_buf *buf)
{
	unsigned int out_sgs, sgs, total = buf->out + buf->in;
	bool one_each = !buf->ctx && rnd(m) & 1;
	struct virtqueue *vq = m->fq.vq;

	if (fake_is_one_way(m->premapped))
		one_each = false;
	out_sgs = model_lists(m, 0, buf->out, one_each, 0);
	sgs = model_lists(m, buf->out, buf->in, one_each, out_sgs);
	if (buf->ctx || (sgs == 1 && !buf->out))
		return fake_add_in(vq, m->sg, total, buf, buf->ctx, m->premapped, GFP_KERNEL);
	if (sgs == 1 && !buf->in)
		return fake_add_out(vq, m->sg, total, buf, m->premapped, GFP_KERNEL);
	return virtqueue_add_sgs(vq, m->sgs, out_sgs, sgs - out_sgs, buf, GFP_KERNEL);
}

/* Let one mapping fail, and all that the core may try instead. */
static bool model_spoil(struct model *m, unsigned int mappings)
{
	if (!m->dma || m->premapped || !one_in(m, 64))
		return false;
	m->dma->fail_from = 1 + below(m, mappings);
	return true;
}

/* Returns false if the ring is full. */
static bool model_add(struct model *m)
{
	unsigned int i, total, mapped = fake_dma_mapped(m->dma);
	unsigned long notified = m->fq.notified;
	struct model_buf *buf;
	bool table, spoilt;
	int err;

	if (!count(&m->unused))
		return false;
	total = 1 + below(m, 4);
	if (one_in(m, 128))
		total = 1 + below(m, m->fq.indirect ? MAX_TABLE : m->fq.num);
	/* With indirect tables, a buffer may have more segments than the ring has descriptors. */
	if (!m->fq.indirect)
		total = min(total, m->fq.num);
	table = m->fq.indirect && total > 1 && m->free;

	buf = front(&m->unused);
	buf->number = m->added;
	buf->out = below(m, total + 1);
	if (fake_is_one_way(m->premapped) && buf->out)
		buf->out = total;
	buf->in = total - buf->out;
	buf->descs = table ? 1 : total;
	buf->writable = 0;
	buf->ctx = buf_ctx(m, buf);
	for (i = 0; i < total; i++) {
		u32 hash = segment_hash(buf->number, i);

		sg_set_buf(&m->sg[i], m->arena + segment_offset(hash), segment_len(hash));
		if (m->premapped) {
			sg_dma_address(&m->sg[i]) = segment_premapped(hash);
			sg_dma_len(&m->sg[i]) = segment_len(hash);
		}
		if (i >= buf->out)
			buf->writable += segment_len(hash);
	}

	spoilt = buf->descs <= m->free && model_spoil(m, total + table);
	err = model_add_sg(m, buf);
	if (spoilt) {
		m->dma->fail_from = 0;
		CHECK(m, err < 0);
		CHECK(m, fake_dma_mapped(m->dma) == mapped);
	} else if (buf->descs > m->free) {
		CHECK(m, err == -ENOSPC);
		/* the split ring notifies the device of a readable buffer */
		CHECK(m, m->fq.notified == notified + (!m->fq.packed && buf->out));
	} else if (CHECK(m, !err)) {
		push(&m->available, pop(&m->unused));
		m->added++;
		m->free -= buf->descs;
		m->pos += m->fq.packed ? buf->descs : 1;
	}
	if (err)
		buf->descs = 0;
	CHECK(m, m->fq.vq->num_free == m->free);
	return err != -ENOSPC;
}

static void model_kick(struct model *m)
{
	u32 added = m->pos - m->kicked_pos, from = m->kicked_pos, at;
	enum fake_kick kick = below(m, 3);
	unsigned long notified;
	bool kicked, wanted;
	u16 data;

	if (!m->fq.event && kick == FAKE_KICK_AT)
		kick = FAKE_KICK_ALWAYS;
	/* With an event index, a split ring has nothing but the index to say so. */
	if (m->fq.event && !m->fq.packed)
		kick = FAKE_KICK_AT;
	/* An off_wrap value is unique within two wraps. */
	if (m->fq.packed && m->pos - from > m->fq.num)
		from = m->pos - m->fq.num;
	from -= min(from, 4);
	if (m->fq.packed && m->pos - from > m->fq.num)
		from = m->pos - m->fq.num;
	at = from + below(m, m->pos - from + min(m->fq.num, 4));
	fake_ask_for_kick(&m->fq, kick, at);

	data = fake_position(&m->fq, m->pos);
	CHECK(m, vring_notification_data(m->fq.vq) == (u32)data << 16);

	wanted = kick == FAKE_KICK_ALWAYS ||
		 (kick == FAKE_KICK_AT && at - m->kicked_pos < added);
	kicked = virtqueue_kick_prepare(m->fq.vq);
	m->kicked_pos = m->pos;
	/* After more than a wrap without a kick, it cannot be told which one is meant. */
	if (m->fq.packed && kick == FAKE_KICK_AT && added > m->fq.num)
		CHECK(m, kicked || !wanted);
	else
		CHECK(m, kicked == wanted);

	notified = m->fq.notified;
	if (kicked)
		CHECK(m, virtqueue_notify(m->fq.vq) && m->fq.notified == notified + 1);
}

/* Returns false if there was none. */
static bool model_get(struct model *m)
{
	u32 len = ~0, pending = count(&m->used) - m->unpublished;
	struct model_buf *buf, *expected;
	void *ctx = NULL;

	buf = virtqueue_get_buf_ctx(m->fq.vq, &len, &ctx);
	if (!pending) {
		CHECK(m, !buf);
		CHECK(m, m->fq.vq->num_free == m->free);
		if (!m->exact)
			return false;
		m->armed = true;
		if (m->fq.event &&
		    (!m->fq.packed || le16_to_cpu(m->fq.ring.driver->flags) ==
				      VRING_PACKED_EVENT_FLAG_DESC))
			CHECK(m, fake_interrupt_at(&m->fq) ==
				 fake_position(&m->fq, m->fq.published));
		return false;
	}

	expected = pop(&m->used);
	push(&m->unused, expected);
	m->free += expected->descs;
	expected->descs = 0;
	m->armed = false;
	m->due = 0;
	m->exact = m->callbacks;
	if (!CHECK(m, buf == expected))
		return false;
	CHECK(m, len == buf->len);
	CHECK(m, ctx == buf->ctx);
	CHECK(m, m->fq.vq->num_free == m->free);
	return true;
}

/*
 * The device
 */

static void model_compare(struct model *m, const struct model_buf *buf)
{
	unsigned int i, total = buf->out + buf->in;

	if (!CHECK(m, m->fq.num_segments == total))
		return;
	for (i = 0; i < total; i++) {
		const struct fake_segment *segment = &m->fq.segments[i];
		u32 hash = segment_hash(buf->number, i);
		u64 addr = segment->addr;

		if (m->premapped) {
			CHECK(m, addr == segment_premapped(hash));
		} else {
			if (m->dma)
				addr = fake_dma_phys(m->dma, addr, segment->len, segment->write);
			CHECK(m, addr == m->arena_phys + segment_offset(hash));
		}
		CHECK(m, segment->len == segment_len(hash));
		CHECK(m, segment->write == (i >= buf->out));
	}
}

static void model_take(struct model *m)
{
	struct fake_buf seen;
	struct model_buf *buf;
	bool any = fake_take(&m->fq, &seen);

	CHECK(m, any == !!count(&m->available));
	if (!any || m->failed)
		return;
	buf = pop(&m->available);
	push(&m->taken, buf);
	if (!CHECK(m, !m->fq.wrong))
		return;
	CHECK(m, seen.descs == buf->descs);
	CHECK(m, !__test_and_set_bit(seen.id, m->id_used));
	buf->id = seen.id;
	model_compare(m, buf);
}

static void model_use(struct model *m)
{
	u32 descs = 0, len, i, bufs = 1;
	struct model_buf *buf = NULL;

	if (!count(&m->taken))
		return;
	if (!m->fq.in_order)
		shuffle(m, &m->taken);
	else if (!m->unbatched)
		bufs = 1 + below(m, count(&m->taken));

	for (i = 0; i < bufs; i++) {
		buf = pop(&m->taken);
		push(&m->used, buf);
		buf->len = buf->writable;
		descs += buf->descs;
		__clear_bit(buf->id, m->id_used);
	}
	/* The length of the last buffer is whatever the device says. */
	len = below(m, buf->writable + 1);
	buf->len = len;
	m->unpublished += bufs;
	fake_use(&m->fq, buf->id, len, bufs, descs);
}

static void model_publish(struct model *m)
{
	u32 before = m->fq.published, moved;
	unsigned long called = m->fq.called;
	bool wants;

	if (!m->unpublished)
		return;
	fake_publish(&m->fq);
	m->unpublished = 0;
	moved = m->fq.published - before;

	wants = fake_wants_interrupt(&m->fq, before);
	CHECK(m, wants || !m->armed);
	CHECK(m, wants || !m->due || m->due > moved);
	m->due = wants || m->due <= moved ? 0 : m->due - moved;
	m->armed = false;
	/* on another CPU, it might come later or have been on its way */
	if (wants && !one_in(m, 8)) {
		CHECK(m, fake_interrupt(&m->fq));
		CHECK(m, m->fq.called == called + 1);
	}
}

static void model_device(struct model *m)
{
	u32 n = 1 + below(m, 48);

	while (n-- && !m->failed)
		model_take(m);
	for (n = 1 + below(m, m->fq.in_order && !m->unbatched ? 3 : 32); n; n--) {
		model_use(m);
		/* in a packed ring, the driver sees each of them at once */
		if (m->fq.packed)
			model_publish(m);
	}
	model_publish(m);
}

/*
 * Callbacks: the driver must never be told that nothing is pending when something is.
 */

static void model_callbacks(struct model *m)
{
	u32 pending = count(&m->used) - m->unpublished;
	u32 outstanding = pending + count(&m->taken) + count(&m->available);
	unsigned int opaque;
	bool ok;

	switch (below(m, 6)) {
	case 0:
	case 1:
		virtqueue_disable_cb(m->fq.vq);
		m->callbacks = false;
		m->exact = false;
		m->armed = false;
		m->due = 0;
		break;
	case 2:
		ok = virtqueue_enable_cb(m->fq.vq);
		CHECK(m, ok == !pending);
		m->callbacks = true;
		m->exact = true;
		m->armed = ok;
		m->due = 0;
		break;
	case 3:
		opaque = virtqueue_enable_cb_prepare(m->fq.vq);
		m->callbacks = true;
		m->exact = true;
		m->armed = !pending;
		m->due = 0;
		if (rnd(m) & 1)
			model_device(m);
		pending = count(&m->used);
		CHECK(m, virtqueue_poll(m->fq.vq, opaque) == !!pending);
		break;
	case 4:
		ok = virtqueue_enable_cb_delayed(m->fq.vq);
		CHECK(m, ok || pending);
		CHECK(m, !ok || pending <= (m->fq.packed ? 0 : outstanding * 3 / 4));
		m->callbacks = true;
		m->exact = false;
		m->armed = false;
		m->due = ok ? max(m->pos - m->fq.published, 1) : 0;
		break;
	case 5:
		ok = fake_interrupt(&m->fq);
		CHECK(m, ok == !!pending);
		break;
	}
}

/*
 * One life of a virtqueue: from empty to drained, or to a reset with buffers outstanding
 */

static void model_begin(struct model *m)
{
	unsigned int i;

	memset(&m->unused, 0, sizeof(m->unused));
	memset(&m->available, 0, sizeof(m->available));
	memset(&m->taken, 0, sizeof(m->taken));
	memset(&m->used, 0, sizeof(m->used));
	memset(m->id_used, 0, sizeof(m->id_used));
	for (i = 0; i < m->fq.num; i++)
		push(&m->unused, &m->bufs[i]);
	m->unpublished = 0;
	m->free = m->fq.num;
	m->pos = 0;
	m->kicked_pos = 0;
	m->callbacks = true;
	m->armed = true;
	m->due = 0;
	m->exact = false;
	m->unbatched = one_in(m, 4);
	CHECK(m, m->fq.vq->num_free == m->free);
	CHECK(m, fake_dma_mapped(m->dma) == 0);
	CHECK(m, !m->dma || !m->dma->wrong);
}

static void model_recycle(struct virtqueue *vq, void *data)
{
	struct model *m = to_fake_vq(vq)->priv;
	struct model_queue *q = count(&m->used) ? &m->used :
				count(&m->taken) ? &m->taken : &m->available;
	struct model_buf *buf = data;

	if (m->fq.in_order)
		CHECK(m, count(q) && buf == pop(q));
	/* Each of them once, in any order */
	CHECK(m, buf->descs);
	m->free += buf->descs;
	buf->descs = 0;
}

static void model_recycled(struct virtqueue *vq)
{
	struct model *m = to_fake_vq(vq)->priv;

	CHECK(m, m->free == m->fq.num);
	CHECK(m, vq->num_free == m->fq.num);
	CHECK(m, fake_dma_mapped(m->dma) == 0);
}

static void model_drain(struct model *m)
{
	u32 turns;

	for (turns = 0; count(&m->unused) < m->fq.num && turns < 8 * MAX_NUM; turns++) {
		model_device(m);
		while (model_get(m))
			;
		if (m->failed)
			return;
	}
	CHECK(m, count(&m->unused) == m->fq.num);
}

static unsigned int model_size(struct model *m, bool packed)
{
	static const u16 sizes[] = { 1, 2, 3, 7, 8, 31, 100, 127, 255, 256 };

	return packed ? sizes[below(m, ARRAY_SIZE(sizes))] : 1 << below(m, 9);
}

static void model_live(struct model *m, u32 until)
{
	u32 n;

	while (m->added < until && !m->failed) {
		switch (below(m, 8)) {
		case 0:
		case 1:
		case 2:
			for (n = 1 + below(m, 32); n && !m->failed && model_add(m); n--)
				;
			if (rnd(m) & 1)
				model_kick(m);
			break;
		case 3:
		case 4:
			model_device(m);
			break;
		case 5:
		case 6:
			for (n = 1 + below(m, 48); n && model_get(m); n--)
				;
			break;
		case 7:
			model_callbacks(m);
			break;
		}
		cond_resched();
	}
}

/* Make a virtqueue. Everything but the features of this test is random. */
static bool model_create(struct model *m, u64 features, struct fake_dma *dma)
{
	struct fake_setup setup = {
		.features = features, .num_max = MAX_NUM, .context = one_in(m, 3),
	};

	m->dma = one_in(m, 2) && dma->dev ? dma : NULL;
	if (m->dma)
		setup.features |= FAKE_DMA;
	setup.num = model_size(m, features & FAKE_PACKED);
	if (!CHECK(m, !fake_vq_init(&m->fq, m->test, m->dma, &setup)))
		return false;
	m->fq.priv = m;
	m->premapped = one_in(m, 4);
	if (m->premapped)
		CHECK(m, fake_set_premapped(m->fq.vq) == 0);
	model_begin(m);
	return true;
}

/* One virtqueue: it is reset and resized, until it is drained and replaced. */
static void model_run(struct model *m, u64 features, struct fake_dma *dma)
{
	struct virtqueue *vq;
	bool again = true;

	if (!model_create(m, features, dma))
		return;
	vq = m->fq.vq;
	while (again && !m->failed && m->added < buffers) {
		u32 size = m->fq.num;

		model_live(m, min(m->added + LIFE / 2 + below(m, LIFE), buffers));
		if (m->failed)
			break;
		switch (below(m, 4)) {
		case 0:
			CHECK(m, !virtqueue_reset(vq, model_recycle, model_recycled));
			model_begin(m);
			break;
		case 1:
		case 2:
			while (size == m->fq.num)
				size = model_size(m, m->fq.packed);
			CHECK(m, !virtqueue_resize(vq, size, model_recycle, model_recycled));
			CHECK(m, m->fq.num == size);
			model_begin(m);
			break;
		case 3:
			model_drain(m);
			again = false;
			break;
		}
	}
	/* After a failure the core may be confused: stop here. */
	if (m->failed)
		return;
	while (virtqueue_detach_unused_buf(vq))
		;
	CHECK(m, vq->num_free == m->fq.num);
	CHECK(m, fake_dma_mapped(m->dma) == 0);
	CHECK(m, !m->dma || !m->dma->wrong);
	fake_vq_exit(&m->fq);
}

/*
 * Clause: 2.7.4.2a, 2.7.5.2b, 2.7.5.3.1a, 2.7.5.3.1b, 2.7.5.3.1d, 2.7.5.3.1e, 2.8.16c, 2.8.17c,
 * 2.8.19a, 2.8.19b, 2.8.19d, 6.1b.
 */
static void random_lockstep(struct kunit *test)
{
	const struct fake_layout *layout = test->param_value;
	struct model *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	struct fake_dma *dma = kunit_kzalloc(test, sizeof(*dma), GFP_KERNEL);
	int err;

	KUNIT_ASSERT_NOT_NULL(test, m);
	KUNIT_ASSERT_NOT_NULL(test, dma);
	err = fake_dma_init(dma, test);
	KUNIT_ASSERT_TRUE(test, !err || err == -EOPNOTSUPP);
	if (err)
		kunit_info(test, "without DMA operations\n");

	m->test = test;
	m->arena = kunit_kmalloc(test, ARENA_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->arena);
	m->arena_phys = virt_to_phys(m->arena);
	sg_init_table(m->sg, MAX_NUM);
	prandom_seed_state(&m->rnd, seed ^ layout->features * 0x9e3779b97f4a7c15);
	kunit_info(test, "seed %u, %u buffers\n", seed, buffers);

	while (m->added < buffers && !m->failed)
		model_run(m, layout->features, dma);
}

static const struct fake_layout random_layouts[] = {
	{ "split", FAKE_SPLIT },
	{ "split, indirect", FAKE_SPLIT | FAKE_INDIRECT },
	{ "split, event idx", FAKE_SPLIT | FAKE_EVENT_IDX },
	{ "split, indirect, event idx", FAKE_SPLIT | FAKE_INDIRECT | FAKE_EVENT_IDX },
	{ "split in order", FAKE_SPLIT | FAKE_IN_ORDER },
	{ "split in order, indirect", FAKE_SPLIT | FAKE_IN_ORDER | FAKE_INDIRECT },
	{ "split in order, event idx", FAKE_SPLIT | FAKE_IN_ORDER | FAKE_EVENT_IDX },
	{ "split in order, indirect, event idx",
	  FAKE_SPLIT | FAKE_IN_ORDER | FAKE_INDIRECT | FAKE_EVENT_IDX },
	{ "packed", FAKE_PACKED },
	{ "packed, indirect", FAKE_PACKED | FAKE_INDIRECT },
	{ "packed, event idx", FAKE_PACKED | FAKE_EVENT_IDX },
	{ "packed, indirect, event idx", FAKE_PACKED | FAKE_INDIRECT | FAKE_EVENT_IDX },
	{ "packed in order", FAKE_PACKED | FAKE_IN_ORDER },
	{ "packed in order, indirect", FAKE_PACKED | FAKE_IN_ORDER | FAKE_INDIRECT },
	{ "packed in order, event idx", FAKE_PACKED | FAKE_IN_ORDER | FAKE_EVENT_IDX },
	{ "packed in order, indirect, event idx",
	  FAKE_PACKED | FAKE_IN_ORDER | FAKE_INDIRECT | FAKE_EVENT_IDX },
};

KUNIT_ARRAY_PARAM_DESC(random, random_layouts, name);

static struct kunit_case random_cases[] = {
	KUNIT_CASE_PARAM_ATTR(random_lockstep, random_gen_params,
			      ((struct kunit_attributes) { .speed = KUNIT_SPEED_SLOW })),
	{}
};

static struct kunit_suite random_suite = {
	.name = "vring_random",
	.test_cases = random_cases,
};

kunit_test_suite(random_suite);

MODULE_DESCRIPTION("KUnit tests of the virtqueue core");
MODULE_LICENSE("GPL");
