// SPDX-License-Identifier: GPL-2.0-only
/*
 * Only compiled, against the exported headers, as each language and for each machine that
 * they are for: the ABI as a program in user space gets it is the documented one.
 */
#include <stddef.h>
#include <linux/ioregionfd.h>
#ifdef WITH_KVM_RUN
#include <linux/kvm.h>
#else
#include <linux/kvm_ioregionfd.h>
#endif

/* In C99, too */
#define IS_TRUE(condition)	((void)sizeof(char[(condition) ? 1 : -1]))

#define AT(type, member, offset)	IS_TRUE(offsetof(struct type, member) == (offset))
#define SIZE(type, size)		IS_TRUE(sizeof(struct type) == (size))
#define IS(constant, number)		IS_TRUE((constant) == (number))

void numbers_sizes_and_offsets(void)
{
	IS(KVM_SET_IOREGIONFD, 0x4040ae5e);
	IS(KVM_SET_IOREGIONFD_NR, 0x4040ae5e);
	IS(KVM_CREATE_IOREGIONFD, 0x4020ae5f);
	IS(KVM_CREATE_IOREGIONFD_NR, 0x4020ae5f);
	IS(KVM_CAP_IOREGIONFD, 0x696f01);
	IS(KVM_CAP_CREATE_IOREGIONFD, 0x696f02);
	IS(KVM_EXIT_IOREGIONFD_FAILURE, 0x696f01);
	IS(KVM_RUN_IOREGIONFD_PENDING, 1 << 15);
	IS(KVM_RUN_IOREGIONFD_CANCEL, 2);
	IS(KVM_RUN_IOREGIONFD_WAIT, 3);

	IS(KVM_IOREGION_PIO, 1);
	IS(KVM_IOREGION_POSTED_WRITES, 2);
	IS(KVM_IOREGION_DEASSIGN, 4);

	SIZE(kvm_ioregionfd, 64);
	AT(kvm_ioregionfd, guest_paddr, 0);
	AT(kvm_ioregionfd, memory_size, 8);
	AT(kvm_ioregionfd, user_data, 16);
	AT(kvm_ioregionfd, read_fd, 24);
	AT(kvm_ioregionfd, write_fd, 28);
	AT(kvm_ioregionfd, flags, 32);
	AT(kvm_ioregionfd, pad, 36);

	IS(KVM_IOREGIONFD_SYNC_WAKE, 1);
	IS(KVM_IOREGIONFD_MAX_POSTED, 65536);

	SIZE(kvm_create_ioregionfd, 32);
	AT(kvm_create_ioregionfd, flags, 0);
	AT(kvm_create_ioregionfd, nr_mailboxes, 4);
	AT(kvm_create_ioregionfd, nr_posted, 8);
	AT(kvm_create_ioregionfd, pad, 12);

	IS(KVM_IOREGIONFD_FAIL_HANGUP, 1);
	IS(KVM_IOREGIONFD_FAIL_IO, 2);
	IS(KVM_IOREGIONFD_FAIL_PROTOCOL, 3);
	IS(KVM_IOREGIONFD_FAIL_DEASSIGNED, 4);
	IS(KVM_IOREGIONFD_FAIL_NO_MAILBOX, 5);
	IS(KVM_IOREGIONFD_FAIL_CANCELED, 6);
	IS(KVM_IOREGIONFD_FAIL_TO_VMM, 7);
	IS(KVM_IOREGIONFD_SENT_NONE, 0);
	IS(KVM_IOREGIONFD_SENT_ALL, 1);
	IS(KVM_IOREGIONFD_UNDECIDED, 0);
	IS(KVM_IOREGIONFD_RETRY, 1);
	IS(KVM_IOREGIONFD_COMPLETE, 2);

	SIZE(kvm_ioregionfd_exit, 56);
	AT(kvm_ioregionfd_exit, region_paddr, 0);
	AT(kvm_ioregionfd_exit, region_size, 8);
	AT(kvm_ioregionfd_exit, user_data, 16);
	AT(kvm_ioregionfd_exit, guest_paddr, 24);
	AT(kvm_ioregionfd_exit, data, 32);
	AT(kvm_ioregionfd_exit, size, 40);
	AT(kvm_ioregionfd_exit, is_write, 44);
	AT(kvm_ioregionfd_exit, is_pio, 45);
	AT(kvm_ioregionfd_exit, reason, 46);
	AT(kvm_ioregionfd_exit, progress, 47);
	AT(kvm_ioregionfd_exit, error, 48);
	AT(kvm_ioregionfd_exit, action, 52);
	IS(KVM_IOREGIONFD_EXIT_OFFSET, 32);
#ifdef WITH_KVM_RUN
	AT(kvm_run, ioregionfd, KVM_IOREGIONFD_EXIT_OFFSET);
	AT(kvm_run, padding, KVM_IOREGIONFD_EXIT_OFFSET);
	SIZE(kvm_run, 2352);
#endif

	IS(IOREGIONFD_CMD_READ, 0);
	IS(IOREGIONFD_CMD_WRITE, 1);
	IS(IOREGIONFD_CMD_SIZE_MASK, 0x0f);
	IS(IOREGIONFD_SIZE_8BIT, 0);
	IS(IOREGIONFD_SIZE_16BIT, 1);
	IS(IOREGIONFD_SIZE_32BIT, 2);
	IS(IOREGIONFD_SIZE_64BIT, 3);
	IS(IOREGIONFD_CMD_F_RESP, 0x10);
	IS(IOREGIONFD_CMD_F_REDELIVERED, 0x20);
	IS(IOREGIONFD_ATTR_X86_SMM, 1);

	SIZE(ioregionfd_cmd, 32);
	AT(ioregionfd_cmd, cmd, 0);
	AT(ioregionfd_cmd, flags, 1);
	AT(ioregionfd_cmd, attrs, 2);
	AT(ioregionfd_cmd, vcpu_id, 4);
	AT(ioregionfd_cmd, user_data, 8);
	AT(ioregionfd_cmd, offset, 16);
	AT(ioregionfd_cmd, data, 24);

	IS(IOREGIONFD_STATUS_DONE, 0);
	IS(IOREGIONFD_STATUS_UNMAPPED, 1);
	IS(IOREGIONFD_STATUS_TO_VMM, 2);

	SIZE(ioregionfd_resp, 32);
	AT(ioregionfd_resp, data, 0);
	AT(ioregionfd_resp, status, 8);
	AT(ioregionfd_resp, pad, 12);

	IS(IOREGIONFD_VERSION, 1);
	IS(IOREGIONFD_GET_INFO, 0x8040be00);
	IS(IOREGIONFD_GET_INFO_NR, 0x8040be00);
	IS(IOREGIONFD_COMMIT_AND_FETCH, 0xc040be01);
	IS(IOREGIONFD_COMMIT_AND_FETCH_NR, 0xc040be01);
	IS(IOREGIONFD_RECOVER, 0xbe02);
	IS(IOREGIONFD_RECOVER_NR, 0xbe02);
	IS(IOREGIONFD_INTERRUPT, 0xbe03);
	IS(IOREGIONFD_INTERRUPT_NR, 0xbe03);
	IS(IOREGIONFD_COMMIT_ONLY, 1);
	IS(IOREGIONFD_ANY, 0xffffffff);

	SIZE(ioregionfd_info, 64);
	AT(ioregionfd_info, size, 0);
	AT(ioregionfd_info, nr_mailboxes, 8);
	AT(ioregionfd_info, nr_posted, 12);
	AT(ioregionfd_info, mailboxes_offset, 16);
	AT(ioregionfd_info, posted_offset, 20);
	AT(ioregionfd_info, version, 24);
	AT(ioregionfd_info, statuses, 28);
	AT(ioregionfd_info, features, 32);
	AT(ioregionfd_info, pad, 40);

	SIZE(ioregionfd_fetch, 64);
	AT(ioregionfd_fetch, id, 0);
	AT(ioregionfd_fetch, data, 8);
	AT(ioregionfd_fetch, timeout, 16);
	AT(ioregionfd_fetch, vcpu, 24);
	AT(ioregionfd_fetch, flags, 28);
	AT(ioregionfd_fetch, status, 30);
	AT(ioregionfd_fetch, cmd, 32);

	SIZE(ioregionfd_control, 128);
	AT(ioregionfd_control, polling, 0);
	AT(ioregionfd_control, blocked, 4);
	AT(ioregionfd_control, posted_tail, 8);
	AT(ioregionfd_control, pad, 16);
	AT(ioregionfd_control, posted_head, 64);
	AT(ioregionfd_control, vm_dead, 68);
	AT(ioregionfd_control, pad2, 72);

	SIZE(ioregionfd_mailbox, 64);
	AT(ioregionfd_mailbox, state, 0);
	AT(ioregionfd_mailbox, polling, 4);
	AT(ioregionfd_mailbox, cmd, 8);
	AT(ioregionfd_mailbox, data, 40);
	AT(ioregionfd_mailbox, posted_before, 56);
	AT(ioregionfd_mailbox, pad, 60);
	IS(IOREGIONFD_MAILBOX_STATE, 7);
	IS(IOREGIONFD_MAILBOX_FREE, 0);
	IS(IOREGIONFD_MAILBOX_PENDING, 1);
	IS(IOREGIONFD_MAILBOX_FETCHED, 2);
	IS(IOREGIONFD_MAILBOX_ABANDONED, 3);
	IS(IOREGIONFD_MAILBOX_COMPLETE, 4);
	IS(IOREGIONFD_MAILBOX_WAITING, 8);
	IS(IOREGIONFD_MAILBOX_SHIFT, 4);
}

/* The functions, so that their bodies are compiled in each way, too */
__u64 data_of(__u32 number, int half, __u64 value)
{
	return ioregionfd_mailbox_data(number, half, value);
}

__u64 id_of(__u32 vcpu_id, __u32 state)
{
	return ioregionfd_cmd_id(vcpu_id, state);
}

__u32 vcpu_of(__u64 id)
{
	return ioregionfd_id_vcpu(id);
}

__u32 index_of(__u64 tail)
{
	return ioregionfd_posted_index(tail);
}

__u64 posted_id_of(__u64 tail)
{
	return ioregionfd_posted_id(tail);
}

__u64 *data_at(void *run)
{
	return &kvm_run_ioregionfd(run)->data;
}
