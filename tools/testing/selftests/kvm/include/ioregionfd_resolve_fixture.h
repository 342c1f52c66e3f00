/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fixture of the tests in which the VMM acts on a failure: a vCPU, and a channel whose
 * device task dies.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_RESOLVE_FIXTURE_H
#define SELFTEST_KVM_IOREGIONFD_RESOLVE_FIXTURE_H

#include "ioregionfd_failure_util.h"
#include "ioregionfd_harness.h"

FIXTURE(vmm)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct device dev;
};

FIXTURE_VARIANT(vmm)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(vmm, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(vmm, native) { TR_NATIVE };

FIXTURE_SETUP(vmm)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	vcpu_thread_init(&self->thread, self->vcpu);
	self->ch = channel_attach(self->vm, variant->transport);
}

FIXTURE_TEARDOWN(vmm)
{
	kvm_vm_free(self->vm);
	if (self->dev.log)
		expect_device_released(&self->dev);
}

/* The device task reads the guest's next command and dies. */
#define dies_with(...) __dies_with(__VA_ARGS__, __LINE__)
static inline void __dies_with(struct vcpu_thread *thread, struct channel *ch,
			       struct ioregionfd_cmd want, struct kvm_ioregionfd_exit exit,
			       int line)
{
	thread_start(thread);
	__expect_cmd(__dev_recv(ch, line), want, line);
	channel_close_dev(ch);
	__thread_join_exit(thread, line);
	__expect_failure(thread->vcpu, exit, line);
}

#endif /* SELFTEST_KVM_IOREGIONFD_RESOLVE_FIXTURE_H */
