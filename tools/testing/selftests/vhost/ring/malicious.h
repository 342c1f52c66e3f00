/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Drivers that break the rules. Each function returns NULL, or what is wrong.
 *
 * The alphabet: a descriptor of data is in one region of memory or two, of length 0, not mapped,
 * not mapped to its end, or beyond 2^32 or 2^64; or for reading only. Readable or writable, with
 * or without NEXT, and with flags that there are not. An indirect table is one of some good and
 * bad ones, in one region or two, of a length that is 0, odd, too large, or not mapped; with NEXT
 * or without, at the beginning of a chain or later. The next descriptor is the following one, the
 * same one again, or one that there is not. A packed one is available in this round, or has one of
 * the three other pairs of AVAIL and USED.
 */
#ifndef MALICIOUS_H
#define MALICIOUS_H

#include "explore.h"

/*
 * All chains of that alphabet, from each position, in rings of up to @max descriptors: fetched
 * if, and only if, the rules allow it; with room for a few segments only, with a dirty log, and
 * whether or not vhost remembers the last region. In the packed layout, also while others are
 * outstanding.
 */
const char *check_contents(struct exploration e, unsigned int max);

/*
 * The same, and each word changes right after it has been read: what vhost has returned is what
 * it would have been without the change. So nothing is read, checked, and read again.
 */
const char *check_reads(struct exploration e, unsigned int max);

/*
 * A driver that writes to the ring at any time, between calls of all kinds: vhost never has more
 * descriptors than the ring, and writes nowhere else.
 */
const char *check_histories(struct exploration e);

#endif /* MALICIOUS_H */
