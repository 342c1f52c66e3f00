// SPDX-License-Identifier: GPL-2.0-only
/*
 * The statuses of a response besides the value: that there is no such register, or that
 * the VMM must carry out the access. And where a command comes from: which vCPU, and
 * whether it is in system management mode.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_native_util.h"

#include "apic.h"

#define REGION		MMIO_GPA
#define SIZE		0x2000
#define MMIO_DATA	USER_DATA(0)
#define PIO_DATA	USER_DATA(0x1000)

#define DONE		IOREGIONFD_STATUS_DONE
#define UNMAPPED	IOREGIONFD_STATUS_UNMAPPED
#define TO_VMM		IOREGIONFD_STATUS_TO_VMM

enum respond_by {
	BY_SOCKET,
	BY_WRITE,
	BY_IOCTL,
	BY_MAPPING,
};

FIXTURE(status)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct vcpu_thread thread;
	struct channel ch;
	struct mapping map;
	struct ioregionfd_fetch arg;
	enum respond_by by;
};

FIXTURE_VARIANT(status)
{
	enum respond_by by;
	bool spin;	/* the vCPU spins until the response comes */
};

FIXTURE_VARIANT_ADD(status, seqpacket) { BY_SOCKET };
FIXTURE_VARIANT_ADD(status, write) { BY_WRITE };
FIXTURE_VARIANT_ADD(status, ioctl) { BY_IOCTL };
FIXTURE_VARIANT_ADD(status, mapping) { BY_MAPPING };
FIXTURE_VARIANT_ADD(status, write_spinning) { BY_WRITE, true };
FIXTURE_VARIANT_ADD(status, mapping_spinning) { BY_MAPPING, true };

FIXTURE_SETUP(status)
{
	self->vm = ioregion_vm_create(1, guest_script_main, &self->vcpu);
	self->by = variant->by;
	self->ch = channel_open_for(self->vm, self->by == BY_SOCKET ? TR_SEQPACKET : TR_NATIVE);
	if (self->by == BY_MAPPING) {
		self->map = mapping_open(self->ch.dev_rd);
		/* The device task polls. */
		WRITE_ONCE(self->map.control->polling, 1);
	}
	set_spin_ns(variant->spin ? SPIN_LONG : SPIN_DEFAULT);
	region_add(self->vm, &self->ch, REGION, SIZE, MMIO_DATA, 0);
	region_add(self->vm, &self->ch, PIO_BASE, 0x100, PIO_DATA, KVM_IOREGION_PIO);
	vcpu_thread_init(&self->thread, self->vcpu);
}

FIXTURE_TEARDOWN(status)
{
	TEST_ASSERT(!(self->vcpu->run->flags & KVM_RUN_IOREGIONFD_PENDING), "PENDING is set");
	set_spin_ns(SPIN_DEFAULT);
	if (self->by == BY_MAPPING)
		mapping_close(&self->map);
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	channel_close_dev(&self->ch);
}

/* Waits for the next command, which must be @want. */
#define fetch_cmd(self, want) __fetch_cmd(self, want, __LINE__)
static void __fetch_cmd(struct _test_data_status *self, struct ioregionfd_cmd want, int line)
{
	uint64_t begin = now_ms();

	self->arg = (struct ioregionfd_fetch){
		.vcpu = IOREGIONFD_ANY,
		.timeout = HANG_SECONDS * 1000000000l,
	};
	switch (self->by) {
	case BY_MAPPING:
		while (!mapping_fetch(&self->map, IOREGIONFD_ANY, &self->arg))
			TEST_ASSERT(now_ms() - begin < HANG_SECONDS * 1000,
				    "line %d: no command comes", line);
		break;
	case BY_IOCTL:
		TEST_ASSERT(!ioctl(self->ch.dev_rd, IOREGIONFD_COMMIT_AND_FETCH, &self->arg),
			    "line %d: errno %d", line, errno);
		break;
	default:
		self->arg.cmd = __dev_recv(&self->ch, line);
	}
	__expect_cmd(self->arg.cmd, want, line);
}

static void respond_in_mapping(struct _test_data_status *self, uint64_t value, uint16_t status)
{
	uint32_t number = self->arg.id;
	uint32_t state = number << IOREGIONFD_MAILBOX_SHIFT | IOREGIONFD_MAILBOX_FETCHED;
	uint32_t complete = number << IOREGIONFD_MAILBOX_SHIFT |
			    (IOREGIONFD_MAILBOX_COMPLETE + status);
	struct ioregionfd_mailbox *mailbox = &self->map.mailboxes[0];

	if (mailbox_store_data(mailbox, number, value) &&
	    __atomic_compare_exchange_n(&mailbox->state, &state, complete, false,
					__ATOMIC_RELEASE, __ATOMIC_RELAXED))
		return;
	self->arg.data = value;
	self->arg.status = status;
	self->arg.flags = IOREGIONFD_COMMIT_ONLY;
	TEST_ASSERT(!ioctl(self->ch.dev_rd, IOREGIONFD_COMMIT_AND_FETCH, &self->arg),
		    "errno %d", errno);
}

