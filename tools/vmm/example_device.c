// SPDX-License-Identifier: GPL-2.0-only
/* The device process of WRITING.md, word for word: "make check" compares. */
#include "example_device.h"

#include <err.h>
#include <pthread.h>
#include <seccomp.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <ioregionfd.h>
#include "confine.h"
#include "device.h"
#include "kill_point.h"
#include "util.h"

#define NS	1000000000ULL	/* in a second */

static struct device device;
static struct example_state *state;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* protects *state */
static pthread_cond_t alarm_set = PTHREAD_COND_INITIALIZER;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

static uint16_t command(void *opaque, const struct ioregionfd_cmd *cmd, uint64_t *value)
{
	(void)opaque;
	if ((cmd->flags & IOREGIONFD_CMD_SIZE_MASK) != IOREGIONFD_SIZE_64BIT ||
	    cmd->offset % 8 || cmd->offset > EXAMPLE_RANG)
		return IOREGIONFD_STATUS_UNMAPPED;
	pthread_mutex_lock(&lock);
	device_count(&device, cmd);
	if (cmd->cmd == IOREGIONFD_CMD_READ) {
		*value = cmd->offset == EXAMPLE_TIME ? now() :
			 cmd->offset == EXAMPLE_ALARM ? state->alarm : state->rang;
	} else if (cmd->offset == EXAMPLE_ALARM) {
		state_store(&state->alarm, cmd->data);
		kill_point();
		pthread_cond_signal(&alarm_set);
	}
	pthread_mutex_unlock(&lock);
	return IOREGIONFD_STATUS_DONE;
}

static void interrupt(void)
{
	uint64_t one = 1;
	ssize_t n;

	/* Fails only if the counter is full, and then the interrupt has been raised. */
	n = write(DEVICE_IRQ_FD, &one, sizeof(one));
	(void)n;
	kill_point();
}

/* A thread of its own, so that the one that serves the guest waits for nothing else */
static void *ring_alarms(void *arg)
{
	uint64_t alarm;

	(void)arg;
	pthread_mutex_lock(&lock);
	for (;;) {
		alarm = state->alarm;
		if (alarm <= state->rang) {
			pthread_cond_wait(&alarm_set, &lock);
		} else if (alarm > now()) {
			const struct timespec until = { alarm / NS, alarm % NS };

			pthread_cond_clockwait(&alarm_set, &lock, CLOCK_MONOTONIC, &until);
		} else {
			state_store(&state->rang, alarm);
			kill_point();
			interrupt();
		}
	}
	return NULL;
}

static void take_up(void)
{
	/* Only a process that the guest controlled has rung an alarm before its time. */
	if (state->rang > now())
		state_store(&state->rang, 0);
	/* The former process may have died before it raised the interrupt. */
	if (state->rang)
		interrupt();
}

int main(void)
{
	static const struct ioregionfd_ops ops = { .command = command };
	/* a socket as a channel */
	static const int syscalls[] = { SCMP_SYS(poll), SCMP_SYS(recvfrom), SCMP_SYS(sendto) };

	device_init(&device);
	state = &device.state->example;
	if (ioregionfd_register(device.task, 0, &ops, NULL))
		errx(EXIT_FAILURE, "cannot register the region");

	/* No alarm rings before the state has been looked at. */
	pthread_mutex_lock(&lock);
	confine_with_thread(device.args.id, syscalls, ARRAY_SIZE(syscalls), DEVICE_CHANNEL_FD,
			    ring_alarms, NULL);
	take_up();
	pthread_mutex_unlock(&lock);
	device_serve(&device);
	return 0;
}
