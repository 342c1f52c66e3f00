/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tools/virtio has barriers for x86 and arm64. Elsewhere the strongest will do for all: here
 * nobody measures.
 */
#ifndef RING_ASM_BARRIER_H
#define RING_ASM_BARRIER_H

#if defined(__x86_64__) || defined(__aarch64__)
#include_next <asm/barrier.h>
#else
#include <stdlib.h>

#define virt_mb()	__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define virt_rmb()	virt_mb()
#define virt_wmb()	virt_mb()
#define virt_store_mb(var, value) ({		\
	WRITE_ONCE(var, value);			\
	virt_mb();				\
})
/* For devices that are not virtual, of which there is none */
#define mb()		abort()
#define dma_rmb()	abort()
#define dma_wmb()	abort()
#endif

#endif /* RING_ASM_BARRIER_H */
