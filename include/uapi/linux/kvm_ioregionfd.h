/* SPDX-License-Identifier: ((GPL-2.0-only WITH Linux-syscall-note) OR BSD-3-Clause) */
/*
 * ioregionfd as a VMM sees it: the ioctls that make a channel and hand a range of
 * guest addresses to a device task, and the exit that tells of its failure. Included
 * by <linux/kvm.h>. What goes over the file descriptors is in <linux/ioregionfd.h>.
 */
#ifndef _UAPI_LINUX_KVM_IOREGIONFD_H
#define _UAPI_LINUX_KVM_IOREGIONFD_H

#include <linux/types.h>
#include <linux/ioctl.h>

/*
 * Numbers that no release of Linux has assigned. Those for the capabilities and
 * the exit reason are far above the kernel's own, so that they stay free.
 *
 * KVM_CHECK_EXTENSION returns for the first capability the mask of flags that
 * KVM_SET_IOREGIONFD takes; for the second that of KVM_CREATE_IOREGIONFD.
 */
#define KVM_CAP_IOREGIONFD		0x696f01
#define KVM_CAP_CREATE_IOREGIONFD	0x696f02
#define KVM_EXIT_IOREGIONFD_FAILURE	0x696f01

/**
 * struct kvm_ioregionfd - argument of KVM_SET_IOREGIONFD
 * @guest_paddr: first guest physical address, or I/O port, of the region
 * @memory_size: size of the region in bytes, at least 1
 * @user_data: copied into every command for the region, see ioregionfd_cmd
 * @read_fd: what KVM_CREATE_IOREGIONFD returned, or a connected AF_UNIX socket of
 *	type SOCK_SEQPACKET
 * @write_fd: the same
 * @flags: KVM_IOREGION_*
 * @pad: must be 0
 */
struct kvm_ioregionfd {
	__u64 guest_paddr;
	__u64 memory_size;
	__u64 user_data;
	__s32 read_fd;
	__s32 write_fd;
	__u32 flags;
	__u8 pad[28];
};

/* kvm_ioregionfd.flags */
#define KVM_IOREGION_PIO		(1 << 0)	/* I/O ports, not memory */
#define KVM_IOREGION_POSTED_WRITES	(1 << 1)	/* writes get no response */
#define KVM_IOREGION_DEASSIGN		(1 << 2)	/* remove the region */

#define KVM_SET_IOREGIONFD	_IOW(0xAE, 0x5e, struct kvm_ioregionfd)

/**
 * struct kvm_create_ioregionfd - argument of KVM_CREATE_IOREGIONFD
 * @flags: KVM_IOREGIONFD_SYNC_WAKE or 0
 * @nr_mailboxes: the channel serves vCPUs whose id is less than this; from 1 to
 *	KVM_MAX_VCPU_IDS of the kernel, which on x86 KVM_CAP_MAX_VCPU_ID tells. On arm64
 *	that tells less, if a VM has fewer, and riscv does not have it
 * @nr_posted: posted writes that may wait for the device task; a power of two of
 *	at most KVM_IOREGIONFD_MAX_POSTED
 * @pad: must be 0
 */
struct kvm_create_ioregionfd {
	__u32 flags;
	__u32 nr_mailboxes;
	__u32 nr_posted;
	__u32 pad[5];
};

/*
 * kvm_create_ioregionfd.flags: a device task that sleeps is woken on the CPU of
 * the vCPU, which is about to wait for it
 */
#define KVM_IOREGIONFD_SYNC_WAKE	(1 << 0)

#define KVM_IOREGIONFD_MAX_POSTED	65536

/*
 * Returns a file descriptor, which is both read_fd and write_fd. As an ioctl of a VM:
 * for this VM. As one of /dev/kvm: for the VM whose KVM_SET_IOREGIONFD is the first to
 * succeed with it.
 */
#define KVM_CREATE_IOREGIONFD	_IOW(0xAE, 0x5f, struct kvm_create_ioregionfd)

