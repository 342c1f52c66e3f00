// SPDX-License-Identifier: LGPL-2.1-only OR BSD-3-Clause
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* As long as KVM polls by default for a vCPU that has halted. */
#define DEFAULT_POLL_LIMIT	200000

/* Which bits of user_data tell regions apart is up to the VMM, so all count. */
static struct region **bucket(struct ioregionfd_task *task, uint64_t user_data)
{
	user_data ^= user_data >> 32;
	user_data ^= user_data >> 16;
	user_data ^= user_data >> 6;
	return &task->regions[user_data % BUCKETS];
}

static struct region *find_region(struct ioregionfd_task *task, uint64_t user_data)
{
	/* Acquire: pairs with the release of ioregionfd_register(). Litmus: region-register. */
	struct region *region = __atomic_load_n(bucket(task, user_data), __ATOMIC_ACQUIRE);

	while (region && region->user_data != user_data)
		region = region->next;
	return region;
}

int ioregionfd_register(struct ioregionfd_task *task, uint64_t user_data,
			const struct ioregionfd_ops *ops, void *opaque)
{
	struct region **head = bucket(task, user_data);
	struct region *region;
	int ret = -EEXIST;

	pthread_mutex_lock(&task->regions_lock);
	if (find_region(task, user_data))
		goto out;
	ret = -ENOMEM;
	region = malloc(sizeof(*region));
	if (!region)
		goto out;
	region->next = *head;
	region->user_data = user_data;
	region->ops = ops;
	region->opaque = opaque;
	/*
	 * Release: who finds it in find_region() finds it initialized.
	 * Litmus: region-register.
	 */
	__atomic_store_n(head, region, __ATOMIC_RELEASE);
	ret = 0;
out:
	pthread_mutex_unlock(&task->regions_lock);
	return ret;
}

int ioregionfd_unregister(struct ioregionfd_task *task, uint64_t user_data)
{
	struct region **p, *region;

	pthread_mutex_lock(&task->regions_lock);
	for (p = bucket(task, user_data); *p && (*p)->user_data != user_data; p = &(*p)->next)
		;
	region = *p;
	if (region)
		*p = region->next;
	pthread_mutex_unlock(&task->regions_lock);
	free(region);
	return region ? 0 : -ENOENT;
}

void ioregionfd_set_unknown(struct ioregionfd_task *task,
			    void (*unknown)(void *opaque, const struct ioregionfd_cmd *cmd),
			    void *opaque)
{
	task->unknown = unknown;
	task->unknown_opaque = opaque;
}

uint64_t ioregionfd_unknown_count(const struct ioregionfd_task *task)
{
	/* Relaxed: a number, which orders nothing. */
	return __atomic_load_n(&task->unknown_count, __ATOMIC_RELAXED);
}

static uint16_t handle(struct ioregionfd_task *task, const struct ioregionfd_cmd *cmd,
		       uint64_t *value)
{
	struct region *region = find_region(task, cmd->user_data);
	unsigned int exponent = cmd->flags & IOREGIONFD_CMD_SIZE_MASK;
	unsigned int size = 1U << exponent;
	uint16_t status;

	if (!region || cmd->cmd > IOREGIONFD_CMD_WRITE || exponent > IOREGIONFD_SIZE_64BIT) {
		/* Relaxed: as in ioregionfd_unknown_count(). */
		__atomic_fetch_add(&task->unknown_count, 1, __ATOMIC_RELAXED);
		if (task->unknown)
			task->unknown(task->unknown_opaque, cmd);
		return IOREGIONFD_STATUS_UNMAPPED;
	}
	if (region->ops->command) {
		status = region->ops->command(region->opaque, cmd, value);
		/* It goes into a state word: not one that means something else. */
		return status <= IOREGIONFD_STATUS_TO_VMM ? status : IOREGIONFD_STATUS_UNMAPPED;
	}
	if (cmd->cmd == IOREGIONFD_CMD_READ && region->ops->read)
		*value = region->ops->read(region->opaque, cmd->offset, size);
	else if (cmd->cmd == IOREGIONFD_CMD_WRITE && region->ops->write)
		region->ops->write(region->opaque, cmd->offset, size, cmd->data);
	else
		return IOREGIONFD_STATUS_UNMAPPED;
	return IOREGIONFD_STATUS_DONE;
}

/* Calls the handler of @fetch->cmd, the caller's own copy, and stores the response. */
void ioregionfd_task_handle(struct ioregionfd_task *task, struct ioregionfd_fetch *fetch)
{
	uint64_t value = 0;

	fetch->status = handle(task, &fetch->cmd, &value);
	fetch->data = value;
}

/* Tell the device that the guest did not get the response to @cmd. */
void ioregionfd_task_abandoned(struct ioregionfd_task *task, const struct ioregionfd_cmd *cmd)
{
	struct region *region = find_region(task, cmd->user_data);

	if (region && region->ops->abandoned)
		region->ops->abandoned(region->opaque, cmd);
}

