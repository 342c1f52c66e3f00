// SPDX-License-Identifier: GPL-2.0-only
#include "posted.h"

#include <err.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "device_state.h"
#include "kill_point.h"

/* Indexes count modulo 2^31. Bit 31 of posted.done says that there is one. */
#define INDEX_MASK	(VALID - 1)
#define VALID		0x80000000u

void posted_init(struct posted *posted, int fd, uint32_t *done)
{
	struct ioregionfd_info info;
	void *mapping;

	posted->control = NULL;
	posted->done = done;
	posted->started = false;
	if (ioctl(fd, IOREGIONFD_GET_INFO, &info))
		return;
	mapping = mmap(NULL, info.size, PROT_READ, MAP_SHARED, fd, 0);
	if (mapping == MAP_FAILED)
		err(EXIT_FAILURE, "cannot map the channel");
	posted->control = mapping;
}

static bool is_posted(const struct posted *posted, const struct ioregionfd_cmd *cmd)
{
	return posted->control && !(cmd->flags & IOREGIONFD_CMD_F_RESP);
}

/* The index stays as it is while this thread has the batch. */
static void find_batch(struct posted *posted)
{
	uint64_t tail = __atomic_load_n(&posted->control->posted_tail, __ATOMIC_RELAXED);
	uint32_t base = ioregionfd_posted_index(tail);

	if (posted->started && posted->base == base)
		return;
	posted->started = true;
	posted->base = base;
	posted->nr = 0;
}

/* Is @a behind @b? They are no further apart than a ring is long. */
static bool behind(uint32_t a, uint32_t b)
{
	uint32_t distance = (b - a) & INDEX_MASK;

	return distance && distance < INDEX_MASK / 2;
}

bool posted_begin(struct posted *posted, const struct ioregionfd_cmd *cmd)
{
	uint32_t done = *posted->done;

	if (!is_posted(posted, cmd))
		return false;
	find_batch(posted);
	if (!(cmd->flags & IOREGIONFD_CMD_F_REDELIVERED) || !(done & VALID) ||
	    !behind(posted->base + posted->nr, done))
		return false;
	posted->nr++;
	return true;
}

void posted_end(struct posted *posted, const struct ioregionfd_cmd *cmd)
{
	if (!is_posted(posted, cmd))
		return;
	posted->nr++;
	state_store(posted->done, VALID | ((posted->base + posted->nr) & INDEX_MASK));
	kill_point();
}

bool posted_more(const struct posted *posted, const struct ioregionfd_cmd *cmd)
{
	/* Relaxed: whatever is added later comes later. */
	return is_posted(posted, cmd) &&
	       behind(posted->base + posted->nr,
		      __atomic_load_n(&posted->control->posted_head, __ATOMIC_RELAXED));
}
