// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_vhost.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <linux/virtio_vsock.h>
#include "util.h"
#include "vhost.h"
#include "vmm_virtio.h"

/* Receive and transmit, of both kinds of devices */
#define NR_QUEUES	2
#define ALL_QUEUES	(BIT(NR_QUEUES) - 1)

#define LATE_S		5	/* so long a job may take until there is a message */

/*
 * Of what vhost offers, that which concerns the driver and nobody else: no log of what is
 * written, no IOTLB.
 */
#define RING_FEATURES	(BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) | \
			 BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED) | \
			 BIT(VIRTIO_F_IN_ORDER))

/* What the device's thread is to do */
enum job {
	JOB_REQUEST,			/* change(), and nothing else gets a response */
	JOB_END,			/* stop all, and let go of vhost */
	JOB_QUIT,			/* the thread ends, without a word */
};

/*
 * A driver can keep vhost busy with a ring for minutes, as by a long chain of descriptors. All
 * ioctls that concern the ring wait for that, and nothing but its end ends the wait. So each
 * device has a thread that makes its ioctls, and the supervisor waits for none. It gives the
 * thread one job at a time. What a process asks for meanwhile stays in its socket, so all is
 * done in the order in which it was asked for.
 */
struct vmm_vhost {
	/* Left alone once there is the thread */
	const char *name;		/* of the device */
	int fd;				/* JOB_END closes it, and the tap */
	int tap_fd;			/* -1: it is vhost-vsock */
	uint64_t features;		/* that a process may ask for */
	struct guest_memory memory;	/* as vhost sees it, by addresses of this process */
	int kick_fds[NR_QUEUES];
	pthread_t thread;
	sem_t given;			/* there is a job for the thread */
	int done_fd;			/* eventfd: it is done */

	/*
	 * The thread's from when the supervisor posts @given until the thread writes @done_fd,
	 * otherwise the supervisor's. Both calls order what comes before them.
	 */
	enum job job;
	struct vhost_request request;
	int32_t response;

	/* The thread's */
	uint32_t set_up;		/* bit n: queue n is to run */
	/* Of queues that are set up */
	uint64_t agreed;
	struct virtqueue_state queues[NR_QUEUES];
	bool warned[1 << _IOC_NRBITS];	/* that an ioctl of this number has failed */

	/* The supervisor's; after its end that of who has ended it */
	bool busy;			/* the thread has a job */
	bool failing;			/* JOB_END is the next one, or is under way */
	unsigned int generation;	/* of the process that has asked for JOB_REQUEST */
	int64_t late_at;		/* if it is still busy by then */
	bool warned_late;
};

/* Requests, in the device's thread */

/* A guest may cause it again and again, by resets: once has to do. */
static int try_ioctl(struct vmm_vhost *v, unsigned long request, void *arg, const char *name)
{
	int ret = ioctl(v->fd, request, arg) ? -errno : 0;
	bool *warned = &v->warned[_IOC_NR(request)];

	if (ret && !*warned) {
		*warned = true;
		warnx("%s: %s: %s", v->name, name, strerror(-ret));
	}
	return ret;
}

#define TRY_IOCTL(v, request, arg)	try_ioctl(v, request, arg, #request)

static int run_net(struct vmm_vhost *v, unsigned int n, int fd)
{
	struct vhost_vring_file backend = { .index = n, .fd = fd };

	return TRY_IOCTL(v, VHOST_NET_SET_BACKEND, &backend);
}

static int run_vsock(struct vmm_vhost *v, int run)
{
	return TRY_IOCTL(v, VHOST_VSOCK_SET_RUNNING, &run);
}

static int stop(struct vmm_vhost *v, unsigned int n)
{
	/* vhost-vsock runs both or none. The other one keeps its position. */
	int ret = v->tap_fd < 0 ? run_vsock(v, 0) : run_net(v, n, -1);

	if (!ret)
		v->set_up &= ~BIT(n);
	return ret;
}

static void *host(const struct vmm_vhost *v, uint64_t addr)
{
	return guest_memory_at(&v->memory, addr, 1);
}

/*
 * The areas have to be in the memory of the guest, with all that they hold: vhost would take
 * any memory of this process.
 */
