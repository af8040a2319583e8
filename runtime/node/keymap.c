#include "node/keymap.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"

enum { SLOTS_MIN = 64, WASTE_MAX = 256 };

static char *bytes_of(const struct node_keymap_entry *entry)
{
    return (char *)(uintptr_t)&entry->next[entry->levels];
}

static uint64_t hash_of(struct peri_slice key)
{
    return XXH3_64bits(key.data, key.size);
}

struct node_keymap_entry *node_keymap_entry_create(struct peri_slice key, struct peri_slice value,
                                                   bool is_deleted)
{
    uint64_t hash = hash_of(key), drawn = hash | UINT64_C(1) << (2 * (NODE_KEYMAP_LEVELS - 1));
    uint32_t levels =
        1 + (uint32_t)__builtin_ctzll(drawn) / 2; /* each a quarter of the one below */
    struct node_keymap_entry *entry =
        malloc(sizeof *entry + levels * sizeof entry->next[0] + key.size + value.size);
    if (entry == NULL)
        return NULL;
    *entry = (struct node_keymap_entry){.key_size = key.size,
                                        .value_size = value.size,
                                        .value_room = value.size,
                                        .hash = hash,
                                        .is_deleted = is_deleted,
                                        .levels = levels};
    peri_list_init(&entry->link);
    if (key.size > 0)
        memcpy(bytes_of(entry), key.data, key.size);
    if (value.size > 0)
        memcpy(bytes_of(entry) + key.size, value.data, value.size);
    return entry;
}

struct peri_slice node_keymap_key(const struct node_keymap_entry *entry)
{
    return peri_slice_of(bytes_of(entry), entry->key_size);
}

struct peri_slice node_keymap_value(const struct node_keymap_entry *entry)
{
    return peri_slice_of(bytes_of(entry) + entry->key_size, entry->value_size);
}

size_t node_keymap_cost(const struct node_keymap_entry *entry)
{
    return sizeof *entry + entry->levels * sizeof entry->next[0] + entry->key_size +
           entry->value_room;
}

bool node_keymap_overwrite(struct node_keymap_entry *entry, const struct node_keymap_entry *by)
{
    if (by->value_size > entry->value_room || entry->value_room - by->value_size > WASTE_MAX)
        return false;
    struct peri_slice value = node_keymap_value(by);
    if (value.size > 0)
        memcpy(bytes_of(entry) + entry->key_size, value.data, value.size);
    entry->value_size = value.size;
    entry->is_deleted = by->is_deleted;
    entry->is_passing = by->is_passing;
    return true;
}

/* ---- the hash table: open addressing, one slot after the other ---- */

static bool is_key(const struct node_keymap_entry *entry, uint64_t hash, struct peri_slice key)
{
    return entry->hash == hash && peri_slice_compare(node_keymap_key(entry), key) == 0;
}

/* The slot of a key, or the empty one where it would be. */
static struct node_keymap_entry **find_slot(const struct node_keymap *map, uint64_t hash,
                                            struct peri_slice key)
{
    size_t at = (size_t)(hash >> 32) & map->slots_mask;
    while (map->slots[at] != NULL && !is_key(map->slots[at], hash, key))
        at = (at + 1) & map->slots_mask;
    return &map->slots[at];
}

/* Fills a table of that many slots from the list. */
static void make_slots(struct node_keymap *map, size_t size)
{
    free(map->slots);
    map->slots = calloc(size, sizeof *map->slots);
    map->slots_mask = size - 1;
    for (struct node_keymap_entry *entry = map->heads[0]; map->slots != NULL && entry != NULL;
         entry = entry->next[0])
        *find_slot(map, entry->hash, node_keymap_key(entry)) = entry;
}

/* An entry has come into the list; is_new: in no other's place. */
static void index_entry(struct node_keymap *map, struct node_keymap_entry *entry, bool is_new)
{
    size_t size = map->slots != NULL ? map->slots_mask + 1 : 0;
    map->count += is_new;
    if (!map->is_indexed)
        return;
    if (map->count > size - size / 4) {
        while (size < 2 * map->count || size < SLOTS_MIN)
            size = size < SLOTS_MIN ? SLOTS_MIN : 2 * size;
        make_slots(map, size);
    } else {
        *find_slot(map, entry->hash, node_keymap_key(entry)) = entry;
    }
}

