/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kinds of virtqueue that the tests of a fixture are run with. Its variants must have
 * a struct ring_kind "kind"; RING_KINDS_OF is its name.
 *
 * In order, the device returns as many buffers as it may with a used element; a "single"
 * one does not. A "plain" one has neither indirect tables nor event indexes. An "odd" one
 * has a size that is not a power of two, as packed ones may.
 */
#include "task.h"

#ifndef RING_KIND
#define RING_KIND(fixture, name, ...) \
	FIXTURE_VARIANT_ADD(fixture, name) { .kind = { __VA_ARGS__ } }
#endif

RING_KIND(RING_KINDS_OF, split, .packed = false);
RING_KIND(RING_KINDS_OF, split_plain, .no_indirect = true, .no_event_idx = true);
RING_KIND(RING_KINDS_OF, split_in_order, .in_order = true);
RING_KIND(RING_KINDS_OF, split_in_order_single, .in_order = true, .max_batch = 1);
RING_KIND(RING_KINDS_OF, split_in_order_plain, .in_order = true, .no_indirect = true,
	  .no_event_idx = true, .max_batch = 7);
RING_KIND(RING_KINDS_OF, split_in_order_small, .in_order = true, .no_indirect = true,
	  .queue_size = 32);
RING_KIND(RING_KINDS_OF, packed, .packed = true);
RING_KIND(RING_KINDS_OF, packed_plain, .packed = true, .no_indirect = true,
	  .no_event_idx = true);
RING_KIND(RING_KINDS_OF, packed_in_order, .packed = true, .in_order = true);
RING_KIND(RING_KINDS_OF, packed_in_order_single, .packed = true, .in_order = true,
	  .max_batch = 1);
RING_KIND(RING_KINDS_OF, packed_in_order_plain, .packed = true, .in_order = true,
	  .no_indirect = true, .no_event_idx = true, .max_batch = 7);
RING_KIND(RING_KINDS_OF, packed_in_order_odd, .packed = true, .in_order = true,
	  .no_indirect = true, .queue_size = 37);
