// SPDX-License-Identifier: GPL-2.0-only
/*
 * A command that cannot be stored for the device task that fetched it goes to the next
 * one, once.
 */
#include <linux/userfaultfd.h>

#include "ioregionfd_harness.h"
#include "ioregionfd_trust_util.h"

#define SYNC		MMIO_GPA
#define SYNC_DATA	USER_DATA(0)

/*
 * A command that cannot be stored for the device task that fetched it, because the
 * task's memory is not there or read-only, is requeued; unless the vCPU has left in
 * between.
 */
FIXTURE(requeue)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct mapping map;
	int uffd;
	void *page;
	pthread_t task;
};

FIXTURE_VARIANT(requeue)
{
	enum mode mode;
};

FIXTURE_VARIANT_ADD(requeue, ioctl) { MODE_IOCTL };
FIXTURE_VARIANT_ADD(requeue, read) { MODE_READ };
FIXTURE_VARIANT_ADD(requeue, uring) { MODE_URING };

static void write_protect(int uffd, void *page)
{
	struct uffdio_writeprotect wp = {
		.range = { (uint64_t)page, getpagesize() },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int r = ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);

	TEST_ASSERT(!r, __KVM_IOCTL_ERROR("UFFDIO_WRITEPROTECT", r));
}

FIXTURE_SETUP(requeue)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg;

	self->uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (self->uffd < 0 || ioctl(self->uffd, UFFDIO_API, &api))
		SKIP(return, "no userfaultfd that can write-protect: errno %d", errno);
	self->page = mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TEST_ASSERT(self->page != MAP_FAILED, "mmap() failed");
	memset(self->page, 0, getpagesize());
	reg = (struct uffdio_register){
		.range = { (uint64_t)self->page, getpagesize() },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	TEST_ASSERT(!ioctl(self->uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER failed: %d", errno);

	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->ch = channel_open_for(self->vm, TR_NATIVE);
	self->map = mapping_open(self->ch.dev_rd);
	region_add(self->vm, &self->ch, SYNC, 0x1000, SYNC_DATA, 0);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(requeue)
{
	kvm_vm_free(self->vm);
	mapping_close(&self->map);
	close(self->uffd);
}

struct fetcher {
	int fd;
	enum mode mode;
	void *page;
	pthread_t thread;
	int ret;
	bool done;
};

/*
 * Asks for a command to be stored in @page. The kernel fetches one and then sleeps in
 * the page fault.
 */
static void *fetcher_main(void *data)
{
	struct fetcher *u = data;
	struct ioregionfd_fetch *arg = u->page;
	struct io_uring ring;
	ssize_t n;

	switch (u->mode) {
	case MODE_IOCTL:
		u->ret = commit_and_fetch(u->fd, arg);
		break;
	case MODE_URING:
		u->ret = io_uring_queue_init(8, &ring, 0);
		if (u->ret)
			break;
		uring_submit(&ring, u->fd, arg, 0);
		u->ret = uring_wait(&ring, NULL);
		io_uring_queue_exit(&ring);
		break;
	default:
		n = read(u->fd, u->page, sizeof(struct ioregionfd_cmd));
		u->ret = n < 0 ? -errno : n;
	}
	__atomic_store_n(&u->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void fetcher_fetch(struct fetcher *u, int uffd, struct mapping *map)
{
	struct ioregionfd_fetch *arg = u->page;
	int r;

	*arg = (struct ioregionfd_fetch){ .timeout = -1, .vcpu = IOREGIONFD_ANY };
	write_protect(uffd, u->page);
	r = pthread_create(&u->thread, NULL, fetcher_main, u);
	TEST_ASSERT(!r, "pthread_create() failed: %d", r);
	TEST_ASSERT(fd_poll(uffd, POLLIN, HANG_SECONDS * 1000), "no page fault");
	TEST_ASSERT_EQ(READ_ONCE(map->mailboxes[0].state) & IOREGIONFD_MAILBOX_STATE,
		       IOREGIONFD_MAILBOX_FETCHED);
}

/* Makes the page fault fail. */
static void fetcher_fail(struct fetcher *u, int uffd, bool unmap)
{
	struct uffdio_range range = { (uint64_t)u->page, getpagesize() };
	int i, r;

	r = unmap ? munmap(u->page, getpagesize()) : mprotect(u->page, getpagesize(), PROT_READ);
	TEST_ASSERT(!r, "the page cannot be removed: errno %d", errno);
	r = ioctl(uffd, UFFDIO_WAKE, &range);
	TEST_ASSERT(!r, __KVM_IOCTL_ERROR("UFFDIO_WAKE", r));
	for (i = 0; !__atomic_load_n(&u->done, __ATOMIC_ACQUIRE); i++) {
		TEST_ASSERT(i < HANG_LOOKS, "the device task does not come back");
		usleep(1000);
	}
	pthread_join(u->thread, NULL);
	TEST_ASSERT_EQ(u->ret, -EFAULT);
}

static void requeue_after_the_vcpu_left(struct kvm_vm *vm, struct vcpu_thread *thread,
					struct channel *ch, struct mapping *map, int uffd,
					struct fetcher *u, bool unmap)
{
	struct kvm_run *run = thread->vcpu->run;
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };
	struct guest_op *op;
	int r;

	op_read(thread->vcpu, 8, SYNC + 0x10);
	op = op_read(thread->vcpu, 8, SYNC + 0x18);
	thread_start(thread);
	fetcher_fetch(u, uffd, map);
	thread_wait_asleep(thread);
	region_del(vm, SYNC, 0x1000, 0);
	thread_join_exit(thread);
	TEST_ASSERT_EQ(run->exit_reason, KVM_EXIT_IOREGIONFD_FAILURE);
	TEST_ASSERT_EQ(run->ioregionfd.progress, KVM_IOREGIONFD_SENT_ALL);
	fetcher_fail(u, uffd, unmap);

	/* Nobody may carry it out now: the VMM has been told what became of it. */
	r = commit_and_fetch(ch->dev_rd, &arg);
	TEST_ASSERT(r, "a task is given the command for 0x%llx of a region that is gone",
		    arg.cmd.offset);
	TEST_ASSERT_EQ(r, -EAGAIN);
	TEST_ASSERT(!dev_has_cmd(ch), "poll() says that there is a command");

	/* The mailbox is free for the next command. */
	region_add(vm, ch, SYNC, 0x1000, SYNC_DATA, 0);
	run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	run->ioregionfd.data = 0;
	thread_start(thread);
	expect_cmd(dev_recv(ch), cmd_read(8, SYNC_DATA, 0x18));
	TEST_ASSERT_EQ(resp_write(ch->dev_wr, 0x1234), 0);
	thread_join_done(thread);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

TEST_F(requeue, read_only_after_the_vcpu_left)
{
	struct fetcher u = { self->ch.dev_rd, variant->mode, self->page };

	requeue_after_the_vcpu_left(self->vm, &self->thread, &self->ch, &self->map, self->uffd, &u,
				    false);
}

TEST_F(requeue, unmapped_after_the_vcpu_left)
{
	struct fetcher u = { self->ch.dev_rd, variant->mode, self->page };

	requeue_after_the_vcpu_left(self->vm, &self->thread, &self->ch, &self->map, self->uffd, &u,
				    true);
}

/* The vCPU still waits: another task fetches the command, for the first time. */
TEST_F(requeue, while_the_vcpu_waits)
{
	struct fetcher u = { self->ch.dev_rd, variant->mode, self->page };
	struct guest_op *op = op_read(self->vcpu, 8, SYNC + 0x10);

	thread_start(&self->thread);
	fetcher_fetch(&u, self->uffd, &self->map);
	fetcher_fail(&u, self->uffd, false);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, SYNC_DATA, 0x10));
	TEST_ASSERT_EQ(resp_write(self->ch.dev_wr, 0x1234), 0);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

/*
 * Recovered in between: the new task has the command, and the old one's fault does not
 * change that.
 */
TEST_F(requeue, after_recovery)
{
	struct fetcher u = { self->ch.dev_rd, variant->mode, self->page };
	struct guest_op *op = op_read(self->vcpu, 8, SYNC + 0x10);
	struct ioregionfd_fetch arg = fetch_arg(0);

	thread_start(&self->thread);
	fetcher_fetch(&u, self->uffd, &self->map);
	recover(self->ch.dev_rd);
	TEST_ASSERT_EQ(commit_and_fetch(self->ch.dev_rd, &arg), 0);
	fetcher_fail(&u, self->uffd, false);
	TEST_ASSERT(!dev_has_cmd(&self->ch), "the command comes twice");
	TEST_ASSERT_EQ(commit_only(self->ch.dev_rd, arg.id, 0x1234), 0);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x1234);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
