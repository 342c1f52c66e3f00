// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: what the VMM is told when one fails, what becomes of a command whose
 * region is removed, and of device tasks whose VM goes.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define SYNC		MMIO_GPA
#define POSTED		(MMIO_GPA + 0x1000)
#define SIZE		0x1000
#define SYNC_DATA	USER_DATA(0)
#define POSTED_DATA	USER_DATA(0x1000)
#define PIO_DATA	USER_DATA(0x2000)

#define MS		1000000l	/* in nanoseconds */

#define NONE		KVM_IOREGIONFD_SENT_NONE
#define ALL		KVM_IOREGIONFD_SENT_ALL

static struct kvm_ioregionfd_exit exit_read(uint8_t reason, uint8_t progress, uint32_t size,
					    uint64_t addr)
{
	return (struct kvm_ioregionfd_exit){
		.region_paddr = SYNC,
		.region_size = SIZE,
		.user_data = SYNC_DATA,
		.guest_paddr = addr,
		.size = size,
		.reason = reason,
		.progress = progress,
		.action = KVM_IOREGIONFD_UNDECIDED,
	};
}

FIXTURE(fails)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
	struct mapping map;
	struct device dev;
	int fd;
	struct server_thread server;
};

static void regions_add(struct kvm_vm *vm, struct channel *ch)
{
	region_add(vm, ch, SYNC, SIZE, SYNC_DATA, 0);
	region_add(vm, ch, POSTED, SIZE, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	region_add(vm, ch, OTHER_BASE, 0x100, PIO_DATA, OTHER_FLAGS);
}

static void regions_del(struct kvm_vm *vm)
{
	region_del(vm, SYNC, SIZE, 0);
	region_del(vm, POSTED, SIZE, 0);
	region_del(vm, OTHER_BASE, 0x100, OTHER_FLAGS);
}

FIXTURE_SETUP(fails)
{
	int i;

	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->fd = self->ch.dev_rd;
	self->dev.respond = device_respond_mem;
	regions_add(self->vm, &self->ch);
	for (i = 0; i < 2; i++)
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
}

FIXTURE_TEARDOWN(fails)
{
	kvm_vm_free(self->vm);
}

/* Closes every descriptor of the file. */
static void close_all(struct channel *ch)
{
	channel_close_kvm(ch);
	channel_close_dev(ch);
}

/* Attaches a new channel, on which the guest goes on. */
#define goes_on(...) __goes_on(__VA_ARGS__, __LINE__)
static void __goes_on(struct kvm_vm *vm, struct vcpu_thread *thread, struct ioregionfd_cmd want,
		      int line)
{
	struct channel ch = channel_open_for(vm, TR_NATIVE);

	regions_del(vm);
	regions_add(vm, &ch);
	thread_start(thread);
	__expect_cmd(__dev_recv(&ch, line), want, line);
	dev_send(&ch, 0x99);
	__thread_join_exit(thread, line);
	__expect_done(thread->vcpu, line);
}

TEST_F(fails, closed_before)
{
	struct guest_op *op = op_read(self->vcpus[0], 4, SYNC + 4);

	close_all(&self->ch);
	vcpu_run(self->vcpus[0]);
	expect_failure(self->vcpus[0], exit_read(KVM_IOREGIONFD_FAIL_HANGUP, NONE, 4, SYNC + 4));
	vcpu_run(self->vcpus[0]);
	expect_failure(self->vcpus[0], exit_read(KVM_IOREGIONFD_FAIL_HANGUP, NONE, 4, SYNC + 4));
	goes_on(self->vm, &self->threads[0], cmd_read(4, SYNC_DATA, 4));
	TEST_ASSERT_EQ(op->val, 0x99);
}

TEST_F(fails, closed_with_the_command_waiting)
{
	op_read(self->vcpus[0], 4, SYNC + 4);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	close_all(&self->ch);
	thread_join_exit(&self->threads[0]);
	expect_failure(self->vcpus[0], exit_read(KVM_IOREGIONFD_FAIL_HANGUP, NONE, 4, SYNC + 4));
	goes_on(self->vm, &self->threads[0], cmd_read(4, SYNC_DATA, 4));
}

TEST_F(fails, closed_with_the_command_fetched)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);

	op_read(self->vcpus[0], 4, SYNC + 4);
	thread_start(&self->threads[0]);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	close_all(&self->ch);
	thread_join_exit(&self->threads[0]);
	expect_failure(self->vcpus[0], exit_read(KVM_IOREGIONFD_FAIL_HANGUP, ALL, 4, SYNC + 4));
	/*
	 * Another channel may get less of the access: the VMM is told of the most that
	 * was sent.
	 */
	regions_del(self->vm);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	regions_add(self->vm, &self->ch);
	close_all(&self->ch);
	vcpu_run(self->vcpus[0]);
	expect_failure(self->vcpus[0], exit_read(KVM_IOREGIONFD_FAIL_HANGUP, ALL, 4, SYNC + 4));
	goes_on(self->vm, &self->threads[0], cmd_read(4, SYNC_DATA, 4));
}

