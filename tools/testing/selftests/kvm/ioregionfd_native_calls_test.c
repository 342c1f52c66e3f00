// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: what each call that serves them does: which command it fetches, which
 * task is woken, and what ends its wait.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define SYNC		MMIO_GPA
#define POSTED		(MMIO_GPA + 0x1000)
#define SYNC_DATA	USER_DATA(0)
#define POSTED_DATA	USER_DATA(0x1000)

#define MS		1000000l	/* in nanoseconds */

#define MAX_SERVERS	4

FIXTURE(calls)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct vcpu_thread threads[MAX_VCPUS];
	struct guest_op *ops[MAX_VCPUS];
	struct channel ch;
	struct device dev;
	struct mapping map;
	int fd;
	struct server_thread servers[MAX_SERVERS];	/* they end with the VM */
};

FIXTURE_SETUP(calls)
{
	int i;

	self->vm = ioregion_vm_create(MAX_VCPUS, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->fd = self->ch.dev_rd;
	self->map = mapping_open(self->fd);
	self->dev.respond = device_respond_mem;
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(self->vm, &self->ch, POSTED, 0x1000, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	for (i = 0; i < MAX_VCPUS; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
}

FIXTURE_TEARDOWN(calls)
{
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };

	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), self->vm ? -EAGAIN : -ENODEV);
	if (self->vm)
		kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

TEST_F(calls, any_vcpu)
{
	struct ioregionfd_fetch args[MAX_VCPUS];
	unsigned int seen = 0;
	uint32_t vcpu;
	int i;

	for (i = 0; i < MAX_VCPUS; i++)
		self->ops[i] = vcpu_waits(self->threads, i);
	for (i = 0; i < MAX_VCPUS; i++) {
		args[i] = fetch_arg(IOREGIONFD_ANY);
		TEST_ASSERT_EQ(commit_and_fetch(self->fd, &args[i]), 0);
		vcpu = ioregionfd_id_vcpu(args[i].id);
		TEST_ASSERT(vcpu < MAX_VCPUS && !(seen & BIT(vcpu)), "vCPU %u twice", vcpu);
		seen |= BIT(vcpu);
		expect_cmd_of(&args[i], vcpu);
		TEST_ASSERT_EQ(args[i].vcpu, IOREGIONFD_ANY);
	}
	/* In another order. */
	for (i = MAX_VCPUS - 1; i >= 0; i--) {
		vcpu = ioregionfd_id_vcpu(args[i].id);
		TEST_ASSERT_EQ(commit_only(self->fd, args[i].id, vcpu_value(vcpu)), 0);
		thread_join_done(&self->threads[vcpu]);
		TEST_ASSERT_EQ(self->ops[vcpu]->val, vcpu_value(vcpu));
	}
}

TEST_F(calls, one_vcpu)
{
	struct ioregionfd_fetch arg = fetch_arg(2);

	self->ops[1] = vcpu_waits(self->threads, 1);
	self->ops[2] = vcpu_waits(self->threads, 2);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd_of(&arg, 2);
	arg.data = vcpu_value(2);
	arg.timeout = 100 * MS;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -ETIMEDOUT);
	TEST_ASSERT_EQ(arg.id, 0);
	thread_join_done(&self->threads[2]);
	TEST_ASSERT_EQ(self->ops[2]->val, vcpu_value(2));

	arg = fetch_arg(1);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd_of(&arg, 1);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, vcpu_value(1)), 0);
	thread_join_done(&self->threads[1]);
	TEST_ASSERT_EQ(self->ops[1]->val, vcpu_value(1));
}

/* No vCPU starves while another one is quick to come back. */
TEST_F(calls, each_vcpu_gets_its_turn)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	struct guest_op op = { OP_READ, 8, SYNC };
	unsigned int nr[2] = { 0 };
	int i;

	op.count = 50;
	for (i = 0; i < 2; i++) {
		op_add(self->vcpus[i], op);
		thread_start(&self->threads[i]);
		thread_wait_asleep(&self->threads[i]);
	}
	for (i = 0; i < 100; i++) {
		TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
		nr[ioregionfd_id_vcpu(arg.id)]++;
		/* Both have a command each time. */
		TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0), 0);
		while (nr[ioregionfd_id_vcpu(arg.id)] < 50 &&
		       !thread_asleep(&self->threads[ioregionfd_id_vcpu(arg.id)]))
			usleep(100);
		arg.id = 0;
		TEST_ASSERT(nr[0] < nr[1] + 2 && nr[1] < nr[0] + 2, "%u to %u", nr[0], nr[1]);
	}
	for (i = 0; i < 2; i++)
		thread_join_done(&self->threads[i]);
}

