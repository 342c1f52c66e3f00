// SPDX-License-Identifier: GPL-2.0-only
/* Every sequence of what a driver and its device can do: see explore.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/virtio.h>
#include <linux/virtio_ring.h>
#include <linux/dma-mapping.h>
#include "explore.h"

#define ALIGN 64
#define MAX_DEPTH 256

struct world world;

/* Tokens point here. No two segments have the same address. */
static char buffers[TOKENS][256] __aligned(256);

static bool notify(struct virtqueue *vq)
{
	world.notifications++;
	return true;
}

static void callback(struct virtqueue *vq)
{
	world.callbacks++;
}

bool world_init(const struct layout *layout, unsigned int num)
{
	fake_kernel_reset();
	memset(&world, 0, sizeof(world));
	world.num = num;
	world.layout = *layout;
	world.vdev.features = layout_features(layout);
	world.vdev.dev.parent = &world.vdev.dev;
	INIT_LIST_HEAD(&world.vdev.vqs);
	spin_lock_init(&world.vdev.vqs_list_lock);
	world.vq = vring_create_virtqueue(0, num, ALIGN, &world.vdev, true, false, false, notify,
					  callback, "ring_enum");
	if (!world.vq)
		return false;
	world.vq->num_max = MAX_RING;
	world.allocated = fake_kernel.allocated;
	if (layout->premapped && virtqueue_set_dma_premapped)
		virtqueue_set_dma_premapped(world.vq);
	device_start();
	return true;
}

/* It decides itself how many buffers it returns with a used element. */
void device_start(void)
{
	if (!layout_start(&world.layout, &world.device, world.vq, 1)) {
		fprintf(stderr, "the device has no ring\n");
		exit(1);
	}
}

void world_save(struct copy *copy)
{
	copy->world = world;
	fake_kernel_save(&copy->fake);
}

void world_restore(const struct copy *copy)
{
	world = copy->world;
	fake_kernel_restore(&copy->fake);
}

u32 segment_len(unsigned int segment)
{
	return segment + 1;
}

void *segment_memory(unsigned int token, unsigned int segment)
{
	return buffers[token] + 16 * segment;
}

u32 writable(const struct buf *buf)
{
	unsigned int i;
	u32 len = 0;

	for (i = buf->out; i < buf->out + buf->in; i++)
		len += segment_len(i);
	return len;
}

static u8 descs_of(unsigned int segments)
{
	return world.layout.indirect && segments > 1 ? 1 : segments;
}

struct buf new_buf(unsigned int out, unsigned int in)
{
	return (struct buf){
		.token = world.model.added % TOKENS,
		.descs = descs_of(out + in),
		.out = out,
		.in = in,
	};
}

int token_of(const void *data)
{
	return data ? ((const char *)data - buffers[0]) / sizeof(buffers[0]) : -1;
}

/* Where a virtqueue cannot be premapped, buffers can, with segments of one direction only. */
static bool is_premapped(const struct buf *buf)
{
	return world.layout.premapped &&
		(virtqueue_set_dma_premapped || !buf->out || !buf->in);
}

/* Drivers give those to buffers in which they receive, on virtqueues without indirect tables. */
static void *context_of(const struct buf *buf)
{
	return world.layout.indirect || buf->out ? NULL : buffers[buf->token] + 1;
}

static int add_premapped(const struct buf *buf)
{
	unsigned int i, num = buf->out + buf->in;
	void *data = buffers[buf->token];
	struct scatterlist sg[MAX_SEGMENTS];

	sg_init_table(sg, num);
	for (i = 0; i < num; i++) {
		sg_set_buf(&sg[i], segment_memory(buf->token, i), segment_len(i));
		sg_dma_address(&sg[i]) = fake_dma_address(segment_memory(buf->token, i));
		sg_dma_len(&sg[i]) = segment_len(i);
	}
	return buf->in ? virtqueue_add_inbuf_premapped(world.vq, sg, num, data, context_of(buf),
						       ADD_GFP) :
			 virtqueue_add_outbuf_premapped(world.vq, sg, num, data, ADD_GFP);
}

