/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much ACPI as a guest needs to find its CPUs and interrupt controllers, and to
 * power itself off.
 */
#ifndef ACPI_H
#define ACPI_H

#include <stdbool.h>
#include "vm.h"

/* Write the tables into guest memory; returns the address of the RSDP. */
uint64_t acpi_write_tables(struct vm *vm);

/* The power management registers, PM_PORTS bytes from PM1A_EVT_PORT. */
uint8_t acpi_pm_read(unsigned int offset);
/* Returns true if the guest has powered the machine off. */
bool acpi_pm_write(unsigned int offset, uint8_t value);

#endif /* ACPI_H */
