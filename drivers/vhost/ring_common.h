/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parts of the layouts of ring.h that do not depend on the layout: collecting the segments
 * of a buffer, handles, and the choice of a layout's functions
 *
 * vhost.c includes this, then ring_split_in_order.h and ring_packed.h, which have the same
 * functions under the same names.
 */
#ifndef _DRIVERS_VHOST_RING_COMMON_H
#define _DRIVERS_VHOST_RING_COMMON_H

#ifndef VHOST_C
#error "This header has functions for vhost.c, and only that may include it."
#endif

/* Functions of vhost.c that the layouts call */
static bool iotlb_access_ok(struct vhost_virtqueue *vq, int access, u64 addr, u64 len, int type);
static int log_write_hva(struct vhost_virtqueue *vq, u64 hva, u64 len);
static int log_used(struct vhost_virtqueue *vq, u64 used_offset, u64 len);
static int get_indirect(struct vhost_virtqueue *vq, struct iovec iov[], unsigned int iov_size,
			unsigned int *out_num, unsigned int *in_num, struct vhost_log *log,
			unsigned int *log_num, struct vring_desc *indirect);

static inline bool vhost_ring_is_packed(const struct vhost_virtqueue *vq)
{
	return vq->ring && vq->ring->layout != VHOST_SPLIT_IN_ORDER;
}

/* Address of a part of the ring. Returns NULL if it is not mapped, or not to one place. */
static noinline void __user *vhost_ring_iotlb_uaddr(struct vhost_virtqueue *vq, void __user *addr,
						    unsigned int size, int type, int access)
{
	void __user *uaddr = vhost_vq_meta_fetch(vq, (u64)(uintptr_t)addr, size, type);
	int ret;

	if (uaddr)
		return uaddr;
	ret = translate_desc(vq, (u64)(uintptr_t)addr, size, vq->iotlb_iov,
			     ARRAY_SIZE(vq->iotlb_iov), access);
	if (ret != 1 || vq->iotlb_iov[0].iov_len != size)
		return NULL;
	return vq->iotlb_iov[0].iov_base;
}

static __always_inline void __user *vhost_ring_uaddr(struct vhost_virtqueue *vq, void __user *addr,
						     unsigned int size, int type, int access)
{
	return unlikely(vq->iotlb) ? vhost_ring_iotlb_uaddr(vq, addr, size, type, access) : addr;
}

/* A descriptor without its address. Split descriptors have no ID: pass 0. */
static __always_inline u64 vhost_desc_word(u32 len, u16 id, u16 flags)
{
	return len | (u64)id << 32 | (u64)flags << 48;
}

static __always_inline u16 vhost_desc_id(u64 word)
{
	return word >> 32;
}

static __always_inline u16 vhost_desc_flags(u64 word)
{
	return word >> 48;
}

/* The buffer that vhost_get_vq_desc() is fetching, with its arguments */
struct vhost_buf {
	struct iovec *iov;
	unsigned int iov_size;
	unsigned int out;
	unsigned int in;
	struct vhost_log *log;
	unsigned int *log_num;
};

/*
 * Translate with translate_desc(), which searches a tree, and remember the region: the next
 * descriptor is mostly in the same one. Regions of the memory table are always writable.
 */
static int vhost_buf_search(struct vhost_virtqueue *vq, u64 addr, u32 len, struct iovec *iov,
			    int iov_size, int access)
{
	int ret = translate_desc(vq, addr, len, iov, iov_size, access);
	struct vhost_iotlb_map *map;

	if (ret < 0) {
		if (ret != -EAGAIN)
			vq_err(vq, "Translation failure %d of %u bytes at %llx\n", ret, len, addr);
		return ret;
	}
	map = vq->iotlb ? NULL : vhost_iotlb_itree_first(vq->umem, addr, addr);
	if (map) {
		vq->ring->map.start = map->start;
		vq->ring->map.size = map->last - map->start + 1;
		vq->ring->map.uaddr = map->addr;
	}
	return ret;
}

