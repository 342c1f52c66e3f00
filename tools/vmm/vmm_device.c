// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_device.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <ioregionfd.h>
#include "run.h"

#define NR_POSTED	64
#define WAIT_US		100000	/* then look whether the VMM ends */
/*
 * Users that nobody else has, as far as one can know: a number for each device of each
 * VMM, so that a device process has no power over another one.
 */
#define FIRST_USER	0x40000000

/* What outlives a process */

static int try_add_regions(struct vmm_device *dev)
{
	struct kvm_ioregionfd region;
	unsigned int i;
	int ret;

	for (i = 0; i < dev->nr_regions; i++) {
		region = dev->regions[i];
		region.read_fd = dev->channel;
		region.write_fd = dev->channel;
		if (dev->writes_count && dev->dispatch == VMM_DISPATCH_SOCKET)
			region.flags &= ~KVM_IOREGION_POSTED_WRITES;
		ret = ioregionfd_add_region(dev->vm_fd, &region);
		if (ret)
			break;
	}
	if (i == dev->nr_regions)
		return 0;
	while (i--)
		ioregionfd_remove_region(dev->vm_fd, &dev->regions[i]);
	return ret;
}

static void add_regions(struct vmm_device *dev)
{
	int ret;

	if (dev->absent)
		return;
	ret = try_add_regions(dev);
	if (ret)
		errx(EXIT_FAILURE, "KVM_SET_IOREGIONFD: %s", strerror(-ret));
}

static void drop_regions(struct vmm_device *dev)
{
	unsigned int i;
	int ret;

	for (i = 0; i < dev->nr_regions; i++) {
		ret = ioregionfd_remove_region(dev->vm_fd, &dev->regions[i]);
		if (ret)
			warnx("KVM_SET_IOREGIONFD (deassign): %s", strerror(-ret));
	}
}

/* From now on the guest's accesses exit to the VMM, and vCPUs that wait do, too. */
static void remove_regions(struct vmm_device *dev)
{
	if (dev->detached)
		return;
	dev->detached = true;
	if (!dev->absent)
		drop_regions(dev);
}

static int create_channel(const struct vmm_device *dev, const struct vm *vm)
{
	struct kvm_create_ioregionfd args = {
		.nr_mailboxes = vm->nr_vcpus, .nr_posted = NR_POSTED,
	};
	int fd;

	/* Sockets are made for each process; this only takes the number. */
	if (dev->dispatch != VMM_DISPATCH_IOREGIONFD) {
		fd = eventfd(0, EFD_CLOEXEC);
		if (fd < 0)
			err(EXIT_FAILURE, "eventfd");
		return fd;
	}
	fd = ioregionfd_create(vm->fd, &args);
	if (fd < 0)
		errx(EXIT_FAILURE, "KVM_CREATE_IOREGIONFD: %s", strerror(-fd));
	return fd;
}

static void create_state(struct vmm_device *dev)
{
	dev->state_fd = device_create_memory(dev->name, sizeof(*dev->state));
	if (dev->state_fd < 0)
		errx(EXIT_FAILURE, "cannot make the state of %s: %s", dev->name,
		     strerror(-dev->state_fd));
	dev->state = mmap(NULL, sizeof(*dev->state), PROT_READ | PROT_WRITE, MAP_SHARED,
			  dev->state_fd, 0);
	if (dev->state == MAP_FAILED)
		err(EXIT_FAILURE, "cannot map the state of %s", dev->name);
}

static int create_eventfd(void)
{
	/* Nobody shall wait for KVM to take an interrupt. */
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		err(EXIT_FAILURE, "eventfd");
	return fd;
}

static void create_interrupts(struct vmm_device *dev)
{
	struct kvm_irqfd irqfd = { .gsi = dev->gsi };
	unsigned int i;

	dev->irq_fd = create_eventfd();
	for (i = 0; i < dev->args.nr_more_irqs; i++)
		dev->more_irq_fds[i] = create_eventfd();
	/* Messages go where the guest says. */
	if (dev->is_pci)
		return;
	irqfd.fd = dev->irq_fd;
	if (ioctl(dev->vm_fd, KVM_IRQFD, &irqfd))
		err(EXIT_FAILURE, "KVM_IRQFD");
}

