/* SPDX-License-Identifier: GPL-2.0-only */
/* tools/virtio's module.h, and what virtio_ring.c has come to use since. */
#ifndef RING_LINUX_MODULE_H
#define RING_LINUX_MODULE_H

#include_next <linux/module.h>

#define MODULE_DESCRIPTION(...)
#define MODULE_PARM_DESC(...)
#define module_param_named(...)

#endif /* RING_LINUX_MODULE_H */
