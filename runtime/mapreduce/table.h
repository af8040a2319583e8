/* table.h - the hash table of reducer states that emissions are folded into.
 *
 * Open addressing over 8-byte slots {upper hash, entry}; entries lie in one arena, so that clearing
 * is two stores and sorting needs no memory of its own: the slots' room becomes the index. Integer
 * sums and counts live in the entry itself. Slots and arena together stay within a limit. */
#ifndef PERI_MAPREDUCE_TABLE_H
#define PERI_MAPREDUCE_TABLE_H

#include "mapreduce/partition.h"
#include "mapreduce/reducer.h"
#include "mapreduce/sort.h"
#include "mapreduce/tally.h"

struct mr_table;

/* Creates an empty table. reducer has states. The caller owns *out. Errors: PERI_ENOMEM. */
int mr_table_create(struct mr_table **out, const struct mr_reducer *reducer, size_t limit_bytes,
                    struct peri_error *err);

/* Folds a pair in. part is looked at only when the key is new. Errors: PERI_EMEMORY when the limit
 * is reached, nothing changed: spill, clear and try again; those of mr_reducer_add. */
int mr_table_add(struct mr_table *table, const struct mr_partitioner *partitioner,
                 const uint32_t *part, struct peri_slice key, struct peri_slice value,
                 const struct mr_position *position, struct peri_error *err);

/* The same for sum and count with a key that is one string, not encoded, and an integer. */
int mr_table_add_string(struct mr_table *table, const struct mr_partitioner *partitioner,
                        struct peri_slice string, int64_t integer, struct peri_error *err);

/* The same for many: faster, because their memory is asked for in advance. On error the first *done
 * have been added. */
int mr_table_add_tallies(struct mr_table *table, const struct mr_partitioner *partitioner,
                         const struct mr_tally *tallies, size_t count, size_t *done,
                         struct peri_error *err);

size_t mr_table_count(const struct mr_table *table);       /* of keys */
size_t mr_table_used_bytes(const struct mr_table *table);  /* slots and arena */
size_t mr_table_limit_bytes(const struct mr_table *table); /* as created */

/* Turns the table into an index sorted by (partition, key): *count items, lent until clear. Only
 * mr_table_encode and mr_table_clear may follow. */
const struct mr_sort_item *mr_table_sort(struct mr_table *table, struct mr_sort_records *records,
                                         size_t *count);

/* Appends the encoded state of a sorted item. */
int mr_table_encode(struct mr_table *table, const struct mr_sort_item *item,
                    struct peri_buffer *out, struct peri_error *err);

void mr_table_clear(struct mr_table *table);
void mr_table_close(struct mr_table *table); /* accepts NULL */

#endif
