// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels that are created before their VM is known, by an ioctl of /dev/kvm; and
 * VMs that do not know of any region until a vCPU runs.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_trust_util.h"

#define REGION	MMIO_GPA
#define SIZE	0x1000

FIXTURE(bind)
{
	struct kvm_vm *vms[2];
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
	int fd;
};

static int create(uint32_t nr_mailboxes, uint32_t nr_posted)
{
	struct kvm_create_ioregionfd args = {
		.nr_mailboxes = nr_mailboxes,
		.nr_posted = nr_posted,
	};
	int kvm = open_kvm_dev_path_or_exit(), fd;

	fd = ioctl(kvm, KVM_CREATE_IOREGIONFD, &args);
	if (fd < 0)
		fd = -errno;
	/* No longer needed. */
	close(kvm);
	return fd;
}

static struct channel channel_of(int fd)
{
	return (struct channel){ TR_NATIVE, fd, fd, fd, fd };
}

FIXTURE_SETUP(bind)
{
	int i;

	for (i = 0; i < 2; i++) {
		self->vms[i] = ioregion_vm_create(1, guest_script_main, &self->vcpus[i]);
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
	}
	self->fd = create(1, 16);
	TEST_ASSERT(self->fd >= 0, "errno %d", -self->fd);
	self->ch = channel_of(self->fd);
}

FIXTURE_TEARDOWN(bind)
{
	int i;

	for (i = 0; i < 2; i++)
		if (self->vms[i])
			kvm_vm_free(self->vms[i]);
	close(self->fd);
}

static int set_region(struct kvm_vm *vm, struct channel *ch, uint64_t addr, uint32_t flags)
{
	struct kvm_ioregionfd args = region_args(ch, addr, SIZE, USER_DATA(0), flags);

	return __vm_ioctl(vm, KVM_SET_IOREGIONFD, &args) ? -errno : 0;
}

/* Checks that the channel works: a read of the guest is completed. */
static void expect_served(struct _test_data_bind *self, int i)
{
	struct guest_op *op = op_read(self->vcpus[i], 8, REGION);

	thread_start(&self->threads[i]);
	expect_cmd(dev_recv(&self->ch), cmd_read(8, USER_DATA(0), 0));
	dev_send(&self->ch, 0x600d);
	thread_join_done(&self->threads[i]);
	TEST_ASSERT_EQ(op->val, 0x600d);
}

TEST_F(bind, arguments)
{
	uint32_t max = max_vcpu_ids();
	struct kvm_create_ioregionfd args = { .nr_mailboxes = 1, .nr_posted = 1, .flags = 2 };
	int kvm = open_kvm_dev_path_or_exit(), fd;

	TEST_ASSERT_EQ(create(0, 1), -EINVAL);
	TEST_ASSERT_EQ(create(max + 1, 1), -EINVAL);
	TEST_ASSERT_EQ(create(1, 0), -EINVAL);
	TEST_ASSERT_EQ(create(1, 3), -EINVAL);
	TEST_ASSERT_EQ(create(1, 2 * KVM_IOREGIONFD_MAX_POSTED), -EINVAL);
	fd = create(max, KVM_IOREGIONFD_MAX_POSTED);
	TEST_ASSERT(fd >= 0, "errno %d", -fd);
	close(fd);
	TEST_ASSERT(ioctl(kvm, KVM_CREATE_IOREGIONFD, &args) < 0 && errno == EINVAL, "flags");
	args.flags = 0;
	args.pad[4] = 1;
	TEST_ASSERT(ioctl(kvm, KVM_CREATE_IOREGIONFD, &args) < 0 && errno == EINVAL, "pad");
	TEST_ASSERT(ioctl(kvm, KVM_CREATE_IOREGIONFD, NULL) < 0 && errno == EFAULT, "NULL");
	close(kvm);
}

