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
	default:
		guest_arch_op(op);
	}
}

void guest_script_main(uint64_t id)
{
	struct guest_script *script = &guest_scripts[id];
	uint32_t i;

	for (;;) {
		for (i = 0; i < READ_ONCE(script->nr_ops); i++)
			guest_run_op(&script->ops[i]);
		guest_done();
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

struct kvm_vm *ioregion_vm_create(uint32_t nr_vcpus, void *guest_code, struct kvm_vcpu **vcpus)
{
	struct kvm_vm *vm = vm_create_with_vcpus(nr_vcpus, guest_code, vcpus);
	uint32_t i;

	for (i = 0; i < nr_vcpus; i++)
		vcpu_args_set(vcpus[i], 1, i);
	virt_map(vm, MMIO_GPA, MMIO_GPA, MMIO_PAGES);
	return vm;
}
