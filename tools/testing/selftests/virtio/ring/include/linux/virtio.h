/* SPDX-License-Identifier: GPL-2.0-only */
/* tools/virtio's virtio.h, and the rest of what a driver calls. */
#ifndef RING_LINUX_VIRTIO_H
#define RING_LINUX_VIRTIO_H

#include_next <linux/virtio.h>

int virtqueue_add_inbuf_ctx(struct virtqueue *vq, struct scatterlist sg[], unsigned int num,
			    void *data, void *ctx, gfp_t gfp);
void *virtqueue_get_buf_ctx(struct virtqueue *vq, unsigned int *len, void **ctx);
bool virtqueue_kick_prepare(struct virtqueue *vq);
bool virtqueue_notify(struct virtqueue *vq);
unsigned int virtqueue_enable_cb_prepare(struct virtqueue *vq);
bool virtqueue_poll(struct virtqueue *vq, unsigned int last_used_idx);
unsigned int virtqueue_get_vring_size(const struct virtqueue *vq);
bool virtqueue_is_broken(const struct virtqueue *vq);

/* Of these a kernel has the first one or the other two. */
int virtqueue_set_dma_premapped(struct virtqueue *vq);
int virtqueue_add_outbuf_premapped(struct virtqueue *vq, struct scatterlist *sg, unsigned int num,
				   void *data, gfp_t gfp);
int virtqueue_add_inbuf_premapped(struct virtqueue *vq, struct scatterlist *sg, unsigned int num,
				  void *data, void *ctx, gfp_t gfp);
#pragma weak virtqueue_set_dma_premapped
#pragma weak virtqueue_add_outbuf_premapped
#pragma weak virtqueue_add_inbuf_premapped

int virtqueue_resize(struct virtqueue *vq, u32 num,
		     void (*recycle)(struct virtqueue *vq, void *buf),
		     void (*recycle_done)(struct virtqueue *vq));
int virtqueue_reset(struct virtqueue *vq,
		    void (*recycle)(struct virtqueue *vq, void *buf),
		    void (*recycle_done)(struct virtqueue *vq));
dma_addr_t virtqueue_get_desc_addr(const struct virtqueue *vq);
dma_addr_t virtqueue_get_avail_addr(const struct virtqueue *vq);
dma_addr_t virtqueue_get_used_addr(const struct virtqueue *vq);

#endif /* RING_LINUX_VIRTIO_H */
