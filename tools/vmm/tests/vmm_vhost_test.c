// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices whose rings are in vhost: their processes, and the VMM, which does what these ask
 * for. The ioctls of KVM, of taps and of vhost are played, and accesses are forwarded to the
 * process. vhost on its part looks whether the ioctls come in an order that the real one would
 * take, and notes what it would do. It can also keep an ioctl waiting, as the real one does
 * while a driver keeps it busy with the ring. Every wait has an end.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <linux/virtio_vsock.h>
#include "../run.h"
#include "../supervise.h"
#include "../util.h"
#include "../vhost.h"
#include "../vmm_vhost.h"
#include "../vmm_virtio.h"
#include "vmm.h"

#include "kselftest_harness.h"

#define MTU		1400
#define CID		1234
#define USED_CID	77
#define NUM		64
#define BLOCK_MS	30000	/* then an ioctl that waits gives up */
/* Where the areas of queue n are */
#define DESC(n)		(0x10000u * ((n) + 1))
#define DRIVER(n)	(DESC(n) + 0x4000)
#define DEVICE(n)	(DESC(n) + 0x8000)

#define DRIVER_BITS	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define FEATURES_OK	(DRIVER_BITS | VIRTIO_CONFIG_S_FEATURES_OK)
#define DRIVER_OK	(FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)
#define NEEDS_RESET	VIRTIO_CONFIG_S_NEEDS_RESET

/* As the kernel offers them: not all are for the driver. */
#define OFFERED		(BIT(VHOST_F_LOG_ALL) | BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | \
			 BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) | \
			 BIT(VIRTIO_F_ANY_LAYOUT) | BIT(VIRTIO_F_VERSION_1) | \
			 BIT(VIRTIO_F_ACCESS_PLATFORM) | BIT(VIRTIO_F_RING_RESET) | \
			 BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER))
#define LAYOUT		(BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER))

struct vq {
	uint32_t num, base;
	struct vhost_vring_addr addr;
	int kick, call, err;
	bool set_num, set_base, set_addr;	/* since it was stopped */
	bool running;
	unsigned int starts;
};

/* What vhost was told */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;		/* when block does */
	int fd, tap;
	bool is_vsock, owned, has_memory;
	uint64_t features;
	struct vhost_memory_region memory;
	struct vq vqs[2];
	uint64_t cid;
	unsigned int kicks;		/* ioeventfds, bit n: for queue n */
	unsigned int calls;
	unsigned long fail;		/* this ioctl, but not to stop a ring */
	unsigned int fail_index;	/* for this queue, if it is of one */
	pid_t kill;			/* when that fails, which it does once then */
	bool fail_stop;
	unsigned long block;		/* this ioctl waits; if it can stop a ring, only then */
	unsigned int nr_waiting;	/* in such an ioctl */
	bool absent;
	uint64_t lacks;			/* of what it offers otherwise */
	unsigned int wrong;
	/* Another one, a vsock that does all it is told to */
	bool next_is_other;		/* is the next to be opened */
	int other_fd, other_runs;
} vhost = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* At which point of their own the first processes die; 0: they do not */
static unsigned int kill_at[3];
static unsigned int nr_spawned;

static bool no_threads;
static bool stop_requested;

bool run_stop_requested(void)
{
	return __atomic_load_n(&stop_requested, __ATOMIC_RELAXED);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg)
{
	return no_threads ? EAGAIN : __real_pthread_create(thread, attr, start, arg);
}

pid_t __real_device_spawn(const char *program, const int *fds, struct device_state *state,
			  const struct device_args *args);

pid_t __wrap_device_spawn(const char *program, const int *fds, struct device_state *state,
			  const struct device_args *args)
{
	struct device_args copy = *args;

	if (nr_spawned < ARRAY_SIZE(kill_at))
		copy.kill_after = kill_at[nr_spawned];
	nr_spawned++;
	return __real_device_spawn(program, fds, state, &copy);
}

int __real_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
	bool is_vsock = !strcmp(path, "/dev/vhost-vsock");
	mode_t mode = 0;
	va_list args;

	if (is_vsock || !strcmp(path, "/dev/vhost-net")) {
		if (vhost.absent) {
			errno = ENOENT;
			return -1;
		}
		if (vhost.next_is_other) {
			vhost.next_is_other = false;
			vhost.other_fd = eventfd(0, EFD_CLOEXEC);
			return vhost.other_fd;
		}
		vhost.is_vsock = is_vsock;
		vhost.fd = eventfd(0, EFD_CLOEXEC);
		return vhost.fd;
	}
	if (!strcmp(path, "/dev/net/tun")) {
		vhost.tap = eventfd(0, EFD_CLOEXEC);
		return vhost.tap;
	}
	if (flags & O_CREAT) {
		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	return __real_open(path, flags, mode);
}

static int refuse(int error)
{
	errno = error;
	return -1;
}

/* The VMM does what it should not. */
static int wrong(const char *what)
{
	fprintf(stderr, "# vhost: %s\n", what);
	vhost.wrong++;
	return refuse(EINVAL);
}

static int start_vq(unsigned int n)
{
	struct vq *vq = &vhost.vqs[n];

	if (vq->running)
		return vhost.is_vsock ? 0 : wrong("a ring that is running is started");
	/* Those of a vsock that were stopped with another one may go on. */
	if (!vq->num || (!vq->starts && !(vq->set_num && vq->set_base && vq->set_addr)))
		return wrong("a ring that is not set up is started");
	if (!vhost.is_vsock && !(vq->set_num && vq->set_base && vq->set_addr))
		return wrong("a ring is started where the last one was");
	vq->set_num = false;
	vq->set_base = false;
	vq->set_addr = false;
	vq->running = true;
	vq->starts++;
	return 0;
}

static int set_backend(const struct vhost_vring_file *file)
{
	if (vhost.is_vsock || file->index > 1)
		return wrong("there is no such ring");
	if (file->fd < 0) {
		if (!vhost.vqs[file->index].running)
			return wrong("a ring that is stopped is stopped");
		vhost.vqs[file->index].running = false;
		return 0;
	}
	return file->fd == vhost.tap ? start_vq(file->index) : wrong("this is not the tap");
}

static int set_running(int run)
{
	if (!vhost.is_vsock)
		return wrong("this is not a vsock");
	if (run)
		return start_vq(0) ?: start_vq(1);
	vhost.vqs[0].running = false;
	vhost.vqs[1].running = false;
	return 0;
}

static int set_features(uint64_t features)
{
	if (features & vhost.lacks ||
	    features & ~OFFERED & ~BIT(VIRTIO_NET_F_MRG_RXBUF) & ~BIT(VIRTIO_VSOCK_F_SEQPACKET))
		return wrong("a feature that is not vhost's");
	if ((vhost.vqs[0].running || vhost.vqs[1].running) && (vhost.features ^ features) & LAYOUT)
		return wrong("the layout of a ring changes while it runs");
	vhost.features = features;
	return 0;
}

static int set_vring(unsigned long request, void *arg)
{
	const struct vhost_vring_state *state = arg;
	const struct vhost_vring_file *file = arg;
	const struct vhost_vring_addr *addr = arg;
	struct vq *vq;

	if (state->index > 1)
		return wrong("there is no such ring");
	vq = &vhost.vqs[state->index];
	switch (request) {
	case VHOST_SET_VRING_KICK:
		vq->kick = file->fd;
		return 0;
	case VHOST_SET_VRING_CALL:
		vq->call = file->fd;
		return 0;
	case VHOST_SET_VRING_ERR:
		vq->err = file->fd;
		return 0;
	}
	if (vq->running)
		return wrong("a ring that is running is changed");
	switch (request) {
	case VHOST_SET_VRING_NUM:
		vq->num = state->num;
		vq->set_num = true;
		break;
	case VHOST_SET_VRING_BASE:
		vq->base = state->num;
		vq->set_base = true;
		break;
	case VHOST_SET_VRING_ADDR:
		vq->addr = *addr;
		vq->set_addr = true;
		break;
	}
	return 0;
}

static bool stops(unsigned long request, const void *arg)
{
	const struct vhost_vring_file *file = arg;

	return (request == VHOST_NET_SET_BACKEND && file->fd < 0) ||
	       (request == VHOST_VSOCK_SET_RUNNING && !*(int *)arg);
}

static bool blocks(unsigned long request, const void *arg)
{
	bool can_stop = request == VHOST_NET_SET_BACKEND || request == VHOST_VSOCK_SET_RUNNING;

	return request == vhost.block && (!can_stop || stops(request, arg));
}

/* As for a worker that is busy with the ring. The lock is released meanwhile. */
static void wait_for_worker(unsigned long request, const void *arg)
{
	struct timespec until;

	if (!blocks(request, arg))
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += BLOCK_MS / 1000;
	vhost.nr_waiting++;
	while (blocks(request, arg)) {
		if (pthread_cond_clockwait(&vhost.changed, &vhost.lock, CLOCK_MONOTONIC,
					   &until) != ETIMEDOUT)
			continue;
		fprintf(stderr, "# vhost: an ioctl has waited for %d ms, and goes on\n", BLOCK_MS);
		vhost.wrong++;
		vhost.block = 0;
	}
	vhost.nr_waiting--;
}

