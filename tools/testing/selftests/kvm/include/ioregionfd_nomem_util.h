/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For the tests that make allocations and copies fail, on a kernel with fault injection,
 * such as that of "make test-debug". Each operation is repeated while the first, second,
 * third... thing that it needs fails, until it needs no more. KVM and io_uring themselves
 * may run out of memory here too; how they handle that is theirs, but they must return an
 * error.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_NOMEM_UTIL_H
#define SELFTEST_KVM_IOREGIONFD_NOMEM_UTIL_H

#include "ioregionfd_util.h"

#define SYNC		MMIO_GPA
#define POSTED		(MMIO_GPA + 0x1000)
#define SYNC_DATA	USER_DATA(0)
#define POSTED_DATA	USER_DATA(0x1000)
#define PIO_DATA	USER_DATA(0x2000)

/**
 * struct faults - what is to fail
 * @name: of the operation, for messages
 * @many: the nth and several after it fail, else the nth alone
 * @nth: which of this thread's allocations and copies fails
 * @hit: the operation got as far as the nth
 * @failed: how many operations have failed so far
 */
struct faults {
	const char *name;
	bool many;
	unsigned int nth;
	bool hit;
	unsigned int failed;
};

/* For the whole program, which is skipped if this kernel cannot do it. */
void faults_setup(void);
void faults_cleanup(void);

/*
 * Makes copies fail besides allocations, or not, if the kernel can do that: they fail
 * if their caller is anywhere, or nowhere.
 */
bool set_copies(bool fail);

/* For the calling thread. */
void faults_open(void);

/* Whether to do the operation once more. */
bool faults_next(struct faults *f);
void faults_begin(struct faults *f);

/* Until this is over, only system calls that allocate nothing. */
void faults_end(struct faults *f);

/* Whether the operation failed; checks that an injected failure is the reason. */
#define faults_failed(f, r) __faults_failed(f, r, __LINE__)
bool __faults_failed(struct faults *f, int r, int line);
void faults_report(struct faults *f);

/* Checks that something could fail: else this would test nothing. */
void faults_expect(struct faults *f);

#endif /* SELFTEST_KVM_IOREGIONFD_NOMEM_UTIL_H */
