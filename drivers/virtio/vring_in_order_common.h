/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VIRTIO_F_IN_ORDER: what the layouts have in common
 *
 * Included by virtio_ring.c, after the functions that it uses of it, and then
 * vring_in_order_split.h and vring_in_order_packed.h, which have the same functions each
 * under the same names. See vring_in_order.h for the state.
 *
 * In the ring's memory the device may write at any time whatever it likes. An element
 * is read once, where its batch is opened, and checked there against our own record
 * of the buffers. What follows, until the batch has been taken, is from that record.
 */
#ifndef _DRIVERS_VIRTIO_VRING_IN_ORDER_COMMON_H
#define _DRIVERS_VIRTIO_VRING_IN_ORDER_COMMON_H

#ifndef VIRTIO_RING_C
#error "This header has functions for virtio_ring.c, and only that may include it."
#endif

static __always_inline enum vring_layout vring_layout(const struct vring_virtqueue *vq)
{
	/* So that the compiler sees that there are two, if there are two */
	if (!IS_ENABLED(CONFIG_VIRTIO_IN_ORDER))
		return vq->packed_ring ? VRING_PACKED : VRING_SPLIT;
	return vq->layout;
}

static __always_inline bool vring_is_in_order(const struct vring_virtqueue *vq)
{
	return vring_layout(vq) > VRING_PACKED;
}

/* How large the record of a buffer is; there are as many as descriptors. */
static size_t vring_state_size(const struct virtio_device *vdev, size_t plain)
{
	if (IS_ENABLED(CONFIG_VIRTIO_IN_ORDER) && virtio_has_feature(vdev, VIRTIO_F_IN_ORDER))
		return sizeof(struct vring_in_order_buf);
	return plain;
}

/* Of a virtqueue that is being made, from the features that were negotiated. */
static void vring_set_layout(struct vring_virtqueue *vq)
{
	const struct virtio_device *vdev = vq->vq.vdev;
	bool in_order = IS_ENABLED(CONFIG_VIRTIO_IN_ORDER) &&
			virtio_has_feature(vdev, VIRTIO_F_IN_ORDER);

	if (virtio_has_feature(vdev, VIRTIO_F_RING_PACKED))
		vq->layout = in_order ? VRING_PACKED_IN_ORDER : VRING_PACKED;
	else
		vq->layout = in_order ? VRING_SPLIT_IN_ORDER : VRING_SPLIT;
	memset(&vq->in_order, 0, sizeof(vq->in_order));
}

/* A ring that is new or to be used anew: nothing outstanding, no batch open. */
static void vring_reset_in_order(struct vring_virtqueue *vq)
{
	if (!vring_is_in_order(vq))
		return;
	vq->free_head = 0;
	vq->in_order.head = 0;
	vq->in_order.seen = vq->last_used_idx;
	vq->in_order.batch_end = vq->last_used_idx;
}

/*
 * Whether buffers of a batch are still to be taken. On the packed ring nothing else
 * says so: the descriptor at last_used_idx was skipped, not used. vring_interrupt()
 * calls this at any time: it may see a batch that has just ended, but if it sees none
 * then last_used_idx was at the end of one, which is where to look for the next.
 */
static bool vring_batch_open(const struct vring_virtqueue *vq)
{
	return vring_is_in_order(vq) &&
		READ_ONCE(vq->in_order.batch_end) != READ_ONCE(vq->last_used_idx);
}

/*
 * virtqueue_enable_cb_prepare() says it in what virtqueue_poll() is given, which may
 * come when the next operation on the virtqueue is under way. The rest of the value
 * are 16 bits. On the split ring the used index is enough: it covers the batch.
 */
#define VRING_POLL_BATCH_OPEN	BIT(16)

static noinline unsigned int virtqueue_enable_cb_prepare_in_order(struct vring_virtqueue *vq)
{
	if (!vq->packed_ring)
		return virtqueue_enable_cb_prepare_split(&vq->vq);
	return virtqueue_enable_cb_prepare_packed(&vq->vq) |
		(vring_batch_open(vq) ? VRING_POLL_BATCH_OPEN : 0);
}

static noinline bool virtqueue_poll_in_order(struct vring_virtqueue *vq, unsigned int state)
{
	if (!vq->packed_ring)
		return virtqueue_poll_split(&vq->vq, state);
	return state & VRING_POLL_BATCH_OPEN || virtqueue_poll_packed(&vq->vq, state);
}

/*
 * Adding
 */

/* The pieces of a buffer: lists, first those that the device reads. */
struct vring_sg_lists {
	struct scatterlist **sgs;
	unsigned int out_sgs;
	unsigned int in_sgs;
	unsigned int total_sg;
};

/* How far the descriptors of a buffer have been written. */
struct vring_fill {
	u16 i;			/* where the next goes */
	unsigned int remaining;	/* sgs */
	u32 writable;		/* bytes, so far */
	u16 avail_used;		/* packed: these bits, at @i */
	u16 head_flags;		/* packed: of the first, which come last */
};

