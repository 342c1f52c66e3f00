// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_vhost.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
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

/*
 * Of what vhost offers, that which concerns the driver and nobody else: no log of what is
 * written, no IOTLB.
 */
#define RING_FEATURES	(BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) | \
			 BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED) | \
			 BIT(VIRTIO_F_IN_ORDER))

struct vmm_vhost {
	const char *name;		/* of the device */
	int fd;
	int tap_fd;			/* -1: it is vhost-vsock */
	uint64_t features;		/* that a process may ask for */
	uint32_t set_up;		/* bit n: queue n is to run */
	/* Of queues that are set up */
	uint64_t agreed;
	struct virtqueue_state queues[NR_QUEUES];
	struct guest_memory memory;	/* as vhost sees it, by addresses of this process */
	int kick_fds[NR_QUEUES];
	bool warned[1 << _IOC_NRBITS];	/* that an ioctl of this number has failed */
};

/* Requests */

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

	/* If the guest had taken over a former process, that ran what the driver knows not of. */
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

/* Believes nothing of what the process says: the guest may have taken it over. */
void vmm_vhost_serve(struct vmm_device *dev)
{
	struct vhost_request request;
	int32_t response;
	ssize_t n;

	n = recv(dev->request_fd, &request, sizeof(request), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* The end, as the process has died; or else it does not keep to the protocol. */
	if (n != sizeof(request)) {
		vmm_device_kill(dev);
		return;
	}
	response = change(dev->vhost, &request);
	n = send(dev->request_fd, &response, sizeof(response), MSG_DONTWAIT | MSG_NOSIGNAL);
	/* It would wait for ever. Its successor asks again. */
	if (n != sizeof(response))
		vmm_device_kill(dev);
}

/*
 * Rings end with their file, but close() alone does not release that: the process of another
 * device has it, too, from fork() until it closes what is not its own.
 */
void vmm_vhost_end(struct vmm_device *dev)
{
	struct vmm_vhost *v = dev->vhost;
	unsigned int n;

	for (n = 0; n < NR_QUEUES; n++) {
		if (v->set_up & BIT(n))
			stop(v, n);
	}
	close(v->fd);
	if (v->tap_fd >= 0)
		close(v->tap_fd);
}

/* Start */

/* Opened before there are other threads. */
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

void vmm_vhost_create(struct vmm_device *dev, const struct vm *vm)
{
	unsigned int n;

	set_memory(dev->vhost, vm);
	for (n = 0; n < NR_QUEUES; n++)
		set_events(dev, n);
}
