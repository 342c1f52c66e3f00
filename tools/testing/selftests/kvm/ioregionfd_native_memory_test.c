// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: how much of the host's memory a VM can use.
 */
#include <sys/resource.h>

#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define SYNC		MMIO_GPA
#define SYNC_DATA	USER_DATA(0)

#define MIB		BIT(20)

/*
 * What memory is kept.
 */
FIXTURE(memory)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
};

FIXTURE_SETUP(memory)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(memory)
{
	kvm_vm_free(self->vm);
}

/* The sum of the numbers that follow @name in a file in /proc. */
static long proc_sum(const char *path, const char *name)
{
	size_t len = strlen(name);
	char line[256], *p;
	long sum = 0;
	FILE *f = fopen(path, "r");

	TEST_ASSERT(f, "no %s", path);
	while (fgets(line, sizeof(line), f)) {
		p = line + strspn(line, " ");
		if (!strncmp(p, name, len))
			sum += strtol(p + len, NULL, 10);
	}
	fclose(f);
	TEST_ASSERT(sum, "no %s in %s", name, path);
	return sum;
}

/* Pages on per-CPU lists are not in MemAvailable. */
static long free_now(void)
{
	return proc_sum("/proc/meminfo", "MemAvailable:") * 1024 +
	       proc_sum("/proc/zoneinfo", "count:") * getpagesize();
}

/* What is available after deferred frees, such as those after a grace period, are done. */
static long available(void)
{
	long now = free_now(), before;
	int i;

	for (i = 0; i < 20; i++) {
		usleep(200000);
		before = now;
		now = free_now();
		if (labs(now - before) < (long)MIB / 2)
			break;
	}
	return now;
}

static struct channel channel_of(struct kvm_vm *vm, uint32_t vcpus, uint32_t posted)
{
	int fd = create_ioregionfd(vm, vcpus, posted);

	return (struct channel){ TR_NATIVE, fd, fd, fd, fd };
}

#define NR_CLOSED	100

#define expect_freed(...) __expect_freed(__VA_ARGS__, __LINE__)
static void __expect_freed(long before, long open, long after, int line)
{
	printf("# line %d: %u channels use %ld MiB, and %ld MiB once they are closed\n",
	       line, NR_CLOSED, (before - open) >> 20, (before - after) >> 20);
	/* 65536 entries of 32 bytes each. */
	TEST_ASSERT(before - open > NR_CLOSED * 2 * (long)MIB * 3 / 4,
		    "line %d: the memory in use does not show: %ld MiB", line,
		    (before - open) >> 20);
	TEST_ASSERT(before - after < (before - open) / 4,
		    "line %d: %u closed channels keep %ld MiB", line, NR_CLOSED,
		    (before - after) >> 20);
}

/* A region keeps its channel, but not the memory that only a device task could see. */
TEST_F_TIMEOUT(memory, closed_channels, 120)
{
	struct channel chs[NR_CLOSED];
	long before = available(), open, after;
	int i;

	for (i = 0; i < NR_CLOSED; i++) {
		chs[i] = channel_of(self->vm, MAX_VCPUS, KVM_IOREGIONFD_MAX_POSTED);
		region_add(self->vm, &chs[i], SYNC + 8 * i, 8, SYNC_DATA, 0);
	}
	open = available();
	for (i = 0; i < NR_CLOSED; i++)
		close(chs[i].kvm_rd);
	after = available();
	expect_freed(before, open, after);

	/* Accesses to their regions tell the VMM. */
	for (i = 0; i < NR_CLOSED; i += 33) {
		op_read(self->vcpu, 8, SYNC + 8 * i);
		vcpu_run(self->vcpu);
		TEST_ASSERT_KVM_EXIT_REASON(self->vcpu, KVM_EXIT_IOREGIONFD_FAILURE);
		TEST_ASSERT_EQ(self->vcpu->run->ioregionfd.reason, KVM_IOREGIONFD_FAIL_HANGUP);
		self->vcpu->run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
		run_done(self->vcpu);
	}
	for (i = 0; i < NR_CLOSED; i++)
		region_del(self->vm, SYNC + 8 * i, 8, 0);
}

