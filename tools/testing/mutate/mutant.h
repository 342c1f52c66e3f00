/* SPDX-License-Identifier: GPL-2.0-only */
/* Which mutant this process is, if any: see mutate.sh. Included before everything else. */
#ifndef MUTANT_H
#define MUTANT_H

#include <stdlib.h>

static int mutant;

static __attribute__((__constructor__, __unused__)) void mutant_init(void)
{
	const char *number = getenv("MUTANT");

	mutant = number ? atoi(number) : 0;
}

#define MUTANT(n) (mutant == (n))

/* For min() */
#define MUTANT_MAX(a, b) ({ typeof(a) _m = (a); typeof(b) _n = (b); _m < _n ? _n : _m; })

#endif /* MUTANT_H */
