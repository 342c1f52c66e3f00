// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each access to user memory, or series of accesses, begins with a STAC instruction. The kernel
 * patches these in at boot and when it loads a module, so they have to be looked up in its memory,
 * in the functions that vhost's worker may call. Breakpoints on them count how often they are
 * reached. (Kprobes would not do: functions that ftrace must not trace cannot have them.)
 */
#include "accesses.h"

#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/elf.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>

#include "../../kselftest.h"

/* Number of hardware breakpoints of a CPU */
#define BREAKPOINTS	4

#define MAX_STACS	256
#define MAX_FUNCTION	16384

struct stac {
	uint64_t addr;
	bool data;
};

static struct stac stacs[MAX_STACS];
static unsigned int n_stacs;

/* Functions outside of vhost that access user memory for vhost or its socket */
static const struct {
	const char *begin;
	bool data;
} callees[] = {
	{ "__get_user_", false },
	{ "__put_user_", false },
	{ "_copy_from_user", false },
	{ "_copy_to_user", false },
	{ "_copy_from_iter", true },
	{ "_copy_to_iter", true },
};

static bool is_wanted(const char *function, const char *module, bool *data)
{
	unsigned int i;

	*data = false;
	if (*module)
		return !strncmp(module, "[vhost", strlen("[vhost"));
	for (i = 0; i < ARRAY_SIZE(callees); i++) {
		if (!strncmp(function, callees[i].begin, strlen(callees[i].begin))) {
			*data = callees[i].data;
			return true;
		}
	}
	return false;
}

static void read_at(int fd, void *buf, size_t size, uint64_t offset)
{
	if (pread(fd, buf, size, offset) != (ssize_t)size)
		err(1, "/proc/kcore");
}

/* Read the kernel's memory. */
static void read_kernel(int kcore, uint64_t addr, void *buf, size_t size)
{
	struct elf64_hdr header;
	struct elf64_phdr part;
	unsigned int i;

	read_at(kcore, &header, sizeof(header), 0);
	for (i = 0; i < header.e_phnum; i++) {
		read_at(kcore, &part, sizeof(part), header.e_phoff + i * sizeof(part));
		if (part.p_type == PT_LOAD && addr >= part.p_vaddr &&
		    addr + size <= part.p_vaddr + part.p_memsz) {
			read_at(kcore, buf, size, part.p_offset + addr - part.p_vaddr);
			return;
		}
	}
	errx(1, "/proc/kcore does not contain 0x%llx", (unsigned long long)addr);
}

/* Matching bytes in the middle of an instruction do no harm: they are never reached. */
static void find_in_function(int kcore, uint64_t start, uint64_t end, bool data)
{
	static const unsigned char stac[] = { 0x0f, 0x01, 0xcb };
	static unsigned char code[MAX_FUNCTION];
	size_t size = end - start, i;

	/* The last function of a module ends before the next symbol */
	if (size > sizeof(code))
		size = 4096 - start % 4096;
	read_kernel(kcore, start, code, size);
	for (i = 0; i + sizeof(stac) <= size; i++) {
		if (memcmp(code + i, stac, sizeof(stac)))
			continue;
		if (n_stacs == MAX_STACS)
			errx(1, "more than %u accesses to user memory", MAX_STACS);
		stacs[n_stacs++] = (struct stac){ .addr = start + i, .data = data };
	}
}

struct symbol {
	uint64_t addr;
	bool wanted;
	bool data;
};

static int by_addr(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static struct symbol *read_symbols(size_t *count)
{
	char line[1024], function[512], module[100], type;
	struct symbol *symbols = NULL;
	size_t n = 0, room = 0;
	unsigned long long addr;
	FILE *file = fopen("/proc/kallsyms", "r");

	if (!file)
		err(1, "/proc/kallsyms");
	while (fgets(line, sizeof(line), file)) {
		module[0] = 0;
		if (sscanf(line, "%llx %c %511s %99s", &addr, &type, function, module) < 3)
			errx(1, "/proc/kallsyms: %s", line);
		if (n == room) {
			room += 1 << 18;
			symbols = realloc(symbols, room * sizeof(*symbols));
			if (!symbols)
				err(1, "realloc");
		}
		symbols[n].addr = addr;
		symbols[n].wanted = strchr("tTW", type) &&
			is_wanted(function, module, &symbols[n].data);
		n++;
	}
	fclose(file);
	qsort(symbols, n, sizeof(*symbols), by_addr);
	*count = n;
	return symbols;
}

static void find_stacs(void)
{
	int kcore = open("/proc/kcore", O_RDONLY);
	struct symbol *symbols;
	size_t n, i;

	if (kcore < 0)
		err(1, "/proc/kcore");
	symbols = read_symbols(&n);
	for (i = 0; i + 1 < n; i++)
		if (symbols[i].wanted)
			find_in_function(kcore, symbols[i].addr, symbols[i + 1].addr,
					 symbols[i].data);
	free(symbols);
	close(kcore);
	if (!n_stacs)
		errx(1, "no access to user memory found: has this CPU no SMAP?");
}

static int open_breakpoint(uint64_t addr, pid_t task)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_X,
		.bp_addr = addr,
		.bp_len = sizeof(long),
	};
	int fd = syscall(SYS_perf_event_open, &attr, task, -1, -1, 0);

	if (fd < 0)
		err(1, "breakpoint at 0x%llx", (unsigned long long)addr);
	return fd;
}

void accesses_count(pid_t task, void (*run)(void *arg), void *arg, struct accesses *accesses)
{
	unsigned int first, n, i;
	int fds[BREAKPOINTS];
	uint64_t count;

	if (!n_stacs)
		find_stacs();
	memset(accesses, 0, sizeof(*accesses));
	for (first = 0; first < n_stacs; first += n) {
		for (n = 0; n < BREAKPOINTS && first + n < n_stacs; n++)
			fds[n] = open_breakpoint(stacs[first + n].addr, task);
		run(arg);
		for (i = 0; i < n; i++) {
			if (read(fds[i], &count, sizeof(count)) != sizeof(count))
				err(1, "breakpoint");
			close(fds[i]);
			*(stacs[first + i].data ? &accesses->data : &accesses->ring) += count;
		}
	}
}