TEST_F(fails, closed_with_the_ring_full)
{
	struct guest_op op = { OP_WRITE, 8, POSTED + 8 };
	struct kvm_ioregionfd_exit exit;

	op.count = NR_POSTED + 1;
	op_add(self->vcpus[0], op);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	close_all(&self->ch);
	thread_join_exit(&self->threads[0]);
	exit = exit_read(KVM_IOREGIONFD_FAIL_HANGUP, NONE, 8, POSTED + 8);
	exit.region_paddr = POSTED;
	exit.user_data = POSTED_DATA;
	exit.is_write = 1;
	exit.data = NR_POSTED;
	expect_failure(self->vcpus[0], exit);
}

/* A response that came before the channel's end counts. */
TEST_F(fails, closed_after_the_response)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	struct guest_op *op = op_read(self->vcpus[0], 4, SYNC + 4);

	thread_start(&self->threads[0]);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	thread_interrupt(&self->threads[0]);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0x77), 0);
	close_all(&self->ch);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x77);
}

/* As long as anybody holds the channel, even just mapped, it has not failed. */
TEST_F(fails, not_while_mapped)
{
	struct mapping map = mapping_open(self->fd);
	struct ioregionfd_fetch arg = { 0 };
	struct guest_op *op;

	close_all(&self->ch);
	op = op_read(self->vcpus[0], 4, SYNC + 4);
	/* Nobody sleeps at this point, so nobody needs to be woken. */
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	TEST_ASSERT(mapping_fetch(&map, IOREGIONFD_ANY, &arg), "nothing to fetch");
	thread_interrupt(&self->threads[0]);
	TEST_ASSERT(mailbox_store_data(&map.mailboxes[0], arg.id, 0x55),
		    "another command is there");
	map.mailboxes[0].state = mailbox_completed(map.mailboxes[0].state);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x55);

	op_read(self->vcpus[0], 4, SYNC + 4);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	mapping_close(&map);
	thread_join_exit(&self->threads[0]);
	expect_failure(self->vcpus[0], exit_read(KVM_IOREGIONFD_FAIL_HANGUP, NONE, 4, SYNC + 4));
}

