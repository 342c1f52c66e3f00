// SPDX-License-Identifier: GPL-2.0-only
/*
 * Posted writes that come again when a process has died over a batch of them: each is
 * carried out once, whatever its value. The channel is a model of the real one.
 */
#include <stdlib.h>
#include <string.h>
#include <kselftest_harness.h>
#include "../posted.h"

#define NR	1000

struct channel {
	struct ioregionfd_control control;
	uint32_t start;			/* the first index */
	uint32_t redelivered;		/* so many posted writes come again, if they do */
	uint32_t done;			/* in the state */
	unsigned int carried_out[NR];	/* how often */
};

/* How many have been retired */
static uint32_t position(const struct channel *c)
{
	return (c->control.posted_tail - (c->start << 1)) >> 1;
}

/* A process handles @nr of @batch posted writes, and dies unless that is all. */
static void serve(struct channel *c, struct posted *p, unsigned int batch, unsigned int nr,
		  bool die_before_end)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		struct ioregionfd_cmd cmd = { .cmd = IOREGIONFD_CMD_WRITE };

		if (position(c) + i < c->redelivered)
			cmd.flags |= IOREGIONFD_CMD_F_REDELIVERED;
		if (posted_begin(p, &cmd))
			continue;
		c->carried_out[position(c) + i]++;
		if (die_before_end && i == nr - 1)
			return;
		posted_end(p, &cmd);
	}
	if (nr == batch)
		c->control.posted_tail += batch << 1;
}

static struct posted new_process(struct channel *c)
{
	struct posted p = { .control = &c->control, .done = &c->done };

	return p;
}

/* From any index on: they count modulo 2^31. */
FIXTURE(batches) {
	struct channel c;
};

FIXTURE_VARIANT(batches) {
	uint32_t start;
};

FIXTURE_VARIANT_ADD(batches, from_0) { 0 };
FIXTURE_VARIANT_ADD(batches, from_end) { (1U << 31) - NR / 2 };

FIXTURE_SETUP(batches)
{
	memset(&self->c, 0, sizeof(self->c));
	self->c.start = variant->start;
	self->c.control.posted_tail = variant->start << 1;
}

FIXTURE_TEARDOWN(batches)
{
	(void)self;
}

TEST_F(batches, carried_out_once)
{
	struct channel *c = &self->c;
	struct posted p = new_process(c);
	unsigned int i, batch, nr;
	bool dies;

	srandom(1);
	while (position(c) < NR - 64) {
		batch = 1 + random() % 32;
		dies = random() % 2;
		nr = dies ? random() % batch : batch;
		serve(c, &p, batch, nr, false);
		if (dies) {
			p = new_process(c);
			c->redelivered = position(c) + 32;
		}
	}
	for (i = 0; i < position(c); i++)
		ASSERT_EQ(c->carried_out[i], 1);
}

/* There is one behind those that have come by; indexes begin anew at 0. */
TEST(more)
{
	static struct channel c = { .start = (1U << 31) - 3 };
	struct posted p = new_process(&c), socket = { .control = NULL, .done = &c.done };
	struct ioregionfd_cmd cmd = { .cmd = IOREGIONFD_CMD_WRITE };
	unsigned int i;

	c.control.posted_tail = (uint64_t)c.start << 1;
	c.control.posted_head = 2;
	for (i = 1; i <= 5; i++) {
		ASSERT_FALSE(posted_begin(&p, &cmd));
		posted_end(&p, &cmd);
		EXPECT_EQ(posted_more(&p, &cmd), i < 5);
	}
	c.control.posted_head = 3;
	EXPECT_TRUE(posted_more(&p, &cmd));
	EXPECT_FALSE(posted_more(&socket, &cmd));
	cmd.flags = IOREGIONFD_CMD_F_RESP;
	EXPECT_FALSE(posted_more(&p, &cmd));
}

/* What was carried out last may be so again: nothing has come after it. */
TEST(the_last_one_twice)
{
	static struct channel c;
	struct posted p = new_process(&c);
	unsigned int i;

	serve(&c, &p, 32, 5, true);
	c.redelivered = 32;
	p = new_process(&c);
	serve(&c, &p, 8, 8, false);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(c.carried_out[i], i == 4 ? 2 : 1);
}

/* The same again in later processes, which come less far */
TEST(many_deaths)
{
	static struct channel c;
	struct posted p = new_process(&c);
	unsigned int i;

	serve(&c, &p, 32, 20, false);
	c.redelivered = 32;
	p = new_process(&c);
	serve(&c, &p, 32, 7, false);
	p = new_process(&c);
	serve(&c, &p, 32, 25, false);
	p = new_process(&c);
	serve(&c, &p, 32, 32, false);
	for (i = 0; i < 32; i++)
		EXPECT_EQ(c.carried_out[i], 1);
}

/* A socket, and writes that wait for a response, are always carried out. */
TEST(not_posted)
{
	struct channel c = { .done = 0 };
	struct posted p = new_process(&c), socket = { .control = NULL, .done = &c.done };
	struct ioregionfd_cmd cmd = {
		.cmd = IOREGIONFD_CMD_WRITE,
		.flags = IOREGIONFD_CMD_F_RESP | IOREGIONFD_CMD_F_REDELIVERED,
	};

	c.done = 10;
	EXPECT_FALSE(posted_begin(&p, &cmd));
	cmd.flags = IOREGIONFD_CMD_F_REDELIVERED;
	EXPECT_FALSE(posted_begin(&socket, &cmd));
	posted_end(&socket, &cmd);
	EXPECT_EQ(c.done, 10);
}

TEST_HARNESS_MAIN
