/* SPDX-License-Identifier: GPL-2.0-only */
#if !defined(_TRACE_KVM_IOREGIONFD_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_IOREGIONFD_H

#include <linux/kvm_host.h>
#include <linux/tracepoint.h>

#include "ioregionfd.h"

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

#define ioregionfd_trace_reasons				\
	{ KVM_IOREGIONFD_FAIL_HANGUP,		"hangup" },	\
	{ KVM_IOREGIONFD_FAIL_IO,		"io" },		\
	{ KVM_IOREGIONFD_FAIL_PROTOCOL,		"protocol" },	\
	{ KVM_IOREGIONFD_FAIL_DEASSIGNED,	"deassigned" },	\
	{ KVM_IOREGIONFD_FAIL_NO_MAILBOX,	"no mailbox" },	\
	{ KVM_IOREGIONFD_FAIL_CANCELED,		"canceled" },	\
	{ KVM_IOREGIONFD_FAIL_TO_VMM,		"to vmm" }

#define ioregionfd_trace_statuses				\
	{ IOREGIONFD_STATUS_DONE,		"done" },	\
	{ IOREGIONFD_STATUS_UNMAPPED,		"unmapped" },	\
	{ IOREGIONFD_STATUS_TO_VMM,		"to vmm" }

/*
 * What all events say: which VM (the process that made it), which vCPU, which
 * region, and the access. One command is submitted once, and then completes or
 * fails, once. The vCPU has one under way at most, so vm and vcpu_id tell which
 * submit belongs to which complete or fail.
 */
DECLARE_EVENT_CLASS(kvm_ioregionfd_command,
	TP_PROTO(struct kvm_vcpu *vcpu, const struct ioregionfd_region *region,
		 const struct ioregionfd_cmd *cmd, u64 data, u32 status,
		 bool in_place),
	TP_ARGS(vcpu, region, cmd, data, status, in_place),

	TP_STRUCT__entry(
		__field(u64, region)
		__field(u64, user_data)
		__field(u64, addr)
		__field(u64, data)
		__field(int, vm)
		__field(unsigned int, vcpu_id)
		__field(u8, size)
		__field(bool, pio)
		__field(bool, write)
		__field(bool, in_place)
		__field(u8, status)
	),

	TP_fast_assign(
		__entry->region = region->first;
		__entry->user_data = cmd->user_data;
		__entry->addr = region->first + cmd->offset;
		__entry->data = data;
		__entry->vm = vcpu->kvm->userspace_pid;
		__entry->vcpu_id = vcpu->vcpu_id;
		__entry->size = 1 << (cmd->flags & IOREGIONFD_CMD_SIZE_MASK);
		__entry->pio = region->pio;
		__entry->write = cmd->cmd == IOREGIONFD_CMD_WRITE;
		__entry->in_place = in_place;
		__entry->status = status;
	),

	TP_printk("vcpu %u user_data 0x%llx %s %s addr 0x%llx size %u data 0x%llx region 0x%llx vm %d",
		  __entry->vcpu_id, __entry->user_data,
		  __entry->pio ? "pio" : "mmio",
		  __entry->write ? "write" : "read",
		  __entry->addr, __entry->size, __entry->data,
		  __entry->region, __entry->vm)
);

/* data: write: the value; read: 0 */
DEFINE_EVENT(kvm_ioregionfd_command, kvm_ioregionfd_submit,
	TP_PROTO(struct kvm_vcpu *vcpu, const struct ioregionfd_region *region,
		 const struct ioregionfd_cmd *cmd, u64 data, u32 status,
		 bool in_place),
	TP_ARGS(vcpu, region, cmd, data, status, in_place));

/*
 * data: the value written or read; status: of the response; in_place: the vCPU did not
 * sleep for it
 */
DEFINE_EVENT_PRINT(kvm_ioregionfd_command, kvm_ioregionfd_complete,
	TP_PROTO(struct kvm_vcpu *vcpu, const struct ioregionfd_region *region,
		 const struct ioregionfd_cmd *cmd, u64 data, u32 status,
		 bool in_place),
	TP_ARGS(vcpu, region, cmd, data, status, in_place),

	TP_printk("vcpu %u user_data 0x%llx %s %s addr 0x%llx size %u data 0x%llx region 0x%llx vm %d in_place %u status %s",
		  __entry->vcpu_id, __entry->user_data,
		  __entry->pio ? "pio" : "mmio",
		  __entry->write ? "write" : "read",
		  __entry->addr, __entry->size, __entry->data,
		  __entry->region, __entry->vm, __entry->in_place,
		  __print_symbolic(__entry->status, ioregionfd_trace_statuses))
);

TRACE_EVENT(kvm_ioregionfd_fail,
	TP_PROTO(struct kvm_vcpu *vcpu, const struct ioregionfd_region *region,
		 const struct ioregionfd_cmd *cmd, u8 reason, u8 progress,
		 int error),
	TP_ARGS(vcpu, region, cmd, reason, progress, error),

	TP_STRUCT__entry(
		__field(u64, region)
		__field(u64, user_data)
		__field(u64, addr)
		__field(int, vm)
		__field(unsigned int, vcpu_id)
		__field(int, error)
		__field(u8, size)
		__field(u8, reason)
		__field(u8, progress)
		__field(bool, pio)
		__field(bool, write)
	),

	TP_fast_assign(
		__entry->region = region->first;
		__entry->user_data = cmd->user_data;
		__entry->addr = region->first + cmd->offset;
		__entry->vm = vcpu->kvm->userspace_pid;
		__entry->vcpu_id = vcpu->vcpu_id;
		__entry->error = error;
		__entry->size = 1 << (cmd->flags & IOREGIONFD_CMD_SIZE_MASK);
		__entry->reason = reason;
		__entry->progress = progress;
		__entry->pio = region->pio;
		__entry->write = cmd->cmd == IOREGIONFD_CMD_WRITE;
	),

	TP_printk("vcpu %u user_data 0x%llx %s %s addr 0x%llx size %u reason %s progress %u error %d region 0x%llx vm %d",
		  __entry->vcpu_id, __entry->user_data,
		  __entry->pio ? "pio" : "mmio",
		  __entry->write ? "write" : "read",
		  __entry->addr, __entry->size,
		  __print_symbolic(__entry->reason, ioregionfd_trace_reasons),
		  __entry->progress, __entry->error, __entry->region,
		  __entry->vm)
);

#endif /* _TRACE_KVM_IOREGIONFD_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH ../../virt/kvm/ioregionfd
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

#include <trace/define_trace.h>
