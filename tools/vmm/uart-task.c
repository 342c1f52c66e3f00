// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device task: a process of its own that emulates a 16550A UART.
 *
 * It knows nothing of KVM. Commands come in on a native channel, or on a socket from
 * kvm.ko or the VMM, which makes no difference here. Interrupts go out through an
 * eventfd, and characters go through stdin and stdout.
 */
#include "uart-task.h"
#include "uart16550.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <ioregionfd.h>

/*
 * Characters for stdout are collected into lines, because a write(2) for each of
 * them would cost more than the access that brought it. An incomplete line, such
 * as a prompt, is written after this time.
 */
#define FLUSH_AFTER_MS	10

struct task {
	struct ioregionfd_task *ioregionfd;
	pthread_mutex_t lock;	/* protects all that follows */
	struct uart16550 uart;

	char out[256];
	size_t out_len;
	bool stdin_eof, stdout_dead;

	/* What the terminal's thread waits for: input, a timeout, or an eventfd. */
	bool listening, flush_due;
	int wake_fd;

	/* What is reported at the end; [n] is for accesses of 1 << n bytes. */
	unsigned long reads[4], writes[4];
	unsigned long refused, interrupts, sent, received;
};

/*
 * A broken stdout is no reason to take the guest's serial port away: it is as if
 * the cable had been pulled. One warning is enough.
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

static bool can_receive(const struct task *task)
{
	return !task->stdin_eof && uart16550_room(&task->uart);
}

/* Wake the terminal's thread if an access has given it something else to wait for. */
static void wake_terminal(struct task *task)
{
	uint64_t one = 1;

	if (task->listening >= can_receive(task) && task->flush_due >= !!task->out_len)
		return;
	/* Until the thread has looked, no further wakeup is needed. */
	task->listening = true;
	task->flush_due = true;
	if (write(task->wake_fd, &one, sizeof(one)) != sizeof(one))
		err(EXIT_FAILURE, "cannot write to an eventfd");
}

static void receive(struct task *task)
{
	uint8_t buf[UART16550_FIFO_SIZE];
	size_t room = uart16550_room(&task->uart);
	ssize_t n;

	/* A command that was served since poll() may have filled the FIFO. */
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
 * bytes, the one with the lowest address first. Bytes beyond the last register
 * are treated as a bus does when no device responds.
 */
static bool beyond_end(struct task *task, uint64_t offset, unsigned int size)
{
	if (offset <= UART16550_REGISTERS - size)
		return false;
	task->refused++;
	return true;
}

static uint64_t bus_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct task *task = opaque;
	uint64_t data = 0;
	unsigned int i;

	pthread_mutex_lock(&task->lock);
	if (beyond_end(task, offset, size)) {
		data = UINT64_MAX;
	} else {
		task->reads[__builtin_ctz(size)]++;
		for (i = 0; i < size; i++)
			data |= (uint64_t)uart16550_read(&task->uart, offset + i) << (8 * i);
		wake_terminal(task);
	}
	pthread_mutex_unlock(&task->lock);
	return data;
}

static void bus_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct task *task = opaque;
	unsigned int i;

	pthread_mutex_lock(&task->lock);
	if (!beyond_end(task, offset, size)) {
		task->writes[__builtin_ctz(size)]++;
		for (i = 0; i < size; i++)
			uart16550_write(&task->uart, offset + i, value >> (8 * i));
		wake_terminal(task);
	}
	pthread_mutex_unlock(&task->lock);
}

/* A thread of its own, so that the one that serves the guest waits for nothing else. */
static void *terminal(void *arg)
{
	struct task *task = arg;
	struct pollfd p[] = {
		{ .fd = task->wake_fd, .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};
	uint64_t count;
	bool listen;
	int n, ms;

	pthread_mutex_lock(&task->lock);
	for (;;) {
		/* Without room in the FIFO, stdin would make every poll() return at once. */
		listen = can_receive(task);
		ms = task->out_len ? FLUSH_AFTER_MS : -1;
		task->listening = listen;
		task->flush_due = task->out_len;
		pthread_mutex_unlock(&task->lock);
		n = poll(p, listen ? 2 : 1, ms);
		if (n < 0 && errno != EINTR)
			err(EXIT_FAILURE, "cannot wait for input");
		pthread_mutex_lock(&task->lock);

		if (n == 0)
			flush_output(task);
		if (n <= 0)
			continue;
		if (p[0].revents && read(task->wake_fd, &count, sizeof(count)) < 0)
			err(EXIT_FAILURE, "cannot read an eventfd");
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

/* For the signal handler, which gets no argument. */
static struct task this_task = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void stop(int signal)
{
	(void)signal;
	ioregionfd_stop(this_task.ioregionfd);
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = stop };
	sigset_t term;

	/* A broken pipe is an error of the write; Ctrl-C is meant for the VMM. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	if (sigaction(SIGTERM, &action, NULL) || sigprocmask(SIG_UNBLOCK, &term, NULL))
		err(EXIT_FAILURE, "cannot catch SIGTERM");
}

static void check(int ret, const char *what)
{
	if (ret)
		errx(EXIT_FAILURE, "%s: %s", what, strerror(-ret));
}

int main(void)
{
	static const struct uart16550_ops chip_ops = {
		.transmit = transmit,
		.raise_irq = raise_irq,
	};
	static const struct ioregionfd_ops bus_ops = {
		.read = bus_read,
		.write = bus_write,
	};
	struct task *task = &this_task;
	pthread_t thread;
	int fd;

	for (fd = 0; fd < UART_TASK_NR_FDS; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			errx(EXIT_FAILURE,
			     "file descriptor %d is missing; vmm starts this program",
			     fd);
	}

	uart16550_init(&task->uart, &chip_ops, task);
	task->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (task->wake_fd < 0)
		err(EXIT_FAILURE, "eventfd");
	check(ioregionfd_open(&task->ioregionfd, UART_TASK_CHANNEL_FD, UART_TASK_CHANNEL_FD, 0),
	      "cannot use the channel");
	check(ioregionfd_register(task->ioregionfd, UART_TASK_USER_DATA, &bus_ops, task),
	      "cannot register the region");
	catch_signals();
	check(-pthread_create(&thread, NULL, terminal, task), "pthread_create");

	check(ioregionfd_run(task->ioregionfd, IOREGIONFD_SLEEP, IOREGIONFD_ANY),
	      "cannot serve commands");

	/* Not unlocked again: the terminal's thread does nothing while the process exits. */
	pthread_mutex_lock(&task->lock);
	flush_output(task);
	task->refused += ioregionfd_unknown_count(task->ioregionfd);
	report(task);
	return EXIT_SUCCESS;
}
