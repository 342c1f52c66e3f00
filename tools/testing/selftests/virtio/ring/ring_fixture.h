/* SPDX-License-Identifier: GPL-2.0-only */
/* The fixture of the programs that test something in all states, with each layout of a ring */
#ifndef RING_FIXTURE_H
#define RING_FIXTURE_H

#include "enumerate.h"
#include "kselftest_harness.h"

#define TIMEOUT 600

#define EXPECT_RIGHT(explored) do {				\
	const char *_wrong = explored;				\
								\
	EXPECT_EQ(NULL, _wrong) TH_LOG("%s", _wrong);		\
	TH_LOG("%lu states", states);				\
} while (0)

FIXTURE(ring) {
	struct layout layout;
};

FIXTURE_VARIANT(ring) {
	bool packed;
	bool in_order;
};

FIXTURE_VARIANT_ADD(ring, split) { };
FIXTURE_VARIANT_ADD(ring, split_in_order) { .in_order = true };
FIXTURE_VARIANT_ADD(ring, packed) { .packed = true };
FIXTURE_VARIANT_ADD(ring, packed_in_order) { .packed = true, .in_order = true };

FIXTURE_SETUP(ring)
{
	self->layout.packed = variant->packed;
	self->layout.in_order = variant->in_order;
	if (!layout_accepted(&self->layout))
		SKIP(return, "virtio_ring.c does not accept the feature");
}

FIXTURE_TEARDOWN(ring)
{
}

#endif /* RING_FIXTURE_H */
