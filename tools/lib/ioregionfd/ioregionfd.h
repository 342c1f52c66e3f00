/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-3-Clause */
/*
 * libioregionfd: device tasks for KVM's ioregionfd.
 *
 * A device task opens a handle on the file descriptor that the VMM gave it,
 * registers handlers for the regions that it emulates, and serves:
 *
 *	ioregionfd_open(&task, fd, fd, 0);
 *	ioregionfd_register(task, user_data, &ops, opaque);
 *	ioregionfd_run(task, IOREGIONFD_ADAPTIVE, IOREGIONFD_ANY);
 *	ioregionfd_close(task);
 *
 * The descriptor may be one that KVM_CREATE_IOREGIONFD made, or an AF_UNIX socket
 * of type SOCK_SEQPACKET. For io_uring see ioregionfd_uring.h. The first functions below
 * are for the VMM.
 *
 * Functions that can fail return a negative errno value then, and leave errno
 * undefined. Those of the same task may be called by several threads at once
 * unless their description says otherwise.
 */
#ifndef IOREGIONFD_H
#define IOREGIONFD_H

#include <stdint.h>
#include <linux/ioregionfd.h>
#include <linux/kvm_ioregionfd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library hides all symbols but these. */
#pragma GCC visibility push(default)

/**
 * ioregionfd_create() - make a channel for device tasks
 * @vm_fd: file descriptor of the VM; or of /dev/kvm: the channel is for the VM to which
 *	ioregionfd_add_region() adds its first region
 * @args: how many mailboxes, for vCPU ids below that number, and posted writes it is to have
 *
 * The channel fails when the last copy of its descriptor is closed, so a VMM
 * that wants to replace a device task that is gone keeps one.
 *
 * Return: a file descriptor, close-on-exec, or the negative error of
 * KVM_CREATE_IOREGIONFD; -ENOTTY if the kernel does not have that.
 */
int ioregionfd_create(int vm_fd, const struct kvm_create_ioregionfd *args);

/**
 * ioregionfd_add_region() - let a device task serve a range of guest addresses
 * @vm_fd: file descriptor of the VM
 * @region: the range, its user_data, and the channel or socket as read_fd
 *	and write_fd; without KVM_IOREGION_DEASSIGN
 *
 * Return: 0, or the negative error of KVM_SET_IOREGIONFD; -ENOTTY if the kernel
 * does not have that; -EINVAL for KVM_IOREGION_DEASSIGN.
 */
int ioregionfd_add_region(int vm_fd, const struct kvm_ioregionfd *region);

/**
 * ioregionfd_remove_region() - take a range away from its device task
 * @vm_fd: file descriptor of the VM
 * @region: as it was added; only guest_paddr, memory_size and KVM_IOREGION_PIO
 *	in flags matter
 *
 * When this returns, no command for the region is begun any more.
 *
 * Return: 0, or the negative error of KVM_SET_IOREGIONFD, -ENOENT if there is no
 * such region.
 */
int ioregionfd_remove_region(int vm_fd, const struct kvm_ioregionfd *region);

/**
 * ioregionfd_send_fd() - give a file descriptor to another process
 * @sock: a connected AF_UNIX socket
 * @fd: the descriptor, of which the other process gets a copy
 *
 * Sends one byte along with it. Raises no SIGPIPE.
 *
 * Return: 0 or a negative error of sendmsg(), such as -EPIPE, -EINTR if a signal
 * came before the socket had room, or -EAGAIN if it is non-blocking.
 */
int ioregionfd_send_fd(int sock, int fd);

/**
 * ioregionfd_recv_fd() - get a file descriptor from ioregionfd_send_fd()
 * @sock: a connected AF_UNIX socket
 *
 * Return: the descriptor, close-on-exec, or a negative error of recvmsg(), and:
 * -ECONNRESET: the other side has closed the socket; -ENOMSG: a message without
 * a descriptor; -E2BIG: one with several, all closed again; -EMFILE: this process
 * has too many open files to receive it.
 */
int ioregionfd_recv_fd(int sock);

/* A device task's handle on its file descriptors. */
struct ioregionfd_task;

/* Flag of ioregionfd_open(): replace a device task that is gone. */
#define IOREGIONFD_OPEN_RECOVER	1

