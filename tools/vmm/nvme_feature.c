// SPDX-License-Identifier: GPL-2.0-only
/*
 * Get Features and Set Features (5.13, 5.21). Nothing can be saved (ONCS).
 */
#include "nvme.h"

#include "kill_point.h"
#include "util.h"

/* The default of the threshold */
#define OVER_TEMPERATURE	353

/* Field names as in 5.21.1 */
#define POWER_STATE		0x1f
#define TEMPERATURE_THRESHOLD	0xffff
#define TEMPERATURE_SENSOR(w)	((w) >> 16 & 15)
#define TEMPERATURE_UNDER(w)	((w) >> 20 & 3)
#define ALL_SENSORS		15
#define DULBE			BIT(16)
#define WRITE_CACHE_ENABLE	1
#define COALESCING_BITS		0xffff
#define VECTOR(w)		((w) & 0xffff)
#define COALESCING_DISABLE	BIT(16)
#define ATOMICITY_BITS		1
#define EVENT_BITS		0xff	/* SMART / health critical warnings */
#define EVENT_TEMPERATURE	BIT(1)

/* health log, critical warning */
#define WARNING_TEMPERATURE	BIT(1)

void nvme_reset_features(struct nvme *nvme)
{
	nvme->state->features = (struct nvme_features) { .over_temperature = OVER_TEMPERATURE };
}

uint8_t nvme_warnings(const struct nvme *nvme)
{
	const struct nvme_features *f = &nvme->state->features;

	return f->over_temperature <= NVME_COMPOSITE_TEMPERATURE ||
	       f->under_temperature >= NVME_COMPOSITE_TEMPERATURE ? WARNING_TEMPERATURE : 0;
}

static int set(uint32_t *feature, uint32_t value)
{
	state_store(feature, value);
	kill_point();
	return NVME_SUCCESS;
}

/* Something has changed that makes the temperature an event, or no event. */
static int set_warning(struct nvme *nvme, uint32_t *feature, uint32_t value)
{
	set(feature, value);
	if (nvme_warnings(nvme) & nvme->state->features.events & EVENT_TEMPERATURE)
		nvme_raise_event(nvme, NVME_TEMPERATURE_EVENT);
	return NVME_SUCCESS;
}

/* The threshold that a command is about, or NULL */
static uint32_t *threshold(struct nvme *nvme, uint32_t dword11)
{
	uint32_t sensor = TEMPERATURE_SENSOR(dword11);

	/* The composite temperature is all there is; to set all sensors is to set that. */
	if (sensor && sensor != ALL_SENSORS)
		return NULL;
	switch (TEMPERATURE_UNDER(dword11)) {
	case 0:
		return &nvme->state->features.over_temperature;
	case 1:
		return &nvme->state->features.under_temperature;
	}
	return NULL;
}

static int set_temperature(struct nvme *nvme, uint32_t value)
{
	uint32_t *feature = threshold(nvme, value);

	if (!feature)
		return NVME_INVALID_FIELD;
	return set_warning(nvme, feature, value & TEMPERATURE_THRESHOLD);
}

static bool has_io_queues(const struct nvme *nvme)
{
	unsigned int n;

	for (n = 1; n <= nvme->nr_io_queues; n++) {
		if (nvme->state->sqs[n].live || nvme->state->cqs[n].live)
			return true;
	}
	return false;
}

/* Both numbers are one less than what they count (5.21.1.7). */
static uint32_t nr_queues(const struct nvme *nvme)
{
	return (nvme->nr_io_queues - 1) * 0x10001;
}

/* The driver gets what there is, and need not use it. */
static int set_nr_queues(struct nvme *nvme, uint32_t value, uint32_t *result)
{
	if ((value & 0xffff) == 0xffff || value >> 16 == 0xffff)
		return NVME_INVALID_FIELD;
	if (has_io_queues(nvme))
		return NVME_SEQUENCE_ERROR;
	*result = nr_queues(nvme);
	return NVME_SUCCESS;
}

static int set_vector(struct nvme *nvme, uint32_t value)
{
	struct nvme_features *f = &nvme->state->features;
	uint32_t vector = VECTOR(value), bit;

	if (vector > nvme->nr_io_queues)
		return NVME_INVALID_FIELD;
	bit = BIT(vector);
	return set(&f->no_coalescing,
		   value & COALESCING_DISABLE ? f->no_coalescing | bit : f->no_coalescing & ~bit);
}

int nvme_set_feature(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	struct nvme_features *f = &nvme->state->features;
	uint32_t value = command->cdw11;

	/* Save */
	if (command->cdw10 >> 31)
		return NVME_NOT_SAVEABLE;
	switch (command->cdw10 & 0xff) {
	case NVME_ARBITRATION:
		return set(&f->arbitration, value);
	case NVME_POWER:
		/* There is power state 0. */
		return value & POWER_STATE ? NVME_INVALID_FIELD : NVME_SUCCESS;
	case NVME_TEMPERATURE:
		return set_temperature(nvme, value);
	case NVME_ERROR_RECOVERY:
		/* DULBE needs a namespace that supports it (NSFEAT). */
		return value & DULBE ? NVME_INVALID_FIELD : set(&f->error_recovery, value);
	case NVME_WRITE_CACHE:
		return set(&f->no_write_cache, !(value & WRITE_CACHE_ENABLE));
	case NVME_NR_QUEUES:
		return set_nr_queues(nvme, value, result);
	case NVME_COALESCING:
		return set(&f->coalescing, value & COALESCING_BITS);
	case NVME_VECTOR:
		return set_vector(nvme, value);
	case NVME_ATOMICITY:
		return set(&f->atomicity, value & ATOMICITY_BITS);
	case NVME_EVENTS:
		return set_warning(nvme, &f->events, value & EVENT_BITS);
	}
	return NVME_INVALID_FIELD;
}

static int get_vector(const struct nvme *nvme, uint32_t vector, uint32_t *result)
{
	if (vector > nvme->nr_io_queues)
		return NVME_INVALID_FIELD;
	*result = vector | (nvme->state->features.no_coalescing & BIT(vector) ?
			    COALESCING_DISABLE : 0);
	return NVME_SUCCESS;
}

int nvme_get_feature(struct nvme *nvme, const struct nvme_command *command, uint32_t *result)
{
	const struct nvme_features *f = &nvme->state->features;
	uint32_t *temperature;

	/* Select is reserved without support in ONCS, and the current value is returned. */
	switch (command->cdw10 & 0xff) {
	case NVME_ARBITRATION:
		*result = f->arbitration;
		return NVME_SUCCESS;
	case NVME_POWER:
		return NVME_SUCCESS;
	case NVME_TEMPERATURE:
		temperature = threshold(nvme, command->cdw11);
		if (!temperature)
			return NVME_INVALID_FIELD;
		*result = *temperature;
		return NVME_SUCCESS;
	case NVME_ERROR_RECOVERY:
		*result = f->error_recovery;
		return NVME_SUCCESS;
	case NVME_WRITE_CACHE:
		*result = !f->no_write_cache;
		return NVME_SUCCESS;
	case NVME_NR_QUEUES:
		*result = nr_queues(nvme);
		return NVME_SUCCESS;
	case NVME_COALESCING:
		*result = f->coalescing;
		return NVME_SUCCESS;
	case NVME_VECTOR:
		return get_vector(nvme, VECTOR(command->cdw11), result);
	case NVME_ATOMICITY:
		*result = f->atomicity;
		return NVME_SUCCESS;
	case NVME_EVENTS:
		*result = f->events;
		return NVME_SUCCESS;
	}
	return NVME_INVALID_FIELD;
}
