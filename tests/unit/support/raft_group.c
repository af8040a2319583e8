#include "raft_group.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "raft/quorum.h"

static void *must(void *memory)
{
    PERI_ASSERT(memory != NULL);
    return memory;
}

/* ---- logs ---- */

void group_log_add(struct group_log *log, const struct group_entry *entry)
{
    if (log->count == log->capacity) {
        log->capacity = 2 * log->capacity + 16;
        log->entries = must(realloc(log->entries, log->capacity * sizeof *log->entries));
    }
    log->entries[log->count++] = *entry;
}

static const struct group_entry *log_at(const struct group_log *log, uint64_t index)
{
    PERI_ASSERT(index > log->base && index <= log->base + log->count);
    return &log->entries[index - log->base - 1];
}

static bool log_has(const struct group_log *log, uint64_t index, uint64_t term)
{
    if (index <= log->base)
        return true; /* cut off, thus committed */
    return index <= log->base + log->count && log_at(log, index)->term == term;
}

static void log_truncate(struct group_log *log, uint64_t first)
{
    if (first <= log->base + log->count)
        log->count = first - log->base - 1;
}

static void log_reset(struct group_log *log, uint64_t base, uint64_t base_term)
{
    log->base = base;
    log->base_term = base_term;
    log->count = 0;
}

static void log_cut(struct group_log *log, uint64_t base)
{
    if (base <= log->base)
        return;
    uint64_t term = log_at(log, base)->term;
    size_t gone = base - log->base;
    memmove(log->entries, log->entries + gone, (log->count - gone) * sizeof *log->entries);
    log->count -= gone;
    log->base = base;
    log->base_term = term;
}

/* ---- the group ---- */

struct group *group_create(size_t voters, size_t total, uint64_t seed,
                           const struct raft_options *options)
{
    struct group *group = must(calloc(1, sizeof *group));
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

static void forget(struct group_replica *replica)
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
}

void group_close(struct group *group)
{
    if (group == NULL)
        return;
    for (size_t i = 0; i < group->count; i++) {
        forget(&group->replicas[i]);
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

/* ---- oracles ---- */

static void fail(struct group *group, const char *what, uint64_t id, uint64_t number)
{
    if (group->err.code == 0)
        peri_fail_plain(&group->err, PERI_ECORRUPT, "%s: replica %" PRIu64 ", %" PRIu64, what, id,
                        number);
}

static bool is_on_quorum(struct group *group, const struct raft_configuration *members,
                         uint64_t index, uint64_t term)
{
    uint8_t votes[RAFT_MEMBERS_MAX];
    for (size_t i = 0; i < members->count; i++)
        votes[i] = log_has(&group_replica(group, members->ids[i])->disk.log, index, term)
                       ? RAFT_VOTE_GRANTED
                       : RAFT_VOTE_REFUSED;
    return raft_quorum_vote(members, votes) == RAFT_WON;
}

/* A committed entry stands on the disks of a quorum (raft.md: on durable logs only). */
static void check_durable(struct group *group, const struct raft *raft, uint64_t from,
                          const struct raft_configuration *before)
{
    struct raft_status status;
    raft_status(raft, &status);
    if (status.role != RAFT_LEADER || status.commit_index <= from)
        return;
    uint64_t term = raft_term_at(raft, status.commit_index);
    if (!is_on_quorum(group, before, status.commit_index, term) &&
        !is_on_quorum(group, raft_members(raft), status.commit_index, term))
        fail(group, "committed, but not on the disks of a quorum", status.id, status.commit_index);
}

static void check_dump(struct group *group, const struct raft *raft)
{
    size_t size = raft_dump(raft, NULL, 0);
    char *bytes = must(malloc(size));
    raft_dump(raft, bytes, size);
    struct raft *same = NULL;
    if (raft_load(&same, bytes, size, &group->err) == 0 && raft_hash(same) != raft_hash(raft))
        fail(group, "a loaded dump is another state", 0, 0);
    raft_close(same);
    free(bytes);
}

static void check_all(struct group *group, struct group_replica *replica, uint64_t committed,
                      const struct raft_configuration *before)
{
    const struct raft *all[GROUP_MAX];
    size_t count = 0;
    for (size_t i = 0; i < group->count; i++)
        if (group->replicas[i].raft != NULL)
            all[count++] = group->replicas[i].raft;
    raft_watch_step(group->watch, replica->raft, all, count, &group->err);
    check_durable(group, replica->raft, committed, before);
    if (group->checks_dumps)
        check_dump(group, replica->raft);
}

/* ---- starting and stopping ---- */

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
    struct raft_run *runs = must(malloc((disk->log.count + 1) * sizeof *runs));
    struct raft_history *history = must(malloc((disk->log.count + 1) * sizeof *history));
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
                             .last_applied = disk->snapshot.index};
    int rc = raft_create(&replica->raft, &options, &boot, &group->err);
    free(runs);
    free(history);
    if (rc != 0)
        return;
    log_reset(&replica->log, disk->log.base, disk->log.base_term);
    for (size_t i = 0; i < disk->log.count; i++)
        group_log_add(&replica->log, &disk->log.entries[i]);
    replica->applied = disk->snapshot.index;
    replica->state = disk->snapshot.state;
    check_all(group, replica, UINT64_MAX, NULL);
}

