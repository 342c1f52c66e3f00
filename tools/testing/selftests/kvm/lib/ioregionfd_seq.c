// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest that makes a known sequence of accesses, and a model device that expects it.
 */
#include "ioregionfd_util.h"

uint32_t seq_count;

struct ioregionfd_cmd seq_cmd(uint64_t id, uint64_t seq)
{
	uint64_t offset = id * 0x100 + (seq & 0x1f) * 8;

	switch (seq & 3) {
	case 0:
		return cmd_read(8, SEQ_SYNC, offset);
	case 1:
		return cmd_posted(8, SEQ_POSTED, offset, seq);
	case 2:
		return cmd_read(4, SEQ_OTHER, id * 0x10 + (seq & 8));
	default:
		return cmd_write(8, SEQ_SYNC, offset, seq);
	}
}

void guest_seq_main(uint64_t id)
{
	uint64_t seq, offset, val;

	for (seq = 0; seq < READ_ONCE(seq_count); seq++) {
		offset = id * 0x100 + (seq & 0x1f) * 8;
		switch (seq & 3) {
		case 0:
			val = READ_ONCE(*(uint64_t *)(MMIO_GPA + offset));
			__GUEST_ASSERT(val == seq_value(id, seq), "vCPU %lu access %lu got %lx",
				       id, seq, val);
			break;
		case 1:
			WRITE_ONCE(*(uint64_t *)(MMIO_GPA + 0x1000 + offset), seq);
			break;
		case 2:
			val = guest_read_other(OTHER_BASE + id * 0x10 + (seq & 8));
			__GUEST_ASSERT(val == (uint32_t)seq_value(id, seq),
				       "vCPU %lu access %lu got %lx", id, seq, val);
			break;
		default:
			WRITE_ONCE(*(uint64_t *)(MMIO_GPA + offset), seq);
		}
	}
	guest_done();
}

uint64_t device_respond_seq(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	uint64_t id = cmd->offset / (cmd->user_data == SEQ_OTHER ? 0x10 : 0x100);
	uint64_t seq;

	TEST_ASSERT(id < MAX_VCPUS, "command beyond the device: offset %llx", cmd->offset);
	TEST_ASSERT(cmd->vcpu_id == id, "command of vCPU %lu says %u", id, cmd->vcpu_id);
	seq = dev->seq[id]++;
	expect_cmd(*cmd, seq_cmd(id, seq));
	return seq_value(id, seq);
}

void seq_regions_add(struct kvm_vm *vm, struct channel *ch)
{
	region_add(vm, ch, MMIO_GPA, 0x1000, SEQ_SYNC, 0);
	region_add(vm, ch, MMIO_GPA + 0x1000, 0x1000, SEQ_POSTED, KVM_IOREGION_POSTED_WRITES);
	region_add(vm, ch, OTHER_BASE, 0x100, SEQ_OTHER, OTHER_FLAGS);
}
