// SPDX-License-Identifier: GPL-2.0-only
/*
 * bounce tcp ADDRESS PORT | vsock CID PORT: a megabyte to who sends back there what it
 * gets, and compare. Sends and receives as either is possible: who first waits for room
 * to send waits for ever, if there will be none before something is received.
 *
 * Waits only so long for something to move, and says what is wrong.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SIZE	1048576
/* seconds */
#define LIMIT	60

static unsigned char data[SIZE], chunk[65536];

static int dial(int tcp, const char *address, int port)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK,
		.svm_cid = atoi(address),
		.svm_port = port,
	};
	int fd, error;

	fd = socket(tcp ? AF_INET : AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
	inet_pton(AF_INET, address, &in.sin_addr);
	error = tcp ? connect(fd, (struct sockaddr *)&in, sizeof(in)) :
		connect(fd, (struct sockaddr *)&vm, sizeof(vm));
	if (!error || errno == EINPROGRESS)
		return fd;
	close(fd);
	return -1;
}

/* Which side does not do its part? */
static void stalled(int fd)
{
	int to_read = 0, to_send = 0;
	struct tcp_info info;
	socklen_t length = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length))
		return;
	ioctl(fd, SIOCINQ, &to_read);
	ioctl(fd, SIOCOUTQ, &to_send);
	printf("# TCP state %u: %d bytes to read, heard of the guest %u ms ago\n",
	       info.tcpi_state, to_read, info.tcpi_last_ack_recv);
	printf("# %d bytes to send, the first of them %u times in vain, next in %u ms\n",
	       to_send, info.tcpi_backoff, info.tcpi_rto / 1000);
}

/* 0, 1 if something is wrong, or -1 if nobody takes the connection yet */
static int bounce(int fd)
{
	struct pollfd pfd = { .fd = fd };
	size_t sent = 0, received = 0;
	ssize_t n;

	for (;;) {
		pfd.events = POLLIN | (sent < SIZE ? POLLOUT : 0);
		if (poll(&pfd, 1, LIMIT * 1000) <= 0) {
			printf("# %zu bytes out, %zu back, then nothing for %d s\n", sent, received,
			       LIMIT);
			stalled(fd);
			return 1;
		}
		if (pfd.revents & POLLOUT) {
			n = send(fd, data + sent, SIZE - sent, MSG_NOSIGNAL);
			if (n < 0 && errno != EAGAIN)
				break;
			sent += n > 0 ? n : 0;
			if (sent == SIZE)
				shutdown(fd, SHUT_WR);
		}
		n = recv(fd, chunk, sizeof(chunk), 0);
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n <= 0)
			break;
		if (received + n > SIZE || memcmp(chunk, data + received, n)) {
			printf("# wrong: one of the %zd bytes from %zu\n", n, received);
			return 1;
		}
		received += n;
	}
	if (!n && received == SIZE)
		return 0;
	if (n && !received)
		return -1;
	printf("# %zu bytes out, %zu back, then: %s\n", sent, received,
	       n ? strerror(errno) : "closed");
	return 1;
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + LIMIT;
	int result = -1, fd;
	size_t i;

	if (argc != 4)
		return 1;
	srand(getpid());
	for (i = 0; i < SIZE; i++)
		data[i] = rand();
	/* Between two connections there is a moment in which nobody listens */
	while (result < 0 && time(NULL) < end) {
		fd = dial(!strcmp(argv[1], "tcp"), argv[2], atoi(argv[3]));
		if (fd >= 0) {
			result = bounce(fd);
			close(fd);
		}
		if (result < 0)
			usleep(200000);
	}
	if (result < 0)
		printf("# nobody takes the connection, for %d s\n", LIMIT);
	return !!result;
}
