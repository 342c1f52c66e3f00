// SPDX-License-Identifier: GPL-2.0-only
#include "devices.h"

#include <err.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>

#include "drivers/vhost/test.h"
#include "../../kselftest.h"

enum {
	NET_RX,
	NET_TX,
};

static int tap = -1, extra = -1;

static void start_test(int vhost)
{
	int on = 1;

	if (ioctl(vhost, VHOST_TEST_RUN, &on))
		err(1, "VHOST_TEST_RUN");
}

/* Create a tap device that is up and silent. Returns its index. */
static int open_tap(void)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int header = HEADER_LEN, index, s, fd;
	char path[100];

	tap = open("/dev/net/tun", O_RDWR);
	if (tap < 0 || ioctl(tap, TUNSETIFF, &ifr) || ioctl(tap, TUNSETVNETHDRSZ, &header))
		err(1, "tap");

	/* Otherwise the kernel solicits routers. */
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", ifr.ifr_name);
	fd = open(path, O_WRONLY);
	if (fd >= 0) {
		if (write(fd, "1", 1) != 1)
			err(1, "%s", path);
		close(fd);
	}

	s = socket(AF_INET, SOCK_DGRAM, 0);
	if (s < 0 || ioctl(s, SIOCGIFINDEX, &ifr))
		err(1, "SIOCGIFINDEX");
	index = ifr.ifr_ifindex;
	ifr.ifr_flags = IFF_UP | IFF_NOARP;
	if (ioctl(s, SIOCSIFFLAGS, &ifr))
		err(1, "SIOCSIFFLAGS");
	close(s);
	return index;
}

static void set_backend(int vhost, unsigned int index)
{
	struct vhost_vring_file backend = { .index = index, .fd = tap };

	if (ioctl(vhost, VHOST_NET_SET_BACKEND, &backend))
		err(1, "VHOST_NET_SET_BACKEND");
}

/* Drop packets as soon as they reach the tap device. */
static void start_tx(int vhost)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_DROP },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_XDP,
		.insns = (uintptr_t)insns,
		.insn_cnt = ARRAY_SIZE(insns),
		.license = (uintptr_t)"GPL",
	};
	union bpf_attr link = {
		.link_create = {
			.target_ifindex = open_tap(),
			.attach_type = BPF_XDP,
			.flags = XDP_FLAGS_DRV_MODE,
		},
	};
	int prog = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));

	if (prog < 0)
		err(1, "BPF_PROG_LOAD");
	link.link_create.prog_fd = prog;
	extra = syscall(SYS_bpf, BPF_LINK_CREATE, &link, sizeof(link));
	if (extra < 0)
		err(1, "BPF_LINK_CREATE");
	close(prog);
	set_backend(vhost, NET_TX);
}

static void send_packets(unsigned int n)
{
	static const char frame[PACKET_LEN];

	while (n--)
		if (send(extra, frame, sizeof(frame), 0) != sizeof(frame))
			err(1, "send");
}

/*
 * Packets come from a packet socket. There is always one packet more than vhost has buffers for,
 * so that it waits for buffers and not for packets, whose arrival would wake it.
 */
static void start_rx(int vhost)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = open_tap(),
	};

	extra = socket(AF_PACKET, SOCK_RAW, 0);
	if (extra < 0 || bind(extra, (struct sockaddr *)&to, sizeof(to)))
		err(1, "packet socket");
	set_backend(vhost, NET_RX);
	send_packets(1);
}

static void stop_net(void)
{
	close(extra);
	close(tap);
}

const struct device devices[] = {
	{
		.name = "test",
		.path = "/dev/vhost-test",
		.len = PACKET_LEN,
		.start = start_test,
	}, {
		.name = "net-tx",
		.path = "/dev/vhost-net",
		.index = NET_TX,
		.len = HEADER_LEN + PACKET_LEN,
		.start = start_tx,
		.stop = stop_net,
	}, {
		.name = "net-rx",
		.path = "/dev/vhost-net",
		.index = NET_RX,
		.len = BUFFER_SIZE,
		.write = true,
		.start = start_rx,
		.prepare = send_packets,
		.stop = stop_net,
	},
	{}
};
