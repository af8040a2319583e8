/* table_walk.h - snapshots and iterators of the stores whose keys are in a table (table.h). */
#ifndef PERI_STORE_TABLE_WALK_H
#define PERI_STORE_TABLE_WALK_H

#include "store/backend.h"
#include "store/table.h"

struct store_snapshot {
    struct table_pin pin;
};

/* An iterator begins with this. */
struct table_iterator {
    struct store_iterator base;
    struct table *table;
    struct table_pin pin;
    const struct table_node *node;
};

/* What snapshot shows, or without one what is there now. */
uint64_t table_walk_sequence(const struct table *table, const struct store_snapshot *snapshot);

/* A snapshot, and its end. Errors: PERI_ENOMEM. */
int table_snapshot_take(struct table *table, struct store_snapshot **out);
void table_snapshot_release(struct table *table, struct store_snapshot *snapshot);

/* Fills iterator in; ends what was begun. The memory is the caller's. */
void table_iterator_begin(struct table_iterator *iterator, struct store *store, struct table *table,
                          const struct store_snapshot *snapshot);
void table_iterator_end(struct table_iterator *iterator);

/* The iterator that begins with base. */
struct table_iterator *table_iterator_of(const struct store_iterator *base);

/* Members of struct store_ops. */
void table_iterator_seek(struct store_iterator *base, struct peri_slice key);
void table_iterator_next(struct store_iterator *base);
void table_iterator_seek_below(struct store_iterator *base, struct peri_slice key);
bool table_iterator_is_valid(const struct store_iterator *base);
struct peri_slice table_iterator_key(const struct store_iterator *base);

#endif
