// SPDX-License-Identifier: GPL-2.0-only
/*
 * Native channels: a device task that writes nonsense all over the mapping while vCPUs
 * run. It may stall accesses to its own regions and return wrong values for them, but
 * nothing else; and once it has been replaced everything works.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#define MALICIOUS_SECONDS	6

/* Four vCPUs on the malicious task's channel, and one that must not notice. */
#define NR_MALICIOUS	4
#define NR_VCPUS	(NR_MALICIOUS + 1)

#define BAD		MMIO_GPA
#define BAD_POSTED	(MMIO_GPA + 0x1000)
#define GOOD		(MMIO_GPA + 0x2000)
#define BAD_DATA	USER_DATA(0)
#define GOOD_DATA	USER_DATA(1)

static bool guest_calm;

static uint64_t value_of(uint64_t offset)
{
	return (offset + 1) * 0x9e3779b97f4a7c15ul;
}

/* At first nobody checks the values, which can be anything. */
static void guest_bad_main(uint64_t id)
{
	uint64_t i, offset, val;
	uint32_t in;

	for (i = 0; !READ_ONCE(guest_calm); i++) {
		offset = id * 0x100 + i % 32 * 8;
		READ_ONCE(*(uint64_t *)(BAD + offset));
		WRITE_ONCE(*(uint64_t *)(BAD_POSTED + offset), i);
		WRITE_ONCE(*(uint32_t *)(BAD + offset), i);
		asm volatile("inl %w1, %0" : "=a"(in) : "d"(PIO_BASE + id * 4));
		/* This one crosses a page. */
		READ_ONCE(*(uint64_t *)(BAD + 0xffc));
	}
	for (i = 0; i < 200; i++) {
		offset = id * 0x100 + i % 32 * 8;
		WRITE_ONCE(*(uint64_t *)(BAD_POSTED + offset), value_of(offset));
		val = READ_ONCE(*(uint64_t *)(BAD + offset));
		__GUEST_ASSERT(val == value_of(offset), "vCPU %lu access %lu got %lx", id, i, val);
	}
	outl(DONE_PORT, 0);
}

static void guest_good_main(uint64_t id)
{
	uint64_t i, offset, val;

	for (i = 0; !READ_ONCE(guest_calm); i++) {
		offset = i % 256 * 8;
		val = READ_ONCE(*(uint64_t *)(GOOD + offset));
		__GUEST_ASSERT(val == value_of(offset), "access %lu got %lx", i, val);
	}
	outl(DONE_PORT, 0);
}

FIXTURE(malicious)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[NR_VCPUS];
	struct vcpu_thread threads[NR_VCPUS];
	int bad, good;
	struct mapping map;
	struct device dev;
	struct server_thread good_server;
	bool calm;
};

static uint64_t device_respond(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	return value_of(cmd->offset);
}

FIXTURE_SETUP(malicious)
{
	struct channel bad, good;
	int i;

	self->vm = vm_create_with_vcpus(NR_VCPUS, guest_bad_main, self->vcpus);
	virt_map(self->vm, MMIO_GPA, MMIO_GPA, MMIO_PAGES);
	vcpu_arch_set_entry_point(self->vcpus[NR_MALICIOUS], guest_good_main);
	for (i = 0; i < NR_VCPUS; i++) {
		vcpu_args_set(self->vcpus[i], 1, (uint64_t)i);
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
	}

	self->bad = create_ioregionfd(self->vm, NR_MALICIOUS, 8);
	self->good = create_ioregionfd(self->vm, NR_VCPUS, 8);
	self->map = mapping_open(self->bad);
	bad = (struct channel){ TR_NATIVE, self->bad, self->bad };
	good = (struct channel){ TR_NATIVE, self->good, self->good };
	region_add(self->vm, &bad, BAD, 0x1000, BAD_DATA, 0);
	region_add(self->vm, &bad, BAD_POSTED, 0x1000, BAD_DATA, KVM_IOREGION_POSTED_WRITES);
	region_add(self->vm, &bad, PIO_BASE, 0x100, BAD_DATA, KVM_IOREGION_PIO);
	region_add(self->vm, &good, GOOD, 0x1000, GOOD_DATA, 0);
	self->dev.respond = device_respond;
	server_start(&self->good_server, &self->dev, self->good, MODE_IOCTL, IOREGIONFD_ANY);
}

FIXTURE_TEARDOWN(malicious)
{
	kvm_vm_free(self->vm);
	server_join(&self->good_server, -ENODEV);
}

static void expect_end(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	if (get_ucall(vcpu, &uc) == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);
	TEST_ASSERT_EQ(vcpu->run->io.port, DONE_PORT);
}

/*
 * The malicious device task may hand accesses to its regions to the VMM, which does
 * nothing about them; the vCPU goes on. Returns whether the exit is one of these.
 */
static bool to_vmm(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		return run->mmio.phys_addr < GOOD;
	case KVM_EXIT_IO:
		return run->io.port >= PIO_BASE && run->io.port < PIO_BASE + 0x100;
	case KVM_EXIT_IOREGIONFD_FAILURE:
		run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
		return run->ioregionfd.reason == KVM_IOREGIONFD_FAIL_TO_VMM;
	default:
		return false;
	}
}

