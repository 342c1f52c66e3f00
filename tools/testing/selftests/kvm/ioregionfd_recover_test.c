// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: IOREGIONFD_RECOVER loses no command, at whatever moment it comes,
 * and in whatever mode the channel is served.
 */
#include "ioregionfd_recover_fixture.h"

/*
 * How many times a thread must have woken up in between before these tests have seen
 * enough.
 */
#define CHANCES		1000

/*
 * Flips the bit that a vCPU sets before it sleeps, while the command is fetched:
 * IOREGIONFD_RECOVER may meet that, and a vCPU cannot do it as often.
 */
static void flip(void *arg)
{
	struct ioregionfd_mailbox *mailbox = arg;
	uint32_t state = READ_ONCE(mailbox->state);

	if ((state & IOREGIONFD_MAILBOX_STATE) != IOREGIONFD_MAILBOX_FETCHED)
		return;
	__atomic_compare_exchange_n(&mailbox->state, &state, state ^ IOREGIONFD_MAILBOX_WAITING,
				    false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

TEST_F_TIMEOUT(recover, while_the_state_changes, 240)
{
	struct guest_op *op = op_read(self->vcpu, 8, SYNC);
	struct shaker flipper = { flip, &self->map.mailboxes[0] };
	struct ioregionfd_fetch arg;
	unsigned int nr = 0;

	/* With the vCPU outside KVM_RUN nobody is woken, and recovery does little else. */
	begin_interrupted(&self->thread);
	arg = fetch_command(&self->map);
	pin_self_to_cpu(0);
	shaker_start(&flipper, 1);
	while (shaker_nr(&flipper) < CHANCES) {
		recover(self->fd);
		nr++;
		TEST_ASSERT(mapping_fetch_mailbox(&self->map, 0, &arg),
			    "the command is lost in recovery number %u: the state is 0x%x",
			    nr, READ_ONCE(self->map.mailboxes[0].state));
		TEST_ASSERT(arg.cmd.flags & IOREGIONFD_CMD_F_REDELIVERED,
			    "the command is not flagged as redelivered");
	}
	shaker_stop(&flipper);
	printf("# recovered %u times\n", nr);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, RIGHT), 0);
	end_interrupted(&self->thread, op, "the last one");
}

/* Also of vCPUs that have not accessed anything yet. */
TEST_F(recover, nobody_polls)
{
	unsigned int i;

	WRITE_ONCE(self->map.control->polling, 1);
	for (i = 0; i < self->map.info.nr_mailboxes; i++)
		WRITE_ONCE(self->map.mailboxes[i].polling, 1);
	recover(self->fd);
	TEST_ASSERT_EQ(READ_ONCE(self->map.control->polling), 0);
	for (i = 0; i < self->map.info.nr_mailboxes; i++)
		TEST_ASSERT(!READ_ONCE(self->map.mailboxes[i].polling), "mailbox %u", i);
}

/*
 * The vCPU itself, which spins for a while and then goes to sleep, for each command
 * once. Each is recovered at about that time.
 */
