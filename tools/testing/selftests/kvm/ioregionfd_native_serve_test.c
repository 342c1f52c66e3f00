// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: all kinds of guest access, in each mode of serving them, alone and
 * mixed, by one task or by several.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define MAX_SERVERS	4

FIXTURE(modes)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct vcpu_thread threads[MAX_VCPUS];
	struct channel ch;
	struct device dev;
	struct server_thread servers[MAX_SERVERS];
	unsigned int nr_servers;
	bool sync;
};

FIXTURE_VARIANT(modes)
{
	enum mode modes[MAX_SERVERS];
	unsigned int nr;
	bool own;	/* server number n serves vCPU n */
};

#define MIX(...) { __VA_ARGS__ }
FIXTURE_VARIANT_ADD(modes, read) { MIX(MODE_READ), 1 };
FIXTURE_VARIANT_ADD(modes, poll) { MIX(MODE_POLL), 1 };
FIXTURE_VARIANT_ADD(modes, epoll) { MIX(MODE_EPOLL), 1 };
FIXTURE_VARIANT_ADD(modes, ioctl) { MIX(MODE_IOCTL), 1 };
FIXTURE_VARIANT_ADD(modes, uring) { MIX(MODE_URING), 1 };
FIXTURE_VARIANT_ADD(modes, uring_async) { MIX(MODE_URING_ASYNC), 1 };
FIXTURE_VARIANT_ADD(modes, mapping) { MIX(MODE_MAPPING), 1 };
FIXTURE_VARIANT_ADD(modes, two_read) { MIX(MODE_READ, MODE_READ), 2 };
FIXTURE_VARIANT_ADD(modes, two_ioctl) { MIX(MODE_IOCTL, MODE_IOCTL), 2 };
FIXTURE_VARIANT_ADD(modes, two_uring) { MIX(MODE_URING, MODE_URING), 2 };
FIXTURE_VARIANT_ADD(modes, two_uring_async) { MIX(MODE_URING_ASYNC, MODE_URING_ASYNC), 2 };
FIXTURE_VARIANT_ADD(modes, two_mapping) { MIX(MODE_MAPPING, MODE_MAPPING), 2 };
FIXTURE_VARIANT_ADD(modes, read_and_ioctl) { MIX(MODE_READ, MODE_IOCTL), 2 };
FIXTURE_VARIANT_ADD(modes, poll_and_uring) { MIX(MODE_POLL, MODE_URING), 2 };
FIXTURE_VARIANT_ADD(modes, ioctl_and_mapping) { MIX(MODE_IOCTL, MODE_MAPPING), 2 };
FIXTURE_VARIANT_ADD(modes, all) { MIX(MODE_READ, MODE_IOCTL, MODE_URING, MODE_MAPPING), 4 };
FIXTURE_VARIANT_ADD(modes, own_ioctl)
	{ MIX(MODE_IOCTL, MODE_IOCTL, MODE_IOCTL, MODE_IOCTL), 4, true };
FIXTURE_VARIANT_ADD(modes, own_uring)
	{ MIX(MODE_URING, MODE_URING, MODE_URING, MODE_URING), 4, true };
FIXTURE_VARIANT_ADD(modes, own_mapping)
	{ MIX(MODE_MAPPING, MODE_MAPPING, MODE_MAPPING, MODE_MAPPING), 4, true };
FIXTURE_VARIANT_ADD(modes, own_mixed)
	{ MIX(MODE_IOCTL, MODE_URING_ASYNC, MODE_MAPPING, MODE_IOCTL), 4, true };

/*
 * read() retires a posted write at once, so another task may fetch what comes after it.
 * With several readers nothing may be posted if the order is to be known.
 */
static uint64_t device_respond_seq_sync(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	struct ioregionfd_cmd posted = *cmd;

	TEST_ASSERT(cmd->flags & IOREGIONFD_CMD_F_RESP, "the command wants no response");
	if (cmd->user_data == SEQ_POSTED)
		posted.flags &= ~IOREGIONFD_CMD_F_RESP;
	return device_respond_seq(dev, &posted);
}

static void regions_add(struct kvm_vm *vm, struct channel *ch, bool sync)
{
	seq_regions_add(vm, ch);
	if (!sync)
		return;
	region_del(vm, MMIO_GPA + 0x1000, 0x1000, 0);
	region_add(vm, ch, MMIO_GPA + 0x1000, 0x1000, SEQ_POSTED, 0);
}

