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

#include "vring_compat.h"

#ifdef CONFIG_VIRTIO_IN_ORDER
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
#endif

/*
 * Are there buffers of a batch that have not been taken yet? In the packed layout nothing
 * else tells, because the device skipped the descriptor at last_used_idx instead of marking
 * it used (2.8.8).
 */
static __always_inline bool vring_in_batch(const struct vring_virtqueue *vq)
{
	return READ_ONCE(vq->in_order.batch_end) != READ_ONCE(vq->last_used_idx);
}

/*
 * Is there anything to take? vring_interrupt() may call this at any time, also while buffers
 * are taken. It may then see a batch open that has just been finished. But it looks for a used
 * descriptor and for a batch with the same last_used_idx: if that is inside of a batch, it is
 * not where that one ends, or a later one; and else it is where the next used descriptor will
 * be. With two values, the first could be inside of a batch and the second behind it.
 */
static bool vring_more_used_packed(const struct vring_virtqueue *vq)
{
	u16 last = READ_ONCE(vq->last_used_idx);

	return is_used_desc_packed(vq, packed_last_used(last), packed_used_wrap_counter(last)) ||
	       (vring_is_in_order(vq) && READ_ONCE(vq->in_order.batch_end) != last);
}

/*
 * Adding buffers
 */

/* Progress in writing the descriptors of a buffer */
struct vring_fill {
	u16 i;			/* index of the next descriptor */
	unsigned int remaining;	/* scatterlist entries to go */
	u32 writable;		/* device-writable bytes so far */
	u16 avail_used;		/* packed: the AVAIL and USED bits at @i (2.8.1) */
	u16 head_flags;		/* packed: flags of the first descriptor, written last */
};

static __always_inline dma_addr_t vring_map_sg(const struct vring_virtqueue *vq, bool direct,
					       struct scatterlist *sg, bool write,
					       const struct vring_sg_lists *p,
					       struct vring_desc_extra *extra)
{
	enum dma_data_direction dir = write ? DMA_FROM_DEVICE : DMA_TO_DEVICE;

	if (!direct)
		return vring_map_by_dma_api(vq, sg, dir, extra, p);
	vring_kmsan(sg, dir);
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
		if (vring_is_packed(vq))
			vring_unmap_entry_packed(vq, (const struct vring_packed_desc *)table + i);
		else
			vring_unmap_entry_split(vq, (const struct vring_desc *)table + i);
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

	vring_record_table(extra, p);
	filled = vring_is_packed(vq) ?
		vring_fill_packed(vq, t->entries, NULL, p->total_sg + 1, 0, p, &f) :
		vring_fill_split(vq, t->entries, NULL, U16_MAX, p, &f);
	if (filled) {
		t->addr = vring_map_single(vq, t->entries, t->len, DMA_TO_DEVICE);
		filled = !vring_mapping_error(vq, t->addr);
	}
	if (!filled) {
		if (vring_unmaps_table(vq, extra))
			vring_unmap_table(vq, t->entries, p->total_sg - f.remaining);
		kfree(t->entries);
		return -ENOMEM;
	}
	t->writable = f.writable;
	extra->addr = t->addr;
	extra->len = t->len;
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

/*
 * Getting buffers back
 */

/* Undo the mappings of a buffer that came back, and free its table. Returns @data. */
static noinline void *vring_release(const struct vring_virtqueue *vq,
				    const struct vring_in_order_buf *buf, unsigned int head,
				    void *data)
{
	const struct vring_desc_extra *extra = vring_is_packed(vq) ? vq->packed.desc_extra :
								     vq->split.desc_extra;

	if (vring_uses_dma_api(vq))
		vring_unmap_range(vq, extra, virtqueue_get_vring_size(&vq->vq), head, buf->num);
	if (vq->indirect && buf->indir_desc) {
		if (vring_unmaps_table(vq, &extra[head]))
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
	if (unlikely(vring_uses_dma_api(vq) || (vq->indirect && buf->indir_desc)))
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
		next = vring_is_packed(vq) ? vq->packed.next_avail_idx : vq->free_head;
		head = next >= left ? next - left : next + ring_num - left;
		buf = vring_is_packed(vq) ? &vq->packed.in_order_buf[head] :
					    &vq->split.in_order_buf[head];
		data = vring_detach_in_order(vq, buf, head, NULL);
	}
	END_USE(vq);
	return data;
}

#endif
