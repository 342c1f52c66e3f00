// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: each documented error of adding regions and of the device task's
 * calls, that a failed call loses nothing, and how the file descriptor gets to a device
 * task.
 */
#include <sys/uio.h>

#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define REGION_SIZE	0x1000
#define DATA		0x1122334455667788ul

FIXTURE(calls)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread thread;
	struct channel ch;
	int fd;
};

FIXTURE_SETUP(calls)
{
	self->vm = ioregion_vm_create(2, guest_script_main, self->vcpus);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->fd = self->ch.dev_rd;
	region_add(self->vm, &self->ch, MMIO_GPA, REGION_SIZE, USER_DATA(0), 0);
	region_add(self->vm, &self->ch, MMIO_GPA + 0x1000, REGION_SIZE, USER_DATA(0x1000),
		   KVM_IOREGION_POSTED_WRITES);
	vcpu_thread_init(&self->thread, self->vcpus[0]);
}

/* Whatever was refused, the channel works, and each command comes in its place. */
FIXTURE_TEARDOWN(calls)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	struct guest_op *op;

	if (!self->vm)
		return;
	op_write(self->vcpus[0], 4, MMIO_GPA + 0x1004, 0x99);
	op = op_read(self->vcpus[0], 8, MMIO_GPA + 8);
	thread_start(&self->thread);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd(arg.cmd, cmd_posted(4, USER_DATA(0x1000), 4, 0x99));
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd(arg.cmd, cmd_read(8, USER_DATA(0), 8));
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, DATA), 0);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, DATA);
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

static int try_region(struct kvm_vm *vm, int read_fd, int write_fd)
{
	struct channel ch = { .kvm_rd = read_fd, .kvm_wr = write_fd };
	struct kvm_ioregionfd args = region_args(&ch, MMIO_GPA + 0x2000, 0x10, 0, 0);

	return __vm_ioctl(vm, KVM_SET_IOREGIONFD, &args) ? -errno : 0;
}

TEST_F(calls, region_of_two_kinds_of_files)
{
	struct channel sock = channel_open(TR_SEQPACKET);
	int other = create_ioregionfd(self->vm, 1, 1);

	TEST_ASSERT_EQ(try_region(self->vm, self->fd, sock.kvm_wr), -EINVAL);
	TEST_ASSERT_EQ(try_region(self->vm, sock.kvm_rd, self->fd), -EINVAL);
	TEST_ASSERT_EQ(try_region(self->vm, self->fd, other), -EINVAL);
	TEST_ASSERT_EQ(try_region(self->vm, other, self->fd), -EINVAL);
	TEST_ASSERT_EQ(try_region(self->vm, self->fd, -1), -EBADF);
	TEST_ASSERT_EQ(try_region(self->vm, -1, self->fd), -EBADF);
	channel_close_kvm(&sock);
	expect_released(&sock);
}

/* The file counts, not the descriptor. */
TEST_F(calls, region_of_a_duplicate)
{
	TEST_ASSERT_EQ(try_region(self->vm, self->ch.kvm_rd, self->ch.dev_rd), 0);
	region_del(self->vm, MMIO_GPA + 0x2000, 0x10, 0);
}

TEST_F(calls, region_of_another_vm)
{
	struct kvm_vm *vm = vm_create_barebones();
	int fd = create_ioregionfd(vm, 1, 1);

	TEST_ASSERT_EQ(try_region(vm, self->fd, self->fd), -EXDEV);
	TEST_ASSERT_EQ(try_region(self->vm, fd, fd), -EXDEV);
	TEST_ASSERT_EQ(try_region(vm, fd, fd), 0);

	/* Nor of a VM that is gone. */
	kvm_vm_free(vm);
	TEST_ASSERT(fd_poll(fd, 0, HANG_SECONDS * 1000), "the VM is not gone");
	TEST_ASSERT_EQ(try_region(self->vm, fd, fd), -EXDEV);
	close(fd);
}

