/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packed layout, with and without VIRTIO_F_IN_ORDER
 *
 * last_avail_idx and last_used_idx have the form of the event suppression structure's first
 * field (2.8.14): the index of a descriptor, and the wrap counter (2.8.1) as the top bit.
 * Variables of this form are called off_wrap. @desc is the ring of descriptors, @avail the
 * driver's and @used the device's event suppression structure.
 *
 * The driver may write to the ring at any time. So each descriptor is read once, the word with
 * the flags first, and only the copy is checked and used.
 */
#ifndef _DRIVERS_VHOST_RING_PACKED_H
#define _DRIVERS_VHOST_RING_PACKED_H

#ifndef VHOST_C
#error "This header has functions for vhost.c, and only that may include it."
#endif

/* An index has 15 bits (2.8.14) */
#define VHOST_PACKED_MAX	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)
#define VHOST_PACKED_WRAP	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)

#define VHOST_PACKED_AVAIL	BIT(VRING_PACKED_DESC_F_AVAIL)
#define VHOST_PACKED_USED	BIT(VRING_PACKED_DESC_F_USED)

/*
 * Read length, Buffer ID and flags of a descriptor (2.8.13), inside a user access section.
 * With one access where the CPU can do that, so that the flags and what they cover cannot be
 * of different times; else the flags first.
 */
static __always_inline bool vhost_packed_get_word(const struct vring_packed_desc __user *from,
						  u64 *word)
{
#ifdef CONFIG_64BIT
	__le64 both;

	unsafe_get_user(both, (__le64 __user *)&from->len, fault);
	*word = le64_to_cpu(both);
#else
	__le32 len, rest;

	unsafe_get_user(rest, (__le32 __user *)&from->id, fault);
	/*
	 * Read the flags before the length. Pairs with the driver's virtio_wmb().
	 * Litmus: packed-avail-32.
	 */
	smp_rmb();
	unsafe_get_user(len, &from->len, fault);
	*word = le32_to_cpu(len) | (u64)le32_to_cpu(rest) << 32;
#endif
	return true;

fault:
	return false;
}

static __always_inline bool vhost_packed_put_word(struct vring_packed_desc __user *to, u64 word)
{
#ifdef CONFIG_64BIT
	unsafe_put_user(cpu_to_le64(word), (__le64 __user *)&to->len, fault);
#else
	unsafe_put_user(cpu_to_le32(word), &to->len, fault);
	/*
	 * Write the length before the flags. Pairs with the driver's virtio_rmb().
	 * Litmus: packed-used-32.
	 */
	smp_wmb();
	unsafe_put_user(cpu_to_le32(word >> 32), (__le32 __user *)&to->id, fault);
#endif
	return true;

fault:
	return false;
}

static inline struct vring_packed_desc __user *vhost_packed_ring(struct vhost_virtqueue *vq)
{
	return (struct vring_packed_desc __user *)vq->desc;
}

/* Called inside of user access sections too, in which no function may be called: inline. */
static __always_inline u16 vhost_packed_index(u16 off_wrap)
{
	return off_wrap & ~VHOST_PACKED_WRAP;
}

static __always_inline u16 vhost_packed_advance(const struct vhost_virtqueue *vq, u16 off_wrap,
						unsigned int descs)
{
	unsigned int i = vhost_packed_index(off_wrap) + descs;
	u16 wrap = off_wrap & VHOST_PACKED_WRAP;

	if (i >= vq->num) {
		i -= vq->num;
		wrap ^= VHOST_PACKED_WRAP;
	}
	return i | wrap;
}

/*
 * Read up to @max descriptors, beginning at @off_wrap, until one is not available: AVAIL must
 * equal the wrap counter, and USED must not (2.8.1). Returns how many were read, or -EFAULT.
 */
static noinline int vhost_packed_read(struct vhost_virtqueue *vq, u16 off_wrap,
				      struct vhost_desc *to, unsigned int max)
{
	u16 avail = off_wrap & VHOST_PACKED_WRAP ? VHOST_PACKED_AVAIL : VHOST_PACKED_USED;
	struct vring_packed_desc __user *from = vhost_packed_ring(vq);
	unsigned int n;
	__le64 addr;

	from = vhost_ring_uaddr(vq, from + vhost_packed_index(off_wrap), max * sizeof(*from),
				VHOST_ADDR_DESC, VHOST_ACCESS_RO);
	if (unlikely(!from) || !user_read_access_begin(from, max * sizeof(*from)))
		goto bad;

