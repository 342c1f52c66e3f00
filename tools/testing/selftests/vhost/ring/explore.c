// SPDX-License-Identifier: GPL-2.0-only
/* Every sequence of what a driver and a backend can do: see explore.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "explore.h"

#define MAX_DEPTH 128

struct world world;
unsigned long states;

static void *part(enum user_part part)
{
	return user.byte + user.part[part].start;
}

struct vring_desc *split_desc(unsigned int i)
{
	return (struct vring_desc *)part(USER_DESC) + i;
}

struct vring_packed_desc *packed_desc(unsigned int i)
{
	return (struct vring_packed_desc *)part(USER_DESC) + i;
}

struct vring_avail *split_avail(void)
{
	return part(USER_DRIVER);
}

struct vring_used *split_used(void)
{
	return part(USER_DEVICE);
}

struct vring_packed_desc_event *driver_event(void)
{
	return part(USER_DRIVER);
}

struct vring_packed_desc_event *device_event(void)
{
	return part(USER_DEVICE);
}

struct vring_desc *table_of(unsigned int at)
{
	void *table = user.byte + table_hva_offset(at);

	return table;
}

uint64_t table_gpa(unsigned int at)
{
	return TABLES_GPA + at * TABLE_DESCS * sizeof(struct vring_desc);
}

uint32_t segment_len(unsigned int k)
{
	return k + 1;
}

uint64_t segment_gpa(const struct buf *buf, unsigned int k)
{
	return DATA_GPA + buf->at * 16 + k * 2;
}

uint32_t writable(const struct buf *buf)
{
	unsigned int k;
	uint32_t len = 0;

	for (k = buf->out; k < buf->out + buf->in; k++)
		len += segment_len(k);
	return len;
}

uint16_t after(uint16_t pos, unsigned int bufs, unsigned int descs)
{
	unsigned int i = pos & (RING_WRAP - 1), wrap = pos & RING_WRAP;

	if (!world.e.packed)
		return pos + bufs;
	i += descs;
	return i < world.e.num ? i | wrap : (i - world.e.num) | (wrap ^ RING_WRAP);
}

static unsigned int index_of(uint16_t pos)
{
	return world.e.packed ? pos & (RING_WRAP - 1) : pos % world.e.num;
}

const char *check_calls(void)
{
	if (user.wrong)
		return user.wrong;
	return user.in_section ? "a section is not ended" : NULL;
}

/*
 * The driver's side. It takes the descriptors and Buffer IDs from the end of those that are
 * free, so that they differ from positions in the ring.
 */
static unsigned int take_free(void)
{
	unsigned int i = world.e.num - 1;

	while (!(world.model.free & BIT(i)))
		i--;
	world.model.free &= ~BIT(i);
	return i;
}

static unsigned int next_split_desc(void)
{
	unsigned int i = world.model.next_desc;

	if (!world.e.in_order)
		return take_free();
	world.model.next_desc = (i + 1) % world.e.num;
	return i;
}

static uint16_t segment_flags(const struct buf *buf, unsigned int k, bool table)
{
	bool next = k + 1 < buf->out + buf->in;

	/* In the table of a packed ring, this flag is ignored: set it where it is wrong. */
	if (table && world.e.packed)
		next = !next;
	return (k >= buf->out ? VRING_DESC_F_WRITE : 0) | (next ? VRING_DESC_F_NEXT : 0);
}

static void fill_table(const struct buf *buf)
{
	struct vring_desc *table = table_of(buf->at);
	unsigned int k;

	for (k = 0; k < buf->out + buf->in; k++) {
		uint16_t flags = segment_flags(buf, k, true);

		table[k].addr = segment_gpa(buf, k);
		table[k].len = segment_len(k);
		/* The third field of a packed one is the Buffer ID, which is ignored. */
		table[k].flags = world.e.packed ? 0xdead : flags;
		table[k].next = world.e.packed ? flags : k + 1;
	}
}

