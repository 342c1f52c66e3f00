// SPDX-License-Identifier: GPL-2.0-only
#include "uart.h"
#include "uart-task.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/close_range.h>

#include <ioregionfd.h>
#include "run.h"

static const struct kvm_ioregionfd uart_region = {
	.guest_paddr = UART_PORT,
	.memory_size = UART_PORTS,
	.user_data = UART_TASK_USER_DATA,
	.flags = KVM_IOREGION_PIO,
};

/*
 * The device task gets the descriptors that uart-task.h names and no others,
 * whatever the VMM has opened or inherited.
 */
static void exec_task(const char *program, const int *fds)
{
	int i, tmp[UART_TASK_NR_FDS];
	sigset_t term;

	/* First move them out of the way, as old and new numbers may overlap. */
	for (i = UART_TASK_CHANNEL_FD; i < UART_TASK_NR_FDS; i++) {
		tmp[i] = fcntl(fds[i], F_DUPFD, UART_TASK_NR_FDS);
		if (tmp[i] < 0)
			goto fail;
	}
	for (i = UART_TASK_CHANNEL_FD; i < UART_TASK_NR_FDS; i++) {
		if (dup2(tmp[i], i) < 0)
			goto fail;
	}
	if (close_range(UART_TASK_NR_FDS, ~0U, 0))
		goto fail;
	/* Blocked until the task can handle it. */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &term, NULL))
		goto fail;
	execl(program, program, NULL);
fail:
	warn("cannot start %s", program);
	_exit(127);
}

static void start_task(struct uart *uart, const char *program, int channel, int irq)
{
	int report[2], fds[UART_TASK_NR_FDS];

	if (pipe2(report, O_CLOEXEC))
		err(EXIT_FAILURE, "pipe");

	uart->pid = fork();
	if (uart->pid < 0)
		err(EXIT_FAILURE, "fork");
	if (!uart->pid) {
		fds[UART_TASK_CHANNEL_FD] = channel;
		fds[UART_TASK_IRQ_FD] = irq;
		fds[UART_TASK_REPORT_FD] = report[1];
		exec_task(program, fds);
	}

	close(report[1]);
	uart->report = report[0];
}

/* @ours: the VMM's end, for kvm.ko or itself; @theirs: the device task's. */
static void make_channel(const struct uart *uart, const struct vm *vm, int *ours, int *theirs)
{
	/* There are no posted writes, but the ring has to have an entry. */
	struct kvm_create_ioregionfd args = { .nr_mailboxes = vm->nr_vcpus, .nr_posted = 1 };
	int fds[2];

	if (uart->path == UART_IOREGIONFD) {
		fds[0] = ioregionfd_create(vm->fd, &args);
		if (fds[0] < 0)
			errx(EXIT_FAILURE, "KVM_CREATE_IOREGIONFD: %s", strerror(-fds[0]));
		fds[1] = fds[0];
	} else if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds)) {
		err(EXIT_FAILURE, "socketpair");
	}
	*ours = fds[0];
	*theirs = fds[1];
}

static void add_region(const struct vm *vm, int fd)
{
	struct kvm_ioregionfd region = uart_region;
	int ret;

	region.read_fd = fd;
	region.write_fd = fd;
	ret = ioregionfd_add_region(vm->fd, &region);
	if (ret)
		errx(EXIT_FAILURE, "KVM_SET_IOREGIONFD: %s", strerror(-ret));
}

void uart_start(struct uart *uart, struct vm *vm, enum uart_path path,
		const char *program)
{
	struct kvm_irqfd irqfd = { .gsi = UART_GSI };
	int ours, theirs, irq;

	memset(uart, 0, sizeof(*uart));
	pthread_mutex_init(&uart->lock, NULL);
	uart->path = path;

	if (path != UART_FORWARD &&
	    ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_IOREGIONFD) <= 0)
		errx(EXIT_FAILURE,
		     "this kvm.ko has no KVM_CAP_IOREGIONFD; load one that does, or use --uart=forward");

	irq = eventfd(0, EFD_CLOEXEC);
	if (irq < 0)
		err(EXIT_FAILURE, "eventfd");
	irqfd.fd = irq;
	if (ioctl(vm->fd, KVM_IRQFD, &irqfd))
		err(EXIT_FAILURE, "KVM_IRQFD");

	make_channel(uart, vm, &ours, &theirs);
	start_task(uart, program, theirs, irq);
	close(irq);	/* KVM and the task have it */

	/*
	 * If the task's end stayed open here, nobody would notice that the task has
	 * died. kvm.ko keeps what it needs of the other end.
	 */
	if (theirs != ours)
		close(theirs);
	uart->socket = ours;
	if (path != UART_FORWARD) {
		add_region(vm, ours);
		close(ours);
	}
}