static void respond(struct _test_data_status *self, uint64_t value, uint16_t status)
{
	struct ioregionfd_resp resp = { .data = value, .status = status };

	switch (self->by) {
	case BY_MAPPING:
		respond_in_mapping(self, value, status);
		break;
	case BY_IOCTL:
		self->arg.data = value;
		self->arg.status = status;
		self->arg.flags = IOREGIONFD_COMMIT_ONLY;
		TEST_ASSERT(!ioctl(self->ch.dev_rd, IOREGIONFD_COMMIT_AND_FETCH, &self->arg),
			    "errno %d", errno);
		break;
	default:
		dev_send_bytes(&self->ch, &resp, sizeof(resp));
	}
}

static struct kvm_ioregionfd_exit exit_to_vmm(struct kvm_ioregionfd_exit exit)
{
	exit.reason = KVM_IOREGIONFD_FAIL_TO_VMM;
	exit.progress = KVM_IOREGIONFD_SENT_NONE;
	exit.action = KVM_IOREGIONFD_UNDECIDED;
	exit.region_paddr = exit.is_pio ? PIO_BASE : REGION;
	exit.region_size = exit.is_pio ? 0x100 : SIZE;
	exit.user_data = exit.is_pio ? PIO_DATA : MMIO_DATA;
	return exit;
}

/*
 * A read gives all ones, whatever the value of the response; a write has no effect that
 * the guest could see.
 */
TEST_F(status, unmapped)
{
	struct guest_op *read, *in;
	uint32_t size;

	for (size = 1; size <= 8; size *= 2) {
		read = op_read(self->vcpu, size, REGION + 8);
		op_write(self->vcpu, size, REGION + 16, low_bytes(0x1122334455667788, size));
		thread_start(&self->thread);
		fetch_cmd(self, cmd_read(size, MMIO_DATA, 8));
		respond(self, 0x5a5a, UNMAPPED);
		fetch_cmd(self, cmd_write(size, MMIO_DATA, 16,
					  low_bytes(0x1122334455667788, size)));
		respond(self, 0, UNMAPPED);
		thread_join_done(&self->thread);
		TEST_ASSERT_EQ(read->val, low_bytes(~0ul, size));
	}
	for (size = 1; size <= 4; size *= 2) {
		in = op_in(self->vcpu, size, PIO_BASE + 4);
		op_out(self->vcpu, size, PIO_BASE + 4, 0x11);
		thread_start(&self->thread);
		fetch_cmd(self, cmd_read(size, PIO_DATA, 4));
		respond(self, 0, UNMAPPED);
		fetch_cmd(self, cmd_write(size, PIO_DATA, 4, 0x11));
		respond(self, 0, UNMAPPED);
		thread_join_done(&self->thread);
		TEST_ASSERT_EQ(in->val, in_result(size, low_bytes(~0ul, size)));
	}
}

/* As if there were no region; the next access goes to the device task as usual. */
TEST_F(status, to_vmm)
{
	struct guest_op *first, *second, *in;

	first = op_read(self->vcpu, 4, REGION + 8);
	op_write(self->vcpu, 2, REGION + 8, 0x1234);
	second = op_read(self->vcpu, 4, REGION + 8);
	in = op_in(self->vcpu, 2, PIO_BASE + 2);
	op_out(self->vcpu, 1, PIO_BASE + 3, 0x77);

	thread_start(&self->thread);
	fetch_cmd(self, cmd_read(4, MMIO_DATA, 8));
	respond(self, 0xbad, TO_VMM);
	thread_join_exit(&self->thread);
	expect_mmio(self->vcpu, REGION + 8, 4, false, 0);
	TEST_ASSERT(!(self->vcpu->run->flags & KVM_RUN_IOREGIONFD_PENDING), "PENDING is set");
	*(uint32_t *)self->vcpu->run->mmio.data = 0x600d;

	thread_start(&self->thread);
	fetch_cmd(self, cmd_write(2, MMIO_DATA, 8, 0x1234));
	respond(self, 0, TO_VMM);
	thread_join_exit(&self->thread);
	expect_mmio(self->vcpu, REGION + 8, 2, true, 0x1234);

	thread_start(&self->thread);
	fetch_cmd(self, cmd_read(4, MMIO_DATA, 8));
	respond(self, 0x22, DONE);
	fetch_cmd(self, cmd_read(2, PIO_DATA, 2));
	respond(self, 0xbad, TO_VMM);
	thread_join_exit(&self->thread);
	expect_io(self->vcpu, PIO_BASE + 2, 2, false, 0);
	*(uint16_t *)io_data(self->vcpu) = 0x600d;

	thread_start(&self->thread);
	fetch_cmd(self, cmd_write(1, PIO_DATA, 3, 0x77));
	respond(self, 0, TO_VMM);
	thread_join_exit(&self->thread);
	expect_io(self->vcpu, PIO_BASE + 3, 1, true, 0x77);
	run_done(self->vcpu);

	TEST_ASSERT_EQ(first->val, 0x600d);
	TEST_ASSERT_EQ(second->val, 0x22);
	TEST_ASSERT_EQ(in->val, in_result(2, 0x600d));
}

