/* log_group.c - groups, where their entries are, and which of them are in memory. */
#include "store/log_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ---- */

static size_t place_of(const struct store_log *log, uint64_t group)
{
    size_t low = 0, high = log->group_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (log->groups[middle]->group < group)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct log_group *log_group_find(const struct store_log *log, uint64_t group)
{
    size_t at = place_of(log, group);
    return at < log->group_count && log->groups[at]->group == group ? log->groups[at] : NULL;
}

int log_group_add(struct store_log *log, struct log_group *group)
{
    if (log->group_count == log->group_capacity) {
        size_t capacity = log->group_capacity == 0 ? 8 : 2 * log->group_capacity;
        struct log_group **groups = realloc(log->groups, capacity * sizeof(struct log_group *));
        if (groups == NULL)
            return PERI_ENOMEM;
        log->groups = groups;
        log->group_capacity = capacity;
    }
    size_t at = place_of(log, group->group);
    memmove(&log->groups[at + 1], &log->groups[at],
            (log->group_count - at) * sizeof(struct log_group *));
    log->groups[at] = group;
    log->group_count++;
    return 0;
}

void log_group_remove(struct store_log *log, struct log_group *group)
{
    size_t at = place_of(log, group->group);
    PERI_ASSERT(log->groups[at] == group);
    log->group_count--;
    memmove(&log->groups[at], &log->groups[at + 1],
            (log->group_count - at) * sizeof(struct log_group *));
}

/* ---- records ---- */

/* The oldest record is not needed any more. */
static void pop(struct store_log *log, struct log_group *group)
{
    struct log_record *record = &group->records[group->start];
    struct log_generation *generation = log_generation_find(log, record->generation);
    if (generation != NULL)
        log_generation_lose(generation, record);
    log_cache_remove(log, record);
    group->start++;
    group->count--;
}

void log_group_free(struct store_log *log, struct log_group *group)
{
    while (group->count > 0)
        pop(log, group);
    free(group->records);
    free(group);
}

uint64_t log_group_first_serial(const struct log_group *group)
{
    return group->serial + 1 - group->count;
}

struct log_record *log_group_serial(const struct log_group *group, uint64_t serial)
{
    uint64_t first = log_group_first_serial(group);
    return serial >= first && serial <= group->serial
               ? &group->records[group->start + (size_t)(serial - first)]
               : NULL;
}

/* Ends of records never shrink from one to the next, so the first that reaches index holds it. */
struct log_record *log_group_record(const struct log_group *group, uint64_t index)
{
    if (index <= group->base_index || index > group->last_index)
        return NULL;
    size_t low = 0, high = group->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (group->records[group->start + middle].last < index)
            low = middle + 1;
        else
            high = middle;
    }
    struct log_record *record = &group->records[group->start + low];
    PERI_ASSERT(low < group->count && record->first <= index); /* the log has no holes */
    return record;
}

int log_group_reserve(struct log_group *group)
{
    if (group->start + group->count < group->capacity)
        return 0;
    if (group->start > group->count) { /* half of it is behind us */
        memmove(group->records, group->records + group->start,
                group->count * sizeof *group->records);
        group->start = 0;
        return 0;
    }
    size_t capacity = group->capacity == 0 ? 4 : 2 * group->capacity;
    struct log_record *records = realloc(group->records, capacity * sizeof *records);
    if (records == NULL)
        return PERI_ENOMEM;
    group->records = records;
    group->capacity = capacity;
    return 0;
}

void log_group_truncate(struct log_group *group, uint64_t index)
{
    for (size_t i = group->count; i-- > 0;) {
        struct log_record *record = &group->records[group->start + i];
        if (record->last < index)
            break;
        record->last = index - 1;
        if (record->first > index)
            record->first = index;
    }
    group->last_index = index - 1;
}

bool log_group_trim(struct store_log *log, struct log_group *group)
{
    bool is_missed = false;
    while (group->count > 0 && group->records[group->start].last <= group->base_index) {
        is_missed = is_missed || log_group_first_serial(group) <= group->head_serial;
        pop(log, group);
    }
    return is_missed;
}

struct log_record *log_group_append(struct log_group *group, uint64_t first, uint64_t last)
{
    PERI_ASSERT(group->start + group->count < group->capacity);
    struct log_record *record = &group->records[group->start + group->count];
    *record = (struct log_record){.first = first, .last = last};
    group->count++;
    group->serial++;
    return record;
}

