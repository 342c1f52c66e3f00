// SPDX-License-Identifier: LGPL-2.1-only OR BSD-3-Clause
/*
 * The protocol of the mapping, and why it works, is in <linux/ioregionfd.h>.
 * "Pairs with" below names the other side of each ordering: kvm.ko, another
 * thread here, or another process that has the same channel.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

/* Posted writes handled before others see that they are done with. */
#define POSTED_BATCH	32

/* Adaptive polling: what a window begins with, in ns. */
#define FIRST_WINDOW	10000

/* Looking at the clock costs more than looking at the slots. */
#define LOOKS_PER_CLOCK	32

#define NO_END		UINT64_MAX

/* The posted_tail of somebody who has taken what it points at. */
#define TAIL_TAKEN	1

/**
 * struct server - one thread's ioregionfd_run()
 * @task: the handle
 * @serve: argument of IOREGIONFD_SERVE. id: what the last call has brought, if it has
 *	been handled and not been answered yet; else 0. vcpu: whose commands to serve
 */
struct server {
	struct ioregionfd_task *task;
	struct ioregionfd_serve serve;
};

static int serve(struct ioregionfd_task *task, struct ioregionfd_serve *serve)
{
	if (!ioctl(task->read_fd, IOREGIONFD_SERVE, serve))
		return 0;
	return errno == ENOENT ? -ESTALE : -errno;
}

/* Also with @id 0, if kvm.ko wants to be told that posted_tail has moved. */
int ioregionfd_channel_answer_only(struct ioregionfd_task *task, uint64_t id, uint64_t data)
{
	struct ioregionfd_serve answer = {
		.id = id,
		.data = data,
		.vcpu = IOREGIONFD_ANY,
		.flags = IOREGIONFD_ANSWER_ONLY,
	};

	return serve(task, &answer);
}

