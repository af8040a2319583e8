#include "node/keymap.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"

enum { WASTE_MAX = 256 };

static char *bytes_of(const struct node_keymap_entry *entry)
{
    return (char *)(uintptr_t)&entry->next[entry->levels];
}

uint64_t node_keymap_hash(struct peri_slice key)
{
    return XXH3_64bits(key.data, key.size);
}

struct node_keymap_entry *node_keymap_entry_create(struct peri_slice key, struct peri_slice value,
                                                   bool is_deleted)
{
    uint64_t hash = node_keymap_hash(key), drawn = hash | UINT64_C(1)
                                                              << (2 * (NODE_KEYMAP_LEVELS - 1));
    uint8_t levels = (uint8_t)(1 + __builtin_ctzll(drawn) / 2); /* each a quarter of the others */
    struct node_keymap_entry *entry =
        malloc(sizeof *entry + levels * sizeof entry->next[0] + key.size + value.size);
    if (entry == NULL)
        return NULL;
    *entry = (struct node_keymap_entry){.hash = hash,
                                        .key_size = (uint32_t)key.size,
                                        .value_size = (uint32_t)value.size,
                                        .value_room = (uint32_t)value.size,
                                        .is_deleted = is_deleted,
                                        .levels = levels};
    peri_list_init(&entry->link);
    peri_list_init(&entry->loose);
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
    entry->value_size = (uint32_t)value.size;
    entry->is_deleted = by->is_deleted;
    entry->is_brief = by->is_brief;
    return true;
}

/* The links, one a level, behind which key has its place. */
static void find_links(struct node_keymap *map, struct peri_slice key,
                       struct node_keymap_entry **links[NODE_KEYMAP_LEVELS])
{
    struct node_keymap_entry *entry = NULL; /* whose links we follow; NULL: the heads */
    size_t level = NODE_KEYMAP_LEVELS;
    for (; level > 0 && map->heads[level - 1] == NULL; level--) /* most maps are small */
        links[level - 1] = &map->heads[level - 1];
    while (level-- > 0) {
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
    return old;
}

void node_keymap_remove(struct node_keymap *map, struct node_keymap_entry *entry)
{
    struct node_keymap_entry **links[NODE_KEYMAP_LEVELS];
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
    struct node_keymap_entry *entry = node_keymap_seek(map, key);
    return entry != NULL && peri_slice_compare(node_keymap_key(entry), key) == 0 ? entry : NULL;
}

void node_keymap_clear(struct node_keymap *map)
{
    struct node_keymap_entry *entry = map->heads[0];
    while (entry != NULL) {
        struct node_keymap_entry *next = entry->next[0];
        peri_list_remove(&entry->link);
        free(entry);
        entry = next;
    }
    *map = (struct node_keymap){.heads = {NULL}};
}
