// SPDX-License-Identifier: GPL-2.0-only
/*
 * A transport without hardware, and the device's view of the ring, which relies on the
 * specification only, and never on what the driver's side has recorded. That of the tests in
 * user space, tools/testing/selftests/virtio/util/device_ring.h, is another: it uses the libc.
 */
#include <linux/mm.h>
#include <linux/overflow.h>

#include "vring_kunit.h"

/* Flags of a descriptor (VIRTIO 1.2, 2.8.1), and the wrap counter of an event (2.8.14) */
#define PACKED_AVAIL	BIT(VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED	BIT(VRING_PACKED_DESC_F_USED)
#define PACKED_WRAP	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)

/*
 * The driver's side
 */

static bool fake_notify(struct virtqueue *vq)
{
	to_fake_vq(vq)->notified++;
	return true;
}

static void fake_callback(struct virtqueue *vq)
{
	to_fake_vq(vq)->called++;
}

/* Find the ring, and begin at its start. */
static void fake_attach(struct fake_vq *fq)
{
	struct virtqueue *vq = fq->vq;

	fq->num = virtqueue_get_vring_size(vq);
	fq->avail_pos = 0;
	fq->used_pos = 0;
	fq->published = 0;
	fq->next_desc = 0;
	if (fq->packed) {
		fq->ring.desc = phys_to_virt(virtqueue_get_desc_addr(vq));
		fq->ring.driver = phys_to_virt(virtqueue_get_avail_addr(vq));
		fq->ring.device = phys_to_virt(virtqueue_get_used_addr(vq));
	} else if (fq->setup.pages) {
		vring_init(&fq->split, fq->num, fq->setup.pages, SMP_CACHE_BYTES);
	} else {
		fq->split.num = fq->num;
		fq->split.desc = phys_to_virt(virtqueue_get_desc_addr(vq));
		fq->split.avail = phys_to_virt(virtqueue_get_avail_addr(vq));
		fq->split.used = phys_to_virt(virtqueue_get_used_addr(vq));
	}
}

static int fake_disable_vq(struct virtqueue *vq)
{
	vq->reset = true;
	return 0;
}

static int fake_enable_vq(struct virtqueue *vq)
{
	vq->reset = false;
	fake_attach(to_fake_vq(vq));
	return 0;
}

static const struct virtio_config_ops fake_config = {
	.disable_vq_and_reset = fake_disable_vq,
	.enable_vq_after_reset = fake_enable_vq,
};

int fake_vq_init(struct fake_vq *fq, struct kunit *test, struct fake_dma *dma,
		 const struct fake_setup *setup)
{
	unsigned int num_max = max(setup->num, setup->num_max);

	memset(fq, 0, sizeof(*fq));
	fq->test = test;
	fq->setup = *setup;
	fq->dma = dma;
	fq->packed = setup->features & FAKE_PACKED;
	fq->in_order = setup->features & FAKE_IN_ORDER;
	fq->event = setup->features & FAKE_EVENT_IDX;
	fq->indirect = setup->features & FAKE_INDIRECT && !setup->context;

	fq->vdev.dev.init_name = "vring-kunit";
	fq->vdev.dev.parent = dma ? dma->dev : NULL;
	fq->vdev.config = &fake_config;
	fq->vdev.features = setup->features | BIT_ULL(VIRTIO_F_VERSION_1);
	INIT_LIST_HEAD(&fq->vdev.vqs);
	spin_lock_init(&fq->vdev.vqs_list_lock);

	fq->segments = kvcalloc(num_max, sizeof(*fq->segments), GFP_KERNEL);
	if (!fq->segments)
		return -ENOMEM;
	if (setup->pages)
		fq->vq = vring_new_virtqueue(0, setup->num, SMP_CACHE_BYTES, &fq->vdev, true,
					     setup->context, setup->pages, fake_notify,
					     fake_callback, test->name);
	else
		fq->vq = vring_create_virtqueue(0, setup->num, SMP_CACHE_BYTES, &fq->vdev, true,
						false, setup->context, fake_notify,
						fake_callback, test->name);
	if (!fq->vq) {
		kvfree(fq->segments);
		return -ENOMEM;
	}
	fq->vq->num_max = num_max;
	fake_attach(fq);
	return 0;
}

