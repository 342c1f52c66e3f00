// SPDX-License-Identifier: GPL-2.0-only
/* vhost.c itself, and what is in vq.h */
#include "fake_kernel.h"
#include <linux/vhost_iotlb.h>

static unsigned long searches;
#define vhost_iotlb_itree_first(...) (searches++, vhost_iotlb_itree_first(__VA_ARGS__))

#include "vhost.c"
#include "vq.h"

unsigned char vq_log[VQ_LOG_SIZE];

static struct vhost_dev dev;
static struct vhost_virtqueue vq, other, *vqs[] = { &vq, &other };
static struct eventfd_ctx errors, calls, logged;
static struct vq_config config;

static void add_region(struct vhost_iotlb *iotlb, u64 gpa, u64 size, const void *at, u32 perm)
{
	if (vhost_iotlb_add_range(iotlb, gpa, gpa + size - 1, (uintptr_t)at, perm))
		abort();
}

static void add_part(struct vhost_iotlb *iotlb, enum user_part part, u64 gpa, bool odd)
{
	unsigned char *at = user.byte + user.part[part].start;
	u64 size = user.part[part].size;
	u32 rights = VHOST_MAP_RW;

	if (odd && part == config.odd_part) {
		rights = config.odd_rights;
		if (!rights)
			return;
		if (config.odd_split) {
			add_region(iotlb, gpa, config.odd_split, at, rights);
			gpa += config.odd_split;
			at += config.odd_split;
			size -= config.odd_split;
		}
	}
	add_region(iotlb, gpa, size, at, rights);
}

/* The guest's memory, or what the IOTLB has. With an IOTLB, data is there only. */
static struct vhost_iotlb *make_regions(bool for_iotlb)
{
	const u64 tables = TABLE_LAST * TABLE_DESCS * sizeof(struct vring_desc);
	struct vhost_iotlb *iotlb = vhost_iotlb_alloc(64, 0);
	bool odd = for_iotlb && config.odd;
	u64 data = config.iotlb && !for_iotlb ? 1ULL << 44 : 0;

	add_part(iotlb, USER_DESC, DESC_GPA, odd);
	add_part(iotlb, USER_DRIVER, DRIVER_GPA, odd);
	add_part(iotlb, USER_DEVICE, DEVICE_GPA, odd);
	add_region(iotlb, TABLES_GPA, tables, user.byte + table_hva_offset(0), VHOST_MAP_RW);
	add_region(iotlb, TABLES_GPA + tables, tables / TABLE_LAST,
		   user.byte + table_hva_offset(TABLE_LAST), VHOST_MAP_RW);
	add_region(iotlb, DATA_GPA, DATA_SIZE, (void *)(DATA_HVA + data), VHOST_MAP_RW);
	add_region(iotlb, FAR_GPA, FAR_SIZE, (void *)(FAR_HVA + data), VHOST_MAP_RW);
	add_region(iotlb, CONST_GPA, CONST_SIZE, (void *)(CONST_HVA + data),
		   for_iotlb ? VHOST_MAP_RO : VHOST_MAP_RW);
	add_region(iotlb, LARGE_GPA, LARGE_SIZE, (void *)(LARGE_HVA + data), VHOST_MAP_RW);
	return iotlb;
}

static void make_parts(void)
{
	size_t large = config.num > RING_MAX ? USER_MEMORY : 0;
	bool packed = config.packed;

	user.part[USER_DESC] = (struct user_range){
		large ? large : DESC_AT, config.num * sizeof(struct vring_desc), true, packed,
		packed,
	};
	user.part[USER_DRIVER] = (struct user_range){
		large ? large + USER_LARGE / 2 : DRIVER_AT,
		vhost_get_avail_size(&vq, config.num), true, false,
	};
	user.part[USER_DEVICE] = (struct user_range){
		large ? large + 3 * USER_LARGE / 4 : DEVICE_AT,
		vhost_get_used_size(&vq, config.num), !packed, true,
	};
	user.part[USER_TABLES] = (struct user_range){
		TABLES_AT, table_hva_offset(RING_MAX) + TABLE_GAP - TABLES_AT, true, false,
	};
}

