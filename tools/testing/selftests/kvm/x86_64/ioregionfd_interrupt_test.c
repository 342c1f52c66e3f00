// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts do not wait for a device task: neither in the middle of a string instruction
 * nor while the vCPU spins.
 */
#include "apic.h"

#include "ioregionfd_harness.h"
#include "ioregionfd_trust_util.h"

#define SYNC		MMIO_GPA
#define SYNC_DATA	USER_DATA(0)

/* The guest writes here when it gets an interrupt. */
#define IRQ_PORT	0x1108
#define IRQ_VECTOR	0x40

/*
 * An interrupt comes while a string instruction writes many elements to a slow device.
 */
#define ELEMENTS	200

/* The one that is pending, and perhaps one that began before the vCPU saw the interrupt. */
#define ELEMENTS_LATE	2

FIXTURE(string)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[2];
	struct vcpu_thread thread;
	struct hand hand;
};

FIXTURE_VARIANT(string)
{
	enum transport transport;
};

FIXTURE_VARIANT_ADD(string, native) { TR_NATIVE };
FIXTURE_VARIANT_ADD(string, polled) { TR_POLLED };
FIXTURE_VARIANT_ADD(string, seqpacket) { TR_SEQPACKET };

static void guest_interrupted(struct ex_regs *regs)
{
	outl(IRQ_PORT, 0);
	x2apic_write_reg(APIC_EOI, 0);
}

static void guest_nmi(struct ex_regs *regs)
{
	outl(IRQ_PORT, 0);
}

static void guest_string_main(uint64_t id)
{
	x2apic_enable();
	asm volatile("sti");
	guest_script_main(id);
}

static void guest_stos_main(uint64_t id)
{
	uint64_t count, to;

	x2apic_enable();
	asm volatile("sti");
	for (;;) {
		count = ELEMENTS;
		to = SYNC;
		asm volatile("rep stosb" : "+c"(count), "+D"(to) : "a"(0x5a) : "memory");
		outl(DONE_PORT, 0);
	}
}

FIXTURE_SETUP(string)
{
	/* The second vCPU is not the boot processor: INIT makes it wait. */
	self->vm = ioregion_vm_create(2, guest_stos_main, self->vcpus);
	vm_install_exception_handler(self->vm, IRQ_VECTOR, guest_interrupted);
	vm_install_exception_handler(self->vm, NMI_VECTOR, guest_nmi);
	self->hand = hand_open(self->vm, variant->transport);
	region_add(self->vm, &self->hand.ch, SYNC, 0x2000, SYNC_DATA, 0);
	vcpu_thread_init(&self->thread, self->vcpus[1]);
}

FIXTURE_TEARDOWN(string)
{
	set_spin_ns(SPIN_DEFAULT);
	kvm_vm_free(self->vm);
	hand_close(&self->hand);
}

static void send_interrupt(struct kvm_vm *vm, struct kvm_vcpu *vcpu, uint32_t data)
{
	struct kvm_msi msi = { .address_lo = APIC_DEFAULT_GPA | vcpu->id << 12, .data = data };
	int r = __vm_ioctl(vm, KVM_SIGNAL_MSI, &msi);

	TEST_ASSERT(r == 1, "KVM_SIGNAL_MSI returned %d", r);
}

/* Serves until KVM_RUN returns. Returns the number of commands. */
static uint32_t serve_to_exit(struct vcpu_thread *thread, struct hand *hand, struct device *dev)
{
	uint32_t nr = 0;

	for (;;) {
		if (hand->arg.id)
			hand_complete(hand, 0);
		if (thread_wait_returned(thread))
			break;
		hand_fetch(hand);
		dev->nr++;
		nr++;
	}
	thread_join_exit(thread);
	return nr;
}

static void string_interrupted(struct kvm_vm *vm, struct vcpu_thread *thread, struct hand *hand,
			       uint32_t data, uint32_t elements)
{
	struct kvm_run *run = thread->vcpu->run;
	struct device *dev = model_new();
	uint32_t i, late;

	thread_start(thread);
	for (i = 0; i < 3; i++) {
		hand_fetch(hand);
		dev->nr++;
		hand_complete(hand, 0);
	}
	hand_fetch(hand);
	dev->nr++;
	thread_wait_asleep(thread);
	send_interrupt(vm, thread->vcpu, data);
	late = serve_to_exit(thread, hand, dev);
	TEST_ASSERT(run->exit_reason == KVM_EXIT_IO && run->io.port == IRQ_PORT,
		    "the string of %u elements was carried out before the interrupt came", dev->nr);
	TEST_ASSERT(late <= ELEMENTS_LATE, "%u elements came after the interrupt", late);
	/* The instruction goes on where it was. */
	thread_start(thread);
	serve_to_exit(thread, hand, dev);
	expect_done(thread->vcpu);
	TEST_ASSERT_EQ(dev->nr, elements);
	model_free(dev);
}

TEST_F_TIMEOUT(string, interrupt, 120)
{
	string_interrupted(self->vm, &self->thread, &self->hand, IRQ_VECTOR, ELEMENTS);
}

TEST_F_TIMEOUT(string, nmi, 120)
{
	string_interrupted(self->vm, &self->thread, &self->hand, APIC_DM_NMI, ELEMENTS);
}

