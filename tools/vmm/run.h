/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs the vCPUs: KVM_RUN, and what to do for each reason for which it returns.
 */
#ifndef RUN_H
#define RUN_H

#include <stdbool.h>
#include "uart.h"
#include "vm.h"
#include "vmm_device.h"
#include "vmm_pci.h"

/* All that is not in kvm.ko */
struct run_devices {
	struct uart *uart;
	struct vmm_device *devs;
	unsigned int nr_devs;
	struct vmm_pci *pci;		/* NULL: there is none */
};

enum run_end {
	RUN_POWEROFF,		/* the guest powered itself off */
	RUN_RESET,		/* it asked for a reset, or crashed */
	RUN_BENCH_MARK,		/* it wrote to BENCH_PORT, and can go on */
	RUN_STOPPED,		/* SIGINT or SIGTERM */
	RUN_FAILED,		/* something failed, as stderr says */
};

/* How often KVM_RUN returned, by kind. The UART's are in struct uart. */
struct run_counters {
	uint64_t device_exits;	/* for device processes */
	uint64_t other_pio;
	uint64_t other_mmio;
};

/* From now on SIGINT and SIGTERM end run_vm() instead of the process. */
void run_catch_signals(struct vm *vm);

/* Is run_vm() about to end? What waits in a vCPU's thread is interrupted by a signal then. */
bool run_stop_requested(void);

/* Run all vCPUs, each in a thread, until one of them ends the VM. */
enum run_end run_vm(struct vm *vm, const struct run_devices *devices,
		    struct run_counters *counters);

#endif /* RUN_H */
