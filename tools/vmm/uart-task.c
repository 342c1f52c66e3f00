// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device task: a process of its own that is a 16550A UART.
 *
 * It knows nothing of KVM. Commands come in on a socket, be it from kvm.ko or
 * from the VMM (which of them makes no difference here), interrupts go out
 * through an eventfd, characters through stdin and stdout.
 */
#include "uart-task.h"
#include "uart16550.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/ioregionfd.h>

/*
 * Characters for stdout are gathered into lines, because a write(2) for each
 * would cost more than the access that brought it. What is no line yet, such
 * as a prompt, goes out when the guest has been silent for this long.
 */
#define FLUSH_AFTER_MS	10

struct task {
	struct uart16550 uart;

	char out[256];
	size_t out_len;
	bool stdin_eof, stdout_dead;

	/* What is reported in the end; [n] is for accesses of 1 << n bytes. */
	unsigned long reads[4], writes[4];
	unsigned long refused, interrupts, sent, received;
};

/*
 * A broken stdout is no reason to take the guest's serial port away: the
 * cable has been pulled, so to speak. It is complained about once.
 */
static void flush_output(struct task *task)
{
	size_t done = 0;

	while (done < task->out_len && !task->stdout_dead) {
		ssize_t n = write(STDOUT_FILENO, task->out + done,
				  task->out_len - done);

		if (n >= 0) {
			done += n;
		} else if (errno == EAGAIN) {
			struct pollfd p = {
				.fd = STDOUT_FILENO,
				.events = POLLOUT,
			};

			poll(&p, 1, -1);
		} else if (errno != EINTR) {
			warn("cannot write to stdout, output is lost");
			task->stdout_dead = true;
		}
	}
	task->out_len = 0;
}

static void transmit(void *opaque, uint8_t byte)
{
	struct task *task = opaque;

	task->sent++;
	task->out[task->out_len++] = byte;
	if (byte == '\n' || task->out_len == sizeof(task->out))
		flush_output(task);
}

static void raise_irq(void *opaque)
{
	struct task *task = opaque;
	uint64_t one = 1;

	task->interrupts++;
	if (write(UART_TASK_IRQ_FD, &one, sizeof(one)) != sizeof(one))
		err(EXIT_FAILURE, "cannot raise the interrupt");
}

static void receive(struct task *task)
{
	uint8_t buf[UART16550_FIFO_SIZE];
	size_t room = uart16550_room(&task->uart);
	ssize_t n;

	/* The command served since poll() may have changed that. */
	if (!room)
		return;

	n = read(STDIN_FILENO, buf, room);
	if (n > 0) {
		task->received += n;
		uart16550_receive(&task->uart, buf, n);
	} else if (n == 0) {
		task->stdin_eof = true;
	} else if (errno != EINTR && errno != EAGAIN) {
		warn("cannot read stdin, input ends");
		task->stdin_eof = true;
	}
}

/*
 * The registers are one byte wide; the bus splits a wider access into single
 * bytes, the one with the lowest address first.
 */
static uint64_t execute(struct task *task, const struct ioregionfd_cmd *cmd)
{
	unsigned int i, size = 1U << (cmd->size_exponent & 3);
	uint64_t data = 0;

	if (cmd->size_exponent > IOREGIONFD_SIZE_64BIT ||
	    cmd->offset > UART16550_REGISTERS - size)
		goto refuse;

	switch (cmd->cmd) {
	case IOREGIONFD_CMD_READ:
		task->reads[cmd->size_exponent]++;
		for (i = 0; i < size; i++) {
			uint64_t byte = uart16550_read(&task->uart,
						       cmd->offset + i);

			data |= byte << (8 * i);
		}
		return data;
	case IOREGIONFD_CMD_WRITE:
		task->writes[cmd->size_exponent]++;
		for (i = 0; i < size; i++)
			uart16550_write(&task->uart, cmd->offset + i,
					cmd->data >> (8 * i));
		return 0;
	}

refuse:
	/* What a bus does when nothing answers. */
	task->refused++;
	return UINT64_MAX;
}

