// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations on the file descriptors of vhost's devices
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <linux/vhost.h>
#include <linux/virtio_net.h>
#include <linux/virtio_vsock.h>
#include "fuzz.h"
#include "test_device.h"

static const char *const paths[] = {
	[NET] = "/dev/vhost-net",
	[VSOCK] = "/dev/vhost-vsock",
	[TEST] = TEST_DEVICE,
	[SCSI] = "/dev/vhost-scsi",
};

bool fuzz_have(enum device_kind kind)
{
	return !access(paths[kind], F_OK);
}

/* With what is in a->buffer, or there afterwards */
static long command(struct actor *a, unsigned long request)
{
	return ioctl(fuzz_fd(&a->device->fd), request, fuzz_argument(a));
}

/* The virtqueue that is meant, or one that there is not */
static unsigned int index_of(struct actor *a)
{
	return a->sane || !one_in(a, 4) ? a->queue : one_of(a, 2u, 3u, 100u, 1u << 31, ~0u);
}

static long state_command(struct actor *a, unsigned long request, unsigned int num)
{
	struct vhost_vring_state *arg = (void *)a->buffer;

	*arg = (struct vhost_vring_state) { index_of(a), num };
	fuzz_did(a, arg->index, num);
	return command(a, request);
}

static long file_command(struct actor *a, unsigned long request, int fd)
{
	struct vhost_vring_file *arg = (void *)a->buffer;

	*arg = (struct vhost_vring_file) { index_of(a), fd };
	fuzz_did(a, arg->index, fd);
	return command(a, request);
}

static long u64_command(struct actor *a, unsigned long request, uint64_t value)
{
	*(uint64_t *)a->buffer = value;
	fuzz_did(a, 0, value);
	return command(a, request);
}

static long int_command(struct actor *a, unsigned long request, int value)
{
	*(int *)a->buffer = value;
	fuzz_did(a, value, 0);
	return command(a, request);
}

/* In the devices' memory, or where there is nothing that could be overwritten */
static uint64_t some_address(struct actor *a)
{
	uint64_t at = (uintptr_t)fuzz.theirs + below(a, MEMORY_SIZE);

	switch (below(a, 8)) {
	case 0:
		return one_of(a, 0ul, 8ul, 1ul << 47, 1ul << 62, 0xffff888000000000ul, -16ul, ~0ul);
	case 1:
		/* the last of the memory, which ends too early for most */
		return (uintptr_t)fuzz.theirs + MEMORY_SIZE - 1 - below(a, 64);
	case 2:
		return at;
	default:
		return at & -one_of(a, 2ul, 4ul, 16ul, 4096ul);
	}
}

/*
 * In the guest. The log has a bit for each of its pages, so those numbers are small enough for
 * what is behind the log, or so large that no log has room for them.
 */
static uint64_t some_gpa(struct actor *a)
{
	uint64_t gpa = MEMORY_GPA + below(a, MEMORY_SIZE);

	switch (below(a, 8)) {
	case 0:
		return one_of(a, 0ul, 1ul << 32, 1ul << 40, 1ul << 62, 1ul << 63, -4096ul, ~0ul);
	case 1:
		return gpa;
	default:
		return gpa & -4096ul;
	}
}

/* No more than there is room for behind the memory, or more than any address space has */
static uint64_t some_size(struct actor *a)
{
	return one_in(a, 4) ? one_of(a, 0ul, 1ul, 100ul, 1ul << 24, 1ul << 63, ~0ul) :
	       one_of(a, 4096ul, 4096ul, 8192ul, MEMORY_REGION, MEMORY_SIZE);
}

static long do_open(struct actor *a)
{
	int fd = open(paths[a->device->kind],
		      O_RDWR | O_CLOEXEC | (one_in(a, 4) ? 0 : O_NONBLOCK));

	fuzz_did(a, a->device->kind, fd);
	return fuzz_replace(&a->device->fd, fd);
}

static long do_owner(struct actor *a)
{
	return ioctl(fuzz_fd(&a->device->fd), VHOST_SET_OWNER);
}