TEST_F(fails, no_mailbox)
{
	struct channel ch = { TR_NATIVE };
	struct guest_op *op;
	int i;

	ch.kvm_rd = create_ioregionfd(self->vm, 1, 4);
	ch.kvm_wr = ch.kvm_rd;
	ch.dev_rd = ch.kvm_rd;
	ch.dev_wr = ch.kvm_rd;
	regions_del(self->vm);
	regions_add(self->vm, &ch);

	/* The vCPU that was created first has a mailbox. */
	op_read(self->vcpus[0], 4, SYNC);
	thread_start(&self->threads[0]);
	dev_recv(&ch);
	dev_send(&ch, 1);
	thread_join_done(&self->threads[0]);

	op = op_read(self->vcpus[1], 4, SYNC + 4);
	for (i = 0; i < 2; i++) {
		vcpu_run(self->vcpus[1]);
		expect_failure(self->vcpus[1],
			       exit_read(KVM_IOREGIONFD_FAIL_NO_MAILBOX, NONE, 4, SYNC + 4));
	}
	TEST_ASSERT(!dev_has_cmd(&ch), "the command was sent");
	goes_on(self->vm, &self->threads[1], cmd_read(4, SYNC_DATA, 4));
	TEST_ASSERT_EQ(op->val, 0x99);
}

/* The VMM can also complete the access itself, as on any channel. */
TEST_F(fails, no_mailbox_and_completed)
{
	struct channel ch = { TR_NATIVE };
	struct guest_op *op;

	ch.kvm_rd = create_ioregionfd(self->vm, 1, 4);
	ch.kvm_wr = ch.kvm_rd;
	regions_del(self->vm);
	regions_add(self->vm, &ch);
	op = op_read(self->vcpus[1], 4, SYNC + 4);
	vcpu_run(self->vcpus[1]);
	expect_failure(self->vcpus[1],
		       exit_read(KVM_IOREGIONFD_FAIL_NO_MAILBOX, NONE, 4, SYNC + 4));
	self->vcpus[1]->run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	self->vcpus[1]->run->ioregionfd.data = 0x1234;
	run_done(self->vcpus[1]);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

/* A region is removed. */

TEST_F(fails, deassign_while_it_waits_to_be_fetched)
{
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };

	op_read(self->vcpus[0], 4, SYNC + 4);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	region_del(self->vm, SYNC, SIZE, 0);
	thread_join_exit(&self->threads[0]);
	expect_mmio(self->vcpus[0], SYNC + 4, 4, false, 0);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EAGAIN);
}

/* vCPU 0's command is fetched, and its region is removed. Returns the command's id. */
static uint64_t deassign_fetched(struct kvm_vm *vm, struct vcpu_thread *thread, int fd)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	int r;

	op_read(thread->vcpu, 4, SYNC + 4);
	thread_start(thread);
	r = commit_and_fetch(fd, &arg);
	TEST_ASSERT_EQ(r, 0);
	region_del(vm, SYNC, SIZE, 0);
	thread_join_exit(thread);
	expect_failure(thread->vcpu, exit_read(KVM_IOREGIONFD_FAIL_DEASSIGNED, ALL, 4, SYNC + 4));
	thread->vcpu->run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	run_done(thread->vcpu);
	return arg.id;
}

TEST_F(fails, late_response_is_dropped)
{
	uint64_t id = deassign_fetched(self->vm, &self->threads[0], self->fd);
	struct ioregionfd_fetch arg = fetch_arg(0);
	struct guest_op *op;

	region_add(self->vm, &self->ch, SYNC, SIZE, SYNC_DATA, 0);
	op = op_read(self->vcpus[0], 4, SYNC + 8);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	/* The mailbox is not free yet; those of other vCPUs are. */
	arg.timeout = 0;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EAGAIN);
	op_read(self->vcpus[1], 4, SYNC + 12);
	thread_start(&self->threads[1]);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SYNC_DATA, 12));
	dev_send(&self->ch, 1);
	thread_join_done(&self->threads[1]);

	/*
	 * The task is told that its response has no effect: the VMM may have the access
	 * repeated.
	 */
	arg = fetch_arg(IOREGIONFD_ANY);
	arg.id = id;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -ESTALE);
	TEST_ASSERT_EQ(arg.id, 0);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd(arg.cmd, cmd_read(4, SYNC_DATA, 8));
	TEST_ASSERT_EQ(commit_only(self->fd, id, 0x22222222), -ENOENT);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0x33333333), 0);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x33333333);
}

