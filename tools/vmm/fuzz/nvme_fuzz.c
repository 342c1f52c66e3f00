// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers, the queues, the commands and the PRP lists of an NVMe controller. Whatever
 * came before, a driver that resets the controller can use it.
 */
#define main	nvme_main
#include "../nvme.c"
#undef main

#include <stddef.h>

#include "fuzz.h"

#define NR_QUEUES	2		/* for I/O */
#define SIZE		8		/* of each */
#define SECTOR		NVME_SECTOR

/* Pages of guest memory: the queues, a page for data, and two for PRP lists */
#define SQ(n)		(FUZZ_LOW + (n) * FUZZ_PAGE)
#define CQ(n)		(FUZZ_HIGH + (n) * FUZZ_PAGE)
#define BUFFER		(FUZZ_LOW + 8 * FUZZ_PAGE)
#define LIST		(FUZZ_LOW + 10 * FUZZ_PAGE)

static struct device_state state;
static unsigned int tails[1 + NR_QUEUES];

static void serve(const struct ioregionfd_cmd *cmd, uint64_t base, uint64_t *value)
{
	command((void *)(uintptr_t)base, cmd, value);
}

static void write_register_of(unsigned int offset, uint64_t data, unsigned int size)
{
	struct ioregionfd_cmd cmd = fuzz_command(true, offset % NVME_DOORBELLS, size, data);
	uint64_t value;

	serve(&cmd, offset / NVME_DOORBELLS * NVME_DOORBELLS, &value);
}

static uint32_t csts(void)
{
	struct ioregionfd_cmd cmd = fuzz_command(false, NVME_CSTS, 4, 0);
	uint64_t value;

	serve(&cmd, 0, &value);
	return value;
}

static void complete_all(void)
{
	fake_ring_release();
	submit_and_interrupt(&this_nvme);
}

static void start_process(void)
{
	struct nvme *nvme = &this_nvme;

	fake_ring_clear();
	/* All but the large array, of which nothing is used before it is set. */
	memset(nvme, 0, offsetof(struct nvme, ios));
	nvme->interrupts = 0;
	delayed = 0;
	this_device.state = &state;
	this_device.args = state.args;
	this_device.memory = *fuzz_memory();
	init_controller(nvme);
	init_ring(nvme);
	nvme_start(nvme);
	submit_and_interrupt(nvme);
}

static void ring_tail(unsigned int n)
{
	write_register_of(NVME_DOORBELLS + 8 * n, tails[n], 4);
}

static void submit(unsigned int n, const struct nvme_command *command)
{
	struct nvme_command *entries = fuzz_host(SQ(n));

	entries[tails[n]] = *command;
	tails[n] = (tails[n] + 1) % SIZE;
}

/* Take all that has been posted, as a driver does. */
static void take_completions(unsigned int n)
{
	const struct nvme_cq_state *cq = &state.nvme.cqs[n];

	if (cq->live && cq->size)
		write_register_of(NVME_DOORBELLS + 8 * n + 4, cq->posted % cq->size, 4);
}

