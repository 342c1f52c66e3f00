// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device process of a socket device: the registers of virtio-vsock (VIRTIO 1.2, 5.10). The
 * rings are vhost-vsock's, see vhost.h, but for that of events: the only one there is, that the
 * guest has moved elsewhere, never comes to pass.
 */
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include "vhost.h"

static struct vhost_device vsock;

int main(void)
{
	static struct virtio_vsock_config config;

	vhost_init(&vsock);
	config.guest_cid = vsock.device.args.cid;
	vsock.mmio.device_id = VIRTIO_ID_VSOCK;
	vsock.mmio.features = vsock.device.args.features;
	vsock.mmio.nr_queues = 3;
	vsock.mmio.config = &config;
	vsock.mmio.config_size = sizeof(config);
	vhost_serve(&vsock);
}
