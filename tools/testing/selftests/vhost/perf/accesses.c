// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each access to user memory, or run of accesses, is between a STAC and a CLAC. The
 * kernel patches them in when it boots and when it loads a module, so they are looked
 * up in its memory, in the functions that vhost's worker may come to. Each gets a
 * kprobe, and each kprobe a perf event that counts it in the worker alone.
 */
#include "accesses.h"

#include <elf.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/perf_event.h>

#define TRACING		"/sys/kernel/tracing/"
#define GROUP		"vhost_perf"
#define MAX_PROBES	256
#define MAX_FUNCTION	16384

static const unsigned char stac[] = { 0x0f, 0x01, 0xcb };

struct probe {
	int fd;
	bool data;
};

static struct probe probes[MAX_PROBES];
static unsigned int n_probes;

/* Functions outside of vhost that access memory for it, or for the socket behind it */
static const struct {
	const char *pattern;
	bool data;
} callees[] = {
	{ "__get_user_*" },
	{ "__put_user_*" },
	{ "_copy_from_user" },
	{ "_copy_to_user" },
	{ "_copy_from_iter*", true },
	{ "_copy_to_iter", true },
	{ "copy_page_*_iter*", true },
};

static bool is_wanted(const char *function, const char *module, bool *data)
{
	unsigned int i;

	*data = false;
	if (!strncmp(module, "[vhost", strlen("[vhost")))
		return true;
	if (*module)
		return false;
	for (i = 0; i < sizeof(callees) / sizeof(callees[0]); i++) {
		if (fnmatch(callees[i].pattern, function, 0))
			continue;
		*data = callees[i].data;
		return true;
	}
	return false;
}

/* Read the kernel's memory. Returns false if there is none. */
static bool read_kernel(int kcore, uint64_t addr, void *buf, size_t size)
{
	Elf64_Ehdr header;
	Elf64_Phdr part;
	unsigned int i;

	if (pread(kcore, &header, sizeof(header), 0) != sizeof(header))
		err(1, "/proc/kcore");
	for (i = 0; i < header.e_phnum; i++) {
		if (pread(kcore, &part, sizeof(part), header.e_phoff + i * sizeof(part)) !=
		    sizeof(part))
			err(1, "/proc/kcore");
		if (part.p_type == PT_LOAD && addr >= part.p_vaddr &&
		    addr + size <= part.p_vaddr + part.p_memsz)
			return pread(kcore, buf, size, part.p_offset + addr - part.p_vaddr) ==
				(ssize_t)size;
	}
	return false;
}

/* Returns false if there is no instruction at @addr. */
static bool add_probe(uint64_t addr, bool data, pid_t task)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
	};
	char text[100], path[200];
	int fd, len;

	if (n_probes == MAX_PROBES)
		errx(1, "more than %u accesses to user memory", MAX_PROBES);

	fd = open(TRACING "kprobe_events", O_WRONLY | O_APPEND);
	if (fd < 0)
		err(1, "kprobe_events");
	len = snprintf(text, sizeof(text), "p:" GROUP "/p%u 0x%llx", n_probes,
		       (unsigned long long)addr);
	if (write(fd, text, len) != len) {
		if (errno != EILSEQ)
			err(1, "%s", text);
		close(fd);
		return false;
	}
	close(fd);

	snprintf(path, sizeof(path), TRACING "events/" GROUP "/p%u/id", n_probes);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		err(1, "%s", path);
	len = read(fd, text, sizeof(text) - 1);
	if (len <= 0)
		err(1, "%s", path);
	text[len] = 0;
	close(fd);

	attr.config = strtoull(text, NULL, 10);
	fd = syscall(SYS_perf_event_open, &attr, task, -1, -1, 0);
	if (fd < 0)
		err(1, "perf_event_open");
	probes[n_probes++] = (struct probe){ .fd = fd, .data = data };
	return true;
}

static void probe_function(int kcore, uint64_t start, uint64_t end, bool data, pid_t task)
{
	static unsigned char code[MAX_FUNCTION];
	size_t size = end - start, i;

	if (size > sizeof(code) || !read_kernel(kcore, start, code, size))
		return;
	for (i = 0; i + sizeof(stac) <= size; i++)
		if (!memcmp(code + i, stac, sizeof(stac)))
			add_probe(start + i, data, task);
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

void accesses_start(pid_t task)
{
	static struct symbol *symbols;
	static size_t n, room;
	char line[512], function[256], module[100];
	unsigned long long addr;
	FILE *file;
	size_t i;
	int kcore;

	n = 0;
	file = fopen("/proc/kallsyms", "r");
	if (!file)
		err(1, "/proc/kallsyms");
	while (fgets(line, sizeof(line), file)) {
		module[0] = 0;
		if (sscanf(line, "%llx %*c %255s %99s", &addr, function, module) < 2)
			continue;
		if (n == room) {
			room = room ? room * 2 : 1 << 16;
			symbols = realloc(symbols, room * sizeof(*symbols));
			if (!symbols)
				err(1, "realloc");
		}
		symbols[n].addr = addr;
		symbols[n].wanted = is_wanted(function, module, &symbols[n].data);
		n++;
	}
	fclose(file);
	qsort(symbols, n, sizeof(*symbols), by_addr);

	kcore = open("/proc/kcore", O_RDONLY);
	if (kcore < 0)
		err(1, "/proc/kcore");
	n_probes = 0;
	for (i = 0; i + 1 < n; i++)
		if (symbols[i].wanted)
			probe_function(kcore, symbols[i].addr, symbols[i + 1].addr,
				       symbols[i].data, task);
	close(kcore);
	if (!n_probes)
		errx(1, "no access to user memory found: does this CPU have SMAP?");
}

void accesses_stop(struct accesses *accesses)
{
	unsigned int i;
	uint64_t count;
	int fd;

	memset(accesses, 0, sizeof(*accesses));
	for (i = 0; i < n_probes; i++) {
		if (read(probes[i].fd, &count, sizeof(count)) != sizeof(count))
			err(1, "perf event");
		if (getenv("DBG") && count) printf("# probe %u: %llu\n", i, (unsigned long long)count);
		close(probes[i].fd);
		if (probes[i].data)
			accesses->data += count;
		else
			accesses->ring += count;
	}
	fd = open(TRACING "kprobe_events", O_WRONLY | O_APPEND);
	if (fd < 0 || write(fd, "-:" GROUP "/", strlen("-:" GROUP "/")) < 0)
		err(1, "kprobe_events");
	close(fd);
}