/* Translate @len bytes at @addr if they are in the region that was found last. */
static __always_inline bool vhost_map_find(const struct vhost_virtqueue *vq, u64 addr, u32 len,
					   struct iovec *iov)
{
	u64 offset = addr - vq->ring->map.start;

	/* False also for a length of 0 */
	if (unlikely(offset >= vq->ring->map.size || len - 1ULL >= vq->ring->map.size - offset))
		return false;
	iov->iov_base = (void __user *)(uintptr_t)(vq->ring->map.uaddr + offset);
	iov->iov_len = len;
	return true;
}

/*
 * Add the segment that a descriptor describes. Returns -EAGAIN if its address is not in the
 * IOTLB; userspace has then been asked for it.
 */
static int vhost_buf_add(struct vhost_virtqueue *vq, struct vhost_buf *buf, u64 addr, u64 word)
{
	bool write = vhost_desc_flags(word) & VRING_DESC_F_WRITE;
	unsigned int n = buf->out + buf->in;
	struct iovec *iov = buf->iov + n;
	u32 len = word;
	int ret = 1;

	if (n == buf->iov_size || !vhost_map_find(vq, addr, len, iov))
		ret = vhost_buf_search(vq, addr, len, iov, buf->iov_size - n,
				       write ? VHOST_ACCESS_WO : VHOST_ACCESS_RO);
	if (unlikely(ret < 0))
		return ret;
	if (!write) {
		if (unlikely(buf->in)) {
			/* Forbidden by 2.7.4.2 and 2.8.17 */
			vq_err(vq, "A readable descriptor after a writable one\n");
			return -EINVAL;
		}
		buf->out += ret;
		return 0;
	}
	buf->in += ret;
	if (unlikely(buf->log && ret)) {
		buf->log[*buf->log_num].addr = addr;
		buf->log[*buf->log_num].len = len;
		++*buf->log_num;
	}
	return 0;
}

/*
 * A handle is, in order, the index of the buffer in @fetched. Out of order it has the number
 * of descriptors less one in bits 0 to 14, and the Buffer ID above. VHOST_HANDLE is XORed into
 * it, so that it differs from the size of the ring, which means "no buffer".
 */
#define VHOST_HANDLE	BIT(30)

static __always_inline unsigned int vhost_handle_index(u32 handle)
{
	return handle ^ VHOST_HANDLE;
}

static __always_inline u16 vhost_handle_id(u32 handle)
{
	return (handle ^ VHOST_HANDLE) >> 15;
}

static __always_inline unsigned int vhost_handle_descs(u32 handle)
{
	return (handle & GENMASK(14, 0)) + 1;
}

/*
 * In order, one used element may return a batch of buffers (2.7.9, 2.8.8). Do so only where
 * nothing was written: the driver takes the buffers that are skipped for completely written,
 * and some drivers cannot take received buffers in batches at all. Returns the index of the
 * next of @heads, from @i on, that needs a used element.
 */
static __always_inline unsigned int vhost_used_next(const struct vring_used_elem *heads,
						    unsigned int count, unsigned int i)
{
	while (!heads[i].len && i + 1 < count)
		i++;
	return i;
}

/* Forget the prefetched descriptors: they have to be read again. */
static inline void vhost_ring_drop_prefetch(struct vhost_virtqueue *vq)
{
	vq->ring->prefetch_pos = 0;
	vq->ring->prefetch_len = 0;
}

/*
 * Called when addresses change their meaning: for VHOST_SET_MEM_TABLE and
 * VHOST_SET_VRING_ADDR, and when a device gets an IOTLB.
 */
static void vhost_ring_invalidate_cache(struct vhost_virtqueue *vq)
{
	if (!vq->ring)
		return;
	vhost_ring_drop_prefetch(vq);
	vq->ring->map.size = 0;
}

static void vhost_ring_free(struct vhost_virtqueue *vq)
{
	kvfree(vq->ring);
	vq->ring = NULL;
}

/* What each layout has for fetching a buffer */
static __always_inline int vhost_split_in_order_prefetch(struct vhost_virtqueue *vq,
							 unsigned int descs, unsigned int max);
static int vhost_split_in_order_get_indirect(struct vhost_virtqueue *vq, struct vhost_buf *buf,
					     u64 addr, u64 word, unsigned int descs);
