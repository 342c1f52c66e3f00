// SPDX-License-Identifier: GPL-2.0-only
#include "run.h"
#include "acpi.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* For the signal handler, which gets no argument. */
static struct vm *current_vm;
static pthread_t threads[MAX_VCPUS];	/* those of nr_threads vCPUs are running */
static unsigned int nr_threads;
static bool stop_requested;		/* by a signal */
static bool ended;			/* for any vCPU's reason: */
static enum run_end the_end;

/* What run_vm() was given. */
static const struct run_devices *the_devices;
static struct run_counters *the_counters;

/*
 * immediate_exit closes the gap between looking at run_stop_requested() and KVM_RUN: a
 * signal in between makes KVM_RUN return at once.
 */
static void kick_all(void)
{
	unsigned int i;

	for (i = 0; i < current_vm->nr_vcpus; i++)
		__atomic_store_n(&current_vm->vcpus[i].run->immediate_exit, 1, __ATOMIC_RELAXED);
	for (i = 0; i < __atomic_load_n(&nr_threads, __ATOMIC_ACQUIRE); i++)
		pthread_kill(threads[i], SIGUSR1);
}

static void request_stop(int signal)
{
	int saved = errno;

	(void)signal;
	__atomic_store_n(&stop_requested, true, __ATOMIC_RELAXED);
	kick_all();
	errno = saved;
}

/* All that SIGUSR1 has to do is to interrupt a system call. */
static void kicked(int signal)
{
	(void)signal;
}

bool run_stop_requested(void)
{
	return __atomic_load_n(&stop_requested, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&ended, __ATOMIC_RELAXED);
}

void run_catch_signals(struct vm *vm)
{
	/* Without SA_RESTART: the signal must interrupt system calls that wait. */
	struct sigaction stop = { .sa_handler = request_stop };
	struct sigaction kick = { .sa_handler = kicked };

	current_vm = vm;
	if (sigaction(SIGINT, &stop, NULL) || sigaction(SIGTERM, &stop, NULL) ||
	    sigaction(SIGUSR1, &kick, NULL))
		err(EXIT_FAILURE, "sigaction");
}

static bool within(uint64_t port, unsigned int size, uint64_t start,
		   unsigned int ports)
{
	return port >= start && port + size <= start + ports;
}

static bool touches(uint64_t port, unsigned int size, uint64_t start,
		    unsigned int ports)
{
	return port < start + ports && port + size > start;
}

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* One access of a power management register. Returns true for power-off. */
static bool access_pm(unsigned int offset, unsigned int size, bool is_write,
		      uint8_t *data)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	bool off = false;
	unsigned int i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < size; i++) {
		if (is_write)
			off |= acpi_pm_write(offset + i, data[i]);
		else
			data[i] = acpi_pm_read(offset + i);
	}
	pthread_mutex_unlock(&lock);
	return off;
}

/*
 * An "in" or "out", or the elements of an "ins" or "outs", which follow each
 * other in the page behind struct kvm_run.
 */
static bool handle_pio(struct kvm_run *run, enum run_end *end)
{
	struct uart *uart = the_devices->uart;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	bool is_write = run->io.direction == KVM_EXIT_IO_OUT;
	unsigned int size = run->io.size;
	uint32_t port = run->io.port;
	uint32_t i;

	if (touches(port, size, UART_PORT, UART_PORTS))
		count(&uart->exits);
	else
		count(&the_counters->other_pio);

	for (i = 0; i < run->io.count; i++, data += size) {
		if (!is_write)
			memset(data, 0xff, size);

		if (uart->path == UART_FORWARD &&
		    within(port, size, UART_PORT, UART_PORTS)) {
			if (!uart_forward(uart, port - UART_PORT, size,
					  is_write, data)) {
				*end = run_stop_requested() ? RUN_STOPPED :
					RUN_FAILED;
				return true;
			}
		} else if (within(port, size, PM1A_EVT_PORT, PM_PORTS)) {
			if (access_pm(port - PM1A_EVT_PORT, size, is_write,
				      data)) {
				*end = RUN_POWEROFF;
				return true;
			}
		} else if (the_devices->pci && within(port, size, PCI_PORT, PCI_PORTS)) {
			vmm_pci_port(the_devices->pci, port - PCI_PORT, size, is_write, data);
		} else if (port == RESET_PORT && is_write) {
			*end = RUN_RESET;
			return true;
		} else if (port == BENCH_PORT && is_write) {
			*end = RUN_BENCH_MARK;
			return true;
		}
	}
	return false;
}

