// SPDX-License-Identifier: GPL-2.0-only
/*
 * What one access costs. The guest does nothing but accesses, and the VMM reads
 * the clock before the first and after the last. In a machine whose clock counts
 * instructions (qemu -icount shift=0), that is the cost in instructions.
 */
#include "bench.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CODE_ADDR	0x8000
#define COUNT_ADDR	0x9000
#define WARM_UP		100	/* caches, first faults, the page tables */

#define STR(x)		STR_(x)
#define STR_(x)		#x

/*
 * Each round begins with a mark. The VMM then reads the clock, and writes the
 * number of accesses for the round to COUNT_ADDR.
 */
asm("	.pushsection .rodata\n"
	"bench_code:\n"
	"	.code16\n"
	"	xor %eax, %eax\n"
	"	mov %ax, %ds\n"
	"1:	mov $" STR(BENCH_PORT) ", %dx\n"
	"	out %al, %dx\n"
	"	mov " STR(COUNT_ADDR) ", %ecx\n"
	"	mov $" STR(UART_PORT) " + 5, %dx\n"	/* LSR */
	"2:	in %dx, %al\n"
	"	dec %ecx\n"
	"	jnz 2b\n"
	"	jmp 1b\n"
	"	.code64\n"
	"bench_code_end:\n"
	"	.popsection\n");

void bench_load(struct vm *vm)
{
	size_t size = bench_code_end - bench_code;

	memcpy(vm_ram(vm, CODE_ADDR, size), bench_code, size);
	vm_set_real_mode(vm, CODE_ADDR);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

enum run_end bench_run(struct vm *vm, const struct run_devices *devices,
		       struct run_counters *counters, uint32_t accesses,
		       uint64_t *ns)
{
	const uint32_t turns[] = { WARM_UP, accesses };
	enum run_end end;
	uint64_t start = 0;
	size_t i;

	for (i = 0; i < 2; i++) {
		end = run_vm(vm, devices, counters);
		if (end != RUN_BENCH_MARK)
			return end;
		memcpy(vm_ram(vm, COUNT_ADDR, 4), &turns[i], 4);
		start = now_ns();
	}
	end = run_vm(vm, devices, counters);
	*ns = now_ns() - start;
	return end == RUN_BENCH_MARK ? RUN_POWEROFF : end;
}
