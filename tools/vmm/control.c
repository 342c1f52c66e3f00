// SPDX-License-Identifier: GPL-2.0-only
#include "control.h"

#include <err.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_TIMEOUT	60	/* seconds */

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(addr.sun_path))
		errx(EXIT_FAILURE, "%s is too long for a socket", path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	return addr;
}

static int make_socket(int flags)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);

	if (fd < 0)
		err(EXIT_FAILURE, "socket");
	return fd;
}

/* Left behind by a VMM that was killed: nobody listens any more. */
static void remove_stale(const struct sockaddr_un *addr)
{
	int fd = make_socket(SOCK_NONBLOCK);

	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) && errno == ECONNREFUSED)
		unlink(addr->sun_path);
	close(fd);
}

void control_open(struct control *control, const char *path)
{
	struct sockaddr_un addr;
	unsigned int i;
	mode_t mask;
	int ret;

	control->listener = -1;
	control->path = path;
	for (i = 0; i < CONTROL_PEERS; i++)
		control->peers[i] = -1;
	if (!path)
		return;
	addr = address_of(path);
	remove_stale(&addr);
	control->listener = make_socket(SOCK_NONBLOCK);
	/* For this user alone, from the start. */
	mask = umask(0177);
	ret = bind(control->listener, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (ret || listen(control->listener, CONTROL_PEERS))
		err(EXIT_FAILURE, "cannot listen on %s", path);
}

void control_close(struct control *control)
{
	unsigned int i;

	if (control->listener < 0)
		return;
	unlink(control->path);
	close(control->listener);
	for (i = 0; i < CONTROL_PEERS; i++) {
		if (control->peers[i] >= 0)
			close(control->peers[i]);
	}
}

/* A peer that has nothing to say must not keep others out: the one that came first goes. */
static void add_peer(struct control *control, int fd)
{
	unsigned int i;

	for (i = 0; i < CONTROL_PEERS && control->peers[i] >= 0; i++)
		;
	if (i == CONTROL_PEERS) {
		i = control->oldest++ % CONTROL_PEERS;
		close(control->peers[i]);
	}
	control->peers[i] = fd;
}

void control_poll(const struct control *control, struct pollfd *fds)
{
	unsigned int i;

	for (i = 0; i < CONTROL_PEERS; i++)
		fds[i] = (struct pollfd) { .fd = control->peers[i], .events = POLLIN };
	fds[CONTROL_PEERS] = (struct pollfd) { .fd = control->listener, .events = POLLIN };
}

/* Returns how many words there are, or 0 if it is not a sequence of at most that many. */
static unsigned int split(char *message, size_t len, char **words)
{
	unsigned int nr = 0;
	char *word;

	if (!len || message[len - 1])
		return 0;
	for (word = message; word < message + len; word += strlen(word) + 1) {
		if (nr == CONTROL_MAX_WORDS)
			return 0;
		words[nr++] = word;
	}
	return nr;
}

/* Returns false if the peer has hung up. */
static bool serve_peer(int peer,
		       void (*request)(void *opaque, int peer, char **words, unsigned int nr),
		       void *opaque)
{
	char message[CONTROL_MAX_MESSAGE], *words[CONTROL_MAX_WORDS];
	unsigned int nr;
	ssize_t n;

	/* What does not fit is cut off, and then it does not end with a 0 byte. */
	n = recv(peer, message, sizeof(message), MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	/* An empty packet cannot be told from the end. */
	if (!n)
		return false;
	nr = split(message, n, words);
	if (nr)
		request(opaque, peer, words, nr);
	else
		control_respond(peer, "error: not a request\n");
	return true;
}

void control_serve(struct control *control, const struct pollfd *fds,
		   void (*request)(void *opaque, int peer, char **words, unsigned int nr),
		   void *opaque)
{
	unsigned int i;
	int fd;

	for (i = 0; i < CONTROL_PEERS; i++) {
		if (control->peers[i] < 0 || !fds[i].revents)
			continue;
		if (!serve_peer(control->peers[i], request, opaque)) {
			close(control->peers[i]);
			control->peers[i] = -1;
		}
	}
	if (!fds[CONTROL_PEERS].revents)
		return;
	fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		add_peer(control, fd);
}

void control_respond(int peer, const char *format, ...)
{
	char text[CONTROL_MAX_MESSAGE];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (len >= (int)sizeof(text))
		len = sizeof(text) - 1;
	send(peer, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static size_t join(char *message, char **words, unsigned int nr)
{
	size_t len, total = 0;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		len = strlen(words[i]) + 1;
		if (len > CONTROL_MAX_MESSAGE - total)
			errx(EXIT_FAILURE, "the request is too long");
		memcpy(message + total, words[i], len);
		total += len;
	}
	return total;
}

int control_request(const char *path, char **words, unsigned int nr)
{
	const struct timeval timeout = { .tv_sec = REQUEST_TIMEOUT };
	struct sockaddr_un addr = address_of(path);
	char message[CONTROL_MAX_MESSAGE];
	int fd = make_socket(0);
	ssize_t n;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)))
		err(EXIT_FAILURE, "setsockopt");
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		err(EXIT_FAILURE, "cannot connect to %s", path);
	n = join(message, words, nr);
	if (send(fd, message, n, MSG_NOSIGNAL) < 0)
		err(EXIT_FAILURE, "cannot send the request");
	n = recv(fd, message, sizeof(message), 0);
	if (n < 0)
		err(EXIT_FAILURE, "no response");
	if (!n)
		errx(EXIT_FAILURE, "the VMM has hung up");
	fwrite(message, 1, n, stdout);
	return n >= 2 && !memcmp(message, "ok", 2) ? EXIT_SUCCESS : EXIT_FAILURE;
}
