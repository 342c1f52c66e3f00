// SPDX-License-Identifier: GPL-2.0-only
#include "nvme_driver.h"

#include <string.h>
#include <time.h>
#include <unistd.h>
#include <kselftest.h>

static const unsigned int bases[] = { 0, NVME_DOORBELLS };

void nvme_driver_init(struct nvme_driver *d, const char *program)
{
	memset(d, 0, sizeof(*d));
	machine_init(&d->m, program, NVME_TEST_SECTORS * 512ULL);
	machine_add_irqs(&d->m, NVME_TEST_QUEUES);
	d->m.bases = bases;
	d->m.nr_bases = ARRAY_SIZE(bases);
}

uint32_t nvme_wait_csts(struct nvme_driver *d, uint32_t mask, uint32_t value)
{
	unsigned int ms;
	uint32_t csts;

	for (ms = 0; ms < WAIT_MS; ms++) {
		csts = machine_read(&d->m, NVME_CSTS);
		if ((csts & mask) == value)
			return csts;
		usleep(1000);
	}
	machine_fail("CSTS is %#x, and not %#x", csts, value);
}

void nvme_disable(struct nvme_driver *d)
{
	machine_write(&d->m, NVME_CC, 0);
	/* That it was shut down is told until it is enabled again. */
	nvme_wait_csts(d, NVME_CSTS_RDY | NVME_CSTS_CFS, 0);
	memset(d->commands, 0, sizeof(d->commands));
	d->nr_outstanding = 0;
}

void nvme_alloc_ring(struct nvme_driver *d, struct nvme_ring *ring, unsigned int size)
{
	/* The largest entry, so that it does not matter which ring. Memory is used again. */
	if (ring->size < size)
		ring->addr = machine_alloc(&d->m, size * sizeof(struct nvme_command), NVME_PAGE);
	ring->size = size;
	ring->index = 0;
	ring->phase = true;
	memset(machine_host(&d->m, ring->addr), 0, size * sizeof(struct nvme_command));
}

void nvme_enable(struct nvme_driver *d, unsigned int size)
{
	nvme_alloc_ring(d, &d->sqs[0], size);
	nvme_alloc_ring(d, &d->cqs[0], size);
	machine_write(&d->m, NVME_AQA, (size - 1) << 16 | (size - 1));
	machine_access(&d->m, true, NVME_ASQ, 8, d->sqs[0].addr, 0);
	machine_access(&d->m, true, NVME_ACQ, 8, d->cqs[0].addr, 0);
	machine_write(&d->m, NVME_CC, NVME_CC_EN | 6 << 16 | 4 << 20);
	nvme_wait_csts(d, ~0U, NVME_CSTS_RDY);
}

static uint32_t doorbell(unsigned int n, bool completion)
{
	return NVME_DOORBELLS + (2 * n + completion) * 4;
}

unsigned int nvme_submit(struct nvme_driver *d, unsigned int sq, struct nvme_command command)
{
	struct nvme_ring *ring = &d->sqs[sq];
	struct nvme_command *entries = machine_host(&d->m, ring->addr);

	while (d->commands[d->next_cid % NVME_MAX_CIDS].outstanding) {
		if (d->nr_outstanding == NVME_MAX_CIDS)
			machine_fail("too many commands");
		d->next_cid++;
	}
	command.cid = d->next_cid++ % NVME_MAX_CIDS;
	d->commands[command.cid].outstanding = true;
	d->commands[command.cid].sq = sq;
	d->nr_outstanding++;
	entries[ring->index] = command;
	ring->index = (ring->index + 1) % ring->size;
	return command.cid;
}

void nvme_ring_doorbell(struct nvme_driver *d, unsigned int sq)
{
	machine_write(&d->m, doorbell(sq, false), d->sqs[sq].index);
}

