// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads what the BPF program counted, and subtracts what it was the last time.
 */
#include <assert.h>
#include <err.h>
#include <errno.h>
#include <search.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <linux/kvm_ioregionfd.h>

#include "counts.h"

static_assert(KVM_IOREGIONFD_FAIL_NO_MAILBOX < NR_REASONS, "room for all reasons");

const char *reason_name(unsigned int reason)
{
	static const char * const names[NR_REASONS] = {
		[0] = "other",
		[KVM_IOREGIONFD_FAIL_HANGUP] = "hangup",
		[KVM_IOREGIONFD_FAIL_IO] = "io",
		[KVM_IOREGIONFD_FAIL_PROTOCOL] = "protocol",
		[KVM_IOREGIONFD_FAIL_DEASSIGNED] = "deassigned",
		[KVM_IOREGIONFD_FAIL_NO_MAILBOX] = "no_mailbox",
	};

	return names[reason];
}

struct kind region_kind(const struct region *region, bool write)
{
	const struct region_counts *c = &region->interval;
	struct kind kind = {
		.in_place = c->untimed[write][1],
		.untimed = c->untimed[write][0] + c->untimed[write][1],
	};
	int i;

	kind.count = kind.untimed;
	for (i = 0; i < NR_BUCKETS; i++) {
		kind.count += c->latency[write][0][i] + c->latency[write][1][i];
		kind.in_place += c->latency[write][1][i];
	}
	return kind;
}

static int region_compare(const void *a, const void *b)
{
	const struct region_key *k = a, *l = b;

	if (k->vm != l->vm)
		return k->vm < l->vm ? -1 : 1;
	if (k->pio != l->pio)
		return k->pio < l->pio ? -1 : 1;
	return k->base < l->base ? -1 : k->base > l->base;
}

/* Returns the region with that key, and makes it if there is none. */
static struct region *region_get(struct counts *counts, const struct region_key *key)
{
	void *node = tfind(key, &counts->regions, region_compare);
	struct region *region;

	if (node)
		return *(struct region **)node;
	region = calloc(1, sizeof(*region));
	if (!region)
		errx(1, "out of memory");
	region->key = *key;
	if (!tsearch(region, &counts->regions, region_compare))
		errx(1, "out of memory");
	counts->nr_regions++;
	return region;
}

static void region_remove(struct counts *counts, struct region *region)
{
	tdelete(region, &counts->regions, region_compare);
	counts->nr_regions--;
	free(region);
}

/* Stores the new totals. Returns whether they are the same as the old ones. */
static bool region_update(struct region *region, const struct region_counts *total)
{
	const __u64 *new = (const __u64 *)total;
	__u64 *old = (__u64 *)&region->total, *diff = (__u64 *)&region->interval;
	bool idle = true;
	size_t i;

	for (i = 0; i < sizeof(*total) / sizeof(*new); i++) {
		diff[i] = new[i] - old[i];
		old[i] = new[i];
		idle &= !diff[i];
	}
	region->waiting = 0;
	return idle;
}

/*
 * The pid of the VM's maker is that of a thread. If that thread has ended, and other
 * threads go on running the VM, its regions are removed whenever they are idle, and
 * counted from 0 afterwards. What was shown before stays true.
 */
static bool vm_gone(__u32 vm)
{
	return kill(vm, 0) && errno == ESRCH;
}

static bool map_lookup(int fd, const void *key, void *value, const char *what)
{
	int r = bpf_map_lookup_elem(fd, key, value);

	if (r && r != -ENOENT)
		errx(1, "cannot read the %s: %s", what, strerror(-r));
	return !r;
}

static bool map_next(int fd, const void *key, void *next, const char *what)
{
	int r = bpf_map_get_next_key(fd, key, next);

	if (r && r != -ENOENT)
		errx(1, "cannot list the %s: %s", what, strerror(-r));
	return !r;
}

static void map_delete(int fd, const void *key, const char *what)
{
	int r = bpf_map_delete_elem(fd, key);

	if (r && r != -ENOENT)
		errx(1, "cannot drop one of the %s: %s", what, strerror(-r));
}

/* Get the next key before an entry may be deleted: it could not be found afterwards. */

static void collect_regions(struct counts *counts, int fd)
{
	struct region_key key, next;
	struct region_counts total;
	struct region *region;
	bool more;

	for (more = map_next(fd, NULL, &next, "regions"); more;) {
		key = next;
		more = map_next(fd, &key, &next, "regions");
		if (!map_lookup(fd, &key, &total, "regions"))
			continue;
		region = region_get(counts, &key);
		if (region_update(region, &total) && vm_gone(key.vm)) {
			map_delete(fd, &key, "regions");
			region_remove(counts, region);
		}
	}
}

static void collect_vcpus(struct counts *counts, int fd)
{
	struct vcpu_key key, next;
	struct vcpu_state state;
	void *node;
	bool more;

	for (more = map_next(fd, NULL, &next, "vCPUs"); more;) {
		key = next;
		more = map_next(fd, &key, &next, "vCPUs");
		if (!map_lookup(fd, &key, &state, "vCPUs"))
			continue;
		if (vm_gone(key.vm)) {
			map_delete(fd, &key, "vCPUs");
			continue;
		}
		/* It may be missing for want of room, or because it is newer. */
		node = tfind(&state.region, &counts->regions, region_compare);
		if (state.since && node)
			(*(struct region **)node)->waiting++;
	}
}

void counts_collect(struct counts *counts, int regions_fd, int vcpus_fd)
{
	collect_regions(counts, regions_fd);
	collect_vcpus(counts, vcpus_fd);
}

void counts_free(struct counts *counts)
{
	tdestroy(counts->regions, free);
	counts->regions = NULL;
	counts->nr_regions = 0;
}

struct for_each {
	void (*fn)(const struct region *region, void *arg);
	void *arg;
};

static void visit(const void *node, VISIT which, void *closure)
{
	const struct for_each *f = closure;

	if (which == postorder || which == leaf)
		f->fn(*(const struct region **)node, f->arg);
}

void counts_for_each(const struct counts *counts,
		     void (*fn)(const struct region *region, void *arg), void *arg)
{
	struct for_each f = { fn, arg };

	twalk_r(counts->regions, visit, &f);
}
