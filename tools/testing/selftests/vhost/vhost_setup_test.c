// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ioctls that set up a ring, in each order that a VMM may choose and with wrong arguments;
 * and which features can be set
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../kselftest_harness.h"
#include "test_device.h"

#define RING_SIZE	256

FIXTURE(setup)
{
	struct test test;
};

FIXTURE_VARIANT(setup)
{
	struct ring_kind kind;
};

#define RING_KINDS_OF	setup
#define RING_KINDS_DIRECT
#include "ring_kinds.h"

FIXTURE_SETUP(setup)
{
	if (access(TEST_DEVICE, F_OK))
		SKIP(return, "there is no " TEST_DEVICE);
}

FIXTURE_TEARDOWN(setup)
{
}

/*
 * Each size that a layout may have, and buffers that end at each descriptor
 * Clause: long-chain, 2.8.15b.
 */
TEST_F(setup, sizes)
{
	static const unsigned int split[] = { 1, 2, 4, 8, 256, 1024, 32768 };
	static const unsigned int packed[] = { 1, 2, 3, 7, 8, 100, 256, 1000, 32767, 32768 };
	const unsigned int *sizes = variant->kind.packed ? packed : split;
	unsigned int n = variant->kind.packed ? ARRAY_SIZE(packed) : ARRAY_SIZE(split);

	for (unsigned int i = 0; i < n; i++) {
		struct test *test = &self->test;
		struct vring_packed_desc *desc;
		unsigned int descs = 0;

		ASSERT_EQ(0, test_start(test, variant->kind, sizes[i]));
		/* behind the ring: in one of the wraps this looks like a part of it */
		desc = test->ring.desc;
		if (variant->kind.packed)
			desc[sizes[i]].flags = RING_AVAIL;
		/* a chain of the whole ring, which begins and ends in the same place */
		for (int k = 0; k < 5 && sizes[i] <= SEGMENTS_MAX; k++) {
			ASSERT_TRUE(test_add(test, sizes[i]));
			ASSERT_EQ(0, test_pass(test)) {
				TH_LOG("%u descriptors at once", sizes[i]);
			}
		}
		while (descs < 3 * sizes[i] + 200) {
			unsigned int segments = test_some_segments(test);

			if (test_add(test, segments)) {
				descs += segments;
				if (random() % (sizes[i] / 4 + 1))
					continue;
			}
			ASSERT_EQ(0, test_pass(test)) {
				TH_LOG("in a ring of %u", sizes[i]);
			}
		}
		ASSERT_EQ(0, test_pass(test));
		ASSERT_EQ(0, queue_errors(&test->queue));
		test_end(test);
	}
}

/*
 * A device that was stopped goes on with a ring of another size.
 * Clause: 2.6.1.2.1a.
 */
TEST_F(setup, another_size)
{
	static const unsigned int split[] = { 8, 32, 2, 256 }, packed[] = { 8, 33, 3, 256 };
	const unsigned int *sizes = variant->kind.packed ? packed : split;
	struct test *test = &self->test;

	ASSERT_EQ(0, test_start(test, variant->kind, sizes[0]));
	for (unsigned int i = 0; i < ARRAY_SIZE(split); i++) {
		if (i) {
			ASSERT_EQ(0, test_run(test, 0));
			ring_destroy(&test->ring);
			ASSERT_EQ(0, ring_create(&test->ring, &test->memory, variant->kind,
						 sizes[i]));
			test->added = 0;
			test->returned = 0;
			ASSERT_EQ(0, queue_setup(&test->queue, queue_first_base(&test->queue)));
			ASSERT_EQ(0, test_run(test, 1));
		}
		/* full, for a few wraps */
		for (int k = 0; k < 5; k++) {
			for (unsigned int n = 0; n < sizes[i]; n++)
				ASSERT_TRUE(test_add(test, 1));
			ASSERT_EQ(0, test_pass(test));
		}
	}
	EXPECT_EQ(0, queue_errors(&test->queue));
	test_end(test);
}