static void completed(struct nvme_driver *d, const struct nvme_completion *entry)
{
	if (entry->cid >= NVME_MAX_CIDS || !d->commands[entry->cid].outstanding)
		machine_fail("an entry for command %u, which is not outstanding", entry->cid);
	if (d->commands[entry->cid].sq != entry->sq_id)
		machine_fail("an entry for command %u in queue %u", entry->cid, entry->sq_id);
	if (entry->sq_head >= d->sqs[entry->sq_id].size)
		machine_fail("queue %u has head %u", entry->sq_id, entry->sq_head);
	d->commands[entry->cid].outstanding = false;
	d->commands[entry->cid].status = entry->status >> 1;
	d->commands[entry->cid].result = entry->result;
	d->nr_outstanding--;
}

static unsigned int poll_queue(struct nvme_driver *d, unsigned int n)
{
	struct nvme_ring *ring = &d->cqs[n];
	struct nvme_completion *entries, *entry;
	unsigned int taken = 0;

	if (!ring->size)
		return 0;
	entries = machine_host(&d->m, ring->addr);
	for (;;) {
		entry = &entries[ring->index];
		/* Acquire: pairs with the release of who posts it. */
		if ((__atomic_load_n(&entry->status, __ATOMIC_ACQUIRE) & 1) != ring->phase)
			break;
		completed(d, entry);
		taken++;
		if (++ring->index == ring->size) {
			ring->index = 0;
			ring->phase = !ring->phase;
		}
	}
	if (taken && !d->hold_heads)
		machine_write(&d->m, doorbell(n, true), ring->index);
	return taken;
}

unsigned int nvme_poll(struct nvme_driver *d)
{
	unsigned int n, taken = 0;

	for (n = 0; n <= NVME_TEST_QUEUES; n++)
		taken += poll_queue(d, n);
	return taken;
}

void nvme_wait(struct nvme_driver *d, unsigned int nr)
{
	for (;;) {
		nvme_poll(d);
		if (d->nr_outstanding <= nr)
			return;
		machine_wait_irq(&d->m);
	}
}

uint16_t nvme_status(const struct nvme_driver *d, unsigned int cid)
{
	return d->commands[cid].status & ~NVME_DNR;
}

static unsigned int last_cid(const struct nvme_driver *d)
{
	return (d->next_cid - 1) % NVME_MAX_CIDS;
}

uint16_t nvme_run(struct nvme_driver *d, unsigned int sq, struct nvme_command command)
{
	unsigned int before = d->nr_outstanding, cid = nvme_submit(d, sq, command);

	nvme_ring_doorbell(d, sq);
	nvme_wait(d, before);
	if (d->commands[cid].outstanding)
		machine_fail("another command than %u is completed", cid);
	return nvme_status(d, cid);
}

uint32_t nvme_result(const struct nvme_driver *d)
{
	return d->commands[last_cid(d)].result;
}

static void must(struct nvme_driver *d, struct nvme_command command)
{
	uint16_t status = nvme_run(d, 0, command);

	if (status)
		machine_fail("admin command %#x: status %#x", command.opcode, status);
}

void nvme_create_queues(struct nvme_driver *d, unsigned int n, unsigned int size)
{
	nvme_alloc_ring(d, &d->cqs[n], size);
	must(d, (struct nvme_command) {
		.opcode = NVME_CREATE_CQ, .prp1 = d->cqs[n].addr,
		.cdw10 = (size - 1) << 16 | n, .cdw11 = n << 16 | 3,
	});
	nvme_alloc_ring(d, &d->sqs[n], size);
	must(d, (struct nvme_command) {
		.opcode = NVME_CREATE_SQ, .prp1 = d->sqs[n].addr,
		.cdw10 = (size - 1) << 16 | n, .cdw11 = n << 16 | 1,
	});
}

void nvme_delete_queues(struct nvme_driver *d, unsigned int n)
{
	must(d, (struct nvme_command) { .opcode = NVME_DELETE_SQ, .cdw10 = n });
	must(d, (struct nvme_command) { .opcode = NVME_DELETE_CQ, .cdw10 = n });
}

void nvme_driver_start(struct nvme_driver *d, unsigned int nr_queues, unsigned int size)
{
	unsigned int n;

	machine_spawn(&d->m);
	nvme_enable(d, size);
	for (n = 1; n <= nr_queues; n++)
		nvme_create_queues(d, n, size);
}
