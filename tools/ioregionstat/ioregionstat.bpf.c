// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counts ioregionfd's trace events.
 *
 * These are classic tracepoint programs: they see an event's own fields, which
 * are meant for it. A tp_btf program would get pointers to kvm.ko's private
 * structures instead. libbpf 1.1 would then use the offsets of struct kvm_vcpu in
 * the kernel's BTF, although kvm.ko's BTF has a struct kvm_vcpu with more fields.
 * The event structures are in kvm.ko's BTF alone. The price is that the kernel skips
 * such a program while it runs another one on the same CPU; it counts how often, and
 * we report that.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "ioregionstat.h"

/* Those fields of kvm.ko's structures that are used here. */

struct trace_event_raw_kvm_ioregionfd_command {
	__u64 region;
	int vm;
	unsigned int vcpu_id;
	__u8 pio;
	__u8 write;
	__u8 in_place;
} __attribute__((preserve_access_index));

struct trace_event_raw_kvm_ioregionfd_fail {
	__u64 region;
	int vm;
	unsigned int vcpu_id;
	__u8 reason;
	__u8 pio;
} __attribute__((preserve_access_index));

/* User space sets the number of entries. */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct region_key);
	__type(value, struct region_counts);
} regions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct vcpu_key);
	__type(value, struct vcpu_state);
} vcpus SEC(".maps");

/* Set by user space: a VM, or 0 for all. */
int only_vm;

/* Read by user space: completed and failed commands that no region has counted. */
__u64 no_room;

static const struct region_counts none;

static __always_inline int is_wanted(int vm)
{
	return !only_vm || vm == only_vm;
}

/* Returns the region's entry, and makes it if there is none and there is room. */
static __always_inline struct region_counts *counts_of(const struct region_key *key)
{
	struct region_counts *counts = bpf_map_lookup_elem(&regions, key);

	if (counts)
		return counts;
	bpf_map_update_elem(&regions, key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&regions, key);
}

/* The vCPU has stopped waiting. Returns since when it waited, or 0 if unknown. */
static __always_inline __u64 vcpu_stop(int vm, unsigned int vcpu_id)
{
	struct vcpu_key key = { vm, vcpu_id };
	struct vcpu_state *state = bpf_map_lookup_elem(&vcpus, &key);
	__u64 since;

	if (!state)
		return 0;
	since = state->since;
	state->since = 0;
	return since;
}

static __always_inline unsigned int bucket_of(__u64 ns)
{
	unsigned int n = 0, shift;

#pragma unroll
	for (shift = NR_BUCKETS / 2; shift; shift >>= 1) {
		if (ns >> shift) {
			ns >>= shift;
			n += shift;
		}
	}
	return n;
}

SEC("tp/kvm/kvm_ioregionfd_submit")
int on_submit(struct trace_event_raw_kvm_ioregionfd_command *ctx)
{
	struct vcpu_key key = { ctx->vm, ctx->vcpu_id };
	struct vcpu_state state = {
		.since = bpf_ktime_get_ns(),
		.region = { ctx->region, ctx->vm, !!ctx->pio },
	};

	if (!is_wanted(ctx->vm))
		return 0;
	/* So that a region is shown even if its first command never ends. */
	counts_of(&state.region);
	/* If there is no room for one more vCPU, its commands are untimed. */
	bpf_map_update_elem(&vcpus, &key, &state, BPF_ANY);
	return 0;
}

SEC("tp/kvm/kvm_ioregionfd_complete")
int on_complete(struct trace_event_raw_kvm_ioregionfd_command *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	struct region_key key = { ctx->region, ctx->vm, !!ctx->pio };
	unsigned int write = !!ctx->write, in_place = !!ctx->in_place;
	struct region_counts *counts;
	__u64 since;

	if (!is_wanted(ctx->vm))
		return 0;
	since = vcpu_stop(ctx->vm, ctx->vcpu_id);
	counts = counts_of(&key);
	if (!counts)
		__sync_fetch_and_add(&no_room, 1);
	else if (since)
		__sync_fetch_and_add(&counts->latency[write][in_place][bucket_of(now - since)], 1);
	else
		__sync_fetch_and_add(&counts->untimed[write][in_place], 1);
	return 0;
}

SEC("tp/kvm/kvm_ioregionfd_fail")
int on_fail(struct trace_event_raw_kvm_ioregionfd_fail *ctx)
{
	struct region_key key = { ctx->region, ctx->vm, !!ctx->pio };
	unsigned long reason = ctx->reason;
	struct region_counts *counts;

	if (!is_wanted(ctx->vm))
		return 0;
	vcpu_stop(ctx->vm, ctx->vcpu_id);
	/* So that the register that is compared below is the one used as the index. */
	barrier_var(reason);
	counts = counts_of(&key);
	if (!counts)
		__sync_fetch_and_add(&no_room, 1);
	else
		__sync_fetch_and_add(&counts->failed[reason < NR_REASONS ? reason : 0], 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
