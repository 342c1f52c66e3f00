// SPDX-License-Identifier: GPL-2.0-only
/*
 * A driver for tests of one particular thing. Its buffers are numbered from 1, and the segments
 * of buffer n have n bytes, so that a buffer can be recognised anywhere.
 */
#include "vring_kunit.h"

/* The segments begin one byte apart. */
static phys_addr_t fake_segment_at(const struct fake_vq *fq, unsigned int i)
{
	return virt_to_phys(fq->memory + i);
}

static u64 fake_premapped_at(unsigned long token, unsigned int i)
{
	return BIT_ULL(56) | token << 20 | i;
}

static void fake_vq_end(void *data)
{
	struct fake_vq *fq = data;

	/* After a failure the core may be confused: stop here. */
	if (READ_ONCE(fq->test->status) == KUNIT_FAILURE)
		return;
	while (virtqueue_detach_unused_buf(fq->vq))
		;
	fake_vq_exit(fq);
}

/* All virtqueues of a test share the device that maps. */
static struct fake_dma *fake_dma_of(struct kunit *test)
{
	struct fake_dma *dma = test->priv;
	int err;

	if (dma)
		return dma;
	dma = kunit_kzalloc(test, sizeof(*dma), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dma);
	err = fake_dma_init(dma, test);
	if (err == -EOPNOTSUPP)
		kunit_skip(test, "no DMA operations of a device's own in this kernel");
	KUNIT_ASSERT_EQ(test, err, 0);
	test->priv = dma;
	return dma;
}

/* Make a virtqueue that lives until fake_vq_destroy() or the end of the test. */
struct fake_vq *fake_vq_create(struct kunit *test, const struct fake_setup *setup)
{
	struct fake_dma *dma = setup->features & FAKE_DMA ? fake_dma_of(test) : NULL;
	struct fake_vq *fq = kunit_kzalloc(test, sizeof(*fq), GFP_KERNEL);
	unsigned int segments = max(setup->num, setup->num_max);

	KUNIT_ASSERT_NOT_NULL(test, fq);
	KUNIT_ASSERT_EQ(test, fake_vq_init(fq, test, dma, setup), 0);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, fake_vq_end, fq), 0);
	fq->gfp = GFP_KERNEL;
	fq->sg = kunit_kcalloc(test, segments, sizeof(*fq->sg), GFP_KERNEL);
	fq->memory = kunit_kzalloc(test, segments + SZ_4K, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fq->sg);
	KUNIT_ASSERT_NOT_NULL(test, fq->memory);
	return fq;
}

void fake_vq_destroy(struct kunit *test, struct fake_vq *fq)
{
	kunit_release_action(test, fake_vq_end, fq);
	kunit_kfree(test, fq->memory);
	kunit_kfree(test, fq->sg);
	kunit_kfree(test, fq);
}

struct fake_vq *fake_vq_simple(struct kunit *test, u64 features, unsigned int num)
{
	struct fake_setup setup = { .features = features, .num = num };

	return fake_vq_create(test, &setup);
}

/* Add buffer @token with @out readable and @in writable segments: if premapped, only one kind. */
int fake_add(struct fake_vq *fq, unsigned long token, unsigned int out, unsigned int in)
{
	struct scatterlist *sgs[2] = { fq->sg, out ? fq->sg + out : fq->sg };
	unsigned int i;

	if (out)
		sg_init_table(fq->sg, out);
	if (in)
		sg_init_table(fq->sg + out, in);
	for (i = 0; i < out + in; i++) {
		sg_set_buf(&fq->sg[i], fq->memory + i, token);
		if (!fq->premapped)
			continue;
		sg_dma_address(&fq->sg[i]) = fake_premapped_at(token, i);
		sg_dma_len(&fq->sg[i]) = token;
	}
	if (fake_is_one_way(fq->premapped))
		return in ? fake_add_in(fq->vq, fq->sg, in, (void *)token, NULL, true, fq->gfp) :
			    fake_add_out(fq->vq, fq->sg, out, (void *)token, true, fq->gfp);
	return virtqueue_add_sgs(fq->vq, sgs, !!out, !!in, (void *)token, fq->gfp);
}

/* Expect that the device finds buffer @token next. */
void fake_expect(struct kunit *test, struct fake_vq *fq, struct fake_buf *buf,
		 unsigned long token, unsigned int out, unsigned int in)
{
	unsigned int i;

	KUNIT_ASSERT_TRUE(test, fake_take(fq, buf));
	KUNIT_ASSERT_STREQ(test, fq->wrong ?: "", "");
	KUNIT_EXPECT_EQ(test, buf->descs, fq->indirect && out + in > 1 ? 1 : out + in);
	KUNIT_ASSERT_EQ(test, fq->num_segments, out + in);
	for (i = 0; i < out + in; i++) {
		const struct fake_segment *segment = &fq->segments[i];
		u64 addr = segment->addr, expected = fake_segment_at(fq, i);
		bool write = i >= out;

		if (fq->premapped)
			expected = fake_premapped_at(token, i);
		else if (fq->dma)
			addr = fake_dma_phys(fq->dma, addr, segment->len, segment->write);
		if (addr != expected || segment->len != token || segment->write != write)
			KUNIT_FAIL(test, "segment %u of %lu: at %llx, not %llx, len %u, write %d\n",
				   i, token, addr, expected, segment->len, segment->write);
	}
}

void fake_expect_none(struct kunit *test, struct fake_vq *fq)
{
	struct fake_buf buf;

	KUNIT_EXPECT_FALSE_MSG(test, fake_take(fq, &buf), "a buffer that was not added");
}

/* Add a buffer, and let the device take it. */
void fake_give(struct kunit *test, struct fake_vq *fq, struct fake_buf *buf,
	       unsigned long token, unsigned int out, unsigned int in)
{
	KUNIT_ASSERT_EQ(test, fake_add(fq, token, out, in), 0);
	fake_expect(test, fq, buf, token, out, in);
}

/* The device returns @bufs as one batch; it wrote @len bytes to the last of them. */
void fake_return(struct fake_vq *fq, const struct fake_buf *bufs, unsigned int num, u32 len)
{
	unsigned int i, descs = 0;

	for (i = 0; i < num; i++)
		descs += bufs[i].descs;
	fake_use(fq, bufs[num - 1].id, len, num, descs);
	fake_publish(fq);
}

/* Returns the token of the buffer that came back, or 0. */
unsigned long fake_get(struct fake_vq *fq, u32 *len)
{
	return (unsigned long)virtqueue_get_buf(fq->vq, len);
}

/* Expect that nothing is outstanding, mapped or allocated. */
void fake_expect_unused(struct kunit *test, struct fake_vq *fq)
{
	KUNIT_EXPECT_EQ(test, fq->vq->num_free, fq->num);
	KUNIT_EXPECT_EQ(test, fake_dma_mapped(fq->dma), 0);
	KUNIT_EXPECT_STREQ(test, fq->dma && fq->dma->wrong ? fq->dma->wrong : "", "");
}
