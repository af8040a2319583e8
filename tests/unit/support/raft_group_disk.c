#include "raft_group_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

void group_forget(struct group_replica *replica)
{
    for (size_t i = 0; i < replica->write_count; i++)
        free(replica->writes[i].entries.entries);
    for (size_t i = 0; i < replica->held_count; i++)
        free(replica->held[i].packet.entries);
    replica->write_count = replica->held_count = replica->read_count = 0;
    replica->apply_last = 0;
    memset(replica->fetch_first, 0, sizeof replica->fetch_first);
    raft_close(replica->raft);
    replica->raft = NULL;
    replica->has_failed = false;
}

static size_t runs_of(const struct group_log *log, struct raft_run *runs)
{
    size_t count = 0;
    for (size_t i = 0; i < log->count; i++)
        if (count == 0 || runs[count - 1].term != log->entries[i].term)
            runs[count++] = (struct raft_run){log->entries[i].term, log->base + 1 + i};
    return count;
}

static size_t members_of(const struct group_disk *disk, struct raft_history *history)
{
    size_t count = 0;
    history[count++] = (struct raft_history){disk->log.base, disk->base_members};
    for (size_t i = 0; i < disk->log.count; i++)
        if (disk->log.entries[i].type == RAFT_CONFIGURATION)
            history[count++] =
                (struct raft_history){disk->log.base + 1 + i, disk->log.entries[i].members};
    return count;
}

void group_start(struct group *group, uint64_t id)
{
    struct group_replica *replica = group_replica(group, id);
    struct group_disk *disk = &replica->disk;
    if (replica->raft != NULL)
        return;
    struct raft_options options = group->options;
    options.id = id;
    options.seed = group->seed * 1000003 + id * 1009 + ++replica->starts;
    struct raft_run *runs = group_must(malloc((disk->log.count + 1) * sizeof *runs));
    struct raft_history *history = group_must(malloc((disk->log.count + 1) * sizeof *history));
    struct raft_boot boot = {.now_us = group_clock_us(group, replica),
                             .term = disk->term,
                             .vote = disk->vote,
                             .base_index = disk->log.base,
                             .base_term = disk->log.base_term,
                             .snapshot_index = disk->snapshot.index,
                             .snapshot_term = disk->snapshot.term,
                             .last_index = disk->log.base + disk->log.count,
                             .runs = runs,
                             .run_count = runs_of(&disk->log, runs),
                             .configurations = history,
                             .configuration_count = members_of(disk, history),
                             .last_applied = disk->snapshot.index,
                             .is_impaired = replica->health != GROUP_WHOLE};
    int rc = raft_create(&replica->raft, &options, &boot, &group->err);
    free(runs);
    free(history);
    if (rc != 0)
        return;
    group_log_reset(&replica->log, disk->log.base, disk->log.base_term);
    for (size_t i = 0; i < disk->log.count; i++)
        group_log_add(&replica->log, &disk->log.entries[i]);
    replica->applied = disk->snapshot.index;
    replica->state = disk->snapshot.state;
    group_repair_begin(replica);
    group_check(group, replica, UINT64_MAX, NULL);
}

void group_write_down(struct group_replica *replica, const struct group_write *write)
{
    struct group_disk *disk = &replica->disk;
    replica->undo = (struct group_undo){.is_possible = write->record.snapshot_index == 0 &&
                                                       write->record.truncate_from == 0,
                                        .term = disk->term,
                                        .vote = disk->vote,
                                        .last = disk->log.base + disk->log.count};
    disk->term = write->record.term;
    disk->vote = write->record.vote;
    if (write->record.snapshot_index > 0) {
        disk->snapshot = write->snapshot;
        disk->base_members = write->snapshot.members;
        group_log_reset(&disk->log, write->snapshot.index, write->snapshot.term);
    }
    if (write->record.truncate_from > 0)
        group_log_truncate(&disk->log, write->record.truncate_from);
    PERI_ASSERT(write->entries.count == 0 ||
                write->entries.base == disk->log.base + disk->log.count);
    for (size_t i = 0; i < write->entries.count; i++)
        group_log_add(&disk->log, &write->entries.entries[i]);
}

void group_crash(struct group *group, uint64_t id, size_t survivors)
{
    struct group_replica *replica = group_replica(group, id);
    for (size_t i = 0; i < survivors && i < replica->write_count; i++)
        group_write_down(replica, &replica->writes[i]);
    group_forget(replica);
    raft_watch_stop(group->watch, id);
}
