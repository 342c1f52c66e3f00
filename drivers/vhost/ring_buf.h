/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the layouts of ring.h have in common: the buffer that is being fetched, and the
 * handle for it. Included by vhost.c.
 */
#ifndef _DRIVERS_VHOST_RING_BUF_H
#define _DRIVERS_VHOST_RING_BUF_H

/* Where the memory of the ring is, of which no part may be elsewhere. NULL: not there. */
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

/* What of a descriptor is not its address; id is of the packed layout */
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

/* The buffer that vhost_get_vq_desc() fetches */
struct vhost_buf {
	struct iovec *iov;
	unsigned int iov_size;
	unsigned int out;
	unsigned int in;
	struct vhost_log *log;
	unsigned int *log_num;
};

/*
 * translate_desc(), which searches a tree. Mostly the next descriptor is where the last
 * one was, and the memory table is writable.
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

/* Where @len bytes at @addr are, if that is in the part that was found last */
static __always_inline bool vhost_map_find(const struct vhost_virtqueue *vq, u64 addr, u32 len,
					   struct iovec *iov)
{
	u64 offset = addr - vq->ring->map.start;

	/* Not for a length of 0 either */
	if (unlikely(offset >= vq->ring->map.size || len - 1ULL >= vq->ring->map.size - offset))
		return false;
	iov->iov_base = (void __user *)(uintptr_t)(vq->ring->map.uaddr + offset);
	iov->iov_len = len;
	return true;
}

/* Add the piece that a descriptor stands for. -EAGAIN: its address has been asked for. */
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
 * A handle has, in order, the place of the buffer in @fetched. Else it has the Buffer ID
 * and the number of descriptors less one. The bit on top is so that it is not the size of
 * the ring, which says that there is none.
 */
#define VHOST_HANDLE	BIT(30)

static __always_inline unsigned int vhost_handle_place(u32 handle)
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
 * In order, the used element of a buffer in which nothing is written stands for all that
 * were fetched before it, too. One in which something is written stands for that buffer
 * alone: not every driver can take what it receives in batches. So this finds the next of
 * @heads from @i on that needs an element.
 */
static __always_inline unsigned int vhost_used_next(const struct vring_used_elem *heads,
						    unsigned int count, unsigned int i)
{
	while (!heads[i].len && i + 1 < count)
		i++;
	return i;
}

#endif
