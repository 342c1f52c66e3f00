// SPDX-License-Identifier: GPL-2.0-only
/*
 * Regions of each kind, and the exits that the VMM must get when an access to them fails.
 */
#include "ioregionfd_failure_util.h"

struct kvm_ioregionfd_exit exit_read(uint8_t reason, uint32_t error, uint8_t progress,
				     uint32_t size, uint64_t addr)
{
	return (struct kvm_ioregionfd_exit){
		.region_paddr = REGION,
		.region_size = REGION_SIZE,
		.user_data = MMIO_DATA,
		.guest_paddr = addr,
		.size = size,
		.reason = reason,
		.error = error,
		.progress = progress,
		.action = KVM_IOREGIONFD_UNDECIDED,
	};
}

struct kvm_ioregionfd_exit exit_write(uint8_t reason, uint32_t error, uint8_t progress,
				      uint32_t size, uint64_t addr, uint64_t data)
{
	struct kvm_ioregionfd_exit exit = exit_read(reason, error, progress, size, addr);

	exit.is_write = 1;
	exit.data = low_bytes(data, size);
	return exit;
}

struct kvm_ioregionfd_exit exit_posted(uint8_t reason, uint32_t error, uint8_t progress,
				       uint32_t size, uint64_t addr, uint64_t data)
{
	struct kvm_ioregionfd_exit exit = exit_write(reason, error, progress, size, addr, data);

	exit.region_paddr = POSTED;
	exit.region_size = POSTED_SIZE;
	exit.user_data = POSTED_DATA;
	return exit;
}

struct kvm_ioregionfd_exit exit_pio(struct kvm_ioregionfd_exit exit)
{
	exit.region_paddr = PORTS;
	exit.region_size = PORTS_SIZE;
	exit.user_data = PIO_DATA;
	exit.is_pio = !!OTHER_FLAGS;
	return exit;
}

void regions_add(struct kvm_vm *vm, struct channel *ch)
{
	region_add(vm, ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	region_add(vm, ch, POSTED, POSTED_SIZE, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	region_add(vm, ch, PORTS, PORTS_SIZE, PIO_DATA, OTHER_FLAGS);
}

void regions_del(struct kvm_vm *vm)
{
	region_del(vm, REGION, REGION_SIZE, 0);
	region_del(vm, POSTED, POSTED_SIZE, 0);
	region_del(vm, PORTS, PORTS_SIZE, OTHER_FLAGS);
}

struct channel channel_attach(struct kvm_vm *vm, enum transport transport)
{
	struct channel ch = channel_open_for(vm, transport);

	channel_shrink(&ch);
	regions_add(vm, &ch);
	channel_close_kvm(&ch);
	return ch;
}

void device_attach(struct kvm_vm *vm, struct device *dev)
{
	device_start(dev, TR_SEQPACKET);
	regions_add(vm, &dev->ch);
}
