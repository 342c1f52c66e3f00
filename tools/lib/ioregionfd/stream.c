// SPDX-License-Identifier: LGPL-2.1-only OR BSD-3-Clause
/*
 * Commands come one by one here, whoever is on the other side: another is sent only
 * when the one before has been answered. So one thread serves at a time; the others
 * wait for their turn, which comes when that one stops.
 */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static ssize_t write_some(struct ioregionfd_task *task, const void *buf, size_t len)
{
	if (task->stream.sock)
		return send(task->write_fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return write(task->write_fd, buf, len);
}

static ssize_t read_some(struct ioregionfd_task *task, void *buf, size_t len)
{
	/* MSG_TRUNC: of a packet that is too long, tell the true length. Streams have none. */
	if (task->stream.packets)
		return recv(task->read_fd, buf, len, MSG_DONTWAIT | MSG_TRUNC);
	if (task->stream.sock)
		return recv(task->read_fd, buf, len, MSG_DONTWAIT);
	return read(task->read_fd, buf, len);
}

static int send_response(struct ioregionfd_task *task)
{
	struct stream *stream = &task->stream;
	const char *end = (const char *)(&stream->resp + 1);
	ssize_t n;

	n = write_some(task, end - stream->unsent, stream->unsent);
	if (n >= 0) {
		stream->unsent -= n;
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

static int execute(struct ioregionfd_task *task)
{
	struct stream *stream = &task->stream;

	stream->received = 0;
	stream->resp.data = ioregionfd_task_handle(task, &stream->cmd);
	if (!stream->cmd.resp)
		return 0;
	stream->unsent = sizeof(stream->resp);
	/* A socket says so if it has no room. A pipe would block, and is asked before. */
	return stream->sock ? send_response(task) : 0;
}

static int receive_command(struct ioregionfd_task *task, bool hung_up)
{
	struct stream *stream = &task->stream;
	size_t size = sizeof(stream->cmd);
	ssize_t n;

	n = read_some(task, (char *)&stream->cmd + stream->received, size - stream->received);
	if (n > 0) {
		if (stream->packets && (size_t)n != size)
			return -EPROTO;
		stream->received += n;
		return stream->received == size ? execute(task) : 0;
	}
	if (n < 0) {
		if (errno == EINTR || (errno == EAGAIN && !hung_up))
			return 0;
		/* The other side went without having read our response; or never tells its end. */
		if (errno != ECONNRESET && errno != EAGAIN)
			return -errno;
	}
	return stream->received ? -EPROTO : -ENODEV;
}

/* Wait until something can be done, or for ioregionfd_stop(), and do it. */
static int step(struct ioregionfd_task *task)
{
	bool sending = task->stream.unsent;
	struct pollfd p[] = {
		{
			.fd = sending ? task->write_fd : task->read_fd,
			.events = sending ? POLLOUT : POLLIN,
		},
		{ .fd = task->stream.stop_fd, .events = POLLIN },
	};

	/*
	 * A thread that slept in read() would also be woken, for nothing, when the other
	 * side has taken the last response. That costs more than this system call.
	 */
	if (poll(p, 2, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (!p[0].revents)
		return 0;
	if (sending)
		return send_response(task);
	return receive_command(task, p[0].revents & (POLLHUP | POLLERR));
}

int ioregionfd_stream_run(struct ioregionfd_task *task)
{
	int ret = 0;

	pthread_mutex_lock(&task->stream.lock);
	while (!ret && !task_stopped(task))
		ret = step(task);
	pthread_mutex_unlock(&task->stream.lock);
	return ret;
}

void ioregionfd_stream_interrupt(struct ioregionfd_task *task)
{
	uint64_t one = 1;
	ssize_t n;

	/* Fails only if it has been done so often that nothing can be added. */
	n = write(task->stream.stop_fd, &one, sizeof(one));
	(void)n;
}

void ioregionfd_stream_restart(struct ioregionfd_task *task)
{
	uint64_t count;
	ssize_t n;

	/* Fails only if it was not stopped. */
	n = read(task->stream.stop_fd, &count, sizeof(count));
	(void)n;
}

/* kvm.ko takes sockets and pipes, and so does this. */
static int inspect(struct ioregionfd_task *task)
{
	struct stream *stream = &task->stream;
	socklen_t len = sizeof(int);
	struct stat in, out;
	int type;

	if (fstat(task->read_fd, &in) || fstat(task->write_fd, &out))
		return -errno;
	if ((in.st_mode & S_IFMT) != (out.st_mode & S_IFMT))
		return -EINVAL;
	stream->sock = S_ISSOCK(in.st_mode);
	if (!stream->sock)
		return S_ISFIFO(in.st_mode) ? 0 : -EINVAL;
	if (getsockopt(task->read_fd, SOL_SOCKET, SO_TYPE, &type, &len))
		return -errno;
	stream->packets = type != SOCK_STREAM;
	return 0;
}

int ioregionfd_stream_open(struct ioregionfd_task *task)
{
	struct stream *stream = &task->stream;
	int ret;

	ret = inspect(task);
	if (ret)
		return ret;
	stream->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (stream->stop_fd < 0)
		return -errno;
	pthread_mutex_init(&stream->lock, NULL);
	return 0;
}

void ioregionfd_stream_close(struct ioregionfd_task *task)
{
	close(task->stream.stop_fd);
	pthread_mutex_destroy(&task->stream.lock);
}