static int other_ioctl(unsigned long request, void *arg)
{
	if (request == VHOST_GET_FEATURES)
		*(uint64_t *)arg = OFFERED;
	if (request == VHOST_VSOCK_SET_RUNNING)
		vhost.other_runs = *(int *)arg;
	return 0;
}

static int vhost_ioctl(unsigned long request, void *arg)
{
	const struct {
		struct vhost_memory memory;
		struct vhost_memory_region region;
	} *table = arg;
	bool of_ring = request != VHOST_SET_FEATURES && request != VHOST_VSOCK_SET_RUNNING;

	wait_for_worker(request, arg);
	vhost.calls++;
	if (request == vhost.fail && (!of_ring || *(unsigned int *)arg == vhost.fail_index) &&
	    !stops(request, arg)) {
		if (vhost.kill) {
			vhost.fail = 0;
			kill(vhost.kill, SIGKILL);
		}
		return refuse(ENOMEM);
	}
	if (vhost.fail_stop && stops(request, arg))
		return refuse(EFAULT);
	switch (request) {
	case VHOST_SET_OWNER:
		vhost.owned = true;
		return 0;
	case VHOST_GET_FEATURES:
		*(uint64_t *)arg = OFFERED | (vhost.is_vsock ? BIT(VIRTIO_VSOCK_F_SEQPACKET) :
					      BIT(VIRTIO_NET_F_MRG_RXBUF));
		*(uint64_t *)arg &= ~vhost.lacks;
		return 0;
	case VHOST_SET_FEATURES:
		return set_features(*(uint64_t *)arg);
	case VHOST_VSOCK_SET_GUEST_CID:
		vhost.cid = *(uint64_t *)arg;
		return vhost.cid == USED_CID ? refuse(EADDRINUSE) : 0;
	}
	if (!vhost.owned)
		return wrong("it has no owner");
	switch (request) {
	case VHOST_SET_MEM_TABLE:
		vhost.has_memory = table->memory.nregions == 1;
		vhost.memory = table->region;
		return 0;
	case VHOST_NET_SET_BACKEND:
		return set_backend(arg);
	case VHOST_VSOCK_SET_RUNNING:
		return set_running(*(int *)arg);
	case VHOST_SET_VRING_NUM:
	case VHOST_SET_VRING_BASE:
	case VHOST_SET_VRING_ADDR:
	case VHOST_SET_VRING_KICK:
	case VHOST_SET_VRING_CALL:
	case VHOST_SET_VRING_ERR:
		return set_vring(request, arg);
	}
	return wrong("an ioctl that is not needed");
}

static int tap_ioctl(unsigned long request, void *arg)
{
	struct ifreq *ifr = arg;

	switch (request) {
	case TUNSETIFF:
		if (ifr->ifr_flags != (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
			return wrong("a tap is opened in another way");
		if (!strcmp(ifr->ifr_name, "eth0"))
			return refuse(EINVAL);
		if (!strcmp(ifr->ifr_name, "tap%d"))
			snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "tap7");
		return 0;
	case TUNSETVNETHDRSZ:
		return *(int *)arg == 12 ? 0 : wrong("another header than virtio has");
	case TUNSETOFFLOAD:
		return arg ? wrong("the guest cannot take such packets") : 0;
	}
	return wrong("an ioctl that a tap does not know");
}

/* There is no KVM behind these descriptors. */
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	const struct kvm_ioeventfd *kick = arg;
	struct ifreq *ifr = arg;
	int ret;

	switch (request) {
	case KVM_IRQFD:
		return 0;
	case KVM_IOEVENTFD:
		if (kick->addr % 0x1000 != VIRTIO_MMIO_QUEUE_NOTIFY || kick->len != 4 ||
		    kick->flags != KVM_IOEVENTFD_FLAG_DATAMATCH)
			return wrong("an ioeventfd for something else than kicks");
		vhost.kicks |= 1 << kick->datamatch;
		return 0;
	case SIOCGIFMTU:
		if (strchr(ifr->ifr_name, '%'))
			return refuse(ENODEV);
		ifr->ifr_mtu = MTU;
		return 0;
	}
	if (fd == vhost.fd || fd == vhost.tap || fd == vhost.other_fd) {
		pthread_mutex_lock(&vhost.lock);
		ret = fd == vhost.fd ? vhost_ioctl(request, arg) :
		      fd == vhost.tap ? tap_ioctl(request, arg) : other_ioctl(request, arg);
		pthread_mutex_unlock(&vhost.lock);
		return ret;
	}
	return syscall(SYS_ioctl, fd, request, arg);
}

/* Which rings are running, bit n: ring n */
static unsigned int running(void)
{
	unsigned int bits;

	pthread_mutex_lock(&vhost.lock);
	bits = vhost.vqs[0].running | vhost.vqs[1].running << 1;
	pthread_mutex_unlock(&vhost.lock);
	return bits;
}

/* The VMM has closed it, and the tap if there is one. */
static bool ended(void)
{
	return fcntl(vhost.fd, F_GETFD) < 0 && fcntl(vhost.tap, F_GETFD) < 0;
}

static int does_other_run(void)
{
	int runs;

	pthread_mutex_lock(&vhost.lock);
	runs = vhost.other_runs;
	pthread_mutex_unlock(&vhost.lock);
	return runs;
}

static unsigned int calls(void)
{
	unsigned int n;

	pthread_mutex_lock(&vhost.lock);
	n = vhost.calls;
	pthread_mutex_unlock(&vhost.lock);
	return n;
}

static void set_failure(unsigned long request, unsigned int index)
{
	pthread_mutex_lock(&vhost.lock);
	vhost.fail = request;
	vhost.fail_index = index;
	pthread_mutex_unlock(&vhost.lock);
}

/* From now on this ioctl waits, or if it is 0, none does any more. */
static void block(unsigned long request)
{
	pthread_mutex_lock(&vhost.lock);
	vhost.block = request;
	pthread_cond_broadcast(&vhost.changed);
	pthread_mutex_unlock(&vhost.lock);
}

static bool is_waiting(void)
{
	bool waiting;

	pthread_mutex_lock(&vhost.lock);
	waiting = vhost.nr_waiting;
	pthread_mutex_unlock(&vhost.lock);
	return waiting;
}

#define STATUS(vmm)	vmm_ask((vmm)->socket, "status", sizeof("status"))

struct vmm {
	struct vm vm;
	union {
		struct vmm_device dev;
		struct vmm_device devs[2];
	};
	unsigned int nr_devs;
	struct supervisor *supervisor;
	char program[PATH_MAX];
	char dir[32], socket[64];	/* of the control socket, or "" */
	uint64_t features;		/* that the driver wants */
	unsigned int nr_queues;
};

static void create(struct vmm *vmm, bool is_vsock, uint64_t layout, const char *suffix)
{
	struct vmm_device *dev = &vmm->dev;
	char name[32];

	memset(vmm, 0, sizeof(*vmm));
	memset(&vhost.fd, 0, sizeof(vhost) - offsetof(typeof(vhost), fd));
	vhost.fd = -1;
	vhost.tap = -1;
	vhost.other_fd = -1;
	stop_requested = false;
	memset(kill_at, 0, sizeof(kill_at));
	nr_spawned = 0;
	vmm->vm.fd = -1;
	vmm->vm.nr_vcpus = 1;
	vmm->vm.ram_size = MEMORY_SIZE;
	vmm->vm.ram_fd = device_create_memory("guest", MEMORY_SIZE);
	vmm->vm.ram = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   vmm->vm.ram_fd, 0);
	if (vmm->vm.ram == MAP_FAILED)
		abort();
	vmm->features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) | layout;
	vmm->nr_queues = is_vsock ? 3 : 2;
	vmm->nr_devs = 1;

	snprintf(name, sizeof(name), "virtio-%s%s", is_vsock ? "vsock" : "net", suffix);
	vmm_name_beside(vmm->program, name);
	dev->program = vmm->program;
	snprintf(dev->name, sizeof(dev->name), is_vsock ? "vsock0" : "net0");
	vmm_virtio_init(dev, 0, is_vsock ? VIRTIO_ID_VSOCK : VIRTIO_ID_NET);
	dev->args.features = vmm_virtio_default_features | layout;
	if (is_vsock)
		vmm_vsock_open(dev, CID);
	else
		vmm_net_open(dev, "tap0,52:54:00:12:34:56");
	vmm_device_create(dev, &vmm->vm, VMM_DISPATCH_FORWARD);
	vmm_vhost_create(dev, &vmm->vm);
}

static void begin(struct vmm *vmm, unsigned int deaths)
{
	vmm->supervisor = supervise(vmm->devs, vmm->nr_devs, (struct crash_limit) { deaths, 60 },
				    vmm->socket[0] ? vmm->socket : NULL);
}

static void end(struct vmm *vmm)
{
	unsigned int i;

	if (vmm->supervisor)
		supervise_stop(vmm->supervisor);
	/* Those of which there was no supervisor, or which it has left alone */
	for (i = 0; i < vmm->nr_devs; i++)
		vmm_vhost_stop(&vmm->devs[i], now_ms() + WAIT_MS);
}

