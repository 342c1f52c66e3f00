// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_CREATE_IOREGIONFD: each documented error, that a failed call changes nothing, and
 * what file a call that succeeds returns.
 */
#include <limits.h>
#include <sys/resource.h>

#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

static int try_create(struct kvm_vm *vm, const struct kvm_create_ioregionfd *args)
{
	return __vm_ioctl(vm, KVM_CREATE_IOREGIONFD, args);
}

#define expect_no_fd(vm, args, err) __expect_no_fd(vm, args, err, __LINE__)
static void __expect_no_fd(struct kvm_vm *vm, const struct kvm_create_ioregionfd *args, int err,
			   int line)
{
	int r = try_create(vm, args);

	TEST_ASSERT(r == -1 && errno == err, "line %d: wanted errno %d, got %d, errno %d",
		    line, err, r, r ? errno : 0);
}

#define expect_fd(vm, args) __expect_fd(vm, args, __LINE__)
static void __expect_fd(struct kvm_vm *vm, const struct kvm_create_ioregionfd *args, int line)
{
	int fd = try_create(vm, args);

	TEST_ASSERT(fd >= 0, "line %d: errno %d", line, errno);
	close(fd);
}

FIXTURE(create)
{
	struct kvm_vm *vm;
	struct kvm_create_ioregionfd args;	/* valid */
};

FIXTURE_SETUP(create)
{
	self->vm = vm_create_barebones();
	self->args = (struct kvm_create_ioregionfd){ .nr_mailboxes = 2, .nr_posted = 8 };
}

FIXTURE_TEARDOWN(create)
{
	expect_fd(self->vm, &self->args);
	kvm_vm_free(self->vm);
}

TEST_F(create, flags)
{
	struct kvm_create_ioregionfd args = self->args;
	int bit;

	for (bit = 0; bit < 32; bit++) {
		args.flags = BIT(bit);
		if (args.flags == KVM_IOREGIONFD_SYNC_WAKE)
			expect_fd(self->vm, &args);
		else
			expect_no_fd(self->vm, &args, EINVAL);
	}
}

TEST_F(create, pad)
{
	struct kvm_create_ioregionfd args = self->args;
	int i;

	for (i = 0; i < ARRAY_SIZE(args.pad); i++) {
		args.pad[i] = i & 1 ? 0x80000000 : 1;
		expect_no_fd(self->vm, &args, EINVAL);
		args.pad[i] = 0;
	}
}

TEST_F(create, vcpus)
{
	struct kvm_create_ioregionfd args = self->args;
	uint32_t max = max_vcpu_ids();

	args.nr_mailboxes = 0;
	expect_no_fd(self->vm, &args, EINVAL);
	args.nr_mailboxes = UINT_MAX;
	expect_no_fd(self->vm, &args, EINVAL);
	args.nr_mailboxes = max + 1;
	expect_no_fd(self->vm, &args, EINVAL);
	args.nr_mailboxes = max;
	expect_fd(self->vm, &args);
	args.nr_mailboxes = 1;
	expect_fd(self->vm, &args);
}

TEST_F(create, posted)
{
	static const uint32_t bad[] = { 0, 3, 12, 65535, 65537, 131072, 1u << 31, UINT_MAX };
	struct kvm_create_ioregionfd args = self->args;
	int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		args.nr_posted = bad[i];
		expect_no_fd(self->vm, &args, EINVAL);
	}
	for (i = 1; i <= KVM_IOREGIONFD_MAX_POSTED; i *= 2) {
		args.nr_posted = i;
		expect_fd(self->vm, &args);
	}
}

TEST_F(create, bad_pointer)
{
	struct bad_memory bad = bad_memory();
	struct kvm_create_ioregionfd *edge = (void *)bad.end - sizeof(*edge);

	expect_no_fd(self->vm, (struct kvm_create_ioregionfd *)NULL, EFAULT);
	expect_no_fd(self->vm, (struct kvm_create_ioregionfd *)bad.none, EFAULT);
	memcpy((void *)edge + 4, &self->args, sizeof(*edge) - 4);
	expect_no_fd(self->vm, (struct kvm_create_ioregionfd *)((void *)edge + 4), EFAULT);
	*edge = self->args;
	expect_fd(self->vm, edge);
}

TEST_F(create, no_descriptor_left)
{
	struct rlimit limit = { 0 }, old;

	getrlimit(RLIMIT_NOFILE, &old);
	limit.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	expect_no_fd(self->vm, &self->args, EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
}

TEST_F(create, file_descriptor)
{
	int fd = create_ioregionfd(self->vm, 1, 1);
	char byte;

	TEST_ASSERT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	TEST_ASSERT_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
	TEST_ASSERT(lseek(fd, 0, SEEK_CUR) < 0 && errno == ESPIPE, "it can seek");
	TEST_ASSERT(pread(fd, &byte, 0, 0) < 0, "it has positions");
	close(fd);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
