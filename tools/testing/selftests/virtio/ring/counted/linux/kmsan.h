/* SPDX-License-Identifier: GPL-2.0-only */
/* Of memory that the device reads or writes, KMSAN has to be told: this counts the calls. */
#ifndef RING_COUNTED_LINUX_KMSAN_H
#define RING_COUNTED_LINUX_KMSAN_H

void fake_kmsan_handle_dma(void);

/* Not in every kernel are the arguments the same */
#define kmsan_handle_dma(...) fake_kmsan_handle_dma()

#endif /* RING_COUNTED_LINUX_KMSAN_H */
