/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VMM's side of a device process (device.h): what it keeps for one process after the
 * other, how it starts one and learns of its death, and how the guest's accesses get there.
 * When a process is to be started anew is decided in supervise.c.
 */
#ifndef VMM_DEVICE_H
#define VMM_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/kvm.h>
#include "device.h"
#include "vm.h"

/* How the guest's accesses reach a device process. */
enum vmm_dispatch {
	VMM_DISPATCH_IOREGIONFD,	/* kvm.ko sends commands on a native channel */
	/*
	 * kvm.ko sends them on a socket. What the successor of a dead process gets is
	 * forwarded, because a socket cannot be handed on with what lies in it.
	 */
	VMM_DISPATCH_SOCKET,
	VMM_DISPATCH_FORWARD,		/* they exit to the vCPU's thread, which sends them */
};

/* An access to device memory. */
struct vmm_access {
	uint64_t addr;
	unsigned int size;
	bool is_write;
	bool redelivered;		/* a process may have carried it out already */
	uint64_t data;			/* in or out; all ones if there is no register */
};

struct vmm_device;

/* What kind of device it is, once it has failed for good. Called with the lock held. */
struct vmm_device_ops {
	/* No process will be started any more: tell the guest, as it is told there. */
	void (*failed)(struct vmm_device *dev);
	/* An access to the region with this user_data, at @offset. */
	void (*access)(struct vmm_device *dev, uint64_t user_data, uint64_t offset,
		       struct vmm_access *access);
};

struct vmm_device {
	/*
	 * To be set before vmm_device_create(), and left alone from then on, but for
	 * @program, which is used by vmm_device_spawn().
	 */
	char name[16];
	const char *program;
	const struct vmm_device_ops *ops;
	struct device_args args;	/* but for what vmm_device_create() knows */
	uint32_t virtio_id;
	unsigned int gsi;		/* if there is only one interrupt, and it is no message */
	unsigned int number;		/* among all devices */
	bool is_pci;			/* vmm_device_move() says where it is, and when */
	/*
	 * A posted write tells more than to look at memory, so on a socket, which is lost with
	 * the process, none is posted.
	 */
	bool writes_count;
	int backend_fd;
	struct vmm_vhost *vhost;	/* NULL: the process has the rings */
	struct kvm_ioregionfd regions[DEVICE_MAX_REGIONS];	/* without descriptors */
	unsigned int nr_regions;

	/* Set by vmm_device_create(). */
	enum vmm_dispatch dispatch;
	int vm_fd, memory_fd, state_fd, irq_fd;
	int more_irq_fds[DEVICE_MAX_MORE_IRQS];	/* args.nr_more_irqs of them */
	struct device_state *state;
	/*
	 * A native channel, or this end of a socket pair. A new socket takes the place of
	 * an old one under the same number, which can be used without the lock.
	 */
	int channel;

	pthread_mutex_t access_lock;	/* held from a forwarded command to its response */

	pthread_mutex_t lock;		/* protects all that follows */
	pthread_cond_t changed;		/* when generation or has_failed does */
	pid_t pid;			/* 0: there is no process */
	int pidfd;			/* -1: there is no process */
	int request_fd;			/* from a process whose rings are vhost's, or -1 */
	unsigned int generation;	/* how many processes there have been */
	bool has_failed;
	bool detached;			/* its regions are not, or no longer, kvm.ko's */
	bool absent;			/* they are nowhere */
	uint32_t failed_status, failed_interrupt;	/* for ops */
};

/* Make all that outlives a process. Exits with a message if something fails. */
void vmm_device_create(struct vmm_device *dev, const struct vm *vm, enum vmm_dispatch dispatch);

/*
 * Start a process. There must be none: @dev->pid is 0. Returns 0 or a negative errno value.
 * That the program cannot be executed is seen when the process exits with status 127.
 */
int vmm_device_spawn(struct vmm_device *dev);

/*
 * To be called when @dev->pidfd is readable: the process has died. Returns its status, as
 * of waitpid().
 */
int vmm_device_reap(struct vmm_device *dev);

/* SIGKILL, if there is a process. */
void vmm_device_kill(struct vmm_device *dev);

/*
 * Of a PCI function: its registers are at @addr from now on, or nowhere if that is 0. The
 * user_data of its regions is where in the registers they begin. Returns 0 or a negative
 * errno value, and then they are nowhere.
 */
int vmm_device_move(struct vmm_device *dev, uint64_t addr);

/*
 * There will be no process any more; the VM goes on without. There must be none, and no vhost
 * that still uses the guest's memory: the driver may take it back.
 */
void vmm_device_fail(struct vmm_device *dev);

/*
 * Carry out an access that came to the VMM. Waits for the response, and for a fresh process
 * if the one that has the command dies. False: run_stop_requested() has ended the wait.
 */
bool vmm_device_access(struct vmm_device *dev, struct vmm_access *access);

/*
 * kvm.ko reports that an access has failed: carry it out in another way. As above, and
 * @failure->action and @failure->data are set.
 */
bool vmm_device_failure(struct vmm_device *dev, struct kvm_ioregionfd_exit *failure);

/* The device that has @addr, or NULL */
struct vmm_device *vmm_device_at(struct vmm_device *devs, unsigned int nr, uint64_t addr);

#endif /* VMM_DEVICE_H */
