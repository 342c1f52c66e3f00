/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From vhost.c's functions to those of the layout, for the layouts of ring.h. Included
 * by vhost.c; each is called by the one that is named there.
 */
#ifndef _DRIVERS_VHOST_RING_OPS_H
#define _DRIVERS_VHOST_RING_OPS_H

#include "ring_buf.h"
#include "ring_split.h"
#include "ring_packed.h"

static bool vhost_offer_packed = true;
module_param_named(packed, vhost_offer_packed, bool, 0644);
MODULE_PARM_DESC(packed, "Offer VIRTIO_F_RING_PACKED");

static bool vhost_offer_in_order = true;
module_param_named(in_order, vhost_offer_in_order, bool, 0644);
MODULE_PARM_DESC(in_order, "Offer VIRTIO_F_IN_ORDER");

/**
 * vhost_ring_features() - what a backend may offer that uses buffers in order
 *
 * Context: any.
 * Return: feature bits, less what module parameters withhold.
 */
u64 vhost_ring_features(void)
{
	return (READ_ONCE(vhost_offer_packed) ? BIT_ULL(VIRTIO_F_RING_PACKED) : 0) |
		(READ_ONCE(vhost_offer_in_order) ? BIT_ULL(VIRTIO_F_IN_ORDER) : 0);
}
EXPORT_SYMBOL_GPL(vhost_ring_features);

/**
 * vhost_ring_check_features() - may these features be set?
 * @dev: the device
 * @features: all that are to be in force
 *
 * Context: the caller holds the mutex of @dev and goes on holding it until the features
 * are set. May sleep.
 * Return: 0; -EINVAL if a layout is chosen without VIRTIO_F_VERSION_1; -EOPNOTSUPP if a
 * feature is withheld that is not in force; -EBUSY if the layout would change of a
 * virtqueue that has a backend.
 */
int vhost_ring_check_features(struct vhost_dev *dev, u64 features)
{
	int i, ret = 0;

	lockdep_assert_held(&dev->mutex);
	if (features & VHOST_RING_FEATURES && !(features & BIT_ULL(VIRTIO_F_VERSION_1)))
		return -EINVAL;

	for (i = 0; i < dev->nvqs && !ret; i++) {
		struct vhost_virtqueue *vq = dev->vqs[i];

		mutex_lock(&vq->mutex);
		/* A VMM sets features again, to log, when its guest runs with them */
		if (features & VHOST_RING_FEATURES & ~vhost_ring_features() & ~vq->acked_features)
			ret = -EOPNOTSUPP;
		else if (vq->private_data && (vq->acked_features ^ features) & VHOST_RING_FEATURES)
			ret = -EBUSY;
		mutex_unlock(&vq->mutex);
	}
	return ret;
}
EXPORT_SYMBOL_GPL(vhost_ring_check_features);

/*
 * Read descriptors, @descs after those fetched, where the last ones read are all in
 * buffers. Returns how many, or 0 if there is none available, or -errno.
 */
static noinline int vhost_ring_read(struct vhost_virtqueue *vq, unsigned int descs)
{
	/* With an IOTLB the next one may be elsewhere */
	unsigned int i, max = vq->iotlb ? 1 : VHOST_RUN;
	struct vhost_ring *ring = vq->ring;
	u16 position;
	int ret;

	if (vhost_ring_is_packed(vq)) {
		position = vhost_packed_after(vq, vq->last_avail_idx, descs);
		i = vhost_packed_index(position);
		ret = vhost_packed_read(vq, position, ring->run, min(max, vq->num - i));
	} else {
		/* In the middle of a chain it is available */
		ret = descs ? 1 : vhost_split_avail(vq);
		if (ret <= 0)
			return ret;
		i = (ring->next_head + descs) & (vq->num - 1);
		ret = vhost_split_read(vq, i, ring->run, min(max, vq->num - i));
	}
	if (ret > 0) {
		ring->next = 0;
		ring->end = ret;
	}
	return ret;
}