TEST_F(fails, no_response_but_another_device_task)
{
	uint64_t id = deassign_fetched(self->vm, &self->threads[0], self->fd);
	struct guest_op *op;

	region_add(self->vm, &self->ch, SYNC, SIZE, SYNC_DATA, 0);
	op = op_read(self->vcpus[0], 4, SYNC + 8);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "the mailbox is not free");
	recover(self->fd);
	TEST_ASSERT_EQ(commit_only(self->fd, id, 0x11111111), -ENOENT);
	expect_cmd(dev_recv(&self->ch), cmd_read(4, SYNC_DATA, 8));
	TEST_ASSERT_EQ(commit_only(self->fd, id, 0x11111111), -ENOENT);
	dev_send(&self->ch, 0x22222222);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x22222222);
}

/* Another device task. */

TEST_F(fails, recovered)
{
	struct ioregionfd_fetch old = fetch_arg(IOREGIONFD_ANY), new = old;
	struct ioregionfd_cmd want = cmd_write(4, SYNC_DATA, 4, 0x1234);
	struct mapping map = mapping_open(self->fd);

	op_write(self->vcpus[0], 4, SYNC + 4, 0x1234);
	thread_start(&self->threads[0]);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &old), 0);
	expect_cmd(old.cmd, want);
	recover(self->fd);
	want.flags |= IOREGIONFD_CMD_F_REDELIVERED;
	expect_cmd(map.mailboxes[0].cmd, want);
	TEST_ASSERT_EQ(commit_only(self->fd, old.id, 0), -ENOENT);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &new), 0);
	expect_cmd(new.cmd, want);
	/* The command no longer belongs to the former task. */
	TEST_ASSERT_EQ(commit_only(self->fd, old.id, 0), -ENOENT);

	/* A second time. */
	recover(self->fd);
	expect_cmd(dev_recv(&self->ch), want);
	TEST_ASSERT_EQ(commit_only(self->fd, new.id, 0), -ENOENT);
	dev_send(&self->ch, 0);
	thread_join_done(&self->threads[0]);

	/* The command after that is a new one. */
	op_write(self->vcpus[0], 4, SYNC + 4, 0x5678);
	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&self->ch), cmd_write(4, SYNC_DATA, 4, 0x5678));
	dev_send(&self->ch, 0);
	thread_join_done(&self->threads[0]);
	mapping_close(&map);
}

/* A command that was read(), and the write() that the former task still owes. */
TEST_F(fails, recovered_after_read)
{
	struct ioregionfd_resp resp = make_resp(0);
	struct ioregionfd_cmd want = cmd_read(4, SYNC_DATA, 4);
	struct guest_op *op = op_read(self->vcpus[0], 4, SYNC + 4);

	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&self->ch), want);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "the command comes twice");
	recover(self->fd);
	TEST_ASSERT(write(self->fd, &resp, sizeof(resp)) < 0 && errno == ENOENT, "errno %d", errno);
	want.flags |= IOREGIONFD_CMD_F_REDELIVERED;
	expect_cmd(dev_recv(&self->ch), want);
	dev_send(&self->ch, 0x42);
	thread_join_done(&self->threads[0]);
	TEST_ASSERT_EQ(op->val, 0x42);
}

/*
 * A command that was recovered, and that nobody has fetched since, when its access comes
 * to an end: the former task has seen it.
 */
static void recovered_and_waiting(struct vcpu_thread *thread, int fd)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);

	op_read(thread->vcpu, 4, SYNC + 4);
	thread_start(thread);
	TEST_ASSERT_EQ(commit_and_fetch(fd, &arg), 0);
	thread_interrupt(thread);
	recover(fd);
}

static void expect_seen(struct vcpu_thread *thread, uint8_t reason)
{
	thread_start(thread);
	thread_join_exit(thread);
	expect_failure(thread->vcpu, exit_read(reason, ALL, 4, SYNC + 4));
	thread->vcpu->run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	thread->vcpu->run->immediate_exit = 0;
	run_done(thread->vcpu);
}