static void write_down(struct group_replica *replica, const struct group_write *write)
{
    struct group_disk *disk = &replica->disk;
    disk->term = write->record.term;
    disk->vote = write->record.vote;
    if (write->record.snapshot_index > 0) {
        disk->snapshot = write->snapshot;
        disk->base_members = write->snapshot.members;
        log_reset(&disk->log, write->snapshot.index, write->snapshot.term);
    }
    if (write->record.truncate_from > 0)
        log_truncate(&disk->log, write->record.truncate_from);
    PERI_ASSERT(write->entries.count == 0 ||
                write->entries.base == disk->log.base + disk->log.count);
    for (size_t i = 0; i < write->entries.count; i++)
        group_log_add(&disk->log, &write->entries.entries[i]);
}

void group_crash(struct group *group, uint64_t id, size_t survivors)
{
    struct group_replica *replica = group_replica(group, id);
    for (size_t i = 0; i < survivors && i < replica->write_count; i++)
        write_down(replica, &replica->writes[i]);
    forget(replica);
    raft_watch_stop(group->watch, id);
}

/* ---- carrying out actions ---- */

static void send_packet(struct group *group, struct group_packet *packet)
{
    if (group->packet_count == group->packet_capacity) {
        group->packet_capacity = 2 * group->packet_capacity + 64;
        group->packets =
            must(realloc(group->packets, group->packet_capacity * sizeof *group->packets));
    }
    packet->order = ++group->packet_order;
    packet->at_us = 0;
    group->packets[group->packet_count++] = *packet;
}

/* Attaches what the message names. */
static struct group_packet packet_of(struct group_replica *replica,
                                     const struct raft_message *message)
{
    struct group_packet packet = {.message = *message};
    if (message->type == RAFT_APPEND_ENTRIES && message->last > message->index) {
        packet.count = message->last - message->index;
        packet.entries = must(malloc(packet.count * sizeof *packet.entries));
        for (size_t i = 0; i < packet.count; i++)
            packet.entries[i] = *log_at(&replica->log, message->index + 1 + i);
    }
    if (message->type == RAFT_INSTALL_SNAPSHOT)
        packet.snapshot = replica->disk.snapshot;
    return packet;
}

static void open_window(struct group *group, struct group_replica *replica,
                        const struct raft_action *action)
{
    if (action->first <= replica->log.base)
        return; /* a snapshot has overtaken it */
    if (replica->apply_last != 0 || action->first != replica->applied + 1)
        fail(group, "windows to apply do not follow each other", replica->id, action->first);
    replica->apply_last = action->last;
}

/* What a message promises stands on the disk of whoever sends it (Raft figure 2: "updated on stable
 * storage before responding"). */
static void check_promise(struct group *group, const struct group_replica *replica,
                          const struct raft_message *m)
{
    const struct group_disk *disk = &replica->disk;
    bool is_hypothetical =
        m->type == RAFT_PRE_VOTE || (m->type == RAFT_PRE_VOTE_REPLY && m->success);
    bool is_same_term = disk->term == m->term;
    if (!is_hypothetical && disk->term < m->term)
        fail(group, "speaks of a term that its disk does not know", replica->id, m->term);
    if (is_same_term && m->type == RAFT_REQUEST_VOTE && disk->vote != m->from)
        fail(group, "campaigns without its own vote on disk", replica->id, m->term);
    if (is_same_term && m->type == RAFT_REQUEST_VOTE_REPLY && m->success && disk->vote != m->to)
        fail(group, "gives a vote that is not on its disk", replica->id, m->term);
    if (is_same_term && m->type == RAFT_APPEND_ENTRIES_REPLY && m->success &&
        disk->log.base + disk->log.count < m->index)
        fail(group, "acknowledges what is not on its disk", replica->id, m->index);
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
            check_promise(group, replica, &held->packet.message);
            send_packet(group, &held->packet);
        }
    }
    replica->held_count = kept;
}

static void hold(struct group_replica *replica, const struct raft_action *action)
{
    PERI_ASSERT(replica->held_count < GROUP_HELD_MAX);
    struct group_held *held = &replica->held[replica->held_count++];
    *held = (struct group_held){.action = *action};
    if (action->type == RAFT_SEND)
        held->packet = packet_of(replica, &action->message);
}

static void take_record(struct group_replica *replica, const struct raft_record *record,
                        const struct group_entry *entries, uint64_t entries_first,
                        const struct group_snapshot *snapshot)
{
    PERI_ASSERT(replica->write_count < GROUP_WRITES_MAX);
    struct group_write *write = &replica->writes[replica->write_count++];
    *write = (struct group_write){.record = *record};
    if (record->snapshot_index > 0) {
        PERI_ASSERT(snapshot != NULL);
        write->snapshot = *snapshot;
        replica->apply_last = 0;
        log_reset(&replica->log, snapshot->index, snapshot->term);
    }
    if (record->truncate_from > 0)
        log_truncate(&replica->log, record->truncate_from);
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
            fail(group, "a read misses a write that was completed before", replica->id,
                 read->least);
    }
    replica->read_count = kept;
}

