/* table.h - the ordered map of the memory backend: a skip list that keeps old versions for as long
 * as somebody reads them.
 *
 * A key's versions stand behind each other, the newest first. While nothing is pinned there is one
 * version a key, and none of a deleted one. Levels are drawn from the key's hash, so that a
 * simulation finds the same list in every run. Pure. */
#ifndef PERI_STORE_TABLE_H
#define PERI_STORE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"

enum { TABLE_LEVELS = 16 };

struct table_node {
    uint64_t sequence;
    size_t key_size, value_size;
    bool is_deletion;
    uint32_t levels;
    struct table_node *next[]; /* levels of them; behind them key and value */
};

/* Somebody who reads the table as of sequence. Nodes that it may see stay. */
struct table_pin {
    struct peri_list link; /* in table.pins, by age */
    uint64_t sequence;
};

struct table {
    struct table_node *heads[TABLE_LEVELS];
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

/* A node for each change of a batch's bytes, linked by next[0] in their order. Errors: PERI_ENOMEM,
 * PERI_ECORRUPT for bytes that are no batch. */
int table_nodes_make(struct peri_slice batch, struct table_node **out);
void table_nodes_free(struct table_node *nodes); /* accepts NULL */

/* Puts nodes in, in their order, and takes them over. */
void table_nodes_add(struct table *table, struct table_node *nodes);

/* The first version visible at sequence whose key is not below key (or, after, above it); deleted
 * keys are passed over. NULL behind the last. */
struct table_node *table_find(const struct table *table, struct peri_slice key, uint64_t sequence,
                              bool is_after);

/* Keeps what is visible now, until the pin is taken away. */
void table_pin(struct table *table, struct table_pin *pin);
void table_unpin(struct table *table, struct table_pin *pin);

#endif