FIXTURE_SETUP(modes)
{
	uint32_t i;

	self->vm = ioregion_vm_create(MAX_VCPUS, guest_seq_main, self->vcpus);
	write_guest_global(self->vm, seq_count, 600);
	for (i = 0; i < variant->nr; i++)
		self->sync |= variant->nr > 1 && variant->modes[i] <= MODE_EPOLL;
	self->dev.respond = self->sync ? device_respond_seq_sync : device_respond_seq;
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	regions_add(self->vm, &self->ch, self->sync);
	for (i = 0; i < MAX_VCPUS; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
	self->nr_servers = variant->nr;
	for (i = 0; i < variant->nr; i++)
		server_start(&self->servers[i], &self->dev, self->ch.dev_rd, variant->modes[i],
			     variant->own ? i : IOREGIONFD_ANY);
}

/* The end of the VM ends every wait. */
FIXTURE_TEARDOWN(modes)
{
	int i;

	for (i = 0; i < self->nr_servers; i++)
		server_wait_asleep(&self->servers[i]);
	kvm_vm_free(self->vm);
	for (i = 0; i < self->nr_servers; i++)
		server_join(&self->servers[i], -ENODEV);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

static bool servers_all_served(struct server_thread *servers, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (!__atomic_load_n(&servers[i].nr, __ATOMIC_ACQUIRE))
			return false;
	return true;
}

/* Whether each task is sure to get something: nobody is woken while another task polls. */
static bool modes_are_fair(const enum mode *modes, unsigned int nr, bool own)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (modes[i] == MODE_MAPPING && nr > 1 && !own)
			return false;
	return true;
}

TEST_F_TIMEOUT(modes, each_access_once, 100)
{
	bool fair = modes_are_fair(variant->modes, variant->nr, variant->own);
	uint64_t end = 600, begin;
	int i;

	/* There is no promise which task gets what: go on until each has had something. */
	write_guest_global(self->vm, seq_count, ~0u);
	for (i = 0; i < MAX_VCPUS; i++)
		thread_start(&self->threads[i]);
	for (begin = now_ms(); now_ms() - begin < (fair ? 30000 : 2000); usleep(1000)) {
		if (servers_all_served(self->servers, variant->nr))
			break;
	}
	/* A guest cannot be so far ahead of its device. */
	for (i = 0; i < MAX_VCPUS; i++)
		end = max(end, READ_ONCE(self->dev.seq[i]) + 1000);
	write_guest_global(self->vm, seq_count, end);
	for (i = 0; i < MAX_VCPUS; i++) {
		TEST_ASSERT_EQ(thread_join_timeout(&self->threads[i], 40), 0);
		expect_done(self->vcpus[i]);
	}
	for (begin = now_ms(); now_ms() - begin < HANG_SECONDS * 1000; usleep(1000)) {
		if (servers_nr(self->servers, variant->nr) == MAX_VCPUS * end)
			break;
	}
	TEST_ASSERT_EQ(servers_nr(self->servers, variant->nr), MAX_VCPUS * end);
	for (i = 0; i < variant->nr; i++)
		TEST_ASSERT(!fair || self->servers[i].nr, "task %d did nothing", i);
}

/* Removing all regions ends no wait, and new regions are served. */
TEST_F(modes, deassign_while_asleep)
{
	int i;

	for (i = 0; i < variant->nr; i++)
		server_wait_asleep(&self->servers[i]);
	region_del(self->vm, MMIO_GPA, 0x1000, 0);
	region_del(self->vm, MMIO_GPA + 0x1000, 0x1000, 0);
	region_del(self->vm, OTHER_BASE, 0x100, OTHER_FLAGS);
	for (i = 0; i < variant->nr; i++)
		server_wait_asleep(&self->servers[i]);
	TEST_ASSERT_EQ(servers_nr(self->servers, variant->nr), 0);

	regions_add(self->vm, &self->ch, self->sync);
	write_guest_global(self->vm, seq_count, 8);
	for (i = 0; i < MAX_VCPUS; i++)
		thread_start(&self->threads[i]);
	for (i = 0; i < MAX_VCPUS; i++)
		thread_join_done(&self->threads[i]);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