/* The failed call has left no reference: closing the file is its end. */
TEST_F(calls, refused_region)
{
	int fd = create_ioregionfd(self->vm, 1, 1);
	struct channel ch = { .kvm_rd = fd, .kvm_wr = fd };
	struct kvm_ioregionfd args = region_args(&ch, MMIO_GPA, 1, 0, 0);

	TEST_ASSERT(__vm_ioctl(self->vm, KVM_SET_IOREGIONFD, &args) && errno == EEXIST,
		    "regions overlap");
	close(fd);
}

TEST_F(calls, unknown_ioctl)
{
	TEST_ASSERT(ioctl(self->fd, _IO(0xAE, 0xda), 0) && errno == ENOTTY, "errno %d", errno);
	TEST_ASSERT(ioctl(self->fd, KVM_RUN, 0) && errno == ENOTTY, "errno %d", errno);
	/* The number alone is not enough. */
	TEST_ASSERT(ioctl(self->fd, _IO(0xAE, 0xd7), 0) && errno == ENOTTY, "errno %d", errno);
}

TEST_F(calls, get_info)
{
	uint32_t max = vm_check_cap(self->vm, KVM_CAP_MAX_VCPUS);
	const struct { uint32_t vcpus, posted; } sizes[] = {
		{ 1, 1 }, { 4, 16 }, { 63, 2 }, { 64, 64 }, { max, KVM_IOREGIONFD_MAX_POSTED },
	};
	struct bad_memory bad = bad_memory();
	struct ioregionfd_info info;
	uint64_t need;
	int i, fd;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		fd = create_ioregionfd(self->vm, sizes[i].vcpus, sizes[i].posted);
		memset(&info, 0xff, sizeof(info));
		TEST_ASSERT(!ioctl(fd, IOREGIONFD_GET_INFO, &info), "errno %d", errno);
		TEST_ASSERT_EQ(info.nr_mailboxes, sizes[i].vcpus);
		TEST_ASSERT_EQ(info.nr_posted, sizes[i].posted);
		TEST_ASSERT(!info.pad[0] && !info.pad[1] && !info.pad[2], "pad");
		TEST_ASSERT_EQ(info.version, IOREGIONFD_VERSION);
		TEST_ASSERT_EQ(info.statuses, 7);
		TEST_ASSERT_EQ(info.features, 0);
		TEST_ASSERT_EQ(info.size % 4096, 0);
		TEST_ASSERT_EQ(info.mailboxes_offset % 64, 0);
		TEST_ASSERT(info.mailboxes_offset >= sizeof(struct ioregionfd_control),
			    "mailboxes overlap the control struct");
		need = info.mailboxes_offset +
		       info.nr_mailboxes * sizeof(struct ioregionfd_mailbox);
		TEST_ASSERT(info.posted_offset >= need, "the ring overlaps the mailboxes");
		need = info.posted_offset + info.nr_posted * sizeof(struct ioregionfd_cmd);
		TEST_ASSERT(info.size >= need && info.size < need + 4096, "size %llu", info.size);
		close(fd);
	}
	TEST_ASSERT(ioctl(self->fd, IOREGIONFD_GET_INFO, bad.none) && errno == EFAULT,
		    "bad address");
	TEST_ASSERT(ioctl(self->fd, IOREGIONFD_GET_INFO, bad.read_only) && errno == EFAULT,
		    "bad address");
}

#define expect_no_map(...) __expect_no_map(__VA_ARGS__, __LINE__)
static void __expect_no_map(int fd, uint64_t size, int flags, uint64_t offset, int err, int line)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, offset);

	TEST_ASSERT(mem == MAP_FAILED && errno == err, "line %d: wanted errno %d, got %d", line,
		    err, mem == MAP_FAILED ? errno : 0);
}

