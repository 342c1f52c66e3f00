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
 * The descriptor is that of a native channel, which KVM_CREATE_IOREGIONFD made, or an
 * AF_UNIX socket of type SOCK_SEQPACKET. For io_uring see ioregionfd_uring.h. The first
 * functions below are for the VMM. The terms are those of the glossary in
 * Documentation/virt/kvm/ioregionfd.rst.
 *
 * A function that fails returns a negative errno value; errno itself is undefined
 * afterwards. Several threads may call functions for the same task at once, unless the
 * description of a function says otherwise.
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
 * ioregionfd_create() - make a native channel
 * @vm_fd: file descriptor of the VM. Or that of /dev/kvm: the channel is then for the VM of
 *	the first ioregionfd_add_region() that succeeds with it
 * @args: how many mailboxes it has, one for each vCPU id below that number, and how many
 *	posted writes can wait
 *
 * The channel fails when the last copy of its descriptor is closed. So a VMM keeps one if
 * it wants to be able to replace the device task.
 *
 * Return: a file descriptor, close-on-exec, or the negative error of
 * KVM_CREATE_IOREGIONFD. A kernel that does not have that ioctl returns -ENOTTY or -EINVAL:
 * KVM_CHECK_EXTENSION(KVM_CAP_CREATE_IOREGIONFD) tells, with 0.
 */
int ioregionfd_create(int vm_fd, const struct kvm_create_ioregionfd *args);

/**
 * ioregionfd_add_region() - hand a range of guest addresses to a device task
 * @vm_fd: file descriptor of the VM
 * @region: the range, its user_data, and the channel as read_fd and write_fd; without
 *	KVM_IOREGION_DEASSIGN
 *
 * Return: 0, or the negative error of KVM_SET_IOREGIONFD; -EINVAL if KVM_IOREGION_DEASSIGN
 * is set. A kernel that does not have that ioctl returns -ENOTTY or -EINVAL:
 * KVM_CHECK_EXTENSION(KVM_CAP_IOREGIONFD) tells, with 0.
 */
int ioregionfd_add_region(int vm_fd, const struct kvm_ioregionfd *region);

/**
 * ioregionfd_remove_region() - take a range away from its device task
 * @vm_fd: file descriptor of the VM
 * @region: as it was added; only guest_paddr, memory_size and KVM_IOREGION_PIO
 *	in flags matter
 *
 * After this returns no new command for the region begins. Posted writes that are in the
 * ring of a native channel are still delivered.
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
 * Return: 0, or a negative error of sendmsg(), such as -EPIPE; -EINTR if a signal came
 * before the socket had room; or -EAGAIN if the socket is non-blocking and has no room.
 */
int ioregionfd_send_fd(int sock, int fd);

/**
 * ioregionfd_recv_fd() - get a file descriptor from ioregionfd_send_fd()
 * @sock: a connected AF_UNIX socket
 *
 * Return: the descriptor, close-on-exec, or a negative error of recvmsg(). Or
 * -ECONNRESET: the other side has closed the socket; -ENOMSG: the message had no
 * descriptor; -E2BIG: it had several, which are closed again; -EMFILE: this process has
 * too many open files to receive it.
 */
int ioregionfd_recv_fd(int sock);

/* A device task's handle for its channel. */
struct ioregionfd_task;

/* Flag of ioregionfd_open(): replace a device task that is gone. */
#define IOREGIONFD_OPEN_RECOVER	1

/**
 * ioregionfd_open() - become the device task of a channel
 * @task: where to store the handle
 * @read_fd: where commands come from
 * @write_fd: where responses go: the same; or a duplicate of it, if it is a socket
 * @flags: IOREGIONFD_OPEN_RECOVER or 0
 *
 * Finds out whether it is a native channel or a socket. If this succeeds the descriptors
 * belong to the handle; if it fails they are left alone.
 *
 * With IOREGIONFD_OPEN_RECOVER, what another task has fetched from the channel and not
 * completed is redelivered, with IOREGIONFD_CMD_F_REDELIVERED set. Late responses of that
 * task are refused.
 *
 * Return: 0, or a negative error: -EINVAL: the descriptors are neither of these,
 * or an unknown flag; -EOPNOTSUPP: a socket cannot be recovered; -EBADF, -ENOMEM, -EMFILE.
 */
int ioregionfd_open(struct ioregionfd_task **task, int read_fd, int write_fd, unsigned int flags);

/**
 * ioregionfd_close() - stop being a device task
 * @task: the handle, or NULL
 *
 * Closes the file descriptors and frees everything. Completes nothing: what an
 * ioregionfd_request has fetched and not finished is left for another task to recover, if
 * somebody still has the channel. No other function may be running for @task, or be
 * called for it afterwards.
 */
void ioregionfd_close(struct ioregionfd_task *task);

/**
 * struct ioregionfd_ops - what a region does
 * @read: returns the value at @offset, of which the low @size bytes are used. NULL: no
 *	register can be read
 * @write: writes @value, which is zero-extended. NULL: no register can be written
 * @command: called instead of @read and @write if it is not NULL: handles the command as
 *	it came, stores the value of a read in *@value, and returns IOREGIONFD_STATUS_*
 * @abandoned: called for a command that was handled too late: the access has ended without
 *	its response, and the VMM may have it retried. NULL: nothing is called
 *
 * If there is no register (IOREGIONFD_STATUS_UNMAPPED) the guest reads all ones, and its
 * writes are ignored.
 *
 * @offset is from the start of the region, and @size is 1, 2, 4 or 8 bytes. An access
 * lies inside the region if the VMM told the device task the region's true size. The
 * functions are called by the thread that serves, or by several at once if several serve.
 * They may not call ioregionfd_unregister() or ioregionfd_close() for their task.
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
 * @opaque: passed to the functions of @ops
 *
 * May be called while other threads serve.
 *
 * Return: 0, -EEXIST if @user_data is registered already, or -ENOMEM.
 */
