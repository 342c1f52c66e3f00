// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include "user_memory.h"

struct user_memory user;

void user_watch(void)
{
	user.accesses = 0;
	user.attempts = 0;
	user.fail_at = 0;
	user.after = NULL;
	user.wrong = NULL;
}

static void complain(const char *wrong)
{
	if (!user.wrong)
		user.wrong = wrong;
}

/* Offset in user.byte, which is too large for what is elsewhere */
static size_t offset_of(const void *addr)
{
	return (uintptr_t)addr - (uintptr_t)user.byte;
}

bool user_is_shared(const void *addr)
{
	return offset_of(addr) < sizeof(user.byte);
}

static const struct user_range *find_part(size_t at, size_t size)
{
	unsigned int i;

	for (i = 0; i < USER_PARTS; i++) {
		const struct user_range *part = &user.part[i];

		if (at >= part->start && size <= part->size &&
		    at - part->start <= part->size - size)
			return part;
	}
	return NULL;
}

/* Has the next attempt to fail? */
static bool fails(void)
{
	if (++user.attempts != user.fail_at)
		return false;
	user.failed = true;
	return true;
}

bool user_access_ok(const void *addr, size_t size)
{
	return find_part(offset_of(addr), size);
}

bool user_access_begin(const void *addr, size_t size, bool write)
{
	size_t at = offset_of(addr);

	if (user.in_section)
		complain("a section in a section");
	if (!find_part(at, size)) {
		complain("a section that is not in one part of the ring");
		return false;
	}
	if (fails())
		return false;
	user.in_section = true;
	user.section_write = write;
	user.section_start = at;
	user.section_size = size;
	return true;
}

void user_access_end(void)
{
	if (!user.in_section)
		complain("a section is ended twice");
	user.in_section = false;
}

static bool in_section(size_t at, size_t size, bool write)
{
	return user.in_section && user.section_write == write && at >= user.section_start &&
	       at + size <= user.section_start + user.section_size;
}

/* Returns false if the access fails, or must not be made. */
static bool begin(const void *addr, size_t size, bool write, enum user_how how)
{
	size_t at = offset_of(addr);
	const struct user_range *part = find_part(at, size);

	if (how == USER_UNSAFE && !in_section(at, size, write))
		complain("an access outside of its section");
	if (how == USER_SAFE && user.in_section)
		complain("a function is called in a section");
	if (!part || !(write ? part->write : part->read)) {
		complain(write ? "a write to what is not vhost's to write" :
				 "a read of what is not vhost's to read");
		return false;
	}
	if (write && part->keep_addr && ((at - part->start) % 16 < 8 || size != 8))
		complain("a used descriptor is not written at once");
	return !fails();
}

static void end(const void *addr, size_t size, bool write)
{
	unsigned int n = user.accesses;

	if (n < USER_ACCESSES)
		user.access[n] = (struct user_access){ offset_of(addr), size, write };
	else
		complain("an operation makes too many accesses");
	user.accesses++;
	if (user.after && n < USER_ACCESSES)
		user.after(n);
}

int user_read(void *to, const void *from, size_t size, enum user_how how)
{
	if (!begin(from, size, false, how))
		return -EFAULT;
	memcpy(to, from, size);
	end(from, size, false);
	return 0;
}

int user_write(void *to, const void *from, size_t size, enum user_how how)
{
	if (!begin(to, size, true, how))
		return -EFAULT;
	memcpy(to, from, size);
	end(to, size, true);
	return 0;
}