TEST_F(calls, mmap)
{
	int fd = create_ioregionfd(self->vm, 64, 256);
	struct mapping map = mapping_open(fd), other = mapping_open(fd);
	uint64_t size = map.info.size;
	uint8_t *last;

	TEST_ASSERT(size >= 3 * 4096, "too small for the test");
	expect_no_map(fd, size, MAP_PRIVATE, 0, EINVAL);
	expect_no_map(fd, size + 4096, MAP_SHARED, 0, EINVAL);
	expect_no_map(fd, size, MAP_SHARED, 4096, EINVAL);
	expect_no_map(fd, 4096, MAP_SHARED, size, EINVAL);
	expect_no_map(fd, 4096, MAP_SHARED, 1ul << 62, EINVAL);

	/* A part can be mapped, and all mappings show the same. */
	last = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, size - 4096);
	TEST_ASSERT(last != MAP_FAILED, "mmap() of the last page failed: %d", errno);
	((uint8_t *)map.control)[size - 1] = 0x5a;
	TEST_ASSERT_EQ(last[4095], 0x5a);
	TEST_ASSERT_EQ(((uint8_t *)other.control)[size - 1], 0x5a);
	TEST_ASSERT(mremap(last, 4096, 8192, MREMAP_MAYMOVE) == MAP_FAILED, "it can grow");
	munmap(last, 4096);

	/* The ring is empty at first. */
	TEST_ASSERT_EQ(map.control->posted_head | map.control->posted_tail, 0);
	TEST_ASSERT_EQ(map.mailboxes[63].state, 0);
	mapping_close(&map);
	mapping_close(&other);
	close(fd);
}

TEST_F(calls, fetch_arguments)
{
	struct bad_memory bad = bad_memory();
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };
	int bit;

	for (bit = 1; bit < 16; bit++) {
		arg.flags = BIT(bit);
		TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EINVAL);
	}
	arg.flags = 0;
	for (arg.status = 3; arg.status; arg.status++)
		TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EINVAL);
	arg.vcpu = MAX_VCPUS;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EINVAL);
	arg.vcpu = IOREGIONFD_ANY - 1;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EINVAL);
	arg.vcpu = MAX_VCPUS - 1;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -EAGAIN);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, NULL), -EFAULT);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, (void *)bad.none), -EFAULT);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, (void *)bad.end - 8), -EFAULT);
}

TEST_F(calls, fetch_ids)
{
	static const uint64_t ids[] = {
		1, 0xffffffff, 1ul << 32, 1ul << 32 | 1, 5ul << 32 | 1, 0x7ffffffful << 32,
		1ul << 63, 0xffffffff00000000, 0xffffffff00000001, ~0ul,
	};
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	uint64_t id;
	int i;

	for (i = 0; i < ARRAY_SIZE(ids); i++)
		TEST_ASSERT_EQ(commit_only(self->fd, ids[i], 0), -ENOENT);

	/* With a command pending, wrong ids stay wrong, and nothing is fetched. */
	op_read(self->vcpus[0], 8, MMIO_GPA);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		arg.id = ids[i];
		TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -ENOENT);
		TEST_ASSERT_EQ(arg.id, ids[i]);
	}
	arg.id = 0;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	id = arg.id;
	for (i = 0; i < 64; i++)
		TEST_ASSERT_EQ(commit_only(self->fd, id ^ BIT_ULL(i), 0), -ENOENT);
	TEST_ASSERT_EQ(commit_only(self->fd, id, 0), 0);
	TEST_ASSERT_EQ(commit_only(self->fd, id, 0), -ENOENT);
	thread_join_done(&self->thread);
}

/* The same with a posted write. */
TEST_F(calls, fetch_ids_of_posted_writes)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	int i;

	op_write(self->vcpus[0], 4, MMIO_GPA + 0x1000, 1);
	op_write(self->vcpus[0], 4, MMIO_GPA + 0x1000, 2);
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(commit_only(self->fd, ioregionfd_posted_id(0), 0), -ENOENT);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	/* The second one: without its highest bit the id of the first is 0, for no command. */
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	TEST_ASSERT_EQ(ioregionfd_id_vcpu(arg.id), IOREGIONFD_ANY);
	TEST_ASSERT_EQ(arg.id, ioregionfd_posted_id(1 << 1));
	for (i = 0; i < 64; i++)
		TEST_ASSERT_EQ(commit_only(self->fd, arg.id ^ BIT_ULL(i), 0), -ENOENT);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0), 0);
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0), -ENOENT);
}

