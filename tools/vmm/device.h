/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every device process is. It holds the memory of the guest and its own state, both
 * mapped, the descriptors below, and nothing else; confine.h says what it may do with them.
 *
 * The VMM keeps the state, the channel and the image. When the process has died the VMM
 * starts another one with the same. It waits for the death first (waitpid), because until
 * then the former process may still carry out requests, which would undo what the guest
 * does after the successor has completed them.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdint.h>
#include <sys/types.h>
#include <linux/ioregionfd.h>
#include "device_state.h"
#include "guest_memory.h"

/* The descriptors of a device process. Its stdin and stdout are /dev/null. */
enum device_fd {
	DEVICE_LOG_FD = 2,	/* for messages, when it cannot go on */
	DEVICE_CHANNEL_FD,
	DEVICE_STATE_FD,	/* memfd of struct device_state; closed when it is mapped */
	DEVICE_MEMORY_FD,	/* memfd of the guest's memory; closed when it is mapped */
	DEVICE_IRQ_FD,		/* eventfd, an irqfd of KVM */
	DEVICE_BACKEND_FD,	/* image, or a socket to the VMM (vhost.h) */
	/*
	 * If a device has several interrupts, device_args.nr_more_irqs further irqfds begin
	 * here. VHOST_ERROR_FD is in their place.
	 */
	DEVICE_NR_FDS
};

#define DEVICE_MAX_MORE_IRQS	16
#define DEVICE_MAX_FDS		(DEVICE_NR_FDS + DEVICE_MAX_MORE_IRQS)

/*
 * For the VMM
 */

/*
 * Make a memfd that nobody can shrink: that would kill whoever has it mapped. Returns it,
 * close-on-exec, or a negative errno value.
 */
int device_create_memory(const char *name, uint64_t size);

/*
 * Start @program with descriptor fds[n] as its n, for all n from DEVICE_LOG_FD, and no
 * others, and with @args in @state. Returns its pid, or a negative errno value. If it
 * cannot be executed the process exits with status 127.
 */
pid_t device_spawn(const char *program, const int *fds, struct device_state *state,
		   const struct device_args *args);

/*
 * For the device process. These exit with a message if something fails.
 */
struct device {
	struct device_state *state;
	struct device_args args;	/* a copy */
	struct guest_memory memory;
	struct ioregionfd_task *task;
};

/* Map what there is to map, and open the channel. */
void device_init(struct device *device);

/* To be called for each access. */
void device_count(struct device *device, const struct ioregionfd_cmd *cmd);

/* Serve accesses until the VM is gone. */
void device_serve(struct device *device);

#endif /* DEVICE_H */
