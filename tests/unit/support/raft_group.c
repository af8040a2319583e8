#include "raft_group_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

void *group_must(void *memory)
{
    PERI_ASSERT(memory != NULL);
    return memory;
}

void *group_grow(void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    *capacity = 2 * *capacity + 16;
    return group_must(realloc(items, *capacity * size));
}

struct group *group_create(size_t voters, size_t total, uint64_t seed,
                           const struct raft_options *options)
{
    struct group *group = group_must(calloc(1, sizeof *group));
    uint64_t ids[GROUP_MAX];
    for (size_t i = 0; i < total; i++)
        group->replicas[i].id = ids[i] = i + 1;
    PERI_ASSERT(raft_configuration_init(&group->first, ids, voters, NULL) == 0);
    PERI_ASSERT(raft_watch_create(&group->watch) == 0);
    group->count = total;
    group->seed = seed;
    group->options = *options;
    group->now_us = 1000000;
    for (size_t i = 0; i < total; i++)
        group->replicas[i].disk.base_members = group->replicas[i].disk.snapshot.members =
            group->first;
    return group;
}

void group_close(struct group *group)
{
    if (group == NULL)
        return;
    for (size_t i = 0; i < group->count; i++) {
        group_forget(&group->replicas[i]);
        free(group->replicas[i].writes);
        free(group->replicas[i].held);
        free(group->replicas[i].log.entries);
        free(group->replicas[i].disk.log.entries);
    }
    for (size_t i = 0; i < group->packet_count; i++)
        free(group->packets[i].entries);
    free(group->packets);
    free(group->states);
    raft_watch_close(group->watch);
    free(group);
}

struct group_replica *group_replica(struct group *group, uint64_t id)
{
    return &group->replicas[id - 1];
}

uint64_t group_clock_us(const struct group *group, const struct group_replica *replica)
{
    return (uint64_t)((int64_t)group->now_us +
                      (int64_t)group->now_us * replica->skew_ppm / 1000000);
}

uint64_t group_when_us(const struct group *group, const struct group_replica *replica,
                       uint64_t clock_us)
{
    if (clock_us == UINT64_MAX)
        return UINT64_MAX;
    uint64_t at = (uint64_t)((__int128)clock_us * 1000000 / (1000000 + replica->skew_ppm)) + 2;
    return at < group->now_us ? group->now_us : at;
}

/* ---- carrying out actions ---- */

static void open_window(struct group *group, struct group_replica *replica,
                        const struct raft_action *action)
{
    if (action->first <= replica->log.base)
        return; /* a snapshot has overtaken it */
    if (replica->apply_last != 0 || action->first != replica->applied + 1)
        group_fail(group, "windows to apply do not follow each other", replica->id, action->first);
    replica->apply_last = action->last;
}

/* Lets go what waited for records up to the durable one. */
static void release(struct group *group, struct group_replica *replica)
{
    struct raft_status status;
    raft_status(replica->raft, &status);
    size_t kept = 0;
    for (size_t i = 0; i < replica->held_count; i++) {
        struct group_held *held = &replica->held[i];
        if (held->action.after_seq > status.durable_seq)
            replica->held[kept++] = *held;
        else if (held->action.type == RAFT_APPLY)
            open_window(group, replica, &held->action);
        else {
            group_check_promise(group, replica, &held->packet.message);
            group_send(group, &held->packet);
        }
    }
    replica->held_count = kept;
}

static void hold(struct group_replica *replica, const struct raft_action *action)
{
    replica->held = group_grow(replica->held, replica->held_count, &replica->held_capacity,
                               sizeof *replica->held);
    struct group_held *held = &replica->held[replica->held_count++];
    *held = (struct group_held){.action = *action};
    if (action->type == RAFT_SEND)
        held->packet = group_packet_of(replica, &action->message);
}

static void take_record(struct group_replica *replica, const struct raft_record *record,
                        const struct group_entry *entries, uint64_t entries_first,
                        const struct group_snapshot *snapshot)
{
    replica->writes = group_grow(replica->writes, replica->write_count, &replica->write_capacity,
                                 sizeof *replica->writes);
    struct group_write *write = &replica->writes[replica->write_count++];
    *write = (struct group_write){.record = *record};
    if (record->snapshot_index > 0) {
        PERI_ASSERT(snapshot != NULL);
        write->snapshot = *snapshot;
        replica->apply_last = 0;
        group_log_reset(&replica->log, snapshot->index, snapshot->term);
    }
    if (record->truncate_from > 0)
        group_log_truncate(&replica->log, record->truncate_from);
    write->entries.base = replica->log.base + replica->log.count;
    for (uint64_t i = record->first; i != 0 && i <= record->last; i++) {
        struct group_entry own = {.term = record->term, .type = record->type};
        if (record->type == RAFT_CONFIGURATION && record->configuration != NULL)
            own.members = *record->configuration;
        const struct group_entry *entry = entries == NULL ? &own : &entries[i - entries_first];
        group_log_add(&write->entries, entry);
        group_log_add(&replica->log, entry);
    }
}

