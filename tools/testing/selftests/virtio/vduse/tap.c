// SPDX-License-Identifier: GPL-2.0-only
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include "net.h"

int tap_open(const char *name, int header)
{
	struct ifreq ifr = {
		.ifr_flags = IFF_TAP | IFF_NO_PI | (header ? IFF_VNET_HDR : 0),
	};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		err(1, "/dev/net/tun");
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) || (header && ioctl(fd, TUNSETVNETHDRSZ, &header)))
		err(1, "tap %s", name);
	return fd;
}

void net_config(struct device *device, struct virtio_net_config *config)
{
	static const uint8_t mac[] = { 0x52, 0x54, 0, 0x76, 0x64, 0x75 };

	memcpy(config->mac, mac, sizeof(mac));
	device->features |= 1ULL << VIRTIO_NET_F_MAC;
	device->config = config;
	device->config_size = sizeof(*config);
}
