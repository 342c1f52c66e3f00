// SPDX-License-Identifier: GPL-2.0-only
/*
 * A 16550A UART, after the National Semiconductor PC16550D data sheet, wired
 * as in a PC: OUT2 gates the interrupt, and the far end is a terminal that is
 * always there (CTS, DSR and DCD active).
 *
 * The line is infinitely fast: a character written to THR has left before the
 * access ends, so the transmitter is always empty and its FIFO needs no room.
 */
#include "uart16550.h"

#include <linux/serial_reg.h>
#include <string.h>

#define LSR_ERRORS	(UART_LSR_OE | UART_LSR_PE | UART_LSR_FE | UART_LSR_BI)
#define MSR_DELTAS	(UART_MSR_DCTS | UART_MSR_DDSR | UART_MSR_TERI | \
			 UART_MSR_DDCD)
#define MSR_TERMINAL	(UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD)

/* The bits of each register that exist; the others read as zero. */
#define IER_BITS	0x0f
#define FCR_BITS	(UART_FCR_ENABLE_FIFO | UART_FCR_DMA_SELECT | \
			 UART_FCR_TRIGGER_MASK)
#define MCR_BITS	0x1f

#define IIR_FIFOS_ENABLED	0xc0

static bool fifo_enabled(const struct uart16550 *uart)
{
	return uart->fcr & UART_FCR_ENABLE_FIFO;
}

/* Without FIFOs there is the one receiver buffer register of the 16450. */
static unsigned int fifo_size(const struct uart16550 *uart)
{
	return fifo_enabled(uart) ? UART16550_FIFO_SIZE : 1;
}

static unsigned int fifo_trigger(const struct uart16550 *uart)
{
	static const uint8_t level[] = { 1, 4, 8, 14 };

	return fifo_enabled(uart) ? level[uart->fcr >> 6] : 1;
}

static void fifo_clear(struct uart16550 *uart)
{
	uart->fifo_count = 0;
	uart->lsr &= ~UART_LSR_DR;
}

static void fifo_push(struct uart16550 *uart, uint8_t byte)
{
	unsigned int tail;

	if (uart->fifo_count == fifo_size(uart)) {
		uart->lsr |= UART_LSR_OE;
		/* A full FIFO keeps what it has; a full RBR is overwritten. */
		if (fifo_enabled(uart))
			return;
		fifo_clear(uart);
	}
	tail = (uart->fifo_head + uart->fifo_count) % UART16550_FIFO_SIZE;
	uart->fifo[tail] = byte;
	uart->fifo_count++;
	uart->lsr |= UART_LSR_DR;
}

static uint8_t fifo_pop(struct uart16550 *uart)
{
	uint8_t byte = uart->fifo[uart->fifo_head];

	if (!uart->fifo_count)
		return 0;
	uart->fifo_head = (uart->fifo_head + 1) % UART16550_FIFO_SIZE;
	if (!--uart->fifo_count)
		uart->lsr &= ~UART_LSR_DR;
	return byte;
}

/* The most urgent interrupt that is pending and enabled, as IIR tells it. */
static uint8_t interrupt_id(const struct uart16550 *uart)
{
	if ((uart->ier & UART_IER_RLSI) && (uart->lsr & LSR_ERRORS))
		return UART_IIR_RLSI;
	if ((uart->ier & UART_IER_RDI) && uart->fifo_count) {
		/*
		 * Fewer characters than the trigger level are announced after
		 * four character times of silence, which take no time here.
		 */
		return uart->fifo_count >= fifo_trigger(uart) ?
			UART_IIR_RDI : UART_IIR_RX_TIMEOUT;
	}
	if ((uart->ier & UART_IER_THRI) && uart->thre_pending)
		return UART_IIR_THRI;
	if ((uart->ier & UART_IER_MSI) && (uart->msr & MSR_DELTAS))
		return UART_IIR_MSI;
	return UART_IIR_NO_INT;
}

/*
 * To be called after anything that may have changed the interrupt output. The
 * PC's interrupt is edge triggered, so only a rise is told. While the output
 * stays active there is nothing to tell: whoever handles the interrupt must
 * read IIR until nothing is pending, which lets the output fall, and whatever
 * comes after that is a rise again.
 */
static void update_irq(struct uart16550 *uart)
{
	bool irq = interrupt_id(uart) != UART_IIR_NO_INT;

	/* In loopback mode the OUT2 pin is inactive whatever MCR says. */
	if (!(uart->mcr & UART_MCR_OUT2) || (uart->mcr & UART_MCR_LOOP))
		irq = false;
	if (irq && !uart->irq)
		uart->ops->raise_irq(uart->opaque);
	uart->irq = irq;
}

static void update_modem_lines(struct uart16550 *uart)
{
	uint8_t old = uart->msr, lines = MSR_TERMINAL;

	/* In loopback mode the four outputs are wired to the four inputs. */
	if (uart->mcr & UART_MCR_LOOP) {
		lines = 0;
		if (uart->mcr & UART_MCR_RTS)
			lines |= UART_MSR_CTS;
		if (uart->mcr & UART_MCR_DTR)
			lines |= UART_MSR_DSR;
		if (uart->mcr & UART_MCR_OUT1)
			lines |= UART_MSR_RI;
		if (uart->mcr & UART_MCR_OUT2)
			lines |= UART_MSR_DCD;
	}

	uart->msr = lines | (old & MSR_DELTAS);
	if ((old ^ lines) & UART_MSR_CTS)
		uart->msr |= UART_MSR_DCTS;
	if ((old ^ lines) & UART_MSR_DSR)
		uart->msr |= UART_MSR_DDSR;
	if ((old ^ lines) & UART_MSR_DCD)
		uart->msr |= UART_MSR_DDCD;
	/* Of the ring indicator only the end of a ring counts. */
	if ((old & UART_MSR_RI) && !(lines & UART_MSR_RI))
		uart->msr |= UART_MSR_TERI;
}