static struct vmm_device *device_at(uint64_t addr)
{
	return vmm_device_at(the_devices->devs, the_devices->nr_devs, addr);
}

/* Returns true if the wait for a device process has been ended. */
static bool handle_mmio(struct kvm_run *run, enum run_end *end)
{
	struct vmm_device *dev = device_at(run->mmio.phys_addr);
	struct vmm_access access = {
		.addr = run->mmio.phys_addr,
		.size = run->mmio.len,
		.is_write = run->mmio.is_write,
	};

	if (!dev) {
		count(&the_counters->other_mmio);
		if (the_devices->pci &&
		    vmm_pci_memory(the_devices->pci, access.addr, access.size, access.is_write,
				   run->mmio.data))
			return false;
		/* A write has no effect. */
		if (!run->mmio.is_write)
			memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		return false;
	}
	count(&the_counters->device_exits);
	if (access.is_write)
		memcpy(&access.data, run->mmio.data, access.size);
	if (!vmm_device_access(dev, &access)) {
		*end = RUN_STOPPED;
		return true;
	}
	if (!access.is_write)
		memcpy(run->mmio.data, &access.data, access.size);
	return false;
}

static const char *failure_reason(unsigned int reason)
{
	switch (reason) {
	case KVM_IOREGIONFD_FAIL_HANGUP:
		return "the device task closed its end";
	case KVM_IOREGIONFD_FAIL_IO:
		return "reading or writing failed";
	case KVM_IOREGIONFD_FAIL_PROTOCOL:
		return "the device task broke the protocol";
	case KVM_IOREGIONFD_FAIL_DEASSIGNED:
		return "the region was removed";
	case KVM_IOREGIONFD_FAIL_NO_MAILBOX:
		return "the channel has no mailbox for this vCPU";
	case KVM_IOREGIONFD_FAIL_CANCELED:
		return "the access was taken back";
	case KVM_IOREGIONFD_FAIL_TO_VMM:
		return "the device task leaves the rest of the access to the VMM";
	}
	return "unknown reason";
}

static const char *failure_progress(unsigned int progress)
{
	switch (progress) {
	case KVM_IOREGIONFD_SENT_NONE:
		return "it has not seen the command";
	case KVM_IOREGIONFD_SENT_ALL:
		return "it may have carried the command out";
	}
	return "unknown progress";
}

/*
 * The UART's state is lost with its process, so the VMM says what happened and exits.
 */
static void explain_ioregionfd(const struct kvm_ioregionfd_exit *f)
{
	warnx("ioregionfd failure: a %u-byte %s %s %#llx", f->size,
	      f->is_write ? "write to" : "read of",
	      f->is_pio ? "port" : "address", f->guest_paddr);
	warnx("ioregionfd failure: in the %s region %#llx to %#llx",
	      f->is_pio ? "PIO" : "MMIO", f->region_paddr,
	      f->region_paddr + f->region_size - 1);
	if (f->is_write)
		warnx("ioregionfd failure: the value was %#llx",
		      f->data);
	warnx("ioregionfd failure: %s (reason %u); %s (progress %u)",
	      failure_reason(f->reason), f->reason,
	      failure_progress(f->progress), f->progress);
	if (f->error)
		warnx("ioregionfd failure: %s (errno %u)", strerror(f->error),
		      f->error);
}

static void explain_internal_error(const struct kvm_run *run)
{
	uint32_t i;

	warnx("KVM internal error, suberror %u", run->internal.suberror);
	for (i = 0; i < run->internal.ndata && i < 16; i++)
		warnx("  data[%u] = %#llx", i,
		      run->internal.data[i]);
}