static long do_reset_owner(struct actor *a)
{
	return ioctl(fuzz_fd(&a->device->fd), VHOST_RESET_OWNER);
}

/* Which kind of thread the worker will be, before there is an owner */
static long do_thread(struct actor *a)
{
	uint8_t value = fuzz.kthreads ? below(a, 2) : VHOST_FORK_OWNER_TASK;

	if (!a->sane)
		value = 2 + below(a, 254);
	*a->buffer = value;
	fuzz_did(a, value, 0);
	return command(a, VHOST_SET_FORK_FROM_OWNER);
}

static uint64_t some_features(struct actor *a)
{
	struct ring_kind kind = a->device->ring[0].kind;
	uint64_t features;

	if (!a->sane) {
		kind.packed = below(a, 2);
		kind.in_order = below(a, 2);
	}
	features = kind_features(kind);
	if (one_in(a, 3))
		features |= BIT(VHOST_F_LOG_ALL);
	if (one_in(a, 4) && a->device->kind != TEST)
		features |= BIT(VIRTIO_F_ACCESS_PLATFORM);
	if (a->device->kind == NET && one_in(a, 2))
		features |= BIT(VIRTIO_NET_F_MRG_RXBUF);
	if (a->device->kind == NET && one_in(a, 4))
		features |= BIT(VHOST_NET_F_VIRTIO_NET_HDR);
	if (a->device->kind == VSOCK && one_in(a, 2))
		features |= BIT(VIRTIO_VSOCK_F_SEQPACKET);
	/* not a device of this version's; one that there is not; any */
	if (!a->sane)
		features ^= one_of(a, 0ul, BIT(VIRTIO_F_VERSION_1), 1ul << 37, ~0ul) &
			    (one_in(a, 2) ? ~0ul : fuzz_next(a));
	return features;
}

static long do_features(struct actor *a)
{
	return u64_command(a, VHOST_SET_FEATURES, some_features(a));
}

static long do_backend_features(struct actor *a)
{
	return u64_command(a, VHOST_SET_BACKEND_FEATURES,
			   a->sane ? BIT(VHOST_BACKEND_F_IOTLB_MSG_V2) * below(a, 2) :
				     fuzz_next(a));
}

/* The memory, with some of it elsewhere or missing, or regions that make no sense */
static long do_memory(struct actor *a)
{
	struct vhost_memory *arg = (void *)a->buffer;
	struct vhost_memory_region *region;
	unsigned int n = a->sane ? 1 : below(a, 4);

	*arg = (struct vhost_memory) { .nregions = MEMORY_REGIONS };
	for (unsigned int i = 0; i < MEMORY_REGIONS; i++)
		arg->regions[i] = (struct vhost_memory_region) {
			.guest_phys_addr = MEMORY_GPA + i * MEMORY_REGION,
			.memory_size = MEMORY_REGION,
			.userspace_addr = (uintptr_t)fuzz.memory.region[i],
		};
	for (region = arg->regions + below(a, MEMORY_REGIONS); n--;
	     region = arg->regions + below(a, MEMORY_REGIONS)) {
		switch (below(a, a->sane ? 8 : 4)) {
		case 0:
			region->userspace_addr = (uintptr_t)fuzz.memory.region[below(a, 8)];
			break;
		case 1:
			region->memory_size = a->sane ? MEMORY_REGION / 2 : some_size(a);
			break;
		case 2:
			if (!a->sane)
				region->userspace_addr = some_address(a);
			break;
		case 3:
			if (!a->sane)
				region->guest_phys_addr = some_gpa(a);
			break;
		}
	}
	if (!a->sane && one_in(a, 4))
		arg->nregions = one_of(a, 0u, 1u, 7u, 65u, ~0u);
	if (!a->sane && one_in(a, 8))
		arg->padding = 1;
	fuzz_did(a, arg->nregions, arg->regions[0].memory_size);
	return command(a, VHOST_SET_MEM_TABLE);
}

