// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device task that the test operates step by step, and threads that preempt others.
 */
#include "ioregionfd_trust_util.h"

int resp_write(int fd, uint64_t data)
{
	struct ioregionfd_resp resp = { .data = data };
	ssize_t n = write(fd, &resp, sizeof(resp));

	if (n < 0)
		return -errno;
	return n == sizeof(resp) ? 0 : -EIO;
}

struct hand hand_open(struct kvm_vm *vm, enum transport transport)
{
	struct hand hand = { .ch = channel_open_for(vm, transport) };

	if (transport == TR_POLLED) {
		set_spin_ns(HAND_SPIN);
		hand.map = mapping_open(hand.ch.dev_rd);
		WRITE_ONCE(hand.map.control->polling, 1);
	}
	return hand;
}

void hand_close(struct hand *hand)
{
	if (hand->ch.transport == TR_POLLED) {
		mapping_close(&hand->map);
		set_spin_ns(SPIN_DEFAULT);
	}
	channel_close_kvm(&hand->ch);
	channel_close_dev(&hand->ch);
}

bool hand_try(struct hand *hand)
{
	TEST_ASSERT(!hand->arg.id, "a command has been fetched already");
	if (hand->ch.transport == TR_POLLED) {
		if (!mapping_fetch(&hand->map, IOREGIONFD_ANY, &hand->arg))
			return false;
		/* A posted write wants no response: retire it. */
		if (!(hand->arg.cmd.flags & IOREGIONFD_CMD_F_RESP)) {
			mapping_complete(&hand->map, hand->arg.id, 0);
			hand->arg.id = 0;
		}
		return true;
	}
	if (!dev_has_cmd(&hand->ch))
		return false;
	hand->arg.cmd = dev_recv(&hand->ch);
	hand->arg.id = hand->arg.cmd.flags & IOREGIONFD_CMD_F_RESP;
	return true;
}

struct ioregionfd_cmd __hand_fetch(struct hand *hand, int line)
{
	int i;

	for (i = 0; i < HANG_LOOKS; i++) {
		if (hand_try(hand))
			return hand->arg.cmd;
		usleep(1000);
	}
	TEST_FAIL("line %d: no command comes", line);
	return hand->arg.cmd;
}

void __hand_complete(struct hand *hand, uint64_t data, int want, int line)
{
	int r;

	TEST_ASSERT(hand->arg.id, "line %d: there is no command to complete", line);
	if (hand->ch.transport == TR_POLLED)
		r = mapping_complete(&hand->map, hand->arg.id, data);
	else
		r = resp_write(hand->ch.dev_wr, data);
	TEST_ASSERT(r == want, "line %d: wanted %d from the completion, got %d", line, want, r);
	hand->arg.id = 0;
}

void __hand_complete_late(struct hand *hand, uint64_t data, int line)
{
	__hand_complete(hand, data, hand->ch.transport == TR_SEQPACKET ? 0 : -ESTALE, line);
}

bool hand_serve(struct hand *hand, struct device *dev)
{
	uint64_t val;

	if (!hand_try(hand))
		return false;
	if (dev->nr < dev->log_size)
		dev->log[dev->nr] = hand->arg.cmd;
	dev->nr++;
	val = dev->respond(dev, &hand->arg.cmd);
	if (hand->arg.id)
		hand_complete(hand, val);
	return true;
}

void __expect_no_cmd(struct hand *hand, int line)
{
	if (!hand_try(hand))
		return;
	TEST_FAIL("line %d: unexpected command: cmd %u offset 0x%llx data 0x%llx", line,
		  hand->arg.cmd.cmd, hand->arg.cmd.offset, hand->arg.cmd.data);
}

int __thread_run_how(struct vcpu_thread *t, uint8_t how, int line)
{
	int i, r;

	t->vcpu->run->immediate_exit = how;
	thread_start(t);
	for (i = 0; !thread_returned(t); i++) {
		TEST_ASSERT(i < HANG_LOOKS, "line %d: KVM_RUN with immediate_exit = %u waits", line,
			    how);
		usleep(1000);
	}
	r = __thread_join(t, HANG_SECONDS, line);
	t->vcpu->run->immediate_exit = 0;
	return r;
}

bool __thread_wait_returned(struct vcpu_thread *t, int line)
{
	int i;

	for (i = 0; i < HANG_LOOKS; i++) {
		if (thread_returned(t))
			return true;
		if (thread_asleep(t))
			return false;
		usleep(1000);
	}
	TEST_FAIL("line %d: KVM_RUN neither returns nor sleeps", line);
	return false;
}

struct ioregionfd_fetch __fetch_command(struct mapping *map, int line)
{
	struct ioregionfd_fetch arg = fetch_arg(0);
	int r = commit_and_fetch(map->fd, &arg);

	TEST_ASSERT(!r, "line %d: the command is lost: %d, the state is 0x%x", line, r,
		    READ_ONCE(map->mailboxes[0].state));
	return arg;
}

void begin_interrupted(struct vcpu_thread *thread)
{
	thread_start(thread);
	thread_interrupt(thread);
}

void end_interrupted(struct vcpu_thread *thread, struct guest_op *op, const char *who)
{
	thread_start(thread);
	thread_join_done(thread);
	TEST_ASSERT(op->val == RIGHT, "%s: the guest got 0x%lx, wanted 0x%lx", who, op->val, RIGHT);
}

void shake(unsigned int ns)
{
	struct timespec ts = { .tv_nsec = ns };

	nanosleep(&ts, NULL);
}

static void *shaker_main(void *arg)
{
	struct shaker *s = arg;

	prctl(PR_SET_TIMERSLACK, 1);
	while (!__atomic_load_n(&s->end, __ATOMIC_ACQUIRE)) {
		if (s->act)
			s->act(s->arg);
		shake(5000 + s->nr * 997 % 20000);
		__atomic_store_n(&s->nr, s->nr + 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

void set_cpu(pthread_t thread, int cpu)
{
	cpu_set_t set;
	int r;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	r = pthread_setaffinity_np(thread, sizeof(set), &set);
	TEST_ASSERT(!r, "pthread_setaffinity_np() failed: %d", r);
}

void shaker_start(struct shaker *s, int cpu)
{
	int r = pthread_create(&s->thread, NULL, shaker_main, s);

	TEST_ASSERT(!r, "pthread_create() failed: %d", r);
	set_cpu(s->thread, cpu);
}

void shaker_stop(struct shaker *s)
{
	__atomic_store_n(&s->end, true, __ATOMIC_RELEASE);
	pthread_join(s->thread, NULL);
}

struct device *model_new(void)
{
	struct device *dev = calloc(1, sizeof(*dev));
	int i;

	TEST_ASSERT(dev, "out of memory");
	dev->respond = device_respond_mem;
	dev->log_size = 4096;
	dev->log = calloc(dev->log_size, sizeof(*dev->log));
	TEST_ASSERT(dev->log, "out of memory");
	for (i = 0; i < sizeof(dev->mem); i++)
		dev->mem[i] = i * 7 + i / 256 + 1;
	return dev;
}

void model_free(struct device *dev)
{
	free(dev->log);
	free(dev);
}
