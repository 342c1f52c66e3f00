// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA operations that map nothing, but record each mapping in a table. So it shows if one is
 * forgotten, undone twice or undone with wrong parameters. They fail on demand.
 */
#include <kunit/device.h>
#include <linux/mm.h>

#include "vring_kunit.h"

/* Far from addresses of memory, with a window for each slot */
#define FAKE_DMA_BASE	BIT_ULL(48)
#define FAKE_DMA_SHIFT	20

static struct fake_dma_slot *fake_dma_slot(const struct fake_dma *dma, u64 addr)
{
	u64 i = (addr - FAKE_DMA_BASE) >> FAKE_DMA_SHIFT;

	if (addr < FAKE_DMA_BASE || i >= FAKE_DMA_SLOTS || !dma->slots[i].mapped)
		return NULL;
	return &dma->slots[i];
}

dma_addr_t fake_map(struct device *dev, phys_addr_t phys, size_t size,
		    enum dma_data_direction dir, unsigned long attrs)
{
	struct fake_dma *dma = dev_get_drvdata(dev);
	unsigned int i;

	if (dma->fail_from == 1 || !dma->num_free)
		return DMA_MAPPING_ERROR;
	if (dma->fail_from)
		dma->fail_from--;

	i = dma->free[--dma->num_free];
	dma->slots[i] = (struct fake_dma_slot) {
		.phys = phys, .size = size, .dir = dir, .mapped = true,
	};
	return FAKE_DMA_BASE + ((u64)i << FAKE_DMA_SHIFT);
}

void fake_unmap(struct device *dev, dma_addr_t addr, size_t size,
		enum dma_data_direction dir, unsigned long attrs)
{
	struct fake_dma *dma = dev_get_drvdata(dev);
	struct fake_dma_slot *slot = fake_dma_slot(dma, addr);

	if (!slot) {
		dma->wrong = "unmapped what is not mapped";
		return;
	}
	if (slot->size != size)
		dma->wrong = "unmapped with another size";
	if (slot->dir != dir)
		dma->wrong = "unmapped in another direction";
	slot->mapped = false;
	dma->free[dma->num_free++] = slot - dma->slots;
}

/* Rings have their physical address. */
static void *fake_alloc(struct device *dev, size_t size, dma_addr_t *addr, gfp_t gfp,
			unsigned long attrs)
{
	void *mem = alloc_pages_exact(size, gfp | __GFP_ZERO);

	if (mem)
		*addr = virt_to_phys(mem);
	return mem;
}

static void fake_free(struct device *dev, size_t size, void *mem, dma_addr_t addr,
		      unsigned long attrs)
{
	free_pages_exact(mem, size);
}

static const struct dma_map_ops fake_dma_ops = {
	.alloc = fake_alloc,
	.free = fake_free,
	FAKE_MAP_OPS,
};

unsigned int fake_dma_mapped(const struct fake_dma *dma)
{
	return dma ? FAKE_DMA_SLOTS - dma->num_free : 0;
}

/* Physical address of what the device accesses, or 0 if the access is not allowed */
phys_addr_t fake_dma_phys(const struct fake_dma *dma, u64 addr, u32 len, bool write)
{
	const struct fake_dma_slot *slot = fake_dma_slot(dma, addr);

	if (!slot || slot->size != len || slot->dir != (write ? DMA_FROM_DEVICE : DMA_TO_DEVICE))
		return 0;
	return slot->phys;
}

/* Returns -EOPNOTSUPP if the kernel is built without DMA operations of devices. */
int fake_dma_init(struct fake_dma *dma, struct kunit *test)
{
	unsigned int i;

	if (!IS_ENABLED(CONFIG_ARCH_HAS_DMA_OPS))
		return -EOPNOTSUPP;
	dma->dev = kunit_device_register(test, "vring-kunit");
	if (IS_ERR(dma->dev))
		return PTR_ERR(dma->dev);
	dma->slots = kunit_kcalloc(test, FAKE_DMA_SLOTS, sizeof(*dma->slots), GFP_KERNEL);
	dma->free = kunit_kcalloc(test, FAKE_DMA_SLOTS, sizeof(*dma->free), GFP_KERNEL);
	if (!dma->slots || !dma->free)
		return -ENOMEM;

	for (i = 0; i < FAKE_DMA_SLOTS; i++)
		dma->free[dma->num_free++] = i;
	dma->dev->dma_mask = &dma->dev->coherent_dma_mask;
	dma->dev->coherent_dma_mask = DMA_BIT_MASK(64);
	dev_set_drvdata(dma->dev, dma);
	set_dma_ops(dma->dev, &fake_dma_ops);
	return 0;
}