void log_group_head(const struct log_group *group, struct log_head *out)
{
    *out = (struct log_head){
        .group = group->group,
        .replica = group->replica,
        .health = group->health,
        .has_forgotten = group->has_forgotten,
        .damaged_from = group->damaged_from,
        .serial = group->serial,
        .first_serial = log_group_first_serial(group),
        .chain = group->chain,
        .term = group->term,
        .vote = group->vote,
        .base_index = group->base_index,
        .base_term = group->base_term,
        .last_index = group->last_index,
        .members = group->members,
    };
}

/* ---- values in memory ---- */

struct log_value *log_value_take(struct log_value *value)
{
    value->references++;
    return value;
}

void log_value_give(struct log_value *value)
{
    if (--value->references > 0)
        return;
    peri_buffer_deinit(&value->bytes);
    free(value);
}

static uint64_t memory_of(const struct log_value *value)
{
    return sizeof *value + value->count * sizeof value->entries[0] + value->bytes.capacity;
}

void log_cache_add(struct store_log *log, struct log_record *record, struct log_value *value)
{
    record->value = log_value_take(value);
    peri_list_append(&log->cache, &value->link);
    log->cache_bytes += memory_of(value);
}

void log_cache_remove(struct store_log *log, struct log_record *record)
{
    struct log_value *value = record->value;
    if (value == NULL)
        return;
    record->value = NULL;
    peri_list_remove(&value->link);
    log->cache_bytes -= memory_of(value);
    log_value_give(value);
}

/* What is not durable has to stay, and so does what is younger. */
void log_cache_shrink(struct store_log *log)
{
    while (log->cache_bytes > log->options.cache_max_bytes && !peri_list_is_empty(&log->cache)) {
        struct log_value *value = container_of(log->cache.next, struct log_value, link);
        struct log_record *record = log_group_serial(value->group, value->serial);
        if (record->generation == 0)
            break;
        log_cache_remove(log, record);
    }
}

/* ---- generations ---- */

struct log_generation *log_generation_find(const struct store_log *log, uint64_t number)
{
    for (size_t i = 0; i < log->generation_count; i++)
        if (log->generations[i]->number == number)
            return log->generations[i];
    return NULL;
}

int log_generation_add(struct store_log *log, uint64_t number, struct store *store,
                       struct log_generation **out)
{
    if (log->generation_count == log->generation_capacity) {
        size_t capacity = log->generation_capacity == 0 ? 4 : 2 * log->generation_capacity;
        struct log_generation **generations =
            realloc(log->generations, capacity * sizeof(struct log_generation *));
        if (generations == NULL)
            return PERI_ENOMEM;
        log->generations = generations;
        log->generation_capacity = capacity;
    }
    struct log_generation *generation = calloc(1, sizeof *generation);
    if (generation == NULL)
        return PERI_ENOMEM;
    generation->number = number;
    if (number > log->newest_generation)
        log->newest_generation = number;
    generation->store = store;
    log->generations[log->generation_count++] = generation;
    *out = generation;
    return 0;
}

void log_generation_path(char *out, const char *log_path, uint64_t number)
{
    (void)snprintf(out, LOG_PATH_MAX, "%s/%06" PRIu64, log_path, number);
}

struct store_options log_generation_options(const struct store_log *log)
{
    const struct store_log_options *options = &log->options;
    return (struct store_options){
        .backend = options->backend == STORE_BY_ENV ? STORE_JOURNAL : options->backend,
        .kept = log->path,
        .write_buffer_bytes = 2 * (size_t)options->generation_max_bytes, /* is never full */
        .file_max_bytes = 2 * (size_t)options->generation_max_bytes,
        .cache_bytes = 1 << 20,
    };
}

int log_generation_open(struct env *env, const char *log_path, uint64_t number,
                        const struct store_options *options, struct store **out,
                        struct peri_error *err)
{
    char path[LOG_PATH_MAX];
    struct store_options its = *options;
    its.number = number;
    log_generation_path(path, log_path, number);
    return store_open(out, env, path, &its, err);
}

/* A generation is needed while entries are in it, or while it has the only durable head of a group
 * that was cut since. */
void log_generation_retire(struct store_log *log)
{
    bool has_chores = false;
    if (log->failed != 0)
        return;
    for (size_t i = 0; i + 1 < log->generation_count; i++) {
        struct log_generation *generation = log->generations[i];
        if (log->pending_heads == 0 && generation->live == 0 && generation->readers == 0)
            generation->is_doomed = true;
        has_chores =
            has_chores || generation->is_doomed || generation->is_heavy || log_move_is_due(log, i);
    }
    if (has_chores)
        (void)log_chores_start(log); /* else another time */
}
