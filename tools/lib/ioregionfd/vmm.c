// SPDX-License-Identifier: LGPL-2.1-only OR BSD-3-Clause
#include "ioregionfd.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SCM_MAX_FDS	253	/* in one message, see unix(7) */

int ioregionfd_create(int vm_fd, const struct kvm_create_ioregionfd *args)
{
	int fd = ioctl(vm_fd, KVM_CREATE_IOREGIONFD, args);

	return fd < 0 ? -errno : fd;
}

int ioregionfd_add_region(int vm_fd, const struct kvm_ioregionfd *region)
{
	if (region->flags & KVM_IOREGION_DEASSIGN)
		return -EINVAL;
	return ioctl(vm_fd, KVM_SET_IOREGIONFD, region) ? -errno : 0;
}

int ioregionfd_remove_region(int vm_fd, const struct kvm_ioregionfd *region)
{
	struct kvm_ioregionfd remove = {
		.guest_paddr = region->guest_paddr,
		.memory_size = region->memory_size,
		.flags = (region->flags & KVM_IOREGION_PIO) | KVM_IOREGION_DEASSIGN,
	};

	return ioctl(vm_fd, KVM_SET_IOREGIONFD, &remove) ? -errno : 0;
}

int ioregionfd_send_fd(int sock, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = sizeof(byte) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));

	return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int ioregionfd_recv_fd(int sock)
{
	/*
	 * Room for everything that can come, including the sender's credentials if the
	 * caller has enabled them: so only a lack of free descriptors can truncate it.
	 */
	union {
		char buf[CMSG_SPACE(SCM_MAX_FDS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control;
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = sizeof(byte) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg;
	int fd, first = -1;
	size_t i, n = 0;
	ssize_t len;

	len = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	if (len < 0)
		return -errno;
	if (!len)
		return -ECONNRESET;

	for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		for (i = 0; i < (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(fd); i++) {
			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
			if (n++)
				close(fd);
			else
				first = fd;
		}
	}
	if (n == 1 && !(msg.msg_flags & MSG_CTRUNC))
		return first;
	if (n)
		close(first);
	if (msg.msg_flags & MSG_CTRUNC)
		return -EMFILE;
	return n ? -E2BIG : -ENOMSG;
}