struct malicious_task {
	struct mapping *map;
	bool *calm;
	unsigned int seed;
	enum mode mode;
	unsigned int nr;
};

/* Values that are most likely to be mistaken for valid ones. */
static uint32_t chosen_state(struct mapping *map, unsigned int *seed)
{
	uint32_t state = READ_ONCE(map->mailboxes[rand_r(seed) % NR_MALICIOUS].state);
	uint32_t number = state >> IOREGIONFD_MAILBOX_SHIFT;

	number += rand_r(seed) % 3 - 1;
	return number << IOREGIONFD_MAILBOX_SHIFT | rand_r(seed) % 8;
}

static uint64_t chosen_tail(struct mapping *map, unsigned int *seed)
{
	static const uint32_t offsets[] = {
		0, 1, 2, 3, 7, 8, 9, 0x3fffffff, 0x40000000, 0x7fffffff,
	};
	uint64_t recovered = READ_ONCE(map->control->posted_tail) >> 32;
	uint32_t head = READ_ONCE(map->control->posted_head);

	head -= offsets[rand_r(seed) % ARRAY_SIZE(offsets)];
	recovered += rand_r(seed) % 3 - 1;
	return recovered << 32 | (uint32_t)(head << 1) | rand_r(seed) % 2;
}

static void *corrupt(void *arg)
{
	struct malicious_task *t = arg;
	struct mapping *map = t->map;
	uint32_t *words = (uint32_t *)map->control, i, vcpu;

	while (!READ_ONCE(*t->calm)) {
		for (i = 0; i < 20; i++) {
			switch (rand_r(&t->seed) % 4) {
			case 0:
				WRITE_ONCE(words[rand_r(&t->seed) % (map->info.size / 4)],
					   rand_r(&t->seed) * 2 + rand_r(&t->seed) % 2);
				break;
			case 1:
				WRITE_ONCE(map->mailboxes[rand_r(&t->seed) % NR_MALICIOUS].state,
					   chosen_state(map, &t->seed));
				break;
			case 2:
				WRITE_ONCE(map->control->posted_tail, chosen_tail(map, &t->seed));
				break;
			default:
				/* Commands that want a response, or none, of any size. */
				((uint8_t *)map->posted)[rand_r(&t->seed) % (8 * 32)] ^=
					1 << rand_r(&t->seed) % 8;
				vcpu = rand_r(&t->seed) % NR_MALICIOUS;
				WRITE_ONCE(map->mailboxes[vcpu].posted_before,
					   chosen_tail(map, &t->seed) >> 1);
			}
		}
		t->nr += i;
		if (!(rand_r(&t->seed) % 4))
			usleep(rand_r(&t->seed) % 300);
	}
	return NULL;
}

/* Tries to fetch and complete anything, and ignores errors. */
static void *serve_somehow(void *arg)
{
	struct malicious_task *t = arg;
	struct ioregionfd_fetch args = { 0 };
	struct ioregionfd_resp resp = { 0 };
	struct ioregionfd_cmd cmd;
	struct io_uring ring;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	int fd = t->map->fd;

	if (t->mode == MODE_URING)
		TEST_ASSERT(!io_uring_queue_init(4, &ring, 0), "no io_uring");
	while (!READ_ONCE(*t->calm)) {
		args.vcpu = rand_r(&t->seed) % 3 ? IOREGIONFD_ANY : rand_r(&t->seed) % NR_MALICIOUS;
		args.data = value_of(args.cmd.offset);
		switch (t->mode) {
		case MODE_READ:
			if (!fd_poll(fd, POLLIN, 5))
				break;
			/* What poll() saw may be gone by now, so read() must not wait. */
			if (read(fd, &cmd, sizeof(cmd)) == sizeof(cmd) &&
			    (cmd.flags & IOREGIONFD_CMD_F_RESP))
				t->nr += write(fd, &resp, sizeof(resp)) == sizeof(resp);
			break;
		case MODE_IOCTL:
			args.timeout = 5000000;
			if (commit_and_fetch(fd, &args))
				args.id = 0;
			else
				t->nr++;
			break;
		case MODE_URING:
			args.timeout = -1;
			sqe = io_uring_get_sqe(&ring);
			io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, &args, 0, 0);
			sqe->cmd_op = IOREGIONFD_COMMIT_AND_FETCH;
			io_uring_submit(&ring);
			while (io_uring_peek_cqe(&ring, &cqe) && !READ_ONCE(*t->calm))
				usleep(500);
			if (READ_ONCE(*t->calm))
				break;
			if (cqe->res)
				args.id = 0;
			else
				t->nr++;
			io_uring_cqe_seen(&ring, cqe);
			break;
		default:
			/* This task replaces those that have failed. */
			usleep(rand_r(&t->seed) % 20000);
			recover(fd);
			t->nr++;
		}
	}
	if (t->mode == MODE_URING)
		io_uring_queue_exit(&ring);
	return NULL;
}

