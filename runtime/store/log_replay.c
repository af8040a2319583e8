/* log_replay.c - groups from what was found: which records follow each other, and how far.
 *
 * A group's head names the records that must be there, its first_serial .. serial; behind them come
 * those that were written since. Each is chained to the one before. log_judge.c says what it means
 * that some are missing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/log_found.h"

static int compare_metas(const void *a, const void *b)
{
    const struct log_meta *left = a, *right = b;
    if (left->info.serial != right->info.serial)
        return left->info.serial < right->info.serial ? -1 : 1;
    if (left->is_bad != right->is_bad)
        return left->is_bad ? 1 : -1;
    return left->generation > right->generation ? -1 : left->generation < right->generation;
}

static const struct log_meta *find_meta(const struct log_finding *finding, uint64_t serial)
{
    for (size_t low = 0, high = finding->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        const struct log_meta *meta = &finding->metas[middle];
        if (meta->info.serial < serial)
            low = middle + 1;
        else if (meta->info.serial > serial || (middle > low && meta[-1].info.serial == serial))
            high = middle;
        else
            return meta;
    }
    return NULL;
}

static void cut_runs(struct log_finding *finding, uint64_t index)
{
    const struct raft_run *runs = (const struct raft_run *)(void *)finding->runs.data;
    const struct raft_history *histories =
        (const struct raft_history *)(void *)finding->configurations.data;
    while (finding->runs.size > 0 && runs[finding->runs.size / sizeof *runs - 1].first >= index)
        finding->runs.size -= sizeof *runs;
    while (finding->configurations.size > 0 &&
           histories[finding->configurations.size / sizeof *histories - 1].index >= index)
        finding->configurations.size -= sizeof *histories;
}

static int add_runs(struct log_finding *finding, const struct log_meta *meta)
{
    const struct raft_run *runs = (const struct raft_run *)(const void *)meta->runs.data;
    for (size_t i = 0; i < meta->runs.size / sizeof *runs; i++) {
        const struct raft_run *have = (const struct raft_run *)(void *)finding->runs.data;
        size_t count = finding->runs.size / sizeof *have;
        if (count > 0 && have[count - 1].term == runs[i].term)
            continue;
        if (peri_buffer_append(&finding->runs, &runs[i], sizeof runs[i]) != 0)
            return PERI_ENOMEM;
    }
    return peri_buffer_append(&finding->configurations, meta->configurations.data,
                              meta->configurations.size);
}

/* Does what the record does; it follows the one before. */
static int apply(struct store_log *log, struct log_finding *finding, const struct log_meta *meta)
{
    struct log_group *group = finding->entered;
    const struct log_record_info *info = &meta->info;
    if (log_group_reserve(group) != 0)
        return PERI_ENOMEM;
    if (info->serial > finding->head.serial) {
        group->term = info->term;
        group->vote = info->vote;
    }
    if (info->snapshot_index > group->base_index) {
        log_group_truncate(group, group->base_index + 1);
        cut_runs(finding, 0);
        group->base_index = group->last_index = info->snapshot_index;
        group->base_term = info->snapshot_term;
        group->members = info->members;
    }
    if (info->truncate_from != 0 && info->truncate_from <= group->last_index) {
        log_group_truncate(group, info->truncate_from);
        cut_runs(finding, info->truncate_from);
    }
    uint64_t first = info->count > 0 ? info->first : group->last_index + 1;
    uint64_t last = first + info->count - 1;
    struct log_record *record = log_group_append(group, first, last);
    group->last_index = last;
    group->chain = info->check;
    record->generation = meta->generation;
    record->size = meta->size;
    log_generation_gain(log_generation_find(log, meta->generation), record);
    (void)log_group_trim(log, group); /* the new generation begins with a head */
    return add_runs(finding, meta);
}

/* True when the record of that serial is intact and continues the log. */
static bool fits(const struct log_group *group, const struct log_meta *meta, bool is_first)
{
    if (meta == NULL || meta->is_bad)
        return false;
    const struct log_record_info *info = &meta->info;
    if (is_first)
        return info->count == 0 || info->first <= group->base_index + 1;
    uint64_t last =
        info->snapshot_index > group->base_index ? info->snapshot_index : group->last_index;
    if (info->truncate_from != 0 && info->truncate_from <= last)
        last = info->truncate_from - 1;
    return info->chain == group->chain && (info->count == 0 || info->first == last + 1);
}

/* Enters what the head says, without records. */
static void enter_head(struct log_finding *finding)
{
    const struct log_head *head = &finding->head;
    struct log_group *group = finding->entered;
    group->health = head->health;
    group->damaged_from = head->damaged_from;
    group->term = head->term;
    group->vote = head->vote;
    group->base_index = group->last_index = head->base_index;
    group->base_term = head->base_term;
    group->members = head->members;
    group->serial = head->first_serial - 1;
    group->chain = head->chain;
    if (head->health != STORE_LOG_CLEAN)
        (void)snprintf(finding->why, sizeof finding->why,
                       "it was found so before, and not "
                       "repaired since");
}