void vmm_device_create(struct vmm_device *dev, const struct vm *vm, enum vmm_dispatch dispatch)
{
	pthread_condattr_t attr;

	dev->dispatch = dispatch;
	dev->detached = dispatch == VMM_DISPATCH_FORWARD;
	dev->absent = dev->is_pci;
	if (!dev->detached && ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_IOREGIONFD) <= 0)
		errx(EXIT_FAILURE,
		     "this kvm.ko has no KVM_CAP_IOREGIONFD; load one that does, or use --dispatch=forward");
	dev->vm_fd = vm->fd;
	dev->memory_fd = vm->ram_fd;
	dev->args.version = DEVICE_STATE_VERSION;
	dev->args.id = FIRST_USER + getpid() * MAX_DEVICES + dev->number;
	dev->args.nr_regions = 1;
	dev->args.regions[0] = (struct memory_region) { .size = vm->ram_size };
	create_state(dev);
	create_interrupts(dev);
	dev->channel = create_channel(dev, vm);
	if (dispatch == VMM_DISPATCH_IOREGIONFD)
		add_regions(dev);

	pthread_mutex_init(&dev->access_lock, NULL);
	pthread_mutex_init(&dev->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&dev->changed, &attr);
	pthread_condattr_destroy(&attr);
	dev->pidfd = -1;
	dev->request_fd = -1;
}

/* Life and death */

/* A signal that ends a wait may come just before the wait begins. */
static void limit_waits(int sock)
{
	const struct timeval limit = { .tv_usec = WAIT_US };

	if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)))
		err(EXIT_FAILURE, "setsockopt");
}

/* Returns the process's end of the channel, or a negative errno value. */
static int connect_channel(struct vmm_device *dev)
{
	int fds[2], ret;

	if (dev->dispatch == VMM_DISPATCH_IOREGIONFD)
		return dev->channel;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return -errno;
	/*
	 * Not between a command and its response: whoever has sent it to the old process would
	 * wait for the new one. It does not wait long, as the old one's end is closed.
	 */
	pthread_mutex_lock(&dev->access_lock);
	ret = dup3(fds[0], dev->channel, O_CLOEXEC) < 0 ? -errno : 0;
	pthread_mutex_unlock(&dev->access_lock);
	close(fds[0]);
	if (ret) {
		close(fds[1]);
		return ret;
	}
	if (dev->detached)
		limit_waits(dev->channel);
	else
		add_regions(dev);
	return fds[1];
}

/*
 * Returns what the process has as its DEVICE_BACKEND_FD, or a negative errno value. A socket
 * is a new one for each process, so that none gets the response to another one's request.
 */
static int connect_backend(struct vmm_device *dev)
{
	int fds[2];

	if (!dev->vhost)
		return dev->backend_fd;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return -errno;
	dev->request_fd = fds[0];
	return fds[1];
}

static void disconnect_backend(struct vmm_device *dev)
{
	if (dev->request_fd >= 0)
		close(dev->request_fd);
	dev->request_fd = -1;
}

int vmm_device_spawn(struct vmm_device *dev)
{
	int fds[DEVICE_MAX_FDS], theirs, backend, pidfd, ret = 0;
	pid_t pid;

	pthread_mutex_lock(&dev->lock);
	theirs = connect_channel(dev);
	if (theirs < 0) {
		ret = theirs;
		goto unlock;
	}
	backend = connect_backend(dev);
	if (backend < 0) {
		ret = backend;
		goto close_theirs;
	}
	fds[DEVICE_LOG_FD] = STDERR_FILENO;
	fds[DEVICE_CHANNEL_FD] = theirs;
	fds[DEVICE_STATE_FD] = dev->state_fd;
	fds[DEVICE_MEMORY_FD] = dev->memory_fd;
	fds[DEVICE_IRQ_FD] = dev->irq_fd;
	fds[DEVICE_BACKEND_FD] = backend;
	memcpy(fds + DEVICE_NR_FDS, dev->more_irq_fds, sizeof(dev->more_irq_fds));
	pid = device_spawn(dev->program, fds, dev->state, &dev->args);
	if (backend != dev->backend_fd)
		close(backend);
	if (pid < 0) {
		ret = pid;
		goto disconnect;
	}
	pidfd = pidfd_open(pid, 0);
	if (pidfd < 0) {
		/* Nobody would learn of its death. */
		ret = -errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		goto disconnect;
	}
	dev->pid = pid;
	dev->pidfd = pidfd;
	dev->generation++;
	pthread_cond_broadcast(&dev->changed);
	goto close_theirs;

disconnect:
	disconnect_backend(dev);
close_theirs:
	/* While we had it open nobody would notice that the process has died. */
	if (theirs != dev->channel)
		close(theirs);
unlock:
	pthread_mutex_unlock(&dev->lock);
	return ret;
}

