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

/* The members in force on a disk up to entry last, and the newest of them all. */
static const struct raft_configuration *members_of(const struct group_disk *disk, uint64_t last)
{
    const struct raft_configuration *members = &disk->base_members;
    for (size_t i = 0; i < disk->log.count && disk->log.base + 1 + i <= last; i++)
        if (disk->log.entries[i].type == RAFT_CONFIGURATION)
            members = &disk->log.entries[i].members;
    return members;
}

/* True when the disk of some of these voters but this one reaches to entry (index, term), and a
 * term. */
static bool is_elsewhere(struct group *group, uint64_t id, const struct raft_configuration *members,
                         uint64_t index, uint64_t term, uint64_t current)
{
    bool has_entry = index == 0, has_term = false;
    for (size_t i = 0; i < members->count; i++) {
        const struct group_disk *disk = &group_replica(group, members->ids[i])->disk;
        if (members->ids[i] == id || !raft_configuration_is_voter(members, members->ids[i]))
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
        !is_elsewhere(group, replica->id, members_of(disk, undo->last), index,
                      raft_watch_committed(group->watch, index),
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

static bool do_whole_win(const struct group *group, const struct raft_configuration *members,
                         unsigned without)
{
    uint8_t votes[RAFT_MEMBERS_MAX];
    for (size_t i = 0; i < members->count; i++) {
        size_t at = members->ids[i] - 1;
        votes[i] = group->replicas[at].health == GROUP_WHOLE && (without >> at & 1) == 0
                       ? RAFT_VOTE_GRANTED
                       : RAFT_VOTE_REFUSED;
    }
    return raft_quorum_vote(members, votes) == RAFT_WON;
}

/* Now, and when those are voters who will soon be. */
static bool wins_without(const struct group *group, struct raft_configuration members,
                         unsigned without)
{
    if (!do_whole_win(group, &members, without))
        return false;
    for (size_t i = 0; i < members.count; i++)
        if ((members.members[i] & RAFT_PROMOTE) != 0)
            members.members[i] = RAFT_VOTER;
    return do_whole_win(group, &members, without);
}

/* With all configurations that a log has behind index, and the one as of there. */
static bool wins_in_log(const struct group *group, const struct group_log *log, uint64_t index,
                        const struct raft_configuration *base, unsigned without)
{
    for (size_t i = 0; i < log->count; i++) {
        const struct group_entry *entry = &log->entries[i];
        if (entry->type != RAFT_CONFIGURATION)
            continue;
        if (log->base + 1 + i <= index)
            base = &entry->members;
        else if (!wins_without(group, entry->members, without))
            return false;
    }
    return wins_without(group, *base, without);
}

bool group_can_spare(struct group *group, unsigned without, const struct raft_configuration *next)
{
    uint64_t index = raft_watch_last(group->watch);
    uint64_t term = raft_watch_committed(group->watch, index);
    if (next != NULL && !wins_without(group, *next, without))
        return false;
    for (size_t i = 0; i < group->count; i++) {
        const struct group_replica *replica = &group->replicas[i];
        const struct group_disk *disk = &replica->disk;
        if ((group_log_has(&disk->log, index, term) &&
             !wins_in_log(group, &disk->log, index, &disk->base_members, without)) ||
            (replica->raft != NULL && group_log_has(&replica->log, index, term) &&
             !wins_in_log(group, &replica->log, index,
                          raft_members_at(replica->raft, replica->log.base), without)))
            return false;
    }
    return true;
}

/* ---- becoming whole ---- */

/* True while it has heard nothing since it began. */
static bool is_deaf(const struct group_replica *replica)
{
    const struct group_repair *repair = &replica->repair;
    struct raft_status status = {.term = 0};
    if (replica->raft != NULL)
        raft_status(replica->raft, &status);
    return !repair->is_hearing || status.term < repair->floor_term;
}

bool group_hears(const struct group_replica *replica, uint64_t term)
{
    const struct group_repair *repair = &replica->repair;
    return replica->health == GROUP_WHOLE ||
           (repair->is_hearing && (term >= repair->floor_term || !is_deaf(replica)));
}

void group_repair_meet(struct group_replica *replica, const struct raft_message *message)
{
    if (message->type == RAFT_APPEND_ENTRIES || message->type == RAFT_HEARTBEAT ||
        message->type == RAFT_INSTALL_SNAPSHOT)
        replica->repair.is_met[message->from - 1] = true;
}

static void trust(struct group *group, struct group_replica *replica, uint64_t index, uint64_t term,
                  uint64_t newest)
{
    struct raft_event event = {
        .type = RAFT_TRUST, .index = index, .term = term, .last = newest + 1}; /* repair.c */
    replica->floor_index = index; /* before the step: it may campaign in it */
    replica->floor_term = term;
    group_step(group, replica->id, &event);
}

static void ask_voters(struct group_replica *replica, const struct raft_configuration *members)
{
    for (size_t i = 0; i < GROUP_MAX; i++)
        replica->repair.is_asked[i] |=
            i + 1 != replica->id && raft_configuration_is_voter(members, i + 1);
}

/* Others may know newer voters than a disk that has lost some; of those who speak in the term of a
 * leader, or an older one, it knows best. */
static void take_members(struct group_replica *replica, const struct group_answer *from)
{
    struct group_repair *repair = &replica->repair;
    struct raft_status status;
    raft_status(replica->raft, &status);
    bool is_newest = from->is_leader && from->term >= status.term;
    for (size_t i = 0; i < GROUP_MAX; i++)
        is_newest &= !repair->is_asked[i] || !repair->answers[i].is_there ||
                     repair->answers[i].term <= from->term;
    if (is_newest) {
        repair->led_members = from->members;
        repair->led_members_term = from->term;
        memset(repair->is_asked, 0, sizeof repair->is_asked);
    }
    if (is_newest || from->term > repair->led_members_term)
        ask_voters(replica, &from->members);
}

static bool have_all_answered(const struct group_repair *repair)
{
    for (size_t i = 0; i < GROUP_MAX; i++)
        if (repair->is_asked[i] && !repair->answers[i].is_there)
            return false;
    return true;
}

static bool do_win(const struct group_replica *replica, const struct raft_configuration *members,
                   bool are_whole)
{
    uint8_t votes[RAFT_MEMBERS_MAX] = {0};
    for (size_t i = 0; i < members->count; i++) {
        size_t at = members->ids[i] - 1;
        bool is_whole = members->ids[i] != replica->id && replica->repair.answers[at].is_there &&
                        replica->repair.answers[at].health == GROUP_WHOLE;
        votes[i] = is_whole == are_whole ? RAFT_VOTE_GRANTED : RAFT_VOTE_REFUSED;
    }
    return raft_quorum_vote(members, votes) == RAFT_WON;
}

/* How many are whole, or not, are a majority in whatever configuration may be in force: in all, or
 * in any. */
static bool can_elect(const struct group_replica *replica, bool are_whole, bool in_all)
{
    const struct group_repair *repair = &replica->repair;
    bool is_led = repair->led_members_term > 0;
    if (do_win(replica, is_led ? &repair->led_members : raft_members(replica->raft), are_whole) !=
        in_all)
        return !in_all;
    for (size_t i = 0; i < GROUP_MAX; i++)
        if (repair->is_asked[i] && repair->answers[i].is_there &&
            repair->answers[i].term > repair->led_members_term &&
            do_win(replica, &repair->answers[i].members, are_whole) != in_all)
            return !in_all;
    return in_all;
}

static bool is_anybody_damaged(const struct group_replica *replica)
{
    bool is = replica->health == GROUP_DAMAGED;
    for (size_t i = 0; i < GROUP_MAX; i++)
        is |= replica->repair.is_asked[i] && replica->repair.answers[i].health == GROUP_DAMAGED;
    return is;
}

/* Hears others again, when they cannot elect a leader that shows that it may. */
static void learn_term(struct group_replica *replica)
{
    struct group_repair *repair = &replica->repair;
    struct raft_status status;
    raft_status(replica->raft, &status);
    if (!have_all_answered(repair) || can_elect(replica, true, true) ||
        (is_anybody_damaged(replica) && can_elect(replica, false, false)))
        return;
    repair->is_hearing = true;
    repair->floor_term = status.term;
    for (size_t i = 0; i < GROUP_MAX; i++)
        if (repair->is_asked[i] && repair->answers[i].term > repair->floor_term)
            repair->floor_term = repair->answers[i].term;
}

/* Has committed, without this replica, what it appended after it was asked. */
static void note_leader(struct group_replica *replica, size_t at, const struct group_answer *answer)
{
    struct group_repair *repair = &replica->repair;
    if (answer->term > repair->barrier_term) {
        repair->barrier_term = answer->term;
        repair->barrier_index = answer->last_index;
    }
    if (repair->led_term[at] != answer->term) {
        repair->led_term[at] = answer->term;
        repair->led_index[at] = answer->last_index;
    } else if (answer->commit_index > repair->led_index[at] && is_deaf(replica)) {
        repair->is_hearing = true;
        repair->floor_term = answer->term;
    }
}

/* Too few are whole, none is damaged, nobody leads: the log that reaches furthest counts. */
static void trust_all(struct group *group, struct group_replica *replica)
{
    const struct group_repair *repair = &replica->repair;
    struct raft_status status;
    raft_status(replica->raft, &status);
    uint64_t index = status.last_index, term = raft_term_at(replica->raft, index);
    uint64_t newest = repair->floor_term;
    if (is_anybody_damaged(replica) || status.leader != 0 || !have_all_answered(repair) ||
        can_elect(replica, true, true))
        return;
    for (size_t i = 0; i < GROUP_MAX; i++) {
        const struct group_answer *answer = &repair->answers[i];
        if (!repair->is_asked[i])
            continue;
        if (answer->is_leader)
            return;
        if (answer->term > newest)
            newest = answer->term;
        if (answer->last_term > term || (answer->last_term == term && answer->last_index > index)) {
            index = answer->last_index;
            term = answer->last_term;
        }
    }
    replica->repair.is_trusted = true;
    trust(group, replica, index, term, newest);
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

/* True when it votes for that one's log, and no leader is in sight. */
static bool needs(const struct group_replica *replica, const struct group_answer *answer)
{
    struct raft_status status;
    raft_status(replica->raft, &status);
    return replica->repair.is_trusted && status.leader == 0 && answer->is_there &&
           (answer->last_term > replica->floor_term ||
            (answer->last_term == replica->floor_term &&
             answer->last_index >= replica->floor_index));
}

/* Voters need the log of a replica that votes no more, perhaps. */
static void lead(struct group *group, uint64_t id)
{
    struct raft_event event = {.type = RAFT_CAMPAIGN, .success = true};
    struct raft_status status;
    raft_status(group_replica(group, id)->raft, &status);
    if (status.role == RAFT_FOLLOWER && status.leader == 0)
        group_step(group, id, &event);
}

void group_repair_ask(struct group *group, uint64_t id, uint64_t peer)
{
    struct group_replica *replica = group_replica(group, id), *other = group_replica(group, peer);
    const struct group_repair *repair = &replica->repair;
    struct raft_status own, status;
    if (replica->health == GROUP_WHOLE || replica->raft == NULL || other->raft == NULL ||
        id == peer)
        return;
    raft_status(replica->raft, &own);
    if (!repair->is_asked[peer - 1] && !repair->is_met[peer - 1] && own.leader != peer)
        return;
    struct raft_event event = {.type = RAFT_PEER_LOST, .peer = id, .last = own.last_index};
    if (is_deaf(replica)) {
        event.index = repair->led_index[peer - 1];
        event.term = repair->led_term[peer - 1];
    }
    if (group_step(group, peer, &event) == 0)
        check_forgotten(group, other, id, own.last_index);
    if (needs(replica, &repair->answers[peer - 1]))
        lead(group, peer);
    raft_status(other->raft, &status);
    replica->repair.on_their_way[peer - 1] =
        (struct group_answer){.is_there = true,
                              .is_leader = status.role == RAFT_LEADER,
                              .health = other->health,
                              .term = status.term,
                              .last_index = status.last_index,
                              .commit_index = status.commit_index,
                              .last_term = raft_term_at(other->raft, status.last_index),
                              .members = *raft_members(other->raft)};
}

void group_repair_hear(struct group *group, uint64_t id, uint64_t peer)
{
    struct group_replica *replica = group_replica(group, id);
    struct group_repair *repair = &replica->repair;
    struct group_answer answer = repair->on_their_way[peer - 1];
    if (replica->health == GROUP_WHOLE || replica->raft == NULL)
        return;
    if (answer.is_there) {
        repair->answers[peer - 1] = answer;
        take_members(replica, &answer);
    }
    if (answer.is_there && answer.is_leader)
        note_leader(replica, peer - 1, &answer);
    repair->on_their_way[peer - 1].is_there = false;
    if (!repair->is_hearing)
        learn_term(replica);
    if (repair->is_hearing && !repair->is_trusted)
        trust_all(group, replica);
    group_repair_advance(group, id);
}

void group_repair_begin(struct group_replica *replica)
{
    replica->repair = (struct group_repair){0};
    replica->floor_index = replica->floor_term = replica->health == GROUP_WHOLE ? 0 : UINT64_MAX;
    ask_voters(replica, raft_members(replica->raft));
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