static __always_inline int vhost_split_in_order_commit(struct vhost_virtqueue *vq,
						       unsigned int descs);
static __always_inline int vhost_packed_prefetch(struct vhost_virtqueue *vq,
						 unsigned int descs, unsigned int max);
static int vhost_packed_get_indirect(struct vhost_virtqueue *vq, struct vhost_buf *buf,
				     u64 addr, u64 word, unsigned int descs);
static __always_inline int vhost_packed_commit(struct vhost_virtqueue *vq, u16 id,
					       unsigned int descs, enum vhost_layout layout);

/*
 * Prefetch available descriptors, beginning @descs after the last buffer that was fetched. All
 * that were read before are part of buffers by now. Returns how many were read, 0 if none
 * is available, or a negative errno.
 */
static noinline int vhost_ring_prefetch(struct vhost_virtqueue *vq, unsigned int descs)
{
	/* With an IOTLB, the next descriptor may be in another page */
	unsigned int max = vq->iotlb ? 1 : VHOST_PREFETCH_MAX;
	struct vhost_ring *ring = vq->ring;
	int ret = vhost_ring_is_packed(vq) ?
		  vhost_packed_prefetch(vq, descs, max) :
		  vhost_split_in_order_prefetch(vq, descs, max);

	if (ret > 0) {
		ring->prefetch_pos = 0;
		ring->prefetch_len = ret;
	}
	return ret;
}

/* A buffer of @descs descriptors has been fetched. Returns its handle, or -EINVAL. */
static __always_inline int vhost_ring_commit(struct vhost_virtqueue *vq, u64 word,
					     unsigned int descs, enum vhost_layout layout)
{
	int ret = layout == VHOST_SPLIT_IN_ORDER ?
		  vhost_split_in_order_commit(vq, descs) :
		  vhost_packed_commit(vq, vhost_desc_id(word), descs, layout);

	if (unlikely(ret < 0))
		vhost_ring_drop_prefetch(vq);
	return ret;
}

/* Fetch a buffer of any kind. */
static noinline int vhost_ring_get_any(struct vhost_virtqueue *vq, struct iovec iov[],
				       unsigned int iov_size, unsigned int *out_num,
				       unsigned int *in_num, struct vhost_log *log,
				       unsigned int *log_num)
{
	struct vhost_buf buf = { .iov = iov, .iov_size = iov_size, .log = log, .log_num = log_num };
	struct vhost_ring *ring = vq->ring;
	const struct vhost_desc *desc;
	unsigned int descs = 0;
	u16 flags;
	int ret;

	if (unlikely(log))
		*log_num = 0;
	do {
		ret = -EINVAL;
		if (unlikely(descs == vq->num)) {
			/* Longer than the ring: forbidden by 2.7.5.3.1 and 2.8.17 */
			vq_err(vq, "A chain does not end\n");
			goto none;
		}
		if (ring->prefetch_pos == ring->prefetch_len) {
			ret = vhost_ring_prefetch(vq, descs);
			if (ret <= 0)
				goto none;
		}
		desc = &ring->prefetch[ring->prefetch_pos++];
		flags = vhost_desc_flags(desc->word);
		ret = -EINVAL;
		if (unlikely(flags & VRING_DESC_F_INDIRECT && flags & VRING_DESC_F_NEXT)) {
			/*
			 * Forbidden by 2.7.5.3.1 and 2.8.19. A chain of indirect tables could
			 * keep this loop busy for minutes.
			 */
			vq_err(vq, "An indirect descriptor that is not the last one\n");
			goto none;
		}
		if (!(flags & VRING_DESC_F_INDIRECT))
			ret = vhost_buf_add(vq, &buf, desc->addr, desc->word);
		else if (vhost_ring_is_packed(vq))
			ret = vhost_packed_get_indirect(vq, &buf, desc->addr, desc->word, descs);
		else
			ret = vhost_split_in_order_get_indirect(vq, &buf, desc->addr, desc->word,
								descs);
		if (unlikely(ret))
			goto none;
		descs++;
	} while (flags & VRING_DESC_F_NEXT);

	ret = vhost_ring_commit(vq, desc->word, descs, ring->layout);
	if (unlikely(ret < 0))
		goto none;
	*out_num = buf.out;
	*in_num = buf.in;
	return ret;

none:
	vhost_ring_drop_prefetch(vq);
	*out_num = 0;
	*in_num = 0;
	/* A driver makes the first descriptor of a chain available last (2.8.6) */
	if (!ret) {
		vq_err(vq, "A chain ends after %u descriptors, the next is not available\n", descs);
		ret = -EINVAL;
	}
	return ret;
}

