// SPDX-License-Identifier: GPL-2.0-only
/* The device's side of a virtqueue: see device.h. Both sides are in one thread: no barriers. */
#include <linux/virtio.h>
#include "device.h"
#include "fake_kernel.h"

#define AVAIL BIT(VRING_PACKED_DESC_F_AVAIL)
#define USED BIT(VRING_PACKED_DESC_F_USED)

u64 layout_features(const struct layout *layout)
{
	return 1ULL << VIRTIO_F_VERSION_1 |
		(u64)layout->packed << VIRTIO_F_RING_PACKED |
		(u64)layout->in_order << VIRTIO_F_IN_ORDER |
		(u64)layout->event_idx << VIRTIO_RING_F_EVENT_IDX |
		(u64)layout->indirect << VIRTIO_RING_F_INDIRECT_DESC |
		(u64)layout->dma << VIRTIO_F_ACCESS_PLATFORM;
}

void device_init(struct ring_device *device, const struct layout *layout,
		 const struct virtqueue *vq)
{
	void *desc = fake_dma_memory(virtqueue_get_desc_addr(vq));
	void *driver = fake_dma_memory(virtqueue_get_avail_addr(vq));
	void *used = fake_dma_memory(virtqueue_get_used_addr(vq));

	memset(device, 0, sizeof(*device));
	device->layout = *layout;
	device->num = virtqueue_get_vring_size(vq);
	if (layout->packed) {
		device->packed.desc = desc;
		device->packed.driver = driver;
		device->packed.device = used;
		device->next_avail = WRAP;
		device->next_used = WRAP;
	} else {
		device->split.desc = desc;
		device->split.avail = driver;
		device->split.used = used;
	}
}

u16 packed_after(u16 position, unsigned int n, unsigned int num)
{
	unsigned int i = (position & ~WRAP) + n;

	return i < num ? i | (position & WRAP) : (i - num) | (~position & WRAP);
}

/* Descriptors in ring order */
static u16 after(u16 i, unsigned int num)
{
	return (i + 1) % num;
}

static const char *add_segment(struct chain *chain, u64 addr, u32 len, bool write)
{
	struct segment *segment = &chain->segment[chain->segments];

	if (chain->segments == MAX_SEGMENTS)
		return "a chain that does not end";
	if (!write && chain->writable)
		return "a segment to read after one to write";
	segment->addr = addr;
	segment->len = len;
	segment->write = write;
	chain->segments++;
	if (write)
		chain->writable += len;
	return NULL;
}

static const char *walk_split(struct ring_device *device, struct chain *chain,
			      const struct vring_desc *desc, unsigned int num, u16 i)
{
	const char *wrong;

	for (;; i = desc[i].next) {
		u16 flags = desc[i].flags;

		if (!chain->indirect) {
			chain->descs++;
			chain->slots |= BIT_ULL(i % 64);
		}
		if (flags & VRING_DESC_F_INDIRECT) {
			if (chain->indirect || flags != VRING_DESC_F_INDIRECT)
				return "a table in a table, or in a chain";
			if (!desc[i].len || desc[i].len % sizeof(*desc))
				return "an indirect table with a part of a descriptor";
			chain->indirect = true;
			return walk_split(device, chain, fake_dma_memory(desc[i].addr),
					  desc[i].len / sizeof(*desc), 0);
		}
		wrong = add_segment(chain, desc[i].addr, desc[i].len, flags & VRING_DESC_F_WRITE);
		if (wrong)
			return wrong;
		if (!(flags & VRING_DESC_F_NEXT))
			return chain->indirect && i != num - 1 ? "a table with a rest" : NULL;
		if (desc[i].next >= num)
			return "next is out of range";
		if (device->layout.in_order && desc[i].next != after(i, num))
			return "next is not the next descriptor";
	}
}

static const char *take_split(struct ring_device *device, struct chain *chain)
{
	u16 head = device->split.avail->ring[device->next_avail % device->num];
	const char *wrong;

	if (head >= device->num)
		return "head is out of range";
	chain->id = head;
	chain->head = head;
	wrong = walk_split(device, chain, device->split.desc, device->num, head);
	if (wrong)
		return wrong;
	if (device->layout.in_order && head != device->next_head)
		return "the chain is not where the last one ended";
	device->next_head = (head + chain->descs) % device->num;
	device->next_avail++;
	return NULL;
}

static bool is_available(const struct ring_device *device, u16 position)
{
	u16 flags = device->packed.desc[position & ~WRAP].flags;

	return !!(flags & AVAIL) == !!(position & WRAP) && !(flags & AVAIL) == !!(flags & USED);
}

