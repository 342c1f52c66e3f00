// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>
#include "explore.h"
#include "oracle.h"

/* The largest indirect table, by the width of its indices */
#define TABLE_MAX 65536

static const struct oracle *o;
static struct expected *e;

/* Guest memory as in vq.h. The region at an address goes on until @end. */
static int find(uint64_t gpa, bool write, uint64_t *hva, uint64_t *end)
{
	const uint64_t byte = (uintptr_t)user.byte, table = TABLE_DESCS * sizeof(struct vring_desc);
	const struct {
		uint64_t gpa, size, hva;
		bool constant;
	} regions[] = {
		{ DESC_GPA, user.part[USER_DESC].size, byte + DESC_AT },
		{ DRIVER_GPA, user.part[USER_DRIVER].size, byte + DRIVER_AT },
		{ DEVICE_GPA, user.part[USER_DEVICE].size, byte + DEVICE_AT },
		{ TABLES_GPA, TABLE_LAST * table, byte + TABLES_AT },
		{ table_gpa(TABLE_LAST), table, byte + table_hva_offset(TABLE_LAST) },
		{ DATA_GPA, DATA_SIZE, DATA_HVA },
		{ FAR_GPA, FAR_SIZE, FAR_HVA },
		{ CONST_GPA, CONST_SIZE, CONST_HVA, true },
		{ LARGE_GPA, LARGE_SIZE, LARGE_HVA },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(regions); i++) {
		if (gpa - regions[i].gpa >= regions[i].size)
			continue;
		if (o->iotlb && write && regions[i].constant)
			return -EPERM;
		*hva = regions[i].hva + gpa - regions[i].gpa;
		*end = regions[i].gpa + regions[i].size;
		return 0;
	}
	return o->iotlb ? -EAGAIN : -EFAULT;
}

/* Returns how many pieces of our memory these bytes are, at most @most, or an error. */
static int pieces(uint64_t gpa, uint64_t len, bool write, struct iovec *iov, int most)
{
	uint64_t hva, end;
	int n = 0, err;

	while (len) {
		uint64_t size;

		if (n == most)
			return -ENOBUFS;
		err = find(gpa, write, &hva, &end);
		if (err)
			return err;
		size = end - gpa < len ? end - gpa : len;
		if (iov) {
			iov[n].iov_base = (void *)(uintptr_t)hva;
			iov[n].iov_len = size;
		}
		gpa += size;
		len -= size;
		n++;
	}
	return n;
}

static int segment(uint64_t addr, uint32_t len, bool write)
{
	unsigned int n = e->out + e->in;
	int ret = pieces(addr, len, write, e->iov + n, o->iov_size - n);

	if (ret < 0)
		return ret;
	if (!write) {
		e->out += ret;
		return e->in ? -EINVAL : 0;
	}
	e->in += ret;
	if (ret) {
		e->log[e->logs].addr = addr;
		e->log[e->logs].len = len;
		e->logs++;
	}
	return 0;
}

/*
 * Only tables in their own regions are read; anywhere else they are bad before that. No entry is
 * in two regions.
 */
static int table(uint64_t addr, uint32_t len)
{
	const struct vring_desc *desc;
	unsigned int i, count = len / sizeof(*desc);
	uint64_t hva, end;
	int ret;

	if (len % sizeof(*desc))
		return -EINVAL;
	if (o->packed && (!count || count > TABLE_MAX))
		return -EINVAL;
	ret = pieces(addr, len, false, NULL, 1024);
	if (ret < 0)
		return ret;
	if (count > TABLE_MAX)
		return -E2BIG;
	for (i = 0; ; i++) {
		uint16_t flags;

		if (i == count)
			return o->packed ? 0 : -EINVAL;
		find(addr + i * sizeof(*desc), false, &hva, &end);
		desc = (const struct vring_desc *)(uintptr_t)hva;
		flags = o->packed ? ((const struct vring_packed_desc *)desc)->flags : desc->flags;
		if (!o->packed && flags & VRING_DESC_F_INDIRECT)
			return -EINVAL;
		ret = segment(desc->addr, desc->len, flags & VRING_DESC_F_WRITE);
		if (ret)
			return ret;
		if (!o->packed && !(flags & VRING_DESC_F_NEXT))
			return 0;
	}
}

/* A descriptor; @flags are those that both layouts have. */
static int descriptor(uint64_t addr, uint32_t len, uint16_t flags)
{
	if (!(flags & VRING_DESC_F_INDIRECT))
		return segment(addr, len, flags & VRING_DESC_F_WRITE);
	/* The split layout of vhost.c accepts this. */
	if (flags & VRING_DESC_F_NEXT && (o->packed || o->in_order))
		return -EINVAL;
	if (o->packed && e->descs)
		return -EINVAL;
	return table(addr, len);
}

static int get_split(void)
{
	const struct vring_avail *avail = split_avail();
	uint16_t fresh = avail->idx - o->pos;
	unsigned int i;
	int ret;

	if (fresh > o->num)
		return -EINVAL;
	if (!fresh)
		return NO_BUFFER;
	i = o->head_known ? o->head : avail->ring[o->pos % o->num];
	if (i >= o->num)
		return -EINVAL;
	e->id = i;
	for (;;) {
		const struct vring_desc *desc = split_desc(i);

		ret = descriptor(desc->addr, desc->len, desc->flags);
		if (ret)
			return ret;
		e->descs++;
		if (!(desc->flags & VRING_DESC_F_NEXT))
			return 0;
		i = o->in_order ? (i + 1) % o->num : desc->next;
		if (i >= o->num || e->descs == o->num) {
			e->again = !o->in_order;
			return -EINVAL;
		}
	}
}

static int get_packed(void)
{
	unsigned int i = o->pos & (RING_WRAP - 1);
	uint16_t wrap = o->pos & RING_WRAP;
	int ret;

	for (;;) {
		const struct vring_packed_desc *desc = packed_desc(i);
		bool available = (desc->flags & (RING_AVAIL | RING_USED)) ==
				 (wrap ? RING_AVAIL : RING_USED);

		if (!available) {
			e->again = e->descs;
			return e->descs ? -EINVAL : NO_BUFFER;
		}
		ret = descriptor(desc->addr, desc->len, desc->flags);
		if (ret)
			return ret;
		e->descs++;
		e->id = desc->id;
		if (!(desc->flags & VRING_DESC_F_NEXT))
			break;
		if (e->descs == o->num)
			return -EINVAL;
		if (++i == o->num) {
			i = 0;
			wrap ^= RING_WRAP;
		}
	}
	e->too_many = o->outstanding + e->descs > o->num;
	return e->too_many ? -EINVAL : 0;
}

void oracle_get(const struct oracle *oracle, struct expected *expected)
{
	o = oracle;
	e = expected;
	memset(e, 0, sizeof(*e));
	e->ret = o->packed ? get_packed() : get_split();
}
