/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory that vhost shares with a driver, as vhost accesses it. Each access is checked: it
 * must be to a part of the ring that vhost may read, or write. Any access can be made to fail,
 * and the memory can be changed right after any access, as a driver on another CPU might do.
 */
#ifndef USER_MEMORY_H
#define USER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#define USER_MEMORY 2112
/* After that, for a ring that is larger than those whose states are copied */
#define USER_LARGE 8192

enum user_part {
	USER_DESC,
	USER_DRIVER,
	USER_DEVICE,
	USER_TABLES,
	USER_PARTS,
};

/* What vhost may do there. A part of size 0 is none. */
struct user_range {
	size_t start, size;
	bool read, write;
	/* Only the upper half of each 16 bytes may be written */
	bool keep_addr;
};

struct user_access {
	size_t at, size;
	bool write;
};

/* More than are needed to read 64 descriptors, but not those of a large ring */
#define USER_ACCESSES 200

struct user_memory {
	/* aligned as rings have to be */
	union {
		long double align;
		unsigned char byte[USER_MEMORY + USER_LARGE];
	};

	struct user_range part[USER_PARTS];

	/* The section that user_access_begin() has begun */
	bool in_section, section_write;
	size_t section_start, section_size;

	/* The rest since user_watch(): accesses that were made, and attempts at them */
	unsigned int accesses, attempts;
	struct user_access access[USER_ACCESSES];
	/* Fail this attempt, from 1 on; and has that come to pass? */
	unsigned int fail_at;
	bool failed;
	/* Called after each access */
	void (*after)(unsigned int access);
	/* The first thing that vhost must not do, or NULL */
	const char *wrong;
};

extern struct user_memory user;

/* From now on, count accesses. None fails. user.failed remains as it is. */
void user_watch(void);

/* For fake_kernel.h. The functions that return int return 0 or -EFAULT. */
enum user_how { USER_SAFE, USER_UNSAFE };

/* Whether it is memory that vhost shares with a driver, if only for a ring that is not there */
bool user_is_shared(const void *addr);
bool user_access_ok(const void *addr, size_t size);
bool user_access_begin(const void *addr, size_t size, bool write);
void user_access_end(void);
int user_read(void *to, const void *from, size_t size, enum user_how how);
int user_write(void *to, const void *from, size_t size, enum user_how how);

#endif /* USER_MEMORY_H */