int ioregionfd_open(struct ioregionfd_task **result, int read_fd, int write_fd, unsigned int flags)
{
	struct ioregionfd_task *task;
	int ret;

	if (flags & ~IOREGIONFD_OPEN_RECOVER)
		return -EINVAL;
	task = calloc(1, sizeof(*task));
	if (!task)
		return -ENOMEM;
	task->read_fd = read_fd;
	task->write_fd = write_fd;
	task->poll_limit = DEFAULT_POLL_LIMIT;
	pthread_mutex_init(&task->regions_lock, NULL);

	task->is_channel = !ioctl(read_fd, IOREGIONFD_GET_INFO, &task->channel.info);
	if (task->is_channel)
		ret = ioregionfd_channel_open(task, flags);
	else if (errno != ENOTTY)
		ret = -errno;
	else if (flags & IOREGIONFD_OPEN_RECOVER)
		ret = -EOPNOTSUPP;
	else
		ret = ioregionfd_socket_open(task);
	if (ret) {
		pthread_mutex_destroy(&task->regions_lock);
		free(task);
		return ret;
	}
	*result = task;
	return 0;
}

void ioregionfd_close(struct ioregionfd_task *task)
{
	struct region *region, *next;
	size_t i;

	if (!task)
		return;
	if (task->is_channel)
		ioregionfd_channel_close(task);
	else
		ioregionfd_socket_close(task);
	close(task->read_fd);
	if (task->write_fd != task->read_fd)
		close(task->write_fd);
	for (i = 0; i < BUCKETS; i++) {
		for (region = task->regions[i]; region; region = next) {
			next = region->next;
			free(region);
		}
	}
	pthread_mutex_destroy(&task->regions_lock);
	free(task);
}

void ioregionfd_set_poll_limit(struct ioregionfd_task *task, uint64_t ns)
{
	/* Relaxed: a number, which orders nothing. */
	__atomic_store_n(&task->poll_limit, ns, __ATOMIC_RELAXED);
}

static bool valid_vcpu(const struct ioregionfd_task *task, uint32_t vcpu)
{
	return vcpu == IOREGIONFD_ANY ||
	       (task->is_channel && vcpu < task->channel.info.nr_mailboxes);
}

/*
 * One interrupt ends the sleep of one thread, which therefore passes it on. SEQ_CST
 * on @running and @stopped: a thread that is not counted here looks at @stopped after
 * this one did, and so cannot go to sleep.
 */
static void pass_stop_on(struct ioregionfd_task *task)
{
	/* Litmus: stop. */
	if (__atomic_load_n(&task->running, __ATOMIC_SEQ_CST) && task_stopped(task))
		ioregionfd_channel_interrupt(task);
}

int ioregionfd_run(struct ioregionfd_task *task, enum ioregionfd_mode mode, uint32_t vcpu)
{
	int ret;

	if (mode > IOREGIONFD_ADAPTIVE || !valid_vcpu(task, vcpu))
		return -EINVAL;
	if (!task->is_channel) {
		ret = ioregionfd_socket_run(task);
	} else {
		/* Before each look at @stopped, see there. Litmus: stop. */
		__atomic_fetch_add(&task->running, 1, __ATOMIC_SEQ_CST);
		ret = ioregionfd_channel_run(task, mode, vcpu);
		__atomic_fetch_sub(&task->running, 1, __ATOMIC_SEQ_CST);
		pass_stop_on(task);
	}
	return ret == -ENODEV ? 0 : ret;
}

void ioregionfd_stop(struct ioregionfd_task *task)
{
	int saved = errno;

	/*
	 * First the flag: who does not see it is not asleep yet, or is woken, because
	 * both kinds of interrupts stay until somebody has noticed them.
	 * Litmus: stop.
	 */
	__atomic_store_n(&task->stopped, true, __ATOMIC_SEQ_CST);
	if (task->is_channel)
		ioregionfd_channel_interrupt(task);
	else
		ioregionfd_socket_interrupt(task);
	errno = saved;
}

void ioregionfd_restart(struct ioregionfd_task *task)
{
	/* An interrupt that nobody has noticed makes a thread look in vain once. */
	if (!task->is_channel)
		ioregionfd_socket_restart(task);
	/* It orders nothing. Litmus: none. */
	__atomic_store_n(&task->stopped, false, __ATOMIC_SEQ_CST);
}

int ioregionfd_request_init(struct ioregionfd_request *request, struct ioregionfd_task *task,
			    uint32_t vcpu)
{
	if (!task->is_channel)
		return -EOPNOTSUPP;
	if (!valid_vcpu(task, vcpu))
		return -EINVAL;
	memset(request, 0, sizeof(*request));
	request->task = task;
	request->fetch.timeout = -1;
	request->fetch.vcpu = vcpu;
	request->fd = task->read_fd;
	return 0;
}

int ioregionfd_request_complete(struct ioregionfd_request *request, int res)
{
	switch (res) {
	case 0:
		ioregionfd_task_handle(request->task, &request->fetch);
		return 1;
	case -EAGAIN:
		return 1;	/* id is 0 if the command has been completed */
	case -ESTALE:
		request->fetch.id = 0;
		ioregionfd_task_abandoned(request->task, &request->fetch.cmd);
		return 1;
	case -ENODEV:
		request->fetch.id = 0;
		return 0;
	case -ENOENT:
		request->fetch.id = 0;
		return -ESTALE;
	}
	return res;
}

int ioregionfd_request_finish(struct ioregionfd_request *request)
{
	int ret;

	if (!request->fetch.id)
		return 0;
	ret = ioregionfd_channel_commit_only(request->task, &request->fetch);
	request->fetch.id = 0;
	return ret == -ENODEV ? 0 : ret;
}