/* No more to a mapping than where the piece is? */
static __always_inline bool vring_maps_direct(const struct vring_virtqueue *vq)
{
	return likely(!vq->use_dma_api && !vq->premapped);
}

/*
 * To unmap the piece, what the ring says of it is not to be trusted. @extra is NULL in
 * an indirect table, which the device cannot write.
 */
static noinline dma_addr_t vring_map_by_dma_api(const struct vring_virtqueue *vq,
						struct scatterlist *sg,
						enum dma_data_direction dir,
						struct vring_desc_extra *extra)
{
	dma_addr_t addr;

	if (vring_map_one_sg(vq, sg, dir, &addr))
		return DMA_MAPPING_ERROR;
	if (extra) {
		extra->addr = addr;
		extra->len = sg->length;
		extra->flags = dir == DMA_FROM_DEVICE ? VRING_DESC_F_WRITE : 0;
	}
	return addr;
}

static __always_inline dma_addr_t vring_map_sg(const struct vring_virtqueue *vq, bool direct,
					       struct scatterlist *sg, bool write,
					       struct vring_desc_extra *extra)
{
	enum dma_data_direction dir = write ? DMA_FROM_DEVICE : DMA_TO_DEVICE;

	if (!direct)
		return vring_map_by_dma_api(vq, sg, dir, extra);
	kmsan_handle_dma(sg_page(sg), sg->offset, sg->length, dir);
	return sg_phys(sg);
}

static noinline void vring_unmap_range(const struct vring_virtqueue *vq,
				       const struct vring_desc_extra *extra,
				       unsigned int ring_num, unsigned int i, unsigned int num)
{
	for (; num; num--) {
		vring_unmap_extra_packed(vq, &extra[i]);
		if (++i == ring_num)
			i = 0;
	}
}

static noinline void vring_unmap_table(const struct vring_virtqueue *vq, const void *table,
				       unsigned int num)
{
	unsigned int i;

	for (i = 0; i < num; i++) {
		if (vq->packed_ring)
			vring_unmap_desc_packed(vq, (const struct vring_packed_desc *)table + i);
		else
			vring_unmap_one_split_indirect(vq, (const struct vring_desc *)table + i);
	}
}

/* What each layout has; vring_in_order_split.h and vring_in_order_packed.h say more of it */
static __always_inline bool vring_fill_split(const struct vring_virtqueue *vq,
					     struct vring_desc *desc,
					     struct vring_desc_extra *extra, u16 mask,
					     const struct vring_sg_lists *p, struct vring_fill *f);
static __always_inline bool vring_fill_packed(const struct vring_virtqueue *vq,
					      struct vring_packed_desc *desc,
					      struct vring_desc_extra *extra,
					      unsigned int num, unsigned int head,
					      const struct vring_sg_lists *p, struct vring_fill *f);
static noinline int virtqueue_add_split_in_order(struct vring_virtqueue *vq,
						 const struct vring_sg_lists *p,
						 void *data, void *ctx, gfp_t gfp);
static noinline int virtqueue_add_packed_in_order(struct vring_virtqueue *vq,
						  const struct vring_sg_lists *p,
						  void *data, void *ctx, gfp_t gfp);
static noinline void *virtqueue_get_buf_split_in_order(struct vring_virtqueue *vq,
						       unsigned int *len, void **ctx);
static noinline void *virtqueue_get_buf_packed_in_order(struct vring_virtqueue *vq,
							unsigned int *len, void **ctx);

/* A table, filled and mapped, for a buffer that takes one descriptor. */
struct vring_table {
	void *entries;
	dma_addr_t addr;
	u32 len;
	u32 writable;
};

/*
 * @extra: of that descriptor. -EAGAIN: there is no memory, but without a table the
 * buffer may fit the ring; -ENOMEM: a piece could not be mapped, or the table.
 */
static noinline int vring_make_table(const struct vring_virtqueue *vq,
				     const struct vring_sg_lists *p, gfp_t gfp,
				     struct vring_desc_extra *extra, struct vring_table *t)
{
	struct vring_fill f = { .remaining = p->total_sg };
	bool filled;

	BUILD_BUG_ON(sizeof(struct vring_desc) != sizeof(struct vring_packed_desc));
	t->len = p->total_sg * sizeof(struct vring_desc);
	/* virt_to_phys() has to work on it */
	t->entries = kmalloc_array(p->total_sg, sizeof(struct vring_desc),
				   gfp & ~__GFP_HIGHMEM);
	if (!t->entries)
		return -EAGAIN;

	filled = vq->packed_ring ?
		vring_fill_packed(vq, t->entries, NULL, p->total_sg + 1, 0, p, &f) :
		vring_fill_split(vq, t->entries, NULL, U16_MAX, p, &f);
	if (filled) {
		t->addr = vring_map_single(vq, t->entries, t->len, DMA_TO_DEVICE);
		filled = !vring_mapping_error(vq, t->addr);
	}
	if (!filled) {
		vring_unmap_table(vq, t->entries, p->total_sg - f.remaining);
		kfree(t->entries);
		return -ENOMEM;
	}
	t->writable = f.writable;
	extra->addr = t->addr;
	extra->len = t->len;
	extra->flags = VRING_DESC_F_INDIRECT;
	return 0;
}