/* The base after some traffic, and the forms in which it may be set */
TEST_F(setup, base)
{
	struct test *test = &self->test;
	const unsigned int num = 8;
	uint32_t base;

	ASSERT_EQ(0, test_prepare(test, variant->kind, num));
	/* DPDK's form for the packed ring: no used half */
	ASSERT_EQ(0, queue_setup(&test->queue, variant->kind.packed ? RING_WRAP : 0));
	ASSERT_EQ(0, queue_get_base(&test->queue, &base));
	EXPECT_EQ(queue_first_base(&test->queue), base);
	ASSERT_EQ(0, test_run(test, 1));
	ASSERT_NE(0, queue_set_base(&test->queue, 0));
	EXPECT_EQ(EBUSY, errno);

	for (int i = 0; i < 3 * num; i++) {
		ASSERT_TRUE(test_add(test, 3));
		ASSERT_EQ(0, test_pass(test));
		ASSERT_EQ(0, test_run(test, 0));
		ASSERT_EQ(0, queue_get_base(&test->queue, &base));
		ASSERT_EQ(ring_base(&test->ring), base);
		/* the long form, or the short one */
		if (variant->kind.packed && i % 2)
			base &= 0xffff;
		ASSERT_EQ(0, queue_set_base(&test->queue, base));
		ASSERT_EQ(0, test_run(test, 1));
	}
	test_end(test);
}

/* A new ring begins at its start even if the base is not set. */
TEST_F(setup, no_base)
{
	struct test *test = &self->test;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	ASSERT_EQ(0, queue_setup_no_base(&test->queue));
	ASSERT_EQ(0, test_run(test, 1));
	for (int i = 0; i < 30; i++) {
		ASSERT_TRUE(test_add(test, 3));
		ASSERT_EQ(0, test_pass(test));
		/* and continues where it stopped */
		ASSERT_EQ(0, test_run(test, 0));
		ASSERT_EQ(0, test_run(test, 1));
	}
	test_end(test);
}

/* A split ring in between, as of a firmware, leaves no base behind. */
TEST_F(setup, no_base_after_split)
{
	struct test *test = &self->test;
	uint64_t split;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	split = test->features & ~LAYOUT_BITS;
	ASSERT_EQ(0, queue_setup_no_base(&test->queue));
	ASSERT_EQ(0, test_run(test, 1));
	ASSERT_EQ(0, test_run(test, 0));
	ASSERT_EQ(0, device_features(&test->device, split));
	ASSERT_EQ(0, queue_set_base(&test->queue, 3));
	ASSERT_EQ(0, test_run(test, 1));
	ASSERT_EQ(0, test_run(test, 0));
	ASSERT_EQ(0, device_features(&test->device, test->features));
	if (!variant->kind.packed)
		ASSERT_EQ(0, queue_set_base(&test->queue, 0));
	ASSERT_EQ(0, test_run(test, 1)) {
		TH_LOG("%s", strerror(errno));
	}
	ASSERT_TRUE(test_add(test, 3));
	ASSERT_EQ(0, test_pass(test));
	test_end(test);
}

/* Invalid bases */
TEST_F(setup, base_outside)
{
	struct test *test = &self->test;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	ASSERT_EQ(0, queue_setup(&test->queue, queue_first_base(&test->queue)));
	if (variant->kind.packed) {
		/* outside of the ring, or with an impossible number of buffers outstanding */
		static const uint32_t bases[] = { 0x80088008, 0x80008008, 0x80088000, 0xffffffff,
						  8, 0x80007fff, 0x80058003, 0x80030005,
						  0x00050003, 0x00038005 };

		for (unsigned int i = 0; i < ARRAY_SIZE(bases); i++) {
			ASSERT_EQ(0, queue_set_base(&test->queue, bases[i]));
			EXPECT_NE(0, test_run(test, 1)) {
				TH_LOG("%#x", bases[i]);
			}
			EXPECT_EQ(EINVAL, errno);
			ASSERT_EQ(0, test_run(test, 0));
		}
	} else {
		EXPECT_NE(0, queue_set_base(&test->queue, 0x10000));
		EXPECT_EQ(EINVAL, errno);
	}
	/* and it works afterwards */
	ASSERT_EQ(0, queue_set_base(&test->queue, queue_first_base(&test->queue)));
	ASSERT_EQ(0, test_run(test, 1));
	ASSERT_TRUE(test_add(test, 1));
	ASSERT_EQ(0, test_pass(test));
	test_end(test);
}

/*
 * The used index of a split ring is ahead of the base, as if buffers had been used that were never
 * available. In order, the device refuses to return a buffer if there is none to be returned.
 */
