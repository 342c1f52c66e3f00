/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef ESCAPE_H
#define ESCAPE_H

enum escape {
	ESCAPE_NONE,
	/* Stopped without a seccomp filter as well */
	ESCAPE_OPEN,
	ESCAPE_MKDIR,
	ESCAPE_SOCKET,
	ESCAPE_SOCKETPAIR,
	ESCAPE_PTRACE,
	ESCAPE_READ_PARENT,
	ESCAPE_KILL,
	ESCAPE_EXEC,
	ESCAPE_SETUID,
	ESCAPE_DUP,
	/* Not seen by a filter, and stopped by the io_uring */
	ESCAPE_URING_OPEN,
	ESCAPE_URING_WRITE,
	/* Stopped by the filter alone */
	ESCAPE_URING,
	ESCAPE_FORK,
	ESCAPE_EXEC_MEMORY,
	ESCAPE_IOCTL,
	ESCAPE_PRCTL,
	ESCAPE_UNSHARE,
	ESCAPE_NR,
	/* With SANITIZE=1: mistakes, which are to be reported */
	ESCAPE_HEAP = ESCAPE_NR,
	ESCAPE_STACK,
	ESCAPE_NULL,
	ESCAPE_SHIFT,
	ESCAPE_NR_MISTAKES
};

#endif /* ESCAPE_H */