	for (n = 0; n < max; n++) {
		if (!vhost_packed_get_word(from + n, &to[n].word))
			goto fault;
		if ((vhost_desc_flags(to[n].word) & (VHOST_PACKED_AVAIL | VHOST_PACKED_USED)) !=
		    avail)
			break;
		/*
		 * The driver wrote the flags of the first descriptor last (2.8.21.1), so read
		 * everything else, here and in the following descriptors, after them. Pairs
		 * with the driver's virtio_wmb().
		 * Litmus: packed-avail.
		 */
		smp_rmb();
		unsafe_get_user(addr, &from[n].addr, fault);
		to[n].addr = le64_to_cpu(addr);
	}
	user_read_access_end();
	return n;

fault:
	user_read_access_end();
bad:
	vq_err(vq, "Failed to read descriptors from %u on\n", vhost_packed_index(off_wrap));
	return -EFAULT;
}

static __always_inline int vhost_packed_prefetch(struct vhost_virtqueue *vq,
						 unsigned int descs, unsigned int max)
{
	u16 off_wrap = vhost_packed_advance(vq, vq->last_avail_idx, descs);
	unsigned int i = vhost_packed_index(off_wrap);
	int ret = vhost_packed_read(vq, off_wrap, vq->ring->prefetch, min(max, vq->num - i));

	/* A driver that takes back what was discarded is not to have vhost look for it for ever. */
	if (unlikely(!ret) && !descs)
		vq->ring->nr_discarded = 0;
	return ret;
}

static int vhost_packed_get_indirect(struct vhost_virtqueue *vq, struct vhost_buf *buf, u64 addr,
				     u64 word, unsigned int descs)
{
	struct vring_packed_desc desc;
	struct iov_iter from;
	unsigned int i, count;
	u32 len = word;
	int ret;

	if (unlikely(descs || vhost_desc_flags(word) & VRING_DESC_F_NEXT)) {
		/* Forbidden by 2.8.19 */
		vq_err(vq, "An indirect descriptor in a chain\n");
		return -EINVAL;
	}
	count = len / sizeof(desc);
	if (unlikely(!count || len % sizeof(desc) || count > USHRT_MAX + 1)) {
		vq_err(vq, "Indirect table of %u bytes\n", len);
		return -EINVAL;
	}
	ret = translate_desc(vq, addr, len, vq->indirect, UIO_MAXIOV, VHOST_ACCESS_RO);
	if (unlikely(ret < 0)) {
		if (ret != -EAGAIN)
			vq_err(vq, "Translation failure %d of an indirect table\n", ret);
		return ret;
	}
	iov_iter_init(&from, ITER_SOURCE, vq->indirect, ret, len);

	for (i = 0; i < count; i++) {
		if (unlikely(!copy_from_iter_full(&desc, sizeof(desc), &from))) {
			vq_err(vq, "Failed to read indirect descriptor %u\n", i);
			return -EFAULT;
		}
		/* VRING_DESC_F_WRITE is the only flag here, others are ignored (2.8.7) */
		ret = vhost_buf_add(vq, buf, le64_to_cpu(desc.addr),
				    vhost_desc_word(le32_to_cpu(desc.len), 0,
						    le16_to_cpu(desc.flags)));
		if (unlikely(ret))
			return ret;
	}
	return 0;
}

/* A buffer of @descs descriptors has been fetched. Returns its handle, or -EINVAL. */
static __always_inline int vhost_packed_commit(struct vhost_virtqueue *vq, u16 id,
					       unsigned int descs, enum vhost_layout layout)
{
	unsigned int index = vhost_packed_index(vq->last_avail_idx);
	struct vhost_ring *ring = vq->ring;
	u32 handle = index;

	/* A broken driver may make descriptors available again before they have been used. */
	if (unlikely(ring->nr_outstanding + descs > vq->num)) {
		vq_err(vq, "More descriptors available than there are\n");
		return -EINVAL;
	}
	if (layout == VHOST_PACKED_IN_ORDER)
		ring->fetched[index] = (struct vhost_fetched){ id, descs };
	else
		handle = (u32)id << 15 | (descs - 1);
	handle ^= VHOST_HANDLE;
	if (layout == VHOST_PACKED && unlikely(handle == vq->num)) {
		vq_err(vq, "Buffer ID %u in a ring of %u\n", id, vq->num);
		return -EINVAL;
	}
	vq->last_avail_idx = vhost_packed_advance(vq, vq->last_avail_idx, descs);
	ring->nr_outstanding += descs;
	ring->nr_discarded -= min(ring->nr_discarded, descs);
	return handle;
}

