/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much ACPI as a guest needs to find its CPUs, its interrupt controllers and its
 * virtio devices, and to power itself off.
 */
#ifndef ACPI_H
#define ACPI_H

#include <stdbool.h>
#include "vm.h"

/*
 * Write the tables into guest memory; returns the address of the RSDP. Of the virtio-mmio
 * devices, number n is at VIRTIO_MMIO_ADDR + n * VIRTIO_MMIO_STEP, and has GSI
 * VIRTIO_MMIO_GSI + n. @has_pci: there is a PCI bus, as pci.h has it.
 */
uint64_t acpi_write_tables(struct vm *vm, unsigned int nr_virtio, bool has_pci);

/* The power management registers, PM_PORTS bytes from PM1A_EVT_PORT. */
uint8_t acpi_pm_read(unsigned int offset);
/* Returns true if the guest has powered the machine off. */
bool acpi_pm_write(unsigned int offset, uint8_t value);

#endif /* ACPI_H */
