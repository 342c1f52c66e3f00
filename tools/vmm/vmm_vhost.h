/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VMM's part of devices whose rings are in vhost: it owns the vhost device, and does what
 * the device process asks for (vhost.h). Rings go on when the process dies.
 */
#ifndef VMM_VHOST_H
#define VMM_VHOST_H

#include "vmm_device.h"

/*
 * Before vmm_device_create(), after vmm_virtio_init(), with the features that may be offered
 * in @dev->args: open a tap, "TAP" or "TAP,MAC", or take a CID for the guest. Exit with a
 * message if that is not possible.
 */
void vmm_net_open(struct vmm_device *dev, const char *option);
void vmm_vsock_open(struct vmm_device *dev, uint32_t cid);

/*
 * After vmm_device_create(): give vhost the memory of @vm, and its kicks and interrupts. Starts
 * the thread that makes the ioctls from then on.
 */
void vmm_vhost_create(struct vmm_device *dev, const struct vm *vm);

/*
 * The rest is for the supervisor, which must not wait for vhost: a driver can keep it busy with
 * a ring for minutes. First what can be asked of any device:
 */

/* What to wait for: a request of the process, or the end of one that is under way. -1: nothing */
int vmm_vhost_fd(const struct vmm_device *dev);

/* When what is under way will have taken too long. INT64_MAX: never */
int64_t vmm_vhost_late_at(const struct vmm_device *dev);

/* Has vmm_vhost_warn_late() been called for what is under way? */
bool vmm_vhost_is_late(const struct vmm_device *dev);

/*
 * At the end of the VM, when there is no process: end the thread. If it still waits for vhost at
 * @until, as of now_ms(), say so, and leave it alone; what it uses must not be freed then. The
 * process can exit all the same, but the kernel keeps it until vhost has let go of the thread.
 */
void vmm_vhost_stop(struct vmm_device *dev, int64_t until);

/* And what is for one with vhost: */

/* There is something to read from vmm_vhost_fd(). */
void vmm_vhost_serve(struct vmm_device *dev);

/* It is vmm_vhost_late_at() now. */
void vmm_vhost_warn_late(struct vmm_device *dev);

/*
 * There will be no process any more. vmm_device_fail() follows when vhost uses the guest's memory
 * no more, and not before: the driver may take it back then.
 */
void vmm_vhost_fail(struct vmm_device *dev);

#endif /* VMM_VHOST_H */