static int set_up(struct vmm_vhost *v, unsigned int n, struct virtqueue_state *q,
		  uint64_t features)
{
	struct vhost_vring_state num = { .index = n, .num = q->num };
	struct vhost_vring_state base = { .index = n };
	struct vhost_vring_addr addr = { .index = n };
	int ret;

	/* The areas of the other queue were checked for its layout, and may be too small. */
	if (v->set_up && features != v->agreed)
		return -EINVAL;
	if (!virtqueue_valid(q, &v->memory, features))
		return -EINVAL;
	v->agreed = features;
	addr.desc_user_addr = (uintptr_t)host(v, q->desc);
	addr.avail_user_addr = (uintptr_t)host(v, q->driver);
	addr.used_user_addr = (uintptr_t)host(v, q->device);
	virtqueue_init_state(q, features);
	base.num = q->avail;
	if (features & BIT(VIRTIO_F_RING_PACKED))
		base.num |= (uint32_t)q->used << 16;

	ret = TRY_IOCTL(v, VHOST_SET_FEATURES, &features) ?:
	      TRY_IOCTL(v, VHOST_SET_VRING_NUM, &num) ?:
	      TRY_IOCTL(v, VHOST_SET_VRING_BASE, &base) ?:
	      TRY_IOCTL(v, VHOST_SET_VRING_ADDR, &addr);
	if (!ret && v->tap_fd >= 0)
		ret = run_net(v, n, v->tap_fd);
	else if (!ret && (v->set_up | BIT(n)) == ALL_QUEUES)
		ret = run_vsock(v, 1);
	/* Otherwise whoever asks for it once more would be told that it runs. */
	if (!ret) {
		v->queues[n] = *q;
		v->set_up |= BIT(n);
	}
	return ret;
}

static bool is_set_up_so(const struct vmm_vhost *v, unsigned int n,
			 const struct virtqueue_state *q, uint64_t features)
{
	const struct virtqueue_state *mine = &v->queues[n];

	return features == v->agreed && q->num == mine->num && q->desc == mine->desc &&
	       q->driver == mine->driver && q->device == mine->device;
}

static int change(struct vmm_vhost *v, struct vhost_request *request)
{
	uint32_t changed = (request->running ^ v->set_up) & ALL_QUEUES;
	uint64_t features = request->features & v->features;
	unsigned int n;
	int ret = 0;

	/* If the guest controlled a former process, that ran what the driver knows not of. */
	for (n = 0; n < NR_QUEUES; n++) {
		if (request->running & v->set_up & BIT(n) &&
		    !is_set_up_so(v, n, &request->queues[n], features))
			return -EINVAL;
	}
	for (n = 0; n < NR_QUEUES && !ret; n++) {
		if (!(changed & BIT(n)))
			continue;
		if (v->set_up & BIT(n))
			ret = stop(v, n);
		else
			ret = set_up(v, n, &request->queues[n], features);
	}
	return ret;
}

/*
 * Rings end with their file, but close() alone does not release that: the process of another
 * device has it, too, from fork() until it closes what is not its own.
 */
static void end(struct vmm_vhost *v)
{
	unsigned int n;

	for (n = 0; n < NR_QUEUES; n++) {
		if (v->set_up & BIT(n))
			stop(v, n);
	}
	close(v->fd);
	if (v->tap_fd >= 0)
		close(v->tap_fd);
}

static void *vhost_thread(void *arg)
{
	struct vmm_vhost *v = arg;
	uint64_t one = 1;
	ssize_t n;

	for (;;) {
		while (sem_wait(&v->given))
			;
		if (v->job == JOB_QUIT)
			return NULL;
		if (v->job == JOB_END)
			end(v);
		else
			v->response = change(v, &v->request);
		/* Cannot fail: the counter is 0. */
		n = write(v->done_fd, &one, sizeof(one));
		(void)n;
	}
}

/* Requests, in the supervisor's thread */

static void give(struct vmm_vhost *v, enum job job)
{
	v->job = job;
	v->busy = true;
	v->late_at = now_ms() + LATE_S * 1000;
	sem_post(&v->given);
}

