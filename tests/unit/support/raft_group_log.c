#include "raft_group_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

void group_log_add(struct group_log *log, const struct group_entry *entry)
{
    log->entries = group_grow(log->entries, log->count, &log->capacity, sizeof *log->entries);
    log->entries[log->count++] = *entry;
}

const struct group_entry *group_log_at(const struct group_log *log, uint64_t index)
{
    PERI_ASSERT(index > log->base && index <= log->base + log->count);
    return &log->entries[index - log->base - 1];
}

bool group_log_has(const struct group_log *log, uint64_t index, uint64_t term)
{
    if (index <= log->base)
        return true; /* cut off, thus committed */
    return index <= log->base + log->count && group_log_at(log, index)->term == term;
}

void group_log_truncate(struct group_log *log, uint64_t first)
{
    if (first <= log->base + log->count)
        log->count = first - log->base - 1;
}

void group_log_reset(struct group_log *log, uint64_t base, uint64_t base_term)
{
    log->base = base;
    log->base_term = base_term;
    log->count = 0;
}

void group_log_cut(struct group_log *log, uint64_t base)
{
    if (base <= log->base)
        return;
    uint64_t term = group_log_at(log, base)->term;
    size_t gone = base - log->base;
    memmove(log->entries, log->entries + gone, (log->count - gone) * sizeof *log->entries);
    log->count -= gone;
    log->base = base;
    log->base_term = term;
}