TEST_F(calls, timeout)
{
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY, .timeout = 300 * MS };
	uint64_t begin = now_ms(), took;

	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -ETIMEDOUT);
	took = now_ms() - begin;
	TEST_ASSERT(took >= 300 && took < 5000, "the call took %lu ms", took);

	arg.timeout = 0;
	begin = now_ms();
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EAGAIN);
	TEST_ASSERT(now_ms() - begin < 200, "the call took %lu ms", now_ms() - begin);
}

TEST_F(calls, commit_only)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);

	self->ops[0] = vcpu_waits(self->threads, 0);
	self->ops[1] = vcpu_waits(self->threads, 1);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	arg.flags = IOREGIONFD_COMMIT_ONLY;
	arg.data = 1;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	TEST_ASSERT_EQ(arg.id, 0);
	/* The other command is still there. */
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	TEST_ASSERT_EQ(arg.id, 0);
	arg.flags = 0;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 1), 0);
	thread_join_done(&self->threads[0]);
	thread_join_done(&self->threads[1]);
}

/* Each task sleeps for its own vCPU, and only the right one is woken. */
TEST_F(calls, wakes_the_right_one)
{
	struct server_thread *servers = self->servers;
	int i, j;

	for (i = 0; i < MAX_VCPUS; i++) {
		server_start(&servers[i], &self->dev, self->fd, i & 1 ? MODE_URING : MODE_IOCTL, i);
		server_wait_asleep(&servers[i]);
	}
	for (i = MAX_VCPUS - 1; i >= 0; i--) {
		op_read(self->vcpus[i], 8, SYNC);
		run_done(self->vcpus[i]);
		for (j = 0; j < MAX_VCPUS; j++)
			TEST_ASSERT_EQ(servers[j].nr, j >= i);
	}
}

static int signal_fd;

static void interrupt_handler(int sig)
{
	ioctl(signal_fd, IOREGIONFD_INTERRUPT);
}

TEST_F(calls, interrupted_by_signal)
{
	struct server_thread *server = self->servers;

	server_start(server, &self->dev, self->fd, MODE_IOCTL, IOREGIONFD_ANY);
	server_wait_asleep(server);
	catch_sigusr1();
	pthread_kill(server->thread, SIGUSR1);
	server_join(server, -EINTR);
}

/* As on a socket, read() goes on after a handler with SA_RESTART. */
TEST_F(calls, read_restarts)
{
	struct server_thread *server = self->servers;
	int i;

	server_start(server, &self->dev, self->fd, MODE_READ, IOREGIONFD_ANY);
	catch_sigusr1();
	for (i = 0; i < 3; i++) {
		server_wait_asleep(server);
		pthread_kill(server->thread, SIGUSR1);
	}
	op_read(self->vcpus[0], 8, SYNC);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(server->nr, 1);
}

/* The command has been completed, whatever ends the wait after that. */
TEST_F(calls, interrupted_after_the_response)
{
	struct server_thread *server = self->servers;

	server_start(server, &self->dev, self->fd, MODE_IOCTL, IOREGIONFD_ANY);
	op_read(self->vcpus[0], 8, SYNC);
	run_done(self->vcpus[0]);
	server_wait_asleep(server);
	TEST_ASSERT(!ioctl(self->fd, IOREGIONFD_INTERRUPT), "errno %d", errno);
	server_join(server, -ECANCELED);
	TEST_ASSERT_EQ(server->server.arg.id, 0);
}

