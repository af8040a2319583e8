#include "store/table_walk.h"

#include <stdlib.h>

#include "base/assert.h"

uint64_t table_walk_sequence(const struct table *table, const struct store_snapshot *snapshot)
{
    return snapshot == NULL ? table->sequence : snapshot->pin.sequence;
}

int table_snapshot_take(struct table *table, struct store_snapshot **out)
{
    struct store_snapshot *snapshot = malloc(sizeof *snapshot);
    if (snapshot == NULL)
        return PERI_ENOMEM;
    table_pin(table, &snapshot->pin);
    *out = snapshot;
    return 0;
}

void table_snapshot_release(struct table *table, struct store_snapshot *snapshot)
{
    table_unpin(table, &snapshot->pin);
    free(snapshot);
}

void table_iterator_begin(struct table_iterator *iterator, struct store *store, struct table *table,
                          const struct store_snapshot *snapshot)
{
    iterator->base.store = store;
    iterator->table = table;
    iterator->node = NULL;
    table_pin(table, &iterator->pin);
    iterator->pin.sequence = table_walk_sequence(table, snapshot);
}

void table_iterator_end(struct table_iterator *iterator)
{
    table_unpin(iterator->table, &iterator->pin);
}

struct table_iterator *table_iterator_of(const struct store_iterator *base)
{
    return container_of((struct store_iterator *)(uintptr_t)base, struct table_iterator, base);
}

void table_iterator_seek(struct store_iterator *base, struct peri_slice key)
{
    struct table_iterator *iterator = table_iterator_of(base);
    iterator->node = table_find(iterator->table, key, iterator->pin.sequence, false);
}

void table_iterator_next(struct store_iterator *base)
{
    struct table_iterator *iterator = table_iterator_of(base);
    iterator->node =
        table_find(iterator->table, table_key(iterator->node), iterator->pin.sequence, true);
}

void table_iterator_seek_below(struct store_iterator *base, struct peri_slice key)
{
    struct table_iterator *iterator = table_iterator_of(base);
    iterator->node = table_find_below(iterator->table, key, iterator->pin.sequence);
}

bool table_iterator_is_valid(const struct store_iterator *base)
{
    return table_iterator_of(base)->node != NULL;
}

struct peri_slice table_iterator_key(const struct store_iterator *base)
{
    return table_key(table_iterator_of(base)->node);
}
