/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packed layout
 *
 * Included by vhost.c. last_avail_idx and last_used_idx are positions: the index of a
 * descriptor, and as the top bit the wrap counter. The descriptors are in @desc, the
 * driver's event suppression in @avail, ours in @used.
 *
 * The driver may write the ring at any time. Of a descriptor the word with the flags
 * is read first, then the rest, each once; it is checked, and only that copy is used.
 */
#ifndef _DRIVERS_VHOST_RING_PACKED_H
#define _DRIVERS_VHOST_RING_PACKED_H

#define VHOST_PACKED_WRAP	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)
#define VHOST_PACKED_AVAIL	BIT(VRING_PACKED_DESC_F_AVAIL)
#define VHOST_PACKED_USED	BIT(VRING_PACKED_DESC_F_USED)

/* A descriptor as it was when it was read */
struct vhost_packed_desc {
	u64 addr;
	u32 len;
	u16 id;
	u16 flags;
};

static inline struct vring_packed_desc __user *vhost_packed_ring(struct vhost_virtqueue *vq)
{
	return (struct vring_packed_desc __user *)vq->desc;
}

static inline u16 vhost_packed_index(u16 position)
{
	return position & ~VHOST_PACKED_WRAP;
}

static inline u16 vhost_packed_after(const struct vhost_virtqueue *vq, u16 position,
				     unsigned int descs)
{
	unsigned int i = vhost_packed_index(position) + descs;
	u16 wrap = position & VHOST_PACKED_WRAP;

	if (i >= vq->num) {
		i -= vq->num;
		wrap ^= VHOST_PACKED_WRAP;
	}
	return i | wrap;
}

static __always_inline bool vhost_packed_is_avail(u16 flags, u16 position)
{
	bool wrap = position & VHOST_PACKED_WRAP;

	return !!(flags & VHOST_PACKED_AVAIL) == wrap && !!(flags & VHOST_PACKED_USED) != wrap;
}

/* Read the descriptor at @position. 1: it is available; 0: not; -EFAULT. */
static __always_inline int vhost_packed_read(struct vhost_virtqueue *vq, u16 position,
					     struct vhost_packed_desc *desc)
{
	struct vring_packed_desc __user *from = vhost_packed_ring(vq);
	__le32 id_flags, len;
	__le64 addr;
	u32 word;

	from = vhost_ring_uaddr(vq, from + vhost_packed_index(position), sizeof(*from),
				VHOST_ADDR_DESC, VHOST_ACCESS_RO);
	if (unlikely(!from) || !user_read_access_begin(from, sizeof(*from)))
		goto bad;

	BUILD_BUG_ON(offsetof(struct vring_packed_desc, flags) !=
		     offsetof(struct vring_packed_desc, id) + sizeof(from->id));
	unsafe_get_user(id_flags, (__le32 __user *)&from->id, fault);
	word = le32_to_cpu(id_flags);
	desc->id = word;
	desc->flags = word >> 16;
	if (!vhost_packed_is_avail(desc->flags, position)) {
		user_read_access_end();
		return 0;
	}
	/* The driver wrote the flags last. Pairs with its virtio_wmb(). */
	smp_rmb();
	unsafe_get_user(addr, &from->addr, fault);
	unsafe_get_user(len, &from->len, fault);
	user_read_access_end();
	desc->addr = le64_to_cpu(addr);
	desc->len = le32_to_cpu(len);
	return 1;

fault:
	user_read_access_end();
bad:
	vq_err(vq, "Failed to read descriptor %u\n", vhost_packed_index(position));
	return -EFAULT;
}

static noinline int vhost_packed_get_indirect(struct vhost_virtqueue *vq, u64 addr, u32 len,
					      struct vhost_buf buf)
{
	struct vring_packed_desc desc;
	struct iov_iter from;
	unsigned int i, count;
	int ret;

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
		/* Of the flags only this one has a meaning here */
		ret = vhost_buf_add(vq, &buf, le64_to_cpu(desc.addr), le32_to_cpu(desc.len),
				    desc.flags & cpu_to_le16(VRING_DESC_F_WRITE));
		if (unlikely(ret))
			return ret;
	}
	return 0;
}