/* An entry has left the list: those behind it that were in its way move up. */
static void forget_entry(struct node_keymap *map, const struct node_keymap_entry *entry)
{
    map->count--;
    if (map->slots == NULL)
        return;
    size_t mask = map->slots_mask;
    size_t hole = (size_t)(find_slot(map, entry->hash, node_keymap_key(entry)) - map->slots);
    map->slots[hole] = NULL;
    for (size_t at = (hole + 1) & mask; map->slots[at] != NULL; at = (at + 1) & mask) {
        size_t wanted = (size_t)(map->slots[at]->hash >> 32) & mask;
        if (((at - wanted) & mask) < ((at - hole) & mask))
            continue; /* it would stand in front of where it is looked for */
        map->slots[hole] = map->slots[at];
        map->slots[at] = NULL;
        hole = at;
    }
}

/* ---- the list ---- */

/* The links, one a level, behind which key has its place. */
static void find_links(struct node_keymap *map, struct peri_slice key,
                       struct node_keymap_entry **links[NODE_KEYMAP_LEVELS])
{
    struct node_keymap_entry *entry = NULL; /* whose links we follow; NULL: the heads */
    for (size_t level = NODE_KEYMAP_LEVELS; level-- > 0;) {
        struct node_keymap_entry **link = entry == NULL ? &map->heads[level] : &entry->next[level];
        while (*link != NULL && peri_slice_compare(node_keymap_key(*link), key) < 0) {
            entry = *link;
            link = &entry->next[level];
        }
        links[level] = link;
    }
}

struct node_keymap_entry *node_keymap_put(struct node_keymap *map, struct node_keymap_entry *entry)
{
    struct node_keymap_entry **links[NODE_KEYMAP_LEVELS];
    find_links(map, node_keymap_key(entry), links);
    struct node_keymap_entry *old = *links[0];
    if (old != NULL && peri_slice_compare(node_keymap_key(old), node_keymap_key(entry)) != 0)
        old = NULL;
    for (size_t level = 0; level < entry->levels; level++) { /* the same key, the same levels */
        entry->next[level] = old != NULL ? old->next[level] : *links[level];
        *links[level] = entry;
    }
    index_entry(map, entry, old == NULL);
    return old;
}

void node_keymap_remove(struct node_keymap *map, struct node_keymap_entry *entry)
{
    struct node_keymap_entry **links[NODE_KEYMAP_LEVELS];
    forget_entry(map, entry);
    find_links(map, node_keymap_key(entry), links);
    for (size_t level = 0; level < entry->levels; level++) {
        PERI_ASSERT(*links[level] == entry);
        *links[level] = entry->next[level];
    }
}

struct node_keymap_entry *node_keymap_seek(const struct node_keymap *map, struct peri_slice key)
{
    struct node_keymap_entry **links[NODE_KEYMAP_LEVELS];
    find_links((struct node_keymap *)(uintptr_t)map, key, links);
    return *links[0];
}

struct node_keymap_entry *node_keymap_seek_below(const struct node_keymap *map,
                                                 struct peri_slice key)
{
    struct node_keymap_entry *found = NULL;
    for (size_t level = NODE_KEYMAP_LEVELS; level-- > 0;) {
        struct node_keymap_entry *next = found == NULL ? map->heads[level] : found->next[level];
        while (next != NULL && peri_slice_compare(node_keymap_key(next), key) < 0) {
            found = next;
            next = next->next[level];
        }
    }
    return found;
}

struct node_keymap_entry *node_keymap_find(const struct node_keymap *map, struct peri_slice key)
{
    if (map->slots != NULL)
        return *find_slot(map, hash_of(key), key);
    struct node_keymap_entry *entry = node_keymap_seek(map, key);
    return entry != NULL && peri_slice_compare(node_keymap_key(entry), key) == 0 ? entry : NULL;
}

void node_keymap_clear(struct node_keymap *map)
{
    struct node_keymap_entry *entry = map->heads[0];
    while (entry != NULL) {
        struct node_keymap_entry *next = entry->next[0];
        if (!entry->is_orphan) {
            peri_list_remove(&entry->link);
            free(entry);
        }
        entry = next;
    }
    free(map->slots);
    *map = (struct node_keymap){.is_indexed = map->is_indexed};
}
