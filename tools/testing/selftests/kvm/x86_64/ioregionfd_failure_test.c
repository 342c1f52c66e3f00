// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device task that dies, hangs up or breaks the protocol: what the VMM is told, and
 * what it can do then.
 */
#include <sys/wait.h>

#include "ioregionfd_harness.h"

/* The region crosses a page boundary. */
#define REGION		(MMIO_GPA + 0xf00)
#define REGION_SIZE	0x200
#define POSTED		(MMIO_GPA + 0x2000)
#define POSTED_SIZE	0x1000
#define PORTS		(PIO_BASE + 0x40)
#define PORTS_SIZE	0x10

#define MMIO_DATA	USER_DATA(0x100)
#define POSTED_DATA	USER_DATA(0x1000)
#define PIO_DATA	USER_DATA(0x2000)

#define DATA		0xf1e2d3c4b5a69788ul

#define HANGUP		KVM_IOREGIONFD_FAIL_HANGUP
#define IO		KVM_IOREGIONFD_FAIL_IO
#define PROTOCOL	KVM_IOREGIONFD_FAIL_PROTOCOL
#define DEASSIGNED	KVM_IOREGIONFD_FAIL_DEASSIGNED
#define NONE		KVM_IOREGIONFD_SENT_NONE
#define ALL		KVM_IOREGIONFD_SENT_ALL

/* The exit that the VMM must get for a read of memory. */
static struct kvm_ioregionfd_exit exit_read(uint8_t reason, uint32_t error, uint8_t progress,
					    uint32_t size, uint64_t addr)
{
	return (struct kvm_ioregionfd_exit){
		.region_paddr = REGION,
		.region_size = REGION_SIZE,
		.user_data = MMIO_DATA,
		.guest_paddr = addr,
		.size = size,
		.reason = reason,
		.error = error,
		.progress = progress,
		.action = KVM_IOREGIONFD_UNDECIDED,
	};
}

static struct kvm_ioregionfd_exit exit_write(uint8_t reason, uint32_t error, uint8_t progress,
					     uint32_t size, uint64_t addr, uint64_t data)
{
	struct kvm_ioregionfd_exit exit = exit_read(reason, error, progress, size, addr);

	exit.is_write = 1;
	exit.data = low_bytes(data, size);
	return exit;
}

static struct kvm_ioregionfd_exit exit_posted(uint8_t reason, uint32_t error, uint8_t progress,
					      uint32_t size, uint64_t addr, uint64_t data)
{
	struct kvm_ioregionfd_exit exit = exit_write(reason, error, progress, size, addr, data);

	exit.region_paddr = POSTED;
	exit.region_size = POSTED_SIZE;
	exit.user_data = POSTED_DATA;
	return exit;
}

static struct kvm_ioregionfd_exit exit_pio(struct kvm_ioregionfd_exit exit)
{
	exit.region_paddr = PORTS;
	exit.region_size = PORTS_SIZE;
	exit.user_data = PIO_DATA;
	exit.is_pio = 1;
	return exit;
}

static void regions_add(struct kvm_vm *vm, struct channel *ch)
{
	region_add(vm, ch, REGION, REGION_SIZE, MMIO_DATA, 0);
	region_add(vm, ch, POSTED, POSTED_SIZE, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	region_add(vm, ch, PORTS, PORTS_SIZE, PIO_DATA, KVM_IOREGION_PIO);
}

static void regions_del(struct kvm_vm *vm)
{
	region_del(vm, REGION, REGION_SIZE, 0);
	region_del(vm, POSTED, POSTED_SIZE, 0);
	region_del(vm, PORTS, PORTS_SIZE, KVM_IOREGION_PIO);
}

/* A channel whose device task is the test, and of which only KVM holds the VMM's end. */
static struct channel channel_attach(struct kvm_vm *vm, enum transport transport)
{
	struct channel ch = channel_open_for(vm, transport);

	channel_shrink(&ch);
	regions_add(vm, &ch);
	channel_close_kvm(&ch);
	return ch;
}

static void device_attach(struct kvm_vm *vm, struct device *dev)
{
	device_start(dev, TR_SEQPACKET);
	regions_add(vm, &dev->ch);
}

static void resolve(struct kvm_vcpu *vcpu, uint32_t action, uint64_t data)
{
	vcpu->run->ioregionfd.action = action;
	vcpu->run->ioregionfd.data = data;
}

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
	op_out(self->vcpu, 2, PORTS + 2, 0x1234);
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
	op_in(self->vcpu, 2, PORTS + 2);
	op_write(self->vcpu, 1, POSTED + 1, 0x77);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_pio(exit_read(PROTOCOL, 0, NONE, 2, PORTS + 2)));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x6543);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_posted(PROTOCOL, 0, NONE, 1, POSTED + 1, 0x77));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(vcpu_script(self->vcpu)->ops[0].val, 0x4321);
	TEST_ASSERT_EQ(vcpu_script(self->vcpu)->ops[1].val, in_result(2, 0x6543));
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
 * What the VMM can do about it.
 */