static void add_split(struct buf *buf)
{
	unsigned int i = next_split_desc(), k;

	buf->at = i;
	buf->id = i;
	if (buf->descs < buf->out + buf->in) {
		fill_table(buf);
		*split_desc(i) = (struct vring_desc){
			table_gpa(i), (buf->out + buf->in) * sizeof(struct vring_desc),
			VRING_DESC_F_INDIRECT, 0,
		};
	} else {
		for (k = 0; k < buf->descs; k++) {
			bool last = k + 1 == buf->descs;
			unsigned int next = last ? 0 : next_split_desc();

			*split_desc(i) = (struct vring_desc){
				segment_gpa(buf, k), segment_len(k),
				segment_flags(buf, k, false), next,
			};
			i = next;
		}
	}
	/* In order, vhost reads the first head only. */
	split_avail()->ring[index_of(world.model.added_pos)] = buf->at;
	split_avail()->idx++;
}

static void add_packed(struct buf *buf)
{
	uint16_t pos = world.model.added_pos;
	unsigned int k;

	buf->at = index_of(pos);
	buf->id = world.e.in_order ? 0x8000 + 7 * buf->at : 0xffff - take_free();
	if (buf->descs < buf->out + buf->in)
		fill_table(buf);
	for (k = 0; k < buf->descs; k++) {
		uint16_t flags = pos & RING_WRAP ? RING_AVAIL : RING_USED;
		struct vring_packed_desc desc = {
			segment_gpa(buf, k), segment_len(k), buf->id,
			flags | segment_flags(buf, k, false),
		};

		if (buf->descs < buf->out + buf->in) {
			desc.addr = table_gpa(buf->at);
			desc.len = (buf->out + buf->in) * sizeof(desc);
			desc.flags = flags | VRING_DESC_F_INDIRECT;
		} else if (k + 1 < buf->descs && !world.e.in_order) {
			/* only that of the last one counts */
			desc.id = 0xbad;
		}
		*packed_desc(index_of(pos)) = desc;
		pos = after(pos, 0, 1);
	}
}

static const char *step_add(unsigned int out, unsigned int in)
{
	struct model *model = &world.model;
	struct buf buf = { .out = out, .in = in, .descs = out + in };

	if (world.e.indirect && out + in > 1)
		buf.descs = 1;
	if (world.e.packed)
		add_packed(&buf);
	else
		add_split(&buf);
	model->added_pos = after(model->added_pos, 1, buf.descs);
	model->free_descs -= buf.descs;
	model->total += buf.descs;
	model->avail[model->num_avail++] = buf;
	return NULL;
}

static const char *check_segment(const struct vq_buffer *got, unsigned int i, uint64_t gpa,
				 uint32_t len)
{
	if (got->iov[i].iov_len != len)
		return "a segment has another length";
	if ((uintptr_t)got->iov[i].iov_base != DATA_HVA + gpa - DATA_GPA)
		return "a segment is elsewhere";
	return NULL;
}

const char *check_buffer(const struct vq_buffer *got, const struct buf *buf)
{
	const char *wrong = NULL;
	unsigned int k;

	if (got->out != buf->out || got->in != buf->in)
		return "the buffer has other segments";
	for (k = 0; !wrong && k < buf->out + buf->in; k++)
		wrong = check_segment(got, k, segment_gpa(buf, k), segment_len(k));
	if (wrong || !world.e.log)
		return wrong;
	if (got->logs != buf->in)
		return "not each writable segment is to be logged";
	for (k = 0; k < buf->in; k++) {
		if (got->log[k].addr != segment_gpa(buf, buf->out + k) ||
		    got->log[k].len != segment_len(buf->out + k))
			return "another segment is to be logged";
	}
	return NULL;
}

