/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the BPF program counts and the user space program reads.
 */
#ifndef IOREGIONSTAT_H
#define IOREGIONSTAT_H

#include <linux/types.h>

struct region_key {
	__u64 base;	/* first address, or port */
	__u32 vm;	/* pid of the process that made it */
	__u32 pio;	/* 1: base is a port */
};

/* Bucket n counts latencies from 2^n ns up to 2^(n+1); bucket 0 also has 0 ns. */
#define NR_BUCKETS	64

/* Reasons of failure are small numbers, starting at 1; 0 counts those that are too big. */
#define NR_REASONS	8

/**
 * struct region_counts - what has become of the commands for a region
 * @latency: completed ones, by write, in_place and bucket
 * @untimed: completed ones whose start is not known, by write and in_place
 * @failed: failed ones, by reason
 *
 * A command adds 1 in exactly one place. So figures that are computed from these never
 * contradict each other, even if they are read while guests run.
 */
struct region_counts {
	__u64 latency[2][2][NR_BUCKETS];
	__u64 untimed[2][2];
	__u64 failed[NR_REASONS];
};

struct vcpu_key {
	__u32 vm;
	__u32 vcpu_id;
};

/**
 * struct vcpu_state - the command that a vCPU waits for
 * @since: when it was submitted, or 0 if there is none
 * @region: the region of its address
 */
struct vcpu_state {
	__u64 since;
	struct region_key region;
};

#endif /* IOREGIONSTAT_H */