/* All segments in one list. Ours leaves alone what a list has beyond the number that it is told. */
static int add_writable(const struct buf *buf)
{
	struct scatterlist sg[MAX_SEGMENTS + 1];
	unsigned int i, num = buf->in + is_ours(&world.layout);

	sg_init_table(sg, num);
	for (i = 0; i < num; i++) {
		sg_set_buf(&sg[i], segment_memory(buf->token, i), segment_len(i));
		sg_dma_address(&sg[i]) = fake_dma_address(segment_memory(buf->token, i));
	}
	return virtqueue_add_inbuf_ctx(world.vq, sg, buf->in, buffers[buf->token],
				       context_of(buf), ADD_GFP);
}

int world_add(const struct buf *buf)
{
	struct scatterlist sg[MAX_SEGMENTS], *sgs[MAX_SEGMENTS];
	unsigned int i;

	if (is_premapped(buf) && !virtqueue_set_dma_premapped)
		return add_premapped(buf);
	if (!buf->out)
		return add_writable(buf);
	for (i = 0; i < buf->out + buf->in; i++) {
		sg_init_one(&sg[i], segment_memory(buf->token, i), segment_len(i));
		sg_dma_address(&sg[i]) = fake_dma_address(segment_memory(buf->token, i));
		sgs[i] = &sg[i];
	}
	return virtqueue_add_sgs(world.vq, sgs, buf->out, buf->in, buffers[buf->token], ADD_GFP);
}

unsigned int free_descs(void)
{
	unsigned int i, descs = world.num;

	for (i = 0; i < world.model.held; i++)
		descs -= world.model.held_buf[i].buf.descs;
	for (i = 0; i < world.model.used; i++)
		descs -= world.model.used_buf[i].buf.descs;
	return descs;
}

/* Descriptors of the ring, which have the same size in both layouts */
static const char *ring_descs(void)
{
	return world.layout.packed ? (char *)world.device.packed.desc :
					    (char *)world.device.split.desc;
}

/* Compare what the device finds with what the driver added. */
static const char *check_buffer(const struct ring_buffer *buffer, const struct buf *buf)
{
	unsigned int i;

	if (buffer->num_out + buffer->num_in != buf->out + buf->in)
		return "the device finds a different number of segments";
	if (buffer->num_out != buf->out)
		return "a segment is for the other direction";
	if (buffer->descs != buf->descs)
		return "the buffer takes a different number of descriptors";
	for (i = 0; i < buf->out + buf->in; i++) {
		if (buffer->iov[i].iov_base != segment_memory(buf->token, i))
			return "a segment is elsewhere";
		if (buffer->iov[i].iov_len != segment_len(i))
			return "a segment has a different length";
	}
	return NULL;
}

const char *device_take(struct ring_buffer *buffer, const struct buf *buf)
{
	switch (ring_take(&world.device, buffer)) {
	case 1:
		return check_buffer(buffer, buf);
	case 0:
		return "the buffer is not available";
	}
	return world.device.complaint;
}

void device_use(u32 id, u32 len, unsigned int bufs, unsigned int descs)
{
	ring_put(&world.device, &(struct ring_used){
		.id = id, .len = len, .buffers = bufs, .descs = descs, .writable = len,
	});
}

u16 driver_event(void)
{
	const struct device_ring *device = &world.device;

	return world.layout.packed ? device->packed.driver->off_wrap :
				     device->split.avail->ring[world.num];
}

/* Bit n: descriptor n of the ring is part of the buffer, which was not used yet. */
static u64 descs_of_buffer(const struct ring_buffer *buffer)
{
	unsigned int n, i = buffer->head;
	u64 descs = 0;

	for (n = 0; n < buffer->descs; n++) {
		descs |= BIT_ULL(i);
		i = world.layout.packed ? (i + 1) % world.num : world.device.split.desc[i].next;
	}
	return descs;
}

static bool has_table(const struct buf *buf)
{
	return buf->out + buf->in > buf->descs;
}

/* A table's Buffer IDs are reserved (2.8.7). They must not be what was in that memory before. */
static bool reserved_are_zero(const struct ring_buffer *buffer, const struct buf *buf)
{
	const struct vring_packed_desc *table;
	unsigned int i;

	if (!is_ours(&world.layout) || !world.layout.packed)
		return true;
	table = fake_dma_memory(le64toh(world.device.packed.desc[buffer->head].addr));
	for (i = 0; i < buf->out + buf->in; i++) {
		if (table[i].id)
			return false;
	}
	return true;
}

