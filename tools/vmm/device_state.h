/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory in which the state of a device outlives the process that emulates it. The
 * VMM makes it (a memfd), keeps it, and gives it to one process after the other.
 *
 * What it has to stand: SIGKILL between any two instructions. Whatever instructions came
 * before that have taken effect on memory, and no others, because the kernel orders the
 * death of a process before the start of the next one. So the order in which the process
 * stores is all that counts, and state_store() keeps the compiler from changing it. No
 * two variables change together: where two have to agree, the comment at the variable
 * says which one is stored first, and what is made of it if the second never came.
 *
 * The VMM believes nothing in here, and a process believes only struct device_args, which
 * the VMM writes anew before each start. All else may have been left behind by a process
 * that the guest controlled, so whoever takes it up checks it first.
 */
#ifndef DEVICE_STATE_H
#define DEVICE_STATE_H

#include <stdint.h>
#include "example_device.h"
#include "nvme_state.h"

#define DEVICE_STATE_VERSION	3

#define DEVICE_MAX_REGIONS	4	/* of guest memory */
#define DEVICE_MAX_QUEUES	4
#define VIRTQUEUE_MAX_SIZE	256

/*
 * A signal fence is what this takes: it orders nothing between CPUs, and does not let the
 * compiler move a store to the other side.
 */
#define state_store(p, value)					\
	do {							\
		__atomic_signal_fence(__ATOMIC_SEQ_CST);	\
		__atomic_store_n(p, value, __ATOMIC_RELAXED);	\
		__atomic_signal_fence(__ATOMIC_SEQ_CST);	\
	} while (0)

struct memory_region {
	uint64_t guest_addr;
	uint64_t size;
	uint64_t offset;		/* in the memfd of guest memory */
};

/* device_args.flags */
#define DEVICE_READ_ONLY	1	/* the image may not be changed */
/* How to wait for accesses; with neither, poll for a while and then sleep */
#define DEVICE_SLEEP		2
#define DEVICE_POLL		4

/* Given by the VMM with each start. */
struct device_args {
	uint32_t version;		/* DEVICE_STATE_VERSION */
	uint32_t flags;
	uint64_t features;		/* virtio features that the device may offer */
	uint32_t id;			/* user and group to become, if started as root */
	uint32_t nr_queues;
	uint32_t nr_regions;
	uint32_t kill_after;		/* tests only, see kill_point.h */
	uint32_t nr_more_irqs;		/* see DEVICE_NR_FDS */
	uint32_t pad;
	struct memory_region regions[DEVICE_MAX_REGIONS];
	uint64_t cid;			/* of the guest: virtio-vsock */
	char serial[20];		/* padded with 0 */
	uint8_t mac[6];			/* virtio-net */
	uint16_t mtu;			/* virtio-net; 0: it is not known */
};

/* What the driver sees as registers, see virtio_mmio.c. */
struct virtio_mmio_state {
	/*
	 * DEVICE_STATE_VERSION; stored last when all this is initialized. While it is 0
	 * there is nothing to take up. If it is another version the driver has to reset.
	 */
	uint32_t version;
	uint32_t status;
	uint32_t interrupt_status;
	uint32_t device_features_sel;
	uint32_t driver_features_sel;
	uint32_t queue_sel;
	uint64_t driver_features;
};

/*
 * Where a virtqueue stands. A position counts buffers modulo 2^16 (split), or is the
 * number of a descriptor, with the wrap counter in bit 15 (packed).
 */
struct virtqueue_state {
	uint32_t num;
	uint32_t ready;			/* stored after the other members, cleared before them */
	uint64_t desc, driver, device;	/* guest addresses of the three areas */
	/*
	 * Of the next buffer to fetch; stored after the request is VIRTQUEUE_FETCHED. If
	 * it is the position of such a request, it is one behind.
	 */
	uint16_t avail;
	/*
	 * Of the next used element, and what it is to be after it. They differ while one is
	 * being written: used_next is stored before that, used after it. The ring itself
	 * says then whether the element is there.
	 */
	uint16_t used;
	uint16_t used_next;
	uint16_t pad;
	uint64_t fetched;		/* how many requests so far, stored before avail */
	uint64_t used_elements;		/* for people, and not exact */
};

enum virtqueue_request_state {
	VIRTQUEUE_FREE,
	VIRTQUEUE_FETCHED,	/* being carried out */
	VIRTQUEUE_DONE,		/* carried out, but its used element is not there yet */
	VIRTQUEUE_PUBLISHING,	/* its used element may be there, or that of a later one */
};

struct virtqueue_segment {
	uint64_t addr;
	uint32_t len;
	uint32_t pad;
};

/* A buffer that has been fetched. Only @state and @used_len change after that. */
struct virtqueue_request {
	uint32_t state;			/* stored after the other members */
	uint32_t used_len;		/* bytes written, once it is VIRTQUEUE_DONE */
	uint64_t order;			/* virtqueue_state.fetched when it was fetched */
	uint16_t position;
	uint16_t id;			/* for the used element */
	uint16_t nr_slots;		/* descriptors of the ring that it takes */
	uint16_t nr_readable;		/* segments; those that the device may write follow */
	uint16_t nr_segments;
	uint16_t pad[3];
	struct virtqueue_segment segments[VIRTQUEUE_MAX_SIZE];
};

/* What processes of this device have done so far: for people, and not exact. */
struct device_counts {
	uint64_t reads, writes;			/* accesses */
	uint64_t requests, used_elements;	/* of virtqueues before their last reset */
};

struct device_state {
	struct device_args args;
	struct device_counts counts;
	struct virtio_mmio_state mmio;
	struct virtqueue_state queues[DEVICE_MAX_QUEUES];
	/* Pages of it that no device ever needed take no memory. */
	struct virtqueue_request requests[DEVICE_MAX_QUEUES][VIRTQUEUE_MAX_SIZE];
	struct nvme_state nvme;
	struct example_state example;
};

#endif /* DEVICE_STATE_H */
