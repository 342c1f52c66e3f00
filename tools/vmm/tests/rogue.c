// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device process as the guest may have made of it. What it does is in the serial:
 *	exit	ends at once
 *	close	closes its channel, and stays
 *	junk	responds to nothing, but says something
 *	hangup	closes its socket to the VMM, and stays
 *	short	sends the VMM what is no request, and stays
 *	deaf	makes one request after the other, and takes no response
 *	lie	fills its state with random numbers, and ends
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../vhost.h"

static void lie(struct device_state *state)
{
	char *at = (char *)state;
	size_t left = sizeof(*state);
	ssize_t n;

	while (left) {
		n = getrandom(at, left < 256 ? left : 256, 0);
		if (n <= 0)
			exit(1);
		at += n;
		left -= n;
	}
}

static void make_requests(void)
{
	const struct vhost_request request = { 0 };

	while (send(DEVICE_BACKEND_FD, &request, sizeof(request), 0) > 0)
		;
}

int main(void)
{
	struct device_state *state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED,
					  DEVICE_STATE_FD, 0);
	const char *serial = state->args.serial;

	if (state == MAP_FAILED)
		return 2;
	if (!strcmp(serial, "lie")) {
		lie(state);
	} else if (!strcmp(serial, "close")) {
		close(DEVICE_CHANNEL_FD);
		pause();
	} else if (!strcmp(serial, "hangup")) {
		close(DEVICE_BACKEND_FD);
		pause();
	} else if (!strcmp(serial, "short")) {
		send(DEVICE_BACKEND_FD, "short", 5, 0);
		pause();
	} else if (!strcmp(serial, "deaf")) {
		make_requests();
	} else if (!strcmp(serial, "junk")) {
		send(DEVICE_CHANNEL_FD, "junk", 4, 0);
		pause();
	}
	return 1;
}