static void create_queues(unsigned int n)
{
	const struct nvme_command commands[] = {
		{
			.opcode = NVME_CREATE_CQ, .prp1 = CQ(n),
			.cdw10 = (SIZE - 1) << 16 | n, .cdw11 = n << 16 | 3,
		}, {
			.opcode = NVME_CREATE_SQ, .prp1 = SQ(n),
			.cdw10 = (SIZE - 1) << 16 | n, .cdw11 = n << 16 | 1,
		},
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		submit(0, &commands[i]);
	ring_tail(0);
	take_completions(0);
	fuzz_check(state.nvme.sqs[n].live && state.nvme.cqs[n].live);
}

static void bind_driver(void)
{
	unsigned int n;

	write_register_of(NVME_CC, 0, 4);
	complete_all();
	fuzz_check(!(csts() & (NVME_CSTS_RDY | NVME_CSTS_CFS)));
	for (n = 0; n <= NR_QUEUES; n++) {
		tails[n] = 0;
		memset(fuzz_host(SQ(n)), 0, FUZZ_PAGE);
		memset(fuzz_host(CQ(n)), 0, FUZZ_PAGE);
	}
	write_register_of(NVME_AQA, (SIZE - 1) << 16 | (SIZE - 1), 4);
	write_register_of(NVME_ASQ, SQ(0), 8);
	write_register_of(NVME_ACQ, CQ(0), 8);
	write_register_of(NVME_CC, NVME_CC_EN | 6 << 16 | 4 << 20, 4);
	fuzz_check(csts() == NVME_CSTS_RDY);
	for (n = 1; n <= NR_QUEUES; n++)
		create_queues(n);
}

static void any_access(struct fuzz_input *in)
{
	uint16_t offset = fuzz_16(in);
	struct ioregionfd_cmd cmd = fuzz_access(in, offset % (NVME_REGISTERS_SIZE + 16));
	uint64_t value;

	serve(&cmd, offset & 0x8000 ? NVME_DOORBELLS : 0, &value);
}

static void any_command(struct fuzz_input *in)
{
	uint8_t how = fuzz_8(in);
	struct nvme_command command = {
		.opcode = fuzz_8(in), .cid = fuzz_8(in), .nsid = how & 0x10 ? fuzz_32(in) : 1,
		.flags = how & 0x20 ? fuzz_8(in) : 0,
		.prp1 = fuzz_addr(in), .prp2 = fuzz_addr(in),
		.cdw10 = fuzz_32(in), .cdw11 = fuzz_32(in), .cdw12 = fuzz_32(in),
	};
	unsigned int n = how % 4;

	if (how & 0x40)
		command.cdw13 = fuzz_32(in);
	if (n > NR_QUEUES)
		n = 1;
	submit(n, &command);
	if (how & 0x80)
		ring_tail(n);
}

/* Reading or writing with a list, which is right but for what the input has changed */
static void list_command(struct fuzz_input *in)
{
	uint8_t how = fuzz_8(in);
	struct nvme_command command = {
		.opcode = how & 1 ? NVME_WRITE : NVME_READ, .nsid = 1,
		.prp1 = BUFFER + (how & 2 ? 4 * fuzz_8(in) : 0),
		.prp2 = LIST + (how & 4 ? FUZZ_PAGE - 8 * (fuzz_8(in) % 8) : 0),
		.cdw10 = fuzz_8(in), .cdw12 = fuzz_8(in),
	};

	submit(1, &command);
	ring_tail(1);
}

static void list_entry(struct fuzz_input *in)
{
	uint64_t *list = fuzz_host(LIST);
	uint8_t n = fuzz_8(in);

	/* At the begin of the first page, or around its end */
	list[n < 64 ? n : FUZZ_PAGE / 8 - 64 + n % 128] = fuzz_addr(in);
}

static void restart(struct fuzz_input *in)
{
	struct nvme_state *s = &state.nvme;
	uint8_t what = fuzz_8(in);

	if (what & 1)
		fuzz_write_state(in, s, offsetof(struct nvme_state, sqs));
	if (what & 2)
		fuzz_write_state(in, s->sqs, sizeof(s->sqs[0]) * (2 + NR_QUEUES));
	if (what & 4)
		fuzz_write_state(in, s->cqs, sizeof(s->cqs[0]) * (2 + NR_QUEUES));
	if (what & 8)
		fuzz_write_state(in, s->requests[fuzz_8(in) % (2 + NR_QUEUES)],
				 sizeof(s->requests[0][0]) * 3);
	start_process();
}

/* Whatever waits for room in a completion queue is counted there, and nothing else. */
static void check_waiting(void)
{
	const struct nvme_state *s = &state.nvme;
	unsigned int n, i, waiting[NVME_MAX_QUEUES] = { 0 };

	for (n = 0; n <= NR_QUEUES; n++) {
		for (i = 0; i < NVME_MAX_REQUESTS && s->sqs[n].live; i++)
			waiting[s->sqs[n].cq] += s->requests[n][i].state == NVME_DONE;
	}
	for (n = 0; n <= NR_QUEUES; n++)
		fuzz_check(!s->cqs[n].live || this_nvme.cqs[n].waiting == waiting[n]);
}

static void step(struct fuzz_input *in)
{
	static const int results[] = { -EIO, -EAGAIN, -EINTR, -EOPNOTSUPP, 0, 1, 511, 4096 };

	switch (fuzz_8(in) % 14) {
	case 0:
		any_access(in);
		break;
	case 1:
		write_register_of(fuzz_8(in) % 16 * 4, fuzz_addr(in), 4);
		break;
	case 2:
		write_register_of(NVME_CC, fuzz_32(in), 4);
		break;
	case 3:
		fuzz_write_memory(in);
		break;
	case 4:
	case 5:
		any_command(in);
		break;
	case 6:
		list_command(in);
		break;
	case 7:
		list_entry(in);
		break;
	case 8:
		take_completions(fuzz_8(in) % (1 + NR_QUEUES));
		break;
	case 9:
		write_register_of(NVME_DOORBELLS + fuzz_8(in) * 4, fuzz_16(in), 4);
		break;
	case 10:
		restart(in);
		break;
	case 11:
		fake_ring_result(results[fuzz_8(in) % ARRAY_SIZE(results)]);
		break;
	case 12:
		fake_ring_hold();
		break;
	case 13:
		complete_all();
		break;
	}
	if (nvme_posts(&this_nvme))
		check_waiting();
}

/* Reads two pages, and is told that they have been read. */
static void check_driver(void)
{
	const struct nvme_command command = {
		.opcode = NVME_READ, .cid = 77, .nsid = 1, .prp1 = BUFFER,
		.prp2 = BUFFER + FUZZ_PAGE, .cdw10 = 5, .cdw12 = 15,
	};
	const struct nvme_completion *entry = fuzz_host(CQ(1));

	fake_ring_result(FAKE_RING_ANY);
	bind_driver();
	memset(fuzz_host(BUFFER), 0xee, 2 * FUZZ_PAGE);
	submit(1, &command);
	ring_tail(1);
	fuzz_check(entry->cid == 77 && entry->sq_id == 1 && entry->status == 1);
	fuzz_check(!memcmp(fuzz_host(BUFFER), fuzz_image + 5 * SECTOR, 16 * SECTOR));
}

int fuzz_start(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_init(1 + NR_QUEUES);
	return 0;
}

int fuzz_one_input(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };

	fuzz_begin();
	memset(&state.nvme, 0, sizeof(state.nvme));
	state.args = (struct device_args) {
		.version = DEVICE_STATE_VERSION, .nr_queues = 1, .nr_more_irqs = NR_QUEUES,
		.serial = "serial",
	};
	start_process();
	bind_driver();
	while (in.left)
		step(&in);
	check_driver();
	return 0;
}
