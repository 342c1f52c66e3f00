/* SPDX-License-Identifier: GPL-2.0-only */
/* The files of a VDUSE device: creation and end, the driver's memory, messages */
#ifndef VIRTIO_TEST_VDUSE_VDUSE_H
#define VIRTIO_TEST_VDUSE_VDUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/vduse.h>

struct vduse_mapping {
	uint64_t start, last;	/* I/O virtual addresses */
	uint8_t perm;		/* VDUSE_ACCESS_... */
	void *address;
	struct vduse_mapping *next;
};

struct vduse {
	int control, fd;
	char name[VDUSE_NAME_MAX];
	struct vduse_mapping *mappings;
};

struct vduse_setup {
	const char *name;
	uint32_t device_id;
	uint64_t features;
	unsigned int queues, queue_size;
	const void *config;
	size_t config_size;
};

/* These functions end the program with a message if the kernel reports an error. */
void vduse_create(struct vduse *vduse, const struct vduse_setup *setup);
void vduse_destroy(struct vduse *vduse);
uint64_t vduse_features(struct vduse *vduse);
struct vduse_vq_info vduse_queue_info(struct vduse *vduse, unsigned int index);
void vduse_set_kick(struct vduse *vduse, unsigned int index, int eventfd);
bool vduse_read(struct vduse *vduse, struct vduse_dev_request *request);
void vduse_answer(struct vduse *vduse, const struct vduse_dev_response *response);

/* Returns false if the kernel has not processed DRIVER_OK yet. */
bool vduse_interrupt(struct vduse *vduse, unsigned int index);

/* The driver's memory, valid until it is unmapped. Returns NULL if it is not in one region. */
void *vduse_at(void *vduse, uint64_t iova, uint64_t len);
void vduse_unmap(struct vduse *vduse, uint64_t start, uint64_t last);

/* The region that contains an address, or NULL */
const struct vduse_mapping *vduse_mapping(struct vduse *vduse, uint64_t iova);

/* Map everything at other addresses. Returns the old mappings, which stay valid. */
struct vduse_mapping *vduse_map_anew(struct vduse *vduse);
void vduse_free(struct vduse_mapping *mappings);

#endif
