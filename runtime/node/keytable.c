#include "node/keytable.h"

#include <stdlib.h>

#include "base/assert.h"

enum { SLOTS_MIN = 64 };

void node_keytable_init(struct node_keytable *table)
{
    *table = (struct node_keytable){.slots = NULL};
    peri_list_init(&table->loose);
}

/* ---- the chains ---- */

static struct node_keymap_entry **slot_of(const struct node_keytable *table, uint64_t hash)
{
    return table->slots != NULL ? &table->slots[(size_t)(hash >> 32) & table->slots_mask]
                                : (struct node_keymap_entry **)(uintptr_t)&table->only;
}

/* Moves all chains into twice as many, or more. */
static void grow(struct node_keytable *table)
{
    struct node_keytable old = *table;
    size_t size = old.slots != NULL ? 2 * (old.slots_mask + 1) : SLOTS_MIN;
    struct node_keymap_entry **slots = calloc(size, sizeof *slots);
    if (slots == NULL)
        return; /* chains get longer */
    table->slots = slots;
    table->slots_mask = size - 1;
    table->only = NULL;
    for (size_t at = 0; at <= old.slots_mask; at++) {
        struct node_keymap_entry *entry = old.slots != NULL ? old.slots[at] : old.only;
        while (entry != NULL) {
            struct node_keymap_entry *next = entry->chain, **slot = slot_of(table, entry->hash);
            entry->chain = *slot;
            *slot = entry;
            entry = next;
        }
    }
    free(old.slots);
}

void node_keytable_put(struct node_keytable *table, struct node_keymap_entry *entry)
{
    if (table->count >= (table->slots_mask + 1) / 2)
        grow(table);
    struct node_keymap_entry **slot = slot_of(table, entry->hash);
    entry->chain = *slot;
    entry->order = NODE_UNORDERED;
    *slot = entry;
    table->count++;
}

void node_keytable_remove(struct node_keytable *table, struct node_keymap_entry *entry)
{
    struct node_keymap_entry **link = slot_of(table, entry->hash);
    node_keytable_unorder(table, entry);
    while (*link != entry) {
        PERI_ASSERT(*link != NULL);
        link = &(*link)->chain;
    }
    *link = entry->chain;
    table->count--;
}

struct node_keymap_entry *node_keytable_find(const struct node_keytable *table,
                                             struct peri_slice key)
{
    uint64_t hash = node_keymap_hash(key);
    struct node_keymap_entry *entry = *slot_of(table, hash);
    while (entry != NULL &&
           (entry->hash != hash || peri_slice_compare(node_keymap_key(entry), key) != 0))
        entry = entry->chain;
    return entry;
}

void node_keytable_clear(struct node_keytable *table)
{
    for (size_t at = 0; at <= table->slots_mask; at++) {
        struct node_keymap_entry *entry = table->slots != NULL ? table->slots[at] : table->only;
        while (entry != NULL) {
            struct node_keymap_entry *next = entry->chain;
            if (!entry->is_orphan) {
                peri_list_remove(&entry->link);
                free(entry);
            }
            entry = next;
        }
    }
    free(table->slots);
    node_keytable_init(table);
}

/* ---- the order ---- */

void node_keytable_order(struct node_keytable *table, struct node_keymap_entry *entry)
{
    if (entry->order != NODE_UNORDERED)
        return;
    entry->order = NODE_LOOSE;
    peri_list_append(&table->loose, &entry->loose);
}

void node_keytable_unorder(struct node_keytable *table, struct node_keymap_entry *entry)
{
    if (entry->order == NODE_LOOSE)
        peri_list_remove(&entry->loose);
    else if (entry->order == NODE_ORDERED)
        node_keymap_remove(&table->ordered, entry);
    entry->order = NODE_UNORDERED;
}

const struct node_keymap *node_keytable_ordered(struct node_keytable *table)
{
    while (!peri_list_is_empty(&table->loose)) {
        struct node_keymap_entry *entry =
            container_of(table->loose.next, struct node_keymap_entry, loose);
        peri_list_remove(&entry->loose);
        entry->order = NODE_ORDERED;
        (void)node_keymap_put(&table->ordered, entry); /* in nobody's place: keys are there once */
    }
    return &table->ordered;
}
