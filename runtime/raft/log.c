#include "raft/log.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"

enum { CAPACITY_FIRST = 16 };

int raft_log_init(struct raft_log *log, uint64_t base_index, uint64_t base_term, size_t sums_max)
{
    *log = (struct raft_log){.base_index = base_index, .base_term = base_term};
    log->last_index = log->sized_index = base_index;
    log->sums_max = sums_max < CAPACITY_FIRST ? CAPACITY_FIRST : sums_max;
    log->sums_capacity = CAPACITY_FIRST;
    log->sums = calloc(log->sums_capacity, sizeof *log->sums);
    return log->sums == NULL ? PERI_ENOMEM : 0;
}

void raft_log_deinit(struct raft_log *log)
{
    free(log->runs);
    free(log->sums);
    log->runs = NULL;
    log->sums = NULL;
}

static uint64_t *sum_at(const struct raft_log *log, uint64_t index)
{
    return &log->sums[index & (log->sums_capacity - 1)];
}

static int reserve_runs(struct raft_log *log, size_t count)
{
    if (log->run_capacity - log->run_count >= count)
        return 0;
    size_t capacity = 2 * log->run_capacity + count;
    struct raft_run *runs = realloc(log->runs, capacity * sizeof *runs);
    if (runs == NULL)
        return PERI_ENOMEM;
    log->runs = runs;
    log->run_capacity = capacity;
    return 0;
}

static int resize_sums(struct raft_log *log, size_t capacity)
{
    uint64_t *sums = calloc(capacity, sizeof *sums);
    if (sums == NULL)
        return PERI_ENOMEM;
    for (uint64_t i = log->sized_index; i <= log->last_index; i++)
        sums[i & (capacity - 1)] = *sum_at(log, i);
    free(log->sums);
    log->sums = sums;
    log->sums_capacity = capacity;
    return 0;
}

static int reserve_sums(struct raft_log *log, size_t count)
{
    uint64_t known = log->last_index - log->sized_index + 1;
    size_t capacity = log->sums_capacity;
    while (capacity < known + count && capacity * 2 <= log->sums_max)
        capacity *= 2;
    return capacity == log->sums_capacity ? 0 : resize_sums(log, capacity);
}

int raft_log_reserve(struct raft_log *log, size_t count, size_t runs)
{
    int rc = reserve_runs(log, runs);
    return rc != 0 ? rc : reserve_sums(log, count);
}

void raft_log_append(struct raft_log *log, uint64_t term, uint64_t size_bytes)
{
    uint64_t last_term = log->run_count > 0 ? log->runs[log->run_count - 1].term : log->base_term;
    PERI_ASSERT(term >= last_term);
    uint64_t sum = *sum_at(log, log->last_index);
    log->last_index++;
    if (log->run_count == 0 || term != last_term) {
        PERI_ASSERT(log->run_count < log->run_capacity);
        log->runs[log->run_count++] = (struct raft_run){term, log->last_index};
    }
    if (log->last_index - log->sized_index >= log->sums_capacity)
        log->sized_index++; /* the oldest size gives way */
    *sum_at(log, log->last_index) = sum + size_bytes + RAFT_ENTRY_OVERHEAD;
}

void raft_log_truncate(struct raft_log *log, uint64_t first)
{
    PERI_ASSERT(first > log->base_index);
    if (first > log->last_index)
        return;
    log->last_index = first - 1;
    while (log->run_count > 0 && log->runs[log->run_count - 1].first > log->last_index)
        log->run_count--;
    if (log->sized_index > log->last_index)
        log->sized_index = log->last_index;
}

void raft_log_compact(struct raft_log *log, uint64_t index)
{
    PERI_ASSERT(index >= log->base_index && index <= log->last_index);
    log->base_term = raft_log_term(log, index);
    log->base_index = index;
    size_t gone = 0;
    while (gone < log->run_count) {
        uint64_t next = gone + 1 < log->run_count ? log->runs[gone + 1].first : log->last_index + 1;
        if (next > index + 1)
            break;
        gone++;
    }
    log->run_count -= gone;
    if (log->run_count > 0) {
        memmove(log->runs, log->runs + gone, log->run_count * sizeof *log->runs);
        if (log->runs[0].first <= index)
            log->runs[0].first = index + 1;
    }
    if (log->sized_index < index)
        log->sized_index = index;
}

void raft_log_trim(struct raft_log *log)
{
    uint64_t known = log->last_index - log->sized_index + 1;
    size_t capacity = log->sums_capacity;
    while (capacity > CAPACITY_FIRST && capacity / 2 >= known)
        capacity /= 2;
    if (capacity < log->sums_capacity)
        resize_sums(log, capacity); /* else it stays as it is */
}

void raft_log_forget_sizes(struct raft_log *log)
{
    log->sized_index = log->last_index;
    raft_log_trim(log);
}

void raft_log_reset(struct raft_log *log, uint64_t index, uint64_t term)
{
    log->base_index = log->last_index = log->sized_index = index;
    log->base_term = term;
    log->run_count = 0;
}

/* The last run that begins at or before index; index lies behind base_index. */
static const struct raft_run *run_of(const struct raft_log *log, uint64_t index)
{
    size_t low = 0, high = log->run_count; /* runs[low] begins at or before index, runs[high] not */
    if (log->runs[high - 1].first <= index)
        return &log->runs[high - 1];
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (log->runs[middle].first <= index)
            low = middle;
        else
            high = middle;
    }
    return &log->runs[low];
}

uint64_t raft_log_term(const struct raft_log *log, uint64_t index)
{
    if (index < log->base_index || index > log->last_index)
        return 0;
    return index == log->base_index ? log->base_term : run_of(log, index)->term;
}

bool raft_log_matches(const struct raft_log *log, uint64_t index, uint64_t term)
{
    return index >= log->base_index && index <= log->last_index &&
           raft_log_term(log, index) == term;
}

uint64_t raft_log_conflict(const struct raft_log *log, uint64_t index, uint64_t term)
{
    if (index > log->last_index)
        index = log->last_index;
    while (index > log->base_index) {
        const struct raft_run *run = run_of(log, index);
        if (run->term <= term)
            return index;
        index = run->first - 1;
    }
    return log->base_index;
}

bool raft_log_is_sized(const struct raft_log *log, uint64_t first)
{
    return first > log->sized_index;
}

uint64_t raft_log_bytes(const struct raft_log *log, uint64_t first, uint64_t last)
{
    PERI_ASSERT(raft_log_is_sized(log, first) && last <= log->last_index);
    return *sum_at(log, last) - *sum_at(log, first - 1);
}

uint64_t raft_log_fit(const struct raft_log *log, uint64_t first, uint64_t last,
                      uint64_t size_bytes)
{
    if (raft_log_bytes(log, first, last) <= size_bytes)
        return last;
    uint64_t low = first, high = last; /* low fits or is the first, high does not fit */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (raft_log_bytes(log, first, middle) <= size_bytes)
            low = middle;
        else
            high = middle;
    }
    return low;
}
