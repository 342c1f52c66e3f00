/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The split layout with VIRTIO_F_IN_ORDER
 *
 * The driver takes descriptors in the order of the table (2.7.5), so each buffer begins where
 * the one before it ended. Of the available ring only the index is read. A driver that breaks
 * this rule mixes up its own buffers and harms nobody else.
 */
#ifndef _DRIVERS_VHOST_RING_SPLIT_IN_ORDER_H
#define _DRIVERS_VHOST_RING_SPLIT_IN_ORDER_H

#ifndef VHOST_C
#error "This header has functions for vhost.c, and only that may include it."
#endif

/* Read the head from the available ring (2.7.6), because it is not known where to go on. */
static int vhost_split_in_order_resync(struct vhost_virtqueue *vq)
{
	__virtio16 head;

	if (unlikely(vhost_get_avail_head(vq, &head, vq->last_avail_idx))) {
		vq_err(vq, "Failed to read head %u\n", vq->last_avail_idx);
		return -EFAULT;
	}
	if (unlikely(vhost16_to_cpu(vq, head) >= vq->num)) {
		vq_err(vq, "Head %u in a ring of %u\n", vhost16_to_cpu(vq, head), vq->num);
		return -EINVAL;
	}
	vq->ring->next_head = vhost16_to_cpu(vq, head);
	vq->ring->resync = false;
	return 0;
}

/*
 * Returns 1 if a buffer is available, with its head in @next_head, 0 if there is none, or a
 * negative errno.
 */
static int vhost_split_in_order_avail(struct vhost_virtqueue *vq)
{
	int ret;

	if (vq->avail_idx == vq->last_avail_idx) {
		ret = vhost_get_avail_idx(vq);
		if (unlikely(ret <= 0))
			return ret;
	}
	return likely(!vq->ring->resync) ? 1 : vhost_split_in_order_resync(vq) ?: 1;
}

/*
 * Read up to @max descriptors, beginning at @first, but no more than buffers are available:
 * each buffer has at least one descriptor. Returns how many were read, or -EFAULT.
 */
static int vhost_split_in_order_read(struct vhost_virtqueue *vq, unsigned int first,
				     struct vhost_desc *to, unsigned int max)
{
	unsigned int i, n = min(max, (u16)(vq->avail_idx - vq->last_avail_idx));
	vring_desc_t __user *from;
	__virtio64 addr;
	__virtio32 len;
	__virtio16 flags;

	from = vhost_ring_uaddr(vq, vq->desc + first, n * sizeof(*from), VHOST_ADDR_DESC,
				VHOST_ACCESS_RO);
	if (unlikely(!from) || !user_read_access_begin(from, n * sizeof(*from)))
		goto bad;
	for (i = 0; i < n; i++) {
		unsafe_get_user(addr, &from[i].addr, fault);
		unsafe_get_user(len, &from[i].len, fault);
		unsafe_get_user(flags, &from[i].flags, fault);
		to[i].addr = vhost64_to_cpu(vq, addr);
		to[i].word = vhost_desc_word(vhost32_to_cpu(vq, len), 0,
					     vhost16_to_cpu(vq, flags));
	}
	user_read_access_end();
	return n;

fault:
	user_read_access_end();
bad:
	vq_err(vq, "Failed to read descriptors from %u on\n", first);
	return -EFAULT;
}

static __always_inline int vhost_split_in_order_prefetch(struct vhost_virtqueue *vq,
							 unsigned int descs, unsigned int max)
{
	struct vhost_ring *ring = vq->ring;
	unsigned int first;
	int ret;

	/* The rest of a chain is available with its head (2.7.13) */
	ret = descs ? 1 : vhost_split_in_order_avail(vq);
	if (ret <= 0)
		return ret;
	first = (ring->next_head + descs) & (vq->num - 1);
	return vhost_split_in_order_read(vq, first, ring->prefetch, min(max, vq->num - first));
}

static int vhost_split_in_order_get_indirect(struct vhost_virtqueue *vq, struct vhost_buf *buf,
					     u64 addr, u64 word, unsigned int descs)
{
	struct vring_desc indirect = {
		.addr = cpu_to_vhost64(vq, addr),
		.len = cpu_to_vhost32(vq, word),
		.flags = cpu_to_vhost16(vq, vhost_desc_flags(word)),
	};

	return get_indirect(vq, buf->iov, buf->iov_size, &buf->out, &buf->in, buf->log,
			    buf->log_num, &indirect);
}

/* A buffer of @descs descriptors has been fetched. Returns its handle. */
static __always_inline int vhost_split_in_order_commit(struct vhost_virtqueue *vq,
						       unsigned int descs)
{
	unsigned int index = vq->last_avail_idx++ & (vq->num - 1);
	struct vhost_ring *ring = vq->ring;

	ring->fetched[index].id = ring->next_head;
	ring->next_head = (ring->next_head + descs) & (vq->num - 1);
	return index ^ VHOST_HANDLE;
}

static noinline int
vhost_split_in_order_get(struct vhost_virtqueue *vq, struct iovec iov[], unsigned int iov_size,
			 unsigned int *out_num, unsigned int *in_num, struct vhost_log *log,
			 unsigned int *log_num)
{
	return vhost_ring_get(vq, iov, iov_size, out_num, in_num, log, log_num,
			      VHOST_SPLIT_IN_ORDER);
}

