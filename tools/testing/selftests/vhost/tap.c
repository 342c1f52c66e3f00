// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include "tap.h"

#define NAME		"vhosttap"
#define ETHERTYPE	0x88b5		/* for experiments */
#define PATTERN		4093
#define TIMEOUT_S	5

static int complain(const char *what)
{
	fprintf(stderr, "# tap: %s: %s\n", what, strerror(errno));
	return -1;
}

static int name_tap(int fd, bool headerless)
{
	struct ifreq ifr = {
		.ifr_name = NAME,
		.ifr_flags = IFF_TAP | IFF_NO_PI | (headerless ? 0 : IFF_VNET_HDR),
	};
	int size = NET_HEADER;

	return ioctl(fd, TUNSETIFF, &ifr) || (!headerless && ioctl(fd, TUNSETVNETHDRSZ, &size)) ?
	       complain("create") : 0;
}

static int open_tap(bool headerless)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return complain("open");
	if (!name_tap(fd, headerless))
		return fd;
	close(fd);
	return -1;
}

static int interface_up(int socket)
{
	struct ifreq ifr = { .ifr_name = NAME, .ifr_mtu = TAP_MTU };

	if (ioctl(socket, SIOCSIFMTU, &ifr))
		return complain("MTU");
	if (ioctl(socket, SIOCGIFFLAGS, &ifr))
		return complain("flags");
	ifr.ifr_flags |= IFF_UP;
	return ioctl(socket, SIOCSIFFLAGS, &ifr) ? complain("up") : 0;
}

/* A socket in the host's network namespace, which has the interface */
static int open_socket(void)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETHERTYPE),
	};
	struct timeval timeout = { .tv_sec = TIMEOUT_S };
	int one = 1, size = 16 << 20, fd;

	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0 || interface_up(fd))
		goto bad;
	address.sll_ifindex = if_nametoindex(NAME);
	if (!setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) &&
	    !setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) &&
	    !setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) &&
	    !setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) &&
	    !bind(fd, (void *)&address, sizeof(address)))
		return fd;
bad:
	complain("socket");
	close(fd);
	return -1;
}

/*
 * Another one, that drops all frames. Some kernels let the only receiver of a frame that is sent
 * without a copy keep the guest's memory for as long as it does not read it, and vhost-net waits
 * for that. Of what is for more than one there is a copy, in all of them.
 */
static int open_bystander(void)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETHERTYPE),
		.sll_ifindex = if_nametoindex(NAME),
	};
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { 1, &drop };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd >= 0 &&
	    !setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) &&
	    !bind(fd, (void *)&address, sizeof(address)))
		return fd;
	complain("bystander");
	close(fd);
	return -1;
}

static int open_sockets(struct tap *tap)
{
	tap->socket = open_socket();
	if (tap->socket < 0)
		return -1;
	tap->bystander = open_bystander();
	return tap->bystander < 0 ? -1 : 0;
}

static void close_sockets(struct tap *tap)
{
	close(tap->socket);
	close(tap->bystander);
	tap->socket = -1;
	tap->bystander = -1;
}

int tap_create(struct tap *tap)
{
	int file;

	tap->fd = -1;
	tap->socket = -1;
	tap->bystander = -1;
	tap->headerless = false;
	if (unshare(CLONE_NEWNET))
		return complain("network namespace");
	/* Frames that IPv6 sends by itself would come in between. */
	file = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);
	if (file >= 0) {
		if (write(file, "1", 1) != 1)
			return complain("no IPv6");
		close(file);
	}

	tap->fd = open_tap(false);
	if (tap->fd < 0)
		return -1;
	return open_sockets(tap);
}

int tap_delete(struct tap *tap)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} request = {
		.header = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = RTM_DELLINK,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
		},
		.link = { .ifi_index = if_nametoindex(NAME) },
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	bool done;

	/* The answer comes as soon as the request is sent. */
	done = send(fd, &request, sizeof(request), 0) == sizeof(request) &&
	       recv(fd, &answer, sizeof(answer), MSG_DONTWAIT) >= (ssize_t)sizeof(answer) &&
	       answer.header.nlmsg_type == NLMSG_ERROR && !answer.error.error;
	close(fd);
	return done ? 0 : complain("delete");
}

