// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>
#include "enumerate.h"

unsigned long states;

unsigned int parameter(const char *name, unsigned int otherwise)
{
	const char *value = getenv(name);

	return value ? atoi(value) : otherwise;
}

unsigned int next_size(const struct layout *layout, unsigned int num, unsigned int max)
{
	unsigned int most = layout->in_order ? MAX_RING : parameter("RING_ENUM_SIZE", 4);

	num = !num ? 2 : layout->packed ? num + 1 : 2 * num;
	return num <= max && num <= most ? num : 0;
}

const char *do_explore(struct layout layout, unsigned int max, unsigned int flags,
		       const char *(*at_state)(void))
{
	const char *wrong;
	unsigned int num;

	states = 0;
	for (num = next_size(&layout, 0, max); num; num = next_size(&layout, num, max)) {
		struct exploration e = {
			.layout = layout,
			.num = num,
			.max_added = parameter("RING_ENUM_WRAPS", 2) * num + 1,
			.any_order = num <= 4,
			.max_batch = parameter("RING_ENUM_BATCH", MAX_RING),
			.callbacks = flags & CALLBACKS && parameter("RING_ENUM_CALLBACKS", 1),
			.exact = flags & EXACT,
			.directions = flags & EXACT,
			.at_state = at_state,
		};

		wrong = explore(&e);
		states += e.states;
		if (wrong)
			return wrong;
	}
	return NULL;
}

const char *drain(void)
{
	const char *wrong = NULL;

	while (!wrong && world.model.held)
		wrong = do_step((struct step){ STEP_USE, world.layout.in_order });
	while (!wrong && world.model.used)
		wrong = do_step((struct step){ STEP_GET });
	return wrong;
}

const struct buf *outstanding(unsigned int i)
{
	const struct model *model = &world.model;

	return i < model->used ? &model->used_buf[i].buf :
				 &model->held_buf[i - model->used].buf;
}