/**
 * ioregionfd_open() - begin to be a device task
 * @task: where to store the handle
 * @read_fd: where commands come from
 * @write_fd: where answers go to: the same, or a duplicate of it
 * @flags: IOREGIONFD_OPEN_RECOVER or 0
 *
 * Finds out by itself whether it is a channel of KVM_CREATE_IOREGIONFD or a socket.
 * The descriptors belong to the handle if this succeeds, and are left alone if it
 * fails.
 *
 * With IOREGIONFD_OPEN_RECOVER, what another task has fetched from the channel and not
 * completed is delivered again, with IOREGIONFD_CMD_F_REDELIVERED; responses that the
 * other task still gives are refused.
 *
 * Return: 0, or a negative error: -EINVAL: the descriptors are neither of these,
 * or an unknown flag; -EOPNOTSUPP: nothing can be taken over from a socket;
 * -ENODEV: the VM is gone; -EBADF, -ENOMEM, -EMFILE.
 */
int ioregionfd_open(struct ioregionfd_task **task, int read_fd, int write_fd, unsigned int flags);

/**
 * ioregionfd_close() - end being a device task
 * @task: the handle, or NULL
 *
 * Closes the file descriptors and frees everything. Answers nothing: what was
 * taken by an ioregionfd_request and not finished is left for another task to
 * take over, if somebody still has the channel. No other function may be running
 * on @task or be called any more.
 */
void ioregionfd_close(struct ioregionfd_task *task);

/**
 * struct ioregionfd_ops - what a region does
 * @read: returns what is read at @offset, of which the low @size bytes count;
 *	NULL: no register can be read
 * @write: takes what is written, zero-extended; NULL: no register can be written
 * @command: instead of @read and @write, if not NULL: gets the command as it came.
 *	Stores what is read in *@value, and returns IOREGIONFD_STATUS_*
 * @abandoned: told of a command that has been handled, but too late: the access has ended
 *	without its response, and what it has done may be asked for again. NULL: it does
 *	not matter
 *
 * Where there is no register (IOREGIONFD_STATUS_UNMAPPED) the guest reads all ones, and what
 * it writes is ignored.
 *
 * @offset is from the start of the region and @size 1, 2, 4 or 8 bytes; an access
 * lies inside the region if the VMM told its true size. The functions are called
 * by the thread that serves, by several at once if several do. They may not call
 * ioregionfd_unregister() or ioregionfd_close() of their task.
 */
struct ioregionfd_ops {
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned int size);
	void (*write)(void *opaque, uint64_t offset, unsigned int size, uint64_t value);
	uint16_t (*command)(void *opaque, const struct ioregionfd_cmd *cmd, uint64_t *value);
	void (*abandoned)(void *opaque, const struct ioregionfd_cmd *cmd);
};

/**
 * ioregionfd_register() - emulate a region
 * @task: the handle
 * @user_data: what the VMM gave as the region's user_data
 * @ops: what it does; must stay valid
 * @opaque: for @ops
 *
 * May be called while other threads serve.
 *
 * Return: 0, -EEXIST if @user_data is registered already, or -ENOMEM.
 */
int ioregionfd_register(struct ioregionfd_task *task, uint64_t user_data,
			const struct ioregionfd_ops *ops, void *opaque);

/**
 * ioregionfd_unregister() - emulate a region no longer
 * @task: the handle
 * @user_data: as registered
 *
 * May not be called while a thread is in ioregionfd_run() or
 * ioregionfd_request_complete() for @task.
 *
 * Return: 0, or -ENOENT if there is no such region.
 */
int ioregionfd_unregister(struct ioregionfd_task *task, uint64_t user_data);

/**
 * ioregionfd_set_unknown() - be told of commands that nothing is registered for
 * @task: the handle
 * @unknown: called for each such command; NULL: none
 * @opaque: for @unknown
 *
 * The response to such a command, or one that is malformed, is
 * IOREGIONFD_STATUS_UNMAPPED. May not be
 * called while a thread serves @task.
 */
void ioregionfd_set_unknown(struct ioregionfd_task *task,
			    void (*unknown)(void *opaque, const struct ioregionfd_cmd *cmd),
			    void *opaque);

/**
 * ioregionfd_unknown_count() - how many commands nothing was registered for
 * @task: the handle
 *
 * Return: the number since ioregionfd_open().
 */
uint64_t ioregionfd_unknown_count(const struct ioregionfd_task *task);

/**
 * enum ioregionfd_mode - what a thread does when there is no command
 * @IOREGIONFD_SLEEP: it sleeps; one system call answers a command and gets the next
 * @IOREGIONFD_POLL: it looks again; no system calls as long as the vCPU does the
 *	same, and one CPU always busy
 * @IOREGIONFD_ADAPTIVE: it looks again for a while, then sleeps. The while grows
 *	when sleeps turn out short and shrinks when they turn out long
 *
 * Sockets are always slept on.
 */