/* A VMM ends with its process, so it does not close these. Here there are hundreds. */
static void destroy(struct vmm *vmm)
{
	struct vmm_device *dev = &vmm->dev;
	unsigned int i;

	end(vmm);
	munmap(vmm->vm.ram, MEMORY_SIZE);
	close(vmm->vm.ram_fd);
	munmap(dev->state, sizeof(*dev->state));
	close(dev->state_fd);
	close(dev->channel);
	close(dev->irq_fd);
	for (i = 0; i < dev->args.nr_more_irqs; i++)
		close(dev->more_irq_fds[i]);
	for (i = 0; i < ARRAY_SIZE(vhost.vqs); i++)
		close(vhost.vqs[i].kick);
	if (!ended()) {
		close(vhost.fd);
		close(vhost.tap);
	}
}

static void set_address(struct vmm_device *dev, unsigned int low, uint64_t addr)
{
	vmm_put(dev, low, addr);
	vmm_put(dev, low + 4, addr >> 32);
}

static void set_queue(struct vmm_device *dev, unsigned int n, uint64_t desc)
{
	vmm_put(dev, VIRTIO_MMIO_QUEUE_SEL, n);
	vmm_put(dev, VIRTIO_MMIO_QUEUE_NUM, NUM);
	set_address(dev, VIRTIO_MMIO_QUEUE_DESC_LOW, desc);
	set_address(dev, VIRTIO_MMIO_QUEUE_AVAIL_LOW, DRIVER(n));
	set_address(dev, VIRTIO_MMIO_QUEUE_USED_LOW, DEVICE(n));
	vmm_put(dev, VIRTIO_MMIO_QUEUE_READY, 1);
}

