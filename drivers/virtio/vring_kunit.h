/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KUnit tests of the virtqueue core: a transport without hardware, and the device
 * behind it, which runs when the test says so
 */
#ifndef _DRIVERS_VIRTIO_VRING_KUNIT_H
#define _DRIVERS_VIRTIO_VRING_KUNIT_H

#include <kunit/test.h>
#include <linux/dma-mapping.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

/**
 * struct fake_dma - an IOMMU that only keeps accounts (vring_kunit_dma.c)
 * @dev: maps through it
 * @slots: what is mapped
 * @free: stack of the slots that are not in use
 * @num_free: how many these are
 * @fail_from: the how manieth mapping from now on fails, and all after it; 0: none
 * @wrong: an unmapping that did not match its mapping
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

/* A layout of virtqueue, as a parameter of tests */
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
	/* the caller's memory, instead of the core's: vring_new_virtqueue() */
	void *pages;
};

/**
 * struct fake_vq - a virtqueue, and the device's side of it
 *
 * Counters of the device run freely: buffers on the split ring, descriptors on the
 * packed one.
 *
 * @test: whose it is
 * @vdev: the driver's side
 * @vq: of it, too
 * @setup: how it was made
 * @dma: its DMA operations; NULL without FAKE_DMA
 * @num: size of the ring
 * @packed: VIRTIO_F_RING_PACKED was negotiated
 * @in_order: VIRTIO_F_IN_ORDER was
 * @event: VIRTIO_RING_F_EVENT_IDX was
 * @indirect: VIRTIO_RING_F_INDIRECT_DESC was
 * @notified: how often the driver did it to us
 * @called: how often we called the driver back
 * @priv: the test's
 * @sg: of fake_add()
 * @memory: what its scatterlist is of
 * @premapped: it gives addresses
 * @gfp: what it allocates with
 * @split: the ring, as the device sees it
 * @ring: the packed one
 * @avail_pos: up to where the device has taken buffers
 * @used_pos: up to where it has returned them
 * @published: split: up to where the used index says so
 * @next_desc: split in order: first descriptor of the next buffer
 * @segments: those of the buffer that fake_take() found
 * @num_segments: how many
 * @wrong: what fake_take() found to be wrong with the ring
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

/* vring_kunit_device.c: the transport, and the device */
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

/* vring_kunit_driver.c: what the tests of a single thing need of both sides */
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
