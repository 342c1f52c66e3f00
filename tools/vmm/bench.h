/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BENCH_H
#define BENCH_H

#include "run.h"

/* The guest: 16-bit code, from here to there. */
extern const char bench_code[], bench_code_end[];

/* Instead of Linux: a guest that reads the UART's line status register. */
void bench_load(struct vm *vm);

/*
 * Let it do that @accesses times, and store in @ns how long that took. Returns
 * RUN_POWEROFF if it worked, or why it did not.
 */
enum run_end bench_run(struct vm *vm, const struct run_devices *devices,
		       struct run_counters *counters, uint32_t accesses,
		       uint64_t *ns);

#endif /* BENCH_H */