static void carry_out(struct group *group, struct group_replica *replica,
                      const struct group_entry *entries, uint64_t entries_first,
                      const struct group_snapshot *snapshot)
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

static int step(struct group *group, struct group_replica *replica, struct raft_event *event,
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
        fail(group, "a refused event changed the state", replica->id, (uint64_t)event->type);
    if (rc == PERI_EPROTOCOL && event->message != NULL)
        fail(group, "a correct peer's message is refused", replica->id,
             (uint64_t)event->message->type);
    if (rc != 0)
        return rc;
    uint64_t first = event->type == RAFT_PROPOSE   ? group->out.index
                     : event->type == RAFT_MESSAGE ? event->message->index + 1
                                                   : 0;
    carry_out(group, replica, entries, first, snapshot);
    check_all(group, replica, status.commit_index, &before);
    release(group, replica);
    return 0;
}

int group_step(struct group *group, uint64_t id, struct raft_event *event)
{
    return step(group, group_replica(group, id), event, NULL, NULL);
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
    return step(group, replica, &event, &entry, NULL);
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
    if (count == 0 || replica->raft == NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        write_down(replica, &replica->writes[i]);
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
    const struct group_entry *entry = log_at(&replica->log, index);
    uint64_t mixed = replica->state ^ (entry->payload + index * 0x9e3779b97f4a7c15);
    replica->state = (mixed ^ mixed >> 29) * 0xbf58476d1ce4e5b9 + entry->term;
    if (index >= group->states_count) {
        size_t count = 2 * index + 64;
        group->states = must(realloc(group->states, count * sizeof *group->states));
        memset(group->states + group->states_count, 0,
               (count - group->states_count) * sizeof *group->states);
        group->states_count = count;
    }
    if (group->states[index] == 0)
        group->states[index] = replica->state;
    if (group->states[index] != replica->state)
        fail(group, "state machines differ", replica->id, index);
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
}

static void fetch_for(struct group *group, struct group_replica *replica, uint64_t peer,
                      uint64_t first)
{
    struct raft_event event = {.type = RAFT_FETCHED, .peer = peer, .index = first};
    uint64_t end = replica->log.base + replica->log.count;
    for (uint64_t i = first; i > replica->log.base && i <= end; i++) {
        uint64_t size = log_at(&replica->log, i)->size_bytes + RAFT_ENTRY_OVERHEAD;
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
    log_cut(&replica->disk.log, base);
    log_cut(&replica->log, base);
    struct raft_event event = {.type = RAFT_COMPACTED, .index = base, .last = last};
    group_step(group, id, &event);
}

/* ---- packets ---- */

static void remove_packet(struct group *group, size_t at)
{
    free(group->packets[at].entries);
    group->packet_count--;
    memmove(&group->packets[at], &group->packets[at + 1],
            (group->packet_count - at) * sizeof *group->packets);
}

static void report_snapshot(struct group *group, const struct raft_message *message, bool success)
{
    if (message->type != RAFT_INSTALL_SNAPSHOT)
        return;
    struct raft_event event = {.type = RAFT_SNAPSHOT_SENT, .peer = message->to, .success = success};
    group_step(group, message->from, &event);
}

static struct group_packet copy_of(const struct group_packet *packet)
{
    struct group_packet copy = *packet;
    if (packet->count > 0) {
        copy.entries = must(malloc(packet->count * sizeof *copy.entries));
        memcpy(copy.entries, packet->entries, packet->count * sizeof *copy.entries);
    }
    return copy;
}

void group_deliver(struct group *group, size_t at, bool keep)
{
    struct group_packet packet = copy_of(&group->packets[at]);
    if (!keep)
        remove_packet(group, at);
    struct raft_entry bare[GROUP_ENTRIES_MAX];
    PERI_ASSERT(packet.count <= GROUP_ENTRIES_MAX);
    for (size_t i = 0; i < packet.count; i++) {
        struct group_entry *entry = &packet.entries[i];
        bare[i] = (struct raft_entry){entry->term, entry->size_bytes, entry->type,
                                      entry->type == RAFT_CONFIGURATION ? &entry->members : NULL};
    }
    struct raft_event event = {.type = RAFT_MESSAGE,
                               .message = &packet.message,
                               .entries = bare,
                               .count = packet.count,
                               .configuration = &packet.snapshot.members};
    step(group, group_replica(group, packet.message.to), &event, packet.entries, &packet.snapshot);
    report_snapshot(group, &packet.message, true);
    free(packet.entries);
}

void group_drop(struct group *group, size_t at)
{
    struct raft_message message = group->packets[at].message;
    remove_packet(group, at);
    report_snapshot(group, &message, false);
}