static const char *step_get(void)
{
	struct model *model = &world.model;
	const struct buf *buf = &model->avail[0];
	struct held *held = &model->held[model->num_held];
	struct vq_buffer got;
	const char *wrong;

	vq_get(&got, VQ_IOV, world.e.log);
	if (!model->num_avail) {
		if (got.ret != world.e.num)
			return "a buffer is fetched that is not there";
		/* vhost.c's own layout leaves them as they are */
		return (world.e.packed || world.e.in_order) && (got.out || got.in) ?
			"segments without a buffer" : NULL;
	}
	if (got.ret == world.e.num)
		return "a buffer is not fetched that is there";
	if (got.ret < 0)
		return "a buffer cannot be fetched";
	wrong = check_buffer(&got, buf);
	if (wrong)
		return wrong;
	held->buf = *buf;
	held->handle = got.ret;
	model->num_held++;
	model->discardable++;
	model->got_pos = after(model->got_pos, 1, buf->descs);
	model->num_avail--;
	memmove(&model->avail[0], &model->avail[1], model->num_avail * sizeof(model->avail[0]));
	memset(&model->avail[model->num_avail], 0, sizeof(model->avail[0]));
	return NULL;
}

static void move_to_used(unsigned int i, unsigned int len, bool skipped)
{
	struct model *model = &world.model;
	struct used *used = &model->used[model->num_used++];

	used->buf = model->held[i].buf;
	used->len = len;
	used->skipped = skipped;
	model->used_pos = after(model->used_pos, 1, used->buf.descs);
	model->num_held--;
	memmove(&model->held[i], &model->held[i + 1],
		(model->num_held - i) * sizeof(model->held[0]));
	memset(&model->held[model->num_held], 0, sizeof(model->held[0]));
}

/*
 * In order, an element returns all buffers up to the next one that was written, unless that one
 * would be among them: then each has its own.
 */
static void model_used_in_order(unsigned int first, unsigned int count, const uint32_t *lens)
{
	unsigned int i = first, end = first + count, done = 0, last;

	while (i < end) {
		for (last = i; !lens[last - first] && last + 1 < end; last++)
			;
		if (lens[last - first] && done < last) {
			move_to_used(0, 0, false);
			done++;
			continue;
		}
		for (; done < last; done++)
			move_to_used(0, 0, true);
		move_to_used(0, lens[last - first], false);
		done++;
		i = last + 1;
	}
}

static const char *step_use(unsigned int first, unsigned int count, unsigned int mask)
{
	struct model *model = &world.model;
	uint32_t lens[RING_MAX];
	int heads[RING_MAX];
	unsigned int i;

	for (i = 0; i < count; i++) {
		heads[i] = model->held[first + i].handle;
		lens[i] = mask & BIT(i) ? writable(&model->held[first + i].buf) : 0;
	}
	vq_log_signals();
	if (vq_add_used(heads, lens, count))
		return "buffers that were fetched cannot be used";
	if (world.e.log != !!vq_log_signals())
		return "the reader of the dirty log is woken, or not";
	i = model->num_held - first - count;
	if (model->discardable > i)
		model->discardable = i;
	if (world.e.in_order)
		model_used_in_order(first, count, lens);
	for (i = 0; !world.e.in_order && i < count; i++)
		move_to_used(first, lens[i], false);
	return NULL;
}

static const char *step_discard(unsigned int n)
{
	struct model *model = &world.model;
	int heads[RING_MAX];
	unsigned int i, descs = 0, first = model->num_held - n;

	for (i = 0; i < n; i++) {
		heads[i] = model->held[first + i].handle;
		descs += model->held[first + i].buf.descs;
	}
	vq_discard(heads, n);

	memmove(&model->avail[n], &model->avail[0], model->num_avail * sizeof(model->avail[0]));
	for (i = 0; i < n; i++)
		model->avail[i] = model->held[first + i].buf;
	memset(&model->held[first], 0, n * sizeof(model->held[0]));
	model->num_avail += n;
	model->num_held -= n;
	model->discardable -= n;
	/* after() takes no negative number, but twice round a packed ring is no step at all. */
	model->got_pos = world.e.packed ?
		after(after(model->got_pos, 0, world.e.num), 0, world.e.num - descs) :
		model->got_pos - n;
	return NULL;
}