TEST_F(setup, used_ahead_of_base)
{
	struct test *test = &self->test;
	struct vring_used *used;

	/* the base of a packed ring has both: see base_outside */
	if (variant->kind.packed)
		return;
	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	ASSERT_EQ(0, queue_setup(&test->queue, 0));
	used = test->ring.device;
	for (unsigned int ahead = 1; ahead < 20; ahead++) {
		used->idx = ahead;
		ASSERT_EQ(0, queue_set_base(&test->queue, 0));
		ASSERT_EQ(0, test_run(test, 1));
		ASSERT_TRUE(test_add(test, 1));
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		if (variant->kind.in_order && ahead == 1) {
			EXPECT_EQ(1, queue_errors(&test->queue));
			EXPECT_EQ(1, used->idx);
		}
		ASSERT_EQ(0, test_works(test, 3));
		ASSERT_EQ(0, test_run(test, 0));
		ring_reset(&test->ring);
	}
	test_end(test);
}

#define FAULTS		"/sys/kernel/debug/"
#define FAIL_NTH	"/proc/thread-self/fail-nth"

/*
 * Start the ring while the @nth allocation or copy fails. Returns what the call does, and in *@hit
 * whether there were as many.
 */
static int run_failing(struct test *test, int file, unsigned int nth, bool *hit)
{
	char left[16] = "";
	int ret, error;

	if (dprintf(file, "%u", nth) <= 0)
		return -1;
	ret = test_run(test, 1);
	error = errno;
	*hit = pread(file, left, sizeof(left) - 1, 0) > 0 && !atoi(left);
	/* It may be this one that fails. */
	while (write(file, "0", 1) != 1)
		;
	errno = error;
	return ret;
}

/* A ring for which there is no memory does not start, but does so later. */
TEST_F(setup, no_memory)
{
	static const char * const settings[][2] = {
		{ FAULTS "failslab/verbose", "0" },
		{ FAULTS "failslab/ignore-gfp-wait", "N" },
		{ FAULTS "fail_page_alloc/verbose", "0" },
		{ FAULTS "fail_usercopy/verbose", "0" },
	};
	struct test *test = &self->test;
	unsigned int nth, no_memory = 0;
	int file = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	bool hit = true;

	if (file < 0)
		SKIP(return, "this kernel cannot make memory fail: CONFIG_FAULT_INJECTION");
	for (unsigned int i = 0; i < ARRAY_SIZE(settings); i++) {
		int setting = open(settings[i][0], O_WRONLY | O_CLOEXEC);

		/* not every kernel has all of them */
		EXPECT_EQ(setting < 0 ? -1 : 1, write(setting, settings[i][1], 1));
		close(setting);
	}
	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	ASSERT_EQ(0, queue_setup(&test->queue, queue_first_base(&test->queue)));
	for (nth = 1; hit; nth++) {
		ASSERT_GT(100, nth);
		if (!run_failing(test, file, nth, &hit)) {
			ASSERT_EQ(0, test_works(test, 3));
		} else {
			ASSERT_TRUE(hit && (errno == ENOMEM || errno == EFAULT)) {
				TH_LOG("failure %u: %s", nth, strerror(errno));
			}
			if (errno == ENOMEM) {
				no_memory++;
				/* it does not run, with a ring of before neither */
				ASSERT_TRUE(test_add(test, 1));
				queue_kick(&test->queue);
				ASSERT_EQ(0, device_drain(&test->device));
				ASSERT_EQ(0, test_take(test));
				ASSERT_EQ(0, test_run(test, 1));
				ASSERT_EQ(0, test_pass(test));
			}
			ASSERT_EQ(0, test_works(test, 3));
		}
		ASSERT_EQ(0, test_run(test, 0));
		ring_reset(&test->ring);
		ASSERT_EQ(0, queue_set_base(&test->queue, queue_first_base(&test->queue)));
	}
	/* The split layout needs none out of order. */
	EXPECT_EQ(variant->kind.packed || variant->kind.in_order, !!no_memory);
	close(file);
	test_end(test);
}

/* As many segments as fit vhost's list, in which empty ones take no room */
TEST_F(setup, segments)
{
	static const struct {
		unsigned int full, empty;
		bool good;
	} chains[] = {
		{ 1024, 0, true }, { 1025, 0, false }, { 1000, 24, true }, { 1000, 200, true },
		{ 1024, 1, true }, { 1025, 1, false }, { 1, 1024, true },
	};
	struct test *test = &self->test;

	for (unsigned int i = 0; i < ARRAY_SIZE(chains); i++) {
		unsigned int full = chains[i].full, n = full + chains[i].empty;
		struct segment segments[2048];

		ASSERT_EQ(0, test_start(test, variant->kind, ARRAY_SIZE(segments)));
		/* so that the region of the memory is cached */
		ASSERT_TRUE(test_add(test, 1));
		ASSERT_EQ(0, test_pass(test));
		for (unsigned int k = 0; k < n; k++)
			segments[k] = (struct segment) { .gpa = MEMORY_GPA + k, .len = k < full };
		/* the last one is not empty */
		segments[full - 1].len = 0;
		segments[n - 1].len = 1;
		ASSERT_TRUE(ring_add(&test->ring, segments, n, test->added++));
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		EXPECT_EQ(chains[i].good, test_take(test)) {
			TH_LOG("%u segments and %u empty ones", full, chains[i].empty);
		}
		EXPECT_EQ(!chains[i].good, !!queue_errors(&test->queue));
		test_end(test);
	}
}

