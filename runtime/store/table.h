/* table.h - the ordered map of the memory backend: a skip list that keeps old versions for as long
 * as somebody reads them.
 *
 * A key's versions stand behind each other, the newest first. While nothing is pinned there is one
 * version a key, and none of a deleted one. Levels are drawn from the key's hash, so that a
 * simulation finds the same list in every run. Pure. */
#ifndef PERI_STORE_TABLE_H
#define PERI_STORE_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"

enum { TABLE_LEVELS = 16 };

/* Atomic, so that others may look while one thread adds: see table_pin. */
typedef struct table_node *_Atomic table_link;

struct table_node {
    uint64_t sequence;
    size_t key_size, value_size;
    bool is_deletion;
    uint32_t levels;
    table_link next[]; /* levels of them; behind them key and value */
};

/* Somebody who reads the table as of sequence. Nodes that it may see stay. */
struct table_pin {
    struct peri_list link; /* in table.pins, by age */
    uint64_t sequence;
};

struct table {
    table_link heads[TABLE_LEVELS];
    struct peri_list pins;
    uint64_t sequence;   /* of the last change */
    uint64_t live_bytes; /* keys and values that the newest versions have */
    uint64_t old_count;  /* nodes that nobody would need but for pins */
};

/* Makes an empty table. */
void table_init(struct table *table);
void table_deinit(struct table *table);

/* A node's bytes; lent while it lives. */
struct peri_slice table_key(const struct table_node *node);
struct peri_slice table_value(const struct table_node *node);

/* A node for a change, not in the table yet; NULL without memory. */
struct table_node *table_node_create(struct peri_slice key, struct peri_slice value,
                                     bool is_deletion);

/* Puts a node in as the newest version of its key, and takes it over. */
void table_add(struct table *table, struct table_node *node);

/* Where a value is, for tables whose values are somewhere else. */
struct table_place {
    uint64_t position, size;
};

/* A node for each change of a batch's bytes, linked by next[0] in their order. Errors: PERI_ENOMEM,
 * PERI_ECORRUPT for bytes that are no batch. */
int table_nodes_make(struct peri_slice batch, struct table_node **out);

/* The same with struct table_place as values, for a batch whose bytes begin at position. */
int table_places_make(struct peri_slice batch, uint64_t position, struct table_node **out);
void table_nodes_free(struct table_node *nodes); /* accepts NULL */

/* Puts nodes in, in their order, and takes them over. */
void table_nodes_add(struct table *table, struct table_node *nodes);

/* The first version visible at sequence whose key is not below key (or, after, above it); deleted
 * keys are passed over. NULL behind the last. */
struct table_node *table_find(const struct table *table, struct peri_slice key, uint64_t sequence,
                              bool is_after);

/* The version visible at sequence of the last key below key that is not deleted; NULL before the
 * first. */
struct table_node *table_find_below(const struct table *table, struct peri_slice key,
                                    uint64_t sequence);

/* Keeps what is visible now, until the pin is taken away. While there is a pin no node goes, and
 * other threads may call table_find with the sequence UINT64_MAX while one adds. */
void table_pin(struct table *table, struct table_pin *pin);
void table_unpin(struct table *table, struct table_pin *pin);

#endif