/* A buffer of @descs descriptors was fetched. Its handle, or -EINVAL. */
static __always_inline int vhost_ring_got(struct vhost_virtqueue *vq, u64 word,
					  unsigned int descs, enum vhost_layout layout)
{
	int ret = layout == VHOST_SPLIT_IN_ORDER ?
		  vhost_split_got(vq, descs) :
		  vhost_packed_got(vq, vhost_desc_id(word), descs, layout);

	if (unlikely(ret < 0))
		vhost_ring_forget_run(vq);
	return ret;
}

/* A buffer of any kind */
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
			vq_err(vq, "A chain does not end\n");
			goto none;
		}
		if (ring->next == ring->end) {
			ret = vhost_ring_read(vq, descs);
			if (ret <= 0)
				goto none;
		}
		desc = &ring->run[ring->next++];
		flags = vhost_desc_flags(desc->word);
		ret = -EINVAL;
		if (unlikely(flags & VRING_DESC_F_INDIRECT && flags & VRING_DESC_F_NEXT)) {
			/* Tables without end would keep this busy for minutes */
			vq_err(vq, "An indirect descriptor that is not the last one\n");
			goto none;
		}
		if (!(flags & VRING_DESC_F_INDIRECT))
			ret = vhost_buf_add(vq, &buf, desc->addr, desc->word);
		else if (vhost_ring_is_packed(vq))
			ret = vhost_packed_get_indirect(vq, &buf, desc->addr, desc->word, descs);
		else
			ret = vhost_split_get_indirect(vq, &buf, desc->addr, desc->word);
		if (unlikely(ret))
			goto none;
		descs++;
	} while (flags & VRING_DESC_F_NEXT);

	ret = vhost_ring_got(vq, desc->word, descs, ring->layout);
	if (unlikely(ret < 0))
		goto none;
	*out_num = buf.out;
	*in_num = buf.in;
	return ret;

none:
	vhost_ring_forget_run(vq);
	*out_num = 0;
	*in_num = 0;
	/* The first of a chain becomes available last */
	if (!ret) {
		vq_err(vq, "A chain ends after %u descriptors, the next is not available\n", descs);
		ret = -EINVAL;
	}
	return ret;
}

/* Whether the next buffer, set in @iov and @word, is of one descriptor. */
static __always_inline bool vhost_ring_get_one(struct vhost_virtqueue *vq, struct iovec *iov,
					       unsigned int iov_size, u64 *word)
{
	struct vhost_ring *ring = vq->ring;
	const struct vhost_desc *desc = &ring->run[ring->next];

	*word = desc->word;
	if (vhost_desc_flags(*word) & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT) || !iov_size ||
	    !vhost_map_find(vq, desc->addr, *word, iov))
		return false;
	ring->next++;
	return true;
}