static void write_thr(struct uart16550 *uart, uint8_t byte)
{
	if (uart->mcr & UART_MCR_LOOP)
		fifo_push(uart, byte);
	else
		uart->ops->transmit(uart->opaque, byte);
	/*
	 * The register was full and is empty again. As no time passed between,
	 * an output that was active for this reason did not fall.
	 */
	uart->thre_pending = true;
}

static void write_ier(struct uart16550 *uart, uint8_t value)
{
	/* Enabling the interrupt while THR is empty, as it always is here. */
	if ((value & UART_IER_THRI) && !(uart->ier & UART_IER_THRI))
		uart->thre_pending = true;
	uart->ier = value & IER_BITS;
}

static void write_fcr(struct uart16550 *uart, uint8_t value)
{
	bool toggled = (value ^ uart->fcr) & UART_FCR_ENABLE_FIFO;

	/* The other bits can only be changed while FIFOs are enabled. */
	if (!(value & UART_FCR_ENABLE_FIFO))
		value = 0;
	if (toggled || (value & UART_FCR_CLEAR_RCVR))
		fifo_clear(uart);
	/* UART_FCR_CLEAR_XMIT: the transmitter's FIFO is always empty. */
	uart->fcr = value & FCR_BITS;
}

static uint8_t read_iir(struct uart16550 *uart)
{
	uint8_t iir = interrupt_id(uart);

	if (iir == UART_IIR_THRI)
		uart->thre_pending = false;
	return iir | (fifo_enabled(uart) ? IIR_FIFOS_ENABLED : 0);
}

static uint8_t read_lsr(struct uart16550 *uart)
{
	uint8_t lsr = uart->lsr;

	uart->lsr &= ~LSR_ERRORS;
	return lsr;
}

static uint8_t read_msr(struct uart16550 *uart)
{
	uint8_t msr = uart->msr;

	uart->msr &= ~MSR_DELTAS;
	return msr;
}

static bool divisor_latch(const struct uart16550 *uart)
{
	return uart->lcr & UART_LCR_DLAB;
}

static uint8_t read_register(struct uart16550 *uart, unsigned int reg)
{
	switch (reg) {
	case UART_RX:	/* or DLL */
		return divisor_latch(uart) ? uart->divisor : fifo_pop(uart);
	case UART_IER:	/* or DLM */
		return divisor_latch(uart) ? uart->divisor >> 8 : uart->ier;
	case UART_IIR:
		return read_iir(uart);
	case UART_LCR:
		return uart->lcr;
	case UART_MCR:
		return uart->mcr;
	case UART_LSR:
		return read_lsr(uart);
	case UART_MSR:
		return read_msr(uart);
	case UART_SCR:
		return uart->scr;
	}
	return 0xff;
}

uint8_t uart16550_read(struct uart16550 *uart, unsigned int reg)
{
	uint8_t value = read_register(uart, reg);

	update_irq(uart);
	return value;
}

void uart16550_write(struct uart16550 *uart, unsigned int reg, uint8_t value)
{
	switch (reg) {
	case UART_TX:	/* or DLL */
		if (divisor_latch(uart))
			uart->divisor = (uart->divisor & 0xff00) | value;
		else
			write_thr(uart, value);
		break;
	case UART_IER:	/* or DLM */
		if (divisor_latch(uart))
			uart->divisor = (uart->divisor & 0x00ff) | value << 8;
		else
			write_ier(uart, value);
		break;
	case UART_FCR:
		write_fcr(uart, value);
		break;
	case UART_LCR:
		uart->lcr = value;
		break;
	case UART_MCR:
		uart->mcr = value & MCR_BITS;
		update_modem_lines(uart);
		break;
	case UART_SCR:
		uart->scr = value;
		break;
	default:	/* LSR and MSR are not written to in normal operation */
		break;
	}
	update_irq(uart);
}

/*
 * The terminal sends only while RTS is up. So what is piped into the VMM
 * before the guest has opened its port waits, and is not cleared away when
 * the guest resets the FIFO.
 */
size_t uart16550_room(const struct uart16550 *uart)
{
	if (!(uart->mcr & UART_MCR_RTS) || (uart->mcr & UART_MCR_LOOP))
		return 0;
	/* Switching FIFOs off clears the FIFO, so the count is in range. */
	return fifo_size(uart) - uart->fifo_count;
}

void uart16550_receive(struct uart16550 *uart, const uint8_t *data, size_t len)
{
	while (len--)
		fifo_push(uart, *data++);
	update_irq(uart);
}

void uart16550_init(struct uart16550 *uart, const struct uart16550_ops *ops,
		    void *opaque)
{
	memset(uart, 0, sizeof(*uart));
	uart->ops = ops;
	uart->opaque = opaque;
	uart->divisor = 12;	/* 9600 baud; the chip leaves it undefined */
	uart->lsr = UART_LSR_THRE | UART_LSR_TEMT;
	uart->msr = MSR_TERMINAL;
}
