/* sum.h - order-free summaries of records, for conservation along every edge of a job.
 *
 * A record's hash is XXH3-64 of its value seeded with XXH3-64 of its key; the sum of the hashes
 * modulo 2^128 does not depend on the order of the records (valsort's idea, made general). Pure. */
#ifndef PERI_MAPREDUCE_SUM_H
#define PERI_MAPREDUCE_SUM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* The order-free summary of a set of records. */
struct mr_sum {
    uint64_t records;
    uint64_t low, high; /* the 128-bit sum */
};

/* Adds one record to sum. */
void mr_sum_add(struct mr_sum *sum, struct peri_slice key, struct peri_slice value);
/* Adds another summary. */
void mr_sum_merge(struct mr_sum *sum, const struct mr_sum *other);
bool mr_sum_equal(const struct mr_sum *a, const struct mr_sum *b);

#endif