/*
 * Interrupts of which KVM learns only when it enters the guest come in time, too: a vCPU that
 * has slept for an element has a request pending, so the next one leaves the emulator.
 */
TEST_F_TIMEOUT(string, guest_is_entered, 120)
{
	uint64_t exits = vcpu_stat(self->vcpus[1], "exits");
	unsigned int i;

	thread_start(&self->thread);
	for (i = 0; i < ELEMENTS; i++) {
		hand_fetch(&self->hand);
		thread_wait_asleep(&self->thread);
		hand_complete(&self->hand, 0);
	}
	thread_join_done(&self->thread);
	exits = vcpu_stat(self->vcpus[1], "exits") - exits;
	TEST_ASSERT(exits >= ELEMENTS / 2, "%lu exits for %u elements", exits, ELEMENTS);
}

/* A vCPU that gets INIT waits for a startup IPI, and makes no more accesses. */
TEST_F_TIMEOUT(string, init, 120)
{
	struct kvm_vcpu *vcpu = self->vcpus[1];
	struct device *dev = model_new();
	struct kvm_mp_state state;
	uint32_t late = 0;
	int i;

	thread_start(&self->thread);
	hand_fetch(&self->hand);
	thread_wait_asleep(&self->thread);
	send_interrupt(self->vm, vcpu, APIC_DM_INIT | APIC_INT_ASSERT);
	do {
		hand_complete(&self->hand, 0);
		TEST_ASSERT(late++ <= ELEMENTS_LATE, "more than %u elements came after INIT",
			    ELEMENTS_LATE);
		for (i = 0; i < 200 && !hand_try(&self->hand); i++)
			usleep(1000);
	} while (self->hand.arg.id);
	thread_wait_asleep(&self->thread);
	pthread_kill(self->thread.thread, SIGUSR1);
	TEST_ASSERT_EQ(thread_join(&self->thread), -EINTR);
	TEST_ASSERT(!vcpu_is_pending(vcpu), "PENDING is set");
	vcpu_ioctl(vcpu, KVM_GET_MP_STATE, &state);
	TEST_ASSERT_EQ(state.mp_state, KVM_MP_STATE_INIT_RECEIVED);
	model_free(dev);
}

/*
 * The same with a string instruction that reads and writes. (One that only reads goes
 * on inside KVM for up to 1024 elements, whoever emulates the device.)
 */
TEST_F_TIMEOUT(string, interrupt_of_movs, 120)
{
	struct guest_op op = { OP_MOVS, 1, SYNC, .mem = SYNC + 0x1000, .count = 60 };
	struct vcpu_thread thread;
	struct kvm_vcpu *vcpu;
	struct hand hand;
	struct kvm_vm *vm;

	vm = ioregion_vm_create(1, guest_string_main, &vcpu);
	vm_install_exception_handler(vm, IRQ_VECTOR, guest_interrupted);
	hand = hand_open(vm, variant->transport);
	region_add(vm, &hand.ch, SYNC, 0x2000, SYNC_DATA, 0);
	vcpu_thread_init(&thread, vcpu);
	op_add(vcpu, op);
	string_interrupted(vm, &thread, &hand, IRQ_VECTOR, 2 * op.count);
	kvm_vm_free(vm);
	hand_close(&hand);
}

/* The same with a fast device, for which the vCPU never sleeps, let alone leaves KVM_RUN. */
#define INTERRUPT_AT	100

static struct kvm_vcpu *interrupt_vcpu;

static uint64_t respond_and_interrupt(struct device *dev, const struct ioregionfd_cmd *cmd)
{
	/* At first so slow that the vCPU learns to spin for a long time. */
	if (dev->nr < 20)
		usleep(2000);
	if (dev->nr == INTERRUPT_AT)
		send_interrupt(interrupt_vcpu->vm, interrupt_vcpu, IRQ_VECTOR);
	return device_respond_mem(dev, cmd);
}

TEST(interrupt_while_it_spins)
{
	struct device dev = { .respond = respond_and_interrupt };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	unsigned int nr;

	vm = ioregion_vm_create(1, guest_stos_main, &vcpu);
	interrupt_vcpu = vcpu;
	vm_install_exception_handler(vm, IRQ_VECTOR, guest_interrupted);
	device_start_for(&dev, vm, TR_POLLED);
	region_add(vm, &dev.ch, SYNC, 0x2000, SYNC_DATA, 0);
	vcpu_run(vcpu);
	nr = device_nr(&dev);
	set_spin_ns(SPIN_DEFAULT);
	printf("# %lu of %u in place\n", vcpu_stat(vcpu, "ioregionfd_in_place"), nr);
	TEST_ASSERT(vcpu->run->exit_reason == KVM_EXIT_IO && vcpu->run->io.port == IRQ_PORT,
		    "the string was carried out before the interrupt came");
	TEST_ASSERT(nr <= INTERRUPT_AT + 1 + ELEMENTS_LATE, "%u elements came after the interrupt",
		    nr - INTERRUPT_AT - 1);
	run_done(vcpu);
	expect_nr(&dev, ELEMENTS);
	kvm_vm_free(vm);
}

int main(int argc, char **argv)
{
	return ioregion_test_main(argc, argv);
}
