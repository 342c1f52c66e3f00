// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers, the queues and the requests of a virtio disk. Whatever came before, a driver
 * that resets the device can use it.
 */
#include <pthread.h>

/* There is no other thread to wait for. */
static int fake_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);

#define pthread_cond_wait	fake_cond_wait
#define main			virtio_blk_main
#include "../virtio_blk.c"
#undef main
#undef pthread_cond_wait

#include "fuzz.h"
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#define NUM		8
#define DESC		FUZZ_LOW
#define DRIVER		(FUZZ_LOW + FUZZ_PAGE)
#define DEVICE		(FUZZ_LOW + 2 * FUZZ_PAGE)
#define BUFFER		(FUZZ_HIGH + FUZZ_PAGE)

#define DRIVER_BITS	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)

static struct device_state state;
static uint16_t avail_idx;	/* of a split ring */
static unsigned int next_desc;
static bool wrap;		/* of a packed ring, at next_desc */

static uint32_t access_register(bool write, unsigned int offset, uint32_t data)
{
	struct ioregionfd_cmd cmd = fuzz_command(write, offset, 4, data);
	uint64_t value;

	fuzz_check(command(0, &cmd, &value) == IOREGIONFD_STATUS_DONE);
	return value;
}

static void write_register_of(unsigned int offset, uint32_t data)
{
	access_register(true, offset, data);
}

/* What the other thread does when an operation has completed; nothing else wakes it. */
static void wait_for_completion(void)
{
	fuzz_check(fake_ring_busy());
	fake_ring_release();
	submit_and_interrupt(&this_blk);
}

static int fake_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	(void)cond;
	(void)mutex;
	wait_for_completion();
	return 0;
}

static void start_process(void)
{
	struct blk *blk = &this_blk;

	fake_ring_clear();
	/* All but the large array, of which nothing is used before it is set. */
	memset(blk, 0, offsetof(struct blk, ios));
	pthread_mutex_init(&blk->lock, NULL);
	blk->device.state = &state;
	blk->device.args = state.args;
	blk->device.memory = *fuzz_memory();
	init_mmio(blk);
	init_ring(blk);
	virtio_mmio_start(&blk->mmio);
}

static void bind_driver(uint64_t features)
{
	static const uint64_t addrs[] = { DESC, DRIVER, DEVICE };
	unsigned int i;

	write_register_of(VIRTIO_MMIO_STATUS, 0);
	fuzz_check(!access_register(false, VIRTIO_MMIO_STATUS, 0));
	write_register_of(VIRTIO_MMIO_STATUS, DRIVER_BITS);
	for (i = 0; i < 2; i++) {
		write_register_of(VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		write_register_of(VIRTIO_MMIO_DRIVER_FEATURES, features >> 32 * i);
	}
	write_register_of(VIRTIO_MMIO_STATUS, DRIVER_BITS | VIRTIO_CONFIG_S_FEATURES_OK);
	write_register_of(VIRTIO_MMIO_QUEUE_SEL, 0);
	write_register_of(VIRTIO_MMIO_QUEUE_NUM, NUM);
	for (i = 0; i < 3; i++) {
		write_register_of(VIRTIO_MMIO_QUEUE_DESC_LOW + 0x10 * i, addrs[i]);
		write_register_of(VIRTIO_MMIO_QUEUE_DESC_LOW + 0x10 * i + 4, addrs[i] >> 32);
		memset(fuzz_host(addrs[i]), 0, FUZZ_PAGE);
	}
	avail_idx = 0;
	next_desc = 0;
	wrap = true;
	write_register_of(VIRTIO_MMIO_QUEUE_READY, 1);
	write_register_of(VIRTIO_MMIO_STATUS, DRIVER_BITS | VIRTIO_CONFIG_S_FEATURES_OK |
			  VIRTIO_CONFIG_S_DRIVER_OK);
}

static uint64_t choose_features(struct fuzz_input *in)
{
	static const unsigned int bits[] = {
		VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER, VIRTIO_RING_F_EVENT_IDX,
		VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_DISCARD,
		VIRTIO_BLK_F_WRITE_ZEROES,
	};
	uint64_t features = BIT(VIRTIO_F_VERSION_1);
	uint8_t byte = fuzz_8(in);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bits); i++)
		features |= byte & 1 << i ? BIT(bits[i]) : 0;
	return features;
}

