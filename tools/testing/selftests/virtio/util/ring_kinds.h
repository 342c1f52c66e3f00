/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Variants of a fixture, one for each kind of virtqueue that its tests are to run with: all four
 * layouts, and each with what else can be negotiated. The variant must have a struct ring_kind
 * "kind", the test's own. RING_KINDS_OF is the name of the fixture.
 */
#ifndef RING_KIND
#define RING_KIND(fixture, name, ...) \
	FIXTURE_VARIANT_ADD(fixture, name) { .kind = { __VA_ARGS__ } }
#endif

RING_KIND(RING_KINDS_OF, split, .packed = false);
RING_KIND(RING_KINDS_OF, split_in_order, .in_order = true);
RING_KIND(RING_KINDS_OF, packed, .packed = true);
RING_KIND(RING_KINDS_OF, packed_in_order, .packed = true, .in_order = true);

/*
 * These have indirect tables and event indices, unless they are "plain". In order, the device
 * returns as many buffers with a used element as possible, except for "single". "odd" has a size
 * that is not a power of two, which is allowed for packed rings.
 */
RING_KIND(RING_KINDS_OF, split_plain, .no_indirect = true, .no_event_idx = true);
RING_KIND(RING_KINDS_OF, split_in_order_single, .in_order = true, .max_batch = 1);
RING_KIND(RING_KINDS_OF, split_in_order_plain, .in_order = true, .no_indirect = true,
	  .no_event_idx = true, .max_batch = 7);
RING_KIND(RING_KINDS_OF, split_in_order_small, .in_order = true, .no_indirect = true,
	  .queue_size = 32);
RING_KIND(RING_KINDS_OF, packed_plain, .packed = true, .no_indirect = true,
	  .no_event_idx = true);
RING_KIND(RING_KINDS_OF, packed_in_order_single, .packed = true, .in_order = true,
	  .max_batch = 1);
RING_KIND(RING_KINDS_OF, packed_in_order_plain, .packed = true, .in_order = true,
	  .no_indirect = true, .no_event_idx = true, .max_batch = 7);
RING_KIND(RING_KINDS_OF, packed_in_order_odd, .packed = true, .in_order = true,
	  .no_indirect = true, .queue_size = 37);
