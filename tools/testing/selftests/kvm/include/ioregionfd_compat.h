/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernels that these tests are built for have under different names: those of the
 * newest are used.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_COMPAT_H
#define SELFTEST_KVM_IOREGIONFD_COMPAT_H

#include "kvm_util.h"
#include "processor.h"

#ifndef KVM_X86_TDX_VM /* 6.12 */
#define KVM_X86_TDX_VM 5
#endif

#if defined(__x86_64__) && !defined(is_present_pte) /* 6.12 */

static inline uint64_t *vm_get_pte(struct kvm_vm *vm, uint64_t gva)
{
	return vm_get_page_table_entry(vm, gva);
}

#endif

#ifndef vm_get_stat /* 6.12 */

static inline void pin_self_to_cpu(int cpu)
{
	kvm_pin_this_task_to_pcpu(cpu);
}

#endif

#endif /* SELFTEST_KVM_IOREGIONFD_COMPAT_H */