/* The ring, and beyond it tables */
static void write_descriptor(struct fuzz_input *in)
{
	uint8_t n = fuzz_8(in) % (4 * NUM);
	uint64_t addr = fuzz_addr(in);
	uint32_t len = fuzz_16(in);
	uint16_t flags = fuzz_8(in), other = fuzz_8(in) % (NUM + 1);

	if (virtio_mmio_has(&this_blk.mmio, VIRTIO_F_RING_PACKED)) {
		struct vring_packed_desc *desc = fuzz_host(DESC);

		/* AVAIL and USED come from the upper bits. */
		desc[n] = (struct vring_packed_desc) {
			.addr = addr, .len = len, .id = other,
			.flags = (flags & 7) | (flags & 8 ? 1 << VRING_PACKED_DESC_F_AVAIL : 0) |
				 (flags & 16 ? 1 << VRING_PACKED_DESC_F_USED : 0),
		};
	} else {
		struct vring_desc *desc = fuzz_host(DESC);

		desc[n] = (struct vring_desc) {
			.addr = addr, .len = len, .flags = flags & 7, .next = other,
		};
	}
}

static void make_available(struct fuzz_input *in)
{
	struct vring_avail *avail = fuzz_host(DRIVER);

	avail->ring[avail_idx++ % NUM] = fuzz_8(in) % (NUM + 1);
	avail->idx = avail_idx;
}

static void write_flags_of(bool packed, unsigned int n, uint16_t flags)
{
	struct vring_packed_desc *ring = fuzz_host(DESC);
	struct vring_desc *table = fuzz_host(DESC);

	if (packed)
		ring[n].flags = flags | (wrap ? 1 << VRING_PACKED_DESC_F_AVAIL
					      : 1 << VRING_PACKED_DESC_F_USED);
	else
		table[n].flags = flags;
}