/* vhost_discard_vq_desc(). All buffers since the one in @heads[0] will be fetched again. */
static noinline void vhost_split_in_order_discard(struct vhost_virtqueue *vq,
						  const struct vring_used_elem *heads, int n)
{
	unsigned int index, back;

	if (!n)
		return;
	index = vhost_handle_index(vhost32_to_cpu(vq, heads->id)) & (vq->num - 1);
	back = (vq->last_avail_idx - index) & (vq->num - 1);
	vq->last_avail_idx -= back ?: vq->num;
	vq->ring->next_head = vq->ring->fetched[index].id;
	vhost_ring_drop_prefetch(vq);
}

/*
 * Make the used element for index @used. It returns one or more of the @count buffers in
 * @heads, from *@i on, and any before them that the backend forgot. Returns how many
 * buffers that is, which is how far to skip in the ring (2.7.9), or 0 if the backend uses a
 * buffer that it has not fetched.
 */
static __always_inline unsigned int
vhost_split_in_order_next_used(struct vhost_virtqueue *vq, const struct vring_used_elem *heads,
			       unsigned int count, unsigned int *i, u16 used,
			       struct vring_used_elem *elem)
{
	unsigned int next = vhost_used_next(heads, count, *i), mask = vq->num - 1;
	unsigned int index = vhost_handle_index(vhost32_to_cpu(vq, heads[next].id)) & mask;
	unsigned int before = (index - used) & mask;

	if (unlikely(before >= (u16)(vq->last_avail_idx - used)))
		return 0;
	elem->len = heads[next].len;
	if (unlikely(before && elem->len)) {
		index = used & mask;
		before = 0;
		elem->len = 0;
	} else {
		*i = next + 1;
	}
	elem->id = cpu_to_vhost32(vq, vq->ring->fetched[index].id);
	return before + 1;
}

/* Write one used element. With an IOTLB it may cross into another page. */
static int vhost_split_in_order_write_used(struct vhost_virtqueue *vq, unsigned int index,
					   struct vring_used_elem elem)
{
	if (unlikely(vhost_put_used(vq, &elem, index, 1)))
		return -EFAULT;
	if (unlikely(vq->log_used)) {
		/*
		 * Write the ring before the log. Pairs with the barrier of a VMM between
		 * reading the log and reading the ring.
		 * Litmus: log.
		 */
		smp_wmb();
		log_used(vq, offsetof(struct vring_used, ring[index]), sizeof(elem));
	}
	return 0;
}

/* Write the used index, which exposes the used elements. */
static int vhost_split_in_order_write_used_idx(struct vhost_virtqueue *vq)
{
	/*
	 * Write the elements before the index (2.7.8.2). Pairs with the driver's virtio_rmb().
	 * Litmus: split-used.
	 */
	smp_wmb();
	if (unlikely(vhost_put_used_idx(vq)))
		return -EFAULT;
	if (unlikely(vq->log_used)) {
		/*
		 * Write the ring before the log. Pairs with the barrier of a VMM between
		 * reading the log and reading the ring.
		 * Litmus: log.
		 */
		smp_wmb();
		log_used(vq, offsetof(struct vring_used, idx), sizeof(vq->used->idx));
		if (vq->log_ctx)
			eventfd_signal(vq->log_ctx);
	}
	return 0;
}

/* vhost_add_used_n() */
static noinline int vhost_split_in_order_add_used(struct vhost_virtqueue *vq,
						  struct vring_used_elem *heads,
						  unsigned int count)
{
	vring_used_elem_t __user *ring = vq->used->ring;
	struct vring_used_elem elem;
	unsigned int n, index, i = 0;
	u16 used = vq->last_used_idx;

	if (!vq->iotlb && !vq->log_used) {
		/* Write all elements in one user access section */
		if (!user_write_access_begin(ring, vq->num * sizeof(*ring)))
			goto bad;
		while (i < count) {
			n = vhost_split_in_order_next_used(vq, heads, count, &i, used, &elem);
			if (unlikely(!n))
				goto fault;
			index = used & (vq->num - 1);
			unsafe_put_user(elem.id, &ring[index].id, fault);
			unsafe_put_user(elem.len, &ring[index].len, fault);
			used += n;
		}
		user_write_access_end();
	}
	while (i < count) {
		n = vhost_split_in_order_next_used(vq, heads, count, &i, used, &elem);
		if (!n || vhost_split_in_order_write_used(vq, used & (vq->num - 1), elem))
			goto bad;
		used += n;
	}

	n = (u16)(used - vq->last_used_idx);
	vq->last_used_idx = used;
	/* The used index has passed the one at the last signal again, which is now meaningless */
	if ((u16)(used - vq->signalled_used) < n)
		vq->signalled_used_valid = false;
	if (likely(!vhost_split_in_order_write_used_idx(vq)))
		return 0;
	goto bad;

fault:
	user_write_access_end();
bad:
	vq_err(vq, "Failed to write used elements\n");
	return -EFAULT;
}

/*
 * Called by vhost_vq_init_access() when last_used_idx is known. In order, no buffer is with
 * the device when it starts, so those that were fetched but not used are fetched again. If
 * more are outstanding than fit the ring, one of the indices is wrong: leave them alone.
 */
static void vhost_split_in_order_init(struct vhost_virtqueue *vq)
{
	if (vq->ring && (u16)(vq->last_avail_idx - vq->last_used_idx) <= vq->num)
		vq->last_avail_idx = vq->last_used_idx;
}

static const struct vhost_ring_ops vhost_split_in_order_ops = {
	.get = vhost_split_in_order_get,
	.discard = vhost_split_in_order_discard,
	.add_used = vhost_split_in_order_add_used,
	.notify = vhost_notify,
	.avail_empty = vhost_split_avail_empty,
	.enable_notify = vhost_split_enable_notify,
	.disable_notify = vhost_split_disable_notify,
};

#endif
