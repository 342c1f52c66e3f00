// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "malicious.h"
#include "oracle.h"

#define NEXT	VRING_DESC_F_NEXT
#define WRITE	VRING_DESC_F_WRITE
#define TABLE	VRING_DESC_F_INDIRECT
/* Neither AVAIL nor USED, nor one of those above */
#define UNKNOWN	0x7f78

#define ENTRY	sizeof(struct vring_desc)
#define TABLE_AT(i) (TABLES_GPA + (i) * TABLE_DESCS * ENTRY)
#define TABLES_END LARGE_GPA

struct symbol {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
};

#define NOWHERE 0x900000ULL

/* After these, the chain may go on. */
static const struct symbol more[] = {
	{ DATA_GPA + 0x10, 8, NEXT },
	{ DATA_GPA + 0x20, 8, NEXT | WRITE },
	{ FAR_GPA - 4, 8, NEXT },
	{ NOWHERE, 0, NEXT },
};

static const struct symbol last[] = {
	{ DATA_GPA + 0x10, 8, 0 },
	{ DATA_GPA + 0x20, 8, WRITE },
	{ DATA_GPA, DATA_SIZE, WRITE },
	{ DATA_GPA + DATA_SIZE - 1, 1, 0 },
	{ FAR_GPA - 4, 8, 0 },
	{ FAR_GPA - 7, 8, WRITE },
	{ FAR_GPA + FAR_SIZE - 4, 4, WRITE },
	{ FAR_GPA + FAR_SIZE - 4, 8, 0 },
	{ DATA_GPA - 1, 2, 0 },
	{ DATA_GPA, 0, 0 },
	{ NOWHERE, 0, WRITE },
	{ NOWHERE, 8, 0 },
	{ NOWHERE, 8, WRITE | NEXT },
	{ DATA_GPA, 0xffffffff, 0 },
	{ DATA_GPA - 0xfffffff0, 0xffffffff, WRITE },
	{ -4ULL, 8, 0 },
	{ -4ULL, 8, NEXT | WRITE },
	{ CONST_GPA + 8, 8, 0 },
	{ CONST_GPA + 8, 8, WRITE },
	{ DATA_GPA + 0x30, 8, UNKNOWN },

	{ TABLE_AT(0), 1 * ENTRY, TABLE },
	{ TABLE_AT(0), 1 * ENTRY, TABLE | WRITE },
	{ TABLE_AT(1), 2 * ENTRY, TABLE },
	{ TABLE_AT(2), 2 * ENTRY, TABLE },
	{ TABLE_AT(3), 2 * ENTRY, TABLE },
	{ TABLE_AT(4), 1 * ENTRY, TABLE },
	{ TABLE_AT(5), 2 * ENTRY, TABLE },
	{ TABLE_AT(6), 3 * ENTRY, TABLE },
	{ TABLE_AT(7), 2 * ENTRY, TABLE },
	/* in two regions */
	{ TABLE_AT(7) - ENTRY, 2 * ENTRY, TABLE },
	{ TABLE_AT(0), 0, TABLE },
	{ TABLE_AT(0), 8, TABLE },
	{ TABLE_AT(1), 3 * ENTRY / 2, TABLE },
	{ TABLES_END - ENTRY, 65536 * ENTRY, TABLE },
	{ CONST_GPA + CONST_SIZE - ENTRY, 2 * ENTRY, TABLE },
	{ NOWHERE, ENTRY, TABLE },
	{ NOWHERE, 0, TABLE },
	{ LARGE_GPA, (65536 + 1) * ENTRY, TABLE },
	{ LARGE_GPA, 0xfffffff0, TABLE },
	{ TABLE_AT(0), 1 * ENTRY, TABLE | NEXT },
	{ TABLE_AT(5), 2 * ENTRY, TABLE | NEXT },
};

