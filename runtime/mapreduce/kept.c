#include "mapreduce/kept.h"

#include "base/assert.h"
#include "mapreduce/values.h"

enum {
    PREFETCH_DISTANCE = 16, /* records ahead of the one that is written */
    CACHE_LINE = 64,
};

int mr_kept_init(struct mr_kept *kept, struct env *env, const struct mr_reducer *reducer,
                 size_t limit_bytes, struct peri_error *err)
{
    if (mr_reducer_has_state(reducer))
        return mr_table_create(&kept->table, reducer, limit_bytes, err);
    int rc = mr_collect_init(&kept->collect, env, limit_bytes);
    return rc != 0 ? peri_fail(err, rc, "emit") : 0;
}

void mr_kept_deinit(struct mr_kept *kept)
{
    mr_table_close(kept->table);
    kept->table = NULL;
    mr_collect_deinit(&kept->collect);
    peri_buffer_deinit(&kept->state);
}

bool mr_kept_is_empty(const struct mr_kept *kept)
{
    return kept->table != NULL ? mr_table_count(kept->table) == 0 : kept->collect.count == 0;
}

size_t mr_kept_used_bytes(const struct mr_kept *kept)
{
    if (kept->table != NULL)
        return mr_table_used_bytes(kept->table);
    return kept->collect.used_bytes + kept->collect.count * sizeof(struct mr_sort_item);
}

void mr_kept_clear(struct mr_kept *kept)
{
    if (kept->table != NULL)
        mr_table_clear(kept->table);
    else
        mr_collect_clear(&kept->collect);
}

/* ---- writing ---- */

/* Inlined always: to GCC 12 a call that only prefetches has no effect, and it drops the call. */
static inline __attribute__((always_inline)) void prefetch(const struct mr_sort_records *records,
                                                           const struct mr_sort_item *items,
                                                           size_t at, size_t count)
{
    if (at + PREFETCH_DISTANCE >= count)
        return;
    const char *record = mr_sort_record(records, &items[at + PREFETCH_DISTANCE]);
    __builtin_prefetch(record);
    __builtin_prefetch(record + CACHE_LINE);
    __builtin_prefetch(record + 2 * CACHE_LINE);
}

static uint32_t part_of(const struct mr_sort_item *item)
{
    return item->order >> 8;
}

static int write_states(struct mr_kept *kept, struct mr_spill_writer *writer,
                        struct peri_error *err)
{
    struct mr_sort_records records;
    size_t count;
    const struct mr_sort_item *items = mr_table_sort(kept->table, &records, &count);
    for (size_t i = 0; i < count; i++) {
        prefetch(&records, items, i, count);
        kept->state.size = 0;
        int rc = mr_table_encode(kept->table, &items[i], &kept->state, err);
        if (rc == 0)
            rc = mr_spill_writer_add(writer, part_of(&items[i]), mr_sort_key(&records, &items[i]),
                                     peri_buffer_slice(&kept->state), err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int write_pairs(struct mr_kept *kept, struct mr_spill_writer *writer, struct peri_error *err)
{
    struct mr_sort_records records;
    const struct mr_sort_item *items = mr_collect_sort(&kept->collect, &records);
    for (size_t i = 0; i < kept->collect.count; i++) {
        prefetch(&records, items, i, kept->collect.count);
        int rc = mr_spill_writer_add(writer, part_of(&items[i]), mr_sort_key(&records, &items[i]),
                                     mr_collect_value(&records, &items[i]), err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The values of equal keys in a sorted index. */
struct index_values {
    struct mr_values values;
    const struct mr_sort_records *records;
    const struct mr_sort_item *at, *end;
};

static int next_index_value(struct mr_values *values, struct peri_slice *value,
                            struct peri_error *err)
{
    struct index_values *group = container_of(values, struct index_values, values);
    (void)err;
    if (group->at == group->end)
        return 0;
    *value = mr_collect_value(group->records, group->at++);
    return 1;
}

static size_t group_size(const struct mr_sort_records *records, const struct mr_sort_item *items,
                         size_t count)
{
    struct peri_slice key = mr_sort_key(records, &items[0]);
    size_t size = 1;
    while (size < count && items[size].order == items[0].order &&
           peri_slice_compare(mr_sort_key(records, &items[size]), key) == 0)
        size++;
    return size;
}

static int write_combined(struct mr_kept *kept, struct mr_spill_writer *writer,
                          mr_combine_cb combine, void *combine_data, struct peri_error *err)
{
    struct mr_sort_records records;
    const struct mr_sort_item *items = mr_collect_sort(&kept->collect, &records);
    size_t size;
    for (size_t i = 0; i < kept->collect.count; i += size) {
        struct peri_slice key = mr_sort_key(&records, &items[i]);
        size = group_size(&records, &items[i], kept->collect.count - i);
        struct index_values group = {
            {next_index_value, key}, &records, &items[i], &items[i + size]};
        struct mr_combine_out out = {.writer = writer, .part = part_of(&items[i]), .key = key};
        int rc = combine(combine_data, key, &group.values, &out, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int mr_kept_write(struct mr_kept *kept, struct mr_spill_writer *writer, mr_combine_cb combine,
                  void *combine_data, struct peri_error *err)
{
    if (kept->table != NULL)
        return write_states(kept, writer, err);
    return combine != NULL ? write_combined(kept, writer, combine, combine_data, err)
                           : write_pairs(kept, writer, err);
}
