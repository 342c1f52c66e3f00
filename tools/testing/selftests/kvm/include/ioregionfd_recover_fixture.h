/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fixture of the tests of IOREGIONFD_RECOVER: one vCPU, and a native channel.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_RECOVER_FIXTURE_H
#define SELFTEST_KVM_IOREGIONFD_RECOVER_FIXTURE_H

#include "ioregionfd_harness.h"
#include "ioregionfd_trust_util.h"

#define SYNC		MMIO_GPA
#define SYNC_DATA	USER_DATA(0)

FIXTURE(recover)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct mapping map;
	int fd;
};

FIXTURE_SETUP(recover)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->fd = self->ch.dev_rd;
	self->map = mapping_open(self->fd);
	region_add(self->vm, &self->ch, SYNC, 0x4000, SYNC_DATA, 0);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(recover)
{
	set_spin_ns(SPIN_DEFAULT);
	kvm_vm_free(self->vm);
	mapping_close(&self->map);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

#endif /* SELFTEST_KVM_IOREGIONFD_RECOVER_FIXTURE_H */
