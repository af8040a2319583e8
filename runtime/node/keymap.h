/* keymap.h - an ordered map of byte strings in memory, which remembers deletions: what a command
 * has read and writes.
 *
 * A skip list, whose levels are drawn from the key's hash, so that a simulation finds the same list
 * in every run. Pure. */
#ifndef PERI_NODE_KEYMAP_H
#define PERI_NODE_KEYMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"

enum { NODE_KEYMAP_LEVELS = 16 };

enum node_keytable_order { NODE_UNORDERED, NODE_LOOSE, NODE_ORDERED };

struct node_keymap_entry {
    struct peri_list link; /* the owner's */
    uint64_t hash;         /* of the key */
    uint32_t key_size, value_size;
    uint32_t value_room; /* how large the value may get in its place */
    bool is_deleted;     /* the key is known not to be there */
    bool is_dirty;       /* the owner's: the store does not have it yet */
    bool is_brief;       /* the owner's: hardly read again once the store has it */
    bool is_orphan;      /* the owner's: in no table any more, or it leaves when that is cleared */
    uint8_t round;       /* the owner's: of a dirty one, which round it belongs to */
    uint8_t levels;
    struct node_keymap_entry *chain; /* of a table (keytable.h), like the next two */
    struct peri_list loose;
    enum node_keytable_order order;
    struct node_keymap_entry *next[]; /* levels of them; behind them key and value */
};

/* Starts zeroed; ended by node_keymap_clear. */
struct node_keymap {
    struct node_keymap_entry *heads[NODE_KEYMAP_LEVELS];
};

/* An entry that is in no map yet; NULL without memory. */
struct node_keymap_entry *node_keymap_entry_create(struct peri_slice key, struct peri_slice value,
                                                   bool is_deleted);

/* The hash of a key. */
uint64_t node_keymap_hash(struct peri_slice key);

/* An entry's bytes; lent while it lives. */
struct peri_slice node_keymap_key(const struct node_keymap_entry *entry);
struct peri_slice node_keymap_value(const struct node_keymap_entry *entry);

/* What the entry costs, in bytes. */
size_t node_keymap_cost(const struct node_keymap_entry *entry);

/* Puts an entry in and takes it over. Returns the one that had its key, which is the caller's to
 * free, or NULL. */
struct node_keymap_entry *node_keymap_put(struct node_keymap *map, struct node_keymap_entry *entry);

/* Gives an entry of a map the value of another one, which is the caller's still. False, with
 * nothing changed, when there is no room for it in its place, or far too much. */
bool node_keymap_overwrite(struct node_keymap_entry *entry, const struct node_keymap_entry *by);

/* Takes an entry of the map out of it; it is the caller's to free. */
void node_keymap_remove(struct node_keymap *map, struct node_keymap_entry *entry);

/* The entry of a key, or NULL; the first that is not below key, or NULL. The next is next[0]. */
struct node_keymap_entry *node_keymap_find(const struct node_keymap *map, struct peri_slice key);
struct node_keymap_entry *node_keymap_seek(const struct node_keymap *map, struct peri_slice key);

/* The last entry below key, or NULL. */
struct node_keymap_entry *node_keymap_seek_below(const struct node_keymap *map,
                                                 struct peri_slice key);

/* Frees all entries, taking them out of their owner's lists. */
void node_keymap_clear(struct node_keymap *map);

#endif
