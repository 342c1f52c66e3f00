/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * The ioregionfd wire protocol: what kvm.ko and a device task say to each
 * other over the file descriptors given to KVM_SET_IOREGIONFD.
 *
 * kvm.ko writes one struct ioregionfd_cmd for each guest access. If its resp
 * bit is set, the device task writes one struct ioregionfd_resp back, and
 * kvm.ko sends no further command on the same pair of file descriptors before
 * it has read that. Both messages are 32 bytes, in the byte order of the host.
 */
#ifndef _UAPI_LINUX_IOREGIONFD_H
#define _UAPI_LINUX_IOREGIONFD_H

#include <linux/types.h>

/* ioregionfd_cmd.cmd */
#define IOREGIONFD_CMD_READ	0
#define IOREGIONFD_CMD_WRITE	1

/* ioregionfd_cmd.size_exponent: the access is 1 << size_exponent bytes wide */
#define IOREGIONFD_SIZE_8BIT	0
#define IOREGIONFD_SIZE_16BIT	1
#define IOREGIONFD_SIZE_32BIT	2
#define IOREGIONFD_SIZE_64BIT	3

/**
 * struct ioregionfd_cmd - one guest access, from kvm.ko to the device task
 * @cmd: IOREGIONFD_CMD_READ or IOREGIONFD_CMD_WRITE
 * @size_exponent: IOREGIONFD_SIZE_*, the width of the access
 * @resp: 1 if the device task must send a struct ioregionfd_resp; always 1 for
 *	a read, 0 for a write to a region with KVM_IOREGION_POSTED_WRITES
 * @reserved: 0
 * @padding: 0
 * @user_data: what the VMM gave as user_data when it registered the region
 * @offset: bytes from the start of the region to the first byte accessed
 * @data: write: the value, zero-extended to 64 bits; read: 0
 */
struct ioregionfd_cmd {
	__u8 cmd;
	__u8 size_exponent : 4;
	__u8 resp : 1;
	__u8 reserved : 3;
	__u8 padding[6];
	__u64 user_data;
	__u64 offset;
	__u64 data;
};

/**
 * struct ioregionfd_resp - the answer to a command whose resp bit is set
 * @data: read: the value, of which kvm.ko takes the low 1 << size_exponent
 *	bytes; write: ignored
 * @pad: should be 0; ignored
 */
struct ioregionfd_resp {
	__u64 data;
	__u8 pad[24];
};

#endif /* _UAPI_LINUX_IOREGIONFD_H */