int vmm_device_reap(struct vmm_device *dev)
{
	int status = 0;

	pthread_mutex_lock(&dev->lock);
	while (waitpid(dev->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(dev->pidfd);
	dev->pidfd = -1;
	disconnect_backend(dev);
	dev->pid = 0;
	/* What is in the socket is lost, and what comes is for the VMM to send. */
	if (dev->dispatch == VMM_DISPATCH_SOCKET)
		remove_regions(dev);
	pthread_mutex_unlock(&dev->lock);
	return status;
}

static void kill_locked(struct vmm_device *dev)
{
	if (dev->pidfd >= 0 && pidfd_send_signal(dev->pidfd, SIGKILL, NULL, 0))
		warn("cannot kill the process of %s", dev->name);
}

void vmm_device_kill(struct vmm_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	kill_locked(dev);
	pthread_mutex_unlock(&dev->lock);
}

int vmm_device_move(struct vmm_device *dev, uint64_t addr)
{
	unsigned int i;
	int ret = 0;

	pthread_mutex_lock(&dev->lock);
	if (!dev->absent && !dev->detached)
		drop_regions(dev);
	for (i = 0; i < dev->nr_regions; i++)
		dev->regions[i].guest_paddr = addr + dev->regions[i].user_data;
	dev->absent = !addr;
	/* Nothing to add to before the first process with a socket of its own. */
	if (!dev->absent && !dev->detached)
		ret = try_add_regions(dev);
	if (ret)
		dev->absent = true;
	pthread_mutex_unlock(&dev->lock);
	return ret;
}

void vmm_device_fail(struct vmm_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	dev->has_failed = true;
	/* After has_failed: the accesses that come to the VMM find it set. */
	remove_regions(dev);
	dev->ops->failed(dev);
	pthread_cond_broadcast(&dev->changed);
	pthread_mutex_unlock(&dev->lock);
}

/* Accesses that come to the VMM */

enum outcome { DONE, GONE, STOPPED };

static enum outcome exchange(int sock, const struct ioregionfd_cmd *cmd,
			     struct ioregionfd_resp *resp)
{
	ssize_t n;

	while (send(sock, cmd, sizeof(*cmd), MSG_NOSIGNAL) < 0) {
		if (errno != EINTR && errno != EAGAIN)
			return GONE;
		if (run_stop_requested())
			return STOPPED;
	}
	for (;;) {
		n = recv(sock, resp, sizeof(*resp), 0);
		if (n == sizeof(*resp))
			return DONE;
		/* End of file, an error, or no response: it does not keep to the protocol. */
		if (n >= 0 || (errno != EINTR && errno != EAGAIN))
			return GONE;
		if (run_stop_requested())
			return STOPPED;
	}
}

/* A copy, as the region may move. */
static bool find_region(struct vmm_device *dev, const struct vmm_access *access,
			struct kvm_ioregionfd *region)
{
	bool found = false;
	unsigned int i;

	pthread_mutex_lock(&dev->lock);
	for (i = 0; i < dev->nr_regions && !found && !dev->absent; i++) {
		*region = dev->regions[i];
		found = access->addr >= region->guest_paddr &&
			access->addr + access->size <= region->guest_paddr + region->memory_size;
	}
	pthread_mutex_unlock(&dev->lock);
	return found;
}

/* Until there is another process than @generation, or none any more; not long. */
static void wait_for_change(struct vmm_device *dev, unsigned int generation)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += WAIT_US * 1000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&dev->lock);
	/* Of no more use, whatever has become of it. */
	if (dev->generation == generation)
		kill_locked(dev);
	while (dev->generation == generation && !dev->has_failed && !run_stop_requested() &&
	       !pthread_cond_timedwait(&dev->changed, &dev->lock, &until))
		;
	pthread_mutex_unlock(&dev->lock);
}