static noinline int
vhost_packed_get(struct vhost_virtqueue *vq, struct iovec iov[], unsigned int iov_size,
		 unsigned int *out_num, unsigned int *in_num, struct vhost_log *log,
		 unsigned int *log_num)
{
	return vhost_ring_get(vq, iov, iov_size, out_num, in_num, log, log_num, VHOST_PACKED);
}

static noinline int
vhost_packed_in_order_get(struct vhost_virtqueue *vq, struct iovec iov[], unsigned int iov_size,
			  unsigned int *out_num, unsigned int *in_num, struct vhost_log *log,
			  unsigned int *log_num)
{
	return vhost_ring_get(vq, iov, iov_size, out_num, in_num, log, log_num,
			      VHOST_PACKED_IN_ORDER);
}

static void vhost_packed_rewind(struct vhost_virtqueue *vq, unsigned int descs)
{
	unsigned int i = vhost_packed_index(vq->last_avail_idx);
	u16 wrap = vq->last_avail_idx & VHOST_PACKED_WRAP;

	if (i < descs) {
		i += vq->num;
		wrap ^= VHOST_PACKED_WRAP;
	}
	vq->last_avail_idx = (i - descs) | wrap;
	vq->ring->nr_outstanding -= descs;
	vq->ring->nr_discarded += descs;
	vhost_ring_drop_prefetch(vq);
}

/* vhost_discard_vq_desc(). @heads are the buffers that were fetched last. */
static noinline void vhost_packed_discard(struct vhost_virtqueue *vq,
					  const struct vring_used_elem *heads, int n)
{
	unsigned int descs = 0;

	while (n--)
		descs += vhost_handle_descs(vhost32_to_cpu(vq, heads[n].id));
	vhost_packed_rewind(vq, descs);
}

/* Number of descriptors from the one at @index to the one at @off_wrap */
static __always_inline unsigned int vhost_packed_distance(const struct vhost_virtqueue *vq,
							  unsigned int index, u16 off_wrap)
{
	unsigned int i = vhost_packed_index(off_wrap);

	return i >= index ? i - index : i + vq->num - index;
}

/* vhost_discard_vq_desc(), in order. All buffers since the one in @heads[0] are given back. */
static noinline void vhost_packed_in_order_discard(struct vhost_virtqueue *vq,
						   const struct vring_used_elem *heads, int n)
{
	unsigned int index;

	if (!n)
		return;
	index = vhost_handle_index(vhost32_to_cpu(vq, heads->id));
	vhost_packed_rewind(vq, vhost_packed_distance(vq, index, vq->last_avail_idx) ?: vq->num);
}

/* A used descriptor: both bits equal the wrap counter (2.8.1). Its address is unused (2.8.4). */
static __always_inline u64 vhost_packed_used_word(u16 off_wrap, u16 id, u32 len)
{
	u16 wrap = off_wrap & VHOST_PACKED_WRAP ? VHOST_PACKED_AVAIL | VHOST_PACKED_USED : 0;

	return vhost_desc_word(len, id, wrap | (len ? VRING_DESC_F_WRITE : 0));
}

/* A descriptor that is not used yet: the bits differ (2.8.1). Its ID means nothing. */
static __always_inline u64 vhost_packed_unused_word(u16 off_wrap)
{
	return vhost_desc_word(0, 0, off_wrap & VHOST_PACKED_WRAP ? VHOST_PACKED_AVAIL :
								    VHOST_PACKED_USED);
}

