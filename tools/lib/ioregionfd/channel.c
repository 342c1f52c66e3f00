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

/* Posted writes handled before others see that they are retired. */
#define POSTED_BATCH	32

/* Adaptive polling: the first window, in ns. */
#define FIRST_WINDOW	10000

/* Looking at the clock costs more than looking at the mailboxes. */
#define LOOKS_PER_CLOCK	32

#define NO_END		UINT64_MAX

/* In posted_tail: somebody has fetched the entry that it points at. */
#define TAIL_FETCHED	1

/* The guest does not have the response: see struct ioregionfd_ops */
#define ABANDONED	1

/**
 * struct server - one thread's ioregionfd_run()
 * @task: the handle
 * @fetch: argument of IOREGIONFD_COMMIT_AND_FETCH. id: what the last call has fetched, if
 *	it has been handled and not been completed yet; else 0. vcpu: whose commands to serve
 */
struct server {
	struct ioregionfd_task *task;
	struct ioregionfd_fetch fetch;
};

/* Returns 0, ABANDONED, or a negative error; -ESTALE: another task has recovered the channel. */
static int commit_and_fetch(struct ioregionfd_task *task, struct ioregionfd_fetch *fetch)
{
	if (!ioctl(task->read_fd, IOREGIONFD_COMMIT_AND_FETCH, fetch))
		return 0;
	switch (errno) {
	case ENOENT:
		return -ESTALE;
	case ESTALE:
		fetch->id = 0;
		return ABANDONED;
	}
	return -errno;
}

/* Also with id 0, if kvm.ko wants to be told that posted_tail has moved. */
int ioregionfd_channel_commit_only(struct ioregionfd_task *task,
				   const struct ioregionfd_fetch *fetch)
{
	struct ioregionfd_fetch commit = {
		.id = fetch->id,
		.data = fetch->data,
		.vcpu = IOREGIONFD_ANY,
		.flags = IOREGIONFD_COMMIT_ONLY,
		.status = fetch->status,
	};
	int ret = commit_and_fetch(task, &commit);

	if (ret != ABANDONED)
		return ret;
	ioregionfd_task_abandoned(task, &fetch->cmd);
	return 0;
}

