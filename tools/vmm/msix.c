// SPDX-License-Identifier: GPL-2.0-only
#include "msix.h"

#include <stddef.h>
#include <string.h>
#include "util.h"

/* Words of an entry */
enum {
	ADDRESS,
	ADDRESS_HIGH,
	DATA,
	CONTROL,
	NR_WORDS
};

#define MASK	1u			/* of CONTROL; the rest is reserved */

void msix_init(struct msix *msix, unsigned int nr_vectors, const struct msix_ops *ops,
	       void *opaque)
{
	unsigned int i;

	memset(msix, 0, sizeof(*msix));
	msix->ops = ops;
	msix->opaque = opaque;
	msix->nr_vectors = nr_vectors;
	for (i = 0; i < nr_vectors; i++)
		msix->entries[i].word[CONTROL] = MASK;
}

static bool is_open(const struct msix *msix, unsigned int vector)
{
	return msix->enabled && !msix->masked &&
	       !(msix->entries[vector].word[CONTROL] & MASK);
}

static void set_vector(struct msix *msix, unsigned int vector)
{
	const uint32_t *word = msix->entries[vector].word;

	msix->ops->set_vector(msix->opaque, vector, is_open(msix, vector),
			      (uint64_t)word[ADDRESS_HIGH] << 32 | word[ADDRESS], word[DATA]);
}

void msix_set_control(struct msix *msix, bool enabled, bool masked)
{
	unsigned int i;

	if (msix->enabled == enabled && msix->masked == masked)
		return;
	msix->enabled = enabled;
	msix->masked = masked;
	for (i = 0; i < msix->nr_vectors; i++)
		set_vector(msix, i);
}

static bool is_register(const struct msix *msix, uint64_t offset, unsigned int size)
{
	return (size == 4 || size == 8) && !(offset % size) &&
	       offset < msix->nr_vectors * MSIX_ENTRY_SIZE;
}

static void write_word(struct msix *msix, unsigned int n, uint32_t value)
{
	uint32_t *word = &msix->entries[n / NR_WORDS].word[n % NR_WORDS];

	switch (n % NR_WORDS) {
	case ADDRESS:
		value &= ~3u;
		break;
	case CONTROL:
		value &= MASK;
		break;
	}
	/* Drivers mask a vector before they change the rest, but need not (6.8.3.5). */
	if (*word == value)
		return;
	*word = value;
	set_vector(msix, n / NR_WORDS);
}

void msix_write_table(struct msix *msix, uint64_t offset, unsigned int size, uint64_t value)
{
	unsigned int i;

	if (!is_register(msix, offset, size))
		return;
	for (i = 0; i < size / 4; i++)
		write_word(msix, offset / 4 + i, value >> 32 * i);
}

uint64_t msix_read_table(const struct msix *msix, uint64_t offset, unsigned int size)
{
	uint64_t value = 0;
	unsigned int i, n;

	if (!is_register(msix, offset, size))
		return 0;
	for (i = 0; i < size / 4; i++) {
		n = offset / 4 + i;
		value |= (uint64_t)msix->entries[n / NR_WORDS].word[n % NR_WORDS] << 32 * i;
	}
	return value;
}

uint64_t msix_read_pending(const struct msix *msix, uint64_t offset, unsigned int size)
{
	uint64_t bits = 0;
	unsigned int i;

	/* All bits that there can be are in the first four bytes. */
	if (offset || (size != 4 && size != 8))
		return 0;
	for (i = 0; i < msix->nr_vectors; i++) {
		if (!is_open(msix, i) && msix->ops->pending(msix->opaque, i))
			bits |= BIT(i);
	}
	return bits;
}
