// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device task on a socket that dies, hangs up or breaks the protocol, and what the VMM
 * is told.
 */
#include <sys/wait.h>

#include "ioregionfd_failure_util.h"
#include "ioregionfd_harness.h"

/*
 * Each way in which a socket fails. Recovery is always the same: a new device task is
 * attached, the guest repeats the read that failed, if one did, and goes on.
 */
static void guest_goes_on(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	bool failed = vcpu->run->exit_reason == KVM_EXIT_IOREGIONFD_FAILURE;
	struct guest_op *op = vcpu_script(vcpu)->ops;
	static struct device dev;

	regions_del(vm);
	device_attach(vm, &dev);
	if (failed) {
		run_done(vcpu);
		expect_log(&dev, cmd_read(4, MMIO_DATA, 4));
		TEST_ASSERT_EQ(op->val, device_value(&dev, 0x104, 4));
	}
	op = op_read(vcpu, 8, REGION + 8);
	run_done(vcpu);
	expect_log(&dev, cmd_read(8, MMIO_DATA, 8));
	TEST_ASSERT_EQ(op->val, device_value(&dev, 0x108, 8));

	kvm_vm_free(vm);
	expect_device_released(&dev);
}

FIXTURE(dies)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
};

FIXTURE_SETUP(dies)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	vcpu_thread_init(&self->thread, self->vcpu);
	self->ch = channel_attach(self->vm, TR_SEQPACKET);
	op_read(self->vcpu, 4, REGION + 4);
}

FIXTURE_TEARDOWN(dies)
{
	guest_goes_on(self->vm, self->vcpu);
}

TEST_F(dies, before_the_command)
{
	channel_close_dev(&self->ch);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_read(HANGUP, 0, NONE, 4, REGION + 4));
}

TEST_F(dies, with_the_command_unread)
{
	thread_start(&self->thread);
	TEST_ASSERT(fd_poll(self->ch.dev_rd, POLLIN, HANG_SECONDS * 1000), "no command comes");
	thread_wait_asleep(&self->thread);
	channel_close_dev(&self->ch);
	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, exit_read(HANGUP, ECONNRESET, ALL, 4, REGION + 4));
}

TEST_F(dies, with_half_of_the_command)
{
	char half[16];

	thread_start(&self->thread);
	TEST_ASSERT(fd_poll(self->ch.dev_rd, POLLIN, HANG_SECONDS * 1000), "no command comes");
	TEST_ASSERT(dev_read(&self->ch, half, sizeof(half)), "end of file instead of a command");
	thread_wait_asleep(&self->thread);
	channel_close_dev(&self->ch);
	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, exit_read(HANGUP, 0, ALL, 4, REGION + 4));
}

TEST_F(dies, with_the_command)
{
	thread_start(&self->thread);
	dev_recv(&self->ch);
	thread_wait_asleep(&self->thread);
	channel_close_dev(&self->ch);
	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, exit_read(HANGUP, 0, ALL, 4, REGION + 4));
}

/* The VMM holds no copy of the device task's end, so the death of the process shows. */
TEST_F(dies, killed_process)
{
	pid_t pid = fork();

	TEST_ASSERT(pid >= 0, "fork() failed");
	if (!pid) {
		dev_recv(&self->ch);
		raise(SIGKILL);
	}
	channel_close_dev(&self->ch);
	thread_start(&self->thread);
	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, exit_read(HANGUP, 0, ALL, 4, REGION + 4));
	waitpid(pid, NULL, 0);
}

/*
 * Checks that only the end can be read, as end of file or, if something sent to us
 * stayed unread, as ECONNRESET.
 */
#define expect_no_cmd(ch) __expect_no_cmd(ch, __LINE__)
static void __expect_no_cmd(struct channel *ch, int line)
{
	char buf[64];
	ssize_t n;

	TEST_ASSERT(fd_poll(ch->dev_rd, POLLIN, HANG_SECONDS * 1000),
		    "line %d: the end does not come", line);
	n = recv(ch->dev_rd, buf, sizeof(buf), MSG_DONTWAIT);
	TEST_ASSERT(!n || (n < 0 && errno == ECONNRESET),
		    "line %d: wanted the end, got %zd bytes, errno %d", line, n, n < 0 ? errno : 0);
}

static void dev_shutdown_responses(struct channel *ch)
{
	TEST_ASSERT(!shutdown(ch->dev_wr, SHUT_WR), "shutdown() failed");
}

TEST_F(dies, ends_responses_before_the_command)
{
	dev_shutdown_responses(&self->ch);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_read(HANGUP, 0, NONE, 4, REGION + 4));
	expect_no_cmd(&self->ch);
}

