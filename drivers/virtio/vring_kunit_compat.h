/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KUnit tests of the virtqueue core: the kernels that they are built for differ in these
 * things, and no other file of the tests looks at which of them it is.
 */
#ifndef _DRIVERS_VIRTIO_VRING_KUNIT_COMPAT_H
#define _DRIVERS_VIRTIO_VRING_KUNIT_COMPAT_H

#include <linux/dma-map-ops.h>
#include <linux/virtio.h>

/* vring_kunit_dma.c */
dma_addr_t fake_map(struct device *dev, phys_addr_t phys, size_t size,
		    enum dma_data_direction dir, unsigned long attrs);
void fake_unmap(struct device *dev, dma_addr_t addr, size_t size,
		enum dma_data_direction dir, unsigned long attrs);

#ifdef DMA_ATTR_MMIO /* 7.3 */

#define FAKE_MAP_OPS	.map_phys = fake_map, .unmap_phys = fake_unmap

/* Each buffer is premapped or not. There is no function for one with both directions. */
static inline bool fake_is_one_way(bool premapped)
{
	return premapped;
}

static inline int fake_set_premapped(struct virtqueue *vq)
{
	return 0;
}

/* For virtqueues that are in use */
static inline int fake_set_premapped_late(struct virtqueue *vq)
{
	return -EINVAL;
}

/*
 * vring_new_virtqueue() makes a packed virtqueue of the descriptors alone. It has no event
 * suppression structures, so it is not to be used.
 */
static inline bool fake_can_refuse_packed(void)
{
	return false;
}

static inline int fake_add_out(struct virtqueue *vq, struct scatterlist *sg, unsigned int num,
			       void *data, bool premapped, gfp_t gfp)
{
	return premapped ? virtqueue_add_outbuf_premapped(vq, sg, num, data, gfp) :
			   virtqueue_add_outbuf(vq, sg, num, data, gfp);
}

static inline int fake_add_in(struct virtqueue *vq, struct scatterlist *sg, unsigned int num,
			      void *data, void *ctx, bool premapped, gfp_t gfp)
{
	if (premapped)
		return virtqueue_add_inbuf_premapped(vq, sg, num, data, ctx, gfp);
	return ctx ? virtqueue_add_inbuf_ctx(vq, sg, num, data, ctx, gfp) :
		     virtqueue_add_inbuf(vq, sg, num, data, gfp);
}

#else /* 6.12 */

static inline dma_addr_t fake_map_page(struct device *dev, struct page *page,
				       unsigned long offset, size_t size,
				       enum dma_data_direction dir, unsigned long attrs)
{
	return fake_map(dev, page_to_phys(page) + offset, size, dir, attrs);
}

#define FAKE_MAP_OPS	.map_page = fake_map_page, .unmap_page = fake_unmap

/* All buffers of a virtqueue are premapped, or none. */
static inline bool fake_is_one_way(bool premapped)
{
	return false;
}

static inline int fake_set_premapped(struct virtqueue *vq)
{
	return virtqueue_set_dma_premapped(vq);
}

static inline int fake_set_premapped_late(struct virtqueue *vq)
{
	return virtqueue_set_dma_premapped(vq);
}

static inline bool fake_can_refuse_packed(void)
{
	return true;
}

static inline int fake_add_out(struct virtqueue *vq, struct scatterlist *sg, unsigned int num,
			       void *data, bool premapped, gfp_t gfp)
{
	return virtqueue_add_outbuf(vq, sg, num, data, gfp);
}

static inline int fake_add_in(struct virtqueue *vq, struct scatterlist *sg, unsigned int num,
			      void *data, void *ctx, bool premapped, gfp_t gfp)
{
	return ctx ? virtqueue_add_inbuf_ctx(vq, sg, num, data, ctx, gfp) :
		     virtqueue_add_inbuf(vq, sg, num, data, gfp);
}

#endif

#endif
