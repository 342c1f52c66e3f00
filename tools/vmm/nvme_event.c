// SPDX-License-Identifier: GPL-2.0-only
/*
 * Asynchronous events (5.2). A request for one stays NVME_FETCHED until there is an event,
 * and a successor finds it like any other command that has not been carried out.
 */
#include "nvme.h"

#include "kill_point.h"
#include "util.h"

static const struct {
	uint8_t type, information, log_page;
} events[NVME_NR_EVENTS] = {
	[NVME_BAD_DOORBELL] = {
		NVME_EVENT_ERROR, NVME_EVENT_BAD_DOORBELL, NVME_LOG_ERRORS,
	},
	[NVME_BAD_DOORBELL_VALUE] = {
		NVME_EVENT_ERROR, NVME_EVENT_BAD_DOORBELL_VALUE, NVME_LOG_ERRORS,
	},
	[NVME_TEMPERATURE_EVENT] = {
		NVME_EVENT_HEALTH, NVME_EVENT_TEMPERATURE, NVME_LOG_HEALTH,
	},
};

/* The events that reading log page @page brings back. */
static uint32_t events_of(uint8_t page)
{
	uint32_t mask = 0;
	unsigned int i;

	for (i = 0; i < NVME_NR_EVENTS; i++) {
		if (events[i].log_page == page)
			mask |= BIT(i);
	}
	return mask;
}

/*
 * All events of a type are masked with the first one (5.2). If the process dies before that
 * is stored the event is reported twice, rather than not at all.
 */
static void report(struct nvme *nvme, enum nvme_event event)
{
	struct nvme_request *request = nvme->event_requests[--nvme->nr_event_requests];
	struct nvme_state *s = nvme->state;

	nvme_complete(nvme, 0, request, NVME_SUCCESS,
		      events[event].type | events[event].information << 8 |
		      events[event].log_page << 16);
	state_store(&s->events_masked, s->events_masked | events_of(events[event].log_page));
	kill_point();
	state_store(&s->events_pending, s->events_pending & ~BIT(event));
	kill_point();
}

static void report_all(struct nvme *nvme)
{
	struct nvme_state *s = nvme->state;
	unsigned int i;

	for (i = 0; i < NVME_NR_EVENTS && nvme->nr_event_requests; i++) {
		if (s->events_pending & ~s->events_masked & BIT(i))
			report(nvme, i);
	}
}

int nvme_event_request(struct nvme *nvme, struct nvme_request *request)
{
	/* AERL (5.2) */
	if (nvme->nr_event_requests == NVME_MAX_EVENT_REQUESTS)
		return NVME_TOO_MANY_EVENTS;
	nvme->event_requests[nvme->nr_event_requests++] = request;
	report_all(nvme);
	return NVME_LATER;
}

bool nvme_abort_event_request(struct nvme *nvme, uint16_t cid)
{
	struct nvme_request *request;
	unsigned int i;

	for (i = 0; i < nvme->nr_event_requests; i++) {
		request = nvme->event_requests[i];
		if (request->command.cid != cid)
			continue;
		nvme->event_requests[i] = nvme->event_requests[--nvme->nr_event_requests];
		nvme_complete(nvme, 0, request, NVME_ABORT_REQUESTED, 0);
		return true;
	}
	return false;
}

void nvme_raise_event(struct nvme *nvme, enum nvme_event event)
{
	struct nvme_state *s = nvme->state;

	state_store(&s->events_pending, s->events_pending | BIT(event));
	kill_point();
	report_all(nvme);
}

void nvme_unmask_events(struct nvme *nvme, uint8_t page)
{
	struct nvme_state *s = nvme->state;

	state_store(&s->events_masked, s->events_masked & ~events_of(page));
	kill_point();
	report_all(nvme);
}

void nvme_clear_events(struct nvme *nvme)
{
	nvme->nr_event_requests = 0;
	nvme->state->events_masked = 0;
	nvme->state->events_pending = 0;
}