static void fill_tables(void)
{
	static const struct {
		unsigned int table, i;
		struct symbol symbol;
	} entries[] = {
		{ 0, 0, { DATA_GPA + 0x40, 8, 0 } },
		{ 1, 0, { DATA_GPA + 0x40, 8, NEXT } },
		{ 1, 1, { FAR_GPA + 0x50, 8, WRITE } },
		{ 2, 0, { DATA_GPA + 0x40, 8, NEXT | WRITE } },
		{ 2, 1, { DATA_GPA + 0x50, 8, 0 } },
		{ 3, 0, { DATA_GPA + 0x40, 8, NEXT } },
		{ 3, 1, { DATA_GPA + 0x50, 8, NEXT | WRITE } },
		{ 4, 0, { DATA_GPA + 0x40, ENTRY, TABLE } },
		{ 5, 0, { DATA_GPA + 0x40, 8, NEXT } },
		{ 5, 1, { NOWHERE, 8, 0 } },
		{ 6, 0, { FAR_GPA - 4, 8, NEXT | WRITE } },
		{ 6, 1, { NOWHERE, 0, NEXT | WRITE } },
		{ 6, 2, { FAR_GPA - 2, 4, WRITE } },
		{ 6, TABLE_DESCS - 1, { DATA_GPA + 0x60, 8, NEXT } },
		/* Of these, the split layout takes the first one only. */
		{ 7, 0, { DATA_GPA + 0x40, 8, 0 } },
		{ 7, 1, { DATA_GPA + 0x50, 8, WRITE } },
		/* the first one of the largest table */
		{ 7, TABLE_DESCS - 1, { NOWHERE, 8, 0 } },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(entries); i++) {
		const struct symbol *symbol = &entries[i].symbol;
		struct vring_desc *entry = table_of(entries[i].table) + entries[i].i;

		entry->addr = symbol->addr;
		entry->len = symbol->len;
		entry->flags = world.e.packed ? 0xffff : symbol->flags;
		/* The next one is the following one, whatever this says. */
		entry->next = world.e.packed ? symbol->flags : 0xffff;
	}
}

static struct vq_copy start;
static unsigned char memory[USER_MEMORY];
static struct oracle oracle;
static const char *(*check_content)(void);

static unsigned int index_of(uint16_t pos)
{
	return world.e.packed ? pos & (RING_WRAP - 1) : pos % world.e.num;
}

static uint16_t available(uint16_t pos)
{
	return pos & RING_WRAP ? RING_AVAIL : RING_USED;
}

static const char *compare(const struct vq_buffer *got, const struct expected *expected, bool log)
{
	unsigned int i, n = expected->out + expected->in;

	if (got->out != expected->out || got->in != expected->in)
		return "other segments are returned";
	for (i = 0; i < n; i++) {
		if (got->iov[i].iov_base != expected->iov[i].iov_base ||
		    got->iov[i].iov_len != expected->iov[i].iov_len)
			return "a segment is elsewhere, or has another length";
	}
	if (!log)
		return NULL;
	if (got->logs != expected->logs)
		return "not each writable segment is to be logged";
	for (i = 0; i < got->logs; i++) {
		if (got->log[i].addr != expected->log[i].addr ||
		    got->log[i].len != expected->log[i].len)
			return "another segment is to be logged";
	}
	return NULL;
}

/* The buffer is used, and the driver finds it. In order, so are those that are outstanding. */
static const char *use(int head, const struct expected *expected)
{
	unsigned int before = world.e.in_order ? oracle.outstanding : 0;
	uint16_t used = after(vq_view().last_used, before, before);
	unsigned int i = index_of(used);
	uint32_t len = 3;
	const char *wrong = NULL;

	user_watch();
	if (vq_add_used(&head, &len, 1))
		return "the buffer cannot be used";
	if (vq_view().last_used != after(used, 1, expected->descs))
		wrong = "the used position does not move by the buffer";
	else if (vq_view().outstanding != oracle.outstanding - before)
		wrong = "another number of descriptors is outstanding";
	else if (world.e.packed)
		wrong = packed_desc(i)->id == expected->id && packed_desc(i)->len == len ? NULL :
			"another buffer is used";
	else if (split_used()->ring[i].id != expected->id || split_used()->ring[i].len != len)
		wrong = "another buffer is used";
	memcpy(user.byte, memory, sizeof(memory));
	return wrong;
}

