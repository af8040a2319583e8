/* sort.h - sorts an index of records by (partition, key, order of emission).
 *
 * An item carries the first bytes that decide: partition, the key's tag and 8 bytes of the key, so
 * that most comparisons touch no record. Radix by byte from the front, in place, while a bucket is
 * large; quicksort below. Pure. */
#ifndef PERI_MAPREDUCE_SORT_H
#define PERI_MAPREDUCE_SORT_H

#include "base/bits.h"

/* One record of an arena; 16 bytes. */
struct mr_sort_item {
    uint64_t prefix; /* bytes 1..8 of the key */
    uint32_t order;  /* partition << 8 | byte 0 of the key */
    uint32_t record; /* offset in the arena / MR_SORT_UNIT */
};

enum { MR_SORT_UNIT = 8 };

/* Where records are: each starts, in units of MR_SORT_UNIT, with its key's size as uint32_t; the
 * key follows key_at bytes after that start. */
struct mr_sort_records {
    const char *base;
    size_t key_at;
};

static inline struct mr_sort_item mr_sort_item_of(uint32_t part, struct peri_slice key,
                                                  size_t offset)
{
    return (struct mr_sort_item){
        .prefix = bits_prefix(key.data + 1, key.size - 1),
        .order = part << 8 | (unsigned char)key.data[0],
        .record = (uint32_t)(offset / MR_SORT_UNIT),
    };
}

static inline const char *mr_sort_record(const struct mr_sort_records *records,
                                         const struct mr_sort_item *item)
{
    return records->base + (size_t)item->record * MR_SORT_UNIT;
}

static inline struct peri_slice mr_sort_key(const struct mr_sort_records *records,
                                            const struct mr_sort_item *item)
{
    const char *record = mr_sort_record(records, item);
    uint32_t size;
    memcpy(&size, record, sizeof size);
    return peri_slice_of(record + records->key_at, size);
}

/* Sorts count items in place; equal keys of a partition stay in the order of their records. */
void mr_sort(struct mr_sort_item *items, size_t count, const struct mr_sort_records *records);

#endif
