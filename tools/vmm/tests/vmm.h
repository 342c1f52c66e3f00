/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of the VMM's side share. Accesses are forwarded to the process, so that no
 * KVM is needed. Every wait ends after WAIT_MS.
 */
#ifndef TESTS_VMM_H
#define TESTS_VMM_H

#include "../vmm_device.h"

#define WAIT_MS		20000
#define LIMIT_S		120	/* of a test */
#define MEMORY_SIZE	(8UL << 20)

/* Into @path, PATH_MAX long: the program in the directory of the test */
void vmm_name_beside(char *path, const char *name);

/* A register of a virtio-mmio device, of @size bytes */
uint64_t vmm_access_register(struct vmm_device *dev, bool write, unsigned int offset,
			     unsigned int size, uint64_t value);
uint32_t vmm_get(struct vmm_device *dev, unsigned int offset);
void vmm_put(struct vmm_device *dev, unsigned int offset, uint32_t value);

pid_t vmm_pid_of(struct vmm_device *dev);

/* Kill its process, and wait for another one, or for none at all. */
bool vmm_kill_one(struct vmm_device *dev);

bool vmm_has_failed(struct vmm_device *dev);
bool vmm_wait_failed(struct vmm_device *dev);

/* The control socket: connect to it, and take a response, which is "" if none comes. */
int vmm_connect(const char *path);
const char *vmm_receive(int fd);

/* The response to @size bytes of words */
const char *vmm_ask(const char *path, const char *words, size_t size);
const char *vmm_upgrade(const char *path, const char *name, const char *program);

#endif /* TESTS_VMM_H */