static __always_inline int vhost_ring_get(struct vhost_virtqueue *vq, struct iovec iov[],
					  unsigned int iov_size, unsigned int *out_num,
					  unsigned int *in_num, struct vhost_log *log,
					  unsigned int *log_num, enum vhost_layout layout)
{
	u64 word;
	int ret;

	if (vq->ring->next == vq->ring->end) {
		ret = vhost_ring_read(vq, 0);
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
	return vhost_ring_got(vq, word, 1, layout);
}

static noinline int
vhost_split_in_order_get(struct vhost_virtqueue *vq, struct iovec iov[], unsigned int iov_size,
			 unsigned int *out_num, unsigned int *in_num, struct vhost_log *log,
			 unsigned int *log_num)
{
	return vhost_ring_get(vq, iov, iov_size, out_num, in_num, log, log_num,
			      VHOST_SPLIT_IN_ORDER);
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

/* What is done with a virtqueue, by the exported function of the name */
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

static const struct vhost_ring_ops vhost_layouts[] = {
	[VHOST_SPLIT] = {
		.get = vhost_split_get,
		.discard = vhost_split_discard,
		.add_used = vhost_split_add_used_n,
		.notify = vhost_split_notify,
		.avail_empty = vhost_split_avail_empty,
		.enable_notify = vhost_split_enable_notify,
		.disable_notify = vhost_split_disable_notify,
	},
	[VHOST_SPLIT_IN_ORDER] = {
		.get = vhost_split_in_order_get,
		.discard = vhost_split_back_to,
		.add_used = vhost_split_add_used,
		.notify = vhost_split_notify,
		.avail_empty = vhost_split_avail_empty,
		.enable_notify = vhost_split_enable_notify,
		.disable_notify = vhost_split_disable_notify,
	},
	[VHOST_PACKED] = {
		.get = vhost_packed_get,
		.discard = vhost_packed_discard,
		.add_used = vhost_packed_add_used,
		.notify = vhost_packed_notify,
		.avail_empty = vhost_packed_avail_empty,
		.enable_notify = vhost_packed_enable_notify,
		.disable_notify = vhost_packed_disable_notify,
	},
	[VHOST_PACKED_IN_ORDER] = {
		.get = vhost_packed_in_order_get,
		.discard = vhost_packed_back_to,
		.add_used = vhost_packed_in_order_add_used,
		.notify = vhost_packed_notify,
		.avail_empty = vhost_packed_avail_empty,
		.enable_notify = vhost_packed_enable_notify,
		.disable_notify = vhost_packed_disable_notify,
	},
};

/* The layout is a constant in each of these, so the calls are direct ones. */
#define vhost_ring_call(vq, op, ...)							\
({											\
	const struct vhost_ring *__ring = (vq)->ring;					\
											\
	likely(!__ring) ? vhost_layouts[VHOST_SPLIT].op(__VA_ARGS__) :			\
	__ring->layout == VHOST_SPLIT_IN_ORDER ?					\
			  vhost_layouts[VHOST_SPLIT_IN_ORDER].op(__VA_ARGS__) :		\
	__ring->layout == VHOST_PACKED ? vhost_layouts[VHOST_PACKED].op(__VA_ARGS__) :	\
			  vhost_layouts[VHOST_PACKED_IN_ORDER].op(__VA_ARGS__);		\
})

/**
 * vhost_get_vq_desc() - fetch the next buffer that the driver made available
 * @vq: the virtqueue
 * @iov: set to where in memory the buffer is, first what the driver wants to be read
 * @iov_size: number of elements of @iov
 * @out_num: set to the number of elements to read from
 * @in_num: set to the number of those after them, to write to
 * @log: if not NULL, set to what to log if all of the buffer is written
 * @log_num: number of elements of @log; not used if that is NULL
 *
 * Context: the caller holds the mutex of @vq. May sleep.
 * Return: a handle to give to vhost_add_used(), of which nothing is known but that it is
 * not negative; the number of descriptors of the virtqueue if there is no buffer;
 * -EINVAL, -EFAULT if the driver did something wrong; -ENOBUFS if @iov_size does not do;
 * -EAGAIN if an address is not known, and has been asked for.
 */
int vhost_get_vq_desc(struct vhost_virtqueue *vq, struct iovec iov[], unsigned int iov_size,
		      unsigned int *out_num, unsigned int *in_num, struct vhost_log *log,
		      unsigned int *log_num)
{
	return vhost_ring_call(vq, get, vq, iov, iov_size, out_num, in_num, log, log_num);
}
EXPORT_SYMBOL_GPL(vhost_get_vq_desc);

/**
 * vhost_discard_vq_desc() - the last buffers fetched are to be fetched again
 * @vq: the virtqueue
 * @heads: their handles, in the order in which they were fetched
 * @n: how many
 *
 * Context: the caller holds the mutex of @vq.
 */
void vhost_discard_vq_desc(struct vhost_virtqueue *vq, const struct vring_used_elem *heads, int n)
{
	vhost_ring_call(vq, discard, vq, heads, n);
}
EXPORT_SYMBOL_GPL(vhost_discard_vq_desc);

/**
 * vhost_discard_handle() - vhost_discard_vq_desc() of one buffer
 * @vq: the virtqueue
 * @handle: what vhost_get_vq_desc() returned last
 *
 * Context: the caller holds the mutex of @vq.
 */
void vhost_discard_handle(struct vhost_virtqueue *vq, u32 handle)
{
	struct vring_used_elem elem = { .id = cpu_to_vhost32(vq, handle) };

	vhost_discard_vq_desc(vq, &elem, 1);
}
EXPORT_SYMBOL_GPL(vhost_discard_handle);

/**
 * vhost_add_used_n() - give buffers back to the driver
 * @vq: the virtqueue
 * @heads: their handles, and how many bytes were written
 * @count: how many
 *
 * Context: the caller holds the mutex of @vq. May sleep.
 * Return: 0, or -EFAULT.
 */
int vhost_add_used_n(struct vhost_virtqueue *vq, struct vring_used_elem *heads, unsigned int count)
{
	return vhost_ring_call(vq, add_used, vq, heads, count);
}
EXPORT_SYMBOL_GPL(vhost_add_used_n);

static bool vhost_notify(struct vhost_dev *dev, struct vhost_virtqueue *vq)
{
	return vhost_ring_call(vq, notify, dev, vq);
}

/**
 * vhost_vq_avail_empty() - is there surely no buffer to fetch?
 * @dev: the device
 * @vq: its virtqueue
 *
 * Context: the caller holds the mutex of @vq. May sleep.
 * Return: true if so.
 */
bool vhost_vq_avail_empty(struct vhost_dev *dev, struct vhost_virtqueue *vq)
{
	return vhost_ring_call(vq, avail_empty, dev, vq);
}
EXPORT_SYMBOL_GPL(vhost_vq_avail_empty);

/**
 * vhost_enable_notify() - have the driver kick when it adds a buffer
 * @dev: the device
 * @vq: its virtqueue
 *
 * Context: the caller holds the mutex of @vq. May sleep.
 * Return: whether one was added meanwhile.
 */
bool vhost_enable_notify(struct vhost_dev *dev, struct vhost_virtqueue *vq)
{
	return vhost_ring_call(vq, enable_notify, dev, vq);
}
EXPORT_SYMBOL_GPL(vhost_enable_notify);

/**
 * vhost_disable_notify() - spare the driver kicks
 * @dev: the device
 * @vq: its virtqueue
 *
 * Context: the caller holds the mutex of @vq. May sleep.
 */
void vhost_disable_notify(struct vhost_dev *dev, struct vhost_virtqueue *vq)
{
	vhost_ring_call(vq, disable_notify, dev, vq);
}
EXPORT_SYMBOL_GPL(vhost_disable_notify);

/*
 * vhost_vq_init_access(): the backend is there, the features are final while it is, and so
 * is the size. Returns whether the layout is packed, or -EINVAL, -ENOMEM or -EFAULT.
 */
static int vhost_ring_init(struct vhost_virtqueue *vq)
{
	bool packed = vhost_has_feature(vq, VIRTIO_F_RING_PACKED);
	bool in_order = vhost_has_feature(vq, VIRTIO_F_IN_ORDER);
	struct vhost_ring *ring = NULL;

	if (!packed && !is_power_of_2(vq->num))
		return -EINVAL;
	if (packed || in_order) {
		/* Read ahead is nothing, and a head is not known. */
		ring = kvzalloc(struct_size(ring, fetched, in_order ? vq->num : 0), GFP_KERNEL);
		if (!ring)
			return -ENOMEM;
		ring->layout = !packed ? VHOST_SPLIT_IN_ORDER :
				in_order ? VHOST_PACKED_IN_ORDER : VHOST_PACKED;
		ring->resync = true;
	}
	vhost_ring_free(vq);
	vq->ring = ring;
	return packed ? vhost_packed_init(vq) ?: 1 : 0;
}

#endif
