// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each allocation and each copy from user memory fails once, in the calls of a VMM that
 * need no vCPU: the call then reports it, nothing has changed, and the same call works
 * when it is repeated. The end of a VMM needs no allocation.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_nomem_util.h"

/* The calls, which return -errno. */

static int set_region(struct kvm_vm *vm, struct channel *ch, uint64_t addr, uint32_t flags)
{
	struct kvm_ioregionfd args = region_args(ch, addr, 8, SYNC_DATA, flags);

	if (flags & KVM_IOREGION_DEASSIGN) {
		args.read_fd = 0;
		args.write_fd = 0;
	}
	return ioctl(vm->fd, KVM_SET_IOREGIONFD, &args) ? -errno : 0;
}

static int create(struct kvm_vm *vm, uint32_t posted)
{
	struct kvm_create_ioregionfd args = { .nr_mailboxes = MAX_VCPUS, .nr_posted = posted };
	int fd = ioctl(vm->fd, KVM_CREATE_IOREGIONFD, &args);

	return fd < 0 ? -errno : fd;
}

static struct channel channel_of(int fd)
{
	return (struct channel){ TR_NATIVE, fd, fd, fd, fd };
}

/* The descriptor that the next open() will return. */
static int next_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static uint64_t vmalloc_used(void)
{
	static const char name[] = "VmallocUsed:";
	uint64_t kib = 0;
	char line[256];
	FILE *f = fopen("/proc/meminfo", "r");

	TEST_ASSERT(f, "no /proc/meminfo");
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, sizeof(name) - 1))
			kib = strtoul(line + sizeof(name) - 1, NULL, 10);
	}
	fclose(f);
	return kib << 10;
}

/* How many more large channels the VM can have. */
static unsigned int nr_channels(struct kvm_vm *vm)
{
	int fds[130];
	unsigned int nr, i;

	for (nr = 0; nr < ARRAY_SIZE(fds); nr++) {
		fds[nr] = create(vm, KVM_IOREGIONFD_MAX_POSTED);
		if (fds[nr] < 0)
			break;
	}
	for (i = 0; i < nr; i++)
		close(fds[i]);
	return nr;
}

/* How many more regions the VM can have. */
static unsigned int nr_regions(struct kvm_vm *vm, struct channel *ch)
{
	unsigned int nr, i;

	for (nr = 0; nr < 5000 && !set_region(vm, ch, 0x100000 + 16 * nr, 0); nr++)
		;
	for (i = 0; i < nr; i++)
		TEST_ASSERT_EQ(set_region(vm, ch, 0x100000 + 16 * i, KVM_IOREGION_DEASSIGN), 0);
	return nr;
}

/*
 * The VMM's calls that need no vCPU.
 */
FIXTURE(vmm)
{
	struct kvm_vm *vm;
	struct channel ch;
	uint32_t flags;
};

FIXTURE_VARIANT(vmm)
{
	bool many;
	enum transport transport;
	uint32_t flags;
};

FIXTURE_VARIANT_ADD(vmm, one) { false, TR_NATIVE };
FIXTURE_VARIANT_ADD(vmm, many) { true, TR_NATIVE };
FIXTURE_VARIANT_ADD(vmm, one_pio) { false, TR_NATIVE, KVM_IOREGION_PIO };
FIXTURE_VARIANT_ADD(vmm, many_pio) { true, TR_NATIVE, KVM_IOREGION_PIO };
FIXTURE_VARIANT_ADD(vmm, one_socket) { false, TR_SEQPACKET };
FIXTURE_VARIANT_ADD(vmm, many_socket) { true, TR_SEQPACKET };

FIXTURE_SETUP(vmm)
{
	set_copies(true);
	faults_open();
	self->vm = vm_create_barebones();
	self->ch = channel_open_for(self->vm, variant->transport);
	self->flags = variant->flags;
}

FIXTURE_TEARDOWN(vmm)
{
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	expect_released(&self->ch);
}

TEST_F_TIMEOUT(vmm, create, 240)
{
	struct faults f = { "KVM_CREATE_IOREGIONFD", variant->many };
	unsigned int nr = nr_channels(self->vm);
	uint64_t used = vmalloc_used();
	struct ioregionfd_info info;
	int fd, next;

	while (faults_next(&f)) {
		next = next_fd();
		faults_begin(&f);
		fd = create(self->vm, 4096);
		faults_end(&f);
		if (faults_failed(&f, fd)) {
			TEST_ASSERT(next == next_fd(), "failure %u: descriptor %d is gone", f.nth,
				    next);
			fd = create(self->vm, 4096);
		}
		TEST_ASSERT(fd == next, "failure %u: wanted descriptor %d, got %d", f.nth, next,
			    fd);
		TEST_ASSERT(!ioctl(fd, IOREGIONFD_GET_INFO, &info), "errno %d", errno);
		TEST_ASSERT_EQ(info.nr_posted, 4096);
		close(fd);
	}
	faults_expect(&f);
	/* Failed calls have left nothing behind, neither memory nor a charge to the VM. */
	TEST_ASSERT(vmalloc_used() < used + (1 << 20), "%lu KiB have leaked",
		    (vmalloc_used() - used) >> 10);
	TEST_ASSERT_EQ(nr_channels(self->vm), nr);
}

