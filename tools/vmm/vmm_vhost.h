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

/* After vmm_device_create(): give vhost the memory of @vm, and its kicks and interrupts. */
void vmm_vhost_create(struct vmm_device *dev, const struct vm *vm);

/* There is something to read from @dev->request_fd. */
void vmm_vhost_serve(struct vmm_device *dev);

/* The device has failed, and there is no process: vhost uses the guest's memory no more. */
void vmm_vhost_end(struct vmm_device *dev);

#endif /* VMM_VHOST_H */
