/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VIRTIO_F_IN_ORDER in the packed layout: adding buffers and getting them back
 *
 * See vring_in_order_common.h. The Buffer ID is the index of the first descriptor, and every
 * descriptor of the buffer has it, though only the last one has to (2.8.6).
 */
#ifndef _DRIVERS_VIRTIO_VRING_IN_ORDER_PACKED_H
#define _DRIVERS_VIRTIO_VRING_IN_ORDER_PACKED_H

#ifndef VIRTIO_RING_C
#error "This header has functions for virtio_ring.c, and only that may include it."
#endif

#define VRING_PACKED_AVAIL_USED	(BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED))

/*
 * Write the descriptors of one scatterlist, either to the ring of @num descriptors or to an
 * indirect table, in which VRING_DESC_F_WRITE is the only flag (2.8.7). In the ring, the
 * caller has to write the flags of the descriptor at @head, which make the buffer available
 * and therefore come last (2.8.6). Returns false if an entry could not be mapped.
 */
static __always_inline bool vring_fill_list_packed(const struct vring_virtqueue *vq, bool direct,
						   struct vring_packed_desc *desc,
						   struct vring_desc_extra *extra,
						   unsigned int num, unsigned int head,
						   struct scatterlist *sg, bool write,
						   const struct vring_sg_lists *p,
						   struct vring_fill *f)
{
	for (; sg; sg = sg_next(sg)) {
		struct vring_packed_desc *d = &desc[f->i];
		u16 flags = write ? VRING_DESC_F_WRITE : 0;
		dma_addr_t addr;

		addr = vring_map_sg(vq, direct, sg, write, p, extra ? &extra[f->i] : NULL);
		if (unlikely(addr == DMA_MAPPING_ERROR))
			return false;
		if (write)
			f->writable += vring_sg_len(sg, direct, p);

		d->addr = cpu_to_le64(addr);
		d->len = cpu_to_le32(vring_sg_len(sg, direct, p));
		f->remaining--;
		if (extra) {
			flags |= f->avail_used | (f->remaining ? VRING_DESC_F_NEXT : 0);
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
		if (!f->remaining)
			break;
	}
	return true;
}

static __always_inline bool vring_fill_packed(const struct vring_virtqueue *vq,
					      struct vring_packed_desc *desc,
					      struct vring_desc_extra *extra,
					      unsigned int num, unsigned int head,
					      const struct vring_sg_lists *p, struct vring_fill *f)
{
	bool direct = vring_maps_direct(vq, p);
	unsigned int n;

	for (n = 0; n < p->out_sgs; n++) {
		if (!vring_fill_list_packed(vq, direct, desc, extra, num, head, p->sgs[n],
					    false, p, f))
			return false;
	}
	for (; n < p->out_sgs + p->in_sgs; n++) {
		if (!vring_fill_list_packed(vq, direct, desc, extra, num, head, p->sgs[n],
					    true, p, f))
			return false;
	}
	/* The lists must have as many entries as the driver said */
	return !WARN_ON_ONCE(f->remaining);
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

	/*
	 * All else before the flags of the first descriptor (2.8.21.1). Pairs with the barrier
	 * in the device after it reads these flags.
	 * Litmus: packed-avail, packed-avail-32.
	 */
	virtio_wmb(vq->weak_barriers);
	packed->vring.desc[head].flags = cpu_to_le16(head_flags);
}

static noinline int vring_add_table_packed(struct vring_virtqueue *vq,
					   const struct vring_sg_lists *p, void *data, gfp_t gfp)
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
 * Adding a buffer failed. The descriptors that were written after the first one must not stay
 * available, because the next buffer may be shorter and the device would go on to them. Give
 * them the flags of descriptors that became available in the previous wrap and were not used: in
 * this wrap they are neither available nor used (2.8.1).
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

static noinline int vring_add_packed_in_order(struct vring_virtqueue *vq,
					      const struct vring_sg_lists *p,
					      void *data, void *ctx, gfp_t gfp)
{
	struct vring_virtqueue_packed *packed = &vq->packed;
	struct vring_fill f = {
		.i = packed->next_avail_idx,
		.remaining = p->total_sg,
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
				  packed->next_avail_idx, p->total_sg - f.remaining);
		vring_unpublish_packed(vq, p->total_sg - f.remaining);
	}
end:
	vring_end_add(vq);
	return err;
}