/* Write @word, a used descriptor or one that is not used yet, at @off_wrap. */
static noinline int vhost_packed_write_word(struct vhost_virtqueue *vq, u16 off_wrap, u64 word)
{
	struct vring_packed_desc __user *to = vhost_packed_ring(vq);
	const size_t from = offsetof(struct vring_packed_desc, len);

	to = vhost_ring_uaddr(vq, to + vhost_packed_index(off_wrap), sizeof(*to),
			      VHOST_ADDR_DESC, VHOST_ACCESS_WO);
	if (unlikely(!to) || !user_write_access_begin(to, sizeof(*to)))
		goto bad;
	if (!vhost_packed_put_word(to, word))
		goto fault;
	user_write_access_end();

	if (unlikely(vq->log_used)) {
		/*
		 * Write the ring before the log. Pairs with the barrier of a VMM between
		 * reading the log and reading the ring.
		 * Litmus: log.
		 */
		smp_wmb();
		log_write_hva(vq, (uintptr_t)to + from, sizeof(*to) - from);
	}
	return 0;

fault:
	user_write_access_end();
bad:
	vq_err(vq, "Failed to write used descriptor %u\n", vhost_packed_index(off_wrap));
	return -EFAULT;
}

/* A used descriptor to be written */
struct vhost_packed_used {
	u16 off_wrap;
	u16 id;
	u32 len;
	u16 next;	/* off_wrap of the used descriptor after it */
};

/*
 * Make the used descriptor for @off_wrap. It returns the next of the @count buffers in @heads,
 * from *@i on; in order, it may return several, and any before them that the backend forgot
 * (2.8.8). Returns false if the backend uses a buffer that it has not fetched.
 */
static __always_inline bool
vhost_packed_next_used(struct vhost_virtqueue *vq, const struct vring_used_elem *heads,
		       unsigned int count, unsigned int *i, u16 off_wrap,
		       enum vhost_layout layout, struct vhost_packed_used *used)
{
	bool in_order = layout == VHOST_PACKED_IN_ORDER;
	unsigned int next = in_order ? vhost_used_next(heads, count, *i) : *i;
	u32 handle = vhost32_to_cpu(vq, heads[next].id);
	const struct vhost_fetched *fetched;
	unsigned int index, descs;

	used->off_wrap = off_wrap;
	used->len = vhost32_to_cpu(vq, heads[next].len);
	if (in_order) {
		index = vhost_handle_index(handle);
		if (unlikely(index >= vq->num))
			return false;
		descs = (index >= vhost_packed_index(off_wrap) ? index : index + vq->num) -
			vhost_packed_index(off_wrap);
		if (unlikely(descs && used->len)) {
			index = vhost_packed_index(off_wrap);
			descs = 0;
			used->len = 0;
		} else {
			*i = next + 1;
		}
		fetched = &vq->ring->fetched[index];
		used->id = fetched->id;
		descs += fetched->descs;
	} else {
		used->id = vhost_handle_id(handle);
		descs = vhost_handle_descs(handle);
		++*i;
	}
	if (unlikely(descs > vq->ring->nr_outstanding))
		return false;
	used->next = vhost_packed_advance(vq, off_wrap, descs);
	vq->ring->nr_outstanding -= descs;
	return true;
}

/*
 * Take back what was written for @heads[1] to @heads[@n - 1]. The first descriptor was not, so
 * the driver has not seen it; but it would when it gets there, while the next buffers are
 * returned in the first's place.
 */
static noinline void vhost_packed_unuse(struct vhost_virtqueue *vq,
					const struct vring_used_elem *heads, unsigned int n)
{
	u16 off_wrap = vq->last_used_idx;
	unsigned int i;

	for (i = 1; i < n; i++) {
		u32 handle = vhost32_to_cpu(vq, heads[i - 1].id);

		off_wrap = vhost_packed_advance(vq, off_wrap, vhost_handle_descs(handle));
		if (vhost_packed_write_word(vq, off_wrap, vhost_packed_unused_word(off_wrap)))
			break;
	}
}

/*
 * vhost_add_used_n(). The first descriptor is written last, because it is the one that the
 * driver looks at: it sees a packet that is in several buffers completely, or not at all
 * (2.8.9).
 */
