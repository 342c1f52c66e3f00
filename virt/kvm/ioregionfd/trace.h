/* SPDX-License-Identifier: GPL-2.0-only */
#if !defined(_TRACE_KVM_IOREGIONFD_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_IOREGIONFD_H

#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

#define ioregionfd_trace_reasons				\
	{ KVM_IOREGIONFD_FAIL_HANGUP,		"hangup" },	\
	{ KVM_IOREGIONFD_FAIL_IO,		"io" },		\
	{ KVM_IOREGIONFD_FAIL_PROTOCOL,		"protocol" },	\
	{ KVM_IOREGIONFD_FAIL_DEASSIGNED,	"deassigned" }

/*
 * One command is submitted once, and then completes or fails, once. The vCPU
 * has one under way at most, so vcpu_id tells which submit belongs to which
 * complete or fail.
 */
DECLARE_EVENT_CLASS(kvm_ioregionfd_command,
	TP_PROTO(unsigned int vcpu_id, u64 user_data, bool pio, bool write,
		 u64 addr, unsigned int size, u64 data),
	TP_ARGS(vcpu_id, user_data, pio, write, addr, size, data),

	TP_STRUCT__entry(
		__field(u64, user_data)
		__field(u64, addr)
		__field(u64, data)
		__field(unsigned int, vcpu_id)
		__field(u8, size)
		__field(bool, pio)
		__field(bool, write)
	),

	TP_fast_assign(
		__entry->user_data = user_data;
		__entry->addr = addr;
		__entry->data = data;
		__entry->vcpu_id = vcpu_id;
		__entry->size = size;
		__entry->pio = pio;
		__entry->write = write;
	),

	TP_printk("vcpu %u user_data 0x%llx %s %s addr 0x%llx size %u data 0x%llx",
		  __entry->vcpu_id, __entry->user_data,
		  __entry->pio ? "pio" : "mmio",
		  __entry->write ? "write" : "read",
		  __entry->addr, __entry->size, __entry->data)
);

/* data: write: the value; read: 0 */
DEFINE_EVENT(kvm_ioregionfd_command, kvm_ioregionfd_submit,
	TP_PROTO(unsigned int vcpu_id, u64 user_data, bool pio, bool write,
		 u64 addr, unsigned int size, u64 data),
	TP_ARGS(vcpu_id, user_data, pio, write, addr, size, data));

/* data: the value written or read */
DEFINE_EVENT(kvm_ioregionfd_command, kvm_ioregionfd_complete,
	TP_PROTO(unsigned int vcpu_id, u64 user_data, bool pio, bool write,
		 u64 addr, unsigned int size, u64 data),
	TP_ARGS(vcpu_id, user_data, pio, write, addr, size, data));

TRACE_EVENT(kvm_ioregionfd_fail,
	TP_PROTO(unsigned int vcpu_id, u64 user_data, bool pio, bool write,
		 u64 addr, unsigned int size, u8 reason, u8 progress, int error),
	TP_ARGS(vcpu_id, user_data, pio, write, addr, size, reason, progress,
		error),

	TP_STRUCT__entry(
		__field(u64, user_data)
		__field(u64, addr)
		__field(unsigned int, vcpu_id)
		__field(int, error)
		__field(u8, size)
		__field(u8, reason)
		__field(u8, progress)
		__field(bool, pio)
		__field(bool, write)
	),

	TP_fast_assign(
		__entry->user_data = user_data;
		__entry->addr = addr;
		__entry->vcpu_id = vcpu_id;
		__entry->error = error;
		__entry->size = size;
		__entry->reason = reason;
		__entry->progress = progress;
		__entry->pio = pio;
		__entry->write = write;
	),

	TP_printk("vcpu %u user_data 0x%llx %s %s addr 0x%llx size %u reason %s progress %u error %d",
		  __entry->vcpu_id, __entry->user_data,
		  __entry->pio ? "pio" : "mmio",
		  __entry->write ? "write" : "read",
		  __entry->addr, __entry->size,
		  __print_symbolic(__entry->reason, ioregionfd_trace_reasons),
		  __entry->progress, __entry->error)
);

#endif /* _TRACE_KVM_IOREGIONFD_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH ../../virt/kvm/ioregionfd
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

#include <trace/define_trace.h>