/* The first element of a string: the whole string goes to the VMM. */
TEST_F(status, string_to_vmm)
{
	uint16_t *buf = (uint16_t *)vcpu_script(self->vcpu)->buf, *data;
	struct kvm_run *run = self->vcpu->run;
	int i;

	op_add(self->vcpu, (struct guest_op){
		.kind = OP_INS,
		.size = 2,
		.addr = PIO_BASE + 8,
		.mem = vcpu_buf_gva(self->vcpu),
		.count = 4,
	});
	thread_start(&self->thread);
	fetch_cmd(self, cmd_read(2, PIO_DATA, 8));
	respond(self, 0xbad, TO_VMM);
	thread_join_exit(&self->thread);
	TEST_ASSERT_EQ(run->exit_reason, KVM_EXIT_IO);
	TEST_ASSERT_EQ(run->io.count, 4);
	data = (uint16_t *)io_data(self->vcpu);
	for (i = 0; i < 4; i++)
		data[i] = 0x6000 + i;
	run_done(self->vcpu);
	for (i = 0; i < 4; i++)
		TEST_ASSERT_EQ(buf[i], 0x6000 + i);
}

/* A later element: the VMM is asked for this one alone, or can have it sent once more. */
TEST_F(status, element_to_vmm)
{
	uint16_t *buf = (uint16_t *)vcpu_script(self->vcpu)->buf;
	struct kvm_ioregionfd_exit want = exit_to_vmm((struct kvm_ioregionfd_exit){
		.guest_paddr = PIO_BASE + 8,
		.size = 2,
		.is_pio = 1,
	});
	struct kvm_run *run = self->vcpu->run;
	int i;

	op_add(self->vcpu, (struct guest_op){
		.kind = OP_INS,
		.size = 2,
		.addr = PIO_BASE + 8,
		.mem = vcpu_buf_gva(self->vcpu),
		.count = 4,
	});
	thread_start(&self->thread);
	fetch_cmd(self, cmd_read(2, PIO_DATA, 8));
	respond(self, 0x6000, DONE);
	fetch_cmd(self, cmd_read(2, PIO_DATA, 8));
	respond(self, 0xbad, TO_VMM);
	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, want);
	run->ioregionfd.data = 0x6001;
	run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	thread_start(&self->thread);
	fetch_cmd(self, cmd_read(2, PIO_DATA, 8));
	respond(self, 0xbad, TO_VMM);
	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, want);
	run->ioregionfd.action = KVM_IOREGIONFD_RETRY;
	thread_start(&self->thread);
	fetch_cmd(self, cmd_read(2, PIO_DATA, 8));
	respond(self, 0x6002, DONE);
	fetch_cmd(self, cmd_read(2, PIO_DATA, 8));
	respond(self, 0x6003, DONE);
	thread_join_done(&self->thread);
	for (i = 0; i < 4; i++)
		TEST_ASSERT_EQ(buf[i], 0x6000 + i);
}

/*
 * An access to two pages is split into two; the fragments of a part with an odd size
 * belong together.
 */
