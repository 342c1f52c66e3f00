// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the device task that README.md shows, in a process of its own, and has a guest
 * use it. The program is extracted from README.md at build time and is in the same
 * directory as this one.
 */
#include <libgen.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "processor.h"

#define PORT		0x510
#define DEVICE_TASK	"readme_device"

static void guest_code(void)
{
	uint32_t first, second, third;

	asm volatile("inl %w1, %0" : "=a" (first) : "Nd" (PORT));
	asm volatile("inl %w1, %0" : "=a" (second) : "Nd" (PORT));
	asm volatile("outl %0, %w1" : : "a" (41), "Nd" (PORT));
	asm volatile("inl %w1, %0" : "=a" (third) : "Nd" (PORT));

	GUEST_ASSERT_EQ(first, 0);
	GUEST_ASSERT_EQ(second, 1);
	GUEST_ASSERT_EQ(third, 41);
	GUEST_DONE();
}

static pid_t start_device_task(int fd)
{
	char self[PATH_MAX] = "", path[PATH_MAX + sizeof(DEVICE_TASK) + 1];
	pid_t pid;

	TEST_ASSERT(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0,
		    "readlink: %s", strerror(errno));
	snprintf(path, sizeof(path), "%s/" DEVICE_TASK, dirname(self));

	pid = fork();
	TEST_ASSERT(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		dup2(fd, STDIN_FILENO);
		execl(path, DEVICE_TASK, NULL);
		_exit(127);
	}
	return pid;
}

TEST(example_device_task_serves_a_guest)
{
	struct kvm_ioregionfd region = {
		.guest_paddr = PORT,
		.memory_size = 4,
		.flags = KVM_IOREGION_PIO,
	};
	struct kvm_vcpu *vcpu;
	int sv[2], status;
	struct kvm_vm *vm;
	struct ucall uc;
	pid_t pid;

	/* Before there is a VM, so that the task does not inherit it. */
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	pid = start_device_task(sv[1]);
	close(sv[1]);

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	region.read_fd = sv[0];
	region.write_fd = sv[0];
	vm_ioctl(vm, KVM_SET_IOREGIONFD, &region);
	close(sv[0]);

	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_DONE:
		break;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	default:
		TEST_FAIL("exit reason %u", vcpu->run->exit_reason);
	}

	/* The VM held the last reference to our end, so the task sees the end. */
	kvm_vm_free(vm);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_HARNESS_MAIN