TEST_F_TIMEOUT(recover, while_the_vcpu_goes_to_sleep, 240)
{
	struct guest_op *op = op_add(self->vcpu, (struct guest_op){
		.kind = OP_READ,
		.size = 8,
		.addr = SYNC,
		.count = -1,
	});
	struct ioregionfd_fetch former = {}, arg;
	struct shaker shaker = {};
	unsigned int i, n;

	set_spin_ns(20000);
	set_cpu(self->thread.thread, 1);
	pin_self_to_cpu(0);
	shaker_start(&shaker, 0);
	thread_start(&self->thread);
	for (i = 0; shaker_nr(&shaker) < CHANCES; i++) {
		WRITE_ONCE(self->map.control->polling, 1);
		for (n = 0; !mapping_fetch_mailbox(&self->map, 0, &former); n++) {
			TEST_ASSERT(n < 10 * HANG_LOOKS, "access %u: the vCPU hangs", i);
			if (n < HANG_LOOKS)
				cpu_relax();
			else
				usleep(1000);
		}
		recover(self->fd);
		arg = fetch_arg(0);
		arg.timeout = HANG_SECONDS * 1000000000l;
		TEST_ASSERT(!commit_and_fetch(self->fd, &arg),
			    "the command of access %u is lost: the state is 0x%x", i,
			    READ_ONCE(self->map.mailboxes[0].state));
		TEST_ASSERT(arg.cmd.flags & IOREGIONFD_CMD_F_REDELIVERED,
			    "the command of access %u is not flagged as redelivered", i);
		TEST_ASSERT_EQ(commit_only(self->fd, former.id, LATE), -ENOENT);
		TEST_ASSERT_EQ(commit_only(self->fd, arg.id, RIGHT), 0);
	}
	shaker_stop(&shaker);
	printf("# %u accesses, each recovered once\n", i);
	thread_interrupt(&self->thread);
	TEST_ASSERT_EQ(op->val, RIGHT);
}

/*
 * All at once: tasks that respond in each mode, some of them slowly, and one that
 * recovers the channel every now and then. Each address has a value of its own.
 */
#define STORM_VCPUS	2
#define STORM_OPS	300
#define STORM_ROUNDS	4

static uint64_t storm_value(uint64_t offset)
{
	return (offset + 1) * 0x9e3779b97f4a7c15ul;
}

struct storm_task {
	enum mode mode;
	struct channel ch;
	pthread_t thread;
	unsigned int accepted, refused;
};

static bool storm_end;

static void storm_count(struct storm_task *t, int r)
{
	TEST_ASSERT(!r || r == -ENOENT, "a response failed: %d", r);
	if (r)
		t->refused++;
	else
		t->accepted++;
}

static void storm_pause(unsigned int *seed)
{
	unsigned int i = rand_r(seed) % 4;

	if (i == 1)
		sched_yield();
	else if (i > 1)
		shake(rand_r(seed) % 300000);
}

static void storm_ioctl(struct storm_task *t, unsigned int *seed)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);

	arg.timeout = 10000000;
	if (commit_and_fetch(t->ch.dev_rd, &arg))
		return;
	storm_pause(seed);
	storm_count(t, commit_only(t->ch.dev_rd, arg.id, storm_value(arg.cmd.offset)));
}

static void storm_mapping(struct storm_task *t, struct mapping *map, unsigned int *seed)
{
	struct ioregionfd_fetch arg = {};
	struct ioregionfd_mailbox *mailbox;
	uint32_t state;

	if (!mapping_fetch(map, IOREGIONFD_ANY, &arg)) {
		shake(50000);
		return;
	}
	storm_pause(seed);
	mailbox = &map->mailboxes[ioregionfd_id_vcpu(arg.id)];
	if (!mailbox_store_data(mailbox, (uint32_t)arg.id, storm_value(arg.cmd.offset))) {
		storm_count(t, -ENOENT);
		return;
	}
	storm_pause(seed);
	state = (uint32_t)arg.id << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_FETCHED;
	if (__atomic_compare_exchange_n(&mailbox->state, &state, mailbox_completed(state), false,
					__ATOMIC_RELEASE, __ATOMIC_RELAXED))
		storm_count(t, 0);
	else
		storm_count(t, commit_only(map->fd, arg.id, storm_value(arg.cmd.offset)));
}

static void storm_read(struct storm_task *t, unsigned int *seed)
{
	struct ioregionfd_cmd cmd;

	if (!fd_poll(t->ch.dev_rd, POLLIN, 10))
		return;
	if (read(t->ch.dev_rd, &cmd, sizeof(cmd)) != sizeof(cmd)) {
		TEST_ASSERT(errno == EAGAIN, "read() failed: %d", -errno);
		return;
	}
	storm_pause(seed);
	storm_count(t, resp_write(t->ch.dev_rd, storm_value(cmd.offset)));
}

