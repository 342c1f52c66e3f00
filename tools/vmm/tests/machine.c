// SPDX-License-Identifier: GPL-2.0-only
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/ioregionfd.h>
#include "../util.h"
#include "../virtio_mmio.h"

void machine_fail_at(const char *file, int line, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "# %s:%d: ", file, line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	/* The harness reports a test that ends like this as failed. */
	abort();
}

static int memfd(const char *name, uint64_t size)
{
	int fd = device_create_memory(name, size);

	if (fd < 0)
		machine_fail("cannot make %s: %s", name, strerror(-fd));
	return fd;
}

static void *map(int fd, uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		machine_fail("mmap: %s", strerror(errno));
	return p;
}

/* The regions of virtio-mmio */
static const unsigned int virtio_bases[] = {
	VIRTIO_MMIO_BEFORE_NOTIFY, VIRTIO_MMIO_NOTIFY, VIRTIO_MMIO_AFTER_NOTIFY,
};

static const char *beside_the_test(const char *name)
{
	static char path[PATH_MAX + 32];
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		machine_fail("readlink: %s", strerror(errno));
	self[n] = '\0';
	snprintf(path, sizeof(path), "%s/%s", dirname(self), name);
	return path;
}

void machine_init(struct machine *m, const char *program, uint64_t image_size)
{
	memset(m, 0, sizeof(*m));
	m->program = beside_the_test(program);
	m->state_fd = memfd("state", sizeof(*m->state));
	m->state = map(m->state_fd, sizeof(*m->state));
	m->memory_fd = memfd("guest", 2 * REGION_SIZE);
	m->memory = map(m->memory_fd, 2 * REGION_SIZE);
	m->image_fd = memfd("image", image_size);
	m->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->bases = virtio_bases;
	m->nr_bases = ARRAY_SIZE(virtio_bases);
	m->next_addr = LOW_ADDR;
	m->socket = -1;
	m->log_fd = STDERR_FILENO;
	m->args.version = DEVICE_STATE_VERSION;
	m->args.features = ~0ULL;
	m->args.id = 65534;
	m->args.nr_queues = 1;
	m->args.nr_regions = 2;
	m->args.regions[0] = (struct memory_region) { LOW_ADDR, REGION_SIZE, 0 };
	m->args.regions[1] = (struct memory_region) { HIGH_ADDR, REGION_SIZE, REGION_SIZE };
	memcpy(m->args.serial, "serial", 6);
}

void machine_add_irqs(struct machine *m, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		m->more_irq_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->args.nr_more_irqs = nr;
}

void machine_spawn(struct machine *m)
{
	int fds[DEVICE_MAX_FDS], sock[2];

	if (m->socket >= 0)
		close(m->socket);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		machine_fail("socketpair: %s", strerror(errno));
	fds[DEVICE_LOG_FD] = m->log_fd;
	fds[DEVICE_CHANNEL_FD] = sock[1];
	fds[DEVICE_STATE_FD] = m->state_fd;
	fds[DEVICE_MEMORY_FD] = m->memory_fd;
	fds[DEVICE_IRQ_FD] = m->irq_fd;
	fds[DEVICE_BACKEND_FD] = m->image_fd;
	memcpy(fds + DEVICE_NR_FDS, m->more_irq_fds, sizeof(m->more_irq_fds));
	m->pid = device_spawn(m->program, fds, m->state, &m->args);
	if (m->pid < 0)
		machine_fail("device_spawn: %s", strerror(-m->pid));
	close(sock[1]);
	m->socket = sock[0];
}

void machine_wait_death(struct machine *m)
{
	struct pollfd p = { .fd = m->socket };

	/* The socket has no other owner. */
	if (poll(&p, 1, WAIT_MS) != 1)
		machine_fail("the device process does not end");
	if (waitpid(m->pid, &m->status, 0) != m->pid)
		machine_fail("waitpid: %s", strerror(errno));
	m->pid = 0;
}

static void reap(struct machine *m)
{
	machine_wait_death(m);
	if (++m->deaths > m->max_deaths)
		machine_fail("death %u, wait status %#x", m->deaths, m->status);
	m->args.kill_after = m->deaths <= m->nr_again ? m->kill_again : 0;
	machine_spawn(m);
}

void machine_kill(struct machine *m)
{
	m->max_deaths++;
	kill(m->pid, SIGKILL);
	reap(m);
}

void machine_destroy(struct machine *m)
{
	unsigned int i;

	if (m->pid > 0) {
		/* The end of the VM is the end of the process. */
		shutdown(m->socket, SHUT_RDWR);
		machine_wait_death(m);
		if (m->status)
			machine_fail("wait status %#x at the end", m->status);
	}
	close(m->socket);
	close(m->state_fd);
	close(m->memory_fd);
	close(m->image_fd);
	close(m->irq_fd);
	for (i = 0; i < m->args.nr_more_irqs; i++)
		close(m->more_irq_fds[i]);
	munmap(m->state, sizeof(*m->state));
	munmap(m->memory, 2 * REGION_SIZE);
}

