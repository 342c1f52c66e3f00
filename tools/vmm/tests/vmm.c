// SPDX-License-Identifier: GPL-2.0-only
#include "vmm.h"

#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include "../control.h"

void vmm_name_beside(char *path, const char *name)
{
	char self[PATH_MAX / 2];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		abort();
	self[n] = '\0';
	snprintf(path, PATH_MAX, "%s/%s", dirname(self), name);
}

uint64_t vmm_access_register(struct vmm_device *dev, bool write, unsigned int offset,
			     unsigned int size, uint64_t value)
{
	struct vmm_access access = {
		.addr = dev->regions[0].guest_paddr + offset,
		.size = size,
		.is_write = write,
		.data = value,
	};

	/* "Stopped" is nothing that a register holds. */
	if (!vmm_device_access(dev, &access))
		return ~1ULL;
	return access.data;
}

uint32_t vmm_get(struct vmm_device *dev, unsigned int offset)
{
	return vmm_access_register(dev, false, offset, 4, 0);
}

void vmm_put(struct vmm_device *dev, unsigned int offset, uint32_t value)
{
	vmm_access_register(dev, true, offset, 4, value);
}

pid_t vmm_pid_of(struct vmm_device *dev)
{
	pid_t pid;

	pthread_mutex_lock(&dev->lock);
	pid = dev->pid;
	pthread_mutex_unlock(&dev->lock);
	return pid;
}

bool vmm_has_failed(struct vmm_device *dev)
{
	bool failed;

	pthread_mutex_lock(&dev->lock);
	failed = dev->has_failed;
	pthread_mutex_unlock(&dev->lock);
	return failed;
}

bool vmm_kill_one(struct vmm_device *dev)
{
	pid_t pid = vmm_pid_of(dev);
	unsigned int i;

	/* 0 while it is being started */
	if (pid > 0)
		kill(pid, SIGKILL);
	for (i = 0; i < WAIT_MS; i++) {
		if (vmm_has_failed(dev) || (vmm_pid_of(dev) > 0 && vmm_pid_of(dev) != pid))
			return true;
		usleep(1000);
	}
	return false;
}

bool vmm_wait_failed(struct vmm_device *dev)
{
	unsigned int i;

	for (i = 0; i < WAIT_MS && !vmm_has_failed(dev); i++)
		usleep(1000);
	return vmm_has_failed(dev);
}

int vmm_connect(const char *path)
{
	const struct timeval timeout = { .tv_sec = WAIT_MS / 1000 };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		abort();
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	return fd;
}

const char *vmm_receive(int fd)
{
	static char text[CONTROL_MAX_MESSAGE + 1];
	ssize_t n = recv(fd, text, CONTROL_MAX_MESSAGE, 0);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

const char *vmm_ask(const char *path, const char *words, size_t size)
{
	int fd = vmm_connect(path);
	const char *text;

	send(fd, words, size, 0);
	text = vmm_receive(fd);
	close(fd);
	return text;
}

const char *vmm_upgrade(const char *path, const char *name, const char *program)
{
	char words[PATH_MAX + 32];
	int n = snprintf(words, sizeof(words), "upgrade%c%s%c%s", 0, name, 0, program);

	return vmm_ask(path, words, n + 1);
}
