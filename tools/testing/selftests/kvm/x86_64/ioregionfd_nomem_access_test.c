// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each allocation fails once, in a vCPU's accesses: each is carried out once, however
 * often KVM_RUN has to be repeated.
 */
#include "ioregionfd_harness.h"
#include "ioregionfd_nomem_util.h"

/*
 * The vCPU's accesses.
 */
FIXTURE(run)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	struct device dev;
};

FIXTURE_VARIANT(run)
{
	bool many;
	enum transport transport;
};

FIXTURE_VARIANT_ADD(run, one) { false, TR_NATIVE };
FIXTURE_VARIANT_ADD(run, many) { true, TR_NATIVE };
FIXTURE_VARIANT_ADD(run, one_socket) { false, TR_SEQPACKET };
FIXTURE_VARIANT_ADD(run, many_socket) { true, TR_SEQPACKET };

static void vm_make(struct kvm_vm **vm, struct kvm_vcpu **vcpus, struct device *dev,
		    enum transport transport)
{
	int i;

	*vm = ioregion_vm_create(MAX_VCPUS, guest_script_main, vcpus);
	/* What KVM itself allocates for the first steps of a vCPU is not tested here. */
	for (i = 0; i < MAX_VCPUS; i++)
		run_done(vcpus[i]);
	*dev = (struct device){ 0 };
	device_start_for(dev, *vm, transport);
	region_add(*vm, &dev->ch, SYNC, 0x1000, SYNC_DATA, 0);
	region_add(*vm, &dev->ch, POSTED, 0x1000, POSTED_DATA, KVM_IOREGION_POSTED_WRITES);
	region_add(*vm, &dev->ch, PIO_BASE, 0x100, PIO_DATA, KVM_IOREGION_PIO);
}

static void vm_end(struct kvm_vm *vm, struct device *dev)
{
	kvm_vm_free(vm);
	expect_device_released(dev);
	pthread_join(dev->thread, NULL);
	channel_close_dev(&dev->ch);
}

FIXTURE_SETUP(run)
{
	/* KVM's emulator mistakes a copy that fails for an unknown instruction. */
	if (!set_copies(false))
		SKIP(return, "CONFIG_FAULT_INJECTION_STACKTRACE_FILTER is off");
	faults_open();
	vm_make(&self->vm, self->vcpus, &self->dev, variant->transport);
}

FIXTURE_TEARDOWN(run)
{
	if (self->vm)
		vm_end(self->vm, &self->dev);
}

enum access {
	ACCESS_READ,
	ACCESS_WRITE,
	ACCESS_UNALIGNED,
	ACCESS_POSTED,
	ACCESS_IN,
	ACCESS_OUT,
	ACCESS_INS,
	NR_ACCESS
};

static const char * const access_names[] = {
	"a read", "a write", "an unaligned read", "a posted write", "in", "out", "ins",
};

#define NR_INS	4

/* Runs @vcpu to the end of one access, in a bounded number of attempts. */
static void run_access(struct kvm_vcpu *vcpu, enum access what, struct faults *f)
{
	struct guest_op ins = { OP_INS, 2, PIO_BASE + 0x10 };
	int r, i;

	ins.mem = vcpu_buf_gva(vcpu);
	ins.count = NR_INS;

	switch (what) {
	case ACCESS_READ:
		op_read(vcpu, 8, SYNC + 8);
		break;
	case ACCESS_WRITE:
		op_write(vcpu, 8, SYNC + 0x10, 0x1234);
		break;
	case ACCESS_UNALIGNED:
		op_read(vcpu, 4, SYNC + 0x21);
		break;
	case ACCESS_POSTED:
		op_write(vcpu, 4, POSTED + 8, f->nth);
		break;
	case ACCESS_IN:
		op_in(vcpu, 4, PIO_BASE);
		break;
	case ACCESS_OUT:
		op_out(vcpu, 2, PIO_BASE + 8, 0x77);
		break;
	default:
		op_add(vcpu, ins);
	}

	faults_begin(f);
	r = _vcpu_run(vcpu) ? -errno : 0;
	faults_end(f);
	/* This is how KVM reports that it could not get a page of the guest. */
	for (i = 0; i < 10 && faults_failed(f, r); i++)
		r = _vcpu_run(vcpu) ? -errno : 0;
	expect_done(vcpu);
}

/* Checks that the access was carried out once, however many attempts it needed. */
static void expect_access(struct kvm_vcpu *vcpu, struct device *dev, enum access what,
			  struct faults *f)
{
	struct guest_op *op = &vcpu_script(vcpu)->ops[0];
	struct ioregionfd_cmd ins = cmd_read(2, PIO_DATA, 0x10);

	switch (what) {
	case ACCESS_READ:
		expect_log(dev, cmd_read(8, SYNC_DATA, 8));
		TEST_ASSERT_EQ(op->val, device_value(dev, 8, 8));
		break;
	case ACCESS_WRITE:
		expect_log(dev, cmd_write(8, SYNC_DATA, 0x10, 0x1234));
		break;
	case ACCESS_UNALIGNED:
		expect_log(dev, cmd_read(4, SYNC_DATA, 0x21));
		TEST_ASSERT_EQ(op->val, device_value(dev, 0x21, 4));
		break;
	case ACCESS_POSTED:
		expect_log(dev, cmd_posted(4, POSTED_DATA, 8, f->nth));
		break;
	case ACCESS_IN:
		expect_log(dev, cmd_read(4, PIO_DATA, 0));
		TEST_ASSERT_EQ(op->val, device_value(dev, 0x2000, 4));
		break;
	case ACCESS_OUT:
		expect_log(dev, cmd_write(2, PIO_DATA, 8, 0x77));
		break;
	default:
		expect_log(dev, ins, ins, ins, ins);
	}
}

/* The first access of a vCPU. */
TEST_F_TIMEOUT(run, first_access, 240)
{
	enum access what;
	int i = 0;

	for (what = 0; what < NR_ACCESS; what++) {
		struct faults f = { access_names[what], variant->many };

		while (faults_next(&f)) {
			if (i == MAX_VCPUS) {
				vm_end(self->vm, &self->dev);
				vm_make(&self->vm, self->vcpus, &self->dev, variant->transport);
				i = 0;
			}
			run_access(self->vcpus[i], what, &f);
			expect_access(self->vcpus[i], &self->dev, what, &f);
			i++;
		}
		faults_expect(&f);
	}
}

/* A later access of a vCPU. */
TEST_F_TIMEOUT(run, later_access, 240)
{
	struct kvm_vcpu *vcpu = self->vcpus[0];
	enum access what;

	for (what = 0; what < NR_ACCESS; what++) {
		struct faults f = { access_names[what], variant->many };
		struct faults none = { access_names[what] };

		run_access(vcpu, what, &none);
		expect_access(vcpu, &self->dev, what, &none);
		while (faults_next(&f)) {
			run_access(vcpu, what, &f);
			expect_access(vcpu, &self->dev, what, &f);
		}
		/* A message on a socket is allocated. */
		if (variant->transport == TR_SEQPACKET)
			faults_expect(&f);
		else
			faults_report(&f);
	}
}

int main(int argc, char **argv)
{
	int r;

	faults_setup();
	r = ioregion_test_main(argc, argv);
	faults_cleanup();
	return r;
}
