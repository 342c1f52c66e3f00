/* SPDX-License-Identifier: GPL-2.0-only */
/* Warnings that are counted, and how memory was asked for (fake_kernel.c) */
#ifndef RING_COUNTED_LINUX_KERNEL_H
#define RING_COUNTED_LINUX_KERNEL_H

#include_next <linux/kernel.h>

void fake_gfp(unsigned int gfp);

#undef kmalloc
#define kmalloc(size, gfp) (fake_gfp(gfp), fake_kmalloc(size))

void fake_warn(void);

#undef WARN_ON_ONCE
#define WARN_ON_ONCE(condition) ({		\
	bool _warn = condition;			\
						\
	if (_warn)				\
		fake_warn();			\
	_warn;					\
})

#endif /* RING_COUNTED_LINUX_KERNEL_H */
