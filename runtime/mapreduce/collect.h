/* collect.h - emissions kept as they are: an arena of pairs and an index that sorts them.
 *
 *   | pair pair pair ->                         <- item item item |
 *
 * One region; pairs grow from its start and 16-byte index items from its end until they meet. */
#ifndef PERI_MAPREDUCE_COLLECT_H
#define PERI_MAPREDUCE_COLLECT_H

#include <stdbool.h>

#include "env/env.h"
#include "mapreduce/sort.h"

/* Embedded; starts by mr_collect_init, ended by mr_collect_deinit. */
struct mr_collect {
    struct env *env;
    char *base;
    size_t limit_bytes, used_bytes;
    size_t count;
};

/* Errors: PERI_ENOMEM. */
int mr_collect_init(struct mr_collect *collect, struct env *env, size_t limit_bytes);

/* Copies a pair; false when the region is full. */
bool mr_collect_add(struct mr_collect *collect, uint32_t part, struct peri_slice key,
                    struct peri_slice value);

/* Sorts by (partition, key), equal keys in the order they were added; the items are lent until
 * clear. */
const struct mr_sort_item *mr_collect_sort(struct mr_collect *collect,
                                           struct mr_sort_records *records);

/* The value of an item. */
struct peri_slice mr_collect_value(const struct mr_sort_records *records,
                                   const struct mr_sort_item *item);

void mr_collect_clear(struct mr_collect *collect);
void mr_collect_deinit(struct mr_collect *collect); /* accepts what was never initialized */

#endif
