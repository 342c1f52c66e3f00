// SPDX-License-Identifier: GPL-2.0-only
/*
 * Get Log Page (5.14). What the figures in the comments count are bytes.
 */
#include "nvme.h"

#include <string.h>
#include "kill_point.h"
#include "util.h"

#define LOG_SIZE	4096		/* of the largest */
#define ERROR_SIZE	64
#define HEALTH_SIZE	512
#define FIRMWARE_SIZE	512

#define RETAIN_EVENT	BIT(15)

/* Commands supported and effects (5.14.1.5) */
#define SUPPORTED	BIT(0)
#define CHANGES_BLOCKS	BIT(1)

static void put(uint8_t *page, unsigned int offset, uint64_t value, unsigned int size)
{
	memcpy(page + offset, &value, size);
}

/* The latest one comes first (5.14.1.1). */
static uint32_t make_errors(const struct nvme *nvme, uint8_t *page)
{
	const struct nvme_state *s = nvme->state;
	const struct nvme_error *error;
	unsigned int i;

	for (i = 0; i < NVME_NR_ERRORS && i < s->nr_errors; i++, page += ERROR_SIZE) {
		error = &s->errors[(s->nr_errors - 1 - i) % NVME_NR_ERRORS];
		put(page, 0, error->count, 8);
		put(page, 8, error->sq, 2);
		put(page, 10, error->cid, 2);
		put(page, 12, error->status << 1, 2);
		put(page, 14, 0xffff, 2);	/* not about one parameter */
		put(page, 16, error->lba, 8);
		put(page, 24, error->nsid, 4);
	}
	return NVME_NR_ERRORS * ERROR_SIZE;
}

/* An entry is there when it is counted; a command that fails twice writes it twice. */
void nvme_log_error(struct nvme *nvme, unsigned int n, const struct nvme_request *request,
		    uint32_t status)
{
	struct nvme_state *s = nvme->state;
	struct nvme_error *error = &s->errors[s->nr_errors % NVME_NR_ERRORS];
	const struct nvme_command *command = &request->command;

	*error = (struct nvme_error) {
		.count = s->nr_errors + 1,
		.sq = n,
		.cid = command->cid,
		.status = status,
		.lba = n ? (uint64_t)command->cdw11 << 32 | command->cdw10 : 0,
		.nsid = command->nsid,
	};
	kill_point();
	state_store(&s->nr_errors, s->nr_errors + 1);
	kill_point();
}

/* Units of 1000 sectors, rounded up (5.14.1.2) */
static uint64_t data_units(uint64_t sectors)
{
	return (sectors + 999) / 1000;
}

static uint32_t make_health(const struct nvme *nvme, uint8_t *page)
{
	const struct nvme_state *s = nvme->state;

	page[0] = nvme_warnings(nvme);
	put(page, 1, NVME_COMPOSITE_TEMPERATURE, 2);
	page[3] = 100;				/* available spare, in percent */
	put(page, 32, data_units(s->sectors_read), 8);
	put(page, 48, data_units(s->sectors_written), 8);
	put(page, 64, s->reads, 8);
	put(page, 80, s->writes, 8);
	put(page, 112, 1, 8);			/* power cycles */
	put(page, 176, s->nr_errors, 8);
	return HEALTH_SIZE;
}

static uint32_t make_firmware(uint8_t *page)
{
	page[0] = 1;				/* slot 1 is active */
	memcpy(page + 8, "1       ", 8);
	return FIRMWARE_SIZE;
}

/* A word for each admin command, and after these one for each I/O command */
static uint32_t make_effects(uint8_t *page)
{
	static const uint8_t admin[] = {
		NVME_DELETE_SQ, NVME_CREATE_SQ, NVME_GET_LOG_PAGE, NVME_DELETE_CQ,
		NVME_CREATE_CQ, NVME_IDENTIFY, NVME_ABORT, NVME_SET_FEATURES,
		NVME_GET_FEATURES, NVME_ASYNC_EVENT,
	};
	static const uint8_t write[] = { NVME_WRITE, NVME_WRITE_ZEROES, NVME_DSM };
	static const uint8_t read[] = { NVME_READ, NVME_FLUSH };
	unsigned int i;

	for (i = 0; i < sizeof(admin); i++)
		put(page, admin[i] * 4, SUPPORTED, 4);
	for (i = 0; i < sizeof(read); i++)
		put(page, 1024 + read[i] * 4, SUPPORTED, 4);
	for (i = 0; i < sizeof(write); i++)
		put(page, 1024 + write[i] * 4, SUPPORTED | CHANGES_BLOCKS, 4);
	return 4096;
}

/* Returns the size of the page, or 0 if there is none. */
static uint32_t make_log(const struct nvme *nvme, uint8_t id, uint8_t *page)
{
	switch (id) {
	case NVME_LOG_ERRORS:
		return make_errors(nvme, page);
	case NVME_LOG_HEALTH:
		return make_health(nvme, page);
	case NVME_LOG_FIRMWARE:
		return make_firmware(page);
	case NVME_LOG_EFFECTS:
		return make_effects(page);
	}
	return 0;
}

int nvme_get_log(struct nvme *nvme, const struct nvme_command *command)
{
	uint64_t len = (((uint64_t)command->cdw11 & 0xffff) << 16 | command->cdw10 >> 16) + 1;
	uint64_t offset = (uint64_t)command->cdw13 << 32 | command->cdw12;
	uint8_t page[LOG_SIZE] = { 0 }, id = command->cdw10;
	uint32_t size;
	int status;

	size = make_log(nvme, id, page);
	if (!size)
		return NVME_INVALID_LOG_PAGE;
	/* They are about the controller (LPA). */
	if (command->nsid && command->nsid != NVME_NSID_ALL)
		return NVME_INVALID_FIELD;
	len *= 4;
	if (len > NVME_MAX_TRANSFER || offset % 4 || offset > size)
		return NVME_INVALID_FIELD;
	/* Beyond the end of a page the contents are not defined: they stay as they are. */
	len = len < size - offset ? len : size - offset;
	status = len ? nvme_copy_to_guest(nvme, command, page + offset, len) : NVME_SUCCESS;
	kill_point();
	if (!status && !(command->cdw10 & RETAIN_EVENT))
		nvme_unmask_events(nvme, id);
	return status;
}
