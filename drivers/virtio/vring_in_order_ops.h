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

static inline bool vring_is_in_order(const struct vring_virtqueue *vq)
{
	return IS_ENABLED(CONFIG_VIRTIO_IN_ORDER) && vq->layout >= VRING_SPLIT_IN_ORDER;
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
 * are 16 bits.
 */
#define VRING_POLL_BATCH_OPEN	BIT(16)

static unsigned int vring_poll_in_order(const struct vring_virtqueue *vq)
{
	return vring_batch_open(vq) ? VRING_POLL_BATCH_OPEN : 0;
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

static __always_inline u16 vring_after(u16 i, unsigned int num)
{
	return i + 1 == num ? 0 : i + 1;
}

/*
 * To unmap a piece, what the ring says of it is not to be trusted. @extra is NULL in
 * an indirect table, which the device cannot write.
 */
static __always_inline int vring_map_piece(const struct vring_virtqueue *vq,
					   struct scatterlist *sg, u16 flags,
					   struct vring_desc_extra *extra, dma_addr_t *addr)
{
	int err = vring_map_one_sg(vq, sg, flags & VRING_DESC_F_WRITE ?
				   DMA_FROM_DEVICE : DMA_TO_DEVICE, addr);

	if (!err && extra && unlikely(vq->use_dma_api)) {
		extra->addr = *addr;
		extra->len = sg->length;
		extra->flags = flags;
	}
	return err;
}

static noinline void vring_unmap_range(const struct vring_virtqueue *vq,
				       const struct vring_desc_extra *extra,
				       unsigned int ring_num, u16 i, unsigned int num)
{
	for (; num; num--) {
		vring_unmap_extra_packed(vq, &extra[i]);
		i = vring_after(i, ring_num);
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
 * The table for a buffer that is to take one descriptor. NULL: it takes as many as it
 * has pieces, which is also the way out when there is no memory for a table.
 */
static void *vring_alloc_table(const struct vring_virtqueue *vq, unsigned int total_sg,
			       gfp_t gfp)
{
	BUILD_BUG_ON(sizeof(struct vring_desc) != sizeof(struct vring_packed_desc));

	if (!virtqueue_use_indirect(vq, total_sg))
		return NULL;
	/* virt_to_phys() has to work on it */
	return kmalloc_array(total_sg, sizeof(struct vring_desc), gfp & ~__GFP_HIGHMEM);
}

/* When it is filled. Not mapped: nor are its pieces any more, and it is gone. */
static int vring_map_table(const struct vring_virtqueue *vq, void *table,
			   unsigned int total_sg, struct vring_desc_extra *extra,
			   dma_addr_t *addr)
{
	u32 len = total_sg * sizeof(struct vring_desc);

	*addr = vring_map_single(vq, table, len, DMA_TO_DEVICE);
	if (vring_mapping_error(vq, *addr)) {
		vring_unmap_table(vq, table, total_sg);
		return -ENOMEM;
	}
	extra->addr = *addr;
	extra->len = len;
	extra->flags = VRING_DESC_F_INDIRECT;
	return 0;
}

/*
 * Write the descriptors of a buffer: from @head on in the ring, of @num, or all @num
 * of an indirect table. Returns the index behind the last, or -ENOMEM, with no piece
 * mapped.
 */
static __always_inline int vring_fill_split(const struct vring_virtqueue *vq,
					    struct vring_desc *desc,
					    struct vring_desc_extra *extra, unsigned int num,
					    unsigned int head, const struct vring_pieces *p,
					    u32 *writable)
{
	struct virtio_device *vdev = vq->vq.vdev;
	unsigned int n, left = p->total_sg;
	u16 i = head;

	for (n = 0; n < p->out_sgs + p->in_sgs; n++) {
		u16 flags = n < p->out_sgs ? 0 : VRING_DESC_F_WRITE;
		struct scatterlist *sg;

		for (sg = p->sgs[n]; sg; sg = sg_next(sg)) {
			u16 next = vring_after(i, num);
			dma_addr_t addr;

			if (vring_map_piece(vq, sg, flags, extra ? &extra[i] : NULL, &addr))
				goto unmap;
			if (flags)
				*writable += sg->length;

			desc[i].addr = cpu_to_virtio64(vdev, addr);
			desc[i].len = cpu_to_virtio32(vdev, sg->length);
			if (!--left) {
				desc[i].flags = cpu_to_virtio16(vdev, flags);
				return next;
			}
			desc[i].flags = cpu_to_virtio16(vdev, flags | VRING_DESC_F_NEXT);
			desc[i].next = cpu_to_virtio16(vdev, next);
			i = next;
		}
	}

	/* Fewer pieces than the driver said there are */
	WARN_ON_ONCE(1);
unmap:
	if (extra)
		vring_unmap_range(vq, extra, num, head, p->total_sg - left);
	else
		vring_unmap_table(vq, desc, p->total_sg - left);
	return -ENOMEM;
}

#define VRING_PACKED_AVAIL_USED	(BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED))

/*
 * The same on the packed ring, with @avail_used in the flags of each descriptor. Those
 * of the first in the ring are left to the caller: they make the buffer available.
 */
static __always_inline int vring_fill_packed(const struct vring_virtqueue *vq,
					     struct vring_packed_desc *desc,
					     struct vring_desc_extra *extra, unsigned int num,
					     unsigned int head, const struct vring_pieces *p,
					     u16 avail_used, u16 *head_flags, u32 *writable)
{
	unsigned int n, left = p->total_sg;
	u16 i = head;

	for (n = 0; n < p->out_sgs + p->in_sgs; n++) {
		u16 write = n < p->out_sgs ? 0 : VRING_DESC_F_WRITE;
		struct scatterlist *sg;

		for (sg = p->sgs[n]; sg; sg = sg_next(sg)) {
			u16 flags = avail_used | write;
			dma_addr_t addr;

			if (vring_map_piece(vq, sg, write, extra ? &extra[i] : NULL, &addr))
				goto unmap;
			if (write)
				*writable += sg->length;

			left--;
			/* Entries of a table are not chained */
			if (extra && left)
				flags |= VRING_DESC_F_NEXT;
			desc[i].addr = cpu_to_le64(addr);
			desc[i].len = cpu_to_le32(sg->length);
			desc[i].id = cpu_to_le16(extra ? head : 0);
			if (extra && i == head)
				*head_flags = flags;
			else
				desc[i].flags = cpu_to_le16(flags);

			if (++i == num) {
				i = 0;
				avail_used ^= VRING_PACKED_AVAIL_USED;
			}
			if (!left)
				return i;
		}
	}

	/* Fewer pieces than the driver said there are */
	WARN_ON_ONCE(1);
unmap:
	if (!extra) {
		vring_unmap_table(vq, desc, p->total_sg - left);
		return -ENOMEM;
	}
	vring_unmap_range(vq, extra, num, head, p->total_sg - left);
	/*
	 * What follows the first must not stay available: the next buffer here may be
	 * shorter. As they would be if made available, and not used, one lap ago, they
	 * are neither available nor used in this one.
	 */
	for (n = p->total_sg - left; n > 1; n--) {
		if (i == 0) {
			i = num;
			avail_used ^= VRING_PACKED_AVAIL_USED;
		}
		desc[--i].flags = cpu_to_le16(avail_used ^ VRING_PACKED_AVAIL_USED);
	}
	return -ENOMEM;
}

/*
 * virtqueue_add() in order. 0, or -EIO: the virtqueue is broken; -ENOSPC: it is full;
 * -ENOMEM: a piece or the table could not be mapped, and nothing has been added.
 */
static int virtqueue_add_split_in_order(struct vring_virtqueue *vq,
					const struct vring_pieces *p,
					void *data, void *ctx, gfp_t gfp)
{
	struct vring_virtqueue_split *split = &vq->split;
	struct vring_desc *table = vring_alloc_table(vq, p->total_sg, gfp);
	unsigned int num = table ? 1 : p->total_sg;
	struct virtio_device *vdev = vq->vq.vdev;
	unsigned int ring_num = split->vring.num;
	unsigned int head = vq->free_head;
	struct vring_in_order_buf *buf;
	u32 writable = 0;
	int next;

	if (unlikely(vq->vq.num_free < num)) {
		/* Longer than the ring it may be, but in a table */
		WARN_ON_ONCE(num > ring_num && !vq->indirect);
		/* As the split ring always did: the device may not have seen the others */
		if (p->out_sgs)
			vq->notify(&vq->vq);
		kfree(table);
		return -ENOSPC;
	}

	if (table) {
		struct vring_desc *desc = &split->vring.desc[head];
		dma_addr_t addr;

		next = vring_fill_split(vq, table, NULL, p->total_sg, 0, p, &writable);
		if (next >= 0)
			next = vring_map_table(vq, table, p->total_sg, &split->desc_extra[head],
					       &addr);
		if (next < 0) {
			kfree(table);
			return next;
		}
		desc->addr = cpu_to_virtio64(vdev, addr);
		desc->len = cpu_to_virtio32(vdev, p->total_sg * sizeof(*table));
		desc->flags = cpu_to_virtio16(vdev, VRING_DESC_F_INDIRECT);
		next = vring_after(head, ring_num);
		ctx = table;
	} else {
		next = vring_fill_split(vq, split->vring.desc, split->desc_extra, ring_num,
					head, p, &writable);
		if (next < 0)
			return next;
	}

	buf = &split->in_order_buf[head];
	buf->data = data;
	buf->indir_desc = ctx;
	buf->writable = writable;
	buf->num = num;
	buf->seq = split->avail_idx_shadow;
	vq->free_head = next;
	vq->vq.num_free -= num;

	split->vring.avail->ring[split->avail_idx_shadow & (ring_num - 1)] =
		cpu_to_virtio16(vdev, head);
	/* The device reads the index before what it exposes */
	virtio_wmb(vq->weak_barriers);
	split->vring.avail->idx = cpu_to_virtio16(vdev, ++split->avail_idx_shadow);
	vq->num_added++;
	return 0;
}

static int virtqueue_add_packed_in_order(struct vring_virtqueue *vq,
					 const struct vring_pieces *p,
					 void *data, void *ctx, gfp_t gfp)
{
	struct vring_virtqueue_packed *packed = &vq->packed;
	struct vring_packed_desc *table = vring_alloc_table(vq, p->total_sg, gfp);
	unsigned int num = table ? 1 : p->total_sg;
	unsigned int ring_num = packed->vring.num;
	unsigned int head = packed->next_avail_idx;
	struct vring_packed_desc *desc = &packed->vring.desc[head];
	struct vring_in_order_buf *buf;
	u32 writable = 0;
	u16 head_flags;
	int next;

	if (unlikely(vq->vq.num_free < num)) {
		/* Longer than the ring it may be, but in a table */
		WARN_ON_ONCE(num > ring_num && !vq->indirect);
		kfree(table);
		return -ENOSPC;
	}

	if (table) {
		dma_addr_t addr;

		next = vring_fill_packed(vq, table, NULL, p->total_sg, 0, p, 0, &head_flags,
					 &writable);
		if (next >= 0)
			next = vring_map_table(vq, table, p->total_sg, &packed->desc_extra[head],
					       &addr);
		if (next < 0) {
			kfree(table);
			return next;
		}
		desc->addr = cpu_to_le64(addr);
		desc->len = cpu_to_le32(p->total_sg * sizeof(*table));
		desc->id = cpu_to_le16(head);
		head_flags = packed->avail_used_flags | VRING_DESC_F_INDIRECT;
		next = vring_after(head, ring_num);
		ctx = table;
	} else {
		next = vring_fill_packed(vq, packed->vring.desc, packed->desc_extra, ring_num,
					 head, p, packed->avail_used_flags, &head_flags,
					 &writable);
		if (next < 0)
			return next;
	}

	buf = &packed->in_order_buf[head];
	buf->data = data;
	buf->indir_desc = ctx;
	buf->writable = writable;
	buf->num = num;
	packed->next_avail_idx = next;
	if (next <= head) {
		packed->avail_wrap_counter ^= 1;
		packed->avail_used_flags ^= VRING_PACKED_AVAIL_USED;
	}
	vq->vq.num_free -= num;
	vq->num_added += num;

	/* The device reads the first descriptor's flags before all of the rest */
	virtio_wmb(vq->weak_barriers);
	desc->flags = cpu_to_le16(head_flags);
	return 0;
}

static int virtqueue_add_in_order(struct vring_virtqueue *vq, struct scatterlist *sgs[],
				  unsigned int total_sg, unsigned int out_sgs,
				  unsigned int in_sgs, void *data, void *ctx, gfp_t gfp)
{
	const struct vring_pieces p = { sgs, out_sgs, in_sgs, total_sg };
	int err;

	/* The place of the context is the indirect table's */
	if (WARN_ON_ONCE(!data || !total_sg || (ctx && vq->indirect)))
		return -EINVAL;

	START_USE(vq);
	if (unlikely(vq->broken)) {
		err = -EIO;
	} else {
		LAST_ADD_TIME_UPDATE(vq);
		err = vq->packed_ring ? virtqueue_add_packed_in_order(vq, &p, data, ctx, gfp) :
					virtqueue_add_split_in_order(vq, &p, data, ctx, gfp);
	}
	END_USE(vq);
	/* It is to be told from its value in 16 bits, and the next may add 32768 */
	if (unlikely(vq->num_added >= U16_MAX / 2))
		virtqueue_kick(&vq->vq);
	return err;
}

/*
 * Getting them back
 */

/* A table that was used, with its pieces, where nobody else unmaps them. */
static noinline void vring_free_table(const struct vring_virtqueue *vq, void *table,
				      const struct vring_desc_extra *extra)
{
	if (vq->do_unmap)
		vring_unmap_table(vq, table, extra->len / sizeof(struct vring_desc));
	kfree(table);
}

/* The buffer at @head is the driver's again. Returns its token. */
static __always_inline void *vring_detach_in_order(struct vring_virtqueue *vq,
						   struct vring_in_order_buf *buf,
						   struct vring_desc_extra *extra,
						   unsigned int ring_num, unsigned int head,
						   void **ctx)
{
	void *data = buf->data;

	buf->data = NULL;
	vq->vq.num_free += buf->num;
	if (unlikely(vq->use_dma_api))
		vring_unmap_range(vq, extra, ring_num, head, buf->num);
	if (vq->indirect) {
		if (buf->indir_desc)
			vring_free_table(vq, buf->indir_desc, &extra[head]);
	} else if (ctx) {
		*ctx = buf->indir_desc;
	}
	return data;
}

/* What the device says has to be a buffer that it has: its record, or NULL. */
static __always_inline struct vring_in_order_buf *
vring_check_id(struct vring_virtqueue *vq, struct vring_in_order_buf *bufs,
	       unsigned int ring_num, u32 id)
{
	if (unlikely(id >= ring_num)) {
		BAD_RING(vq, "id %u out of range\n", id);
		return NULL;
	}
	if (unlikely(!bufs[id].data)) {
		BAD_RING(vq, "id %u is not a head!\n", id);
		return NULL;
	}
	return &bufs[id];
}

static bool vring_open_batch_split(struct vring_virtqueue *vq)
{
	const struct vring_used *used = vq->split.vring.used;
	struct vring_in_order *state = &vq->in_order;
	struct virtio_device *vdev = vq->vq.vdev;
	u16 last = vq->last_used_idx;
	const struct vring_used_elem *elem;
	const struct vring_in_order_buf *buf;
	u16 end;

	if (last == state->seen) {
		u16 seen = virtio16_to_cpu(vdev, READ_ONCE(used->idx));

		if (seen == last)
			return false;
		if (unlikely((u16)(seen - last) > (u16)(vq->split.avail_idx_shadow - last))) {
			BAD_RING(vq, "used index %u is beyond what is available\n", seen);
			return false;
		}
		state->seen = seen;
		/* The elements after the index, which the device wrote the other way round */
		virtio_rmb(vq->weak_barriers);
	}

	elem = &used->ring[last & (vq->split.vring.num - 1)];
	buf = vring_check_id(vq, vq->split.in_order_buf, vq->split.vring.num,
			     virtio32_to_cpu(vdev, READ_ONCE(elem->id)));
	if (unlikely(!buf))
		return false;
	end = buf->seq + 1;
	if (unlikely((u16)(end - last) > (u16)(state->seen - last))) {
		BAD_RING(vq, "a batch ends at %u, beyond used index %u\n", end, state->seen);
		return false;
	}
	state->batch_len = virtio32_to_cpu(vdev, READ_ONCE(elem->len));
	state->batch_end = end;
	state->batches++;
	return true;
}

static void *virtqueue_get_buf_split_in_order(struct vring_virtqueue *vq, unsigned int *len,
					      void **ctx)
{
	struct vring_virtqueue_split *split = &vq->split;
	struct vring_in_order *state = &vq->in_order;
	unsigned int ring_num = split->vring.num;
	struct vring_in_order_buf *buf;
	u16 head = state->head;
	void *data;

	if (vq->last_used_idx == state->batch_end && !vring_open_batch_split(vq))
		return NULL;

	buf = &split->in_order_buf[head];
	*len = buf->writable;
	state->head = (head + buf->num) & (ring_num - 1);
	data = vring_detach_in_order(vq, buf, split->desc_extra, ring_num, head, ctx);
	state->buffers++;
	LAST_ADD_TIME_INVALID(vq);

	if (++vq->last_used_idx != state->batch_end)
		return data;

	*len = state->batch_len;
	/*
	 * All that has been seen is taken: next time the index is read. Ask for an
	 * interrupt at what it does not yet expose, before that.
	 */
	if (vq->last_used_idx == state->seen && vq->event &&
	    !(split->avail_flags_shadow & VRING_AVAIL_F_NO_INTERRUPT))
		virtio_store_mb(vq->weak_barriers, &vring_used_event(&split->vring),
				cpu_to_virtio16(vq->vq.vdev, vq->last_used_idx));
	return data;
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

static bool vring_open_batch_packed(struct vring_virtqueue *vq)
{
	unsigned int ring_num = vq->packed.vring.num;
	struct vring_in_order *state = &vq->in_order;
	const struct vring_packed_desc *desc;
	const struct vring_in_order_buf *buf;
	u16 first = packed_last_used(vq->last_used_idx);
	unsigned int before;
	u16 id;

	if (!more_used_packed(vq))
		return false;
	/* The rest after the flags, which the device wrote the other way round */
	virtio_rmb(vq->weak_barriers);

	desc = &vq->packed.vring.desc[first];
	id = le16_to_cpu(READ_ONCE(desc->id));
	buf = vring_check_id(vq, vq->packed.in_order_buf, ring_num, id);
	if (unlikely(!buf))
		return false;
	before = id >= first ? id - first : id + ring_num - first;
	state->batch_len = le32_to_cpu(READ_ONCE(desc->len));
	WRITE_ONCE(state->batch_end,
		   vring_packed_after(vq->last_used_idx, before + buf->num, ring_num));
	state->batches++;
	return true;
}

static void *virtqueue_get_buf_packed_in_order(struct vring_virtqueue *vq, unsigned int *len,
					       void **ctx)
{
	struct vring_virtqueue_packed *packed = &vq->packed;
	struct vring_in_order *state = &vq->in_order;
	unsigned int ring_num = packed->vring.num;
	struct vring_in_order_buf *buf;
	u16 last, head;
	void *data;

	if (vq->last_used_idx == state->batch_end && !vring_open_batch_packed(vq))
		return NULL;

	head = packed_last_used(vq->last_used_idx);
	buf = &packed->in_order_buf[head];
	*len = buf->writable;
	last = vring_packed_after(vq->last_used_idx, buf->num, ring_num);
	data = vring_detach_in_order(vq, buf, packed->desc_extra, ring_num, head, ctx);
	state->buffers++;
	LAST_ADD_TIME_INVALID(vq);

	/* vring_interrupt() may look */
	WRITE_ONCE(vq->last_used_idx, last);
	if (last != state->batch_end)
		return data;

	*len = state->batch_len;
	/* Ask for an interrupt at the next, before looking for it */
	if (packed->event_flags_shadow == VRING_PACKED_EVENT_FLAG_DESC)
		virtio_store_mb(vq->weak_barriers, &packed->vring.driver->off_wrap,
				cpu_to_le16(last));
	return data;
}

static void *virtqueue_get_buf_in_order(struct vring_virtqueue *vq, unsigned int *len,
					void **ctx)
{
	void *data = NULL;

	START_USE(vq);
	if (likely(!vq->broken))
		data = vq->packed_ring ? virtqueue_get_buf_packed_in_order(vq, len, ctx) :
					 virtqueue_get_buf_split_in_order(vq, len, ctx);
	END_USE(vq);
	return data;
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
	struct vring_desc_extra *extra;
	unsigned int next, head;
	void *data = NULL;

	START_USE(vq);
	vq->in_order.batch_end = vq->last_used_idx;
	if (left) {
		next = vq->packed_ring ? vq->packed.next_avail_idx : vq->free_head;
		head = next >= left ? next - left : next + ring_num - left;
		buf = vq->packed_ring ? &vq->packed.in_order_buf[head] :
					&vq->split.in_order_buf[head];
		extra = vq->packed_ring ? vq->packed.desc_extra : vq->split.desc_extra;
		data = vring_detach_in_order(vq, buf, extra, ring_num, head, NULL);
	}
	END_USE(vq);
	return data;
}

#endif
