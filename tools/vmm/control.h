/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control socket of a VMM: an AF_UNIX socket of type SOCK_SEQPACKET that its user alone
 * can connect to. A request is one packet, words that each end with a 0 byte. The response
 * is one packet, text that begins with "ok" or "error". Nothing that a peer does, or does not
 * do, keeps the VMM from its work: whoever does not take a response loses it.
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <poll.h>
#include <stddef.h>

#define CONTROL_PEERS		8	/* one more takes the place of the first */
#define CONTROL_FDS		(CONTROL_PEERS + 1)
#define CONTROL_MAX_WORDS	3
#define CONTROL_MAX_MESSAGE	8192

struct control {
	int listener;		/* -1: there is no control socket */
	int peers[CONTROL_PEERS];
	unsigned int oldest;	/* of the peers, if there is no room */
	const char *path;
};

/* @path may be NULL. Exits with a message if something fails. */
void control_open(struct control *control, const char *path);
void control_close(struct control *control);

/* Fill in CONTROL_FDS entries, which control_serve() gets after poll(). */
void control_poll(const struct control *control, struct pollfd *fds);

/*
 * Calls @request for each request, with @nr words. It calls control_respond() with @peer,
 * or with a duplicate of it later.
 */
void control_serve(struct control *control, const struct pollfd *fds,
		   void (*request)(void *opaque, int peer, char **words, unsigned int nr),
		   void *opaque);

void control_respond(int peer, const char *format, ...);

/*
 * The other side: send @words, print the response, and return the exit status. Gives up
 * when there is no response for a minute.
 */
int control_request(const char *path, char **words, unsigned int nr);

#endif /* CONTROL_H */
