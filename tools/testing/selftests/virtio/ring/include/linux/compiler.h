/* SPDX-License-Identifier: GPL-2.0-only */
/* tools/virtio's compiler.h, and what virtio_ring.c has come to use since. */
#ifndef RING_LINUX_COMPILER_H
#define RING_LINUX_COMPILER_H

#include_next <linux/compiler.h>

#define data_race(expr) ({ expr; })
#define noinline __attribute__((__noinline__))

#endif /* RING_LINUX_COMPILER_H */
