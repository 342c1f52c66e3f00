/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VMM's side of the UART: starts the device task, connects it to the guest
 * in one of three ways, and collects its counters at the end. The UART itself is in
 * uart16550.c, and uart-task.c is the device task.
 */
#ifndef UART_H
#define UART_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include "vm.h"

enum uart_path {
	UART_IOREGIONFD,	/* kvm.ko sends commands on a native channel */
	UART_SOCKET,		/* kvm.ko sends them on a socket */
	UART_FORWARD,		/* the vCPU thread sends them on a socket, after an exit */
};

struct uart {
	enum uart_path path;
	pid_t pid;
	pthread_mutex_t lock;	/* UART_FORWARD: for a command and its response */
	int socket;		/* UART_FORWARD: one end; the device task has the other */
	int report;
	uint64_t exits;		/* KVM_RUN returns for an address of the UART */
};

/* @program is the device task. Exits with a message if something fails. */
void uart_start(struct uart *uart, struct vm *vm, enum uart_path path,
		const char *program);

/*
 * Let the device task carry out an access to the port UART_PORT + @offset.
 * Returns false if there is no response, after a message that says why, or if
 * run_stop_requested() has ended the wait.
 */
bool uart_forward(struct uart *uart, unsigned int offset, unsigned int size,
		  bool is_write, void *data);

/*
 * End the device task and copy its counters to @stats, if that is not NULL.
 * Returns false if the task did not exit with status 0.
 */
bool uart_stop(struct uart *uart, struct vm *vm, FILE *stats);

#endif /* UART_H */