/* IOREGIONFD_INTERRUPT ends one call. It does not end a command of io_uring. */
TEST_F(calls, interrupt_of_sleepers)
{
	struct server_thread *servers = self->servers;
	int i, ended, seen = 0;

	server_start(&servers[0], &self->dev, self->fd, MODE_IOCTL, IOREGIONFD_ANY);
	server_start(&servers[1], &self->dev, self->fd, MODE_IOCTL, 1);
	server_start(&servers[2], &self->dev, self->fd, MODE_URING, IOREGIONFD_ANY);
	server_start(&servers[3], &self->dev, self->fd, MODE_URING, 1);
	for (i = 0; i < 4; i++)
		server_wait_asleep(&servers[i]);
	while (seen < 2) {
		TEST_ASSERT(!ioctl(self->fd, IOREGIONFD_INTERRUPT), "errno %d", errno);
		usleep(100000);
		for (i = 0, ended = 0; i < 4; i++)
			ended += __atomic_load_n(&servers[i].ended, __ATOMIC_ACQUIRE);
		TEST_ASSERT_EQ(ended, ++seen);
	}
	for (i = 0; i < 2; i++)
		server_join(&servers[i], -ECANCELED);

	/* The next call that would wait is interrupted; these do not wait. */
	TEST_ASSERT(!ioctl(self->fd, IOREGIONFD_INTERRUPT), "errno %d", errno);
	server_start(&servers[0], &self->dev, self->fd, MODE_IOCTL, IOREGIONFD_ANY);
	server_join(&servers[0], -ECANCELED);
	for (i = 0; i < 2; i++) {
		op_read(self->vcpus[i], 8, SYNC);
		run_done(self->vcpus[i]);
	}
	TEST_ASSERT_EQ(servers_nr(&servers[2], 2), 2);
	kvm_vm_free(self->vm);
	for (i = 2; i < 4; i++)
		server_join(&servers[i], -ENODEV);
	self->vm = NULL;
}

TEST_F(calls, interrupt_before_sleep)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);

	TEST_ASSERT(!ioctl(self->fd, IOREGIONFD_INTERRUPT), "errno %d", errno);
	/* Not a call that does not wait. */
	arg.timeout = 0;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EAGAIN);
	arg.flags = IOREGIONFD_COMMIT_ONLY;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	arg = fetch_arg(IOREGIONFD_ANY);
	self->ops[0] = vcpu_waits(self->threads, 0);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0), 0);
	thread_join_done(&self->threads[0]);

	arg.id = 0;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -ECANCELED);
	arg.timeout = 100 * MS;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -ETIMEDOUT);
}

/* From a signal handler that runs at any moment: no interrupt is lost. */
TEST_F(calls, interrupt_from_handler)
{
	struct sigaction sa = { .sa_handler = interrupt_handler, .sa_flags = SA_RESTART };
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	struct itimerspec timer = { 0 };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	timer_t id;
	int i, r;

	signal_fd = self->fd;
	sigaction(SIGALRM, &sa, NULL);
	TEST_ASSERT(!timer_create(CLOCK_MONOTONIC, &event, &id), "timer_create() failed");
	for (i = 0; i < 300; i++) {
		timer.it_value.tv_nsec = 1000 + i * 1000;
		timer_settime(id, 0, &timer, NULL);
		r = commit_and_fetch(self->fd, &arg);
		TEST_ASSERT(r == -EINTR || r == -ECANCELED, "turn %d: %d", i, r);
		/* The signal itself may have ended the call. */
		arg.timeout = 1;
		r = commit_and_fetch(self->fd, &arg);
		TEST_ASSERT(r == -ETIMEDOUT || r == -ECANCELED, "turn %d: %d", i, r);
		arg.timeout = HANG_SECONDS * 1000 * MS;
	}
	timer_delete(id);
}

/* poll() says whether read() would wait. */
TEST_F(calls, poll)
{
	struct pollfd pfd = { .fd = self->fd, .events = POLLIN | POLLOUT };
	struct ioregionfd_cmd cmd;

	fcntl(self->fd, F_SETFL, O_NONBLOCK);
	TEST_ASSERT_EQ(poll(&pfd, 1, 0), 1);
	TEST_ASSERT_EQ(pfd.revents, POLLOUT);

	self->ops[0] = vcpu_waits(self->threads, 0);
	self->ops[1] = vcpu_waits(self->threads, 1);
	poll(&pfd, 1, 0);
	TEST_ASSERT_EQ(pfd.revents, POLLIN | POLLOUT);
	dev_recv(&self->ch);
	/* There is another command, but its turn has not come. */
	poll(&pfd, 1, 0);
	TEST_ASSERT_EQ(pfd.revents, POLLOUT);
	TEST_ASSERT(read(self->fd, &cmd, sizeof(cmd)) < 0 && errno == EAGAIN, "errno %d", errno);
	dev_send(&self->ch, 0);
	TEST_ASSERT(dev_has_cmd(&self->ch), "the other one is not there");
	dev_recv(&self->ch);
	dev_send(&self->ch, 0);
	thread_join_done(&self->threads[0]);
	thread_join_done(&self->threads[1]);
	poll(&pfd, 1, 0);
	TEST_ASSERT_EQ(pfd.revents, POLLOUT);

	op_write(self->vcpus[0], 4, POSTED, 1);
	run_done(self->vcpus[0]);
	TEST_ASSERT(dev_has_cmd(&self->ch), "a posted write is not there");
	expect_cmd(dev_recv(&self->ch), cmd_posted(4, POSTED_DATA, 0, 1));
	TEST_ASSERT(!dev_has_cmd(&self->ch), "the command is still there");
}