bool used_seen(void)
{
	const struct model *model = &world.model;
	bool wrap = model->taken_pos & RING_WRAP;
	uint16_t flags;

	if (!world.e.packed)
		return split_used()->idx != model->taken_pos;
	flags = packed_desc(index_of(model->taken_pos))->flags;
	return !!(flags & RING_AVAIL) == wrap && !!(flags & RING_USED) == wrap;
}

/* The element at the driver's position, which returns @used */
static const char *check_element(const struct used *used)
{
	unsigned int i = index_of(world.model.taken_pos);
	const struct vring_packed_desc *desc = packed_desc(i);

	if (!world.e.packed) {
		if (split_used()->ring[i].id != used->buf.id)
			return "another buffer is used";
		return split_used()->ring[i].len == used->len ? NULL :
			"the buffer is used with another length";
	}
	if (desc->id != used->buf.id)
		return "another buffer is used";
	if (desc->flags & ~(RING_AVAIL | RING_USED | VRING_DESC_F_WRITE))
		return "a used descriptor has other flags";
	if (!(desc->flags & VRING_DESC_F_WRITE) != !used->len)
		return "a used descriptor does not say whether it was written";
	return desc->len == used->len ? NULL : "the buffer is used with another length";
}

static void give_back(const struct buf *buf)
{
	struct model *model = &world.model;
	unsigned int i = buf->at, k;

	model->free_descs += buf->descs;
	if (world.e.in_order)
		return;
	if (world.e.packed) {
		model->free |= BIT(0xffff - buf->id);
		return;
	}
	for (k = 0; k < buf->descs; k++) {
		model->free |= BIT(i);
		i = split_desc(i)->next;
	}
}

/* The driver takes what one element returns. */
static const char *step_take(void)
{
	struct model *model = &world.model;
	unsigned int last = 0, i;
	const char *wrong;

	if (!model->num_used)
		return used_seen() ? "a buffer is returned that was not used" : NULL;
	if (!used_seen())
		return "a buffer is not returned that was used";
	if (!world.e.packed && (uint16_t)(split_used()->idx - model->taken_pos) != model->num_used)
		return "not as many buffers are returned as were used";
	while (model->used[last].skipped)
		last++;
	wrong = check_element(&model->used[last]);
	if (wrong)
		return wrong;
	for (i = 0; i <= last; i++) {
		model->taken_pos = after(model->taken_pos, 1, model->used[i].buf.descs);
		give_back(&model->used[i].buf);
	}
	model->num_used -= last + 1;
	memmove(&model->used[0], &model->used[last + 1], model->num_used * sizeof(model->used[0]));
	memset(&model->used[model->num_used], 0, (last + 1) * sizeof(model->used[0]));
	return NULL;
}

/* Invariants */
static const char *check_state(void)
{
	const struct model *model = &world.model;
	struct vq_view view = vq_view();
	unsigned int i, held = 0;

	if (vq_errors())
		return "an error is reported";
	if (view.last_avail != model->got_pos)
		return "vhost fetches elsewhere";
	if (view.last_used != model->used_pos)
		return "vhost uses elsewhere";
	for (i = 0; i < model->num_held; i++)
		held += model->held[i].buf.descs;
	if (world.e.packed && view.outstanding != held)
		return "vhost counts other descriptors as outstanding";
	if (vq_misses())
		return "a translation is missing";
	return NULL;
}

const char *check_log(void)
{
	static const uint64_t gpa[] = {
		[USER_DESC] = DESC_GPA, [USER_DRIVER] = DRIVER_GPA,
		[USER_DEVICE] = DEVICE_GPA, [USER_TABLES] = TABLES_GPA,
	};
	unsigned char expected[VQ_LOG_SIZE] = { };
	unsigned int i, part, k;

	for (i = 0; i < user.accesses; i++) {
		for (part = 0; user.access[i].write && part < USER_PARTS; part++) {
			size_t offset = user.access[i].at - user.part[part].start;

			if (offset >= user.part[part].size)
				continue;
			for (k = 0; k < user.access[i].size; k++) {
				uint64_t page = (gpa[part] + offset + k) / 4096;

				expected[page / 8] |= 1 << page % 8;
			}
		}
	}
	if (memcmp(expected, vq_log, sizeof(expected)))
		return "the dirty log does not say what was written";
	memset(vq_log, 0, sizeof(vq_log));
	return NULL;
}