TEST_F(dies, ends_responses_with_the_command)
{
	thread_start(&self->thread);
	dev_recv(&self->ch);
	thread_wait_asleep(&self->thread);
	dev_shutdown_responses(&self->ch);
	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, exit_read(HANGUP, 0, ALL, 4, REGION + 4));
}

/*
 * Nobody reads commands any more. SIGPIPE keeps its default action: the test would die
 * of one.
 */
FIXTURE(epipe)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
};

FIXTURE_SETUP(epipe)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_attach(self->vm, TR_SEQPACKET);
	op_read(self->vcpu, 4, REGION + 4);
}

FIXTURE_TEARDOWN(epipe)
{
	guest_goes_on(self->vm, self->vcpu);
}

static void dev_shutdown_commands(struct channel *ch)
{
	TEST_ASSERT(!shutdown(ch->dev_rd, SHUT_RD), "shutdown() failed");
}

TEST_F(epipe, before_the_command)
{
	dev_shutdown_commands(&self->ch);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_read(HANGUP, 0, NONE, 4, REGION + 4));
}

/* The device task has read the command, so it can still respond. */
TEST_F(epipe, before_the_response)
{
	struct guest_op *op = vcpu_script(self->vcpu)->ops;

	vcpu_thread_init(&self->thread, self->vcpu);
	op_write_other(self->vcpu, 2, PORTS + 2, 0x1234);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	dev_shutdown_commands(&self->ch);
	dev_send(&self->ch, 0x76543210);
	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, exit_pio(exit_write(HANGUP, 0, NONE, 2, PORTS + 2, 0x1234)));
	TEST_ASSERT_EQ(op->val, 0x76543210);
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpu);
}

static int nr_sigpipe;

static void count_sigpipe(int sig)
{
	__atomic_fetch_add(&nr_sigpipe, 1, __ATOMIC_SEQ_CST);
}

TEST_F(epipe, no_sigpipe_is_delivered)
{
	signal(SIGPIPE, count_sigpipe);
	dev_shutdown_commands(&self->ch);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_read(HANGUP, 0, NONE, 4, REGION + 4));
	TEST_ASSERT_EQ(READ_ONCE(nr_sigpipe), 0);
}

/*
 * The device task goes at any moment of a series of posted writes that is longer than
 * the channel.
 */
TEST_F_TIMEOUT(epipe, race, 60)
{
	struct guest_op op = { OP_WRITE, 8, POSTED + 8 };
	struct kvm_run *run = self->vcpu->run;
	unsigned int seed = 1, next;
	int i;

	signal(SIGPIPE, count_sigpipe);
	vcpu_thread_init(&self->thread, self->vcpu);
	vcpu_script(self->vcpu)->nr_ops = 0;
	op.count = 200;
	for (i = 0; i < 40; i++) {
		op_add(self->vcpu, op);
		thread_start(&self->thread);
		for (next = rand_r(&seed) % 60; next; next--)
			dev_recv(&self->ch);
		usleep(rand_r(&seed) % 100);
		dev_shutdown_commands(&self->ch);
		thread_join_exit(&self->thread);
		expect_failure(self->vcpu, exit_posted(HANGUP, 0, NONE, 8, POSTED + 8,
						       run->ioregionfd.data));

		/* A new device task gets the rest of the series. */
		next = run->ioregionfd.data;
		channel_close_dev(&self->ch);
		regions_del(self->vm);
		self->ch = channel_attach(self->vm, TR_SEQPACKET);
		thread_start(&self->thread);
		for (; next < op.count; next++)
			expect_cmd(dev_recv(&self->ch), cmd_posted(8, POSTED_DATA, 8, next));
		thread_join_done(&self->thread);
	}
	TEST_ASSERT_EQ(READ_ONCE(nr_sigpipe), 0);
}

/*
 * Responses that belong to no command.
 */
FIXTURE(talks)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
};

FIXTURE_SETUP(talks)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	vcpu_thread_init(&self->thread, self->vcpu);
	self->ch = channel_attach(self->vm, TR_SEQPACKET);
	op_read(self->vcpu, 4, REGION + 4);
}

FIXTURE_TEARDOWN(talks)
{
	guest_goes_on(self->vm, self->vcpu);
}

TEST_F(talks, before_it_is_asked)
{
	dev_send(&self->ch, 0x11111111);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_read(PROTOCOL, 0, NONE, 4, REGION + 4));
	expect_no_cmd(&self->ch);
}

/* This needs no access, and no vCPU in KVM_RUN. */
TEST_F(talks, and_the_end_comes_at_once)
{
	dev_send(&self->ch, 0x11111111);
	TEST_ASSERT(fd_poll(self->ch.dev_rd, POLLRDHUP, HANG_SECONDS * 1000),
		    "KVM still holds the socket");
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_read(PROTOCOL, 0, NONE, 4, REGION + 4));
}