static long set_own_addr(void)
{
	uintptr_t base = (uintptr_t)user.byte;

	if (config.iotlb)
		return vq_set_addr(DESC_GPA, DRIVER_GPA, DEVICE_GPA);
	return vq_set_addr(base + user.part[USER_DESC].start, base + user.part[USER_DRIVER].start,
			   base + user.part[USER_DEVICE].start);
}

int vq_setup(const struct vq_config *c)
{
	long ret;

	vhost_vq_free_iovecs(&vq);
	vhost_vq_free_iovecs(&other);
	vhost_iotlb_free(dev.umem);
	vhost_iotlb_free(dev.iotlb);
	dev.umem = NULL;
	dev.iotlb = NULL;
	/* Was everything freed that the one before had? */
	if (dev.vqs)
		vhost_clear_msg(&dev);
	if (fake_allocations)
		return -EBUSY;
	vhost_dev_init(&dev, vqs, ARRAY_SIZE(vqs), UIO_MAXIOV, 1, 1, true, NULL);
	if (vhost_dev_alloc_iovecs(&dev))
		return -ENOMEM;
	config = *c;
	memset(&user, 0, sizeof(user));
	memset(vq_log, 0, sizeof(vq_log));
	vq.acked_features = BIT_ULL(VIRTIO_F_VERSION_1) |
		(u64)config.packed << VIRTIO_F_RING_PACKED |
		(u64)config.in_order << VIRTIO_F_IN_ORDER |
		(u64)config.event_idx << VIRTIO_RING_F_EVENT_IDX |
		(u64)config.log << VHOST_F_LOG_ALL;
	other.acked_features = vq.acked_features;
	other.private_data = NULL;
	make_parts();
	dev.umem = make_regions(false);
	vq.umem = dev.umem;
	if (config.iotlb) {
		dev.iotlb = make_regions(true);
		vq.iotlb = dev.iotlb;
	}
	vq.error_ctx = &errors;
	vq.call_ctx.ctx = &calls;
	vq.log_ctx = &logged;
	vq.log_base = (void __user *)VQ_LOG;

	ret = vq_set_num(config.num);
	if (!ret)
		ret = set_own_addr();
	if (!ret && !config.no_base)
		ret = vq_set_base(config.base);
	return ret;
}

int vq_start(void)
{
	int ret;

	vq.private_data = &vq;
	if (!vq_access_ok(&vq, vq.num, vq.desc, vq.avail, vq.used)) {
		vq.private_data = NULL;
		return -EFAULT;
	}
	ret = vhost_vq_init_access(&vq);
	errors.signals = 0;
	/* After other errors vhost has to do that, as not every backend does. */
	if (ret == -EFAULT)
		vq.private_data = NULL;
	return ret;
}

void vq_stop(void)
{
	vq.private_data = NULL;
}

bool vq_has_backend(void)
{
	return vq.private_data;
}

static long set_state(unsigned int ioctl, unsigned int num)
{
	struct vhost_vring_state state = { 0, num };

	return vhost_vring_ioctl(&dev, ioctl, &state);
}

long vq_set_num(unsigned int num)
{
	return set_state(VHOST_SET_VRING_NUM, num);
}

long vq_set_base(uint32_t base)
{
	return set_state(VHOST_SET_VRING_BASE, base);
}

uint32_t vq_get_base(void)
{
	struct vhost_vring_state state = { };

	if (vhost_vring_ioctl(&dev, VHOST_GET_VRING_BASE, &state))
		abort();
	return state.num;
}

long vq_set_addr(uint64_t desc, uint64_t driver, uint64_t device)
{
	struct vhost_vring_addr addr = {
		.flags = config.log << VHOST_VRING_F_LOG,
		.desc_user_addr = desc,
		.avail_user_addr = driver,
		.used_user_addr = device,
		.log_guest_addr = DEVICE_GPA,
	};

	return vhost_vring_ioctl(&dev, VHOST_SET_VRING_ADDR, &addr);
}