/* Replays records as far as they go; the serial of the first that is missing. */
static int replay(struct store_log *log, struct log_finding *finding, uint64_t *missing)
{
    struct log_group *group = finding->entered;
    const struct log_head *head = &finding->head;
    uint64_t serial = head->first_serial;
    for (;; serial++) {
        const struct log_meta *meta = find_meta(finding, serial);
        bool is_first = serial == head->first_serial && serial <= head->serial;
        if (!fits(group, meta, is_first))
            break;
        if (is_first && meta->info.count > 0)
            group->last_index = meta->info.first - 1;
        int rc = apply(log, finding, meta);
        if (rc != 0)
            return rc;
        if (serial == head->serial &&
            (meta->info.check != head->chain || group->last_index != head->last_index))
            log_judge_blame(finding, STORE_LOG_DAMAGED, "its head and its records do not fit");
    }
    *missing = serial;
    return 0;
}

/* Whatever damage there is, no term or vote that can still be read is forgotten. */
static void keep_promises(struct log_finding *finding)
{
    struct log_group *group = finding->entered;
    for (size_t i = 0; i < finding->count; i++) {
        const struct log_meta *meta = &finding->metas[i];
        bool is_newer = !meta->is_bad && (meta->info.term > group->term ||
                                          (meta->info.term == group->term && group->vote == 0));
        if (is_newer) {
            group->term = meta->info.term;
            group->vote = meta->info.vote;
        }
        if (meta->info.serial > finding->known_serial)
            finding->known_serial = meta->info.serial;
    }
}

/* Cuts what stands before the base off the runs, and makes the history begin with the base. */
static int finish_boot(struct log_finding *finding)
{
    const struct log_group *group = finding->entered;
    struct peri_buffer histories = {0};
    struct raft_history base = {group->base_index, group->members};
    struct raft_run *runs = (struct raft_run *)(void *)finding->runs.data;
    size_t count = finding->runs.size / sizeof *runs, skip = 0;
    while (skip + 1 < count && runs[skip + 1].first <= group->base_index + 1)
        skip++;
    if (count > 0 && skip > 0)
        memmove(runs, runs + skip, (count - skip) * sizeof *runs);
    finding->runs.size -= skip * sizeof *runs;
    if (group->last_index <= group->base_index)
        finding->runs.size = 0;
    else if (runs[0].first <= group->base_index)
        runs[0].first = group->base_index + 1;
    int rc = group->members.count == 0 ? 0 : peri_buffer_append(&histories, &base, sizeof base);
    const struct raft_history *all =
        (const struct raft_history *)(void *)finding->configurations.data;
    for (size_t i = 0; rc == 0 && i < finding->configurations.size / sizeof *all; i++)
        if (all[i].index > group->base_index)
            rc = peri_buffer_append(&histories, &all[i], sizeof all[i]);
    peri_buffer_deinit(&finding->configurations);
    finding->configurations = histories;
    return rc;
}

static int enter(struct store_log *log, struct log_finding *finding,
                 const struct log_circumstances *all)
{
    struct log_group *group = calloc(1, sizeof *group);
    if (group == NULL)
        return PERI_ENOMEM;
    group->group = finding->group;
    group->replica = finding->replica;
    finding->entered = group;
    if (log_group_add(log, group) != 0) {
        finding->entered = NULL;
        free(group);
        return PERI_ENOMEM;
    }
    if (finding->count > 0)
        qsort(finding->metas, finding->count, sizeof *finding->metas, compare_metas);
    if (!finding->has_head)
        finding->head.first_serial = finding->known_serial + 1;
    enter_head(finding);
    uint64_t missing = finding->head.first_serial;
    int rc = finding->has_head ? replay(log, finding, &missing) : 0;
    if (group->last_index < group->base_index)
        group->last_index = group->base_index;
    if (rc == 0) {
        log_judge_group(finding, all, missing);
        keep_promises(finding);
        group->has_forgotten =
            group->health != STORE_LOG_CLEAN && log_judge_has_forgotten(finding, all);
        rc = finish_boot(finding);
    }
    return rc;
}

/* True when the replica is gone for good: it was dropped, or another came in its place. */
static bool is_gone(const struct log_found *found, size_t at)
{
    const struct log_finding *finding = &found->findings[at];
    if (finding->is_dropped)
        return true;
    for (size_t i = 0; i < found->count; i++) {
        const struct log_finding *other = &found->findings[i];
        if (i != at && other->group == finding->group && !other->is_dropped && other->has_head &&
            (!finding->has_head || other->head_generation > finding->head_generation))
            return true;
    }
    return false;
}

/* A log that has no witness yet was being made when that failed: nobody ever wrote to it. */
static bool was_opened(const struct log_found *found, size_t known)
{
    const struct log_source *last = log_judge_last_source(found);
    return found->witness.is_there || known > 0 || (last != NULL && last->number > 1);
}

int log_replay(struct store_log *log, struct log_found *found, struct peri_error *err)
{
    struct log_circumstances all = log_judge_all(found);
    size_t known = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < found->count; i++) {
        struct log_finding *finding = &found->findings[i];
        struct log_touch touch = {finding->group, finding->replica, finding->known_serial};
        known++;
        if (!is_gone(found, i))
            rc = enter(log, finding, &all);
        else if (finding->is_dropped)
            rc = peri_buffer_append(&log->dropped, &touch, sizeof touch);
    }
    if (rc != 0)
        return peri_fail(err, rc, "read log %s", log->path);
    if (all.is_last_lost && (known == 0 || found->is_census_lost) && was_opened(found, known))
        return peri_fail_plain(err, PERI_ECORRUPT,
                               "log %s does not know any more which groups it held: remove this "
                               "node from all of its groups, and open it under a new id, with an "
                               "empty directory",
                               log->path);
    return 0;
}