static __always_inline int __vhost_packed_add_used(struct vhost_virtqueue *vq,
						   const struct vring_used_elem *heads,
						   unsigned int count, enum vhost_layout layout)
{
	struct vring_packed_desc __user *ring = vhost_packed_ring(vq);
	struct vring_packed_desc __user *to;
	struct vhost_packed_used first, used;
	unsigned int i = 0, outstanding = vq->ring->nr_outstanding;

	if (!vhost_packed_next_used(vq, heads, count, &i, vq->last_used_idx, layout, &first))
		goto bad;
	used = first;
	if (i < count && !vq->iotlb && !vq->log_used) {
		/* Write all others in one user access section */
		if (!user_write_access_begin(ring, vq->num * sizeof(*ring)))
			goto bad;
		while (i < count) {
			if (!vhost_packed_next_used(vq, heads, count, &i, used.next, layout, &used))
				goto fault;
			to = ring + vhost_packed_index(used.off_wrap);
			if (!vhost_packed_put_word(to, vhost_packed_used_word(used.off_wrap,
									      used.id, used.len)))
				goto fault;
		}
		user_write_access_end();
	}
	while (i < count) {
		if (!vhost_packed_next_used(vq, heads, count, &i, used.next, layout, &used) ||
		    vhost_packed_write_word(vq, used.off_wrap,
					    vhost_packed_used_word(used.off_wrap, used.id,
								   used.len)))
			goto bad;
	}

	/*
	 * Write all others before the first one. Pairs with the driver's virtio_rmb().
	 * Litmus: packed-used.
	 */
	smp_wmb();
	if (vhost_packed_write_word(vq, first.off_wrap,
				    vhost_packed_used_word(first.off_wrap, first.id, first.len)))
		goto bad;
	vq->last_used_idx = used.next;
	vq->ring->nr_used = min(vq->ring->nr_used + outstanding - vq->ring->nr_outstanding,
				vq->num);
	if (unlikely(vq->log_used) && vq->log_ctx)
		eventfd_signal(vq->log_ctx);
	return 0;

fault:
	user_write_access_end();
bad:
	/* In order, these buffers are returned with the next ones that are used. */
	if (layout == VHOST_PACKED)
		vhost_packed_unuse(vq, heads, i);
	vq->ring->nr_outstanding = outstanding;
	vq_err(vq, "Failed to write used descriptors\n");
	return -EFAULT;
}

static noinline int vhost_packed_add_used(struct vhost_virtqueue *vq,
					  struct vring_used_elem *heads, unsigned int count)
{
	return __vhost_packed_add_used(vq, heads, count, VHOST_PACKED);
}

static noinline int vhost_packed_in_order_add_used(struct vhost_virtqueue *vq,
						   struct vring_used_elem *heads,
						   unsigned int count)
{
	return __vhost_packed_add_used(vq, heads, count, VHOST_PACKED_IN_ORDER);
}

/* Does the driver want to be notified (2.8.10) of what was used since the last call? */
static noinline bool vhost_packed_notify(struct vhost_dev *dev, struct vhost_virtqueue *vq)
{
	struct vring_packed_desc_event __user *event = (void __user *)vq->avail;
	u16 off_wrap, flags, off, new = vhost_packed_index(vq->last_used_idx);
	u32 used = vq->ring->nr_used;
	__le32 word;
	int ret = -EFAULT;

	/*
	 * Write the used descriptors before reading what the driver wants. Pairs with the
	 * driver's virtio_mb().
	 * Litmus: packed-call.
	 */
	smp_mb();
	BUILD_BUG_ON(sizeof(*event) != sizeof(word));
	event = vhost_ring_uaddr(vq, event, sizeof(*event), VHOST_ADDR_AVAIL, VHOST_ACCESS_RO);
	if (event)
		ret = __get_user(word, (__le32 __user *)event);
	if (unlikely(ret)) {
		vq_err(vq, "Failed to read the driver's event suppression\n");
		return true;
	}
	off_wrap = le32_to_cpu(word);
	flags = le32_to_cpu(word) >> 16;

	vq->ring->nr_used = 0;
	if (flags == VRING_PACKED_EVENT_FLAG_DISABLE)
		return false;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC ||
	    !vhost_has_feature(vq, VIRTIO_RING_F_EVENT_IDX))
		return true;
	/* First call, or the whole ring has been used since the last one */
	if (!vq->signalled_used_valid || used >= vq->num) {
		vq->signalled_used_valid = true;
		return true;
	}

	off = vhost_packed_index(off_wrap);
	if ((off_wrap ^ vq->last_used_idx) & VHOST_PACKED_WRAP)
		off -= vq->num;
	return vring_need_event(off, new, new - used);
}