/* Where in the guest it happened. */
static void explain_where(const struct vcpu *vcpu)
{
	struct kvm_regs regs;

	if (!ioctl(vcpu->fd, KVM_GET_REGS, &regs))
		warnx("vCPU %u was at RIP %#llx, RFLAGS %#llx", vcpu->id, regs.rip, regs.rflags);
}

/* Returns true if the guest cannot or must not go on, with the reason in @end. */
static bool handle_exit(const struct vcpu *vcpu, enum run_end *end)
{
	struct kvm_run *run = vcpu->run;
	struct vmm_device *dev;

	*end = RUN_FAILED;
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return handle_pio(run, end);
	case KVM_EXIT_MMIO:
		return handle_mmio(run, end);
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return false;
	case KVM_EXIT_SHUTDOWN:
		warnx("triple fault");
		*end = RUN_RESET;
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		*end = run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ?
			RUN_POWEROFF : RUN_RESET;
		return true;
	case KVM_EXIT_IOREGIONFD_FAILURE:
		dev = device_at(run->ioregionfd.guest_paddr);
		if (dev && !run->ioregionfd.is_pio) {
			count(&the_counters->device_exits);
			*end = RUN_STOPPED;
			return !vmm_device_failure(dev, &run->ioregionfd);
		}
		explain_ioregionfd(&run->ioregionfd);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		warnx("the CPU refuses to enter the guest, hardware reason %#llx",
		      run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		explain_internal_error(run);
		break;
	case KVM_EXIT_UNKNOWN:
		warnx("KVM does not know the hardware's exit reason %#llx",
		      run->hw.hardware_exit_reason);
		break;
	case KVM_EXIT_EXCEPTION:
		warnx("unhandled exception %u, error code %#x",
		      run->ex.exception, run->ex.error_code);
		break;
	case KVM_EXIT_HLT:
		/* Halted vCPUs wait in the kernel, where the LAPIC is. */
		warnx("KVM has returned for a HLT, which it should not");
		break;
	default:
		warnx("KVM_RUN returned for reason %u, which is not handled",
		      run->exit_reason);
		break;
	}
	explain_where(vcpu);
	return true;
}

static enum run_end run_vcpu(const struct vcpu *vcpu)
{
	enum run_end end;

	for (;;) {
		if (run_stop_requested())
			return RUN_STOPPED;
		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			warn("KVM_RUN");
			explain_where(vcpu);
			return RUN_FAILED;
		}
		if (handle_exit(vcpu, &end))
			return end;
	}
}

/* The first vCPU that ends stops the others, and its reason counts. */
static void *run_and_stop_others(void *arg)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	enum run_end end = run_vcpu(arg);

	pthread_mutex_lock(&lock);
	if (!ended) {
		the_end = end;
		__atomic_store_n(&ended, true, __ATOMIC_RELAXED);
		if (current_vm->nr_vcpus > 1)
			kick_all();
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void start_threads(struct vm *vm)
{
	sigset_t signals, saved;
	unsigned int i;
	int ret;

	/* This thread alone takes the signals that end the VMM. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, &saved);
	threads[0] = pthread_self();
	for (i = 1; i < vm->nr_vcpus; i++) {
		ret = pthread_create(&threads[i], NULL, run_and_stop_others, &vm->vcpus[i]);
		if (ret)
			errx(EXIT_FAILURE, "cannot start a thread: %s", strerror(ret));
	}
	/* Pairs with the acquire in kick_all(). */
	__atomic_store_n(&nr_threads, vm->nr_vcpus, __ATOMIC_RELEASE);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
}

enum run_end run_vm(struct vm *vm, const struct run_devices *devices,
		    struct run_counters *counters)
{
	unsigned int i;

	the_devices = devices;
	the_counters = counters;
	/* A signal that comes before this is seen in stop_requested. */
	ended = false;
	for (i = 0; i < vm->nr_vcpus; i++)
		vm->vcpus[i].run->immediate_exit = 0;
	start_threads(vm);
	run_and_stop_others(&vm->vcpus[0]);
	/* They know that they have to end, and a signal must not look for them any more. */
	__atomic_store_n(&nr_threads, 1, __ATOMIC_RELAXED);
	for (i = 1; i < vm->nr_vcpus; i++)
		pthread_join(threads[i], NULL);
	return the_end;
}
