/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A 16550A UART: what its eight registers do, and nothing about how the guest
 * reaches them or where the characters go.
 */
#ifndef UART16550_H
#define UART16550_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UART16550_REGISTERS	8
#define UART16550_FIFO_SIZE	16

/* What the UART needs from its surroundings. */
struct uart16550_ops {
	/* One character leaves through the transmitter. */
	void (*transmit)(void *opaque, uint8_t byte);
	/* The interrupt output went from inactive to active. */
	void (*raise_irq)(void *opaque);
};

struct uart16550 {
	const struct uart16550_ops *ops;
	void *opaque;

	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;
	uint16_t divisor;

	uint8_t fifo[UART16550_FIFO_SIZE];
	unsigned int fifo_head, fifo_count;

	bool thre_pending;	/* the transmitter-empty interrupt is latched */
	bool irq;		/* level of the interrupt output */
};

void uart16550_init(struct uart16550 *uart, const struct uart16550_ops *ops,
		    void *opaque);

/* One access of the guest to register @reg, 0 to 7. */
uint8_t uart16550_read(struct uart16550 *uart, unsigned int reg);
void uart16550_write(struct uart16550 *uart, unsigned int reg, uint8_t value);

/* How many characters uart16550_receive() can take now. */
size_t uart16550_room(const struct uart16550 *uart);
void uart16550_receive(struct uart16550 *uart, const uint8_t *data, size_t len);

#endif /* UART16550_H */