/**
 * struct kvm_ioregionfd_exit - kvm_run.ioregionfd, for KVM_EXIT_IOREGIONFD_FAILURE
 * @region_paddr: guest_paddr of the region
 * @region_size: memory_size of the region
 * @user_data: user_data of the region
 * @guest_paddr: first address, or port, of the access that failed
 * @data: write: the value, zero-extended; read: 0. For KVM_IOREGIONFD_COMPLETE
 *	of a read the VMM stores the value here
 * @size: width of the access in bytes: 1, 2, 4 or 8
 * @is_write: 1 for a write, 0 for a read
 * @is_pio: 1 if @guest_paddr is a port
 * @reason: KVM_IOREGIONFD_FAIL_*
 * @progress: KVM_IOREGIONFD_SENT_*: how much of the command left kvm.ko
 * @error: positive errno of what failed, or 0
 * @action: KVM_IOREGIONFD_RETRY or KVM_IOREGIONFD_COMPLETE, stored by the VMM
 *	before its next KVM_RUN; KVM_IOREGIONFD_UNDECIDED at the exit
 *
 * All fields are in the byte order of the host.
 */
struct kvm_ioregionfd_exit {
	__u64 region_paddr;
	__u64 region_size;
	__u64 user_data;
	__u64 guest_paddr;
	__u64 data;
	__u32 size;
	__u8 is_write;
	__u8 is_pio;
	__u8 reason;
	__u8 progress;
	__u32 error;
	__u32 action;
};

/* kvm_ioregionfd_exit.reason */
#define KVM_IOREGIONFD_FAIL_HANGUP	1	/* the device task closed its end */
#define KVM_IOREGIONFD_FAIL_IO		2	/* sending failed, see error */
#define KVM_IOREGIONFD_FAIL_PROTOCOL	3	/* unasked or wrong response */
#define KVM_IOREGIONFD_FAIL_DEASSIGNED	4	/* the region went away in the middle */
#define KVM_IOREGIONFD_FAIL_NO_MAILBOX	5	/* the vCPU's id is not below nr_mailboxes */
#define KVM_IOREGIONFD_FAIL_CANCELED	6	/* KVM_RUN_IOREGIONFD_CANCEL */
#define KVM_IOREGIONFD_FAIL_TO_VMM	7	/* IOREGIONFD_STATUS_TO_VMM, see there */

/* kvm_ioregionfd_exit.progress */
#define KVM_IOREGIONFD_SENT_NONE	0	/* the device task has not acted on the command */
#define KVM_IOREGIONFD_SENT_ALL		1	/* it may have carried it out */

/* kvm_ioregionfd_exit.action */
#define KVM_IOREGIONFD_UNDECIDED	0	/* KVM_RUN repeats the exit */
#define KVM_IOREGIONFD_RETRY		1	/* look the address up anew, send again */
#define KVM_IOREGIONFD_COMPLETE		2	/* the VMM has carried the access out */

/*
 * kvm_run.flags, when KVM_RUN fails, with EINTR for one, and at
 * KVM_EXIT_IOREGIONFD_FAILURE: an access is pending. (At KVM_EXIT_MMIO, too, if more of
 * the same instruction comes after it.) The vCPU's registers are those
 * of before the access, or of its middle. They may not be saved until KVM_RUN has
 * returned without this flag, and to change them fails with EBUSY.
 */
#define KVM_RUN_IOREGIONFD_PENDING	(1 << 15)

/*
 * kvm_run.immediate_exit: as 1, and if an access is pending: take it back, or wait
 * until it is complete. The vCPU does not enter the guest.
 */
#define KVM_RUN_IOREGIONFD_CANCEL	2
#define KVM_RUN_IOREGIONFD_WAIT		3

/* Where in struct kvm_run its member ioregionfd is */
#define KVM_IOREGIONFD_EXIT_OFFSET	32

/**
 * kvm_run_ioregionfd() - what KVM_EXIT_IOREGIONFD_FAILURE tells
 * @run: a struct kvm_run, as any <linux/kvm.h> declares it
 *
 * For a VMM whose own copy of <linux/kvm.h> does not know ioregionfd.
 *
 * Return: the member ioregionfd.
 */
static inline struct kvm_ioregionfd_exit *kvm_run_ioregionfd(void *run)
{
	return (struct kvm_ioregionfd_exit *)((char *)run + KVM_IOREGIONFD_EXIT_OFFSET);
}

/*
 * The ioctl numbers once more, for binding generators, which see no macro that takes
 * sizeof. As on all architectures with the generic layout of ioctl numbers.
 */
#define KVM_SET_IOREGIONFD_NR		0x4040AE5EU
#define KVM_CREATE_IOREGIONFD_NR	0x4020AE5FU

#endif /* _UAPI_LINUX_KVM_IOREGIONFD_H */
