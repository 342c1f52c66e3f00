// SPDX-License-Identifier: GPL-2.0-only
/*
 * vduse_task: a virtio-blk or virtio-net device in user space, behind VDUSE
 *
 * With VIRTIO_F_IN_ORDER, it returns as many buffers with one used element as the specification
 * allows, or at most as many as requested. The virtqueues of vhost-net devices are passed to
 * /dev/vhost-net, which is told about all of the driver's memory, or asks for it on demand.
 */
#include <err.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include "device.h"

static const struct option options[] = {
	{ "packed", no_argument, NULL, 'p' },
	{ "in-order", no_argument, NULL, 'o' },
	{ "no-indirect", no_argument, NULL, 'i' },
	{ "no-event-idx", no_argument, NULL, 'e' },
	{ "mergeable", no_argument, NULL, 'm' },
	{ "max-batch", required_argument, NULL, 'b' },
	{ "queue-size", required_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{}
};

static void usage(FILE *to)
{
	fputs("vduse_task [OPTION]... NAME blk FILE\n"
	      "vduse_task [OPTION]... NAME net TAP\n"
	      "vduse_task [OPTION]... NAME vhost-net|vhost-net-iotlb TAP\n"
	      "  --packed, --in-order          offer VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER\n"
	      "  --no-indirect, --no-event-idx do not offer VIRTIO_F_INDIRECT_DESC, _EVENT_IDX\n"
	      "  --mergeable                   net: offer VIRTIO_NET_F_MRG_RXBUF\n"
	      "  --max-batch N                 in order: buffers for one used element (no limit)\n"
	      "  --queue-size N                (256)\n"
	      "SIGUSR1 makes it say what it has seen, SIGTERM ends it. With SIGUSR2 the driver's\n"
	      "memory is somewhere else to vhost-net, or not known to it any more.\n", to);
}

static unsigned int to_number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 0);

	if (!*text || *end || !value || value > INT_MAX)
		errx(2, "%s: not a valid number", text);
	return value;
}

static const struct device_type *type_of(const char *name)
{
	static const struct device_type *types[] = {
		&blk_type, &net_type, &vhost_net_type, &vhost_net_iotlb_type, NULL
	};

	for (const struct device_type **type = types; *type; type++)
		if (!strcmp(name, (*type)->name))
			return *type;
	errx(2, "%s: unknown device type", name);
}

int main(int argc, char **argv)
{
	struct device device = {
		.features = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_F_ACCESS_PLATFORM |
			    1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX,
		.queue_size = 256,
		.max_batch = UINT_MAX,
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			device.features |= 1ULL << VIRTIO_F_RING_PACKED;
			break;
		case 'o':
			device.features |= 1ULL << VIRTIO_F_IN_ORDER;
			break;
		case 'i':
			device.features &= ~(1ULL << VIRTIO_RING_F_INDIRECT_DESC);
			break;
		case 'e':
			device.features &= ~(1ULL << VIRTIO_RING_F_EVENT_IDX);
			break;
		case 'm':
			device.features |= 1ULL << VIRTIO_NET_F_MRG_RXBUF;
			break;
		case 'b':
			device.max_batch = to_number(optarg);
			break;
		case 'q':
			device.queue_size = to_number(optarg);
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (argc - optind != 3) {
		usage(stderr);
		return 2;
	}
	if (device.queue_size < 4 || device.queue_size > RING_MAX_SIZE)
		errx(2, "queue size %u: must be 4 to %u", device.queue_size, RING_MAX_SIZE);

	device.name = argv[optind];
	device.type = type_of(argv[optind + 1]);
	device.type->open(&device, argv[optind + 2]);
	return device_run(&device);
}