/* As a driver does it, to FEATURES_OK */
static void agree_on(struct vmm_device *dev, uint64_t features)
{
	vmm_put(dev, VIRTIO_MMIO_STATUS, 0);
	vmm_put(dev, VIRTIO_MMIO_STATUS, DRIVER_BITS);
	vmm_put(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	vmm_put(dev, VIRTIO_MMIO_DRIVER_FEATURES, features);
	vmm_put(dev, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	vmm_put(dev, VIRTIO_MMIO_DRIVER_FEATURES, features >> 32);
	vmm_put(dev, VIRTIO_MMIO_STATUS, FEATURES_OK);
}

static void agree(struct vmm *vmm)
{
	agree_on(&vmm->dev, vmm->features);
}

/* And to DRIVER_OK */
static void drive_device(struct vmm_device *dev, uint64_t features, unsigned int nr_queues)
{
	unsigned int n;

	agree_on(dev, features);
	for (n = 0; n < nr_queues; n++)
		set_queue(dev, n, DESC(n));
	vmm_put(dev, VIRTIO_MMIO_STATUS, DRIVER_OK);
}

static void drive(struct vmm *vmm)
{
	drive_device(&vmm->dev, vmm->features, vmm->nr_queues);
}

static uint32_t status(struct vmm *vmm)
{
	return vmm_get(&vmm->dev, VIRTIO_MMIO_STATUS);
}

static bool wait_status(struct vmm *vmm, uint32_t wanted)
{
	unsigned int i;

	for (i = 0; i < WAIT_MS && status(vmm) != wanted; i++)
		usleep(1000);
	if (status(vmm) != wanted)
		fprintf(stderr, "# the status is %#x\n", status(vmm));
	return status(vmm) == wanted;
}

static void signal_error(struct vmm *vmm)
{
	uint64_t one = 1;

	if (write(vmm->dev.more_irq_fds[0], &one, sizeof(one)) != sizeof(one))
		abort();
}

/* What the VMM and its processes say from capture_log() to read_log() */
static int log_fd, saved_stderr;

static void capture_log(void)
{
	log_fd = memfd_create("log", MFD_CLOEXEC);
	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	if (log_fd < 0 || saved_stderr < 0 || dup2(log_fd, STDERR_FILENO) < 0)
		abort();
}

static const char *read_log(void)
{
	static char text[8192];
	ssize_t n = pread(log_fd, text, sizeof(text) - 1, 0);

	if (n < 0 || dup2(saved_stderr, STDERR_FILENO) < 0)
		abort();
	text[n] = '\0';
	close(log_fd);
	close(saved_stderr);
	return text;
}

static unsigned int count(const char *text, const char *what)
{
	unsigned int n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

static bool interrupted(struct vmm *vmm)
{
	uint64_t count;

	return read(vmm->dev.irq_fd, &count, sizeof(count)) > 0;
}

FIXTURE(vhost) {
	struct vmm vmm;
};

FIXTURE_VARIANT(vhost) {
	bool is_vsock;
	uint64_t layout;
};

FIXTURE_VARIANT_ADD(vhost, net) { false, 0 };
FIXTURE_VARIANT_ADD(vhost, net_packed) { false, BIT(VIRTIO_F_RING_PACKED) };
FIXTURE_VARIANT_ADD(vhost, net_in_order) { false, BIT(VIRTIO_F_IN_ORDER) };
FIXTURE_VARIANT_ADD(vhost, vsock) { true, 0 };
FIXTURE_VARIANT_ADD(vhost, vsock_packed_in_order) { true, LAYOUT };

FIXTURE_SETUP(vhost)
{
	create(&self->vmm, variant->is_vsock, variant->layout, "");
}

FIXTURE_TEARDOWN(vhost)
{
	destroy(&self->vmm);
	EXPECT_EQ(0, vhost.wrong);
}

static uint64_t read_features(struct vmm_device *dev)
{
	uint64_t features;

	vmm_put(dev, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	features = (uint64_t)vmm_get(dev, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	vmm_put(dev, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	return features | vmm_get(dev, VIRTIO_MMIO_DEVICE_FEATURES);
}

/* What concerns the driver of what vhost offers, and what the device itself can do */
TEST_F_TIMEOUT(vhost, features, LIMIT_S)
{
	uint64_t wanted = BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) |
			  BIT(VIRTIO_F_VERSION_1) | variant->layout;

	if (variant->is_vsock)
		wanted |= BIT(VIRTIO_VSOCK_F_SEQPACKET);
	else
		wanted |= BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_MAC) |
			  BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_MTU) |
			  BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) |
			  BIT(VIRTIO_NET_F_HOST_TSO6);
	begin(&self->vmm, 1);
	EXPECT_EQ(wanted, read_features(&self->vmm.dev));
	/* vhost knows nothing of those that are the device's. */
	self->vmm.features = wanted;
	drive(&self->vmm);
	EXPECT_EQ(DRIVER_OK, status(&self->vmm));
	EXPECT_EQ(vhost.features, variant->is_vsock ? wanted :
		  (wanted & OFFERED) | BIT(VIRTIO_NET_F_MRG_RXBUF));
}

/* A layout that is not asked for is not offered. */
TEST_F_TIMEOUT(vhost, layout_not_offered, LIMIT_S)
{
	begin(&self->vmm, 1);
	self->vmm.features |= LAYOUT;
	agree(&self->vmm);
	EXPECT_EQ(variant->layout == LAYOUT ? FEATURES_OK : DRIVER_BITS, status(&self->vmm));
}

TEST_F_TIMEOUT(vhost, config, LIMIT_S)
{
	static const uint8_t mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
	struct vmm_device *dev = &self->vmm.dev;
	unsigned int i;

	begin(&self->vmm, 1);
	EXPECT_EQ(variant->is_vsock ? VIRTIO_ID_VSOCK : VIRTIO_ID_NET,
		  vmm_get(dev, VIRTIO_MMIO_DEVICE_ID));
	for (i = 0; i < 4; i++) {
		vmm_put(dev, VIRTIO_MMIO_QUEUE_SEL, i);
		EXPECT_EQ(i < self->vmm.nr_queues ? VIRTQUEUE_MAX_SIZE : 0,
			  vmm_get(dev, VIRTIO_MMIO_QUEUE_NUM_MAX));
	}
	if (variant->is_vsock) {
		EXPECT_EQ(CID, vmm_get(dev, VIRTIO_MMIO_CONFIG));
		EXPECT_EQ(0, vmm_get(dev, VIRTIO_MMIO_CONFIG + 4));
		EXPECT_EQ(CID, vhost.cid);
		return;
	}
	for (i = 0; i < 6; i++)
		EXPECT_EQ(mac[i], vmm_access_register(dev, false, VIRTIO_MMIO_CONFIG + i, 1, 0));
	EXPECT_EQ(VIRTIO_NET_S_LINK_UP,
		  vmm_access_register(dev, false, VIRTIO_MMIO_CONFIG + 6, 2, 0));
	EXPECT_EQ(MTU, vmm_access_register(dev, false, VIRTIO_MMIO_CONFIG + 10, 2, 0));
}

static void expect_ring(struct __test_metadata *_metadata, struct vmm *vmm, unsigned int n,
			uint64_t layout)
{
	struct vq *vq = &vhost.vqs[n];
	uint64_t ram = (uintptr_t)vmm->vm.ram;

	EXPECT_TRUE(vq->running);
	EXPECT_EQ(NUM, vq->num);
	EXPECT_EQ(layout & BIT(VIRTIO_F_RING_PACKED) ? 0x80008000 : 0, vq->base);
	EXPECT_EQ(ram + DESC(n), vq->addr.desc_user_addr);
	EXPECT_EQ(ram + DRIVER(n), vq->addr.avail_user_addr);
	EXPECT_EQ(ram + DEVICE(n), vq->addr.used_user_addr);
	EXPECT_EQ(0, vq->addr.flags);
}

/* Not before DRIVER_OK, and by then at once */
TEST_F_TIMEOUT(vhost, start, LIMIT_S)
{
	struct vmm *vmm = &self->vmm;
	unsigned int n;

	EXPECT_TRUE(vhost.has_memory);
	EXPECT_EQ(0, vhost.memory.guest_phys_addr);
	EXPECT_EQ(MEMORY_SIZE, vhost.memory.memory_size);
	EXPECT_EQ((uintptr_t)vmm->vm.ram, vhost.memory.userspace_addr);
	EXPECT_EQ(3, vhost.kicks);
	for (n = 0; n < 2; n++) {
		EXPECT_EQ(vmm->dev.irq_fd, vhost.vqs[n].call);
		EXPECT_EQ(vmm->dev.more_irq_fds[0], vhost.vqs[n].err);
		EXPECT_LE(0, vhost.vqs[n].kick);
	}
	EXPECT_NE(vhost.vqs[0].kick, vhost.vqs[1].kick);

	begin(vmm, 1);
	agree(vmm);
	for (n = 0; n < vmm->nr_queues; n++)
		set_queue(&vmm->dev, n, DESC(n));
	EXPECT_EQ(0, running());
	vmm_put(&vmm->dev, VIRTIO_MMIO_STATUS, DRIVER_OK);
	EXPECT_EQ(3, running());
	EXPECT_EQ(DRIVER_OK, status(vmm));
	for (n = 0; n < 2; n++)
		expect_ring(_metadata, vmm, n, variant->layout);
}

/* Nothing uses the rings any more when the driver has its response, and they begin anew. */
TEST_F_TIMEOUT(vhost, reset, LIMIT_S)
{
	struct vmm *vmm = &self->vmm;
	unsigned int i, n;

	begin(vmm, 1);
	for (i = 1; i < 4; i++) {
		drive(vmm);
		EXPECT_EQ(3, running());
		for (n = 0; n < 2; n++) {
			expect_ring(_metadata, vmm, n, variant->layout);
			EXPECT_EQ(i, vhost.vqs[n].starts);
		}
		vmm_put(&vmm->dev, VIRTIO_MMIO_STATUS, 0);
		EXPECT_EQ(0, running());
		EXPECT_EQ(0, status(vmm));
	}
	/* With other features */
	vmm->features &= ~LAYOUT;
	drive(vmm);
	expect_ring(_metadata, vmm, 0, 0);
	EXPECT_EQ(0, vhost.features & LAYOUT);
}

/* One queue alone is stopped, and is started again at the beginning. */
TEST_F_TIMEOUT(vhost, one_queue, LIMIT_S)
{
	struct vmm_device *dev = &self->vmm.dev;
	unsigned int n;

	begin(&self->vmm, 1);
	drive(&self->vmm);
	for (n = 0; n < 2; n++) {
		vmm_put(dev, VIRTIO_MMIO_QUEUE_SEL, n);
		vmm_put(dev, VIRTIO_MMIO_QUEUE_READY, 0);
		/* vhost-vsock runs both or none. */
		EXPECT_EQ(variant->is_vsock ? 0 : 3 & ~BIT(n), running());
		EXPECT_EQ(0, vmm_get(dev, VIRTIO_MMIO_QUEUE_READY));
		vhost.vqs[n].base = 99;
		vhost.vqs[!n].base = 99;
		set_queue(dev, n, DESC(n));
		EXPECT_EQ(3, running());
		expect_ring(_metadata, &self->vmm, n, variant->layout);
		/* The other one goes on where it was. */
		EXPECT_EQ(99, vhost.vqs[!n].base);
	}
	/* That of a vsock's events is none of vhost's. */
	n = calls();
	vmm_put(dev, VIRTIO_MMIO_QUEUE_SEL, 2);
	vmm_put(dev, VIRTIO_MMIO_QUEUE_READY, 0);
	vmm_put(dev, VIRTIO_MMIO_QUEUE_NOTIFY, 2);
	EXPECT_EQ(n, calls());
	EXPECT_EQ(DRIVER_OK, status(&self->vmm));
}

/* The rings do not notice that a process dies. */
TEST_F_TIMEOUT(vhost, deaths, LIMIT_S)
{
	unsigned int i, before;

	begin(&self->vmm, 100);
	drive(&self->vmm);
	before = calls();
	for (i = 0; i < 20; i++) {
		ASSERT_TRUE(vmm_kill_one(&self->vmm.dev));
		ASSERT_EQ(DRIVER_OK, status(&self->vmm));
	}
	EXPECT_EQ(before, calls());
	EXPECT_EQ(3, running());
	vmm_put(&self->vmm.dev, VIRTIO_MMIO_STATUS, 0);
	EXPECT_EQ(0, running());
	ASSERT_TRUE(vmm_kill_one(&self->vmm.dev));
	drive(&self->vmm);
	EXPECT_EQ(3, running());
}

/*
 * vhost interrupts the driver without the process, and the driver asks what for. It may be a
 * used buffer at any time.
 */
TEST_F_TIMEOUT(vhost, interrupt_status, LIMIT_S)
{
	struct vmm_device *dev = &self->vmm.dev;

	begin(&self->vmm, 100);
	EXPECT_EQ(0, vmm_get(dev, VIRTIO_MMIO_INTERRUPT_STATUS));
	agree(&self->vmm);
	EXPECT_EQ(0, vmm_get(dev, VIRTIO_MMIO_INTERRUPT_STATUS));
	drive(&self->vmm);
	EXPECT_FALSE(interrupted(&self->vmm));
	EXPECT_EQ(VIRTIO_MMIO_INT_VRING, vmm_get(dev, VIRTIO_MMIO_INTERRUPT_STATUS));
	vmm_put(dev, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	EXPECT_EQ(VIRTIO_MMIO_INT_VRING, vmm_get(dev, VIRTIO_MMIO_INTERRUPT_STATUS));
	ASSERT_TRUE(vmm_kill_one(dev));
	EXPECT_EQ(VIRTIO_MMIO_INT_VRING, vmm_get(dev, VIRTIO_MMIO_INTERRUPT_STATUS));
	vmm_put(dev, VIRTIO_MMIO_STATUS, 0);
	EXPECT_EQ(0, vmm_get(dev, VIRTIO_MMIO_INTERRUPT_STATUS));
}

/* The driver has broken a ring: it is told, and nothing runs until it resets the device. */
TEST_F_TIMEOUT(vhost, error, LIMIT_S)
{
	struct vmm *vmm = &self->vmm;
	unsigned int i;

	begin(vmm, 100);
	for (i = 0; i < 3; i++) {
		drive(vmm);
		EXPECT_EQ(3, running());
		interrupted(vmm);
		signal_error(vmm);
		ASSERT_TRUE(wait_status(vmm, DRIVER_OK | NEEDS_RESET));
		EXPECT_EQ(0, running());
		EXPECT_TRUE(interrupted(vmm));
		EXPECT_EQ(VIRTIO_MMIO_INT_CONFIG | VIRTIO_MMIO_INT_VRING,
			  vmm_get(&vmm->dev, VIRTIO_MMIO_INTERRUPT_STATUS));
		vmm_put(&vmm->dev, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
		EXPECT_EQ(VIRTIO_MMIO_INT_VRING,
			  vmm_get(&vmm->dev, VIRTIO_MMIO_INTERRUPT_STATUS));
		/* So it is for a successor. */
		ASSERT_TRUE(vmm_kill_one(&vmm->dev));
		EXPECT_EQ(DRIVER_OK | NEEDS_RESET, status(vmm));
		EXPECT_EQ(0, running());
	}
	drive(vmm);
	usleep(50000);
	EXPECT_EQ(DRIVER_OK, status(vmm));
	EXPECT_EQ(3, running());
}

/* Each process says so, but once: a guest may cause it as often as it likes. */
TEST_F_TIMEOUT(vhost, error_is_said, LIMIT_S)
{
	struct vmm *vmm = &self->vmm;
	const char *log;
	unsigned int i;

	memset(vmm->dev.args.serial, 'x', sizeof(vmm->dev.args.serial));
	capture_log();
	begin(vmm, 100);
	for (i = 0; i < 4; i++) {
		if (i == 3)
			vmm_kill_one(&vmm->dev);
		drive(vmm);
		signal_error(vmm);
		wait_status(vmm, DRIVER_OK | NEEDS_RESET);
	}
	log = read_log();
	EXPECT_EQ(2, count(log, ": xxxxxxxxxxxxxxxxxxxx: vhost reports an error of a ring\n"));
	EXPECT_EQ(2, count(log, "reports"));
}

/* One that comes while there is no process is not lost. */
TEST_F_TIMEOUT(vhost, error_without_process, LIMIT_S)
{
	struct vmm *vmm = &self->vmm;

	begin(vmm, 100);
	drive(vmm);
	ASSERT_EQ(0, kill(vmm_pid_of(&vmm->dev), SIGSTOP));
	signal_error(vmm);
	ASSERT_TRUE(vmm_kill_one(&vmm->dev));
	EXPECT_TRUE(wait_status(vmm, DRIVER_OK | NEEDS_RESET));
	EXPECT_EQ(0, running());
}

/* vhost would take any memory of the VMM. */
TEST_F_TIMEOUT(vhost, ring_outside_of_memory, LIMIT_S)
{
	static const uint64_t bad[] = {
		MEMORY_SIZE, MEMORY_SIZE - 16, 1ULL << 32, ~0ULL << 4, 0x1008,
	};
	struct vmm *vmm = &self->vmm;
	unsigned int i, before;

	begin(vmm, 100);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		agree(vmm);
		before = calls();
		set_queue(&vmm->dev, 0, bad[i]);
		EXPECT_EQ(FEATURES_OK | NEEDS_RESET, status(vmm));
		set_queue(&vmm->dev, 1, DESC(1));
		vmm_put(&vmm->dev, VIRTIO_MMIO_STATUS, DRIVER_OK);
		EXPECT_EQ(before, calls());
	}
	drive(vmm);
	EXPECT_EQ(DRIVER_OK, status(vmm));
	EXPECT_EQ(3, running());
}

/* What vhost refuses, the driver learns; and no ring is left running. */
TEST_F_TIMEOUT(vhost, vhost_refuses, LIMIT_S)
{
	const unsigned long requests[] = {
		VHOST_SET_FEATURES, VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE,
		VHOST_SET_VRING_ADDR,
		variant->is_vsock ? VHOST_VSOCK_SET_RUNNING : VHOST_NET_SET_BACKEND,
	};
	unsigned int i;

	begin(&self->vmm, 100);
	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		/* Of the second ring, so that the first is running */
		set_failure(requests[i], 1);
		drive(&self->vmm);
		EXPECT_EQ(DRIVER_OK | NEEDS_RESET, status(&self->vmm)) {
			TH_LOG("request %#lx", requests[i]);
		}
		EXPECT_EQ(0, running());
		set_failure(0, 0);
		drive(&self->vmm);
		EXPECT_EQ(DRIVER_OK, status(&self->vmm));
		EXPECT_EQ(3, running());
	}
}

/* The VMM says which ioctl has failed, but once: a guest may cause it as often as it likes. */
TEST_F_TIMEOUT(vhost, refusal_is_said, LIMIT_S)
{
	const char *log;
	char text[96];
	unsigned int i;

	capture_log();
	begin(&self->vmm, 100);
	for (i = 0; i < 3; i++) {
		set_failure(VHOST_SET_VRING_ADDR, 1);
		drive(&self->vmm);
		set_failure(VHOST_SET_VRING_NUM, 0);
		drive(&self->vmm);
	}
	log = read_log();
	snprintf(text, sizeof(text), ": %s: VHOST_SET_VRING_ADDR: Cannot allocate memory\n",
		 self->vmm.dev.name);
	EXPECT_EQ(1, count(log, text));
	EXPECT_EQ(1, count(log, ": VHOST_SET_VRING_NUM: "));
	EXPECT_EQ(2, count(log, "VHOST"));
}

/* The process dies before it learns that vhost has refused. So its successor asks again. */
TEST_F_TIMEOUT(vhost, vhost_refuses_dead_process, LIMIT_S)
{
	begin(&self->vmm, 100);
	set_failure(variant->is_vsock ? VHOST_VSOCK_SET_RUNNING : VHOST_NET_SET_BACKEND, 1);
	vhost.kill = vmm_pid_of(&self->vmm.dev);
	drive(&self->vmm);
	EXPECT_EQ(DRIVER_OK, status(&self->vmm));
	EXPECT_EQ(3, running());
	EXPECT_EQ(2, self->vmm.dev.generation);
}

/* The driver must not take back its memory, so the reset does not end. */
TEST_F_TIMEOUT(vhost, cannot_be_stopped, LIMIT_S)
{
	begin(&self->vmm, 3);
	drive(&self->vmm);
	pthread_mutex_lock(&vhost.lock);
	vhost.fail_stop = true;
	pthread_mutex_unlock(&vhost.lock);
	vmm_put(&self->vmm.dev, VIRTIO_MMIO_STATUS, 0);
	EXPECT_TRUE(vmm_wait_failed(&self->vmm.dev));
	EXPECT_TRUE(ended());
	EXPECT_EQ(0, status(&self->vmm));
}

TEST_F_TIMEOUT(vhost, crash_loop, LIMIT_S)
{
	unsigned int i;

	begin(&self->vmm, 3);
	drive(&self->vmm);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(3, running());
		ASSERT_TRUE(vmm_kill_one(&self->vmm.dev));
	}
	EXPECT_TRUE(vmm_wait_failed(&self->vmm.dev));
	/* Before the files are closed, which others may have open, too */
	EXPECT_EQ(0, running());
	EXPECT_TRUE(ended());
	EXPECT_TRUE(interrupted(&self->vmm));
	EXPECT_EQ(DRIVER_OK | NEEDS_RESET, status(&self->vmm));
	drive(&self->vmm);
	EXPECT_EQ(DRIVER_BITS, status(&self->vmm));
}

#define NONE	1	/* is no response of the VMM */

/* As the supervisor does it, until there is a result */
static void serve(struct vmm_device *dev)
{
	struct pollfd p = { .events = POLLIN };

	vmm_vhost_serve(dev);
	while (vmm_vhost_fd(dev) != dev->request_fd) {
		p.fd = vmm_vhost_fd(dev);
		if (poll(&p, 1, WAIT_MS) != 1) {
			fprintf(stderr, "# the thread has not done within %d ms\n", WAIT_MS);
			abort();
		}
		vmm_vhost_serve(dev);
	}
}

/* The VMM serves what a process sends that the guest controls. */
static int32_t response_to(struct vmm *vmm, int sock, const void *request, size_t size)
{
	int32_t response;

	if (send(sock, request, size, 0) != (ssize_t)size)
		abort();
	serve(&vmm->dev);
	if (recv(sock, &response, sizeof(response), MSG_DONTWAIT) != sizeof(response))
		return NONE;
	return response;
}

TEST_F(vhost, rogue)
{
	struct {
		struct vhost_request request;
		char more;
	} r = { .request.features = ~0ULL & ~LAYOUT, .request.running = ~0U };
	struct virtqueue_state *q = r.request.queues;
	struct vmm *vmm = &self->vmm;
	struct vhost_request good;
	unsigned int n;
	int sock[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock));
	vmm->dev.request_fd = sock[0];
	/* Nothing to read is no request. */
	serve(&vmm->dev);
	EXPECT_GT(0, recv(sock[1], &r.more, 1, MSG_DONTWAIT));
	/* What is no request gets no response. */
	EXPECT_EQ(NONE, response_to(vmm, sock[1], &r, sizeof(r.request) - 1));
	EXPECT_EQ(NONE, response_to(vmm, sock[1], &r, sizeof(r.request) + 1));
	EXPECT_EQ(NONE, response_to(vmm, sock[1], &r, 1));
	/* No ring */
	EXPECT_EQ(-EINVAL, response_to(vmm, sock[1], &r, sizeof(r.request)));
	EXPECT_EQ(0, vhost.features);
	for (q = r.request.queues; q < r.request.queues + 2; q++)
		*q = (struct virtqueue_state) { .num = NUM, .desc = 0x1000, .driver = 0x2000,
						.device = MEMORY_SIZE - 0x800 };
	/* Its end alone is outside. */
	q[-1].num = 256;
	q[-1].device = MEMORY_SIZE - 0x800;
	EXPECT_EQ(-EINVAL, response_to(vmm, sock[1], &r, sizeof(r.request)));
	EXPECT_EQ(variant->is_vsock ? 0 : 1, running());
	q[-1].num = NUM;
	/* Positions and features that are none of its business */
	q[-1].avail = 0x1234;
	q[-1].used = 0x4321;
	EXPECT_EQ(0, response_to(vmm, sock[1], &r, sizeof(r.request)));
	EXPECT_EQ(3, running());
	EXPECT_EQ(0, vhost.vqs[1].base);
	EXPECT_EQ(0, vhost.features & (LAYOUT | BIT(VHOST_F_LOG_ALL) |
				       BIT(VIRTIO_F_ACCESS_PLATFORM)));
	/* What runs goes on as it is. */
	good = r.request;
	n = calls();
	q[-1].num = NUM / 2;
	EXPECT_EQ(-EINVAL, response_to(vmm, sock[1], &r, sizeof(r.request)));
	r.request = good;
	q[-1].desc = 0x7000;
	EXPECT_EQ(-EINVAL, response_to(vmm, sock[1], &r, sizeof(r.request)));
	r.request = good;
	q[-2].driver = 0x7000;
	EXPECT_EQ(-EINVAL, response_to(vmm, sock[1], &r, sizeof(r.request)));
	r.request = good;
	q[-2].device = 0x7000;
	EXPECT_EQ(-EINVAL, response_to(vmm, sock[1], &r, sizeof(r.request)));
	r.request = good;
	r.request.features ^= BIT(VIRTIO_RING_F_EVENT_IDX);
	EXPECT_EQ(-EINVAL, response_to(vmm, sock[1], &r, sizeof(r.request)));
	r.request = good;
	/* That is not so for positions and features that are none of its business. */
	q[-1].avail = 0x4321;
	r.request.features ^= BIT(VIRTIO_F_ACCESS_PLATFORM);
	EXPECT_EQ(0, response_to(vmm, sock[1], &r, sizeof(r.request)));
	EXPECT_EQ(n, calls());
	EXPECT_EQ(3, running());
	/* Of what is not to run it need not say anything. */
	memset(&r, 0, sizeof(r));
	EXPECT_EQ(0, response_to(vmm, sock[1], &r, sizeof(r.request)));
	EXPECT_EQ(0, running());
	r.request = good;
	EXPECT_EQ(0, response_to(vmm, sock[1], &r, sizeof(r.request)));
	EXPECT_EQ(3, running());
	/* It does not take its responses. */
	do {
		send(sock[1], &r, sizeof(r.request), MSG_DONTWAIT);
		serve(&vmm->dev);
	} while (send(sock[0], &r, 1, MSG_DONTWAIT) > 0);
	serve(&vmm->dev);
	EXPECT_EQ(3, running());
	close(sock[0]);
	close(sock[1]);
	vmm->dev.request_fd = -1;
}

