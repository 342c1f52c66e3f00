// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device process of a network device: the registers of virtio-net (VIRTIO 1.2, 5.1). The
 * rings are vhost-net's, see vhost.h.
 */
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <string.h>
#include "util.h"
#include "vhost.h"

/* Besides those of vhost. A tap takes packets with and without checksums, and large ones. */
#define FEATURES	(BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) | \
			 BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | \
			 BIT(VIRTIO_NET_F_HOST_TSO6))

static struct vhost_device net;

int main(void)
{
	static struct virtio_net_config config = { .status = VIRTIO_NET_S_LINK_UP };
	const struct device_args *args = &net.device.args;

	vhost_init(&net);
	memcpy(config.mac, args->mac, sizeof(config.mac));
	config.mtu = args->mtu;
	net.mmio.device_id = VIRTIO_ID_NET;
	net.mmio.features = FEATURES | args->features;
	if (args->mtu)
		net.mmio.features |= BIT(VIRTIO_NET_F_MTU);
	net.mmio.nr_queues = 2;
	net.mmio.config = &config;
	net.mmio.config_size = sizeof(config);
	vhost_serve(&net);
}
