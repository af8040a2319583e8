#include "mapreduce/partition.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t mr_partition_hash(enum mr_key_tag tag, const char *payload, size_t size)
{
    return XXH3_64bits_withSeed(payload, size, (XXH64_hash_t)tag);
}

static uint32_t by_hash(struct peri_slice key, uint32_t partitions)
{
    enum { TERMINATOR_SIZE = 2 };
    struct peri_slice part = mr_key_first_parts(key, 1);
    enum mr_key_tag tag = (enum mr_key_tag)(unsigned char)part.data[0];
    if (tag == MR_KEY_PREFIX) {
        tag = MR_KEY_STRING;
        part.size -= TERMINATOR_SIZE;
    }
    uint64_t hash = mr_partition_hash(tag, part.data + 1, part.size - 1);
    return (uint32_t)((hash >> 32) * partitions >> 32);
}

/* How many bounds are <= key. */
static uint32_t by_range(const struct mr_partitioner *partitioner, struct peri_slice key)
{
    size_t low = 0;
    size_t high = partitioner->bounds_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (peri_slice_compare(partitioner->bounds[middle], key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint32_t)low;
}

static uint32_t by_fnv1a(struct peri_slice key, uint32_t partitions)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 1; i < key.size; i++)
        hash = (hash ^ (unsigned char)key.data[i]) * 16777619u;
    return (hash & 0x7fffffffu) % partitions;
}

uint32_t mr_partition_of(const struct mr_partitioner *partitioner, struct peri_slice key)
{
    switch (partitioner->mode) {
    case MR_PARTITION_RANGE:
        return by_range(partitioner, key);
    case MR_PARTITION_FNV1A:
        return by_fnv1a(key, partitioner->partitions);
    default:
        return by_hash(key, partitioner->partitions);
    }
}
