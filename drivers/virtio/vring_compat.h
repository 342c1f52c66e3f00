/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VIRTIO_F_IN_ORDER: the kernels that this is built for differ in these things, and no other
 * file looks at which of them it is.
 *
 * In 7.3 virtio_ring.c has a table of operations for each layout. It has code of its own for
 * the feature; the tables below take the place of the two that refer to that. In 6.12
 * virtio_ring.c knows nothing of the feature, and calls the functions below.
 */
#ifndef _DRIVERS_VIRTIO_VRING_COMPAT_H
#define _DRIVERS_VIRTIO_VRING_COMPAT_H

#ifndef VIRTIO_RING_C
#error "This header has functions for virtio_ring.c, and only that may include it."
#endif

/* The scatterlists of a buffer, those that the device reads first (2.7.4.2, 2.8.17) */
struct vring_sg_lists {
	struct scatterlist **sgs;
	unsigned int out_sgs;
	unsigned int in_sgs;
	unsigned int total_sg;
#ifdef VIRTQUEUE_CALL
	u32 premapped;		/* bool: they have DMA addresses already */
	u32 attr;		/* for the DMA API, which maps the others */
#endif
};

/* What virtio_ring.c calls, through the functions or the tables below */
static __always_inline bool vring_in_batch(const struct vring_virtqueue *vq);
static bool vring_more_used_packed(const struct vring_virtqueue *vq);
static noinline int vring_add_split_in_order(struct vring_virtqueue *vq,
					     const struct vring_sg_lists *p,
					     void *data, void *ctx, gfp_t gfp);
static noinline int vring_add_packed_in_order(struct vring_virtqueue *vq,
					      const struct vring_sg_lists *p,
					      void *data, void *ctx, gfp_t gfp);
static noinline void *virtqueue_get_buf_split_in_order(struct vring_virtqueue *vq,
						       unsigned int *len, void **ctx);
static noinline void *virtqueue_get_buf_packed_in_order(struct vring_virtqueue *vq,
							unsigned int *len, void **ctx);
static void *virtqueue_detach_unused_buf_in_order(struct vring_virtqueue *vq);

/*
 * virtqueue_enable_cb_prepare() sets this in its opaque result when a batch is open, because
 * virtqueue_poll() may run concurrently with the next operation and must not look at the
 * state itself. The low 16 bits are the used index. Split needs no such bit: its used index
 * already covers the whole batch.
 */
#define VRING_POLL_BATCH_OPEN	BIT(16)

#ifdef VIRTQUEUE_CALL /* 7.3 */

static __always_inline bool vring_is_packed(const struct vring_virtqueue *vq)
{
	return virtqueue_is_packed(vq);
}

static __always_inline bool vring_is_in_order(const struct vring_virtqueue *vq)
{
	return virtqueue_is_in_order(vq);
}

static __always_inline bool vring_uses_dma_api(const struct vring_virtqueue *vq)
{
	return vq->use_map_api;
}

/* Does the device use physical addresses, so that there is nothing to map? */
static __always_inline bool vring_maps_direct(const struct vring_virtqueue *vq,
					      const struct vring_sg_lists *p)
{
	/* One test for both: this is done for each buffer */
	return likely(!(vq->use_map_api | p->premapped));
}

/* @direct: what vring_maps_direct() has said */
static __always_inline u32 vring_sg_len(const struct scatterlist *sg, bool direct,
					const struct vring_sg_lists *p)
{
	return !direct && p->premapped ? sg_dma_len(sg) : sg->length;
}

static __always_inline void vring_kmsan(struct scatterlist *sg, enum dma_data_direction dir)
{
	kmsan_handle_dma(sg_phys(sg), sg->length, dir);
}

/*
 * Record the mapping in @extra for the time when it has to be undone: the device could have
 * changed the descriptor by then. @extra is NULL for an entry of an indirect table, which
 * the device cannot write.
 */
static noinline dma_addr_t vring_map_by_dma_api(const struct vring_virtqueue *vq,
						struct scatterlist *sg,
						enum dma_data_direction dir,
						struct vring_desc_extra *extra,
						const struct vring_sg_lists *p)
{
	dma_addr_t addr;
	u32 len;

	if (vring_map_one_sg(vq, sg, dir, &addr, &len, p->premapped, p->attr))
		return DMA_MAPPING_ERROR;
	if (extra) {
		/* virtio_ring.c does not unmap what has this address */
		extra->addr = p->premapped ? DMA_MAPPING_ERROR : addr;
		extra->len = len;
		extra->flags = dir == DMA_FROM_DEVICE ? VRING_DESC_F_WRITE : 0;
	}
	return addr;
}

