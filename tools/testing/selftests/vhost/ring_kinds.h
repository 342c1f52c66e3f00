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

/* These have indirect tables and event indices only if they say so. */
RING_KIND(RING_KINDS_OF, split_event_idx, .event_idx = true);
RING_KIND(RING_KINDS_OF, split_in_order_event_idx, .in_order = true, .event_idx = true);
RING_KIND(RING_KINDS_OF, packed_event_idx, .packed = true, .event_idx = true);
RING_KIND(RING_KINDS_OF, packed_in_order_event_idx, .packed = true, .in_order = true,
	  .event_idx = true);
#ifndef RING_KINDS_DIRECT
RING_KIND(RING_KINDS_OF, split_indirect, .indirect = true);
RING_KIND(RING_KINDS_OF, split_in_order_indirect, .in_order = true, .indirect = true);
RING_KIND(RING_KINDS_OF, packed_indirect, .packed = true, .indirect = true);
RING_KIND(RING_KINDS_OF, packed_in_order_indirect, .packed = true, .in_order = true,
	  .indirect = true);
RING_KIND(RING_KINDS_OF, split_indirect_event_idx, .indirect = true, .event_idx = true);
RING_KIND(RING_KINDS_OF, split_in_order_indirect_event_idx, .in_order = true,
	  .indirect = true, .event_idx = true);
RING_KIND(RING_KINDS_OF, packed_indirect_event_idx, .packed = true,
	  .indirect = true, .event_idx = true);
RING_KIND(RING_KINDS_OF, packed_in_order_indirect_event_idx, .packed = true, .in_order = true,
	  .indirect = true, .event_idx = true);
#endif
