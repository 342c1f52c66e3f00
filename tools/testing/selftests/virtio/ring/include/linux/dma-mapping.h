/* SPDX-License-Identifier: GPL-2.0-only */
/* tools/virtio's dma-mapping.h, and what virtio_ring.c's headers use besides. */
#ifndef RING_LINUX_DMA_MAPPING_H
#define RING_LINUX_DMA_MAPPING_H

#include_next <linux/dma-mapping.h>

#define DMA_MAPPING_ERROR (~(dma_addr_t)0)

#endif /* RING_LINUX_DMA_MAPPING_H */