/*
 * Messages have 32 bytes and arrive whole as a rule, but a stream promises
 * nothing. Both functions return false when the other side is gone; it is so
 * too (ECONNRESET, EPIPE) if it went without waiting for the response.
 */
static bool read_command(struct ioregionfd_cmd *cmd)
{
	char *buf = (char *)cmd;
	size_t done = 0;

	while (done < sizeof(*cmd)) {
		ssize_t n = read(UART_TASK_SOCKET_FD, buf + done,
				 sizeof(*cmd) - done);

		if (n > 0)
			done += n;
		else if (n == 0 || errno == ECONNRESET)
			break;
		else if (errno != EINTR)
			err(EXIT_FAILURE, "cannot read a command");
	}
	if (done && done < sizeof(*cmd))
		warnx("the socket ended in the middle of a command");
	return done == sizeof(*cmd);
}

static bool write_response(const struct ioregionfd_resp *resp)
{
	const char *buf = (const char *)resp;
	size_t done = 0;

	while (done < sizeof(*resp)) {
		ssize_t n = write(UART_TASK_SOCKET_FD, buf + done,
				  sizeof(*resp) - done);

		if (n >= 0)
			done += n;
		else if (errno == EPIPE || errno == ECONNRESET)
			return false;
		else if (errno != EINTR)
			err(EXIT_FAILURE, "cannot write a response");
	}
	return true;
}

static bool serve_command(struct task *task)
{
	struct ioregionfd_resp resp = { 0 };
	struct ioregionfd_cmd cmd;

	if (!read_command(&cmd))
		return false;
	resp.data = execute(task, &cmd);
	return !cmd.resp || write_response(&resp);
}

static void serve(struct task *task)
{
	for (;;) {
		struct pollfd p[] = {
			{ .fd = UART_TASK_SOCKET_FD, .events = POLLIN },
			{ .fd = STDIN_FILENO, .events = POLLIN },
		};
		bool listen = !task->stdin_eof && uart16550_room(&task->uart);
		int n;

		/*
		 * While the FIFO has no room, stdin must not be looked at: it
		 * would end every poll() at once. With the socket alone there
		 * is still reason to poll(): a process that sleeps in read() is
		 * also woken, for nothing, when the other side has taken its
		 * last response. That costs more than the system call.
		 */
		n = poll(p, listen ? 2 : 1, task->out_len ? FLUSH_AFTER_MS : -1);
		if (n < 0 && errno != EINTR)
			err(EXIT_FAILURE, "cannot wait for commands");
		if (n == 0)
			flush_output(task);
		if (n <= 0)
			continue;

		if (p[0].revents && !serve_command(task))
			return;
		if (listen && p[1].revents)
			receive(task);
	}
}

static void report(const struct task *task)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		dprintf(UART_TASK_REPORT_FD, "reads_%u=%lu\n", 1U << i,
			task->reads[i]);
	for (i = 0; i < 4; i++)
		dprintf(UART_TASK_REPORT_FD, "writes_%u=%lu\n", 1U << i,
			task->writes[i]);
	dprintf(UART_TASK_REPORT_FD,
		"refused=%lu\n"
		"interrupts=%lu\n"
		"characters_from_guest=%lu\n"
		"characters_to_guest=%lu\n",
		task->refused, task->interrupts, task->sent, task->received);
}

int main(void)
{
	static const struct uart16550_ops ops = {
		.transmit = transmit,
		.raise_irq = raise_irq,
	};
	static struct task task;
	int fd;

	for (fd = 0; fd < UART_TASK_NR_FDS; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			errx(EXIT_FAILURE,
			     "file descriptor %d is missing; vmm starts this program",
			     fd);
	}

	/* Broken pipes are told by the write; Ctrl-C is meant for the VMM. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);

	uart16550_init(&task.uart, &ops, &task);
	serve(&task);
	flush_output(&task);
	report(&task);
	return EXIT_SUCCESS;
}
