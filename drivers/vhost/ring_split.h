/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The split layout with VIRTIO_F_IN_ORDER: descriptors are where they are expected
 *
 * Included by vhost.c. The driver uses descriptors in the order of the table, so the
 * available ring is not read, except for its index: it is where the last buffer ended.
 * A driver that does otherwise gets its own buffers wrong.
 */
#ifndef _DRIVERS_VHOST_RING_SPLIT_H
#define _DRIVERS_VHOST_RING_SPLIT_H

/* The head, from the ring, where the last buffer is not known. */
static int vhost_split_resync(struct vhost_virtqueue *vq)
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
	vq->ring.next_head = vhost16_to_cpu(vq, head);
	vq->ring.resync = false;
	return 0;
}

/* Whether there is a buffer, and where its head is known. 1: it is; 0: no buffer; -errno. */
static int vhost_split_avail(struct vhost_virtqueue *vq)
{
	int ret;

	if (vq->avail_idx == vq->last_avail_idx) {
		ret = vhost_get_avail_idx(vq);
		if (unlikely(ret <= 0))
			return ret;
	}
	return likely(!vq->ring.resync) ? 1 : vhost_split_resync(vq) ?: 1;
}

/*
 * Read descriptors from @first on, at most @max: as many as there are buffers available,
 * of which each has one at least. Returns how many, or -EFAULT.
 */
static int vhost_split_read(struct vhost_virtqueue *vq, unsigned int first, struct vhost_desc *to,
			    unsigned int max)
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

static int vhost_split_get_indirect(struct vhost_virtqueue *vq, struct vhost_buf *buf, u64 addr,
				    u64 word)
{
	struct vring_desc indirect = {
		.addr = cpu_to_vhost64(vq, addr),
		.len = cpu_to_vhost32(vq, word),
		.flags = cpu_to_vhost16(vq, vhost_desc_flags(word)),
	};

	return get_indirect(vq, buf->iov, buf->iov_size, &buf->out, &buf->in, buf->log,
			    buf->log_num, &indirect);
}

/* A buffer of @descs descriptors was fetched. Its handle, or -EINVAL. */
static __always_inline int vhost_split_got(struct vhost_virtqueue *vq, unsigned int descs)
{
	u16 head = vq->ring.next_head;
	int ret = vhost_ring_handle(vq, head, descs);

	if (likely(ret >= 0)) {
		vq->last_avail_idx++;
		vq->ring.next_head = (head + descs) & (vq->num - 1);
	}
	return ret;
}

/*
 * The next used element for @heads from *@i on, of @count. Returns its place in the ring;
 * those of the other buffers that it is for stay as they are.
 */
static __always_inline unsigned int
vhost_split_next_used(struct vhost_virtqueue *vq, const struct vring_used_elem *heads,
		      unsigned int count, unsigned int *i, struct vring_used_elem *elem)
{
	unsigned int place = (vq->last_used_idx + *i) & (vq->num - 1);

	while (vhost_used_goes_on(vq, vhost32_to_cpu(vq, heads[*i].len)) && *i + 1 < count)
		++*i;
	elem->id = cpu_to_vhost32(vq, vhost_handle_id(vhost32_to_cpu(vq, heads[*i].id)));
	elem->len = heads[*i].len;
	++*i;
	return place;
}

/* One of them, which with an IOTLB may be in two pages */
static int vhost_split_write_used(struct vhost_virtqueue *vq, unsigned int place,
				  struct vring_used_elem elem)
{
	if (unlikely(vhost_put_used(vq, &elem, place, 1)))
		return -EFAULT;
	if (unlikely(vq->log_used)) {
		/* What was written before the log that says so */
		smp_wmb();
		log_used(vq, offsetof(struct vring_used, ring[place]), sizeof(elem));
	}
	return 0;
}

/* vhost_add_used_n(), but for the index in memory, which is written after this */
static noinline int vhost_split_add_used(struct vhost_virtqueue *vq,
					 const struct vring_used_elem *heads, unsigned int count)
{
	vring_used_elem_t __user *ring = vq->used->ring;
	struct vring_used_elem elem;
	unsigned int place, i = 0;

	if (!vq->iotlb && !vq->log_used) {
		/* All of them at once */
		if (!user_write_access_begin(ring, vq->num * sizeof(*ring)))
			goto bad;
		while (i < count) {
			place = vhost_split_next_used(vq, heads, count, &i, &elem);
			unsafe_put_user(elem.id, &ring[place].id, fault);
			unsafe_put_user(elem.len, &ring[place].len, fault);
		}
		user_write_access_end();
	}
	while (i < count) {
		place = vhost_split_next_used(vq, heads, count, &i, &elem);
		if (vhost_split_write_used(vq, place, elem))
			goto bad;
	}

	vq->last_used_idx += count;
	/* All the indices were used since: the one that was signalled says nothing any more */
	if ((u16)(vq->last_used_idx - vq->signalled_used) < count)
		vq->signalled_used_valid = false;
	return 0;

fault:
	user_write_access_end();
bad:
	vq_err(vq, "Failed to write used elements\n");
	return -EFAULT;
}

#endif