static void finish_reads(struct group *group, struct group_replica *replica,
                         const struct raft_action *action)
{
    size_t kept = 0;
    for (size_t i = 0; i < replica->read_count; i++) {
        struct group_read *read = &replica->reads[i];
        if (read->number > action->last) {
            replica->reads[kept++] = *read;
            continue;
        }
        if (action->type == RAFT_READ_DROPPED) {
            if (read->number < action->first)
                replica->reads[kept++] = *read;
            continue;
        }
        group->reads_done++;
        if (action->index < read->least || replica->applied < action->index)
            group_fail(group, "a read misses a write that was completed before", replica->id,
                       read->least);
    }
    replica->read_count = kept;
}

static void carry_out(struct group *group, struct group_replica *replica,
                      const struct raft_message *heard, const struct group_entry *entries,
                      uint64_t entries_first, const struct group_snapshot *snapshot)
{
    for (size_t i = 0; i < group->out.count; i++) {
        const struct raft_action *action = &group->out.actions[i];
        if (group->on_action != NULL)
            group->on_action(group, replica, action);
        switch (action->type) {
        case RAFT_PERSIST:
            take_record(replica, &action->record, entries, entries_first, snapshot);
            break;
        case RAFT_SEND:
        case RAFT_APPLY:
            hold(replica, action);
            if (action->type == RAFT_SEND)
                group_check_floor(group, replica, heard, &action->message);
            group_check_size(group, &replica->held[replica->held_count - 1].packet);
            break;
        case RAFT_FETCH:
            replica->fetch_first[action->peer - 1] = action->first;
            replica->fetch_bytes = action->size_bytes;
            break;
        case RAFT_READ_READY:
        case RAFT_READ_DROPPED:
            finish_reads(group, replica, action);
            break;
        case RAFT_ROLE:
            group->elections += action->role == RAFT_LEADER;
            break;
        case RAFT_NEW_MEMBERS:
            group->changes++;
            break;
        }
    }
}

int group_step_with(struct group *group, struct group_replica *replica, struct raft_event *event,
                    const struct group_entry *entries, const struct group_snapshot *snapshot)
{
    if (replica->raft == NULL || group->err.code != 0)
        return PERI_ECLOSED;
    struct raft_status status;
    raft_status(replica->raft, &status);
    uint64_t hash = raft_hash(replica->raft);
    struct raft_configuration before = *raft_members(replica->raft);
    event->now_us = group_clock_us(group, replica);
    int rc = raft_step(replica->raft, event, &group->out);
    if (rc != 0 && hash != raft_hash(replica->raft))
        group_fail(group, "a refused event changed the state", replica->id, (uint64_t)event->type);
    if (rc == PERI_EPROTOCOL && event->message != NULL)
        group_fail(group, "a correct peer's message is refused", replica->id,
                   (uint64_t)event->message->type);
    if (rc != 0)
        return rc;
    if (replica->has_failed)
        group_fail(group, "goes on although its disk failed", replica->id, (uint64_t)event->type);
    replica->has_failed = event->type == RAFT_PERSIST_FAILED;
    uint64_t first = event->type == RAFT_PROPOSE   ? group->out.index
                     : event->type == RAFT_MESSAGE ? event->message->index + 1
                                                   : 0;
    carry_out(group, replica, event->message, entries, first, snapshot);
    group_check(group, replica, status.commit_index, &before);
    release(group, replica);
    return 0;
}

int group_step(struct group *group, uint64_t id, struct raft_event *event)
{
    return group_step_with(group, group_replica(group, id), event, NULL, NULL);
}

/* ---- what a host does ---- */

int group_propose(struct group *group, uint64_t id, uint64_t payload, uint32_t size_bytes)
{
    struct group_replica *replica = group_replica(group, id);
    if (replica->raft == NULL)
        return PERI_ECLOSED;
    struct raft_status status;
    raft_status(replica->raft, &status);
    struct group_entry entry = {
        .term = status.term, .payload = payload, .size_bytes = size_bytes, .type = RAFT_COMMAND};
    struct raft_entry bare = {.size_bytes = size_bytes, .type = RAFT_COMMAND};
    struct raft_event event = {.type = RAFT_PROPOSE, .entries = &bare, .count = 1};
    return group_step_with(group, replica, &event, &entry, NULL);
}

int group_read(struct group *group, uint64_t id)
{
    struct group_replica *replica = group_replica(group, id);
    if (replica->read_count == GROUP_READS_MAX || replica->raft == NULL)
        return PERI_EBUSY;
    /* Its number is known only afterwards, when it may already be served. */
    struct group_read *read = &replica->reads[replica->read_count++];
    *read = (struct group_read){0, group->applied_max};
    struct raft_event event = {.type = RAFT_READ};
    size_t before = replica->read_count;
    int rc = group_step(group, id, &event);
    if (rc != 0)
        replica->read_count--;
    else if (replica->read_count == before)
        replica->reads[before - 1].number = group->out.read;
    return rc;
}