static long do_log_base(struct actor *a)
{
	return u64_command(a, VHOST_SET_LOG_BASE,
			   a->sane ? (uintptr_t)fuzz_theirs(fuzz.log) : some_address(a));
}

static long do_log_fd(struct actor *a)
{
	return int_command(a, VHOST_SET_LOG_FD, one_in(a, 4) ? -1 : fuzz_pick(a, EVENT));
}

static long do_num(struct actor *a)
{
	return state_command(a, VHOST_SET_VRING_NUM,
			     a->sane ? a->device->ring[a->queue].num :
			     one_of(a, 0u, 1u, 2u, 3u, 256u, 32768u, 32769u, 65536u, ~0u));
}

static long do_addr(struct actor *a)
{
	const struct ring *ring = &a->device->ring[a->queue];
	struct vhost_vring_addr *arg = (void *)a->buffer;

	*arg = (struct vhost_vring_addr) {
		.index = index_of(a),
		.flags = BIT(VHOST_VRING_F_LOG) * below(a, 2),
		.desc_user_addr = (uintptr_t)fuzz_theirs(ring->desc),
		.avail_user_addr = (uintptr_t)fuzz_theirs(ring->driver),
		.used_user_addr = (uintptr_t)fuzz_theirs(ring->device),
		.log_guest_addr = memory_gpa(&fuzz.memory, ring->device),
	};
	if (!a->sane) {
		*(one_in(a, 3) ? &arg->desc_user_addr : one_in(a, 2) ? &arg->avail_user_addr :
		  &arg->used_user_addr) = some_address(a);
		if (one_in(a, 4))
			arg->log_guest_addr = some_gpa(a);
		if (one_in(a, 8))
			arg->flags = fuzz_next(a);
	}
	fuzz_did(a, arg->index, arg->used_user_addr);
	return command(a, VHOST_SET_VRING_ADDR);
}

/* Where a new ring begins, or where the driver has come to */
static long do_base(struct actor *a)
{
	const struct ring *ring = &a->device->ring[a->queue];
	uint32_t base = ring_base(ring);

	if (!a->sane)
		base = one_in(a, 4) ? fuzz_next(a) : base + below(a, 512) - 256;
	return state_command(a, VHOST_SET_VRING_BASE, base);
}

static long do_get_base(struct actor *a)
{
	return state_command(a, VHOST_GET_VRING_BASE, 0);
}

static long do_kick_fd(struct actor *a)
{
	int fd = fuzz_pick(a, EVENT);
	long ret = file_command(a, VHOST_SET_VRING_KICK, fd);

	if (!ret)
		a->device->kick[a->queue] = fd;
	return ret;
}

static long do_call_fd(struct actor *a)
{
	return file_command(a, VHOST_SET_VRING_CALL, one_in(a, 4) ? -1 : fuzz_pick(a, EVENT));
}

static long do_err_fd(struct actor *a)
{
	return file_command(a, VHOST_SET_VRING_ERR, one_in(a, 4) ? -1 : fuzz_pick(a, EVENT));
}

static long do_endian(struct actor *a)
{
	return state_command(a, VHOST_SET_VRING_ENDIAN, a->sane ? below(a, 2) : fuzz_next(a));
}

/*
 * Microseconds. A worker can go on for all of them, whoever is killed: a kernel thread always, a
 * task with what it has left to do after SIGKILL.
 */
static long do_busyloop(struct actor *a)
{
	return state_command(a, VHOST_SET_VRING_BUSYLOOP_TIMEOUT,
			     a->sane || fuzz.kthreads ? one_of(a, 0u, 1u, 50u, 1000u) : 100000u);
}

static long do_get(struct actor *a)
{
	return state_command(a, one_of(a, VHOST_GET_FEATURES, VHOST_GET_BACKEND_FEATURES,
				       VHOST_GET_VRING_ENDIAN, VHOST_GET_VRING_BUSYLOOP_TIMEOUT,
				       VHOST_GET_FORK_FROM_OWNER), 0);
}

