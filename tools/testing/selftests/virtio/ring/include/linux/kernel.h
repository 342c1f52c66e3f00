/* SPDX-License-Identifier: GPL-2.0-only */
/* tools/virtio's kernel.h, and what virtio_ring.c and its headers use besides. */
#ifndef RING_LINUX_KERNEL_H
#define RING_LINUX_KERNEL_H

#include_next <linux/kernel.h>

#define U16_MAX ((u16)~0U)

#endif /* RING_LINUX_KERNEL_H */
