// SPDX-License-Identifier: GPL-2.0-only
#include <glob.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "sysfs.h"

#define PATH_MAX_HERE	512
#define IN_ORDER_PARAMETER	"/sys/module/virtio_ring/parameters/in_order"

int file_read(char *line, size_t size, const char *path, ...)
{
	char name[PATH_MAX_HERE];
	va_list arguments;
	FILE *file;
	bool ok;

	va_start(arguments, path);
	vsnprintf(name, sizeof(name), path, arguments);
	va_end(arguments);
	file = fopen(name, "r");
	if (!file)
		return -1;
	ok = fgets(line, size, file);
	fclose(file);
	if (!ok)
		return -1;
	line[strcspn(line, "\n")] = '\0';
	return 0;
}

int file_write(const char *text, const char *path, ...)
{
	char name[PATH_MAX_HERE];
	va_list arguments;
	FILE *file;
	int result;

	va_start(arguments, path);
	vsnprintf(name, sizeof(name), path, arguments);
	va_end(arguments);
	file = fopen(name, "w");
	if (!file)
		return -1;
	result = fputs(text, file) < 0 ? -1 : 0;
	if (fclose(file))
		result = -1;
	return result;
}

int path_match(char *name, size_t size, const char *pattern, ...)
{
	char all[PATH_MAX_HERE];
	va_list arguments;
	glob_t found;
	int result = -1;

	va_start(arguments, pattern);
	vsnprintf(all, sizeof(all), pattern, arguments);
	va_end(arguments);
	if (glob(all, 0, NULL, &found))
		return -1;
	if (found.gl_pathc == 1) {
		snprintf(name, size, "%s", basename(found.gl_pathv[0]));
		result = 0;
	}
	globfree(&found);
	return result;
}

int link_target(char *name, size_t size, const char *path, ...)
{
	char link[PATH_MAX_HERE], target[PATH_MAX_HERE];
	va_list arguments;
	ssize_t length;

	va_start(arguments, path);
	vsnprintf(link, sizeof(link), path, arguments);
	va_end(arguments);
	length = readlink(link, target, sizeof(target) - 1);
	if (length < 0)
		return -1;
	target[length] = '\0';
	snprintf(name, size, "%s", basename(target));
	return 0;
}

int virtio_feature(const char *device, unsigned int bit)
{
	char features[80];

	if (file_read(features, sizeof(features), "/sys/bus/virtio/devices/%s/features", device) ||
	    bit >= strlen(features))
		return -1;
	return features[bit] == '1';
}

int virtio_queue_statistics(const char *device, unsigned int index, struct queue_statistics *is)
{
	char name[PATH_MAX_HERE], line[80], word[16];
	unsigned int known = 0;
	FILE *file;

	memset(is, 0, sizeof(*is));
	snprintf(name, sizeof(name), "/sys/kernel/debug/virtio/%s/vq%u", device, index);
	file = fopen(name, "r");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "layout: %15s", word) == 1) {
			is->packed = !strcmp(word, "packed");
			known++;
		} else if (sscanf(line, "in-order: %15s", word) == 1) {
			is->in_order = !strcmp(word, "yes");
			known++;
		} else if (sscanf(line, "size: %u", &is->size) == 1 ||
			   sscanf(line, "buffers: %lu", &is->buffers) == 1 ||
			   sscanf(line, "batches: %lu", &is->batches) == 1) {
			known++;
		}
	}
	fclose(file);
	return known == (is->in_order ? 5 : 3) ? 0 : -1;
}

int load_modules(const char *names)
{
	char command[PATH_MAX_HERE];

	snprintf(command, sizeof(command), "modprobe -a %s", names);
	return system(command) ? -1 : 0;
}

bool virtio_knows_in_order(void)
{
	/* The parameters exist only if it is loaded or built in. */
	load_modules("virtio_ring");
	return !access(IN_ORDER_PARAMETER, F_OK);
}