static const char *check_table(const struct ring_buffer *buffer, const struct buf *buf)
{
	if (fake_kernel.gfp != ADD_GFP_OTHERS)
		return "a table is not in memory as it was asked for, or perhaps not in low memory";
	if (!reserved_are_zero(buffer, buf))
		return "a reserved field of a table is not zero";
	return NULL;
}

static const char *step_add(unsigned int out, unsigned int in)
{
	struct model *model = &world.model;
	char before[MAX_RING * sizeof(struct vring_desc)];
	struct buf buf = new_buf(out, in);
	unsigned int i, size = world.num * sizeof(struct vring_desc);
	unsigned int notifications = world.notifications, kmsan = fake_kernel.kmsan;
	struct ring_buffer buffer;
	const char *wrong;
	u64 descs;
	int err;

	memcpy(before, ring_descs(), size);
	err = world_add(&buf);
	if (buf.descs > free_descs()) {
		if (err != -ENOSPC)
			return "a buffer was added that does not fit";
		if (memcmp(before, ring_descs(), size))
			return "the ring was changed by a buffer that does not fit";
		/* Not a rule, but what drivers know of split rings */
		if (world.notifications != notifications + (!world.layout.packed && out))
			return "a full ring does not make the driver notify the device, or does";
		return ring_available(&world.device) ?
			"a buffer that does not fit is available" : NULL;
	}
	if (err)
		return "a buffer that fits could not be added";
	wrong = device_take(&buffer, &buf);
	if (!wrong && has_table(&buf))
		wrong = check_table(&buffer, &buf);
	if (wrong)
		return wrong;
	if (fake_kernel.kmsan != kmsan + (world.layout.dma ? 0 : out + in))
		return "KMSAN does not know what the device accesses";
	if (ring_available(&world.device))
		return "more is available than was added";
	descs = descs_of_buffer(&buffer);
	for (i = 0; i < world.num; i++) {
		unsigned int at = i * sizeof(struct vring_desc);

		if (!(descs & BIT(i)) &&
		    memcmp(before + at, ring_descs() + at, sizeof(struct vring_desc)))
			return "a descriptor was written that is not the buffer's";
	}
	if (!virtqueue_kick_prepare(world.vq))
		return "the device waits for the buffer and is not told";
	ring_enable_kicks(&world.device);

	model->held_buf[model->held].buf = buf;
	model->held_buf[model->held].id = buffer.id;
	model->held_buf[model->held].head = buffer.head;
	model->held++;
	model->added += buf.descs;
	return NULL;
}

/* The device interrupts for what it used, if the driver wants that. */
static const char *may_interrupt(bool had_used)
{
	bool wanted = ring_wants_interrupt(&world.device);
	unsigned int before = world.callbacks;

	if (world.model.callbacks == CALLBACKS_ON && !had_used && !wanted)
		return "the driver waits for the buffer and gets no interrupt";
	if (world.model.callbacks == CALLBACKS_OFF && !world.layout.event_idx && wanted)
		return "callbacks are off and an interrupt comes";
	if (wanted) {
		if (vring_interrupt(0, world.vq) != IRQ_HANDLED || world.callbacks != before + 1)
			return "an interrupt does not reach the driver";
		world.model.owed = false;
	} else if (world.model.owed && !world.model.held) {
		return "the interrupt that was put off never comes";
	}
	return NULL;
}

static void move_to_used(unsigned int i, bool skipped)
{
	struct model *model = &world.model;

	model->used_buf[model->used].buf = model->held_buf[i].buf;
	model->used_buf[model->used].skipped = skipped;
	model->used++;
	model->held--;
	memmove(&model->held_buf[i], &model->held_buf[i + 1],
		(model->held - i) * sizeof(model->held_buf[0]));
	memset(&model->held_buf[model->held], 0, sizeof(model->held_buf[0]));
}

/* Used length of a buffer that is not skipped: less than all, if possible */
u32 used_len(const struct buf *buf)
{
	return writable(buf) / 2;
}

