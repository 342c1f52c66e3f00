// SPDX-License-Identifier: LGPL-2.1-only OR BSD-3-Clause
/*
 * A device: a register that counts how often it has been read. The VMM starts this with
 * the channel as its stdin, and has added a region with user_data 0.
 */
#include <ioregionfd.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

static struct ioregionfd_task *task;

static uint64_t counter_read(void *opaque, uint64_t offset, unsigned int size)
{
	uint64_t *count = opaque;

	(void)offset;
	(void)size;
	return (*count)++;
}

static void counter_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	uint64_t *count = opaque;

	(void)offset;
	(void)size;
	*count = value;
}

static void stop(int signal)
{
	(void)signal;
	ioregionfd_stop(task);
}

int main(void)
{
	static const struct ioregionfd_ops ops = {
		.read = counter_read,
		.write = counter_write,
	};
	uint64_t count = 0;
	int ret;

	ret = ioregionfd_open(&task, 0, 0, 0);
	if (!ret) {
		signal(SIGTERM, stop);
		ret = ioregionfd_register(task, 0, &ops, &count);
		if (!ret)
			ret = ioregionfd_run(task, IOREGIONFD_ADAPTIVE, IOREGIONFD_ANY);
		ioregionfd_close(task);
	}
	if (ret)
		fprintf(stderr, "example: %s\n", strerror(-ret));
	return ret ? 1 : 0;
}