/*
 * Whether there are @descs more descriptors in the ring than those that we have. A driver
 * may offer one again before it is used, and what has been counted must not be more than
 * the ring has when it is used.
 */
static __always_inline bool vhost_packed_fits(const struct vhost_virtqueue *vq, unsigned int descs)
{
	u16 avail = vq->last_avail_idx, used = vq->last_used_idx;
	unsigned int have = vhost_packed_index(avail) - vhost_packed_index(used);

	if ((avail ^ used) & VHOST_PACKED_WRAP)
		have += vq->num;
	/* It is beyond any ring if the used position is the later one */
	return have <= vq->num && have + descs <= vq->num;
}

/* vhost_get_vq_desc() */
static __always_inline int vhost_packed_get(struct vhost_virtqueue *vq, struct vhost_buf *buf)
{
	u16 position = vq->last_avail_idx;
	struct vhost_packed_desc desc;
	unsigned int descs = 0;
	int ret;

	do {
		if (unlikely(descs == vq->num)) {
			vq_err(vq, "A chain does not end\n");
			return -EINVAL;
		}
		ret = vhost_packed_read(vq, position, &desc);
		if (unlikely(ret < 0))
			return ret;
		if (!ret) {
			if (!descs)
				return vq->num;
			/* The first of a chain becomes available last */
			vq_err(vq, "A chain ends at %u, which is not available\n",
			       vhost_packed_index(position));
			return -EINVAL;
		}

		if (desc.flags & VRING_DESC_F_INDIRECT) {
			if (unlikely(descs || desc.flags & VRING_DESC_F_NEXT)) {
				vq_err(vq, "An indirect descriptor in a chain\n");
				return -EINVAL;
			}
			ret = vhost_packed_get_indirect(vq, desc.addr, desc.len, *buf);
		} else {
			ret = vhost_buf_add(vq, buf, desc.addr, desc.len,
					    desc.flags & VRING_DESC_F_WRITE);
		}
		if (unlikely(ret))
			return ret;
		descs++;
		position = vhost_packed_after(vq, position, 1);
	} while (desc.flags & VRING_DESC_F_NEXT);

	if (unlikely(!vhost_packed_fits(vq, descs))) {
		vq_err(vq, "More descriptors available than there are\n");
		return -EINVAL;
	}
	ret = vhost_ring_handle(vq, desc.id, descs);
	if (likely(ret >= 0)) {
		vq->last_avail_idx = position;
		vq->ring.ahead -= min(vq->ring.ahead, descs);
	}
	return ret;
}

static void vhost_packed_discard(struct vhost_virtqueue *vq, unsigned int descs)
{
	unsigned int i = vhost_packed_index(vq->last_avail_idx);
	u16 wrap = vq->last_avail_idx & VHOST_PACKED_WRAP;

	if (i < descs) {
		i += vq->num;
		wrap ^= VHOST_PACKED_WRAP;
	}
	vq->last_avail_idx = (i - descs) | wrap;
	vq->ring.ahead += descs;
}

static __always_inline u16 vhost_packed_used_flags(u16 position, u32 len)
{
	return (len ? VRING_DESC_F_WRITE : 0) |
		(position & VHOST_PACKED_WRAP ? VHOST_PACKED_AVAIL | VHOST_PACKED_USED : 0);
}

/*
 * All but the address, which means nothing there. Written at once, so the driver, which
 * reads the flags first and the rest after its virtio_rmb(), gets what belongs together.
 */
static __always_inline u64 vhost_packed_used_word(u16 position, u16 id, u32 len)
{
	return len | (u64)id << 32 | (u64)vhost_packed_used_flags(position, len) << 48;
}

