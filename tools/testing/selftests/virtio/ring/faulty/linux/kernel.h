/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tools/virtio's kernel.h with small pages, memory that can run out and messages that are
 * counted (fake_kernel.c).
 */
#ifndef RING_FAULTY_LINUX_KERNEL_H
#define RING_FAULTY_LINUX_KERNEL_H

#include_next <linux/kernel.h>

struct device;

/* Small pages make small states, and explore() copies many of them. */
#undef PAGE_SIZE
#define PAGE_SIZE 256UL

void *fake_kmalloc(size_t size);
void *fake_kzalloc(size_t size);
void fake_kfree(void *memory);

#define kmalloc(size, gfp) ((void)(gfp), fake_kmalloc(size))
#define kmalloc_array(n, size, gfp) kmalloc((n) * (size), gfp)
#define alloc_pages_exact(size, gfp) ((void)(gfp), fake_kzalloc(size))
#define free_pages_exact(memory, size) ((void)(size), fake_kfree(memory))
#define kfree(memory) fake_kfree(memory)

#undef dev_err
__printf(2, 3)
void dev_err(const struct device *dev, const char *format, ...);

#endif /* RING_FAULTY_LINUX_KERNEL_H */
