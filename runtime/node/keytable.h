/* keytable.h - what memory knows of a machine's keys: found by hash, and put in order on demand.
 *
 *      entry --put--> unordered --order--> loose --the next question--> ordered
 *                        ^-------------------unorder---------------------'
 *
 * Nearly all questions are for single keys. Only ranges ask for an order, and only that of entries
 * whose store has something else; so one is made when somebody asks, of the entries that were named
 * for it. Pure. */
#ifndef PERI_NODE_KEYTABLE_H
#define PERI_NODE_KEYTABLE_H

#include "node/keymap.h"

/* Is not moved after node_keytable_init; ended by node_keytable_clear. */
struct node_keytable {
    struct node_keymap_entry **slots; /* slots_mask + 1 chains; NULL: only the one */
    struct node_keymap_entry *only;
    size_t slots_mask, count;
    struct node_keymap ordered; /* of those that are in order */
    struct peri_list loose;     /* those that are to be */
};

/* Makes an empty table. */
void node_keytable_init(struct node_keytable *table);

/* Frees all entries but orphans, taking them out of their owner's lists. The table is empty then.
 */
void node_keytable_clear(struct node_keytable *table);

/* Puts in and takes over an entry of a key that the table does not have. Without memory the table
 * gets slower, but has it. */
void node_keytable_put(struct node_keytable *table, struct node_keymap_entry *entry);

/* Takes an entry out; it is the caller's to free. */
void node_keytable_remove(struct node_keytable *table, struct node_keymap_entry *entry);

/* The entry of a key, or NULL. */
struct node_keymap_entry *node_keytable_find(const struct node_keytable *table,
                                             struct peri_slice key);

/* Has an entry of the table stand among those in order, or no more. */
void node_keytable_order(struct node_keytable *table, struct node_keymap_entry *entry);
void node_keytable_unorder(struct node_keytable *table, struct node_keymap_entry *entry);

/* Those in order; lent until the table changes. */
const struct node_keymap *node_keytable_ordered(struct node_keytable *table);

#endif