/*
 * The driver itself has mapped what the entries of this indirect table refer to. A flag of
 * ours in vring_desc_extra.flags, where virtio_ring.c looks only at those of the specification.
 */
#define VRING_EXTRA_F_PREMAPPED	BIT(3)

static inline void vring_record_table(struct vring_desc_extra *extra,
				      const struct vring_sg_lists *p)
{
	extra->flags = VRING_DESC_F_INDIRECT | (p->premapped ? VRING_EXTRA_F_PREMAPPED : 0);
}

/* Do the entries of a table have to be unmapped? */
static inline bool vring_unmaps_table(const struct vring_virtqueue *vq,
				      const struct vring_desc_extra *extra)
{
	return vq->use_map_api && !(extra->flags & VRING_EXTRA_F_PREMAPPED);
}

static inline void vring_unmap_entry_packed(const struct vring_virtqueue *vq,
					    const struct vring_packed_desc *desc)
{
	const struct vring_desc_extra extra = {
		.addr = le64_to_cpu(desc->addr),
		.len = le32_to_cpu(desc->len),
		.flags = le16_to_cpu(desc->flags),
	};

	vring_unmap_extra_packed(vq, &extra);
}

static inline void vring_unmap_entry_split(const struct vring_virtqueue *vq,
					   const struct vring_desc *desc)
{
	struct virtio_device *vdev = vq->vq.vdev;
	const struct vring_desc_extra extra = {
		.addr = virtio64_to_cpu(vdev, desc->addr),
		.len = virtio32_to_cpu(vdev, desc->len),
		.flags = virtio16_to_cpu(vdev, desc->flags),
	};

	vring_unmap_extra_packed(vq, &extra);
}

static __always_inline int vring_op_add_split(struct vring_virtqueue *vq,
					      struct scatterlist *sgs[],
					      unsigned int total_sg, unsigned int out_sgs,
					      unsigned int in_sgs, void *data, void *ctx,
					      bool premapped, gfp_t gfp, unsigned long attr)
{
	const struct vring_sg_lists p = {
		sgs, out_sgs, in_sgs, total_sg, premapped, attr
	};

	/* Ours are stored where virtio_ring.c has memory for its own */
	BUILD_BUG_ON(sizeof(struct vring_in_order_buf) > sizeof(struct vring_desc_state_split));
	BUILD_BUG_ON(sizeof(struct vring_in_order_buf) > sizeof(struct vring_desc_state_packed));
	return vring_add_split_in_order(vq, &p, data, ctx, gfp);
}

static __always_inline int vring_op_add_packed(struct vring_virtqueue *vq,
					       struct scatterlist *sgs[],
					       unsigned int total_sg, unsigned int out_sgs,
					       unsigned int in_sgs, void *data, void *ctx,
					       bool premapped, gfp_t gfp, unsigned long attr)
{
	const struct vring_sg_lists p = {
		sgs, out_sgs, in_sgs, total_sg, premapped, attr
	};

	return vring_add_packed_in_order(vq, &p, data, ctx, gfp);
}

static unsigned int vring_op_enable_cb_prepare_packed(struct vring_virtqueue *vq)
{
	return virtqueue_enable_cb_prepare_packed(vq) |
		(vring_in_batch(vq) ? VRING_POLL_BATCH_OPEN : 0);
}

static bool vring_op_poll_packed(const struct vring_virtqueue *vq, unsigned int state)
{
	return state & VRING_POLL_BATCH_OPEN || virtqueue_poll_packed(vq, state);
}

static bool vring_op_enable_cb_delayed_packed(struct vring_virtqueue *vq)
{
	return virtqueue_enable_cb_delayed_packed(vq) && !vring_in_batch(vq);
}

static const struct virtqueue_ops vring_split_in_order_ops = {
	.add = vring_op_add_split,
	.get = virtqueue_get_buf_split_in_order,
	.detach_unused_buf = virtqueue_detach_unused_buf_in_order,
	.kick_prepare = virtqueue_kick_prepare_split,
	.disable_cb = virtqueue_disable_cb_split,
	.enable_cb_prepare = virtqueue_enable_cb_prepare_split,
	.enable_cb_delayed = virtqueue_enable_cb_delayed_split,
	.poll = virtqueue_poll_split,
	.more_used = more_used_split,
	.reset = virtqueue_reset_split,
	.resize = virtqueue_resize_split,
};

static const struct virtqueue_ops vring_packed_in_order_ops = {
	.add = vring_op_add_packed,
	.get = virtqueue_get_buf_packed_in_order,
	.detach_unused_buf = virtqueue_detach_unused_buf_in_order,
	.kick_prepare = virtqueue_kick_prepare_packed,
	.disable_cb = virtqueue_disable_cb_packed,
	.enable_cb_prepare = vring_op_enable_cb_prepare_packed,
	.enable_cb_delayed = vring_op_enable_cb_delayed_packed,
	.poll = vring_op_poll_packed,
	.more_used = vring_more_used_packed,
	.reset = virtqueue_reset_packed,
	.resize = virtqueue_resize_packed,
};