FIXTURE(vmm)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct device dev;
};

FIXTURE_VARIANT(vmm)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(vmm, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(vmm, native) { TR_NATIVE };

FIXTURE_SETUP(vmm)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	vcpu_thread_init(&self->thread, self->vcpu);
	self->ch = channel_attach(self->vm, variant->transport);
}

FIXTURE_TEARDOWN(vmm)
{
	kvm_vm_free(self->vm);
	if (self->dev.log)
		expect_device_released(&self->dev);
}

/* The device task reads the guest's next command and dies. */
#define dies_with(...) __dies_with(__VA_ARGS__, __LINE__)
static void __dies_with(struct vcpu_thread *thread, struct channel *ch,
			struct ioregionfd_cmd want, struct kvm_ioregionfd_exit exit, int line)
{
	thread_start(thread);
	__expect_cmd(__dev_recv(ch, line), want, line);
	channel_close_dev(ch);
	__thread_join_exit(thread, line);
	__expect_failure(thread->vcpu, exit, line);
}

TEST_F(vmm, completes_accesses_of_each_kind)
{
	struct kvm_vcpu *vcpu = self->vcpu;
	struct guest_op *op;
	uint32_t size;

	for (size = 1; size <= 8; size *= 2) {
		op = op_read(vcpu, size, REGION + 0x10);
		dies_with(&self->thread, &self->ch, cmd_read(size, MMIO_DATA, 0x10),
			  exit_read(HANGUP, 0, ALL, size, REGION + 0x10));
		/* With more bytes set than the guest asked for. */
		resolve(vcpu, KVM_IOREGIONFD_COMPLETE, DATA);
		run_done(vcpu);
		TEST_ASSERT_EQ(op->val, low_bytes(DATA, size));

		regions_del(self->vm);
		self->ch = channel_attach(self->vm, variant->transport);
		op_write(vcpu, size, REGION + 0x21, DATA);
		dies_with(&self->thread, &self->ch,
			  cmd_write(size, MMIO_DATA, 0x21, low_bytes(DATA, size)),
			  exit_write(HANGUP, 0, ALL, size, REGION + 0x21, DATA));
		resolve(vcpu, KVM_IOREGIONFD_COMPLETE, 0);
		run_done(vcpu);

		regions_del(self->vm);
		self->ch = channel_attach(self->vm, variant->transport);
		if (size == 8)
			break;
		op = op_in(vcpu, size, PORTS + 3);
		dies_with(&self->thread, &self->ch, cmd_read(size, PIO_DATA, 3),
			  exit_pio(exit_read(HANGUP, 0, ALL, size, PORTS + 3)));
		resolve(vcpu, KVM_IOREGIONFD_COMPLETE, DATA);
		run_done(vcpu);
		TEST_ASSERT_EQ(op->val, in_result(size, low_bytes(DATA, size)));

		regions_del(self->vm);
		self->ch = channel_attach(self->vm, variant->transport);
		op_out(vcpu, size, PORTS + 8, DATA);
		dies_with(&self->thread, &self->ch,
			  cmd_write(size, PIO_DATA, 8, low_bytes(DATA, size)),
			  exit_pio(exit_write(HANGUP, 0, ALL, size, PORTS + 8, DATA)));
		resolve(vcpu, KVM_IOREGIONFD_COMPLETE, 0);
		run_done(vcpu);

		regions_del(self->vm);
		self->ch = channel_attach(self->vm, variant->transport);
	}
}

/* As long as nothing changes, each retry fails in the same way, progress included. */
TEST_F(vmm, retries_on_the_dead_channel)
{
	struct kvm_ioregionfd_exit exit;
	struct guest_op *op;
	int i;

	op_write(self->vcpu, 4, REGION, 0x1234);
	exit = exit_write(HANGUP, 0, ALL, 4, REGION, 0x1234);
	dies_with(&self->thread, &self->ch, cmd_write(4, MMIO_DATA, 0, 0x1234), exit);
	for (i = 0; i < 3; i++) {
		vcpu_run(self->vcpu);
		expect_failure(self->vcpu, exit);
	}

	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	op = op_read(self->vcpu, 4, REGION);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(4, MMIO_DATA, 0, 0x1234), cmd_read(4, MMIO_DATA, 0));
	TEST_ASSERT_EQ(op->val, 0x1234);
}