/* Store one half of a value, unless the mailbox holds another command by now. */
static bool store_half(struct ioregionfd_mailbox *mailbox, uint32_t number, int half,
		       uint64_t data)
{
	/* Relaxed: kvm.ko's release of the state orders the number, ours orders the value. */
	uint64_t word = __atomic_load_n(&mailbox->data[half], __ATOMIC_RELAXED);

	return word >> 32 == number &&
	       __atomic_compare_exchange_n(&mailbox->data[half], &word,
					   ioregionfd_mailbox_data(number, half, data), false,
					   __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/*
 * Complete the command of mailbox @index, whose state became @state when it was fetched.
 * If the vCPU sleeps, or anything has changed for whatever reason, leave it to kvm.ko to
 * find out what to do with the response.
 */
static int complete(struct ioregionfd_task *task, uint32_t index, uint32_t state,
		    struct ioregionfd_fetch *fetch)
{
	struct ioregionfd_mailbox *mailbox = &task->channel.mailboxes[index];
	uint32_t number = state >> IOREGIONFD_MAILBOX_SHIFT;
	uint32_t fetched = state;

	/* A vCPU that goes to sleep changes the state first. Litmus: response-sleep. */
	if (!(state & IOREGIONFD_MAILBOX_WAITING) &&
	    store_half(mailbox, number, 0, fetch->data) &&
	    store_half(mailbox, number, 1, fetch->data)) {
		state = number << IOREGIONFD_MAILBOX_SHIFT |
			(IOREGIONFD_MAILBOX_COMPLETE + fetch->status);
		/*
		 * Release: pairs with kvm.ko's acquire of COMPLETE, after which it reads data.
		 * Litmus: response, mailbox-reuse, vcpu-order.
		 */
		if (__atomic_compare_exchange_n(&mailbox->state, &fetched, state, false,
						__ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return 0;
	}
	fetch->id = ioregionfd_cmd_id(index, state);
	return ioregionfd_channel_commit_only(task, fetch);
}

/* Complete what IOREGIONFD_COMMIT_AND_FETCH has fetched, without fetching more. */
static int complete_fetched(struct server *s)
{
	uint64_t id = s->fetch.id;
	uint32_t vcpu = ioregionfd_id_vcpu(id);
	int ret;

	if (!id)
		return 0;
	if (vcpu == IOREGIONFD_ANY)
		ret = ioregionfd_channel_commit_only(s->task, &s->fetch);
	else
		ret = complete(s->task, vcpu, (uint32_t)id << IOREGIONFD_MAILBOX_SHIFT |
			       IOREGIONFD_MAILBOX_FETCHED, &s->fetch);
	s->fetch.id = 0;
	return ret;
}

/* Returns 1 if there was a command in the mailbox for this thread to handle. */
static int look_at_mailbox(struct ioregionfd_task *task, uint32_t index)
{
	struct ioregionfd_mailbox *mailbox = &task->channel.mailboxes[index];
	struct ioregionfd_fetch fetch = { 0 };
	uint32_t state, fetched, posted;
	int ret;

	/*
	 * Acquire: pairs with kvm.ko's release of PENDING, before which it wrote cmd and
	 * posted_before.
	 * Litmus: command.
	 */
	state = __atomic_load_n(&mailbox->state, __ATOMIC_ACQUIRE);
	if ((state & IOREGIONFD_MAILBOX_STATE) != IOREGIONFD_MAILBOX_PENDING)
		return 0;

	/*
	 * Acquire: pairs with the release in look_at_posted(): the handlers of the posted
	 * writes that come before this command have run. Indexes count modulo 2^31. The tail
	 * may have gone past posted_before, if more posted writes have been retired since.
	 * Litmus: posted-handled.
	 */
	posted = ioregionfd_posted_index(__atomic_load_n(&task->channel.control->posted_tail,
							 __ATOMIC_ACQUIRE));
	if ((int32_t)((posted - mailbox->posted_before) << 1) < 0)
		return 0;

	memcpy(&fetch.cmd, &mailbox->cmd, sizeof(fetch.cmd));
	fetched = (state & ~IOREGIONFD_MAILBOX_STATE) | IOREGIONFD_MAILBOX_FETCHED;
	/*
	 * Acquire: pairs with the release of who completed the vCPU's last command, so that
	 * its handler has run. Release: cmd was copied before; if kvm.ko has withdrawn the
	 * command and reused the mailbox meanwhile, the state's number differs.
	 * Litmus: vcpu-order.
	 */
	if (!__atomic_compare_exchange_n(&mailbox->state, &state, fetched, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return 0;

	ioregionfd_task_handle(task, &fetch);
	ret = complete(task, index, fetched, &fetch);
	return ret ? ret : 1;
}

/*
 * Returns 1 if there were posted writes for this thread to handle. If @id is not 0, it has
 * handled the first of them, which is retired with the rest.
 */
static int look_at_posted(struct ioregionfd_task *task, uint64_t id)
{
	struct ioregionfd_control *control = task->channel.control;
	uint32_t mask = task->channel.info.nr_posted - 1;
	struct ioregionfd_fetch nothing = { 0 }, fetch;
	uint64_t tail, next;
	uint32_t head;
	int ret, n;

	/*
	 * Acquire: pairs with the release of who moved it on. The head that is read after it
	 * is at least as far.
	 * Litmus: posted-heads, posted-handled.
	 */
	tail = id ? id << 1 : __atomic_load_n(&control->posted_tail, __ATOMIC_ACQUIRE);
	if (tail & TAIL_FETCHED)
		return 0;
	/*
	 * Acquire: pairs with kvm.ko's release, before which it wrote the entries.
	 * Litmus: posted-entry.
	 */
	head = __atomic_load_n(&control->posted_head, __ATOMIC_ACQUIRE);
	if (!id && head == ioregionfd_posted_index(tail))
		return 0;
	/*
	 * Acquire: pairs with the release below: what came before has been handled. Likewise
	 * with kvm.ko's exchange, when it has recovered them.
	 * Litmus: posted-handled, posted-recover.
	 */
	if (!id && !__atomic_compare_exchange_n(&control->posted_tail, &tail, tail | TAIL_FETCHED,
						false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return 0;

	next = id ? tail + (1 << 1) : tail;
	for (n = 0; n < POSTED_BATCH && head != ioregionfd_posted_index(next); n++) {
		memcpy(&fetch.cmd, &task->channel.posted[ioregionfd_posted_index(next) & mask],
		       sizeof(fetch.cmd));
		/*
		 * Acquire: the copy is older than this look. If another task has recovered
		 * the channel, the entry may be that of a later write, and is not ours.
		 * Litmus: posted-copy.
		 */
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&control->posted_tail, __ATOMIC_RELAXED) !=
		    (tail | TAIL_FETCHED))
			return -ESTALE;
		ioregionfd_task_handle(task, &fetch);
		next += 1 << 1;
	}

	/*
	 * An exchange, because another task may have recovered the channel. Release: pairs with the
	 * acquire of posted_tail above and in look_at_mailbox(), and with kvm.ko's, which
	 * then reuses the entries.
	 * Litmus: posted-handled, posted-handled-fetch, posted-reuse.
	 */
	tail |= TAIL_FETCHED;
	if (!__atomic_compare_exchange_n(&control->posted_tail, &tail, next, false,
					 __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		return -ESTALE;
	/*
	 * Pairs with kvm.ko's full barrier between setting blocked and looking at posted_tail.
	 * Litmus: posted-space, unblock.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&control->blocked, __ATOMIC_RELAXED)) {
		ret = ioregionfd_channel_commit_only(task, &nothing);
		if (ret)
			return ret;
	}
	return 1;
}

/* Returns whether there was anything. */
static int look(struct server *s)
{
	uint32_t first = s->fetch.vcpu, end = first + 1, i;
	int found, ret;

	if (first == IOREGIONFD_ANY) {
		first = 0;
		end = s->task->channel.info.nr_mailboxes;
	}
	found = look_at_posted(s->task, 0);
	for (i = first; i < end && found >= 0; i++) {
		ret = look_at_mailbox(s->task, i);
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

/* What a loop that waits tells the CPU. Where there is no such instruction it is a hint */
static void relax(void)
{
#if __has_builtin(__builtin_ia32_pause)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#elif defined(__riscv)
	/* "pause", by a name that all assemblers know */
	__asm__ volatile(".insn i 0x0f, 0, x0, x0, 0x010");
#endif
}

/*
 * Look until there has been nothing for @window ns, or until ioregionfd_stop(). @polling
 * tells kvm.ko that somebody looks; any thread that stops polling clears it, so it is set
 * anew each time. Relaxed: until kvm.ko sees it, it wakes somebody for nothing.
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
		if (__atomic_load_n(&s->task->channel.control->vm_dead, __ATOMIC_RELAXED))
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

/*
 * Poll until there has been nothing for @window ns, and look once more after that. After
 * ioregionfd_stop() too: what came while we polled has woken nobody. That is as much as the
 * ring holds; whatever comes later wakes another task.
 */
static int poll_mapping(struct server *s, uint64_t window)
{
	struct channel *channel = &s->task->channel;
	unsigned int looks = channel->info.nr_posted / POSTED_BATCH + 2;
	uint32_t *polling = &channel->control->polling;
	int ret;

	if (s->fetch.vcpu != IOREGIONFD_ANY)
		polling = &channel->mailboxes[s->fetch.vcpu].polling;
	ret = complete_fetched(s);
	if (ret)
		return ret;
	do {
		ret = look_for(s, window, polling);
		/* Relaxed: the fence orders it. */
		__atomic_store_n(polling, 0, __ATOMIC_RELAXED);
		/*
		 * Pairs with kvm.ko's full barrier between posting a command and looking at
		 * polling: either it finds 0 and wakes somebody, or we find the command.
		 * Litmus: post-polling.
		 */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!ret)
			ret = look(s);
	} while (ret > 0 && (!task_stopped(s->task) || looks--));
	return ret < 0 ? ret : 0;
}

/*
 * What came while we polled has woken nobody. If we leave some of it, because the channel has
 * been recovered or because it comes after what another task has fetched, those who sleep
 * have to look: kvm.ko wakes all of them when it finds that somebody is blocked.
 */
static void leave_to_others(struct ioregionfd_task *task)
{
	struct ioregionfd_fetch nothing = { 0 };

	/* Relaxed: the ioctl() comes after it, in this thread. */
	__atomic_store_n(&task->channel.control->blocked, 1, __ATOMIC_RELAXED);
	/* If it fails the VM is gone, and there is nothing to leave. */
	ioregionfd_channel_commit_only(task, &nothing);
}

/* Complete what was handled, sleep until there is another command, and handle it. */
static int sleep_for_command(struct server *s)
{
	int ret = commit_and_fetch(s->task, &s->fetch);

	switch (ret) {
	case 0:
		ioregionfd_task_handle(s->task, &s->fetch);
		if (ioregionfd_id_vcpu(s->fetch.id) != IOREGIONFD_ANY)
			return 0;
		/* A posted write. Those that have come after it take no system call. */
		ret = look_at_posted(s->task, s->fetch.id);
		s->fetch.id = 0;
		return ret < 0 ? ret : 0;
	case ABANDONED:
		ioregionfd_task_abandoned(s->task, &s->fetch.cmd);
		return 0;
	case -EAGAIN:
	case -ECANCELED:
	case -EINTR:
		return 0;	/* id is 0 if the command has been completed */
	}
	return ret;
}

/*
 * A sleep that was no longer than @limit could have been avoided by polling longer. A
 * longer one shows that polling before it was for nothing.
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
	struct server s = { .task = task, .fetch = { .timeout = -1, .vcpu = vcpu } };
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
		ret = complete_fetched(&s);
	if (mode != IOREGIONFD_SLEEP)
		leave_to_others(task);
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
	channel->mailboxes = (struct ioregionfd_mailbox *)
		(mapping + channel->info.mailboxes_offset);
	channel->posted = (struct ioregionfd_cmd *)(mapping + channel->info.posted_offset);

	if ((flags & IOREGIONFD_OPEN_RECOVER) && ioctl(task->read_fd, IOREGIONFD_RECOVER)) {
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