static struct ioregionfd_cmd make_command(const struct machine *m, bool write,
					  unsigned int offset, unsigned int size,
					  uint64_t value, unsigned int flags)
{
	struct ioregionfd_cmd cmd = {
		.cmd = write ? IOREGIONFD_CMD_WRITE : IOREGIONFD_CMD_READ,
		.flags = __builtin_ctz(size) | IOREGIONFD_CMD_F_RESP | flags,
		.data = value,
	};
	unsigned int i;

	for (i = 0; i < m->nr_bases && m->bases[i] <= offset; i++)
		cmd.user_data = m->bases[i];
	cmd.offset = offset - cmd.user_data;
	return cmd;
}

/* False: the process has died, or dies. */
static bool exchange(struct machine *m, const struct ioregionfd_cmd *cmd,
		     struct ioregionfd_resp *resp)
{
	struct pollfd p = { .fd = m->socket, .events = POLLIN };
	ssize_t n;

	if (send(m->socket, cmd, sizeof(*cmd), MSG_NOSIGNAL) < 0) {
		if (errno == EPIPE || errno == ECONNRESET)
			return false;
		machine_fail("send: %s", strerror(errno));
	}
	if (poll(&p, 1, WAIT_MS) != 1)
		machine_fail("no response to offset %#llx + %#llx", cmd->user_data, cmd->offset);
	n = recv(m->socket, resp, sizeof(*resp), MSG_DONTWAIT);
	if (n == sizeof(*resp))
		return true;
	if (!n || (n < 0 && errno == ECONNRESET))
		return false;
	machine_fail("recv returned %zd", n);
}

uint64_t machine_access(struct machine *m, bool write, unsigned int offset, unsigned int size,
			uint64_t value, unsigned int flags)
{
	struct ioregionfd_cmd cmd = make_command(m, write, offset, size, value, flags);
	struct ioregionfd_resp resp;

	while (!exchange(m, &cmd, &resp)) {
		reap(m);
		cmd.flags |= IOREGIONFD_CMD_F_REDELIVERED;
	}
	if (resp.status != IOREGIONFD_STATUS_DONE)
		return UINT64_MAX;
	return resp.data;
}

bool machine_dies_of(struct machine *m, unsigned int offset, uint64_t value)
{
	struct ioregionfd_cmd cmd = make_command(m, true, offset, 4, value, 0);
	struct ioregionfd_resp resp;

	if (exchange(m, &cmd, &resp))
		return false;
	machine_wait_death(m);
	return true;
}

uint32_t machine_read(struct machine *m, unsigned int offset)
{
	return machine_access(m, false, offset, 4, 0, 0);
}

void machine_write(struct machine *m, unsigned int offset, uint32_t value)
{
	machine_access(m, true, offset, 4, value, 0);
}

static int irq_fd(const struct machine *m, unsigned int number)
{
	return number ? m->more_irq_fds[number - 1] : m->irq_fd;
}

bool machine_irq_of(struct machine *m, unsigned int number)
{
	uint64_t count;

	return read(irq_fd(m, number), &count, sizeof(count)) == sizeof(count);
}

bool machine_irq(struct machine *m)
{
	return machine_irq_of(m, 0);
}

void machine_wait_irq(struct machine *m)
{
	unsigned int i, nr = 1 + m->args.nr_more_irqs;
	struct pollfd p[2 + DEVICE_MAX_MORE_IRQS];
	bool any = false;

	for (;;) {
		for (i = 0; i < nr; i++)
			p[i] = (struct pollfd) { .fd = irq_fd(m, i), .events = POLLIN };
		p[nr] = (struct pollfd) { .fd = m->socket };
		if (poll(p, nr + 1, WAIT_MS) < 1)
			machine_fail("no interrupt");
		for (i = 0; i < nr; i++)
			any |= machine_irq_of(m, i);
		if (any)
			return;
		if (p[nr].revents)
			reap(m);
	}
}

void *machine_host(struct machine *m, uint64_t addr)
{
	if (addr >= HIGH_ADDR)
		return m->memory + REGION_SIZE + (addr - HIGH_ADDR);
	return m->memory + (addr - LOW_ADDR);
}

uint64_t machine_alloc(struct machine *m, uint64_t size, uint64_t align)
{
	uint64_t addr = (m->next_addr + align - 1) / align * align;

	m->next_addr = addr + size;
	if (m->next_addr > LOW_ADDR + REGION_SIZE)
		machine_fail("guest memory is used up");
	return addr;
}