/* The new device task may be slow, and the wait for it may be interrupted. */
TEST_F(vmm, retries_on_a_slow_device)
{
	struct guest_op *op = op_read(self->vcpu, 8, REGION);

	dies_with(&self->thread, &self->ch, cmd_read(8, MMIO_DATA, 0),
		  exit_read(HANGUP, 0, ALL, 8, REGION));
	regions_del(self->vm);
	self->ch = channel_attach(self->vm, TR_SEQPACKET);
	thread_start(&self->thread);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, MMIO_DATA, 0));
	thread_interrupt(&self->thread);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "sent twice");
	dev_send(&self->ch, DATA);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, DATA);
}

TEST_F(vmm, retries_without_region)
{
	struct kvm_vcpu *vcpu = self->vcpu;
	struct guest_op *read, *in;

	read = op_read(vcpu, 8, REGION + 1);
	op_write(vcpu, 2, REGION + 2, 0xabcd);
	in = op_in(vcpu, 4, PORTS);
	op_out(vcpu, 1, PORTS + 1, 0xef);

	dies_with(&self->thread, &self->ch, cmd_read(8, MMIO_DATA, 1),
		  exit_read(HANGUP, 0, ALL, 8, REGION + 1));
	regions_del(self->vm);
	vcpu_run(vcpu);
	expect_mmio(vcpu, REGION + 1, 8, false, 0);
	complete_mmio(vcpu, DATA);

	self->ch = channel_attach(self->vm, variant->transport);
	dies_with(&self->thread, &self->ch, cmd_write(2, MMIO_DATA, 2, 0xabcd),
		  exit_write(HANGUP, 0, ALL, 2, REGION + 2, 0xabcd));
	regions_del(self->vm);
	vcpu_run(vcpu);
	expect_mmio(vcpu, REGION + 2, 2, true, 0xabcd);

	self->ch = channel_attach(self->vm, variant->transport);
	dies_with(&self->thread, &self->ch, cmd_read(4, PIO_DATA, 0),
		  exit_pio(exit_read(HANGUP, 0, ALL, 4, PORTS)));
	regions_del(self->vm);
	vcpu_run(vcpu);
	expect_io(vcpu, PORTS, 4, false, 0);
	*(uint32_t *)io_data(vcpu) = 0x99887766;

	self->ch = channel_attach(self->vm, variant->transport);
	dies_with(&self->thread, &self->ch, cmd_write(1, PIO_DATA, 1, 0xef),
		  exit_pio(exit_write(HANGUP, 0, ALL, 1, PORTS + 1, 0xef)));
	regions_del(self->vm);
	vcpu_run(vcpu);
	expect_io(vcpu, PORTS + 1, 1, true, 0xef);
	run_done(vcpu);

	TEST_ASSERT_EQ(read->val, DATA);
	TEST_ASSERT_EQ(in->val, 0x99887766);
}

TEST_F(vmm, has_no_other_choice)
{
	static const uint32_t actions[] = { 3, 4, 0x100, 1u << 31, ~0u };
	struct guest_op *op = op_read(self->vcpu, 4, REGION);
	int i;

	dies_with(&self->thread, &self->ch, cmd_read(4, MMIO_DATA, 0),
		  exit_read(HANGUP, 0, ALL, 4, REGION));
	for (i = 0; i < ARRAY_SIZE(actions); i++) {
		resolve(self->vcpu, actions[i], 0x55);
		TEST_ASSERT_EQ(__vcpu_run(self->vcpu), -1);
		TEST_ASSERT_EQ(errno, EINVAL);
	}
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x5678);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, 0x5678);
}

/* As with KVM_EXIT_MMIO, this is how a VMM makes the vCPU's state consistent. */
TEST_F(vmm, completes_with_immediate_exit)
{
	struct guest_op *op = op_read(self->vcpu, 4, REGION);

	dies_with(&self->thread, &self->ch, cmd_read(4, MMIO_DATA, 0),
		  exit_read(HANGUP, 0, ALL, 4, REGION));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x8765);
	TEST_ASSERT_EQ(run_immediate(self->vcpu), -EINTR);
	TEST_ASSERT(!(self->vcpu->run->flags & KVM_RUN_IOREGIONFD_PENDING), "PENDING is set");
	/* It is too late for what the VMM stores now. */
	resolve(self->vcpu, ~0u, 0);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, 0x8765);
}

