/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kinds of virtio-net device have in common */
#ifndef VIRTIO_TEST_VDUSE_NET_H
#define VIRTIO_TEST_VDUSE_NET_H

#include <linux/virtio_net.h>
#include "device.h"

/* The queues */
enum { RX, TX };

/* Each frame has @header bytes of struct virtio_net_hdr_v1 before it, all or none. */
int tap_open(const char *name, int header);

/* A device that has this configuration */
void net_config(struct device *device, struct virtio_net_config *config);

#endif
