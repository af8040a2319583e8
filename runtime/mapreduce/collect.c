#include "mapreduce/collect.h"

#include "base/error.h"

/* A pair in the arena: sizes, then key and value. */
enum { KEY_SIZE_AT = 0, VALUE_SIZE_AT = 4, KEY_AT = 8 };

int mr_collect_init(struct mr_collect *collect, struct env *env, size_t limit_bytes)
{
    size_t rounded = limit_bytes / sizeof(struct mr_sort_item) * sizeof(struct mr_sort_item);
    *collect = (struct mr_collect){
        .env = env, .base = env_region_take(env, rounded), .limit_bytes = rounded};
    return collect->base == NULL ? PERI_ENOMEM : 0;
}

static struct mr_sort_item *items_of(const struct mr_collect *collect)
{
    char *end = collect->base + collect->limit_bytes;
    return (struct mr_sort_item *)(void *)end - collect->count;
}

bool mr_collect_add(struct mr_collect *collect, uint32_t part, struct peri_slice key,
                    struct peri_slice value)
{
    size_t size = (KEY_AT + key.size + value.size + MR_SORT_UNIT - 1) / MR_SORT_UNIT * MR_SORT_UNIT;
    size_t index = (collect->count + 1) * sizeof(struct mr_sort_item);
    size_t left = collect->limit_bytes - collect->used_bytes;
    if (index > left || size > left - index)
        return false;
    char *pair = collect->base + collect->used_bytes;
    uint32_t key_size = (uint32_t)key.size;
    uint32_t value_size = (uint32_t)value.size;
    memcpy(pair + KEY_SIZE_AT, &key_size, sizeof key_size);
    memcpy(pair + VALUE_SIZE_AT, &value_size, sizeof value_size);
    memcpy(pair + KEY_AT, key.data, key.size);
    if (value.size > 0)
        memcpy(pair + KEY_AT + key.size, value.data, value.size);
    collect->count++;
    *items_of(collect) = mr_sort_item_of(part, key, collect->used_bytes);
    collect->used_bytes += size;
    return true;
}

const struct mr_sort_item *mr_collect_sort(struct mr_collect *collect,
                                           struct mr_sort_records *records)
{
    struct mr_sort_item *items = items_of(collect);
    *records = (struct mr_sort_records){collect->base, KEY_AT};
    mr_sort(items, collect->count, records);
    return items;
}

struct peri_slice mr_collect_value(const struct mr_sort_records *records,
                                   const struct mr_sort_item *item)
{
    const char *pair = mr_sort_record(records, item);
    uint32_t key_size;
    uint32_t value_size;
    memcpy(&key_size, pair + KEY_SIZE_AT, sizeof key_size);
    memcpy(&value_size, pair + VALUE_SIZE_AT, sizeof value_size);
    return peri_slice_of(pair + KEY_AT + key_size, value_size);
}

void mr_collect_clear(struct mr_collect *collect)
{
    collect->used_bytes = 0;
    collect->count = 0;
}

void mr_collect_deinit(struct mr_collect *collect)
{
    if (collect->base != NULL)
        env_region_give(collect->env, collect->base);
    *collect = (struct mr_collect){0};
}
