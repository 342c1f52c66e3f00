// SPDX-License-Identifier: GPL-2.0-only
/*
 * A model device in a thread, which logs and completes each command.
 */
#include "ioregionfd_util.h"

/* The byte of mem that a command accesses: the low half of user_data is added to the offset. */
static uint8_t *device_mem(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	uint64_t index = (cmd->user_data & 0xffff) + cmd->offset;

	TEST_ASSERT(index < DEV_MEM_SIZE, "command beyond the device: user_data %llx offset %llx",
		    cmd->user_data, cmd->offset);
	return dev->mem + index;
}

uint64_t device_value(struct device *dev, uint64_t index, uint32_t size)
{
	uint64_t val = 0;

	memcpy(&val, dev->mem + index, size);
	return val;
}

uint64_t device_respond_mem(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	uint64_t val;

	if (cmd->cmd == IOREGIONFD_CMD_READ) {
		memcpy(&val, device_mem(dev, cmd), sizeof(val));
		return val;
	}
	memcpy(device_mem(dev, cmd), &cmd->data, 1 << (cmd->flags & IOREGIONFD_CMD_SIZE_MASK));
	/* KVM has to ignore the value of a response to a write. */
	return 0xbadbadbadbadbadb;
}

/* Responds. The region may be gone by now, and a socket with its last region. */
static void device_send(struct device *dev, uint64_t val)
{
	struct ioregionfd_resp resp = make_resp(val);
	ssize_t n;

	if (dev->ch.transport != TR_SEQPACKET) {
		n = write(dev->ch.dev_wr, &resp, sizeof(resp));
		TEST_ASSERT(n == sizeof(resp) || (n < 0 && errno == ESTALE),
			    __KVM_SYSCALL_ERROR("write()", (int)n));
		return;
	}
	n = send(dev->ch.dev_wr, &resp, sizeof(resp), MSG_NOSIGNAL);
	TEST_ASSERT(n == sizeof(resp) || (n < 0 && errno == EPIPE),
		    __KVM_SYSCALL_ERROR("send()", (int)n));
}

static void *device_main(void *arg)
{
	struct device *dev = arg;
	struct ioregionfd_cmd cmd;
	uint64_t val;

	while (dev_read(&dev->ch, &cmd, sizeof(cmd))) {
		if (dev->nr < dev->log_size)
			dev->log[dev->nr] = cmd;
		val = dev->respond(dev, &cmd);
		__atomic_store_n(&dev->nr, dev->nr + 1, __ATOMIC_RELEASE);
		if (cmd.flags & IOREGIONFD_CMD_F_RESP)
			device_send(dev, val);
	}
	__atomic_store_n(&dev->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Serves the mapping, without a system call as long as nobody sleeps. */
static void *device_polling_main(void *arg)
{
	struct device *dev = arg;
	struct mapping map = mapping_open(dev->ch.dev_rd);
	struct ioregionfd_fetch fetch;
	uint64_t val;

	pin_self_to_cpu(1);
	WRITE_ONCE(map.control->polling, 1);
	while (!READ_ONCE(map.control->vm_dead)) {
		if (!mapping_fetch(&map, IOREGIONFD_ANY, &fetch)) {
			cpu_relax();
			continue;
		}
		if (dev->nr < dev->log_size)
			dev->log[dev->nr] = fetch.cmd;
		val = dev->respond(dev, &fetch.cmd);
		__atomic_store_n(&dev->nr, dev->nr + 1, __ATOMIC_RELEASE);
		mapping_complete(&map, fetch.id, val);
	}
	mapping_close(&map);
	__atomic_store_n(&dev->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

void device_start_on(struct device *dev, struct channel ch)
{
	void *(*main)(void *arg) = device_main;
	int i, r;

	dev->ch = ch;
	if (ch.transport == TR_POLLED) {
		main = device_polling_main;
		pin_self_to_cpu(0);
	}
	if (!dev->respond)
		dev->respond = device_respond_mem;
	if (!dev->log_size)
		dev->log_size = 4096;
	dev->log = calloc(dev->log_size, sizeof(*dev->log));
	TEST_ASSERT(dev->log, "out of memory");
	for (i = 0; i < sizeof(dev->mem); i++)
		dev->mem[i] = i * 7 + i / 256 + 1;

	r = pthread_create(&dev->thread, NULL, main, dev);
	TEST_ASSERT(!r, "pthread_create() failed: %d", r);
}

void __expect_nr(struct device *dev, unsigned int nr, int line)
{
	int i;

	for (i = 0; device_nr(dev) < nr && i < HANG_SECONDS * 1000; i++)
		usleep(1000);
	TEST_ASSERT(device_nr(dev) == nr, "line %d: wanted %u commands, the device saw %u",
		    line, nr, device_nr(dev));
}

void __expect_log(struct device *dev, int line, const struct ioregionfd_cmd *want, unsigned int nr)
{
	unsigned int i;

	__expect_nr(dev, nr, line);
	for (i = 0; i < nr; i++)
		__expect_cmd(dev->log[i], want[i], line);
	dev->nr = 0;
}

void __expect_device_released(struct device *dev, int line)
{
	int i;

	channel_close_kvm(&dev->ch);
	for (i = 0; !__atomic_load_n(&dev->ended, __ATOMIC_ACQUIRE) && i < HANG_SECONDS * 1000; i++)
		usleep(1000);
	TEST_ASSERT(dev->ended, "line %d: somebody still holds the channel", line);
}