static long do_new_worker(struct actor *a)
{
	long ret = command(a, VHOST_NEW_WORKER);

	if (!ret)
		a->worker = ((struct vhost_worker_state *)a->buffer)->worker_id;
	return ret;
}

static long do_free_worker(struct actor *a)
{
	return int_command(a, VHOST_FREE_WORKER, a->sane ? a->worker : below(a, 4));
}

static long do_attach_worker(struct actor *a)
{
	/* It has the same layout. */
	return state_command(a, VHOST_ATTACH_VRING_WORKER, a->sane ? a->worker : below(a, 4));
}

static long do_get_worker(struct actor *a)
{
	return state_command(a, VHOST_GET_VRING_WORKER, 0);
}

/* What is not vhost's, or another device's */
static long do_foreign(struct actor *a)
{
	return u64_command(a, one_of(a, VHOST_VDPA_GET_STATUS, VHOST_VDPA_SUSPEND,
				     VHOST_SCSI_CLEAR_ENDPOINT, VHOST_SCSI_SET_EVENTS_MISSED,
				     VHOST_VSOCK_SET_RUNNING, VHOST_NET_SET_BACKEND,
				     _IO(VHOST_VIRTIO, 0x7f), FIONREAD), fuzz_next(a));
}

/* A message of userspace's IOTLB, in the old form or the new one, which are alike */
static long iotlb_message(struct actor *a, uint8_t type, uint64_t iova, uint64_t size,
			  uint64_t uaddr, uint8_t perm)
{
	struct vhost_msg_v2 *message = (void *)a->buffer;

	*message = (struct vhost_msg_v2) {
		.type = one_in(a, 2) ? VHOST_IOTLB_MSG : VHOST_IOTLB_MSG_V2,
		.iotlb = { iova, size, uaddr, perm, type },
	};
	fuzz_did(a, type, iova);
	if (write(fuzz_fd(&a->device->fd), fuzz_argument(a), sizeof(*message)) ==
	    sizeof(*message))
		return 0;
	return -1;
}

/* The guest's memory, and the rings, whose addresses are the same with an IOTLB and without */
static long iotlb_map_all(struct actor *a)
{
	for (unsigned int i = 0; i < MEMORY_REGIONS; i++)
		if (iotlb_message(a, VHOST_IOTLB_UPDATE, MEMORY_GPA + i * MEMORY_REGION,
				  MEMORY_REGION, (uintptr_t)fuzz.memory.region[i],
				  VHOST_ACCESS_RW))
			return -1;
	return iotlb_message(a, VHOST_IOTLB_UPDATE, (uintptr_t)fuzz.theirs, MEMORY_SIZE,
			     (uintptr_t)fuzz.theirs, VHOST_ACCESS_RW);
}

static uint8_t some_access(struct actor *a)
{
	return one_of(a, VHOST_ACCESS_RW, VHOST_ACCESS_RW, VHOST_ACCESS_RO, VHOST_ACCESS_WO, 0);
}

static long do_iotlb(struct actor *a)
{
	uint8_t type = one_in(a, 2) ? VHOST_IOTLB_UPDATE : VHOST_IOTLB_INVALIDATE;
	uint8_t *page = fuzz_page(a);

	if (!a->sane)
		return iotlb_message(a, one_in(a, 4) ? fuzz_next(a) : type,
				     one_in(a, 2) ? some_gpa(a) : some_address(a), some_size(a),
				     some_address(a), fuzz_next(a));
	if (one_in(a, 3))
		return iotlb_map_all(a);
	return iotlb_message(a, type, one_in(a, 2) ? MEMORY_GPA + (page - fuzz.theirs) :
			     (uintptr_t)page, MEMORY_PAGE, (uintptr_t)page, some_access(a));
}

