// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memslots, vCPUs and VMs that go while an access is pending.
 */
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "ioregionfd_harness.h"

#define FIRST		MMIO_GPA
#define SECOND		(MMIO_GPA + 0x1000)
#define SIZE		0x1000
#define FIRST_DATA	USER_DATA(0)
#define SECOND_DATA	USER_DATA(0x1000)

/*
 * Nothing else waits because a vCPU waits.
 */
FIXTURE(waiting)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
	struct guest_op *op;
};

FIXTURE_VARIANT(waiting)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(waiting, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(waiting, native) { TR_NATIVE };

/* vCPU 0 waits for a device task that does not respond. */
FIXTURE_SETUP(waiting)
{
	int i;

	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, variant->transport);
	region_add(self->vm, &self->ch, FIRST, SIZE, FIRST_DATA, 0);
	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);

	self->op = op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_wait_asleep(&self->threads[0]);
}

FIXTURE_TEARDOWN(waiting)
{
	TEST_ASSERT(!thread_returned(&self->threads[0]), "it did not wait for its response");
	dev_send(&self->ch, 0x55667788);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(self->op->val, 0x55667788);
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

TEST_F(waiting, memory_slots_change)
{
	uint64_t gpa = 0x100000000;

	vm_userspace_mem_region_add(self->vm, VM_MEM_SRC_ANONYMOUS, gpa, 1, 4, 0);
	vm_mem_region_set_flags(self->vm, 1, KVM_MEM_LOG_DIRTY_PAGES);
	vm_mem_region_move(self->vm, 1, gpa + 0x10000);
	vm_mem_region_delete(self->vm, 1);
}

/* The memslot takes precedence over the region, to which an access is pending. */
TEST_F(waiting, memory_slot_over_the_region)
{
	vm_userspace_mem_region_add(self->vm, VM_MEM_SRC_ANONYMOUS, FIRST, 1, 1, 0);
	vm_mem_region_delete(self->vm, 1);
}

TEST_F(waiting, other_regions_change)
{
	region_del(self->vm, SECOND, SIZE, 0);
	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, 0);
	region_add(self->vm, &self->ch, OTHER_BASE, 0x10, 0, OTHER_FLAGS);
}

TEST_F(waiting, ioeventfds_and_zones_change)
{
	struct kvm_ioeventfd args = { .addr = FIRST + 8, .len = 4, .fd = eventfd(0, 0) };

	vm_ioctl(self->vm, KVM_IOEVENTFD, &args);
	args.flags = KVM_IOEVENTFD_FLAG_DEASSIGN;
	vm_ioctl(self->vm, KVM_IOEVENTFD, &args);
	kvm_vm_register_coalesced_io(self->vm, FIRST + 16, 4, false);
	kvm_vm_unregister_coalesced_io(self->vm, FIRST + 16, 4, false);
}

TEST_F(waiting, other_vcpus_run)
{
	op_write(self->vcpus[1], 4, MMIO_GPA + 0x2000, 1);
	vcpu_run(self->vcpus[1]);
	expect_mmio(self->vcpus[1], MMIO_GPA + 0x2000, 4, true, 1);
	run_done(self->vcpus[1]);
}

TEST_F(waiting, vcpus_are_created)
{
	vm_vcpu_add(self->vm, 2, guest_script_main);
}

/*
 * VMs and vCPUs that go with a pending access.
 */
FIXTURE(closed)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
};

FIXTURE_VARIANT(closed)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(closed, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(closed, native) { TR_NATIVE };

FIXTURE_SETUP(closed)
{
	int i;

	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, variant->transport);
	channel_shrink(&self->ch);
	region_add(self->vm, &self->ch, FIRST, SIZE, FIRST_DATA, 0);
	region_add(self->vm, &self->ch, SECOND, SIZE, SECOND_DATA, KVM_IOREGION_POSTED_WRITES);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
}

FIXTURE_TEARDOWN(closed)
{
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

TEST_F(closed, with_a_command_not_completed)
{
	op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
}

TEST_F(closed, with_a_command_queued)
{
	op_read(self->vcpus[0], 4, FIRST);
	op_read(self->vcpus[1], 4, FIRST + 4);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_start(&self->threads[1]);
	thread_interrupt(&self->threads[1]);
	thread_interrupt(&self->threads[0]);
}

TEST_F(closed, with_the_channel_full)
{
	struct guest_op op = { OP_WRITE, 4, SECOND };

	op.count = 1000;
	op_add(self->vcpus[0], op);
	thread_start(&self->threads[0]);
	thread_interrupt(&self->threads[0]);
}

TEST_F(closed, with_the_region_gone)
{
	op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	thread_interrupt(&self->threads[0]);
	region_del(self->vm, FIRST, SIZE, 0);
	region_del(self->vm, SECOND, SIZE, 0);
}

TEST_F(closed, with_a_failure_unresolved)
{
	op_read(self->vcpus[0], 4, FIRST);
	thread_start(&self->threads[0]);
	dev_recv(&self->ch);
	region_del(self->vm, FIRST, SIZE, 0);
	thread_join_exit(&self->threads[0]);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);
}