/* A queue whose areas are large enough for a packed ring is not used as a split one. */
TEST_F(vhost, rogue_layout)
{
	struct vhost_request request = { .features = ~0ULL, .running = 1 };
	struct vmm *vmm = &self->vmm;
	int sock[2];

	if (!(variant->layout & BIT(VIRTIO_F_RING_PACKED)))
		SKIP(return, "no packed rings");
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sock));
	vmm->dev.request_fd = sock[0];
	request.queues[0] = (struct virtqueue_state) { .num = NUM, .desc = 0x1000,
						       .driver = 0x2000,
						       .device = MEMORY_SIZE - 4 };
	request.queues[1] = (struct virtqueue_state) { .num = NUM, .desc = 0x1000,
						       .driver = 0x2000, .device = 0x3000 };
	EXPECT_EQ(0, response_to(vmm, sock[1], &request, sizeof(request)));
	request.features = ~LAYOUT;
	request.running = 3;
	EXPECT_EQ(-EINVAL, response_to(vmm, sock[1], &request, sizeof(request)));
	EXPECT_EQ(variant->is_vsock ? 0 : 1, running());
	EXPECT_NE(0, vhost.features & BIT(VIRTIO_F_RING_PACKED));
	close(sock[0]);
	close(sock[1]);
	vmm->dev.request_fd = -1;
}

