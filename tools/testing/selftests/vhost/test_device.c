// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "test_device.h"

int test_run(struct test *test, int on)
{
	return ioctl(test->device.fd, VHOST_TEST_RUN, &on);
}

int test_prepare(struct test *test, struct ring_kind kind, unsigned int num)
{
	memset(test, 0, sizeof(*test));
	test->features = kind_features(kind);
	if (device_open(&test->device, TEST_DEVICE) || memory_create(&test->memory))
		return -1;
	return ring_create(&test->ring, &test->memory, kind, num) ||
	       queue_create(&test->queue, &test->device, 0, &test->ring) ||
	       device_features(&test->device, test->features) ||
	       device_memory(&test->device, &test->memory) ? -1 : 0;
}

int test_start(struct test *test, struct ring_kind kind, unsigned int num)
{
	return test_prepare(test, kind, num) ||
	       queue_setup(&test->queue, queue_first_base(&test->queue)) ||
	       test_run(test, 1) ? -1 : 0;
}

void test_end(struct test *test)
{
	device_close(&test->device);
	queue_destroy(&test->queue);
	ring_destroy(&test->ring);
	memory_destroy(&test->memory);
}

bool test_add(struct test *test, unsigned int segments)
{
	struct segment segment[SEGMENTS_MAX];

	for (unsigned int i = 0; i < segments; i++) {
		segment[i].len = 1 + random() % 100;
		segment[i].gpa = MEMORY_GPA + random() % (MEMORY_SIZE - segment[i].len);
		segment[i].write = false;
	}
	if (!ring_add(&test->ring, segment, segments, test->added))
		return false;
	test->added++;
	return true;
}

void test_add_some(struct test *test, unsigned int n)
{
	while (n && test_add(test, test_some_segments(test)))
		n--;
}

unsigned int test_some_segments(struct test *test)
{
	unsigned int most = 1 + random() % 8;

	return 1 + random() % (most < test->ring.num ? most : test->ring.num);
}

void test_kick_if_needed(struct test *test)
{
	if (ring_kick_needed(&test->ring))
		queue_kick(&test->queue);
}

int test_take(struct test *test)
{
	uint32_t token, len;
	int ret, n = 0;

	while ((ret = ring_get(&test->ring, &token, &len)) > 0) {
		if (token != test->returned || len) {
			fprintf(stderr, "# buffer %u of %u bytes instead of %u\n", token, len,
				test->returned);
			return -1;
		}
		test->returned++;
		n++;
	}
	return ret ?: n;
}

int test_pass(struct test *test)
{
	unsigned int count = test->ring.count;
	int n;

	test_kick_if_needed(test);
	/* a large ring takes more than one go */
	do {
		n = device_drain(&test->device) ? -1 : test_take(test);
	} while (n > 0 && test->ring.count);
	if (n >= 0 && test->ring.count)
		fprintf(stderr, "# %u of %u buffers did not come back\n", test->ring.count, count);
	return n >= 0 && !test->ring.count ? 0 : -1;
}

int test_works(struct test *test, unsigned int buffers)
{
	if (test_run(test, 0))
		return -1;
	ring_reset(&test->ring);
	test->added = 0;
	test->returned = 0;
	if (queue_set_base(&test->queue, queue_first_base(&test->queue)) || test_run(test, 1))
		return -1;
	queue_errors(&test->queue);
	for (unsigned int i = 0; i < buffers; i++)
		if (!test_add(test, 1 + i))
			return -1;
	/* At the error, vhost had notifications disabled. */
	queue_kick(&test->queue);
	return test_pass(test) || queue_errors(&test->queue) ? -1 : 0;
}
