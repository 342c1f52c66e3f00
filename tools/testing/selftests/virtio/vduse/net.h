/* SPDX-License-Identifier: GPL-2.0-only */
/* The common part of both virtio-net devices */
#ifndef VIRTIO_TEST_VDUSE_NET_H
#define VIRTIO_TEST_VDUSE_NET_H

#include <linux/virtio_net.h>
#include "device.h"

/* The queues */
enum { RX, TX };

/* Frames have a header of @header bytes: struct virtio_net_hdr_v1, or none. */
int tap_open(const char *name, int header);

/* Set the configuration of the device. */
void net_config(struct device *device, struct virtio_net_config *config);

#endif