TEST_F_TIMEOUT(malicious, stalls_nobody_else, 60)
{
	static const enum mode modes[] = {
		MODE_READ, MODE_IOCTL, MODE_IOCTL, MODE_URING, MODE_MAPPING
	};
	struct malicious_task tasks[2 + ARRAY_SIZE(modes)] = { 0 };
	pthread_t threads[ARRAY_SIZE(tasks)];
	struct server_thread server = { 0 };
	unsigned int nr, before, i;
	unsigned int by_vmm = 0;
	uint64_t begin, half;

	set_spin_ns(SPIN_DEFAULT);
	fcntl(self->bad, F_SETFL, O_NONBLOCK);
	for (i = 0; i < ARRAY_SIZE(tasks); i++) {
		tasks[i] = (struct malicious_task){ &self->map, &self->calm, i + 1 };
		if (i >= 2)
			tasks[i].mode = modes[i - 2];
		TEST_ASSERT(!pthread_create(&threads[i], NULL, i < 2 ? corrupt : serve_somehow,
					    &tasks[i]), "pthread_create() failed");
	}
	for (i = 0; i < NR_VCPUS; i++)
		thread_start(&self->threads[i]);

	/* The other channel works all the time. */
	for (begin = now_ms(); now_ms() - begin < MALICIOUS_SECONDS * 1000;) {
		before = READ_ONCE(self->good_server.nr);
		for (half = now_ms(); now_ms() - half < 500; usleep(1000)) {
			for (i = 0; i < NR_VCPUS; i++) {
				if (!thread_returned(&self->threads[i]))
					continue;
				thread_join_exit(&self->threads[i]);
				TEST_ASSERT(to_vmm(self->vcpus[i]), "vCPU %u: exit reason %u", i,
					    self->vcpus[i]->run->exit_reason);
				thread_start(&self->threads[i]);
				by_vmm++;
			}
		}
		nr = READ_ONCE(self->good_server.nr);
		TEST_ASSERT(nr > before, "the other channel is not served");
	}
	WRITE_ONCE(self->calm, true);
	for (i = 0; i < ARRAY_SIZE(tasks); i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < ARRAY_SIZE(tasks); i++)
		printf("# malicious task %u: %u\n", i, tasks[i].nr);

	/* A fresh device task, which knows nothing of what the former ones did. */
	write_guest_global(self->vm, guest_calm, true);
	recover(self->bad);
	server_start(&server, &self->dev, self->bad, MODE_IOCTL, IOREGIONFD_ANY);
	for (i = 0; i < NR_VCPUS; i++) {
		TEST_ASSERT_EQ(thread_join_timeout(&self->threads[i], 20), 0);
		while (to_vmm(self->vcpus[i])) {
			thread_start(&self->threads[i]);
			TEST_ASSERT_EQ(thread_join_timeout(&self->threads[i], 20), 0);
		}
		expect_end(self->vcpus[i]);
	}
	printf("# served %u by then, the other channel %u, handed to the VMM %u\n", server.nr,
	       self->good_server.nr, by_vmm);
	for (i = 2; i < ARRAY_SIZE(tasks); i++)
		TEST_ASSERT(tasks[i].nr, "task %u did nothing", i);
	TEST_ASSERT(!ioctl(self->bad, IOREGIONFD_INTERRUPT), "errno %d", errno);
	server_join(&server, -ECANCELED);
}

/* Without anybody to serve or recover the channel, the vCPUs can be stopped and freed. */
TEST_F_TIMEOUT(malicious, region_removed_meanwhile, 60)
{
	struct malicious_task task = { &self->map, &self->calm, 7 };
	struct kvm_run *run;
	pthread_t thread;
	unsigned int i;

	TEST_ASSERT(!pthread_create(&thread, NULL, corrupt, &task), "pthread_create() failed");
	for (i = 0; i < NR_VCPUS; i++)
		thread_start(&self->threads[i]);
	usleep(1000000);
	region_del(self->vm, BAD, 0x1000, 0);
	region_del(self->vm, BAD_POSTED, 0x1000, 0);
	region_del(self->vm, PIO_BASE, 0x100, KVM_IOREGION_PIO);
	for (i = 0; i < NR_MALICIOUS; i++) {
		thread_join_exit(&self->threads[i]);
		run = self->vcpus[i]->run;
		TEST_ASSERT(run->exit_reason == KVM_EXIT_MMIO || run->exit_reason == KVM_EXIT_IO ||
			    (run->exit_reason == KVM_EXIT_IOREGIONFD_FAILURE &&
			     run->ioregionfd.reason == KVM_IOREGIONFD_FAIL_DEASSIGNED),
			    "vCPU %u: exit reason %u", i, run->exit_reason);
	}
	TEST_ASSERT(!thread_returned(&self->threads[NR_MALICIOUS]), "the other channel has failed");
	write_guest_global(self->vm, guest_calm, true);
	thread_join_exit(&self->threads[NR_MALICIOUS]);
	expect_end(self->vcpus[NR_MALICIOUS]);
	WRITE_ONCE(self->calm, true);
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