/* Edge-triggered: one event for each command, including those that wait for a write(). */
TEST_F(calls, epoll_edges)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int epoll = epoll_create1(0);

	TEST_ASSERT(!epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &event), "errno %d", errno);
	TEST_ASSERT_EQ(epoll_wait(epoll, &event, 1, 0), 0);
	self->ops[0] = vcpu_waits(self->threads, 0);
	TEST_ASSERT_EQ(epoll_wait(epoll, &event, 1, HANG_SECONDS * 1000), 1);
	dev_recv(&self->ch);
	self->ops[1] = vcpu_waits(self->threads, 1);
	/* Not yet: it could not be read. */
	TEST_ASSERT_EQ(epoll_wait(epoll, &event, 1, 0), 0);
	dev_send(&self->ch, 0);
	TEST_ASSERT_EQ(epoll_wait(epoll, &event, 1, HANG_SECONDS * 1000), 1);
	dev_recv(&self->ch);
	dev_send(&self->ch, 0);
	thread_join_done(&self->threads[0]);
	thread_join_done(&self->threads[1]);
	close(epoll);
}

/*
 * A task that waits in read() gets the next command once the last one is completed, by
 * whomever.
 */
TEST_F(calls, read_waits_for_the_completion)
{
	self->ops[0] = vcpu_waits(self->threads, 0);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, SYNC_DATA, 0));
	server_start(&self->servers[0], &self->dev, self->fd, MODE_READ, IOREGIONFD_ANY);
	server_wait_asleep(&self->servers[0]);
	self->ops[1] = vcpu_waits(self->threads, 1);
	server_wait_asleep(&self->servers[0]);
	TEST_ASSERT_EQ(self->servers[0].nr, 0);
	dev_send(&self->ch, vcpu_value(0));
	thread_join_done(&self->threads[0]);
	thread_join_done(&self->threads[1]);
	TEST_ASSERT_EQ(self->ops[0]->val, vcpu_value(0));
	TEST_ASSERT_EQ(self->servers[0].nr, 1);
}

/* Commands that are fetched in one mode and completed in another. */
TEST_F(calls, other_ways_to_complete)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);

	/* Fetched in the mapping, completed by ioctl. */
	self->ops[0] = vcpu_waits(self->threads, 0);
	TEST_ASSERT(mapping_fetch_mailbox(&self->map, 0, &arg), "nothing to fetch");
	expect_cmd_of(&arg, 0);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, vcpu_value(0)), 0);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(self->ops[0]->val, vcpu_value(0));

	/* Fetched by ioctl, completed in the mapping as far as that is possible. */
	self->ops[1] = vcpu_waits(self->threads, 1);
	arg = fetch_arg(IOREGIONFD_ANY);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	TEST_ASSERT(!mapping_fetch_mailbox(&self->map, 1, &arg), "the command was fetched twice");
	mapping_complete(&self->map, arg.id, vcpu_value(1));
	thread_join_done(&self->threads[1]);
	TEST_ASSERT_EQ(self->ops[1]->val, vcpu_value(1));

	/* Fetched by read(), while another command waits for its completion by ioctl. */
	self->ops[2] = vcpu_waits(self->threads, 2);
	arg = fetch_arg(2);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	self->ops[3] = vcpu_waits(self->threads, 3);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, SYNC_DATA, 0x300));
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, vcpu_value(2)), 0);
	thread_join_done(&self->threads[2]);
	dev_send(&self->ch, vcpu_value(3));
	thread_join_done(&self->threads[3]);
	TEST_ASSERT_EQ(self->ops[2]->val, vcpu_value(2));
	TEST_ASSERT_EQ(self->ops[3]->val, vcpu_value(3));
}

