// SPDX-License-Identifier: GPL-2.0-only
/*
 * Section numbers are those of VIRTIO 1.2.
 *
 * Each register is one variable that is stored once, so a write that is redelivered stores
 * the same value again. The exceptions are QueueReady, InterruptACK and Status, see there.
 */
#include "virtio_mmio.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include "kill_point.h"
#include "util.h"

#define MAGIC		0x74726976
#define VENDOR		0x49524746	/* any will do */
/* In virtio_mmio_state.status only: a reset has begun. The driver does not see it. */
#define RESETTING	0x100

#define STATUS_BITS	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | \
			 VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK | \
			 VIRTIO_CONFIG_S_FAILED)

static void interrupt(struct virtio_mmio *mmio, uint32_t event)
{
	struct virtio_mmio_state *s = &mmio->state->mmio;
	uint64_t one = 1;
	ssize_t n;

	state_store(&s->interrupt_status, s->interrupt_status | event);
	kill_point();
	/* Fails only if the counter is full, and then the interrupt has been raised. */
	n = write(mmio->irq_fd, &one, sizeof(one));
	(void)n;
	kill_point();
}

void virtio_mmio_used(struct virtio_mmio *mmio, unsigned int n)
{
	if (virtqueue_wants_interrupt(&mmio->queues[n]))
		interrupt(mmio, VIRTIO_MMIO_INT_VRING);
}