/* Whoever has mapped a channel can still see its memory. */
TEST_F_TIMEOUT(memory, mapped_channels, 120)
{
	static struct mapping maps[NR_CLOSED];
	struct channel ch;
	long before = available(), open, after;
	uint64_t sum = 0;
	int i;

	for (i = 0; i < NR_CLOSED; i++) {
		ch = channel_of(self->vm, MAX_VCPUS, KVM_IOREGIONFD_MAX_POSTED);
		region_add(self->vm, &ch, SYNC + 8 * i, 8, SYNC_DATA, KVM_IOREGION_POSTED_WRITES);
		maps[i] = mapping_open(ch.kvm_rd);
		close(ch.kvm_rd);
	}
	for (i = 0; i < NR_CLOSED; i++) {
		op_write(self->vcpu, 8, SYNC + 8 * i, i);
		sum += maps[i].control->posted_head;
	}
	TEST_ASSERT_EQ(sum, 0);
	run_done(self->vcpu);
	for (i = 0; i < NR_CLOSED; i++) {
		TEST_ASSERT_EQ(maps[i].control->posted_head, 1);
		TEST_ASSERT_EQ(maps[i].posted[0].data, i);
	}
	open = available();
	for (i = 0; i < NR_CLOSED; i++)
		mapping_close(&maps[i]);
	after = available();
	expect_freed(before, open, after);
}

/* Closed while a vCPU's command is pending, and the VMM does not look at the failure. */
TEST_F_TIMEOUT(memory, closed_with_a_command, 120)
{
	struct channel chs[NR_CLOSED];
	struct ioregionfd_fetch arg;
	long before = available(), open, after;
	int i;

	for (i = 0; i < NR_CLOSED; i++) {
		chs[i] = channel_of(self->vm, MAX_VCPUS, KVM_IOREGIONFD_MAX_POSTED);
		region_add(self->vm, &chs[i], SYNC + 8 * i, 8, SYNC_DATA, 0);
	}
	open = available();
	for (i = 0; i < NR_CLOSED; i++) {
		if (i % 20) {
			close(chs[i].kvm_rd);
			continue;
		}
		op_read(self->vcpu, 8, SYNC + 8 * i);
		thread_start(&self->thread);
		thread_wait_asleep(&self->thread);
		if (i % 40) {
			arg = fetch_arg(0);
			TEST_ASSERT_EQ(commit_and_fetch(chs[i].kvm_rd, &arg), 0);
		}
		close(chs[i].kvm_rd);
		thread_join_exit(&self->thread);
		TEST_ASSERT_KVM_EXIT_REASON(self->vcpu, KVM_EXIT_IOREGIONFD_FAILURE);
		self->vcpu->run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
		run_done(self->vcpu);
	}
	after = available();
	expect_freed(before, open, after);
}

#define VM_LIMIT	(256 * MIB)

/* As create_ioregionfd(), but returns -1 for ENOSPC. */
static int create_or_enospc(struct kvm_vm *vm, uint32_t vcpus, uint32_t posted)
{
	struct kvm_create_ioregionfd args = { .nr_mailboxes = vcpus, .nr_posted = posted };
	int fd = __vm_ioctl(vm, KVM_CREATE_IOREGIONFD, &args);

	TEST_ASSERT(fd >= 0 || errno == ENOSPC, "wanted ENOSPC, got errno %d (%s)", errno,
		    strerror(errno));
	return fd;
}

