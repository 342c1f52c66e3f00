/* SPDX-License-Identifier: GPL-2.0-only */
/* As WRITING.md shows it */
/*
 * An alarm clock. Its registers have 8 bytes each, and times are in nanoseconds of the
 * host's CLOCK_MONOTONIC.
 *
 * When the time in ALARM has come RANG becomes that time, and there is an interrupt. There
 * may also be one without an alarm, so the driver remembers which RANG it has dealt with.
 */
#ifndef EXAMPLE_DEVICE_H
#define EXAMPLE_DEVICE_H

#include <stdint.h>

#define EXAMPLE_TIME	0x00	/* what time it is; read-only */
#define EXAMPLE_ALARM	0x08	/* when to ring. What is not later than RANG never rings */
#define EXAMPLE_RANG	0x10	/* the alarm that rang last; read-only */

struct example_state {
	uint64_t alarm;
	uint64_t rang;		/* not in the future */
};

#endif /* EXAMPLE_DEVICE_H */