const char *do_step(struct step step)
{
	const char *wrong = NULL;

	user_watch();
	switch (step.kind) {
	case STEP_ADD:
		wrong = step_add(step.a, step.b);
		break;
	case STEP_GET:
		wrong = step_get();
		break;
	case STEP_USE:
		wrong = step_use(step.a, step.b, step.c);
		break;
	case STEP_DISCARD:
		wrong = step_discard(step.a);
		break;
	case STEP_TAKE:
		wrong = step_take();
		break;
	}
	if (!wrong)
		wrong = check_calls();
	if (!wrong && world.e.log)
		wrong = check_log();
	return wrong ? wrong : check_state();
}

const char *get_all(void)
{
	const char *wrong = NULL;

	while (!wrong && world.model.num_avail)
		wrong = do_step((struct step){ STEP_GET });
	return wrong;
}

const char *use_all(void)
{
	if (!world.model.num_held)
		return NULL;
	return do_step((struct step){ STEP_USE, 0, world.model.num_held, 0 });
}

const char *take_all(void)
{
	const char *wrong = NULL;

	while (!wrong && world.model.num_used)
		wrong = do_step((struct step){ STEP_TAKE });
	return wrong;
}

void world_save(struct copy *copy)
{
	copy->world = world;
	vq_save(&copy->vq);
	memcpy(copy->byte, user.byte, sizeof(copy->byte));
}

void world_restore(const struct copy *copy)
{
	world = copy->world;
	vq_restore(&copy->vq);
	memcpy(user.byte, copy->byte, sizeof(copy->byte));
	memset(vq_log, 0, world.e.log ? sizeof(vq_log) : 0);
}

const char *world_init(const struct exploration *e)
{
	const struct vq_config config = {
		.packed = e->packed, .in_order = e->in_order, .event_idx = e->event_idx,
		.iotlb = e->iotlb, .log = e->log, .num = e->num, .base = e->base,
	};
	struct model *model = &world.model;

	memset(&world, 0, sizeof(world));
	world.e = *e;
	if (vq_setup(&config))
		return "a virtqueue cannot be set up";
	model->added_pos = e->base;
	model->got_pos = e->base;
	model->used_pos = e->base;
	model->taken_pos = e->base;
	model->free = BIT(e->num) - 1;
	model->free_descs = e->num;
	if (e->packed) {
		/* as they were left one round ago */
		uint16_t pos = e->base;
		unsigned int i;

		for (i = 0; i < e->num; i++) {
			packed_desc(index_of(pos))->flags =
				pos & RING_WRAP ? 0 : RING_AVAIL | RING_USED;
			pos = after(pos, 0, 1);
		}
	} else {
		split_avail()->idx = e->base;
		split_used()->idx = e->base;
	}
	if (vq_start())
		return "a virtqueue cannot be started";
	vq_disable_notify();
	memset(vq_log, 0, sizeof(vq_log));
	return NULL;
}

/* Hashes of the visited states, of 64 bits: a collision among a million is 1 in 10^7. */
static uint64_t *visited;
static unsigned long visited_size, visited_num;