TEST_F(status, parts_to_vmm)
{
	struct kvm_run *run = self->vcpu->run;
	struct guest_op *op;

	op = op_read(self->vcpu, 8, REGION + 0xffc);
	thread_start(&self->thread);
	fetch_cmd(self, cmd_read(4, MMIO_DATA, 0xffc));
	respond(self, 0x11111111, DONE);
	fetch_cmd(self, cmd_read(4, MMIO_DATA, 0x1000));
	respond(self, 0xbad, TO_VMM);
	thread_join_exit(&self->thread);
	expect_mmio(self->vcpu, REGION + 0x1000, 4, false, 0);
	*(uint32_t *)run->mmio.data = 0x22222222;
	run_done(self->vcpu);
	TEST_ASSERT_EQ(op->val, 0x2222222211111111);

	op = op_read(self->vcpu, 8, REGION + 0xffd);
	thread_start(&self->thread);
	fetch_cmd(self, cmd_read(1, MMIO_DATA, 0xffd));
	respond(self, 0x11, DONE);
	fetch_cmd(self, cmd_read(2, MMIO_DATA, 0xffe));
	respond(self, 0xbad, TO_VMM);
	thread_join_exit(&self->thread);
	expect_failure(self->vcpu, exit_to_vmm((struct kvm_ioregionfd_exit){
		.guest_paddr = REGION + 0xffe,
		.size = 2,
	}));
	run->ioregionfd.data = 0x3322;
	run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	thread_start(&self->thread);
	fetch_cmd(self, cmd_read(4, MMIO_DATA, 0x1000));
	respond(self, 0x77665544, DONE);
	fetch_cmd(self, cmd_read(1, MMIO_DATA, 0x1004));
	respond(self, 0x88, DONE);
	thread_join_done(&self->thread);
	TEST_ASSERT_EQ(op->val, 0x8877665544332211);
}

/*
 * Which vCPU a command comes from.
 */
#define LATE_ID		3

FIXTURE(id)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread threads[2];
	struct channel ch;
	bool native;
};

FIXTURE_VARIANT(id)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(id, seqpacket) { TR_SEQPACKET };
FIXTURE_VARIANT_ADD(id, native) { TR_NATIVE };

/* Ids do not follow the order of creation: the vCPU that is created first has the higher id. */
FIXTURE_SETUP(id)
{
	int i;

	self->vm = vm_create(2);
	self->vcpus[0] = vm_vcpu_add(self->vm, LATE_ID, guest_script_main);
	self->vcpus[1] = vm_vcpu_add(self->vm, 0, guest_script_main);
	virt_map(self->vm, MMIO_GPA, MMIO_GPA, MMIO_PAGES);
	self->native = variant->transport == TR_NATIVE;
	self->ch = channel_open_for(self->vm, variant->transport);
	region_add(self->vm, &self->ch, REGION, SIZE, MMIO_DATA, 0);
	for (i = 0; i < 2; i++) {
		vcpu_args_set(self->vcpus[i], 1, self->vcpus[i]->id);
		vcpu_thread_init(&self->threads[i], self->vcpus[i]);
	}
}

FIXTURE_TEARDOWN(id)
{
	kvm_vm_free(self->vm);
	channel_close_kvm(&self->ch);
	channel_close_dev(&self->ch);
}

TEST_F(id, in_the_command)
{
	struct ioregionfd_cmd cmd;
	int i;

	for (i = 0; i < 2; i++) {
		op_read(self->vcpus[i], 4, REGION);
		thread_start(&self->threads[i]);
		cmd = dev_recv(&self->ch);
		TEST_ASSERT_EQ(cmd.vcpu_id, self->vcpus[i]->id);
		TEST_ASSERT_EQ(cmd.attrs, 0);
		dev_send(&self->ch, 0);
		thread_join_done(&self->threads[i]);
	}
}

/* A vCPU's mailbox is the one with its id. */
TEST_F(id, mailbox)
{
	struct ioregionfd_fetch arg;
	struct mapping map;
	uint32_t id;
	int i;

	if (!self->native)
		SKIP(return, "sockets have no mailboxes");
	map = mapping_open(self->ch.dev_rd);
	for (i = 0; i < 2; i++) {
		id = self->vcpus[i]->id;
		op_read(self->vcpus[i], 4, REGION);
		thread_start(&self->threads[i]);
		thread_wait_asleep(&self->threads[i]);
		TEST_ASSERT_EQ(map.mailboxes[id].state & IOREGIONFD_MAILBOX_STATE,
			       IOREGIONFD_MAILBOX_PENDING);
		arg = (struct ioregionfd_fetch){ .vcpu = id ? 0 : LATE_ID };
		TEST_ASSERT(ioctl(self->ch.dev_rd, IOREGIONFD_COMMIT_AND_FETCH, &arg) < 0 &&
			    errno == EAGAIN, "the command is in the other vCPU's mailbox");
		arg.vcpu = id;
		TEST_ASSERT(!ioctl(self->ch.dev_rd, IOREGIONFD_COMMIT_AND_FETCH, &arg),
			    "errno %d", errno);
		TEST_ASSERT_EQ(ioregionfd_id_vcpu(arg.id), id);
		TEST_ASSERT_EQ(commit_only(self->ch.dev_rd, arg.id, 0), 0);
		thread_join_done(&self->threads[i]);
	}
	mapping_close(&map);
}

