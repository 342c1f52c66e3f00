// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device process that tries to get out: writing n to its register makes it try attempt
 * n, and reading the register tells the errno, or 0 if it was successful.
 *
 * If its serial is "rights" there is no seccomp filter, so that it can be seen what the
 * other restrictions stop.
 */
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <ioregionfd.h>
#include "../confine.h"
#include "../device.h"

static struct io_uring ring;
static pid_t parent;
static long result;

static long ring_open(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;
	int ret;

	io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY, 0);
	ret = io_uring_submit_and_wait(&ring, 1);
	if (ret < 0 || io_uring_peek_cqe(&ring, &cqe))
		return -EIO;
	ret = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return ret;
}

/* With a file that is open, but not registered. */
static long ring_write(void)
{
	static char byte;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;
	struct iovec iov = { &byte, 1 };
	int ret;

	io_uring_prep_writev(sqe, DEVICE_LOG_FD, &iov, 1, 0);
	ret = io_uring_submit_and_wait(&ring, 1);
	if (ret < 0 || io_uring_peek_cqe(&ring, &cqe))
		return -EIO;
	ret = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return ret;
}

#ifdef SANITIZE
/*
 * The compiler does not know what @p is, and so does not say what it thinks of it. Negative,
 * because the sign is looked at.
 */
static long load(const uint8_t *p, unsigned int i)
{
	__asm__("" : "+r"(p));
	return -p[i];
}

static long make_mistake(unsigned int attempt)
{
	unsigned int shift = 32;
	uint8_t stack[16] = { 0 };
	void *heap;

	__asm__("" : "+r"(shift));
	switch (attempt) {
	case ESCAPE_HEAP:
		heap = calloc(1, shift);
		return heap ? load(heap, shift) : 0;
	case ESCAPE_STACK:
		return load(stack, shift / 2);
	case ESCAPE_NULL:
		return load((uint8_t *)(uintptr_t)shift, 0);
	case ESCAPE_SHIFT:
		return 1 << shift;
	}
	return 0;
}
#else
static long make_mistake(unsigned int attempt)
{
	(void)attempt;
	return 0;
}
#endif

static long try(unsigned int attempt)
{
	struct iovec iov = { &ring, 1 };
	char *const argv[] = { "true", NULL };

	switch (attempt) {
	case ESCAPE_OPEN:
		return open("/dev/null", O_RDONLY);
	case ESCAPE_MKDIR:
		return mkdir("/tmp/escaped", 0700);
	case ESCAPE_SOCKET:
		return socket(AF_INET, SOCK_STREAM, 0);
	case ESCAPE_SOCKETPAIR:
		return socketpair(AF_UNIX, SOCK_STREAM, 0, (int [2]) { 0 });
	case ESCAPE_PTRACE:
		return ptrace(PTRACE_SEIZE, parent, NULL, NULL);
	case ESCAPE_READ_PARENT:
		return process_vm_readv(parent, &iov, 1, &iov, 1, 0);
	case ESCAPE_KILL:
		return kill(parent, 0);
	case ESCAPE_EXEC:
		return execve("/bin/true", argv, NULL);
	case ESCAPE_SETUID:
		return setuid(0);
	case ESCAPE_DUP:
		return dup(DEVICE_CHANNEL_FD);
	case ESCAPE_URING_OPEN:
		return ring_open();
	case ESCAPE_URING_WRITE:
		return ring_write();
	case ESCAPE_URING:
		return syscall(SYS_io_uring_setup, 1, &ring);
	case ESCAPE_FORK:
		return syscall(SYS_fork);
	case ESCAPE_EXEC_MEMORY:
		return (long)mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	case ESCAPE_IOCTL:
		return syscall(SYS_ioctl, DEVICE_IRQ_FD, 0, 0);
	case ESCAPE_PRCTL:
		return prctl(PR_SET_DUMPABLE, 1);
	case ESCAPE_UNSHARE:
		return unshare(CLONE_NEWUSER);
	}
	return make_mistake(attempt);
}

static uint16_t command(void *opaque, const struct ioregionfd_cmd *cmd, uint64_t *value)
{
	(void)opaque;
	if (cmd->cmd == IOREGIONFD_CMD_READ) {
		*value = result;
		return IOREGIONFD_STATUS_DONE;
	}
	errno = 0;
	result = try(cmd->data);
	if (result >= 0)
		result = 0;
	else
		result = errno ?: -result;
	return IOREGIONFD_STATUS_DONE;
}

int main(void)
{
	static const int syscalls[] = {
		SCMP_SYS(io_uring_enter), SCMP_SYS(poll), SCMP_SYS(recvfrom), SCMP_SYS(sendto),
	};
	static const uint8_t ops[] = { IORING_OP_NOP, IORING_OP_WRITEV };
	static const struct ioregionfd_ops device_ops = { .command = command };
	struct device device;

	parent = getppid();
	device_init(&device);
	confine_ring(&ring, 4, DEVICE_BACKEND_FD, -1, ops, sizeof(ops));
	ioregionfd_register(device.task, 0, &device_ops, NULL);
	confine_rights(device.args.id);
	if (strcmp(device.args.serial, "rights"))
		confine_syscalls(syscalls, 4, DEVICE_CHANNEL_FD);
	return ioregionfd_run(device.task, IOREGIONFD_SLEEP, IOREGIONFD_ANY) ? 1 : 0;
}