/* What the device misses: take the message, and serve it. */
static long do_miss(struct actor *a)
{
	struct vhost_msg_v2 *message = (void *)a->buffer;
	ssize_t n = read(fuzz_fd(&a->device->fd), fuzz_argument(a), sizeof(*message));
	uint64_t iova, offset;

	fuzz_did(a, n, message->iotlb.iova);
	if (n != sizeof(*message))
		return n < 0 ? -1 : fuzz_failed(ENODATA);
	iova = message->iotlb.iova & ~(MEMORY_PAGE - 1);
	offset = iova - (uintptr_t)fuzz.theirs;
	if (offset >= MEMORY_SIZE)
		offset = iova - MEMORY_GPA;
	if (offset >= MEMORY_SIZE)
		return fuzz_failed(ERANGE);
	return iotlb_message(a, VHOST_IOTLB_UPDATE, iova, MEMORY_PAGE,
			     (uintptr_t)fuzz.theirs + offset, some_access(a));
}

/* The virtqueue of vhost-net begins; of the others, all do. */
static long start(struct actor *a)
{
	switch (a->device->kind) {
	case NET:
		return file_command(a, VHOST_NET_SET_BACKEND,
				    fuzz_pick(a, one_in(a, 4) ? PACKET : TAP));
	case VSOCK:
		return int_command(a, VHOST_VSOCK_SET_RUNNING, 1);
	case TEST:
		return int_command(a, VHOST_TEST_RUN, 1);
	default:
		return fuzz_failed(EOPNOTSUPP);
	}
}

static long stop(struct actor *a)
{
	switch (a->device->kind) {
	case NET:
		return file_command(a, VHOST_NET_SET_BACKEND, -1);
	case VSOCK:
		return int_command(a, VHOST_VSOCK_SET_RUNNING, 0);
	case TEST:
		/* The latter ends kicks, too, until there is another eventfd for them. */
		return one_in(a, 4) ? file_command(a, VHOST_TEST_SET_BACKEND, -1) :
				      int_command(a, VHOST_TEST_RUN, 0);
	default:
		return fuzz_failed(EOPNOTSUPP);
	}
}

static long do_start(struct actor *a)
{
	if (!a->sane && a->device->kind == TEST)
		return int_command(a, VHOST_TEST_RUN, fuzz_next(a));
	return start(a);
}

static long do_stop(struct actor *a)
{
	return stop(a);
}

static long do_cid(struct actor *a)
{
	return u64_command(a, VHOST_VSOCK_SET_GUEST_CID, a->sane ? a->device->cid :
			   one_of(a, 0ul, 2ul, 4096ul, 4097ul, 0xfffffffful, 1ul << 40));
}

/* It goes on where it was, in the memory as it is now. */
static long do_restart(struct actor *a)
{
	uint32_t base;

	a->sane = true;
	if (stop(a) || do_get_base(a))
		return -1;
	base = ((struct vhost_vring_state *)a->buffer)->num;
	return state_command(a, VHOST_SET_VRING_BASE, base) || do_addr(a) || start(a) ? -1 : 0;
}

static const struct ring_kind kinds[] = {
	{ .sorted = true },
	{ .sorted = true, .in_order = true },
	{ .sorted = true, .packed = true },
	{ .sorted = true, .packed = true, .in_order = true },
};

/* New rings, which are empty */
static void renew(struct actor *a)
{
	struct ring_kind kind = kinds[below(a, ARRAY_SIZE(kinds))];
	struct ring *ring;

	kind.indirect = below(a, 2);
	kind.event_idx = below(a, 2);
	for (ring = a->device->ring; ring < a->device->ring + 2; ring++) {
		ring->kind = kind;
		ring->num = one_in(a, 4) ? one_of(a, 1u, 2u, 4u) : one_of(a, 16u, 64u, 256u);
		if (kind.packed && one_in(a, 4))
			ring->num = one_of(a, 3u, 7u, 100u, 255u);
		ring_reset(ring);
	}
}

static long set_up_queue(struct actor *a)
{
	return do_num(a) || do_addr(a) || do_base(a) || do_kick_fd(a) || do_call_fd(a) ||
	       do_err_fd(a) ? -1 : 0;
}

