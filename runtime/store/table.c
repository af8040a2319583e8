#include "store/table.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"
#include "store/backend.h"

void table_init(struct table *table)
{
    *table = (struct table){.sequence = 0};
    peri_list_init(&table->pins);
}

void table_deinit(struct table *table)
{
    struct table_node *next = NULL;
    for (struct table_node *node = table->heads[0]; node != NULL; node = next) {
        next = node->next[0];
        free(node);
    }
    table_init(table);
}

static char *bytes_of(const struct table_node *node)
{
    return (char *)(uintptr_t)&node->next[node->levels];
}

struct peri_slice table_key(const struct table_node *node)
{
    return peri_slice_of(bytes_of(node), node->key_size);
}

struct peri_slice table_value(const struct table_node *node)
{
    return peri_slice_of(bytes_of(node) + node->key_size, node->value_size);
}

struct table_node *table_node_create(struct peri_slice key, struct peri_slice value,
                                     bool is_deletion)
{
    uint64_t hash = XXH3_64bits(key.data, key.size);
    uint32_t levels = 1;
    for (; (hash & 3) == 0 && levels < TABLE_LEVELS; hash >>= 2)
        levels++;
    struct table_node *node =
        malloc(sizeof *node + levels * sizeof(table_link) + key.size + value.size);
    if (node == NULL)
        return NULL;
    *node = (struct table_node){.key_size = key.size,
                                .value_size = value.size,
                                .is_deletion = is_deletion,
                                .levels = levels};
    if (key.size > 0)
        memcpy(bytes_of(node), key.data, key.size);
    if (value.size > 0)
        memcpy(bytes_of(node) + key.size, value.data, value.size);
    return node;
}

/* True when node stands before (key, sequence): smaller keys first, then newer versions. */
static bool is_before(const struct table_node *node, struct peri_slice key, uint64_t sequence)
{
    int order = peri_slice_compare(table_key(node), key);
    return order < 0 || (order == 0 && node->sequence > sequence);
}

static struct table_node *follow(table_link *link)
{
    return atomic_load_explicit(link, memory_order_acquire);
}

/* The links, one a level, behind which (key, sequence) has its place. */
static void find_links(struct table *table, struct peri_slice key, uint64_t sequence,
                       table_link *links[TABLE_LEVELS])
{
    struct table_node *node = NULL; /* whose links we follow; NULL: the heads */
    for (size_t level = TABLE_LEVELS; level-- > 0;) {
        table_link *link = node == NULL ? &table->heads[level] : &node->next[level];
        struct table_node *next = NULL;
        while ((next = follow(link)) != NULL && is_before(next, key, sequence)) {
            node = next;
            link = &node->next[level];
        }
        links[level] = link;
    }
}

static void unlink_node(struct table *table, struct table_node *node)
{
    table_link *links[TABLE_LEVELS];
    find_links(table, table_key(node), node->sequence, links);
    for (size_t level = 0; level < node->levels; level++) {
        PERI_ASSERT(*links[level] == node);
        *links[level] = node->next[level];
    }
    free(node);
}

static bool has_key(const struct table_node *node, struct peri_slice key)
{
    return node != NULL && peri_slice_compare(table_key(node), key) == 0;
}

static uint64_t live_bytes(const struct table_node *node)
{
    return node->is_deletion ? 0 : node->key_size + node->value_size;
}

void table_add(struct table *table, struct table_node *node)
{
    table_link *links[TABLE_LEVELS];
    struct peri_slice key = table_key(node);
    node->sequence = ++table->sequence;
    find_links(table, key, node->sequence, links);
    for (size_t level = 0; level < node->levels; level++) {
        atomic_init(&node->next[level], follow(links[level]));
        atomic_store_explicit(links[level], node, memory_order_release);
    }
    struct table_node *old = node->next[0];
    bool is_pinned = !peri_list_is_empty(&table->pins);
    if (has_key(old, key)) {
        table->live_bytes -= live_bytes(old);
        if (is_pinned)
            table->old_count++;
        else
            unlink_node(table, old);
    }
    table->live_bytes += live_bytes(node);
    if (node->is_deletion && is_pinned)
        table->old_count++;
    else if (node->is_deletion)
        unlink_node(table, node);
}

