// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-net whose virtqueues are processed by vhost-net: this task tells vhost where in the
 * driver's memory they are, and passes its interrupts on.
 *
 * vhost gets either a table of all the memory or, with an IOTLB, what it asks for.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include "device.h"
#include "net.h"

#define BIT(n)		(1ULL << (n))
#define REGIONS		64	/* as many as vhost accepts */
#define WINDOW		0x4000	/* memory mapped per miss; small, so that there are several */

struct vhost_queue {
	struct vduse_vq_info info;
	bool given;		/* to vhost */
	int call;		/* eventfd */
	unsigned long interrupts;
};

struct vhost_net {
	struct virtio_net_config config;
	int fd, tap;
	int error;		/* eventfd */
	bool iotlb;
	unsigned long misses;
	struct vhost_queue queues[2];
};

/* Features that do not concern vhost */
#define NOT_OF_VHOST	(BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_CSUM))

#define tell(vhost, request, argument) do { \
		if (ioctl((vhost)->fd, request, argument)) \
			err(1, #request); \
	} while (0)

static int event(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		err(1, "eventfd");
	return fd;
}

static void vhost_open(struct device *device, const char *name)
{
	struct vhost_net *vhost = calloc(1, sizeof(*vhost));
	uint64_t offered, backend = BIT(VHOST_BACKEND_F_IOTLB_MSG_V2);

	if (!vhost)
		err(1, "vhost-net");
	vhost->tap = tap_open(name, sizeof(struct virtio_net_hdr_v1));
	vhost->error = event();
	vhost->fd = open("/dev/vhost-net", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (vhost->fd < 0)
		err(1, "/dev/vhost-net");
	tell(vhost, VHOST_SET_OWNER, NULL);
	tell(vhost, VHOST_GET_FEATURES, &offered);
	if (device->features & ~offered)
		errx(1, "vhost-net does not offer 0x%lx", device->features & ~offered);
	vhost->iotlb = device->type == &vhost_net_iotlb_type;
	if (vhost->iotlb)
		tell(vhost, VHOST_SET_BACKEND_FEATURES, &backend);
	device->state = vhost;
	net_config(device, &vhost->config);
	/* The tap device takes offloads from the header; the driver sends chains. */
	device->features |= BIT(VIRTIO_NET_F_CSUM);
}

/* With an IOTLB, vhost gets the driver's addresses, else ours. */
static void set_addresses(struct device *device, unsigned int index)
{
	struct vhost_net *vhost = device->state;
	const struct vduse_vq_info *info = &vhost->queues[index].info;
	struct vhost_vring_addr address = {
		.index = index,
		.desc_user_addr = info->desc_addr,
		.avail_user_addr = info->driver_addr,
		.used_user_addr = info->device_addr,
	};

	if (!vhost->iotlb) {
		/* Each is contiguous in memory */
		address.desc_user_addr = (uintptr_t)vduse_at(&device->vduse, info->desc_addr, 1);
		address.avail_user_addr = (uintptr_t)vduse_at(&device->vduse, info->driver_addr, 1);
		address.used_user_addr = (uintptr_t)vduse_at(&device->vduse, info->device_addr, 1);
	}
	tell(vhost, VHOST_SET_VRING_ADDR, &address);
}

/* Running queues move as well. */
static void set_memory(struct device *device)
{
	struct vduse_mapping *before = vduse_map_anew(&device->vduse);
	const struct vduse_mapping *mapping = device->vduse.mappings;
	struct vhost_net *vhost = device->state;
	struct {
		struct vhost_memory memory;
		struct vhost_memory_region regions[REGIONS];
	} table = {};
	unsigned int n = 0;

	for (; mapping; mapping = mapping->next) {
		if (n == REGIONS)
			errx(1, "the driver's memory has more than %u regions", REGIONS);
		table.regions[n++] = (struct vhost_memory_region) {
			.guest_phys_addr = mapping->start,
			.memory_size = mapping->last - mapping->start + 1,
			.userspace_addr = (uintptr_t)mapping->address,
		};
	}
	table.memory.nregions = n;
	tell(vhost, VHOST_SET_MEM_TABLE, &table);
	for (unsigned int i = 0; i < device->type->queues; i++)
		if (vhost->queues[i].given)
			set_addresses(device, i);
	vduse_free(before);
}

static void send_message(struct vhost_net *vhost, const struct vhost_iotlb_msg *iotlb)
{
	struct vhost_msg_v2 message = { .type = VHOST_IOTLB_MSG_V2, .iotlb = *iotlb };

	if (write(vhost->fd, &message, sizeof(message)) != sizeof(message))
		err(1, "IOTLB message %u", iotlb->type);
}

/* Tell vhost about a window of memory. Returns false if the address is not mapped. */
static bool update_iotlb(struct device *device, uint64_t iova)
{
	const struct vduse_mapping *mapping = vduse_mapping(&device->vduse, iova);
	uint64_t start = iova & ~(WINDOW - 1ULL), last = iova | (WINDOW - 1);

	if (!mapping)
		return false;
	if (start < mapping->start)
		start = mapping->start;
	if (last > mapping->last)
		last = mapping->last;
	send_message(device->state, &(struct vhost_iotlb_msg) {
			.type = VHOST_IOTLB_UPDATE,
			.iova = start,
			.size = last - start + 1,
			.uaddr = (uintptr_t)mapping->address + (start - mapping->start),
			.perm = mapping->perm,
		});
	return true;
}

static void invalidate_iotlb(struct vhost_net *vhost, uint64_t start, uint64_t last)
{
	send_message(vhost, &(struct vhost_iotlb_msg) {
			.type = VHOST_IOTLB_INVALIDATE,
			.iova = start,
			/* The size of the whole address space would be 0. */
			.size = last - start + (last - start != UINT64_MAX),
		});
}

static void take_miss(struct device *device)
{
	struct vhost_net *vhost = device->state;
	struct vhost_msg_v2 message;
	ssize_t size = read(vhost->fd, &message, sizeof(message));

	if (size < 0 && errno == EAGAIN)
		return;
	if (size != sizeof(message) || message.iotlb.type != VHOST_IOTLB_MISS)
		errx(1, "vhost sent %zd bytes that are not a miss", size);
	vhost->misses++;
	if (!update_iotlb(device, message.iotlb.iova)) {
		warnx("vhost asks for 0x%llx, which is not mapped", message.iotlb.iova);
		device->complained = true;
	}
}

static void vhost_begin(struct device *device)
{
	struct vhost_net *vhost = device->state;
	uint64_t features = vduse_features(&device->vduse) & ~NOT_OF_VHOST;
	struct vhost_memory none = {};

	if (!vhost->iotlb)
		features &= ~BIT(VIRTIO_F_ACCESS_PLATFORM);
	tell(vhost, VHOST_SET_FEATURES, &features);
	/* vhost needs a table even if it does not use it. */
	if (vhost->iotlb)
		tell(vhost, VHOST_SET_MEM_TABLE, &none);
}

static void vhost_start(struct device *device, unsigned int index,
			const struct vduse_vq_info *info)
{
	struct vhost_net *vhost = device->state;

	vhost->queues[index] = (struct vhost_queue) { .info = *info, .call = event() };
}

static unsigned int to_base(const struct vduse_vq_info *info, bool packed)
{
	if (!packed)
		return info->split.avail_index;
	return info->packed.last_avail_idx | info->packed.last_avail_counter << 15 |
	       (info->packed.last_used_idx | info->packed.last_used_counter * 0x8000U) << 16;
}

static bool is_packed(struct device *device)
{
	return vduse_features(&device->vduse) & BIT(VIRTIO_F_RING_PACKED);
}

/*
 * The driver has kicked for the first time. Before that, the memory of its buffers might not have
 * been mapped yet.
 */
static void give(struct device *device, unsigned int index)
{
	struct vhost_net *vhost = device->state;
	struct vhost_queue *queue = &vhost->queues[index];
	struct vhost_vring_state num = { index, queue->info.num };
	struct vhost_vring_state base = { index, to_base(&queue->info, is_packed(device)) };
	/* vhost finds the kick in the eventfd. */
	struct vhost_vring_file kick = { index, device->queues[index].kick };
	struct vhost_vring_file call = { index, queue->call };
	struct vhost_vring_file error = { index, vhost->error };
	struct vhost_vring_file backend = { index, vhost->tap };

	if (!vhost->iotlb)
		set_memory(device);
	else if (!update_iotlb(device, queue->info.device_addr))
		/* vhost needs this immediately, and everything else once it runs */
		errx(1, "queue %u: the ring is not mapped", index);
	tell(vhost, VHOST_SET_VRING_NUM, &num);
	tell(vhost, VHOST_SET_VRING_BASE, &base);
	set_addresses(device, index);
	tell(vhost, VHOST_SET_VRING_KICK, &kick);
	tell(vhost, VHOST_SET_VRING_CALL, &call);
	tell(vhost, VHOST_SET_VRING_ERR, &error);
	tell(vhost, VHOST_NET_SET_BACKEND, &backend);
	queue->given = true;
}

static void vhost_stop(struct device *device, unsigned int index)
{
	struct vhost_net *vhost = device->state;
	struct vhost_vring_file none = { index, VHOST_FILE_UNBIND };

	/* vhost forgets its outstanding misses. */
	tell(vhost, VHOST_NET_SET_BACKEND, &none);
	close(vhost->queues[index].call);
	vhost->queues[index].given = false;
}

static void vhost_moved(struct device *device, uint64_t start, uint64_t last)
{
	struct vhost_net *vhost = device->state;

	if (!vhost->iotlb) {
		set_memory(device);
		return;
	}
	invalidate_iotlb(vhost, start, last);
	vduse_unmap(&device->vduse, start, last);
}

static unsigned int get_base(struct device *device, unsigned int index)
{
	struct vhost_net *vhost = device->state;
	struct vhost_vring_state base = { index };

	if (!vhost->queues[index].given)
		return to_base(&vhost->queues[index].info, is_packed(device));
	tell(vhost, VHOST_GET_VRING_BASE, &base);
	return base.num;
}

static void vhost_state(struct device *device, unsigned int index, struct vduse_vq_state *state)
{
	unsigned int base = get_base(device, index);

	if (!is_packed(device)) {
		state->split.avail_index = base;
		return;
	}
	state->packed.last_avail_idx = base & 0x7fff;
	state->packed.last_avail_counter = base >> 15 & 1;
	state->packed.last_used_idx = base >> 16 & 0x7fff;
	state->packed.last_used_counter = base >> 31;
}

static void vhost_report(struct device *device, unsigned int index)
{
	struct vhost_net *vhost = device->state;

	fprintf(stderr, "queue %u: vhost-net, size %u, base 0x%x, %lu interrupts, %lu misses\n",
		index, vhost->queues[index].info.num, get_base(device, index),
		vhost->queues[index].interrupts, vhost->misses);
}

static unsigned int vhost_wait(struct device *device, struct pollfd *fds, int *patience)
{
	struct vhost_net *vhost = device->state;
	unsigned int queues = device->type->queues;

	for (unsigned int i = 0; i < queues; i++) {
		struct device_queue *queue = &device->queues[i];

		fds[i].fd = !queue->running ? -1 : vhost->queues[i].given ? vhost->queues[i].call :
			    queue->kick;
		fds[i].events = POLLIN;
	}
	fds[queues] = (struct pollfd) { vhost->error, POLLIN };
	fds[queues + 1] = (struct pollfd) { vhost->fd, POLLIN };
	return queues + (vhost->iotlb ? 2 : 1);
}

static void vhost_work(struct device *device, const struct pollfd *fds)
{
	struct vhost_net *vhost = device->state;
	unsigned int queues = device->type->queues;
	uint64_t count;

	for (unsigned int i = 0; i < queues; i++) {
		struct vhost_queue *queue = &vhost->queues[i];

		if (!fds[i].revents)
			continue;
		if (!queue->given) {
			give(device, i);
		} else if (read(queue->call, &count, sizeof(count)) > 0) {
			queue->interrupts++;
			device_interrupt(device, i);
		}
	}
	if (fds[queues].revents && read(vhost->error, &count, sizeof(count)) > 0) {
		warnx("vhost reported %lu errors", count);
		device->complained = true;
	}
	if (vhost->iotlb && fds[queues + 1].revents)
		take_miss(device);
}

static const struct queue_worker vhost_worker = {
	.begin = vhost_begin,
	.start = vhost_start,
	.stop = vhost_stop,
	.moved = vhost_moved,
	.state = vhost_state,
	.report = vhost_report,
	.wait = vhost_wait,
	.work = vhost_work,
};

const struct device_type vhost_net_type = {
	.name = "vhost-net",
	.id = VIRTIO_ID_NET,
	.queues = 2,
	.worker = &vhost_worker,
	.open = vhost_open,
};

const struct device_type vhost_net_iotlb_type = {
	.name = "vhost-net-iotlb",
	.id = VIRTIO_ID_NET,
	.queues = 2,
	.worker = &vhost_worker,
	.open = vhost_open,
};