/* There were too many: as soon as the others have been used, the buffer is fetched. */
static const char *get_after_use(unsigned int iov_size, bool log)
{
	const struct model *model = &world.model;
	struct oracle before = oracle;
	uint32_t lens[RING_MAX] = { };
	struct expected expected;
	int heads[RING_MAX];
	struct vq_buffer got;
	unsigned int i;

	for (i = 0; i < model->num_held; i++)
		heads[i] = model->held[i].handle;
	if (vq_add_used(heads, lens, model->num_held))
		return "what is outstanding cannot be used";
	memcpy(user.byte, memory, sizeof(memory));
	oracle.outstanding = 0;
	oracle_get(&oracle, &expected);
	oracle = before;
	vq_get(&got, iov_size, log);
	vq_misses();
	vq_forget_errors();
	if (expected.ret)
		return got.ret == expected.ret ? NULL : "another error, after a use";
	if (got.ret < 0 || got.ret == (int)world.e.num)
		return "a buffer is not fetched after others have been used";
	return compare(&got, &expected, log);
}

static const char *check_get(unsigned int iov_size, bool log)
{
	struct expected expected;
	struct vq_buffer got;
	const char *wrong;
	struct vq_view before = vq_view(), now;
	unsigned long misses, errors;
	int first;

	oracle.iov_size = iov_size;
	oracle_get(&oracle, &expected);
	user_watch();
	vq_get(&got, iov_size, log);
	wrong = check_calls();
	if (wrong)
		return wrong;
	now = vq_view();
	misses = vq_misses();
	errors = vq_errors();
	if (misses != (expected.ret == -EAGAIN))
		return "a translation is asked for, or not";
	if (!errors != !(expected.ret < 0 && expected.ret != -EAGAIN))
		return "an error is reported, or not";
	if (!expected.ret && got.ret >= 0 && got.ret != (int)world.e.num) {
		wrong = compare(&got, &expected, log);
		if (!wrong && now.last_avail != after(before.last_avail, 1, expected.descs))
			wrong = "the position does not move by the buffer";
		return wrong ? wrong : use(got.ret, &expected);
	}
	if (got.ret != (expected.ret == NO_BUFFER ? (int)world.e.num : expected.ret))
		return "another error, or none";
	if (now.last_avail != before.last_avail || now.outstanding != before.outstanding)
		return "what was not fetched changes something";
	/* vhost.c's own layout leaves them as they are, and no backend looks at them. */
	if ((world.e.packed || world.e.in_order) && !expected.too_many && (got.out || got.in))
		return "segments are returned without a buffer";
	/* A backend may try again, and memory has not changed. */
	first = got.ret;
	vq_get(&got, iov_size, log);
	vq_misses();
	vq_forget_errors();
	if (got.ret != first)
		return "the second attempt ends otherwise than the first one";
	return expected.too_many ? get_after_use(iov_size, log) : NULL;
}

static const char *check_rules(void)
{
	static const unsigned int sizes[] = { VQ_IOV, 2, 1, 0 };
	unsigned int i, log, map;
	const char *wrong = NULL;

	states++;
	memcpy(memory, user.byte, sizeof(memory));
	for (i = 0; i < 4; i++) {
		for (log = 0; log < 2; log++) {
			for (map = 0; !wrong && map < 2; map++) {
				vq_restore(&start);
				vq_map(map);
				wrong = check_get(sizes[i], log);
			}
		}
	}
	return wrong;
}

/* Change what was read by the access number @change. */
static unsigned int change, change_to;

static void change_after(unsigned int access)
{
	const struct user_access *a = &user.access[access];
	unsigned int i;

	if (access != change)
		return;
	for (i = 0; i < a->size; i++) {
		unsigned char *byte = &user.byte[a->at + i];

		*byte = change_to == 0 ? 0 : change_to == 1 ? 0xff : ~*byte;
	}
}

