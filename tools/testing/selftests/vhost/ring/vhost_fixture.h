/* SPDX-License-Identifier: GPL-2.0-only */
/* The fixture of the programs that test vhost.c with each layout of a ring, in user space */
#ifndef VHOST_FIXTURE_H
#define VHOST_FIXTURE_H

#include "explore.h"
#include "kselftest_harness.h"

#define TIMEOUT 600

#define EXPECT_RIGHT(explored) do {				\
	const char *_wrong = explored;				\
								\
	EXPECT_EQ(NULL, _wrong) TH_LOG("%s", _wrong);		\
	TH_LOG("%lu states", states);				\
} while (0)

FIXTURE(vhost) {
	struct exploration e;
};

FIXTURE_VARIANT(vhost) {
	bool packed;
	bool in_order;
};

FIXTURE_VARIANT_ADD(vhost, split) { };
FIXTURE_VARIANT_ADD(vhost, split_in_order) { .in_order = true };
FIXTURE_VARIANT_ADD(vhost, packed) { .packed = true };
FIXTURE_VARIANT_ADD(vhost, packed_in_order) { .packed = true, .in_order = true };

FIXTURE_SETUP(vhost)
{
	self->e.packed = variant->packed;
	self->e.in_order = variant->in_order;
}

FIXTURE_TEARDOWN(vhost)
{
}

#endif /* VHOST_FIXTURE_H */