static const char *walk_table(struct chain *chain, const struct vring_packed_desc *indirect)
{
	const struct vring_packed_desc *desc = fake_dma_memory(indirect->addr);
	unsigned int i;

	if (!indirect->len || indirect->len % sizeof(*desc))
		return "an indirect table with a part of a descriptor";
	chain->indirect = true;
	for (i = 0; i < indirect->len / sizeof(*desc); i++) {
		const char *wrong;

		if (desc[i].flags & ~VRING_DESC_F_WRITE)
			return "a flag other than WRITE in a table";
		wrong = add_segment(chain, desc[i].addr, desc[i].len,
				    desc[i].flags & VRING_DESC_F_WRITE);
		if (wrong)
			return wrong;
	}
	return NULL;
}

static const char *take_packed(struct ring_device *device, struct chain *chain)
{
	u16 position = device->next_avail;
	const char *wrong = NULL;
	u16 flags;

	chain->head = position & ~WRAP;
	do {
		const struct vring_packed_desc *desc = &device->packed.desc[position & ~WRAP];

		if (!is_available(device, position))
			return "a chain of which a part is not available";
		flags = desc->flags;
		if (flags & ~(AVAIL | USED | VRING_DESC_F_NEXT | VRING_DESC_F_WRITE |
			      VRING_DESC_F_INDIRECT))
			return "a flag that does not exist";
		chain->id = desc->id;
		chain->descs++;
		chain->slots |= BIT_ULL((position & ~WRAP) % 64);
		if (flags & VRING_DESC_F_INDIRECT) {
			if (chain->segments || flags & (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE))
				return "an indirect table in a chain";
			wrong = walk_table(chain, desc);
		} else {
			wrong = add_segment(chain, desc->addr, desc->len,
					    flags & VRING_DESC_F_WRITE);
		}
		position = packed_after(position, 1, device->num);
	} while (!wrong && flags & VRING_DESC_F_NEXT);

	if (!wrong && device->layout.in_order && chain->id != chain->head)
		wrong = "the buffer's id is not its first descriptor";
	if (!wrong)
		device->next_avail = position;
	return wrong;
}

bool device_has_avail(const struct ring_device *device)
{
	if (device->layout.packed)
		return is_available(device, device->next_avail);
	return device->split.avail->idx != device->next_avail;
}

const char *device_take(struct ring_device *device, struct chain *chain)
{
	memset(chain, 0, sizeof(*chain));
	return device->layout.packed ? take_packed(device, chain) : take_split(device, chain);
}

void device_write_used(struct ring_device *device, u32 id, u32 len, unsigned int bufs,
		       unsigned int descs)
{
	if (device->layout.packed) {
		struct vring_packed_desc *desc =
			&device->packed.desc[device->next_used & ~WRAP];

		desc->id = id;
		desc->len = len;
		desc->flags = (device->next_used & WRAP ? AVAIL | USED : 0) |
			      (len ? VRING_DESC_F_WRITE : 0);
		device->next_used = packed_after(device->next_used, descs, device->num);
	} else {
		struct vring_used_elem *elem =
			&device->split.used->ring[device->next_used % device->num];

		elem->id = id;
		elem->len = len;
		device->next_used += bufs;
		device->split.used->idx = device->next_used;
	}
}

void device_use_batch(struct ring_device *device, const struct chain *chains, unsigned int n,
		      u32 len)
{
	unsigned int i, descs = 0;

	for (i = 0; i < n; i++)
		descs += chains[i].descs;
	device_write_used(device, chains[n - 1].id, len, n, descs);
}

void device_use_each(struct ring_device *device, const struct chain *chains, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		device_use_batch(device, &chains[i], 1, chains[i].writable);
}

u16 device_event(const struct ring_device *device)
{
	return device->layout.packed ? device->packed.driver->off_wrap :
				       device->split.avail->ring[device->num];
}

bool device_interrupts(const struct ring_device *device, u16 old)
{
	u16 new = device->next_used;
	u16 event, flags;

	if (new == old)
		return false;
	if (!device->layout.packed) {
		if (!device->layout.event_idx)
			return !(device->split.avail->flags & VRING_AVAIL_F_NO_INTERRUPT);
		event = device_event(device);
		return (u16)(new - event - 1) < (u16)(new - old);
	}

	flags = device->packed.driver->flags;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
	/* Was the descriptor that the driver waits for among those that were passed? */
	event = device_event(device);
	for (; old != new; old = packed_after(old, 1, device->num)) {
		if (old == event)
			return true;
	}
	return false;
}

void device_enable_kicks(struct ring_device *device)
{
	if (!device->layout.packed) {
		device->split.used->flags = 0;
		if (device->layout.event_idx)
			*(u16 *)&device->split.used->ring[device->num] = device->next_avail;
	} else {
		device->packed.device->off_wrap = device->next_avail;
		device->packed.device->flags = device->layout.event_idx ?
			VRING_PACKED_EVENT_FLAG_DESC : VRING_PACKED_EVENT_FLAG_ENABLE;
	}
}

void device_disable_kicks(struct ring_device *device)
{
	if (!device->layout.packed)
		device->split.used->flags = VRING_USED_F_NO_NOTIFY;
	else
		device->packed.device->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
}