/* Fetch the next buffer if it is a single descriptor in the region that was found last. */
static __always_inline bool vhost_ring_get_one(struct vhost_virtqueue *vq, struct iovec *iov,
					       unsigned int iov_size, u64 *word)
{
	struct vhost_ring *ring = vq->ring;
	const struct vhost_desc *desc = &ring->prefetch[ring->prefetch_pos];

	*word = desc->word;
	if (vhost_desc_flags(*word) & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT) || !iov_size ||
	    !vhost_map_find(vq, desc->addr, *word, iov))
		return false;
	ring->prefetch_pos++;
	return true;
}

static __always_inline int vhost_ring_get(struct vhost_virtqueue *vq, struct iovec iov[],
					  unsigned int iov_size, unsigned int *out_num,
					  unsigned int *in_num, struct vhost_log *log,
					  unsigned int *log_num, enum vhost_layout layout)
{
	u64 word;
	int ret;

	if (vq->ring->prefetch_pos == vq->ring->prefetch_len) {
		ret = vhost_ring_prefetch(vq, 0);
		if (unlikely(ret <= 0)) {
			*out_num = 0;
			*in_num = 0;
			return ret ?: vq->num;
		}
	}
	if (unlikely(log) || !vhost_ring_get_one(vq, iov, iov_size, &word))
		return vhost_ring_get_any(vq, iov, iov_size, out_num, in_num, log, log_num);
	*in_num = !!(vhost_desc_flags(word) & VRING_DESC_F_WRITE);
	*out_num = !*in_num;
	return vhost_ring_commit(vq, word, 1, layout);
}

/* What the exported functions with these names do for a layout */
struct vhost_ring_ops {
	int (*get)(struct vhost_virtqueue *vq, struct iovec iov[], unsigned int iov_size,
		   unsigned int *out_num, unsigned int *in_num, struct vhost_log *log,
		   unsigned int *log_num);
	void (*discard)(struct vhost_virtqueue *vq, const struct vring_used_elem *heads, int n);
	int (*add_used)(struct vhost_virtqueue *vq, struct vring_used_elem *heads,
			unsigned int count);
	bool (*notify)(struct vhost_dev *dev, struct vhost_virtqueue *vq);
	bool (*avail_empty)(struct vhost_dev *dev, struct vhost_virtqueue *vq);
	bool (*enable_notify)(struct vhost_dev *dev, struct vhost_virtqueue *vq);
	void (*disable_notify)(struct vhost_dev *dev, struct vhost_virtqueue *vq);
};

/* The split layout out of order, which is in vhost.c */
static noinline int vhost_split_get(struct vhost_virtqueue *vq, struct iovec iov[],
				    unsigned int iov_size, unsigned int *out_num,
				    unsigned int *in_num, struct vhost_log *log,
				    unsigned int *log_num);
static void vhost_split_discard(struct vhost_virtqueue *vq, const struct vring_used_elem *heads,
				int n);
static noinline int vhost_split_add_used_n(struct vhost_virtqueue *vq,
					   struct vring_used_elem *heads, unsigned int count);
static noinline bool vhost_notify(struct vhost_dev *dev, struct vhost_virtqueue *vq);
static bool vhost_split_avail_empty(struct vhost_dev *dev, struct vhost_virtqueue *vq);
static bool vhost_split_enable_notify(struct vhost_dev *dev, struct vhost_virtqueue *vq);
static void vhost_split_disable_notify(struct vhost_dev *dev, struct vhost_virtqueue *vq);

