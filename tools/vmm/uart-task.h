/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the VMM and the device task have agreed on: the file descriptors that
 * the task is born with, besides stdin (characters to the guest), stdout
 * (characters from the guest) and stderr (its complaints).
 */
#ifndef UART_TASK_H
#define UART_TASK_H

#define UART_TASK_USER_DATA	0	/* of the region */

enum {
	UART_TASK_CHANNEL_FD = 3,	/* of kvm.ko's making, or a socket */
	UART_TASK_IRQ_FD,		/* eventfd that pulses the interrupt */
	/*
	 * When it gets SIGTERM, or the channel comes to its end, the task writes
	 * its counters here, one name=value to a line, and exits. It is born
	 * with SIGTERM blocked.
	 */
	UART_TASK_REPORT_FD,
	UART_TASK_NR_FDS
};

#endif /* UART_TASK_H */
