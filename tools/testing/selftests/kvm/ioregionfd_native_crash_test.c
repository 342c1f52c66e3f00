// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: a device task that is killed at each point of its
 * loop, 10,000 times in all, and replaced by a fresh process. Fewer on a slow kernel.
 *
 * The model device keeps in shared memory how many accesses of each vCPU it has
 * carried out, as a device that keeps its state on disk would. A command that a former
 * process may have carried out must be flagged as redelivered. Only then may it be
 * the last one that was carried out; it is completed without being carried out again.
 */
#include <sys/prctl.h>

#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define NR_VCPUS	2

enum point {
	P_START,	/* before IOREGIONFD_RECOVER */
	P_RECOVERED,	/* before it fetches a command */
	P_FETCHED,	/* before it carries the command out */
	P_CARRIED_OUT,	/* before it responds */
	P_STORED,	/* with half of the response stored in the mapping */
	P_COMPLETED,	/* before it fetches the next one */
	P_ANY_TIME,	/* anywhere, for example asleep */
	NR_POINTS,
};

/* What survives when a process is killed. */
struct state {
	uint64_t seq[MAX_VCPUS];
	unsigned int redelivered;	/* redelivered commands */
	unsigned int repeated;		/* of these, how many had been carried out */
	unsigned int kills;
	unsigned int at[NR_POINTS];
	unsigned int wanted_kills;
};

struct crash {
	struct state *state;
	enum mode mode;
	int fd;
	/* Where this process dies, and after how many commands. */
	enum point point;
	unsigned int commands;
};

FIXTURE(crash)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[NR_VCPUS];
	struct vcpu_thread threads[NR_VCPUS];
	struct channel ch;
	struct crash crash;
};

FIXTURE_VARIANT(crash)
{
	enum mode mode;
	unsigned int kills;
};

FIXTURE_VARIANT_ADD(crash, read) { MODE_READ, 2500 };
FIXTURE_VARIANT_ADD(crash, ioctl) { MODE_IOCTL, 2500 };
FIXTURE_VARIANT_ADD(crash, uring) { MODE_URING, 2500 };
FIXTURE_VARIANT_ADD(crash, mapping) { MODE_MAPPING, 2500 };

