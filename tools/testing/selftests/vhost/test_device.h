/* SPDX-License-Identifier: GPL-2.0-only */
/* /dev/vhost-test, which returns readable buffers, and a driver for its virtqueue */
#ifndef _SELFTESTS_VHOST_TEST_DEVICE_H
#define _SELFTESTS_VHOST_TEST_DEVICE_H

#include "device.h"

#define TEST_DEVICE	"/dev/vhost-test"

/* The kernel does not export drivers/vhost/test.h. */
#define VHOST_TEST_RUN		_IOW(VHOST_VIRTIO, 0x31, int)
#define VHOST_TEST_SET_BACKEND	_IOW(VHOST_VIRTIO, 0x32, int)

struct test {
	struct device device;
	struct memory memory;
	struct ring ring;
	struct queue queue;
	uint64_t features;
	uint32_t added, returned;	/* also used as tokens */
};

/* A device with a virtqueue that is set up but not running yet */
int test_prepare(struct test *test, struct ring_kind kind, unsigned int num);
int test_start(struct test *test, struct ring_kind kind, unsigned int num);
void test_end(struct test *test);

/* VHOST_TEST_RUN */
int test_run(struct test *test, int on);

/* Add a buffer with this many segments, spread over the memory. */
bool test_add(struct test *test, unsigned int segments);

/* Add up to this many buffers of some segments, as far as there is room. */
void test_add_some(struct test *test, unsigned int n);

/* A random number of segments that fits the ring; often a small one */
unsigned int test_some_segments(struct test *test);

void test_kick_if_needed(struct test *test);

/* Take used buffers back. Returns how many, or -1 if anything is wrong. */
int test_take(struct test *test);

/* Kick if the device wants it. All outstanding buffers must come back. */
int test_pass(struct test *test);

/* Reset the virtqueue, and see that it works with this many buffers. */
int test_works(struct test *test, unsigned int buffers);

#endif