static const char *step_use(unsigned int n)
{
	const struct model *model = &world.model;
	unsigned int i, descs = 0, last = n;
	bool had_used = model->used;

	if (world.layout.in_order) {
		for (i = 0; i < n; i++)
			descs += model->held_buf[i].buf.descs;
		last = n - 1;
	} else {
		descs = model->held_buf[n].buf.descs;
		n = 1;
	}
	device_use(model->held_buf[last].id, used_len(&model->held_buf[last].buf), n, descs);
	if (world.layout.in_order) {
		for (i = n; i; i--)
			move_to_used(0, i > 1);
	} else {
		move_to_used(last, false);
	}
	return may_interrupt(had_used);
}

static const char *step_get(void)
{
	struct model *model = &world.model;
	const struct buf *buf = &model->used_buf[0].buf;
	void *data, *ctx = NULL;
	unsigned int len = ~0U;
	u16 event = driver_event();
	int token;

	/* Half of them with each function, since they may be separate code */
	if (buf->token % 2)
		data = virtqueue_get_buf_ctx(world.vq, &len, &ctx);
	else
		data = virtqueue_get_buf(world.vq, &len);
	token = token_of(data);
	if (!model->used)
		return token < 0 ? NULL : "a buffer comes back that was not used";
	if (token < 0)
		return "a buffer does not come back that was used";
	if (token != buf->token)
		return "a different buffer comes back";
	if (buf->token % 2 && ctx != context_of(buf))
		return "the buffer comes back with a different context";
	if (len != (model->used_buf[0].skipped ? writable(buf) : used_len(buf)))
		return "the buffer comes back with a different length";

	world.taken++;
	if (!model->open)
		world.batches++;
	model->open = model->used_buf[0].skipped;
	/* It needs a barrier, and the device looks at it with the feature only */
	if (is_ours(&world.layout) && (model->open || !world.layout.event_idx) &&
	    driver_event() != event)
		return "an event is written in the middle of a batch, or without EVENT_IDX";
	model->used--;
	memmove(&model->used_buf[0], &model->used_buf[1],
		model->used * sizeof(model->used_buf[0]));
	memset(&model->used_buf[model->used], 0, sizeof(model->used_buf[0]));
	/* Taking a buffer asks for an interrupt at the next one, which ends the delay. */
	if (model->callbacks == CALLBACKS_DELAYED) {
		model->callbacks = CALLBACKS_ON;
		model->owed = false;
	}
	return NULL;
}

static const char *step_enable_cb(void)
{
	bool idle = virtqueue_enable_cb(world.vq);

	world.model.callbacks = CALLBACKS_ON;
	world.model.owed = false;
	if (idle && world.model.used)
		return "nothing is pending, says enable_cb, and something is";
	if (!idle && !world.model.used)
		return "something is pending, says enable_cb, and nothing is";
	return NULL;
}

static const char *step_enable_cb_delayed(void)
{
	bool idle = virtqueue_enable_cb_delayed(world.vq);

	world.model.callbacks = CALLBACKS_DELAYED;
	world.model.owed = idle && world.model.held;
	if (!idle && !world.model.used)
		return "something is pending, says enable_cb_delayed, and nothing is";
	if (idle && world.model.used && !world.model.held)
		return "enable_cb_delayed waits for what has all come";
	return NULL;
}

/* Segments and tables that are mapped */
static unsigned int mappings_of(const struct buf *buf)
{
	unsigned int segments = buf->out + buf->in;

	return (is_premapped(buf) ? 0 : segments) + has_table(buf);
}

static unsigned int expected_mappings(void)
{
	unsigned int i, n = 0;

	if (!world.layout.dma)
		return 0;
	for (i = 0; i < world.model.held; i++)
		n += mappings_of(&world.model.held_buf[i].buf);
	for (i = 0; i < world.model.used; i++)
		n += mappings_of(&world.model.used_buf[i].buf);
	return n;
}

static unsigned int expected_allocations(void)
{
	unsigned int i, n = world.allocated;

	for (i = 0; i < world.model.held; i++)
		n += has_table(&world.model.held_buf[i].buf);
	for (i = 0; i < world.model.used; i++)
		n += has_table(&world.model.used_buf[i].buf);
	return n;
}

