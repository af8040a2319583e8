#include "mapreduce/sum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

void mr_sum_add(struct mr_sum *sum, struct peri_slice key, struct peri_slice value)
{
    uint64_t seed = XXH3_64bits(key.data, key.size);
    uint64_t hash = XXH3_64bits_withSeed(value.data, value.size, seed);
    sum->records++;
    sum->low += hash;
    sum->high += sum->low < hash;
}

void mr_sum_merge(struct mr_sum *sum, const struct mr_sum *other)
{
    sum->records += other->records;
    sum->low += other->low;
    sum->high += other->high + (sum->low < other->low);
}

bool mr_sum_equal(const struct mr_sum *a, const struct mr_sum *b)
{
    return a->records == b->records && a->low == b->low && a->high == b->high;
}