FIXTURE_SETUP(crash)
{
	int i;

	self->vm = ioregion_vm_create(NR_VCPUS, guest_seq_main, self->vcpus);
	write_guest_global(self->vm, seq_count, ~0u);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	seq_regions_add(self->vm, &self->ch);
	if (variant->mode == MODE_READ) {
		/*
		 * read() retires a posted write: if the task is killed then, the write
		 * is lost.
		 */
		region_del(self->vm, MMIO_GPA + 0x1000, 0x1000, 0);
		region_add(self->vm, &self->ch, MMIO_GPA + 0x1000, 0x1000, SEQ_POSTED, 0);
	}
	for (i = 0; i < NR_VCPUS; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
	self->crash.state = mmap(NULL, sizeof(*self->crash.state), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(self->crash.state != MAP_FAILED, "mmap() failed");
	self->crash.state->wanted_kills = variant->kills / slowness();
	self->crash.mode = variant->mode;
	self->crash.fd = self->ch.dev_rd;
}

FIXTURE_TEARDOWN(crash)
{
	kvm_vm_free(self->vm);
	expect_released(&self->ch);
}

static void die_at(struct crash *c, enum point point)
{
	if (c->point != point || c->commands)
		return;
	c->state->at[point]++;
	kill(getpid(), SIGKILL);
}

static void die_at_any_time(unsigned int ns)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
	struct itimerspec timer = { .it_value.tv_nsec = 1 + ns };
	timer_t id;

	TEST_ASSERT(!timer_create(CLOCK_MONOTONIC, &event, &id), "timer_create() failed");
	timer_settime(id, 0, &timer, NULL);
}

/* Carries out a command, unless that has been done. Returns the value of the response. */
static uint64_t carry_out(struct state *state, struct ioregionfd_cmd cmd)
{
	uint64_t id = cmd.offset / (cmd.user_data == SEQ_OTHER ? 0x10 : 0x100), seq;
	struct ioregionfd_cmd last;

	TEST_ASSERT(id < NR_VCPUS, "command beyond the device: offset %llx", cmd.offset);
	TEST_ASSERT(cmd.vcpu_id == id, "command of vCPU %lu says %u", id, cmd.vcpu_id);
	cmd.vcpu_id = 0;
	seq = state->seq[id];
	if (cmd.flags & IOREGIONFD_CMD_F_REDELIVERED) {
		cmd.flags &= ~IOREGIONFD_CMD_F_REDELIVERED;
		state->redelivered++;
		if (seq) {
			last = seq_cmd(id, seq - 1);
			if (!memcmp(&cmd, &last, sizeof(cmd))) {
				state->repeated++;
				return seq_value(id, seq - 1);
			}
		}
	}
	expect_cmd(cmd, seq_cmd(id, seq));
	WRITE_ONCE(state->seq[id], seq + 1);
	return seq_value(id, seq);
}

/* As mapping_complete(), one step at a time. */
static void complete_in_mapping(struct crash *c, struct server *s)
{
	uint32_t i = ioregionfd_id_vcpu(s->arg.id), state;
	struct ioregionfd_mailbox *mailbox = &s->map.mailboxes[i];

	if (i == IOREGIONFD_ANY) {
		__atomic_store_n(&s->map.control->posted_tail, (s->arg.id + 1) << 1,
				 __ATOMIC_SEQ_CST);
		die_at(c, P_STORED);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (READ_ONCE(s->map.control->blocked))
			commit_only(s->fd, 0, 0);
		return;
	}
	mailbox_store_data(mailbox, s->arg.id, s->arg.data);
	die_at(c, P_STORED);
	state = (uint32_t)s->arg.id << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_FETCHED;
	if (!__atomic_compare_exchange_n(&mailbox->state, &state, mailbox_completed(state), false,
					 __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		commit_only(s->fd, s->arg.id, s->arg.data);
}

/* Completes the command without fetching the next one in the same call. */
static void complete_only(struct crash *c, struct server *s)
{
	struct ioregionfd_resp resp = make_resp(s->arg.data);

	if (!s->arg.id)
		return;
	switch (s->mode) {
	case MODE_READ:
		TEST_ASSERT(write(s->fd, &resp, sizeof(resp)) == sizeof(resp), "errno %d", errno);
		break;
	case MODE_URING:
		s->arg.flags = IOREGIONFD_COMMIT_ONLY;
		uring_submit(&s->ring, s->fd, &s->arg, 0);
		TEST_ASSERT_EQ(uring_wait(&s->ring, NULL), 0);
		s->arg.flags = 0;
		break;
	case MODE_MAPPING:
		complete_in_mapping(c, s);
		break;
	default:
		TEST_ASSERT_EQ(commit_only(s->fd, s->arg.id, s->arg.data), 0);
	}
	s->arg.id = 0;
}

/* The process that kills itself at its point; at P_ANY_TIME its parent kills it. */
static void device_process(struct crash *c)
{
	struct server s;
	int r;

	die_at(c, P_START);
	recover(c->fd);
	die_at(c, P_RECOVERED);
	server_open(&s, c->fd, c->mode, IOREGIONFD_ANY);
	while (!(r = server_next(&s))) {
		die_at(c, P_FETCHED);
		if (c->mode == MODE_READ && s.arg.cmd.user_data == SEQ_POSTED)
			s.arg.cmd.flags &= ~IOREGIONFD_CMD_F_RESP;
		s.arg.data = carry_out(c->state, s.arg.cmd);
		die_at(c, P_CARRIED_OUT);
		/* Otherwise the response goes with the call that fetches the next command. */
		if (c->point == P_STORED || c->point == P_COMPLETED)
			complete_only(c, &s);
		die_at(c, P_COMPLETED);
		c->commands -= !!c->commands;
	}
	TEST_FAIL("no next command: %d", r);
}

/*
 * A process that has nothing of the VM but the channel. It is the parent of all device
 * tasks.
 */
static void supervisor(struct crash *c)
{
	unsigned int seed = 1 + c->mode;
	int status;
	pid_t pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	c->fd = dup2(c->fd, 3);
	close_range(4, ~0u, 0);
	while (c->state->kills < c->state->wanted_kills) {
		c->point = rand_r(&seed) % NR_POINTS;
		if (c->point == P_STORED && c->mode != MODE_MAPPING)
			continue;
		c->commands = c->point <= P_RECOVERED ? 0 : rand_r(&seed) % 6;
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork() failed");
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (c->point == P_ANY_TIME) {
				c->state->at[P_ANY_TIME]++;
				die_at_any_time(rand_r(&seed) % 4000000);
			}
			device_process(c);
		}
		TEST_ASSERT(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
			    WTERMSIG(status) == SIGKILL, "a device task ended: 0x%x", status);
		WRITE_ONCE(c->state->kills, c->state->kills + 1);
	}
	c->point = NR_POINTS;
	device_process(c);
}

TEST_F_TIMEOUT(crash, each_access_once, 110)
{
	struct state *state = self->crash.state;
	pid_t pid = fork();
	uint64_t end = 0;
	int status, i;

	TEST_ASSERT(pid >= 0, "fork() failed");
	if (!pid)
		supervisor(&self->crash);
	channel_close_kvm(&self->ch);
	for (i = 0; i < NR_VCPUS; i++)
		thread_start(&self->threads[i]);
	while (READ_ONCE(state->kills) < state->wanted_kills) {
		for (i = 0; i < NR_VCPUS; i++)
			TEST_ASSERT(!thread_returned(&self->threads[i]), "vCPU %d: exit reason %u",
				    i, self->vcpus[i]->run->exit_reason);
		TEST_ASSERT(!waitpid(pid, &status, WNOHANG), "the supervisor ended: 0x%x", status);
		usleep(10000);
	}

	/* Enough: let the guest finish. */
	for (i = 0; i < NR_VCPUS; i++)
		end = max(end, READ_ONCE(state->seq[i]) + 1000);
	write_guest_global(self->vm, seq_count, end);
	for (i = 0; i < NR_VCPUS; i++)
		thread_join_done(&self->threads[i]);
	/* The last accesses may be posted writes, which the guest does not wait for. */
	for (i = 0; i < HANG_SECONDS * 1000; i++) {
		if (READ_ONCE(state->seq[0]) == end && READ_ONCE(state->seq[1]) == end)
			break;
		usleep(1000);
	}
	TEST_ASSERT_EQ(kill(pid, SIGKILL), 0);
	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	TEST_ASSERT_EQ(status, SIGKILL);
	for (i = 0; i < NR_VCPUS; i++)
		TEST_ASSERT_EQ(state->seq[i], end);
	printf("# %u kills, %lu accesses, %u redelivered, %u of them had been carried out; at",
	       state->kills, NR_VCPUS * end, state->redelivered, state->repeated);
	for (i = 0; i < NR_POINTS; i++) {
		printf(" %u", state->at[i]);
		TEST_ASSERT(state->at[i] || (i == P_STORED && variant->mode != MODE_MAPPING),
			    "none at point %d", i);
	}
	printf("\n");
	TEST_ASSERT(state->redelivered && state->repeated, "nothing was ever redelivered");
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
