/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * With SANITIZE=1 a device process is built with AddressSanitizer and
 * UndefinedBehaviorSanitizer. Confined, they still say on stderr what they have found, and
 * end the process with SANITIZE_STATUS.
 */
#ifndef SANITIZE_H
#define SANITIZE_H

#define SANITIZE_STATUS	99

/* Before files cannot be opened any more: read what a report will need. */
void sanitize_prepare(void);

/* System calls of a report; it can do without those that fail. */
extern const int sanitize_allowed[], sanitize_refused[];
extern const unsigned int sanitize_nr_allowed, sanitize_nr_refused;

#endif /* SANITIZE_H */
