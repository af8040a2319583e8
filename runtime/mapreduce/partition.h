/* partition.h - which reduce task a key belongs to.
 *
 * hash   ((h >> 32) * R) >> 32, where h is XXH3-64 of the first key part's bytes without its tag
 * (and without the terminator), seeded with the tag (MR_KEY_STRING for both string forms). This is
 *        version 1 of the function; it never changes for a version and is the same on all hosts.
 * range  the number of boundary keys that are <= the key, so that partitions are in key order.
 * fnv1a  the MIT lab's ihash: (FNV-1a-32 of the key's text & 0x7fffffff) % R, over a single string
 *        key's bytes. */
#ifndef PERI_MAPREDUCE_PARTITION_H
#define PERI_MAPREDUCE_PARTITION_H

#include "mapreduce/key.h"

enum { MR_PARTITIONS_MAX = 65535, MR_PARTITION_VERSION = 1 };

enum mr_partition_mode { MR_PARTITION_HASH, MR_PARTITION_RANGE, MR_PARTITION_FNV1A };

struct mr_partitioner {
    enum mr_partition_mode mode;
    uint32_t partitions;             /* R: 1..MR_PARTITIONS_MAX */
    const struct peri_slice *bounds; /* range: at most R - 1 encoded keys, ascending; borrowed */
    size_t bounds_count;
};

/* XXH3-64 of a key part's payload. */
uint64_t mr_partition_hash(enum mr_key_tag tag, const char *payload, size_t size);

/* The partition of an encoded key: 0..R-1. */
uint32_t mr_partition_of(const struct mr_partitioner *partitioner, struct peri_slice key);

#endif