/* The response counts although its vCPU has left KVM_RUN; what follows it does not. */
TEST_F(talks, twice_to_a_vcpu_that_has_left)
{
	struct guest_op *op = vcpu_script(self->vcpu)->ops;

	op_write(self->vcpu, 8, REGION + 8, DATA);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	thread_interrupt(&self->thread);
	dev_send(&self->ch, 0x33333333);
	dev_send(&self->ch, 0x44444444);
	TEST_ASSERT(fd_poll(self->ch.dev_rd, POLLRDHUP, HANG_SECONDS * 1000),
		    "KVM still holds the socket");
	thread_start(&self->thread);
	thread_join_exit(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x33333333);
	expect_failure(self->vcpu, exit_write(PROTOCOL, 0, NONE, 8, REGION + 8, DATA));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpu);
}

TEST_F(talks, twice)
{
	struct guest_op *op = vcpu_script(self->vcpu)->ops;

	op_write(self->vcpu, 8, REGION + 8, DATA);
	thread_start(&self->thread);
	dev_recv(&self->ch);
	dev_send(&self->ch, 0x33333333);
	dev_send(&self->ch, 0x44444444);
	thread_join_exit(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x33333333);
	/*
	 * Between the two packets a command may be sent, and the second one then is its
	 * response.
	 */
	if (self->vcpu->run->exit_reason == KVM_EXIT_IOREGIONFD_FAILURE) {
		expect_failure(self->vcpu, exit_write(PROTOCOL, 0, NONE, 8, REGION + 8, DATA));
		resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0);
		vcpu_run(self->vcpu);
	}
	expect_done(self->vcpu);
}

TEST_F(talks, after_a_posted_write)
{
	struct guest_script *script = vcpu_script(self->vcpu);

	script->nr_ops = 0;
	op_write(self->vcpu, 4, POSTED, 1);
	run_done(self->vcpu);
	expect_cmd(dev_recv(&self->ch), cmd_posted(4, POSTED_DATA, 0, 1));
	dev_send(&self->ch, 0);

	op_read(self->vcpu, 4, REGION + 4);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_read(PROTOCOL, 0, NONE, 4, REGION + 4));
}

/* The channel has failed for all its regions, and for good. */
TEST_F(talks, and_then_the_channel_has_failed)
{
	dev_send(&self->ch, 0);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_read(PROTOCOL, 0, NONE, 4, REGION + 4));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x4321);
	op_read_other(self->vcpu, 2, PORTS + 2);
	op_write(self->vcpu, 1, POSTED + 1, 0x77);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_pio(exit_read(PROTOCOL, 0, NONE, 2, PORTS + 2)));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x6543);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_posted(PROTOCOL, 0, NONE, 1, POSTED + 1, 0x77));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(vcpu_script(self->vcpu)->ops[0].val, 0x4321);
	TEST_ASSERT_EQ(vcpu_script(self->vcpu)->ops[1].val, other_result(2, 0x6543));
	expect_no_cmd(&self->ch);
}

/*
 * A packet must be exactly one response.
 */
FIXTURE(packets)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
};

FIXTURE_SETUP(packets)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	vcpu_thread_init(&self->thread, self->vcpu);
	self->ch = channel_attach(self->vm, TR_SEQPACKET);
	op_read(self->vcpu, 4, REGION + 4);
}

FIXTURE_TEARDOWN(packets)
{
	guest_goes_on(self->vm, self->vcpu);
}

static void respond_with_packet(struct vcpu_thread *thread, struct channel *ch, size_t size)
{
	char packet[64] = { 1, 2, 3, 4 };

	thread_start(thread);
	dev_recv(ch);
	dev_send_bytes(ch, packet, size);
	thread_join_exit(thread);
	expect_failure(thread->vcpu, exit_read(PROTOCOL, 0, ALL, 4, REGION + 4));
}

TEST_F(packets, one_byte)
{
	respond_with_packet(&self->thread, &self->ch, 1);
}

TEST_F(packets, one_byte_less)
{
	respond_with_packet(&self->thread, &self->ch, 31);
}

TEST_F(packets, one_byte_more)
{
	respond_with_packet(&self->thread, &self->ch, 33);
}

TEST_F(packets, two_responses_in_one)
{
	respond_with_packet(&self->thread, &self->ch, 64);
}

/* read() shows an empty packet like an end of file, but it is not the end. */
TEST_F(packets, empty)
{
	thread_start(&self->thread);
	dev_recv(&self->ch);
	TEST_ASSERT_EQ(send(self->ch.dev_wr, NULL, 0, 0), 0);
	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, exit_read(PROTOCOL, 0, ALL, 4, REGION + 4));
}

