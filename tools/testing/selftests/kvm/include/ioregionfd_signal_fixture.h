/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fixture of the tests in which KVM_RUN is interrupted: two vCPUs, and a channel whose
 * device task is the test.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_SIGNAL_FIXTURE_H
#define SELFTEST_KVM_IOREGIONFD_SIGNAL_FIXTURE_H

#include "ioregionfd_harness.h"

#define SYNC		MMIO_GPA
#define POSTED		(MMIO_GPA + 0x2000)
#define SYNC_DATA	USER_DATA(1)
#define POSTED_DATA	USER_DATA(2)
#define OTHER_DATA	USER_DATA(3)

FIXTURE(interrupt)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
};

FIXTURE_VARIANT(interrupt)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(interrupt, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(interrupt, native) { TR_NATIVE };

/* Two vCPUs with their threads, and one channel whose device task is the test. */
static inline void vm_setup(struct kvm_vm **vm, struct kvm_vcpu **vcpus,
			    struct vcpu_thread *threads, struct channel *ch,
			    enum transport transport)
{
	int i;

	*vm = ioregion_vm_create(2, guest_script_main, vcpus);
	*ch = channel_open_for(*vm, transport);
	channel_shrink(ch);
	region_add(*vm, ch, SYNC, 0x2000, SYNC_DATA, 0);
	region_add(*vm, ch, POSTED, 0x1000, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	region_add(*vm, ch, OTHER_BASE, 0x100, OTHER_DATA, OTHER_FLAGS);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&threads[i], vcpus[i]);
}

static inline void vm_teardown(struct kvm_vm *vm, struct channel *ch)
{
	TEST_ASSERT(!dev_has_cmd(ch), "a command without an access");
	kvm_vm_free(vm);
	channel_close_kvm(ch);
	expect_released(ch);
}

FIXTURE_SETUP(interrupt)
{
	vm_setup(&self->vm, self->vcpus, self->threads, &self->ch, variant->transport);
}

FIXTURE_TEARDOWN(interrupt)
{
	vm_teardown(self->vm, &self->ch);
}

/* Interrupts the wait for the response twice, and lets it go on. */
static inline void interrupt_twice(struct vcpu_thread *thread, struct channel *ch)
{
	thread_interrupt(thread);
	TEST_ASSERT(!dev_has_cmd(ch), "sent twice");
	thread_start(thread);
	thread_interrupt(thread);
	thread_start(thread);
	thread_wait_asleep(thread);
	TEST_ASSERT(!dev_has_cmd(ch), "sent twice");
}

#endif /* SELFTEST_KVM_IOREGIONFD_SIGNAL_FIXTURE_H */
