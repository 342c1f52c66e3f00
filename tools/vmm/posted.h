/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tells which posted writes a former process has carried out.
 *
 * A task retires posted writes by the batch, so when it dies some of those that are
 * redelivered have been carried out, and the last ones have not. For registers where an
 * old value means something else than a new one, such as the tail of a ring, it has to be
 * known which. The channel has an index for each posted write: that of the oldest one that
 * has not been retired is in the mapping, and the rest of a batch follows it.
 *
 * A socket has no such thing, but there a region has no posted writes either if its
 * process is to be replaced: each write waits for a response, and no other one of its vCPU
 * has come after one that is redelivered.
 */
#ifndef POSTED_H
#define POSTED_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/ioregionfd.h>

struct posted {
	const struct ioregionfd_control *control;	/* NULL: a socket */
	uint32_t *done;			/* in the state; 0 when the channel is new */
	uint32_t base;			/* the batch that this process is in */
	unsigned int nr;		/* how many of it have come by */
	bool started;
};

/* @fd: the channel, or a socket. Exits with a message if it cannot be mapped. */
void posted_init(struct posted *posted, int fd, uint32_t *done);

/* For each posted write, before it is carried out: has it been, by a former process? */
bool posted_begin(struct posted *posted, const struct ioregionfd_cmd *cmd);

/* Afterwards. What a process has carried out when it dies before this is done again. */
void posted_end(struct posted *posted, const struct ioregionfd_cmd *cmd);

/* After that: is there another one already, which will come next? */
bool posted_more(const struct posted *posted, const struct ioregionfd_cmd *cmd);

#endif /* POSTED_H */