void group_persist(struct group *group, uint64_t id, size_t count)
{
    struct group_replica *replica = group_replica(group, id);
    if (count > replica->write_count)
        count = replica->write_count;
    if (count == 0 || replica->raft == NULL || replica->has_failed)
        return;
    for (size_t i = 0; i < count; i++) {
        group_write_down(replica, &replica->writes[i]);
        if (replica->writes[i].record.snapshot_index > 0) {
            replica->applied = replica->writes[i].snapshot.index;
            replica->state = replica->writes[i].snapshot.state;
            replica->apply_last = 0;
            group->snapshots++;
        }
        free(replica->writes[i].entries.entries);
    }
    const struct raft_record record = replica->writes[count - 1].record;
    replica->write_count -= count;
    memmove(replica->writes, replica->writes + count,
            replica->write_count * sizeof *replica->writes);
    struct raft_event event = {
        .type = RAFT_PERSISTED, .seq = record.seq, .index = record.last, .term = record.term};
    /* A record without entries says nothing of the log; those before it may. */
    group_step(group, id, &event);
}

static void apply_one(struct group *group, struct group_replica *replica)
{
    uint64_t index = ++replica->applied;
    const struct group_entry *entry = group_log_at(&replica->log, index);
    uint64_t mixed = replica->state ^ (entry->payload + index * 0x9e3779b97f4a7c15);
    replica->state = (mixed ^ mixed >> 29) * 0xbf58476d1ce4e5b9 + entry->term;
    if (index >= group->states_count) {
        size_t count = 2 * index + 64;
        group->states = group_must(realloc(group->states, count * sizeof *group->states));
        memset(group->states + group->states_count, 0,
               (count - group->states_count) * sizeof *group->states);
        group->states_count = count;
    }
    if (group->states[index] == 0)
        group->states[index] = replica->state;
    if (group->states[index] != replica->state)
        group_fail(group, "state machines differ", replica->id, index);
    if (group->applied_max < index)
        group->applied_max = index;
}

void group_apply(struct group *group, uint64_t id)
{
    struct group_replica *replica = group_replica(group, id);
    if (replica->apply_last == 0 || replica->raft == NULL)
        return;
    while (replica->applied < replica->apply_last)
        apply_one(group, replica);
    struct raft_event event = {.type = RAFT_APPLIED, .index = replica->applied};
    replica->apply_last = 0;
    group_step(group, id, &event);
    group_repair_advance(group, id);
}

static void fetch_for(struct group *group, struct group_replica *replica, uint64_t peer,
                      uint64_t first)
{
    struct raft_event event = {.type = RAFT_FETCHED, .peer = peer, .index = first};
    uint64_t end = replica->log.base + replica->log.count;
    for (uint64_t i = first; i > replica->log.base && i <= end; i++) {
        uint64_t size = group_log_at(&replica->log, i)->size_bytes + RAFT_ENTRY_OVERHEAD;
        if (event.last != 0 && event.size_bytes + size > replica->fetch_bytes)
            break;
        event.last = i;
        event.size_bytes += size;
    }
    group_step(group, replica->id, &event);
}

void group_fetch(struct group *group, uint64_t id)
{
    struct group_replica *replica = group_replica(group, id);
    for (size_t i = 0; i < group->count; i++) {
        uint64_t first = replica->fetch_first[i];
        replica->fetch_first[i] = 0;
        if (first != 0)
            fetch_for(group, replica, i + 1, first);
    }
}

bool group_has_fetch(const struct group_replica *replica)
{
    for (size_t i = 0; i < GROUP_MAX; i++)
        if (replica->fetch_first[i] != 0)
            return true;
    return false;
}

void group_snapshot(struct group *group, uint64_t id, uint64_t trailing)
{
    struct group_replica *replica = group_replica(group, id);
    if (replica->raft == NULL || replica->apply_last != 0)
        return;
    struct raft_status status;
    raft_status(replica->raft, &status);
    uint64_t last = status.last_applied, base = last > trailing ? last - trailing : 0;
    if (last != replica->applied || last <= replica->disk.snapshot.index)
        return;
    if (base < status.base_index)
        base = status.base_index;
    replica->disk.snapshot =
        (struct group_snapshot){last, raft_term_at(replica->raft, last), replica->state,
                                *raft_members_at(replica->raft, last)};
    replica->disk.base_members = *raft_members_at(replica->raft, base);
    group_log_cut(&replica->disk.log, base);
    group_log_cut(&replica->log, base);
    struct raft_event event = {.type = RAFT_COMPACTED, .index = base, .last = last};
    group_step(group, id, &event);
}