enum ioregionfd_mode {
	IOREGIONFD_SLEEP,
	IOREGIONFD_POLL,
	IOREGIONFD_ADAPTIVE,
};

/**
 * ioregionfd_set_poll_limit() - bound the polling of IOREGIONFD_ADAPTIVE
 * @task: the handle
 * @ns: longest time without a command before a thread sleeps, in nanoseconds;
 *	0: sleep at once. It is 200000 if not set
 *
 * For calls of ioregionfd_run() that begin later.
 */
void ioregionfd_set_poll_limit(struct ioregionfd_task *task, uint64_t ns);

/**
 * ioregionfd_run() - serve commands
 * @task: the handle
 * @mode: what to do when there is none
 * @vcpu: whose: the id of a vCPU, or IOREGIONFD_ANY. Must be IOREGIONFD_ANY on sockets
 *
 * Several threads may be in here for the same task, with modes and vCPUs of their
 * own. Two handlers then run at the same time for different vCPUs, while the
 * commands of one vCPU, and all posted writes, are handled one after the other.
 * On a socket, where commands come one by one, one thread serves at a time.
 *
 * Posted writes are handled by any thread, also if that is to serve one vCPU. While
 * a thread that polls is in a handler, none that sleeps is woken for what it will look
 * at next.
 *
 * Signals do not end this, unless the handler calls ioregionfd_stop(). What has been
 * handled is answered before it returns, unless that is not possible. No SIGPIPE is raised.
 *
 * Return: 0 when the VM is gone, the other side has hung up, or after
 * ioregionfd_stop(). Else a negative error: -EINVAL: @vcpu or @mode; -ESTALE: another
 * task has taken over; -EPROTO: the socket brought something that is no command; or
 * one of the descriptors' own.
 */
int ioregionfd_run(struct ioregionfd_task *task, enum ioregionfd_mode mode, uint32_t vcpu);

/**
 * ioregionfd_stop() - end ioregionfd_run()
 * @task: the handle
 *
 * Makes all calls that are under way return after the handler they are in, and all
 * later ones at once, until ioregionfd_restart(). May be called by any thread and by
 * signal handlers; leaves errno alone.
 */
void ioregionfd_stop(struct ioregionfd_task *task);

/**
 * ioregionfd_restart() - undo ioregionfd_stop()
 * @task: the handle
 *
 * May not be called while a thread is in ioregionfd_run() or ioregionfd_stop().
 */
void ioregionfd_restart(struct ioregionfd_task *task);

/**
 * struct ioregionfd_request - commands served one after the other, asynchronously
 * @fetch: what the kernel is asked, and answers
 * @task: the handle
 * @fd: of the handle
 *
 * For loops of the caller's own, above all io_uring: see ioregionfd_uring.h. All
 * members are the library's. It must stay where it is while the kernel has it; it
 * may then be used by one thread at a time.
 */
struct ioregionfd_request {
	struct ioregionfd_fetch fetch;
	struct ioregionfd_task *task;
	int fd;
};

/**
 * ioregionfd_request_init() - prepare to serve asynchronously
 * @request: what to initialize
 * @task: the handle
 * @vcpu: as for ioregionfd_run()
 *
 * To serve several vCPUs at the same time takes as many requests.
 *
 * Return: 0, -EINVAL if there is no such vCPU, -EOPNOTSUPP for sockets.
 */
int ioregionfd_request_init(struct ioregionfd_request *request, struct ioregionfd_task *task,
			    uint32_t vcpu);

/**
 * ioregionfd_request_complete() - handle what a request has brought
 * @request: the request
 * @res: 0 or the negative error that IOREGIONFD_COMMIT_AND_FETCH ended with: io_uring_cqe.res
 *
 * Calls the handler. The answer goes out with the next use of the request, or
 * ioregionfd_request_finish().
 *
 * Return: 1 if the request is to be used again; 0 if the VM is gone; or a negative
 * error: -ECANCELED: the caller has cancelled it; -ESTALE: another task has
 * taken over; or another @res.
 */
int ioregionfd_request_complete(struct ioregionfd_request *request, int res);

/**
 * ioregionfd_request_finish() - answer without asking for another command
 * @request: the request, which the kernel must not have
 *
 * Return: 0, also if there is nothing to answer or the VM is gone; -ESTALE: another task
 * has taken over.
 */
int ioregionfd_request_finish(struct ioregionfd_request *request);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* IOREGIONFD_H */
