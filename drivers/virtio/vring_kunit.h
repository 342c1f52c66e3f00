/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KUnit tests of the virtqueue core: a transport without hardware, and an emulated device
 * that does something only when the test tells it to
 */
#ifndef _DRIVERS_VIRTIO_VRING_KUNIT_H
#define _DRIVERS_VIRTIO_VRING_KUNIT_H

#include <kunit/test.h>
#include <linux/dma-mapping.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include "vring_kunit_compat.h"

/**
 * struct fake_dma - an IOMMU that only records mappings (vring_kunit_dma.c)
 * @dev: the device whose DMA operations these are
 * @slots: the mappings
 * @free: stack of free slots
 * @num_free: number of free slots
 * @fail_from: fail the @fail_from-th mapping from now on, and all later ones; 0: none
 * @wrong: describes an unmapping that did not match its mapping
 */
struct fake_dma {
	struct device *dev;
	struct fake_dma_slot {
		phys_addr_t phys;
		u32 size;
		u8 dir;
		bool mapped;
	} *slots;
	u16 *free;
	unsigned int num_free;
	unsigned int fail_from;
	const char *wrong;
};

#define FAKE_DMA_SLOTS	16384

int fake_dma_init(struct fake_dma *dma, struct kunit *test);
unsigned int fake_dma_mapped(const struct fake_dma *dma);
phys_addr_t fake_dma_phys(const struct fake_dma *dma, u64 addr, u32 len, bool write);

/* A virtqueue layout, as a test parameter */
struct fake_layout {
	const char *name;
	u64 features;
};

#define FAKE_SPLIT		0
#define FAKE_PACKED		BIT_ULL(VIRTIO_F_RING_PACKED)
#define FAKE_IN_ORDER		BIT_ULL(VIRTIO_F_IN_ORDER)
#define FAKE_INDIRECT		BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC)
#define FAKE_EVENT_IDX		BIT_ULL(VIRTIO_RING_F_EVENT_IDX)
#define FAKE_DMA		BIT_ULL(VIRTIO_F_ACCESS_PLATFORM)

struct fake_setup {
	u64 features;
	unsigned int num;
	unsigned int num_max;
	bool context;
	/* memory for the ring, for vring_new_virtqueue(); NULL: the core allocates it */
	void *pages;
};

/**
 * struct fake_vq - a virtqueue, and the device's side of it
 *
 * The device's counters run freely. They count buffers in the split layout and descriptors
 * in the packed one.
 *
 * @test: the test it belongs to
 * @vdev: the virtio device
 * @vq: the virtqueue
 * @setup: the parameters that it was made with
 * @dma: its DMA operations; NULL without FAKE_DMA
 * @num: size of the ring
 * @packed: VIRTIO_F_RING_PACKED was negotiated
 * @in_order: VIRTIO_F_IN_ORDER was negotiated
 * @event: VIRTIO_RING_F_EVENT_IDX was negotiated
 * @indirect: VIRTIO_RING_F_INDIRECT_DESC was negotiated
 * @notified: how often the driver notified the device
 * @called: how often the driver's callback was called
 * @priv: for the test
 * @sg: scatterlist that fake_add() uses
 * @memory: the memory that @sg refers to
 * @premapped: fake_add() passes DMA addresses
 * @gfp: allocation flags for fake_add()
 * @split: the split ring, as the device sees it
 * @ring: the packed ring, as the device sees it
 * @avail_pos: the device has taken buffers up to here
 * @used_pos: the device has returned buffers up to here
 * @published: split: the used index says that buffers were returned up to here
 * @next_desc: split in order: first descriptor of the next buffer
 * @segments: segments of the buffer that fake_take() found
 * @num_segments: number of @segments
 * @wrong: describes what fake_take() found wrong with the ring
 */
struct fake_vq {
	struct kunit *test;
	struct virtio_device vdev;
	struct virtqueue *vq;
	struct fake_setup setup;
	struct fake_dma *dma;
	unsigned int num;
	bool packed;
	bool in_order;
	bool event;
	bool indirect;
	unsigned long notified;
	unsigned long called;
	void *priv;
	struct scatterlist *sg;
	void *memory;
	bool premapped;
	gfp_t gfp;

	union {
		struct vring split;
		struct {
			struct vring_packed_desc *desc;
			struct vring_packed_desc_event *driver;
			struct vring_packed_desc_event *device;
		} ring;
	};
	u32 avail_pos;
	u32 used_pos;
	u32 published;
	u32 next_desc;

	struct fake_segment {
		u64 addr;
		u32 len;
		bool write;
	} *segments;
	unsigned int num_segments;
	const char *wrong;
};

/* A buffer that the device has taken */
struct fake_buf {
	u16 id;
	u16 descs;
};

/* vring_kunit_device.c: the transport and the device */
int fake_vq_init(struct fake_vq *fq, struct kunit *test, struct fake_dma *dma,
		 const struct fake_setup *setup);
void fake_vq_exit(struct fake_vq *fq);

static inline struct fake_vq *to_fake_vq(struct virtqueue *vq)
{
	return container_of(vq->vdev, struct fake_vq, vdev);
}

bool fake_take(struct fake_vq *fq, struct fake_buf *buf);
void fake_use(struct fake_vq *fq, u32 id, u32 len, unsigned int bufs, unsigned int descs);
void fake_publish(struct fake_vq *fq);
bool fake_wants_interrupt(struct fake_vq *fq, u32 before);
bool fake_interrupt(struct fake_vq *fq);
u16 fake_interrupt_at(struct fake_vq *fq);
void fake_set_interrupt_at(struct fake_vq *fq, u16 position);
u16 fake_position(const struct fake_vq *fq, u32 pos);

enum fake_kick { FAKE_KICK_NEVER, FAKE_KICK_ALWAYS, FAKE_KICK_AT };

void fake_ask_for_kick(struct fake_vq *fq, enum fake_kick kick, u32 pos);

/* vring_kunit_driver.c: helpers for tests of one particular thing */
struct fake_vq *fake_vq_create(struct kunit *test, const struct fake_setup *setup);
void fake_vq_destroy(struct kunit *test, struct fake_vq *fq);
struct fake_vq *fake_vq_simple(struct kunit *test, u64 features, unsigned int num);
int fake_add(struct fake_vq *fq, unsigned long token, unsigned int out, unsigned int in);
void fake_give(struct kunit *test, struct fake_vq *fq, struct fake_buf *buf,
	       unsigned long token, unsigned int out, unsigned int in);
void fake_expect(struct kunit *test, struct fake_vq *fq, struct fake_buf *buf,
		 unsigned long token, unsigned int out, unsigned int in);
void fake_expect_none(struct kunit *test, struct fake_vq *fq);
void fake_return(struct fake_vq *fq, const struct fake_buf *bufs, unsigned int num, u32 len);
unsigned long fake_get(struct fake_vq *fq, u32 *len);
void fake_expect_unused(struct kunit *test, struct fake_vq *fq);

#endif