static bool statistics_are_right(void)
{
	unsigned long buffers, batches;

	if (!is_ours(&world.layout))
		return true;
	ring_statistics(world.vq, &buffers, &batches);
	return buffers == world.taken && batches == world.batches;
}

/* Without EVENT_IDX, one flag; with it, none */
static bool flags_are_valid(void)
{
	u16 flag = world.layout.event_idx ? 0 : VRING_AVAIL_F_NO_INTERRUPT;

	return world.layout.packed || !(world.device.split.avail->flags & ~flag);
}

/* Invariants */
static const char *check_state(void)
{
	if (!flags_are_valid())
		return "the driver has set a flag of the available ring that does not exist";
	if (world.vq->num_free != free_descs())
		return "num_free is wrong";
	if (virtqueue_is_broken(world.vq) || fake_kernel.messages)
		return "the virtqueue is broken";
	if (fake_kernel.mapped != expected_mappings() || fake_kernel.wrong_unmaps)
		return "a segment is still mapped, or was unmapped in another way";
	if (fake_kernel.allocated != expected_allocations())
		return "a table is still allocated, or is not allocated any more";
	if (fake_kernel.warnings)
		return "there is a warning";
	if (!statistics_are_right())
		return "buffers or batches are miscounted";
	if (!world.model.used && vring_interrupt(0, world.vq) != IRQ_NONE)
		return "an interrupt without used buffers is taken for ours";
	/* with EVENT_IDX the driver would remember the interrupt */
	if (world.model.used && !world.layout.event_idx &&
	    vring_interrupt(0, world.vq) != IRQ_HANDLED)
		return "an interrupt with used buffers is not taken for ours";
	return NULL;
}

const char *do_step(struct step step)
{
	unsigned int size = world.num * sizeof(struct vring_desc);
	char before[MAX_RING * sizeof(struct vring_desc)];
	const char *wrong = NULL;

	memcpy(before, ring_descs(), size);
	switch (step.kind) {
	case STEP_ADD:
		wrong = step_add(step.a, step.b);
		break;
	case STEP_USE:
		wrong = step_use(step.a);
		break;
	case STEP_GET:
		wrong = step_get();
		break;
	case STEP_DISABLE_CB:
		virtqueue_disable_cb(world.vq);
		world.model.callbacks = CALLBACKS_OFF;
		world.model.owed = false;
		break;
	case STEP_ENABLE_CB:
		wrong = step_enable_cb();
		break;
	case STEP_ENABLE_CB_DELAYED:
		wrong = step_enable_cb_delayed();
		break;
	}
	if (!wrong && step.kind != STEP_ADD && step.kind != STEP_USE &&
	    memcmp(before, ring_descs(), size))
		wrong = "a descriptor was written although no buffer was added";
	return wrong ? wrong : check_state();
}

/*
 * Hashes of the visited states. They have 64 bits: among a million states, the probability of a
 * collision is 1 in 10^7.
 */
static u64 *visited;
static unsigned long visited_size, visited_num;