static const char *check_changes(void)
{
	struct vq_buffer unchanged, got;
	struct expected expected;
	unsigned int accesses;

	states++;
	memcpy(memory, user.byte, sizeof(memory));
	oracle.iov_size = VQ_IOV;
	oracle_get(&oracle, &expected);
	if (expected.again)
		return NULL;
	vq_restore(&start);
	user_watch();
	memset(&unchanged, 0, sizeof(unchanged));
	vq_get(&unchanged, VQ_IOV, false);
	accesses = user.accesses;
	for (change = 0; change < accesses; change++) {
		for (change_to = 0; change_to < 3; change_to++) {
			vq_restore(&start);
			user_watch();
			user.after = change_after;
			memset(&got, 0, sizeof(got));
			vq_get(&got, VQ_IOV, false);
			vq_misses();
			memcpy(user.byte, memory, sizeof(memory));
			if (unchanged.ret >= 0 ? memcmp(&got, &unchanged, sizeof(got)) :
						 got.ret != unchanged.ret)
				return "what has been read is read again";
		}
	}
	return check_calls();
}

static void set_desc(uint16_t pos, unsigned int i, const struct symbol *symbol, uint16_t bits,
		     uint16_t next)
{
	if (world.e.packed)
		*packed_desc(i) = (struct vring_packed_desc){
			/* out of order, there is one whose handle is 0 */
			symbol->addr, symbol->len, 0x8000 + i, symbol->flags | bits,
		};
	else
		*split_desc(i) = (struct vring_desc){
			symbol->addr, symbol->len, symbol->flags, next,
		};
}

/* All chains that have @k descriptors already and go on at @pos (packed) or @i (split) */
static const char *chains(unsigned int k, uint16_t pos, unsigned int i)
{
	static const uint16_t pairs[] = { 0, RING_AVAIL, RING_USED, RING_AVAIL | RING_USED };
	unsigned int n, m, num = world.e.num;
	unsigned int next = (i + 1) % num;
	const char *wrong = NULL;

	for (n = 0; !wrong && n < ARRAY_SIZE(last); n++) {
		set_desc(pos, i, &last[n], available(pos), next);
		wrong = check_content();
	}
	for (n = 0; !wrong && world.e.packed && n < 4; n++) {
		for (m = 0; !wrong && pairs[n] != available(pos) && m < 2; m++) {
			set_desc(pos, i, m ? &more[0] : &last[0], pairs[n], next);
			wrong = check_content();
		}
	}
	/* Out of order, the next one may be anywhere. */
	for (n = 0; !wrong && !world.e.packed && !world.e.in_order && n < 4; n++) {
		const uint16_t others[] = { i, oracle.head, num, 0xffff };

		set_desc(pos, i, &more[0], 0, others[n]);
		wrong = check_content();
	}
	for (n = 0; !wrong && n < ARRAY_SIZE(more); n++) {
		set_desc(pos, i, &more[n], available(pos), next);
		if (k + 1 < num)
			wrong = chains(k + 1, after(pos, 0, 1), next);
		else
			/* longer than the ring */
			wrong = check_content();
	}
	return wrong;
}

/*
 * @rest: what follows the chain is available, too. In the split layout, there may be more buffers
 * than descriptors that have been written.
 */
static const char *chains_here(bool rest)
{
	static const struct symbol single = { DATA_GPA + 0x60, 8, WRITE };
	uint16_t pos = world.model.got_pos, at = pos;
	unsigned int i, k;
	const char *wrong = NULL;

	for (i = 0; i < world.e.num; i++) {
		uint16_t bits = available(at) ^ (rest ? 0 : RING_AVAIL | RING_USED);

		k = world.e.packed ? index_of(at) : i;
		set_desc(at, k, &single, bits, k);
		at = after(at, 0, 1);
	}
	if (world.e.packed)
		return chains(0, pos, index_of(pos));

	for (i = 0; !wrong && i <= world.e.num; i++) {
		if (oracle.head_known && i != oracle.head)
			continue;
		oracle.head = i;
		/* not to be looked at if it is known */
		split_avail()->ring[index_of(pos)] = oracle.head_known ? 0xffff : i;
		for (k = 0; !wrong && k <= world.e.num + 2; k++) {
			split_avail()->idx = pos + (k == world.e.num + 2 ? 0xffff : k);
			if (i == world.e.num || (k != 1 && k != world.e.num))
				/* no buffer, too many, or no such head */
				wrong = check_content();
			else if (rest == (k == world.e.num))
				wrong = chains(0, pos, i);
		}
	}
	return wrong;
}

