/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What only the guests of x86 have: ports. Included by ioregionfd_util.h.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_X86_H
#define SELFTEST_KVM_IOREGIONFD_X86_H

/* Unused I/O ports. */
#define PIO_BASE	0x2000

/* The guest writes here when its script is done; cheaper than a ucall. */
#define DONE_PORT	0x1100

/* A region of another kind than the others */
#define OTHER_BASE	PIO_BASE
#define OTHER_FLAGS	KVM_IOREGION_PIO

/* By how much an access can be not aligned */
#define UNALIGNED	1

static inline struct guest_op *op_in(struct kvm_vcpu *vcpu, uint32_t size, uint64_t port)
{
	return op_add(vcpu, (struct guest_op){ OP_IN, size, port });
}

static inline struct guest_op *op_out(struct kvm_vcpu *vcpu, uint32_t size, uint64_t port,
				      uint64_t val)
{
	return op_add(vcpu, (struct guest_op){ OP_OUT, size, port, val });
}

/* For guests: those above that only x86 has. */
void guest_arch_op(struct guest_op *op);

/* "in" of 1 or 2 bytes leaves the rest of the register, all ones, unchanged. */
uint64_t in_result(uint32_t size, uint64_t val);

/* Accesses to a region of another kind, and what a read of it leaves in the register */

static inline struct guest_op *op_read_other(struct kvm_vcpu *vcpu, uint32_t size, uint64_t port)
{
	return op_in(vcpu, size, port);
}

static inline struct guest_op *op_write_other(struct kvm_vcpu *vcpu, uint32_t size, uint64_t port,
					      uint64_t val)
{
	return op_out(vcpu, size, port, val);
}

static inline uint64_t other_result(uint32_t size, uint64_t val)
{
	return in_result(size, val);
}

/* For guests: read 4 bytes of the region of another kind. */
static inline uint32_t guest_read_other(uint64_t port)
{
	uint32_t val;

	asm volatile("inl %w1, %0" : "=a"(val) : "d"(port));
	return val;
}

/* For guests: the script is done. */
static inline void guest_done(void)
{
	outl(DONE_PORT, 0);
}

/* Whether the guest says so. If not, @uc is what it says. */
static inline bool vcpu_is_done(struct kvm_vcpu *vcpu, struct ucall *uc)
{
	struct kvm_run *run = vcpu->run;

	if (run->exit_reason == KVM_EXIT_IO && run->io.port == DONE_PORT)
		return true;
	get_ucall(vcpu, uc);
	return false;
}

static inline void *io_data(struct kvm_vcpu *vcpu)
{
	return (void *)vcpu->run + vcpu->run->io.data_offset;
}

#define expect_io(...) __expect_io(__VA_ARGS__, __LINE__)
void __expect_io(struct kvm_vcpu *vcpu, uint16_t port, uint32_t size, bool is_write, uint64_t data,
		 int line);

#define expect_other(...) expect_io(__VA_ARGS__)

static inline void complete_other(struct kvm_vcpu *vcpu, uint32_t val)
{
	memcpy(io_data(vcpu), &val, sizeof(val));
}

/* The statistic of accesses that left the emulator; and how many the guest's end adds to it */
#define MMIO_EXITS	"mmio_exits"
#define DONE_MMIO_EXITS	0

#endif /* SELFTEST_KVM_IOREGIONFD_X86_H */