/* Write the device event suppression structure: when the driver has to kick (2.8.10). */
static int vhost_packed_write_event(struct vhost_virtqueue *vq, u16 off_wrap, u16 flags)
{
	void __user *event = vhost_ring_uaddr(vq, (void __user *)vq->used, sizeof(__le32),
						VHOST_ADDR_USED, VHOST_ACCESS_WO);

	/* With one access, so that the driver cannot see one field without the other */
	if (unlikely(!event) ||
	    __put_user(cpu_to_le32(off_wrap | (u32)flags << 16), (__le32 __user *)event)) {
		vq_err(vq, "Failed to write the device's event suppression\n");
		return -EFAULT;
	}
	if (unlikely(vq->log_used)) {
		/*
		 * Write the ring before the log. Pairs with the barrier of a VMM between
		 * reading the log and reading the ring.
		 * Litmus: log.
		 */
		smp_wmb();
		log_used(vq, 0, sizeof(__le32));
		if (vq->log_ctx)
			eventfd_signal(vq->log_ctx);
	}
	return 0;
}

/*
 * The first descriptor that has not been seen available yet. Discarded ones do not count: the
 * backend found that they are too few, and reporting them again would make it loop.
 */
static u16 vhost_packed_end(const struct vhost_virtqueue *vq)
{
	return vhost_packed_advance(vq, vq->last_avail_idx, vq->ring->nr_discarded);
}

/* Returns 1 if there are new available descriptors, 0 if not, or -EFAULT. */
static int vhost_packed_avail(struct vhost_virtqueue *vq)
{
	struct vhost_desc desc;

	return vhost_packed_read(vq, vhost_packed_end(vq), &desc, 1);
}

/* vhost_vq_avail_empty() */
static bool vhost_packed_avail_empty(struct vhost_dev *dev, struct vhost_virtqueue *vq)
{
	return !vq->ring->nr_discarded && !vhost_packed_avail(vq);
}

/* vhost_enable_notify() */
static bool vhost_packed_enable_notify(struct vhost_dev *dev, struct vhost_virtqueue *vq)
{
	bool event_idx = vhost_has_feature(vq, VIRTIO_RING_F_EVENT_IDX);

	if (!(vq->used_flags & VRING_USED_F_NO_NOTIFY))
		return false;
	vq->used_flags &= ~VRING_USED_F_NO_NOTIFY;
	if (vhost_packed_write_event(vq, event_idx ? vhost_packed_end(vq) : 0,
				     event_idx ? VRING_PACKED_EVENT_FLAG_DESC :
						 VRING_PACKED_EVENT_FLAG_ENABLE))
		return false;
	/*
	 * Say so before looking again for a buffer, which the driver may have added meanwhile.
	 * Pairs with the driver's virtio_mb().
	 * Litmus: packed-kick.
	 */
	smp_mb();
	return vhost_packed_avail(vq) > 0;
}