/* The states that a mailbox goes through. */
TEST_F(calls, mapping_states)
{
	struct ioregionfd_mailbox *mailbox = &self->map.mailboxes[1];
	struct ioregionfd_fetch arg = { 0 };
	uint32_t state, number;

	TEST_ASSERT_EQ(mailbox->state, IOREGIONFD_MAILBOX_FREE);
	self->ops[1] = vcpu_waits(self->threads, 1);
	state = READ_ONCE(mailbox->state);
	number = state >> IOREGIONFD_MAILBOX_SHIFT;
	TEST_ASSERT_EQ(state, number << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_PENDING |
		       IOREGIONFD_MAILBOX_WAITING);
	expect_cmd(mailbox->cmd, cmd_read(8, SYNC_DATA, 0x100));
	TEST_ASSERT_EQ(mailbox->posted_before, 0);
	TEST_ASSERT(mapping_fetch_mailbox(&self->map, 1, &arg), "nothing to fetch");
	TEST_ASSERT_EQ(arg.id, 2ul << 32 | number);
	state = READ_ONCE(mailbox->state);
	TEST_ASSERT_EQ(state, number << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_FETCHED |
		       IOREGIONFD_MAILBOX_WAITING);
	TEST_ASSERT(!mapping_fetch_mailbox(&self->map, 1, &arg), "the command was fetched twice");

	/* A sleeping vCPU has to be woken, which a store alone does not do. */
	mapping_complete(&self->map, arg.id, 0x77);
	thread_join_done(&self->threads[1]);
	TEST_ASSERT_EQ(self->ops[1]->val, 0x77);
	TEST_ASSERT_EQ(mailbox->state,
		       number << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_COMPLETE);

	self->ops[1] = vcpu_waits(self->threads, 1);
	state = READ_ONCE(mailbox->state);
	TEST_ASSERT_EQ(state >> IOREGIONFD_MAILBOX_SHIFT, number + 1);
	TEST_ASSERT(mapping_fetch_mailbox(&self->map, 1, &arg), "nothing to fetch");
	mapping_complete(&self->map, arg.id, 0x88);
	thread_join_done(&self->threads[1]);
	TEST_ASSERT_EQ(self->ops[1]->val, 0x88);
}

/* As long as somebody says that it polls, nobody is woken. */
static void expect_woken_if_not(uint32_t *polling, struct server_thread *server,
				struct vcpu_thread *vcpu)
{
	unsigned int nr = server->nr;
	struct ioregionfd_fetch arg = { 0 };
	struct guest_op *op;

	server_wait_asleep(server);
	WRITE_ONCE(*polling, 1);
	op = op_read(vcpu->vcpu, 8, SYNC);
	thread_start(vcpu);
	thread_wait_asleep(vcpu);
	usleep(100000);
	TEST_ASSERT_EQ(READ_ONCE(server->nr), nr);
	/* The polling task finds the command. */
	TEST_ASSERT(mapping_fetch(&server->server.map, vcpu->vcpu->id, &arg), "nothing to fetch");
	mapping_complete(&server->server.map, arg.id, 0x1234);
	thread_join_done(vcpu);
	TEST_ASSERT_EQ(op->val, 0x1234);

	WRITE_ONCE(*polling, 0);
	op = op_read(vcpu->vcpu, 8, SYNC);
	run_done(vcpu->vcpu);
	TEST_ASSERT_EQ(READ_ONCE(server->nr), nr + 1);
}

TEST_F(calls, announced_polling)
{
	struct server_thread *server = self->servers;
	int i;

	server_start(server, &self->dev, self->fd, MODE_IOCTL, IOREGIONFD_ANY);
	server->server.map = self->map;
	expect_woken_if_not(&self->map.control->polling, server, &self->threads[0]);
	expect_woken_if_not(&self->map.mailboxes[0].polling, server, &self->threads[0]);

	/* The flag of one mailbox does not count for others, nor for posted writes. */
	self->map.mailboxes[0].polling = 1;
	i = server->nr;
	op_read(self->vcpus[1], 8, SYNC);
	run_done(self->vcpus[1]);
	op_write(self->vcpus[0], 8, POSTED, 1);
	run_done(self->vcpus[0]);
	while (READ_ONCE(server->nr) < i + 2)
		usleep(1000);
	self->map.mailboxes[0].polling = 0;

	/* The flag of the channel counts for posted writes too. */
	server_wait_asleep(server);
	self->map.control->polling = 1;
	op_write(self->vcpus[0], 8, POSTED, 1);
	run_done(self->vcpus[0]);
	usleep(100000);
	TEST_ASSERT_EQ(READ_ONCE(server->nr), i + 2);
	self->map.control->polling = 0;
	op_write(self->vcpus[0], 8, POSTED, 1);
	run_done(self->vcpus[0]);
	while (READ_ONCE(server->nr) < i + 4)
		usleep(1000);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