/* KVM does not read back what it has told the VMM. */
TEST_F(vmm, scribbles_in_the_run_page)
{
	struct kvm_run *run = self->vcpu->run;
	struct guest_op *read, *in;

	read = op_read(self->vcpu, 4, REGION);
	in = op_in(self->vcpu, 2, PORTS);
	dies_with(&self->thread, &self->ch, cmd_read(4, MMIO_DATA, 0),
		  exit_read(HANGUP, 0, ALL, 4, REGION));
	run->exit_reason = KVM_EXIT_IO;
	memset(run->padding, 0xff, sizeof(run->padding));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x11223344);
	vcpu_run(self->vcpu);
	TEST_ASSERT_EQ(read->val, 0x11223344);

	expect_failure(self->vcpu, exit_pio(exit_read(HANGUP, 0, NONE, 2, PORTS)));
	run->exit_reason = ~0;
	memset(run->padding, 0xff, sizeof(run->padding));
	resolve(self->vcpu, KVM_IOREGIONFD_RETRY, 0);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(2, PIO_DATA, 0));
	TEST_ASSERT_EQ(in->val, in_result(2, device_value(&self->dev, 0x2000, 2)));
}

/*
 * Failures in the middle of an access of several commands: what has been carried out is
 * not repeated.
 */
static void string_begin(struct kvm_vcpu *vcpu, enum guest_op_kind kind, uint32_t size)
{
	uint16_t *buf = (void *)vcpu_script(vcpu)->buf;
	int i;

	for (i = 0; i < 6; i++)
		buf[i] = kind == OP_OUTS ? 0xa0b0 + i : 0xffff;
	op_add(vcpu, (struct guest_op){
		.kind = kind,
		.size = size,
		.addr = PORTS,
		.mem = vcpu_buf_gva(vcpu),
		.count = 6,
	});
}

/* The device task carries out 2 of 6 elements and dies with the third. */
static void string_die(struct vcpu_thread *thread, struct channel *ch, enum guest_op_kind kind)
{
	struct kvm_ioregionfd_exit exit;
	int i;

	string_begin(thread->vcpu, kind, 2);
	thread_start(thread);
	for (i = 0; i < 3; i++) {
		expect_cmd(dev_recv(ch), kind == OP_INS ? cmd_read(2, PIO_DATA, 0) :
							  cmd_write(2, PIO_DATA, 0, 0xa0b0 + i));
		if (i < 2)
			dev_send(ch, 0x1110 + i);
	}
	channel_close_dev(ch);
	thread_join_exit(thread);
	exit = kind == OP_INS ? exit_read(HANGUP, 0, ALL, 2, PORTS) :
				exit_write(HANGUP, 0, ALL, 2, PORTS, 0xa0b2);
	expect_failure(thread->vcpu, exit_pio(exit));
}

TEST_F(vmm, retries_outs)
{
	string_die(&self->thread, &self->ch, OP_OUTS);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(2, PIO_DATA, 0, 0xa0b2),
		   cmd_write(2, PIO_DATA, 0, 0xa0b3), cmd_write(2, PIO_DATA, 0, 0xa0b4),
		   cmd_write(2, PIO_DATA, 0, 0xa0b5));
}

TEST_F(vmm, completes_element_of_outs)
{
	string_die(&self->thread, &self->ch, OP_OUTS);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(2, PIO_DATA, 0, 0xa0b3),
		   cmd_write(2, PIO_DATA, 0, 0xa0b4), cmd_write(2, PIO_DATA, 0, 0xa0b5));
}

/* KVM makes one exit for each element written: the VMM gets the remaining ones. */
TEST_F(vmm, retries_outs_without_region)
{
	int i;

	string_die(&self->thread, &self->ch, OP_OUTS);
	regions_del(self->vm);
	for (i = 2; i < 6; i++) {
		vcpu_run(self->vcpu);
		expect_io(self->vcpu, PORTS, 2, true, 0xa0b0 + i);
	}
	run_done(self->vcpu);
}

TEST_F(vmm, retries_ins)
{
	uint16_t *buf = (void *)vcpu_script(self->vcpu)->buf;
	uint16_t val;
	int i;

	string_die(&self->thread, &self->ch, OP_INS);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(2, PIO_DATA, 0), cmd_read(2, PIO_DATA, 0),
		   cmd_read(2, PIO_DATA, 0), cmd_read(2, PIO_DATA, 0));
	val = device_value(&self->dev, 0x2000, 2);
	for (i = 0; i < 6; i++)
		TEST_ASSERT_EQ(buf[i], i < 2 ? 0x1110 + i : val);
}

