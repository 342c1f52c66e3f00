/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BOOT_H
#define BOOT_H

#include "vm.h"

/*
 * Put a bzImage and an initrd (or NULL) into the guest's memory and its vCPU
 * at the kernel's entry, as the x86 boot protocol describes. @rsdp_addr is
 * where the ACPI tables are. Exits with a message if something does not fit.
 */
void boot_linux(struct vm *vm, const char *kernel, const char *initrd,
		const char *cmdline, uint64_t rsdp_addr);

#endif /* BOOT_H */