/* Believes nothing of what the process says: the guest may have taken it over. */
static void take_request(struct vmm_device *dev)
{
	struct vmm_vhost *v = dev->vhost;
	ssize_t n;

	n = recv(dev->request_fd, &v->request, sizeof(v->request), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* The end, as the process has died; or else it does not keep to the protocol. */
	if (n != sizeof(v->request)) {
		vmm_device_kill(dev);
		return;
	}
	v->generation = dev->generation;
	give(v, JOB_REQUEST);
}

static void respond(struct vmm_device *dev)
{
	struct vmm_vhost *v = dev->vhost;
	ssize_t n;

	/* Who has asked is dead. The successor asks again, and this is no response to that. */
	if (dev->request_fd < 0 || dev->generation != v->generation)
		return;
	n = send(dev->request_fd, &v->response, sizeof(v->response), MSG_DONTWAIT | MSG_NOSIGNAL);
	/* It would wait for ever. Its successor asks again. */
	if (n != sizeof(v->response))
		vmm_device_kill(dev);
}

static bool take_result(struct vmm_vhost *v)
{
	uint64_t count;

	if (read(v->done_fd, &count, sizeof(count)) != sizeof(count))
		return false;
	v->busy = false;
	return true;
}

void vmm_vhost_serve(struct vmm_device *dev)
{
	struct vmm_vhost *v = dev->vhost;

	if (!v->busy) {
		take_request(dev);
		return;
	}
	if (!take_result(v))
		return;
	if (v->job == JOB_END)
		vmm_device_fail(dev);
	else if (v->failing)
		give(v, JOB_END);
	else
		respond(dev);
}

void vmm_vhost_fail(struct vmm_device *dev)
{
	struct vmm_vhost *v = dev->vhost;

	v->failing = true;
	if (!v->busy)
		give(v, JOB_END);
}

int vmm_vhost_fd(const struct vmm_device *dev)
{
	return dev->vhost && dev->vhost->busy ? dev->vhost->done_fd : dev->request_fd;
}

int64_t vmm_vhost_late_at(const struct vmm_device *dev)
{
	return dev->vhost && dev->vhost->busy ? dev->vhost->late_at : INT64_MAX;
}

bool vmm_vhost_is_late(const struct vmm_device *dev)
{
	return dev->vhost && dev->vhost->busy && dev->vhost->late_at == INT64_MAX;
}

void vmm_vhost_warn_late(struct vmm_device *dev)
{
	struct vmm_vhost *v = dev->vhost;

	v->late_at = INT64_MAX;
	/* A guest may cause it again and again. */
	if (!v->warned_late)
		warnx("%s: vhost has been busy for %u s: the device waits for it, the VM goes on",
		      dev->name, LATE_S);
	v->warned_late = true;
}

void vmm_vhost_stop(struct vmm_device *dev, int64_t until)
{
	struct vmm_vhost *v = dev->vhost;
	struct pollfd p = { .events = POLLIN };
	int64_t left;

	if (!v || v->done_fd < 0)
		return;
	p.fd = v->done_fd;
	while (v->busy && !take_result(v)) {
		left = until - now_ms();
		if (left <= 0) {
			warnx("%s: vhost is busy: the VM ends, but the kernel keeps its process",
			      dev->name);
			return;
		}
		poll(&p, 1, left);
	}
	give(v, JOB_QUIT);
	pthread_join(v->thread, NULL);
	close(v->done_fd);
	v->done_fd = -1;
}

/* Start */

static struct vmm_vhost *open_vhost(struct vmm_device *dev, const char *path, uint64_t mask)
{
	struct vmm_vhost *v = calloc(1, sizeof(*v));
	uint64_t features;

	if (!v)
		err(EXIT_FAILURE, "calloc");
	v->name = dev->name;
	v->tap_fd = -1;
	v->fd = open(path, O_RDWR | O_CLOEXEC);
	if (v->fd < 0)
		err(EXIT_FAILURE, "cannot open %s", path);
	MUST_IOCTL(v->fd, VHOST_SET_OWNER, NULL);
	MUST_IOCTL(v->fd, VHOST_GET_FEATURES, &features);
	vmm_virtio_warn_missing(dev, dev->args.features & ~features);
	v->features = features & mask & dev->args.features;
	dev->args.features = v->features;
	/* The eventfd of errors */
	dev->args.nr_more_irqs = 1;
	dev->vhost = v;
	return v;
}

/* Sets the name in @ifr: if there is a % in @name the kernel chooses. */
static void open_tap(struct vmm_vhost *v, const char *name, struct ifreq *ifr)
{
	int size = sizeof(struct virtio_net_hdr_v1);

	v->tap_fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (v->tap_fd < 0)
		err(EXIT_FAILURE, "cannot open /dev/net/tun");
	if (!*name || strlen(name) >= sizeof(ifr->ifr_name))
		errx(EXIT_FAILURE, "'%s' cannot be the name of a network device", name);
	memcpy(ifr->ifr_name, name, strlen(name));
	ifr->ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	if (ioctl(v->tap_fd, TUNSETIFF, ifr))
		err(EXIT_FAILURE, "cannot use %s as a tap", name);
	MUST_IOCTL(v->tap_fd, TUNSETVNETHDRSZ, &size);
	/* The guest gets no packets without checksums, and none that are longer than its MTU. */
	MUST_IOCTL(v->tap_fd, TUNSETOFFLOAD, NULL);
}

static uint16_t mtu_of(struct ifreq *ifr)
{
	int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (sock < 0 || ioctl(sock, SIOCGIFMTU, ifr))
		err(EXIT_FAILURE, "cannot get the MTU of %s", ifr->ifr_name);
	close(sock);
	return ifr->ifr_mtu;
}

/*
 * One that is given has to be a MAC of one device: the lowest bit is for groups, and zeroes are
 * nobody's. sscanf() alone would take blanks and signs, too.
 */
static void set_mac(uint8_t *mac, const char *text)
{
	static const uint8_t nobody[6];
	char end;

	if (!text) {
		if (getrandom(mac, 6, 0) != 6)
			err(EXIT_FAILURE, "getrandom");
		/* administered locally, of one device */
		mac[0] = (mac[0] & ~3) | 2;
		return;
	}
	if (text[strspn(text, "0123456789abcdefABCDEF:")] ||
	    sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &mac[0], &mac[1], &mac[2],
		   &mac[3], &mac[4], &mac[5], &end) != 6 ||
	    mac[0] & 1 || !memcmp(mac, nobody, sizeof(nobody)))
		errx(EXIT_FAILURE, "%s is no MAC address of a device", text);
}