void virtio_mmio_needs_reset(struct virtio_mmio *mmio)
{
	struct virtio_mmio_state *s = &mmio->state->mmio;
	unsigned int n;

	for (n = 0; n < mmio->nr_queues; n++)
		virtqueue_stop(&mmio->queues[n]);
	state_store(&s->status, s->status | VIRTIO_CONFIG_S_NEEDS_RESET);
	kill_point();
	/* A driver is told if it has said that it drives the device (2.1.2). */
	if (s->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(mmio, VIRTIO_MMIO_INT_CONFIG);
}

/* Nothing is read from the queues before DRIVER_OK (2.1.2) or QueueReady (4.2.2.1). */
static bool may_run(const struct virtio_mmio *mmio, unsigned int n)
{
	uint32_t status = mmio->state->mmio.status;

	return status & VIRTIO_CONFIG_S_DRIVER_OK && !(status & VIRTIO_CONFIG_S_NEEDS_RESET) &&
	       mmio->state->queues[n].ready;
}

static void start_queue(struct virtio_mmio *mmio, unsigned int n)
{
	struct device_state *state = mmio->state;

	if (!may_run(mmio, n) || mmio->queues[n].running)
		return;
	if (virtqueue_start(&mmio->queues[n], &state->queues[n], state->requests[n],
			    mmio->memory, state->mmio.driver_features))
		virtio_mmio_needs_reset(mmio);
	else
		mmio->ops->start(mmio, n);
}

/* QueueReady is 0 before we wait, so a death while we wait leaves nothing but requests. */
static void stop_queue(struct virtio_mmio *mmio, unsigned int n)
{
	virtqueue_stop(&mmio->queues[n]);
	state_store(&mmio->state->queues[n].ready, 0);
	kill_point();
	mmio->ops->drain(mmio, n);
	kill_point();
	virtqueue_forget(mmio->state->requests[n]);
	kill_point();
}

/*
 * Redelivered, 1 finds the queue ready, with positions that have moved on, and leaves it
 * so; 0 finds it stopped. The driver cannot have written anything else in between, since it
 * waits for the response.
 */
static void write_queue_ready(struct virtio_mmio *mmio, unsigned int n, uint32_t value)
{
	struct virtqueue_state *s = &mmio->state->queues[n];
	uint64_t features = mmio->state->mmio.driver_features;

	if (!value) {
		stop_queue(mmio, n);
		return;
	}
	/* Before FEATURES_OK the layout is not known, and drivers come later (3.1.1). */
	if (s->ready || !(mmio->state->mmio.status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	if (!virtqueue_valid(s, mmio->memory, features)) {
		virtio_mmio_needs_reset(mmio);
		return;
	}
	virtqueue_init_state(s, features);
	kill_point();
	state_store(&s->ready, 1);
	kill_point();
	start_queue(mmio, n);
}

/*
 * RESETTING is stored first, and status 0 after all else: whoever finds RESETTING begins
 * from the start. A reset that is redelivered resets a device that is in its initial state.
 */
static void reset(struct virtio_mmio *mmio)
{
	struct device_state *state = mmio->state;
	struct virtio_mmio_state *s = &state->mmio;
	unsigned int n;

	state_store(&s->status, s->status | RESETTING);
	kill_point();
	for (n = 0; n < mmio->nr_queues; n++) {
		stop_queue(mmio, n);
		state->counts.requests += state->queues[n].fetched;
		state->counts.used_elements += state->queues[n].used_elements;
		memset(&state->queues[n], 0, sizeof(state->queues[n]));
		kill_point();
	}
	s->device_features_sel = 0;
	s->driver_features_sel = 0;
	s->queue_sel = 0;
	s->driver_features = 0;
	/* No event is left, and no queue is ready (4.2.2.1). */
	s->interrupt_status = 0;
	kill_point();
	state_store(&s->status, 0);
	kill_point();
	state_store(&s->version, DEVICE_STATE_VERSION);
	kill_point();
}

/* Is this a subset of the offer that we can work with (2.2.2)? */
static bool features_ok(const struct virtio_mmio *mmio)
{
	uint64_t features = mmio->state->mmio.driver_features;

	/* We are not a legacy device (6.2). */
	return !(features & ~mmio->features) && features & BIT(VIRTIO_F_VERSION_1);
}

/* The bits that the driver has set stay set until reset, however often it says so. */
static void write_status(struct virtio_mmio *mmio, uint32_t value)
{
	struct virtio_mmio_state *s = &mmio->state->mmio;
	uint32_t status = s->status | (value & STATUS_BITS);
	unsigned int n;

	if (!value) {
		reset(mmio);
		return;
	}
	/* The driver reads it back to see whether we agree (3.1.1). */
	if (!(s->status & VIRTIO_CONFIG_S_FEATURES_OK) && !features_ok(mmio))
		status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	/* Nobody drives a device without having agreed on its features. */
	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK))
		status &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	state_store(&s->status, status);
	kill_point();
	for (n = 0; n < mmio->nr_queues; n++)
		start_queue(mmio, n);
}

/*
 * Redelivered, it may be for an event that has been acknowledged, and may meet one that
 * came after that. So the bits stay, and the driver is interrupted once more, which it has
 * to expect at any time (2.7.7.1).
 */
static void write_interrupt_ack(struct virtio_mmio *mmio, uint32_t value, bool redelivered)
{
	struct virtio_mmio_state *s = &mmio->state->mmio;

	if (redelivered)
		interrupt(mmio, 0);
	else
		state_store(&s->interrupt_status, s->interrupt_status & ~value);
	kill_point();
}

static void write_driver_features(struct virtio_mmio *mmio, uint32_t value)
{
	struct virtio_mmio_state *s = &mmio->state->mmio;
	unsigned int shift = s->driver_features_sel * 32;

	/* There are 64; and no new ones after FEATURES_OK (3.1.1). */
	if (s->driver_features_sel > 1 || s->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	state_store(&s->driver_features, (s->driver_features & ~(0xffffffffULL << shift)) |
					 (uint64_t)value << shift);
}

static void set_half(uint64_t *address, bool high, uint32_t value)
{
	uint64_t mask = high ? 0xffffffffULL << 32 : 0xffffffffULL;

	state_store(address, (*address & ~mask) | (high ? (uint64_t)value << 32 : value));
}

/* The registers of the queue that QueueSel has selected. */
static void write_queue(struct virtio_mmio *mmio, unsigned int offset, uint32_t value)
{
	unsigned int n = mmio->state->mmio.queue_sel;
	struct virtqueue_state *s;

	if (n >= mmio->nr_queues)
		return;
	s = &mmio->state->queues[n];
	if (offset == VIRTIO_MMIO_QUEUE_READY) {
		write_queue_ready(mmio, n, value);
		return;
	}
	/* While the queue is ready the driver must not access them (4.2.2.2). */
	if (s->ready)
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		state_store(&s->num, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&s->desc, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&s->driver, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&s->device, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	}
}

static void kick(struct virtio_mmio *mmio, uint32_t n)
{
	if (n < mmio->nr_queues && mmio->queues[n].running)
		mmio->ops->kick(mmio, n);
}

/* What is read-only, or is not there, is not written. */
static void write_register(struct virtio_mmio *mmio, unsigned int offset, uint32_t value,
			   bool redelivered)
{
	struct virtio_mmio_state *s = &mmio->state->mmio;

	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		state_store(&s->device_features_sel, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		state_store(&s->driver_features_sel, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_driver_features(mmio, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		state_store(&s->queue_sel, value);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		kick(mmio, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		write_interrupt_ack(mmio, value, redelivered);
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(mmio, value);
		break;
	default:
		write_queue(mmio, offset, value);
		break;
	}
	kill_point();
}

static uint32_t read_queue(const struct virtio_mmio *mmio, unsigned int offset)
{
	unsigned int n = mmio->state->mmio.queue_sel;

	/* QueueNumMax is 0 for a queue that does not exist. */
	if (n >= mmio->nr_queues)
		return 0;
	if (offset == VIRTIO_MMIO_QUEUE_NUM_MAX)
		return VIRTQUEUE_MAX_SIZE;
	return mmio->state->queues[n].ready;
}

/* What is write-only, or is not there, reads as 0. */
static uint32_t read_register(const struct virtio_mmio *mmio, unsigned int offset)
{
	const struct virtio_mmio_state *s = &mmio->state->mmio;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return mmio->device_id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return s->device_features_sel > 1 ? 0 :
			mmio->features >> (s->device_features_sel * 32);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
	case VIRTIO_MMIO_QUEUE_READY:
		return read_queue(mmio, offset);
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		if (mmio->used_elsewhere && s->status & VIRTIO_CONFIG_S_DRIVER_OK)
			return s->interrupt_status | VIRTIO_MMIO_INT_VRING;
		return s->interrupt_status;
	case VIRTIO_MMIO_STATUS:
		return s->status & ~RESETTING;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		/* There is no shared memory: length and address are -1. */
		return ~0U;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		/* Always the same, as the configuration space never changes. */
		return 0;
	}
	return 0;
}

static uint64_t read_config(const struct virtio_mmio *mmio, unsigned int offset,
			    unsigned int size)
{
	uint64_t value = 0;

	if (offset < mmio->config_size && size <= mmio->config_size - offset)
		memcpy(&value, (const char *)mmio->config + offset, size);
	return value;
}

uint16_t virtio_mmio_command(struct virtio_mmio *mmio, uint64_t base,
			     const struct ioregionfd_cmd *cmd, uint64_t *value)
{
	unsigned int size = 1U << (cmd->flags & IOREGIONFD_CMD_SIZE_MASK), offset;

	*value = 0;
	/* Of a region that is larger than it should be. */
	if (cmd->offset > VIRTIO_MMIO_SIZE - size || base > VIRTIO_MMIO_SIZE - size - cmd->offset)
		return IOREGIONFD_STATUS_UNMAPPED;
	offset = base + cmd->offset;
	if (offset >= VIRTIO_MMIO_CONFIG) {
		/*
		 * Drivers use the width of the field (4.2.2.2), which we need not know:
		 * any part can be read, and nothing can be written.
		 */
		if (cmd->cmd == IOREGIONFD_CMD_READ)
			*value = read_config(mmio, offset - VIRTIO_MMIO_CONFIG, size);
		return IOREGIONFD_STATUS_DONE;
	}
	/*
	 * Drivers use 32 bits, aligned (4.2.2.2). For anything else there is no register:
	 * it reads as 0, and writing does nothing.
	 */
	if (size != 4 || offset % 4)
		return IOREGIONFD_STATUS_DONE;
	if (cmd->cmd == IOREGIONFD_CMD_READ)
		*value = read_register(mmio, offset);
	else
		write_register(mmio, offset, cmd->data,
			       cmd->flags & IOREGIONFD_CMD_F_REDELIVERED);
	return IOREGIONFD_STATUS_DONE;
}

/*
 * The former process may have died before it raised the interrupt for what it had used or
 * stopped. Not every time there was an event, but the driver has to expect that (2.7.7.1).
 */
static void take_up(struct virtio_mmio *mmio)
{
	struct virtio_mmio_state *s = &mmio->state->mmio;
	uint32_t event = VIRTIO_MMIO_INT_VRING;
	unsigned int n;

	if (s->status & RESETTING) {
		reset(mmio);
		return;
	}
	if (s->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		event |= VIRTIO_MMIO_INT_CONFIG;
	for (n = 0; n < mmio->nr_queues; n++) {
		if (!mmio->state->queues[n].ready)
			virtqueue_forget(mmio->state->requests[n]);
		start_queue(mmio, n);
	}
	if (s->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(mmio, event);
}

/* Could the former process have left this behind if it was in its right mind? */
static bool valid_state(const struct virtio_mmio *mmio)
{
	const struct virtio_mmio_state *s = &mmio->state->mmio;

	return s->version == DEVICE_STATE_VERSION &&
	       (!(s->status & VIRTIO_CONFIG_S_FEATURES_OK) || features_ok(mmio));
}

void virtio_mmio_init(struct virtio_mmio *mmio, struct device *device)
{
	mmio->state = device->state;
	mmio->memory = &device->memory;
	mmio->irq_fd = DEVICE_IRQ_FD;
}

void virtio_mmio_register(struct device *device, const struct ioregionfd_ops *ops)
{
	static const uint64_t bases[] = {
		VIRTIO_MMIO_BEFORE_NOTIFY, VIRTIO_MMIO_NOTIFY, VIRTIO_MMIO_AFTER_NOTIFY,
	};
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(bases); i++) {
		ret = ioregionfd_register(device->task, bases[i], ops,
					  (void *)(uintptr_t)bases[i]);
		if (ret)
			errx(EXIT_FAILURE, "ioregionfd_register: %s", strerror(-ret));
	}
}

void virtio_mmio_start(struct virtio_mmio *mmio)
{
	if (valid_state(mmio))
		take_up(mmio);
	else if (mmio->state->mmio.version)
		virtio_mmio_needs_reset(mmio);
	else
		reset(mmio);
}