/* What cannot be stored is not fetched. */
TEST_F(calls, fetch_efault_loses_nothing)
{
	struct bad_memory bad = bad_memory();
	struct ioregionfd_fetch *args[] = {
		/* Before memory that cannot be written; and with room for all but cmd. */
		(void *)bad.read_only,
		(void *)bad.end - offsetof(struct ioregionfd_fetch, cmd),
	};
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	struct guest_op *op;
	int i;

	args[1]->vcpu = IOREGIONFD_ANY;
	op_write(self->vcpus[0], 4, MMIO_GPA + 0x1000, 7);
	op = op_read(self->vcpus[0], 8, MMIO_GPA);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, args[1]), -EFAULT);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, args[1]), -EFAULT);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd(arg.cmd, cmd_posted(4, USER_DATA(0x1000), 0, 7));
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, 0), 0);

	for (i = 0; i < ARRAY_SIZE(args); i++)
		TEST_ASSERT_EQ(commit_and_fetch(self->fd, args[i]), -EFAULT);
	arg.id = 0;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), 0);
	expect_cmd(arg.cmd, cmd_read(8, USER_DATA(0), 0));
	TEST_ASSERT_EQ(commit_only(self->fd, arg.id, DATA), 0);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, DATA);
}

TEST_F(calls, read_and_write)
{
	struct bad_memory bad = bad_memory();
	struct ioregionfd_resp resp = make_resp(DATA);
	struct ioregionfd_cmd cmds[3];
	struct guest_op *op;
	ssize_t n;

	TEST_ASSERT(read(self->fd, cmds, 31) < 0 && errno == EINVAL, "a short buffer");
	TEST_ASSERT(read(self->fd, cmds, 0) < 0 && errno == EINVAL, "no buffer");
	TEST_ASSERT(write(self->fd, &resp, 31) < 0 && errno == EINVAL, "a short response");
	TEST_ASSERT(write(self->fd, cmds, 33) < 0 && errno == EINVAL, "a long response");
	TEST_ASSERT(write(self->fd, &resp, 32) < 0 && errno == ENOENT, "a response to nothing");
	TEST_ASSERT(write(self->fd, bad.none, 32) < 0 && errno == EFAULT, "bad address");

	op = op_read(self->vcpus[0], 8, MMIO_GPA);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	TEST_ASSERT(read(self->fd, cmds, 31) < 0 && errno == EINVAL, "a short buffer");
	TEST_ASSERT(read(self->fd, bad.none, 32) < 0 && errno == EFAULT, "bad address");
	TEST_ASSERT(read(self->fd, bad.end - 31, 32) < 0 && errno == EFAULT, "bad address");
	TEST_ASSERT(write(self->fd, &resp, 32) < 0 && errno == ENOENT, "it has not been fetched");

	/* A buffer larger than needed gets one command. */
	memset(cmds, 0x77, sizeof(cmds));
	n = read(self->fd, cmds, sizeof(cmds));
	TEST_ASSERT_EQ(n, 32);
	expect_cmd(cmds[0], cmd_read(8, USER_DATA(0), 0));
	TEST_ASSERT_EQ(cmds[1].user_data, 0x7777777777777777);

	/* A response that is refused completes nothing. */
	TEST_ASSERT(write(self->fd, &resp, 31) < 0 && errno == EINVAL, "a short response");
	TEST_ASSERT(write(self->fd, bad.none, 32) < 0 && errno == EFAULT, "bad address");
	dev_send(&self->ch, DATA);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, DATA);
	TEST_ASSERT(write(self->fd, &resp, 32) < 0 && errno == ENOENT, "a second response");
}

/* Responses and commands may be scattered over several buffers. */
TEST_F(calls, readv_and_writev)
{
	struct ioregionfd_resp resp = make_resp(DATA);
	struct ioregionfd_cmd cmd;
	struct iovec iov = { &cmd, sizeof(cmd) };
	struct guest_op *op;

	op = op_read(self->vcpus[0], 8, MMIO_GPA);
	thread_start(&self->thread);
	TEST_ASSERT_EQ(readv(self->fd, &iov, 1), 32);
	expect_cmd(cmd, cmd_read(8, USER_DATA(0), 0));
	iov.iov_base = &resp;
	TEST_ASSERT_EQ(writev(self->fd, &iov, 1), 32);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, DATA);
}