/*
 * The device begins at the base that was set, and stops at the right one, in either wrap.
 * Clause: 2.8.15b.
 */
TEST_F(setup, base_anywhere)
{
	struct test *test = &self->test;
	const unsigned int num = 8;

	ASSERT_EQ(0, test_prepare(test, variant->kind, num));
	ASSERT_EQ(0, queue_setup(&test->queue, queue_first_base(&test->queue)));
	for (unsigned int i = 0; i < 2 * num; i++) {
		struct ring *ring = &test->ring;
		uint16_t at = variant->kind.packed ? i % num | (i < num ? RING_WRAP : 0) :
						     65536 - num + i;
		uint32_t base;

		ring_reset(ring);
		ring->avail = at;
		ring->used = at;
		if (variant->kind.packed) {
			struct vring_packed_desc *desc = ring->desc;

			/* as if used in the previous wrap, or in this one */
			for (unsigned int k = 0; k < num; k++)
				desc[k].flags = (i < num) == (k < i % num) ?
						RING_AVAIL | RING_USED : 0;
		} else {
			((struct vring_avail *)ring->driver)->idx = at;
			((struct vring_used *)ring->device)->idx = at;
			ring->head = at % num;
		}
		base = ring_base(ring);
		ASSERT_EQ(0, queue_set_base(&test->queue, base));
		ASSERT_EQ(0, test_run(test, 1));
		/* the device area is that of a new ring */
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		for (unsigned int k = 0; k < num; k++) {
			ASSERT_TRUE(test_add(test, 3));
			ASSERT_EQ(0, test_pass(test));
		}
		ASSERT_EQ(0, test_run(test, 0));
	}
	test_end(test);
}

/* Sizes that this layout cannot have are refused. */
TEST_F(setup, num)
{
	static const struct {
		unsigned int num;
		bool split, packed;
	} sizes[] = {
		{ 0, false, false }, { 1, true, true }, { 2, true, true }, { 3, false, true },
		{ 255, false, true }, { 256, true, true }, { 32767, false, true },
		{ 32768, true, true }, { 32769, false, false }, { 65535, false, false },
		{ 65536, false, false }, { 65537, false, false }, { 1 << 31, false, false },
	};
	struct test *test = &self->test;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		bool good = variant->kind.packed ? sizes[i].packed : sizes[i].split;

		errno = 0;
		EXPECT_EQ(good ? 0 : -1, queue_num(&test->queue, sizes[i].num)) {
			TH_LOG("%u", sizes[i].num);
		}
		EXPECT_EQ(good ? 0 : EINVAL, errno);
	}
	ASSERT_EQ(0, queue_setup(&test->queue, queue_first_base(&test->queue)));
	ASSERT_EQ(0, test_run(test, 1));
	EXPECT_NE(0, queue_num(&test->queue, 8));
	EXPECT_EQ(EBUSY, errno);
	test_end(test);
}

/* A size that only the packed layout may have, and then another layout */
TEST_F(setup, num_of_another_layout)
{
	struct test *test = &self->test;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	ASSERT_EQ(0, device_features(&test->device, kind_features((struct ring_kind) {
							.packed = true })));
	ASSERT_EQ(0, queue_setup(&test->queue, 0));
	ASSERT_EQ(0, queue_num(&test->queue, 7));
	ASSERT_EQ(0, device_features(&test->device, test->features));
	ASSERT_EQ(0, queue_set_base(&test->queue, queue_first_base(&test->queue)));
	errno = 0;
	EXPECT_EQ(variant->kind.packed ? 0 : -1, test_run(test, 1));
	EXPECT_EQ(variant->kind.packed ? 0 : EINVAL, errno);
	test_end(test);
}