static long set_up(struct actor *a)
{
	struct fuzz_device *device = a->device;
	unsigned int nr_queues = device->kind == TEST ? 1 : 2;

	if (fuzz_fd(&device->fd) < 0 || one_in(a, 3))
		do_open(a);
	for (a->queue = 0; a->queue < nr_queues; a->queue++)
		stop(a);
	if (one_in(a, 2))
		do_thread(a);
	if (do_owner(a) && errno != EBUSY)
		return -1;
	a->queue = 0;
	if (do_memory(a) || do_log_base(a) || do_features(a))
		return -1;
	/* Fails without an IOTLB. */
	iotlb_map_all(a);
	if (device->kind == VSOCK && do_cid(a))
		return -1;
	for (a->queue = 0; a->queue < nr_queues; a->queue++)
		if (set_up_queue(a))
			return -1;
	for (a->queue = 0; a->queue < nr_queues; a->queue++)
		if (start(a))
			return -1;
	return 0;
}

/* All that a proper VMM does, with whatever others do in between */
static long do_set_up(struct actor *a)
{
	long ret;

	if (!fuzz_lock(a))
		return fuzz_failed(EBUSY);
	a->sane = true;
	renew(a);
	ret = set_up(a);
	fuzz_unlock(a);
	return ret;
}

/*
 * VHOST_TEST_SET_BACKEND of a device that nobody else has: it is for a ring with an eventfd for
 * kicks, and Linux does not check that. So only in a process without other threads, one of which
 * may be about to use a file descriptor that was another file until now.
 */
static long do_test_backend(struct actor *a)
{
	struct fuzz_device own = fuzz.devices[TEST];
	long ret = -1;
	int event;

	if (own.kind != TEST)
		return fuzz_failed(ENODEV);
	if (!a->forked)
		return fuzz_failed(EPERM);
	event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	a->device = &own;
	a->queue = 0;
	a->sane = true;
	own.fd = -1;
	if (!do_open(a) && !do_owner(a) && !do_memory(a) && !do_features(a) && !set_up_queue(a) &&
	    !file_command(a, VHOST_SET_VRING_KICK, event) && !start(a) &&
	    !file_command(a, VHOST_TEST_SET_BACKEND, -1))
		ret = file_command(a, VHOST_TEST_SET_BACKEND, 0);
	eventfd_write(event, 1);
	close(own.fd);
	close(event);
	a->device = &fuzz.devices[TEST];
	return ret;
}

const struct fuzz_op fuzz_device_ops[] = {
	{ "open", do_open, 2 },
	{ "set owner", do_owner, 2 },
	{ "reset owner", do_reset_owner, 1 },
	{ "kind of thread", do_thread, 2 },
	{ "features", do_features, 3 },
	{ "backend features", do_backend_features, 1 },
	{ "memory", do_memory, 4 },
	{ "log base", do_log_base, 2 },
	{ "log fd", do_log_fd, 1 },
	{ "num", do_num, 2 },
	{ "addr", do_addr, 3 },
	{ "base", do_base, 2 },
	{ "get base", do_get_base, 2 },
	{ "kick fd", do_kick_fd, 3 },
	{ "call fd", do_call_fd, 2 },
	{ "err fd", do_err_fd, 1 },
	{ "endian", do_endian, 1, true },
	{ "busyloop", do_busyloop, 2 },
	{ "get", do_get, 2 },
	{ "new worker", do_new_worker, 2, true },
	{ "free worker", do_free_worker, 2, true },
	{ "attach worker", do_attach_worker, 2, true },
	{ "get worker", do_get_worker, 1, true },
	{ "foreign", do_foreign, 1, true },
	{ "IOTLB", do_iotlb, 6 },
	{ "IOTLB miss", do_miss, 6, false, true },
	{ "start", do_start, 4 },
	{ "stop", do_stop, 2 },
	{ "CID", do_cid, 1 },
	{ "restart", do_restart, 8 },
	{ "set up", do_set_up, 10 },
	{ "test backend", do_test_backend, 1, true },
	{ }
};