uint64_t hash(uint64_t h, const void *data, size_t size)
{
	const unsigned char *byte = data;

	for (; size >= 8; size -= 8, byte += 8) {
		uint64_t word;

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
	uint64_t *old = visited, at;

	visited_size = old_size ? 2 * old_size : 1 << 12;
	visited = calloc(visited_size, sizeof(*visited));
	if (!visited) {
		perror("calloc");
		exit(1);
	}
	for (i = 0; i < old_size; i++) {
		if (!old[i])
			continue;
		for (at = old[i]; visited[at % visited_size]; at++)
			;
		visited[at % visited_size] = old[i];
	}
	free(old);
}

void forget_visits(void)
{
	free(visited);
	visited = NULL;
	visited_size = 0;
	visited_num = 0;
}

bool first_visit(uint64_t h)
{
	uint64_t at;

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

static uint64_t hash_world(void)
{
	unsigned char state[sizeof(struct vq_copy)];
	uint64_t h = hash(1, &world.model, sizeof(world.model));
	unsigned int part;

	h = hash(h, state, vq_state(state, world.e.exact));
	for (part = 0; world.e.exact && part < USER_TABLES; part++)
		h = hash(h, user.byte + user.part[part].start, user.part[part].size);
	return h;
}

/* The steps that lead to the current state */
static struct step path[MAX_DEPTH];

static const char *describe(unsigned int depth, const char *wrong)
{
	static const char *const names[] = { "add", "get", "use", "discard", "take" };
	static char text[4096];
	int n = snprintf(text, sizeof(text), "%u descriptors from %#x:", world.e.num, world.e.base);
	unsigned int i;

	for (i = 0; i < depth && n < (int)sizeof(text) - 256; i++)
		n += snprintf(text + n, sizeof(text) - n, " %s(%u,%u,%u)", names[path[i].kind],
			      path[i].a, path[i].b, path[i].c);
	snprintf(text + n, sizeof(text) - n, ": %s", wrong);
	return text;
}

/* List the steps that are possible now. Returns their number. */
static unsigned int possible_steps(struct step *steps)
{
	const struct model *model = &world.model;
	unsigned int i, k, n = 0, descs, out, mask, step;
	/* Limit tables, which take one descriptor anyway, or there would be far more states */
	unsigned int longest = world.e.indirect ? 3 : world.e.num;

	for (i = 1; i <= longest; i++) {
		descs = world.e.indirect ? 1 : i;
		if (descs > model->free_descs || model->total + descs > world.e.max_total)
			break;
		/* all readable, all writable, or all but the first one */
		out = (model->total + i) % 3 == 0 ? i : (model->total + i) % 3 == 1 ? 0 : 1;
		steps[n++] = (struct step){ STEP_ADD, out, i - out };
	}
	steps[n++] = (struct step){ STEP_GET };
	for (i = 0; i < model->num_held; i++) {
		for (k = 1; i + k <= model->num_held; k++) {
			/* all lengths 0, all not, and mixed ones */
			step = world.e.in_order && k <= 3 ? 1 : BIT(k) - 1;
			for (mask = 0; mask < BIT(k); mask += step)
				steps[n++] = (struct step){ STEP_USE, i, k, mask };
		}
	}
	for (i = 0; i <= model->discardable; i++)
		steps[n++] = (struct step){ STEP_DISCARD, i };
	steps[n++] = (struct step){ STEP_TAKE };
	return n;
}

static const char *explore_from(unsigned int depth)
{
	struct step steps[128];
	const char *wrong = NULL;
	unsigned int i, n;
	struct copy copy;

	states++;
	world_save(&copy);
	if (world.e.at_state) {
		wrong = world.e.at_state();
		if (wrong)
			return describe(depth, wrong);
		world_restore(&copy);
	}
	if (depth == MAX_DEPTH)
		return describe(depth, "too many steps");
	n = possible_steps(steps);
	for (i = 0; i < n && !wrong; i++) {
		path[depth] = steps[i];
		wrong = do_step(steps[i]);
		if (wrong)
			return describe(depth + 1, wrong);
		if (first_visit(hash_world()))
			wrong = explore_from(depth + 1);
		world_restore(&copy);
	}
	return wrong;
}

const char *explore(const struct exploration *e)
{
	const char *wrong = world_init(e);

	if (wrong)
		return wrong;
	forget_visits();
	return explore_from(0);
}