void fake_vq_exit(struct fake_vq *fq)
{
	vring_del_virtqueue(fq->vq);
	kvfree(fq->segments);
}

/*
 * The device's side: taking buffers
 */

static void fake_wrong(struct fake_vq *fq, const char *what)
{
	if (!fq->wrong)
		fq->wrong = what;
}

/* @flags: only VRING_DESC_F_WRITE matters here. */
static void fake_add_segment(struct fake_vq *fq, u64 addr, u32 len, u16 flags)
{
	bool write = flags & VRING_DESC_F_WRITE;

	if (fq->num_segments && fq->segments[fq->num_segments - 1].write && !write)
		fake_wrong(fq, "a readable segment after a writable one");
	if (fq->num_segments == fq->vq->num_max) {
		fake_wrong(fq, "more segments than possible");
		return;
	}
	fq->segments[fq->num_segments++] = (struct fake_segment) { addr, len, write };
}

/* Returns the indirect table at @addr, or NULL if there cannot be one. */
static void *fake_table(struct fake_vq *fq, u64 addr, u32 len)
{
	phys_addr_t phys = fq->dma ? fake_dma_phys(fq->dma, addr, len, false) : addr;

	if (!phys || !len || len % sizeof(struct vring_desc) ||
	    len / sizeof(struct vring_desc) > fq->vq->num_max) {
		fake_wrong(fq, "an indirect table at a bad address or of a bad length");
		return NULL;
	}
	if (!fq->indirect)
		fake_wrong(fq, "an indirect table without the feature");
	return phys_to_virt(phys);
}

static void fake_take_table_split(struct fake_vq *fq, u64 addr, u32 len)
{
	const struct vring_desc *table = fake_table(fq, addr, len);
	unsigned int i, num = len / sizeof(*table);

	for (i = 0; table && i < num; i++) {
		u16 flags = virtio16_to_cpu(&fq->vdev, table[i].flags);

		if (!(flags & VRING_DESC_F_NEXT) != (i == num - 1))
			fake_wrong(fq, "a table whose chain does not end at its length");
		if (flags & VRING_DESC_F_NEXT &&
		    virtio16_to_cpu(&fq->vdev, table[i].next) != i + 1)
			fake_wrong(fq, "a table that is not sequential");
		if (flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE))
			fake_wrong(fq, "unknown flags in a table");
		fake_add_segment(fq, virtio64_to_cpu(&fq->vdev, table[i].addr),
				 virtio32_to_cpu(&fq->vdev, table[i].len), flags);
	}
}

static bool fake_take_split(struct fake_vq *fq, struct fake_buf *buf)
{
	const struct vring_desc *desc = fq->split.desc;
	u32 i, flags;

	if (virtio16_to_cpu(&fq->vdev, READ_ONCE(fq->split.avail->idx)) == (u16)fq->avail_pos)
		return false;

	i = virtio16_to_cpu(&fq->vdev, fq->split.avail->ring[fq->avail_pos % fq->num]);
	fq->avail_pos++;
	fq->num_segments = 0;
	*buf = (struct fake_buf) { .id = i };
	if (fq->in_order && i != fq->next_desc)
		fake_wrong(fq, "a buffer that does not begin where the last one ended");
	do {
		u32 len;
		u64 addr;

		if (i >= fq->num || ++buf->descs > fq->num) {
			fake_wrong(fq, "a chain that leaves the ring or loops");
			return true;
		}
		addr = virtio64_to_cpu(&fq->vdev, desc[i].addr);
		len = virtio32_to_cpu(&fq->vdev, desc[i].len);
		flags = virtio16_to_cpu(&fq->vdev, desc[i].flags);
		if (flags == VRING_DESC_F_INDIRECT) {
			fake_take_table_split(fq, addr, len);
		} else {
			if (flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE))
				fake_wrong(fq, "unknown flags in a descriptor");
			fake_add_segment(fq, addr, len, flags);
		}
		if (flags & VRING_DESC_F_NEXT) {
			u32 next = virtio16_to_cpu(&fq->vdev, desc[i].next);

			if (fq->in_order && next != (i + 1 == fq->num ? 0 : i + 1))
				fake_wrong(fq, "descriptors that are not in ring order");
			i = next;
		}
	} while (flags & VRING_DESC_F_NEXT);
	fq->next_desc = i + 1 == fq->num ? 0 : i + 1;
	return true;
}