/*
 * Move @off_wrap on by @num descriptors. It is an index in the low 15 bits and the
 * wrap counter (2.8.1) in the top bit.
 */
static __always_inline u16 vring_packed_advance(u16 off_wrap, unsigned int num,
						unsigned int ring_num)
{
	unsigned int i = packed_last_used(off_wrap) + num;
	u16 wrap = off_wrap & BIT(VRING_PACKED_EVENT_F_WRAP_CTR);

	if (i >= ring_num) {
		i -= ring_num;
		wrap ^= BIT(VRING_PACKED_EVENT_F_WRAP_CTR);
	}
	return i | wrap;
}

/* Return the buffer at @last, from the open batch that ends at @end. */
static __always_inline void *vring_pop_packed(struct vring_virtqueue *vq, u16 last, u16 end,
					      unsigned int *len, void **ctx)
{
	struct vring_virtqueue_packed *packed = &vq->packed;
	struct vring_in_order *state = &vq->in_order;
	unsigned int head = packed_last_used(last);
	struct vring_in_order_buf *buf = &packed->in_order_buf[head];

	last = vring_packed_advance(last, buf->num, packed->vring.num);
	/* vring_interrupt() may read it at any time */
	WRITE_ONCE(vq->last_used_idx, last);
	state->buffers++;
	if (last != end) {
		*len = buf->writable;
	} else {
		*len = state->batch_len;
		/*
		 * Ask for an interrupt at the next used descriptor (2.8.10), before looking
		 * for it. The barrier pairs with the device's, between its write of a used
		 * descriptor and its read of the event suppression structure.
		 * Litmus: packed-call.
		 */
		if (packed->event_flags_shadow == VRING_PACKED_EVENT_FLAG_DESC)
			virtio_store_mb(vq->weak_barriers, &packed->vring.driver->off_wrap,
					cpu_to_le16(last));
	}
	LAST_ADD_TIME_INVALID(vq);
	END_USE(vq);
	return vring_detach_in_order(vq, buf, head, ctx);
}

/* Open the batch at @last, where the descriptor is marked used, and return its first buffer. */
static noinline void *vring_open_batch_packed(struct vring_virtqueue *vq, u16 last,
					      unsigned int *len, void **ctx)
{
	const struct vring_virtqueue_packed *packed = &vq->packed;
	struct vring_in_order *state = &vq->in_order;
	const u16 wrap = BIT(VRING_PACKED_EVENT_F_WRAP_CTR);
	unsigned int ring_num = packed->vring.num;
	u16 first = packed_last_used(last);
	const struct vring_packed_desc *desc = &packed->vring.desc[first];
	u16 id, end;

	/*
	 * Read the rest of the descriptor after its flags. Pairs with the device's barrier
	 * between its writes of the two.
	 * Litmus: packed-used, packed-used-32.
	 */
	virtio_rmb(vq->weak_barriers);

	id = le16_to_cpu(READ_ONCE(desc->id));
	if (!vring_has_id(packed->in_order_buf, ring_num, id))
		return vring_bad_id(vq, ring_num, id);
	/* The batch ends after the buffer that @id names, possibly in the next wrap (2.8.8) */
	end = vring_packed_advance(id | ((last & wrap) ^ (id < first ? wrap : 0)),
				   packed->in_order_buf[id].num, ring_num);

	state->batch_len = le32_to_cpu(READ_ONCE(desc->len));
	/* vring_interrupt() may read it at any time */
	WRITE_ONCE(state->batch_end, end);
	state->batches++;
	return vring_pop_packed(vq, last, end, len, ctx);
}

static noinline void *virtqueue_get_buf_packed_in_order(struct vring_virtqueue *vq,
							unsigned int *len, void **ctx)
{
	u16 last = vq->last_used_idx, end = vq->in_order.batch_end;

	if (unlikely(vq->broken))
		return NULL;
	START_USE(vq);
	if (last != end)
		return vring_pop_packed(vq, last, end, len, ctx);
	if (is_used_desc_packed(vq, packed_last_used(last), packed_used_wrap_counter(last)))
		return vring_open_batch_packed(vq, last, len, ctx);
	END_USE(vq);
	return NULL;
}

#endif