int tap_again(struct tap *tap, bool new_fd)
{
	close_sockets(tap);
	if (new_fd) {
		close(tap->fd);
		tap->fd = open_tap(tap->headerless);
		if (tap->fd < 0)
			return -1;
	} else if (name_tap(tap->fd, tap->headerless)) {
		return -1;
	}
	return open_sockets(tap);
}

int tap_limit(struct tap *tap, int room)
{
	/* as many frames as it can keep */
	struct ethtool_coalesce coalesce = {
		.cmd = ETHTOOL_SCOALESCE,
		.rx_max_coalesced_frames = UINT32_MAX,
	};
	struct ifreq ifr = { .ifr_name = NAME, .ifr_data = (void *)&coalesce };

	return ioctl(tap->fd, TUNSETSNDBUF, &room) || ioctl(tap->socket, SIOCETHTOOL, &ifr) ?
	       complain("limit") : 0;
}

int tap_push(struct tap *tap)
{
	uint8_t frame[NET_HEADER + FRAME_LEAST] = {};

	/* Its type is another one, so that @socket does not get it. */
	frame_make(frame + NET_HEADER, 0, FRAME_LEAST);
	((struct ethhdr *)(frame + NET_HEADER))->h_proto = htons(ETHERTYPE + 1);
	return write(tap->fd, frame, sizeof(frame)) == sizeof(frame) ? 0 : complain("push");
}

bool tap_is_full(struct tap *tap)
{
	struct pollfd pollfd = { tap->fd, POLLOUT };

	return !poll(&pollfd, 1, 0);
}

void tap_destroy(struct tap *tap)
{
	close(tap->fd);
	close_sockets(tap);
}

static const uint8_t *data_of(uint32_t number)
{
	static uint8_t pattern[PATTERN + FRAME_MOST];

	if (!pattern[0]) {
		for (size_t i = 0; i < sizeof(pattern); i++) {
			do
				pattern[i] = random();
			while (pattern[i] == FRAME_NEVER);
		}
		pattern[0] |= 1;
	}
	return &pattern[number * 7 % PATTERN];
}

void frame_make(uint8_t *frame, uint32_t number, size_t size)
{
	struct ethhdr ethernet = { .h_proto = htons(ETHERTYPE) };

	/* Broadcast, so that the receiver needs no address */
	memset(ethernet.h_dest, 0xff, ETH_ALEN);
	memset(ethernet.h_source, 0x02, ETH_ALEN);
	memcpy(frame, &ethernet, sizeof(ethernet));
	memcpy(frame + sizeof(ethernet), data_of(number), size - sizeof(ethernet));
}

int frame_check(const uint8_t *frame, size_t length, uint32_t number, size_t size)
{
	uint8_t expected[FRAME_MOST];

	frame_make(expected, number, size);
	if (length == size && !memcmp(frame, expected, size))
		return 0;
	fprintf(stderr, "# frame %u of %zu bytes: got %zu%s\n", number, size, length,
		length == size ? " other ones" : "");
	return -1;
}

int tap_send(struct tap *tap, uint32_t number, size_t size)
{
	uint8_t frame[FRAME_MOST];

	frame_make(frame, number, size);
	return send(tap->socket, frame, size, 0) == size ? 0 : complain("send");
}

int tap_receive(struct tap *tap, uint32_t number, size_t size)
{
	uint8_t frame[FRAME_MOST];
	ssize_t length = recv(tap->socket, frame, sizeof(frame), 0);

	return length < 0 ? complain("receive") : frame_check(frame, length, number, size);
}

bool tap_is_empty(struct tap *tap)
{
	char byte;

	return recv(tap->socket, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
}

int tap_fills_header(struct tap *tap)
{
	uint8_t frame[NET_HEADER + FRAME_LEAST];
	const struct virtio_net_hdr_v1 *header = (void *)frame;

	memset(frame, FRAME_NEVER, sizeof(frame));
	if (tap_send(tap, 0, FRAME_LEAST))
		return -1;
	if (read(tap->fd, frame, sizeof(frame)) != sizeof(frame))
		return complain("read");
	return header->num_buffers != FRAME_NEVER * 0x101;
}
