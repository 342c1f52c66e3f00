/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For the tests of failed accesses: regions of each kind, and the exits that the VMM must
 * get when an access to one of them fails.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_FAILURE_UTIL_H
#define SELFTEST_KVM_IOREGIONFD_FAILURE_UTIL_H

#include "ioregionfd_util.h"

/* The region crosses a page boundary. */
#define REGION		(MMIO_GPA + 0xf00)
#define REGION_SIZE	0x200
#define POSTED		(MMIO_GPA + 0x2000)
#define POSTED_SIZE	0x1000
#define PORTS		(OTHER_BASE + 0x40)
#define PORTS_SIZE	0x10

#define MMIO_DATA	USER_DATA(0x100)
#define POSTED_DATA	USER_DATA(0x1000)
#define PIO_DATA	USER_DATA(0x2000)

#define DATA		0xf1e2d3c4b5a69788ul

#define HANGUP		KVM_IOREGIONFD_FAIL_HANGUP
#define IO		KVM_IOREGIONFD_FAIL_IO
#define PROTOCOL	KVM_IOREGIONFD_FAIL_PROTOCOL
#define DEASSIGNED	KVM_IOREGIONFD_FAIL_DEASSIGNED
#define NONE		KVM_IOREGIONFD_SENT_NONE
#define ALL		KVM_IOREGIONFD_SENT_ALL

/* The exit that the VMM must get for a read of memory. */
struct kvm_ioregionfd_exit exit_read(uint8_t reason, uint32_t error, uint8_t progress,
				     uint32_t size, uint64_t addr);
struct kvm_ioregionfd_exit exit_write(uint8_t reason, uint32_t error, uint8_t progress,
				      uint32_t size, uint64_t addr, uint64_t data);
struct kvm_ioregionfd_exit exit_posted(uint8_t reason, uint32_t error, uint8_t progress,
				       uint32_t size, uint64_t addr, uint64_t data);
struct kvm_ioregionfd_exit exit_pio(struct kvm_ioregionfd_exit exit);
void regions_add(struct kvm_vm *vm, struct channel *ch);
void regions_del(struct kvm_vm *vm);

/* A channel whose device task is the test, and of which only KVM holds the VMM's end. */
struct channel channel_attach(struct kvm_vm *vm, enum transport transport);
void device_attach(struct kvm_vm *vm, struct device *dev);

#endif /* SELFTEST_KVM_IOREGIONFD_FAILURE_UTIL_H */