/*
 * What a process had run before it lost its mind is not what the driver is told: it runs
 * elsewhere, or otherwise, than the state says that the successor takes up.
 */
TEST_F_TIMEOUT(vhost, rogue_predecessor, LIMIT_S)
{
	struct device_state *state = self->vmm.dev.state;
	unsigned int i;

	begin(&self->vmm, 100);
	for (i = 0; i < 4; i++) {
		drive(&self->vmm);
		EXPECT_EQ(3, running());
		switch (i) {
		case 0:
			state->queues[0].desc += 0x1000;
			break;
		case 1:
			state->queues[1].device += 0x1000;
			break;
		case 2:
			state->queues[1].num /= 2;
			break;
		case 3:
			state->mmio.driver_features ^= BIT(VIRTIO_RING_F_EVENT_IDX);
			break;
		}
		ASSERT_TRUE(vmm_kill_one(&self->vmm.dev));
		EXPECT_EQ(DRIVER_OK | NEEDS_RESET, status(&self->vmm));
		EXPECT_EQ(0, running());
	}
	drive(&self->vmm);
	EXPECT_EQ(DRIVER_OK, status(&self->vmm));
	EXPECT_EQ(3, running());
}

/* It does not end by itself, so the VMM has to kill it. */
static bool is_killed(struct vmm *vmm, const char *what_it_does)
{
	vmm_name_beside(vmm->program, "rogue");
	snprintf(vmm->dev.args.serial, sizeof(vmm->dev.args.serial), "%s", what_it_does);
	begin(vmm, 3);
	return vmm_wait_failed(&vmm->dev);
}

/* One that closes its end, and lives: the VMM would look after it for ever. */
TEST_F_TIMEOUT(vhost, hangs_up, LIMIT_S)
{
	EXPECT_TRUE(is_killed(&self->vmm, "hangup"));
}

TEST_F_TIMEOUT(vhost, no_request, LIMIT_S)
{
	EXPECT_TRUE(is_killed(&self->vmm, "short"));
}

/* One whose response is lost would wait for it, and the vCPU for the process. */
TEST_F_TIMEOUT(vhost, takes_no_response, LIMIT_S)
{
	EXPECT_TRUE(is_killed(&self->vmm, "deaf"));
}

/*
 * A driver keeps vhost busy with a ring, and an ioctl of vhost's waits for that. Meanwhile the
 * other device, that of a second vhost, is served as if nothing were the matter.
 */

FIXTURE(busy) {
	struct vmm vmm;
	struct vmm_device *dev, *other;
	unsigned long stop;	/* the ioctl that stops a ring */
	struct vcpu_thread {
		pthread_t thread;
		struct vmm_device *dev;
		uint32_t value;
		bool done;
	} vcpu;
};

FIXTURE_VARIANT(busy) {
	bool is_vsock;
};

FIXTURE_VARIANT_ADD(busy, net) { false };
FIXTURE_VARIANT_ADD(busy, vsock) { true };

#define OTHER_FEATURES	BIT(VIRTIO_F_VERSION_1)

static void create_other(struct vmm *vmm)
{
	struct vmm_device *dev = &vmm->devs[1];
	static char program[PATH_MAX];

	vmm_name_beside(program, "virtio-vsock");
	dev->program = program;
	dev->number = 1;
	snprintf(dev->name, sizeof(dev->name), "other");
	vmm_virtio_init(dev, 1, VIRTIO_ID_VSOCK);
	dev->args.features = vmm_virtio_default_features;
	vhost.next_is_other = true;
	vmm_vsock_open(dev, CID + 1);
	vmm_device_create(dev, &vmm->vm, VMM_DISPATCH_FORWARD);
	vmm_vhost_create(dev, &vmm->vm);
	vmm->nr_devs = 2;
}

