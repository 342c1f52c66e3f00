// SPDX-License-Identifier: GPL-2.0-only
#include "vmm_pci.h"

#include <err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static int irq_fd(const struct vmm_device *dev, unsigned int vector)
{
	return vector ? dev->more_irq_fds[vector - 1] : dev->irq_fd;
}

static void set_irqfd(const struct vmm_pci_function *f, unsigned int vector, uint32_t flags)
{
	struct kvm_irqfd irqfd = {
		.fd = irq_fd(f->dev, vector),
		.gsi = MSI_GSI + f->first_msi + vector,
		.flags = flags,
	};

	if (ioctl(f->bus->vm->fd, KVM_IRQFD, &irqfd))
		err(EXIT_FAILURE, "KVM_IRQFD");
}

/*
 * While a vector is masked KVM does not have its eventfd, which keeps what is raised. KVM
 * looks at that when it gets it.
 */
static void set_vector(void *opaque, unsigned int vector, bool open, uint64_t addr, uint32_t data)
{
	struct vmm_pci_function *f = opaque;

	if (open)
		vm_route_msi(f->bus->vm, f->first_msi + vector,
			     (struct msi_message) { .addr = addr, .data = data });
	if (open == f->open[vector])
		return;
	f->open[vector] = open;
	set_irqfd(f, vector, open ? 0 : KVM_IRQFD_FLAG_DEASSIGN);
}

static bool pending(void *opaque, unsigned int vector)
{
	const struct vmm_pci_function *f = opaque;
	struct pollfd p = { .fd = irq_fd(f->dev, vector), .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static bool move(struct pci_function *function, uint64_t addr)
{
	struct vmm_pci_function *f = function->opaque;
	int ret = vmm_device_move(f->dev, addr);

	if (ret)
		warnx("%s cannot be at %#lx: %s", f->dev->name, addr, strerror(-ret));
	return !ret;
}

static const struct pci_function_ops function_ops = { .move = move };
static const struct msix_ops msix_ops = { .set_vector = set_vector, .pending = pending };

void vmm_pci_init(struct vmm_pci *pci, struct vm *vm)
{
	pthread_mutex_init(&pci->lock, NULL);
	pci_init(&pci->pci);
	pci->vm = vm;
	pci->nr_msi = 0;
}

void vmm_pci_add(struct vmm_pci *pci, struct vmm_pci_function *f, struct vmm_device *dev,
		 const struct pci_id *id, uint64_t bar_size)
{
	unsigned int nr_vectors = 1 + dev->args.nr_more_irqs;

	if (nr_vectors > MAX_MSI - pci->nr_msi)
		errx(EXIT_FAILURE, "too many interrupts");
	f->bus = pci;
	f->dev = dev;
	f->first_msi = pci->nr_msi;
	pci->nr_msi += nr_vectors;
	f->function.ops = &function_ops;
	f->function.opaque = f;
	msix_init(&f->function.msix, nr_vectors, &msix_ops, f);
	pci_add_function(&pci->pci, &f->function, id, bar_size, nr_vectors);
}

void vmm_pci_port(struct vmm_pci *pci, unsigned int offset, unsigned int size, bool is_write,
		  void *data)
{
	uint32_t value = 0;

	pthread_mutex_lock(&pci->lock);
	if (is_write) {
		memcpy(&value, data, size);
		pci_write_port(&pci->pci, offset, size, value);
	} else {
		value = pci_read_port(&pci->pci, offset, size);
		memcpy(data, &value, size);
	}
	pthread_mutex_unlock(&pci->lock);
}

bool vmm_pci_memory(struct vmm_pci *pci, uint64_t addr, unsigned int size, bool is_write,
		    void *data)
{
	uint64_t value = 0;
	bool found;

	if (is_write)
		memcpy(&value, data, size);
	pthread_mutex_lock(&pci->lock);
	found = pci_access_memory(&pci->pci, addr, size, is_write, &value);
	pthread_mutex_unlock(&pci->lock);
	if (found && !is_write)
		memcpy(data, &value, size);
	return found;
}