TEST_F(id, without_a_mailbox)
{
	struct channel ch = { TR_NATIVE };

	if (!self->native)
		SKIP(return, "sockets need no mailboxes");
	ch.kvm_rd = create_ioregionfd(self->vm, LATE_ID, 1);
	ch.kvm_wr = ch.kvm_rd;
	region_del(self->vm, REGION, SIZE, 0);
	region_add(self->vm, &ch, REGION, SIZE, MMIO_DATA, 0);
	op_read(self->vcpus[0], 4, REGION);
	vcpu_run(self->vcpus[0]);
	TEST_ASSERT_KVM_EXIT_REASON(self->vcpus[0], KVM_EXIT_IOREGIONFD_FAILURE);
	TEST_ASSERT_EQ(self->vcpus[0]->run->ioregionfd.reason, KVM_IOREGIONFD_FAIL_NO_MAILBOX);
	self->vcpus[0]->run->ioregionfd.action = KVM_IOREGIONFD_COMPLETE;
	run_done(self->vcpus[0]);
	op_read(self->vcpus[1], 4, REGION);
	thread_start(&self->threads[1]);
	thread_wait_asleep(&self->threads[1]);
	region_del(self->vm, REGION, SIZE, 0);
	thread_join_exit(&self->threads[1]);
	expect_mmio(self->vcpus[1], REGION, 4, false, 0);
	run_done(self->vcpus[1]);
	close(ch.kvm_rd);
}

/*
 * System management mode: a device may allow in that mode what it refuses elsewhere.
 */
#define SMRAM_GPA	0x1000000
#define SMRAM_MEMSLOT	((1 << 16) | 1)	/* in the address space of SMM */
#define SMRAM_PAGES	16
#define SMI_HANDLER	0x8000

static void guest_smm_main(uint64_t id)
{
	READ_ONCE(*(uint32_t *)REGION);
	x2apic_enable();
	x2apic_write_reg(APIC_ICR, APIC_DEST_SELF | APIC_INT_ASSERT | APIC_DM_SMI);
	READ_ONCE(*(uint32_t *)REGION);
	outl(DONE_PORT, 0);
}

TEST(smm)
{
	/* 16-bit code: mov eax, [REGION]; rsm */
	static const uint8_t handler[] = {
		0x67, 0x66, 0xa1,
		REGION & 0xff, REGION >> 8 & 0xff, REGION >> 16 & 0xff, REGION >> 24,
		0x0f, 0xaa,
	};
	static const uint16_t attrs[] = { 0, IOREGIONFD_ATTR_X86_SMM, 0 };
	struct vcpu_thread thread = { 0 };
	struct ioregionfd_cmd cmd;
	struct kvm_vcpu *vcpu;
	struct channel ch;
	struct kvm_vm *vm;
	int i;

	if (!kvm_has_cap(KVM_CAP_X86_SMM))
		SKIP(return, "no system management mode");
	vm = ioregion_vm_create(1, guest_smm_main, &vcpu);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, SMRAM_GPA, SMRAM_MEMSLOT,
				    SMRAM_PAGES, 0);
	TEST_ASSERT(vm_phy_pages_alloc(vm, SMRAM_PAGES, SMRAM_GPA, SMRAM_MEMSLOT) == SMRAM_GPA,
		    "cannot add the memslot");
	memset(addr_gpa2hva(vm, SMRAM_GPA), 0, SMRAM_PAGES * 4096);
	memcpy(addr_gpa2hva(vm, SMRAM_GPA) + SMI_HANDLER, handler, sizeof(handler));
	vcpu_set_msr(vcpu, MSR_IA32_SMBASE, SMRAM_GPA);

	ch = channel_open_for(vm, TR_NATIVE);
	region_add(vm, &ch, REGION, SIZE, MMIO_DATA, 0);
	vcpu_thread_init(&thread, vcpu);
	thread_start(&thread);
	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		cmd = dev_recv(&ch);
		TEST_ASSERT(cmd.attrs == attrs[i], "command %d: attrs %x", i, cmd.attrs);
		cmd.attrs = 0;
		expect_cmd(cmd, cmd_read(4, MMIO_DATA, 0));
		dev_send(&ch, 0);
	}
	thread_join_done(&thread);
	kvm_vm_free(vm);
	channel_close_kvm(&ch);
	channel_close_dev(&ch);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
