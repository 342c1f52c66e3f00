/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stands in for KVM and for the VMM: owns guest memory, state and image, starts a device
 * process, and sends it what a vCPU's accesses would be. If the process dies, another one is
 * started and what had no response is redelivered.
 *
 * Every wait ends after WAIT_MS. Whatever goes wrong is said on stderr, and ends the test.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <sys/types.h>
#include "../device.h"

#define WAIT_MS		20000

/* Guest memory: two regions of this size, with nothing between them. */
#define REGION_SIZE	(8ULL << 20)
#define LOW_ADDR	0x100000ULL
#define HIGH_ADDR	0x100000000ULL

struct machine {
	const char *program;
	struct device_args args;
	struct device_state *state;
	uint8_t *memory;
	int state_fd, memory_fd, image_fd, irq_fd, socket;
	int log_fd;				/* stderr, unless changed before machine_spawn() */
	int more_irq_fds[DEVICE_MAX_MORE_IRQS];	/* args.nr_more_irqs of them */
	const unsigned int *bases;		/* where regions begin; the first is 0 */
	unsigned int nr_bases;
	pid_t pid;
	unsigned int deaths, max_deaths;	/* so many are no failure */
	unsigned int kill_again, nr_again;	/* kill_after of so many successors */
	int status;				/* of the last one that died, as of waitpid() */
	uint64_t next_addr;			/* machine_alloc() */
};

#define machine_fail(...)	machine_fail_at(__FILE__, __LINE__, __VA_ARGS__)
noreturn void machine_fail_at(const char *file, int line, const char *format, ...);

/* @program: in the directory of the test */
void machine_init(struct machine *m, const char *program, uint64_t image_size);
void machine_destroy(struct machine *m);
/* Before machine_spawn(): so many more interrupts */
void machine_add_irqs(struct machine *m, unsigned int nr);
void machine_spawn(struct machine *m);
/* Wait for the death of the process, and start no other. */
void machine_wait_death(struct machine *m);
/* SIGKILL, and another process. */
void machine_kill(struct machine *m);

uint64_t machine_access(struct machine *m, bool write, unsigned int offset, unsigned int size,
			uint64_t value, unsigned int flags);
/* Does the process die of this write? No other is started. */
bool machine_dies_of(struct machine *m, unsigned int offset, uint64_t value);
uint32_t machine_read(struct machine *m, unsigned int offset);
void machine_write(struct machine *m, unsigned int offset, uint32_t value);

/* Wait for any interrupt; a death is followed by a new process, and by another wait. */
void machine_wait_irq(struct machine *m);
/* Has there been one? 0: the first */
bool machine_irq_of(struct machine *m, unsigned int number);
bool machine_irq(struct machine *m);

/* Guest memory, which is 0 */
uint64_t machine_alloc(struct machine *m, uint64_t size, uint64_t align);
void *machine_host(struct machine *m, uint64_t addr);

#endif /* MACHINE_H */
