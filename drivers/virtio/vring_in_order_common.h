/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VIRTIO_F_IN_ORDER: the parts that do not depend on the layout
 *
 * virtio_ring.c includes this after the functions that it calls, and then
 * vring_in_order_split.h and vring_in_order_packed.h, which have the same functions under
 * the same names. vring_in_order.h describes the state.
 *
 * The device may write anything to the ring at any time. A used element is therefore read
 * only once, when its batch is opened, and is checked against our own record of the
 * buffers. Everything else, until the batch has been taken, comes from that record.
 */
#ifndef _DRIVERS_VIRTIO_VRING_IN_ORDER_COMMON_H
#define _DRIVERS_VIRTIO_VRING_IN_ORDER_COMMON_H

#ifndef VIRTIO_RING_C
#error "This header has functions for virtio_ring.c, and only that may include it."
#endif

static __always_inline enum vring_layout vring_layout(const struct vring_virtqueue *vq)
{
	/* Without the option, let the compiler see that there are only two layouts */
	if (!IS_ENABLED(CONFIG_VIRTIO_IN_ORDER))
		return vq->packed_ring ? VRING_PACKED : VRING_SPLIT;
	return vq->layout;
}

static __always_inline bool vring_is_in_order(const struct vring_virtqueue *vq)
{
	return vring_layout(vq) > VRING_PACKED;
}

/* Size of the record of a buffer. There is one for each descriptor. */
static size_t vring_state_size(const struct virtio_device *vdev, size_t plain)
{
	if (IS_ENABLED(CONFIG_VIRTIO_IN_ORDER) && virtio_has_feature(vdev, VIRTIO_F_IN_ORDER))
		return sizeof(struct vring_in_order_buf);
	return plain;
}

/* For a new virtqueue: choose the layout from the negotiated features. */
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

/*
 * The ring is new or has been reset (2.6.1): no buffer is outstanding, no batch is open,
 * and the first descriptor is number 0 (2.7.5).
 */
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
 * Are there buffers of a batch that have not been taken yet? In the packed layout nothing
 * else tells, because the device skipped the descriptor at last_used_idx instead of marking
 * it used (2.8.8). vring_interrupt() may call this at any time. It may then see a batch
 * open that has just been finished; but if it sees none open, last_used_idx was at the end
 * of a batch, which is where the next used descriptor will be.
 */
static bool vring_batch_open(const struct vring_virtqueue *vq)
{
	return vring_is_in_order(vq) &&
		READ_ONCE(vq->in_order.batch_end) != READ_ONCE(vq->last_used_idx);
}

/*
 * virtqueue_enable_cb_prepare() sets this in its opaque result when a batch is open, because
 * virtqueue_poll() may run concurrently with the next operation and must not look at the
 * state itself. The low 16 bits are the used index. Split needs no such bit: its used index
 * already covers the whole batch.
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
 * Adding buffers
 */

/* The scatterlists of a buffer, those that the device reads first (2.7.4.2, 2.8.17) */
struct vring_sg_lists {
	struct scatterlist **sgs;
	unsigned int out_sgs;
	unsigned int in_sgs;
	unsigned int total_sg;
};

/* Progress in writing the descriptors of a buffer */
struct vring_fill {
	u16 i;			/* index of the next descriptor */
	unsigned int remaining;	/* scatterlist entries to go */
	u32 writable;		/* device-writable bytes so far */
	u16 avail_used;		/* packed: the AVAIL and USED bits at @i (2.8.1) */
	u16 head_flags;		/* packed: flags of the first descriptor, written last */
};

/* Does the device use physical addresses, so that there is nothing to map? */
static __always_inline bool vring_maps_direct(const struct vring_virtqueue *vq)
{
	return likely(!vq->use_dma_api && !vq->premapped);
}

/*
 * Record the mapping in @extra for the time when it has to be undone: the device could have
 * changed the descriptor by then. @extra is NULL for an entry of an indirect table, which
 * the device cannot write.
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

/* Each layout has these, in vring_in_order_split.h and vring_in_order_packed.h. */
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

/* An indirect table, filled and mapped. Its buffer takes one descriptor of the ring. */
struct vring_table {
	void *entries;
	dma_addr_t addr;
	u32 len;
	u32 writable;
};

/*
 * Make the indirect table of a buffer (2.7.5.3, 2.8.7); @extra belongs to the descriptor that
 * will refer to it. Returns -EAGAIN if there is no memory for a table, so that the caller can
 * try without one, and -ENOMEM if the table or an entry cannot be mapped.
 */
static noinline int vring_make_table(const struct vring_virtqueue *vq,
				     const struct vring_sg_lists *p, gfp_t gfp,
				     struct vring_desc_extra *extra, struct vring_table *t)
{
	struct vring_fill f = { .remaining = p->total_sg };
	bool filled;

	BUILD_BUG_ON(sizeof(struct vring_desc) != sizeof(struct vring_packed_desc));
	t->len = p->total_sg * sizeof(struct vring_desc);
	/* The device gets its physical address, so it cannot be in high memory */
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

/* How adding a buffer begins in both layouts */
static __always_inline int vring_begin_add(struct vring_virtqueue *vq, const void *data,
					   unsigned int total_sg, const void *ctx)
{
	/* The context would be stored where the indirect table is */
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
	/* Only 16 bits of num_added are looked at, and the next buffer may add 32768 */
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
 * Getting buffers back
 */

/* Undo the mappings of a buffer that came back, and free its table. Returns @data. */
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

/* Take the buffer at @head back from the device. Returns its token. */
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

/* Does @id name a buffer that the device holds? */
static __always_inline bool vring_has_id(const struct vring_in_order_buf *bufs,
					 unsigned int ring_num, u32 id)
{
	return likely(id < ring_num && bufs[id].data);
}

/* The device wrote nonsense: log it once, and mark the virtqueue broken. */
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
 * Take the oldest buffer back from a device that has stopped, whether a batch is open or not.
 * The outstanding buffers are those just before the next one to be added. Returns NULL if
 * there are none left.
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