long vq_set_memory(void)
{
	struct {
		struct vhost_memory memory;
		struct vhost_memory_region regions[3];
	} table = {
		.memory.nregions = 3,
		.regions = {
			{ DESC_GPA, user.part[USER_DESC].size, (uintptr_t)user.byte + DESC_AT },
			{ DRIVER_GPA, user.part[USER_DRIVER].size,
			  (uintptr_t)user.byte + DRIVER_AT },
			{ DEVICE_GPA, user.part[USER_DEVICE].size,
			  (uintptr_t)user.byte + DEVICE_AT },
		},
	};

	return vhost_set_memory(&dev, &table.memory);
}

int vq_set_iotlb(void)
{
	return vhost_init_device_iotlb(&dev);
}

void vq_become_split(void)
{
	vq.acked_features &= ~BIT_ULL(VIRTIO_F_RING_PACKED);
}

void vq_start_other(bool start)
{
	other.private_data = start ? &other : NULL;
}

int vq_check_features(uint64_t features)
{
	return vhost_ring_check_features(&dev, features);
}

void vq_offer(bool packed, bool in_order)
{
	vhost_offer_packed = packed;
	vhost_offer_in_order = in_order;
}

uint64_t vq_offered(void)
{
	return vhost_ring_features();
}

void vq_get(struct vq_buffer *buffer, unsigned int iov_size, bool log)
{
	unsigned int i;

	buffer->out = ~0U;
	buffer->in = ~0U;
	/* not 0: a fetch has to begin with that */
	buffer->logs = 9;
	buffer->ret = vhost_get_vq_desc(&vq, buffer->iov, iov_size, &buffer->out, &buffer->in,
					log ? vq.log : NULL, log ? &buffer->logs : NULL);
	for (i = 0; log && i < buffer->logs && i < VQ_IOV; i++) {
		buffer->log[i].addr = vq.log[i].addr;
		buffer->log[i].len = vq.log[i].len;
	}
}

void vq_discard(const int *heads, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		vq.heads[i].id = heads[i];
	vhost_discard_vq_desc(&vq, vq.heads, n);
}

int vq_add_used(const int *heads, const uint32_t *lens, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		vq.heads[i] = (struct vring_used_elem){ heads[i], lens[i] };
	return vhost_add_used_n(&vq, vq.heads, n);
}

bool vq_signal(void)
{
	unsigned long before = calls.signals;

	vhost_signal(&dev, &vq);
	return calls.signals != before;
}

void vq_signal_nobody(void)
{
	vq.call_ctx.ctx = NULL;
	vhost_signal(&dev, &vq);
	vq.call_ctx.ctx = &calls;
}

bool vq_avail_empty(void)
{
	return vhost_vq_avail_empty(&dev, &vq);
}

bool vq_enable_notify(void)
{
	return vhost_enable_notify(&dev, &vq);
}

void vq_disable_notify(void)
{
	vhost_disable_notify(&dev, &vq);
}

bool vq_meta_prefetched(void)
{
	return vq_meta_prefetch(&vq);
}

void vq_map(bool known)
{
	struct vhost_iotlb_map *map = vhost_iotlb_itree_first(dev.umem, DATA_GPA, DATA_GPA);

	if (!vq.ring)
		return;
	known = known && !vq.iotlb;
	vq.ring->map.start = known ? map->start : 0;
	vq.ring->map.size = known ? map->size : 0;
	vq.ring->map.uaddr = known ? map->addr : 0;
}

struct vq_view vq_view(void)
{
	return (struct vq_view){
		.last_avail = vq.last_avail_idx,
		.last_used = vq.last_used_idx,
		.outstanding = vq.ring ? vq.ring->nr_outstanding : 0,
		.discarded = vq.ring ? vq.ring->nr_discarded : 0,
		.prefetched = vq.ring ? vq.ring->prefetch_len - vq.ring->prefetch_pos : 0,
		.map_start = vq.ring ? vq.ring->map.start : 0,
		.map_size = vq.ring ? vq.ring->map.size : 0,
	};
}