static const char *pump(unsigned int n)
{
	const char *wrong = NULL;

	while (!wrong && n--) {
		wrong = do_step((struct step){ STEP_ADD, 1, 0 });
		if (!wrong)
			wrong = get_all();
		if (!wrong)
			wrong = use_all();
		if (!wrong)
			wrong = take_all();
	}
	return wrong;
}

/* From the position @first, with @held descriptors outstanding */
static const char *check_from(const struct exploration *e, unsigned int first, unsigned int held)
{
	static char text[256];
	const char *wrong = NULL;
	unsigned int rest, i;

	for (rest = 0; !wrong && rest < 2; rest++) {
		wrong = world_init(e);
		if (!wrong)
			wrong = pump(first);
		for (i = 0; !wrong && i < held; i++)
			wrong = do_step((struct step){ STEP_ADD, 1, 0 });
		if (!wrong)
			wrong = get_all();
		if (wrong)
			return wrong;
		vq_save(&start);
		fill_tables();
		oracle = (struct oracle){
			.packed = e->packed, .in_order = e->in_order, .iotlb = e->iotlb,
			.num = e->num, .pos = world.model.got_pos,
			.outstanding = held,
			.head_known = !e->packed && e->in_order && first,
			.head = world.model.next_desc,
		};
		wrong = chains_here(rest);
	}
	if (!wrong)
		return NULL;
	snprintf(text, sizeof(text),
		 "%u descriptors, from %u, %u held, the rest %s: %s; flags %#x %#x", e->num,
		 first, held, rest == 2 ? "available" : "not available", wrong,
		 e->packed ? packed_desc(0)->flags : split_desc(0)->flags,
		 e->packed ? packed_desc(1)->flags : split_desc(1)->flags);
	return text;
}

static const char *check_all(struct exploration e, unsigned int max)
{
	const char *wrong = NULL;
	unsigned int first, held;

	e.max_total = ~0U;
	for (e.num = 1; !wrong && e.num <= max; e.num = e.packed ? e.num + 1 : 2 * e.num) {
		e.base = e.packed ? RING_WRAP << 16 | RING_WRAP : 0xfffe;
		for (first = 0; !wrong && first <= (e.packed ? 2 * e.num - 1 : 2); first++) {
			/* In large rings, positions from which a chain goes round */
			if (e.num > 3 && first && first != e.num - 1 && first != 2 * e.num - 1)
				continue;
			wrong = check_from(&e, first, 0);
		}
		/* Only the packed layout counts what is outstanding. */
		for (held = 1; !wrong && e.packed && e.num <= 3 && held <= e.num; held++)
			wrong = check_from(&e, 0, held);
	}
	return wrong;
}

const char *check_contents(struct exploration e, unsigned int max)
{
	check_content = check_rules;
	return check_all(e, max);
}

const char *check_reads(struct exploration e, unsigned int max)
{
	check_content = check_changes;
	return check_all(e, max);
}

/* Histories: what vhost has returned, and how many descriptors that are (packed) */
static struct {
	unsigned int n;
	int handle[RING_MAX];
	unsigned int descs[RING_MAX];
} held;

#define HISTORY_MAX 10

static void write_desc(unsigned int i, unsigned int kind)
{
	const struct symbol symbol = { DATA_GPA + i * 16, 8, kind & 1 ? NEXT : 0 };

	set_desc(0, i, &symbol, kind & 2 ? RING_AVAIL : RING_USED, (i + 1) % world.e.num);
}

