/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What vhost_get_vq_desc() has to return for the memory as it is, whether a driver could have
 * written that or not: the rules of the specification, and which error stands for what
 */
#ifndef ORACLE_H
#define ORACLE_H

#include "vq.h"

struct oracle {
	bool packed, in_order, iotlb;
	unsigned int num, iov_size;
	/* where vhost fetches next, and how many descriptors it has already (packed) */
	uint16_t pos;
	unsigned int outstanding;
	/* split: where the next buffer begins, if vhost knows that, and has no need to look */
	bool head_known;
	unsigned int head;
};

/* What there is of a buffer that is bad does not matter. */
struct expected {
	int ret;		/* 0, NO_BUFFER or an errno */
	/* vhost has to read a descriptor again: it was not available, or the chain is a loop */
	bool again;
	/* packed: the buffer is right, but more descriptors are available than there are */
	bool too_many;
	unsigned int out, in, descs, logs;
	uint16_t id;
	struct iovec iov[VQ_IOV];
	struct {
		uint64_t addr, len;
	} log[VQ_IOV];
};

#define NO_BUFFER 1

void oracle_get(const struct oracle *oracle, struct expected *expected);

#endif /* ORACLE_H */