/* The same start and end for both layouts. */
static __always_inline int vring_begin_add(struct vring_virtqueue *vq, const void *data,
					   unsigned int total_sg, const void *ctx)
{
	/* The place of the context is the indirect table's */
	if (WARN_ON_ONCE(!data || !total_sg || (ctx && vq->indirect)))
		return -EINVAL;
	if (unlikely(vq->broken))
		return -EIO;
	START_USE(vq);
	LAST_ADD_TIME_UPDATE(vq);
	return 0;
}

static __always_inline void vring_end_add(struct vring_virtqueue *vq)
{
	END_USE(vq);
	/* It is to be told from its value in 16 bits, and the next may add 32768 */
	if (unlikely(vq->num_added >= U16_MAX / 2))
		virtqueue_kick(&vq->vq);
}

static __always_inline int virtqueue_add_in_order(struct vring_virtqueue *vq,
						  struct scatterlist *sgs[],
						  unsigned int total_sg, unsigned int out_sgs,
						  unsigned int in_sgs, void *data, void *ctx,
						  gfp_t gfp)
{
	const struct vring_sg_lists p = { sgs, out_sgs, in_sgs, total_sg };

	return vring_layout(vq) == VRING_SPLIT_IN_ORDER ?
		virtqueue_add_split_in_order(vq, &p, data, ctx, gfp) :
		virtqueue_add_packed_in_order(vq, &p, data, ctx, gfp);
}

/*
 * Getting them back
 */

/* What is left of a buffer that came back: mappings, the table. Returns @data. */
static noinline void *vring_release(const struct vring_virtqueue *vq,
				    const struct vring_in_order_buf *buf, unsigned int head,
				    void *data)
{
	const struct vring_desc_extra *extra = vq->packed_ring ? vq->packed.desc_extra :
								 vq->split.desc_extra;

	if (vq->use_dma_api)
		vring_unmap_range(vq, extra, virtqueue_get_vring_size(&vq->vq), head, buf->num);
	if (vq->indirect && buf->indir_desc) {
		if (vq->do_unmap)
			vring_unmap_table(vq, buf->indir_desc,
					  extra[head].len / sizeof(struct vring_desc));
		kfree(buf->indir_desc);
	}
	return data;
}

/* The buffer at @head is the driver's again. Returns its token. */
static __always_inline void *vring_detach_in_order(struct vring_virtqueue *vq,
						   struct vring_in_order_buf *buf,
						   unsigned int head, void **ctx)
{
	void *data = buf->data;

	buf->data = NULL;
	vq->vq.num_free += buf->num;
	if (ctx && !vq->indirect)
		*ctx = buf->indir_desc;
	if (unlikely(vq->use_dma_api || (vq->indirect && buf->indir_desc)))
		return vring_release(vq, buf, head, data);
	return data;
}

/* What the device says has to be a buffer that it has. */
static __always_inline bool vring_has_id(const struct vring_in_order_buf *bufs,
					 unsigned int ring_num, u32 id)
{
	return likely(id < ring_num && bufs[id].data);
}

/* What the device wrote cannot be: one message, and no more of it. */
static noinline void *vring_bad_id(struct vring_virtqueue *vq, unsigned int ring_num, u32 id)
{
	if (id >= ring_num)
		BAD_RING(vq, "id %u out of range\n", id);
	else
		BAD_RING(vq, "id %u is not a head!\n", id);
	return NULL;
}

static __always_inline void *virtqueue_get_buf_in_order(struct vring_virtqueue *vq,
							unsigned int *len, void **ctx)
{
	return vring_layout(vq) == VRING_SPLIT_IN_ORDER ?
		virtqueue_get_buf_split_in_order(vq, len, ctx) :
		virtqueue_get_buf_packed_in_order(vq, len, ctx);
}

/*
 * The oldest buffer of a device that has stopped, with a batch open or not; NULL: there
 * is none. They are those before the next to be added.
 */
static void *virtqueue_detach_unused_buf_in_order(struct vring_virtqueue *vq)
{
	unsigned int ring_num = virtqueue_get_vring_size(&vq->vq);
	unsigned int left = ring_num - vq->vq.num_free;
	struct vring_in_order_buf *buf;
	unsigned int next, head;
	void *data = NULL;

	START_USE(vq);
	vq->in_order.batch_end = vq->last_used_idx;
	if (left) {
		next = vq->packed_ring ? vq->packed.next_avail_idx : vq->free_head;
		head = next >= left ? next - left : next + ring_num - left;
		buf = vq->packed_ring ? &vq->packed.in_order_buf[head] :
					&vq->split.in_order_buf[head];
		data = vring_detach_in_order(vq, buf, head, NULL);
	}
	END_USE(vq);
	return data;
}

#endif