int ioregionfd_register(struct ioregionfd_task *task, uint64_t user_data,
			const struct ioregionfd_ops *ops, void *opaque);

/**
 * ioregionfd_unregister() - stop emulating a region
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
 * ioregionfd_set_unknown() - be told of commands for regions that are not registered
 * @task: the handle
 * @unknown: called for each such command; NULL: nothing is called
 * @opaque: passed to @unknown
 *
 * The response to such a command, or to a malformed one, is IOREGIONFD_STATUS_UNMAPPED.
 * May not be called while a thread serves @task.
 */
void ioregionfd_set_unknown(struct ioregionfd_task *task,
			    void (*unknown)(void *opaque, const struct ioregionfd_cmd *cmd),
			    void *opaque);

/**
 * ioregionfd_unknown_count() - how many commands were for regions that are not registered
 * @task: the handle
 *
 * Return: the number since ioregionfd_open().
 */
uint64_t ioregionfd_unknown_count(const struct ioregionfd_task *task);

/**
 * enum ioregionfd_mode - what a thread does when there is no command
 * @IOREGIONFD_SLEEP: it sleeps; one system call completes a command and fetches the next
 * @IOREGIONFD_POLL: it polls the mapping; there are no system calls as long as the vCPU
 *	spins, and one CPU is always busy
 * @IOREGIONFD_ADAPTIVE: it polls for a while and then sleeps. The polling window doubles
 *	after a sleep that was shorter than the poll limit, and halves after a longer one
 *
 * On a socket a thread always sleeps.
 */
enum ioregionfd_mode {
	IOREGIONFD_SLEEP,
	IOREGIONFD_POLL,
	IOREGIONFD_ADAPTIVE,
};

/**
 * ioregionfd_set_poll_limit() - limit the polling of IOREGIONFD_ADAPTIVE
 * @task: the handle
 * @ns: longest time without a command before a thread sleeps, in nanoseconds;
 *	0: sleep at once. The default is 200000
 *
 * Takes effect for calls of ioregionfd_run() that begin later.
 */
void ioregionfd_set_poll_limit(struct ioregionfd_task *task, uint64_t ns);

/**
 * ioregionfd_run() - serve commands
 * @task: the handle
 * @mode: what to do when there is none
 * @vcpu: the id of the vCPU to serve, or IOREGIONFD_ANY. Must be IOREGIONFD_ANY on sockets
 *
 * Several threads may run this for the same task, each with its own mode and vCPU. Handlers
 * then run at the same time for different vCPUs, while the commands of one vCPU are
 * handled one after the other, and so are all posted writes. On a socket, where commands
 * come one by one, one thread serves at a time.
 *
 * Any thread handles posted writes, even one that serves a single vCPU. While a thread
 * that polls is in a handler, no sleeping thread is woken for commands that the polling one
 * will look at next.
 *
 * Signals do not end this, unless the signal handler calls ioregionfd_stop(). Whatever has
 * been handled is completed before this returns, if that is possible. No SIGPIPE is raised.
 *
 * Return: 0 when the VM is gone, when the other side has hung up, or after
 * ioregionfd_stop(). Otherwise a negative error: -EINVAL: @vcpu or @mode is wrong; -ESTALE:
 * another task has recovered the channel; -EPROTO: something other than a command came
 * from the socket; or an error of the file descriptors.
 */
int ioregionfd_run(struct ioregionfd_task *task, enum ioregionfd_mode mode, uint32_t vcpu);

/**
 * ioregionfd_stop() - end ioregionfd_run()
 * @task: the handle
 *
 * Makes all calls that are under way return after the handler that they are in, and later
 * calls return at once, until ioregionfd_restart(). May be called by any thread and by
 * signal handlers. Does not change errno.
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
 * struct ioregionfd_request - serves commands one after the other, asynchronously
 * @fetch: argument of IOREGIONFD_COMMIT_AND_FETCH
 * @task: the handle
 * @fd: of the handle
 *
 * For loops of the caller's own, above all with io_uring: see ioregionfd_uring.h. All
 * members are for the library alone. The struct must not move while the kernel has it, and
 * only one thread at a time may use it.
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
 * To serve several vCPUs at the same time, use as many requests.
 *
 * Return: 0, -EINVAL if there is no such vCPU, -EOPNOTSUPP for sockets.
 */
int ioregionfd_request_init(struct ioregionfd_request *request, struct ioregionfd_task *task,
			    uint32_t vcpu);

/**
 * ioregionfd_request_complete() - handle what a request has fetched
 * @request: the request
 * @res: io_uring_cqe.res: 0, or the negative error of IOREGIONFD_COMMIT_AND_FETCH
 *
 * Calls the handler. The response is sent with the next use of the request, or by
 * ioregionfd_request_finish().
 *
 * Return: 1 if the request is to be used again; 0 if the VM is gone; or a negative
 * error: -ECANCELED: the caller has cancelled it; -ESTALE: another task has recovered the
 * channel; or another @res.
 */
int ioregionfd_request_complete(struct ioregionfd_request *request, int res);

/**
 * ioregionfd_request_finish() - complete a command without fetching another one
 * @request: the request, which the kernel must not have
 *
 * Return: 0, also if there is nothing to complete or the VM is gone; -ESTALE: another task
 * has recovered the channel.
 */
int ioregionfd_request_finish(struct ioregionfd_request *request);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* IOREGIONFD_H */
