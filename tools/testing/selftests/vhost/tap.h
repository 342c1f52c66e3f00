/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A tap device in a network namespace of its own, and the host's side of it, which sends and
 * receives frames with known content
 */
#ifndef _SELFTESTS_VHOST_TAP_H
#define _SELFTESTS_VHOST_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>

#define TAP_MTU		9000
#define FRAME_LEAST	60
#define FRAME_MOST	(ETH_HLEN + TAP_MTU)
#define NET_HEADER	sizeof(struct virtio_net_hdr_v1)

struct tap {
	int fd;			/* what vhost-net gets */
	int socket;
	int bystander;		/* gets all that @socket gets, and drops it */
	bool headerless;	/* frames have no header there; for tap_again() with a new fd */
};

int tap_create(struct tap *tap);
void tap_destroy(struct tap *tap);

/* Delete the interface, as "ip link del" does, and create it again with a new or the old fd. */
int tap_delete(struct tap *tap);
int tap_again(struct tap *tap, bool new_fd);

/*
 * Let vhost-net send no more while the interface has at least @room bytes of it. The interface
 * keeps frames that have others behind them until the last one, or tap_push(), pushes them on.
 */
int tap_limit(struct tap *tap, int room);
int tap_push(struct tap *tap);

/* Has it about as many bytes as it may have? */
bool tap_is_full(struct tap *tap);

/* Frame number @number. No byte of its data is FRAME_NEVER. */
#define FRAME_NEVER	0xaa
void frame_make(uint8_t *frame, uint32_t number, size_t size);
int frame_check(const uint8_t *frame, size_t length, uint32_t number, size_t size);

/* Send one frame to the device, or receive one from it. */
int tap_send(struct tap *tap, uint32_t number, size_t size);
int tap_receive(struct tap *tap, uint32_t number, size_t size);

/* Is there nothing to receive? */
bool tap_is_empty(struct tap *tap);

/*
 * Does the device itself fill in all of a frame's header, also that part which is vhost-net's?
 * Only while vhost-net does not have it. Returns -1 if that cannot be found out.
 */
int tap_fills_header(struct tap *tap);

#endif