static u64 hash(u64 h, const void *data, size_t size)
{
	const unsigned char *byte = data;

	for (; size >= 8; size -= 8, byte += 8) {
		u64 word;

		memcpy(&word, byte, 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15;
		h ^= h >> 32;
	}
	for (; size; size--, byte++) {
		h = (h ^ *byte) * 0x9e3779b97f4a7c15;
		h ^= h >> 32;
	}
	return h;
}

static void grow_visited(void)
{
	unsigned long i, old_size = visited_size;
	u64 *old = visited;

	visited_size = old_size ? 2 * old_size : 1 << 16;
	visited = calloc(visited_size, sizeof(*visited));
	if (!visited) {
		perror("calloc");
		exit(1);
	}
	for (i = 0; i < old_size; i++) {
		u64 at = old[i];

		if (!at)
			continue;
		while (visited[at % visited_size])
			at++;
		visited[at % visited_size] = old[i];
	}
	free(old);
}

static bool first_visit(bool exact)
{
	u64 h = hash(1, &world.model, sizeof(world.model)), at;

	h = hash(h, &world.device.next_avail, sizeof(world.device.next_avail));
	h = hash(h, &world.device.next_used, sizeof(world.device.next_used));
	h = hash(h, (u16[]){ driver_event() }, sizeof(u16));
	if (exact) {
		size_t size;
		void *memory = fake_memory(&size);

		h = hash(h, memory, size);
	}
	h |= !h;
	if (2 * visited_num >= visited_size)
		grow_visited();
	for (at = h; visited[at % visited_size]; at++) {
		if (visited[at % visited_size] == h)
			return false;
	}
	visited[at % visited_size] = h;
	visited_num++;
	return true;
}

/* The steps that lead to the current state */
static struct step path[MAX_DEPTH];

static const char *describe(const struct exploration *e, unsigned int depth, const char *wrong)
{
	static const char *const names[] = {
		"add", "use", "get", "disable_cb", "enable_cb", "enable_cb_delayed",
	};
	static char text[4096];
	int n = snprintf(text, sizeof(text), "%u descriptors:", e->num);
	unsigned int i;

	for (i = 0; i < depth && n < sizeof(text) - 256; i++) {
		n += snprintf(text + n, sizeof(text) - n, " %s", names[path[i].kind]);
		if (path[i].kind == STEP_ADD)
			n += snprintf(text + n, sizeof(text) - n, "(%u out, %u in)", path[i].a,
				      path[i].b);
		else if (path[i].kind == STEP_USE)
			n += snprintf(text + n, sizeof(text) - n, "(%u)", path[i].a);
	}
	snprintf(text + n, sizeof(text) - n, ": %s", wrong);
	return text;
}

/* All segments readable, all writable, or all but the first one */
static struct step add_in_direction(unsigned int segments, unsigned int direction)
{
	unsigned int out = direction == 0 ? segments : direction == 1 ? 0 : 1;

	return (struct step){ STEP_ADD, out, segments - out };
}

/* List the steps that are possible now. Returns their number. */
static unsigned int possible_steps(const struct exploration *e, struct step *steps)
{
	const struct model *model = &world.model;
	unsigned int i, direction, n = 0;

	/* Limit tables, which take one descriptor anyway, or there would be far more states */
	unsigned int longest = e->layout.indirect ? 3 : world.num;

	for (i = 1; i <= longest && model->added + descs_of(i) <= e->max_added; i++) {
		for (direction = 0; direction < 3; direction++) {
			if (e->directions || direction == (model->added + i) % 3)
				steps[n++] = add_in_direction(i, direction);
		}
		/* one buffer that does not fit is enough */
		if (descs_of(i) > free_descs())
			break;
	}
	for (i = 0; i < model->held; i++) {
		if (world.layout.in_order && i < e->max_batch)
			steps[n++] = (struct step){ STEP_USE, i + 1 };
		else if (world.layout.in_order)
			break;
		else if (e->any_order || i == 0)
			steps[n++] = (struct step){ STEP_USE, i };
	}
	steps[n++] = (struct step){ STEP_GET };
	if (e->callbacks) {
		steps[n++] = (struct step){ STEP_DISABLE_CB };
		steps[n++] = (struct step){ STEP_ENABLE_CB };
		steps[n++] = (struct step){ STEP_ENABLE_CB_DELAYED };
	}
	return n;
}

static const char *explore_from(struct exploration *e, unsigned int depth)
{
	struct step steps[3 * MAX_SEGMENTS + MAX_RING + STEP_KINDS];
	const char *wrong = NULL;
	unsigned int i, n;
	struct copy copy;

	e->states++;
	world_save(&copy);
	if (e->at_state) {
		wrong = e->at_state();
		if (wrong)
			return describe(e, depth, wrong);
		world_restore(&copy);
	}
	if (depth == MAX_DEPTH)
		return describe(e, depth, "too many steps");
	n = possible_steps(e, steps);
	for (i = 0; i < n && !wrong; i++) {
		path[depth] = steps[i];
		e->steps++;
		wrong = do_step(steps[i]);
		if (wrong)
			return describe(e, depth + 1, wrong);
		if (first_visit(e->exact))
			wrong = explore_from(e, depth + 1);
		world_restore(&copy);
	}
	return wrong;
}

const char *explore(struct exploration *e)
{
	if (!world_init(&e->layout, e->num))
		return "no virtqueue";
	free(visited);
	visited = NULL;
	visited_size = 0;
	visited_num = 0;
	e->states = 0;
	e->steps = 0;
	return explore_from(e, 0);
}