/* In the rest of virtio_ring.c these names mean ours, and nothing uses its own tables. */
static const struct virtqueue_ops split_in_order_ops __maybe_unused;
static const struct virtqueue_ops packed_in_order_ops __maybe_unused;
#define split_in_order_ops	vring_split_in_order_ops
#define packed_in_order_ops	vring_packed_in_order_ops

#else /* 6.12 */

/* Around zero, so that one comparison tells the first two from each other and the rest */
enum vring_layout {
	VRING_SPLIT = -1,
	VRING_PACKED,
	VRING_SPLIT_IN_ORDER,
	VRING_PACKED_IN_ORDER,
};

static __always_inline enum vring_layout vring_layout(const struct vring_virtqueue *vq)
{
	/* Without the option, let the compiler see that there are only two layouts */
	if (!IS_ENABLED(CONFIG_VIRTIO_IN_ORDER))
		return vq->packed_ring ? VRING_PACKED : VRING_SPLIT;
	return vq->layout;
}

static __always_inline bool vring_is_packed(const struct vring_virtqueue *vq)
{
	return vq->packed_ring;
}

static __always_inline bool vring_is_in_order(const struct vring_virtqueue *vq)
{
	return vring_layout(vq) > VRING_PACKED;
}

static __always_inline bool vring_uses_dma_api(const struct vring_virtqueue *vq)
{
	return vq->use_dma_api;
}

static __always_inline bool vring_maps_direct(const struct vring_virtqueue *vq,
					      const struct vring_sg_lists *p)
{
	return likely(!vq->use_dma_api && !vq->premapped);
}

static __always_inline u32 vring_sg_len(const struct scatterlist *sg, bool direct,
					const struct vring_sg_lists *p)
{
	return sg->length;
}

static __always_inline void vring_kmsan(struct scatterlist *sg, enum dma_data_direction dir)
{
	kmsan_handle_dma(sg_page(sg), sg->offset, sg->length, dir);
}

static noinline dma_addr_t vring_map_or_record(const struct vring_virtqueue *vq,
					       struct scatterlist *sg, enum dma_data_direction dir,
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

static __always_inline dma_addr_t vring_map_by_dma_api(const struct vring_virtqueue *vq,
						       struct scatterlist *sg,
						       enum dma_data_direction dir,
						       struct vring_desc_extra *extra,
						       const struct vring_sg_lists *p)
{
	return vring_map_or_record(vq, sg, dir, extra);
}

static inline void vring_record_table(struct vring_desc_extra *extra,
				      const struct vring_sg_lists *p)
{
	extra->flags = VRING_DESC_F_INDIRECT;
}

static inline bool vring_unmaps_table(const struct vring_virtqueue *vq,
				      const struct vring_desc_extra *extra)
{
	return vq->do_unmap;
}

static inline void vring_unmap_entry_packed(const struct vring_virtqueue *vq,
					    const struct vring_packed_desc *desc)
{
	vring_unmap_desc_packed(vq, desc);
}

static inline void vring_unmap_entry_split(const struct vring_virtqueue *vq,
					   const struct vring_desc *desc)
{
	vring_unmap_one_split_indirect(vq, desc);
}

/* Also for virtqueues that are not in order */
static bool vring_batch_open(const struct vring_virtqueue *vq)
{
	return vring_is_in_order(vq) && vring_in_batch(vq);
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

static __always_inline int virtqueue_add_in_order(struct vring_virtqueue *vq,
						  struct scatterlist *sgs[],
						  unsigned int total_sg, unsigned int out_sgs,
						  unsigned int in_sgs, void *data, void *ctx,
						  gfp_t gfp)
{
	const struct vring_sg_lists p = { sgs, out_sgs, in_sgs, total_sg };

	return vring_layout(vq) == VRING_SPLIT_IN_ORDER ?
		vring_add_split_in_order(vq, &p, data, ctx, gfp) :
		vring_add_packed_in_order(vq, &p, data, ctx, gfp);
}

static __always_inline void *virtqueue_get_buf_in_order(struct vring_virtqueue *vq,
							unsigned int *len, void **ctx)
{
	return vring_layout(vq) == VRING_SPLIT_IN_ORDER ?
		virtqueue_get_buf_split_in_order(vq, len, ctx) :
		virtqueue_get_buf_packed_in_order(vq, len, ctx);
}

#endif

#endif