/* Say at @position that the buffers up to the one of @id are used; @len is that one's. */
static noinline int vhost_packed_write_used(struct vhost_virtqueue *vq, u16 position, u16 id,
					    u32 len)
{
	struct vring_packed_desc __user *to = vhost_packed_ring(vq);
	const size_t from = offsetof(struct vring_packed_desc, len);

	to = vhost_ring_uaddr(vq, to + vhost_packed_index(position), sizeof(*to),
			      VHOST_ADDR_DESC, VHOST_ACCESS_WO);
	if (unlikely(!to) || !user_write_access_begin(to, sizeof(*to)))
		goto bad;
	unsafe_put_user(cpu_to_le64(vhost_packed_used_word(position, id, len)),
			(__le64 __user *)&to->len, fault);
	user_write_access_end();

	if (unlikely(vq->log_used)) {
		/* What was written before the log that says so */
		smp_wmb();
		log_write_hva(vq, (uintptr_t)to + from, sizeof(*to) - from);
	}
	return 0;

fault:
	user_write_access_end();
bad:
	vq_err(vq, "Failed to write used descriptor %u\n", vhost_packed_index(position));
	return -EFAULT;
}

/* A used descriptor that is to be written: where, and what. */
struct vhost_packed_used {
	u16 position;
	u16 id;
	u32 len;
	u16 next;	/* where the one after it goes */
};

/* The next of those for @heads from *@i on, of @count. */
static __always_inline struct vhost_packed_used
vhost_packed_next_used(struct vhost_virtqueue *vq, const struct vring_used_elem *heads,
		       unsigned int count, unsigned int *i, u16 position)
{
	struct vhost_packed_used used = { .position = position };
	unsigned int descs = 0;
	u32 handle;

	do {
		handle = vhost32_to_cpu(vq, heads[*i].id);
		used.len = vhost32_to_cpu(vq, heads[*i].len);
		descs += vhost_handle_descs(handle);
		++*i;
	} while (vhost_used_goes_on(vq, used.len) && *i < count);
	used.id = vhost_handle_id(handle);
	used.next = vhost_packed_after(vq, position, descs);
	vq->ring.used = min(vq->ring.used + descs, vq->num);
	return used;
}

/*
 * vhost_add_used_n(). The driver looks for the first descriptor, so that is written
 * last: a packet in several buffers is there as a whole or not at all.
 */
static noinline int vhost_packed_add_used(struct vhost_virtqueue *vq,
					  const struct vring_used_elem *heads, unsigned int count)
{
	struct vring_packed_desc __user *ring = vhost_packed_ring(vq);
	struct vring_packed_desc __user *to;
	struct vhost_packed_used first, used;
	unsigned int i = 0;
	int ret;

	first = vhost_packed_next_used(vq, heads, count, &i, vq->last_used_idx);
	used = first;
	if (i < count && !vq->iotlb && !vq->log_used) {
		/* All the others at once */
		if (!user_write_access_begin(ring, vq->num * sizeof(*ring)))
			goto bad;
		while (i < count) {
			used = vhost_packed_next_used(vq, heads, count, &i, used.next);
			to = ring + vhost_packed_index(used.position);
			unsafe_put_user(cpu_to_le64(vhost_packed_used_word(used.position, used.id,
									   used.len)),
					(__le64 __user *)&to->len, fault);
		}
		user_write_access_end();
	}
	while (i < count) {
		used = vhost_packed_next_used(vq, heads, count, &i, used.next);
		ret = vhost_packed_write_used(vq, used.position, used.id, used.len);
		if (ret)
			return ret;
	}

	/* All of it before the first. Pairs with the driver's virtio_rmb(). */
	smp_wmb();
	ret = vhost_packed_write_used(vq, first.position, first.id, first.len);
	if (ret)
		return ret;
	vq->last_used_idx = used.next;
	if (unlikely(vq->log_used) && vq->log_ctx)
		eventfd_signal(vq->log_ctx);
	return 0;

fault:
	user_write_access_end();
bad:
	vq_err(vq, "Failed to write used descriptors\n");
	return -EFAULT;
}