/* The last descriptor is closed, before its region is removed and after. */
TEST_F_TIMEOUT(vmm, close, 240)
{
	struct faults f = { "close()", variant->many };
	uint64_t used = vmalloc_used();
	struct channel ch;
	bool region;
	int fd;

	while (faults_next(&f)) {
		region = f.nth & 1;
		fd = create(self->vm, 4096);
		ch = channel_of(fd);
		if (region)
			TEST_ASSERT_EQ(set_region(self->vm, &ch, 0x1000, self->flags), 0);
		faults_begin(&f);
		close(fd);
		faults_end(&f);
		if (region)
			TEST_ASSERT_EQ(set_region(self->vm, &ch, 0x1000,
						  self->flags | KVM_IOREGION_DEASSIGN), 0);
	}
	faults_report(&f);
	TEST_ASSERT(vmalloc_used() < used + (1 << 20), "%lu KiB have leaked",
		    (vmalloc_used() - used) >> 10);
}

static int assign(struct kvm_vm *vm, struct channel *ch, uint64_t addr, uint32_t flags,
		  struct faults *f)
{
	int r;

	faults_begin(f);
	r = set_region(vm, ch, addr, flags);
	faults_end(f);
	return r;
}

#define region_is_gone(...) __region_is_gone(__VA_ARGS__, __LINE__)
static void __region_is_gone(struct kvm_vm *vm, struct channel *ch, uint64_t addr,
			     uint32_t flags, struct faults *f, int line)
{
	int r = set_region(vm, ch, addr, flags | KVM_IOREGION_DEASSIGN);

	TEST_ASSERT(r == -ENOENT, "line %d: %s: failure %u: removing what is not there: %d", line,
		    f->name, f->nth, r);
}

#define region_is_there(...) __region_is_there(__VA_ARGS__, __LINE__)
static void __region_is_there(struct kvm_vm *vm, struct channel *ch, uint64_t addr,
			      uint32_t flags, struct faults *f, int line)
{
	int r = set_region(vm, ch, addr, flags);

	TEST_ASSERT(r == -EEXIST, "line %d: %s: failure %u: adding what is there: %d", line,
		    f->name, f->nth, r);
}

/* The first region of a VM, and the first of its channel. */
TEST_F_TIMEOUT(vmm, first_region, 240)
{
	struct faults f = { "the first region", variant->many };
	struct kvm_vm *vm;
	struct channel ch;

	while (faults_next(&f)) {
		vm = vm_create_barebones();
		ch = channel_open_for(vm, variant->transport);
		if (faults_failed(&f, assign(vm, &ch, 0x1000, self->flags, &f))) {
			region_is_gone(vm, &ch, 0x1000, self->flags, &f);
			/* With a second attempt and without one. */
			if (f.nth & 1)
				TEST_ASSERT_EQ(set_region(vm, &ch, 0x1000, self->flags), 0);
		}
		channel_close_kvm(&ch);
		kvm_vm_free(vm);
		expect_released(&ch);
		channel_close_dev(&ch);
	}
	faults_expect(&f);
}

#define NR_REGIONS	50

static uint64_t region_addr(unsigned int i)
{
	/*
	 * Neither ascending nor descending, so that they are not adjacent in the tree
	 * either.
	 */
	return 0x1000 + 16 * (i * 23 % NR_REGIONS);
}

/* Regions come and go among others, wherever the nodes of the tree are full or empty. */
TEST_F_TIMEOUT(vmm, regions, 240)
{
	struct faults add = { "adding a region", variant->many };
	struct faults del = { "removing a region", variant->many };
	uint32_t del_flags = self->flags | KVM_IOREGION_DEASSIGN;
	struct channel native = channel_of(create(self->vm, 1));
	unsigned int i, nr = nr_regions(self->vm, &native);
	uint64_t addr;

	for (i = 0; i < NR_REGIONS; i++) {
		addr = region_addr(i);
		for (add.nth = 0; faults_next(&add);) {
			if (faults_failed(&add, assign(self->vm, &self->ch, addr, self->flags,
						       &add)))
				region_is_gone(self->vm, &self->ch, addr, self->flags, &add);
			else if (add.hit)
				TEST_ASSERT_EQ(set_region(self->vm, &self->ch, addr, del_flags), 0);
		}
		region_is_there(self->vm, &self->ch, addr, self->flags, &add);
	}
	faults_expect(&add);

	for (i = 0; i < NR_REGIONS; i++) {
		addr = region_addr(i * 7);
		for (del.nth = 0; faults_next(&del);) {
			if (faults_failed(&del, assign(self->vm, &self->ch, addr, del_flags,
						       &del))) {
				region_is_there(self->vm, &self->ch, addr, self->flags, &del);
				continue;
			}
			region_is_gone(self->vm, &self->ch, addr, self->flags, &del);
			/* The last region of a socket takes the socket with it. */
			if (del.hit && i < NR_REGIONS - 1)
				TEST_ASSERT_EQ(set_region(self->vm, &self->ch, addr, self->flags),
					       0);
			else
				break;
		}
	}
	faults_report(&del);
	/* No region is counted that does not exist. */
	TEST_ASSERT_EQ(nr_regions(self->vm, &native), nr);
	close(native.kvm_rd);
}

