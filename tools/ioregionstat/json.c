// SPDX-License-Identifier: GPL-2.0-only
/*
 * An interval as a line of JSON.
 */
#include <err.h>
#include <stdio.h>
#include <time.h>

#include <json-c/json.h>

#include "counts.h"

/* NULL means that there was no memory. */
static json_object *have(json_object *value)
{
	if (!value)
		errx(1, "out of memory");
	return value;
}

static void add(json_object *object, const char *name, json_object *value)
{
	if (json_object_object_add(object, name, have(value)))
		errx(1, "out of memory");
}

static void add_number(json_object *object, const char *name, __u64 number)
{
	add(object, name, json_object_new_uint64(number));
}

static void append(json_object *array, json_object *value)
{
	if (json_object_array_add(array, have(value)))
		errx(1, "out of memory");
}

static json_object *latency(const __u64 (*counts)[NR_BUCKETS])
{
	json_object *array = have(json_object_new_array()), *bucket;
	int i;

	for (i = 0; i < NR_BUCKETS; i++) {
		if (!counts[0][i] && !counts[1][i])
			continue;
		bucket = have(json_object_new_object());
		add_number(bucket, "from_ns", i ? 1ull << i : 0);
		add_number(bucket, "count", counts[0][i] + counts[1][i]);
		add_number(bucket, "in_place", counts[1][i]);
		append(array, bucket);
	}
	return array;
}

static json_object *kind(const struct region *region, bool write)
{
	json_object *object = have(json_object_new_object());
	struct kind sums = region_kind(region, write);

	add_number(object, "count", sums.count);
	add_number(object, "in_place", sums.in_place);
	add_number(object, "untimed", sums.untimed);
	add(object, "latency", latency(region->interval.latency[write]));
	return object;
}

static json_object *failed(const struct region *region)
{
	json_object *object = have(json_object_new_object());
	unsigned int i;

	for (i = 0; i < NR_REASONS; i++) {
		if (reason_name(i))
			add_number(object, reason_name(i), region->interval.failed[i]);
	}
	return object;
}

static void add_region(const struct region *region, void *array)
{
	json_object *object = have(json_object_new_object());

	add_number(object, "vm", region->key.vm);
	add(object, "type", json_object_new_string(region->key.pio ? "pio" : "mmio"));
	add_number(object, "base", region->key.base);
	add_number(object, "waiting", region->waiting);
	add(object, "read", kind(region, false));
	add(object, "write", kind(region, true));
	add(object, "failed", failed(region));
	append(array, object);
}

void json_print(const struct counts *counts)
{
	json_object *object = have(json_object_new_object());
	json_object *regions = have(json_object_new_array());
	struct timespec now;
	const char *text;

	clock_gettime(CLOCK_REALTIME, &now);
	add_number(object, "time_ms", now.tv_sec * 1000ull + now.tv_nsec / NS_PER_MS);
	add_number(object, "interval_ms", counts->ns / NS_PER_MS);
	add_number(object, "not_counted", counts->not_counted);
	counts_for_each(counts, add_region, regions);
	add(object, "regions", regions);

	text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
	if (!text)
		errx(1, "out of memory");
	puts(text);
	json_object_put(object);
}
