/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps the devices of a VM alive, in a thread of its own: it starts a process anew when
 * one has died, marks the device as failed when that happens too often, and does what is
 * asked for through the control socket:
 *
 *	status			a line for each device
 *	kill DEVICE		let its process die, and be started anew
 *	upgrade DEVICE BINARY	go on with another program. If that dies within a second
 *				the former one comes back
 */
#ifndef SUPERVISE_H
#define SUPERVISE_H

#include "vmm_device.h"

/* A device fails with the death that makes it this many within so many seconds. */
struct crash_limit {
	unsigned int deaths, seconds;
};

struct supervisor;

/* Start the devices, and watch over them. Exits with a message if one does not start. */
struct supervisor *supervise(struct vmm_device *devs, unsigned int nr, struct crash_limit limit,
			     const char *control_path);

/*
 * End all processes. Returns how many devices have failed. A vhost that is busy may go on after
 * that, see vmm_vhost_stop().
 */
unsigned int supervise_stop(struct supervisor *supervisor);

#endif /* SUPERVISE_H */