/* vhost_notify() */
static noinline bool vhost_packed_notify(struct vhost_virtqueue *vq)
{
	struct vring_packed_desc_event __user *event = (void __user *)vq->avail;
	u16 off_wrap, flags, off, new = vhost_packed_index(vq->last_used_idx);
	u32 used = vq->ring.used;
	__le32 word;
	int ret = -EFAULT;

	/* The used descriptors before what the driver says; pairs with its virtio_mb() */
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

	vq->ring.used = 0;
	if (flags == VRING_PACKED_EVENT_FLAG_DISABLE)
		return false;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC ||
	    !vhost_has_feature(vq, VIRTIO_RING_F_EVENT_IDX))
		return true;
	/* Not asked yet, or all of the ring was used since */
	if (!vq->signalled_used_valid || used >= vq->num) {
		vq->signalled_used_valid = true;
		return true;
	}

	off = vhost_packed_index(off_wrap);
	if ((off_wrap ^ vq->last_used_idx) & VHOST_PACKED_WRAP)
		off -= vq->num;
	return vring_need_event(off, new, new - used);
}

/* Our event suppression: when the driver is to kick. */
static int vhost_packed_write_event(struct vhost_virtqueue *vq, u16 off_wrap, u16 flags)
{
	void __user *event = vhost_ring_uaddr(vq, (void __user *)vq->used, sizeof(__le32),
						VHOST_ADDR_USED, VHOST_ACCESS_WO);

	/* At once: the driver never sees one part without the other */
	if (unlikely(!event) ||
	    __put_user(cpu_to_le32(off_wrap | (u32)flags << 16), (__le32 __user *)event)) {
		vq_err(vq, "Failed to write the device's event suppression\n");
		return -EFAULT;
	}
	if (unlikely(vq->log_used)) {
		/* What was written before the log that says so */
		smp_wmb();
		log_used(vq, 0, sizeof(__le32));
		if (vq->log_ctx)
			eventfd_signal(vq->log_ctx);
	}
	return 0;
}

/*
 * Where new descriptors come: not at those that were discarded because there are too
 * few of them. To be told of these again would never end.
 */
static u16 vhost_packed_end(const struct vhost_virtqueue *vq)
{
	return vhost_packed_after(vq, vq->last_avail_idx, vq->ring.ahead);
}

/* vhost_get_avail_idx(): whether there are new descriptors, or -EFAULT. */
static int vhost_packed_more_avail(struct vhost_virtqueue *vq)
{
	struct vhost_packed_desc desc;

	return vhost_packed_read(vq, vhost_packed_end(vq), &desc);
}

/* vhost_enable_notify(), but for the flag */
static bool vhost_packed_enable_notify(struct vhost_virtqueue *vq)
{
	bool event_idx = vhost_has_feature(vq, VIRTIO_RING_F_EVENT_IDX);

	if (vhost_packed_write_event(vq, event_idx ? vhost_packed_end(vq) : 0,
				     event_idx ? VRING_PACKED_EVENT_FLAG_DESC :
						 VRING_PACKED_EVENT_FLAG_ENABLE))
		return false;
	/* They may have added one meanwhile. Pairs with the driver's virtio_mb(). */
	smp_mb();
	return vhost_packed_more_avail(vq) > 0;
}

/* vhost_disable_notify(), but for the flag. An event that was passed needs no change. */
static void vhost_packed_disable_notify(struct vhost_virtqueue *vq)
{
	if (!vhost_has_feature(vq, VIRTIO_RING_F_EVENT_IDX))
		vhost_packed_write_event(vq, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
}

/* vhost_vq_init_access() */
static int vhost_packed_init(struct vhost_virtqueue *vq)
{
	bool off = vq->used_flags & VRING_USED_F_NO_NOTIFY;

	if (vhost_packed_index(vq->last_avail_idx) >= vq->num ||
	    vhost_packed_index(vq->last_used_idx) >= vq->num || vq->num > VHOST_PACKED_MAX ||
	    !vhost_packed_fits(vq, 0))
		return -EINVAL;
	vq->ring.used = 0;
	vq->ring.ahead = 0;
	vq->signalled_used_valid = false;
	return vhost_packed_write_event(vq, 0, off ? VRING_PACKED_EVENT_FLAG_DISABLE :
						     VRING_PACKED_EVENT_FLAG_ENABLE);
}

#endif