static void write_avail(unsigned int kind)
{
	const int steps[] = { 1, world.e.num, world.e.num + 1, -1 };

	if (kind < 4)
		split_avail()->idx += steps[kind];
	else
		split_avail()->ring[0] = kind - 4;
}

static const char *fetch(void)
{
	struct vq_view before = vq_view(), now;
	struct vq_buffer got;

	vq_get(&got, VQ_IOV, false);
	now = vq_view();
	vq_forget_errors();
	if (got.ret < 0)
		return got.ret == -EINVAL ? NULL : "another error";
	if (got.ret == (int)world.e.num)
		return NULL;
	if (held.n == RING_MAX)
		return "too many buffers are fetched";
	held.handle[held.n] = got.ret;
	held.descs[held.n++] = now.outstanding - before.outstanding;
	return NULL;
}

static void forget(unsigned int first, unsigned int n)
{
	held.n -= n;
	memmove(&held.handle[first], &held.handle[first + n],
		(held.n - first) * sizeof(held.handle[0]));
	memmove(&held.descs[first], &held.descs[first + n],
		(held.n - first) * sizeof(held.descs[0]));
}

static const char *return_one(unsigned int i)
{
	uint32_t len = 0;
	int ret = vq_add_used(&held.handle[i], &len, 1);

	vq_forget_errors();
	/* A split ring does not know how many buffers it has. */
	if (ret && world.e.packed)
		return "what was fetched cannot be used";
	if (world.e.in_order)
		forget(0, i + 1);
	else
		forget(i, 1);
	return NULL;
}

static const char *histories(unsigned int depth);

static const char *after_step(unsigned int depth)
{
	unsigned char state[sizeof(struct vq_copy)];
	const char *wrong = check_calls();
	unsigned int i, descs = 0;
	uint64_t h;

	if (wrong)
		return wrong;
	for (i = 0; i < held.n; i++)
		descs += held.descs[i];
	if (world.e.packed && (vq_view().outstanding > world.e.num ||
			       vq_view().outstanding != descs))
		return "vhost has more descriptors than there are, or forgets some";
	h = hash(depth, state, vq_state(state, true));
	h = hash(h, &held, sizeof(held));
	h = hash(h, user.byte, TABLES_AT);
	return first_visit(h) ? histories(depth + 1) : NULL;
}

static const char *histories(unsigned int depth)
{
	typeof(held) held_before = held;
	struct copy copy;
	const char *wrong = NULL;
	unsigned int i, k, num = world.e.num;

	states++;
	if (depth == HISTORY_MAX)
		return NULL;
	world_save(&copy);

#define TRY(step) do {						\
	user_watch();						\
	step;							\
	if (!wrong)						\
		wrong = after_step(depth);			\
	world_restore(&copy);					\
	held = held_before;					\
} while (0)

	for (i = 0; !wrong && i < num; i++)
		for (k = 0; !wrong && k < (world.e.packed ? 4 : 2); k++)
			TRY(write_desc(i, k));
	for (k = 0; !wrong && !world.e.packed && k < 6; k++)
		TRY(write_avail(k));
	if (!wrong)
		TRY(wrong = fetch());
	for (i = 0; !wrong && i < held.n; i++)
		TRY(wrong = return_one(i));
	if (!wrong && held.n && held.n < RING_MAX)
		TRY(vq_discard(&held.handle[held.n - 1], 1); forget(held.n - 1, 1));
#undef TRY
	return wrong;
}

const char *check_histories(struct exploration e)
{
	const char *wrong = NULL;

	e.max_total = ~0U;
	for (e.num = 1; !wrong && e.num <= 2; e.num++) {
		e.base = e.packed ? RING_WRAP << 16 | RING_WRAP : 0xfffe;
		wrong = world_init(&e);
		memset(&held, 0, sizeof(held));
		forget_visits();
		if (!wrong)
			wrong = histories(0);
	}
	return wrong;
}