/* Store one half of an answer, unless the slot is not the command's any more. */
static bool store_half(struct ioregionfd_slot *slot, uint32_t number, int half, uint64_t data)
{
	/* Relaxed: kvm.ko's release of the state orders the number, ours orders the value. */
	uint64_t word = __atomic_load_n(&slot->answer[half], __ATOMIC_RELAXED);

	return word >> 32 == number &&
	       __atomic_compare_exchange_n(&slot->answer[half], &word,
					   ioregionfd_slot_answer(number, half, data), false,
					   __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/*
 * Answer the command of slot @index, whose state became @taken when it was taken.
 * If the vCPU sleeps, or anything has changed for whatever reason, it is for
 * kvm.ko to find out what the answer is good for.
 */
static int answer(struct ioregionfd_task *task, uint32_t index, uint32_t taken, uint64_t data)
{
	struct ioregionfd_slot *slot = &task->channel.slots[index];
	uint32_t state = taken;

	if (!(taken & IOREGIONFD_SLOT_WAITING) &&
	    store_half(slot, taken >> IOREGIONFD_SLOT_SHIFT, 0, data) &&
	    store_half(slot, taken >> IOREGIONFD_SLOT_SHIFT, 1, data)) {
		/* Release: pairs with kvm.ko's acquire of DONE, after which it reads answer. */
		if (__atomic_compare_exchange_n(&slot->state, &state, taken | IOREGIONFD_SLOT_DONE,
						false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return 0;
	}
	return ioregionfd_channel_answer_only(task, ioregionfd_slot_id(index, taken), data);
}

/* Answer what IOREGIONFD_SERVE has brought, without asking for more. */
static int answer_served(struct server *s)
{
	uint64_t id = s->serve.id;
	uint32_t slot = ioregionfd_id_slot(id);

	if (!id)
		return 0;
	s->serve.id = 0;
	if (slot == IOREGIONFD_ANY)
		return ioregionfd_channel_answer_only(s->task, id, 0);
	return answer(s->task, slot, (uint32_t)id << IOREGIONFD_SLOT_SHIFT | IOREGIONFD_SLOT_TAKEN,
		      s->serve.data);
}

/* Returns 1 if there was a command in the slot for this thread to handle. */
static int look_at_slot(struct ioregionfd_task *task, uint32_t index)
{
	struct ioregionfd_slot *slot = &task->channel.slots[index];
	struct ioregionfd_cmd cmd;
	uint32_t state, taken, tail;
	uint64_t data;
	int ret;

	/* Acquire: pairs with kvm.ko's release of POSTED, before which it wrote cmd and posted. */
	state = __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
	if ((state & IOREGIONFD_SLOT_STATE) != IOREGIONFD_SLOT_POSTED)
		return 0;

	/*
	 * Acquire: pairs with the release in look_at_posted(): the handlers of the posted
	 * writes that come before this command have run. Indexes count modulo 2^31. The
	 * tail may be beyond, when other vCPUs have posted more since.
	 */
	tail = __atomic_load_n(&task->channel.control->posted_tail, __ATOMIC_ACQUIRE);
	if ((int32_t)((tail & ~TAIL_TAKEN) - (slot->posted << 1)) < 0)
		return 0;

	memcpy(&cmd, &slot->cmd, sizeof(cmd));
	taken = (state & ~IOREGIONFD_SLOT_STATE) | IOREGIONFD_SLOT_TAKEN;
	/*
	 * Acquire: pairs with the release of who answered the vCPU's last command, so that
	 * its handler has run. Release: cmd was copied before; if kvm.ko has withdrawn the
	 * command and reused the slot meanwhile, the state's number differs.
	 */
	if (!__atomic_compare_exchange_n(&slot->state, &state, taken, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return 0;

	data = ioregionfd_task_handle(task, &cmd);
	ret = answer(task, index, taken, data);
	return ret ? ret : 1;
}

/* Returns 1 if there were posted writes for this thread to handle. */
static int look_at_posted(struct ioregionfd_task *task)
{
	struct ioregionfd_control *control = task->channel.control;
	uint32_t mask = task->channel.info.posted - 1;
	uint32_t tail, head, next;
	struct ioregionfd_cmd cmd;
	int ret, n;

	/* Relaxed: the exchange below acquires. */
	tail = __atomic_load_n(&control->posted_tail, __ATOMIC_RELAXED);
	if (tail & TAIL_TAKEN)
		return 0;
	/* Acquire: pairs with kvm.ko's release, before which it wrote the entries. */
	head = __atomic_load_n(&control->posted_head, __ATOMIC_ACQUIRE);
	if (head << 1 == tail)
		return 0;
	/* Acquire: pairs with the release below: what came before has been handled. */
	if (!__atomic_compare_exchange_n(&control->posted_tail, &tail, tail | TAIL_TAKEN, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return 0;

	next = tail;
	for (n = 0; n < POSTED_BATCH && next != head << 1; n++) {
		memcpy(&cmd, &task->channel.posted[next >> 1 & mask], sizeof(cmd));
		ioregionfd_task_handle(task, &cmd);
		next += 1 << 1;
	}

	/*
	 * An exchange, because what we had taken may have been taken over. Release: pairs
	 * with the acquire of posted_tail above and in look_at_slot(), and with kvm.ko's,
	 * which then reuses the entries.
	 */
	tail |= TAIL_TAKEN;
	if (!__atomic_compare_exchange_n(&control->posted_tail, &tail, next, false,
					 __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		return -ESTALE;
	/* Pairs with kvm.ko's full barrier between setting blocked and looking at posted_tail. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&control->blocked, __ATOMIC_RELAXED)) {
		ret = ioregionfd_channel_answer_only(task, 0, 0);
		if (ret)
			return ret;
	}
	return 1;
}

/* Returns whether there was anything. */
static int look(struct server *s)
{
	uint32_t first = s->serve.vcpu, end = first + 1, i;
	int found, ret;

	if (first == IOREGIONFD_ANY) {
		first = 0;
		end = s->task->channel.info.slots;
	}
	found = look_at_posted(s->task);
	for (i = first; i < end && found >= 0; i++) {
		ret = look_at_slot(s->task, i);
		if (ret)
			found = ret;
	}
	return found;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

static void relax(void)
{
#if __has_builtin(__builtin_ia32_pause)
	__builtin_ia32_pause();
#endif
}

/*
 * Look until there has been nothing for @window ns, or it is time to end. @polling
 * tells kvm.ko; any thread that stops polling clears it. Relaxed: until kvm.ko sees
 * it, it wakes somebody for nothing.
 */
static int look_for(struct server *s, uint64_t window, uint32_t *polling)
{
	unsigned int looks = 0;
	uint64_t since = 0;
	int ret;

	while (!task_stopped(s->task)) {
		if (!__atomic_load_n(polling, __ATOMIC_RELAXED))
			__atomic_store_n(polling, 1, __ATOMIC_RELAXED);
		ret = look(s);
		if (ret < 0)
			return ret;
		if (ret) {
			looks = 0;
			continue;
		}
		/* Relaxed: nothing is read because of it. */
		if (__atomic_load_n(&s->task->channel.control->ended, __ATOMIC_RELAXED))
			return -ENODEV;
		relax();
		if (window == NO_END)
			continue;
		if (!looks)
			since = now_ns();
		else if (!(looks % LOOKS_PER_CLOCK) && now_ns() - since >= window)
			break;
		looks++;
	}
	return 0;
}

/* Poll until there has been nothing for @window ns, and still is not. */
static int poll_mapping(struct server *s, uint64_t window)
{
	struct channel *channel = &s->task->channel;
	uint32_t *polling = &channel->control->polling;
	int ret;

	if (s->serve.vcpu != IOREGIONFD_ANY)
		polling = &channel->slots[s->serve.vcpu].polling;
	ret = answer_served(s);
	if (ret)
		return ret;
	do {
		ret = look_for(s, window, polling);
		/* Relaxed: the fence orders it. */
		__atomic_store_n(polling, 0, __ATOMIC_RELAXED);
		/*
		 * Pairs with kvm.ko's full barrier between posting a command and looking at
		 * polling: either it finds 0 and wakes somebody, or we find the command.
		 */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!ret)
			ret = look(s);
	} while (ret > 0 && !task_stopped(s->task));
	return ret < 0 ? ret : 0;
}

/* Answer what was handled, sleep until there is another command, and handle it. */
static int sleep_for_command(struct server *s)
{
	int ret = serve(s->task, &s->serve);

	if (ret == -EINTR)
		return 0;	/* id says whether the answer has been given */
	if (ret)
		return ret;
	s->serve.data = ioregionfd_task_handle(s->task, &s->serve.cmd);
	return 0;
}

/*
 * A sleep that took no longer than we might poll could have been saved; one that took
 * longer shows that polling before it was for nothing.
 */
static uint64_t next_window(uint64_t window, uint64_t slept, uint64_t limit)
{
	if (slept > limit)
		return window > FIRST_WINDOW ? window / 2 : 0;
	window = window ? window * 2 : FIRST_WINDOW;
	return window < limit ? window : limit;
}

int ioregionfd_channel_run(struct ioregionfd_task *task, enum ioregionfd_mode mode, uint32_t vcpu)
{
	/* Relaxed: a number, which orders nothing. */
	uint64_t limit = __atomic_load_n(&task->poll_limit, __ATOMIC_RELAXED);
	struct server s = { .task = task, .serve = { .timeout = -1, .vcpu = vcpu } };
	uint64_t window = 0, start;
	int ret = 0;

	if (mode == IOREGIONFD_POLL)
		window = NO_END;
	while (!ret && !task_stopped(task)) {
		if (window) {
			ret = poll_mapping(&s, window);
			if (ret || task_stopped(task))
				break;
		}
		if (mode == IOREGIONFD_ADAPTIVE) {
			start = now_ns();
			ret = sleep_for_command(&s);
			window = next_window(window, now_ns() - start, limit);
		} else {
			ret = sleep_for_command(&s);
		}
	}
	if (!ret)
		ret = answer_served(&s);
	return ret;
}

void ioregionfd_channel_interrupt(struct ioregionfd_task *task)
{
	/* Fails only if the VM is gone, and then nobody sleeps. */
	ioctl(task->read_fd, IOREGIONFD_INTERRUPT);
}

int ioregionfd_channel_open(struct ioregionfd_task *task, unsigned int flags)
{
	struct channel *channel = &task->channel;
	char *mapping;
	int ret;

	if (task->read_fd != task->write_fd)
		return -EINVAL;
	mapping = mmap(NULL, channel->info.size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       task->read_fd, 0);
	if (mapping == MAP_FAILED)
		return -errno;
	channel->control = (struct ioregionfd_control *)mapping;
	channel->slots = (struct ioregionfd_slot *)(mapping + channel->info.slots_offset);
	channel->posted = (struct ioregionfd_cmd *)(mapping + channel->info.posted_offset);

	if ((flags & IOREGIONFD_OPEN_TAKE_OVER) && ioctl(task->read_fd, IOREGIONFD_TAKE_OVER)) {
		ret = -errno;
		ioregionfd_channel_close(task);
		return ret;
	}
	return 0;
}

void ioregionfd_channel_close(struct ioregionfd_task *task)
{
	munmap(task->channel.control, task->channel.info.size);
}