static bool send_command(const struct uart *uart,
			 const struct ioregionfd_cmd *cmd)
{
	const char *buf = (const char *)cmd;
	size_t done = 0;

	while (done < sizeof(*cmd)) {
		ssize_t n = send(uart->socket, buf + done, sizeof(*cmd) - done,
				 MSG_NOSIGNAL);

		if (n >= 0) {
			done += n;
		} else if (run_stop_requested()) {
			return false;
		} else if (errno != EINTR) {
			warn("cannot send a command to the device task");
			return false;
		}
	}
	return true;
}

static bool receive_response(const struct uart *uart,
			     struct ioregionfd_resp *resp)
{
	char *buf = (char *)resp;
	size_t done = 0;

	while (done < sizeof(*resp)) {
		ssize_t n = read(uart->socket, buf + done,
				 sizeof(*resp) - done);

		if (n > 0) {
			done += n;
		} else if (n == 0) {
			warnx("the device task has hung up");
			return false;
		} else if (run_stop_requested()) {
			return false;
		} else if (errno != EINTR) {
			warn("no response from the device task");
			return false;
		}
	}
	return true;
}

bool uart_forward(struct uart *uart, unsigned int offset, unsigned int size,
		  bool is_write, void *data)
{
	struct ioregionfd_cmd cmd = {
		.cmd = is_write ? IOREGIONFD_CMD_WRITE : IOREGIONFD_CMD_READ,
		.flags = __builtin_ctz(size) | IOREGIONFD_CMD_F_RESP,
		.user_data = UART_TASK_USER_DATA,
		.offset = offset,
	};
	struct ioregionfd_resp resp;
	bool done;

	/* Values are little endian, and so is every host that this runs on. */
	if (is_write)
		memcpy(&cmd.data, data, size);
	/* One vCPU at a time. A signal that ends the wait of one ends that of the others. */
	pthread_mutex_lock(&uart->lock);
	done = send_command(uart, &cmd) && receive_response(uart, &resp);
	pthread_mutex_unlock(&uart->lock);
	if (done && !is_write)
		memcpy(data, &resp.data, size);
	return done;
}

static void copy_report(const struct uart *uart, FILE *stats)
{
	char buf[1024];
	ssize_t n;

	/* The task closes its end by exiting. */
	for (;;) {
		n = read(uart->report, buf, sizeof(buf));
		if (n == 0)
			return;
		if (n < 0 && errno != EINTR) {
			warn("cannot read the counters of the device task");
			return;
		}
		if (n > 0 && stats)
			fwrite(buf, 1, n, stats);
	}
}

bool uart_stop(struct uart *uart, struct vm *vm, FILE *stats)
{
	int status, ret;

	if (uart->path == UART_FORWARD) {
		close(uart->socket);
	} else {
		ret = ioregionfd_remove_region(vm->fd, &uart_region);
		if (ret)
			warnx("KVM_SET_IOREGIONFD (deassign): %s", strerror(-ret));
	}
	/* It also ends with its channel, but that may live as long as the VM. */
	kill(uart->pid, SIGTERM);
	copy_report(uart, stats);
	close(uart->report);

	while (waitpid(uart->pid, &status, 0) < 0) {
		if (errno != EINTR)
			err(EXIT_FAILURE, "waitpid");
	}
	if (WIFSIGNALED(status))
		warnx("the device task was killed by signal %d (%s)",
		      WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		warnx("the device task failed with status %d",
		      WEXITSTATUS(status));
	return WIFEXITED(status) && !WEXITSTATUS(status);
}
