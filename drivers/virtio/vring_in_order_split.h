/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VIRTIO_F_IN_ORDER in the split layout: adding buffers and getting them back
 *
 * See vring_in_order_common.h. Descriptors are used in ring order, from 0 to the last one and
 * then from 0 again (2.7.5), so that "next" is always the following index (2.7.5.2).
 */
#ifndef _DRIVERS_VIRTIO_VRING_IN_ORDER_SPLIT_H
#define _DRIVERS_VIRTIO_VRING_IN_ORDER_SPLIT_H

#ifndef VIRTIO_RING_C
#error "This header has functions for virtio_ring.c, and only that may include it."
#endif

/*
 * Write the descriptors of one scatterlist, either to the ring or to an indirect table, where
 * they follow each other as well (2.7.5.3.1). @mask wraps the index. Returns false if an entry
 * could not be mapped.
 */
static __always_inline bool vring_fill_list_split(const struct vring_virtqueue *vq, bool direct,
						  struct vring_desc *desc,
						  struct vring_desc_extra *extra, u16 mask,
						  struct scatterlist *sg, bool write,
						  const struct vring_sg_lists *p,
						  struct vring_fill *f)
{
	struct virtio_device *vdev = vq->vq.vdev;
	u16 flags = write ? VRING_DESC_F_WRITE : 0;

	for (; sg; sg = sg_next(sg)) {
		struct vring_desc *d = &desc[f->i];
		dma_addr_t addr;

		addr = vring_map_sg(vq, direct, sg, write, p, extra ? &extra[f->i] : NULL);
		if (unlikely(addr == DMA_MAPPING_ERROR))
			return false;
		if (write)
			f->writable += vring_sg_len(sg, direct, p);

		d->addr = cpu_to_virtio64(vdev, addr);
		d->len = cpu_to_virtio32(vdev, vring_sg_len(sg, direct, p));
		f->i = (f->i + 1) & mask;
		if (!--f->remaining) {
			d->flags = cpu_to_virtio16(vdev, flags);
			/* A table has what was in its memory before, and the device may read it */
			if (!extra)
				d->next = 0;
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
					     const struct vring_sg_lists *p, struct vring_fill *f)
{
	bool direct = vring_maps_direct(vq, p);
	unsigned int n;

	for (n = 0; n < p->out_sgs; n++) {
		if (!vring_fill_list_split(vq, direct, desc, extra, mask, p->sgs[n], false,
					   p, f))
			return false;
	}
	for (; n < p->out_sgs + p->in_sgs; n++) {
		if (!vring_fill_list_split(vq, direct, desc, extra, mask, p->sgs[n], true,
					   p, f))
			return false;
	}
	/* The lists must have as many entries as the driver said */
	return !WARN_ON_ONCE(f->remaining);
}

/*
 * Record a buffer whose descriptors have been written, and make it available (2.7.13). The
 * available ring is written although the heads are predictable: the feature does not
 * excuse the driver from it.
 */
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
	/*
	 * The descriptors and the ring before the index that exposes them (2.7.13.3.1). Pairs
	 * with the barrier between the two in the device.
	 * Litmus: split-avail.
	 */
	virtio_wmb(vq->weak_barriers);
	avail++;
	split->avail_idx_shadow = avail;
	split->vring.avail->idx = cpu_to_virtio16(vdev, avail);
	vq->num_added++;
}

static noinline int vring_add_table_split(struct vring_virtqueue *vq,
					  const struct vring_sg_lists *p, void *data, gfp_t gfp)
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
 * virtqueue_add() in order. Returns -EIO if the virtqueue is broken, -ENOSPC if it is full,
 * and -ENOMEM if a mapping failed; nothing has been added then.
 */
static noinline int vring_add_split_in_order(struct vring_virtqueue *vq,
					     const struct vring_sg_lists *p,
					     void *data, void *ctx, gfp_t gfp)
{
	struct vring_virtqueue_split *split = &vq->split;
	struct vring_fill f = { .i = vq->free_head, .remaining = p->total_sg };
	int err = vring_begin_add(vq, data, p->total_sg, ctx);

	if (unlikely(err))
		return err;

	if (virtqueue_use_indirect(vq, p->total_sg)) {
		err = vring_add_table_split(vq, p, data, gfp);
		if (err != -EAGAIN)
			goto end;
	}

	if (unlikely(vq->vq.num_free < p->total_sg)) {
		/* A buffer may have more entries than the ring, but then it needs a table */
		WARN_ON_ONCE(p->total_sg > split->vring.num && !vq->indirect);
		/* As without the feature: the device may not have seen the other buffers */
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
				  p->total_sg - f.remaining);
	}
end:
	vring_end_add(vq);
	return err;
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

/* Return the buffer at @last, from the open batch that ends at @end. */
static __always_inline void *vring_pop_split(struct vring_virtqueue *vq, u16 last, u16 end,
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
		 * Everything that the used index exposed has been taken, so the next call
		 * reads the index again. Before that, ask for an interrupt when it moves on
		 * (2.7.7.1). The barrier pairs with the device's, between its write of the
		 * used index and its read of used_event.
		 * Litmus: split-call.
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

/* Open the batch at @last, which the used index @seen exposes, and return its first buffer. */
static noinline void *vring_open_batch_split(struct vring_virtqueue *vq, u16 last, u16 seen,
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
		/*
		 * Read the elements after the index that exposes them. Pairs with the
		 * device's barrier between its writes of the two.
		 * Litmus: split-used.
		 */
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
	return vring_pop_split(vq, last, end, len, ctx);
}

static noinline void *virtqueue_get_buf_split_in_order(struct vring_virtqueue *vq,
						       unsigned int *len, void **ctx)
{
	u16 last = vq->last_used_idx, end = vq->in_order.batch_end, seen = vq->in_order.seen;

	if (unlikely(vq->broken))
		return NULL;
	START_USE(vq);
	if (last != end)
		return vring_pop_split(vq, last, end, len, ctx);
	if (last == seen)
		seen = virtio16_to_cpu(vq->vq.vdev, READ_ONCE(vq->split.vring.used->idx));
	if (last != seen)
		return vring_open_batch_split(vq, last, seen, len, ctx);
	END_USE(vq);
	return NULL;
}

#endif