struct table_node *table_find(const struct table *table, struct peri_slice key, uint64_t sequence,
                              bool is_after)
{
    table_link *links[TABLE_LEVELS];
    find_links((struct table *)(uintptr_t)table, key, is_after ? 0 : UINT64_MAX, links);
    struct table_node *node = *links[0];
    while (node != NULL) {
        struct peri_slice at = table_key(node);
        while (has_key(node, at) && node->sequence > sequence)
            node = node->next[0];
        if (has_key(node, at) && !node->is_deletion)
            return node;
        while (has_key(node, at))
            node = node->next[0];
    }
    return NULL;
}

/* The last node whose key is below key, whatever its version. */
static const struct table_node *last_below(const struct table *table, struct peri_slice key)
{
    const struct table_node *node = NULL;
    for (size_t level = TABLE_LEVELS; level-- > 0;) {
        const table_link *link = node == NULL ? &table->heads[level] : &node->next[level];
        const struct table_node *next = NULL;
        while ((next = atomic_load_explicit(link, memory_order_acquire)) != NULL &&
               peri_slice_compare(table_key(next), key) < 0) {
            node = next;
            link = &node->next[level];
        }
    }
    return node;
}

struct table_node *table_find_below(const struct table *table, struct peri_slice key,
                                    uint64_t sequence)
{
    const struct table_node *below = last_below(table, key);
    while (below != NULL) {
        struct peri_slice at = table_key(below);
        struct table_node *found = table_find(table, at, sequence, false);
        if (has_key(found, at))
            return found;
        below = last_below(table, at); /* that key is deleted */
    }
    return NULL;
}

void table_pin(struct table *table, struct table_pin *pin)
{
    pin->sequence = table->sequence;
    peri_list_append(&table->pins, &pin->link);
}

/* Nobody looks at old versions any more: they go. */
static void sweep(struct table *table)
{
    struct table_node *node = table->heads[0];
    while (node != NULL) {
        struct table_node *next = node->next[0];
        struct peri_slice key = table_key(node);
        while (has_key(next, key)) {
            struct table_node *old = next;
            next = old->next[0];
            unlink_node(table, old);
        }
        if (node->is_deletion)
            unlink_node(table, node);
        node = next;
    }
    table->old_count = 0;
}

void table_unpin(struct table *table, struct table_pin *pin)
{
    peri_list_remove(&pin->link);
    if (peri_list_is_empty(&table->pins) && table->old_count > 0)
        sweep(table);
}

/* ---- batches ---- */

void table_nodes_free(struct table_node *nodes)
{
    while (nodes != NULL) {
        struct table_node *next = nodes->next[0];
        free(nodes);
        nodes = next;
    }
}

static int make_nodes(struct peri_slice batch, const uint64_t *position, struct table_node **out)
{
    struct table_node *first = NULL, *last = NULL;
    struct store_change change;
    size_t at = 0;
    int rc;
    while ((rc = store_batch_next(batch, &at, &change)) == 1) {
        bool is_deletion = change.value.data == NULL;
        struct table_place place = {.size = change.value.size};
        struct peri_slice value = change.value;
        if (position != NULL && !is_deletion) {
            place.position = *position + (uint64_t)(change.value.data - batch.data);
            value = peri_slice_of((const char *)&place, sizeof place);
        }
        struct table_node *node = table_node_create(change.key, value, is_deletion);
        if (node == NULL) {
            rc = PERI_ENOMEM;
            break;
        }
        atomic_init(&node->next[0], NULL);
        if (last == NULL)
            first = node;
        else
            last->next[0] = node;
        last = node;
    }
    if (rc == 0)
        *out = first;
    else
        table_nodes_free(first);
    return rc;
}

int table_nodes_make(struct peri_slice batch, struct table_node **out)
{
    return make_nodes(batch, NULL, out);
}

int table_places_make(struct peri_slice batch, uint64_t position, struct table_node **out)
{
    return make_nodes(batch, &position, out);
}

void table_nodes_add(struct table *table, struct table_node *nodes)
{
    while (nodes != NULL) {
        struct table_node *next = nodes->next[0];
        table_add(table, nodes);
        nodes = next;
    }
}
