/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the harnesses share: an input that is read byte by byte and says what a guest does,
 * guest memory, and an io_uring that does nothing by itself. There is no process, no KVM and
 * no thread: the device's code is called as its process would call it.
 *
 * An input is a list of steps, each with a byte for what it is and the values that it takes;
 * when these are used up they are 0. So almost every input means something.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <linux/ioregionfd.h>
#include "../guest_memory.h"

#define FUZZ_PAGE	0x1000
#define FUZZ_REGION	(16 * FUZZ_PAGE)	/* of each of the two */
#define FUZZ_LOW	0x10000ULL
#define FUZZ_HIGH	0x100000000ULL
#define FUZZ_IMAGE	0x10000			/* bytes of the disk */

struct fuzz_input {
	const uint8_t *data;
	size_t left;
};

uint8_t fuzz_8(struct fuzz_input *in);
uint16_t fuzz_16(struct fuzz_input *in);
uint32_t fuzz_32(struct fuzz_input *in);
uint64_t fuzz_64(struct fuzz_input *in);
/* A guest address: at a round place, near an end, or any */
uint64_t fuzz_addr(struct fuzz_input *in);

/* What a harness is to libFuzzer: with names that it knows */
int fuzz_start(int *argc, char ***argv) __asm__("LLVMFuzzerInitialize");
int fuzz_one_input(const uint8_t *data, size_t size) __asm__("LLVMFuzzerTestOneInput");

/* The device does what it must not do. */
#define fuzz_check(condition) \
	do { \
		if (!(condition)) \
			fuzz_failed(__FILE__, __LINE__, #condition); \
	} while (0)
noreturn void fuzz_failed(const char *file, int line, const char *condition);

/* The memory and the descriptors of a device process with @nr_irqs interrupts; once */
void fuzz_init(unsigned int nr_irqs);
/* All of guest memory is 0, and so is the image. */
void fuzz_begin(void);
const struct guest_memory *fuzz_memory(void);
/* At @addr, which is in guest memory */
void *fuzz_host(uint64_t addr);
/* Write some bytes of the input to guest memory. */
void fuzz_write_memory(struct fuzz_input *in);
/* What a process may leave behind that the guest controls: bytes in @size at @state */
void fuzz_write_state(struct fuzz_input *in, void *state, size_t size);
/* An access to a region at @base, with width, direction and value from the input */
struct ioregionfd_cmd fuzz_access(struct fuzz_input *in, uint64_t offset);
struct ioregionfd_cmd fuzz_command(bool write, uint64_t offset, unsigned int size, uint64_t value);

/* fake_ring.c, which stands in for ring.c */

extern uint8_t fuzz_image[FUZZ_IMAGE];

/* From now on, operations stay under way until fake_ring_release(). */
void fake_ring_hold(void);
void fake_ring_release(void);
/* The next operation that completes has this result: an error, or no more bytes. */
#define FAKE_RING_ANY	INT32_MAX
void fake_ring_result(int res);
/* The process dies: nothing is under way. */
void fake_ring_clear(void);
/* Is anything under way that has been submitted, so that there will be a completion? */
bool fake_ring_busy(void);

#endif /* FUZZ_H */
