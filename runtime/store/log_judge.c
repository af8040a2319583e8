/* log_judge.c - what is missing of a log that was found, and what that makes of its groups.
 *
 * Who else speaks of a record (a later one, the head, a batch of the one after it, the witness)
 * proves that it was durable. A batch that nobody can say anything about leaves every group in
 * doubt that has not been heard of since. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "store/log_found.h"

void log_judge_blame(struct log_finding *finding, enum store_log_health health, const char *format,
                     ...)
{
    if (finding->entered->health > health ||
        (finding->entered->health == health && finding->why[0] != '\0'))
        return;
    finding->entered->health = health;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(finding->why, sizeof finding->why, format, arguments);
    va_end(arguments);
}

/* ---- circumstances ---- */

static bool has_batch(const struct log_found *found, uint64_t batch)
{
    const uint64_t *at = (const uint64_t *)(const void *)found->batches.data;
    size_t low = 0, high = found->batches.size / sizeof *at;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (at[middle] < batch)
            low = middle + 1;
        else
            high = middle;
    }
    return low < found->batches.size / sizeof *at && at[low] == batch;
}

static bool is_told_of(const struct log_found *found, uint64_t batch)
{
    return has_batch(found, batch + 1) ||
           (batch == found->witness.batch && found->witness.touched.size > 0);
}

static bool has_bad_values(const struct log_found *found)
{
    for (size_t i = 0; i < found->count; i++) {
        if (found->findings[i].has_bad_head)
            return true;
        for (size_t k = 0; k < found->findings[i].count; k++)
            if (found->findings[i].metas[k].is_bad)
                return true;
    }
    return false;
}

const struct log_source *log_judge_last_source(const struct log_found *found)
{
    for (size_t i = found->source_count; i-- > 0;) {
        const struct log_source *source = &found->sources[i];
        bool was_begun =
            !source->is_empty || source->is_damaged || source->number <= found->witness.generation;
        if (was_begun)
            return source;
    }
    return NULL;
}

struct log_circumstances log_judge_all(const struct log_found *found)
{
    struct log_circumstances all = {.is_witness_lost = found->witness.is_lost};
    const struct log_source *last = log_judge_last_source(found);
    if (last == NULL || !last->has_identity || last->number < found->witness.generation) {
        all.is_last_lost = last != NULL || found->witness.batch > 0;
        return all;
    }
    bool is_complete = true;
    for (uint64_t batch = last->identity.first_batch; batch <= found->last_batch; batch++) {
        if (has_batch(found, batch))
            continue;
        is_complete = false;
        if (!is_told_of(found, batch))
            all.hole = batch;
    }
    all.last_generation = last->number;
    all.is_tail_doubtful = last->is_damaged && is_complete && !has_bad_values(found);
    return all;
}

/* ---- one group ---- */

void log_judge_group(struct log_finding *finding, const struct log_circumstances *all,
                     uint64_t missing)
{
    struct log_group *group = finding->entered;
    uint64_t found_to = missing - 1,
             newest = finding->count == 0 ? 0 : finding->metas[finding->count - 1].info.serial;
    if (!finding->has_head)
        log_judge_blame(finding, STORE_LOG_DAMAGED, "its head is lost, and with it its members");
    if (found_to < finding->known_serial || found_to < newest) {
        log_judge_blame(finding, STORE_LOG_DAMAGED,
                        "record %" PRIu64
                        " of it is lost or damaged, and there were later ones up to %" PRIu64,
                        missing, newest > finding->known_serial ? newest : finding->known_serial);
        group->damaged_from = group->last_index + 1;
    }
    if (all->is_last_lost)
        log_judge_blame(finding, STORE_LOG_DAMAGED, "the newest part of the log cannot be read");
    else if (finding->has_head && finding->head_generation != all->last_generation)
        log_judge_blame(finding, STORE_LOG_DAMAGED, "its newest head is lost");
    if (finding->has_bad_head)
        log_judge_blame(finding, STORE_LOG_DAMAGED, "its head is damaged");
    if (all->hole != 0 && finding->touched_batch <= all->hole)
        log_judge_blame(finding, STORE_LOG_SUSPECT,
                        "batch %" PRIu64 " is lost, and may have held records of it", all->hole);
    if (all->is_tail_doubtful)
        log_judge_blame(finding, STORE_LOG_SUSPECT,
                        "the end of the log is damaged, where records of it may have been");
    if (all->is_witness_lost)
        log_judge_blame(finding, STORE_LOG_SUSPECT, "the witness of what was written last is lost");
}

bool log_judge_has_forgotten(const struct log_finding *finding, const struct log_circumstances *all)
{
    const struct log_head *head = &finding->head;
    uint64_t newest = head->serial;
    bool is_end_known = finding->has_head && !finding->has_bad_head &&
                        finding->head_generation == all->last_generation && !all->is_last_lost &&
                        !all->is_tail_doubtful && !all->is_witness_lost &&
                        (all->hole == 0 || finding->touched_batch > all->hole);
    for (size_t i = 0; i < finding->count; i++) {
        const struct log_meta *meta = &finding->metas[i];
        if (!meta->is_bad && meta->info.serial > newest)
            newest = meta->info.serial;
    }
    return !is_end_known || newest < finding->known_serial ||
           (head->health != STORE_LOG_CLEAN && head->has_forgotten);
}