/* Returns true if the device has failed, and then the access has been carried out. */
static bool access_failed(struct vmm_device *dev, const struct kvm_ioregionfd *region,
			  struct vmm_access *access, unsigned int *generation)
{
	bool failed;

	pthread_mutex_lock(&dev->lock);
	*generation = dev->generation;
	failed = dev->has_failed;
	if (failed)
		dev->ops->access(dev, region->user_data, access->addr - region->guest_paddr,
				 access);
	pthread_mutex_unlock(&dev->lock);
	return failed;
}

static bool forward(struct vmm_device *dev, const struct kvm_ioregionfd *region,
		    struct vmm_access *access)
{
	struct ioregionfd_cmd cmd = {
		.cmd = access->is_write ? IOREGIONFD_CMD_WRITE : IOREGIONFD_CMD_READ,
		.flags = __builtin_ctz(access->size) | IOREGIONFD_CMD_F_RESP,
		.user_data = region->user_data,
		.offset = access->addr - region->guest_paddr,
		.data = access->is_write ? access->data : 0,
	};
	struct ioregionfd_resp resp;
	unsigned int generation;
	enum outcome outcome;

	for (;;) {
		if (access_failed(dev, region, access, &generation))
			return true;
		if (access->redelivered)
			cmd.flags |= IOREGIONFD_CMD_F_REDELIVERED;
		pthread_mutex_lock(&dev->access_lock);
		outcome = exchange(dev->channel, &cmd, &resp);
		pthread_mutex_unlock(&dev->access_lock);
		switch (outcome) {
		case DONE:
			if (resp.status == IOREGIONFD_STATUS_DONE)
				access->data = resp.data;
			return true;
		case STOPPED:
			return false;
		case GONE:
			access->redelivered = true;
			wait_for_change(dev, generation);
			if (run_stop_requested())
				return false;
			break;
		}
	}
}

bool vmm_device_access(struct vmm_device *dev, struct vmm_access *access)
{
	struct kvm_ioregionfd region;
	uint64_t value = access->data;
	bool detached;

	/* Ready for what has no register. */
	if (!access->is_write)
		access->data = ~0ULL;
	/* A part of a wider access, such as 3 bytes: drivers have none. */
	if (!find_region(dev, access, &region) || access->size & (access->size - 1))
		return true;
	pthread_mutex_lock(&dev->lock);
	detached = dev->detached;
	pthread_mutex_unlock(&dev->lock);
	/* The process has said that the access is not for it. */
	if (!detached)
		return true;
	access->data = access->is_write ? value : ~0ULL;
	return forward(dev, &region, access);
}

bool vmm_device_failure(struct vmm_device *dev, struct kvm_ioregionfd_exit *failure)
{
	struct vmm_access access = {
		.addr = failure->guest_paddr,
		.size = failure->size,
		.is_write = failure->is_write,
		.redelivered = failure->progress == KVM_IOREGIONFD_SENT_ALL,
		.data = failure->data,
	};

	pthread_mutex_lock(&dev->lock);
	/* The process is dead, or does not keep to the protocol. */
	if (dev->dispatch == VMM_DISPATCH_SOCKET && !dev->detached) {
		remove_regions(dev);
		kill_locked(dev);
	}
	pthread_mutex_unlock(&dev->lock);
	if (!vmm_device_access(dev, &access))
		return false;
	failure->data = access.data;
	failure->action = KVM_IOREGIONFD_COMPLETE;
	return true;
}

static bool is_at(struct vmm_device *dev, uint64_t addr)
{
	const struct kvm_ioregionfd *region;
	bool found = false;
	unsigned int i;

	pthread_mutex_lock(&dev->lock);
	for (i = 0; i < dev->nr_regions && !found && !dev->absent; i++) {
		region = &dev->regions[i];
		found = addr >= region->guest_paddr &&
			addr - region->guest_paddr < region->memory_size;
	}
	pthread_mutex_unlock(&dev->lock);
	return found;
}

struct vmm_device *vmm_device_at(struct vmm_device *devs, unsigned int nr, uint64_t addr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (is_at(&devs[i], addr))
			return &devs[i];
	}
	return NULL;
}