/* A device task can wait, in each mode, before there is a VM. */
TEST_F(bind, nothing_yet)
{
	struct ioregionfd_fetch arg = { .vcpu = IOREGIONFD_ANY };
	struct ioregionfd_resp resp = { 0 };
	struct ioregionfd_info info;
	static struct server_thread server;
	static struct device dev = { .respond = device_respond_mem };
	struct guest_op *op;

	TEST_ASSERT(!ioctl(self->fd, IOREGIONFD_GET_INFO, &info), "errno %d", errno);
	TEST_ASSERT_EQ(info.nr_mailboxes, 1);
	TEST_ASSERT(ioctl(self->fd, IOREGIONFD_COMMIT_AND_FETCH, &arg) < 0 && errno == EAGAIN,
		    "errno %d", errno);
	TEST_ASSERT(!fd_poll(self->fd, POLLIN, 0), "there is something to read");
	TEST_ASSERT(write(self->fd, &resp, sizeof(resp)) < 0 && errno == ENOENT, "errno %d", errno);
	TEST_ASSERT(!ioctl(self->fd, IOREGIONFD_RECOVER), "errno %d", errno);

	server_start(&server, &dev, dup(self->fd), MODE_IOCTL, IOREGIONFD_ANY);
	server_wait_asleep(&server);
	region_add(self->vms[0], &self->ch, REGION, SIZE, USER_DATA(0), 0);
	op = op_read(self->vcpus[0], 8, REGION);
	dev.mem[3] = 0x11;
	run_done(self->vcpus[0]);
	TEST_ASSERT_EQ(op->val, 0x11000000);
	kvm_vm_free(self->vms[0]);
	self->vms[0] = NULL;
	server_join(&server, -ENODEV);
}

/* The first KVM_SET_IOREGIONFD that succeeds binds the channel for good. */
TEST_F(bind, to_the_first)
{
	TEST_ASSERT_EQ(set_region(self->vms[0], &self->ch, REGION, 0), 0);
	TEST_ASSERT_EQ(set_region(self->vms[1], &self->ch, REGION, 0), -EXDEV);
	expect_served(self, 0);
	TEST_ASSERT_EQ(set_region(self->vms[0], &self->ch, REGION, KVM_IOREGION_DEASSIGN), 0);
	TEST_ASSERT_EQ(set_region(self->vms[1], &self->ch, REGION, 0), -EXDEV);
	kvm_vm_free(self->vms[0]);
	self->vms[0] = NULL;
	TEST_ASSERT(fd_poll(self->fd, POLLHUP, 0), "the end does not show");
	TEST_ASSERT_EQ(set_region(self->vms[1], &self->ch, REGION, 0), -EXDEV);
}

/* One that fails does not bind it. */
TEST_F(bind, not_by_a_failure)
{
	struct channel other = channel_of(create_ioregionfd(self->vms[0], 1, 1));
	struct kvm_ioregionfd args;

	TEST_ASSERT_EQ(set_region(self->vms[0], &other, REGION, 0), 0);
	TEST_ASSERT_EQ(set_region(self->vms[0], &self->ch, REGION, 0), -EEXIST);
	args = region_args(&self->ch, REGION + SIZE, SIZE, 0, 0);
	args.write_fd = other.kvm_wr;
	TEST_ASSERT(__vm_ioctl(self->vms[0], KVM_SET_IOREGIONFD, &args) && errno == EINVAL,
		    "errno %d", errno);
	TEST_ASSERT_EQ(set_region(self->vms[1], &self->ch, REGION, 0), 0);
	expect_served(self, 1);
	TEST_ASSERT_EQ(set_region(self->vms[0], &self->ch, REGION + SIZE, 0), -EXDEV);
	close(other.kvm_rd);
}

/* A channel that exceeds the VM's limit is refused, and stays unbound. */
TEST_F(bind, accounted_to_the_vm)
{
	static int fds[400];
	int i, nr, r = 0;

	for (nr = 0; nr < ARRAY_SIZE(fds); nr++) {
		struct channel ch;

		fds[nr] = create(1, KVM_IOREGIONFD_MAX_POSTED);
		TEST_ASSERT(fds[nr] >= 0, "errno %d", -fds[nr]);
		ch = channel_of(fds[nr]);
		r = set_region(self->vms[0], &ch, REGION + nr * SIZE, 0);
		if (r)
			break;
	}
	TEST_ASSERT_EQ(r, -ENOSPC);
	printf("# %d channels\n", nr);
	self->ch = channel_of(fds[nr]);
	TEST_ASSERT_EQ(set_region(self->vms[1], &self->ch, REGION, 0), 0);
	expect_served(self, 1);
	/* A closed channel makes room. */
	close(fds[0]);
	TEST_ASSERT_EQ(set_region(self->vms[0], &self->ch, REGION, 0), -EXDEV);
	self->ch = channel_of(self->fd);
	TEST_ASSERT_EQ(set_region(self->vms[0], &self->ch, REGION + nr * SIZE, 0), 0);
	for (i = 1; i <= nr; i++)
		close(fds[i]);
}

