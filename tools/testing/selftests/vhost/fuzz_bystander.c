// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices of a process that takes no part in vhost_fuzz_test, one for each layout, with frames
 * both ways through taps of their own
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "../kselftest.h"
#include "fuzz.h"
#include "net.h"

/* Frames both ways, each of which is compared */
static int pass(struct net *net)
{
	unsigned int n = 1 + random() % 20;

	while (n && tx_add(net))
		n--;
	if (tx_pass(net))
		return -1;
	rx_fill(net);
	return rx_pass(net, 1 + random() % 8);
}

void fuzz_bystander(unsigned int *passes)
{
	static struct net nets[4];
	unsigned int i, first = 0;

	for (i = 0; i < ARRAY_SIZE(nets); i++) {
		struct ring_kind kind = {
			.packed = i & 1,
			.in_order = i & 2,
			.event_idx = true,
		};

		/* Others reorder then. */
		if (net_have_zcopy() && !kind.in_order)
			continue;
		if (net_prepare(&nets[i], kind, true, RING_SIZE) || net_start(&nets[i])) {
			perror("# bystander");
			return;
		}
	}
	if (net_have_zcopy())
		first = 2;
	for (i = first; !pass(&nets[i]); i = i + 1 < ARRAY_SIZE(nets) ? i + 1 : first) {
		__atomic_fetch_add(passes, 1, __ATOMIC_RELAXED);
		usleep(2000);
	}
}