/* vhost_disable_notify(). With an event index there is nothing to do: it has been passed. */
static void vhost_packed_disable_notify(struct vhost_dev *dev, struct vhost_virtqueue *vq)
{
	if (vq->used_flags & VRING_USED_F_NO_NOTIFY)
		return;
	vq->used_flags |= VRING_USED_F_NO_NOTIFY;
	if (!vhost_has_feature(vq, VIRTIO_RING_F_EVENT_IDX))
		vhost_packed_write_event(vq, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
}

/*
 * VHOST_SET_VRING_NUM: the size is a power of two, unless the layout is packed (2.8.10.1).
 * vhost-vdpa passes the size on to its device, and is as it was.
 */
static bool vhost_ring_num_ok(struct vhost_virtqueue *vq, unsigned int num)
{
	if (!num || num > U16_MAX)
		return false;
	return is_power_of_2(num) ||
		(vq->dev->use_worker && vhost_has_feature(vq, VIRTIO_F_RING_PACKED) &&
		 num <= VHOST_PACKED_MAX);
}

/*
 * VHOST_SET_VRING_BASE of the packed ring: QEMU passes both values, DPDK only the available one
 * and 0 for the used one. So a used value of 0 means "the same as the available one". As a
 * value of its own it would make sense only with buffers outstanding while the wrap
 * counter is 0.
 */
static void vhost_packed_set_base(struct vhost_virtqueue *vq)
{
	vq->has_base = true;
	if (vq->dev->use_worker && !vq->last_used_idx)
		vq->last_used_idx = vq->last_avail_idx;
}

/*
 * VHOST_GET_VRING_BASE. In order, buffers that were not used will be fetched again. The layout
 * is that of the features: vq->ring is what the virtqueue was run with before.
 */
static u32 vhost_packed_get_base(struct vhost_virtqueue *vq)
{
	bool again = vq->dev->use_worker && vhost_has_feature(vq, VIRTIO_F_IN_ORDER);

	return (u32)vq->last_used_idx << 16 | (again ? vq->last_used_idx : vq->last_avail_idx);
}

/* The default base: that of a new ring, with both wrap counters 1 (2.8.1) */
static void vhost_packed_first_base(struct vhost_virtqueue *vq)
{
	vq->has_base = true;
	vq->last_avail_idx = VHOST_PACKED_WRAP;
	vq->last_used_idx = VHOST_PACKED_WRAP;
}

/* Alignment of the three parts of a packed ring (2.8.10.1) */
static bool vhost_packed_aligned(struct vhost_virtqueue *vq, const void __user *desc,
				 const void __user *driver, const void __user *device)
{
	return !vhost_has_feature(vq, VIRTIO_F_RING_PACKED) ||
		(IS_ALIGNED((uintptr_t)desc, sizeof(struct vring_packed_desc)) &&
		 IS_ALIGNED((uintptr_t)driver | (uintptr_t)device,
			    sizeof(struct vring_packed_desc_event)));
}

/* vq_meta_prefetch(). Unlike a split ring, the descriptors are read and written. */
static bool vhost_packed_meta_prefetch(struct vhost_virtqueue *vq)
{
	u64 desc = (uintptr_t)vq->desc, driver = (uintptr_t)vq->avail, device = (uintptr_t)vq->used;
	u64 size = vhost_get_desc_size(vq, vq->num);

	return iotlb_access_ok(vq, VHOST_MAP_WO, desc, size, VHOST_ADDR_DESC) &&
		iotlb_access_ok(vq, VHOST_MAP_RO, desc, size, VHOST_ADDR_DESC) &&
		iotlb_access_ok(vq, VHOST_MAP_RO, driver, vhost_get_avail_size(vq, vq->num),
				VHOST_ADDR_AVAIL) &&
		iotlb_access_ok(vq, VHOST_MAP_WO, device, vhost_get_used_size(vq, vq->num),
				VHOST_ADDR_USED);
}

/* vhost_vq_init_access() */
static int vhost_packed_init(struct vhost_virtqueue *vq)
{
	unsigned int avail, used;
	bool off = vq->used_flags & VRING_USED_F_NO_NOTIFY;

	if (!vq->has_base)
		vhost_packed_first_base(vq);
	avail = vhost_packed_index(vq->last_avail_idx);
	used = vhost_packed_index(vq->last_used_idx);
	if (avail >= vq->num || used >= vq->num || vq->num > VHOST_PACKED_MAX)
		return -EINVAL;
	if ((vq->last_avail_idx ^ vq->last_used_idx) & VHOST_PACKED_WRAP)
		avail += vq->num;
	if (avail < used || avail - used > vq->num)
		return -EINVAL;
	if (vq->ring->layout == VHOST_PACKED_IN_ORDER) {
		/* No buffer is with the device: fetch those again that were not used */
		vq->last_avail_idx = vq->last_used_idx;
		avail = used;
	}
	vq->ring->nr_outstanding = avail - used;
	vq->ring->nr_used = 0;
	vq->ring->nr_discarded = 0;
	vq->signalled_used_valid = false;
	return vhost_packed_write_event(vq, 0, off ? VRING_PACKED_EVENT_FLAG_DISABLE :
						     VRING_PACKED_EVENT_FLAG_ENABLE);
}

static const struct vhost_ring_ops vhost_packed_ops = {
	.get = vhost_packed_get,
	.discard = vhost_packed_discard,
	.add_used = vhost_packed_add_used,
	.notify = vhost_packed_notify,
	.avail_empty = vhost_packed_avail_empty,
	.enable_notify = vhost_packed_enable_notify,
	.disable_notify = vhost_packed_disable_notify,
};

static const struct vhost_ring_ops vhost_packed_in_order_ops = {
	.get = vhost_packed_in_order_get,
	.discard = vhost_packed_in_order_discard,
	.add_used = vhost_packed_in_order_add_used,
	.notify = vhost_packed_notify,
	.avail_empty = vhost_packed_avail_empty,
	.enable_notify = vhost_packed_enable_notify,
	.disable_notify = vhost_packed_disable_notify,
};

#endif
