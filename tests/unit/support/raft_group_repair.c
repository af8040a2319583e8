/* Disks that lose what was durable, and replicas that become whole again as runtime/node/repair.c
 * has them: deaf, then mute in elections, then trusted. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "raft/quorum.h"
#include "raft_group_parts.h"

/* ---- losses ---- */

static uint64_t last_of(const struct group_disk *disk)
{
    return disk->log.base + disk->log.count;
}

static uint64_t last_term_of(const struct group_disk *disk)
{
    return disk->log.count == 0 ? disk->log.base_term : disk->log.entries[disk->log.count - 1].term;
}

static void note_loss(struct group_replica *replica, enum group_health health, uint64_t last)
{
    if (replica->health < health)
        replica->health = health;
    if (replica->lost_last < last)
        replica->lost_last = last;
    replica->undo.is_possible = false;
}

void group_damage(struct group *group, uint64_t id, uint64_t entries, bool loses_vote)
{
    struct group_replica *replica = group_replica(group, id);
    struct group_disk *disk = &replica->disk;
    uint64_t last = last_of(disk), kept = disk->log.base;
    if (kept < disk->snapshot.index)
        kept = disk->snapshot.index;
    if (replica->raft != NULL)
        group_crash(group, id, 0);
    note_loss(replica, GROUP_DAMAGED, last);
    group_log_truncate(&disk->log, (last - kept > entries ? last - entries : kept) + 1);
    if (loses_vote) {
        disk->term = last_term_of(disk);
        disk->vote = 0;
    }
}

/* True when some voter's disk but this one's reaches to entry (index, term), and a term. */
static bool is_elsewhere(struct group *group, uint64_t id, uint64_t index, uint64_t term,
                         uint64_t current)
{
    bool has_entry = index == 0, has_term = false;
    for (size_t i = 0; i < group->first.count; i++) {
        const struct group_disk *disk = &group_replica(group, group->first.ids[i])->disk;
        if (group->first.ids[i] == id)
            continue;
        has_entry |= group_log_has(&disk->log, index, term);
        has_term |= disk->term >= current;
    }
    return has_entry && has_term;
}

static void lose_newest(struct group *group, struct group_replica *replica)
{
    const struct group_undo *undo = &replica->undo;
    struct group_disk *disk = &replica->disk;
    uint64_t index = raft_watch_last(group->watch);
    if (!undo->is_possible || undo->last < disk->snapshot.index || undo->last < disk->log.base ||
        !is_elsewhere(group, replica->id, index, raft_watch_committed(group->watch, index),
                      undo->term < disk->term ? disk->term : 0))
        return;
    note_loss(replica, GROUP_SUSPECT, last_of(disk));
    group_log_truncate(&disk->log, undo->last + 1);
    disk->term = undo->term;
    disk->vote = undo->vote;
}

void group_power_cut(struct group *group, unsigned losers)
{
    for (size_t i = 0; i < group->count; i++)
        group_crash(group, i + 1, 0);
    while (group->packet_count > 0)
        group_packet_remove(group, group->packet_count - 1);
    for (size_t i = 0; i < group->count; i++)
        if ((losers >> i & 1) != 0)
            lose_newest(group, &group->replicas[i]);
}

size_t group_ailing(const struct group *group, enum group_health least)
{
    size_t count = 0;
    for (size_t i = 0; i < group->count; i++)
        count += group->replicas[i].health >= least;
    return count;
}

/* ---- becoming whole ---- */

bool group_hears(const struct group_replica *replica, uint64_t term)
{
    const struct group_repair *repair = &replica->repair;
    struct raft_status status = {.term = 0};
    if (replica->raft != NULL)
        raft_status(replica->raft, &status);
    return replica->health == GROUP_WHOLE ||
           (repair->is_hearing &&
            (term >= repair->floor_term || status.term >= repair->floor_term));
}

static void trust(struct group *group, struct group_replica *replica, uint64_t index, uint64_t term,
                  uint64_t newest)
{
    struct raft_event event = {.type = RAFT_TRUST, .index = index, .term = term, .last = newest};
    replica->floor_index = index; /* before the step: it may campaign in it */
    replica->floor_term = term;
    group_step(group, replica->id, &event);
}

static void learn_term(struct group_replica *replica, const struct raft_configuration *members)
{
    struct group_repair *repair = &replica->repair;
    struct raft_status status;
    raft_status(replica->raft, &status);
    uint64_t term = status.term;
    for (size_t i = 0; i < members->count; i++) {
        const struct group_answer *answer = &repair->answers[members->ids[i] - 1];
        if (members->ids[i] == replica->id ||
            !raft_configuration_is_voter(members, members->ids[i]))
            continue;
        if (!answer->is_there)
            return;
        if (answer->term > term)
            term = answer->term;
    }
    repair->is_hearing = true;
    repair->floor_term = term;
}