TEST_F(calls, nonblocking)
{
	struct ioregionfd_cmd cmd;

	fcntl(self->fd, F_SETFL, O_NONBLOCK);
	TEST_ASSERT(read(self->fd, &cmd, 32) < 0 && errno == EAGAIN, "errno %d", errno);
	op_read(self->vcpus[0], 8, MMIO_GPA);
	thread_start(&self->thread);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, USER_DATA(0), 0));
	TEST_ASSERT(read(self->fd, &cmd, 32) < 0 && errno == EAGAIN, "errno %d", errno);
	dev_send(&self->ch, 0);
	thread_join_done(&self->thread);
	fcntl(self->fd, F_SETFL, 0);
}

/* Through io_uring. */

static int uring_result(struct io_uring *ring)
{
	struct __kernel_timespec timeout = { .tv_sec = HANG_SECONDS };
	struct io_uring_cqe *cqe;
	int r;

	r = io_uring_wait_cqe_timeout(ring, &cqe, &timeout);
	TEST_ASSERT(!r, "no completion: %d", r);
	r = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return r;
}

static int uring_fetch(struct io_uring *ring, int fd, uint32_t op, struct ioregionfd_fetch *arg)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, arg, 0, 0);
	sqe->cmd_op = op;
	TEST_ASSERT_EQ(io_uring_submit(ring), 1);
	return uring_result(ring);
}

TEST_F(calls, uring)
{
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };
	struct bad_memory bad = bad_memory();
	struct io_uring ring;
	struct guest_op *op;

	TEST_ASSERT(!io_uring_queue_init(4, &ring, 0), "no io_uring");
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_COMMIT_AND_FETCH, &arg), -EAGAIN);
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, 0, &arg), -ENOTTY);
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_RECOVER, &arg), -ENOTTY);
	arg.timeout = 1;
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_COMMIT_AND_FETCH, &arg), -EINVAL);
	arg.timeout = 0;
	arg.vcpu = MAX_VCPUS;
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_COMMIT_AND_FETCH, &arg), -EINVAL);
	arg.vcpu = 0;
	arg.flags = 2;
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_COMMIT_AND_FETCH, &arg), -EINVAL);
	arg.flags = 0;
	arg.id = 1ul << 32 | 1;
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_COMMIT_AND_FETCH, &arg), -ENOENT);
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_COMMIT_AND_FETCH, NULL), -EFAULT);

	op = op_read(self->vcpus[0], 8, MMIO_GPA);
	thread_start(&self->thread);
	thread_wait_asleep(&self->thread);
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_COMMIT_AND_FETCH, (void *)bad.none),
		       -EFAULT);
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_COMMIT_AND_FETCH,
				   (void *)bad.read_only), -EFAULT);
	arg.id = 0;
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_COMMIT_AND_FETCH, &arg), 0);
	expect_cmd(arg.cmd, cmd_read(8, USER_DATA(0), 0));
	arg.data = DATA;
	arg.flags = IOREGIONFD_COMMIT_ONLY;
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_COMMIT_AND_FETCH, &arg), 0);
	TEST_ASSERT_EQ(arg.id, 0);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, DATA);
	io_uring_queue_exit(&ring);
}

/* A parked command whose argument is unmapped meanwhile. */
TEST_F(calls, uring_efault_while_parked)
{
	struct ioregionfd_fetch *arg = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ioregionfd_fetch next = fetch_arg(IOREGIONFD_ANY);
	struct io_uring_sqe *sqe;
	struct io_uring ring;

	TEST_ASSERT(!io_uring_queue_init(4, &ring, 0), "no io_uring");
	arg->vcpu = IOREGIONFD_ANY;
	arg->timeout = -1;
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, self->fd, arg, 0, 0);
	sqe->cmd_op = IOREGIONFD_COMMIT_AND_FETCH;
	TEST_ASSERT_EQ(io_uring_submit(&ring), 1);
	munmap(arg, 4096);

	op_read(self->vcpus[0], 8, MMIO_GPA);
	thread_start(&self->thread);
	TEST_ASSERT_EQ(uring_result(&ring), -EFAULT);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &next), 0);
	expect_cmd(next.cmd, cmd_read(8, USER_DATA(0), 0));
	TEST_ASSERT_EQ(commit_only(self->fd, next.id, 0), 0);
	thread_join_done(&self->thread);
	io_uring_queue_exit(&ring);
}

