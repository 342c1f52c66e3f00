/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The driver's side of /dev/vhost-net, with a tap device behind it. Frames pass in both
 * directions and are compared byte by byte.
 */
#ifndef _SELFTESTS_VHOST_NET_H
#define _SELFTESTS_VHOST_NET_H

#include "device.h"
#include "tap.h"

#define NET_DEVICE	"/dev/vhost-net"
#define RING_SIZE	256
#define PAGE		MEMORY_PAGE
#define SLOT_SIZE	(3 * PAGE)
#define SLOTS		256

enum { RX, TX };

struct net {
	struct device device;
	struct memory memory;
	struct tap tap;
	struct ring ring[2];
	struct queue queue[2];
	uint64_t features;
	bool mergeable;
	bool zcopy;			/* zero-copy transmission, unless in order */
	size_t least, most;		/* bytes of a frame */
	uint8_t *slots[2];		/* SLOTS slots, with one buffer each */
	uint32_t buffers[2];		/* buffers made available; used as tokens */
	uint32_t sent[2], received[2];	/* frames */
};

/* Is vhost_net loaded with zero-copy transmission? */
bool net_have_zcopy(void);

/* Everything but the device; then the device with both virtqueues, or one after the other. */
int net_prepare(struct net *net, struct ring_kind kind, bool mergeable, unsigned int num);
int net_start(struct net *net);
int net_start_device(struct net *net);
int net_start_queue(struct net *net, int which, uint32_t base);
void net_end(struct net *net);

void net_kick_if_needed(struct net *net, int which);

/* Size of a frame; where the buffer with this token is */
size_t net_frame_size(const struct net *net, uint32_t number);
uint8_t *net_slot(struct net *net, int which, uint32_t token);

/* Send the next frame in this many segments, or in some. */
bool tx_add_in(struct net *net, unsigned int n);
bool tx_add(struct net *net);

/* Take back the buffers of sent frames. Returns how many, or -1. */
int tx_take(struct net *net);

/* All frames up to this one must have reached the host; or all, and nothing else. */
int tx_check_until(struct net *net, uint32_t end);
int tx_check(struct net *net);

/* Kick the device if it wants that, and check what it does with all that was added. */
int tx_pass(struct net *net);

/* Add a receive buffer of this size, or as many of some sizes as possible. */
bool rx_add(struct net *net, size_t size);
void rx_fill(struct net *net);

/* Take all received frames. Returns how many, or -1. */
int rx_take(struct net *net);

/* The host sends the next frame; or this many, which must arrive. */
int rx_send(struct net *net);
int rx_pass(struct net *net, unsigned int frames);

#endif
