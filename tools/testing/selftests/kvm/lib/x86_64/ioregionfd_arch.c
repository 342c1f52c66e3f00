// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the guest of the ioregionfd tests does on x86 only: ports, strings, operands in memory,
 * and the exits that come of them.
 */
#include "ioregionfd_util.h"

static void guest_in(struct guest_op *op)
{
	/* So that the test sees which bits of the register "in" leaves unchanged. */
	uint64_t val = ~0ul;

	switch (op->size) {
	case 1:
		asm volatile("inb %w1, %b0" : "+a"(val) : "d"(op->addr));
		break;
	case 2:
		asm volatile("inw %w1, %w0" : "+a"(val) : "d"(op->addr));
		break;
	case 4:
		asm volatile("inl %w1, %k0" : "+a"(val) : "d"(op->addr));
		break;
	}
	op->val = val;
}

static void guest_out(const struct guest_op *op, uint64_t val)
{
	switch (op->size) {
	case 1:
		asm volatile("outb %b0, %w1" : : "a"(val), "d"(op->addr));
		break;
	case 2:
		asm volatile("outw %w0, %w1" : : "a"(val), "d"(op->addr));
		break;
	case 4:
		asm volatile("outl %k0, %w1" : : "a"(val), "d"(op->addr));
		break;
	}
}

static void guest_xchg(struct guest_op *op)
{
	uint64_t val = op->val;

	switch (op->size) {
	case 1:
		asm volatile("xchgb %b0, (%1)" : "+q"(val) : "r"(op->addr) : "memory");
		break;
	case 2:
		asm volatile("xchgw %w0, (%1)" : "+r"(val) : "r"(op->addr) : "memory");
		break;
	case 4:
		asm volatile("xchgl %k0, (%1)" : "+r"(val) : "r"(op->addr) : "memory");
		break;
	case 8:
		asm volatile("xchgq %q0, (%1)" : "+r"(val) : "r"(op->addr) : "memory");
		break;
	}
	op->val = val;
}

static void guest_or(const struct guest_op *op)
{
	switch (op->size) {
	case 1:
		asm volatile("orb %b0, (%1)" : : "q"(op->val), "r"(op->addr) : "memory");
		break;
	case 2:
		asm volatile("orw %w0, (%1)" : : "r"(op->val), "r"(op->addr) : "memory");
		break;
	case 4:
		asm volatile("orl %k0, (%1)" : : "r"(op->val), "r"(op->addr) : "memory");
		break;
	case 8:
		asm volatile("orq %q0, (%1)" : : "r"(op->val), "r"(op->addr) : "memory");
		break;
	}
}

#define GUEST_STRING(insn) ({							\
	asm volatile("rep " insn : "+c"(count), "+S"(src), "+D"(dst)		\
				 : "d"(port) : "memory");			\
})

static void guest_string(const struct guest_op *op)
{
	uint64_t count = op->count, src = op->mem, dst = op->addr;
	uint16_t port = op->addr;

	if (op->down)
		asm volatile("std");

	switch (op->kind) {
	case OP_INS:
		dst = op->mem;
		if (op->size == 1)
			GUEST_STRING("insb");
		else if (op->size == 2)
			GUEST_STRING("insw");
		else
			GUEST_STRING("insl");
		break;
	case OP_OUTS:
		if (op->size == 1)
			GUEST_STRING("outsb");
		else if (op->size == 2)
			GUEST_STRING("outsw");
		else
			GUEST_STRING("outsl");
		break;
	case OP_MOVS:
		if (op->size == 1)
			GUEST_STRING("movsb");
		else if (op->size == 2)
			GUEST_STRING("movsw");
		else if (op->size == 4)
			GUEST_STRING("movsl");
		else
			GUEST_STRING("movsq");
		break;
	}

	asm volatile("cld");
	GUEST_ASSERT_EQ(count, 0);
}

void guest_arch_op(struct guest_op *op)
{
	uint32_t i, count = op->count ?: 1;

	switch (op->kind) {
	case OP_IN:
		for (i = 0; i < count; i++)
			guest_in(op);
		break;
	case OP_OUT:
		for (i = 0; i < count; i++)
			guest_out(op, op->val + i);
		break;
	case OP_INS:
	case OP_OUTS:
	case OP_MOVS:
		guest_string(op);
		break;
	case OP_LOAD16:
		asm volatile("movdqu (%0), %%xmm0; movdqu %%xmm0, (%1)"
			     : : "r"(op->addr), "r"(&op->val) : "xmm0", "memory");
		break;
	case OP_STORE16:
		asm volatile("movdqu (%1), %%xmm0; movdqu %%xmm0, (%0)"
			     : : "r"(op->addr), "r"(&op->val) : "xmm0", "memory");
		break;
	case OP_XCHG:
		guest_xchg(op);
		break;
	case OP_OR:
		guest_or(op);
		break;
	default:
		GUEST_FAIL("unknown op %u", op->kind);
	}
}

uint64_t in_result(uint32_t size, uint64_t val)
{
	switch (size) {
	case 1:
		return val | ~0xfful;
	case 2:
		return val | ~0xfffful;
	}
	return (uint32_t)val;
}

void __expect_io(struct kvm_vcpu *vcpu, uint16_t port, uint32_t size, bool is_write, uint64_t data,
		 int line)
{
	struct kvm_run *run = vcpu->run;
	uint64_t got = 0;

	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO,
		    "line %d: wanted KVM_EXIT_IO, got %u (%s)", line, run->exit_reason,
		    exit_reason_str(run->exit_reason));
	if (is_write)
		memcpy(&got, io_data(vcpu), min(run->io.size, (uint8_t)8));
	TEST_ASSERT(run->io.port == port && run->io.size == size && run->io.count == 1 &&
		    run->io.direction == (is_write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN) &&
		    got == (is_write ? data : 0),
		    "line %d: wanted %u bytes at port 0x%x out %u data 0x%lx, got %u at 0x%x out %u data 0x%lx count %u",
		    line, size, port, is_write, data, run->io.size, run->io.port,
		    run->io.direction, got, run->io.count);
}
