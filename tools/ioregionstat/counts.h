/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The counts of one interval, by region, and how they are shown.
 */
#ifndef COUNTS_H
#define COUNTS_H

#include <stdbool.h>

#include "ioregionstat.h"

#define NS_PER_MS	1000000ull
#define NS_PER_SEC	1000000000ull

/**
 * struct region - what is known of a region
 * @key: which
 * @total: since the beginning, when looked at last
 * @interval: how much @total grew in the interval
 * @waiting: vCPUs that waited for a response at its end
 */
struct region {
	struct region_key key;
	struct region_counts total;
	struct region_counts interval;
	unsigned int waiting;
};

/**
 * struct counts - everything that is shown of an interval
 * @regions: the regions, in a tree of <search.h>, by VM, mmio before pio, then base
 * @nr_regions: how many
 * @ns: length of the interval
 * @not_counted: completed and failed commands that @regions does not have
 */
struct counts {
	void *regions;
	unsigned int nr_regions;
	__u64 ns;
	__u64 not_counted;
};

void counts_collect(struct counts *counts, int regions_fd, int vcpus_fd);
void counts_free(struct counts *counts);
void counts_for_each(const struct counts *counts,
		     void (*fn)(const struct region *region, void *arg), void *arg);

/* Sums of an interval. */

struct kind {
	__u64 count;	/* completed */
	__u64 in_place;	/* of these, completed without the vCPU going to sleep */
	__u64 untimed;	/* of these, without a latency */
};

struct kind region_kind(const struct region *region, bool write);
const char *reason_name(unsigned int reason);

void table_print(const struct counts *counts, bool histograms);
void json_print(const struct counts *counts);

#endif /* COUNTS_H */