/*
 * The end of a VM needs no allocation, whatever the VM has.
 */
FIXTURE(end)
{
	int seqpacket[2];
	int native[2];
};

FIXTURE_VARIANT(end)
{
	bool many;
};

FIXTURE_VARIANT_ADD(end, one) { false };
FIXTURE_VARIANT_ADD(end, many) { true };

FIXTURE_SETUP(end)
{
	set_copies(true);
}

FIXTURE_TEARDOWN(end)
{
}

/* A VMM that dies with regions and with a pending access. */
static void vmm_dies(int socket, int native, struct faults *f)
{
	struct channel seqpacket = { TR_SEQPACKET, socket, socket, -1, -1 };
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct kvm_vm *vm;
	int i;

	vm = ioregion_vm_create(1, guest_script_main, &vcpu);
	ch = channel_of(create_ioregionfd(vm, 1, 16));
	for (i = 0; i < 40; i++) {
		region_add(vm, &ch, SYNC + 16 * i, 8, SYNC_DATA, 0);
		region_add(vm, &seqpacket, SYNC + 16 * i + 8, 8, SYNC_DATA, 0);
	}
	region_add(vm, &ch, PIO_BASE, 0x100, PIO_DATA, KVM_IOREGION_PIO);
	vcpu_thread_init(&thread, vcpu);
	op_read(vcpu, 8, SYNC + (f->nth & 1 ? 8 : 0));
	thread_start(&thread);
	thread_wait_asleep(&thread);
	TEST_ASSERT(write(native, &ch.kvm_rd, sizeof(ch.kvm_rd)) == sizeof(ch.kvm_rd), "errno %d",
		    errno);
	/* Wait until its channel has been passed on. */
	TEST_ASSERT(read(native, &i, sizeof(i)) == sizeof(i), "errno %d", errno);
	faults_open();
	faults_begin(f);
	_exit(0);
}

TEST_F_TIMEOUT(end, of_a_process, 240)
{
	struct faults f = { "exit", variant->many };
	int seqpacket[2], native[2], fd, pidfd, status;
	struct channel ch;
	pid_t pid;

	/* The first failures hit the first files and mappings that are closed. */
	for (f.nth = 1; f.nth <= (variant->many ? 2 : 12); f.nth++) {
		TEST_ASSERT(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, seqpacket), "errno %d", errno);
		TEST_ASSERT(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, native), "errno %d", errno);
		pid = fork();
		TEST_ASSERT(pid >= 0, "fork() failed");
		if (!pid) {
			close(seqpacket[1]);
			close(native[1]);
			vmm_dies(seqpacket[0], native[0], &f);
		}
		close(seqpacket[0]);
		close(native[0]);
		TEST_ASSERT(read(native[1], &fd, sizeof(fd)) == sizeof(fd), "the VMM has failed");
		pidfd = syscall(SYS_pidfd_open, pid, 0);
		fd = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
		TEST_ASSERT(fd >= 0, "pidfd_getfd() failed: errno %d", errno);
		TEST_ASSERT(write(native[1], &fd, sizeof(fd)) == sizeof(fd), "errno %d", errno);
		TEST_ASSERT(fd_poll(pidfd, POLLIN, HANG_SECONDS * 1000), "the VMM does not end");
		TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
		TEST_ASSERT_EQ(status, 0);
		ch = (struct channel){ TR_SEQPACKET, -1, -1, seqpacket[1], seqpacket[1] };
		expect_released(&ch);
		ch = (struct channel){ TR_NATIVE, -1, -1, fd, fd };
		expect_released(&ch);
		close(fd);
		close(pidfd);
		close(native[1]);
		close(seqpacket[1]);
	}
}

int main(int argc, char **argv)
{
	int r;

	faults_setup();
	r = ioregion_test_main(argc, argv);
	faults_cleanup();
	return r;
}