TEST_F(fails, recovered_and_deassigned)
{
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };

	recovered_and_waiting(&self->threads[0], self->fd);
	region_del(self->vm, SYNC, SIZE, 0);
	expect_seen(&self->threads[0], KVM_IOREGIONFD_FAIL_DEASSIGNED);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EAGAIN);
}

TEST_F(fails, recovered_and_canceled)
{
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };

	recovered_and_waiting(&self->threads[0], self->fd);
	self->vcpus[0]->run->immediate_exit = KVM_RUN_IOREGIONFD_CANCEL;
	expect_seen(&self->threads[0], KVM_IOREGIONFD_FAIL_CANCELED);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EAGAIN);
}

TEST_F(fails, recovered_and_closed)
{
	recovered_and_waiting(&self->threads[0], self->fd);
	close_all(&self->ch);
	expect_seen(&self->threads[0], KVM_IOREGIONFD_FAIL_HANGUP);
}

/* Commands that were completed, or never fetched, are not redelivered. */
TEST_F(fails, recovered_at_other_times)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	struct guest_op *op = op_read(self->vcpus[0], 4, SYNC + 4);

	recover(self->fd);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	recover(self->fd);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd(arg.cmd, cmd_read(4, SYNC_DATA, 4));
	thread_interrupt(&self->threads[0]);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0x31), 0);
	recover(self->fd);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "the command is redelivered");
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x31);
}

/* The former task was polling, and now nobody is. */
TEST_F(fails, recovered_while_polling)
{
	struct mapping map = mapping_open(self->fd);

	map.control->polling = 1;
	map.mailboxes[0].polling = 1;
	op_read(self->vcpus[0], 4, SYNC + 4);
	thread_start(&self->threads[0]);
	thread_wait_asleep(&self->threads[0]);
	recover(self->fd);
	dev_recv(&self->ch);
	dev_send(&self->ch, 0);
	thread_join_done(&self->threads[0]);

	server_start(&self->server, &self->dev, self->fd, MODE_IOCTL, IOREGIONFD_ANY);
	server_wait_asleep(&self->server);
	op_read(self->vcpus[0], 4, SYNC + 4);
	run_done(self->vcpus[0]);
	mapping_close(&map);
}

/* While the vCPU is outside KVM_RUN, and while it sleeps in another KVM_RUN. */
TEST_F(fails, recovered_while_interrupted)
{
	struct ioregionfd_cmd want = cmd_read(4, SYNC_DATA, 4);
	struct guest_op *op = op_read(self->vcpus[0], 4, SYNC + 4);

	thread_start(&self->threads[0]);
	expect_cmd(dev_recv(&self->ch), want);
	thread_interrupt(&self->threads[0]);
	recover(self->fd);
	want.flags |= IOREGIONFD_CMD_F_REDELIVERED;
	expect_cmd(dev_recv(&self->ch), want);
	dev_send(&self->ch, 0x73);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x73);
}

/*
 * The VM goes with its process.
 */
FIXTURE(vmm_killed)
{
	struct device dev;
	struct server_thread server;
	int socks[2];
	pid_t pid;
	int fd;
};

FIXTURE_VARIANT(vmm_killed)
{
	enum mode mode;
};

FIXTURE_VARIANT_ADD(vmm_killed, read) { MODE_READ };
FIXTURE_VARIANT_ADD(vmm_killed, poll) { MODE_POLL };
FIXTURE_VARIANT_ADD(vmm_killed, ioctl) { MODE_IOCTL };
FIXTURE_VARIANT_ADD(vmm_killed, uring) { MODE_URING };
FIXTURE_VARIANT_ADD(vmm_killed, mapping) { MODE_MAPPING };

static void send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	TEST_ASSERT(sendmsg(sock, &msg, 0) == 1, "sendmsg() failed: %d", errno);
}