/* How the file descriptor gets to another process. */

/* Completes one read. */
static void serve_one(int fd)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	int r = commit_and_fetch(fd, &arg);

	if (!r)
		r = commit_only(fd, arg.id, DATA);
	_exit(r ? 1 : 0);
}

static void expect_child_served(struct vcpu_thread *thread, pid_t pid)
{
	struct guest_op *op = op_read(thread->vcpu, 8, MMIO_GPA);
	int status;

	thread_start(thread);
	thread_join_done(thread);
	TEST_ASSERT_EQ(op->val, DATA);
	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	TEST_ASSERT_EQ(status, 0);
}

TEST_F(calls, fork)
{
	pid_t pid = fork();

	if (!pid)
		serve_one(self->fd);
	expect_child_served(&self->thread, pid);
}

/* The mapping alone also keeps the file. */
TEST_F(calls, fork_with_mapping)
{
	struct mapping map = mapping_open(self->fd);
	struct ioregionfd_fetch arg;
	pid_t pid = fork();

	if (!pid) {
		while (!mapping_fetch(&map, IOREGIONFD_ANY, &arg))
			sched_yield();
		mapping_complete(&map, arg.id, DATA);
		_exit(0);
	}
	mapping_close(&map);
	expect_child_served(&self->thread, pid);
}

TEST_F(calls, scm_rights)
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
	int socks[2], fd;
	pid_t pid;

	TEST_ASSERT(!socketpair(AF_UNIX, SOCK_STREAM, 0, socks), "socketpair() failed");
	pid = fork();
	if (!pid) {
		/* Like a process that has never had anything to do with the VM. */
		if (close_range(3, socks[1] - 1, 0) || close_range(socks[1] + 1, ~0u, 0))
			_exit(2);
		if (recvmsg(socks[1], &msg, 0) != 1)
			_exit(3);
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
		serve_one(fd);
	}
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &self->fd, sizeof(int));
	TEST_ASSERT_EQ(sendmsg(socks[0], &msg, 0), 1);
	expect_child_served(&self->thread, pid);
}

/* After the end of the VM every call reports just that. */
TEST_F(calls, after_the_vm)
{
	struct ioregionfd_fetch arg = fetch_arg(IOREGIONFD_ANY);
	struct mapping map = mapping_open(self->fd);
	struct pollfd pfd = { .fd = self->fd, .events = POLLIN };
	struct ioregionfd_info info;
	struct io_uring ring;
	char buf[32] = { 0 };

	TEST_ASSERT_EQ(map.control->vm_dead, 0);
	TEST_ASSERT_EQ(poll(&pfd, 1, 0), 0);
	kvm_vm_free(self->vm);
	self->vm = NULL;
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);

	TEST_ASSERT_EQ(map.control->vm_dead, 1);
	TEST_ASSERT_EQ(poll(&pfd, 1, 0), 1);
	TEST_ASSERT_EQ(pfd.revents, POLLIN | POLLHUP);
	TEST_ASSERT_EQ(read(self->fd, buf, 32), 0);
	TEST_ASSERT(write(self->fd, buf, 32) < 0 && errno == ENOENT, "errno %d", errno);
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -ENODEV);
	arg.timeout = 0;
	TEST_ASSERT_EQ(commit_and_fetch(self->fd, &arg), -ENODEV);
	TEST_ASSERT_EQ(commit_only(self->fd, 1ul << 32 | 1, 0), -ENOENT);
	TEST_ASSERT(!ioctl(self->fd, IOREGIONFD_GET_INFO, &info), "errno %d", errno);
	recover(self->fd);
	TEST_ASSERT(!io_uring_queue_init(4, &ring, 0), "no io_uring");
	arg.timeout = -1;
	TEST_ASSERT_EQ(uring_fetch(&ring, self->fd, IOREGIONFD_COMMIT_AND_FETCH, &arg), -ENODEV);
	io_uring_queue_exit(&ring);
	mapping_close(&map);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
