// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a device task does with a native channel, in its mapping and with its ioctls.
 */
#include "ioregionfd_util.h"

struct ioregionfd_fetch fetch_arg(uint32_t vcpu)
{
	return (struct ioregionfd_fetch){
		.vcpu = vcpu,
		.timeout = HANG_SECONDS * 1000000000l,
	};
}

int commit_only(int fd, uint64_t id, uint64_t data)
{
	struct ioregionfd_fetch arg = {
		.id = id,
		.data = data,
		.vcpu = IOREGIONFD_ANY,
		.flags = IOREGIONFD_COMMIT_ONLY,
	};

	return commit_and_fetch(fd, &arg);
}

void recover(int fd)
{
	int r = ioctl(fd, IOREGIONFD_RECOVER);

	TEST_ASSERT(!r, __KVM_IOCTL_ERROR("IOREGIONFD_RECOVER", r));
}

struct mapping mapping_open(int fd)
{
	struct mapping map = { .fd = fd };
	void *mem;
	int r;

	r = ioctl(fd, IOREGIONFD_GET_INFO, &map.info);
	TEST_ASSERT(!r, __KVM_IOCTL_ERROR("IOREGIONFD_GET_INFO", r));
	mem = mmap(NULL, map.info.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TEST_ASSERT(mem != MAP_FAILED, __KVM_SYSCALL_ERROR("mmap()", -1));
	map.control = mem;
	map.mailboxes = mem + map.info.mailboxes_offset;
	map.posted = mem + map.info.posted_offset;
	return map;
}

void mapping_close(struct mapping *map)
{
	munmap(map->control, map->info.size);
}

bool mapping_fetch_posted(struct mapping *map, struct ioregionfd_fetch *arg)
{
	uint64_t tail = __atomic_load_n(&map->control->posted_tail, __ATOMIC_ACQUIRE);
	uint32_t head = __atomic_load_n(&map->control->posted_head, __ATOMIC_ACQUIRE);

	if (tail & 1 || ioregionfd_posted_index(tail) == head)
		return false;
	if (!__atomic_compare_exchange_n(&map->control->posted_tail, &tail, tail | 1, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	arg->id = ioregionfd_posted_id(tail);
	arg->cmd = map->posted[ioregionfd_posted_index(tail) & (map->info.nr_posted - 1)];
	return true;
}

bool mapping_fetch_mailbox(struct mapping *map, uint32_t i, struct ioregionfd_fetch *arg)
{
	struct ioregionfd_mailbox *mailbox = &map->mailboxes[i];
	uint32_t state, fetched, index;
	struct ioregionfd_cmd cmd;

	do {
		state = __atomic_load_n(&mailbox->state, __ATOMIC_ACQUIRE);
		if ((state & IOREGIONFD_MAILBOX_STATE) != IOREGIONFD_MAILBOX_PENDING)
			return false;
		index = ioregionfd_posted_index(__atomic_load_n(&map->control->posted_tail,
								__ATOMIC_ACQUIRE));
		if ((int32_t)((index - mailbox->posted_before) << 1) < 0)
			return false;
		cmd = mailbox->cmd;
		fetched = (state & ~IOREGIONFD_MAILBOX_STATE) | IOREGIONFD_MAILBOX_FETCHED;
	} while (!__atomic_compare_exchange_n(&mailbox->state, &state, fetched, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	/* Not before: it may be another task's command, which the next call would complete. */
	arg->id = ioregionfd_cmd_id(i, state);
	arg->cmd = cmd;
	return true;
}

bool mapping_fetch(struct mapping *map, uint32_t vcpu, struct ioregionfd_fetch *arg)
{
	uint32_t i;

	if (mapping_fetch_posted(map, arg))
		return true;
	for (i = 0; i < map->info.nr_mailboxes; i++) {
		if ((vcpu == IOREGIONFD_ANY || vcpu == i) && mapping_fetch_mailbox(map, i, arg))
			return true;
	}
	return false;
}

bool mailbox_store_data(struct ioregionfd_mailbox *mailbox, uint32_t number, uint64_t value)
{
	uint64_t word;
	int half;

	for (half = 0; half < 2; half++) {
		word = READ_ONCE(mailbox->data[half]);
		if (word >> 32 != number ||
		    !__atomic_compare_exchange_n(&mailbox->data[half], &word,
						 ioregionfd_mailbox_data(number, half, value),
						 false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return false;
	}
	return true;
}

int mapping_complete(struct mapping *map, uint64_t id, uint64_t data)
{
	uint32_t i = ioregionfd_id_vcpu(id), state;
	struct ioregionfd_mailbox *mailbox;
	uint64_t tail = id << 1 | 1;
	int r;

	if (i == IOREGIONFD_ANY) {
		__atomic_compare_exchange_n(&map->control->posted_tail, &tail, tail + 1, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!READ_ONCE(map->control->blocked))
			return 0;
		r = commit_only(map->fd, 0, 0);
	} else {
		mailbox = &map->mailboxes[i];
		state = (uint32_t)id << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_FETCHED;
		if (mailbox_store_data(mailbox, id, data) &&
		    __atomic_compare_exchange_n(&mailbox->state, &state,
						mailbox_completed(state), false,
						__ATOMIC_RELEASE, __ATOMIC_RELAXED))
			return 0;
		r = commit_only(map->fd, id, data);
	}
	TEST_ASSERT(!r || r == -ESTALE, "IOREGIONFD_COMMIT_AND_FETCH failed: %d", r);
	return r;
}
