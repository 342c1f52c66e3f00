// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include "frames.h"

#define ETHERTYPE	0x88b5		/* for experiments */
#define BURST		256
#define CHUNK		32
#define PATTERN		4096		/* the data of frames is a part of this many bytes */
#define TIMEOUT_S	5
#define QUIET_MS	300

struct frame {
	struct ethhdr ethernet;
	uint16_t size;
	uint32_t number;
	uint8_t data[FRAME_MOST - sizeof(struct ethhdr) - 6];
};

#define FRAME_HEADER	offsetof(struct frame, data)

static uint8_t pattern[PATTERN + FRAME_MOST];

static int complain(const char *what)
{
	fprintf(stderr, "# frames: %s: %s\n", what, strerror(errno));
	return -1;
}

int interface_up(const char *name, unsigned int mtu)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), result = -1;
	struct ifreq ifr = {};

	if (fd < 0)
		return complain("socket");
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	ifr.ifr_mtu = mtu;
	if (!ioctl(fd, SIOCSIFMTU, &ifr) && !ioctl(fd, SIOCGIFFLAGS, &ifr)) {
		ifr.ifr_flags |= IFF_UP;
		result = ioctl(fd, SIOCSIFFLAGS, &ifr);
	}
	close(fd);
	return result ? complain(name) : 0;
}

static int open_interface(const char *name)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETHERTYPE),
		.sll_ifindex = if_nametoindex(name),
	};
	struct timeval timeout = { .tv_sec = TIMEOUT_S };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), size = 32 << 20, one = 1;

	/* Both sides are on one machine: do not receive what is sent here. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    bind(fd, (void *)&address, sizeof(address)))
		return complain(name);
	return fd;
}

int frames_open(struct frames *frames, const char *from, const char *to)
{
	memset(frames, 0, sizeof(*frames));
	if (!pattern[0]) {
		for (size_t i = 0; i < sizeof(pattern); i++)
			pattern[i] = random();
		pattern[0] |= 1;
	}
	frames->from = open_interface(from);
	frames->to = open_interface(to);
	return frames->from < 0 || frames->to < 0 ? -1 : 0;
}

void frames_close(struct frames *frames)
{
	close(frames->from);
	close(frames->to);
}

static const uint8_t *data_of(uint32_t number)
{
	return &pattern[number * 7 % PATTERN];
}

static size_t size_of(uint32_t number, size_t least, size_t most)
{
	return least + number % (most - least + 1);
}

/* Broadcast, so that the receiver needs no address */
static void make(struct frame *frame, uint32_t number, size_t size)
{
	memset(frame->ethernet.h_dest, 0xff, ETH_ALEN);
	memset(frame->ethernet.h_source, 0x02, ETH_ALEN);
	frame->ethernet.h_proto = htons(ETHERTYPE);
	frame->number = number;
	frame->size = size;
	memcpy(frame->data, data_of(number), size - FRAME_HEADER);
}

static int check(const struct frame *frame, size_t length, uint32_t number, size_t size)
{
	if (length == size && frame->number == number && frame->size == size &&
	    !memcmp(frame->data, data_of(number), size - FRAME_HEADER))
		return 0;
	fprintf(stderr, "# frame %u of %zu bytes: got %zu bytes with number %u, size %u%s\n",
		number, size, length, frame->number, frame->size,
		length == size && frame->number == number ? ", other data" : "");
	return -1;
}

static struct frame frame[CHUNK];
static struct iovec iov[CHUNK];
static struct mmsghdr messages[CHUNK];

static void prepare(unsigned int i, size_t size)
{
	iov[i] = (struct iovec) { &frame[i], size };
	messages[i].msg_hdr = (struct msghdr) { .msg_iov = &iov[i], .msg_iovlen = 1 };
}

static int send_frames(struct frames *frames, unsigned int count, size_t least, size_t most)
{
	while (count) {
		unsigned int chunk = count < CHUNK ? count : CHUNK;
		int done;

		for (unsigned int i = 0; i < chunk; i++) {
			size_t size = size_of(frames->sent + i, least, most);

			make(&frame[i], frames->sent + i, size);
			prepare(i, size);
		}
		done = sendmmsg(frames->from, messages, chunk, 0);
		if (done < 0)
			return complain("send");
		frames->sent += done;
		count -= done;
	}
	return 0;
}

static int receive_frames(struct frames *frames, size_t least, size_t most)
{
	while (frames->received != frames->sent) {
		unsigned int chunk = frames->sent - frames->received;
		int done;

		if (chunk > CHUNK)
			chunk = CHUNK;
		for (unsigned int i = 0; i < chunk; i++)
			prepare(i, sizeof(frame[i]));
		done = recvmmsg(frames->to, messages, chunk, MSG_WAITFORONE, NULL);
		if (done < 0) {
			fprintf(stderr, "# frame %u of %u has not arrived\n", frames->received,
				frames->sent);
			return complain("receive");
		}
		for (int i = 0; i < done; i++) {
			uint32_t number = frames->received++;

			if (check(&frame[i], messages[i].msg_len, number,
				  size_of(number, least, most)))
				return -1;
		}
	}
	return 0;
}

int frames_pass(struct frames *frames, uint32_t count, unsigned int burst, size_t least,
		size_t most)
{
	char one_more;

	if (burst > BURST) {
		errno = EINVAL;
		return complain("burst too large");
	}
	while (count) {
		unsigned int now = count < burst ? count : burst;

		if (send_frames(frames, now, least, most) || receive_frames(frames, least, most))
			return -1;
		count -= now;
	}
	/* and none must come twice */
	if (recv(frames->to, &one_more, sizeof(one_more), MSG_DONTWAIT) >= 0) {
		errno = EEXIST;
		return complain("unexpected frame");
	}
	return 0;
}

void frames_flood(struct frames *frames, size_t size)
{
	do {
		make(&frame[0], frames->sent, size);
		prepare(0, size);
		frames->sent++;
	} while (sendmsg(frames->from, &messages[0].msg_hdr, 0) >= 0);
}

void frames_drain(struct frames *frames)
{
	struct pollfd fd = { .fd = frames->to, .events = POLLIN };

	while (poll(&fd, 1, QUIET_MS) > 0)
		while (recv(frames->to, &frame[0], sizeof(frame[0]), MSG_DONTWAIT) >= 0)
			;
}
