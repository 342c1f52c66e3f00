/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtqueue of vhost.c's, in user space: what a backend calls, and a copy of its state
 *
 * The parts of the ring are in user.byte, and each has pages of guest memory of its own, so
 * that the dirty log tells them apart; a page ends after the first descriptor, and in the first
 * used element. The other regions are for data, which vhost does not touch: there is nothing at
 * their addresses.
 */
#ifndef VQ_H
#define VQ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include "user_memory.h"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x)	(sizeof(x) / sizeof((x)[0]))
#endif

#define RING_MAX	8
/* Offsets in user.byte */
#define DESC_AT		0
#define DRIVER_AT	256
#define DEVICE_AT	512
#define TABLES_AT	1024
#define TABLE_DESCS	8
/* The last table is in a region of its own, which is elsewhere for us. */
#define TABLE_LAST	(RING_MAX - 1)
#define TABLE_GAP	64

/* Guest-physical addresses; those of the ring with an IOTLB, too */
#define DESC_GPA	0x101ff0ULL
#define DRIVER_GPA	0x104000ULL
#define DEVICE_GPA	0x105ff8ULL
#define TABLES_GPA	0x4000000ULL
/* Two regions, one right after the other for the guest, but not for us */
#define DATA_GPA	0x200000ULL
#define DATA_SIZE	0x100ULL
#define FAR_GPA		(DATA_GPA + DATA_SIZE)
#define FAR_SIZE	0x100ULL
/* With an IOTLB, a region that may be read only */
#define CONST_GPA	0x300000ULL
#define CONST_SIZE	0x100ULL
/* Larger than the largest indirect table, and right after those that can be read */
#define LARGE_GPA	(TABLES_GPA + RING_MAX * TABLE_DESCS * 16)
#define LARGE_SIZE	0x400000ULL

#define DATA_HVA	0x70000000000ULL
#define FAR_HVA		0x50000000000ULL
#define CONST_HVA	0x40000000000ULL
#define LARGE_HVA	0x30000000000ULL

/* Where the dirty log is for vhost, and for us */
#define VQ_LOG		0x600000000ULL
#define VQ_LOG_SIZE	4096
extern unsigned char vq_log[VQ_LOG_SIZE];

struct vq_config {
	bool packed, in_order, event_idx;
	bool iotlb;		/* the rings are behind an IOTLB */
	bool log;		/* dirty logging */
	unsigned int num;
	bool no_base;		/* none is set */
	/* one part is otherwise in the IOTLB: with other rights, or in two from some offset on */
	bool odd;
	enum user_part odd_part;
	unsigned int odd_rights, odd_split;
	uint32_t base;		/* for VHOST_SET_VRING_BASE */
};

#define VQ_IOV 16

/* A buffer, as vhost_get_vq_desc() returns it */
struct vq_buffer {
	int ret;
	unsigned int out, in;
	struct iovec iov[VQ_IOV];
	unsigned int logs;
	struct {
		uint64_t addr, len;
	} log[VQ_IOV];
};

/* Some of what vhost knows */
struct vq_view {
	uint16_t last_avail, last_used;
	uint32_t outstanding, discarded;
	/* descriptors that have been read and not been fetched */
	uint32_t prefetched;
	/* the region that was found last */
	uint64_t map_start, map_size;
};

/* A copy of all of it; only a prefetch of up to RING_MAX descriptors is possible. */
struct vq_copy {
	unsigned char state[512];
};

/* A virtqueue without a backend, the only one. Returns 0 or a negative errno. */
int vq_setup(const struct vq_config *config);
/* Give it a backend, or take it away. */
int vq_start(void);
void vq_stop(void);
bool vq_has_backend(void);

/* ioctls of VHOST_SET_VRING_* and VHOST_GET_VRING_BASE */
long vq_set_num(unsigned int num);
long vq_set_addr(uint64_t desc, uint64_t driver, uint64_t device);
long vq_set_base(uint32_t base);
uint32_t vq_get_base(void);
/* VHOST_SET_MEM_TABLE; and the VMM sets up an IOTLB. Until vq_setup(), data is nowhere. */
long vq_set_memory(void);
int vq_set_iotlb(void);
/* VHOST_SET_FEATURES, without VIRTIO_F_RING_PACKED */
void vq_become_split(void);
/* There is another virtqueue, which is not used. Give it a backend, or take it away. */
void vq_start_other(bool start);
/* VHOST_SET_FEATURES of vhost-test */
int vq_check_features(uint64_t features);
/* The parameters of the module; what VHOST_GET_FEATURES has for them */
void vq_offer(bool packed, bool in_order);
uint64_t vq_offered(void);

/* What backends call. Heads are those of vq_buffer.ret. */
void vq_get(struct vq_buffer *buffer, unsigned int iov_size, bool log);
void vq_discard(const int *heads, unsigned int n);
int vq_add_used(const int *heads, const uint32_t *lens, unsigned int n);
bool vq_signal(void);		/* was the driver notified? */
void vq_signal_nobody(void);	/* there is no eventfd */
bool vq_avail_empty(void);
bool vq_enable_notify(void);
void vq_disable_notify(void);
bool vq_meta_prefetched(void);

/* Set the region that was found last, or forget it */
void vq_map(bool known);

struct vq_view vq_view(void);
unsigned long vq_errors(void);	/* signals of the error eventfd, since vq_start() or vq_restore() */
void vq_forget_errors(void);
/* Since the last call: signals of the dirty log's eventfd, and searches for a region */
unsigned long vq_log_signals(void);
unsigned long vq_searches(void);
/* Allocations that there are; and whether the next one fails */
unsigned long vq_allocations(void);
void vq_no_memory(bool fails);
unsigned long vq_misses(void);	/* translations that were asked for, since the last call */
void vq_save(struct vq_copy *copy);
void vq_restore(const struct vq_copy *copy);
/* The state without copies of what is in memory, or with them. Returns its size. */
size_t vq_state(unsigned char *state, bool with_copies);

/* The handle of a packed buffer: returns it, and what is in it */
int vq_handle(unsigned int num, uint16_t id, unsigned int descs, uint16_t *id_back,
	      unsigned int *descs_back);

/* Where the indirect table number @at is in user.byte */
static inline size_t table_hva_offset(unsigned int at)
{
	return TABLES_AT + at * TABLE_DESCS * sizeof(struct vring_desc) +
		(at == TABLE_LAST ? TABLE_GAP : 0);
}

#endif /* VQ_H */