/* A request as a driver makes it, but for what the input says: header, data and status */
static void add_request(struct fuzz_input *in)
{
	bool packed = virtio_mmio_has(&this_blk.mmio, VIRTIO_F_RING_PACKED);
	uint8_t type = fuzz_8(in), pages = fuzz_8(in) % 8;
	struct virtio_blk_outhdr *header = fuzz_host(BUFFER);
	struct vring_packed_desc *ring = fuzz_host(DESC);
	struct vring_desc *table = fuzz_host(DESC);
	struct vring_avail *avail = fuzz_host(DRIVER);
	const struct driver_segment {
		uint64_t addr;
		uint32_t len;
		uint16_t flags;
	} segments[] = {
		{ BUFFER, sizeof(*header), VRING_DESC_F_NEXT },
		{ BUFFER + SECTOR, pages ? pages * FUZZ_PAGE : type & 0x40 ? 16 : SECTOR,
		  VRING_DESC_F_NEXT | (type & 0x80 ? VRING_DESC_F_WRITE : 0) },
		{ BUFFER + 16, 1, VRING_DESC_F_WRITE },
	};
	unsigned int i, n, head = next_desc;

	header->type = type % 16;
	header->sector = fuzz_8(in);
	for (i = 0; i < ARRAY_SIZE(segments); i++) {
		n = next_desc;
		if (packed) {
			ring[n].addr = segments[i].addr;
			ring[n].len = segments[i].len;
			ring[n].id = head;
		} else {
			table[n].addr = segments[i].addr;
			table[n].len = segments[i].len;
			table[n].next = (n + 1) % NUM;
		}
		write_flags_of(packed, n, segments[i].flags);
		next_desc = (n + 1) % NUM;
		wrap ^= !next_desc;
	}
	if (!packed) {
		avail->ring[avail_idx++ % NUM] = head;
		avail->idx = avail_idx;
	}
	write_register_of(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

static void restart(struct fuzz_input *in)
{
	uint8_t what = fuzz_8(in);

	if (what & 1)
		fuzz_write_state(in, &state.mmio, sizeof(state.mmio));
	if (what & 2)
		fuzz_write_state(in, &state.queues[0], sizeof(state.queues[0]));
	/* The requests, without most of their segments */
	if (what & 4)
		fuzz_write_state(in, &state.requests[0][fuzz_8(in) % NUM],
				 offsetof(struct virtqueue_request, segments) + 64);
	start_process();
}

static void any_access(struct fuzz_input *in)
{
	struct ioregionfd_cmd cmd = fuzz_access(in, fuzz_16(in) % (VIRTIO_MMIO_SIZE + 16));
	uint64_t value;

	command(0, &cmd, &value);
}

static void step(struct fuzz_input *in)
{
	static const int results[] = { -EIO, -EAGAIN, -EINTR, -EOPNOTSUPP, 0, 1, 511, 4096 };

	switch (fuzz_8(in) % 13) {
	case 0:
		any_access(in);
		break;
	case 1:
		write_register_of(fuzz_8(in) % 64 * 4, fuzz_addr(in));
		break;
	case 2:
		fuzz_write_memory(in);
		break;
	case 3:
	case 4:
		write_descriptor(in);
		break;
	case 5:
		make_available(in);
		break;
	case 6:
		write_register_of(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
		break;
	case 7:
		restart(in);
		break;
	case 8:
		fake_ring_result(results[fuzz_8(in) % ARRAY_SIZE(results)]);
		break;
	case 9:
		fake_ring_hold();
		break;
	case 10:
		if (fake_ring_busy())
			wait_for_completion();
		break;
	case 11:
	case 12:
		add_request(in);
		break;
	}
	/* The other thread does this when it has been woken. */
	if (this_blk.look_again[0]) {
		this_blk.look_again[0] = false;
		fetch_all(&this_blk, 0);
		submit_and_interrupt(&this_blk);
	}
}

/* Reads a sector, and is told that it has been read. */
static void check_driver(void)
{
	struct virtio_blk_outhdr *header = fuzz_host(BUFFER);
	struct vring_desc *desc = fuzz_host(DESC);
	struct vring_used *used = fuzz_host(DEVICE);
	struct fuzz_input one = { (const uint8_t [1]) { 0 }, 1 };
	uint8_t *data = (uint8_t *)header + SECTOR, *status = data + SECTOR;

	fake_ring_result(FAKE_RING_ANY);
	bind_driver(BIT(VIRTIO_F_VERSION_1));
	fake_ring_release();
	*header = (struct virtio_blk_outhdr) { .type = VIRTIO_BLK_T_IN, .sector = 3 };
	memset(data, 0xee, SECTOR + 1);
	desc[0] = (struct vring_desc) { BUFFER, sizeof(*header), VRING_DESC_F_NEXT, 1 };
	desc[1] = (struct vring_desc) {
		BUFFER + SECTOR, SECTOR, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2,
	};
	desc[2] = (struct vring_desc) { BUFFER + 2 * SECTOR, 1, VRING_DESC_F_WRITE, 0 };
	make_available(&one);
	write_register_of(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	fuzz_check(used->idx == 1 && used->ring[0].id == 0 && used->ring[0].len == SECTOR + 1);
	fuzz_check(*status == VIRTIO_BLK_S_OK);
	fuzz_check(!memcmp(data, fuzz_image + 3 * SECTOR, SECTOR));
}

int fuzz_start(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_init(1);
	return 0;
}

int fuzz_one_input(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };

	fuzz_begin();
	memset(&state, 0, offsetof(struct device_state, requests));
	memset(state.requests[0], 0, sizeof(state.requests[0]));
	state.args = (struct device_args) {
		.version = DEVICE_STATE_VERSION, .features = ~0ULL, .nr_queues = 1,
		.serial = "serial",
	};
	start_process();
	bind_driver(choose_features(&in));
	while (in.left)
		step(&in);
	check_driver();
	return 0;
}
