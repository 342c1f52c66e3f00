// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers of the UART, and a terminal. Whatever came before, a driver that sets it up
 * can send and receive.
 */
#include <linux/serial_reg.h>
#include <string.h>
#include "../uart16550.h"
#include "fuzz.h"

static struct uart16550 uart;
static unsigned int sent, interrupts;
static uint8_t last;

static void transmit(void *opaque, uint8_t byte)
{
	(void)opaque;
	last = byte;
	sent++;
}

static void raise_irq(void *opaque)
{
	(void)opaque;
	interrupts++;
}

static const struct uart16550_ops ops = { .transmit = transmit, .raise_irq = raise_irq };

/* No more than there is room for, as the terminal does. */
static void receive(struct fuzz_input *in)
{
	uint8_t bytes[UART16550_FIFO_SIZE];
	size_t i, n = fuzz_8(in) % (sizeof(bytes) + 1), room = uart16550_room(&uart);

	fuzz_check(room <= UART16550_FIFO_SIZE);
	n = n < room ? n : room;
	for (i = 0; i < n; i++)
		bytes[i] = fuzz_8(in);
	uart16550_receive(&uart, bytes, n);
}

static void step(struct fuzz_input *in)
{
	uint8_t what = fuzz_8(in);
	unsigned int reg = what % UART16550_REGISTERS;

	switch (what / UART16550_REGISTERS % 4) {
	case 0:
		uart16550_read(&uart, reg);
		break;
	case 1:
	case 2:
		uart16550_write(&uart, reg, fuzz_8(in));
		break;
	case 3:
		receive(in);
		break;
	}
}

static void check_driver(void)
{
	unsigned int before = sent;
	uint8_t in = 'r';

	uart16550_write(&uart, UART_LCR, UART_LCR_WLEN8);
	uart16550_write(&uart, UART_FCR, 0);
	uart16550_write(&uart, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	uart16550_write(&uart, UART_IER, 0);
	uart16550_write(&uart, UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
	uart16550_read(&uart, UART_LSR);
	fuzz_check(uart16550_read(&uart, UART_LSR) == (UART_LSR_TEMT | UART_LSR_THRE));
	uart16550_write(&uart, UART_TX, 's');
	fuzz_check(sent == before + 1 && last == 's');
	fuzz_check(uart16550_room(&uart) == UART16550_FIFO_SIZE);
	before = interrupts;
	uart16550_write(&uart, UART_IER, UART_IER_RDI);
	uart16550_receive(&uart, &in, 1);
	fuzz_check(interrupts == before + 1);
	fuzz_check(uart16550_read(&uart, UART_RX) == 'r');
}

int fuzz_one_input(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };

	uart16550_init(&uart, &ops, NULL);
	while (in.left)
		step(&in);
	check_driver();
	return 0;
}