/*
 * Two VMs try to bind the channel at the same time, and each also makes calls that
 * fail.
 */
#define RACE_TURNS	300

struct racer {
	struct kvm_vm *vm;
	struct channel *ch;
	pthread_t thread;
	pthread_barrier_t *barrier;
	int won, lost, other;
};

static void *racer_main(void *arg)
{
	struct racer *racer = arg;
	int i, r;

	for (i = 0; i < RACE_TURNS; i++) {
		pthread_barrier_wait(racer->barrier);
		/*
		 * The VM has this region already, so the call fails and must not bind
		 * the channel.
		 */
		r = set_region(racer->vm, racer->ch, REGION + SIZE, 0);
		if (r != -EEXIST && r != -EXDEV)
			racer->other = r ?: 1;
		r = set_region(racer->vm, racer->ch, REGION, 0);
		if (!r)
			racer->won++;
		else if (r == -EXDEV)
			racer->lost++;
		else
			racer->other = r;
		pthread_barrier_wait(racer->barrier);
		if (!r)
			TEST_ASSERT_EQ(set_region(racer->vm, racer->ch, REGION,
						  KVM_IOREGION_DEASSIGN), 0);
		pthread_barrier_wait(racer->barrier);
	}
	return NULL;
}

TEST_F_TIMEOUT(bind, race, 100)
{
	struct racer racers[2] = { 0 };
	struct channel occupant[2], ch;
	pthread_barrier_t barrier;
	int i, total = 0;

	pthread_barrier_init(&barrier, NULL, 3);
	for (i = 0; i < 2; i++) {
		occupant[i] = channel_of(create_ioregionfd(self->vms[i], 1, 1));
		TEST_ASSERT_EQ(set_region(self->vms[i], &occupant[i], REGION + SIZE, 0), 0);
		racers[i] = (struct racer){ self->vms[i], &ch, .barrier = &barrier };
		TEST_ASSERT(!pthread_create(&racers[i].thread, NULL, racer_main, &racers[i]),
			    "pthread_create() failed");
	}
	for (i = 0; i < RACE_TURNS; i++) {
		ch = channel_of(create(1, 1));
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		close(ch.kvm_rd);
	}
	for (i = 0; i < 2; i++) {
		pthread_join(racers[i].thread, NULL);
		TEST_ASSERT_EQ(racers[i].other, 0);
		printf("# VM %d: won %d, lost %d\n", i, racers[i].won, racers[i].lost);
		total += racers[i].won;
		close(occupant[i].kvm_rd);
	}
	/*
	 * While one VM's call is about to fail, the other VM is told that the channel
	 * belongs to another.
	 */
	TEST_ASSERT(total <= RACE_TURNS && total > 0, "%d bindings", total);
}

/*
 * As soon as a region is there another thread may remove it, and with it the last
 * reference to its channel. It preempts the one that adds the region.
 */
#define REMOVALS	2000

struct remover {
	struct kvm_vm *vm;
	struct shaker shaker;
	unsigned int nr;
};

static void remove_region(void *arg)
{
	struct remover *remover = arg;
	struct kvm_ioregionfd args = {
		.guest_paddr = REGION,
		.memory_size = SIZE,
		.flags = KVM_IOREGION_DEASSIGN,
	};

	if (!__vm_ioctl(remover->vm, KVM_SET_IOREGIONFD, &args))
		__atomic_fetch_add(&remover->nr, 1, __ATOMIC_RELAXED);
}

TEST_F_TIMEOUT(bind, removed_at_once, 100)
{
	struct remover remover = { self->vms[0], { remove_region, &remover } };
	struct channel ch;
	unsigned int i;

	pin_self_to_cpu(0);
	shaker_start(&remover.shaker, 0);
	for (i = 0; __atomic_load_n(&remover.nr, __ATOMIC_RELAXED) < REMOVALS; i++) {
		ch = channel_open(TR_SEQPACKET);
		TEST_ASSERT_EQ(set_region(self->vms[0], &ch, REGION, 0), 0);
		channel_close_kvm(&ch);
		channel_close_dev(&ch);
		while (__atomic_load_n(&remover.nr, __ATOMIC_RELAXED) <= i)
			sched_yield();
	}
	shaker_stop(&remover.shaker);
}