/* Parts of the ring that are not aligned or not mapped */
TEST_F(setup, addresses)
{
	struct test *test = &self->test;
	struct ring *ring = &test->ring;
	const uint64_t desc = (uintptr_t)ring->desc, none = 1ULL << 62;
	bool packed = variant->kind.packed;

	ASSERT_EQ(0, test_prepare(test, variant->kind, 8));
	ASSERT_EQ(0, queue_setup(&test->queue, queue_first_base(&test->queue)));

	const struct {
		uint64_t desc, driver, device;
		bool bad;
	} parts[] = {
		{ 8, 0, 0, packed }, { 4, 0, 0, packed }, { 0, 2, 0, packed },
		{ none, 0, 0, true }, { 0, none, 0, true }, { 0, 0, none, true },
		{ 0, 0, 0, false },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++) {
		uint64_t at[] = { (uintptr_t)ring->desc + parts[i].desc,
				  (uintptr_t)ring->driver + parts[i].driver,
				  (uintptr_t)ring->device + parts[i].device };

		ASSERT_EQ(0, queue_address(&test->queue, at[0], at[1], at[2]));
		errno = 0;
		EXPECT_EQ(parts[i].bad ? -1 : 0, test_run(test, 1)) {
			TH_LOG("at start: %u", i);
		}
		EXPECT_EQ(parts[i].bad ? EFAULT : 0, errno);
		if (!parts[i].bad)
			ASSERT_EQ(0, test_run(test, 0));
	}
	ASSERT_EQ(0, test_run(test, 1));
	/* the same while it runs */
	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++) {
		uint64_t at[] = { (uintptr_t)ring->desc + parts[i].desc,
				  (uintptr_t)ring->driver + parts[i].driver,
				  (uintptr_t)ring->device + parts[i].device };

		errno = 0;
		EXPECT_EQ(parts[i].bad ? -1 : 0,
			  queue_address(&test->queue, at[0], at[1], at[2])) {
			TH_LOG("while running: %u", i);
		}
		EXPECT_EQ(parts[i].bad ? EINVAL : 0, errno);
	}
	/* at any time, in each layout */
	EXPECT_NE(0, queue_address(&test->queue, desc, (uintptr_t)ring->driver + 1,
				   (uintptr_t)ring->device));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_NE(0, queue_address(&test->queue, desc, (uintptr_t)ring->driver,
				   (uintptr_t)ring->device + 2));
	EXPECT_EQ(EINVAL, errno);
	test_end(test);
}

/* The layout cannot change while it is in use, and can change afterwards. */
TEST_F(setup, features_of_a_running_device)
{
	static const uint64_t layouts[] = { 0, BIT(VIRTIO_F_IN_ORDER), BIT(VIRTIO_F_RING_PACKED),
					    LAYOUT_BITS };
	struct test *test = &self->test;

	ASSERT_EQ(0, test_start(test, variant->kind, 8));
	for (unsigned int i = 0; i < ARRAY_SIZE(layouts); i++) {
		uint64_t features = (test->features & ~LAYOUT_BITS) | layouts[i];
		bool same = features == test->features;

		errno = 0;
		EXPECT_EQ(same ? 0 : -1, device_features(&test->device, features));
		EXPECT_EQ(same ? 0 : EBUSY, errno);
	}
	/* other features have nothing to do with the layout */
	EXPECT_EQ(0, device_features(&test->device,
				     test->features ^ BIT(VIRTIO_RING_F_INDIRECT_DESC)));
	ASSERT_EQ(0, device_features(&test->device, test->features));
	ASSERT_TRUE(test_add(test, 1));
	ASSERT_EQ(0, test_pass(test));

	ASSERT_EQ(0, test_run(test, 0));
	for (unsigned int i = 0; i < ARRAY_SIZE(layouts); i++)
		EXPECT_EQ(0, device_features(&test->device,
					     BIT(VIRTIO_F_VERSION_1) | layouts[i]));
	test_end(test);
}

/*
 * Reset a virtqueue with outstanding buffers.
 * Clause: 2.6.1.1.1a, 2.6.1.1.1b.
 */
TEST_F(setup, reset)
{
	struct test *test = &self->test;

	ASSERT_EQ(0, test_start(test, variant->kind, 8));
	for (int i = 0; i < 30; i++) {
		test_add_some(test, 1 + random() % 4);
		ASSERT_EQ(0, test_pass(test));
		ASSERT_TRUE(test_add(test, 1 + random() % 8));

		ASSERT_EQ(0, test_run(test, 0));
		/* from now on, nothing happens to it */
		queue_calls(&test->queue);
		queue_kick(&test->queue);
		ASSERT_EQ(0, device_drain(&test->device));
		ASSERT_EQ(0, test_take(test));
		ASSERT_EQ(0, queue_calls(&test->queue));
		ring_reset(&test->ring);
		test->added = 0;
		test->returned = 0;
		ASSERT_EQ(0, queue_set_base(&test->queue, queue_first_base(&test->queue)));
		ASSERT_EQ(0, test_run(test, 1));
	}
	test_end(test);
}

