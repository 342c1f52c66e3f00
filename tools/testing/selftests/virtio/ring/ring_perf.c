// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cost of a buffer in virtio_ring.c: the program that ring_perf.sh runs under valgrind
 *
 * The driver works as one with NAPI does. It adds a batch of buffers and kicks once. The device
 * uses them and raises one interrupt, which disables callbacks. The driver then takes buffers until
 * there are none left, and enables callbacks again. VIRTIO_RING_F_EVENT_IDX is negotiated; indirect
 * descriptors and the DMA API are not used.
 *
 * Only the operation under test is counted: callgrind's collection is enabled for it, and for
 * lackey, which traces all accesses to memory, it is enclosed in accesses to marks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <valgrind/callgrind.h>
#include <linux/virtio.h>
#include "../util/device_ring.h"
#include "fake_kernel.h"
#include "layout.h"

#define RING_SIZE 256
#define MAX_BATCH 32
#define MAX_SEGMENTS 8
#define ALIGN 64

/* A number of buffers after which every ring is where it began, for all batches and chains */
#define BUFFERS RING_SIZE

enum op {
	ADD,
	GET,
	ROUND_TRIP,
	OPS
};

static const char *const op_names[] = { "add", "get", "round-trip" };

struct load {
	struct layout layout;
	const char *name;
	unsigned int batch;
	unsigned int segments;
	/* in order, but the device writes an element for each buffer */
	bool unbatched;
	/* callbacks stay enabled, as without NAPI: each get asks for the next interrupt */
	bool armed;
};

static struct device_ring device;
static struct virtqueue *vq;
static bool armed;
static struct scatterlist sg[MAX_SEGMENTS];
static char buffers[MAX_BATCH][64];

/*
 * Marks in the trace: the beginning of a load, and the beginning and end of what has to be counted
 */
static int load_mark, begin_mark, end_mark;

static bool notify(struct virtqueue *queue)
{
	return true;
}

static void callback(struct virtqueue *queue)
{
	if (!armed)
		virtqueue_disable_cb(queue);
}

static void mark(int *place)
{
	WRITE_ONCE(*place, 1);
}

static void begin(void)
{
	mark(&begin_mark);
	CALLGRIND_TOGGLE_COLLECT;
}

static void end(void)
{
	CALLGRIND_TOGGLE_COLLECT;
	mark(&end_mark);
}

static void add(const struct load *load)
{
	unsigned int i;

	for (i = 0; i < load->batch; i++) {
		if (virtqueue_add_outbuf(vq, sg, load->segments, buffers[i], GFP_ATOMIC)) {
			fprintf(stderr, "%s: the queue is full\n", load->name);
			exit(1);
		}
	}
}

static void use(const struct load *load)
{
	static struct ring_buffer buffer;
	unsigned int i;

	for (i = 0; i < load->batch; i++) {
		if (ring_take(&device, &buffer) <= 0) {
			fprintf(stderr, "%s: the device has no buffer\n", load->name);
			exit(1);
		}
		ring_complete(&device, &buffer, 0);
	}
	ring_publish(&device);
	ring_enable_kicks(&device);
}

static void get(const struct load *load)
{
	unsigned int i, len;

	for (i = 0; i < load->batch; i++) {
		if (virtqueue_get_buf(vq, &len) != buffers[i]) {
			fprintf(stderr, "%s: unexpected buffer\n", load->name);
			exit(1);
		}
	}
}

static void finish(void)
{
	unsigned int len;

	if (virtqueue_get_buf(vq, &len)) {
		fprintf(stderr, "one buffer too many\n");
		exit(1);
	}
	if (!armed)
		virtqueue_poll(vq, virtqueue_enable_cb_prepare(vq));
}

/* Measure @op, or nothing if there is no such operation. */
static void run(const struct load *load, enum op op, unsigned int num)
{
	unsigned int n;

	for (n = 0; n < num; n += load->batch) {
		if (op == ADD || op == ROUND_TRIP)
			begin();
		add(load);
		if (op == ADD)
			end();
		virtqueue_kick(vq);
		if (op == ROUND_TRIP)
			end();

		use(load);

		if (op == ROUND_TRIP)
			begin();
		vring_interrupt(0, vq);
		if (op == GET)
			begin();
		get(load);
		if (op == GET)
			end();
		finish();
		if (op == ROUND_TRIP)
			end();
	}
}