FIXTURE_SETUP(busy)
{
	struct vmm *vmm = &self->vmm;

	create(vmm, variant->is_vsock, 0, "");
	create_other(vmm);
	snprintf(vmm->dir, sizeof(vmm->dir), "/tmp/vmm_vhost.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(vmm->dir));
	snprintf(vmm->socket, sizeof(vmm->socket), "%s/socket", vmm->dir);
	self->dev = &vmm->devs[0];
	self->other = &vmm->devs[1];
	self->stop = variant->is_vsock ? VHOST_VSOCK_SET_RUNNING : VHOST_NET_SET_BACKEND;
}

FIXTURE_TEARDOWN(busy)
{
	block(0);
	destroy(&self->vmm);
	EXPECT_EQ(0, rmdir(self->vmm.dir));
	EXPECT_EQ(0, vhost.wrong);
}

static void *write_status(void *arg)
{
	struct vcpu_thread *vcpu = arg;

	vmm_put(vcpu->dev, VIRTIO_MMIO_STATUS, vcpu->value);
	__atomic_store_n(&vcpu->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static bool is_done(struct vcpu_thread *vcpu)
{
	return __atomic_load_n(&vcpu->done, __ATOMIC_ACQUIRE);
}

/* A driver writes the status. Is an ioctl waiting within WAIT_MS? */
static bool begin_write(struct vcpu_thread *vcpu, struct vmm_device *dev, uint32_t value)
{
	unsigned int i;

	*vcpu = (struct vcpu_thread) { .dev = dev, .value = value };
	if (pthread_create(&vcpu->thread, NULL, write_status, vcpu))
		abort();
	for (i = 0; i < WAIT_MS && !is_waiting(); i++)
		usleep(1000);
	return is_waiting() && !is_done(vcpu);
}

/* Has the driver got its response within WAIT_MS? */
static bool end_write(struct vcpu_thread *vcpu)
{
	unsigned int i;

	for (i = 0; i < WAIT_MS && !is_done(vcpu); i++)
		usleep(1000);
	if (!is_done(vcpu))
		return false;
	pthread_join(vcpu->thread, NULL);
	return true;
}

static unsigned int generation_of(struct vmm_device *dev)
{
	unsigned int generation;

	pthread_mutex_lock(&dev->lock);
	generation = dev->generation;
	pthread_mutex_unlock(&dev->lock);
	return generation;
}

/* All that the supervisor does for a device it does for this one, while the ioctl waits. */
static void expect_served(struct __test_metadata *_metadata, struct vmm *vmm,
			  struct vmm_device *dev)
{
	unsigned int generation = generation_of(dev);

	drive_device(dev, OTHER_FEATURES, 3);
	EXPECT_EQ(DRIVER_OK, vmm_get(dev, VIRTIO_MMIO_STATUS));
	EXPECT_EQ(1, does_other_run());
	EXPECT_TRUE(vmm_kill_one(dev));
	EXPECT_EQ(DRIVER_OK, vmm_get(dev, VIRTIO_MMIO_STATUS));
	EXPECT_LT(generation, generation_of(dev));
	vmm_put(dev, VIRTIO_MMIO_STATUS, 0);
	EXPECT_EQ(0, does_other_run());
	EXPECT_NE(NULL, strstr(STATUS(vmm), "other running"));
	EXPECT_TRUE(is_waiting());
}

TEST_F_TIMEOUT(busy, stop, LIMIT_S)
{
	begin(&self->vmm, 100);
	drive(&self->vmm);
	block(self->stop);
	ASSERT_TRUE(begin_write(&self->vcpu, self->dev, 0));
	expect_served(_metadata, &self->vmm, self->other);
	/* The driver must not take back its memory. */
	EXPECT_FALSE(is_done(&self->vcpu));
	EXPECT_EQ(3, running());
	block(0);
	ASSERT_TRUE(end_write(&self->vcpu));
	EXPECT_EQ(0, status(&self->vmm));
	EXPECT_EQ(0, running());
	drive(&self->vmm);
	EXPECT_EQ(DRIVER_OK, status(&self->vmm));
	EXPECT_EQ(3, running());
}

TEST_F_TIMEOUT(busy, start, LIMIT_S)
{
	const unsigned long requests[] = {
		VHOST_SET_FEATURES, VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE,
		VHOST_SET_VRING_ADDR,
	};
	unsigned int i, n;

	begin(&self->vmm, 100);
	for (i = 0; i < ARRAY_SIZE(requests); i++) {
		agree(&self->vmm);
		for (n = 0; n < self->vmm.nr_queues; n++)
			set_queue(self->dev, n, DESC(n));
		block(requests[i]);
		ASSERT_TRUE(begin_write(&self->vcpu, self->dev, DRIVER_OK));
		expect_served(_metadata, &self->vmm, self->other);
		ASSERT_FALSE(is_done(&self->vcpu));
		block(0);
		ASSERT_TRUE(end_write(&self->vcpu));
		EXPECT_EQ(DRIVER_OK, status(&self->vmm));
		EXPECT_EQ(3, running());
	}
}

/*
 * Processes that die while they wait for their response: none of them gets that to what another
 * one has asked for.
 */
TEST_F_TIMEOUT(busy, deaths, LIMIT_S)
{
	unsigned int i;

	begin(&self->vmm, 100);
	drive(&self->vmm);
	block(self->stop);
	ASSERT_TRUE(begin_write(&self->vcpu, self->dev, 0));
	for (i = 0; i < 5; i++) {
		ASSERT_TRUE(vmm_kill_one(self->dev));
		EXPECT_FALSE(is_done(&self->vcpu));
	}
	expect_served(_metadata, &self->vmm, self->other);
	block(0);
	ASSERT_TRUE(end_write(&self->vcpu));
	EXPECT_EQ(0, status(&self->vmm));
	EXPECT_EQ(0, running());
	/* A response that is left over would be taken for that to this. */
	set_failure(VHOST_SET_VRING_ADDR, 1);
	drive(&self->vmm);
	EXPECT_EQ(DRIVER_OK | NEEDS_RESET, status(&self->vmm));
	EXPECT_EQ(0, running());
	set_failure(0, 0);
	drive(&self->vmm);
	EXPECT_EQ(DRIVER_OK, status(&self->vmm));
	EXPECT_EQ(3, running());
}

/* The new program waits, too, and what it waits for is not its fault. */
TEST_F_TIMEOUT(busy, upgrade, LIMIT_S)
{
	unsigned int generation;

	begin(&self->vmm, 100);
	drive(&self->vmm);
	block(self->stop);
	ASSERT_TRUE(begin_write(&self->vcpu, self->dev, 0));
	generation = generation_of(self->dev);
	EXPECT_EQ(0, strncmp(vmm_upgrade(self->vmm.socket, self->dev->name, self->vmm.program),
			     "ok", 2));
	EXPECT_EQ(generation + 1, generation_of(self->dev));
	/* One that is no good is taken back. */
	EXPECT_EQ(0, strncmp(vmm_upgrade(self->vmm.socket, self->dev->name, "/bin/false"),
			     "error", 5));
	EXPECT_FALSE(is_done(&self->vcpu));
	expect_served(_metadata, &self->vmm, self->other);
	block(0);
	ASSERT_TRUE(end_write(&self->vcpu));
	EXPECT_EQ(0, status(&self->vmm));
	EXPECT_EQ(0, running());
}

/* Lets the device fail while an ioctl waits. */
static bool crash(struct vmm *vmm)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		if (!vmm_kill_one(&vmm->dev))
			return false;
	}
	vmm_device_kill(&vmm->dev);
	for (i = 0; i < WAIT_MS; i++) {
		if (strstr(STATUS(vmm), "0 failed"))
			return true;
		usleep(1000);
	}
	return false;
}

/* The driver learns of it when its memory is not used any more. */
TEST_F_TIMEOUT(busy, crash_loop, LIMIT_S)
{
	begin(&self->vmm, 3);
	drive(&self->vmm);
	block(self->stop);
	ASSERT_TRUE(begin_write(&self->vcpu, self->dev, 0));
	ASSERT_TRUE(crash(&self->vmm));
	expect_served(_metadata, &self->vmm, self->other);
	EXPECT_FALSE(is_done(&self->vcpu));
	EXPECT_FALSE(vmm_has_failed(self->dev));
	EXPECT_FALSE(ended());
	block(0);
	ASSERT_TRUE(end_write(&self->vcpu));
	EXPECT_TRUE(vmm_has_failed(self->dev));
	EXPECT_EQ(0, running());
	EXPECT_TRUE(ended());
	EXPECT_EQ(0, status(&self->vmm));
}

/* The ioctl that waits is one of the end itself. */
TEST_F_TIMEOUT(busy, failure, LIMIT_S)
{
	begin(&self->vmm, 3);
	drive(&self->vmm);
	block(self->stop);
	ASSERT_TRUE(crash(&self->vmm));
	/* That of a successor */
	interrupted(&self->vmm);
	ASSERT_TRUE(begin_write(&self->vcpu, self->dev, 0));
	expect_served(_metadata, &self->vmm, self->other);
	EXPECT_FALSE(is_done(&self->vcpu));
	EXPECT_FALSE(vmm_has_failed(self->dev));
	EXPECT_FALSE(interrupted(&self->vmm));
	block(0);
	ASSERT_TRUE(end_write(&self->vcpu));
	EXPECT_TRUE(vmm_has_failed(self->dev));
	EXPECT_TRUE(interrupted(&self->vmm));
	EXPECT_EQ(0, running());
	EXPECT_TRUE(ended());
}

/* As at the end of a VM. Returns how many devices have failed, and in @log what was said. */
static unsigned int end_vm(struct vmm *vmm, const char **log)
{
	unsigned int failed;

	__atomic_store_n(&stop_requested, true, __ATOMIC_RELAXED);
	capture_log();
	failed = supervise_stop(vmm->supervisor);
	vmm->supervisor = NULL;
	*log = read_log();
	return failed;
}

/* The thread that was left behind has done what it was told to, within WAIT_MS. */
static bool goes_on(struct vmm *vmm)
{
	block(0);
	vmm_vhost_stop(&vmm->dev, now_ms() + WAIT_MS);
	/* The processes are dead, so this is all that there was to wait for. */
	return vmm_vhost_fd(&vmm->dev) < 0 && !(running() & 1);
}

TEST_F_TIMEOUT(busy, vm_ends, LIMIT_S)
{
	const char *log;

	begin(&self->vmm, 100);
	drive(&self->vmm);
	block(self->stop);
	ASSERT_TRUE(begin_write(&self->vcpu, self->dev, 0));
	EXPECT_EQ(0, end_vm(&self->vmm, &log));
	EXPECT_TRUE(is_waiting());
	EXPECT_TRUE(end_write(&self->vcpu));
	EXPECT_EQ(1, count(log, "0: vhost is busy: the VM ends, "));
	EXPECT_EQ(0, count(log, "other: vhost"));
	EXPECT_TRUE(goes_on(&self->vmm));
}

/* Before its failure is complete */
TEST_F_TIMEOUT(busy, vm_ends_with_failure, LIMIT_S)
{
	const char *log;

	begin(&self->vmm, 3);
	drive(&self->vmm);
	block(self->stop);
	ASSERT_TRUE(begin_write(&self->vcpu, self->dev, 0));
	ASSERT_TRUE(crash(&self->vmm));
	EXPECT_EQ(1, end_vm(&self->vmm, &log));
	EXPECT_TRUE(is_waiting());
	EXPECT_TRUE(end_write(&self->vcpu));
	EXPECT_EQ(1, count(log, ": the VM ends"));
	EXPECT_TRUE(goes_on(&self->vmm));
}

static void *unblock_soon(void *arg)
{
	usleep(200000);
	block(0);
	return arg;
}

/* An ioctl that is done soon enough is nothing to speak of. */
TEST_F_TIMEOUT(busy, vm_ends_in_time, LIMIT_S)
{
	pthread_t thread;
	const char *log;

	begin(&self->vmm, 100);
	drive(&self->vmm);
	block(self->stop);
	ASSERT_TRUE(begin_write(&self->vcpu, self->dev, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, unblock_soon, NULL));
	EXPECT_EQ(0, end_vm(&self->vmm, &log));
	EXPECT_FALSE(is_waiting());
	EXPECT_EQ(0, running() & 1);
	EXPECT_TRUE(end_write(&self->vcpu));
	EXPECT_EQ(0, count(log, ": vhost "));
	pthread_join(thread, NULL);
}

static bool wait_late(struct vmm *vmm)
{
	unsigned int i;

	for (i = 0; i < WAIT_MS && !strstr(STATUS(vmm), " waits for vhost"); i += 10)
		usleep(10000);
	return strstr(STATUS(vmm), "0 running") && strstr(STATUS(vmm), " waits for vhost");
}

/* It is said once, as a guest can cause it as often as it likes. The status has it always. */
TEST_F_TIMEOUT(busy, late, LIMIT_S)
{
	bool late[2], waited[2];
	const char *log;
	unsigned int i;

	capture_log();
	begin(&self->vmm, 100);
	for (i = 0; i < 2; i++) {
		drive(&self->vmm);
		block(self->stop);
		begin_write(&self->vcpu, self->dev, 0);
		late[i] = !strstr(STATUS(&self->vmm), " waits for vhost") && wait_late(&self->vmm);
		waited[i] = is_waiting();
		block(0);
		if (!end_write(&self->vcpu) || strstr(STATUS(&self->vmm), " waits for vhost"))
			late[i] = false;
	}
	log = read_log();
	for (i = 0; i < 2; i++) {
		EXPECT_TRUE(late[i]);
		EXPECT_TRUE(waited[i]);
	}
	EXPECT_EQ(1, count(log, "0: vhost has been busy for 5 s: "));
	EXPECT_EQ(1, count(log, ": vhost "));
}

/* A VMM that could only wait for vhost itself does not begin. */
TEST(no_thread)
{
	struct vmm vmm;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		no_threads = true;
		create(&vmm, false, 0, "");
		_exit(0);
	}
	waitpid(pid, &status, 0);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(1, WEXITSTATUS(status));
}