FIXTURE(features)
{
	struct device device;
};

FIXTURE_VARIANT(features)
{
	const char *path;
};

FIXTURE_VARIANT_ADD(features, test) { "/dev/vhost-test" };
FIXTURE_VARIANT_ADD(features, net) { "/dev/vhost-net" };
FIXTURE_VARIANT_ADD(features, vsock) { "/dev/vhost-vsock" };

FIXTURE_SETUP(features)
{
	if (access(variant->path, F_OK))
		SKIP(return, "there is no such device");
	ASSERT_EQ(0, device_open(&self->device, variant->path));
}

FIXTURE_TEARDOWN(features)
{
	device_close(&self->device);
}

/* Clause: 6.2a (split, split in order, packed, packed in order). */
TEST_F(features, offered)
{
	const uint64_t expected = LAYOUT_BITS | BIT(VIRTIO_F_VERSION_1);

	EXPECT_EQ(expected, self->device.offered & expected);
}

/* Clause: 2.2.2b (split in order, packed, packed in order). */
TEST_F(features, alone_and_together)
{
	static const uint64_t layouts[] = { BIT(VIRTIO_F_IN_ORDER), BIT(VIRTIO_F_RING_PACKED),
					    LAYOUT_BITS };

	for (unsigned int i = 0; i < ARRAY_SIZE(layouts); i++) {
		EXPECT_EQ(0, device_features(&self->device, BIT(VIRTIO_F_VERSION_1) | layouts[i]));
		/* they need VIRTIO_F_VERSION_1 */
		EXPECT_NE(0, device_features(&self->device, layouts[i]));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(0, device_features(&self->device, 0));
	EXPECT_NE(0, device_features(&self->device, BIT(VIRTIO_F_VERSION_1) | BIT(36)));
	EXPECT_EQ(EOPNOTSUPP, errno);
}

static int set_parameter(const char *name, char value)
{
	char path[64];
	FILE *file;
	int ret;

	snprintf(path, sizeof(path), "/sys/module/vhost/parameters/%s", name);
	file = fopen(path, "w");
	if (!file)
		return -1;
	ret = fputc(value, file) == EOF;
	return fclose(file) || ret ? -1 : 0;
}

/* A VMM may set a feature again that the parameters have withheld since, to start logging. */
TEST_F(features, withheld_later)
{
	const uint64_t set = BIT(VIRTIO_F_VERSION_1) | LAYOUT_BITS;
	int again, other, offered_other;
	struct device device, second;

	ASSERT_EQ(0, device_open(&device, variant->path));
	ASSERT_EQ(0, device_features(&device, set));
	ASSERT_EQ(0, set_parameter("packed", '0'));
	again = device_features(&device, set);
	offered_other = device_open(&second, variant->path);
	other = device_features(&second, set);
	ASSERT_EQ(0, set_parameter("packed", '1'));

	EXPECT_EQ(0, again);
	ASSERT_EQ(0, offered_other);
	EXPECT_NE(0, other);
	device_close(&second);
	device_close(&device);
}

TEST_F(features, withheld)
{
	static const struct {
		const char *name;
		uint64_t bit;
	} parameters[] = {
		{ "packed", BIT(VIRTIO_F_RING_PACKED) },
		{ "in_order", BIT(VIRTIO_F_IN_ORDER) },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(parameters); i++) {
		struct device device;
		int offered, accepted;

		ASSERT_EQ(0, set_parameter(parameters[i].name, '0'));
		offered = device_open(&device, variant->path);
		accepted = device_features(&device, BIT(VIRTIO_F_VERSION_1) | parameters[i].bit);
		EXPECT_EQ(EOPNOTSUPP, errno);
		ASSERT_EQ(0, set_parameter(parameters[i].name, '1'));

		ASSERT_EQ(0, offered);
		EXPECT_EQ(LAYOUT_BITS & ~parameters[i].bit, device.offered & LAYOUT_BITS);
		EXPECT_NE(0, accepted);
		device_close(&device);
	}
}

TEST_HARNESS_MAIN