static int recv_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	TEST_ASSERT(recvmsg(sock, &msg, 0) == 1 && CMSG_FIRSTHDR(&msg), "no descriptor came");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* A VMM in a process of its own, whose guest reads forever. */
static void vmm_process(int sock)
{
	struct guest_op op = { OP_READ, 4, SYNC };
	struct vcpu_thread thread = { 0 };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = ioregion_vm_create(1, guest_script_main, &vcpu);
	struct channel ch = channel_open_for(vm, TR_NATIVE);

	region_add(vm, &ch, SYNC, SIZE, SYNC_DATA, 0);
	send_fd(sock, ch.dev_rd);
	channel_close_kvm(&ch);
	channel_close_dev(&ch);
	op.count = ~0u;
	op_add(vcpu, op);
	vcpu_thread_init(&thread, vcpu);
	thread_start(&thread);
	for (;;)
		pause();
}

FIXTURE_SETUP(vmm_killed)
{
	TEST_ASSERT(!socketpair(AF_UNIX, SOCK_STREAM, 0, self->socks), "socketpair() failed");
	self->pid = fork();
	TEST_ASSERT(self->pid >= 0, "fork() failed");
	if (!self->pid)
		vmm_process(self->socks[0]);
	self->fd = recv_fd(self->socks[1]);
	self->dev.respond = device_respond_mem;
}

FIXTURE_TEARDOWN(vmm_killed)
{
	int status;

	TEST_ASSERT_EQ(kill(self->pid, SIGKILL), 0);
	TEST_ASSERT_EQ(waitpid(self->pid, &status, 0), self->pid);
	TEST_ASSERT_EQ(status, SIGKILL);
	server_join(&self->server, -ENODEV);
	close(self->fd);
}

TEST_F(vmm_killed, while_it_serves)
{
	server_start(&self->server, &self->dev, self->fd, variant->mode, IOREGIONFD_ANY);
	while (READ_ONCE(self->server.nr) < 500)
		usleep(1000);
}

/* Another task has fetched the command, and there is no other. */
TEST_F(vmm_killed, while_it_sleeps)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);

	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	server_start(&self->server, &self->dev, self->fd, variant->mode, IOREGIONFD_ANY);
	server_wait_asleep(&self->server);
	TEST_ASSERT_EQ(self->server.nr, 0);
}

/* KVM_IOREGIONFD_SYNC_WAKE only affects on which CPU tasks wake up. */
TEST(sync_wake)
{
	struct kvm_create_ioregionfd args = {
		.flags = KVM_IOREGIONFD_SYNC_WAKE,
		.nr_mailboxes = 2,
		.nr_posted = 4,
	};
	static struct server_thread server;
	static struct device dev;
	struct vcpu_thread threads[2] = { 0 };
	struct kvm_vcpu *vcpus[2];
	struct kvm_vm *vm = ioregion_vm_create(2, guest_seq_main, vcpus);
	struct channel ch = { TR_NATIVE };
	int i;

	write_guest_global(vm, seq_count, 500);
	ch.kvm_rd = __vm_ioctl(vm, KVM_CREATE_IOREGIONFD, &args);
	TEST_ASSERT(ch.kvm_rd >= 0, "errno %d", errno);
	ch.kvm_wr = ch.kvm_rd;
	seq_regions_add(vm, &ch);
	dev.respond = device_respond_seq;
	server_start(&server, &dev, ch.kvm_rd, MODE_IOCTL, IOREGIONFD_ANY);
	for (i = 0; i < 2; i++) {
		vcpu_thread_init(&threads[i], vcpus[i]);
		thread_start(&threads[i]);
	}
	for (i = 0; i < 2; i++)
		thread_join_done(&threads[i]);
	kvm_vm_free(vm);
	server_join(&server, -ENODEV);
	TEST_ASSERT_EQ(server.nr, 1000);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
