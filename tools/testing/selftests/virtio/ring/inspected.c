// SPDX-License-Identifier: GPL-2.0-only
/* virtio_ring.c, and what tests look at of that which is private to it */
#include "virtio_ring.c"

void ring_statistics(const struct virtqueue *vq, unsigned long *buffers, unsigned long *batches)
{
	const struct vring_in_order *state =
		&container_of(vq, struct vring_virtqueue, vq)->in_order;

	*buffers = state->buffers;
	*batches = state->batches;
}
