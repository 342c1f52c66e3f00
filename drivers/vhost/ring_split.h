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

static int __vhost_add_used_n(struct vhost_virtqueue *vq, struct vring_used_elem *heads,
			      unsigned int count, unsigned int bufs);

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

static __always_inline int vhost_split_read(struct vhost_virtqueue *vq, struct vring_desc *desc,
					    unsigned int i)
{
	vring_desc_t __user *from = vhost_ring_uaddr(vq, vq->desc + i, sizeof(*desc),
						     VHOST_ADDR_DESC, VHOST_ACCESS_RO);

	if (unlikely(!from) || !user_read_access_begin(from, sizeof(*from)))
		return -EFAULT;
	unsafe_get_user(desc->addr, &from->addr, fault);
	unsafe_get_user(desc->len, &from->len, fault);
	unsafe_get_user(desc->flags, &from->flags, fault);
	user_read_access_end();
	return 0;

fault:
	user_read_access_end();
	return -EFAULT;
}

static noinline int vhost_split_get_indirect(struct vhost_virtqueue *vq, struct vring_desc desc,
					     struct vhost_buf buf)
{
	return get_indirect(vq, buf.iov, buf.iov_size, buf.out, buf.in, buf.log, buf.log_num,
			    &desc);
}

/* vhost_get_vq_desc() */
static __always_inline int vhost_split_get(struct vhost_virtqueue *vq, struct vhost_buf *buf)
{
	unsigned int i, head, descs = 0;
	struct vring_desc desc;
	int ret;

	if (vq->avail_idx == vq->last_avail_idx) {
		ret = vhost_get_avail_idx(vq);
		if (unlikely(ret < 0))
			return ret;
		if (!ret)
			return vq->num;
	}
	if (unlikely(vq->ring.resync)) {
		ret = vhost_split_resync(vq);
		if (ret)
			return ret;
	}

	head = vq->ring.next_head;
	i = head;
	do {
		if (unlikely(descs == vq->num)) {
			vq_err(vq, "A chain does not end\n");
			return -EINVAL;
		}
		if (unlikely(vhost_split_read(vq, &desc, i))) {
			vq_err(vq, "Failed to read descriptor %u\n", i);
			return -EFAULT;
		}
		if (desc.flags & cpu_to_vhost16(vq, VRING_DESC_F_INDIRECT))
			ret = vhost_split_get_indirect(vq, desc, *buf);
		else
			ret = vhost_buf_add(vq, buf, vhost64_to_cpu(vq, desc.addr),
					    vhost32_to_cpu(vq, desc.len),
					    desc.flags & cpu_to_vhost16(vq, VRING_DESC_F_WRITE));
		if (unlikely(ret))
			return ret;
		descs++;
		/* No need to ask the descriptor */
		i = (i + 1) & (vq->num - 1);
	} while (desc.flags & cpu_to_vhost16(vq, VRING_DESC_F_NEXT));

	ret = vhost_ring_handle(vq, head, descs);
	if (likely(ret >= 0)) {
		vq->last_avail_idx++;
		vq->ring.next_head = i;
	}
	return ret;
}

/*
 * vhost_add_used_n(), but for the index. Elements that follow each other without a gap
 * are written together; after one for several buffers there is a gap.
 */
static noinline int vhost_split_add_used(struct vhost_virtqueue *vq, struct vring_used_elem *heads,
					 unsigned int count)
{
	unsigned int i, bufs = 0, elems = 0;
	int ret;

	for (i = 0; i < count; i++) {
		unsigned int room = vq->num - ((vq->last_used_idx + elems) & (vq->num - 1));
		u32 handle = vhost32_to_cpu(vq, heads[i].id);

		bufs++;
		if (vhost_used_goes_on(vq, vhost32_to_cpu(vq, heads[i].len)) && i + 1 < count)
			continue;
		heads[elems].id = cpu_to_vhost32(vq, vhost_handle_id(handle));
		heads[elems].len = heads[i].len;
		elems++;
		if (bufs == elems && room > 1 && i + 1 < count)
			continue;
		ret = __vhost_add_used_n(vq, heads, elems, bufs);
		if (ret)
			return ret;
		bufs = 0;
		elems = 0;
	}
	return 0;
}

#endif
