/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state of a virtqueue in debugfs: a file vq<index>, next to those of virtio_debug.c
 *
 * Included by virtio_ring.c, because the structures are private to it.
 */
#ifndef _DRIVERS_VIRTIO_VRING_DEBUGFS_H
#define _DRIVERS_VIRTIO_VRING_DEBUGFS_H

#ifndef VIRTIO_RING_C
#error "This header has functions for virtio_ring.c, and only that may include it."
#endif

#ifdef CONFIG_VIRTIO_DEBUG
#include <linux/debugfs.h>
#include <linux/math64.h>

/* Not serialized with operations on the virtqueue: the figures may be slightly inconsistent. */
static int vring_debugfs_show(struct seq_file *s, void *unused)
{
	const struct vring_virtqueue *vq = s->private;
	const struct virtio_device *vdev = vq->vq.vdev;
	bool packed = virtio_has_feature(vdev, VIRTIO_F_RING_PACKED);
	bool in_order = virtio_has_feature(vdev, VIRTIO_F_IN_ORDER);
	unsigned long buffers, batches;
	u64 mean;

	seq_printf(s, "name: %s\n", vq->vq.name ?: "");
	seq_printf(s, "layout: %s\n", packed ? "packed" : "split");
	seq_printf(s, "in-order: %s\n", in_order ? "yes" : "no");
	seq_printf(s, "size: %u\n", virtqueue_get_vring_size(&vq->vq));
	seq_printf(s, "free: %u\n", READ_ONCE(vq->vq.num_free));
	if (!in_order || !IS_ENABLED(CONFIG_VIRTIO_IN_ORDER))
		return 0;

	batches = READ_ONCE(vq->in_order.batches);
	buffers = READ_ONCE(vq->in_order.buffers);
	mean = batches ? div64_ul((u64)buffers * 100, batches) : 0;
	seq_printf(s, "buffers: %lu\n", buffers);
	seq_printf(s, "batches: %lu\n", batches);
	seq_printf(s, "mean batch: %llu.%02u\n", div_u64(mean, 100), (u32)(mean % 100));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(vring_debugfs);

static void vring_debugfs_name(const struct vring_virtqueue *vq, char *name, size_t size)
{
	snprintf(name, size, "vq%u", vq->vq.index);
}

static void vring_debugfs_add(struct vring_virtqueue *vq)
{
	struct dentry *dir = vq->vq.vdev->debugfs_dir;
	char name[16];

	/* A device has a directory only while it is on the bus */
	if (IS_ERR_OR_NULL(dir))
		return;
	vring_debugfs_name(vq, name, sizeof(name));
	debugfs_create_file(name, 0400, dir, vq, &vring_debugfs_fops);
}

/* Waits for readers of the file. */
static void vring_debugfs_remove(struct vring_virtqueue *vq)
{
	struct dentry *dir = vq->vq.vdev->debugfs_dir;
	char name[16];

	if (IS_ERR_OR_NULL(dir))
		return;
	vring_debugfs_name(vq, name, sizeof(name));
	debugfs_lookup_and_remove(name, dir);
}
#else
static inline void vring_debugfs_add(struct vring_virtqueue *vq) { }
static inline void vring_debugfs_remove(struct vring_virtqueue *vq) { }
#endif

#endif
