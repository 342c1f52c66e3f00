// SPDX-License-Identifier: GPL-2.0-only
/*
 * echo INTERFACE [FRAMES]: whatever is behind INTERFACE sends back what it gets: say on
 * stdout how many frames of which every byte was right have made the trip
 */
#include <stdio.h>
#include <stdlib.h>

#include "frames.h"

#define MTU	1500
#define LEAST	FRAME_LEAST
#define MOST	(MTU + 14)
#define FRAMES	4000

int main(int argc, char **argv)
{
	/* One by one, a few, and as many as fill a ring */
	static const unsigned int bursts[] = { 1, 7, 64, 256 };
	unsigned int count = argc > 2 ? atoi(argv[2]) : FRAMES, i;
	struct frames frames;

	if (argc < 2 || interface_up(argv[1], MTU) || frames_open(&frames, argv[1], argv[1]))
		return 1;
	for (i = 0; i < 4; i++)
		if (frames_pass(&frames, count / 4, bursts[i], LEAST, MOST))
			return 1;
	printf("%u\n", frames.received);
	frames_close(&frames);
	return 0;
}
