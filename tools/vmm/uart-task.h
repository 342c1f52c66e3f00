/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the VMM and the device task have agreed on: the file descriptors that the
 * task is started with, besides stdin (characters to the guest), stdout
 * (characters from the guest) and stderr (error messages).
 */
#ifndef UART_TASK_H
#define UART_TASK_H

#define UART_TASK_USER_DATA	0	/* of the region */

enum {
	UART_TASK_CHANNEL_FD = 3,	/* a native channel, or a socket */
	UART_TASK_IRQ_FD,		/* eventfd that pulses the interrupt */
	/*
	 * On SIGTERM, or when the channel ends, the task writes its counters here,
	 * one name=value on each line, and exits. It is started with SIGTERM
	 * blocked.
	 */
	UART_TASK_REPORT_FD,
	UART_TASK_NR_FDS
};

#endif /* UART_TASK_H */