static void show_range(const char *what, const void *first, size_t size)
{
	printf("%s %08lx %08lx\n", what, (unsigned long)first, (unsigned long)first + size);
}

/* Print the addresses of the accesses that count, for the trace. */
static void show_rings(void)
{
	if (device.layout == &packed_layout) {
		show_range("range", device.packed.desc, RING_SIZE * sizeof(*device.packed.desc));
		show_range("range", device.packed.driver, sizeof(*device.packed.driver));
		show_range("range", device.packed.device, sizeof(*device.packed.device));
		show_range("elements", device.packed.desc,
			   RING_SIZE * sizeof(*device.packed.desc));
	} else {
		show_range("range", device.split.desc, vring_size(RING_SIZE, ALIGN));
		show_range("elements", device.split.used->ring,
			   RING_SIZE * sizeof(device.split.used->ring[0]));
	}
}

static void measure(const struct load *load, enum op op)
{
	struct virtio_device vdev = { .features = layout_features(&load->layout) };
	char name[64];
	unsigned int i;

	sg_init_table(sg, load->segments);
	for (i = 0; i < load->segments; i++)
		sg_set_buf(&sg[i], buffers[i], sizeof(buffers[i]));

	fake_kernel_reset();
	INIT_LIST_HEAD(&vdev.vqs);
	spin_lock_init(&vdev.vqs_list_lock);
	vq = vring_create_virtqueue(0, RING_SIZE, ALIGN, &vdev, true, false, false, notify,
				    callback, "ring_perf");
	if (!vq) {
		fprintf(stderr, "%s: cannot make the virtqueue\n", load->name);
		exit(1);
	}
	if (!layout_start(&load->layout, &device, vq, load->unbatched ? 1 : MAX_BATCH)) {
		fprintf(stderr, "%s: no ring\n", load->name);
		exit(1);
	}

	armed = load->armed;
	snprintf(name, sizeof(name), "%s/%s/b%uc%u%s%s", load->name, op_names[op], load->batch,
		 load->segments, load->unbatched ? "-unbatched" : "",
		 load->armed ? "-armed" : "");
	printf("load %s\n", name);
	show_rings();

	mark(&load_mark);
	/* The first batch differs: callbacks were never disabled before */
	run(load, OPS, load->batch);
	run(load, op, BUFFERS);
	CALLGRIND_DUMP_STATS_AT(name);
	vring_del_virtqueue(vq);
}

/* The loads of a layout: single buffers, batches, and batches that the device does not batch */
static void measure_layout(const char *name, const struct layout *layout)
{
	static const struct load loads[] = {
		{ .batch = 1, .segments = 1 },
		{ .batch = 1, .segments = 3 },
		{ .batch = MAX_BATCH, .segments = 1 },
		{ .batch = MAX_BATCH, .segments = 3 },
		{ .batch = MAX_BATCH, .segments = 1, .unbatched = true },
		{ .batch = MAX_BATCH, .segments = 3, .unbatched = true },
		{ .batch = MAX_BATCH, .segments = 1, .armed = true },
	};
	unsigned int i;
	enum op op;

	for (i = 0; i < ARRAY_SIZE(loads); i++) {
		struct load load = loads[i];

		if (load.unbatched && !layout->in_order)
			continue;
		load.name = name;
		load.layout = *layout;
		for (op = 0; op < OPS; op++)
			measure(&load, op);
	}
}

int main(void)
{
	static const struct {
		const char *name;
		struct layout layout;
	} layouts[] = {
		{ "split", { .event_idx = true } },
		{ "packed", { .event_idx = true, .packed = true } },
		{ "split+in-order", { .event_idx = true, .in_order = true } },
		{ "packed+in-order", { .event_idx = true, .packed = true, .in_order = true } },
	};
	unsigned int i;

	printf("mark load %08lx\n", (unsigned long)&load_mark);
	printf("mark begin %08lx\n", (unsigned long)&begin_mark);
	printf("mark end %08lx\n", (unsigned long)&end_mark);
	for (i = 0; i < ARRAY_SIZE(layouts); i++) {
		if (layout_accepted(&layouts[i].layout))
			measure_layout(layouts[i].name, &layouts[i].layout);
	}
	return 0;
}