static const struct vhost_ring_ops vhost_split_ops = {
	.get = vhost_split_get,
	.discard = vhost_split_discard,
	.add_used = vhost_split_add_used_n,
	.notify = vhost_notify,
	.avail_empty = vhost_split_avail_empty,
	.enable_notify = vhost_split_enable_notify,
	.disable_notify = vhost_split_disable_notify,
};

static const struct vhost_ring_ops vhost_split_in_order_ops, vhost_packed_ops,
				   vhost_packed_in_order_ops;

/* The structures are constant, so that these are direct calls. */
#define vhost_ring_call(vq, op, ...)							\
({											\
	const struct vhost_ring *__ring = (vq)->ring;					\
											\
	likely(!__ring) ? vhost_split_ops.op(__VA_ARGS__) :				\
	__ring->layout == VHOST_SPLIT_IN_ORDER ?					\
			  vhost_split_in_order_ops.op(__VA_ARGS__) :			\
	__ring->layout == VHOST_PACKED ? vhost_packed_ops.op(__VA_ARGS__) :		\
			  vhost_packed_in_order_ops.op(__VA_ARGS__);			\
})

static bool vhost_ring_notify(struct vhost_dev *dev, struct vhost_virtqueue *vq)
{
	return vhost_ring_call(vq, notify, dev, vq);
}

static int vhost_packed_init(struct vhost_virtqueue *vq);

/*
 * Called by vhost_vq_init_access(): the virtqueue has got a backend, and features and size
 * cannot change while it has one. Returns 1 if the layout is packed, 0 if it is split, or
 * -EINVAL, -ENOMEM or -EFAULT. After -EINVAL and -ENOMEM, vq->ring may be for another size or
 * layout, or the base outside of it. The virtqueue then loses its backend, because vhost-test
 * would go on with it.
 */
static int vhost_ring_init(struct vhost_virtqueue *vq)
{
	bool packed = vhost_has_feature(vq, VIRTIO_F_RING_PACKED);
	bool in_order = vhost_has_feature(vq, VIRTIO_F_IN_ORDER);
	struct vhost_ring *ring = NULL;
	int ret = -EINVAL;

	if (!packed && !is_power_of_2(vq->num))
		goto bad;
	if (packed || in_order) {
		/* Zeroed: nothing has been prefetched */
		ring = kvzalloc(struct_size(ring, fetched, in_order ? vq->num : 0), GFP_KERNEL);
		ret = -ENOMEM;
		if (!ring)
			goto bad;
		ring->layout = !packed ? VHOST_SPLIT_IN_ORDER :
				in_order ? VHOST_PACKED_IN_ORDER : VHOST_PACKED;
		ring->resync = true;
	}
	vhost_ring_free(vq);
	vq->ring = ring;
	/* What a split ring leaves is no base of a packed one. */
	if (!packed)
		vq->has_base = false;
	ret = packed ? vhost_packed_init(vq) ?: 1 : 0;
	if (ret != -EINVAL)
		return ret;
bad:
	vhost_vq_set_backend(vq, NULL);
	return ret;
}

/* vhost_ring_check_features() for one virtqueue */
static int vhost_ring_check_vq_features(struct vhost_virtqueue *vq, u64 features)
{
	int ret = 0;

	if (features & VHOST_RING_FEATURES && !(features & BIT_ULL(VIRTIO_F_VERSION_1)))
		return -EINVAL;

	mutex_lock(&vq->mutex);
	/* To start dirty logging, a VMM sets again the features that its guest runs with. */
	if (features & VHOST_RING_FEATURES & ~vhost_ring_features() & ~vq->acked_features)
		ret = -EOPNOTSUPP;
	else if (vq->private_data && (vq->acked_features ^ features) & VHOST_RING_FEATURES)
		ret = -EBUSY;
	mutex_unlock(&vq->mutex);
	return ret;
}

static int __vhost_ring_check_features(struct vhost_dev *dev, u64 features)
{
	int i, ret = 0;

	lockdep_assert_held(&dev->mutex);
	for (i = 0; i < dev->nvqs && !ret; i++)
		ret = vhost_ring_check_vq_features(dev->vqs[i], features);
	return ret;
}

#endif
