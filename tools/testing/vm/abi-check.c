// SPDX-License-Identifier: GPL-2.0-only
/*
 * Only compiled, against the exported headers: the ABI as a program in user
 * space gets it is the documented one.
 */
#include <assert.h>
#include <stddef.h>
#include <linux/ioregionfd.h>
#include <linux/kvm.h>

#define AT(type, member, offset) \
	static_assert(offsetof(struct type, member) == (offset), #type "." #member)

static_assert(KVM_SET_IOREGIONFD == 0x4040ae5e, "KVM_SET_IOREGIONFD");
static_assert(KVM_CAP_IOREGIONFD == 0x696f01, "KVM_CAP_IOREGIONFD");
static_assert(KVM_EXIT_IOREGIONFD_FAILURE == 0x696f01, "KVM_EXIT_IOREGIONFD_FAILURE");
static_assert(KVM_RUN_IOREGIONFD_PENDING == 1 << 15, "KVM_RUN_IOREGIONFD_PENDING");

static_assert(KVM_IOREGION_PIO == 1, "KVM_IOREGION_PIO");
static_assert(KVM_IOREGION_POSTED_WRITES == 2, "KVM_IOREGION_POSTED_WRITES");
static_assert(KVM_IOREGION_DEASSIGN == 4, "KVM_IOREGION_DEASSIGN");

static_assert(sizeof(struct kvm_ioregionfd) == 64, "kvm_ioregionfd");
AT(kvm_ioregionfd, guest_paddr, 0);
AT(kvm_ioregionfd, memory_size, 8);
AT(kvm_ioregionfd, user_data, 16);
AT(kvm_ioregionfd, read_fd, 24);
AT(kvm_ioregionfd, write_fd, 28);
AT(kvm_ioregionfd, flags, 32);
AT(kvm_ioregionfd, pad, 36);

static_assert(sizeof(struct kvm_ioregionfd_exit) == 56, "kvm_ioregionfd_exit");
AT(kvm_run, ioregionfd, offsetof(struct kvm_run, padding));
static_assert(sizeof(struct kvm_run) == 2352, "kvm_run keeps its size");
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

static_assert(sizeof(struct ioregionfd_cmd) == 32, "ioregionfd_cmd");
AT(ioregionfd_cmd, cmd, 0);
AT(ioregionfd_cmd, padding, 2);
AT(ioregionfd_cmd, user_data, 8);
AT(ioregionfd_cmd, offset, 16);
AT(ioregionfd_cmd, data, 24);

static_assert(sizeof(struct ioregionfd_resp) == 32, "ioregionfd_resp");
AT(ioregionfd_resp, data, 0);
AT(ioregionfd_resp, pad, 8);

static_assert(KVM_CREATE_IOREGIONFD == 0x4020ae5f, "KVM_CREATE_IOREGIONFD");
static_assert(KVM_IOREGIONFD_SYNC_WAKE == 1, "KVM_IOREGIONFD_SYNC_WAKE");
static_assert(KVM_IOREGIONFD_MAX_POSTED == 65536, "KVM_IOREGIONFD_MAX_POSTED");
static_assert(KVM_IOREGIONFD_FAIL_NO_SLOT == 5, "KVM_IOREGIONFD_FAIL_NO_SLOT");
static_assert(KVM_IOREGIONFD_FAIL_CANCELED == 6, "KVM_IOREGIONFD_FAIL_CANCELED");
static_assert(KVM_IOREGIONFD_UNDECIDED == 0, "KVM_IOREGIONFD_UNDECIDED");
static_assert(KVM_IOREGIONFD_RETRY == 1, "KVM_IOREGIONFD_RETRY");
static_assert(KVM_IOREGIONFD_COMPLETE == 2, "KVM_IOREGIONFD_COMPLETE");
static_assert(KVM_RUN_IOREGIONFD_CANCEL == 2, "KVM_RUN_IOREGIONFD_CANCEL");
static_assert(KVM_RUN_IOREGIONFD_WAIT == 3, "KVM_RUN_IOREGIONFD_WAIT");

static_assert(sizeof(struct kvm_create_ioregionfd) == 32, "kvm_create_ioregionfd");
AT(kvm_create_ioregionfd, flags, 0);
AT(kvm_create_ioregionfd, vcpus, 4);
AT(kvm_create_ioregionfd, posted, 8);
AT(kvm_create_ioregionfd, pad, 12);

static_assert(IOREGIONFD_GET_INFO == 0x8020aed6, "IOREGIONFD_GET_INFO");
static_assert(IOREGIONFD_SERVE == 0xc040aed7, "IOREGIONFD_SERVE");
static_assert(IOREGIONFD_TAKE_OVER == 0xaed8, "IOREGIONFD_TAKE_OVER");
static_assert(IOREGIONFD_INTERRUPT == 0xaed9, "IOREGIONFD_INTERRUPT");
static_assert(IOREGIONFD_ANSWER_ONLY == 1, "IOREGIONFD_ANSWER_ONLY");

static_assert(sizeof(struct ioregionfd_info) == 32, "ioregionfd_info");
AT(ioregionfd_info, size, 0);
AT(ioregionfd_info, slots, 8);
AT(ioregionfd_info, posted, 12);
AT(ioregionfd_info, slots_offset, 16);
AT(ioregionfd_info, posted_offset, 20);
AT(ioregionfd_info, pad, 24);

static_assert(sizeof(struct ioregionfd_serve) == 64, "ioregionfd_serve");
AT(ioregionfd_serve, id, 0);
AT(ioregionfd_serve, data, 8);
AT(ioregionfd_serve, timeout, 16);
AT(ioregionfd_serve, vcpu, 24);
AT(ioregionfd_serve, flags, 28);
AT(ioregionfd_serve, cmd, 32);

static_assert(sizeof(struct ioregionfd_control) == 128, "ioregionfd_control");
AT(ioregionfd_control, polling, 0);
AT(ioregionfd_control, posted_tail, 4);
AT(ioregionfd_control, blocked, 8);
AT(ioregionfd_control, posted_head, 64);
AT(ioregionfd_control, ended, 68);

static_assert(sizeof(struct ioregionfd_slot) == 64, "ioregionfd_slot");
AT(ioregionfd_slot, state, 0);
AT(ioregionfd_slot, polling, 4);
AT(ioregionfd_slot, cmd, 8);
AT(ioregionfd_slot, answer, 40);
AT(ioregionfd_slot, posted, 56);
static_assert(IOREGIONFD_SLOT_STATE == 3 && IOREGIONFD_SLOT_FREE == 0 &&
	      IOREGIONFD_SLOT_POSTED == 1 && IOREGIONFD_SLOT_TAKEN == 2 &&
	      IOREGIONFD_SLOT_DONE == 3 && IOREGIONFD_SLOT_WAITING == 4 &&
	      IOREGIONFD_SLOT_SHIFT == 3, "ioregionfd_slot.state");