/* Creates the largest possible channels until the VM may not have more. */
static unsigned int fill(struct kvm_vm *vm, int *fds, unsigned int max, uint32_t posted)
{
	struct ioregionfd_info info = { 0 };
	uint64_t sum = 0;
	unsigned int nr;

	for (nr = 0; nr < max; nr++) {
		fds[nr] = create_or_enospc(vm, 1, posted);
		if (fds[nr] < 0)
			break;
		TEST_ASSERT(!ioctl(fds[nr], IOREGIONFD_GET_INFO, &info), "errno %d", errno);
		sum += info.size;
	}
	TEST_ASSERT(nr < max, "%u channels of %llu KiB, %lu MiB in all, and no limit", nr,
		    info.size >> 10, sum >> 20);
	TEST_ASSERT(sum <= VM_LIMIT, "the VM has %lu MiB in channels", sum >> 20);
	TEST_ASSERT(sum > VM_LIMIT * 3 / 4, "the VM may have only %lu MiB in channels", sum >> 20);
	return nr;
}

TEST_F_TIMEOUT(memory, of_a_vm, 120)
{
	static int fds[140], more[140];
	struct kvm_vcpu *vcpu;
	struct kvm_vm *other;
	unsigned int nr, i;

	nr = fill(self->vm, fds, ARRAY_SIZE(fds), KVM_IOREGIONFD_MAX_POSTED);
	TEST_ASSERT_EQ(create_or_enospc(self->vm, 1, KVM_IOREGIONFD_MAX_POSTED), -1);

	/* Another VM has a limit of its own. */
	other = ioregion_vm_create(1, guest_script_main, &vcpu);
	close(create_ioregionfd(other, 1, KVM_IOREGIONFD_MAX_POSTED));
	kvm_vm_free(other);

	/*
	 * Another one fits once one has gone: by being closed, and by losing a region
	 * after that.
	 */
	for (i = 0; i < 3; i++) {
		close(fds[i]);
		fds[i] = create_ioregionfd(self->vm, 1, KVM_IOREGIONFD_MAX_POSTED);
		TEST_ASSERT_EQ(create_or_enospc(self->vm, 1, KVM_IOREGIONFD_MAX_POSTED), -1);
	}
	for (i = 0; i < nr; i++)
		close(fds[i]);
	TEST_ASSERT_EQ(fill(self->vm, more, ARRAY_SIZE(more), KVM_IOREGIONFD_MAX_POSTED), nr);

	/* The VM goes before its channels are closed. */
	kvm_vm_free(self->vm);
	for (i = 0; i < nr; i++)
		close(more[i]);
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	TEST_ASSERT_EQ(fill(self->vm, more, ARRAY_SIZE(more), KVM_IOREGIONFD_MAX_POSTED), nr);
	for (i = 0; i < nr; i++)
		close(more[i]);
}

/* What closed channels keep per vCPU is bounded too. */
TEST_F_TIMEOUT(memory, closed_channels_of_many_vcpus, 240)
{
	uint32_t vcpus = kvm_check_cap(KVM_CAP_MAX_VCPUS);
	long before = available(), used = 0;
	struct channel ch = { TR_NATIVE };
	unsigned int nr;

	for (nr = 0; nr < 1000; nr++) {
		ch.kvm_rd = create_or_enospc(self->vm, vcpus, 1);
		if (ch.kvm_rd < 0)
			break;
		ch.kvm_wr = ch.kvm_rd;
		region_add(self->vm, &ch, SYNC + 8 * nr, 8, SYNC_DATA, 0);
		close(ch.kvm_rd);
		if (nr % 50 == 49) {
			used = before - available();
			/* Stop before the machine has no memory left. */
			TEST_ASSERT(used < (long)VM_LIMIT * 3 / 2,
				    "%u closed channels of %u vCPUs keep %ld MiB, and no limit",
				    nr + 1, vcpus, used >> 20);
		}
	}
	used = before - available();
	printf("# %u closed channels of %u vCPUs keep %ld MiB\n", nr, vcpus, used >> 20);
	TEST_ASSERT(used < (long)VM_LIMIT * 3 / 2, "that is too much");
}

int main(int argc, char **argv)
{
	struct rlimit files = { 4096, 4096 };

	setrlimit(RLIMIT_NOFILE, &files);
	return ioregion_test_main(argc, argv);
}
