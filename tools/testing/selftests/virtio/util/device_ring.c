// SPDX-License-Identifier: GPL-2.0-only
/* The parts that do not depend on the layout of the virtqueue */
#include <stdio.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include "device_ring.h"

int ring_complain(struct device_ring *ring, const char *what)
{
	if (!ring->complaint) {
		ring->complaint = what;
		fprintf(stderr, "queue %u: the driver broke the rules: %s\n",
			ring->config.index, what);
	}
	return -1;
}

void *ring_at(struct device_ring *ring, uint64_t iova, uint64_t len)
{
	const struct ring_memory *memory = &ring->config.memory;

	return memory->at(memory->owner, iova, len);
}

bool ring_start(struct device_ring *ring, const struct ring_config *config)
{
	uint64_t features = config->features;

	memset(ring, 0, sizeof(*ring));
	ring->config = *config;
	ring->in_order = features & (1ULL << VIRTIO_F_IN_ORDER);
	ring->event_idx = features & (1ULL << VIRTIO_RING_F_EVENT_IDX);
	ring->indirect = features & (1ULL << VIRTIO_RING_F_INDIRECT_DESC);
	if (features & (1ULL << VIRTIO_F_RING_PACKED)) {
		ring->layout = &packed_layout;
		ring->next_avail = RING_WRAP;
		ring->next_used = RING_WRAP;
	} else {
		ring->layout = &split_layout;
	}
	ring->published = ring->next_used;
	ring->judged = ring->next_used;
	return config->size && config->size <= RING_MAX_SIZE && ring->layout->begin(ring);
}

const void *ring_table(struct device_ring *ring, uint64_t iova, uint32_t len, uint16_t flags)
{
	const void *table;

	if (!ring->indirect)
		ring_complain(ring, "an indirect table without the feature");
	else if (flags & (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE))
		ring_complain(ring, "NEXT or WRITE beside INDIRECT in a descriptor");
	else if (!len || len % sizeof(struct vring_desc))
		ring_complain(ring, "an indirect table with a part of a descriptor");
	if (ring->complaint)
		return NULL;
	table = ring_at(ring, iova, len);
	if (!table)
		ring_complain(ring, "an indirect table that is not mapped");
	return table;
}

int ring_add_element(struct device_ring *ring, struct ring_buffer *buffer, uint64_t iova,
		     uint32_t len, bool write)
{
	struct iovec *iov = &buffer->iov[buffer->num_out + buffer->num_in];

	if (buffer->num_out + buffer->num_in == RING_MAX_IOV)
		return ring_complain(ring, "a buffer of too many segments");
	if (!len)
		return ring_complain(ring, "an empty segment");
	if (!write && buffer->num_in)
		return ring_complain(ring, "a readable segment after a writable one");

	iov->iov_base = ring_at(ring, iova, len);
	iov->iov_len = len;
	if (!iov->iov_base)
		return ring_complain(ring, "a segment that is not mapped");
	if (write) {
		buffer->num_in++;
		buffer->writable += len;
	} else {
		buffer->num_out++;
	}
	return 0;
}

int ring_take(struct device_ring *ring, struct ring_buffer *buffer)
{
	if (ring->complaint)
		return -1;
	if (!ring_available(ring))
		return 0;
	buffer->num_out = 0;
	buffer->num_in = 0;
	buffer->writable = 0;
	return ring->layout->take(ring, buffer);
}

static void end_batch(struct device_ring *ring)
{
	struct ring_used *batch = &ring->batch;

	ring->layout->put(ring, batch);
	ring->statistics.elements++;
	ring->statistics.buffers += batch->buffers;
	if (batch->buffers > ring->statistics.largest_batch)
		ring->statistics.largest_batch = batch->buffers;
	memset(batch, 0, sizeof(*batch));
}

void ring_complete(struct device_ring *ring, const struct ring_buffer *buffer, size_t len)
{
	struct ring_used *batch = &ring->batch;

	/*
	 * The driver assumes that a skipped buffer was written completely. So a batch can go on
	 * only after such a buffer, or one with nothing to write.
	 */
	if (batch->buffers &&
	    (!ring->in_order || !batch->complete || batch->buffers >= ring->config.max_batch))
		end_batch(ring);

	batch->id = buffer->id;
	batch->len = len;
	batch->buffers++;
	batch->descs += buffer->descs;
	batch->writable = buffer->num_in;
	batch->complete = len == buffer->writable;
}

bool ring_wants_interrupt(struct device_ring *ring)
{
	uint16_t judged = ring->judged;

	ring->judged = ring->published;
	/* Make the elements visible before reading what the driver wants. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return ring->layout->wants_interrupt(ring, judged);
}

bool ring_publish(struct device_ring *ring)
{
	if (ring->batch.buffers)
		end_batch(ring);
	if (ring->published == ring->next_used)
		return false;

	ring->layout->publish(ring);
	if (!ring_wants_interrupt(ring)) {
		ring->statistics.suppressed++;
		return false;
	}
	ring->statistics.notified++;
	return true;
}

void ring_put(struct device_ring *ring, const struct ring_used *used)
{
	ring->layout->put(ring, used);
	ring->layout->publish(ring);
}

bool ring_enable_kicks(struct device_ring *ring)
{
	if (ring->complaint)
		return false;
	ring->layout->enable_kicks(ring);
	/* Ask for kicks before looking whether there are buffers without one. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return ring_available(ring);
}
