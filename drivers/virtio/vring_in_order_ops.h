/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VIRTIO_F_IN_ORDER: adding buffers and getting them back, for both layouts
 *
 * Included by virtio_ring.c, after the functions that it uses of it. See
 * vring_in_order.h for the state.
 *
 * In the ring's memory the device may write at any time whatever it likes. An element
 * is read once, where its batch is opened, and checked there against our own record
 * of the buffers. What follows, until the batch has been taken, is from that record.
 */
#ifndef _DRIVERS_VIRTIO_VRING_IN_ORDER_OPS_H
#define _DRIVERS_VIRTIO_VRING_IN_ORDER_OPS_H

#ifdef CONFIG_VIRTIO_IN_ORDER
static bool vring_in_order_wanted = true;
module_param_named(in_order, vring_in_order_wanted, bool, 0644);
MODULE_PARM_DESC(in_order, "Negotiate VIRTIO_F_IN_ORDER with devices probed from now on");
#else
#define vring_in_order_wanted false
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
struct vring_pieces {
	struct scatterlist **sgs;
	unsigned int out_sgs;
	unsigned int in_sgs;
	unsigned int total_sg;
};

/* How far the descriptors of a buffer have been written. */
struct vring_fill {
	u16 i;			/* where the next goes */
	unsigned int left;	/* pieces */
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

static __always_inline dma_addr_t vring_map_piece(const struct vring_virtqueue *vq, bool direct,
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

/*
 * Write the descriptors of one list, to the ring or to a table; an index is ANDed with
 * @mask. False: a piece could not be mapped.
 */
static __always_inline bool vring_fill_list_split(const struct vring_virtqueue *vq, bool direct,
						  struct vring_desc *desc,
						  struct vring_desc_extra *extra, u16 mask,
						  struct scatterlist *sg, bool write,
						  struct vring_fill *f)
{
	struct virtio_device *vdev = vq->vq.vdev;
	u16 flags = write ? VRING_DESC_F_WRITE : 0;

	for (; sg; sg = sg_next(sg)) {
		struct vring_desc *d = &desc[f->i];
		dma_addr_t addr;

		addr = vring_map_piece(vq, direct, sg, write, extra ? &extra[f->i] : NULL);
		if (unlikely(addr == DMA_MAPPING_ERROR))
			return false;
		if (write)
			f->writable += sg->length;

		d->addr = cpu_to_virtio64(vdev, addr);
		d->len = cpu_to_virtio32(vdev, sg->length);
		f->i = (f->i + 1) & mask;
		if (!--f->left) {
			d->flags = cpu_to_virtio16(vdev, flags);
			break;
		}
		d->flags = cpu_to_virtio16(vdev, flags | VRING_DESC_F_NEXT);
		d->next = cpu_to_virtio16(vdev, f->i);
	}
	return true;
}

static __always_inline bool vring_fill_split(const struct vring_virtqueue *vq,
					     struct vring_desc *desc,
					     struct vring_desc_extra *extra, u16 mask,
					     const struct vring_pieces *p, struct vring_fill *f)
{
	bool direct = vring_maps_direct(vq);
	unsigned int n;

	for (n = 0; n < p->out_sgs; n++) {
		if (!vring_fill_list_split(vq, direct, desc, extra, mask, p->sgs[n], false, f))
			return false;
	}
	for (; n < p->out_sgs + p->in_sgs; n++) {
		if (!vring_fill_list_split(vq, direct, desc, extra, mask, p->sgs[n], true, f))
			return false;
	}
	/* As many as the driver said there are */
	return !WARN_ON_ONCE(f->left);
}

#define VRING_PACKED_AVAIL_USED	(BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED))

/*
 * The same in the packed layout. In the ring, of @num descriptors, the flags of the one
 * at @head are left to the caller: they make the buffer available.
 */
static __always_inline bool vring_fill_list_packed(const struct vring_virtqueue *vq, bool direct,
						   struct vring_packed_desc *desc,
						   struct vring_desc_extra *extra,
						   unsigned int num, unsigned int head,
						   struct scatterlist *sg, bool write,
						   struct vring_fill *f)
{
	for (; sg; sg = sg_next(sg)) {
		struct vring_packed_desc *d = &desc[f->i];
		u16 flags = write ? VRING_DESC_F_WRITE : 0;
		dma_addr_t addr;

		addr = vring_map_piece(vq, direct, sg, write, extra ? &extra[f->i] : NULL);
		if (unlikely(addr == DMA_MAPPING_ERROR))
			return false;
		if (write)
			f->writable += sg->length;

		d->addr = cpu_to_le64(addr);
		d->len = cpu_to_le32(sg->length);
		f->left--;
		if (extra) {
			flags |= f->avail_used | (f->left ? VRING_DESC_F_NEXT : 0);
			d->id = cpu_to_le16(head);
			if (f->i == head)
				f->head_flags = flags;
			else
				d->flags = cpu_to_le16(flags);
		} else {
			d->id = 0;
			d->flags = cpu_to_le16(flags);
		}

		if (unlikely(++f->i == num)) {
			f->i = 0;
			f->avail_used ^= VRING_PACKED_AVAIL_USED;
		}
		if (!f->left)
			break;
	}
	return true;
}

static __always_inline bool vring_fill_packed(const struct vring_virtqueue *vq,
					      struct vring_packed_desc *desc,
					      struct vring_desc_extra *extra,
					      unsigned int num, unsigned int head,
					      const struct vring_pieces *p, struct vring_fill *f)
{
	bool direct = vring_maps_direct(vq);
	unsigned int n;

	for (n = 0; n < p->out_sgs; n++) {
		if (!vring_fill_list_packed(vq, direct, desc, extra, num, head, p->sgs[n],
					    false, f))
			return false;
	}
	for (; n < p->out_sgs + p->in_sgs; n++) {
		if (!vring_fill_list_packed(vq, direct, desc, extra, num, head, p->sgs[n],
					    true, f))
			return false;
	}
	/* As many as the driver said there are */
	return !WARN_ON_ONCE(f->left);
}

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
				     const struct vring_pieces *p, gfp_t gfp,
				     struct vring_desc_extra *extra, struct vring_table *t)
{
	struct vring_fill f = { .left = p->total_sg };
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
		vring_unmap_table(vq, t->entries, p->total_sg - f.left);
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

/* Note a buffer whose descriptors have been written, and make it available. */
static __always_inline void vring_publish_split(struct vring_virtqueue *vq, unsigned int num,
						unsigned int next, void *data, void *indir_desc,
						u32 writable)
{
	struct vring_virtqueue_split *split = &vq->split;
	struct virtio_device *vdev = vq->vq.vdev;
	unsigned int head = vq->free_head;
	struct vring_in_order_buf *buf = &split->in_order_buf[head];
	u16 avail = split->avail_idx_shadow;

	buf->data = data;
	buf->indir_desc = indir_desc;
	buf->writable = writable;
	buf->num = num;
	buf->seq = avail;
	vq->free_head = next;
	vq->vq.num_free -= num;

	split->vring.avail->ring[avail & (split->vring.num - 1)] = cpu_to_virtio16(vdev, head);
	/* The device reads the index before what it exposes */
	virtio_wmb(vq->weak_barriers);
	avail++;
	split->avail_idx_shadow = avail;
	split->vring.avail->idx = cpu_to_virtio16(vdev, avail);
	vq->num_added++;
}

static noinline int vring_add_table_split(struct vring_virtqueue *vq,
					  const struct vring_pieces *p, void *data, gfp_t gfp)
{
	struct vring_desc *desc = &vq->split.vring.desc[vq->free_head];
	struct virtio_device *vdev = vq->vq.vdev;
	struct vring_table t;
	int err;

	err = vring_make_table(vq, p, gfp, &vq->split.desc_extra[vq->free_head], &t);
	if (err)
		return err;
	desc->addr = cpu_to_virtio64(vdev, t.addr);
	desc->len = cpu_to_virtio32(vdev, t.len);
	desc->flags = cpu_to_virtio16(vdev, VRING_DESC_F_INDIRECT);
	vring_publish_split(vq, 1, (vq->free_head + 1) & (vq->split.vring.num - 1), data,
			    t.entries, t.writable);
	return 0;
}

/*
 * virtqueue_add() in order. -EIO: the virtqueue is broken; -ENOSPC: it is full;
 * -ENOMEM: not all could be mapped, and nothing has been added.
 */
static noinline int virtqueue_add_split_in_order(struct vring_virtqueue *vq,
						 const struct vring_pieces *p,
						 void *data, void *ctx, gfp_t gfp)
{
	struct vring_virtqueue_split *split = &vq->split;
	struct vring_fill f = { .i = vq->free_head, .left = p->total_sg };
	int err = vring_begin_add(vq, data, p->total_sg, ctx);

	if (unlikely(err))
		return err;

	if (virtqueue_use_indirect(vq, p->total_sg)) {
		err = vring_add_table_split(vq, p, data, gfp);
		if (err != -EAGAIN)
			goto end;
	}

	if (unlikely(vq->vq.num_free < p->total_sg)) {
		/* Longer than the ring it may be, but in a table */
		WARN_ON_ONCE(p->total_sg > split->vring.num && !vq->indirect);
		/* As the split ring always did: the device may not have seen the others */
		if (p->out_sgs)
			vq->notify(&vq->vq);
		err = -ENOSPC;
		goto end;
	}

	err = -ENOMEM;
	if (likely(vring_fill_split(vq, split->vring.desc, split->desc_extra,
				    split->vring.num - 1, p, &f))) {
		vring_publish_split(vq, p->total_sg, f.i, data, ctx, f.writable);
		err = 0;
	} else {
		vring_unmap_range(vq, split->desc_extra, split->vring.num, vq->free_head,
				  p->total_sg - f.left);
	}
end:
	vring_end_add(vq);
	return err;
}

static __always_inline void vring_publish_packed(struct vring_virtqueue *vq, unsigned int num,
						 unsigned int next, void *data, void *indir_desc,
						 u32 writable, u16 head_flags)
{
	struct vring_virtqueue_packed *packed = &vq->packed;
	unsigned int head = packed->next_avail_idx;
	struct vring_in_order_buf *buf = &packed->in_order_buf[head];

	buf->data = data;
	buf->indir_desc = indir_desc;
	buf->writable = writable;
	buf->num = num;
	packed->next_avail_idx = next;
	if (unlikely(next <= head)) {
		packed->avail_wrap_counter ^= 1;
		packed->avail_used_flags ^= VRING_PACKED_AVAIL_USED;
	}
	vq->vq.num_free -= num;
	vq->num_added += num;

	/* The device reads the first descriptor's flags before all of the rest */
	virtio_wmb(vq->weak_barriers);
	packed->vring.desc[head].flags = cpu_to_le16(head_flags);
}

static noinline int vring_add_table_packed(struct vring_virtqueue *vq,
					   const struct vring_pieces *p, void *data, gfp_t gfp)
{
	struct vring_virtqueue_packed *packed = &vq->packed;
	unsigned int head = packed->next_avail_idx;
	struct vring_packed_desc *desc = &packed->vring.desc[head];
	struct vring_table t;
	int err;

	err = vring_make_table(vq, p, gfp, &packed->desc_extra[head], &t);
	if (err)
		return err;
	desc->addr = cpu_to_le64(t.addr);
	desc->len = cpu_to_le32(t.len);
	desc->id = cpu_to_le16(head);
	vring_publish_packed(vq, 1, head + 1 == packed->vring.num ? 0 : head + 1, data, t.entries,
			     t.writable, packed->avail_used_flags | VRING_DESC_F_INDIRECT);
	return 0;
}

/*
 * Those after the first that have been written must not stay available: the next buffer
 * here may be shorter. As they would be if made available, and not used, one lap ago,
 * they are neither available nor used in this one.
 */
static noinline void vring_unpublish_packed(struct vring_virtqueue *vq, unsigned int num)
{
	struct vring_virtqueue_packed *packed = &vq->packed;
	u16 avail_used = packed->avail_used_flags;
	unsigned int i = packed->next_avail_idx;

	while (num-- > 1) {
		if (++i == packed->vring.num) {
			i = 0;
			avail_used ^= VRING_PACKED_AVAIL_USED;
		}
		packed->vring.desc[i].flags = cpu_to_le16(avail_used ^ VRING_PACKED_AVAIL_USED);
	}
}

static noinline int virtqueue_add_packed_in_order(struct vring_virtqueue *vq,
						  const struct vring_pieces *p,
						  void *data, void *ctx, gfp_t gfp)
{
	struct vring_virtqueue_packed *packed = &vq->packed;
	struct vring_fill f = {
		.i = packed->next_avail_idx,
		.left = p->total_sg,
		.avail_used = packed->avail_used_flags,
	};
	int err = vring_begin_add(vq, data, p->total_sg, ctx);

	if (unlikely(err))
		return err;

	if (virtqueue_use_indirect(vq, p->total_sg)) {
		err = vring_add_table_packed(vq, p, data, gfp);
		if (err != -EAGAIN)
			goto end;
	}

	if (unlikely(vq->vq.num_free < p->total_sg)) {
		WARN_ON_ONCE(p->total_sg > packed->vring.num && !vq->indirect);
		err = -ENOSPC;
		goto end;
	}

	err = -ENOMEM;
	if (likely(vring_fill_packed(vq, packed->vring.desc, packed->desc_extra,
				     packed->vring.num, packed->next_avail_idx, p, &f))) {
		vring_publish_packed(vq, p->total_sg, f.i, data, ctx, f.writable, f.head_flags);
		err = 0;
	} else {
		vring_unmap_range(vq, packed->desc_extra, packed->vring.num,
				  packed->next_avail_idx, p->total_sg - f.left);
		vring_unpublish_packed(vq, p->total_sg - f.left);
	}
end:
	vring_end_add(vq);
	return err;
}

static __always_inline int virtqueue_add_in_order(struct vring_virtqueue *vq,
						  struct scatterlist *sgs[],
						  unsigned int total_sg, unsigned int out_sgs,
						  unsigned int in_sgs, void *data, void *ctx,
						  gfp_t gfp)
{
	const struct vring_pieces p = { sgs, out_sgs, in_sgs, total_sg };

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

static noinline void *vring_bad_used_index(struct vring_virtqueue *vq, u16 idx)
{
	BAD_RING(vq, "used index %u is beyond what is available\n", idx);
	return NULL;
}

static noinline void *vring_bad_batch(struct vring_virtqueue *vq, u16 end)
{
	BAD_RING(vq, "a batch ends at %u, beyond the used index\n", end);
	return NULL;
}

/* The buffer after @last, of the batch that ends at @end. */
static __always_inline void *vring_take_split(struct vring_virtqueue *vq, u16 last, u16 end,
					      unsigned int *len, void **ctx)
{
	struct vring_virtqueue_split *split = &vq->split;
	struct vring_in_order *state = &vq->in_order;
	unsigned int head = state->head;
	struct vring_in_order_buf *buf = &split->in_order_buf[head];

	vq->last_used_idx = ++last;
	state->head = (head + buf->num) & (split->vring.num - 1);
	state->buffers++;
	if (last != end) {
		*len = buf->writable;
	} else {
		*len = state->batch_len;
		/*
		 * All that has been seen is taken: next time the index is read. Ask
		 * for an interrupt at what it does not yet expose, before that.
		 */
		if (last == state->seen && vq->event &&
		    !(split->avail_flags_shadow & VRING_AVAIL_F_NO_INTERRUPT))
			virtio_store_mb(vq->weak_barriers, &vring_used_event(&split->vring),
					cpu_to_virtio16(vq->vq.vdev, last));
	}
	LAST_ADD_TIME_INVALID(vq);
	END_USE(vq);
	return vring_detach_in_order(vq, buf, head, ctx);
}

/* Open the batch at @last, which @seen, the used index, exposes. */
static noinline void *vring_take_first_split(struct vring_virtqueue *vq, u16 last, u16 seen,
					     unsigned int *len, void **ctx)
{
	const struct vring_virtqueue_split *split = &vq->split;
	struct vring_in_order *state = &vq->in_order;
	struct virtio_device *vdev = vq->vq.vdev;
	const struct vring_used_elem *elem;
	u32 id;
	u16 end;

	if (seen != state->seen) {
		if (unlikely((u16)(seen - last) > (u16)(split->avail_idx_shadow - last)))
			return vring_bad_used_index(vq, seen);
		state->seen = seen;
		/* The elements after the index, which the device wrote the other way round */
		virtio_rmb(vq->weak_barriers);
	}

	elem = &split->vring.used->ring[last & (split->vring.num - 1)];
	id = virtio32_to_cpu(vdev, READ_ONCE(elem->id));
	if (!vring_has_id(split->in_order_buf, split->vring.num, id))
		return vring_bad_id(vq, split->vring.num, id);
	end = split->in_order_buf[id].seq + 1;
	if (unlikely((u16)(end - last) > (u16)(seen - last)))
		return vring_bad_batch(vq, end);

	state->batch_len = virtio32_to_cpu(vdev, READ_ONCE(elem->len));
	state->batch_end = end;
	state->batches++;
	return vring_take_split(vq, last, end, len, ctx);
}

static noinline void *virtqueue_get_buf_split_in_order(struct vring_virtqueue *vq,
						       unsigned int *len, void **ctx)
{
	u16 last = vq->last_used_idx, end = vq->in_order.batch_end, seen = vq->in_order.seen;

	if (unlikely(vq->broken))
		return NULL;
	START_USE(vq);
	if (last != end)
		return vring_take_split(vq, last, end, len, ctx);
	if (last == seen)
		seen = virtio16_to_cpu(vq->vq.vdev, READ_ONCE(vq->split.vring.used->idx));
	if (last != seen)
		return vring_take_first_split(vq, last, seen, len, ctx);
	END_USE(vq);
	return NULL;
}

/* The position @num descriptors after one, which is an index and, on top, the wrap counter */
static __always_inline u16 vring_packed_after(u16 position, unsigned int num,
					      unsigned int ring_num)
{
	unsigned int i = packed_last_used(position) + num;
	u16 wrap = position & BIT(VRING_PACKED_EVENT_F_WRAP_CTR);

	if (i >= ring_num) {
		i -= ring_num;
		wrap ^= BIT(VRING_PACKED_EVENT_F_WRAP_CTR);
	}
	return i | wrap;
}

/* The buffer at @last, of the batch that ends at @end. */
static __always_inline void *vring_take_packed(struct vring_virtqueue *vq, u16 last, u16 end,
					       unsigned int *len, void **ctx)
{
	struct vring_virtqueue_packed *packed = &vq->packed;
	struct vring_in_order *state = &vq->in_order;
	unsigned int head = packed_last_used(last);
	struct vring_in_order_buf *buf = &packed->in_order_buf[head];

	last = vring_packed_after(last, buf->num, packed->vring.num);
	/* vring_interrupt() may look */
	WRITE_ONCE(vq->last_used_idx, last);
	state->buffers++;
	if (last != end) {
		*len = buf->writable;
	} else {
		*len = state->batch_len;
		/* Ask for an interrupt at the next, before looking for it */
		if (packed->event_flags_shadow == VRING_PACKED_EVENT_FLAG_DESC)
			virtio_store_mb(vq->weak_barriers, &packed->vring.driver->off_wrap,
					cpu_to_le16(last));
	}
	LAST_ADD_TIME_INVALID(vq);
	END_USE(vq);
	return vring_detach_in_order(vq, buf, head, ctx);
}

/* Open the batch at @last, where the descriptor is used. */
static noinline void *vring_take_first_packed(struct vring_virtqueue *vq, u16 last,
					      unsigned int *len, void **ctx)
{
	const struct vring_virtqueue_packed *packed = &vq->packed;
	struct vring_in_order *state = &vq->in_order;
	const u16 wrap = BIT(VRING_PACKED_EVENT_F_WRAP_CTR);
	unsigned int ring_num = packed->vring.num;
	u16 first = packed_last_used(last);
	const struct vring_packed_desc *desc = &packed->vring.desc[first];
	u16 id, end;

	/* The rest after the flags, which the device wrote the other way round */
	virtio_rmb(vq->weak_barriers);

	id = le16_to_cpu(READ_ONCE(desc->id));
	if (!vring_has_id(packed->in_order_buf, ring_num, id))
		return vring_bad_id(vq, ring_num, id);
	/* Behind the last buffer, which may be on the next lap */
	end = vring_packed_after(id | ((last & wrap) ^ (id < first ? wrap : 0)),
				 packed->in_order_buf[id].num, ring_num);

	state->batch_len = le32_to_cpu(READ_ONCE(desc->len));
	/* So it may here */
	WRITE_ONCE(state->batch_end, end);
	state->batches++;
	return vring_take_packed(vq, last, end, len, ctx);
}

static noinline void *virtqueue_get_buf_packed_in_order(struct vring_virtqueue *vq,
							unsigned int *len, void **ctx)
{
	u16 last = vq->last_used_idx, end = vq->in_order.batch_end;

	if (unlikely(vq->broken))
		return NULL;
	START_USE(vq);
	if (last != end)
		return vring_take_packed(vq, last, end, len, ctx);
	if (is_used_desc_packed(vq, packed_last_used(last), packed_used_wrap_counter(last)))
		return vring_take_first_packed(vq, last, len, ctx);
	END_USE(vq);
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
