// SPDX-License-Identifier: GPL-2.0-only
/*
 * The alarm clock that WRITING.md explains: its registers, and that no alarm is lost and
 * none rings twice, whenever its process dies.
 */
#include <kselftest_harness.h>
#include <linux/ioregionfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "../example_device.h"
#include "machine.h"

#define US	1000ULL
#define HOUR	3600000000000ULL

static const unsigned int bases[] = { 0 };

/* What a driver knows */
struct driver {
	struct machine m;
	uint64_t dealt_with;		/* this RANG */
	unsigned int rings, idle;	/* interrupts with an alarm, and without */
};

FIXTURE(example) {
	struct driver d;
};

static void init_driver(struct driver *d, const char *program)
{
	memset(d, 0, sizeof(*d));
	machine_init(&d->m, program, 0);
	d->m.bases = bases;
	d->m.nr_bases = 1;
}

FIXTURE_SETUP(example)
{
	(void)self;
}

FIXTURE_TEARDOWN(example)
{
	machine_destroy(&self->d.m);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static uint64_t get(struct driver *d, unsigned int offset)
{
	return machine_access(&d->m, false, offset, 8, 0, 0);
}

static void put(struct driver *d, unsigned int offset, uint64_t value)
{
	machine_access(&d->m, true, offset, 8, value, 0);
}

/* As an interrupt handler does it */
static void deal_with_interrupt(struct driver *d)
{
	uint64_t rang = get(d, EXAMPLE_RANG);

	if (rang == d->dealt_with) {
		d->idle++;
		return;
	}
	if (rang > now())
		machine_fail("an alarm has rung too early");
	d->dealt_with = rang;
	d->rings++;
}

static void wait_ring(struct driver *d, uint64_t alarm)
{
	while (d->dealt_with != alarm) {
		machine_wait_irq(&d->m);
		deal_with_interrupt(d);
	}
}

/* In less than @us */
static uint64_t soon(unsigned int us)
{
	return now() + random() % (us * US);
}

TEST_F(example, registers)
{
	struct machine *m = &self->d.m;
	uint64_t before, time;

	init_driver(&self->d, "example-device");
	machine_spawn(m);
	EXPECT_EQ(get(&self->d, EXAMPLE_ALARM), 0);
	EXPECT_EQ(get(&self->d, EXAMPLE_RANG), 0);
	before = now();
	time = get(&self->d, EXAMPLE_TIME);
	EXPECT_GE(time, before);
	EXPECT_LE(time, now());
	put(&self->d, EXAMPLE_ALARM, before + HOUR);
	EXPECT_EQ(get(&self->d, EXAMPLE_ALARM), before + HOUR);
	put(&self->d, EXAMPLE_RANG, 1);
	put(&self->d, EXAMPLE_TIME, 1);
	EXPECT_EQ(get(&self->d, EXAMPLE_RANG), 0);
	EXPECT_GE(get(&self->d, EXAMPLE_TIME), time);
	/* Other widths, other places */
	EXPECT_EQ(machine_access(m, false, EXAMPLE_ALARM, 4, 0, 0), UINT64_MAX);
	EXPECT_EQ(machine_access(m, false, EXAMPLE_ALARM + 4, 8, 0, 0), UINT64_MAX);
	EXPECT_EQ(machine_access(m, false, EXAMPLE_RANG + 8, 8, 0, 0), UINT64_MAX);
	machine_access(m, true, EXAMPLE_ALARM, 4, 0, 0);
	EXPECT_EQ(get(&self->d, EXAMPLE_ALARM), before + HOUR);
	EXPECT_FALSE(machine_irq(m));
	EXPECT_EQ(m->state->counts.reads + m->state->counts.writes, 10);
}

TEST_F(example, rings_once)
{
	struct driver *d = &self->d;
	uint64_t alarm;

	init_driver(d, "example-device");
	machine_spawn(&d->m);
	/* An earlier one instead of a later one */
	put(d, EXAMPLE_ALARM, now() + HOUR);
	alarm = soon(5000);
	put(d, EXAMPLE_ALARM, alarm);
	wait_ring(d, alarm);
	/* It came late */
	alarm = d->dealt_with + 1;
	put(d, EXAMPLE_ALARM, alarm);
	wait_ring(d, alarm);
	EXPECT_EQ(d->rings, 2);
	EXPECT_EQ(d->idle, 0);
	/* The same, one that is earlier, none, and one that is taken back */
	machine_access(&d->m, true, EXAMPLE_ALARM, 8, alarm, IOREGIONFD_CMD_F_REDELIVERED);
	put(d, EXAMPLE_ALARM, alarm - 1);
	put(d, EXAMPLE_ALARM, now() + 200000 * US);
	put(d, EXAMPLE_ALARM, 0);
	usleep(300000);
	EXPECT_FALSE(machine_irq(&d->m));
	EXPECT_EQ(get(d, EXAMPLE_RANG), alarm);
}

/* Before an alarm, over it, after it */
TEST_F_TIMEOUT(example, killed_at_any_time, 120)
{
	struct driver *d = &self->d;
	unsigned int round;
	uint64_t alarm;

	srandom(1);
	init_driver(d, "example-device");
	d->m.max_deaths = 200;
	machine_spawn(&d->m);
	for (round = 0; round < 200; round++) {
		alarm = soon(2000);
		put(d, EXAMPLE_ALARM, alarm);
		usleep(random() % 3000);
		kill(d->m.pid, SIGKILL);
		wait_ring(d, alarm);
		ASSERT_EQ(get(d, EXAMPLE_ALARM), alarm);
		ASSERT_EQ(get(d, EXAMPLE_RANG), alarm);
	}
	EXPECT_EQ(d->m.deaths, 200);
	EXPECT_EQ(d->rings, 200);
	EXPECT_LE(d->idle, 200);
}

/* Die at point @first, and, if @again is not 0, at that of the next process. */
static unsigned int die_at(struct driver *d, unsigned int first, unsigned int again)
{
	unsigned int i;
	uint64_t alarm;

	init_driver(d, "example-device-kill");
	d->m.args.kill_after = first;
	d->m.kill_again = again;
	d->m.nr_again = again ? 1 : 0;
	d->m.max_deaths = 2;
	machine_spawn(&d->m);
	for (i = 0; i < 3; i++) {
		alarm = soon(1000);
		put(d, EXAMPLE_ALARM, alarm);
		wait_ring(d, alarm);
	}
	/* None that is late, either */
	usleep(2000);
	if (machine_irq(&d->m))
		deal_with_interrupt(d);
	if (d->rings != 3 || get(d, EXAMPLE_RANG) != alarm)
		machine_fail("%u alarms of 3, the last one at %#llx", d->rings,
			     (unsigned long long)d->dealt_with);
	return d->m.deaths;
}

TEST_F_TIMEOUT(example, killed_at_every_point, 120)
{
	unsigned int point, again;

	srandom(2);
	for (point = 1; die_at(&self->d, point, 0); point++) {
		machine_destroy(&self->d.m);
		for (again = 1; again < 5; again++) {
			EXPECT_GT(die_at(&self->d, point, again), 0);
			machine_destroy(&self->d.m);
		}
	}
	/* Each of the three alarms has three. */
	EXPECT_EQ(point - 1, 9);
}

/* Whatever a former process has left behind, the clock goes on. */
TEST_F(example, nonsense_in_the_state)
{
	static const uint64_t nonsense[] = { 0, 1, HOUR, UINT64_MAX - 1, UINT64_MAX };
	struct driver *d = &self->d;
	unsigned int n;
	uint64_t alarm;

	init_driver(d, "example-device");
	machine_spawn(&d->m);
	for (n = 0; n < 25; n++) {
		d->m.state->example.alarm = nonsense[n / 5];
		d->m.state->example.rang = nonsense[n % 5];
		machine_kill(&d->m);
		EXPECT_LE(get(d, EXAMPLE_RANG), now());
		alarm = soon(1000);
		put(d, EXAMPLE_ALARM, alarm);
		wait_ring(d, alarm);
	}
}

TEST_HARNESS_MAIN
