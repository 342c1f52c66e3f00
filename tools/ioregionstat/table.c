// SPDX-License-Identifier: GPL-2.0-only
/*
 * An interval as a table for people.
 */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "counts.h"

#define BAR_WIDTH	40
#define DURATION_SIZE	16

static const char *duration(char *buf, double ns)
{
	static const char * const units[] = { "ns", "us", "ms", "s" };
	unsigned int unit = 0;

	while (ns >= 1000 && unit < 3) {
		ns /= 1000;
		unit++;
	}
	snprintf(buf, DURATION_SIZE, unit ? "%.1f%s" : "%.0f%s", ns, units[unit]);
	return buf;
}

/* A latency below which are at least @percent of the region's commands. */
static const char *below(char *buf, const struct region *region, unsigned int percent)
{
	const __u64 (*latency)[2][NR_BUCKETS] = region->interval.latency;
	__u64 sums[NR_BUCKETS], all = 0, so_far = 0;
	int i;

	for (i = 0; i < NR_BUCKETS; i++) {
		sums[i] = latency[0][0][i] + latency[0][1][i] +
			  latency[1][0][i] + latency[1][1][i];
		all += sums[i];
	}
	if (!all)
		return "-";
	for (i = 0; i < NR_BUCKETS - 1; i++) {
		so_far += sums[i];
		if (so_far * 100 >= all * percent)
			break;
	}
	return duration(buf, 2.0 * (1ull << i));
}

static void print_failed(const struct region *region)
{
	bool any = false;
	unsigned int i;

	for (i = 0; i < NR_REASONS; i++) {
		if (!region->interval.failed[i])
			continue;
		printf("%s%s %llu", any ? ", " : "", reason_name(i) ?: "other",
		       region->interval.failed[i]);
		any = true;
	}
	puts(any ? "" : "-");
}

static void print_histogram(const struct region *region, bool write)
{
	const __u64 (*latency)[NR_BUCKETS] = region->interval.latency[write];
	int i, first = NR_BUCKETS, last = -1, left, in_place;
	char from[DURATION_SIZE], to[DURATION_SIZE];
	__u64 most = 0, count;

	for (i = 0; i < NR_BUCKETS; i++) {
		count = latency[0][i] + latency[1][i];
		if (!count)
			continue;
		if (i < first)
			first = i;
		last = i;
		if (count > most)
			most = count;
	}
	for (i = first; i <= last; i++) {
		count = latency[0][i] + latency[1][i];
		/* Anything above zero gets at least one character. */
		in_place = (latency[1][i] * BAR_WIDTH + most - 1) / most;
		left = (latency[0][i] * BAR_WIDTH + most - 1) / most;
		printf("%12s %7s .. %7s %9llu  ", i == first ? (write ? "writes" : "reads") : "",
		       duration(from, i ? 1ull << i : 0), duration(to, 2.0 * (1ull << i)), count);
		while (in_place--)
			putchar('#');
		while (left--)
			putchar('-');
		putchar('\n');
	}
}

struct table {
	bool histograms;
	__u64 untimed;
};

static void print_region(const struct region *region, void *arg)
{
	struct kind reads = region_kind(region, false), writes = region_kind(region, true);
	__u64 all = reads.count + writes.count;
	char half[DURATION_SIZE], most[DURATION_SIZE], in_place[DURATION_SIZE] = "-";
	struct table *table = arg;

	if (all)
		snprintf(in_place, sizeof(in_place), "%.1f%%",
			 100.0 * (reads.in_place + writes.in_place) / all);
	printf("%7u  %-4s %#-14llx %9llu %9llu %8s %8s %8s %7u  ", region->key.vm,
	       region->key.pio ? "pio" : "mmio", region->key.base, reads.count, writes.count,
	       in_place, below(half, region, 50), below(most, region, 99), region->waiting);
	print_failed(region);
	if (table->histograms) {
		print_histogram(region, false);
		print_histogram(region, true);
	}
	table->untimed += reads.untimed + writes.untimed;
}

void table_print(const struct counts *counts, bool histograms)
{
	struct table table = { .histograms = histograms };
	time_t now = time(NULL);
	char clock[16];

	/* On a terminal each interval replaces the previous one. */
	if (isatty(STDOUT_FILENO))
		fputs("\033[H\033[J", stdout);
	strftime(clock, sizeof(clock), "%H:%M:%S", localtime(&now));
	printf("%s  %u regions, in %.2f s%s\n", clock, counts->nr_regions,
	       (double)counts->ns / NS_PER_SEC,
	       histograms ? "; ### in place, --- after a sleep" : "");
	printf("%7s  %-19s %9s %9s %8s %8s %8s %7s  %s\n", "VM", "REGION", "READS", "WRITES",
	       "IN PLACE", "50% <", "99% <", "WAITING", "FAILED");
	counts_for_each(counts, print_region, &table);
	if (table.untimed)
		printf("%llu without a latency: their start was not seen\n", table.untimed);
	if (counts->not_counted)
		printf("%llu not counted: regions beyond --max, or skipped by the kernel\n",
		       counts->not_counted);
}
