/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A DMA API whose mappings are counted and checked and can be made to fail (fake_kernel.c), instead
 * of that of tools/virtio, which never fails.
 */
#ifndef RING_FAULTY_LINUX_DMA_MAPPING_H
#define RING_FAULTY_LINUX_DMA_MAPPING_H

#include <linux/kernel.h>
#include <linux/scatterlist.h>

struct device;

enum dma_data_direction {
	DMA_BIDIRECTIONAL = 0,
	DMA_TO_DEVICE = 1,
	DMA_FROM_DEVICE = 2,
	DMA_NONE = 3,
};

#define DMA_MAPPING_ERROR (~(dma_addr_t)0)
/* Not 0, or the compiler makes of the kernel's own code what it cannot make of it in the kernel */
#define DMA_ATTR_DEBUGGING_IGNORE_CACHELINES BIT(11)

dma_addr_t fake_dma_address(const void *memory);
dma_addr_t fake_dma_map(unsigned long address, size_t size, enum dma_data_direction dir);
void fake_dma_unmap(dma_addr_t addr, size_t size, enum dma_data_direction dir);

static inline void *dma_alloc_coherent(struct device *dev, size_t size, dma_addr_t *handle,
				       gfp_t gfp)
{
	void *memory = fake_kzalloc(size);

	*handle = fake_dma_address(memory);
	return memory;
}

static inline void dma_free_coherent(struct device *dev, size_t size, void *memory,
				     dma_addr_t handle)
{
	kfree(memory);
}

static inline dma_addr_t dma_map_page_attrs(struct device *dev, struct page *page, size_t offset,
					    size_t size, enum dma_data_direction dir,
					    unsigned long attrs)
{
	return fake_dma_map(page_to_phys(page) + offset, size, dir);
}

static inline dma_addr_t dma_map_page(struct device *dev, struct page *page, size_t offset,
				      size_t size, enum dma_data_direction dir)
{
	return dma_map_page_attrs(dev, page, offset, size, dir, 0);
}

static inline dma_addr_t dma_map_single_attrs(struct device *dev, void *memory, size_t size,
					      enum dma_data_direction dir, unsigned long attrs)
{
	return fake_dma_map(virt_to_phys(memory), size, dir);
}

static inline dma_addr_t dma_map_single(struct device *dev, void *memory, size_t size,
					enum dma_data_direction dir)
{
	return dma_map_single_attrs(dev, memory, size, dir, 0);
}

static inline int dma_mapping_error(struct device *dev, dma_addr_t addr)
{
	return addr == DMA_MAPPING_ERROR ? -ENOMEM : 0;
}

static inline void dma_unmap_page_attrs(struct device *dev, dma_addr_t addr, size_t size,
					enum dma_data_direction dir, unsigned long attrs)
{
	fake_dma_unmap(addr, size, dir);
}

static inline void dma_unmap_page(struct device *dev, dma_addr_t addr, size_t size,
				  enum dma_data_direction dir)
{
	dma_unmap_page_attrs(dev, addr, size, dir, 0);
}

static inline void dma_unmap_single_attrs(struct device *dev, dma_addr_t addr, size_t size,
					  enum dma_data_direction dir, unsigned long attrs)
{
	fake_dma_unmap(addr, size, dir);
}

static inline void dma_unmap_single(struct device *dev, dma_addr_t addr, size_t size,
				    enum dma_data_direction dir)
{
	fake_dma_unmap(addr, size, dir);
}

static inline bool dma_need_sync(struct device *dev, dma_addr_t addr)
{
	return false;
}

static inline void dma_sync_single_range_for_cpu(struct device *dev, dma_addr_t addr,
						 unsigned long offset, size_t size,
						 enum dma_data_direction dir)
{
}

static inline void dma_sync_single_range_for_device(struct device *dev, dma_addr_t addr,
						    unsigned long offset, size_t size,
						    enum dma_data_direction dir)
{
}

static inline size_t dma_max_mapping_size(struct device *dev)
{
	return SIZE_MAX;
}

#define sg_dma_address(sg) ((sg)->dma_address)
#define sg_dma_len(sg) ((sg)->length)

#endif /* RING_FAULTY_LINUX_DMA_MAPPING_H */