TEST_F(vmm, completes_element_of_ins)
{
	uint16_t *buf = (void *)vcpu_script(self->vcpu)->buf;
	uint16_t val;
	int i;

	string_die(&self->thread, &self->ch, OP_INS);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x2222);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(2, PIO_DATA, 0), cmd_read(2, PIO_DATA, 0),
		   cmd_read(2, PIO_DATA, 0));
	val = device_value(&self->dev, 0x2000, 2);
	for (i = 0; i < 6; i++)
		TEST_ASSERT_EQ(buf[i], i < 2 ? 0x1110 + i : i == 2 ? 0x2222 : val);
}

/* One KVM_EXIT_IO for all six elements would repeat those that have been carried out. */
TEST_F(vmm, completes_ins_without_region)
{
	uint16_t *buf = (void *)vcpu_script(self->vcpu)->buf;
	int i;

	string_die(&self->thread, &self->ch, OP_INS);
	regions_del(self->vm);
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x1112);
	for (i = 3; i < 6; i++) {
		vcpu_run(self->vcpu);
		expect_failure(self->vcpu, exit_pio(exit_read(DEASSIGNED, 0, NONE, 2, PORTS)));
		resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x1110 + i);
	}
	run_done(self->vcpu);
	for (i = 0; i < 6; i++)
		TEST_ASSERT_EQ(buf[i], 0x1110 + i);
}

/* 3 bytes before a page boundary and 5 after it: fragments of 1, 2 and of 4, 1 bytes. */
#define SPLIT	(MMIO_GPA + 0x1000 - 3)

static struct guest_op *split_die(struct vcpu_thread *thread, struct channel *ch, bool write)
{
	struct guest_op *op = write ? op_write(thread->vcpu, 8, SPLIT, DATA) :
				      op_read(thread->vcpu, 8, SPLIT);

	thread_start(thread);
	expect_cmd(dev_recv(ch), write ? cmd_write(1, MMIO_DATA, 0xfd, 0x88) :
					 cmd_read(1, MMIO_DATA, 0xfd));
	dev_send(ch, 0xffffff88);
	expect_cmd(dev_recv(ch), write ? cmd_write(2, MMIO_DATA, 0xfe, 0xa697) :
					 cmd_read(2, MMIO_DATA, 0xfe));
	channel_close_dev(ch);
	thread_join_exit(thread);
	expect_failure(thread->vcpu,
		       write ? exit_write(HANGUP, 0, ALL, 2, SPLIT + 1, 0xa697) :
			       exit_read(HANGUP, 0, ALL, 2, SPLIT + 1));
	return op;
}

TEST_F(vmm, retries_part_of_read)
{
	struct guest_op *op = split_die(&self->thread, &self->ch, false);

	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(2, MMIO_DATA, 0xfe), cmd_read(4, MMIO_DATA, 0x100),
		   cmd_read(1, MMIO_DATA, 0x104));
	TEST_ASSERT_EQ(op->val, device_value(&self->dev, 0x1fe, 7) << 8 | 0x88);
}

TEST_F(vmm, retries_part_of_write)
{
	split_die(&self->thread, &self->ch, true);
	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_write(2, MMIO_DATA, 0xfe, 0xa697),
		   cmd_write(4, MMIO_DATA, 0x100, 0xe2d3c4b5),
		   cmd_write(1, MMIO_DATA, 0x104, 0xf1));
}

TEST_F(vmm, completes_part_of_read)
{
	struct guest_op *op = split_die(&self->thread, &self->ch, false);

	regions_del(self->vm);
	device_attach(self->vm, &self->dev);
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0xffff6677);
	run_done(self->vcpu);
	expect_log(&self->dev, cmd_read(4, MMIO_DATA, 0x100), cmd_read(1, MMIO_DATA, 0x104));
	TEST_ASSERT_EQ(op->val, device_value(&self->dev, 0x200, 5) << 24 | 0x667788);
}

/*
 * The first half cannot become an exit, since a part of it has been carried out; the
 * second can.
 */
TEST_F(vmm, retries_part_of_read_without_region)
{
	struct guest_op *op = split_die(&self->thread, &self->ch, false);

	regions_del(self->vm);
	vcpu_run(self->vcpu);
	expect_failure(self->vcpu, exit_read(DEASSIGNED, 0, ALL, 2, SPLIT + 1));
	resolve(self->vcpu, KVM_IOREGIONFD_COMPLETE, 0x6677);
	vcpu_run(self->vcpu);
	expect_mmio(self->vcpu, MMIO_GPA + 0x1000, 5, false, 0);
	complete_mmio(self->vcpu, 0x1122334455);
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, 0x1122334455667788);
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