static void *storm_main(void *arg)
{
	struct storm_task *t = arg;
	struct mapping map = mapping_open(t->ch.dev_rd);
	unsigned int seed = 7 + t->mode;

	while (!__atomic_load_n(&storm_end, __ATOMIC_ACQUIRE)) {
		switch (t->mode) {
		case MODE_IOCTL:
			storm_ioctl(t, &seed);
			break;
		case MODE_MAPPING:
			storm_mapping(t, &map, &seed);
			break;
		default:
			storm_read(t, &seed);
		}
	}
	mapping_close(&map);
	return NULL;
}

static void *storm_recover(void *arg)
{
	struct channel *ch = arg;
	unsigned int seed = 1;

	while (!__atomic_load_n(&storm_end, __ATOMIC_ACQUIRE)) {
		shake(rand_r(&seed) % 2000000);
		recover(ch->dev_rd);
	}
	return NULL;
}

static void storm_script(struct kvm_vcpu *vcpu, struct guest_op **ops)
{
	int i;

	for (i = 0; i < STORM_OPS; i++)
		ops[i] = op_read(vcpu, 8, SYNC + (vcpu->id * STORM_OPS + i) * 8);
}

TEST_F_TIMEOUT(recover, storm, 240)
{
	struct storm_task tasks[] = {
		{ MODE_IOCTL }, { MODE_IOCTL }, { MODE_MAPPING }, { MODE_MAPPING }, { MODE_READ },
	};
	struct guest_op *ops[STORM_VCPUS][STORM_OPS];
	struct vcpu_thread threads[STORM_VCPUS];
	struct kvm_vcpu *vcpus[STORM_VCPUS];
	struct channel ch;
	struct kvm_vm *vm;
	pthread_t hammer;
	int i, n, round;

	vm = ioregion_vm_create(STORM_VCPUS, guest_script_main, vcpus);
	ch = channel_open_for(vm, TR_NATIVE);
	region_add(vm, &ch, SYNC, 0x4000, SYNC_DATA, 0);
	fcntl(ch.dev_rd, F_SETFL, O_NONBLOCK);
	for (i = 0; i < STORM_VCPUS; i++)
		vcpu_thread_init(&threads[i], vcpus[i]);
	storm_end = false;
	for (i = 0; i < ARRAY_SIZE(tasks); i++) {
		tasks[i].ch = ch;
		n = pthread_create(&tasks[i].thread, NULL, storm_main, &tasks[i]);
		TEST_ASSERT(!n, "pthread_create() failed: %d", n);
	}
	n = pthread_create(&hammer, NULL, storm_recover, &ch);
	TEST_ASSERT(!n, "pthread_create() failed: %d", n);

	for (round = 0; round < STORM_ROUNDS; round++) {
		for (i = 0; i < STORM_VCPUS; i++) {
			storm_script(vcpus[i], ops[i]);
			thread_start(&threads[i]);
		}
		for (i = 0; i < STORM_VCPUS; i++) {
			n = thread_join_timeout(&threads[i], 100);
			TEST_ASSERT_EQ(n, 0);
			expect_done(vcpus[i]);
			for (n = 0; n < STORM_OPS; n++)
				TEST_ASSERT(ops[i][n]->val ==
					    storm_value((i * STORM_OPS + n) * 8),
					    "round %d vCPU %d access %d: the guest got 0x%lx",
					    round, i, n, ops[i][n]->val);
		}
	}
	__atomic_store_n(&storm_end, true, __ATOMIC_RELEASE);
	pthread_join(hammer, NULL);
	for (i = 0, n = 0; i < ARRAY_SIZE(tasks); i++) {
		pthread_join(tasks[i].thread, NULL);
		printf("# task %d: %u responses, %u refused\n", i, tasks[i].accepted,
		       tasks[i].refused);
		n += tasks[i].refused;
	}
	TEST_ASSERT(n, "no response was ever late: nothing was tested");
	kvm_vm_free(vm);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