/* Closed before it is bound, and while it is being bound. */
TEST_F(bind, closed)
{
	int i, fd;

	for (i = 0; i < 50; i++) {
		fd = create(4, 1024);
		TEST_ASSERT(fd >= 0, "errno %d", -fd);
		self->ch = channel_of(fd);
		if (i & 1)
			TEST_ASSERT_EQ(set_region(self->vms[0], &self->ch, REGION, 0), 0);
		close(fd);
		if (i & 1)
			TEST_ASSERT_EQ(set_region(self->vms[0], &self->ch, REGION,
						  KVM_IOREGION_DEASSIGN), 0);
	}
}

/* The VMM must look at the levels of interrupts if it has the interrupt controller. */
#ifdef __aarch64__
#define FIRST_REGION_EINTR	1
#else
#define FIRST_REGION_EINTR	0
#endif

/*
 * The first region of a VM is added while a vCPU runs and does not leave KVM_RUN. Nothing else
 * may have told the VM of ioregionfd before: KVM_CREATE_IOREGIONFD of the VM would.
 */
FIXTURE(first_region)
{
};

FIXTURE_VARIANT(first_region)
{
	enum transport transport;
	bool other;	/* of another kind than memory, where there is one */
};

FIXTURE_VARIANT_ADD(first_region, native) { TR_NATIVE };
FIXTURE_VARIANT_ADD(first_region, native_other) { TR_NATIVE, true };
FIXTURE_VARIANT_ADD(first_region, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(first_region, seqpacket_other) { TR_SEQPACKET, true };

FIXTURE_SETUP(first_region)
{
}

FIXTURE_TEARDOWN(first_region)
{
}

static uint64_t spins;
static bool guest_go;

static void guest_spin_main(uint64_t other)
{
	uint32_t val;

	while (!READ_ONCE(guest_go))
		WRITE_ONCE(spins, spins + 1);
	if (other)
		val = guest_read_other(OTHER_BASE);
	else
		val = READ_ONCE(*(uint32_t *)REGION);
	GUEST_ASSERT_EQ(val, 0x12345678);
	guest_done();
}

/* For a native one, the device task has a descriptor of its own. */
static struct channel channel_for_any(enum transport transport)
{
	struct channel ch;

	if (transport == TR_SEQPACKET)
		return channel_open(transport);
	ch = channel_of(create(1, 16));
	ch.dev_rd = dup(ch.kvm_rd);
	ch.dev_wr = ch.dev_rd;
	TEST_ASSERT(ch.dev_rd >= 0, __KVM_SYSCALL_ERROR("dup()", ch.dev_rd));
	return ch;
}

TEST_F(first_region, while_the_vcpu_runs)
{
	struct vcpu_thread thread = { 0 };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = ioregion_vm_create(1, guest_spin_main, &vcpu);
	struct channel ch = channel_for_any(variant->transport);
	uint64_t *hva = addr_gva2hva(vm, (uintptr_t)&spins);

	vcpu_args_set(vcpu, 1, (uint64_t)variant->other);
	vcpu_thread_init(&thread, vcpu);
	thread_start_until_exit(&thread);
	while (!READ_ONCE(*hva))
		usleep(1000);
	if (variant->other)
		region_add(vm, &ch, OTHER_BASE, 0x100, USER_DATA(0), OTHER_FLAGS);
	else
		region_add(vm, &ch, REGION, SIZE, USER_DATA(0), 0);
	write_guest_global(vm, guest_go, true);
	expect_cmd(dev_recv(&ch), cmd_read(4, USER_DATA(0), 0));
	dev_send(&ch, 0x12345678);
	thread_join_done(&thread);
	TEST_ASSERT(thread.nr_eintr <= FIRST_REGION_EINTR, "EINTR %u times", thread.nr_eintr);
	kvm_vm_free(vm);
	channel_close_kvm(&ch);
	expect_released(&ch);
	channel_close_dev(&ch);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
