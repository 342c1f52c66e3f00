// SPDX-License-Identifier: LGPL-2.1-only OR BSD-3-Clause
/*
 * On a socket commands come one by one, whoever is on the other side: the next one is
 * sent only after the response to the last one. So one thread serves at a time; the others
 * wait until that one stops.
 */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* A packet is sent as a whole or not at all. */
static int send_response(struct ioregionfd_task *task)
{
	struct sock *sock = &task->sock;

	if (send(task->write_fd, &sock->resp, sizeof(sock->resp),
		 MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
		sock->unsent = false;
		return 0;
	}
	switch (errno) {
	case EAGAIN:
	case EINTR:
		return 0;
	case EPIPE:
	case ECONNRESET:
		return -ENODEV;
	}
	return -errno;
}

static int receive_command(struct ioregionfd_task *task)
{
	struct sock *sock = &task->sock;
	struct ioregionfd_fetch fetch;
	ssize_t n;

	/* MSG_TRUNC: return the true length of a packet that is too long. */
	n = recv(task->read_fd, &fetch.cmd, sizeof(fetch.cmd), MSG_DONTWAIT | MSG_TRUNC);
	if (n == sizeof(fetch.cmd)) {
		ioregionfd_task_handle(task, &fetch);
		sock->resp.data = fetch.data;
		sock->resp.status = fetch.status;
		sock->unsent = fetch.cmd.flags & IOREGIONFD_CMD_F_RESP;
		return sock->unsent ? send_response(task) : 0;
	}
	if (n > 0)
		return -EPROTO;
	/* ECONNRESET: the other side closed the socket with our response unread. */
	if (!n || errno == ECONNRESET)
		return -ENODEV;
	return errno == EINTR || errno == EAGAIN ? 0 : -errno;
}

/* Wait until there is something to send or receive, or for ioregionfd_stop(), and do it. */
static int step(struct ioregionfd_task *task)
{
	bool sending = task->sock.unsent;
	struct pollfd p[] = {
		{
			.fd = sending ? task->write_fd : task->read_fd,
			.events = sending ? POLLOUT : POLLIN,
		},
		{ .fd = task->sock.stop_fd, .events = POLLIN },
	};

	/*
	 * A thread that sleeps in recv() would also be woken, for nothing, when the other
	 * side has read the last response. That costs more than this system call.
	 */
	if (poll(p, 2, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (!p[0].revents)
		return 0;
	return sending ? send_response(task) : receive_command(task);
}

int ioregionfd_socket_run(struct ioregionfd_task *task)
{
	int ret = 0;

	pthread_mutex_lock(&task->sock.lock);
	while (!ret && !task_stopped(task))
		ret = step(task);
	pthread_mutex_unlock(&task->sock.lock);
	return ret;
}

void ioregionfd_socket_interrupt(struct ioregionfd_task *task)
{
	uint64_t one = 1;
	ssize_t n;

	/* Fails only if the counter is full, and then the eventfd is readable anyway. */
	n = write(task->sock.stop_fd, &one, sizeof(one));
	(void)n;
}

void ioregionfd_socket_restart(struct ioregionfd_task *task)
{
	uint64_t count;
	ssize_t n;

	/* Fails only if it was not stopped. */
	n = read(task->sock.stop_fd, &count, sizeof(count));
	(void)n;
}

/* kvm.ko accepts this kind of socket, and no other. */
static int check_socket(int fd)
{
	int type, domain;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len))
		return errno == ENOTSOCK ? -EINVAL : -errno;
	return type == SOCK_SEQPACKET && domain == AF_UNIX ? 0 : -EINVAL;
}

int ioregionfd_socket_open(struct ioregionfd_task *task)
{
	struct sock *sock = &task->sock;
	int ret;

	ret = check_socket(task->read_fd) ?: check_socket(task->write_fd);
	if (ret)
		return ret;
	sock->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sock->stop_fd < 0)
		return -errno;
	pthread_mutex_init(&sock->lock, NULL);
	return 0;
}

void ioregionfd_socket_close(struct ioregionfd_task *task)
{
	close(task->sock.stop_fd);
	pthread_mutex_destroy(&task->sock.lock);
}
