// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest that executes a script of accesses and keeps what it read.
 */
#include "ioregionfd_util.h"

struct guest_script guest_scripts[MAX_VCPUS];

static void guest_read(struct guest_op *op)
{
	switch (op->size) {
	case 1:
		op->val = READ_ONCE(*(uint8_t *)op->addr);
		break;
	case 2:
		op->val = READ_ONCE(*(uint16_t *)op->addr);
		break;
	case 4:
		op->val = READ_ONCE(*(uint32_t *)op->addr);
		break;
	case 8:
		op->val = READ_ONCE(*(uint64_t *)op->addr);
		break;
	}
}

static void guest_write(const struct guest_op *op, uint64_t val)
{
	switch (op->size) {
	case 1:
		WRITE_ONCE(*(uint8_t *)op->addr, val);
		break;
	case 2:
		WRITE_ONCE(*(uint16_t *)op->addr, val);
		break;
	case 4:
		WRITE_ONCE(*(uint32_t *)op->addr, val);
		break;
	case 8:
		WRITE_ONCE(*(uint64_t *)op->addr, val);
		break;
	}
}

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

static void guest_run_op(struct guest_op *op)
{
	uint32_t i, count = op->count ?: 1;

	switch (op->kind) {
	case OP_READ:
		for (i = 0; i < count; i++)
			guest_read(op);
		break;
	case OP_WRITE:
		for (i = 0; i < count; i++)
			guest_write(op, op->val + i);
		break;
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

void guest_script_main(uint64_t id)
{
	struct guest_script *script = &guest_scripts[id];
	uint32_t i;

	for (;;) {
		for (i = 0; i < READ_ONCE(script->nr_ops); i++)
			guest_run_op(&script->ops[i]);
		outl(DONE_PORT, 0);
	}
}

struct guest_script *vcpu_script(struct kvm_vcpu *vcpu)
{
	return addr_gva2hva(vcpu->vm, (uintptr_t)&guest_scripts[vcpu->id]);
}

uint64_t vcpu_buf_gva(struct kvm_vcpu *vcpu)
{
	return (uint64_t)guest_scripts[vcpu->id].buf;
}

struct guest_op *op_add(struct kvm_vcpu *vcpu, struct guest_op op)
{
	struct guest_script *script = vcpu_script(vcpu);

	TEST_ASSERT(script->nr_ops < SCRIPT_MAX_OPS, "script too long");
	script->ops[script->nr_ops] = op;
	return &script->ops[script->nr_ops++];
}

uint64_t pattern(uint64_t seed)
{
	return 0x8796a5b4c3d2e1f0ul + seed * 0x0101010101010101ul;
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

struct kvm_vm *ioregion_vm_create(uint32_t nr_vcpus, void *guest_code, struct kvm_vcpu **vcpus)
{
	struct kvm_vm *vm = vm_create_with_vcpus(nr_vcpus, guest_code, vcpus);
	uint32_t i;

	for (i = 0; i < nr_vcpus; i++)
		vcpu_args_set(vcpus[i], 1, i);
	virt_map(vm, MMIO_GPA, MMIO_GPA, MMIO_PAGES);
	return vm;
}