void vmm_net_open(struct vmm_device *dev, const char *option)
{
	const char *comma = strchrnul(option, ',');
	char *name = strndup(option, comma - option);
	struct ifreq ifr = { 0 };
	struct vmm_vhost *v;

	if (!name)
		err(EXIT_FAILURE, "strndup");
	set_mac(dev->args.mac, *comma ? comma + 1 : NULL);
	v = open_vhost(dev, "/dev/vhost-net", RING_FEATURES | BIT(VIRTIO_NET_F_MRG_RXBUF));
	open_tap(v, name, &ifr);
	dev->args.mtu = mtu_of(&ifr);
	free(name);
}

void vmm_vsock_open(struct vmm_device *dev, uint32_t cid)
{
	struct vmm_vhost *v = open_vhost(dev, "/dev/vhost-vsock",
					 RING_FEATURES | BIT(VIRTIO_VSOCK_F_SEQPACKET));

	dev->args.cid = cid;
	if (ioctl(v->fd, VHOST_VSOCK_SET_GUEST_CID, &dev->args.cid))
		err(EXIT_FAILURE, "the guest cannot have CID %u", cid);
}

static void set_memory(struct vmm_vhost *v, const struct vm *vm)
{
	struct {
		struct vhost_memory memory;
		struct vhost_memory_region region;
	} table = {
		.memory.nregions = 1,
		.region.memory_size = vm->ram_size,
		.region.userspace_addr = (uintptr_t)vm->ram,
	};

	v->memory.nr_regions = 1;
	v->memory.regions[0].size = vm->ram_size;
	v->memory.regions[0].host = vm->ram;
	MUST_IOCTL(v->fd, VHOST_SET_MEM_TABLE, &table);
}

/*
 * The driver's kicks do not leave the kernel: what is written to QueueNotify is taken by the
 * ioeventfd, before the region there.
 */
static void set_events(struct vmm_device *dev, unsigned int n)
{
	struct vhost_vring_file file = { .index = n };
	struct kvm_ioeventfd kick = {
		.datamatch = n,
		.addr = dev->regions[0].guest_paddr + VIRTIO_MMIO_QUEUE_NOTIFY,
		.len = 4,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};
	struct vmm_vhost *v = dev->vhost;

	v->kick_fds[n] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->kick_fds[n] < 0)
		err(EXIT_FAILURE, "eventfd");
	kick.fd = v->kick_fds[n];
	MUST_IOCTL(dev->vm_fd, KVM_IOEVENTFD, &kick);
	file.fd = v->kick_fds[n];
	MUST_IOCTL(v->fd, VHOST_SET_VRING_KICK, &file);
	file.fd = dev->irq_fd;
	MUST_IOCTL(v->fd, VHOST_SET_VRING_CALL, &file);
	file.fd = dev->more_irq_fds[0];
	MUST_IOCTL(v->fd, VHOST_SET_VRING_ERR, &file);
}

static void start_thread(struct vmm_vhost *v)
{
	sigset_t all, saved;
	int ret;

	v->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->done_fd < 0 || sem_init(&v->given, 0, 0))
		err(EXIT_FAILURE, "%s: cannot start a thread", v->name);
	/* Signals are for those who run vCPUs. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &saved);
	ret = pthread_create(&v->thread, NULL, vhost_thread, v);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	if (ret)
		errx(EXIT_FAILURE, "%s: cannot start a thread: %s", v->name, strerror(ret));
}

void vmm_vhost_create(struct vmm_device *dev, const struct vm *vm)
{
	unsigned int n;

	set_memory(dev->vhost, vm);
	for (n = 0; n < NR_QUEUES; n++)
		set_events(dev, n);
	start_thread(dev->vhost);
}
