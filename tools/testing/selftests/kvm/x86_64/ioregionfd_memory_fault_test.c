// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_EXIT_MEMORY_FAULT comes with EFAULT. A VM with regions gets it like any other.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_util.h"

#define MEMORY_GPA	0x100000000ul
#define MEMORY_SLOT	10

static void guest_main(void)
{
	READ_ONCE(*(uint64_t *)MEMORY_GPA);
}

TEST(private_page)
{
	const struct vm_shape shape = { .mode = VM_MODE_DEFAULT, .type = KVM_X86_SW_PROTECTED_VM };
	struct kvm_vcpu *vcpu;
	struct channel ch;
	struct kvm_vm *vm;

	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM)))
		SKIP(return, "no KVM_X86_SW_PROTECTED_VM: the kernel has not that option");
	vm = vm_create_shape_with_one_vcpu(shape, &vcpu, guest_main);
	ch = channel_open_for(vm, TR_NATIVE);
	region_add(vm, &ch, MMIO_GPA, 0x1000, USER_DATA(0), 0);
	/* private, in a slot that has no private memory */
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, MEMORY_GPA, MEMORY_SLOT, 1, 0);
	virt_map(vm, MEMORY_GPA, MEMORY_GPA, 1);
	vm_mem_set_private(vm, MEMORY_GPA, vm->page_size);

	TEST_ASSERT(_vcpu_run(vcpu) && errno == EFAULT, "errno %d", errno);
	TEST_ASSERT_EQ(vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
	TEST_ASSERT_EQ(vcpu->run->memory_fault.flags, KVM_MEMORY_EXIT_FLAG_PRIVATE);
	TEST_ASSERT_EQ(vcpu->run->memory_fault.gpa, MEMORY_GPA);
	kvm_vm_free(vm);
	channel_close_kvm(&ch);
	expect_released(&ch);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