/*
 * The VMM's process ends, in one way or another.
 */
FIXTURE(killed)
{
	struct channel ch;
	pid_t pid;
};

FIXTURE_SETUP(killed)
{
	self->ch = channel_open(TR_SEQPACKET);
	channel_shrink(&self->ch);
}

FIXTURE_TEARDOWN(killed)
{
	int status;

	TEST_ASSERT(!kill(self->pid, SIGKILL), "the VMM's process has ended by itself");
	expect_released(&self->ch);
	TEST_ASSERT_EQ(waitpid(self->pid, &status, 0), self->pid);
	TEST_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		    "the VMM's process ended with status 0x%x", status);
}

/* A VMM in a process of its own: @add makes each vCPU's script. */
static pid_t vmm_start(struct channel *ch, uint32_t nr_vcpus, void (*add)(struct kvm_vcpu *vcpu))
{
	struct vcpu_thread threads[MAX_VCPUS] = { 0 };
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct kvm_vm *vm;
	pid_t pid = fork();
	int i;

	TEST_ASSERT(pid >= 0, "fork() failed");
	if (pid) {
		channel_close_kvm(ch);
		return pid;
	}

	channel_close_dev(ch);
	vm = ioregion_vm_create(nr_vcpus, guest_script_main, vcpus);
	region_add(vm, ch, FIRST, SIZE, FIRST_DATA, 0);
	region_add(vm, ch, SECOND, SIZE, SECOND_DATA, KVM_IOREGION_POSTED_WRITES);
	for (i = 0; i < nr_vcpus; i++) {
		add(vcpus[i]);
		vcpu_thread_init(&threads[i], vcpus[i]);
	}
	for (i = 0; i < nr_vcpus; i++)
		thread_start_until_exit(&threads[i]);
	for (;;)
		pause();
}

static void add_read(struct kvm_vcpu *vcpu)
{
	op_read(vcpu, 4, FIRST + 4 * vcpu->id);
}

static void add_many_writes(struct kvm_vcpu *vcpu)
{
	struct guest_op op = { OP_WRITE, 4, SECOND };

	op.count = 1u << 30;
	op_add(vcpu, op);
}

TEST_F(killed, with_a_command_not_completed)
{
	self->pid = vmm_start(&self->ch, 1, add_read);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, FIRST_DATA, 0));
}

TEST_F(killed, with_commands_queued)
{
	self->pid = vmm_start(&self->ch, 4, add_read);
	dev_recv(&self->ch);
	/* The other vCPUs may get as far or not: both must end. */
	usleep(100000);
}

TEST_F(killed, with_the_channel_full)
{
	self->pid = vmm_start(&self->ch, 2, add_many_writes);
	dev_recv(&self->ch);
	usleep(100000);
}

TEST_F(killed, with_writes_under_way)
{
	int i;

	self->pid = vmm_start(&self->ch, 2, add_many_writes);
	for (i = 0; i < 1000; i++)
		dev_recv(&self->ch);
}

TEST(module_reference)
{
	int before = module_refs(), i;
	struct vcpu_thread thread = { 0 };
	struct channel ch;
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	if (before < 0)
		SKIP(return, "KVM is not a module");

	vm = ioregion_vm_create(1, guest_script_main, &vcpu);
	TEST_ASSERT(module_refs() > before, "a VM must hold its module");
	ch = channel_open(TR_SEQPACKET);
	region_add(vm, &ch, FIRST, SIZE, FIRST_DATA, 0);
	vcpu_thread_init(&thread, vcpu);
	op_read(vcpu, 4, FIRST);
	thread_start(&thread);
	dev_recv(&ch);
	thread_interrupt(&thread);
	kvm_vm_free(vm);

	for (i = 0; module_refs() > before && i < HANG_SECONDS * 100; i++)
		usleep(10000);
	TEST_ASSERT_EQ(module_refs(), before);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
