// SPDX-License-Identifier: GPL-2.0-only
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "vduse.h"

void vduse_create(struct vduse *vduse, const struct vduse_setup *setup)
{
	struct vduse_dev_config *config = calloc(1, sizeof(*config) + setup->config_size);
	char path[VDUSE_NAME_MAX + 16];
	uint64_t version = VDUSE_API_VERSION;

	if (!config)
		err(1, "device configuration");
	memset(vduse, 0, sizeof(*vduse));
	snprintf(vduse->name, sizeof(vduse->name), "%s", setup->name);
	vduse->control = open("/dev/vduse/control", O_RDWR | O_CLOEXEC);
	if (vduse->control < 0)
		err(1, "/dev/vduse/control");
	if (ioctl(vduse->control, VDUSE_SET_API_VERSION, &version))
		err(1, "VDUSE_SET_API_VERSION %lu", version);

	memcpy(config->name, vduse->name, sizeof(config->name));
	config->device_id = setup->device_id;
	config->features = setup->features;
	config->vq_num = setup->queues;
	config->vq_align = sysconf(_SC_PAGESIZE);
	config->config_size = setup->config_size;
	memcpy(config->config, setup->config, setup->config_size);
	if (ioctl(vduse->control, VDUSE_CREATE_DEV, config))
		err(1, "VDUSE_CREATE_DEV %s", vduse->name);
	free(config);

	snprintf(path, sizeof(path), "/dev/vduse/%s", vduse->name);
	vduse->fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (vduse->fd < 0)
		err(1, "%s", path);
	for (unsigned int i = 0; i < setup->queues; i++) {
		struct vduse_vq_config queue = { .index = i, .max_size = setup->queue_size };

		if (ioctl(vduse->fd, VDUSE_VQ_SETUP, &queue))
			err(1, "VDUSE_VQ_SETUP %u", i);
	}
}

void vduse_destroy(struct vduse *vduse)
{
	vduse_unmap(vduse, 0, UINT64_MAX);
	close(vduse->fd);
	if (ioctl(vduse->control, VDUSE_DESTROY_DEV, vduse->name))
		err(1, "VDUSE_DESTROY_DEV %s", vduse->name);
	close(vduse->control);
}

uint64_t vduse_features(struct vduse *vduse)
{
	uint64_t features;

	if (ioctl(vduse->fd, VDUSE_DEV_GET_FEATURES, &features))
		err(1, "VDUSE_DEV_GET_FEATURES");
	return features;
}

struct vduse_vq_info vduse_queue_info(struct vduse *vduse, unsigned int index)
{
	struct vduse_vq_info info = { .index = index };

	if (ioctl(vduse->fd, VDUSE_VQ_GET_INFO, &info))
		err(1, "VDUSE_VQ_GET_INFO %u", index);
	return info;
}

void vduse_set_kick(struct vduse *vduse, unsigned int index, int eventfd)
{
	struct vduse_vq_eventfd kick = { .index = index, .fd = eventfd };

	if (ioctl(vduse->fd, VDUSE_VQ_SETUP_KICKFD, &kick))
		err(1, "VDUSE_VQ_SETUP_KICKFD %u", index);
}

bool vduse_read(struct vduse *vduse, struct vduse_dev_request *request)
{
	ssize_t size = read(vduse->fd, request, sizeof(*request));

	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (size != sizeof(*request))
		err(1, "read of a VDUSE message: %zd bytes", size);
	return true;
}

void vduse_answer(struct vduse *vduse, const struct vduse_dev_response *response)
{
	/* The kernel has a timeout, and may have given up on this message. */
	if (write(vduse->fd, response, sizeof(*response)) != sizeof(*response))
		warn("response to a VDUSE message");
}

bool vduse_interrupt(struct vduse *vduse, unsigned int index)
{
	uint32_t queue = index;

	if (!ioctl(vduse->fd, VDUSE_VQ_INJECT_IRQ, &queue))
		return true;
	if (errno != EINVAL)
		err(1, "VDUSE_VQ_INJECT_IRQ %u", index);
	return false;
}

/* The first region that overlaps @start to @last */
static struct vduse_mapping *map(struct vduse *vduse, uint64_t start, uint64_t last)
{
	struct vduse_iotlb_entry entry = { .start = start, .last = last };
	struct vduse_mapping *mapping;
	int fd, prot = 0;

	fd = ioctl(vduse->fd, VDUSE_IOTLB_GET_FD, &entry);
	if (fd < 0) {
		if (errno != EINVAL)
			err(1, "VDUSE_IOTLB_GET_FD 0x%lx", start);
		return NULL;
	}
	if (entry.perm & VDUSE_ACCESS_RO)
		prot |= PROT_READ;
	if (entry.perm & VDUSE_ACCESS_WO)
		prot |= PROT_WRITE;

	mapping = malloc(sizeof(*mapping));
	if (!mapping)
		err(1, "malloc");
	mapping->start = entry.start;
	mapping->last = entry.last;
	mapping->perm = entry.perm;
	mapping->address = mmap(NULL, entry.last - entry.start + 1, prot, MAP_SHARED, fd,
				entry.offset);
	if (mapping->address == MAP_FAILED)
		err(1, "mmap of the driver's memory at 0x%llx", entry.start);
	close(fd);
	mapping->next = vduse->mappings;
	vduse->mappings = mapping;
	return mapping;
}

const struct vduse_mapping *vduse_mapping(struct vduse *vduse, uint64_t iova)
{
	struct vduse_mapping *mapping = vduse->mappings;

	while (mapping && (iova < mapping->start || iova > mapping->last))
		mapping = mapping->next;
	return mapping ?: map(vduse, iova, iova);
}

void *vduse_at(void *vduse, uint64_t iova, uint64_t len)
{
	const struct vduse_mapping *mapping = vduse_mapping(vduse, iova);

	if (!mapping || len - 1 > mapping->last - iova)
		return NULL;
	return mapping->address + (iova - mapping->start);
}

struct vduse_mapping *vduse_map_anew(struct vduse *vduse)
{
	struct vduse_mapping *before = vduse->mappings;
	uint64_t next = 0;

	vduse->mappings = NULL;
	while (map(vduse, next, UINT64_MAX))
		next = vduse->mappings->last + 1;
	return before;
}

void vduse_free(struct vduse_mapping *mappings)
{
	while (mappings) {
		struct vduse_mapping *mapping = mappings;

		mappings = mapping->next;
		munmap(mapping->address, mapping->last - mapping->start + 1);
		free(mapping);
	}
}

void vduse_unmap(struct vduse *vduse, uint64_t start, uint64_t last)
{
	struct vduse_mapping **link = &vduse->mappings;

	while (*link) {
		struct vduse_mapping *mapping = *link;

		if (mapping->last < start || mapping->start > last) {
			link = &mapping->next;
			continue;
		}
		*link = mapping->next;
		mapping->next = NULL;
		vduse_free(mapping);
	}
}
