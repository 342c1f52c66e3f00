/* SPDX-License-Identifier: GPL-2.0-only */
/* tools/virtio's compiler.h, and what virtio_ring.c and the kernel's headers use besides. */
#ifndef RING_LINUX_COMPILER_H
#define RING_LINUX_COMPILER_H

#include <stddef.h>
#include_next <linux/compiler.h>

#ifndef data_race
#define data_race(x) (x) /* nothing here looks for them */
#endif

#endif /* RING_LINUX_COMPILER_H */
