/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a device process confines itself, before the guest's first access. These functions
 * exit with a message if the kernel does not go along.
 */
#ifndef CONFINE_H
#define CONFINE_H

#include <stdint.h>
#include <liburing.h>

/*
 * Give up whatever rights there are besides the descriptors that are open: no file can be
 * opened, no socket bound or connected, no signal sent to others. Become user and group
 * @id if started as root. Die with the VMM. For a process with one thread; threads that it
 * starts later are confined, too.
 */
void confine_rights(uint32_t id);

/*
 * Allow, in all threads, what every device process needs; the @nr system calls in
 * @allowed; and ioctl() on @ioctl_fd. Any other call kills the process.
 *
 * What an io_uring does is not subject to this: see confine_ring().
 */
void confine_syscalls(const int *allowed, unsigned int nr, int ioctl_fd);

/* Both, for a process that also has a thread, which runs @function. */
void confine_with_thread(uint32_t id, const int *allowed, unsigned int nr, int ioctl_fd,
			 void *(*function)(void *arg), void *arg);

/*
 * Make an io_uring that can do nothing but the @nr operations in @ops, IORING_OP_*, on
 * @file, which is number 0 of its registered files. @event_fd is written to when one is done,
 * if it is not -1. To be called before confine_rights().
 */
void confine_ring(struct io_uring *ring, unsigned int entries, int file, int event_fd,
		  const uint8_t *ops, unsigned int nr);

#endif /* CONFINE_H */