/* Too few are whole, none is damaged, nobody leads: the log that reaches furthest counts. */
static void trust_all(struct group *group, struct group_replica *replica,
                      const struct raft_configuration *members)
{
    struct raft_status status;
    uint8_t votes[RAFT_MEMBERS_MAX] = {0};
    raft_status(replica->raft, &status);
    uint64_t index = status.last_index, term = raft_term_at(replica->raft, index);
    if (replica->health != GROUP_SUSPECT || status.leader != 0)
        return;
    for (size_t i = 0; i < members->count; i++) {
        const struct group_answer *answer = &replica->repair.answers[members->ids[i] - 1];
        if (members->ids[i] == replica->id ||
            !raft_configuration_is_voter(members, members->ids[i]))
            continue;
        if (answer->health == GROUP_DAMAGED || answer->is_leader)
            return;
        if (answer->health == GROUP_WHOLE)
            votes[i] = RAFT_VOTE_GRANTED;
        if (answer->last_term > term || (answer->last_term == term && answer->last_index > index)) {
            index = answer->last_index;
            term = answer->last_term;
        }
    }
    if (raft_quorum_vote(members, votes) == RAFT_WON)
        return;
    replica->repair.is_trusted = true;
    trust(group, replica, index, term, replica->repair.floor_term);
}

void group_repair_advance(struct group *group, uint64_t id)
{
    struct group_replica *replica = group_replica(group, id);
    const struct group_repair *repair = &replica->repair;
    struct raft_status status;
    if (replica->health == GROUP_WHOLE || replica->raft == NULL || !repair->is_hearing)
        return;
    raft_status(replica->raft, &status);
    if (status.is_fenced || status.term < repair->floor_term)
        return;
    bool has_led =
        status.role == RAFT_LEADER && raft_term_at(replica->raft, replica->applied) == status.term;
    bool has_all = repair->barrier_term >= repair->floor_term && repair->barrier_term > 0 &&
                   status.term >= repair->barrier_term && replica->applied >= repair->barrier_index;
    if (!has_led && !has_all)
        return;
    replica->health = GROUP_WHOLE;
    replica->lost_last = 0;
    group->repairs++;
    trust(group, replica, 0, 0, 0);
}

/* What a leader knew of a peer does not outlive the news that it is gone. */
static void check_forgotten(struct group *group, const struct group_replica *leader, uint64_t id,
                            uint64_t last)
{
    struct raft_peer peer;
    for (size_t i = 0; raft_peer(leader->raft, i, &peer); i++)
        if (peer.id == id && peer.match_index > last)
            group_fail(group, "counts on what a disk has lost", leader->id, peer.match_index);
}

void group_repair_ask(struct group *group, uint64_t id, uint64_t peer)
{
    struct group_replica *replica = group_replica(group, id), *other = group_replica(group, peer);
    struct raft_status own, status;
    if (replica->health == GROUP_WHOLE || replica->raft == NULL || other->raft == NULL ||
        id == peer)
        return;
    raft_status(replica->raft, &own);
    struct raft_event event = {.type = RAFT_PEER_LOST, .peer = id, .last = own.last_index};
    if (group_step(group, peer, &event) == 0)
        check_forgotten(group, other, id, own.last_index);
    raft_status(other->raft, &status);
    replica->repair.on_their_way[peer - 1] =
        (struct group_answer){.is_there = true,
                              .is_leader = status.role == RAFT_LEADER,
                              .health = other->health,
                              .term = status.term,
                              .last_index = status.last_index,
                              .last_term = raft_term_at(other->raft, status.last_index)};
}

void group_repair_hear(struct group *group, uint64_t id, uint64_t peer)
{
    struct group_replica *replica = group_replica(group, id);
    struct group_repair *repair = &replica->repair;
    struct group_answer answer = repair->on_their_way[peer - 1];
    if (replica->health == GROUP_WHOLE || replica->raft == NULL)
        return;
    if (answer.is_there)
        repair->answers[peer - 1] = answer;
    if (answer.is_there && answer.is_leader && answer.term > repair->barrier_term) {
        repair->barrier_term = answer.term;
        repair->barrier_index = answer.last_index;
    }
    repair->on_their_way[peer - 1].is_there = false;
    if (!repair->is_hearing)
        learn_term(replica, raft_members(replica->raft));
    if (repair->is_hearing && !repair->is_trusted)
        trust_all(group, replica, raft_members(replica->raft));
    group_repair_advance(group, id);
}

void group_repair_begin(struct group_replica *replica)
{
    replica->repair = (struct group_repair){0};
    replica->floor_index = replica->floor_term = replica->health == GROUP_WHOLE ? 0 : UINT64_MAX;
}

/* An impaired replica gives no votes and asks for none; one that has a floor, only for logs that
 * reach there. */
void group_check_floor(struct group *group, const struct group_replica *replica,
                       const struct raft_message *asked, const struct raft_message *said)
{
    bool is_reply = said->type == RAFT_PRE_VOTE_REPLY || said->type == RAFT_REQUEST_VOTE_REPLY;
    bool is_request = said->type == RAFT_PRE_VOTE || said->type == RAFT_REQUEST_VOTE;
    const struct raft_message *log = is_request ? said : is_reply && said->success ? asked : NULL;
    if (log == NULL)
        return;
    if (log->log_term < replica->floor_term ||
        (log->log_term == replica->floor_term && log->index < replica->floor_index))
        group_fail(group, "votes for a log that may lack what it has lost", replica->id,
                   log->index);
}