unsigned long vq_errors(void)
{
	return errors.signals;
}

void vq_forget_errors(void)
{
	errors.signals = 0;
}

unsigned long vq_log_signals(void)
{
	unsigned long n = logged.signals;

	logged.signals = 0;
	return n;
}

unsigned long vq_searches(void)
{
	unsigned long n = searches;

	searches = 0;
	return n;
}

unsigned long vq_allocations(void)
{
	return fake_allocations;
}

void vq_no_memory(bool fails)
{
	fake_no_memory = fails;
}

unsigned long vq_misses(void)
{
	struct vhost_msg_node *node;
	unsigned long n = 0;

	list_for_each_entry(node, &dev.read_list, node)
		n++;
	vhost_clear_msg(&dev);
	return n;
}

/* All fields that change while a virtqueue has a backend */
struct state {
	u16 last_avail_idx, avail_idx, last_used_idx, used_flags, signalled_used;
	u16 signalled_used_valid;
	struct vhost_ring ring;
};

struct ring_state {
	struct vhost_desc prefetch[RING_MAX];
	struct vhost_fetched fetched[RING_MAX];
};

#define RING_SIZE offsetof(struct vhost_ring, prefetch)
#define STATE_SIZE offsetof(struct state, ring.prefetch)

static unsigned int fetched_entries(void)
{
	return config.in_order ? config.num : 0;
}

void vq_save(struct vq_copy *copy)
{
	struct state *state = (void *)copy->state;
	struct ring_state *more = (void *)(copy->state + STATE_SIZE);

	BUILD_BUG_ON(STATE_SIZE + sizeof(*more) > sizeof(copy->state));
	memset(copy, 0, sizeof(*copy));
	state->last_avail_idx = vq.last_avail_idx;
	state->avail_idx = vq.avail_idx;
	state->last_used_idx = vq.last_used_idx;
	state->used_flags = vq.used_flags;
	state->signalled_used = vq.signalled_used;
	state->signalled_used_valid = vq.signalled_used_valid;
	if (!vq.ring)
		return;
	if (vq.ring->prefetch_len > RING_MAX)
		abort();
	memcpy(&state->ring, vq.ring, RING_SIZE);
	memcpy(more->prefetch, vq.ring->prefetch, sizeof(more->prefetch));
	memcpy(more->fetched, vq.ring->fetched, fetched_entries() * sizeof(more->fetched[0]));
}

void vq_restore(const struct vq_copy *copy)
{
	const struct state *state = (const void *)copy->state;
	const struct ring_state *more = (const void *)(copy->state + STATE_SIZE);

	vq.last_avail_idx = state->last_avail_idx;
	vq.avail_idx = state->avail_idx;
	vq.last_used_idx = state->last_used_idx;
	vq.used_flags = state->used_flags;
	vq.signalled_used = state->signalled_used;
	vq.signalled_used_valid = state->signalled_used_valid;
	errors.signals = 0;
	if (!vq.ring)
		return;
	memcpy(vq.ring, &state->ring, RING_SIZE);
	memcpy(vq.ring->prefetch, more->prefetch, sizeof(more->prefetch));
	memcpy(vq.ring->fetched, more->fetched, fetched_entries() * sizeof(more->fetched[0]));
}

size_t vq_state(unsigned char *to, bool with_copies)
{
	struct vq_copy copy;

	vq_save(&copy);
	memcpy(to, copy.state, sizeof(copy.state));
	return STATE_SIZE + (with_copies ? sizeof(struct ring_state) : 0);
}

int vq_handle(unsigned int num, uint16_t id, unsigned int descs, uint16_t *id_back,
	      unsigned int *descs_back)
{
	int handle;

	vq.num = num;
	vq.last_avail_idx = VHOST_PACKED_WRAP;
	vq.ring->nr_outstanding = 0;
	handle = vhost_packed_commit(&vq, id, descs, VHOST_PACKED);
	*id_back = vhost_handle_id(handle);
	*descs_back = vhost_handle_descs(handle);
	return handle;
}