/* Each byte that must be 0. */
TEST_F(packets, reserved_bytes)
{
	struct ioregionfd_resp resp = make_resp(0x01020304);
	uint8_t *reserved = (uint8_t *)&resp.status;
	int nr = sizeof(resp) - offsetof(struct ioregionfd_resp, status);
	int i;

	/* An undefined status, and the padding. */
	for (i = 0; i < nr; i++) {
		reserved[i] = i & 1 ? 0x80 : 3;
		thread_start(&self->thread);
		dev_recv(&self->ch);
		dev_send_bytes(&self->ch, &resp, sizeof(resp));
		thread_join_exit(&self->thread);
		expect_failure(self->vcpu, exit_read(PROTOCOL, 0, ALL, 4, REGION + 4));
		reserved[i] = 0;
		if (i == nr - 1)
			break;
		regions_del(self->vm);
		channel_close_dev(&self->ch);
		self->ch = channel_attach(self->vm, TR_SEQPACKET);
	}
}

/* A valid response with a file descriptor attached. */
TEST_F(packets, descriptor)
{
	struct ioregionfd_resp resp = make_resp(0x01020304);
	int fds[2];
	char byte;

	TEST_ASSERT(!pipe(fds), "pipe() failed");
	thread_start(&self->thread);
	dev_recv(&self->ch);
	send_with_fd(self->ch.dev_wr, &resp, sizeof(resp), fds[1]);
	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, exit_read(PROTOCOL, 0, ALL, 4, REGION + 4));

	/* The descriptor has been closed with the socket. */
	close(fds[1]);
	TEST_ASSERT(fd_poll(fds[0], 0, HANG_SECONDS * 1000), "somebody still has the pipe");
	TEST_ASSERT_EQ(read(fds[0], &byte, 1), 0);
}

/*
 * Many vCPUs wait for a device task, which dies.
 */
FIXTURE(many)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct vcpu_thread threads[MAX_VCPUS];
	struct guest_op *ops[MAX_VCPUS];
	struct channel ch;
	struct device dev;
};

FIXTURE_VARIANT(many)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(many, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(many, native) { TR_NATIVE };

FIXTURE_SETUP(many)
{
	int i;

	self->vm = ioregion_vm_create(MAX_VCPUS, guest_script_main, self->vcpus);
	self->ch = channel_attach(self->vm, variant->transport);
	for (i = 0; i < MAX_VCPUS; i++) {
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
		self->ops[i] = op_read(self->vcpus[i], 8, REGION + 8 * i);
	}
	/* The first vCPU's command is on the channel. */
	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, MMIO_DATA, 0));
}

/* All of them retry, on a new device task. */
FIXTURE_TEARDOWN(many)
{
	int i;

	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	for (i = 0; i < MAX_VCPUS; i++)
		thread_start(&self->threads[i]);
	for (i = 0; i < MAX_VCPUS; i++) {
		thread_join_done(&self->threads[i]);
		TEST_ASSERT_EQ(self->ops[i]->val, device_value(&self->dev, 0x100 + 8 * i, 8));
	}
	expect_nr(&self->dev, MAX_VCPUS);
	kvm_vm_free(self->vm);
	expect_device_released(&self->dev);
}

TEST_F(many, all_are_told)
{
	int i;

	for (i = 1; i < MAX_VCPUS; i++) {
		thread_start(&self->threads[i]);
		thread_wait_asleep(&self->threads[i]);
	}
	channel_close_dev(&self->ch);
	for (i = 0; i < MAX_VCPUS; i++) {
		thread_join_exit(&self->threads[i]);
		expect_failure(self->vcpus[i],
			       exit_read(HANGUP, 0, i ? NONE : ALL, 8, REGION + 8 * i));
	}
}

/* Each vCPU learns what became of its own command, whoever noticed the death. */
TEST_F(many, interrupted_ones_are_told_later)
{
	int i;

	thread_interrupt(&self->threads[0]);
	for (i = 1; i < MAX_VCPUS; i++) {
		thread_start(&self->threads[i]);
		thread_wait_asleep(&self->threads[i]);
	}
	thread_interrupt(&self->threads[1]);
	thread_interrupt(&self->threads[2]);
	channel_close_dev(&self->ch);
	thread_join_exit(&self->threads[3]);
	for (i = 0; i < 3; i++) {
		thread_start(&self->threads[i]);
		thread_join_exit(&self->threads[i]);
	}
	for (i = 0; i < MAX_VCPUS; i++)
		expect_failure(self->vcpus[i],
			       exit_read(HANGUP, 0, i ? NONE : ALL, 8, REGION + 8 * i));
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
