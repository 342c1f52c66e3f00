// SPDX-License-Identifier: GPL-2.0-only
/*
 * Let kvm_amd.ko leave the guest right after each interrupt that it injects, where SVM is
 * QEMU's emulation (TCG) of it.
 *
 * QEMU 7.2, and by its source later ones too, delivers the interrupt that VMRUN injects at
 * once, but leaves its vector in exception_index. If the next thing that ends QEMU's inner
 * loop is the end of a time slice, and not an exit or an exception of the guest, QEMU takes
 * the vector for an exception that is still to be raised, and delivers it a second time. The
 * guest's handler is then interrupted by itself although interrupts are off; in Linux it
 * waits for ever for the lock of its own interrupt. That happens to one interrupt in some
 * ten thousand, so a guest with disks hangs once in a few minutes.
 *
 * An exit before the first instruction of the handler sets exception_index anew. KVM itself
 * has it: svm_vcpu_run() can be asked to exit as soon as events have been injected, which
 * nested virtualization needs.
 *
 * struct kvm_vcpu_arch is before all that CONFIG_KVM_IOREGIONFD adds, so this is right for
 * kvm.ko with and without it.
 */
#include <linux/kprobes.h>
#include <linux/kvm_host.h>
#include <linux/module.h>

/* svm_vcpu_run(vcpu, run_flags), with interrupts off */
static int before_run(struct kprobe *probe, struct pt_regs *regs)
{
	struct kvm_vcpu *vcpu = (struct kvm_vcpu *)regs_get_kernel_argument(regs, 0);

	if (vcpu->arch.interrupt.injected) {
		regs->si |= KVM_RUN_FORCE_IMMEDIATE_EXIT;
		/* The exit takes back what saves the guest one for its EOI; this gives it again. */
		kvm_make_request(KVM_REQ_EVENT, vcpu);
	}
	return 0;
}

static struct kprobe probe = {
	.symbol_name = "svm_vcpu_run",
	.pre_handler = before_run,
};

static int __init svm_exit_init(void)
{
	return register_kprobe(&probe);
}
module_init(svm_exit_init);

static void __exit svm_exit_exit(void)
{
	unregister_kprobe(&probe);
}
module_exit(svm_exit_exit);

MODULE_DESCRIPTION("An exit of the guest right after each interrupt, for SVM in QEMU's emulation");
MODULE_LICENSE("GPL");