static void fake_take_table_packed(struct fake_vq *fq, u64 addr, u32 len)
{
	const struct vring_packed_desc *table = fake_table(fq, addr, len);
	unsigned int i, num = len / sizeof(*table);

	for (i = 0; table && i < num; i++) {
		u16 flags = le16_to_cpu(table[i].flags);

		if (flags & ~VRING_DESC_F_WRITE)
			fake_wrong(fq, "reserved flags in a table");
		fake_add_segment(fq, le64_to_cpu(table[i].addr), le32_to_cpu(table[i].len), flags);
	}
}

/* Is a descriptor with these flags available to a device that is at @pos? */
static bool fake_is_available(const struct fake_vq *fq, u32 pos, u16 flags)
{
	bool wrap = fake_position(fq, pos) & PACKED_WRAP;

	return !!(flags & PACKED_AVAIL) == wrap && !!(flags & PACKED_USED) != wrap;
}

static bool fake_take_packed(struct fake_vq *fq, struct fake_buf *buf)
{
	u32 head = fq->avail_pos % fq->num;
	u16 flags = le16_to_cpu(READ_ONCE(fq->ring.desc[head].flags));

	if (!fake_is_available(fq, fq->avail_pos, flags))
		return false;

	fq->num_segments = 0;
	buf->descs = 0;
	do {
		const struct vring_packed_desc *desc = &fq->ring.desc[fq->avail_pos % fq->num];
		u64 addr = le64_to_cpu(desc->addr);
		u32 len = le32_to_cpu(desc->len);

		flags = le16_to_cpu(desc->flags);
		if (++buf->descs > fq->num) {
			fake_wrong(fq, "a chain longer than the ring");
			return true;
		}
		if (!fake_is_available(fq, fq->avail_pos, flags))
			fake_wrong(fq, "a chain that is not all available");
		flags &= ~(PACKED_AVAIL | PACKED_USED);
		buf->id = le16_to_cpu(desc->id);
		if (fq->in_order && buf->id != head)
			fake_wrong(fq, "an id that is not the index of the first descriptor");
		if (flags == VRING_DESC_F_INDIRECT) {
			fake_take_table_packed(fq, addr, len);
		} else {
			if (flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE))
				fake_wrong(fq, "unknown flags in a descriptor");
			fake_add_segment(fq, addr, len, flags);
		}
		fq->avail_pos++;
	} while (flags & VRING_DESC_F_NEXT);
	if (buf->id >= fq->num)
		fake_wrong(fq, "an id out of range");
	return true;
}

/* Take the next available buffer; @fq gets its segments. Returns false if there is none. */
bool fake_take(struct fake_vq *fq, struct fake_buf *buf)
{
	return fq->packed ? fake_take_packed(fq, buf) : fake_take_split(fq, buf);
}

/*
 * Returning buffers
 */

/*
 * Write one used element, for a batch of @bufs buffers with @descs descriptors, the last of
 * which is @id. The driver sees it at once in the packed layout, and after fake_publish() in
 * the split one.
 */
