/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The harness of an ioregionfd test. It defines what each program may have only once, so
 * the library does without it.
 */
#ifndef SELFTEST_KVM_IOREGIONFD_HARNESS_H
#define SELFTEST_KVM_IOREGIONFD_HARNESS_H

#include "kvm_test_harness.h"

#include "ioregionfd_util.h"

/* Runs all tests, each with more time where everything is slow. */
static inline int ioregion_test_main(int argc, char **argv)
{
	struct __fixture_metadata *fixture;
	struct __test_metadata *test;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_IOREGIONFD));
	for (fixture = __fixture_list; fixture; fixture = fixture->next)
		for (test = fixture->tests; test; test = test->next)
			test->timeout *= slowness();
	return test_harness_run(argc, argv);
}

#endif /* SELFTEST_KVM_IOREGIONFD_HARNESS_H */
