/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device process whose rings are in the kernel, in vhost. It has the registers and nothing
 * else: vhost accepts ioctls only of the process that owns it, since it uses the memory of that
 * process. So that rings outlive device processes the VMM owns it. The process tells the
 * VMM which rings are to run, and the VMM makes it so (vmm_vhost.c).
 *
 * A request says all there is to say. To make it twice is to make it once, so a process makes
 * one when it takes up the state, whatever the former one came to.
 */
#ifndef VHOST_H
#define VHOST_H

#include <pthread.h>
#include "device.h"
#include "virtio_mmio.h"

/*
 * The eventfd that vhost signals when the driver has broken a ring, and also for trouble of its
 * own, such as a tap that is gone or no memory: the first of more irqfds.
 */
#define VHOST_ERROR_FD	DEVICE_NR_FDS

/*
 * One packet on DEVICE_BACKEND_FD, a socket of type SOCK_SEQPACKET of this process alone. The
 * response is an int32_t, which comes when it is done: 0 or a negative errno value. A ring that
 * is not to run is not used any more by then. One that runs already, and is to run, goes on; but
 * not with another size, other addresses or other features: that is refused, with -EINVAL.
 */
struct vhost_request {
	uint64_t features;		/* that the driver has agreed to */
	uint32_t running;		/* bit n: queue n is to run */
	uint32_t pad;
	/* Of those that are to run: size and addresses. They begin at their start. */
	struct virtqueue_state queues[DEVICE_MAX_QUEUES];
};

struct vhost_device {
	pthread_mutex_t lock;		/* protects all that follows */
	struct device device;
	struct virtio_mmio mmio;
	uint32_t running;		/* vhost_request.running that the VMM has responded to */
};

/*
 * For main(): map the state. Then device_id, features, nr_queues, config and config_size of
 * @v->mmio are to be set; vhost's own features are in @v->device.args.
 */
void vhost_init(struct vhost_device *v);

/* Confine the process, and serve the guest's accesses until the VM is gone. */
void vhost_serve(struct vhost_device *v);

#endif /* VHOST_H */