void fake_use(struct fake_vq *fq, u32 id, u32 len, unsigned int bufs, unsigned int descs)
{
	if (fq->packed) {
		struct vring_packed_desc *desc = &fq->ring.desc[fq->used_pos % fq->num];
		u16 flags = len ? VRING_DESC_F_WRITE : 0;

		if (fake_position(fq, fq->used_pos) & PACKED_WRAP)
			flags |= PACKED_AVAIL | PACKED_USED;
		desc->id = cpu_to_le16(id);
		desc->len = cpu_to_le32(len);
		WRITE_ONCE(desc->flags, cpu_to_le16(flags));
		fq->used_pos += descs;
	} else {
		vring_used_elem_t *elem = &fq->split.used->ring[fq->used_pos % fq->num];

		elem->id = cpu_to_virtio32(&fq->vdev, id);
		elem->len = cpu_to_virtio32(&fq->vdev, len);
		fq->used_pos += bufs;
	}
}

void fake_publish(struct fake_vq *fq)
{
	fq->published = fq->used_pos;
	if (!fq->packed)
		WRITE_ONCE(fq->split.used->idx, cpu_to_virtio16(&fq->vdev, fq->published));
}

/*
 * Notifications
 */

/* The value of a counter as the event index or, packed, as off_wrap */
u16 fake_position(const struct fake_vq *fq, u32 pos)
{
	if (!fq->packed)
		return pos;
	/* the wrap counter is 1 at first */
	return pos % fq->num | (pos / fq->num % 2 ? 0 : PACKED_WRAP);
}

/* The event that the driver asked for: used_event, or off_wrap in its event structure */
u16 fake_interrupt_at(struct fake_vq *fq)
{
	return fq->packed ? le16_to_cpu(READ_ONCE(fq->ring.driver->off_wrap)) :
		virtio16_to_cpu(&fq->vdev, READ_ONCE(vring_used_event(&fq->split)));
}

/* For tests that look whether the driver writes it */
void fake_set_interrupt_at(struct fake_vq *fq, u16 position)
{
	if (fq->packed)
		fq->ring.driver->off_wrap = cpu_to_le16(position);
	else
		vring_used_event(&fq->split) = cpu_to_virtio16(&fq->vdev, position);
}

/* Must the device interrupt for what it has published since the counter was @before? */
bool fake_wants_interrupt(struct fake_vq *fq, u32 before)
{
	u16 at = fake_interrupt_at(fq);
	u32 first, event;

	if (!fq->packed) {
		if (fq->event)
			return (u16)(at - before) < fq->published - before;
		return !(virtio16_to_cpu(&fq->vdev, fq->split.avail->flags) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	}

	switch (le16_to_cpu(fq->ring.driver->flags)) {
	case VRING_PACKED_EVENT_FLAG_ENABLE:
		return true;
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	}
	/* In this wrap if the wrap counter is the same, else in the previous one */
	first = fq->published - fq->published % fq->num;
	event = first + (at & ~PACKED_WRAP);
	if ((at ^ fake_position(fq, fq->published)) & PACKED_WRAP)
		event -= fq->num;
	return event - before < fq->published - before;
}

/* Interrupt. Returns whether the driver says that it handled the interrupt. */
bool fake_interrupt(struct fake_vq *fq)
{
	return vring_interrupt(0, fq->vq) == IRQ_HANDLED;
}

/* FAKE_KICK_AT: when the buffer or descriptor at @pos becomes available (EVENT_IDX only) */
void fake_ask_for_kick(struct fake_vq *fq, enum fake_kick kick, u32 pos)
{
	static const u16 packed_flags[] = {
		[FAKE_KICK_NEVER] = VRING_PACKED_EVENT_FLAG_DISABLE,
		[FAKE_KICK_ALWAYS] = VRING_PACKED_EVENT_FLAG_ENABLE,
		[FAKE_KICK_AT] = VRING_PACKED_EVENT_FLAG_DESC,
	};

	if (fq->packed) {
		fq->ring.device->off_wrap = cpu_to_le16(fake_position(fq, pos));
		fq->ring.device->flags = cpu_to_le16(packed_flags[kick]);
	} else {
		vring_avail_event(&fq->split) = cpu_to_virtio16(&fq->vdev, pos);
		fq->split.used->flags = cpu_to_virtio16(&fq->vdev, kick == FAKE_KICK_NEVER ?
							VRING_USED_F_NO_NOTIFY : 0);
	}
}