/* Deaths at each point: the device ends up as if there had been none. */

static void scenario(struct __test_metadata *_metadata, struct vmm *vmm, bool is_vsock)
{
	struct vmm_device *dev = &vmm->dev;

	drive(vmm);
	EXPECT_EQ(DRIVER_OK, status(vmm));
	EXPECT_EQ(3, running());
	EXPECT_EQ(1, vhost.vqs[0].starts);
	EXPECT_EQ(1, vhost.vqs[1].starts);
	vmm_put(dev, VIRTIO_MMIO_QUEUE_SEL, 1);
	vmm_put(dev, VIRTIO_MMIO_QUEUE_READY, 0);
	EXPECT_EQ(is_vsock ? 0 : 1, running());
	set_queue(dev, 1, DESC(1));
	EXPECT_EQ(3, running());
	EXPECT_EQ(is_vsock ? 2 : 1, vhost.vqs[0].starts);
	EXPECT_EQ(2, vhost.vqs[1].starts);
	signal_error(vmm);
	EXPECT_TRUE(wait_status(vmm, DRIVER_OK | NEEDS_RESET));
	EXPECT_EQ(0, running());
	drive(vmm);
	EXPECT_EQ(DRIVER_OK, status(vmm));
	EXPECT_EQ(3, running());
	vmm_put(dev, VIRTIO_MMIO_STATUS, 0);
	EXPECT_EQ(0, running());
	EXPECT_EQ(0, status(vmm));
	EXPECT_EQ(3, vhost.vqs[1].starts);
}

/* Die at point @first, and twice more at point @again, if that is not 0. Returns how many did. */
static unsigned int die_at(struct __test_metadata *_metadata, bool is_vsock, uint64_t layout,
			   unsigned int first, unsigned int again)
{
	unsigned int deaths;
	struct vmm vmm;

	create(&vmm, is_vsock, layout, "-kill");
	kill_at[0] = first;
	kill_at[1] = again;
	kill_at[2] = again;
	begin(&vmm, 100);
	scenario(_metadata, &vmm, is_vsock);
	deaths = vmm.dev.generation - 1;
	destroy(&vmm);
	EXPECT_EQ(0, vhost.wrong) {
		TH_LOG("points %u, %u", first, again);
	}
	return deaths;
}

FIXTURE(die) {
};

FIXTURE_VARIANT(die) {
	bool is_vsock;
	uint64_t layout;
};

FIXTURE_VARIANT_ADD(die, net) { false, 0 };
FIXTURE_VARIANT_ADD(die, vsock) { true, LAYOUT };

FIXTURE_SETUP(die)
{
	(void)self;
	(void)variant;
}

FIXTURE_TEARDOWN(die)
{
	(void)self;
}

TEST_F_TIMEOUT(die, at_every_point, 900)
{
	unsigned int point = 0;

	do {
		point++;
	} while (die_at(_metadata, variant->is_vsock, variant->layout, point, 0));
	TH_LOG("%u points", point - 1);
	EXPECT_GT(point, 100);
}

/* The successors die over taking up what was left behind. */
TEST_F_TIMEOUT(die, thrice, 900)
{
	unsigned int first, again;

	for (first = 60; first < 280; first += 13) {
		for (again = 1; again < 16; again += 5)
			EXPECT_GT(die_at(_metadata, variant->is_vsock, variant->layout, first,
					 again), 1);
	}
}

/* Does the VMM refuse this, with exit status 1? */
static bool refuses(const char *net, uint32_t cid)
{
	struct vmm_device dev = { .args.features = vmm_virtio_default_features };
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		if (net)
			vmm_net_open(&dev, net);
		else
			vmm_vsock_open(&dev, cid);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

TEST(options)
{
	struct vmm_device dev = { .args.features = vmm_virtio_default_features };

	EXPECT_FALSE(refuses("tap0", 0));
	EXPECT_FALSE(refuses("tap0,52:54:0:1:2:3", 0));
	EXPECT_FALSE(refuses("tap0,0A:bC:00:00:00:00", 0));
	/* The kernel finds a number for it. */
	EXPECT_FALSE(refuses("tap%d", 0));
	EXPECT_TRUE(refuses("", 0));
	EXPECT_TRUE(refuses(",52:54:00:00:00:01", 0));
	EXPECT_TRUE(refuses("a_name_of_16_chr", 0));
	/* No tap */
	EXPECT_TRUE(refuses("eth0", 0));
	EXPECT_TRUE(refuses("tap0,", 0));
	EXPECT_TRUE(refuses("tap0,52:54:00:00:00", 0));
	EXPECT_TRUE(refuses("tap0,52:54:00:00:00:01:02", 0));
	EXPECT_TRUE(refuses("tap0,52:54:00:00:00:0g", 0));
	EXPECT_TRUE(refuses("tap0,52:54:00:00:00: 1", 0));
	EXPECT_TRUE(refuses("tap0, 2:54:00:00:00:01", 0));
	EXPECT_TRUE(refuses("tap0,52:54:00:00:00:+1", 0));
	EXPECT_TRUE(refuses("tap0,52:54:00:00:00:-2", 0));
	EXPECT_TRUE(refuses("tap0,52:54:00:00:00:01 ", 0));
	/* Of nobody */
	EXPECT_TRUE(refuses("tap0,0:00:00:00:00:00", 0));
	/* Of a group */
	EXPECT_TRUE(refuses("tap0,53:54:00:00:00:01", 0));
	EXPECT_FALSE(refuses(NULL, CID));
	EXPECT_TRUE(refuses(NULL, USED_CID));
	vhost.absent = true;
	EXPECT_TRUE(refuses("tap0", 0));
	EXPECT_TRUE(refuses(NULL, CID));
	vhost.absent = false;
	/* One of its own, for a single device, and administered locally */
	vmm_net_open(&dev, "tap0");
	EXPECT_EQ(2, dev.args.mac[0] & 3);
}

/* What the kernel's vhost lacks is not offered; and if it was asked for, that is said. */
static void expect_missing(struct __test_metadata *_metadata, bool is_vsock, uint64_t asked,
			   uint64_t lacks)
{
	struct vmm_device dev = {
		.name = "vhost0", .args.features = vmm_virtio_default_features | asked,
	};
	const char *log;

	vhost.lacks = lacks | BIT(VIRTIO_RING_F_INDIRECT_DESC);
	capture_log();
	if (is_vsock)
		vmm_vsock_open(&dev, CID);
	else
		vmm_net_open(&dev, "tap0");
	log = read_log();
	EXPECT_EQ(!!(asked & lacks & BIT(VIRTIO_F_RING_PACKED)),
		  count(log, ": vhost0: --features=packed: "));
	EXPECT_EQ(!!(asked & lacks & BIT(VIRTIO_F_IN_ORDER)),
		  count(log, ": vhost0: --features=in_order: "));
	EXPECT_EQ(__builtin_popcountll(asked & lacks), count(log, "\n"));
	EXPECT_EQ(asked & ~lacks, dev.args.features & LAYOUT);
	EXPECT_EQ(0, dev.args.features & BIT(VIRTIO_RING_F_INDIRECT_DESC));
}

TEST(missing_features)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		expect_missing(_metadata, i, 0, LAYOUT);
		expect_missing(_metadata, i, LAYOUT, 0);
		expect_missing(_metadata, i, LAYOUT, LAYOUT);
		expect_missing(_metadata, i, LAYOUT, BIT(VIRTIO_F_RING_PACKED));
		expect_missing(_metadata, i, BIT(VIRTIO_F_IN_ORDER), BIT(VIRTIO_F_IN_ORDER));
	}
	vhost.lacks = 0;
}

TEST_HARNESS_MAIN
