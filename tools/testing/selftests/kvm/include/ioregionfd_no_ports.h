/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What stands for the ports of x86 where there are none. Included by ioregionfd_util.h.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_NO_PORTS_H
#define SELFTEST_KVM_IOREGIONFD_NO_PORTS_H

#ifdef __riscv
#include <asm/vdso/processor.h>
#endif

/* As good as a region of another kind */
#define OTHER_BASE	(MMIO_GPA + 0x3000)
#define OTHER_FLAGS	0

/* By how much an access can be not aligned: on riscv KVM refuses it */
#define UNALIGNED	0

static inline struct guest_op *op_read_other(struct kvm_vcpu *vcpu, uint32_t size, uint64_t addr)
{
	return op_read(vcpu, size, addr);
}

static inline struct guest_op *op_write_other(struct kvm_vcpu *vcpu, uint32_t size, uint64_t addr,
					      uint64_t val)
{
	return op_write(vcpu, size, addr, val);
}

static inline uint64_t other_result(uint32_t size, uint64_t val)
{
	return val;
}

/* For guests: read 4 bytes of that region. */
static inline uint32_t guest_read_other(uint64_t addr)
{
	return READ_ONCE(*(uint32_t *)addr);
}

static inline void guest_arch_op(struct guest_op *op)
{
	GUEST_FAIL("unknown op %u", op->kind);
}

/* For guests: the script is done. */
static inline void guest_done(void)
{
	GUEST_DONE();
}

/* Whether the guest says so. If not, @uc is what it says. */
static inline bool vcpu_is_done(struct kvm_vcpu *vcpu, struct ucall *uc)
{
	return get_ucall(vcpu, uc) == UCALL_DONE;
}

#define expect_other(...) expect_mmio(__VA_ARGS__)
#define complete_other(vcpu, val) complete_mmio(vcpu, val)

/* The statistic of accesses that left the emulator; and how many the guest's end adds to it */
#define MMIO_EXITS	"mmio_exit_user"
#ifdef __aarch64__
#define DONE_MMIO_EXITS	1
#else
#define DONE_MMIO_EXITS	0
#endif

#endif /* SELFTEST_KVM_IOREGIONFD_NO_PORTS_H */
